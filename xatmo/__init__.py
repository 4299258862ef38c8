"""xatmo: spherical harmonics, patches, super-resolution, variational interpolation and forecasts on the sphere.

``import xatmo`` gives every xarray Dataset and DataArray the accessor ``.atmo``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from xatmo import accessor as _accessor  # registers .atmo
from xatmo import rings as _rings  # makes grids of points on rings known to Grid
from xatmo.grids import Grid

if TYPE_CHECKING:
    from xatmo import assimilation, datasets, errors, metrics, plot, report, streaming, vertical, workflow
    from xatmo.catalog import open_catalog
    from xatmo.normalize import Normalizer
    from xatmo.tasks import AtmoDist, FourDVarNet, Inpainter, SuperResolver, VideoForecaster, load

__version__ = "0.1.0"

__all__ = [
    "AtmoDist",
    "FourDVarNet",
    "Grid",
    "Inpainter",
    "Normalizer",
    "SuperResolver",
    "VideoForecaster",
    "__version__",
    "assimilation",
    "datasets",
    "errors",
    "load",
    "metrics",
    "open_catalog",
    "plot",
    "report",
    "streaming",
    "vertical",
    "workflow",
]

# Looked up on first use, so that importing xatmo costs next to nothing and loads none of the heavy packages.
_LAZY = {
    "AtmoDist": "xatmo.tasks",
    "FourDVarNet": "xatmo.tasks",
    "Inpainter": "xatmo.tasks",
    "Normalizer": "xatmo.normalize",
    "SuperResolver": "xatmo.tasks",
    "VideoForecaster": "xatmo.tasks",
    "load": "xatmo.tasks",
    "open_catalog": "xatmo.catalog",
}
_LAZY_MODULES = ("assimilation", "datasets", "errors", "metrics", "plot", "report", "streaming", "vertical", "workflow")

del _accessor, _rings


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name in _LAZY_MODULES:
        return importlib.import_module(f"xatmo.{name}")
    message = f"module 'xatmo' has no attribute {name!r}"
    raise AttributeError(message)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
