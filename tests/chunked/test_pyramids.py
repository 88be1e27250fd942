"""Pooling from the maps of a pyramid in chunks."""

import numpy as np
import pytest

pytest.importorskip("dask.array", reason="dask[array] is not installed")

import dask
import dask.array as da
from closeness import assert_same_bits
from hypothesis import strategies as st

import roicy
import roicy.dask
from chunked.chunks import chunked, schedulers

RNG = np.random.default_rng(0)
MAPS = [RNG.random((4, 3, side, side + 2), np.float32) for side in (32, 16, 8)]
CORNERS = RNG.random((15, 2)) * 60
ROIS = np.column_stack([RNG.integers(0, 4, 15), CORNERS, CORNERS + RNG.random((15, 2)) * 300])
TURNED = np.column_stack([ROIS, RNG.random(15) * 360])
SCALES = [1 / 4, 1 / 8, 1 / 16]
LAZY = da.from_array(ROIS, chunks=(4, 5))


@pytest.mark.parametrize("levels", ["torchvision", RNG.integers(-1, 3, 15)], ids=["rule", "given"])
@pytest.mark.parametrize("function", ["align", "align_rotated", "pool"])
def test_same_bits(function, levels, examples):
    name, rois = f"multi_scale_roi_{function}", TURNED if function == "align_rotated" else ROIS
    options = {"spatial_scales": SCALES, "levels": levels}
    if function == "pool":
        options["return_argmax"] = True
    expected = getattr(roicy, name)(MAPS, rois, (2, 3), **options)
    expected = expected if function == "pool" else (expected,)

    @examples(st.data(), share=0.03)
    def hold(data):
        maps = [data.draw(chunked(level)) for level in MAPS]
        some = data.draw(st.sampled_from(["auto", 2]))
        found = getattr(roicy.dask, name)(maps, rois, (2, 3), boxes_per_chunk=some, **options)
        *by_image, order = getattr(roicy.dask, name)(maps, rois, (2, 3), order="image", **options)
        for one, other, wanted in zip(
            found if function == "pool" else (found,), by_image, expected, strict=True
        ):
            assert one.dtype == wanted.dtype
            assert_same_bits(one.compute(scheduler="synchronous"), wanted)
            assert_same_bits(other.compute(scheduler="synchronous"), wanted[order])


@pytest.mark.parametrize("order", ["rois", "image"])
def test_argmax_of_summed_maps(order):
    options = {"spatial_scales": SCALES, "merge": "sum", "return_argmax": True}
    expected = roicy.multi_scale_roi_pool(MAPS, ROIS, 2, **options)
    maps = [da.from_array(level, chunks=(2, 1, 8, 8)) for level in MAPS]
    found = roicy.dask.multi_scale_roi_pool(maps, ROIS, 2, order=order, boxes_per_chunk=4, **options)
    rows = found[2] if order == "image" else np.arange(len(ROIS))
    for array, wanted in zip(found[:2], (expected[0][rows], expected[1][:, rows]), strict=True):
        assert array.shape == wanted.shape and array.dtype == wanted.dtype
        assert_same_bits(array.compute(scheduler="synchronous"), wanted)


@pytest.mark.parametrize("merge", ["assigned", "sum"])
@pytest.mark.parametrize("levels", ["torchvision", RNG.integers(-1, 3, 15)], ids=["rule", "given"])
@pytest.mark.parametrize("function", ["align", "align_rotated", "pool"])
def test_gradients(function, levels, merge, examples):
    name, rois = f"multi_scale_roi_{function}", TURNED if function == "align_rotated" else ROIS
    options = {
        "spatial_scales": SCALES,
        "levels": "torchvision" if merge == "sum" else levels,
        "merge": merge,
    }
    expected = getattr(roicy, name)(MAPS, rois, (2, 3), **options)
    grad, shapes = RNG.random(expected.shape, np.float32), [level.shape for level in MAPS]
    chosen = {}
    if function == "pool":
        chosen["argmax"] = roicy.multi_scale_roi_pool(MAPS, rois, (2, 3), return_argmax=True, **options)[1]
    expected = getattr(roicy, f"{name}_backward")(grad, rois=rois, input_shapes=shapes, **chosen, **options)

    @examples(st.data(), share=0.03)
    def hold(data):
        given, chunks = data.draw(chunked(grad)), data.draw(st.sampled_from(["auto", 1, 3, (1, 2, 1)]))
        more = {key: data.draw(chunked(array)) for key, array in chosen.items()}
        with dask.config.set(scheduler=data.draw(schedulers)):
            found = getattr(roicy.dask, f"{name}_backward")(
                given, rois=rois, input_shapes=shapes, chunks=chunks, **more, **options
            )
            assert len(found) == len(MAPS)
            for one, wanted in zip(found, expected, strict=True):
                assert one.shape == wanted.shape and one.dtype == wanted.dtype
                assert chunks == "auto" or one.numblocks[1:] == (1, 1, 1)
            for one, wanted in zip(dask.compute(*found), expected, strict=True):
                assert_same_bits(one, wanted)
            if function == "pool":
                return
            maps, some = (
                [data.draw(chunked(level)) for level in MAPS],
                data.draw(st.sampled_from(["auto", 2])),
            )
            call = getattr(roicy.dask, f"{name}_backward_rois")
            slopes = call(given, maps, rois, boxes_per_chunk=some, **options)
            wanted = getattr(roicy, f"{name}_backward_rois")(grad, MAPS, rois, **options)
            assert slopes.shape == wanted.shape
            assert_same_bits(slopes.compute(), wanted)


@pytest.mark.parametrize("merge", ["assigned", "sum"])
def test_boxes_that_are_computed(merge):
    """And their gradients, whose rows are in the order of the images."""
    maps = [da.from_array(level, chunks=((1, 2, 1), 3, 8, 8)) for level in MAPS]
    options = {"spatial_scales": SCALES, "merge": merge}
    shapes = [level.shape for level in MAPS]
    kept = LAZY[LAZY[:, 0] > -1]  # of unknown number
    pooled, argmax, order = roicy.dask.multi_scale_roi_pool(
        maps, kept, 2, order="image", return_argmax=True, **options
    )
    grads = roicy.dask.multi_scale_roi_pool_backward(
        pooled, argmax, kept, shapes, chunks=(1, 2, 1), order="image", **options
    )
    found = dask.compute(pooled, argmax, order, *grads, scheduler="threads")
    values, chosen = roicy.multi_scale_roi_pool(MAPS, ROIS, 2, return_argmax=True, **options)
    assert_same_bits(found[0], values[found[2]])
    assert_same_bits(found[1], chosen[found[2]] if merge == "assigned" else chosen[:, found[2]])
    expected = roicy.multi_scale_roi_pool_backward(values, chosen, ROIS, shapes, **options)
    for one, wanted in zip(found[3:], expected, strict=True):
        assert_same_bits(one, wanted)
    pooled, _ = roicy.dask.multi_scale_roi_align(maps, kept, 2, order="image", **options)
    slopes = roicy.dask.multi_scale_roi_align_backward_rois(pooled, maps, kept, order="image", **options)
    values, slopes, order = dask.compute(pooled, *slopes, scheduler="synchronous")
    expected = roicy.multi_scale_roi_align(MAPS, ROIS, 2, **options)
    assert_same_bits(values, expected[order])
    expected = roicy.multi_scale_roi_align_backward_rois(expected, MAPS, ROIS, **options)
    assert_same_bits(slopes, expected[order])


def test_mistakes_of_gradients():
    shapes = [level.shape for level in MAPS]
    grad = da.zeros((15, 3, 2, 2), chunks=(5, 3, 2, 2), dtype=np.float32)

    def call(rois=ROIS, grad=grad, **options):
        return roicy.dask.multi_scale_roi_align_backward(
            grad, rois, shapes, **{"spatial_scales": SCALES, **options}
        )

    for error, words, arguments in (
        (ValueError, "grad_output must have a row for each of the 15 rows", {"grad": grad[:3]}),
        (ValueError, "grad_output must have shape", {"grad": grad[:, :2]}),
        (ValueError, "rois row 0", {"rois": ROIS + 4}),
        (ValueError, "chunks must be those of 4 images", {"chunks": (1, 2)}),
        (ValueError, "chunks must be those of 4 images", {"chunks": -3}),
        (ValueError, "order must be 'rois' for rois that are known", {"order": "image"}),
        (ValueError, "order must be 'image' for rois that are a Dask array", {"rois": LAZY}),
        (
            ValueError,
            "grad_output must have a chunk of rows for each of the 4 chunks of images",
            {"rois": LAZY, "order": "image", "chunks": 1},
        ),
        (ValueError, "spatial_scales", {"spatial_scales": SCALES[:2]}),
    ):
        with pytest.raises(error, match=words):
            call(**arguments)


def test_mistakes():
    maps = [da.from_array(level, chunks=(2, 3, 8, 8)) for level in MAPS]
    call = roicy.dask.multi_scale_roi_align
    with pytest.raises(TypeError, match="features must be a list of Dask arrays"):
        call(maps[0], ROIS, 2, spatial_scales=SCALES)
    with pytest.raises(TypeError, match=r"features\[1\] must be a dask.array.Array"):
        call([maps[0], MAPS[1]], ROIS, 2, spatial_scales=SCALES[:2])
    with pytest.raises(ValueError, match="levels must have shape"):
        call(maps, ROIS, 2, spatial_scales=SCALES, levels=[0, 1])
    with pytest.raises(ValueError, match=r"levels\[14\] must lie between -1 and 2, got 3"):
        call(maps, ROIS, 2, spatial_scales=SCALES, levels=[0] * 14 + [3])
    call(maps, ROIS, 2, spatial_scales=SCALES, levels=[0] * 14 + [3], invalid="nan")
    with pytest.raises(ValueError, match="order must be 'image' for rois that are a Dask array"):
        call(maps, LAZY, 2, spatial_scales=SCALES)
    with pytest.raises(TypeError, match="levels must be the name of a rule for rois that are a Dask array"):
        call(maps, LAZY, 2, spatial_scales=SCALES, levels=[0] * 15, order="image")
    with pytest.raises(ValueError, match="rois row 0"):
        call(maps, ROIS + 4, 2, spatial_scales=SCALES)
    with pytest.raises(ValueError, match="spatial_scales"):
        call(maps, ROIS, 2, spatial_scales=SCALES[:2])
