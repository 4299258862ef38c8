from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

from xatmo import Grid
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import ChunkError, GridError, MissingValueError, OptionError, UnitsError, VariableError
from xatmo.spectral import regrid
from xatmo.spectral._planar import Box, detrend

Fields = Callable[..., xr.DataArray]
Winds = Callable[..., xr.Dataset]
POLES = Grid.regular(19, 36)


def area_mean(da: xr.DataArray, grid: Grid) -> xr.DataArray:
    weights = xr.DataArray(grid.weights, dims="latitude")
    return (da * weights).sum("latitude").mean("longitude")


def box_of(ny: int = 24, nx: int = 30, seed: int = 0, *, upward: bool = True) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    lat, lon = 30 + 0.25 * np.arange(ny), 300 + 0.25 * np.arange(nx)
    names = {"u": "eastward_wind", "v": "northward_wind"}
    ds = xr.Dataset(
        {n: (("t", "lat", "lon"), rng.standard_normal((2, ny, nx)), {"standard_name": s}) for n, s in names.items()},
        {"lat": ("lat", lat, {"units": "degrees_north"}), "lon": ("lon", lon, {"units": "degrees_east"})},
    )
    return ds if upward else ds.isel(lat=slice(None, None, -1))


class TestSpherical:
    def test_power_sums_to_the_area_mean_square(self, grid: Grid, engine: Any, field: Fields) -> None:
        da = field(grid, lmax=grid.lmax // 2)
        out = da.atmo.energy_spectrum(engine=engine)
        np.testing.assert_allclose(out.sum("degree"), area_mean(da**2, grid), rtol=1e-12)
        np.testing.assert_allclose(out.isel(degree=0), area_mean(da, grid) ** 2, rtol=1e-10)

    def test_energy_sums_to_the_area_mean(self, grid: Grid, engine: Any, wind: Winds) -> None:
        ds = wind(grid, lmax=grid.lmax // 2)
        out = ds.atmo.energy_spectrum(engine=engine)
        expected = area_mean((ds["ua"] ** 2 + ds["va"] ** 2) / 2, grid)
        np.testing.assert_allclose(out["energy"].sum("degree"), expected, rtol=1e-12)
        np.testing.assert_allclose(out["rotational"] + out["divergent"], out["energy"], rtol=1e-13)

    def test_parts_are_those_of_vorticity_and_divergence(self, wind: Winds) -> None:
        ds = wind(POLES)
        out = ds.atmo.energy_spectrum()
        between = ds.atmo.vorticity_divergence()
        n = out["degree"][1:]
        factor = EARTH_RADIUS**2 / (2 * n * (n + 1))
        for part, name in (("rotational", "vo"), ("divergent", "d")):
            expected = between[name].atmo.energy_spectrum()[..., 1:] * factor
            np.testing.assert_allclose(out[part][..., 1:], expected.transpose(*out[part].dims), rtol=1e-10)
            assert (out[part][..., 0] == 0).all()

    def test_metadata(self, field: Fields, wind: Winds) -> None:
        out = field(POLES).atmo.energy_spectrum(lmax=9)
        assert out.dims == ("time", "degree")
        assert out.name == "t"
        assert out.sizes["degree"] == 10
        assert out.attrs["units"] == "K2"
        assert "standard_name" not in out.attrs
        assert out.attrs["long_name"] == "power spectrum of air_temperature"
        assert "energy_spectrum(kind='auto', lmax=9)" in out.attrs["history"]
        np.testing.assert_allclose(out["wavelength"][1], 2 * np.pi * EARTH_RADIUS / np.sqrt(2))
        energy = wind(POLES).atmo.energy_spectrum()
        assert list(energy.data_vars) == ["energy", "rotational", "divergent"]
        assert all(a.attrs["units"] == "m2 s-2" for a in energy.data_vars.values())
        assert energy["energy"].dims == ("time", "degree")

    def test_dataset_without_winds(self, field: Fields) -> None:
        ds = xr.Dataset({"t": field(POLES), "q": field(POLES, seed=1).drop_attrs(), "i": ("time", [1, 2, 3])})
        out = ds.atmo.energy_spectrum()
        assert set(out.data_vars) == {"t", "q", "i"}
        xr.testing.assert_allclose(out["t"], ds["t"].atmo.energy_spectrum())
        assert "units" not in out["q"].attrs
        assert out["q"].attrs["long_name"] == "power spectrum of q"

    @pytest.mark.parametrize("dtype", ["f4", "f8"])
    def test_lazy(self, field: Fields, wind: Winds, no_compute: Any, dtype: str) -> None:
        da, ds = field(POLES, dtype=dtype), wind(POLES, dtype=dtype)
        with no_compute():
            power = da.chunk(time=1).atmo.energy_spectrum()
            energy = ds.chunk(time=2).atmo.energy_spectrum()
        assert power.dtype == power.compute().dtype == dtype
        assert energy["energy"].chunksizes["time"] == (2, 1)
        rtol = 1e-5 if dtype == "f4" else 1e-12
        np.testing.assert_allclose(power, da.atmo.energy_spectrum(), rtol=rtol)
        np.testing.assert_allclose(energy["divergent"], ds.atmo.energy_spectrum()["divergent"], rtol=rtol)

    def test_units_of_wind(self, wind: Winds) -> None:
        ds = wind(POLES)
        fast = ds.assign({n: (x * 3.6).assign_attrs(x.attrs | {"units": "km h-1"}) for n, x in ds.items()})
        np.testing.assert_allclose(fast.atmo.energy_spectrum()["energy"], ds.atmo.energy_spectrum()["energy"])
        ds["ua"].attrs["units"] = "K"
        with pytest.raises(UnitsError, match="'K' came, 'm s-1' wanted"):
            ds.atmo.energy_spectrum()

    def test_invariance(self, wind: Winds) -> None:
        ds = wind(POLES)
        other = ds.assign_coords(longitude=(ds.longitude + 180) % 360 - 180).sortby("longitude")
        other = other.isel(latitude=slice(None, None, -1))
        other = other.isel(longitude=[*range(36), 0]).assign_coords(longitude=np.append(other.longitude, 180.0))
        for name, part in other.atmo.energy_spectrum().items():
            np.testing.assert_allclose(part, ds.atmo.energy_spectrum()[name], rtol=1e-10, atol=1e-15)


class TestIsotropic:
    @pytest.mark.parametrize("shape", [(24, 30), (25, 31), (4, 4)])
    def test_sums_to_the_weighted_mean_square_of_the_detrended_field(self, shape: tuple[int, int]) -> None:
        ds = box_of(*shape)
        out = ds["u"].atmo.energy_spectrum()
        y, x = (np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in shape)
        window = np.outer(y, x) ** 2
        expected = (detrend(ds["u"].values) ** 2 * window).sum((-2, -1)) / window.sum()
        np.testing.assert_allclose(out.sum("wavenumber"), expected, rtol=1e-12)

    def test_detrending_is_least_squares(self) -> None:
        field = np.random.default_rng(0).standard_normal((3, 7, 9))
        y, x = np.mgrid[0:7, 0:9]
        plane = np.stack([np.ones(63), y.ravel(), x.ravel()], 1)
        for one, out in zip(field, detrend(field), strict=True):
            fit = plane @ np.linalg.lstsq(plane, one.ravel(), rcond=None)[0]
            np.testing.assert_allclose(out.ravel(), one.ravel() - fit, atol=1e-13)

    @pytest.mark.parametrize(("ky", "kx"), [(0, 6), (5, 0), (4, -4)])
    def test_a_wave_is_found_at_its_wavelength(self, ky: int, kx: int) -> None:
        n, metres = 64, 10e3
        y, x = np.mgrid[0:n, 0:n]
        box = Box(n, n, metres, metres)
        power = box.power(np.cos(2 * np.pi * (ky * y + kx * x) / n))
        found = float((power * box.wavenumber).sum() / power.sum())
        assert found == pytest.approx(np.hypot(ky, kx) / (n * metres), rel=0.03)
        assert power.sum() == pytest.approx(0.5, rel=0.02)

    def test_distances_are_real(self) -> None:
        ds = box_of()
        out = ds["u"].atmo.energy_spectrum(kind="isotropic")
        dy = EARTH_RADIUS * np.radians(0.25)
        dx = dy * np.cos(np.radians(float(ds.lat.mean())))
        step = max(1 / (24 * dy), 1 / (30 * dx))
        np.testing.assert_allclose(out["wavenumber"], step * np.arange(out.sizes["wavenumber"]))
        np.testing.assert_allclose(out["wavelength"][1:], 1 / out["wavenumber"][1:])
        assert np.isinf(out["wavelength"][0])
        assert out["wavenumber"].attrs["units"] == "m-1"
        assert out["wavelength"].attrs["units"] == "m"

    @pytest.mark.parametrize("upward", [True, False])
    def test_rotational_and_divergent_winds(self, upward: bool) -> None:
        """The wind of a streamfunction is all rotational, that of a potential all divergent."""
        n = 32
        lat, lon = -1 + np.arange(n) / 16, np.arange(n) / 16
        y, x = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
        phase = 2 * np.pi * (5 * x + 3 * y) / n
        ds = xr.Dataset(
            {"u": (("lat", "lon"), -3 * np.sin(phase)), "v": (("lat", "lon"), 5 * np.sin(phase))},
            {"lat": lat, "lon": lon},
        )
        turned = ds if upward else ds.isel(lat=slice(None, None, -1))
        out = turned.atmo.energy_spectrum()
        assert float(out["divergent"].sum() / out["energy"].sum()) < 0.02
        other = turned.rename(u="v", v="u").assign(u=turned["v"], v=-turned["u"])
        out = other.atmo.energy_spectrum()
        assert float(out["rotational"].sum() / out["energy"].sum()) < 0.02
        np.testing.assert_allclose((out["rotational"] + out["divergent"])[1:], out["energy"][1:], rtol=1e-12)

    def test_lazy_and_single_precision(self, no_compute: Any) -> None:
        ds = box_of().astype("f4")
        with no_compute():
            out = ds.chunk(t=1).atmo.energy_spectrum()
        expected = ds.atmo.energy_spectrum()
        assert out["energy"].dtype == expected["energy"].dtype == np.float32
        np.testing.assert_allclose(out["energy"], expected["energy"], rtol=1e-6)

    @pytest.mark.parametrize("shape", [(24, 60), (25, 12), (8, 8)])
    def test_rows_in_either_order(self, shape: tuple[int, int]) -> None:
        ds = box_of(*shape)
        out = ds.isel(lat=slice(None, None, -1)).atmo.energy_spectrum()
        for name, da in ds.atmo.energy_spectrum().items():
            np.testing.assert_allclose(out[name], da, rtol=1e-9, atol=1e-14)
            np.testing.assert_allclose(out["wavenumber"], da["wavenumber"])

    def test_no_ring_is_empty(self) -> None:
        for dy in (1e4, -1e4, -4e4):
            assert (np.bincount(Box(12, 40, dy, 1e4)._ring.ravel()) > 0).all()

    def test_global_grid(self, field: Fields) -> None:
        with pytest.raises(GridError, match="kind='isotropic' treats a box as a plane"):
            field(POLES).atmo.energy_spectrum(kind="isotropic")

    def test_uneven_steps(self) -> None:
        ds = box_of()
        with pytest.raises(GridError, match="needs equal steps; latitude steps go from 0.25 to 0.5"):
            ds["u"].isel(lat=[0, 1, 2, 4, 5, 6]).atmo.energy_spectrum()

    def test_small_boxes(self) -> None:
        with pytest.raises(GridError, match="at least 4 x 4 points; 3 x 30 came"):
            box_of()["u"].isel(lat=slice(3)).atmo.energy_spectrum()

    def test_no_fields(self) -> None:
        assert Box(4, 5, 1.0, 1.0).power(np.empty((0, 4, 5))).shape[0] == 0


class TestZonal:
    def test_sums_to_the_mean_square_of_every_circle(self, grid: Grid, field: Fields) -> None:
        da = field(grid)
        out = da.atmo.energy_spectrum(kind="zonal")
        assert out.dims == ("time", "latitude", "zonal_wavenumber")
        np.testing.assert_allclose(out.sum("zonal_wavenumber"), (da**2).mean("longitude"), rtol=1e-12)

    def test_winds_waves_and_wavelengths(self) -> None:
        band = Grid.from_latlon(np.arange(-60, 61, 10.0), np.arange(0, 360, 10.0))
        lon = np.radians(band.longitude)
        ds = xr.Dataset(
            {n: (("lat", "lon"), np.cos(4 * lon + s) * np.ones((13, 1))) for n, s in (("u", 0.0), ("v", 1.0))},
            {k: v.rename({v.dims[0]: k}) for k, v in band.coords(lat="lat", lon="lon").items()},
        )
        out = ds.atmo.energy_spectrum(kind="zonal")
        assert list(out.data_vars) == ["energy"]
        np.testing.assert_allclose(out["energy"].sel(zonal_wavenumber=4), 0.5)
        np.testing.assert_allclose(out["energy"].sum("zonal_wavenumber"), 0.5)
        circle = 2 * np.pi * EARTH_RADIUS * np.cos(np.radians(band.latitude))
        np.testing.assert_allclose(out["wavelength"].sel(zonal_wavenumber=4), circle / 4)
        assert np.isinf(out["wavelength"].sel(zonal_wavenumber=0)).all()

    def test_area_mean(self, grid: Grid, field: Fields, wind: Winds) -> None:
        da, ds = field(grid), wind(grid)
        out = da.atmo.energy_spectrum(kind="zonal", by_latitude=False)
        assert out.dims == ("time", "zonal_wavenumber")
        assert "wavelength" not in out.coords
        np.testing.assert_allclose(out.sum("zonal_wavenumber"), area_mean(da**2, grid), rtol=1e-12)
        energy = ds.atmo.energy_spectrum(kind="zonal", by_latitude=False)["energy"]
        expected = area_mean((ds["ua"] ** 2 + ds["va"] ** 2) / 2, grid)
        np.testing.assert_allclose(energy.sum("zonal_wavenumber"), expected, rtol=1e-12)

    def test_area_mean_is_the_spectrum_by_order(self, field: Fields) -> None:
        grid = Grid.gaussian(16)
        da = field(grid)
        power = (np.abs(da.atmo.to_spectral()) ** 2).sum("degree")
        out = da.chunk(time=1).atmo.energy_spectrum(kind="zonal", by_latitude=False)
        np.testing.assert_allclose(out[:, 0], power[:, 0], rtol=1e-11)
        np.testing.assert_allclose(out[:, 1:16], 2 * power[:, 1:], rtol=1e-11)
        assert "by_latitude=False" in out.attrs["history"]

    def test_area_mean_of_other_kinds(self, field: Fields) -> None:
        with pytest.raises(OptionError, match="by_latitude=False came with kind='auto'"):
            field(POLES).atmo.energy_spectrum(by_latitude=False)

    def test_latitude_may_be_chunked(self, field: Fields, no_compute: Any) -> None:
        da = field(POLES)
        with no_compute():
            out = da.chunk(latitude=5).atmo.energy_spectrum(kind="zonal")
        np.testing.assert_allclose(out, da.atmo.energy_spectrum(kind="zonal"))
        with pytest.raises(ChunkError, match="'longitude' in 4 chunks"):
            da.chunk(longitude=9).atmo.energy_spectrum(kind="zonal")

    def test_box(self) -> None:
        with pytest.raises(GridError, match="kind='zonal' needs whole latitude circles; longitude runs from 300 to"):
            box_of().atmo.energy_spectrum(kind="zonal")


class TestRings:
    @pytest.mark.parametrize("rings", [Grid.healpix(8), Grid.reduced_gaussian("O8")])
    def test_points_on_rings_give_the_same(self, rings: Grid, wind: Winds, field: Fields, no_compute: Any) -> None:
        grid = Grid.gaussian(12)
        ds = wind(grid, lmax=7).assign(t=field(grid, lmax=7))
        there = regrid(ds, rings)
        with no_compute():
            lazy = there.chunk(time=1).atmo.energy_spectrum(lmax=7)
        for name, da in ds.atmo.energy_spectrum(lmax=7)[["energy", "rotational", "divergent"]].items():
            np.testing.assert_allclose(lazy[name], da, rtol=1e-10, atol=1e-12)
            assert lazy[name].dims == ("time", "degree")
        power = there["t"].atmo.energy_spectrum(lmax=7)
        np.testing.assert_allclose(power, ds["t"].atmo.energy_spectrum(lmax=7), rtol=1e-10)
        cross = there.atmo.cross_spectrum(ds, lmax=7)  # beside another grid
        np.testing.assert_allclose(cross["correlation"][:, 1:], 1)
        flux = there.atmo.spectral_flux(lmax=7)["enstrophy_flux"]
        expected = ds.atmo.spectral_flux(lmax=7)["enstrophy_flux"]
        np.testing.assert_allclose(flux, expected, atol=1e-10 * float(np.abs(expected).max()))
        with pytest.raises(GridError, match="kind='zonal' needs as many points in every row"):
            there["t"].atmo.energy_spectrum(kind="zonal")


class TestCoefficients:
    def test_power(self, field: Fields, no_compute: Any) -> None:
        da = field(POLES)
        with no_compute():
            out = da.chunk(time=1).atmo.to_spectral().atmo.energy_spectrum()
        expected = da.atmo.energy_spectrum()
        np.testing.assert_allclose(out, expected, rtol=1e-12)
        assert (out.name, out.dims, out.attrs["units"]) == ("t", ("time", "degree"), "K2")
        np.testing.assert_array_equal(out["wavelength"], expected["wavelength"])
        cut = xr.Dataset({"t": da.atmo.to_spectral().isel(order=slice(5)), "i": 3}).atmo.energy_spectrum(lmax=4)
        np.testing.assert_allclose(cut["t"], expected[:, :5], rtol=1e-12)
        assert cut["i"] == 3

    @pytest.mark.parametrize("dtype", ["f4", "f8"])
    def test_vorticity_and_divergence_give_the_kinetic_energy(self, wind: Winds, dtype: str) -> None:
        ds = wind(POLES, dtype=dtype)
        coefficients = ds.atmo.vorticity_divergence().atmo.to_spectral()
        out, expected = coefficients.atmo.energy_spectrum(), ds.atmo.energy_spectrum()
        assert list(out.data_vars) == ["energy", "rotational", "divergent"]
        for name, da in expected.items():
            assert out[name].dtype == dtype
            assert out[name].attrs == da.attrs
            np.testing.assert_allclose(out[name], da, rtol=1e-10 if dtype == "f8" else 1e-4)
        daily = coefficients.assign(
            {n: (86400 * x).assign_attrs(x.attrs | {"units": "day-1"}) for n, x in coefficients.items()}
        )
        np.testing.assert_allclose(daily.atmo.energy_spectrum()["energy"], out["energy"], rtol=1e-6)
        power = coefficients[["vo"]].atmo.energy_spectrum()["vo"]
        np.testing.assert_allclose(power, ds.atmo.vorticity_divergence()["vo"].atmo.energy_spectrum(), rtol=1e-4)

    def test_packed_coefficients(self, shared_data: Any) -> None:
        pytest.importorskip("cfgrib")
        path = shared_data("ecmwf_z500_spectral_T63_2017-10-18.grib")
        ds = xr.open_dataset(path, engine="cfgrib", backend_kwargs={"indexpath": ""})
        out = ds["z"].atmo.energy_spectrum()
        assert out.dims == ("degree",)
        assert out.sizes["degree"] == 64
        assert out.attrs["units"] == "m4 s-4"
        fields = ds["z"].atmo.to_grid(Grid.gaussian(64)).atmo.energy_spectrum()
        np.testing.assert_allclose(out, fields, rtol=1e-4)

    def test_errors(self, field: Fields, wind: Winds) -> None:
        coefficients = field(POLES).atmo.to_spectral()
        with pytest.raises(OptionError, match="kind='zonal', u=None, v=None came with coefficients"):
            coefficients.atmo.energy_spectrum(kind="zonal")
        with pytest.raises(OptionError, match="u='ua', v='va' came with coefficients"):
            wind(POLES).atmo.to_spectral().atmo.energy_spectrum(u="ua", v="va")
        with pytest.raises(OptionError, match="kind='radial' came"):
            coefficients.atmo.energy_spectrum(kind="radial")
        with pytest.raises(OptionError, match="lmax=18 came, but the coefficients of 't' end at degree 17"):
            coefficients.atmo.energy_spectrum(lmax=18)
        coefficients[0, 3, 2] = np.nan
        with pytest.raises(MissingValueError, match="energy_spectrum met 1 missing"):
            coefficients.atmo.energy_spectrum()


def test_units_of_squares() -> None:
    from xatmo.spectral.spectrum import squared_units

    assert [squared_units(u) for u in ("1", "m s-1", "Pa", "W m**-2", "")] == ["1", "m2 s-2", "Pa2", "W2 m-4", ""]
    assert [squared_units(u) for u in ("m/s", "m.s-1", "10 m", "kg m / s^2")] == [
        "m2 s-2",
        "m2 s-2",
        "(10 m)2",
        "(kg m / s^2)2",
    ]


class TestErrors:
    def test_kind(self, field: Fields) -> None:
        with pytest.raises(OptionError, match="kind='radial' came; wanted one of"):
            field(POLES).atmo.energy_spectrum(kind="radial")

    def test_lmax(self, field: Fields) -> None:
        with pytest.raises(OptionError, match="lmax=5 came with kind='zonal'"):
            field(POLES).atmo.energy_spectrum(kind="zonal", lmax=5)
        with pytest.raises(OptionError, match="lmax=18 came"):
            field(POLES).atmo.energy_spectrum(lmax=18)

    def test_spherical_box(self) -> None:
        with pytest.raises(GridError, match=r"energy_spectrum\(kind='spherical'\) needs a global grid"):
            box_of().atmo.energy_spectrum(kind="spherical")

    def test_components_of_a_field(self, field: Fields) -> None:
        with pytest.raises(OptionError, match="u='a', v='b' came with a DataArray"):
            field(POLES).atmo.energy_spectrum(u="a", v="b")

    def test_missing_component(self, wind: Winds) -> None:
        with pytest.raises(VariableError, match="no variable 'x'"):
            wind(POLES).atmo.energy_spectrum(u="x", v="va")

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("kind", ["spherical", "isotropic", "zonal"])
    def test_every_kind_sees_what_is_not_finite(self, wind: Winds, engine: Any, kind: Any, value: float) -> None:
        ds = box_of() if kind == "isotropic" else wind(POLES)
        name = next(iter(ds.data_vars))
        ds[name][1, 4, 5] = value
        for obj in (ds, ds[name]):
            with pytest.raises(MissingValueError, match="energy_spectrum met 1 missing or infinite values of variable"):
                obj.atmo.energy_spectrum(kind=kind, engine=engine)

    @pytest.mark.parametrize("lazy", [False, True])
    def test_missing_values(self, wind: Winds, field: Fields, lazy: bool) -> None:
        def chunk(obj: Any) -> Any:
            return obj.chunk({obj["latitude"].dims[0]: -1, "time": 1}) if lazy else obj

        da, ds = field(POLES), wind(POLES)
        da[0, 3, 3] = ds["ua"][0, 3, 3] = np.nan
        for obj in (da, ds):
            with pytest.raises(MissingValueError, match="energy_spectrum met 1 missing"):
                chunk(obj).atmo.energy_spectrum().compute()
