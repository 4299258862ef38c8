r"""The variational cost: weighted sums of squares, with gradients that depend on what is near and nothing else.

.. math::
    J(x) = \tfrac12 \sum_{terms, obs} w_i\, r_i^2 + \tfrac12 \sum_{cells} v_j\, q_j^2

Sums, not means: the gradient at a cell does not change where a patch grows or where other cells are observed. A
cost that is told or minimised in training is divided by the number of observations or cells.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

HUBER = 1.0


class PositiveWeights(nn.Module):
    """Weights that stay positive: exponentials of what is learned.

    Parameters
    ----------
    n : int
    first : float
        What all of them are at first.
    learn : bool

    Examples
    --------
    >>> [round(w, 3) for w in PositiveWeights(2, 3.0)().tolist()]
    [3.0, 3.0]
    """

    log: torch.Tensor

    def __init__(self, n: int, first: float = 1.0, *, learn: bool = True) -> None:
        super().__init__()
        log = torch.full((n,), float(first)).log()
        if learn:
            self.log = nn.Parameter(log)
        else:
            self.register_buffer("log", log)

    def forward(self) -> torch.Tensor:
        """``(n,)``."""
        return self.log.exp()


class ObservationCost(nn.Module):
    """Half the weighted sum of squares of an operator's residuals.

    Parameters
    ----------
    terms : mapping of str to int
        Names of residuals and their channels. All begin with the same weight.
    weight : float
    learn : bool
    norm : {"l2", "huber"}
        ``"huber"``: linear beyond `HUBER`, so that a wrong observation pulls no harder than a large error.

    Examples
    --------
    >>> cost = ObservationCost({"value": 1}, 2.0)
    >>> round(cost({"value": torch.full((1, 1, 1, 1, 3), 2.0)}).item(), 5)
    12.0
    """

    def __init__(self, terms: Mapping[str, int], weight: float = 1.0, *, learn: bool = True, norm: str = "l2") -> None:
        super().__init__()
        self.weights = nn.ModuleDict({name: PositiveWeights(n, weight, learn=learn) for name, n in terms.items()})
        self.norm = norm

    def forward(self, residuals: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Give the cost of each sample ``(batch,)``."""
        parts = [half_squares(r, self.weights[name](), self.norm) for name, r in residuals.items()]
        return torch.stack(parts).sum(0)

    def slopes(self, residuals: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Give the derivative of the cost with respect to each residual."""
        return {name: slope(r, self.weights[name](), self.norm) for name, r in residuals.items()}


class PriorCost(nn.Module):
    """Half the weighted sum of squares of a prior's residuals.

    Parameters
    ----------
    channels : int
        Of the residuals, each with a weight.
    weight : float
    learn : bool

    Examples
    --------
    >>> round(PriorCost(1)(torch.full((1, 1, 1, 1, 3), 2.0)).item(), 5)
    6.0
    """

    def __init__(self, channels: int, weight: float = 1.0, *, learn: bool = True) -> None:
        super().__init__()
        self.weights = PositiveWeights(channels, weight, learn=learn)

    def forward(self, residual: torch.Tensor) -> torch.Tensor:
        """Give the cost of each sample ``(batch,)``."""
        return half_squares(residual, self.weights())

    def slope(self, residual: torch.Tensor) -> torch.Tensor:
        """Give the derivative of the cost with respect to the residual."""
        return slope(residual, self.weights())


def half_squares(residual: torch.Tensor, weights: torch.Tensor, norm: str = "l2") -> torch.Tensor:
    """``(batch, channel, time, lat, lon)`` with a weight for each channel to ``(batch,)``, in float32 or wider."""
    r = residual.to(torch.promote_types(residual.dtype, torch.float32))
    half = r.square() / 2 if norm == "l2" else nn.functional.huber_loss(r, torch.zeros_like(r), "none", HUBER)
    return (half.sum((2, 3, 4)) * weights).sum(1)


def slope(residual: torch.Tensor, weights: torch.Tensor, norm: str = "l2") -> torch.Tensor:
    """Give the derivative of `half_squares` with respect to the residual, like it."""
    r = residual if norm == "l2" else residual.clamp(-HUBER, HUBER)
    return (r * weights[:, None, None, None]).to(residual.dtype)
