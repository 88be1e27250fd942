"""How long the calls of the demo take."""

import time

ROUNDS = 25


class Stopwatch:
    """Times calls and keeps a row of the demo's table for each."""

    def __init__(self):
        self.rounds = ROUNDS
        self.rows = []

    def time(self, words, function, features, *arguments, **options):
        """Call ``function(features, ...)`` some times, note the best and return the result."""
        timings = []
        for _ in range(self.rounds):
            start = time.perf_counter()
            result = function(features, *arguments, **options)
            timings.append(time.perf_counter() - start)
        shapes = [_described(features), _described(result)]
        self.rows.append([f"{function.__name__}, {words}", *shapes, in_words(min(timings))])
        return result


def in_words(seconds):
    """Return a duration with three digits that count, in the unit that shows them."""
    for unit, size in (("µs", 1e-6), ("ms", 1e-3)):
        digits = f"{seconds / size:#.3g}"
        if float(digits) < 1000:
            return f"{digits.rstrip('.')} {unit}"
    return f"{seconds:.3g} s"


def _described(features):
    if isinstance(features, list):
        return f"{_described(features[0])} and {len(features) - 1} coarser"
    return f"{features.dtype} {features.shape}"
