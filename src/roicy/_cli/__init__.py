"""The command line: ``python -m roicy info | demo | bench``, also installed as ``roicy``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roicy._cli.workloads import Workload


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit status."""
    chosen = _parser().parse_args(arguments)
    status: int = chosen.run(chosen)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="roicy", description="RoI operators for NumPy and CuPy arrays.")
    commands = parser.add_subparsers(required=True, metavar="command")

    info = commands.add_parser("info", help="print versions, CPU level, threads and the state of CUDA")
    info.set_defaults(run=_info)

    demo = commands.add_parser("demo", help="run the operators on a photo and draw what happened")
    demo.add_argument("--output", default="roicy-demo", metavar="FOLDER", help="for pictures [%(default)s]")
    demo.set_defaults(run=_demo)

    bench = commands.add_parser("bench", help="time this installation on this machine")
    bench.add_argument("--threads", type=_positive, default=1, metavar="N", help="threads [%(default)s]")
    bench.add_argument("--rounds", type=_positive, default=7, metavar="N", help="timed rounds [%(default)s]")
    bench.add_argument("--only", type=_workloads, metavar="NAME[,NAME]", help="workloads to run [all]")
    bench.set_defaults(run=_bench)
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, got {number}")
    return number


def _workloads(text: str) -> list[Workload]:
    from roicy._cli.workloads import select

    try:
        return select(text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _info(chosen: argparse.Namespace) -> int:
    import roicy

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
    from roicy._cli.demo import demo

    demo(chosen.output)
    return 0


def _bench(chosen: argparse.Namespace) -> int:
    from roicy._cli.bench import bench
    from roicy._cli.workloads import select

    bench(chosen.only or select(None), chosen.threads, chosen.rounds)
    return 0
