"""The picture of speed in README.md and docs/speed.rst: roicy beside others, and what its options change.

``python benchmarks/picture.py NAME ...`` measures entries, all with ``all``, and keeps them in picture.json;
without a name it draws what is there to assets/speed.png.
"""

import dataclasses
import json
import multiprocessing
import os
import sys
from pathlib import Path

import contests
import numpy as np
import report
from chart import COLOURS, FAINT, INK
from matplotlib.figure import Figure

import roicy
from roicy._cli import calls
from roicy._cli.race import race
from roicy._cli.workloads import WORKLOADS

HERE = Path(__file__).parent
FILE, PICTURE = HERE / "picture.json", HERE.parent / "assets" / "speed.png"
#: Contests of contests.py: what they are called in the picture, and the peers that are in it.
RACES = {
    "forward box_7x7_adaptive": ("box head of a detector,\n1000 boxes", ["torchvision", "onnxruntime"]),
    "forward mask_14x14_sr2": ("mask head of a detector,\n100 boxes", ["torchvision", "onnxruntime"]),
    "forward pyramid_7x7_sr2": ("feature pyramid,\n1000 boxes", ["torchvision"]),
    "with argmax pool_7x7": ("RoIPool with argmax,\n300 boxes", ["torchvision"]),
    "forward crops_224_sr1": ("32 crops of an image,\n224 × 224", ["torchvision", "opencv"]),
    "backward box_7x7_adaptive": ("gradient of the box head,\n1000 boxes", ["torchvision"]),
}
OPTIONS = "options"
ROUNDS = 5


def main(names):
    kept = json.loads(FILE.read_text()) if FILE.exists() else {}
    for name in [*RACES, OPTIONS] if names == ["all"] else names:
        kept[name] = (
            options() if name == OPTIONS else {"calls": one_by_one(name), "turns": side_by_side(name)}
        )
        kept["machine"] = report.describe_machine()["processor"]
        FILE.write_text(json.dumps(kept, indent=2) + "\n")
        print(name, kept[name])
    if not names:
        draw(kept)


# ---------------------------------------------------------------- measured


def contest(name, threads, fresh):
    """The contest of this name, without the peers that are not in the picture."""
    backward = name.startswith("backward")
    found = contests.against_peers(WORKLOADS.values(), threads, fresh, backward)
    (it,) = (one for one in found if one.name == name)
    return only(it, "roicy", *RACES[name][1])


def only(it, *names):
    return dataclasses.replace(it, contestants={name: it.contestants[name] for name in names})


def side_by_side(name):
    """One thread each and reused outputs, in turn: what `make bench` measures."""
    return contests.run(contest(name, 1, False), ROUNDS)["seconds"]


def one_by_one(name):
    """As plain calls are: all cores, new outputs. Each by itself: idle threads of one would cost another."""
    seconds = {}
    for peer in ("roicy", *RACES[name][1]):
        with multiprocessing.get_context("spawn").Pool(1) as process:
            seconds[peer] = process.apply(alone, (name, peer))
    return seconds


def alone(name, peer):
    return contests.run(only(contest(name, os.cpu_count(), True), peer), ROUNDS)["seconds"][peer]


def options():
    """What the options of a call change, on the box head: seconds."""
    workload = WORKLOADS["box_7x7_adaptive"]
    out = np.empty(workload.output_shape, np.float32)

    def planned(given, **out):
        def prepare(features, rois, grad_output):
            plan = roicy.roi_align_plan(rois, features.shape, workload.output_size, sampling_ratio=0)
            plan(features)  # with its tables
            return lambda: on(given, lambda: plan(features, **out))

        return prepare

    def called(given, **options):
        make = calls.forward(workload, **options)

        def prepare(*inputs):
            call = make(*inputs)
            return lambda: on(given, call)

        return prepare

    def on(given, call):
        with roicy.num_threads(given):
            return call()

    return race(
        {
            "one thread": called(1, fresh=True),
            "all cores": called(os.cpu_count(), fresh=True),
            "one thread, channels last": called(1, fresh=True, layout="NHWC"),
            "one thread, a plan": planned(1),
            "one thread, out=": called(1),
            "one thread, a plan and out=": planned(1, out=out),
            "all cores, a plan and out=": planned(os.cpu_count(), out=out),
        },
        lambda number: inputs(workload, number),
        2 * ROUNDS + 1,
    )


def inputs(workload, number):
    rng = np.random.default_rng(number)
    return workload.features(rng), workload.boxes(rng), None


# ---------------------------------------------------------------- drawn


def draw(kept):
    figure = Figure(figsize=(11, 5.6), layout="constrained")
    beside, own = figure.subplots(1, 2, width_ratios=(5, 3))
    draw_races(beside, kept)
    draw_options(own, kept[OPTIONS])
    cores = "core" if os.cpu_count() == 1 else f"{os.cpu_count()} cores"
    figure.supxlabel(
        f"{kept['machine']}, {cores}; float32, medians", fontsize=8, color=FAINT, x=0.01, ha="left"
    )
    figure.savefig(PICTURE, dpi=110, facecolor="white")
    print(PICTURE)


def draw_races(axes, kept):
    labels, y, largest = [], 0.0, 1.0
    for name, (title, peers) in RACES.items():
        plain, turns = kept[name]["calls"], kept[name]["turns"]
        own = f"roicy: {1e3 * plain['roicy']:.3g} ms, {1e3 * turns['roicy']:.3g} ms"
        labels.append((y + len(peers) - 0.5, f"{title}\n{own}"))
        for peer in peers:
            for seconds, shade in (plain, 1.0), (turns, 0.45):
                ratio = seconds[peer] / seconds["roicy"]
                axes.barh(y, ratio, height=0.92, color=COLOURS[peer], alpha=shade)
                axes.text(ratio * 1.03, y, f"{ratio:.1f} ×", va="center", fontsize=8, color=INK)
                largest = max(largest, ratio)
                y += 1
        y += 0.9
    axes.axvline(1, color=INK, linewidth=1)
    axes.set_xlim(0, 1.14 * largest)
    axes.set_ylim(y - 0.9, -0.9)
    axes.set_yticks(*zip(*labels, strict=True), fontsize=8.5)
    axes.set_title("Time of others, in multiples of roicy's", loc="left", weight="bold", color=INK)
    names = sorted({peer for _, peers in RACES.values() for peer in peers})
    handles = [axes.barh(0, 0, color=COLOURS[name]) for name in names]
    handles += [axes.barh(0, 0, color="#555555", alpha=shade) for shade in (1.0, 0.45)]
    words = [*names, "plain calls: all cores, new outputs", "`make bench`: one thread each, outputs reused"]
    axes.legend(handles, words, loc="center right", bbox_to_anchor=(1, 0.36), frameon=False, fontsize=8.5)
    finish(axes)


def draw_options(axes, seconds):
    for y, (name, time) in enumerate(seconds.items()):
        axes.barh(y, 1e3 * time, height=0.7, color="#1f9d8a" if "all cores" in name else "#8ccfc4")
        axes.text(1e3 * time, y, f" {1e3 * time:.3g} ms", va="center", fontsize=8.5, color=INK)
    axes.set_yticks(range(len(seconds)), seconds, fontsize=8.5)
    axes.set_ylim(len(seconds) - 0.4, -0.6)
    axes.set_xlim(0, 1.2e3 * max(seconds.values()))
    axes.set_title("roicy's box head, by options", loc="left", weight="bold", color=INK)
    finish(axes)


def finish(axes):
    axes.tick_params(length=0, labelcolor=INK)
    axes.tick_params(axis="x", labelcolor=FAINT, labelsize=8)
    axes.grid(axis="x", color="#e5e7eb")
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)


if __name__ == "__main__":
    main(sys.argv[1:])
