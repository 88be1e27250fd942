"""Calls of `roicy.cython_api` from Cython code that is compiled here, for its tests."""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import battery
import numpy as np
import pytest
from strategies import random_values, result_dtype

import roicy
from roicy import _types

TESTS = Path(__file__).parent
EXAMPLE = TESTS.parents[1] / "docs" / "embedding" / "cython"
PACKAGE = Path(roicy.__file__).parent

FUNCTIONS = ["roi_align", "roi_align_rotated", "roi_pool"]
WORDS = {
    "layout": _types.Layout,
    "invalid": _types.Invalid,
    "mode": _types.Mode,
    "max_rule": _types.MaxRule,
    "angle_unit": _types.AngleUnit,
    "rounding": _types.Rounding,
}
# Some of each option, none of them the default.
OPTIONS = {
    "roi_align": [
        {},
        {"spatial_scale": 0.5, "sampling_ratio": 2, "aligned": False},
        {"mode": "max", "sampling_ratio": 2},
        {"mode": "max", "max_rule": "onnx"},
        {"layout": "NHWC", "spatial_scale": 0.7},
    ],
    "roi_align_rotated": [
        {},
        {"spatial_scale": 0.5, "sampling_ratio": 2, "aligned": False},
        {"angle_unit": "radians", "clockwise": True, "layout": "NHWC"},
    ],
    "roi_pool": [
        {},
        {"spatial_scale": 0.5, "rounding": "none"},
        {"layout": "NHWC"},
        {"mode": "avg", "rounding": "whole", "spatial_scale": 0.7},
    ],
}
CASES = [(name, options) for name in FUNCTIONS for options in OPTIONS[name]]
CASE_IDS = [f"{name}-{'-'.join(map(str, options.values())) or 'defaults'}" for name, options in CASES]
SHAPE, SIZE, BOXES = (2, 5, 12, 15), (3, 2), 7


def compiler():
    name = os.environ.get("CC") or (sysconfig.get_config_var("CC") or "cc").split()[0]
    return shutil.which(name)


def missing():
    """Why nothing can be compiled, or None."""
    for package in "Cython", "setuptools":
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed"
    return None if compiler() else "there is no C compiler"


needs_compiler = pytest.mark.skipif(missing() is not None, reason=str(missing()))


def python(arguments, folder):
    # with the very roicy that is tested, wherever it is, and with a compiler in a hurry
    paths = [str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "CFLAGS": "-O0 -g0"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def built():
    """The folder of the compiled `cython_use`, which one process of a run compiles for the others, too."""
    if missing() is not None:
        pytest.skip(missing())
    folder = Path(os.environ[battery.SHARED], "cython_use")
    done, failed = folder / "built", folder / "failed"
    try:
        folder.mkdir()
    except FileExistsError:
        end = time.monotonic() + 300  # as long as `python` has: who began may have been killed
        while not done.exists():
            assert time.monotonic() < end, "another process has not built cython_use"
            assert not failed.exists(), failed.read_text()
            time.sleep(0.1)
        return folder
    try:
        build(folder)
    except BaseException as error:
        failed.write_text(f"in another process: {error}")
        raise
    done.touch()
    return folder


def build(folder):
    """Compile `cython_use` in a folder."""
    shutil.copy(TESTS / "cython_use.pyx", folder)
    program = (
        "from Cython.Build import cythonize; from setuptools import setup; "
        "modules = cythonize('cython_use.pyx', language_level=3); "
        "modules[0].extra_compile_args += ['-pthread']; "
        "setup(name='cython_use', ext_modules=modules, script_args=['-q', 'build_ext', '--inplace'])"
    )
    python(["-c", program], folder)


@pytest.fixture(scope="session")
def use(built):
    """The module `cython_use`, compiled against this roicy."""
    (path,) = [*built.glob("cython_use*.so"), *built.glob("cython_use*.pyd")]
    spec = importlib.util.spec_from_file_location("cython_use", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def described(use, array):
    """An array as `cython_use` takes it."""
    if array is None:
        return None
    dtype = use.ENUMERATIONS["dtype"][array.dtype.name]
    return array.ctypes.data, dtype, array.ndim, array.shape, array.strides


def numbered(use, options):
    """Options with numbers for words, and arrays described."""
    arrays = {name: described(use, value) for name, value in options.items() if name == "batch_indices"}
    words = {name: use.ENUMERATIONS[name][value] for name, value in options.items() if name in WORDS}
    return {**options, **words, **arrays}


def problem(name, dtype="float32", layout="NCHW", seed=0):
    """Features and boxes for a function."""
    rng = np.random.default_rng(seed)
    features = random_values(rng, SHAPE, np.dtype(dtype))
    corners = rng.uniform(-2, 16, (BOXES, 4))
    corners[:, 2:] += corners[:, :2]
    columns = [rng.integers(SHAPE[0], size=BOXES), corners]
    if name == "roi_align_rotated":
        columns.append(rng.uniform(-3, 3, BOXES))
    features = features if layout == "NCHW" else features.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(features), np.column_stack(columns).astype(np.float32)


def out_like(features, layout, dtype=None):
    """An output for features, with a number in it that is no result."""
    channels = features.shape[1 if layout == "NCHW" else 3]
    shape = (BOXES, channels, *SIZE) if layout == "NCHW" else (BOXES, *SIZE, channels)
    return np.full(shape, 77, dtype or result_dtype(features.dtype))


def has_argmax(name, options):
    default = "max" if name == "roi_pool" else "avg"
    return options.get("mode", default) == "max" and options.get("max_rule") != "onnx"
