"""What is computed of forecasts: scores with intervals and tests, in all and by lead, cases, spectra, daily cycle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xatmo import cf, metrics
from xatmo.errors import CoordinateError, OptionError, XatmoError
from xatmo.report import _measures
from xatmo.report._forecasts import INIT, LEAD, MEMBER, Aligned
from xatmo.report._together import together

METRICS = ("rmse", "mae", "bias", "correlation", "gradient_ratio")
_RESAMPLES = 1000
_NO_ANOMALY = 1e-12  # of the climatology's mean square: what is left of anomalies by rounding
_SPECTRA = 96  # initial times, evenly spread, whose spectra are averaged
_BINS = 20  # of conditional quantiles
_TRUTH = "values of the truth"  # among names of runs
_HOURS = 3  # fewer make no day
_CASES = ("best", "median", "worst")


@dataclass
class Measured:
    """Results for one variable; what could not be had is told in ``notes``.

    Attributes
    ----------
    scores, by_lead : dict of Dataset
        By metric: what `xatmo.metrics.compare_models` gave over all leads, and for each; with bounds of the scores.
    cases : dict
        Name of a case to ``(init_time, error, fields by name)``: truth and runs at the last lead.
    parts : dict
        ``spectra``, ``daily``, ``ranks``, ``spread``, ``conditional``: by run.
    """

    scores: dict[str, xr.Dataset] = field(default_factory=dict)
    by_lead: dict[str, xr.Dataset] = field(default_factory=dict)
    cases: dict[str, tuple[Any, float, dict[str, xr.DataArray]]] = field(default_factory=dict)
    parts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    resampled: dict[str, Any] | None = None
    blocks: int = 0
    intervals: str = ""


def resampling(aligned: Aligned, given: Mapping[str, Any] | str | None) -> tuple[dict[str, Any] | None, str]:
    """How to find bounds, and why there are none: as given, or ``"auto"``, as `xatmo.metrics.automatic_blocks` does."""
    if not isinstance(given, str):
        return (None if given is None else {"dim": INIT, **dict(given)}), ""
    found, words = metrics.automatic_blocks(aligned.truth, dim=INIT, n=_RESAMPLES)
    return found, words if found is None else ""


def measure(
    aligned: Aligned,
    *,
    names: Sequence[Any],
    bootstrap: Mapping[str, Any] | None,
    reference: str,
    climatology: Any = None,
    only_scores: bool = False,
) -> Measured:
    """Compute all of all runs; what cannot be had is left out, with a note that says why. Scores that fail are errors.

    All runs are read side by side, some initial times at a time.
    """
    made = Measured(notes=list(aligned.notes), resampled=None if bootstrap is None else dict(bootstrap))
    models, space = aligned.means(), aligned.horizontal
    entries = entries_of(aligned, names, climatology)
    sums = _sums(aligned, entries, climatology)
    lazy = {"sums": sums.values} | _samples(aligned, entries, bootstrap, reference)
    if not only_scores:
        lazy |= {"ranges": _ranges(aligned)} | _pictured(aligned, made.notes)
    done = _computed(lazy, made.notes)
    if not only_scores:  # bins follow from ranges: fields are read again, and need not be held until then
        later = _later(aligned, done.pop("ranges", {}), made.notes)
        known_of = _computed({f"part conditional of {n}": of_run for n, of_run in later.items()}, made.notes)
        done["part conditional"] = {key.removeprefix("part conditional of "): one for key, one in known_of.items()}
    if "sums" in done:
        known = sums.compute(done.pop("sums"))
        options: dict[str, Any] = {"bootstrap": bootstrap, "reference": reference}
        for name in (n for n in entries if n in known.entries):
            done[f"scores {name}"] = _bounded(known.compare(name, dim=[INIT, LEAD, *space], **options))
            done[f"by_lead {name}"] = _bounded(known.compare(name, dim=[INIT, *space], **options))
        made.notes += _why_no_acc(known)
        if not only_scores:
            made.cases = _cases(aligned, models, known.compare("mse", dim=[LEAD, *space])["score"])
    if not any(key.startswith("scores ") for key in done):
        message = f"no score could be computed: {'; '.join(made.notes)}"
        raise OptionError(message)
    for name in entries:
        for kind in ("scores", "by_lead"):
            if f"{kind} {name}" in done:
                getattr(made, kind)[name] = done[f"{kind} {name}"]
    made.parts = {key.partition(" ")[2]: value for key, value in done.items() if key.startswith("part ")}
    first = next(iter(made.scores.values()), None)
    made.intervals = "" if first is None else str(first.attrs.get("intervals", ""))
    made.blocks = 0 if first is None else int(first.attrs.get("blocks", 0))
    return made


def entries_of(aligned: Aligned, names: Sequence[Any], climatology: Any = None) -> dict[str, Any]:
    """Scores by name: those asked for, and the anomaly correlation and the CRPS where they can be had."""
    entries = {entry if isinstance(entry, str) else _name_of(entry): entry for entry in names}
    if climatology is not None:
        entries.setdefault("acc", "acc")
    if (
        _measures.plane_of(aligned.truth) is not None and len(aligned.horizontal) == 2
    ):  # images: rows and columns have to be named
        entries = {name: _measures.of_images(entry, aligned.horizontal) for name, entry in entries.items()}
    single = len(aligned.ensembles) < len(aligned.forecasts)
    if aligned.ensembles and (entries.setdefault("crps", "crps") == "crps") and single:
        # One forecast is an ensemble of one: its CRPS is its absolute error. Of so few none is fair.
        entries["crps"] = partial(metrics.crps, estimator="ensemble")
    return entries


def _sums(aligned: Aligned, entries: Mapping[str, Any], climatology: Any) -> metrics.ScoreSums:
    """Add up what scores are made of, and square errors, in one pass."""
    adding = {"mse": "mse", **{n: e for n, e in entries.items() if metrics.adds_up(e)}}
    return metrics.score_sums(
        aligned.forecasts, aligned.truth, metrics=list(adding.values()), keep=(INIT, LEAD), climatology=climatology
    )


def _why_no_acc(known: metrics.ScoreSums) -> list[str]:
    """Tell why runs have no anomaly correlation over all: nothing known, or no anomalies of the truth or the run."""
    notes = []
    for (name, run), columns in known.columns.items():
        if known.entries[name] != "acc":
            continue
        sums = known.values.isel({known.values.dims[-1]: list(columns)})
        total = sums.sum(sums.dims[:-1]).values
        _, _, of_run, of_truth, _, of_climatology, weight = total
        least = _NO_ANOMALY * of_climatology
        if weight == 0:
            why = "no point is known to the runs, the truth and the climatology together"
        elif np.isnan(total).any():
            why = "values are missing, or too large to be added up"
        elif of_truth <= least:
            why = "the truth is the climatology itself, so that it has no anomalies to correlate"
        elif of_run <= least:
            why = "a forecast of the climatology itself has no anomalies to correlate"
        else:
            continue
        notes.append(f"{name} of {run}: {why}")
    return notes


def _samples(
    aligned: Aligned, entries: Mapping[str, Any], bootstrap: Mapping[str, Any] | None, reference: str
) -> dict[str, Any]:
    """Scores that are no sums, over all leads and for each, lazily: ``scores NAME`` and ``by_lead NAME``."""
    space, lazy = aligned.horizontal, {}
    for name, entry in entries.items():
        if not metrics.adds_up(entry):
            compare = partial(_scores, metric=entry, bootstrap=bootstrap, reference=reference)
            lazy[f"scores {name}"] = compare(aligned.means(), aligned.truth, dim=[INIT, LEAD, *space])
            lazy[f"by_lead {name}"] = compare(aligned.means(), aligned.truth, dim=[INIT, *space])
    return lazy


def _bounded(scores: xr.Dataset) -> xr.Dataset:
    """Name the bounds, and tell the number of blocks."""
    out = scores.rename({f"score_{e}": e for e in ("lower", "upper") if f"score_{e}" in scores})
    return out.assign_attrs(blocks=out["lower"].attrs.get("blocks", 0) if "lower" in out else 0)


def rows_of(scores: Mapping[str, xr.Dataset], variable: str) -> list[dict[str, Any]]:
    """Scores as rows of a table, one for each run, score and lead."""
    rows = []
    for name, ds in scores.items():
        leads = ds[LEAD].values if LEAD in ds.dims else [None]
        for k, lead in enumerate(leads):
            at = ds if lead is None else ds.isel({LEAD: k})
            for run in at["model"].values:
                one = at.sel(model=run)
                tested = at.sel(compared=run) if "compared" in at.dims and run in at["compared"].values else None
                row = {"variable": variable, "run": str(run), "score": name, "value": float(one["score"])}
                row |= {e: float(one[e]) if e in one else np.nan for e in ("lower", "upper")}
                row["units"] = str(ds["score"].attrs.get("units", ""))
                for key in ("difference", "difference_lower", "difference_upper", "p_value", "p_adjusted"):
                    row[key] = float(tested[key]) if tested is not None and key in tested else np.nan
                if lead is not None:
                    row = {"variable": variable, "lead_hours": hours(lead), **row}
                rows.append(row)
    return rows


def described(aligned: Aligned) -> str:
    """Tell initial times and leads in words."""
    from xatmo.plot.maps import label

    inits, leads = aligned.truth[INIT], aligned.truth[LEAD].values
    ends = " to ".join(dict.fromkeys(label("initial time", inits[k]) for k in (0, -1)))
    unit = " h" if leads.dtype.kind == "m" else ""
    return f"{inits.size} initial times, {ends}; lead times {hours(leads[0]):g} to {hours(leads[-1]):g}{unit}"


def hours(lead: Any) -> float:
    """Lead time in hours; a number stays one."""
    return float(lead / np.timedelta64(1, "h")) if np.asarray(lead).dtype.kind == "m" else float(lead)


# ---------------------------------------------------------------------- pieces
def _name_of(entry: Callable[..., Any]) -> str:
    while isinstance(entry, partial):
        entry = entry.func
    return str(getattr(entry, "__name__", type(entry).__name__))


def _scores(
    models: Mapping[str, xr.DataArray],
    truth: xr.DataArray,
    *,
    metric: Any,
    dim: list[Any],
    bootstrap: Mapping[str, Any] | None,
    reference: str,
) -> xr.Dataset:
    """Scores of all runs with their bounds, and their differences from the reference with p-values."""
    options: dict[str, Any] = {"dim": dim, "bootstrap": bootstrap}
    if len(models) > 1 and bootstrap is not None:
        return _bounded(metrics.compare_models(models, truth, metric=metric, reference=reference, **options))
    parts = {n: metrics.verify(da, truth, metrics=metric, **options) for n, da in models.items()}
    name = next(iter(next(iter(parts.values())).data_vars))
    labels = pd.Index(list(parts), name="model")
    out = xr.concat(list(parts.values()), labels, coords="minimal", compat="override", combine_attrs="override")
    known = {e: out[f"{name}_{e}"] for e in ("lower", "upper") if f"{name}_{e}" in out}
    blocks = known["lower"].attrs.get("blocks", 0) if known else 0
    return out.rename({str(name): "score"} | {f"{name}_{e}": e for e in known}).assign_attrs(blocks=blocks)


def _pictured(aligned: Aligned, notes: list[str]) -> dict[str, Any]:
    """Prepare what figures are drawn of, lazily."""
    space, truth = aligned.horizontal, aligned.truth
    wanted: dict[str, Callable[[], Any]] = {
        "spectra": lambda: _spectra({"truth": truth, **_one_member(aligned)}),
        "daily": lambda: _daily(aligned),
    }
    if aligned.ensembles:
        wanted["ranks"] = lambda: {n: metrics.rank_histogram(da, truth) for n, da in aligned.ensembles.items()}
        dims = [INIT, *space]
        wanted["spread"] = lambda: {n: metrics.spread_skill(da, truth, dim=dims) for n, da in aligned.ensembles.items()}
    lazy: dict[str, Any] = {}
    for name, make in wanted.items():
        try:
            lazy[f"part {name}"] = make()
        except XatmoError as error:
            notes.append(f"{name}: {error}")
    return lazy


def _one_member(aligned: Aligned) -> dict[str, xr.DataArray]:
    """Take the first member of ensembles: a mean of members has less power than any of them."""
    return {n: da.isel({MEMBER: 0}) if MEMBER in da.dims else da for n, da in aligned.forecasts.items()}


def _spectra(fields: Mapping[str, xr.DataArray]) -> dict[str, dict[str, xr.DataArray]]:
    """Mean spectra at the first, the middle and the last lead: lead to name to spectrum."""
    from xatmo import spectral

    leads = next(iter(fields.values()))[LEAD].values
    found: dict[str, dict[str, xr.DataArray]] = {}
    for k in shown_leads(len(leads)):
        found[f"{hours(leads[k]):g} h"] = {}
        for name, da in fields.items():
            every = np.unique(np.linspace(0, da.sizes[INIT] - 1, min(_SPECTRA, da.sizes[INIT])).round().astype(int))
            some = da.isel({LEAD: k, INIT: every}).reset_coords(drop=True)
            if some.chunks is not None:
                some = some.chunk(dict.fromkeys(cf.across(some), -1))
            power = spectral.energy_spectrum(some)
            found[f"{hours(leads[k]):g} h"][name] = power.mean(INIT, keep_attrs=True)
    return found


def _daily(aligned: Aligned) -> dict[str, xr.Dataset]:
    """Mean days of each run and of the truth, over all forecasts and the area."""
    inits, leads = aligned.truth[INIT], aligned.truth[LEAD]
    if inits.dtype.kind != "M" or leads.dtype.kind != "m" or np.unique((inits + leads).dt.hour).size < _HOURS:
        message = f"wanted valid times at {_HOURS} hours of the day or more"
        raise CoordinateError(message)
    return {n: metrics.diurnal_error(da, aligned.truth, harmonic=False) for n, da in aligned.means().items()}


def _some_leads(aligned: Aligned) -> dict[str, xr.DataArray]:
    """Give the truth and the means of runs at the first, the middle and the last lead."""
    at = {LEAD: shown_leads(aligned.truth.sizes[LEAD])}
    return {n: da.isel(at) for n, da in {_TRUTH: aligned.truth, **aligned.means()}.items()}


def _ranges(aligned: Aligned) -> dict[str, dict[str, xr.DataArray]]:
    """Find the smallest and the largest value of what conditional quantiles are of."""
    return {n: {"low": da.min(), "high": da.max()} for n, da in _some_leads(aligned).items()}


def _later(aligned: Aligned, ranges: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """Prepare what needs ranges, by run: of all runs at once, Dask's threads hold tables of all initial times."""
    try:
        return dict(_conditional(aligned, ranges))
    except XatmoError as error:
        notes.append(f"conditional: {error}")
        return {}


def _conditional(aligned: Aligned, ranges: Mapping[str, Any]) -> dict[str, dict[str, xr.Dataset]]:
    """Joint distribution of each run and the truth at three leads, cut both ways."""
    ends = {n: tuple(float(found[end]) for end in ("low", "high")) for n, found in ranges.items()}
    fields = _some_leads(aligned)
    truth = fields.pop(_TRUTH)
    dims = [INIT, *aligned.horizontal]
    made: dict[str, dict[str, xr.Dataset]] = {}
    for name, da in fields.items():
        made[name] = {}
        for by, first, second in (("forecast", name, _TRUTH), ("target", _TRUTH, name)):
            options: dict[str, Any] = {"by": by, "dim": dims, "method": "histogram"}
            if np.isfinite([ends.get(n, np.nan) for n in (first, second)]).all():
                low, high = ends[first]
                options |= {
                    "bins": np.linspace(low, high if high > low else low + 1, _BINS + 1),
                    "limits": ends[second],
                }
            made[name][by] = metrics.conditional_quantiles(da, truth, **options)
    return made


def shown_leads(n: int) -> list[int]:
    """Positions of the first, the middle and the last of some leads.

    Examples
    --------
    >>> shown_leads(12), shown_leads(1)
    ([0, 5, 11], [0])
    """
    return list(dict.fromkeys((0, (n - 1) // 2, n - 1)))


def _cases(
    aligned: Aligned, models: Mapping[str, xr.DataArray], errors: xr.DataArray
) -> dict[str, tuple[Any, float, dict[str, xr.DataArray]]]:
    """Find initial times of the lowest, the median and the largest mean square error, the mean of all runs."""
    mean = errors.mean("model").values
    order = np.argsort(mean, kind="stable")[: int(np.isfinite(mean).sum())]
    if not order.size:
        return {}
    at = dict(zip(_CASES, (order[0], order[(order.size - 1) // 2], order[-1]), strict=True))
    picked = {
        case: {n: da.isel({INIT: int(k), LEAD: -1}) for n, da in {"truth": aligned.truth, **models}.items()}
        for case, k in at.items()
    }
    fields = together(picked)
    return {c: (aligned.truth[INIT].values[k], float(mean[int(k)]) ** 0.5, fields[c]) for c, k in at.items()}


def _computed(lazy: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """Compute one after the other: together, each would hold fields that another waits for."""
    done: dict[str, Any] = {}
    for key, value in lazy.items():
        try:
            done[key] = together(value)
        except XatmoError as error:
            if key == "sums":
                raise
            notes.append(f"{key.partition(' ')[2] or key}: {error}")
    return done
