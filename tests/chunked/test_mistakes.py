"""Errors name the argument, and are raised when the graph is built where that can be known."""

import numpy as np
import pytest

pytest.importorskip("dask.array", reason="dask[array] is not installed")

import dask.array as da

import roicy
import roicy.dask

FEATURES = np.zeros((4, 3, 8, 8), np.float32)
MAPS = da.from_array(FEATURES, chunks=(2, 3, 8, 8))
ROIS = np.array([[1, 0, 0, 6, 5], [3, 1, 2, 7, 8]], np.float32)
UNKNOWN = MAPS[MAPS[:, 0, 0, 0] > -1]
GRAD = da.zeros((2, 3, 2, 2), chunks=(1, 3, 2, 2), dtype=np.float32)


def align(features=MAPS, rois=ROIS, output_size=2, **options):
    return roicy.dask.roi_align(features, rois, output_size, **options)


def backward(grad_output=GRAD, rois=ROIS, input_shape=FEATURES.shape, **options):
    return roicy.dask.roi_align_backward(grad_output, rois, input_shape, **options)


def slopes(grad_output=GRAD, features=MAPS, rois=ROIS, **options):
    return roicy.dask.roi_align_backward_rois(grad_output, features, rois, **options)


def quads(corners=None, images=MAPS, **options):
    corners = OUTLINES if corners is None else corners
    return roicy.dask.crop_quads(images, corners, 2, **{"batch_indices": [1, 0], "layout": "NCHW", **options})


OUTLINES = np.array([[[0, 0], [6, 1], [5, 6], [1, 5]]] * 2, np.float32)
LAZY = da.from_array(ROIS, chunks=1)
OUTSIDE = np.array([[1, 0, 0, 6, 5], [4, 1, 2, 7, 8]], np.float32)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: align(FEATURES), TypeError, "features must be a dask.array.Array, got numpy.ndarray"),
        (lambda: align(UNKNOWN), ValueError, "features must have chunks of known sizes"),
        (lambda: align(MAPS[0]), ValueError, "features must have 4 axes"),
        (lambda: align(MAPS.astype("int64")), TypeError, "features must be float16"),
        (lambda: align(rois=OUTSIDE), ValueError, "rois row 1, .* has batch index 4.0"),
        (lambda: align(rois=ROIS * np.nan), ValueError, "rois row 0, .* is not finite"),
        (lambda: align(rois=ROIS[:, :3]), ValueError, "rois must have shape"),
        (lambda: align(rois=ROIS[:, 1:]), ValueError, "rois of shape .* say no batch index"),
        (lambda: align(rois=ROIS[:, 1:], batch_indices=[0]), ValueError, "batch_indices must have shape"),
        (lambda: align(order="boxes"), ValueError, "order must be 'rois' or 'image', got 'boxes'"),
        (
            lambda: align(boxes_per_chunk=0),
            ValueError,
            "boxes_per_chunk must be 'auto' or an int of at least 1",
        ),
        (lambda: align(boxes_per_chunk="all"), ValueError, "boxes_per_chunk must be 'auto' or"),
        (lambda: align(num_threads=0), ValueError, "num_threads must be at least 1, got 0"),
        (lambda: align(layout="CHWN"), ValueError, "layout must be 'NCHW' or 'NHWC'"),
        (lambda: align(output_size=0), ValueError, "output_size"),
        (lambda: align(return_argmax=True), ValueError, "return_argmax"),
        (lambda: align(spatial_scale="x"), TypeError, "spatial_scale must be"),
        (lambda: align(out=FEATURES), TypeError, "'out'"),
        (lambda: align(sampling_ratio=MAPS[0, 0, 0, 0]), TypeError, "sampling_ratio must not be a dask"),
        (
            lambda: backward(GRAD[:1]),
            ValueError,
            "grad_output must have a row for each of the 2 rows of rois",
        ),
        (lambda: backward(GRAD[:, 0]), ValueError, "grad_output must have 4 axes"),
        (lambda: backward(GRAD[:, :2]), ValueError, "grad_output must have shape"),
        (lambda: backward(GRAD.astype("int32")), TypeError, "grad_output must be float16"),
        (lambda: backward(mode="max"), ValueError, "argmax must be given"),
        (lambda: backward(input_shape=(4, 3, 8)), ValueError, "input_shape must be 4 ints"),
        (lambda: backward(chunks=(1, 3, -8, 8)), ValueError, "chunks must be those of an array of shape"),
        (lambda: backward(chunks=(1, 3, 8)), ValueError, "chunks must be those of an array of shape"),
        (lambda: backward(chunks=(-3, 3, 8, 8)), ValueError, "chunks must be those of an array of shape"),
        (lambda: backward(chunks=(0, 3, 8, 8)), ValueError, "chunks must be those of an array of shape"),
        (lambda: align(rois=LAZY), ValueError, "order must be 'image' for rois that are a Dask array"),
        (lambda: align(rois=LAZY[0], order="image"), ValueError, "rois must have 2 axes"),
        (lambda: backward(rois=LAZY), ValueError, "order must be 'image' for rois that are a Dask array"),
        (lambda: backward(order="image"), ValueError, "order must be 'rois' for rois that are known"),
        (
            lambda: backward(rois=LAZY, order="image", chunks=(1, 3, 8, 8)),
            ValueError,
            "grad_output must have a chunk of rows for each of the 4 chunks of images",
        ),
        (
            lambda: backward(rois=LAZY, order="image", chunks=(2, 3, 4, 8)),
            ValueError,
            "chunks must have all rows and columns of an image in one",
        ),
        (lambda: backward(FEATURES[:2], LAZY, order="image"), TypeError, "grad_output must be a dask.array"),
        (lambda: slopes(rois=LAZY), ValueError, "order must be 'image' for rois that are a Dask array"),
        (lambda: slopes(features=UNKNOWN), ValueError, "features must have chunks of known sizes"),
        (lambda: slopes(rois=OUTSIDE), ValueError, "rois row 1, .* has batch index 4.0"),
        (lambda: slopes(GRAD.astype("float64")), TypeError, "grad_output must be float32"),
        (lambda: quads(OUTLINES + np.nan), ValueError, "corners row 0, .* is not finite"),
        (
            lambda: quads(OUTLINES, batch_indices=[1, 9]),
            ValueError,
            r"corners row 1, .* batch_indices\[1\] = 9",
        ),
        (lambda: quads(OUTLINES[:, :3]), ValueError, "corners must have shape"),
        (
            lambda: quads(da.from_array(OUTLINES)),
            ValueError,
            "order must be 'image' for corners that are a Dask",
        ),
        (
            lambda: quads(da.from_array(OUTLINES[:, 0]), order="image", batch_indices=None),
            ValueError,
            r"corners must have 3 axes and shape \(K, 4, 2\), got \(2, 2\)",
        ),
        (
            lambda: quads(da.from_array(OUTLINES), [MAPS[0], MAPS[1]], order="image"),
            TypeError,
            "corners must be known when this graph is made",
        ),
        (lambda: quads(images=FEATURES), TypeError, "images must be a dask.array.Array"),
        (lambda: quads(images=UNKNOWN), ValueError, "images must have chunks of known sizes"),
        (lambda: quads(images=[]), ValueError, "images must be an array or a list of at least one array"),
        (lambda: quads(images=[MAPS[0], FEATURES[0]]), TypeError, r"images\[1\] must be a dask.array.Array"),
        (
            lambda: quads(images=[MAPS[0], MAPS[0].astype("uint8")]),
            TypeError,
            r"images\[1\] must be float32, the dtype of images\[0\], got uint8",
        ),
        (
            lambda: quads(images=[MAPS[0], MAPS[0, :, :0]], batch_indices=[0, 0]),  # of which no box is
            ValueError,
            r"images\[1\] must have at least one pixel",
        ),
        (lambda: align(rois=LAZY[:, :3], order="image"), ValueError, "rois must have shape"),
        (lambda: roicy.dask.ps_roi_align(MAPS, ROIS, 2), ValueError, "features must have a multiple of 2"),
        (lambda: roicy.dask.rmac(FEATURES), TypeError, "features must be a dask.array.Array"),
        (
            lambda: roicy.dask.rmac_backward(GRAD[:, :, 0, 0], MAPS),
            ValueError,
            "features must have as many rows",
        ),
        (lambda: roicy.dask.paste_masks(GRAD[:, 0], ROIS, (9, 9)), ValueError, "boxes must have shape"),
        (
            lambda: roicy.dask.paste_masks(GRAD[:, 0], [[0, 0, 1, 1], [0, 0, np.inf, 1]], (9, 9)),
            ValueError,
            "boxes row 1, .* is not finite",
        ),
        (
            lambda: roicy.dask.paste_masks(GRAD[:, 0], ROIS[:, 1:], (9, 9), to="rle"),
            ValueError,
            "to must be 'masks'",
        ),
    ],
)
def test_mistakes(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_chunks_of_another_dtype():
    wrong = MAPS.map_blocks(lambda block: block.astype("float64"), dtype=np.float32)
    with pytest.raises(
        TypeError, match=r"features must have chunks of float32, as it says itself, got .* float64"
    ):
        align(wrong).compute()


def test_a_warning_is_given_once_and_here():
    normalised = np.tile(np.array([[1, 0.1, 0.1, 0.9, 0.8]], np.float32), (4, 1))
    maps = da.zeros((4, 3, 32, 32), chunks=(1, 3, 32, 32), dtype=np.float32)
    with pytest.warns(roicy.RoisWarning, match="rois look normalised") as caught:
        pooled = align(maps, normalised)
    assert len(caught) == 1 and caught[0].filename == __file__
    pooled.compute()  # warnings are errors
    with pytest.warns(roicy.RoisWarning, match="boxes look normalised") as caught:
        pasted = roicy.dask.paste_masks(maps[:, 0], normalised[:, 1:], (32, 32))
    assert len(caught) == 1 and caught[0].filename == __file__
    pasted.compute()


def test_lazy_boxes_of_images_that_are_not_there():
    with pytest.raises(ValueError, match=r"rois row 1, .* has batch index 4.0"):
        align(rois=da.from_array(OUTSIDE, chunks=1), order="image")[0].compute()
