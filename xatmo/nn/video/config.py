"""Settings from which a forecasting network is built again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from xatmo.errors import OptionError
from xatmo.nn.settings import from_json

BASELINES = ("none", "persistence", "yesterday", "diurnal", "climatology")
"""Simple forecasts that a network may correct, and that stand by themselves."""


@dataclass(frozen=True)
class VideoConfig:
    """What a `xatmo.nn.video.VideoNetwork` is made of.

    Attributes
    ----------
    architecture : str
        A key of `xatmo.nn.video.architectures.ARCHITECTURES`, or one of `BASELINES` for that forecast by itself.
    n_out : int
        Variables to forecast: the first of the state.
    n_state : int
        Variables whose past is read.
    n_context, n_future : int
        Frames of the past and of the future.
    n_known, n_static : int
        Fields known beforehand at each frame, and fields without time.
    cycle : bool
        Whether a climatology of the state comes with each frame.
    baseline : str
        Which simple forecast is corrected; among `BASELINES`.
    steps_per_day : int
        Frames of a day; needed for ``"yesterday"``.
    settings : mapping
        Of the architecture.
    """

    architecture: str
    n_out: int = 1
    n_state: int = 1
    n_context: int = 12
    n_future: int = 12
    n_known: int = 0
    n_static: int = 0
    cycle: bool = False
    baseline: str = "none"
    steps_per_day: int = 24
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        for name, least in (("n_out", 1), ("n_state", 1), ("n_context", 1), ("n_future", 1), ("n_known", 0),
                            ("n_static", 0), ("steps_per_day", 1)):  # fmt: skip
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                message = f"{name}={value!r}; wanted a whole number, at least {least}"
                raise OptionError(message)
        if self.n_out > self.n_state:
            message = f"n_out={self.n_out} and n_state={self.n_state}; wanted variables to forecast among the state"
            raise OptionError(message)
        if self.baseline not in BASELINES:
            message = f"baseline={self.baseline!r}; wanted one of {list(BASELINES)}"
            raise OptionError(message)
        needed = self.architecture if self.architecture in BASELINES else self.baseline
        if needed in ("diurnal", "climatology") and not self.cycle:
            message = f"{needed!r} needs the cycle of the state, and cycle=False; give cycle=True"
            raise OptionError(message)
        if needed == "yesterday" and self.n_context < self.steps_per_day:
            message = (
                f"'yesterday' reads a day of {self.steps_per_day} frames, and n_context={self.n_context}; "
                f"wanted n_context of at least {self.steps_per_day}"
            )
            raise OptionError(message)

    def to_dict(self) -> dict[str, Any]:
        """Give the settings for JSON, with the ``kind`` that finds the builder."""
        return {"kind": "video", **asdict(self), "settings": dict(self.settings)}

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> Self:
        """Read what `to_dict` gave.

        Raises
        ------
        ConfigError
            If a setting is unknown to this version.
        """
        return cls(**from_json(cls, config, "a forecasting network"))
