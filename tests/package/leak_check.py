"""What is allocated and never freed: the second step of ``make sanitize``, under its address sanitizer.

    LD_PRELOAD=... ASAN_OPTIONS=detect_leaks=1:leak_check_at_exit=0 python tests/package/leak_check.py

What imports and first calls allocate does not count: most of it is Python's and NumPy's own.
"""

import ctypes
import gc
import sys

sanitizer = ctypes.CDLL(None)
sanitizer.__lsan_disable()

import battery  # noqa: E402
import numpy as np  # noqa: E402
from operators import OPERATORS  # noqa: E402

import roicy  # noqa: E402

FUNCTIONS = [function for operator in OPERATORS for function in battery.functions(operator)]


def call_everything():
    """Make every kind of call, on one thread and on two, and some that are refused."""
    for threads in (1, 2):
        with roicy.num_threads(threads):
            for case in battery.SELECTION:
                for function in FUNCTIONS:
                    if battery.takes(function.args[0], case):
                        function(case)
    features, nowhere = np.ones((1, 3, 8, 8), np.float32), np.array([[7, 0, 0, 4, 4]], np.float32)
    for function in (roicy.roi_align, roicy.roi_pool):
        try:
            function(features, nowhere, 2)
        except ValueError:
            continue
        sys.exit("a box of an image that does not exist was pooled")
    gc.collect()


call_everything()
sanitizer.__lsan_enable()
for _ in range(3):
    call_everything()
if sanitizer.__lsan_do_recoverable_leak_check():
    sys.exit("memory was lost: see above")
print("no memory was lost")
