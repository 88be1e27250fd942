"""Structs that kernels take by value: how they are laid out, and what the host build compares."""

import os
import struct

import numpy as np
import pytest
from cuda_host import module
from cuda_host.module import ArgumentError, HostModule, LaunchError

from roicy.cuda.structs import POINTER, Layout

pytestmark = pytest.mark.skipif(module.compiler() is None, reason="no C++ compiler")

SOURCE = """
#define REAL double
struct Pair { const float *first; int *second; };
struct Call {
    REAL scale;
    Pair pair; // with an array each
    signed char flag, other;
    int count;
};
extern "C" __global__ void kernel(int *out, const Call call, int more) {
    const float *__restrict__ first = call.pair.first;
    if (first && threadIdx.x < call.count)
        call.pair.second[threadIdx.x] = (int)(call.scale * first[threadIdx.x]) + more;
    out[threadIdx.x] = call.flag * call.count;
}
"""
PAIR = {"first": POINTER, "second": POINTER}
CALL = {"scale": np.float64, "pair": PAIR, "flag": np.int8, "other": np.int8, "count": np.int32}


def packed(first, second, fields=None, pair=PAIR, **values):
    values = {"scale": 2, "flag": 7, "other": -7, "count": 2, **values}
    pair, fields = Layout(**pair), CALL if fields is None else fields
    own = {name: values[name] for name in fields if name != "pair"}
    return Layout(**{**fields, "pair": pair})(pair=pair(first=first, second=second), **own)


def run(argument, threads=2):
    out = np.zeros(threads, np.int32)
    function = HostModule(code=SOURCE).get_function("kernel")
    function((1,), (threads,), (out, argument, np.int32(100)))
    return out


def ones(count=2):
    return np.ones(count, np.float32)


def zeros():
    return np.zeros(2, np.int32)


@pytest.mark.parametrize("fences", ["behind", "before", None])
def test_structs_by_value(monkeypatch, fences):
    monkeypatch.setattr(HostModule, "fences", fences)
    second = zeros()
    argument = packed(np.array([2, 4], np.float32), second, scale=2.5)
    for _ in range(2):
        np.testing.assert_array_equal(run(argument), [14, 14])
        np.testing.assert_array_equal(second, [105, 110])
        second[:] = 0
    run(packed(None, second))
    np.testing.assert_array_equal(second, [0, 0])


def test_a_struct_keeps_its_arrays_and_does_not_change():
    argument = packed(ones(), zeros())
    assert set(argument.arrays["pair"]) == {"first", "second"}
    assert argument.itemsize == 32
    with pytest.raises(ValueError, match="read-only"):
        argument["count"] = 3


@pytest.mark.parametrize("value", [2.5, 2**31, "1", None], ids=repr)
def test_a_struct_takes_exact_values(value):
    with pytest.raises(struct.error):
        packed(None, None, count=value)
    with pytest.raises(KeyError):
        Layout(**PAIR)(first=None)


@pytest.mark.parametrize(
    "kinds",
    [
        [np.int32],
        [np.int64, np.int32],
        [np.int32, np.float64, np.int8],
        [np.int8, [np.int32, np.int8], np.int8],
        [np.int8, [np.int8, np.int8], np.int64, [np.int8, np.int16]],
    ],
    ids=str,
)
def test_bytes_are_where_the_fields_are(kinds):
    def layout(kinds):
        return Layout(**{f"f{i}": layout(it) if isinstance(it, list) else it for i, it in enumerate(kinds)})

    def value(kinds):
        values = {f"f{i}": value(it) if isinstance(it, list) else i for i, it in enumerate(kinds)}
        return layout(kinds)(**values)

    def numbers(kinds):
        return tuple(numbers(it) if isinstance(it, list) else i for i, it in enumerate(kinds))

    assert value(kinds).item() == numbers(kinds)


@pytest.mark.parametrize(
    "fields, says",
    [
        (
            {**{name: CALL[name] for name in ("flag", "scale")}, **CALL},
            "1: expected the fields scale, pair, flag",
        ),
        ({name: CALL[name] for name in CALL if name != "other"}, "1: expected the fields scale, pair, flag"),
        ({**CALL, "scale": np.int64}, "1.scale: expected f8, got int64"),
        ({**CALL, "count": np.int64}, "1: expected 32 bytes, got 40"),
        ({**CALL, "other": np.int16}, "1.other: expected at byte 25, got 26"),
        ({**CALL, "count": np.uint32}, "1.count: expected i4, got uint32"),
    ],
)
def test_layouts_are_compared(fields, says):
    with pytest.raises(ArgumentError, match=f"argument {says}"):
        run(packed(ones(), zeros(), fields))


@pytest.mark.parametrize(
    "first, pair, says",
    [
        (
            None,
            {"second": POINTER, "first": POINTER},
            "1.pair: expected the fields first, second, got",
        ),
        (0, {"first": np.int64, "second": POINTER}, "1.pair.first: expected a pointer, got int64"),
        (0, {"first": np.int32, "second": POINTER}, "1.pair.first: expected a pointer, got int32"),
    ],
)
def test_layouts_of_structs_in_structs_are_compared(first, pair, says):
    with pytest.raises(ArgumentError, match=f"argument {says}"):
        run(packed(first, zeros(), pair=pair))


@pytest.mark.parametrize(
    "first, second, says",
    [
        (np.ones(2), zeros(), "1.pair.first: expected items of f4, got float64"),
        (ones(4)[::2], zeros(), "1.pair.first: the array is not C-contiguous"),
        (ones(), np.frombuffer(bytes(8), np.int32), "1.pair.second: the array is read-only"),
    ],
    ids=["items", "contiguous", "const"],
)
def test_arrays_of_structs_are_exact(first, second, says):
    with pytest.raises(ArgumentError, match=says):
        run(packed(first, second))


def test_pointers_of_structs_are_to_their_arrays():
    argument = packed(ones(), zeros())
    argument.arrays["pair"]["first"] = ones()
    with pytest.raises(ArgumentError, match=r"1\.pair\.first: the pointer is not to the array"):
        run(argument)


@pytest.mark.parametrize("value", [np.int32(1), zeros(), b"", None], ids=lambda it: type(it).__name__)
def test_structs_are_structs(value):
    with pytest.raises(ArgumentError, match="argument 1: expected a NumPy scalar with fields"):
        run(value)


@pytest.mark.skipif(
    "-fsanitize" in os.environ.get("ROICY_HOST_FLAGS", ""), reason="a sanitizer finds it in its own way"
)
def test_out_of_bounds_of_a_structs_array():
    argument = packed(ones(1), np.zeros(100, np.int32), count=100)
    with pytest.raises(LaunchError, match=r"SIGSEGV \d+ bytes behind the 4 bytes of argument 1\.pair\.first"):
        run(argument, threads=100)
