"""Windows of past and future as batches for the trainer."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import xarray as xr

from xatmo._stretches import Run
from xatmo.errors import OptionError
from xatmo.patches import Plan, plan
from xatmo.tasks.pairs import _windows
from xatmo.tasks.pairs._batches import Scaling

if TYPE_CHECKING:
    from xatmo.data import SampleStream
    from xatmo.normalize import Normalizer
    from xatmo.train.video import VideoBatch


@dataclass(frozen=True)
class Fields:
    """What windows are cut from, all on one grid, rows from north to south.

    Attributes
    ----------
    state : Dataset
        Variables whose past is read, those to forecast first.
    cycle : Dataset, optional
        What is usual at each time, under the same names.
    known : Dataset, optional
        What is known beforehand at each time.
    static : Dataset, optional
    runs : tuple of (int, int)
        Stretches of time.
    time_dim : hashable
    across : tuple of hashable
        Horizontal dimensions.
    periodic : bool
        Whether longitudes go around.
    """

    state: xr.Dataset
    cycle: xr.Dataset | None
    known: xr.Dataset | None
    static: xr.Dataset | None
    runs: tuple[Run, ...]
    time_dim: Hashable
    across: tuple[Hashable, Hashable]
    periodic: bool

    @property
    def sizes(self) -> dict[Hashable, int]:
        """Points along each dimension, those of independent samples first."""
        core = (self.time_dim, *self.across)
        widest = max(self.state.data_vars.values(), key=lambda v: v.ndim)
        return {d: widest.sizes[d] for d in (*(d for d in widest.dims if d not in core), *core)}


class WindowBatches:
    """What `xatmo.train.Batches` asks for: a function of epoch, place and rank.

    In training every frame that leaves room begins a window, and windows of a part of the domain overlap by half and
    move at random; in validation they lie side by side. None has frames from both sides of a gap.

    Parameters
    ----------
    fields : Fields
    normalizer : Normalizer
    n_context, n_future : int
    patch_size : mapping
        Horizontal dimension to cells.
    batch_size, seed : int
    training : bool
    valid : float, optional
        Least part of a window's points that hold numbers; None: a missing value is an error.
    memory : int
        Bytes of decoded chunks that are held.

    Raises
    ------
    OptionError
        If no stretch of time has so many frames.
    """

    def __init__(
        self,
        fields: Fields,
        normalizer: Normalizer,
        n_context: int,
        n_future: int,
        patch_size: Mapping[Hashable, int],
        *,
        batch_size: int,
        seed: int,
        training: bool = True,
        valid: float | None = None,
        memory: int = 256 << 20,
    ) -> None:
        self.fields, self.normalizer = fields, normalizer
        self.n_context, self.n_future, self.patch_size = n_context, n_future, dict(patch_size)
        self.batch_size, self.seed, self.training = batch_size, seed, training
        self.valid, self.memory = valid, memory
        self._streams: dict[tuple[int, int], SampleStream] = {}
        longest = max((b - a for a, b in fields.runs), default=0)
        if longest < self.n_frames:  # refused here rather than in the first epoch
            message = (
                f"n_context={n_context} and n_future={n_future} need {self.n_frames} frames in a row; the longest "
                f"stretch at even steps has {longest} ({len(fields.runs)} stretches). Wanted shorter windows, or data "
                "without gaps"
            )
            raise OptionError(message)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the streams behind: a spawned process makes its own."""
        return {**self.__dict__, "_streams": {}}

    @property
    def n_frames(self) -> int:
        """Frames of a window."""
        return self.n_context + self.n_future

    @cached_property
    def plan(self) -> Plan:
        """Windows over all dimensions."""
        sizes, time = self.fields.sizes, self.fields.time_dim
        size = {d: 1 for d in sizes} | {d: min(n, sizes[d]) for d, n in self.patch_size.items()}
        size[time] = self.n_frames
        overlap: dict[Hashable, int] = {time: self.n_frames - 1} if self.training else {}
        if self.training:
            overlap |= {d: size[d] // 2 for d in self.fields.across if size[d] < sizes[d]}
        around = [self.fields.across[1]] if self.training and self._wraps(size, sizes) else []
        found = plan(sizes, size, overlap=overlap, periodic=around)
        first = _windows.starts(self.fields.runs, self.n_frames, 1 if self.training else self.n_frames)
        first.flags.writeable = False
        return replace(found, starts={**found.starts, time: first})

    def _wraps(self, size: Mapping[Hashable, int], sizes: Mapping[Hashable, int]) -> bool:
        return self.fields.periodic and size[self.fields.across[1]] < sizes[self.fields.across[1]]

    # ------------------------------------------------------------------ reading
    def stream(self, rank: int = 0, world_size: int = 1) -> SampleStream:
        """Give the stream of one rank."""
        if (rank, world_size) not in self._streams:
            self._streams[rank, world_size] = self._stream(rank, world_size)
        return self._streams[rank, world_size]

    def _stream(self, rank: int, world_size: int) -> SampleStream:
        from xatmo.data import SampleStream

        windows, fields = self.plan, self.fields
        given = {"frames": fields.state, "cycle": fields.cycle, "known": fields.known, "static": fields.static}
        groups = {name: list(ds.data_vars.values()) for name, ds in given.items() if ds is not None and ds.data_vars}
        scaling = Scaling(self.normalizer)
        return SampleStream(
            groups, windows, normalizer={name: scaling for name in groups if name != "known"},
            batch_size=self.batch_size, shuffle=self.training, seed=self.seed, random_offsets=self.training,
            squeeze=[d for d in windows.sizes if d not in (fields.time_dim, *fields.across)],
            rank=rank, world_size=world_size, memory=self.memory, valid=self.valid,
        )  # fmt: skip

    def n_batches(self, world_size: int = 1) -> int:
        """Batches of each rank in an epoch."""
        return len(self.stream(0, world_size))

    def batches(self, epoch: int, *, start: int = 0, rank: int = 0, world_size: int = 1) -> Iterator[VideoBatch]:
        """Batches of frames, NaN where they are missing, and of cycle, known and static fields."""
        from xatmo.train.video import VideoBatch

        stream = self.stream(rank, world_size)
        stream.load_state_dict({"epoch": epoch, "batch": start})
        for batch in stream:
            # The stream repeats along time what has none.
            static = batch["static"][:, :, 0] if "static" in batch else None
            cycle = batch.get("cycle")
            if cycle is not None and self.valid is not None:  # what never was there (land) stands at the mean
                cycle = cycle.nan_to_num(nan=0.0)
            yield VideoBatch(batch["frames"], cycle, batch.get("known"), static)

    def describe(self) -> dict[str, Any]:
        """Say what identifies the data of a run."""
        fields = self.fields
        described: dict[str, Any] = {
            "state": [str(n) for n in fields.state.data_vars],
            "data_sizes": {str(d): n for d, n in fields.sizes.items()},
            "patch_size": {str(d): n for d, n in self.plan.patch_size.items() if d in fields.across},
            "batch_size": self.batch_size,
            "valid": self.valid,
            "stretches_of_time": len(fields.runs),
            "frames_left_out": _windows.lost(fields.runs, self.n_frames),
        }
        for name, ds in (("known", fields.known), ("static", fields.static)):
            if ds is not None:
                described[name] = [str(n) for n in ds.data_vars]
        return described
