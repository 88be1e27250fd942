"""Masks pasted into images, pixel by pixel, and COCO's run lengths."""

import numpy as np


def paste(masks, boxes, image_size, rule="detectron2"):
    """Values (K, H, W): looked up in the dtype of the boxes, and mixed in float64."""
    out = np.zeros((len(masks), *image_size))
    for mask, box, image in zip(np.asarray(masks).astype(np.float64), boxes, out, strict=True):
        if not np.isfinite(box).all():
            image[...] = np.nan
            continue
        with np.errstate(all="ignore"):
            rows = places(box[1], box[3], mask.shape[0], mask.shape[1], image_size[0], rule)
            columns = places(box[0], box[2], mask.shape[1], mask.shape[1], image_size[1], rule)
            for y, above, down in rows:
                for x, before, right in columns:
                    upper = between(pixel(mask, above, before), pixel(mask, above, before + 1), right)
                    lower = between(pixel(mask, above + 1, before), pixel(mask, above + 1, before + 1), right)
                    image[y, x] = between(upper, lower, down)
    return out


def between(first, second, fraction):
    return first + fraction * (second - first)


def pixel(mask, y, x):
    """A pixel, or the nothing around the mask."""
    return mask[y, x] if 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] else 0.0


def places(start, end, length, width, limit, rule):
    """(pixel of the image, pixel of the mask before it, fraction of the way to the next) along an axis."""
    real = type(start)
    found = []
    if rule == "detectron2":
        first = max(np.floor(start) - real(1), real(0))
        last = min(np.ceil(end) + real(1), real(limit))
        for x in range(int(min(first, limit)), int(max(last, 0))):
            part = (real(x) + real(0.5) - start) / (end - start) * real(2) - real(1)
            at = ((part + real(1)) * real(length) - real(1)) / real(2)
            if -1 < at < length:
                found.append((x, int(np.floor(at)), float(at - np.floor(at))))
        return found
    half, centre = (end - start) * real(0.5), (end + start) * real(0.5)
    half = half * real((width + 2.0) / width)
    if not (np.isfinite(half) and np.isfinite(centre)):
        return []
    far = 2**60  # where whole numbers end
    first, last = (min(max(int(edge), -far), far) for edge in (centre - half, centre + half))
    size = max(last - first + 1, 1)
    scale = real(length + 2) / real(size)
    for x in range(min(max(first, 0), limit), max(min(last + 1, limit), 0)):
        at = max(scale * (real(x - first) + real(0.5)) - real(0.5), real(0))
        padded = min(int(np.floor(at)), length + 1)
        found.append((x, padded - 1, min(float(at - real(padded)), 1.0)))
    return found


def run_lengths(mask):
    """Lengths of the runs of zeros, ones, zeros, ... down the columns of a mask (H, W)."""
    counts, inside, length = [], False, 0
    for value in mask.T.ravel().tolist():
        if value != inside:
            counts.append(length)
            inside, length = value, 0
        length += 1
    return [*counts, length]
