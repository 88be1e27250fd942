"""The package as a whole: its names and signatures, its import, its command line and its documentation."""

import doctest
import importlib
import inspect
import subprocess
import sys

import numpy as np
import pytest

import roicy

FORWARD_NAMES = ["roi_align", "roi_align_backward", "roi_align_backward_rois", "roi_align_plan"]
THREAD_NAMES = ["set_num_threads", "get_num_threads", "num_threads"]
NAMES = [*FORWARD_NAMES, *THREAD_NAMES, "show_config", "RoIAlignPlan"]

# What all functions share, in this order, by name only.
OPTIONS = {
    "spatial_scale": 1.0,
    "sampling_ratio": 0,
    "aligned": True,
    "mode": "avg",
    "batch_indices": None,
    "layout": "NCHW",
    "invalid": "raise",
}
POSITIONAL = {
    "roi_align": ["features", "rois", "output_size"],
    "roi_align_backward": ["grad_output", "rois", "input_shape"],
    "roi_align_backward_rois": ["grad_output", "features", "rois"],
    "roi_align_plan": ["rois", "input_shape", "output_size"],
}


@pytest.mark.parametrize("name", NAMES)
def test_public_names(name):
    assert name in roicy.__all__
    assert getattr(roicy, name).__module__.split(".")[0] == "roicy"


def test_all_lists_only_what_exists_and_is_documented():
    assert len(set(roicy.__all__)) == len(roicy.__all__)
    for name in roicy.__all__:
        value = getattr(roicy, name)
        if callable(value):
            assert value.__doc__


@pytest.mark.parametrize("name", FORWARD_NAMES)
def test_signatures(name):
    parameters = inspect.signature(getattr(roicy, name)).parameters
    positional = [p for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    options = {p.name: p.default for p in parameters.values() if p.kind is p.KEYWORD_ONLY}
    assert [p.name for p in positional] == POSITIONAL[name]
    assert all(p.default is p.empty for p in positional)
    expected = OPTIONS if name == "roi_align_plan" else {**OPTIONS, "out": None}
    assert list(options.items()) == list(expected.items())


@pytest.mark.parametrize("name", FORWARD_NAMES)
def test_docstrings_have_their_sections(name):
    text = inspect.getdoc(getattr(roicy, name))
    for section in ("Parameters", "Returns", "Raises", "Examples"):
        assert f"{section}\n{'-' * len(section)}" in text
    for parameter in inspect.signature(getattr(roicy, name)).parameters:
        assert parameter in text


def test_version():
    from importlib.metadata import version

    assert roicy.__version__ == version("roicy")


# ---------------------------------------------------------------- import


def test_importing_is_fast(run_python):
    """At most 30 ms beyond NumPy; the fastest of several tries, for the machine may be busy."""
    source = """
import time, numpy
start = time.perf_counter()
import roicy
print(time.perf_counter() - start)
"""
    fastest = np.inf
    for _ in range(15):
        fastest = min(fastest, float(run_python(source)))
        if fastest < 0.03:
            break
    assert fastest < 0.03


def test_importing_loads_no_other_library(run_python):
    """Array libraries, and what the demo and the benchmark draw with, are loaded where they are used."""
    source = """
import sys
import numpy
before = set(sys.modules)
import roicy
roicy.roi_align(numpy.ones((1, 1, 4, 4), numpy.float32), numpy.array([[0, 0, 0, 3, 3]], numpy.float32), 2)
try:
    roicy.roi_align([1], [2], 2)  # the way to an error loads nothing either
except TypeError:
    pass
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(loaded - set(sys.stdlib_module_names)))
"""
    loaded = {name for name in run_python(source).split() if not name.startswith("_cython")}
    assert loaded <= {"roicy", "cython_runtime"}


# ---------------------------------------------------------------- configuration and command line


def test_show_config(capsys):
    assert roicy.show_config() is None
    shown = capsys.readouterr().out
    for part in (roicy.__version__, np.__version__, roicy.cpu.level(), "OpenMP"):
        assert part in shown


def test_show_config_as_dicts(capsys):
    config = roicy.show_config(mode="dicts")
    assert isinstance(config, dict)
    assert capsys.readouterr().out == ""

    def leaves(value):
        return [leaf for v in value.values() for leaf in leaves(v)] if isinstance(value, dict) else [value]

    for part in (roicy.__version__, np.__version__, roicy.cpu.level()):
        assert part in leaves(config)


@pytest.mark.skipif(not roicy.cpu.openmp(), reason="built without OpenMP: there is one thread")
def test_show_config_knows_the_number_of_threads():
    def shown():
        return str(roicy.show_config(mode="dicts"))

    with roicy.num_threads(3):
        three = shown()
    with roicy.num_threads(4):
        assert shown() != three


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "roicy", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_command_info():
    done = command("info")
    assert done.returncode == 0, done.stderr
    assert roicy.__version__ in done.stdout
    assert roicy.cpu.level() in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("arguments", [("--help",), ("bench", "--help"), ("demo", "--help")])
def test_command_help(arguments):
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()
    if arguments == ("--help",):
        for name in ("info", "demo", "bench"):
            assert name in done.stdout


def test_unknown_commands():
    done = command("pool")
    assert done.returncode == 2
    assert "pool" in done.stderr


# ---------------------------------------------------------------- documentation

DOCUMENTED = ["roicy", "roicy.align", "roicy.plan", "roicy._config"]


@pytest.mark.parametrize("name", DOCUMENTED)
def test_doctests(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


@pytest.mark.parametrize("name", FORWARD_NAMES)
def test_the_functions_have_examples(name):
    function = getattr(roicy, name)
    examples = doctest.DocTestFinder().find(function, name, globs={})
    assert sum(len(test.examples) for test in examples) >= 2
