"""The network that tells how far two patches lie apart in time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from xatmo.errors import DimensionError
from xatmo.nn.representation.config import RepresentationConfig
from xatmo.nn.representation.encoder import Encoder
from xatmo.nn.representation.layers import Norms, SameConv2d, he_normal_


class PairHead(nn.Module):
    """Two maps of features to scores of the lags.

    Both maps are stacked; two 3 x 3 convolutions, the first of stride 2, each with batch normalization and ReLU; then
    one linear layer without bias over all cells. Maps of another size than that of the training patch are averaged to
    its size before the linear layer.

    Parameters
    ----------
    n_features : int
        Channels of one map.
    cells : (int, int)
        Rows and columns of a map of the training patch.
    config : RepresentationConfig
    """

    def __init__(self, n_features: int, cells: tuple[int, int], config: RepresentationConfig) -> None:
        super().__init__()
        width = config.head_channels
        norms = Norms(eps=config.norm_eps, momentum=config.norm_momentum)
        self.cells = (-(-cells[0] // 2), -(-cells[1] // 2))
        self.convolutions = nn.Sequential(
            SameConv2d(2 * n_features, width, 3, stride=2), norms(width), nn.ReLU(),
            SameConv2d(width, width, 3), norms(width), nn.ReLU(),
        )  # fmt: skip
        self.dropout = nn.Dropout(config.dropout)
        self.scores = nn.Linear(width * self.cells[0] * self.cells[1], config.n_classes, bias=False)
        he_normal_(self.scores.weight)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Two ``(batch, n_features, lat, lon) -> (batch, n_classes)``."""
        x = self.convolutions(torch.cat([first, second], dim=1))
        if tuple(x.shape[-2:]) != self.cells:
            x = nn.functional.adaptive_avg_pool2d(x, self.cells)
        out: torch.Tensor = self.scores(self.dropout(x.flatten(1)))
        return out


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
    head : PairHead

    Examples
    --------
    >>> net = PairClassifier(RepresentationConfig(n_inputs=2, n_classes=23, patch_size=(160, 160)))
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
        self.head = PairHead(self.encoder.n_features, (cells[0], cells[1]), config)
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
        features = self.encoder(pair.transpose(0, 1).flatten(0, 1))
        first, second = features.chunk(2)
        out: torch.Tensor = self.head(first, second)
        return out


def build(config: Mapping[str, Any]) -> PairClassifier:
    """Build a network from what `RepresentationConfig.to_dict` gave.

    Raises
    ------
    ConfigError
        If a setting is unknown to this version.
    """
    return PairClassifier(RepresentationConfig.from_dict(config))
