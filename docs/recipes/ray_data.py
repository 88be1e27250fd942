"""Ray Data: a table of images with boxes becomes a table of crops, batch by batch."""

import numpy as np

import roicy


def crop_batch(batch, size=32):
    """A function for ``dataset.map_batches``: each row has an image and the box to cut out of it."""
    images = list(batch["image"])
    boxes = [box[None] for box in np.asarray(batch["box"], np.float32)]
    with roicy.num_threads(1):  # Ray runs a task a core
        return {"crop": roicy.crop_and_resize(images, boxes, size, dtype="uint8")}


def crops(dataset, batch_size=64):
    """The crops of all rows, lazily."""
    return dataset.map_batches(crop_batch, batch_size=batch_size, batch_format="numpy")
