"""The expected result of any call of a public function, or that there can be none.

An independent and simple version of the package's checks: `expected` takes arguments that the package has
accepted. It raises `Meaningless` if they have no meaning, and else returns the results of the references, if
the problem is small enough for these.
"""

import inspect
from types import SimpleNamespace

import numpy as np
import reference.maxima
import reference.pool
from closeness import assert_close, assert_same_bits
from operators import MAX
from strategies import result_dtype

from fuzz import crops, pastes, pooling, pyramids, quads
from fuzz.arguments import (
    Meaningless,
    array_of,
    flag,
    input_shape_of,
    integer,
    map_of,
    nchw,
    rois_of,
    size_of,
    word,
)
from fuzz.calls import FUNCTIONS, PLANS, SYNONYMS
from fuzz.pooling import Expected


def expected(call):
    """A list of the arrays that a call should return; None for those that are not checked in detail."""
    name, given = _as_roicy(call)
    if name is None:
        return None
    if name in PLANS and call.method is None:
        return None
    if name in PLANS:
        name, given = _of_plan(name, given, call)
    parts = [getattr(given, parameter, None) for parameter in ("window", "windows")]
    if parts != [None, None] and not call.good:
        return None  # else these are whole maps
    if name == "rmac_regions":
        return _regions(given)
    if name == "roi_align_argmax_positions":
        return _positions(given)
    if name.startswith("rmac"):
        return _descriptors(name, given)
    if name == "fpn_levels":
        return pyramids.levels(given)
    if name == "rotated_corners":
        return _corners(given)
    if name == "crop_quads":
        return quads.cut(given)
    if name == "paste_masks":
        return pastes.pasted(given)
    if name.startswith("crop_and_resize"):
        return crops.cropped(name, call, given)
    return (pyramids if name.startswith("multi_scale") else pooling).pooled(name, given)


def bound(function, arguments, *, first=()):
    """Arguments by their names, those that are not given included."""
    try:
        found = inspect.signature(function).bind(*first, **arguments)
    except TypeError as error:
        raise Meaningless(str(error)) from None
    found.apply_defaults()
    return SimpleNamespace(**found.arguments)


# ---------------------------------------------------------------- other systems and plans

# Those whose results are roicy's own, if the options that they treat in their own way are not used.
SAME_AS = {
    "caffe2.RoIAlign": "roi_align",
    "caffe2.RoIAlignGradient": "roi_align_backward",
    "caffe2.RoIAlignRotated": "roi_align_rotated",
    "caffe2.RoIAlignRotatedGradient": "roi_align_rotated_backward",
    "caffe2.RoIPool": "roi_pool",
    "onnx.MaxRoiPool": "roi_pool",
    "torchvision.roi_align": "roi_align",
    "torchvision.roi_align_backward": "roi_align_backward",
    "torchvision.roi_pool": "roi_pool",
    "torchvision.roi_pool_backward": "roi_pool_backward",
    "mxnet.ROIAlign": "roi_align",
    "mxnet.ROIAlign_backward": "roi_align_backward",
}


def _as_roicy(call):
    given = bound(FUNCTIONS[call.name], call.arguments)
    if "." not in call.name:
        return (None, None) if call.name == "set_num_threads" else (call.name, given)
    name = SAME_AS.get(call.name)
    if name is None or getattr(given, "aligned", False) or getattr(given, "position_sensitive", False):
        return None, None
    same = {SYNONYMS.get(key, key): value for key, value in vars(given).items()}
    for key in ("aligned", "position_sensitive"):
        same.pop(key, None)
    if "pooled_h" in same:
        same["output_size"] = same.pop("pooled_h"), same.pop("pooled_w")
    if "is_test" in same:
        same["return_argmax"] = not same.pop("is_test")
    held = not call.name.startswith("torchvision.")
    if held and isinstance(same.get("spatial_scale"), (float, np.floating)):
        same["spatial_scale"] = float(np.float32(same["spatial_scale"]))  # as those systems hold it
    rois = same["rois"]
    if call.name.startswith("caffe2.") and rois.size == 0:  # of any shape
        same["rois"] = rois = rois.reshape(0, 6 if "rotated" in name else 5)
    if call.name.startswith("torchvision.") and isinstance(rois, (list, tuple)):
        images = same["input_shape"][0] if "input_shape" in same else len(array_of(same["features"]))
        if images > 1000:
            return None, None
        same["rois"] = [*rois, *[np.empty((0, 4), np.float32)] * (images - len(rois))]  # of the first images
    if name.endswith("backward"):
        same.pop("output_size", None)
        if "features" in same:
            same["input_shape"] = array_of(same.pop("features")).shape
    if call.name.startswith("mxnet.") and (np.asarray(rois[:, 0]).astype(float) <= -1).any():
        return None, None  # boxes that are left out
    if (
        call.name.startswith("caffe2.")
        and rois.ndim == 2
        and rois.shape[1] == (5 if "rotated" in name else 4)
    ):
        return None, None  # boxes of image 0
    if not name.startswith("roi_pool"):
        same["aligned"] = False
    return name, bound(FUNCTIONS[name], same)


def _of_plan(name, given, call):
    # the function that a plan's method stands for, with the arguments of both
    function = name.removesuffix("_plan") + ("" if call.method == "__call__" else f"_{call.method}")
    parameters = inspect.signature(FUNCTIONS[function]).parameters
    method = {"out": None, "argmax": None, "return_argmax": False, **call.method_arguments}
    layout = word(given.layout, "NCHW", "NHWC")
    if "features" in method:
        wanted = getattr(given, "input_shape", None) or given.input_shapes
        features = method["features"]
        shapes = [array_of(each).shape for each in (features if "multi" in name else [features])]
        if shapes != [input_shape_of(shape) for shape in (wanted if "multi" in name else [wanted])]:
            raise Meaningless("features of another shape")
    if "grad_output" in method and hasattr(given, "output_size"):
        bins = array_of(method["grad_output"]).shape
        if (bins[2:] if layout == "NCHW" else bins[1:3]) != size_of(given.output_size):
            raise Meaningless("grad_output of another size")
        if getattr(given, "max_rule", None) == "onnx" and given.mode == "max":
            raise Meaningless("no gradient")
    both = {key: value for key, value in {**vars(given), **method}.items() if key in parameters}
    return function, bound(FUNCTIONS[function], both)


# ---------------------------------------------------------------- the places of maxima


def _positions(given):
    layout = word(given.layout, "NCHW", "NHWC")
    argmax = map_of(given.argmax, layout, [np.dtype(np.int32)])
    images = len(given.rois) if isinstance(given.rois, (list, tuple)) else 1
    rois, size = rois_of(given.rois, None, images, 4), argmax.shape[2:]
    if len(rois) != len(argmax) or min(size) < 1:
        raise Meaningless("argmax of another shape")
    options = pooling.options_of("roi_align", given)
    whole = np.isfinite(rois[:, 1:]).all(axis=1)
    if word(given.invalid, "raise", "nan") == "raise" and not whole.all():
        raise Meaningless("an invalid row")
    if not pooling.in_range(MAX, argmax[whole], rois[whole], None, size, options):
        raise Meaningless("argmax out of range")

    def hold_axis(axis):
        def hold(found):
            wanted = reference.maxima.positions(argmax, np.where(whole[:, None], rois, np.nan), **options)[
                axis
            ]
            assert_same_bits(nchw(found, layout), wanted)

        return hold

    shape = tuple(argmax.shape[axis] for axis in pooling.AXES[layout])
    return [Expected(shape, rois.dtype, hold_axis(axis)) for axis in (0, 1)]


# ---------------------------------------------------------------- corners of rotated boxes


def _corners(given):
    word(given.angle_unit, "degrees", "radians")
    flag(given.clockwise)
    images = len(given.rois) if isinstance(given.rois, (list, tuple)) else 1
    rois = rois_of(given.rois, None, images, 5)
    return [Expected((len(rois), 4, 2), rois.dtype)]


# ---------------------------------------------------------------- R-MAC


def _regions(given):
    layout = word(given.layout, "NCHW", "NHWC")
    shape = input_shape_of(given.input_shape)
    n, h, w = (shape[0], *shape[2:]) if layout == "NCHW" else shape[:3]
    scales, overlap = integer(given.scales), float(given.overlap)
    if scales < 1 or not 0 <= overlap < 1:
        raise Meaningless("scales or overlap")
    scales = min(scales, 2 * min(h, w)) if h and w else 0
    wanted = reference.pool.rmac_regions(n, h, w, scales, overlap) if scales else np.empty((0, 5), np.float32)
    return [Expected(wanted.shape, wanted.dtype, lambda found: assert_same_bits(found, wanted))]


def _descriptors(name, given):
    layout = word(given.layout, "NCHW", "NHWC")
    features = map_of(given.features, layout)
    joined = word(given.aggregate, "sum", "concat") == "concat"
    if callable(given.whiten):
        return None
    n, c, h, w = features.shape
    scales = min(integer(given.scales), 2 * min(h, w) + 1)
    regions = len(reference.pool.rmac_regions(1, h, w, scales, float(given.overlap))) if h and w else 0
    length = c if given.whiten is None else len(given.whiten[1])
    shape = (n, regions * length if joined else length)
    dtype = result_dtype(features.dtype)
    if name == "rmac_backward":
        if array_of(given.grad_output).shape != shape or array_of(given.grad_output).dtype != dtype:
            raise Meaningless("grad_output")
        return [Expected(array_of(given.features).shape, dtype)]
    if given.whiten is not None or not regions or not pooling.clean(features).all() or (features < 0).any():
        return [Expected(shape, dtype)]

    def hold(out):
        options = {"scales": scales, "overlap": float(given.overlap), "eps": float(given.eps)}
        assert_close(out, reference.pool.rmac(features, aggregate=given.aggregate, **options))

    return [Expected(shape, dtype, hold)]
