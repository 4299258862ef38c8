"""Power and kinetic-energy spectra: by degree on the sphere, by wavenumber in a box, along latitude circles."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo._labels import changed_values, map_fields, require_finite, restore_order
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import GridError, OptionError
from xatmo.spectral import _boxes, _fields, _kernels, _operands
from xatmo.spectral._boxes import Region
from xatmo.spectral._fields import DEGREE, ORDER, Source
from xatmo.spectral._planar import Box, zonal_power
from xatmo.spectral._results import holds_coefficients, unit_scale
from xatmo.spectral._vectors import components
from xatmo.typing import Complexes, Floats, SpectralEngine, SpectrumKind, T

KINDS = ("auto", "spherical", "isotropic", "zonal")
WAVENUMBER, ZONAL = "wavenumber", "zonal_wavenumber"

_PARTS = (
    ("energy", "kinetic energy"),
    ("rotational", "kinetic energy of the rotational wind"),
    ("divergent", "kinetic energy of the divergent wind"),
)


# ---------------------------------------------------------------------- blocks
def _block(field: Any, *, function: Callable[[Any], Floats], name: Any) -> Floats:
    field = _kernels.as_float(field)
    with np.errstate(invalid="ignore", over="ignore"):
        power = function(field)
    _require_finite(power, field, name=name)
    return power.astype(field.dtype, copy=False)


def _require_finite(power: Floats, *fields: Any, name: Any) -> None:
    """Look for missing values in the fields where the power, fewer numbers by far, is not finite: it holds them all."""
    with np.errstate(invalid="ignore", over="ignore"):
        fine = np.isfinite(power.sum())
    if not fine:
        for field in fields:
            require_finite(field, what="energy_spectrum", name=name)


def _wind_block(u: Any, v: Any, *, function: Callable[[Any, Any], Any], scale: tuple[float, float], name: Any) -> Any:
    u, v = first, second = _kernels.as_float(u), _kernels.as_float(v)
    if scale != (1.0, 1.0):
        u, v = u * np.asarray(scale[0], u.dtype), v * np.asarray(scale[1], v.dtype)
    with np.errstate(invalid="ignore", over="ignore"):
        results = function(u, v)
    several = isinstance(results, tuple)
    _require_finite(results[0] if several else results, first, second, name=name)
    dtype = np.result_type(u, v)
    if several:
        return tuple(r.astype(dtype, copy=False) for r in results)
    return results.astype(dtype, copy=False)


def _degree_power(field: Any, *, grid: Any, lmax: int, engine: Any) -> Floats:
    return _kernels.field_power(field, grid, lmax, engine)


def _degree_energy(u: Any, v: Any, *, grid: Any, lmax: int, engine: Any) -> tuple[Floats, Floats, Floats]:
    rotational, divergent = (power / 2 for power in _kernels.wind_power(u, v, grid, lmax, engine))
    return rotational + divergent, rotational, divergent


def _zonal_energy(u: Any, v: Any) -> Floats:
    return np.asarray((zonal_power(u) + zonal_power(v)) / 2)


def _zonal_mean(field: Any, *, weights: Floats) -> Floats:
    return np.asarray(np.einsum("...jk,j->...k", zonal_power(field), weights))


def _zonal_mean_energy(u: Any, v: Any, *, weights: Floats) -> Floats:
    return np.asarray((_zonal_mean(u, weights=weights) + _zonal_mean(v, weights=weights)) / 2)


def _given_power(components: tuple[Complexes, ...]) -> tuple[Floats]:
    return (_kernels.power(components[0]),)


def _given_energy(components: tuple[Complexes, ...]) -> tuple[Floats, Floats, Floats]:
    rotational, divergent = (_kernels.power(x) / 2 for x in components)
    return rotational + divergent, rotational, divergent


# ---------------------------------------------------------------------- kinds
class _Kind:
    """One kind of spectrum on one grid: core dimensions, new dimension with coordinates, and block functions."""

    def __init__(
        self,
        core: tuple[Hashable, ...],
        size: Mapping[Hashable, int],
        coords: Callable[[xr.DataArray], Mapping[Any, Any]],
        power: Callable[[Any], Floats],
        kinetic: Callable[[Any, Any], Any],
        *,
        parts: int = 3,
    ) -> None:
        self.core, self.size, self.coords = core, size, coords
        self.power, self.kinetic, self.parts = power, kinetic, parts

    def label(self, out: xr.DataArray, like: xr.DataArray, attrs: dict[str, Any]) -> xr.DataArray:
        out = restore_order(_fields.placed(out, self.coords(like)), like)
        out.attrs = attrs
        return out


def _spherical(source: Source, lmax: int | None, engine: SpectralEngine | None) -> _Kind:
    top = _kernels.resolve_lmax(source.grid, lmax, what="energy_spectrum(kind='spherical')")
    options: dict[str, Any] = {"grid": source.grid, "lmax": top, "engine": _kernels.choose_engine(engine)}
    return _Kind(
        source.axes.dims,
        {DEGREE: top + 1},
        lambda da: _fields.own(_fields.degree_coords(top)),
        partial(_degree_power, **options),
        partial(_degree_energy, **options),
    )


def _isotropic(source: Region) -> _Kind:
    box = _boxes.box_of(source, what="kind='isotropic'")
    return _Kind(source.axes.dims, {WAVENUMBER: box.size}, lambda da: ring_coords(box), box.power, box.kinetic)


def ring_coords(box: Box) -> dict[str, Any]:
    """Coordinates ``wavenumber`` and ``wavelength`` of the rings of a box."""
    number = box.wavenumber
    with np.errstate(divide="ignore"):
        length = 1 / number
    attrs = {"long_name": "horizontal wavenumber, cycles per metre", "units": "m-1", "whole_rings_to": box.whole}
    return {
        WAVENUMBER: xr.Variable(WAVENUMBER, number, attrs),
        "wavelength": xr.Variable(WAVENUMBER, length, {"long_name": "wavelength", "units": "m"}),
    }


def _zonal(source: Source, by_latitude: bool) -> _Kind:
    grid, axes = source.grid, source.axes
    if len(axes.dims) != 2:
        message = (
            f"kind='zonal' needs as many points in every row; {grid!r} is no product of latitudes and longitudes. "
            "Regrid first, for instance to Grid.regular or Grid.gaussian"
        )
        raise GridError(message)
    if not grid.periodic:
        message = (
            f"kind='zonal' needs whole latitude circles; longitude runs from {grid.longitude[0]:g} to "
            f"{grid.longitude[-1]:g}. For a box use kind='isotropic'"
        )
        raise GridError(message)
    number = np.arange(grid.nlon // 2 + 1)
    attrs = {"long_name": "zonal wavenumber, waves around the latitude circle", "units": "1"}
    wavenumber = xr.Variable(ZONAL, number, attrs)
    if not by_latitude:
        options = {"weights": np.array(grid.weights)}
        power, kinetic = partial(_zonal_mean, **options), partial(_zonal_mean_energy, **options)
        return _Kind(axes.dims, {ZONAL: number.size}, lambda da: {ZONAL: wavenumber}, power, kinetic, parts=1)

    def coords(da: xr.DataArray) -> dict[Any, Any]:
        circle = 2 * np.pi * EARTH_RADIUS * np.cos(np.radians(da[axes.lat].values))
        with np.errstate(divide="ignore"):
            length = np.abs(circle)[:, None] / number
        long_name = "wavelength along the latitude circle"
        return {
            ZONAL: wavenumber,
            "wavelength": ((axes.lat_dim, ZONAL), length, {"long_name": long_name, "units": "m"}),
        }

    return _Kind((axes.lon_dim,), {ZONAL: number.size}, coords, zonal_power, _zonal_energy, parts=1)


def check_kind(kind: str, known: Sequence[str] = KINDS) -> None:
    """Raise unless a kind of spectrum is known.

    Raises
    ------
    OptionError
        Naming those that are.
    """
    if kind not in known:
        message = f"kind={kind!r} came; wanted one of {tuple(known)}"
        raise OptionError(message)


def _kind(
    source: Region, kind: str, lmax: int | None, engine: SpectralEngine | None, *, by_latitude: bool = True
) -> _Kind:
    if not by_latitude and kind != "zonal":
        message = f"by_latitude=False came with kind={kind!r}; wanted it with kind='zonal' only"
        raise OptionError(message)
    if kind == "auto":
        kind = "spherical" if _boxes.is_global(source) else "isotropic"
    if kind == "spherical":
        return _spherical(cast(Source, source), lmax, engine)
    if lmax is not None:
        message = f"lmax={lmax!r} came with kind={kind!r}; wanted it with kind='spherical' only"
        raise OptionError(message)
    return _isotropic(source) if kind == "isotropic" else _zonal(cast(Source, source), by_latitude)


# ---------------------------------------------------------------------- labelled
def squared_units(units: str) -> str:
    """Units of a square in CF's spelling, however the powers came: ``s-1``, ``s**-1``, ``s^-1`` or ``/s``.

    Examples
    --------
    >>> squared_units("m s-1"), squared_units("m s**-1"), squared_units("K"), squared_units("kg/m^2")
    ('m2 s-2', 'm2 s-2', 'K2', 'kg2 m-4')
    """
    if units.strip() in ("1", ""):  # dimensionless
        return units
    plain = re.sub(r"\*\*|\^", "", units.strip())
    parts = [re.fullmatch(r"(/?)([A-Za-z%]+)(-?\d+)?", t) for t in re.split(r"[\s*.]+|(?=/)", plain) if t]
    if not all(parts):
        return f"({units})2"
    return " ".join(f"{p[2]}{(-2 if p[1] else 2) * int(p[3] or 1)}" for p in parts if p)


def _power_attrs(da: xr.DataArray) -> dict[str, Any]:
    attrs = {k: da.attrs[k] for k in ("cell_methods", "history") if k in da.attrs}
    name = da.attrs.get("long_name", da.attrs.get("standard_name", da.name))
    attrs["long_name"] = f"power spectrum of {name}" if name is not None else "power spectrum"
    if "units" in da.attrs:
        attrs["units"] = squared_units(str(da.attrs["units"]))
    return attrs


def energy_spectrum(
    obj: T,
    *,
    kind: SpectrumKind = "auto",
    u: Hashable | None = None,
    v: Hashable | None = None,
    lmax: int | None = None,
    by_latitude: bool = True,
    engine: SpectralEngine | None = None,
) -> T:
    """Compute the power of scalar fields, or the kinetic energy of a wind pair, by scale.

    Parameters
    ----------
    obj : Dataset or DataArray
        A DataArray gives its power. A Dataset gives the kinetic energy of its wind pair if it has one, otherwise the
        power of every variable. Coefficients on ``degree`` and ``order``, or on GRIB's ``values``, serve as well
        (spherical only): those of vorticity and divergence (``vo`` and ``d``) together give the kinetic energy.
    kind : {"auto", "spherical", "isotropic", "zonal"}
        ``"spherical"``: by degree n, ``abs(X(n, 0))**2 + 2 sum_m abs(X(n, m))**2`` [1]_; sums to the area-mean
        square, degree 0 being the square of the mean. For winds half of it, from vector harmonics.

        ``"isotropic"``: for boxes, taken as a plane with ``dy = a dlat`` and ``dx = a cos(lat) dlon`` at the box's mean
        latitude; or with the x and y of a map projection, in units of length. The least-squares plane is removed, a
        Hann window applied, and the squared Fourier coefficients summed over rings of wavenumbers (cycles per metre).
        Sums to the mean square of the detrended field, weighted with the squared window.

        ``"zonal"``: by zonal wavenumber along every latitude circle; sums to the circle's mean square. The latitudes
        are kept, or averaged over (see ``by_latitude``).

        ``"auto"``: spherical on a global grid, isotropic otherwise.
    u, v : str, optional
        Names of eastward and northward wind, where CF attributes and usual names do not tell.
    lmax : int, optional
        Highest degree (spherical only); `Grid.lmax` by default.
    by_latitude : bool
        Of zonal spectra: one for every latitude, with its wavelengths, or their mean with `Grid.weights`, which sums
        to the area-mean square and has no wavelength, as that differs from circle to circle.
    engine : {"ducc0", "torch"}, optional
        ducc0 where it is installed (spherical only).

    Returns
    -------
    Dataset or DataArray
        On ``degree``, ``wavenumber`` (m-1; beyond its attribute ``whole_rings_to`` rings are not whole but corners of
        the plane, with ever fewer waves) or ``zonal_wavenumber``, with ``wavelength`` in metres (of zonal spectra
        along the circle: by latitude too). Power has the square of the field's units. For a wind pair a Dataset of
        ``energy``, ``rotational`` and ``divergent`` in m2 s-2
        (only ``energy`` for zonal spectra); winds in other units are converted, those without are taken to be in m s-1.

    Raises
    ------
    OptionError
        If ``kind`` is unknown, or ``lmax`` too large or out of place.
    GridError
        If the kind does not fit the grid.
    VariableError
        If named components are missing, or named for a DataArray.
    UnitsError
        If wind components are no velocities.
    ChunkError
        If a transformed dimension is split into chunks.
    MissingValueError
        At compute time, if a value is NaN or infinite.

    References
    ----------
    .. [1] G. J. Boer and T. G. Shepherd, 1983: Large-scale two-dimensional turbulence in the atmosphere.
       J. Atmos. Sci. 40, 164-184.

    Examples
    --------
    >>> from xatmo import Grid
    >>> grid = Grid.regular(37, 72)
    >>> speed = 10 * np.cos(np.radians(grid.latitude))[:, None] * np.ones(grid.nlon)
    >>> u = xr.DataArray(speed, grid.coords(), ("latitude", "longitude"))
    >>> spectrum = energy_spectrum(xr.Dataset({"u": u, "v": 0 * u}))
    >>> spectrum.energy.sel(degree=1).item(), spectrum.energy.sum().item()  # mean of (10 cos(lat))**2 / 2
    (33.3333333, 33.3333333)
    """
    obj = _operands.unpacked(obj)
    mean = None if by_latitude else False
    call = cf.describe_call("energy_spectrum", kind=kind, u=u, v=v, lmax=lmax, by_latitude=mean, engine=engine)
    if holds_coefficients(obj):
        return cf.add_history(_of_coefficients(obj, kind, u, v, lmax), call)
    check_kind(kind)
    source = _boxes.region(obj, plane=kind in ("auto", "isotropic"))
    this = _kind(source, kind, lmax, engine, by_latitude=by_latitude)
    if isinstance(obj, xr.Dataset):
        pair = _pair(obj, u, v, source)
        if pair is not None:
            return cf.add_history(_kinetic(obj, pair, this, source), call)
    elif u is not None or v is not None:
        message = f"u={u!r}, v={v!r} came with a DataArray; wanted a Dataset that holds both components"
        raise OptionError(message)

    def one(da: xr.DataArray) -> xr.DataArray:
        field = _boxes.bare(da, source, what="energy_spectrum")
        block = partial(_block, function=this.power, name=da.name)
        types = [_fields.float_type(field)]
        (out,) = _fields.apply(block, [field], this.core, outputs=[this.size], dtypes=types, what="energy_spectrum")
        return changed_values(this.label(out, field, _power_attrs(da)), da, reshaped=True)

    return cf.add_history(map_fields(obj, one, dims=source.axes.dims, what="energy_spectrum"), call)


def _of_coefficients(obj: T, kind: str, u: Hashable | None, v: Hashable | None, lmax: int | None) -> T:
    check_kind(kind)
    what = "energy_spectrum"
    if kind not in ("auto", "spherical") or u is not None or v is not None:
        message = (
            f"kind={kind!r}, u={u!r}, v={v!r} came with coefficients; wanted kind='spherical' of fields, or of "
            "vorticity and divergence"
        )
        raise OptionError(message)
    if isinstance(obj, xr.Dataset):
        pair = _operands.given_wind_pair(obj)
        if pair is not None:
            top = min(_operands.given_degree(x, lmax, what=what) for x in pair)
            operand = _operands.given_wind(pair, top, what=what)
            parts = _operands.combine([operand], _given_energy, {DEGREE: top + 1}, count=3, what=what)
            whole = restore_order(_fields.placed(parts[0], _fields.own(_fields.degree_coords(top))), pair[0])
            return _energies(whole, parts, obj.attrs)

    def one(da: xr.DataArray) -> xr.DataArray:
        top = _operands.given_degree(da, lmax, what=what)
        operand = _operands.given_field(da, top, what=what)
        (out,) = _operands.combine([operand], _given_power, {DEGREE: top + 1}, count=1, what=what)
        out = restore_order(_fields.placed(out, _fields.own(_fields.degree_coords(top))), da)
        out.attrs = _power_attrs(da)
        return changed_values(out, da, reshaped=True)

    return map_fields(obj, one, dims=(DEGREE, ORDER), what=what)


def _energies(whole: xr.DataArray, parts: Sequence[xr.DataArray], attrs: Mapping[Any, Any]) -> xr.Dataset:
    """Dataset of the energy and its parts, with the dimensions and coordinates of ``whole``."""
    done = {
        name: (whole.dims, part.transpose(*whole.dims).data, {"long_name": text, "units": "m2 s-2"})
        for (name, text), part in zip(_PARTS, parts, strict=False)
    }
    return xr.Dataset(done, coords=whole.coords, attrs=attrs)


def _pair(
    ds: xr.Dataset, u: Hashable | None, v: Hashable | None, source: Region
) -> tuple[xr.DataArray, xr.DataArray] | None:
    pair = cf.wind_pair(ds, u=u, v=v, required=False)
    return None if pair is None else components(ds, *pair, source.axes.dims)


def _kinetic(ds: xr.Dataset, pair: tuple[xr.DataArray, xr.DataArray], this: _Kind, source: Region) -> xr.Dataset:
    scale = unit_scale(pair[0], "m s-1"), unit_scale(pair[1], "m s-1")
    fields = [_boxes.bare(x, source, what="energy_spectrum") for x in pair]
    block = partial(_wind_block, function=this.kinetic, scale=scale, name=(pair[0].name, pair[1].name))
    results = _fields.apply(
        block,
        fields,
        this.core,
        outputs=[this.size] * this.parts,
        dtypes=[_fields.float_type(*fields)] * this.parts,
        what="energy_spectrum",
    )
    return _energies(this.label(results[0], fields[0], {}), results, ds.attrs)
