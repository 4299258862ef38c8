"""Harmonic sums at scattered points in torch: double Fourier series, so that all work is in matrix products.

In colatitude, the wave of a scalar field is a cosine series where the order is even and a sine series where it is odd;
for the two components of a vector field it is the other way round. The series follow exactly from the waves at equally
spaced rows. Everything here is differentiable, with respect to coefficients and points.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from xatmo.errors import DimensionError, OptionError

_MEMORY = 64_000_000  # bytes of what is held for one block of points


def places(colatitude: Any, longitude: Any, device: torch.device) -> tuple[Tensor, Tensor]:
    """Give points as tensors of angles in float64, ``(npoints,)`` each.

    Raises
    ------
    DimensionError
        If they are not one of each for every point.
    """
    place = [torch.as_tensor(x, device=device) for x in (colatitude, longitude)]
    if place[0].ndim != 1 or place[0].shape != place[1].shape:
        came = f"colatitude {tuple(place[0].shape)} and longitude {tuple(place[1].shape)}"
        message = f"{came} came; wanted one of each for every point, (npoints,) both"
        raise DimensionError(message)
    return place[0].double(), place[1].double()  # at high degrees, angles need more digits than values


def values(
    waves: Tensor,
    matrices: tuple[Tensor, Tensor],
    colatitude: Tensor,
    longitude: Tensor,
    *,
    poles: bool,
    vector: bool = False,
    block: int | None = None,
) -> Tensor:
    """Sum waves at points.

    Parameters
    ----------
    waves : tensor (..., order, row)
        On equally spaced rows.
    matrices : (tensor, tensor), (term, row) each
        From values on these rows to cosine and to sine series.
    colatitude, longitude : tensor (npoints,)
        Radians, see `places`.
    poles : bool
        Whether the first and the last row lie on the poles, so that the sine series begins with the constant 0.
    vector : bool
        Whether the waves are those of components of vectors.
    block : int, optional
        Points at a time; by default as many as take some 64 MB.

    Returns
    -------
    tensor (..., npoints)

    Raises
    ------
    OptionError
        If ``block`` is no number of points.
    """
    if block is not None and block < 1:
        message = f"block={block} came; wanted the number of points at a time, 1 or more"
        raise OptionError(message)
    lead = waves.shape[:-2]
    flat = torch.view_as_real(waves.reshape(-1, *waves.shape[-2:]))  # (batch, order, row, 2)
    series = [
        torch.einsum("kr,bmrc->kmcb", matrix.to(flat), flat[:, parity::2]).flatten(1, 2)
        for parity, matrix in zip((1, 0) if vector else (0, 1), matrices, strict=True)
    ]  # two of (term, 2 orders, batch)
    parities = (1, 0) if vector else (0, 1)
    first = 0 if poles else 1  # of the sine series
    batch, count = flat.shape[0], colatitude.numel()
    each = flat.element_size() * (2 * flat.shape[1] * (batch + 1) + 2 * series[0].shape[0])
    step = max(1, _MEMORY // each) if block is None else block
    tracked = torch.is_grad_enabled() and any(x.requires_grad for x in (*series, colatitude, longitude))

    def some(theta: Tensor, phi: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        total = theta.new_zeros(theta.shape[0], batch, dtype=cosine.dtype)
        for kind, (terms, parity) in enumerate(zip((cosine, sine), parities, strict=True)):
            if not terms.shape[1]:
                continue
            k = torch.arange(terms.shape[0], device=theta.device) + (first if kind else 0)
            angle = theta[:, None] * k
            table = (torch.sin(angle) if kind else torch.cos(angle)).to(terms.dtype)
            m = 2 * torch.arange(terms.shape[1] // 2, device=theta.device) + parity
            turn, count = phi[:, None] * m, torch.where(m == 0, 1, 2)
            wave = torch.stack([count * torch.cos(turn), -count * torch.sin(turn)], -1).flatten(1).to(terms.dtype)
            at_points = (table @ terms.flatten(1)).reshape(-1, *terms.shape[1:])
            total = total + (wave[:, None] @ at_points)[:, 0]
        return total  # (points, batch)

    parts = []
    for start in range(0, count, step):
        some_points = colatitude[start : start + step], longitude[start : start + step]
        if tracked and count > step:  # recompute in the backward pass: memory stays that of one block
            parts.append(checkpoint(some, *some_points, *series, use_reentrant=False))
        else:
            parts.append(some(*some_points, *series))
    total = torch.cat(parts) if parts else flat.new_zeros(0, batch)
    return total.mT.reshape(*lead, count)
