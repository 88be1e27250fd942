"""Copy feature maps to channels-last."""

from __future__ import annotations

import numpy as np

from roicy._types import Ndarray
from roicy.cuda.device import Device
from roicy.cuda.structs import Layout, view
from roicy.cuda.tuning import CONSTANTS

#: As in channels_last.cu.
MAPS = Layout(tasks=np.int64, pixels=np.int64, channels=np.int32, width=np.int32)
_TILE = 32


def copy_with_channels_last(device: Device, features: Ndarray) -> Ndarray:
    """Return a copy of the maps, of the same shape, whose channels lie side by side."""
    images, channels, height, width = features.shape
    copy = device.empty((images, height, width, channels), features.dtype)
    tasks = images * -(-channels // _TILE) * -(-height * width // _TILE)
    source = "channels_last"
    maps = MAPS(tasks=tasks, pixels=height * width, channels=channels, width=width)
    accumulate = "float64" if features.dtype == np.float64 else "float32"
    options = device.feature_options(features.dtype, accumulate, features)
    threads = CONSTANTS[source]["THREADS"]
    device.launch(source, source, options, tasks, threads, (*view(features), copy, maps))
    return copy.transpose(0, 3, 1, 2)
