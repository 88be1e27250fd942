"""Memory of new results: memory of dropped results is reused, and no other."""

import gc
import pickle
import sys
import threading

import numpy as np
import pytest

import roicy
from roicy._arguments.outputs import new

MEGABYTE = 2**20
FEATURES = np.random.default_rng(0).standard_normal((1, 64, 20, 20)).astype(np.float32)
FLOAT32 = np.dtype(np.float32)


def pooled(megabytes=4, value=None):
    """A new result of so many megabytes."""
    boxes = np.tile(np.array([[0, 1, 1, 17, 15]], np.float32), (megabytes * 64, 1))
    found = roicy.roi_align(FEATURES, boxes, 8)
    assert found.nbytes == megabytes * MEGABYTE
    if value is not None:
        found[...] = value
    return found


def held():
    return roicy.show_config("dicts")["Memory"]["held bytes"]


@pytest.fixture(autouse=True)
def cache():
    """A cache of 16 MB that holds nothing."""
    before = roicy.show_config("dicts")["Memory"]["output cache bytes"]
    gc.collect()
    roicy.set_output_cache(0)
    roicy.set_output_cache(16 * MEGABYTE)
    yield
    roicy.set_output_cache(0)
    roicy.set_output_cache(before)


def test_memory_that_was_dropped_is_taken_again():
    first = pooled()
    expected, address = first.copy(), first.ctypes.data
    first[...] = np.nan
    assert held() == 0
    del first
    assert held() == 4 * MEGABYTE
    second = pooled()
    assert second.ctypes.data == address
    assert held() == 0
    np.testing.assert_array_equal(second, expected)


def test_memory_is_used_as_long_as_there_is_a_view():
    first = pooled(value=3)
    address, row = first.ctypes.data, first[5:6].transpose(3, 2, 1, 0)
    del first
    assert held() == 0
    assert pooled().ctypes.data != address
    np.testing.assert_array_equal(row, 3)
    del row
    assert held() == 8 * MEGABYTE


def test_the_bound():
    results = [pooled(megabytes) for megabytes in (4, 5, 6, 7, 30)]
    for result, expected in zip([4, 5, 6, 7, 30], [4, 9, 15, 13, 13], strict=True):
        results.pop(0)
        assert held() == expected * MEGABYTE, result
    roicy.set_output_cache(8 * MEGABYTE)
    assert held() == 7 * MEGABYTE
    roicy.empty_output_cache()
    assert held() == 0
    pooled()
    assert held() == 4 * MEGABYTE
    roicy.set_output_cache(0)
    assert held() == 0
    pooled()
    assert held() == 0


def test_there_is_a_bound_for_the_number_of_blocks_too():
    results = [pooled(1) for _ in range(70)]
    roicy.set_output_cache(100 * MEGABYTE)
    results.clear()
    assert held() == 64 * MEGABYTE


def test_a_block_far_too_large_is_not_taken():
    address = pooled(8).ctypes.data
    assert pooled(6).ctypes.data != address
    assert pooled(7).ctypes.data == address
    assert held() == (6 + 8) * MEGABYTE


def test_the_least_of_the_blocks_that_fit_is_taken():
    results = [pooled(8), pooled(7), pooled(8)]
    address = results[1].ctypes.data
    roicy.set_output_cache(32 * MEGABYTE)
    results.clear()
    assert pooled(7).ctypes.data == address


def unaligned(array):
    memory = np.zeros(array.nbytes + 1, np.uint8)
    odd = memory[1:].view(array.dtype).reshape(array.shape)
    odd[...] = array
    return odd


def test_copies_of_unaligned_arrays_are_held_too():
    features, rois = np.ones((4, 64, 64, 64), np.float32), np.array([[0, 1, 1, 17, 15]], np.float32)
    expected = roicy.roi_align(features, rois, 8)
    np.testing.assert_array_equal(roicy.roi_align(unaligned(features), rois, 8), expected)
    assert held() == 4 * MEGABYTE
    out = unaligned(pooled().astype(np.float32))
    roicy.empty_output_cache()
    roicy.roi_align(FEATURES, np.tile(rois, (256, 1)), 8, out=out)
    assert held() == 4 * MEGABYTE


def test_results_are_arrays_as_any_others():
    result = pooled()
    assert type(result) is np.ndarray
    assert result.flags.owndata
    assert result.flags.carray
    assert result.base is None
    assert result.ctypes.data % 64 == 0
    again = pickle.loads(pickle.dumps(result))
    np.testing.assert_array_equal(again, result)
    assert np.empty(4 * MEGABYTE, np.uint8).ctypes.data != result.ctypes.data


def test_a_result_can_be_given_another_size():
    result = pooled(value=5)
    for shape in [(2 * MEGABYTE,), (100,), (3 * MEGABYTE,)]:
        result.resize(shape, refcheck=False)
        assert (result[:100] == 5).all()
    assert (result[100:] == 0).all()


def test_zeros_are_zeros():
    pooled(value=7)
    zeros = new("out", (1, MEGABYTE), FLOAT32, blank=True)
    assert held() == 0
    assert not zeros.any()


def test_small_results_come_from_elsewhere():
    small = roicy.roi_align(FEATURES, [[0, 1, 1, 17, 15]], 8)
    del small
    assert held() == 0


def test_arrays_of_other_programs_are_theirs():
    array = np.ones(4 * MEGABYTE, np.uint8)
    pooled()
    del array
    assert held() == 4 * MEGABYTE


def test_all_results_come_from_there():
    """Of gradients, of crops, of masks."""
    result = pooled()
    boxes = np.array([[0, 1, 1, 17, 15]], np.float32)
    roicy.roi_align_backward(np.ones((1, 1024, 8, 8), np.float32), boxes, (1, 1024, 20, 20))
    assert held() == 1024 * 20 * 20 * 4
    roicy.empty_output_cache()
    roicy.crop_and_resize(np.zeros((1, 64, 64, 3), np.uint8), boxes[:, 1:], 1024)
    assert held() == 12 * MEGABYTE
    roicy.empty_output_cache()
    roicy.paste_masks(np.ones((1, 28, 28), np.float32), boxes[:, 1:], (1024, 1024))
    assert held() == MEGABYTE
    assert result.any()


def test_many_threads_take_and_drop():
    wrong = []

    def work(number):
        for turn in range(60):
            result = pooled(2 + (turn + number) % 3, value=number)
            mean = result.mean(dtype=np.float64)
            if mean != number or result[-1, -1, -1, -1] != number:
                wrong.append(mean)
            del result

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert held() <= 16 * MEGABYTE


FORKED = """
import os, sys
import numpy as np, roicy
features = np.ones((1, 64, 20, 20), np.float32)
boxes = np.tile(np.array([[0, 1, 1, 17, 15]], np.float32), (256, 1))
roicy.set_num_threads(1)
roicy.set_output_cache(2**24)
kept = roicy.roi_align(features, boxes, 8)
dropped = roicy.roi_align(features, boxes, 8)
del dropped
child = os.fork()
mine = roicy.roi_align(features, boxes, 8)
mine *= 3 if child else 2
assert (mine == (3 if child else 2)).all() and (kept == 1).all()
del mine, kept
assert roicy.show_config("dicts")["Memory"]["held bytes"] == 2**23
if not child:
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
print("right")
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="processes are not forked here")
def test_a_forked_process_has_its_own(run_python):
    assert run_python(FORKED).strip() == "right"


SCARCE = """
import resource
import numpy as np, roicy
from roicy._arguments.outputs import new
MEGABYTE = 2**20
roicy.set_output_cache(1024 * MEGABYTE)
with open("/proc/self/statm", encoding="ascii") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 500 * MEGABYTE,) * 2)
for blank in (False, True):
    first = new("out", (300 * MEGABYTE,), np.dtype(np.uint8))
    del first
    assert roicy.show_config("dicts")["Memory"]["held bytes"] >= 300 * MEGABYTE
    second = new("out", (400 * MEGABYTE,), np.dtype(np.uint8), blank=blank)
    assert not second[::MEGABYTE].any()
    assert roicy.show_config("dicts")["Memory"]["held bytes"] == 0
    del second
    roicy.empty_output_cache()
print("right")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads what a Linux process holds")
def test_what_is_held_goes_back_where_memory_is_short(run_python):
    assert run_python(SCARCE).strip() == "right"


OUTLIVED = """
import sys, threading
import numpy as np, roicy
features = np.ones((1, 64, 20, 20), np.float32)
boxes = np.tile(np.array([[0, 1, 1, 17, 15]], np.float32), (256, 1))
roicy.set_num_threads(1)
roicy.set_output_cache(2**24)
result, other = (roicy.roi_align(features, boxes, 8) for _ in range(2))
for name in [name for name in sys.modules if name.startswith("roicy")]:
    del sys.modules[name]
del roicy
import gc
gc.collect()
assert (result == 1).all()
del result
assert (other == 1).all()
threading.main_thread().last = other  # until the interpreter ends, or longer
print("right")
"""


def test_results_outlive_the_module(run_python):
    assert run_python(OUTLIVED).strip() == "right"


@pytest.mark.parametrize("wrong", [None, "1", True, 1.5])
def test_a_size_that_is_none(wrong):
    with pytest.raises(TypeError, match="size must be an int, got"):
        roicy.set_output_cache(wrong)


@pytest.mark.parametrize("wrong", [-1, 2**48 + 1, 10**30])
def test_a_size_out_of_range(wrong):
    with pytest.raises(
        ValueError, match=rf"size must be a number of bytes between 0 and {2**48}, got {wrong}"
    ):
        roicy.set_output_cache(wrong)


@pytest.mark.skipif(sys.platform != "linux", reason="reads what a Linux process holds")
def test_what_is_given_back_is_the_systems():
    def resident():
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * 4096

    pooled(12)
    before = resident()
    roicy.empty_output_cache()
    assert before - resident() > 10 * MEGABYTE
