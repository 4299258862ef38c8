"""Rain of weather radars from files, as rates on a plane: netCDF as pysteps writes and reads it, ODIM HDF5."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import xarray as xr

from xatmo import cf, optional
from xatmo.errors import CatalogError, CoordinateError, OptionError, UnitsError, VariableError
from xatmo.typing import Floats

_RATES: Final = {"mm h-1": 1.0, "mm/h": 1.0, "mm hr-1": 1.0, "mm h^-1": 1.0, "mm/hr": 1.0, "kg m-2 s-1": 3600.0,
                 "mm s-1": 3600.0, "m s-1": 3.6e6, "kg m-2 h-1": 1.0}  # fmt: skip
_AMOUNTS: Final = {"mm": 1.0, "kg m-2": 1.0, "m": 1e3}
_NAMES: Final = (
    "rainfall_rate", "lwe_precipitation_rate", "precipitation_flux", "rainfall_flux", "rainfall_amount",
    "precipitation_amount", "lwe_thickness_of_precipitation_amount", "thickness_of_rainfall_amount",
)  # fmt: skip
_HDF5: Final = b"\x89HDF\r\n\x1a\n"

Path_ = str | PathLike[str]


def open_radar(
    path: Path_ | Sequence[Path_],
    *,
    accumulation: str | pd.Timedelta | None = None,
    z_r: tuple[float, float] = (200.0, 1.6),
    chunks: int | None = None,
) -> xr.DataArray:
    """Open rain fields of a radar or a composite as rates in mm h-1.

    Rates in other units are converted; amounts are divided by the time in which they fell; reflectivity Z becomes a
    rate by ``Z = a R^b``. What the radar did not see is NaN; what it saw to be dry is 0.

    Parameters
    ----------
    path : path or several
        NetCDF files with a variable of rain by ``time, y, x``, as pysteps writes them and the Bureau of Meteorology
        does; or files of ODIM HDF5, one time each (quantities RATE, ACRR, DBZH, TH). In order of time.
    accumulation : str or timedelta, optional
        Within which amounts fell: the step between times unless given. ODIM files tell it themselves.
    z_r : (float, float)
        a and b (Marshall and Palmer 1948 by default), Z in mm6 m-3, R in mm h-1.
    chunks : int, optional
        Times to a Dask chunk; as stored unless given. ODIM files are a chunk each.

    Returns
    -------
    DataArray (time, y, x)
        ``rain_rate``, float32, lazy; ``y`` and ``x`` in m.

    Raises
    ------
    OptionError
        If there is no file, or ``chunks`` or ``accumulation`` cannot be.
    CatalogError
        If a file cannot be read.
    VariableError
        If there is no rain in it.
    UnitsError
        If its units are not known.
    CoordinateError
        If coordinates are missing, or the time in which amounts fell cannot be told.
    MissingDependencyError
        If ODIM files are given and the extra ``hdf5`` is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from xatmo.datasets import rain_fields
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rain_fields(2, (16, 16)).to_netcdf(f"{folder}/rain.nc")
    ...     rain = open_radar(f"{folder}/rain.nc").load()
    >>> rain.name, rain.dims, rain.attrs["units"]
    ('rain_rate', ('time', 'y', 'x'), 'mm h-1')
    """
    paths = [Path(p) for p in ([path] if isinstance(path, str | PathLike) else path)]
    if not paths or (chunks is not None and chunks < 1):
        message = f"{len(paths)} files and chunks={chunks} came; wanted one file or more, and 1 time or more to a chunk"
        raise OptionError(message)
    for one in paths:
        if not one.is_file():
            message = f"no file at {one}; wanted netCDF or ODIM HDF5 with rain of a radar"
            raise OptionError(message)
    rate = _open_odim(paths, z_r) if _is_odim(paths[0]) else _open_netcdf(paths, accumulation, chunks)
    if not rate.indexes["time"].is_monotonic_increasing:
        message = f"{paths[0]} and {len(paths) - 1} more are not in order of time; sort them"
        raise CoordinateError(message)
    rate = rate.astype(np.float32).rename("rain_rate")
    rate.attrs = {"units": "mm h-1", "standard_name": "rainfall_rate", "long_name": "rain rate"}
    for name in ("y", "x"):
        rate[name].attrs |= {"units": "m", "standard_name": f"projection_{name}_coordinate", "axis": name.upper()}
    spoken = None if accumulation is None else str(accumulation)
    return cf.add_history(rate, cf.describe_call("datasets.open_radar", path=str(paths[0]), accumulation=spoken))


# ---------------------------------------------------------------------- netCDF
def _open_netcdf(paths: list[Path], accumulation: str | pd.Timedelta | None, chunks: int | None) -> xr.DataArray:
    parts = []
    for path in paths:
        try:
            ds = xr.open_dataset(path, chunks={}, decode_timedelta=False)
        except (OSError, ValueError) as error:
            message = f"{path} cannot be read ({' '.join(str(error).split())}); wanted netCDF or ODIM HDF5"
            raise CatalogError(message) from error
        parts.append(_rain_of(ds, path))
    da = parts[0] if len(parts) == 1 else xr.concat(parts, "time", join="exact", combine_attrs="override")
    da = da if chunks is None else da.chunk(time=chunks)
    units = " ".join(str(da.attrs.get("units", "none")).split())
    for name in ("y", "x"):
        scale = {"km": 1000.0, "m": 1.0, "metre": 1.0, "meter": 1.0}.get(str(da[name].attrs.get("units", "m")))
        if scale is None:
            message = f"{name!r} of {paths[0]} has units {da[name].attrs['units']!r}; wanted m or km on a plane"
            raise UnitsError(message)
        da = da.assign_coords({name: (name, da[name].values * scale)})
    if units in _RATES:
        return da * np.float32(_RATES[units])
    if units not in _AMOUNTS:
        message = f"rain in {paths[0]} has units {units!r}; wanted one of {', '.join([*_RATES, *_AMOUNTS])}"
        raise UnitsError(message)
    return da * np.float32(_AMOUNTS[units] / _hours(da, accumulation, paths[0]))


def _rain_of(ds: xr.Dataset, path: Path) -> xr.DataArray:
    """Find the variable of rain, on ``time, y, x``."""
    known = {**_RATES, **_AMOUNTS}
    named = [n for n, v in ds.data_vars.items() if v.attrs.get("standard_name") in _NAMES]
    planes = [n for n, v in ds.data_vars.items() if v.ndim >= 2 and {"y", "x"} <= set(map(str, v.dims))]
    found = named or [n for n in planes if " ".join(str(ds[n].attrs.get("units")).split()) in known] or planes
    if len(found) != 1:
        message = f"{path} has variables {list(map(str, ds.data_vars))}; wanted one of rain, with y, x"
        raise VariableError(message)
    da = ds[found[0]]
    if not {"y", "x"} <= set(map(str, da.dims)) or not {"y", "x", "time"} <= set(map(str, da.coords)):
        message = f"{path}: {found[0]!r} has dimensions {da.dims} and coordinates {list(da.coords)}; wanted time, y, x"
        raise CoordinateError(message)
    da = da if "time" in da.dims else da.expand_dims("time")
    others = [c for c in da.coords if c not in ("time", "y", "x")]
    return da.drop_vars(others).transpose("time", "y", "x")


def _hours(da: xr.DataArray, accumulation: str | pd.Timedelta | None, path: Path) -> float:
    if accumulation is not None:
        hours = float(pd.Timedelta(accumulation) / pd.Timedelta("1h"))
        if not hours > 0:
            message = f"accumulation={accumulation!r} came; wanted a time longer than zero"
            raise OptionError(message)
        return hours
    steps = np.unique(np.diff(da["time"].values))
    if steps.size != 1:
        message = (
            f"{path}: amounts at {da.sizes['time']} times with steps {steps}; give accumulation= within which they fell"
        )
        raise CoordinateError(message)
    return float(steps[0] / np.timedelta64(1, "h"))


# ---------------------------------------------------------------------- ODIM HDF5
def _is_odim(path: Path) -> bool:
    with path.open("rb") as file:
        if file.read(8) != _HDF5:
            return False
    h5py = optional.require("h5py", extra="hdf5", why=f"reading {path}")
    with h5py.File(path, "r") as file:
        return "Conventions" in file.attrs and "ODIM" in _text(file.attrs["Conventions"])


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _open_odim(paths: list[Path], z_r: tuple[float, float]) -> xr.DataArray:
    import dask.array as da

    looks = [_look(path) for path in paths]
    shape, y, x = looks[0][1:4]
    for path, look in zip(paths, looks, strict=True):
        if look[1] != shape or not (np.allclose(look[2], y) and np.allclose(look[3], x)):
            message = f"{path} lies on another grid than {paths[0]}; wanted one grid"
            raise CoordinateError(message)
    names = [str(path) for path in paths]
    map_blocks: Any = da.map_blocks
    values = map_blocks(
        _read_odim, chunks=((1,) * len(paths), (shape[0],), (shape[1],)), dtype=np.float32,
        meta=np.empty((0, 0, 0), np.float32), names=names, z_r=z_r,
    )  # fmt: skip
    time = np.array([look[0] for look in looks], "M8[ns]")
    coords = {"time": ("time", time, {"standard_name": "time", "axis": "T"}), "y": ("y", y), "x": ("x", x)}
    return xr.DataArray(values, coords, ("time", "y", "x"))


def _attributes(file: Any, path: str) -> dict[str, Any]:
    """Attributes of the first data set's ``what`` groups, the inner before the outer, and of ``where``."""
    found: dict[str, Any] = {}
    for group in ("what", "where", "dataset1/what", "dataset1/where", "dataset1/data1/what"):
        if group in file:
            found |= {key: (_text(v) if isinstance(v, bytes | str) else v) for key, v in file[group].attrs.items()}
    if "dataset1/data1/data" not in file or not {"xscale", "yscale", "quantity", "date", "time"} <= set(found):
        message = f"{path} is ODIM HDF5 without a field on a plane; wanted dataset1/data1/data, with xscale and yscale"
        raise VariableError(message)
    return found


def _look(path: Path) -> tuple[np.datetime64, tuple[int, int], Floats, Floats]:
    import h5py

    with h5py.File(path, "r") as file:
        about = _attributes(file, str(path))
        rows, columns = file["dataset1/data1/data"].shape
    date, time = about["date"], about["time"]
    stamp = f"{date[:4]}-{date[4:6]}-{date[6:]}T{time[:2]}:{time[2:4]}:{time[4:6] or '00'}"
    y = (rows - 0.5 - np.arange(rows)) * float(about["yscale"])  # rows come from the north
    x = (np.arange(columns) + 0.5) * float(about["xscale"])
    return np.datetime64(stamp), (rows, columns), y, x


def _read_odim(block_info: Any, names: list[str], z_r: tuple[float, float]) -> Floats:
    import h5py

    name = names[block_info[None]["chunk-location"][0]]
    try:
        with h5py.File(name, "r") as file:
            about = _attributes(file, name)
            stored = file["dataset1/data1/data"][...]
    except OSError as error:
        message = f"{name} cannot be read ({' '.join(str(error).split())}); fetch it again"
        raise CatalogError(message) from error
    values = stored * float(about.get("gain", 1)) + float(about.get("offset", 0))
    dry, unseen = (stored == about[key] if key in about else False for key in ("undetect", "nodata"))
    quantity = about["quantity"]
    if quantity in ("DBZH", "TH"):
        values = (10 ** (values / 10) / z_r[0]) ** (1 / z_r[1])
    elif quantity == "ACRR":
        begin, end = (
            pd.to_datetime(about[f"{k}date"] + about[f"{k}time"], format="%Y%m%d%H%M%S") for k in ("start", "end")
        )
        values = values / ((end - begin) / pd.Timedelta("1h"))
    elif quantity != "RATE":
        message = f"{name} holds {quantity!r}; wanted RATE, ACRR, DBZH or TH"
        raise VariableError(message)
    return np.where(unseen, np.nan, np.where(dry, 0.0, values)).astype(np.float32)[None]
