"""The generator of SRGAN: a deep residual network that multiplies the resolution in several stages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from xatmo.errors import DimensionError, OptionError
from xatmo.nn.blocks import ACTIVATIONS, LayerStyle, ResidualBlock, make_activation
from xatmo.nn.settings import from_json
from xatmo.nn.superres import noise as noises
from xatmo.nn.superres.upsampling.subpixel import icnr_

Padding = Literal["zeros", "reflect"]


@dataclass(frozen=True)
class SRGANConfig:
    """What makes an SRGAN generator.

    Attributes
    ----------
    factors : tuple of int
        One stage of upsampling for each, coarse to fine; the whole factor is their product.
    n_inputs, n_outputs : int
        Channels.
    n_static : int
        Static fields on the fine grid, read by the last convolution.
    n_noise : int
        Fields of noise on the fine grid, read by the first.
    channels, n_blocks : int
        Width, and number of residual blocks on the coarse grid.
    kernel : int
        Odd width of the first and the last convolution.
    padding : {"zeros", "reflect"}
        What these two find beyond the edge.
    activation : str
        A key of `xatmo.nn.blocks.ACTIVATIONS`.

    Raises
    ------
    OptionError
        If a value cannot be built.

    Examples
    --------
    >>> SRGANConfig.phire((2, 5)).factor, SRGANConfig.atmodist(n_inputs=2, n_outputs=2).kernel
    (10, 9)
    """

    factors: tuple[int, ...] = (2, 2)
    n_inputs: int = 1
    n_outputs: int = 1
    n_static: int = 0
    n_noise: int = 0
    channels: int = 64
    n_blocks: int = 16
    kernel: int = 9
    padding: Padding = "zeros"
    activation: str = "leaky_relu"

    kind: ClassVar[str] = "srgan"

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        whole = (isinstance(f, int) and not isinstance(f, bool) and f > 1 for f in self.factors)
        if not self.factors or not all(whole):
            message = f"factors={self.factors!r}; wanted whole numbers of at least 2, one for each stage"
            raise OptionError(message)
        least = {"n_inputs": 1, "n_outputs": 1, "n_static": 0, "n_noise": 0, "channels": 1, "n_blocks": 0, "kernel": 1}
        for name, smallest in least.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < smallest:
                message = f"{name}={value!r}; wanted a whole number of at least {smallest}"
                raise OptionError(message)
        if self.kernel % 2 == 0:
            message = f"kernel={self.kernel}; wanted an odd width, such as 3 or 9"
            raise OptionError(message)
        for name, known in (("padding", ["reflect", "zeros"]), ("activation", sorted(ACTIVATIONS))):
            if getattr(self, name) not in known:
                message = f"{name}={getattr(self, name)!r} is not available; possible are {known}"
                raise OptionError(message)

    @classmethod
    def phire(cls, factors: Sequence[int] = (2, 5), **settings: Any) -> SRGANConfig:
        """Choose as Stengel et al. 2020 (doi:10.1073/pnas.1918964117): 3 x 3 ends that mirror the field, ReLU.

        Wind is refined by ``(2, 5)``, then by ``(5,)``; sun by ``(5,)``, twice.
        """
        return replace(cls(tuple(factors), kernel=3, padding="reflect", activation="relu"), **settings)

    @classmethod
    def atmodist(cls, factors: Sequence[int] = (2, 2), **settings: Any) -> SRGANConfig:
        """Choose as Hoffmann and Lessig 2023 (arXiv:2109.09076): 9 x 9 ends with zeros beyond the edge, leaky ReLU."""
        return replace(cls(tuple(factors)), **settings)

    @property
    def factor(self) -> int:
        """Fine cells per coarse cell, along each axis."""
        return math.prod(self.factors)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with the kind that says who builds it."""
        return {"kind": self.kind, **asdict(self), "factors": list(self.factors)}


class SRGAN(nn.Module):
    r"""``tail(stages(y + join(blocks(y))))`` with ``y = act(stem(x))``, for normalized fields of any size.

    A stage is a convolution to ``channels * r**2`` features, a shuffle to a grid ``r`` times finer, an activation; its
    kernels start without checkerboard (`icnr_`). There is no interpolated baseline and no normalization.

    Parameters
    ----------
    config : SRGANConfig

    Notes
    -----
    Ledig et al. 2017, arXiv:1609.04802, without batch normalization, in the two shapes of `SRGANConfig.phire` and
    `SRGANConfig.atmodist`. PhIRE's transposed convolutions of stride 1 are convolutions with mirrored kernels whose
    axes of channels change places: weights carry over by ``weight.flip(-1, -2).transpose(0, 1)``. Each frame of a time
    window is refined by itself.

    Examples
    --------
    >>> net = SRGAN(SRGANConfig.phire((2, 5), channels=4, n_blocks=1))
    >>> net(torch.randn(2, 1, 3, 4)).shape, net.factor
    (torch.Size([2, 1, 30, 40]), 10)
    """

    def __init__(self, config: SRGANConfig) -> None:
        super().__init__()
        self.config, self.factor = config, config.factor
        self.n_static, self.n_noise, self.stochastic = config.n_static, config.n_noise, config.n_noise > 0
        wide, reach = config.channels, config.kernel // 2
        style = LayerStyle(activation=config.activation)
        n_in = config.n_inputs + noises.n_channels(config.n_noise, config.factor, fine=False)
        self.stem = nn.Conv2d(n_in, wide, config.kernel, padding=reach, padding_mode=config.padding)
        self.blocks = nn.Sequential(*(ResidualBlock(wide, style) for _ in range(config.n_blocks)))
        self.join = nn.Conv2d(wide, wide, 3, padding=1)
        self.stages = nn.Sequential()
        cells = float(reach + 2 * config.n_blocks + 1)
        finer = 1
        for factor in config.factors:
            expand = nn.Conv2d(wide, wide * factor**2, 3, padding=1)
            icnr_(expand.weight, factor)
            if expand.bias is not None:
                nn.init.zeros_(expand.bias)
            self.stages.append(nn.Sequential(expand, nn.PixelShuffle(factor), make_activation(config.activation)))
            cells += 1 / finer
            finer *= factor
        self.activation = make_activation(config.activation)
        read = wide + config.n_static
        self.tail = nn.Conv2d(read, config.n_outputs, config.kernel, padding=reach, padding_mode=config.padding)
        self.halo = math.ceil(cells + reach / finer)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(
        self, x: torch.Tensor, static: torch.Tensor | None = None, noise: torch.Tensor | None = None
    ) -> torch.Tensor:
        """``(batch, n_inputs, [time,] lat, lon)`` -> ``(batch, n_outputs, [time,] lat * factor, lon * factor)``.

        Parameters
        ----------
        x : Tensor
        static : Tensor (batch, n_static, lat * factor, lon * factor), optional
            Where the configuration has ``n_static``.
        noise : Tensor (batch, n_noise, [time,] lat * factor, lon * factor), optional
            Where it has ``n_noise``; None draws it.

        Raises
        ------
        DimensionError
            If static fields are missing or too many, or the field is too small to be mirrored at its edges.
        """
        if (0 if static is None else static.shape[1]) != self.n_static:
            came = 0 if static is None else static.shape[1]
            message = f"{came} static fields came; this network wants {self.n_static}: call network(x, static)"
            raise DimensionError(message)
        drawn = noises.noise_like(x, self.n_noise, self.factor, noise) if self.n_noise else None
        if drawn is None and noise is not None:
            message = f"noise {tuple(noise.shape)} came; this network takes none: it was made with n_noise=0"
            raise DimensionError(message)
        if x.ndim == 5:
            if static is not None:
                static = static.expand(x.shape[0], *static.shape[1:])
            frames = x.shape[2]
            static = None if static is None else static.repeat_interleave(frames, dim=0)
            drawn = None if drawn is None else drawn.transpose(1, 2).flatten(0, 1)
            fine = self._refine(x.transpose(1, 2).flatten(0, 1), static, drawn)
            return fine.reshape(-1, frames, *fine.shape[1:]).transpose(1, 2)
        return self._refine(x, static, drawn)

    def _refine(self, x: torch.Tensor, static: torch.Tensor | None, noise: torch.Tensor | None) -> torch.Tensor:
        least = self.config.kernel // 2 + 1
        if self.config.padding == "reflect" and min(x.shape[-2:]) < least:
            message = f"a field of {x.shape[-2]} x {x.shape[-1]} cells cannot be mirrored; wanted at least {least} each"
            raise DimensionError(message)
        if noise is not None:
            x = torch.cat([x, noises.to_coarse(noise, self.factor)], dim=1)
        y = self.activation(self.stem(x.contiguous(memory_format=torch.channels_last)))
        fine = self.stages(y + self.join(self.blocks(y)))
        if static is not None:
            static = static.expand(fine.shape[0], *static.shape[1:])
            fine = torch.cat([fine, static.to(fine.dtype)], dim=1)
        out: torch.Tensor = self.tail(fine).float()
        return out


def build(config: Mapping[str, Any]) -> SRGAN:
    """Build a network from what `SRGANConfig.to_dict` gave.

    Raises
    ------
    ConfigError
        If a setting is unknown to this version.
    """
    settings = from_json(SRGANConfig, config, "an SRGAN generator")
    return SRGAN(SRGANConfig(**{**settings, "factors": tuple(settings.get("factors", (2, 2)))}))
