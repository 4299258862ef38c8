"""Windows of coarse and fine fields as batches for the trainer."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo import cf
from xatmo._stretches import usual_step
from xatmo.normalize import forward
from xatmo.patches import Plan, plan
from xatmo.tasks.pairs import _windows

if TYPE_CHECKING:
    from xatmo.data import SampleStream
    from xatmo.normalize import Normalizer
    from xatmo.tasks.pairs._pairs import Pairs
    from xatmo.train.batches import AnyBatch


class Scaling:
    """A normalizer for blocks of numbers, as `xatmo.data.SampleStream` wants it."""

    def __init__(self, normalizer: Normalizer) -> None:
        names = normalizer.names
        self._numbers = {n: [float(a) for a in normalizer.scaling(n)] for n in names}

    def normalize_array(self, name: Hashable, block: NDArray[np.float32]) -> NDArray[Any]:
        """Normalize the block of one variable; float32 stays float32."""
        return np.asarray(forward(block, *self._numbers[str(name)]))


class PairBatches:
    """What `xatmo.train.Batches` asks for: a function of epoch, place and rank.

    Windows overlap by half and move at random for training; they lie side by side, in order, for validation. Along
    time, every possible window serves training, and those of validation lie side by side, the last one shifted inward:
    every frame is used, and no window has frames from both sides of a gap.

    Parameters
    ----------
    pairs : Pairs
    patch_size : mapping
        Horizontal dimension to coarse cells; with windows over time the dimension of time to frames, too.
    inputs, outputs : Normalizer
    batch_size, seed : int
    training : bool
    valid : float, optional
        Least fraction of numbers in a window. None: a missing value is an error.
    area : bool
        Whether to deliver the areas of the fine cells, relative to their mean, as weights.
    static : bool
        Whether to deliver the static fields that the pairs have on the fine grid, if any, for the network to be given
        beside its input. They are normalized as the coarse channels of the same names.
    fixed : bool
        Whether each window is the whole grid, and never moves.
    time_window : int, optional
        Frames that the network sees at once, the same as giving the dimension of time in ``patch_size``: input and
        target then have an axis of time. None: single frames.

    Raises
    ------
    DimensionError
        If windows over time are asked of fields without time.
    CoordinateError
        If times are not in order, or not regular.
    OptionError
        If there are not as many frames in a row.
    """

    def __init__(
        self,
        pairs: Pairs,
        patch_size: Mapping[Hashable, int],
        inputs: Normalizer,
        outputs: Normalizer,
        *,
        batch_size: int,
        seed: int,
        training: bool = True,
        valid: float | None = None,
        area: bool = False,
        static: bool = False,
        fixed: bool = False,
        time_window: int | None = None,
    ) -> None:
        self.area, self.static, self.fixed = area, static and pairs.fine_static is not None, fixed
        self.pairs, self.inputs, self.outputs = pairs, inputs, outputs
        self.patch_size = dict(patch_size) if time_window is None else {pairs.time_dim: time_window, **patch_size}
        self.batch_size, self.seed, self.training, self.valid = batch_size, seed, training, valid
        self._streams: dict[tuple[int, int], SampleStream] = {}
        timed = [d for d in self.patch_size if d not in pairs.axes.dims]
        self.time_window: int | None = self.patch_size[timed[0]] if timed else None
        if self.time_window is not None:  # refused here rather than in the first epoch
            _windows.starts(pairs.runs, self.time_window, 1)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the streams behind: a spawned process makes its own."""
        return {**self.__dict__, "_streams": {}}

    @property
    def plan(self) -> Plan:
        """Windows over the whole coarse cells."""
        sizes, across = self.pairs.sizes, self.pairs.axes.dims
        size = {d: min(self.patch_size.get(d, 1), n) for d, n in sizes.items()}
        if self.fixed:
            size |= {d: sizes[d] for d in across}
        overlap: dict[Hashable, int] = {}
        if self.training and not self.fixed:
            overlap = {d: size[d] // 2 for d in across}
        moving = self.training and not self.fixed
        if self.time_window is None:
            return plan(sizes, size, overlap=overlap, periodic=self.pairs.periodic if moving else ())
        time = self.pairs.time_dim
        # Neighbours one frame apart have no room to move at random, so that none moves across a gap.
        overlap[time] = size[time] - 1 if self.training else 0
        found = plan(sizes, size, overlap=overlap, periodic=self.pairs.periodic if moving else ())
        first = _windows.starts(self.pairs.runs, self.time_window, 1 if self.training else self.time_window)
        first.flags.writeable = False
        return replace(found, starts={**found.starts, time: first})

    def stream(self, rank: int = 0, world_size: int = 1) -> SampleStream:
        """Give the stream of one rank."""
        if (rank, world_size) not in self._streams:
            self._streams[rank, world_size] = self._stream(rank, world_size)
        return self._streams[rank, world_size]

    def _stream(self, rank: int, world_size: int) -> SampleStream:
        from xatmo.data import SampleStream

        windows, axes, factor = self.plan, self.pairs.axes, self.pairs.found.factor
        coarse = self.pairs.coarse.isel({d: slice(0, windows.sizes[d]) for d in axes.dims})
        fields = {"coarse": list(coarse.data_vars.values()), "fine": list(self.pairs.fine.data_vars.values())}
        if self.area:
            fields["weight"] = [self._areas()]
        if self.static and self.pairs.fine_static is not None:
            fields["static"] = list(self.pairs.fine_static.data_vars.values())
        finer = dict.fromkeys(axes.dims, factor)
        scaling = {"coarse": Scaling(self.inputs), "fine": Scaling(self.outputs), "static": Scaling(self.inputs)}
        return SampleStream(
            fields,
            windows,
            factor={"coarse": 1, "fine": finer, "weight": finer, "static": finer},
            normalizer=scaling,
            batch_size=self.batch_size, shuffle=self.training, seed=self.seed,
            random_offsets=self.training and not self.fixed, valid=self.valid,
            squeeze=[d for d in windows.sizes if d not in self.patch_size], rank=rank, world_size=world_size,
        )  # fmt: skip

    def _areas(self) -> xr.DataArray:
        fine = cf.horizontal(self.pairs.fine)
        areas = self.pairs.found.fine.areas
        coords = {d: self.pairs.fine[d] for d in fine.dims if d in self.pairs.fine.coords}
        return xr.DataArray((areas / areas.mean()).astype(np.float32), coords, fine.dims, name="area")

    def n_batches(self, world_size: int = 1) -> int:
        """Batches of each rank in an epoch."""
        return len(self.stream(0, world_size))

    def batches(self, epoch: int, *, start: int = 0, rank: int = 0, world_size: int = 1) -> Iterator[AnyBatch]:
        """``(coarse, fine)``, and ``weight`` where cells count by area, each ``(batch, channel, [time,] lat, lon)``.

        With fine static fields a `xatmo.train.batches.Batch`, whose ``static`` is ``(batch, n_static, lat, lon)`` on
        fine points. Weight and static never have an axis of time.
        """
        stream = self.stream(rank, world_size)
        stream.load_state_dict({"epoch": epoch, "batch": start})
        for batch in stream:
            if self.time_window is not None:  # the stream repeats along time what has none
                batch |= {name: batch[name][:, :, 0] for name in ("weight", "static") if name in batch}
            if "static" not in batch:
                yield tuple(batch[name] for name in ("coarse", "fine", "weight") if name in batch)
                continue
            from xatmo.train.batches import Batch

            # Where a static field has no value (land, in one of the sea) it stands at its mean.
            static = batch["static"] if self.valid is None else batch["static"].nan_to_num(nan=0.0)
            yield Batch(batch["coarse"], batch["fine"], batch.get("weight"), static)

    def describe(self) -> dict[str, Any]:
        """Say what identifies the data of a run."""
        described: dict[str, Any] = {
            "inputs": [str(n) for n in self.pairs.coarse.data_vars],
            "outputs": [str(n) for n in self.pairs.fine.data_vars],
            "data_sizes": {str(d): n for d, n in self.pairs.coarse.sizes.items()},
            "patch_size": {str(d): n for d, n in self.patch_size.items()},
            "batch_size": self.batch_size,
            "valid": self.valid,
        }
        if self.static and self.pairs.fine_static is not None:
            described["fine_static"] = [str(n) for n in self.pairs.fine_static.data_vars]
        if self.fixed:
            described["fixed"] = True
        if self.time_window is not None:
            runs = self.pairs.runs
            left_out = _windows.lost(runs, self.time_window)
            times = self.pairs.coarse[cf.time(self.pairs.coarse)].values
            described |= {
                "stretches_of_time": len(runs), "frames_left_out": left_out,
                "time_step": usual_step(times, self.pairs.breaks),
            }  # fmt: skip
        if self.pairs.notes:
            described["notes"] = list(self.pairs.notes)
        return described
