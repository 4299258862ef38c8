"""Gradient, Laplacians and advection against closed forms and against each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

from xatmo import Grid
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import (
    ChunkError,
    DimensionError,
    GridError,
    MissingValueError,
    OptionError,
    UnitsError,
    VariableError,
)
from xatmo.units import times

Fields = Callable[..., xr.DataArray]
POLES = Grid.regular(19, 36)
METHODS = ("gradient", "laplacian", "inverse_laplacian")


def labelled(grid: Grid, **fields: Any) -> xr.Dataset:
    dims = ("latitude", "longitude")
    return xr.Dataset({n: (dims, np.broadcast_to(x, grid.shape).copy()) for n, x in fields.items()}, grid.coords())


def angles(grid: Grid) -> tuple[Any, Any]:
    lat = np.pi / 2 - np.asarray(grid.colatitude)
    return lat[:, None], np.radians(grid.longitude)


# ---------------------------------------------------------------------- gradient
def test_gradient_of_solid_functions(grid: Grid, engine: Any) -> None:
    """x, y, z and their products, whose gradients are known at every point, poles included."""
    lat, lon = angles(grid)
    x, z = np.cos(lat) * np.cos(lon), np.sin(lat) + 0 * lon
    ds = labelled(grid, x=x, z=z, xz=x * z)
    out = ds.atmo.gradient(radius=2.0, engine=engine)
    known = {
        "dx_dx": -np.sin(lon) + 0 * lat,
        "dx_dy": -np.sin(lat) * np.cos(lon),
        "dz_dx": 0 * z,
        "dz_dy": np.cos(lat) + 0 * lon,
        "dxz_dx": -np.sin(lon) * np.sin(lat),
        "dxz_dy": np.cos(2 * lat) * np.cos(lon),
    }
    assert list(out.data_vars) == list(known)
    for name, values in known.items():
        np.testing.assert_allclose(out[name], values / 2, atol=1e-12, err_msg=name)


def test_gradient_is_a_wind_without_vorticity(grid: Grid, engine: Any, field: Fields) -> None:
    """curl(grad) = 0 and div(grad) = Laplacian, through the vector transform."""
    da = field(grid)
    slopes = da.atmo.gradient(engine=engine).rename(dt_dx="u", dt_dy="v").drop_attrs(deep=True)
    for name in ("latitude", "longitude"):
        slopes[name].attrs = da[name].attrs
    out = slopes.atmo.vorticity_divergence(engine=engine)
    expected = da.atmo.laplacian(engine=engine)
    scale = float(abs(expected).max())
    assert float(abs(out["vo"]).max()) < 1e-11 * scale
    np.testing.assert_allclose(out["d"], expected, atol=1e-11 * scale)


def test_gradient_of_coefficients(engine: Any, field: Fields) -> None:
    da = field(POLES)
    expected = da.atmo.gradient(engine=engine)
    coefficients = da.atmo.to_spectral()
    out = coefficients.atmo.gradient(grid=da, engine=engine)
    for name in ("dt_dx", "dt_dy"):
        assert out[name].dims == da.dims
        assert out[name].attrs == expected[name].attrs
        np.testing.assert_allclose(out[name], expected[name], atol=1e-15)
    low = coefficients.to_dataset().atmo.gradient(grid=Grid.gaussian(6), lmax=5)
    np.testing.assert_allclose(
        low["dt_dy"], da.atmo.truncate(5).atmo.to_spectral().atmo.gradient(grid=Grid.gaussian(6))["dt_dy"], atol=1e-15
    )


def test_gradient_of_part_of_the_degrees(field: Fields) -> None:
    da = field(POLES)
    np.testing.assert_allclose(
        da.atmo.gradient(lmax=5)["dt_dx"], da.atmo.truncate(5).atmo.gradient()["dt_dx"], atol=1e-15
    )


def test_gradient_labels(field: Fields) -> None:
    da = field(POLES).assign_attrs(grid_mapping="crs", valid_range=[0, 1], GRIB_name="Temperature")
    out = da.atmo.gradient()
    assert out["dt_dx"].attrs == {
        "grid_mapping": "crs",
        "long_name": "eastward derivative of air_temperature",
        "units": "K m-1",
    }
    assert out["dt_dy"].attrs["long_name"] == "northward derivative of air_temperature"
    assert out.attrs["history"].endswith("gradient()")
    bare = da.rename(None).drop_attrs(deep=False).atmo.gradient()
    assert list(bare.data_vars) == ["dx", "dy"]
    assert "units" not in bare["dx"].attrs
    many = da.to_dataset().assign(q=da.assign_attrs(units="kg kg-1"), index=("time", [1, 2, 3])).assign_attrs(title="x")
    many = many.atmo.gradient(lmax=4, radius=1.0)
    assert list(many.data_vars) == ["dt_dx", "dt_dy", "dq_dx", "dq_dy"]
    assert many["dq_dx"].attrs["units"] == "kg kg-1 m-1"
    assert many.attrs["title"] == "x"
    assert many.attrs["history"].endswith("gradient(lmax=4, radius=1.0)")


def test_components_of_winds_are_no_scalars(wind: Any, field: Fields) -> None:
    ds = wind(POLES)
    assert list(ds.assign(t=field(POLES)).atmo.gradient().data_vars) == ["dt_dx", "dt_dy"]
    assert list(ds["ua"].atmo.gradient().data_vars) == ["dua_dx", "dua_dy"]
    with pytest.raises(VariableError, match="nothing but winds came"):
        ds.atmo.gradient()


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ("K", "K m-1"),
        ("m", "1"),
        ("1", "m-1"),
        ("m2 s-2", "m s-2"),
        ("m**2 s**-2", "m s-2"),
        ("kg m^-3", "kg m-4"),
        ("degC", "K m-1"),
        ("degree_Celsius", "K m-1"),
        ("W/m2", "W/m2 m-1"),
        ("%", "% m-1"),
    ],
)
def test_units_of_derivatives(units: str, expected: str) -> None:
    assert times(units, "m-1") == expected


# ---------------------------------------------------------------------- Laplacian
def test_eigenvalues(grid: Grid, engine: Any, random_coefficients: Any) -> None:
    """Every degree is an eigenfunction: laplacian(Y) = -n (n + 1) / a^2 Y."""
    from xatmo.spectral import _kernels

    for degree in range(grid.lmax + 1):
        one = random_coefficients(grid.lmax)
        one[np.arange(grid.lmax + 1) != degree] = 0
        values = _kernels.synthesis(one, grid, engine)
        ds = labelled(grid, y=values)
        out = ds["y"].atmo.laplacian(radius=3.0, engine=engine)
        expected = -degree * (degree + 1) / 9 * values
        scale = grid.lmax * (grid.lmax + 1) / 9 * abs(values).max()
        np.testing.assert_allclose(out, expected, atol=1e-13 * scale)


def test_inverse(grid: Grid, engine: Any, field: Fields) -> None:
    """Both ways round the mean goes, and nothing else."""
    da = field(grid)
    mean = da.atmo.to_spectral(lmax=0).isel(degree=0, order=0, drop=True).real
    scale = float(abs(da).max())
    for out in (
        da.atmo.laplacian(engine=engine).atmo.inverse_laplacian(engine=engine),
        da.atmo.inverse_laplacian(engine=engine).atmo.laplacian(engine=engine),
    ):
        np.testing.assert_allclose(out, da - mean, atol=1e-11 * scale)
    other = (da + 5).assign_attrs(da.attrs).atmo.inverse_laplacian(engine=engine)
    expected = da.atmo.inverse_laplacian(engine=engine)
    np.testing.assert_allclose(other, expected, atol=1e-11 * float(abs(expected).max()))
    assert float(abs(expected.atmo.to_spectral(lmax=0)).max()) < 1e-12 * float(abs(expected).max())


def test_laplacian_labels(field: Fields) -> None:
    da = field(POLES).assign_attrs(valid_range=[0, 1], cell_methods="time: mean")
    out = da.atmo.laplacian()
    assert out.name == "t"
    assert out.dims == da.dims
    assert {k: v for k, v in out.attrs.items() if k != "history"} == {
        "cell_methods": "time: mean",
        "long_name": "Laplacian of air_temperature",
        "units": "K m-2",
    }
    assert out.attrs["history"].endswith("laplacian()")
    ds = da.to_dataset().assign(index=("time", [1, 2, 3])).assign_attrs(title="x")
    inverse = ds.atmo.inverse_laplacian(lmax=7)
    assert inverse["t"].attrs["units"] == "K m2"
    assert inverse["t"].attrs["long_name"] == "inverse Laplacian of air_temperature"
    assert inverse.attrs["title"] == "x"
    assert inverse.attrs["history"].endswith("inverse_laplacian(lmax=7)")
    xr.testing.assert_identical(inverse["index"], ds["index"])
    assert "units" not in da.drop_attrs(deep=False).atmo.laplacian().attrs


def test_laplacian_of_coefficients(field: Fields, no_compute: Any) -> None:
    da = field(POLES)
    coefficients = da.atmo.to_spectral()
    for method in ("laplacian", "inverse_laplacian"):
        expected = getattr(da.atmo, method)()
        with no_compute():
            out = getattr(coefficients.chunk(time=1).atmo, method)()
        assert out.dims == coefficients.dims
        assert out.attrs["norm"] == "4pi"
        assert out.attrs["units"] == expected.attrs["units"]
        xr.testing.assert_identical(out["wavelength"], coefficients["wavelength"])
        back = out.atmo.to_grid(da)
        np.testing.assert_allclose(back, expected, atol=1e-12 * float(abs(expected).max()))
    low = coefficients.atmo.laplacian(lmax=4)
    assert low.sizes["degree"] == POLES.lmax + 1
    assert float(abs(low[:, 5:]).max()) == 0
    single = coefficients.astype("c8").to_dataset().atmo.laplacian()
    assert single["t"].dtype == np.complex64


def test_laplacian_of_a_wind_is_that_of_vorticity_and_divergence(wind: Any, engine: Any) -> None:
    ds = wind(POLES)
    out = ds.atmo.laplacian(engine=engine)
    assert out["ua"].attrs["units"] == "m-1 s-1"
    between = ds.atmo.vorticity_divergence()
    for name in ("ua", "va"):
        out[name].attrs = ds[name].attrs
    got = out.atmo.vorticity_divergence()
    for name in ("vo", "d"):
        expected = between[name].atmo.laplacian(engine=engine)
        np.testing.assert_allclose(got[name], expected, atol=1e-11 * float(abs(expected).max()))
    mixed = ds.assign(va=(ds["va"] * 3.6).assign_attrs(ds["va"].attrs | {"units": "km h-1"}))
    again = mixed.atmo.laplacian()["ua"]
    np.testing.assert_allclose(again, out["ua"], atol=1e-12 * float(abs(again).max()))


# ---------------------------------------------------------------------- advection
def test_advection_by_solid_rotation(grid: Grid, engine: Any) -> None:
    """Solid-body rotation about any axis turns a field without changing it: dq/dt = -omega x r . grad(q)."""
    lat, lon = angles(grid)
    x, y, z = np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat) + 0 * lon
    # Rotation about the x axis: velocity (0, -z, y), and of q = y z the tendency -(y y - z z).
    u, v = -np.cos(lon) * np.sin(lat), np.sin(lon) + 0 * lat
    ds = labelled(grid, q=y * z, u=EARTH_RADIUS * u, v=EARTH_RADIUS * v, x=x)
    out = ds.atmo.advection("q", engine=engine)
    np.testing.assert_allclose(out, -(y * y - z * z), atol=1e-12)
    np.testing.assert_allclose(ds.atmo.advection("x", engine=engine), 0 * x, atol=1e-12)
    np.testing.assert_allclose(ds.atmo.advection("q", lmax=2, engine=engine), out, atol=1e-12)


def test_advection_is_minus_the_wind_along_the_gradient(wind: Any, field: Fields) -> None:
    ds = wind(POLES).assign(t=field(POLES, lmax=9))
    slopes = ds["t"].atmo.gradient()
    expected = -(ds["ua"] * slopes["dt_dx"] + ds["va"] * slopes["dt_dy"])
    out = ds.atmo.advection("t")
    np.testing.assert_allclose(out, expected, atol=1e-12 * float(abs(expected).max()))
    cut = ds.atmo.truncate(6)
    low = ds.atmo.advection("t", lmax=6)
    np.testing.assert_allclose(low, cut.atmo.advection("t"), atol=1e-12 * float(abs(low).max()))
    km = ds.assign(ua=(ds["ua"] * 3.6).assign_attrs(ds["ua"].attrs | {"units": "km h-1"}))
    np.testing.assert_allclose(km.atmo.advection("t"), out, atol=1e-12 * float(abs(out).max()))
    half = ds.atmo.advection("t", u="ua", v="va", radius=EARTH_RADIUS / 2)
    np.testing.assert_allclose(half, 2 * out, atol=1e-12 * float(abs(out).max()))


def test_advection_labels_and_broadcasting(wind: Any, field: Fields) -> None:
    ds = wind(POLES).assign(t=field(POLES)).assign_attrs(history="made")
    out = ds.atmo.advection("t")
    assert out.name == "t_advection"
    assert out.attrs["units"] == "K s-1"
    assert out.attrs["long_name"] == "tendency of air_temperature by horizontal advection"
    assert out.attrs["history"].startswith("made\nxatmo")
    assert out.dims == ds["t"].dims
    level = ds["t"].isel(time=0, drop=True)
    one = ds.assign(t=level).atmo.advection("t")
    assert one.dims == ds["ua"].dims
    np.testing.assert_allclose(one[0], out[0], atol=1e-18)
    members = xr.concat([ds["t"], 2 * ds["t"]], "member")
    two = ds.assign(t=members).atmo.advection("t")
    assert two.dims == members.dims
    np.testing.assert_allclose(two[1], 2 * out, atol=1e-18)
    assert "units" not in ds.assign(t=level.drop_attrs(deep=False)).atmo.advection("t").attrs


# ---------------------------------------------------------------------- promises
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_lazy(wind: Any, field: Fields, no_compute: Any, dtype: str) -> None:
    ds = wind(POLES, dtype=dtype).assign(t=field(POLES, dtype=dtype))
    lazy = ds.chunk(time=2)
    with no_compute():
        results = {
            "gradient": lazy.atmo.gradient(),
            "laplacian": lazy.atmo.laplacian(),
            "inverse_laplacian": lazy.atmo.inverse_laplacian(),
            "advection": lazy.atmo.advection("t").to_dataset(),
        }
    for name, out in results.items():
        expected = getattr(ds.atmo, name)(*(["t"] if name == "advection" else []))
        expected = expected if isinstance(expected, xr.Dataset) else expected.to_dataset()
        for variable in expected.data_vars:
            assert out[variable].chunksizes["time"] == (2, 1)
            assert out[variable].dtype == np.dtype(dtype)
            computed = out[variable].compute()
            assert computed.dtype == np.dtype(dtype)
            assert expected[variable].dtype == np.dtype(dtype)
            np.testing.assert_allclose(computed, expected[variable], rtol=0, atol=0)
    if dtype == "f4":
        double = ds.astype("f8").atmo.gradient()
        scale = float(abs(double["dt_dx"]).max())
        np.testing.assert_allclose(results["gradient"]["dt_dx"], double["dt_dx"], atol=2e-5 * scale)


@pytest.mark.parametrize("count", [0, 1])
def test_no_times_and_one(count: int, wind: Any, field: Fields, engine: Any) -> None:
    ds = wind(POLES, dtype="f4").assign(t=field(POLES, dtype="f4")).isel(time=slice(count))
    shape = (count, *POLES.shape)
    assert ds.atmo.helmholtz(engine=engine)["chi"].shape == shape
    assert ds.atmo.gradient(engine=engine)["dt_dy"].shape == shape
    assert ds.atmo.laplacian(engine=engine)["ua"].shape == shape
    assert ds.atmo.advection("t", engine=engine).shape == shape
    assert ds.atmo.filter(lmax=3, engine=engine)["t"].shape == shape
    out = ds.atmo.to_points(lat=[1.0, 2.0], lon=3.0, engine=engine)
    assert {name: (x.shape, x.dtype) for name, x in out.items()} == dict.fromkeys(ds, ((count, 2), np.float32))


def test_degree_zero_has_no_slope(wind: Any, field: Fields, engine: Any) -> None:
    ds = wind(POLES).assign(t=field(POLES))
    for out in (ds.atmo.gradient(lmax=0, engine=engine), ds.atmo.helmholtz(lmax=0, engine=engine)):
        assert all(float(abs(x).max()) == 0 for x in out.data_vars.values())


class TestErrors:
    @pytest.mark.parametrize("method", METHODS)
    def test_radius_and_degree(self, method: str, field: Fields) -> None:
        call = getattr(field(POLES).atmo, method)
        with pytest.raises(OptionError, match="radius=-1.0 came; wanted metres"):
            call(radius=-1.0)
        with pytest.raises(OptionError, match="lmax=18 came"):
            call(lmax=18)

    @pytest.mark.parametrize("method", METHODS)
    def test_regional_chunked_complex(self, method: str, field: Fields) -> None:
        da = field(POLES)
        with pytest.raises(GridError, match=f"{method} needs a global grid"):
            getattr(da[:, 3:9].atmo, method)()
        with pytest.raises(ChunkError, match=f"{method} needs"):
            getattr(da.chunk(latitude=5).atmo, method)()
        with pytest.raises(DimensionError, match=f"{method} needs real fields"):
            getattr((da + 1j).atmo, method)()
        options = {"grid": POLES} if method == "gradient" else {}
        split = da.atmo.to_spectral().chunk(degree=5)
        with pytest.raises(ChunkError, match="needs 'degree' and 'order' whole"):
            getattr(split.atmo, method)(**options)

    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("method", METHODS)
    def test_missing_values(self, method: str, lazy: bool, field: Fields) -> None:
        da = field(POLES)
        coefficients = da.atmo.to_spectral()
        da[0, 3, 3] = np.nan
        coefficients[0, 3, 3] = np.nan
        options = {"grid": POLES} if method == "gradient" else {}
        for obj, extra in ((da, {}), (coefficients, options)):
            with pytest.raises(MissingValueError, match=f"{method} met 1 missing .* 't'"):
                getattr((obj.chunk(time=1) if lazy else obj).atmo, method)(**extra).compute()

    def test_gradient_and_grid(self, field: Fields) -> None:
        with pytest.raises(OptionError, match="grid= came with gridded fields"):
            field(POLES).atmo.gradient(grid=POLES)
        with pytest.raises(OptionError, match="gradient of coefficients needs grid="):
            field(POLES).atmo.to_spectral().atmo.gradient()

    def test_advection(self, wind: Any, field: Fields) -> None:
        ds = wind(POLES).assign(t=field(POLES))
        with pytest.raises(VariableError, match="no variable 'q' in this Dataset"):
            ds.atmo.advection("q")
        with pytest.raises(VariableError, match="no wind pair among"):
            ds[["t"]].atmo.advection("t")
        with pytest.raises(DimensionError, match="advection needs a numeric variable"):
            ds.assign(t=ds["t"].mean("longitude")).atmo.advection("t")
        with pytest.raises(UnitsError, match="variable 'ua': units 'K' came, 'm s-1' wanted"):
            ds.assign(ua=ds["ua"].assign_attrs(units="K")).atmo.advection("t")
        with pytest.raises(ChunkError, match="advection needs"):
            ds.chunk(longitude=6).atmo.advection("t")
        with pytest.raises(GridError, match="advection needs a global grid"):
            ds.isel(latitude=slice(3, 9)).atmo.advection("t")
        for name, shown in (("t", "'t'"), ("va", r"\('ua', 'va'\)")):
            broken = ds.copy(deep=True)
            broken[name][0, 3, 3] = np.nan
            with pytest.raises(MissingValueError, match=f"advection met 1 missing .* {shown}"):
                broken.atmo.advection("t")
