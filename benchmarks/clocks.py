"""Where a race on a GPU is run, and how calls are timed: by CUDA events, or by a CPU's clock for a trial.

A GPU works through what is in line on a stream. Where Python takes longer to hand a call over than the GPU to
do it, events before and after the call measure Python. So the calls are put in line while the GPU is busy
with a kernel that only spins: when it comes to them, Python is through.

    Python   spin, call, call, call
    GPU      spin ........................ call call call
"""

import math
import time
from statistics import median

import numpy as np

COPIED = 1 << 29  # bytes of the array whose copy tells the bandwidth
CALLS = 20  # calls handed over without waiting, to see what handing over costs
QUEUED = 8  # calls in line behind the kernel that spins
# The line has room for about 1000 launches; a call of R-MAC's gradient is some forty of them.
AHEAD = 2e-3  # seconds that Python gets at first to put calls in line
ATTEMPTS = 8  # at putting calls in line before the kernel is done
SPIN = r"""
extern "C" __global__ void spin(long long cycles) {
    const long long start = clock64();
    while (clock64() - start < cycles)
        ;
}
"""


class Waits(RuntimeError):
    """A call waits for the device, and has no time there alone."""


class Gpu:
    """The CUDA device in use; torch's tensors share the memory of CuPy's arrays."""

    copied = COPIED

    def __init__(self):
        import cupy

        self.xp = cupy
        self._cuda = cupy.cuda
        self.device = cupy.cuda.Device()
        self._spin = cupy.RawKernel(SPIN, "spin")
        self._spin((1,), (1,), (np.int64(0),))  # compiles
        self._cycles_per_second = 1.5e9  # corrected with each use
        self._ahead = AHEAD

    def describe(self):
        runtime = self._cuda.runtime
        properties = runtime.getDeviceProperties(self.device.id)
        return {
            "device": properties["name"].decode(),
            "compute capability": f"{properties['major']}.{properties['minor']}",
            "multiprocessors": properties["multiProcessorCount"],
            "driver": runtime.driverGetVersion(),
            "NVRTC": "{}.{}".format(*self._cuda.nvrtc.getVersion()),
        }

    def input_sets(self, nbytes):
        """How many sets of so many bytes exceed the cache: none is in it when its turn comes."""
        cache = self.device.attributes["L2CacheSize"]
        return max(3, min(32, math.ceil(4 * cache / nbytes)))

    def check_torch(self):
        """Raise ImportError, and say why, where torch's operators cannot take part."""
        import torch
        import torchvision.ops  # noqa: F401

        if not torch.cuda.is_available():
            raise ImportError("torch finds no CUDA device")

    def wait(self):
        self._cuda.runtime.deviceSynchronize()

    def times(self, calls):
        """Run the calls one after the other and return the seconds of each on the device alone."""
        seconds = []
        for first in range(0, len(calls), QUEUED):
            seconds += self._in_line(calls[first : first + QUEUED])
        return seconds

    def _in_line(self, calls):
        for _ in range(ATTEMPTS):
            events = [self._cuda.Event() for _ in range(2 * len(calls) + 2)]
            before_spin, after_spin, *around = events
            before_spin.record()
            self._spin((1,), (1,), (np.int64(self._ahead * self._cycles_per_second),))
            after_spin.record()
            start = time.perf_counter()
            for call, before, after in zip(calls, around[::2], around[1::2], strict=True):
                before.record()
                call()
                after.record()
            python = time.perf_counter() - start
            self.wait()
            spun = self._elapsed(before_spin, after_spin)
            self._cycles_per_second *= self._ahead / spun
            if python < spun:
                self._ahead = max(1e-3, 1.5 * python)
                return list(map(self._elapsed, around[::2], around[1::2]))
            self._ahead = 2 * max(python, self._ahead)
        self._ahead = AHEAD
        raise Waits("a call waits for the device: it cannot be put in line")

    def _elapsed(self, before, after):
        return self._cuda.get_elapsed_time(before, after) / 1e3

    def profile(self, call):
        """Call once, for a profiler that was told to start with nothing."""
        self.wait()
        self._cuda.profiler.start()
        call()
        self.wait()
        self._cuda.profiler.stop()

    def copy(self, target, source):
        target.data.copy_from_device_async(source.data, source.nbytes, self._cuda.get_current_stream())

    def to_host(self, array):
        return self.xp.asnumpy(array)


class Cpu:
    """NumPy in the place of CuPy: the same program on any machine, its figures without meaning."""

    xp = np
    copied = 1 << 22

    def describe(self):
        return {"device": "none: a trial run on the CPU"}

    def input_sets(self, nbytes):
        return 2

    def check_torch(self):
        import torchvision.ops  # noqa: F401

    def wait(self):
        pass

    def times(self, calls):
        seconds = []
        for call in calls:
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
        return seconds

    def profile(self, call):
        call()

    def copy(self, target, source):
        np.copyto(target, source)

    def to_host(self, array):
        return np.asarray(array)


def bandwidth(clock, rounds=9):
    """Bytes per second that a plain copy on the device reads and writes."""
    source, target = (clock.xp.zeros(clock.copied, np.uint8) for _ in range(2))
    calls = [lambda: clock.copy(target, source)] * (rounds + 2)
    return 2 * clock.copied / median(clock.times(calls)[2:])


def handing_over(clock, calls, rounds):
    """The median seconds that Python takes for a call, its result not waited for."""
    seconds = []
    for _ in range(rounds):
        clock.wait()
        start = time.perf_counter()
        for number in range(CALLS):
            calls[number % len(calls)]()
        seconds.append((time.perf_counter() - start) / CALLS)
    clock.wait()
    return median(seconds)
