"""Results held against another implementation's, and the table of the worst differences that pytest prints.

What a test compared is kept among its item's user properties, which travel with its reports: also from the
processes of pytest-xdist.
"""

import importlib
import warnings
from importlib import metadata

import numpy as np
import pytest
from closeness import RELATIVE_BOUND, assert_close, assert_same_bits, assert_same_sums

PROPERTY = "parity"
SAME_BITS = 0.0  # as a bound
#: Distributions whose modules have another name.
DISTRIBUTIONS = {"cv2": "opencv-python-headless"}
#: Half precision: both round a float32 sum, so at the most they are neighbours.
NEIGHBOURS = {"float16": 2.0**-10, "bfloat16": 2.0**-7}


class Parity:
    """What a test has of peers: whether they are there, and how far off their results are."""

    def __init__(self, properties):
        self._properties = properties

    def needs(self, *modules, version=None):
        """Skip the test where one of them cannot be imported; the first is the peer, others serve it.

        Or where the peer is older than a version (major, minor), which has not what the test is about.
        """
        for module in modules:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    importlib.import_module(module)
            except ModuleNotFoundError:
                self._skip(modules[0], f"{module} is not installed")
            except (
                ImportError,
                RuntimeError,
                OSError,
            ) as error:  # as where torch's and torchvision's builds differ
                self._skip(modules[0], f"{module} cannot be imported: {error}")
        found = installed(modules[0])
        if version and tuple(map(int, found.split(".")[:2])) < version:
            self._skip(modules[0], f"{found} has no such operator")

    def _skip(self, peer, reason):
        self._properties.append((PROPERTY, {"peer": peer, "missing": reason}))
        pytest.skip(reason)

    def close(self, what, peer, ours, theirs, *, bound=None):
        """Hold our result against the peer's, within a bound relative to its largest value.

        ``what`` is the operator and the pass in words. Without a bound, it is the one that the reference is
        held to: room for rounding and for nothing else.
        """
        half = ours.dtype.name in NEIGHBOURS
        limit = bound or (NEIGHBOURS if half else RELATIVE_BOUND)[ours.dtype.name]
        self._note(what, peer, ours, theirs, limit)
        if half:
            assert_same_sums(ours, theirs)
        elif bound is None:
            assert_close(ours, theirs.astype(np.float64))
        else:
            assert ours.shape == theirs.shape
            assert difference(ours, theirs) <= bound

    def same(self, what, peer, ours, theirs):
        """Hold our result against the peer's to the bit."""
        self._note(what, peer, ours, theirs, SAME_BITS)
        assert_same_bits(ours, theirs)

    def _note(self, what, peer, ours, theirs, bound):
        operator, name = what.split(": ")
        record = {
            "operator": operator,
            "pass": name,
            "peer": peer,
            "version": installed(peer.split()[0]),
            "dtype": ours.dtype.name,
            "difference": difference(ours, theirs) if ours.shape == theirs.shape else np.inf,
            "bound": float(bound),
        }
        self._properties.append((PROPERTY, record))


def difference(ours, theirs):
    """The largest difference over the largest value; infinite where only one of them is NaN."""
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    if not np.array_equal(np.isnan(ours), np.isnan(theirs)):
        return float("inf")
    largest = np.abs(np.nan_to_num(theirs)).max(initial=0.0)
    worst = np.abs(np.nan_to_num(ours - theirs)).max(initial=0.0)
    if not worst:
        return 0.0
    return float(worst / largest) if largest else float("inf")


def installed(module):
    """The version of a peer, without what a build adds to it."""
    try:
        version = metadata.version(DISTRIBUTIONS.get(module, module))
    except metadata.PackageNotFoundError:
        version = importlib.import_module(module).__version__
    return version.partition("+")[0]


# ---------------------------------------------------------------- the table

COLUMNS = ("operator", "pass", "peer", "dtype", ">problems", ">worst", ">bound")


def records(reports):
    """What the tests of these reports noted: comparisons, and for each peer why tests were skipped."""
    noted = [
        value
        for report in reports
        if _is_last(report)
        for name, value in report.user_properties
        if name == PROPERTY
    ]
    return [it for it in noted if "missing" not in it], [it for it in noted if "missing" in it]


def _is_last(report):
    # a test's report of its call has everything, and where it did not come to that, the one of the skip
    phase = getattr(report, "when", None)
    return phase == "call" or (phase == "setup" and report.skipped)


def rows(comparisons):
    """One row per operator, pass, peer and dtype, with the widest bound; marked where one was not kept."""
    groups = {}
    for it in comparisons:
        key = it["operator"], it["pass"], f"{it['peer']} {it['version']}", it["dtype"]
        groups.setdefault(key, []).append(it)
    for key, group in sorted(groups.items()):
        worst, bound = max(it["difference"] for it in group), max(it["bound"] for it in group)
        kept = all(it["difference"] <= it["bound"] for it in group)
        yield [
            *key,
            str(len(group)),
            (f"{worst:.1e}" if worst else "0") + " !" * (not kept),
            f"{bound:.1e}" if bound else "same bits",
        ]


def left_out(missing):
    """A line per peer and reason, with the number of tests that were skipped for it."""
    counts = {}
    for it in missing:
        counts[it["peer"], it["missing"]] = counts.get((it["peer"], it["missing"]), 0) + 1
    return [f"{peer}: {count} left out, {reason}" for (peer, reason), count in sorted(counts.items())]


def lines(reports):
    """The table as lines of text; none where no test of parity ran."""
    comparisons, missing = records(reports)
    found = []
    if comparisons:
        names = [column.lstrip(">") for column in COLUMNS]
        body = list(rows(comparisons))
        widths = [max(len(row[i]) for row in [names, *body]) for i in range(len(names))]
        for row in [names, ["-" * width for width in widths], *body]:
            cells = [
                text.rjust(width) if column.startswith(">") else text.ljust(width)
                for text, width, column in zip(row, widths, COLUMNS, strict=True)
            ]
            found.append("  ".join(cells).rstrip())
    return found + left_out(missing)
