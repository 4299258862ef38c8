"""Windows of coarse and fine fields as batches for the trainer."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo import cf
from xatmo.normalize import forward
from xatmo.patches import Plan, plan

if TYPE_CHECKING:
    import torch

    from xatmo.data import SampleStream
    from xatmo.normalize import Normalizer
    from xatmo.tasks._pairs import Pairs


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

    Windows overlap by half and move at random for training; they lie side by side, in order, for validation.

    Parameters
    ----------
    pairs : Pairs
    patch_size : mapping
        Horizontal dimension to coarse cells.
    inputs, outputs : Normalizer
    batch_size, seed : int
    training : bool
    valid : float, optional
        Least fraction of numbers in a window. None: a missing value is an error.
    area : bool
        Whether to deliver the areas of the fine cells, relative to their mean, as weights.
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
    ) -> None:
        self.area = area
        self.pairs, self.patch_size, self.inputs, self.outputs = pairs, dict(patch_size), inputs, outputs
        self.batch_size, self.seed, self.training, self.valid = batch_size, seed, training, valid
        self._streams: dict[tuple[int, int], SampleStream] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave the streams behind: a spawned process makes its own."""
        return {**self.__dict__, "_streams": {}}

    @property
    def plan(self) -> Plan:
        """Windows over the whole coarse cells."""
        sizes = self.pairs.sizes
        size = {d: min(self.patch_size.get(d, 1), n) for d, n in sizes.items()}
        if not self.training:
            return plan(sizes, size)
        return plan(sizes, size, overlap={d: size[d] // 2 for d in self.patch_size}, periodic=self.pairs.periodic)

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
        finer = dict.fromkeys(axes.dims, factor)
        return SampleStream(
            fields,
            windows,
            factor={"coarse": 1, "fine": finer, "weight": finer},
            normalizer={"coarse": Scaling(self.inputs), "fine": Scaling(self.outputs)},
            batch_size=self.batch_size, shuffle=self.training, seed=self.seed, random_offsets=self.training,
            valid=self.valid, squeeze=[d for d in windows.sizes if d not in axes.dims], rank=rank,
            world_size=world_size,
        )  # fmt: skip

    def _areas(self) -> xr.DataArray:
        fine = cf.horizontal(self.pairs.fine)
        areas = self.pairs.found.fine.areas
        coords = {d: self.pairs.fine[d] for d in fine.dims if d in self.pairs.fine.coords}
        return xr.DataArray((areas / areas.mean()).astype(np.float32), coords, fine.dims, name="area")

    def n_batches(self, world_size: int = 1) -> int:
        """Batches of each rank in an epoch."""
        return len(self.stream(0, world_size))

    def batches(
        self, epoch: int, *, start: int = 0, rank: int = 0, world_size: int = 1
    ) -> Iterator[tuple[torch.Tensor, ...]]:
        """``(coarse, fine)``, and ``weight`` where cells count by area, each ``(batch, channel, lat, lon)``."""
        stream = self.stream(rank, world_size)
        stream.load_state_dict({"epoch": epoch, "batch": start})
        for batch in stream:
            yield tuple(batch[name] for name in ("coarse", "fine", "weight") if name in batch)

    def describe(self) -> dict[str, Any]:
        """Say what identifies the data of a run."""
        return {
            "inputs": [str(n) for n in self.pairs.coarse.data_vars],
            "outputs": [str(n) for n in self.pairs.fine.data_vars],
            "data_sizes": {str(d): n for d, n in self.pairs.coarse.sizes.items()},
            "patch_size": {str(d): n for d, n in self.patch_size.items()},
            "batch_size": self.batch_size,
            "valid": self.valid,
        }
