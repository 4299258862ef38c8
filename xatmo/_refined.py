"""Coordinates of a refined grid: the remembered fine grid, or the centres of equal parts of every cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo._axes import step_of
from xatmo.errors import GridError
from xatmo.grids import Grid
from xatmo.typing import Floats, XarrayObject

if TYPE_CHECKING:
    from xatmo.model import Model

# Coarse steps may differ by this ratio from those of training before a network is refused.
_STEP_RATIO = 1.3
_CF_KEYS = ("standard_name", "long_name", "units", "axis")


@dataclass(frozen=True, eq=False)
class Refined:
    """Latitudes and longitudes of an output, in file order, and how the file lies against canonical order.

    Attributes
    ----------
    latitude, longitude : array
        Degrees; longitude increases.
    flipped : bool
        Whether the rows run from south to north.
    shift : int
        Column of the coarse file where canonical order begins (0 unless the grid goes around).
    periodic : bool
        Whether the columns go around the Earth.
    move : float
        Where along the rows, in cells, the input has to be sampled so that the network, trained on rows that start on
        a pole, or on rows that do not, makes the output's rows.
    """

    axes: cf.Horizontal
    factor: int
    latitude: Floats
    longitude: Floats
    flipped: bool
    shift: int
    periodic: bool
    move: float = 0.0

    def coords(self, ds: xr.Dataset) -> dict[Any, Any]:
        """Coordinates of the output: those of ``ds``, with latitude and longitude refined."""
        if self.factor == 1:
            return dict(ds.coords)
        new = {n: c for n, c in ds.coords.items() if not set(c.dims) & set(self.axes.dims)}
        new[self.axes.lat] = _coordinate(ds[self.axes.lat], self.latitude)
        new[self.axes.lon] = _coordinate(ds[self.axes.lon], self.longitude)
        return new

    def close(self, field: xr.DataArray, whole: xr.Dataset) -> xr.DataArray:
        """Repeat the first column at the end, as the input ``whole`` does."""
        dim, name = self.axes.lon_dim, self.axes.lon
        out = field.isel({dim: [*range(field.sizes[dim]), 0]})
        chunks = field.variable.chunksizes.get(dim)
        if chunks:  # one more column, not one more chunk; but Zarr wants none larger than the first
            joined = len(chunks) == 1 or chunks[-1] < chunks[0]
            out = out.chunk({dim: (*chunks[:-1], chunks[-1] + 1) if joined else (*chunks, 1)})
        if self.factor == 1:
            return out.assign_coords({n: c for n, c in whole.coords.items() if dim in c.dims})
        longitude = np.append(self.longitude, self.longitude[0] + 360)
        return out.assign_coords({name: _coordinate(whole[name], longitude)})


def refine(ds: xr.Dataset, axes: cf.Horizontal, factor: int, row_offset: float | None = None) -> Refined:
    """Find the grid of an output with ``factor`` points per cell of ``ds`` (without repeated column).

    Parameters
    ----------
    ds : Dataset
    axes : Horizontal
    factor : int
    row_offset : float, optional
        Where the network puts the first row of a cell, see `xatmo.regrid.coarsening`: remembered rows may lie
        otherwise. None: it is not known; all remembered rows serve.

    Raises
    ------
    GridError
        If ``ds`` was coarsened by another factor.
    """
    grid = Grid.of(ds)
    shift, move = 0, 0.0
    if grid.periodic:
        step = 360 / grid.nlon
        shift = int(np.argmin((grid.longitude + 1e-3 * step) % 360))
    lat, lon = grid.latitude, grid.longitude
    if factor > 1:
        found = _remembered(ds, grid, factor)
        lat, lon = found or (_rows(grid, factor, row_offset or 0.0), _parts(grid.longitude_bounds, factor))
        if found and row_offset is not None:
            aside = _row_offset(lat, grid, factor) - row_offset
            # Part of a cell southward; rounding of coordinates is none.
            move = aside / factor if abs(aside) > 0.25 else 0.0
    move = move if grid.north_to_south else -move
    return Refined(axes, factor, lat, lon, not grid.north_to_south, shift, grid.periodic, move)


def _remembered(ds: xr.Dataset, grid: Grid, factor: int) -> tuple[Floats, Floats] | None:
    from xatmo import regrid

    fine = regrid.fine_grid(ds)
    if fine is None:
        return None
    lat, lon = fine.latitude, fine.longitude
    if fine.north_to_south != grid.north_to_south:
        lat = lat[::-1]
    for what, n_fine, n in (("rows", lat.size, grid.nlat), ("columns", lon.size, grid.nlon)):
        if not (n - 1) * factor < n_fine <= (n + 1) * factor:
            message = (
                f"this field has {n} {what} and was coarsened from {n_fine}, but the model refines by {factor}; "
                f"coarsen by {factor}, or use a model for factor {max(1, round(n_fine / n))}"
            )
            raise GridError(message)
    # The remembered grid has to be the one of these cells: coordinates may have been replaced, or a last block of
    # fewer columns rolled into the middle.
    first, last = lon[:factor].mean(), lon[(grid.nlon - 1) * factor : grid.nlon * factor].mean()
    turn = 360 * round((grid.longitude[0] - first) / 360)
    step = (lon[-1] - lon[0]) / (lon.size - 1)
    near = max(abs(first + turn - grid.longitude[0]), abs(last + turn - grid.longitude[-1])) < 0.3 * step
    height = abs(grid.latitude[-1] - grid.latitude[0]) / (grid.nlat - 1)
    ends = np.abs(lat[[0, -1]] - grid.latitude[[0, -1]]).max() < 1.5 * height
    return (lat, lon + turn) if near and ends else None


def _row_offset(lat: Floats, grid: Grid, factor: int) -> float:
    """Where the fine rows of a cell lie, in fine steps southward of the middle of the cell."""
    coarse = grid.latitude
    if not grid.north_to_south:
        lat, coarse = lat[::-1], coarse[::-1]
    n = lat.size // factor
    middles = lat[: n * factor].reshape(n, factor).mean(axis=1)
    return float(np.median(coarse[:n] - middles) / step_of(lat))


def _rows(grid: Grid, factor: int, row_offset: float) -> Floats:
    """Rows of equal parts of every cell, or of their northern edges; with both poles where a grid reaches them."""
    bounds = grid.latitude_bounds
    rows = _parts(bounds, factor) - row_offset * np.repeat(np.abs(np.diff(bounds)) / factor, factor)
    if row_offset and grid.is_global:
        rows = np.append(rows, -90.0) if grid.north_to_south else np.insert(rows, 0, -90.0)
    return np.clip(rows, -90.0, 90.0)


def _parts(bounds: Floats, factor: int) -> Floats:
    """Centres of ``factor`` equal parts of every cell."""
    inside = (np.arange(factor) + 0.5) / factor
    return np.asarray((bounds[:-1, None] + np.diff(bounds)[:, None] * inside).ravel(), dtype=np.float64)


def _coordinate(like: xr.DataArray, values: Floats) -> xr.DataArray:
    attrs = {k: v for k, v in like.attrs.items() if k in _CF_KEYS}
    dtype = like.dtype if like.dtype.kind == "f" else np.float64
    return xr.DataArray(values.astype(dtype), dims=like.dims, attrs=attrs)


def require_training_step(obj: XarrayObject, model: Model) -> None:
    """Raise unless the input is about as coarse as what the model was trained on.

    Raises
    ------
    GridError
        Saying both steps.
    """
    described = model.grid.get("coarse")
    if not described:
        return
    trained, grid = Grid.from_dict(described), Grid.of(obj)
    for what, came, wanted in (
        ("latitude", step_of(grid.latitude), step_of(trained.latitude)),
        ("longitude", step_of(grid.longitude), step_of(trained.longitude)),
    ):
        if not 1 / _STEP_RATIO < came / wanted < _STEP_RATIO:
            message = (
                f"the {what} step of this field is {came:.4g} degrees; the model was trained on {wanted:.4g} and "
                f"refines by {model.factor}. Pass the coarse field (ds.atmo.coarsen({model.factor}) makes one), or "
                "train on this grid"
            )
            raise GridError(message)
