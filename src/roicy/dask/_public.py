"""The public functions, made of their records: signatures and documentation are those of roicy's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import roicy
from roicy.dask import _boxwise, _lists, _mapwise, _pyramids, _rowwise
from roicy.dask._given import Given
from roicy.dask._records import OPERATORS, Operator

_BUILD: dict[str, Callable[[Given], Any]] = {
    "boxes": _boxwise.pooled,
    "maps": _mapwise.gradient,
    "slopes": _boxwise.slopes,
    "levels": _pyramids.pooled,
    "gradients of levels": _pyramids.gradients,
    "slopes of levels": _pyramids.slopes,
    "vectors": _rowwise.made,
    "masks": _rowwise.made,
}

_ADDED: dict[str, tuple[Any, str]] = {
    "order": (
        "rois",
        """order : {{"rois", "image"}}, optional
    In which order the rows of the result are. "rois": that of `{boxes}`. "image": that of the images, in
    which they are computed: nothing is moved between chunks, and the order is returned, too.""",
    ),
    "order of gradients": (
        "rois",
        """order : {{"rois", "image"}}, optional
    In which order the rows of the gradient are that is given. "rois": that of `{boxes}`. "image" is for boxes
    that are a Dask array: as what is pooled with ``order="image"``, a chunk for each chunk of images.""",
    ),
    "chunks of levels": (
        "auto",
        """chunks : int, tuple of int or "auto", optional
    How many images the chunks of each result have; "auto": as many as fit.""",
    ),
    "chunks": (
        "auto",
        """chunks : optional
    Chunks of the result, as `dask.array` takes them everywhere: those of the maps are
    ``{maps}.chunks``. "auto": whole images, as many as fit.""",
    ),
    "boxes_per_chunk": (
        "auto",
        """boxes_per_chunk : int or "auto", optional
    At most so many rows in a chunk of the result; "auto": as many as Dask's ``array.chunk-size`` has
    bytes for, 128 MiB unless it is set.""",
    ),
    "num_threads": (
        1,
        """num_threads : int, optional
    Threads of a task: at most as many as the machine has cores for each task that the worker runs at
    once.""",
    ),
}
_OWN = {
    "boxes": ("order", "boxes_per_chunk", "num_threads"),
    "maps": ("order of gradients", "chunks", "num_threads"),
    "slopes": ("order of gradients", "boxes_per_chunk", "num_threads"),
    "levels": ("order", "boxes_per_chunk", "num_threads"),
    "gradients of levels": ("order of gradients", "chunks of levels", "num_threads"),
    "slopes of levels": ("order of gradients", "boxes_per_chunk", "num_threads"),
    "vectors": ("num_threads",),
    "masks": ("boxes_per_chunk", "num_threads"),
}


def public(name: str) -> Callable[..., Any]:
    """Return the function of Dask arrays that has the name of one of roicy's."""
    operator = OPERATORS[name]
    eager = getattr(roicy, name)
    own = _OWN[operator.returns]
    signature = signature_of(name)

    def function(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        build = _BUILD[operator.returns]
        if _lists.is_list(operator, given.arguments):
            return _lists.BUILD[operator.returns](operator, given.arguments, build)
        return build(Given(operator, given.arguments))

    function.__name__ = function.__qualname__ = name
    function.__module__ = "roicy.dask"
    function.__signature__ = signature  # type: ignore[attr-defined]
    function.__doc__ = _documentation(operator, eager, own)
    return function


def signature_of(name: str) -> inspect.Signature:
    """Return the signature of a function here: that of roicy's, and what is added."""
    eager, own = getattr(roicy, name), _OWN[OPERATORS[name].returns]
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = inspect.signature(eager).parameters.values()
    kept = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in parameters
        if parameter.name not in ("out", "window", "windows")
    ]
    return inspect.Signature(
        [*kept, *(inspect.Parameter(name.split()[0], keyword, default=_ADDED[name][0]) for name in own)]
    )


def _documentation(operator: Operator, eager: Callable[..., Any], own: tuple[str, ...]) -> str:
    summary = (eager.__doc__ or "").partition("\n")[0].rstrip(".")
    shapes = "", "input_shape", "input_shapes"
    arrays = [name for name in (operator.maps, *operator.rows) if name not in shapes]
    boxes = f"{operator.boxes}\n    As in `roicy.{operator.name}`, in host memory{LAZY}.\n"
    boxes = boxes if operator.boxes else ""
    maps = OPERATORS[operator.pools].maps
    added = "\n".join(_ADDED[name][1].format(boxes=operator.boxes, maps=maps) for name in own)
    ordered = operator.returns in ("boxes", "levels")
    listed = " or, of a list of images, a list of these" if operator.maps == "images" else ""
    of_levels = operator.maps == "features" and "levels" in operator.returns
    return f"""{summary}, of Dask arrays.

`roicy.{operator.name}` in chunks: the same arguments, less `out`, and the same result to the last bit.
Nothing is computed yet; what is wrong with known boxes, options, shapes and dtypes is an error now.

Parameters
----------
{", ".join(arrays)} : dask.array.Array{", maps a list of these" if of_levels else listed}
    As in `roicy.{operator.name}`, of chunks of known sizes, which may be NumPy's or CuPy's.
{boxes}{added}

Returns
-------
dask.array.Array
    As `roicy.{operator.name}` returns it.{ORDER if ordered else ""}

See Also
--------
roicy.{operator.name} : The function of arrays in memory, which says what all other arguments are.
"""


LAZY = """; or a Dask array, whose number of rows
    nobody needs to know. Then ``order="image"`` is needed, and the result has a chunk of unknown length for
    each chunk of whole images"""

ORDER = """
order : ndarray, shape (K,), int64
    With ``order="image"`` only, last: row ``i`` of the result is of box ``order[i]``."""
