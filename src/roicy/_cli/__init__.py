"""The command line: ``python -m roicy info | demo | bench``, also installed as ``roicy``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from roicy._cli.workloads import Workload


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit status."""
    if sys.stdout is None:  # `roicy info >&-`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    chosen = _parser().parse_args(arguments)
    try:
        status: int = chosen.run(chosen)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has enough: `roicy info | head -1`
        _write_no_more()
        return 141
    except OSError as error:  # a full disk
        print(f"roicy: {error}", file=sys.stderr)
        _write_no_more()
        return 1
    except KeyboardInterrupt:
        print("\nroicy: interrupted", file=sys.stderr)
        return 130
    return status


def _write_no_more() -> None:
    # what the interpreter flushes yet goes nowhere
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; {self.prog} --help says more\n")


class _Version(argparse.Action):
    """Print the version, which takes a while to find."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        import roicy

        print(f"roicy {roicy.__version__}")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="roicy", description="RoI operators for NumPy and CuPy arrays.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(required=True, metavar="command")

    info = commands.add_parser("info", help="print versions, CPU level, threads and the state of CUDA")
    info.add_argument("--json", action="store_true", help="for programs")
    info.set_defaults(run=_info)

    demo = commands.add_parser("demo", help="run the operators on a photo and draw what happened")
    demo.add_argument("--output", default="roicy-demo", metavar="FOLDER", help="for pictures [%(default)s]")
    demo.set_defaults(run=_demo)

    bench = commands.add_parser("bench", help="time this installation on this machine")
    bench.add_argument("--threads", type=_threads, metavar="N", help="threads [1]")
    bench.add_argument("--rounds", type=_positive, default=7, metavar="N", help="timed rounds [%(default)s]")
    bench.add_argument("--only", type=_workloads, metavar="NAME[,NAME]", help="workloads to run [all]")
    bench.add_argument(
        "--phases",
        action="store_true",
        help="what parts of a call take, on one thread; needs a build that tells",
    )
    bench.set_defaults(run=_bench, refuse=bench.error)
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def _threads(text: str) -> int:
    from roicy._arguments import thread_count

    try:
        return thread_count(_positive(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected fewer threads, got {text}") from None


def _workloads(text: str) -> list[Workload]:
    from roicy._cli.workloads import select

    try:
        return select(text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _info(chosen: argparse.Namespace) -> int:
    import roicy

    if chosen.json:
        import json

        print(json.dumps(roicy.show_config("dicts"), indent=2))
    else:
        roicy.show_config()
    return 0


def _demo(chosen: argparse.Namespace) -> int:
    try:
        import matplotlib  # noqa: F401
        import PIL  # noqa: F401
        import skimage  # noqa: F401
    except ImportError as error:
        print(f"The demo needs more than roicy: {error}. Install it with", file=sys.stderr)
        print("    python -m pip install matplotlib pillow scikit-image", file=sys.stderr)
        return 1
    folder = Path(chosen.output)
    try:  # before what takes long
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "align.png").open("ab").close()
    except OSError as error:
        print(f"roicy demo: no pictures can be written to {folder}: {error.strerror}", file=sys.stderr)
        return 1
    from roicy._cli.demo import demo

    demo(folder)
    return 0


def _bench(chosen: argparse.Namespace) -> int:
    from roicy._cli.bench import bench
    from roicy._cli.phases import bench_phases
    from roicy._cli.workloads import select

    threads = chosen.threads or 1
    if chosen.phases:
        if threads > 1:
            chosen.refuse(f"argument --phases: parts are told apart on one thread, got --threads {threads}")
        return bench_phases(chosen.only or select(None), chosen.rounds)
    return bench(chosen.only or select(None), threads, chosen.rounds)
