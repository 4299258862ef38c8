"""Losses: tensors in, one number out. Missing targets do not count; every cell can have a weight.

All take ``prediction`` and ``target`` ``(batch, channel, ..., lat, lon)`` and ``weight``, positive and broadcastable to
them (areas, for instance). Where the target is NaN, the value and its gradient are left out of the weighted mean; the
spectral losses, see `xatmo.nn.spectral_losses`, need whole boxes and refuse missing targets.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from torch import nn

from xatmo.errors import ConfigError, OptionError
from xatmo.nn import spectral_losses, structural_losses

Loss: TypeAlias = Callable[[torch.Tensor, torch.Tensor, "torch.Tensor | None"], torch.Tensor]


def mae(prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    r"""Mean absolute error, :math:`\sum w |p - t| / \sum w`.

    Examples
    --------
    >>> mae(torch.tensor([1.0, 2.0]), torch.tensor([0.0, float("nan")])).item()
    1.0
    """
    error, weight = _error(prediction, target, weight)
    return _mean(error.abs(), weight)


def mse(prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    r"""Mean squared error, :math:`\sum w (p - t)^2 / \sum w`.

    Examples
    --------
    >>> mse(torch.tensor([1.0, 3.0]), torch.zeros(2)).item()
    5.0
    """
    error, weight = _error(prediction, target, weight)
    return _mean(error.square(), weight)


def gradient(prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    r"""Mean absolute error of the differences between neighbours along the last two axes.

    A pair counts where both targets are there, with the mean of the two weights. Alone it leaves a constant free:
    mix it with another loss.

    Examples
    --------
    >>> ramp = torch.arange(4.0).expand(1, 1, 4, 4)
    >>> gradient(ramp, torch.zeros(1, 1, 4, 4)).item(), gradient(ramp + 5, ramp).item()
    (0.5, 0.0)
    """
    error, weight = _error(prediction, target, weight)
    total, norm = error.new_zeros(()), error.new_zeros(())
    for dim in (-2, -1):
        n = error.shape[dim] - 1
        left, right = weight.narrow(dim, 0, n), weight.narrow(dim, 1, n)
        both = torch.where((left > 0) & (right > 0), (left + right) / 2, torch.zeros_like(left))
        total = total + (torch.diff(error, dim=dim).abs() * both).sum()
        norm = norm + both.sum()
    return total / norm.clamp_min(torch.finfo(norm.dtype).tiny)


LOSSES: dict[str, Loss] = {
    "mae": mae,
    "mse": mse,
    "gradient": gradient,
    "dssim": structural_losses.dssim,
    "ms_dssim": structural_losses.ms_dssim,
    "spectral_power": spectral_losses.power,
    "spectral_coherence": spectral_losses.coherence,
    "spectral_weighted": spectral_losses.weighted,
    "spectral_adjusted": spectral_losses.adjusted,
}


LEARNED = "atmodist:"
"""How the name of a loss begins that is a distance in learned features: ``"atmodist:PATH"``, ``"atmodist:PATH@LAYER"``
with the path of a saved model. Whoever knows the channels and units of the fields brings it: see `Mix.bind`."""


class Mix(nn.Module):
    """A weighted sum of losses.

    Parameters
    ----------
    parts : mapping of str to float
        Name of a loss, as in `LOSSES` or beginning with `LEARNED`, to its weight.

    Raises
    ------
    OptionError
        If a name is unknown, a weight is not a positive number, or nothing is given.

    Examples
    --------
    >>> Mix({"mae": 1.0, "mse": 0.5})(torch.tensor([2.0]), torch.tensor([0.0])).item()
    4.0
    """

    def __init__(self, parts: Mapping[str, float]) -> None:
        super().__init__()
        unknown = sorted(n for n in parts if n not in LOSSES and not _path(n))
        if unknown or not parts:
            message = f"loss {unknown[0] if unknown else 'nothing'!r} is not available; possible are {sorted(LOSSES)}, "
            message += f"and {LEARNED + 'PATH'!r} of a saved AtmoDist model"
            raise OptionError(message)
        for name, weight in parts.items():
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
                message = f"loss {name!r} has weight {weight!r}; wanted a positive number"
                raise OptionError(message)
        self.parts = {name: float(weight) for name, weight in parts.items()}
        self._learned: dict[str, int] = {}
        self.learned = nn.ModuleList()

    @property
    def unbound(self) -> tuple[str, ...]:
        """Names of learned losses that `bind` has yet to bring."""
        return tuple(n for n in self.parts if n not in LOSSES and n not in self._learned)

    def bind(self, resolve: Callable[[str], nn.Module]) -> Mix:
        """Bring the learned losses.

        Parameters
        ----------
        resolve : callable
            From what follows `LEARNED` in a name to a module that is called as a loss is.

        Returns
        -------
        Mix
            This one.

        Examples
        --------
        >>> mix = build("mae + 0.5 atmodist:models/a@stage3").bind(lambda name: nn.L1Loss())
        >>> sorted(mix.parts)
        ['atmodist:models/a@stage3', 'mae']
        """
        for name in self.unbound:
            self._learned[name] = len(self.learned)
            self.learned.append(resolve(name.removeprefix(LEARNED)))
        return self

    def forward(
        self, prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None
    ) -> torch.Tensor:
        """One number."""
        return self.total(self.values(prediction, target, weight))

    def values(
        self, prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Each loss by its name, as it is without its factor in the sum."""
        if self.unbound:
            message = (
                f"the loss {self.unbound[0]!r} has not been loaded: it needs the names and units of the channels. "
                "Train with a task, which knows them, or give Mix.bind a xatmo.nn.representation.ContentLoss"
            )
            raise ConfigError(message)
        found = {}
        for name in self.parts:
            loss = self.learned[self._learned[name]] if name in self._learned else LOSSES[name]
            found[name] = loss(prediction, target, weight)
        return found

    def total(self, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Sum of losses times their factors."""
        return torch.stack([factor * values[name] for name, factor in self.parts.items()]).sum()


def _path(name: str) -> str:
    return name.removeprefix(LEARNED) if name.startswith(LEARNED) else ""


def build(loss: str | Mapping[str, float] | Mix) -> Mix:
    """Make a loss from a name, names joined with ``+`` (each with a factor before it, if not 1), or a mapping.

    A `Mix` comes back as it is.

    Examples
    --------
    >>> build("mae+gradient").parts, build({"mse": 2.0}).parts
    ({'mae': 1.0, 'gradient': 1.0}, {'mse': 2.0})
    >>> build("mae + 0.1 spectral_power").parts
    {'mae': 1.0, 'spectral_power': 0.1}
    """
    if isinstance(loss, Mix):
        return loss
    given: object = loss
    if isinstance(given, Mapping):
        return Mix(given)
    if not isinstance(given, str):
        message = f"loss={given!r}; wanted a name, several joined with '+', or a mapping from names to weights"
        raise OptionError(message)
    parts: dict[str, float] = {}
    for term in given.split("+"):
        found = re.fullmatch(r"(?:([0-9.]+(?:[eE]-?[0-9]+)?)(?:\s*\*\s*|\s+))?(\S+)", term.strip())
        factor, name = (1.0, term.strip()) if found is None else (_number(found[1]), found[2])
        parts[name] = parts.get(name, 0.0) + factor
    return Mix(parts)


def _number(text: str | None) -> float:
    try:
        return 1.0 if text is None else float(text)
    except ValueError:
        return math.nan  # which no loss takes as its weight


def _error(
    prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Error and weight, both zero where the target is missing (so that no NaN enters the gradient)."""
    prediction = prediction.float()
    there = target.isfinite()
    error = torch.where(there, prediction - torch.where(there, target, torch.zeros_like(target)), 0.0)
    weight = there.to(error.dtype) if weight is None else there * weight.to(error.dtype)
    return error, weight


def _mean(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return (values * weight).sum() / weight.sum().clamp_min(torch.finfo(values.dtype).tiny)
