"""Mathematics of the weights, on plain arrays."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xatmo import Grid
from xatmo.errors import OptionError
from xatmo.regrid import weights_between
from xatmo.regrid._kernels import Applier
from xatmo.regrid.weights import METHODS as ALL
from xatmo.regrid.weights import Weights, conservative

METHODS = tuple(m for m in ALL if m not in ("most_common", "min", "max"))  # those that are products of matrices

GRIDS = {
    "poles": Grid.regular(37, 72),
    "no poles": Grid.regular(45, 90, poles=False),
    "gaussian": Grid.gaussian(24),
    "missing poles": Grid.from_latlon(85 - 5 * np.arange(35), -180 + 5 * np.arange(72)),
    "coarse": Grid.regular(9, 16),
}
PAIRS = [(a, b) for a in GRIDS for b in GRIDS if a != b]


def harmonic(grid: Grid) -> np.ndarray:
    """Smooth at the poles: a sum of harmonics of degree 1 to 3."""
    x = np.cos(np.radians(grid.latitude))[:, None] * np.cos(np.radians(grid.longitude))
    y = np.cos(np.radians(grid.latitude))[:, None] * np.sin(np.radians(grid.longitude))
    z = np.sin(np.radians(grid.latitude))[:, None] + 0 * x
    return np.asarray(x + 0.5 * y * z + 0.3 * x * x * y - 0.2 * z**3)


def apply(weights: Weights, field: np.ndarray, **options: float) -> np.ndarray:
    return Applier(weights, np.dtype(field.dtype), **options)(field)


def area_mean(field: np.ndarray, grid: Grid) -> float:
    return float((field.astype(np.float64) * grid.areas).sum() / grid.areas.sum())


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
@pytest.mark.parametrize("method", METHODS)
def test_constants_are_kept(pair: tuple[str, str], method: str) -> None:
    source, target = (GRIDS[name] for name in pair)
    weights = weights_between(source, target, method)
    for dtype, tolerance in ((np.float64, 2e-15), (np.float32, 5e-7)):
        out = apply(weights, np.full(source.shape, 273.15, dtype))
        assert out.shape == target.shape
        assert out.dtype == dtype
        np.testing.assert_allclose(out, dtype(273.15), rtol=tolerance)
    assert (weights.coverage == 1).all()


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_conservative_keeps_the_area_mean(pair: tuple[str, str]) -> None:
    source, target = (GRIDS[name] for name in pair)
    field = np.random.default_rng(0).standard_normal(source.shape) + 10
    weights = weights_between(source, target, "conservative")
    assert area_mean(apply(weights, field), target) == pytest.approx(area_mean(field, source), rel=1e-13)
    single = field.astype(np.float32)
    assert area_mean(apply(weights, single), target) == pytest.approx(area_mean(single, source), rel=1e-7)


def test_conservative_against_areas_of_overlaps_worked_out_cell_by_cell() -> None:
    source, target = Grid.regular(7, 12), Grid.from_latlon([50, 20, -10], [-100, -33, 5, 60])
    field = np.random.default_rng(1).standard_normal(source.shape)
    expected = np.empty(target.shape)
    s_lat, s_lon, t_lat, t_lon = (
        np.sin(np.radians(source.latitude_bounds)), source.longitude_bounds,
        np.sin(np.radians(target.latitude_bounds)), target.longitude_bounds,
    )  # fmt: skip
    for i, j in np.ndindex(*target.shape):
        total = area = 0.0
        for k, m in np.ndindex(*source.shape):
            height = min(s_lat[k], t_lat[i]) - max(s_lat[k + 1], t_lat[i + 1])
            for turn in (-360, 0, 360):
                width = min(s_lon[m + 1] + turn, t_lon[j + 1]) - max(s_lon[m] + turn, t_lon[j])
                if height > 0 and width > 0:
                    total += field[k, m] * height * width
                    area += height * width
        expected[i, j] = total / area
    np.testing.assert_allclose(apply(weights_between(source, target, "conservative"), field), expected, atol=1e-13)


@pytest.mark.parametrize(("method", "order"), [("bilinear", 2), ("bicubic", 3)])
@pytest.mark.parametrize("poles", [True, False])
def test_interpolation_converges(method: str, order: int, poles: bool) -> None:
    target = Grid.regular(61, 90)  # with points on the poles, and between all rows
    errors = []
    for n in (20, 40, 80):
        source = Grid.regular(n + poles, 2 * n, poles=poles)
        errors.append(np.abs(apply(weights_between(source, target, method), harmonic(source)) - harmonic(target)).max())
    rates = np.log2(np.array(errors[:-1]) / errors[1:])
    assert (rates > order - 0.3).all(), (errors, rates)


def test_bicubic_is_the_catmull_rom_spline_on_equal_steps() -> None:
    source = Grid.from_latlon(np.arange(10.0), np.arange(8.0))
    target = Grid.from_latlon([4.3, 5.6], [3.25, 3.5])
    weights = weights_between(source, target, "bicubic")
    t = 0.3
    keys = [
        -0.5 * t * (1 - t) ** 2,
        1 - 2.5 * t**2 + 1.5 * t**3,
        0.5 * t * (1 + 4 * t - 3 * t**2),
        -0.5 * t**2 * (1 - t),
    ]
    np.testing.assert_allclose(weights.lat.matrix.toarray()[0, 3:7], keys, atol=1e-14)


def test_bicubic_is_exact_for_parabolas_with_uneven_rows_and_at_the_edge() -> None:
    lat, lon = np.array([0.0, 1, 2.5, 3, 5]), np.array([10.0, 11, 13, 14])
    source, target = Grid.from_latlon(lat, lon), Grid.from_latlon([0.2, 1.7, 4.9], [10.1, 12, 13.9])

    def parabola(grid: Grid) -> np.ndarray:
        return np.asarray((1 + grid.latitude - 0.3 * grid.latitude**2)[:, None] * (2 - grid.longitude**2))

    np.testing.assert_allclose(apply(weights_between(source, target, "bicubic"), parabola(source)), parabola(target))


# Whole thousandths: a piece below 1e-9 of its cell is left out as rounding, and is missed by a test to the last digits.
STARTS = st.integers(-360_000, 360_000).map(lambda n: n / 1000)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(3, 30), m=st.integers(4, 40), rows=st.integers(3, 30), columns=st.integers(4, 40),
    start=STARTS, poles=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_methods_without_overshoot_stay_in_range_and_conserve(
    n: int, m: int, rows: int, columns: int, start: float, poles: bool, seed: int
) -> None:
    source = Grid.regular(n, m, poles=poles)
    target = Grid.from_latlon(Grid.regular(rows, 4).latitude, start + np.arange(columns) * 360 / columns)
    field = np.random.default_rng(seed).standard_normal(source.shape)
    for method in ("conservative", "bilinear", "nearest"):
        out = apply(weights_between(source, target, method), field)
        assert out.min() >= field.min() - 1e-13
        assert out.max() <= field.max() + 1e-13
    kept = apply(weights_between(source, target, "conservative"), field)
    assert area_mean(kept, target) == pytest.approx(area_mean(field, source), abs=1e-13)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_grid_changes_nothing(method: str) -> None:
    for source in GRIDS.values():
        # Coordinates that went through float32 are the same points.
        rounded = Grid.from_latlon(source.latitude.astype(np.float32), source.longitude.astype(np.float32))
        field = np.random.default_rng(2).standard_normal(source.shape)
        tolerance = {"conservative": 1e-4, "conservative2": 3e-4}.get(method, 1e-12)
        np.testing.assert_allclose(apply(weights_between(rounded, source, method), field), field, atol=tolerance)


def test_nearest_ties_go_north_and_west() -> None:
    source = Grid.from_latlon([0.0, 2, 4], [0.0, 2, 4])
    out = apply(weights_between(source, Grid.from_latlon([1.0, 3], [1.0, 3]), "nearest"), np.arange(9.0).reshape(3, 3))
    np.testing.assert_array_equal(out, [[3, 4], [6, 7]])  # rows 2 and 4 (north), columns 0 and 2 (west)


def test_nearest_wraps_around() -> None:
    source = Grid.regular(5, 8)
    target = Grid.from_latlon(source.latitude, np.arange(8) * 45 + 340.0)
    out = apply(weights_between(source, target, "nearest"), np.broadcast_to(np.arange(8.0), source.shape))
    np.testing.assert_array_equal(out[0], [0, 1, 2, 3, 4, 5, 6, 7])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("turn", [-720, -360, 360])
def test_whole_turns_of_the_target_change_nothing(method: str, turn: int) -> None:
    source = Grid.from_latlon(np.linspace(60, 20, 11), np.linspace(-20, 30, 21))
    target = Grid.from_latlon(np.linspace(55, 30, 7), np.linspace(-15, 25, 9))
    field = np.random.default_rng(3).standard_normal(source.shape)
    moved = Grid.from_latlon(target.latitude, target.longitude + turn)
    expected = apply(weights_between(source, target, method), field)
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(apply(weights_between(source, moved, method), field), expected, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_outside_a_regional_source_is_nan(method: str) -> None:
    source = Grid.from_latlon(np.arange(50.0, 39, -1), np.arange(0.0, 11))
    target = Grid.from_latlon(np.arange(60.0, 29, -1), np.arange(-10.0, 21))
    out = apply(weights_between(source, target, method), np.ones(source.shape, np.float32))
    inside = (np.abs(target.latitude - 45) <= 5)[:, None] & (np.abs(target.longitude - 5) <= 5)
    np.testing.assert_array_equal(np.isfinite(out), inside)


def test_far_side_of_a_pole_comes_with_the_other_sign_for_vectors() -> None:
    # A uniform flow across the pole along the 0 degree meridian: v = -cos(lon), u = sin(lon) close to the pole.
    source, target = Grid.regular(90, 180, poles=False), Grid.regular(91, 180)
    v = np.broadcast_to(-np.cos(np.radians(source.longitude)), source.shape).copy()
    for method in ("bilinear", "bicubic"):
        out = apply(weights_between(source, target, method), v, sign=-1.0)
        np.testing.assert_allclose(out[0], -np.cos(np.radians(target.longitude)), atol=1e-12)


def test_weights_are_small_and_pickle() -> None:
    weights = weights_between(Grid.regular(721, 1440), Grid.regular(181, 360), "bicubic")
    applier = Applier(weights, np.dtype(np.float32))
    field = np.random.default_rng(4).standard_normal((721, 1440)).astype(np.float32)
    expected = applier(field)
    stored = pickle.dumps(applier)
    assert len(stored) < 150_000
    np.testing.assert_array_equal(pickle.loads(stored)(field), expected)


def test_unknown_method() -> None:
    with pytest.raises(OptionError, match=r"method 'magic' came; wanted one of 'spectral', 'conservative'"):
        weights_between(GRIDS["coarse"], GRIDS["poles"], "magic")


# ---------------------------------------------------------------------- gaps
@pytest.mark.parametrize("pair", [("poles", "coarse"), ("coarse", "poles"), ("gaussian", "no poles")], ids="-".join)
@pytest.mark.parametrize("min_valid", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_conservative_means_over_the_valid_part(pair: tuple[str, str], min_valid: float, dtype: type) -> None:
    source, target = (GRIDS[name] for name in pair)
    random = np.random.default_rng(5)
    field = random.standard_normal((3, *source.shape)).astype(dtype)
    field[random.random(field.shape) < 0.4] = np.nan
    field[:, :4] = np.nan
    weights = weights_between(source, target, "conservative")
    lat, lon = (w.matrix.toarray() for w in (weights.lat, weights.lon))
    valid = lat @ np.isfinite(field).astype(float) @ lon.T
    with np.errstate(invalid="ignore"):
        expected = (lat @ np.nan_to_num(field).astype(float) @ lon.T) / valid
    expected[(valid < min_valid - 1e-6) | (valid < 1e-6)] = np.nan
    out = apply(weights, field, min_valid=min_valid)
    np.testing.assert_array_equal(np.isnan(out), np.isnan(expected))
    np.testing.assert_allclose(out, expected, atol=2e-6 if dtype is np.float32 else 1e-12)


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
@pytest.mark.parametrize("where", [(0, 0), (20, 40), (44, 89)])
def test_a_gap_reaches_exactly_the_targets_that_use_it(method: str, where: tuple[int, int]) -> None:
    source, target = GRIDS["no poles"], GRIDS["poles"]
    field = harmonic(source)
    weights = weights_between(source, target, method)
    probe = np.zeros(source.shape)
    probe[where] = 1
    used = apply(weights, probe) != 0
    complete = apply(weights, field)
    field[where] = np.nan
    out = apply(weights, np.stack([field, harmonic(source)]))
    np.testing.assert_array_equal(np.isnan(out[0]), used)
    np.testing.assert_allclose(out[0][~used], complete[~used], atol=1e-12)
    np.testing.assert_allclose(out[1], complete, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_an_infinity_stays_where_it_is(method: str) -> None:
    source, target = GRIDS["poles"], GRIDS["no poles"]
    weights = weights_between(source, target, method)
    field = harmonic(source)
    complete = apply(weights, field)
    field[10, 20] = np.inf
    field[30, 3] = np.nan
    out = apply(weights, field, min_valid=1.0)
    touched = ~np.isfinite(out)
    assert 0 < touched.sum() < 60
    np.testing.assert_allclose(out[~touched], complete[~touched], rtol=1e-12)
    assert np.isinf(out).any()


@pytest.mark.parametrize("method", METHODS)
def test_threads_and_memory_layout_change_nothing(method: str) -> None:
    source, target = GRIDS["poles"], GRIDS["coarse"]
    field = np.random.default_rng(6).standard_normal((5, 2, *source.shape)).astype(np.float32)
    applier = Applier(weights_between(source, target, method), np.dtype(np.float32))
    expected = applier(field)
    np.testing.assert_array_equal(applier(field, threads=3), expected)
    np.testing.assert_array_equal(applier(np.asfortranarray(field)), expected)
    np.testing.assert_array_equal(applier(field.astype(">f4")), expected)
    assert applier(field[:0]).shape == (0, 2, *target.shape)


def test_conservative_between_edges_that_touch_nothing() -> None:
    weights = conservative(np.array([0.0, 1]), np.array([0.0, 1]), np.array([5.0, 6]), np.array([0.0, 1]))
    assert weights.coverage.tolist() == [[0.0]]
    assert np.isnan(apply(weights, np.ones((1, 1)))).all()
