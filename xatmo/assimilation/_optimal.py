"""One slab of observations analysed with a covariance: what `optimal_interp` applies to each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from xatmo.assimilation import _kernels
from xatmo.assimilation.covariance import Gaussian, Matern, make
from xatmo.assimilation.frame import Frame
from xatmo.assimilation.likelihood import Scales, estimate
from xatmo.assimilation.noise import Errors, TrackError
from xatmo.assimilation.observations import Nodes
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import MissingValueError, OptionError

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
Index = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]


@dataclass(frozen=True)
class Problem:
    """One slab of observations against its nodes."""

    nodes: Nodes
    scales: Scales
    uncertainty: bool
    zero_mean: bool

    def innovations(self, values: Array, observed: Bools, background: Array | None) -> tuple[Index, Array, Array]:
        """Give the indices of the observations, their deviations from the background, and the background everywhere."""
        index = cast(Index, np.nonzero(observed))
        seen = values[index]
        if background is None:
            if seen.size == 0 and not self.zero_mean:
                message = (
                    "no observations at all: mask & isfinite(obs) is False everywhere; check the mask, "
                    "or give a background="
                )
                raise MissingValueError(message)
            background = np.full(values.shape, 0.0 if self.zero_mean else float(seen.mean()))
        return index, seen - background[index], background


@dataclass(frozen=True)
class CovarianceProblem(Problem):
    """Optimal interpolation of one slab; a class, so that it pickles to workers."""

    kind: str
    metric: str
    window: dict[str, float]
    track_error: TrackError | None = None

    def frame(self, scales: Scales) -> Frame | None:
        """Give the frame in which distances are taken; None where it is the metric itself."""
        if scales.shape == (0.0, 0.0) and scales.drift == (0.0, 0.0):
            return None
        middle = [float(a.min() + a.max()) / 2 for a in (self.nodes.latitude, self.nodes.longitude)]
        return Frame(self.metric, (middle[0], middle[1]), scales.shape or (0.0, 0.0), scales.drift or (0.0, 0.0))

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
        return estimate(
            covariance, distance, where, when, seen, self.scales, extent=extent, spacing=spacing, frame=frame,
            errors=errors,
        )  # fmt: skip

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
        lat, lon, when = nodes.latitude[index[1]], nodes.longitude[index[2]], nodes.time[index[0]]
        if lag is not None:
            when = when + np.where(np.isfinite(lag[index]), lag[index], 0.0)
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
        mean, std = _kernels.interpolate_windows(
            kernel, (lat, lon, when, seen), known, (nodes.time, nodes.latitude, nodes.longitude), self.window,
            self.frame(scales) or self.metric, uncertainty=self.uncertainty,
        )  # fmt: skip
        return mean + background, std


def extents(nodes: Nodes, *, degrees: bool) -> tuple[tuple[float, float], tuple[float, float]]:
    """Largest and smallest scales of the grid: (length, time), in metres or degrees, and seconds."""
    unit = 1.0 if degrees else float(np.radians(EARTH_RADIUS))
    narrow = 1.0 if degrees else float(np.cos(np.radians(np.abs(nodes.latitude).min())))
    high = float(np.ptp(nodes.latitude))
    wide = min(float(np.ptp(nodes.longitude)), 180.0) * narrow
    step = float(np.abs(np.diff(nodes.latitude)).mean())
    times = np.sort(nodes.time)
    between = float(np.diff(times).min()) if times.size > 1 else 1.0
    return (max(high, wide) * unit, float(np.ptp(times)) or 1.0), (step * unit, between)
