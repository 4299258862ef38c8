from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from xatmo import Grid, metrics
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import DimensionError, MissingValueError, OptionError
from xatmo.metrics.spectral import crossing
from xatmo.spectral import _kernels


def wavelength(degree: float) -> float:
    return 2 * np.pi * EARTH_RADIUS / np.sqrt(degree * (degree + 1))


@pytest.fixture
def pair() -> tuple[xr.DataArray, xr.DataArray]:
    """A target, and a prediction whose error at degree n is a given part of the target's power."""
    grid = Grid.gaussian(32)
    rng = np.random.default_rng(0)
    shape = (4, 32, 32)
    target = np.tril(rng.normal(size=shape) + 1j * rng.normal(size=shape))
    target[..., 0] = target[..., 0].real
    part = (np.arange(32) / 16.0) ** 2 * 0.5  # error over target: 0.5 at degree 16
    prediction = target * (1 + np.sqrt(part))[:, None]
    fields = [
        xr.DataArray(_kernels.synthesis(x, grid), {"time": np.arange(4), **grid.coords()},
                     ("time", "latitude", "longitude"), name="t", attrs={"units": "K"})
        for x in (prediction, target)
    ]  # fmt: skip
    return fields[0], fields[1]


def test_crossing_is_where_the_error_reaches_half_the_power(pair):
    score = metrics.effective_resolution(*pair)
    assert score.item() == pytest.approx(wavelength(16), rel=1e-9)
    assert score.attrs["units"] == "m"
    assert score.name == "t"
    lower = metrics.effective_resolution(*pair, threshold=1 - 0.5 * (8 / 16) ** 2)
    assert lower.item() == pytest.approx(wavelength(8), rel=1e-9)
    between = metrics.effective_resolution(*pair, threshold=0.45).item()
    skill = 1 - (np.array([16, 17]) / 16.0) ** 2 * 0.5
    weight = (skill[0] - 0.45) / (skill[0] - skill[1])
    expected = np.exp((1 - weight) * np.log(wavelength(16)) + weight * np.log(wavelength(17)))
    assert between == pytest.approx(expected, rel=1e-9)


def test_kept_dimensions(pair):
    score = metrics.effective_resolution(*pair, dim=("latitude", "longitude"))
    assert score.dims == ("time",)
    np.testing.assert_allclose(score, wavelength(16), rtol=1e-9)


def test_power_criterion_sees_lost_variance_only(pair):
    _, t = pair
    kept = t.copy(data=_kernels.synthesis(_kernels.analysis(t.values, Grid.of(t), 10), Grid.of(t)))
    score = metrics.effective_resolution(kept, t, criterion="power").item()
    assert wavelength(11) < score < wavelength(10)
    shifted = t.roll(longitude=20)
    assert metrics.effective_resolution(shifted, t, criterion="power").item() == pytest.approx(wavelength(31))
    assert metrics.effective_resolution(shifted, t).item() > wavelength(5)


def test_ends_of_the_scale(pair):
    p, t = pair
    assert metrics.effective_resolution(t, t).item() == pytest.approx(wavelength(31))
    assert metrics.effective_resolution(-t, t).item() == np.inf
    flat = xr.full_like(t, 3.0)
    assert np.isnan(metrics.effective_resolution(p, flat).item()) or metrics.effective_resolution(p, flat) == np.inf


def test_crossing_of_curves():
    metres = np.array([8.0, 4, 2, 1])
    curves = np.array([[1, 0.8, 0.5, 0.2], [1, 0.4, 0.9, 0.9], [0.4, 0.9, 0.9, 0.9], [1, 1, 1, 1], [1, np.nan, 0, 0],
                       [1, 1, 1 - 1e-15, 1 - 2e-15]])  # fmt: skip
    found = crossing(curves, metres, 0.5)
    np.testing.assert_allclose(found, [2, 8 * 0.5 ** (0.5 / 0.6), np.inf, 1, np.nan, 1])


def test_lazy(pair, no_compute):
    p, t = pair
    with no_compute():
        lazy = metrics.effective_resolution(p.chunk(time=1), t.chunk(time=2))
        scores = metrics.verify(p.chunk(time=1), t.chunk(time=1), metrics="effective_resolution",
                                bootstrap={"dim": "time", "n": 10})  # fmt: skip
    assert lazy.chunks is not None
    assert float(lazy) == pytest.approx(wavelength(16), rel=1e-9)
    assert float(scores["effective_resolution_lower"]) == pytest.approx(wavelength(16), rel=1e-9)


def test_on_a_box():
    rng = np.random.default_rng(0)
    grid = Grid.from_latlon(np.linspace(35, 45, 64), np.linspace(0, 12, 64))
    t = xr.DataArray(rng.normal(size=(20, 64, 64)), grid.coords(), ("time", "latitude", "longitude"))
    k = np.hypot(*np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(64)))
    p = t.copy(data=np.fft.ifft2(np.fft.fft2(t.values) * (k < 0.2)).real)
    spacing = (
        float(np.sqrt(np.prod([np.radians(10 / 63), np.radians(12 / 63) * np.cos(np.radians(40))]))) * EARTH_RADIUS
    )
    score = metrics.effective_resolution(p, t).item()
    assert score == pytest.approx(5 * spacing, rel=0.1)


def test_clear_errors(pair):
    p, t = pair
    with pytest.raises(DimensionError, match="averages over latitude and longitude"):
        metrics.effective_resolution(p, t, dim="time")
    with pytest.raises(OptionError, match="wanted 'skill' or 'power'"):
        metrics.effective_resolution(p, t, criterion="best")
    with pytest.raises(OptionError, match="kind='zonal'; wanted 'auto'"):
        metrics.effective_resolution(p, t, kind="zonal")
    with pytest.raises(OptionError, match="threshold=2; wanted a number between 0 and 1"):
        metrics.effective_resolution(p, t, threshold=2)
    with pytest.raises(MissingValueError, match="missing or infinite"):
        metrics.effective_resolution(p.where(p.time > 0), t)
