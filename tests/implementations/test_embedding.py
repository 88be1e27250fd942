"""The functions of docs/embedding for PyTorch and JAX: all that either may do with them."""

import importlib.util
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import roicy

DOCS = Path(__file__).parents[2] / "docs" / "embedding"
pytestmark = [
    pytest.mark.skipif(not DOCS.is_dir(), reason="the documentation is not here"),
    pytest.mark.thread_unsafe(reason="kernels of a process are replaced"),
]
FEATURES = np.random.default_rng(0).random((2, 3, 12, 15))
ROIS = np.array([[0, 1.3, 0.8, 7.1, 6.2], [1, 2.2, 3.1, 9.4, 7.7], [0, 0, 0, 15, 12]])
BY_IMAGE = [ROIS[ROIS[:, 0] == image, 1:] for image in (0, 1)]
GRAD = np.random.default_rng(1).random((3, 3, 4, 5))


def program(name, package):
    """A module of docs/embedding, or a skipped test where it has nothing to run on."""
    pytest.importorskip(package)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what these libraries say while they are imported
        patch.syspath_prepend(str(DOCS))
        if name not in sys.modules:
            spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
            sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


# ---------------------------------------------------------------- JAX


@pytest.fixture
def jax():
    program("jax_function", "jax")
    import jax

    jax.config.update("jax_enable_x64", True)
    return jax


@pytest.fixture
def jax_roi_align(jax):
    return program("jax_function", "jax").roi_align


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("size", [4, (4, 5), [2, 3]])
def test_jax_knows_the_shape_of_each_layout(jax, jax_roi_align, layout, size):
    features = FEATURES if layout == "NCHW" else np.moveaxis(FEATURES, 1, 3)
    pool = jax_roi_align(size, layout=layout)
    expected = roicy.roi_align(features, ROIS, size, layout=layout)
    np.testing.assert_array_equal(pool(features, ROIS), expected)
    np.testing.assert_array_equal(jax.jit(pool)(features, ROIS), expected)
    gradient = jax.grad(lambda features: pool(features, ROIS).sum())(jax.numpy.asarray(features))
    np.testing.assert_array_equal(
        gradient,
        roicy.roi_align_backward(np.ones_like(expected), ROIS, features.shape, layout=layout),
    )


@pytest.mark.parametrize("dtype", ["uint8", "float16", "bfloat16", "float32", "float64"])
def test_jax_has_every_dtype_of_features(jax, jax_roi_align, dtype):
    features = jax.numpy.asarray(FEATURES * 200).astype(dtype)
    pooled = jax.jit(jax_roi_align(3))(features, ROIS)
    assert pooled.dtype == ("float32" if dtype == "uint8" else dtype)
    np.testing.assert_array_equal(pooled, roicy.roi_align(np.asarray(features), ROIS, 3))


@pytest.mark.parametrize("dtype", ["int16", "int32", "float16", "float32", "float64"])
def test_jax_has_gradients_whatever_the_boxes_are(jax, jax_roi_align, dtype):
    """Those with respect to the features; with respect to the boxes where these are no whole numbers."""
    rois = jax.numpy.asarray(ROIS).astype(dtype)
    pool = jax_roi_align((4, 5))
    _, adjoint = jax.vjp(pool, jax.numpy.asarray(FEATURES), rois)
    by_features, by_rois = adjoint(jax.numpy.asarray(GRAD))
    known = np.asarray(rois)
    np.testing.assert_array_equal(by_features, roicy.roi_align_backward(GRAD, known, FEATURES.shape))
    if dtype.startswith("int"):
        assert by_rois.dtype == jax.dtypes.float0
    else:
        expected = roicy.roi_align_backward_rois(GRAD, FEATURES, known)
        assert by_rois.dtype == dtype
        np.testing.assert_array_equal(by_rois, expected.astype(dtype))


def test_jax_has_gradients_of_whole_features(jax, jax_roi_align):
    features = jax.numpy.asarray(FEATURES * 200).astype("uint8")
    gradient = jax.jit(jax.grad(lambda rois: jax_roi_align((4, 5))(features, rois).sum()))(ROIS)
    ones = np.ones((3, 3, 4, 5), np.float32)
    np.testing.assert_array_equal(gradient, roicy.roi_align_backward_rois(ones, np.asarray(features), ROIS))


def test_jax_takes_a_list_of_boxes(jax, jax_roi_align):
    pool = jax.jit(jax_roi_align((4, 5)))
    np.testing.assert_array_equal(pool(FEATURES, BY_IMAGE), roicy.roi_align(FEATURES, BY_IMAGE, (4, 5)))
    gradients = jax.grad(lambda rois: (GRAD * pool(FEATURES, rois)).sum())(BY_IMAGE)
    for ours, expected in zip(
        gradients, roicy.roi_align_backward_rois(GRAD, FEATURES, BY_IMAGE), strict=True
    ):
        np.testing.assert_array_equal(ours, expected)


def test_jax_maps_over_maps_and_over_boxes(jax, jax_roi_align):
    """Alone and together, values and gradients, compiled or not."""
    pool = jax_roi_align(3)
    maps = np.stack([FEATURES, FEATURES[:, :, ::-1], 2 * FEATURES])
    boxes = np.stack([ROIS, ROIS + np.array([0, 1, 1, 2, 2]), ROIS * np.array([1, 0.5, 0.5, 0.5, 0.5])])
    for axes in (0, 0), (0, None), (None, 0):
        pairs = [
            (maps[index if axes[0] == 0 else 0], boxes[index if axes[1] == 0 else 0]) for index in range(3)
        ]
        inputs = maps if axes[0] == 0 else maps[0], boxes if axes[1] == 0 else boxes[0]
        expected = np.stack([roicy.roi_align(*pair, 3) for pair in pairs])
        over = jax.vmap(pool, axes)
        np.testing.assert_array_equal(over(*inputs), expected)
        np.testing.assert_array_equal(jax.jit(over)(*inputs), expected)
        slopes = jax.vmap(jax.grad(lambda features, rois: pool(features, rois).sum(), (0, 1)), axes)(*inputs)
        ones = np.ones_like(expected[0])
        for index, pair in enumerate(pairs):
            np.testing.assert_array_equal(
                slopes[0][index], roicy.roi_align_backward(ones, pair[1], pair[0].shape)
            )
            np.testing.assert_array_equal(slopes[1][index], roicy.roi_align_backward_rois(ones, *pair))


def test_jax_leaves_out_gradients_that_nobody_wants(jax, jax_roi_align, monkeypatch):
    called = []
    for name in "roi_align_backward", "roi_align_backward_rois":
        function = getattr(roicy, name)
        monkeypatch.setattr(
            roicy,
            name,
            lambda *a, _name=name, _function=function, **k: called.append(_name) or _function(*a, **k),
        )
    loss = lambda features, rois: jax_roi_align(3)(features, rois).sum()  # noqa: E731
    jax.block_until_ready(jax.jit(jax.grad(loss, 0))(FEATURES, ROIS))
    jax.block_until_ready(jax.jit(jax.grad(loss, 1))(FEATURES, ROIS))
    assert called == ["roi_align_backward", "roi_align_backward_rois"]


# ---------------------------------------------------------------- PyTorch


@pytest.fixture
def torch():
    program("torch_function", "torch")
    import torch

    return torch


@pytest.fixture
def torch_roi_align(torch):
    return program("torch_function", "torch").roi_align


@pytest.mark.parametrize("dtype", ["uint8", "float16", "bfloat16", "float32", "float64"])
def test_torch_has_every_dtype_of_features(torch, torch_roi_align, dtype):
    features = torch.tensor(FEATURES * 200).to(getattr(torch, dtype))
    rois = torch.tensor(ROIS)
    pooled = torch_roi_align(features, rois, (4, 5))
    assert pooled.dtype == (torch.float32 if dtype == "uint8" else features.dtype)
    if dtype == "bfloat16":
        wide = roicy.roi_align(features.float().numpy(), ROIS, (4, 5))
        np.testing.assert_array_equal(pooled.float(), torch.tensor(wide).bfloat16().float())
    else:
        np.testing.assert_array_equal(pooled, roicy.roi_align(features.numpy(), ROIS, (4, 5)))


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_torch_has_gradients_of_lists_of_boxes(torch, torch_roi_align, dtype):
    features = torch.tensor(FEATURES).to(getattr(torch, dtype)).requires_grad_()
    rois = [torch.tensor(boxes, requires_grad=True) for boxes in BY_IMAGE]
    torch_roi_align(features, rois, [4, 5]).backward(torch.tensor(GRAD).to(features.dtype))
    wide, grad = features.detach().double().numpy(), torch.tensor(GRAD).to(features.dtype).double().numpy()
    close = {"rtol": 1e-2, "atol": 0.1} if dtype == "bfloat16" else {"rtol": 1e-5, "atol": 1e-4}
    assert features.grad.dtype == features.dtype
    expected = roicy.roi_align_backward(grad, BY_IMAGE, wide.shape)
    np.testing.assert_allclose(features.grad.double(), expected, **close)
    for boxes, slope in zip(rois, roicy.roi_align_backward_rois(grad, wide, BY_IMAGE), strict=True):
        np.testing.assert_allclose(boxes.grad, slope, **close)


def test_torch_casts_by_itself(torch, torch_roi_align):
    """Maps of a layer under autocast are bfloat16, with boxes in float32."""
    layer = torch.nn.Conv2d(3, 4, 3)
    with torch.autocast("cpu", torch.bfloat16):
        maps = layer(torch.tensor(FEATURES).float())
        pooled = torch_roi_align(maps, torch.tensor(ROIS).float(), 3)
    assert maps.dtype == pooled.dtype == torch.bfloat16
    pooled.float().sum().backward()
    assert layer.weight.grad.abs().sum() > 0


def test_torch_compiles_it_as_one_graph(torch, torch_roi_align):
    compiled = torch.compile(torch_roi_align, fullgraph=True, backend="aot_eager")
    results = []
    for function in torch_roi_align, compiled:
        features = torch.tensor(FEATURES, requires_grad=True)
        rois = [torch.tensor(boxes, requires_grad=True) for boxes in BY_IMAGE]
        pooled = function(features, rois, 3, spatial_scale=0.5, sampling_ratio=2, aligned=False)
        pooled.sum().backward()
        results.append([pooled, features.grad, *(boxes.grad for boxes in rois)])
    assert all(map(torch.equal, *results))


def test_torch_exports_it(torch, torch_roi_align):
    class Pooling(torch.nn.Module):
        def forward(self, features, first, second):
            return torch_roi_align(features, [first, second], 3, spatial_scale=0.5)

    features, boxes = torch.tensor(FEATURES), [torch.tensor(boxes) for boxes in BY_IMAGE]
    lengths = {0: torch.export.Dim("first")}, {0: torch.export.Dim("second")}
    exported = torch.export.export(
        Pooling(), (features, *[some.repeat(3, 1) for some in boxes]), dynamic_shapes=(None, *lengths)
    )
    boxes = [some.repeat(4, 1) for some in boxes]
    assert torch.equal(
        exported.module()(features, *boxes), torch_roi_align(features, boxes, 3, spatial_scale=0.5)
    )


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # which the check itself looks at
@pytest.mark.parametrize("by_features, by_rois", [(True, True), (True, False), (False, True)])
def test_torch_checks_the_operator(torch, by_features, by_rois):
    pool = program("torch_function", "torch").pool
    features = torch.tensor(FEATURES, requires_grad=by_features)
    torch.library.opcheck(pool, (features, torch.tensor(ROIS, requires_grad=by_rois), [4, 5], 0.5, 2, False))


# ---------------------------------------------------------------- torchvision


@pytest.fixture
def kernels(torch):
    """torchvision's operators, and roicy put behind them."""
    torchvision = pytest.importorskip("torchvision")
    return torchvision.ops, program("torchvision_kernels", "torch").replace_kernels


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("operator", ["roi_align", "roi_pool"])
def test_torchvision_runs_on_roicy(torch, kernels, operator, dtype, monkeypatch):
    """Values and gradients by autograd, for a tensor of boxes and for a list; its own again afterwards."""
    ops, replace = kernels

    def results(rois):
        features = torch.tensor(FEATURES, dtype=getattr(torch, dtype), requires_grad=True)
        pooled = getattr(ops, operator)(features, rois, (4, 5), spatial_scale=0.5)
        pooled.backward(torch.tensor(GRAD, dtype=features.dtype))
        return pooled.detach(), features.grad

    calls = []
    for name in operator, f"{operator}_backward":
        function = getattr(roicy, name)
        monkeypatch.setattr(
            roicy,
            name,
            lambda *a, _name=name, _function=function, **k: calls.append(_name) or _function(*a, **k),
        )
    for rois in torch.tensor(ROIS), [torch.tensor(boxes) for boxes in BY_IMAGE]:
        rois = (
            rois.to(getattr(torch, dtype))
            if torch.is_tensor(rois)
            else [b.to(getattr(torch, dtype)) for b in rois]
        )
        theirs = results(rois)
        assert not calls
        library = replace()
        ours = results(rois)
        del library
        assert calls == [operator, f"{operator}_backward"]
        calls.clear()
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b)


def test_torchvisions_operators_are_exported_and_compiled_with_roicy(torch, kernels):
    ops, replace = kernels

    class Pooling(torch.nn.Module):
        def forward(self, features, rois):
            return ops.roi_align(features, rois, 3, aligned=True), ops.roi_pool(features, rois, 3)

    inputs = torch.tensor(FEATURES), torch.tensor(ROIS)
    expected = Pooling()(*inputs)
    library = replace()
    exported = torch.export.export(Pooling(), inputs).module()
    compiled = torch.compile(Pooling(), fullgraph=True, backend="aot_eager")
    results = [function(*inputs) for function in (exported, compiled)]
    del library
    for found in results:
        torch.testing.assert_close(found, expected)
