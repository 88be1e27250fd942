"""Errors that name arguments as another system does."""

from __future__ import annotations

import re
from types import TracebackType
from typing import Literal, Self


class Words:
    """Context in which errors about arguments of roicy name the arguments that another system has for them.

    Parameters
    ----------
    **words : str
        What stands for each argument of roicy.

    Examples
    --------
    >>> with Words(features="X", layout="order"):
    ...     raise ValueError("layout must be 'NCHW' or 'NHWC', got 'HWCN'")
    Traceback (most recent call last):
    ...
    ValueError: order must be 'NCHW' or 'NHWC', got 'HWCN'
    """

    def __init__(self, **words: str) -> None:
        self._words = words
        self._pattern = re.compile(rf"\b(?:{'|'.join(words)})\b")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        if kind in (TypeError, ValueError):
            text = str(error).removesuffix("; invalid='nan' accepts such rows")
            raise kind(self._pattern.sub(lambda found: self._words[found[0]], text)) from None
        return False
