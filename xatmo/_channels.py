"""Find a network's channels among the variables of an object: by name, in its units, never by position."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import xarray as xr

from xatmo import units as unit_conversion
from xatmo.errors import UnitsError, VariableError

if TYPE_CHECKING:
    from xatmo.model import Channel

# What files write where they have no standard name.
_NO_NAME = ("", "unknown", "none")


@dataclass(frozen=True)
class Source:
    """The variable that serves a channel, and how its values become the network's: ``scale * value + offset``."""

    variable: Hashable
    scale: float
    offset: float


def match(ds: xr.Dataset, channels: Sequence[Channel], *, what: str) -> list[Source]:
    """Find the variable of each channel.

    A variable serves a channel of its own name, unless both carry standard names that differ; else the one variable
    with the channel's standard name does.

    Raises
    ------
    VariableError
        If there is no such variable, or there are several.
    UnitsError
        If its units are missing, or cannot be converted to those of the channel.

    Examples
    --------
    >>> from xatmo.model import Channel
    >>> ds = xr.Dataset({"t": ("x", [0.0], {"units": "degC", "standard_name": "air_temperature"})})
    >>> match(ds, [Channel("t2m", "K", {"standard_name": "air_temperature"})], what="apply")
    [Source(variable='t', scale=1.0, offset=273.15)]
    """
    return [_source(ds, channel, [c.name for c in channels], what) for channel in channels]


def _source(ds: xr.Dataset, channel: Channel, wanted: list[str], what: str) -> Source:
    name = _find(ds, channel, wanted, what)
    have = ds[name].attrs.get("units")
    if channel.units is None or str(have) == channel.units:
        return Source(name, 1.0, 0.0)
    if have is None:
        message = (
            f"variable {name!r} has no units; the network was trained in {channel.units!r}. "
            f"Set obj[{name!r}].attrs['units'], or attrs['units'] of the DataArray"
        )
        raise UnitsError(message)
    try:
        return Source(name, *unit_conversion.conversion(str(have), channel.units))
    except UnitsError as error:
        message = f"variable {name!r} cannot serve the channel {channel.name!r}: {error}"
        raise UnitsError(message) from error


def _find(ds: xr.Dataset, channel: Channel, wanted: list[str], what: str) -> Hashable:
    standard = _standard_name(channel.attrs.get("standard_name"))
    if channel.name in ds.data_vars:
        own = _standard_name(ds[channel.name].attrs.get("standard_name"))
        if not (standard and own and standard != own):
            return channel.name
    same = [n for n in ds.data_vars if standard and _standard_name(ds[n].attrs.get("standard_name")) == standard]
    if len(same) == 1:
        return same[0]
    called = f"{channel.name!r}" + (f" (standard_name {standard!r})" if standard else "")
    shown = {
        str(n): _standard_name(v.attrs.get("standard_name")) or "no standard_name" for n, v in ds.data_vars.items()
    }
    if same:
        message = (
            f"{what} needs the variable {called}; several have this standard_name: {sorted(map(str, same))}. Rename one"
        )
        raise VariableError(message)
    message = (
        f"{what} needs the variables {wanted}; {called} is missing. There are: "
        f"{', '.join(f'{n!r} ({s})' for n, s in shown.items()) or 'none'}. Rename the right one, for instance "
        f"ds.rename(OLD={channel.name!r})"
    )
    raise VariableError(message)


def _standard_name(value: object) -> str:
    text = str(value or "").strip()
    return "" if text.lower() in _NO_NAME else text
