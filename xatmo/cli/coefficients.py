"""Coefficients to fields from the command line: what is wanted, in words, and the call that makes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from xatmo import streaming
from xatmo.cli import files
from xatmo.cli.grids import grid_of
from xatmo.errors import CoordinateError, OptionError


@dataclass(frozen=True)
class Wanted:
    """What to read, and on which grid to evaluate it, as it was typed.

    Attributes
    ----------
    input : str
        A path, or ``CATALOG:ENTRY``.
    grid : str
        See `xatmo.cli.grids.grid_of`.
    variables, levels : str, optional
        Joined by commas; all unless given.
    start, stop : str, optional
        First and last time, both included.
    every : int
        Take every so many times.
    """

    input: str
    grid: str
    variables: str | None = None
    levels: str | None = None
    start: str | None = None
    stop: str | None = None
    every: int = 1

    def open(self) -> tuple[xr.Dataset, Any]:
        """Open the input lazily and select the times; also give what tells this input from another.

        Raises
        ------
        FileNotFoundError, OSError, CatalogError
            If it cannot be opened.
        CoordinateError
            If times are chosen and there are none.
        OptionError
            If a time cannot be read, or none is left.
        """
        path = Path(self.input)
        name, _, entry = self.input.partition(":")
        if entry and not path.exists():
            from xatmo.catalog import open_catalog

            ds, told = open_catalog(name).open(entry, chunks=None), {"catalog": self.input}
        else:
            ds, told = files.open_fields(path), files.identity(path)
        return self._times(ds), told

    def _times(self, ds: xr.Dataset) -> xr.Dataset:
        if self.start is None and self.stop is None and self.every == 1:
            return ds
        dim = next((d for d, index in ds.indexes.items() if d in ds.dims and index.dtype.kind == "M"), None)
        if dim is None:
            message = (
                f"times were chosen, but {self.input} has no dimension of times; it has {tuple(map(str, ds.dims))}"
            )
            raise CoordinateError(message)
        if self.every < 1:
            message = f"--every {self.every} came; wanted 1 or more"
            raise OptionError(message)
        try:
            out = ds.sel({dim: slice(self.start, self.stop)}).isel({dim: slice(None, None, self.every)})
        except (ValueError, KeyError, TypeError) as error:
            message = (
                f"--start {self.start} --stop {self.stop}: {' '.join(str(error).split())}; wanted as 2006-01-31T12"
            )
            raise OptionError(message) from error
        if out.sizes[dim] == 0:
            first, last = ds[dim].values[[0, -1]].astype("datetime64[s]")
            message = f"no time from {self.start} to {self.stop}; {self.input} has times from {first} to {last}"
            raise OptionError(message)
        return out


def _levels(text: str) -> list[float]:
    try:
        return [float(x) for x in text.split(",") if x.strip()]
    except ValueError as error:
        message = f"--levels {text} came; wanted numbers joined by commas"
        raise OptionError(message) from error


def synthesize(
    wanted: Wanted,
    output: Path,
    *,
    wind: bool = False,
    lmax: int | None = None,
    by_month: bool = True,
    overwrite: bool = False,
    note: Callable[[str], Any] = print,
) -> None:
    """Write fields from coefficients: see `xatmo.streaming.synthesize`.

    Raises
    ------
    OptionError
        If OUTPUT is not named as a Zarr store, or an option cannot be understood.
    """
    if output.suffix != ".zarr":
        message = f"{output} came; wanted a name that ends in .zarr, which can be written piece by piece"
        raise OptionError(message)
    grid = grid_of(wanted.grid)
    ds, told = wanted.open()
    names = None if wanted.variables is None else [n.strip() for n in wanted.variables.split(",") if n.strip()]
    levels = None if wanted.levels is None else _levels(wanted.levels)
    count = len(names if names is not None else ds.data_vars)
    note(f"{wanted.input}: {count} variables with {_sizes(ds)} to {grid!r}")
    with files.said_for_the_command_line(output):
        streaming.synthesize(
            ds, output, grid=grid, variables=names, levels=levels, wind=wind, lmax=lmax,
            by="1MS" if by_month else "1D", overwrite=overwrite,
            key={"input": told, "variables": wanted.variables, "wind": wind, "lmax": lmax}, note=note,
        )  # fmt: skip


def _sizes(ds: xr.Dataset) -> str:
    return ", ".join(f"{n} {d}" for d, n in ds.sizes.items())
