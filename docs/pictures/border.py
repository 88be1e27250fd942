"""The value of a single sample that moves across a row of pixels and beyond its ends."""

import matplotlib.pyplot as plt
import numpy as np
from paper import BLUE, FAINT, PAPER

import roicy

ROW = np.array([2.0, 3.5, 1.5, 3.0, 2.5])

x = np.linspace(-1.6, len(ROW) + 1.6, 1601)
points = np.column_stack([x, np.full_like(x, 0.5), x, np.full_like(x, 0.5)])  # boxes without a size
values = roicy.roi_align(ROW[None, None, None], points, 1, sampling_ratio=1)[:, 0, 0, 0]

figure, axes = plt.subplots(figsize=(8.2, 3.1), layout="constrained")
axes.bar(np.arange(len(ROW)) + 0.5, ROW, width=1, color=PAPER, edgecolor="white", linewidth=2, zorder=0)
axes.plot(np.arange(len(ROW)) + 0.5, ROW, "o", color=FAINT, markersize=4)
values[np.flatnonzero(np.abs(np.diff(values)) > 1)] = np.nan  # a jump is no line
axes.plot(x, values, color=BLUE, linewidth=2)
axes.set(xlim=(x[0], x[-1]), ylim=(-0.15, 4), yticks=[], xlabel="position of the sample, aligned=True")
axes.set_xticks([-1.5, -0.5, 0.5, 1, 2, 3, 4, len(ROW) - 0.5, len(ROW) + 0.5, len(ROW) + 1.5])
axes.set_xticks(axes.get_xticks(), [f"{tick:g}" for tick in axes.get_xticks()])
for left, words in (-0.5, "first pixel"), (len(ROW) - 0.5, "last pixel"):
    axes.annotate("", (left, 0.35), (left + 1, 0.35), arrowprops={"arrowstyle": "<->", "color": FAINT})
    axes.text(left + 0.5, 0.45, words, ha="center", va="bottom", fontsize=9, color=FAINT)
for middle in x[0] / 2 - 0.25, len(ROW) + 1.05:
    axes.text(middle, 0.15, "zero", ha="center", fontsize=9, color=FAINT)
axes.spines[["left", "right", "top"]].set_visible(False)
