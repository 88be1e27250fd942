"""roicy.cython_api: what Cython code that is compiled against roicy gets, held against what Python gets."""

import importlib.util
import inspect
import shutil
import types
import typing
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from closeness import assert_same_bits
from strategies import FEATURE_DTYPES, LAYOUTS, interleaved

import roicy
from package.cython_calls import (
    CASE_IDS,
    CASES,
    EXAMPLE,
    FUNCTIONS,
    PACKAGE,
    SIZE,
    WORDS,
    described,
    has_argmax,
    needs_compiler,
    numbered,
    out_like,
    problem,
    python,
)

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


# ---------------------------------------------------------------- what there is


@pytest.mark.parametrize("name", FUNCTIONS)
def test_options_and_defaults_are_those_of_python(use, name):
    parameters = inspect.signature(getattr(roicy, name)).parameters.values()
    options = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    del options["out"]
    options.pop("return_argmax", None)
    options.pop("window", None)  # parts of maps are for Python's callers
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
