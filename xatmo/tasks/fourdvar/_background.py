"""First guesses of variational networks: zero, linear interpolation, optimal interpolation, or a variable."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias, cast, overload

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo import cf
from xatmo.assimilation import flat, linear, optimal
from xatmo.assimilation.covariance import together
from xatmo.assimilation.covariance.likelihood import Scales
from xatmo.assimilation.covariance.pooled import Seen, at_bounds, draw_windows, estimate_pooled, pooled_mean
from xatmo.assimilation.dense import gridded
from xatmo.assimilation.labels import observations, tracks
from xatmo.assimilation.labels._arguments import duration, lengths, positive, velocity, window_of
from xatmo.errors import MissingValueError, OptionError
from xatmo.grids import unwrap_longitude

Array = NDArray[np.float64]
Given: TypeAlias = "Hashable | xr.DataArray | None"
Observed: TypeAlias = "Hashable | xr.DataArray | Sequence[Hashable | xr.DataArray]"

KINDS = ("zero", "linear", "oi")
WINDOWS = 24
"""Windows whose observations tell the scales and the mean. They hold more than the conditional densities that are used
(`xatmo.assimilation.covariance.pooled.TARGETS`), and these bound the cost."""
_CLEANEST = 0.01  # least noise_std, in signal_std: with none, rounding decides
_LONGER = 4  # windows of anomalies: what a mean took away is seen in long ones
_ROUNDS = 2
_DAY = 86400.0
_OPTIONS = (
    "length_scale", "time_scale", "noise_std", "signal_std", "preset", "covariance", "metric", "angle", "drift",
    "window", "anomalies",
)  # fmt: skip


@dataclass(frozen=True)
class Background:
    """How a background is made from observations.

    Attributes
    ----------
    kind : str
        ``"zero"``, ``"linear"``, ``"oi"``, or the name of a variable.
    settings : dict
        Of ``"oi"``: the covariance's kind, ``metric``, ``length_scale`` (metres or degrees), ``time_scale`` (seconds),
        ``noise_std``, ``signal_std``, ``shape``, ``drift`` (metres or degrees a second), ``mean``, what is interpolated
        being the deviation from it, ``window``, and ``together``: where a swath saw neighbours, the width of the boxes
        whose means told the scales. Plain values for JSON.

    Examples
    --------
    >>> first = Background("oi", {"covariance": "gaussian", "metric": "degrees", "length_scale": 1.0,
    ...     "time_scale": 86400.0, "noise_std": 0.1, "signal_std": 1.0})
    >>> values = np.full((1, 1, 4), np.nan)
    >>> values[0, 0, 1] = 1.0
    >>> first.of_window(values, None, np.zeros(1), np.arange(4.0), np.zeros(1)).round(3)
    array([[[0.364, 0.99 , 0.364, 0.018]]])
    """

    kind: str
    settings: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def fit(
        cls,
        kind: str,
        ds: xr.Dataset,
        obs: Observed,
        mask: Given | Sequence[Given] = None,
        *,
        lag: Given = None,
        time_window: int = 15,
        oi: Mapping[str, Any] | None = None,
        n_windows: int = WINDOWS,
        seed: int = 0,
    ) -> Background:
        """Find what a kind of background needs.

        For ``"oi"`` the scales, the drift and the anisotropy that ``oi`` does not give are those of maximum likelihood
        in some windows of the observations, drawn over the record and its samples; these alone are read. Where a swath
        sees many neighbours at once, their means in boxes of a third of the length scale tell the scales: see
        `xatmo.assimilation.covariance.together`.

        Parameters
        ----------
        kind : {"zero", "linear", "oi"} or str
            Another one is the name of a variable.
        ds : Dataset
        obs : name or DataArray, or several
            Observations of one variable, by one sensor or several; NaN where there are none. Dimensions beside time,
            latitude and longitude are independent samples.
        mask : name or DataArray, or as many as obs, optional
        lag : name or DataArray, optional
            See `xatmo.assimilation.optimal_interp`.
        time_window : int
            Frames of a window.
        oi : dict, optional
            Keywords of `xatmo.assimilation.optimal_interp`: scales, ``preset``, ``covariance`` (``"matern"`` unless
            given), ``metric``, ``angle``, ``drift`` (``"estimate"`` unless it or a preset is given), ``window``. Beside
            these, ``anomalies=True`` says that the mean of this record has been taken off at each place, and with it a
            part of the signal: the scales found are those of the whole, which other times have, see
            `xatmo.assimilation.covariance.functions.Deviations`. Nothing drifts then, and the mean is zero.
        n_windows : int
        seed : int
            Of the draw of windows.

        Raises
        ------
        OptionError
            If ``oi`` has an unknown keyword or an impossible value, or comes with another kind.
        VariableError, DimensionError, CoordinateError
            If the observations cannot be used: see `xatmo.assimilation.optimal_interp`.
        MissingValueError
            If there are too few observations to estimate scales.
        """
        if oi and kind != "oi":
            message = f"oi={dict(oi)!r} came with background={kind!r}; wanted background='oi', or no oi="
            raise OptionError(message)
        if kind != "oi":
            return cls(kind)
        given, rest = _read(dict(oi or {}))
        if "preset" in (oi or {}) and not given.missing():
            return cls(kind, _described(given, {**{k: v for k, v in rest.items() if k != "anomalies"}, "mean": 0.0}))
        beside = None if lag is None else observations.pick(ds, lag, "lag")
        field, anomalies = merged(ds, obs, mask), rest.pop("anomalies")
        period = _period(field) if anomalies else None
        frames = time_window * (_LONGER if anomalies else 1)

        def drawn(box: together.Box = (1, 1)) -> list[Seen]:
            return draw_windows(
                field, beside, n_frames=frames, n_windows=n_windows, metric=rest["metric"], seed=seed, box=box
            )

        windows = drawn()
        if not sum(w.values.size for w in windows):
            message = (
                f"no observations in {len(windows)} windows of {time_window} frames; check obs= and mask=, or take "
                "background='zero'"
            )
            raise MissingValueError(message)
        known = anomalies or "preset" in (oi or {})
        if not together.crowded([w.values.size for w in windows], [w.beside for w in windows]):
            return cls(kind, _described(*_found(windows, given, rest, period, known=known)))
        grid = _grid(field)
        width = None if given.length_scale is None else together.NARROW * given.length_scale
        box = together.FIRST if width is None else together.cells(width, *grid, rest["metric"])
        found, rest = _found(drawn(box), given, rest, period, known=known)
        width = together.NARROW * cast(float, found.length_scale)
        if (fitting := together.cells(width, *grid, rest["metric"])) != box:
            found, rest = _found(drawn(fitting), given, rest, period, known=known)
        return cls(kind, _described(found, {**rest, "together": width}))

    # ------------------------------------------------------------------ made
    def make(
        self,
        ds: xr.Dataset,
        obs: Observed,
        mask: Given | Sequence[Given] = None,
        *,
        domain: Given = None,
        lag: Given = None,
        uncertainty: bool = False,
    ) -> xr.Dataset:
        """Give the background of labelled observations, lazy where these are.

        Parameters
        ----------
        ds, obs, mask, lag
            See `fit`.
        domain : name or DataArray, optional
            Where a background is wanted; NaN elsewhere.
        uncertainty : bool
            Whether to give the posterior standard deviation too, of ``"oi"``.

        Returns
        -------
        Dataset
            The background under the name of the (first) observations, and NAME ``_error``. Where a sample has no
            observation, it is the mean of ``"oi"``, and NaN of ``"linear"``.

        Raises
        ------
        OptionError
            If another kind is asked for its uncertainty.
        """
        if uncertainty and self.kind != "oi":
            message = f"the uncertainty of background={self.kind!r} was asked for; wanted 'oi'"
            raise OptionError(message)
        single = merged(ds, obs, mask)
        name = single.name
        if self.kind not in KINDS:
            return _within(observations.pick(ds, self.kind, "background").rename(name), ds, domain).to_dataset()
        if self.kind == "zero":
            return _within(xr.zeros_like(single), ds, domain).to_dataset()
        if self.kind == "linear":
            # Every observation may be the corner of a tetrahedron: a record is interpolated whole.
            single = single if single.chunks is None else single.chunk({d: -1 for d in _core(single)})
            return linear.linear_interp(ds, single, domain=domain, empty=np.nan)
        s = self.settings
        return flat.flat_interp(
            ds, single, self.scales, kind=s["covariance"], metric=s["metric"], mean=s.get("mean", 0.0),
            window=window_of(s.get("window")), lag=lag, domain=domain, uncertainty=uncertainty,
        )  # fmt: skip

    @overload
    def of_window(
        self, values: NDArray[Any], mask: NDArray[Any] | None, latitude: Array, longitude: Array, time: Array,
        *, late: NDArray[Any] | None = None, uncertainty: Literal[False] = False,
    ) -> Array: ...  # fmt: skip

    @overload
    def of_window(
        self, values: NDArray[Any], mask: NDArray[Any] | None, latitude: Array, longitude: Array, time: Array,
        *, late: NDArray[Any] | None = None, uncertainty: Literal[True],
    ) -> tuple[Array, Array]: ...  # fmt: skip

    def of_window(
        self,
        values: NDArray[Any],
        mask: NDArray[Any] | None,
        latitude: Array,
        longitude: Array,
        time: Array,
        *,
        late: NDArray[Any] | None = None,
        uncertainty: bool = False,
    ) -> Array | tuple[Array, Array]:
        """Give the background of one window of plain arrays.

        Parameters
        ----------
        values : array (time, lat, lon) or (sensor, time, lat, lon)
            Observations, NaN where there are none; of several sensors the mean is taken.
        mask : array, optional
            Where there are observations, of the same shape.
        latitude, longitude : arrays (lat,), (lon,)
            Degrees; longitudes do not jump.
        time : array (time,)
            Seconds.
        late : array (time, lat, lon), optional
            Seconds from these to the true times of the observations, of ``"oi"``.
        uncertainty : bool
            Whether to give the posterior standard deviation too, of ``"oi"``.

        Returns
        -------
        array (time, lat, lon), or two of them

        Raises
        ------
        OptionError
            If the background is a variable, which no observations tell, or another kind than ``"oi"`` is asked for its
            uncertainty.
        """
        if self.kind not in KINDS or (uncertainty and self.kind != "oi"):
            message = (
                f"background={self.kind!r} of a window{' with uncertainty' if uncertainty else ''}; wanted "
                f"{'oi' if uncertainty else KINDS!r}"
            )
            raise OptionError(message)
        observed = np.isfinite(values)
        if mask is not None:
            observed &= observations.truth(mask)
        if values.ndim == 4:
            number = observed.sum(axis=0)
            values = np.where(observed, values, 0.0).sum(axis=0) / np.maximum(number, 1)
            observed = number > 0
        nodes = tuple(np.asarray(a, dtype=np.float64) for a in (time, latitude, longitude))
        if self.kind == "zero":
            return np.zeros(values.shape)
        if self.kind == "linear":
            return linear.interpolate(values, observed, cast(Any, nodes))
        mean = float(self.settings.get("mean", 0.0))
        made, std = gridded.interpolate(
            self.setting, values - mean, observed, cast(Any, nodes), late=late, uncertainty=uncertainty
        )
        return (made + mean, std) if std is not None else made + mean

    # ------------------------------------------------------------------ what it stands for
    @property
    def scales(self) -> Scales:
        """Those of the covariance of ``"oi"``."""
        s = self.settings
        shape, drift = (cast("tuple[float, float]", tuple(s.get(k, (0.0, 0.0)))) for k in ("shape", "drift"))
        length, span, noise, signal = (float(s[k]) for k in _SCALES)
        return Scales(length, span, noise, signal, shape, drift)

    @property
    def setting(self) -> gridded.Setting:
        """What the analysis of a window takes."""
        return gridded.Setting.of(self.scales, self.settings["covariance"], self.settings["metric"])


_SCALES = ("length_scale", "time_scale", "noise_std", "signal_std")


def merged(ds: xr.Dataset, obs: Observed, mask: Given | Sequence[Given] = None) -> xr.DataArray:
    """Give the observations of all sensors as one field, NaN where there are none; the mean where several saw.

    Raises
    ------
    OptionError
        If masks are not as many as sensors.
    """
    names = list(obs) if isinstance(obs, list | tuple) else [obs]
    masks = list(mask) if isinstance(mask, list | tuple) else [mask] * len(names)
    if len(masks) != len(names):
        message = f"{len(masks)} masks came for {len(names)} observed variables; wanted one of each, or one for all"
        raise OptionError(message)
    fields = []
    for one, where in zip(names, masks, strict=True):
        field = observations.pick(ds, one, "obs")
        if tracks.is_track(field):
            field = tracks.bin_track(field, ds)
        if where is not None:
            there = observations.pick(ds, where, "mask")
            field = field.where(there.notnull() & (there != 0))
        fields.append(field)
    if len(fields) == 1:
        return fields[0]
    together = xr.concat([f.rename(fields[0].name) for f in fields], dim="__sensor__", coords="minimal",
                         compat="override", join="exact")  # fmt: skip
    return together.mean("__sensor__", keep_attrs=True)


def _core(field: xr.DataArray) -> list[Hashable]:
    """Dimensions of time, latitude and longitude."""
    found = cf.horizontal(field).dims
    names = [n for n in field.coords if field[n].dtype.kind in "MO" and field[n].ndim == 1]
    return [*found, *(field[n].dims[0] for n in names)]


def _within(made: xr.DataArray, ds: xr.Dataset, domain: Given) -> xr.DataArray:
    if domain is None:
        return made
    where = observations.pick(ds, domain, "domain")
    return made.where(where.notnull() & (where != 0))


# ---------------------------------------------------------------------- settings
def check(oi: Mapping[str, Any]) -> None:
    """See that keywords of `xatmo.assimilation.optimal_interp` can serve.

    Raises
    ------
    OptionError
        If one is unknown, or has an impossible value.
    """
    _read(dict(oi))


def _read(oi: dict[str, Any]) -> tuple[Scales, dict[str, Any]]:
    """Read keywords of `optimal_interp`: the scales, None where they are to be found, and the rest."""
    if unknown := sorted(set(oi) - set(_OPTIONS)):
        message = f"oi has the keys {unknown}; wanted keywords of optimal_interp among {list(_OPTIONS)}"
        raise OptionError(message)
    preset = oi.get("preset")
    base: dict[str, Any] = {"covariance": "matern", "metric": "sphere", "drift": "estimate"}
    if preset is not None:
        if preset not in optimal.PRESETS:
            message = f"preset={preset!r} came; wanted one of {sorted(optimal.PRESETS)}"
            raise OptionError(message)
        base = {"drift": None, **optimal.PRESETS[preset]}
    given = {**base, **({"drift": None} if oi.get("anomalies") else {}), **oi}
    if given.setdefault("anomalies", False) not in (True, False):
        message = f"anomalies={given['anomalies']!r} came; wanted True or False"
        raise OptionError(message)
    if given["anomalies"] and given["drift"] == "estimate":
        message = "anomalies=True came with drift='estimate'; wanted a drift that is known, or none"
        raise OptionError(message)
    for key, known in (("covariance", ("gaussian", "matern")), ("metric", ("sphere", "degrees"))):
        if given[key] not in known:
            message = f"{key}={given[key]!r} came; wanted one of {list(known)}"
            raise OptionError(message)
    length, shape = lengths(given.get("length_scale"), given.get("angle", 0.0))
    scales = Scales(
        length,
        duration("time_scale", given.get("time_scale")),
        positive("noise_std", given.get("noise_std")),
        positive("signal_std", given.get("signal_std")),
        shape,
        velocity(given["drift"], given["metric"]),
    )
    rest = {k: given[k] for k in ("covariance", "metric", "anomalies")}
    if given.get("window"):
        window_of(given["window"])
        rest["window"] = {k: v if isinstance(v, str) else _plain(v) for k, v in given["window"].items()}
    return scales, rest


def _plain(value: Any) -> Any:
    if isinstance(value, np.timedelta64):
        return f"{value / np.timedelta64(1, 's'):g}s"
    return float(value)


def _described(scales: Scales, rest: Mapping[str, Any]) -> dict[str, Any]:
    s = {k: v for k, v in vars(scales).items() if v is not None}
    return {**rest, **{k: [float(x) for x in v] if isinstance(v, tuple) else float(v) for k, v in s.items()}}


# ---------------------------------------------------------------------- scales
def _period(field: xr.DataArray) -> float:
    """Seconds that a record stands for."""
    when = observations.seconds(field[cf.time(field)])
    return float(np.ptp(when)) * when.size / max(when.size - 1, 1)


def _grid(field: xr.DataArray) -> tuple[Array, Array]:
    """Give the degrees of rows and of columns, which do not jump."""
    axes = cf.horizontal(field)
    lat, lon = (np.asarray(field[d].values, dtype=np.float64) for d in axes.dims)
    return lat, np.asarray(unwrap_longitude(lon))


def _found(
    windows: list[Seen], given: Scales, settings: Mapping[str, Any], period: float | None, *, known: bool
) -> tuple[Scales, dict[str, Any]]:
    """Find scales, and the mean unless it is known to be zero; give them with the other settings."""
    mean = 0.0 if known else float(np.concatenate([w.values for w in windows]).mean())
    found = given
    for _ in range(1 if known else _ROUNDS):
        about = [replace(w, values=w.values - mean) for w in windows]
        found = _estimated(about, given, settings, period)
        if known:
            break
        off, error = pooled_mean(about, found, covariance=settings["covariance"], metric=settings["metric"])
        mean += off
        if abs(off) < error:  # of a mean within its error the scales tell nothing else
            break
    return found, {**settings, "mean": mean}


def _estimated(windows: list[Seen], given: Scales, settings: Mapping[str, Any], period: float | None) -> Scales:
    """Find what is missing, and tell where the likelihood does not."""
    sought = given.missing()
    if not sought:
        return given
    found = estimate_pooled(
        windows, given, covariance=settings["covariance"], metric=settings["metric"], period=period or None
    )
    if "noise_std" in sought:
        noise, signal = cast(float, found.noise_std), cast(float, found.signal_std)
        found = replace(found, noise_std=max(noise, _CLEANEST * signal))
    extent = tuple(max(w.extent[k] for w in windows) for k in range(2))
    spacing = tuple(min(w.spacing[k] for w in windows) for k in range(2))
    flat = [n for n in at_bounds(found, cast(Any, extent), cast(Any, spacing)) if n in sought]
    if flat:
        note = (
            f"the observations of {len(windows)} windows do not tell {' and '.join(flat)}: the likelihood is largest "
            f"at the end of the range that was searched, {', '.join(f'{n}={getattr(found, n):.3g}' for n in flat)}. "
            "Consider giving it in oi="
        )
        logging.getLogger(__name__).warning(note)
    return found
