"""The generated weather: one function of time and place, daily cycles after the sun, skill that falls with lead."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import integrate

from xatmo.datasets import diurnal_temperature
from xatmo.datasets._weather import Band, daily_response, declination, insolation_harmonics, spline_noise
from xatmo.errors import OptionError

SMALL = {"nlat": 14, "nlon": 18, "spacing": 1.2}


@pytest.fixture(scope="module")
def year() -> xr.Dataset:
    return diurnal_temperature("2019-01-01", 365, **SMALL)


def test_layout() -> None:
    ds = diurnal_temperature("2019-07-01", periods=3, step="6h")
    assert ds.t2m.dims == ("time", "latitude", "longitude")
    assert ds.t2m.shape == (3, 56, 92)
    assert ds.latitude.values[[0, -1]].tolist() == [54.9, 38.4]
    assert ds.longitude.values[[0, -1]].tolist() == [0.0, 27.3]
    assert {n: ds[n].attrs["units"] for n in ds} == {"t2m": "K", "t850": "K", "tcc": "1", "lsm": "1", "z": "m2 s-2"}
    assert all(ds[n].dtype == np.float32 for n in ds)
    assert ds.time.values[-1] == np.datetime64("2019-07-01T12")
    for name, (low, high) in {"tcc": (0, 1), "lsm": (0, 1), "z": (0, 3500 * 9.81)}.items():
        assert low <= float(ds[name].min()) < float(ds[name].max()) <= high


def test_function_of_time_and_place() -> None:
    """Other periods, steps, chunks and boxes show the same weather; other seeds another."""
    whole = diurnal_temperature("1969-12-28", 8, **SMALL)  # across the epoch
    part = diurnal_temperature(
        "1969-12-30T03", periods=11, step="3h", nlat=5, nlon=6, spacing=1.2, south_west=(40.8, 2.4)
    )
    same = whole.sel(time=part.time, latitude=part.latitude, longitude=part.longitude)
    for name in whole:
        xr.testing.assert_allclose(part[name], same[name], atol=2e-3 if name != "z" else 0.1)
    other = diurnal_temperature("1969-12-28", 8, seed=1, **SMALL)
    assert float(abs(other.t850 - whole.t850).mean()) > 1


def test_lazily_the_same(no_compute) -> None:
    with no_compute():
        lazy = diurnal_temperature("2019-03-01", 3, chunks=30, **SMALL)
    assert lazy.t2m.chunksizes["time"] == (30, 30, 12)
    xr.testing.assert_allclose(lazy.compute(), diurnal_temperature("2019-03-01", 3, **SMALL), atol=2e-3)


def test_noise_is_the_same_for_any_request_and_of_unit_variance() -> None:
    hours = np.arange(-3000.0, 3000.0, 0.7)
    noise = spline_noise(hours, 5.0, 40, (1, 2))
    np.testing.assert_array_equal(spline_noise(hours[2000:2010], 5.0, 40, (1, 2)), noise[2000:2010])
    assert noise.std() == pytest.approx(1, rel=0.02)
    step = noise[1:] - noise[:-1]
    assert np.abs(step).max() < 1.5  # smooth across blocks of knots too
    later = round(20 / 0.7) + 1  # four spacings
    assert abs((noise[:-later] * noise[later:]).mean()) < 0.03


def test_waves_have_unit_variance_and_their_wavelengths() -> None:
    band = Band(200, 800, -3.0, 6.0, 60, (0, 1))
    lat, lon = np.arange(40, 50, 0.5), np.arange(0, 20, 0.5)
    still = np.zeros((4000, 2))
    field = band.field(np.arange(4000.0) * 7, still, np.array([30.0, 5.0]), band.basis(lat, lon))
    assert field.var() == pytest.approx(1, rel=0.05)
    length = 2 * np.pi / np.hypot(*band.waves()[0].T)
    assert (length.min() > 200) & (length.max() < 800)


def test_waves_are_carried_by_the_wind() -> None:
    """Without changes of their amplitudes, waves of one speed move as one."""
    band = Band(400, 2000, -3.0, 1e9, 40, (0, 3))
    lat, lon = np.array([46.5]), np.linspace(0, 5, 51)
    km = 0.1 * 111.2 * np.cos(np.deg2rad(46.5))  # a column
    carried = np.array([[0.0, 0.0], [10 * km, 0.0]])
    before, after = band.field(np.zeros(2), carried, np.zeros(2), band.basis(lat, lon))
    np.testing.assert_allclose(after[10:], before[:-10], atol=1e-4)


@pytest.mark.parametrize("lat", [0.0, 38.0, 60.0, 85.0, -70.0])
def test_harmonics_of_the_sun(lat: float) -> None:
    """Closed forms against integrals, by equinox, solstice, polar day and polar night."""
    angle = np.linspace(-np.pi, np.pi, 20001)
    for d in (0.0, 0.2, 0.409, -0.409):
        sun = np.clip(
            np.sin(np.deg2rad(lat)) * np.sin(d) + np.cos(np.deg2rad(lat)) * np.cos(d) * np.cos(angle), 0, None
        )
        wanted = [integrate.trapezoid(sun * np.cos(k * angle), angle) / np.pi / (2 if k == 0 else 1) for k in range(5)]
        got = insolation_harmonics(np.array([lat]), np.array([d]))[:, 0, 0]
        np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_answer_to_the_sun_solves_the_relaxation() -> None:
    """Against a numerical solution of ``dT/dt = (s - T) / 3.5 h``, run until it repeats itself."""
    hours, d = np.arange(0, 24, 0.5), 0.3
    got = daily_response(hours, np.array([45.0]), np.array([30.0]), np.full(hours.size, d), 3.5, n=12)[:, 0, 0]

    def sun(t: float) -> float:
        angle = 2 * np.pi * (t - 12 + 2) / 24  # 30 degrees east are two hours ahead
        return max(np.sin(np.pi / 4) * np.sin(d) + np.cos(np.pi / 4) * np.cos(d) * np.cos(angle), 0)

    solved = integrate.solve_ivp(lambda t, y: (sun(t) - y) / 3.5, (0, 120), [0.3], t_eval=96 + hours, max_step=0.1).y[0]
    np.testing.assert_allclose(got, solved - solved.mean(), atol=2e-3)


def test_declination() -> None:
    days = np.array([172.0, 355.0, 80.0])  # solstices and equinox
    np.testing.assert_allclose(np.rad2deg(declination(days)), [23.44, -23.44, 0], atol=0.7)


# ---------------------------------------------------------------------- climate
def daily_range(t2m: xr.DataArray) -> xr.DataArray:
    days = t2m.resample(time="1D")
    return (days.max() - days.min()).mean("time")


def test_daily_cycle(year: xr.Dataset) -> None:
    land, sea = year.lsm > 0.9, year.lsm < 0.1
    summer, winter = (year.t2m.sel(time=slice(f"2019-0{m}-01", f"2019-0{m}-28")) for m in (7, 1))
    assert 7 < float(daily_range(summer).where(land).mean()) < 13
    assert float(daily_range(summer).where(sea).mean()) < 4
    assert float(daily_range(winter).where(land).mean()) < 0.75 * float(daily_range(summer).where(land).mean())
    # The warmest hour over land follows local solar time: 24 degrees further east, it is 1.6 hours earlier.
    cycle = summer.where(land).groupby("time.hour").mean().mean("latitude").dropna("longitude")
    wave = (cycle * np.exp(2j * np.pi * cycle.hour / 24)).sum("hour")
    peak = (np.angle(wave.values) * 24 / (2 * np.pi)) % 24 + cycle.longitude.values / 15
    assert np.abs(peak - 14.8).max() < 0.3


def test_cloud_damps_the_daily_cycle(year: xr.Dataset) -> None:
    land = year.lsm > 0.9
    days = year.sel(time=slice("2019-06-01", "2019-08-31")).resample(time="1D")
    range_, cover = (days.max() - days.min()).t2m.where(land), days.mean().tcc
    assert float(range_.where(cover < 0.2).mean()) > 1.5 * float(range_.where(cover > 0.8).mean())


def test_seasons_and_heights(year: xr.Dataset) -> None:
    land = year.lsm > 0.9
    monthly = year.t2m.groupby("time.month").mean()
    cycle = monthly.max("month") - monthly.min("month")
    assert 15 < float(cycle.where(land).mean()) < 24
    assert 7 < float(cycle.where(year.lsm < 0.1).mean()) < 13
    mean, height = year.t2m.mean("time").where(land), (year.z / 9.80665).where(land)
    north = (mean.latitude - 38) * 0.65
    slope = np.polyfit(height.values[land.values], (mean + north).values[land.values], 1)[0]
    assert slope == pytest.approx(-0.0065, abs=0.001)
    assert 0.35 < float(year.tcc.mean()) < 0.65


def test_skill_falls_with_lead(year: xr.Dataset) -> None:
    """An anomaly that persists beats the climatology for a day, ever less; as in ERA5 its memory is about a day."""
    usual = year.t2m.groupby(year.time.dt.month * 100 + year.time.dt.hour)
    anomaly = (usual - usual.mean()).values.astype(float)
    variance = (anomaly**2).mean()
    memory = [(anomaly[:-lag] * anomaly[lag:]).mean() / variance for lag in (1, 3, 6, 12, 24, 72)]
    assert np.all(np.diff(memory) < 0)
    np.testing.assert_allclose(memory, [0.98, 0.9, 0.78, 0.62, 0.42, 0.05], atol=0.1)
    assert 4.5 < variance < 9


def test_fronts_travel_eastward(year: xr.Dataset) -> None:
    """What is at a place now is seen further east hours later, better than at the place itself."""
    t850 = (year.t850 - year.t850.rolling(time=24 * 15, center=True, min_periods=24).mean()).values
    lag, columns = 9, 2  # 234 km and 2 x 92 km
    east = np.corrcoef(t850[:-lag, :, :-columns].ravel(), t850[lag:, :, columns:].ravel())[0, 1]
    west = np.corrcoef(t850[:-lag, :, columns:].ravel(), t850[lag:, :, :-columns].ravel())[0, 1]
    stay = np.corrcoef(t850[:-lag].ravel(), t850[lag:].ravel())[0, 1]
    assert east > stay + 0.01
    assert stay > west + 0.03


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"periods": 0}, "number of times 0 came; wanted 1 or more"),
        ({"n_days": 0}, "number of times 0 came"),
        ({"step": "-1h"}, "step -1 days .* came; wanted a time longer than zero"),
        ({"nlat": 0}, "nlat 0 came"),
        ({"nlon": 0}, "nlon 0 came"),
        ({"chunks": 0}, "chunks 0 came"),
        ({"spacing": 0.0}, "spacing 0 came; wanted degrees above zero"),
        ({"south_west": (80.0, 0.0)}, "rows from 80 to 96.5 degrees north came; wanted -90 to 90"),
        ({"nlon": 1300}, "1300 columns of 0.3 degree came, more than once around the globe"),
    ],
)
def test_settings_out_of_range(settings: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        diurnal_temperature(**settings)
