"""A seasonal forecast and a reanalysis of the same generated weather, each in the layout of its archive."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import xarray as xr

from xatmo.errors import OptionError
from xatmo.typing import Floats

_LAPSE: Final = 0.0065  # K m-1
_DECORRELATION: Final = 4.0  # days of the weather's waves
_PREDICTABILITY: Final = 20.0  # days after which 1/e of them is known
_N_WAVES: Final = 12
_DAY: Final = np.timedelta64(1, "D")


class Seasonal(NamedTuple):
    """What `seasonal` gives.

    Attributes
    ----------
    forecast : Dataset
        ``t2m (number, forecast_reference_time, forecast_period, latitude, longitude)`` in K, with ``valid_time``.
    reanalysis : Dataset
        ``t2m (time, latitude, longitude)`` in K, for all valid times.
    static : Dataset
        ``z``, height in m, and ``lsm``, part of land, ``(latitude, longitude)`` on the points of the reanalysis.
    """

    forecast: xr.Dataset
    reanalysis: xr.Dataset
    static: xr.Dataset


def seasonal(
    years: tuple[int, int] = (2001, 2003), *, months: tuple[int, ...] = (1, 7), leads: int = 10, members: int = 5,
    seed: int = 0,
) -> Seasonal:  # fmt: skip
    """Daily 2 m temperature over 12 by 16 degrees of mountains and sea, forecast at 1 degree, analysed at 0.25 degree.

    The forecast lies as C3S's seasonal forecasts do on the Climate Data Store: points at half degrees, starts on the
    first of the month, leads of 24 h and its multiples, members. The reanalysis lies as ERA5: points at multiples of a
    quarter of a degree, rows from the north. Points of the one are not centres of blocks of the other.

    Temperature is a seasonal cycle, stronger over land, minus 6.5 K per km of height, plus large-scale waves whose
    amplitudes decorrelate within days, stronger over land, and twice as strong in valleys. Of the waves a part is known
    at the start: truth and members have the amplitudes ``r s + (1 - r^2)^(1/2) e``, ``r = exp(-lead / 20 days)``, with
    one ``s`` for all and an ``e`` for each, so that the truth is as one more member. The forecast sees smooth
    mountains, and drifts by -2 K within its leads.

    Parameters
    ----------
    years : (int, int)
        First and last year of the starts.
    months : tuple of int
        Months of the starts.
    leads, members : int
    seed : int

    Returns
    -------
    Seasonal

    Raises
    ------
    OptionError
        If there are no starts, leads or members.

    Examples
    --------
    >>> made = seasonal((2001, 2001), members=2, leads=3)
    >>> dict(made.forecast.sizes)
    {'number': 2, 'forecast_reference_time': 2, 'forecast_period': 3, 'latitude': 14, 'longitude': 18}
    >>> made.reanalysis.t2m.shape, made.forecast.latitude.values[:2], made.reanalysis.longitude.values[:2]
    ((6, 48, 64), array([51.5, 50.5]), array([4.  , 4.25]))
    """
    starts = [f"{y}-{m:02d}-01" for y in range(years[0], years[1] + 1) for m in months]
    for what, n in (("starts", len(starts)), ("leads", leads), ("members", members)):
        if n < 1:
            message = f"no {what} came (years {years}, months {months}, {leads} leads, {members} members); wanted some"
            raise OptionError(message)
    rng = np.random.default_rng(seed)
    start = np.array(starts, dtype="M8[ns]")
    lead = np.arange(1, leads + 1) * _DAY.astype("m8[ns]")
    valid = start[:, None] + lead
    fine_lat, fine_lon = np.arange(50.0, 38.0, -0.25), np.arange(4.0, 20.0, 0.25)
    coarse_lat, coarse_lon = np.arange(51.5, 37.5, -1.0), np.arange(3.5, 21.0, 1.0)
    waves = rng.uniform(0.15, 0.6, (2, _N_WAVES)), rng.uniform(0, 2 * np.pi, _N_WAVES)

    # Amplitudes of the waves, a series through the leads of each start: what is known, and what becomes of it.
    memory = np.exp(-1 / _DECORRELATION)
    signal = _series(rng, (start.size, leads, _N_WAVES), memory, axis=1)
    chance = _series(rng, (members + 1, start.size, leads, _N_WAVES), memory, axis=2)
    known = np.exp(-np.arange(1, leads + 1) / _PREDICTABILITY)[:, None]
    every = known * signal + np.sqrt(1 - known**2) * chance
    truth, guess = every[0], every[1:]

    height, land = _terrain(fine_lat, fine_lon, detail=True)
    smooth, coarse_land = _terrain(coarse_lat, coarse_lon, detail=False)
    valley = np.clip(_terrain(fine_lat, fine_lon, detail=False)[0] - height, 0, None) / 500.0
    season = np.cos(2 * np.pi * (_day_of_year(valid) - 200) / 365.25)
    analysed = _temperature(truth, season, height, land, valley, _patterns(fine_lat, fine_lon, waves))
    predicted = _temperature(
        guess, season, smooth, coarse_land, np.zeros_like(smooth), _patterns(coarse_lat, coarse_lon, waves)
    )
    predicted = predicted - 2.0 * (np.arange(1, leads + 1) / leads)[:, None, None]

    lat = {"units": "degrees_north", "standard_name": "latitude"}
    lon = {"units": "degrees_east", "standard_name": "longitude"}
    kelvin = {"units": "K", "long_name": "2 metre temperature", "standard_name": "air_temperature"}
    first, period = "forecast_reference_time", "forecast_period"
    forecast = xr.Dataset(
        {"t2m": (("number", first, period, "latitude", "longitude"), predicted.astype(np.float32), kelvin)},
        {
            "number": ("number", np.arange(members), {"standard_name": "realization"}),
            first: (first, start, {"standard_name": "forecast_reference_time"}),
            period: (period, lead, {"standard_name": "forecast_period"}),
            "latitude": ("latitude", coarse_lat, lat),
            "longitude": ("longitude", coarse_lon, lon),
            "valid_time": ((first, period), valid, {"standard_name": "time"}),
        },
    )
    times, at = np.unique(valid, return_index=True)
    place = {"latitude": ("latitude", fine_lat, lat), "longitude": ("longitude", fine_lon, lon)}
    flat = analysed.reshape(-1, *height.shape)[at].astype(np.float32)
    reanalysis = xr.Dataset({"t2m": (("time", "latitude", "longitude"), flat, kelvin)}, {"time": times, **place})
    static = xr.Dataset(
        {
            "z": (("latitude", "longitude"), height.astype(np.float32), {"units": "m", "long_name": "height"}),
            "lsm": (("latitude", "longitude"), land.astype(np.float32), {"units": "1", "long_name": "part of land"}),
        },
        place,
    )
    return Seasonal(forecast, reanalysis, static)


def _series(rng: np.random.Generator, shape: tuple[int, ...], memory: float, *, axis: int) -> Floats:
    """Draw standard normal series with correlation ``memory`` from one step to the next along ``axis``."""
    out = np.moveaxis(rng.standard_normal(shape), axis, 0)
    for t in range(1, out.shape[0]):
        out[t] = memory * out[t - 1] + np.sqrt(1 - memory**2) * out[t]
    return np.moveaxis(out, 0, axis)


def _patterns(lat: Floats, lon: Floats, waves: tuple[Floats, Floats]) -> Floats:
    """Plane waves in degrees, ``(wave, lat, lon)``."""
    (k, m), phase = waves
    return np.asarray(np.cos(k[:, None, None] * lon + m[:, None, None] * lat[:, None] + phase[:, None, None]))


def _terrain(lat: Floats, lon: Floats, *, detail: bool) -> tuple[Floats, Floats]:
    """Height in m and part of land: a range of mountains, with ridges and valleys or without, and a sea south of it."""
    y, x = lat[:, None], lon[None, :]
    range_of = 1800 * np.exp(-(((y - 46.5 + 0.06 * (x - 12)) / 1.6) ** 2)) * np.exp(-(((x - 11) / 5.5) ** 4))
    if detail:
        range_of = range_of * (1 + 0.45 * np.cos(2 * np.pi * x / 1.3) * np.cos(2 * np.pi * (y - 0.2 * x) / 1.7))
    land = 1 / (1 + np.exp(-(y - 43.5 - 0.8 * np.sin(0.9 * x)) / (0.15 if detail else 0.5)))
    return np.asarray((range_of + 150) * land), np.asarray(land + 0 * x)


def _temperature(
    amplitudes: Floats, season: Floats, height: Floats, land: Floats, valley: Floats, patterns: Floats
) -> Floats:
    """Temperature in K, ``(..., start, lead, lat, lon)``."""
    weather = np.einsum("...k,kyx->...yx", amplitudes, patterns) * (3.0 * np.sqrt(2 / _N_WAVES))
    mean = 286.0 - _LAPSE * height
    cycle = (5.0 + 5.0 * land) * season[..., None, None]
    return np.asarray(mean + cycle + weather * (0.4 + 0.6 * land) * (1 + valley))


def _day_of_year(times: np.ndarray[tuple[int, ...], np.dtype[np.datetime64]]) -> Floats:
    return np.asarray((times - times.astype("M8[Y]")) / _DAY, dtype=np.float64)
