"""What the host build of the CUDA kernels can do and what it finds, on small kernels of its own."""

import os
import types

import conftest
import numpy as np
import pytest

from cuda_host import module
from cuda_host.module import ArgumentError, CompileError, HostModule, LaunchError

pytestmark = pytest.mark.skipif(module.compiler() is None, reason="no C++ compiler")
unsanitized = pytest.mark.skipif(
    "-fsanitize" in os.environ.get("ROICY_HOST_FLAGS", ""), reason="a sanitizer finds it in its own way"
)


def kernel(body, parameters="int *out", *, options=(), before="", bounds=""):
    """A kernel of this body."""
    code = f'{before}\nextern "C" __global__ void {bounds} kernel({parameters}) {{\n{body}\n}}\n'
    return HostModule(code=code, options=options).get_function("kernel")


@pytest.fixture(autouse=True)
def keep_order_and_fences(monkeypatch):
    monkeypatch.setattr(HostModule, "fences", HostModule.fences)
    yield
    HostModule.set_order(0)


@pytest.fixture(params=[0, 1], ids=["ascending", "descending"])
def order(request):
    HostModule.set_order(request.param)
    return request.param


def zeros(count, dtype=np.int32):
    return np.zeros(count, dtype)


# ---------------------------------------------------------------- threads and blocks


def test_indices(order):
    place = kernel(
        """
        int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
        int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
        int size = blockDim.x * blockDim.y * blockDim.z;
        out[block * size + thread] = thread + 1000 * block;
        """
    )
    out = zeros(24 * 30)
    place((2, 3, 4), (5, 2, 3), (out,))
    np.testing.assert_array_equal(out.reshape(24, 30), np.arange(30) + 1000 * np.arange(24)[:, None])


def test_order_of_threads_and_blocks(order):
    append = kernel("out[atomicAdd(next, 1)] = blockIdx.x * blockDim.x + threadIdx.x;", "int *out, int *next")
    out = zeros(12)
    append((3,), (4,), (out, zeros(1)))
    expected = np.arange(12)
    np.testing.assert_array_equal(out, expected[::-1] if order else expected)


def test_threads_that_never_meet_share_one_stack():
    address = kernel("int here; out[threadIdx.x] = (long long)&here;", "long long *out")
    out = zeros(256, np.int64)
    address((1,), (256,), (out,))
    assert len(set(out)) == 1


def test_many_threads_are_quick():
    # 16 million threads, at some nanoseconds each
    count = kernel("atomicAdd(out, 1);", "unsigned *out")
    out = zeros(1, np.uint32)
    count((16384,), (1024,), (out,))
    assert out[0] == 16384 * 1024


def test_barriers(order):
    # everybody writes, then everybody reads what another one wrote; twice
    pass_on = kernel(
        """
        int next = (threadIdx.x + 1) % blockDim.x;
        for (int turn = 0; turn < 2; turn++) {
            out[threadIdx.x] += threadIdx.x;
            __syncthreads();
            int value = out[next];
            __syncthreads();
            out[threadIdx.x] = value;
        }
        """
    )
    out = zeros(100)
    pass_on((1,), (100,), (out,))
    one = np.roll(np.arange(100), -1)
    np.testing.assert_array_equal(out, np.roll(one + np.arange(100), -1))


def test_threads_that_have_returned_are_not_waited_for(order):
    early = kernel("if (threadIdx.x % 3) return; __syncthreads(); __syncwarp(); out[threadIdx.x] = 1;")
    out = zeros(70)
    early((1,), (70,), (out,))
    np.testing.assert_array_equal(out, np.arange(70) % 3 == 0)


def test_local_variables_survive_a_barrier(order):
    keep = kernel(
        """
        float kept[64];
        for (int i = 0; i < 64; i++)
            kept[i] = threadIdx.x * 64 + i;
        __syncthreads();
        float sum = 0;
        for (int i = 0; i < 64; i++)
            sum += kept[i];
        out[threadIdx.x] = sum + threadIdx.x;
        """,
        "float *out",
    )
    out = zeros(1024, np.float32)
    keep((1,), (1024,), (out,))
    t = np.arange(1024)
    np.testing.assert_array_equal(out, t * 64 * 64 + 63 * 32 + t)


# ---------------------------------------------------------------- shared memory


def test_static_shared_memory(order):
    turn = kernel(
        """
        __shared__ int row[40];
        __shared__ float other[3];
        row[threadIdx.x] = blockIdx.x * 40 + threadIdx.x;
        if (threadIdx.x < 3) other[threadIdx.x] = threadIdx.x;
        __syncthreads();
        out[blockIdx.x * 40 + threadIdx.x] = row[39 - threadIdx.x] + (int)other[threadIdx.x % 3];
        """
    )
    out = zeros(120)
    turn((3,), (40,), (out,))
    t = np.arange(120)
    np.testing.assert_array_equal(out, t // 40 * 40 + 39 - t % 40 + t % 40 % 3)


@pytest.mark.parametrize("declared", ["float", "__align__(16) float", "unsigned char", "REAL"])
def test_dynamic_shared_memory(order, declared):
    total = kernel(
        f"""
        extern __shared__ {declared}
            memory[];
        float *row = reinterpret_cast<float *>(memory);
        row[threadIdx.x] = threadIdx.x;
        __syncthreads();
        if (threadIdx.x == 0)
            for (int i = 0; i < blockDim.x; i++)
                out[0] += row[i];
        """,
        "float *out",
        options=("-DREAL=float",),
    )
    out = zeros(1, np.float32)
    total((1,), (65,), (out,), shared_mem=65 * 4)
    assert out[0] == 65 * 32


def test_shared_memory_of_templates():
    before = """
    template <class T> __device__ T through(T value) {
        __shared__ T cell;
        if (threadIdx.x == 0) cell = value;
        __syncthreads();
        return cell;
    }
    """
    both = kernel("out[threadIdx.x] = through(3) + through(0.5);", "double *out", before=before)
    out = zeros(2, np.float64)
    both((1,), (2,), (out,))
    np.testing.assert_array_equal(out, [3.5, 3.5])


@unsanitized
def test_a_block_finds_nothing_in_shared_memory():
    stale = kernel(
        """
        __shared__ float cell[2];
        extern __shared__ float more[];
        out[2 * blockIdx.x] = cell[threadIdx.x];
        out[2 * blockIdx.x + 1] = more[threadIdx.x];
        cell[threadIdx.x] = more[threadIdx.x] = 1;
        """,
        "float *out",
    )
    out = zeros(6, np.float32)
    stale((3,), (1,), (out,), shared_mem=4)
    assert np.isnan(out).all()


# ---------------------------------------------------------------- warps


def test_shuffles(order):
    shuffled = kernel(
        """
        int t = threadIdx.x;
        out[t] = __shfl_sync(~0u, t, 3);
        out[64 + t] = __shfl_sync(~0u, t, t + 1, 8);
        out[128 + t] = __shfl_up_sync(~0u, t, 2);
        out[192 + t] = __shfl_up_sync(~0u, t, 2, 4);
        out[256 + t] = __shfl_down_sync(~0u, t, 5);
        out[320 + t] = __shfl_down_sync(~0u, t, 5, 16);
        out[384 + t] = __shfl_xor_sync(~0u, t, 9);
        out[448 + t] = __shfl_xor_sync(~0u, t, 9, 8);
        """
    )
    out = zeros(512)
    shuffled((1,), (64,), (out,))
    t = np.arange(64)
    warp, lane = t // 32 * 32, t % 32
    far = np.where((lane ^ 9) <= (lane | 7), lane ^ 9, lane)
    expected = [
        warp + 3,
        t // 8 * 8 + (t + 1) % 8,
        np.where(lane < 2, t, t - 2),
        np.where(lane % 4 < 2, t, t - 2),
        np.where(lane < 27, t + 5, t),
        np.where(lane % 16 < 11, t + 5, t),
        t ^ 9,
        warp + far,
    ]
    np.testing.assert_array_equal(out.reshape(8, 64), expected)


def test_shuffles_of_wide_types(order):
    swap = kernel(
        """
        double value = 0.1 * threadIdx.x;
        float4 four = {1.f * threadIdx.x, 2, 3, 4};
        out[threadIdx.x] = __shfl_xor_sync(~0u, value, 1) + __shfl_xor_sync(~0u, four, 1).x;
        """,
        "double *out",
    )
    out = zeros(32, np.float64)
    swap((1,), (32,), (out,))
    np.testing.assert_array_equal(out, 0.1 * (np.arange(32) ^ 1) + (np.arange(32) ^ 1))


def test_a_sum_over_a_warp_by_halves(order):
    total = kernel(
        """
        int value = threadIdx.x;
        for (int half = 16; half > 0; half /= 2)
            value += __shfl_down_sync(~0u, value, half);
        if (threadIdx.x % 32 == 0)
            out[threadIdx.x / 32] = value;
        """
    )
    out = zeros(4)
    total((1,), (128,), (out,))
    np.testing.assert_array_equal(out, np.arange(128).reshape(4, 32).sum(axis=1))


def test_votes(order):
    vote = kernel(
        """
        int t = threadIdx.x, same;
        out[t] = __ballot_sync(~0u, t % 3 == 0);
        out[40 + t] = __any_sync(~0u, t == 35);
        out[80 + t] = __all_sync(~0u, t < 32);
        out[120 + t] = __match_any_sync(~0u, t / 16);
        out[160 + t] = __match_all_sync(~0u, t / 32, &same);
        out[200 + t] = same;
        """,
        "unsigned *out",
    )
    out = zeros(240, np.uint32)
    vote((1,), (40,), (out,))
    out = out.reshape(6, 40)
    t = np.arange(40)
    thirds = [
        sum(1 << i for i in range(32) if i % 3 == 0),
        sum(1 << i for i in range(8) if (32 + i) % 3 == 0),
    ]
    np.testing.assert_array_equal(out[0], np.repeat(np.array(thirds, np.uint32), (32, 8)))
    np.testing.assert_array_equal(out[1], t >= 32)
    np.testing.assert_array_equal(out[2], t < 32)
    np.testing.assert_array_equal(
        out[3], np.repeat(np.array([0xFFFF, 0xFFFF0000, 0xFF], np.uint32), (16, 16, 8))
    )
    np.testing.assert_array_equal(out[4], np.full(40, 0xFFFFFFFF))
    np.testing.assert_array_equal(out[5], np.ones(40))


def test_parts_of_a_warp_meet_by_themselves(order):
    parts = kernel(
        """
        int lane = threadIdx.x;
        if (lane < 8)
            out[lane] = __shfl_sync(0xffu, lane, 7);
        else if (lane < 20)
            out[lane] = __popc(__ballot_sync(0x000fff00u, lane % 2));
        """
    )
    out = zeros(32)
    parts((1,), (32,), (out,))
    np.testing.assert_array_equal(out, [7] * 8 + [6] * 12 + [0] * 12)


# ---------------------------------------------------------------- mistakes that a GPU does not tell


def wrong(function, *says, threads=64, out=None, **launch):
    with pytest.raises(LaunchError) as caught:
        function((1,), (threads,), (zeros(64) if out is None else out,), **launch)
    for words in says:
        assert words in str(caught.value)


@pytest.mark.parametrize(
    "body, says",
    [
        (
            "if (threadIdx.x < 40)\n __syncthreads();\nelse\n __syncwarp();",
            ["block at line 4", "warp at line 6"],
        ),
        ("if (threadIdx.x < 40)\n __syncthreads();\nelse\n __syncthreads();", ["at line 4", "at line 6"]),
        (
            "if (threadIdx.x > 9)\n __syncwarp();\nelse\n __syncthreads();",
            ["warp at line 4", "block at line 6"],
        ),
        ("if (threadIdx.x % 2)\n out[0] = __shfl_sync(~0u, 1, 0);\nelse\n __syncthreads();", ["line 4"]),
        ("__syncwarp(threadIdx.x < 5 ? 0x3f : ~0u);", ["at line 3"]),
        ("if (threadIdx.x < 5) out[0] = __shfl_sync(0x1fu, 1, 6);", ["from lane 6", "line 3"]),
        ("out[0] = __ballot_sync(0x1u, 1);", ["without being in the mask", "line 3"]),
        ("if (threadIdx.x == 7) __trap();", ["trap", "line 3", "thread (7, 0, 0) of block (0, 0, 0)"]),
        ("assert(threadIdx.x < 9);", ["threadIdx.x < 9", "thread (9, 0, 0)"]),
    ],
)
def test_threads_that_do_not_find_each_other(body, says):
    function = kernel(body)
    wrong(function, *says)
    wrong(function, *says)  # and what is left of one launch is no trouble to the next
    works = kernel("__syncthreads(); out[threadIdx.x] = 1;")
    out = zeros(64)
    works((1,), (64,), (out,))
    assert out.all()


@unsanitized
@pytest.mark.parametrize("fences, index", [("behind", 3), ("behind", 900), ("before", -1), ("before", -900)])
@pytest.mark.parametrize("writes", [False, True])
def test_out_of_bounds(fences, index, writes):
    HostModule.fences = fences
    body = (
        f"out[{index} + (int)threadIdx.x * 0] = 7;"
        if writes
        else f"out[0] = out[{index} + (int)threadIdx.x * 0];"
    )
    function = kernel(body)
    out = zeros(3)
    if index == 3 and not writes:
        # reading up to 15 bytes on, in the rest of 16, is not seen
        function((1,), (1,), (out,))
        return
    wrong(function, "the 12 bytes of argument 0", out=out, threads=1)


@unsanitized
def test_out_of_bounds_names_the_line():
    out = zeros(4096)
    wrong(kernel("\n\nout[4096 * 2 - 1] = 1;"), "kernel.cu:5", "behind the 16384 bytes", out=out)


def test_arrays_of_one_owner_stay_together():
    # a view is handed over as its first item, with strides: the kernel goes where the view would
    step = kernel(
        "out[threadIdx.x * stride] = first[-(int)threadIdx.x * stride];",
        "int *out, const int *first, int stride",
    )
    whole = np.arange(40, dtype=np.int32)
    step((1,), (4,), (whole[20:21], whole[9:10], np.int32(3)))
    np.testing.assert_array_equal(whole[20:32:3], [9, 6, 3, 0])


@unsanitized
def test_out_of_bounds_of_shared_memory():
    wrong(
        kernel("extern __shared__ int more[]; more[12 + 0 * threadIdx.x] = out[0] = 1;"),
        "SIGSEGV",
        shared_mem=48,
    )


@unsanitized
def test_a_stack_that_is_too_small():
    before = (
        "__device__ __noinline__ int deep(int n) { int more[1000]; more[n % 1000] = n;\n"
        "return n ? deep(n - 1) + more[n % 7] : 0; }"
    )
    wrong(kernel("out[0] = deep(1 << 20);", before=before), "SIGSEGV", "thread (0, 0, 0)")


@unsanitized
def test_division_by_zero():
    wrong(kernel("out[0] = 5 / (out[1] - (int)threadIdx.x);"), "SIGFPE", "thread (0, 0, 0)")


@unsanitized
def test_faults_elsewhere_are_not_taken_for_a_kernels(run_python):
    done = run_python(
        """
import ctypes, numpy as np
from cuda_host.module import HostModule
code = 'extern "C" __global__ void kernel(int *out) { out[0] = 1; }'
HostModule(code=code).get_function("kernel")((1,), (1,), (np.zeros(1, np.int32),))
print("launched", flush=True)
ctypes.string_at(8)
""",
        check=False,
    )
    assert done.returncode == -11
    assert done.stdout == "launched\n"


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
    assert again._path == function._path
    assert os.path.exists(again._path)


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


def test_minimum_and_maximum_prefer_numbers():
    extremes = kernel(
        "out[0] = max(in[0], in[1]); out[1] = fminf(in[1], in[0]); out[2] = min(in[0], in[1]);",
        "float *out, const float *in",
    )
    out = zeros(3, np.float32)
    extremes((1,), (1,), (out, np.float32([np.nan, 2])))
    np.testing.assert_array_equal(out, [2, 2, 2])


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


# ---------------------------------------------------------------- ahead of the tests


@pytest.mark.parametrize(("backend", "ahead"), [("cuda", True), ("device", False)])
def test_kernels_are_compiled_ahead_for_many_tests_of_theirs(monkeypatch, backend, ahead):
    """Not for a device's, which has a compiler of its own."""
    asked = []
    monkeypatch.setattr(module, "compiler", lambda: asked.append("for a compiler"))
    case = types.SimpleNamespace(params={"backend": backend})
    item = types.SimpleNamespace(path="test_x.py", originalname="test_x", callspec=case)
    session = types.SimpleNamespace(items=[item] * conftest.MANY_TESTS, config=types.SimpleNamespace())
    conftest.pytest_collection_finish(session)
    assert bool(asked) == ahead


def test_one_of_several_processes_compiles_ahead(monkeypatch):
    asked = []
    monkeypatch.setattr(module, "compiler", lambda: asked.append("for a compiler"))
    case = types.SimpleNamespace(params={"backend": "cuda"})
    item = types.SimpleNamespace(path="test_x.py", originalname="test_x", callspec=case)
    for worker in ("gw1", "gw0"):
        assert not asked
        config = types.SimpleNamespace(workerinput={"workerid": worker})
        session = types.SimpleNamespace(items=[item] * conftest.MANY_TESTS, config=config)
        conftest.pytest_collection_finish(session)
    assert asked
