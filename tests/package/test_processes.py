"""Processes around calls: forks, interrupts, leaks, and all of Python's warnings."""

import ctypes
import inspect
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import roicy

pytestmark = pytest.mark.thread_unsafe(reason="runs in processes of its own")
fork_only = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
signals_only = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this platform has no timers")
glibc_only = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not hasattr(ctypes.CDLL(None), "mallinfo2"),
    reason="asks glibc (2.33 or later) how much memory is in use",
)


# ---------------------------------------------------------------- the calls

#: What `process_calls` has: calls of all kinds.
CALLS = "import gc, os, sys\nfrom package.process_calls import *\n"


def test_every_function_is_called():
    """Without which the tests of memory and warnings would say less than they seem to."""
    from roicy.compat import caffe2, mxnet, onnx, torchvision

    named = {name for name in roicy.__all__ if not inspect.isclass(getattr(roicy, name))}
    for module in (caffe2, mxnet, onnx, torchvision):
        named |= {f"{module.__name__.rpartition('.')[2]}.{name}" for name in module.__all__}
    tests = Path(__file__).parents[1]
    sources = tests / "package" / "process_calls.py", tests / "arrays" / "array_calls.py"
    called = QUIET + "".join(path.read_text(encoding="utf-8") for path in sources)
    assert [name for name in named if f"{name}(" not in called and f'"{name}"' not in called] == []


# ---------------------------------------------------------------- forks

#: Another Python thread that makes calls all the time, and afterwards says if they were right.
BESIDE = """
import threading

expected = results(large)
stop, same = threading.Event(), []

def pool():
    roicy.set_num_threads(2)
    while not stop.is_set():
        same.append(results(large) == expected)

def beside(count):
    threads = [threading.Thread(target=pool) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads

def ended(threads):
    stop.set()
    for thread in threads:
        thread.join()
    return all(same) and (bool(same) or not threads)

roicy.set_num_threads(2)
"""

FORK_BESIDE_A_CALL = """
import signal, warnings

warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads, which this is about
threads = beside(1)
states = []
for round in range(12):
    child = os.fork()
    if child == 0:
        signal.alarm(40)  # ends a child that hangs
        right = results(large) == expected
        if round % 4 == 0:  # a child has children
            grandchild = os.fork()
            if grandchild == 0:
                signal.alarm(40)
                os._exit(results(large) != expected)
            right = right and os.waitpid(grandchild, 0)[1] == 0
        os._exit(0 if right else 3)
    states.append(os.waitpid(child, 0)[1])
print(any(states), ended(threads))
"""


@fork_only
def test_fork_while_another_thread_is_in_a_call(run_python):
    """What the other thread held stays behind in the parent: no child waits for it."""
    source = CALLS + BESIDE + FORK_BESIDE_A_CALL
    assert run_python(source, timeout=120).split() == ["False", "True"]


POOL_OF_PROCESSES = """
import concurrent.futures, multiprocessing

def work(n):
    with roicy.num_threads(n):
        return results(large)

def by_plan(plan):
    return [[array.tobytes() for array in found] for found in planned(plan)]

if __name__ == "__main__":
    expected = work(2)
    plans = [
        roicy.roi_align_plan(ROIS, FEATURES.shape, (3, 2), spatial_scale=0.7),
        roicy.roi_align_rotated_plan([TURNED[:1, 1:], TURNED[1:, 1:]], FEATURES.shape, (3, 2)),
        roicy.prroi_pool_plan(ROIS, FEATURES.shape, (3, 2), spatial_scale=0.7),
    ]
    of_plans = [by_plan(plan) for plan in plans]
    context = multiprocessing.get_context(sys.argv[1])
    with concurrent.futures.ProcessPoolExecutor(2, context) as pool:
        found = list(pool.map(work, [1, 2, 3, 2], timeout=60))
        found_by_plans = list(pool.map(by_plan, plans, timeout=60))
    print(all(result == expected for result in found), found_by_plans == of_plans)
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_processes_that_start_in_any_way(method, tmp_path):
    """Workers of a pool, with threads of their own, after a threaded call of the process that starts them.

    Plans travel to them.
    """
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip("not on this platform")
    program = tmp_path / "program.py"
    program.write_text(CALLS + POOL_OF_PROCESSES)
    done = python(str(program), method, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "True True"), done.stderr


def python(*words, timeout=60):
    """Run Python with options of its own; the program can import the modules of this folder."""
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, *words]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )


# ---------------------------------------------------------------- signals

INTERRUPTED = """
import signal, time

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started this to ignore it
threads = beside(int(sys.argv[1]))
late, restored = [], []

def send(seconds):
    global sent
    going.wait()
    time.sleep(seconds)
    sent = done
    os.kill(os.getpid(), signal.SIGINT)

for round in range(15):
    done, going = 0, threading.Event()
    sender = threading.Thread(target=send, args=(0.011 * round,))
    sender.start()
    try:
        with roicy.num_threads(1 + round % 3):
            while True:
                for call in large.values():
                    call()
                    done += 1
                going.set()
    except KeyboardInterrupt:
        late.append(done - sent)
    restored.append(roicy.get_num_threads())
    sender.join()
right = results(large) == expected
print(len(late), max(late) <= 3, set(restored) == {roicy.get_num_threads()}, right, ended(threads))
"""


@signals_only
@pytest.mark.parametrize("others", [0, 1])
def test_an_interrupt_ends_a_loop_of_calls(run_python, others):
    """KeyboardInterrupt comes when the call in progress is done, or is long, and the next calls are as ever.

    Two more may be begun while the sender, who has counted those that are done, waits for Python's lock.
    """
    said = run_python(CALLS + BESIDE + INTERRUPTED, others, timeout=120)
    assert said.split() == ["15", "True", "True", "True", "True"]


LONG = """
import signal, time

rng = np.random.default_rng(0)
image = rng.random((1, 16, 400, 500), np.float32)
last = np.ascontiguousarray(image.transpose(0, 2, 3, 1))
whole = np.tile(np.array([[0, 0, 0, 499, 399]], np.float32), (12000, 1))
tilted = np.tile(np.array([[0, 250, 200, 490, 390, 3]], np.float32), (12000, 1))
grad = np.ones((len(whole), 16, 1, 1), np.float32)
chosen = np.zeros((len(whole), 16, 1, 1), np.int32)
large_grad = np.broadcast_to(np.float32(1), (1000000, 16, 14, 14))
large_chosen = np.broadcast_to(np.int32(7), large_grad.shape)
largest = {"mode": "max", "sampling_ratio": 400}
long = [
    lambda: roicy.roi_align(image, whole, 1),
    lambda: roicy.roi_align(last, whole, 1, layout="NHWC"),
    lambda: roicy.roi_align(image[:, :3], np.tile(whole, (9, 1)), 3),
    lambda: roicy.roi_align_backward(grad, whole, image.shape),
    lambda: roicy.roi_align_backward_rois(grad, image, whole),
    lambda: roicy.roi_align(image, whole, 1, **largest),
    lambda: roicy.roi_align_backward(grad, whole, image.shape, argmax=chosen, **largest),
    lambda: roicy.roi_align_backward_rois(grad, image, whole, argmax=chosen, **largest),
    lambda: roicy.roi_align_rotated(image, tilted, 1),
    lambda: roicy.roi_align_rotated(last, tilted, 1, layout="NHWC"),
    lambda: roicy.roi_align_rotated_backward(grad, tilted, image.shape),
    lambda: roicy.roi_align_rotated_backward_rois(grad, image, tilted),
    lambda: roicy.roi_pool(image, many, 1, return_argmax=True),
    lambda: roicy.roi_pool_backward(large_grad, large_chosen, many, image.shape),
    lambda: roicy.roi_align_plan(many, image.shape, 7),
    lambda: roicy.roi_align_rotated_plan(np.tile(tilted, (30, 1)), image.shape, 7),
    lambda: roicy.roi_align_plan(whole[:200], image.shape, (1, 1000000), mode="max"),
    lambda: roicy.roi_pool(image[:, :1], whole[:150], (1, 1000000)),
    lambda: roicy.prroi_pool(image, whole, 1),
    lambda: roicy.prroi_pool_backward(grad, whole, image.shape),
    lambda: roicy.prroi_pool_backward_rois(grad, image, whole),
    lambda: roicy.deform_roi_pool(image, whole, None, 1),
    lambda: roicy.deform_roi_pool_backward(grad, whole, None, image.shape),
    lambda: roicy.deform_roi_pool_backward_offsets(grad, image, whole, np.zeros((len(whole), 2, 1, 1))),
    lambda: roicy.ps_roi_align(image, np.tile(whole, (20, 1)), 4),
    lambda: roicy.ps_roi_pool(image, np.tile(whole, (20, 1)), 4),
    lambda: roicy.multi_scale_roi_align(pyramid, whole, 1, **scales),
    lambda: roicy.multi_scale_roi_align_backward(grad, whole, [each.shape for each in pyramid], **scales),
    lambda: roicy.crop_and_resize(last, whole, 8, sampling_ratio=0),
    lambda: roicy.crop_quads(last, corners, 8, batch_indices=np.zeros(len(whole), int), sampling_ratio=50),
    lambda: roicy.crop_quads(
        last, corners[:1], 500, batch_indices=[0], sampling_ratio=128, window=(0, 0, 400, 500)
    ),
    lambda: roicy.paste_masks(np.ones((12000, 9, 9), np.float32), whole[:, 1:], (1500, 2000), to="rle"),
    lambda: roicy.rmac(np.broadcast_to(image[:, :1], (1, 40000, 400, 500)), scales=12),
    # to new memory, which the first piece writes to everywhere
    lambda: roicy.roi_align(wide, spread, 7),
    lambda: roicy.roi_align(wide, spread, 7, mode="max", sampling_ratio=2),
    lambda: roicy.roi_pool(wide, spread, 7, return_argmax=True),
]
many = np.tile(whole, (100, 1))[:1000000]
pyramid, scales = [image, image[:, :, ::2, ::2]], {"spatial_scales": (1, 0.5), "merge": "sum"}
corners = roicy.rotated_corners(tilted[:, 1:])
wide, spread = rng.random((1, 256, 50, 60), np.float32), np.zeros((40000, 5), np.float32)
spread[:, 1:3] = rng.uniform(0, 30, (len(spread), 2))
spread[:, 3:] = spread[:, 1:3] + rng.uniform(5, 20, (len(spread), 2))

class Alarm(Exception):
    pass

def pooled():
    return bits(large["roi_align"]())

def handle(number, frame):
    # between two pieces of a call a handler may call, too
    right.append(pooled() == expected)
    raise Alarm

signal.signal(signal.SIGALRM, handle)
roicy.cpu.runtime.parallel.keep_accounts(False)
roicy.set_num_threads(int(sys.argv[1]))
expected, right = pooled(), []
for number, call in enumerate(long):
    began = time.process_time()
    signal.setitimer(signal.ITIMER_REAL, 0.15)
    try:
        call()
        print("call", number, "ended")
    except Alarm:
        spent = time.process_time() - began
        if len(sys.argv) > 3: print(number, round(spent, 3), flush=True)
        if spent > float(sys.argv[2]):
            print("call", number, "went on for", spent)
print(len(right), all(right), pooled() == expected)
"""


@signals_only
@pytest.mark.parametrize("threads", [1, 2])
def test_signals_end_long_calls(run_python, threads):
    """Between two pieces of work, be they of a table, of a pooling or of a gradient.

    Time is that of the process, all threads together: a busy machine has other work in between.
    """
    seconds = (0.15 + 0.5) * threads * (10 if os.environ.get("ROICY_BUILD") else 1)
    said = run_python(CALLS + LONG, threads, seconds, timeout=240)
    assert said.split() == ["36", "True", "True"]


SORTED = """
import signal, time

class Alarm(Exception):
    pass

def handle(number, frame):
    raise Alarm

signal.signal(signal.SIGALRM, handle)
roicy.set_num_threads(1)
rois = np.zeros((1000000, 5), np.float32)
rois[:, 0], rois[:, 1:] = np.random.default_rng(0).integers(0, 4, len(rois)), [1, 1, 9, 9]
grad = np.broadcast_to(np.float32(1), (len(rois), 1, 1, 1))
chosen = np.broadcast_to(np.int32(7), grad.shape)

def call():
    return roicy.roi_pool_backward(grad, chosen, rois, (4, 1, 16, 16)).sum()

began = time.perf_counter()
call()
whole = time.perf_counter() - began
ended = 0
for part in np.linspace(0.05, 0.95, 19):
    signal.setitimer(signal.ITIMER_REAL, part * whole)
    try:
        call()
        time.sleep(60)
    except Alarm:
        ended += 1
print(ended, call() == len(rois))
"""


@signals_only
def test_signals_at_any_time_leave_no_lock(run_python):
    """While boxes are copied, sorted and pooled: the next call, and the end of the process, are as ever."""
    assert run_python(CALLS + SORTED, timeout=60).split() == ["19", "True"]


ALARMED = """
import signal

roicy.set_num_threads(2)
arrays = {name: call for name, call in every.items() if name in array_calls.CALLS}
names = list(arrays)
expected, expected_large = results(arrays), results(large)
handled = []

def handle(number, frame):
    # calls between two steps of another one
    name = names[len(handled) % len(names)]
    handled.append(bits(arrays[name]()) == expected[name])
    signal.setitimer(signal.ITIMER_REAL, 0.0007)

signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.0007)
same = []
while len(handled) < 250:
    same.append(results(arrays) == expected and results(large) == expected_large)
signal.setitimer(signal.ITIMER_REAL, 0)
print(all(same), all(handled))
"""


@signals_only
def test_handlers_of_signals_call_too(run_python):
    assert run_python(CALLS + ALARMED, timeout=120).split() == ["True", "True"]


# ---------------------------------------------------------------- memory and references

LEAKS = """
import ctypes
import inspect

class Mallinfo(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Mallinfo

def in_use():
    # bytes that C code holds, and blocks that Python's objects hold
    gc.collect()
    info = mallinfo()
    return np.array([info.uordblks + info.hblkhd, sys.getallocatedblocks()])

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

times = int(sys.argv[1])
roicy.set_num_threads(1)
calls = every | wrong
for call in calls.values():
    for _ in range(50):
        call()
gc.collect()
gc.freeze()  # what is there now need not be looked at after every call of them
before = resident()
for name, call in calls.items():
    for attempt in range(3):  # what is kept once is no leak
        start = in_use()
        for _ in range(times):
            call()
        grown, blocks = (in_use() - start) / times
        if grown < 16 and blocks < 0.25:
            break
    else:
        print(f"{name}: {grown:.1f} bytes and {blocks:.2f} objects stay of each call")
grown = resident() - before
if grown >= (1 << 20) + 8 * times * len(calls):
    print(f"{grown} bytes of memory stay after {times} calls of each kind")
"""


@glibc_only
@pytest.mark.plain_build("a sanitizer keeps what was freed")
def test_calls_leave_no_memory_behind(run_python):
    """Neither blocks of 32 bytes nor Python's objects, be the call right or wrong.

    ROICY_TEST_CALLS=100000 makes so many calls of each kind.
    """
    times = os.environ.get("ROICY_TEST_CALLS", "400")
    source = CALLS + LEAKS
    # one arena, of which all threads' memory is; what Python's allocator keeps is counted by itself
    assert run_python(source, times, timeout=7200, MALLOC_ARENA_MAX="1") == ""


REFERENCES = """
def flattened(values):
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from flattened(value)
        elif isinstance(value, np.ndarray):
            yield value

def held(kind, function, arguments, options):
    arrays = list(flattened([*arguments, *options.values()]))
    before = [sys.getrefcount(array) for array in arrays]
    kind(function, *arguments, **options)
    gc.collect()
    after = [sys.getrefcount(array) for array in arrays]
    if after != before:
        print(kind.__name__, function, before, after)

for call in array_calls.CALLS.values():
    for kind in (plain, in_turn):
        call(lambda function, *arguments, **options: held(kind, function, arguments, options))

# `out` is held by what is returned alone, and a plan holds no array of the caller's
out = np.empty((4, 5, 3, 2), np.float32)
arrays = [out, FEATURES, ROIS, GRAD]
before = [sys.getrefcount(array) for array in arrays]
plan = roicy.roi_align_plan(ROIS, FEATURES.shape, (3, 2))
assert plan(FEATURES, out=out) is out
plan.backward(GRAD)
plan.backward_rois(GRAD, FEATURES)
for wrong in (FEATURES[:1], FEATURES.astype(int), "features"):
    with contextlib.suppress(TypeError, ValueError):
        plan(wrong, out=out)
gc.collect()
after = [sys.getrefcount(array) for array in arrays]
if after != before:
    print("plan", before, after)
"""


def test_calls_hold_no_reference(run_python):
    """Of the arrays that a call was given it keeps none, be it right or wrong."""
    assert run_python(CALLS + REFERENCES) == ""


# ---------------------------------------------------------------- all warnings

QUIET = """
for call in (every | wrong).values():
    call()
roicy.show_config()
roicy.show_config("dicts")
roicy.compat, repr(roicy.roi_align_plan(ROIS, FEATURES.shape, 2))
gc.collect()
"""


def test_no_warning_in_development_mode(tmp_path):
    """Under all checks that Python can make no function warns, about itself or about what it imports."""
    program = tmp_path / "program.py"
    program.write_text(CALLS + QUIET)
    done = python("-X", "dev", "-W", "error", "-bb", str(program))
    assert (done.returncode, done.stderr) == (0, "")
