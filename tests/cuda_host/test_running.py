"""What the host build of the CUDA kernels runs and what it finds there: threads, memory, warps, mistakes."""

import os

import numpy as np
import pytest

from cuda_host import module
from cuda_host.module import HostModule
from cuda_host.small_kernels import kernel, wrong, zeros

pytestmark = pytest.mark.skipif(module.compiler() is None, reason="no C++ compiler")
unsanitized = pytest.mark.skipif(
    "-fsanitize" in os.environ.get("ROICY_HOST_FLAGS", ""), reason="a sanitizer finds it in its own way"
)


@pytest.fixture(autouse=True)
def keep_order_and_fences(monkeypatch):
    monkeypatch.setattr(HostModule, "fences", HostModule.fences)
    yield
    HostModule.set_order(0)


@pytest.fixture(params=[0, 1], ids=["ascending", "descending"])
def order(request):
    HostModule.set_order(request.param)
    return request.param


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


def test_order_behind_meetings(order):
    """As before them: blocks, in these the parts of warps that meet, and then all threads again."""
    append = kernel(
        """
        int number = blockIdx.x * blockDim.x + threadIdx.x;
        unsigned part = threadIdx.x % 32 < 16 ? 0xffffu : ~0xffffu;
        out[atomicAdd(next, 1)] = number;
        __syncwarp(part);
        out[atomicAdd(next, 1)] = number;
        __syncthreads();
        out[atomicAdd(next, 1)] = number;
        """,
        "int *out, int *next",
    )
    out = zeros(3 * 192)
    append((3,), (64,), (out, zeros(1)))
    numbers = np.arange(192).reshape(3, 1, 64)[:: -1 if order else 1, :, :: -1 if order else 1]
    np.testing.assert_array_equal(out.reshape(3, 3, 64), np.repeat(numbers, 3, axis=1))


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


@pytest.mark.parametrize("fences", ["behind", "before"])
def test_arrays_that_fill_their_pages(fences):
    """Keep their place modulo 16 bytes between the fences."""
    HostModule.fences = fences
    function = kernel("out[1023] = out[1022];")
    memory = np.arange(1028, dtype=np.int32)
    for skipped in range(4):
        out = np.frombuffer(memory.data, np.int32, 1024, 4 * skipped)
        out[1022] = 7 + skipped
        function((1,), (1,), (out,))
        assert out[1023] == 7 + skipped


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
