"""Types shared by the public signatures."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

T = TypeVar("T", xr.Dataset, xr.DataArray)
"""A Dataset or a DataArray; what came in comes out."""

XarrayObject: TypeAlias = xr.Dataset | xr.DataArray
Floats: TypeAlias = NDArray[np.floating[Any]]
Complexes: TypeAlias = NDArray[np.complexfloating[Any, Any]]
Sizes: TypeAlias = Mapping[Hashable, int]
"""Dimension name to number of points."""

GridKind: TypeAlias = Literal["regular", "driscoll_healy", "gaussian", "rectilinear", "regional", "healpix", "reduced"]
RegridMethod: TypeAlias = Literal[
    "spectral", "conservative", "conservative2", "bilinear", "bicubic", "nearest", "most_common", "min", "max"
]
SpectrumKind: TypeAlias = Literal["auto", "spherical", "isotropic", "zonal"]
CrossKind: TypeAlias = Literal["auto", "spherical", "isotropic"]
FluxWind: TypeAlias = Literal["rotational", "full"]
NormalizeMethod: TypeAlias = Literal["standard", "minmax", "robust", "log1p"]
SpectralEngine: TypeAlias = Literal["ducc0", "torch"]
