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
BUILT = {"_build", "_generated", "api", "gallery"}
PAGES = sorted(
    str(page.relative_to(DOCS))
    for page in DOCS.rglob("*.rst")
    if page.relative_to(DOCS).parts[0] not in BUILT and ">>> " in page.read_text()
)
pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="the documentation is not here")


def installed(package):
    return importlib.util.find_spec(package) is not None


def test_nobody_is_told_to_install_what_no_index_has():
    """There is no release: an index may have a stranger's package of this name."""
    for path in [README, *DOCS.rglob("*.rst"), *DOCS.rglob("*.py"), *(ROOT / "src").rglob("*.py")]:
        assert not re.search(r"""install (-\S+ )*['"]?roicy\b""", path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize(
    "source, title",
    [(DOCS / "measured.md", "Measured"), (README, "Beside other systems")],
    ids=["measured", "others"],
)
def test_sections_of_markdown_leave_none_of_it(source, title, tmp_path, monkeypatch):
    """Headings and links are the pages' own, and a style aligns each column of figures."""
    monkeypatch.syspath_prepend(str(DOCS))
    from readme import write_section

    write_section(source, title, tmp_path / "section.inc")
    written = (tmp_path / "section.inc").read_text()
    assert not re.search(r"^#|\]\(|^\|[ -]*\|", written, re.MULTILINE)
    style = (DOCS / "_static" / "roicy.css").read_text()
    for name in set(re.findall(r"\bright-\d+", written)):
        assert f"table.{name} " in style, name


def _front_page():
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    (block,) = (block for block in blocks if "backbone.run" in block)
    return block


def test_the_front_page_scales_each_axis_by_itself(monkeypatch):
    """A map with a stride of 8 along x and of 16 along y, whose values are positions in the image."""
    shape = 480, 640
    y, x = np.mgrid[8 : shape[0] : 16, 4 : shape[1] : 8].astype(np.float32)
    session = types.SimpleNamespace(run=lambda outputs, inputs: [np.stack([x, y])[None]])
    monkeypatch.setitem(
        sys.modules, "onnxruntime", types.SimpleNamespace(InferenceSession=lambda path: session)
    )
    names = {}
    exec(_front_page(), names)
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
    found = set()
    for page in DOCS.rglob("*.rst"):
        if page.relative_to(DOCS).parts[0] in BUILT:
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
    "word",
    re.findall(
        r"\w+",
        "autocast cite DETR FAQ FPN licence migrate minAreaRect multiprocessing TensorRT Windows xywh YOLO",
    ),
)
def test_words_that_people_search_for_are_on_a_page(word):
    """Sphinx finds whole words of what is shown, code included."""
    pages = [page for page in DOCS.rglob("*.rst") if page.relative_to(DOCS).parts[0] not in BUILT]
    assert any(re.search(rf"\b{word}\b", page.read_text()) for page in pages)


@pytest.mark.parametrize(
    "module", [roicy, caffe2, mxnet, onnx, torchvision], ids=lambda module: module.__name__
)
def test_every_public_name_is_on_the_api_page(module):
    page = (DOCS / "api.rst").read_text()
    listed = set(re.findall(r"^    (\w+)$", page, re.MULTILINE))
    assert set(module.__all__) <= listed


@pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="the sources are not here")
def test_a_package_index_finds_pictures_and_pages(tmp_path):
    """README.md names them by paths, which only the repository knows; the workflow says where that is."""

    def information(**repository):
        folder = tmp_path / str(len(repository))
        folder.mkdir()
        command = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(folder)]
        environment = {key: value for key, value in os.environ.items() if key != "ROICY_REPOSITORY"}
        done = subprocess.run(
            command, cwd=ROOT, env=environment | repository, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return (folder / "roicy.egg-info" / "PKG-INFO").read_text(encoding="utf-8")

    there = information(ROICY_REPOSITORY="https://code.example/some/roicy")
    version = re.search(r"^Version: (.*)$", there, re.M)[1]
    assert f"](https://code.example/some/roicy/raw/v{version}/assets/align.png)" in there
    assert f"](https://code.example/some/roicy/blob/v{version}/docs/start.rst)" in there
    assert f"Changelog, https://code.example/some/roicy/blob/v{version}/CHANGELOG.md" in there
    assert not re.search(r"\]\((?!https?:|#)", there)
    here = information()
    assert "Project-URL" not in here and "](assets/align.png)" in here


def test_the_version_is_the_same_everywhere():
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.M)[1]
    assert re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.M)[1] == version
    assert re.search(r"^## .*?(\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.M)[1] == version
    assert re.search(r"^(\d+\.\d+\.\d+)$", (DOCS / "news.rst").read_text(), re.M)[1] == version
