"""Fitted power laws: exact ones, noise around them, ranges, labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from xatmo import Grid
from xatmo.errors import ChunkError, DimensionError, MissingValueError, OptionError
from xatmo.spectral import fit_slope
from xatmo.spectral._fields import degree_coords
from xatmo.spectral.slopes import log_weights, power_law


def by_degree(*slopes: float, lmax: int = 100, **attrs: str) -> xr.DataArray:
    n = np.arange(lmax + 1.0)
    with np.errstate(divide="ignore"):
        values = np.stack([np.where(n > 0, 2 * n**p, 4.0) for p in slopes])
    dims = ("time", "degree")
    return xr.DataArray(values, degree_coords(lmax), dims, name="t", attrs={"units": "m2 s-2", **attrs})


def test_power_laws_are_found_exactly() -> None:
    fit = fit_slope(by_degree(-3, -5 / 3, 1), degrees=(5, 80))
    np.testing.assert_allclose(fit["slope"], [-3, -5 / 3, 1])
    np.testing.assert_allclose(fit["amplitude"], 2)
    np.testing.assert_allclose(fit["stderr"], 0, atol=1e-6)
    assert (fit["low"].item(), fit["high"].item()) == (5, 80)


def test_it_is_weighted_least_squares() -> None:
    x = np.arange(3.0, 60)
    y = x**-2.5 * np.exp(np.random.default_rng(0).normal(size=x.size))
    expected = np.polyfit(np.log(x), np.log(y), 1, w=np.sqrt(log_weights(x)))
    slope, amplitude, _ = power_law(y, x)
    np.testing.assert_allclose([slope, np.log(amplitude)], expected)


def test_octaves_count_alike() -> None:
    """Two laws, broken in the middle of the logarithmic axis: the fit is about half way, as the eye sees it."""
    n = np.arange(1.0, 1025)
    broken = np.where(n < 32, n**-1.0, 32.0**2 * n**-3.0)
    slope = power_law(broken, n)[0]
    assert -2.1 < slope < -1.9
    plain = np.polyfit(np.log(n), np.log(broken), 1)[0]
    assert plain < -2.7  # without weights the many high degrees decide


def test_the_standard_error_is_that_of_repeated_fits() -> None:
    x, rng = np.arange(5.0, 150), np.random.default_rng(1)
    y = x**-3.0 * rng.gamma(x, 1 / x, size=(4000, x.size))  # spectra of 2 n values each
    slope, _, stderr = power_law(y, x)
    assert stderr.mean() == pytest.approx(slope.std(), rel=0.1)
    assert np.mean(np.abs(slope - slope.mean()) < 2 * stderr) == pytest.approx(0.93, abs=0.03)


@pytest.mark.parametrize("limits", [(4e5, 2e6), (2e6, 4e5)])
def test_ranges_by_wavelength(limits: tuple[float, float]) -> None:
    fit = fit_slope(by_degree(-3)[0], wavelengths=limits)
    length = by_degree(-3)["wavelength"]
    inside = length["degree"][((length >= 4e5) & (length <= 2e6)).values]
    assert (fit["low"].item(), fit["high"].item()) == (inside[0].item(), inside[-1].item())


def test_wavenumbers() -> None:
    rng = np.random.default_rng(0)
    coords = {"lat": np.arange(0, 16, 0.25), "lon": np.arange(0, 16, 0.25)}
    field = xr.DataArray(rng.normal(size=(64, 64)), coords, ("lat", "lon")).cumsum("lat").cumsum("lon")
    s = field.atmo.energy_spectrum()
    fit, other = (
        fit_slope(s, wavenumbers=(1e-6, 4e-6)),
        fit_slope(s, wavelengths=(1 / 4e-6, 1 / 1e-6)),
    )
    assert fit["slope"].item() == other["slope"].item() < 0
    assert fit["low"].attrs["units"] == "m-1"
    assert "units" not in fit["amplitude"].attrs


def test_zonal_spectra_are_fitted_at_every_latitude() -> None:
    grid = Grid.regular(19, 36)
    field = xr.DataArray(np.random.default_rng(0).normal(size=grid.shape), grid.coords(), ("latitude", "longitude"))
    s = field.atmo.energy_spectrum(kind="zonal").isel(latitude=slice(1, -1))
    fit = fit_slope(s, wavenumbers=(1, 12))
    assert fit["slope"].dims == ("latitude",)
    np.testing.assert_allclose(fit["slope"][3], fit_slope(s[3], wavenumbers=(1, 12))["slope"])
    assert fit_slope(s.isel(latitude=8), wavelengths=(4e6, 2e7))["slope"].shape == ()
    with pytest.raises(OptionError, match="has no one wavelength for each zonal_wavenumber"):
        fit_slope(s, wavelengths=(4e6, 2e7))


def test_datasets_and_metadata() -> None:
    ds = xr.Dataset({"energy": by_degree(-3), "rotational": by_degree(-4), "n": ("time", [1])})
    fit = fit_slope(ds, degrees=(5, 50))
    assert list(fit.data_vars) == [
        *(f"{n}_{k}" for n in ("energy", "rotational") for k in ("slope", "amplitude", "stderr")), "low", "high",
    ]  # fmt: skip
    np.testing.assert_allclose(fit["rotational_slope"], -4)
    assert fit["energy_slope"].attrs == {"long_name": "exponent of the fitted power law", "units": "1"}
    assert fit["energy_amplitude"].attrs["units"] == "m2 s-2"
    assert fit.attrs["axis"] == "degree"
    assert "fit_slope(degrees=(5, 50))" in fit.attrs["history"]
    assert fit["energy_slope"].dims == ("time",)


def test_lazy(no_compute: Any) -> None:
    s = by_degree(-3, -2, -1)
    with no_compute():
        fit = fit_slope(s.chunk(time=1), degrees=(5, 50))
    np.testing.assert_allclose(fit["slope"].values, [-3, -2, -1])
    with pytest.raises(ChunkError, match="fit_slope needs 'degree' whole"):
        fit_slope(s.chunk(degree=20))


class TestErrors:
    def test_no_spectrum(self) -> None:
        with pytest.raises(OptionError, match="fit_slope got a ndarray"):
            fit_slope(np.ones(3))  # type: ignore[arg-type]
        with pytest.raises(DimensionError, match="needs a spectrum on one of"):
            fit_slope(xr.DataArray(np.ones(3), dims="x"))

    def test_ranges(self) -> None:
        s = by_degree(-3)
        with pytest.raises(OptionError, match="degrees and wavelengths came; wanted one range"):
            fit_slope(s, degrees=(1, 9), wavelengths=(1e5, 1e6))
        with pytest.raises(OptionError, match=r"wavenumbers=\(1, 9\) came for a spectrum by degree"):
            fit_slope(s, wavenumbers=(1, 9))
        with pytest.raises(OptionError, match="holds 2 points of degree"):
            fit_slope(s, degrees=(5, 6))
        with pytest.raises(OptionError, match="degrees=5 came; wanted two numbers"):
            fit_slope(s, degrees=5)  # type: ignore[arg-type]

    @pytest.mark.parametrize("value", [0.0, -1.0, np.nan])
    def test_values(self, value: float) -> None:
        s = by_degree(-3)
        s[0, 20] = value
        with pytest.raises(MissingValueError, match="met 1 values of 't' that are zero, negative or missing"):
            fit_slope(s, degrees=(5, 50))
        assert np.isfinite(fit_slope(s, degrees=(21, 50))["slope"]).all()
