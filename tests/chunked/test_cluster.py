"""A cluster of two processes: bits, threads, a worker that dies, memory that is bounded."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("dask.array", reason="dask[array] is not installed")
pytest.importorskip("distributed", reason="distributed is not installed")

pytestmark = pytest.mark.slow
CALLS = Path(__file__).with_name("cluster_calls.py")


@pytest.mark.parametrize("call", ["same_bits", "threads", "killed", "bounded"])
def test_on_a_cluster(call, tmp_path):
    if call == "bounded":
        pytest.importorskip("zarr", reason="zarr is not installed")
    done = subprocess.run(
        [sys.executable, str(CALLS), call, str(tmp_path)],
        env=dict(os.environ, OMP_NUM_THREADS="1"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0 and "done" in done.stdout, done.stdout + done.stderr
