r"""The prior of fields that are carried along, spread and renewed: a stochastic partial differential equation.

.. math::
    \partial_t x + A^{\alpha/2} x = \tau\, \dot W, \qquad A = \kappa^2 + m \cdot \nabla - \nabla \cdot H \nabla

In time by implicit Euler, :math:`M_k x_k = x_{k-1} + z_k` with :math:`M = I + \Delta t\, A^{\alpha/2}` and :math:`z_k`
white of variance :math:`1 / S = \tau^2 \Delta t / (\Delta x \Delta y)`. The first frame has the stationary
distribution without advection, of precision :math:`\tau^{-1} (M_0^2 - I)\, \tau^{-1} \Delta x \Delta y / \Delta t`.
The stencils are those of `xatmo.assimilation.stencils`, so that the precision is that of `AdvectionDiffusion` with
``initial="symmetric"``, without a matrix, and differentiable in all coefficients.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import nn

from xatmo.assimilation.stencils._kernels import OFFSETS, apply_stencil, stencil
from xatmo.errors import OptionError
from xatmo.nn.assimilation.priors.base import Prior
from xatmo.nn.assimilation.priors.covariance import LocalCovariance

POSITIVE = ("kappa", "tau", "gamma")
SIGNED = ("m_x", "m_y", "plus", "cross")
DEFAULTS = {
    "kappa": 1 / 3, "tau": 1.0, "gamma": 1.0, "m_x": 0.0, "m_y": 0.0, "plus": 0.0, "cross": 0.0,
    "dx": 1.0, "dy": 1.0, "dt": 1.0, "parameter_weight": 1.0,
}  # fmt: skip
OPTIONS: dict[str, tuple[object, ...]] = {
    "alpha": (4, 8), "scheme": ("upwind", "centred"), "transport": ("inside", "outside"), "steady": (False, True),
}  # fmt: skip
"""Their first values are the defaults."""
N_WAVES = 10
LARGEST = 3.0
"""What estimates may add, to a logarithm or to another coefficient: no wild step of a solver makes it overflow."""


class Coefficients(NamedTuple):
    r"""Of the equation; lengths in the units of dx, times of dt.

    Each can be broadcast to ``(batch, 1, time, lat, lon)``. The tensor is :math:`H = \gamma \exp \begin{pmatrix} p & c
    \\ c & -p \end{pmatrix}`: :math:`\gamma = \sqrt{\det H}`, and ``plus`` and ``cross`` are :math:`s \cos 2 \theta` and
    :math:`s \sin 2 \theta` of a tensor with axes in the ratio :math:`e^{2 s}`, the longer one at an angle
    :math:`\theta` with x. Any values are a positive definite tensor, and any such tensor has its values.
    """

    kappa: torch.Tensor
    tau: torch.Tensor
    gamma: torch.Tensor
    m_x: torch.Tensor
    m_y: torch.Tensor
    plus: torch.Tensor
    cross: torch.Tensor

    def frames(self, part: slice) -> Coefficients:
        """Give those of some frames; what is the same for all frames stays so."""
        return Coefficients(*(c[:, :, part] if c.shape[2] > 1 else c for c in self))

    @property
    def diffusion(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """H11, H12, H22.

        Examples
        --------
        >>> one = torch.ones(())
        >>> h11, h12, h22 = Coefficients(one, one, 2 * one, one, one, 0.3 * one, 0.4 * one).diffusion
        >>> round((h11 * h22 - h12**2).sqrt().item(), 5)
        2.0
        """
        # Near a round tensor sinh(s) / s has no slope of its own.
        size = (self.plus.square() + self.cross.square() + 1e-12).sqrt()
        round_part, long_part = self.gamma * torch.cosh(size), self.gamma * torch.sinh(size) / size
        return round_part + long_part * self.plus, long_part * self.cross, round_part - long_part * self.plus


def of_diffusion(h11: torch.Tensor, h12: torch.Tensor, h22: torch.Tensor) -> dict[str, torch.Tensor]:
    """Give ``gamma``, ``plus`` and ``cross`` of a positive definite tensor.

    Examples
    --------
    >>> found = of_diffusion(*(torch.tensor(h) for h in (3.0, 1.0, 2.0)))
    >>> one = torch.ones(())
    >>> [round(h.item(), 4) for h in Coefficients(one, one, m_x=one, m_y=one, **found).diffusion]
    [3.0, 1.0, 2.0]
    """
    gamma = (h11 * h22 - h12.square()).sqrt()
    plus, cross = (h11 - h22) / 2 / gamma, h12 / gamma
    long = (plus.square() + cross.square()).sqrt()
    ratio = torch.where(long > 1e-6, torch.asinh(long) / long.clamp_min(1e-6), torch.ones_like(long))
    return {"gamma": gamma, "plus": ratio * plus, "cross": ratio * cross}


def estimated_names(settings: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Coefficients that the state has channels for, in this order.

    Raises
    ------
    OptionError
        If a name is unknown.
    """
    known = (*POSITIVE, *SIGNED)
    names: Sequence[str] = (settings or {}).get("estimate") or known
    if unknown := [n for n in names if n not in known]:
        message = f"estimate={list(names)!r} of an SPDE prior has {unknown[0]!r}; possible are {list(known)}"
        raise OptionError(message)
    return tuple(n for n in known if n in names)


class SPDEPrior(Prior):
    r"""Residuals whose half sum of squares is :math:`\tfrac12 x^T Q x` of the equation, without a matrix.

    Parameters
    ----------
    fields : slice
        Channels of the state that follow the equation, each by itself.
    settings : mapping, optional
        Coefficients and steps that differ from `DEFAULTS`, and of `OPTIONS`: ``alpha`` (4 or 8), ``scheme`` of the
        advection, first-order ``"upwind"`` or ``"centred"``, ``transport`` ``"inside"`` or ``"outside"`` of the power
        (`xatmo.assimilation.AdvectionDiffusion`), ``steady``: whether coefficients that are estimated are the same at
        all frames; and ``estimate``: names of those, by default of all.
    estimated : bool
        Whether the last channels of the state are coefficients: logarithms of factors on :math:`\kappa, \tau, \gamma`,
        and what is added to :math:`m`, ``plus`` and ``cross``; at most `LARGEST`. They are then held near 0 by
        ``parameter_weight``, and the cost has the log-determinant of Q, without which it would fall as :math:`\tau`
        grows.
    learn : bool
        Whether the constants are learned.
    given : mapping of str to Tensor, optional
        Coefficients known for each cell, broadcastable to ``(1, 1, time, lat, lon)``, which then serve one place.
        `of_diffusion` makes those of a tensor.

    Notes
    -----
    No flux crosses the edge and the coast. Rows count northwards as they come: give ``dy`` negative where they run
    from north to south. Lindgren et al. 2011, JRSS B 73, 423; Clarotto et al. 2024.

    Examples
    --------
    >>> prior = SPDEPrior(slice(0, 1), {"gamma": 2.0})
    >>> prior(torch.randn(1, 1, 4, 6, 7)).shape
    torch.Size([1, 1, 5, 6, 7])
    """

    maps = False

    def __init__(
        self,
        fields: slice,
        settings: Mapping[str, Any] | None = None,
        *,
        estimated: bool = False,
        learn: bool = False,
        given: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        settings = dict(settings or {})
        self_estimated = estimated_names(settings) if estimated else ()
        settings.pop("estimate", None)
        known = {name: settings.pop(name, default) for name, default in DEFAULTS.items()}
        options = {name: settings.pop(name, values[0]) for name, values in OPTIONS.items()}
        if settings:
            names = sorted([*DEFAULTS, *OPTIONS, "estimate"])
            message = f"unknown settings {sorted(settings)} of an SPDE prior; known are {names}"
            raise OptionError(message)
        for name, values in OPTIONS.items():
            if options[name] not in values:
                message = f"{name}={options[name]!r} of an SPDE prior; possible are {list(values)}"
                raise OptionError(message)
        if bad := [n for n in (*POSITIVE, "dx", "dt") if not known[n] > 0] + ["dy"] * (known["dy"] == 0):
            message = f"{bad[0]}={known[bad[0]]!r} of an SPDE prior; wanted a positive number"
            raise OptionError(message)
        super().__init__(fields.stop - fields.start)
        self.fields, self.estimated = fields, self_estimated
        self.dx, self.dy, self.dt = known["dx"], known["dy"], known["dt"]
        self.parameter_weight = known["parameter_weight"]
        self.power, self.steady = int(options["alpha"]) // 2, bool(options["steady"])
        self.upwind, self.inside = options["scheme"] == "upwind", options["transport"] == "inside"
        self.halo = self.power
        moved = any(known[n] != 0 or n in self_estimated or n in (given or {}) for n in ("m_x", "m_y"))
        self.moves = moved or learn
        for name in (*POSITIVE, *SIGNED):
            value = torch.as_tensor(float(known[name])).reshape(1, 1, 1, 1, 1)
            if given is not None and name in given:
                value = given[name].detach().clone()
            value = value.log() if name in POSITIVE else value
            if learn and value.numel() == 1:
                setattr(self, f"raw_{name}", nn.Parameter(value))
            else:
                self.register_buffer(f"raw_{name}", value)
        self._spread: dict[tuple[Any, ...], LocalCovariance] = {}
        self.register_load_state_dict_post_hook(_forget)  # type: ignore[no-untyped-call]

    # ------------------------------------------------------------------ coefficients
    def constants(self, dtype: torch.dtype = torch.float32) -> Coefficients:
        """Give those that are constant or known: of estimated ones the first guess."""
        raw = {name: getattr(self, f"raw_{name}").to(dtype) for name in (*POSITIVE, *SIGNED)}
        return Coefficients(**{n: v.exp() if n in POSITIVE else v for n, v in raw.items()})

    def spread(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the equation's covariance to the fields, nearly: see `LocalCovariance`. Other channels stay.

        It is made of the first values of the coefficients, once for each shape.
        """
        key = (tuple(x.shape[2:]), x.device, x.dtype)
        if key not in self._spread:
            self._spread[key] = LocalCovariance(self, (x.shape[2], x.shape[3], x.shape[4]), x.device, x.dtype)
        parts = [x[:, : self.fields.start], self._spread[key](x[:, self.fields]), x[:, self.fields.stop :]]
        return torch.cat(parts, dim=1)

    def coefficients(self, x: torch.Tensor) -> Coefficients:
        """Give those that hold for a state: constants, known fields, or what the state says."""
        raw = {name: getattr(self, f"raw_{name}").to(x.dtype) for name in (*POSITIVE, *SIGNED)}
        offsets = x[:, x.shape[1] - len(self.estimated) :]
        if self.steady and self.estimated:
            offsets = offsets.mean(2, keepdim=True)
        offsets = LARGEST * torch.tanh(offsets / LARGEST)
        raw |= {n: raw[n] + offsets[:, i : i + 1] for i, n in enumerate(self.estimated)}
        return Coefficients(**{n: v.exp() if n in POSITIVE else v for n, v in raw.items()})

    # ------------------------------------------------------------------ the cost
    def forward(self, x: torch.Tensor, domain: torch.Tensor | None = None) -> torch.Tensor:
        """Give the residuals: two of the first frame, then those of the steps ``(batch, n, time + 1, lat, lon)``."""
        given, field = self.coefficients(x), x[:, self.fields]
        first, later = given.frames(slice(0, 1)), given.frames(slice(1, None))
        x0, rest = field[:, :, :1], field[:, :, 1:]
        white = math.sqrt(abs(self.dx * self.dy) / self.dt)
        still = self.weights(first, field, domain, moving=False)
        half = apply(still, white * x0 / first.tau, self.power // 2)
        parts = [math.sqrt(2 * self.dt) * half, self.dt * apply(still, half, self.power - self.power // 2)]
        parts.append(white / later.tau * (rest + self.dt * self.rate(later, rest, domain) - field[:, :, :-1]))
        out = torch.cat([p.expand(*field.shape[:2], -1, *field.shape[3:]) for p in parts], dim=2)
        return out if domain is None else torch.where(domain, out, torch.zeros_like(out))

    def normalisation(self, x: torch.Tensor, domain: torch.Tensor | None = None) -> torch.Tensor:
        r"""Give what the cost has beside the squares ``(batch,)``: of estimated coefficients, and 0 of others."""
        if not self.estimated:
            return x.new_zeros(len(x))
        offsets = x[:, x.shape[1] - len(self.estimated) :]
        if domain is not None:
            offsets = torch.where(domain, offsets, torch.zeros_like(offsets))
        held: torch.Tensor = self.parameter_weight / 2 * offsets.square().flatten(1).sum(1)
        return held - self.n_residuals / 2 * self.log_determinant(x, domain)

    def likelihood(self, fields: torch.Tensor, x: torch.Tensor, domain: torch.Tensor | None = None) -> torch.Tensor:
        r"""Minus the logarithm of the density of fields, with the coefficients of a state ``(batch,)``.

        :math:`\tfrac12 x^T Q x - \tfrac12 \ln \det Q`, but for a constant; the determinant is that of
        `log_determinant`.

        Parameters
        ----------
        fields : Tensor (batch, n, time, lat, lon)
        x : Tensor (batch, channels, time, lat, lon)
        domain : Tensor (batch, 1, 1, lat, lon), optional
        """
        parts = list(torch.split(x, 1, dim=1))
        parts[self.fields] = list(torch.split(fields, 1, dim=1))
        state = torch.cat(parts, dim=1)
        squares: torch.Tensor = self(state, domain).square().flatten(1).sum(1) / 2
        return squares - self.n_residuals / 2 * self.log_determinant(state, domain)

    def log_determinant(self, x: torch.Tensor, domain: torch.Tensor | None = None) -> torch.Tensor:
        r"""Logarithm of the determinant of Q, of one field ``(batch,)``, from the local symbol.

        The mean over wave numbers of :math:`\ln |1 + \Delta t\, a(\omega)^{\alpha/2}|^2 + \ln S`, with
        :math:`a(\omega) = \sum_o w_o e^{i \omega \cdot o}` the symbol of the stencil of a cell, summed over cells; in
        the first frame :math:`|1 + \Delta t\, a^{\alpha/2}|^2 - 1`. Exact on a torus with constant coefficients.
        """
        given = self.coefficients(x)
        shape = (len(x), 1, *x.shape[2:])
        first, later = given.frames(slice(0, 1)), given.frames(slice(1, None))
        water = torch.ones(1, 1, 1, *shape[3:], device=x.device, dtype=x.dtype)
        water = water if domain is None else water * domain
        noise = math.log(abs(self.dx * self.dy) / self.dt)
        rate = self._symbol_of_diffusion(self.weights(first, x, domain, moving=False)) ** self.power
        excess = torch.log(2 * self.dt * rate + (self.dt * rate).square()).mean(-1)
        total = ((excess + noise - 2 * first.tau.log()) * water).expand(-1, -1, 1, *shape[3:]).flatten(1).sum(1)
        real, imaginary = self._symbol_of_rate(later, x, domain)
        log = torch.log((1 + self.dt * real).square() + (self.dt * imaginary).square()).mean(-1)
        each = ((log + noise - 2 * later.tau.log()) * water).expand(-1, -1, shape[2] - 1, *shape[3:])
        return (total + each.flatten(1).sum(1)).expand(len(x))

    # ------------------------------------------------------------------ the operator
    def weights(
        self, given: Coefficients, like: torch.Tensor, domain: torch.Tensor | None = None, *, moving: bool = True
    ) -> torch.Tensor:
        """Give the nine weights of A in each cell ``(9, batch, 1, time, lat, lon)``."""
        rows, columns = like.shape[-2:]
        east, north = like.new_ones(1, 1, 1, rows, columns), like.new_ones(1, 1, 1, rows, columns)
        if domain is not None:
            east, north = domain * domain.roll(-1, -1) * east, domain * domain.roll(-1, -2) * north
        east = torch.cat([east[..., :-1], torch.zeros_like(east[..., :1])], dim=-1)
        north = torch.cat([north[..., :-1, :], torch.zeros_like(north[..., :1, :])], dim=-2)
        wide, tall = like.new_full((1, 1), self.dx), like.new_full((1, 1), abs(self.dy))
        cells = SimpleNamespace(
            width=wide, height=tall, face_width=wide, gap=tall, open_east=east, open_north=north
        )  # fmt: skip
        kappa, h11, h12, h22, *velocity = torch.broadcast_tensors(  # type: ignore[no-untyped-call]
            given.kappa, *given.diffusion, *([given.m_x, given.m_y] if moving and self.moves else [])
        )
        if self.dy < 0:  # rows go south: so does the second axis of the stencils
            h12, velocity = -h12, [v * (1 - 2 * i) for i, v in enumerate(velocity)]
        made: torch.Tensor = stencil(
            kappa, (h11, h12, h22), tuple(velocity) or None, cells, upwind=self.upwind, xp=torch
        )
        return made

    def rate(self, given: Coefficients, x: torch.Tensor, domain: torch.Tensor | None = None) -> torch.Tensor:
        r"""Apply :math:`A^{\alpha/2}`, or without m in it and :math:`m \cdot \nabla` beside it."""
        weights = self.weights(given, x, domain)
        if self.inside or not self.moves:
            return apply(weights, x, self.power)
        still = self.weights(given, x, domain, moving=False)
        return apply(still, x, self.power) + apply(weights - still, x, 1)

    def _symbol_of_rate(
        self, given: Coefficients, x: torch.Tensor, domain: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        still = self.weights(given, x, domain, moving=False)
        a = self._symbol_of_diffusion(still)
        if not self.moves:
            return a**self.power, torch.zeros_like(a)
        more, other = self._symbol(self.weights(given, x, domain) - still)
        if not self.inside:
            return a**self.power + more, other
        a, b = a + more, other
        for _ in range(int(math.log2(self.power))):
            a, b = a.square() - b.square(), 2 * a * b
        return a, b

    def _symbol_of_diffusion(self, weights: torch.Tensor) -> torch.Tensor:
        """Real, and positive: weights that vary in space are lopsided, but diffusion is symmetric all the same."""
        return self._symbol(weights)[0].clamp_min(1e-6)

    def _symbol(self, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Real and imaginary part of the symbol on half of the wave numbers ``(..., lat, lon, wave)``."""
        angles = (torch.arange(N_WAVES, device=weights.device, dtype=weights.dtype) + 0.5) * (2 * math.pi / N_WAVES)
        # The symbol of -omega is the conjugate.
        k, m = torch.meshgrid(angles[: N_WAVES // 2], angles, indexing="ij")
        row, column = (torch.tensor(o, device=weights.device, dtype=weights.dtype) for o in zip(*OFFSETS, strict=True))
        phase = row[:, None] * m.flatten() + column[:, None] * k.flatten()
        cell = weights.movedim(0, -1)
        with torch.autocast(weights.device.type, enabled=False):  # sums of large numbers that nearly cancel
            return cell @ phase.cos(), cell @ phase.sin()


def apply(weights: torch.Tensor, x: torch.Tensor, power: int) -> torch.Tensor:
    """Apply a stencil so many times to ``(batch, n, time, lat, lon)``."""
    for _ in range(power):
        x = apply_stencil(weights, x, xp=torch)
    return x


def _forget(prior: SPDEPrior, _: object) -> None:
    """Other coefficients have come: what was made of the old ones is no more."""
    prior._spread.clear()
