"""Arrays that behave as CuPy's do where those differ from NumPy's, on the processor's memory.

What the library does with CuPy arrays is run with these on machines without a GPU: `install` puts a module
in the place of ``cupy`` whose arrays are no NumPy arrays, cannot become any unasked, have no
``flags.writeable``, count each time that a program would wait for the device, and hold garbage until they
are written. Of CuPy's functions the module has those in `FUNCTIONS` and no others, so that using another one
shows.
"""

import sys
import types

import numpy as np

from cuda_host.module import HostModule

#: Functions that take arrays, and that CuPy has with the arguments that are used here.
FUNCTIONS = frozenset(
    (
        "arange",
        "argsort",
        "ascontiguousarray",
        "ceil",
        "clip",
        "concatenate",
        "copyto",
        "cumsum",
        "divmod",
        "einsum",
        "floor",
        "fmax",
        "fmin",
        "isfinite",
        "isnan",
        "matmul",
        "maximum",
        "minimum",
        "moveaxis",
        "multiply",
        "nan_to_num",
        "ogrid",
        "ones",
        "repeat",
        "rint",
        "sign",
        "sqrt",
        "square",
        "stack",
        "sum",
        "tile",
        "trunc",
        "where",
        "zeros",
        "zeros_like",
    )
)


class Waits:
    """How often a program would have waited for the device."""

    count = 0


def _unwrapped(value):
    if isinstance(value, ndarray):
        return value._array
    if isinstance(value, (list, tuple)):
        return type(value)(map(_unwrapped, value))
    if isinstance(value, dict):
        return {key: _unwrapped(item) for key, item in value.items()}
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    return value


def _wrapped(value):
    if isinstance(value, (np.ndarray, np.generic)):
        return ndarray(np.asarray(value))
    if isinstance(value, (list, tuple)):
        return type(value)(map(_wrapped, value))
    return value


def _waits():
    Waits.count += 1


def _tuple(index):
    return index if isinstance(index, tuple) else (index,)


class ndarray:
    """An array that only the functions of its own library take."""

    __array_ufunc__ = None

    def __init__(self, array, device=0, memory=None):
        if memory is not None:  # the arguments are a shape, a dtype and where the items are
            array, device = memory.array(array, device), 0
        self._array = array
        self._device = device

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    shape = property(lambda self: self._array.shape)
    dtype = property(lambda self: self._array.dtype)
    strides = property(lambda self: self._array.strides)
    size = property(lambda self: self._array.size)
    ndim = property(lambda self: self._array.ndim)
    itemsize = property(lambda self: self._array.itemsize)
    nbytes = property(lambda self: self._array.nbytes)
    T = property(lambda self: ndarray(self._array.T))
    data = property(lambda self: types.SimpleNamespace(ptr=self._array.ctypes.data))
    device = property(lambda self: types.SimpleNamespace(id=self._device))

    @property
    def flags(self):
        flags = self._array.flags
        return types.SimpleNamespace(
            c_contiguous=flags.c_contiguous, f_contiguous=flags.f_contiguous, owndata=flags.owndata
        )

    def get(self):
        _waits()
        return self._array.copy()

    def __int__(self):
        _waits()
        return int(self._array)

    def __float__(self):
        _waits()
        return float(self._array)

    def __bool__(self):
        _waits()
        return bool(self._array)

    __index__ = __int__

    def item(self):
        _waits()
        return self._array.item()

    def tolist(self):
        _waits()
        return self._array.tolist()

    def __len__(self):
        return len(self._array)

    def __iter__(self):
        return (ndarray(np.asarray(item)) for item in self._array)

    def __repr__(self):
        _waits()
        return repr(self._array)

    def __getitem__(self, index):
        index = _tuple(_unwrapped(index))
        if any(isinstance(part, np.ndarray) and part.dtype == bool for part in index):
            _waits()  # how many are chosen is the shape of the result
        if all(isinstance(part, int) for part in index):
            index = (*index, ...)  # a view, also where NumPy would give a number
        return ndarray(self._array[index], self._device)

    def __setitem__(self, index, value):
        if isinstance(value, np.ndarray) and value.ndim:
            raise ValueError("non-scalar numpy.ndarray cannot be used for setitem")
        index = _unwrapped(index)
        if any(isinstance(part, np.ndarray) and part.dtype == bool for part in _tuple(index)):
            _waits()  # as CuPy 14 does on a device, where the value is a number, too
        self._array[index] = _unwrapped(value)

    def transpose(self, *axes):
        return ndarray(self._array.transpose(*axes))

    def reshape(self, *shape):
        return ndarray(self._array.reshape(*shape))

    def ravel(self):
        return ndarray(self._array.ravel())

    def view(self, dtype):
        return ndarray(self._array.view(dtype), self._device)

    def copy(self, order="C"):
        return ndarray(self._array.copy(order))

    def astype(self, dtype, order="K", *, copy=True):
        with np.errstate(all="ignore"):
            return ndarray(self._array.astype(dtype, order=order, copy=copy))

    def sum(self, axis=None, dtype=None, keepdims=False):
        return _wrapped(self._array.sum(axis=axis, dtype=dtype, keepdims=keepdims))

    def clip(self, least, most):
        return ndarray(self._array.clip(least, most))

    def max(self, axis=None):
        return _wrapped(self._array.max(axis=axis))

    def min(self, axis=None):
        return _wrapped(self._array.min(axis=axis))

    def any(self, axis=None):
        return _wrapped(self._array.any(axis=axis))

    def all(self, axis=None):
        return _wrapped(self._array.all(axis=axis))


def _binary(name):
    def operator(self, other):
        other = _unwrapped(other)
        with np.errstate(all="ignore"):
            return _wrapped(getattr(self._array, name)(other))

    operator.__name__ = name
    return operator


_COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")
for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor", *_COMPARISONS):
    setattr(ndarray, f"__{_name}__", _binary(f"__{_name}__"))
    if _name not in _COMPARISONS:
        setattr(ndarray, f"__r{_name}__", _binary(f"__r{_name}__"))
        setattr(ndarray, f"__i{_name}__", _binary(f"__i{_name}__"))
ndarray.__neg__ = lambda self: ndarray(-self._array)
ndarray.__invert__ = lambda self: ndarray(~self._array)
ndarray.__abs__ = lambda self: ndarray(abs(self._array))
ndarray.__hash__ = None
ndarray.__module__ = "cupy"


class Memory:
    """`cupy.cuda.MemoryPointer`, to garbage."""

    def __init__(self, items):
        self._items = items

    ptr = property(lambda self: self._items.ctypes.data)

    def __add__(self, count):
        return Memory(self._items[count:])

    def array(self, shape, dtype):
        return np.ndarray(shape, dtype, self._items)


def _alloc(size):
    items = np.full(size + 512, 0xA5, np.uint8)
    return Memory(items[-items.ctypes.data % 512 :][:size])


class RawModule:
    """`cupy.RawModule` over the host build."""

    def __init__(self, *, code, options):
        self._module = HostModule(code=code, options=options)

    def get_function(self, name):
        function = self._module.get_function(name)

        def launch(grid, block, arguments, *, shared_mem=0):
            if any(isinstance(argument, np.ndarray) for argument in arguments):
                raise TypeError("a NumPy array was handed to a kernel")
            function(grid, block, tuple(map(_argument, arguments)), shared_mem=shared_mem)

        return launch


def _argument(value):
    if hasattr(value, "arrays"):  # a struct with pointers to arrays
        packed = np.array(value)[()]
        packed.arrays = _unwrapped(value.arrays)
        return packed
    return _unwrapped(value)


def _function(name):
    def function(*arguments, **options):
        with np.errstate(all="ignore"):
            return _wrapped(getattr(np, name)(*_unwrapped(arguments), **_unwrapped(options)))

    return function


def _empty(shape, dtype=float, order="C"):
    array = np.empty(shape, dtype, order)
    array.ravel().view(np.uint8)[:] = 0xA5
    return ndarray(array)


def _from_dlpack(value):
    if value.__dlpack_device__()[0] not in (2, 13):
        raise BufferError("The data is not on a CUDA device.")
    return ndarray(np.from_dlpack(OnHost(value)), value.__dlpack_device__()[1])


def _asarray(value, dtype=None, order=None, **_):
    if hasattr(value, "__cuda_array_interface__"):
        return ndarray(np.asarray(Described(value.__cuda_array_interface__)))
    return ndarray(np.asarray(value._array if isinstance(value, ndarray) else np.array(value), dtype, order))


def _array(value, dtype=None, copy=True, order="K", **_):
    source = value._array if isinstance(value, ndarray) else value
    with np.errstate(all="ignore"):
        return ndarray(np.array(source, dtype, order=order))


class OnHost:
    """What is offered to a device, which here is the processor."""

    def __init__(self, value):
        self._value = value

    def __dlpack_device__(self):
        return 1, 0

    def __dlpack__(self, *, max_version=None, **_):
        return self._value.__dlpack__(stream=1, max_version=max_version)


class Described:
    """What an interface describes, in words that NumPy knows."""

    def __init__(self, interface):
        self.__array_interface__ = {**interface, "version": 3}


class Event:
    """`cupy.cuda.Event`: of a stream, and not over before somebody says so."""

    def __init__(self, stream):
        self.stream, self.captured, self._over = stream, stream.capturing, False

    @property
    def done(self):
        if self.captured or any(stream.capturing for stream in _streams):
            raise RuntimeError("cudaErrorStreamCaptureUnsupported: an event is asked that may not be")
        return self._over

    @done.setter
    def done(self, over):
        self._over = over


_streams = []  # those in use, the innermost one last


class Stream:
    """`cupy.cuda.Stream`, which runs nothing, and knows what it was told to wait for."""

    def __init__(self):
        self.waits_for, self.capturing = [], False

    def __enter__(self):
        _streams.append(self)
        return self

    def __exit__(self, *_):
        _streams.pop()

    def begin_capture(self):
        self.capturing = True

    def end_capture(self):
        self.capturing = False

    def is_capturing(self):
        return self.capturing

    def record(self):
        return Event(self)

    def wait_event(self, event):
        if event.captured != self.capturing:
            raise RuntimeError("cudaErrorStreamCaptureIsolation: an event of a graph and one of none")
        self.waits_for.append(event)


def module():
    """Return a new module that stands for ``cupy``, with one device that has number 0."""
    found = types.ModuleType("cupy")
    found.__version__ = "14.0.0"
    found.ndarray, found.RawModule = ndarray, RawModule
    found.empty, found.asarray, found.array = _empty, _asarray, _array
    found.from_dlpack = _from_dlpack
    found.asnumpy = lambda array: array.get()
    for name in FUNCTIONS:
        setattr(found, name, _function(name))
    for name in (
        "newaxis",
        "float32",
        "float64",
        "int32",
        "int64",
        "uint8",
        "float16",
        "bool_",
        "inf",
        "nan",
    ):
        setattr(found, name, getattr(np, name))
    as_strided = np.lib.stride_tricks.as_strided
    found.lib = types.SimpleNamespace(
        stride_tricks=types.SimpleNamespace(
            as_strided=lambda array, shape, strides: ndarray(as_strided(array._array, shape, strides))
        )
    )
    runtime = types.SimpleNamespace(
        getDevice=lambda: 0,
        getDeviceCount=lambda: 1,
        getDeviceProperties=lambda _: {"name": b"processor", "major": 9, "minor": 0},
        driverGetVersion=lambda: 13000,
        runtimeGetVersion=lambda: 13000,
    )
    usual = Stream()  # where none is in use
    found.cuda = types.SimpleNamespace(
        alloc=None,  # each array of a table is one, that an access beside it shows
        runtime=runtime,
        nvrtc=types.SimpleNamespace(getVersion=lambda: (13, 0)),
        is_available=lambda: True,
        Stream=Stream,
        get_current_stream=lambda: [usual, *_streams][-1],
    )
    found._core = types.SimpleNamespace(core=types.SimpleNamespace())
    return found


def install(monkeypatch, by_address=False):
    """Put such a module in the place of ``cupy`` for a test and return it.

    Kernels are told of arrays, or, as those of a device are, of addresses alone: then there are no fences.
    """
    from roicy import cuda

    found = module()
    if by_address:
        found.cuda.alloc = _alloc
        monkeypatch.setattr(HostModule, "fences", None)
    monkeypatch.setitem(sys.modules, "cupy", found)
    cuda.kernels.cache_clear()
    monkeypatch.setattr(Waits, "count", 0)
    return found
