r"""The prior of fields that are carried along, spread and renewed: a stochastic partial differential equation.

.. math::
    \partial_t x + \kappa^2 x + m \cdot \nabla x - \nabla \cdot (H \nabla x) = \tau\, \dot W, \qquad
    H = \gamma I + v v^T

In time by implicit Euler, :math:`M_k x_k = x_{k-1} + z_k` with :math:`M = I + \Delta t\,(\kappa^2 + m \cdot \nabla -
\nabla \cdot H \nabla)` and :math:`z_k` white of variance :math:`1 / S = \tau^2 \Delta t / (\Delta x \Delta y)`.
The first frame has the stationary distribution, of precision :math:`S\,(2 \Delta t\, B_{sym} + \Delta t^2 B^T B)` with
:math:`M = I + \Delta t B`: exact where coefficients are constant.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import nn

from xatmo.errors import OptionError
from xatmo.nn.assimilation.priors.base import Prior

POSITIVE = ("kappa", "tau", "gamma")
SIGNED = ("m_x", "m_y", "v_x", "v_y")
DEFAULTS = {
    "kappa": 1 / 3, "tau": 1.0, "gamma": 1.0, "m_x": 0.0, "m_y": 0.0, "v_x": 0.0, "v_y": 0.0,
    "dx": 1.0, "dy": 1.0, "dt": 1.0, "parameter_weight": 1.0,
}  # fmt: skip
N_WAVES = 6


class Coefficients(NamedTuple):
    """Of the equation; lengths in the units of dx, times of dt.

    Each can be broadcast to ``(batch, 1, time, lat, lon)``.
    """

    kappa: torch.Tensor
    tau: torch.Tensor
    gamma: torch.Tensor
    m_x: torch.Tensor
    m_y: torch.Tensor
    v_x: torch.Tensor
    v_y: torch.Tensor

    def frames(self, part: slice) -> Coefficients:
        """Give those of some frames; what is the same for all frames stays so."""
        return Coefficients(*(c[:, :, part] if c.shape[2] > 1 else c for c in self))


class SPDEPrior(Prior):
    r"""Residuals whose half sum of squares is :math:`\tfrac12 x^T Q x` of the equation, without a matrix.

    Parameters
    ----------
    fields : slice
        Channels of the state that follow the equation, each by itself.
    settings : mapping of str to float, optional
        Coefficients and steps that differ from `DEFAULTS`.
    estimated : bool
        Whether the last seven channels of the state are coefficients: logarithms of factors on :math:`\kappa, \tau,
        \gamma`, and what is added to :math:`m` and :math:`v`. They are then held near 0 by
        ``parameter_weight``, and the cost has the log-determinant of Q, without which it would fall as
        :math:`\tau` grows.
    learn : bool
        Whether the constants are learned.
    given : mapping of str to Tensor, optional
        Coefficients known for each cell, broadcastable to ``(1, 1, time, lat, lon)``, which then serve one place.

    Notes
    -----
    Differences across the edge and across the coast are zero. Diffusion is the gradient of an energy, half the sum over
    cells of the mean over the four pairs of one-sided differences of :math:`d^T H d`, so that it is symmetric and
    positive for every :math:`H`; advection is centred. Rows count northwards as they come: give ``dy`` negative where
    they run from north to south. Lindgren et al. 2011, JRSS B 73, 423; Clarotto et al. 2024.

    Examples
    --------
    >>> prior = SPDEPrior(slice(0, 1), {"gamma": 2.0})
    >>> prior(torch.randn(1, 1, 4, 6, 7)).shape
    torch.Size([1, 1, 13, 6, 7])
    """

    maps = False
    halo = 2

    def __init__(
        self,
        fields: slice,
        settings: Mapping[str, float] | None = None,
        *,
        estimated: bool = False,
        learn: bool = False,
        given: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        settings = dict(settings or {})
        known = {name: settings.pop(name, default) for name, default in DEFAULTS.items()}
        if settings:
            message = f"unknown settings {sorted(settings)} of an SPDE prior; known are {sorted(DEFAULTS)}"
            raise OptionError(message)
        if bad := [n for n in (*POSITIVE, "dx", "dt") if not known[n] > 0] + ["dy"] * (known["dy"] == 0):
            message = f"{bad[0]}={known[bad[0]]!r} of an SPDE prior; wanted a positive number"
            raise OptionError(message)
        super().__init__(fields.stop - fields.start)
        self.fields, self.estimated = fields, estimated
        self.dx, self.dy, self.dt = known["dx"], known["dy"], known["dt"]
        self.parameter_weight = known["parameter_weight"]
        for name in (*POSITIVE, *SIGNED):
            value = torch.as_tensor(float(known[name])).reshape(1, 1, 1, 1, 1)
            if given is not None and name in given:
                value = given[name].detach().clone().float()
            value = value.log() if name in POSITIVE else value
            if learn and value.numel() == 1:
                setattr(self, f"raw_{name}", nn.Parameter(value))
            else:
                self.register_buffer(f"raw_{name}", value)

    # ------------------------------------------------------------------ coefficients
    def coefficients(self, x: torch.Tensor) -> Coefficients:
        """Give those that hold for a state: constants, known fields, or what the state says."""
        raw = {name: getattr(self, f"raw_{name}").to(x.dtype) for name in (*POSITIVE, *SIGNED)}
        if self.estimated:
            raw = {n: raw[n] + x[:, i : i + 1] for i, n in enumerate(raw, start=x.shape[1] - len(raw))}
        return Coefficients(**{n: v.exp() if n in POSITIVE else v for n, v in raw.items()})

    # ------------------------------------------------------------------ the cost
    def forward(self, x: torch.Tensor, domain: torch.Tensor | None = None) -> torch.Tensor:
        """Give the residuals: of the steps, then ten of the first frame ``(batch, n, time + 9, lat, lon)``."""
        given, field = self.coefficients(x), x[:, self.fields]
        first, later = given.frames(slice(0, 1)), given.frames(slice(1, None))
        x0, rest = field[:, :, :1], field[:, :, 1:]
        area = abs(self.dx * self.dy)
        white = math.sqrt(area / self.dt)
        steps = white / later.tau * (rest + self.dt * self.operator(rest, later, domain) - field[:, :, :-1])
        begin = white / first.tau
        parts = [steps, begin * self.dt * self.operator(x0, first, domain)]
        root = begin * math.sqrt(2 * self.dt)
        parts.append(root * first.kappa * x0)
        (east, west), (north, south) = self._differences(x0, -1, domain), self._differences(x0, -2, domain)
        h_xx, h_xy, h_yy = self._diffusion(first)
        low = h_xy / h_xx.sqrt()
        left = (h_yy - low.square()).clamp_min(0).sqrt()
        for d_x in (east, west):
            for d_y in (north, south):
                parts += [root / 2 * (h_xx.sqrt() * d_x + low * d_y), root / 2 * left * d_y]
        out = torch.cat([p.expand(*field.shape[:2], -1, *field.shape[3:]) for p in parts], dim=2)
        return out if domain is None else torch.where(domain, out, torch.zeros_like(out))

    def normalisation(self, x: torch.Tensor, domain: torch.Tensor | None = None) -> torch.Tensor:
        r"""Give what the cost has beside the squares ``(batch,)``: of estimated coefficients, and 0 of others."""
        if not self.estimated:
            return x.new_zeros(len(x))
        offsets = x[:, -len(POSITIVE + SIGNED) :]
        if domain is not None:
            offsets = torch.where(domain, offsets, torch.zeros_like(offsets))
        held = self.parameter_weight / 2 * offsets.square().flatten(1).sum(1)
        return held - self.n_residuals / 2 * self.log_determinant(x, domain)

    def log_determinant(self, x: torch.Tensor, domain: torch.Tensor | None = None) -> torch.Tensor:
        r"""Logarithm of the determinant of Q, of one field ``(batch,)``, from the local symbol.

        The mean over wave numbers of :math:`\ln |1 + \Delta t\, b(\omega)|^2 + \ln S`, with :math:`b` the symbol of the
        discrete operator with the coefficients of a cell, summed over cells; in the first frame
        :math:`|1 + \Delta t b|^2 - 1`. Exact on a torus with constant coefficients.
        """
        given = self.coefficients(x)
        h_xx, h_xy, h_yy = self._diffusion(given)
        shape = (1, 1, *x.shape[2:])
        weight = torch.ones(shape, device=x.device, dtype=x.dtype)
        weight = weight if domain is None else weight * domain
        angles = (torch.arange(N_WAVES, device=x.device, dtype=x.dtype) + 0.5) * (2 * math.pi / N_WAVES)
        log = torch.zeros((), device=x.device, dtype=x.dtype)
        log_first = log
        half = angles[: N_WAVES // 2]  # the symbol of -omega is the conjugate
        for k in half.tolist():
            for m in angles.tolist():
                s_x, s_y = math.sin(k) / self.dx, math.sin(m) / self.dy
                c_x = (2 - 2 * math.cos(k)) / self.dx**2
                c_y = (2 - 2 * math.cos(m)) / self.dy**2
                real = self.dt * (given.kappa.square() + h_xx * c_x + h_yy * c_y + 2 * h_xy * s_x * s_y)
                imaginary = self.dt * (given.m_x * s_x + given.m_y * s_y)
                excess = 2 * real + real.square() + imaginary.square()
                log = log + torch.log1p(excess)
                log_first = log_first + torch.log(excess)
        n = len(half) * N_WAVES
        noise = math.log(abs(self.dx * self.dy) / self.dt) - 2 * given.tau.log()
        later = ((log / n + noise) * weight)[:, :, 1:].flatten(1).sum(1)
        first = ((log_first / n + noise) * weight)[:, :, :1].flatten(1).sum(1)
        return (later + first).expand(len(x))

    # ------------------------------------------------------------------ the operator
    def operator(self, x: torch.Tensor, given: Coefficients, domain: torch.Tensor | None = None) -> torch.Tensor:
        r"""Apply :math:`B = \kappa^2 + m \cdot \nabla - \nabla \cdot H \nabla` to ``(batch, n, time, lat, lon)``."""
        (east, west), (north, south) = self._differences(x, -1, domain), self._differences(x, -2, domain)
        d_x, d_y = (east + west) / 2, (north + south) / 2
        h_xx, h_xy, h_yy = self._diffusion(given)
        along_x = self._adjoint((h_xx * east / 2, h_xx * west / 2), -1, domain)
        along_y = self._adjoint((h_yy * north / 2, h_yy * south / 2), -2, domain)
        crossed_x, crossed_y = h_xy * d_y / 2, h_xy * d_x / 2
        crossed = self._adjoint((crossed_x, crossed_x), -1, domain) + self._adjoint((crossed_y, crossed_y), -2, domain)
        return given.kappa.square() * x + given.m_x * d_x + given.m_y * d_y + along_x + along_y + crossed

    @staticmethod
    def _diffusion(given: Coefficients) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return given.gamma + given.v_x.square(), given.v_x * given.v_y, given.gamma + given.v_y.square()

    def _differences(self, x: torch.Tensor, dim: int, domain: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Give forward and backward differences, 0 across the edge and the coast."""
        step = x.diff(dim=dim) / (self.dx if dim == -1 else self.dy)
        if domain is not None:
            n = x.shape[dim] - 1
            step = step * (domain.narrow(dim, 0, n) & domain.narrow(dim, 1, n))
        return _at_end(step, dim), _at_start(step, dim)

    def _adjoint(self, flux: tuple[torch.Tensor, torch.Tensor], dim: int, domain: torch.Tensor | None) -> torch.Tensor:
        """Apply the adjoints of both differences, and sum."""
        forward, backward = flux
        n = forward.shape[dim] - 1
        across = (forward.narrow(dim, 0, n) + backward.narrow(dim, 1, n)) / (self.dx if dim == -1 else self.dy)
        if domain is not None:
            across = across * (domain.narrow(dim, 0, n) & domain.narrow(dim, 1, n))
        return _at_start(across, dim) - _at_end(across, dim)


def _at_end(x: torch.Tensor, dim: int) -> torch.Tensor:
    """Add a zero at the end of an axis."""
    return nn.functional.pad(x, (0, 1) if dim == -1 else (0, 0, 0, 1))


def _at_start(x: torch.Tensor, dim: int) -> torch.Tensor:
    """Add a zero at the start of an axis."""
    return nn.functional.pad(x, (1, 0) if dim == -1 else (0, 0, 1, 0))
