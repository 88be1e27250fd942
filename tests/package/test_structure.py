"""What each folder of the package may use."""

import re
from pathlib import Path

import pytest

from roicy import _types

SOURCE = Path(__file__).parents[2] / "src" / "roicy"
USES = re.compile(
    r"^\s*(?:from\s+roicy\.(?:cpu|cuda)\.(\w+)[\w.]*\s+c?import"  # Python and Cython
    r"|cdef extern from \"(\w+)/\w+\.h\""  # C
    r"|#include \"(\w+)/\w+\.(?:cuh|h)\")",  # CUDA
    re.MULTILINE,
)
#: Beside itself, and what lies in no folder.
MAY_USE = {
    "cpu/lanes": {"runtime"},
    "cpu/runtime": {"tables"},
    "cpu/tables": {"runtime", "geometry"},
    "cpu/apply": {"tables", "lanes", "runtime"},
    "cuda/lanes": set(),
    "cuda/tables": {"lanes", "geometry"},
    "cuda/apply": {"tables", "lanes", "geometry"},
}

pytestmark = pytest.mark.skipif(not SOURCE.is_dir(), reason="the sources are not beside the tests")


@pytest.mark.parametrize("folder", MAY_USE)
def test_what_a_folder_uses(folder):
    backend, layer = folder.split("/")
    layers = {path.name for path in (SOURCE / backend).iterdir() if path.is_dir()} | {"geometry"}
    used = set()
    for path in (SOURCE / folder).iterdir():
        if path.suffix in (".py", ".pyi", ".pyx", ".pxd", ".cu", ".cuh"):
            used |= {found for groups in USES.findall(path.read_text(encoding="utf-8")) for found in groups}
    assert used & layers <= MAY_USE[folder] | {layer}


def test_the_geometry_uses_nothing():
    # beside itself, and the C library by the door of C code
    for path in (SOURCE / "geometry").glob("*.h"):
        uses = re.findall(r"^\s*#\s*include\s*(.*)", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert all(name.startswith('"geometry/') for name in uses) or path.name == "cpu.h"


def test_rules_have_the_numbers_of_the_geometry():
    text = (SOURCE / "geometry" / "rois.h").read_text(encoding="utf-8")
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    names = re.search(r"enum \{(.*?)\}", text, re.DOTALL)[1].replace(",", " ").split()
    assert [getattr(_types, name) for name in names] == list(range(len(names)))


def test_a_file_fits_in_a_head():
    root = Path(__file__).parents[2]
    folders = SOURCE, root / "tests", root / "benchmarks"
    parts = [path for folder in folders for path in folder.rglob("*")]
    written = [
        path for path in parts if path.suffix in (".py", ".pyi", ".pyx", ".pxd", ".h", ".cu", ".cuh", ".cpp")
    ]
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in written}
    long = {path.name: length for path, length in lengths.items() if length > 500}
    assert len(written) > 300 and not long, long


def test_every_folder_has_a_rule():
    backends = SOURCE / "cpu", SOURCE / "cuda"
    folders = {f"{b.name}/{path.name}" for b in backends for path in b.iterdir() if any(path.glob("*.p*"))}
    assert folders == set(MAY_USE)
