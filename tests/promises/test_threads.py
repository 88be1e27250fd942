"""Threads: the same bits for any number of them, no helpers if the number is one, and forks work."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Thread

import battery
import numpy as np
import pytest
from closeness import assert_same_bits
from operators import AVERAGE, EVERY

import roicy
from roicy.cpu.runtime import parallel

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/task")
fork_only = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")


@pytest.fixture(autouse=True)
def always_helped():
    """Threads, however busy the machine is."""
    parallel.keep_accounts(False)
    yield
    parallel.keep_accounts(True)


FUNCTIONS = [function for operator in EVERY for function in battery.functions(operator)]
AVERAGES = battery.functions(AVERAGE)
of_functions = pytest.mark.parametrize(
    "function", FUNCTIONS, ids=lambda function: f"{function.args[0]}-{function.func.__name__}"
)

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
# The same of maps that have channels for each bin: fewer, and of fewer pixels, are as much work.
LARGE_OF_BINS = [
    battery.Case("blocks", (2, 40, 30, 40), 150, (3, 3), 2),
    battery.Case("blocks-nhwc", (2, 40, 30, 40), 150, (3, 3), 2, layout="NHWC"),
    battery.Case("one-block", (1, 16, 40, 50), 300, (7, 7), 2),
    battery.Case("one-block-nhwc-float16", (1, 8, 40, 50), 300, (7, 7), 2, layout="NHWC", dtype="float16"),
    battery.Case("few-channels", (1, 3, 40, 50), 12, (16, 20), 0, dtype="uint8"),
    battery.Case("few-boxes-many-channels", (1, 256, 20, 30), 2, (3, 3), 2),
]


def large(function):
    """The cases of a function."""
    return LARGE_OF_BINS if function.args[0].position_sensitive else LARGE


def of_functions_on(cases):
    pairs = [(f, case) for f in FUNCTIONS for case in cases(f) if battery.takes(f.args[0], case)]
    return pytest.mark.parametrize(
        "function, case",
        pairs,
        ids=[f"{f.args[0]}-{f.func.__name__}-{case.name}" for f, case in pairs],
    )


@of_functions_on(large)
def test_same_bits_for_any_number_of_threads(case, function):
    with roicy.num_threads(1):
        expected = function(case)
    for n in (2, 3, 4, 7) if function.args[0] is AVERAGE else (2, 7):
        with roicy.num_threads(n):
            assert_same_bits(function(case), expected)


@of_functions_on(lambda _: battery.SELECTION)
def test_battery(case, function):
    with roicy.num_threads(1):
        expected = function(case)
    for n in (2, 3, 4) if function.args[0] is AVERAGE else (3,):
        with roicy.num_threads(n):
            assert_same_bits(function(case), expected)


@of_functions
def test_concurrent_calls_from_python_threads(function):
    """Each with two threads of its own, all at once, on different problems."""
    cases = [large(function)[0], *large(function)[3::2]]
    expected = [function(case) for case in cases]

    def call(case):
        with roicy.num_threads(2):
            return function(case)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(call, cases * 3))
    for result, wanted in zip(results, expected * 3, strict=True):
        assert_same_bits(result, wanted)


# ---------------------------------------------------------------- the setting


def test_setting_and_reading():
    for n in (1, 2, 5, np.int64(3)):
        assert roicy.set_num_threads(n) is None
        assert roicy.get_num_threads() == n
        assert type(roicy.get_num_threads()) is int


def test_the_context_restores():
    roicy.set_num_threads(3)
    with roicy.num_threads(2):
        assert roicy.get_num_threads() == 2
        with roicy.num_threads(5):
            assert roicy.get_num_threads() == 5
        assert roicy.get_num_threads() == 2
        roicy.set_num_threads(4)
    assert roicy.get_num_threads() == 3


def test_the_context_restores_after_an_error():
    roicy.set_num_threads(3)
    with pytest.raises(KeyError), roicy.num_threads(2):
        raise KeyError
    assert roicy.get_num_threads() == 3


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


def test_the_default_respects_the_environment(run_python):
    show = "import roicy; print(roicy.get_num_threads())"
    assert int(run_python(show, OMP_NUM_THREADS="1")) == 1
    available = int(run_python(show))
    assert 1 <= available <= os.cpu_count()
    if available > 1:
        assert int(run_python(show, OMP_NUM_THREADS="2")) == 2


# ---------------------------------------------------------------- processes

COUNT_THREADS = """
import os, sys
import roicy
import battery
from promises import test_threads

def threads():
    return len(os.listdir("/proc/self/task"))

before = threads()
roicy.cpu.runtime.parallel.keep_accounts(False)
roicy.set_num_threads(int(sys.argv[1]))
for function in test_threads.FUNCTIONS:
    for case in test_threads.large(function):
        function(case)
print(threads() - before)
"""


@linux_only
def test_one_thread_starts_no_other(run_python):
    """Not a single thread is started, though there is work for many."""
    assert int(run_python(COUNT_THREADS, 1)) == 0


@linux_only
def test_more_threads_are_started_where_there_is_work(run_python):
    """Without which the test above would prove nothing."""
    assert int(run_python(COUNT_THREADS, 3)) == 2


@linux_only
def test_small_work_stays_on_one_thread(run_python):
    source = """
import os
import numpy as np
import roicy
from operators import OPERATORS
before = len(os.listdir("/proc/self/task"))
roicy.set_num_threads(4)
for operator in OPERATORS:
    features = np.ones(operator.map_shape((1, 16, 8, 8), (2, 2)), np.float32)
    operator.outputs(features, operator.rois(np.random.default_rng(0), [0], [[1, 1, 5, 5]]), (2, 2))
print(len(os.listdir("/proc/self/task")) - before)
"""
    assert int(run_python(source)) == 0


FORK = """
import os, signal, sys
import roicy
import battery
from promises import test_threads
from closeness import bits
from roicy.cpu.runtime import parallel

parallel.keep_accounts(False)
in_parent = int(sys.argv[1])
calls = [(f, test_threads.large(f)[0]) for f in test_threads.FUNCTIONS]
calls += [(f, test_threads.LARGE[5]) for f in test_threads.AVERAGES]
roicy.set_num_threads(in_parent)
expected = [bits(function(case)) for function, case in calls]
for in_child in (1, 2, 3):
    child = os.fork()
    if child == 0:
        signal.alarm(40)  # ends a child that hangs, so that it does not outlive the test
        roicy.set_num_threads(in_child)
        same = [bits(function(case)) for function, case in calls] == expected
        os._exit(0 if same and parallel.helpers() == in_child - 1 else 3)
    _, status = os.waitpid(child, 0)
    same = [bits(function(case)) for function, case in calls] == expected  # the parent still works
    print(in_child, status, same)
"""


@fork_only
@pytest.mark.parametrize("in_parent", [1, 2])
def test_fork_after_a_call(run_python, in_parent):
    """A child has none of its parent's threads: it waits for none of them, and starts its own."""
    said = run_python(FORK, in_parent, timeout=150).splitlines()
    assert said == ["1 0 True", "2 0 True", "3 0 True"]


@fork_only
def test_multiprocessing_by_fork(run_python):
    """A pool of forked workers after a threaded call, with the number of threads that workers inherit."""
    source = """
import multiprocessing
import battery, roicy
from promises import test_threads
from operators import AVERAGE
from closeness import bits

case = test_threads.LARGE[0]

def work(_):
    return bits(battery.forward(AVERAGE, case))

roicy.set_num_threads(2)
expected = work(None)
with multiprocessing.get_context("fork").Pool(2) as pool:
    results = pool.map_async(work, range(4)).get(timeout=40)
print(all(result == expected for result in results))
"""
    assert run_python(source, timeout=90).strip() == "True"


# ---------------------------------------------------------------- busy machines

BUSY = """
import os, subprocess, sys, time
import numpy as np
import roicy

processor = min(os.sched_getaffinity(0))
os.sched_setaffinity(0, {processor})
others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
rng = np.random.default_rng(0)
maps = rng.random((1, 128, 60, 80), np.float32)
corners = rng.uniform(0, 30, (60, 2))
boxes = np.column_stack([np.zeros(60), corners, corners + rng.uniform(5, 25, (60, 2))]).astype(np.float32)
calls = [
    lambda: roicy.roi_align(maps, boxes, 7),
    lambda: roicy.roi_align_backward(pooled, boxes, maps.shape),
    lambda: roicy.roi_align_rotated(maps, boxes, 7, sampling_ratio=1),
]
pooled = calls[0]()
spent = {1: 0.0, 2: 0.0}
try:
    for _ in range(40):
        for n in spent:
            with roicy.num_threads(n):
                began = time.perf_counter()
                for call in calls:
                    call()
                spent[n] += time.perf_counter() - began
finally:
    for other in others:
        other.kill()
print(spent[2] / spent[1])
"""


@linux_only
def test_two_threads_cost_little_where_the_machine_is_busy(run_python):
    """Of one processor, which two other processes want, too, a second thread can only be in the way.

    Threads that spin and wait for each other take eighty times as long; `make bench ARGS=--busy` is exact.
    """
    assert float(run_python(BUSY, timeout=120)) < 4


LATE = """
import battery, roicy
from promises import test_threads
from operators import AVERAGE
from closeness import bits
from roicy.cpu.runtime import parallel

parallel.keep_accounts(False)
same, case = True, test_threads.LARGE[0]
with roicy.num_threads(1):
    expected = bits(battery.forward(AVERAGE, case))
for n in [9, 2, 9, 5, 1, 3, 33, 2] * 5:
    with roicy.num_threads(n):
        same = same and bits(battery.forward(AVERAGE, case)) == expected
print(same, parallel.helpers())
"""


def test_helpers_that_have_not_come_are_called_again(run_python):
    """No more are started than the most that a call wanted, however late they are."""
    same, helpers = run_python(LATE).split()
    assert same == "True"
    assert 9 <= int(helpers) + 1 <= 33


TEAMS = """
import os, time
import battery, roicy
from promises import test_threads
from operators import AVERAGE
from closeness import bits
from roicy.cpu.runtime import parallel

def threads():
    return len(os.listdir("/proc/self/task"))

parallel.keep_accounts(False)
case = test_threads.LARGE[0]
with roicy.num_threads(1):
    expected = bits(battery.forward(AVERAGE, case))
before, found = threads(), []
for n in (2, 5, 3, 5):
    with roicy.num_threads(n):
        assert bits(battery.forward(AVERAGE, case)) == expected
    for _ in range(500):  # some may be about to start, or to end
        if threads() - before == parallel.helpers():
            break
        time.sleep(0.01)
    found.append((threads() - before, parallel.helpers()))
print(found)
"""


@linux_only
def test_helpers_stay_and_more_join_them(run_python):
    """One for two threads; three more, in a region of their own, for five."""
    found = eval(run_python(TEAMS))
    assert all(running == started for running, started in found)
    assert [started for _, started in found] == [1, 4, 4, 4]


# ---------------------------------------------------------------- threads that cannot start

LIMITED = """
import os, resource, sys, threading
import battery, roicy
from promises import test_threads
from operators import AVERAGE
from closeness import bits
from roicy.cpu.runtime import parallel

parallel.keep_accounts(False)
calls = [(f, case) for f in test_threads.FUNCTIONS for case in test_threads.large(f)[:2]]
with roicy.num_threads(1):
    expected = [bits(function(case)) for function, case in calls]
if sys.argv[1] == "processes":
    if os.getuid() == 0:  # who is not limited
        os.setuid(65534)
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
else:
    threading.stack_size(1 << 30)
    with open("/proc/self/statm") as file:
        in_use = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (in_use + (512 << 20), resource.RLIM_INFINITY))
roicy.set_num_threads(8)
same = [bits(function(case)) for function, case in calls] == expected
print(same, parallel.helpers(), roicy.get_num_threads())
"""


@linux_only
@pytest.mark.plain_build("a sanitizer takes memory of its own")
@pytest.mark.parametrize("limit", ["processes", "memory"])
def test_threads_that_cannot_start_are_done_without(run_python, limit):
    assert run_python(LIMITED, limit, OMP_STACKSIZE="1G").split() == ["True", "0", "8"]
