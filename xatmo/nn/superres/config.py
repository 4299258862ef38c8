"""The one description of a super-resolution network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from xatmo.errors import OptionError
from xatmo.nn.blocks import ACTIVATIONS, LayerStyle
from xatmo.nn.settings import from_json
from xatmo.nn.superres.backbones import BACKBONES, RECURRENT_BACKBONES
from xatmo.nn.superres.interpolation import KERNELS
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
        A key of `BACKBONES`; with a time window one of `RECURRENT_BACKBONES`.
    upsampling : str
        A key of `UPSAMPLINGS`. ``"interpolation"`` interpolates the inputs first, so that the backbone works on the
        fine grid, as a U-Net always does.
    channels, n_blocks : int
        Width and depth of the backbone.
    baseline : {"bicubic", "bilinear", None}
        Interpolation that the network corrects; None: it gives the fields themselves. ``upsampling="interpolation"``
        uses the same kind, bilinear where None.
    baseline_channels : tuple of int
        For each output the input channel that holds the same variable, -1 where none does (its baseline is 0).
    row_offset, column_offset : float
        See `Interpolation`.
    time_window : int, optional
        Frames that the network sees at once, at least 2; None: one frame, and no time axis.
    n_static : int
        Fields on the fine grid that the network takes beside its inputs.
    n_noise : int
        Fields of noise on the fine grid that it reads, too: what it makes of the same input then differs from one draw
        to the next.
    fine_channels : int, optional
        Features on the fine grid where the backbone works on the coarse one; by default 8, or twice the outputs.
    norm, activation, separable, attention, dropout, dropout_kind, mc_dropout
        See `LayerStyle`.
    output_activation : str, optional
        A key of `ACTIVATIONS`, applied to what comes out, baseline included, in normalized units.
    localised : bool
        Whether every fine cell has weights of its own (`LocalisedLayer`). Needs ``shape``.
    shape : (int, int), optional
        Rows and columns of the fine grid that a localised network serves.
    compat : {None, "dl4ds"}
        Build the network with the layers and sizes of DL4DS: see `DL4DSNetwork`.
    """

    factor: int
    n_inputs: int = 1
    n_outputs: int = 1
    backbone: str = "residual"
    upsampling: str = "subpixel"
    channels: int = 48
    n_blocks: int = 4
    baseline: str | None = "bicubic"
    baseline_channels: tuple[int, ...] = (0,)
    row_offset: float = 0.0
    column_offset: float = 0.0
    time_window: int | None = None
    n_static: int = 0
    n_noise: int = 0
    fine_channels: int | None = None
    norm: str | None = None
    activation: str = "gelu"
    output_activation: str | None = None
    dropout: float = 0.0
    dropout_kind: str = "vanilla"
    mc_dropout: bool = False
    separable: bool = False
    attention: bool = False
    localised: bool = False
    shape: tuple[int, int] | None = None
    compat: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        for name, known in (
            ("backbone", BACKBONES), ("upsampling", UPSAMPLINGS), ("baseline", [*KERNELS, None]),
            ("output_activation", [*ACTIVATIONS, None]), ("compat", [None, "dl4ds"]),
        ):  # fmt: skip
            value = getattr(self, name)
            if value not in known:
                message = f"{name}={value!r} is not available; possible are {sorted(known, key=str)}"
                raise OptionError(message)
        for name, least in (
            ("factor", 1), ("n_inputs", 1), ("n_outputs", 1), ("channels", 1), ("n_blocks", 0), ("n_static", 0),
            ("n_noise", 0), ("time_window", 2), ("fine_channels", 1),
        ):  # fmt: skip
            value = getattr(self, name)
            if value is None and name in ("time_window", "fine_channels"):
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                message = f"{name}={value!r}; wanted a whole number of at least {least}"
                raise OptionError(message)
        _ = self.style  # which refuses its own
        self._refuse_combinations()

    def _refuse_combinations(self) -> None:
        if self.baseline is not None and (
            len(self.baseline_channels) != self.n_outputs
            or not all(-1 <= c < self.n_inputs for c in self.baseline_channels)
        ):
            message = (
                f"baseline_channels={self.baseline_channels!r}; wanted for each of {self.n_outputs} outputs one of the "
                f"{self.n_inputs} input channels, or -1"
            )
            raise OptionError(message)
        if self.time_window is not None and self.backbone not in RECURRENT_BACKBONES:
            message = (
                f"backbone={self.backbone!r} sees one frame, and time_window is {self.time_window}; possible with a "
                f"time window are {sorted(RECURRENT_BACKBONES)}"
            )
            raise OptionError(message)
        if self.backbone == "unet" and not self.interpolates_first:
            message = (
                f"backbone='unet' works on the fine grid, and upsampling is {self.upsampling!r}; "
                "pass upsampling='interpolation'"
            )
            raise OptionError(message)
        if self.localised and (
            self.shape is None
            or len(self.shape) != 2
            or not all(isinstance(n, int) and n > 0 and n % self.factor == 0 for n in self.shape)
        ):
            message = (
                f"localised=True with shape={self.shape!r}; wanted the rows and columns of the fine grid, multiples of "
                f"the factor {self.factor}"
            )
            raise OptionError(message)

    @classmethod
    def dl4ds(cls, factor: int, **settings: Any) -> Self:
        """Describe a network of DL4DS with its defaults, changed by ``settings``.

        Its defaults: 8 filters, 6 blocks (4 in recurrent networks before the upsampling), ReLU, no baseline.

        Examples
        --------
        >>> config = SuperResolutionConfig.dl4ds(4, channels=32)
        >>> config.channels, config.n_blocks, config.activation, config.baseline, config.compat
        (32, 6, 'relu', None, 'dl4ds')
        """
        recurrent = settings.get("time_window") is not None and settings.get("upsampling") != "interpolation"
        defaults = {"channels": 8, "n_blocks": 4 if recurrent else 6, "activation": "relu", "baseline": None}
        return cls(factor, compat="dl4ds", **{**defaults, **settings})

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> Self:
        """Read what `to_dict` gave.

        Raises
        ------
        ConfigError
            If a setting is unknown to this version.
        """
        return cls(**from_json(cls, config, "a super-resolution network", ("baseline_channels", "shape")))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with the kind that `xatmo.model` looks up."""
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return {"kind": "superresolver", **plain}

    @property
    def style(self) -> LayerStyle:
        """How layers are made."""
        return LayerStyle(
            self.activation, self.norm, self.dropout, self.dropout_kind, self.mc_dropout, self.separable, self.attention
        )

    @property
    def interpolates_first(self) -> bool:
        """Whether the backbone works on the fine grid."""
        return UPSAMPLINGS[self.upsampling] is None
