"""The recipes for other engines, where these are installed."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from closeness import assert_same_bits

import roicy

DOCS = Path(__file__).parents[2] / "docs"
RNG = np.random.default_rng(0)

pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="the documentation is not here")


@pytest.fixture
def recipe(monkeypatch):
    """Import a module of the page, which processes that are started import, too."""
    monkeypatch.syspath_prepend(str(DOCS))
    monkeypatch.setenv("PYTHONPATH", str(DOCS), prepend=":")
    return lambda name: importlib.import_module(f"recipes.{name}")


def test_joblib(recipe):
    pytest.importorskip("joblib", reason="joblib is not installed")
    images = [RNG.integers(0, 256, (20 + n, 30, 3), dtype=np.uint8) for n in range(5)]
    boxes = [np.array([[1, 2, 15, 18]]) + n for n in range(5)]
    found = recipe("joblib_images").crops(images.__getitem__, range(5), boxes, 8, jobs=1)
    assert_same_bits(found, roicy.crop_and_resize(images, boxes, 8, dtype="uint8"))


def test_shared_memory(recipe):
    module = recipe("shared_memory")
    features = RNG.random((2, 3, 12, 10), np.float32)
    rois = np.array([[0, 1, 1, 7, 8], [1, 2, 0, 9, 6], [0, 0, 0, 5, 12]], np.float32)
    maps, one = module.shared(features.shape, np.float32)
    out, other = module.shared((3, 3, 2, 2), np.float32)
    try:
        maps[...] = features
        module.pool((one.name, maps.shape, maps.dtype), rois, (other.name, out.shape, out.dtype), 2)
        assert_same_bits(out.copy(), roicy.roi_align(features, rois, 2))
    finally:
        del maps, out
        for memory in (one, other):
            memory.close()
            memory.unlink()


def test_a_batch_of_ray(recipe):
    images = RNG.integers(0, 256, (4, 20, 30, 3), dtype=np.uint8)
    boxes = np.array([[1, 2, 15, 18]]) + np.arange(4)[:, None]
    found = recipe("ray_data").crop_batch({"image": images, "box": boxes}, 8)["crop"]
    rows = np.column_stack([np.arange(4), boxes]).astype(np.float32)
    assert_same_bits(found, roicy.crop_and_resize(images, rows, 8, dtype="uint8"))


@pytest.mark.slow
def test_ray(recipe, run_python, monkeypatch):
    for package in ("ray", "pyarrow"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    source = """
import numpy as np, ray
from recipes import ray_data
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
images = np.random.default_rng(0).integers(0, 256, (10, 20, 30, 3), dtype=np.uint8)
boxes = np.tile([[1, 2, 15, 18]], (10, 1)) + np.arange(10)[:, None]
rows = ray.data.from_items([{"image": image, "box": box} for image, box in zip(images, boxes)])
found = ray_data.crops(rows, batch_size=4).take_batch(10, batch_format="numpy")["crop"]
expected = ray_data.crop_batch({"image": images, "box": boxes})["crop"]
order = [int(np.flatnonzero((expected == crop).all(axis=(1, 2, 3)))[0]) for crop in found]
assert sorted(order) == list(range(10))
"""
    run_python(source, timeout=120)


def test_xarray(recipe):
    xarray = pytest.importorskip("xarray", reason="xarray is not installed")
    values = RNG.random((2, 3, 12, 10), np.float32)
    maps = xarray.DataArray(values, dims=["time", "band", "y", "x"], coords={"band": ["r", "g", "b"]})
    boxes = np.array([[1, 1, 7, 8], [2, 0, 9, 6]], np.float32)
    found = recipe("labelled").pool_boxes(maps, boxes, 4)
    assert found.dims == ("time", "band", "box", "row", "column") and list(found.band.values) == [
        "r",
        "g",
        "b",
    ]
    for time in range(2):
        wanted = roicy.roi_align(values[time : time + 1], boxes, 4)
        assert_same_bits(np.ascontiguousarray(np.moveaxis(found.values[time], 1, 0)), wanted)
    pytest.importorskip("dask.array", reason="dask[array] is not installed")
    lazily = recipe("labelled").pool_boxes(maps.chunk(time=1), boxes, 4)
    assert_same_bits(lazily.compute().values, found.values)
