"""Put windows to a network, with what it wants beside them: fine static fields, noise, or draws by place."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from xatmo.nn import positional
from xatmo.nn.blocks import draws, is_stochastic

if TYPE_CHECKING:
    from xatmo._tiles import AxisTile
    from xatmo.nn.positional import Positions

Array = NDArray[Any]

_random_lock = threading.Lock()


@dataclass(frozen=True)
class Item:
    """One window of one frame, for one member.

    Attributes
    ----------
    windows : tuple of int
        Number of the window along each patched dimension.
    at : tuple of int
        Point along each dimension that is looped over.
    member : int
    """

    windows: tuple[int, ...]
    at: tuple[int, ...]
    member: int


def manner(network: Any, *, members: bool) -> str:
    """Choose how a network is asked.

    ``"plain"``: it gives one answer. ``"mean"``: it can draw, but nobody asked for members, and it has a ``mean``.
    ``"noise"``: it reads noise by place (``n_noise > 0``), or numbers for the whole field (``n_latent > 0``).
    ``"dropout"``: it draws in dropouts of ours alone. ``"seeded"``: it draws by itself from torch's default generator,
    one window at a time.

    Examples
    --------
    >>> from xatmo.nn.superres import SuperResolution, SuperResolutionConfig
    >>> network = SuperResolution(SuperResolutionConfig(2, channels=4, n_blocks=1, dropout=0.1, mc_dropout=True))
    >>> manner(network, members=True), manner(network, members=False), manner(torch.nn.Identity(), members=False)
    ('dropout', 'mean', 'plain')
    """
    if not getattr(network, "stochastic", False):
        return "plain"
    if not members and callable(getattr(network, "mean", None)):
        return "mean"
    if getattr(network, "n_noise", 0) or getattr(network, "n_latent", 0):
        return "noise"
    if getattr(network, "shared_draws", False):
        return "shared"
    return "dropout" if is_stochastic(network) else "seeded"


@dataclass(eq=False)
class Asker:
    """Asks one network about windows of one tile.

    Attributes
    ----------
    network : torch.nn.Module
    how : str
        See `manner`.
    tiles : sequence of AxisTile
    device, dtype : str
    seed : int
    fine : array (n_static, lat, lon), optional
        Normalized, in canonical order, padding included.
    positions : Positions
        Needed for ``"noise"`` and ``"dropout"``.
    """

    network: Any
    how: str
    tiles: Sequence[AxisTile]
    device: str
    dtype: str
    seed: int = 0
    fine: Array | None = None
    positions: Positions = positional.NOWHERE

    def __call__(self, given: torch.Tensor, items: Sequence[Item]) -> Any:
        """Ask about a batch, ``(batch, channel, *patch)`` on the device."""
        beside: dict[str, torch.Tensor] = {}
        if self.fine is not None:
            beside["static"] = self._static(self.fine, items)
        if self.how == "plain":
            return self.network(given, **beside)
        if self.how == "mean":
            return self.network.mean(given, **beside)
        if self.how == "seeded":
            return self._seeded(given, beside, items)
        if self.how == "shared":
            return self._shared(given, beside, items)
        if self.how == "noise":
            if getattr(self.network, "n_noise", 0):
                beside["noise"] = self._noise(items)
            if getattr(self.network, "n_latent", 0):
                beside["latent"] = self._latent(items)
            if not self._drops:
                return self.network(given, **beside)
        with draws.placed(self._places(items)):
            return self.network(given, **beside)

    @cached_property
    def _drops(self) -> bool:
        return is_stochastic(self.network)

    @property
    def one_by_one(self) -> bool:
        """Whether a batch holds one window, since a draw would depend on what else is in it."""
        return self.how in ("seeded", "shared")

    def _static(self, fine: Array, items: Sequence[Item]) -> torch.Tensor:
        tiles = self.tiles[-2:]
        size = [t.axis.patch * t.axis.factor for t in tiles]
        out = torch.empty((len(items), fine.shape[0], *size), dtype=getattr(torch, self.dtype))
        array = out.numpy()
        for b, item in enumerate(items):
            rows, columns = (t.fine(w) for t, w in zip(tiles, item.windows[-2:], strict=True))
            for to_row, row in rows:
                for to_column, column in columns:
                    array[b, :, to_row, to_column] = fine[:, row, column]
        return out.to(self.device)

    # ------------------------------------------------------------------ draws
    def _keys(self, item: Item) -> list[positional.Keys]:
        """Keys of the window's output points along each patched dimension."""
        found = []
        for tile, window, known in zip(self.tiles, item.windows, self.positions.axes, strict=True):
            axis = tile.axis
            at = axis.starts[window] * axis.factor + np.arange(axis.patch * axis.factor)
            found.append(known[at % known.size])
        return found

    def _sample(self, item: Item) -> positional.Keys:
        return positional.sample_key(self.seed, item.member, self.positions.frame(item.at))

    def _noise(self, items: Sequence[Item]) -> torch.Tensor:
        size = [t.axis.patch * t.axis.factor for t in self.tiles]
        out = torch.empty((len(items), self.network.n_noise, *size), dtype=getattr(torch, self.dtype))
        for b, item in enumerate(items):
            positional.normal(self._sample(item), self._keys(item), out[b].numpy())
        return out.to(self.device)

    def _latent(self, items: Sequence[Item]) -> torch.Tensor:
        """Numbers of member and frame, without the window: all windows of a field share them."""
        n = self.network.n_latent
        out = torch.empty((len(items), n), dtype=getattr(torch, self.dtype))
        for b, item in enumerate(items):
            positional.normal(self._sample(item), [positional.keys(np.arange(n), 104)], out[b : b + 1].numpy())
        return out.to(self.device)

    def _places(self, items: Sequence[Item]) -> draws.Places:
        rows, columns = self.tiles[-2:]
        samples = []
        for item in items:
            key = self._sample(item)
            frames = positional.join(key, self._keys(item)[0]) if len(self.tiles) > 2 else key.reshape(1)
            samples.append(frames.astype(np.uint32))  # the lower half, as well mixed as the whole
        starts = [[int(t.axis.starts[w]) for t, w in zip((rows, columns), i.windows[-2:], strict=True)] for i in items]
        return draws.Places(
            np.stack(samples, axis=1), np.array(starts), (rows.axis.patch, columns.axis.patch),
            (rows.axis.padded, columns.axis.padded),
        )  # fmt: skip

    def _seeded(self, given: torch.Tensor, beside: dict[str, torch.Tensor], items: Sequence[Item]) -> Any:
        """One sample, seeded by member, window and frame of the whole field, so that tiles and chunks do not matter."""
        (item,) = items
        words = [item.member, *item.windows, *item.at]
        entropy = words if self.seed == 0 else [self.seed, 0, *words]
        seed = np.random.SeedSequence(entropy).generate_state(1, np.uint32)[0]
        return self._drawn(given, beside, int(seed))

    def _shared(self, given: torch.Tensor, beside: dict[str, torch.Tensor], items: Sequence[Item]) -> Any:
        """One sample, seeded by member and coordinates of the map, and not by the window; dropout goes by place."""
        (item,) = items
        seed = int(self._sample(item).reshape(())) >> 1
        if not self._drops:
            return self._drawn(given, beside, seed)
        with draws.placed(self._places(items)):
            return self._drawn(given, beside, seed)

    def _drawn(self, given: torch.Tensor, beside: dict[str, torch.Tensor], seed: int) -> Any:
        devices = [given.device] if given.device.type == "cuda" else []
        with _random_lock, torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            return self.network(given, **beside)
