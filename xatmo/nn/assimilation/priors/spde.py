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
from typing import Any

import torch
from torch import nn

from xatmo.errors import OptionError
from xatmo.nn.assimilation.priors.base import Prior
from xatmo.nn.assimilation.priors.covariance import LocalCovariance
from xatmo.nn.assimilation.priors.equation import POSITIVE, SIGNED, Coefficients, Equation, apply
from xatmo.nn.assimilation.priors.equation import of_diffusion as of_diffusion

DEFAULTS = {
    "kappa": 1 / 3, "tau": 1.0, "gamma": 1.0, "m_x": 0.0, "m_y": 0.0, "plus": 0.0, "cross": 0.0,
    "dx": 1.0, "dy": 1.0, "dt": 1.0, "parameter_weight": 1.0,
}  # fmt: skip
OPTIONS: dict[str, tuple[object, ...]] = {
    "alpha": (4, 8), "scheme": ("upwind", "centred"), "transport": ("inside", "outside"), "steady": (False, True),
}  # fmt: skip
"""Their first values are the defaults."""
LARGEST = 3.0
"""What estimates may add, to a logarithm or to another coefficient: no wild step of a solver makes it overflow."""


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
        self.parameter_weight = known["parameter_weight"]
        self.steady = bool(options["steady"])
        moved = any(known[n] != 0 or n in self_estimated or n in (given or {}) for n in ("m_x", "m_y"))
        self.equation = Equation(
            known["dx"], known["dy"], known["dt"], power=int(options["alpha"]) // 2,
            upwind=options["scheme"] == "upwind", inside=options["transport"] == "inside", moves=moved or learn,
        )  # fmt: skip
        self.halo = self.equation.power
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
            shape = x.shape[2], x.shape[3], x.shape[4]
            self._spread[key] = LocalCovariance(self.equation, self.constants(torch.float64), shape, x.device, x.dtype)
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
        equation, given, field = self.equation, self.coefficients(x), x[:, self.fields]
        first, later = given.frames(slice(0, 1)), given.frames(slice(1, None))
        x0, rest = field[:, :, :1], field[:, :, 1:]
        white = math.sqrt(abs(equation.dx * equation.dy) / equation.dt)
        still = equation.weights(first, field, domain, moving=False)
        dt, power = equation.dt, equation.power
        half = apply(still, white * x0 / first.tau, power // 2)
        parts = [math.sqrt(2 * dt) * half, dt * apply(still, half, power - power // 2)]
        parts.append(white / later.tau * (rest + dt * equation.rate(later, rest, domain) - field[:, :, :-1]))
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
        equation, given = self.equation, self.coefficients(x)
        shape = (len(x), 1, *x.shape[2:])
        first, later = given.frames(slice(0, 1)), given.frames(slice(1, None))
        water = torch.ones(1, 1, 1, *shape[3:], device=x.device, dtype=x.dtype)
        water = water if domain is None else water * domain
        noise = math.log(abs(equation.dx * equation.dy) / equation.dt)
        rate = equation.symbol_of_diffusion(equation.weights(first, x, domain, moving=False)) ** equation.power
        excess = torch.log(2 * equation.dt * rate + (equation.dt * rate).square()).mean(-1)
        total = ((excess + noise - 2 * first.tau.log()) * water).expand(-1, -1, 1, *shape[3:]).flatten(1).sum(1)
        real, imaginary = equation.symbol_of_rate(later, x, domain)
        log = torch.log((1 + equation.dt * real).square() + (equation.dt * imaginary).square()).mean(-1)
        each = ((log + noise - 2 * later.tau.log()) * water).expand(-1, -1, shape[2] - 1, *shape[3:])
        return (total + each.flatten(1).sum(1)).expand(len(x))


def _forget(prior: SPDEPrior, _: object) -> None:
    """Other coefficients have come: what was made of the old ones is no more."""
    prior._spread.clear()
