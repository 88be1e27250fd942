"""roicy as a function that JAX differentiates and compiles around, on the CPU."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import roicy


def roi_align(output_size, **options):
    """Return ``pool(features, rois)``, with the options and the forms of boxes of `roicy.roi_align`."""
    size = (output_size, output_size) if isinstance(output_size, int) else tuple(output_size)
    last = options.get("layout", "NCHW") == "NHWC"
    # a function of arrays that JAX calls; within `vmap` once for each map
    call = functools.partial(jax.pure_callback, vmap_method="sequential")

    @jax.custom_vjp
    def pool(features, rois):
        def pooled(features, rois):
            features, rois = jax.tree.map(np.asarray, (features, rois))
            return roicy.roi_align(features, rois, size, **options)

        boxes = sum(len(array) for array in jax.tree.leaves(rois))
        shape = (boxes, *size, features.shape[3]) if last else (boxes, features.shape[1], *size)
        dtype = jnp.float32 if features.dtype == jnp.uint8 else features.dtype
        return call(pooled, jax.ShapeDtypeStruct(shape, dtype), features, rois)

    def forward(features, rois):
        return pool(features, rois), (features, rois)

    def backward(inputs, grad_output):
        # two calls: under `jit` the one whose result nobody asks for is left out
        features, rois = inputs

        def by_features(rois, grad_output):
            rois, grad_output = jax.tree.map(np.asarray, (rois, grad_output))
            return roicy.roi_align_backward(grad_output, rois, features.shape, **options)

        def by_rois(features, rois, grad_output):
            features, rois, grad_output = jax.tree.map(np.asarray, (features, rois, grad_output))
            gradient = roicy.roi_align_backward_rois(grad_output, features, rois, **options)
            return jax.tree.map(lambda array, like: array.astype(like.dtype), gradient, rois)

        return gradient_like(features, by_features, rois, grad_output), gradient_like(
            rois, by_rois, features, rois, grad_output
        )

    def gradient_like(inputs, function, *arguments):
        # whole numbers have no gradient: JAX wants zeros of a dtype of its own for them
        if not all(jnp.issubdtype(array.dtype, jnp.floating) for array in jax.tree.leaves(inputs)):
            return jax.tree.map(lambda array: np.zeros(array.shape, jax.dtypes.float0), inputs)
        like = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype), inputs)
        return call(function, like, *arguments)

    pool.defvjp(forward, backward)
    return pool


def main():
    """Compare the gradients with finite differences, compiled."""
    jax.config.update("jax_enable_x64", True)
    pool = roi_align(3, sampling_ratio=2)
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
