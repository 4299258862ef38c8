"""Rows on the poles: the rule for scalars and for winds, and what stays of labels, laziness and type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

from xatmo import Grid
from xatmo.errors import ChunkError, GridError
from xatmo.spectral import fill_poles
from xatmo.spectral.poles import _wind

FULL = Grid.regular(37, 72)
LATITUDES = {
    "south missing": FULL.latitude[:-1],
    "north missing": FULL.latitude[1:],
    "both missing": FULL.latitude[1:-1],
    "south missing, south to north": FULL.latitude[-2::-1],
}


def field(latitude: Any, longitude: Any = FULL.longitude, **attrs: str) -> xr.DataArray:
    lat, lon = (np.radians(np.asarray(x)) for x in (latitude, longitude))
    values = np.sin(lat)[:, None] + 0.1 * np.cos(lat)[:, None] ** 2 * np.cos(2 * lon) + 5
    grid = Grid.from_latlon(latitude, longitude)
    coords = {"lat": ("lat", latitude, {"units": "degrees_north", "bounds": "lat_bnds"})}
    coords["lon"] = ("lon", longitude, {"units": "degrees_east"})
    assert grid.is_global
    return xr.DataArray(values, coords, ("lat", "lon"), name="t", attrs={"units": "K", **attrs})


def wind(latitude: Any, longitude: Any = FULL.longitude, x: float = 3.0, y: float = -4.0) -> xr.Dataset:
    """Projection of a constant vector (x, y, 0) on the sphere's tangents: smooth, known on the poles."""
    lat, lon = np.radians(np.asarray(latitude))[:, None], np.radians(np.asarray(longitude))
    u = (y * np.cos(lon) - x * np.sin(lon)) * np.ones_like(lat)
    v = -np.sin(lat) * (x * np.cos(lon) + y * np.sin(lon))
    base = field(latitude, longitude)
    names = {"u": (u, "eastward_wind"), "v": (v, "northward_wind")}
    return xr.Dataset(
        {n: base.copy(data=d).assign_attrs(standard_name=s, units="m s-1") for n, (d, s) in names.items()}
    )


@pytest.mark.parametrize("latitude", LATITUDES.values(), ids=list(LATITUDES))
class TestRule:
    def test_scalar_gets_the_mean_of_the_nearest_row(self, latitude: Any) -> None:
        da = field(latitude)
        out = fill_poles(da)
        assert out.atmo.grid.kind == "regular"
        assert out.atmo.grid.poles
        np.testing.assert_array_equal(out.sel(lat=da.lat), da)
        for pole in (90.0, -90.0):
            if pole not in da.lat:
                expected = da.sel(lat=pole, method="nearest").mean()
                np.testing.assert_allclose(out.sel(lat=pole), float(expected), rtol=1e-14)

    def test_wind_gets_the_vector_of_the_pole(self, latitude: Any) -> None:
        out = fill_poles(wind(latitude))
        exact = wind(FULL.latitude)
        for pole in (90.0, -90.0):
            # The rows nearest to the pole tilt by 5 degrees: their means are those of the pole to 0.4 %.
            for name in ("u", "v"):
                np.testing.assert_allclose(out[name].sel(lat=pole), exact[name].sel(lat=pole), atol=2e-2)
        speed = np.hypot(out.u, out.v)
        for pole in (90.0, -90.0):
            np.testing.assert_allclose(speed.sel(lat=pole), float(speed.sel(lat=pole)[0]), rtol=1e-12)

    def test_component_alone_keeps_its_wave_number_1(self, latitude: Any) -> None:
        both = wind(latitude)
        out = fill_poles(both.u)
        angle = np.radians(FULL.longitude)
        for pole in (90.0, -90.0):
            expected = -4 * np.cos(angle) - 3 * np.sin(angle)
            np.testing.assert_allclose(out.sel(lat=pole), expected, atol=1e-12)


def test_labels_type_and_order_stay() -> None:
    da = field(LATITUDES["south missing"]).astype("f4").expand_dims(time=[1, 2], axis=2)
    da = da.assign_coords(east=("lon", np.arange(72.0)), level=500.0).assign_attrs(valid_range=[0, 1], history="made")
    da["lat"] = da.lat.astype("f4").assign_attrs(da.lat.attrs)
    out = fill_poles(da)
    assert out.dims == ("lat", "lon", "time")
    assert out.dtype == np.float32
    assert out.lat.dtype == np.float32
    assert out.lat.attrs == {"units": "degrees_north"}
    assert {"east", "level"} <= set(out.coords)
    assert out.attrs["history"].splitlines() == ["made", "xatmo 0.1.0: fill_poles()"]
    assert "valid_range" not in out.attrs
    assert out.name == "t"


def test_repeated_column_stays() -> None:
    longitude = np.append(FULL.longitude, 360.0)
    out = fill_poles(wind(LATITUDES["both missing"], longitude))
    assert out.sizes == {"lat": 37, "lon": 73}
    np.testing.assert_array_equal(out.u[:, -1], out.u[:, 0])
    np.testing.assert_allclose(out.u, fill_poles(wind(LATITUDES["both missing"])).u[:, [*range(72), 0]], atol=1e-12)


def test_longitude_range_changes_nothing() -> None:
    turned = np.arange(-180, 180, 5.0)
    here, there = (fill_poles(wind(LATITUDES["south missing"], lon)).sel(lat=-90) for lon in (FULL.longitude, turned))
    there = there.assign_coords(lon=there.lon % 360).sortby("lon")
    np.testing.assert_allclose(here.u, there.u, atol=1e-12)
    np.testing.assert_allclose(here.v, there.v, atol=1e-12)


def test_lazy(no_compute: Callable[[], Any]) -> None:
    ds = wind(LATITUDES["south missing"]).expand_dims(time=np.arange(4))
    with no_compute():
        lazy = fill_poles(ds.chunk(time=1))
    assert lazy.u.chunks is not None
    xr.testing.assert_identical(lazy.compute(), fill_poles(ds))


def test_split_latitude_is_refused() -> None:
    with pytest.raises(ChunkError, match=r"call \.chunk\(\{'lat': -1\}\) first"):
        fill_poles(field(LATITUDES["south missing"]).chunk(lat=10))


def test_missing_values_are_left_out_of_a_scalar_and_kept_in_a_wind() -> None:
    da = field(LATITUDES["south missing"])
    da[-1, :5] = np.nan
    out = fill_poles(da).sel(lat=-90)
    np.testing.assert_allclose(out, float(da[-1, 5:].mean()), rtol=1e-14)
    da[-1] = np.nan
    assert fill_poles(da).sel(lat=-90).isnull().all()
    ds = wind(LATITUDES["south missing"])
    ds["u"][-1, 0] = np.nan
    assert fill_poles(ds).sel(lat=-90).isnull().all().to_array().all()


def test_integers_become_float64() -> None:
    out = fill_poles(field(LATITUDES["south missing"]).astype("i2"))
    assert out.dtype == np.float64


def test_components_of_two_types_come_back_in_one() -> None:
    u, v = _wind(np.ones((3, 4), "f4"), np.ones((3, 4)), ends=(0,), longitude=np.arange(4.0), north=(0,))
    assert u.dtype == v.dtype == np.float64


def test_both_poles_there_already() -> None:
    da = field(FULL.latitude)
    assert fill_poles(da) is da


def test_regional_is_refused() -> None:
    with pytest.raises(GridError, match="fill_poles needs a global grid; this one is regional"):
        fill_poles(xr.DataArray(np.ones((5, 5)), {"lat": np.arange(5.0), "lon": np.arange(5.0)}, ("lat", "lon")))


@pytest.mark.parametrize("grid", [Grid.gaussian(16), Grid.regular(18, 36, poles=False)])
def test_half_a_step_from_the_poles_nothing_is_missing(grid: Grid) -> None:
    da = xr.DataArray(np.ones(grid.shape), grid.coords(), ("latitude", "longitude"))
    with pytest.raises(GridError, match="outer rows lie half a step from the poles: none is missing there"):
        fill_poles(da)


def test_ring_grid_is_refused() -> None:
    grid = Grid.healpix(4)
    with pytest.raises(GridError, match=r"both lie on dimension 'cell'.*regrid\(xatmo\.Grid\.gaussian"):
        fill_poles(xr.DataArray(np.ones(grid.shape), grid.coords(), "cell"))


def test_forecast_without_its_south_pole(shared_data: Callable[[str], Any]) -> None:
    with xr.open_dataset(shared_data("gfs_uv10_1deg_6hourly_2016-11-20_22.nc")) as ds:
        assert ds.atmo.grid.kind == "driscoll_healy"
        out = ds.atmo.fill_poles()
        assert repr(out.atmo.grid) == "<Grid regular 181 x 360, lat 90 to -90, lon -180 to 179, lmax 179>"
        pole = out.isel(lat=-1)
        speed = np.hypot(pole.u10, pole.v10)
        np.testing.assert_allclose(speed, np.broadcast_to(speed[:, :1], speed.shape), rtol=1e-5)
        assert 0.2 < float(speed.mean()) < 15
