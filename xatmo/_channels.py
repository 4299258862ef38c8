"""Find a network's channels among the variables of an object: by name, in its units, never by position."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo import units as unit_conversion
from xatmo.errors import CoordinateError, DimensionError, UnitsError, VariableError

if TYPE_CHECKING:
    from xatmo.normalize import Normalizer

# What files write where they have no standard name.
_NO_NAME = ("", "unknown", "none")


@dataclass(frozen=True)
class Channel:
    """One variable that a network reads or writes: matched by name, converted to ``units``.

    Attributes
    ----------
    name : str
        Name of the variable.
    units : str or None
        CF units that the network was trained in; None where the training data had none.
    attrs : mapping
        The other attributes (``long_name``, ``standard_name`` ...), put on what the network writes.
    """

    name: str
    units: str | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def of(cls, da: xr.DataArray) -> Channel:
        """Describe a field; a field without a name is called ``field``.

        Examples
        --------
        >>> Channel.of(xr.DataArray(0.0, name="t2m", attrs={"units": "K", "long_name": "2 m temperature"}))
        Channel(name='t2m', units='K', attrs={'long_name': '2 m temperature'})
        """
        attrs = {str(k): v for k, v in da.attrs.items() if k not in ("units", "history") and isinstance(v, str)}
        units = da.attrs.get("units")
        return cls("field" if da.name is None else str(da.name), None if units is None else str(units), attrs)


@dataclass(frozen=True)
class Source:
    """The variable that serves a channel, and how its values become the network's: ``scale * value + offset``."""

    variable: Hashable
    scale: float
    offset: float


@dataclass(frozen=True, eq=False)
class Scaling:
    """Statistics of one channel, as `xatmo.normalize.forward` takes them, laid out for blocks of numbers.

    Attributes
    ----------
    numbers : tuple of array
        Centre, scale and perhaps those of the logarithm; one axis per extra dimension, of size 1 where the statistics
        are the same all along it.
    """

    numbers: tuple[NDArray[np.float64], ...]

    def normalize(self, x: NDArray[Any], ranges: Sequence[tuple[int, int]]) -> NDArray[Any]:
        """Give network units; ``x`` has the extra dimensions first, of which it is the part ``ranges``."""
        from xatmo.normalize import forward

        return np.asarray(forward(x, *self._cut(x, ranges)))

    def denormalize(self, x: NDArray[Any], ranges: Sequence[tuple[int, int]]) -> NDArray[Any]:
        """Give physical units."""
        from xatmo.normalize import backward

        return np.asarray(backward(x, *self._cut(x, ranges)))

    def _cut(self, x: NDArray[Any], ranges: Sequence[tuple[int, int]]) -> list[NDArray[Any]]:
        found = []
        for values in self.numbers:
            part = values[tuple(slice(*r) if n > 1 else slice(None) for n, r in zip(values.shape, ranges, strict=True))]
            found.append(part.reshape(part.shape + (1,) * (x.ndim - len(ranges))))
        return found


def scalings(
    normalizer: Normalizer | None, channels: Sequence[Channel], template: xr.Dataset, extras: Sequence[Hashable]
) -> list[Scaling | None]:
    """Statistics of every channel that the normalizer knows, in the order of the object's own coordinates.

    Raises
    ------
    DimensionError
        If statistics are by a dimension that the network sees (latitude, longitude), or that the object lacks.
    CoordinateError
        If they lack a level or the like of the object.
    """
    if normalizer is None:
        return [None] * len(channels)
    return [_scaling(normalizer, c.name, template, tuple(extras)) for c in channels]


def _scaling(normalizer: Normalizer, name: str, template: xr.Dataset, extras: tuple[Hashable, ...]) -> Scaling:
    numbers = []
    for statistic in normalizer.scaling(name):
        other = [d for d in statistic.dims if d not in extras]
        if other:
            message = (
                f"the statistics of {name!r} are by {other[0]!r}; a network over patches needs one number, or one by "
                f"{extras or 'level and the like'}. Fit the normalizer over {other[0]!r} too"
            )
            raise DimensionError(message)
        order = [d for d in extras if d in statistic.dims]
        aligned = statistic.transpose(*order)
        for d in order:
            if d in statistic.coords and d in template.coords:
                at = statistic.get_index(d).get_indexer(template.get_index(d))
                if (at < 0).any():
                    lacking = ", ".join(map(str, template[d].values[at < 0][:3]))
                    message = f"the statistics of {name!r} have no {d!r} {lacking}; fit the normalizer on all of them"
                    raise CoordinateError(message)
                aligned = aligned.isel({d: at})
            elif statistic.sizes[d] != template.sizes[d]:
                message = (
                    f"the statistics of {name!r} have {statistic.sizes[d]} points along {d!r}, the data "
                    f"{template.sizes[d]}; wanted the same"
                )
                raise DimensionError(message)
        shape = [aligned.sizes.get(d, 1) for d in extras]
        numbers.append(aligned.values.astype(np.float64).reshape(shape))
    return Scaling(tuple(numbers))


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
