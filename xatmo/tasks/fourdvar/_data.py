"""Bring observations and what belongs to them onto one grid: what is trained on, and what is interpolated."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo import _labels, cf
from xatmo._stretches import Run, in_words, runs, usual_step
from xatmo.assimilation.labels import observations
from xatmo.assimilation.labels.tracks import bin_track, is_track, require_on_grid
from xatmo.errors import CoordinateError, DimensionError, GridError, OptionError, VariableError
from xatmo.grids import Grid
from xatmo.typing import XarrayObject

Given: TypeAlias = Hashable | xr.DataArray
Several: TypeAlias = Given | Sequence[Given] | xr.Dataset | None

# A target of which more than this part of the cells that ever have one is there is a field, not tracks.
_COMPLETE = 0.9
# Grid steps may differ by this much from those of training.
_STEP_TOLERANCE = 0.1


@dataclass(frozen=True)
class Fields:
    """Fields on one grid, each with dimensions (others, time, lat, lon), of which some may lack time and others.

    Attributes
    ----------
    obs : tuple of DataArray
        One for each sensor, NaN where nothing was observed.
    target : tuple of DataArray
        NaN where nothing is known; empty without a target.
    background : tuple of DataArray
        Those that the caller gave; else empty.
    predictors : tuple of DataArray
    domain : DataArray (lat, lon), optional
        Bool: where there is water.
    lag : DataArray, optional
        Offsets of the true times of the observations.
    template : DataArray
        With all of the dimensions, and the coordinates.
    axes : Horizontal
    time_dim : hashable
    cyclic : bool
        Whether a column that repeats the first was left out.
    """

    obs: tuple[xr.DataArray, ...]
    target: tuple[xr.DataArray, ...]
    background: tuple[xr.DataArray, ...]
    predictors: tuple[xr.DataArray, ...]
    domain: xr.DataArray | None
    lag: xr.DataArray | None
    template: xr.DataArray
    axes: cf.Horizontal
    time_dim: Hashable
    cyclic: bool = False

    @property
    def core(self) -> tuple[Hashable, ...]:
        """Dimensions of a window."""
        return (self.time_dim, *self.axes.dims)

    @property
    def dims(self) -> tuple[Hashable, ...]:
        """All dimensions, those of independent samples first."""
        return (*sorted((d for d in self.template.dims if d not in self.core), key=str), *self.core)

    @property
    def sizes(self) -> dict[Hashable, int]:
        """Points along each of `dims`."""
        return {d: self.template.sizes[d] for d in self.dims}

    @property
    def grid(self) -> Grid:
        """Horizontal grid."""
        return Grid.from_latlon(self.template[self.axes.lat].values, self.template[self.axes.lon].values)

    @property
    def times(self) -> NDArray[np.generic]:
        """Dates of the frames.

        Raises
        ------
        CoordinateError
            If they are no dates, or one comes twice.
        """
        coord = self.template[cf.time(self.template)]
        observations.seconds(coord)
        return cast("NDArray[np.generic]", coord.values)

    @property
    def runs(self) -> tuple[Run, ...]:
        """First frame and end of each stretch of time at regular steps."""
        return runs(self.times)

    @property
    def merged(self) -> xr.DataArray:
        """Mean of what all sensors that observe the first sensor's quantity see, NaN where none does."""
        return merged(self.obs)

    def each(self) -> Iterable[xr.DataArray]:
        """Give every field that there is."""
        yield from (*self.obs, *self.target, *self.background, *self.predictors)
        yield from (f for f in (self.domain, self.lag) if f is not None)


def merged(fields: Sequence[xr.DataArray]) -> xr.DataArray:
    """Mean of several fields where at least one has a number."""
    if len(fields) == 1:
        return fields[0]
    there = [f.notnull() for f in fields]
    count = sum(t.astype(np.float32) for t in there[1:]) + there[0].astype(np.float32)
    total = sum(f.fillna(0) for f in fields[1:]) + fields[0].fillna(0)
    return (total / count.where(count > 0)).rename(fields[0].name).assign_attrs(fields[0].attrs)


# ---------------------------------------------------------------------- what came
def gather(
    train: XarrayObject,
    obs: Several,
    mask: Several = None,
    *,
    target: Several = None,
    predictors: Several = None,
    domain: Given | None = None,
    background: Several = None,
    lag: Given | None = None,
    what: str,
) -> Fields:
    """Find all fields by name, or take them as they are, and align them.

    Parameters
    ----------
    train : Dataset or DataArray
        Where names are looked up.
    obs, target : name, DataArray, or several of them
        On a grid; or along tracks, one dimension with coordinates time, latitude and longitude: then their means over
        the cells and times of the grid of those that have one, or of ``train``.
    mask : name, DataArray, or as many as observed fields, optional
        False, zero or NaN where a value is not to be used.
    predictors, background, domain, lag
        On the same grid; they may lack time.
    what : str
        What messages call it.

    Raises
    ------
    VariableError
        If a name is not there, two inputs have one name, or one is not of real numbers.
    DimensionError, CoordinateError
        If fields do not lie on one grid, or have no time.
    OptionError
        If there is not one mask, or one for each observed field.
    """
    ds = dataset(train, what)
    seen = [observations.pick(ds, g, "obs") for g in listed(obs, "obs")]
    wanted = [observations.pick(ds, g, "target") for g in listed(target, "target")]
    if not seen:
        message = f"obs={obs!r} came; wanted the name of what was observed, a DataArray, or several of them"
        raise OptionError(message)
    for field in (*seen, *wanted):
        if field.dtype.kind not in "fiu":
            message = f"{what}: {field.name!r} has dtype {field.dtype}; wanted real numbers"
            raise VariableError(message)
    gridded = [f for f in (*wanted, *seen) if not is_track(f)]
    # On a grid of its own, a dimension of tracks in the Dataset does not come in between.
    grid = ds if not gridded else xr.Dataset(coords=gridded[0].coords)
    came = seen
    seen, wanted = ([bin_track(f, grid) if is_track(f) else f for f in g]
                    for g in (seen, wanted))  # fmt: skip
    along = [(f, b) for f, b in zip(came, seen, strict=True) if is_track(f)]
    require_on_grid([f for f, _ in along], [b for _, b in along], others=len(along) < len(came))
    template = max((*wanted, *seen), key=lambda f: f.ndim)
    axes = cf.horizontal(template)
    template, cyclic = _labels.drop_cyclic(template, axes)
    time_dim = _time_dim(template, what)
    found = Fields((), (), (), (), None, None, template, axes, time_dim, cyclic)
    observations.seconds(template[cf.time(template)])  # refused before others are compared with them
    core = found.core

    def on_grid(given: Given, role: str) -> xr.DataArray:
        field = observations.pick(ds, given, role)
        made = observations.fit(field, template, axes, (), role, what)
        return made.transpose(*(d for d in found.dims if d in made.dims)).assign_attrs(field.attrs)

    def truth(given: Given, role: str) -> xr.DataArray:
        observations.require_truth(observations.pick(ds, given, role), role)
        return _truth(on_grid(given, role))

    masks = [truth(g, "mask") for g in listed(mask, "mask")]
    if len(masks) not in (0, 1, len(seen)):
        message = f"{len(masks)} masks came for {len(seen)} observed fields; wanted one for all, or one for each"
        raise OptionError(message)
    if len(masks) < len(seen):
        masks = masks * len(seen)
    aligned = [on_grid(f, "obs") for f in seen]
    for field in aligned:
        if lacking := [d for d in core if d not in field.dims]:
            message = f"{what}: the observations {field.name!r} have dimensions {field.dims}; {lacking[0]!r} is missing"
            raise DimensionError(message)
    aligned = [f.where(m) for f, m in zip(aligned, masks, strict=True)] if masks else aligned
    water = None if domain is None else truth(domain, "domain")
    if water is not None:
        over = [d for d in water.dims if d not in axes.dims]
        water = water.all(over) if over else water
        aligned = [f.where(water) for f in aligned]  # what a sensor tells of land is no sea level
    made = replace(
        found,
        obs=tuple(named(aligned, "obs")),
        target=tuple(on_grid(f, "target") for f in named(wanted, "target")),
        background=tuple(on_grid(g, "background") for g in listed(background, "background")),
        predictors=tuple(named([on_grid(g, "predictors") for g in listed(predictors, "predictors")], "predictor")),
        domain=water,
        lag=None if lag is None else observations.lag_seconds(on_grid(lag, "lag")),
    )
    _require_different(made)
    return made


def dataset(given: XarrayObject, what: str) -> xr.Dataset:
    """Take a Dataset as it is, and a DataArray as one.

    Raises
    ------
    VariableError
        If it is neither.
    """
    came: object = given
    if isinstance(came, xr.Dataset):
        return came
    if isinstance(came, xr.DataArray):
        return came.to_dataset(name=came.name or "field")
    message = f"{what} is {type(came).__name__}; wanted a Dataset or DataArray: open a file with xarray.open_dataset"
    raise VariableError(message)


def listed(given: Several, role: str) -> list[Given]:
    """Give one or several as a list; the variables of a Dataset one by one.

    Examples
    --------
    >>> listed("ssh", "obs"), listed(["ssh", "sst"], "obs"), listed(None, "obs")
    (['ssh'], ['ssh', 'sst'], [])
    """
    if given is None:
        return []
    if isinstance(given, xr.Dataset):
        return list(given.data_vars.values())
    if isinstance(given, list | tuple):
        return list(given)
    one: Any = given
    if not isinstance(one, xr.DataArray) and not isinstance(one, Hashable):
        message = f"{role} is {type(one).__name__}; wanted a name, a DataArray, or a list of them"
        raise OptionError(message)
    return [one]


def static(ds: xr.Dataset, given: Several) -> list[xr.DataArray]:
    """Find fields of latitude and longitude alone.

    Raises
    ------
    VariableError
        If one is not there, or has no name.
    DimensionError
        If one has another dimension.
    """
    found = [observations.pick(ds, g, "static") for g in listed(given, "static")]
    for field in found:
        if field.name is None:
            message = "a static field has no name; wanted one under which the model keeps it. Use .rename(name)"
            raise VariableError(message)
        if other := set(field.dims) - set(cf.horizontal(field).dims):
            message = (
                f"the static field {field.name!r} has dimensions {field.dims}; wanted latitude and longitude alone. "
                f"Select along {sorted(map(str, other))}, or pass it as predictors="
            )
            raise DimensionError(message)
    return found


def named(fields: Sequence[xr.DataArray], usual: str) -> list[xr.DataArray]:
    """Give names to those without."""
    many = len(fields) > 1
    return [f if f.name is not None else f.rename(f"{usual}_{k}" if many else usual) for k, f in enumerate(fields)]


def _require_different(fields: Fields) -> None:
    for role, group in (("obs", fields.obs), ("target", fields.target), ("predictors", fields.predictors)):
        names = [str(f.name) for f in group]
        if len(set(names)) < len(names):
            message = f"{role} has the names {names}; wanted each once. Rename them"
            raise VariableError(message)


def _truth(mask: xr.DataArray) -> xr.DataArray:
    made = xr.apply_ufunc(observations.truth, mask, dask="parallelized", output_dtypes=[bool])
    return cast(xr.DataArray, made)


def _time_dim(field: xr.DataArray, what: str) -> Hashable:
    try:
        name = cf.time(field)
    except CoordinateError as error:
        if "several" in str(error):
            raise
        name = None
    if name is None or field[name].dims[:1] == () or field[name].dims[0] not in field.dims:
        message = (
            f"{what}: {field.name!r} has dimensions {field.dims} and no coordinate of time along them; wanted dates on "
            "one of them. Give it an axis, for instance with .expand_dims(time=[date])"
        )
        raise DimensionError(message)
    return field[name].dims[0]


# ---------------------------------------------------------------------- for training
def oriented(fields: Fields) -> Fields:
    """Give rows from north to south and, around the globe, columns eastward from 0 degrees.

    What a training draws then does not depend on how a file lies.
    """
    axes, grid = fields.axes, fields.grid
    order: dict[Hashable, slice | NDArray[np.intp]] = {}
    if not grid.north_to_south:
        order[axes.lat_dim] = slice(None, None, -1)
    if grid.periodic:
        first = int(np.argmin((grid.longitude + 1e-3 * 360 / grid.nlon) % 360))
        if first:
            order[axes.lon_dim] = np.roll(np.arange(grid.nlon), -first)
    if not order:
        return fields

    def turned(field: xr.DataArray | None) -> xr.DataArray | None:
        return None if field is None else field.isel({d: i for d, i in order.items() if d in field.dims})

    def all_turned(group: Sequence[xr.DataArray]) -> tuple[xr.DataArray, ...]:
        return tuple(cast(xr.DataArray, turned(f)) for f in group)

    return replace(
        fields, obs=all_turned(fields.obs), target=all_turned(fields.target), domain=turned(fields.domain),
        background=all_turned(fields.background), predictors=all_turned(fields.predictors), lag=turned(fields.lag),
        template=cast(xr.DataArray, turned(fields.template)),
    )  # fmt: skip


def with_water(fields: Fields) -> tuple[Fields, bool]:
    """Take cells without any target for land, where the target is complete; tell whether it is. This reads the target.

    Nearly all cells that ever have a target have it always: then it is a field, and what never has one is land.
    """
    if not fields.target:
        return fields, False
    there = [f.notnull().mean([d for d in f.dims if d not in fields.axes.dims]).compute() for f in fields.target]
    share = there[0]
    for other in there[1:]:
        share = share.where(share < other, other)
    ever = share > 0
    if fields.domain is not None:
        ever = ever & fields.domain.compute()
    part = float(share.where(ever).mean()) if bool(ever.any()) else 0.0
    if part < _COMPLETE:
        return fields, False
    if fields.domain is None and not bool(ever.all()):
        fields = replace(fields, domain=ever, obs=tuple(f.where(ever) for f in fields.obs))
    return fields, True


def require_step(came: Grid, trained: Grid, what: str) -> None:
    """Raise unless a grid has the steps of another, to a tenth.

    Raises
    ------
    GridError
        Saying both steps.
    """
    for axis in ("latitude", "longitude"):
        ours, theirs = (float(np.median(np.abs(np.diff(getattr(g, axis))))) for g in (came, trained))
        if abs(ours / theirs - 1) > _STEP_TOLERANCE:
            message = (
                f"{what} has a {axis} step of {ours:.4g} degrees, and training had {theirs:.4g}; wanted the same. "
                "Regrid it first, or train on such a grid"
            )
            raise GridError(message)


def require_time_step(fields: Fields, trained: float | None, what: str) -> None:
    """Raise unless frames are as far apart as those of the training, to a tenth.

    Parameters
    ----------
    fields : Fields
    trained : float, optional
        Seconds; None where it is not known.
    what : str
        What the message calls it.

    Raises
    ------
    CoordinateError
        Saying both steps, or where times are irregular.
    """
    fields.runs  # noqa: B018 - raises where times are irregular
    step = usual_step(fields.times)
    if step and trained and abs(step / trained - 1) > _STEP_TOLERANCE:
        message = (
            f"the frames of {what} are {in_words(step)} apart, and {in_words(trained)} in the training of the "
            "network; wanted the same step. Select or resample, or train on such a record"
        )
        raise CoordinateError(message)
