"""roicy as a function that JAX differentiates and compiles around, on the CPU."""

import jax
import jax.numpy as jnp
import numpy as np

import roicy


def roi_align(output_size, **options):
    """Return ``pool(features, rois)`` for an output size (rows, columns); options are `roicy.roi_align`'s."""

    def pooled(features, rois):
        return roicy.roi_align(np.asarray(features), np.asarray(rois), output_size, **options)

    def gradients(features, rois, grad_output):
        features, rois, grad_output = map(np.asarray, (features, rois, grad_output))
        plan = roicy.roi_align_plan(rois, features.shape, output_size, **options)
        return plan.backward(grad_output), plan.backward_rois(grad_output, features)

    @jax.custom_vjp
    def pool(features, rois):
        shape = (len(rois), features.shape[1], *output_size)
        return jax.pure_callback(pooled, jax.ShapeDtypeStruct(shape, features.dtype), features, rois)

    def forward(features, rois):
        return pool(features, rois), (features, rois)

    def backward(inputs, grad_output):
        shapes = tuple(jax.ShapeDtypeStruct(array.shape, array.dtype) for array in inputs)
        return jax.pure_callback(gradients, shapes, *inputs, grad_output)

    pool.defvjp(forward, backward)
    return pool


def main():
    """Compare the gradients with finite differences, compiled."""
    jax.config.update("jax_enable_x64", True)
    pool = roi_align((3, 3), sampling_ratio=2)
    features = jax.random.uniform(jax.random.key(0), (1, 3, 9, 11), dtype=jnp.float64)
    rois = jnp.array([[1.3, 0.8, 7.1, 6.2], [2.2, 3.1, 9.4, 7.7]])
    weights = jax.random.uniform(jax.random.key(1), (2, 3, 3, 3), dtype=jnp.float64)
    loss = jax.jit(lambda features, rois: (weights * pool(features, rois)).sum())
    by_features, by_rois = jax.jit(jax.grad(loss, (0, 1)))(features, rois)
    for step in np.eye(rois.size).reshape(-1, *rois.shape) * 1e-6:
        slope = (loss(features, rois + step) - loss(features, rois - step)) / 2e-6
        assert abs(slope - (by_rois * step).sum() / 1e-6) < 1e-6
    assert abs((by_features * features).sum() - loss(features, rois)) < 1e-9  # it is linear in the features
    print("gradients with respect to features and boxes agree with finite differences")


if __name__ == "__main__":
    main()
