r"""The equation of fields that are carried along and spread: its coefficients, its operator, and the symbol of that.

.. math::
    A = \kappa^2 + m \cdot \nabla - \nabla \cdot H \nabla

on the nine cells of a stencil (`xatmo.assimilation.stencils`), in tensors, differentiable in all coefficients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import NamedTuple

import torch

from xatmo.assimilation.stencils._kernels import OFFSETS, apply_stencil, stencil

POSITIVE = ("kappa", "tau", "gamma")
SIGNED = ("m_x", "m_y", "plus", "cross")
N_WAVES = 10


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


@dataclass(frozen=True)
class Equation:
    r"""The operator on a grid, and how it acts in time.

    Attributes
    ----------
    dx, dy, dt : float
        Steps; ``dy`` is negative where rows run from north to south.
    power : int
        Of the operator: :math:`\alpha / 2`.
    upwind : bool
        Whether advection takes first-order upwind differences, or centred ones.
    inside : bool
        Whether advection is inside of the power.
    moves : bool
        Whether there is advection.

    Examples
    --------
    >>> still = Equation(1.0, 1.0, 1.0, power=2, upwind=True, inside=True, moves=False)
    >>> one, none = torch.ones(1, 1, 1, 1, 1), torch.zeros(1, 1, 1, 1, 1)
    >>> given = Coefficients(0.5 * one, one, one, none, none, none, none)
    >>> round(still.rate(given, torch.ones(1, 1, 1, 3, 3)).mean().item(), 4)  # kappa to the fourth of a constant
    0.0625
    """

    dx: float
    dy: float
    dt: float
    power: int
    upwind: bool
    inside: bool
    moves: bool

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

    def symbol_of_rate(
        self, given: Coefficients, x: torch.Tensor, domain: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Give real and imaginary part of what `rate` multiplies waves by ``(batch, 1, time, lat, lon, wave)``."""
        still = self.weights(given, x, domain, moving=False)
        a = self.symbol_of_diffusion(still)
        if not self.moves:
            return a**self.power, torch.zeros_like(a)
        more, other = self._symbol(self.weights(given, x, domain) - still)
        if not self.inside:
            return a**self.power + more, other
        a, b = a + more, other
        for _ in range(int(math.log2(self.power))):
            a, b = a.square() - b.square(), 2 * a * b
        return a, b

    def symbol_of_diffusion(self, weights: torch.Tensor) -> torch.Tensor:
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
