"""Maps that each look for one part of a head, and boxes whose bins are each pooled from the map of a part."""

import numpy as np
from matplotlib.patches import Rectangle

import roicy
from roicy._cli.demo.pool import coarse
from roicy._cli.demo.sheet import AMBER, CYAN, FAINT, HEAD, MARGIN, PINK, Sheet, show, tag

STRIDE = 32
PARTS = 3  # rows and columns of parts
FOUND = (142, 6, 386, 350)  # x1, y1, x2, y2 in pixels of the photo
BOXES = {
    "the head": (FOUND, CYAN),
    "too far right": ((224, 40, 468, 384), AMBER),
    "elsewhere": ((20, 246, 264, 590), PINK),
}
TOLERANCE = 45  # how far a colour may be from a part's own, of 255


def draw(photo, stopwatch):
    """Draw the photo with its boxes, the maps of all parts, and what each box pools from them."""
    features = score_maps(coarse(photo, STRIDE))
    rois = np.array([box for box, _ in BOXES.values()], np.float32)
    pooled = stopwatch.time(
        f"{len(rois)} boxes",
        roicy.ps_roi_align,
        features,
        rois,
        PARTS,
        spatial_scale=1 / STRIDE,
        sampling_ratio=2,
        layout="NHWC",
    )[..., 0]

    row, gap, label = 1.72, 0.16, 0.34  # inches
    tall = PARTS * (row + gap) - gap
    wide = tall * photo.shape[1] / photo.shape[0]
    across = row * features.shape[2] / features.shape[1]
    left = wide + 3 * MARGIN
    right = left + PARTS * (across + gap) - gap + 2 * MARGIN
    cell = (tall - 2 * label - 2 * gap) / len(BOXES)
    side = cell * (FOUND[2] - FOUND[0]) / (FOUND[3] - FOUND[1])
    sheet = Sheet(
        right + side + 1.2 + MARGIN,
        HEAD + tall + MARGIN,
        "ps_roi_align: each bin from a map of its own",
        f"{PARTS} × {PARTS} maps look for the parts of a head by their colours",
    )
    sheet.text(left, 0.68, "a map for each bin", fontsize=13, weight="bold")
    sheet.text(right, 0.68, "bins and their mean", fontsize=13, weight="bold")
    axes = sheet.axes(MARGIN, HEAD, wide, tall)
    show(axes, photo, smooth=True)
    for name, (box, colour) in BOXES.items():
        _frame(axes, *box, colour)
        tag(axes, box[0] + 2.5, box[1] + 12.5, name, colour)

    xs, ys = np.linspace(*FOUND[::2], PARTS + 1) / STRIDE, np.linspace(*FOUND[1::2], PARTS + 1) / STRIDE
    for p, q in np.ndindex(PARTS, PARTS):
        axes = sheet.axes(left + q * (across + gap), HEAD + p * (row + gap), across, row)
        show(axes, _grey(features[0, :, :, p * PARTS + q]), FAINT)
        _frame(axes, xs[0], ys[0], xs[-1], ys[-1], CYAN, linewidth=0.9)
        _frame(axes, xs[q], ys[p], xs[q + 1], ys[p + 1], CYAN)
    for number, ((name, (_, colour)), bins) in enumerate(zip(BOXES.items(), pooled, strict=True)):
        y = HEAD + number * (cell + label + gap)
        show(sheet.axes(right, y, side, cell), _grey(bins), colour)
        beside, middle = right + side + gap, y + cell / 2
        sheet.text(beside, middle, name, fontsize=10, color=FAINT)
        sheet.text(beside, middle + 0.3, f"{bins.mean():.2f}", fontsize=15, weight="bold")
    return sheet


def score_maps(features):
    """Return a map for each part, (1, H, W, parts): 1 where a colour is that of the part, 0 far off."""
    found = np.array([FOUND], np.float32)
    colours = roicy.roi_align(features, found, PARTS, spatial_scale=1 / STRIDE, layout="NHWC")[0]
    away = features[0, :, :, None] - colours.reshape(-1, features.shape[3])
    return np.exp(-np.square(away / TOLERANCE).mean(axis=3))[None].astype(np.float32)


def _grey(scores):
    return 255 * np.stack([scores] * 3, axis=2)


def _frame(axes, x1, y1, x2, y2, colour, linewidth=2.0):
    style = {"fill": False, "edgecolor": colour, "linewidth": linewidth}
    axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, **style))
