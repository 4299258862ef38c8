"""Dimensions of a patched computation, and the Dask graph in which each tile of its output is one task."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import xarray as xr

from xatmo import _tiles, _valid_times, cf
from xatmo._tiles import AxisTile, Frames, overlapping
from xatmo.errors import DimensionError, OptionError

if TYPE_CHECKING:
    from xatmo.nn.tile_input import Input
    from xatmo.nn.tiled import TileJob

Chunks: TypeAlias = Mapping[Hashable, int | tuple[int, ...]]

TILE_BYTES = 64 * 2**20
"""Output that one task makes at most, as far as it can be split along time, level, members and the like."""
MEMBER = "member"


@dataclass(frozen=True)
class Layout:
    """Dimensions of the work: ``extras`` are looped over, ``core`` go through the network."""

    template: xr.DataArray
    extras: tuple[Hashable, ...]
    core: dict[str, Hashable]

    @classmethod
    def of(cls, ds: xr.Dataset, axes: cf.Horizontal, *, timed: bool) -> Layout:
        for name, field in ds.data_vars.items():
            if not set(axes.dims) <= set(field.dims) or field.dtype.kind not in "fiub":
                message = (
                    f"variable {name!r} has dimensions {field.dims} and dtype {field.dtype}; the model needs "
                    f"real numbers on {axes.dims}"
                )
                raise DimensionError(message)
        core: dict[str, Hashable] = {"lat": axes.lat_dim, "lon": axes.lon_dim}
        if timed:
            core = {"time": _valid_times.frames(ds).dims[0], **core}
        template = max(ds.data_vars.values(), key=lambda v: v.ndim)  # the first of the widest
        if not set(core.values()) <= set(template.dims):
            message = (
                f"variable {template.name!r} has dimensions {template.dims}; the model needs {tuple(core.values())}"
            )
            raise DimensionError(message)
        wide = sorted(ds.data_vars.values(), key=lambda v: -v.ndim)
        extras = dict.fromkeys(d for v in wide for d in v.dims if d not in core.values())
        return cls(template, tuple(extras), core)

    @property
    def inner(self) -> tuple[Hashable, ...]:
        """Dimensions in the order in which a tile is computed."""
        return (*self.extras, *self.core.values())

    def dims(self, members: int | None) -> tuple[Hashable, ...]:
        """Dimensions of the output: those of the input in its order, extra ones of other inputs and members first."""
        own = self.template.dims
        return (*((MEMBER,) if members else ()), *(d for d in self.extras if d not in own), *own)

    def order(self, members: int | None) -> tuple[int, ...]:
        """Transposition from (member, `inner`) to `dims`."""
        inner = (*((MEMBER,) if members else ()), *self.inner)
        return tuple(inner.index(d) for d in self.dims(members))


@dataclass(frozen=True)
class View:
    """Of what a variable stands for: each of its points along one dimension sees several frames of a longer array.

    The network gets as many channels of the variable. A task reads, converts and normalizes each frame once, however
    many points see it.

    Attributes
    ----------
    of : DataArray
        With the dimensions of the variable, in their order.
    dim : hashable, optional
        Along which ``frames`` count. None: the variable has no such dimension, and all channels are the same.
    frames : Frames
    """

    of: xr.DataArray
    dim: Hashable | None
    frames: Frames

    def along(self, layout: Layout) -> int:
        """Give the number of the dimension among those that are looped over, or -1."""
        return -1 if self.dim is None else layout.extras.index(self.dim)


# ---------------------------------------------------------------------- running it
def _under(
    channels: Input, axis: int, sizes: Sequence[int], part: tuple[int, int] | AxisTile
) -> list[tuple[int, slice, slice]]:
    """Chunks under a tile and its halo along one dimension: number, what to cut out of each, and where it goes."""
    if isinstance(part, AxisTile):
        return part.sources(sizes)
    if channels.frames is not None and axis == channels.along:
        return channels.frames.sources(sizes, *part)
    return overlapping(sizes, *part)


def at_once(
    job: TileJob, layout: Layout, arrays: Sequence[xr.DataArray], views: Mapping[Hashable, View] | None = None
) -> Any:
    """Compute the whole output as one tile, ``(channel_out, ...)``."""
    extras = [(0, _size(arrays, d)) for d in layout.extras]
    core = [(0, axis.points) for axis in job.axes]
    parts: list[tuple[int, int] | AxisTile] = [
        *extras,
        *(axis.tile(*r) for axis, r in zip(job.axes, core, strict=True)),
    ]
    pieces = []
    for channels, array in zip(job.inputs, _read(arrays, views), strict=True):
        values = array.values
        at = [layout.inner.index(d) for d in array.dims]
        per_dim = [_under(channels, k, (n,), parts[k]) for k, n in zip(at, values.shape, strict=True)]
        found = [tuple(zip(*sources, strict=True)) for sources in itertools.product(*per_dim)]
        pieces.append([(values[cut], place) for _, cut, place in found])
    return job.run(extras, core, pieces)


def _read(arrays: Sequence[xr.DataArray], views: Mapping[Hashable, View] | None) -> list[xr.DataArray]:
    return [views[a.name].of if views and a.name in views else a for a in arrays]


def _size(arrays: Sequence[xr.DataArray], dim: Hashable) -> int:
    return next(int(a.sizes[dim]) for a in arrays if dim in a.dims)


def lazy(
    job: TileJob, layout: Layout, arrays: Sequence[xr.DataArray], output_chunks: Chunks | None, *, cyclic: bool,
    views: Mapping[Hashable, View] | None = None,
) -> Any:  # fmt: skip
    """Put one task per tile into a graph: cut what each needs out of the input chunks, then run it.

    Returns
    -------
    dask array (channel_out, ...)
        All channels in one chunk.
    """
    import dask.array as da
    from dask._task_spec import List, Task, TaskRef
    from dask.base import tokenize
    from dask.highlevelgraph import HighLevelGraph

    reads = _read(arrays, views)
    blocks = [
        a.data if a.chunks is not None else da.from_array(a.values, chunks=-1)  # type: ignore[no-untyped-call]
        for a in reads
    ]
    edges = _edges(job, layout, arrays, output_chunks, cyclic=cyclic)
    cuts = [list(itertools.pairwise(edges[d])) for d in layout.inner]
    drawn = [] if job.members is None else list(itertools.pairwise(edges[MEMBER]))
    n_extras = len(layout.extras)
    job = replace(job, tasks=math.prod(map(len, cuts)) * max(1, len(drawn)))
    tiles = [[axis.tile(*r) for r in ranges] for axis, ranges in zip(job.axes, cuts[n_extras:], strict=True)]
    parts_of: list[Sequence[tuple[int, int] | AxisTile]] = [*cuts[:n_extras], *tiles]
    name = f"xatmo-predict-{tokenize(job, [b.name for b in blocks], cuts, drawn)}"
    layer: dict[Any, Any] = {f"{name}-job": Task(f"{name}-job", _keep, job)}
    # Sources along one dimension depend on the tile's place along it alone.
    along = [
        {
            (dim, k): _under(channels, at, sizes, part)
            for dim, sizes in zip(read.dims, block.chunks, strict=True)
            for at in [layout.inner.index(dim)]
            for k, part in enumerate(parts_of[at])
        }
        for channels, read, block in zip(job.inputs, reads, blocks, strict=True)
    ]
    order = layout.order(job.members)
    for index in itertools.product(*(range(len(c)) for c in cuts)):
        pieces = []
        for v, (read, block) in enumerate(zip(reads, blocks, strict=True)):
            per_dim = [along[v][d, index[layout.inner.index(d)]] for d in read.dims]
            parts = []
            for combination in itertools.product(*per_dim):
                chunk, cut, place = zip(*combination, strict=True)
                source = (block.name, *chunk)
                if any(c.stop - c.start < sizes[i] for c, sizes, i in zip(cut, block.chunks, chunk, strict=True)):
                    # Cut where the chunk lies, so that only the part travels.
                    key = (f"{name}-cut-{v}", *index, *(x for c in cut for x in (c.start, c.stop)), *chunk)
                    layer[key] = Task(key, _cut, TaskRef(source), cut)
                    source = key
                parts.append(List(TaskRef(source), place))
            pieces.append(List(*parts))
        ranges = [c[k] for c, k in zip(cuts, index, strict=True)]
        for m, members in enumerate(drawn or [None]):
            at = index if members is None else (m, *index)
            key = (name, 0, *(at[o] for o in order))
            layer[key] = Task(
                key, _run, TaskRef(f"{name}-job"), ranges[:n_extras], ranges[n_extras:], List(*pieces), members
            )
    inner = [tuple(b - a for a, b in c) for c in cuts]
    inner = [tuple(b - a for a, b in drawn), *inner] if drawn else inner
    chunks = ((len(job.outputs),), *(inner[o] for o in order))
    graph = HighLevelGraph.from_collections(name, layer, dependencies=blocks)
    meta = np.empty((0,) * len(chunks), job.dtype)
    return da.Array(graph, name, chunks, meta=meta)  # type: ignore[no-untyped-call]


def _keep(job: TileJob) -> TileJob:
    return job


def _cut(block: Any, cut: tuple[slice, ...]) -> Any:
    return block[cut]


def _run(job: TileJob, extras: Any, core: Any, read: Any, members: Any) -> Any:
    return job.run(extras, core, read, members)


def _edges(
    job: TileJob, layout: Layout, arrays: Sequence[xr.DataArray], output_chunks: Chunks | None, *, cyclic: bool
) -> dict[Hashable, list[int]]:
    """Edges of the tiles along each dimension, in output points."""
    asked = _asked_edges(job, layout, arrays, output_chunks or {}, cyclic=cyclic)
    edges: dict[Hashable, list[int]] = {}
    for dim in layout.extras:
        first = next(a for a in arrays if dim in a.dims)
        sizes = first.variable.chunksizes.get(dim) or (first.sizes[dim],)
        edges[dim] = asked.get(dim) or [0, *itertools.accumulate(sizes)]
    for axis, dim in zip(job.axes, layout.core.values(), strict=True):
        sizes = layout.template.variable.chunksizes.get(dim) or (axis.cells,)
        scaled = [min(axis.points, axis.factor * e) for e in itertools.accumulate(sizes)]
        edges[dim] = asked.get(dim) or sorted({0, *scaled[:-1], axis.points})
    n_members = job.members or 1
    finer = math.prod(axis.factor for axis in job.axes)
    channels = max(len(job.outputs) * n_members, job.channels / finer)
    width = np.dtype(job.dtype).itemsize
    most = max(1, int(TILE_BYTES / (width * channels)))

    def largest(dims: Sequence[Hashable]) -> int:
        return math.prod(max(np.diff(edges[d])) for d in dims)

    timed = [layout.core["time"]] if "time" in layout.core else []
    for dim in (*layout.extras, *timed):
        too_big = -(-largest(layout.inner) // most)
        if too_big > 1 and dim not in asked:
            length = max(1, int(max(np.diff(edges[dim]))) // too_big)
            edges[dim] = sorted({e for a, b in itertools.pairwise(edges[dim]) for e in (*range(a, b, length), b)})
    for axis, dim in reversed([*zip(job.axes, layout.core.values(), strict=True)]):
        if dim not in asked:
            others = largest([d for d in layout.inner if d != dim])
            room = max(most // others, int(max(np.diff(edges[dim]))))
            edges[dim] = _tiles.split(edges[dim], axis, most=room)
    if job.members is not None:
        together = max(1, TILE_BYTES // (width * len(job.outputs) * largest(layout.inner)))
        edges[MEMBER] = asked.get(MEMBER) or [*range(0, job.members, together), job.members]
    return edges


def _asked_edges(
    job: TileJob, layout: Layout, arrays: Sequence[xr.DataArray], output_chunks: Chunks, *, cyclic: bool
) -> dict[Hashable, list[int]]:
    from dask.array.core import normalize_chunks

    points: dict[Hashable, int] = {d: axis.points for d, axis in zip(layout.core.values(), job.axes, strict=True)}
    if job.members is not None:
        points[MEMBER] = job.members
    found = {}
    for dim, wanted in output_chunks.items():
        if dim not in layout.inner and dim not in points:
            message = f"output_chunks names {dim!r}; the output has {layout.dims(job.members)}"
            raise DimensionError(message)
        n = points.get(dim) or _size(arrays, dim)
        extra = int(cyclic and dim == layout.core["lon"])  # the repeated column is appended to the last chunk
        try:
            sizes = normalize_chunks((wanted,), shape=(n + extra,))[0]  # type: ignore[no-untyped-call]
        except (ValueError, TypeError, ZeroDivisionError) as error:
            message = f"output_chunks={wanted!r} came for {dim!r} of {n + extra} points: {error}"
            raise OptionError(message) from error
        found[dim] = sorted({0, *(min(e, n) for e in itertools.accumulate(sizes))})
    return found
