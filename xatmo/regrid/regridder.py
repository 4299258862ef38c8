"""``Regridder``: weights between two grids of any kind, worked out once, kept, saved, and applied to any fields."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo import _labels, cf
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import DimensionError, OptionError
from xatmo.grids import Grid
from xatmo.regrid import _places, _saved, engines, masks
from xatmo.regrid._geometry import Site, reordered, selection, site_of
from xatmo.regrid.bounds import cell_edges
from xatmo.regrid.curvilinear import Mesh, mesh_weights
from xatmo.regrid.separable import CELL_METHODS, Edges, Weights
from xatmo.regrid.sparse_weights import MEANS, SparseWeights, check_part, threads_for
from xatmo.regrid.weight_files import Layout, grid_from_points, read_weights, write_weights
from xatmo.regrid.weights import weights_between
from xatmo.typing import Floats, T, XarrayObject

_SEPARABLE = ("conservative", "bilinear", "bicubic", "nearest")


class Regridder:
    """Take fields from one grid to another, as often as wanted, with weights that are worked out once.

    Parameters
    ----------
    source : Grid, Mesh, Dataset or DataArray
        The grid that fields will come on: a product of latitudes and longitudes, rings (reduced Gaussian, HEALPix),
        curvilinear (two-dimensional latitude and longitude), rotated pole, or a list of points.
    target : Grid, Mesh, Dataset or DataArray
        Where they are wanted. An xarray object gives its coordinates, under its names.
    method : str
        ``"conservative"``, ``"bilinear"``, ``"bicubic"``, ``"nearest"`` and the others of `xatmo.regrid.regrid`. From
        or to points that are no product of two axes: ``"nearest"``, ``"bilinear"``, and to them also ``"bicubic"``.
        With ``engine="xesmf"`` also ``"patch"``, ``"nearest_d2s"``, and ``"conservative"`` on curvilinear grids.
    engine : {"builtin", "xesmf"}, optional
        Who works the weights out. They are always applied by xatmo, so missing values, types and laziness are the same.
    min_valid : float
        For means (conservative): a target is the mean over the valid part of its cell if that part is at least this.
    skipna : bool
        For means: whether missing points are left out (or make each cell that they touch missing).
    mask, target_mask : DataArray or array of bool, optional
        Source points that count, and targets that are wanted: True (or not 0) where so.
    limiter : bool
        ``"conservative2"`` only: no value leaves the range of its source neighbours.
    periodic : bool, optional
        Curvilinear sources: whether the last column lies next to the first. Found out unless given.
    max_distance : float, optional
        ``"nearest"`` only: metres beyond which no point serves a target. See `mesh_weights` for what holds without it.
    weights : path or Dataset, optional
        A weight file of ESMF, xESMF, SCRIP or CDO between these two grids, instead of working weights out.
    threads : int, optional
        For NumPy arrays: threads that share the fields out; by default all CPUs of this process.
    **options
        For ``engine="xesmf"``: ``ignore_degenerate``, ``extrap_method``, ``extrap_dist_exponent``,
        ``extrap_num_src_pnts``, ``parallel`` and others of ``xesmf.Regridder``.

    Raises
    ------
    OptionError
        If a keyword has an impossible value.
    CoordinateError, GridError
        If a grid cannot be found, or the method cannot serve it.
    MissingDependencyError
        If the engine's package is not installed.

    Notes
    -----
    Between grids that are products of two axes the weights are separable, as in `xatmo.regrid.regrid`. All others are
    one sparse matrix (`SparseWeights`): under Dask it is one key of the graph, which each worker gets once.

    Coordinates are needed to make weights and to check objects against them: two-dimensional ones that are Dask arrays
    are computed. Fields are not.

    Wind components stay eastward and northward on every grid; components along the axes of a rotated grid are not
    turned.

    Examples
    --------
    >>> fine = Grid.regular(91, 180)
    >>> regridder = Regridder(fine, Grid.regular(45, 90, poles=False))
    >>> regridder
    <Regridder conservative, <Grid regular 91 x 180, ...> -> <Grid regular 45 x 90, ...>>
    >>> temperature = xr.DataArray(np.full((91, 180), 280.0), coords=fine.coords(), dims=("latitude", "longitude"))
    >>> regridder(temperature).shape
    (45, 90)
    """

    def __init__(
        self,
        source: Grid | Mesh | XarrayObject,
        target: Grid | Mesh | XarrayObject,
        *,
        method: str = "conservative",
        engine: str | None = None,
        min_valid: float = 0.5,
        skipna: bool = True,
        mask: Any = None,
        target_mask: Any = None,
        limiter: bool = False,
        periodic: bool | None = None,
        max_distance: float | None = None,
        weights: str | Path | xr.Dataset | None = None,
        threads: int | None = None,
        **options: Any,
    ) -> None:
        check_part(min_valid)
        if method == "spectral":
            message = "method 'spectral' came; it has no weights: use ds.atmo.regrid(target, method='spectral')"
            raise OptionError(message)
        if engine not in (None, "builtin", "xesmf"):
            message = f"engine {engine!r} came; a Regridder has 'builtin' (None takes it) and 'xesmf'"
            raise OptionError(message)
        if options and engine != "xesmf":
            message = f"{sorted(options)} came; only engine='xesmf' takes further options"
            raise OptionError(message)
        if limiter and method != "conservative2":
            message = f"limiter=True came with method {method!r}; only 'conservative2' has slopes to limit"
            raise OptionError(message)
        if max_distance is not None and (engine == "xesmf" or weights is not None):
            message = f"max_distance={max_distance} came for weights that xESMF or a file gives; leave it out"
            raise OptionError(message)
        self.source = site_of(source)
        self.target = site_of(target, self.source.axes)
        self._names_follow = isinstance(target, Grid) and self.target.rectilinear
        self.method, self.engine = str(method), engine or "builtin"
        self.min_valid, self.skipna, self.limiter, self.threads = float(min_valid), bool(skipna), bool(limiter), threads
        self.mask = masks.on_points(masks.resolve(mask, source, what="mask"), self.source, "mask")
        self.target_mask = masks.on_points(
            masks.resolve(target_mask, target, what="target_mask"), self.target, "target_mask"
        )
        self.source_edges, self.target_edges = (_edges(o, s) for o, s in ((source, self.source), (target, self.target)))
        if periodic is not None and isinstance(self.source.grid, Mesh):
            self.source = replace(self.source, grid=replace(self.source.grid, periodic=bool(periodic)))
        self.sparse: SparseWeights | None = None
        if weights is not None:
            self.sparse = self._from_file(weights, method if method != "conservative" else None)
            self.method = self.sparse.method
        elif self.engine == "xesmf":
            self.sparse = engines.xesmf_weights(
                self.source.grid, self.target.grid, method, mask=self.mask, target_mask=self.target_mask,
                source_edges=self.source_edges, target_edges=self.target_edges, **options,
            )  # fmt: skip
            self.method = self.sparse.method
        elif not (self.source.rectilinear and self.target.rectilinear) or max_distance is not None:
            made = mesh_weights(self.source.grid, self.target.grid, method, max_distance=max_distance)
            self.sparse = made.masked(self.mask, self.target_mask)
        else:
            _ = self.weights  # raises for unknown methods; kept for the first use

    def _from_file(self, path: str | Path | xr.Dataset, method: str | None) -> SparseWeights:
        shapes = {"source_shape": self.source.shape, "target_shape": self.target.shape}
        read = read_weights(path, method=method, **shapes)
        for what, site, shape in (
            ("source", self.source, read.weights.source_shape),
            ("target", self.target, read.weights.target_shape),
        ):
            if site.shape != shape:
                message = f"the weights are for a {what} of shape {shape}; {site.grid!r} came, with {site.shape}"
                raise DimensionError(message)
        return _in_order_of(read.weights, read.source, read.target, self.source, self.target).masked(
            self.mask, self.target_mask
        )

    # ------------------------------------------------------------------ use
    def __call__(self, obj: T) -> T:
        """Regrid a Dataset or DataArray on the source grid, lazily if it is lazy.

        Its rows and columns may come in another order, from another longitude, or with a repeated cyclic column: the
        answer is the same.

        Raises
        ------
        CoordinateError
            If the object lies on other points.
        DimensionError
            If nothing has the horizontal dimensions, or the new names are taken by other dimensions.
        ChunkError
            If a horizontal dimension is split into chunks.
        """
        if not isinstance(obj, xr.Dataset | xr.DataArray):
            message = f"a {type(obj).__name__} came; a Regridder takes a Dataset or DataArray"
            raise OptionError(message)
        ordered, own = reordered(obj, self.source, what="Regridder")
        if self.sparse is None:
            return cast(T, self._separably(ordered, own))
        return cast(T, self._sparsely(ordered, own))

    def _separably(self, obj: Any, own: Site) -> Any:
        axes, to = cast(cf.Horizontal, own.axes), self.target
        if self._names_follow:
            place = _places.grid_place(to.grid, axes)
        else:
            place = _places.Place(to.grid, cast(cf.Horizontal, to.axes), to.coords, to.cyclic, self.target_edges)
        vectors = _places.vectors_of(obj)
        valid, wanted = (
            None if m is None else xr.DataArray(m, dims=d)
            for m, d in ((self.mask, axes.dims), (self.target_mask, place.axes.dims))
        )

        def one(da: xr.DataArray) -> xr.DataArray:
            _labels.require_whole(da, axes.dims, what=f"regrid(method={self.method!r})")
            sign = -1.0 if da.name in vectors or _places.is_component(da) else 1.0
            job = engines.Job(
                self.source.grid, place.grid, axes.dims, place.axes.dims, method=self.method, min_valid=self.min_valid,
                threads=self.threads, sign=sign, skipna=self.skipna, limiter=self.limiter,
                source_edges=self.source_edges, target_edges=self.target_edges,
            )  # fmt: skip
            _places.check_names(da, job.target_dims, job.source_dims)
            out = engines.run(masks.masked(da, valid, what="mask"), job)
            return _places.finish(masks.masked(out, wanted, what="target_mask"), da, job, place)

        out = _labels.map_fields(obj, one, dims=axes.dims, what=f"regrid(method={self.method!r})")
        return cf.add_history(out, self._call(place.grid))

    def _sparsely(self, obj: Any, own: Site) -> Any:
        vectors = _places.vectors_of(obj)
        target = self.target
        if self._names_follow and own.axes is not None and not own.axes.rings:
            target = site_of(self.target.grid, own.axes)

        def one(da: xr.DataArray) -> xr.DataArray:
            sign = -1.0 if da.name in vectors or _places.is_component(da) else 1.0
            return self._field(da, own, target, sign)

        if isinstance(obj, xr.Dataset):  # what describes the old grid is no field on the new one
            obj = obj.drop_vars([n for n in cf.auxiliary(obj) if set(obj[n].dims) & set(own.dims) or not obj[n].dims])
        out = _labels.map_fields(obj, one, dims=own.dims, what=f"regrid(method={self.method!r})")
        return cf.add_history(out, self._call(target.grid if target.grid is not None else list(target.shape)))

    def _call(self, target: Any) -> str:
        return cf.describe_call(
            "regrid", target=target, method=self.method, engine=None if self.engine == "builtin" else self.engine,
            min_valid=self.min_valid if self.method in CELL_METHODS else None, skipna=None if self.skipna else False,
            mask=None if self.mask is None else "array", limiter=self.limiter or None,
            target_mask=None if self.target_mask is None else "array",
        )  # fmt: skip

    def _field(self, da: xr.DataArray, own: Site, target: Site, sign: float) -> xr.DataArray:
        _places.check_names(da, target.dims, own.dims)
        sparse = cast(SparseWeights, self.sparse)
        _labels.require_whole(da, own.dims, what=f"regrid(method={self.method!r})")
        out = sparse.regrid(
            da, own.dims, target.dims, min_valid=self.min_valid, skipna=self.skipna, sign=sign,
            threads=threads_for(da, self.threads),
        )  # fmt: skip
        stale = [n for n in out.coords if n in target.coords or _describes_projection(out[n])]
        out = out.drop_vars(stale).assign_coords(target.coords)
        out = out.transpose(*_order(da.dims, own.dims, target.dims))
        attrs = {
            k: v for k, v in _labels.true_attrs(da, off_grid=True).items() if k not in ("grid_mapping", "coordinates")
        }
        if self.method in MEANS:
            before = str(attrs.get("cell_methods", ""))
            attrs["cell_methods"] = before if "area: mean" in before else f"{before} area: mean".strip()
        out.attrs = attrs
        if target.cyclic is not None and target.axes is not None:
            out = _labels.restore_cyclic(out, target.cyclic, target.axes)
        out = _labels.changed_values(out, da, reshaped=True)
        out.encoding.pop("grid_mapping", None)
        if target.grid_mapping is not None:
            out.attrs["grid_mapping"] = target.grid_mapping
        return out

    # ------------------------------------------------------------------ facts
    @property
    def weights(self) -> Weights | SparseWeights:
        """The weights: separable between products of two axes, otherwise sparse."""
        if self.sparse is not None:
            return self.sparse
        edges = {"source_edges": self.source_edges, "target_edges": self.target_edges}
        cells = edges if self.method in CELL_METHODS else {}
        return weights_between(self.source.grid, self.target.grid, self.method, **cells, limiter=self.limiter)

    def as_sparse(self) -> SparseWeights:
        """One sparse matrix over flattened points, whatever the grids: what weight files hold.

        Raises
        ------
        OptionError
            If the method is not linear, or has no such matrix.
        """
        if self.sparse is not None:
            return self.sparse
        if self.method not in _SEPARABLE:
            message = f"method {self.method!r} is no fixed matrix; wanted one of {', '.join(map(repr, _SEPARABLE))}"
            raise OptionError(message)
        areas = (
            _cell_areas(s.grid, e) for s, e in ((self.source, self.source_edges), (self.target, self.target_edges))
        )
        source_area, target_area = areas
        made = SparseWeights.of(cast(Weights, self.weights), source_area=source_area, target_area=target_area)
        return made.masked(self.mask, self.target_mask)

    def __repr__(self) -> str:
        ends = [s.grid if s.grid is not None else f"{' x '.join(map(str, s.shape))} points"
                for s in (self.source, self.target)]  # fmt: skip
        many = f", {self.sparse.matrix.nnz} weights" if self.sparse is not None else ""
        by = "" if self.engine == "builtin" else f" by {self.engine}"
        return f"<Regridder {self.method}{by}, {ends[0]} -> {ends[1]}{many}>"

    # ------------------------------------------------------------------ files
    def save(self, path: str | Path) -> None:
        """Write everything to a netCDF file, exactly. It appears under its name only when complete.

        Separable weights are not in it: they follow from the two grids, to the bit and within milliseconds.
        """
        _saved.write(vars(self), Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Regridder:
        """Read what `save` wrote.

        Raises
        ------
        CheckpointError
            If the file is missing, truncated, or something else.
        """
        out = cls.__new__(cls)
        vars(out).update(_saved.read(Path(path)))
        return out

    def to_esmf(self, path: str | Path, *, layout: Layout = "esmf", normalization: str = "fracarea") -> None:
        """Write the weights for ESMF and xESMF, or with ``layout="scrip"`` for CDO (``cdo remap,grid,file``).

        Parameters
        ----------
        path : path
        layout : {"esmf", "scrip"}
        normalization : {"fracarea", "destarea"}
            Of conservative weights: divided by the covered part of a target cell, or by all of it.

        Raises
        ------
        OptionError
            If the method is not linear, or a keyword has an impossible value.
        """
        write_weights(
            path, self.as_sparse(), self.source.grid, self.target.grid, layout=layout,
            normalization=cast(Any, normalization),
        )  # fmt: skip

    @classmethod
    def from_file(
        cls,
        path: str | Path | xr.Dataset,
        source: Grid | Mesh | XarrayObject | None = None,
        target: Grid | Mesh | XarrayObject | None = None,
        *,
        method: str | None = None,
        min_valid: float = 0.5,
        skipna: bool = True,
        mask: Any = None,
        target_mask: Any = None,
        threads: int | None = None,
    ) -> Regridder:
        """Read a weight file of ESMF, xESMF, SCRIP or CDO; which of them is recognised.

        Parameters
        ----------
        path : path or Dataset
        source, target : Grid, Mesh, Dataset or DataArray, optional
            The grids, where the file has no coordinates, or to give results other names. Rows and columns may be in
            another order than in the file.
        method : str, optional
            Where the file does not tell.
        min_valid, skipna, mask, target_mask, threads
            As for `Regridder`. CDO keeps every cell that has anything valid: ``min_valid=0``.

        Raises
        ------
        CheckpointError
            If the file is missing, no netCDF, or holds no weights.
        OptionError
            If the file does not tell a grid's shape and none is given.
        CoordinateError
            If a grid given is not that of the file.

        Notes
        -----
        Weights that an application left out because of missing values stay out. CDO's bicubic and SCRIP's second-order
        weights, several to a link, become weights of values; see `xatmo.regrid.weight_files.read_weights`.
        """
        check_part(min_valid)
        given = [None if g is None else site_of(g) for g in (source, target)]
        shapes = {
            k: None if g is None else g.shape for k, g in zip(("source_shape", "target_shape"), given, strict=True)
        }
        read = read_weights(path, method=method, **shapes)
        weights = read.weights
        sites = [
            g or (Site(None, _plain_dims(shape), shape, {}) if grid is None else site_of(grid))
            for g, grid, shape in zip(
                given, (read.source, read.target), (weights.source_shape, weights.target_shape), strict=True
            )
        ]
        out = cls.__new__(cls)
        out.source, out.target = sites
        out._names_follow = target is None and sites[1].rectilinear
        out.engine, out.threads = "builtin", threads
        out.min_valid, out.skipna = float(min_valid), bool(skipna)
        out.mask = masks.on_points(masks.resolve(mask, source, what="mask"), sites[0], "mask")
        out.target_mask = masks.on_points(
            masks.resolve(target_mask, target, what="target_mask"), sites[1], "target_mask"
        )
        out.limiter, out.source_edges, out.target_edges = False, None, None
        weights = _in_order_of(weights, read.source, read.target, *sites)
        out.sparse = weights.masked(out.mask, out.target_mask)
        out.method = out.sparse.method
        return out


# ---------------------------------------------------------------------- helpers
def _plain_dims(shape: tuple[int, ...]) -> tuple[Hashable, ...]:
    return ("y", "x") if len(shape) == 2 else ("points",)


def _edges(obj: Any, site: Site) -> Edges | None:
    """Edges of cells by CF bounds."""
    if isinstance(obj, Grid | Mesh) or not site.rectilinear or site.axes is None:
        return None
    return cell_edges(obj, site.axes)


def _cell_areas(grid: Grid, edges: Edges | None) -> Floats:
    """Areas of cells in square radians, flattened."""
    if edges is None:
        return np.asarray(grid.areas / EARTH_RADIUS**2).ravel()
    height = np.abs(np.diff(np.sin(np.radians(edges.latitude))))
    return np.asarray(np.outer(height, np.abs(np.diff(np.radians(edges.longitude))))).ravel()


def _in_order_of(weights: SparseWeights, old_source: Any, old_target: Any, source: Site, target: Site) -> SparseWeights:
    """Reorder the points of weights that were made for the same grids in another order."""
    if old_source is not None and source.grid is not None:
        order = _points_of_file(site_of(old_source), source, "source")
        if order is not None:
            matrix = weights.matrix[:, np.argsort(order)]
            weights = replace(weights, matrix=matrix, source_mask=None, source_fraction=None, source_area=None)
    if old_target is not None and target.grid is not None:
        order = _points_of_file(site_of(old_target), target, "target")
        if order is not None:
            back = np.argsort(order)
            area = None if weights.target_area is None else weights.target_area[back]
            weights = replace(
                weights,
                matrix=weights.matrix[back],
                coverage=weights.coverage[back],
                target_area=area,
                target_mask=None,
            )
    return weights


def _points_of_file(filed: Site, site: Site, what: str) -> NDArray[np.intp] | None:
    """Where each point of a file lies in the user's order; None if the orders are the same."""
    if filed.grid is None or filed.shape != site.shape:
        return None
    if isinstance(filed.grid, Mesh) and site.rectilinear:
        filed = replace(filed, grid=grid_from_points(filed.grid.latitude, filed.grid.longitude))
    chosen = selection(filed, site, what=f"{what} of this weight file")
    if not chosen:
        return None
    index = xr.DataArray(np.arange(int(np.prod(site.shape))).reshape(site.shape), dims=site.dims)
    return cast("NDArray[np.intp]", index.isel(cast(Mapping[Any, Any], chosen)).values.ravel())


def _describes_projection(coord: xr.DataArray) -> bool:
    return coord.ndim == 0 and "grid_mapping_name" in coord.attrs


def _order(dims: tuple[Hashable, ...], old: tuple[Hashable, ...], new: tuple[Hashable, ...]) -> list[Hashable]:
    """Put new dimensions at the places of the old; together, at the first of them, if their number changes."""
    if len(old) == len(new):
        place = dict(zip(old, new, strict=True))
        return [place.get(d, d) for d in dims]
    out: list[Hashable] = []
    for d in dims:
        if d not in old:
            out.append(d)
        elif not set(new) & set(out):
            out += new
    return out
