"""What describes an encoder and its pair head: one frozen record, which files can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from xatmo.errors import ConfigError, OptionError

ENCODERS = ("small", "tiny", "resnet18", "resnet50")
STEMS: dict[str, int] = {"pooled": 4, "strided": 2, "plain": 1}
"""How many times smaller each kind of stem makes a map."""

HEADS = ("differences", "pyramid", "stacked")

FEWEST_CELLS = 4
"""Cells that ``stem="auto"`` leaves along the shorter side of the last map, where it can."""


@dataclass(frozen=True)
class RepresentationConfig:
    """An encoder and the head that compares two of its maps.

    Attributes
    ----------
    n_inputs : int
        Channels of a patch.
    n_classes : int
        Lags to tell apart.
    patch_size : (int, int)
        Rows and columns of a patch: these fix the width of the head's last layer.
    encoder : {"small", "tiny", "resnet18", "resnet50"}
    stem : {"auto", "pooled", "strided", "plain"}
        First layers: ``"pooled"`` is an 8 x 8 convolution of stride 2 and a 3 x 3 maximum of stride 2; ``"strided"`` is
        the convolution alone; ``"plain"`` a 3 x 3 convolution of stride 1. The last map is 32, 16 or 8 times smaller
        than the patch. ``"auto"`` takes the first that leaves at least four cells, else ``"plain"``.
    head : {"differences", "pyramid", "stacked"}
        What is compared: the last maps of both patches, side by side (``"stacked"``, as in AtmoDist) or with their
        difference and its absolute value, or the maps of every stage. See `xatmo.nn.representation.heads`.
    norm_momentum : float
        Part of a batch in the running statistics of the batch normalization, once they have settled.
    norm_eps : float
    head_channels : int
        Width of the head's convolutions.
    dropout : float
        Of the vector before the last layer, in training.
    """

    n_inputs: int
    n_classes: int
    patch_size: tuple[int, int]
    encoder: str = "small"
    stem: str = "auto"
    head: str = "pyramid"
    norm_momentum: float = 0.01
    norm_eps: float = 1.001e-5
    head_channels: int = 128
    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        object.__setattr__(self, "patch_size", tuple(int(n) for n in self.patch_size))
        for name, value, known in (
            ("encoder", self.encoder, ENCODERS), ("stem", self.stem, ("auto", *STEMS)),
            ("head", self.head, HEADS),
        ):  # fmt: skip
            if value not in known:
                message = f"{name}={value!r} is not available; possible are {list(known)}"
                raise OptionError(message)
        for name, least in (("n_inputs", 1), ("n_classes", 2), ("head_channels", 1)):
            number = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, int) or number < least:
                message = f"{name}={number!r}; wanted a whole number of at least {least}"
                raise OptionError(message)
        if len(self.patch_size) != 2 or min(self.patch_size) < 8:
            message = f"patch_size={self.patch_size}; wanted rows and columns, at least 8 of each"
            raise OptionError(message)
        for name in ("norm_momentum", "dropout"):
            if not 0 <= getattr(self, name) < 1 or (name == "norm_momentum" and self.norm_momentum == 0):
                message = f"{name}={getattr(self, name)!r}; wanted a number from 0 to below 1, the momentum above 0"
                raise OptionError(message)

    @property
    def resolved_stem(self) -> str:
        """The stem that is built.

        Examples
        --------
        >>> [RepresentationConfig(2, 8, (n, n)).resolved_stem for n in (160, 96, 32)]
        ['pooled', 'strided', 'plain']
        """
        if self.stem != "auto":
            return self.stem
        shortest = min(self.patch_size)
        return next((name for name, s in STEMS.items() if shortest >= FEWEST_CELLS * 8 * s), "plain")

    def to_dict(self) -> dict[str, Any]:
        """Give what JSON can hold, with the kind of network."""
        return {"kind": "representation", **asdict(self), "patch_size": list(self.patch_size)}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> RepresentationConfig:
        """Undo `to_dict`.

        Raises
        ------
        ConfigError
            If a setting is unknown to this version.
        """
        known = {f.name for f in fields(cls)}
        settings = {k: v for k, v in state.items() if k != "kind"}
        if unknown := sorted(set(settings) - known):
            message = f"the network has settings {unknown}, which this version does not know; upgrade xatmo"
            raise ConfigError(message)
        try:
            return cls(**settings)
        except TypeError as error:
            message = f"the network's settings are incomplete: {error}"
            raise ConfigError(message) from error
