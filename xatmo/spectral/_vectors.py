"""Find every wind pair of a Dataset and treat it as a vector, the rest as scalars."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable

import xarray as xr

from xatmo import cf
from xatmo._labels import map_fields
from xatmo.errors import DimensionError
from xatmo.typing import T
from xatmo.units import conversion, convert


def wind_pairs(ds: xr.Dataset, dims: Iterable[Hashable]) -> list[tuple[Hashable, Hashable]]:
    """Name all pairs of eastward and northward components that have ``dims``, each variable at most once.

    Components of one pair have the same dimensions: wind at 10 m is not mixed with wind on levels. Beside winds, whose
    standard names or names tell, two variables are a pair if their long names are "eastward ..." and "northward ...":
    a stress, a gradient, a part of the wind.

    Examples
    --------
    >>> ds = xr.Dataset({n: (("y", "x"), [[0.0]]) for n in ("u10", "v10", "u", "v", "t")})
    >>> wind_pairs(ds, ("y", "x"))
    [('u', 'v'), ('u10', 'v10')]
    """
    wanted = set(dims)
    names = [n for n, v in ds.data_vars.items() if wanted <= set(v.dims) and v.dtype.kind in "fiub"]
    found = []
    for shape in dict.fromkeys(frozenset(ds[n].dims) for n in names):
        rest = ds[[n for n in names if frozenset(ds[n].dims) == shape]]
        while (pair := cf.wind_pair(rest, required=False)) is not None:
            found.append(pair)
            rest = rest.drop_vars(pair)
        found += _pairs_by_long_name(rest)
    return found


def _pairs_by_long_name(ds: xr.Dataset) -> list[tuple[Hashable, Hashable]]:
    titles = {str(v.attrs.get("long_name", "")).lower(): n for n, v in ds.data_vars.items()}
    ways = ("eastward ", "northward ")
    return [
        (name, titles[title.replace(*ways, 1)])
        for title, name in titles.items()
        if title.startswith(ways[0]) and title.replace(*ways, 1) in titles
    ]


def map_with_winds(
    obj: T,
    scalar: Callable[[xr.DataArray], xr.DataArray],
    wind: Callable[[xr.DataArray, xr.DataArray], tuple[xr.DataArray, xr.DataArray]],
    *,
    dims: tuple[Hashable, ...],
    what: str,
) -> T:
    """Apply ``wind`` to the wind pairs of a Dataset and ``scalar`` to every other field; see `map_fields`."""
    if isinstance(obj, xr.DataArray):
        return map_fields(obj, scalar, dims=dims, what=what)
    done: dict[Hashable, xr.DataArray] = {}
    for east, north in wind_pairs(obj, dims):
        done[east], done[north] = _in_one_unit(wind, obj[east], obj[north])
    return map_fields(obj, lambda da: done[da.name] if da.name in done else scalar(da), dims=dims, what=what)


def _in_one_unit(
    wind: Callable[[xr.DataArray, xr.DataArray], tuple[xr.DataArray, xr.DataArray]],
    east: xr.DataArray,
    north: xr.DataArray,
) -> tuple[xr.DataArray, xr.DataArray]:
    """Apply ``wind`` with both components in the units of the first; the second comes back in its own."""
    ours, theirs = (da.attrs.get("units") for da in (east, north))
    if ours is None or theirs is None or conversion(str(theirs), str(ours)) == (1.0, 0.0):
        return wind(east, north)
    alike = convert(north, str(ours))
    alike.encoding = north.encoding
    u, v = wind(east, alike)
    back = convert(v, str(theirs))
    back.encoding = v.encoding
    return u, back


def components(
    ds: xr.Dataset, u: Hashable | None, v: Hashable | None, dims: Iterable[Hashable]
) -> tuple[xr.DataArray, xr.DataArray]:
    """Give the wind pair of a Dataset, on ``dims``.

    Raises
    ------
    VariableError
        If there is none, or a given name is missing.
    DimensionError
        If a component lacks a dimension, or the two have different ones.
    """
    pair = cf.wind_pair(ds, u=u, v=v)
    assert pair is not None
    for name in pair:
        missing = [d for d in dims if d not in ds[name].dims]
        if missing:
            message = f"wind component {name!r} has dimensions {ds[name].dims}; wanted {missing[0]!r} among them"
            raise DimensionError(message)
    first, second = ds[pair[0]], ds[pair[1]]
    if set(first.dims) != set(second.dims):
        message = (
            f"wind components {pair[0]!r} {first.dims} and {pair[1]!r} {second.dims} came; wanted the same dimensions: "
            "select one level, or pass u= and v="
        )
        raise DimensionError(message)
    return first, second
