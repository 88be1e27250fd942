"""The machine that runs PTX, on small kernels: what they compute, and which errors it finds."""

import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from . import arithmetic, ptx
from .machine import Module
from .memory import DeviceMemory

HEAD = """
.version 9.0
.target sm_90
.address_size 64
.visible .entry kernel(.param .u64 .ptr .align 1 kernel_param_0, .param .u32 kernel_param_1)
.maxntid 64, 1, 1
{
    .reg .pred %p<9>;
    .reg .b16 %rs<9>;
    .reg .b32 %r<30>;
    .reg .b64 %rd<9>;
    .shared .align 4 .b8 room[256];
    ld.param.u64 %rd1, [kernel_param_0];
    cvta.to.global.u64 %rd2, %rd1;
    ld.param.u32 %r1, [kernel_param_1];
    mov.u32 %r2, %tid.x;
    mov.u32 %r3, %ctaid.x;
    mov.u32 %r4, %ntid.x;
    mad.lo.s32 %r5, %r3, %r4, %r2;
    mul.wide.u32 %rd3, %r5, 4;
    add.s64 %rd4, %rd2, %rd3;
"""
STORE = "st.global.u32 [%rd4], %r9;\nret;\n}"


def run(body, blocks=2, threads=64, number=0, items=None, shared=0):
    """Return what a kernel leaves in an array of one uint32 a thread, which holds 0, 1, 2 ... before."""
    out = np.arange(blocks * threads if items is None else items, dtype=np.uint32)
    begin = np.array([out.ctypes.data], np.uint64)
    memory = DeviceMemory(out.ctypes.data, out.view(np.uint8), begin, begin + np.uint64(out.nbytes))
    given = np.array(out.ctypes.data, np.uint64).tobytes() + np.array(number, np.uint32).tobytes()
    function = Module(HEAD + body, lambda content: 0).function("kernel")
    function.launch(memory, (blocks, 1, 1), (threads, 1, 1), shared, given)
    return out


def test_threads_part_and_come_together():
    """A loop of as many turns as the thread's number says, then one instruction for all."""
    found = run(
        """
        mov.u32 %r9, 0;
        mov.u32 %r8, 0;
    $again:
        setp.ge.u32 %p1, %r8, %r2;
        @%p1 bra $after;
        add.s32 %r9, %r9, %r8;
        add.s32 %r8, %r8, 1;
        bra.uni $again;
    $after:
        mad.lo.s32 %r9, %r9, 2, %r1;
        """
        + STORE,
        number=5,
    )
    place = np.arange(64)
    np.testing.assert_array_equal(found, np.tile(place * (place - 1) + 5, 2))


def test_a_warp_adds_up():
    """Shuffles down, a vote and the sum of a whole warp."""
    turns = "".join(
        f"shfl.sync.down.b32 %r10, %r9, {by}, 31, -1;\nadd.s32 %r9, %r9, %r10;\n" for by in (16, 8, 4, 2, 1)
    )
    found = run(
        f"mov.u32 %r9, %r2;\n{turns}setp.gt.u32 %p1, %r2, 40;\nvote.sync.ballot.b32 %r11, %p1, -1;\n" + STORE
    )
    assert list(found[[0, 32, 64, 96]]) == [sum(range(32)), sum(range(32, 64))] * 2
    found = run("setp.gt.u32 %p1, %r2, 40;\nvote.sync.ballot.b32 %r9, %p1, -1;\n" + STORE)
    assert set(found[:32]) == {0}
    assert set(found[32:64]) == {0xFFFFFFFF << 9 & 0xFFFFFFFF}
    found = run("and.b32 %r8, %r2, 3;\nmatch.any.sync.b32 %r9, %r8, -1;\n" + STORE)
    assert list(found[:4]) == [0x11111111 << place for place in range(4)]
    found = run("redux.sync.max.s32 %r9, %r2, -1;\n" + STORE)
    assert list(found[::32]) == [31, 63, 31, 63]


EXCHANGE = """
    shl.b32 %r6, %r2, 2;
    mov.u32 %r7, room;
    add.s32 %r8, %r7, %r6;
    st.shared.u32 [%r8], %r5;
    {barrier}
    xor.b32 %r10, %r2, {other};
    shl.b32 %r11, %r10, 2;
    add.s32 %r12, %r7, %r11;
    ld.shared.u32 %r9, [%r12];
"""


@pytest.mark.parametrize(
    ("barrier", "other", "race"),
    [
        ("bar.sync 0;", 63, False),
        ("bar.sync 0;", 1, False),
        ("bar.warp.sync -1;", 1, False),
        ("bar.warp.sync -1;", 63, True),
        ("", 1, True),
        ("", 0, False),
    ],
)
def test_races_in_shared_memory(barrier, other, race):
    """A thread reads what another has written, behind the barrier of the block, of the warp, or none."""
    body = EXCHANGE.format(barrier=barrier, other=other) + STORE
    if race:
        with pytest.raises(ptx.PtxError, match=r"race: thread .* writes shared memory .* reads it"):
            run(body)
    else:
        np.testing.assert_array_equal(run(body), np.arange(128) ^ other)


def test_races_between_blocks():
    """Threads of two blocks write one number: no barrier is between blocks."""
    with pytest.raises(ptx.PtxError, match=r"race: thread .* writes global memory .* writes it"):
        run("mul.wide.u32 %rd5, %r2, 4;\nadd.s64 %rd4, %rd2, %rd5;\nbar.sync 0;\nmov.u32 %r9, 1;\n" + STORE)


WRONG = {
    "beyond the end": ("add.s64 %rd4, %rd4, 4;\n" + STORE, "4 bytes outside global memory"),
    "before the start": ("add.s64 %rd4, %rd4, -4;\n" + STORE, "4 bytes outside global memory"),
    "shared, beyond the end": (
        "mov.u32 %r8, room;\nst.shared.u32 [%r8+256], %r2;\n" + STORE,
        "outside shared memory",
    ),
    "between two numbers": ("add.s64 %rd4, %rd4, 2;\n" + STORE, "accesses 4 bytes of global memory at"),
    "a pair, across": (
        "st.global.v2.u32 [%rd4], {%r2, %r2};\n" + STORE,
        "accesses 8 bytes of global memory at",
    ),
    "some threads at a barrier": (
        "setp.lt.u32 %p1, %r2, 9;\n@%p1 bra $one;\nbar.sync 0;\nbra $end;\n$one:\nbar.sync 0;\n$end:\n"
        + STORE,
        "wait at different barriers",
    ),
    "a lane that its mask leaves out": (
        "shfl.sync.idx.b32 %r9, %r2, 0, 31, 1;\n" + STORE,
        "a lane is not in its own mask",
    ),
    "a lane that never comes": (
        "and.b32 %r8, %r2, 31;\nsetp.eq.u32 %p1, %r8, 7;\n@%p1 bra $one;\nbar.warp.sync -1;\nbra $end;\n"
        "$one:\nbar.sync 0;\n$end:\n" + STORE,
        "threads wait without end",
    ),
    "a lane that is not there": (
        "setp.ge.u32 %p1, %r2, 16;\n@%p1 bra $end;\nshfl.sync.idx.b32 %r9, %r2, 20, 31, 65535;\n$end:\n"
        + STORE,
        "one that does not take part in the shuffle",
    ),
    "an instruction from elsewhere": ("sin.approx.f32 %r9, %r2;\n" + STORE, "not known here: sin.approx.f32"),
    "no end": ("$again:\nbra $again;\n" + STORE, "does not end"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(name, monkeypatch):
    from . import machine

    monkeypatch.setattr(machine, "MOST_STEPS", 10_000)
    body, words = WRONG[name]
    with pytest.raises(ptx.PtxError, match=re.escape(words)):
        run(body, blocks=1, items=64)


def test_what_is_not_reached_may_be_unknown():
    body = "setp.ge.u32 %p1, %r2, 0;\n@%p1 bra $end;\nsin.approx.f32 %r9, %r2;\n$end:\nmov.u32 %r9, 3;\n"
    assert set(run(body + STORE)) == {3}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"threads": 65}, "65 threads in a block, 64 at the most"),
        ({"blocks": 0}, "a grid of"),
        ({"shared": 48 * 1024}, "bytes of shared memory"),
    ],
)
def test_launches_that_a_device_refuses(arguments, words):
    with pytest.raises(ptx.PtxError, match=words):
        run("mov.u32 %r9, 0;\n" + STORE, items=200, **arguments)


# ---------------------------------------------------------------- arithmetic


def computed(text, *values):
    """Return what an instruction makes of numbers."""
    name, operands = text.split(" ", 1)
    line = ptx.Instruction(tuple(name.split(".")), tuple(operands.split(", ")), "", False, text)
    compute, _ = arithmetic.operation(line)
    with np.errstate(all="ignore"):
        return compute(*(np.atleast_1d(value) for value in values))[0]


doubles = st.floats(-1e60, 1e60).filter(lambda number: number == 0 or abs(number) > 1e-60)


@settings(max_examples=60)
@given(doubles, doubles, st.one_of(doubles, st.floats(-(2.0**-40), 2.0**-40, width=32)))
def test_multiply_add_rounds_once(a, b, c):
    found = computed("fma.rn.f64 d, a, b, c", np.float64(a), np.float64(b), np.float64(c))
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    assert found == float(exact)


halves = st.floats(-(2.0**50), 2.0**50, width=32).filter(lambda number: number == 0 or abs(number) > 1e-10)


@settings(max_examples=60)
@given(halves, halves, halves)
def test_multiply_add_of_float32(a, b, c):
    found = computed("fma.rn.f32 d, a, b, c", np.float32(a), np.float32(b), np.float32(c))
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    near = np.float32(float(exact))  # or a neighbour of it: rounded twice
    around = [np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))]
    distance = [abs(Fraction(float(number)) - exact) for number in around]
    assert distance[around.index(found)] == min(distance)


@settings(max_examples=60)
@given(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1).filter(bool))
def test_integers_divide_toward_zero(a, b):
    quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    wrapped = np.array(quotient & (2**32 - 1), np.uint32).view(np.int32)
    assert computed("div.s32 d, a, b", np.int32(a), np.int32(b)) == wrapped
    if not (a == -(2**31) and b == -1):
        assert computed("rem.s32 d, a, b", np.int32(a), np.int32(b)) == a - quotient * b


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("cvt.rzi.s32.f64 d, a", [np.float64(-2.7)], -2),
        ("cvt.rzi.s32.f64 d, a", [np.float64(1e30)], 2**31 - 1),
        ("cvt.rzi.s64.f32 d, a", [np.float32(np.nan)], 0),
        ("cvt.rmi.f64.f64 d, a", [np.float64(-0.5)], -1),
        ("cvt.rni.f32.f32 d, a", [np.float32(2.5)], 2),
        ("cvt.s64.s32 d, a", [np.int32(-3)], -3),
        ("add.rn.ftz.f32 d, a, b", [np.float32(1e-40), np.float32(0)], 0),
        ("add.rn.f32 d, a, b", [np.float32(1e-40), np.float32(0)], np.float32(1e-40)),
        ("add.rz.f64 d, a, b", [np.float64(1), np.float64(-(2.0**-60))], np.nextafter(1.0, 0)),
        ("max.f32 d, a, b", [np.float32(np.nan), np.float32(2)], 2),
        ("setp.lt.f32 d, a, b", [np.float32(np.nan), np.float32(2)], False),
        ("setp.ltu.f32 d, a, b", [np.float32(np.nan), np.float32(2)], True),
        ("setp.num.f32 d, a, b", [np.float32(1), np.float32(2)], True),
        ("shl.b32 d, a, b", [np.uint32(1), np.uint32(32)], 0),
        ("shr.s32 d, a, b", [np.int32(-8), np.uint32(40)], -1),
        ("mul.wide.s32 d, a, b", [np.int32(-(2**31)), np.int32(4)], -(2**33)),
        ("mul.hi.u32 d, a, b", [np.uint32(2**31), np.uint32(6)], 3),
        ("bfi.b32 d, a, b, c, e", [np.uint32(5), np.uint32(0xFFFF), np.uint32(4), np.uint32(4)], 0xFF5F),
        (
            "prmt.b32 d, a, b, c",
            [np.uint32(0x33221100), np.uint32(0x77665544), np.uint32(0x7150)],
            0x77115500,
        ),
        ("clz.b32 d, a", [np.uint32(1)], 31),
        ("brev.b32 d, a", [np.uint32(1)], 2**31),
        ("bfind.u32 d, a", [np.uint32(0)], 0xFFFFFFFF),
        ("bfind.shiftamt.u32 d, a", [np.uint32(1)], 31),
        ("popc.b32 d, a", [np.uint32(0xF0F0)], 8),
        ("copysign.f64 d, a, b", [np.float64(-1), np.float64(3)], -3),
    ],
)
def test_instructions(text, values, expected):
    assert computed(text, *values) == expected


@pytest.mark.parametrize(("name", "sign"), [("min", True), ("max", False)])
def test_zeros_have_an_order(name, sign):
    for a, b in ((0.0, -0.0), (-0.0, 0.0)):
        assert np.signbit(computed(f"{name}.f32 d, a, b", np.float32(a), np.float32(b))) == sign
