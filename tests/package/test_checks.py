"""Debug and sanitizer builds: kernels get arguments that Python never passes, and end the process."""

import os

import pytest

BUILD = os.environ.get("ROICY_BUILD", "release")

PREPARE = """
import sys
import numpy as np
import roicy.cpu
from roicy._types import Regions, Sampling
from roicy.cpu.tables.axis import AxisTable

def table(images):
    boxes = np.tile(np.array([1, 1, 9, 9], np.float32), (100, 1))
    regions = Regions(boxes, images, (1, 16, 12, 12), (2, 2))
    return AxisTable(regions, Sampling(1.0, 2, True), "float32", "forward", 1)

features = np.ones((1, 16, 12, 12), np.float32)
kernels = roicy.cpu._kernels("float32")
right = table(np.zeros(100, np.int64)), features, np.empty((100, 16, 2, 2), np.float32)
kernels.axis_forward(*right, None, 1)
print("right", flush=True)
"""

WRONG = {
    "view": "kernels.axis_forward(right[0], features, right[2][:99], None, 1)",  # a result too few
    "tile": "kernels.axis_forward(right[0], features[:, :, :5], right[2], None, 1)",  # features too small
}


def test_what_is_right_ends_nothing(run_python):
    assert run_python(PREPARE) == "right\n"


@pytest.mark.skipif(BUILD == "release", reason="for ROICY_BUILD=debug and ROICY_BUILD=sanitize")
@pytest.mark.parametrize("place", WRONG)
def test_assertions_end_the_process(place, run_python):
    done = run_python(PREPARE + WRONG[place], check=False)
    assert done.stdout == "right\n"
    assert done.returncode == -6
    assert f"roicy/cpu/apply/{place}.pxd:" in done.stderr
    assert "not in [0, " in done.stderr


@pytest.mark.skipif(BUILD != "sanitize", reason="for ROICY_BUILD=sanitize")
@pytest.mark.parametrize("size", [99, 50])
def test_the_sanitizer_sees_what_is_read_behind_an_array(size, run_python):
    done = run_python(PREPARE + f"table(np.zeros({size}, np.int64))", check=False)
    assert done.stdout == "right\n"
    assert done.returncode == -6
    assert "AddressSanitizer: heap-buffer-overflow" in done.stderr
    assert "roicy/cpu/tables/rois.pyx:" in done.stderr


@pytest.mark.skipif(BUILD != "sanitize", reason="for ROICY_BUILD=sanitize")
def test_the_sanitizer_sees_what_leaves_its_piece_of_a_block(run_python):
    """The table is of one kind, the kernel for another: it takes weights for twice as large as they are."""
    wrong = "roicy.cpu._kernels('float64').axis_forward(right[0], features, right[2], None, 1)"
    done = run_python(PREPARE + wrong, check=False)
    assert done.stdout == "right\n"
    assert done.returncode == -6
    assert "AddressSanitizer: use-after-poison" in done.stderr
