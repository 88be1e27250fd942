"""The record of an operator, which the tests of all operators use."""

import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from closeness import assert_close, assert_same_bits, assert_sums_close
from strategies import PositionSensitiveProblem, Problem, random_values, result_dtype

import roicy

#: Options that say where samples lie: a record's functions are given those that they have.
GEOMETRY = {"spatial_scale", "sampling_ratio", "aligned", "rounding", "angle_unit", "clockwise", "gamma"}


class Reference(NamedTuple):
    """An operator in slow and obvious NumPy, of NCHW arrays; all take the options of the geometry.

    `forward(features, rois, output_size)` returns values and argmax, None where there is none;
    `backward(grad_output, argmax, rois, input_shape)` a gradient;
    `backward_rois(grad_output, argmax, features, rois)` a gradient and the sums of its absolute terms, None
    where no sum cancels on maps that rise.
    """

    forward: Callable
    backward: Callable
    backward_rois: Callable | None = None


class Operator:
    """A public function with its gradients and its plan, called alike whatever they take.

    Parameters
    ----------
    name : str
        What tests call it.
    function : str
        Name of the function that pools; gradients and plan have its name with an ending.
    problems : function
        Makes hypothesis strategies of `Problem`: keywords dtypes, box_dtypes, output_sizes, most_channels,
        values.
    reference : Reference
    options : dict
        What makes this operator of its functions.
    any_argmax : function or None
        Of a problem and a seed: an argmax that names anything that can be named, or nothing, in each bin.
    boxes : function
        Of a generator and corners (K, 4): the operator's own numbers of such boxes, (K, numbers).
    numbers : int
        Of a box.
    slopes : str
        The ending of the gradient with respect to boxes.
    planned : bool
        Whether there is a plan.
    boxed : bool
        Whether it is given boxes: if not, it is asked what the battery asks of maps.
    position_sensitive : bool
        Whether each bin takes from channels of its own.
    exact : bool
        Whether values are to the bit what the reference says.
    linear : bool
        Whether the result is linear in the features.
    values : function
        Makes the maps that results are compared on.
    slow : bool
        Whether the reference is so slow that tests of many cases look at a selection.
    share : float
        Of the examples of a hypothesis test.
    kinks : function or None
        Of a problem and a step: whether such a move of a box may meet a kink of the result; None where these
        are not known beforehand.
    step, bound : float
        For central differences: the step, and by how much they may be off.
    """

    def __init__(
        self,
        name: str,
        function: str,
        *,
        problems: Callable,
        reference: Reference,
        options: dict[str, Any] | None = None,
        any_argmax: Callable | None = None,
        boxes: Callable = lambda rng, corners: corners,
        numbers: int = 4,
        slopes: str = "_backward_rois",
        planned: bool = True,
        boxed: bool = True,
        position_sensitive: bool = False,
        exact: bool = False,
        linear: bool = True,
        values: Callable = random_values,
        slow: bool = False,
        share: float = 1 / 3,
        kinks: Callable | None = None,
        step: float = 2.0**-20,
        bound: float = 1e-6,
    ) -> None:
        self.name, self.function, self.problems, self.reference = name, function, problems, reference
        self.options, self.any_argmax, self.boxes, self.numbers = options or {}, any_argmax, boxes, numbers
        self.planned, self.boxed = planned, boxed
        self.exact, self.linear, self.values = exact, linear, values
        self.slow, self.share, self.kinks, self.step, self.bound = slow, share, kinks, step, bound
        self.position_sensitive = position_sensitive
        self.slopes = slopes
        self.has_argmax = any_argmax is not None
        self.has_slopes = reference.backward_rois is not None
        endings = ["", "_backward", *[slopes] * self.has_slopes, *["_plan"] * planned]
        self.functions = [function + ending for ending in endings]
        # looked up now: later a stand-in may be in the package's place
        parameters = {name: inspect.signature(getattr(roicy, name)).parameters for name in self.functions}
        self._takes = {name: set(taken) for name, taken in parameters.items()}
        argmax = parameters[function + "_backward"].get("argmax")
        self._asks_for_argmax = argmax is not None and argmax.default is argmax.empty

    def __repr__(self) -> str:
        return self.name

    # ------------------------------------------------------------ calls

    def call(self, ending: str, **arguments: Any) -> Any:
        """Call a function of the operator's; options of a geometry that it does not have are left out."""
        name = self.function + ending
        takes = self._takes[name]
        given = {key: value for key, value in arguments.items() if key in takes or key not in GEOMETRY}
        own = {key: value for key, value in self.options.items() if key in takes}
        return getattr(roicy, name)(**own, **given)

    def forward(self, features, rois, output_size, **options):
        """Return the values alone."""
        return self.call("", features=features, rois=rois, output_size=output_size, **options)

    def both(self, features, rois, output_size, **options):
        """Return the values and the argmax, None where the operator has none."""
        if not self.has_argmax:
            return self.forward(features, rois, output_size, **options), None
        return self.forward(features, rois, output_size, return_argmax=True, **options)

    def backward(self, grad_output, rois, input_shape, argmax=None, **options):
        """Return the gradient with respect to the features."""
        chosen = {"argmax": argmax} if argmax is not None or self._asks_for_argmax else {}
        return self.call(
            "_backward", grad_output=grad_output, rois=rois, input_shape=input_shape, **chosen, **options
        )

    def gradient(self, grad_output, features, rois, argmax=None, **options):
        """As `backward`: of the features that were pooled, for which some operators ask."""
        return self.backward(grad_output, rois, features.shape, argmax, **options)

    def backward_rois(self, grad_output, features, rois, argmax=None, **options):
        """Return the gradient with respect to the boxes."""
        chosen = {} if argmax is None else {"argmax": argmax}
        return self.call(
            self.slopes, grad_output=grad_output, features=features, rois=rois, **chosen, **options
        )

    def plan(self, rois, input_shape, output_size, **options):
        """Return a plan."""
        return self.call("_plan", rois=rois, input_shape=input_shape, output_size=output_size, **options)

    def windows(self, rois, input_shape, output_size, **options):
        """Return which part of its map each box reads."""
        takes = self._takes[self.function]
        given = {key: value for key, value in options.items() if key in takes or key not in GEOMETRY}
        call = rois, input_shape, output_size
        return roicy.rois_windows(*call, operator=self.function, **self.options, **given)

    # ------------------------------------------------------------ maps, boxes and what is chosen

    def map_shape(self, shape, output_size):
        """The shape (N, C, H, W) of maps, where C is how many channels the result has."""
        n, c, h, w = shape
        return (n, c * math.prod(output_size), h, w) if self.position_sensitive else tuple(shape)

    def problem(self, features, rois, output_size, options):
        """A problem of the operator's."""
        kind = PositionSensitiveProblem if self.position_sensitive else Problem
        return kind(features, rois, output_size, options)

    def rois(self, rng, images, corners, dtype=np.float32):
        """Rows of boxes for batch indices and the corners of upright boxes."""
        return np.column_stack([images, self.boxes(rng, np.asarray(corners, np.float64))]).astype(dtype)

    def chosen(self, problem, seed=0):
        """An argmax that names anything, None for operators without."""
        return self.any_argmax(problem, seed) if self.has_argmax else None

    # ------------------------------------------------------------ references

    def geometry(self, problem, ending=""):
        """The options of a problem that a function has."""
        takes = self._takes[self.function + ending]
        return {key: value for key, value in problem.options.items() if key in takes}

    def expected(self, problem):
        """Values and argmax, or None, by the reference."""
        call = problem.features, problem.rois, problem.output_size
        return self.reference.forward(*call, **self.geometry(problem))

    def expected_backward(self, problem, grad_output, argmax):
        """The gradient with respect to the features by the reference."""
        call = grad_output, argmax, problem.rois, problem.features.shape
        return self.reference.backward(*call, **self.geometry(problem, "_backward"))

    def expected_backward_rois(self, problem, grad_output, argmax):
        """The gradient with respect to the boxes, and the sums of its absolute terms, by the reference."""
        call = grad_output, argmax, problem.features, problem.rois
        return self.reference.backward_rois(*call, **self.geometry(problem, self.slopes))

    def hold(self, values, expected, *, signs_of_zeros=True):
        """Hold values against the reference's."""
        if not self.exact:
            assert_close(values, expected)
            return
        with np.errstate(over="ignore"):  # the lowest float32 in half precision
            expected = expected.astype(values.dtype)
        if not signs_of_zeros:  # without an argmax, the sign of a zero is free
            values, expected = (array + array.dtype.type(0) for array in (values, expected))
        assert_same_bits(values, expected)

    def hold_slopes(self, grad, expected, dtype):
        """Hold a gradient of boxes, of features of a dtype, against the reference's."""
        gradient, terms = expected
        # the precision is that of the sums and of the result, whichever is less
        precision = "float64" if dtype == grad.dtype == np.float64 else "float32"
        if terms is None:
            assert_close(grad.astype(precision), gradient)
        else:
            assert_sums_close(grad, gradient, terms, precision)

    # ------------------------------------------------------------ everything at once

    def outputs(self, features, rois, output_size, *, layout="NCHW", take=np.asarray, give=None, **options):
        """The results of the operator and of its gradients, for NCHW features.

        Every array of a layout that is passed in goes through `take` before; every result but the gradient of
        the boxes is written to an array that `give` makes of a shape and a dtype.
        """
        give = give or (lambda shape, dtype: np.full(shape, 7, dtype))
        axes = (0, 1, 2, 3) if layout == "NCHW" else (0, 2, 3, 1)

        def taken(array):
            return take(np.ascontiguousarray(array.transpose(axes)))

        real = result_dtype(features.dtype)
        bins = self.problem(features, rois, output_size, {}).grad_output().shape
        grad_output = taken(random_values(np.random.default_rng(1), bins, real))
        features = taken(features)
        bins, options = tuple(bins[axis] for axis in axes), {"layout": layout, "sampling_ratio": 2, **options}
        out, grad, argmax = give(bins, real), give(features.shape, real), None
        if self.has_argmax:
            argmax = give(bins, np.dtype(np.int32))
            self.both(features, rois, output_size, out=(out, argmax), **options)
            results = [out, argmax]
            argmax = take(np.ascontiguousarray(argmax))
        else:
            self.forward(features, rois, output_size, out=out, **options)
            results = [out]
        self.backward(grad_output, rois, features.shape, argmax, out=grad, **options)
        results.append(grad)
        if self.has_slopes:
            results.append(self.backward_rois(grad_output, features, rois, argmax, **options))
        return results
