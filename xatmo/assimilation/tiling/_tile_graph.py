"""The Dask graph of an analysis in tiles: one task for each row of tiles, one for each block of the result."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo._tiles import overlapping
from xatmo.assimilation.labels.observations import Gathered, slab_of
from xatmo.assimilation.tiling._tiled import Slab, Tiled, Tiles, orders
from xatmo.errors import OptionError

Array = NDArray[np.float64]

_MEAN = "mean of the observations"
_NO_TIME = "_one_time"


def solve(got: Gathered, problem: Any, tiles: Any) -> list[xr.DataArray]:
    """Analyse gathered observations, in tiles where asked: at once in memory, lazily on Dask.

    Raises
    ------
    OptionError
        If scales are missing where tiles of lazy observations need them.
    """
    arrays = [a for a in (got.field, got.mask, got.background, got.domain, *got.about.values()) if a is not None]
    if tiles is None or all(a.chunks is None for a in arrays):
        return got.solve(Tiled(problem, tiles))
    missing = problem.scales.missing()
    if missing:
        message = (
            f"{', '.join(missing)} missing for tiles of lazy observations; give them, or what "
            "xatmo.assimilation.estimate_scales finds in a part of the observations"
        )
        raise OptionError(message)
    return _lazy(got, problem, tiles)


def too_large(got: Gathered, problem: Any) -> bool:
    """Tell whether observations in memory are too many, or the grid too large, to be analysed whole."""
    if got.field.chunks is not None or (got.mask is not None and got.mask.chunks is not None):
        return False  # not known yet: seen by the task
    observed = got.field.copy(data=np.isfinite(got.field.values))
    if got.mask is not None:
        observed = observed & got.mask.notnull() & (got.mask != 0)
    numbers = observed.sum(got.core[-2:]).transpose(..., *got.core[:-2])
    return any(problem.too_large(each) for each in numbers.values.reshape(-1, got.nodes.time.size))


@dataclass(frozen=True)
class _Row:
    """What the task of one row of tiles does; pickles to workers."""

    tiles: Tiles[Any]
    names: tuple[str, ...]
    zero_mean: bool

    def __call__(self, i: int, j: int, lead: Sequence[int], pieces: Any) -> tuple[Array, Array]:
        n = self.tiles.tiling.nodes.longitude.size
        times, rows = self.tiles.tiling.region(i, j)
        shape = *lead, times.stop - times.start, rows.stop - rows.start, n
        given = {
            name: np.broadcast_to(_assembled(parts, shape), shape)
            for name, parts in zip(self.names, pieces, strict=True)
            if name != _MEAN
        }
        means = np.zeros(lead)
        if _MEAN in self.names:
            means = _assembled(pieces[self.names.index(_MEAN)], (*lead, 1, 1, 1)).reshape(lead)
        results = []
        for at in np.ndindex(*lead):
            read = slab_of({name: a[at] for name, a in given.items()})
            results.append(self.tiles.row(i, j, Slab(*read), float(means[at])))
        size = results[0][0].shape
        mean, variance = (np.stack(part).reshape(*lead, *size) for part in zip(*results, strict=True))
        return mean, variance


def _assembled(parts: Any, shape: tuple[int, ...]) -> Any:
    """Put pieces of chunks together; dimensions that the array does not have are of size 1."""
    present = parts[0][1]
    out = None
    for block, _, place in parts:
        if out is None:
            out = np.empty([n if there else 1 for n, there in zip(shape, present, strict=True)], dtype=block.dtype)
        out[place] = block.reshape([block.shape[sum(present[:d])] if there else 1 for d, there in enumerate(present)])
    return out


def _cut(block: Any, cut: tuple[slice, ...]) -> Any:
    return np.asarray(block[cut])


def _keep(tiles: Any) -> Any:
    return tiles


def _block(tiles: Tiles[Any], times: Any, rows: Any, keys: Any, parts: Any, dtype: Any) -> Any:
    return tiles.block(times, rows, dict(zip(keys, parts, strict=True))).astype(dtype)


def _lazy(got: Gathered, problem: Any, tiles: Any) -> list[xr.DataArray]:
    import dask.array as da
    from dask._task_spec import List, Task, TaskRef
    from dask.base import tokenize
    from dask.highlevelgraph import HighLevelGraph

    order, back = orders(problem.nodes)
    cut = Tiles.of(problem.reordered(order), tiles)
    tiling = cut.tiling
    core = got.core if len(got.core) == 3 else (_NO_TIME, *got.core)
    arrays = {"field": got.field, "mask": got.mask, "background": got.background, "domain": got.domain, **got.about}
    given = {k: v.variable for k, v in arrays.items() if v is not None}
    if got.background is None and not problem.zero_mean:
        seen = got.field if got.mask is None else got.field.where(got.mask.notnull() & (got.mask != 0))
        given[_MEAN] = seen.mean(got.core).variable
    lead = [d for d in got.field.dims if d not in core]
    ordered = {k: _in_order(v, dict(zip(core, order, strict=True)), [*lead, *core]) for k, v in given.items()}
    blocks = [v.data if v.chunks is not None else _wrapped(v.values) for v in ordered.values()]
    name = f"xatmo-tiles-{tokenize(cut, [b.name for b in blocks], tuple(given))}"
    layer: dict[Any, Any] = {f"{name}-all": Task(f"{name}-all", _keep, cut)}
    row = _Row(cut, tuple(given), problem.zero_mean)
    layer[f"{name}-row"] = Task(f"{name}-row", _keep, row)
    chunks = dict(zip(got.field.dims, got.field.chunks or [(n,) for n in got.field.shape], strict=True))
    leads = [_ranges(chunks[d]) for d in lead]
    for number in itertools.product(*(range(len(r)) for r in leads)):
        ranges = [r[k] for r, k in zip(leads, number, strict=True)]
        sizes = [b - a for a, b in ranges]
        for i, j in itertools.product(range(tiling.times.count), range(tiling.bands.count)):
            times, rows = tiling.region(i, j)
            here = [*ranges, (times.start, times.stop), (rows.start, rows.stop), (0, tiling.nodes.longitude.size)]
            box = dict(zip([*lead, *core], here, strict=True))
            pieces = []
            for v, (variable, block) in enumerate(zip(ordered.values(), blocks, strict=True)):
                present = tuple(d in variable.dims for d in (*lead, *core))
                per_dim = [overlapping(c, *box[d]) for d, c in zip(variable.dims, block.chunks, strict=True)]
                parts = []
                for combination in itertools.product(*per_dim):
                    chunk, inside, place = zip(*combination, strict=True) if combination else ((), (), ())
                    key = (f"{name}-cut-{v}", *number, i, j, *chunk)
                    layer[key] = Task(key, _cut, TaskRef((block.name, *chunk)), inside)
                    full = iter(place)
                    where = tuple(next(full) if there else slice(None) for there in present)
                    parts.append(List(TaskRef(key), present, where))
                pieces.append(List(*parts))
            key = (f"{name}-tiles", *number, i, j)
            layer[key] = Task(key, _run, TaskRef(f"{name}-row"), i, j, sizes, List(*pieces))
        # The chunks that came, which a store takes, rather than the tiles' own.
        edges = _ranges((1,) if _NO_TIME in core else blocks[0].chunks[-3]), _ranges(blocks[0].chunks[-2])
        for (p, at), (q, of) in itertools.product(enumerate(edges[0]), enumerate(edges[1])):
            keys = [*itertools.product(tiling.times.touching(*at), tiling.bands.touching(*of))]
            sums = [TaskRef((f"{name}-tiles", *number, *k)) for k in keys]
            key = (name, 0, *number, p, q, 0)
            layer[key] = Task(key, _block, TaskRef(f"{name}-all"), at, of, keys, List(*sums), _dtype(got.field))
    inner = [tuple(b - a for a, b in r) for r in (*leads, *edges)]
    all_chunks = ((2,), *inner, (tiling.nodes.longitude.size,))
    graph = HighLevelGraph.from_collections(name, layer, dependencies=blocks)
    meta = np.empty((0,) * len(all_chunks), _dtype(got.field))
    whole = da.Array(graph, name, all_chunks, meta=meta)  # type: ignore[no-untyped-call]
    results = []
    for part in range(2):
        variable = xr.Variable((*lead, *core), whole[part])
        variable = _in_order(variable, dict(zip(core, back, strict=True)), [*lead, *core])
        if _NO_TIME in core:
            variable = variable.isel({_NO_TIME: 0})
        results.append(xr.DataArray(variable))
    return results


def _wrapped(values: Any) -> Any:
    import dask.array as da

    return da.from_array(values, chunks=-1)  # type: ignore[no-untyped-call]


def _run(row: _Row, i: int, j: int, lead: Sequence[int], pieces: Any) -> Any:
    return row(i, j, lead, pieces)


def _dtype(field: xr.DataArray) -> Any:
    return field.dtype if field.dtype.kind == "f" else np.dtype(np.float64)


def _in_order(variable: xr.Variable, order: dict[Hashable, Any], dims: list[Hashable]) -> xr.Variable:
    """Put dimensions and nodes into an order."""
    moved = {d: o for d, o in order.items() if d in variable.dims and (np.diff(o) != 1).any()}
    for d, o in moved.items():
        down = (np.diff(o) == -1).all()
        variable = variable.isel({d: slice(None, None, -1) if down else o})
    return variable.transpose(*(d for d in dims if d in variable.dims))


def _ranges(chunks: Sequence[int]) -> list[tuple[int, int]]:
    return _pairs([0, *itertools.accumulate(chunks)])


def _pairs(edges: Any) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for a, b in itertools.pairwise(edges)]
