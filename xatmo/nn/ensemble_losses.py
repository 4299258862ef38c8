"""Losses of several draws against one truth: a network that minimises them gives members, not one smooth answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from xatmo.errors import OptionError


def crps(draws: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    r"""Fair continuous ranked probability score of each cell, weighted mean over all.

    .. math::
        \frac{1}{n} \sum_i |x_i - y| - \frac{1}{2 n (n - 1)} \sum_{i \ne j} |x_i - x_j|

    Its expectation is the CRPS of the distribution from which the :math:`n \ge 2` draws come (Ferro 2014,
    doi:10.1002/qj.2270), so that it is least where that is the distribution of the target.

    Parameters
    ----------
    draws : Tensor (n, batch, ...)
    target : Tensor (batch, ...)
        NaN where it is missing.
    weight : Tensor, optional
        Broadcastable to the target.

    Raises
    ------
    OptionError
        If there are fewer than two draws.

    Examples
    --------
    >>> crps(torch.tensor([[0.0], [1.0]]), torch.tensor([0.0])).item()
    0.0
    >>> crps(torch.tensor([[0.0], [1.0]]), torch.tensor([3.0])).item()
    2.0
    """
    _enough(len(draws))
    values, target, weight = _complete(draws, target, weight)
    n = len(values)
    ordered = values.sort(dim=0).values
    rank = torch.arange(1, n + 1, device=values.device, dtype=values.dtype)
    factor = ((2 * rank - n - 1) / (n * (n - 1))).reshape(-1, *[1] * target.ndim)
    score = (values - target).abs().mean(dim=0) - (factor * ordered).sum(dim=0)
    return (score * weight).sum() / weight.sum().clamp_min(torch.finfo(weight.dtype).tiny)


def energy_score(
    draws: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None, *, dims: Sequence[int] = (-3, -2, -1)
) -> torch.Tensor:
    r"""Fair energy score of whole vectors, mean over the rest.

    .. math::
        \frac{1}{n} \sum_i |x_i - y| - \frac{1}{2 n (n - 1)} \sum_{i \ne j} |x_i - x_j|

    with :math:`|\cdot|` the root of the weighted mean square over ``dims``: unlike `crps` it sees how values belong
    together (Gneiting and Raftery 2007, doi:10.1198/016214506000001437).

    Parameters
    ----------
    draws : Tensor (n, batch, ...)
    target : Tensor (batch, ...)
        NaN where it is missing.
    weight : Tensor, optional
    dims : sequence of int
        Negative: the axes of a vector, by default leads and cells.

    Raises
    ------
    OptionError
        If there are fewer than two draws.

    Examples
    --------
    >>> draws = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1, 1)
    >>> energy_score(draws, torch.full((1, 1, 1, 1), 3.0)).item()
    2.0
    """
    _enough(len(draws))
    values, target, weight = _complete(draws, target, weight)
    norm = weight.sum(tuple(dims)).clamp_min(torch.finfo(weight.dtype).tiny)

    def length(x: torch.Tensor) -> torch.Tensor:
        # The root has no slope at zero, where draws agree.
        square = (x.square() * weight).sum(tuple(dims)) / norm
        return (square + 1e-12).sqrt()

    n = len(values)
    error = torch.stack([length(x - target) for x in values]).mean(dim=0)
    pairs = [length(values[i] - values[j]) for i in range(n) for j in range(i)]
    return (error - torch.stack(pairs).sum(dim=0) / (n * (n - 1))).mean()


ENSEMBLE_LOSSES: dict[str, Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]] = {
    "crps": crps,
    "energy_score": energy_score,
}
"""Losses of draws, by name."""


def _enough(n: int) -> None:
    if n < 2:
        message = f"{n} draw for a score of an ensemble; wanted n_draws of at least 2"
        raise OptionError(message)


def _complete(
    draws: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draws, target and weight in float32, with 0 where the target is missing."""
    there = target.isfinite()
    values = torch.where(there, draws.float(), 0.0)
    known = torch.where(there, target, torch.zeros_like(target)).to(values.dtype)
    weight = there.to(values.dtype) if weight is None else there * weight.to(values.dtype)
    return values, known, weight
