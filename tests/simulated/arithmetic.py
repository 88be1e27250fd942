"""What PTX instructions compute, to the bit, on arrays of one value a thread."""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import numpy as np

from .ptx import Instruction, PtxError, size_of

Array = np.ndarray

#: The bits of a register of so many bits.
BITS = {1: np.bool_, 8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}
_FLOATS = {"f16": np.float16, "bf16": ml_dtypes.bfloat16, "f32": np.float32, "f64": np.float64}
_SIGNED = {"s8": np.int8, "s16": np.int16, "s32": np.int32, "s64": np.int64}
_TO_WHOLE = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}


def dtype_of(kind: str) -> np.dtype:
    """Return the dtype of values of a PTX type."""
    if kind == "pred":
        return np.dtype(np.bool_)
    return np.dtype(_FLOATS.get(kind) or _SIGNED.get(kind) or BITS[8 * size_of(kind)])


def flushed(values: Array) -> Array:
    """Return float32 numbers with zeros, of the same sign, in the place of subnormals."""
    bits = np.asarray(values).view(np.uint32)
    kept = np.where(bits & np.uint32(0x7F800000), np.uint32(0xFFFFFFFF), np.uint32(0x80000000))
    return (bits & kept).view(np.float32)


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    # a + b rounded, and what is left
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _two_product(a: Array, b: Array) -> tuple[Array, Array]:
    def halves(value: Array) -> tuple[Array, Array]:
        scaled = value * 134217729.0
        high = scaled - (scaled - value)
        return high, value - high

    product = a * b
    (a_high, a_low), (b_high, b_low) = halves(a), halves(b)
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def _to_odd(a: Array, b: Array) -> Array:
    # a + b, or of its two neighbours the odd one: a later rounding to fewer bits is then the only one
    total, rest = _two_sum(a, b)
    even = (total.view(np.uint64) & np.uint64(1)) == 0
    return np.where(
        (rest != 0) & even & np.isfinite(total), np.nextafter(total, np.copysign(np.inf, rest)), total
    )


def multiply_add(a: Array, b: Array, c: Array) -> Array:
    """Return ``a * b + c``, rounded once."""
    a, b, c = np.broadcast_arrays(a, b, c)
    if a.dtype != np.float64:
        return _to_odd(a.astype(np.float64) * b.astype(np.float64), c.astype(np.float64)).astype(a.dtype)
    # Boldo and Melquiond: what is left of product and sum, rounded to odd, is added last
    product, low = _two_product(a, b)
    high, low = _two_sum(c, low)[0], _two_sum(c, low)[1]
    total, rest = _two_sum(product, high)
    found = total + _to_odd(rest, low)
    plain = a * b + c
    usual = np.isfinite(plain) & (np.abs(product) < 1e280) & (np.abs(a) < 1e280) & (np.abs(b) < 1e280)
    if (usual & (np.abs(product) < 1e-270) & (product != 0)).any():
        raise PtxError("fma.rn.f64 of numbers so small that its rest is lost")
    return np.where(usual & (product != 0), found, plain)


def _toward_zero(a: Array, b: Array) -> Array:
    total, rest = _two_sum(a, b)
    return np.where((rest != 0) & (np.signbit(rest) != np.signbit(total)), np.nextafter(total, 0.0), total)


def _extreme(choose: Callable[..., Array], both: Callable[..., Array]) -> Callable[..., Array]:
    # of floats: the other one beside a NaN, and -0 below +0
    def chosen(a: Array, b: Array) -> Array:
        if a.dtype.kind != "f":
            return choose[1](a, b)
        found = np.asarray(choose[0](a, b))
        bits = BITS[8 * found.dtype.itemsize]
        a, b = np.asarray(a).view(bits), np.asarray(b).view(bits)
        return np.where((found == 0) & (a << 1 == b << 1), both(a, b), found.view(bits)).view(found.dtype)

    return chosen


def _divide(a: Array, b: Array) -> Array:
    if a.dtype.kind == "f":
        return a / b
    some = np.where(b == 0, np.ones_like(b), b)
    if a.dtype.kind == "u":
        return a // some
    quotient = a // some  # toward zero, where NumPy's goes down
    return quotient + ((quotient < 0) & (quotient * some != a)).astype(a.dtype)


def _shifted(left: bool) -> Callable[..., Array]:
    def shift(a: Array, by: Array) -> Array:
        width = 8 * a.dtype.itemsize
        some = np.minimum(by, width - 1).astype(a.dtype)
        if not left and a.dtype.kind == "i":
            return a >> some
        return np.where(np.asarray(by) >= width, np.zeros_like(a), a << some if left else a >> some)

    return shift


def _high_product(a: Array, b: Array) -> Array:
    if a.dtype.itemsize != 4:
        raise PtxError("mul.hi of 64 bits is not known here")
    wide = np.dtype(np.int64 if a.dtype.kind == "i" else np.uint64)
    return ((a.astype(wide) * b.astype(wide)) >> wide.type(32)).astype(a.dtype)


def _field(begin: Array, length: Array, width: int) -> tuple[Array, Array]:
    # a mask of bits, and by how much it is shifted
    unsigned = BITS[width]
    begin, length = (np.minimum(number & 0xFF, width).astype(unsigned) for number in (begin, length))
    one, top = unsigned(1), unsigned(width - 1)
    ones = np.where(length >= width, ~unsigned(0), (one << np.minimum(length, top)) - one)
    return np.where(begin >= width, unsigned(0), ones << np.minimum(begin, top)), np.minimum(begin, top)


def _insert(a: Array, b: Array, begin: Array, length: Array) -> Array:
    mask, by = _field(begin, length, 8 * a.dtype.itemsize)
    return (b & ~mask) | ((a << by) & mask)


def _extract(a: Array, begin: Array, length: Array) -> Array:
    mask, by = _field(begin, length, 8 * a.dtype.itemsize)
    return (a & mask) >> by


def _permute(a: Array, b: Array, choice: Array) -> Array:
    pair = (b.astype(np.uint64) << np.uint64(32)) | a.astype(np.uint64)
    found = np.uint64(0)
    for place in range(4):
        nibble = (choice.astype(np.uint64) >> np.uint64(4 * place)) & np.uint64(15)
        byte = (pair >> ((nibble & np.uint64(7)) * np.uint64(8))) & np.uint64(255)
        sign = np.where(byte & np.uint64(128), np.uint64(255), np.uint64(0))
        found = found | np.where(nibble & np.uint64(8), sign, byte) << np.uint64(8 * place)
    return found.astype(np.uint32)


def _leading_zeros(a: Array) -> Array:
    width = 8 * a.dtype.itemsize
    found = np.full(np.shape(a), width, np.uint32)
    for bit in range(width):
        found = np.where((a >> a.dtype.type(bit)) & a.dtype.type(1), np.uint32(width - 1 - bit), found)
    return found


def _reversed_bits(a: Array) -> Array:
    found, one = np.zeros_like(a), a.dtype.type(1)
    for bit in range(width := 8 * a.dtype.itemsize):
        found |= ((a >> a.dtype.type(bit)) & one) << a.dtype.type(width - 1 - bit)
    return found


def _first_bit(shift: bool) -> Callable[[Array], Array]:
    def find(a: Array) -> Array:
        zeros = _leading_zeros(a)
        place = zeros if shift else np.uint32(8 * a.dtype.itemsize - 1) - zeros
        return np.where(a == 0, np.uint32(0xFFFFFFFF), place)

    return find


def _negative(a: Array) -> Array:
    return -a if a.dtype.kind == "f" else (~a + a.dtype.type(1))


def _multiply_add(a: Array, b: Array, c: Array) -> Array:
    return multiply_add(a, b, c) if a.dtype.kind == "f" else a * b + c


_COMPUTE: dict[str, Callable[..., Array]] = {
    "mov": lambda a: a,
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "mad": _multiply_add,
    "fma": _multiply_add,
    "div": _divide,
    "rem": lambda a, b: a - _divide(a, b) * b,
    "rcp": lambda a: a.dtype.type(1) / a,
    "sqrt": np.sqrt,
    "neg": _negative,
    "abs": np.abs,
    "min": _extreme((np.fmin, np.minimum), np.bitwise_or),
    "max": _extreme((np.fmax, np.maximum), np.bitwise_and),
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "not": np.invert,
    "shl": _shifted(left=True),
    "shr": _shifted(left=False),
    "bfi": _insert,
    "bfe": _extract,
    "prmt": _permute,
    "clz": _leading_zeros,
    "brev": _reversed_bits,
    "bfind": _first_bit(shift=False),
    "popc": lambda a: np.bitwise_count(a).astype(np.uint32),
    "copysign": lambda a, b: np.copysign(b, a),
}

_UNORDERED = ("equ", "neu", "ltu", "leu", "gtu", "geu")
_COMPARE = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "lo": np.less,
    "ls": np.less_equal,
    "hi": np.greater,
    "hs": np.greater_equal,
}


def _compared(name: str) -> Callable[[Array, Array], Array]:
    def compare(a: Array, b: Array) -> Array:
        if a.dtype.kind != "f":
            return _COMPARE[name](a, b)
        unordered = np.isnan(a) | np.isnan(b)
        if name in ("nan", "num"):
            return unordered if name == "nan" else ~unordered
        found = _COMPARE[name.removesuffix("u")](a, b)
        return found | unordered if name in _UNORDERED else found & ~unordered

    return compare


def _converted(instruction: Instruction) -> Callable[[Array], Array]:
    words = instruction.words
    target, given = dtype_of(words[-2]), dtype_of(words[-1])
    rounding = next((_TO_WHOLE[word] for word in words if word in _TO_WHOLE), None)
    if {"rz", "rm", "rp", "relu", "satfinite"} & set(words[1:-2]):
        raise PtxError(f"not known here: {instruction.text}")

    def convert(a: Array) -> Array:
        if given.kind in "fV" and target.kind in "iu":
            whole = rounding(np.asarray(a, np.float64))
            least, most = np.iinfo(target).min, np.iinfo(target).max
            inside = (whole > float(least)) & (whole < float(most))
            found = np.where(inside, whole, 0).astype(target)
            return np.where(
                np.isnan(whole) | inside, found, np.where(whole < 0, target.type(least), target.type(most))
            )
        found = (rounding(a) if rounding else a).astype(target)
        return np.clip(found, 0, 1) if "sat" in words else found

    return convert


def operation(instruction: Instruction) -> tuple[Callable[..., Array], list[str]]:
    """Return what computes an instruction's first operand, and the types of those that it takes."""
    name, words, kind = instruction.words[0], instruction.words, instruction.words[-1]
    taken = [kind] * (len(instruction.operands) - 1)
    if name == "cvt":
        compute, taken = _converted(instruction), [kind]
    elif name == "setp":
        compute = _compared(words[1])
    elif name == "selp":
        compute, taken = (lambda a, b, choice: np.where(choice, a, b)), [kind, kind, "pred"]
    elif name in ("mul", "mad") and "wide" in words:
        wide = kind[0] + str(16 * size_of(kind))
        dtype = dtype_of(wide)
        if name == "mul":
            compute = lambda a, b: a.astype(dtype) * b.astype(dtype)  # noqa: E731
        else:
            compute, taken = (lambda a, b, c: a.astype(dtype) * b.astype(dtype) + c), [kind, kind, wide]
    elif name == "mul" and "hi" in words:
        compute = _high_product
    elif name == "add" and "rz" in words:
        compute = _toward_zero
    elif name == "bfind" and "shiftamt" in words:
        compute = _first_bit(shift=True)
    elif name in _COMPUTE and not {"cc", "rz", "rm", "rp", "approx", "sat"} & set(words):
        compute = _COMPUTE[name]
    else:
        raise PtxError(f"not known here: {instruction.text}")
    if name in ("shl", "shr"):
        taken[1] = "u32"
    elif name in ("bfi", "bfe"):
        taken[-2:] = ["u32", "u32"]
    return _flushing(compute) if "ftz" in words else compute, taken


def _flushing(compute: Callable[..., Array]) -> Callable[..., Array]:
    def flush(*values: Array) -> Array:
        found = compute(*(flushed(value) if value.dtype == np.float32 else value for value in values))
        return flushed(found) if found.dtype == np.float32 else found

    return flush
