"""Repeated calls: averages in boxes that are not checked, with all but addresses from an earlier call.

A small call takes more time in Python than on the device. Calls with equal options, shapes, strides and
dtypes differ only in the addresses of their arrays. So the launches of the first one are kept, and later
ones repeat them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roicy._types import Accumulate, Ndarray, Purpose, Size
from roicy.cuda.apply.axis import launched_plainly
from roicy.cuda.tables.axis import AxisTable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from roicy.cuda.device import Device

#: Most calls that are kept; one more, and all are forgotten.
_MOST = 256


class Again:
    """The calls that were made on a kind of device.

    Parameters
    ----------
    device : Device
        The device with the arrays of these calls.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._calls: dict[Any, _Call] = {}

    def pool(self, settled: Any, features: Ndarray, rois: Ndarray, out: Ndarray | None) -> Ndarray | None:
        """Repeat an earlier call with these arrays; return None if there was no call like this one.

        `settled` holds the checked options of the call. Calls with equal options have the same object.
        """
        call = self._calls.get(_like(settled, features, rois))
        if call is None or call.settled is not settled or self._device.index is not None:
            return None
        return call(features, rois, out)

    def learn(
        self,
        settled: Any,
        tables: Mapping[tuple[Accumulate, Purpose], Any],
        features: Ndarray,
        rois: Ndarray,
        out: Ndarray,
    ) -> None:
        """Keep the launches of a call that returned `out`, if all calls like it have the same launches."""
        for (accumulate, _), table in tables.items():
            if type(table) is not AxisTable or not table.is_like_others or table.boxes is not rois:
                return
            launched = launched_plainly(features, out, accumulate)
            if launched is None:
                return
            if len(self._calls) >= _MOST:
                self._calls.clear()
            like = _like(settled, features, rois)
            self._calls[like] = _Call(self._device, settled, table, features, out, launched)


def _like(settled: Any, features: Ndarray, rois: Ndarray) -> tuple[Any, ...]:
    # The key of a call: calls are alike if it is equal. `rois` are as the caller gave them; `settled` has
    # only the dtype that they are converted to.
    return id(settled), features.strides, features.dtype, rois.shape, rois.strides, rois.dtype


class _Call:
    # The launches of a call: all but the addresses of its arrays.
    def __init__(
        self,
        device: Device,
        settled: Any,
        table: AxisTable,
        features: Ndarray,
        out: Ndarray,
        launched: tuple[Any, ...],
    ) -> None:
        self.settled = settled  # a reference, so that no other object gets its id
        self._device, self._fill, self._launched = device, table.again(), launched
        self._shape, self._strides, self._dtype = out.shape, out.strides, out.dtype
        self._bytes: Size = features.nbytes, table.boxes.nbytes

    def __call__(self, features: Ndarray, rois: Ndarray, out: Ndarray | None) -> Ndarray | None:
        device, (features_bytes, rois_bytes) = self._device, self._bytes
        if out is None:
            out = device.xp.empty(self._shape, self._dtype)
        else:  # an `out` that does not fit, or overlaps an input, is left to the usual path
            if type(out) is tuple or (out.shape, out.strides, out.dtype) != (
                self._shape,
                self._strides,
                self._dtype,
            ):
                return None
            begin, maps, boxes = out.data.ptr, features.data.ptr, rois.data.ptr
            end = begin + out.nbytes
            if (maps < end and begin < maps + features_bytes) or (boxes < end and begin < boxes + rois_bytes):
                return None
        memory, packed = self._fill(rois)
        options, of_maps, of_out, blocks, threads, division = self._launched
        arguments = features, of_maps, out, of_out, packed, division
        device.launch("axis_forward", "axis_forward", options, blocks, threads, arguments)
        del memory  # the launch that reads the table is in the stream: its memory may be used again
        return out
