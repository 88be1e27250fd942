"""Arrays of a device instead of NumPy's, for tests that are written for NumPy."""

import ctypes
import types

import numpy as np


def missing():
    """Return why no CUDA device can be used, or None."""
    try:
        import cupy
    except ImportError as error:
        return f"CuPy cannot be imported: {error}"
    except Warning as warning:  # an error in the tests
        return f"CuPy is not installed as it should be: {warning}"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except RuntimeError as error:
        return f"CuPy finds no CUDA device: {error}"
    return None if count else "there is no CUDA device"


class OnDevice:
    """Stands for a module or an object of the package, with what goes in moved to the device and back.

    Parameters
    ----------
    library : Cupy or StandIn
        The arrays of the device.
    target : object
        What this stands for.
    """

    def __init__(self, library, target):
        self._library, self._target = library, target

    def __getattr__(self, name):
        return self._seen(getattr(self._target, name))

    def __call__(self, *arguments, **options):
        moved = _Moved(self._library)
        try:
            return self._seen(moved.back(self._target(*moved.to(arguments), **moved.to(options))))
        finally:
            moved.write_back(options.get("out"))

    def __repr__(self):
        return repr(self._target)

    def __reduce__(self):  # of its class, not of the one that it stands for
        return OnDevice, (self._library, self._target)

    @property
    def __class__(self):
        return type(self._target)

    def _seen(self, value):
        own = type(value).__module__.partition(".")[0] == "roicy" or isinstance(
            value, (types.ModuleType, types.FunctionType, types.MethodType)
        )
        return OnDevice(self._library, value) if own and not isinstance(value, type) else value


class _Moved:
    """The arrays of a call, those that share memory here sharing it there."""

    def __init__(self, library):
        self._library = library
        self._memory = {}  # by address of what an array is a view of
        self._kept = []  # that no other array comes to lie there
        self._pairs = []  # arrays here and there

    def to(self, value):
        if isinstance(value, (list, tuple)):
            return type(value)(map(self.to, value))
        if isinstance(value, dict):
            return {key: self.to(item) for key, item in value.items()}
        if type(value) is OnDevice:
            return value._target
        return self._array(value) if type(value) is np.ndarray else value

    def _array(self, array):
        for here, there in self._pairs:
            if here is array:
                return there
        given = array
        size, whole = array.itemsize, array
        if array.ctypes.data % size or any(stride % size for stride in array.strides):
            whole = array = array.copy()  # items lie at multiples of their size there
        while isinstance(whole.base, np.ndarray):
            whole = whole.base
        low, high = np.lib.array_utils.byte_bounds(whole) if whole.size else (array.ctypes.data,) * 2
        if low not in self._memory:
            self._kept.append(whole)
            content = np.frombuffer((ctypes.c_char * (high - low)).from_address(low), np.uint8)
            self._memory[low] = self._library.memory(content)
        there = self._library.view(
            self._memory[low], array.ctypes.data - low, array.shape, array.dtype, array.strides
        )
        self._pairs.append((given, there))
        return there

    def back(self, value):
        if isinstance(value, (list, tuple)):
            return type(value)(map(self.back, value))
        for here, there in self._pairs:
            if there is value:
                self.write_back(here)
                return here
        return self._library.numpy(value) if isinstance(value, self._library.ndarray) else value

    def write_back(self, out):
        for one in out if isinstance(out, tuple) else (out,):
            for here, there in self._pairs:
                if here is one and here.flags.writeable:
                    here[...] = self._library.numpy(there)


class Cupy:
    """The arrays of CuPy."""

    def __init__(self, cupy):
        self._cupy = cupy
        self.ndarray = cupy.ndarray

    def __reduce__(self):  # modules are not pickled
        return _with_cupy, ()

    def memory(self, content):
        return self._cupy.asarray(content)

    def view(self, memory, offset, shape, dtype, strides):
        return self._cupy.ndarray(shape, dtype, memory.data + offset, strides)

    def numpy(self, array):
        return self._cupy.asnumpy(array)


def _with_cupy():
    import cupy

    return Cupy(cupy)


class StandIn:
    """The arrays that behave as CuPy's, on the processor."""

    def __init__(self, cupy):
        self.ndarray = cupy.ndarray

    def memory(self, content):
        return content.copy()

    def view(self, memory, offset, shape, dtype, strides):
        return self.ndarray(np.ndarray(shape, dtype, memory, offset, strides))

    def numpy(self, array):
        return array._array.copy()
