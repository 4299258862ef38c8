"""The compiled loops give what the products of matrices give, whether Numba compiles them or Python runs them."""

from __future__ import annotations

import builtins
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xatmo import Grid
from xatmo.optional import available
from xatmo.regrid import _compiled, weights_between
from xatmo.regrid._appliers import applier
from xatmo.regrid._kernels import Applier

METHODS = ("conservative", "conservative2", "bilinear", "bicubic")
PYTHON = _compiled.Kernels(_compiled._values, _compiled._valid_values)
ANY_SPEED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@pytest.fixture(params=["python", "numba"])
def loops(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Send every block to the loops."""
    monkeypatch.setattr(_compiled, "LEAST_VALUES", 0)
    if request.param == "python":
        monkeypatch.setattr(_compiled, "kernels", lambda: PYTHON)
    elif not available("numba"):
        pytest.skip("numba is not installed")
    return str(request.param)


def made(source: Grid, target: Grid, method: str, dtype: Any, **options: Any) -> Applier:
    return type(applier(weights_between(source, target, method), dtype))(
        weights_between(source, target, method), np.dtype(dtype), **options
    )


def by_products(ready: Applier, field: np.ndarray) -> np.ndarray:
    lead = field.shape[:-2]
    out = np.empty((int(np.prod(lead)), *ready.weights.target_shape), ready.dtype)
    ready._all(field.reshape(-1, *field.shape[-2:]), out, 1)
    return out.reshape(*lead, *out.shape[1:])


def random_grid(random: np.random.Generator, kind: str, n: int, m: int, start: float) -> Grid:
    if kind == "box":
        return Grid.from_latlon(
            np.sort(random.uniform(-80, 80, n))[:: random.choice([1, -1])], start + np.arange(m) * 3.0
        )
    lat = {"poles": Grid.regular(n, 4), "flipped": Grid.regular(n, 4, poles=False), "gaussian": Grid.gaussian(n)}[kind]
    return Grid.from_latlon(lat.latitude[:: -1 if kind == "flipped" else 1], start + np.arange(m) * 360 / m)


KINDS = st.sampled_from(["poles", "flipped", "gaussian", "box"])


@settings(max_examples=40, deadline=None, suppress_health_check=ANY_SPEED)
@given(
    kinds=st.tuples(KINDS, KINDS), n=st.integers(3, 12), m=st.integers(4, 14), rows=st.integers(3, 12),
    columns=st.integers(4, 14), starts=st.tuples(st.floats(-200, 200), st.floats(-200, 200)),
    method=st.sampled_from(METHODS), dtype=st.sampled_from(["f4", "f8"]), gaps=st.sampled_from([0, 0.1, 0.6]),
    skipna=st.booleans(), threads=st.integers(1, 3), seed=st.integers(0, 99),
)  # fmt: skip
def test_loops_are_the_products(
    loops: str, kinds: tuple[str, str], n: int, m: int, rows: int, columns: int, starts: tuple[float, float],
    method: str, dtype: str, gaps: float, skipna: bool, threads: int, seed: int,
) -> None:  # fmt: skip
    random = np.random.default_rng(seed)
    source = random_grid(random, kinds[0], n, m, starts[0])
    target = random_grid(random, kinds[1], rows, columns, starts[1])
    field = random.standard_normal((2, *source.shape)).astype(dtype)
    field[random.random(field.shape) < gaps] = np.nan
    # Parts of cells at the very limit would be decided by rounding.
    ready = made(source, target, method, dtype, min_valid=0.4321, sign=-1.0, skipna=skipna)
    out, expected = ready(field, threads=threads), by_products(ready, field)
    np.testing.assert_array_equal(np.isnan(out), np.isnan(expected))
    np.testing.assert_allclose(out, expected, atol=1e-5 if dtype == "f4" else 1e-12)


# Whole thousandths: a piece below 1e-9 of its cell is left out as rounding, and is missed by a test to the last digits.
STARTS = st.integers(-200_000, 200_000).map(lambda n: n / 1000)


@settings(max_examples=25, deadline=None, suppress_health_check=ANY_SPEED)
@given(
    kinds=st.tuples(KINDS, st.sampled_from(["poles", "flipped", "gaussian"])), n=st.integers(3, 12),
    m=st.integers(4, 14), rows=st.integers(3, 12), columns=st.integers(4, 14), start=STARTS,
    dtype=st.sampled_from(["f4", "f8"]), seed=st.integers(0, 99),
)  # fmt: skip
def test_conserves_keeps_constants_and_range(
    loops: str, kinds: tuple[str, str], n: int, m: int, rows: int, columns: int, start: float, dtype: str, seed: int
) -> None:
    random = np.random.default_rng(seed)
    source = random_grid(random, kinds[0], n, m, start)
    target = random_grid(random, kinds[1], rows, columns, 0.0)
    field = (random.standard_normal((1, *source.shape)) + 10).astype(dtype)
    weights = weights_between(source, target, "conservative")
    out = made(source, target, "conservative", dtype, min_valid=0)(field)
    kept = np.nansum(out.astype(float) * weights.coverage * target.areas)
    # What covers less than a millionth of a cell is left out.
    assert kept == pytest.approx((field.astype(float) * source.areas).sum(), rel=1e-7 if dtype == "f4" else 2e-5)
    if kinds[0] != "box":
        assert kept == pytest.approx((field.astype(float) * source.areas).sum(), rel=1e-7 if dtype == "f4" else 1e-12)
    eps = float(np.finfo(dtype).eps)
    for method in ("conservative", "bilinear"):
        result = made(source, target, method, dtype, min_valid=0)(field)
        assert np.nanmin(result, initial=np.inf) >= field.min() - 80 * eps
        assert np.nanmax(result, initial=-np.inf) <= field.max() + 80 * eps
        constant = made(source, target, method, dtype, min_valid=0)(np.full_like(field, 273.15))
        np.testing.assert_allclose(constant[np.isfinite(constant)], np.array(273.15, dtype), rtol=4 * eps)


@pytest.mark.parametrize("method", METHODS)
def test_infinities_threads_types_and_layout(loops: str, method: str) -> None:
    rng = np.random.default_rng(21)
    source, target = Grid.regular(19, 36), Grid.regular(24, 30, poles=False)
    field = rng.standard_normal((3, *source.shape))
    field[0, 4, 5], field[1, 7:9, 3], field[1, 2, 2] = np.inf, np.nan, -np.inf
    ready = made(source, target, method, np.float64)
    expected = by_products(ready, field)
    for threads in (1, 2, 5):
        np.testing.assert_allclose(ready(field, threads=threads), expected, atol=1e-13)
    np.testing.assert_array_equal(ready(np.asfortranarray(field)), ready(field))
    np.testing.assert_array_equal(ready(field[:, None])[:, 0], ready(field))
    whole = rng.integers(0, 9, (1, *source.shape))
    np.testing.assert_allclose(ready(whole, threads=4), by_products(ready, whole), atol=1e-13)


def test_a_gap_leaves_other_fields_alone_to_the_bit(loops: str) -> None:
    rng = np.random.default_rng(21)
    source, target = Grid.regular(19, 36), Grid.regular(10, 20)
    field = rng.standard_normal((2, *source.shape)).astype(np.float32)
    ready = made(source, target, "conservative", np.float32)
    complete = ready(field)
    field[0, 3:6, 4] = np.nan
    np.testing.assert_array_equal(ready(field)[1], complete[1])


def test_only_columns_that_count_are_read() -> None:
    source, target = Grid.regular(91, 180), Grid.from_latlon([50.0, 45, 40], [20.0, 30, 40])
    weights = weights_between(source, target, "bilinear")
    found = _compiled.stencils(weights.lat.matrix, weights.lon.matrix, np.dtype("f4"))
    assert found is not None
    assert (found.low, found.high) == (10, 21)
    around = weights_between(source, Grid.from_latlon([50.0, 45, 40], [-5.0, 3, 40]), "conservative")
    found = _compiled.stencils(around.lat.matrix, around.lon.matrix, np.dtype("f4"))
    assert found is not None
    assert (found.low, found.high) == (0, 180)


def test_weights_that_lie_far_apart_stay_with_the_products() -> None:
    from scipy import sparse

    far = sparse.csr_array(np.eye(4, 40) + np.eye(4, 40, 15))
    near = sparse.csr_array(np.eye(4, 40))
    assert _compiled.stencils(near, far, np.dtype("f4")) is None
    assert _compiled.stencils(far, near, np.dtype("f4")) is not None


def test_small_blocks_never_ask_for_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        pytest.fail("a small block asked for compiled loops")

    monkeypatch.setattr(_compiled, "kernels", refuse)
    source, target = Grid.regular(19, 36), Grid.regular(10, 20)
    block, regridded = np.ones((2, *source.shape), np.float32), made(source, target, "conservative", np.float32)
    np.testing.assert_allclose(regridded(block), 1, rtol=1e-6)
    monkeypatch.setattr(_compiled, "LEAST_VALUES", block.size)
    with pytest.raises(pytest.fail.Exception, match="asked for compiled loops"):
        regridded(block)


def test_without_numba_or_with_its_compiler_off(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = _compiled.kernels.__wrapped__
    original = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "numba":
            raise ImportError(name)
        return original(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    assert fresh() is None
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "numba", _StandIn(off=True))  # type: ignore[arg-type]
    assert fresh() is None
    monkeypatch.setitem(sys.modules, "numba", _StandIn(off=False))  # type: ignore[arg-type]
    assert fresh() == PYTHON  # that has no folder to keep compiled code in


class _StandIn:
    """As much of Numba as is asked for."""

    def __init__(self, *, off: bool) -> None:
        self.config = type("config", (), {"DISABLE_JIT": off})

    @staticmethod
    def njit(*, cache: bool = False, **options: Any) -> Any:
        if cache:
            message = "no locator available"
            raise RuntimeError(message)
        return lambda function: function
