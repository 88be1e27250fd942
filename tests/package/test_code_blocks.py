"""Every code block of the front page and of the pages in docs/ runs, from top to bottom of its page.

Blocks say what language they are in. Those for a shell, and plain text, are not run; those with ``>>>`` are
doctests (test_docs.py). What a page takes for granted, a reader's own models and pictures, is made here.
"""

import importlib.util
import inspect
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import roicy

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BUILT = {"_build", "_generated", "api", "gallery"}
pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="the documentation is not here")

RUN, NOT_RUN = {"python"}, {"sh", "text"}


def pages():
    """All pages that are written by hand, those in Markdown included."""
    found = [page for page in DOCS.rglob("*.rst") if page.relative_to(DOCS).parts[0] not in BUILT]
    found += [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")]
    return sorted(str(page.relative_to(ROOT)) for page in [*found, *DOCS.glob("*.md")])


def blocks_of(page):
    """The language of each block, None where it has none, and its lines."""
    text = (ROOT / page).read_text(encoding="utf-8")
    if page.endswith(".md"):
        fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)
        return [(language or None, code) for language, code in fenced]
    found, lines = [], text.splitlines()
    for number, line in enumerate(lines):
        directive = re.match(r"( *)\.\. (code-block|code|sourcecode)::(?: (\w+))?$", line)
        literal = re.match(r"( *)(?!\.\. ).*::$", line) if not line.lstrip().startswith("..") else None
        if not directive and not literal:
            continue
        indent = len((directive or literal)[1])
        body = []
        for following in lines[number + 1 :]:
            if following.strip() and len(following) - len(following.lstrip()) <= indent:
                break
            body.append(following)
        body = [one for one in body if not re.match(r" +:\w+:", one)]
        found.append((directive[3] if directive else None, inspect.cleandoc("\n".join(body)) + "\n"))
    return found


BLOCKS = {page: blocks_of(page) for page in pages()} if DOCS.is_dir() else {}


@pytest.mark.parametrize("page", BLOCKS)
def test_blocks_say_what_language_they_are_in(page):
    """What has none is highlighted as Python, and not run."""
    for language, code in BLOCKS[page]:
        assert language in RUN | NOT_RUN, code


def test_no_block_is_overlooked():
    """As many as there are marks of one; programs that pages include are run by tests of their own."""
    for page, blocks in BLOCKS.items():
        text = (ROOT / page).read_text(encoding="utf-8")
        # in reStructuredText, what ends with two colons and is no directive
        marks = r"^```\w" if page.endswith(".md") else r"code-block::|^(?! *\.\. ).*::$"
        assert len(re.findall(marks, text, re.M)) == len(blocks), page
    assert sum(language in RUN for blocks in BLOCKS.values() for language, _ in blocks) > 20


@pytest.mark.parametrize(
    "page", [page for page, blocks in BLOCKS.items() if any(language in RUN for language, _ in blocks)]
)
def test_blocks_run(page, tmp_path, monkeypatch):
    """In one namespace: all but those that need a package which is not installed, or what that one made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(DOCS / "embedding"))
    names = dict(GIVEN.get(page, dict)())
    left_out = set()
    for language, code in BLOCKS[page]:
        if language not in RUN:
            continue
        # CuPy's part is played by NumPy: there may be no GPU
        code = re.sub(r"^import cupy$", "import numpy as cupy", code, flags=re.M)
        missing = {package for package in imports(code) if not installed(package)}
        if "backbone.onnx" in code and "onnx" in left_out:  # which writes it
            missing.add("onnx")
        left_out |= missing
        if missing:
            continue
        if "__main__" in code:
            run_as_a_program(code)
            continue
        exec(compile(code, page, "exec"), names)
        for name, shape in re.findall(r"^\(?(\w+),?\)? = .*  # (\([\d, ]+\))$", code, re.M):
            assert str(names[name].shape) == shape, name
    CHECKS.get(page, lambda names, left_out: None)(names, left_out)


def imports(code):
    packages = set(re.findall(r"^(?:import|from) (\w+)", code, re.M))
    return packages - {"torch_function"} | ({"torch"} if "torch_function" in packages else set())


def installed(package):
    return importlib.util.find_spec(package) is not None


def run_as_a_program(code):
    Path("program.py").write_text(code)
    source = str(Path(roicy.__file__).parents[1])  # the very package that is tested, wherever it is
    path = os.pathsep.join([source, os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "program.py"],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------- what readers have

RNG = np.random.default_rng(0)


def answering(*results):
    """A session whose outputs are these, in this order."""
    return types.SimpleNamespace(run=lambda outputs, inputs: list(results))


def of_the_start():
    """A map whose values are positions in the image: what is pooled is the middle of a box."""
    y, x = np.mgrid[8:480:16, 8:640:16].astype(np.float32)
    return {
        "image": np.zeros((1, 3, 480, 640), np.float32),
        "boxes": np.array([[40, 60, 360, 300], [8, 8, 500, 420]], np.float32),
        "backbone": answering(np.stack([x, y])[None]),
        "head": answering(np.ones((2, 5), np.float32)),
        "roicy": roicy,
        "np": np,
    }


def of_the_gpu():
    return {
        "features": RNG.random((1, 4, 30, 40), dtype=np.float32),
        "rois": np.array([[0, 40, 60, 120, 100]], np.float32),
        "roicy": roicy,
    }


def of_what_readers_want():
    """A detector with two levels, boxes as other models have them, tilted text, pictures in a folder."""
    photo = RNG.integers(256, size=(300, 400, 3), dtype=np.uint8)
    if installed("onnx"):
        write_detector("detector.onnx")
    yolo = np.zeros((1, 84, 3), np.float32)
    yolo[0, :4] = np.array([[110, 80, 60, 40], [50, 50, 20, 20], [170, 90, 30, 70]]).T
    yolo[0, 7] = 0.9, 0.1, 0.8
    logits = np.zeros((1, 2, 92), np.float32)
    logits[0, [0, 1], [17, 91]] = 5  # the second one is nothing
    detr = logits, np.array([[[0.5, 0.4, 0.3, 0.2], [0.1, 0.1, 0.2, 0.2]]], np.float32)
    folder = Path("pictures")
    folder.mkdir()
    if installed("PIL"):
        from PIL import Image

        for name in "ab":
            Image.fromarray(photo).save(folder / f"{name}.jpg")
            np.savetxt(folder / f"{name}.txt", [[10, 20, 110, 220], [50, 60, 90, 100]])
    return {
        "image": RNG.random((1, 3, 96, 128), dtype=np.float32),
        "photo": photo,
        "yolo": answering(yolo),
        "left": 10,
        "top": 20,
        "scale": 0.5,
        "detr": answering(*detr),
        "annotations": [{"bbox": [10, 20, 30, 40]}],
        **text(),
        "recogniser": answering("letters"),
        "reid": answering(np.ones((1, 128), np.float32)),
        "weights": RNG.random((4 * 49, 3), dtype=np.float32),
        "batches": [
            (
                RNG.random((2, 4, 20, 30), dtype=np.float32),
                np.array([[0, 10, 20, 200, 250], [1, 0, 0, 100, 300]], np.float32),
                RNG.random((2, 3), dtype=np.float32),
            )
        ],
        **(training() if installed("torch") else {}),
    }


def write_detector(path):
    """A pyramid of two maps, boxes that do not depend on them, and a RoiAlign node for each map."""
    import onnx

    node = (
        "RoiAlign <output_height = 7, output_width = 7, sampling_ratio = 2, spatial_scale = {}, "
        'coordinate_transformation_mode = "output_half_pixel">'
    )
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["": 16]>
        detector (float[1, 3, H, W] image) => (float[K, 4] boxes, float[K, C, 7, 7] pooled)
        <float[2, 4] corners = {{10, 10, 50, 60, 0, 0, 120, 90}}, int64[2] images = {{0, 0}}> {{
            weights = RandomNormal <shape = [8, 3, 4, 4], seed = 1.0> ()
            fine = Conv <strides = [4, 4]> (image, weights)
            coarse = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (fine)
            boxes = Identity (corners)
            first = {node.format(0.25)} (fine, boxes, images)
            second = {node.format(0.125)} (coarse, boxes, images)
            pooled = Add (first, second)
        }}""")
    onnx.save(model, path)


#: Centre, sizes and angle, clockwise and in degrees, of lines of text.
LINES = [(100, 60, 80, 12, 10), (250, 150, 90, 14, -30), (200, 240, 120, 16, 0), (60, 200, 70, 10, 75)]


def text():
    if not installed("cv2"):
        return {}
    import cv2

    mask = np.zeros((300, 400), np.uint8)
    for x, y, w, h, angle in LINES:
        cv2.fillPoly(mask, [cv2.boxPoints(((x, y), (w, h), angle)).round().astype(np.int32)], 255)
    return {"text_mask": mask}


def training():
    import torch

    torch.manual_seed(0)
    backbone, head = torch.nn.Conv2d(3, 4, 16, stride=16), torch.nn.Linear(4 * 49, 3)
    boxes = [torch.tensor([[10.0, 20, 90, 100]]), torch.tensor([[0.0, 0, 50, 120]])]
    return {
        "loader": [(torch.rand(2, 3, 128, 160), boxes, torch.tensor([0, 2]))] * 2,
        "backbone": backbone,
        "head": head,
        "before": backbone.weight.detach().clone(),
        "criterion": torch.nn.CrossEntropyLoss(),
        "optimizer": torch.optim.SGD([*backbone.parameters(), *head.parameters()], lr=0.1),
    }


GIVEN = {
    "docs/developing/testing.rst": lambda: {"of_all": lambda test: test},
    "docs/start.rst": of_the_start,
    "docs/gpu.rst": of_the_gpu,
    "docs/want.rst": of_what_readers_want,
}


# ---------------------------------------------------------------- what comes of it


def middles_of_boxes(names, left_out):
    boxes = names["boxes"]
    middles = names["pooled"].mean(axis=(2, 3))
    np.testing.assert_allclose(middles, (boxes[:, :2] + boxes[:, 2:]) / 2, rtol=1e-6)


def what_readers_want(names, left_out):
    """The rest of it is in the shapes that the page names."""
    assert names["pooled"] is not None
    assert np.isfinite(names["grad_features"]).all()
    assert names["grad_rois"].shape == (2, 5)
    if "cv2" not in left_out:
        found = names["text_boxes"][np.argsort(names["text_boxes"][:, 1])]
        expected = np.array(sorted(LINES, key=lambda line: line[1]))
        np.testing.assert_allclose(found[:, :2], expected[:, :2] + 0.5, atol=1)
        np.testing.assert_allclose(found[:, 2:4], expected[:, 2:4], atol=2.5)
        np.testing.assert_allclose(found[:, 4], expected[:, 4], atol=1)
    if "PIL" not in left_out:
        assert np.load("pictures/a.npy").shape == (2, 224, 224, 3)
        assert np.load("pictures/b.npy").shape == (2, 224, 224, 3)
    if "torch" not in left_out:
        assert not names["before"].equal(names["backbone"].weight)


def the_front_page(names, left_out):
    assert names["grad_rois"].shape == (2, 5)  # it was found and run
    assert "backbone" in names or left_out & {"onnx", "onnxruntime"}


CHECKS = {
    "docs/start.rst": middles_of_boxes,
    "docs/want.rst": what_readers_want,
    "README.md": the_front_page,
}
