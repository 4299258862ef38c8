"""The conditional discriminator: it judges whether a fine field is real and belongs to its coarse field."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from xatmo.errors import DimensionError, OptionError
from xatmo.nn.blocks import LayerStyle, RecurrentBlock
from xatmo.nn.superres.discriminators.layers import Convolution, Dense, coarsening, frames_first
from xatmo.nn.superres.interpolation import Interpolation

Meet = Literal["coarse", "fine"]


@dataclass(frozen=True)
class ConditionalDiscriminatorConfig:
    """What makes a conditional discriminator.

    Attributes
    ----------
    factor : int
        Fine cells per coarse cell.
    n_inputs, n_outputs : int
        Channels of the coarse and of the fine field.
    n_static : int
        Static fields on the fine grid, seen beside the fine field.
    channels, n_blocks : int
        Width and number of residual blocks of each branch.
    time_window : int, optional
        Frames of a window: recurrent layers see each frame after those before it. None: single fields.
    meet : {"coarse", "fine"}
        Where the branches meet: the fine one goes down by strided convolutions, or the coarse field is interpolated
        (as generators do that interpolate first).
    dropout : float
        Before the dense layers.
    dense : int
    spectral_norm : bool
        Whether weights of convolutions and dense layers are divided by their largest singular value.
    compat : {None, "dl4ds"}
        ``"dl4ds"``: a sigmoid after the dense layer, which saturates; otherwise a leaky ReLU.

    Raises
    ------
    OptionError
        If a value cannot be built.
    """

    factor: int
    n_inputs: int = 1
    n_outputs: int = 1
    n_static: int = 0
    channels: int = 32
    n_blocks: int = 4
    time_window: int | None = None
    meet: Meet = "coarse"
    dropout: float = 0.4
    dense: int = 32
    spectral_norm: bool = False
    compat: str | None = None

    kind: ClassVar[str] = "conditional"

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        least = {"factor": 1, "n_inputs": 1, "n_outputs": 1, "n_static": 0, "channels": 1, "n_blocks": 0, "dense": 1}
        if self.time_window is not None:
            least["time_window"] = 1
        for name, smallest in least.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < smallest:
                message = f"{name}={value!r}; wanted a whole number of at least {smallest}"
                raise OptionError(message)
        for name, known in (("meet", ["coarse", "fine"]), ("compat", [None, "dl4ds"])):
            if getattr(self, name) not in known:
                message = f"{name}={getattr(self, name)!r} is not available; possible are {known}"
                raise OptionError(message)
        if not 0 <= self.dropout < 1:
            message = f"dropout={self.dropout!r}; wanted a number of at least 0 and below 1"
            raise OptionError(message)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"kind": self.kind, **asdict(self)}


class _Residual(nn.Module):
    """``act(x + conv(act(conv(x))))``."""

    def __init__(self, channels: int, *, spectral: bool) -> None:
        super().__init__()
        self.first = Convolution(channels, channels, 3, spectral=spectral)
        self.second = Convolution(channels, channels, 3, spectral=spectral)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, channels, lat, lon)`` -> the same shape."""
        y: torch.Tensor = self.second(nn.functional.leaky_relu(self.first(x), 0.2))
        return nn.functional.leaky_relu(x + y, 0.2)


class _Branch(nn.Module):
    """A first layer, recurrent for time windows; residual blocks; a convolution around which the features pass."""

    def __init__(self, n_in: int, config: ConditionalDiscriminatorConfig) -> None:
        super().__init__()
        wide, spectral = config.channels, config.spectral_norm
        self.recurrent = None
        if config.time_window is not None:
            self.recurrent = RecurrentBlock(n_in, wide, LayerStyle(activation="leaky_relu"))
        self.stem = nn.Identity() if self.recurrent else Convolution(n_in, wide, 3, spectral=spectral)
        self.blocks = nn.Sequential(*(_Residual(wide, spectral=spectral) for _ in range(config.n_blocks)))
        self.tail = Convolution(wide, wide, 3, spectral=spectral)

    def forward(self, x: torch.Tensor, n_frames: int) -> torch.Tensor:
        """``(time * batch, n_in, lat, lon)`` -> ``(time * batch, channels, lat, lon)``."""
        if self.recurrent is not None:
            x = self.recurrent(x.reshape(n_frames, -1, *x.shape[1:])).flatten(0, 1)
        y = self.stem(x)
        out: torch.Tensor = y + self.tail(self.blocks(y))
        return out


class ConditionalDiscriminator(nn.Module):
    """Two branches, one for the coarse and one for the fine field, that meet on one grid; one logit.

    After Isola et al. 2017 (arXiv:1611.07004) and the DL4DS package (arXiv:2205.08967). Any factor, any rectangle, any
    number of channels. In a time window both branches remember the frames before, so that an unlikely succession of
    likely fields is seen, too.

    Parameters
    ----------
    config : ConditionalDiscriminatorConfig

    Notes
    -----
    The fine branch of a window goes down to the coarse grid before its recurrent layer where the branches meet there.

    Examples
    --------
    >>> judge = ConditionalDiscriminator(ConditionalDiscriminatorConfig(3, channels=8, n_blocks=1, time_window=4))
    >>> judge(torch.randn(2, 1, 4, 15, 21), torch.randn(2, 1, 4, 5, 7)).shape
    torch.Size([2, 1])
    """

    conditional = True

    def __init__(self, config: ConditionalDiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        wide, spectral, read = config.channels, config.spectral_norm, config.n_outputs + config.n_static
        self.coarse = _Branch(config.n_inputs, config)
        self.down, self.interpolation = nn.Sequential(), None
        if config.meet == "fine":
            self.interpolation = Interpolation(config.factor, "bilinear")
            self.fine = _Branch(read, config)
        else:
            self.down.append(Convolution(read, wide, 3, spectral=spectral)).append(nn.LeakyReLU(0.2))
            self.down.extend(coarsening(wide, config.factor, spectral=spectral))
            self.fine = _Branch(wide, config)
        self.joint = _Residual(2 * wide, spectral=spectral)
        self.head = nn.Sequential(
            nn.Dropout(config.dropout), Dense(2 * wide, config.dense, spectral=spectral),
            nn.Sigmoid() if config.compat == "dl4ds" else nn.LeakyReLU(0.2), Dense(config.dense, 1, spectral=spectral),
        )  # fmt: skip
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(
        self, fine: torch.Tensor, coarse: torch.Tensor | None = None, static: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Give logits ``(batch, 1)``.

        Parameters
        ----------
        fine : Tensor (batch, n_outputs, [time,] lat * factor, lon * factor)
        coarse : Tensor (batch, n_inputs, [time,] lat, lon)
        static : Tensor (batch, n_static, lat * factor, lon * factor), optional

        Raises
        ------
        DimensionError
            If the fields do not fit each other or the configuration.
        """
        coarse = self._check(fine, coarse, static)
        n_frames = fine.shape[2] if fine.ndim == 5 else 1
        if fine.ndim == 4:
            fine, coarse = fine.unsqueeze(2), coarse.unsqueeze(2)
        if static is not None:
            fine = torch.cat([fine, static.to(fine.dtype).unsqueeze(2).expand(-1, -1, n_frames, -1, -1)], dim=1)
        x, y = (frames_first(f).flatten(0, 1) for f in (coarse, fine))
        x = x if self.interpolation is None else self.interpolation(x)
        layout = torch.channels_last
        given = self.coarse(x.contiguous(memory_format=layout), n_frames)
        judged = self.fine(self.down(y.contiguous(memory_format=layout)), n_frames)
        seen = self.joint(torch.cat([given, judged], dim=1)).mean(dim=(-2, -1))
        out: torch.Tensor = self.head(seen.unflatten(0, (n_frames, -1)).mean(dim=0)).float()
        return out

    def _check(self, fine: torch.Tensor, coarse: torch.Tensor | None, static: torch.Tensor | None) -> torch.Tensor:
        config = self.config
        if coarse is None:
            message = "no coarse field came; a conditional discriminator is called discriminator(fine, coarse)"
            raise DimensionError(message)
        wanted = (config.n_inputs, *fine.shape[2:-2], *(n // config.factor for n in fine.shape[-2:]))
        if any(n % config.factor for n in fine.shape[-2:]) or tuple(coarse.shape[1:]) != wanted:
            message = (
                f"a fine field {tuple(fine.shape)} and a coarse field {tuple(coarse.shape)} came; wanted "
                f"(batch, {config.n_inputs}, [time,] lat, lon) and {config.factor} times the cells for the fine field"
            )
            raise DimensionError(message)
        if fine.ndim != (4 if config.time_window is None else 5):
            window = "single fields" if config.time_window is None else "time windows"
            message = f"a field of {fine.ndim} axes came; this discriminator is made for {window}"
            raise DimensionError(message)
        if (0 if static is None else static.shape[1]) != config.n_static:
            came = 0 if static is None else static.shape[1]
            message = f"{came} static fields came; this discriminator wants {config.n_static}"
            raise DimensionError(message)
        return coarse
