"""Labelled fields as pairs of patches at two times, for training and for scores."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from xatmo import _channels, _labels, cf
from xatmo._stretches import in_words
from xatmo.errors import CoordinateError, DimensionError, MissingValueError, OptionError, VariableError
from xatmo.grids import Grid
from xatmo.patches.lagged import LaggedWindows, Pairing, sizes_of
from xatmo.tasks._own_module import shape_of_answer
from xatmo.tasks.pairs._batches import Scaling

if TYPE_CHECKING:
    import torch

    from xatmo.model import Channel
    from xatmo.normalize import Normalizer

Array = NDArray[Any]

# Streams of random numbers: what they are drawn for.
DRAW, ORDER, WARM, CONTROL = range(4)


@dataclass(frozen=True)
class LaggedFields:
    """Fields on time, latitude and longitude, rows north to south, without a repeated column.

    Attributes
    ----------
    fields : list of DataArray
        One for each channel.
    units : list of (float, float)
        ``scale, offset`` that bring each into the units of its channel.
    axes : Horizontal
    time : Hashable
    grid : Grid
    """

    fields: list[xr.DataArray]
    units: list[tuple[float, float]]
    axes: cf.Horizontal
    time: Hashable
    grid: Grid

    @property
    def dims(self) -> tuple[Hashable, Hashable, Hashable]:
        """Time, latitude, longitude."""
        return self.time, self.axes.lat_dim, self.axes.lon_dim

    @property
    def names(self) -> list[str]:
        """Names of the variables."""
        return [str(f.name) for f in self.fields]

    @cached_property
    def times(self) -> NDArray[np.float64]:
        """Seconds since the first time."""
        values = self.fields[0][self.time].values
        since = values - values[0]
        if values.dtype.kind not in "MO":
            message = f"{self.time!r} has type {values.dtype}; wanted dates"
            raise CoordinateError(message)
        return np.asarray(pd.to_timedelta(since) / pd.Timedelta("1s"), dtype=np.float64)

    @cached_property
    def step(self) -> float:
        """Seconds from one time to the next: the most frequent distance."""
        steps = np.diff(self.times)
        if steps.size == 0 or (steps <= 0).any():
            what = "has one value" if steps.size == 0 else "does not increase"
            message = f"{self.time!r} {what}; wanted increasing times. Sort them: ds.sortby({str(self.time)!r})"
            raise CoordinateError(message)
        values, counts = np.unique(steps, return_counts=True)
        return float(values[counts.argmax()])

    def steps_of(self, lag_step: int | str | pd.Timedelta | float) -> int:
        """Count the times in a step of lag, from a number of times or a duration.

        Raises
        ------
        OptionError
            If it is not a whole number of them.
        """
        given: Any = lag_step
        if isinstance(given, bool | Integral):
            n = 0.0 if isinstance(given, bool) else float(int(given))
        else:
            try:
                n = (given if isinstance(given, float) else pd.Timedelta(given).total_seconds()) / self.step
            except (TypeError, ValueError):
                n = 0.0
        if n < 0.5 or abs(n - round(n)) > 1e-6:
            message = (
                f"lag_step={lag_step!r}, and times are {in_words(self.step)} apart; wanted a whole number of "
                f"times from 1, or a duration that is a multiple of it, such as '{2 * self.step / 3600:g}h'"
            )
            raise OptionError(message)
        return round(n)

    def pairing(self, patch: tuple[int, int], max_lag: int, lag_step: int, latitudes: tuple[float, float]) -> Pairing:
        """Say which pairs there are.

        Raises
        ------
        DimensionError
            If the fields are too small or too short.
        """
        shape = self.grid.shape
        if patch[0] > shape[0] or patch[1] > shape[1]:
            message = f"patches of {patch[0]} x {patch[1]} cells do not fit {shape[0]} x {shape[1]}; use smaller ones"
            raise DimensionError(message)
        reach = max_lag * lag_step
        regular = np.abs(np.diff(self.times) - self.step) < 1e-6 * self.step
        gaps = np.concatenate([[0], np.cumsum(~regular)])
        anchors = np.flatnonzero(gaps[reach:] == gaps[: gaps.size - reach]) if gaps.size > reach else np.empty(0)
        if not anchors.size:
            message = (
                f"no run of {reach + 1} times {in_words(self.step)} apart, for a lag of {max_lag} x "
                f"{lag_step}, among {gaps.size} times; use more of them, or smaller lags"
            )
            raise DimensionError(message)
        lat = self.grid.latitude
        starts = np.arange(shape[0] - patch[0] + 1)
        center = (lat[starts + (patch[0] - 1) // 2] + lat[starts + patch[0] // 2]) / 2
        inside = starts[(center >= latitudes[0]) & (center <= latitudes[1])]
        if not inside.size:
            message = (
                f"no patch of {patch[0]} rows is centred between latitude {latitudes[0]:g} and {latitudes[1]:g}: the "
                f"data have centres from {center.min():g} to {center.max():g}. Set latitudes="
            )
            raise DimensionError(message)
        sizes = (len(self.times), *shape)
        return Pairing(
            (sizes[0], int(sizes[1]), int(sizes[2])), patch, max_lag, lag_step, anchors.astype(np.int64),
            (int(inside[0]), int(inside[-1]) + 1), self.grid.periodic,
        )  # fmt: skip


def lagged_fields(ds: xr.Dataset, names: Sequence[Hashable], units: Sequence[tuple[float, float]]) -> LaggedFields:
    """Bring fields into one form.

    Raises
    ------
    VariableError
        If a variable is missing.
    DimensionError
        If a variable has other dimensions than time, latitude and longitude.
    """
    if lacking := [n for n in names if n not in ds.data_vars]:
        message = f"variables {lacking} are not there; the data have {sorted(map(str, ds.data_vars))}"
        raise VariableError(message)
    ds = ds[list(names)]
    axes = cf.horizontal(ds)
    ds, _ = _labels.drop_cyclic(ds, axes)
    if not Grid.of(ds).north_to_south:
        ds = ds.isel({axes.lat_dim: slice(None, None, -1)})
    (time,) = ds[cf.time(ds)].dims
    for n in names:
        if set(ds[n].dims) != {time, *axes.dims}:
            message = (
                f"variable {n!r} has dimensions {ds[n].dims}; wanted {(time, *axes.dims)}. Select one level, or make "
                "each level a variable of its own"
            )
            raise DimensionError(message)
    return LaggedFields([ds[n] for n in names], list(units), axes, time, Grid.of(ds))


def matching(ds: xr.Dataset, channels: Sequence[Channel], what: str) -> LaggedFields:
    """Find the channels of a network among the variables, by name and in its units."""
    sources = _channels.match(ds, channels, what=what)
    return lagged_fields(ds, [s.variable for s in sources], [(s.scale, s.offset) for s in sources])


def check_patch(patch_size: int | Mapping[Any, int] | None, grid: Grid, default: int) -> tuple[int, int]:
    """Rows and columns of a patch, from a number or from ``lat``, ``lon``.

    Raises
    ------
    OptionError
        If it is something else.
    """
    if patch_size is None:
        patch_size = {"lat": min(default, grid.nlat), "lon": min(default, grid.nlon)}
    if not isinstance(patch_size, Mapping):
        patch_size = {"lat": patch_size, "lon": patch_size}
    given: dict[Any, Any] = dict(patch_size)
    good = all(not isinstance(n, bool) and isinstance(n, Integral) and int(n) >= 1 for n in given.values())
    if set(given) != {"lat", "lon"} or not good:
        message = f"patch_size={given}; wanted whole numbers of cells for 'lat' and 'lon', or one for both"
        raise OptionError(message)
    return int(given["lat"]), int(given["lon"])


def timed(ds: xr.Dataset) -> list[Hashable]:
    """Names of the variables that have time, latitude and longitude."""
    (time,) = ds[cf.time(ds)].dims
    return cf.variables_with(ds, (time, *cf.horizontal(ds).dims), what="train", kinds="fiu")


def band(latitudes: Any) -> tuple[float, float]:
    """Two latitudes in degrees, the southern one first.

    Raises
    ------
    OptionError
        If it is something else.
    """
    try:
        low, high = sorted(float(x) for x in latitudes)
    except (TypeError, ValueError):
        low = high = float("nan")
    if not -90 <= low < high <= 90:
        message = f"latitudes={latitudes!r}; wanted two degrees, such as (-60, 60)"
        raise OptionError(message)
    return low, high


def require_fitting(module: torch.nn.Module, n_inputs: int, patch: tuple[int, int], max_lag: int) -> None:
    """Look at what a module of the caller's makes of zeros.

    Raises
    ------
    OptionError
        If it does not score the lags of a pair.
    """
    given = (1, 2, n_inputs, *patch)
    shape = shape_of_answer(module, given, "pairs")
    if shape != (1, max_lag):
        message = f"the module turned {given} into {shape}; wanted {(1, max_lag)}"
        raise OptionError(message)


class LaggedBatches:
    """Pairs of patches and the class of their lag: what `xatmo.train.Batches` asks for.

    Parameters
    ----------
    data : LaggedFields
    pairing : Pairing
    channels : sequence of str
        Names by which the normalizer knows the fields.
    normalizer : Normalizer
    n_patches : int
        Pairs for each time in an epoch.
    batch_size, seed : int
    training : bool
        A last, smaller batch is left out.
    warmup : (int, int), optional
        Before the first epoch: so many pairs, always the same, so many times.
    control : bool
        Whether labels are drawn anew, whatever the lag: nothing better than chance can be learned.
    memory : int
        See `xatmo.patches.lagged.LaggedWindows`.
    """

    def __init__(
        self,
        data: LaggedFields,
        pairing: Pairing,
        channels: Sequence[str],
        normalizer: Normalizer,
        *,
        n_patches: int,
        batch_size: int,
        seed: int,
        training: bool = True,
        warmup: tuple[int, int] | None = None,
        control: bool = False,
        memory: int = 512 << 20,
    ) -> None:
        self.data, self.pairing, self.channels = data, pairing, list(channels)
        self.n_patches, self.batch_size, self.seed, self.training = n_patches, batch_size, seed, training
        self.warmup, self.control = warmup, control
        self._scaling = Scaling(normalizer)
        self.windows = LaggedWindows(data.fields, data.dims, pairing, memory=memory)

    def plain(self) -> LaggedBatches:
        """Give a source of the same pairs without a warm start or shuffled labels; it shares what was read."""
        other = copy.copy(self)
        other.warmup, other.control = None, False
        return other

    # ------------------------------------------------------------------ what the trainer asks
    @property
    def n_pairs(self) -> int:
        """Pairs of an epoch."""
        return int(self.pairing.anchors.size) * self.n_patches

    def n_batches(self, world_size: int = 1) -> int:
        """Batches of each rank in an epoch."""
        return len(self._sizes(self.n_pairs, 0, world_size))

    def warmup_steps(self, world_size: int = 1) -> int:
        """Batches of each rank before the first epoch."""
        if self.warmup is None:
            return 0
        return len(self._sizes(min(self.warmup[0], self.n_pairs), 0, world_size)) * self.warmup[1]

    def batches(
        self, epoch: int, *, start: int = 0, rank: int = 0, world_size: int = 1
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """``(pair, label)``: ``(batch, 2, channel, lat, lon)`` normalized, the earlier patch first, and ``(batch,)``.

        The trainer counts epochs in steps from the start of the run; the first of these may be a warm start.
        """
        n, warm = self.n_batches(world_size), self.warmup_steps(world_size)
        step, end = epoch * n + start, (epoch + 1) * n
        while step < end:
            if step < warm and self.warmup is not None:
                once = warm // self.warmup[1]
                number, skip = divmod(step, once)
                part = self._pass((WARM, number), self._subset(), skip, rank, world_size)
                left = min(once - skip, end - step)
            else:
                number, skip = divmod(step - warm, n)
                pairs = self.pairing.draw(self._rng(DRAW, number), self.n_patches)
                part = self._pass((ORDER, number), pairs, skip, rank, world_size)
                left = min(n - skip, end - step)
            for _ in range(left):
                yield self.tensors(*next(part))
            part.close()
            step += left

    def describe(self) -> dict[str, Any]:
        """Say what identifies the data of a run."""
        p = self.pairing
        return {
            "variables": self.channels, "data_sizes": list(p.sizes), "patch_size": list(p.patch), "max_lag": p.max_lag,
            "lag_step": p.lag_step, "rows": list(p.rows), "n_anchors": int(p.anchors.size),
            "n_patches": self.n_patches, "batch_size": self.batch_size,
        }  # fmt: skip

    # ------------------------------------------------------------------ its parts
    def tensors(self, windows: Array, pairs: Array) -> tuple[torch.Tensor, torch.Tensor]:
        """Normalize windows, in place, and put labels beside them.

        Raises
        ------
        MissingValueError
            If a value is missing.
        """
        import torch

        label = pairs[:, 1] - 1
        if self.control:
            # Not a permutation of the batch's own: a good network knows how often each lag is in it.
            label = self._rng(CONTROL, *pairs[0].tolist()).integers(0, self.pairing.max_lag, label.size)
        return torch.from_numpy(self.normalized(windows)), torch.from_numpy(label.astype(np.int64))

    def normalized(self, windows: Array) -> Array:
        """Normalize windows ``(..., channel, lat, lon)`` in place.

        Raises
        ------
        MissingValueError
            If a value is missing.
        """
        for k, (name, (scale, offset)) in enumerate(zip(self.channels, self.data.units, strict=True)):
            block = windows[..., k, :, :]
            if (scale, offset) != (1.0, 0.0):
                block = (block.astype(np.float64) * scale + offset).astype(np.float32)
            windows[..., k, :, :] = self._scaling.normalize_array(name, block)
        if not np.isfinite(windows.sum()) and not np.isfinite(windows).all():
            bad = [n for k, n in enumerate(self.channels) if not np.isfinite(windows[..., k, :, :]).all()]
            message = f"patches have missing or infinite values in {bad}; fill them first, or set latitudes= without"
            raise MissingValueError(message)
        return windows

    def _pass(self, key: tuple[int, int], pairs: Array, skip: int, rank: int, world_size: int) -> Any:
        sizes = self._sizes(len(pairs), rank, world_size)
        return self.windows.batches(
            pairs, sizes, seed=(self.seed, *key), start=skip, rank=rank, world_size=world_size, shuffle=self.training
        )

    def _subset(self) -> Array:
        """Give the pairs of the warm start."""
        rng = self._rng(WARM, 0)
        wanted = min(self.warmup[0], self.n_pairs) if self.warmup is not None else 0
        every = self.pairing.draw(rng, self.n_patches)
        return every[np.sort(rng.choice(len(every), wanted, replace=False))]

    def _sizes(self, n_pairs: int, rank: int, world_size: int) -> list[int]:
        if n_pairs < world_size:
            message = f"{n_pairs} pairs cannot be shared among {world_size} devices; use more times or patches"
            raise OptionError(message)
        return sizes_of(n_pairs, self.batch_size, rank, world_size, drop_last=self.training)

    def _rng(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *stream])
