"""OpenCV, which cuts one piece at a time out of pictures in its layout, HWC; what NumPy makes of pieces."""

import numpy as np


def opencv_resize(workload, threads):
    """``cv2.resize`` of each box, in its layout, HWC."""
    return _opencv_crops(workload, threads, lambda crops: crops)


def opencv_normalised(workload, threads):
    """The same, and what NumPy makes of it: normalised, RGB, CHW."""
    options = workload.options
    mean, std = np.float32(options["mean"]), np.float32(options["std"])
    out = np.empty(workload.output_shape, np.float32)

    def finish(crops):
        for target, crop in zip(out, crops, strict=True):
            target[...] = ((crop[..., ::-1].astype(np.float32) - mean) / std).transpose(2, 0, 1)
        return out

    return _opencv_crops(workload, threads, finish)


def opencv_blobs(workload, threads):
    """The same with ``cv2.dnn.blobFromImages``."""
    import cv2

    size, options = (workload.output_size,) * 2, workload.options
    mean, scale = (options["mean"],) * 3, 1 / options["std"]
    return _opencv_crops(
        workload, threads, lambda crops: cv2.dnn.blobFromImages(crops, scale, size, mean, swapRB=True)
    )


def _opencv_crops(workload, threads, finish):
    import cv2

    cv2.setNumThreads(threads)
    size = workload.bins[::-1]

    def prepare(features, rois, grad_output):
        images = np.ascontiguousarray(features.transpose(0, 2, 3, 1))
        whole = np.rint(rois).astype(int)
        pieces = [images[image, y1:y2, x1:x2] for image, x1, y1, x2, y2 in whole]
        return lambda: finish([cv2.resize(piece, size) for piece in pieces])

    return prepare


def opencv(workload, threads):
    """``cv2.warpAffine`` per box on float32 images in its layout, HWC, at roi_align's sample positions."""
    rows, columns = workload.bins

    def matrix(x1, y1, x2, y2):
        step_x, step_y = (x2 - x1) / columns, (y2 - y1) / rows
        return np.array([[step_x, 0, x1 + 0.5 * step_x - 0.5], [0, step_y, y1 + 0.5 * step_y - 0.5]])

    return _opencv_affine(workload, threads, np.float32, matrix)


def opencv_lines(workload, threads):
    """``cv2.warpAffine`` of each tilted box, to bytes, at roi_align_rotated's sample positions."""
    rows, columns = workload.bins

    def matrix(x, y, width, height, angle):
        cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
        # the steps of a column and of a row, counter-clockwise as displayed
        steps = np.array([[cos, sin], [-sin, cos]]) * (width / columns, height / rows)
        first = np.array([x, y]) - 0.5 - steps @ np.array([columns - 1, rows - 1]) / 2
        return np.column_stack([steps, first])

    return _opencv_affine(workload, threads, np.uint8, matrix)


def _opencv_affine(workload, threads, dtype, matrix):
    import cv2

    cv2.setNumThreads(threads)
    rows, columns = workload.bins
    out = np.empty((workload.rois, rows, columns, workload.input_shape[1]), dtype)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP

    def prepare(features, rois, grad_output):
        images = np.ascontiguousarray(features.transpose(0, 2, 3, 1))
        boxes = [(images[int(image)], matrix(*box)) for image, *box in rois.astype(np.float64)]

        def call():
            for target, (image, to_image) in zip(out, boxes, strict=True):
                cv2.warpAffine(image, to_image, (columns, rows), target, flags, cv2.BORDER_REPLICATE)
            return out.transpose(0, 3, 1, 2)

        return call

    return prepare


def opencv_quads(workload, threads):
    """``cv2.warpPerspective`` of each quadrangle, to bytes; the matrices are found untimed."""
    return _opencv_quads(workload, threads)


def opencv_quads_normalised(workload, threads):
    """The same, and what NumPy makes of it: normalised, RGB, CHW."""
    options = workload.options
    mean, std = np.float32(options["mean"]), np.float32(options["std"])
    out = np.empty(workload.output_shape, np.float32)

    def finish(crop, number):
        out[number] = ((crop[..., ::-1].astype(np.float32) - mean) / std).transpose(2, 0, 1)

    return _opencv_quads(workload, threads, finish, out)


def _opencv_quads(workload, threads, finish=None, out=None):
    import cv2

    cv2.setNumThreads(threads)
    rows, columns = workload.bins
    crops = np.empty((workload.rois, rows, columns, workload.input_shape[1]), np.uint8)
    edges = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]], np.float32) - 0.5

    def prepare(features, rois, grad_output):
        images = np.ascontiguousarray(features.transpose(0, 2, 3, 1))
        pieces = []
        for crop, (image, *corners) in zip(crops, rois, strict=True):
            corners = np.array(corners, np.float32).reshape(4, 2) - np.float32(0.5)
            pieces.append((images[int(image)], cv2.getPerspectiveTransform(corners, edges), crop))

        def call():
            for number, (image, matrix, crop) in enumerate(pieces):
                cv2.warpPerspective(image, matrix, (columns, rows), crop)
                if finish:
                    finish(crop, number)
            return crops if out is None else out

        return call

    return prepare
