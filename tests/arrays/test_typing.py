"""The types that the package declares: complete, true when it runs, and what mypy makes of them."""

import inspect
import os
import subprocess
import sys
import typing
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import roicy
from roicy._types import AnyArray
from roicy.compat import caffe2, mxnet, onnx, tensorflow, torchvision

PACKAGE = Path(roicy.__file__).parent
USES = Path(__file__).parent / "typing_uses.py"


def public():
    for module in (roicy, caffe2, mxnet, onnx, tensorflow, torchvision):
        for name in module.__all__:
            value = getattr(module, name)
            if not inspect.isclass(value):
                yield value
                continue
            if "__call__" in vars(value):
                yield value.__call__
            yield from (member for key, member in vars(value).items() if key in ("backward", "backward_rois"))


@pytest.mark.parametrize("function", list(public()), ids=lambda function: function.__qualname__)
def test_everything_public_has_types(function):
    """They can be looked up when the program runs, too."""
    hints = typing.get_type_hints(function)
    names = [name for name in inspect.signature(function).parameters if name != "self"]
    assert set(hints) == {*names, "return"}


@pytest.mark.parametrize("function", list(public()), ids=lambda function: function.__qualname__)
def test_lists_of_numbers_have_types(function):
    """Wherever boxes and a whole number for each are taken."""
    hints = typing.get_type_hints(function)
    rows = Sequence[Sequence[float]]
    for name in {"rois", "boxes"} & set(hints):
        assert rows in typing.get_args(hints[name]) or hints[name] == Sequence[AnyArray | rows]
    for name in {"batch_indices", "box_indices", "levels"} & set(hints):
        assert Sequence[int] in typing.get_args(hints[name])


def test_attributes_of_plans_have_types():
    plan = roicy.roi_align_plan(np.zeros((1, 5), np.float32), (1, 1, 2, 2), 1)
    for name in ("input_shape", "output_size", "output_shape", "layout"):
        assert "return" in typing.get_type_hints(inspect.getattr_static(plan, name).fget)


def test_the_package_says_that_it_has_types():
    assert (PACKAGE / "py.typed").is_file()


@pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is not installed")
def test_mypy_on_typical_uses(pytestconfig, tmp_path):
    """See typing_uses.py. What mypy has found out about NumPy is kept for the next time."""
    cache = getattr(pytestconfig, "cache", None)
    environment = dict(os.environ)
    if "site-packages" not in PACKAGE.parts:  # there mypy finds it by itself
        environment["MYPYPATH"] = str(PACKAGE.parent)
    options = [
        "--strict",
        "--follow-imports=silent",
        f"--cache-dir={cache.mkdir('mypy') if cache else tmp_path}",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file=", *options, str(USES)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
