"""The results of a benchmark run: tables on the terminal; JSON, Markdown and a bar chart in ``results/``."""

import json
import os
import platform
import re
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import chart

import roicy
from roicy._cli.terminal import print_table

RESULTS = Path(__file__).parent / "results"
# How far results may lie apart, over the largest value; OpenCV's weights are coarse, DALI rounds to bytes
# before it normalises, float16 is what it is, and MNN has places of samples in another order of operations.
TOLERANCE, LOOSE = 1e-5, {"opencv": 1e-2, "DALI": 1e-2, "float32": 2e-3, "MNN": 1e-4}
PACKAGES = (
    *("roicy", "numpy", "onnxruntime", "torch", "torchvision", "openvino"),
    *("opencv-python-headless", "MNN", "tensorflow", "nvidia-dali-cuda120"),
)


def write(results, chosen):
    """Print the tables, write them and the chart; return the exit status, 1 where results do not agree."""
    machine = describe_machine()
    against_peers = [result for result in results if result["kind"] != "variant"]
    variants = [result for result in results if result["kind"] == "variant"]
    conditions = f"{chosen.threads} thread{'s' * (chosen.threads > 1)}, median of {chosen.rounds}"
    conditions += ", new outputs" * chosen.fresh
    if against_peers:
        print_table(
            f"roicy and its peers: {conditions} (ratio of times; difference over largest value)",
            ["contest", "contestant", ">ms", ">ratio", ">difference"],
            [row for result in against_peers for row in peer_rows(result)],
        )
    if variants:
        print_table(
            f"roicy and itself: {conditions}",
            ["workload", "this", ">ms", "compared with", ">ms", ">time ratio"],
            [variant_row(result) for result in variants],
        )
    for note in footnotes(against_peers):
        print(note)
    missing = sorted({name for result in results for name in result["missing"]})
    if missing:
        print(f"not installed, so left out: {', '.join(missing)}")
    print(", ".join([machine["processor"], *(f"{name} {it}" for name, it in machine["versions"].items())]))

    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / (f"threads-{chosen.threads}" + "-fresh" * chosen.fresh + "-quick" * chosen.quick)
    record = {"machine": machine, "options": vars(chosen), "results": results}
    path.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
    path.with_suffix(".md").write_text(markdown(against_peers, variants))
    print(f"results: {path.with_suffix('.json')}")
    print(f"table:   {path.with_suffix('.md')}")
    shown = [
        (title(result), result["seconds"], result["instead"])
        for result in against_peers
        if len(result["seconds"]) > 1
    ]
    if shown:
        caption = f"{conditions}; {machine['processor']}"
        if any(instead for *_, instead in shown):
            caption += "; † a stand-in"
        chart.draw(shown, caption, path.with_suffix(".png"))
        print(f"chart:   {path.with_suffix('.png')}")
    return complain(results)


def complain(results):
    status = 0
    for result in results:
        for name, difference in result["differences"].items():
            if not difference <= LOOSE.get(name, TOLERANCE):
                print(f"results differ: {result['name']}, {name}, by {difference:.1e} of the largest value")
                status = 1
    return status


def title(result):
    """The contest's workload, and what else there is to say."""
    return ", ".join(filter(None, [result["workload"], result["remark"]]))


def mark(result, name):
    """A dagger after the ratio of a stand-in; `footnotes` say what it does instead."""
    return " †" if name in result["instead"] else ""


def footnotes(results):
    """A line per peer and thing that it does instead, and on which workloads."""
    found = {}
    for result in results:
        for name, instead in result["instead"].items():
            found.setdefault((name, instead), []).append(title(result))
    return [f"† {name}: {instead} ({'; '.join(titles)})" for (name, instead), titles in found.items()]


def peer_rows(result):
    own, differences = result["seconds"]["roicy"], result["differences"]
    for name, seconds in result["seconds"].items():
        first = name == "roicy"
        ratio = "" if first else f"{seconds / own:.1f} x{mark(result, name)}"
        difference = f"{differences[name]:.0e}" if name in differences else ""
        yield [title(result) if first else "", name, milliseconds(seconds), ratio, difference]


def variant_row(result):
    (name, seconds), (other, other_seconds) = result["seconds"].items()
    ratio = f"{seconds / other_seconds:.2f}"
    return [result["workload"], name, milliseconds(seconds), other, milliseconds(other_seconds), ratio]


def markdown(against_peers, variants):
    """Return both tables as docs/measured.md has them: a column per peer, one row per variant."""
    lines = []
    if against_peers:
        peers = [name for name in chart.COLOURS if any(name in result["seconds"] for result in against_peers)]
        lines += [f"| | roicy, ms | {' | '.join(peers)} |", "|---" + "|--:" * (1 + len(peers)) + "|"]
        for result in against_peers:
            times = result["seconds"]
            ratios = [
                f"{times[name] / times['roicy']:.1f} ×{mark(result, name)}" if name in times else ""
                for name in peers
            ]
            lines.append(f"| {title(result)} | {milliseconds(times['roicy'])} | {' | '.join(ratios)} |")
        lines += ["", *(f"{note}  " for note in footnotes(against_peers)), ""]
    if variants:
        lines += ["| | this | compared with | takes |", "|---|---|---|--:|"]
        for workload, name, _, other, _, ratio in map(variant_row, variants):
            lines.append(f"| {workload} | {name} | {other} | {ratio} × its time |")
    return "\n".join(lines) + "\n"


def milliseconds(seconds):
    return f"{1e3 * seconds:.3g}" if seconds < 0.1 else f"{1e3 * seconds:.0f}"


def versions_of_peers(machine):
    """Versions by the names that peers have in contests."""
    names = dict.fromkeys(("opencv", "opencv's blobs"), "opencv-python-headless")
    names |= {"DALI": "nvidia-dali-cuda120"}
    versions = machine["versions"]
    return {
        peer: versions[names.get(peer, peer)] for peer in chart.COLOURS if names.get(peer, peer) in versions
    }


def describe_machine():
    versions = {}
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return {
        "processor": processor(),
        "second-level cache": second_level_cache(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions,
        "roicy": roicy.show_config(mode="dicts"),
    }


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    facts = dict(re.split(r"\s*:\s*", line, maxsplit=1) for line in reversed(lines) if ":" in line)
    if "model name" not in facts:
        return platform.machine()
    return f"{facts['model name']} (family {facts.get('cpu family')}, model {facts.get('model')})"


def second_level_cache():
    """The size of one core's, as the system writes it."""
    with suppress(OSError):
        return Path("/sys/devices/system/cpu/cpu0/cache/index2/size").read_text().strip()
    return "unknown"
