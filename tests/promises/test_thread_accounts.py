"""Waits for other threads are measured: helpers that cost more than they save are not used."""

import os
from threading import Barrier, Thread

import numpy as np
import pytest

import roicy
from roicy.cpu.runtime import parallel

fork_only = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")


@pytest.fixture
def accounts():
    """Let the cost of waits decide, starting from zero; switch that off after the test."""
    parallel.keep_accounts(True)
    parallel.settle(-1, 0)
    yield parallel.settle
    parallel.settle(-1, 0)


def calls_alone(settle, seconds=0.001):
    """How many calls of this many seconds pass until calls use helpers again; at most 10000."""
    for number in range(10000):
        if parallel.helping():
            return number
        settle(0, seconds)
    return 10000


def test_helpers_that_cost_next_to_nothing_stay(accounts):
    for _ in range(1000):
        accounts(0.00004, 0.001)
        assert parallel.helping()


def test_helpers_may_cost_a_little_at_once_and_not_again(accounts):
    accounts(0.015, 0.016)
    assert parallel.helping()
    accounts(0.015, 0.016)
    assert not parallel.helping()


def test_calls_go_on_alone_until_what_was_lost_is_a_twentieth_of_their_time(accounts):
    accounts(0.03, 0)
    assert not parallel.helping()
    assert calls_alone(accounts) == pytest.approx(200, abs=2)


@pytest.mark.parametrize("lost", [0.1, 10, 1e9])
def test_no_wait_is_remembered_for_more_than_some_tenths_of_a_second(accounts, lost):
    accounts(lost, lost)
    assert calls_alone(accounts) == pytest.approx(600, abs=2)


def test_what_helpers_save_makes_up_for_what_they_cost(accounts):
    accounts(0.03, 0)
    accounts(-0.02, 0.01)
    assert parallel.helping()
    for _ in range(1000):
        accounts(-0.0005, 0.0005)
    accounts(0.03, 0.03)  # but is not laid by
    assert not parallel.helping()


def test_of_all_time_a_twentieth_may_be_lost(accounts):
    rng = np.random.default_rng(0)
    lost = total = 0
    for seconds in rng.exponential(0.002, 20000):
        wait = min(seconds / 2, rng.exponential(0.001)) if parallel.helping() else 0
        accounts(wait, seconds)
        lost, total = lost + wait, total + seconds
    assert 0.04 * total < lost < 0.05 * total + 0.03


def test_calls_of_many_threads_have_the_same_accounts(accounts):
    barrier = Barrier(8)

    def work():
        barrier.wait()
        for _ in range(1000):
            accounts(0.0001, 0.001)
            accounts(-0.0001, 0)

    accounts(0.03, 0)
    threads = [Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert parallel.helping()
    accounts(0.03, 0)
    assert not parallel.helping()


def test_a_busy_machine_gets_one_thread(accounts):
    from roicy.cpu import threads

    with roicy.num_threads(3):
        assert threads.for_call() == 3
        accounts(1, 1)
        assert threads.for_call() == 1
        assert roicy.get_num_threads() == 3


@fork_only
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_knows_that_the_machine_is_busy(accounts):
    accounts(0.03, 0)
    child = os.fork()
    if child == 0:
        busy = not parallel.helping()
        accounts(0, 1)
        os._exit(0 if busy and parallel.helping() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not parallel.helping()  # what the child earns is its own
