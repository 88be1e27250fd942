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
        shapes = [f"{array.dtype} {array.shape}" for array in (features, result)]
        self.rows.append([f"{function.__name__}, {words}", *shapes, f"{1e3 * median(timings):.3f}"])
        return result
