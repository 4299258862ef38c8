"""Grids of points on rings: their geometry, and their recognition from coordinates on one dimension."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import xarray as xr

from xatmo import Grid, datasets, optional
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import CoordinateError, GridError, MissingDependencyError, OptionError
from xatmo.rings import RingGrid

needs_eccodes = pytest.mark.skipif(find_spec("eccodes") is None, reason="ecCodes is not installed")
N48_HALF = [20, 25, 36, 40, 45, 50, 60, 60, 72, 75, 80, 90, 96, 100, 108, 120, 120, 120, 128, 135, 144, 144, 160, 160,
            160, 160, 160, 180, 180, 180, 180, 180] + [192] * 16  # fmt: skip
N48 = Grid.reduced_gaussian(N48_HALF + N48_HALF[::-1])
O24 = Grid.reduced_gaussian("O24")


def any_order(grid: RingGrid, seed: int = 0) -> RingGrid:
    where = np.random.default_rng(seed).permutation(grid.npoints)
    return RingGrid.from_points(grid.point_latitude[where], grid.point_longitude[where])


RINGS = {
    "healpix 1": Grid.healpix(1),
    "healpix 3": Grid.healpix(3),
    "healpix 8": Grid.healpix(8),
    "healpix 8, nested": Grid.healpix(8, nest=True),
    "healpix 4, any order": any_order(Grid.healpix(4)),
    "octahedral": O24,
    "original": N48,
    "octahedral, south to north": RingGrid.from_points(O24.point_latitude[::-1], O24.point_longitude[::-1]),
    "octahedral, any order": any_order(O24),
    "turned": RingGrid.from_points(O24.point_latitude, O24.point_longitude + 1.5),
}


@pytest.mark.parametrize("grid", RINGS.values(), ids=list(RINGS))
class TestEveryGrid:
    def test_weights_sum_to_one_and_areas_to_the_sphere(self, grid: RingGrid) -> None:
        assert grid.weights.shape == grid.latitude.shape == grid.ring_sizes.shape == grid.ring_starts.shape
        assert grid.weights.sum() == pytest.approx(1, abs=1e-14)
        assert (grid.weights > 0).all()
        assert grid.areas.shape == grid.shape == (grid.npoints,)
        assert grid.areas.sum() == pytest.approx(4 * np.pi * EARTH_RADIUS**2, rel=1e-12)

    def test_points_lie_where_the_rings_say(self, grid: RingGrid) -> None:
        order = slice(None) if grid.ring_order is None else grid.ring_order
        lat, lon = grid.point_latitude[order], grid.point_longitude[order]
        np.testing.assert_array_equal(lat, np.repeat(grid.latitude, grid.ring_sizes))
        assert (np.diff(grid.latitude) < 0).all()
        first = np.cumsum(grid.ring_sizes) - grid.ring_sizes
        np.testing.assert_array_equal(lon[first], grid.ring_starts)
        inside = np.delete(np.diff(lon), first[1:] - 1)
        assert (inside > 0).all()
        assert lon.min() >= 0
        assert lon.max() < 360

    def test_round_trips(self, grid: RingGrid) -> None:
        for other in (Grid.from_dict(grid.to_dict()), pickle.loads(pickle.dumps(grid))):
            assert type(other) is RingGrid
            assert other == grid
            assert hash(other) == hash(grid)
        assert grid != Grid.gaussian(48)
        assert grid != Grid.healpix(5)
        assert Grid.gaussian(48) != grid
        assert grid != "grid"

    def test_recognised_from_rounded_coordinates(self, grid: RingGrid) -> None:
        if grid.kind == "healpix" and grid.nside == 1:
            pytest.skip("12 points are too few to be told from scattered ones")
        for lat, lon in (
            (grid.point_latitude, grid.point_longitude),
            (grid.point_latitude.astype("f4"), grid.point_longitude.astype("f4")),
            (np.round(grid.point_latitude, 3), np.round(grid.point_longitude, 3)),
            (grid.point_latitude, (grid.point_longitude + 180) % 360 - 180),
        ):
            found = RingGrid.from_points(lat, lon)
            assert found.kind == grid.kind
            np.testing.assert_array_equal(found.ring_sizes, grid.ring_sizes)
            np.testing.assert_allclose(found.latitude, grid.latitude, rtol=0, atol=1e-12)
            np.testing.assert_allclose(found.ring_starts, grid.ring_starts, rtol=0, atol=1e-3)
            same = (
                found.ring_order is None
                if grid.ring_order is None
                else np.array_equal(found.ring_order, grid.ring_order)
            )
            assert same

    def test_coordinates_give_the_grid_back(self, grid: RingGrid) -> None:
        if grid.kind == "healpix" and grid.nside == 1:
            pytest.skip("12 points are too few to be told from scattered ones")
        da = xr.DataArray(np.zeros(grid.shape), grid.coords(lat="y", lon="x", dim="points"), "points")
        assert da.atmo.grid == grid
        assert da.y.attrs["units"] == "degrees_north"

    def test_what_needs_columns_says_so(self, grid: RingGrid) -> None:
        assert grid.nlon == grid.ring_sizes.max()
        for name in ("longitude", "longitude_bounds"):
            with pytest.raises(
                GridError, match=rf"Grid\.{name} needs the columns .* has none\. Go to such a grid first"
            ):
                getattr(grid, name)

    def test_is_global(self, grid: RingGrid) -> None:
        assert grid.is_global
        assert grid.periodic
        assert grid.north_to_south
        assert grid.latitude_bounds[[0, -1]].tolist() == [90, -90]


def test_grid_names_are_the_same_class() -> None:
    assert isinstance(Grid.healpix(4), RingGrid)
    assert Grid.of(Grid.healpix(4)) == Grid.healpix(4)
    assert type(Grid.from_points(O24.point_latitude, O24.point_longitude)) is RingGrid
    assert type(Grid.from_dict(O24.to_dict())) is RingGrid


def test_healpix_cells_are_equal_and_centred_on_their_rings() -> None:
    grid = Grid.healpix(16)
    np.testing.assert_allclose(grid.areas, 4 * np.pi * EARTH_RADIUS**2 / 3072, rtol=1e-14)
    z = np.sin(np.radians(grid.latitude))
    ring = np.arange(1, 64)
    np.testing.assert_allclose(z[:16], 1 - ring[:16] ** 2 / (3 * 16**2), atol=1e-14)
    np.testing.assert_allclose(z[15:48], 4 / 3 - 2 * ring[15:48] / (3 * 16), atol=1e-14)
    np.testing.assert_allclose(z, -z[::-1], atol=1e-14)
    np.testing.assert_array_equal(grid.ring_starts[15:18], [180 / 64, 0, 180 / 64])
    assert grid.lmax == 32
    assert grid.nside == 16


def test_nested_order_subdivides_the_base_cells() -> None:
    """The four children of a nested cell surround its centre."""
    coarse, fine = Grid.healpix(4, nest=True), Grid.healpix(8, nest=True)
    vectors = []
    for grid in (coarse, fine):
        lat, lon = np.radians(grid.point_latitude), np.radians(grid.point_longitude)
        vectors.append(np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1))
    children = vectors[1].reshape(-1, 4, 3).mean(axis=1)
    children /= np.linalg.norm(children, axis=-1, keepdims=True)
    assert (children * vectors[0]).sum(axis=-1).min() > np.cos(np.radians(2.5))


@pytest.mark.skipif(find_spec("healpy") is None, reason="healpy is not installed")
@pytest.mark.parametrize("nest", [False, True])
def test_healpix_positions_of_healpy(nest: bool) -> None:
    import healpy

    lon, lat = healpy.pix2ang(32, np.arange(12 * 32**2), nest=nest, lonlat=True)
    grid = Grid.healpix(32, nest=nest)
    np.testing.assert_allclose(grid.point_latitude, lat, atol=1e-11)
    np.testing.assert_allclose(grid.point_longitude, lon, atol=1e-11)


@pytest.mark.parametrize("nside", [0, -1, 2.5, "16"])
def test_impossible_nside(nside: Any) -> None:
    with pytest.raises(OptionError, match="wanted a whole number from 1 up"):
        Grid.healpix(nside)


def test_nested_order_needs_a_power_of_2() -> None:
    assert Grid.healpix(6).npoints == 432
    with pytest.raises(OptionError, match="nside=6 came; wanted a power of 2 for the nested order"):
        Grid.healpix(6, nest=True)


class TestReduced:
    def test_octahedral_sizes(self) -> None:
        grid = Grid.reduced_gaussian("O640")
        assert grid.ring_sizes[[0, 1, 639, 640, -1]].tolist() == [20, 24, 2576, 2576, 20]
        assert grid.npoints == 4 * 640 * (640 + 9)
        np.testing.assert_allclose(grid.latitude, Grid.gaussian(1280).latitude, atol=1e-12)

    @needs_eccodes
    def test_original_sizes_from_eccodes(self) -> None:
        assert Grid.reduced_gaussian("N48") == N48
        assert Grid.reduced_gaussian("n160").npoints == 138346

    @needs_eccodes
    def test_size_that_eccodes_lacks(self) -> None:
        with pytest.raises(OptionError, match="'N47' came, which is not among the samples of this ecCodes"):
            Grid.reduced_gaussian("N47")

    def test_without_eccodes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def absent(name: str) -> Any:
            raise ImportError(name)

        monkeypatch.setattr(optional.importlib, "import_module", absent)
        with pytest.raises(MissingDependencyError, match=r"'N160' needs the package 'eccodes'.*xatmo\[grib\]"):
            Grid.reduced_gaussian("N160")

    @pytest.mark.parametrize("name", ["F48", "O", "640", "O1", "reduced"])
    def test_unknown_name(self, name: str) -> None:
        with pytest.raises(OptionError, match=f"{name!r} came; wanted 'O' or 'N' and a number"):
            Grid.reduced_gaussian(name)

    @pytest.mark.parametrize("sizes", [[20, 24], [20, 1, 20], [20.5, 24, 20], [[20, 24, 20]]])
    def test_impossible_sizes(self, sizes: Any) -> None:
        with pytest.raises(OptionError, match="wanted whole numbers from 3 up for at least 3 rings"):
            Grid.reduced_gaussian(sizes)

    def test_lmax_follows_from_the_shortest_wave_on_each_ring(self) -> None:
        assert N48.lmax == 95
        assert Grid.reduced_gaussian("O160").lmax == 229
        assert Grid.reduced_gaussian([60] * 30).lmax == 29

    def test_rows_that_are_not_gaussian(self) -> None:
        full = Grid.regular(19, 36)
        lat, lon = (x.ravel() for x in np.meshgrid(full.latitude, full.longitude, indexing="ij"))
        grid = RingGrid.from_points(lat, lon)
        assert grid.kind == "reduced"
        assert grid.lmax == 9
        np.testing.assert_allclose(grid.weights, full.weights, atol=1e-15)


class TestNoRings:
    def test_scattered_points(self) -> None:
        rng = np.random.default_rng(0)
        with pytest.raises(GridError, match="unstructured grid: 500 points on one dimension, with 500 latitudes"):
            RingGrid.from_points(np.linspace(-89, 89, 500), rng.uniform(0, 360, 500))

    def test_uneven_ring(self) -> None:
        lon = O24.point_longitude.copy()
        lon[30] += 1
        with pytest.raises(GridError, match="24 points at latitude 83.* are not equally spaced"):
            RingGrid.from_points(O24.point_latitude, lon)

    def test_part_of_the_globe(self) -> None:
        north = O24.point_latitude > 0
        with pytest.raises(GridError, match=r"rings between latitudes .* came; wanted rings that cover the globe"):
            RingGrid.from_points(O24.point_latitude[north], O24.point_longitude[north])

    def test_lengths_that_differ(self) -> None:
        with pytest.raises(CoordinateError, match=r"latitude \(3,\) and longitude \(4,\) of points came"):
            RingGrid.from_points([1, 2, 3], [1, 2, 3, 4])

    def test_not_finite(self) -> None:
        lat = O24.point_latitude.copy()
        lat[0] = np.nan
        with pytest.raises(CoordinateError, match="1 of 3168 points have no finite latitude and longitude"):
            RingGrid.from_points(lat, O24.point_longitude)

    @pytest.mark.parametrize(("lat", "came"), [([95.0, 0, 0], "from 0 to 95"), ([], "over no points")])
    def test_out_of_range(self, lat: Any, came: str) -> None:
        with pytest.raises(CoordinateError, match=f"latitude runs {came}"):
            RingGrid.from_points(lat, [0.0] * len(lat))

    def test_a_field_of_scattered_points_is_refused(self) -> None:
        rng = np.random.default_rng(0)
        coords = {"latitude": ("site", rng.uniform(-90, 90, 50)), "longitude": ("site", rng.uniform(0, 360, 50))}
        with pytest.raises(GridError, match="unstructured"):
            Grid.of(xr.DataArray(np.zeros(50), coords, "site"))

    def test_some_cells_are_no_grid(self) -> None:
        grid = Grid.healpix(8)
        da = xr.DataArray(np.zeros(grid.shape), grid.coords(), grid.dim)
        with pytest.raises(
            GridError, match="28 points at latitude 14.4775 are not equally .* Wanted all points of rings"
        ):
            _ = da.isel(cell=slice(300)).atmo.grid
        with pytest.raises(
            GridError, match="rings between latitudes 9.59407 and 84.1497 came; wanted rings that cover"
        ):
            _ = da.isel(cell=slice(336)).atmo.grid


class TestOtherRooms:
    @pytest.mark.parametrize(
        "call",
        [
            lambda da: da.atmo.coarsen(2),
            lambda da: da.atmo.fill_poles(),
            lambda da: da.expand_dims(time=2).to_dataset().atmo.optimal_interp("t"),
            lambda da: da.expand_dims(time=2).to_dataset().atmo.fourdvar_interp("t"),
        ],
        ids=["coarsen", "fill_poles", "optimal_interp", "fourdvar_interp"],
    )
    def test_what_needs_rows_and_columns_says_the_way_out(self, call: Callable[[xr.DataArray], Any]) -> None:
        grid = Grid.healpix(8)
        da = xr.DataArray(np.ones(grid.shape), grid.coords(), "cell", name="t", attrs={"units": "K"})
        with pytest.raises(GridError, match=r"regrid\(xatmo\.Grid\.gaussian\(\.\.\.\), method='spectral'\)"):
            call(da)

    def test_generated_flow(self) -> None:
        out = datasets.barotropic(truncation=16, days=0.25, spin_up=0, grid=Grid.healpix(8))
        assert out.vo.dims == ("time", "cell")
        assert out.atmo.grid == Grid.healpix(8)

    @pytest.mark.parametrize("name", ["octahedral, any order", "healpix 8, nested", "original"])
    def test_scores_are_weighted_with_the_areas_of_the_cells(self, name: str) -> None:
        grid = RINGS[name]
        error = np.cos(np.radians(grid.point_latitude)) ** 2
        target = xr.DataArray(np.zeros(grid.shape), grid.coords(dim="points"), "points", attrs={"units": "K"})
        out = (target + error).assign_attrs(units="K").atmo.verify(target, metrics="mae")
        assert float(out.mae) == pytest.approx(np.average(error, weights=grid.areas), rel=1e-12)

    def test_scores_match_points_by_place(self) -> None:
        nested, ring = (
            xr.DataArray(g.point_latitude + g.point_longitude, g.coords(dim=d), d, name="t", attrs={"units": "K"})
            for g, d in ((Grid.healpix(8, nest=True), "pixel"), (Grid.healpix(8), "cell"))
        )
        assert float(nested.atmo.verify(ring, metrics="mae").mae) == pytest.approx(0, abs=1e-10)
        mixed = any_order(Grid.healpix(8))
        other = xr.DataArray(mixed.point_latitude + mixed.point_longitude, mixed.coords(), "cell", attrs={"units": "K"})
        assert float(nested.chunk().atmo.verify(other, metrics="mae").mae) == pytest.approx(0, abs=1e-10)
        with pytest.raises(CoordinateError, match=r"healpix nside 8.*reduced.*wanted one grid: regrid one of them"):
            nested.atmo.verify(
                xr.DataArray(O24.point_latitude, O24.coords(), "values", attrs={"units": "K"}), metrics="mae"
            )

    def test_points_of_a_track_weigh_the_same(self) -> None:
        coords = {"latitude": ("obs", np.linspace(-80, 80, 50)), "longitude": ("obs", np.linspace(0, 90, 50))}
        target = xr.DataArray(np.zeros(50), coords, "obs", attrs={"units": "m"})
        out = (target + np.arange(50.0)).assign_attrs(units="m").atmo.verify(target, metrics="mae")
        assert float(out.mae) == pytest.approx(24.5)


@pytest.mark.parametrize(
    ("name", "sizes", "lmax"),
    [
        ("ecmwf_u10_reduced_gaussian_N48_2017-10-18.grib", N48.ring_sizes, 95),
        ("ecmwf_t2m_reduced_gaussian_N160_2018-11-18.grib", Grid.reduced_gaussian("O160").ring_sizes, 229),
    ],
)
def test_grib_files(shared_data: Callable[[str], Any], name: str, sizes: Any, lmax: int) -> None:
    pytest.importorskip("cfgrib")
    with xr.open_dataset(shared_data(name), engine="cfgrib", backend_kwargs={"indexpath": ""}) as ds:
        grid = ds.atmo.grid
    assert grid == Grid.reduced_gaussian(sizes)
    assert grid.lmax == lmax
