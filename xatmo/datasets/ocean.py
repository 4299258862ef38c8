"""A generated sea surface: eddies that drift west, are stirred by the larger ones, and are renewed over weeks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xatmo import cf
from xatmo.constants import EARTH_RADIUS, EARTH_ROTATION, GRAVITY
from xatmo.errors import OptionError
from xatmo.grids import Grid
from xatmo.typing import Complexes, Floats, XarrayObject

_STIRRING_STEP = 21600.0  # seconds between stirrings: currents of 0.5 m/s go 11 km
_MAX_SPAN = 40.0  # degrees of latitude that a plane stands for
_LOWEST_LATITUDE = 8.0  # below which geostrophy, and with it the stirring, is held


def sea_level(
    latitude: tuple[float, float] = (33.0, 43.0),
    longitude: tuple[float, float] = (-65.0, -55.0),
    *,
    step: float = 0.2,
    grid: Grid | XarrayObject | None = None,
    start: str | np.datetime64 = "2012-10-01",
    days: float = 60,
    output_every: str | pd.Timedelta = "1D",
    std: float = 0.3,
    length_scale: float = 400e3,
    slope: float = 4.5,
    memory: str | pd.Timedelta = "30D",
    drift: float = 0.04,
    stirring: float = 1.0,
    land: float | xr.DataArray | None = None,
    seed: int = 0,
    dtype: Any = "float32",
) -> xr.Dataset:
    """Draw daily maps of sea surface height on a box of the mid-latitude ocean.

    Every wave of wavenumber k has the variance of a spectrum that along any line is
    (1 + (k / k0)^2)^(-slope / 2), with k0 = 2 pi / ``length_scale``: flat, then steep. It moves west at
    ``drift`` / (1 + (k / k0)^2), as long Rossby waves outrun short ones, and is forgotten and renewed over ``memory`` /
    sqrt(1 + (k / k0)^2). What is smaller than ``length_scale`` is moreover carried by the geostrophic currents of what
    is larger: filaments form, the small scales depend on the flow, and no fixed covariance tells everything. This
    brings some variance to waves of 40 to 150 km (by default a slope of about -3.6 between 250 and 70 km).

    Without stirring the field is Gaussian and exact for any time between maps. Distances are those at the middle of the
    box. Computed at once: 60 days of 50 x 50 points take less than a second.

    Parameters
    ----------
    latitude, longitude : (float, float)
        South and north, west and east edge of the box in degrees.
    step : float
        Spacing in degrees; the points are the centres of the cells.
    grid : Grid or Dataset or DataArray, optional
        Evenly spaced points, instead of the box and the step.
    start : str or datetime64
        Time of the first map.
    days : float
        Length.
    output_every : str or timedelta
        Time between maps.
    std : float
        Standard deviation in m: 0.3 in western boundary currents, 0.05 in quiet seas.
    length_scale : float
        Wavelength in m at which the spectrum turns.
    slope : float
        Of the spectrum along a line, beyond; above 1.
    memory : str or timedelta
        Time after which the longest waves are renewed.
    drift : float
        Westward speed of the longest waves in m s-1.
    stirring : float
        Factor to the currents that carry the smaller scales; 0 for a Gaussian field.
    land : float or DataArray, optional
        Part of the box that a coast in the west takes up, or a mask on the grid that is true on land; NaN there.
    seed : int
        Of waves and coast.
    dtype : dtype
        Of the maps.

    Returns
    -------
    Dataset (time, latitude, longitude)
        ``ssh``: sea surface height above the geoid in m.

    Raises
    ------
    OptionError
        If the box is too large, or a setting is out of range.

    Examples
    --------
    >>> ds = sea_level(days=5)
    >>> dict(ds.sizes), ds["ssh"].attrs["units"]
    ({'time': 5, 'latitude': 50, 'longitude': 50}, 'm')
    """
    every, fades = (pd.Timedelta(x).total_seconds() for x in (output_every, memory))
    nodes = _nodes(latitude, longitude, step, grid)
    if not (every > 0 and days > 0 and fades > 0 and length_scale > 0 and std >= 0 and stirring >= 0 and slope > 1):
        message = (
            f"days={days}, output_every={output_every!r}, memory={memory!r}, length_scale={length_scale}, std={std}, "
            f"stirring={stirring}, slope={slope}; wanted positive numbers, and a slope above 1"
        )
        raise OptionError(message)
    generator = np.random.default_rng(seed)
    sea = _Sea(nodes, std, length_scale, slope, fades, drift, stirring)
    count = max(round(days * 86400 / every), 1)
    parts = int(np.ceil(every / _STIRRING_STEP)) if stirring else 1
    maps = np.empty((count, *nodes.shape), dtype)
    state = sea.spin_up(generator, every / parts)
    for k in range(count):
        for _ in range(parts if k else 0):
            state = sea.advance(state, every / parts, generator)
        maps[k] = sea.height(state)

    dry = _land(land, nodes, generator)
    maps[:, dry] = np.nan
    time = np.datetime64(pd.Timestamp(start), "ns") + (np.arange(count) * every * 1e9).astype("timedelta64[ns]")
    coords = {"time": ("time", time, {"standard_name": "time", "axis": "T"}), **nodes.coords()}
    ssh = {
        "standard_name": "sea_surface_height_above_geoid",
        "long_name": "sea surface height",
        "units": "m",
    }
    out = xr.Dataset(
        {"ssh": (("time", "latitude", "longitude"), maps, ssh)},
        coords,
        {"Conventions": "CF-1.11", "title": "Drifting and stirred mesoscale sea level", "source": "generated"},
    )
    call = cf.describe_call(
        "datasets.sea_level", std=std, length_scale=length_scale, slope=slope, memory=str(memory), drift=drift,
        stirring=stirring, seed=seed,
    )  # fmt: skip
    return cf.add_history(out, call)


class _Sea:
    """Waves on a periodic plane that is larger than the box, so that its edges do not know of each other."""

    def __init__(
        self, grid: Grid, std: float, length_scale: float, slope: float, memory: float, drift: float, stirring: float
    ) -> None:
        middle = float(grid.latitude.mean())
        self.rows = slice(None) if grid.latitude[-1] > grid.latitude[0] else slice(None, None, -1)
        self.inside = grid.shape
        dy = np.radians(abs(grid.latitude[1] - grid.latitude[0])) * EARTH_RADIUS
        dx = np.radians(grid.longitude[1] - grid.longitude[0]) * EARTH_RADIUS * np.cos(np.radians(middle))
        self.spacing = dy, dx
        self.shape = tuple(
            _good_size(n + int(1.5 * length_scale / d)) for n, d in zip(grid.shape, (dy, dx), strict=True)
        )
        y = 2 * np.pi * np.fft.fftfreq(self.shape[0], dy)[:, None]
        x = 2 * np.pi * np.fft.rfftfreq(self.shape[1], dx)[None, :]
        self.waves = y, x
        scale2 = (y**2 + x**2) * (length_scale / (2 * np.pi)) ** 2
        # A plane's density falls one power faster than the spectrum along a line.
        density = (1 + scale2) ** (-(slope + 1) / 2)
        twice = np.full(x.size, 2.0)
        twice[0] = 1
        if self.shape[1] % 2 == 0:
            twice[-1] = 1
        self.size = std * np.sqrt(density * np.prod(self.shape) / (density * twice).sum())
        self.rate = np.sqrt(1 + scale2) / memory
        self.turning = 1j * x * drift / (1 + scale2)
        self.large = np.exp(-(scale2**2))
        lowest = max(abs(middle), _LOWEST_LATITUDE) * (1 if middle >= 0 else -1)
        self.geostrophy = stirring * GRAVITY / (2 * EARTH_ROTATION * np.sin(np.radians(lowest)))

    def draw(self, generator: np.random.Generator) -> Complexes:
        """Waves of the wanted spectrum."""
        return np.asarray(np.fft.rfft2(generator.normal(size=self.shape)) * self.size)

    def spin_up(self, generator: np.random.Generator, seconds: float) -> Complexes:
        """Draw a state and stir it for some of the small scales' lifetimes."""
        state = self.draw(generator)
        for _ in range(int(20 * 86400 / seconds) if self.geostrophy else 0):
            state = self.advance(state, seconds, generator)
        return state

    def advance(self, state: Complexes, seconds: float, generator: np.random.Generator) -> Complexes:
        """Let waves drift, fade and be renewed; carry the small with the currents of the large."""
        keep = np.exp(-self.rate * seconds)
        state = keep * np.exp(self.turning * seconds) * state + np.sqrt(1 - keep**2) * self.draw(generator)
        return self._stir(state, seconds) if self.geostrophy else state

    def _stir(self, state: Complexes, seconds: float) -> Complexes:
        from scipy.ndimage import map_coordinates

        y, x = self.waves
        large = self.large * state
        u, v = (self._field(wave * large) for wave in (-1j * y * self.geostrophy, 1j * x * self.geostrophy))
        small = self._field(state - large)
        j, i = np.meshgrid(np.arange(self.shape[0]), np.arange(self.shape[1]), indexing="ij")
        origin = [j - v * seconds / self.spacing[0], i - u * seconds / self.spacing[1]]
        carried = map_coordinates(small, origin, order=3, mode="grid-wrap")
        return np.asarray(large + np.fft.rfft2(carried))

    def _field(self, waves: Complexes) -> Floats:
        return np.asarray(np.fft.irfft2(waves, self.shape))

    def height(self, state: Complexes) -> Floats:
        """Sea surface height on the box, in its row order."""
        rows, columns = self.inside
        return self._field(state)[:rows, :columns][self.rows]


def _nodes(latitude: Any, longitude: Any, step: float, grid: Any) -> Grid:
    if grid is None:
        (south, north), (west, east) = latitude, longitude
        if not (step > 0 and -90 <= south < north <= 90 and west < east):
            message = (
                f"latitude={latitude}, longitude={longitude}, step={step}; wanted (south, north), (west, east) and a "
                "spacing, in degrees"
            )
            raise OptionError(message)
        rows, columns = (max(round((b - a) / step), 2) for a, b in ((south, north), (west, east)))
        nodes = Grid.from_latlon(
            np.round(south + (np.arange(rows) + 0.5) * (north - south) / rows, 9),
            np.round(west + (np.arange(columns) + 0.5) * (east - west) / columns, 9),
        )
    else:
        nodes = Grid.of(grid)
    rows_apart, columns_apart = np.abs(np.diff(nodes.latitude)), np.diff(nodes.longitude)
    even = np.ptp(rows_apart) < 0.05 * rows_apart.mean() and np.ptp(columns_apart) < 0.05 * columns_apart.mean()
    span = float(np.ptp(nodes.latitude))
    if nodes.periodic or span > _MAX_SPAN or not even:
        message = f"{nodes!r}; wanted an evenly spaced box of at most {_MAX_SPAN:g} degrees of latitude"
        raise OptionError(message)
    return nodes


def _land(land: Any, grid: Grid, generator: np.random.Generator) -> Any:
    """Mask that is true on land."""
    if land is None:
        return np.zeros(grid.shape, dtype=bool)
    if isinstance(land, xr.DataArray):
        axes = cf.horizontal(land)
        mask = land.transpose(*axes.dims).to_numpy().astype(bool)
        if mask.shape != grid.shape or not np.allclose(land[axes.lat], grid.latitude):
            message = f"the land mask has {mask.shape} points, the box {grid.shape}; wanted the same rows and columns"
            raise OptionError(message)
        return mask
    if not 0 <= land < 1:
        message = f"land={land!r}; wanted the part of the box that is land, from 0 to below 1, or a mask"
        raise OptionError(message)
    along = np.linspace(0, 1, grid.nlat)
    bays = sum(generator.normal() / k * np.sin(2 * np.pi * (k * along + generator.random())) for k in range(1, 7))
    coast = land * (1 + 0.3 * (bays - np.mean(bays)))
    return np.linspace(0, 1, grid.nlon)[None, :] < coast[:, None]


def _good_size(n: int) -> int:
    from scipy.fft import next_fast_len

    return int(next_fast_len(n, real=True))
