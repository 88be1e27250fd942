"""The pages in docs/: what they promise about the programs in them, without building them."""

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

DOCS = Path(__file__).parents[1] / "docs"
pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="the documentation is not here")


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
        if importlib.util.find_spec(package) is None:
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
