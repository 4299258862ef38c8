"""Runs against the truth: scores, maps, spectra, distributions and trainings, on one page."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from xatmo import cf
from xatmo import metrics as scoring
from xatmo.errors import OptionError, VariableError, XatmoError
from xatmo.report import _figures, _forecast_figures, _forecast_measures, _forecasts, _measures, _page, _runs
from xatmo.report._runs import Run
from xatmo.typing import XarrayObject

Step = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes
    ----------
    scores : DataFrame
        ``variable``, ``run``, ``score``, ``value``, ``lower``, ``upper``, ``units``: one row for each.
        Of forecasts also ``difference``, ``difference_lower``, ``difference_upper`` (run minus reference), ``p_value``
        and ``p_adjusted``.
    settings : DataFrame
        Settings of the runs that have some, one column for each run, one row for each setting.
    html : str
        The page: one file, with pictures inside, that needs nothing else.
    notes : list of str
        What could not be computed or drawn, and why.
    by_lead : DataFrame
        Of forecasts, the same as ``scores`` with ``lead_hours``.
    """

    scores: pd.DataFrame
    settings: pd.DataFrame
    html: str = field(repr=False)
    notes: list[str] = field(default_factory=list)
    by_lead: pd.DataFrame = field(default_factory=pd.DataFrame)

    def save(self, path: str | Path) -> Path:
        """Write the page; it appears whole or not at all, in the place of an old one.

        Raises
        ------
        OptionError
            If the name does not end in ``.html``.
        """
        path = Path(path)
        require_html(path)
        _write(path, self.html)
        return path

    def save_tables(self, folder: str | Path) -> list[Path]:
        """Write ``scores.csv``, ``settings.csv``, of forecasts ``scores_by_lead.csv``, and give their paths."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / "scores.csv", self.scores.to_csv(index=False))
        _write(folder / "settings.csv", self.settings.to_csv())
        if not len(self.by_lead):
            return [folder / "scores.csv", folder / "settings.csv"]
        _write(folder / "scores_by_lead.csv", self.by_lead.to_csv(index=False))
        return [folder / name for name in ("scores.csv", "settings.csv", "scores_by_lead.csv")]

    def _repr_html_(self) -> str:
        return str(self.scores.to_html(index=False))


def compare(
    runs: Mapping[str, Any],
    target: XarrayObject | None = None,
    *,
    coarse: XarrayObject | None = None,
    html: str | Path | None = None,
    variables: Sequence[str] | None = None,
    metrics: Sequence[Any] | None = None,
    bootstrap: Mapping[str, Any] | str | None = "auto",
    reference: str | None = None,
    climatology: XarrayObject | None = None,
    time: Any = -1,
    baseline: str | None = "bicubic",
    cities: Any = None,
    training: Mapping[str, Any] | None = None,
    members: int | None = None,
    figures: bool = True,
    title: str = "Comparison of runs",
    device: str = "auto",
    batch_size: int | None = None,
    step: Step | None = None,
) -> Comparison:
    """Compare runs with the truth and with each other, on one page. This computes.

    Parameters
    ----------
    runs : mapping
        Names to runs. A run is a prediction (Dataset, DataArray, or the path of a netCDF file or Zarr store), a fitted
        task or the path of a saved one, which is applied to ``coarse``, or the folder that ``run_dir=`` left, of which
        only the training is shown; or the folder of a run with its ``forecasts.zarr``. Predictions along ``init_time``
        and ``lead_time`` are compared as forecasts, on the initial times that all have.
    target : Dataset or DataArray, optional
        The truth, on the labels of the predictions; of forecasts along ``time``, read at the valid times. Without it
        only trainings and settings are compared.
    coarse : Dataset or DataArray, optional
        What models are applied to; also drawn.
    html : str or Path, optional
        Where to write the page.
    variables : sequence of str, optional
        Of the target; by default all with latitude and longitude, or else with rows and columns (images, radar on a
        projection), that every prediction has. Cells of the latter count alike.
    metrics : sequence, optional
        As in `xatmo.metrics.verify`. Ensembles (dimension ``member``) are scored by their mean, and with ``crps`` and
        ``spread_skill`` as they are.
    bootstrap : mapping, "auto" or None
        Of the bounds, as in `xatmo.metrics.verify`; ``"auto"``: blocks of times, of forecasts of initial times, as
        `xatmo.metrics.automatic_blocks` chooses them: weeks where there are eight, else days, no shorter than the
        longest lead time.
    reference : str, optional
        Of forecasts, the run with which the others are compared by a paired test; the last one unless given.
    climatology : Dataset or DataArray, optional
        Of forecasts: scores then hold the anomaly correlation. See `xatmo.metrics.climatology`.
    time : label or int
        Which time the maps show; the last by default.
    baseline : {"bicubic", "bilinear", "nearest"} or None
        A further run made from ``coarse`` by interpolation.
    cities : optional
        Places, as `xatmo.metrics.cities` takes them. By default its own choice; False for none.
    training : mapping, optional
        Names of runs to where their training is known from: a saved model, a ``run_dir``, a history, a mapping of
        settings.
    members : int, optional
        How many members to draw from stochastic models.
    figures : bool
        Whether to draw; without, the page holds tables alone, and only scores are computed.
    title : str
        Of the page.
    device, batch_size
        Of the models; see `xatmo.inference.predict`.
    step : callable, optional
        ``step(text)`` gives a context in which the work that ``text`` names is done, for showing progress.

    Returns
    -------
    Comparison
        With the table of scores, and the page.

    Raises
    ------
    OptionError
        If there is no run, or nothing to compare.
    VariableError
        If the predictions share no variable with the target.
    XatmoError
        As in `xatmo.metrics.verify`, with the name of the run.

    Notes
    -----
    Each run is computed in one pass over its data, lazily: of a prediction on Dask a few chunks are in memory at a
    time, and of the results only maps, spectra and series at places.

    Examples
    --------
    >>> import numpy as np, xatmo
    >>> grid = xatmo.Grid.regular(9, 18, poles=False)
    >>> values = np.random.default_rng(0).normal(size=grid.shape)
    >>> truth = xr.DataArray(values, grid.coords(), ("latitude", "longitude"), "t2m", {"units": "K"})
    >>> found = compare({"warm": (truth + 1).assign_attrs(truth.attrs), "dull": 0 * truth}, truth, metrics=["rmse"])
    >>> found.scores[["run", "score", "value", "units"]].values.tolist()[0]
    ['warm', 'rmse', 1.0, 'K']
    >>> found.html.startswith("<!doctype html>")
    True
    """
    if not runs:
        message = "compare got no runs; wanted a mapping such as {'super-resolved': prediction}"
        raise OptionError(message)
    reserved = [n for n in runs if n in ("truth", "coarse")]
    if reserved:
        message = f"a run is called {reserved[0]!r}, which is the name of target= or coarse= on the page; rename it"
        raise OptionError(message)
    hidden = [n for n in runs if str(n).startswith("_")]
    if hidden:
        message = f"a run is called {hidden[0]!r}; with an underscore first it would be in no legend: rename it"
        raise OptionError(message)
    if html is not None:
        require_html(Path(html))  # before the work
    given_names = [metrics] if isinstance(metrics, str) or callable(metrics) else list(metrics or ())
    doing = step or _quietly
    truth = None if target is None else _named(target)
    single = None if truth is None or len(truth.data_vars) != 1 else str(next(iter(truth.data_vars)))
    with doing("opening the runs"):
        options: dict[str, Any] = {
            "coarse": coarse,
            "variable": single,
            "members": members,
            "device": device,
            "batch_size": batch_size,
        }
        training = dict(training or {})
        taking_part = [
            _runs.resolve(name, given, training=training.pop(name, None), **options) for name, given in runs.items()
        ]
        if training:
            message = f"training names {sorted(training)}, which are no runs; the runs are {sorted(runs)}"
            raise OptionError(message)
    planar: list[str] = []
    if truth is not None and coarse is not None and baseline is not None and baseline not in runs:
        if any(_measures.plane_of(da) is None for da in truth.data_vars.values()):
            taking_part.append(_baseline(coarse, truth, baseline))
        else:
            planar.append(f"{baseline}: without latitude and longitude nothing is interpolated from the coarse fields")
    scored = [run for run in taking_part if run.prediction is not None]
    sections: list[_page.Section] = []
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    left_out: list[str] = []
    as_forecasts = truth is not None and bool(scored) and _forecasts.are_forecasts(scored)
    names = given_names or list(_forecast_measures.METRICS if as_forecasts else _measures.METRICS)
    leads: list[dict[str, Any]] = []
    if truth is not None and as_forecasts:
        shown, left_out = _variables(scored, truth, variables, flat=False)
        for variable in shown:
            section, more = _forecast_section(
                variable, scored, truth[variable], names=names, bootstrap=bootstrap, reference=reference,
                climatology=climatology, figures=figures, doing=doing,
            )  # fmt: skip
            sections.append(section)
            rows += section.rows
            leads += more
            notes += [f"{variable}: {note}" for note in section.notes]
    elif truth is not None and scored:
        shown, left_out = _variables(scored, truth, variables)
        left_out += planar
        places = None if cities is False or not figures else _selection(cities)
        for variable in shown:
            section = _section(
                variable, scored, truth[variable], coarse, names=names, bootstrap=bootstrap, time=time, places=places,
                figures=figures, doing=doing,
            )  # fmt: skip
            sections.append(section)
            rows += section.rows
            notes += [f"{variable}: {note}" for note in section.notes]
    if sections:
        sections[0].notes.extend(left_out)
    notes = [*left_out, *notes]
    known = [run for run in taking_part if run.settings]
    trained = _figures.of_training(taking_part if figures else [])
    notes += trained.notes
    if not sections and not trained.figures and not known:
        message = (
            "there is nothing to compare: no prediction with a target, and no training. Give target=, coarse= for "
            "models, or runs with a history"
        )
        raise OptionError(message)
    columns = ["variable", "run", "score", "value", "lower", "upper", "units"]
    columns += ["difference", "difference_lower", "difference_upper", "p_value", "p_adjusted"] if as_forecasts else []
    scores = pd.DataFrame(rows, columns=columns)
    scores.attrs["intervals"] = "; ".join(dict.fromkeys(s.intervals for s in sections if s.intervals))
    scores.attrs["reference"] = next((s.reference for s in sections if s.reference), "")
    every = dict.fromkeys(n for run in known for n in run.settings)
    settings = pd.DataFrame({run.name: [run.settings.get(n) for n in every] for run in known}, index=list(every))
    settings.index.name = "setting"
    with doing("writing the page"):
        page = _page.render(title, taking_part, truth, sections, trained, scores, settings)
    made = Comparison(scores, settings, page, notes, pd.DataFrame(leads))
    if html is not None:
        made.save(html)
    return made


# ---------------------------------------------------------------------- pieces
def require_html(path: Path) -> None:
    """Refuse another name than ``.html``.

    Raises
    ------
    OptionError
        If the name ends otherwise.
    FileNotFoundError
        If the folder is not there.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        message = f"cannot write a page to {path}; wanted a name that ends in .html"
        raise OptionError(message)
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(2, "no such file or folder", str(path.parent))


def _section(
    variable: str,
    runs: list[Run],
    target: xr.DataArray,
    coarse: XarrayObject | None,
    *,
    names: Sequence[Any],
    bootstrap: Mapping[str, Any] | str | None,
    time: Any,
    places: Callable[[xr.DataArray], Any] | None,
    figures: bool,
    doing: Step,
) -> _page.Section:
    chosen = _measures.choose(target, time)  # refuses before the work
    target = _measures.whole(target)
    names, spectra, told = _measures.on_plane(target, names)
    places = None if _measures.plane_of(target) is not None else places
    resampled, why = _measures.resampling(target, bootstrap)
    common: dict[str, Any] = {"names": names, "bootstrap": resampled, "time": time, "places": places}
    common |= {"only_scores": not figures, "spectra": spectra}
    truth = _measures.Measured()
    if figures:
        with doing(f"{variable}: the truth"):
            truth = _measures.measure(None, target, **common)
    measured: dict[str, _measures.Measured] = {}
    for run in runs:
        assert run.prediction is not None
        with doing(f"{variable}: {run.name}"):
            try:
                measured[run.name] = _measures.measure(run.prediction[variable], target, **common)
            except XatmoError as error:
                raise _runs.named(error, run.name) from error
    album = _figures.Album()
    if figures:
        with doing(f"{variable}: drawing"):
            field_ = _of(coarse, variable)
            shown = None if field_ is None else _measures.choose(field_, _label(chosen, target, time)).compute()
            album = _figures.of_variable(measured, truth, shown, _when(truth.parts.get("map")))
    rows = [row for name, m in measured.items() for row in _measures.rows_of(m.scores, name, variable)]
    notes = [f"{name}, {note}" for name, m in {"truth": truth, **measured}.items() for note in m.notes] + album.notes
    notes += [*told, *([why] if why else [])]
    words = next((str(m.scores.attrs.get("intervals", "")) for m in measured.values()), "")
    return _page.Section(
        variable, str(target.attrs.get("long_name", variable)), rows, album.figures, notes, resampled,
        intervals=words or why,
    )  # fmt: skip


def _forecast_section(
    variable: str,
    runs: list[Run],
    target: xr.DataArray,
    *,
    names: Sequence[Any],
    bootstrap: Mapping[str, Any] | str | None,
    reference: str | None,
    climatology: XarrayObject | None,
    figures: bool,
    doing: Step,
) -> tuple[_page.Section, list[dict[str, Any]]]:
    against = runs[-1].name if reference is None else reference
    if against not in [run.name for run in runs]:
        message = f"reference={against!r} is no run with forecasts; wanted one of {[run.name for run in runs]}"
        raise OptionError(message)
    aligned = _forecasts.align({r.name: r.prediction[variable] for r in runs if r.prediction is not None}, target)
    resampled, why = _forecast_measures.resampling(aligned, bootstrap)
    base = climatology.get(variable) if isinstance(climatology, xr.Dataset) else climatology
    with doing(f"{variable}: {len(runs)} runs, {aligned.truth.sizes['init_time']} initial times"):
        made = _forecast_measures.measure(
            aligned, names=names, bootstrap=resampled, reference=against, climatology=base, only_scores=not figures
        )
    made.notes += [why] if why else []
    if climatology is not None and base is None:
        made.notes.append(f"acc: the climatology has no {variable!r}")
    album = _figures.Album()
    if figures:
        with doing(f"{variable}: drawing"):
            album = _forecast_figures.of_forecasts(made, against)
    section = _page.Section(
        variable, str(target.attrs.get("long_name", variable)), _forecast_measures.rows_of(made.scores, variable),
        album.figures, made.notes + album.notes, resampled, reference=against if len(runs) > 1 else "",
        blocks=made.blocks, intervals=made.intervals or why, times=_forecast_measures.described(aligned),
    )  # fmt: skip
    return section, _forecast_measures.rows_of(made.by_lead, variable)


def _named(target: XarrayObject) -> xr.Dataset:
    return target if isinstance(target, xr.Dataset) else target.to_dataset(name=target.name or "field")


def _variables(
    runs: list[Run], truth: xr.Dataset, wanted: Sequence[str] | None, *, flat: bool = True
) -> tuple[list[str], list[str]]:
    """Give the variables that are compared, and notes on those that only some runs have."""
    if flat:
        have = [str(n) for n in cf.variables_with(truth, cf.across(truth), what="compare")]
    else:  # forecasts need no latitude: images have none
        have = [str(n) for n, da in truth.data_vars.items() if da.dtype.kind in "fiu" and da.ndim]
    shared = [n for n in have if all(run.prediction is not None and n in run.prediction for run in runs)]
    if wanted is not None:
        missing = [n for n in wanted if n not in shared]
        if missing:
            message = f"variable {missing[0]!r} is not in the target and all predictions; these have {shared}"
            raise VariableError(message)
        return list(wanted), []
    if not shared:
        told = "; ".join(f"{r.name}: {sorted(map(str, r.prediction or ()))}" for r in runs)
        message = f"no variable is in the target, {have}, and in all predictions ({told}); rename: ds.rename(OLD='NEW')"
        raise VariableError(message)
    notes = []
    for name in (n for n in have if n not in shared):
        lacking = [run.name for run in runs if name not in (run.prediction or ())]
        if len(lacking) < len(runs):
            notes.append(f"{name}: not in {', '.join(lacking)}, and so compared of none")
    return shared, notes


def _of(coarse: XarrayObject | None, variable: str) -> xr.DataArray | None:
    if isinstance(coarse, xr.DataArray):
        return coarse
    return coarse[variable] if coarse is not None and variable in coarse else None


def _baseline(coarse: XarrayObject, truth: xr.Dataset, method: str) -> Run:
    """Interpolation of the coarse fields to the grid of the truth."""
    from xatmo import regrid

    single = str(next(iter(truth.data_vars))) if len(truth.data_vars) == 1 else None
    ds = _runs.dataset(coarse, single)
    names = [n for n in truth.data_vars if n in ds]
    made = regrid.regrid(ds[names], truth, method=method)  # type: ignore[arg-type]
    # Beyond the outermost points, and beside missing ones, nothing is interpolated: there, too, runs are compared.
    made = made.fillna(regrid.regrid(ds[names], truth, method="nearest"))
    return Run(method, made, about=f"{method} interpolation of the coarse fields")


def _selection(cities: Any) -> Callable[[xr.DataArray], Any]:
    def at(da: xr.DataArray) -> Any:
        return scoring.cities(da) if cities is None else scoring.cities(da, cities)

    return at


def _label(chosen: xr.DataArray, target: xr.DataArray, time: Any) -> Any:
    """Label of the time that was chosen, for coarse fields that may begin earlier or end later."""
    dim = _measures.time_of(target)
    if dim is None or dim not in chosen.coords:
        return time
    value = chosen[dim].values
    return value.item() if value.dtype == object else value[()]


def _when(field_: xr.DataArray | None) -> str:
    from xatmo.plot.maps import label

    if field_ is None:
        return ""
    parts = [label(n, c) for n, c in field_.coords.items() if c.ndim == 0 and n not in _places_of(field_)]
    return ", ".join(parts)


def _places_of(field_: xr.DataArray) -> tuple[Hashable, ...]:
    if _measures.plane_of(field_) is not None:
        return tuple(n for n, c in field_.coords.items() if "grid_mapping_name" in c.attrs)
    axes = cf.horizontal(field_, rings=True)
    return axes.lat, axes.lon


@contextmanager
def _quietly(_: str) -> Iterator[None]:
    yield


def _write(path: Path, text: str) -> None:
    handle, place = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.absolute().parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(place, 0o666 & ~mask)
        os.replace(place, path)
    finally:
        Path(place).unlink(missing_ok=True)
