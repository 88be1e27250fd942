"""Kernels that apply grid tables: their launches."""

from __future__ import annotations

import functools

import numpy as np

from roicy._types import Accumulate, ArgmaxError, Ndarray, Regions, Sampling
from roicy.cuda.apply.argmax import argmax_view, channels_closer, first_wrong, survey
from roicy.cuda.apply.owned import TARGET, Owned, chunk_of
from roicy.cuda.device import Device
from roicy.cuda.structs import POINTER, Layout, Struct, view
from roicy.cuda.tables.grid import GridTable
from roicy.cuda.tuning import CONSTANTS

#: As in grid_forward.cu and grid_backward_rois.cu.
DIVISION = Layout(
    tasks=np.int64,
    channels=np.int32,
    chunk=np.int32,
    run_y=np.int32,
    run_x=np.int32,
    by_channel=np.int32,
    with_argmax=np.int32,
    by_corner=np.int32,
    group=np.int32,
)
CORNERS = Layout(corner=POINTER, kept=np.int32)
GOAL = Layout(corners=CORNERS, target=TARGET)
SLOPES = Layout(of_boxes=POINTER, channels=np.int32)
# Bins along an axis that a block takes at a time, so that each has room for a few samples.
_RUN = 64
_WARP = 32
# RoIs, or bins of one, above which sums of a pixel are long.
_MANY_TERMS = 60
# What the corners of samples may take.
_KEPT_BYTES = 2**24


class GridKernels(Device):
    """What `roicy.cpu` has for grid tables."""

    def grid_table(self, regions: Regions, sampling: Sampling, accumulate: Accumulate) -> GridTable:
        """Return the grid tables of the boxes; see `GridTable`."""
        return GridTable(self, regions, sampling, accumulate)

    def grid_forward(
        self, tables: GridTable, features: Ndarray, out: Ndarray, argmax: Ndarray | None, rule: str
    ) -> None:
        """Fill `out` with the largest sample of each bin and `argmax`, unless it is None, with its number.

        `rule` is "bilinear", or "onnx" for the largest of the samples' weighted corners.
        """
        features = self.readable(features)
        channels = features.shape[1]
        rows, columns = tables.output_size
        arrays = (features, out) if argmax is None else (features, out, argmax)
        how = channels_closer(features), argmax is not None, rule == "onnx"
        tasks, division = _division(tables.rois, channels, rows, columns, *how)
        arguments = (
            *view(features),
            *view(out),
            *argmax_view(argmax, tables.memory.parts["window"]),
            tables.packed,
            division,
        )
        threads = CONSTANTS["grid_forward"]["THREADS"]
        tables.launch("grid_forward", "grid_forward", features, arrays, tasks, threads, arguments)

    def grid_backward(
        self, tables: GridTable, grad_output: Ndarray, argmax: Ndarray, grad_features: Ndarray
    ) -> None:
        """Fill `grad_features` with `grad_output` at the samples `argmax`."""
        long = max(len(argmax), argmax.shape[2] * argmax.shape[3]) > _MANY_TERMS
        owned = Owned("grid_backward", grad_features, long, tables.accumulate, tables.packed_by_image())
        arrays = grad_output, argmax, grad_features
        # of each sample along an axis the pixels on both sides, and their weights: not in memory that a graph
        # would not keep
        real = np.dtype(tables.accumulate)
        sides = tables.rois * sum(tables.output_size)
        kept = min(tables.samples_kept, _KEPT_BYTES // (4 * real.itemsize * max(1, sides)))
        kept = 0 if self.captures() else kept
        corners = CORNERS(corner=self.empty(4 * sides * kept, real) if kept else None, kept=kept)
        options = self.feature_options(grad_features.dtype, tables.accumulate, *arrays)
        options += tables.box_options + owned.options
        source, threads = "grid_backward", 128
        blocks = -(-sides * kept // threads)
        self.launch(source, "list_corners", options, blocks, threads, (tables.packed, corners))
        arguments = (
            *view(grad_output),
            *view(argmax),
            *view(grad_features),
            tables.packed,
            GOAL(corners=corners, target=owned.packed),
        )
        self.launch(source, source, options, owned.tasks, owned.threads, arguments, owned.shared)

    def grid_backward_rois(
        self, tables: GridTable, grad_output: Ndarray, argmax: Ndarray, features: Ndarray, grad_boxes: Ndarray
    ) -> None:
        """Fill `grad_boxes` (K, 4) with the gradient with respect to x1, y1, x2, y2."""
        features = self.readable(features)
        arrays = grad_output, argmax, features
        arguments = (
            *view(grad_output),
            *view(argmax),
            *view(features),
            tables.packed,
            SLOPES(of_boxes=grad_boxes, channels=features.shape[1]),
        )
        threads = CONSTANTS["grid_backward_rois"]["THREADS"]
        tables.launch(
            "grid_backward_rois", "grid_backward_rois", features, arrays, tables.rois, threads, arguments
        )

    def grid_argmax_error(self, tables: GridTable, argmax: Ndarray) -> ArgmaxError | None:
        """Return ((k, c, p, q), value, limit) of an index outside -1 ... limit - 1, or None; waits."""
        if not argmax.size:
            return None
        wrong = self.empty(len(argmax), np.int64)
        image, total = (tables.memory.parts[name] for name in ("image", "total"))
        survey(self, argmax, "survey_of_samples", image, total, wrong)
        return first_wrong(self, argmax, wrong, total=total)


@functools.lru_cache(64)
def _division(
    rois: int, channels: int, rows: int, columns: int, by_channel: bool, with_argmax: bool, by_corner: bool
) -> tuple[int, Struct]:
    # how maxima are divided among blocks: tasks, and a struct Division
    chunk = chunk_of(channels, rois)
    run_y, run_x = min(rows, _RUN), min(columns, _RUN)
    tasks = -(-channels // chunk) * rois * -(-rows // run_y) * -(-columns // run_x)
    return tasks, DIVISION(
        tasks=tasks,
        channels=channels,
        chunk=chunk,
        run_y=run_y,
        run_x=run_x,
        by_channel=by_channel,
        with_argmax=with_argmax,
        by_corner=by_corner,
        group=0 if by_channel else _group(run_y, run_x),
    )


def _group(rows: int, columns: int) -> int:
    # rows of bins of a warp at a time, with a lane for each bin; none where too many lanes would be left over
    group = min(rows, _WARP // columns, CONSTANTS["grid_forward"]["GROUP"])
    return -(-rows // -(-rows // group)) if 2 * group * columns >= _WARP else 0
