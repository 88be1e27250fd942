"""MNN, whose arrays lie in blocks of four channels: results come back in NCHW."""

import numpy as np

import roicy


def mnn(workload, threads):
    """``MNN.expr.roi_align``, aligned."""
    import MNN.expr as mnn

    mode = mnn.AVEPOOL if workload.mode == "avg" else mnn.MAXPOOL
    prepare = _prepare(threads)

    def prepared(features, rois, grad_output):
        (x,), boxes = prepare([features]), _variable(rois)
        size = workload.output_size
        return lambda: _values(mnn.roi_align(x, boxes, size, size, 1.0, workload.sampling_ratio, True, mode))

    return prepared


def mnn_pool(workload, threads):
    """``MNN.expr.roi_pooling``."""
    import MNN.expr as mnn

    prepare = _prepare(threads)

    def prepared(features, rois, grad_output):
        (x,), boxes, size = prepare([features]), _variable(rois), workload.output_size
        return lambda: _values(mnn.roi_pooling(x, boxes, size, size, 1.0))

    return prepared


def mnn_pyramid(workload, threads):
    """A call for each map, whose boxes are chosen untimed."""
    import MNN.expr as mnn

    prepare = _prepare(threads)
    scales, ratio, size = workload.options["spatial_scales"], workload.sampling_ratio, workload.output_size
    out = np.empty(workload.output_shape, np.float32)

    def prepared(features, rois, grad_output):
        maps = prepare(workload.maps(features))
        levels = roicy.fpn_levels(rois, workload.levels)
        rows = [np.flatnonzero(levels == level) for level in range(workload.levels)]
        boxes = [_variable(rois[some]) for some in rows]

        def call():
            for x, some, of_map, scale in zip(maps, rows, boxes, scales, strict=True):
                pooled = mnn.roi_align(x, of_map, size, size, scale, ratio, False, mnn.AVEPOOL)
                out[some] = _values(pooled)
            return out

        return call

    return prepared


def _prepare(threads):
    """What converts maps to its layout."""
    import MNN.expr as mnn

    mnn.set_thread_number(threads)

    def prepare(maps):
        converted = [mnn.convert(_variable(each), mnn.NC4HW4) for each in maps]
        for each in converted:
            each.read()  # it computes nothing before it is asked
        return converted

    return prepare


def _variable(array):
    import MNN.expr as mnn

    return mnn.const(np.ascontiguousarray(array), list(array.shape), mnn.NCHW, mnn.float)


def _values(result):
    import MNN.expr as mnn

    return mnn.convert(result, mnn.NCHW).read()
