"""roicy as an operator of PyTorch on the CPU, for autograd, `torch.compile` and `torch.export`."""

import torch

import roicy


@torch.library.custom_op("roicy::roi_align", mutates_args=(), device_types="cpu")
def pool(
    features: torch.Tensor,
    rois: torch.Tensor,
    output_size: list[int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> torch.Tensor:
    """Pool boxes."""
    pooled = pooled_like(features, rois, output_size)
    options = {"spatial_scale": spatial_scale, "sampling_ratio": sampling_ratio, "aligned": aligned}
    roicy.roi_align(features.detach(), rois.detach(), output_size, out=pooled, **options)
    return pooled


@torch.library.custom_op("roicy::roi_align_backward", mutates_args=(), device_types="cpu")
def backward(
    grad: torch.Tensor,
    rois: torch.Tensor,
    input_shape: list[int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> torch.Tensor:
    """Return the gradient with respect to the features."""
    grad_features = grad.new_empty(input_shape)
    options = {"spatial_scale": spatial_scale, "sampling_ratio": sampling_ratio, "aligned": aligned}
    roicy.roi_align_backward(grad.detach(), rois.detach(), input_shape, out=grad_features, **options)
    return grad_features


@torch.library.custom_op("roicy::roi_align_backward_rois", mutates_args=(), device_types="cpu")
def backward_rois(
    grad: torch.Tensor,
    features: torch.Tensor,
    rois: torch.Tensor,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> torch.Tensor:
    """Return the gradient with respect to the boxes."""
    options = {"spatial_scale": spatial_scale, "sampling_ratio": sampling_ratio, "aligned": aligned}
    grad_rois = roicy.roi_align_backward_rois(grad.detach(), features.detach(), rois.detach(), **options)
    return torch.from_numpy(grad_rois).to(rois.dtype)


@pool.register_fake
def pooled_like(features, rois, output_size, *options):
    """Return a tensor for the result: what it is like is all that a compiler needs to know."""
    dtype = torch.float32 if features.dtype == torch.uint8 else features.dtype
    return features.new_empty((rois.shape[0], features.shape[1], *output_size), dtype=dtype)


backward.register_fake(lambda grad, rois, input_shape, *options: grad.new_empty(input_shape))
backward_rois.register_fake(lambda grad, features, rois, *options: rois.new_empty(rois.shape))


def keep(ctx, inputs, output):
    """Keep for the way back what it needs."""
    features, rois, _, *ctx.options = inputs
    ctx.input_shape = features.shape
    ctx.save_for_backward(features if ctx.needs_input_grad[1] else None, rois)


def gradients(ctx, grad):
    """Return the gradients that are asked for."""
    features, rois = ctx.saved_tensors
    by_features, by_rois, *_ = ctx.needs_input_grad
    return (
        backward(grad, rois, ctx.input_shape, *ctx.options) if by_features else None,
        backward_rois(grad, features, rois, *ctx.options) if by_rois else None,
        *[None] * 4,
    )


pool.register_autograd(gradients, setup_context=keep)


def roi_align(features, rois, output_size, *, spatial_scale=1.0, sampling_ratio=0, aligned=True):
    """Pool boxes, (K, 5) or a list with (L, 4) for each image, as `roicy.roi_align`."""
    if isinstance(rois, (list, tuple)):
        numbers = [boxes.new_full((boxes.shape[0], 1), image) for image, boxes in enumerate(rois)]
        rois = torch.cat([torch.cat(pair, dim=1) for pair in zip(numbers, rois, strict=True)])
    size = [output_size] * 2 if isinstance(output_size, int) else list(output_size)
    return pool(features, rois, size, float(spatial_scale), sampling_ratio, aligned)


def main():
    """Compare the gradients with finite differences, and a compiled call with a plain one."""
    torch.manual_seed(0)
    features = torch.rand(1, 3, 9, 11, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor([[1.3, 0.8, 7.1, 6.2], [2.2, 3.1, 9.4, 7.7]], dtype=torch.float64, requires_grad=True)
    for ratio in 0, 2:
        assert torch.autograd.gradcheck(
            lambda features, rois, ratio=ratio: roi_align(features, rois, 3, sampling_ratio=ratio),
            (features, rois),
        )
    print("gradients with respect to features and boxes agree with finite differences")

    compiled = torch.compile(roi_align, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(features, [rois], 3), roi_align(features, rois, 3))
    with torch.autocast("cpu", torch.bfloat16):
        maps = torch.nn.functional.conv2d(torch.rand(2, 3, 64, 64), torch.rand(8, 3, 4, 4), stride=4)
        print(roi_align(maps, [rois.float(), rois.float()], 7, spatial_scale=1 / 4).dtype)


if __name__ == "__main__":
    main()
