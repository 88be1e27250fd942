"""What the pictures of the pages share: colours, a map to draw on, and where the library samples.

Nothing here computes a position by itself. A map whose values are the coordinates of its own pixels, once
pooled, says where its samples lie.
"""

import numpy as np
from matplotlib.patches import Polygon, Rectangle

import roicy

INK, FAINT, PAPER = "#20242c", "#6b7280", "#eef1f5"
BLUE, PINK, AMBER, GREEN = "#0f7c90", "#d6336c", "#e08600", "#3f8f3f"

#: The style of all pictures, as matplotlib's settings.
STYLE = {
    "font.size": 10,
    "text.color": INK,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.edgecolor": FAINT,
    "axes.labelcolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


def coordinates(height, width):
    """Return a map (1, 2, H, W): x and y of its pixels' centres, where pixel i covers [i, i + 1)."""
    y, x = np.mgrid[:height, :width] + 0.5
    return np.stack([x, y])[None]


def samples_per_bin(rois, shape, bins, **options):
    """Return rows and columns of each bin's samples, one (rows, columns) for each box.

    Of a map that rises along x the largest sample is the last of a row, and the first row's counts.
    """
    options |= {"mode": "max", "return_argmax": True}
    _, argmax = roicy.roi_align(coordinates(*shape), np.float64(rois), bins, **options)
    columns = argmax[:, 0, 0, 0] + 1
    rows = argmax[:, 1, 0, 0] // columns + 1
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def sample_points(box, shape, bins, grid, function=roicy.roi_align, **options):
    """Return x and y of a box's samples: those of finer bins that have a single sample each."""
    size = bins[0] * grid[0], bins[1] * grid[1]
    rois = np.float64([box])
    return function(coordinates(*shape), rois, size, sampling_ratio=1, **options)[0]


def draw_map(axes, height, width, margin=0.0):
    """Draw the pixels of a map."""
    axes.add_patch(Rectangle((0, 0), width, height, facecolor=PAPER, edgecolor="none", zorder=0))
    axes.hlines(range(height + 1), 0, width, color="white", linewidth=1.5, zorder=1)
    axes.vlines(range(width + 1), 0, height, color="white", linewidth=1.5, zorder=1)
    axes.set(xlim=(-margin, width + margin), ylim=(height + margin, -margin), aspect="equal")
    axes.set_axis_off()


def draw_box(axes, x1, y1, x2, y2, colour, **style):
    """Draw the outline of a box."""
    style = {"fill": False, "edgecolor": colour, "linewidth": 2, "zorder": 3} | style
    axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, **style))


def draw_bins(axes, x1, y1, x2, y2, rows, columns, colour):
    """Draw what divides a box into bins."""
    style = {"color": colour, "linewidth": 0.9, "zorder": 3}
    axes.vlines(np.linspace(x1, x2, columns + 1)[1:-1], y1, y2, **style)
    axes.hlines(np.linspace(y1, y2, rows + 1)[1:-1], x1, x2, **style)


def draw_points(axes, points, colour, size=12):
    """Draw samples."""
    axes.scatter(*points, s=size, color=colour, edgecolors="white", linewidths=0.5, zorder=4)


def draw_polygon(axes, points, colour):
    """Draw the outline of a rotated box."""
    axes.add_patch(Polygon(points, fill=False, edgecolor=colour, linewidth=2, zorder=3))
