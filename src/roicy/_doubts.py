"""A warning for boxes in a wrong format; Python's filters show it once."""

from __future__ import annotations

import contextlib
import sys
import threading
import warnings
from collections.abc import Iterator


class RoisWarning(UserWarning):
    """Most boxes of a call look as if something else was meant by their numbers.

    ``warnings.filterwarnings("ignore", category=roicy.RoisWarning)`` silences it. Only boxes in host memory
    are looked at, and only where features are pooled or a plan is made, not in gradients.
    """


#: The text for each word that a backend returns. No numbers in it: Python would show each new text again.
_LOOKS = {
    "fractions": (
        "as if their first column were no batch index: most are not whole. Rows of boxes are [batch index, "
        "x1, y1, x2, y2]; where a score follows the corners, pass rois[:, :4]"
    ),
    "normalised": (
        "normalised: all lie within 0 ... 1, which is one pixel. Boxes are in pixels: multiply them by the "
        "width and the height of the image, rois * [width, height, width, height]"
    ),
    "reversed": (
        "like x, y, width, height: most end before they begin. Boxes are corners, x1, y1, x2, y2: add the "
        "first two numbers to the others"
    ),
    "outside": (
        "as if they were of another map: they lie outside of this one or reach far beyond it. spatial_scale "
        "is the map's pixels for one of the boxes', 1 / 16 for a stride of 16; maps whose channels come last "
        "are layout='NHWC'"
    ),
}
_OUTSIDE_OF_IMAGES = (
    "as if they were of another image: they lie outside of this one or reach far beyond it. Images whose "
    "channels come first are layout='NCHW', those whose channels come last layout='NHWC'; an image_size is "
    "(height, width)"
)
_LOOKS_OF_BOXES = {look: text.replace("rois", "boxes") for look, text in _LOOKS.items()} | {
    "outside": _OUTSIDE_OF_IMAGES
}
_LOOKS_OF_QUADS = {
    "normalised": (
        "normalised: all lie within 0 ... 1, which is one pixel. Corners are in pixels: multiply them by the "
        "width and the height of the image, corners * [width, height]"
    ),
    "outside": _OUTSIDE_OF_IMAGES.partition("; an")[0],
}
_LOOKS_OF = {"boxes": _LOOKS_OF_BOXES, "corners": _LOOKS_OF_QUADS}
_SILENCED = "If they are meant, warnings.filterwarnings('ignore', category=roicy.RoisWarning) silences this"


_thread = threading.local()


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Let calls of this thread warn of nothing: of boxes that are a part of those that somebody gave."""
    before = getattr(_thread, "silent", False)
    _thread.silent = True
    try:
        yield
    finally:
        _thread.silent = before


def warn(look: str | None, name: str = "rois") -> None:
    """Warn of an argument where roicy was called; a look of None is no reason to."""
    if look is None or getattr(_thread, "silent", False):
        return
    caller = sys._getframe(1)
    while caller.f_back is not None and _is_ours(caller.f_globals):
        caller = caller.f_back
    names = caller.f_globals
    text = _LOOKS_OF.get(name, _LOOKS)[look]
    warnings.warn_explicit(
        f"{name} look {text}. {_SILENCED}",
        RoisWarning,
        caller.f_code.co_filename,
        caller.f_lineno,
        names.get("__name__", "sys"),
        names.setdefault("__warningregistry__", {}),
    )


def _is_ours(names: dict[str, object]) -> bool:
    return str(names.get("__name__")).partition(".")[0] == "roicy"
