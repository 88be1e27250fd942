"""Which backend serves a call: the memory of its arrays decides, no flag does.

NumPy's and CuPy's arrays are used directly. Any other array is wrapped as one of these over the same memory.
Only lists of numbers, and arrays in a foreign byte order, are copied.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from roicy import _lists
from roicy import cpu as cpu  # an attribute that tests replace
from roicy._arguments import instead
from roicy._arguments.outputs import check_apart
from roicy._lists import Numbers
from roicy._types import Ndarray
from roicy.cpu.runtime.calls import are_plain

if TYPE_CHECKING:
    from roicy._protocols import Backend

_OPTIONAL = frozenset(("argmax", "batch_indices", "levels", "mask", "offsets", "out"))
_BOXES = frozenset(("boxes", "rois", "RoIs"))
_QUADS = frozenset(("corners",))
_INDICES = frozenset(("batch_indices", "levels"))
# Where an array is, in DLPack's numbers of kinds of devices.
_HOST = frozenset((1, 3))  # the processor's memory, and that which is pinned for a GPU
_GPU = frozenset((2, 13))  # CUDA's, and its managed memory


def adopt(**arrays: Any) -> tuple[Backend, *tuple[Any, ...]]:
    """Return the kernels for a call, and its arrays in the order of the arguments as these kernels take them.

    Parameters
    ----------
    **arrays
        The arrays of one call under their public names: NumPy's, CuPy's, or arrays that share their memory by
        DLPack, the buffer protocol or ``__cuda_array_interface__``. ``argmax``, ``batch_indices``,
        ``levels``, ``mask``, ``offsets`` and ``out`` may be None, ``out`` a tuple, ``rois`` a list or tuple
        of arrays. Boxes, batch indices and levels may be lists of numbers (`roicy._lists`).

    Returns
    -------
    kernels : Backend
        What computes on arrays in such memory.
    *arrays
        All NumPy's or all CuPy's, and in native byte order but for ``out``.

    Raises
    ------
    TypeError
        Where an argument is no array, or none whose memory can be shared, or the arguments are mixed.
    ValueError
        Where arrays on GPUs are not all on the device in use.
    ImportError, RuntimeError
        Where arrays on a GPU cannot be handled by this installation or on this machine.
    """
    if are_plain(tuple(arrays), _OPTIONAL, *arrays.values()):
        return cpu, *arrays.values()
    return _adopt(arrays)


def adopted(names: tuple[str, ...], *arrays: Any) -> tuple[Backend, *tuple[Any, ...]]:
    """As `adopt`, with names and arrays apart: a small call has no time for a dictionary."""
    if are_plain(names, _OPTIONAL, *arrays):
        return cpu, *arrays
    found = []
    for name, array in zip(names, arrays, strict=True):
        if array is None and name in _OPTIONAL:
            continue
        if _is_plain_cupy(array):
            found.append((name, array))
        elif name == "out" and type(array) is tuple and all(map(_is_plain_cupy, array)):
            found += [(f"out[{index}]", item) for index, item in enumerate(array)]
        else:
            return _adopt(dict(zip(names, arrays, strict=True)))
    own = _cuda().kernels()
    own.check_arrays(found)
    return own, *arrays


def adopt_single(**arrays: Any) -> tuple[Backend, *tuple[Any, ...]]:
    """As `adopt`, for arguments that are one array each; TypeError if one is several arrays."""
    for name, array in arrays.items():
        if isinstance(array, (list, tuple)):
            arrays[name] = _made_of_lists(name, array)
            if isinstance(arrays[name], (list, tuple)):
                raise TypeError(f"{name} must be one array, got a {type(array).__name__}")
    return adopt(**arrays)


@functools.cache
def _cuda() -> Any:
    # an array on a GPU has arrived
    from roicy import cuda

    return cuda


def _adopt(arrays: dict[str, Any]) -> tuple[Backend, *tuple[Any, ...]]:
    found = list(_each(arrays))
    if found and all(_is_plain_cupy(array) for _, array in found):
        own = _cuda().kernels()
        own.check_arrays(found)
        return own, *arrays.values()
    arrays = {name: _made_of_lists(name, value) for name, value in arrays.items()}
    found = list(_each(arrays))
    placed = [(name, array) for name, array in found if not isinstance(array, Numbers)]
    places = {_is_on_gpu(name, array) for name, array in placed}
    if len(places) == 2:
        kinds = ", ".join(f"{name} ({_type_name(array)})" for name, array in placed)
        raise TypeError(
            f"all arrays of a call must be in host memory, or all on a GPU, got {kinds}: "
            "cupy.asarray(array) moves one there, cupy.asnumpy(array) back"
        )
    kernels: Backend = cpu
    if True in places:
        kernels = device = _cuda().kernels()
        taken = [_as_cupy(name, array, device.xp) for name, array in found]
        device.check_arrays((name, array) for (name, _), array in zip(found, taken, strict=True))
    else:
        shared = [(name, _as_numpy(name, array)) for name, array in found]
        outs = [(name, array) for name, array in shared if name.startswith("out")]
        taken = [_in_native_order(name, array, outs) for name, array in shared]
    following = iter(taken)
    adopted: list[Any] = []
    for name, value in arrays.items():
        if _is_several(name, value):
            adopted.append(tuple(next(following) for _ in value))
        else:
            adopted.append(None if value is None and name in _OPTIONAL else next(following))
    return kernels, *adopted


def _each(arrays: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, array in arrays.items():
        if _is_several(name, array):
            yield from ((f"{name}[{index}]", item) for index, item in enumerate(array))
        elif array is not None or name not in _OPTIONAL:
            yield name, array


def _made_of_lists(name: str, value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        if name in _BOXES:
            return _lists.boxes(name, value)
        if name in _QUADS:
            return _lists.quads(name, value)
        if name in _INDICES:
            return _lists.indices(name, value)
    return value


def _is_several(name: str, value: Any) -> bool:
    return type(value) is tuple and (name in _BOXES or name in _QUADS or name == "out")


def _is_plain_cupy(array: object) -> bool:
    kind = type(array)
    return kind.__name__ == "ndarray" and kind.__module__ == "cupy"


def _is_cupy(array: object) -> bool:
    return type(array).__module__.partition(".")[0] == "cupy"


def _is_on_gpu(name: str, array: Any) -> bool:
    if isinstance(array, np.ndarray) or _is_cupy(array):
        return not isinstance(array, np.ndarray)
    if hasattr(array, "__dlpack_device__"):
        try:
            kind = int(array.__dlpack_device__()[0])
        except Exception as error:  # whatever a library has to say about its own array
            raise _not_shared(name, array, error) from error
        if kind not in _HOST | _GPU:
            raise TypeError(
                f"{name} must be in host memory or on a CUDA device, got a {_type_name(array)} on a "
                f"device of DLPack's kind {kind}"
            )
        return kind in _GPU
    if hasattr(array, "__cuda_array_interface__"):
        return True
    try:
        memoryview(array)
    except TypeError:
        pass
    else:
        if not isinstance(array, np.generic):
            return False
    raise TypeError(
        f"{name} must be a NumPy or CuPy array, or one that shares its memory by DLPack, the buffer protocol "
        f"or __cuda_array_interface__, got {_type_name(array)}{instead.of_no_array(name, array)}"
    )


def _as_numpy(name: str, array: Any) -> Ndarray:
    if isinstance(array, Numbers):
        return array.array
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(
            f"{name} must be a numpy.ndarray without a mask, got a masked array: pass {name}.filled(value) "
            "with what stands for masked items"
        )
    if not isinstance(array, np.ndarray):
        try:
            array = _by_dlpack(array, np) if hasattr(array, "__dlpack__") else np.asarray(memoryview(array))
        except Exception as error:
            raise _not_shared(name, array, error) from error
    return array


def _in_native_order(name: str, array: Ndarray, outs: list[tuple[str, Ndarray]]) -> Ndarray:
    if array.dtype.isnative or name.startswith("out"):  # which is written to
        return array
    for out_name, out in outs:  # that of the copy is nobody's
        check_apart(out_name, out, array)
    return array.astype(array.dtype.newbyteorder("="))


def _as_cupy(name: str, array: Any, xp: Any) -> Ndarray:
    if _is_cupy(array):
        return array
    if isinstance(array, Numbers):
        return xp.asarray(array.array)
    # DLPack orders the work on both sides' streams; the interface may make the host wait for that
    try:
        return _by_dlpack(array, xp) if hasattr(array, "__dlpack__") else xp.asarray(array)
    except Exception as error:
        raise _not_shared(name, array, error) from error


def _by_dlpack(array: Any, xp: Any) -> Ndarray:
    from roicy import _dlpack  # another library's array has arrived

    return _dlpack.taken(array, xp)


def _not_shared(name: str, array: object, error: Exception) -> TypeError:
    reason = str(error).partition("\n")[0] or type(error).__name__
    return TypeError(f"{name} must share its memory, which this {_type_name(array)} does not: {reason}")


def _type_name(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def put(array: Ndarray, where: Ndarray, value: float, xp: Any) -> None:
    """Write a value to the rows, or to the elements, that a mask selects.

    On a device nothing waits: an index that is a mask would make CuPy wait. NumPy also takes numbers of rows.
    """
    if xp is np:
        array[where] = value
    else:
        xp.copyto(array, value, where=where.reshape(*where.shape, *[1] * (array.ndim - where.ndim)))
