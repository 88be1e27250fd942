"""Rows over their lengths, as R-MAC divides the maxima of its regions."""

import math

import numpy as np
import pytest

import roicy
from roicy import cpu


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("columns", [1, 15, 16, 37, 5000, 100_000])
def test_rows_are_divided_by_their_lengths(dtype, columns):
    # long sums stay exact, squares of float32 do not overflow, what is no number stays none; a row that a
    # constant has divided has a gradient along itself
    rows = np.random.default_rng(columns).standard_normal((9, columns)).astype(dtype)
    rows[1] *= dtype(1e30)
    rows[2] = 0
    rows[3] = 1e-20
    rows[4, columns // 2] = np.nan
    rows[5] *= 0.5e-10 / math.sqrt(columns)  # shorter than the least divisor, and not much
    grad = np.random.default_rng(1).standard_normal(rows.shape).astype(dtype)
    units, lengths = cpu.unit_rows(rows[::-1][::-1], 1e-10)
    found = cpu.unit_rows_backward(grad, units, lengths, 1e-10)
    assert units.dtype == found.dtype == dtype and lengths.shape == (9, 1) and lengths.dtype == np.float64
    for row, unit, length, slope, given in zip(rows, units, lengths[:, 0], found, grad, strict=True):
        exact = math.sqrt(math.fsum(float(value) ** 2 for value in row))
        np.testing.assert_allclose(length, exact, rtol=1e-14)
        divisor = 1e-10 if exact <= 1e-10 else exact
        np.testing.assert_allclose(unit, row.astype(np.float64) / divisor, rtol=4 * np.finfo(dtype).eps)
        along = math.fsum(map(float, given.astype(np.float64) * unit)) if exact > 1e-10 else 0.0
        expected = (given.astype(np.float64) - along * unit.astype(np.float64)) / divisor
        scale = np.abs(given).max() / divisor
        np.testing.assert_allclose(slope, expected, rtol=0, atol=4 * np.finfo(dtype).eps * scale)


def test_units_do_not_depend_on_threads():
    rows = np.random.default_rng(0).standard_normal((301, 700)).astype(np.float32)
    found = []
    for threads in (1, 3):
        with roicy.num_threads(threads):
            units, lengths = cpu.unit_rows(rows, 1e-12)
            found.append((units, lengths, cpu.unit_rows_backward(rows, units, lengths, 1e-12)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
