"""Coarsen by a whole factor, and remember the fine grid, so that a refined field can return to it."""

from __future__ import annotations

import json
import operator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal, cast

import numpy as np
import xarray as xr

from xatmo import _labels, cf
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import GridError, OptionError
from xatmo.grids import Grid
from xatmo.regrid import _places, _tiles, engines, fields
from xatmo.regrid.separable import Weights
from xatmo.regrid.weights import conservative
from xatmo.typing import Floats, T, XarrayObject

CoarsenMethod = Literal["mean", "spectral", "bilinear"]
_METHODS: dict[str, str] = {"mean": "conservative", "spectral": "spectral", "bilinear": "bilinear"}
_FACTOR, _FINE = "coarsened_by", "fine_grid"
# Coordinates that went through float32 are this near, in steps of the coarse grid.
_SAME = 1e-3


@dataclass(frozen=True)
class Coarsening:
    """How a fine grid and a coarse one belong together. Made by `coarsening`; rows run north to south in both.

    Coarse cell ``(i, j)`` belongs with fine rows ``factor * i`` to ``factor * (i + 1)`` (exclusive) and the same for
    columns.

    Attributes
    ----------
    fine, coarse : Grid
    factor : int
    row_offset, column_offset : float
        Where the centre of fine node 0 lies relative to the centre of the first of the ``factor`` equal sub-cells of
        coarse cell 0, in sub-cells, southward and eastward. -0.5 for the rows of a grid with poles, whose first row is
        half a sub-cell north of the first sub-cell; 0 otherwise.
    """

    fine: Grid
    coarse: Grid
    factor: int
    row_offset: float
    column_offset: float

    @property
    def latitude_edges(self) -> Floats:
        """Edges of the coarse rows in degrees, ``(coarse.nlat + 1,)``: those between which the means are taken."""
        if self.row_offset:
            return np.linspace(90.0, -90.0, self.coarse.nlat + 1)
        return _block_edges(self.fine.latitude_bounds, self.factor)

    @property
    def longitude_edges(self) -> Floats:
        """Edges of the coarse columns in degrees, ``(coarse.nlon + 1,)``."""
        return _block_edges(self.fine.longitude_bounds, self.factor)

    @property
    def areas(self) -> Floats:
        """Area of every coarse cell in m2, ``(coarse.nlat, coarse.nlon)``; sums to that of the fine cells.

        The same as ``coarse.areas`` unless a last block is partial, in which case neighbouring nodes are not symmetric
        about the edge between them.
        """
        height = np.abs(np.diff(np.sin(np.radians(self.latitude_edges))))
        width = np.radians(np.diff(self.longitude_edges))
        return np.asarray(EARTH_RADIUS**2 * height[:, None] * width)

    def weights(self, *, north_to_south: bool = True) -> Weights:
        """Area-weighted means over the coarse cells, with rows of both grids in the given direction."""
        return _means(self, north_to_south)


@lru_cache(maxsize=32)
def coarsening(fine: Grid, factor: int) -> Coarsening:
    """Find the coarse grid that has ``factor`` times fewer rows and columns.

    - Where ``factor`` divides the number of rows, each coarse row stands for a block of ``factor`` fine rows.
    - On a global regular grid with rows on the poles (721, 181 ...), and a factor that divides the number of steps
      between them, the edges of the coarse rows lie every ``factor`` steps from the pole: the coarse grid is
      ``Grid.regular((nlat - 1) // factor, ..., poles=False)``, and fine rows on an edge count half on each side.
    - Otherwise blocks start at the northernmost row and the last one is partial: nothing is lost.

    Columns go in blocks from the first as stored, the last one partial where ``factor`` does not divide. Fields stored
    from another longitude give the same coarse cells if that is on an edge of the blocks.

    Parameters
    ----------
    fine : Grid
        Global or regional. Its rows are taken north to south.
    factor : int
        At least 2.

    Returns
    -------
    Coarsening

    Raises
    ------
    OptionError
        If the factor is not a whole number of at least 2, or leaves fewer than 2 rows or columns.

    Examples
    --------
    >>> found = coarsening(Grid.regular(721, 1440), 4)
    >>> found.coarse, found.row_offset, found.column_offset
    (<Grid regular 180 x 360, lat 89.5 to -89.5, lon 0.375 to 359.4, lmax 179>, -0.5, 0.0)
    """
    factor = _check_factor(factor)
    fine = _downward(fine)
    rows, columns = -(-fine.nlat // factor), -(-fine.nlon // factor)
    if rows < 2 or columns < 2:
        message = (
            f"factor {factor} came for a grid of {fine.nlat} x {fine.nlon} points; wanted at least 2 coarse rows and "
        )
        message += "columns: take a smaller factor"
        raise OptionError(message)
    offset = 0.0
    latitude: Floats
    if fine.kind == "regular" and fine.poles and (fine.nlat - 1) % factor == 0 and fine.nlat > factor + 1:
        rows = (fine.nlat - 1) // factor
        latitude, offset = np.asarray(90 - (np.arange(rows) + 0.5) * 180 / rows), -0.5
    else:
        latitude = _block_nodes(fine.latitude, fine.latitude_bounds, factor)
    longitude = _block_nodes(fine.longitude, fine.longitude_bounds, factor)
    return Coarsening(fine, Grid.from_latlon(latitude, longitude), factor, offset, 0.0)


def coarsen(
    obj: T, factor: int, *, method: CoarsenMethod | str = "mean", min_valid: float = 0.5, threads: int | None = None
) -> T:
    """Coarse fields, ``factor`` times fewer rows and columns, with the fine grid remembered.

    Parameters
    ----------
    obj : Dataset or DataArray
        With latitude and longitude; any other dimensions, anywhere. Both in one chunk each, or for means in chunks that
        end where coarse cells end (multiples of ``factor``). A repeated cyclic column is left out.
    factor : int
        At least 2. It need not divide the number of rows or columns; see `coarsening`.
    method : {"mean", "spectral", "bilinear"}
        ``"mean"``: area-weighted means over the coarse cells, which keep the area mean with the cells of `Grid.areas`
        (midway between points, whatever bounds a file gives; `xatmo.regrid.regrid` minds those). ``"spectral"``:
        spherical harmonics up to the highest degree of the coarse grid, evaluated at its points (global grids).
        ``"bilinear"``: interpolated at the coarse points.
    min_valid : float
        Means only: a coarse value is the mean over the part of its cell that is not NaN, if that part is at least this,
        else NaN.
    threads : int, optional
        As in `xatmo.regrid.regrid`.

    Returns
    -------
    Dataset or DataArray
        On the same dimensions, rows in the same direction. The attributes of the horizontal coordinates describe the
        fine grid; `fine_grid` reads them, also after slicing, and after writing and reading a file.

    Raises
    ------
    OptionError
        If a keyword has an impossible value.
    ChunkError
        If latitude or longitude is split within a coarse cell.
    GridError
        If ``"spectral"`` is asked for a regional grid.

    Examples
    --------
    >>> fine = Grid.regular(721, 1440)
    >>> field = xr.DataArray(np.ones((721, 1440), "float32"), coords=fine.coords(), dims=("latitude", "longitude"))
    >>> coarse = coarsen(field, 4)
    >>> coarse.shape, fine_grid(coarse) == fine
    ((180, 360), True)
    """
    if method not in _METHODS:
        message = f"method {method!r} came; wanted one of {', '.join(map(repr, _METHODS))}"
        raise OptionError(message)
    fields._check_options(_METHODS[method], lmax=None, min_valid=min_valid, threads=threads)
    axes = cf.horizontal(obj)
    bare, _ = _labels.drop_cyclic(obj, axes)
    here = Grid.of(bare)
    found = coarsening(here, _check_factor(factor))
    coarse = found.coarse if here.north_to_south else _flipped(found.coarse)
    place = _places.grid_place(coarse, axes)
    if method == "mean":
        one = partial(_mean, axes=axes, place=place, source=here, found=found, min_valid=min_valid, threads=threads)
        out = _labels.map_fields(bare, one, dims=axes.dims, what="coarsen")
    else:
        if method == "spectral" and not here.is_global:
            here.require_global("coarsen(method='spectral')")
        target = xr.Dataset(coords=cast(Any, place.coords))
        out = fields.regrid(bare, target, method=cast(Any, _METHODS[method]), threads=threads)
        out.attrs = {k: v for k, v in out.attrs.items() if k != "history"}
        if "history" in obj.attrs:
            out.attrs["history"] = obj.attrs["history"]
    out = out.assign_coords({name: _remembering(coord, found) for name, coord in place.coords.items()})
    call = cf.describe_call(
        "coarsen", factor=found.factor, method=method, min_valid=min_valid if method == "mean" else None
    )
    return cf.add_history(out, call)


def _mean(
    da: xr.DataArray, *, axes: cf.Horizontal, place: _places.Place, source: Grid, found: Coarsening, min_valid: float,
    threads: int | None,
) -> xr.DataArray:  # fmt: skip
    job = engines.Job(source, place.grid, axes.dims, axes.dims, "conservative", min_valid=min_valid, threads=threads)
    weights = found.weights(north_to_south=source.north_to_south)
    chunks = cf.chunks_of(da)
    split = {d: chunks.get(d) for d in axes.dims}
    by_axis = zip((weights.lat, weights.lon), axes.dims, strict=True)
    if all(c is None or len(c) == 1 for c in split.values()):
        out = engines.with_weights(da, weights, job)
    elif da.dtype.kind != "c" and all(_tiles.ranges(axis, split[d]) for axis, d in by_axis):
        out = _tiles.apply(da, weights, axes.dims, engines.working_dtype(da.dtype), min_valid)
    else:
        _labels.require_whole(da, axes.dims, what=_why_whole(found))
    return _places.finish(out, da, job, place)


def _why_whole(found: Coarsening) -> str:
    if found.row_offset:
        return f"coarsen({found.factor}) of a grid with rows on the poles, where cells share rows,"
    return f"coarsen({found.factor}), unless every chunk ends where a coarse cell ends,"


# ---------------------------------------------------------------------- the fine grid, remembered
def fine_grid(obj: XarrayObject) -> Grid | None:
    """Fine grid that belongs to a coarsened object, or to a slice of one.

    Parameters
    ----------
    obj : Dataset or DataArray
        Made by `coarsen`, or cut from such an object along latitude and longitude.

    Returns
    -------
    Grid or None
        With rows in the direction of ``obj``: ``factor`` times its rows and columns, and where it holds the last coarse
        row or column also the fine ones that remain. None if ``obj`` was not made by `coarsen`, or its points are no
        longer neighbours on that coarse grid.

    Examples
    --------
    >>> fine = Grid.regular(181, 360)
    >>> field = xr.DataArray(np.zeros(fine.shape), coords=fine.coords(), dims=("latitude", "longitude"))
    >>> coarse = coarsen(field, 4)
    >>> fine_grid(coarse.isel(latitude=slice(10, 20), longitude=slice(0, 5)))
    <Grid regional 40 x 20, lat 50 to 11, lon 0 to 19>
    >>> fine_grid(field) is None
    True
    """
    axes = cf.horizontal(obj)
    lat, lon = obj[axes.lat], obj[axes.lon]
    if lon.size > 2:
        lon, _ = _labels.drop_cyclic(lon, axes)
    if _FINE not in lat.attrs or _FINE not in lon.attrs or _FACTOR not in lat.attrs:
        return None
    whole = _recall(str(lat.attrs[_FINE]), str(lon.attrs[_FINE]))
    found = coarsening(whole, int(lat.attrs[_FACTOR]))
    down = lat.size < 2 or bool(lat.values[0] > lat.values[-1])
    rows = _run(found.coarse.latitude, lat.values if down else lat.values[::-1], around=False)
    columns = _run(found.coarse.longitude, lon.values, around=whole.periodic)
    if rows is None or columns is None:
        return None
    if rows == (0, found.coarse.nlat) and columns == (0, found.coarse.nlon):
        turn = 360 * np.round((lon.values[0] - found.coarse.longitude[0]) / 360)
        if turn == 0:
            return whole if down else _flipped(whole)
    latitude = whole.latitude[_fine_run(rows, found.coarse.nlat, whole.nlat, found.factor)]
    index = _fine_run(columns, found.coarse.nlon, whole.nlon, found.factor)
    longitude = whole.longitude[index % whole.nlon] + 360.0 * (index // whole.nlon)
    longitude += 360 * np.round((float(lon.values[0]) - longitude[: found.factor].mean()) / 360)
    return Grid.from_latlon(latitude if down else latitude[::-1], longitude)


def _run(nodes: Floats, wanted: Floats, *, around: bool) -> tuple[int, int] | None:
    """Start and stop of ``wanted`` as neighbours among ``nodes``; stop may pass the end where columns go around."""
    wanted = np.asarray(wanted, dtype=np.float64)
    difference = np.abs((nodes - wanted[0] + 180) % 360 - 180) if around else np.abs(nodes - wanted[0])
    start = int(np.argmin(difference))
    stop = start + wanted.size
    if stop > (2 if around else 1) * nodes.size or wanted.size > nodes.size:
        return None
    off = wanted - nodes[np.arange(start, stop) % nodes.size]
    if around:
        off = (off + 180) % 360 - 180
    step = float(np.abs(np.diff(nodes)).min())
    return (start, stop) if np.abs(off).max() < _SAME * step else None


def _fine_run(run: tuple[int, int], coarse: int, fine: int, factor: int) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Fine indices of a run of coarse ones; those after the end count on, to be taken modulo the size."""
    start, stop = run
    if stop < coarse:
        return np.arange(factor * start, factor * stop)
    beyond = stop - coarse
    return np.arange(factor * start, fine + factor * beyond)


def _remembering(coord: xr.DataArray, found: Coarsening) -> xr.DataArray:
    axis = coord.attrs["axis"]
    state = found.fine.to_dict()
    if axis == "Y":
        text = {"kind": state["kind"], "latitude": _packed(state["latitude"])}
    else:
        text = {"longitude": _packed(state["longitude"])}
    return coord.assign_attrs({_FACTOR: found.factor, _FINE: json.dumps(text)})


def _packed(axis: Any) -> Any:
    """Shorten a list of coordinates where nothing is lost: NetCDF limits the length of attributes."""
    if isinstance(axis, dict):
        return axis
    values = np.asarray(axis)
    if np.array_equal(values, np.linspace(values[0], values[-1], values.size)):
        return {"first": float(values[0]), "last": float(values[-1]), "points": int(values.size)}
    if np.array_equal(values, values.astype(np.float32)):
        return {"float32": [float(str(v)) for v in values.astype(np.float32)]}
    return axis


def _unpacked(axis: Any) -> Any:
    if isinstance(axis, dict) and "points" in axis:
        return np.linspace(axis["first"], axis["last"], axis["points"])
    if isinstance(axis, dict) and "float32" in axis:
        return np.asarray(axis["float32"], dtype=np.float32).astype(np.float64)
    return axis


@lru_cache(maxsize=32)
def _recall(lat: str, lon: str) -> Grid:
    """Make the grid that two attributes describe.

    Raises
    ------
    GridError
        If they are not what `coarsen` wrote.
    """
    try:
        rows, columns = json.loads(lat), json.loads(lon)
        state = {"kind": rows["kind"], "latitude": _unpacked(rows["latitude"])}
        return Grid.from_dict({**state, "longitude": _unpacked(columns["longitude"])})
    except (ValueError, KeyError, TypeError) as error:
        message = (
            f"the attribute {_FINE!r} of latitude or longitude cannot be read ({error!r}); wanted what coarsen() "
            "wrote: delete the attribute, or coarsen again"
        )
        raise GridError(message) from error


# ---------------------------------------------------------------------- blocks
@lru_cache(maxsize=16)
def _means(found: Coarsening, down: bool) -> Weights:
    step = 1 if down else -1
    lat, edges = found.fine.latitude_bounds[::step], found.latitude_edges[::step]
    return conservative(lat, found.fine.longitude_bounds, edges, found.longitude_edges)


def _check_factor(factor: Any) -> int:
    try:
        whole = operator.index(factor)
    except TypeError:
        whole = 0
    if whole < 2:
        message = f"factor {factor!r} came; wanted a whole number of at least 2"
        raise OptionError(message)
    return whole


def _downward(grid: Grid) -> Grid:
    return grid if grid.north_to_south else _flipped(grid)


def _flipped(grid: Grid) -> Grid:
    latitude = grid.latitude[::-1].copy()
    latitude.flags.writeable = False
    return Grid(grid.kind, latitude, grid.longitude)


def _block_edges(edges: Floats, factor: int) -> Floats:
    inner = edges[:-1:factor]
    return np.append(inner, edges[-1])


def _block_nodes(nodes: Floats, edges: Floats, factor: int) -> Floats:
    """Centres of blocks: means of their nodes, moved so that the edges between whole blocks lie midway, if they can.

    Then the cells that `Grid` sees in the coarse nodes are the blocks themselves. With equal steps nothing moves.
    """
    starts = np.arange(0, nodes.size, factor)
    counts = np.diff(np.append(starts, nodes.size))
    means = np.asarray(np.add.reduceat(nodes, starts) / counts)
    whole = int((counts == factor).sum())
    between = edges[factor : factor * whole : factor]
    if between.size == 0:
        return means
    # x[k + 1] = 2 between[k] - x[k] leaves one free number, chosen nearest to the means in the least-squares sense.
    sign = (-1.0) ** np.arange(whole)
    moved = sign * np.concatenate([[0.0], np.cumsum(2 * between * sign[1:])])
    moved += sign * np.mean(sign * (means[:whole] - moved))
    step = np.abs(np.diff(means)).min()
    shift = np.abs(moved - means[:whole]).max()
    if 1e-9 * step < shift < 0.1 * step:
        means[:whole] = moved
    return means
