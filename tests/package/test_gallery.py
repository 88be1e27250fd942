"""The programs of the gallery, and those that draw the pictures of the pages, run from top to bottom."""

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import roicy

DOCS = Path(__file__).parents[2] / "docs"
PROGRAMS = sorted([*DOCS.glob("examples/plot_*.py"), *DOCS.glob("pictures/*.py")])
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DOCS.is_dir(), reason="the documentation is not here"),
]


def packages_of(program):
    """What it imports, and what the others beside it do that it imports."""
    found = set()
    for node in ast.walk(ast.parse(program.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module]
        for name in (name.partition(".")[0] for name in names):
            beside = program.parent / f"{name}.py"
            found |= packages_of(beside) if beside.exists() else {name}
    return found


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_programs_run(program, tmp_path):
    """Without a warning of ours: what they show is what others will copy."""
    for package in sorted(packages_of(program) - {"cupy"}):  # without which one of them says what to do
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    source = str(Path(roicy.__file__).parents[1])  # the very package that is tested, wherever it is
    path = [source, str(DOCS), str(DOCS / "pictures"), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", program],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path), "MPLBACKEND": "agg"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
