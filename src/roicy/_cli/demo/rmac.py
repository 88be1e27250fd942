"""R-MAC: the regions of the photo, and pictures in the order of their descriptors' similarity to it."""

from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle
from skimage import data

import roicy
from roicy._cli.demo.sheet import AMBER, CYAN, FAINT, HEAD, INK, MARGIN, PINK, Sheet, show

STRIDE = 16
ORIENTATIONS, HUES = 8, 6  # channels of the feature map; one more says where there is no colour
COMPONENTS = 6  # of the whitened region vectors
SCALES = {1: AMBER, 2: CYAN, 3: PINK}
OPTIONS: dict[str, Any] = {"scales": len(SCALES), "layout": "NHWC"}
PALE = "#c9ced6"


def draw(photo, stopwatch):
    """Draw the regions and what they hold, and below them the pictures with their similarities."""
    own = {  # pictures made of the photo
        "the photo": photo,
        "flipped": photo[:, ::-1],
        "darker": (0.45 * photo).astype(np.uint8),
        "a part of it": photo[20:420, 110:450],
    }
    others = {
        "another portrait": data.astronaut(),
        "a cat": data.chelsea(),
        "a coffee": data.coffee(),
        "a rocket": data.rocket(),
    }
    pictures = {**own, **others}
    maps = {name: feature_map(picture) for name, picture in pictures.items()}
    whiten = whitening(maps.values())
    features = maps["the photo"]
    words = f"{len(SCALES)} scales, {COMPONENTS} components"
    descriptor = stopwatch.time(words, roicy.rmac, features, whiten=whiten, **OPTIONS)[0]
    similarity = {
        name: float(roicy.rmac(each, whiten=whiten, **OPTIONS)[0] @ descriptor) for name, each in maps.items()
    }

    tall, gap, label, table = 3.0, 0.16, 0.34, 3.3  # inches
    wide = tall * photo.shape[1] / photo.shape[0]
    width = len(SCALES) * (wide + gap) + 3 * MARGIN + table
    bars, thumbnail = (
        1.5,
        (width - 2 * MARGIN - gap * (len(pictures) - 1))
        / sum(picture.shape[1] / picture.shape[0] for picture in pictures.values()),
    )
    lower = HEAD + tall + label + 0.55
    sheet = Sheet(
        width,
        lower + label + bars + thumbnail + label + MARGIN,
        "rmac describes a picture by what its regions hold",
        f"the regions of a map of stride {STRIDE}, and the largest value of each channel in each of them",
    )

    regions = roicy.rmac_regions(features.shape, **OPTIONS)[:, 1:] + [0, 0, 1, 1]  # ends are inclusive
    sides = regions[:, 2] - regions[:, 0]
    x = MARGIN
    for (scale, colour), side in zip(SCALES.items(), -np.unique(-sides), strict=True):
        chosen = STRIDE * regions[sides == side]
        words = f"scale {scale}: {len(chosen)} regions"
        sheet.text(x, HEAD + 0.66 * label, words, fontsize=10, color=FAINT)
        _draw_regions(sheet.axes(x, HEAD + label, wide, tall), photo, chosen, colour)
        x += wide + gap
    x += MARGIN - gap
    sheet.text(x, HEAD + 0.66 * label, "region by channel", fontsize=10, color=FAINT)
    _draw_maxima(sheet.axes(x, HEAD + label, table, tall), features, sides)

    sheet.text(MARGIN, lower, "similarity to the photo", fontsize=13, weight="bold")
    axes = sheet.axes(MARGIN, lower + label, width - 2 * MARGIN, bars)
    axes.set(xlim=(MARGIN, width - MARGIN), ylim=(-1.1, 1.15))
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_axis_off()
    x = MARGIN
    for name in sorted(pictures, key=similarity.__getitem__, reverse=True):
        picture, value = pictures[name], similarity[name]
        across = thumbnail * picture.shape[1] / picture.shape[0]
        colour = CYAN if name in own else PALE
        axes.bar(x + across / 2, value, width=0.5, color=colour)
        side = "bottom" if value > 0 else "top"
        axes.text(x + across / 2, value, f"{value:.2f}", ha="center", va=side, fontsize=10, color=INK)
        y = lower + label + bars
        show(sheet.axes(x, y, across, thumbnail), picture, colour, smooth=True)
        middle = x + across / 2
        sheet.text(middle, y + thumbnail + 0.26, name, fontsize=10, color=FAINT, ha="center")
        x += across + gap
    return sheet


def feature_map(picture):
    """Return a map (1, H, W, C) of what is where: edges by orientation, colours by hue, and no colour.

    None of the channels depends on how bright the picture is. `roi_align` averages the pixels of each cell.
    """
    rgb = picture.astype(np.float32) / 255
    down, across = np.gradient(np.log(rgb.mean(axis=2) + 0.02))
    edges = _by_angle(np.arctan2(down, across), np.minimum(np.hypot(down, across), 1), ORIENTATIONS)
    red, green, blue = np.moveaxis(rgb, 2, 0)
    saturation = np.ptp(rgb, axis=2) / np.maximum(rgb.max(axis=2), 0.05)
    colours = _by_angle(np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue), saturation, HUES)
    channels = np.stack([*edges, *colours, 1 - saturation], axis=2).astype(np.float32)
    height, width = (side // STRIDE for side in saturation.shape)
    everything = np.array([[0, 0, width * STRIDE, height * STRIDE]], np.float32)
    return roicy.roi_align(channels[None], everything, (height, width), sampling_ratio=STRIDE, layout="NHWC")


def whitening(maps):
    """Learn the mean and the matrix that whiten the region vectors of these maps."""
    vectors = np.concatenate([region_maxima(features) for features in maps])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    mean = vectors.mean(axis=0)
    _, deviations, directions = np.linalg.svd(vectors - mean, full_matrices=False)
    return mean, directions[:COMPONENTS] / deviations[:COMPONENTS, None]


def region_maxima(features):
    """Return a row for each region of a map: the largest value of every channel."""
    regions = roicy.rmac_regions(features.shape, **OPTIONS)
    return roicy.roi_pool(features, regions, 1, layout="NHWC")[:, 0, 0]


def _by_angle(angle, strength, number):
    """Split strengths by the direction they have: a plane for each of ``number`` directions."""
    return [strength * np.maximum(np.cos(angle - 2 * np.pi * k / number), 0) ** 4 for k in range(number)]


def _draw_regions(axes, photo, regions, colour):
    show(axes, 0.6 * photo, smooth=True)
    for number, (x1, y1, x2, y2) in enumerate(regions):
        inset = 4 + 5 * (number % 3)  # regions overlap: their frames should not
        side = x2 - x1 - 2 * inset
        axes.add_patch(
            Rectangle(
                (x1 + inset, y1 + inset), side, y2 - y1 - 2 * inset, fc=colour + "18", ec=colour, lw=1.5
            )
        )


def _draw_maxima(axes, features, sides):
    maxima = region_maxima(features)
    ink = LinearSegmentedColormap.from_list("ink", ["white", INK])
    axes.imshow(maxima / maxima.max(axis=0), cmap=ink, vmin=0, aspect="auto", interpolation="nearest")
    start = 0
    for colour, side in zip(SCALES.values(), -np.unique(-sides), strict=True):
        rows = int(np.sum(sides == side))
        axes.add_patch(Rectangle((-0.9, start - 0.5), 0.4, rows, color=colour, clip_on=False))
        start += rows
    for middle, words in (3.5, "edges"), (ORIENTATIONS + 2.5, "hues"), (ORIENTATIONS + HUES, "grey"):
        axes.text(middle, len(maxima) - 0.2, words, ha="center", va="top", fontsize=9, color=FAINT)
