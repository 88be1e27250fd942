"""The operators of other systems on CuPy arrays, on a machine without a GPU: see `cuda_host.arrays`."""

import shutil

import numpy as np
import pytest
from cuda_host import arrays
from test_cuda_arrays import close, on_device

from roicy.compat import caffe2, mxnet, onnx, torchvision

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
RNG = np.random.default_rng(5)
MAPS = RNG.standard_normal((2, 4, 9, 11)).astype(np.float32)
ROIS = np.array([[0, 1, 2, 9, 8], [1, -3, 0.5, 5, 11], [1, 4, 4, 4.5, 6], [0, 3, 3, 3, 3]], np.float32)
IMAGES = ROIS[:, 0].astype(np.int64)
SKIPPED = ROIS.copy()
SKIPPED[2, 0] = -1
NONE = np.empty(0, np.float32)
TURNED = np.array([[0, 5, 6, 8, 4, 30], [1, 8, 2, 5, 9, -75]], np.float32)
GRAD = RNG.standard_normal((4, 4, 2, 2)).astype(np.float32)
BINS = {"pooled_h": 2, "pooled_w": 2}
ADAPTIVE = {"aligned": True, "sampling_ratio": 0, **BINS}


def caffe2_argmaxes():
    return caffe2.RoIPool(MAPS, ROIS, **BINS)[1]


def mxnet_argmax():
    return mxnet.ROIPooling(MAPS, SKIPPED, 2, 1.0, return_argmax=True)[1]


def mxnet_positions():
    return mxnet.MaxROIAlign(MAPS, ROIS, 2, 0.5)[1:]


def pyramid():
    """Most of the boxes are of the finer map, and one is of no map."""
    layer = torchvision.MultiScaleRoIAlign(["fine", "coarse"], 2, 2, canonical_scale=8, canonical_level=2)
    layer.scales = [1 / 2, 1 / 4]
    return layer


# each takes what moves an array to the device, or leaves it where it is
CALLS = {
    "RoIAlign": lambda to: caffe2.RoIAlign(to(MAPS), to(ROIS), **BINS),
    "RoIAlign without samples": lambda to: caffe2.RoIAlign(to(MAPS), to(ROIS), **ADAPTIVE),
    "RoIAlign of one image": lambda to: caffe2.RoIAlign(to(MAPS[:1]), to(ROIS[:, 1:]), **BINS),
    "RoIAlign of nothing": lambda to: caffe2.RoIAlign(to(MAPS), to(NONE), **BINS),
    "RoIAlignGradient": lambda to: caffe2.RoIAlignGradient(to(MAPS), to(ROIS), to(GRAD), **BINS),
    "RoIAlignRotated": lambda to: caffe2.RoIAlignRotated(to(MAPS), to(TURNED), **ADAPTIVE),
    "RoIAlignRotatedGradient": lambda to: caffe2.RoIAlignRotatedGradient(
        to(MAPS), to(TURNED), to(GRAD[:2]), **BINS
    ),
    "RoIPool": lambda to: caffe2.RoIPool(to(MAPS), to(ROIS), **BINS),
    "RoIPoolGradient": lambda to: caffe2.RoIPoolGradient(
        to(MAPS), to(ROIS), to(caffe2_argmaxes()), to(GRAD), **BINS
    ),
    "RMACRegions": lambda to: caffe2.RMACRegions(to(MAPS)),
    "run_operator": lambda to: caffe2.run_operator("RoIPool", [to(MAPS), to(ROIS)], **BINS),
    "ROIPooling": lambda to: mxnet.ROIPooling(to(MAPS), to(SKIPPED), 2, 1.0),
    "ROIPooling with argmax": lambda to: mxnet.ROIPooling(to(MAPS), to(SKIPPED), 2, 1.0, return_argmax=True),
    "ROIPooling_backward": lambda to: mxnet.ROIPooling_backward(
        to(GRAD), to(SKIPPED), to(mxnet_argmax()), MAPS.shape
    ),
    "ROIAlign": lambda to: mxnet.ROIAlign(to(MAPS), to(SKIPPED), 2, 0.5),
    "ROIAlign aligned": lambda to: mxnet.ROIAlign(to(MAPS), to(ROIS[:2]), 2, 0.5, aligned=True),
    "ROIAlign by position": lambda to: mxnet.ROIAlign(to(MAPS), to(SKIPPED), 2, 0.5, position_sensitive=True),
    "ROIAlign_backward": lambda to: mxnet.ROIAlign_backward(to(GRAD), to(SKIPPED), MAPS.shape, 0.5),
    "ROIAlign_backward by position": lambda to: mxnet.ROIAlign_backward(
        to(GRAD[:, :1]), to(SKIPPED), MAPS.shape, 0.5, position_sensitive=True
    ),
    "RoiAlign": lambda to: onnx.RoiAlign(to(MAPS), to(ROIS[:, 1:]), to(IMAGES), mode="max"),
    "MaxRoiPool": lambda to: onnx.MaxRoiPool(to(MAPS), to(ROIS), pooled_shape=(2, 2)),
    "torchvision's RoIAlign": lambda to: torchvision.RoIAlign(2, 0.5, 2)(to(MAPS), to(ROIS)),
    "of a list": lambda to: torchvision.roi_align(to(MAPS), [to(ROIS[:1, 1:])], 2),
    "roi_align_backward": lambda to: torchvision.roi_align_backward(
        to(GRAD[:1]), [to(ROIS[:1, 1:])], MAPS.shape
    ),
    "torchvision's roi_pool": lambda to: torchvision.roi_pool(to(MAPS), to(ROIS), 2, return_argmax=True),
    "roi_pool_backward": lambda to: torchvision.roi_pool_backward(
        to(GRAD), to(ROIS), to(caffe2_argmaxes()), MAPS.shape
    ),
    "torchvision's PSRoIAlign": lambda to: torchvision.PSRoIAlign(2, 0.5, -1)(to(MAPS), to(ROIS)),
    "torchvision's ps_roi_pool": lambda to: torchvision.ps_roi_pool(to(MAPS), to(ROIS), 2, 0.5),
    "ps_roi_pool_backward": lambda to: torchvision.ps_roi_pool_backward(
        to(GRAD), to(ROIS), (2, 16, 9, 11), 0.5
    ),
    "ps_roi_align_backward": lambda to: torchvision.ps_roi_align_backward(
        to(GRAD), to(ROIS), (2, 16, 9, 11), 0.5
    ),
    "MultiScaleRoIAlign": lambda to: pyramid()(
        {"fine": to(MAPS), "coarse": to(MAPS[:, :, :4])}, [to(ROIS[:, 1:]), to(ROIS[:1, 1:])], [(18, 22)]
    ),
    "MaxROIAlign": lambda to: mxnet.MaxROIAlign(to(MAPS), to(ROIS), 2, 0.5),
    "MaxROIAlign_backward": lambda to: mxnet.MaxROIAlign_backward(
        to(GRAD), to(ROIS), *map(to, mxnet_positions()), MAPS.shape, 0.5
    ),
}

MISTAKES = {
    "negative size": lambda to: caffe2.RoIAlign(to(MAPS), to(ROIS[:, [0, 3, 4, 1, 2]]), aligned=True),
    "no such image": lambda to: caffe2.RoIPool(to(MAPS), to(SKIPPED)),
    "no such pixel": lambda to: mxnet.ROIPooling_backward(
        to(GRAD), to(SKIPPED), to(mxnet_argmax() + 1000), MAPS.shape
    ),
    "no such position": lambda to: mxnet.MaxROIAlign_backward(
        to(GRAD),
        to(ROIS),
        to(mxnet_positions()[0] + np.float32(0.1)),
        to(mxnet_positions()[1]),
        MAPS.shape,
        0.5,
    ),
    "not finite": lambda to: mxnet.MaxROIAlign(to(MAPS), to(np.where(ROIS == 9, np.nan, ROIS)), 2, 1.0),
}


def where_it_is(array):
    return array


@pytest.mark.parametrize("name", CALLS)
def test_results_are_arrays_of_the_library_that_was_given(monkeypatch, name):
    expected = CALLS[name](where_it_is)
    arrays.install(monkeypatch)
    close(CALLS[name](on_device), expected)


@pytest.mark.parametrize("name", MISTAKES)
def test_errors_are_the_same(monkeypatch, name):
    with pytest.raises(ValueError) as expected:
        MISTAKES[name](where_it_is)
    arrays.install(monkeypatch)
    with pytest.raises(ValueError) as found:
        MISTAKES[name](on_device)
    assert str(found.value) == str(expected.value)


def test_the_device_of_an_operator_is_that_of_its_arrays(monkeypatch):
    arrays.install(monkeypatch)
    inputs = [on_device(MAPS), on_device(ROIS)]
    close(caffe2.run_operator("RoIPool", inputs, "cuda"), caffe2.run_operator("RoIPool", [MAPS, ROIS], "cpu"))
    for device, given in (("cpu", inputs), ("cuda", [MAPS, ROIS])):
        with pytest.raises(
            ValueError, match=f"device must be None or where the .* arrays are, got '{device}'"
        ):
            caffe2.run_operator("RoIPool", given, device)
