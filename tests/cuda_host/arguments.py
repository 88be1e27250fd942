"""A launch's arguments: they must be what the kernel declares, to the byte."""

import ctypes
import dataclasses
import functools

import numpy as np


class ArgumentError(TypeError):
    """An argument that a GPU would take for something else than it is."""


class Described(ctypes.Structure):
    """A parameter of a kernel, or a field of a struct, as launch.h describes it."""


Described._fields_ = (
    ("type", ctypes.c_char_p),
    ("size", ctypes.c_int),
    ("is_array", ctypes.c_bool),
    ("is_const", ctypes.c_bool),
    ("fields", ctypes.POINTER(Described)),
    ("field_count", ctypes.c_int),
    ("name", ctypes.c_char_p),
    ("offset", ctypes.c_int),
)


@dataclasses.dataclass(frozen=True)
class Parameter:
    """The same, and what an argument for it must be."""

    kind: str  # as `_kind` has it; of an array's items
    size: int
    is_array: bool
    is_const: bool
    fields: tuple["Parameter", ...]  # of a struct
    name: str  # of a field, and where it is in its struct
    offset: int

    @classmethod
    def of(cls, described):
        return cls(
            (described.type or b"").decode(),
            described.size,
            described.is_array,
            described.is_const,
            tuple(cls.of(described.fields[k]) for k in range(described.field_count)),
            (described.name or b"").decode(),
            described.offset,
        )

    def value(self, kernel, place, argument, fences):
        """Return the argument's bytes as a launch hands them over, with an address for an array."""
        if self.is_array:
            return ctypes.c_void_p(self._address(kernel, place, argument, fences))
        if self.fields:
            data = bytearray(self.size)
            self._fill(data, kernel, place, argument, getattr(argument, "arrays", {}), fences)
            return ctypes.create_string_buffer(bytes(data), self.size)
        self._check_scalar(kernel, place, argument)
        return ctypes.create_string_buffer(argument.tobytes(), self.size)

    def _check_scalar(self, kernel, place, argument):
        what = self.kind or f"{self.size} bytes"
        if not isinstance(argument, np.generic):
            raise _error(kernel, place, f"expected a NumPy scalar ({what})", type(argument).__name__)
        if _kind(argument.dtype) != self.kind and (self.kind or argument.dtype.itemsize != self.size):
            raise _error(kernel, place, f"expected {what}", argument.dtype)

    def _address(self, kernel, place, array, fences):
        if array is None:
            return 0
        if fences.in_place and isinstance(array, (int, np.uintp)):
            return int(array)
        if not isinstance(array, np.ndarray):
            raise _error(kernel, place, "expected an array", type(array).__name__)
        item, _, _ = self.kind.partition("x")
        if item and item != "any" and _kind(array.dtype) != item:
            raise _error(kernel, place, f"expected items of {item}", array.dtype)
        if not array.flags.c_contiguous:
            raise _error(kernel, place, "the array is not C-contiguous")
        if not self.is_const and not array.flags.writeable:
            raise _error(kernel, place, "the array is read-only, the kernel writes to it")
        return fences.address(place, array, not self.is_const)

    def _fill(self, data, kernel, place, argument, arrays, fences):
        # A struct, field by field. Its arrays lie by the names of their fields in the argument's `arrays`;
        # where the fences have copies of them, those are what the kernel gets.
        fields = getattr(getattr(argument, "dtype", None), "fields", None)
        if fences.in_place and fields is None and getattr(argument, "nbytes", None) == self.size:
            data[:] = argument.tobytes()
            return
        if fields is None or not isinstance(argument, np.void):
            raise _error(kernel, place, "expected a NumPy scalar with fields", type(argument).__name__)
        names = [field.name for field in self.fields]
        if list(argument.dtype.names) != names:
            expected = f"expected the fields {', '.join(names)}"
            raise _error(kernel, place, expected, ", ".join(argument.dtype.names))
        if argument.dtype.itemsize != self.size:
            raise _error(kernel, place, f"expected {self.size} bytes", argument.dtype.itemsize)
        for field in self.fields:
            offset = fields[field.name][1]
            where, value = f"{place}.{field.name}", argument[field.name]
            if offset != field.offset:
                raise _error(kernel, where, f"expected at byte {field.offset}", offset)
            if field.fields:
                part = bytearray(field.size)
                field._fill(part, kernel, where, value, arrays.get(field.name, {}), fences)
            elif field.is_array:
                part = field._pointer(kernel, where, value, arrays.get(field.name), fences)
            else:
                field._check_scalar(kernel, where, value)
                part = value.tobytes()
            data[offset : offset + len(part)] = part

    def _pointer(self, kernel, place, value, array, fences):
        if value.dtype != np.uintp:
            raise _error(kernel, place, "expected a pointer", value.dtype)
        if fences.in_place and array is None:
            return value.tobytes()
        if int(value) != (0 if array is None else array.ctypes.data):
            raise _error(kernel, place, "the pointer is not to the array that the struct holds")
        return np.uintp(self._address(kernel, place, array, fences)).tobytes()


def _error(kernel, place, expected, got=None):
    return ArgumentError(
        f"{kernel}, argument {place}: {expected}" + (f", got {got}" if got is not None else "")
    )


@functools.cache
def _kind(dtype):
    if dtype.name == "bfloat16":
        return "bfloat16"
    return f"{dtype.kind}{dtype.itemsize}"
