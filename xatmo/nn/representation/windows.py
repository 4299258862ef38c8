"""Run an encoder, or the network that tells lags, over many windows. NumPy arrays at the edges, tensors inside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from xatmo.errors import OptionError
from xatmo.nn.representation.encoder import Encoder
from xatmo.nn.tiled import resolve_device

Array = NDArray[Any]

BATCH = 64
"""Windows in one forward pass."""


def encoder_of(network: nn.Module) -> Encoder:
    """Give the encoder of a network.

    Raises
    ------
    OptionError
        If it has none.
    """
    found = getattr(network, "encoder", None)
    if not callable(getattr(found, "features", None)):
        message = (
            f"{type(network).__name__} has no encoder with named layers; wanted the model of an AtmoDist task, or a "
            "network with an attribute `encoder` that has `features(x, layer)`, `layers` and `require(layer)`"
        )
        raise OptionError(message)
    return found  # type: ignore[return-value]


def map_shape(network: nn.Module, layer: str | None, patch: tuple[int, int]) -> tuple[int, int, int]:
    """Channels, rows and columns of the map that a layer makes of a window."""
    encoder = encoder_of(network)
    tensor = next(encoder.parameters())
    with torch.inference_mode():
        zeros = torch.zeros(1, encoder.n_inputs, *patch, device=tensor.device, dtype=tensor.dtype)
        channels, rows, columns = encoder.eval().features(zeros, layer).shape[1:]
    return int(channels), int(rows), int(columns)


def encode(network: nn.Module, windows: Array, layer: str | None) -> Array:
    """Features of windows.

    Parameters
    ----------
    network : torch.nn.Module
        With an ``encoder``, on the device where it shall run.
    windows : array (n, channel, lat, lon)
        Normalized.
    layer : str or None

    Returns
    -------
    array (n, channel, row, column), float32
    """
    encoder = encoder_of(network).eval()
    device = next(encoder.parameters()).device
    parts = []
    with torch.inference_mode():
        for first in range(0, len(windows), BATCH):
            x = torch.from_numpy(np.ascontiguousarray(windows[first : first + BATCH], dtype=np.float32)).to(device)
            parts.append(encoder.features(x, layer).float().cpu().numpy())
    return np.concatenate(parts)


def probabilities(
    network: nn.Module, batches: Iterable[tuple[torch.Tensor, Any]], *, device: str = "auto"
) -> Iterator[tuple[Array, Any]]:
    """Probability of each lag, batch by batch: ``(batch, n_classes)``, and what came beside the pairs."""
    place = resolve_device(device)
    before = next((p.device for p in network.parameters()), torch.device("cpu"))
    network.to(place).eval()
    try:
        for pair, beside in batches:
            with torch.inference_mode():
                scores = network(pair.to(place)).float()
            yield torch.softmax(scores, dim=1).cpu().numpy(), beside
    finally:
        network.to(before)


def differences(
    network: nn.Module, pairs: torch.Tensor, fields: torch.Tensor, layer: str | None
) -> dict[str, NDArray[np.float64]]:
    r"""How far two patches lie apart, pair by pair, in features and in the fields themselves.

    Parameters
    ----------
    network : torch.nn.Module
    pairs : Tensor (batch, 2, channel, lat, lon)
        Normalized.
    fields : Tensor (batch, 2, channel, lat, lon)
        In standard deviations.
    layer : str or None

    Returns
    -------
    dict of array (batch,)
        ``content``: mean squared difference of features. ``l1``, ``l2``: mean absolute and squared difference of
        fields. ``psnr``: ``50 - PSNR``, with :math:`10 \log_{10}(R^2 / l_2)` and the range :math:`R` of both patches.
        ``ssim``: ``(1 - SSIM) / 2`` over 7 x 7 cells (Wang et al. 2004).
    """
    encoder = encoder_of(network).eval()
    device = next(encoder.parameters()).device
    with torch.inference_mode():
        stacked = pairs.transpose(0, 1).flatten(0, 1).to(device)
        first, second = encoder.features(stacked, layer).float().chunk(2)
        content = (first - second).square().flatten(1).mean(dim=1).cpu()
        error = (fields[:, 0] - fields[:, 1]).double()
        l2 = error.square().flatten(1).mean(dim=1)
        low, high = fields.double().amin(dim=(1, 3, 4)), fields.double().amax(dim=(1, 3, 4))
        extent = (high - low).clamp_min(1e-12)
        each = error.square().flatten(2).mean(dim=2).clamp_min(1e-24)
        psnr = (10 * torch.log10(extent.square() / each)).mean(dim=1)
        found = {
            "content": content.double(), "l1": error.abs().flatten(1).mean(dim=1), "l2": l2,
            "psnr": 50 - psnr, "ssim": (1 - _ssim(fields[:, 0].double(), fields[:, 1].double(), extent)) / 2,
        }  # fmt: skip
    return {name: np.asarray(values.numpy(), dtype=np.float64) for name, values in found.items()}


def _ssim(x: torch.Tensor, y: torch.Tensor, extent: torch.Tensor) -> torch.Tensor:
    """Mean structural similarity ``(batch,)`` of ``(batch, channel, lat, lon)``."""
    size = min(7, *x.shape[-2:])

    def mean(a: torch.Tensor) -> torch.Tensor:
        return nn.functional.avg_pool2d(a, size, stride=1)

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    c1, c2 = ((k * extent[..., None, None]) ** 2 for k in (0.01, 0.03))
    found = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return found.flatten(1).mean(dim=1)
