"""Names of runs that tell period, grid, corner and variables, as AMBS names them.

``Y2007to2019M01to12-92_56-38.40N00.00E-2t_t850_tcc``: years and months of each period, grid points along longitude and
latitude, the southwest corner, and the variables.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo.errors import CoordinateError, OptionError

_PERIOD: Final = re.compile(r"Y(\d{4})(?:to(\d{4}))?M(\d{2})(?:to(\d{2}))?")
_NAME: Final = re.compile(
    r"(?P<periods>Y[^-]*)-(?P<nx>\d+)_(?P<ny>\d+)-"
    r"(?P<latitude>\d{2}\.\d{2})(?P<ns>[NS])(?P<longitude>\d{2,3}\.\d{2})(?P<ew>[EW])-(?P<variables>.+)"
)
_BETWEEN: Final = re.compile(r"(?<!_)_(?!_)")  # one underscore; two stand for one within a name


@dataclass(frozen=True)
class Period:
    """The same months of consecutive years: ``Y2005to2008M02to05``, one year or month as ``Y2015M03``.

    Attributes
    ----------
    first_year, last_year : int
    first_month, last_month : int

    Raises
    ------
    OptionError
        If they are not in order, or no years of four digits and months from 1 to 12.

    Examples
    --------
    >>> str(Period(2005, 2008, 2, 5)), str(Period(2015, 2015, 3, 6))
    ('Y2005to2008M02to05', 'Y2015M03to06')
    """

    first_year: int
    last_year: int
    first_month: int = 1
    last_month: int = 12

    def __post_init__(self) -> None:
        if not (0 <= self.first_year <= self.last_year <= 9999 and 1 <= self.first_month <= self.last_month <= 12):
            message = (
                f"a period of years {self.first_year} to {self.last_year} and months {self.first_month} to "
                f"{self.last_month} came; wanted them in order, months from 1 to 12 (a winter is two periods)"
            )
            raise OptionError(message)

    def __str__(self) -> str:
        years = f"Y{self.first_year:04d}" + (f"to{self.last_year:04d}" if self.last_year > self.first_year else "")
        months = f"M{self.first_month:02d}" + (f"to{self.last_month:02d}" if self.last_month > self.first_month else "")
        return years + months

    @property
    def months(self) -> frozenset[tuple[int, int]]:
        """All (year, month)."""
        return frozenset(
            (year, month)
            for year in range(self.first_year, self.last_year + 1)
            for month in range(self.first_month, self.last_month + 1)
        )


@dataclass(frozen=True)
class RunName:
    """What the name of a run says.

    Attributes
    ----------
    periods : tuple of Period
    nx, ny : int
        Grid points along longitude and latitude.
    latitude, longitude : float
        Southwest corner, degrees; the name keeps hundredths.
    variables : tuple of str
        An underscore within a name is written twice.

    Raises
    ------
    OptionError
        If something is missing, or a name of a variable cannot be told apart from two.

    Examples
    --------
    >>> corner = {"nx": 92, "ny": 56, "latitude": 38.4, "longitude": 0.0}
    >>> name = RunName((Period(2005, 2008, 2, 5), Period(2015, 2015, 3, 6)), **corner, variables=("2t", "t850", "tcc"))
    >>> str(name)
    'Y2005to2008M02to05_Y2015M03to06-92_56-38.40N00.00E-2t_t850_tcc'
    >>> RunName.parse(str(name)) == name
    True
    """

    periods: tuple[Period, ...]
    nx: int
    ny: int
    latitude: float
    longitude: float
    variables: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.periods or not self.variables or self.nx < 1 or self.ny < 1:
            message = f"{self.periods}, {self.nx} x {self.ny} points, {self.variables} came; wanted one or more of each"
            raise OptionError(message)
        if not -90 <= self.latitude <= 90:
            message = f"latitude {self.latitude} came; wanted a southwest corner between -90 and 90 degrees"
            raise OptionError(message)
        for name in self.variables:
            if not re.fullmatch(r"[A-Za-z0-9]+(_?[A-Za-z0-9.@+]+)*", name):
                message = (
                    f"variable {name!r} cannot be part of a run's name; wanted letters, digits and single underscores "
                    "between them. Rename it"
                )
                raise OptionError(message)
        object.__setattr__(self, "latitude", round(float(self.latitude), 2) + 0.0)
        # Rounded first: 179.999 degrees east are 180, which are 180 west.
        object.__setattr__(self, "longitude", round((round(float(self.longitude), 2) + 180) % 360 - 180, 2) + 0.0)

    def __str__(self) -> str:
        corner = f"{abs(self.latitude):05.2f}{'S' if self.latitude < 0 else 'N'}"
        corner += f"{abs(self.longitude):05.2f}{'W' if self.longitude < 0 else 'E'}"
        names = "_".join(name.replace("_", "__") for name in self.variables)
        return f"{'_'.join(map(str, self.periods))}-{self.nx}_{self.ny}-{corner}-{names}"

    @classmethod
    def parse(cls, name: str) -> RunName:
        """Read a name.

        Raises
        ------
        OptionError
            If it is not formed as such names are.
        """
        form = "Y2007to2019M01to12-92_56-38.40N00.00E-2t_t850_tcc"
        match = _NAME.fullmatch(name)
        periods = [_PERIOD.fullmatch(text) for text in match["periods"].split("_")] if match else [None]
        if match is None or None in periods:
            message = f"{name!r} is no name of a run; wanted one formed as {form}"
            raise OptionError(message)
        found = []
        for period in periods:
            if period is not None:
                first, last, month, until = period.groups()
                found.append(Period(int(first), int(last or first), int(month), int(until or month)))
        return cls(
            tuple(found),
            int(match["nx"]),
            int(match["ny"]),
            float(match["latitude"]) * (-1 if match["ns"] == "S" else 1),
            float(match["longitude"]) * (-1 if match["ew"] == "W" else 1),
            tuple(text.replace("__", "_") for text in _BETWEEN.split(match["variables"])),
        )

    @classmethod
    def of(cls, ds: xr.Dataset, *, variables: Sequence[str] | None = None) -> RunName:
        """Name data after their months, grid, corner and variables.

        Parameters
        ----------
        ds : Dataset
            With time, latitude and longitude.
        variables : sequence of str, optional
            All that vary in time unless given.

        Raises
        ------
        CoordinateError
            If a coordinate is missing.
        """
        axes = cf.horizontal(ds)
        time = cf.time(ds)
        if not ds[time].size:
            message = "no times came; wanted data with one or more"
            raise CoordinateError(message)
        dates = ds[time].dt
        found = {(int(y), int(m)) for y, m in zip(dates.year.values, dates.month.values, strict=True)}
        latitude, longitude = ds[axes.lat].values, ds[axes.lon].values
        names = [str(n) for n, da in ds.data_vars.items() if time in da.dims] if variables is None else list(variables)
        return cls(periods_of(found), longitude.size, latitude.size, float(latitude.min()), _west(longitude),
                   tuple(names))  # fmt: skip


def periods_of(months: Iterable[tuple[int, int]]) -> tuple[Period, ...]:
    """Describe months by as few periods as join equal months of consecutive years.

    Parameters
    ----------
    months : iterable of (year, month)

    Examples
    --------
    >>> print(*periods_of([(2005, 1), (2005, 2), (2006, 1), (2006, 2), (2007, 2)]))
    Y2005to2006M01to02 Y2007M02
    """
    by_year: dict[int, list[tuple[int, int]]] = {}
    for year, month in sorted(set(months)):
        own = by_year.setdefault(year, [])
        if own and own[-1][1] == month - 1:
            own[-1] = (own[-1][0], month)
        else:
            own.append((month, month))
    found: list[Period] = []
    for stretch in sorted({stretch for own in by_year.values() for stretch in own}):
        for year in sorted(year for year, own in by_year.items() if stretch in own):
            if found and (found[-1].first_month, found[-1].last_month, found[-1].last_year) == (*stretch, year - 1):
                found[-1] = Period(found[-1].first_year, year, *stretch)
            else:
                found.append(Period(year, year, *stretch))
    return tuple(sorted(found, key=lambda p: (p.first_year, p.first_month, p.last_year)))


def _west(longitude: Any) -> float:
    """Find the western end of longitudes, which may run over the date line or the prime meridian."""
    values = np.sort(np.asarray(longitude, dtype=np.float64) % 360)
    gaps = np.diff(np.append(values, values[0] + 360))
    if values.size < 2 or gaps.max() - gaps.min() < 1e-3:  # a circle has no end: the first one given
        return float(np.asarray(longitude).ravel()[0])
    return float(values[(int(gaps.argmax()) + 1) % values.size])
