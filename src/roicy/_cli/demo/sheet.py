"""A sheet of paper measured in inches from its upper left corner, and what all pictures draw alike."""

import numpy as np
from matplotlib.figure import Figure

INK, FAINT = "#20242c", "#6b7280"
AMBER, CYAN, PINK, VIOLET = "#ffb22e", "#3ddbd9", "#ff6fae", "#a993ff"
MARGIN = 0.32
HEAD = 0.84  # below the title and its subtitle


class Sheet:
    """A figure to put axes and words on."""

    def __init__(self, width, height, title, subtitle):
        self.figure = Figure(figsize=(width, height))
        self.text(MARGIN, 0.42, title, fontsize=15, weight="bold")
        self.text(MARGIN, 0.68, subtitle, fontsize=10, color=FAINT)

    def axes(self, x, y, width, height):
        """Add axes without ticks."""
        across, down = self.figure.get_size_inches()
        axes = self.figure.add_axes((x / across, 1 - (y + height) / down, width / across, height / down))
        axes.set_xticks([])
        axes.set_yticks([])
        return axes

    def text(self, x, y, words, **style):
        """Write words whose baseline lies at ``y``."""
        across, down = self.figure.get_size_inches()
        self.figure.text(x / across, 1 - y / down, words, **{"color": INK, "va": "baseline", **style})

    def save(self, path):
        """Write the picture."""
        self.figure.savefig(path, dpi=120, facecolor="white")


def show(axes, image, colour=None, smooth=False):
    """Fill the axes with an image of values up to 255, with a frame of this colour.

    Pixel i covers [i, i + 1), as in roi_align with aligned=True: its centre is i + 0.5.
    """
    extent = (0, image.shape[1], image.shape[0], 0)
    values = np.clip(np.asarray(image, np.float32) / 255, 0, 1)
    axes.imshow(values, extent=extent, aspect="auto", interpolation="lanczos" if smooth else "nearest")
    if colour is None:
        axes.set_axis_off()
    for spine in axes.spines.values():
        spine.set_edgecolor(colour)
        spine.set_linewidth(1.8)


def tag(axes, x, y, words, colour):
    """Write words on a label that stands on the point (x, y)."""
    box = {"facecolor": colour, "edgecolor": colour, "boxstyle": "square,pad=0.22"}
    axes.text(x, y, words, fontsize=8, color=INK, va="bottom", bbox=box)
