"""Learned features of labelled fields, and the distance that they define."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo import _channels, _labels, cf
from xatmo.errors import CoordinateError, DimensionError, OptionError
from xatmo.grids import Grid
from xatmo.patches import Plan, plan
from xatmo.typing import XarrayObject

if TYPE_CHECKING:
    import torch

    from xatmo.model import Model
    from xatmo.tasks import Task

    ModelLike: TypeAlias = Task | Model | torch.nn.Module | str | Path

Array = NDArray[Any]


def embed(
    obj: XarrayObject,
    model: ModelLike,
    *,
    layer: str | None = None,
    overlap: Mapping[Hashable, int] | None = None,
    device: str = "auto",
) -> xr.DataArray:
    """Features of every window of a field, from the encoder of an `AtmoDist` model.

    Windows have the size of the training patches. They lie side by side from north to south and eastward from the
    column nearest to 0 degrees, around the Earth on a global grid; the last ones are moved inward, so that no point is
    left out.

    Parameters
    ----------
    obj : Dataset or DataArray (..., latitude, longitude)
        Has the inputs of the model under their names or standard names, in units that convert. Lazy fields need
        latitude and longitude whole.
    model : Task, Model, str or Path
        Or the path of a saved one.
    layer : str, optional
        Of the encoder: ``"stage1"`` to ``"stage4"`` ...; the last by default.
    overlap : mapping, optional
        Cells that neighbouring windows share, under ``"lat"`` and ``"lon"``. None by default.
    device : str
        ``"auto"`` is CUDA if it is there where the task runs.

    Returns
    -------
    DataArray (..., latitude, longitude, feature)
        float32, named ``embedding``. Latitude and longitude are the centres of the windows; ``feature`` runs over the
        cells of the layer's map, with coordinates ``channel``, ``row``, ``column``. Lazy where ``obj`` is.

    Raises
    ------
    VariableError, UnitsError
        If an input is missing, or its units do not fit.
    DimensionError
        If the field is smaller than a window, or an option names another dimension.
    ChunkError
        If latitude or longitude are in several chunks.
    OptionError
        If the model has no encoder, or the encoder no such layer.
    MissingValueError
        At compute, if a value is missing.
    """
    made = _model(model)
    out = _embed(obj, made, layer, overlap, device)
    shown = {"layer": layer, "overlap": None if overlap is None else {str(d): n for d, n in overlap.items()}}
    return _finish(out, obj, made, "embed", shown)


def distance(
    obj: XarrayObject,
    other: XarrayObject,
    model: ModelLike,
    *,
    layer: str | None = None,
    overlap: Mapping[Hashable, int] | None = None,
    device: str = "auto",
) -> xr.DataArray:
    r"""How different two states are, to an `AtmoDist` model.

    :math:`\alpha\,\overline{(E(x) - E(y))^2}` over the features of each window. With the scale :math:`\alpha` of the
    layer, which `AtmoDist.metric_by_lag` finds (and ``fit`` for the last layer), it is about as large as the mean
    squared difference, in standard deviations, of states that lie as far apart in time; without one it is 1.

    Parameters
    ----------
    obj, other : Dataset or DataArray
        On the same grid; other dimensions match by their coordinates, or are those of one of the two only.
    model, layer, overlap, device
        See `embed`.

    Returns
    -------
    DataArray (..., latitude, longitude)
        Named ``distance``, at the centres of the windows; the attribute ``scale`` tells :math:`\alpha`.

    Raises
    ------
    CoordinateError
        If both do not lie on the same points. Others as for `embed`.
    """
    made = _model(model)
    a, b = (_embed(o, made, layer, overlap, device) for o in (obj, other))
    axes = cf.horizontal(a)
    theirs = cf.horizontal(b)
    b = b.rename({o: n for o, n in zip(theirs.dims, axes.dims, strict=True) if o != n})
    for d in axes.dims:
        gap = np.abs(a[d].values - b[d].values) if a.sizes[d] == b.sizes[d] else np.array([np.inf])
        if d == axes.lon_dim:
            gap = np.minimum(gap % 360, 360 - gap % 360) if np.isfinite(gap).all() else gap
        if gap.max() > 1e-3:
            message = f"both fields have to lie on the same points: they differ along {d!r}. Regrid one to the other"
            raise CoordinateError(message)
    b = b.assign_coords({d: a[d] for d in axes.dims})
    try:
        a, b = xr.align(a, b, join="exact", copy=False)
    except ValueError as error:
        message = f"both fields have to have the same coordinates; select the same from both ({str(error)[:200]})"
        raise CoordinateError(message) from error
    scale = float(made.config.get("content_scale", {}).get(a.attrs["layer"], 1.0))
    out = (((a - b) ** 2).mean("feature") * scale).astype(np.float32).rename("distance")
    out = _labels.restore_order(out, a)
    out.attrs = {"long_name": "distance in learned features", "units": "1", "layer": a.attrs["layer"], "scale": scale}
    return _finish(out, obj, made, "distance", {"layer": layer})


# ---------------------------------------------------------------------- inside
def _model(model: ModelLike) -> Model:
    from xatmo import tasks
    from xatmo.nn.representation.windows import encoder_of

    made = tasks.as_model(model)
    encoder_of(made.network)
    if not made.inputs:
        message = "a bare network does not tell which variables it reads; wanted a fitted AtmoDist, or a saved one"
        raise OptionError(message)
    return made


def _embed(
    obj: XarrayObject, model: Model, layer: str | None, overlap: Mapping[Hashable, int] | None, device: str
) -> xr.DataArray:
    """Embed, windows from north to south."""
    from xatmo.nn.representation.windows import encoder_of, map_shape
    from xatmo.nn.tiled import SharedNetwork

    ds = obj if isinstance(obj, xr.Dataset) else obj.to_dataset(name=model.inputs[0].name if obj.name is None
                                                                else obj.name)  # fmt: skip
    sources = _channels.match(ds, model.inputs, what="the model")
    ds = ds[list(dict.fromkeys(s.variable for s in sources))]
    axes = cf.horizontal(ds)
    ds, _ = _labels.drop_cyclic(ds, axes)
    grid = Grid.of(ds)
    name = encoder_of(model.network).require(layer)
    patch = {"lat": model.patch_size["lat"], "lon": model.patch_size["lon"]}
    laid = _plan(grid, patch, overlap)
    shape = map_shape(model.network, name, (patch["lat"], patch["lon"]))
    for s in sources:
        _labels.require_whole(ds[s.variable], axes.dims, what="embed")
    first = int(np.argmin(np.asarray(grid.longitude) % 360)) if grid.periodic else 0
    job = _Job(
        SharedNetwork(model.network), name, device,
        tuple((s.scale, s.offset) for s in sources),
        tuple(_numbers(model, c.name) for c in model.inputs), tuple(c.name for c in model.inputs),
        laid, not grid.north_to_south, first,
    )  # fmt: skip
    windows = ["_window_lat", "_window_lon", "feature"]
    sizes = dict(zip(windows, (*laid.shape, int(np.prod(shape))), strict=True))
    out: xr.DataArray = xr.apply_ufunc(
        job, *[ds[s.variable] for s in sources], input_core_dims=[list(axes.dims)] * len(sources),
        output_core_dims=[windows], dask="parallelized", output_dtypes=[np.float32], join="exact",
        exclude_dims=set(axes.dims), dask_gufunc_kwargs={"output_sizes": sizes},
    )  # fmt: skip
    out = out.rename({"_window_lat": axes.lat_dim, "_window_lon": axes.lon_dim}).rename("embedding")
    lat = grid.latitude if grid.north_to_south else grid.latitude[::-1]
    lon = np.roll(np.asarray(grid.longitude, dtype=float), -first)
    step = float(np.mean(np.diff(grid.longitude)))
    rows, columns = laid.starts["lat"], laid.starts["lon"]
    centers = {
        axes.lat_dim: (lat[rows + (patch["lat"] - 1) // 2] + lat[rows + patch["lat"] // 2]) / 2,
        axes.lon_dim: lon[columns] + step * (patch["lon"] - 1) / 2,
    }
    if grid.periodic:
        centers[axes.lon_dim] = centers[axes.lon_dim] % 360
    attrs = {
        axes.lat_dim: {"standard_name": "latitude", "units": "degrees_north"},
        axes.lon_dim: {"standard_name": "longitude", "units": "degrees_east"},
    }
    number = np.unravel_index(np.arange(sizes["feature"]), shape)
    out = out.assign_coords({d: (d, c, attrs[d]) for d, c in centers.items()})
    out = out.assign_coords({n: ("feature", k) for n, k in zip(("channel", "row", "column"), number, strict=True)})
    out.attrs = {"long_name": f"features of {name}", "units": "1", "layer": name}
    return out


def _plan(grid: Grid, patch: dict[str, int], overlap: Mapping[Hashable, int] | None) -> Plan:
    if overlap is not None and (not isinstance(overlap, Mapping) or set(overlap) - set(patch)):
        message = f"overlap={overlap!r}; wanted cells for 'lat' and 'lon', for instance {{'lat': 8, 'lon': 8}}"
        raise OptionError(message)
    if grid.nlat < patch["lat"] or grid.nlon < patch["lon"]:
        message = (
            f"the field has {grid.nlat} x {grid.nlon} points, and the model was trained on windows of {patch['lat']} x "
            f"{patch['lon']}; wanted at least that many"
        )
        raise DimensionError(message)
    sizes: dict[Hashable, int] = {"lat": grid.nlat, "lon": grid.nlon}
    size: dict[Hashable, int] = dict(patch.items())
    return plan(sizes, size, overlap=dict(overlap or {}), periodic=["lon"] if grid.periodic else [])


def _numbers(model: Model, name: str) -> tuple[float, ...]:
    if model.normalizer is None:
        return (0.0, 1.0)
    return tuple(float(a) for a in model.normalizer.scaling(name))


@dataclass(frozen=True)
class _Job:
    """What turns blocks ``(..., lat, lon)`` of all channels into features ``(..., row, column, feature)``."""

    network: Any
    layer: str
    device: str
    units: tuple[tuple[float, float], ...]
    numbers: tuple[tuple[float, ...], ...]
    names: tuple[str, ...]
    laid: Plan
    flipped: bool
    first: int

    def __call__(self, *blocks: Array) -> Array:
        from xatmo.nn.representation.windows import encode
        from xatmo.nn.tiled import resolve_device
        from xatmo.normalize import forward

        fields = []
        for block, (scale, offset), numbers, name in zip(blocks, self.units, self.numbers, self.names, strict=True):
            _labels.require_finite(block, what="embed", name=name)
            x = block.astype(np.float64) * scale + offset if (scale, offset) != (1.0, 0.0) else block
            fields.append(forward(np.asarray(x, dtype=np.float32), *numbers))
        stacked = np.stack(np.broadcast_arrays(*fields), axis=-3)  # (..., channel, lat, lon)
        lead = stacked.shape[:-3]
        stacked = stacked.reshape(-1, *stacked.shape[-3:])
        if self.flipped:
            stacked = stacked[..., ::-1, :]
        stacked = np.roll(stacked, -self.first, axis=-1) if self.first else stacked
        network = self.network.on(resolve_device(self.device))
        rows, columns = self.laid.starts["lat"], self.laid.starts["lon"]
        height, width = (self.laid.patch_size[d] for d in ("lat", "lon"))
        around = (columns[:, None] + np.arange(width)) % stacked.shape[-1]
        made = []
        for field in stacked:
            windows = np.stack([field[:, r : r + height][..., c] for r in rows for c in around])
            made.append(encode(network, windows, self.layer).reshape(rows.size, columns.size, -1))
        return np.stack(made).reshape(*lead, *made[0].shape)

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return (
            "xatmo-embed", self.network.key, self.layer, self.units, self.numbers, self.flipped, self.first,
            tuple(self.laid.starts["lat"].tolist()), tuple(self.laid.starts["lon"].tolist()),
        )  # fmt: skip


def _finish(out: xr.DataArray, obj: XarrayObject, model: Model, call: str, shown: dict[str, Any]) -> xr.DataArray:
    """Give the latitude direction back, and say what was done."""
    axes = cf.horizontal(out)
    if not Grid.of(obj).north_to_south:
        out = out.isel({axes.lat_dim: slice(None, None, -1)})
    if "history" in obj.attrs:
        out.attrs["history"] = obj.attrs["history"]
    task = str(model.config.get("task"))
    return cf.add_history(out, cf.describe_call(call, model=task, fingerprint=model.fingerprint, **shown))
