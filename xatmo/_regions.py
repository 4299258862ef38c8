"""Divide a Dataset into regions that share no stored chunk, so that each can be computed and written alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from xatmo.errors import ChunkError, CoordinateError, DimensionError, OptionError

Region = dict[Hashable, slice]


@dataclass(frozen=True)
class Part:
    """Some variables in one region: what is computed and written at a time."""

    names: tuple[Hashable, ...]
    region: Region

    @property
    def label(self) -> str:
        """The part in words, as a journal keeps it."""
        where = " ".join(f"{d}:{s.start}-{s.stop}" for d, s in self.region.items())
        return f"{','.join(map(str, self.names))} {where}".strip()


def borders(ds: xr.Dataset, by: Mapping[Hashable, int | str]) -> dict[Hashable, list[int]]:
    """Find the indices at which regions begin and end, from 0 to the size of each dimension.

    Parameters
    ----------
    ds : Dataset
    by : mapping
        Dimension to number of indices in a region (-1: all of them), or to a frequency of pandas (``"1MS"``: calendar
        months, ``"7D"`` ...) where the dimension is time.

    Raises
    ------
    DimensionError
        If a dimension is not there.
    OptionError
        If a number is less than 1, or a frequency unknown or given for what is no time.
    CoordinateError
        If times do not increase.

    Examples
    --------
    >>> ds = xr.Dataset(coords={"time": np.arange("2001-01-25", "2001-02-03", dtype="datetime64[D]"), "level": [1, 2]})
    >>> borders(ds, {"time": "1MS", "level": 1})
    {'time': [0, 7, 9], 'level': [0, 1, 2]}
    """
    found: dict[Hashable, list[int]] = {}
    for dim, step in by.items():
        if dim not in ds.sizes:
            message = f"by={{{dim!r}: ...}} came, but there is no such dimension; there are {tuple(map(str, ds.sizes))}"
            raise DimensionError(message)
        size = ds.sizes[dim]
        if isinstance(step, str):
            found[dim] = _by_frequency(ds, dim, step)
            continue
        count = size if step == -1 else int(step)
        if count < 1 and size:
            message = f"by={{{dim!r}: {step!r}}} came; wanted how many indices make a region, 1 or more, or -1 for all"
            raise OptionError(message)
        found[dim] = [*range(0, size, count), size] if size else [0]
    return found


def _by_frequency(ds: xr.Dataset, dim: Hashable, frequency: str) -> list[int]:
    index = ds.indexes.get(dim)
    if index is None or (index.dtype.kind != "M" and not hasattr(index, "calendar")):
        message = f"by={{{dim!r}: {frequency!r}}} came, but {dim!r} has no times; wanted a number of indices"
        raise OptionError(message)
    if not index.is_monotonic_increasing:
        message = f"times on {dim!r} do not increase throughout; sort them first: ds.sortby({dim!r})"
        raise CoordinateError(message)
    ones = xr.DataArray(np.ones(index.size), coords={dim: index}, dims=(dim,))
    try:
        counts = ones.resample({dim: frequency}).sum().values
    except (ValueError, KeyError) as error:
        message = (
            f"by={{{dim!r}: {frequency!r}}} came: {' '.join(str(error).split())}; wanted for instance '1MS' or '7D'"
        )
        raise OptionError(message) from error
    lengths = [int(n) for n in counts if n > 0]
    return [0, *itertools.accumulate(lengths)]


def fitting_chunk(dim: Hashable, edges: list[int], wanted: int | None, default: int) -> int:
    """Size of stored chunks along a dimension: no region ends inside one.

    Parameters
    ----------
    dim : str
    edges : list of int
        See `borders`.
    wanted : int or None
        What the user asked for.
    default : int
        What would be natural; the largest common divisor with the regions is taken.

    Raises
    ------
    ChunkError
        If ``wanted`` does not divide the regions.

    Examples
    --------
    >>> fitting_chunk("time", [0, 744, 1416, 2160], None, 48)
    24
    """
    step = math.gcd(*edges[1:-1]) if len(edges) > 2 else 0
    if wanted is None:
        return max(1, math.gcd(step, default))
    chunk = edges[-1] if wanted == -1 else wanted
    if chunk < 1 or (step and step % chunk):
        message = (
            f"chunks={{{dim!r}: {wanted}}} came, but regions begin at {edges[1:4]} ...; wanted a divisor of {step}, so "
            "that no two regions share a chunk"
        )
        raise ChunkError(message)
    return max(1, chunk)


def parts(variables: Mapping[Hashable, tuple[Hashable, ...]], edges: Mapping[Hashable, list[int]]) -> Iterator[Part]:
    """Give every part, in the order of the dimensions of ``edges``.

    Variables on the same of these dimensions go together, since they are often computed together.

    Examples
    --------
    >>> [part.label for part in parts({"u": ("time", "x"), "v": ("time", "x")}, {"time": [0, 2, 3]})]
    ['u,v time:0-2', 'u,v time:2-3']
    """
    groups: dict[tuple[Hashable, ...], list[Hashable]] = {}
    for name, dims in variables.items():
        groups.setdefault(tuple(d for d in edges if d in dims), []).append(name)
    for dims, names in groups.items():
        for corner in itertools.product(*[itertools.pairwise(edges[d]) for d in dims]):
            yield Part(tuple(names), {d: slice(*pair) for d, pair in zip(dims, corner, strict=True)})
