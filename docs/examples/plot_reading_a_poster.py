"""
Lines of a poster, read by a model
==================================

A detector finds lines of text, each within four corners; a second model reads them. `roicy.crop_quads` cuts
all lines in one call, straightened and as the second model takes them.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import font_manager
from matplotlib.patches import Polygon
from PIL import Image, ImageDraw, ImageFont
from skimage import transform

import roicy

try:  # its models come with it
    from rapidocr_onnxruntime import RapidOCR
except ImportError:
    RapidOCR = None
    print("rapidocr-onnxruntime is not installed: lines are cut where they were put, and nobody reads them")

# %%
# A poster, photographed from its side.

LINES = [
    ("FLYING MACHINES", 78),
    ("an exhibition in the old town hall", 36),
    ("March 12 to October 30", 48),
    ("open daily from 9 to 18", 36),
    ("guided tours on Sundays at 11", 36),
    ("admission free", 60),
]
poster = Image.new("RGB", (820, 640), (247, 240, 222))
pen, top, rectangles = ImageDraw.Draw(poster), 40, []
for number, (text, size) in enumerate(LINES):
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), size)
    pen.text((50, top), text, font=font, fill=[(150, 40, 30), (30, 40, 70)][number % 2])
    x1, y1, x2, y2 = pen.textbbox((50, top), text, font=font)
    rectangles.append([(x1 - 4, y1 - 4), (x2 + 4, y1 - 4), (x2 + 4, y2 + 4), (x1 - 4, y2 + 4)])
    top += size + 48
ends = np.array([(150, 60), (1010, 210), (960, 760), (90, 700)])  # where its corners are in the photo
view = transform.ProjectiveTransform.from_estimate(np.array([(0, 0), (820, 0), (820, 640), (0, 640)]), ends)
photo = transform.warp(np.asarray(poster), view.inverse, output_shape=(820, 1100), order=1, cval=0.35)
photo = (255 * photo).astype(np.uint8)

# %%
# Lines, by the detector where there is one: top left, top right, bottom right and bottom left of each.

if RapidOCR is None:
    quads = view(np.concatenate(rectangles)).reshape(-1, 4, 2)
else:
    ocr = RapidOCR()
    image, _ = ocr.maybe_add_letterbox(photo[..., ::-1], {})  # its models know BGR
    quads = np.array(ocr.auto_text_det(image)[0])
    assert image.shape == photo.shape
print(len(quads), "lines")

# %%
# The reader takes lines of 48 rows and of their own width, with zeros behind them. So each quadrangle is made
# longer, until all have the shape of the longest one; pixels are normalised to -1 ... 1, and what is behind a
# line's own end is cleared.

HEIGHT = 48


def cut(image, quads):
    """Return lines as a batch, and the width of each."""
    sides = np.linalg.norm(quads - np.roll(quads, -1, axis=1), axis=2)
    ratios = sides[:, [0, 2]].max(axis=1) / sides[:, [1, 3]].max(axis=1)
    widths = np.ceil(HEIGHT * ratios).astype(int)
    widest = max(320, widths.max())
    longer = quads.astype(np.float32) + 0.5  # pixels are centred at whole numbers there
    longer[:, [1, 2]] += (quads[:, [1, 2]] - quads[:, [0, 3]]) * (widest / widths - 1)[:, None, None]
    batch = roicy.crop_quads(
        image, longer, (HEIGHT, widest), border="edge", mean=127.5, std=127.5, out_layout="NCHW"
    )
    for line, width in zip(batch, widths, strict=True):
        line[:, :, width:] = 0
    return batch, widths


batch, widths = cut(photo[..., ::-1], quads)
print("a batch of", batch.shape)

# %%
# The text is that of the package's own crops, which are made one by one, and normalised one by one. Both ways
# are timed up to the batch.


def read(batch, widths):
    """Return what the reader reads."""
    ratios = list(widths / HEIGHT)
    scores = ocr.text_rec.session(batch)[0]
    found = ocr.text_rec.postprocess_op(
        scores, False, wh_ratio_list=ratios, max_wh_ratio=batch.shape[3] / HEIGHT
    )
    return [text for text, _ in found]


def cut_one_by_one(image, quads):
    """Return what the package gives to its reader."""
    crops = ocr.get_crop_img_list(image, quads)
    widest = max(320 / HEIGHT, *(crop.shape[1] / crop.shape[0] for crop in crops))
    return np.stack([ocr.text_rec.resize_norm_img(crop, widest) for crop in crops])


def milliseconds(function):
    """Return the shortest time that a call takes."""
    times = []
    for _ in range(7):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


if RapidOCR is not None:
    texts = read(batch, widths)
    own = [text for text, _ in ocr.text_rec(ocr.get_crop_img_list(image, quads))[0]]
    print(*texts, sep="\n")
    print("the same text as with its own crops:", texts == own)
    assert texts == own
    ours = milliseconds(lambda: cut(photo[..., ::-1], quads))
    theirs = milliseconds(lambda: cut_one_by_one(image, quads))
    print(f"cutting: {ours:.2f} ms in one call, {theirs:.2f} ms one by one")

# %%

figure = plt.figure(figsize=(9.5, 10), layout="constrained")
above, below = figure.subfigures(2, 1, height_ratios=(1.35, 1))
axes = above.subplots()
axes.imshow(photo)
for quad in quads:
    axes.add_patch(Polygon(quad, fill=False, edgecolor="tab:orange", linewidth=1.5))
axes.set_axis_off()
for axes, line in zip(below.subplots(len(batch), 1), batch, strict=True):
    axes.imshow((line[::-1].transpose(1, 2, 0) + 1) / 2)
    axes.set_axis_off()
plt.show()
