"""Settings of a training run, checked when they are made."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch

from xatmo.errors import OptionError
from xatmo.nn.settings import whole as whole

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
SCHEDULES = ("one-cycle", "cosine", "constant", "linear", "step", "plateau")


@dataclass(frozen=True)
class OptimizerSettings:
    """How weights are updated.

    Attributes
    ----------
    optimizer : {"adamw", "adam", "sgd"}
    learning_rate : float
        Highest learning rate.
    weight_decay : float
        Of ``adamw`` and ``sgd``.
    schedule : {"one-cycle", "cosine", "constant", "linear", "step", "plateau"}
        ``"one-cycle"`` rises linearly over ``warmup`` of the run, then falls along a cosine to 0; ``"cosine"`` only
        falls. ``"linear"`` falls on a line to 0 from the first of ``drops`` to the second, or to the end. ``"step"`` is
        multiplied by ``drop_factor`` at each of ``drops``. ``"plateau"`` is multiplied by it when
        the mean training loss of an epoch has not fallen by more than ``plateau_delta`` below the least one for
        ``plateau_patience`` epochs.
    warmup : float
        Part of the run.
    betas : (float, float)
        Of ``adam`` and ``adamw``: decay of the means of the gradient and of its square.
    momentum : float
        Of ``sgd``.
    drops : tuple of float
        Below 1: parts of the run; else steps.
    drop_factor : float
        Above 0 and below 1.
    plateau_patience : int
    plateau_delta : float
    lowest_rate : float
        Below which ``"step"`` and ``"plateau"`` do not go.
    """

    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    schedule: str = "one-cycle"
    warmup: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: float = 0.9
    drops: tuple[float, ...] = (0.5,)
    drop_factor: float = 0.1
    plateau_patience: int = 8
    plateau_delta: float = 0.0
    lowest_rate: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be used."""
        _one_of("optimizer", self.optimizer, sorted(OPTIMIZERS))
        _one_of("schedule", self.schedule, SCHEDULES)
        object.__setattr__(self, "learning_rate", real("learning_rate", self.learning_rate, positive=True))
        for name in ("weight_decay", "plateau_delta", "lowest_rate"):
            object.__setattr__(self, name, real(name, getattr(self, name)))
        for name in ("warmup", "momentum"):
            value = getattr(self, name)
            if not _part(value):
                what = "part of the run" if name == "warmup" else "decay"
                message = f"{name}={value!r}; wanted a {what}, 0 to below 1"
                raise OptionError(message)
        betas: object = self.betas  # a caller may give anything
        if not (isinstance(betas, list | tuple) and len(betas) == 2 and all(_part(b) for b in betas)):
            message = f"betas={betas!r}; wanted two decays, 0 to below 1, such as (0.5, 0.999)"
            raise OptionError(message)
        object.__setattr__(self, "betas", tuple(float(b) for b in betas))
        drops: object = self.drops
        if not isinstance(drops, list | tuple):
            message = f"drops={self.drops!r}; wanted parts of the run or steps, in a tuple, such as (0.5, 0.75)"
            raise OptionError(message)
        object.__setattr__(self, "drops", tuple(real("drops", d, positive=True) for d in drops))
        ends = (*self.drops, 1.0)[:2]
        if self.schedule == "linear" and not (
            1 <= len(self.drops) <= 2 and ends[0] < ends[1] and (ends[0] < 1) == (ends[1] <= 1)
        ):
            message = f"drops={self.drops} with schedule='linear'; wanted two parts of the run or two steps, in order"
            raise OptionError(message)
        if not _part(self.drop_factor) or self.drop_factor == 0:
            message = f"drop_factor={self.drop_factor!r}; wanted a number above 0 and below 1"
            raise OptionError(message)
        object.__setattr__(self, "plateau_patience", whole("plateau_patience", self.plateau_patience))

    @classmethod
    def pair(cls, **settings: Any) -> tuple[OptimizerSettings, OptimizerSettings]:
        """Make those of a generator and of a discriminator: of each setting one value for both, or a pair.

        ``betas`` and ``drops``, tuples themselves, are pairs where their entries are tuples. By default Adam at a
        constant 1e-4.

        Examples
        --------
        >>> first, second = OptimizerSettings.pair(learning_rate=(2e-4, 1e-4), betas=(0.5, 0.999))
        >>> first.learning_rate, second.learning_rate, second.betas, second.optimizer
        (0.0002, 0.0001, (0.5, 0.999), 'adam')
        """
        settings = {"optimizer": "adam", "learning_rate": 1e-4, "schedule": "constant", **settings}
        both: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
        for name, value in settings.items():
            nested = name in ("betas", "drops")
            paired = isinstance(value, list | tuple) and (not nested or isinstance([*value, 0][0], list | tuple))
            if paired and len(value) != 2:
                message = f"{name}={value!r}; wanted one value, or two: for the generator and for the discriminator"
                raise OptionError(message)
            for which, one in enumerate(both):
                one[name] = value[which] if paired else value
        return cls(**both[0]), cls(**both[1])

    def make(self, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """Build the optimizer of these parameters."""
        kwargs: dict[str, Any] = {"lr": self.learning_rate}
        if self.optimizer == "sgd":
            kwargs["momentum"] = self.momentum
        else:
            kwargs["betas"] = self.betas
        if self.optimizer != "adam":
            kwargs["weight_decay"] = self.weight_decay
        return OPTIMIZERS[self.optimizer](parameters, **kwargs)

    def rate(self, progress: float, step: int = 0, n_plateaus: int = 0) -> float:
        """Learning rate after a part ``progress`` of the run, 0 to 1.

        Parameters
        ----------
        progress : float
        step : int
            Steps done, for ``"step"``.
        n_plateaus : int
            How often the loss has stopped falling, for ``"plateau"``.

        Examples
        --------
        >>> settings = OptimizerSettings(learning_rate=1.0, warmup=0.5)
        >>> [round(settings.rate(p), 3) for p in (0.0, 0.25, 0.5, 0.75, 1.0)]
        [0.04, 0.52, 1.0, 0.5, 0.0]
        >>> settings = OptimizerSettings(learning_rate=1.0, schedule="step", drops=(0.5, 100))
        >>> [round(settings.rate(p, step), 3) for p, step in ((0.4, 80), (0.45, 90), (0.5, 100))]
        [1.0, 1.0, 0.01]
        """
        if self.schedule in ("step", "plateau"):
            passed = sum((progress if drop < 1 else step) >= drop for drop in self.drops)
            lowered = self.learning_rate * self.drop_factor ** (passed if self.schedule == "step" else n_plateaus)
            return max(lowered, min(self.lowest_rate, self.learning_rate))
        if self.schedule == "constant":
            return self.learning_rate
        if self.schedule == "linear":
            first, last = (*self.drops, 1.0)[:2]
            part = ((progress if first < 1 else step) - first) / (last - first)
            return self.learning_rate * (1 - min(max(part, 0.0), 1.0))
        warmup = self.warmup if self.schedule == "one-cycle" else 0.0
        progress = min(max(progress, 0.0), 1.0)
        if progress < warmup:
            return self.learning_rate * (0.04 + 0.96 * progress / warmup)
        return self.learning_rate * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))) / 2


@dataclass(frozen=True)
class TrainSettings:
    """How long and on what a run trains.

    Attributes
    ----------
    max_steps : int
        Optimiser steps.
    accelerator : {"auto", "cpu", "gpu", "cuda", "mps"}
    devices : int
        Processes, one device each; more than one trains data-parallel.
    precision : {None, "32-true", "bf16-mixed", "16-mixed"}
        None: bfloat16 where the device has instructions for it, else float32.
    seed : int
    gradient_clip : float
        Largest norm of the gradient; 0 clips nothing.
    max_time : str, optional
        Budget ``"HH:MM:SS"`` (or ``"DD:HH:MM:SS"``), counted over resumed runs; the schedule ends with it.
    patience : int, optional
        Validations without improvement after which training stops. None never stops early.
    accumulate : int
        Batches whose gradients are averaged for one optimiser step, as if they were one batch so many times as large
        (where a loss is the mean of its samples). Of objectives with one optimizer.
    """

    max_steps: int
    accelerator: str = "auto"
    devices: int = 1
    precision: str | None = None
    seed: int = 0
    gradient_clip: float = 1.0
    max_time: str | None = None
    patience: int | None = 10
    accumulate: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot be used."""
        _one_of("accelerator", self.accelerator, ("auto", "cpu", "gpu", "cuda", "mps"))
        _one_of("precision", self.precision, (None, *PRECISIONS))
        # Plain numbers, whatever came: checkpoints and run.json hold them.
        for name, least in (("max_steps", 1), ("devices", 1), ("seed", 0), ("accumulate", 1)):
            object.__setattr__(self, name, whole(name, getattr(self, name), least))
        if self.patience is not None:
            object.__setattr__(self, "patience", whole("patience", self.patience))
        _ = self.seconds

    @property
    def seconds(self) -> float:
        """The time budget in seconds; infinite where there is none."""
        if self.max_time is None:
            return math.inf
        if not isinstance(self.max_time, str) or not re.fullmatch(r"(\d+:)?\d+:\d\d:\d\d", self.max_time):
            message = f"max_time={self.max_time!r}; wanted 'HH:MM:SS', for instance '00:05:00' for five minutes"
            raise OptionError(message)
        parts = [int(p) for p in self.max_time.split(":")]
        return float(sum(p * f for p, f in zip(reversed(parts), (1, 60, 3600, 86400), strict=False)))

    def resolved_precision(self) -> str:
        """Give the precision that is used: ``precision``, or the fastest that trains safely on the device."""
        if self.precision is not None:
            return self.precision
        if self.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
            return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
        if self.accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
            return "32-true"
        return "bf16-mixed" if cpu_has_bfloat16() else "32-true"


def cpu_has_bfloat16() -> bool:
    """Tell whether this processor multiplies in bfloat16; emulated, it would be slower than float32."""
    checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(bool(check()) for check in checks if check is not None)


def _part(value: object) -> bool:
    """Tell whether this is a number from 0 to below 1."""
    return not isinstance(value, bool) and isinstance(value, Real) and 0 <= float(value) < 1


def _one_of(name: str, value: object, known: Iterable[object]) -> None:
    possible = list(known)
    if value not in possible:
        message = f"{name}={value!r}; possible are {possible}"
        raise OptionError(message)


def real(name: str, value: object, *, positive: bool = False) -> float:
    """Give a finite number that is not negative, of Python's or NumPy's, as Python's.

    Raises
    ------
    OptionError
        If it is none.

    Examples
    --------
    >>> real("penalty", 10)
    10.0
    """
    number = math.nan if isinstance(value, bool) or not isinstance(value, Real) else float(value)
    if not 0 <= number < math.inf or (positive and number == 0):
        message = f"{name}={value!r}; wanted a {'positive number' if positive else 'number that is not negative'}"
        raise OptionError(message)
    return number


def signed(name: str, value: object) -> float:
    """Give a finite number of either sign, of Python's or NumPy's, as Python's.

    Raises
    ------
    OptionError
        If it is none.

    Examples
    --------
    >>> signed("noise_mean", -0.5)
    -0.5
    """
    number = math.nan if isinstance(value, bool) or not isinstance(value, Real) else float(value)
    if not math.isfinite(number):
        message = f"{name}={value!r}; wanted a finite number"
        raise OptionError(message)
    return number
