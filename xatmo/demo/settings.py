"""Sizes of the demonstration: a full run of some minutes on two cores, a quick one of less than a minute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Settings:
    """How large and how long.

    Attributes
    ----------
    truncation : int
        Highest degree of the generated flow.
    days, spin_up : float
        Days of the generated flow, and days before them.
    nlat : int
        Rows of the regular grid on which the flow is looked at; twice as many columns.
    factor : int
        Fine cells per coarse cell.
    channels, n_blocks : int
        Width and depth of the network.
    patch : int
        Coarse cells along each side of a training patch.
    max_steps : int
        Optimiser steps.
    max_time : str
        At most so long, HH:MM:SS.
    sea_days : int
        Days of the sea-level twin.
    sea_step : float
        Its spacing in degrees.
    """

    truncation: int
    days: float
    spin_up: float
    nlat: int
    factor: int
    channels: int
    n_blocks: int
    patch: int
    max_steps: int
    max_time: str
    sea_days: int
    sea_step: float


FULL: Final = Settings(
    truncation=85, days=60, spin_up=20, nlat=180, factor=4, channels=48, n_blocks=6, patch=24, max_steps=1500,
    max_time="00:02:20", sea_days=20, sea_step=0.2,
)  # fmt: skip
QUICK: Final = Settings(
    truncation=42, days=20, spin_up=12, nlat=128, factor=4, channels=32, n_blocks=4, patch=16, max_steps=300,
    max_time="00:00:15", sea_days=10, sea_step=0.25,
)  # fmt: skip
