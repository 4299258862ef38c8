"""Semivariograms: the tie to the power spectrum, pairs, distances, invariance, missing values, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.polynomial.legendre import legval

import xatmo
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import ChunkError, CoordinateError, DimensionError, GridError, OptionError
from xatmo.spectral import _kernels, _pairs, energy_spectrum, semivariogram

GRID = xatmo.Grid.regular(61, 120)


def isotropic(grid: Any, lmax: int = 25, lead: int = 1, seed: int = 0) -> xr.DataArray:
    """A random field whose power falls with degree, alike in all directions; (time, latitude, longitude)."""
    rng = np.random.default_rng(seed)
    shape = (lead, lmax + 1, lmax + 1)
    c = np.tril(rng.normal(size=shape) + 1j * rng.normal(size=shape)) / (1.0 + np.arange(lmax + 1)[:, None]) ** 1.5
    c[..., 0].imag = 0
    values = _kernels.synthesis(c, grid)
    attrs = {"units": "m s-1", "long_name": "speed"}
    if len(grid.shape) == 1:
        coords = {
            "latitude": ("cell", grid.point_latitude, {"units": "degrees_north"}),
            "longitude": ("cell", grid.point_longitude, {"units": "degrees_east"}),
        }
        return xr.DataArray(values, coords, ("time", "cell"), name="f", attrs=attrs)
    return xr.DataArray(values, grid.coords(), ("time", "latitude", "longitude"), name="f", attrs=attrs)


def exact(power: Any, metres: Any) -> Any:
    """Sum over n of P(n) (1 - P_n(cos d)): the mean over all pairs on the sphere."""
    power = np.asarray(power, dtype=float)
    return power.sum() - legval(np.cos(np.asarray(metres) / EARTH_RADIUS), power)


def over_pairs(power: Any, pairs: _pairs.Pairs, nodes: Any) -> Any:
    """The exact relation averaged over the distances of the pairs in every range."""
    metres = _pairs._arc(nodes[pairs.first], nodes[pairs.second])
    starts = np.concatenate([[0], np.cumsum(pairs.counts)[:-1]])
    return np.add.reduceat(exact(power, metres), starts) / pairs.counts


def nodes_of(grid: xatmo.Grid) -> Any:
    lat, lon = np.meshgrid(grid.latitude, grid.longitude, indexing="ij")
    return _pairs.unit(lat.ravel(), lon.ravel())


# ---------------------------------------------------------------------- mathematics
@pytest.mark.parametrize("grid", [GRID, xatmo.Grid.gaussian(48), xatmo.Grid.regular(60, 120, poles=False)])
def test_on_the_sphere_it_follows_from_the_power_spectrum(grid: xatmo.Grid) -> None:
    da = isotropic(grid).isel(time=0)
    found = semivariogram(da, n_pairs=200_000)
    power = energy_spectrum(da, lmax=25)
    pairs = _pairs.draw(grid, _pairs.default_ranges(grid, 30), 200_000, 0)
    wanted = over_pairs(power, pairs.select(pairs.counts > 0), nodes_of(grid))
    error = (found.values - wanted) / found.standard_error.values
    assert np.abs(error).max() < 4.5
    assert np.sqrt(np.mean(error**2)) < 1.7
    np.testing.assert_allclose(found, exact(power, found.distance), rtol=0.12)


def test_the_standard_error_tells_the_scatter_between_seeds() -> None:
    da = isotropic(GRID).isel(time=0)
    some = [semivariogram(da, n_pairs=6_000, seed=s, distances=12) for s in range(40)]
    spread = np.std([g.values for g in some], axis=0, ddof=1)
    said = np.mean([g.standard_error.values for g in some], axis=0)
    np.testing.assert_allclose(spread / said, 1, atol=0.45)
    assert np.mean(spread / said) == pytest.approx(1, abs=0.12)


def test_independent_noise_has_its_variance_at_every_distance() -> None:
    rng = np.random.default_rng(0)
    da = xr.DataArray(3 * rng.normal(size=GRID.shape), GRID.coords(), ("latitude", "longitude"))
    found = semivariogram(da)
    assert np.abs((found - 9) / found.standard_error).max() < 6
    np.testing.assert_allclose(found, 9, rtol=0.08)


def test_a_plane_in_a_small_box_grows_with_the_square() -> None:
    """z = east distance: half the mean square is d^2 / 4, whatever the range."""
    grid = xatmo.Grid.from_latlon(np.arange(-2, 2.01, 0.05), np.arange(30, 34.01, 0.05))
    east = EARTH_RADIUS * np.radians(grid.longitude - 32) * np.ones((grid.nlat, 1))
    da = xr.DataArray(east, grid.coords(), ("latitude", "longitude"))
    found = semivariogram(da, distances=[60e3, 100e3, 150e3])
    np.testing.assert_allclose(found, found.distance**2 / 4, rtol=0.05)


def test_it_agrees_with_all_pairs_of_a_small_grid() -> None:
    """Every pair of nodes, weighted with the areas of both cells, written out."""
    grid = xatmo.Grid.from_latlon(np.arange(40, 50.1, 0.5), np.arange(0, 12.1, 0.5))
    rng = np.random.default_rng(3)
    values = rng.normal(size=grid.shape).cumsum(axis=0).cumsum(axis=1)
    da = xr.DataArray(values, grid.coords(), ("latitude", "longitude"))
    metres = np.array([150e3, 250e3, 350e3])
    found = semivariogram(da, distances=metres, n_pairs=200_000)
    nodes, area, z = nodes_of(grid), grid.areas.ravel(), values.ravel()
    i, j = np.triu_indices(z.size, 1)
    d = _pairs._arc(nodes[i], nodes[j])
    weight = area[i] * area[j]
    for k, (low, high) in enumerate(_pairs.ranges_about(grid, metres)):
        assert high - low == pytest.approx(EARTH_RADIUS * np.radians(0.5))
        inside = (d >= low) & (d <= high)
        half = (z[i] - z[j])[inside] ** 2 / 2
        line = np.polynomial.Polynomial.fit(d[inside], half, 1, w=np.sqrt(weight[inside]))
        assert found[k].item() == pytest.approx(line(metres[k]), rel=0.05)


def test_one_value_at_each_distance_given() -> None:
    """Of a smooth field even at one step of the grid; whatever else is asked for, and in any order."""
    da = isotropic(GRID, lmax=8).isel(time=0)
    metres = np.array([1, 2, 3, 5, 10, 30, 60]) * EARTH_RADIUS * np.radians(3)
    found = semivariogram(da, distances=metres, n_pairs=200_000)
    np.testing.assert_array_equal(found.distance, metres)
    np.testing.assert_allclose(found, exact(energy_spectrum(da, lmax=8), metres), rtol=0.1)
    assert (found.n_pairs > 28_000).all()
    for given in (list(metres[::-1]), tuple(metres[3:4]), xr.DataArray(metres[[4, 1]], dims="distance")):
        other = semivariogram(da, distances=given, n_pairs=200_000)
        np.testing.assert_allclose(other, found.sel(distance=other.distance), rtol=0.05)


def test_at_distance_zero_it_is_zero() -> None:
    da = isotropic(GRID)
    for field in (da, track(np.arange(900.0)), track(np.arange(4000.0), 0.02)):
        found = semivariogram(field, distances=[0, 1e6])
        assert (found.sel(distance=0) == 0).all()
        assert (found.standard_error.sel(distance=0) == 0).all()
        assert (found.sel(distance=1e6) > 0).all()


def test_a_line_through_few_distances_stays_among_them() -> None:
    """On the equator nodes are 1, 1.41, 2 steps apart: at 0.8 steps it is read at 1."""
    grid = xatmo.Grid.from_latlon(np.arange(-3, 3.1, 0.25), np.arange(0, 6.1, 0.25))
    east = EARTH_RADIUS * np.radians(grid.longitude) * np.ones((grid.nlat, 1))
    da = xr.DataArray(east, grid.coords(), ("latitude", "longitude"))
    step = EARTH_RADIUS * np.radians(0.25)
    found = semivariogram(da, distances=[0.8 * step, step]) / step**2
    np.testing.assert_allclose(found, 0.25, rtol=0.1)
    missing = da.where(np.random.default_rng(0).random(da.shape) > 0.4)
    np.testing.assert_allclose(semivariogram(missing, distances=[0.8 * step, step]) / step**2, 0.25, rtol=0.1)


def test_of_a_constant_it_is_zero() -> None:
    da = xr.DataArray(np.full(GRID.shape, 280.0), GRID.coords(), ("latitude", "longitude"))
    found = semivariogram(da)
    assert float(abs(found).max()) == 0
    assert float(abs(found.standard_error).max()) == 0


# ---------------------------------------------------------------------- pairs
@pytest.mark.parametrize(
    "grid",
    [
        GRID,
        xatmo.Grid.gaussian(64),
        xatmo.Grid.from_latlon(np.arange(-10, 30.1, 1), np.arange(300, 340.1, 1)),
        xatmo.Grid.from_latlon(np.arange(-60, 60.1, 2), np.arange(0, 360, 2)),
    ],
)
def test_every_place_counts_by_its_area(grid: xatmo.Grid) -> None:
    pairs = _pairs.draw(grid, ((300e3, 700e3),), 200_000, 0)
    metres = _pairs._arc(*(nodes_of(grid)[x] for x in (pairs.first, pairs.second)))
    np.testing.assert_allclose(pairs.apart, metres)
    assert metres.min() >= 300e3
    assert metres.max() <= 700e3
    assert pairs.distance[0] == pytest.approx(metres.mean())
    if grid.is_global:
        for side in (pairs.first, pairs.second):
            rows = np.bincount(side // grid.nlon, minlength=grid.nlat) / side.size
            share = grid.areas.sum(axis=1) / grid.areas.sum()
            inner = slice(2, -2)
            np.testing.assert_allclose(rows[inner], share[inner], rtol=0.2, atol=0.002)


def test_ranges_have_the_same_number_of_pairs() -> None:
    found = semivariogram(isotropic(GRID).isel(time=0), n_pairs=50_000)
    assert set(found.n_pairs.values) == {-(-50_000 // (found.sizes["distance"]))} or np.ptp(found.n_pairs) == 0
    assert (np.diff(found.distance) > 0).all()
    assert found.distance[0] < 1.2 * 333e3
    assert found.distance[-1] > 0.9 * np.pi * EARTH_RADIUS


def test_the_same_seed_gives_the_same_and_another_seed_another() -> None:
    da = isotropic(GRID).isel(time=0)
    _pairs.draw.cache_clear()
    first = semivariogram(da)
    _pairs.draw.cache_clear()
    xr.testing.assert_identical(first, semivariogram(da))
    other = semivariogram(da, seed=1)
    assert not np.array_equal(first, other)
    assert np.abs((first.values - other.values) / first.standard_error.values).max() < 6


def test_all_times_have_the_same_pairs() -> None:
    da = isotropic(GRID, lead=3)
    together = semivariogram(da)
    for i in range(3):
        np.testing.assert_array_equal(together.isel(time=i), semivariogram(da.isel(time=i)))
    assert semivariogram(da.isel(time=slice(0))).sizes["time"] == 0


# ---------------------------------------------------------------------- invariance and laziness
def test_order_origin_and_repeated_column_change_nothing() -> None:
    da = isotropic(GRID, lead=2)
    wanted = semivariogram(da).drop_attrs()
    turned = da.roll(longitude=40, roll_coords=True)
    turned = turned.assign_coords(longitude=(turned.longitude + 180) % 360 - 180).sortby("longitude")
    closed = da.isel(longitude=[*range(120), 0]).assign_coords(longitude=np.arange(121) * 3.0)
    others = (da.isel(latitude=slice(None, None, -1)), turned, closed, da.transpose("longitude", "time", "latitude"))
    for other in others:
        xr.testing.assert_allclose(semivariogram(other).drop_attrs(), wanted, rtol=1e-9)


def test_a_box_given_east_or_west() -> None:
    grid = xatmo.Grid.from_latlon(np.arange(30, 40.1, 0.5), np.arange(-70, -50, 0.5))
    values = np.random.default_rng(0).normal(size=grid.shape).cumsum(0)
    da = xr.DataArray(values, grid.coords(), ("latitude", "longitude"))
    wanted = semivariogram(da).drop_attrs()
    for other in (da.assign_coords(longitude=da.longitude + 360), da.isel(latitude=slice(None, None, -1))):
        xr.testing.assert_allclose(semivariogram(other).drop_attrs(), wanted, rtol=1e-6)


def test_lazy_and_any_chunks(no_compute: Callable[..., Any]) -> None:
    da = isotropic(GRID, lead=4).astype("float32")
    ds = xr.Dataset({"f": da, "g": da.isel(time=0, drop=True) * 2, "mask": 1.0})
    wanted = semivariogram(ds)
    for chunks in ({"time": 1}, {"time": 3}, {"time": -1}):
        with no_compute():
            lazy = ds.chunk(chunks).atmo.semivariogram()
        assert lazy["f"].chunks
        assert lazy["f_standard_error"].chunks
        assert lazy["f"].dtype == np.float32
        xr.testing.assert_identical(lazy.compute(), wanted)
    one = semivariogram(ds["f"].chunk(time=1))
    assert one.standard_error.chunks
    np.testing.assert_array_equal(one, wanted["f"])
    np.testing.assert_array_equal(one.standard_error, wanted["f_standard_error"])
    with pytest.raises(ChunkError, match=r"call .chunk\(\{'latitude': -1\}\) first"):
        semivariogram(da.chunk(latitude=20))


def test_names_units_and_history() -> None:
    ds = isotropic(GRID, lead=2).to_dataset()
    found = semivariogram(ds, n_pairs=30_000, seed=3)
    assert list(found.data_vars) == ["f", "f_standard_error"]
    assert found["f"].dims == ("time", "distance")
    assert found["f"].attrs["units"] == "m2 s-2"
    assert found["f"].attrs["long_name"] == "semivariogram of speed"
    assert found["f"].attrs["ancillary_variables"] == "f_standard_error"
    assert found.distance.attrs["units"] == "m"
    assert "semivariogram(n_pairs=30000, seed=3)" in found.attrs["history"]
    alone = semivariogram(ds["f"], distances=[1e6, 2e6, 4e6])
    assert alone.name == "f"
    assert "distances=[1000000.0, 2000000.0, 4000000.0]" in alone.attrs["history"]
    assert alone.standard_error.attrs["units"] == "m2 s-2"


# ---------------------------------------------------------------------- missing values
def test_pairs_with_a_missing_value_are_left_out() -> None:
    da = isotropic(GRID, lead=2)
    holes = da.where(np.random.default_rng(0).random(da.shape) > 0.3)
    whole, some = semivariogram(da), semivariogram(holes)
    assert np.isfinite(some).all()
    assert (some.standard_error > whole.standard_error * 1.1).mean() > 0.9
    assert np.abs((some - whole) / some.standard_error).max() < 5
    # With land missing it is that of the rest: half the globe, the northern one.
    north = da.isel(time=0).where(da.latitude > 0)
    assert np.isfinite(semivariogram(north, distances=np.linspace(0.5e6, 5e6, 8))).all()
    empty = semivariogram(da.where(False))
    assert np.isnan(empty).all()


# ---------------------------------------------------------------------- rings, tracks
def test_healpix() -> None:
    grid: Any = xatmo.Grid.healpix(16)
    da = isotropic(grid).isel(time=0)
    found = semivariogram(da, n_pairs=400_000)
    full = isotropic(GRID).isel(time=0)
    power = energy_spectrum(full, lmax=25)
    pairs = _pairs.draw(grid, _pairs.default_ranges(grid, 30), 200_000, 0)
    nodes = _pairs.unit(grid.point_latitude, grid.point_longitude)
    wanted = over_pairs(power, pairs.select(pairs.counts > 0), nodes)
    assert np.abs((found.values - wanted) / found.standard_error.values).max() < 4.5


def test_nearest_nodes_of_rings() -> None:
    for grid in (xatmo.Grid.healpix(8), xatmo.Grid.reduced_gaussian("O16")):
        rings: Any = grid
        nodes = _pairs._Nodes(rings)
        lat, lon = rings.point_latitude, rings.point_longitude
        back = nodes.nearest(np.sin(np.radians(lat)), lon + 0.01)
        np.testing.assert_array_equal(back, np.arange(rings.npoints))


def track(values: Any, step: float = 0.06) -> xr.DataArray:
    n = len(values)
    coords = {
        "lat": ("time", -60 + step * np.arange(n), {"standard_name": "latitude"}),
        "lon": ("time", 10 + 0.2 * step * np.arange(n), {"standard_name": "longitude"}),
    }
    return xr.DataArray(values, coords, ("time",), name="ssha", attrs={"units": "m"})


@pytest.mark.parametrize("n", [900, 4000])
def test_along_a_track(n: int) -> None:
    """A random walk: the semivariogram grows with the distance."""
    values = np.random.default_rng(0).normal(size=(60, n)).cumsum(axis=1)
    step = 110.0 * 0.06 * 900 / n
    da = xr.concat([track(v, 0.06 * 900 / n) for v in values], "member")
    lags = np.array([10, 20, 40])
    found = semivariogram(da, distances=lags * step * 1e3 * 1.012, n_pairs=50_000).mean("member")
    np.testing.assert_allclose(found, lags / 2, rtol=0.15)


def test_a_track_with_gaps_and_points_in_any_order() -> None:
    values = np.random.default_rng(0).normal(size=800).cumsum()
    da = track(values)
    holes = da.where(np.arange(800) % 7 > 0)
    assert np.isfinite(semivariogram(holes)).all()
    lost = da.assign_coords(lat=da.lat.where(np.arange(800) % 7 > 0))
    assert np.isfinite(semivariogram(lost)).all()
    assert semivariogram(da, distances=10).sizes["distance"] == 10
    order = np.random.default_rng(1).permutation(800)
    metres = [50e3, 100e3, 200e3, 400e3]
    mixed, plain = (semivariogram(x, distances=metres, n_pairs=10**6) for x in (da.isel(time=order), da))
    np.testing.assert_allclose(mixed, plain, rtol=1e-10)
    with pytest.raises(CoordinateError, match="needs 3 points or more with latitudes between -90 and 90; 2 came"):
        semivariogram(da.isel(time=slice(0, 2)))


# ---------------------------------------------------------------------- refused
def test_what_is_wrong_is_said() -> None:
    da = isotropic(GRID).isel(time=0)
    for wrong in ([], [-1.0, 1e6], [np.nan, 1.0], "far", [[1e5, 2e5]], [2.1e7], ["near"]):
        with pytest.raises(OptionError, match="wanted a list of distances in metres, from 0 to"):
            semivariogram(da, distances=wrong)
    for wrong in (0, 2.5):
        with pytest.raises(OptionError, match=f"distances={wrong} came; wanted a list of distances in metres, or how"):
            semivariogram(da, distances=wrong)
    with pytest.raises(OptionError, match="no two points of <Grid regular .* are between 0.0005 and 0.0015 km apart"):
        semivariogram(da, distances=[1, 1e6])
    with pytest.raises(OptionError, match=r"n_pairs=20 came for \d\d distances"):
        semivariogram(da, n_pairs=20)
    with pytest.raises(OptionError, match="n_pairs='many' came"):
        semivariogram(da, n_pairs="many")  # type: ignore[arg-type]
    with pytest.raises(DimensionError, match="needs real fields"):
        semivariogram(da * 1j)
    two = xr.DataArray(
        np.zeros((3, 4)),
        {
            "lat": (("y", "x"), np.zeros((3, 4)), {"standard_name": "latitude"}),
            "lon": (("y", "x"), np.zeros((3, 4)), {"standard_name": "longitude"}),
        },
        dims=("y", "x"),
    )
    with pytest.raises(GridError, match="curvilinear"):
        semivariogram(two)


def test_a_real_track(shared_data: Callable[[str], Any]) -> None:
    with xr.open_dataset(shared_data("sentinel3b_sral_l2_1hz_pass_2025-11-09.nc")) as ds:
        found = semivariogram(ds["ssha_01_ku"])
    assert np.isfinite(found).all()
    assert found.distance[0] < 10e3
