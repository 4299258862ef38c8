"""Training data: windows of labelled fields, shuffled by chunk and read ahead, as batches of tensors."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from xatmo import cf
from xatmo.errors import CoordinateError, DimensionError, MissingValueError, OptionError, XatmoError
from xatmo.patches._ahead import Ahead, placed_from
from xatmo.patches._buffers import Buffers
from xatmo.patches._schedule import Key, Layout, Pool, Schedule, batch_sizes
from xatmo.patches._sources import Source
from xatmo.patches.plan import Plan
from xatmo.patches.validity import count_windows

Array = NDArray[Any]
Fields: TypeAlias = xr.DataArray | xr.Dataset | Sequence[xr.DataArray]
Batch: TypeAlias = Any  # a tensor, a pair (tensor, mask), or a dict of them by group

_ONLY = ""  # the name of the group when fields come without one


class SampleStream(torch.utils.data.IterableDataset[Batch]):
    """Shuffled windows of fields as batches of float32 tensors, read ahead by threads.

    Windows are grouped by the chunks in which they lie; chunks are shuffled, those that fit the memory are decoded once
    in threads, ahead of use, and windows are shuffled among them. Everything follows from ``(seed, epoch)``.

    Iterate it, or give it to Lightning as a dataloader, or wrap it in ``DataLoader(stream, batch_size=None)``. Each
    iteration is the next epoch. Building it reads nothing.

    Parameters
    ----------
    fields : DataArray, Dataset, sequence of DataArray, or mapping of name to those
        Each field is a channel, in order; a Dataset gives its numeric variables that have a dimension of the plan. A
        dimension that the plan lacks becomes channels, too (levels); fields that lack a dimension of the plan are
        repeated along it (static fields). With a mapping, batches are dictionaries with the same keys.
    plan : Plan
        Windows, over the dimensions of the (coarse) fields.
    factor : int or mapping of group to int or to mapping of dimension to int
        How many times finer than the plan the fields of a group are, along the dimensions where their sizes differ from
        the plan's. Window ``start`` to ``stop`` of the plan is ``factor * start`` to ``factor * stop`` of the field;
        what a fine grid has beyond (one row, when both have poles) is not used.
    normalizer : object, mapping of name to (center, scale), or mapping of group to those
        Applied to each channel of a batch: anything with ``normalize_array(name, block)``, or numbers.
    batch_size : int
        Windows in a batch.
    shuffle : bool
        In random order, or in the plan's.
    seed : int
        Of the order, and of ``random_offsets``.
    threads : int, optional
        Chunks decoded at a time. Default: the machine's cores, at most 4.
    valid : float, array of bool (windows,), or callable, optional
        Windows to draw: those of which at least this fraction of points holds numbers in every field (one more pass
        over the data, before the first batch); those marked True; or those for which the callable, given the
        fractions ``(windows,)``, gives True. The mask holds for the plan's own windows, before ``random_offsets``.
    mask : bool
        Whether to deliver, beside each tensor, a bool tensor of the same shape that tells where numbers were: as a
        pair, or with a mapping of groups under ``NAME + "_mask"``.
    fill : float, optional
        What stands for missing values, after normalization. Without ``valid``, ``mask`` or ``fill`` a missing value is
        an error.
    drop_last : bool
        Whether to leave out a last, smaller batch.
    random_offsets : bool
        Whether to move every window at random, by up to half the distance of neighbours, anew in each epoch.
    squeeze : collection of dimension names
        Dimensions of one point that tensors shall not have.
    rank, world_size : int, optional
        Which share of the windows to deliver. Default: as `torch.distributed` says, else everything.
    memory : int
        Bytes of decoded chunks held at a time: half for those that windows are drawn from, half for those read ahead.
        At least two blocks are held, whatever the limit: a chunk and those that its windows reach into. Fields that fit
        into half of it are decoded once, and kept. Batches and NumPy input come on top.
    prefetch : int
        Batches made ahead.
    pin_memory : bool
        Whether batches are put into page-locked memory, for faster copies to a GPU.

    Attributes
    ----------
    channels : dict of str to tuple of str
        Names of the channels of each group.
    epoch : int
        The running epoch.

    Raises
    ------
    DimensionError
        If a field does not fit the plan.
    CoordinateError
        If fields do not lie on the same points.
    OptionError
        If an option has no usable value.
    MissingValueError
        While iterating, if a missing value is met that nothing was said about.

    Examples
    --------
    >>> from xatmo.patches import plan
    >>> da = xr.DataArray(np.arange(96.0).reshape(6, 4, 4), dims=("time", "lat", "lon"))
    >>> stream = SampleStream(da, plan(da.sizes, {"time": 1, "lat": 2, "lon": 4}), batch_size=5)
    >>> len(stream), [tuple(batch.shape) for batch in stream]
    (3, [(5, 1, 1, 2, 4), (5, 1, 1, 2, 4), (2, 1, 1, 2, 4)])
    """

    def __init__(
        self,
        fields: Fields | Mapping[str, Fields],
        plan: Plan,
        *,
        factor: int | Mapping[str, int | Mapping[Hashable, int]] = 1,
        normalizer: Any = None,
        batch_size: int = 16,
        shuffle: bool = True,
        seed: int = 0,
        threads: int | None = None,
        valid: float | Array | Callable[[Array], Array] | None = None,
        mask: bool = False,
        fill: float | None = None,
        drop_last: bool = False,
        random_offsets: bool = False,
        squeeze: Collection[Hashable] = (),
        rank: int | None = None,
        world_size: int | None = None,
        memory: int = 256 << 20,
        prefetch: int = 2,
        pin_memory: bool = False,
    ) -> None:
        super().__init__()
        self.plan = plan
        self.batch_size = _at_least("batch_size", batch_size, 1)
        self.threads = _at_least("threads", min(os.cpu_count() or 1, 4) if threads is None else threads, 1)
        self.prefetch = _at_least("prefetch", prefetch, 1)
        self.memory = _at_least("memory", memory, 1)
        self.shuffle, self.seed, self.drop_last = shuffle, _at_least("seed", seed, 0), drop_last
        self.mask, self.fill, self.random_offsets, self.pin_memory = mask, fill, random_offsets, pin_memory
        self.squeeze = frozenset(squeeze)
        long = [d for d in self.squeeze if plan.patch_size.get(d) != 1]
        if long:
            came = f"{plan.patch_size[long[0]]} points" if long[0] in plan.patch_size else "no such dimension"
            message = f"cannot squeeze {long[0]!r}: windows have {came}; wanted dimensions of 1 point"
            raise DimensionError(message)
        if valid is not None and not callable(valid) and np.ndim(valid) and np.shape(valid) != (len(plan),):
            message = (
                f"valid has shape {np.shape(valid)}; wanted one value for each of {len(plan)} windows, or a number"
            )
            raise OptionError(message)
        number = isinstance(valid, int | float | np.number)
        if valid is not None and not callable(valid) and not np.ndim(valid) and not (number and 0 <= float(valid) <= 1):
            message = f"valid={valid!r} came; wanted the least part of a window's points that hold numbers, from 0 to 1"
            raise OptionError(message)
        if rank is not None and not 0 <= rank < (world_size or 1):
            message = f"rank {rank} of {world_size} came; wanted 0 <= rank < world_size"
            raise OptionError(message)
        self._valid, self._rank, self._world_size = valid, rank, world_size

        self._labelled = isinstance(fields, Mapping) and not isinstance(fields, xr.Dataset)
        groups: Any = fields if self._labelled else {_ONLY: fields}
        reference: list[xr.DataArray] = []
        self._groups = [
            _Group(name, _arrays(one), plan, _of(factor, name, 1), _of(normalizer, name, None), reference)
            for name, one in groups.items()
        ]
        self._layouts = [layout for group in self._groups for layout in group.layouts]
        self._kept: dict[Key, Array] = {}
        self._epoch, self._position, self._begun = 0, 0, False

    # ------------------------------------------------------------------ what it holds
    @property
    def channels(self) -> dict[str, tuple[str, ...]]:
        """Names of the channels of each group."""
        return {group.name: group.channels for group in self._groups}

    @property
    def epoch(self) -> int:
        """The running epoch; before the first iteration, the one that it will be."""
        return self._epoch

    @cached_property
    def valid_fraction(self) -> NDArray[np.float64]:
        """Fraction of each window's points that hold numbers, the least over fields, ``(windows,)``. Reads the data."""
        found = np.ones(self.plan.shape)
        for layout in self._layouts:
            layout = layout.in_pieces()
            found = np.minimum(found, count_windows(layout, self.plan, threads=self.threads))
        return np.asarray(found.ravel())

    @cached_property
    def _schedule(self) -> Schedule:
        keep: Array | None
        if self._valid is None:
            keep = None
        elif callable(self._valid):
            keep = np.asarray(self._valid(self.valid_fraction), dtype=bool)
        elif np.ndim(self._valid):
            keep = np.asarray(self._valid, dtype=bool)
        else:
            keep = self.valid_fraction >= float(self._valid) - 1e-9
        if keep is not None and not keep.any():
            message = (
                f"none of {len(self.plan)} windows is valid ({self._valid!r}); lower valid= or use smaller patches"
            )
            raise MissingValueError(message)
        return Schedule(
            self.plan, self._layouts, shuffle=self.shuffle, seed=self.seed, pool_bytes=self.memory // 2, keep=keep,
            wander=self.random_offsets,
        )  # fmt: skip

    def _ranks(self) -> tuple[int, int]:
        """Whose share this is: the process's among processes, then the worker's among those of a DataLoader."""
        rank, world = self._rank or 0, self._world_size or 1
        if self._world_size is None and torch.distributed.is_available() and torch.distributed.is_initialized():
            rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        worker = torch.utils.data.get_worker_info()
        return (rank, world) if worker is None else (rank * worker.num_workers + worker.id, world * worker.num_workers)

    def _sizes(self) -> NDArray[np.int64]:
        rank, world = self._ranks()
        total = self._schedule.total
        if total < world:
            message = f"{total} windows cannot be shared among {world} ranks; use smaller patches or fewer devices"
            raise OptionError(message)
        return batch_sizes(total, rank, world, self.batch_size, drop_last=self.drop_last)

    @property
    def n_samples(self) -> int:
        """Windows that this rank delivers in an epoch."""
        return int(self._sizes().sum())

    def __len__(self) -> int:
        """Batches in an epoch. With ``valid`` a number, this reads the data once."""
        return len(self._sizes())

    # ------------------------------------------------------------------ where it is
    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration that of ``epoch``, from its beginning."""
        self._epoch, self._position, self._begun = _at_least("epoch", epoch, 0), 0, False

    def state_dict(self) -> dict[str, int]:
        """Epoch, and batches already delivered in it: what `load_state_dict` needs to go on from here."""
        if self._begun and self._position >= len(self):
            return {"epoch": self._epoch + 1, "batch": 0}
        return {"epoch": self._epoch, "batch": self._position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Make the next iteration go on where a stream with the same arguments was; nothing before it is read."""
        self._epoch, self._position, self._begun = int(state["epoch"]), int(state["batch"]), False

    def __iter__(self) -> Iterator[Batch]:
        """Deliver an epoch: what remains of it after `load_state_dict`, else the next one."""
        if self._begun:
            self._epoch, self._position = self._epoch + 1, 0
        self._begun = True
        return self._deliver(self._epoch, self._position)

    def _deliver(self, epoch: int, position: int) -> Iterator[Batch]:
        ahead = Ahead(self._batches(epoch, position), self.prefetch)
        try:
            for delivered, batch in enumerate(ahead, start=position + 1):
                if epoch == self._epoch:  # an iterator left over from an epoch before does not count
                    self._position = delivered
                yield batch
        finally:
            ahead.close()

    # ------------------------------------------------------------------ making batches
    def _batches(self, epoch: int, skip: int) -> Iterator[Batch]:
        """Make batches one after another; runs in a thread of its own."""
        sizes = self._sizes()
        done, end = int(sizes[:skip].sum()), int(sizes.sum())
        pools = placed_from(self._schedule.pools(epoch, *self._ranks()), done, end)
        chunks = dict(self._kept)
        number, filled = skip, 0
        arrays: list[Array] = []
        buffers = Buffers()
        small = self._schedule.total_bytes() <= self.memory // 2
        with ThreadPoolExecutor(self.threads, thread_name_prefix="xatmo-read") as readers:
            try:
                following = self._request(next(pools, None), chunks, readers, buffers)
                while following is not None:
                    (pool, at, stop), futures = following
                    chunks = {key: f.result() if isinstance(f, Future) else f for key, f in futures.items()}
                    if small:
                        self._kept = {**self._kept, **chunks}
                    following = self._request(next(pools, None), chunks, readers, buffers)
                    while at < stop:
                        size = int(sizes[number])
                        if not filled:
                            arrays = [buffers.get((size, *group.shape), np.float32) for group in self._groups]
                        take = min(size - filled, stop - at)
                        starts = pool.starts[at : at + take].tolist()
                        for array, group in zip(arrays, self._groups, strict=True):
                            group.copy(array[filled : filled + take], starts, chunks, self._layouts)
                        filled, at = filled + take, at + take
                        if filled == size:
                            yield self._finish(arrays)
                            number, filled, arrays = number + 1, 0, []
            finally:
                readers.shutdown(cancel_futures=True)

    def _request(
        self,
        placed: tuple[Pool, int, int] | None,
        chunks: dict[Key, Array],
        readers: ThreadPoolExecutor,
        buffers: Buffers,
    ) -> tuple[tuple[Pool, int, int], dict[Key, Any]] | None:
        """Have the chunks of a pool read, except those that are here."""
        if placed is None:
            return None
        here = {**self._kept, **chunks}
        return placed, {
            key: here[key] if key in here else readers.submit(self._layouts[key[0]].read, key[1], buffers)
            for key in sorted(placed[0].keys)
        }

    def _finish(self, arrays: list[Array]) -> Batch:
        """Normalize, look for missing values, and make tensors."""
        out: dict[str, torch.Tensor] = {}
        for group, array in zip(self._groups, arrays, strict=True):
            there = self._there(group, array)
            group.normalize(array)
            if self.fill is not None and there is not None:
                array[~there] = self.fill
            shape = (*array.shape[:2], *group.kept_shape(self.squeeze))
            out[group.name] = torch.from_numpy(array).view(shape)
            if self.mask:
                full = np.ones(array.shape, dtype=bool) if there is None else there
                out[group.name + "_mask"] = torch.from_numpy(full).view(shape)
        if self.pin_memory and torch.cuda.is_available():
            out = {name: tensor.pin_memory() for name, tensor in out.items()}
        if self._labelled:
            return out
        return (out[_ONLY], out[_ONLY + "_mask"]) if self.mask else out[_ONLY]

    def _there(self, group: _Group, array: Array) -> Array | None:
        """Tell where numbers are; None means everywhere."""
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(array.sum()):
                return None
        there = np.isfinite(array)
        if there.all():  # the sum overflowed
            return None
        if not self.mask and self.fill is None and self._valid is None:
            bad = [name for k, name in enumerate(group.channels) if not there[:, k].all()]
            message = (
                f"a batch has {int((~there).sum())} missing or infinite values in {', '.join(map(repr, bad))}; pass "
                "valid=0.5, say, to train on windows of which at least half is there, valid=1.0 for whole ones alone, "
                "or fill the data first. A stream of your own can also ask for fill=0.0 or mask=True"
            )
            raise MissingValueError(message)
        return np.asarray(there)


class _Group:
    """Fields that make one tensor."""

    def __init__(
        self,
        name: str,
        arrays: list[xr.DataArray],
        plan: Plan,
        factor: Any,
        normalizer: Any,
        reference: list[xr.DataArray],
    ) -> None:
        self.name, self._normalizer = name, normalizer
        self.layouts: list[Layout] = []
        self._names: list[Hashable] = []
        self.channels: tuple[str, ...] = ()
        self._plan = plan
        shapes = set()
        for da in arrays:
            da = _same_names(da, plan, reference)
            factors = _factors(da, plan, factor)
            if reference:
                _check_points(da, reference[0], factors)
            else:
                reference.append(da)
            layout = Layout(Source(da), plan, factors)
            self.layouts.append(layout)
            self._names.append(da.name)
            shapes.add(tuple(n for n, there in zip(layout.patch_shape, layout.present, strict=True) if there))
            one = str(da.name) if da.name is not None else "field"
            self.channels += (one,) if layout.channels == 1 else tuple(f"{one}_{k}" for k in range(layout.channels))
        self.factors = _joint_factors(name, arrays, [layout.factors for layout in self.layouts])
        self.patch_shape = tuple(plan.patch_size[d] * self.factors.get(d, 1) for d in plan.sizes)
        self.shape = (len(self.channels), *self.patch_shape)

    def kept_shape(self, squeeze: Collection[Hashable]) -> tuple[int, ...]:
        return tuple(n for d, n in zip(self._plan.sizes, self.patch_shape, strict=True) if d not in squeeze)

    def copy(self, out: Array, starts: list[list[int]], chunks: dict[Key, Array], every: list[Layout]) -> None:
        first = 0
        begin = next(i for i, layout in enumerate(every) if layout is self.layouts[0])
        for number, layout in enumerate(self.layouts, start=begin):
            layout.copy(out[:, first : first + layout.channels], starts, chunks, number)
            first += layout.channels

    def normalize(self, array: Array) -> None:
        """Normalize a batch in place."""
        if self._normalizer is None:
            return
        first = 0
        for name, layout in zip(self._names, self.layouts, strict=True):
            block = array[:, first : first + layout.channels]
            if isinstance(self._normalizer, Mapping):
                if name not in self._normalizer:
                    message = f"the normalizer has no {name!r}; it has {sorted(map(str, self._normalizer))}"
                    raise OptionError(message)
                center, scale = (np.asarray(part, dtype=np.float32) for part in self._normalizer[name])
                np.subtract(block, center, out=block)
                np.divide(block, scale, out=block)
            elif hasattr(self._normalizer, "normalize_array"):
                block[...] = self._normalizer.normalize_array(name, block)
            else:
                block[...] = self._normalizer(name, block)
            first += layout.channels


# ---------------------------------------------------------------------- fitting fields to the plan
def _arrays(fields: Any) -> list[xr.DataArray]:
    if isinstance(fields, xr.DataArray):
        return [fields]
    if isinstance(fields, xr.Dataset):
        return [da for da in fields.data_vars.values() if da.dtype.kind in "fiub" and da.ndim]
    arrays = list(fields)
    if not arrays or not all(isinstance(da, xr.DataArray) for da in arrays):
        message = f"fields of type {[type(da).__name__ for da in arrays]} came; wanted DataArrays or a Dataset"
        raise OptionError(message)
    return arrays


def _of(option: Any, group: str, default: Any) -> Any:
    """Take what an option says about a group: one value for all, or a mapping by group."""
    if isinstance(option, Mapping) and group in option:
        return option[group]
    by_group = isinstance(option, Mapping) and group != _ONLY and not any(isinstance(v, tuple) for v in option.values())
    return default if by_group or option is None else option


def _same_names(da: xr.DataArray, plan: Plan, reference: list[xr.DataArray]) -> xr.DataArray:
    """Rename latitude, longitude and time to the plan's dimensions where another product calls them otherwise."""
    missing = [d for d in plan.sizes if d not in da.dims]
    if not missing or not reference:
        return da
    names: dict[Hashable, Hashable] = {}
    roles: tuple[Callable[[xr.DataArray], Hashable], ...]
    roles = lambda o: cf.horizontal(o).lat_dim, lambda o: cf.horizontal(o).lon_dim, lambda o: cf.time(o)
    for find in roles:
        try:
            ours, theirs = find(reference[0]), find(da)
        except XatmoError:
            continue
        if ours in missing and theirs in da.dims and theirs not in plan.sizes:
            names[theirs] = ours
    return da.rename(names) if names else da


def _factors(da: xr.DataArray, plan: Plan, factor: Any) -> dict[Hashable, int]:
    shared = [d for d in plan.sizes if d in da.dims]
    if not shared:
        message = f"field {da.name!r} has dimensions {da.dims}; wanted some of the plan's {plan.dims}"
        raise DimensionError(message)
    if isinstance(factor, Mapping):
        factors = {d: int(factor.get(d, 1)) for d in shared}
    else:
        whole = _at_least("factor", factor, 1)
        factors = {d: 1 if da.sizes[d] == plan.sizes[d] else whole for d in shared}
    for d in shared:
        n, wanted = da.sizes[d], plan.sizes[d] * factors[d]
        if n < wanted or (n != wanted and (d in plan.periodic or factors[d] == 1)):
            times = f"{factors[d]} x " if factors[d] > 1 else ""
            message = f"field {da.name!r} has {n} points along {d!r}; the plan wants {times}{plan.sizes[d]}"
            raise DimensionError(message)
    return factors


def _joint_factors(name: str, arrays: list[xr.DataArray], factors: list[dict[Hashable, int]]) -> dict[Hashable, int]:
    joint: dict[Hashable, int] = {}
    for da, one in zip(arrays, factors, strict=True):
        for d, f in one.items():
            if joint.setdefault(d, f) != f:
                message = (
                    f"fields of {name or 'one tensor'!r} differ along {d!r}: {da.name!r} is {f} times finer than the "
                    f"plan, another {joint[d]} times; make them groups of their own"
                )
                raise DimensionError(message)
    return joint


def _check_points(da: xr.DataArray, reference: xr.DataArray, factors: dict[Hashable, int]) -> None:
    """Raise unless fields that are cut together lie together: equal coordinates, or fine ones around coarse ones."""
    for d, f in factors.items():
        if d not in da.coords or d not in reference.coords or da[d].dtype.kind not in "fiuM":
            continue
        ours, theirs = da[d].values, reference[d].values
        if ours.dtype.kind == "M" or theirs.dtype.kind == "M":
            same = ours.size != theirs.size or bool((ours == theirs).all())
        elif (ours.size % f and ours.size // f == theirs.size) or ours.size == theirs.size * f:
            fine = ours[: theirs.size * f].reshape(-1, f).mean(axis=1) if f > 1 else ours
            step = abs(float(theirs[-1] - theirs[0])) / max(theirs.size - 1, 1)
            gap = np.abs(fine.astype(float) - theirs.astype(float))
            if da[d].attrs.get("units", "").startswith("degrees_east") or str(d).startswith("lon"):
                gap = np.minimum(gap % 360, 360 - gap % 360)
                gap[fine < fine[0]] = 0  # a block of columns across the jump has no mean
            same = bool(np.nanmax(gap, initial=0) <= max(step, 1e-12) * (1.0 if f > 1 else 0.1))
        else:
            continue
        if not same:
            message = (
                f"{da.name!r} and {reference.name!r} do not lie on the same points along {d!r}: {ours[0]} to "
                f"{ours[-1]} against {theirs[0]} to {theirs[-1]}; select or sort them alike first"
            )
            raise CoordinateError(message)


def _at_least(name: str, value: Any, least: int) -> int:
    if not isinstance(value, (int, np.integer)) or value < least:
        message = f"{name}={value!r} came; wanted a whole number of at least {least}"
        raise OptionError(message)
    return int(value)
