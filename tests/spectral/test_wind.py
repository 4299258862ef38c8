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
    CoordinateError,
    DimensionError,
    GridError,
    MissingValueError,
    OptionError,
    UnitsError,
    VariableError,
)

Winds = Callable[..., xr.Dataset]
POLES = Grid.regular(19, 36)


def labelled(grid: Grid, **fields: Any) -> xr.Dataset:
    dims = ("latitude", "longitude")
    return xr.Dataset({n: (dims, np.broadcast_to(x, grid.shape).copy()) for n, x in fields.items()}, grid.coords())


def test_the_earths_own_rotation(grid: Grid, engine: Any) -> None:
    """Air at rest in space has the vorticity 2 Omega sin(lat): the Coriolis parameter."""
    lat = np.radians(grid.latitude)[:, None]
    if grid.kind != "rectilinear":
        lat = np.pi / 2 - np.asarray(grid.colatitude)[:, None]
    ds = labelled(grid, u=EARTH_ROTATION * EARTH_RADIUS * np.cos(lat), v=0.0)
    out = ds.atmo.vorticity_divergence(engine=engine)
    expected = np.broadcast_to(2 * EARTH_ROTATION * np.sin(lat), grid.shape)
    np.testing.assert_allclose(out["vo"], expected, atol=1e-16)
    assert float(abs(out["d"]).max()) < 1e-17


def test_divergence_away_from_the_south_pole(engine: Any) -> None:
    lat = np.radians(POLES.latitude)[:, None]
    out = labelled(POLES, u=0.0, v=np.cos(lat)).atmo.vorticity_divergence(radius=1.0, engine=engine)
    np.testing.assert_allclose(out["d"], np.broadcast_to(-2 * np.sin(lat), POLES.shape), atol=1e-13)
    assert (out["d"].isel(latitude=-1) > 0).all()


def test_there_and_back(grid: Grid, engine: Any, wind: Winds) -> None:
    ds = wind(grid)
    between = ds.atmo.vorticity_divergence(engine=engine)
    out = between.atmo.wind(engine=engine)
    np.testing.assert_allclose(out["u"], ds["ua"], atol=1e-10)
    np.testing.assert_allclose(out["v"], ds["va"], atol=1e-10)
    from_coefficients = between.atmo.to_spectral(engine=engine).atmo.wind(grid=ds, engine=engine)
    np.testing.assert_allclose(from_coefficients["u"], ds["ua"], atol=1e-10)
    np.testing.assert_allclose(from_coefficients["v"], ds["va"], atol=1e-10)


def test_metadata(wind: Winds) -> None:
    ds = wind(POLES).assign_attrs(title="x")
    between = ds.atmo.vorticity_divergence(lmax=10)
    assert list(between.data_vars) == ["vo", "d"]
    assert between.attrs["title"] == "x"
    assert between["vo"].attrs["standard_name"] == "atmosphere_relative_vorticity"
    assert between["d"].attrs["standard_name"] == "divergence_of_wind"
    assert between["vo"].attrs["units"] == between["d"].attrs["units"] == "s-1"
    assert "vorticity_divergence(lmax=10)" in between.attrs["history"]
    out = between.atmo.wind()
    assert list(out.data_vars) == ["u", "v"]
    assert out["u"].attrs["standard_name"] == "eastward_wind"
    assert out["v"].attrs["units"] == "m s-1"
    assert out["u"].dims == ds["ua"].dims
    assert out.attrs["title"] == "x"


def test_currents_keep_their_names(wind: Winds) -> None:
    ds = wind(POLES).rename(ua="uo", va="vo")
    for name, standard in {"uo": "eastward_sea_water_velocity", "vo": "northward_sea_water_velocity"}.items():
        ds[name].attrs["standard_name"] = standard
    between = ds.atmo.vorticity_divergence()
    assert between["vo"].attrs["standard_name"] == "ocean_relative_vorticity"
    assert "standard_name" not in between["d"].attrs
    out = between.atmo.wind()
    assert out["u"].attrs["standard_name"] == "eastward_sea_water_velocity"
    assert out["u"].attrs["long_name"] == "eastward current"


def test_units_are_converted(wind: Winds) -> None:
    ds = wind(POLES)
    knots = ds.copy()
    for name in ("ua", "va"):
        knots[name] = (ds[name] * 3.6).assign_attrs(ds[name].attrs | {"units": "km h-1"})
    expected = ds.atmo.vorticity_divergence()
    between = knots.atmo.vorticity_divergence()
    np.testing.assert_allclose(between["vo"], expected["vo"], rtol=1e-12, atol=1e-18)
    daily = between.assign({n: (x * 86400).assign_attrs(x.attrs | {"units": "day-1"}) for n, x in between.items()})
    np.testing.assert_allclose(daily.atmo.wind()["u"], ds["ua"], atol=1e-10)
    spectral = daily.atmo.to_spectral()
    np.testing.assert_allclose(spectral.atmo.wind(grid=POLES)["u"], ds["ua"], atol=1e-10)


def test_one_part_alone(wind: Winds) -> None:
    between = wind(POLES).atmo.vorticity_divergence()
    both = between.atmo.wind()
    rotational, divergent = between[["vo"]].atmo.wind(), between[["d"]].atmo.wind()
    for name in ("u", "v"):
        np.testing.assert_allclose(rotational[name] + divergent[name], both[name], atol=1e-11)
    scale = float(abs(between["vo"]).max())
    again = rotational.atmo.vorticity_divergence()
    np.testing.assert_allclose(again["vo"], between["vo"], atol=1e-11 * scale)
    assert float(abs(again["d"]).max()) < 1e-11 * scale


def test_names_given(wind: Winds) -> None:
    between = wind(POLES).atmo.vorticity_divergence()
    renamed = between.rename(vo="a", d="b").drop_attrs(deep=True)
    for name in ("latitude", "longitude"):
        renamed[name].attrs = between[name].attrs
    out = renamed.atmo.wind(vorticity="a", divergence="b")
    np.testing.assert_allclose(out["u"], between.atmo.wind()["u"], atol=1e-12)


def test_radius(wind: Winds) -> None:
    ds = wind(POLES)
    small = ds.atmo.vorticity_divergence(radius=EARTH_RADIUS / 2)
    np.testing.assert_allclose(small["vo"], 2 * ds.atmo.vorticity_divergence()["vo"], rtol=1e-12)
    np.testing.assert_allclose(small.atmo.wind(radius=EARTH_RADIUS / 2)["u"], ds["ua"], atol=1e-10)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_lazy(wind: Winds, no_compute: Any, dtype: str) -> None:
    ds = wind(POLES, dtype=dtype)
    with no_compute():
        between = ds.chunk(time=1).atmo.vorticity_divergence()
        out = between.atmo.wind()
        again = between.atmo.to_spectral().atmo.wind(grid=POLES)
    tolerance = 1e-4 if dtype == "f4" else 1e-10
    for result in (out, again):
        assert result["u"].chunksizes["time"] == (1, 1, 1)
        assert result["u"].dtype == ds["ua"].dtype
        np.testing.assert_allclose(result["u"], ds["ua"], atol=tolerance)
        assert result["v"].compute().dtype == ds["va"].dtype


def test_repeated_column_and_order_come_back(wind: Winds) -> None:
    ds = wind(POLES)
    closed = ds.isel(longitude=[*range(36), 0]).assign_coords(longitude=np.append(ds.longitude, 360.0))
    turned = closed.transpose("longitude", "time", "latitude")
    out = turned.atmo.vorticity_divergence()
    assert out["vo"].dims == ("longitude", "time", "latitude")
    assert out.sizes["longitude"] == 37
    expected = ds.atmo.vorticity_divergence()["vo"]
    np.testing.assert_allclose(out["vo"].transpose(*expected.dims)[..., :36], expected, atol=1e-16)
    back = out.atmo.to_spectral().atmo.wind(grid=turned)
    np.testing.assert_allclose(back["u"].transpose(*closed["ua"].dims), closed["ua"], atol=1e-10)


class TestErrors:
    def test_no_winds(self) -> None:
        with pytest.raises(VariableError, match="no wind pair among"):
            labelled(POLES, t=1.0).atmo.vorticity_divergence()

    def test_wrong_name(self, wind: Winds) -> None:
        with pytest.raises(VariableError, match="no variable 'wind' in this Dataset"):
            wind(POLES).atmo.vorticity_divergence(u="wind", v="va")
        with pytest.raises(VariableError, match="no variable 'zeta' in this Dataset"):
            wind(POLES).atmo.wind(vorticity="zeta")

    def test_one_component(self, wind: Winds) -> None:
        with pytest.raises(VariableError, match="give both components or neither"):
            wind(POLES).atmo.vorticity_divergence(u="ua")

    def test_component_without_the_grid(self, wind: Winds) -> None:
        ds = wind(POLES)
        ds["va"] = ds["va"].mean("longitude", keep_attrs=True)
        with pytest.raises(DimensionError, match="wind component 'va' has dimensions"):
            ds.atmo.vorticity_divergence()

    def test_units(self, wind: Winds) -> None:
        ds = wind(POLES)
        ds["ua"].attrs["units"] = "K"
        with pytest.raises(UnitsError, match="'K' came, 'm s-1' wanted"):
            ds.atmo.vorticity_divergence()
        between = wind(POLES).atmo.vorticity_divergence()
        between["d"].attrs["units"] = "m"
        with pytest.raises(UnitsError, match="'m' came, 's-1' wanted"):
            between.atmo.wind()

    def test_neither(self) -> None:
        with pytest.raises(VariableError, match="neither vorticity nor divergence among"):
            labelled(POLES, t=1.0).atmo.wind()

    def test_a_current_is_no_vorticity(self) -> None:
        ds = labelled(POLES, vo=1.0)
        ds["vo"].attrs["standard_name"] = "northward_sea_water_velocity"
        with pytest.raises(VariableError, match="neither vorticity nor divergence"):
            ds.atmo.wind()

    def test_grid(self, wind: Winds) -> None:
        between = wind(POLES).atmo.vorticity_divergence()
        with pytest.raises(OptionError, match="grid= came with gridded"):
            between.atmo.wind(grid=POLES)
        with pytest.raises(OptionError, match="wind from coefficients needs grid="):
            between.atmo.to_spectral().atmo.wind()

    def test_mixed(self, wind: Winds) -> None:
        between = wind(POLES).atmo.vorticity_divergence()
        mixed = xr.Dataset({"vo": between["vo"], "d": between["d"].atmo.to_spectral()})
        with pytest.raises(CoordinateError, match="one on a grid and one as coefficients"):
            mixed.atmo.wind()

    def test_convention(self, wind: Winds) -> None:
        between = wind(POLES).atmo.vorticity_divergence().atmo.to_spectral()
        between["d"].attrs["csphase"] = -1
        with pytest.raises(OptionError, match="csphase=-1; wanted complex ones with norm=.4pi. and csphase=1"):
            between.atmo.wind(grid=POLES)

    @pytest.mark.parametrize("radius", [0, -1.0, float("nan")])
    def test_radius(self, wind: Winds, radius: float) -> None:
        with pytest.raises(OptionError, match="wanted metres, more than 0"):
            wind(POLES).atmo.vorticity_divergence(radius=radius)

    def test_regional_and_chunked(self, wind: Winds) -> None:
        with pytest.raises(GridError, match="vorticity_divergence needs a global grid"):
            wind(POLES).isel(latitude=slice(3, 9)).atmo.vorticity_divergence()
        with pytest.raises(ChunkError, match="vorticity_divergence needs"):
            wind(POLES).chunk(longitude=4).atmo.vorticity_divergence()

    @pytest.mark.parametrize("lazy", [False, True])
    def test_missing_values(self, wind: Winds, lazy: bool) -> None:
        def chunk(ds: xr.Dataset) -> xr.Dataset:
            return ds.chunk(time=1) if lazy else ds

        ds = wind(POLES)
        between = ds.atmo.vorticity_divergence()
        coefficients = between.atmo.to_spectral()
        ds["va"][0, 3, 3] = np.nan
        between["d"][0, 3, 3] = np.nan
        coefficients["d"][0, 3, 3] = np.nan
        with pytest.raises(MissingValueError, match=r"vorticity_divergence met 1 missing .* \('ua', 'va'\)"):
            chunk(ds).atmo.vorticity_divergence().compute()
        with pytest.raises(MissingValueError, match=r"wind met 1 missing .* \('vo', 'd'\)"):
            chunk(between).atmo.wind().compute()
        with pytest.raises(MissingValueError, match="wind met 1 missing"):
            chunk(coefficients).atmo.wind(grid=POLES).compute()
