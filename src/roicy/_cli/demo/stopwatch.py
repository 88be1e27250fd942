"""How long the calls of the demo take."""

import time
from statistics import median

ROUNDS = 25


class Stopwatch:
    """Times calls and keeps a row of the demo's table for each."""

    def __init__(self):
        self.rows = []

    def time(self, words, function, features, *arguments, **options):
        """Call ``function(features, ...)`` some times, note the median and return the result."""
        timings = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            result = function(features, *arguments, **options)
            timings.append(time.perf_counter() - start)
        shapes = [_described(features), _described(result)]
        self.rows.append([f"{function.__name__}, {words}", *shapes, f"{1e3 * median(timings):.3f}"])
        return result


def _described(features):
    if isinstance(features, list):
        return f"{_described(features[0])} and {len(features) - 1} coarser"
    return f"{features.dtype} {features.shape}"
