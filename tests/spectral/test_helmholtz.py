"""The two parts of a wind, their potentials, and absolute vorticity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

from xatmo import Grid
from xatmo.constants import EARTH_RADIUS, EARTH_ROTATION
from xatmo.errors import (
    ChunkError,
    DimensionError,
    GridError,
    MissingValueError,
    OptionError,
    UnitsError,
    VariableError,
)

Winds = Callable[..., xr.Dataset]
POLES = Grid.regular(19, 36)
METHODS = ("helmholtz", "absolute_vorticity")
NAMES = ["psi", "chi", "u_rotational", "v_rotational", "u_divergent", "v_divergent"]


def labelled(grid: Grid, **fields: Any) -> xr.Dataset:
    dims = ("latitude", "longitude")
    return xr.Dataset({n: (dims, np.broadcast_to(x, grid.shape).copy()) for n, x in fields.items()}, grid.coords())


def test_known_potentials(grid: Grid, engine: Any) -> None:
    """psi = sin(lat) and chi = cos(lat) cos(lon) on a sphere of radius 2: signs, scale and both parts of the wind."""
    lat = (np.pi / 2 - np.asarray(grid.colatitude))[:, None]
    lon = np.radians(grid.longitude)
    a = 2.0
    known = {
        "psi": np.sin(lat) + 0 * lon,
        "chi": np.cos(lat) * np.cos(lon),
        "u_rotational": -np.cos(lat) / a + 0 * lon,
        "v_rotational": 0 * lat * lon,
        "u_divergent": -np.sin(lon) / a + 0 * lat,
        "v_divergent": -np.sin(lat) * np.cos(lon) / a,
    }
    u, v = (known[f"{c}_rotational"] + known[f"{c}_divergent"] for c in "uv")
    out = labelled(grid, u=u, v=v).atmo.helmholtz(radius=a, engine=engine)
    assert list(out.data_vars) == NAMES
    for name, values in known.items():
        np.testing.assert_allclose(out[name], values, atol=1e-12, err_msg=name)


def test_parts_sum_to_the_wind_and_are_what_they_say(grid: Grid, engine: Any, wind: Winds) -> None:
    ds = wind(grid)
    out = ds.atmo.helmholtz(engine=engine)
    for ours, name in (("u", "ua"), ("v", "va")):
        np.testing.assert_allclose(out[f"{ours}_rotational"] + out[f"{ours}_divergent"], ds[name], atol=1e-10)
    total = ds.atmo.vorticity_divergence(engine=engine)
    for part, kept, gone in (("rotational", "vo", "d"), ("divergent", "d", "vo")):
        pair = out[[f"u_{part}", f"v_{part}"]]
        again = pair.atmo.vorticity_divergence(u=f"u_{part}", v=f"v_{part}", engine=engine)
        scale = float(abs(total[kept]).max())
        np.testing.assert_allclose(again[kept], total[kept], atol=1e-10 * scale)
        assert float(abs(again[gone]).max()) < 1e-10 * scale
    for potential, kept in (("psi", "vo"), ("chi", "d")):
        of = out[potential].atmo.laplacian(engine=engine)
        np.testing.assert_allclose(of, total[kept], atol=1e-10 * float(abs(of).max()))
        back = total[kept].atmo.inverse_laplacian(engine=engine)
        np.testing.assert_allclose(back, out[potential], atol=1e-10 * float(abs(back).max()))
    slopes = out["psi"].atmo.gradient(engine=engine)
    np.testing.assert_allclose(-slopes["dpsi_dy"], out["u_rotational"], atol=1e-10)
    np.testing.assert_allclose(slopes["dpsi_dx"], out["v_rotational"], atol=1e-10)


def test_degrees_above_lmax_belong_to_neither_part(wind: Winds) -> None:
    ds = wind(POLES)
    out = ds.atmo.helmholtz(lmax=6)
    low = ds.atmo.truncate(6)
    np.testing.assert_allclose(out["u_rotational"] + out["u_divergent"], low["ua"], atol=1e-12)


def test_labels(wind: Winds) -> None:
    ds = wind(POLES).assign_attrs(title="x")
    ds["ua"].attrs["grid_mapping"] = "crs"
    out = ds.atmo.helmholtz(lmax=9)
    assert out["psi"].attrs == {
        "grid_mapping": "crs",
        "standard_name": "atmosphere_horizontal_streamfunction",
        "long_name": "streamfunction",
        "units": "m2 s-1",
    }
    assert out["chi"].attrs["standard_name"] == "atmosphere_horizontal_velocity_potential"
    assert out["u_divergent"].attrs["long_name"] == "eastward component of the divergent wind"
    assert out["v_rotational"].attrs["units"] == "m s-1"
    assert out.attrs["title"] == "x"
    assert out.attrs["history"].endswith("helmholtz(lmax=9)")
    for name, standard in {"ua": "eastward_sea_water_velocity", "va": "northward_sea_water_velocity"}.items():
        ds[name].attrs["standard_name"] = standard
    ocean = ds.atmo.helmholtz()
    assert "standard_name" not in ocean["psi"].attrs
    assert ocean["u_divergent"].attrs["long_name"] == "eastward component of the divergent current"
    assert "standard_name" not in ds.atmo.absolute_vorticity().attrs


def test_absolute_vorticity(grid: Grid, engine: Any, wind: Winds) -> None:
    """Air at rest in space has none, air at rest on the Earth the Coriolis parameter."""
    lat = (np.pi / 2 - np.asarray(grid.colatitude))[:, None]
    still = labelled(grid, u=-EARTH_ROTATION * EARTH_RADIUS * np.cos(lat), v=0.0)
    assert float(abs(still.atmo.absolute_vorticity(engine=engine)).max()) < 1e-16
    ds = wind(grid)
    out = ds.atmo.absolute_vorticity(engine=engine)
    vorticity = ds.atmo.vorticity_divergence(engine=engine)["vo"]
    coriolis = xr.DataArray(2 * EARTH_ROTATION * np.sin(lat[:, 0]), dims="latitude")
    np.testing.assert_allclose(out, vorticity + coriolis, atol=1e-16)
    np.testing.assert_allclose(ds.atmo.absolute_vorticity(omega=0.0), ds.atmo.vorticity_divergence()["vo"], atol=1e-18)
    assert out.name == "absolute_vorticity"
    assert out.attrs["standard_name"] == "atmosphere_absolute_vorticity"
    assert out.attrs["units"] == "s-1"
    assert "absolute_vorticity(" in out.attrs["history"]


def test_units_are_converted(wind: Winds) -> None:
    ds = wind(POLES)
    mixed = ds.assign(va=(ds["va"] * 3.6).assign_attrs(ds["va"].attrs | {"units": "km h-1"}))
    for method in METHODS:
        out, expected = (getattr(x.atmo, method)() for x in (mixed, ds))
        pairs = [(out[n], expected[n]) for n in NAMES] if method == "helmholtz" else [(out, expected)]
        for ours, theirs in pairs:
            np.testing.assert_allclose(ours, theirs, atol=1e-11 * float(abs(theirs).max()))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_lazy(wind: Winds, no_compute: Any, dtype: str) -> None:
    ds = wind(POLES, dtype=dtype)
    with no_compute():
        lazy = ds.chunk(time=1)
        out = lazy.atmo.helmholtz().assign(total=lazy.atmo.absolute_vorticity())
    expected = ds.atmo.helmholtz().assign(total=ds.atmo.absolute_vorticity())
    double = ds.astype("f8").atmo.helmholtz()
    for name in expected.data_vars:
        assert out[name].chunksizes["time"] == (1, 1, 1)
        assert out[name].dtype == expected[name].dtype == out[name].compute().dtype == np.dtype(dtype)
        np.testing.assert_array_equal(out[name], expected[name])
    for name in NAMES:
        scale = float(abs(double[name]).max())
        np.testing.assert_allclose(out[name], double[name], atol=(1e-5 if dtype == "f4" else 1e-12) * scale)


def test_order_and_repeated_column_come_back(wind: Winds) -> None:
    ds = wind(POLES)
    closed = ds.isel(longitude=[*range(36), 0]).assign_coords(longitude=np.append(ds.longitude, 360.0))
    turned = closed.transpose("longitude", "time", "latitude")
    out, expected = turned.atmo.helmholtz(), ds.atmo.helmholtz()
    for name in NAMES:
        assert out[name].dims == ("longitude", "time", "latitude")
        scale = float(abs(expected[name]).max())
        got = out[name].transpose(*expected[name].dims)
        np.testing.assert_allclose(got[..., :36], expected[name], atol=1e-12 * scale)
        np.testing.assert_array_equal(got[..., 36], got[..., 0])
    assert turned.atmo.absolute_vorticity().dims == ("longitude", "time", "latitude")


class TestErrors:
    @pytest.mark.parametrize("method", METHODS)
    def test_winds(self, method: str, wind: Winds) -> None:
        with pytest.raises(VariableError, match="no wind pair among"):
            getattr(labelled(POLES, t=1.0).atmo, method)()
        with pytest.raises(VariableError, match="no variable 'x' in this Dataset"):
            getattr(wind(POLES).atmo, method)(u="x", v="va")
        ds = wind(POLES)
        ds["va"] = ds["va"].mean("longitude", keep_attrs=True)
        with pytest.raises(DimensionError, match="wind component 'va' has dimensions"):
            getattr(ds.atmo, method)()
        ds = wind(POLES)
        ds["ua"].attrs["units"] = "K"
        with pytest.raises(UnitsError, match="'K' came, 'm s-1' wanted"):
            getattr(ds.atmo, method)()

    @pytest.mark.parametrize("method", METHODS)
    def test_options(self, method: str, wind: Winds) -> None:
        call = getattr(wind(POLES).atmo, method)
        for radius in (0, np.inf, "6371 km"):
            with pytest.raises(OptionError, match=f"radius={radius!r} came; wanted metres, more than 0"):
                call(radius=radius)
        with pytest.raises(OptionError, match="lmax=18 came"):
            call(lmax=18)
        with pytest.raises(OptionError, match="engine='fft' came"):
            call(engine="fft")

    def test_omega(self, wind: Winds) -> None:
        with pytest.raises(OptionError, match="omega=nan came; wanted the angular velocity"):
            wind(POLES).atmo.absolute_vorticity(omega=float("nan"))

    @pytest.mark.parametrize("method", METHODS)
    def test_regional_and_chunked(self, method: str, wind: Winds) -> None:
        with pytest.raises(GridError, match=f"{method} needs a global grid"):
            getattr(wind(POLES).isel(latitude=slice(3, 9)).atmo, method)()
        with pytest.raises(ChunkError, match=f"{method} needs"):
            getattr(wind(POLES).chunk(longitude=4).atmo, method)()

    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("method", METHODS)
    def test_missing_values(self, method: str, lazy: bool, wind: Winds) -> None:
        ds = wind(POLES)
        ds["va"][0, 3, 3] = np.nan
        ds = ds.chunk(time=1) if lazy else ds
        with pytest.raises(MissingValueError, match=rf"{method} met 1 missing .* \('ua', 'va'\)"):
            getattr(ds.atmo, method)().compute()
