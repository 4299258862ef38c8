"""Settings of networks as JSON keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from xatmo.errors import ConfigError


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
