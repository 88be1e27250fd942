"""What the host build of the CUDA kernels takes: arguments, limits, sources; and what its numbers are."""

import itertools
import os

import numpy as np
import pytest

from cuda_host import module
from cuda_host.module import ArgumentError, CompileError, HostModule, LaunchError
from cuda_host.small_kernels import kernel, wrong, zeros

pytestmark = pytest.mark.skipif(module.compiler() is None, reason="no C++ compiler")
unsanitized = pytest.mark.skipif(
    "-fsanitize" in os.environ.get("ROICY_HOST_FLAGS", ""), reason="a sanitizer finds it in its own way"
)


@pytest.fixture(autouse=True)
def keep_order_and_fences(monkeypatch):
    monkeypatch.setattr(HostModule, "fences", HostModule.fences)
    yield
    monkeypatch.undo()
    HostModule.set_order(0)


# ---------------------------------------------------------------- arguments


TYPES = {
    "float": np.float32,
    "double": np.float64,
    "int": np.int32,
    "unsigned": np.uint32,
    "long long": np.int64,
    "unsigned long long": np.uint64,
    "short": np.int16,
    "unsigned char": np.uint8,
    "signed char": np.int8,
    "bool": np.bool_,
}


@pytest.mark.parametrize("name", TYPES)
def test_scalars(name):
    copy = kernel("out[0] = value;", f"{name} *out, {name} value, const {name} twice")
    out = zeros(1, TYPES[name])
    copy((1,), (1,), (out, TYPES[name](1), TYPES[name](2)))
    assert out[0] == 1
    for other in (*TYPES.values(), np.float16):
        if other is not TYPES[name]:
            with pytest.raises(ArgumentError, match="argument 1: expected"):
                copy((1,), (1,), (out, other(1), TYPES[name](2)))
            with pytest.raises(ArgumentError, match="argument 0: expected items of"):
                copy((1,), (1,), (zeros(1, other), TYPES[name](1), TYPES[name](2)))


@pytest.mark.parametrize("value", [1, 1.0, True, None, "1", [1], np.array(1), np.ones(1, np.int32)], ids=repr)
def test_scalars_are_numpys(value):
    copy = kernel("out[0] = value;", "int *out, int value")
    with pytest.raises(ArgumentError, match="argument 1: expected a NumPy scalar"):
        copy((1,), (1,), (zeros(1), value))


@pytest.mark.parametrize(
    "value", [1, np.int32(1), [1], memoryview(b"1234")], ids=lambda it: type(it).__name__
)
def test_arrays_are_arrays(value):
    with pytest.raises(ArgumentError, match="argument 0: expected an array"):
        kernel("out[0] = 1;")((1,), (1,), (value,))


def test_an_array_may_be_none():
    function = kernel("out[0] = other == nullptr;", "int *out, const float *other")
    out = zeros(1)
    function((1,), (1,), (out, None))
    assert out[0] == 1


def test_arrays_are_contiguous():
    function = kernel("out[0] = 1;")
    for array in (np.zeros((4, 4), np.int32).T[:, :3], zeros(8)[::2], zeros(8)[::-1]):
        with pytest.raises(ArgumentError, match="not C-contiguous"):
            function((1,), (1,), (array,))
    function((1,), (1,), (np.zeros((4, 4), np.int32).T[:1, :1],))


def test_read_only_arrays_are_for_const_parameters():
    function = kernel("out[0] = in[0];", "int *out, const int *in")
    out, fixed = zeros(1), np.ones(1, np.int32)
    fixed.flags.writeable = False
    function((1,), (1,), (out, fixed))
    assert out[0] == 1
    with pytest.raises(ArgumentError, match="argument 0: the array is read-only"):
        function((1,), (1,), (fixed, fixed))


def test_number_of_arguments():
    for arguments in ((), (zeros(1), np.int32(1))):
        with pytest.raises(ArgumentError, match=f"1 parameters, got {len(arguments)}"):
            kernel("out[0] = 1;")((1,), (1,), arguments)


def test_vectors():
    turn = kernel(
        """
        float4 v = in[threadIdx.x];
        int2 pair = make_int2(1, 2);
        out[threadIdx.x] = make_float4(v.w, v.z, v.y, pair.x);
        """,
        "float4 *out, const float4 *in",
    )
    values = np.arange(8, dtype=np.float32)
    out = np.empty_like(values)
    turn((1,), (2,), (out, values))
    np.testing.assert_array_equal(out, [3, 2, 1, 1, 7, 6, 5, 1])
    with pytest.raises(ArgumentError, match="argument 1: expected items of f4, got float64"):
        turn((1,), (2,), (out, values.astype(np.float64)))


def test_anything_goes_for_a_pointer_to_void():
    function = kernel("out[0] = *(const double *)in;", "double *out, const void *in")
    out = zeros(1, np.float64)
    function((1,), (1,), (out, np.array([2.5])))
    assert out[0] == 2.5


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize(
    "grid, block, says",
    [
        ((0,), (1,), "grid"),
        ((-1,), (1,), "grid"),
        ((2**31,), (1,), "grid"),
        ((1, 65536), (1,), "grid"),
        ((1, 1, 65536), (1,), "grid"),
        ((1, 1, 1, 1), (1,), "grid"),
        ((), (1,), "grid"),
        ((1,), (0,), "block"),
        ((1,), (1025,), "block"),
        ((1,), (1, 1, 65), "block"),
        ((1,), (32, 33), "threads"),
    ],
)
def test_launch_limits(grid, block, says):
    with pytest.raises(LaunchError, match=says):
        kernel("out[0] = 1;")(grid, block, (zeros(1),))


def test_launch_bounds():
    function = kernel(
        "out[0] = blockDim.x;",
        bounds="__launch_bounds__(HALF * (1 + 1), (sizeof(int) + (sizeof(HALF)) == 8 ? 2 : 3))",
        options=("-DHALF=32",),
    )
    out = zeros(1)
    function((1,), (64,), (out,))
    assert out[0] == 64
    wrong(function, "threads (65,)", threads=65)


def test_limit_of_shared_memory():
    function = kernel("extern __shared__ int more[]; more[0] = out[0] = 1;")
    out = zeros(1)
    function((1,), (1,), (out,), shared_mem=48 * 1024)
    wrong(function, "shared memory", shared_mem=48 * 1024 + 1)
    function.max_dynamic_shared_size_bytes = 227 * 1024
    function((1,), (1,), (out,), shared_mem=227 * 1024)
    wrong(function, "shared memory", shared_mem=227 * 1024 + 1)
    wrong(function, "shared memory", shared_mem=-1)


# ---------------------------------------------------------------- compiling


def test_errors_name_the_line():
    with pytest.raises(CompileError, match=r"kernel.cu:3:.*missing"):
        kernel("out[0] = missing;")


def test_a_kernel_that_is_not_found():
    with pytest.raises(CompileError, match="a kernel does not read"):
        HostModule(code='extern "C" void __global__ kernel() {}').compile()


def test_errors_behind_other_lines():
    with pytest.raises(CompileError, match=r"kernel.cu:6:.*missing"):
        kernel("extern __shared__ int\nmemory\n[];\nout[0] = missing;")


def test_unknown_kernels():
    source = HostModule(code='extern "C" __global__ void one(int *x) {}\nextern "C" __global__ void two() {}')
    with pytest.raises(ValueError, match=r"no kernel 'three' in this source; it has one, two"):
        source.get_function("three")
    source.get_function("two")((1,), (1,), ())


def test_kernels_of_a_specialisation():
    code = """
    #define KERNEL extern "C" __global__ void
    #ifdef WIDE
    typedef double real;
    KERNEL __launch_bounds__(64) wide(real *x) { x[0] = sizeof(real); }
    #else
    typedef float real;
    KERNEL narrow(real *x) { x[0] = sizeof(real); }
    #endif
    """
    for options, name, dtype in (((), "narrow", np.float32), (("-DWIDE",), "wide", np.float64)):
        out = zeros(1, dtype)
        HostModule(code=code, options=options).get_function(name)((1,), (1,), (out,))
        assert out[0] == out.itemsize


def test_nvrtcs_own_options_are_dropped():
    options = ("--std=c++17", "--fmad=false", "-arch=sm_90", "--ptxas-options=-v", "-DNUMBER=5", "-UOTHER")
    out = zeros(1)
    kernel("out[0] = NUMBER;", options=options)((1,), (1,), (out,))
    assert out[0] == 5


def test_a_source_is_compiled_once(monkeypatch):
    function = kernel("out[0] = 12345;")
    monkeypatch.setattr(module, "_run", None)
    again = kernel("out[0] = 12345;")
    assert again._library._name == function._library._name
    assert os.path.exists(again._library._name)


# ---------------------------------------------------------------- numbers

HALVES = np.arange(65536, dtype=np.uint32).astype(np.uint16)


def half_types():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    return {"half": np.float16, "bfloat16": ml_dtypes.bfloat16}


@pytest.mark.parametrize(
    "name, header, widen, cuda",
    [
        ("half", "cuda_fp16.h", "__half2float", "__half"),
        ("bfloat16", "cuda_bf16.h", "__bfloat162float", "__nv_bfloat16"),
    ],
)
def test_all_halves(name, header, widen, cuda):
    values = HALVES.view(half_types()[name])
    wide = kernel(
        f"int i = blockIdx.x * 1024 + threadIdx.x; out[i] = {widen}(in[i]);",
        f"float *out, const {cuda} *in",
        before=f"#include <{header}>",
    )
    out = zeros(65536, np.float32)
    wide((64,), (1024,), (out, values))
    np.testing.assert_array_equal(out.view(np.uint32), values.astype(np.float32).view(np.uint32))


@pytest.mark.parametrize(
    "name, header, narrow, cuda",
    [
        ("half", "cuda_fp16.h", "__float2half_rn", "__half"),
        ("bfloat16", "cuda_bf16.h", "__float2bfloat16_rn", "__nv_bfloat16"),
    ],
)
def test_rounding_to_halves(name, header, narrow, cuda):
    dtype = half_types()[name]
    # all halves, the middles between neighbours, what is next to them, and anything
    halves = HALVES.view(dtype).astype(np.float32)
    halves = np.sort(halves[np.isfinite(halves)])
    values = np.concatenate([halves, halves[:-1] + (halves[1:] - halves[:-1]) / 2])
    values = [values, np.nextafter(values, np.float32(np.inf)), np.nextafter(values, np.float32(-np.inf))]
    anything = np.random.default_rng(0).integers(0, 2**32, 10**5, np.uint32).view(np.float32)
    limits = np.float32([65504, 65519.99, 65520, 1e30, 3.4e38, np.inf, -np.inf, np.nan, -np.nan])
    values = np.concatenate([*values, anything, limits])
    rounded = kernel(
        f"int i = blockIdx.x * 1024 + threadIdx.x; if (i < count) out[i] = {narrow}(in[i]);",
        f"{cuda} *out, const float *in, int count",
        before=f"#include <{header}>",
    )
    out = zeros(len(values), dtype)
    rounded((-(-len(values) // 1024),), (1024,), (out, values, np.int32(len(values))))
    with np.errstate(over="ignore", invalid="ignore"):
        expected = values.astype(dtype)
    bits = out.view(np.uint16)
    a_number = ~np.isnan(values)
    np.testing.assert_array_equal(bits[a_number], expected.view(np.uint16)[a_number])
    assert (bits[~a_number] == 0x7FFF).all()


def test_nothing_is_contracted():
    square = kernel(
        "out[0] = in[0] * in[0] - in[1]; out[1] = fma(in[0], in[0], -in[1]);", "float *out, const float *in"
    )
    x = np.float32(1 + 2**-12)
    values = np.array([x, x * x], np.float32)
    out = zeros(2, np.float32)
    square((1,), (1,), (out, values))
    assert out[0] == 0
    assert out[1] == np.float64(x) ** 2 - np.float64(values[1])


@pytest.mark.parametrize("dtype, real", [(np.float32, "float"), (np.float64, "double")])
@pytest.mark.parametrize("name, of_two", [("min", min), ("max", max)])
def test_minimum_and_maximum_prefer_numbers(name, of_two, dtype, real):
    extremes = kernel(
        f"out[0] = {name}(in[0], in[1]); out[1] = f{name}(in[0], in[1]); out[2] = f{name}f(in[0], in[1]);",
        f"{real} *out, const {real} *in",
    )
    for pair in itertools.product([np.nan, 2, -3, np.inf, -np.inf], repeat=2):
        numbers = [number for number in pair if number == number]
        out = zeros(3, dtype)
        extremes((1,), (1,), (out, dtype(pair)))
        np.testing.assert_array_equal(out, of_two(numbers, default=np.nan))


def test_conversions_to_integers_saturate():
    convert = kernel(
        """
        int i = threadIdx.x;
        out[4 * i] = __float2int_rz(in[i]);
        out[4 * i + 1] = __float2int_rd(in[i]);
        out[4 * i + 2] = __float2uint_rn(in[i]);
        out[4 * i + 3] = __double2ll_ru(in[i]);
        """,
        "long long *out, const float *in",
    )
    values = np.float32([-1.5, 2.5, 1e30, -1e30, np.inf, np.nan])
    out = zeros(24, np.int64)
    convert((1,), (6,), (out, values))
    least, largest = np.iinfo(np.int32).min, np.iinfo(np.int32).max
    wide = np.iinfo(np.int64)
    expected = [
        [-1, -2, 0, -1],
        [2, 2, 2, 3],
        [largest, largest, 2**32 - 1, wide.max],
        [least, least, 0, wide.min],
        [largest, largest, 2**32 - 1, wide.max],
        [0, 0, 0, 0],
    ]
    np.testing.assert_array_equal(out.reshape(6, 4), expected)
