"""roicy as a function that PyTorch differentiates, with respect to features and to boxes, on the CPU."""

import torch

import roicy


class RoIAlign(torch.autograd.Function):
    """``RoIAlign.apply(features, rois, output_size, options)``: `roicy.roi_align` of CPU tensors."""

    @staticmethod
    def forward(ctx, features, rois, output_size, options):
        """Pool, and keep the tables of the boxes for the way back."""
        plan = roicy.roi_align_plan(rois.detach().numpy(), tuple(features.shape), output_size, **options)
        ctx.plan = plan
        ctx.save_for_backward(features)
        return torch.from_numpy(plan(features.detach().numpy()))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_output):
        """Return the gradients that are asked for."""
        (features,) = ctx.saved_tensors
        grad_output = grad_output.numpy()
        grad_features = grad_rois = None
        if ctx.needs_input_grad[0]:
            grad_features = torch.from_numpy(ctx.plan.backward(grad_output))
        if ctx.needs_input_grad[1]:
            grad_rois = torch.from_numpy(ctx.plan.backward_rois(grad_output, features.detach().numpy()))
        return grad_features, grad_rois, None, None


def roi_align(features, rois, output_size, **options):
    """Pool boxes of a feature map; options as those of `roicy.roi_align`."""
    return RoIAlign.apply(features, rois, output_size, options)


def main():
    """Compare the gradients with finite differences."""
    torch.manual_seed(0)
    features = torch.rand(1, 3, 9, 11, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor([[1.3, 0.8, 7.1, 6.2], [2.2, 3.1, 9.4, 7.7]], dtype=torch.float64, requires_grad=True)
    for ratio in 0, 2:
        options = {"sampling_ratio": ratio}
        assert torch.autograd.gradcheck(RoIAlign.apply, (features, rois, 3, options))
    print("gradients with respect to features and boxes agree with finite differences")


if __name__ == "__main__":
    main()
