"""One slab of observations analysed with a covariance: what `optimal_interp` applies to each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self, cast

import numpy as np
from numpy.typing import NDArray

from xatmo.assimilation.covariance.frame import Frame
from xatmo.assimilation.covariance.functions import Gaussian, Matern, make
from xatmo.assimilation.covariance.likelihood import Scales, estimate
from xatmo.assimilation.covariance.noise import Errors, TrackError
from xatmo.assimilation.dense import _kernels, _windows
from xatmo.assimilation.labels.observations import Nodes
from xatmo.assimilation.tiling._tiling import Reach
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import MissingValueError, OptionError

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

DENSE = 3000
"""Observations above which a tile is divided, as long as it is longer than half a scale."""
_WIDEST = 60.0  # degrees: beyond, no scales are looked for
REACH = {"gaussian": 2.0, "matern": 3.0}
"""Scales from a tile within which observations are used: where the correlation is 0.02, or 0.02 in space and 0.05 in
time."""
NOTHING = "no observations at all: mask & isfinite(obs) is False everywhere; check the mask, or give a background="
METRES = float(np.radians(EARTH_RADIUS))
"""Of one degree of latitude."""
Index = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]
Wanted = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Problem:
    """One slab of observations against its nodes.

    Attributes
    ----------
    nodes : Nodes
        Those that observations lie on.
    scales : Scales
    uncertainty : bool
    zero_mean : bool
        Whether the background is zero, not the mean of the observations, where none is given.
    wanted : (times, rows, columns), optional
        Slices of the nodes at which the analysis is wanted; all unless given.
    record : list, optional
        Takes the scales that were estimated, so that a result can say them.
    """

    nodes: Nodes
    scales: Scales
    uncertainty: bool
    zero_mean: bool
    wanted: Wanted = (slice(None), slice(None), slice(None))
    record: list[Scales] | None = field(default=None, compare=False, repr=False)

    metric: ClassVar[str] = "sphere"
    most: ClassVar[int | None] = None
    """Observations of one tile above which it is divided."""

    def estimated(self, scales: Scales) -> Scales:
        """Remember estimated scales, and give them."""
        if self.record is not None:
            self.record.append(scales)
        return scales

    @property
    def timeless(self) -> bool:
        """Whether every time is analysed for itself."""
        return False

    def on(self, time: slice, row: slice, column: NDArray[np.intp], wanted: Wanted, *, ring: bool) -> Self:
        """Give the same problem on some of the nodes; columns may count beyond the last of a ring."""
        n, turn = self.nodes.longitude.size, 360.0
        longitude = self.nodes.longitude[column % n] + turn * (column // n)
        nodes = replace(
            self.nodes, time=self.nodes.time[time], latitude=self.nodes.latitude[row], longitude=longitude,
            periodic=ring,
        )  # fmt: skip
        return replace(self, nodes=nodes, wanted=wanted)

    def reordered(self, order: tuple[Any, Any, Any]) -> Self:
        """Give the same problem on nodes in another order."""
        nodes = self.nodes
        east = nodes.longitude[order[2]]
        if nodes.periodic:
            east = np.unwrap(east, period=360.0)
            east = east - 360 * np.floor(east[0] / 360 + 1e-9)
        return replace(
            self, nodes=replace(nodes, time=nodes.time[order[0]], latitude=nodes.latitude[order[1]], longitude=east)
        )

    def tile_lengths(self) -> tuple[float, float]:
        """Give the lengths of tiles in time scales and length scales, where they are not told."""
        return 2.0, 3.0

    def innovations(self, values: Array, observed: Bools, background: Array | None) -> tuple[Index, Array, Array]:
        """Give the indices of the observations, their deviations from the background, and the background everywhere."""
        index = cast(Index, np.nonzero(observed))
        seen = values[index]
        if background is None:
            if seen.size == 0 and not self.zero_mean:
                raise MissingValueError(NOTHING)
            background = np.full(values.shape, 0.0 if self.zero_mean else float(seen.mean()))
        return index, seen - background[index], background


@dataclass(frozen=True)
class CovarianceProblem(Problem):
    """Optimal interpolation of one slab; a class, so that it pickles to workers.

    Attributes
    ----------
    kind : {"gaussian", "matern"}
    metric : {"sphere", "degrees"}
    window : dict
    track_error : TrackError, optional
    tolerance : float
        See `xatmo.assimilation.dense._windows.interpolate_windows`.
    """

    kind: str = "gaussian"
    metric: str = "sphere"  # type: ignore[misc]
    window: dict[str, float] = field(default_factory=dict)
    track_error: TrackError | None = None
    tolerance: float = 0.0

    most: ClassVar[int | None] = DENSE

    @property
    def timeless(self) -> bool:
        return "time" in self.window

    def reach(self) -> Reach:
        """Give how far away observations are used by a tile; the scales have to be known."""
        s = self.scales
        many = REACH[self.kind]
        seconds = self.window["time"] / 2 if "time" in self.window else many * cast(float, s.time_scale)
        shape, drift = s.shape or (0.0, 0.0), s.drift or (0.0, 0.0)
        distance = many * cast(float, s.length_scale) * float(np.exp(np.hypot(*shape)))
        distance += float(np.hypot(*drift)) * seconds  # what has drifted from here is away
        degrees = [self.window[k] / 2 for k in ("lat", "lon") if k in self.window]
        if degrees:
            distance = max(degrees) * (1.0 if self.metric == "degrees" else METRES)
        return Reach(seconds, distance, self.metric)

    def frame(self, scales: Scales) -> Frame | None:
        """Give the frame in which distances are taken; None where it is the metric itself."""
        if scales.shape == (0.0, 0.0) and scales.drift == (0.0, 0.0):
            return None
        middle = [float(a.min() + a.max()) / 2 for a in (self.nodes.latitude, self.nodes.longitude)]
        return Frame(self.metric, (middle[0], middle[1]), scales.shape or (0.0, 0.0), scales.drift or (0.0, 0.0))

    def too_large(self, each: NDArray[np.intp]) -> bool:
        """Tell whether a dense system of the observations (their number at each time) would be refused."""
        if "lat" in self.window or "lon" in self.window:
            return False
        if "time" not in self.window:
            return int(each.sum()) > _kernels.MOST_AT_ONCE
        order = np.argsort(self.nodes.time)
        times = self.nodes.time[order]
        return most_together(each[order], times, times, self.window["time"]) > _kernels.MOST_AT_ONCE

    def with_scales(
        self, values: Array, observed: Bools, background: Array | None, lag: Array | None = None,
        noise_std: Array | None = None, passes: Array | None = None,
    ) -> CovarianceProblem:  # fmt: skip
        """Give the same problem with the scales that are missing estimated from all observations."""
        if not self.scales.missing():
            return self
        index, seen, _ = self.innovations(values, observed, background)
        errors = self.errors(index, noise_std, passes)
        return replace(self, scales=self.fitted(index, seen, self.when(index, lag), errors))

    def when(self, index: Index, lag: Array | None) -> Array:
        """Give the true times of observations."""
        time = self.nodes.time[index[0]]
        return time if lag is None else time + np.where(np.isfinite(lag[index]), lag[index], 0.0)

    def fitted(self, index: Index, seen: Array, when: Array | None = None, errors: Errors | None = None) -> Scales:
        """Give the scales, those missing by maximum likelihood."""
        if not self.scales.missing():
            return self.scales
        nodes = self.nodes
        lat, lon = nodes.latitude[index[1]], nodes.longitude[index[2]]
        frame = self.frame(self.scales)
        where = _kernels.points(lat, lon, self.metric) if frame is None else frame.axes(lat, lon)
        extent, spacing = extents(nodes, degrees=self.metric == "degrees")

        def distance(one: Any, other: Any) -> Array:
            return _kernels.pair_distances(where[one], where[other])

        def covariance(length: float, time: float, signal: float) -> Any:
            return make(self.kind, length_scale=length, time_scale=time, signal_std=signal)

        when = nodes.time[index[0]] if when is None else when
        return self.estimated(estimate(
            covariance, distance, where, when, seen, self.scales, extent=extent, spacing=spacing, frame=frame,
            errors=errors,
        ))  # fmt: skip

    def errors(self, index: Index, noise_std: Array | None, passes: Array | None) -> Errors | None:
        """Give what is known of the errors beside ``noise_std`` of the scales.

        Raises
        ------
        MissingValueError
            If the noise or the pass of an observation is missing.
        OptionError
            If a noise is not positive.
        """
        for name, given in (("noise_std", noise_std), ("passes", passes)):
            if given is not None and not np.isfinite(given[index]).all():
                bad = int((~np.isfinite(given[index])).sum())
                message = (
                    f"{name} is missing at {bad} of {index[0].size} observed nodes; fill it there, or leave those "
                    "observations out with mask="
                )
                raise MissingValueError(message)
        if noise_std is None and self.track_error is None:
            return None
        std = np.zeros(index[0].size) if noise_std is None else noise_std[index]
        if noise_std is not None and not (std > 0).all():
            message = f"noise_std is {std.min():g} at an observed node; wanted positive numbers wherever there is one"
            raise OptionError(message)
        numbers = None if passes is None else np.unique(passes[index], return_inverse=True)[1].reshape(-1)
        return Errors(std**2, self.track_error, numbers)

    def __call__(
        self,
        values: Array,
        observed: Bools,
        background: Array | None,
        domain: Bools,
        lag: Array | None = None,
        noise_std: Array | None = None,
        passes: Array | None = None,
    ) -> tuple[Array, Array]:
        nodes = self.nodes
        index, seen, background = self.innovations(values, observed, background)
        lat, lon, when = nodes.latitude[index[1]], nodes.longitude[index[2]], self.when(index, lag)
        errors = self.errors(index, noise_std, passes)
        scales = self.fitted(index, seen, when, errors)
        kernel = cast(
            "Gaussian | Matern",
            make(
                self.kind, length_scale=scales.length_scale, time_scale=scales.time_scale, signal_std=scales.signal_std
            ),
        )
        noise = cast(float, scales.noise_std)
        known = noise if errors is None else Errors(errors.variance + noise**2, errors.track, errors.passes)
        t, r, c = self.wanted
        mean, std = _windows.interpolate_windows(
            kernel, (lat, lon, when, seen), known, (nodes.time[t], nodes.latitude[r], nodes.longitude[c]), self.window,
            self.frame(scales) or self.metric, uncertainty=self.uncertainty, tolerance=self.tolerance,
        )  # fmt: skip
        return mean + background[self.wanted], std


def most_together(each: NDArray[np.intp], times: Array, centres: Array, width: float) -> int:
    """Most observations within half a width of a centre, given their number at each of increasing times.

    Examples
    --------
    >>> most_together(np.array([3, 1, 5]), np.array([0.0, 1.0, 9.0]), np.array([0.0, 9.0]), 2.0)
    5
    """
    so_far = np.concatenate([[0], np.cumsum(each)])
    half = width / 2 * (1 + 1e-9)
    first, last = np.searchsorted(times, centres - half), np.searchsorted(times, centres + half, side="right")
    return int((so_far[last] - so_far[first]).max())


def extents(nodes: Nodes, *, degrees: bool) -> tuple[tuple[float, float], tuple[float, float]]:
    """Largest and smallest scales of the grid: (length, time), in metres or degrees, and seconds."""
    unit = 1.0 if degrees else float(np.radians(EARTH_RADIUS))
    narrow = 1.0 if degrees else float(np.cos(np.radians(np.abs(nodes.latitude).min())))
    high = float(np.ptp(nodes.latitude))
    wide = min(float(np.ptp(nodes.longitude)), 180.0) * narrow
    high, wide = min(high, _WIDEST), min(wide, _WIDEST)
    step = float(np.abs(np.diff(nodes.latitude)).mean())
    times = np.sort(nodes.time)
    between = float(np.diff(times).min()) if times.size > 1 else 1.0
    return (max(high, wide) * unit, float(np.ptp(times)) or 1.0), (step * unit, between)
