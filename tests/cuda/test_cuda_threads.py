"""Recordings of a GPU's calls in several threads: each has the launches of its own call, and all of them."""

import shutil
import threading

import numpy as np
import pytest
from closeness import assert_same_bits
from cuda_host import arrays
from cuda_host.arrays import ndarray

import roicy
from roicy import cuda
from roicy.cuda import recording

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")

SHAPE = 2, 5, 6, 9


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    arrays.install(monkeypatch, by_address=True)


def drawn(seed, dtype="float32"):
    return np.random.default_rng(seed).standard_normal(SHAPE).astype(dtype)


def described(call, features):
    return call(ndarray(features.copy()))._array.copy()


def meanwhile(call, features):
    """Make a call in another thread, and wait until it is over."""
    thread = threading.Thread(target=described, args=(call, features))
    thread.start()
    thread.join()


@pytest.mark.parametrize("of_plan", [False, True])
def test_recordings_side_by_side(monkeypatch, of_plan):
    """While a call of a plan is recorded, those of another plan, or of functions, are not recorded."""
    plan, kernels = roicy.rmac_plan(SHAPE), cuda.kernels()
    other = roicy.rmac_plan(SHAPE) if of_plan else roicy.rmac
    expected = [described(roicy.rmac_plan(SHAPE), drawn(seed)) for seed in range(6)]
    launch, others = kernels.launch, []

    def launched(source, kernel, *rest):
        launch(source, kernel, *rest)
        if kernel == "unit" and kernels.recording is not None and not others:
            others.append(other)
            meanwhile(other, drawn(1))

    described(other, drawn(0))
    monkeypatch.setattr(kernels, "launch", launched)
    for call in (plan, other):
        for seed, wanted in enumerate(expected):
            assert_same_bits(described(call, drawn(seed)), wanted)
    assert others
    for again in (kernels.again, *plan._repeated.values(), *(other._repeated.values() if of_plan else ())):
        assert None not in again._calls.values()  # which says that a call cannot be repeated


def test_tables_that_are_added_meanwhile(monkeypatch):
    """A plan notes its tables while another thread uses it with maps of another dtype."""
    plan, noted, added = roicy.rmac_plan(SHAPE), recording.Recording.shares, []

    def shares(*arguments):
        noted(*arguments)
        if not added:
            added.append(plan)
            meanwhile(plan, drawn(0, "float64"))

    monkeypatch.setattr(recording.Recording, "shares", shares)
    for seed in range(4):
        expected = described(roicy.rmac_plan(SHAPE), drawn(seed))
        assert_same_bits(described(plan, drawn(seed)), expected)
    assert added


def test_a_recording_that_ends_while_another_thread_asks(monkeypatch):
    """A thread whose call is not recorded asks whether boxes are valid when the recording is over."""
    kernels = cuda.kernels()
    features, boxes = drawn(0), np.array([[0, 0, 0, 4, 4], [1, 1, 1, 5, 5]], np.float32)
    begun, asked = threading.Event(), threading.Event()
    launch, captures, threads = kernels.launch, kernels.captures, []

    def pool(images):
        return roicy.roi_align(images, ndarray(boxes.copy()), 2)

    def launched(*arguments):
        if threading.current_thread() in threads:
            begun.set()
            assert asked.wait(60)
        launch(*arguments)

    def captured():
        if kernels.recording is not None and threading.current_thread() not in threads:
            asked.set()
            threads[0].join(60)
            assert kernels.recording is None
        return captures()

    expected = described(pool, features)
    monkeypatch.setattr(kernels, "launch", launched)
    monkeypatch.setattr(kernels, "captures", captured)
    threads.append(threading.Thread(target=described, args=(pool, features)))
    threads[0].start()
    assert begun.wait(60)
    assert_same_bits(described(pool, features), expected)
    assert asked.is_set()
