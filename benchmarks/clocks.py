"""Where a race on a GPU is run, and how calls are timed: by CUDA events, or by a CPU's clock for a trial."""

import math
import time
from statistics import median

import numpy as np

COPIED = 1 << 29  # bytes of the array whose copy tells the bandwidth
CALLS = 40  # calls handed over without waiting, to see what handing over costs: few enough for the queue


class Gpu:
    """The CUDA device in use; torch's tensors share the memory of CuPy's arrays."""

    copied = COPIED

    def __init__(self):
        import cupy

        self.xp = cupy
        self._cuda = cupy.cuda
        self.device = cupy.cuda.Device()

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
        """Run the calls one after the other and return the seconds of each on the device."""
        pairs = [(self._cuda.Event(), self._cuda.Event()) for _ in calls]
        for call, (start, stop) in zip(calls, pairs, strict=True):
            start.record()
            call()
            stop.record()
        self.wait()
        return [self._cuda.get_elapsed_time(start, stop) / 1e3 for start, stop in pairs]

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
