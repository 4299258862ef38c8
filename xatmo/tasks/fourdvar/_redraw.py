"""Windows observed otherwise: where another time of the record is, or without some of their tracks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo.assimilation.labels import observations
from xatmo.grids import unwrap_longitude
from xatmo.patches._sources import Source
from xatmo.tasks.fourdvar._data import Fields
from xatmo.tasks.fourdvar._packing import Channels, Scaling

if TYPE_CHECKING:
    from xatmo.tasks.fourdvar._background import Background

Array = NDArray[Any]

# Masks up to this size, as bytes, are read once and kept.
_KEPT_BYTES = 512 << 20
_FEWEST = 2


@dataclass(frozen=True)
class Made:
    """Where the backgrounds of a training come from.

    Attributes
    ----------
    fields : tuple of DataArray
        Those of the whole record, by output, in its units; empty: 0 in normalized units.
    of_outputs : tuple of (Background or None)
        How they are made from observations, by output; None for an output that nothing observes. Empty where no
        observations tell them.
    """

    fields: tuple[xr.DataArray, ...] = ()
    of_outputs: tuple[Background | None, ...] = field(default=())


class Masks:
    """Where and when there are observations, window by window; kept in memory where that is little.

    Parameters
    ----------
    sources : sequence of Source or array
        By sensor, with dimensions ``dims``.
    """

    def __init__(self, sources: Sequence[Source | Array]) -> None:
        self._sources = list(sources)

    @classmethod
    def of(cls, fields: Fields) -> Masks:
        """Take the observations of `Fields`, their dimensions in order. This reads them, where they are few."""
        ordered = [f.transpose(*fields.dims) for f in fields.obs]
        if sum(f.size for f in ordered) <= _KEPT_BYTES:
            return cls([f.notnull().values for f in ordered])
        return cls([Source(f) for f in ordered])

    def read(self, place: Sequence[NDArray[np.int64]]) -> NDArray[np.bool_]:
        """Give the mask ``(sensor, ...)`` at the points ``place`` along each dimension, which may wrap around."""
        return np.stack([self._one(source, place) for source in self._sources])

    def _one(self, source: Source | Array, place: Sequence[NDArray[np.int64]]) -> NDArray[np.bool_]:
        if isinstance(source, np.ndarray):
            return np.asarray(source[np.ix_(*place)])
        # In two pieces where the columns wrap around.
        *rest, columns = place
        before = [slice(int(p[0]), int(p[-1]) + 1) for p in rest]
        breaks = np.flatnonzero(np.diff(columns) != 1) + 1
        parts = [source.read((*before, slice(int(c[0]), int(c[-1]) + 1))) for c in np.split(columns, breaks)]
        return np.asarray(np.isfinite(np.concatenate(parts, axis=-1)), dtype=bool)


class Redraw:
    """Observe windows otherwise, and make the background that belongs to the new observations.

    Parameters
    ----------
    fields : Fields
    channels : Channels
    scaling : Scaling
    background : Made
    masks : Masks
    starts : array
        First frames of the windows.
    noise_std : sequence of float
        By sensor, in normalized units.
    """

    def __init__(
        self,
        fields: Fields,
        channels: Channels,
        scaling: Scaling,
        background: Made,
        masks: Masks,
        starts: NDArray[np.int64],
        noise_std: Sequence[float],
    ) -> None:
        self.channels, self.scaling, self.background, self.masks = channels, scaling, background, masks
        self.starts, self.noise_std = np.asarray(starts), list(noise_std)
        grid = fields.grid
        self._latitude, self._longitude = grid.latitude, grid.longitude
        self._time = observations.seconds(fields.template[_time_name(fields)])
        self._n_extra = len(fields.dims) - 3
        self._lag, self._dims = fields.lag, fields.dims

    # ------------------------------------------------------------------ what is drawn
    def into(
        self, obs: Array, mask: Array, background: Array, target: Array, domain: Array, place: Array,
        chosen: Sequence[int], random: np.random.Generator,
    ) -> None:  # fmt: skip
        """Replace some samples of a batch, in place.

        Parameters
        ----------
        obs, mask : array (batch, sensor, time, lat, lon)
        background, target : array (batch, output, time, lat, lon)
        domain : array (batch, 1, 1, lat, lon)
        place : array (batch, dimension, time, lat, lon)
            Points of the record along each dimension, those of other dimensions first.
        chosen : sequence of int
            Samples.
        random : numpy.random.Generator
        """
        frames = obs.shape[2]
        for b in chosen:
            at = self._points(place[b])
            others = self.starts[self.starts != at[-3][0]]
            if not others.size:
                continue
            elsewhere = list(at)
            elsewhere[-3] = int(random.choice(others)) + np.arange(frames)
            new = self.masks.read(elsewhere).reshape(obs.shape[1:])
            truth = target[b][list(self.channels.observed)]
            new &= np.isfinite(truth) & domain[b]
            if new.sum() < _FEWEST:
                continue
            noise = random.standard_normal(truth.shape, dtype=np.float32)
            scale = np.asarray(self.noise_std, np.float32).reshape(-1, 1, 1, 1)
            obs[b], mask[b] = np.where(new, truth + scale * noise, np.float32(np.nan)), new
            background[b] = self.guess(obs[b], mask[b], place[b])

    def held(
        self, obs: Array, mask: Array, domain: Array, place: Array, random: np.random.Generator, part: float
    ) -> tuple[Array, Array, Array, Array]:
        """Hold back some tracks of each sample: give observations, masks, backgrounds without them, and them.

        Parameters are those of `into`; ``part`` of the tracks is held back.
        """
        from xatmo.train.fourdvar import tracks_kept

        mask = mask & domain
        kept = np.asarray(tracks_kept(mask, part, random))
        held = mask & ~kept
        n = len(self.channels.outputs)
        shape = (len(obs), n, *obs.shape[2:])
        total, number = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        for sensor, k in enumerate(self.channels.observed):
            total[:, k] += np.where(held[:, sensor], obs[:, sensor], 0)
            number[:, k] += held[:, sensor]
        target = np.where(number > 0, total / np.maximum(number, 1), np.float32(np.nan))
        mask = mask & kept
        obs = np.where(mask, obs, np.float32(np.nan))
        background = np.stack([self.guess(o, m, p, late=True) for o, m, p in zip(obs, mask, place, strict=True)])
        return obs, mask, background, target

    # ------------------------------------------------------------------ backgrounds
    def guess(self, obs: Array, mask: Array, place: Array, *, late: bool = False) -> Array:
        """Background of one sample ``(output, time, lat, lon)``, in normalized units.

        ``late`` says whether the observations are those of the record, which may have other times than their labels;
        what is drawn from a target has the times of its frames.
        """
        out = np.zeros((len(self.channels.outputs), *obs.shape[1:]), np.float32)
        if not self.background.of_outputs or not mask.any():
            return out
        at = self._points(place)
        longitude = np.asarray(unwrap_longitude(self._longitude[at[-1]]))
        nodes = self._latitude[at[-2]], longitude, self._time[at[-3]]
        for k, (background, channel) in enumerate(zip(self.background.of_outputs, self.channels.outputs, strict=True)):
            own = [s for s, o in enumerate(self.channels.observed) if o == k and mask[s].any()]
            if background is None or not own:
                continue
            values = self.scaling.denormalize_array(channel.name, obs[own].astype(np.float64))
            made = background.of_window(
                values, mask[own], *(np.asarray(n, dtype=np.float64) for n in nodes),
                late=self._late(at) if late else None,
            )  # fmt: skip
            out[k] = self.scaling.normalize_array(channel.name, made)
        return out

    def _late(self, at: Sequence[NDArray[np.int64]]) -> Array | None:
        """Seconds from the frames of a window to the true times of its observations."""
        if self._lag is None:
            return None
        places = {d: xr.DataArray(p, dims=(d,)) for d, p in zip(self._dims, at, strict=True) if d in self._lag.dims}
        some = self._lag.isel(places)
        full = some.expand_dims({d: p.size for d, p in zip(self._dims, at, strict=True) if d not in some.dims})
        values = np.asarray(full.transpose(*self._dims).values, dtype=np.float64)
        return values.reshape(values.shape[-3:])

    def _points(self, place: Array) -> list[NDArray[np.int64]]:
        """Points along each dimension of a window, from the fields that hold them."""
        extra = [place[k, :1, 0, 0] for k in range(self._n_extra)]
        time, lat, lon = place[-3, :, 0, 0], place[-2, 0, :, 0], place[-1, 0, 0, :]
        return [p.astype(np.int64) for p in (*extra, time, lat, lon)]


def _time_name(fields: Fields) -> Any:
    from xatmo import cf

    return cf.time(fields.template)


def noise_of(fields: Fields, channels: Channels, scaling: Scaling) -> tuple[float, ...]:
    """Noise of each sensor in normalized units: root mean square of observations less target. This reads both.

    0 where the two never meet.
    """
    found = []
    for observed, k, channel in zip(fields.obs, channels.observed, channels.obs, strict=True):
        square = ((observed - fields.target[k]) ** 2).mean()
        std = float(np.sqrt(square.compute()))
        found.append(std / scaling.std(channel.name) if np.isfinite(std) else 0.0)
    return tuple(found)
