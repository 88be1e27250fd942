"""Every allocation of every kind of call, made to fail in turn: MemoryError, and `out` as it was.

``failing_malloc.c`` stands in the place of the C library's malloc in a process of its own,
`failing_memory`: it sees what kernels, tables and NumPy take, and Python's own objects where they are large.
"""

import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from arrays.array_calls import CALLS
from closeness import assert_same_bits

import roicy


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    target = tmp_path_factory.mktemp("failing") / "failing_malloc.so"
    source = Path(__file__).with_name("failing_malloc.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", target, source, "-ldl"], check=True)
    return target


@pytest.mark.plain_build("a sanitizer has a malloc of its own")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="takes the place of the C library's malloc")
@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler")
@pytest.mark.parametrize("pieces", ["whole", "pieces"])
@pytest.mark.parametrize("count", [1, 2])
def test_a_call_that_fails_leaves_out_as_it_was(run_python, library, count, pieces):
    source = "import sys; from promises import failing_memory; failing_memory.main(*sys.argv[1:])"
    done = run_python(source, library, count, pieces, timeout=300, LD_PRELOAD=str(library))
    assert done.strip() == "each has failed, and nothing was lost"


# ---------------------------------------------------------------- on a device


class Failing:
    """NumPy in the place of the array library, one of whose arrays cannot be had."""

    def __init__(self):
        self.left = -1

    def __getattr__(self, name):
        value = getattr(np, name)
        if name not in ("empty", "zeros", "argsort", "cumsum"):
            return value

        def made(*arguments, **options):
            self.left -= 1
            if self.left == -1:
                raise MemoryError("none left")
            return value(*arguments, **options)

        return made


@pytest.mark.parametrize(
    "name", [name for name in CALLS if not name.startswith(("rmac", "roi_align_argmax", "paste"))]
)
def test_a_call_on_cuda_that_fails_leaves_out_as_it_was(on_cuda, monkeypatch, name):
    library = Failing()
    monkeypatch.setattr(on_cuda, "xp", library)
    filled = []

    def call(function, *arguments, **options):
        library.left = -1
        expected = getattr(roicy, function)(*arguments, **options)
        outs = expected if isinstance(expected, (tuple, list)) else (expected,)
        if "list" in name and function.endswith("rois"):
            return  # without out
        for number in itertools.count():
            given = tuple(np.full_like(out, 7) for out in outs)
            library.left = number
            try:
                getattr(roicy, function)(*arguments, **options, out=given if len(given) > 1 else given[0])
            except MemoryError:
                assert all((out == 7).all() for out in given)
                continue
            for out, wanted in zip(given, outs, strict=True):
                assert_same_bits(out, wanted)
            filled.append(number)
            return

    CALLS[name](call)
    assert filled != [0]
