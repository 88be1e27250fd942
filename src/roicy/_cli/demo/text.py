"""Text read by a model: a detector's quadrangles, straightened for its recogniser in one call."""

import numpy as np
from matplotlib.patches import Polygon
from skimage import data, transform

import roicy
from roicy._cli.demo.sheet import AMBER, CYAN, FAINT, HEAD, MARGIN, PINK, VIOLET, Sheet, show, tag

COLOURS = [AMBER, CYAN, PINK, VIOLET]
HEIGHT = 48  # of the lines that the recogniser reads
DEGREES = -9


def models():
    """Return the detector and the recogniser of a package; ImportError where it is not there."""
    from rapidocr_onnxruntime import RapidOCR

    engine = RapidOCR()
    return engine.text_det, engine.text_rec


def draw(detector, recogniser, stopwatch):
    """Draw a tilted page with the lines that were found, and beside it each line, straight, and its words."""
    photo = page()
    found, _ = detector(photo)
    corners = np.asarray(found, np.float32)[::-1] + 0.5  # pixels are centred at whole numbers there
    lines = stopwatch.time(
        "lines of a page",
        roicy.crop_quads,
        photo,
        corners,
        (HEIGHT, _width(corners)),
        mean=127.5,
        std=127.5,
        out_layout="NCHW",
    )
    (scores,) = recogniser.session(lines)
    words = [line[0] for line in recogniser.postprocess_op(scores)]

    tall = 5.2
    wide = tall * photo.shape[1] / photo.shape[0]
    cell, label = 6.0, 0.42
    height = cell * HEIGHT / lines.shape[3]
    left = wide + 3 * MARGIN
    sheet = Sheet(
        left + cell + MARGIN,
        HEAD + max(tall, len(words) * (height + label)) + MARGIN,
        "crop_quads between a detector and a recogniser of text",
        "PP-OCRv4 of rapidocr-onnxruntime; all lines in one call, normalised, as the recogniser takes them",
    )
    axes = sheet.axes(MARGIN, HEAD, wide, tall)
    show(axes, photo, smooth=True)
    for number, (points, line, read) in enumerate(zip(corners, lines, words, strict=True)):
        colour = COLOURS[number % len(COLOURS)]
        axes.add_patch(Polygon(points, fill=False, edgecolor=colour, linewidth=2))
        tag(axes, points[0, 0], points[0, 1], str(number + 1), colour)
        y = HEAD + number * (height + label)
        show(sheet.axes(left, y, cell, height), 127.5 * line.transpose(1, 2, 0) + 127.5, colour)
        sheet.text(left, y + height + 0.26, f"{number + 1}: {read}", fontsize=11, color=FAINT)
    return sheet


def page():
    """Return the photo of a page, turned and of three channels."""
    turned = transform.rotate(transform.rescale(data.page(), 2, order=1), DEGREES, resize=True, cval=0.4)
    return np.repeat((255 * turned).astype(np.uint8)[:, :, None], 3, axis=2)


def _width(corners):
    """Return the width of all lines: that of the middle one, whose letters keep their shape."""
    across, down = corners[:, 1] - corners[:, 0], corners[:, 3] - corners[:, 0]
    return int(HEIGHT * np.median(np.linalg.norm(across, axis=1) / np.linalg.norm(down, axis=1)))
