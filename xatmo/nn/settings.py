"""Settings of networks: as JSON keeps them, and whole numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from numbers import Integral
from typing import Any

from xatmo.errors import ConfigError, OptionError


def from_json(cls: type[Any], config: Mapping[str, Any], what: str, tuples: Sequence[str] = ()) -> dict[str, Any]:
    """Give the keywords of a dataclass that its ``to_dict`` wrote: without ``kind``, lists as the tuples they were.

    Raises
    ------
    ConfigError
        If a setting is unknown to this version.
    """
    settings = {k: v for k, v in config.items() if k != "kind"}
    known = {f.name for f in fields(cls)}
    if unknown := sorted(set(settings) - known):
        message = f"unknown settings {unknown} of {what}; known are {sorted(known)}"
        raise ConfigError(message)
    return settings | {n: tuple(settings[n]) for n in tuples if settings.get(n) is not None}


def whole(name: str, value: object, least: int = 1) -> int:
    """Give a whole number of at least ``least``, of Python's or NumPy's, as Python's.

    Raises
    ------
    OptionError
        If it is none.

    Examples
    --------
    >>> import numpy as np
    >>> whole("batch_size", np.int64(16))
    16
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        message = f"{name}={value!r}; wanted a whole number of at least {least}"
        raise OptionError(message)
    return int(value)


def odd(name: str, value: object) -> int:
    """Give an odd number.

    Raises
    ------
    OptionError
        If it is none.

    Examples
    --------
    >>> odd("size", 5)
    5
    """
    number = whole(name, value)
    if number % 2 == 0:
        message = f"{name}={value!r}; wanted an odd number"
        raise OptionError(message)
    return number
