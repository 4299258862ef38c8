"""Forecasts from every initial time of a record, lazily: the frames that each sees as the channels of one map."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo import _channels, _labels, _statics, cf
from xatmo._channels import Channel
from xatmo._graph import View
from xatmo._tiles import Frames
from xatmo.errors import DimensionError, GridError, MissingValueError, OptionError
from xatmo.tasks.base import Task, as_model
from xatmo.tasks.forecast import _cycle, _data, _starts
from xatmo.tasks.forecast._record import Record, later, record, require_dims
from xatmo.tasks.fourdvar._data import require_step
from xatmo.typing import T

if TYPE_CHECKING:
    import torch

    from xatmo.model import Model
    from xatmo.nn.video import PackedVideo, VideoConfig

    ModelLike: TypeAlias = Task | Model | torch.nn.Module | str | Path

_USUAL = " usual"
START, LEAD, VALID, MEMBER = "init_time", "lead_time", "valid_time", "member"


def forecast(
    obj: T,
    model: ModelLike,
    *,
    init_time: Any = None,
    members: int | None = None,
    n_future: int | None = None,
    seed: int = 0,
    patch_size: Mapping[Hashable, int] | None = None,
    overlap: Mapping[Hashable, int] | None = None,
    window: str = "hann",
    batch_size: int | None = None,
    device: str = "auto",
    nan: str = "raise",
    output_chunks: Mapping[Hashable, int] | None = None,
) -> T:
    r"""Forecasts from a record, one for each initial time.

    A forecast from :math:`t_0` is made of the frames :math:`t_0 - (n_{context} - 1) \Delta t, \ldots, t_0`, of what is
    usual at the hour (learned in training), and of what is known beforehand; nothing after :math:`t_0` is read. It
    holds at :math:`t_0 + \Delta t, \ldots, t_0 + n_{future} \Delta t`.

    Parameters
    ----------
    obj : Dataset or DataArray
        Has every variable that the forecaster reads, under its name or standard name, in units that convert, along
        time at the step of the training. Gaps of time are never crossed. Other dimensions are independent samples.
    model : VideoForecaster, Model, str or Path
        Fitted, or the path of a saved one.
    init_time : label, slice, sequence or DataArray of times, optional
        Times of the last frame of context. By default every one that has its context at even steps before it; a slice
        takes the possible ones within.
    members : int, optional
        Draws from a stochastic forecaster, along ``member``: functions of seed, member and initial time, so that more
        of them leave the earlier as they were. None: its mean, or single answer.
    n_future : int, optional
        Leads, by default as many as in training. More: where the network goes on frame by frame, or gives all that it
        reads and so can go on from what it gave.
    seed : int
        Of the draws.
    patch_size, overlap, window, batch_size, device
        See `xatmo.inference.predict`.
    nan : {"raise", "mask"}
        Missing values in a context raise at compute; or they count as the mean, and the forecast is missing there.
    output_chunks : mapping, optional
        Dimension (``"init_time"``, of samples, of latitude ...) to chunk size of the output, which then is lazy. By
        default chunks of the input hold the initial times that they hold.

    Returns
    -------
    Dataset or DataArray
        Dimensions ``init_time``, ``lead_time``, ``member`` where there are members, and then those of the input without
        time; coordinate ``valid_time``. float32, in physical units, in the dimension order of the input. Lazy where the
        input is, with one task for each chunk; else fields are made in blocks of initial times.

    Raises
    ------
    VariableError, UnitsError
        If a variable is missing, or its units do not fit.
    CoordinateError
        If the step in time is another, an initial time cannot be had, or the cycle lacks an hour.
    GridError
        If the steps of the grid are others, or a cycle was learned for another region.
    OptionError
        If the model does not forecast, or an option cannot be used.
    DimensionError
        If the record is shorter than a context, or has a dimension of the forecast's name.
    MissingValueError
        At compute, where the context has missing values; at once, where the training had none but missing ones.

    Examples
    --------
    >>> import xatmo
    >>> time = np.datetime64("2019-03-01", "ns") + np.arange(96) * np.timedelta64(1, "h")
    >>> warm = 280 + 5 * np.sin(2 * np.pi * np.arange(96) / 24)[:, None, None] * np.ones((6, 8))
    >>> t2m = xr.DataArray(warm, {"time": time, "latitude": np.arange(60.0, 54, -1), "longitude": np.arange(8.0)},
    ...                    ["time", "latitude", "longitude"], name="t2m", attrs={"units": "K"})
    >>> out = t2m.atmo.forecast(xatmo.VideoForecaster("diurnal", n_context=1, n_future=6).fit(t2m))
    >>> dict(out.sizes), bool(abs(out[0, 5] - t2m[6]).max() < 1e-3)
    ({'init_time': 96, 'lead_time': 6, 'latitude': 6, 'longitude': 8}, True)
    """
    made = as_model(model)
    config = _config(made)
    _check(obj, made, n_future, nan, output_chunks, members)
    leads = config.n_future if n_future is None else n_future
    # What a network was trained for comes at once; a simple forecast needs no cycle beyond what is asked for.
    network = cast("PackedVideo", made.network).network
    job = _Job.of(obj, made, config, leads if network.inner is None else max(leads, config.n_future))
    if nan == "raise":
        job.require_known_cycle()
    frames = _starts.chosen(init_time, job.whole.times, job.whole.runs, config.n_context)
    # What is asked for out of order is put in order, and back at the end.
    ordered, place = np.unique(frames, return_inverse=True)
    options: dict[str, Any] = {
        "members": members, "seed": seed, "patch_size": patch_size, "overlap": overlap, "window": window,
        "batch_size": batch_size, "device": device, "nan": nan, "output_chunks": output_chunks,
    }  # fmt: skip
    parts = [job.predicted(part, options) for part in _starts.stretched(ordered, job.whole.runs)]
    fields = {
        n: xr.concat([p[n] for p in parts], START, coords="minimal", compat="override", join="override")
        if len(parts) > 1 else parts[0][n]
        for n in parts[0]
    }  # fmt: skip
    if not np.array_equal(place, np.arange(place.size)):
        fields = {n: v.isel({START: place}) for n, v in fields.items()}
    if output_chunks and (len(parts) > 1 or ordered.size < place.size):
        fields = {n: v.chunk({d: c for d, c in output_chunks.items() if d in v.dims}) for n, v in fields.items()}
    call = cf.describe_call(
        "forecast", model=made.config.get("task"), fingerprint=made.fingerprint, members=members,
        n_future=n_future, seed=seed if members else None, patch_size=patch_size, overlap=overlap, window=window,
    )  # fmt: skip
    done = {n: job.labelled(v.isel({LEAD: slice(0, leads)}), job.whole.times[frames]) for n, v in fields.items()}
    if isinstance(obj, xr.DataArray):
        field = next(iter(done.values())).rename(obj.name)
        history = {"history": obj.attrs["history"]} if "history" in obj.attrs else {}
        return cf.add_history(field.assign_attrs(history), call)
    return cf.add_history(xr.Dataset(done, attrs=obj.attrs), call)


# ---------------------------------------------------------------------- before anything runs
def _config(model: Model) -> VideoConfig:
    from xatmo.nn.video import PackedVideo

    if not isinstance(model.network, PackedVideo):
        message = (
            f"the model is of the task {model.config.get('task')}, which does not forecast; wanted a fitted "
            "VideoForecaster. For networks over maps there is .atmo.apply(model); a module of your own becomes a "
            "forecaster by VideoForecaster.from_module(module).fit(train)"
        )
        raise OptionError(message)
    return model.network.network.config


def _check(
    obj: object, model: Model, n_future: int | None, nan: str, output_chunks: object, members: int | None
) -> None:
    if isinstance(obj, xr.DataArray) and len(model.outputs) + len(model.inputs) > 2 + len(model.static or ()):
        message = (
            f"the forecaster reads {[c.name for c in model.inputs]} and gives {[c.name for c in model.outputs]}; pass "
            "a Dataset, so that a Dataset can come back"
        )
        raise OptionError(message)
    if members and not getattr(model.network, "stochastic", False):
        architecture = _config(model).architecture
        message = (
            f"members={members} came, but the forecaster, {architecture!r}, gives one answer to one input; leave "
            "members out, or train one that draws: 'savp', 'vae', or with mc_dropout=True among network_settings"
        )
        raise OptionError(message)
    if n_future is not None and (isinstance(n_future, bool) or not isinstance(n_future, int | np.integer)
                                 or n_future < 1):  # fmt: skip
        message = f"n_future={n_future!r} came; wanted a whole number of at least 1, or None"
        raise OptionError(message)
    if output_chunks is not None and not isinstance(output_chunks, Mapping):
        message = f"output_chunks={output_chunks!r} came; wanted sizes by dimension, such as {{'init_time': 24}}"
        raise OptionError(message)
    if nan not in ("raise", "mask"):
        message = f"nan={nan!r} came; wanted 'raise' or 'mask'"
        raise OptionError(message)


def _without_own_names(whole: Record, sources: Sequence[Hashable]) -> Record:
    """Leave out coordinates under the names of the forecast's own.

    Raises
    ------
    DimensionError
        If one is a dimension.
    """
    taken = [d for n in sources for d in whole.fields[n].dims if d in (START, LEAD) and d != whole.time_dim]
    if taken:
        message = (
            f"the record has a dimension {taken[0]!r}, which forecasts have themselves; rename it: "
            f".rename({taken[0]}='sample'): each of its points then gets forecasts of its own"
        )
        raise DimensionError(message)
    own = [n for n in (START, LEAD, VALID, MEMBER) if n in whole.fields.coords and n not in whole.fields.dims]
    return replace(whole, fields=whole.fields.drop_vars(own)) if own else whole


@dataclass(frozen=True)
class _Named:
    """Statistics of packed variables: those of what each is the cycle of; what is known goes as it is."""

    normalizer: Any

    def scaling(self, name: str) -> Any:
        if (of := name.removesuffix(_USUAL)) in self.normalizer.names:
            return self.normalizer.scaling(of)
        return xr.DataArray(0.0), xr.DataArray(1.0)


@dataclass(frozen=True)
class _Job:
    """A record, and the forecaster that reads it.

    Attributes
    ----------
    whole : Record
    model : Model
    config : VideoConfig
    n_future : int
        Frames that the network is asked for, at least those of the training.
    sources : tuple of hashable
        Variables of the record, in the order of the state.
    cycle : Dataset, optional
        On the points of the record.
    static : Dataset, optional
    """

    whole: Record
    model: Model
    config: VideoConfig
    n_future: int
    sources: tuple[Hashable, ...]
    cycle: xr.Dataset | None
    static: xr.Dataset | None

    @classmethod
    def of(cls, obj: Any, model: Model, config: VideoConfig, n_future: int) -> _Job:
        training = model.config.get("training", {})
        whole = record(obj, what="the record", name=model.inputs[0].name)
        _data.same_plane(bool(training.get("plane")), whole, "the record")
        state = model.inputs[: config.n_state]
        sources = tuple(s.variable for s in _channels.match(whole.fields, state, what="the forecast"))
        require_dims(sources, whole.fields, whole.core, "the record")
        whole = _without_own_names(whole, sources)
        _data.require_time_step(whole, training.get("time_step"), "the record")
        if not whole.plane:
            from xatmo.grids import Grid

            require_step(whole.grid, Grid.from_dict(model.grid["coarse"]), "the record")
            if config.settings.get("wrap") and not whole.grid.periodic:
                message = (
                    f"the forecaster was trained on all longitudes and looks over the end of them; the record has "
                    f"{whole.grid.longitude[0]:g} to {whole.grid.longitude[-1]:g}. Forecast the whole globe, or train "
                    "with network_settings={'wrap': 0}"
                )
                raise GridError(message)
        cycle = None if model.cycle is None else _cycle.on_points(model.cycle, whole.fields, whole.axes)
        static = None
        if config.n_static and model.static is not None:
            names = [c.name for c in model.inputs[config.n_state :]]
            bare = whole.fields.drop_vars([n for n in names if n in whole.fields and n not in sources])
            static = _statics.beside(bare, model.static, names)[names].reset_coords(drop=True)
            if model.normalizer is not None:  # as in training, which met the same missing values (with ``valid``)
                static = static.fillna(model.normalizer.denormalize(xr.zeros_like(static).drop_attrs()))
        return cls(whole, model, config, n_future, sources, cycle, static)

    def require_known_cycle(self) -> None:
        """Raise where the training had no value at all, so that no filling of the record helps.

        Raises
        ------
        MissingValueError
        """
        if self.cycle is None:
            return
        for name in (c.name for c in self.model.inputs[: self.config.n_state]):
            unknown = self.cycle[name].isnull().all([g for g in ("month", "hour") if g in self.cycle[name].dims])
            if bool(unknown.any()):
                message = (
                    f"{int(unknown.sum())} of {unknown.size} points had no value of {name!r} in training, and so have "
                    "no cycle; pass nan='mask', which leaves them out of the forecast, or select a part without them"
                )
                raise MissingValueError(message)

    @property
    def step(self) -> float:
        """Seconds between frames, or the difference of plain numbers."""
        return float(self.whole.step or self.model.config.get("training", {}).get("time_step") or 1.0)

    @property
    def lazy(self) -> bool:
        return any(self.whole.fields[n].chunks is not None for n in self.sources)

    # ------------------------------------------------------------------ one stretch of time
    def predicted(self, frames: NDArray[np.int64], options: Mapping[str, Any]) -> dict[Hashable, xr.DataArray]:
        """Forecast from frames of one stretch of time."""
        from xatmo.inference import predict
        from xatmo.model import Model

        fields, channels, views = self._packed(frames)
        statistics: Any = None if self.model.normalizer is None else _Named(self.model.normalizer)
        packed = Model(
            self._network(), {"task": self.model.config.get("task")}, tuple(channels), self.model.outputs,
            statistics, statistics, patch_size=dict(self.model.patch_size),
        )  # fmt: skip
        found = predict(fields, packed, call="forecast", views=views, along=(LEAD, self.n_future), **options)
        return {
            source: found[channel.name].rename(source)
            for channel, source in zip(self.model.outputs, self.sources, strict=False)
        }

    def _network(self) -> Any:
        from xatmo.nn.video import PackedVideo
        from xatmo.nn.video.longer import LongerVideo

        network = cast(PackedVideo, self.model.network)
        return network if self.n_future == self.config.n_future else LongerVideo(network.network, self.n_future)

    def _packed(self, frames: NDArray[np.int64]) -> tuple[xr.Dataset, list[Channel], dict[Hashable, View]]:
        """Lay past, cycle, covariates and static fields over ``init_time``, in the network's order, and what each is.

        A variable over ``init_time`` stands for the frames that the network sees from there: its view.
        """
        config, whole = self.config, self.whole
        first, last = int(frames[0]) - config.n_context + 1, int(frames[-1])
        past = whole.fields.isel({whole.time_dim: slice(first, last + 1)})
        both = later(whole.times[first], self.step, np.arange(last - first + 1 + self.n_future))
        out: dict[Hashable, xr.DataArray] = {}
        channels: list[Channel] = []
        views: dict[Hashable, View] = {}
        starts = frames - int(frames[0])
        step = _starts.step_of(frames)
        at = starts if step is None else slice(0, int(starts[-1]) + 1, step)

        def lay(field: xr.DataArray, name: str, units: str | None, n_frames: int) -> None:
            bare = field.drop_vars([n for n, c in field.coords.items() if whole.time_dim in c.dims])
            timed = whole.time_dim in bare.dims  # what is known may be always the same
            bare = bare.rename({whole.time_dim: START}) if timed else bare
            out[name] = (bare.isel({START: at}) if timed else bare).rename(name)
            views[name] = View(bare, START if timed else None, Frames(starts, n_frames))
            channels.append(Channel(name, units))

        state, n_both = self.model.inputs[: config.n_state], config.n_context + self.n_future
        for channel, source in zip(state, self.sources, strict=True):
            lay(past[source], channel.name, channel.units, config.n_context)
        if self.cycle is not None:
            usual = _cycle.at_times(self.cycle, both, whole.time_dim, self._chunks(past, both.size))
            for channel in state:
                field = usual[channel.name].assign_attrs({} if channel.units is None else {"units": channel.units})
                lay(field, channel.name + _USUAL, channel.units, n_both)
        covariates = self.model.config["settings"]["covariates"] if config.n_known else ()
        if covariates:
            for name, field in self._known(past, both, covariates).items():
                lay(field, str(name), None, n_both)
        if self.static is not None:
            for channel in self.model.inputs[config.n_state :]:
                out[channel.name] = self.static[channel.name]
                channels.append(Channel(channel.name, channel.units))
        made = xr.Dataset(out).assign_coords({START: whole.times[frames]})
        return made, channels, views

    def _chunks(self, past: xr.Dataset, n_times: int) -> dict[Hashable, Any] | None:
        """Chunks of what lies beside the state: its own, the last one in time reaching into the future."""
        if not self.lazy:
            return None
        sizes: dict[Hashable, Any] = dict(next(past[n] for n in self.sources if past[n].chunks is not None).chunksizes)
        time = sizes[self.whole.time_dim]
        sizes[self.whole.time_dim] = (*time[:-1], time[-1] + n_times - sum(time))
        return sizes

    def _known(self, past: xr.Dataset, both: NDArray[Any], covariates: Sequence[str]) -> xr.Dataset:
        whole, chunks = self.whole, self._chunks(past, both.size)
        axes = whole.axes
        ds = xr.Dataset(coords={n: whole.fields[n].variable for n in (axes.lat, axes.lon)})
        ds = ds.assign_coords({whole.time_dim: (whole.time_dim, both, {"standard_name": "time"})})
        if chunks is not None:
            # Small lazy fields along each dimension, of which only the chunks are looked at.
            lines = {f"_{d}": xr.Variable((d,), np.zeros(ds.sizes[d], np.float32)).chunk({d: chunks[d]})
                     for d in whole.core}  # fmt: skip
            ds = ds.assign(lines)
        return _data.known(ds, covariates, whole)

    # ------------------------------------------------------------------ labels
    def labelled(self, field: xr.DataArray, starts: NDArray[Any]) -> xr.DataArray:
        """Give coordinates of start, lead and valid time, and the own ones of rows and columns."""
        whole, leads = self.whole, np.arange(1, field.sizes[LEAD] + 1)
        widest = whole.fields[field.name]
        own = [d for d in widest.dims if d != whole.time_dim]
        # What is read beside may have levels that this variable lacks, and each gives a forecast of its own.
        rest = [*(d for d in field.dims if d not in (START, LEAD, MEMBER, *own)), *own]
        field = field.transpose(START, LEAD, *([MEMBER] if MEMBER in field.dims and MEMBER not in own else []), *rest)
        if whole.whole is not None:
            field = _labels.restore_cyclic(field, whole.whole[field.name], whole.axes)
        if whole.plane:
            bare = field.drop_vars([n for n in (whole.axes.lat, whole.axes.lon) if n in field.coords])
            field = bare.assign_coords({n: c for n, c in whole.own.items() if set(c.dims) <= set(rest)})
        field = _labels.changed_values(field, widest, reshaped=True)
        dated = whole.times.dtype.kind in "mMO"
        zero: Any = np.timedelta64(0, "ns") if dated else whole.times.dtype.type(0)
        lead = later(zero, self.step, leads)
        valid = _later_than(starts, self.step, leads)
        units = {} if dated else {k: v for k, v in widest[whole.time_dim].attrs.items() if k == "units"}
        return field.assign_coords(
            {START: (START, starts, {"standard_name": "forecast_reference_time", "long_name": "initial time", **units}),
             LEAD: (LEAD, lead, {"standard_name": "forecast_period", "long_name": "lead time", **units}),
             VALID: ((START, LEAD), valid, {"standard_name": "time", "long_name": "valid time", **units})}
        )  # fmt: skip


def _later_than(starts: NDArray[Any], step: float, leads: NDArray[Any]) -> NDArray[Any]:
    """Give valid times ``(init_time, lead_time)``."""
    if starts.dtype.kind in "mM":
        return np.asarray(starts[:, None] + later(np.timedelta64(0, "ns"), step, leads))
    return np.stack([later(start, step, leads) for start in starts])
