"""The network that tells how far two patches lie apart in time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from xatmo.errors import DimensionError
from xatmo.nn.representation.config import RepresentationConfig
from xatmo.nn.representation.encoder import Encoder
from xatmo.nn.representation.heads import HEAD_TYPES


class PairClassifier(nn.Module):
    r"""Scores of the lags between two patches of the same place.

    :math:`h(E(x_1), E(x_2))` with one encoder :math:`E` for both and a head :math:`h`; the softmax of the scores is the
    probability of each lag. Class :math:`k` is the lag of :math:`k + 1` steps. Hoffmann and Lessig 2023 (AtmoDist).

    Parameters
    ----------
    config : RepresentationConfig

    Attributes
    ----------
    encoder : Encoder
    head : PairHead or PyramidHead

    Examples
    --------
    >>> net = PairClassifier(RepresentationConfig(n_inputs=2, n_classes=23, patch_size=(160, 160), head="stacked"))
    >>> sum(p.numel() for p in net.parameters())
    2741296
    >>> net = PairClassifier(RepresentationConfig(n_inputs=1, n_classes=8, patch_size=(32, 48)))
    >>> net(torch.zeros(5, 2, 1, 32, 48)).shape
    torch.Size([5, 8])
    """

    def __init__(self, config: RepresentationConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        cells = tuple(-(-n // self.encoder.stride) for n in config.patch_size)
        self.head = HEAD_TYPES[config.head](self.encoder.widths, (cells[0], cells[1]), config)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, pair: torch.Tensor) -> torch.Tensor:
        """Score.

        Parameters
        ----------
        pair : Tensor (batch, 2, n_inputs, lat, lon)
            Normalized; the earlier patch first.

        Returns
        -------
        Tensor (batch, n_classes)

        Raises
        ------
        DimensionError
            If something else came.
        """
        if pair.ndim != 5 or pair.shape[1] != 2:
            message = f"the network got {tuple(pair.shape)}; wanted (batch, 2 times, {self.config.n_inputs}, lat, lon)"
            raise DimensionError(message)
        # Both patches go through the encoder as one batch, so that its statistics are those of both.
        maps = [m.chunk(2) for m in self.encoder.maps(pair.transpose(0, 1).flatten(0, 1))]
        out: torch.Tensor = self.head([a for a, _ in maps], [b for _, b in maps])
        return out


def build(config: Mapping[str, Any]) -> PairClassifier:
    """Build a network from what `RepresentationConfig.to_dict` gave.

    Raises
    ------
    ConfigError
        If a setting is unknown to this version.
    """
    return PairClassifier(RepresentationConfig.from_dict(config))
