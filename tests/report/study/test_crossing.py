"""Where curves cross: made curves whose crossings are known, and a property of any curve."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcsrn.report.study.crossing import angles_in_words, stretches_below, stretches_in_words

X = np.linspace(0.0, 100.0, 51)


def test_a_method_that_falls_off_at_both_ends() -> None:
    """A parabola over a level line: it crosses at 50 ± 30."""
    method = 34 - (X - 50) ** 2 / 900 * 4
    (first, second) = stretches_below(X, method, np.full(51, 30.0))
    assert first == (0.0, pytest.approx(20, abs=0.1))
    assert second == (pytest.approx(80, abs=0.1), 100.0)
    assert stretches_in_words([first, second], " %", (0.0, 100.0)) == "0–20 %, 80–100 %"


def test_equal_counts_as_below_and_a_touch_is_a_point() -> None:
    base = np.full(5, 1.0)
    assert stretches_below(np.arange(5.0), base, base) == [(0.0, 4.0)]
    assert stretches_in_words([(0.0, 4.0)], "", (0.0, 4.0)) == "everywhere"
    touch = np.array([2.0, 2, 1, 2, 2])
    assert stretches_below(np.arange(5.0), touch, base) == [(2.0, 2.0)]
    assert stretches_in_words([(2.0, 2.0)], " %", (0.0, 4.0)) == "2 %"


def test_no_figure_ends_a_stretch() -> None:
    method = np.array([0.0, 0, np.nan, 0, 2, np.nan, 2])
    assert stretches_below(np.arange(7.0), method, np.ones(7)) == [(0.0, 1.0), (3.0, 3.5)]


def test_angles_are_told_one_by_one() -> None:
    angles, base = (0.0, 15.0, 22.5), np.array([1.0, 1, 1])
    assert angles_in_words(angles, np.array([2.0, 2, 2]), base) == "nowhere"
    assert angles_in_words(angles, np.array([2.0, 1, 0]), base) == "15°, 22.5°"
    assert angles_in_words(angles, np.array([0.0, 0, 0]), base) == "everywhere"


@given(st.lists(st.floats(-5, 5).filter(lambda v: abs(v) > 1e-3), min_size=2, max_size=30))
def test_stretches_are_where_a_fine_sampling_is_below(gains: list[float]) -> None:
    x, gain = np.arange(float(len(gains))), np.array(gains)
    found = stretches_below(x, gain, np.zeros(len(gains)))
    fine = np.linspace(0, x[-1], 997)
    inside = np.any([(first <= fine) & (fine <= last) for first, last in found] or [np.zeros(997, bool)], axis=0)
    value = np.interp(fine, x, gain)
    clear = np.abs(value) > 1e-9
    assert np.array_equal(inside[clear], value[clear] < 0)
