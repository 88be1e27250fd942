"""Fixtures and hypothesis profiles shared by all tests.

``pytest --hypothesis-profile=long`` draws fifteen times as many examples, new ones in every run; ``few``
draws a fifth. The default draws the same ones each time, so that a failure is always the fault of a change.
"""

import collections
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import types
import zlib
from pathlib import Path

import battery
import numpy as np
import on_device
import pytest
from _pytest.runner import runtestprotocol
from hypothesis import HealthCheck, given, settings
from implementations import parity as parity_table
from operators import operator as operator_module

import roicy
from roicy import _backend

#: Without tests or examples, and they import what may be missing or broken.
collect_ignore = [
    "package/leak_check.py",
    "simulated/plugin.py",
    "implementations/peers_torch.py",
    "implementations/peers_opencv.py",
]

SLOW_TO_DRAW = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile(
    "short", max_examples=200, derandomize=True, deadline=None, suppress_health_check=SLOW_TO_DRAW
)
settings.register_profile("few", settings.get_profile("short"), max_examples=40)
settings.register_profile("long", max_examples=3000, deadline=None, suppress_health_check=SLOW_TO_DRAW)
settings.load_profile("short")


#: What the CUDA kernels on the processor are tried with, which takes longer: of the examples of a hypothesis
#: test a tenth; of the cases of a test that has many, a fifth.
EXAMPLES_ON_CUDA, CASES_ON_CUDA, MANY_CASES = 1 / 10, 1 / 5, 8
#: How many times as long a process may take: the sanitizers slow it down.
PATIENCE = 5 if os.environ.get("ROICY_BUILD") == "sanitize" else 1
SHARED = pytest.StashKey[str]()


def pytest_configure(config):
    """Register the markers of tests that some backends are not asked."""
    config.addinivalue_line("markers", "cpu_only(reason): no test of the CUDA backend")
    config.addinivalue_line("markers", "numpy_only(reason): no test of arrays on a device")
    config.addinivalue_line("markers", "thread_unsafe(reason): runs once, not in several threads at a time")
    config.addinivalue_line("markers", "plain_build(reason): no test of a build under sanitizers")
    if battery.SHARED not in os.environ:  # a worker has that of the process that started it
        os.environ[battery.SHARED] = config.stash[SHARED] = tempfile.mkdtemp(prefix="roicy-tests-")


def pytest_unconfigure(config):
    """Remove what the processes of this run have shared."""
    if SHARED in config.stash:
        shutil.rmtree(config.stash[SHARED])
        del os.environ[battery.SHARED]


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Collect with no garbage collector, which finds nothing and would look at every test, then and later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_itemcollected(item):
    """What runs in a process of its own says nothing about threads beside it."""
    if "run_python" in getattr(item, "fixturenames", ()):
        item.add_marker(pytest.mark.thread_unsafe(reason="runs in a process of its own"))


def pytest_collection_modifyitems(config, items):
    """Leave out on CUDA what is marked so, and cases; which ones does not depend on the other tests."""
    cases = collections.Counter(_on_cuda(item) for item in items)
    chosen, rest = [], []
    for item in items:
        test = _on_cuda(item)
        many = cases[test] >= MANY_CASES and zlib.crc32(item.nodeid.encode()) >= CASES_ON_CUDA * 2**32
        marked = item.get_closest_marker("cpu_only") or (
            test is not None and test[-1] == "device" and item.get_closest_marker("numpy_only")
        )
        left_out = test is not None and (many or marked)
        (rest if left_out else chosen).append(item)
    if rest:
        config.hook.pytest_deselected(items=rest)
        items[:] = chosen


def _on_cuda(item):
    # the test that an item is a case of, where the item runs on the CUDA kernels; else None
    backend = getattr(getattr(item, "callspec", None), "params", {}).get("backend", "cpu")
    return None if backend == "cpu" else (item.path, item.originalname, backend)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    """Let a process of pytest-xdist report a test that passes with one message instead of six."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return None
    for report in runtestprotocol(item, nextitem=nextitem, log=False):
        if report.when == "call" or not report.passed:
            item.ihook.pytest_runtest_logreport(report=report)
    return True


@pytest.fixture(scope="session")
def host_kernels():
    """The CUDA kernels over NumPy arrays, compiled for the processor."""
    from cuda_host import module

    if module.compiler() is None:
        pytest.skip("the CUDA kernels run on the processor on Linux with a C++ compiler: g++, c++ or $CXX")
    from roicy.cuda import Kernels, device

    known = {
        (device.source_text(source), (*device.OPTIONS, *options))
        for source, options in device.specialisations()
    }

    def compiled(*, code, options):
        assert (code, options) in known, f"not among the specialisations that are checked: {options}"
        return module.HostModule(code=code, options=options)

    return Kernels(np, compiled, lambda: 0)


@pytest.fixture
def on_cuda(host_kernels, monkeypatch):
    """Public functions hand NumPy arrays to the CUDA kernels, compiled for the processor."""
    monkeypatch.setattr(_backend, "cpu", host_kernels)
    return host_kernels


def _backends():
    # on a device as well, where there is one; ROICY_TEST_DEVICE=stand-in: on one that is none
    if os.environ.get("ROICY_TEST_DEVICE") == "stand-in" or on_device.missing() is None:
        return ["cpu", "cuda", "device"]
    return ["cpu", "cuda"]


@pytest.fixture(scope="session")
def xp():
    """CuPy, where there is a device."""
    reason = on_device.missing()
    if reason is not None:
        pytest.skip(reason)
    import cupy

    return cupy


@pytest.fixture(scope="module", params=_backends())
def backend(request):
    """The tests of a module that uses this run on all backends.

    "cpu": as they are; "cuda": as with `on_cuda`; "device": with all arrays on a CUDA device.
    """
    if request.param == "cpu":
        yield request.param
        return
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "cuda":
            patch.setattr(_backend, "cpu", request.getfixturevalue("host_kernels"))
        else:
            _move(request.module, patch)
        for test in vars(request.module).values():
            chosen = getattr(test, "_hypothesis_internal_use_settings", None)
            if chosen is not None:
                fewer = settings(chosen, max_examples=max(int(chosen.max_examples * EXAMPLES_ON_CUDA), 5))
                patch.setattr(test, "_hypothesis_internal_use_settings", fewer)
        yield request.param


@pytest.fixture
def examples(request):
    """Run a function at once on drawn examples: a `share` of the profile's, and of these a part on CUDA."""
    backend = getattr(request.node, "callspec", None) and request.node.callspec.params.get("backend", "cpu")

    def drawn(*strategies, share=1):
        count = int(settings.default.max_examples * share)
        if backend in ("cuda", "device"):
            count = max(int(count * EXAMPLES_ON_CUDA), 5)
        return lambda test: settings(max_examples=count)(given(*strategies)(test))()

    return drawn


def _move(module, patch):
    # what the tests of a module call roicy, or a part of it, works on a device's arrays
    if os.environ.get("ROICY_TEST_DEVICE") == "stand-in":
        from cuda_host import arrays

        library = on_device.StandIn(arrays.install(patch))
    else:
        import cupy

        library = on_device.Cupy(cupy)
    for user in (module, operator_module):
        for name, value in vars(user).items():
            if isinstance(value, types.ModuleType) and value.__name__.partition(".")[0] == "roicy":
                patch.setattr(user, name, on_device.OnDevice(library, value))


@pytest.fixture(autouse=True)
def keep_number_of_threads():
    """A test may set the number of threads; the next one starts with the default again."""
    before = roicy.get_num_threads()
    yield
    roicy.set_num_threads(before)


@pytest.fixture
def parity(request):
    """Hold a result against a peer's; what came of it is in the table at the end of the run."""
    return parity_table.Parity(request.node.user_properties)


@pytest.fixture
def torchvision(parity):
    """torchvision's calls, where it can be imported with its operators."""
    parity.needs("torchvision", "torch")
    from implementations import peers_torch

    return peers_torch


@pytest.fixture
def opencv(parity):
    """OpenCV's calls."""
    parity.needs("cv2")
    from implementations import peers_opencv

    return peers_opencv


def pytest_terminal_summary(terminalreporter):
    """Print how far the results of peers lie apart from ours, where any were compared."""
    reports = [report for some in terminalreporter.stats.values() for report in some]
    lines = parity_table.lines(reports)
    if lines:
        terminalreporter.section("parity with other implementations: differences over the largest value")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(params=[1, 2, 3, 4])
def threads(request):
    """Numbers of threads, more than the machine has included."""
    return request.param


@pytest.fixture
def cpu_levels():
    """The CPU levels that this build and this machine have."""
    return roicy.cpu.levels()


@pytest.fixture
def available_memory():
    """Bytes of memory that can be used without swapping; tests that need gigabytes skip themselves by it."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 0


@pytest.fixture
def run_python(tmp_path):
    """Run Python source in a process of its own and return its standard output.

    For everything that a process can do only once or that may end it: choosing a CPU level, forking, counting
    threads, reading out of bounds. The source can import the modules of this folder.
    """

    def run(source, *arguments, timeout=60, check=True, **environment):
        paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        variables = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, paths)), **environment)
        done = subprocess.run(
            [sys.executable, "-c", source, *map(str, arguments)],
            env=variables,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=timeout * PATIENCE,
            check=False,
        )
        if check:
            assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
            return done.stdout
        return done

    return run
