"""What `make bench` races: every contest runs, and contestants that do the same have the same results."""

from pathlib import Path

import numpy as np
import pytest

import roicy
from roicy._cli import calls
from roicy._cli.workloads import WORKLOADS

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the benchmarks are not beside the tests")


def small(workload):
    """The workload on maps that hold its boxes, with few channels, boxes and bins."""
    images, channels, height, width = workload.input_shape
    shape = (images, min(channels // workload.maps_of_bins, 8), min(height, 240), min(width, 320))
    return workload.smaller(shape, 6, 14)


@pytest.fixture
def contests(monkeypatch):
    """The module, and a race in which each contestant is called once, without a clock."""
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import contests

    raced_alike = []

    def race(makers, make_inputs, rounds, inspect, progress, *, alike):
        raced_alike.append(alike)
        prepared = {name: make(*make_inputs(0)) for name, make in makers.items()}
        for name, call in prepared.items():
            inspect(name, call())
        return dict.fromkeys(makers, 1e-3)

    monkeypatch.setattr(contests, "race", race)
    return contests, raced_alike


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("name", WORKLOADS)
def test_contestants_agree(name, backward, contests):
    import report

    contests, raced_alike = contests
    threads = roicy.get_num_threads()
    try:
        raced = list(contests.against_peers([small(WORKLOADS[name])], 1, False, backward))
        results = [contests.run(contest, 1) for contest in raced]
    finally:
        roicy.set_num_threads(threads)
    assert report.complain(results) == 0
    assert backward or name == "deform_7x7" or results  # which has no peer
    assert not any(raced_alike)


def test_roicy_is_raced_alike_against_itself(contests):
    contests, raced_alike = contests
    raced = list(contests.against_itself([small(WORKLOADS["rmac"])], 1))
    for contest in raced:
        contests.run(contest, 1)
    assert raced and raced_alike == [True] * len(raced)


@pytest.mark.parametrize("name", WORKLOADS)
def test_new_outputs_hold_the_same(name):
    """As `make bench ARGS=--fresh` calls."""
    few = small(WORKLOADS[name])
    rng = np.random.default_rng(0)
    inputs = few.features(rng), few.boxes(rng), few.grad_output(rng)
    for make in calls.passes(few).values():
        if "fresh" in make.__code__.co_varnames:
            reused, new = (make(few, fresh=fresh)(*inputs)() for fresh in (False, True))
            for one, other in zip(*(x if isinstance(x, tuple) else (x,) for x in (reused, new)), strict=True):
                np.testing.assert_array_equal(one, other)


def test_text_is_inside_of_its_picture():
    """Lines and quadrangles: what peers do at the border of a picture plays no part."""
    for name in ("text_line", "text_lines"):
        workload = WORKLOADS[name]
        boxes = workload.boxes(np.random.default_rng(0))
        corners = roicy.rotated_corners(boxes[:, 1:])
        assert corners.min() >= 0
        assert (corners.max((0, 1)) <= workload.input_shape[:1:-1]).all()
        width, height = boxes[:, 3:5].T
        assert (width > 7 * height).all()
        assert np.abs(boxes[:, 5]).max() <= 30
