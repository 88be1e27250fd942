"""What OpenCV has of these operators: RoiAlign in its networks, and crops of one bilinear sample per pixel.

Images are (H, W, C), boxes (x1, y1, x2, y2) in pixels whose centres are at i + 0.5.
"""

import cv2
import numpy as np

from implementations import peers_onnx

cv2.setNumThreads(1)


def roi_align(problem, *, mode="avg"):
    """A network of one RoiAlign layer, read from ONNX."""

    def run(model, inputs):
        features, boxes = inputs["features"], inputs["boxes"]
        shape = [len(boxes), features.shape[1], *problem.output_size]
        for size in shape:  # its reader wants to know them
            model.graph.output[0].type.tensor_type.shape.dim.add().dim_value = size
        network = cv2.dnn.readNetFromONNX(np.frombuffer(model.SerializeToString(), np.uint8))
        for name, array in inputs.items():
            network.setInput(array, name)
        return network.forward()

    return peers_onnx.roi_align(run, problem, mode=mode)


def resized(image, size, whole_pixels=False):
    """The whole image in another size: samples at bins' centres, or the mean of whole pixels."""
    how = cv2.INTER_AREA if whole_pixels else cv2.INTER_LINEAR
    return cv2.resize(image, size[::-1], interpolation=how)


def rectangle(image, centre, size):
    """A rectangle of the image's own resolution around a centre between its pixels."""
    return cv2.getRectSubPix(image, size[::-1], [place - 0.5 for place in centre])


def warped(image, centre, sides, angle, size):
    """A box of that centre, width and height, turned counter-clockwise as displayed by degrees."""
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    (width, height), (rows, columns) = sides, size
    step_x, step_y = width / columns, height / rows
    first_x, first_y = (step_x - width) / 2, (step_y - height) / 2
    matrix = np.array(
        [
            [step_x * cosine, step_y * sine, first_x * cosine + first_y * sine + centre[0] - 0.5],
            [-step_x * sine, step_y * cosine, first_y * cosine - first_x * sine + centre[1] - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, matrix, (columns, rows), None, flags, cv2.BORDER_REPLICATE)
