"""Arrays of other libraries: taken as NumPy's or CuPy's over the same memory, wherever that can be shared."""

import array
import ctypes
import shutil
import sys
import weakref

import numpy as np
import pytest
from closeness import assert_same_bits
from cuda_host import arrays
from ml_dtypes import bfloat16

import roicy
from arrays.array_calls import CALLS, FEATURES, GRAD, ROIS, TURNED
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
        asked_by_gpu = "stream" in options
        assert asked_by_gpu or self._device[0] in (HOST, PINNED), "the host asks for memory of a GPU"
        for option in ("dl_device", "stream"):
            options.pop(option, None)
        return self.memory.__dlpack__(**options)


class Bfloat16(Exported):
    """An array of bfloat16 by DLPack, as PyTorch and, ``versioned`` or not, JAX share theirs."""

    def __init__(self, memory, kind=HOST, device=0, versioned=True, version=None):
        super().__init__(memory.view(np.uint16), kind, device)
        self._versioned, self._version = versioned, version

    def __dlpack__(self, **options):
        if not self._versioned:
            options.pop("max_version", None)
        capsule = super().__dlpack__(**options)
        name = b"dltensor_versioned" if options.get("max_version") else b"dltensor"
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
        address = pointer(capsule, name)
        if self._version is not None:
            ctypes.c_uint32.from_address(address).value = self._version
        # before a versioned tensor: version, two pointers, flags; before its type: data, device, axes
        code = ctypes.c_uint8.from_address(address + (32 if self._versioned else 0) + 20)
        assert code.value == 1  # unsigned
        code.value = 4
        return capsule


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


class Lazy(Exported):
    """An array whose library has not yet done what its memory should have gone through."""

    def __init__(self, memory, put_off="is_neg"):
        super().__init__(memory)
        self.is_neg = lambda: put_off == "is_neg"
        self.is_conj = lambda: put_off == "is_conj"
        self._is_zerotensor = lambda: put_off == "_is_zerotensor"


class Unhashable(type):
    """The type of classes that no dictionary takes."""

    __hash__ = None


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


def test_arrays_of_a_class_without_a_hash():
    features = Unhashable("Own", (Exported,), {})(FEATURES)
    assert_same_bits(roicy.roi_align(features, ROIS, (3, 2)), roicy.roi_align(FEATURES, ROIS, (3, 2)))


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


def in_bfloat16(share):
    def convert(memory):
        return share(memory.astype(bfloat16)) if memory.dtype == np.float32 else memory

    return convert


@pytest.mark.parametrize("name", CALLS)
def test_bfloat16(name):
    expected = results(CALLS[name](calling_with(in_bfloat16(lambda memory: memory))))
    found = results(CALLS[name](calling_with(in_bfloat16(Bfloat16))))
    for one, other in zip(found, expected, strict=True):
        assert type(one) is np.ndarray
        assert_same_bits(one, other)


@pytest.mark.parametrize("versioned", [True, False])
@pytest.mark.parametrize("view", [np.s_[:], np.s_[:, ::-1], np.s_[:, 1:4, ::2], np.s_[..., ::-3], np.s_[:0]])
def test_nothing_of_bfloat16_is_copied_nor_held(view, versioned):
    memory = np.empty((2, 5, 4, 3), np.uint16)
    memory.flat = range(120)
    owner = weakref.ref(memory)
    memory = memory[view]
    _, taken = adopt(features=Bfloat16(memory, versioned=versioned))
    assert taken.dtype == bfloat16
    assert taken.shape == memory.shape
    assert not memory.size or (taken.ctypes.data, taken.strides) == (memory.ctypes.data, memory.strides)
    assert_same_bits(taken, memory.view(bfloat16).copy())
    del memory
    assert owner() is not None
    del taken
    assert owner() is None


def test_out_of_bfloat16_is_written_through():
    features = FEATURES.astype(bfloat16)
    out = np.full((4, 5, 3, 2), 7, bfloat16)
    found = roicy.roi_align(Bfloat16(features), ROIS, (3, 2), out=Bfloat16(out))
    assert found.ctypes.data == out.ctypes.data
    assert_same_bits(out, roicy.roi_align(features, ROIS, (3, 2)))
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out must be writeable"):
        roicy.roi_align(features, ROIS, (3, 2), out=Bfloat16(out))


def test_bfloat16_without_its_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(
        TypeError, match=r"features must share its memory, .*Bfloat16.* needs ml_dtypes, which"
    ):
        roicy.roi_align(Bfloat16(np.zeros((1, 1, 4, 4), np.uint16)), ROIS, 3)


def test_a_description_of_another_version_is_left_alone():
    with pytest.raises(TypeError, match=r"features must share its memory, .* major version"):
        roicy.roi_align(Bfloat16(np.zeros((1, 1, 4, 4), np.uint16), version=2), ROIS, 3)


@pytest.mark.parametrize(
    "put_off, answer", [("is_neg", "resolve_neg"), ("is_conj", "resolve_conj"), ("_is_zerotensor", "clone")]
)
@pytest.mark.parametrize("name", CALLS)
def test_what_a_library_has_put_off(name, put_off, answer):
    """No argument may be taken for what its memory shows; one that has nothing put off is taken."""
    places = []

    def note(function, *arguments, **options):
        places.append((function, arguments, options))
        return call(function, *arguments, **options)

    CALLS[name](note)
    for function, arguments, options in places:
        named = {**dict(enumerate(arguments)), **options}
        for key, value in named.items():
            several = isinstance(value, (list, tuple)) and isinstance(value[-1], np.ndarray)
            if not several and not isinstance(value, np.ndarray):
                continue
            lazy = [*value[:-1], Lazy(value[-1], put_off)] if several else Lazy(value, put_off)
            changed = {**named, key: lazy}
            with pytest.raises(
                TypeError, match=rf"must share its memory, .*Lazy does not: {put_off}\(\) .*\.{answer}"
            ):
                call(
                    function,
                    *(changed[index] for index in range(len(arguments))),
                    **{option: changed[option] for option in options},
                )
    expected = results(CALLS[name](call))
    for one, other in zip(results(CALLS[name](calling_with(lambda a: Lazy(a, "")))), expected, strict=True):
        assert_same_bits(one, other)


def test_out_that_is_put_off():
    out = np.zeros((4, 5, 3, 2), np.float32)
    with pytest.raises(TypeError, match=r"out must share its memory, .*resolve_neg"):
        roicy.roi_align(FEATURES, ROIS, (3, 2), out=Lazy(out))
    plan = roicy.roi_align_plan(ROIS, FEATURES.shape, (3, 2))
    with pytest.raises(TypeError, match=r"out must share its memory, .*resolve_neg"):
        plan(FEATURES, Lazy(out))
    with pytest.raises(TypeError, match=r"out\[1\] must share its memory, .*resolve_neg"):
        roicy.roi_pool(
            FEATURES, ROIS, (3, 2), return_argmax=True, out=(out, Lazy(np.zeros(out.shape, np.int32)))
        )
    with pytest.raises(TypeError, match=r"X must share its memory, .*resolve_neg"):
        caffe2.RoIAlign(Lazy(FEATURES), ROIS)
    with pytest.raises(TypeError, match=r"data must share its memory, .*resolve_neg"):
        mxnet.ROIAlign(Lazy(FEATURES), ROIS, 2, 1.0)


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
        scale = np.nanmax(np.abs(other), initial=1e-30)
        np.testing.assert_allclose(one.get(), other, rtol=0, atol=3e-6 * scale)


@needs_compiler
@pytest.mark.parametrize("share", [on_gpu, Interface])
def test_nothing_of_a_gpu_is_copied(cupy, share):
    memory = FEATURES[:, ::2]
    _, taken = adopt(features=share(memory))
    assert taken.data.ptr == memory.ctypes.data
    assert (taken.strides, taken.shape, taken.dtype) == (memory.strides, memory.shape, memory.dtype)


@needs_compiler
def test_bfloat16_of_a_gpu(cupy):
    memory = FEATURES.astype(bfloat16)[:, ::2]
    _, taken = adopt(features=Bfloat16(memory, GPU))
    assert isinstance(taken, cupy.ndarray)
    assert (taken.data.ptr, taken.strides, taken.dtype) == (memory.ctypes.data, memory.strides, bfloat16)
    found = roicy.roi_align(taken, on_gpu(ROIS), 3)
    assert found.dtype == bfloat16
    expected = roicy.roi_align(memory, ROIS, 3).astype(np.float32)
    np.testing.assert_allclose(found.get().astype(np.float32), expected, rtol=0.01, atol=1e-3)
    with pytest.raises(TypeError, match=r"features must share its memory, .*resolve_neg"):
        lazy = Lazy(FEATURES)
        lazy._device = GPU, 0
        roicy.roi_align(lazy, on_gpu(ROIS), 3)


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


def test_torch_bfloat16():
    torch = pytest.importorskip("torch")
    features = torch.from_numpy(FEATURES).to(torch.bfloat16)
    expected = roicy.roi_align(FEATURES.astype(bfloat16), ROIS, 3)
    assert_same_bits(roicy.roi_align(features, torch.from_numpy(ROIS), 3), expected)
    out = torch.empty(expected.shape, dtype=torch.bfloat16)
    roicy.roi_align(features, ROIS, 3, out=out)
    assert_same_bits(out.view(torch.int16).numpy().view(bfloat16), expected)
    with pytest.raises(TypeError, match=r"features must share its memory, .*requires? grad"):
        roicy.roi_align(features.requires_grad_(), ROIS, 3)


def test_torch_tensors_whose_memory_is_not_what_they_show():
    torch = pytest.importorskip("torch")
    numbers = torch.complex(*torch.from_numpy(FEATURES).repeat(2, 1, 1, 1, 1))
    turned = numbers.conj().imag
    assert turned.is_neg()
    with pytest.raises(TypeError, match=r"features must share its memory, .*is_neg.*resolve_neg"):
        roicy.roi_align(turned, ROIS, 3)
    np.testing.assert_array_equal(
        roicy.roi_align(turned.resolve_neg(), ROIS, 3), roicy.roi_align(-FEATURES, ROIS, 3)
    )
    with pytest.raises(TypeError, match=r"features must share its memory, .*is_conj.*resolve_conj"):
        roicy.roi_align(numbers.conj(), ROIS, 3)
    with pytest.raises(TypeError, match=r"rois must share its memory, .*clone"):
        roicy.roi_align(FEATURES, torch._efficientzerotensor((1, 5)), 3)


def test_jax():
    jax = pytest.importorskip("jax")
    half = jax.numpy.asarray(FEATURES).astype(jax.numpy.bfloat16)
    assert_same_bits(
        roicy.roi_align(half, jax.numpy.asarray(ROIS), 3),
        roicy.roi_align(FEATURES.astype(bfloat16), ROIS, 3),
    )
    found = roicy.roi_align(jax.numpy.asarray(FEATURES), jax.numpy.asarray(ROIS), 3)
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, roicy.roi_align(FEATURES, ROIS, 3))
    with pytest.raises(TypeError, match="features must be a NumPy or CuPy array, or one that shares"):
        jax.jit(lambda features: roicy.roi_align(features, ROIS, 3))(FEATURES)
