"""Bring what a forecaster is trained on into one form: state, cycle, what is known beforehand, static fields."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import xarray as xr

from xatmo import _channels, _statics
from xatmo.covariates import add_covariates, covariate_channels
from xatmo.errors import CoordinateError, DimensionError, GridError, OptionError, UnitsError, VariableError
from xatmo.tasks.forecast import _cycle
from xatmo.tasks.forecast._batches import Fields
from xatmo.tasks.forecast._record import Record, record, require_dims
from xatmo.tasks.fourdvar._data import require_step
from xatmo.typing import XarrayObject

if TYPE_CHECKING:
    from xatmo._channels import Channel

Names: TypeAlias = Hashable | Sequence[Hashable] | XarrayObject | None

# Steps in time may differ by this part from those of the training.
_STEP = 0.01


@dataclass(frozen=True)
class Data:
    """What came from the caller: see `VideoForecaster.fit`."""

    train: XarrayObject
    validation: XarrayObject | None = None
    target: Names = None
    predictors: Names = None
    static: Names = None

    def gathered(self) -> Gathered:
        """Find variables and grid of the training data."""
        whole = record(_merged(self.train, (self.target, self.predictors), "train"), what="train").oriented()
        if not len(whole.times):
            message = "train has no times; wanted a record: look at what was selected"
            raise DimensionError(message)
        static, names = _static(whole, self.static)
        offered = [n for n in whole.complete() if n not in names]
        targets, predictors = _listed(self.target, "target"), _listed(self.predictors, "predictors")
        for role, wanted in (("target", targets), ("predictors", predictors)):
            _require_names(wanted, whole.fields, role)
        if (
            targets is None
            and isinstance(self.train, xr.DataArray)
            and isinstance(self.predictors, xr.DataArray | xr.Dataset)
        ):
            targets = _listed(self.train, "train")  # other fields came beside the one to forecast
        if targets is None:
            targets = predictors if predictors is not None else offered
        state = [*targets, *(n for n in (offered if predictors is None else predictors) if n not in targets)]
        if not state:
            message = (
                f"train has no variable of numbers over time and a grid: {_shapes(whole.fields)}; wanted at least one "
                f"with dimensions {tuple(map(str, whole.core))}"
            )
            raise VariableError(message)
        require_dims(state, whole.fields, whole.core, "train")
        return Gathered(whole, tuple(state), len(targets), static)

    def held_out(self, first: Gathered, channels: Sequence[Channel]) -> Gathered | None:
        """Find the same in the validation data, in the units of the training."""
        if self.validation is None:
            return None
        whole = record(self.validation, what="validation", name=str(first.names[0])).oriented()
        same_plane(first.whole.plane, whole, "validation")
        if not whole.plane:
            require_step(whole.grid, first.whole.grid, "validation")
        require_time_step(whole, first.whole.step, "validation")
        fields = converted(whole.fields, channels, "validation")
        static = None
        if first.static is not None:
            beside = _statics.beside(whole.fields, first.static, list(first.static.data_vars))
            static = beside[list(first.static.data_vars)]
        whole = replace(whole, fields=fields)
        require_dims(first.names, fields, whole.core, "validation")
        return Gathered(whole, first.names, first.n_out, static)


@dataclass(frozen=True)
class Gathered:
    """Variables on their grid.

    Attributes
    ----------
    whole : Record
        Rows from north to south.
    names : tuple of hashable
        Variables of the state, those to forecast first.
    n_out : int
        How many are forecast.
    static : Dataset, optional
    """

    whole: Record
    names: tuple[Hashable, ...]
    n_out: int
    static: xr.Dataset | None

    @property
    def state(self) -> xr.Dataset:
        """Fields of the state, each with dimensions (others, time, lat, lon)."""
        core = self.whole.core
        order: dict[Hashable, None] = dict.fromkeys(
            d for n in self.names for d in self.whole.fields[n].dims if d not in core
        )
        fields = self.whole.fields[list(self.names)].reset_coords(drop=True)
        return fields.transpose(*order, *core)

    @property
    def period(self) -> str:
        """First and last time, and how many there are."""
        times = self.whole.times
        return f"{str(times.min())[:16]} to {str(times.max())[:16]}, {len(times)} times"

    def identity(self) -> dict[str, Any]:
        """Tell this record from others: times, points, and means of its first, middle and last frame."""
        whole = self.whole
        at = sorted({0, len(whole.times) // 2, len(whole.times) - 1})
        few = self.state.isel({whole.time_dim: at}).astype(np.float64)
        means = few.mean([d for d in few.dims if d != whole.time_dim]).compute()
        axes = (whole.fields[name].values for name in (whole.axes.lat, whole.axes.lon))
        return {
            "period": self.period,
            "points": [f"{float(a.ravel()[k]):.6g}" for a in axes for k in (0, -1)],
            "values": {str(n): [f"{float(v):.5g}" for v in means[n].values] for n in self.names},
        }

    def fields(self, cycle: xr.Dataset | None, covariates: Sequence[str]) -> Fields:
        """Lay cycle and covariates beside the state."""
        whole, state = self.whole, self.state
        chunks = {d: c for d, c in state.chunks.items()} if state.chunks else None
        beside = None
        if cycle is not None:
            on_grid = _cycle.on_points(cycle, whole.fields, whole.axes)
            beside = _cycle.at_times(on_grid[list(self.names)], whole.times, whole.time_dim, chunks)
            beside = beside.transpose(..., *whole.core)
        return Fields(
            state, beside, known(state, covariates, whole) if covariates else None, self.static, whole.runs,
            whole.time_dim, (whole.axes.lat_dim, whole.axes.lon_dim), not whole.plane and whole.grid.periodic,
        )  # fmt: skip


def known(fields: xr.Dataset, covariates: Sequence[str], whole: Record) -> xr.Dataset:
    """Make the covariates of a record, over its times and points.

    Raises
    ------
    CoordinateError
        If there are no dates, or no latitude and longitude.
    """
    if whole.plane:
        message = (
            f"the covariates {list(covariates)} are functions of time and place, and the fields have no latitude and "
            "longitude; leave covariates out"
        )
        raise CoordinateError(message)
    bare = fields.drop_vars([n for n in fields.data_vars if n in covariate_channels(covariates)])
    made = add_covariates(bare, list(covariates))[list(covariate_channels(covariates))]
    return made.reset_coords(drop=True).transpose(..., *[d for d in whole.core if d in made.dims])


# ---------------------------------------------------------------------- what came
def converted(fields: xr.Dataset, channels: Sequence[Channel], what: str) -> xr.Dataset:
    """Give the variables of the channels, under their names and in their units."""
    out: dict[Hashable, xr.DataArray] = {}
    for channel, source in zip(channels, _channels.match(fields, channels, what=what), strict=True):
        field = fields[source.variable]
        same = source.scale == 1 and source.offset == 0
        field = field if same else field * np.float32(source.scale) + np.float32(source.offset)
        units = {} if channel.units is None else {"units": channel.units}
        out[channel.name] = field.rename(channel.name).assign_attrs({**channel.attrs, **units})
    return xr.Dataset(out)


def require_time_step(whole: Record, trained: float | None, what: str) -> None:
    """Raise unless frames are as far apart as those of the training.

    Raises
    ------
    CoordinateError
        Saying both steps, or where they are uneven.
    """
    from xatmo._stretches import in_words

    step = whole.step
    if step and trained and abs(step / trained - 1) > _STEP:
        shown = [in_words(s) if whole.times.dtype.kind in "mMO" else f"{s:g}" for s in (step, trained)]
        message = (
            f"the frames of {what} are {shown[0]} apart, and {shown[1]} in the training of the forecaster; wanted the "
            "same step. Select or resample, or train on such a record"
        )
        raise CoordinateError(message)


def _merged(train: XarrayObject, given: Sequence[Names], what: str) -> XarrayObject:
    """Put fields that came by themselves beside the training data."""
    extra = [g if isinstance(g, xr.Dataset) else _as_dataset(g) for g in given
             if isinstance(g, xr.Dataset | xr.DataArray)]  # fmt: skip
    if not extra:
        return train
    came: object = train
    first = _as_dataset(train) if isinstance(came, xr.DataArray) else train
    try:
        return xr.merge([first, *extra], join="exact", compat="override", combine_attrs="override")
    except ValueError as error:
        message = f"target and predictors do not lie on the points and times of {what}: {str(error).splitlines()[0]}"
        raise CoordinateError(message) from error


def _as_dataset(field: Any) -> xr.Dataset:
    made: xr.Dataset = field.to_dataset(name="field" if field.name is None else field.name)
    return made


def _listed(given: Names, role: str) -> list[Hashable] | None:
    if given is None:
        return None
    if isinstance(given, xr.Dataset):
        return list(given.data_vars)
    if isinstance(given, xr.DataArray):
        return ["field" if given.name is None else given.name]
    names = list(given) if isinstance(given, list | tuple) else [given]
    if not names or len(set(names)) < len(names):
        message = f"{role}={given!r}; wanted the name of a variable, or several different ones"
        raise OptionError(message)
    return names


def _require_names(names: Sequence[Hashable] | None, fields: xr.Dataset, role: str) -> None:
    if missing := [n for n in names or () if n not in fields.data_vars]:
        message = f"{role}={missing[0]!r} is no variable of train, which has {sorted(map(str, fields.data_vars))}"
        raise VariableError(message)


def _static(whole: Record, given: Names) -> tuple[xr.Dataset | None, list[Hashable]]:
    """Find fields of place alone, on the points of the training, and their names there."""
    if given is None:
        return None, []
    if isinstance(given, xr.Dataset | xr.DataArray):
        other = given if isinstance(given, xr.Dataset) else _as_dataset(given)
        names = list(other.data_vars)
        if whole.plane:
            fields = xr.Dataset({n: whole.fields[whole.axes.lat] * 0 + other[n].variable for n in names})
        else:
            fields = _statics.beside(whole.fields.drop_vars(names, errors="ignore"), other, names)
    else:
        names = _listed(given, "static") or []
        _require_names(names, whole.fields, "static")
        fields = whole.fields
    out: dict[Hashable, xr.DataArray] = {}
    for n in names:
        field = fields[n]
        if set(field.dims) - set(whole.axes.dims) or field.dtype.kind not in "fiub":
            message = (
                f"the static field {n!r} has dimensions {field.dims} and dtype {field.dtype}; wanted numbers on "
                f"{tuple(map(str, whole.axes.dims))} alone. Select along the others, or pass it as predictors="
            )
            raise DimensionError(message)
        out[n] = field.transpose(*whole.axes.dims).astype(np.float32).compute()
    made = xr.Dataset(out)
    keep = (whole.axes.lat, whole.axes.lon)
    return made.drop_vars([n for n in made.coords if n not in keep]), names


def _shapes(ds: xr.Dataset) -> str:
    return ", ".join(f"{n!r} {tuple(map(str, v.dims))}" for n, v in ds.data_vars.items()) or "nothing"


def require_same_units(ours: Sequence[Channel], theirs: Sequence[Channel]) -> None:
    """Raise unless channels are the same, by name and unit.

    Raises
    ------
    UnitsError
    """
    have, want = ([(c.name, c.units) for c in group] for group in (theirs, ours))
    if have != want:
        message = f"initial reads {have}; the data here have {want}. Wanted the same names and units in this order"
        raise UnitsError(message)


def check_patch(given: int | Mapping[str, int] | None, whole: Record, usual: int) -> dict[Hashable, int]:
    """Cells of a window by dimension.

    Raises
    ------
    OptionError
        If it names something else, or does not fit.
    """
    lat, lon = whole.axes.lat_dim, whole.axes.lon_dim
    sizes = {d: whole.fields.sizes[d] for d in (lat, lon)}
    names: dict[Any, Hashable] = {"lat": lat, "lon": lon, lat: lat, lon: lon}
    wanted: Mapping[Any, Any] = {}
    if given is not None:
        wanted = given if isinstance(given, Mapping) else {"lat": given, "lon": given}
    found = {d: min(usual, n) for d, n in sizes.items()}
    for key, n in wanted.items():
        if key not in names:
            message = f"patch_size has {key!r}; wanted cells for 'lat' and 'lon', here {lat!r} and {lon!r}"
            raise OptionError(message)
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or not 2 <= n <= sizes[names[key]]:
            message = (
                f"patch_size {n!r} along {key!r}; wanted a whole number of cells from 2 to the {sizes[names[key]]} "
                "that there are"
            )
            raise OptionError(message)
        found[names[key]] = int(n)
    return found


def same_plane(model_plane: bool, whole: Record, what: str) -> None:
    """Raise where a model of a plane meets the sphere, or the other way round.

    Raises
    ------
    GridError
    """
    if model_plane != whole.plane:
        have, want = ("no latitude and longitude", "both") if whole.plane else ("latitude and longitude", "none")
        message = f"{what} has {have}, and the training had {want}; wanted fields of the same kind"
        raise GridError(message)
