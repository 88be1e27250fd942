"""Ratios of times that are kept, and what has become slower since: ``--check`` and ``--update-baseline``.

A ratio is the time of one contestant over that of another one in the same run: roicy's over a peer's, or that
of a call of roicy over that of another call. Neighbours and clocks slow both down alike. Ratios depend on the
machine all the same, on its instructions and its caches: there is a baseline for each kind of machine.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from statistics import median

FILE = Path(__file__).parent / "baseline.json"
# A ratio has changed if it has by this much, and by several times of what it did between the baseline's runs.
LEAST, SPREADS = 0.25, 3
# What of a machine and of a run must be the same.
MACHINE = ("processor", "second-level cache", "level")
CONDITIONS = ("threads", "fresh", "quick")


@dataclass(frozen=True)
class Change:
    """A ratio, what it was, and what it may be."""

    name: str  # of the contest
    this: str
    that: str
    before: float
    now: float
    tolerance: float

    @property
    def factor(self):
        return self.now / self.before

    @property
    def slower(self):
        return self.factor > 1 + self.tolerance

    @property
    def faster(self):
        return self.factor < 1 / (1 + self.tolerance)


def ratios(results):
    """The ratios of a run: by contest, contestant and whom it is compared with."""
    found = {}
    for result in results:
        (subject, own), *others = result["seconds"].items()
        for name, seconds in others:
            found[result["name"], subject, name] = own / seconds
    return found


def summary(runs):
    """Of the ratios of several runs the medians, and how far from them a run is at the most, relatively."""
    found = {}
    for key in dict.fromkeys(key for run in runs for key in run):
        values = [run[key] for run in runs if key in run]
        middle = median(values)
        spread = max(max(value / middle, middle / value) - 1 for value in values)
        found[key] = {"ratio": middle, "spread": spread}
    return found


def better(one, other):
    """Of the ratios of two runs the lower ones: what is slow by chance is so in one of them."""
    return {key: min(value, other.get(key, math.inf)) for key, value in one.items()}


def changes(kept, now):
    """The changes of all ratios that there were before, the worst first."""
    found = [
        Change(*key, kept[key]["ratio"], value, max(LEAST, SPREADS * kept[key]["spread"]))
        for key, value in now.items()
        if key in kept
    ]
    return sorted(found, key=lambda change: -change.factor)


def restless(measured):
    """How many ratios lay so far apart that a change has to be larger than usual to be seen."""
    return sum(SPREADS * values["spread"] > LEAST for values in measured.values())


# ---------------------------------------------------------------- the file


def kind(machine, options):
    """What must be the same for ratios to be comparable."""
    facts = {**machine, "level": machine["roicy"]["CPU"]["level"]}
    return {name: facts[name] for name in MACHINE} | {name: options[name] for name in CONDITIONS}


def load(path):
    return json.loads(path.read_text()) if path.exists() else []


def find(baselines, wanted):
    """The baseline of a kind of machine and run, or None."""
    for baseline in baselines:
        if baseline["kind"] == wanted:
            return baseline
    return None


def kept(baseline):
    """The ratios of a baseline, with their spreads."""
    return {(it["contest"], it["this"], it["that"]): it for it in baseline["ratios"]}


def updated(baselines, wanted, measured, date, versions):
    """The baselines with these ratios in that of this kind, where they take the place of older ones.

    With each goes when it was measured, and the version of the peer.
    """
    old = find(baselines, wanted)
    entries = kept(old) if old else {}
    for (contest, this, that), values in measured.items():
        entry = {"contest": contest, "this": this, "that": that}
        entry |= {name: float(f"{value:.3g}") for name, value in values.items()}
        entry |= {"date": date, "version": versions.get(that, "")}
        entries[contest, this, that] = entry
    new = {"kind": wanted, "ratios": list(entries.values())}
    return [new if baseline is old else baseline for baseline in baselines] + [new] * (old is None)


def save(path, baselines):
    """Write the file with a line per ratio, so that a difference can be read."""
    blocks = []
    for baseline in baselines:
        lines = ",\n".join(f"  {json.dumps(entry)}" for entry in baseline["ratios"])
        blocks.append(f'{{"kind": {json.dumps(baseline["kind"])}, "ratios": [\n{lines}\n]}}')
    path.write_text("[" + ",\n".join(blocks) + "]\n")


# ---------------------------------------------------------------- words


def describe(wanted):
    """A kind of machine and run in words."""
    machine = (
        f"{wanted['processor']}, {wanted['second-level cache']} second-level cache, level {wanted['level']}"
    )
    threads = wanted["threads"]
    run = (
        f"{threads} thread{'s' * (threads != 1)}"
        + ", new outputs" * wanted["fresh"]
        + ", quick" * wanted["quick"]
    )
    return f"{machine}; {run}"


def missing(baselines, wanted):
    """What to say where there is no baseline of this kind."""
    lines = [f"no baseline for this kind of machine and run: {describe(wanted)}"]
    lines += [f"there is one for: {describe(baseline['kind'])}" for baseline in baselines]
    return [*lines, "--update-baseline makes one; ratios of other machines say little about this one"]


def rows(found):
    """A row of the table per change."""
    for change in found:
        verdict = "slower" if change.slower else "faster" if change.faster else ""
        yield [
            change.name,
            f"{change.this} / {change.that}",
            f"{change.before:.3g}",
            f"{change.now:.3g}",
            f"{100 * (change.factor - 1):+.0f} %",
            f"{100 * change.tolerance:.0f} %",
            verdict,
        ]


def remarks(found, entries, now, versions):
    """Lines below the table: how many ratios were compared, with what, and what is slower by how much."""
    slower, faster = ([it for it in found if getattr(it, name)] for name in ("slower", "faster"))
    yield (
        f"{len(found)} of the {len(entries)} ratios of the baseline compared: {len(slower)} slower, "
        f"{len(faster)} faster, the others within their tolerance"
    )
    if new := len(now.keys() - entries.keys()):
        yield f"not in the baseline: {new} ratio{'s' * (new > 1)}"
    older = {(it.that, entries[it.name, it.this, it.that]["version"]) for it in found}
    for name, version in sorted(older):
        if version and versions[name] != version:
            yield f"{name} was {version} and is {versions[name]}: a change of its ratios may be its doing"
    for change in slower:
        yield (
            f"slower: {change.name}, {change.this} against {change.that}: "
            f"{change.factor:.2f} times what it was, which is beyond {1 + change.tolerance:.2f}"
        )
