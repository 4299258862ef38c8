"""Architectures by name: a new one is one file here, and one line in `ARCHITECTURES`."""

from __future__ import annotations

import importlib
import inspect

from xatmo.errors import OptionError
from xatmo.nn.video.base import Architecture
from xatmo.nn.video.config import VideoConfig

# Name -> "module:class"; a class is called with the configuration and its own settings.
ARCHITECTURES: dict[str, str] = {
    "savp": "xatmo.nn.video.architectures.savp:SAVP",
    "vae": "xatmo.nn.video.architectures.vae:VAE",
    "convlstm": "xatmo.nn.video.architectures.convlstm:ConvLSTMForecaster",
    "simvp": "xatmo.nn.video.architectures.simvp:SimVP",
    "stacked_convlstm": "xatmo.nn.video.architectures.stacked_convlstm:StackedConvLSTM",
}


def make(config: VideoConfig) -> Architecture:
    """Build the architecture that a configuration names.

    Raises
    ------
    OptionError
        If it is unknown, or a setting is.
    """
    if config.architecture not in ARCHITECTURES:
        message = f"architecture={config.architecture!r}; wanted one of {sorted(ARCHITECTURES)}"
        raise OptionError(message)
    where, name = ARCHITECTURES[config.architecture].split(":")
    try:
        made: Architecture = getattr(importlib.import_module(where), name)(config, **config.settings)
    except TypeError as error:
        message = f"settings {dict(config.settings)} of {config.architecture!r} do not fit it: {error}"
        raise OptionError(message) from error
    return made


def takes(architecture: str, setting: str) -> bool:
    """Tell whether an architecture has a setting.

    Examples
    --------
    >>> takes("simvp", "wrap"), takes("persistence", "wrap")
    (True, False)
    """
    if architecture not in ARCHITECTURES:
        return False
    where, name = ARCHITECTURES[architecture].split(":")
    return setting in inspect.signature(getattr(importlib.import_module(where), name)).parameters
