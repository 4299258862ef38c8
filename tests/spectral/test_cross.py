"""Cross-spectra: closed forms, expectations, and what is matched or refused."""

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
    CoordinateError,
    DimensionError,
    GridError,
    MissingValueError,
    OptionError,
    UnitsError,
    VariableError,
)
from xatmo.spectral import _kernels, cross_spectrum, regrid

Fields = Callable[..., xr.DataArray]
Winds = Callable[..., xr.Dataset]
GAUSS = Grid.gaussian(16)
SCALAR = ["cross", "power", "power_other", "correlation", "coherence"]


def area_mean(da: xr.DataArray, grid: Grid) -> xr.DataArray:
    return (da * xr.DataArray(grid.weights, dims="latitude")).sum("latitude").mean("longitude")


def box(*, ny: int = 24, nx: int = 30, n: int = 2, seed: int = 0) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    names = {"u": "eastward_wind", "v": "northward_wind"}
    attrs = {k: {"standard_name": s, "units": "m s-1"} for k, s in names.items()}
    return xr.Dataset(
        {k: (("t", "lat", "lon"), rng.standard_normal((n, ny, nx)), attrs[k]) for k in names},
        {
            "lat": ("lat", 30 + 0.25 * np.arange(ny), {"units": "degrees_north"}),
            "lon": ("lon", 300 + 0.25 * np.arange(nx), {"units": "degrees_east"}),
            "t": np.arange(n),
        },
    )


class TestSpherical:
    def test_sums_to_the_area_mean_product(self, grid: Grid, engine: Any, field: Fields) -> None:
        a, b = (field(GAUSS, lmax=8, seed=s).atmo.to_spectral().atmo.to_grid(grid) for s in (0, 1))
        top = min(8, grid.lmax)
        a, b = (x.atmo.truncate(top) for x in (a, b))
        if grid.lmax < 16:  # too coarse a grid to average a product with
            return
        out = a.atmo.cross_spectrum(b, engine=engine)
        np.testing.assert_allclose(out["cross"].sum("degree"), area_mean(a * b, grid), atol=1e-10)
        np.testing.assert_allclose(out["power_other"].sum("degree"), area_mean(b**2, grid), rtol=1e-10)

    def test_powers_are_those_of_the_spectrum(self, field: Fields, wind: Winds) -> None:
        a, b = field(GAUSS), field(GAUSS, seed=1)
        out = a.atmo.cross_spectrum(b)
        assert list(out.data_vars) == SCALAR
        np.testing.assert_allclose(out["power"], a.atmo.energy_spectrum(), rtol=1e-12)
        np.testing.assert_allclose(out["power_other"], b.atmo.energy_spectrum(), rtol=1e-12)
        ds = wind(GAUSS)
        cross, energy = ds.atmo.cross_spectrum(ds), ds.atmo.energy_spectrum()
        for prefix, name in (("", "energy"), ("rotational_", "rotational"), ("divergent_", "divergent")):
            for part in ("cross", "power", "power_other"):
                np.testing.assert_allclose(cross[prefix + part], energy[name], rtol=1e-12)

    def test_identical_and_scaled_fields(self, field: Fields, wind: Winds) -> None:
        a = field(GAUSS)
        out = a.atmo.cross_spectrum((-3 * a).assign_attrs(a.attrs))
        np.testing.assert_allclose(out["correlation"], -1)
        np.testing.assert_allclose(out["coherence"], 1)
        np.testing.assert_allclose(out["cross"], -3 * out["power"])
        ds = wind(GAUSS)
        both = ds.atmo.cross_spectrum(ds.map(lambda x: 2 * x, keep_attrs=True))
        assert np.isnan(both["coherence"].isel(degree=0)).all()  # no wind at degree 0
        for prefix in ("", "rotational_", "divergent_"):
            np.testing.assert_allclose(both[prefix + "correlation"].isel(degree=slice(1, None)), 1)

    @pytest.mark.parametrize("columns", [1, 5])
    def test_a_turned_field_is_known_in_closed_form(self, field: Fields, columns: int) -> None:
        a = field(GAUSS)
        turned = a.roll(longitude=columns)
        angle = columns * 2 * np.pi / GAUSS.nlon
        power = np.abs(a.atmo.to_spectral()) ** 2 * xr.DataArray([1.0] + [2.0] * 15, dims="order")
        expected = (power * np.cos(angle * power["order"])).sum("order")
        np.testing.assert_allclose(a.atmo.cross_spectrum(turned)["cross"], expected, atol=1e-10)

    def test_rotational_and_divergent_winds_have_nothing_in_common(self, random_coefficients: Any) -> None:
        part = random_coefficients(15, wind=True)
        dims = ("latitude", "longitude")
        winds = [
            xr.Dataset(dict(zip("uv", [(dims, x) for x in _kernels.synthesis_vector(*p, GAUSS)], strict=True)),
                       GAUSS.coords())
            for p in ((part, 0 * part), (0 * part, part))
        ]  # fmt: skip
        out = winds[0].atmo.cross_spectrum(winds[1])
        scale = float(out["power"].max())
        assert float(np.abs(out["cross"]).max()) < 1e-12 * scale
        assert float(out["power_other"].max()) == pytest.approx(scale)

    def test_pyshtools_has_the_same(self, random_coefficients: Any) -> None:
        pyshtools = pytest.importorskip("pyshtools")
        first, second = (random_coefficients(15, seed=s) for s in (0, 1))

        def as_theirs(x: Any) -> Any:
            halves = np.stack([x.real, -x.imag]) * np.where(np.arange(16) > 0, np.sqrt(2), 1)
            return pyshtools.SHCoeffs.from_array(halves, normalization="4pi", csphase=1)

        ours = [xr.DataArray(x, dims=("degree", "order")) for x in (first, second)]
        out = ours[0].atmo.cross_spectrum(ours[1])
        theirs = as_theirs(first).cross_spectrum(as_theirs(second), convention="power")
        np.testing.assert_allclose(out["cross"], theirs, rtol=1e-12)
        power = as_theirs(first).spectrum(convention="power")
        np.testing.assert_allclose(out["power"], power, rtol=1e-12)

    def test_noise_has_the_expected_coherence(self) -> None:
        """Half signal, half noise: cross-correlation 1 / sqrt 2; unrelated noise: 1 over the number of values."""
        rng = np.random.default_rng(0)
        n, top = 400, 15

        def coefficients() -> xr.DataArray:
            draw = np.tril(rng.normal(size=(n, top + 1, top + 1)) + 1j * rng.normal(size=(n, top + 1, top + 1)))
            draw[..., 0] = draw[..., 0].real * np.sqrt(2)
            return xr.DataArray(draw, dims=("time", "degree", "order"))

        signal, noise = coefficients(), coefficients()
        each = signal.atmo.cross_spectrum(noise)["coherence"].mean("time")
        np.testing.assert_allclose(each * (2 * each["degree"] + 1), 1, rtol=0.2)
        together = signal.atmo.cross_spectrum(signal + noise, dim="time")
        np.testing.assert_allclose(together["coherence"][3:], 0.5, atol=0.06)
        assert float(signal.atmo.cross_spectrum(noise, dim="time")["coherence"].max()) < 0.02

    def test_averages_come_before_the_ratio(self, field: Fields) -> None:
        a, b = field(GAUSS), field(GAUSS, seed=1)
        every, mean = a.atmo.cross_spectrum(b), a.atmo.cross_spectrum(b, dim=["time"])
        assert mean["cross"].dims == ("degree",)
        np.testing.assert_allclose(mean["cross"], every["cross"].mean("time"))
        expected = every["cross"].mean("time") / np.sqrt(
            every["power"].mean("time") * every["power_other"].mean("time")
        )
        np.testing.assert_allclose(mean["correlation"], expected)
        np.testing.assert_allclose(mean["coherence"], expected**2)

    def test_grids_may_differ_and_coefficients_serve(self, field: Fields) -> None:
        a, b = field(GAUSS, lmax=9), field(GAUSS, lmax=9, seed=1)
        expected = a.atmo.cross_spectrum(b, lmax=9)
        other = regrid(b, Grid.regular(13, 24)).rename(latitude="y", longitude="x")
        for second in (other.transpose("x", "time", "y"), b.atmo.to_spectral(lmax=11), b.atmo.to_spectral(lmax=9)):
            out = a.atmo.cross_spectrum(second)
            assert out.sizes["degree"] == second.sizes.get("degree", 12)
            np.testing.assert_allclose(out["cross"][..., :10], expected["cross"], atol=1e-10)
        turned = b.atmo.to_spectral().atmo.cross_spectrum(a)
        np.testing.assert_allclose(turned["cross"][..., :10], expected["cross"], atol=1e-10)
        np.testing.assert_allclose(turned["power"][..., :10], expected["power_other"], atol=1e-10)

    def test_coefficients_of_vorticity_and_divergence_are_a_wind(self, wind: Winds) -> None:
        ds = wind(GAUSS)
        other = ds.roll(longitude=3)
        expected = ds.atmo.cross_spectrum(other)
        out = ds.atmo.cross_spectrum(other.atmo.vorticity_divergence().atmo.to_spectral())
        for name, da in expected.items():
            np.testing.assert_allclose(out[name][..., 1:], da[..., 1:], atol=1e-10)

    def test_variables_are_matched_by_name_and_converted(self, field: Fields) -> None:
        a, b = (xr.Dataset({"t": field(GAUSS, seed=s), "q": field(GAUSS, seed=s + 5)}) for s in (0, 1))
        a = a.assign(count=("time", [1, 2, 3]), crs=0)
        b = b.assign(count=("time", [1, 2, 3]), crs=0)
        other = b.assign(t=(b["t"] - 273.15).assign_attrs(units="degC"))[["q", "t", "count", "crs"]].assign(
            extra=b["t"]
        )
        out, expected = a.atmo.cross_spectrum(other), a["t"].atmo.cross_spectrum(b["t"])
        assert list(out.data_vars) == [f"{n}_{part}" for n in ("t", "q") for part in SCALAR]
        np.testing.assert_allclose(out["t_cross"], expected["cross"], atol=1e-9)
        assert out["t_cross"].attrs["units"] == "K2"
        assert out["t_coherence"].attrs["units"] == "1"
        single = a["t"].atmo.cross_spectrum(b)
        np.testing.assert_allclose(single["cross"], expected["cross"])

    def test_lazy_and_single(self, field: Fields, wind: Winds, no_compute: Any) -> None:
        a, b = field(GAUSS, dtype="f4"), field(GAUSS, dtype="f4", seed=1)
        ds = wind(GAUSS, dtype="f4")
        with no_compute():
            out = a.chunk(time=1).atmo.cross_spectrum(b.chunk(time=2), dim="time")
            winds = ds.chunk(time=1).atmo.cross_spectrum(ds)
        for name, da in a.atmo.cross_spectrum(b, dim="time").items():
            assert out[name].dtype == da.dtype == np.float32
            np.testing.assert_allclose(out[name].values, da, rtol=2e-5, atol=1e-5)
        assert winds["divergent_cross"].chunksizes["time"] == (1, 1, 1)
        np.testing.assert_allclose(winds["cross"].values, ds.atmo.cross_spectrum(ds)["cross"], rtol=1e-5)

    def test_chunks_may_differ(self, field: Fields) -> None:
        a, b = field(GAUSS), field(GAUSS, seed=1)
        expected = a.atmo.cross_spectrum(b)
        for chunks in ((1, 2), (3, 1), (2, None)):
            x, y = (f if n is None else f.chunk(time=n) for f, n in zip((a, b), chunks, strict=True))
            out = x.atmo.cross_spectrum(y)
            assert out["coherence"].chunks is not None
            np.testing.assert_allclose(out["coherence"], expected["coherence"], rtol=1e-10)

    def test_a_field_without_time_stands_for_all(self, field: Fields) -> None:
        a, b = field(GAUSS), field(GAUSS, seed=1)
        out = a.atmo.cross_spectrum(b.isel(time=0))
        np.testing.assert_allclose(out["cross"][0], a[0].atmo.cross_spectrum(b[0])["cross"])
        assert out["cross"].dims == ("time", "degree")
        assert set(b.isel(time=0).atmo.cross_spectrum(a)["cross"].dims) == {"time", "degree"}

    def test_metadata(self, field: Fields) -> None:
        a = field(GAUSS)
        out = cross_spectrum(a, a, lmax=7)
        assert out["cross"].attrs == {"long_name": "cross-spectrum", "units": "K2"}
        assert out["power_other"].attrs["long_name"] == "power spectrum of the other"
        np.testing.assert_allclose(out["wavelength"][1], 2 * np.pi * EARTH_RADIUS / np.sqrt(2))
        assert "cross_spectrum(kind='auto', lmax=7)" in out.attrs["history"]


class TestBoxes:
    def test_the_same_box(self) -> None:
        ds = box()
        out = ds.atmo.cross_spectrum(ds)
        energy = ds.atmo.energy_spectrum()
        for prefix, name in (("", "energy"), ("rotational_", "rotational"), ("divergent_", "divergent")):
            np.testing.assert_allclose(out[prefix + "cross"], energy[name], rtol=1e-10, atol=1e-14)
            np.testing.assert_allclose(out[prefix + "quadrature"], 0, atol=1e-13)
        np.testing.assert_allclose(out["coherence"], 1)
        np.testing.assert_allclose(out["phase"], 0, atol=1e-10)

    @pytest.mark.parametrize("cells", [1, -2])
    def test_a_shift_shows_in_the_phase_and_not_in_the_coherence(self, cells: int) -> None:
        """Waves of one direction, moved east by some cells, in the same window."""
        n, k = 64, 6
        x = np.mgrid[0:n, 0:n][1] * 0.25
        waves = [np.cos(2 * np.pi * k * (x - 0.25 * s) / (0.25 * n)) for s in (0, cells)]
        coords = {"lat": np.arange(n) * 0.25 - 0.25 * n / 2, "lon": np.arange(n) * 0.25}
        a, b = (xr.DataArray(w, coords, ("lat", "lon")) for w in waves)
        out = a.atmo.cross_spectrum(b).isel(wavenumber=slice(k - 1, k + 2))
        np.testing.assert_allclose(out["phase"], 2 * np.pi * k * cells / n, atol=0.02)
        np.testing.assert_allclose(out["coherence"], 1, atol=1e-3)
        np.testing.assert_allclose(out["correlation"], np.cos(2 * np.pi * k * cells / n), atol=0.02)

    def test_rows_may_run_either_way_and_columns_start_anywhere(self) -> None:
        first, second = box(), box(seed=1)
        expected = first.atmo.cross_spectrum(second)
        turned = second.isel(lat=slice(None, None, -1)).rename(lat="y", lon="x")
        turned = turned.assign_coords(x=("x", second.lon.values - 360, second.lon.attrs))
        for name, da in first.atmo.cross_spectrum(turned).items():
            np.testing.assert_allclose(da, expected[name], atol=1e-12)
        both = first.isel(lat=slice(None, None, -1)).atmo.cross_spectrum(turned)
        for name in ("cross", "rotational_cross", "divergent_cross", "quadrature"):
            np.testing.assert_allclose(both[name], expected[name], atol=1e-12)

    def test_noise_over_time(self) -> None:
        first, second = box(n=200, seed=1), box(n=200, seed=2)
        out = first["u"].atmo.cross_spectrum((first["u"] + second["u"]).assign_attrs(units="m s-1"), dim="t")
        np.testing.assert_allclose(out["coherence"][3:12], 0.5, atol=0.05)
        none = first["u"].atmo.cross_spectrum(second["u"], dim="t")
        assert float(none["coherence"][3:12].max()) < 0.02

    def test_lazy(self, no_compute: Any) -> None:
        first, second = box().astype("f4"), box(seed=1).astype("f4")
        with no_compute():
            out = first.chunk(t=1).atmo.cross_spectrum(second.chunk(t=1), dim="t")
        for name, da in first.atmo.cross_spectrum(second, dim="t").items():
            assert out[name].dtype == np.float32
            np.testing.assert_allclose(out[name].values, da, rtol=1e-5, atol=1e-6)

    def test_other_points(self) -> None:
        ds = box()
        with pytest.raises(GridError, match="of boxes needs both on the same points"):
            ds.atmo.cross_spectrum(ds.assign_coords(lat=ds.lat + 1))
        with pytest.raises(GridError, match="of boxes needs both on the same points"):
            ds.atmo.cross_spectrum(ds.isel(lon=slice(10)))

    def test_degrees_of_a_box(self) -> None:
        with pytest.raises(OptionError, match="lmax=5 came for boxes"):
            box().atmo.cross_spectrum(box(), lmax=5)
        with pytest.raises(GridError, match=r"cross_spectrum\(kind='spherical'\) needs a global grid"):
            box().atmo.cross_spectrum(box(), kind="spherical")


class TestErrors:
    def test_what_comes(self, field: Fields) -> None:
        a = field(GAUSS)
        with pytest.raises(OptionError, match="cross_spectrum got a ndarray"):
            a.atmo.cross_spectrum(a.values)  # type: ignore[arg-type]
        with pytest.raises(OptionError, match="kind='zonal' came; wanted one of"):
            a.atmo.cross_spectrum(a, kind="zonal")  # type: ignore[arg-type]
        with pytest.raises(OptionError, match="u='a', v='b' came with a DataArray"):
            a.atmo.cross_spectrum(a, u="a", v="b")
        with pytest.raises(DimensionError, match="dim has 'member'"):
            a.atmo.cross_spectrum(a, dim="member")
        with pytest.raises(GridError, match="kind='isotropic' treats a box as a plane"):
            a.atmo.cross_spectrum(a, kind="isotropic")
        with pytest.raises(GridError, match="needs a global grid; this one is regional"):
            a.atmo.cross_spectrum(a.isel(longitude=slice(9)))
        with pytest.raises(OptionError, match="kind='isotropic' came with coefficients"):
            a.atmo.to_spectral().atmo.cross_spectrum(a, kind="isotropic")
        with pytest.raises(OptionError, match="kind='isotropic' came with coefficients"):
            box()["u"].assign_attrs(units="K").atmo.cross_spectrum(a.atmo.to_spectral(), kind="isotropic")

    def test_names(self, field: Fields, wind: Winds) -> None:
        a = field(GAUSS)
        ds = xr.Dataset({"t": a, "q": a})
        with pytest.raises(VariableError, match="pairs fields by name"):
            ds.atmo.cross_spectrum(ds.rename(t="a", q="b"))
        with pytest.raises(VariableError, match="got a DataArray named 'x' and a Dataset"):
            a.rename("x").atmo.cross_spectrum(ds)
        with pytest.raises(VariableError, match="the other Dataset has no wind pair"):
            wind(GAUSS).atmo.cross_spectrum(ds, u="ua", v="va")

    @pytest.mark.parametrize("regional", [False, True])
    def test_no_field(self, field: Fields, regional: bool) -> None:
        a = box()["u"].rename(t="time") if regional else field(GAUSS)
        other = xr.Dataset(
            {"count": ("time", np.arange(a.sizes["time"]), a.attrs)}, a.drop_vars("time", errors="ignore").coords
        )
        with pytest.raises(DimensionError, match="cross_spectrum: 'count' has dimensions"):
            a.atmo.cross_spectrum(other)

    def test_labels(self, field: Fields) -> None:
        a = field(GAUSS).assign_coords(time=[0, 1, 2])
        with pytest.raises(CoordinateError, match="labels of 'time' differ"):
            a.atmo.cross_spectrum(a.assign_coords(time=[0, 1, 3]))
        with pytest.raises(CoordinateError, match=r"labels of 'time' differ \(3 and 2 points\)"):
            a.atmo.cross_spectrum(a.isel(time=slice(2)))

    def test_units(self, field: Fields) -> None:
        a = field(GAUSS)
        with pytest.raises(UnitsError, match="has none; wanted both or neither"):
            a.atmo.cross_spectrum(a.drop_attrs())
        with pytest.raises(UnitsError, match="'m' came, 'K' wanted"):
            a.atmo.cross_spectrum(a.assign_attrs(units="m"))
        warm = a.assign_attrs(units="degC").atmo.to_spectral()
        with pytest.raises(UnitsError, match="convert the field before the transform"):
            a.atmo.cross_spectrum(warm)

    @pytest.mark.parametrize("lazy", [False, True])
    def test_gaps_and_chunks(self, field: Fields, lazy: bool) -> None:
        a, b = field(GAUSS), field(GAUSS, seed=1)
        with pytest.raises(ChunkError, match="cross_spectrum needs"):
            a.atmo.cross_spectrum(b.chunk(latitude=8))
        b[0, 3, 3] = np.nan
        with pytest.raises(MissingValueError, match="cross_spectrum met 1 missing"):
            a.atmo.cross_spectrum(b.chunk(time=1) if lazy else b).compute()
        ds = box()
        ds["v"][0, 2, 2] = np.inf
        with pytest.raises(MissingValueError, match="cross_spectrum met 1 missing"):
            (ds.chunk(t=1) if lazy else ds).atmo.cross_spectrum(box()).compute()
