"""One slab of observations analysed with the sparse prior of an SPDE: what `fourdvar_interp` applies to each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from xatmo.assimilation.covariance.functions import make
from xatmo.assimilation.covariance.likelihood import Scales, estimate
from xatmo.assimilation.dense import _kernels
from xatmo.assimilation.dense._optimal import Problem, Wanted, extents
from xatmo.assimilation.spde import _analysis
from xatmo.assimilation.spde.prior import SPDE, Index, Memory
from xatmo.assimilation.tiling._tiling import Reach
from xatmo.errors import CoordinateError

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

_TILE_BYTES = 1e9  # of the covariances of one tile
_REACH = 3.0  # scales from a tile within which observations are used: the correlation is 0.02 in space, 0.1 in time


@dataclass(frozen=True)
class VariationalProblem(Problem):
    """The minimum of the variational cost on one slab."""

    alpha: int = 4
    substeps: int = 1
    memory: Memory = "diffusive"
    longitude_step: float = 1.0
    step: float = 1.0
    place: NDArray[np.intp] = field(default_factory=lambda: np.zeros(1, dtype=np.intp))
    """Of every time on the equally spaced times of the prior."""

    def reach(self) -> Reach:
        """Give how far away observations are used by a tile; the scales have to be known."""
        s = self.scales
        return Reach(_REACH * cast(float, s.time_scale), _REACH * cast(float, s.length_scale), "sphere")

    def on(self, time: slice, row: slice, column: NDArray[np.intp], wanted: Wanted, *, ring: bool) -> Self:
        """Give the same problem on some of the nodes; columns may count beyond the last of a ring."""
        place = self.place[time]
        return replace(super().on(time, row, column, wanted, ring=ring), place=place - place.min())

    def reordered(self, order: tuple[Any, Any, Any]) -> Self:
        """Give the same problem on nodes in another order."""
        return replace(super().reordered(order), place=self.place[order[0]])

    def too_large(self, each: NDArray[np.intp]) -> bool:
        """Tell whether the modes of the grid, with its padding, would be refused."""
        known = replace(
            self.scales, length_scale=self.scales.length_scale or 2 * extents(self.nodes, degrees=False)[1][0],
            time_scale=self.scales.time_scale or 1.0, signal_std=1.0,
        )  # fmt: skip
        return self.prior(known).too_large

    def with_scales(self, values: Array, observed: Bools, background: Array | None) -> VariationalProblem:
        """Give the same problem with the scales that are missing estimated from all observations."""
        if not self.scales.missing():
            return self
        index, seen, _ = self.innovations(values, observed, background)
        return replace(self, scales=self.fitted(index, seen))

    def tile_lengths(self) -> tuple[float, float]:
        """Give the lengths of tiles in time scales and length scales: the longest whose covariances fit a table."""
        s, spacing = self.scales, extents(self.nodes, degrees=False)[1]
        length, time = cast(float, s.length_scale) / spacing[0], cast(float, s.time_scale) / self.step
        n_lat, n_lon = self.nodes.latitude.size, self.nodes.longitude.size
        n_time = int(self.place.max()) + 1
        for long in (8.0, 6.0, 4.0, 3.0):
            side = (long + 2 * _REACH) * length
            lags = min((long + 2 * _REACH) * time, n_time)
            if 8 * lags * min(side, n_lat) ** 2 * min(side, n_lon) < _TILE_BYTES:
                break
        return long, long

    def fitted(self, index: Index, seen: Array) -> Scales:
        """Give the scales, those missing by maximum likelihood."""
        if not self.scales.missing():
            return self.scales
        nodes = self.nodes
        where = _kernels.points(nodes.latitude[index[1]], nodes.longitude[index[2]], "sphere")
        extent, spacing = extents(nodes, degrees=False)

        def distance(one: Any, other: Any) -> Array:
            return _kernels.pair_distances(where[one], where[other])

        def covariance(length: float, time: float, signal: float) -> Any:
            if self.memory == "uniform":
                return make(
                    "matern", length_scale=length, time_scale=time, signal_std=signal, nu=self.alpha / 2 - 1
                )  # fmt: skip
            return make(
                "spde", length_scale=length, time_scale=time, signal_std=signal, time_step=self.step,
                alpha=self.alpha, substeps=self.substeps,
            )  # fmt: skip

        when = np.asarray(self.place[index[0]] * self.step, dtype=np.float64)
        found = estimate(covariance, distance, where, when, seen, self.scales, extent=extent, spacing=spacing)
        return self.estimated(found)

    def __call__(self, values: Array, observed: Bools, background: Array | None, domain: Bools) -> tuple[Array, Array]:
        index, seen, background = self.innovations(values, observed, background)
        scales = self.fitted(index, seen)
        prior = self.prior(scales)
        on_prior = (self.place[index[0]], index[1], index[2])
        t, r, c = self.wanted
        place = self.place[t]
        box = slice(int(place.min()), int(place.max()) + 1), r, c
        found = _analysis.analyse(
            prior, on_prior, seen, cast(float, scales.noise_std), uncertainty=self.uncertainty, wanted=box
        )
        mean = found.mean[place][:, r, c] + background[self.wanted]
        return mean, found.std[place][:, r, c] if found.std is not None else np.full(mean.shape, np.nan)

    def prior(self, scales: Scales) -> SPDE:
        nodes = self.nodes
        return SPDE.on_sphere(
            nodes.latitude, self.longitude_step, nodes.longitude.size, int(self.place.max()) + 1, self.step,
            length_scale=cast(float, scales.length_scale), time_scale=cast(float, scales.time_scale),
            signal_std=cast(float, scales.signal_std), alpha=self.alpha, substeps=self.substeps,
            memory=self.memory, periodic=nodes.periodic,
        )  # fmt: skip


def steps_of(time: Array) -> tuple[float, NDArray[np.intp]]:
    """Find the time step, and the place of each time on equally spaced times.

    Raises
    ------
    CoordinateError
        If times are not multiples of the smallest step.
    """
    if time.size == 1:  # so short a step that the field at one time is that of the continuous equation
        return 1.0, np.zeros(1, dtype=np.intp)
    step = float(np.diff(np.sort(time)).min())
    exact = time / step
    place = np.rint(exact)
    if np.abs(exact - place).max() > 0.01:
        message = (
            f"times are not equally spaced: the smallest step is {step:g} s, and the others are not multiples of it. "
            "Put them on regular times first, for instance ds.resample(time='1D').mean()"
        )
        raise CoordinateError(message)
    return step, place.astype(np.intp)


def longitude_step_of(longitude: Array) -> float:
    step = float((longitude[-1] - longitude[0]) / (longitude.size - 1))
    if np.abs(np.diff(longitude) - step).max() > 0.04 * step:
        message = (
            f"longitudes are not equally spaced: steps from {np.diff(longitude).min():g} to "
            f"{np.diff(longitude).max():g} degrees. Regrid to equal steps first, or use optimal_interp"
        )
        raise CoordinateError(message)
    return step
