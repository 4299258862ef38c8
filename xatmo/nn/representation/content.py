"""A distance between fields in the features of a frozen encoder, as a loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from xatmo.errors import DimensionError, MissingValueError, OptionError
from xatmo.nn.representation.encoder import Encoder


@dataclass(frozen=True)
class Conversion:
    """From the normalized units of one network to those of an encoder, channel by channel.

    Attributes
    ----------
    channels : tuple of int
        For each channel of the encoder, that of the fields which serves it.
    undo, redo : tuple of tuple of float
        For each channel of the encoder: centre and scale, and for ``"log1p"`` those of the logarithm, of the fields
        (undone) and of the encoder (done). Empty: the units are the same.
    units : tuple of (float, float)
        For each channel ``scale, offset`` between the physical units of both.
    amplitude : float
        The a in sign(z) log(1 + a |z|).
    """

    channels: tuple[int, ...]
    undo: tuple[tuple[float, ...], ...] = ()
    redo: tuple[tuple[float, ...], ...] = ()
    units: tuple[tuple[float, float], ...] = ()
    amplitude: float = 0.2

    def __call__(self, fields: torch.Tensor) -> torch.Tensor:
        """``(batch, channel, lat, lon)`` in the units of the fields to those of the encoder."""
        found = [self._one(fields[:, c], k) for k, c in enumerate(self.channels)]
        return torch.stack(found, dim=1)

    def _one(self, x: torch.Tensor, k: int) -> torch.Tensor:
        if not self.undo:
            return x
        center, scale, *logs = self.undo[k]
        to_center, to_scale, *to_logs = self.redo[k]
        if logs:
            w = x * logs[1] + logs[0]
            x = torch.sign(w) * torch.expm1(w.abs()) / self.amplitude
        # In one step, so that no large number (a temperature in K) takes the digits of a small anomaly.
        slope, offset = self.units[k] if self.units else (1.0, 0.0)
        z = x * (scale * slope / to_scale) + (center * slope + offset - to_center) / to_scale
        if not to_logs:
            return z
        return (torch.sign(z) * torch.log1p(self.amplitude * z.abs()) - to_logs[0]) / to_logs[1]


class ContentLoss(nn.Module):
    r"""``scale`` times the mean squared difference of features.

    :math:`\alpha\,\overline{(E_l(p) - E_l(t))^2}` over channels and cells of layer :math:`l` of an encoder that is
    frozen and in evaluation mode. Gradients reach the prediction only. Hoffmann and Lessig 2023 (AtmoDist).

    Parameters
    ----------
    encoder : Encoder
        Copied weights stay as they are; they take no gradient.
    layer : str, optional
        None is the encoder's last.
    scale : float
        :math:`\alpha`.
    conversion : Conversion, optional
        From the units of the fields to the encoder's.

    Raises
    ------
    OptionError
        If the layer is unknown or the scale is not a positive number.

    Examples
    --------
    >>> from xatmo.nn.representation import Encoder, RepresentationConfig
    >>> loss = ContentLoss(Encoder(RepresentationConfig(1, 8, (32, 32))), layer="stage3", scale=2.0)
    >>> x = torch.randn(2, 1, 32, 32)
    >>> float(loss(x, x))
    0.0
    """

    def __init__(
        self, encoder: Encoder, layer: str | None = None, scale: float = 1.0, conversion: Conversion | None = None
    ) -> None:
        super().__init__()
        if not 0 < scale < float("inf"):
            message = f"scale={scale!r}; wanted a positive number"
            raise OptionError(message)
        self.layer, self.scale, self.conversion = encoder.require(layer), float(scale), conversion
        self.encoder = encoder.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> ContentLoss:
        """Stay in evaluation mode: the encoder's statistics are those of its own training."""
        return super().train(False)

    def forward(
        self, prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None
    ) -> torch.Tensor:
        """One number.

        Parameters
        ----------
        prediction, target : Tensor (batch, channel, [time,] lat, lon)
            Normalized; a time axis joins the batch.
        weight : Tensor, optional
            Cells have none in a map of features: only None, or one that is the same everywhere, is taken.

        Raises
        ------
        MissingValueError
            If a target is missing.
        OptionError
            If cells have weights.
        """
        if weight is not None and weight.numel() > 1 and bool((weight != weight.flatten()[0]).any()):
            message = "cells have different weights; features have none: leave loss_weights out with this loss"
            raise OptionError(message)
        if not bool(target.isfinite().all()):
            message = "the target has missing values; features need whole patches: use valid=1.0, or another loss"
            raise MissingValueError(message)
        ours = self.features(prediction)
        with torch.no_grad():
            theirs = self.features(target)
        return self.scale * (ours.float() - theirs.float()).square().mean()

    def features(self, fields: torch.Tensor) -> torch.Tensor:
        """Features of normalized fields ``(batch, channel, [time,] lat, lon)``."""
        if fields.ndim == 5:
            fields = fields.transpose(1, 2).flatten(0, 1)
        if fields.ndim != 4:
            message = f"fields are {tuple(fields.shape)}; wanted (batch, channel, [time,] lat, lon)"
            raise DimensionError(message)
        if self.conversion is not None:
            fields = self.conversion(fields.float())
        return self.encoder.features(fields, self.layer)


def least_squares_scale(content: Sequence[float], wanted: Sequence[float]) -> float:
    r"""Give the factor that brings one curve over lag nearest to another, over the upper half of the lags.

    :math:`\alpha = \sum c_l m_l / \sum c_l^2` over the larger half of lags :math:`l`: with it a content loss is as
    large as the mean squared error between fields that lie that far apart.

    Parameters
    ----------
    content, wanted : sequence of float
        One number for each lag, from the least on; those that are not finite do not count.

    Raises
    ------
    OptionError
        If there is nothing to fit.

    Examples
    --------
    >>> least_squares_scale([9.0, 9.0, 1.0, 2.0], [0.0, 0.0, 3.0, 6.0])
    3.0
    """
    pairs = list(zip(content, wanted, strict=True))[len(content) // 2 :]
    used = [(c, m) for c, m in pairs if abs(c) < float("inf") and abs(m) < float("inf")]
    bottom = sum(c * c for c, _ in used)
    if not bottom > 0:
        message = f"features do not differ between patches at lags {len(content) // 2 + 1} to {len(content)}; no scale"
        raise OptionError(message)
    return sum(c * m for c, m in used) / bottom
