"""Generated hourly temperature: days and seasons, land and sea, mountains, clouds and fronts that pass."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import pandas as pd
import xarray as xr

from xatmo import cf
from xatmo.datasets._weather import Band, daily_response, declination, place, spline_noise
from xatmo.errors import OptionError
from xatmo.typing import Floats

_GRAVITY: Final = 9.80665
_LAPSE: Final = 0.0065  # K m-1
_HIGHEST: Final = 3500.0  # m that mountains level off below
_BATCH: Final = 120  # times evaluated together
_MEAN_WIND: Final = np.array([26.0, 4.0])  # km h-1, eastward and northward
_WANDER: Final = 800.0  # km that changes of the wind carry weather to and fro
_FIELDS: Final = ("t2m", "t850", "tcc")
_ATTRS: Final = {
    "t2m": {"standard_name": "air_temperature", "long_name": "2 metre temperature", "units": "K"},
    "t850": {"standard_name": "air_temperature", "long_name": "temperature at 850 hPa", "units": "K"},
    "tcc": {"standard_name": "cloud_area_fraction", "long_name": "total cloud cover", "units": "1"},
    "lsm": {"standard_name": "land_area_fraction", "long_name": "land-sea mask", "units": "1"},
    "z": {"standard_name": "surface_geopotential", "long_name": "geopotential of the surface", "units": "m2 s-2"},
}  # fmt: skip


def diurnal_temperature(
    start: str | np.datetime64 | pd.Timestamp = "2019-01-01",
    n_days: float = 30,
    *,
    periods: int | None = None,
    step: str | pd.Timedelta = "1h",
    nlat: int = 56,
    nlon: int = 92,
    spacing: float = 0.3,
    south_west: tuple[float, float] = (38.4, 0.0),
    seed: int = 0,
    chunks: int | None = None,
) -> xr.Dataset:
    """Make weather with a daily cycle: 2 m temperature, temperature at 850 hPa and cloud cover, as ERA5 names them.

    2 m temperature is the sum of

    - a mean by latitude, minus 6.5 K per km of height, with an annual cycle, larger and earlier over land;
    - the answer of a ground that relaxes within 3.5 hours to the height of the sun at local solar time: ranges of some
      10 K over land in summer, half a kelvin over the sea, and in both up to 70 % less under cloud;
    - air masses with fronts between them, carried by a wind that changes, strongest over land and in winter;
    - smaller eddies, carried along, that live for some hours.

    Temperature at 850 hPa has the same air masses and hardly a daily cycle; clouds lie along fronts and by themselves.
    Fronts come from outside, grow and vanish with memories from some hours to two days: forecasts have to advect, and
    lose skill with lead.

    Every value is a function of seed, place and absolute time: two requests that overlap agree to rounding, and with
    ``chunks`` any period is made piece by piece. A year of hours on the default grid takes some seconds.

    Parameters
    ----------
    start : str or datetime64
        First time, UTC.
    n_days : float
        Length; the end is left out.
    periods : int, optional
        Number of times, instead of ``n_days``.
    step : str or timedelta
        Between times.
    nlat, nlon : int
        Rows and columns.
    spacing : float
        Degrees between them.
    south_west : (float, float)
        Latitude and longitude of the south-western corner. The default grid is the one on which learned forecasts of
        European 2 m temperature were compared by Gong et al. (2022).
    seed : int
        Of coasts, mountains and weather.
    chunks : int, optional
        Times to a Dask chunk, computed on demand; NumPy, at once, unless given.

    Returns
    -------
    Dataset
        ``t2m``, ``t850`` in K and ``tcc``, 0 to 1, ``(time, latitude, longitude)``; ``lsm``, part of land, 0 to 1, and
        ``z``, geopotential of the surface in m2 s-2, ``(latitude, longitude)``; float32, rows from the north.

    Raises
    ------
    OptionError
        If a setting is out of range.

    References
    ----------
    Gong et al. (2022): Temperature forecasting by deep learning methods, Geosci. Model Dev. 15, 8931-8956.

    Examples
    --------
    >>> ds = diurnal_temperature("2019-07-01", 2, nlat=8, nlon=10)
    >>> ds.t2m.shape, ds.t2m.attrs["units"], list(ds)
    ((48, 8, 10), 'K', ['t2m', 't850', 'tcc', 'lsm', 'z'])
    >>> later = diurnal_temperature("2019-07-02", 1, nlat=8, nlon=10)
    >>> bool(abs(later.t2m - ds.t2m.sel(time=later.time)).max() < 1e-3)
    True
    """
    every = pd.Timedelta(step)
    first = np.datetime64(pd.Timestamp(start), "ns")
    count = round(n_days * 86400 / max(every.total_seconds(), 1e-9)) if periods is None else periods
    lat0, lon0 = south_west
    _check(count, every, nlat, nlon, spacing, lat0, chunks)
    lat = np.round(lat0 + spacing * np.arange(nlat), 10)[::-1]
    lon = np.round(lon0 + spacing * np.arange(nlon), 10)
    times = first + np.arange(count) * every.to_timedelta64().astype("timedelta64[ns]")
    fields = Weather(tuple(lat), tuple(lon), seed)
    values: Any
    if chunks is None:
        values = fields(times)
    else:
        import dask.array as da

        lengths = [min(chunks, count - at) for at in range(0, count, chunks)]
        map_blocks: Any = da.map_blocks
        values = map_blocks(
            _block, chunks=((len(_FIELDS),), tuple(lengths), (nlat,), (nlon,)), dtype=np.float32, fields=fields,
            times=times, meta=np.empty((0, 0, 0, 0), np.float32),
        )  # fmt: skip
    land, height = fields.surface()
    place_of = ("latitude", "longitude")
    ds = xr.Dataset(
        {
            **{name: (("time", *place_of), values[i], _ATTRS[name]) for i, name in enumerate(_FIELDS)},
            "lsm": (place_of, land.astype(np.float32), _ATTRS["lsm"]),
            "z": (place_of, (_GRAVITY * height).astype(np.float32), _ATTRS["z"]),
        },
        {
            "time": ("time", times, {"standard_name": "time", "axis": "T"}),
            "latitude": ("latitude", lat, {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"}),
            "longitude": ("longitude", lon, {"standard_name": "longitude", "units": "degrees_east", "axis": "X"}),
        },
        {"Conventions": "CF-1.11", "title": "Generated hourly weather", "source": "generated: travelling random waves"},
    )
    call = cf.describe_call(
        "datasets.diurnal_temperature", start=str(start), periods=count, step=str(step), nlat=nlat, nlon=nlon,
        spacing=spacing, south_west=tuple(map(float, south_west)), seed=seed,
    )  # fmt: skip
    return cf.add_history(ds, call)


def _check(
    count: int, every: pd.Timedelta, nlat: int, nlon: int, spacing: float, lat0: float, chunks: int | None
) -> None:
    if every <= pd.Timedelta(0):
        message = f"step {every} came; wanted a time longer than zero"
        raise OptionError(message)
    for name, value in (("number of times", count), ("nlat", nlat), ("nlon", nlon), ("chunks", chunks)):
        if value is not None and value < 1:
            message = f"{name} {value} came; wanted 1 or more"
            raise OptionError(message)
    if spacing <= 0:
        message = f"spacing {spacing:g} came; wanted degrees above zero"
        raise OptionError(message)
    if not -90 <= lat0 <= lat0 + spacing * (nlat - 1) <= 90:
        message = f"rows from {lat0:g} to {lat0 + spacing * (nlat - 1):g} degrees north came; wanted -90 to 90"
        raise OptionError(message)
    if spacing * nlon > 360:
        message = f"{nlon} columns of {spacing:g} degree came, more than once around the globe; wanted 360 at most"
        raise OptionError(message)


def _block(block_info: Any, fields: Weather, times: Any) -> Floats:
    start, stop = block_info[None]["array-location"][1]
    return fields(times[start:stop])


# ---------------------------------------------------------------------- the weather
@dataclass(frozen=True)
class Weather:
    """The generated weather at some points, evaluated at any times.

    Attributes
    ----------
    lat, lon : tuple of float
        Degrees.
    seed : int
    """

    lat: tuple[float, ...]
    lon: tuple[float, ...]
    seed: int

    def surface(self) -> tuple[Floats, Floats]:
        """Part of land, 0 to 1, and height in m, ``(lat, lon)``."""
        return _surface(self)

    def bands(self) -> dict[str, Band]:
        """Waves of the air masses, of eddies in them, and of clouds."""
        return {
            "masses": Band(900, 8000, -3.3, 42.0, 60, (self.seed, 1)),
            "eddies": Band(280, 900, -3.0, 12.0, 70, (self.seed, 2)),
            "small": Band(90, 280, -3.0, 5.0, 60, (self.seed, 3)),
            "decks": Band(300, 2500, -2.0, 12.0, 70, (self.seed, 4)),
            "cumulus": Band(80, 300, -2.0, 4.0, 60, (self.seed, 5)),
        }

    def __call__(self, times: np.ndarray[Any, np.dtype[np.datetime64]]) -> Floats:
        """``t2m``, ``t850`` and ``tcc`` at times, ``(3, time, lat, lon)``, float32."""
        out = np.empty((len(_FIELDS), times.size, len(self.lat), len(self.lon)), np.float32)
        for at in range(0, times.size, _BATCH):
            out[:, at : at + _BATCH] = self._batch(times[at : at + _BATCH])
        return out

    def _batch(self, times: np.ndarray[Any, np.dtype[np.datetime64]]) -> Floats:
        lat, lon = np.array(self.lat), np.array(self.lon)
        hours = (times - np.datetime64(0, "ns")) / np.timedelta64(1, "h")
        day = (times - times.astype("M8[Y]")) / np.timedelta64(1, "D")
        carried = _WANDER * spline_noise(hours, 48.0, 2, (self.seed, 6))
        wave = {
            name: band.field(hours, carried, _MEAN_WIND, _basis(band, self.lat, self.lon)).reshape(
                -1, lat.size, lon.size
            )
            for name, band in self.bands().items()
        }
        land, height = (part.astype(np.float32) for part in self.surface())

        # Cloud: sheets along fronts, where the air mass changes, and by themselves; small ones break them up.
        mass = wave["masses"]
        sheets = 1.1 * np.exp(-((mass / np.float32(0.45)) ** 2)) + 0.55 * wave["decks"]
        cover = np.clip(sheets + 0.22 * wave["cumulus"] + np.float32(0.12), 0, 1)
        shade = 1 / (1 + np.exp(np.float32(-4) * (sheets - np.float32(0.4))))  # felt by the ground, smooth in time

        winter = np.cos(2 * np.pi * (day - 15) / 365.25)[:, None] * np.tanh(lat / 15)  # 1 in winter, -1 in summer
        autumn = np.cos(2 * np.pi * (day - 45) / 365.25)[:, None] * np.tanh(lat / 15)  # the sea follows a month later
        winter, autumn = (s.astype(np.float32)[:, :, None] for s in (winter, autumn))
        sun = daily_response(24 * (day % 1), lat, lon, declination(day), 3.5)
        north = (np.abs(lat) - 38).astype(np.float32)[:, None]

        strong = (1 + np.float32(0.15) * winter) * (np.float32(0.55) + np.float32(0.45) * land)
        front = np.tanh(np.float32(1.6) * mass)
        t2m = np.float32(290.5) - np.float32(0.65) * north - np.float32(_LAPSE) * height
        t2m = t2m - (np.float32(9.5) * land * winter + np.float32(5.0) * (1 - land) * autumn)
        t2m = t2m + (np.float32(0.6) + np.float32(16.4) * land) * (1 - np.float32(0.7) * shade) * sun
        t2m = t2m + strong * (np.float32(3.6) * front + wave["eddies"] + np.float32(0.35) * wave["small"])
        t850 = np.float32(282.0) - np.float32(0.6) * north - np.float32(7.5) * winter
        t850 = t850 + (1 + np.float32(0.15) * winter) * (
            np.float32(4.2) * front + np.float32(0.8) * wave["eddies"] + np.float32(0.15) * wave["small"]
        )
        t850 = t850 + np.float32(1.6) * land * sun
        return np.stack([t2m, t850, cover])


@lru_cache(maxsize=16)
def _basis(band: Band, lat: tuple[float, ...], lon: tuple[float, ...]) -> Floats:
    return band.basis(np.array(lat), np.array(lon))


@lru_cache(maxsize=4)
def _surface(weather: Weather) -> tuple[Floats, Floats]:
    """Coasts and mountains from waves that stand still: land is where a rough surface rises above the sea."""
    lat, lon = np.array(weather.lat), np.array(weather.lon)
    x, y = place(lat, lon)
    rough = []
    for number, (shortest, longest, slope) in enumerate(((60.0, 2500.0, -2.6), (80.0, 900.0, -2.2))):
        band = Band(shortest, longest, slope, 1.0, 160, (weather.seed, 10 + number))
        vector, amplitude, _ = band.waves()
        shift = np.random.default_rng([weather.seed, 20 + number]).uniform(0, 2 * np.pi, band.n_waves)
        phase = vector[:, 0, None, None] * x + vector[:, 1, None, None] * y[:, None] + shift[:, None, None]
        rough.append(np.sqrt(2) * np.tensordot(amplitude, np.cos(phase), 1))
    above = rough[0] + 0.35
    land = 1 / (1 + np.exp(-above / 0.04))
    height = 60 + 500 * np.clip(above, 0, None) ** 1.5 * np.exp(0.45 * rough[1])
    height = land * (_HIGHEST * np.tanh(height / _HIGHEST))
    return np.asarray(land), np.asarray(height)
