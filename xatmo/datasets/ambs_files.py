"""Write hourly fields as a tree of GRIB files, to try by hand what reads such trees."""

from __future__ import annotations

import os
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import xarray as xr

from xatmo import cf
from xatmo.datasets._grib_fields import Wanted, eccodes
from xatmo.datasets.ambs_tree import _path
from xatmo.errors import CoordinateError, DimensionError, MissingValueError, OptionError, UnitsError, VariableError
from xatmo.typing import Floats
from xatmo.vertical import HybridLevels

# Parameter numbers of ECMWF's table 128 and the units of the fields.
_PARAMETERS: Final = {
    "2t": (167, "K"), "tcc": (164, "1"), "2d": (168, "K"), "10u": (165, "m s-1"), "10v": (166, "m s-1"),
    "msl": (151, "Pa"), "sp": (134, "Pa"), "t": (130, "K"), "z": (129, "m2 s-2"), "q": (133, "kg kg-1"),
    "u": (131, "m s-1"), "v": (132, "m s-1"), "lnsp": (152, "1"),
}  # fmt: skip
_LEVEL: Final = "hybrid"


def write_ambs_tree(ds: xr.Dataset, folder: str | PathLike[str], *, bits: int = 16, coefficients: Any = None) -> None:
    """Write a Dataset of hours as ``YEAR/MONTH/YYYYMMDDHH_sf.grb`` and ``_ml.grb``, one file an hour and kind.

    Fields at the surface go to ``_sf`` files, fields on pressure levels or levels of a model to ``_ml`` files, as GRIB
    of edition 1 on latitudes and longitudes. Variables without time are left out. `open_ambs_tree` reads them back;
    packing rounds each field to ``2^-bits`` of its range, rounded up to a power of two.

    Parameters
    ----------
    ds : Dataset (time, latitude, longitude)
        Evenly spaced rows and columns, whole hours. Names as for `open_ambs_tree`: ``t2m``, ``tcc``, ``t850`` and
        others. Fields with ``hybrid`` besides, whose coordinate numbers levels of a model from the top; ``lnsp`` goes
        to level 1.
    folder : path
        Made if needed. Files that are there are replaced, each at once.
    bits : int
        Of a packed value, 1 to 24.
    coefficients : HybridLevels, "L137", pair of arrays, optional
        Of the model's levels: see `xatmo.vertical.HybridLevels.of`.

    Raises
    ------
    DimensionError
        If a variable has other dimensions.
    CoordinateError
        If rows or columns are not evenly spaced, times are not whole hours, or levels have no such numbers.
    VariableError
        If there is no variable with time, or one is not known.
    UnitsError
        If units are others than in GRIB.
    MissingValueError
        If there is a NaN or infinity.
    OptionError
        If ``bits`` is out of range, or levels of a model come without coefficients.
    MissingDependencyError
        If the extra ``grib`` is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from xatmo.datasets import diurnal_temperature
    >>> weather = diurnal_temperature("2019-07-01", periods=2, nlat=8, nlon=10)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_ambs_tree(weather, folder)
    ...     sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*.grb"))[:2]
    ['2019/07/2019070100_ml.grb', '2019/07/2019070100_sf.grb']
    """
    if not 1 <= bits <= 24:
        message = f"bits={bits} came; wanted 1 to 24"
        raise OptionError(message)
    codes = eccodes("write_ambs_tree")
    time = cf.time(ds)
    place = cf.horizontal(ds)
    dims = (time, place.lat_dim, place.lon_dim)
    kinds = _kinds(ds, dims)
    grid = _grid(ds[place.lat].values, ds[place.lon].values)
    pv = _pv(ds, kinds, coefficients)
    stamps = pd.DatetimeIndex(ds[time].values)
    if (stamps != stamps.floor("h")).any():
        message = f"time {stamps[stamps != stamps.floor('h')][0]} came; wanted whole hours"
        raise CoordinateError(message)
    root = Path(folder)
    for i, stamp in enumerate(stamps):
        for kind, fields in kinds.items():
            path = _path(root, stamp.to_datetime64(), kind)
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f"{path.name}.{os.getpid()}.part")
            with part.open("wb") as file:
                for name, wanted in fields.items():
                    field = ds[name].isel({time: i}).transpose(..., *dims[1:])
                    values = np.asarray(field.values, dtype=np.float64)
                    if not np.isfinite(values).all():
                        message = f"{name!r} holds NaN or infinity at {stamp}; wanted finite numbers"
                        raise MissingValueError(message)
                    if _LEVEL in field.dims:
                        for number, level in zip(ds[_LEVEL].values, values, strict=True):
                            _write(codes, file, replace(wanted, level=int(number)), stamp, grid, level, bits, pv)
                    else:
                        _write(codes, file, wanted, stamp, grid, values, bits, pv if wanted.name == "lnsp" else ())
            part.replace(path)


def _kinds(ds: xr.Dataset, dims: tuple[Any, ...]) -> dict[str, dict[Any, Wanted]]:
    """Fields for each kind of file, checked."""
    kinds: dict[str, dict[Any, Wanted]] = {}
    for name, da in ds.data_vars.items():
        if dims[0] not in da.dims:
            continue
        if set(da.dims) - {_LEVEL} != set(dims):
            message = f"{name!r} has dimensions {da.dims}; wanted {dims}, and {_LEVEL!r} for levels of a model"
            raise DimensionError(message)
        wanted = Wanted.of(str(name))
        if wanted.short_name not in _PARAMETERS:
            message = (
                f"{name!r} is no field that can be written; wanted one of {', '.join(_PARAMETERS)}, as t850 on levels"
            )
            raise VariableError(message)
        units = _PARAMETERS[wanted.short_name][1]
        if da.attrs.get("units") != units:
            message = f"{name!r} has units {da.attrs.get('units')!r}; wanted {units!r}, as in GRIB: convert it first"
            raise UnitsError(message)
        if wanted.name == "lnsp":
            wanted = replace(wanted, level=1)
        kinds.setdefault("sf" if wanted.level is None and _LEVEL not in da.dims else "ml", {})[name] = wanted
    if not kinds:
        message = f"variables {list(ds.data_vars)} came, none with {dims[0]!r}; wanted some that change in time"
        raise VariableError(message)
    return kinds


def _pv(ds: xr.Dataset, kinds: dict[str, dict[Any, Wanted]], coefficients: Any) -> tuple[float, ...]:
    """Coefficients as GRIB has them, those in Pa first; none where there are no levels of a model."""
    names = [n for n, wanted in kinds.get("ml", {}).items() if _LEVEL in ds[n].dims or wanted.name == "lnsp"]
    if not names:
        return ()
    if coefficients is None:
        message = f"{names[0]!r} is of a model's levels; wanted coefficients=(a, b) of these, or 'L137' for ERA5"
        raise OptionError(message)
    known = HybridLevels.of(coefficients)
    if _LEVEL in ds.dims:
        known.full(ds[_LEVEL].values)
    return (*known.half_a.tolist(), *known.half_b.tolist())


def _grid(lat: Floats, lon: Floats) -> dict[str, Any]:
    """Keys of the grid; millidegrees are what edition 1 can hold."""
    keys: dict[str, Any] = {"Nj": lat.size, "Ni": lon.size, "jScansPositively": int(lat.size > 1 and lat[1] > lat[0])}
    for name, axis, short in (("latitude", lat, "j"), ("longitude", lon, "i")):
        step = np.abs(np.diff(axis))
        even = np.allclose(step, step[:1], atol=1e-6) and (name == "latitude" or np.all(np.diff(axis) > 0))
        if axis.size < 2 or not even or np.abs(axis * 1000 - np.round(axis * 1000)).max() > 1e-3:
            message = f"{name} {axis[:3]}... came; wanted two or more, evenly spaced, in thousandths of a degree"
            raise CoordinateError(message)
        keys[f"{name}OfFirstGridPointInDegrees"] = float(axis[0])
        keys[f"{name}OfLastGridPointInDegrees"] = float(axis[-1])
        keys[f"{short}DirectionIncrementInDegrees"] = float(np.round(step[0], 6))
    return keys


def _write(
    codes: Any, file: Any, wanted: Wanted, stamp: pd.Timestamp, grid: dict[str, Any], values: Floats, bits: int,
    pv: tuple[float, ...],
) -> None:  # fmt: skip
    handle = codes.codes_grib_new_from_samples(
        "regular_ll_sfc_grib1" if wanted.level is None else "regular_ll_pl_grib1"
    )
    try:
        keys: dict[str, Any] = {
            "centre": "ecmf", "table2Version": 128, "indicatorOfParameter": _PARAMETERS[wanted.short_name][0], **grid,
            "dataDate": int(f"{stamp:%Y%m%d}"), "dataTime": int(f"{stamp:%H%M}"), "stepRange": "0",
            "bitsPerValue": bits,
        }  # fmt: skip
        if pv:
            keys |= {"typeOfLevel": "hybrid", "PVPresent": 1}
        if wanted.level is not None:
            keys["level"] = wanted.level
        for key, value in keys.items():
            codes.codes_set(handle, key, value)
        if pv:
            codes.codes_set_array(handle, "pv", pv)
        codes.codes_set_values(handle, values.ravel())
        codes.codes_write(handle, file)
    finally:
        codes.codes_release(handle)
