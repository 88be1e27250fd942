"""`rmac`: its record, as an operator on maps that chooses its own boxes.

Its result is a vector for each image: a box that is the whole map, with one bin.
"""

import numpy as np
import reference.pool
from strategies import Problem, random_values, result_dtype

import roicy
from operators.operator import Operator, Reference


class Maps(Problem):
    """Maps alone: boxes, bins and options are not looked at."""

    def grad_output(self, seed=1):
        shape = (*self.features.shape[:2], 1, 1)
        return random_values(np.random.default_rng(seed), shape, result_dtype(self.features.dtype))


def axes_of(layout):
    """Where a map has its rows and columns."""
    return (2, 3) if layout == "NCHW" else (1, 2)


class RMACOperator(Operator):
    """Calls it by what it takes. It has no `out`: its result is copied there."""

    def problem(self, features, rois, output_size, options):
        return Maps(features, rois, output_size, options)

    def forward(self, features, rois, output_size, *, layout="NCHW", out=None, **_):
        vectors = np.expand_dims(roicy.rmac(features, layout=layout), axes_of(layout))
        if out is None:
            return vectors
        out[...] = vectors
        return out

    def gradient(self, grad_output, features, rois, argmax=None, *, layout="NCHW", out=None, **_):
        vectors = grad_output.squeeze(axes_of(layout))
        return roicy.rmac_backward(vectors, features, layout=layout, out=out)

    def expected(self, problem):
        return reference.pool.rmac(problem.features)[:, :, None, None], None

    def expected_backward(self, problem, grad_output, argmax):
        return reference.pool.rmac_backward(grad_output[:, :, 0, 0], problem.features)


RMAC = RMACOperator(
    "rmac",
    "rmac",
    problems=None,
    reference=Reference(reference.pool.rmac, reference.pool.rmac_backward),
    planned=False,
    boxed=False,
    linear=False,
)
