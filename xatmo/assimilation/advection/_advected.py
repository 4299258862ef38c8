"""One slab of observations analysed with a prior of advection and diffusion: what `advected_interp` applies to each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from xatmo.assimilation.advection._coefficients import require_alpha
from xatmo.assimilation.advection._padded import Layout
from xatmo.assimilation.advection.prior import AdvectionDiffusion, Scheme
from xatmo.assimilation.advection.simulation import simulate
from xatmo.assimilation.advection.sparse_analysis import Method, SparsePosterior
from xatmo.assimilation.covariance.frame import Frame
from xatmo.assimilation.covariance.functions import make
from xatmo.assimilation.covariance.likelihood import Scales, estimate
from xatmo.assimilation.covariance.matern import evolution_scale, matern_scale
from xatmo.assimilation.dense import _kernels
from xatmo.assimilation.dense._optimal import Index, Problem, extents
from xatmo.assimilation.spde._analysis import inverse_factor
from xatmo.assimilation.spde.prior import SPDE
from xatmo.errors import MissingValueError

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
Flow = tuple[Array, Array]

SAMPLES = 64
"""Draws whose spread is the error where no exact factor is made."""
_DRAWS = 1e-3  # tolerance of conjugate gradients for draws: far below their sampling error
_OVERLAP = 3.0  # time scales on either side of a window: the analysis differs by less than 1 percent of the signal


@dataclass(frozen=True)
class Settings:
    """What the prior and its analysis are made of, beside scales.

    Attributes
    ----------
    alpha, substeps : int
    stretch : float
        Length along the flow, where it is fastest, by that across.
    scheme : {"centred", "upwind"}
    padding : float
        Length scales beyond open borders.
    window : float, optional
        Seconds that are analysed at once, beside three time scales on either side; all times without.
    method : {"direct", "cg"}
    members : int
        Draws; 0 for the mean.
    seed : int
    """

    alpha: int = 4
    substeps: int = 1
    stretch: float = 1.0
    scheme: Scheme = "centred"
    padding: float = 1.5
    window: float | None = None
    method: Method = "direct"
    members: int = 0
    seed: int = 0


class Found(NamedTuple):
    """Analysis on the nodes of the prior: mean, standard deviation if wanted, members (member, time, row, column)."""

    mean: Array
    std: Array | None
    members: Array


@dataclass(frozen=True)
class AdvectedProblem(Problem):
    """The posterior of one slab; a class, so that it pickles to workers."""

    settings: Settings = field(default_factory=Settings)
    longitude_step: float = 1.0
    step: float = 1.0
    place: NDArray[np.intp] = field(default_factory=lambda: np.zeros(1, dtype=np.intp))
    """Of every time on the equally spaced times."""
    _found: dict[bytes, tuple[Found, Layout]] = field(default_factory=dict, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_found": {}}

    def __call__(
        self, values: Array, observed: Bools, background: Array | None, domain: Bools, east: Array | None = None,
        north: Array | None = None, noise_std: Array | None = None, member: Array | None = None,
    ) -> tuple[Array, Array]:  # fmt: skip
        index, seen, background = self.innovations(values, observed & domain, background)
        flow = None if east is None or north is None else (np.nan_to_num(east), np.nan_to_num(north))
        scales = self.fitted(index, seen, flow)
        spread = np.full(seen.size, cast(float, scales.noise_std)) if noise_std is None else noise_std[index]
        if not (spread > 0).all():
            message = (
                f"noise_std is not positive, or missing, at {int((~(spread > 0)).sum())} of {spread.size} observed "
                "nodes; wanted positive numbers wherever there is an observation"
            )
            raise MissingValueError(message)
        found, layout = self._analysed(index, seen, spread**2, flow, np.asarray(domain.any(axis=0)), scales)
        chosen = found.mean if member is None else found.members[int(member.flat[0])]
        std = np.full(values.shape, np.nan) if found.std is None else layout.inner(found.std)
        return layout.inner(chosen) + background, std

    def _analysed(
        self, index: Index, seen: Array, variance: Array, flow: Flow | None, open_cells: Bools, scales: Scales
    ) -> tuple[Found, Layout]:
        """Analyse; or remember, for the next member."""
        digest = hashlib.blake2b(digest_size=16)
        for array in (*index, seen, variance, open_cells, *(flow or ())):
            digest.update(np.ascontiguousarray(array).tobytes())
        key = digest.digest()
        if key not in self._found:
            self._found.clear()
            layout, prior = self.prior(scales, flow, open_cells)
            s = self.settings
            windows = layout.windows(s.window, _OVERLAP * cast(float, scales.time_scale))
            found = analyse(
                prior,
                windows,
                layout.nodes(index),
                seen,
                variance,
                s,
                partial(self.still, layout, scales),
                uncertainty=self.uncertainty,
            )
            self._found[key] = found, layout
        return self._found[key]

    def fitted(self, index: Index, seen: Array, flow: Flow | None) -> Scales:
        """Give the scales and the drift, those missing by maximum likelihood, as if one drift moved the whole."""
        if not self.scales.missing():
            return self.scales
        nodes, known = self.nodes, self.scales
        if flow is not None:
            known = replace(known, drift=(float(flow[0].mean()), float(flow[1].mean())))
        centre = [float(a.min() + a.max()) / 2 for a in (nodes.latitude, nodes.longitude)]
        frame = Frame("sphere", (centre[0], centre[1]), (0.0, 0.0), known.drift or (0.0, 0.0))
        where = frame.axes(nodes.latitude[index[1]], nodes.longitude[index[2]])
        extent, spacing = extents(nodes, degrees=False)
        s = self.settings

        def distance(one: Any, other: Any) -> Array:
            return _kernels.pair_distances(where[one], where[other])

        def covariance(length: float, time: float, signal: float) -> Any:
            return make(
                "spde", length_scale=length, time_scale=time, signal_std=signal, time_step=self.step, alpha=s.alpha,
                substeps=s.substeps,
            )  # fmt: skip

        when = np.asarray(self.place[index[0]] * self.step, dtype=np.float64)
        found = estimate(covariance, distance, where, when, seen, known, extent=extent, spacing=spacing, frame=frame)
        return self.estimated(found if flow is None else replace(found, drift=(0.0, 0.0)))

    def still(self, layout: Layout, scales: Scales, n_time: int) -> SPDE:
        """Make a prior of the same scales in which nothing moves, on the same nodes."""
        return SPDE.on_sphere(
            layout.latitude, self.longitude_step, layout.n_column, n_time, layout.step,
            length_scale=cast(float, scales.length_scale), time_scale=cast(float, scales.time_scale),
            signal_std=cast(float, scales.signal_std), alpha=self.settings.alpha, periodic=self.nodes.periodic,
        )  # fmt: skip

    def prior(self, scales: Scales, flow: Flow | None, open_cells: Bools | None) -> tuple[Layout, AdvectionDiffusion]:
        """Make the prior on padded nodes: ``kappa^alpha`` is a rate in s-1, lengths are ``sqrt(H) / kappa``."""
        s, nodes = self.settings, self.nodes
        length = cast(float, scales.length_scale)
        layout = Layout.around(
            nodes.latitude, self.longitude_step, nodes.longitude.size, self.place * s.substeps, self.step / s.substeps,
            padding=s.padding * length, periodic=nodes.periodic,
        )  # fmt: skip
        require_alpha(s.alpha)
        rate = evolution_scale(s.alpha) / cast(float, scales.time_scale)
        kappa = rate ** (1 / s.alpha)
        along = (kappa * length / matern_scale(s.alpha / 2 - 1)) ** 2
        diffusion: Any = (along, 0.0, along)
        velocity: Any = scales.drift if any(scales.drift or ()) else None
        if flow is not None:
            velocity = tuple(layout.widened(_once(f)) for f in flow)
        if s.stretch > 1 and velocity is not None:
            u, v = (np.asarray(a, dtype=np.float64) for a in velocity)
            more = along * (s.stretch**2 - 1) / max(float((u**2 + v**2).max()), 1e-300)
            diffusion = along + more * u * u, more * u * v, along + more * v * v
        prior = AdvectionDiffusion.on_sphere(
            layout.latitude, self.longitude_step, layout.shape[2], layout.shape[0], layout.step, kappa=kappa,
            diffusion=diffusion, velocity=velocity, signal_std=cast(float, scales.signal_std), alpha=s.alpha,
            domain=None if open_cells is None else layout.widened(open_cells), periodic=nodes.periodic,
            scheme=s.scheme, transport="outside", initial="symmetric",
        )  # fmt: skip
        # Closed coasts and edges keep in what would leave: the noise is weaker there, by what it is too strong at rest.
        level = np.sqrt(prior.first_factor.inverse_diagonal()).reshape(prior.cells.shape)
        return layout, replace(prior, tau=prior.tau * cast(float, scales.signal_std) / level)


def analyse(
    prior: AdvectionDiffusion, windows: list[tuple[slice, slice]], nodes: NDArray[np.intp], seen: Array,
    variance: Array, settings: Settings, like: Callable[[int], SPDE], *, uncertainty: bool,
) -> Found:  # fmt: skip
    """Analyse window by window; members are drawn from the prior once, so that they have no seams of their own.

    Parameters
    ----------
    prior : AdvectionDiffusion
    windows : list of (used, kept)
        Steps that are analysed at once, and those whose analysis is kept.
    nodes : array (observation,)
        Flat indices among the nodes of the prior.
    seen, variance : array (observation,)
    settings : Settings
    like : callable
        Gives, for a number of steps, a stationary prior that is like this one: it preconditions.
    uncertainty : bool

    Raises
    ------
    OptionError
        If a factor would be too large; see `xatmo.assimilation.advection._factors.factorise`.
    """
    import scipy.sparse as sp

    exact = settings.method == "direct"
    place = np.unravel_index(nodes, prior.shape)
    draws = max(settings.members, SAMPLES if uncertainty and not exact else 0)
    rng = np.random.default_rng(settings.seed)
    drawn = simulate(prior, rng, members=draws) if draws else np.empty((0, *prior.shape))
    noisy = drawn.reshape(draws, int(np.prod(prior.shape)))[:, nodes] + np.sqrt(variance) * rng.standard_normal(
        (draws, seen.size)
    )
    mean, std = np.zeros(prior.shape), np.zeros(prior.shape) if uncertainty else None
    before: tuple[int, AdvectionDiffusion] | None = None
    for used, kept in windows:
        start, size = used.start * prior.n_cell, (used.stop - used.start) * prior.n_cell
        near = (nodes >= start) & (nodes < start + size)
        same = prior.constant and len(prior.tau) == 1
        if before is None or before[0] != size or not same:  # otherwise the same prior, sorted already
            before = size, prior.with_times(used.start, used.stop)
        n = int(near.sum())
        operator = sp.csr_array((np.ones(n), (np.arange(n), nodes[near] - start)), shape=(n, size))
        posterior = SparsePosterior.of(before[1], operator, noise_variance=variance[near], method=settings.method)
        if not exact and n:
            index = (place[0][near] - used.start, place[1][near], place[2][near])
            posterior = replace(
                posterior, inverse_factor=inverse_factor(like(used.stop - used.start), index, variance[near])
            )
        inside = slice(kept.start - used.start, kept.stop - used.start)
        mean[kept] = posterior.mean(seen[near])[inside]
        if draws:
            rough = posterior if exact else replace(posterior, tolerance=_DRAWS)
            drawn[:, kept] += rough.means(seen[near] - noisy[:, near])[:, inside]
        if std is not None and exact:
            std[kept] = np.sqrt(posterior.variance()[inside])
    if std is not None and not exact:
        std = np.sqrt(((drawn - mean) ** 2).mean(axis=0))
    return Found(mean, std, drawn[: settings.members])


def _once(field: Array) -> Array:
    """Drop times over which nothing changes: the factors of steps are shared then."""
    return field[0] if (field == field[:1]).all() else field
