"""Cross-spectra and coherence of two fields or winds: by degree on the sphere, by wavenumber in a box."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo._labels import restore_order
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import CoordinateError, DimensionError, GridError, OptionError, UnitsError, VariableError
from xatmo.spectral import _boxes, _fields, _kernels, _operands
from xatmo.spectral._boxes import Region
from xatmo.spectral._fields import DEGREE, ORDER, Source
from xatmo.spectral._operands import Components, Operand
from xatmo.spectral._planar import Box
from xatmo.spectral._results import holds_coefficients, unit_scale
from xatmo.spectral._vectors import components
from xatmo.spectral.flux import inner
from xatmo.spectral.spectrum import WAVENUMBER, check_kind, ring_coords, squared_units
from xatmo.typing import CrossKind, Floats, SpectralEngine, XarrayObject
from xatmo.units import conversion, convert

KINDS = ("auto", "spherical", "isotropic")
_WHAT = "cross_spectrum"
_PARTS = ("", "rotational_", "divergent_")
_OF = {"": "", "rotational_": " of the rotational wind", "divergent_": " of the divergent wind"}


# ---------------------------------------------------------------------- blocks: (cross, power, power_other) by part
def _degree_fields(first: Components, second: Components) -> list[Floats]:
    return [inner(x, y) for x, y in _three(first[0], second[0])]


def _degree_winds(first: Components, second: Components) -> list[Floats]:
    parts = [[inner(x, y) / 2 for x, y in _three(a, b)] for a, b in zip(first, second, strict=True)]
    total = [rotational + divergent for rotational, divergent in zip(*parts, strict=True)]
    return [*total, *parts[0], *parts[1]]


def _three(x: Any, y: Any) -> list[tuple[Any, Any]]:
    return [(x, y), (x, x), (y, y)]


def _rings(box: Box, first: Any, second: Any) -> list[Floats]:
    """Cross (real and imaginary part) and both powers by ring; the sum over the eastward half of the plane, doubled."""
    product = first * second.conj()
    squares = [np.abs(x) ** 2 for x in (first, second)]
    return [box.by_ring(x) for x in (product.real, product.imag, *squares)]


def _box_fields(first: Components, second: Components, *, box: Box) -> list[Floats]:
    return _rings(box, first[0], second[0])


def _box_winds(first: Components, second: Components, *, box: Box) -> list[Floats]:
    whole = [_rings(box, x, y) for x, y in zip(first, second, strict=True)]
    total = [(east + north) / 2 for east, north in zip(*whole, strict=True)]
    turned = [box.split(*wind) for wind in (first, second)]
    parts = [[x / 2 for x in _rings(box, *pair)] for pair in zip(*turned, strict=True)]
    return [*total, *parts[0], *parts[1]]


def _correlation(cross: Any, power: Any, other: Any) -> Any:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.clip(cross / np.sqrt(power * other), -1, 1)


def _coherence(cross: Any, quadrature: Any, power: Any, other: Any) -> Any:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.minimum((cross**2 + quadrature**2) / (power * other), 1)


# ---------------------------------------------------------------------- pairs
@dataclass(frozen=True)
class _Pair:
    """Two fields, or two winds, that belong together."""

    prefix: str
    first: tuple[xr.DataArray, ...]
    second: tuple[xr.DataArray, ...]

    @property
    def is_wind(self) -> bool:
        return len(self.first) == 2

    @property
    def units(self) -> str | None:
        if self.is_wind:
            return "m2 s-2"
        units = self.first[0].attrs.get("units")
        return None if units is None else squared_units(str(units))


def _pairs(
    obj: XarrayObject, other: XarrayObject, sides: tuple[_Side, _Side], u: Hashable | None, v: Hashable | None
) -> Iterator[_Pair]:
    if isinstance(obj, xr.Dataset) and isinstance(other, xr.Dataset):
        winds = _wind(obj, sides[0], u, v), _wind(other, sides[1], *_named(other, u, v))
        if winds[0] is not None and winds[1] is not None:
            yield _Pair("", winds[0], winds[1])
            return
        if u is not None:
            message = f"{_WHAT}: u={u!r}, v={v!r} came, but the other Dataset has no wind pair"
            raise VariableError(message)
        left_out = cf.auxiliary(obj)
        known = [set(side.core) for side in sides]
        names = [
            n
            for n, x in obj.data_vars.items()
            if n in other.data_vars
            and x.dtype.kind in "fiubc"
            and n not in left_out
            and known[0] <= set(x.dims)
            and known[1] <= set(other[n].dims)
        ]
        if not names:
            message = (
                f"{_WHAT} pairs fields by name; {sorted(map(str, obj.data_vars))} and "
                f"{sorted(map(str, other.data_vars))} came. Rename one: ds.rename({{'OLD': 'NEW'}})"
            )
            raise VariableError(message)
        for name in names:
            yield _Pair(f"{name}_", (obj[name],), (other[name],))
        return
    if u is not None or v is not None:
        message = f"{_WHAT}: u={u!r}, v={v!r} came with a DataArray; wanted two Datasets that hold both components"
        raise OptionError(message)
    names = [x.name for x in (obj, other) if isinstance(x, xr.DataArray)]
    first, second = (x if isinstance(x, xr.DataArray) else _only(x, names[0]) for x in (obj, other))
    yield _Pair("", (first,), (second,))


def _named(ds: xr.Dataset, u: Hashable | None, v: Hashable | None) -> tuple[Hashable | None, Hashable | None]:
    """Names of components where the other Dataset has them too; otherwise they are found by CF."""
    return (u, v) if u in ds.data_vars and v in ds.data_vars else (None, None)


def _only(ds: xr.Dataset, name: Hashable) -> xr.DataArray:
    if name in ds.data_vars:
        return ds[name]
    if len(ds.data_vars) == 1:
        return next(iter(ds.data_vars.values()))
    message = (
        f"{_WHAT} got a DataArray named {name!r} and a Dataset with {sorted(map(str, ds.data_vars))}; "
        "pick the variable: ds['NAME']"
    )
    raise VariableError(message)


def _wind(
    ds: xr.Dataset, side: _Side, u: Hashable | None, v: Hashable | None
) -> tuple[xr.DataArray, xr.DataArray] | None:
    if holds_coefficients(ds):
        return None if u is not None else _operands.given_wind_pair(ds)
    pair = cf.wind_pair(ds, u=u, v=v, required=False)
    return None if pair is None else components(ds, *pair, side.core)


def _in_units_of(second: xr.DataArray, first: xr.DataArray) -> xr.DataArray:
    ours, theirs = first.attrs.get("units"), second.attrs.get("units")
    if ours is None and theirs is None:
        return second
    if ours is None or theirs is None:
        message = (
            f"{_WHAT}: one field has units {ours if theirs is None else theirs!r}, the other ({first.name!r} or "
            f"{second.name!r}) has none; wanted both or neither. Set da.attrs['units']"
        )
        raise UnitsError(message)
    if _fields.is_spectral(second) and conversion(str(theirs), str(ours))[1]:
        message = f"{_WHAT}: coefficients in {theirs!r} came beside {ours!r}; convert the field before the transform"
        raise UnitsError(message)
    return convert(second, str(ours))


# ---------------------------------------------------------------------- kinds
@dataclass(frozen=True)
class _Side:
    """One of the two objects: its grid, or None if it holds coefficients."""

    source: Region | None

    @classmethod
    def of(cls, obj: XarrayObject, kind: str) -> _Side:
        plane = kind in ("auto", "isotropic")
        return cls(None if holds_coefficients(obj) else _boxes.region(obj, plane=plane))

    @property
    def core(self) -> tuple[Hashable, ...]:
        return (DEGREE, ORDER) if self.source is None else self.source.axes.dims

    @property
    def is_plane(self) -> bool:
        return self.source is not None and not _boxes.is_global(self.source)

    @property
    def sphere(self) -> Source:
        """The grid, to be global: asked of fields that go to the sphere."""
        if isinstance(self.source, Source):
            return self.source
        message = f"{_WHAT}: a plane came beside a global field; regrid the one onto the box of the other first"
        raise GridError(message)

    def top(self, arrays: Sequence[xr.DataArray], lmax: int | None) -> int:
        if self.source is None:
            return min(_operands.given_degree(x, lmax, what=_WHAT) for x in arrays)
        return _kernels.resolve_lmax(self.sphere.grid, lmax, what=f"{_WHAT}(kind='spherical')")

    def operand(self, arrays: tuple[xr.DataArray, ...], lmax: int, engine: SpectralEngine | None) -> Operand:
        if self.source is None:
            if len(arrays) == 2:
                return _operands.given_wind((arrays[0], arrays[1]), lmax, radius=EARTH_RADIUS, what=_WHAT)
            return _operands.given_field(arrays[0], lmax, what=_WHAT)
        if len(arrays) == 2:
            return _operands.wind_on_grid((arrays[0], arrays[1]), self.sphere, lmax, engine, what=_WHAT)
        return _operands.field_on_grid(arrays[0], self.sphere, lmax, engine, what=_WHAT)


def _in_box(arrays: tuple[xr.DataArray, ...], source: Region, box: Box) -> Operand:
    scale = [unit_scale(x, "m s-1") for x in arrays] if len(arrays) == 2 else [1.0]
    return _operands.in_box(arrays, source, box, scale, what=_WHAT)


def _check_labels(first: Operand, second: Operand) -> Operand:
    """Check the labels of what the two share beside their grids; give the second without other coordinates.

    Raises
    ------
    CoordinateError
        If sizes or labels differ.
    """
    ours = first.arrays[0]
    for da in second.arrays:
        for dim in (d for d in da.dims if d in ours.dims and d not in (*first.core, *second.core)):
            labels = [x.indexes.get(dim) for x in (ours, da)]
            same = ours.sizes[dim] == da.sizes[dim]
            if same and labels[0] is not None and labels[1] is not None:
                same = labels[0].equals(labels[1])
            if not same:
                message = (
                    f"{_WHAT}: labels of {dim!r} differ ({ours.sizes[dim]} and {da.sizes[dim]} points); wanted the "
                    "same. Align them on purpose first: xr.align(obj, other, join='inner')"
                )
                raise CoordinateError(message)
    bare = tuple(
        da.drop_vars([c for c in da.coords if c not in da.dims or c in second.core or c in first.core])
        for da in second.arrays
    )
    return replace(second, arrays=bare)


# ---------------------------------------------------------------------- labelled
def cross_spectrum(
    obj: XarrayObject,
    other: XarrayObject,
    *,
    kind: CrossKind = "auto",
    u: Hashable | None = None,
    v: Hashable | None = None,
    lmax: int | None = None,
    dim: Hashable | Sequence[Hashable] | None = None,
    engine: SpectralEngine | None = None,
) -> xr.Dataset:
    """Compute what two fields or winds have in common, by scale: cross-spectrum, correlation and coherence.

    On the sphere, with coefficients X and Y of the two (see `to_spectral`), at degree n

        ``cross = Re(X(n, 0) conj(Y(n, 0)) + 2 sum_m X(n, m) conj(Y(n, m)))``

    which sums over degrees to the area mean of the product; ``correlation = cross / sqrt(power power_other)`` is the
    correlation of the parts at that degree, and ``coherence`` its square. For winds rotational and divergent
    coefficients are taken together, halved as in the kinetic energy, and each by itself.

    In a box, the detrended and tapered fields' Fourier coefficients are multiplied and summed over rings of wavenumbers
    (see `energy_spectrum`). ``cross`` is the real part; ``quadrature``, the imaginary part over the waves that point
    east, doubled; ``phase = arctan2(quadrature, cross)``, positive where the waves of ``other`` lie east of those of
    ``obj``; and ``coherence = (cross**2 + quadrature**2) / (power power_other)``, which does not mind such a shift.

    One number divided by its own size is 1: coherence tells something through averaging, here over the orders of a
    degree or the waves of a ring, and over ``dim`` before the ratio is taken. Of unrelated noise it is about 1 over
    the number of independent values averaged, ``2 n + 1`` at degree n of one field.

    Parameters
    ----------
    obj, other : Dataset or DataArray
        Two DataArrays make one pair. Two Datasets: their wind pairs if both have one, otherwise the variables of equal
        name. Global fields, or coefficients on ``degree`` and ``order`` or GRIB's ``values``, may come on different
        grids: the degrees that both resolve are compared. Boxes have to have the same points, in degrees or on x and y.
        Other dimensions need the same labels, or belong to one of the two.
    kind : {"auto", "spherical", "isotropic"}
        By degree, or by wavenumber in a box; as the grid of ``obj`` is unless given.
    u, v : str, optional
        Names of eastward and northward wind, where CF attributes and usual names do not tell.
    lmax : int, optional
        Highest degree (spherical only); the highest that both resolve by default.
    dim : str or sequence of str, optional
        Dimensions, such as time, over which cross-spectrum and powers are averaged before they are divided.
    engine : {"ducc0", "torch"}, optional
        ducc0 where it is installed (spherical only).

    Returns
    -------
    Dataset
        ``cross``, ``power``, ``power_other``, in the square of ``obj``'s units (``other`` is converted);
        ``correlation`` and ``coherence``, dimensionless, NaN where one of the two has no power; in boxes also
        ``quadrature`` and ``phase`` (radians). By ``degree`` or ``wavenumber``, with ``wavelength`` in metres. For
        winds the same with ``rotational_`` and ``divergent_`` before their names; for variables of Datasets with the
        variable's name, as in ``t_coherence``.

    Raises
    ------
    OptionError
        If ``kind`` is unknown, or ``lmax``, ``u`` or ``v`` out of place.
    GridError
        If one is global and the other regional, or boxes have different points.
    CoordinateError
        If labels of other dimensions differ.
    DimensionError
        If ``dim`` names a dimension that neither has.
    VariableError
        If Datasets have no variable or no wind in common.
    UnitsError
        If units cannot be converted, or one of the two has none.
    ChunkError
        If a transformed dimension is split into chunks.
    MissingValueError
        At compute time, if a value is NaN or infinite.

    References
    ----------
    The correlation by degree is that of gravity-field work, for instance W. M. Kaula, 1967: Theory of statistical
    analysis of data distributed over a sphere. Rev. Geophys. 5, 83-107.

    Examples
    --------
    >>> from xatmo import Grid
    >>> noise = np.random.default_rng(0).normal(size=(2, 16, 32))
    >>> a, b = (xr.DataArray(x, Grid.gaussian(16).coords(), ("latitude", "longitude")) for x in noise)
    >>> out = cross_spectrum(a, (a + b) / 2)
    >>> list(out.data_vars)
    ['cross', 'power', 'power_other', 'correlation', 'coherence']
    >>> round(out.coherence.sel(degree=slice(5, None)).mean().item(), 1)
    0.5
    """
    for came in (obj, other):
        given: Any = came
        if not isinstance(given, xr.DataArray | xr.Dataset):
            message = f"{_WHAT} got a {type(given).__name__}; wanted two Datasets or DataArrays"
            raise OptionError(message)
    check_kind(kind, KINDS)
    obj, other = _operands.unpacked(obj), _operands.unpacked(other)
    sides = _Side.of(obj, kind), _Side.of(other, kind)
    plane = kind == "isotropic" or (kind == "auto" and sides[0].is_plane)
    if plane and lmax is not None:
        message = f"lmax={lmax!r} came for boxes; wanted it with kind='spherical' only"
        raise OptionError(message)
    done: dict[str, xr.DataArray] = {}
    for pair in _pairs(obj, other, sides, u, v):
        if not pair.is_wind:
            pair = replace(pair, second=(_in_units_of(pair.second[0], pair.first[0]),))
        done |= _in_boxes(pair, sides, dim) if plane else _by_degree(pair, sides, lmax, dim, engine)
    call = cf.describe_call(_WHAT, kind=kind, u=u, v=v, lmax=lmax, dim=dim, engine=engine)
    return cf.add_history(xr.Dataset(done, attrs=obj.attrs if isinstance(obj, xr.Dataset) else {}), call)


def _by_degree(
    pair: _Pair, sides: tuple[_Side, _Side], lmax: int | None, dim: Any, engine: SpectralEngine | None
) -> dict[str, xr.DataArray]:
    top = min(side.top(arrays, lmax) for side, arrays in zip(sides, (pair.first, pair.second), strict=True))
    first = sides[0].operand(pair.first, top, engine)
    second = _check_labels(first, sides[1].operand(pair.second, top, engine))
    function, prefixes = (_degree_winds, _PARTS) if pair.is_wind else (_degree_fields, _PARTS[:1])
    sums = _operands.combine([first, second], function, {DEGREE: top + 1}, count=3 * len(prefixes), what=_WHAT)
    sums = _labelled(sums, _fields.own(_fields.degree_coords(top)), first, dim)
    done: dict[str, xr.DataArray] = {}
    for i, part in enumerate(prefixes):
        cross, power, other = sums[3 * i : 3 * i + 3]
        correlation = xr.apply_ufunc(
            _correlation, cross, power, other, dask="parallelized", output_dtypes=[cross.dtype]
        )
        done |= _named_results(pair, part, cross=cross, power=power, power_other=other, correlation=correlation,
                               coherence=correlation**2)  # fmt: skip
    return done


def _in_boxes(pair: _Pair, sides: tuple[_Side, _Side], dim: Any) -> dict[str, xr.DataArray]:
    ours, theirs = (side.source for side in sides)
    if ours is None or theirs is None:
        message = f"{_WHAT}: kind='isotropic' came with coefficients; wanted fields in boxes"
        raise OptionError(message)
    box = _boxes.box_of(ours, what="kind='isotropic'")
    if _boxes.rows_reversed(ours, theirs, what=_WHAT):
        upside = {theirs.axes.lat_dim: slice(None, None, -1)}
        pair = replace(pair, second=tuple(x.isel(upside) for x in pair.second))
    first = _in_box(pair.first, ours, box)
    second = _check_labels(first, _in_box(pair.second, theirs, box))
    function = partial(_box_winds if pair.is_wind else _box_fields, box=box)
    prefixes = _PARTS if pair.is_wind else _PARTS[:1]
    sums = _operands.combine([first, second], function, {WAVENUMBER: box.size}, count=4 * len(prefixes), what=_WHAT)
    sums = _labelled(sums, ring_coords(box), first, dim)
    done: dict[str, xr.DataArray] = {}
    for i, part in enumerate(prefixes):
        cross, quadrature, power, other = sums[4 * i : 4 * i + 4]
        lazily: dict[str, Any] = {"dask": "parallelized", "output_dtypes": [cross.dtype]}
        done |= _named_results(
            pair,
            part,
            cross=cross,
            quadrature=quadrature,
            power=power,
            power_other=other,
            correlation=xr.apply_ufunc(_correlation, cross, power, other, **lazily),
            coherence=xr.apply_ufunc(_coherence, cross, quadrature, power, other, **lazily),
            phase=xr.apply_ufunc(np.arctan2, quadrature, cross, **lazily),
        )
    return done


def _labelled(
    sums: Sequence[xr.DataArray], coords: Any, first: Operand, dim: Hashable | Sequence[Hashable] | None
) -> tuple[xr.DataArray, ...]:
    """Give sums their coordinates and dimension order, averaged over ``dim``."""
    dims: list[Hashable] = []
    if dim is not None:
        dims = [dim] if isinstance(dim, str) or not isinstance(dim, Sequence) else list(dim)
    missing = [d for d in dims if d not in sums[0].dims[:-1]]
    if missing:
        message = f"{_WHAT}: dim has {missing[0]!r}, but the spectra have {sums[0].dims}; wanted some of these"
        raise DimensionError(message)
    done = [restore_order(_fields.placed(x, coords), first.arrays[0]) for x in sums]
    return tuple(x.mean(dims, skipna=False) if dims else x for x in done)


_NAMES = {
    "cross": "cross-spectrum",
    "quadrature": "quadrature spectrum, positive where the other lies east",
    "power": "power spectrum of the first",
    "power_other": "power spectrum of the other",
    "correlation": "correlation by scale",
    "coherence": "coherence (squared) by scale",
    "phase": "phase of the cross-spectrum, positive where the other lies east",
}


def _named_results(pair: _Pair, part: str, **results: xr.DataArray) -> dict[str, xr.DataArray]:
    done = {}
    for name, da in results.items():
        units = {"correlation": "1", "coherence": "1", "phase": "radian"}.get(name, pair.units)
        attrs = {"long_name": _NAMES[name] + _OF[part]}
        done[f"{pair.prefix}{part}{name}"] = da.assign_attrs(attrs if units is None else {**attrs, "units": units})
    return done
