"""The front page and the pages in docs/: what they promise of the programs in them, without building them."""

import doctest
import importlib.util
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import roicy
from roicy.compat import caffe2, mxnet, onnx, torchvision

ROOT = Path(__file__).parents[2]
README, DOCS = ROOT / "README.md", ROOT / "docs"
PAGES = sorted(
    str(page.relative_to(DOCS))
    for folder in (DOCS, DOCS / "systems")
    for page in folder.glob("*.rst")
    if ">>> " in page.read_text()
)
pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="the documentation is not here")


def installed(package):
    return importlib.util.find_spec(package) is not None


def test_the_front_page_runs(tmp_path, monkeypatch):
    """From top to bottom, in one namespace: all but the blocks that need what is not installed."""
    monkeypatch.chdir(tmp_path)
    names, left_out = {}, set()
    for block in re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL):
        missing = {
            package
            for package in re.findall(r"^(?:import|from) (\w+)", block, re.MULTILINE)
            if not installed(package)
        }
        if "onnxruntime" in block and "onnx" in left_out:
            missing.add("onnx")  # which writes the model
        left_out |= missing
        if missing or "cupy" in block:  # that one takes a GPU, CuPy alone is not enough
            continue
        exec(block, names)
        for name, shape in re.findall(r"^\(?(\w+),?\)? = .*  # (\([\d, ]+\))$", block, re.MULTILINE):
            assert str(names[name].shape) == shape, name
    assert names["grad_rois"].shape == (2, 5)  # it was found and run
    assert "backbone" in names or left_out & {"onnx", "onnxruntime"}


def test_nobody_is_told_to_install_what_no_index_has():
    """There is no release: an index may have a stranger's package of this name."""
    for path in [README, *DOCS.rglob("*.rst"), *DOCS.rglob("*.py"), *(ROOT / "src").rglob("*.py")]:
        assert not re.search(r"""install (-\S+ )*['"]?roicy\b""", path.read_text(encoding="utf-8")), path


def _front_page():
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    (block,) = (block for block in blocks if "backbone.run" in block)
    return block


def _start_page():
    block = re.search(r"\n    \(features,\) = .*?\n\n", (DOCS / "start.rst").read_text(), re.DOTALL)[0]
    return "\n".join(line.strip() for line in block.splitlines() if "head.run" not in line)


@pytest.mark.parametrize("page", [_front_page, _start_page])
def test_pipelines_scale_each_axis_by_itself(page, monkeypatch):
    """A map with a stride of 8 along x and of 16 along y, whose values are positions in the image."""
    shape = 480, 640
    y, x = np.mgrid[8 : shape[0] : 16, 4 : shape[1] : 8].astype(np.float32)
    session = types.SimpleNamespace(run=lambda outputs, inputs: [np.stack([x, y])[None]])
    monkeypatch.setitem(
        sys.modules, "onnxruntime", types.SimpleNamespace(InferenceSession=lambda path: session)
    )
    names = {"np": np, "roicy": roicy, "backbone": session, "image": np.zeros((1, 3, *shape), np.float32)}
    names["boxes"] = np.array([[40, 60, 360, 300], [8, 8, 500, 420]], np.float32)
    exec(page(), names)
    boxes = names["boxes"]
    middles = names["pooled"].mean(axis=(2, 3))
    np.testing.assert_allclose(middles, (boxes[:, :2] + boxes[:, 2:]) / 2, rtol=1e-6)


@pytest.mark.parametrize("page", PAGES)
def test_examples_of_the_pages(page, monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    found = doctest.testfile(str(DOCS / page), module_relative=False, globs={"np": np, "roicy": roicy})
    assert not found.failed


def test_pages_refer_to_what_is_there():
    """Other pages, and programs that they show; the gallery is made of the examples."""
    built = {"_build", "_generated", "api", "gallery"}
    found = set()
    for page in DOCS.rglob("*.rst"):
        if page.relative_to(DOCS).parts[0] in built:
            continue
        text = page.read_text()
        for name in re.findall(r":doc:`(?:[^`<]*<)?([\w./]+)>?`", text):
            target = DOCS / name[1:] if name.startswith("/") else page.parent / name
            path = os.path.normpath(target).replace(f"{DOCS}/gallery/plot_", f"{DOCS}/examples/plot_")
            exists = path == f"{DOCS}/gallery/index" or any(
                Path(path + end).exists() for end in (".rst", ".md", ".py")
            )
            assert exists, f"{page.relative_to(DOCS)}: {name}"
            found.add(name)
        for name in re.findall(r"^\.\. (?:literalinclude|image):: (\S+)$", text, re.MULTILINE):
            assert (page.parent / name).exists(), f"{page.relative_to(DOCS)}: {name}"
            found.add(name)
    assert len(found) > 20


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "benchmarks/README.md", "docs/measured.md"])
def test_links_within_the_project_lead_somewhere(page):
    text = (ROOT / page).read_text()
    for address in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        path, _, anchor = address.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), address
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            anchors = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in anchors, address


def test_figures_of_the_front_page_were_measured():
    """They are rows of the table that has all of them."""
    section = re.search(r"^## Speed$(.*?)^## ", README.read_text(), re.MULTILINE | re.DOTALL)[1]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    assert len(rows) > 5
    assert set(rows) <= set((DOCS / "measured.md").read_text().splitlines())


@pytest.mark.parametrize(
    "program, packages",
    [
        ("onnxruntime_pipeline", ["onnx", "onnxruntime"]),
        ("torch_function", ["torch"]),
        ("torchvision_kernels", ["torch", "torchvision"]),
        ("jax_function", ["jax"]),
        ("threads_and_processes", []),
    ],
)
def test_programs_of_the_embedding_page(program, packages):
    """Each of them checks its own results."""
    for package in packages:
        if not installed(package):
            pytest.skip(f"{package} is not installed")
    source = str(Path(roicy.__file__).parents[1])  # the very package that is tested, wherever it is
    done = subprocess.run(
        [sys.executable, DOCS / "embedding" / f"{program}.py"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([source, os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize(
    "module", [roicy, caffe2, mxnet, onnx, torchvision], ids=lambda module: module.__name__
)
def test_every_public_name_is_on_the_api_page(module):
    page = (DOCS / "api.rst").read_text()
    listed = set(re.findall(r"^    (\w+)$", page, re.MULTILINE))
    assert set(module.__all__) <= listed
