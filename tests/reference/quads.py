"""Crops of quadrangles, sample by sample, in float64."""

import numpy as np


def view(corners, size):
    """The matrix from (column + 0.5, row + 0.5, 1) of a crop to the image, by solving for it."""
    rows, columns = size
    ends = [(0, 0), (columns, 0), (columns, rows), (0, rows)]
    equations, values = [], []
    for (u, v), (x, y) in zip(ends, np.asarray(corners, np.float64), strict=True):
        equations += [[u, v, 1, 0, 0, 0, -x * u, -x * v], [0, 0, 0, u, v, 1, -y * u, -y * v]]
        values += [x, y]
    return np.append(np.linalg.solve(equations, values), 1).reshape(3, 3)


def counts(corners, size, ratio):
    """Samples of a pixel along rows and along columns: for 0, those that the longer sides have pixels for."""
    if ratio:
        return ratio, ratio
    p, q, r, s = np.asarray(corners, np.float64)
    down, across = max(np.hypot(*(s - p)), np.hypot(*(r - q))), max(np.hypot(*(q - p)), np.hypot(*(r - s)))
    return tuple(
        int(np.clip(np.ceil(side / pixels - 2.0**-10), 1, 128))
        for side, pixels in zip((down, across), size, strict=True)
    )


def crop(image, corners, size, *, border="constant", nearest=False, fill=0.0, ratio=1):
    """Values (C, PH, PW) of an image (C, H, W)."""
    matrix, (rows, columns) = view(corners, size), counts(corners, size, ratio)
    out = np.zeros((len(image), *size))
    for p, q in np.ndindex(*size):
        for i, j in np.ndindex(rows, columns):
            x, y, w = matrix @ (q + (j + 0.5) / columns, p + (i + 0.5) / rows, 1)
            seen = w > 0
            value = sample(image, y / w - 0.5, x / w - 0.5, border, nearest, fill) if seen else fill
            out[:, p, q] += value / (rows * columns)
    return out


def sample(image, y, x, border, nearest, fill):
    """The channels of one sample, with pixels at whole numbers."""
    height, width = image.shape[1:]
    if nearest:
        y, x = np.floor(y + 0.5), np.floor(x + 0.5)
    if border == "edge":
        y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
    if border == "reject" and not (0 <= y <= height - 1 and 0 <= x <= width - 1):
        return fill
    if not (-1 < y < height and -1 < x < width):
        return fill
    top, left = int(np.floor(y)), int(np.floor(x))
    total = np.zeros(len(image))
    for row, down in (top, 1 - (y - top)), (top + 1, y - top):
        for column, across in (left, 1 - (x - left)), (left + 1, x - left):
            inside = 0 <= row < height and 0 <= column < width
            total += down * across * (image[:, row, column] if inside else fill)
    return total
