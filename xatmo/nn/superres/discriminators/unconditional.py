"""The discriminator of SRGAN: it judges the fine field alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from xatmo.errors import DimensionError, OptionError
from xatmo.nn.superres.discriminators.layers import Convolution, Dense


@dataclass(frozen=True)
class SRGANDiscriminatorConfig:
    """What makes the discriminator of SRGAN.

    Attributes
    ----------
    n_outputs : int
        Channels of the fine field.
    widths, strides : tuple of int
        Of the 3 x 3 convolutions.
    dense : int
        Width of the dense layer.
    spectral_norm : bool
        Whether all weights are divided by their largest singular value.
    shape : (int, int), optional
        Fine cells along latitude and longitude, for the head of the published network: all features of the last
        map, flattened, so that the size is fixed. None: their mean over the field, for any size.

    Raises
    ------
    OptionError
        If a value cannot be built.
    """

    n_outputs: int = 1
    widths: tuple[int, ...] = (32, 32, 64, 64, 128, 128, 256, 256)
    strides: tuple[int, ...] = (1, 2, 1, 2, 1, 2, 1, 2)
    dense: int = 1024
    spectral_norm: bool = False
    shape: tuple[int, int] | None = None

    kind: ClassVar[str] = "srgan"

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        numbers = (self.n_outputs, self.dense, *self.widths, *self.strides, *(self.shape or ()))
        if any(not isinstance(n, int) or isinstance(n, bool) or n < 1 for n in numbers):
            message = f"{self}: wanted whole numbers of at least 1 for n_outputs, widths, strides, dense and shape"
            raise OptionError(message)
        if not self.widths or len(self.widths) != len(self.strides):
            message = f"{len(self.widths)} widths and {len(self.strides)} strides came; wanted one of each per layer"
            raise OptionError(message)
        cells: Sequence[int] | None = self.shape
        if cells is not None and len(cells) != 2:
            message = f"shape={cells!r}; wanted two numbers of cells, latitude and longitude"
            raise OptionError(message)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        shape = None if self.shape is None else list(self.shape)
        lists = {"widths": list(self.widths), "strides": list(self.strides), "shape": shape}
        return {"kind": self.kind, **asdict(self), **lists}


class SRGANDiscriminator(nn.Module):
    """Eight convolutions that halve the grid four times, a dense layer, one logit.

    Ledig et al. 2017, arXiv:1609.04802, without batch normalization, as in PhIRE (Stengel et al. 2020). Each frame of a
    time window is judged; the logit is their mean.

    Parameters
    ----------
    config : SRGANDiscriminatorConfig

    Examples
    --------
    >>> judge = SRGANDiscriminator(SRGANDiscriminatorConfig(n_outputs=2))
    >>> judge(torch.randn(3, 2, 40, 56)).shape
    torch.Size([3, 1])
    """

    conditional = False

    def __init__(self, config: SRGANDiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        spectral, n = config.spectral_norm, config.n_outputs
        layers: list[nn.Module] = []
        rows, columns = config.shape or (1, 1)
        for width, stride in zip(config.widths, config.strides, strict=True):
            layers += [Convolution(n, width, 3, stride=stride, spectral=spectral), nn.LeakyReLU(0.2)]
            n, rows, columns = width, -(-rows // stride), -(-columns // stride)
        self.features = nn.Sequential(*layers)
        cells = 1 if config.shape is None else rows * columns
        self.pool: nn.Module = nn.AdaptiveAvgPool2d(1) if config.shape is None else nn.Identity()
        self.head = nn.Sequential(
            nn.Flatten(), Dense(n * cells, config.dense, spectral=spectral), nn.LeakyReLU(0.2),
            Dense(config.dense, 1, spectral=spectral),
        )  # fmt: skip
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(
        self, fine: torch.Tensor, coarse: torch.Tensor | None = None, static: torch.Tensor | None = None
    ) -> torch.Tensor:
        """``(batch, n_outputs, [time,] lat, lon)`` -> logits ``(batch, 1)``; the other fields are not looked at.

        Raises
        ------
        DimensionError
            If the head is made for another size.
        """
        if self.config.shape is not None and tuple(fine.shape[-2:]) != tuple(self.config.shape):
            rows, columns = fine.shape[-2:]
            message = (
                f"a field of {rows} x {columns} cells came; this discriminator is made for {self.config.shape}. "
                "Make it with shape=None to judge any size"
            )
            raise DimensionError(message)
        if fine.ndim == 5:
            return self._judge(fine.transpose(1, 2).flatten(0, 1)).reshape(len(fine), -1, 1).mean(dim=1)
        return self._judge(fine)

    def _judge(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.pool(self.features(x.contiguous(memory_format=torch.channels_last)))).float()
        return out
