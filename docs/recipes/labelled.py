"""xarray: pooling keeps the names and coordinates of what it does not touch."""

import numpy as np
import xarray

import roicy


def pool_boxes(maps, boxes, size):
    """Pool boxes of each time and band of a labelled array with the dimensions y and x.

    `boxes` is (K, 4) in pixels, the same for all times. Maps in Dask chunks along the others stay chunked.
    """

    def pool(array):  # (..., y, x) -> (..., box, row, column)
        planes = array.reshape(1, -1, *array.shape[-2:])  # each a channel
        with roicy.num_threads(1):
            pooled = roicy.roi_align(planes, boxes, size)
        return np.moveaxis(pooled, 0, 1).reshape(*array.shape[:-2], len(boxes), *pooled.shape[2:])

    return xarray.apply_ufunc(
        pool,
        maps,
        input_core_dims=[["y", "x"]],
        output_core_dims=[["box", "row", "column"]],
        dask="parallelized",
        dask_gufunc_kwargs={"output_sizes": {"box": len(boxes), "row": size, "column": size}},
        output_dtypes=[np.float32],
    )
