"""Transfers between degrees: conservation, closed forms, and the tendencies of a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

from xatmo import Grid, datasets
from xatmo.constants import EARTH_RADIUS
from xatmo.datasets._vorticity import VorticityEquation
from xatmo.errors import ChunkError, GridError, MissingValueError, OptionError, VariableError
from xatmo.spectral import _kernels
from xatmo.spectral.flux import full_transfer, inner, product_grid, rotational_transfer

Winds = Callable[..., xr.Dataset]
NAMES = ("energy_flux", "enstrophy_flux", "energy_transfer", "enstrophy_transfer")
DIMS = ("latitude", "longitude")


def model(truncation: int = 31, **settings: Any) -> tuple[VorticityEquation, Any]:
    """An inviscid flow and a state of it."""
    equation = VorticityEquation(truncation, 600.0, None, None, **settings)
    return equation, equation.start(np.random.default_rng(0), 15.0)


def wind_of(vorticity: Any, grid: Grid, divergence: Any = None) -> xr.Dataset:
    scale = _kernels.derivative_factor(vorticity.shape[-1] - 1, EARTH_RADIUS)[:, None]
    scale[0] = np.inf
    other = np.zeros_like(vorticity) if divergence is None else divergence / scale
    u, v = _kernels.synthesis_vector(vorticity / scale, other, grid)
    return xr.Dataset({"u": (DIMS, u), "v": (DIMS, v)}, grid.coords())


class TestRotational:
    @pytest.mark.parametrize("grid", [Grid.gaussian(32), Grid.regular(35, 68), Grid.regular(34, 70, poles=False)])
    def test_transfers_are_the_tendencies_of_the_vorticity_equation(self, grid: Grid, engine: Any) -> None:
        equation, state = model(rotation=0.0)
        out = wind_of(state, grid).atmo.spectral_flux(lmax=31, engine=engine)
        wanted = inner(state, equation.tendency(state))
        scale = np.abs(wanted).max()
        np.testing.assert_allclose(out["enstrophy_transfer"], wanted, rtol=0, atol=1e-11 * scale)
        slope = np.maximum(equation.scale[:, 0], 0)
        np.testing.assert_allclose(
            out["energy_transfer"], wanted / slope**2, rtol=0, atol=1e-11 * np.abs(wanted / slope**2).max()
        )

    @pytest.mark.parametrize("rotation", [0.0, 7.292e-5])
    def test_they_are_what_a_step_does_to_the_energy_whatever_the_planet_rotates(self, rotation: float) -> None:
        _, state = model(rotation=rotation)
        seconds = 60.0
        later, before = (
            equation.energy_spectrum(equation.advance(state))
            for equation in (VorticityEquation(31, s, None, None, rotation) for s in (seconds, -seconds))
        )
        out = wind_of(state, Grid.gaussian(32)).atmo.spectral_flux()["energy_transfer"]
        np.testing.assert_allclose(out, (later - before) / (2 * seconds), rtol=0, atol=1e-5 * float(np.abs(out).max()))

    def test_divergence_plays_no_part(self, wind: Winds) -> None:
        ds = wind(Grid.gaussian(16))
        parts = ds.atmo.vorticity_divergence()
        alone = parts[["vo"]].atmo.wind()
        for name, da in ds.atmo.spectral_flux().items():
            np.testing.assert_allclose(da, alone.atmo.spectral_flux()[name], atol=1e-11 * float(np.abs(da).max()))


@pytest.mark.parametrize("kind", ["rotational", "full"])
class TestBoth:
    def test_transfers_sum_to_zero_to_rounding(self, wind: Winds, engine: Any, kind: Any) -> None:
        out = wind(Grid.gaussian(24)).atmo.spectral_flux(wind=kind, engine=engine)
        for part in ("energy", "enstrophy"):
            transfer, flux = out[f"{part}_transfer"], out[f"{part}_flux"]
            assert float(np.abs(transfer.sum("degree")).max()) < 1e-13 * float(np.abs(transfer).sum("degree").max())
            np.testing.assert_allclose(flux, -transfer.cumsum("degree"), rtol=1e-12)
            np.testing.assert_array_equal(flux.isel(degree=0), 0)  # the mean has no wind

    @pytest.mark.parametrize("degree", [1, 5, 9])
    def test_a_wave_of_one_degree_moves_nothing(self, degree: int, kind: Any) -> None:
        """Rossby-Haurwitz waves are exact solutions: their Jacobian vanishes."""
        rng = np.random.default_rng(1)
        state = np.zeros((16, 16), complex)
        state[degree, : degree + 1] = 1e-5 * (rng.normal(size=degree + 1) + 1j * rng.normal(size=degree + 1))
        state[degree, 0] = state[degree, 0].real
        ds = wind_of(state, Grid.gaussian(16))
        energy = float(ds.atmo.energy_spectrum()["energy"].sum())
        turnover = energy * np.sqrt(energy) * degree / EARTH_RADIUS
        out = ds.atmo.spectral_flux(wind=kind)
        assert float(np.abs(out["energy_flux"]).max()) < 1e-12 * turnover
        assert float(np.abs(out["enstrophy_flux"]).max()) < 1e-12 * turnover * (degree / EARTH_RADIUS) ** 2

    def test_turning_the_flow_around_turns_the_fluxes(self, wind: Winds, kind: Any) -> None:
        ds = wind(Grid.gaussian(16))
        out, back = ds.atmo.spectral_flux(wind=kind), (-ds).assign_attrs(ds.attrs)
        back = back.map(lambda x: x.assign_attrs(standard_name=ds[x.name].attrs["standard_name"], units="m s-1"))
        other = back.atmo.spectral_flux(wind=kind)
        for name in NAMES:
            np.testing.assert_allclose(other[name], -out[name], atol=1e-12 * float(np.abs(out[name]).max()))

    def test_lazy_and_single(self, wind: Winds, no_compute: Any, kind: Any) -> None:
        ds = wind(Grid.gaussian(16), dtype="f4")
        with no_compute():
            out = ds.chunk(time=1).atmo.spectral_flux(wind=kind)
        expected = ds.atmo.spectral_flux(wind=kind)
        for name in NAMES:
            assert out[name].dtype == expected[name].dtype == np.float32
            assert out[name].dims == ("time", "degree")
            np.testing.assert_allclose(
                out[name].values, expected[name], rtol=1e-5, atol=1e-6 * float(np.abs(expected[name]).max())
            )

    def test_coefficients_give_the_same(self, wind: Winds, kind: Any) -> None:
        ds = wind(Grid.gaussian(16))
        coefficients = ds.atmo.vorticity_divergence().atmo.to_spectral()
        out = coefficients.atmo.spectral_flux(wind=kind)
        for name, da in ds.atmo.spectral_flux(wind=kind).items():
            np.testing.assert_allclose(out[name], da, atol=1e-11 * float(np.abs(da).max()))
        fields = ds.atmo.vorticity_divergence().atmo.spectral_flux(wind=kind)
        for name, da in out.items():
            np.testing.assert_allclose(fields[name], da, atol=1e-11 * float(np.abs(da).max()))
        cut = coefficients.atmo.spectral_flux(wind=kind, lmax=9)
        for name, da in ds.atmo.spectral_flux(wind=kind, lmax=9).items():
            np.testing.assert_allclose(cut[name], da, atol=1e-11 * float(np.abs(da).max()))


class TestFull:
    def test_it_is_the_rotational_one_without_divergence(self) -> None:
        _, state = model(21)
        rotational = state / np.where(np.arange(22) > 0, _kernels.derivative_factor(21, 1.0), np.inf)[:, None]
        first, second = rotational_transfer(rotational, 1.0), full_transfer(rotational, 0 * rotational, 1.0)
        for one, other in zip(first, second, strict=True):
            np.testing.assert_allclose(other, one, atol=1e-12 * np.abs(one).max())

    def test_it_is_the_advection_of_cartesian_components(self, random_coefficients: Any) -> None:
        """(V . grad) V on a sphere is what is tangential of the advection of the wind's x, y and z components."""
        lmax, grid = 10, Grid.gaussian(32)
        pair = [random_coefficients(lmax, seed=s, wind=True) for s in (1, 2)]
        u, v = _kernels.synthesis_vector(*pair, grid)
        lat, lon = np.broadcast_arrays(np.radians(grid.latitude)[:, None], np.radians(grid.longitude))
        east = np.stack([-np.sin(lon), np.cos(lon), 0 * lon])
        north = np.stack([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)])
        slope = _kernels.derivative_factor(31, 1.0)[:, None]

        def advected(field: Any) -> Any:
            coefficients = _kernels.analysis(field, grid, 31)
            gradient = _kernels.synthesis_vector(0 * coefficients, -slope * coefficients, grid)
            return u * gradient[0] + v * gradient[1]

        moved = advected(u * east + v * north)
        vorticity, divergence = (_kernels.synthesis(x * slope[: lmax + 1], grid) for x in pair)
        tendency = [(moved * e).sum(0) + x * divergence / 2 for e, x in ((east, u), (north, v))]
        parts = _kernels.analysis_vector(*tendency, grid, lmax)
        energy = -sum(inner(x, y) for x, y in zip(pair, parts, strict=True))
        change = _kernels.analysis(advected(vorticity) + vorticity * divergence / 2, grid, lmax)
        enstrophy = -inner(pair[0] * slope[: lmax + 1], change)
        out = full_transfer(*pair, 1.0)
        np.testing.assert_allclose(out[0], energy, atol=1e-12 * np.abs(energy).max())
        np.testing.assert_allclose(out[1], enstrophy, atol=1e-12 * np.abs(enstrophy).max())


def test_energy_goes_up_and_enstrophy_down_in_two_dimensional_turbulence() -> None:
    ds = datasets.barotropic(42, days=10, spin_up=20, output_every="12h", seed=3)
    out = ds.atmo.spectral_flux(lmax=42).mean("time")
    assert float(out["enstrophy_flux"].sel(degree=slice(16, 35)).min()) > 0
    assert float(out["energy_flux"].sel(degree=slice(4, 8)).max()) < 0
    # What stirring between degrees 8 and 14 brings in passes on: about the model's rates.
    assert float(out["enstrophy_flux"].max()) * float(out["energy_flux"].min()) < 0


def test_metadata(wind: Winds) -> None:
    out = wind(Grid.gaussian(16)).atmo.spectral_flux(lmax=9, radius=2e6)
    assert set(out.data_vars) == set(NAMES)
    assert [out[n].attrs["units"] for n in NAMES] == ["m2 s-3", "s-3", "m2 s-3", "s-3"]
    assert out["energy_flux"].attrs["long_name"] == "flux of kinetic energy to degrees above, by the rotational wind"
    np.testing.assert_allclose(out["wavelength"][1], 2 * np.pi * 2e6 / np.sqrt(2))
    assert "spectral_flux(wind='rotational', lmax=9, radius=2000000.0)" in out.attrs["history"]


@pytest.mark.parametrize("lmax", [1, 7, 31, 42, 719])
def test_products_are_exact(lmax: int) -> None:
    grid = product_grid(lmax)
    assert 2 * grid.nlat - 1 >= 3 * lmax
    assert grid.nlon >= 3 * lmax + 1


class TestErrors:
    def test_wind(self, wind: Winds) -> None:
        with pytest.raises(OptionError, match="wind='divergent' came; wanted one of"):
            wind(Grid.gaussian(16)).atmo.spectral_flux(wind="divergent")  # type: ignore[arg-type]

    def test_box(self, wind: Winds) -> None:
        with pytest.raises(GridError, match="spectral_flux needs a global grid"):
            wind(Grid.gaussian(16)).isel(longitude=slice(9)).atmo.spectral_flux()

    def test_no_wind(self, wind: Winds) -> None:
        ds = wind(Grid.gaussian(16))
        with pytest.raises(VariableError, match="no wind pair"):
            ds[["ua"]].atmo.spectral_flux()
        coefficients = ds.rename(ua="t")[["t"]].atmo.to_spectral()
        with pytest.raises(VariableError, match="needs coefficients of vorticity and divergence"):
            coefficients.atmo.spectral_flux()
        with pytest.raises(OptionError, match="u='a', v='b' came with coefficients"):
            coefficients.atmo.spectral_flux(u="a", v="b")

    def test_degree(self, wind: Winds) -> None:
        ds = wind(Grid.gaussian(16))
        with pytest.raises(OptionError, match="lmax=16 came"):
            ds.atmo.spectral_flux(lmax=16)
        with pytest.raises(OptionError, match="lmax=16 came, but the coefficients of 'vo' end at degree 15"):
            ds.atmo.vorticity_divergence().atmo.to_spectral().atmo.spectral_flux(lmax=16)

    @pytest.mark.parametrize("lazy", [False, True])
    def test_gaps_and_chunks(self, wind: Winds, lazy: bool) -> None:
        ds = wind(Grid.gaussian(16))
        with pytest.raises(ChunkError, match="spectral_flux needs"):
            ds.chunk(latitude=8).atmo.spectral_flux()
        ds["ua"][0, 3, 3] = np.nan
        with pytest.raises(MissingValueError, match="spectral_flux met 1 missing"):
            (ds.chunk(time=1) if lazy else ds).atmo.spectral_flux().compute()
