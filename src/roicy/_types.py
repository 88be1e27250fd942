"""The types in the signatures of the public functions, under the names that their documentation uses.

An array is NumPy's or CuPy's, and what goes in comes out: `Array` is the same kind of array wherever a
signature has it. Shapes and dtypes are no part of these types.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, SupportsIndex, TypeAlias, TypeVar

import numpy as np

NumPyArray: TypeAlias = np.ndarray[tuple[Any, ...], np.dtype[Any]]
DType: TypeAlias = np.dtype[Any]


class DeviceArray(Protocol):
    """A CuPy array, as far as it can be told from others: CuPy says nothing about its types."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Where it is."""
        ...

    @property
    def dtype(self) -> DType:
        """Type of the items."""
        ...

    @property
    def ndim(self) -> int:
        """Number of axes."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        ...

    @property
    def size(self) -> int:
        """Number of items."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, key: Any, /) -> Any: ...

    def __setitem__(self, key: Any, value: Any, /) -> None: ...

    def astype(self, dtype: Any) -> Any:
        """Return the items as another type."""
        ...

    def get(self) -> NumPyArray:
        """Return a copy on the host."""
        ...


class SharedArray(Protocol):
    """An array of another library, which shares its memory by DLPack."""

    def __dlpack__(self) -> Any:
        """Return a capsule that says where the memory is, and how it is laid out."""
        ...

    def __dlpack_device__(self) -> tuple[Any, Any]:
        """Return the kind of device and its number."""
        ...


#: The kind of array that a call is made with.
Array = TypeVar("Array", NumPyArray, DeviceArray)
#: An array of either kind. That all arrays of a call are of the same kind is seen when it runs: type checkers
#: look for what two arguments of one kind have in common, and find nothing where their dtypes differ.
AnyArray: TypeAlias = NumPyArray | DeviceArray | SharedArray
#: An array in code that works on either kind: what both can do has no name.
Ndarray: TypeAlias = Any

#: Rows of numbers, and such rows for each image.
Rows: TypeAlias = Sequence[Sequence[float]]
BoxLists: TypeAlias = Rows | Sequence[Rows]
#: All boxes of a call in one array; those of each image by themselves; either.
BoxArray: TypeAlias = AnyArray | Rows
BoxesOfImages: TypeAlias = Sequence[AnyArray | Rows]
Boxes: TypeAlias = BoxArray | BoxesOfImages
#: x and y of four corners each, of all images or of each image.
Quads: TypeAlias = AnyArray | Sequence[AnyArray | Rows] | Sequence[Sequence[AnyArray | Rows]]
#: A whole number for each box.
Indices: TypeAlias = AnyArray | Sequence[int]
#: Where pooled values go, or these and their argmax.
Out: TypeAlias = AnyArray | tuple[AnyArray, AnyArray] | None

Integer: TypeAlias = SupportsIndex
Real: TypeAlias = float | np.floating[Any] | np.integer[Any]
Flag: TypeAlias = bool | np.bool_ | Literal[0, 1]
#: A number, or one for each channel.
PerChannel: TypeAlias = Real | Sequence[Real] | NumPyArray
OutputSize: TypeAlias = SupportsIndex | tuple[SupportsIndex, SupportsIndex] | list[int] | NumPyArray
#: A shape as a caller may give it.
InputShape: TypeAlias = tuple[SupportsIndex, ...] | list[int] | NumPyArray
#: Where a part of a map begins, and how large the map is: (row, column, rows, columns).
Window: TypeAlias = tuple[SupportsIndex, ...] | list[int] | NumPyArray
#: A shape of 4 axes, and the rows and columns of it.
Shape: TypeAlias = tuple[int, int, int, int]
Size: TypeAlias = tuple[int, int]


@dataclass(slots=True, eq=False)  # made and read in half the time of a tuple with names
class Regions:
    """Boxes, the maps that they are pooled from, and the bins that they are divided into.

    Attributes
    ----------
    boxes : array, (K, columns) or (K, columns + 1), float32 or float64, C-contiguous
        The numbers of each box; with one column more the batch index comes first.
    images : array, (K,), int64, C-contiguous, or None with one column more
        Batch indices, in range or not.
    input_shape : tuple of int
        N, C, H, W of the arrays, whatever the layout is.
    output_size : tuple of int
        Rows and columns of bins.
    levels : array, (K,), int32, or None
        Of a pyramid's boxes, whose images are given, the map that each is pooled from: a table is of those of
        one level, and what applies it leaves the rows of all others as they are.
    level : int
        Which one that is.
    offsets : array, (K, 2, PH, PW), dtype of the boxes, C-contiguous, or None
        By how much each bin is moved along x and along y, in sizes of its box over `Moving.gamma`.
    mask : array, (K, 1, PH, PW) or (K, PH, PW), float32 or float64, C-contiguous, or None
        What each bin's average is multiplied by.
    window : tuple of int, or None
        Where the arrays are a part of larger maps, the row and the column of a map at which they begin, and
        the map's rows and columns. Samples lie on the map.
    apart : bool
        Whether `images` say already which boxes are of other levels.
    alone : bool
        Whether all images are 0, because no argument says any.
    """

    boxes: Ndarray
    images: Ndarray | None
    input_shape: Shape
    output_size: Size
    levels: Ndarray | None = None
    level: int = 0
    offsets: Ndarray | None = None
    mask: Ndarray | None = None
    window: tuple[int, int, int, int] | None = None
    apart: bool = False
    alone: bool = False

    @property
    def map_size(self) -> Size:
        """Rows and columns of the maps."""
        return self.input_shape[2:] if self.window is None else self.window[2:]


#: Rules by which bins take from the map, as in geometry/rois.h: samples in the middle of equal parts; one
#: pixel apart from the edge of the bin on; no samples, an integral; whole pixels of a box that is rounded to
#: them, of one that is not, and of one whose bins are found in whole numbers; of one that is rounded and then
#: scaled, of one without its last pixel, and the same on a map without its last row and column; of crops.
ALIGN, UNIT_STEP, PRECISE, ROUNDED, EXACT, WHOLE, SCALED, OPEN, SHORT = range(9)
HALF_PIXEL, CORNERS, UNIT_CORNERS, UNIT_SLOPES = range(9, 13)
#: What crops have outside of the map, as in geometry/rois.h.
EDGE, CONSTANT, REJECT = range(3)
#: Rows that are added one after the other; more are added in pieces, or they would lose digits.
TERMS = 256


class Sampling(NamedTuple):
    """Where the samples of boxes lie; `sampling_ratio` is 0 for as many as a bin covers pixels.

    Of crops, `border` is what lies outside of the map, and a sample may be the nearest pixel.
    """

    spatial_scale: float
    sampling_ratio: int
    aligned: bool
    rule: int = ALIGN
    border: int = EDGE
    nearest: bool = False


class Cover(NamedTuple):
    """The regions of R-MAC on a map: squares at several scales, spread from border to border.

    Attributes
    ----------
    height, width : int
        Rows and columns of the map.
    steps_y, steps_x : int
        How many regions more than the number of the scale lie along the rows, and along the columns.
    scales : int
        Scales with regions of at least a pixel.
    regions : int
        How many they are at all scales.
    """

    height: int
    width: int
    steps_y: int
    steps_x: int
    scales: int
    regions: int


class Moving(NamedTuple):
    """How bins of boxes along the axes are moved: an offset of 1 by `gamma` of the box's size."""

    gamma: float


class Turn(NamedTuple):
    """How the angles of rotated boxes are meant: in degrees or radians, clockwise or not."""

    degrees: bool
    clockwise: bool


class ByArea(NamedTuple):
    """How a rule finds the map that a box is pooled from: by its area.

    Attributes
    ----------
    rule : str
        Whose decisions about what is no area are taken; "tensorrt" has none such, and sorts sides.
    least : tuple of float
        From which area on boxes belong to each map but the first; by the rule "tensorrt", above which.
    single : bool
        Whether areas are computed in float32 whatever boxes are of.
    """

    rule: LevelRule
    least: tuple[float, ...]
    single: bool


#: How a mask lies in its box, as in geometry/paste.h: as detectron2 and as torchvision has it.
CENTRES, WHOLE_BOX = range(2)


class Pasting(NamedTuple):
    """What masks are pasted into, and how.

    Attributes
    ----------
    image_size : tuple of int
        Rows and columns.
    rule : int
        CENTRES or WHOLE_BOX.
    threshold : float or None
        From which value on a pixel is part of the mask; None for the values themselves.
    """

    image_size: Size
    rule: int
    threshold: float | None


#: A wrong number of an argmax: where it is (k, c, p, q), what it is, and what it would have to be below.
ArgmaxError: TypeAlias = tuple[tuple[int, int, int, int], int, int]
#: What sums are kept in.
Accumulate: TypeAlias = Literal["float32", "float64"]
#: What a table is made for.
Purpose: TypeAlias = Literal["forward", "backward", "backward_rois", "backward_offsets", "backward_mask"]

Layout: TypeAlias = Literal["NCHW", "NHWC"]
Invalid: TypeAlias = Literal["raise", "nan"]
Mode: TypeAlias = Literal["avg", "max"]
#: Whose decisions about the levels of a pyramid are taken.
LevelRule: TypeAlias = Literal["torchvision", "detectron2", "mmdet", "openvino", "tensorrt"]
#: What boxes are pooled from: the map of their level, or all maps.
Merge: TypeAlias = Literal["assigned", "sum"]
MaxRule: TypeAlias = Literal["bilinear", "onnx"]
AngleUnit: TypeAlias = Literal["degrees", "radians"]
Rounding: TypeAlias = Literal["round", "none", "whole"]
Aggregate: TypeAlias = Literal["sum", "concat"]
#: Whose numbers pasted masks have.
PasteRule: TypeAlias = Literal["detectron2", "torchvision"]
#: What pasted masks are returned as.
PastedAs: TypeAlias = Literal["masks", "windows", "rle"]
#: Where the samples of crops lie, what one is, and what lies outside of the image.
SamplePlaces: TypeAlias = Literal["half_pixel", "corners"]
Interpolation: TypeAlias = Literal["bilinear", "nearest"]
Border: TypeAlias = Literal["constant", "edge", "reject"]

if TYPE_CHECKING:  # what overloads share, and calls that pass their options on
    from typing import TypedDict

    class BoxOptions(TypedDict, total=False):
        """Options of every operator on boxes."""

        batch_indices: Indices | None
        layout: Layout
        invalid: Invalid

    class MapOptions(BoxOptions, total=False):
        """Options of every operator on boxes of a single map."""

        window: Window | None

    class RoIAlignOptions(MapOptions, total=False):
        """Options of `roicy.roi_align` and its gradients."""

        spatial_scale: Real
        sampling_ratio: Integer
        aligned: Flag
        mode: Mode

    class SharingOptions(BoxOptions, total=False):
        """Options of every operator on the maps of a pyramid."""

        levels: LevelRule | Indices
        merge: Merge
        windows: Sequence[Window | None] | None

    class MultiScaleRoIAlignOptions(SharingOptions, total=False):
        """Options of `roicy.multi_scale_roi_align` and its gradients."""

        sampling_ratio: Integer
        aligned: Flag

    class MultiScaleRoIAlignRotatedOptions(SharingOptions, total=False):
        """Options of `roicy.multi_scale_roi_align_rotated` and its gradients."""

        sampling_ratio: Integer
        aligned: Flag
        angle_unit: AngleUnit
        clockwise: Flag

    class MultiScaleRoIPoolOptions(SharingOptions, total=False):
        """Options of `roicy.multi_scale_roi_pool`."""

        rounding: Rounding
        mode: Mode

    class RoIAlignRotatedOptions(MapOptions, total=False):
        """Options of `roicy.roi_align_rotated` and its gradients."""

        spatial_scale: Real
        sampling_ratio: Integer
        aligned: Flag
        angle_unit: AngleUnit
        clockwise: Flag

    class RoIPoolOptions(MapOptions, total=False):
        """Options of `roicy.roi_pool`."""

        spatial_scale: Real
        rounding: Rounding
        mode: Mode
