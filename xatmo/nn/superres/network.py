"""The whole network: coarse fields in, fine fields out, as a correction of the interpolated ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import nn

from xatmo.errors import ConfigError, OptionError
from xatmo.nn.superres.backbones import BACKBONES
from xatmo.nn.superres.interpolation import KERNELS, Interpolation
from xatmo.nn.superres.upsampling import UPSAMPLINGS


@dataclass(frozen=True)
class SuperResolutionConfig:
    """What makes a network.

    Attributes
    ----------
    factor : int
        Fine cells per coarse cell, along each axis.
    n_inputs, n_outputs : int
        Channels.
    backbone : str
        A key of `BACKBONES`.
    upsampling : str
        A key of `UPSAMPLINGS`.
    channels, n_blocks : int
        Width and depth of the backbone.
    baseline : {"bicubic", "bilinear"}
        Interpolation that the network corrects.
    baseline_channels : tuple of int
        For each output the input channel that holds the same variable, -1 where none does (its baseline is 0).
    row_offset, column_offset : float
        See `Interpolation`.
    """

    factor: int
    n_inputs: int = 1
    n_outputs: int = 1
    backbone: str = "residual"
    upsampling: str = "subpixel"
    channels: int = 48
    n_blocks: int = 4
    baseline: str = "bicubic"
    baseline_channels: tuple[int, ...] = (0,)
    row_offset: float = 0.0
    column_offset: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        for name, known in (("backbone", BACKBONES), ("upsampling", UPSAMPLINGS), ("baseline", KERNELS)):
            require_option(name, getattr(self, name), known)
        for name, least in (("factor", 1), ("n_inputs", 1), ("n_outputs", 1), ("channels", 1), ("n_blocks", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                message = f"{name}={value!r}; wanted a whole number of at least {least}"
                raise OptionError(message)
        if len(self.baseline_channels) != self.n_outputs or not all(
            -1 <= c < self.n_inputs for c in self.baseline_channels
        ):
            message = (
                f"baseline_channels={self.baseline_channels!r}; wanted for each of {self.n_outputs} outputs one of the "
                f"{self.n_inputs} input channels, or -1"
            )
            raise OptionError(message)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with the kind that `xatmo.model` looks up."""
        return {"kind": "superresolver", **asdict(self), "baseline_channels": list(self.baseline_channels)}


def require_option(name: str, value: object, known: Mapping[str, object]) -> None:
    """Raise `OptionError` that lists what is possible."""
    if value not in known:
        message = f"{name}={value!r} is not available; possible are {sorted(known)}"
        raise OptionError(message)


class SuperResolution(nn.Module):
    """``baseline(x) + upsampling(backbone(x))``, for normalized fields of any size.

    Parameters
    ----------
    config : SuperResolutionConfig

    Notes
    -----
    Convolutions pad with zeros, the mean in normalized units. The caller gives ``halo`` cells more at an edge where
    there are data beyond it (as tiled inference does). Weights and activations lie channels last, which is the faster
    layout on CPU and GPU. The sum is done in float32.

    Examples
    --------
    An untrained network is its baseline:

    >>> net = SuperResolution(SuperResolutionConfig(factor=3, channels=8, n_blocks=1))
    >>> x = torch.randn(2, 1, 5, 7)
    >>> net(x).shape, bool(torch.equal(net(x), Interpolation(3)(x)))
    (torch.Size([2, 1, 15, 21]), True)
    """

    def __init__(self, config: SuperResolutionConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = BACKBONES[config.backbone](config.n_inputs, config.channels, config.n_blocks)
        self.upsampling = UPSAMPLINGS[config.upsampling](config.channels, config.n_outputs, config.factor)
        self.baseline = Interpolation(
            config.factor, config.baseline, row_offset=config.row_offset, column_offset=config.column_offset
        )
        halos = [int(getattr(part, "halo", 0)) for part in (self.backbone, self.upsampling)]
        self.halo = max(sum(halos), self.baseline.halo)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, n_inputs, lat, lon)`` -> ``(batch, n_outputs, lat * factor, lon * factor)``, float32."""
        x = x.contiguous(memory_format=torch.channels_last)
        correction: torch.Tensor = self.upsampling(self.backbone(x)).float()
        sources = self.config.baseline_channels
        with_baseline = [i for i, c in enumerate(sources) if c >= 0]
        if not with_baseline:
            return correction
        baseline: torch.Tensor = self.baseline(x[:, [sources[i] for i in with_baseline]])
        if len(with_baseline) == len(sources):
            return correction + baseline
        full = torch.zeros_like(correction)
        full[:, with_baseline] = baseline
        return correction + full


def build(config: Mapping[str, Any]) -> SuperResolution:
    """Build a network from what `SuperResolutionConfig.to_dict` gave.

    Raises
    ------
    ConfigError
        If a setting is unknown to this version.
    """
    settings = {k: v for k, v in config.items() if k != "kind"}
    known = {f.name for f in fields(SuperResolutionConfig)}
    if unknown := sorted(set(settings) - known):
        message = f"unknown settings {unknown} of a super-resolution network; known are {sorted(known)}"
        raise ConfigError(message)
    settings["baseline_channels"] = tuple(settings.get("baseline_channels", (0,)))
    return SuperResolution(SuperResolutionConfig(**settings))
