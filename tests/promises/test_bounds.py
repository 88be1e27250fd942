"""No read and no write outside the arrays: they lie against pages that end the process when touched."""

import sys

import pytest

GUARDED = """
import ctypes, mmap, sys
import numpy as np
import roicy
from closeness import assert_same_bits
from operators import MAX, OPERATORS
from roicy._arguments import boxes as arguments
from strategies import FEATURE_DTYPES, random_values, result_dtype

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
PAGE = mmap.PAGESIZE
own_copy = arguments.own
idle = {}  # by size: memory that no array is in any more


class Guarded:
    '''Memory between two pages that must not be touched; arrays begin or end where it does.'''

    def __init__(self, size):
        self.room = -(-max(size, 1) // PAGE) * PAGE
        kept = idle.setdefault(self.room, [])
        self.start = kept.pop() if kept else self.between_fences()

    def between_fences(self):
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        start = libc.mmap(None, self.room + 2 * PAGE, 3, flags, -1, 0)
        assert start not in (None, ctypes.c_void_p(-1).value)
        for fence in (start, start + PAGE + self.room):
            assert libc.mprotect(fence, PAGE, 0) == 0
        return start

    def hold(self, array, side):
        offset = PAGE if side == "front" else PAGE + self.room - array.nbytes
        memory = (ctypes.c_char * array.nbytes).from_address(self.start + offset)
        held = np.frombuffer(memory, np.uint8).view(array.dtype).reshape(array.shape)
        held[...] = array
        return held

    def free(self):
        idle[self.room].append(self.start)


def call(function, arrays, result, **options):
    '''Run with every array, the results and the library's own copy of the boxes included, against a fence;
    compare with the unfenced results.
    '''
    results = result if isinstance(result, tuple) else (result,)
    blank = [np.frombuffer(b"U" * array.nbytes, array.dtype).reshape(array.shape) for array in results]
    for side in ("front", "back"):
        fences = [Guarded(array.nbytes) for array in (*arrays, *results)]
        held = [fence.hold(array, side) for fence, array in zip(fences, (*arrays, *blank))]
        outs = tuple(held[len(arrays):])

        def own(*given):
            copy = own_copy(*given)
            fences.append(Guarded(copy.nbytes))
            return fences[-1].hold(copy, side)

        arguments.own = own
        function(*held[: len(arrays)], out=outs if isinstance(result, tuple) else outs[0], **options)
        arguments.own = own_copy
        for out, wanted in zip(outs, results):
            assert_same_bits(out, wanted)
        for fence in fences:
            fence.free()


def check(operator, shape, count, output_size, dtype, layout):
    n, c, height, width = shape
    if operator.position_sensitive and np.prod(output_size) > 200:
        return
    shape = operator.map_shape(shape, output_size)
    rng = np.random.default_rng(c)
    axes = (0, 1, 2, 3) if layout == "NCHW" else (0, 2, 3, 1)
    features = np.ascontiguousarray(random_values(rng, shape, dtype).transpose(axes))
    whole = [0, 0, width, height]
    over = [-3, -3, width + 3, height + 3]
    corner = [width - 1.5, height - 1.5, width + 0.5, height + 0.5]
    corners = np.array(([whole, over, corner, [0, 0, 0.5, 0.5]] * count)[:count])
    rois = operator.rois(rng, ([0, n - 1, n - 1, 0] * count)[:count], corners)
    options = {"layout": layout, "sampling_ratio": 2}
    inputs = features, rois

    def pool(f, r, **o):
        return operator.forward(f, r, output_size, **o)

    for ratio in (1, 2):
        options["sampling_ratio"] = ratio
        values = operator.forward(*inputs, output_size, **options)
        call(pool, inputs, values, **options)
    chosen = ()
    if operator.has_argmax:
        expected = operator.both(*inputs, output_size, **options)
        call(pool, inputs, expected, return_argmax=True, **options)
        values, *chosen = expected
    if operator is MAX:
        by_corner = operator.forward(*inputs, output_size, max_rule="onnx", **options)
        call(pool, inputs, by_corner, max_rule="onnx", **options)
    grad = operator.backward(values, rois, features.shape, *chosen, **options)
    call(
        lambda g, r, *a, **o: operator.backward(g, r, features.shape, *a, **o),
        (values, rois, *chosen), grad, **options,
    )
    if operator.has_slopes:
        grad = operator.backward_rois(values, features, rois, *chosen, **options)
        call(operator.backward_rois, (values, features, rois, *chosen), grad, **options)


def check_all(*arguments):
    for operator in OPERATORS:
        check(operator, *arguments)


def check_flipped(dtype):
    '''Few boxes of maps whose first channel or row lies behind the last one: they are loaded alone.'''
    for shape, size, ratio in (((1, 16, 6, 90), (2, 2), 2), ((1, 16, 160, 90), (1, 1), 0)):
        features = random_values(np.random.default_rng(7), shape, dtype)
        right = shape[3] + 2
        boxes = [[87, -1, right, 4], [87, 0, right, shape[2]], [80, shape[2] - 4, right, right]]
        rois = np.array([[0, *box] for box in boxes], np.float32)
        for flip in (np.s_[:, ::-1], np.s_[:, :, ::-1], np.s_[:, ::-1, ::-1]):
            def pool(features, rois, **options):
                return roicy.roi_align(features[flip], rois, size, sampling_ratio=ratio, **options)

            call(pool, (features, rois), pool(features, rois))


def check_wide_images(height):
    '''Columns of bytes that are picked from a few vectors, in rows that may end before these do. From the
    256th row on, their sums are those of integers.
    '''
    top = height - 3
    for width, size in ((9, 16), (43, 16), (60, 16), (80, 16), (100, 64)):
        image = random_values(np.random.default_rng(width), (height, width, 3), np.dtype("uint8"))
        boxes = [[0, top, width, height], [width, height, 0, top], [width - 20, top + 1, width + 1, height]]
        # which end a few pixels before the image
        boxes += [[width - 1.1 * size - end, top + 1, width - end, height] for end in range(20)]
        boxes = np.array(boxes, np.float32)

        def crop(image, boxes, **options):
            return roicy.crop_and_resize(image, boxes, (5, size), **options)

        call(crop, (image, boxes), crop(image, boxes))


def check_tilted_planes():
    '''Planes of bytes whose pixels are joined first, of boxes that end near the last pixel of each.'''
    height, width = 24, 40
    planes = random_values(np.random.default_rng(3), (1, 3, height, width), np.dtype("uint8"))
    boxes = []
    for angle in np.linspace(-80, 80, 17):
        turn = np.deg2rad(angle)
        along, across = np.cos(turn), abs(np.sin(turn))
        right, down = 6 * along + 3 * across, 6 * across + 3 * along    # from a centre to corners
        for end in range(8):
            boxes.append([0, width - 1.1 - end - right, height - 1.1 - down, 12, 6, angle])

    def pool(planes, boxes, **options):
        return roicy.roi_align_rotated(planes, boxes, (8, 16), sampling_ratio=1, **options)

    boxes = np.array(boxes, np.float32)
    call(pool, (planes, boxes), pool(planes, boxes))


def check_images(dtype, channels):
    rng = np.random.default_rng(channels)
    images = random_values(rng, (1, 14, 9, channels), dtype)
    boxes = np.array([[-3, -2, 12, 17], [5, 9, 9, 14], [8.5, 13.5, 8.7, 13.9]], np.float32)
    corners = np.array([[[-2, -3], [11, 1], [10, 16], [1, 15]], [[9, 14], [0, 14], [0, 0], [9, 0]]])
    for size in ((5, 4), (33, 70)):
        for border in ("constant", "edge"):
            for function, where in ((roicy.crop_quads, corners), (roicy.crop_and_resize, boxes)):
                for ratio in (1, 2):
                    def crop(images, where, **options):
                        given = {"border": border, "sampling_ratio": ratio, **options}
                        return function(images, where, size, **given)

                    call(crop, (images, where), crop(images, where))
            def nearest(images, where, **options):
                return roicy.crop_quads(images, where, size, interpolation="nearest", **options)

            call(nearest, (images, corners), nearest(images, corners))


def check_masks(dtype):
    masks = random_values(np.random.default_rng(5), (3, 7, 7), dtype)
    boxes = np.array([[-3, -2, 12, 17], [5, 9, 9, 14], [-50, -50, 90, 90]], np.float32)
    for threshold in (0.5, None):
        def paste(masks, boxes, **options):
            return roicy.paste_masks(masks, boxes, (14, 37), threshold=threshold, **options)

        call(paste, (masks, boxes), paste(masks, boxes))


check_wide_images(3)
check_wide_images(260)
check_tilted_planes()
for dtype in FEATURE_DTYPES:
    for channels in (1, 3, 4, 5):
        check_images(dtype, channels)
    check_masks(dtype)
    check_flipped(dtype)
for layout in ("NCHW", "NHWC"):
    for dtype in FEATURE_DTYPES:
        for c in (1, 3, 4, 7, 8, 16, 17, 33):
            check_all((1, c, 6, 7), 3, (2, 3), dtype, layout)
            check_all((1, c, 1, 1), 2, (1, 1), dtype, layout)
            check_all((2, c, 9, 13), 12, (7, 7), dtype, layout)
        for c in (1, 4):
            check_all((1, c, 20, 37), 1, (17, 41), dtype, layout)
print("untouched")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="makes fences of Linux memory pages")
@pytest.mark.parametrize("level", ["baseline", "v3", "v4"])
def test_nothing_outside_is_touched(level, cpu_levels, run_python):
    if level not in cpu_levels:
        pytest.skip(f"not available here: {level}")
    assert run_python(GUARDED, ROICY_CPU_LEVEL=level, timeout=120).strip() == "untouched"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="makes fences of Linux memory pages")
def test_the_fence_works(run_python):
    """Without which the test above would prove nothing: one byte too far ends the process."""
    source = (
        GUARDED.split("\nfor layout in")[0]
        + """
fence = Guarded(100)
held = fence.hold(np.zeros(100, np.uint8), sys.argv[1])
print("inside", flush=True)
step = 100 if sys.argv[1] == "back" else -1
ctypes.c_char.from_address(held.ctypes.data + step).value
"""
    )
    for side in ("front", "back"):
        done = run_python(source, side, check=False)
        assert done.stdout.strip() == "inside"
        assert done.returncode < 0
