"""Any call of a public function: an error that says what is wrong and leaves no trace, or the right result.

`make fuzz` draws calls for as long as one likes (`fuzz.py`). Here are a few, the same ones in every run, and
those that once failed.
"""

import inspect
import json
import re

import numpy as np
import pytest
from hypothesis import given, settings

import fuzz.calls
import fuzz.oracle
import roicy
from fuzz.draws import calls

DOCUMENTED = (TypeError, ValueError, MemoryError)


def check(description):
    """Make a call and compare the outcome with the expected one; return a word for the outcome."""
    call = fuzz.calls.build(json.loads(json.dumps(description)))
    function = fuzz.calls.FUNCTIONS[call.name]
    given_arrays = {**_arrays(call.arguments), **_arrays(call.method_arguments)}
    roots = {name: _root(array) for name, array in given_arrays.items()}
    before = {name: root.tobytes() for name, root in roots.items()}
    untouched = call._replace(
        arguments=_copied(call.arguments), method_arguments=_copied(call.method_arguments)
    )
    outs = {name for name in given_arrays if name.split("[")[0] == "out"}
    spoiled = set()
    try:
        result = function(**call.arguments)
        if call.method is not None:
            for name in ("rois", "batch_indices", "levels"):  # a plan has boxes of its own
                spoiled |= {
                    own for own in given_arrays if own.split("[")[0] == name and _overwrite(given_arrays[own])
                }
            result = getattr(result, call.method)(**call.method_arguments)
    except DOCUMENTED as error:
        _check_error(error, function, call)
        for name in roots.keys() - spoiled:
            assert roots[name].tobytes() == before[name], f"{name} was written to"
        if call.good:
            _check_refusal(untouched, error)
        return type(error).__name__

    written = {id(roots[name]) for name in outs}
    for name in roots.keys() - outs - spoiled:
        if id(roots[name]) not in written:
            assert roots[name].tobytes() == before[name], f"{name} was written to"
        for out in outs:
            assert not np.shares_memory(given_arrays[name], given_arrays[out]), f"{out} overlaps {name}"
    for name in outs:
        _check_around(given_arrays[name], roots[name], before[name], name)
    try:
        wanted = fuzz.oracle.expected(untouched)
    except fuzz.oracle.Meaningless as reason:
        raise AssertionError(f"accepted, though meaningless: {reason}") from None
    if wanted is None:
        return "result"
    out = {**call.arguments, **call.method_arguments}.get("out")
    results = list(result) if isinstance(result, (tuple, list)) else [result]
    for own, found in zip(out if isinstance(out, (tuple, list)) else [out], results, strict=False):
        assert found is own or not isinstance(own, np.ndarray)
    assert len(results) == len(wanted)
    for found, array in zip(results, wanted, strict=True):
        assert isinstance(found, np.ndarray)
        assert found.shape == tuple(array.shape)
        assert found.dtype == array.dtype
        if array.hold is not None:
            array.hold(found)
    return "right result" if any(array.hold is not None for array in wanted) else "result"


def _check_refusal(call, error):
    try:
        fuzz.oracle.expected(call)
    except fuzz.oracle.Meaningless:
        return
    raise AssertionError("refused, though there is nothing wrong") from error


def _check_error(error, function, call):
    text = str(error)
    assert text
    if isinstance(error, MemoryError):
        return
    if callable(call.arguments.get("whiten")):  # which may raise what it likes
        return
    named = [function]
    if call.name == "caffe2.run_operator":
        named += [other for name, other in fuzz.calls.FUNCTIONS.items() if name.startswith("caffe2.")]
    names = {name for function in named for name in inspect.signature(function).parameters}
    names |= {"out", *call.arguments, *call.method_arguments}
    if call.method is not None:
        names |= {"features", "grad_output", "argmax", "return_argmax"}
    assert any(re.search(rf"\b{re.escape(name)}\b", text) for name in names), f"names no argument: {text}"


def _arrays(arguments):
    # every array among arguments, in lists too
    found = {}
    for name, value in arguments.items():
        value = fuzz.calls.as_numpy(value)
        if isinstance(value, (list, tuple)):
            found |= {f"{name}[{i}]": item for i, item in enumerate(value) if isinstance(item, np.ndarray)}
        elif isinstance(value, np.ndarray):
            found[name] = value
    return {name: array for name, array in found.items() if array.dtype.kind not in "OUSM"}


def _copied(arguments):
    # for the oracle, which has to see arrays as they were
    def copied(value):
        if isinstance(value, (list, tuple)):
            return type(value)(copied(item) for item in value)
        value = fuzz.calls.as_numpy(value)
        return value.copy() if isinstance(value, np.ndarray) else value

    return {name: copied(value) for name, value in arguments.items()}


def _root(array):
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _overwrite(array):
    if array.flags.writeable and array.dtype.kind in "fiu":
        array[...] = 3
        return True
    return False


def _check_around(array, root, before, name):
    # Of the memory that an output lies in only its own items may have changed.
    if root is array or not array.size:
        return
    own = np.zeros(root.nbytes, bool)
    start = array.__array_interface__["data"][0] - root.__array_interface__["data"][0]
    for byte in range(array.itemsize):
        np.ndarray(array.shape, bool, own, start + byte, array.strides)[...] = True
    assert own.sum() == array.nbytes, f"{name} overlaps itself"
    after = np.frombuffer(root.tobytes(), np.uint8)
    assert (own | (after == np.frombuffer(before, np.uint8))).all(), f"written beside {name}"


def test_every_function_is_called():
    others = {"get_num_threads", "num_threads", "show_config", "set_output_cache", "empty_output_cache"}
    others |= {"rois_window", "rois_windows"}
    assert {name for name in roicy.__all__ if name.islower()} - others <= fuzz.calls.FUNCTIONS.keys()


@pytest.mark.parametrize("description", fuzz.calls.kept_seeds(), ids=lambda seed: seed["function"])
def test_what_once_failed(description):
    check(description)


@settings(max_examples=300)
@given(calls())
def test_any_call(description):
    check(description)
