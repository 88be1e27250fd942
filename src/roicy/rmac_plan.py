"""R-MAC of maps of one shape: their regions, settled once, and the vectors made of the maxima of these."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, cast

from roicy import _arguments as settle
from roicy._backend import adopt, adopted
from roicy._given import Given
from roicy._kinds import LARGEST_PIXEL
from roicy._regions import cover_of, settled
from roicy._types import Aggregate, AnyArray, Array, Cover, InputShape, Integer, Layout, Ndarray, Real, Shape
from roicy._vectors import Recipe, Vectors, Whiten, whiten_arrays
from roicy.plan import Plan

if TYPE_CHECKING:
    from roicy._protocols import Again, Backend

#: Arrays of the calls.
DESCRIBED = ("features",)
BACK = "grad_output", "features", "out"


class RMACPlan(Generic[Array]):
    """R-MAC of feature maps of a fixed shape; made by `roicy.rmac_plan`.

    Call it with feature maps to describe them, `backward` is the gradient.
    """

    __slots__ = (
        "__weakref__",
        "_captured",
        "_counts",
        "_cover",
        "_input_shape",
        "_kept",
        "_layout",
        "_options",
        "_plans",
        "_recipe",
        "_repeated",
    )

    def __init__(
        self,
        input_shape: Shape,
        layout: Layout,
        scales: Integer,
        overlap: Real,
        whiten: Whiten,
        aggregate: Aggregate,
        eps: Real,
    ) -> None:
        # input_shape, layout and the arrays of `whiten` come settled, the rest as the caller gave it
        if layout == "NCHW":
            n, c, h, w = input_shape
        else:
            n, h, w, c = input_shape
        self._input_shape = input_shape
        self._layout: Layout = layout
        self._cover = cover_of(h, w, *settled(scales, overlap))
        self._counts = n, self._cover.regions, c
        self._recipe = Recipe(whiten, aggregate, eps)
        self._options = {"scales": scales, "overlap": overlap, "aggregate": aggregate, "eps": eps}
        self._plans: dict[Any, Plan[Any]] = {}  # of the regions, for each device on which maps were
        self._captured: list[Plan[Any]] = []  # those whose boxes and tables are parts of CUDA graphs
        self._repeated: dict[Any, Again] = {}  # calls of a plan that is kept, by the backend
        self._kept = False

    @property
    def input_shape(self) -> Shape:
        """Shape of the feature maps, in the order of `layout`."""
        return self._input_shape

    @property
    def layout(self) -> Layout:
        """Order of the axes, "NCHW" or "NHWC"."""
        return self._layout

    def __call__(self, features: Array) -> Array:
        """Describe each image by one vector.

        Parameters
        ----------
        features : ndarray, shape `input_shape`
            float16, bfloat16, float32, float64, or integers of up to 16 bits or bool, strided.

        Returns
        -------
        ndarray, shape (N, C)
            As `roicy.rmac` returns it.
        """
        whiten = self._recipe.whiten
        kernels, maps, _ = adopted_with(whiten, DESCRIBED, features)
        if kernels.again is None or whiten is not None:
            vectors: Array = self._describe(kernels, maps)
        else:
            vectors = self._again(kernels, "forward", (maps,), None, self._describe, maps)
        return vectors

    def backward(self, grad_output: Array, features: AnyArray, out: AnyArray | None = None) -> Array:
        """Return the gradient with respect to the feature maps.

        Parameters
        ----------
        grad_output : ndarray, shape (N, C)
            Gradient with respect to what the plan returns for `features`, and of the dtype of that.
        features : ndarray, shape `input_shape`
            The feature maps that were described.
        out : ndarray, shape `input_shape`, optional
            Where to write the result; overwritten, not added to.

        Returns
        -------
        ndarray, shape `input_shape`, dtype of `grad_output`
            As `roicy.rmac_backward` returns it: `out` where that is given.
        """
        whiten = differentiable(self._recipe.whiten)
        kernels, grad, maps, own, _ = adopted_with(whiten, BACK, grad_output, features, out)
        if kernels.again is None or whiten is not None:
            grad_features: Array = self._adjoint(kernels, grad, maps, own)
        else:
            grad_features = self._again(
                kernels, "backward", (grad, maps), own, self._adjoint, grad, maps, own
            )
        return grad_features

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self._options.items())
        return f"RMACPlan(input_shape={self._input_shape}, {options}, layout={self._layout!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # What is copied or pickled are the arguments, as of other plans.
        arguments = {**self._options, "layout": self._layout, "whiten": self._recipe.whiten}
        return _made_again, (self._input_shape, arguments)

    def _describe(self, kernels: Backend, features: Ndarray) -> Ndarray:
        accumulate, _ = settle.features(features, self._input_shape)
        vectors = Vectors(kernels, self._recipe, self._counts, accumulate)
        plan = self._plan(kernels, features)
        pooled = plan._pool(features, None, False)
        if kernels.again is not None:
            self._note(kernels, plan, pooled)
        return vectors.of(pooled)

    def _adjoint(self, kernels: Backend, grad_output: Ndarray, features: Ndarray, out: Ndarray) -> Ndarray:
        accumulate, _ = settle.features(features, self._input_shape)
        vectors = Vectors(kernels, self._recipe, self._counts, accumulate)
        settle.grad_output_of(features, grad_output, vectors.shape)
        inputs = grad_output, features, *whiten_arrays(self._recipe.whiten).values()
        out = settle.out(out, self._input_shape, grad_output.dtype, *inputs)
        plan = self._plan(kernels, features)
        pooled, argmax = plan._pool(features, None, True)
        grad = vectors.adjoint(pooled, grad_output).reshape(pooled.shape)
        out = plan._backward(grad, argmax, out)
        if kernels.again is not None:
            self._note(kernels, plan, pooled, argmax)
        return out

    def _again(
        self,
        kernels: Backend,
        how: str,
        inputs: tuple[Ndarray, ...],
        out: Any,
        apply: Callable[..., Any],
        *arrays: Any,
    ) -> Any:
        # ``apply(kernels, *arrays)``, or what repeats an earlier call of this plan
        own = self._repeated.get(kernels)
        if own is None:
            own = self._repeated.setdefault(kernels, cast(Any, kernels.again).apart())
        return own.run(self._cover, how, inputs, out, lambda: (self._cover, apply(kernels, *arrays)))

    def _note(self, kernels: Backend, plan: Plan[Any], *made: Ndarray) -> None:
        # for calls that repeat this one: what is its own, and what is the plan's
        again: Any = kernels.again
        again.took(*made)
        if self._kept:
            again.shares(plan._tables.values(), functools.partial(_wait_for, plan))

    def _keep(self) -> None:
        self._kept = True
        self._recipe.keep(self._counts[2])

    def _plan(self, kernels: Backend, features: Ndarray) -> Plan[Any]:
        # of the regions of all images, on the device of the maps
        device = kernels, getattr(getattr(features, "device", None), "id", None)  # CuPy's cannot be hashed
        plan = self._plans.get(device)
        if plan is None:
            n, r, _ = self._counts
            # a plan's tables are its own, and those on a GPU are of a stream
            lasting = not self._kept and n * r <= _FEW and kernels.streams is None
            make = _of_few if lasting else _of_regions
            captured = self._kept and kernels.streams is not None and kernels.streams.captures()
            plan = make(kernels, self._input_shape, self._layout, self._cover)
            if self._kept:
                plan._keep()
            if captured:  # the graph makes the boxes at each launch: other calls must not use them
                self._captured.append(plan)
            else:
                self._plans[device] = plan
        return plan


def _wait_for(plan: Plan[Any]) -> None:
    # as the plan does before it uses its tables
    streams = plan._kernels.streams
    if plan._events and streams is not None:
        plan._events = streams.wait_for(plan._events)


def _of_regions(kernels: Backend, shape: Shape, layout: Layout, cover: Cover) -> Plan[Any]:
    # of those of all images, which are never invalid
    given = Given(kernels.cover_boxes(cover, shape[0]), None, layout, "nan")
    return Plan(LARGEST_PIXEL, kernels, given, shape, (1, 1), (1.0, "round"), lent=True)  # of its own boxes


#: So many regions of all images are few: tables of them, of 2 MB at most, serve the next calls on such maps.
_FEW = 8192
_of_few: Callable[..., Plan[Any]] = functools.lru_cache(maxsize=8)(_of_regions)


def kept(
    input_shape: InputShape,
    scales: Integer,
    overlap: Real,
    layout: Layout,
    whiten: Whiten,
    aggregate: Aggregate,
    eps: Real,
) -> RMACPlan[Any]:
    """Return a plan with its own arrays, from arguments as a caller gives them."""
    layout = settle.layout(layout)
    shape = settle.input_shape(input_shape, layout)
    _, *pair = adopt(**whiten_arrays(whiten))
    plan: RMACPlan[Any] = RMACPlan(shape, layout, scales, overlap, pair or whiten, aggregate, eps)
    plan._keep()
    return plan


def _made_again(input_shape: Shape, arguments: dict[str, Any]) -> RMACPlan[Any]:
    return kept(input_shape, **arguments)


def adopted_with(whiten: Whiten, names: tuple[str, ...], *arrays: Any) -> tuple[Backend, *tuple[Any, ...]]:
    """Return the kernels for a call, its arrays, and a list of those of a pair that whitens."""
    if whiten is None:
        return *adopted(names, *arrays), []
    kernels, *found = adopt(**dict(zip(names, arrays, strict=True)), **whiten_arrays(whiten))
    return kernels, *found[: len(names)], found[len(names) :]


def differentiable(whiten: Any) -> Any:
    """Return what whitens rows, or raise where it is a function: its gradient is not known."""
    if callable(whiten):
        raise TypeError(f"whiten must be None or a pair (mean, matrix) for a gradient, got {whiten!r}")
    return whiten
