from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xatmo
from xatmo import Grid, _quadrature
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import CoordinateError, GridError, OptionError

GLOBAL = {
    "poles": Grid.regular(19, 36),
    "no poles": Grid.regular(18, 36, poles=False),
    "gaussian even": Grid.gaussian(20),
    "gaussian odd": Grid.gaussian(21),
    "missing south pole": Grid.from_latlon(90 - 10 * np.arange(18), 10 * np.arange(36)),
    "driscoll-healy, odd": Grid.driscoll_healy(17),
    "missing north pole": Grid.from_latlon(80 - 10 * np.arange(18), 10 * np.arange(36)),
    "missing both poles": Grid.from_latlon(80 - 10 * np.arange(17), 10 * np.arange(36)),
}


@pytest.mark.parametrize("grid", GLOBAL.values(), ids=list(GLOBAL))
class TestGlobal:
    def test_weights_integrate_polynomials_to_the_degree_claimed(self, grid: Grid) -> None:
        by_kind = {"gaussian": 2 * grid.nlat - 1, "regular": grid.nlat - 1, "driscoll_healy": 2 * (grid.nlat // 2) - 1}
        degree = by_kind.get(grid.kind, 2 * grid.lmax)
        values = _quadrature.legendre_values(np.cos(grid.colatitude), degree)
        np.testing.assert_allclose(values @ grid.weights, np.eye(degree + 1)[0], atol=1e-12)

    def test_weights_sum_to_one_and_areas_to_the_sphere(self, grid: Grid) -> None:
        assert grid.weights.sum() == pytest.approx(1, abs=1e-14)
        assert grid.areas.sum() == pytest.approx(4 * np.pi * EARTH_RADIUS**2, rel=1e-12)
        assert grid.areas.shape == grid.shape
        assert (grid.weights[np.abs(grid.latitude) < 89.9] > 0).all()
        assert (grid.weights >= 0).all()  # 0 on the pole of a Driscoll-Healy grid

    def test_points_row_by_row(self, grid: Grid) -> None:
        lat, lon = np.meshgrid(grid.latitude, grid.longitude, indexing="ij")
        assert grid.npoints == lat.size
        np.testing.assert_array_equal(grid.point_latitude, lat.ravel())
        np.testing.assert_array_equal(grid.point_longitude, lon.ravel())

    def test_row_order_and_longitude_range_change_nothing_but_the_order(self, grid: Grid) -> None:
        flipped = Grid.from_latlon(grid.latitude[::-1], (grid.longitude + 180) % 360 - 180)
        assert flipped.kind == grid.kind
        assert flipped.lmax == grid.lmax
        np.testing.assert_allclose(flipped.weights, grid.weights[::-1], rtol=1e-11, atol=1e-15)

    def test_round_trip_through_plain_numbers(self, grid: Grid) -> None:
        assert Grid.from_dict(grid.to_dict()) == grid

    def test_coords_give_the_grid_back(self, grid: Grid) -> None:
        coords = grid.coords(lat="y", lon="x")
        da = xr.DataArray(np.zeros(grid.shape), coords=coords, dims=("y", "x"))
        assert da.atmo.grid == grid


@pytest.mark.parametrize("n", [3, 4, 31, 32, 64, 256])
def test_gaussian_nodes_match_numpy(n: int) -> None:
    colatitude, weights = _quadrature.gauss_legendre(n)
    mu, expected = np.polynomial.legendre.leggauss(n)
    np.testing.assert_allclose(np.cos(colatitude), mu[::-1], atol=1e-13)
    np.testing.assert_allclose(weights, expected[::-1] / 2, atol=1e-13)


@pytest.mark.parametrize("decimals", [2, 3, 4])
def test_gaussian_recognised_within_rounding(decimals: int) -> None:
    exact = Grid.gaussian(96)
    rounded = Grid.from_latlon(np.round(exact.latitude, decimals), exact.longitude.astype("f4"))
    assert rounded.kind == "gaussian"
    np.testing.assert_array_equal(rounded.colatitude, exact.colatitude)


def test_lmax_of_known_grids() -> None:
    assert Grid.regular(721, 1440).lmax == 719
    assert Grid.regular(720, 1440, poles=False).lmax == 719
    assert Grid.regular(181, 720).lmax == 179  # limited by the rows: degree nlat - 2
    assert Grid.gaussian(96).lmax == 95
    assert Grid.gaussian(96, 96).lmax == 47


def test_saved_before_its_kind_had_a_name() -> None:
    grid = Grid.driscoll_healy(18)
    state = {"kind": "rectilinear", "latitude": grid.latitude.tolist(), "longitude": {"n": 36, "first": 0.0}}
    assert Grid.from_dict(state) == grid


@pytest.mark.parametrize(("n", "nlon"), [(2, None), (10, 3), (7.5, None)])
def test_impossible_driscoll_healy(n: int, nlon: int | None) -> None:
    with pytest.raises(OptionError, match="wanted (at least 3 rows and 4 columns|whole numbers)"):
        Grid.driscoll_healy(n, nlon)


class TestDriscollHealy:
    def test_rows_areas_and_degree(self) -> None:
        grid = Grid.driscoll_healy(1280)
        assert grid.shape == (1280, 2560)
        assert grid.latitude[[0, -1]].tolist() == [90, -90 + 180 / 1280]
        assert grid.latitude_bounds[[0, -1]].tolist() == [90, -90]
        assert grid.lmax == 1279
        assert Grid.driscoll_healy(180, 200).lmax == 99
        assert not grid.poles

    @pytest.mark.parametrize(
        ("first", "last", "missing"), [(90, -89, "south"), (-89, 90, "south"), (89, -90, "north"), (-90, 89, "north")]
    )
    def test_recognised_in_every_order(self, first: float, last: float, missing: str) -> None:
        latitude = np.linspace(first, last, 180).astype("f4")
        grid = Grid.from_latlon(latitude, np.arange(-180, 180.0))
        assert grid.kind == "driscoll_healy"
        assert grid.missing_pole == missing
        assert grid.lmax == 179
        np.testing.assert_allclose(np.degrees(grid.colatitude), 90 - latitude, atol=1e-5)
        assert grid.weights[np.argmax(np.abs(latitude))] == 0
        assert Grid.from_dict(grid.to_dict()) == grid

    def test_other_kinds_miss_no_pole(self) -> None:
        assert Grid.regular(19, 36).missing_pole is None
        assert Grid.gaussian(16).missing_pole is None


def test_regional_grid_has_areas_and_no_lmax() -> None:
    grid = Grid.from_latlon(np.arange(30, 46, 0.5), np.arange(-6, 37, 0.5))
    assert grid.kind == "regional"
    assert not grid.periodic
    assert grid.weights.sum() == pytest.approx(1)
    with pytest.raises(GridError, match=r"lmax needs a global grid; this one is regional: latitude 30 to 45\.5"):
        _ = grid.lmax


def test_band_around_the_earth_is_regional_and_periodic() -> None:
    grid = Grid.from_latlon(np.arange(-60, 61, 2.0), np.arange(0, 360, 2.0))
    assert grid.kind == "regional"
    assert grid.periodic


def test_repeated_cyclic_column_is_dropped() -> None:
    assert Grid.from_latlon(np.linspace(90, -90, 19), np.arange(0, 361, 10)) == Grid.regular(19, 36)


def test_decreasing_longitude_is_refused_with_the_place() -> None:
    with pytest.raises(CoordinateError, match=r"it goes from 350 to 340 at index 0. Sort it first"):
        Grid.from_latlon(np.linspace(90, -90, 19), np.arange(350, -1, -10))


def test_unsorted_latitude_is_refused() -> None:
    with pytest.raises(CoordinateError, match="latitude neither increases nor decreases"):
        Grid.from_latlon([10, 20, 15], np.arange(0, 360, 10))


def test_latitude_out_of_range_is_refused() -> None:
    with pytest.raises(CoordinateError, match="latitude runs from 0 to 100"):
        Grid.from_latlon([0, 50, 100], np.arange(0, 360, 10))


def test_too_small_a_global_grid_is_refused() -> None:
    with pytest.raises(OptionError, match="wanted at least 3 rows and 4 columns"):
        Grid.regular(2, 4)


class TestFindingCoordinates:
    def test_rotated_pole_is_refused_by_name(self) -> None:
        axes = {"rlat": ("rlat", [0.0, 1.0], {"standard_name": "grid_latitude"}), "rlon": ("rlon", [0.0, 1.0])}
        with pytest.raises(GridError, match="rotated-pole"):
            Grid.of(xr.DataArray(np.zeros((2, 2)), coords=axes, dims=("rlat", "rlon")))

    def test_curvilinear_is_refused_by_name(self) -> None:
        two = np.zeros((2, 2))
        coords = {
            "lat": (("y", "x"), two, {"units": "degrees_north"}),
            "lon": (("y", "x"), two, {"units": "degrees_east"}),
        }
        with pytest.raises(GridError, match="curvilinear"):
            Grid.of(xr.DataArray(two, coords=coords, dims=("y", "x")))

    def test_reduced_gaussian_is_refused_by_name(self) -> None:
        coords = {"latitude": ("values", [1.0, 2.0]), "longitude": ("values", [1.0, 2.0])}
        with pytest.raises(GridError, match="reduced"):
            Grid.of(xr.DataArray([0.0, 1.0], coords=coords, dims="values"))

    def test_missing_coordinate_says_what_was_there(self) -> None:
        with pytest.raises(CoordinateError, match=r"no latitude coordinate found among \['time'\]"):
            Grid.of(xr.DataArray([0.0], coords={"time": [0]}, dims="time"))

    def test_coordinates_without_attributes_are_found_by_name(self) -> None:
        da = xr.DataArray(np.zeros((3, 4)), coords={"LAT": [0, 1, 2], "lon": [0, 1, 2, 3]}, dims=("LAT", "lon"))
        assert da.atmo.grid.kind == "regional"


def test_public_names_resolve() -> None:
    assert {"Grid", "Normalizer", "open_catalog"} <= set(dir(xatmo))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = xatmo.nothing  # type: ignore[attr-defined]
