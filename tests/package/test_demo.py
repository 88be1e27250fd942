"""The pictures of `roicy demo`: that they are drawn, and that they show what they say."""

import sys
import types

import numpy as np
import pytest

import roicy

cbook = pytest.importorskip("matplotlib.cbook")
pytest.importorskip("skimage")
pytest.importorskip("PIL")

from matplotlib.colors import to_hex  # noqa: E402
from matplotlib.image import imread  # noqa: E402

from roicy._cli import demo  # noqa: E402
from roicy._cli.demo import crops, pool, position_sensitive, pyramid, stopwatch, text  # noqa: E402


@pytest.fixture
def photo(monkeypatch):
    monkeypatch.setattr(stopwatch, "ROUNDS", 1)
    return imread(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))


def test_every_picture_is_written(photo, tmp_path, capsys):
    demo.demo(tmp_path)
    names = {path.stem for path in tmp_path.glob("*.png")}
    assert names - {"text"} == {"align", "pyramid", "position_sensitive", "rotated", "pool", "rmac", "crops"}
    printed = capsys.readouterr().out
    assert ("text" in names) != ("picture of text left out: " in printed)
    for name in (
        "roi_align",
        "multi_scale_roi_align",
        "ps_roi_align",
        "roi_align_rotated",
        "roi_pool",
        "rmac",
        "crop_and_resize",
        "crop_quads",
        "paste_masks",
    ):
        assert f"{name}, " in printed
    assert "and 3 coarser" in printed


def test_boxes_have_the_colours_of_the_maps_that_they_are_pooled_from(photo):
    """On the photo, and beside it, where what is shown is what the map of that colour holds."""
    sheet = pyramid.draw(photo, stopwatch.Stopwatch())
    picture, *others = sheet.figure.axes
    colours = [to_hex(patch.get_edgecolor()) for patch in picture.patches]
    assert len(colours) == len(pyramid.BOXES)
    assert set(colours) == set(pyramid.STRIDES.values())
    strides = {colour: stride for stride, colour in pyramid.STRIDES.items()}
    for (name, box), colour, axes in zip(pyramid.BOXES.items(), colours, others[len(strides) :], strict=True):
        stride = strides[colour]
        side = np.sqrt((box[2] - box[0]) * (box[3] - box[1]))
        assert stride == min(32, max(4, 2 ** int(np.log2(side / 14)))), name  # 224 pixels: a stride of 16
        assert to_hex(axes.spines["left"].get_edgecolor()) == colour
        bins = roicy.roi_align(
            pool.coarse(photo, stride),
            np.array([box], np.float32),
            pyramid.BINS,
            spatial_scale=1 / stride,
            sampling_ratio=2,
            layout="NHWC",
        )[0]
        np.testing.assert_allclose(axes.images[0].get_array(), np.clip(bins / 255, 0, 1), atol=1e-6)


def test_maps_of_parts_prefer_the_head(photo):
    features = position_sensitive.score_maps(pool.coarse(photo, position_sensitive.STRIDE))
    rois = np.array([box for box, _ in position_sensitive.BOXES.values()], np.float32)
    options = {"spatial_scale": 1 / position_sensitive.STRIDE, "sampling_ratio": 2, "layout": "NHWC"}
    pooled = roicy.ps_roi_align(features, rois, position_sensitive.PARTS, **options)[..., 0]
    head, *others = pooled.mean(axis=(1, 2))
    assert head > 1.3 * max(others)


def test_a_picture_of_text_takes_models(photo, tmp_path, capsys, monkeypatch):
    """Without them a line says why it is left out; with them the recogniser gets all lines, normalised."""
    monkeypatch.setattr(demo, "PICTURES", ())
    monkeypatch.setitem(sys.modules, "rapidocr_onnxruntime", None)
    demo.demo(tmp_path)
    assert not (tmp_path / "text.png").exists()
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "left out" in line)
    assert "rapidocr_onnxruntime" in line and "pip install" in line

    lines = np.array(
        [[[60, 60], [360, 80], [356, 130], [57, 110]], [[60, 160], [360, 180], [356, 230], [57, 210]]]
    )
    seen = []

    def session(batch):
        seen.append(batch)
        return [np.zeros((2, 5))]

    recogniser = types.SimpleNamespace(
        session=session, postprocess_op=lambda scores: [("one", 1), ("two", 1)]
    )
    engine = types.SimpleNamespace(text_det=lambda image: (lines, 0.0), text_rec=recogniser)
    module = types.SimpleNamespace(RapidOCR=lambda: engine)
    monkeypatch.setitem(sys.modules, "rapidocr_onnxruntime", module)
    demo.demo(tmp_path)
    assert (tmp_path / "text.png").exists()
    (batch,) = seen
    assert batch.shape == (2, 3, text.HEIGHT, 288) and batch.dtype == np.float32
    corners = lines[::-1].astype(np.float32) + 0.5
    expected = roicy.crop_quads(text.page(), corners, (text.HEIGHT, 288)).transpose(0, 3, 1, 2) / 127.5 - 1
    np.testing.assert_allclose(batch, expected, atol=1e-5)


def test_lines_of_the_poster_are_where_they_were_drawn(photo):
    """And the shrunken crop without aliasing is the mean of what it covers."""
    sheet = crops.draw(photo, stopwatch.Stopwatch())
    images = [axes.images[0].get_array() for axes in sheet.figure.axes[1:]]
    lines = [image for image in images if image.shape[:2] == (40, 240)]
    assert len(lines) == len(crops.LINES)
    for line in lines:  # letters in the middle, paper around them
        dark = line.mean(axis=2) < 0.6
        assert dark[:, 20:-20].any() and not dark[:2].any() and not dark[:, :5].any()
    x1, y1, x2, y2 = crops.HEAD_AND_SHOULDERS[0].astype(int)
    means = photo[y1:y2, x1:x2].reshape(crops.SMALL, 7, crops.SMALL, 7, 3).mean(axis=(1, 3)) / 255
    shrunken = [image for image in images if image.shape[0] == crops.SMALL and image.shape[1] == crops.SMALL]
    np.testing.assert_allclose(shrunken[1], means, rtol=0, atol=1e-5)
