from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from xatmo import Grid, datasets, metrics
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import CoordinateError, DimensionError, MissingValueError, OptionError
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


def test_coherence_criterion_minds_neither_size_nor_a_shift(pair):
    _, t = pair
    noise = t.copy(data=np.random.default_rng(1).normal(size=t.shape)).atmo.truncate(31)
    scale = np.sqrt(t.atmo.energy_spectrum().mean("time") / noise.atmo.energy_spectrum().mean("time"))
    ramp = (scale * np.arange(32) / 16).fillna(0).drop_vars("wavelength")  # as much noise as signal at degree 16
    added = (noise.atmo.to_spectral() * ramp).transpose("time", "degree", "order").atmo.to_grid(t)
    noisy = (3 * (t + added)).assign_attrs(t.attrs)
    found = metrics.effective_resolution(noisy, t, criterion="coherence")
    assert wavelength(19) < found.item() < wavelength(14)
    assert found.attrs["units"] == "m"
    assert metrics.effective_resolution(noisy, t).item() == np.inf  # three times as large is wrong, too
    lazy = metrics.effective_resolution(noisy.chunk(time=1), t.chunk(time=2), criterion="coherence")
    assert lazy.chunks is not None
    assert lazy.compute().item() == pytest.approx(found.item())
    by_time = metrics.effective_resolution(noisy, t, criterion="coherence", dim=("latitude", "longitude"))
    assert by_time.dims == ("time",)


def test_coherence_criterion_in_boxes():
    rng = np.random.default_rng(0)
    axes = {"lat": ("lat", np.arange(30, 40, 0.25)), "lon": ("lon", np.arange(300, 312, 0.25))}
    t = xr.DataArray(rng.normal(size=(20, 40, 48)), axes, ("time", "lat", "lon"), name="ssh")
    smooth = t.rolling(lat=5, lon=5, center=True, min_periods=1).mean()
    p = smooth + 0.1 * xr.zeros_like(t).copy(data=rng.normal(size=t.shape))
    coherent = metrics.effective_resolution(p, t, criterion="coherence").item()
    power = metrics.effective_resolution(p, t, criterion="power").item()
    assert 4e4 < coherent < power  # what smoothing damps is still there, above the noise
    shifted = t.shift(lon=1, fill_value=0.0)
    assert metrics.effective_resolution(shifted, t, criterion="coherence").item() < 6e4


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


def test_crossing_starts_where_it_is_told():
    metres = np.array([8.0, 4, 2, 1])
    curve = np.array([0.0, 1.0, 0.5, 0.25])
    # Longer waves than the start are not judged; where the start fails, the crossing is looked for among them.
    np.testing.assert_allclose([crossing(curve, metres, 0.75, i) for i in range(4)], [np.inf, *[8**0.5] * 3])
    many = crossing(np.broadcast_to(curve, (2, 4, 4)), metres, 0.75, np.arange(4))
    np.testing.assert_allclose(many, np.broadcast_to([np.inf, *[8**0.5] * 3], (2, 4)))
    assert crossing(np.array([np.nan, 1, 1, 1]), metres, 0.5, 1) == 1
    assert np.isnan(crossing(np.array([1, np.nan, 0, 0]), metres, 0.5, 3))
    assert np.isnan(crossing(np.full(4, np.nan), metres, 0.5, 2))
    assert crossing(np.zeros(4), metres, 0.5, 3) == np.inf


@pytest.mark.parametrize("longest", [0.0, 1e-9])
def test_walks_from_the_peak_whatever_the_longest_waves_hold(longest):
    """As relative vorticity: next to nothing, or nothing, at degree 1; an error at every degree, half at degree 12."""
    grid, degree = Grid.gaussian(32), np.arange(32)
    rng = np.random.default_rng(1)
    coef = np.tril(rng.normal(size=(32, 32)) + 1j * rng.normal(size=(32, 32)))
    coef[:, 0] = coef[:, 0].real
    power = np.abs(coef[:, 0]) ** 2 + 2 * (np.abs(coef[:, 1:]) ** 2).sum(-1)
    wanted = np.exp(-(((degree - 6) / 8.0) ** 2))
    wanted[1] = longest
    target = coef * np.sqrt(wanted / power)[:, None]
    wrong = np.where(degree == 12, 0.5 * wanted[12], 1e-3)
    error = coef * np.sqrt(wrong / power)[:, None]
    t, p = (
        xr.DataArray(_kernels.synthesis(x, grid), grid.coords(), ("latitude", "longitude"))
        for x in (target, target + error)
    )
    assert metrics.effective_resolution(p, t).item() == pytest.approx(wavelength(12), rel=1e-6)
    assert metrics.effective_resolution(p + 5, t + 3).item() == pytest.approx(wavelength(12), rel=1e-6)  # not degree 0


def test_every_kept_time_has_its_own_peak(pair, no_compute):
    _, t = pair
    band = [t.isel(time=0).atmo.truncate(5), t.isel(time=0) - t.isel(time=0).atmo.truncate(20)]
    target = 1e-3 * t.isel(time=[0, 1]) + xr.concat(band, t.time[:2])
    prediction = target + 0.1 * xr.concat(band[:1] * 2, t.time[:2])
    score = metrics.effective_resolution(prediction, target, dim=("latitude", "longitude"))
    # One error at large scales: a hundredth of the first field, far above the second there; it stops neither.
    np.testing.assert_allclose(score, wavelength(31))
    with no_compute():
        lazy = metrics.effective_resolution(
            prediction.chunk(time=1), target.chunk(time=2), dim=("latitude", "longitude")
        )
    xr.testing.assert_allclose(lazy, score)


def test_relative_vorticity_of_a_real_flow():
    flow = datasets.barotropic(42, days=4, spin_up=6, variables=["vo"])["vo"].isel(time=slice(-3, None))
    smooth = flow.atmo.truncate(20)
    assert wavelength(21) < metrics.effective_resolution(smooth, flow).item() < wavelength(20)


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
    with pytest.raises(OptionError, match="criterion='best'; wanted one of"):
        metrics.effective_resolution(p, t, criterion="best")
    with pytest.raises(OptionError, match="kind='zonal'; wanted 'auto'"):
        metrics.effective_resolution(p, t, kind="zonal")
    with pytest.raises(OptionError, match="threshold=2; wanted a number between 0 and 1"):
        metrics.effective_resolution(p, t, threshold=2)
    with pytest.raises(MissingValueError, match="missing or infinite"):
        metrics.effective_resolution(p.where(p.time > 0), t)


def test_in_a_box_nothing_is_resolved_below_two_steps():
    lat, lon = np.arange(40, 48, 0.25), np.arange(0, 12, 0.25)
    noise = np.random.default_rng(0).normal(size=(lat.size, lon.size))
    t = xr.DataArray(noise, {"latitude": lat, "longitude": lon}, ("latitude", "longitude"))
    found = metrics.effective_resolution(t + 1e-6, t)
    step = EARTH_RADIUS * np.radians(0.25)
    assert 2 * step <= found.item() < 2.2 * step


def test_rings_and_planes(pair):
    p, t = (x.atmo.regrid(Grid.healpix(32), lmax=31) for x in pair)
    for criterion, at in (("skill", 16), ("coherence", 31)):
        found = metrics.effective_resolution(p, t, lmax=31, criterion=criterion)
        assert found.item() == pytest.approx(wavelength(at), rel=0.01)
    axes = {n: (n, 1e3 * np.arange(64), {"units": "m"}) for n in ("y", "x")}
    rng = np.random.default_rng(0)
    wave = xr.DataArray(rng.normal(size=(64, 64)), axes, ("y", "x"))
    smooth = (wave + wave.roll(x=1) + wave.roll(x=-1)) / 3
    smooth = (smooth + smooth.roll(y=1) + smooth.roll(y=-1)) / 3
    assert metrics.effective_resolution(smooth, wave).item() == pytest.approx(
        3.8e3, rel=0.1
    )  # where three points leave 0.29
    with pytest.raises(CoordinateError, match="no latitude coordinate found"):
        metrics.effective_resolution(wave.drop_vars(["x", "y"]), wave.drop_vars(["x", "y"]))
