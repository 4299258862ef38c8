"""What operators share: units of the input, the radius, factors by degree, labels of new fields on the same grid."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo._labels import on_same_grid
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import OptionError, UnitsError
from xatmo.grids import Grid
from xatmo.spectral import _fields, _kernels
from xatmo.spectral._fields import Source
from xatmo.typing import Floats, XarrayObject
from xatmo.units import conversion


@dataclass(frozen=True)
class Label:
    """Name and CF attributes of a new field; no ``units`` where those of the input are not known."""

    name: str
    long_name: str
    units: str | None
    standard_name: str | None = None

    @property
    def attrs(self) -> dict[str, str]:
        """Attributes, without what is not known."""
        pairs = {"standard_name": self.standard_name, "long_name": self.long_name, "units": self.units}
        return {key: value for key, value in pairs.items() if value is not None}


def on_grid(array: xr.DataArray, label: Label, like: xr.DataArray, source: Source) -> xr.DataArray:
    """Give a new field its attributes, and back the dimension order, coordinates and repeated column of ``like``."""

    def finish(field: xr.DataArray) -> xr.DataArray:
        return _fields.same_coords(array, field, source.axes)

    out = on_same_grid(like, finish, source.axes)
    kept = {str(k): like.attrs[k] for k in ("cell_methods", "grid_mapping") if k in like.attrs}
    out.attrs = {**kept, **label.attrs}
    return out.rename(label.name)


def on_grid_together(
    arrays: Sequence[xr.DataArray],
    labels: Sequence[Label],
    like: xr.DataArray,
    source: Source,
    call: str,
    attrs: Mapping[Any, Any],
) -> xr.Dataset:
    """Dataset of several new fields (see `on_grid`) with one line of history."""
    done = {label.name: on_grid(array, label, like, source) for array, label in zip(arrays, labels, strict=True)}
    return cf.add_history(xr.Dataset(done, attrs=attrs), call)


def with_history_of(da: xr.DataArray, ds: xr.Dataset) -> xr.DataArray:
    """Give a field made from a Dataset the Dataset's history."""
    return da.assign_attrs(history=ds.attrs["history"]) if "history" in ds.attrs else da


def grid_sizes(source: Source) -> dict[Hashable, int]:
    """Sizes of the horizontal dimensions, without a repeated column."""
    return dict(zip(source.axes.dims, source.grid.shape, strict=True))


def title(da: xr.DataArray) -> str:
    """Words for a field, for the ``long_name`` of what is made from it."""
    return str(da.attrs.get("long_name") or da.attrs.get("standard_name") or da.name or "the field")


def holds_coefficients(obj: XarrayObject) -> bool:
    """Tell whether an object holds coefficients on ``degree`` and ``order``."""
    if isinstance(obj, xr.DataArray):
        return _fields.is_spectral(obj)
    return any(_fields.is_spectral(da) for da in obj.data_vars.values())


# ---------------------------------------------------------------------- units and factors
def unit_scale(da: xr.DataArray, wanted: str) -> float:
    """Factor that turns a field into ``wanted`` units; 1 if it has no ``units`` attribute.

    Raises
    ------
    UnitsError
        If the units measure something else.
    """
    units = da.attrs.get("units")
    if units is None:
        return 1.0
    try:
        return conversion(str(units), wanted)[0]
    except UnitsError as error:
        message = f"variable {da.name!r}: {error}. Set ds[{da.name!r}].attrs['units'] if that is what it holds"
        raise UnitsError(message) from None


def check_radius(radius: float | None) -> float:
    """Give the radius of the sphere in metres, the Earth's by default.

    Raises
    ------
    OptionError
        If it is not a positive number.
    """
    return EARTH_RADIUS if radius is None else positive("radius", radius, "metres")


def positive(name: str, value: Any, what: str) -> float:
    """Give an option as a float.

    Raises
    ------
    OptionError
        If it is not a finite number above 0.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not (number > 0 and np.isfinite(number)) or isinstance(value, str):
        message = f"{name}={value!r} came; wanted {what}, more than 0"
        raise OptionError(message)
    return number


def scaled(field: Any, factor: float) -> Floats:
    """Multiply by a factor in the field's own precision."""
    array = _kernels.as_float(field)
    return array if factor == 1 else array * np.asarray(factor, array.dtype)


def inverse_factor(lmax: int, radius: float) -> Floats:
    """``radius / sqrt(n (n + 1))`` by degree, 0 at degree 0: from vorticity to wind, and from wind to streamfunction.

    Examples
    --------
    >>> inverse_factor(2, radius=1.0)
    array([0. , 0.70710678, 0.40824829])
    """
    factor = _kernels.derivative_factor(lmax, radius)
    factor[0] = np.inf  # no wind has vorticity or divergence in its global mean
    return np.asarray(1 / factor)


def by_degree(factor: Floats, coefficients: Any) -> Any:
    """Multiply coefficients (..., degree, order) by a factor for each degree, in their own precision."""
    return coefficients * factor[:, None].astype(coefficients.real.dtype)


def sine_of_latitude(grid: Grid) -> Floats:
    """``sin(lat)``, broadcastable to the shape of a field on the grid."""
    sine = np.cos(np.asarray(grid.colatitude, dtype=np.float64))
    sizes = getattr(grid, "ring_sizes", None)
    return sine[:, None] if sizes is None else np.repeat(sine, sizes)
