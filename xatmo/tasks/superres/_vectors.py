"""Tell fields that change when axes are turned, such as components of vectors, from scalars, by their names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from xatmo import cf

_COMPONENT = re.compile(
    r"(^|[^a-z])(eastward|northward|zonal|meridional"
    r"|[uvxy][ _-]?(component|wind|velocity|stress|flux|current))([^a-z]|$)"
)
_SCALAR = re.compile(r"zonal[ _-]mean")
_HANDED = re.compile(r"vorticity|stream[ _-]?function")


def is_component(name: str, attrs: Mapping[str, Any]) -> bool:
    """Whether a field looks like a component of a vector. A standard name goes before the name of the variable.

    Examples
    --------
    >>> is_component("u10", {}), is_component("10m_v_component_of_wind", {}), is_component("wind_speed", {})
    (True, True, False)
    >>> is_component("vo", {"standard_name": "ocean_relative_vorticity"}), is_component("a", {"long_name": "U wind"})
    (False, True)
    """
    standard = str(attrs.get("standard_name", ""))
    if not standard and any(name in pair for pair in cf.WIND_NAMES):
        return True
    told = (standard or name, attrs.get("long_name", ""))
    return any(_COMPONENT.search(_SCALAR.sub("", str(text).lower())) for text in told)


def turns(name: str, attrs: Mapping[str, Any]) -> bool:
    """Whether the field in a mirror is not the mirrored field: components of vectors, and vorticity, whose sign turns.

    Examples
    --------
    >>> turns("a", {"standard_name": "ocean_relative_vorticity"}), turns("d", {"long_name": "divergence"})
    (True, False)
    """
    told = (name, attrs.get("standard_name", ""), attrs.get("long_name", ""))
    return is_component(name, attrs) or any(_HANDED.search(str(text).lower()) for text in told)
