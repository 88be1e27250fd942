"""Arrays of other libraries: taken as NumPy's or CuPy's over the same memory, wherever that can be shared."""

import array
import shutil
import sys

import numpy as np
import pytest
from array_calls import CALLS, FEATURES, GRAD, ROIS, TURNED
from cuda_host import arrays

import roicy
from roicy import cuda
from roicy._backend import adopt
from roicy.compat import caffe2, mxnet

HOST, GPU, PINNED, METAL, MANAGED = 1, 2, 3, 8, 13

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")


class Exported:
    """An array that shares its memory by DLPack and in no other way."""

    def __init__(self, memory, kind=HOST, device=0):
        self.memory, self._device = memory, (kind, device)

    def __dlpack_device__(self):
        return self._device

    def __dlpack__(self, **options):
        assert self._device[0] in (HOST, PINNED), "the host asks for memory of a GPU"
        options.pop("dl_device", None)
        return self.memory.__dlpack__(**options)


class Interface:
    """An array that shares its memory by ``__cuda_array_interface__`` and in no other way."""

    def __init__(self, memory):
        self.memory = memory  # keeps it
        self.__cuda_array_interface__ = memory.__array_interface__


class Refusing:
    """An array whose library does not give its memory away."""

    def __dlpack_device__(self):
        return HOST, 0

    def __dlpack__(self, **options):
        raise BufferError("tensors that require gradient stay here\nas the second line says")


def pinned(memory):
    return Exported(memory, PINNED)


def on_gpu(memory):
    return Exported(memory, GPU)


def managed(memory):
    return Exported(memory, MANAGED)


def shared(value, share):
    if isinstance(value, (list, tuple)) and all(isinstance(item, np.ndarray) for item in value):
        return type(value)(share(item.copy()) for item in value)
    return share(value.copy()) if isinstance(value, np.ndarray) else value


def call(name, *arguments, **options):
    return getattr(roicy, name)(*arguments, **options)


def calling_with(share):
    def call_shared(name, *arguments, **options):
        arguments = [shared(value, share) for value in arguments]
        return call(name, *arguments, **{key: shared(value, share) for key, value in options.items()})

    return call_shared


def results(found):
    return list(found) if isinstance(found, (list, tuple)) else [found]


# ---------------------------------------------------------------- in host memory


@pytest.mark.parametrize("share", [Exported, pinned, memoryview])
@pytest.mark.parametrize("name", CALLS)
def test_host_memory_gives_numpy_arrays(name, share):
    expected = results(CALLS[name](call))
    found = results(CALLS[name](calling_with(share)))
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert type(one) is np.ndarray
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("share", [Exported, pinned, memoryview])
@pytest.mark.parametrize(
    "view", [np.s_[:], np.s_[:, ::-1], np.s_[:, 1:4, ::2], np.s_[..., ::-3]], ids=["all", "-c", "c,y", "-x"]
)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8"])
def test_nothing_is_copied(share, view, dtype):
    memory = FEATURES.astype(dtype)[view]
    _, taken, same = adopt(features=share(memory), rois=ROIS)
    assert same is ROIS
    assert type(taken) is np.ndarray
    assert taken.ctypes.data == memory.ctypes.data
    assert (taken.strides, taken.shape, taken.dtype) == (memory.strides, memory.shape, memory.dtype)


def test_arrays_of_several_libraries():
    """In host memory they are all the same."""
    expected = roicy.roi_align(FEATURES, ROIS[:, 1:], 3, batch_indices=ROIS[:, 0].astype(np.int64))
    images = array.array("q", [int(image) for image in ROIS[:, 0]])
    found = roicy.roi_align(Exported(FEATURES), memoryview(ROIS[:, 1:].copy()), 3, batch_indices=images)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("share", [Exported, memoryview])
def test_out_is_written_through(share):
    out = np.full((4, 5, 3, 2), 7, np.float32)
    found = roicy.roi_align(share(FEATURES), share(ROIS), (3, 2), out=share(out))
    assert type(found) is np.ndarray
    assert found.ctypes.data == out.ctypes.data
    np.testing.assert_array_equal(out, roicy.roi_align(FEATURES, ROIS, (3, 2)))
    values, argmax = np.full((4, 5, 3, 2), 7, np.float32), np.full((4, 5, 3, 2), 7, np.int32)
    roicy.roi_pool(FEATURES, ROIS, (3, 2), return_argmax=True, out=(share(values), share(argmax)))
    expected = roicy.roi_pool(FEATURES, ROIS, (3, 2), return_argmax=True)
    np.testing.assert_array_equal(values, expected[0])
    np.testing.assert_array_equal(argmax, expected[1])


def test_out_that_is_read_only_or_overlaps():
    out = np.zeros((4, 5, 3, 2), np.float32)
    with pytest.raises(ValueError, match="out must be writeable"):
        roicy.roi_align(FEATURES, ROIS, (3, 2), out=memoryview(out).toreadonly())
    features = FEATURES.copy()
    inside = features[:, :, :3, :2]
    with pytest.raises(ValueError, match="out must not overlap an input"):
        roicy.roi_align(Exported(features), ROIS[:2], (3, 2), out=Exported(inside))


def test_plans_take_them():
    plan = roicy.roi_align_plan(Exported(ROIS.copy()), FEATURES.shape, (3, 2))
    expected = roicy.roi_align_plan(ROIS, FEATURES.shape, (3, 2))
    np.testing.assert_array_equal(plan(memoryview(FEATURES)), expected(FEATURES))
    np.testing.assert_array_equal(plan.backward(Exported(GRAD)), expected.backward(GRAD))
    np.testing.assert_array_equal(
        plan.backward_rois(Exported(GRAD), memoryview(FEATURES)), expected.backward_rois(GRAD, FEATURES)
    )
    turned = roicy.roi_align_rotated_plan(
        [Exported(TURNED[:1, 1:].copy()), TURNED[1:, 1:]], FEATURES.shape, 3
    )
    np.testing.assert_array_equal(turned(Exported(FEATURES)), roicy.roi_align_rotated(FEATURES, TURNED, 3))


def test_a_plan_does_not_follow_the_boxes_memory():
    memory = ROIS.copy()
    plan = roicy.roi_align_plan(Exported(memory), FEATURES.shape, (3, 2))
    expected = plan.backward_rois(GRAD, FEATURES)
    memory += 1
    np.testing.assert_array_equal(plan.backward_rois(GRAD, FEATURES), expected)


def test_operators_of_other_systems_take_them():
    found = caffe2.run_operator("RoIAlign", [Exported(FEATURES), memoryview(ROIS)], "cpu", pooled_h=2)
    np.testing.assert_array_equal(found[0], caffe2.RoIAlign(FEATURES, ROIS, pooled_h=2))
    pooled, argmax = mxnet.ROIPooling(FEATURES, ROIS, 2, 1.0, return_argmax=True)
    found = mxnet.ROIPooling(memoryview(FEATURES), Exported(ROIS), 2, 1.0, return_argmax=True)
    np.testing.assert_array_equal(found[1], argmax)
    np.testing.assert_array_equal(
        mxnet.ROIPooling_backward(Exported(pooled), ROIS, Exported(argmax), FEATURES.shape),
        mxnet.ROIPooling_backward(pooled, ROIS, argmax, FEATURES.shape),
    )
    np.testing.assert_array_equal(caffe2.RMACRegions(Exported(FEATURES)), caffe2.RMACRegions(FEATURES))


# ---------------------------------------------------------------- on a GPU


@pytest.fixture
def cupy(monkeypatch):
    return arrays.install(monkeypatch)


@needs_compiler
@pytest.mark.parametrize("share", [on_gpu, managed, Interface])
@pytest.mark.parametrize("name", CALLS)
def test_memory_of_a_gpu_gives_cupy_arrays(cupy, name, share):
    expected = results(CALLS[name](call))
    found = results(CALLS[name](calling_with(share)))
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert isinstance(one, cupy.ndarray)
        scale = np.abs(other).max(initial=1e-30)
        np.testing.assert_allclose(one.get(), other, rtol=0, atol=3e-6 * scale)


@needs_compiler
@pytest.mark.parametrize("share", [on_gpu, Interface])
def test_nothing_of_a_gpu_is_copied(cupy, share):
    memory = FEATURES[:, ::2]
    _, taken = adopt(features=share(memory))
    assert taken.data.ptr == memory.ctypes.data
    assert (taken.strides, taken.shape, taken.dtype) == (memory.strides, memory.shape, memory.dtype)


@needs_compiler
def test_they_go_with_cupy_arrays_and_not_with_host_memory(cupy):
    features = cupy.asarray(FEATURES)
    found = roicy.roi_align(features, Interface(ROIS), 3)
    np.testing.assert_allclose(found.get(), roicy.roi_align(FEATURES, ROIS, 3), rtol=0, atol=1e-5)
    with pytest.raises(TypeError, match=r"all on a GPU, got features \(.*Exported\), rois \(numpy.ndarray\)"):
        roicy.roi_align(on_gpu(FEATURES), ROIS, 3)
    with pytest.raises(TypeError, match=r"all on a GPU, got features \(.*Exported\), rois \(memoryview\)"):
        roicy.roi_align(on_gpu(FEATURES), memoryview(ROIS), 3)


@needs_compiler
def test_another_device_than_the_one_in_use(cupy):
    with pytest.raises(ValueError, match=r"features must be on the device in use, 0, .* on device 1"):
        roicy.roi_align(Exported(FEATURES, GPU, 1), on_gpu(ROIS), 3)


def test_memory_of_a_gpu_without_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    cuda.kernels.cache_clear()
    with pytest.raises(ImportError, match="CuPy, which CUDA kernels need, is not installed"):
        roicy.roi_align(on_gpu(FEATURES), on_gpu(ROIS), 3)


# ---------------------------------------------------------------- what cannot be taken


def test_memory_elsewhere():
    with pytest.raises(TypeError, match=r"features must be in host memory or on a CUDA device, .* kind 8"):
        roicy.roi_align(Exported(FEATURES, METAL), ROIS, 3)


def test_what_its_library_refuses():
    with pytest.raises(TypeError, match=r"rois must share its memory, .*Refusing does not: tensors .* here$"):
        roicy.roi_align(FEATURES, Refusing(), 3)
    with pytest.raises(TypeError, match=r"rois\[1\] must share its memory"):
        roicy.roi_align(FEATURES, [ROIS[:, 1:], Refusing()], 3)


def test_dtypes_and_shapes_are_checked_as_ever():
    with pytest.raises(TypeError, match=r"features must be float16, .* got int32"):
        roicy.roi_align(Exported(FEATURES.astype(np.int32)), ROIS, 3)
    with pytest.raises(ValueError, match=r"rois must have shape .* got \(3,\)"):
        roicy.roi_align(FEATURES, b"abc", 3)
    with pytest.raises(TypeError, match="rois must be one array, got a list"):
        caffe2.RoIPool(FEATURES, [ROIS])
    with pytest.raises(TypeError, match="rois must be one array, got a tuple"):
        mxnet.ROIAlign(FEATURES, (ROIS,), 2, 1.0)


# ---------------------------------------------------------------- the libraries themselves, where they are


def test_torch():
    torch = pytest.importorskip("torch")
    features, rois = torch.from_numpy(FEATURES), torch.from_numpy(ROIS)
    expected = roicy.roi_align(FEATURES, ROIS, 3)
    found = roicy.roi_align(features, rois, 3)
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, expected)
    last = features.contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(roicy.roi_align(last, rois, 3), expected)
    out = torch.empty(expected.shape)
    roicy.roi_align(features, rois, 3, out=out)
    np.testing.assert_array_equal(out.numpy(), expected)
    with pytest.raises(TypeError, match=r"features must share its memory, .*detach"):
        roicy.roi_align(features.clone().requires_grad_(), rois, 3)


def test_jax():
    jax = pytest.importorskip("jax")
    found = roicy.roi_align(jax.numpy.asarray(FEATURES), jax.numpy.asarray(ROIS), 3)
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, roicy.roi_align(FEATURES, ROIS, 3))
    with pytest.raises(TypeError, match="features must be a NumPy or CuPy array, or one that shares"):
        jax.jit(lambda features: roicy.roi_align(features, ROIS, 3))(FEATURES)
