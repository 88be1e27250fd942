"""Pooling from the maps of a pyramid in chunks."""

import numpy as np
import pytest

pytest.importorskip("dask.array", reason="dask[array] is not installed")

import dask.array as da
from closeness import assert_same_bits
from hypothesis import strategies as st

import roicy
import roicy.dask
from chunked.chunks import chunked

RNG = np.random.default_rng(0)
MAPS = [RNG.random((4, 3, side, side + 2), np.float32) for side in (32, 16, 8)]
CORNERS = RNG.random((15, 2)) * 60
ROIS = np.column_stack([RNG.integers(0, 4, 15), CORNERS, CORNERS + RNG.random((15, 2)) * 300])
TURNED = np.column_stack([ROIS, RNG.random(15) * 360])
SCALES = [1 / 4, 1 / 8, 1 / 16]


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
    with pytest.raises(TypeError, match="rois must be known when this graph is made"):
        call(maps, da.from_array(ROIS), 2, spatial_scales=SCALES)
    with pytest.raises(ValueError, match="rois row 0"):
        call(maps, ROIS + 4, 2, spatial_scales=SCALES)
    with pytest.raises(ValueError, match="spatial_scales"):
        call(maps, ROIS, 2, spatial_scales=SCALES[:2])
