"""Coefficients of the equation, read from what the analysis and the observations look like around a cell."""

from __future__ import annotations

import torch
from torch import nn

from xatmo.nn.assimilation.problem import Problem
from xatmo.nn.blocks import start_at_zero

WIDTHS = (7, 15, 31)
"""Cells each way over which products of gradients are averaged."""
N_PRODUCTS = 5
_SMALLEST = 1e-4


class CoefficientHead(nn.Module):
    r"""What the state adds to the first guess of the coefficients, from the local structure of the fields.

    The structure tensor :math:`\langle \nabla x\, \nabla x^T \rangle` has the direction and the length of the
    anisotropy, its size in proportion to :math:`\langle x^2 \rangle` the scale, the change from frame to frame the
    memory. Means are over the cells that have both neighbours, of all frames and, where coefficients are not steady, of
    each; of the analysis, of the background and of the observations themselves, which nothing has smoothed. A network
    of convolutions without a large field of view reads them, and other fields (coordinates, for a pattern that stays).

    Parameters
    ----------
    n_coefficients, n_outputs, n_observations, n_extra : int
    width : int
    steady : bool

    Attributes
    ----------
    halo : int
        Cells around that it sees.

    Notes
    -----
    The derivative of the cost with respect to coefficients is no good guide: far from the answer it is larger by many
    powers of ten than near it.

    Examples
    --------
    >>> head = CoefficientHead(3, 1, 1, 0, 8)
    >>> head.n_inputs, head.halo
    (108, 18)
    """

    def __init__(
        self, n_coefficients: int, n_outputs: int, n_observations: int, n_extra: int, width: int, *,
        steady: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.steady, self.n_coefficients = steady, n_coefficients
        fields = 2 * n_outputs + n_observations
        self.n_inputs = fields * len(WIDTHS) * (N_PRODUCTS + 1) * (1 if steady else 2) + n_extra
        self.layers = nn.Sequential(
            nn.Conv2d(self.n_inputs, width, 1), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1), nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, n_coefficients, 1),
        )  # fmt: skip
        start_at_zero(self.layers[-1])
        self.halo = max(WIDTHS) // 2 + 1 + 2

    def forward(self, problem: Problem, x: torch.Tensor) -> torch.Tensor:
        """Give them ``(batch, n_coefficients, time, lat, lon)``; what is read of the state is detached."""
        analysis = problem.layout.analysis(x).detach()
        water = torch.ones_like(analysis[:, :1]) if problem.domain is None else problem.domain.to(x.dtype)
        water = water.expand_as(analysis[:, :1])
        obs = problem.obs
        parts = [
            structure(analysis, water.expand_as(analysis)),
            structure(problem.background, water.expand_as(analysis)),
            structure(obs.values, obs.mask.to(x.dtype)),
        ]
        products, amounts = (torch.cat([p[i] for p in parts], dim=1) for i in (0, 1))
        frames = x.shape[2]
        read = described(products.sum(4), amounts.sum(4), frames)
        if not self.steady:
            each = described(products, amounts, 1).movedim(2, 1).flatten(0, 1)
            read = torch.cat([read.repeat_interleave(frames, 0), each], dim=1)
        if problem.extra is not None:
            extra = problem.extra.mean(2) if self.steady else problem.extra.movedim(2, 1).flatten(0, 1)
            read = torch.cat([read, extra], dim=1)
        made: torch.Tensor = self.layers(read).float()
        if self.steady:
            return made.unsqueeze(2).expand(-1, -1, frames, -1, -1)
        return torch.unflatten(made, 0, (len(x), frames)).movedim(1, 2)


def structure(x: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Local sums of products of a field with itself and of its differences.

    Parameters
    ----------
    x, mask : Tensor (batch, n, time, lat, lon)
        Where the mask is 0, the field does not count.

    Returns
    -------
    products, amounts : Tensor (batch, n, N_PRODUCTS, len(WIDTHS), time, lat, lon)
        Sums of squares, of squared differences eastward, northward and in time, and of the product of the first two;
        and how many entered, both as means over squares of cells.
    """
    x = x * mask
    east, north = _difference(x, mask, -1), _difference(x, mask, -2)
    later = (torch.zeros_like(x), torch.zeros_like(x))
    if x.shape[2] > 1:
        both = mask[:, :, 1:] * mask[:, :, :-1]
        change = (x[:, :, 1:] - x[:, :, :-1]) * both
        later = tuple(nn.functional.pad(v, (0, 0, 0, 0, 0, 1)) for v in (change, both))  # type: ignore[assignment]
    both = east[1] * north[1]
    products = [x.square(), east[0].square(), north[0].square(), later[0].square(), east[0] * north[0]]
    amounts = [mask, east[1], north[1], later[1], both]
    stacked = torch.stack(products), torch.stack(amounts)
    made = [torch.stack([_smooth(s, width) for width in WIDTHS], dim=1) for s in stacked]
    return made[0].movedim((0, 1), (2, 3)), made[1].movedim((0, 1), (2, 3))


def described(products: torch.Tensor, amounts: torch.Tensor, frames: int) -> torch.Tensor:
    """Ratios of local sums that a network can read ``(batch, channel, [time,] lat, lon)``.

    Logarithms of the mean square, of that of the gradient and of the change in time; the two parts of the gradient's
    direction, between -1 and 1; and how much there was to see.
    """
    amount = amounts[:, :, 0]
    mean = products / amounts.clamp_min(_SMALLEST)
    value, east, north, later, both = mean.unbind(2)
    slope = east + north
    gradient = slope.clamp_min(_SMALLEST)
    parts = [
        (value + _SMALLEST).log(), (slope + _SMALLEST).log(), (later + _SMALLEST).log(),
        (east - north) / gradient, 2 * both / gradient, 4 * amount / frames,
    ]  # fmt: skip
    made = torch.stack(parts, dim=2)
    return made.flatten(1, 3)


def _difference(x: torch.Tensor, mask: torch.Tensor, axis: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Central differences between both neighbours, and where both are."""
    n = x.shape[axis]
    after, before = x.narrow(axis, 2, n - 2), x.narrow(axis, 0, n - 2)
    both = mask.narrow(axis, 2, n - 2) * mask.narrow(axis, 0, n - 2)
    pad = (1, 1) if axis == -1 else (0, 0, 1, 1)
    return nn.functional.pad((after - before) / 2 * both, pad), nn.functional.pad(both, pad)


def _smooth(x: torch.Tensor, width: int) -> torch.Tensor:
    """Means over squares of cells, of those inside of the patch."""
    flat = x.flatten(0, -3)
    for size, pad in (((1, width), (0, width // 2)), ((width, 1), (width // 2, 0))):
        flat = nn.functional.avg_pool2d(flat, size, 1, pad, count_include_pad=False)
    return flat.reshape(x.shape)
