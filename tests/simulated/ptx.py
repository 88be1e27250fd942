"""Kernels in PTX, as NVRTC writes it: parameters, registers, shared memory, instructions."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

#: Bytes of a type by the end of its name.
_BYTES = {"8": 1, "16": 2, "32": 4, "64": 8}
_NAME = r"[%\w$.]+"


class PtxError(RuntimeError):
    """What no device would run, or what this machine does not know."""


class Instruction(NamedTuple):
    """``@guard words[0].words[1]... operands``; `unless`: where the guard does not hold."""

    words: tuple[str, ...]
    operands: tuple[str, ...]
    guard: str
    unless: bool
    text: str


class Parameter(NamedTuple):
    """Where a parameter begins among all of them, and its bytes."""

    begin: int
    size: int


@dataclass
class Kernel:
    """What an entry of a module is made of.

    `widths` has the bits of each register, or family of registers, 1 for predicates; `shared` where each
    variable of shared memory begins, of `static` bytes in all; `local` the bytes of a thread's own memory.
    """

    name: str
    parameters: dict[str, Parameter] = field(default_factory=dict)
    code: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    widths: dict[str, int] = field(default_factory=dict)
    shared: dict[str, int] = field(default_factory=dict)
    static: int = 0
    local_name: str = ""
    local: int = 0
    most_threads: int = 1024

    def width(self, register: str) -> int:
        """Return the bits of a register."""
        return self.widths.get(register) or self.widths[register.rstrip("0123456789")]


def size_of(kind: str) -> int:
    """Return the bytes of a PTX type."""
    return _BYTES[re.sub(r"\D", "", kind)]


def constants(text: str) -> dict[str, bytes]:
    """Return the module's initialised variables."""
    found = {}
    pattern = rf"\.(?:global|const)\s+\.align\s+\d+\s+\.b8\s+({_NAME})\[(\d+)\]\s*(?:=\s*\{{([^}}]*)\}})?\s*;"
    for name, size, numbers in re.findall(pattern, text):
        given = bytes(int(number, 0) & 255 for number in numbers.split(",") if number.strip())
        found[name] = given.ljust(int(size), b"\0")
    return found


def kernel(text: str, name: str) -> Kernel:
    """Return the entry of this name in a module."""
    text = re.sub(r"//[^\n]*", "", text)
    match = re.search(rf"\.entry\s+{re.escape(name)}\s*\((.*?)\)([^{{;]*)\{{", text, re.DOTALL)
    if match is None:
        raise PtxError(f"the module has no entry {name}")
    found = Kernel(name)
    most = re.search(r"\.maxntid\s+(\d+)(?:\s*,\s*(\d+))?(?:\s*,\s*(\d+))?", match[2])
    if most:
        found.most_threads = int(np.prod([int(number or 1) for number in most.groups()]))
    _read_parameters(found, match[1])
    _read_shared(found, text)
    for statement in _statements(text[match.end() : _closing(text, match.end())]):
        _read_statement(found, statement)
    return found


def _closing(text: str, begin: int) -> int:
    depth = 1
    for match in re.finditer(r"[{}]", text[begin:]):
        depth += 1 if match[0] == "{" else -1
        if not depth:
            return begin + match.start()
    raise PtxError("a body without an end")


def _read_parameters(found: Kernel, text: str) -> None:
    end = 0
    for declaration in filter(None, (part.strip() for part in text.split(","))):
        kind, name, count = re.search(
            rf"\.(\w+)\s+(?:\.ptr\b.*\s)?({_NAME})(?:\[(\d+)\])?$", _plain(declaration)
        ).groups()
        align = re.search(r"(?<!\.ptr )\.align\s+(\d+)\s+\.b8", declaration)
        size = size_of(kind) * int(count or 1)
        begin = -(-end // int(align[1] if align else size)) * int(align[1] if align else size)
        found.parameters[name] = Parameter(begin, size)
        end = begin + size


def _plain(declaration: str) -> str:
    # ".param .u64 .ptr .global .align 1 name" and ".param .align 8 .b8 name[104]" without what stands between
    return re.sub(r"\.param|\.ptr.*\.align\s+\d+|\.align\s+\d+|\.ptr", "", declaration).strip()


def _read_shared(found: Kernel, text: str) -> None:
    dynamic, end = [], 0
    pattern = rf"^\s*((?:\.\w+\s+)*?)\.shared\s+(?:\.align\s+(\d+)\s+)?\.(\w+)\s+({_NAME})(?:\[(\d*)\])?\s*;"
    for before, align, kind, name, count in re.findall(pattern, text, re.MULTILINE):
        if name in found.shared or name in dynamic:
            continue
        if ".extern" in before:
            dynamic.append(name)
            continue
        step = int(align or size_of(kind))
        found.shared[name] = -(-end // step) * step
        end = found.shared[name] + size_of(kind) * int(count or 1)
    found.static = -(-end // 16) * 16
    found.shared.update(dict.fromkeys(dynamic, found.static))


def _statements(body: str) -> list[str]:
    # ";" ends a statement; braces around some only bound what is declared there, those of operands do not
    body = re.sub(r"\{(?=\s*(?:\.reg|cvt|mov|[a-z]+\.))", " ", body)
    statements = []
    for part in body.split(";"):
        part = " ".join(part.split())
        while part.startswith(("}", "{")):
            part = part[1:].lstrip()
        if part:
            statements.append(part)
    return statements


def _read_statement(found: Kernel, statement: str) -> None:
    while label := re.match(rf"({_NAME}):\s*", statement):
        found.labels[label[1]] = len(found.code)
        statement = statement[label.end() :].lstrip("{ ")
    if not statement:
        return
    if declared := re.match(r"\.reg\s+\.(\w+)\s+(.*)", statement):
        width = 1 if declared[1] == "pred" else 8 * size_of(declared[1])
        for register in declared[2].split(","):
            found.widths[re.sub(r"<\d+>", "", register).strip()] = width
    elif local := re.match(rf"\.local\s+\.align\s+\d+\s+\.b8\s+({_NAME})\[(\d+)\]", statement):
        found.local_name, found.local = local[1], int(local[2])
    elif statement[0] != ".":  # else .shared, read before; .loc and .pragma, which compute nothing
        guard, name, operands = re.match(r"(?:@(!?%\w+)\s+)?([\w.:]+)\s*(.*)", statement).groups()
        split = re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,\s][^,]*", operands)
        found.code.append(
            Instruction(
                tuple(name.replace("::", ".").split(".")),
                tuple(operand.strip() for operand in split),
                (guard or "").lstrip("!"),
                (guard or "").startswith("!"),
                statement,
            )
        )
