"""``pytest -p simulated.plugin``: the tests of a CUDA device on the simulated one."""

import numpy as np
import pytest

from . import device

DEVICE = device.begin()

#: What is not simulated: work that goes on while the host does, and graphs.
NOT_HERE = {
    "test_nothing_waits_that_need_not": "work is done at once",
    "test_a_plan_in_a_graph": "graphs are not recorded",
    "test_plain_calls_in_a_graph": "graphs are not recorded",
    "test_more_items_than_32_bits_count": "it takes hours",
}


def pytest_configure(config):
    """Let NumPy sort, in the place of code that is compiled into CuPy."""
    import cupy

    def argsort(a, axis=-1, kind=None):
        return cupy.asarray(np.argsort(cupy.asnumpy(a), axis, kind=kind))

    cupy.argsort = argsort


def pytest_collection_modifyitems(items):
    """Skip what a simulated device cannot show."""
    for item in items:
        reason = NOT_HERE.get(getattr(item, "originalname", ""))
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=f"simulated device: {reason}"))


def pytest_terminal_summary(terminalreporter):
    """Say how many kernels ran."""
    if DEVICE.launches:
        terminalreporter.write_line(f"simulated device: {sum(DEVICE.launches.values())} launches")
