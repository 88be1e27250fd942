"""Arrays of other libraries that NumPy and CuPy cannot take through DLPack without help."""

from __future__ import annotations

import ctypes
from typing import Any

from roicy._types import Ndarray

# Operations that PyTorch delays until an array is used. Neither its memory nor DLPack shows them. For each:
# the method that tells whether one is pending, and the method that performs it.
_PUT_OFF = (("is_neg", "resolve_neg"), ("is_conj", "resolve_conj"), ("_is_zerotensor", "clone"))

# Dtypes of TensorFlow whose items are not numbers: a request for their memory ends the process.
_NO_NUMBERS = frozenset(("string", "resource", "variant"))

# DLPack's codes of types, and the version whose structures are the ones below.
_UINT, _BFLOAT, _VERSION = 1, 4, 1


class _Tensor(ctypes.Structure):
    """DLTensor, as far as its type."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
    )


class _VersionedTensor(ctypes.Structure):
    """DLManagedTensorVersioned, as far; the older DLManagedTensor begins with its tensor."""

    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("manager", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    )


_is_capsule = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_IsValid", ctypes.pythonapi)
)
_address = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


class _Bits:
    """An array of bfloat16 that offers its memory as integers of 16 bits.

    The caller of __dlpack__ owns the description in the capsule, so it may change the type there. The rest is
    not touched: which library frees the memory, whether it is writable, on which stream it is.
    """

    def __init__(self, array: Any) -> None:
        self._array = array
        self.found = False

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()

    def __dlpack__(self, **options: Any) -> Any:
        capsule = self._array.__dlpack__(**options)
        tensor = _tensor_in(capsule)
        if tensor is not None and (tensor.code, tensor.bits, tensor.lanes) == (_BFLOAT, 16, 1):
            tensor.code = _UINT
            self.found = True
        return capsule


def _tensor_in(capsule: object) -> _Tensor | None:
    if _is_capsule(capsule, b"dltensor"):
        return _Tensor.from_address(_address(capsule, b"dltensor"))
    if _is_capsule(capsule, b"dltensor_versioned"):
        versioned = _VersionedTensor.from_address(_address(capsule, b"dltensor_versioned"))
        return versioned.tensor if versioned.major == _VERSION else None
    return None


def taken(array: Any, xp: Any) -> Ndarray:
    """Return an array that speaks DLPack as one of the library `xp`, over the same memory.

    Raises what the libraries raise, and BufferError where the memory does not show what the array is.
    """
    dtype = getattr(getattr(array, "dtype", None), "name", "")
    if isinstance(dtype, str) and dtype in _NO_NUMBERS:
        raise BufferError(f"its dtype {dtype} is none of numbers")
    for question, answer in _PUT_OFF:
        if getattr(array, question, bool)():
            raise BufferError(f"{question}() is True, and its memory is not what it shows: pass .{answer}()")
    try:
        return xp.from_dlpack(array)
    except Exception:
        bits = _Bits(array)
        words: Any = None
        try:
            words = xp.from_dlpack(bits)
        except Exception:
            if bits.found:
                raise
        if not bits.found:
            raise  # what was raised first
    try:
        import ml_dtypes
    except ImportError:
        raise BufferError(
            "bfloat16 needs ml_dtypes, which is not installed: python -m pip install ml_dtypes"
        ) from None
    return words.view(ml_dtypes.bfloat16)
