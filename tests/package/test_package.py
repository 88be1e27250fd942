"""The package as a whole: its names and signatures, its import, its command line and its documentation."""

import doctest
import importlib.util
import inspect
import subprocess
import sys

import numpy as np
import pytest

import roicy

# What has to be given to each function, in this order; everything else is by name only.
POSITIONAL = {
    "roi_align": ["features", "rois", "output_size"],
    "roi_align_backward": ["grad_output", "rois", "input_shape"],
    "roi_align_backward_rois": ["grad_output", "features", "rois"],
    "roi_align_argmax_positions": ["argmax", "rois"],
    "roi_align_plan": ["rois", "input_shape", "output_size"],
    "roi_align_rotated": ["features", "rois", "output_size"],
    "roi_align_rotated_backward": ["grad_output", "rois", "input_shape"],
    "roi_align_rotated_backward_rois": ["grad_output", "features", "rois"],
    "roi_align_rotated_plan": ["rois", "input_shape", "output_size"],
    "roi_pool": ["features", "rois", "output_size"],
    "roi_pool_backward": ["grad_output", "argmax", "rois", "input_shape"],
    "roi_pool_plan": ["rois", "input_shape", "output_size"],
    "prroi_pool": ["features", "rois", "output_size"],
    "prroi_pool_backward": ["grad_output", "rois", "input_shape"],
    "prroi_pool_backward_rois": ["grad_output", "features", "rois"],
    "prroi_pool_plan": ["rois", "input_shape", "output_size"],
    "deform_roi_pool": ["features", "rois", "offsets", "output_size"],
    "deform_roi_pool_backward": ["grad_output", "rois", "offsets", "input_shape"],
    "deform_roi_pool_backward_offsets": ["grad_output", "features", "rois", "offsets"],
    "deform_roi_pool_backward_mask": ["grad_output", "features", "rois", "offsets", "mask"],
    "deform_roi_pool_plan": ["rois", "offsets", "input_shape", "output_size"],
    "ps_roi_align": ["features", "rois", "output_size"],
    "ps_roi_align_backward": ["grad_output", "rois", "input_shape"],
    "ps_roi_align_backward_rois": ["grad_output", "features", "rois"],
    "ps_roi_align_plan": ["rois", "input_shape", "output_size"],
    "ps_roi_pool": ["features", "rois", "output_size"],
    "ps_roi_pool_backward": ["grad_output", "rois", "input_shape"],
    "ps_roi_pool_plan": ["rois", "input_shape", "output_size"],
    "multi_scale_roi_align": ["features", "rois", "output_size"],
    "multi_scale_roi_align_backward": ["grad_output", "rois", "input_shapes"],
    "multi_scale_roi_align_backward_rois": ["grad_output", "features", "rois"],
    "multi_scale_roi_align_plan": ["rois", "input_shapes", "output_size"],
    "multi_scale_roi_align_rotated": ["features", "rois", "output_size"],
    "multi_scale_roi_align_rotated_backward": ["grad_output", "rois", "input_shapes"],
    "multi_scale_roi_align_rotated_backward_rois": ["grad_output", "features", "rois"],
    "multi_scale_roi_align_rotated_plan": ["rois", "input_shapes", "output_size"],
    "multi_scale_roi_pool": ["features", "rois", "output_size"],
    "multi_scale_roi_pool_backward": ["grad_output", "argmax", "rois", "input_shapes"],
    "multi_scale_roi_pool_plan": ["rois", "input_shapes", "output_size"],
    "crop_and_resize": ["images", "boxes", "output_size"],
    "crop_quads": ["images", "corners", "output_size"],
    "crop_and_resize_backward": ["grad_output", "boxes", "input_shape"],
    "crop_and_resize_backward_boxes": ["grad_output", "images", "boxes"],
    "crop_and_resize_plan": ["boxes", "input_shape", "output_size"],
    "fpn_levels": ["rois", "num_levels"],
    "paste_masks": ["masks", "boxes", "image_size"],
    "rois_window": ["rois", "input_shape", "output_size"],
    "rois_windows": ["rois", "input_shape", "output_size"],
    "rotated_corners": ["rois"],
    "rmac": ["features"],
    "rmac_backward": ["grad_output", "features"],
    "rmac_plan": ["input_shape"],
    "rmac_regions": ["input_shape"],
}
OPERATOR_NAMES = list(POSITIONAL)
THREAD_NAMES = ["set_num_threads", "get_num_threads", "num_threads"]
PLAN_NAMES = [
    "CropPlan",
    "DeformRoIPoolPlan",
    "MultiScalePlan",
    "Plan",
    "RoIAlignPlan",
    "RoIAlignRotatedPlan",
]
MEMORY_NAMES = ["set_output_cache", "empty_output_cache"]
NAMES = [*OPERATOR_NAMES, *THREAD_NAMES, *MEMORY_NAMES, "show_config", *PLAN_NAMES, "RMACPlan", "RoisWarning"]

BOXES = {"batch_indices": None, "layout": "NCHW"}
SAMPLES = {"spatial_scale": 1.0, "sampling_ratio": 0, "aligned": True}
ANGLE = {"angle_unit": "degrees", "clockwise": False}
PIXELS = {"spatial_scale": 1.0, "rounding": "round", "mode": "max"}
REGIONS = {"scales": 3, "overlap": 0.4, "layout": "NCHW"}
VECTORS = {**REGIONS, "whiten": None, "aggregate": "sum", "eps": 1e-12}
INVALID, OUT = {"invalid": "raise"}, {"out": None}
WINDOW = {**INVALID, "window": None}
WINDOWS = {**INVALID, "windows": None}
ROTATED = {**SAMPLES, **ANGLE, **BOXES, **WINDOW}
MOVED, MASKED = {"spatial_scale": 1.0, "sampling_ratio": 0, "gamma": 0.1}, {"mask": None}
PRECISE = {"spatial_scale": 1.0, **BOXES, **WINDOW}
BY_POSITION = {**SAMPLES, **BOXES, **WINDOW}
SHARING = {"spatial_scales": inspect.Parameter.empty, "levels": "torchvision", "merge": "assigned"}
WHOLE = {"rounding": "round", "mode": "max"}
LEVELS = {**SHARING, "sampling_ratio": 0, "aligned": True, **BOXES, **WINDOWS}
TURNED_LEVELS = {**SHARING, "sampling_ratio": 0, "aligned": True, **ANGLE, **BOXES, **WINDOWS}
GRADIENT = {**SAMPLES, "mode": "avg", "argmax": None, **BOXES, **WINDOW, **OUT}
MAXIMUM = {"mode": "avg", "max_rule": "bilinear"}
CROPS = {
    "batch_indices": None,
    "sampling": "half_pixel",
    "interpolation": "bilinear",
    "sampling_ratio": 1,
    "border": "constant",
}
NORMALISED = {"std": None, "reverse_channels": False, "layout": "NHWC", "out_layout": None}

OPTIONS = {
    "roi_align": {**SAMPLES, **MAXIMUM, **BOXES, "return_argmax": False, **WINDOW, **OUT},
    "roi_align_backward": GRADIENT,
    "roi_align_backward_rois": GRADIENT,
    "roi_align_argmax_positions": {**SAMPLES, "layout": "NCHW", **INVALID},
    "roi_align_plan": {**SAMPLES, **MAXIMUM, **BOXES, **WINDOW},
    "roi_align_rotated": {**ROTATED, **OUT},
    "roi_align_rotated_backward": {**ROTATED, **OUT},
    "roi_align_rotated_backward_rois": {**ROTATED, **OUT},
    "roi_align_rotated_plan": ROTATED,
    "roi_pool": {
        **PIXELS,
        **BOXES,
        "return_argmax": False,
        **WINDOW,
        **OUT,
    },
    "roi_pool_backward": {**PIXELS, **BOXES, **WINDOW, **OUT},
    "roi_pool_plan": {**PIXELS, **BOXES, **WINDOW},
    "prroi_pool": {**PRECISE, **OUT},
    "prroi_pool_backward": {**PRECISE, **OUT},
    "prroi_pool_backward_rois": {**PRECISE, **OUT},
    "prroi_pool_plan": PRECISE,
    "deform_roi_pool": {**MOVED, **MASKED, **BOXES, **WINDOW, **OUT},
    "deform_roi_pool_backward": {**MOVED, **MASKED, **BOXES, **WINDOW, **OUT},
    "deform_roi_pool_backward_offsets": {**MOVED, **MASKED, **BOXES, **WINDOW, **OUT},
    "deform_roi_pool_backward_mask": {**MOVED, **BOXES, **WINDOW, **OUT},
    "deform_roi_pool_plan": {**MOVED, **MASKED, **BOXES, **WINDOW},
    "ps_roi_align": {**BY_POSITION, **OUT},
    "ps_roi_align_backward": {**BY_POSITION, **OUT},
    "ps_roi_align_backward_rois": {**BY_POSITION, **OUT},
    "ps_roi_align_plan": BY_POSITION,
    "ps_roi_pool": {**PRECISE, **OUT},
    "ps_roi_pool_backward": {**PRECISE, **OUT},
    "ps_roi_pool_plan": PRECISE,
    "multi_scale_roi_align": {**LEVELS, **OUT},
    "multi_scale_roi_align_backward": {**LEVELS, **OUT},
    "multi_scale_roi_align_backward_rois": {**LEVELS, **OUT},
    "multi_scale_roi_align_plan": LEVELS,
    "multi_scale_roi_align_rotated": {**TURNED_LEVELS, **OUT},
    "multi_scale_roi_align_rotated_backward": {**TURNED_LEVELS, **OUT},
    "multi_scale_roi_align_rotated_backward_rois": {**TURNED_LEVELS, **OUT},
    "multi_scale_roi_align_rotated_plan": TURNED_LEVELS,
    "multi_scale_roi_pool": {
        **SHARING,
        **WHOLE,
        **BOXES,
        "return_argmax": False,
        **WINDOWS,
        **OUT,
    },
    "multi_scale_roi_pool_backward": {**SHARING, **WHOLE, **BOXES, **WINDOWS, **OUT},
    "multi_scale_roi_pool_plan": {**SHARING, **WHOLE, **BOXES, **WINDOWS},
    "crop_and_resize": {
        **CROPS,
        "fill": 0.0,
        "mean": None,
        **NORMALISED,
        "dtype": None,
        **WINDOW,
        **OUT,
    },
    "crop_and_resize_plan": {**CROPS, "fill": 0.0, "mean": None, **NORMALISED, "dtype": None, **WINDOW},
    "crop_quads": {
        "batch_indices": None,
        "interpolation": "bilinear",
        "sampling_ratio": 1,
        "border": "constant",
        "fill": 0.0,
        "mean": None,
        "std": None,
        "reverse_channels": False,
        "layout": "NHWC",
        "out_layout": None,
        "dtype": None,
        **WINDOW,
        **OUT,
    },
    "crop_and_resize_backward": {**CROPS, **NORMALISED, **WINDOW, **OUT},
    "crop_and_resize_backward_boxes": {**CROPS, "fill": 0.0, **NORMALISED, **WINDOW, **OUT},
    "fpn_levels": {
        "rule": "torchvision",
        "canonical_size": 224,
        "canonical_level": 4,
        "finest_level": 2,
        "image_size": None,
        "rotated": False,
    },
    "paste_masks": {"threshold": 0.5, "rule": "detectron2", "to": "masks", **INVALID, **OUT},
    "rois_window": {},
    "rois_windows": {"operator": "roi_align", "offsets": None, **BOXES, **INVALID},
    "rotated_corners": ANGLE,
    "rmac": VECTORS,
    "rmac_backward": {**VECTORS, **OUT},
    "rmac_plan": VECTORS,
    "rmac_regions": REGIONS,
}


@pytest.mark.parametrize("name", NAMES)
def test_public_names(name):
    assert name in roicy.__all__
    assert getattr(roicy, name).__module__.split(".")[0] == "roicy"


def test_all_lists_only_what_exists_and_is_documented():
    assert len(set(roicy.__all__)) == len(roicy.__all__)
    for name in roicy.__all__:
        value = getattr(roicy, name)
        if callable(value):
            assert value.__doc__


@pytest.mark.parametrize("name", OPERATOR_NAMES)
def test_signatures(name):
    parameters = inspect.signature(getattr(roicy, name)).parameters
    positional = [p for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    options = {p.name: p.default for p in parameters.values() if p.kind is p.KEYWORD_ONLY}
    assert [p.name for p in positional] == POSITIONAL[name]
    assert all(p.default is p.empty for p in positional)
    assert list(options.items()) == list(OPTIONS[name].items())


@pytest.mark.parametrize("plan", [name for name in PLAN_NAMES if name != "CropPlan"])
def test_methods_of_plans(plan):
    for method, arguments, option in [
        ("__call__", ["self", "features", "out"], {"return_argmax": False}),
        ("backward", ["self", "grad_output", "out"], {"argmax": None}),
        ("backward_rois", ["self", "grad_output", "features", "out"], {"argmax": None}),
    ]:
        parameters = inspect.signature(getattr(getattr(roicy, plan), method)).parameters.values()
        assert [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD] == arguments
        options = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        assert options == option


@pytest.mark.parametrize("name", OPERATOR_NAMES)
def test_docstrings_have_their_sections(name):
    text = inspect.getdoc(getattr(roicy, name))
    for section in ("Parameters", "Returns", "Raises", "Examples"):
        assert f"{section}\n{'-' * len(section)}" in text
    for parameter in inspect.signature(getattr(roicy, name)).parameters:
        assert parameter in text


def test_version():
    from importlib.metadata import version

    assert roicy.__version__ == version("roicy")


# ---------------------------------------------------------------- import


@pytest.mark.plain_build("slower under a sanitizer")
def test_importing_is_fast(run_python, tmp_path):
    """At most 30 ms of the processor beyond NumPy; the fastest of several tries: the machine may be busy."""
    source = """
import time, numpy
start = time.process_time()
import roicy
print(time.process_time() - start)
"""
    # from bytecode, as where it is installed
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    fastest = np.inf
    for _ in range(15):
        fastest = min(fastest, float(run_python(source, **compiled)))
        if fastest < 0.03:
            break
    assert fastest < 0.03


def test_importing_loads_no_other_library(run_python):
    """Array libraries, and what the demo and the benchmark draw with, are loaded where they are used."""
    source = """
import sys
import numpy
before = set(sys.modules)
import roicy
roicy.roi_align(numpy.ones((1, 1, 4, 4), numpy.float32), numpy.array([[0, 0, 0, 3, 3]], numpy.float32), 2)
try:
    roicy.roi_align([1], [2], 2)  # the way to an error loads nothing either
except ValueError:
    pass
assert "roicy.compat" not in sys.modules
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(loaded - set(sys.stdlib_module_names)))
"""
    loaded = {name for name in run_python(source).split() if not name.startswith("_cython")}
    assert loaded <= {"roicy", "cython_runtime"}


# ---------------------------------------------------------------- configuration and command line


def test_show_config(capsys):
    assert roicy.show_config() is None
    shown = capsys.readouterr().out
    for part in (roicy.__version__, np.__version__, roicy.cpu.level(), "OpenMP", "held bytes"):
        assert part in shown


def test_show_config_as_dicts(capsys):
    config = roicy.show_config(mode="dicts")
    assert isinstance(config, dict)
    assert capsys.readouterr().out == ""

    def leaves(value):
        return [leaf for v in value.values() for leaf in leaves(v)] if isinstance(value, dict) else [value]

    for part in (roicy.__version__, np.__version__, roicy.cpu.level()):
        assert part in leaves(config)


def test_show_config_knows_the_number_of_threads():
    def shown():
        return str(roicy.show_config(mode="dicts"))

    with roicy.num_threads(3):
        three = shown()
    with roicy.num_threads(4):
        assert shown() != three


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "roicy", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_command_info():
    done = command("info")
    assert done.returncode == 0, done.stderr
    assert roicy.__version__ in done.stdout
    assert roicy.cpu.level() in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("arguments", [("--help",), ("bench", "--help"), ("demo", "--help")])
def test_command_help(arguments):
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()
    if arguments == ("--help",):
        for name in ("info", "demo", "bench"):
            assert name in done.stdout


def test_unknown_commands():
    done = command("pool")
    assert done.returncode == 2
    assert "pool" in done.stderr


# ---------------------------------------------------------------- documentation

DOCUMENTED = [
    "roicy",
    "roicy.align",
    "roicy.rotated",
    "roicy.pool",
    "roicy.rmac",
    "roicy.corners",
    "roicy.crop",
    "roicy.crop",
    "roicy.quads",
    "roicy.paste",
    "roicy.plan",
    "roicy._config",
]
DOCUMENTED += ["roicy.compat", "roicy.compat.caffe2", "roicy.compat.mxnet", "roicy.compat.onnx"]
DOCUMENTED += ["roicy.compat.tensorflow"]
DOCUMENTED += [
    f"roicy.compat.torchvision.{name}" for name in ("align", "pool", "position_sensitive", "pyramid")
]

if importlib.util.find_spec("dask"):
    DOCUMENTED += ["roicy.dask"]


@pytest.mark.thread_unsafe(reason="doctest puts something in the place of the standard output")
@pytest.mark.parametrize("name", DOCUMENTED)
def test_doctests(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


@pytest.mark.parametrize("name", OPERATOR_NAMES)
def test_the_functions_have_examples(name):
    function = getattr(roicy, name)
    examples = doctest.DocTestFinder().find(function, name, globs={})
    assert sum(len(test.examples) for test in examples) >= 2
