"""Run a network over the windows of a tile and blend what it gives. Tensors inside, NumPy arrays at the edges."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import importlib
import itertools
import math
import os
import pickle
import sys
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from xatmo import _tiles
from xatmo.errors import MissingValueError, OptionError
from xatmo.nn.asking import Asker, Item, manner
from xatmo.nn.positional import NOWHERE, Positions

Array = NDArray[Any]
Range = tuple[int, int]
Place = tuple[slice, ...]
Pieces = Sequence[tuple[Array, Place]]
"""Blocks of one variable and where they go in its region, in the variable's own dimension order."""

CPU_BATCH_POINTS = 2**15
"""Output points in one forward pass on a CPU. Feature maps that stay in cache, and below the size from which the
allocator asks the system for fresh pages each time, are worth more than a larger batch."""
CUDA_BATCH_POINTS = 2**22
"""Output points in one forward pass on a GPU."""
KEPT_NETWORKS = 4
"""Networks that a process keeps ready; the one used longest ago goes first."""

materialised: Counter[str] = Counter()
"""How often this process unpacked the network of a key."""

_ready: OrderedDict[tuple[str, str], torch.nn.Module] = OrderedDict()
_lock = threading.RLock()
_device_lock = threading.Lock()  # one batch at a time on a GPU, while other threads cut and blend
_thread_lock = threading.Lock()
_busy = [0, 0]  # tasks that share the cores now, and the number of threads that torch had before them


# ---------------------------------------------------------------------- one network per process
class SharedNetwork:
    """A network that travels as bytes, once to each process, and is unpacked there on first use, under a lock.

    The bytes are a snapshot: the caller may train on, or move the network to a GPU, before anything is computed.

    Parameters
    ----------
    network : torch.nn.Module
        Any that can be pickled, also one whose class was defined in a notebook.

    Attributes
    ----------
    key : str
        Hash of the bytes: of weights, settings and class.
    """

    def __init__(self, network: torch.nn.Module) -> None:
        mine = copy.deepcopy(network).to("cpu").eval().requires_grad_(False)
        self._bytes: bytes = importlib.import_module("cloudpickle").dumps(mine)  # comes with dask
        self.key = hashlib.sha256(self._bytes).hexdigest()[:32]
        with _lock:
            if (self.key, "cpu") not in _ready:
                _remember(self.key, "cpu", mine)

    def on(self, device: str) -> torch.nn.Module:
        """Give the network on a device, in evaluation mode."""
        with _lock:
            if (self.key, device) not in _ready:
                _remember(self.key, device, pickle.loads(self._bytes).to(device))
                materialised[self.key] += 1
            _ready.move_to_end((self.key, device))
            return _ready[self.key, device]

    def __dask_tokenize__(self) -> str:
        return self.key


def _remember(key: str, device: str, network: torch.nn.Module) -> None:
    _ready[key, device] = network
    while len(_ready) > KEPT_NETWORKS:
        _ready.popitem(last=False)


def resolve_device(device: str) -> str:
    """Choose on the machine that computes: ``"auto"`` is CUDA if it is there.

    Raises
    ------
    OptionError
        If the device is not on this machine.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind = torch.device(device).type
    if kind == "cuda" and not torch.cuda.is_available():
        message = f"device={device!r} came, but this worker has no CUDA device; use device='auto' or 'cpu'"
        raise OptionError(message)
    return device


@contextlib.contextmanager
def _fair_threads(tasks: int) -> Iterator[None]:
    """Divide the threads that torch may use among the tasks that run beside this one."""
    if threading.current_thread() is threading.main_thread():
        yield  # nothing runs beside it
        return
    worker = _distributed_threads()
    beside = min(worker or os.cpu_count() or 1, tasks)
    with _thread_lock:
        if _busy[0] == 0:
            _busy[1] = torch.get_num_threads()
        _busy[0] += 1
        before = _busy[1]
    torch.set_num_threads(max(1, before // beside))
    try:
        yield
    finally:
        with _thread_lock:
            _busy[0] -= 1
            torch.set_num_threads(before)


def _distributed_threads() -> int | None:
    module = sys.modules.get("distributed.worker")
    try:
        return None if module is None else int(module.get_worker().state.nthreads)
    except (ValueError, AttributeError):
        return None


# ---------------------------------------------------------------------- what is done with a tile
class Scaling(Protocol):
    """Elementwise normalization of one channel; arrays have the extra dimensions first, then the patched ones."""

    def normalize(self, x: Array, ranges: Sequence[Range]) -> Array:
        """Give network units; ``ranges`` say which part of the extra dimensions ``x`` is."""

    def denormalize(self, x: Array, ranges: Sequence[Range]) -> Array:
        """Give physical units."""


@dataclass(frozen=True, eq=False)
class Input:
    """One channel: its dimensions as positions among (extra dimensions, patched dimensions), and its conversions."""

    name: str
    positions: tuple[int, ...]
    unit_scale: float = 1.0
    unit_offset: float = 0.0
    scaling: Scaling | None = None


@dataclass(eq=False)
class TileJob:
    """All that every tile of an output shares; sent once to each process.

    Attributes
    ----------
    network : SharedNetwork
    axes : tuple of Axis
        Patched dimensions in the network's order.
    extras : tuple of int
        Sizes of the dimensions that are looped over.
    inputs : tuple of Input
        Channels.
    outputs : tuple of Scaling or None
        How each output channel becomes physical.
    order : tuple of int
        Transposes (member, extra dimensions, patched dimensions) to the output's dimension order.
    dtype : str
        Of the network's tensors: ``"float32"`` or ``"float64"``.
    members : int, optional
        Draws; None: the one answer, without a dimension for members.
    fine : array (n_static, lat, lon), optional
        Normalized static fields on the output points, in canonical order, padding included.
    positions, seed
        What draws follow from.
    """

    network: SharedNetwork
    axes: tuple[_tiles.Axis, ...]
    extras: tuple[int, ...]
    inputs: tuple[Input, ...]
    outputs: tuple[Scaling | None, ...]
    order: tuple[int, ...]
    dtype: str = "float32"
    nan: str = "raise"
    device: str = "auto"
    batch_size: int | None = None
    members: int | None = None
    tasks: int = 1
    fine: Array | None = None
    positions: Positions = NOWHERE
    seed: int = 0

    def run(
        self, extras: Sequence[Range], core: Sequence[Range], pieces: Sequence[Pieces], members: Range | None = None
    ) -> Array:
        """Compute one tile.

        Parameters
        ----------
        extras, core : sequence of (int, int)
            Ranges of the extra dimensions and of the output points along the patched ones, in file order.
        pieces : sequence
            For each channel the input blocks under the tile and its halo.
        members : (int, int), optional
            Which members; by default all.

        Returns
        -------
        array (channel_out, ...)
            In the order of the output's dimensions.
        """
        tiles = [axis.tile(*r) for axis, r in zip(self.axes, core, strict=True)]
        region, missing = self._region(extras, tiles, pieces)
        out = self._blend(extras, tiles, region, members or (0, self.members or 1))
        for c, scaling in enumerate(self.outputs):
            if scaling is not None:
                for m in range(out.shape[1]):
                    out[c, m] = scaling.denormalize(out[c, m], extras)
        if not _all_finite(out):
            message = (
                f"the network gave {int((~np.isfinite(out)).sum())} values that are not finite in a block of "
                f"{out.shape}; its input is finite, so look at its weights and at the normalizer"
            )
            raise MissingValueError(message)
        if missing is not None:
            out[:, :, np.broadcast_to(self._to_points(missing, tiles), out.shape[2:])] = np.nan
        whole = (slice(None),) * (2 + len(self.extras))
        for k, tile in enumerate(tiles):
            out = out[(*whole, *(slice(None),) * k, tile.to_file)]
        if self.members is None:
            out = out[:, 0]
        return np.ascontiguousarray(out.transpose(0, *(1 + i for i in self.order)))

    # ------------------------------------------------------------------ input
    def _region(
        self, extras: Sequence[Range], tiles: Sequence[_tiles.AxisTile], pieces: Sequence[Pieces]
    ) -> tuple[Array, Array | None]:
        """Give normalized channels on the padded region, ``(channel, *extras, *region)``, and what is missing."""
        lengths = [b - a for a, b in extras] + [t.region.size + t.pad for t in tiles]
        bare = [b - a for a, b in extras] + [t.region.size for t in tiles]
        region = np.empty((len(self.inputs), *lengths), dtype=self.dtype)
        missing: Array | None = None
        first = len(extras)
        for c, (channel, blocks) in enumerate(zip(self.inputs, pieces, strict=True)):
            own = [bare[p] for p in channel.positions]
            values = np.empty(own, dtype=np.result_type(blocks[0][0].dtype, np.float32))
            backwards = [p >= first and tiles[p - first].axis.flipped for p in channel.positions]
            reverse = tuple(slice(None, None, -1) if b else slice(None) for b in backwards)
            for block, place in blocks:
                values[place] = block[reverse]
            lost = self._missing(values, channel.name)
            values *= values.dtype.type(channel.unit_scale)
            values += values.dtype.type(channel.unit_offset)
            full = values.transpose(np.argsort(channel.positions))
            absent = tuple(p for p in range(len(bare)) if p not in channel.positions)
            full = np.expand_dims(full, absent)
            if channel.scaling is not None:
                if any(p < first for p in absent):  # statistics may vary along a dimension that this field lacks
                    full = np.broadcast_to(full, [*bare[:first], *full.shape[first:]])
                full = channel.scaling.normalize(full, extras)
            if lost is not None:
                at = np.expand_dims(lost.transpose(np.argsort(channel.positions)), absent)
                full[np.broadcast_to(at, full.shape)] = 0
                missing = at if missing is None else missing | at
            inside: tuple[Any, ...] = (c, *(slice(n) for n in bare))
            region[inside] = full
        for k, tile in enumerate(tiles):
            _tiles.repeat_edge(region, 1 + first + k, tile.pad)
        return region, missing

    def _missing(self, values: Array, name: str) -> Array | None:
        if self.nan == "keep" or _all_finite(values):
            return None
        lost: Array = ~np.isfinite(values)
        if self.nan == "raise":
            message = (
                f"variable {name!r} holds {int(lost.sum())} missing or infinite values in a block of {values.shape}; "
                "the network would spread them. Fill them first, or pass nan='mask', which counts them as the mean and "
                "masks the output there"
            )
            raise MissingValueError(message)
        return lost

    def _to_points(self, missing: Array, tiles: Sequence[_tiles.AxisTile]) -> Array:
        """Output points of the tile, in canonical order, that stand on missing cells."""
        for k, tile in enumerate(tiles):
            cell = np.sort(tile.points) // tile.axis.factor
            cell = cell if tile.axis.periodic else np.minimum(cell, tile.axis.cells - 1)
            dim = len(self.extras) + k
            if missing.shape[dim] > 1 or tile.region.size == 1:
                missing = missing.take(np.searchsorted(tile.region, cell), axis=dim)
        return missing

    # ------------------------------------------------------------------ windows
    def _blend(self, extras: Sequence[Range], tiles: Sequence[_tiles.AxisTile], region: Array, members: Range) -> Array:
        """Weighted sum over windows, ``(channel_out, member, *extras, *tile)`` in canonical order."""
        frames = [b - a for a, b in extras]
        n_frames, n_members = math.prod(frames), members[1] - members[0]
        source = region.reshape(len(self.inputs), n_frames, *region.shape[1 + len(frames) :])
        points = [t.high - t.low for t in tiles]
        out = np.zeros((len(self.outputs), n_members, n_frames, *points), dtype=self.dtype)
        patch = [axis.patch for axis in self.axes]
        per_axis = [
            [(w, t.inputs(w), t.outputs(w), t.axis.window_weights(w).astype(self.dtype)) for w in t.windows.tolist()]
            for t in tiles
        ]
        device = resolve_device(self.device)
        network = self.network.on(device)
        ask = Asker(
            network, manner(network, members=self.members is not None), tiles, device, self.dtype, self.seed, self.fine,
            self.positions,
        )  # fmt: skip
        whole = n_frames * n_members * math.prod(len(a) for a in per_axis)
        batch = 1 if ask.one_by_one else min(self._batch(device), whole)
        buffer = torch.empty((batch, len(self.inputs), *patch), dtype=getattr(torch, self.dtype))
        array = buffer.numpy()
        low = [a for a, _ in extras]
        places = [tuple(map(sum, zip(low, k, strict=True))) for k in np.ndindex(*frames)]
        work = itertools.product(itertools.product(*per_axis), range(n_frames), range(n_members))
        with torch.inference_mode(), _fair_threads(self.tasks):
            while todo := list(itertools.islice(work, batch)):
                items = []
                for b, (window, frame, member) in enumerate(todo):
                    for segments in itertools.product(*(a[1] for a in window)):
                        to, at = zip(*segments, strict=True)
                        array[(b, slice(None), *to)] = source[(slice(None), frame, *at)]
                    items.append(Item(tuple(a[0] for a in window), places[frame], members[0] + member))
                given = buffer[: len(todo)]
                with contextlib.nullcontext() if device == "cpu" else _device_lock:
                    made = ask(given.to(device), items)
                    fine = self._checked(made, len(todo)).to("cpu", buffer.dtype).numpy()
                for b, (window, frame, member) in enumerate(todo):
                    weights = self._product(window)
                    for segments in itertools.product(*(a[2] for a in window)):
                        at, to = zip(*segments, strict=True)
                        target = out[(slice(None), member, frame, *to)]
                        target += fine[(b, slice(None), *at)] * weights[at]
        return out.reshape(len(self.outputs), n_members, *frames, *points)

    def _product(self, window: Sequence[tuple[int, Any, Any, Array]]) -> Array:
        weights: Array = np.ones((), dtype=self.dtype)
        for part in window:
            weights = weights[..., None] * part[3]
        return weights

    def _batch(self, device: str) -> int:
        if self.batch_size is not None:
            return self.batch_size
        points = math.prod(axis.patch * axis.factor for axis in self.axes)
        return max(1, (CPU_BATCH_POINTS if device == "cpu" else CUDA_BATCH_POINTS) // points)

    def _checked(self, made: Any, batch: int) -> torch.Tensor:
        wanted = (batch, len(self.outputs), *(axis.patch * axis.factor for axis in self.axes))
        if not isinstance(made, torch.Tensor) or tuple(made.shape) != wanted:
            came = tuple(made.shape) if isinstance(made, torch.Tensor) else type(made).__name__
            message = (
                f"the network gave {came} for windows of {[axis.patch for axis in self.axes]} cells; wanted {wanted} "
                f"(batch, channel, *patch * factor), with factor {[axis.factor for axis in self.axes]}"
            )
            raise OptionError(message)
        return made


def _all_finite(values: Array) -> bool:
    """Tell whether there is no NaN or infinity: one sum in nearly every case."""
    with np.errstate(invalid="ignore", over="ignore"):
        return bool(np.isfinite(values.sum(dtype=np.float64))) or bool(np.isfinite(values).all())
