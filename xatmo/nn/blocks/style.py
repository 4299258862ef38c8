"""How layers of a network are made: one description that every block and backbone takes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from xatmo.errors import OptionError
from xatmo.nn.blocks.activation import ACTIVATIONS, make_activation
from xatmo.nn.blocks.attention import ChannelAttention
from xatmo.nn.blocks.dropout import DROPOUTS, make_dropout
from xatmo.nn.blocks.norm import NORMS, make_norm
from xatmo.nn.blocks.separable import SeparableConvolution

ATTENTION_REACH = 8


@dataclass(frozen=True)
class LayerStyle:
    """Choices that all layers of a network share.

    Attributes
    ----------
    activation : str
        A key of `ACTIVATIONS`.
    norm : {None, "batch", "layer"}
        Normalization of feature maps. Convolutions before one have no bias, which it would take away.
    dropout : float
        Rate; 0 is none.
    dropout_kind : {"vanilla", "gaussian", "spatial"}
        See `xatmo.nn.blocks.dropout`.
    mc_dropout : bool
        Whether dropout stays on in evaluation.
    separable : bool
        Whether 3 x 3 convolutions between feature maps are depthwise-separable.
    attention : bool
        Whether blocks weight their channels.
    attention_reach : int, optional
        See `ChannelAttention`: cells around that an attention sees; None: the whole window.

    Raises
    ------
    OptionError
        If a name is unknown or the rate is not one.

    Examples
    --------
    >>> LayerStyle(norm="batch").convolution(4, 8)
    Conv2d(4, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)
    """

    activation: str = "gelu"
    norm: str | None = None
    dropout: float = 0.0
    dropout_kind: str = "vanilla"
    mc_dropout: bool = False
    separable: bool = False
    attention: bool = False
    attention_reach: int | None = ATTENTION_REACH

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        for name, known in (("activation", list(ACTIVATIONS)), ("norm", [*NORMS, None]), ("dropout_kind", [*DROPOUTS])):
            value = getattr(self, name)
            if value not in known:
                message = f"{name}={value!r} is not available; possible are {sorted(known, key=str)}"
                raise OptionError(message)
        for name in ("mc_dropout", "attention", "separable"):
            if not isinstance(getattr(self, name), bool):
                message = f"{name}={getattr(self, name)!r}; wanted True or False"
                raise OptionError(message)
        make_dropout(self.dropout_kind, self.dropout)

    def convolution(self, n_in: int, n_out: int, size: int = 3, *, bias: bool | None = None) -> nn.Module:
        """Make a convolution with zeros beyond the edge; ``bias`` by default only without normalization."""
        bias = self.norm is None if bias is None else bias
        if self.separable and size > 1:
            return SeparableConvolution(n_in, n_out, size, bias=bias)
        return nn.Conv2d(n_in, n_out, size, padding=size // 2, bias=bias)

    def make_activation(self) -> nn.Module:
        """Make the activation."""
        return make_activation(self.activation)

    def make_norm(self, channels: int) -> nn.Module:
        """Make the normalization, or nothing."""
        return make_norm(self.norm, channels)

    def make_dropout(self) -> nn.Module:
        """Make the dropout, or nothing."""
        return make_dropout(self.dropout_kind, self.dropout, mc=self.mc_dropout)

    def make_attention(self, channels: int) -> nn.Module:
        """Make the channel attention, or nothing."""
        return ChannelAttention(channels, reach=self.attention_reach) if self.attention else nn.Identity()

    @property
    def attention_halo(self) -> int:
        """Cells at an edge that an attention needs."""
        return (self.attention_reach or 0) if self.attention else 0


def start_at_zero(layer: nn.Module, norm: nn.Module | None = None) -> None:
    """Let a branch start at zero: the scale of the normalization that ends it, or else its last convolution."""
    if norm is not None and not isinstance(norm, nn.Identity):
        last = norm
    else:
        last = layer.pointwise if isinstance(layer, SeparableConvolution) else layer
    for name in ("weight", "bias"):
        parameter = getattr(last, name)
        if parameter is not None:
            nn.init.zeros_(parameter)
