"""roicy.cython_api: what Cython code that is compiled against roicy gets, held against what Python gets."""

import importlib.util
import inspect
import os
import shutil
import subprocess
import sys
import sysconfig
import types
import typing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from closeness import assert_same_bits
from strategies import FEATURE_DTYPES, LAYOUTS, interleaved, random_values, result_dtype

import roicy
from roicy import _types

TESTS = Path(__file__).parent
EXAMPLE = TESTS.parent / "docs" / "embedding" / "cython"
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
    "roi_pool": [{}, {"spatial_scale": 0.5, "rounding": "none"}, {"layout": "NHWC"}],
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
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "CFLAGS": "-O0"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The folder of the compiled `cython_use`."""
    if missing() is not None:
        pytest.skip(missing())
    folder = tmp_path_factory.mktemp("cython_use")
    shutil.copy(TESTS / "cython_use.pyx", folder)
    program = (
        "from Cython.Build import cythonize; from setuptools import setup; "
        "modules = cythonize('cython_use.pyx', language_level=3); "
        "modules[0].extra_compile_args += ['-pthread']; "
        "setup(name='cython_use', ext_modules=modules, script_args=['-q', 'build_ext', '--inplace'])"
    )
    python(["-c", program], folder)
    return folder


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
    return name == "roi_pool" or (options.get("mode") == "max" and options.get("max_rule") != "onnx")


# ---------------------------------------------------------------- results


@pytest.mark.parametrize("dtype", FEATURE_DTYPES, ids=str)
@pytest.mark.parametrize("name, options", CASES, ids=CASE_IDS)
def test_the_same_bits_as_in_python(use, name, options, dtype):
    layout = options.get("layout", "NCHW")
    features, rois = problem(name, dtype, layout)
    expected = getattr(roicy, name)(features, rois, SIZE, **options)
    out = out_like(features, layout)
    arrays = [described(use, array) for array in (features, rois, out)]
    use.call(name, *arrays, options=numbered(use, options) if options else None)
    assert_same_bits(out, expected)

    if has_argmax(name, options):
        expected, chosen = getattr(roicy, name)(features, rois, SIZE, return_argmax=True, **options)
        out, argmax = out_like(features, layout), out_like(features, layout, np.int32)
        arrays = [described(use, array) for array in (features, rois, out, argmax)]
        use.call(name, *arrays, options=numbered(use, options))
        assert_same_bits(out, expected)
        assert_same_bits(argmax, chosen)


@pytest.mark.parametrize("dtype", FEATURE_DTYPES, ids=str)
@pytest.mark.parametrize("arranged", LAYOUTS, ids=lambda layout: layout.__name__)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_any_strides(use, name, arranged, dtype):
    """Those of unaligned items and of reversed axes included, for each array."""
    features, rois = problem(name, dtype)
    expected = getattr(roicy, name)(features, rois, SIZE)
    features, out = arranged(features), arranged(out_like(features, "NCHW"))
    rois = interleaved(rois)
    use.call(name, described(use, features), described(use, rois), described(use, out))
    assert_same_bits(np.ascontiguousarray(out), expected)


@pytest.mark.parametrize("box_dtype", ["float64", "float16", "int32", "uint8"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_boxes_of_any_dtype(use, name, box_dtype):
    features, rois = problem(name)
    rois = np.abs(rois).astype(box_dtype)
    out = out_like(features, "NCHW")
    use.call(name, described(use, features), described(use, rois), described(use, out))
    assert_same_bits(out, getattr(roicy, name)(features, rois, SIZE))


@pytest.mark.parametrize("index_dtype", ["int32", "int64", "uint8"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_batch_indices(use, name, index_dtype):
    features, rois = problem(name)
    indices = interleaved(rois[:, 0].astype(index_dtype))
    out = out_like(features, "NCHW")
    arrays = [described(use, array) for array in (features, rois[:, 1:], out)]
    use.call(name, *arrays, options=numbered(use, {"batch_indices": indices}))
    assert_same_bits(out, getattr(roicy, name)(features, rois, SIZE))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_invalid_rows_may_be_nan(use, name):
    features, rois = problem(name)
    rois[2, 0], rois[4, 3] = 9, np.inf
    out = out_like(features, "NCHW")
    arrays = [described(use, array) for array in (features, rois, out)]
    use.call(name, *arrays, options=numbered(use, {"invalid": "nan"}))
    assert np.isnan(out[[2, 4]]).all()
    assert_same_bits(out, getattr(roicy, name)(features, rois, SIZE, invalid="nan"))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_boxes_need_no_memory(use, name):
    features, rois = problem(name)
    float32 = use.ENUMERATIONS["dtype"]["float32"]
    no_rois = (0, float32, 2, (0, rois.shape[1]), (rois.shape[1] * 4, 4))
    use.call(name, described(use, features), no_rois, (0, float32, 4, (0, 5, *SIZE), (0, 0, 0, 4)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_inputs_are_left_alone(use, name):
    features, rois = problem(name)
    given = features.copy(), rois.copy()
    out = out_like(features, "NCHW")
    use.call(name, described(use, features), described(use, rois), described(use, out))
    assert_same_bits(features, given[0])
    assert_same_bits(rois, given[1])


# ---------------------------------------------------------------- threads


@pytest.mark.parametrize("thread", [False, True], ids=["python", "foreign"])
def test_several_threads_at_once(use, thread):
    """Of Python, or each call in one that Python did not start."""

    def pool(seed):
        name = FUNCTIONS[seed % 3]
        features, rois = problem(name, seed=seed)
        out = out_like(features, "NCHW")
        arrays = [described(use, array) for array in (features, rois, out)]
        with roicy.num_threads(1 + seed % 2):
            use.call(name, *arrays, thread=thread)
        return out, getattr(roicy, name)(features, rois, SIZE)

    with ThreadPoolExecutor(4) as threads:
        for out, expected in threads.map(pool, range(48)):
            assert_same_bits(out, expected)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_error_in_a_thread_that_python_did_not_start(use, name):
    features, rois = problem(name)
    out = out_like(features, "NCHW")
    for _ in range(3):
        with pytest.raises(ValueError, match="features must point to an Array, got NULL"):
            use.call(name, None, described(use, rois), described(use, out), thread=True)
    use.call(name, described(use, features), described(use, rois), described(use, out), thread=True)
    assert_same_bits(out, getattr(roicy, name)(features, rois, SIZE))


# ---------------------------------------------------------------- errors


def changed(description, **parts):
    """A description with other parts."""
    names = ("address", "dtype", "ndim", "shape", "strides")
    return tuple(parts.get(name, value) for name, value in zip(names, description, strict=True))


def dropped(description):
    """The same without the last axis."""
    address, dtype, ndim, shape, strides = description
    return address, dtype, ndim - 1, shape[:-1], strides[:-1]


LENGTHS = (2**40, 2**40, 2**40, 2)
# The argument, what becomes of its description, the error and what it says.
WRONG_ARRAYS = [
    ("features", lambda d: None, ValueError, "features must point to an Array, got NULL"),
    ("rois", lambda d: None, ValueError, "rois must point to an Array, got NULL"),
    ("out", lambda d: None, ValueError, "out must point to an Array, got NULL"),
    ("features", lambda d: changed(d, address=0), ValueError, "features must have data, got NULL"),
    ("rois", lambda d: changed(d, address=0), ValueError, "rois must have data, got NULL"),
    ("out", lambda d: changed(d, address=0), ValueError, "out must have data, got NULL"),
    ("features", lambda d: changed(d, ndim=0), ValueError, "features must have an ndim of 1 to 4, got 0"),
    ("rois", lambda d: changed(d, ndim=5), ValueError, "rois must have an ndim of 1 to 4, got 5"),
    ("out", lambda d: changed(d, ndim=-(2**31)), ValueError, "out must have an ndim of 1 to 4, got -21474"),
    ("features", lambda d: changed(d, dtype=0), ValueError, "features must have a dtype of .* DType, got 0"),
    ("out", lambda d: changed(d, dtype=8), ValueError, "out must have a dtype of .* DType, got 8"),
    ("rois", lambda d: changed(d, shape=(-1, 5)), ValueError, r"rois must have no .* got -1 as shape\[0\]"),
    ("out", lambda d: changed(d, shape=(7, 5, 3, -2)), ValueError, r"out must have no .*-2 as shape\[3\]"),
    ("features", lambda d: changed(d, shape=LENGTHS), ValueError, "array is too big"),
    ("out", lambda d: changed(d, shape=LENGTHS), ValueError, "array is too big"),
    ("features", dropped, ValueError, r"features must have 4 axes \(N, C, H, W\), got shape \(2, 5, 12\)"),
    ("rois", dropped, ValueError, r"rois must have shape \(K, .\), rows"),
    ("out", dropped, ValueError, r"out must have 4 axes \(K, C, PH, PW\), got shape \(7, 5, 3\)"),
    ("out", lambda d: changed(d, shape=(7, 5, 0, 2)), ValueError, "out must have at least one row and"),
    ("out", lambda d: changed(d, shape=(7, 4, 3, 2)), ValueError, r"out must have shape \(7, 5, 3, 2\)"),
    ("features", lambda d: changed(d, dtype=6), TypeError, "features must be float16, .*, got int32"),
    ("out", lambda d: changed(d, dtype=1), ValueError, "out must have dtype float32 .*, got float16"),
    ("out", lambda d: changed(d, strides=(0, 24, 8, 4)), ValueError, "out must not overlap itself"),
]


@pytest.mark.parametrize(
    "argument, change, error, message", WRONG_ARRAYS, ids=[f"{row[0]}-{row[3][-25:]}" for row in WRONG_ARRAYS]
)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_wrong_with_an_array(use, name, argument, change, error, message):
    features, rois = problem(name)
    out = out_like(features, "NCHW")
    arrays = {"features": features, "rois": rois, "out": out}
    arrays = {key: described(use, array) for key, array in arrays.items()}
    arrays[argument] = change(arrays[argument])
    with pytest.raises(error, match=message):
        use.call(name, **arrays)
    assert (out == 77).all()


WRONG_OPTIONS = [
    ("layout", 2, r"layout must be 0 \(NCHW\) or 1 \(NHWC\), got 2"),
    ("invalid", -1, r"invalid must be 0 \(raise\) or 1 \(nan\), got -1"),
    ("mode", 3, r"mode must be 0 \(avg\) or 1 \(max\), got 3"),
    ("max_rule", 2, r"max_rule must be 0 \(bilinear\) or 1 \(onnx\), got 2"),
    ("angle_unit", 2, r"angle_unit must be 0 \(degrees\) or 1 \(radians\), got 2"),
    ("rounding", 100, r"rounding must be 0 \(round\) or 1 \(none\), got 100"),
    ("spatial_scale", 0.0, "spatial_scale must be finite and greater than 0, got 0.0"),
    ("sampling_ratio", 70000, "sampling_ratio must be at most {most} .*, got 70000"),
]


@pytest.mark.parametrize("option, value, message", WRONG_OPTIONS, ids=[row[0] for row in WRONG_OPTIONS])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_wrong_with_an_option(use, name, option, value, message):
    features, rois = problem(name)
    out = out_like(features, "NCHW")
    arrays = [described(use, array) for array in (features, rois, out)]
    if option in use.defaults()[name]:
        most = 128 if name == "roi_align_rotated" else 65536
        with pytest.raises(ValueError, match=message.format(most=most)):
            use.call(name, *arrays, options={option: value})
        assert (out == 77).all()
    else:  # of another function
        use.call(name, *arrays, options={option: value})
        assert_same_bits(out, getattr(roicy, name)(features, rois, SIZE))


def test_what_is_wrong_with_batch_indices(use):
    features, rois = problem("roi_align")
    out = out_like(features, "NCHW")
    arrays = [described(use, array) for array in (features, rois[:, 1:], out)]
    indices = described(use, np.zeros(BOXES, np.int64))
    for wrong, error, message in [
        (changed(indices, address=0), ValueError, "batch_indices must have data, got NULL"),
        (changed(indices, dtype=3), TypeError, "batch_indices must have an integer dtype, got float32"),
        (changed(indices, shape=(3,)), ValueError, r"batch_indices must have shape \(7,\)"),
    ]:
        with pytest.raises(error, match=message):
            use.call("roi_align", *arrays, options={"batch_indices": wrong})
        assert (out == 77).all()


def test_what_is_wrong_with_an_argmax(use):
    features, rois = problem("roi_pool")
    out = out_like(features, "NCHW")
    arrays = [described(use, array) for array in (features, rois, out)]
    argmax = described(use, out_like(features, "NCHW", np.int32))
    for wrong, message in [
        (changed(argmax, address=0), "argmax must have data, got NULL"),
        (changed(argmax, dtype=3), r"out\[1\] must have dtype int32"),
        (changed(argmax, shape=(7, 5, 2, 3)), r"out\[1\] must have shape \(7, 5, 3, 2\)"),
        (changed(argmax, address=out.ctypes.data), r"out\[0\] must not overlap out\[1\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            use.call("roi_pool", *arrays, wrong)
        assert (out == 77).all()
    with pytest.raises(ValueError, match="return_argmax"):
        use.call("roi_align", *arrays, argmax)


def test_an_output_over_an_input(use):
    features, rois = problem("roi_align")
    arrays = [described(use, array) for array in (features, rois, out_like(features, "NCHW"))]
    arrays[2] = changed(arrays[2], address=features.ctypes.data + 64)
    with pytest.raises(ValueError, match="out must not overlap an input array"):
        use.call("roi_align", *arrays)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_invalid_rows_by_default(use, name):
    features, rois = problem(name)
    rois[2, 0] = 9
    out = out_like(features, "NCHW")
    with pytest.raises(ValueError, match=r"rois row 2, .* has batch index 9.0"):
        use.call(name, described(use, features), described(use, rois), described(use, out))
    assert (out == 77).all()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_error_holds_no_array(use, name):
    """Whoever keeps it, or shows what its frames hold, must not come upon memory that is freed by then."""
    features, rois = problem(name)
    rois[2, 0] = 9
    out = out_like(features, "NCHW")
    with pytest.raises(ValueError, match="rois row 2") as caught:
        use.call(name, described(use, features), described(use, rois), described(use, out))
    frames, at = [], caught.value.__traceback__
    while at is not None:
        frames.append(at.tb_frame)
        at = at.tb_next
    inside = [frame for frame in frames if Path(frame.f_code.co_filename).parent == PACKAGE]
    assert len(inside) >= 2
    assert not any(frame.f_locals for frame in inside)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_without_ml_dtypes(use, built, run_python, bfloat16):
    """Only bfloat16 needs it."""
    source = f"""
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == "ml_dtypes":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
sys.path[:0] = [{str(PACKAGE.parent)!r}, {str(built)!r}]
import numpy as np
import cython_use
arrays = [np.zeros(shape, np.{"uint16" if bfloat16 else "float16"}) for shape in ((1, 1, 4, 4), (1, 1, 2, 2))]
dtype = cython_use.ENUMERATIONS["dtype"][{"bfloat16" if bfloat16 else "float16"!r}]
features, out = [(a.ctypes.data, dtype, 4, a.shape, a.strides) for a in arrays]
rois = np.zeros((1, 5), np.float32)
try:
    cython_use.call("roi_pool", features, (rois.ctypes.data, 3, 2, (1, 5), (20, 4)), out)
except ImportError as error:
    print(error)
"""
    shown = run_python(source).strip()
    assert shown == ("out is bfloat16, a dtype of ml_dtypes, which is not installed" if bfloat16 else "")


# ---------------------------------------------------------------- what there is


@pytest.mark.parametrize("name", FUNCTIONS)
def test_options_and_defaults_are_those_of_python(use, name):
    parameters = inspect.signature(getattr(roicy, name)).parameters.values()
    options = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    del options["out"]
    options.pop("return_argmax", None)
    assert list(use.defaults()[name].items()) == list(numbered(use, options).items())


def test_enumerations_have_the_words_of_python(use):
    assert use.ENUMERATIONS.keys() == {"dtype", *WORDS}
    for name, words in WORDS.items():
        assert list(use.ENUMERATIONS[name].items()) == [
            (word, number) for number, word in enumerate(typing.get_args(words))
        ]


@pytest.mark.parametrize("shape", [(3,), (3, 5), (4, 1, 6), (2, 3, 4, 5), (2, 0, 4, 5), (7, 1, 1, 0)])
def test_contiguous(use, shape):
    for name, dtype in use.ENUMERATIONS["dtype"].items():
        size = 2 if name == "bfloat16" else np.dtype(name).itemsize
        steps = [size * int(np.prod(shape[axis + 1 :])) for axis in range(len(shape))]
        address, found, ndim, lengths, strides = use.contiguous_array(dtype, *shape)
        assert (address, found, ndim) == (64, dtype, len(shape))
        assert lengths[:ndim] == shape
        assert strides[:ndim] == tuple(steps)


def test_strided(use):
    view = np.zeros((4, 6, 8), np.float32)[::2, ::-1].transpose(1, 2, 0)
    address, _, ndim, shape, strides = use.strided_array(view)
    assert (address, ndim) == (view.ctypes.data, 3)
    assert shape[:3] == view.shape
    assert strides[:3] == view.strides


@pytest.mark.parametrize("ndim", [-3, 0, 5, 2**31 - 1])
def test_strided_does_not_write_beyond_its_axes(use, ndim):
    assert use.strided_array_of(ndim)[2] == ndim


def test_importing_roicy_does_not_load_it(run_python):
    assert run_python("import sys, roicy; print('roicy.cython_api' in sys.modules)").strip() == "False"


def test_python_finds_nothing_in_it():
    """It is for Cython: what it offers is C."""
    module = importlib.import_module("roicy.cython_api")
    assert not [name for name, value in vars(module).items() if isinstance(value, types.BuiltinFunctionType)]
    assert set(module.__pyx_capi__) == set(FUNCTIONS)
    assert (PACKAGE / "cython_api.pxd").is_file()


# ---------------------------------------------------------------- the example


@needs_compiler
@pytest.mark.skipif(not EXAMPLE.is_dir(), reason="the documentation is not here")
def test_the_example_of_the_embedding_page(tmp_path):
    """It checks its own results."""
    folder = tmp_path / "cython"
    shutil.copytree(EXAMPLE, folder)
    python(["setup.py", "-q", "build_ext", "--inplace"], folder)
    assert "the same as in Python" in python(["main.py"], folder)
