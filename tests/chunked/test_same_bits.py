"""The results of `roicy.dask` are those of `roicy` to the last bit, whatever the chunks are."""

import numpy as np
import pytest

pytest.importorskip("dask.array", reason="dask[array] is not installed")

import dask
import dask.array as da
from closeness import assert_same_bits
from hypothesis import strategies as st
from operators import of_all, of_sloped
from strategies import random_values

import roicy
import roicy.dask
from chunked.chunks import calls, chunked, divided, on_dask, schedulers

SHARE = 0.15
most = st.sampled_from(["auto", 1, 2, 3])
rooms = st.sampled_from(["128 MiB", "700 B", "1 B"])  # of what a group of boxes reads of tiles


@of_all
def test_pooling(operator, examples):
    @examples(operator.problems(most_channels=7), st.data(), share=SHARE * operator.share)
    def hold(problem, data):
        features, rois, size, options = problem
        expected = operator.both(features, rois, size, **options)
        more = {"boxes_per_chunk": data.draw(most), **options}
        maps = data.draw(chunked(features))
        with on_dask(data.draw(rooms), data.draw(schedulers), data.draw(calls)):
            found = operator.both(maps, rois, size, **more)
            by_image = operator.call("", features=maps, rois=rois, output_size=size, order="image", **more)
            for array, wanted in zip(found, expected, strict=True):
                assert (array is None) == (wanted is None)
                if wanted is not None:
                    assert array.dtype == wanted.dtype and array.shape == wanted.shape
                    assert_same_bits(array.compute(), wanted)
            pooled, order = by_image
        expected = operator.forward(features, rois, size, **options)  # which sign a zero has may differ
        assert_same_bits(pooled.compute(scheduler="synchronous"), expected[order])


@of_all
def test_gradient_of_maps(operator, examples):
    @examples(operator.problems(most_channels=7), st.data(), share=SHARE * operator.share)
    def hold(problem, data):
        grad_output = problem.grad_output()
        # of what the boxes read: tiles that they do not read are none of theirs
        _, argmax = operator.both(problem.features, problem.rois, problem.output_size, **problem.options)
        shape, options = problem.features.shape, problem.options
        expected = operator.backward(grad_output, problem.rois, shape, argmax, **options)
        chunks = tuple(data.draw(divided(length)) for length in shape)
        given = data.draw(chunked(grad_output))
        chosen = None if argmax is None else data.draw(chunked(argmax))
        with on_dask(scheduler=data.draw(schedulers)):
            found = operator.backward(given, problem.rois, shape, chosen, chunks=chunks, **options)
            assert found.dtype == expected.dtype and found.shape == expected.shape
            assert_same_bits(found.compute(), expected)


@of_sloped
def test_gradient_of_boxes(operator, examples):
    @examples(operator.problems(most_channels=7), st.data(), share=SHARE * operator.share)
    def hold(problem, data):
        features, rois, _, options = problem
        grad_output, argmax = problem.grad_output(), operator.chosen(problem)
        expected = operator.backward_rois(grad_output, features, rois, argmax, **options)
        given, maps = data.draw(chunked(grad_output)), data.draw(chunked(features))
        chosen = None if argmax is None else data.draw(chunked(argmax))
        with on_dask(data.draw(rooms), data.draw(schedulers), data.draw(calls)):
            found = operator.backward_rois(
                given, maps, rois, chosen, boxes_per_chunk=data.draw(most), **options
            )
            assert found.dtype == expected.dtype and found.shape == expected.shape
            assert_same_bits(found.compute(), expected)


RNG = np.random.default_rng(0)


def test_gradients_of_offsets_and_mask(examples):
    features, rois = RNG.random((3, 5, 9, 8)), np.array([[2, 1, 1, 7, 8], [0, 0, 3, 5, 7], [2, 2, 2, 4, 4.0]])
    offsets, mask = RNG.standard_normal((3, 2, 2, 3)), RNG.random((3, 1, 2, 3))
    grad_output = RNG.random((3, 5, 2, 3))

    @examples(st.data(), share=0.05)
    def hold(data):
        arrays = {
            "grad_output": grad_output,
            "features": features,
            "offsets": offsets,
            "mask": mask,
        }
        given = {name: data.draw(chunked(array)) for name, array in arrays.items()}
        for name in ("offsets", "mask"):
            function = f"deform_roi_pool_backward_{name}"
            expected = getattr(roicy, function)(rois=rois, **arrays)
            found = getattr(roicy.dask, function)(rois=rois, **given).compute(scheduler="synchronous")
            assert_same_bits(found, expected)
        found = roicy.dask.deform_roi_pool(given["features"], rois, given["offsets"], (2, 3), mask=mask)
        expected = roicy.deform_roi_pool(features, rois, offsets, (2, 3), mask=mask)
        assert_same_bits(found.compute(scheduler="synchronous"), expected)


CROPS = [
    {},
    {"fill": [1, 2, 3], "mean": [4, 5, 6], "std": [2, 3, 4], "reverse_channels": True, "out_layout": "NCHW"},
    {"layout": "NCHW", "dtype": "uint8", "border": "edge", "sampling_ratio": 0},
    {"layout": "NCHW", "out_layout": "NHWC", "interpolation": "nearest"},
]


@pytest.mark.parametrize("options", CROPS)
@pytest.mark.parametrize("single", [False, True])
def test_crops(options, single, examples):
    order = (0, 1, 2, 3) if options.get("layout") == "NCHW" else (0, 2, 3, 1)
    images = RNG.integers(0, 256, (3, 3, 17, 13), dtype=np.uint8).transpose(order)
    boxes = np.column_stack([[2, 0, 2, 1], RNG.random((4, 2)) * 9, RNG.random((4, 2)) * 9 + 5])
    if single:
        images, boxes = images[0], boxes[:, 1:]
    expected = roicy.crop_and_resize(images, boxes, (4, 5), **options)
    backward = {key: value for key, value in options.items() if key not in ("fill", "mean", "dtype")}
    grad_output = RNG.random(expected.shape, np.float32)

    @examples(st.data(), share=0.03)
    def hold(data):
        with dask.config.set(scheduler="synchronous"):
            given = data.draw(chunked(images))
            found = roicy.dask.crop_and_resize(given, boxes, (4, 5), **options)
            assert found.dtype == expected.dtype
            assert_same_bits(found.compute(), expected)
            grad = data.draw(chunked(grad_output))
            found = roicy.dask.crop_and_resize_backward(grad, boxes, images.shape, **backward)
            wanted = roicy.crop_and_resize_backward(grad_output, boxes, images.shape, **backward)
            assert found.shape == images.shape
            assert_same_bits(found.compute(), wanted)
            if options.get("interpolation") == "nearest":
                return
            more = {"fill": options.get("fill", 0)}
            found = roicy.dask.crop_and_resize_backward_boxes(grad, given, boxes, **backward, **more)
            wanted = roicy.crop_and_resize_backward_boxes(grad_output, images, boxes, **backward, **more)
            assert_same_bits(found.compute(), wanted)


QUADS = np.array([[3, 2], [12, 5], [11, 14], [2, 12]]) + RNG.uniform(-4, 4, (5, 4, 2))
QUAD_OPTIONS = [
    {},
    {"fill": [1, 2, 3], "mean": 4, "reverse_channels": True, "out_layout": "NCHW", "sampling_ratio": 2},
    {"layout": "NCHW", "dtype": "uint8", "border": "edge"},
]


@pytest.mark.parametrize("options", QUAD_OPTIONS)
def test_quadrangles(options, examples):
    order = (0, 1, 2, 3) if options.get("layout") == "NCHW" else (0, 2, 3, 1)
    images = RNG.integers(0, 256, (3, 3, 17, 13), dtype=np.uint8).transpose(order)
    indices = np.array([2, 0, 2, 1, 0])
    lists = [QUADS[indices == image] for image in range(3)]

    @examples(st.data(), share=0.03)
    def hold(data):
        given, some = data.draw(chunked(images)), data.draw(most)
        with on_dask(data.draw(rooms), data.draw(schedulers), data.draw(calls)):
            for corners, more in ((QUADS, {"batch_indices": indices}), (lists, {})):
                expected = roicy.crop_quads(images, corners, (4, 5), **more, **options)
                more["boxes_per_chunk"] = some
                found = roicy.dask.crop_quads(given, corners, (4, 5), **more, **options)
                assert found.dtype == expected.dtype and found.shape == expected.shape
                assert_same_bits(found.compute(), expected)
            found, places = roicy.dask.crop_quads(given, lists, (4, 5), order="image", **options)
            assert_same_bits(found.compute(), expected[places])
            expected = roicy.crop_quads(images, QUADS, (4, 5), batch_indices=indices, **options)
            corners, of = data.draw(chunked(QUADS)), data.draw(chunked(indices))
            lazy = roicy.dask.crop_quads(given, corners, (4, 5), batch_indices=of, order="image", **options)
            assert lazy[0].dtype == expected.dtype and lazy[0].shape[1:] == expected.shape[1:]
            found, places = dask.compute(*lazy)
            assert_same_bits(found, expected[places])


@pytest.mark.parametrize("form", ["lists", "numbered", "apart"])
def test_lists_of_images(form, examples):
    """Each a Dask array of its own, in tiles of its own."""
    sizes = [(17, 13), (9, 30), (25, 8), (4, 4)]
    images = [RNG.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    indices = np.array([2, 0, 2, 1, 0])
    corners = np.column_stack([RNG.random((5, 2)) * 8, RNG.random((5, 2)) * 9 + 5])
    boxes, more = {
        "lists": ([corners[indices == image] for image in range(4)], {}),
        "numbered": (np.column_stack([indices, corners]), {}),
        "apart": (corners, {"batch_indices": indices}),
    }[form]
    options = {"mean": 3, "std": 2, "out_layout": "NCHW", **more}
    expected = roicy.crop_and_resize(images, boxes, (4, 5), **options)
    grad = RNG.random(expected.shape, np.float32)
    backward = {key: value for key, value in options.items() if key != "mean"}
    grads = roicy.crop_and_resize_backward(grad, boxes, [image.shape for image in images], **backward)
    slopes = roicy.crop_and_resize_backward_boxes(grad, images, boxes, **backward)
    slopes = slopes if form == "lists" else [slopes]

    @examples(st.data(), share=0.03)
    def hold(data):
        given, of_grad = [data.draw(chunked(image)) for image in images], data.draw(chunked(grad))
        with dask.config.set(scheduler=data.draw(schedulers)):
            found = roicy.dask.crop_and_resize(given, boxes, (4, 5), **options)
            assert found.dtype == expected.dtype and found.shape == expected.shape
            assert_same_bits(found.compute(), expected)
            found, order = roicy.dask.crop_and_resize(given, boxes, (4, 5), order="image", **options)
            assert_same_bits(found.compute(), expected[order])
            shapes = [image.shape for image in images]
            found = roicy.dask.crop_and_resize_backward(of_grad, boxes, shapes, **backward)
            for one, wanted in zip(found, grads, strict=True):
                assert_same_bits(one.compute(), wanted)
            found = roicy.dask.crop_and_resize_backward_boxes(of_grad, given, boxes, **backward)
            for one, wanted in zip(found if form == "lists" else [found], slopes, strict=True):
                assert_same_bits(one.compute(), wanted)

    quads = {"batch_indices": indices}
    found = roicy.dask.crop_quads(list(map(da.from_array, images)), QUADS, 4, **quads)
    assert_same_bits(found.compute(), roicy.crop_quads(images, QUADS, 4, **quads))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("aggregate", ["sum", "concat"])
def test_vectors(layout, aggregate, examples):
    shape = (4, 6, 9, 7) if layout == "NCHW" else (4, 9, 7, 6)
    features = random_values(RNG, shape, np.float32)
    options = {"layout": layout, "aggregate": aggregate, "whiten": (RNG.random(6), RNG.random((6, 6)))}
    expected = roicy.rmac(features, **options)
    grad_output = random_values(RNG, expected.shape, np.float32)
    wanted = roicy.rmac_backward(grad_output, features, **options)

    @examples(st.data(), share=0.03)
    def hold(data):
        given = data.draw(chunked(features))
        with dask.config.set(scheduler="synchronous"):
            assert_same_bits(roicy.dask.rmac(given, **options).compute(), expected)
            grad = data.draw(chunked(grad_output))
            assert_same_bits(roicy.dask.rmac_backward(grad, given, **options).compute(), wanted)


@pytest.mark.parametrize("threshold", [0.5, None])
def test_pasted_masks(threshold, examples):
    masks, boxes = RNG.random((5, 4, 4), np.float32), np.array([[1, 1, 9, 8]] * 5) + np.arange(5)[:, None]
    expected = roicy.paste_masks(masks, boxes, (12, 14), threshold=threshold)

    @examples(st.data(), share=0.05)
    def hold(data):
        given, some = data.draw(chunked(masks)), data.draw(most)
        for rows in (boxes, data.draw(chunked(boxes))):
            found = roicy.dask.paste_masks(given, rows, (12, 14), threshold=threshold, boxes_per_chunk=some)
            assert_same_bits(found.compute(scheduler="synchronous"), expected)


# ---------------------------------------------------------------- boxes in every form


def test_forms_of_boxes():
    features = RNG.random((4, 2, 8, 8), np.float32)
    maps = da.from_array(features, chunks=(2, 1, 8, 8))
    corners = np.array([[0, 1, 5, 6], [2, 2, 7, 8], [1, 0, 4, 8]], np.float32)
    images = np.array([3, 0, 3])
    numbered = np.column_stack([images, corners]).astype(np.float32)
    grad = RNG.random((3, 2, 2, 2), np.float32)
    grad_output = da.from_array(grad, chunks=(2, 1, 2, 2))
    for rois, more in (
        (numbered, {}),
        (corners, {"batch_indices": images}),
        (corners.tolist(), {"batch_indices": images.tolist()}),
        ([corners[[1]], corners[:0], corners[:0], corners[[0, 2]]], {}),
    ):
        expected = roicy.roi_align(features, rois, 2, **more)
        assert_same_bits(roicy.dask.roi_align(maps, rois, 2, **more).compute(), expected)
        found = roicy.dask.roi_align_backward_rois(grad_output, maps, rois, **more)
        wanted = roicy.roi_align_backward_rois(grad, features, rois, **more)
        if not isinstance(wanted, list):
            found, wanted = [found], [wanted]
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert_same_bits(one.compute(), other)
    assert_same_bits(
        roicy.dask.roi_align(maps[:1], corners, 2).compute(), roicy.roi_align(features[:1], corners, 2)
    )


def test_invalid_rows():
    features = RNG.random((3, 2, 8, 8), np.float32)
    maps = da.from_array(features, chunks=(1, 2, 8, 8))
    rois = np.array(
        [[5, 0, 0, 4, 4], [2, 0, np.nan, 4, 4], [-1, 0, 0, 4, 4], [np.nan, 0, 0, 4, 4], [1, 0, 0, 4, 4]]
    )
    for function in ("roi_align", "roi_pool"):
        expected = getattr(roicy, function)(features, rois, 2, invalid="nan")
        found = getattr(roicy.dask, function)(maps, rois, 2, invalid="nan")
        assert np.isnan(expected[:4]).all()
        assert_same_bits(found.compute(), expected)
        with pytest.raises(ValueError, match="rois row 0") as eager:
            getattr(roicy, function)(features, rois, 2)
        with pytest.raises(ValueError, match="rois row 0") as graph:
            getattr(roicy.dask, function)(maps, rois, 2)
        assert str(graph.value) == str(eager.value)


# ---------------------------------------------------------------- boxes that are computed, too


@of_all
def test_lazy_boxes(operator, examples):
    if operator.function == "deform_roi_pool":
        return  # whose offsets are known when their boxes are

    @examples(operator.problems(most_channels=7), st.data(), share=SHARE * operator.share)
    def hold(problem, data):
        features, rois, size, options = problem
        expected = operator.forward(features, rois, size, **options)
        boxes = data.draw(chunked(rois))
        kept = boxes[boxes[:, 0] > -1]  # of unknown number
        with on_dask():
            pooled, order = operator.call(
                "",
                features=data.draw(chunked(features)),
                rois=kept,
                output_size=size,
                order="image",
                **options,
            )
            found, numbers = dask.compute(pooled, order)
        assert found.dtype == expected.dtype == pooled.dtype
        assert_same_bits(found, expected[numbers])


@of_all
def test_gradients_of_lazy_boxes(operator, examples):
    """Rows are in the order of the images, as what was pooled has them."""
    if operator.function == "deform_roi_pool":
        return

    @examples(operator.problems(most_channels=7), st.data(), share=SHARE * operator.share)
    def hold(problem, data):
        features, rois, size, options = problem
        pooled, argmax = operator.both(features, rois, size, **options)
        dtype = pooled.dtype
        expected = operator.backward(pooled, rois, features.shape, argmax, **options)
        boxes, maps = data.draw(chunked(rois)), data.draw(chunked(features)).rechunk({2: -1, 3: -1})
        kept = boxes[boxes[:, 0] > -1]
        with on_dask(scheduler=data.draw(schedulers)):
            wanted = {"return_argmax": True} if operator.has_argmax else {}
            given, *chosen, _ = operator.call(
                "", features=maps, rois=kept, output_size=size, order="image", **wanted, **options
            )
            chosen = chosen[0] if chosen else None
            more = {"order": "image", **options}
            found = operator.backward(given, kept, features.shape, chosen, chunks=maps.chunks, **more)
            assert found.dtype == dtype
            assert_same_bits(found.compute(), expected)
            if not operator.has_slopes:
                return
            slopes, order = dask.compute(*operator.backward_rois(given, maps, kept, chosen, **more))
        expected = operator.backward_rois(pooled, features, rois, argmax, **options)
        assert_same_bits(slopes, expected[order])


def test_lazy_boxes_in_two_arrays():
    features, corners = RNG.random((5, 3, 9, 8), np.float32), np.array([[0, 1, 5, 6], [2, 2, 7, 8.0]] * 3)
    images = np.array([4, 0, 2, 2, 4, 1])
    maps, boxes = da.from_array(features, chunks=(2, 2, 4, 8)), da.from_array(corners, chunks=(2, 3))
    found = roicy.dask.roi_pool(
        maps, boxes, 2, batch_indices=da.from_array(images, chunks=4), return_argmax=True, order="image"
    )
    expected = roicy.roi_pool(features, corners, 2, batch_indices=images, return_argmax=True)
    pooled, argmax, order = dask.compute(*found)
    np.testing.assert_array_equal(np.sort(order), np.arange(6))
    assert_same_bits(pooled, expected[0][order])
    assert_same_bits(argmax, expected[1][order])
