"""Labels from features: ridge regression on labelled data, and an honest score of it in blocks of time.

For instance the latitude of the jet, `xatmo.datasets.jet_latitude`, from the features that ``ds.atmo.embed`` gives.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from xatmo import cf
from xatmo.errors import CoordinateError, DimensionError, MissingValueError, OptionError

Floats = NDArray[np.float64]

ALPHAS = tuple(10.0**k for k in range(-4, 7))
"""Strengths of the penalty among which the training data choose."""


@dataclass(frozen=True)
class Ridge:
    """A linear function of the leading principal components of features.

    Made by `Ridge.fit`.

    Attributes
    ----------
    mean : array (feature,)
        Of the features.
    components : array (feature, component)
        Principal components, each with unit variance in training.
    weights : array (component,)
    intercept : float
    alpha : float
        Strength of the penalty that was chosen.
    dims : tuple of Hashable
        Dimensions of the features beside time, in order.
    sizes : tuple of int
    name : str
        Of the target.
    attrs : dict
        Of the target.
    """

    mean: Floats
    components: Floats
    weights: Floats
    intercept: float
    alpha: float
    dims: tuple[Hashable, ...]
    sizes: tuple[int, ...]
    name: Hashable
    attrs: dict[str, Any]

    @classmethod
    def fit(
        cls,
        features: xr.DataArray,
        target: xr.DataArray,
        *,
        n_components: int = 50,
        alphas: Sequence[float] = ALPHAS,
    ) -> Ridge:
        r"""Fit :math:`y = b + w \cdot z` by least squares with the penalty :math:`\alpha |w|^2`. This computes.

        :math:`z` are principal components of the features, of unit variance; :math:`\alpha` is that of the least
        error by generalized cross-validation, :math:`n\,r^2 / (n - \mathrm{tr} H)^2` [1]_.

        Parameters
        ----------
        features : DataArray (time, ...)
            All other dimensions are features.
        target : DataArray (time,)
            Labels. Times that both have are used, where there is a label.
        n_components : int
            Most components that are used.
        alphas : sequence of float
            Of the penalty, in units of the number of times.

        Raises
        ------
        DimensionError
            If fewer than three times are common, or the target has other dimensions than time.
        MissingValueError
            If a feature is missing.
        OptionError
            If a setting is out of range.

        References
        ----------
        .. [1] G. H. Golub, M. Heath and G. Wahba, 1979: Generalized cross-validation as a method for choosing a good
           ridge parameter. Technometrics 21, 215-223.

        Examples
        --------
        >>> time = pd.date_range("2000-01-01", periods=40)
        >>> x = xr.DataArray(np.random.default_rng(0).normal(size=(40, 3)), {"time": time}, ("time", "feature"))
        >>> y = (2 * x[:, 0] - x[:, 2] + 5).rename("y")
        >>> model = Ridge.fit(x[:30], y[:30])
        >>> bool(abs(model.predict(x[30:]) - y[30:]).max() < 0.01)
        True
        """
        if isinstance(n_components, bool) or int(n_components) < 1 or not alphas or min(alphas) < 0:
            message = f"n_components={n_components!r}, alphas={list(alphas)!r}; wanted a number from 1, and penalties"
            raise OptionError(message)
        x, y, rows = _matched(features, target)
        if len(y) < 3:
            message = f"{len(y)} times have features and a label; wanted three or more at the same times"
            raise DimensionError(message)
        mean, level = x.mean(axis=0), float(y.mean())
        left, singular, right = np.linalg.svd(x - mean, full_matrices=False)
        kept = min(int(n_components), int((singular > 1e-6 * max(singular[0], 1e-300)).sum()), len(y) - 2)
        root = np.sqrt(len(y))
        z = left[:, :kept] * root
        components = right[:kept].T / singular[:kept] * root
        along = z.T @ (y - level) / len(y)
        scores = []
        for alpha in alphas:
            shrink = 1 / (1 + alpha)  # the components have unit variance and do not correlate
            rest = y - level - z @ (along * shrink)
            scores.append(len(y) * float(rest @ rest) / (len(y) - 1 - kept * shrink) ** 2)
        best = float(alphas[int(np.argmin(scores))])
        return cls(
            mean, components, along / (1 + best), level, best, rows, tuple(features.sizes[d] for d in rows),
            target.name, dict(target.attrs),
        )  # fmt: skip

    def predict(self, features: xr.DataArray) -> xr.DataArray:
        """Give labels for features.

        Parameters
        ----------
        features : DataArray (time, ...)
            With the dimensions that ``fit`` had. Lazy features give lazy labels.

        Raises
        ------
        DimensionError
            If other dimensions came.
        """
        found = {d: features.sizes.get(d) for d in self.dims}
        if tuple(found.values()) != self.sizes:
            message = f"features have {dict(features.sizes)}; wanted {dict(zip(self.dims, self.sizes, strict=True))}"
            raise DimensionError(message)
        direction = self.components @ self.weights

        def kernel(x: Any) -> Any:
            return (x.reshape(*x.shape[: -len(self.dims)], -1) - self.mean) @ direction + self.intercept

        out: xr.DataArray = xr.apply_ufunc(
            kernel, features, input_core_dims=[list(self.dims)], dask="parallelized", output_dtypes=[np.float64],
            dask_gufunc_kwargs={"allow_rechunk": True},
        )  # fmt: skip
        out.name = self.name
        out.attrs = dict(self.attrs)
        return cf.add_history(out, cf.describe_call("Ridge.predict", alpha=self.alpha))


def cross_validate(
    features: xr.DataArray | Mapping[str, xr.DataArray],
    target: xr.DataArray,
    *,
    lead: str | pd.Timedelta = "0D",
    n_blocks: int = 5,
    gap: str | pd.Timedelta = "10D",
    n_components: int = 50,
    alphas: Sequence[float] = ALPHAS,
) -> xr.Dataset:
    r"""Predict every label by a regression that saw neither its block of time nor a gap around it. This computes.

    Parameters
    ----------
    features : DataArray (time, ...), or mapping of names to such
        Several are compared on the same times: features of `AtmoDist` beside the fields themselves, whose principal
        components are the usual baseline.
    target : DataArray (time,)
        Labels, such as ``datasets.jet_latitude(ds)["jet_latitude_anomaly"]``.
    lead : str or timedelta
        How far ahead of the features the label lies.
    n_blocks : int
        Blocks of time, each predicted from the others.
    gap : str or timedelta
        Left out on both sides of the block: longer than the memory of the weather, and than half of the window by
        which labels were filtered in time.
    n_components, alphas
        See `Ridge.fit`.

    Returns
    -------
    Dataset
        ``prediction (predictor, time)``, in the target's units, at the time of the label; ``target (time)``; by
        ``predictor``: ``rmse``, ``correlation`` and ``skill``, :math:`1 - \mathrm{rmse}^2 / \mathrm{rmse}_c^2` against
        the climatology. Predictors are the features, by name; ``"climatology"``, the mean of the training times; and,
        where ``lead`` is not 0, ``"persistence"``, the departure of the label ``lead`` before.

    Raises
    ------
    DimensionError
        If there are too few times for the blocks and gaps.
    CoordinateError
        If times do not increase.
    MissingValueError, OptionError
        As `Ridge.fit`.

    Examples
    --------
    >>> time = pd.date_range("2000-01-01", periods=200)
    >>> x = xr.DataArray(np.random.default_rng(0).normal(size=(200, 3)), {"time": time}, ("time", "feature"))
    >>> y = (2 * x[:, 0] + 0.1 * x[:, 1]).rename("y")
    >>> found = cross_validate(x, y)
    >>> bool(found.skill.sel(predictor="features") > 0.99), float(found.skill.sel(predictor="climatology"))
    (True, 0.0)
    """
    given = {"features": features} if isinstance(features, xr.DataArray) else dict(features)
    reserved = {"climatology", "persistence"} & set(given)
    if isinstance(n_blocks, bool) or int(n_blocks) < 2 or reserved or not given:
        message = f"n_blocks={n_blocks!r} for features {sorted(given)}; wanted two blocks or more, and features under "
        message += "other names than 'climatology' and 'persistence'"
        raise OptionError(message)
    ahead, apart = pd.Timedelta(lead), pd.Timedelta(gap)
    time = _time(target)
    labels = target.rename({time: "time"}) if time != "time" else target
    labels = labels.dropna("time").compute()
    if not labels.indexes["time"].is_monotonic_increasing:
        message = f"{time!r} does not increase; wanted increasing times. Sort them: da.sortby({str(time)!r})"
        raise CoordinateError(message)
    moved = {}
    for name, one in given.items():
        its = _time(one)
        one = one.rename({its: "time"}) if its != "time" else one
        moved[name] = one.assign_coords(time=one["time"] + ahead.to_timedelta64())
    common = labels.indexes["time"]
    for one in moved.values():
        common = common.intersection(one.indexes["time"])
    before = (labels.assign_coords(time=labels["time"] + ahead.to_timedelta64())) if ahead else None
    if before is not None:
        common = common.intersection(before.indexes["time"])
    moved = {name: one.sel(time=common).compute() for name, one in moved.items()}
    labels = labels.sel(time=common)
    blocks = np.array_split(np.arange(len(common)), int(n_blocks))
    found: dict[str, Floats] = {name: np.full(len(common), np.nan) for name in (*given, "climatology")}
    if before is not None:
        before = before.sel(time=common)
        found["persistence"] = np.full(len(common), np.nan)
    for block in blocks:
        used = _apart(common, block, apart)
        if used.size < 10:
            message = (
                f"{len(common)} times have features and labels: with {n_blocks} blocks and gaps of {apart} a fit "
                f"would see {used.size}; wanted ten or more: give a longer run, fewer blocks, or a smaller gap"
            )
            raise DimensionError(message)
        level = float(labels[used].mean())
        found["climatology"][block] = level
        for name, one in moved.items():
            model = Ridge.fit(one[{"time": used}], labels[used], n_components=n_components, alphas=alphas)
            found[name][block] = model.predict(one[{"time": block}]).values
        if before is not None:
            now, then = labels[used].values - level, before[used].values - level
            slope = float(now @ then) / max(float(then @ then), 1e-300)  # damped, as the best one would be
            found["persistence"][block] = level + slope * (before[block].values - level)
    return _table(found, labels, ahead, apart, int(n_blocks))


def _table(
    found: Mapping[str, Floats], labels: xr.DataArray, lead: pd.Timedelta, gap: pd.Timedelta, n_blocks: int
) -> xr.Dataset:
    names, made, truth = list(found), np.stack(list(found.values())), labels.values.astype(np.float64)
    square = ((made - truth) ** 2).mean(axis=1)
    reference = square[names.index("climatology")]
    spread = made - made.mean(axis=1, keepdims=True)
    size = np.sqrt((spread**2).mean(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        related = (spread * (truth - truth.mean())).mean(axis=1) / (size * truth.std())
    # The mean of the other blocks goes against the block's own: a correlation of it says nothing.
    related[names.index("climatology")] = np.nan
    units = {"units": labels.attrs["units"]} if "units" in labels.attrs else {}
    about = f"predicted {labels.attrs.get('long_name', labels.name)}"
    out = xr.Dataset(
        {
            "prediction": (("predictor", "time"), made, {**units, "long_name": about}),
            "target": ("time", truth, dict(labels.attrs)),
            "rmse": ("predictor", np.sqrt(square), {**units, "long_name": "root-mean-square error"}),
            "skill": ("predictor", 1 - square / reference, {"units": "1", "long_name": "skill over climatology"}),
            "correlation": ("predictor", related, {"units": "1", "long_name": "correlation with the target"}),
        },
        {"predictor": names, "time": labels["time"]},
        {"n_blocks": n_blocks, "gap": str(gap), "lead": str(lead)},
    )
    return cf.add_history(out, cf.describe_call("cross_validate", n_blocks=n_blocks, gap=str(gap), lead=str(lead)))


def _apart(times: Any, block: NDArray[np.int64], gap: pd.Timedelta) -> NDArray[np.int64]:
    """Numbers of the times that lie further than ``gap`` from a block; none where the block is empty."""
    if not block.size:
        return np.empty(0, dtype=np.int64)
    first, last = times[int(block[0])], times[int(block[-1])]
    return np.flatnonzero((times < first - gap) | (times > last + gap)).astype(np.int64)


def _time(da: xr.DataArray) -> Hashable:
    (dim,) = da[cf.time(da)].dims
    return dim


def _matched(features: xr.DataArray, target: xr.DataArray) -> tuple[Floats, Floats, tuple[Hashable, ...]]:
    time, other = _time(features), _time(target)
    if set(target.dims) != {other}:
        message = f"the target has dimensions {target.dims}; wanted {other!r} only: select one of the others"
        raise DimensionError(message)
    rows = tuple(d for d in features.dims if d != time)
    if not rows:
        message = f"the features have dimensions {features.dims}; wanted time and at least one more"
        raise DimensionError(message)
    labels = target.dropna(other)
    both = features.indexes[time].intersection(labels.indexes[other])
    x = features.sel({time: both}).transpose(time, *rows).values.astype(np.float64)
    if not np.isfinite(x).all():
        message = f"features {features.name!r} have missing values; fill them or leave these times out"
        raise MissingValueError(message)
    return x.reshape(len(both), -1), labels.sel({other: both}).values.astype(np.float64), rows
