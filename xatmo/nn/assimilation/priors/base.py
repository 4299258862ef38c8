"""What a prior is: residuals of a state, small where the state is likely."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn


class Prior(nn.Module):
    r"""Base of priors; one that maps a state to a likely one near it gives ``map``, and :math:`q = x - \Phi(x)`.

    Parameters
    ----------
    channels : int
        Of the state.

    Attributes
    ----------
    n_residuals : int
        Channels of the residuals.
    halo : int
        Cells around that a residual sees.
    scale : int
        Cells that are averaged together, counted from the edge of a patch.
    maps : bool
        Whether there is a map.
    """

    halo = 0
    scale = 1
    maps = True

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.n_residuals = channels

    def map(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, channels, time, lat, lon)`` to the same shape."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor, domain: torch.Tensor | None = None) -> torch.Tensor:
        """Give the residuals, 0 outside of the domain.

        Parameters
        ----------
        x : Tensor (batch, channels, time, lat, lon)
            0 outside of the domain.
        domain : Tensor (batch, 1, 1, lat, lon), optional
            Bool.

        Returns
        -------
        Tensor (batch, n_residuals, time, lat, lon)
        """
        residual = x - self.map(x)
        return residual if domain is None else torch.where(domain, residual, torch.zeros_like(residual))

    def normalisation(self, x: torch.Tensor, domain: torch.Tensor | None = None) -> torch.Tensor:
        """Give what the cost of each sample has beside the squares ``(batch,)``: nothing, if not told otherwise."""
        return x.new_zeros(len(x))


class ModulePrior(Prior):
    """Any differentiable module as a map, such as a model of the dynamics that steps through the window.

    Parameters
    ----------
    module : torch.nn.Module
        ``(batch, channels, time, lat, lon)`` to the same shape.
    channels : int
    halo : int
        Cells around that it sees.

    Examples
    --------
    >>> prior = ModulePrior(nn.Identity(), 1)
    >>> float(prior(torch.randn(1, 1, 3, 4, 4)).abs().max())
    0.0
    """

    def __init__(self, module: nn.Module, channels: int, *, halo: int = 0) -> None:
        super().__init__(channels)
        self.module, self.halo = module, halo

    def map(self, x: torch.Tensor) -> torch.Tensor:
        """Give what the module makes of the state."""
        out: torch.Tensor = self.module(x)
        return out


class StepPrior(Prior):
    r"""A model that makes a frame of the one before: residuals :math:`x_k - M(x_{k-1})`.

    The first frame is free.

    Parameters
    ----------
    model : torch.nn.Module
        One step of time, ``(batch, channels, lat, lon)`` to the same shape.
    channels : int
    halo : int
        Cells around that one step sees.

    Examples
    --------
    >>> prior = StepPrior(nn.Identity(), 1)
    >>> prior(torch.arange(3.0).reshape(1, 1, 3, 1, 1)).flatten().tolist()
    [0.0, 1.0, 1.0]
    """

    def __init__(self, model: nn.Module, channels: int, *, halo: int = 0) -> None:
        super().__init__(channels)
        self.model, self.halo = model, halo

    def map(self, x: torch.Tensor) -> torch.Tensor:
        """Give the first frame, and one step from each."""
        before = x[:, :, :-1].transpose(1, 2)
        made = self.model(before.flatten(0, 1)).unflatten(0, before.shape[:2]).transpose(1, 2)
        return torch.cat([x[:, :, :1], made], dim=2)


def convolution(n_in: int, n_out: int, size: int, padding: str, *, bias: bool = True) -> nn.Conv2d:
    """Make a convolution that keeps the size, with a reflected or an empty surrounding."""
    mode: Literal["reflect", "zeros"] = "reflect" if padding == "reflect" else "zeros"
    return nn.Conv2d(n_in, n_out, size, padding=size // 2, padding_mode=mode, bias=bias)


def enlarged(x: torch.Tensor, factor: int, like: torch.Tensor) -> torch.Tensor:
    """Interpolate ``(batch, channel, lat, lon)`` bilinearly between cell centres to cells ``1 / factor`` as wide."""
    if factor > 1:
        x = nn.functional.interpolate(x, scale_factor=float(factor), mode="bilinear", align_corners=False)
    return x[..., : like.shape[-2], : like.shape[-1]]


def averaged(x: torch.Tensor, factor: int) -> torch.Tensor:
    """Mean of blocks of cells ``(batch, channel, lat, lon)``, what is left at the end of an axis included."""
    return nn.functional.avg_pool2d(x, factor, ceil_mode=True, count_include_pad=False) if factor > 1 else x
