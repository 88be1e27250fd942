"""Small kernels for the tests of the host build."""

import numpy as np
import pytest

from cuda_host.module import HostModule, LaunchError


def kernel(body, parameters="int *out", *, options=(), before="", bounds=""):
    """A kernel of this body."""
    code = f'{before}\nextern "C" __global__ void {bounds} kernel({parameters}) {{\n{body}\n}}\n'
    return HostModule(code=code, options=options).get_function("kernel")


def zeros(count, dtype=np.int32):
    return np.zeros(count, dtype)


def wrong(function, *says, threads=64, out=None, **launch):
    with pytest.raises(LaunchError) as caught:
        function((1,), (threads,), (zeros(64) if out is None else out,), **launch)
    for words in says:
        assert words in str(caught.value)
