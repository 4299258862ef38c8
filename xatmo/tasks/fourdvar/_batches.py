"""Windows of observations, masks, backgrounds and targets as packed batches for the trainer."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo.errors import OptionError
from xatmo.patches import Plan, plan
from xatmo.patches._ahead import Ahead
from xatmo.patches._schedule import Layout
from xatmo.patches._sources import Source
from xatmo.patches.validity import count_windows
from xatmo.tasks.fourdvar._data import Fields
from xatmo.tasks.fourdvar._packing import Channels, Scaling
from xatmo.tasks.fourdvar._redraw import Made, Masks, Redraw
from xatmo.tasks.pairs import _windows

if TYPE_CHECKING:
    from xatmo.data import SampleStream
    from xatmo.normalize import Normalizer
    from xatmo.train.batches import AnyBatch

Array = NDArray[Any]

# A window with fewer observed cells, as a part of all, teaches nothing.
_FEWEST = 1e-4
_LEAST_WATER = 0.02


@dataclass(frozen=True)
class Drawing:
    """How samples are observed.

    Attributes
    ----------
    redraw : float
        Part of the samples that are observed where another time of the record is, with values of their own target.
    noise_std : tuple of float
        Of these values, by sensor, in normalized units.
    held_back : float
        Part of the tracks that is held back, and is the target: where backgrounds are made of the others. 0: none.
    """

    redraw: float = 0.0
    noise_std: tuple[float, ...] = ()
    held_back: float = 0.0


class WindowBatches:
    """What `xatmo.train.Batches` asks for: a function of epoch, place and rank.

    For training windows overlap, by half in space and by two thirds in time, and move at random; in a record with gaps
    they begin at every frame that leaves room instead. For validation they lie side by side. None has frames from both
    sides of a gap.

    Parameters
    ----------
    fields : Fields
        In the units of the channels, rows north to south.
    channels : Channels
    normalizer : Normalizer
    patch_size : mapping
        Dimension to frames and cells.
    background : Made
        Where backgrounds come from.
    batch_size, seed : int
    drawing : Drawing
    training : bool
    memory : int
        Bytes of decoded chunks that are held.
    """

    def __init__(
        self,
        fields: Fields,
        channels: Channels,
        normalizer: Normalizer,
        patch_size: Mapping[Hashable, int],
        background: Made,
        *,
        batch_size: int,
        seed: int,
        drawing: Drawing,
        training: bool = True,
        memory: int = 256 << 20,
    ) -> None:
        self.fields, self.channels, self.normalizer = fields, channels, normalizer
        self.patch_size, self.background = dict(patch_size), background
        self.batch_size, self.seed, self.drawing, self.training = batch_size, seed, drawing, training
        self.memory = memory
        self._scaling = Scaling(normalizer)
        self._streams: dict[tuple[int, int], SampleStream] = {}
        _windows.starts(fields.runs, self.patch_size[fields.time_dim], 1)  # refused here rather than in the first epoch

    def __getstate__(self) -> dict[str, Any]:
        """Leave the streams behind: a spawned process makes its own."""
        kept = {k: v for k, v in self.__dict__.items() if k not in ("_redrawing",)}
        return {**kept, "_streams": {}}

    # ------------------------------------------------------------------ windows
    @cached_property
    def plan(self) -> Plan:
        """Windows over all dimensions."""
        sizes, time = self.fields.sizes, self.fields.time_dim
        size = {d: min(self.patch_size.get(d, 1), n) for d, n in sizes.items()}
        across = self.fields.axes.dims
        overlap: dict[Hashable, int] = {d: size[d] // 2 for d in across} if self.training else {}
        # Neighbours one frame apart have no room to move at random, so that none moves across a gap.
        stride = max(1, size[time] // 3) if len(self.fields.runs) == 1 else 1
        overlap[time] = size[time] - stride if self.training else 0
        wraps = self.training and self.fields.grid.periodic
        found = plan(sizes, size, overlap=overlap, periodic=[across[1]] if wraps else ())
        first = _windows.starts(self.fields.runs, size[time], stride if self.training else size[time])
        first.flags.writeable = False
        return replace(found, starts={**found.starts, time: first})

    @cached_property
    def kept(self) -> NDArray[np.bool_]:
        """Which windows have water and enough observations, ``(windows,)``. This reads the observations.

        Raises
        ------
        OptionError
            If none has.
        """
        layout = self.plan
        cells = float(np.prod(layout.patch_shape))
        seen = sum(self._fraction(f) for f in self.fields.obs)
        good = np.asarray(seen) >= max(_FEWEST, 2 / cells)
        if self.fields.domain is not None:
            good = good & (self._fraction(self.fields.domain.where(self.fields.domain)) >= _LEAST_WATER)
        for target in self.fields.target:
            good = good & (self._fraction(target) > 0)
        good = np.broadcast_to(good, layout.shape).ravel()
        if not good.any():
            message = (
                f"none of {good.size} windows of {dict(layout.patch_size)} has observations, water and a target; give "
                "more observations or larger patches"
            )
            raise OptionError(message)
        return good

    def _fraction(self, field: xr.DataArray) -> NDArray[np.float64]:
        layout = Layout(Source(field), self.plan, {d: 1 for d in field.dims if d in self.plan.sizes})
        return count_windows(layout.in_pieces(), self.plan)

    # ------------------------------------------------------------------ reading
    def stream(self, rank: int = 0, world_size: int = 1) -> SampleStream:
        """Give the stream of one rank."""
        if (rank, world_size) not in self._streams:
            self._streams[rank, world_size] = self._stream(rank, world_size)
        return self._streams[rank, world_size]

    def _stream(self, rank: int, world_size: int) -> SampleStream:
        from xatmo.data import SampleStream

        fields, channels = self.fields, self.channels
        groups: dict[str, list[xr.DataArray]] = {
            "obs": [f.rename(c.name) for f, c in zip(fields.obs, channels.obs, strict=True)]
        }
        if fields.target:
            groups["target"] = [f.rename(c.name) for f, c in zip(fields.target, channels.outputs, strict=True)]
        if self.background.fields and not self.drawing.held_back:
            groups["background"] = [
                f.rename(f"{c.name}_background") for f, c in zip(self.background.fields, channels.outputs, strict=True)
            ]
        if fields.domain is not None:
            groups["domain"] = [fields.domain.astype(np.float32)]
        if channels.predictors:
            groups["extra"] = [f.rename(c.name) for f, c in zip(fields.predictors, channels.predictors, strict=True)]
        # Where each window lies, so that masks of other times can be read for it.
        groups["place"] = [
            xr.DataArray(np.arange(n, dtype=np.float32), dims=(d,), name=f"_{d}") for d, n in fields.sizes.items()
        ]
        scaled = {name: self._scaling for name in groups if name not in ("domain", "place")}
        return SampleStream(
            groups, self.plan, normalizer=scaled, batch_size=self.batch_size, shuffle=self.training, seed=self.seed,
            mask=True, valid=self.kept, random_offsets=self.training,
            squeeze=[d for d in self.plan.sizes if d not in self.patch_size], rank=rank, world_size=world_size,
            memory=self.memory,
        )  # fmt: skip

    def n_batches(self, world_size: int = 1) -> int:
        """Batches of each rank in an epoch."""
        return len(self.stream(0, world_size))

    def batches(self, epoch: int, *, start: int = 0, rank: int = 0, world_size: int = 1) -> Iterator[AnyBatch]:
        """``(packed input, target)``, each ``(batch, channel, time, lat, lon)``; without a target it is NaN."""
        ahead = Ahead(self._made(epoch, start, rank, world_size), 2)
        try:
            yield from ahead
        finally:
            ahead.close()

    def _made(self, epoch: int, start: int, rank: int, world_size: int) -> Iterator[AnyBatch]:
        stream = self.stream(rank, world_size)
        stream.load_state_dict({"epoch": epoch, "batch": start})
        for number, batch in enumerate(stream, start=start):
            yield self._packed(batch, np.random.default_rng([self.seed, epoch, number, rank, int(self.training)]))

    @cached_property
    def _redrawing(self) -> Redraw:
        fields = self.fields
        return Redraw(
            fields, self.channels, self._scaling, self.background, Masks.of(fields),
            _windows.starts(fields.runs, self.patch_size[fields.time_dim], 1), self.drawing.noise_std,
        )  # fmt: skip

    def _packed(self, batch: Mapping[str, Any], random: np.random.Generator) -> AnyBatch:
        import torch

        obs = batch["obs"].numpy()
        mask = batch["obs_mask"].numpy()
        n_outputs = len(self.channels.outputs)
        shape = (len(obs), n_outputs, *obs.shape[2:])
        target = batch["target"].numpy() if "target" in batch else np.full(shape, np.nan, np.float32)
        background = batch["background"].numpy() if "background" in batch else np.zeros(shape, np.float32)
        domain = batch["domain"].numpy()[:, :, :1] if "domain" in batch else np.ones((len(obs), 1, 1, *shape[3:]))
        domain = domain > 0.5
        place = batch["place"].numpy()
        if self.drawing.held_back:
            obs, mask, background, target = self._redrawing.held(
                obs, mask, domain, place, random, self.drawing.held_back
            )
        elif self.training and self.drawing.redraw:
            chosen = np.flatnonzero(random.random(len(obs)) < self.drawing.redraw).tolist()
            self._redrawing.into(obs, mask, background, target, domain, place, chosen, random)
        obs = np.where(mask, obs, np.float32(0))
        water = np.broadcast_to(domain, (len(obs), 1, *shape[2:]))
        parts = [obs, mask, background, water, *([batch["extra"].numpy()] if "extra" in batch else [])]
        given = np.concatenate([np.asarray(p, dtype=np.float32) for p in parts], axis=1)
        target = np.where(water, target, np.float32(np.nan))
        return torch.from_numpy(given), torch.from_numpy(np.ascontiguousarray(target, dtype=np.float32))

    def describe(self) -> dict[str, Any]:
        """Say what identifies the data of a run."""
        fields = self.fields
        left_out = int((~self.kept).sum())
        described: dict[str, Any] = {
            "obs": [c.name for c in self.channels.obs], "outputs": [c.name for c in self.channels.outputs],
            "predictors": [c.name for c in self.channels.predictors],
            "data_sizes": {str(d): n for d, n in fields.sizes.items()},
            "patch_size": {str(d): n for d, n in self.patch_size.items()},
            "batch_size": self.batch_size, "redraw": self.drawing.redraw,
            "noise_std": [float(f"{n:.5g}") for n in self.drawing.noise_std],
            "held_back": self.drawing.held_back,
            "stretches_of_time": len(fields.runs),
            "frames_left_out": _windows.lost(fields.runs, self.patch_size[fields.time_dim]),
        }  # fmt: skip
        if left_out:
            described["notes"] = [f"{left_out} of {self.kept.size} windows left out: no water, or few observations"]
        return described
