"""Discriminators by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from torch import nn

from xatmo.errors import ConfigError, OptionError
from xatmo.nn.superres.discriminators.conditional import ConditionalDiscriminator, ConditionalDiscriminatorConfig
from xatmo.nn.superres.discriminators.unconditional import SRGANDiscriminator, SRGANDiscriminatorConfig

DISCRIMINATORS: dict[str, tuple[type, type]] = {
    "conditional": (ConditionalDiscriminatorConfig, ConditionalDiscriminator),
    "srgan": (SRGANDiscriminatorConfig, SRGANDiscriminator),
}


def build(config: Mapping[str, Any]) -> nn.Module:
    """Build a discriminator from a mapping with its ``kind`` and settings, such as ``to_dict`` of a configuration gave.

    Raises
    ------
    OptionError
        If the kind is unknown.
    ConfigError
        If a setting is unknown.

    Examples
    --------
    >>> build({"kind": "conditional", "factor": 5, "channels": 8}).config.factor
    5
    """
    settings = dict(config)
    kind = settings.pop("kind", None)
    if kind not in DISCRIMINATORS:
        message = f"discriminator={kind!r} is not available; possible are {sorted(DISCRIMINATORS)}"
        raise OptionError(message)
    settings_class, network_class = DISCRIMINATORS[kind]
    known = {f.name for f in fields(settings_class)}
    if unknown := sorted(set(settings) - known):
        message = f"unknown settings {unknown} of the discriminator {kind!r}; known are {sorted(known)}"
        raise ConfigError(message)
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    network: nn.Module = network_class(settings_class(**settings))
    return network


def make(
    kind: str,
    *,
    factor: int,
    n_inputs: int = 1,
    n_outputs: int = 1,
    n_static: int = 0,
    time_window: int | None = None,
    upsampling: str = "subpixel",
    **settings: Any,
) -> nn.Module:
    """Build the discriminator that fits a generator.

    Parameters
    ----------
    kind : {"conditional", "srgan"}
    factor, n_inputs, n_outputs, n_static : int
        Of the generator.
    time_window : int, optional
        Of the generator.
    upsampling : str
        Of the generator. With ``"interpolation"`` the branches of a conditional discriminator meet on the fine grid.
    **settings
        See the configuration of the kind.

    Raises
    ------
    OptionError, ConfigError
        If something is unknown.

    Examples
    --------
    >>> make("conditional", factor=4, upsampling="interpolation", channels=8).config.meet
    'fine'
    """
    found: dict[str, Any] = {"kind": kind, "n_outputs": n_outputs}
    if kind == "conditional":
        found |= {"factor": factor, "n_inputs": n_inputs, "n_static": n_static, "time_window": time_window}
        found["meet"] = "fine" if upsampling == "interpolation" else "coarse"
    return build(found | settings)
