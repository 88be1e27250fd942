"""Contestants timed in turn on the same fresh random arrays."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from statistics import median
from typing import Any, TypeAlias

Call: TypeAlias = Callable[[], Any]

SHORTEST = 0.005  # seconds: a call shorter than this is repeated until a timing lasts about as long
SLOW = 0.25  # seconds: a contestant that takes longer than this runs in only some of the rounds
SLOW_ROUNDS = 3


def race(
    contestants: dict[str, Callable[..., Call]],
    make_inputs: Callable[[int], tuple[Any, ...]],
    rounds: int,
    inspect: Callable[[str, Any], object] | None = None,
    progress: Callable[[str, int, int], object] | None = None,
    *,
    alike: bool = False,
) -> dict[str, float]:
    """Time every contestant once per round, each round on arrays of its own.

    Parameters
    ----------
    contestants : dict of str to callable
        ``contestants[name](*inputs)`` prepares a call, untimed, and returns it as a function of no arguments.
    make_inputs : callable
        ``make_inputs(round)`` returns the arrays of a round as a tuple; all contestants get the same ones.
    rounds : int
        Timed rounds. A contestant slower than `SLOW` takes part in `SLOW_ROUNDS` of them, evenly spread.
    inspect : callable, optional
        Called as ``inspect(name, result)`` once per contestant, on the untimed warm-up round.
    progress : callable, optional
        Called as ``progress(name, step, steps)`` before each call.
    alike : bool, optional
        Whether all are called equally often in a round. The first call on new arrays finds less in the caches
        than the next ones: else a short call is the mean of several, a longer one is not.

    Returns
    -------
    dict of str to float
        The median seconds of one call, in the order of `contestants`.
    """
    names = list(contestants)
    steps = len(names) * (rounds + 1)
    repeats: dict[str, int] = {}
    every: dict[str, int] = {}
    inputs = make_inputs(0)
    for step, name in enumerate(names):
        if progress:
            progress(name, step, steps)
        call = contestants[name](*inputs)
        seconds, result = _timed(call)
        if inspect:
            inspect(name, result)
        del result
        if seconds < 4 * SLOW:  # the first call also paid for lazy set-up and for touching new memory
            seconds, _ = _timed(call)
        repeats[name] = max(1, math.ceil(SHORTEST / seconds))
        every[name] = math.ceil(rounds / SLOW_ROUNDS) if seconds > SLOW else 1
    if alike:
        repeats = dict.fromkeys(names, max(repeats.values()))

    timings: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        inputs = make_inputs(number + 1)
        # The first contestant finds colder caches, so the order rotates.
        shift = number % len(names)
        for turn, name in enumerate(names[shift:] + names[:shift]):
            if progress:
                progress(name, len(names) * (number + 1) + turn, steps)
            if number % every[name] == 0:
                call = contestants[name](*inputs)
                timings[name].append(_timed(call, repeats[name])[0])
    return {name: median(timings[name]) for name in names}


def _timed(call: Call, repeats: int = 1) -> tuple[float, Any]:
    result = None
    start = time.perf_counter()
    for _ in range(repeats):
        result = call()
    return (time.perf_counter() - start) / repeats, result
