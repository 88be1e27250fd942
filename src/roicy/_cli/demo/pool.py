"""A box that moves by less than a pixel: RoIAlign follows it, RoIPool jumps from pixel to pixel."""

from typing import Any

import numpy as np
from matplotlib.patches import Rectangle
from matplotlib.ticker import MultipleLocator

import roicy
from roicy._cli.demo.sheet import AMBER, CYAN, FAINT, HEAD, INK, MARGIN, PINK, Sheet, show, tag

STRIDE = 8  # the feature map is the photo in blocks of 8 x 8 pixels
FACE = np.array([160.8, 130.4, 372.8, 332.8], np.float32)  # x1, y1, x2, y2 in pixels of the photo
BINS = 14
MARKED = (5, 4)  # row and column of the bin that is marked
PART = (14, 12, 54, 46)  # x1, y1, x2, y2 of what is drawn of the map, in its pixels
SHIFTS = (0, 0.25, 0.5)  # to the right, in pixels of the map
OPERATORS: tuple[tuple[Any, ...], ...] = (
    ("roi_align", "average of samples", CYAN, roicy.roi_align, {}),
    ("roi_align", "largest sample", AMBER, roicy.roi_align, {"mode": "max"}),
    ("roi_pool", "largest pixel", PINK, roicy.roi_pool, {}),
)


def draw(photo, stopwatch):
    """Draw the map with the box as each operator takes it, crops at three shifts, and how crops change."""
    features = coarse(photo, STRIDE)
    steps = np.linspace(0, 2, 81)
    row, column, gap, label = 1.55, 1.65, 0.16, 0.34  # inches
    tall = len(OPERATORS) * (row + label)
    wide = tall * (PART[2] - PART[0]) / (PART[3] - PART[1])
    left = wide + 3 * MARGIN
    plot = left + len(SHIFTS) * (column + gap) + 3 * MARGIN
    sheet = Sheet(
        plot + 3.8 + MARGIN,
        HEAD + tall + 2 * MARGIN,
        "roi_pool rounds, roi_align does not",
        f"the photo at a stride of {STRIDE}, a box and one of its bins, and what roi_pool takes for them",
    )
    _draw_boxes(sheet.axes(MARGIN, HEAD, wide, tall), features)

    axes = sheet.axes(plot, HEAD + label, 3.8, tall - label)
    sheet.text(plot, 0.68, f"change of the {BINS} × {BINS} bins", fontsize=13, weight="bold")
    for number, (name, words, colour, function, options) in enumerate(OPERATORS):
        moved = _boxes(steps)
        pooled = stopwatch.time(
            f"{words}, {len(steps)} boxes",
            function,
            features,
            moved,
            BINS,
            spatial_scale=1 / STRIDE,
            layout="NHWC",
            **options,
        )
        y = HEAD + number * (row + label)
        sheet.text(left, y + 0.66 * label, f"{name}: {words}", fontsize=10, color=FAINT)
        for place, shift in enumerate(SHIFTS):
            x = left + place * (column + gap)
            if number == 0:
                sheet.text(
                    x + column / 2, 0.68, f"moved by {shift:g}", fontsize=13, weight="bold", ha="center"
                )
            show(sheet.axes(x, y + label, column, row), pooled[np.searchsorted(steps, shift)], colour)
        change = np.sqrt(np.mean((pooled - pooled[0]) ** 2, axis=(1, 2, 3))) / 255
        axes.plot(steps, 100 * change, color=colour, linewidth=2.2, label=f"{name}, {words}")
    axes.set_xticks(np.arange(0, 2.1, 0.5))
    axes.yaxis.set_major_locator(MultipleLocator(2))
    axes.yaxis.set_major_formatter("{x:.0f} %")
    axes.tick_params(length=0, labelsize=9, labelcolor=FAINT)
    axes.set_xlabel("pixels of the map that the box has moved to the right", fontsize=10, color=FAINT)
    axes.set_xlim(0, 2)
    axes.set_ylim(0, None)
    axes.grid(color="#e5e7eb")
    axes.spines[:].set_visible(False)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    return sheet


def coarse(photo, stride):
    """Return the averages of the photo's blocks of stride x stride pixels: roi_align of all of it."""
    height, width = (side // stride for side in photo.shape[:2])
    everything = np.array([[0, 0, width * stride, height * stride]], np.float32)
    options = {"sampling_ratio": stride, "layout": "NHWC"}
    return roicy.roi_align(photo[None], everything, (height, width), **options)


def _boxes(shifts):
    """Return a box for every shift to the right, in pixels of the map."""
    return (FACE + np.outer(shifts, [STRIDE, 0, STRIDE, 0])).astype(np.float32)


def _draw_boxes(axes, features):
    show(axes, features[0])
    axes.set(xlim=PART[::2], ylim=PART[:0:-2])
    row, column = MARKED
    x1, y1, x2, y2 = FACE / STRIDE
    xs, ys = np.linspace(x1, x2, BINS + 1), np.linspace(y1, y2, BINS + 1)
    axes.vlines(xs, y1, y2, color=CYAN, linewidth=0.8, alpha=0.7)
    axes.hlines(ys, x1, x2, color=CYAN, linewidth=0.8, alpha=0.7)
    _frame(axes, x1, y1, x2, y2, CYAN)
    _frame(axes, xs[column], ys[row], xs[column + 1], ys[row + 1], CYAN)
    tag(axes, x2 - 6, y1 - 0.6, "roi_align", CYAN)

    # Corners are rounded, both of their pixels belong to the box, and bins take whole pixels.
    x1, y1, x2, y2 = np.floor(FACE / STRIDE + 0.5) + np.array([0, 0, 1, 1])
    _frame(axes, x1, y1, x2, y2, PINK)
    across, down = (x2 - x1) / BINS, (y2 - y1) / BINS
    left, top = x1 + np.floor(column * across), y1 + np.floor(row * down)
    right, bottom = x1 + np.ceil((column + 1) * across), y1 + np.ceil((row + 1) * down)
    _frame(axes, left, top, right, bottom, PINK)
    tag(axes, x1 + 0.3, y2 + 1.6, "roi_pool", PINK)


def _frame(axes, x1, y1, x2, y2, colour):
    axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=2))
