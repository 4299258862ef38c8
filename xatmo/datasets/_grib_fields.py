"""Fields of small GRIB files, read one file at a time and closed again; nothing is indexed and nothing stays open."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from xatmo import optional
from xatmo.errors import CatalogError, GridError, VariableError
from xatmo.typing import Floats

_NAMES: Final = {  # names in netCDF that are other than in GRIB
    "t2m": "2t", "d2m": "2d", "u10": "10u", "v10": "10v", "u100": "100u", "v100": "100v",
}  # fmt: skip
_ROWS: Final = ("regular_ll", "regular_gg")
_GEOMETRY: Final = (
    "gridType", "Ni", "Nj", "latitudeOfFirstGridPoint", "longitudeOfFirstGridPoint", "latitudeOfLastGridPoint",
    "longitudeOfLastGridPoint", "iScansNegatively", "jScansPositively",
)  # fmt: skip
_ON_LEVEL: Final = re.compile(r"([a-z]+)_?(\d{1,4})")


@dataclass(frozen=True)
class Wanted:
    """One field of each file: its short name, and its pressure level in hPa where it has one."""

    name: str
    short_name: str
    level: int | None = None

    @classmethod
    def of(cls, name: str) -> Wanted:
        """Read a name: ``"t2m"`` or ``"2t"``, ``"tcc"``, ``"t850"`` or ``"t_850"``."""
        if name in _NAMES:
            return cls(name, _NAMES[name])
        for netcdf, grib in _NAMES.items():
            if name == grib:
                return cls(netcdf, grib)
        found = _ON_LEVEL.fullmatch(name)
        if found:
            return cls(f"{found[1]}{found[2]}", found[1], int(found[2]))
        return cls(name, name)


@dataclass(frozen=True)
class Inventory:
    """What a file holds: names of its fields, their attributes, and the grid that all of them share.

    Fields on levels of a model are named with their numbers in ``levels``; ``pv`` are the coefficients of these levels.
    """

    fields: dict[str, dict[str, str]]
    others: tuple[str, ...]
    lat: Floats
    lon: Floats
    grid: str
    levels: dict[str, tuple[int, ...]]
    pv: tuple[float, ...]


def eccodes(why: str) -> Any:
    """ECMWF's library, or an error that says how to get it."""
    return optional.require("eccodes", extra="grib", why=why)


def messages(path: Path) -> Iterator[Any]:
    """Give handles of a file's messages, each released after use.

    Raises
    ------
    CatalogError
        If the file is cut off, empty, or not GRIB.
    """
    codes = eccodes(f"reading {path}")
    n = 0
    try:
        with path.open("rb") as file:
            while (handle := codes.codes_grib_new_from_file(file)) is not None:
                try:
                    yield handle
                finally:
                    codes.codes_release(handle)
                n += 1
    except (codes.CodesInternalError, OSError) as error:
        message = f"{path} is corrupt after {n} good messages ({error}); fetch or write it again"
        raise CatalogError(message) from error
    if n == 0:
        message = f"{path} holds no GRIB message; fetch or write it again"
        raise CatalogError(message)


def inventory(path: Path) -> Inventory:
    """Look into one file: fields at the surface, on pressure levels and on levels of a model, and their grid.

    Raises
    ------
    CatalogError
        If the file is corrupt.
    GridError
        If the grid is not one of latitudes and longitudes, or not the same for all fields.
    """
    codes = eccodes(f"reading {path}")
    fields: dict[str, dict[str, str]] = {}
    others: list[str] = []
    levels: dict[str, list[int]] = {}
    pv: tuple[float, ...] = ()
    grids: dict[str, tuple[Floats, Floats]] = {}
    for handle in messages(path):
        name = _name_of(codes, handle)
        short, _, level = (name or "").partition("@")
        if name is None or (level and codes.codes_get(handle, "gridType") not in _ROWS):
            kind, at = codes.codes_get(handle, "typeOfLevel"), codes.codes_get(handle, "level")
            others.append(f"{codes.codes_get(handle, 'shortName')} on {kind} {at}")
            continue
        fields[name] = _attributes(codes, handle)
        if level:
            levels.setdefault(short, []).append(int(level))
            if not pv and codes.codes_get(handle, "PVPresent"):
                pv = tuple(codes.codes_get_array(handle, "pv").tolist())
        grid = _grid_of(codes, handle)
        if grid not in grids:
            grids[grid] = _axes(codes, handle, path)
    if not fields:
        message = f"{path} holds no field on rows and columns of latitude and longitude, but {', '.join(others[:4])}"
        advice = "; wanted fields at the surface, on pressure levels or on hybrid levels (regular_ll)"
        raise VariableError(message + advice)
    if len(grids) > 1:
        message = f"{path} holds fields on {len(grids)} grids; wanted one"
        raise GridError(message)
    ((grid, (lat, lon)),) = grids.items()
    found = {short: tuple(sorted(numbers)) for short, numbers in levels.items()}
    return Inventory(fields, tuple(others), lat, lon, grid, found, pv)


def read(path: Path, wanted: list[Wanted], time: Any, grid: str, rows: Any, columns: Any) -> Floats:
    """Fields of one file at some rows and columns, ``(field, row, column)``, float32.

    Raises
    ------
    CatalogError
        If the file is corrupt, or holds another time than its name says.
    VariableError
        If it lacks one of the fields.
    GridError
        If the fields lie on another grid.
    """
    codes = eccodes(f"reading {path}")
    place = {w.name: i for i, w in enumerate(wanted)}
    out = np.empty((len(wanted), rows.size, columns.size), np.float32)
    found: set[str] = set()
    for handle in messages(path):
        name = _name_of(codes, handle)
        if name not in place:
            continue
        if _grid_of(codes, handle) != grid:
            message = f"{path}: {name} lies on another grid than in the first file; wanted one grid in the whole tree"
            raise GridError(message)
        stamp = f"{codes.codes_get(handle, 'validityDate'):08d}T{codes.codes_get(handle, 'validityTime'):04d}"
        here = np.datetime64(f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]}T{stamp[9:11]}:{stamp[11:13]}")
        if here != time:
            message = f"{path}: {name} is of {here}; wanted the time in the name of the file, {time}"
            raise CatalogError(message)
        shape = codes.codes_get(handle, "Nj"), codes.codes_get(handle, "Ni")
        codes.codes_set(handle, "missingValue", 9e20)
        values = codes.codes_get_values(handle).reshape(shape)[np.ix_(rows, columns)]
        out[place[name]] = np.where(values > 8e20, np.nan, values)
        found.add(name)
    missing = [w.name for w in wanted if w.name not in found]
    if missing:
        message = f"{path} lacks {', '.join(missing)}; wanted the fields of the first file of the tree in all of them"
        raise VariableError(message)
    return out


# ---------------------------------------------------------------------- messages
def _name_of(codes: Any, handle: Any) -> str | None:
    """Name of the field as `Wanted.of` gives it, on a level of a model ``"t@96"``; None for fields elsewhere."""
    kind = codes.codes_get(handle, "typeOfLevel")
    short = codes.codes_get(handle, "shortName")
    if kind == "isobaricInhPa":
        return f"{short}{codes.codes_get(handle, 'level')}"
    if kind == "hybrid":
        return f"{short}@{codes.codes_get(handle, 'level')}"
    if kind in ("surface", "heightAboveGround", "entireAtmosphere", "atmosphere", "meanSea", "depthBelowLandLayer"):
        return Wanted.of(short).name
    return None


def _attributes(codes: Any, handle: Any) -> dict[str, str]:
    attrs = {"long_name": codes.codes_get(handle, "name"), "units": codes.codes_get(handle, "units")}
    attrs["units"] = {"(0 - 1)": "1", "~": "1", "m**2 s**-2": "m2 s-2", "m s**-1": "m s-1"}.get(
        attrs["units"], attrs["units"]
    )
    standard = {"2t": "air_temperature", "tcc": "cloud_area_fraction"}.get(codes.codes_get(handle, "shortName"))
    standard = standard or codes.codes_get(handle, "cfName")
    if standard != "unknown":
        attrs["standard_name"] = standard
    if codes.codes_get(handle, "typeOfLevel") == "isobaricInhPa":
        attrs["pressure_level"] = f"{codes.codes_get(handle, 'level')} hPa"
    return attrs


def _grid_of(codes: Any, handle: Any) -> str:
    """Tell a grid from others: not by the whole section of the message, which holds coefficients of levels too."""
    if codes.codes_get(handle, "gridType") not in _ROWS:
        return str(codes.codes_get(handle, "md5GridSection"))
    return " ".join(str(codes.codes_get(handle, key)) for key in _GEOMETRY)


def _axes(codes: Any, handle: Any, path: Path) -> tuple[Floats, Floats]:
    """Latitudes of the rows and longitudes of the columns, in the order of the file."""
    kind = codes.codes_get(handle, "gridType")
    if kind not in _ROWS:
        message = f"{path} has grid type {kind!r}; wanted rows and columns of latitude and longitude (regular_ll)"
        raise GridError(message)
    if codes.codes_get(handle, "jPointsAreConsecutive") or codes.codes_get(handle, "alternativeRowScanning"):
        message = f"{path} is stored column by column or to and fro; wanted row after row"
        raise GridError(message)
    shape = codes.codes_get(handle, "Nj"), codes.codes_get(handle, "Ni")
    lat = codes.codes_get_array(handle, "latitudes").reshape(shape)[:, 0]
    lon = codes.codes_get_array(handle, "longitudes").reshape(shape)[0]
    lon = np.unwrap(lon, period=360)  # a box across the meridian of Greenwich may come as 357 ... 359, 0, 1
    return np.round(lat, 9), np.round(lon - 360 if lon[-1] >= 360 else lon, 9)
