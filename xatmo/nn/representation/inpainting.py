"""A network that fills a hole in the middle of a patch: an encoder, and a decoder back to the patch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import nn
from torch.nn.functional import interpolate

from xatmo.errors import ConfigError, DimensionError, OptionError
from xatmo.nn.representation.config import RepresentationConfig
from xatmo.nn.representation.encoder import Encoder
from xatmo.nn.representation.layers import Norms, SameConv2d

FEWEST_CHANNELS = 16
"""Channels that the decoder keeps on its finest maps, at least."""


@dataclass(frozen=True)
class InpaintingConfig:
    """An encoder, and the stage from which the patch is made again.

    Attributes
    ----------
    n_inputs : int
        Channels of a patch.
    patch_size : (int, int)
        Rows and columns of a patch.
    hole : (int, int)
        Rows and columns of the hole in its middle.
    encoder, stem : str
        See `RepresentationConfig`.
    stage : int
        1 to 4: the decoder begins after this stage of the encoder; later ones are not there.
    norm_momentum : float
    """

    n_inputs: int
    patch_size: tuple[int, int]
    hole: tuple[int, int]
    encoder: str = "small"
    stem: str = "auto"
    stage: int = 3
    norm_momentum: float = 0.01

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        for name in ("patch_size", "hole"):
            object.__setattr__(self, name, tuple(int(n) for n in getattr(self, name)))
        if self.stage not in (1, 2, 3, 4):
            message = f"stage={self.stage!r}; wanted 1 to 4"
            raise OptionError(message)
        if len(self.hole) != 2 or not all(0 < h < n - 1 for h, n in zip(self.hole, self.patch_size, strict=False)):
            message = f"hole={self.hole}; wanted rows and columns, two fewer or less than those of {self.patch_size}"
            raise OptionError(message)
        _ = self.representation

    @property
    def representation(self) -> RepresentationConfig:
        """Of the encoder."""
        return RepresentationConfig(
            self.n_inputs, 2, self.patch_size, encoder=self.encoder, stem=self.stem, norm_momentum=self.norm_momentum
        )

    @property
    def rows(self) -> slice:
        """Rows of the hole."""
        first = (self.patch_size[0] - self.hole[0]) // 2
        return slice(first, first + self.hole[0])

    @property
    def columns(self) -> slice:
        """Columns of the hole."""
        first = (self.patch_size[1] - self.hole[1]) // 2
        return slice(first, first + self.hole[1])

    def to_dict(self) -> dict[str, Any]:
        """Give what JSON can hold, with the kind of network."""
        return {
            "kind": "inpainting", **asdict(self), "patch_size": list(self.patch_size), "hole": list(self.hole),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> InpaintingConfig:
        """Undo `to_dict`.

        Raises
        ------
        ConfigError
            If a setting is unknown to this version, or missing.
        """
        settings = {k: v for k, v in state.items() if k != "kind"}
        if unknown := sorted(set(settings) - {f.name for f in fields(cls)}):
            message = f"the network has settings {unknown}, which this version does not know; upgrade xatmo"
            raise ConfigError(message)
        try:
            return cls(**settings)
        except TypeError as error:
            message = f"the network's settings are incomplete: {error}"
            raise ConfigError(message) from error


class Inpainting(nn.Module):
    """Fill the hole in the middle of a patch from what lies around it.

    The hole is set to 0, the mean, before the encoder sees the patch, whatever is in it. The decoder doubles the map
    until it has the size of the patch: each time the nearest cell, a 3 x 3 convolution, batch normalization and ReLU;
    a last convolution gives the channels. Outside of the hole the patch comes back as it came.

    Parameters
    ----------
    config : InpaintingConfig

    Attributes
    ----------
    encoder : Encoder

    Examples
    --------
    >>> net = Inpainting(InpaintingConfig(1, (32, 32), (8, 8), encoder="tiny")).eval()
    >>> x = torch.randn(2, 1, 32, 32)
    >>> filled = net(x)
    >>> int((filled != x).sum())
    128
    """

    def __init__(self, config: InpaintingConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.representation)
        # Stages beyond the decoder's would never be trained.
        self.encoder.stages = self.encoder.stages[: config.stage]
        self.encoder.widths = self.encoder.widths[: config.stage]
        self.encoder.n_features = width = self.encoder.widths[-1]
        self.encoder.stride //= 2 ** (4 - config.stage)
        norms = Norms(eps=1.001e-5, momentum=config.norm_momentum)
        blocks: list[nn.Module] = []
        steps = self.encoder.stride.bit_length() - 1
        for _ in range(max(steps, 1)):
            narrower = max(width // 2, FEWEST_CHANNELS)
            blocks.append(nn.Sequential(SameConv2d(width, narrower, 3), norms(narrower), nn.ReLU()))
            width = narrower
        self.blocks = nn.ModuleList(blocks)
        self.last = SameConv2d(width, config.n_inputs, 3, bias=True)
        nn.init.zeros_(self.last.weight)  # begins with the mean
        hole = torch.zeros(1, 1, *config.patch_size)
        hole[..., config.rows, config.columns] = 1
        self.register_buffer("hole", hole, persistent=False)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, patch: torch.Tensor) -> torch.Tensor:
        """``(batch, n_inputs, lat, lon)``, normalized, in and out.

        Raises
        ------
        DimensionError
            If the patch has another size.
        """
        wanted = (self.config.n_inputs, *self.config.patch_size)
        if patch.ndim != 4 or tuple(patch.shape[1:]) != wanted:
            message = f"the network got {tuple(patch.shape)}; wanted (batch, {', '.join(map(str, wanted))})"
            raise DimensionError(message)
        hole = self.get_buffer("hole").to(patch.dtype)
        around = torch.where(hole > 0, torch.zeros_like(patch), patch)
        x = self.encoder(around)
        rows, columns = self.config.patch_size
        for number, block in enumerate(self.blocks, start=1):
            left = len(self.blocks) - number
            x = block(interpolate(x, size=(-(-rows // 2**left), -(-columns // 2**left)), mode="nearest"))
        return torch.where(hole > 0, self.last(x).to(patch.dtype), patch)


def build_inpainting(config: Mapping[str, Any]) -> Inpainting:
    """Build a network from what `InpaintingConfig.to_dict` gave.

    Raises
    ------
    ConfigError
        If a setting is unknown to this version.
    """
    return Inpainting(InpaintingConfig.from_dict(config))
