"""Threads: the same bits for any number of them, none where one was asked for, and no trouble with forks."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Thread

import battery
import numpy as np
import pytest
from closeness import assert_same_bits

import roicy

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/task")
fork_only = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
openmp_only = pytest.mark.skipif(not roicy.cpu.openmp(), reason="built without OpenMP: there is one thread")

AVERAGES = [battery.forward, battery.backward, battery.backward_rois]
OTHERS = [
    battery.max_forward,
    battery.max_argmax,
    battery.max_backward,
    battery.max_backward_rois,
    battery.rotated_forward,
    battery.rotated_backward,
    battery.rotated_backward_rois,
    battery.pool_forward,
    battery.pool_argmax,
    battery.pool_backward,
]
FUNCTIONS = AVERAGES + OTHERS
FUNCTION_IDS = [function.__name__ for function in FUNCTIONS]

# Enough work for every thread, in all the ways in which it can be divided: over images and blocks of
# channels; one block and many boxes; one block, few boxes and many bins.
LARGE = [
    battery.Case("blocks", (2, 96, 40, 50), 150, (7, 7), 2),
    battery.Case("blocks-nhwc", (2, 80, 40, 50), 150, (7, 7), 2, layout="NHWC"),
    battery.Case("one-block", (1, 16, 80, 100), 300, (14, 14), 2),
    battery.Case("one-block-nhwc-float16", (1, 8, 80, 100), 300, (14, 14), 2, layout="NHWC", dtype="float16"),
    battery.Case("few-channels", (1, 3, 200, 240), 12, (96, 128), 0, dtype="uint8"),
    battery.Case("few-channels-nhwc", (1, 3, 200, 240), 12, (96, 128), 1, layout="NHWC"),
    battery.Case("one-channel-float64", (1, 1, 200, 240), 60, (32, 32), 3, "NCHW", "float64", "float64"),
    battery.Case("few-boxes-many-channels", (1, 1024, 30, 40), 2, (7, 7), 2),
]
LARGE_IDS = [case.name for case in LARGE]


@pytest.mark.parametrize("case", LARGE, ids=LARGE_IDS)
@pytest.mark.parametrize("function", FUNCTIONS, ids=FUNCTION_IDS)
def test_same_bits_for_any_number_of_threads(case, function):
    with roicy.num_threads(1):
        expected = function(case)
    for n in (2, 3, 4, 7) if function in AVERAGES else (2, 7):
        with roicy.num_threads(n):
            assert_same_bits(function(case), expected)


@pytest.mark.parametrize("case", battery.SELECTION, ids=battery.SELECTION_IDS)
@pytest.mark.parametrize("function", AVERAGES, ids=FUNCTION_IDS[:3])
def test_battery(case, function, threads):
    with roicy.num_threads(1):
        expected = function(case)
    with roicy.num_threads(threads):
        assert_same_bits(function(case), expected)


@pytest.mark.parametrize("case", battery.SELECTION, ids=battery.SELECTION_IDS)
@pytest.mark.parametrize("function", OTHERS, ids=FUNCTION_IDS[3:])
def test_battery_of_the_others(case, function):
    with roicy.num_threads(1):
        expected = function(case)
    with roicy.num_threads(3):
        assert_same_bits(function(case), expected)


@pytest.mark.parametrize("function", FUNCTIONS, ids=FUNCTION_IDS)
def test_concurrent_calls_from_python_threads(function):
    """Each with two threads of its own, all at once, on different problems."""
    cases = [LARGE[0], LARGE[3], LARGE[5], LARGE[7]]
    expected = [function(case) for case in cases]

    def call(case):
        with roicy.num_threads(2):
            return function(case)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(call, cases * 3))
    for result, wanted in zip(results, expected * 3, strict=True):
        assert_same_bits(result, wanted)


# ---------------------------------------------------------------- the setting


@openmp_only
def test_setting_and_reading():
    for n in (1, 2, 5, np.int64(3)):
        assert roicy.set_num_threads(n) is None
        assert roicy.get_num_threads() == n
        assert type(roicy.get_num_threads()) is int


@openmp_only
def test_the_context_restores():
    roicy.set_num_threads(3)
    with roicy.num_threads(2):
        assert roicy.get_num_threads() == 2
        with roicy.num_threads(5):
            assert roicy.get_num_threads() == 5
        assert roicy.get_num_threads() == 2
        roicy.set_num_threads(4)
    assert roicy.get_num_threads() == 3


@openmp_only
def test_the_context_restores_after_an_error():
    roicy.set_num_threads(3)
    with pytest.raises(KeyError), roicy.num_threads(2):
        raise KeyError
    assert roicy.get_num_threads() == 3


@openmp_only
def test_each_python_thread_has_a_number_of_its_own():
    default = roicy.get_num_threads()
    roicy.set_num_threads(default + 3)
    meet = Barrier(2, timeout=20)
    seen = {}

    def other():
        seen["at first"] = roicy.get_num_threads()
        roicy.set_num_threads(default + 1)
        meet.wait()  # both have set theirs
        meet.wait()  # the first has read its own
        seen["after"] = roicy.get_num_threads()

    thread = Thread(target=other)
    thread.start()
    meet.wait()
    assert roicy.get_num_threads() == default + 3
    meet.wait()
    thread.join()
    assert seen == {"at first": default, "after": default + 1}


@pytest.mark.skipif(roicy.cpu.openmp(), reason="built with OpenMP")
def test_without_openmp_there_is_one_thread():
    roicy.set_num_threads(4)
    assert roicy.get_num_threads() == 1
    with roicy.num_threads(3):
        assert roicy.get_num_threads() == 1


def test_the_default_respects_the_environment(run_python):
    show = "import roicy; print(roicy.get_num_threads())"
    assert int(run_python(show, OMP_NUM_THREADS="1")) == 1
    available = int(run_python(show))
    assert 1 <= available <= os.cpu_count()
    if roicy.cpu.openmp() and available > 1:
        assert int(run_python(show, OMP_NUM_THREADS="2")) == 2


# ---------------------------------------------------------------- processes

COUNT_THREADS = """
import os, sys
import roicy
import battery, test_threads

def threads():
    return len(os.listdir("/proc/self/task"))

before = threads()
roicy.set_num_threads(int(sys.argv[1]))
for case in test_threads.LARGE:
    for function in test_threads.FUNCTIONS:
        function(case)
print(threads() - before)
"""


@linux_only
def test_one_thread_never_enters_openmp(run_python):
    """Not a single thread is started, though there is work for many."""
    assert int(run_python(COUNT_THREADS, 1)) == 0


@linux_only
@openmp_only
def test_more_threads_are_started_where_there_is_work(run_python):
    """Without which the test above would prove nothing."""
    assert int(run_python(COUNT_THREADS, 3)) == 2


@linux_only
def test_small_work_stays_on_one_thread(run_python):
    source = """
import os
import numpy as np
import roicy
before = len(os.listdir("/proc/self/task"))
roicy.set_num_threads(4)
features, rois = np.ones((1, 16, 8, 8), np.float32), np.array([[0, 1, 1, 5, 5]], np.float32)
out = roicy.roi_align(features, rois, 2)
roicy.roi_align_backward(out, rois, features.shape)
roicy.roi_align_backward_rois(out, features, rois)
out, argmax = roicy.roi_align(features, rois, 2, mode="max", return_argmax=True)
roicy.roi_align_backward(out, rois, features.shape, mode="max", argmax=argmax)
roicy.roi_align_backward_rois(out, features, rois, mode="max", argmax=argmax)
out, argmax = roicy.roi_pool(features, rois, 2, return_argmax=True)
roicy.roi_pool_backward(out, argmax, rois, features.shape)
turned = np.array([[0, 3, 3, 4, 4, 20]], np.float32)
out = roicy.roi_align_rotated(features, turned, 2)
roicy.roi_align_rotated_backward(out, turned, features.shape)
roicy.roi_align_rotated_backward_rois(out, features, turned)
print(len(os.listdir("/proc/self/task")) - before)
"""
    assert int(run_python(source)) == 0


FORK = """
import os, signal, sys
import roicy
import battery, test_threads
from closeness import bits

in_parent, in_child = int(sys.argv[1]), int(sys.argv[2])
calls = [(f, test_threads.LARGE[0]) for f in test_threads.FUNCTIONS]
calls += [(f, test_threads.LARGE[5]) for f in test_threads.AVERAGES]
roicy.set_num_threads(in_parent)
expected = [bits(function(case)) for function, case in calls]
child = os.fork()
if child == 0:
    signal.alarm(40)  # ends a child that hangs, so that it does not outlive the test
    roicy.set_num_threads(in_child)
    same = [bits(function(case)) for function, case in calls] == expected
    os._exit(0 if same else 3)
_, status = os.waitpid(child, 0)
same = [bits(function(case)) for function, case in calls] == expected  # the parent still works
print("child", status, "parent", same)
"""


@fork_only
@pytest.mark.parametrize("in_child", [1, 2, 3])
@pytest.mark.parametrize("in_parent", [1, 2])
def test_fork_after_a_call(run_python, in_parent, in_child):
    """OpenMP runtimes may wait for ever in the child of a process that used threads; nothing here may."""
    assert run_python(FORK, in_parent, in_child, timeout=90).split() == ["child", "0", "parent", "True"]


@fork_only
def test_multiprocessing_by_fork(run_python):
    """A pool of forked workers after a threaded call, with the number of threads that workers inherit."""
    source = """
import multiprocessing
import battery, roicy, test_threads
from closeness import bits

case = test_threads.LARGE[0]

def work(_):
    return bits(battery.forward(case))

roicy.set_num_threads(2)
expected = work(None)
with multiprocessing.get_context("fork").Pool(2) as pool:
    results = pool.map_async(work, range(4)).get(timeout=40)
print(all(result == expected for result in results))
"""
    assert run_python(source, timeout=90).strip() == "True"
