"""Crops for the next model, and masks laid back over the photo."""

import importlib.util

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle

import roicy
from roicy._cli.demo.sheet import AMBER, CYAN, FAINT, HEAD, MARGIN, PINK, VIOLET, Sheet, show, tag

# x1, y1, x2, y2 in pixels of the photo
OVER_THE_EDGE = np.array([[-60, -70, 120, 110]], np.float32)
HEAD_AND_SHOULDERS = np.array([[120, 20, 400, 300]], np.float32)
MASKED = np.array([[172, 120, 366, 336], [40, 58, 98, 116]], np.float32)
BORDERS = {"constant": "fill=114", "edge": "the edge goes on", "reject": "no sample beyond"}
LINES = "first you crop", "then you read", "then you know"
SMALL = 40  # pixels of the shrunken crop
FRAMES = CYAN, PINK, AMBER


def draw(photo, stopwatch):
    """Draw a row of crops by border, one of shrunken ones, one of straightened lines, and masks."""
    cell, gap, label = 2.25, 0.16, 0.36  # inches
    row, wide = cell + label, 3 * 2.25 + 2 * 0.16
    tall = 3 * row
    left = tall * photo.shape[1] / photo.shape[0] + 2 * MARGIN
    sheet = Sheet(
        left + wide + MARGIN,
        HEAD + tall + MARGIN,
        "From boxes to the next model's input",
        "borders, crops without aliasing, lines of a poster, and masks pasted back",
    )
    _draw_photo(sheet.axes(MARGIN, HEAD, left - 2 * MARGIN, tall), photo, stopwatch)
    rows = _borders(photo, stopwatch), _shrunken(photo, stopwatch), _poster(stopwatch)
    for number, crops in enumerate(rows):
        y = HEAD + number * row
        for column, (words, crop, colour) in enumerate(crops):
            x = left + column * (cell + gap)
            sheet.text(x, y + 0.66 * label, words, fontsize=9, color=FAINT)
            if isinstance(crop, list):  # lines, one below the other
                for place, line in enumerate(crop):
                    high = cell / len(crop) - 0.1
                    show(sheet.axes(x, y + label + place * (high + 0.1), 2 * cell + gap, high), line, colour)
            else:
                show(sheet.axes(x, y + label, cell, cell), crop, colour)
    return sheet


def _draw_photo(axes, photo, stopwatch):
    down, across = (np.arange(28)[:, None] - 13.5) / 13.5, (np.arange(28) - 13.5) / 13.5
    masks = np.broadcast_to(1.2 - np.hypot(down, across), (len(MASKED), 28, 28)).astype(np.float32)
    pasted = stopwatch.time("masks", roicy.paste_masks, masks, MASKED, photo.shape[:2])
    shown = photo.astype(np.float32)
    for mask, rgb in zip(pasted, ((61, 219, 217), (255, 111, 174)), strict=True):
        shown[mask] = 0.6 * shown[mask] + 0.4 * np.array(rgb, np.float32)
    show(axes, shown, smooth=True)
    named = ("over the edge", OVER_THE_EDGE, AMBER), ("shrunken", HEAD_AND_SHOULDERS, VIOLET)
    for words, ((x1, y1, x2, y2),), colour in named:
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=1.8))
        tag(axes, max(x1, 0) + 2, y2 - 3, words, colour)
    tag(axes, MASKED[0, 0] + 30, MASKED[0, 3] + 18, "masks of 28 x 28, pasted", CYAN)
    axes.set(xlim=(0, photo.shape[1]), ylim=(photo.shape[0], 0))


def _borders(photo, stopwatch):
    for (border, words), colour in zip(BORDERS.items(), FRAMES, strict=True):
        crop = stopwatch.time(
            f"border={border!r}", roicy.crop_and_resize, photo, OVER_THE_EDGE, 96, border=border, fill=114.0
        )
        yield f"border={border!r}: {words}", crop[0], colour


def _shrunken(photo, stopwatch):
    def shrink(title, **options):
        return stopwatch.time(title, roicy.crop_and_resize, photo, HEAD_AND_SHOULDERS, SMALL, **options)[0]

    for ratio, words in (1, "one sample"), (0, "all that it covers"):
        title = f"sampling_ratio={ratio}"
        yield f"{title}: {words}", shrink(title, sampling_ratio=ratio), FRAMES[ratio]
    if importlib.util.find_spec("cv2"):
        import cv2  # which the demo does without

        x1, y1, x2, y2 = HEAD_AND_SHOULDERS[0].astype(int)
        yield "OpenCV's resize, INTER_LINEAR", cv2.resize(photo[y1:y2, x1:x2], (SMALL, SMALL)), VIOLET
    else:
        title = "interpolation='nearest'"
        yield f"{title}: a pixel", shrink(title, interpolation="nearest"), VIOLET


def _poster(stopwatch):
    # a poster, seen from its side; where its lines are is known from how it was made
    figure = Figure(figsize=(3, 3), dpi=100, facecolor="#f7f0de")
    canvas = FigureCanvasAgg(figure)
    boxes = []
    for number, line in enumerate(LINES):
        words = figure.text(
            0.08, 0.75 - 0.25 * number, line, fontsize=18, color=("#96281e", "#1e2846")[number % 2]
        )
        (x1, low), (x2, high) = words.get_window_extent(canvas.get_renderer()).get_points()
        x1, y1, x2, y2 = x1 - 4, 300 - high - 4, x2 + 4, 300 - low + 4
        boxes.append([(x1, y1), (x2, y1), (x2, y2), (x1, y2)])
    canvas.draw()
    poster = np.asarray(canvas.buffer_rgba())[:, :, :3]
    seen = np.array([[(-50, -20), (330, -90), (370, 340), (-20, 400)]], np.float32)
    picture = roicy.crop_quads(poster, seen, 300, fill=70.0)[0]
    quads = _onto(np.array(boxes), seen[0])
    lines = stopwatch.time("lines", roicy.crop_quads, picture, quads.astype(np.float32), (40, 240))
    marked = _with_outlines(picture, quads)
    yield "a poster", marked, AMBER
    yield "crop_quads: its lines", list(lines), CYAN


def _onto(points, seen):
    # where points of a poster are in the picture whose corners it has at `seen`
    equations, values = [], []
    for (u, v), (x, y) in zip([(0, 0), (300, 0), (300, 300), (0, 300)], seen, strict=True):
        equations += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    matrix = np.append(np.linalg.solve(equations, values), 1).reshape(3, 3)
    moved = np.concatenate([points, np.ones_like(points[..., :1])], axis=-1) @ matrix.T
    return moved[..., :2] / moved[..., 2:]


def _with_outlines(picture, quads):
    figure = Figure(figsize=(3, 3), dpi=200)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    show(axes, picture, smooth=True)
    for quad in quads:
        axes.add_patch(Polygon(quad, fill=False, edgecolor=PINK, linewidth=1.5))
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3]
