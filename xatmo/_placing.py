"""What windows of an output need to know about their places: fine static fields, keys of draws, an own grid."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo import _statics, _valid_times
from xatmo._stretches import Run, in_words, runs, usual_step
from xatmo.errors import CoordinateError, GridError, OptionError
from xatmo.grids import Grid
from xatmo.nn import positional
from xatmo.typing import Floats

if TYPE_CHECKING:
    from xatmo._graph import Layout
    from xatmo._refined import Refined
    from xatmo._tiles import Axis
    from xatmo.model import Model

# Degrees within which two points are one for draws: far below any step, far above the rounding of coordinates.
_QUANTUM = 1e-3
# So that no usual coordinate lies where rounding may go either way.
_OFF = 0.1234


# ---------------------------------------------------------------------- fine static fields
def fine_static(model: Model, refined: Refined, axes: Sequence[Axis]) -> NDArray[np.float32] | None:
    """Give normalized fine fields in canonical order, the last ones repeated over what padded cells have beyond.

    Raises
    ------
    VariableError
        If the model has no such fields for these points.
    """
    if not model.fine:
        return None
    values = _statics.on_points(model.fine, model.fine_static, model.normalizer, refined.latitude, refined.longitude)
    rows, columns = (_points(axis) for axis in axes[-2:])
    return np.ascontiguousarray(values[:, rows[:, None], columns])


def _points(axis: Axis) -> NDArray[np.int64]:
    """Output point in the file of every canonical one; those beyond the last are the last."""
    at = np.minimum(np.arange(axis.padded * axis.factor), axis.points - 1)
    if axis.flipped:
        return axis.points - 1 - at
    return (at + axis.shift * axis.factor) % axis.points if axis.shift else at


# ---------------------------------------------------------------------- keys of draws
def positions(ds: xr.Dataset, layout: Layout, refined: Refined, axes: Sequence[Axis]) -> positional.Positions:
    """Make keys from coordinates: the same field at the same time and place gets the same draw in any file or part."""
    extras = tuple(_coordinate_keys(ds, dim, kind) for kind, dim in enumerate(layout.extras))
    along = []
    for name, axis in zip(layout.core, axes, strict=True):
        if name == "time":
            along.append(_coordinate_keys(ds, layout.core[name], 90))
            continue
        kind, values = (91, refined.latitude) if name == "lat" else (92, refined.longitude % 360)
        known = positional.keys(_quantised(values), kind)[_points(axis)]
        beyond = np.arange(known.size) - (axis.points - 1)
        known[beyond > 0] = positional.join(known[beyond > 0], positional.keys(beyond[beyond > 0], 93))
        along.append(known)
    return positional.Positions(extras, tuple(along))


def _quantised(degrees: Floats) -> NDArray[np.int64]:
    step = float(np.abs(np.diff(degrees)).min()) if degrees.size > 1 else 1.0
    quantum = _QUANTUM if step > 4 * _QUANTUM else _QUANTUM * 1e-3
    turn = round(360 / quantum)
    return np.round(degrees / quantum + _OFF).astype(np.int64) % turn


def _coordinate_keys(ds: xr.Dataset, dim: Hashable, kind: int) -> positional.Keys:
    """Keys of the points of a dimension: of its coordinate where it has one, else of their numbers."""
    if dim not in ds.coords:
        return positional.keys(np.arange(ds.sizes[dim]), kind)
    return positional.keys(_whole(ds[dim].values), kind)


def _whole(values: NDArray[Any]) -> NDArray[np.int64]:
    if values.dtype.kind == "M":
        return values.astype("datetime64[us]").astype(np.int64)
    if values.dtype.kind == "m":
        return values.astype("timedelta64[us]").astype(np.int64)
    if values.dtype.kind in "fiub":
        return (values.astype(np.float64) + 0.0).view(np.int64)  # no negative zero
    words = [hashlib.blake2b(str(v).encode(), digest_size=8).digest() for v in values.tolist()]
    return np.frombuffer(b"".join(words), dtype=np.int64)


# ---------------------------------------------------------------------- what a network can serve
def require_frames(model: Model, patches: Mapping[str, int]) -> None:
    """Raise where more frames are asked for in a window than a network with a time window sees.

    Raises
    ------
    OptionError
    """
    most = model.patch_size.get("time")
    if model.past is not None and most is not None and patches.get("time", 1) > most:
        message = (
            f"patch_size={{'time': {patches['time']}}} came; the network was made for a time window of {most} frames: "
            "wanted at most so many, or leave it out"
        )
        raise OptionError(message)


def stretches(model: Model, ds: xr.Dataset) -> tuple[Run, ...]:
    """First frame and end of each stretch of time without a gap, for a network that looks back; else nothing.

    Raises
    ------
    CoordinateError
        If times are irregular, or their step is not that of the training.
    """
    if model.past is None or "time" not in model.patch_size:
        return ()
    times = _valid_times.frames(ds).values
    if times.dtype.kind not in "mMO":
        return ()
    found, trained, step = runs(times), model.config.get("training", {}).get("time_step"), usual_step(times)
    # Months are 28 to 31 days long.
    if trained and step and not 0.85 < step / trained < 1.15:
        message = (
            f"the frames of this record are {in_words(step)} apart, and {in_words(trained)} in the training of the "
            "network, which sees several at once; wanted the same step. Select or resample, or train on such a record"
        )
        raise CoordinateError(message)
    return found


def require_own_grid(model: Model, refined: Refined) -> None:
    """Raise unless a localised network meets the grid that it has weights for.

    Raises
    ------
    GridError
    """
    config: Any = model.network.config
    rows, columns = config.shape
    if (refined.latitude.size, refined.longitude.size) != (rows, columns):
        message = (
            f"the output has {refined.latitude.size} x {refined.longitude.size} points; the network is localised, with "
            f"weights for each of {rows} x {columns} points: give that whole grid, or train without localised=True"
        )
        raise GridError(message)
    described = model.grid.get("fine")
    if described is None:
        return
    trained = Grid.from_dict(described)
    rows_apart = np.abs(np.sort(trained.latitude) - np.sort(refined.latitude)).max()
    ours, theirs = (np.sort(np.asarray(lon) % 360) for lon in (refined.longitude, trained.longitude))
    step = np.abs(np.diff(trained.latitude)).min(), np.abs(np.diff(trained.longitude)).min()
    # A column at 0 degrees may be a little below 360 in one of them.
    columns_apart = min(np.abs((np.roll(ours, k) - theirs + 180) % 360 - 180).max() for k in (-1, 0, 1))
    if rows_apart > 0.3 * step[0] or columns_apart > 0.3 * step[1]:
        message = (
            f"the network is localised, with weights for each point from {trained.latitude[0]:g} to "
            f"{trained.latitude[-1]:g} degrees north and {trained.longitude[0]:g} to {trained.longitude[-1]:g} east; "
            f"the output goes from {refined.latitude[0]:g} to {refined.latitude[-1]:g} and {refined.longitude[0]:g} to "
            f"{refined.longitude[-1]:g}: give that grid, or train without localised=True"
        )
        raise GridError(message)


def as_trained(model: Model, ds: xr.Dataset, refined: Refined) -> Refined:
    """Give the place of a whole grid with the column first that was first in training."""
    if not refined.periodic:
        return refined
    first = model.grid.get("coarse", {}).get("longitude")
    shift = refined.shift
    if first is not None:
        trained = float(Grid.from_dict(model.grid["coarse"]).longitude[0])
        here = Grid.of(ds).longitude
        shift = int(np.argmin(np.abs((here - trained + 180) % 360 - 180)))
    return replace(refined, periodic=False, shift=shift)
