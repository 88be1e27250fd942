"""The interface of a backend. Type checkers check both backends against it; nothing uses it at run time."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from roicy._types import (
    Accumulate,
    ArgmaxError,
    ByArea,
    Cover,
    DType,
    Moving,
    Ndarray,
    NumPyArray,
    Pasting,
    Purpose,
    Regions,
    Sampling,
    Size,
    Turn,
)

if TYPE_CHECKING:
    from roicy import cpu
    from roicy.cuda import Kernels


class Table(Protocol):
    """What a backend knows of boxes; to its other functions it is whatever that backend has made."""

    @property
    def accumulate(self) -> str:
        """Type of the weights and sums."""
        ...

    @property
    def first_invalid(self) -> int:
        """First invalid row, -1 if all are valid."""
        ...

    @property
    def beyond(self) -> tuple[int, tuple[int, int, int, int]] | None:
        """The first row that reads beyond the part of the maps that is given, and what it reads."""
        ...

    def touched(self) -> NumPyArray:
        """Return (K, 4), int64: from which row and column to which boxes read that read beyond the part."""
        ...

    @property
    def doubtful(self) -> bool:
        """Whether `Backend.doubts` may have a word for the boxes."""
        ...


class GridTable(Table, Protocol):
    """Of samples that argmax counts."""

    @property
    def first_too_fine(self) -> int:
        """First row with more samples in a bin than argmax counts, or -1."""
        ...


class QuadTable(Protocol):
    """What a backend knows of quadrangles."""

    @property
    def first_invalid(self) -> int:
        """First invalid row, -1 if all are valid."""
        ...

    @property
    def look(self) -> str | None:
        """A word of `roicy._doubts` for quadrangles most of which were meant otherwise, or None."""
        ...


class Streams(Protocol):
    """Of a backend whose results are written after a call has returned: in which order that is."""

    def captures(self) -> bool:
        """Return whether the current stream records a graph and does nothing of it yet."""
        ...

    def note(self, events: list[Any], /) -> list[Any]:
        """Return the events, and one after all work that the current stream has now."""
        ...

    def wait_for(self, events: list[Any], /) -> list[Any]:
        """Make the current stream wait for these events; return the unfinished ones."""
        ...

    def serves(self, table: Any, purpose: Purpose) -> bool:
        """Return whether a table has all that the kernels of a purpose will ask for."""
        ...

    def serve(self, table: Any, purpose: Purpose) -> None:
        """Make what the kernels of a purpose will ask of a table."""
        ...


class Together(Protocol):
    """What stands for a backend in calls that are to run as one: it has those of its functions."""

    def take(self) -> None:
        """Take what memory the calls need: nothing has been written before."""
        ...

    def run(self) -> None:
        """Do what the calls were about."""
        ...


class Pyramids(Protocol):
    """Of a backend whose kernels assign boxes to the maps of a pyramid."""

    @property
    def most_maps(self) -> int:
        """Among how many maps a rule may decide."""
        ...

    def share_out(
        self,
        boxes: Ndarray,
        images: Ndarray | None,
        numbers: int,
        levels: Ndarray | ByArea,
        shapes: Size,
    ) -> tuple[Ndarray, Sequence[Ndarray], Ndarray]:
        """Assign boxes, each of so many numbers, to as many maps as `shapes` says of as many images.

        `levels` are int32 or int64, C-contiguous, or a rule. Returns copies of the boxes, for the table of
        each map their images, and their maps: -1 for boxes on none, -2 for those of a wrong level.
        """
        ...


class Again(Protocol):
    """Passes whose boxes are not checked, by what is known of an earlier call that was like this one."""

    def run(
        self,
        settled: Any,
        how: Hashable,
        inputs: tuple[Ndarray | None, ...],
        out: Any,
        fresh: Callable[[], tuple[Any, Any]],
    ) -> Any:
        """Return the result of a pass: repeat an earlier call, or make this one with ``fresh()``.

        `settled` holds the checked options of the call, or is None if they are not known yet. `fresh` returns
        it, and the result. `how` names the pass.
        """
        ...

    def took(self, *arrays: Ndarray) -> None:
        """Note arrays that a call has made for its own kernels alone."""
        ...

    def shares(self, tables: Any, wait: Callable[[], None]) -> None:
        """Note tables that a call shares with others; repeated calls `wait`, on the device, for these."""
        ...

    def apart(self) -> Again:
        """Return one for calls that are kept as long as that is: those of a plan."""
        ...


class Backend(Protocol):
    """What computes: the module `roicy.cpu`, or a `roicy.cuda.Kernels`.

    Arrays come as Python has settled them, shaped (image or RoI, channel, row, column) with any strides; all
    are the backend's. A function takes the tables of its own kind that the same backend has made.
    """

    @property
    def xp(self) -> Any:
        """The library whose arrays these are."""
        ...

    @property
    def streams(self) -> Streams | None:
        """The order of work that is not waited for; None where a call returns when all is done."""
        ...

    @property
    def again(self) -> Again | None:
        """What repeats earlier calls; None if the backend gains nothing by that."""
        ...

    @property
    def pyramids(self) -> Pyramids | None:
        """What assigns boxes to the maps of a pyramid; None where NumPy does that."""
        ...

    @property
    def crops_again(self) -> Any:
        """What repeats earlier crops: the module `roicy.cpu.crops_again`; None if the backend has none."""
        ...

    def axis_table(
        self, regions: Regions, sampling: Sampling, accumulate: Accumulate, purpose: Purpose
    ) -> Table:
        """Return the pixels and weights of each row and of each column of bins."""
        ...

    def axis_forward(
        self, table: Any, features: Ndarray, out: Ndarray, finish: NumPyArray | None = None
    ) -> None:
        """Fill `out` with the features pooled under the table, finished by rows of numbers, unless None.

        These are in host memory: 3 rows of a number for each channel, and 16 more.
        """
        ...

    def axis_backward(self, table: Any, grad_output: Ndarray, grad_features: Ndarray) -> None:
        """Fill `grad_features` with the adjoint of the table applied to `grad_output`."""
        ...

    def axis_backward_rois(
        self, table: Any, grad_output: Ndarray, features: Ndarray, grad_boxes: Ndarray
    ) -> None:
        """Fill `grad_boxes` (K, 4) with the gradient with respect to x1, y1, x2, y2."""
        ...

    def grid_table(self, regions: Regions, sampling: Sampling, accumulate: Accumulate) -> GridTable:
        """Return the rows and the columns of each bin's samples."""
        ...

    def grid_forward(
        self, tables: Any, features: Ndarray, out: Ndarray, argmax: Ndarray | None, rule: str
    ) -> None:
        """Fill `out` with the largest sample of each bin and `argmax`, unless None, with its number."""
        ...

    def grid_backward(
        self, tables: Any, grad_output: Ndarray, argmax: Ndarray, grad_features: Ndarray
    ) -> None:
        """Fill `grad_features` with `grad_output` at the samples `argmax`."""
        ...

    def grid_backward_rois(
        self, tables: Any, grad_output: Ndarray, argmax: Ndarray, features: Ndarray, grad_boxes: Ndarray
    ) -> None:
        """Fill `grad_boxes` (K, 4), zeros so far, with the gradient with respect to x1, y1, x2, y2."""
        ...

    def grid_argmax_error(self, tables: Any, argmax: Ndarray) -> ArgmaxError | None:
        """Return ((k, c, p, q), value, limit) of an index outside -1 ... limit - 1, or None."""
        ...

    def sample_table(
        self,
        regions: Regions,
        sampling: Sampling,
        how: Turn | Moving,
        accumulate: Accumulate,
        purpose: Purpose,
    ) -> Table:
        """Return the pixels and weights of each bin of rotated boxes, or of upright ones whose bins move."""
        ...

    def sample_forward(self, table: Any, features: Ndarray, out: Ndarray) -> None:
        """Fill `out` with the features pooled under the table."""
        ...

    def sample_backward(self, table: Any, grad_output: Ndarray, grad_features: Ndarray) -> None:
        """Fill `grad_features` with the adjoint of the table applied to `grad_output`."""
        ...

    def sample_backward_rois(
        self, table: Any, grad_output: Ndarray, features: Ndarray, grad_boxes: Ndarray
    ) -> None:
        """Fill `grad_boxes` (K, 5) with the gradient with respect to cx, cy, w, h and the angle."""
        ...

    def sample_backward_bins(
        self, table: Any, grad_output: Ndarray, features: Ndarray, gradient: Ndarray
    ) -> None:
        """Fill `gradient` (K, 2, PH, PW) with that of offsets, or (K, 1, PH, PW) with that of a mask."""
        ...

    def cover_boxes(self, cover: Cover, images: int) -> Ndarray:
        """Return the regions of R-MAC, rows [batch index, x1, y1, x2, y2] of float64, image after image."""
        ...

    def range_table(self, regions: Regions, spatial_scale: float, rule: int, accumulate: Accumulate) -> Table:
        """Return the first and last row and column of each bin."""
        ...

    def range_forward(self, table: Any, features: Ndarray, out: Ndarray, argmax: Ndarray | None) -> None:
        """Fill `out` with the largest pixel of each bin and `argmax`, unless None, with where it is."""
        ...

    def image_table(self, regions: Regions) -> Table:
        """Return which image each box belongs to."""
        ...

    def range_backward(
        self, table: Any, grad_output: Ndarray, argmax: Ndarray, grad_features: Ndarray
    ) -> None:
        """Fill `grad_features` with `grad_output` at the pixels `argmax`; the table is an `image_table`."""
        ...

    def range_argmax_error(
        self, table: Any, argmax: Ndarray, limit: int
    ) -> tuple[tuple[int, int, int, int], int] | None:
        """Return ((k, c, p, q), value) of an index of the table's outside -1 ... limit - 1, or None."""
        ...

    def mask_windows(self, boxes: Ndarray, mask_size: Size, pasting: Pasting) -> NumPyArray:
        """Return the part of the image that each mask reaches, (K, 4), int32: top, left, bottom, right."""
        ...

    def mask_paste(
        self,
        masks: Ndarray,
        boxes: Ndarray,
        pasting: Pasting,
        out: Ndarray,
        starts: NumPyArray | None = None,
        *,
        blank: bool = False,
    ) -> None:
        """Fill `out` (K, H, W) with masks (K, M, N), or (items,) with their windows from their starts on.

        Images that are `blank` hold zeros already.
        """
        ...

    def mask_runs(self, masks: Ndarray, boxes: Ndarray, pasting: Pasting) -> list[list[int]]:
        """Return how long runs of equal pixels are in each pasted mask, down its columns; first of zeros."""
        ...

    def quad_table(
        self,
        corners: Ndarray,
        images: Ndarray,
        count: int,
        image_size: Size,
        output_size: Size,
        sampling_ratio: int,
    ) -> QuadTable:
        """Return the perspective views of quadrangles (K, 8) on images of at most this size.

        Corners are float32 or float64, C-contiguous. `images` are None for the first one, if calls repeat.
        """
        ...

    def quad_forward(
        self,
        table: Any,
        images: tuple[Ndarray, ...],
        out: Ndarray,
        numbers: NumPyArray | None,
        rule: tuple[int, bool],
        window: tuple[int, int, int, int] | None = None,
    ) -> None:
        """Fill `out` (K, C, PH, PW) with crops of arrays of images (N, C, H, W), each of as many.

        `numbers` are rows of fill, mean and scale, or None; `rule` is a border, and whether the nearest pixel
        is meant. Images are whole, or the part of larger ones in a window.
        """
        ...

    def doubts(self, regions: Regions, scale: float) -> str | None:
        """Return a word of `roicy._doubts` if most boxes are probably in a wrong format, else None."""
        ...

    def together(self, tables: Sequence[Any], purpose: Purpose, channels: int) -> Together | None:
        """Return what has calls with these tables run as one; None where one cannot wait for others."""
        ...

    def in_pieces(self, table: Any, purpose: Purpose, dtype: DType) -> bool:
        """Return whether a kernel takes memory between writes to an array of this dtype."""
        ...

    def product(self, left: Ndarray, right: Ndarray) -> Ndarray:
        """Return ``left @ right`` of two matrices of one dtype, float32 or float64."""
        ...

    def empty(self, shape: tuple[int, ...], dtype: DType | str) -> Ndarray:
        """Return an array for what a kernel hands to another one."""
        ...

    def add_part(self, total: Ndarray, part: Ndarray | None, out: Ndarray) -> None:
        """Fill `out` with sums and what is added to them, unless None, rounded to its dtype.

        Sums are C-contiguous and of four axes. `out` may be the first ones, which may change.
        """
        ...

    def gradient_rows(self, shape: tuple[int, ...]) -> Ndarray:
        """Return an array of float64 as the functions want to find it that fill a gradient of boxes."""
        ...

    def put_rows(self, rows: Ndarray, out: Ndarray) -> None:
        """Write float64 rows to the last columns of those of `out`, and zeros to the columns before.

        Rows of three axes are several for each row, which are added to zeros.
        """
        ...

    def unit_rows(
        self, rows: Ndarray, eps: float, sums: int | None = None, dtype: DType | None = None
    ) -> tuple[Ndarray, Ndarray]:
        """Return rows over their lengths, at least `eps`, and the lengths, (rows, 1), in float64.

        Unless `sums` is None, as many sums of rows that follow each other stand for the rows. `dtype` is that
        of a result; without it units are for other functions, and of the type that sums have.
        """
        ...

    def unit_rows_backward(
        self, grad_units: Ndarray, units: Ndarray, lengths: Ndarray, eps: float, dtype: DType | None = None
    ) -> Ndarray:
        """Return the gradient with respect to the rows that were made `units`, which may share gradients.

        It is of a dtype, or else of that of the units.
        """
        ...


if TYPE_CHECKING:

    def _backends(kernels: Kernels) -> tuple[Backend, Backend]:
        return cpu, kernels
