"""Convert units, or refuse, in one place. Units are parsed by pint with the CF additions of cf-xarray."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import xarray as xr

from xatmo.errors import UnitsError


@lru_cache(maxsize=256)
def _parse(units: str) -> Any:
    from cf_xarray.units import units as registry

    try:
        return registry.Unit(units)
    except Exception as error:  # pint raises many kinds for what it cannot read
        message = f"units {units!r} cannot be read; wanted CF units such as 'm s-1', 'K' or 'degrees_north'"
        raise UnitsError(message) from error


_POWER = re.compile(r"([A-Za-z_%\u00b0\u00b5]+)(?:\*\*|\^)?([+-]?\d+)?")
_CELSIUS = re.compile(r"deg(rees?)?_?C(elsius)?|[Cc]elsius|\u00b0C")


def times(units: str, factor: str) -> str:
    """Units of a product with, or a derivative by, a power of one unit, written as CF does.

    The power is put together with the same unit's where ``units`` is a list of powers; what else stands there stays.
    Differences of temperatures in degrees Celsius are in K.

    Examples
    --------
    >>> times("m2 s-2", "m-1"), times("K", "m-1"), times("1", "s-1"), times("kg kg-1", "m-1"), times("W/m2", "m-1")
    ('m s-2', 'K m-1', 's-1', 'kg kg-1 m-1', 'W/m2 m-1')
    >>> times("s-1", "m2")
    'm2 s-1'
    """
    if _CELSIUS.fullmatch(units.strip()):
        units = "K"
    words = [word for word in (*units.split(), factor) if word != "1"]
    found = [_POWER.fullmatch(word) for word in words]
    if not all(found):
        return f"{units} {factor}"
    *powers, (unit, power) = [(match[1], int(match[2] or 1)) for match in found if match]
    where = next((i for i, (other, _) in enumerate(powers) if other == unit), len(powers))
    powers[where : where + 1] = [(unit, power + (powers[where][1] if where < len(powers) else 0))]
    powers.sort(key=lambda pair: pair[1] < 0)  # what is multiplied first
    return " ".join(f"{unit}{power if power != 1 else ''}" for unit, power in powers if power) or "1"


@lru_cache(maxsize=256)
def conversion(from_units: str, to_units: str) -> tuple[float, float]:
    """Scale and offset that turn one unit into another: ``new = scale * old + offset``.

    Raises
    ------
    UnitsError
        If a unit cannot be read, or the two measure different things.

    Examples
    --------
    >>> conversion("hPa", "Pa"), conversion("degC", "K")
    ((100.0, 0.0), (1.0, 273.15))
    """
    if from_units == to_units:
        return 1.0, 0.0
    from cf_xarray.units import units as registry

    old, new = _parse(from_units), _parse(to_units)
    try:
        at_zero = registry.Quantity(0.0, old).to(new).magnitude
        at_one = registry.Quantity(1.0, old).to(new).magnitude
    except Exception as error:
        message = f"units {from_units!r} came, {to_units!r} wanted: they measure different things"
        raise UnitsError(message) from error
    scale, offset = float(at_one - at_zero), float(at_zero)
    return (round(scale, 12) if abs(scale) > 1e-3 else scale), offset


def convert(da: xr.DataArray, units: str) -> xr.DataArray:
    """Convert a field to ``units``, lazily; dtype and attributes stay, ``units`` changes.

    Raises
    ------
    UnitsError
        If the field has no ``units``, or they cannot be converted.

    Examples
    --------
    >>> convert(xr.DataArray([10.0], attrs={"units": "degC"}), "K").item()
    283.15
    """
    have = da.attrs.get("units")
    if have is None:
        message = f"variable {da.name!r} has no units; wanted {units!r}. Set da.attrs['units']"
        raise UnitsError(message)
    if str(have) == units:
        return da
    scale, offset = conversion(str(have), units)
    if (scale, offset) == (1.0, 0.0):
        return da.assign_attrs(units=units)
    out = da * scale + offset
    if da.dtype.kind == "f":  # a Python float never widens, but NumPy scalars in attributes might
        out = out.astype(da.dtype, copy=False)
    return out.assign_attrs({**da.attrs, "units": units})
