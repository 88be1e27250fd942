"""``roicy demo``: three boxes of a photograph, pooled to three sizes and drawn beside it."""

import os
import time
from statistics import median

import numpy as np
from matplotlib import cbook
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import Rectangle

import roicy
from roicy._bench import describe
from roicy._table import print_table

# x1, y1, x2, y2 in pixels of the portrait of Grace Hopper that matplotlib ships; colour of the drawing
BOXES = {
    "cap badge": ((194, 24, 346, 106), "#ffb22e"),
    "face": ((154, 128, 378, 336), "#3ddbd9"),
    "medals": ((316, 480, 460, 534), "#ff6fae"),
}
SIZES = (7, 14, 224)
SAMPLING_RATIO = 2
ROUNDS = 25

INK = "#20242c"
FAINT = "#6b7280"


def demo(path):
    """Pool the boxes to every size, print the timings and write the picture to ``path``."""
    image = imread(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    rois = np.array([box for box, _ in BOXES.values()], dtype=np.float32)
    crops, rows = {}, []
    for size in SIZES:
        crops[size], seconds = _pool(image, rois, size)
        shapes = str(image[None].shape), str(crops[size].shape)
        rows.append([f"{size} x {size}", *shapes, f"{1e3 * seconds:.3f}"])
    threads = describe(roicy.get_num_threads())
    print_table(
        f"roi_align, uint8 NHWC to float32, {len(rois)} boxes; {threads}",
        ["bins", "features", "result", ">milliseconds"],
        rows,
    )
    _draw(image, crops).savefig(path, dpi=120, facecolor="white")
    print(f"picture: {os.path.abspath(path)}")


def _pool(image, rois, size):
    timings = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        crops = roicy.roi_align(image[None], rois, size, sampling_ratio=SAMPLING_RATIO, layout="NHWC")
        timings.append(time.perf_counter() - start)
    return crops, median(timings)


def _draw(image, crops):
    """Draw the photo, and beside it a row per box and a column per size, cells in their box's proportions."""
    cell, gap, label, margin, head = 2.5, 0.16, 0.38, 0.32, 0.84  # inches
    heights = [cell * (y2 - y1) / (x2 - x1) for (x1, y1, x2, y2), _ in BOXES.values()]
    tall = sum(heights) + label * len(heights)
    wide = tall * image.shape[1] / image.shape[0]
    left = margin + wide + 2 * margin
    figure = Figure(figsize=(left + len(SIZES) * (cell + gap) - gap + margin, head + tall + margin))
    width, height = figure.get_size_inches()

    def axes(x, y, w, h):  # inches from the left and from the top
        ax = figure.add_axes((x / width, 1 - (y + h) / height, w / width, h / height))
        ax.set_xticks([])
        ax.set_yticks([])
        return ax

    def text(x, y, words, **style):
        figure.text(x / width, 1 - y / height, words, **{"color": INK, "va": "baseline", **style})

    text(margin, 0.42, "roi_align on the photo itself", fontsize=15, weight="bold")
    words = "the boxes, their 7 × 7 bins, and 2 × 2 sampling points in each bin"
    text(margin, 0.68, words, fontsize=10, color=FAINT)
    _photo(axes(margin, head, wide, tall), image)

    for column, size in enumerate(SIZES):
        x, y = left + column * (cell + gap), head
        text(x + cell / 2, 0.68, f"{size} × {size}", fontsize=13, weight="bold", ha="center")
        for row, (name, (box, colour)) in enumerate(BOXES.items()):
            if column == 0:
                words = f"{name}, {box[2] - box[0]} × {box[3] - box[1]} pixels"
                text(x, y + 0.66 * label, words, fontsize=10, color=FAINT)
            _crop(axes(x, y + label, cell, heights[row]), crops[size][row], colour)
            y += label + heights[row]
    return figure


def _photo(ax, image):
    # Pixel i covers [i, i + 1), as in roi_align with aligned=True: its centre is i + 0.5.
    ax.imshow(image, extent=(0, image.shape[1], image.shape[0], 0), interpolation="lanczos")
    ax.set_axis_off()
    bins, samples = SIZES[0], SIZES[0] * SAMPLING_RATIO
    for name, ((x1, y1, x2, y2), colour) in BOXES.items():
        xs, ys = np.linspace(x1, x2, bins + 1), np.linspace(y1, y2, bins + 1)
        ax.vlines(xs, y1, y2, color=colour, linewidth=0.5, alpha=0.7)
        ax.hlines(ys, x1, x2, color=colour, linewidth=0.5, alpha=0.7)
        steps = (np.arange(samples) + 0.5) / samples
        grid = np.meshgrid(x1 + steps * (x2 - x1), y1 + steps * (y2 - y1))
        dot = min(4.5, 0.5 * (y2 - y1) / samples)
        ax.scatter(*grid, s=dot, color="white", edgecolors=INK, linewidths=0.4, zorder=3)
        ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=1.8))
        tag = {"facecolor": colour, "edgecolor": colour, "boxstyle": "square,pad=0.22"}
        ax.text(x1 + 2.5, y1 - 4.5, name, fontsize=8, color=INK, va="bottom", bbox=tag)


def _crop(ax, crop, colour):
    ax.imshow(np.clip(crop / 255.0, 0.0, 1.0), aspect="auto", interpolation="nearest")
    for spine in ax.spines.values():
        spine.set_edgecolor(colour)
        spine.set_linewidth(1.8)
