"""Nearest points of an axis, against all distances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xatmo._axes import nearest, step_of


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 40), m=st.integers(1, 40), around=st.booleans(), seed=st.integers(0, 999))
def test_nearest_of_all(n: int, m: int, around: bool, seed: int) -> None:
    random = np.random.default_rng(seed)
    have = random.permutation(random.uniform(-170, 400) + np.arange(n) * 360 / n)  # in any order, once around
    at = random.integers(0, n, m)
    want = have[at] + random.uniform(-0.4, 0.4, m) * 360 / n + (360 * random.integers(-1, 2, m) if around else 0)
    found = nearest(have, want, 0.45 * 360 / n, period=360.0 if around else None)
    assert found is not None
    np.testing.assert_array_equal(found, at)


@pytest.mark.parametrize(("want", "period"), [([10.0, 20.4], None), ([-350.0], None), ([55.0], 360.0)])
def test_none_where_one_is_too_far(want: list[float], period: float | None) -> None:
    have = np.arange(0.0, 50, 10)
    assert nearest(have, want, 0.3, period=period) is None


def test_step_of() -> None:
    assert step_of([3.0]) == 0
    assert step_of([0.0, 1, 2, 9]) == 1
    assert step_of(np.array([30, 20, 10], dtype=np.float32)) == 10
