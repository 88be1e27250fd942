"""Threads, and what this installation consists of."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Iterator
from typing import Any, Literal, overload

import numpy as np

from roicy import _arguments as settle
from roicy import cpu
from roicy._types import Integer
from roicy.cpu.runtime import outputs as memory


def set_num_threads(n: Integer) -> None:
    """Set how many threads calls from this Python thread may use.

    Parameters
    ----------
    n : int
        Number of threads, from 1 to 4096. With 1, none is started. Small calls use fewer, and so do calls on
        a machine that is busy with other things.

    Raises
    ------
    TypeError
        Where `n` is no int.
    ValueError
        Where `n` is out of range.

    See Also
    --------
    num_threads : The same within a ``with`` block.

    Notes
    -----
    Other Python threads have settings of their own. Results do not depend on the number of threads.

    Examples
    --------
    >>> import roicy
    >>> before = roicy.get_num_threads()
    >>> roicy.set_num_threads(1)
    >>> roicy.get_num_threads()
    1
    >>> roicy.set_num_threads(before)
    """
    cpu.set_num_threads(settle.thread_count(n))


def get_num_threads() -> int:
    """Return how many threads calls from this Python thread may use.

    Returns
    -------
    int
        What `set_num_threads` was given in this Python thread; by default what OpenMP would use
        (``OMP_NUM_THREADS`` or the number of processors), at most the processors that the control group
        (container) grants.

    Examples
    --------
    >>> import roicy
    >>> roicy.get_num_threads() >= 1
    True
    """
    return cpu.get_num_threads()


@contextlib.contextmanager
def num_threads(n: Integer) -> Iterator[None]:
    """Use a number of threads within a ``with`` block, and the previous one after it.

    Parameters
    ----------
    n : int
        Number of threads, as in `set_num_threads`.

    Raises
    ------
    TypeError, ValueError
        As `set_num_threads` does.

    Examples
    --------
    >>> import roicy
    >>> with roicy.num_threads(1):
    ...     roicy.get_num_threads()
    1
    """
    previous = cpu.threads.own_num_threads()  # None without a setting: the default comes back
    set_num_threads(n)
    try:
        yield
    finally:
        cpu.set_num_threads(previous)


def set_output_cache(size: Integer) -> None:
    """Set how many bytes of memory of earlier results are held for new ones.

    A large array's memory comes from the system page by page, as it is first written; for a result of 50 MB
    that can take longer than the call. So the memory of a result from 128 KiB on is held when the array
    and all its views are gone, and the next result of about its size takes it. Where too much would be held,
    what has been there longest goes back to the system.

    Parameters
    ----------
    size : int
        Bytes that may be held, 256 MiB by default. With 0 none are, and each result's memory goes back to the
        system.

    Raises
    ------
    TypeError
        Where `size` is no int.
    ValueError
        Where `size` is negative or out of range.

    See Also
    --------
    empty_output_cache : Give back what is held, and go on as before.
    show_config : Says how much is held.

    Notes
    -----
    The setting is the process's, for all of its threads. Results are NumPy arrays as any others and own
    their memory. A result that is given by ``out=`` takes none. For results on a GPU CuPy's memory pool does
    the same.

    Examples
    --------
    >>> import roicy
    >>> roicy.set_output_cache(2**30)
    >>> roicy.set_output_cache(2**28)
    """
    memory.set_most(settle.byte_count("size", size))


def empty_output_cache() -> None:
    """Give the memory that is held for new results back to the system.

    See Also
    --------
    set_output_cache : Set how much may be held.

    Examples
    --------
    >>> import roicy
    >>> roicy.empty_output_cache()
    >>> roicy.show_config("dicts")["Memory"]["held bytes"]
    0
    """
    memory.empty()


@overload
def show_config(mode: Literal["stdout"] = "stdout") -> None: ...


@overload
def show_config(mode: Literal["dicts"]) -> dict[str, dict[str, Any]]: ...


def show_config(mode: Literal["stdout", "dicts"] = "stdout") -> dict[str, dict[str, Any]] | None:
    """Show what this installation consists of and what it uses on this machine.

    Parameters
    ----------
    mode : {"stdout", "dicts"}, optional
        "stdout" prints text, "dicts" returns nested dictionaries.

    Returns
    -------
    dict or None
        With ``mode="dicts"``, the sections "Versions" (roicy, Python, NumPy, the C compiler), "CPU" (the
        level that the kernels in use were compiled for, the levels that this machine can run, and what
        ``ROICY_CPU_LEVEL`` asks for), "Threads" (whether they are OpenMP's, and how many), "Memory" (the
        bytes that may be held for new results, and those that are) and "CUDA" (the state, "ready" or what is
        missing, and what to do about it; the versions of CuPy, of its compiler NVRTC and of CUDA in the
        driver; the devices with their compute capabilities). For the latter CuPy is imported where it is
        installed.

    Raises
    ------
    ValueError
        Where `mode` is another one.

    Examples
    --------
    >>> import roicy
    >>> config = roicy.show_config("dicts")
    >>> sorted(config)
    ['CPU', 'CUDA', 'Memory', 'Threads', 'Versions']
    >>> config["CPU"]["level"] in config["CPU"]["available levels"]
    True
    """
    mode = settle.config_mode(mode)
    config: dict[str, dict[str, Any]] = {
        "Versions": {
            "roicy": _version("roicy") or "not installed",
            "Python": f"{platform.python_version()} ({platform.python_implementation()}, {sys.platform})",
            "NumPy": np.__version__,
            "compiler": cpu.compiler(),
        },
        "CPU": {
            "machine": platform.machine(),
            "level": cpu.level(),
            "available levels": list(cpu.levels()),
            "ROICY_CPU_LEVEL": os.environ.get("ROICY_CPU_LEVEL", ""),
        },
        "Threads": {"OpenMP": cpu.openmp(), "threads": cpu.get_num_threads()},
        "Memory": {"output cache bytes": memory.most(), "held bytes": memory.held()},
        "CUDA": _cuda(),
    }
    if mode == "dicts":
        return config
    for section, entries in config.items():
        print(f"{section}:")
        for name, value in entries.items():
            print(f"  {name + ':':<20}{_text(value)}")
    return None


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return ", ".join(value) if isinstance(value, list) else value or "not set"


def _version(distribution: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version  # slow to import, and needed here only

    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _cuda() -> dict[str, Any]:
    from roicy.cuda import state

    found = state.find()
    return {
        "state": found.name,
        "problem": found.problem or "none",
        "CuPy": found.cupy or "not installed",
        "NVRTC": found.nvrtc or "not found",
        "driver": found.driver or "none",
        "devices": list(found.devices) or "none",
    }
