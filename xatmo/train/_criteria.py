"""What generator and discriminator play for: losses of logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.functional import relu, softplus

Logits = torch.Tensor


@dataclass(frozen=True)
class Criterion:
    """Two losses of the logits ``(batch, 1)`` of real and of made fields, in float32.

    Attributes
    ----------
    discriminator : callable
        ``(real, made)`` -> loss of the discriminator, the mean over both halves.
    generator : callable
        ``(real, made)`` -> loss of the generator.
    needs_real : bool
        Whether the generator's loss looks at ``real``.
    """

    discriminator: Callable[[Logits, Logits], torch.Tensor]
    generator: Callable[[Logits, Logits], torch.Tensor]
    needs_real: bool = False


def _cross_entropy(real: Logits, made: Logits) -> torch.Tensor:
    return (softplus(-real).mean() + softplus(made).mean()) / 2


def _deceive(real: Logits, made: Logits) -> torch.Tensor:
    return softplus(-made).mean()


def _hinge(real: Logits, made: Logits) -> torch.Tensor:
    return (relu(1 - real).mean() + relu(1 + made).mean()) / 2


def _raise_logit(real: Logits, made: Logits) -> torch.Tensor:
    return -made.mean()


def _relativistic(real: Logits, made: Logits) -> torch.Tensor:
    return (softplus(made.mean() - real).mean() + softplus(made - real.mean()).mean()) / 2


def _surpass(real: Logits, made: Logits) -> torch.Tensor:
    return _relativistic(made, real)


CRITERIA: dict[str, Criterion] = {
    "cross_entropy": Criterion(_cross_entropy, _deceive),  # Goodfellow et al. 2014, the non-saturating form
    "hinge": Criterion(_hinge, _raise_logit),  # Lim and Ye 2017, arXiv:1705.02894
    "relativistic": Criterion(_relativistic, _surpass, needs_real=True),  # Jolicoeur-Martineau 2018, arXiv:1807.00734
}
