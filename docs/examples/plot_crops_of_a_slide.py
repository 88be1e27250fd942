"""
Crops of a slide that no memory holds
=====================================

A microscope's slide of 100 000 x 100 000 pixels has 30 GB. `roicy.dask` cuts boxes out of it and reads the
tiles that these touch, no others. Here tiles are painted when they are asked for; those of zarr are read
(``dask.array.from_zarr``).
"""

# %%
# Tissue: a cell in each square of 64 pixels. What a pixel shows follows from its place, so that any part of
# the slide can be painted by itself.

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np

import roicy.dask

SIDE, TILE, CELL = 100_000, 512, 64


def chance(row, column, which):
    """A number of each cell, anything from 0 to 1."""
    return np.modf(np.abs(np.sin(row * 12.9898 + column * 78.233 + which) * 43758.5453))[0]


def density(y, x):
    """How much tissue there is, 0 or less for none."""
    u, v = x / SIDE - 0.5, y / SIDE - 0.5
    return 0.16 - u**2 - v**2 - 0.05 * np.sin(9 * u + 4 * v) - 0.04 * np.cos(7 * v - 3 * u)


def middles(row, column):
    """The middle of a cell, y and x."""
    corner = enumerate((row, column))
    return [(place + 0.3 + 0.4 * chance(row, column, which)) * CELL for which, place in corner]


def is_rare(row, column):
    """Whether a cell is one of those that are looked for."""
    return (chance(row, column, 2) > 0.9997) & (density(row * CELL, column * CELL) > 0.02)


def paint(y, x):
    """The colours at rows ``y`` of columns ``x``."""
    row, column = y // CELL, x // CELL
    middle_y, middle_x = middles(row, column)
    distance = np.hypot(y - middle_y, x - middle_x) / (8 + 6 * chance(row, column, 3))
    nucleus = 1 / (1 + np.exp(8 * (distance - 1)))
    tissue = 1 / (1 + np.exp(-400 * density(y, x)))
    colours = np.array([238, 236, 240]) + tissue[..., None] * np.array([-18, -70, -30])
    stain = np.where(is_rare(row, column)[..., None], [-150, -95, -180], [-120, -90, -60])
    return (colours + (nucleus * tissue)[..., None] * stain).clip(0, 255).astype(np.uint8)


# %%
# The slide is a Dask array of tiles, none of which is there yet.

painted = []


def tile(block_info):
    (top, bottom), (left, right), _ = block_info[None]["array-location"]
    painted.append((top, left))
    return paint(np.arange(top, bottom)[:, None], np.arange(left, right))


lengths = (*[TILE] * (SIDE // TILE), SIDE % TILE)
nothing = np.empty((0, 0, 0), np.uint8)
slide = da.map_blocks(tile, chunks=(lengths, lengths, (3,)), dtype=np.uint8, meta=nothing)
print(slide.shape, f"{slide.nbytes / 1e9:.0f} GB in {slide.npartitions} tiles")

# %%
# A detector has found rare cells. A box of 96 x 96 pixels is cut around each: the graph is made at once, and
# says the shape of the result.

cells = np.arange(SIDE // CELL)
found = np.argwhere(is_rare(cells[:, None], cells))
found = found[np.random.default_rng(0).permutation(len(found))[:24]]
y, x = middles(*found.T)
boxes = np.column_stack([x - 48, y - 48, x + 48, y + 48])
crops = roicy.dask.crop_and_resize(slide, boxes, 96, dtype="uint8")
print(crops.shape, f"{len(painted)} tiles painted")

crops = crops.compute()
print(f"{len(painted)} of {slide.npartitions} tiles painted, none of them twice")
assert len(set(painted)) == len(painted)

# %%
# The boxes on an overview, far too small to be seen there, and what was cut.

some = np.linspace(0, SIDE - 1, 400)
overview = 1 / (1 + np.exp(-400 * density(some[:, None], some)))
figure = plt.figure(figsize=(11, 4.6), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=[1, 1.35])
axis = left.subplots()
axis.imshow(overview, cmap="PuRd", vmax=2.5, extent=(0, SIDE, SIDE, 0))
axis.plot(x, y, "s", color="black", markersize=5, markerfacecolor="none")
axis.set_title("100 000 x 100 000 pixels")
axis.set_xticks([0, SIDE])
axis.set_yticks([0, SIDE])
for axis, crop in zip(right.subplots(4, 6).flat, crops, strict=False):
    axis.imshow(crop)
    axis.set_axis_off()
right.suptitle("rare cells, 96 x 96 pixels each")
plt.show()
