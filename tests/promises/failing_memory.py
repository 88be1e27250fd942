"""Calls of all kinds, each of whose allocations fails in turn; see test_failing_memory.py.

LD_PRELOAD=failing_malloc.so python failing_memory.py failing_malloc.so THREADS whole|pieces
"""

import ctypes
import gc
import itertools
import sys

import numpy as np

import roicy
from roicy.cpu.runtime import memory
from roicy.cpu.tables import grid, sample

RNG = np.random.default_rng(0)
BOXES = np.array(
    [[0, 1, 1, 20, 14], [1, -3, 2, 9, 30], [0, 5, 5, 5.5, 5.2], [7, 0, 0, 9, 9], [1, 3, 1, 25, 18]],
    np.float32,
)
TURNED = np.array(
    [[0, 9, 9, 15, 8, 30], [1, 5, 9, 9, 20, -75], [7, 5, 5, 5, 5, 5], [1, 9, 9, 40, 40, 45]], np.float32
)
#: Layout and dtype of maps, channels, whether results go to an array that is there already, boxes.
WHOLE = [
    (layout, dtype, channels, given, 1)
    for layout in ("NCHW", "NHWC")
    for dtype in ("float32", "float16")
    for channels in (2, 40)
    for given in (True, False)
]
PIECES = [("NCHW", "float32", 40, True, 25), ("NHWC", "float16", 40, True, 25)]


class Counts(ctypes.Structure):
    """What ``mallinfo2`` returns."""

    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]


def held(system):
    """Bytes in use, as the C library counts them."""
    system.mallinfo2.restype = Counts
    counts = system.mallinfo2()
    return counts.uordblks + counts.hblkhd


def fail_in_turn(failing, name, call, outs):
    """Make each allocation of a call fail; returns how many there were."""
    before = [out.tobytes() for out in outs]
    filled = [out.copy() for out in outs]
    expected = call()
    after = [out.tobytes() for out in outs]
    for number in itertools.count():
        for out, values in zip(outs, filled, strict=True):
            out[...] = values
        error = None
        failing.fail_at(number)
        try:
            result = call()
        except BaseException as raised:
            error = raised
        failed = failing.fail_no_more()
        if error is None:
            assert [out.tobytes() for out in outs] == after, name
            assert outs or np.array_equal(result, expected, equal_nan=True), name
            if not failed:
                return number
            continue
        if not failed or not isinstance(error, MemoryError):
            raise error
        assert [out.tobytes() for out in outs] == before, f"{name}: written before allocation {number} failed"


def room(given, shape, dtype):
    """An array for a result, of elements that are no neighbours, with a pattern in it."""
    if not given:
        return None
    whole = np.empty((*shape[:-1], 2 * shape[-1]), dtype)
    whole.reshape(-1).view(np.uint8)[...] = 85
    return whole[..., ::2]


def calls(layout, dtype, channels, given, times):
    """Yield (name, call, arrays that it writes to)."""
    boxes, turned = np.tile(BOXES, (times, 1)), np.tile(TURNED, (times, 1))
    words = {"layout": layout, "invalid": "nan"}

    def shape(count, rows, columns):
        return (count, channels, rows, columns) if layout == "NCHW" else (count, rows, columns, channels)

    def values(count, rows, columns):
        return RNG.standard_normal(shape(count, rows, columns)).astype(dtype)

    def one(name, *arguments, to, **options):
        out = room(given, *to)
        function = getattr(roicy, name)
        label = f"{name} {layout} {dtype} {channels} {times} {options.get('mode', '')}"
        return label, lambda: function(*arguments, out=out, **options), [] if out is None else [out]

    def both(name, *arguments, to, **options):
        out = (room(given, to, dtype), room(given, to, np.int32)) if given else None
        function = getattr(roicy, name)
        label = f"{name} {layout} {dtype} {channels} {times} argmax"
        return label, lambda: function(*arguments, out=out, return_argmax=True, **options)[0], list(out or ())

    maps = values(2, 20, 26)
    out, out_turned = shape(len(boxes), 3, 2), shape(len(turned), 3, 2)
    grad, grad_turned = values(len(boxes), 3, 2), values(len(turned), 3, 2)
    whole = (maps.shape, dtype)
    for mode in ("avg", "max"):
        options = {"mode": mode, "sampling_ratio": 2, **words}
        yield one("roi_align", maps, boxes, (3, 2), to=(out, dtype), **options)
        if mode == "max":
            yield both("roi_align", maps, boxes, (3, 2), to=out, **options)
            options["argmax"] = roicy.roi_align(maps, boxes, (3, 2), return_argmax=True, **options)[1]
        yield one("roi_align_backward", grad, boxes, maps.shape, to=whole, **options)
        yield one("roi_align_backward_rois", grad, maps, boxes, to=(boxes.shape, boxes.dtype), **options)
    yield one("roi_align_rotated", maps, turned, (3, 2), to=(out_turned, dtype), **words)
    yield one("roi_align_rotated_backward", grad_turned, turned, maps.shape, to=whole, **words)
    of_turned = (turned.shape, turned.dtype)
    yield one("roi_align_rotated_backward_rois", grad_turned, maps, turned, to=of_turned, **words)
    yield one("prroi_pool", maps, boxes, (3, 2), to=(out, dtype), **words)
    yield one("prroi_pool_backward", grad, boxes, maps.shape, to=whole, **words)
    yield one("prroi_pool_backward_rois", grad, maps, boxes, to=(boxes.shape, boxes.dtype), **words)
    of_bins = np.repeat(maps, 6, axis=1 if layout == "NCHW" else 3)
    offsets = RNG.standard_normal((len(boxes), 2, 3, 2)).astype(boxes.dtype)
    mask = RNG.random((len(boxes), 1, 3, 2)).astype(boxes.dtype)
    yield one("deform_roi_pool", maps, boxes, offsets, (3, 2), to=(out, dtype), mask=mask, **words)
    yield one("deform_roi_pool_backward", grad, boxes, offsets, maps.shape, to=whole, mask=mask, **words)
    to = offsets.shape, boxes.dtype
    yield one("deform_roi_pool_backward_offsets", grad, maps, boxes, offsets, to=to, mask=mask, **words)
    to = mask.shape, boxes.dtype
    yield one("deform_roi_pool_backward_mask", grad, maps, boxes, offsets, mask, to=to, **words)
    yield one("ps_roi_align", of_bins, boxes, (3, 2), to=(out, dtype), **words)
    yield one("ps_roi_align_backward", grad, boxes, of_bins.shape, to=(of_bins.shape, dtype), **words)
    yield one("ps_roi_align_backward_rois", grad, of_bins, boxes, to=(boxes.shape, boxes.dtype), **words)
    yield one("ps_roi_pool", of_bins, boxes, (3, 2), to=(out, dtype), **words)
    yield one("ps_roi_pool_backward", grad, boxes, of_bins.shape, to=(of_bins.shape, dtype), **words)
    yield both("roi_pool", maps, boxes, (3, 2), to=out, **words)
    argmax = roicy.roi_pool(maps, boxes, (3, 2), return_argmax=True, **words)[1]
    yield one("roi_pool_backward", grad, argmax, boxes, maps.shape, to=whole, **words)
    yield one("roi_pool", maps, boxes, (3, 2), mode="avg", to=(out, dtype), **words)
    yield one("roi_pool_backward", grad, None, boxes, maps.shape, mode="avg", to=whole, **words)
    scaled = {"spatial_scales": (1, 0.5), **words}
    pair, sizes = [maps, values(2, 10, 13)], [maps.shape, shape(2, 10, 13)]
    leveled = {**scaled, "levels": np.arange(len(boxes)) % 3 - 1}
    for merge in ({**leveled}, {**scaled, "merge": "sum"}):
        yield one("multi_scale_roi_align", pair, boxes, (3, 2), to=(out, dtype), **merge)
        yield one(
            "multi_scale_roi_align_backward_rois", grad, pair, boxes, to=(boxes.shape, boxes.dtype), **merge
        )
    yield one("multi_scale_roi_align_rotated", pair, turned, (3, 2), to=(out_turned, dtype), **scaled)
    yield both("multi_scale_roi_pool", pair, boxes, (3, 2), to=out, **leveled)
    several = [room(given, size, dtype) for size in sizes] if given else None
    yield (
        f"multi_scale_roi_align_backward {layout} {dtype}",
        lambda: roicy.multi_scale_roi_align_backward(grad, boxes, sizes, out=several, **leveled)[0],
        several or [],
    )
    last, many = layout == "NHWC", ("NHWC" if layout == "NCHW" else "NCHW")
    other = (len(boxes), 3, 2, channels) if many == "NHWC" else (len(boxes), channels, 3, 2)
    cut = {"mean": 0.5, "std": 2.0, "out_layout": many, **words}
    yield one("crop_and_resize", maps, boxes, (3, 2), to=(other, "float32"), **cut)
    yield one("crop_and_resize", maps, boxes, (3, 2), to=(other, dtype), dtype=dtype, **cut)
    nearest = {"interpolation": "nearest", "border": "edge", **words}
    yield one("crop_and_resize", maps, boxes, (3, 2), to=(out, dtype), dtype=dtype, **nearest)
    different = [maps[0], maps[1, 2:] if last else maps[1, :, 2:]]
    yield one("crop_and_resize", different, boxes, (3, 2), to=(other, "float32"), **cut)
    yield one("crop_and_resize_backward", grad, boxes, maps.shape, to=whole, **words)
    of_boxes = boxes.shape, boxes.dtype
    yield one("crop_and_resize_backward_boxes", grad, maps, boxes, to=of_boxes, **words)
    quads = roicy.rotated_corners(turned[:, 1:])
    seen = {"batch_indices": turned[:, 0].astype(np.int64) % 2, **cut}
    of_quads = (len(turned), *other[1:])
    for images in (maps, different):
        yield one("crop_quads", images, quads, (3, 2), to=(of_quads, "float32"), **seen)
    yield one("crop_quads", maps, quads, (3, 2), to=(of_quads, dtype), dtype=dtype, sampling_ratio=2, **seen)
    part = {"window": (0, 0, 40, 60), **words}  # of a map that is larger: boxes reach no further
    yield one("roi_align", maps, boxes[:1], (3, 2), to=((1, *out[1:]), dtype), **part)
    yield one("crop_and_resize", maps, boxes[:1], (3, 2), to=((1, *out[1:]), "float32"), **part)
    masks = RNG.random((len(boxes), 7, 9)).astype(dtype)
    pasted, corners = (len(boxes), 20, 26), boxes[:, 1:]
    yield one("paste_masks", masks, corners, (20, 26), to=(pasted, bool), invalid="nan")
    soft = {"threshold": None, "invalid": "nan"}
    yield one("paste_masks", masks, corners, (20, 26), to=(pasted, np.float32), **soft)
    if times > 1:
        return
    laid = masks, corners, (20, 26)
    yield (
        "paste_masks windows",
        lambda: np.concatenate(
            [part.ravel() for _, _, part in roicy.paste_masks(*laid, to="windows", invalid="nan")]
        ),
        [],
    )
    yield (
        "paste_masks rle",
        lambda: np.concatenate(
            [mask["counts"] for mask in roicy.paste_masks(*laid, to="rle", invalid="nan")]
        ),
        [],
    )
    yield "rmac", lambda: roicy.rmac(maps, layout=layout), []
    whiten = RNG.standard_normal(channels), RNG.standard_normal((5, channels))
    yield "rmac whitened", lambda: roicy.rmac(maps, layout=layout, whiten=whiten), []
    yield one("rmac_backward", roicy.rmac(maps, layout=layout), maps, to=whole, layout=layout)
    yield "plan", lambda: roicy.roi_align_plan(boxes[:3], maps.shape, 2, layout=layout)(maps), []
    yield (
        "rotated plan",
        lambda: roicy.roi_align_rotated_plan(turned[:2], maps.shape, 2, layout=layout)(maps),
        [],
    )


def main(library, threads, pieces):
    """Try all calls."""
    failing, system = ctypes.CDLL(library), ctypes.CDLL(None)
    roicy.set_num_threads(int(threads))
    memory.keep(0)
    gc.freeze()  # what is imported is not looked at each time that garbage is looked for
    if pieces == "pieces":
        grid.hold(500)
        sample.hold(20_000)
    for case in PIECES if pieces == "pieces" else WHOLE:
        for name, call, outs in calls(*case):
            # NumPy's arithmetic, in R-MAC, levels, windows and numbers of channels, crashes without memory
            arithmetic = "rmac", "multi_scale", "paste", "crop"
            failing.fail_only(b"roicy/cpu" if name.startswith(arithmetic) else b"")
            fail_in_turn(failing, name, call, outs)  # what is kept from then on is kept
            gc.collect()
            before = held(system)
            # masks have a table and scratch, all others more
            assert fail_in_turn(failing, name, call, outs) > (1 if name.startswith("paste") else 2), name
            gc.collect()
            assert held(system) - before < 100_000, f"{name}: {held(system) - before} bytes were lost"
    print("each has failed, and nothing was lost")


if __name__ == "__main__":
    main(*sys.argv[1:])
