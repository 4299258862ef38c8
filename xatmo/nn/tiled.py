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
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xatmo import _tiles
from xatmo.errors import MissingValueError, OptionError
from xatmo.nn.asking import Asker, Item, manner
from xatmo.nn.positional import NOWHERE, Positions
from xatmo.nn.tile_input import Input, Laid, Pieces, Range, Scaling, all_finite, laid

Array = NDArray[Any]

CPU_BATCH_POINTS = 2**15
"""Output points in one forward pass on a CPU. Feature maps that stay in cache, and below the size from which the
allocator asks the system for fresh pages each time, are worth more than a larger batch."""
CPU_FRAME_POINTS = 2**14
"""The same for networks that see several frames at once: they hold maps of each."""
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
        Variables, in the order of their channels.
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

    @property
    def channels(self) -> int:
        """How many the network reads."""
        return sum(i.count for i in self.inputs)

    def run(
        self, extras: Sequence[Range], core: Sequence[Range], pieces: Sequence[Pieces], members: Range | None = None
    ) -> Array:
        """Compute one tile.

        Parameters
        ----------
        extras, core : sequence of (int, int)
            Ranges of the extra dimensions and of the output points along the patched ones, in file order.
        pieces : sequence
            For each variable the input blocks under the tile and its halo.
        members : (int, int), optional
            Which members; by default all.

        Returns
        -------
        array (channel_out, ...)
            In the order of the output's dimensions.
        """
        tiles = [axis.tile(*r) for axis, r in zip(self.axes, core, strict=True)]
        given, missing = laid(self.inputs, extras, tiles, pieces, dtype=self.dtype, nan=self.nan)
        out = self._blend(extras, tiles, given, members or (0, self.members or 1))
        for c, scaling in enumerate(self.outputs):
            if scaling is not None:
                for m in range(out.shape[1]):
                    out[c, m] = scaling.denormalize(out[c, m], extras)
        if not all_finite(out):
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
    def _blend(
        self, extras: Sequence[Range], tiles: Sequence[_tiles.AxisTile], given: Sequence[Laid], members: Range
    ) -> Array:
        """Weighted sum over windows, ``(channel_out, member, *extras, *tile)`` in canonical order."""
        frames = [b - a for a, b in extras]
        n_frames, n_members = math.prod(frames), members[1] - members[0]
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
        buffer = torch.empty((batch, self.channels, *patch), dtype=getattr(torch, self.dtype))
        array = buffer.numpy()
        low = [a for a, _ in extras]
        points_of = list(np.ndindex(*frames))
        work = itertools.product(itertools.product(*per_axis), range(n_frames), range(n_members))
        with torch.inference_mode(), _fair_threads(self.tasks):
            while todo := list(itertools.islice(work, batch)):
                items = []
                for b, (window, frame, member) in enumerate(todo):
                    for segments in itertools.product(*(a[1] for a in window)):
                        to, at = zip(*segments, strict=True)
                        for part in given:
                            array[(b, part.channels, *to)] = part.seen(points_of[frame], at)
                    place = tuple(map(sum, zip(low, points_of[frame], strict=True)))
                    items.append(Item(tuple(a[0] for a in window), place, members[0] + member))
                asked = buffer[: len(todo)]
                with contextlib.nullcontext() if device == "cpu" else _device_lock:
                    made = ask(asked.to(device), items)
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
        if device != "cpu":
            return max(1, CUDA_BATCH_POINTS // points)
        several = any(i.frames is not None for i in self.inputs)
        return max(1, (CPU_FRAME_POINTS if several else CPU_BATCH_POINTS) // points)

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
