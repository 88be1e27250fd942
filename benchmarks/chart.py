"""A bar chart of a benchmark run."""

from matplotlib.figure import Figure

COLOURS = {
    "onnxruntime": "#4c78a8",
    "torchvision": "#e4572e",
    "openvino": "#7b5ea7",
    "MNN": "#4f9da6",
    "opencv": "#3a9d5d",
    "opencv's blobs": "#8fcba3",
    "numpy": "#c58b1b",
    "detectron2's": "#b56576",
    "tensorflow": "#e9a03b",
    "DALI": "#76a12c",
}
INK, FAINT = "#20242c", "#6b7280"
TICKS = (1, 3, 10, 30, 100)


def draw(results, caption, path):
    """Draw a bar per contest and peer: its time in multiples of roicy's, on a log scale.

    ``results`` has for every contest what to call it, seconds by contestant, and which of them are stand-ins,
    marked with a dagger.
    """
    bars, labels, y = [], [], 0.0
    for title, seconds, stand_ins in results:
        own = seconds["roicy"]
        others = [name for name in seconds if name != "roicy"]
        labels.append((y + (len(others) - 1) / 2, f"{title}\nroicy: {1e3 * own:.3g} ms"))
        for name in others:
            bars.append((y, seconds[name] / own, name, " †" if name in stand_ins else ""))
            y += 1
        y += 0.8
    ratios = [ratio for _, ratio, _, _ in bars]

    figure = Figure(figsize=(9, 1.3 + 0.27 * y), layout="constrained")
    axes = figure.subplots()
    for position, ratio, name, mark in bars:
        axes.barh(position, ratio - 1, left=1, height=0.82, color=COLOURS[name])
        axes.text(1.04 * max(ratio, 1), position, f"{ratio:.1f} ×{mark}", va="center", fontsize=8, color=INK)
    axes.axvline(1, color=INK, linewidth=1)
    axes.set_xscale("log")
    axes.set_xlim(min(0.9, *ratios), 1.6 * max(ratios))
    axes.set_xticks(TICKS, [f"{tick} ×" for tick in TICKS], color=FAINT)
    axes.minorticks_off()
    axes.set_yticks(*zip(*labels, strict=True), fontsize=8.5)
    axes.tick_params(length=0)
    axes.set_ylim(y, -0.9)
    axes.grid(axis="x", color="#e5e7eb")
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    names = [name for name in COLOURS if any(name == bar[2] for bar in bars)]
    handles = [axes.barh(0, 0, color=COLOURS[name]) for name in names]
    figure.legend(handles, names, loc="outside upper right", ncols=len(names), frameon=False, fontsize=9)
    axes.set_title("Time of others, in multiples of roicy's", loc="left", weight="bold", color=INK)
    axes.set_xlabel(caption, fontsize=8, color=FAINT, loc="left")
    figure.savefig(path, dpi=130, facecolor="white")
