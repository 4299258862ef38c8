"""Weight files of other programs: ESMF's ``row``, ``col``, ``S``, and the SCRIP layout that CDO reads and writes.

Both count points from 1 and flatten grids with longitude running fastest; dimensions are stored fastest first.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import sparse

from xatmo.constants import EARTH_RADIUS
from xatmo.errors import CheckpointError, CoordinateError, DimensionError, GridError, OptionError
from xatmo.grids import Grid
from xatmo.regrid.curvilinear import Mesh, points_of
from xatmo.regrid.sparse_weights import MEANS, Shape, SparseWeights, clean, scaled_rows
from xatmo.typing import Floats

Layout = Literal["esmf", "scrip"]

_ESMF = ("row", "col", "S")
_SCRIP = ("src_address", "dst_address", "remap_matrix")
# Coordinates that went through radians come back with rounding in the last digits.
_DECIMALS = 10

_MAP_METHODS = {
    "conservative": "Conservative remapping", "conservative2": "Conservative remapping",
    "bilinear": "Bilinear remapping", "bicubic": "Bicubic remapping", "nearest": "Nearest neighbor",
    "distance": "Distance weighted avg of nearest neighbors", "most_common": "Largest area fraction",
}  # fmt: skip
_ESMF_METHODS = {
    "conservative": "First-order Conservative", "conservative2": "Second-order Conservative", "bilinear": "Bilinear",
    "patch": "Higher-order Patch", "nearest": "Nearest source to destination",
    "nearest_d2s": "Nearest destination to source",
}  # fmt: skip


@dataclass(frozen=True)
class WeightFile:
    """What a weight file says.

    Attributes
    ----------
    weights : SparseWeights
    source, target : Grid, RingGrid, Mesh or None
        Rebuilt from the coordinates in the file; None where it has none.
    layout : {"esmf", "scrip"}
    """

    weights: SparseWeights
    source: Any
    target: Any
    layout: Layout


# ---------------------------------------------------------------------- reading
def read_weights(
    path: str | Path | xr.Dataset,
    *,
    method: str | None = None,
    source_shape: Shape | None = None,
    target_shape: Shape | None = None,
) -> WeightFile:
    """Read weights of ESMF (``ESMF_RegridWeightGen``, xESMF) or of CDO and SCRIP.

    Parameters
    ----------
    path : path or Dataset
    method : str, optional
        Where the file does not tell, or should be taken for something else: ``"conservative"``, ``"bilinear"`` ...
    source_shape, target_shape : tuple of int, optional
        Where the file does not tell (those of xESMF hold nothing but ``row``, ``col`` and ``S``).

    Notes
    -----
    Conservative weights come divided by nothing (``normalization`` "none"), by the area of the target cell
    ("destarea"), or by the part of it that the source covers ("fracarea"). In each case they are in proportion to the
    overlaps, so rows are divided by their sums here; the covered part is kept as ``coverage``.

    SCRIP's second-order weights are three to a link: of the value, of its gradient northwards (per radian of latitude),
    and of its gradient eastwards (per radian, divided by the cosine of latitude). Its bicubic weights are four: of the
    value, and of its differences by column, by row and by both. Gradients are centred differences of the source, so all
    of these become weights of values here.

    Raises
    ------
    CheckpointError
        If the file is missing, no netCDF, or holds no weights.
    OptionError
        If shapes are needed and not given.
    GridError
        If second-order weights need a grid that the file does not describe.
    """
    name = "this Dataset" if isinstance(path, xr.Dataset) else repr(str(path))
    ds = path if isinstance(path, xr.Dataset) else _open(Path(path))
    if set(_ESMF) <= set(ds.variables):
        return _from_esmf(ds, name, method, source_shape, target_shape)
    if set(_SCRIP) <= set(ds.variables):
        return _from_scrip(ds, name, method)
    message = (
        f"{name} holds {sorted(map(str, ds.variables))[:8]}; wanted a weight file with {', '.join(_ESMF)} (ESMF, "
        f"xESMF) or {', '.join(_SCRIP)} (SCRIP, CDO)"
    )
    raise CheckpointError(message)


def _open(path: Path) -> xr.Dataset:
    if not path.is_file():
        message = f"there is no file {str(path)!r}; wanted a weight file of ESMF, xESMF, SCRIP or CDO"
        raise CheckpointError(message)
    try:
        with xr.open_dataset(path, decode_cf=False, engine="netcdf4") as ds:
            return ds.load()
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        message = f"{str(path)!r} cannot be read as netCDF ({type(error).__name__}); wanted a weight file"
        raise CheckpointError(message) from error


def _from_esmf(
    ds: xr.Dataset, name: str, method: str | None, source_shape: Shape | None, target_shape: Shape | None
) -> WeightFile:
    source = _grid(ds, "src_grid_dims", "yc_a", "xc_a", source_shape)
    target = _grid(ds, "dst_grid_dims", "yc_b", "xc_b", target_shape)
    shapes = []
    for side, dims, size, given, found in (
        ("source", "src_grid_dims", "n_a", source_shape, source),
        ("target", "dst_grid_dims", "n_b", target_shape, target),
    ):
        told = tuple(int(n) for n in ds[dims].values[::-1]) if dims in ds else None
        shape = given or (tuple(found.shape) if found is not None else told)
        if shape is None and size in ds.sizes:
            shape = (int(ds.sizes[size]),)
        if shape is None:
            message = f"{name} does not tell the shape of the {side} grid; give {side}= (a Grid or an object on it)"
            raise OptionError(message)
        points = int(ds.sizes.get(size, np.prod(told or shape)))
        if int(np.prod(shape)) != points:
            message = f"{name} has a {side} grid of {points} points; the one that came has {shape}"
            raise DimensionError(message)
        shapes.append(shape)
    rows, columns = (ds[n].values.astype(np.int64) - 1 for n in ("row", "col"))
    values = ds["S"].values.astype(np.float64)
    known = method or _esmf_method(ds)
    weights = SparseWeights.from_links(
        rows, columns, values, source_shape=shapes[0], target_shape=shapes[1], method=known or "bilinear",
        source_fraction=_numbers(ds, "frac_a"), source_area=_numbers(ds, "area_a"), target_area=_numbers(ds, "area_b"),
        source_mask=_mask(ds, "mask_a"), target_mask=_mask(ds, "mask_b"),
    )  # fmt: skip
    known = known or _guess_method(weights.matrix)
    return WeightFile(_settled(weights, known, _numbers(ds, "frac_b")), source, target, "esmf")


def _from_scrip(ds: xr.Dataset, name: str, method: str | None) -> WeightFile:
    missing = [n for n in ("src_grid_dims", "dst_grid_dims") if n not in ds]
    if missing:
        message = f"{name} lacks {missing[0]!r}; wanted a whole SCRIP weight file, as `cdo gencon` and SCRIP write"
        raise CheckpointError(message)
    source = _grid(ds, "src_grid_dims", "src_grid_center_lat", "src_grid_center_lon", None)
    target = _grid(ds, "dst_grid_dims", "dst_grid_center_lat", "dst_grid_center_lon", None)
    shapes = [tuple(int(n) for n in ds[d].values[::-1]) for d in ("src_grid_dims", "dst_grid_dims")]
    if source is not None:
        shapes[0] = tuple(source.shape)
    if target is not None:
        shapes[1] = tuple(target.shape)
    links = ds["remap_matrix"].values.astype(np.float64)
    links = links[:, None] if links.ndim == 1 else links
    rows, columns = (ds[n].values.astype(np.int64) - 1 for n in ("dst_address", "src_address"))
    known = method or _scrip_method(ds, links.shape[1])

    def matrix(k: int) -> SparseWeights:
        return SparseWeights.from_links(
            rows, columns, links[:, k], source_shape=shapes[0], target_shape=shapes[1], method=known,
            source_fraction=_numbers(ds, "src_grid_frac"), source_area=_numbers(ds, "src_grid_area"),
            target_area=_numbers(ds, "dst_grid_area"), source_mask=_mask(ds, "src_grid_imask"),
            target_mask=_mask(ds, "dst_grid_imask"),
        )  # fmt: skip

    weights = matrix(0)
    if links.shape[1] == 1:
        return WeightFile(_settled(weights, known, _numbers(ds, "dst_grid_frac")), source, target, "scrip")
    if links.shape[1] == 3:
        slopes = _gradients(source, name)
    elif links.shape[1] == 4:
        slopes = _differences(shapes[0], name)
    else:
        message = f"{name} has {links.shape[1]} weights to a link; wanted 1, 3 (second order) or 4 (bicubic)"
        raise CheckpointError(message)
    sums = np.asarray(weights.matrix.sum(axis=1))
    for k, slope in enumerate(slopes, start=1):
        weights = replace(weights, matrix=clean(weights.matrix + matrix(k).matrix @ slope))
    return WeightFile(_settled(weights, known, _numbers(ds, "dst_grid_frac"), sums), source, target, "scrip")


def _settled(weights: SparseWeights, method: str, fraction: Floats | None, sums: Floats | None = None) -> SparseWeights:
    """Scale means to sum to 1, with the covered part beside them."""
    filled = (np.diff(weights.matrix.indptr) > 0).astype(np.float64)
    if method in MEANS or method == "most_common":
        sums = np.asarray(weights.matrix.sum(axis=1)) if sums is None else sums
        if fraction is None or fraction.size != sums.size or not fraction.any():
            fraction = np.clip(sums, 0, 1)
        factor = np.divide(1, sums, out=np.zeros_like(sums), where=sums > 0)
        matrix = clean(sparse.diags_array(factor, format="csr") @ weights.matrix)
        # Programs round the part of whole cells.
        fraction = np.where(np.abs(fraction - 1) < 1e-5, 1.0, fraction) * filled
        exact = matrix if method == "conservative2" else scaled_rows(matrix)
        return replace(weights, matrix=exact, coverage=fraction, method=method)
    if method == "nearest" and ((np.diff(weights.matrix.indptr) > 1).any() or (weights.matrix.data != 1).any()):
        method = "distance"
    return replace(weights, coverage=filled, method=method)


def _esmf_method(ds: xr.Dataset) -> str | None:
    if ds.attrs.get("method") in _MAP_METHODS or ds.attrs.get("method") in _ESMF_METHODS:
        return str(ds.attrs["method"])  # as written here
    exact = str(ds.attrs.get("ESMF_regrid_method", "")).lower()
    words = exact or str(ds.attrs.get("map_method", "")).lower()
    for word, method in (
        ("second-order", "conservative2"), ("conserv", "conservative"), ("patch", "patch"),
        ("destination to source", "nearest_d2s"), ("nearest", "nearest"), ("bilinear", "bilinear"),
    ):  # fmt: skip
        if word in words:
            return method
    return None


def _scrip_method(ds: xr.Dataset, per_link: int) -> str:
    words = str(ds.attrs.get("map_method", "")).lower()
    if "conserv" in words:
        return "conservative2" if per_link == 3 else "conservative"
    for word, method in (
        ("bilinear", "bilinear"), ("bicubic", "bicubic"), ("largest", "most_common"), ("distance", "distance"),
        ("avg", "distance"), ("nearest", "nearest"),
    ):  # fmt: skip
        if word in words:
            return method
    return "bilinear"


def _guess_method(matrix: sparse.csr_array) -> str:
    """Without a word on the method, rows that do not sum to 1 can only be parts of cells."""
    count = np.diff(matrix.indptr)
    sums = np.asarray(matrix.sum(axis=1))[count > 0]
    if matrix.nnz and (count <= 1).all() and (matrix.data == 1).all():
        return "nearest"
    return "bilinear" if count.max(initial=0) <= 4 and np.allclose(sums, 1, atol=1e-6) else "conservative"


def _numbers(ds: xr.Dataset, name: str) -> Floats | None:
    return ds[name].values.astype(np.float64).ravel() if name in ds else None


def _mask(ds: xr.Dataset, name: str) -> NDArray[np.bool_] | None:
    values = _numbers(ds, name)
    return None if values is None or values.all() else values != 0


def _grid(ds: xr.Dataset, dims: str, lat: str, lon: str, shape: Shape | None) -> Any:
    """Rebuild a grid from the coordinates of its points; None if there are none."""
    if lat not in ds or lon not in ds or ds[lat].size == 0:
        return None
    degrees = [_degrees(ds[n]) for n in (lat, lon)]
    told = tuple(int(n) for n in ds[dims].values[::-1]) if dims in ds else (degrees[0].size,)
    shape = shape or told
    if int(np.prod(shape)) != degrees[0].size:
        shape = (degrees[0].size,)
    return grid_from_points(degrees[0].reshape(shape), degrees[1].reshape(shape))


def _degrees(values: xr.DataArray) -> Floats:
    numbers = values.values.astype(np.float64).ravel()
    units = str(values.attrs.get("units", "degrees")).lower()
    return np.round(np.degrees(numbers), _DECIMALS) if units.startswith("rad") else numbers


def grid_from_points(lat: Floats, lon: Floats) -> Any:
    """Recognise a product of two axes, then rings, in the coordinates of points; otherwise make a `Mesh`."""
    if lat.ndim == 2 and min(lat.shape) > 1:
        same = np.ptp(lat, axis=1).max() < 1e-6 and np.ptp((lon - lon[:1] + 180) % 360, axis=0).max() < 1e-6
        if same:
            try:
                made = Grid.from_latlon(lat[:, 0], lon[0])
            except CoordinateError:
                return Mesh(lat, lon)
            return made if made.shape == lat.shape else Mesh(lat, lon)
        return Mesh(lat, lon)
    if lat.ndim == 1:
        try:
            return Grid.from_points(lat, lon)
        except (GridError, CoordinateError):
            return Mesh(lat, lon)
    return Mesh(lat.ravel(), lon.ravel())


# ---------------------------------------------------------------------- gradients of the source
def _step(n: int, *, periodic: bool) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Matrices that take each point's next and last neighbour; at an end, the point itself."""
    here = np.arange(n)
    after, before = here + 1, here - 1
    after, before = (after % n, before % n) if periodic else (np.minimum(after, n - 1), np.maximum(before, 0))
    one = np.ones(n)
    last = sparse.csr_array((one, (here, before)), shape=(n, n))
    return sparse.csr_array((one, (here, after)), shape=(n, n)), last


def _gradients(grid: Any, name: str) -> list[sparse.csr_array]:
    """Gradient northwards, and eastwards divided by the cosine of latitude, both per radian."""
    if not isinstance(grid, Grid) or len(grid.shape) != 2:
        message = f"{name} has second-order weights; their gradients need a source that is a product of two axes"
        raise GridError(message)
    lat, lon = np.radians(grid.latitude), np.radians(grid.longitude)
    after, before = _step(grid.nlat, periodic=False)
    north = sparse.diags_array(1 / (after @ lat - before @ lat), format="csr") @ (after - before)
    after, before = _step(grid.nlon, periodic=grid.periodic)
    width = (after @ lon - before @ lon) % (2 * np.pi)
    east = sparse.diags_array(1 / width, format="csr") @ (after - before)
    cosine = np.cos(lat)
    inverse = np.divide(1, cosine, out=np.zeros_like(cosine), where=cosine > 1e-6)
    return [
        clean(sparse.kron(north, sparse.eye_array(grid.nlon), format="csr")),
        clean(sparse.kron(sparse.diags_array(inverse), east, format="csr")),
    ]


def _differences(shape: Shape, name: str) -> list[sparse.csr_array]:
    """Centred differences by column (which go around), by row (one-sided at the ends), and by both."""
    if len(shape) != 2:
        message = f"{name} has bicubic weights; their gradients need a source with rows and columns"
        raise GridError(message)
    ny, nx = shape
    after, before = _step(nx, periodic=True)
    along = (after - before) / 2
    after, before = _step(ny, periodic=False)
    factor = np.full(ny, 0.5)
    factor[[0, -1]] = 1.0
    across = sparse.diags_array(factor, format="csr") @ (after - before)
    return [
        clean(sparse.kron(sparse.eye_array(ny), along, format="csr")),
        clean(sparse.kron(across, sparse.eye_array(nx), format="csr")),
        clean(sparse.kron(across, along, format="csr")),
    ]


# ---------------------------------------------------------------------- writing
def write_weights(
    path: str | Path,
    weights: SparseWeights,
    source: Any = None,
    target: Any = None,
    *,
    layout: Layout = "esmf",
    normalization: Literal["fracarea", "destarea"] = "fracarea",
) -> None:
    """Write weights for ESMF, xESMF or CDO. The file appears under its name only when complete.

    Parameters
    ----------
    path : path
    weights : SparseWeights
    source, target : Grid, RingGrid or Mesh, optional
        For the coordinates and areas in the file. SCRIP files need them.
    layout : {"esmf", "scrip"}
    normalization : {"fracarea", "destarea"}
        Of means: divided by the covered part of a target cell, or by all of it.

    Raises
    ------
    OptionError
        If a keyword has an impossible value, or the SCRIP layout lacks a grid.
    """
    if layout not in ("esmf", "scrip") or normalization not in ("fracarea", "destarea"):
        message = (
            f"layout={layout!r}, normalization={normalization!r} came; wanted 'esmf' or 'scrip', and 'fracarea' or "
            "'destarea'"
        )
        raise OptionError(message)
    whole = weights.signed()
    coverage = whole.coverage
    matrix = whole.matrix
    if whole.method in MEANS and normalization == "destarea":
        matrix = clean(sparse.diags_array(coverage, format="csr") @ matrix)
    ds = (_to_esmf if layout == "esmf" else _to_scrip)(whole, matrix, source, target)
    ds.attrs["normalization"] = normalization if whole.method in MEANS else "none"
    write_netcdf(ds, Path(path), classic=_classic(ds))


def _areas(grid: Any, given: Floats | None, size: int) -> Floats:
    if given is not None:
        return given
    if grid is None or isinstance(grid, Mesh):
        return np.zeros(size)
    return np.asarray(grid.areas, dtype=np.float64).ravel() / EARTH_RADIUS**2


def _fractions(weights: SparseWeights, source: Any, target: Any) -> tuple[Floats, Floats]:
    """Part of each source cell that serves a target, and of each target that is covered."""
    if weights.source_fraction is not None:
        return weights.source_fraction, weights.coverage
    used = np.zeros(weights.n_source)
    if weights.method not in MEANS:
        return used + 1, weights.coverage
    areas = [_areas(g, a, n) for g, a, n in (
        (source, weights.source_area, weights.n_source), (target, weights.target_area, weights.n_target))]  # fmt: skip
    given = (areas[1] * weights.coverage) @ weights.matrix
    return np.clip(np.divide(given, areas[0], out=used, where=areas[0] > 0), 0, 1), weights.coverage


def _dims(shape: Shape) -> NDArray[np.int32]:
    return np.array(shape[::-1], dtype=np.int32)


def _points(grid: Any, size: int) -> tuple[Floats, Floats]:
    return (np.zeros(0), np.zeros(0)) if grid is None else points_of(grid)


def _ones(mask: Any, size: int) -> NDArray[np.int32]:
    return np.ones(size, np.int32) if mask is None else np.asarray(mask, dtype=np.int32)


def _to_esmf(weights: SparseWeights, matrix: sparse.csr_array, source: Any, target: Any) -> xr.Dataset:
    rows = np.repeat(np.arange(weights.n_target), np.diff(matrix.indptr)) + 1
    frac_a, frac_b = _fractions(weights, source, target)
    variables: dict[str, Any] = {
        "src_grid_dims": ("src_grid_rank", _dims(weights.source_shape)),
        "dst_grid_dims": ("dst_grid_rank", _dims(weights.target_shape)),
    }
    for side, grid, mask, area, size in (
        ("a", source, weights.source_mask, weights.source_area, weights.n_source),
        ("b", target, weights.target_mask, weights.target_area, weights.n_target),
    ):
        if grid is not None:
            lat, lon = points_of(grid)
            variables[f"yc_{side}"] = (f"n_{side}", lat, {"units": "degrees"})
            variables[f"xc_{side}"] = (f"n_{side}", lon, {"units": "degrees"})
        variables[f"mask_{side}"] = (f"n_{side}", _ones(mask, size), {"units": "unitless"})
        variables[f"area_{side}"] = (f"n_{side}", _areas(grid, area, size), {"units": "square radians"})
    variables["frac_a"] = ("n_a", frac_a, {"units": "unitless"})
    variables["frac_b"] = ("n_b", frac_b, {"units": "unitless"})
    # Numbers cut off a file of the classic format read as 0, which no index is: so indices come last.
    variables["S"] = ("n_s", matrix.data)
    variables["col"] = ("n_s", (matrix.indices + 1).astype(np.int32))
    variables["row"] = ("n_s", rows.astype(np.int32))
    attrs = {
        "title": "regridding weights", "map_method": _MAP_METHODS.get(weights.method, "Bilinear remapping"),
        "ESMF_regrid_method": _ESMF_METHODS.get(weights.method, weights.method), "conventions": "NCAR-CSM",
        "method": weights.method,
    }  # fmt: skip
    return xr.Dataset(variables, attrs=attrs)


def _to_scrip(weights: SparseWeights, matrix: sparse.csr_array, source: Any, target: Any) -> xr.Dataset:
    if source is None or target is None:
        message = "the SCRIP layout holds the coordinates of both grids; give source= and target="
        raise OptionError(message)
    rows = np.repeat(np.arange(weights.n_target), np.diff(matrix.indptr)) + 1
    frac_a, frac_b = _fractions(weights, source, target)
    variables: dict[str, Any] = {}
    for side, grid, mask, area, fraction, shape in (
        ("src", source, weights.source_mask, weights.source_area, frac_a, weights.source_shape),
        ("dst", target, weights.target_mask, weights.target_area, frac_b, weights.target_shape),
    ):
        lat, lon = points_of(grid)
        size = int(np.prod(shape))
        points = f"{side}_grid_size"
        variables[f"{side}_grid_dims"] = (f"{side}_grid_rank", _dims(shape))
        variables[f"{side}_grid_center_lat"] = (points, np.radians(lat), {"units": "radians"})
        variables[f"{side}_grid_center_lon"] = (points, np.radians(lon), {"units": "radians"})
        variables[f"{side}_grid_imask"] = (points, _ones(mask, size), {"units": "unitless"})
        variables[f"{side}_grid_area"] = (points, _areas(grid, area, size), {"units": "square radians"})
        variables[f"{side}_grid_frac"] = (points, fraction, {"units": "unitless"})
    variables["remap_matrix"] = (("num_links", "num_wgts"), matrix.data[:, None])
    variables["src_address"] = ("num_links", (matrix.indices + 1).astype(np.int32))
    variables["dst_address"] = ("num_links", rows.astype(np.int32))
    attrs: dict[str, Any] = {
        "title": "CDO remapping", "map_method": _MAP_METHODS.get(weights.method, "Bilinear remapping"),
        "conventions": "SCRIP", "source_grid": _cdo_kind(source), "dest_grid": _cdo_kind(target),
    }  # fmt: skip
    if weights.method in MEANS:
        attrs["remap_order"] = np.int32(1)
    return xr.Dataset(variables, attrs=attrs)


def _cdo_kind(grid: Any) -> str:
    if isinstance(grid, Mesh):
        return "curvilinear" if grid.latitude.ndim == 2 else "unstructured"
    if len(grid.shape) == 1:
        return "unstructured"
    return "gaussian" if grid.kind == "gaussian" else "lonlat"


def write_netcdf(ds: xr.Dataset, path: Path, *, classic: bool = False) -> None:
    """Write a file that appears under its name only when complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    try:
        encoding = {n: {"_FillValue": None} for n in ds.variables}
        ds.to_netcdf(part, format="NETCDF3_64BIT" if classic else "NETCDF4", engine="netcdf4", encoding=encoding)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(part, 0o666 & ~mask)
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def _classic(ds: xr.Dataset) -> bool:
    """Whether every variable fits the classic format, which all programs read."""
    return all(v.nbytes < 2**31 and v.dtype in (np.int32, np.float64) for v in ds.variables.values())
