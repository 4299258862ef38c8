"""Fields on the x and y of a map projection: the same spectra as on a regular box, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xatmo
from xatmo.errors import CoordinateError, GridError, OptionError


def plane(ny: int = 24, nx: int = 32, *, units: str = "km", step: float = 2.0, seed: int = 0) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    axes = {
        n: (n, step * np.arange(size), {"standard_name": f"projection_{n}_coordinate", "units": units})
        for n, size in (("y", ny), ("x", nx))
    }
    wind = {n: (("time", "y", "x"), rng.normal(size=(3, ny, nx)), {"units": "m s-1"}) for n in ("u", "v")}
    return xr.Dataset(wind, axes)


def test_a_wave_stands_at_its_wavenumber() -> None:
    ds = plane(64, 64)
    wave = np.cos(2 * np.pi * ds.x / 16) + 0 * ds.y
    out = wave.assign_attrs(units="K").atmo.energy_spectrum()
    assert out.wavelength[int(out.values.argmax())].item() == pytest.approx(16e3)
    assert out.attrs["units"] == "K2"
    assert out.wavenumber.attrs["units"] == "m-1"
    assert out.sum().item() == pytest.approx(0.5, rel=0.05)


def test_it_is_the_spectrum_of_the_same_box_in_degrees() -> None:
    ds = plane()
    degree = np.pi / 180 * xatmo.constants.EARTH_RADIUS
    lat = (ds.y - ds.y.mean()) * 1e3 / degree
    box = ds.assign_coords(y=lat.values, x=ds.x.values * 1e3 / degree).rename(y="lat", x="lon")
    for of in (lambda x: x, lambda x: x["u"].to_dataset()):
        ours, theirs = (of(x).atmo.energy_spectrum(kind="isotropic") for x in (ds, box))
        for name in theirs:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-9)
        np.testing.assert_allclose(ours.wavenumber, theirs.wavenumber, rtol=1e-9)


def test_order_and_units_of_the_axes_change_nothing() -> None:
    ds = plane()
    wanted = ds.atmo.energy_spectrum()
    metres = ds.assign_coords({n: (n, ds[n].values * 1e3, {"units": "m"}) for n in "xy"})
    others = (
        ds.isel(y=slice(None, None, -1)), ds.isel(x=slice(None, None, -1)), metres, ds.transpose("x", "time", "y")
    )  # fmt: skip
    for other in others:
        out = other.atmo.energy_spectrum()
        for name in wanted:
            np.testing.assert_allclose(out[name], wanted[name], rtol=1e-9)


def test_cross_spectra(no_compute: Callable[..., Any]) -> None:
    ds, more = plane(), plane(seed=1)
    out = ds.atmo.cross_spectrum(ds + 0.1 * more, dim="time")
    assert (out.coherence > 0.8).all()
    turned = (ds + 0.1 * more).isel(y=slice(None, None, -1))
    with no_compute():
        lazy = ds.chunk(time=1).atmo.cross_spectrum(turned.chunk(time=1), dim="time")
    np.testing.assert_allclose(lazy.coherence, out.coherence, rtol=1e-9)
    same = ds.u.atmo.cross_spectrum(ds.u)
    np.testing.assert_allclose(same.power.sum("wavenumber"), ds.u.atmo.energy_spectrum().sum("wavenumber"))
    with pytest.raises(GridError, match="on the same points; <plane 24 x 32> and <plane 24 x 32> came"):
        ds.atmo.cross_spectrum(ds.assign_coords(x=ds.x.variable + 1.0))
    grid = xatmo.Grid.regular(19, 36)
    globe = xr.DataArray(np.ones((3, *grid.shape)), grid.coords(), ("time", "latitude", "longitude"), attrs=ds.u.attrs)
    with pytest.raises(GridError, match="a plane came beside a global field"):
        globe.atmo.cross_spectrum(ds.u)


def test_lazy_single_precision_keeps_what_has_no_x_and_y(no_compute: Callable[..., Any]) -> None:
    ds = plane().astype("float32").drop_vars("v").assign(station=("site", [1.0, 2.0]))
    with no_compute():
        out = ds.chunk(time=1).atmo.energy_spectrum()
    assert set(out) == {"u", "station"}
    assert out.u.dtype == np.float32
    xr.testing.assert_allclose(out.compute(), ds.atmo.energy_spectrum())


def test_a_box_across_the_first_longitude(no_compute: Callable[..., Any]) -> None:
    """Counted from -180, from 0, and from 0 in increasing order, which tears it apart."""
    rng = np.random.default_rng(0)
    axes = {"time": [0, 1], "lat": np.arange(40, 50, 0.5), "lon": np.arange(-8, 4, 0.5)}
    ds = xr.Dataset({n: (("time", "lat", "lon"), rng.normal(size=(2, 20, 24)).cumsum(2)) for n in ("u", "v")}, axes)
    wanted, cross = ds.atmo.energy_spectrum(), ds.u.atmo.cross_spectrum(ds.v)
    for other in (ds.assign_coords(lon=ds.lon % 360), ds.assign_coords(lon=ds.lon % 360).sortby("lon")):
        xr.testing.assert_allclose(other.atmo.energy_spectrum(), wanted)
        xr.testing.assert_allclose(ds.u.atmo.cross_spectrum(other.v), cross)
        xr.testing.assert_allclose(other.u.atmo.semivariogram(), ds.u.atmo.semivariogram())
        with no_compute():
            lazy = other.chunk(time=1).atmo.energy_spectrum()
        xr.testing.assert_allclose(lazy.compute(), wanted)


def test_what_is_refused() -> None:
    ds = plane()
    with pytest.raises(CoordinateError, match="no latitude coordinate found"):
        ds.atmo.energy_spectrum(kind="spherical")
    with pytest.raises(CoordinateError, match="no latitude coordinate found"):
        plane(units="1").atmo.energy_spectrum()
    with pytest.raises(CoordinateError, match="no latitude coordinate found"):
        ds.drop_vars(["x", "y"]).atmo.energy_spectrum()
    with pytest.raises(GridError, match="needs equal steps; x steps go from 2000 to 4000 m"):
        ds.isel(x=[0, 1, 2, 4, 5, 6]).atmo.energy_spectrum()
    with pytest.raises(GridError, match="at least 4 x 4 points; 3 x 32 came"):
        ds.isel(y=slice(3)).atmo.energy_spectrum()
    with pytest.raises(OptionError, match="lmax=4 came with kind='isotropic'"):
        ds.atmo.energy_spectrum(lmax=4)


def test_radar_rain(shared_data: Callable[[str], Any]) -> None:
    with xr.open_dataset(shared_data("bom_radar_rain_10min_brisbane_2020-10-31.nc")) as ds:
        out = ds.precipitation.isel(time=slice(20, 24)).fillna(0).atmo.energy_spectrum()
    assert out.dims == ("time", "wavenumber")
    assert out.attrs["units"] == "kg2 m-4"
    assert out.wavelength[1].item() == pytest.approx(256e3)
