"""Gather what an interpolation needs from labelled data: observations, mask, background, domain, and where they lie."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo import _labels, cf, units
from xatmo.assimilation.labels.tracks import bin_track, is_track, require_on_grid
from xatmo.errors import CoordinateError, DimensionError, MissingValueError, UnitsError, VariableError
from xatmo.grids import Grid, unwrap_longitude

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Nodes:
    """Where the nodes of the analysis lie: the product of times, latitudes and longitudes."""

    time: Array  # seconds since the first; one zero where the data have no time
    latitude: Array
    longitude: Array  # unwrapped: increasing
    periodic: bool
    has_time: bool


@dataclass(frozen=True)
class Gathered:
    """Labelled inputs, aligned, with core dimensions (time, lat, lon)."""

    field: xr.DataArray
    mask: xr.DataArray | None
    background: xr.DataArray | None
    domain: xr.DataArray | None
    axes: cf.Horizontal
    core: tuple[Hashable, ...]
    nodes: Nodes
    name: Hashable
    attrs: dict[str, Any]
    about: dict[str, xr.DataArray] = dataclasses.field(default_factory=dict)  # what else is known of each observation

    def loaded(self) -> Gathered:
        """Read everything into memory."""
        mask, background, domain = (
            None if a is None else a.compute() for a in (self.mask, self.background, self.domain)
        )
        about = {k: v.compute() for k, v in self.about.items()}
        return replace(self, field=self.field.compute(), mask=mask, background=background, domain=domain, about=about)

    def solve(self, function: Callable[..., tuple[Array, Array]]) -> list[xr.DataArray]:
        """Apply ``function`` to every slab of (time, lat, lon), lazily where the data are lazy.

        The function gets values, a mask of what was observed, the background or None, and the domain; all of shape
        (time, lat, lon); and by keyword what else is known of the observations. It returns the analysis and its
        standard deviation.
        """
        present = {"mask": self.mask, "background": self.background, "domain": self.domain, **self.about}
        names = [k for k, v in present.items() if v is not None]
        others = [v for v in present.values() if v is not None]
        wanted = self.field.dtype if self.field.dtype.kind == "f" else np.dtype(np.float64)
        n_core = len(self.core)
        kernel = _Slabs(function, tuple(names), n_core, wanted)
        cores = [[d for d in self.core if d in a.dims] for a in (self.field, *others)]
        spread = [
            a if c == list(self.core) else _spread(a, self.field, self.core)
            for a, c in zip(others, cores[1:], strict=True)
        ]
        return list(
            xr.apply_ufunc(
                kernel, self.field, *spread,
                input_core_dims=[list(self.core)] * (1 + len(spread)),
                output_core_dims=[list(self.core)] * 2,
                dask="parallelized",
                output_dtypes=[wanted, wanted],
                keep_attrs=False,
            )
        )  # fmt: skip


@dataclass(frozen=True)
class _Slabs:
    """Loop over leading dimensions; a class, so that it pickles to workers."""

    function: Callable[..., tuple[Array, Array]]
    names: tuple[str, ...]
    n_core: int
    dtype: np.dtype[Any]

    def __call__(self, field: Any, *others: Any) -> tuple[Any, Any]:
        arrays = list(np.broadcast_arrays(field, *others))
        shape = arrays[0].shape
        lead, core = shape[: len(shape) - self.n_core], shape[len(shape) - self.n_core :]
        if self.n_core == 2:
            arrays = [a[..., None, :, :] for a in arrays]
        mean = np.empty(shape, dtype=self.dtype).reshape(*lead, *arrays[0].shape[-3:])
        std = np.empty_like(mean)
        for at in np.ndindex(*lead):
            values, observed, background, domain, about = slab_of(
                dict(zip(("field", *self.names), (a[at] for a in arrays), strict=True))
            )
            mean[at], std[at] = self.function(values, observed, background, domain, **about)
            mean[at][~domain] = np.nan
            std[at][~domain] = np.nan
        return mean.reshape(*lead, *core), std.reshape(*lead, *core)


def slab_of(given: Mapping[str, Any]) -> tuple[Array, Bools, Array | None, Bools, dict[str, Array]]:
    """Read the arrays of one slab: values, what was observed, background, domain, and what else is known.

    Raises
    ------
    MissingValueError
        If the background is missing where there are observations.
    """
    values = given["field"].astype(np.float64)
    observed = np.isfinite(values)
    if "mask" in given:
        observed &= truth(given["mask"])
    domain = truth(given["domain"]) if "domain" in given else np.ones(values.shape, dtype=bool)
    background = given["background"].astype(np.float64) if "background" in given else None
    if background is not None and not np.isfinite(background[observed]).all():
        bad = int((~np.isfinite(background[observed])).sum())
        message = (
            f"the background is missing at {bad} of {int(observed.sum())} observed nodes; fill it there, "
            "or leave those observations out with mask="
        )
        raise MissingValueError(message)
    known = ("field", "mask", "background", "domain")
    return values, observed, background, domain, {k: v.astype(np.float64) for k, v in given.items() if k not in known}


def truth(mask: Any) -> Bools:
    """Read a mask of any type: True where it is neither zero nor NaN."""
    mask = np.asarray(mask)
    return cast(Bools, mask if mask.dtype == bool else np.isfinite(mask) & (mask != 0))


def require_truth(mask: xr.DataArray, role: str) -> None:
    """See that a mask holds what can be true or false.

    Raises
    ------
    VariableError
        If it holds text, dates or else.
    """
    if mask.dtype.kind not in "biuf":
        message = f"{role} {mask.name!r} has dtype {mask.dtype}; wanted bool, or numbers that are 0 or NaN where not"
        raise VariableError(message)


def _spread(da: xr.DataArray, like: xr.DataArray, core: tuple[Hashable, ...]) -> xr.DataArray:
    missing = {d: like.sizes[d] for d in core if d not in da.dims}
    return da.expand_dims(missing).transpose(..., *core)


def gather(
    ds: xr.Dataset,
    obs: Hashable | xr.DataArray,
    mask: Hashable | xr.DataArray | None,
    background: Hashable | xr.DataArray | None,
    domain: Hashable | xr.DataArray | None,
    *,
    what: str,
    about: Mapping[str, Hashable | xr.DataArray] | None = None,
    whole: bool = True,
) -> tuple[Gathered, bool]:
    """Find and align the inputs; also tell whether a repeated cyclic column was dropped.

    ``about`` names what else is known of each observation: ``noise_std``, ``lag`` (read as seconds), ``passes``.
    With ``whole``, time, latitude and longitude have to be one chunk each.

    Raises
    ------
    VariableError
        If a name is not in the Dataset.
    DimensionError
        If an input does not fit the observations.
    CoordinateError
        If coordinates are missing, not finite, or do not agree.
    """
    field = pick(ds, obs, "obs")
    known = {role: pick(ds, given, role) for role, given in (about or {}).items()}
    if field.dtype.kind not in "fiu":
        message = f"the observations {field.name!r} have dtype {field.dtype}; wanted real numbers"
        raise VariableError(message)
    if is_track(field):
        track, field = field, bin_track(field, ds)
        require_on_grid([track], [field])
    axes = cf.horizontal(field)
    field, cyclic = _labels.drop_cyclic(field, axes)
    time_name = _time_name(field)
    time_dim = field[time_name].dims[0] if time_name is not None else None
    core = tuple(d for d in (time_dim, *axes.dims) if d is not None)
    if whole:
        _labels.require_whole(field, core, what=what)
    grid = Grid.from_latlon(field[axes.lat].values, field[axes.lon].values)
    nodes = Nodes(
        seconds(field[time_name]) if time_name is not None else np.zeros(1),
        np.asarray(field[axes.lat].values, dtype=np.float64),
        np.asarray(unwrap_longitude(field[axes.lon].values), dtype=np.float64),
        grid.periodic,
        time_name is not None,
    )
    fitted: dict[str, xr.DataArray | None] = {}
    together = core if whole else ()
    for role, given in (("mask", mask), ("background", background), ("domain", domain)):
        found = None if given is None else pick(ds, given, role)
        if found is not None and role != "background":
            require_truth(found, role)
        fitted[role] = None if found is None else fit(found, field, axes, together, role, what)
    beside = {
        role: fit(lag_seconds(given) if role == "lag" else given, field, axes, together, role, what)
        for role, given in known.items()
    }
    back = fitted["background"]
    if back is not None and "units" in back.attrs and "units" in field.attrs:
        fitted["background"] = units.convert(back, str(field.attrs["units"]))
    name = field.name if field.name is not None else "analysis"
    return Gathered(field, fitted["mask"], fitted["background"], fitted["domain"], axes, core, nodes, name,
                    _labels.true_attrs(field), beside), cyclic  # fmt: skip


_UNITS_OF_LAG = {"s": 1.0, "second": 1.0, "min": 60.0, "minute": 60.0, "h": 3600.0, "hour": 3600.0, "day": 86400.0}


def lag_seconds(lag: xr.DataArray) -> xr.DataArray:
    """Read offsets of true times from the labels as seconds: time spans, or numbers with units (hours unless given).

    The result says that it is in seconds, so that reading it again changes nothing.

    Examples
    --------
    >>> found = lag_seconds(xr.DataArray([0.5, -2.0], attrs={"units": "hours"}))
    >>> found.values, bool(lag_seconds(found).equals(found))
    (array([ 1800., -7200.]), True)

    Raises
    ------
    UnitsError
        If the units are no units of time.
    """
    if lag.dtype.kind == "m":
        return (lag / np.timedelta64(1, "s")).assign_attrs(units="seconds")
    unit = str(lag.attrs.get("units", "hours"))
    factor = _UNITS_OF_LAG.get(unit, _UNITS_OF_LAG.get(unit.removesuffix("s")))
    if factor is None:
        message = f"lag has units {unit!r}; wanted 'seconds', 'minutes', 'hours' or 'days'"
        raise UnitsError(message)
    return (lag.astype(np.float64) * factor).assign_attrs(units="seconds")


def pick(ds: xr.Dataset, given: Hashable | xr.DataArray, role: str) -> xr.DataArray:
    """Take a variable by name, or a DataArray as it is."""
    if isinstance(given, xr.DataArray):
        return given
    if given not in ds:
        message = f"no variable {given!r} for {role}= in this Dataset; it has {sorted(map(str, ds.data_vars))}"
        raise VariableError(message)
    return ds[given]


def fit(
    da: xr.DataArray, field: xr.DataArray, axes: cf.Horizontal, core: tuple[Hashable, ...], role: str, what: str
) -> xr.DataArray:
    """Check that an input lies on the observations' nodes; put it on theirs exactly."""
    extra = [d for d in da.dims if d not in field.dims]
    if extra or not set(axes.dims) <= set(da.dims):
        message = (
            f"{role} has dimensions {da.dims}; wanted {axes.dims}, and among those of the observations, {field.dims}"
        )
        raise DimensionError(message)
    if da.sizes[axes.lon_dim] == field.sizes[axes.lon_dim] + 1:
        da = da.isel({axes.lon_dim: slice(0, -1)})  # the cyclic column that the observations had too
    wrong = {d: (da.sizes[d], field.sizes[d]) for d in da.dims if da.sizes[d] != field.sizes[d]}
    if wrong:
        came = ", ".join(f"{d!r} has {a} points for {b} of the observations" for d, (a, b) in wrong.items())
        message = (
            f"{role} does not fit: {came}; bring it onto the same grid, for instance with .atmo.regrid or .reindex"
        )
        raise DimensionError(message)
    for d in da.dims:
        if d in da.coords and d in field.coords and not _same(da[d].values, field[d].values):
            message = f"{role} has other values of {d!r} than the observations; bring it onto the same grid first"
            raise CoordinateError(message)
    _labels.require_whole(da, core, what=f"{what} with {role}=")
    keep = {d: field[d] for d in da.dims if d in field.coords}
    return da.drop_vars([c for c in da.coords if c not in keep]).assign_coords(keep)


def _same(one: Any, other: Any) -> bool:
    if one.dtype.kind == "f" and other.dtype.kind in "fiu":
        return bool(np.allclose(one, other, rtol=0, atol=1e-4, equal_nan=True))
    return bool(np.array_equal(one, other))


def _time_name(field: xr.DataArray) -> Hashable | None:
    try:
        name = cf.time(field)
    except CoordinateError as error:
        if "several" in str(error):
            raise
        return None
    return name if field[name].dims and field[name].dims[0] in field.dims else None


def seconds(time: xr.DataArray) -> Array:
    """Convert times to seconds since the earliest.

    Raises
    ------
    CoordinateError
        If a time is missing or repeated, times are plain numbers, or there are none.
    """
    values = time.values
    if values.size == 0:
        message = f"time {time.name!r} has no points; wanted at least one date. Was the selection empty?"
        raise CoordinateError(message)
    if values.dtype.kind in "Mm":
        if np.isnat(values).any():
            message = f"{int(np.isnat(values).sum())} times are missing (NaT) in {time.name!r}; drop them first"
            raise CoordinateError(message)
        out = (values - values.min()) / np.timedelta64(1, "s")
    elif values.dtype.kind == "O":  # cftime
        first = min(values)
        out = np.array([(v - first).total_seconds() for v in values])
    else:
        message = (
            f"time {time.name!r} has dtype {values.dtype}; wanted dates. Decode them: xr.decode_cf(ds), or give dates"
        )
        raise CoordinateError(message)
    if np.unique(out).size != out.size:
        message = f"time {time.name!r} holds a date twice; wanted each once. Use ds.drop_duplicates({time.name!r})"
        raise CoordinateError(message)
    return np.asarray(out, dtype=np.float64)


def original(ds: xr.Dataset, obs: Any, field: xr.DataArray) -> xr.DataArray:
    """Take the observations as they came, for encoding and a cyclic column; the binned field for tracks."""
    original = pick(ds, obs, "obs")
    return field if is_track(original) else original


def dataset(
    ds: xr.Dataset, got: Gathered, results: list[xr.DataArray], like: xr.DataArray, *, cyclic: bool, uncertainty: bool,
    call: str, how: str, scales: str = "",
) -> xr.Dataset:  # fmt: skip
    """Label the analysis and its error; restore dimension order and cyclic column; add history."""
    made = {}
    for name, result in zip((got.name, f"{got.name}_error"), results, strict=True):
        if name != got.name and not uncertainty:
            continue
        out = result.assign_coords({c: got.field[c] for c in got.field.coords})
        if cyclic:
            out = _labels.restore_cyclic(out, like, got.axes)
        out = _labels.restore_order(out, got.field)
        if "member" not in got.field.dims:  # drawn, not those of the observations
            out = out.transpose("member", ..., missing_dims="ignore")
        made[name] = _labels.changed_values(out, like)
    made[got.name].attrs = dict(got.attrs)
    if scales:
        made[got.name].attrs["estimated_scales"] = scales
    if uncertainty:
        error = made[f"{got.name}_error"]
        error.attrs = {"long_name": f"standard error of {got.attrs.get('long_name', got.name)}"}
        if how:
            error.attrs["comment"] = how
        if "units" in got.attrs:
            error.attrs["units"] = got.attrs["units"]
        if "standard_name" in got.attrs:
            error.attrs["standard_name"] = f"{got.attrs['standard_name']} standard_error"
        made[got.name].attrs["ancillary_variables"] = f"{got.name}_error"
    return cf.add_history(xr.Dataset(made, attrs=ds.attrs), call)
