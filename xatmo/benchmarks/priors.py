"""The prior of a network whose coefficients vary in space and are known: tensors only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from xatmo.nn.assimilation.priors.spde import SPDEPrior


def varying(kappa: float, tau: float, tensor: Sequence[np.ndarray[Any, Any]]) -> SPDEPrior:
    """Make the prior of one field on cells of size 1, rows from north to south, steps of 1.

    Parameters
    ----------
    kappa, tau : float
    tensor : three arrays (row, column)
        H11, H12, H22, positive definite.

    Examples
    --------
    >>> import torch
    >>> ones = np.ones((3, 4))
    >>> varying(0.5, 1.0, (2 * ones, 0 * ones, ones))(torch.zeros(1, 1, 2, 3, 4)).shape
    torch.Size([1, 1, 3, 3, 4])
    """
    import torch

    from xatmo.nn.assimilation.priors.spde import SPDEPrior, of_diffusion

    fields = (torch.as_tensor(np.ascontiguousarray(h), dtype=torch.float32)[None, None, None] for h in tensor)
    return SPDEPrior(slice(0, 1), {"kappa": kappa, "tau": tau, "dy": -1.0}, given=of_diffusion(*fields))
