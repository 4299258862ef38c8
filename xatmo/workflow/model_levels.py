"""Variables of an archive on levels of a model, brought to the pressures that are asked for."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import xarray as xr

from xatmo import cf
from xatmo.errors import CoordinateError, DimensionError, OptionError, VariableError
from xatmo.vertical import Below, coefficient_names, hybrid_dimension, is_height, to_pressure

_SURFACE: Final = ("surface_air_pressure", "sp", "surface_pressure", "lnsp", "logarithm_of_surface_pressure", "ps")
_BLOCK_BYTES: Final = 32e6
_OWN: Final = "_surface_pressure"


@dataclass(frozen=True)
class Asked:
    """A variable with a level after the @.

    Attributes
    ----------
    name : str
        In the archive.
    level : float
        A pressure in hPa, or the number of a model's level.
    is_pressure, is_number : bool
        Whether it is written as ``t@850hPa``, and as ``t@ml96``; plain ``t@850`` is neither.
    """

    name: str
    level: float
    is_pressure: bool = False
    is_number: bool = False

    @classmethod
    def read(cls, text: str) -> Asked:
        """Read ``"t@850"``, ``"t@850hPa"`` or ``"t@ml96"``.

        Raises
        ------
        OptionError
            If what follows the @ is no level.

        Examples
        --------
        >>> Asked.read("t@850hPa")
        Asked(name='t', level=850.0, is_pressure=True, is_number=False)
        """
        name, _, level = text.partition("@")
        match = re.fullmatch(r"(ml)?\s*(\d+(?:\.\d*)?|\.\d+)\s*(hPa)?", level)
        if match is None or (match[1] and match[3]):
            message = f"variable {text!r} came; wanted a number after the @, as in t@850 (hPa), or t@ml96 (model level)"
            raise OptionError(message)
        return cls(name, float(match[2]), is_pressure=bool(match[3]), is_number=bool(match[1]))


def short(text: str) -> str:
    """Name of what ``"t@850hPa"`` asks for: ``"t850"``."""
    return text.replace("@", "").removesuffix("hPa").strip()


@dataclass(frozen=True)
class Columns:
    """Variables on levels of a model with what it takes to bring them to pressures.

    Attributes
    ----------
    ds : Dataset
        The variables as the archive has them, surface pressure, and coefficients.
    fields : mapping
        New name to variable and pressure in hPa.
    dim : str
        Of the levels.
    """

    ds: xr.Dataset
    fields: Mapping[str, tuple[Hashable, float]]
    dim: Hashable

    @classmethod
    def of(cls, whole: xr.Dataset, fields: Mapping[str, tuple[Hashable, float]], *, elsewhere: bool) -> Columns:
        """Take from an archive what is needed.

        Parameters
        ----------
        whole : Dataset
        fields : mapping
        elsewhere : bool
            Whether surface pressure comes from another source.

        Raises
        ------
        VariableError
            If there is no surface pressure.
        DimensionError
            If the variables lie on levels of several dimensions.
        """
        names = list(dict.fromkeys(name for name, _ in fields.values()))
        dims = list(dict.fromkeys(dimension(whole[name]) for name in names))
        dim = dims[0]
        if len(dims) > 1 or dim is None:
            shown = ", ".join(map(repr, dims))
            message = f"variables lie on model levels along {shown}; wanted one: extract them into a store each"
            raise DimensionError(message)
        taken = [n for n in coefficient_names(whole, dim) if n not in names]
        if not elsewhere:
            found = _surface_in(whole)
            if found is None:
                message = (
                    f"{names[0]!r} lies on levels of the model ({dim}), and the input has no surface pressure (sp or "
                    "lnsp), without which these have no pressures: say where it lies, as surface_pressure: FILE"
                )
                raise VariableError(message)
            taken.append(found)
        return cls(whole[[*names, *dict.fromkeys(taken)]], dict(fields), dim)

    def at_pressures(self, cut: xr.Dataset, surface: xr.DataArray | None, coefficients: Any) -> xr.Dataset:
        """Give the variables at their pressures, lazily.

        Parameters
        ----------
        cut : Dataset
            The region and times of ``ds`` that are wanted.
        surface : DataArray, optional
            Surface pressure on the same points and times; that in ``ds`` unless given.
        coefficients
            As `xatmo.vertical.to_pressure` takes them.

        Raises
        ------
        XatmoError
            As `xatmo.vertical.to_pressure`.
        """
        ds = cut if surface is None else cut.assign({_OWN: surface})
        name = _OWN if surface is not None else _surface_in(cut)
        ds = _in_blocks(ds, self.dim)
        names = dict.fromkeys(old for old, _ in self.fields.values())
        out = {}
        for old in names:
            mine = ds.drop_vars([n for n in names if n != old])
            levels = {new: level for new, (n, level) in self.fields.items() if n == old}
            found = self._brought(mine, old, list(dict.fromkeys(levels.values())), name, coefficients)
            for new, level in levels.items():
                da = found.sel(pressure_level=level, drop=True).rename(new)
                out[new] = da.drop_vars([c for c in da.coords if not da[c].dims]).assign_attrs(level=level)
        return xr.Dataset(out, attrs=cut.attrs)

    def _brought(
        self, ds: xr.Dataset, name: Hashable, pressures: list[float], surface: Hashable, coefficients: Any
    ) -> xr.DataArray:
        """Bring one variable to pressures; a height has no value below the ground."""
        below: Below = "nan" if is_height(ds[name]) else "extrapolate"
        try:
            found = to_pressure(
                ds, pressures, surface_pressure=surface, coefficients=coefficients, dim=self.dim, below=below
            )
        except VariableError as error:
            if "coefficients" not in str(error):
                raise
            message = (
                f"no coefficients of {self.dim!r} are in the input (pv of GRIB, ap and b, hyai and hybi); say them, as "
                "coefficients: L137 for ERA5, or coefficients: [[a, ...], [b, ...]] of the half levels"
            )
            raise VariableError(message) from error
        return found[name]


def dimension(da: xr.DataArray) -> Hashable | None:
    """Dimension of a variable that is the levels of a model; None where it has none, or several."""
    try:
        return hybrid_dimension(da)
    except DimensionError:
        return None


def surface_pressure_of(more: xr.Dataset) -> xr.DataArray:
    """Take the surface pressure out of what was opened for it.

    Raises
    ------
    VariableError
        If there is none.
    """
    name = _surface_in(more)
    if name is None:
        message = f"surface_pressure: there is {sorted(map(str, more.data_vars))}; wanted sp or lnsp among them"
        raise VariableError(message)
    return more[name]


def at_times(surface: xr.Dataset, times: xr.DataArray) -> xr.Dataset:
    """Take the times of the fields.

    Raises
    ------
    CoordinateError
        If one is missing.
    """
    time = cf.time(surface)
    index = surface.indexes[time]
    lacking = times.to_index().difference(index)
    if len(lacking):
        message = (
            f"surface_pressure has no {lacking[0]} and {len(lacking) - 1} more of the {times.size} times; it runs from "
            f"{index[0]} to {index[-1]}. Wanted all times of the input that are chosen"
        )
        raise CoordinateError(message)
    found = surface.sel({time: times.values})
    return found if time == times.name else found.rename({time: times.name})


def _surface_in(ds: xr.Dataset) -> Hashable | None:
    for word in _SURFACE:
        for name, da in ds.data_vars.items():
            if word in (name, da.attrs.get("standard_name"), da.attrs.get("GRIB_shortName")):
                return name
    return None


def _in_blocks(ds: xr.Dataset, dim: Hashable) -> xr.Dataset:
    """Put fields on Dask with whole columns, as many times to a block as fit."""
    out = {}
    for name, da in ds.data_vars.items():
        if dim in da.dims and da.ndim > 1:
            first = next(d for d in da.dims if d != dim)
            frame = da.dtype.itemsize * math.prod(n for d, n in da.sizes.items() if d != first)
            frames = max(1, int(_BLOCK_BYTES // frame))
            if da.chunks is not None:
                frames = min(frames, max(da.chunksizes[first]))
            out[name] = da.chunk({d: -1 for d in da.dims} | {first: frames})
        elif da.ndim > 1 and da.chunks is None:
            out[name] = da.chunk()
    return ds.assign(out)
