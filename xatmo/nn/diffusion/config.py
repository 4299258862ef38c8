"""The one description of a residual-diffusion network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from numbers import Real
from typing import Any, ClassVar, Self

from xatmo.errors import ConfigError, OptionError
from xatmo.nn.diffusion.sampler import SAMPLERS
from xatmo.nn.superres.config import SuperResolutionConfig


@dataclass(frozen=True)
class DiffusionConfig:
    """What makes a network, and how it draws.

    Attributes
    ----------
    mean : SuperResolutionConfig
        The mean network. Factor, channels in and out, static fields and offsets of the grid are those of both networks.
        It draws no random numbers in evaluation.
    channels : int
        Width of the denoiser on the fine grid. Each coarser level has twice as many, at most four times.
    n_blocks : int
        Residual blocks on each level finer than the coarse grid, on the way down and on the way up.
    n_coarse_blocks : int
        Residual blocks on the coarse grid.
    sampler : {"multistep", "heun"}
        See `xatmo.nn.diffusion.sampler`. Per member the denoiser is evaluated ``n_steps`` times by the first, which is
        more accurate at the same cost, and ``2 * n_steps - 1`` times by the second.
    n_steps : int
        Steps of the sampler, at least 2.
    sigma_min, sigma_max : float
        Lowest and highest level of noise of the sampler, in standard deviations of the residual.
    rho : float
        How the levels lie between them: see `xatmo.nn.diffusion.noise_levels`.

    Raises
    ------
    OptionError
        If a value cannot be used.

    Examples
    --------
    >>> config = DiffusionConfig(SuperResolutionConfig(4), channels=16)
    >>> config.factor, config.to_dict()["kind"], DiffusionConfig.from_dict(config.to_dict()) == config
    (4, 'diffusion', True)
    """

    mean: SuperResolutionConfig
    channels: int = 32
    n_blocks: int = 1
    n_coarse_blocks: int = 3
    sampler: str = "multistep"
    n_steps: int = 12
    sigma_min: float = 0.01
    sigma_max: float = 40.0
    rho: float = 7.0

    kind: ClassVar[str] = "diffusion"

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        given: object = self.mean
        if not isinstance(given, SuperResolutionConfig):
            message = f"mean is {type(given).__name__}; wanted a SuperResolutionConfig"
            raise OptionError(message)
        if given.mc_dropout or given.n_noise:
            message = (
                f"the mean network has mc_dropout={given.mc_dropout} and n_noise={given.n_noise}, so it draws itself; "
                "wanted one without random numbers"
            )
            raise OptionError(message)
        if self.sampler not in SAMPLERS:
            message = f"sampler={self.sampler!r} is not available; possible are {sorted(SAMPLERS)}"
            raise OptionError(message)
        for name, least in (("channels", 2), ("n_blocks", 0), ("n_coarse_blocks", 0), ("n_steps", 2)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                message = f"{name}={value!r}; wanted a whole number of at least {least}"
                raise OptionError(message)
        for name in ("sigma_min", "sigma_max", "rho"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < math.inf:
                message = f"{name}={value!r}; wanted a positive number"
                raise OptionError(message)
        if self.sigma_min >= self.sigma_max:
            message = f"sigma_min={self.sigma_min!r}, sigma_max={self.sigma_max!r}; wanted the first below the second"
            raise OptionError(message)

    @classmethod
    def settings(cls) -> tuple[str, ...]:
        """Names of the settings beside ``mean``.

        Examples
        --------
        >>> DiffusionConfig.settings()[:2]
        ('channels', 'n_blocks')
        """
        return tuple(f.name for f in fields(cls) if f.name != "mean")

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> Self:
        """Read what `to_dict` gave.

        Raises
        ------
        ConfigError
            If a setting is unknown to this version, or the mean network is missing.
        """
        settings = {k: v for k, v in config.items() if k != "kind"}
        known = {"mean", *cls.settings()}
        if unknown := sorted(set(settings) - known):
            message = f"unknown settings {unknown} of a diffusion network; known are {sorted(known)}"
            raise ConfigError(message)
        if not isinstance(settings.get("mean"), Mapping):
            message = f"mean={settings.get('mean')!r}; wanted the settings of the mean network"
            raise ConfigError(message)
        return cls(**{**settings, "mean": SuperResolutionConfig.from_dict(settings["mean"])})

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with the kind that says who builds it."""
        own = {k: v for k, v in asdict(self).items() if k != "mean"}
        return {"kind": self.kind, "mean": self.mean.to_dict(), **own}

    @property
    def factor(self) -> int:
        """Fine cells per coarse cell, along each axis."""
        return self.mean.factor
