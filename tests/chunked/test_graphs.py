"""What a call makes: a graph of as many tasks as there are groups, of which nothing has run."""

import inspect
import pickle
import shutil
import threading

import numpy as np
import pytest

pytest.importorskip("dask.array", reason="dask[array] is not installed")

import dask
import dask.array as da
from closeness import assert_same_bits
from cuda_host import arrays

import roicy
import roicy.dask
from roicy.dask import _tasks

RNG = np.random.default_rng(0)
FEATURES = RNG.random((6, 4, 9, 8), np.float32)
ROIS = np.column_stack([RNG.integers(0, 6, 20), RNG.random((20, 2)) * 4, RNG.random((20, 2)) * 4 + 4])
MAPS = da.from_array(FEATURES, chunks=(2, 2, 9, 8))


def never(block_info=None):
    raise AssertionError("a chunk was computed")


UNREAD = da.map_blocks(never, chunks=MAPS.chunks, dtype=np.float32, meta=np.empty((0,) * 4, np.float32))


def test_nothing_is_computed_early():
    pooled, argmax, order = roicy.dask.roi_pool(UNREAD, ROIS, 2, return_argmax=True, order="image")
    roicy.dask.roi_pool_backward(pooled, argmax, ROIS[order], FEATURES.shape)
    roicy.dask.roi_align_backward_rois(roicy.dask.roi_align(UNREAD, ROIS, 2), UNREAD, ROIS)
    roicy.dask.rmac_backward(roicy.dask.rmac(UNREAD), UNREAD)
    with pytest.raises(AssertionError, match="a chunk was computed"):
        pooled.compute(scheduler="synchronous")


def test_what_the_caller_changes_later_changes_nothing():
    def pooled(scales, mean):
        levels = roicy.dask.multi_scale_roi_align([MAPS, MAPS], ROIS, 2, spatial_scales=scales)
        return levels, roicy.dask.crop_and_resize(MAPS, ROIS, 2, layout="NCHW", mean=mean)

    scales, mean = [1.0, 0.5], np.full(4, 1.0)
    found = pooled(scales, mean)
    scales[:], mean[:] = [0.25, 0.125], 7
    expected = pooled([1.0, 0.5], np.full(4, 1.0))
    for one, other in zip(dask.compute(*found), dask.compute(*expected), strict=True):
        assert_same_bits(one, other)


def test_names_follow_from_what_is_given():
    def name(features=MAPS, rois=ROIS, size=2, **options):
        return roicy.dask.roi_align(features, rois, size, **options).name

    again = da.from_array(FEATURES.copy(), chunks=(2, 2, 9, 8))
    assert name() == name(again, ROIS.copy()) and name().startswith("roi_align-")
    others = [
        name(),
        name(rois=ROIS + np.array([0, 1, 1, 1, 1])),
        name(size=3),
        name(MAPS + 1),
        name(MAPS.rechunk((1, 4, 9, 8))),
        name(aligned=False),
        name(boxes_per_chunk=2),
        name(rois=ROIS.astype(np.float32)),
    ]
    assert len(set(others)) == len(others)


def test_names_of_gradients_follow_from_the_shape_of_the_maps_and_from_their_chunks():
    grad_output = da.ones((len(ROIS), 4, 2, 2), chunks=(5, 4, 2, 2), dtype=np.float32)
    first = np.column_stack([np.zeros(len(ROIS)), ROIS[:, 1:]])

    def gradient(shape, chunks="auto", room="128 MiB"):
        with dask.config.set({"array.chunk-size": room}):
            return roicy.dask.roi_align_backward(grad_output, first, shape, chunks=chunks)

    shapes = [(6, 4, 9, 8), (6, 4, 20, 20), (6, 4, 20, 8)]
    found = [gradient(shape) for shape in shapes]
    assert len({array.name for array in found}) == len(shapes)
    for shape, array in zip(shapes, dask.compute(*found, scheduler="synchronous"), strict=True):
        assert_same_bits(array, roicy.roi_align_backward(grad_output.compute(), first, shape))
    rooms = [gradient(shapes[0], room=room) for room in ("4 KiB", "6 KiB")]
    assert rooms[0].chunks != rooms[1].chunks and rooms[0].name != rooms[1].name
    assert gradient(shapes[0], (2, -1, -1, -1)).name == gradient(shapes[0], ((2, 2, 2), 4, 9, 8)).name


def test_names_of_gradients_of_pyramids_follow_from_their_chunks():
    rois = np.array([[0, 1, 1, 6, 6], [3, 2, 2, 7, 7]], np.float32)
    grad_output = da.ones((2, 2, 2, 2), dtype=np.float32)
    # as many chunks, of the same sizes, with the same boxes in each
    found = [
        roicy.dask.multi_scale_roi_align_backward(
            grad_output, rois, [(4, 2, 8, 8), (4, 2, 4, 4)], spatial_scales=[1.0, 0.5], chunks=chunks
        )
        for chunks in [(1, 2, 1), (1, 1, 2)]
    ]
    for one, other in zip(*found, strict=True):
        assert one.chunks != other.chunks and one.name != other.name
        assert [block.compute().shape[0] for block in one.blocks] == [1, 2, 1]
        assert [block.shape[0] for block in dask.compute(*one.blocks, *other.blocks)] == [1, 2, 1, 1, 1, 2]


def test_graphs_grow_with_groups_of_boxes():
    def tasks(count, order, images):
        rois = np.column_stack([images(count), np.tile([1, 1, 5, 6], (count, 1))]).astype(np.float32)
        found = roicy.dask.roi_align(MAPS, rois, 2, order=order)
        found = found[0] if order == "image" else found
        return len(found.dask) - len(MAPS.dask)

    def sorted_images(count):
        return np.sort(RNG.integers(0, 6, count))

    def any_images(count):
        return RNG.integers(0, 6, count)

    for order in ("image", "rois"):
        assert tasks(1000, order, sorted_images) == tasks(10, order, sorted_images) == 6
    assert tasks(1000, "image", any_images) == 6
    assert tasks(1000, "rois", any_images) == 8  # and the boxes' order


def test_chunks():
    found = roicy.dask.roi_align(MAPS, ROIS, 2, boxes_per_chunk=7)
    assert found.chunks == ((7, 7, 6), (2, 2), (2,), (2,))
    found, order = roicy.dask.roi_align(MAPS, ROIS, 2, order="image")
    assert found.chunks[0] == tuple(np.bincount(ROIS[:, 0].astype(int) // 2))
    np.testing.assert_array_equal(order, np.argsort(ROIS[:, 0] // 2, kind="stable"))
    with dask.config.set({"array.chunk-size": "256 B"}):  # 32 bytes a row: two channels
        found, _ = roicy.dask.roi_align(MAPS, ROIS, 2, order="image")
        assert max(found.chunks[0]) == 8
    found = roicy.dask.roi_align_backward(found, ROIS, FEATURES.shape, chunks=MAPS.chunks)
    assert found.chunks == MAPS.chunks
    found = roicy.dask.ps_roi_align(MAPS.rechunk((3, (1, 3), 9, 8)), ROIS, (1, 2))
    assert found.chunks[1] == (1, 1)
    found = roicy.dask.roi_align(MAPS, ROIS[:0], 2)
    assert found.shape == (0, 4, 2, 2) and found.compute().shape == (0, 4, 2, 2)
    for most in (2**63 - 1, 10**30):
        found = roicy.dask.roi_align(MAPS, ROIS, 2, boxes_per_chunk=most)
        assert_same_bits(found.compute(), roicy.roi_align(FEATURES, ROIS, 2))


def test_chunks_of_the_gradient_of_a_single_image():
    image, boxes = FEATURES[0].transpose(1, 2, 0), ROIS[:3, 1:]
    grad_output = np.ones((3, 2, 2, 4), np.float32)
    expected = roicy.crop_and_resize_backward(grad_output, boxes, image.shape)
    chunked = da.from_array(image, chunks=(5, 3, 4))
    for chunks in (chunked.chunks, (5, 3, 4), {0: (5, 4), 1: 3}):
        found = roicy.dask.crop_and_resize_backward(
            da.from_array(grad_output, chunks=2), boxes, image.shape, chunks=chunks
        )
        assert found.chunks == chunked.chunks
        assert_same_bits(found.compute(), expected)


def test_functions_and_graphs_travel():
    assert pickle.loads(pickle.dumps(roicy.dask.roi_align)) is roicy.dask.roi_align
    found = roicy.dask.roi_align(MAPS, ROIS, 2)
    again = pickle.loads(pickle.dumps(found))
    assert_same_bits(again.compute(), found.compute())


@pytest.mark.parametrize(
    "name", [name for name in roicy.dask.__all__ if name not in ("from_images", "rmac_regions")]
)
def test_signatures_and_documentation(name):
    eager = inspect.signature(getattr(roicy, name)).parameters
    graph = inspect.signature(getattr(roicy.dask, name)).parameters
    added = {"order", "boxes_per_chunk", "num_threads", "chunks"}
    kept = [other for other in eager if other not in ("out", "window", "windows")]
    assert list(graph)[: len(kept)] == kept
    assert "num_threads" in graph and set(graph) - set(kept) <= added
    assert all(graph[other].default == eager[other].default for other in kept)
    documentation = getattr(roicy.dask, name).__doc__
    assert f"roicy.{name}" in documentation
    assert all(f"\n{other} :" in documentation for other in set(graph) - set(kept))
    section = documentation.partition("Parameters\n----------\n")[2].partition("\nReturns\n")[0]
    named = [line.partition(" :")[0] for line in section.splitlines() if line[:1] != " "][:-1]
    assert {other for line in named for other in line.split(", ")} <= set(graph)
    assert name != "crop_and_resize_backward" or "images.chunks" in documentation


# ---------------------------------------------------------------- maps in tiles


def some_tiles(allowed, chunks):
    """Maps of one image of 64 x 60 pixels, of which certain tiles may be computed."""

    def tile(block_info=None):
        place = block_info[None]["chunk-location"]
        assert place[2:] in allowed, f"tile {place} is read by nobody"
        rows, columns = (np.arange(*block_info[None]["array-location"][axis]) for axis in (2, 3))
        return np.broadcast_to(np.sin(rows[:, None] + 7.3 * columns), block_info[None]["chunk-shape"])

    return da.map_blocks(tile, chunks=chunks, dtype=np.float64, meta=np.empty((0,) * 4))


def test_only_the_tiles_that_boxes_read_are_computed():
    chunks = (1,), (2, 1), (16, 16, 20, 12), (30, 10, 20)
    rois = np.array([[0, 3, 2, 12, 9], [0, 27, 14, 28, 15], [0, 31.6, 40, 38.4, 49], [0, -50, 0, -40, 9]])
    allowed = {(0, 0), (2, 1)}
    whole = some_tiles({(row, column) for row in range(4) for column in range(3)}, chunks).compute()
    with dask.config.set(scheduler="synchronous"):
        for function in ("roi_align", "roi_pool", "prroi_pool"):
            found = getattr(roicy.dask, function)(some_tiles(allowed, chunks), rois, 3)
            assert_same_bits(found.compute(), getattr(roicy, function)(whole, rois, 3))
        grad_output = da.from_array(found.compute(), chunks=(2, 1, 3, 3))
        slopes = roicy.dask.prroi_pool_backward_rois(grad_output, some_tiles(allowed, chunks), rois)
        assert_same_bits(slopes.compute(), roicy.prroi_pool_backward_rois(grad_output.compute(), whole, rois))


def test_groups_of_boxes_that_lie_together():
    maps = da.zeros((1, 1, 4096, 4096), chunks=(1, 1, 256, 256), dtype=np.uint8)
    corners = RNG.random((3000, 2)) * 4000
    rois = np.column_stack([np.zeros(3000), corners, corners + 60]).astype(np.float32)
    with dask.config.set({"array.chunk-size": "1 MiB"}):  # 16 tiles
        found, order = roicy.dask.roi_align(maps, rois, 2, order="image", boxes_per_chunk=1000)
    lengths = found.chunks[0]
    assert len(lengths) < 40
    for begin, length in zip(np.cumsum(lengths) - lengths, lengths, strict=True):
        some = corners[order[begin : begin + length]]
        assert (np.ptp(some, axis=0) <= 2048).all()


# ---------------------------------------------------------------- threads


def test_threads_of_a_task(monkeypatch):
    cores = dask.system.CPU_COUNT
    assert _tasks.threads_at_hand(1) == 1
    assert _tasks.threads_at_hand(10**6) == cores  # nothing else runs beside the calling thread
    found = []

    def ask():
        with dask.config.set(num_workers=max(cores // 2, 1)):
            found.append(_tasks.threads_at_hand(10**6))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert found == [cores // max(cores // 2, 1)]


def test_threads_are_given_back(monkeypatch):
    roicy.set_num_threads(3)
    used = []
    align = roicy.roi_align

    def noted(*arguments, **options):
        used.append(roicy.get_num_threads())
        return align(*arguments, **options)

    found = roicy.dask.roi_align(MAPS, ROIS, 2)
    monkeypatch.setattr(roicy, "roi_align", noted)
    found.compute(scheduler="synchronous")
    assert set(used) == {1} and roicy.get_num_threads() == 3


# ---------------------------------------------------------------- chunks on a GPU


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_chunks_of_cupy_stay_on_the_device(monkeypatch):
    arrays.install(monkeypatch)

    def on_device(array, chunks, name):
        there = da.from_array(array, chunks=chunks).map_blocks(arrays.ndarray, dtype=array.dtype)
        return da.Array(there.dask, there.name, there.chunks, meta=arrays.ndarray(array[:0, :0, :0, :0]))

    maps = on_device(FEATURES, (2, 2, 9, 8), "maps")
    grad_output = RNG.random((len(ROIS), 4, 2, 2), np.float32)
    gradient = on_device(grad_output, (7, 4, 2, 2), "gradient")
    for found, expected in (
        (roicy.dask.roi_align(maps, ROIS, 2), roicy.roi_align(FEATURES, ROIS, 2)),
        (
            roicy.dask.roi_align_backward(gradient, ROIS, FEATURES.shape, chunks=(2, -1, -1, -1)),
            roicy.roi_align_backward(grad_output, ROIS, FEATURES.shape),
        ),
    ):
        assert isinstance(found._meta, arrays.ndarray) and found._meta.dtype == np.float32
        blocks = {key: found.dask[key] for key in dask.core.flatten(found.__dask_keys__())}
        computed = dask.get(found.__dask_graph__(), list(blocks))
        assert all(isinstance(block, arrays.ndarray) for block in computed)
        whole = np.empty(found.shape, found.dtype)
        begins = [np.cumsum([0, *lengths]) for lengths in found.chunks]
        for (_, *index), block in zip(blocks, computed, strict=True):
            places = tuple(slice(b[i], b[i + 1]) for b, i in zip(begins, index, strict=True))
            whole[places] = block.get()
        np.testing.assert_allclose(whole, expected, rtol=0, atol=3e-6 * np.abs(expected).max())


def test_roicy_itself_imports_no_dask(run_python):
    run_python("import roicy, sys; assert not {'dask', 'roicy.dask'} & set(sys.modules)")


def test_without_dask_an_error_says_what_to_install(run_python):
    source = "import sys; sys.modules['dask'] = sys.modules['dask.array'] = None; import roicy.dask"
    done = run_python(source, check=False)
    assert "roicy.dask needs dask.array, which cannot be imported" in done.stderr
