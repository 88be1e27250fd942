"""The front page and the pages in docs/: what they promise of the programs in them, without building them."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import roicy
from roicy.compat import caffe2, mxnet

ROOT = Path(__file__).parents[1]
README, DOCS = ROOT / "README.md", ROOT / "docs"
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


@pytest.mark.parametrize("module", [roicy, caffe2, mxnet], ids=lambda module: module.__name__)
def test_every_public_name_is_on_the_api_page(module):
    page = (DOCS / "api.rst").read_text()
    listed = set(re.findall(r"^    (\w+)$", page, re.MULTILINE))
    assert set(module.__all__) <= listed


def test_crop_and_resize_is_tensorflows():
    """Against its definition: a sample for each pixel, first and last on the box's edges."""

    spec = importlib.util.spec_from_file_location("crop_and_resize", DOCS / "systems" / "crop_and_resize.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    rng = np.random.default_rng(0)
    for _ in range(20):
        image = rng.random((2, *rng.integers(1, 12, 2), 3)).astype(np.float32)
        boxes, images = rng.uniform(-0.4, 1.4, (5, 4)).astype(np.float32), rng.integers(2, size=5)
        size = tuple(rng.integers(1, 6, 2).tolist())
        expected = [
            _crop(image[index], box, size)
            for index, box in zip(images, boxes.astype(np.float64), strict=True)
        ]
        crops = module.crop_and_resize(image, boxes, images, size, extrapolation_value=-7)
        np.testing.assert_allclose(crops, expected, atol=1e-4)


def _crop(image, box, size):

    places = []
    for axis in (0, 1):
        first, last = box[axis] * (image.shape[axis] - 1), box[axis + 2] * (image.shape[axis] - 1)
        places.append(np.linspace(first, last, size[axis]) if size[axis] > 1 else [(first + last) / 2])
    crop = np.full((*size, image.shape[2]), -7.0)
    for p, y in enumerate(places[0]):
        for q, x in enumerate(places[1]):
            if 0 <= y <= image.shape[0] - 1 and 0 <= x <= image.shape[1] - 1:
                top, left = int(np.floor(y)), int(np.floor(x))
                bottom, right = int(np.ceil(y)), int(np.ceil(x))
                above = image[top, left] + (image[top, right] - image[top, left]) * (x - left)
                below = image[bottom, left] + (image[bottom, right] - image[bottom, left]) * (x - left)
                crop[p, q] = above + (below - above) * (y - top)
    return crop
