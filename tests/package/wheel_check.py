"""What a built wheel weighs, and what importing it costs: the last step of ``make wheel``.

    python tests/package/wheel_check.py dist/roicy-*.whl

It measures the roicy that this Python has installed, in fresh processes, against importing NumPy alone.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

#: What a wheel may weigh, in bytes, and what importing it may add to importing NumPy, in seconds.
MOST_BYTES, MOST_SECONDS = 2_000_000, 0.030
ROUNDS = 15


def seconds(statement, folder):
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True, cwd=folder)
    return time.perf_counter() - begin


def main(wheel):
    size = Path(wheel).stat().st_size
    with tempfile.TemporaryDirectory() as folder:
        seconds("import numpy, roicy", folder)
        # in turn, so that what else the machine does weighs on both
        pairs = [
            (seconds("import numpy", folder), seconds("import numpy, roicy", folder)) for _ in range(ROUNDS)
        ]
    added = statistics.median(both - alone for alone, both in pairs)
    print(f"{wheel}: {size / 1e6:.2f} MB (at most {MOST_BYTES / 1e6:.0f})")
    print(f"import roicy: {added * 1e3:.0f} ms beyond NumPy (at most {MOST_SECONDS * 1e3:.0f})")
    return int(size > MOST_BYTES or added > MOST_SECONDS)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
