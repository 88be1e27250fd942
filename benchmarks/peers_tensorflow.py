"""TensorFlow's crops of maps with the channels last; results come back in NCHW."""

import numpy as np


def tensorflow(workload, threads):
    """``tf.image.crop_and_resize``, whose boxes are y, x in multiples of the map's sides less 1."""
    import tensorflow as tf

    if tf.config.threading.get_intra_op_parallelism_threads() != threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    _, _, height, width = workload.input_shape
    sides = np.array([height - 1, width - 1] * 2, np.float32)

    def prepare(features, rois, grad_output):
        images = tf.constant(np.ascontiguousarray(features.transpose(0, 2, 3, 1)))
        boxes = tf.constant(rois[:, [2, 1, 4, 3]] / sides)
        which = tf.constant(rois[:, 0].astype(np.int32))
        return lambda: (
            tf.image.crop_and_resize(images, boxes, which, workload.bins).numpy().transpose(0, 3, 1, 2)
        )

    return prepare
