"""What of CUDA is at hand, told apart without a GPU, and whether an installation has what kernels need."""

import fnmatch
import re
import sys
import tomllib
import types
from importlib import resources
from pathlib import Path

import cuda_check
import pytest

import roicy
from roicy.cuda import device, state

ROOT = Path(__file__).parents[2]
FOLDERS = {
    **{name: resources.files("roicy.cuda").joinpath(name) for name in ("apply", "lanes", "tables")},
    "geometry": resources.files("roicy.geometry"),
}
TEXTS = {
    f"{folder}/{path.name}": path.read_text(encoding="utf-8")
    for folder, files in FOLDERS.items()
    for path in files.iterdir()
    if path.name.endswith((".cu", ".cuh", ".h")) and path.name not in ("cpu.h", "lone.h", "plain.h")
}
SOURCES = sorted(Path(name).stem for name in TEXTS if name.endswith(".cu"))
HEADERS = sorted(name for name in TEXTS if not name.endswith(".cu"))


class Missing(RuntimeError):
    """What CuPy raises for a library, a driver or a device that is not there."""


def fails(words):
    def function(*arguments):
        raise Missing(words)

    return function


@pytest.fixture
def cupy(monkeypatch, tmp_path):
    """A CuPy that has everything, as far as `state` asks; tests take away what they want to be missing."""
    properties = {"name": b"NVIDIA Something", "major": 9, "minor": 0}
    runtime = types.SimpleNamespace(
        getDeviceCount=lambda: 1,
        getDeviceProperties=lambda number: properties,
        driverGetVersion=lambda: 13010,
        runtimeGetVersion=lambda: 12090,
    )
    for name in state.HEADERS:
        (tmp_path / name).touch()
    fake = types.ModuleType("cupy")
    fake.__version__ = "14.2.0"
    fake.cuda = types.SimpleNamespace(
        runtime=runtime, nvrtc=types.SimpleNamespace(getVersion=lambda: (12, 9)), is_available=lambda: True
    )
    core = types.SimpleNamespace(
        assemble_cupy_compiler_options=lambda options: (*options, "-I/nowhere", f"-I{tmp_path}")
    )
    fake._core = types.SimpleNamespace(core=core)
    fake.headers = tmp_path
    monkeypatch.setitem(sys.modules, "cupy", fake)
    return fake


# ---------------------------------------------------------------- states


def test_ready(cupy):
    found = state.find()
    assert found.name == state.READY
    assert found.problem == ""
    assert (found.cupy, found.nvrtc, found.driver) == ("14.2.0", "12.9", "CUDA 13.1")
    assert found.devices == ("NVIDIA Something (compute capability 9.0)",)
    state.check()


def take_driver(cupy):
    cupy.cuda.runtime.getDeviceCount = fails("cudaErrorInsufficientDriver: too old")
    cupy.cuda.runtime.driverGetVersion = lambda: 0


def take_device(cupy):
    cupy.cuda.runtime.getDeviceCount = lambda: 0


def break_device(cupy):
    cupy.cuda.runtime.getDeviceProperties = fails("cudaErrorUnknown: in use")


def take_nvrtc(cupy):
    cupy.cuda.nvrtc.getVersion = fails("\nlibnvrtc.so.12 is not found\nanywhere")


def take_headers(cupy):
    cupy._core.core.assemble_cupy_compiler_options = fails("Failed to find CUDA headers")


def take_a_header(cupy):
    (cupy.headers / "cuda_bf16.h").unlink()


@pytest.mark.parametrize(
    ("take", "name", "words"),
    [
        (take_driver, state.NO_DEVICE, ["cudaErrorInsufficientDriver: too old", "nvidia-smi", "driver"]),
        (take_device, state.NO_DEVICE, ["there is none", "CUDA_VISIBLE_DEVICES"]),
        (break_device, state.NO_DEVICE, ["cudaErrorUnknown: in use"]),
        (
            take_nvrtc,
            state.NO_NVRTC,
            ["libnvrtc.so.12 is not found", 'pip install ".[cuda12]" in the folder of roicy'],
        ),
        (
            take_headers,
            state.NO_HEADERS,
            ["Failed to find CUDA headers", 'pip install ".[cuda12]" in the folder of roicy'],
        ),
        (take_a_header, state.NO_HEADERS, ["cuda_bf16.h", 'pip install ".[cuda12]" in the folder of roicy']),
    ],
)
def test_what_is_missing(cupy, take, name, words):
    take(cupy)
    found = state.find()
    assert found.name == name
    for part in words:
        assert part in found.problem
    assert "\n" not in found.problem
    assert found.cupy == "14.2.0"
    with pytest.raises(RuntimeError, match=re.escape(words[0])):
        state.check()


def test_everything_missing_at_once(cupy):
    """As on a machine without a GPU where CuPy alone was installed: no device counts first."""
    for take in (take_driver, take_nvrtc, take_headers):
        take(cupy)
    cupy.cuda.runtime.runtimeGetVersion = fails("no runtime")
    assert state.find().name == state.NO_DEVICE


def test_the_extra_fits_the_cupy_that_is_there(cupy):
    take_nvrtc(cupy)
    cupy.cuda.runtime.runtimeGetVersion = lambda: 13020
    assert '".[cuda13]"' in state.find().problem
    cupy.cuda.runtime.runtimeGetVersion = fails("no runtime")
    assert '".[cuda13]"' in state.find().problem
    assert '".[cuda12]"' in state.find().problem


def test_a_cupy_that_does_not_say_where_headers_are(cupy):
    """The function is not public; without it the compiler has the word."""
    del cupy._core.core.assemble_cupy_compiler_options
    assert state.find().name == state.READY


def test_no_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    found = state.find()
    assert found.name == state.NO_CUPY
    assert 'pip install ".[cuda13]"' in found.problem
    assert (found.cupy, found.nvrtc, found.driver, found.devices) == ("", "", "", ())
    with pytest.raises(ImportError, match="CuPy"):
        state.check()


@pytest.mark.parametrize(
    "line",
    [
        "raise ImportError('libcudart.so.13: cannot open')",
        "import a_module_that_is_not_there",
        "raise OSError('libcudart.so.13: cannot open')",
    ],
)
def test_broken_cupy(monkeypatch, tmp_path, line):
    (tmp_path / "cupy.py").write_text(line)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    found = state.find()
    assert found.name == state.BROKEN_CUPY
    reason = re.search(r"'(.*)'", line)
    assert (reason[1] if reason else "a_module_that_is_not_there") in found.problem
    with pytest.raises(ImportError, match="does not load"):
        state.check()
    assert "cupy" not in sys.modules


# ---------------------------------------------------------------- what is said about it


def test_configuration(cupy, capsys):
    config = roicy.show_config("dicts")["CUDA"]
    assert config == {
        "state": "ready",
        "problem": "none",
        "CuPy": "14.2.0",
        "NVRTC": "12.9",
        "driver": "CUDA 13.1",
        "devices": ["NVIDIA Something (compute capability 9.0)"],
    }
    roicy.show_config()
    assert "NVIDIA Something (compute capability 9.0)" in capsys.readouterr().out


def test_configuration_without_cupy(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cupy", None)
    config = roicy.show_config("dicts")["CUDA"]
    assert config["state"] == "no CuPy"
    assert ".[cuda13]" in config["problem"]
    assert (config["CuPy"], config["NVRTC"], config["devices"]) == ("not installed", "not found", "none")
    roicy.show_config()
    assert ".[cuda13]" in capsys.readouterr().out


def test_kernels_say_what_is_missing(cupy):
    take_nvrtc(cupy)
    roicy.cuda.kernels.cache_clear()
    with pytest.raises(RuntimeError, match="NVRTC"):
        roicy.cuda.kernels()


def test_importing_loads_no_cupy(run_python, tmp_path):
    """Not roicy, not its CUDA part, not a call with NumPy arrays."""
    (tmp_path / "cupy.py").write_text("raise SystemExit('CuPy was imported')")
    source = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
import roicy, roicy.cuda, roicy.compat
roicy.roi_align(np.ones((1, 1, 4, 4), np.float32), np.array([[0, 0, 0, 3, 3]], np.float32), 2)
try:
    roicy.roi_align([1], [2], 2)
except ValueError:
    print("cupy" in sys.modules)
"""
    assert run_python(source, tmp_path) == "False\n"


# ---------------------------------------------------------------- sources


def test_there_are_sources():
    assert SOURCES
    assert {source for source, _ in device.specialisations()} == set(SOURCES)


@pytest.mark.parametrize("source", SOURCES)
def test_sources_are_whole(source):
    """Every header of the package is in the text, once; only the toolkit's remain to be included."""
    text = device.source_text(source)
    assert "__global__" in text
    assert not re.findall(r'^\s*#\s*include\s*"', text, re.MULTILINE)
    assert set(re.findall(r"^\s*#\s*include\s*<(.*)>", text, re.MULTILINE)) <= set(state.HEADERS)


def test_every_header_is_included():
    included = set(re.findall(r'^#include "(.*)"', "\n".join(TEXTS.values()), re.MULTILINE))
    assert included == set(HEADERS)


def test_specialisations_are_distinct():
    found = list(device.specialisations())
    assert len(set(found)) == len(found)


def test_packages_have_their_sources():
    """What setuptools is told to install has every file that is read where it runs."""
    settings = ROOT / "pyproject.toml"
    if not settings.is_file():
        pytest.skip("the project's settings are not beside the tests")
    setuptools = tomllib.loads(settings.read_text())["tool"]["setuptools"]
    for name in TEXTS:
        folder = Path(name).parent.name
        package = "roicy.geometry" if folder == "geometry" else f"roicy.cuda.{folder}"
        patterns = setuptools["package-data"][package]
        assert any(fnmatch.fnmatch(Path(name).name, pattern) for pattern in patterns)
        assert package in setuptools["packages"]


# ---------------------------------------------------------------- the check of the kernels, on a log

LOG = """\
axis_forward.cu(7): warning #177-D: variable "left" was declared but never referenced
  int left;
      ^

Remark: The warnings can be suppressed with "-diag-suppress <warning-number>"

ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'columns' for 'sm_90'
ptxas info    : Function properties for columns
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 4096 bytes smem
ptxas info    : Compile time = 9.336 ms
ptxas info    : Compiling entry function 'rows' for 'sm_90'
ptxas info    : Function properties for rows
ptxas         .     32 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 255 registers, used 0 barriers
ptxas info    : Function properties for slow_division
ptxas         .     16 bytes stack frame, 0 bytes spill stores, 4 bytes spill loads
"""


def test_reading_a_log():
    kernels, complaints = cuda_check.read_log(LOG)
    assert kernels == (
        cuda_check.Kernel("columns", registers=40, shared=4096, stack=0, spilled=0),
        cuda_check.Kernel("rows", registers=255, shared=0, stack=48, spilled=24),
    )
    assert len(complaints) == 1
    assert "left" in complaints[0]


def test_an_architecture_that_will_go_is_no_fault():
    words = "nvrtc: warning: Architectures prior to '<compute/sm>_75' are deprecated\n"
    assert cuda_check.read_log(words) == ((), ())


def compiled(architecture, options=(), kernels=(), complaints=()):
    return cuda_check.Compiled("axis_forward", options, architecture, kernels, complaints)


def test_faults_are_said_once():
    some, more = ((cuda_check.Kernel("rows", 255, 0, 48, spilled),) for spilled in (8, 24))
    results = [compiled(75, ("-DREAL=float",), more), compiled(90, (), some, ("warning: left",))]
    spill, warning = cuda_check.faults(results)
    where = "in axis_forward -DREAL=float sm_75 and 1 more"
    assert spill == f"axis_forward: rows spills up to 24 bytes\n    {where}"
    assert warning.startswith("axis_forward: warning: left\n")
    assert cuda_check.faults([compiled(75, (), (cuda_check.Kernel("rows", 40, 0, 48, 0),))]) == []


def test_rows_have_the_most_of_any_specialisation():
    def kernel(registers, shared):
        return (cuda_check.Kernel("rows", registers, shared, 0, 0),)

    results = [
        compiled(75, ("-DREAL=float",), kernel(40, 10)),
        compiled(90, ("-DREAL=float",), kernel(50, 30)),
        compiled(75, ("-DREAL=double",), kernel(60, 20)),
        compiled(90, ("-DREAL=double",), kernel(45, 20)),
    ]
    columns, rows = cuda_check.kernel_rows(results)
    assert columns[3:5] == [">sm_75", ">sm_90"]
    assert rows == [["axis_forward.cu", "rows", "2", "60", "50", "30", "0", "0"]]
    columns, rows = cuda_check.specialisation_rows(results)
    assert len(rows) == 4
    assert rows[0] == ["axis_forward.cu", "rows", "REAL=float", "75", "40", "10", "0", "0"]


def test_what_is_compiled_in_turn():
    """Every specialisation for one capability at the least, each source and each option for all of them."""
    turns = [70, 75, 80, 90, 100]
    everything = list(device.specialisations())
    tasks = []
    for given in (turns[:1], turns[1:]):
        arguments = [*map(str, given), "--in-turn", *map(str, turns)]
        tasks += cuda_check.tasks_of(everything, cuda_check.parse(arguments))
    assert len(set(tasks)) == len(tasks)
    assert {task[:2] for task in tasks} == set(everything)
    assert {(source, sm) for source, _, sm in tasks} == {(s, sm) for s, _ in everything for sm in turns}
    assert {(it, sm) for _, options, sm in tasks for it in options} == {
        (it, sm) for _, options in everything for it in options for sm in turns
    }
    often = [(s, options) for s, options in everything if not cuda_check.RARER.intersection(options)]
    assert {(*it, sm) for it in often for sm in turns} <= set(tasks)
    assert len(tasks) < len(everything) * len(turns) / 3


def test_the_check_says_what_it_needs(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert cuda_check.main(["90"]) == 2
    assert "CuPy" in capsys.readouterr().err
