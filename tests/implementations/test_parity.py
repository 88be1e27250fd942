"""The table of parity: its entries, its summary, and that a difference fails."""

from types import SimpleNamespace

import numpy as np
import pytest

from implementations import parity as table

pytestmark = pytest.mark.thread_unsafe(reason="the notes of a test are in one list")
ONES = np.ones((2, 3), np.float32)


@pytest.fixture
def noted():
    return []


@pytest.fixture
def parity(noted):
    """One whose notes are not those of a test, so that they stay out of the table of this run."""
    return table.Parity(noted)


def report(properties, when="call", skipped=False):
    return SimpleNamespace(user_properties=properties, when=when, skipped=skipped)


def test_a_result_within_its_bound(parity, noted):
    parity.close("roi_align avg: forward", "numpy", ONES, ONES * np.float32(1 + 1e-6))
    ((name, record),) = noted
    assert name == "parity"
    assert record["operator"] == "roi_align avg"
    assert record["pass"] == "forward"
    assert record["version"] == np.__version__.partition("+")[0]
    assert record["dtype"] == "float32"
    assert record["difference"] == pytest.approx(1e-6, rel=0.1)
    assert record["bound"] == 3e-6


@pytest.mark.parametrize("dtype, off", [("float32", 1e-5), ("float64", 1e-13), ("float16", 4e-3)])
def test_a_result_that_is_off_fails_and_is_noted(dtype, off, parity, noted):
    ours = ONES.astype(dtype)
    theirs = (ours * (1 + off)).astype(dtype)
    with pytest.raises(AssertionError):
        parity.close("a: b", "numpy", ours, theirs)
    assert noted[0][1]["difference"] > noted[0][1]["bound"]


def test_a_bound_of_the_test(parity):
    theirs = ONES * np.float32(1 + 1e-4)
    parity.close("a: b", "numpy", ONES, theirs, bound=1.1e-4)
    with pytest.raises(AssertionError):
        parity.close("a: b", "numpy", ONES, theirs, bound=0.9e-4)


def test_differences():
    assert table.difference(ONES, ONES) == 0
    assert table.difference(0 * ONES, 0 * ONES) == 0
    assert table.difference(ONES, 4 * ONES) == 0.75
    assert table.difference(ONES, 0 * ONES) == np.inf
    assert table.difference(ONES, ONES * np.nan) == np.inf


@pytest.mark.parametrize("bound", [None, 1e-3])
def test_nan_and_shapes_must_agree(bound, parity):
    nan = ONES.copy()
    nan[0, 0] = np.nan
    parity.close("a: b", "numpy", nan, nan, bound=bound)
    for theirs in (nan, ONES[:1]):
        with pytest.raises(AssertionError):
            parity.close("a: b", "numpy", ONES, theirs, bound=bound)


def test_bits(parity, noted):
    parity.same("a: b", "numpy", ONES, ONES)
    with pytest.raises(AssertionError):
        parity.same("a: b", "numpy", ONES, np.nextafter(ONES, np.float32(2)))
    assert [record["difference"] > 0 for _, record in noted] == [False, True]


def test_a_peer_that_is_missing_or_old(parity, noted):
    parity.needs("numpy", "numpy.linalg", version=(1, 0))
    with pytest.raises(pytest.skip.Exception, match="not_there is not installed"):
        parity.needs("numpy", "not_there")
    with pytest.raises(pytest.skip.Exception, match="no such operator"):
        parity.needs("numpy", version=(1000, 0))
    assert [record["peer"] for _, record in noted] == ["numpy", "numpy"]


def test_the_table(parity, noted):
    parity.close("roi_align: forward", "numpy", ONES, ONES * np.float32(1 + 1e-6))
    parity.close("roi_align: forward", "numpy", ONES, ONES, bound=1e-5)
    parity.same("roi_pool: forward", "numpy", ONES, ONES)
    with pytest.raises(AssertionError):
        parity.same("roi_pool: argmax", "numpy", ONES, 2 * ONES)
    for _ in range(2):
        with pytest.raises(pytest.skip.Exception):
            parity.needs("not_there")
    header, rule, align, argmax, pool, missing = table.lines([report(noted)])
    numpy = f"numpy {np.__version__.partition('+')[0]}"
    assert header.split() == ["operator", "pass", "peer", "dtype", "problems", "worst", "bound"]
    assert set(rule) == {"-", " "}
    assert align.split("  ")[0] == "roi_align"
    assert align.split()[-3:] == ["2", "9.5e-07", "1.0e-05"]
    assert numpy in align
    assert argmax.split()[-5:] == ["1", "5.0e-01", "!", "same", "bits"]
    assert pool.split()[-4:] == ["1", "0", "same", "bits"]
    assert missing == "not_there: 2 left out, not_there is not installed"


def test_each_test_counts_once(parity, noted):
    """Its properties are in the reports of all its phases."""
    parity.same("a: b", "numpy", ONES, ONES)
    reports = [report([], "setup"), report(noted), report(noted, "teardown"), SimpleNamespace()]
    assert len(table.records(reports)[0]) == 1


def test_a_skip_before_the_call_is_counted(noted):
    parity = table.Parity(noted)
    with pytest.raises(pytest.skip.Exception):
        parity.needs("not_there")
    assert table.lines([report(noted, "setup", skipped=True), report(noted, "teardown")]) == [
        "not_there: 1 left out, not_there is not installed"
    ]


def test_no_table_without_parity():
    assert table.lines([report([]), report([("other", 1)])]) == []
