"""What threads have together: a barrier that is missing shows in one of both orders of threads."""

from pathlib import Path

import numpy as np
import pytest
from cuda_host import module
from cuda_host.module import HostModule

import roicy.cuda

pytestmark = pytest.mark.skipif(module.compiler() is None, reason="no C++ compiler")

LANES = Path(roicy.cuda.__file__).parent / "lanes"
KERNEL = """
extern "C" __global__ void __launch_bounds__(64)
    kernel(const double *values, const int64 *numbers, double *sum, int64 *least, int turns) {
    __shared__ double room[64];
    __shared__ int64 other_room[64];
    for (int at = threadIdx.x; at < 64 * turns; at += 64)
        sum[at] = sum_by_halves(values[at], room);
    for (int at = threadIdx.x; at < 64 * turns; at += 64)
        least[at] = least_of_block(numbers[at], other_room);
}
"""


@pytest.fixture(params=[0, 1], ids=["ascending", "descending"])
def order(request):
    HostModule.set_order(request.param)
    yield
    HostModule.set_order(0)


def test_one_result_of_a_block_after_another(order):
    """Only the first thread gets the result; the others keep their own values."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((3, 64))
    numbers = rng.integers(-(2**40), 2**40, (3, 64))
    sums = values.copy()
    for half in (32, 16, 8, 4, 2, 1):
        sums[:, :half] += sums[:, half : 2 * half]
    texts = [(LANES / name).read_text(encoding="utf-8") for name in ("types.cuh", "reduce.cuh")]
    code = "#define REAL double\n" + "".join(texts).replace('#include "lanes/types.cuh"\n', "") + KERNEL
    found, found_least = np.empty_like(values), np.empty_like(numbers)
    run = HostModule(code=code).get_function("kernel")
    run((1,), (64,), (values, numbers, found, found_least, np.int32(3)))
    np.testing.assert_array_equal(found[:, 0], sums[:, 0])
    np.testing.assert_array_equal(found[:, 1:], values[:, 1:])
    np.testing.assert_array_equal(found_least[:, 0], numbers.min(axis=1))
    np.testing.assert_array_equal(found_least[:, 1:], numbers[:, 1:])
