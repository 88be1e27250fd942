"""Arrays in drawn chunks, and the operators' calls on them."""

import contextlib
from unittest import mock

import dask
import dask.array as da
import numpy as np
from hypothesis import strategies as st
from operators import operator as operator_module

import roicy.dask
from roicy.dask import _tiles

schedulers = st.sampled_from(["synchronous", "threads"])
calls = st.sampled_from([0, 100, _tiles._CALL])


@st.composite
def divided(draw, length):
    """Lengths of chunks of an axis."""
    if not length:
        return (0,)
    cuts = sorted(draw(st.sets(st.integers(1, length - 1), max_size=3))) if length > 1 else []
    return tuple(np.diff([0, *cuts, length]).tolist())


@st.composite
def chunked(draw, array):
    """The same array in chunks."""
    chunks = tuple(draw(divided(length)) for length in array.shape)
    return da.from_array(array, chunks=chunks)


@contextlib.contextmanager
def on_dask(room="128 MiB", scheduler="synchronous", call=_tiles._CALL):
    """The records call `roicy.dask`, with room for a chunk; results are computed here, or by threads.

    A call costs as much as copying so many bytes.
    """
    settings = {"scheduler": scheduler, "array.chunk-size": room}
    patches = (
        mock.patch.object(operator_module, "roicy", roicy.dask),
        mock.patch.object(_tiles, "_CALL", call),
    )
    with patches[0], patches[1], dask.config.set(settings):
        yield
