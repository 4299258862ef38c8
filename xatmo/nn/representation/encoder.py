"""Encoders: a patch to a small map of features, with every stage under a name."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from xatmo.errors import DimensionError, OptionError
from xatmo.nn.representation.config import STEMS, RepresentationConfig
from xatmo.nn.representation.layers import BasicBlock, Bottleneck, MaxPool, Norms, SameConv2d


@dataclass(frozen=True)
class Architecture:
    """Width of the stem, and of each stage its width and number of blocks."""

    stem: int
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    block: type[BasicBlock] | type[Bottleneck]


ARCHITECTURES: dict[str, Architecture] = {
    # The encoder of AtmoDist (Hoffmann and Lessig 2023, Environmental Data Science).
    "small": Architecture(16, (16, 32, 64, 128), (6, 6, 6, 6), BasicBlock),
    # The same with a sixth of its depth.
    "tiny": Architecture(16, (16, 32, 64, 128), (1, 1, 1, 1), BasicBlock),
    # He et al. 2016, arXiv:1512.03385.
    "resnet18": Architecture(64, (64, 128, 256, 512), (2, 2, 2, 2), BasicBlock),
    "resnet50": Architecture(64, (64, 128, 256, 512), (3, 4, 6, 3), Bottleneck),
}


class Encoder(nn.Module):
    """A residual network of four stages.

    Each stage after the first halves the map. Layers are called ``"stem"``, ``"stage1"`` to ``"stage4"``, and, block by
    block, ``"stage3.0"`` ...

    Parameters
    ----------
    config : RepresentationConfig

    Attributes
    ----------
    stride : int
        Cells of a patch for one of the last map.
    n_features : int
        Channels of the last map.
    widths : tuple of int
        Channels of each stage's map.

    Examples
    --------
    >>> encoder = Encoder(RepresentationConfig(2, 23, (160, 160)))
    >>> encoder(torch.zeros(1, 2, 160, 160)).shape, encoder.features(torch.zeros(1, 2, 160, 160), "stage3").shape
    (torch.Size([1, 128, 5, 5]), torch.Size([1, 64, 10, 10]))
    """

    def __init__(self, config: RepresentationConfig) -> None:
        super().__init__()
        self.n_inputs = config.n_inputs
        made = ARCHITECTURES[config.encoder]
        norms = Norms(eps=config.norm_eps, momentum=config.norm_momentum)
        kind = config.resolved_stem
        first = SameConv2d(config.n_inputs, made.stem, *((3,) if kind == "plain" else (8,)),
                           stride=1 if kind == "plain" else 2, bias=True)  # fmt: skip
        pool = [MaxPool()] if kind == "pooled" else []
        self.stem = nn.Sequential(first, norms(made.stem), nn.ReLU(), *pool)
        width = made.stem
        stages: list[nn.Module] = []
        for number, (channels, n_blocks) in enumerate(zip(made.widths, made.blocks, strict=True)):
            blocks = []
            for k in range(n_blocks):
                blocks.append(made.block(width, channels, 2 if number and k == 0 else 1, norms))
                width = channels * made.block.expansion
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.widths = tuple(channels * made.block.expansion for channels in made.widths)
        self.n_features, self.stride = width, 8 * STEMS[kind]

    @property
    def layers(self) -> tuple[str, ...]:
        """Names that `features` takes, in the order of the network."""
        found = ["stem"]
        for number, stage in enumerate(self.stages, start=1):
            blocks = len(list(stage.children()))
            found += [f"stage{number}.{k}" for k in range(blocks - 1)] + [f"stage{number}"]
        return tuple(found)

    def maps(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Give the map after every stage, ``(batch, channel, lat, lon)``."""
        x = self.features(x, "stem")
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, n_inputs, lat, lon) -> (batch, n_features, lat / stride, lon / stride)``, sizes rounded up."""
        return self.features(x, None)

    def features(self, x: torch.Tensor, layer: str | None = None) -> torch.Tensor:
        """Give the map after a layer; None is the last.

        Parameters
        ----------
        x : Tensor (batch, n_inputs, lat, lon)
            Normalized.
        layer : str, optional
            One of `layers`.

        Raises
        ------
        OptionError
            If there is no such layer.
        DimensionError
            If ``x`` has other axes or channels.
        """
        if x.ndim != 4 or x.shape[1] != self.n_inputs:
            message = f"the encoder got {tuple(x.shape)}; wanted (batch, {self.n_inputs} channels, lat, lon)"
            raise DimensionError(message)
        wanted = self.require(layer)
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        if wanted == "stem":
            return x
        for number, stage in enumerate(self.stages, start=1):
            for k, block in enumerate(stage.children()):
                x = block(x)
                if wanted == f"stage{number}.{k}":
                    return x
            if wanted == f"stage{number}":
                return x
        return x

    def require(self, layer: str | None) -> str:
        """Give the name of a layer; None is the last.

        Raises
        ------
        OptionError
            If there is no such layer.
        """
        if layer is None:
            return self.layers[-1]
        if layer not in self.layers:
            message = f"layer={layer!r} is not in this encoder; wanted one of {list(self.layers)}"
            raise OptionError(message)
        return layer
