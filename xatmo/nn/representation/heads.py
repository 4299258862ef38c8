"""Heads that compare the features of two patches: maps of both to scores of the lags."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, max_pool2d

from xatmo.nn.representation.config import RepresentationConfig
from xatmo.nn.representation.layers import Norms, SameConv2d, he_normal_


class PairHead(nn.Module):
    """The last maps of two patches to scores of the lags.

    Both maps are stacked, with their difference and its absolute value unless ``config.head`` is ``"stacked"``; two
    3 x 3 convolutions follow, the first of stride 2, each with batch normalization and ReLU; then one linear layer
    without bias over all cells. Maps of another size than that of the training patch are averaged to its size before
    the linear layer.

    Parameters
    ----------
    widths : sequence of int
        Channels of each stage's map; this head reads the last.
    cells : (int, int)
        Rows and columns of the last map of the training patch.
    config : RepresentationConfig
    """

    def __init__(self, widths: Sequence[int], cells: tuple[int, int], config: RepresentationConfig) -> None:
        super().__init__()
        width = config.head_channels
        norms = Norms(eps=config.norm_eps, momentum=config.norm_momentum)
        self.differences = config.head != "stacked"
        self.convolutions = nn.Sequential(
            SameConv2d((4 if self.differences else 2) * widths[-1], width, 3, stride=2), norms(width), nn.ReLU(),
            SameConv2d(width, width, 3), norms(width), nn.ReLU(),
        )  # fmt: skip
        self.scores = Scores(width, cells, config)

    def forward(self, first: Sequence[torch.Tensor], second: Sequence[torch.Tensor]) -> torch.Tensor:
        """Compare maps of both patches, stage by stage: ``(batch, channel, lat, lon) -> (batch, n_classes)``."""
        a, b = first[-1], second[-1]
        parts = [a, b, b - a, (b - a).abs()] if self.differences else [a, b]
        out: torch.Tensor = self.scores(self.convolutions(torch.cat(parts, dim=1)))
        return out


class PyramidHead(nn.Module):
    """The maps of two patches after every stage to scores of the lags.

    How far a pattern has moved shows best where the map is fine; how fast it moves, where each cell sees much. So both
    maps of each stage are compared by a 3 x 3 convolution, and what was found is carried on to the next stage, halved
    by a maximum over 2 x 2 cells and mixed in by another convolution.

    Parameters
    ----------
    widths : sequence of int
        Channels of each stage's map.
    cells : (int, int)
        Rows and columns of the last map of the training patch.
    config : RepresentationConfig
    """

    def __init__(self, widths: Sequence[int], cells: tuple[int, int], config: RepresentationConfig) -> None:
        super().__init__()
        norms = Norms(eps=config.norm_eps, momentum=config.norm_momentum)

        def block(n_inputs: int, n_outputs: int, stride: int = 1) -> nn.Module:
            return nn.Sequential(SameConv2d(n_inputs, n_outputs, 3, stride=stride), norms(n_outputs), nn.ReLU())

        # No wider than the head: the maps of a bottleneck network have up to 2048 channels.
        found = [min(w, config.head_channels) for w in widths]
        self.compare = nn.ModuleList(block(2 * w, n) for w, n in zip(widths, found, strict=True))
        self.mix = nn.ModuleList(block(before + n, n) for before, n in pairwise(found))
        self.last = block(found[-1], config.head_channels, 2)
        self.scores = Scores(config.head_channels, cells, config)

    def forward(self, first: Sequence[torch.Tensor], second: Sequence[torch.Tensor]) -> torch.Tensor:
        """Compare maps of both patches, stage by stage: ``(batch, channel, lat, lon) -> (batch, n_classes)``."""
        found: torch.Tensor | None = None
        for number, (a, b) in enumerate(zip(first, second, strict=True)):
            here: torch.Tensor = self.compare[number](torch.cat([a, b], dim=1))
            if found is not None:
                coarser = max_pool2d(found, 2, ceil_mode=True)
                here = self.mix[number - 1](torch.cat([coarser, here], dim=1))
            found = here
        out: torch.Tensor = self.scores(self.last(found))
        return out


class Scores(nn.Module):
    """One linear layer without bias over all cells of a map that is half as large as the encoder's last."""

    def __init__(self, width: int, cells: tuple[int, int], config: RepresentationConfig) -> None:
        super().__init__()
        self.cells = (-(-cells[0] // 2), -(-cells[1] // 2))
        self.dropout = nn.Dropout(config.dropout)
        self.linear = nn.Linear(width * self.cells[0] * self.cells[1], config.n_classes, bias=False)
        he_normal_(self.linear.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, channel, lat, lon) -> (batch, n_classes)``."""
        if tuple(x.shape[-2:]) != self.cells:
            x = adaptive_avg_pool2d(x, self.cells)
        out: torch.Tensor = self.linear(self.dropout(x.flatten(1)))
        return out


HEAD_TYPES: dict[str, type[PairHead] | type[PyramidHead]] = {
    "stacked": PairHead,
    "differences": PairHead,
    "pyramid": PyramidHead,
}
