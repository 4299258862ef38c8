"""Scores of resampled data: of scores that are sums by adding parts up again, of others by scoring drawn blocks."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xatmo._labels import restore_order
from xatmo.errors import DimensionError
from xatmo.metrics._aggregate import in_one_chunk
from xatmo.metrics._compare import gathered
from xatmo.metrics._metric import Metric, Prepared
from xatmo.metrics._pairs import axes_of, match
from xatmo.metrics.resampling import Bootstrap

Score = Callable[..., xr.DataArray]
_ANY = (-np.inf, np.inf)
_POSITIVE = ("mse", "rmse", "mae", "nrmse", "crps", "energy_score", "wasserstein", "std_ratio", "gradient_ratio")
_PARTS = ("pod", "far", "csi", "fss")
_RATIOS = ("correlation", "acc", "spearman", "ssim", "ms_ssim")
LIMITS: Mapping[str, tuple[float, float]] = {
    **dict.fromkeys((*_POSITIVE, "spread_skill", "frequency_bias"), (0.0, np.inf)),
    **dict.fromkeys(_PARTS, (0.0, 1.0)), **dict.fromkeys(_RATIOS, (-1.0, 1.0)),
    **dict.fromkeys(("skill", "skill_score"), (-np.inf, 1.0)),
}  # fmt: skip
"""Values that scores can have."""


@dataclass(frozen=True)
class Resampled:
    """A score, and the same of each resample.

    Attributes
    ----------
    best : DataArray
        Of all data.
    samples : DataArray or None
        With the dimension ``resample`` beside those of ``best``; None where nothing is resampled.
    blocks : int
        Blocks to a resample; 0 where nothing is resampled.
    within : pair of float
        Smallest and largest value that the score can have.
    """

    best: xr.DataArray
    samples: xr.DataArray | None = None
    blocks: int = 0
    within: tuple[float, float] = _ANY

    def bounds(self, resampling: Bootstrap) -> tuple[xr.DataArray, xr.DataArray]:
        """Lower and upper bound of the score."""
        assert self.samples is not None
        return resampling.bounds(self.samples, self.blocks, within=self.within)

    def with_bounds(self, label: str, resampling: Bootstrap | None) -> dict[Hashable, xr.DataArray]:
        """Variables ``label``, ``label_lower`` and ``label_upper``."""
        if self.samples is None or resampling is None:
            return {label: self.best}
        best = self.best
        out: dict[Hashable, xr.DataArray] = {label: best}
        name = best.attrs.get("long_name", label)
        for word, bound in zip(("lower", "upper"), self.bounds(resampling), strict=True):
            attrs = {**best.attrs, "long_name": f"{word} {resampling.level:g} bound of {name}"}
            attrs |= resampling.stated(self.blocks)
            out[f"{label}_{word}"] = restore_order(bound.astype(best.dtype), best).assign_attrs(attrs)
        return out


def of_sums(metric: Metric, ready: Prepared, resampling: Bootstrap) -> Resampled:
    """Score sums of drawn blocks: each point's part is computed once."""
    along = resampling.dim
    pair = ready.pair
    of = next((f for f in (pair.target, pair.prediction) if along in f.dims), None)
    if along not in pair.dims or of is None:
        raise not_averaged(along, pair.dims)
    size, labels = of.sizes[along], of.indexes.get(along)
    sums = ready.sums(metric, keep=(along,))
    drawn = sums.map(lambda part: resampling.add(part, labels))
    samples = in_one_chunk(metric.score(drawn.means(), pair), "resample")
    best = ready.finish(metric, sums.over([along]).means())
    return Resampled(best, samples, resampling.windows(size, labels).drawn, LIMITS.get(metric.name, _ANY))


def of_fields(
    function: Score, best: xr.DataArray, prediction: xr.DataArray, target: xr.DataArray, *, dim: Any,
    over: Sequence[Hashable], resampling: Bootstrap, what: str,
) -> Resampled:  # fmt: skip
    """Score the drawn blocks themselves, for scores that are no sums: as many times the work as there are resamples.

    Parameters
    ----------
    function : callable
        ``(prediction, target, dim=...) -> DataArray``.
    best : DataArray
        What it gives of all data: the resamples have its form.
    prediction, target : DataArray
    dim : str or sequence of str or None
        Handed to the function.
    over : sequence of str
        Dimensions that it averages over.
    resampling : Bootstrap
    what : str
        For messages.

    Notes
    -----
    Of lazy fields a block holds all of ``over`` and of latitude and longitude, and as much of what is kept (lead times)
    as Dask's ``array.chunk-size`` allows; in memory are one block and one resample of it for each worker.
    """
    along = resampling.dim
    if along not in over:
        raise not_averaged(along, tuple(over))
    matched = match(prediction, target, what=what)
    if not matched[2]:
        prediction, target = matched[0].rename(prediction.name), matched[1].rename(target.name)
    of = target if along in target.dims else prediction
    size, labels = of.sizes[along], of.indexes.get(along)
    blocks = resampling.windows(size, labels).drawn  # refuses too few before the work
    settings = {"function": function, "dim": dim, "resampling": resampling, "size": size, "labels": labels}
    if prediction.chunks is None and target.chunks is None:
        return Resampled(best, _drawn_scores(prediction, target, **settings), blocks, LIMITS.get(what, _ANY))
    axes = axes_of(prediction)
    together = [*over, *(() if axes is None else axes.dims)]
    both = xr.unify_chunks(*(gathered(f.chunk() if f.chunks is None else f, together) for f in (prediction, target)))
    names = (prediction.name, target.name)
    ds = xr.Dataset({"prediction": both[0].reset_coords(drop=True), "target": both[1].reset_coords(drop=True)})
    form = best.reset_coords(drop=True).drop_attrs().expand_dims(resample=resampling.n).astype(np.float64)
    template = form.chunk({d: ds.chunks.get(d, -1) if d in ds.chunks else -1 for d in form.dims})
    samples = xr.map_blocks(_of_block, ds, kwargs={**settings, "names": names}, template=template)
    samples = samples.assign_coords({n: c for n, c in best.coords.items() if n not in samples.coords})
    return Resampled(best, samples, blocks, LIMITS.get(what, _ANY))


def not_averaged(along: Hashable, dims: tuple[Hashable, ...]) -> DimensionError:
    """Error of a bootstrap along what is kept."""
    return DimensionError(f"bootstrap: {along!r} is not averaged over; dim has {dims}. Wanted one of these")


# ---------------------------------------------------------------------- pieces
def _of_block(ds: xr.Dataset, *, names: tuple[Hashable, Hashable], **settings: Any) -> xr.DataArray:
    found = _drawn_scores(ds["prediction"].rename(names[0]), ds["target"].rename(names[1]), **settings)
    return found.reset_coords(drop=True).drop_attrs()


def _drawn_scores(
    prediction: xr.DataArray, target: xr.DataArray, *, function: Score, dim: Any, resampling: Bootstrap, size: int,
    labels: pd.Index | None,
) -> xr.DataArray:  # fmt: skip
    along = resampling.dim
    scores = []
    for at in resampling.positions(size, labels):
        drawn = [f.isel({along: at}) if along in f.dims else f for f in (prediction, target)]
        scores.append(function(*drawn, dim=dim).astype(np.float64))
    return xr.concat(scores, "resample", coords="minimal", compat="override", combine_attrs="drop", join="override")


def lookup(functions: Mapping[str, Score], name: str, options: Mapping[str, Any], **more: Any) -> Score:
    """Score by name, with its keywords, as a function of two fields and ``dim``."""

    def score(prediction: xr.DataArray, target: xr.DataArray, *, dim: Any = None) -> xr.DataArray:
        return functions[name](prediction, target, dim=dim, **options, **more)

    return score
