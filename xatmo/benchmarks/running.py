"""Train and score the rows of a table one after the other; rows that are finished are read back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

import xatmo
from xatmo import assimilation, metrics
from xatmo.benchmarks import keeping
from xatmo.benchmarks.cases import Case, gp_case, osse_case
from xatmo.benchmarks.options import Options
from xatmo.benchmarks.rows import GP, OSSE, PUBLISHED, QUICK, Row, chosen
from xatmo.metrics import altimetry
from xatmo.metrics.altimetry.areas import select
from xatmo.tasks.fourdvar import Background

Note = Callable[[str], Any]

_BASELINE_DAYS, _BASELINE_MOST = 28, 1000
_BATCH, _WINDOWS = 4, 8
_MATERN_MOST = 4500  # observations in a window of a dense system: less than 3 GB
_SCORES = ("mu", "sigma", "lambda_x", "lambda_t", "rmse")
_BOUNDS = tuple(f"{score}_{end}" for score in _SCORES for end in ("lower", "upper"))


def osse(
    output: str | Path,
    data: str | Path | None = None,
    *,
    rows: Iterable[str] | None = None,
    scenario: str = "both",
    train: tuple[str, str] | None = None,
    test: tuple[str, str] | None = None,
    options: Options | None = None,
    note: Note = print,
) -> tuple[pd.DataFrame, Case]:
    """Train and score the table for sea level.

    Parameters
    ----------
    output : path
        Folder for ``table.csv``, ``table.md``, and for each row its model, its map and its scores.
    data : path, optional
        Folder of the challenge's files; a generated twin is written to ``output/twin``, or to this folder if it has
        none of the files.
    rows : sequence of str, optional
        Names in `OSSE`; all unless given.
    scenario, train, test
        See `osse_case`.
    options : Options, optional
    note : callable
        Takes lines of text.

    Returns
    -------
    DataFrame, Case
        See `run`; and what the rows were trained and scored on.

    Raises
    ------
    OptionError, CatalogError, ConfigError
        See `osse_case`, `run`.
    """
    wanted, settings = chosen(OSSE, rows), options or Options()
    case = osse_case(
        Path(output) / "twin" if data is None else data, scenario=scenario, train=train, test=test, seed=settings.seed,
        note=note,
    )  # fmt: skip
    return run(case, wanted, output, settings, note=note), case


def gp(
    output: str | Path,
    data: str | Path | None = None,
    *,
    rows: Iterable[str] | None = None,
    size: int = 50,
    n_time: int = 300,
    options: Options | None = None,
    note: Note = print,
) -> tuple[pd.DataFrame, Case]:
    """Train and score the table for a Gaussian process.

    Parameters
    ----------
    output : path
        As of `osse`.
    data : path, optional
        Folder in which the process is kept; ``output`` unless given.
    rows : sequence of str, optional
        Names in `GP`; all unless given.
    size, n_time
        See `gp_case`.
    options : Options, optional
    note : callable
        Takes lines of text.

    Returns
    -------
    DataFrame, Case
        See `run`; and what the rows were trained and scored on.

    Raises
    ------
    OptionError, ConfigError
        See `gp_case`, `run`.
    """
    wanted, settings = chosen(GP, rows), options or Options()
    case = gp_case(output if data is None else data, size=size, n_time=n_time, seed=settings.seed, note=note)
    return run(case, wanted, output, settings, note=note), case


def run(case: Case, rows: Iterable[Row], output: str | Path, options: Options, *, note: Note = print) -> pd.DataFrame:
    """Train and score rows, and write their table after each.

    Parameters
    ----------
    case : Case
    rows : sequence of Row
    output : path
        Folder; a row whose scores are there, made with the same options, is read back.
    options : Options
    note : callable
        Takes lines of text.

    Returns
    -------
    DataFrame
        By title: ``mu``, ``sigma``, ``lambda_x``, ``lambda_t``, ``rmse``, bounds of each; of networks
        ``steps``, ``train_seconds``, ``parameters``, ``keeps_background``; ``map_seconds`` and ``published``.

    Raises
    ------
    ConfigError
        If a row was made with other options, data or days.
    XatmoError
        If a method cannot do with the data or the options.
    """
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    asked = tuple(rows)
    wanted = [row for row in asked if case.has(row.kind)]
    for row in asked:
        if row not in wanted:
            note(f"left out: {row.title}, which these data do not have")
    found = keeping.one_by_one(
        wanted, folder, {**case.identity(), **options.identity()},
        lambda row, place, key: _done(case, row, place, options, key, note),
        lambda some: _write(_table(case, some), case, folder), overwrite=options.overwrite, note=note,
    )  # fmt: skip
    return _table(case, found)


# ---------------------------------------------------------------------- one row
def _done(
    case: Case, row: Row, place: Path, options: Options, key: Mapping[str, Any], note: Note
) -> dict[str, Any]:  # fmt: skip
    keeping.begin(place)
    about: dict[str, Any] = {"name": row.name, "title": row.title}
    began = time.perf_counter()
    if row.kind == "network":
        task = _trained(case, row, place, options)
        about |= {"steps": int(task.history["step"].max()), "train_seconds": time.perf_counter() - began}
        about["keeps_background"] = bool(task.model.config["network"].get("keeps_background"))
        about["parameters"] = sum(p.numel() for p in task.model.network.parameters())
        began = time.perf_counter()
        mapped = case.part(case.test).atmo.fourdvar_interp("obs", model=task, **case.roles())["obs"]
    else:
        mapped = _interpolated(case, row)
    mapped = mapped.compute()
    about["map_seconds"] = time.perf_counter() - began
    mapped.rename("analysis").to_dataset().to_netcdf(place / "map.nc")
    about |= _scored(case, mapped)
    keeping.keep(place, key, about)
    note("  " + ", ".join(f"{n} {about[n]:.4g}" for n in _SCORES) + _how(about))
    return about


def _interpolated(case: Case, row: Row) -> xr.DataArray:
    test = case.part(case.test)
    domain = _only(case.roles(), "domain")
    if row.kind == "exact" and case.exact is not None:
        return case.exact(row.settings["window"])
    if row.kind == "file":
        return test["oi"]
    if row.kind == "linear":
        return assimilation.linear_interp(test, "obs", **domain)["obs"]
    settings = dict(row.settings)
    if "preset" in settings:
        test = test.assign(obs=_thinned(test["obs"]))
        return assimilation.optimal_interp(test, "obs", **settings, **domain)["obs"]
    found = _background(case, settings)
    settings |= _keywords(found)
    settings["window"] = {"time": f"{_width(test['obs'], settings.pop('days'))}D"}
    first = xr.full_like(test["obs"], settings.pop("mean"))
    return assimilation.optimal_interp(test, "obs", background=first, **settings, **case.roles())["obs"]


def _thinned(obs: xr.DataArray) -> xr.DataArray:
    """Take every n-th observation, as the challenge's baseline takes the means of some along its tracks."""
    found = np.isfinite(obs.values)
    every = int(np.ceil(found.sum() * min(_BASELINE_DAYS / obs.sizes["time"], 1) / _BASELINE_MOST)) or 1
    kept = np.zeros(found.shape, dtype=bool)
    kept.flat[np.flatnonzero(found)[::every]] = True
    return obs.where(xr.DataArray(kept, dims=obs.dims))


def _background(case: Case, settings: Mapping[str, Any]) -> Background:
    """Find scales, drift and mean by maximum likelihood in windows of the training days."""
    metric = "degrees" if case.name == "gp" else "sphere"
    return Background.fit(
        "oi", case.part(case.train), "obs", lag=_only(case.roles(), "lag").get("lag"),
        time_window=max(15, case.time_window), oi={"metric": metric, **settings}, n_windows=_WINDOWS,
    )  # fmt: skip


def _keywords(found: Background) -> dict[str, Any]:
    """Give scales as keywords of `xatmo.assimilation.optimal_interp`, with the mean and the days of the time scale."""
    s = found.settings
    unit = 86400.0 if s["metric"] == "degrees" else 1.0  # velocities are given in degrees a day, or metres a second
    kept = {k: s[k] for k in ("covariance", "metric", "length_scale", "noise_std", "signal_std", "mean")}
    days = s["time_scale"] / 86400
    span = pd.Timedelta(days, "D").to_timedelta64()
    return {**kept, "time_scale": span, "drift": tuple(unit * v for v in s["drift"]), "days": days}


def _width(obs: xr.DataArray, days: float) -> int:
    """Give the days of a window: four time scales and a bit more, fewer where they hold too many observations.

    With a swath the days around say nearly all: on generated sea level with a swath and four nadirs, whose time scale
    is 5.3 days, windows of 10 and of 14 days have the same error to half a percent.
    """
    times = (obs["time"].values - obs["time"].values[0]) / np.timedelta64(1, "D")
    so_far = np.concatenate([[0], np.isfinite(obs.transpose("time", ...).values).sum((1, 2)).cumsum()])

    def together(width: int) -> int:
        first, last = np.searchsorted(times, times - width / 2), np.searchsorted(times, times + width / 2, side="right")
        return int((so_far[last] - so_far[first]).max())

    width = round(4 * days) + 4
    while width > 2 and together(width) > _MATERN_MOST:
        width -= 1
    return width


def _trained(case: Case, row: Row, place: Path, options: Options) -> Any:
    settings: dict[str, Any] = {"time_window": case.time_window, **row.settings}
    own = dict(settings.pop("network_settings", {}))
    if options.quick:
        small = dict(QUICK)
        own |= small.pop("network_settings")
        settings |= small
        if row.spde:  # a few steps from a rough first guess are worse than none
            settings |= {k: v for k, v in row.settings.items() if k in ("n_steps", "background")}
    if row.spde:
        own["spde"] = case.spde()
        seen = case.part(case.train)
        std = float(seen["truth"].std())
        noise = case.fields.attrs.get("noise_variance", float(((seen["obs"] - seen["truth"]) ** 2).mean()))
        # Of the cost whose minimum is the best analysis, in units of the standard deviation.
        own["observation_weight"] = std**2 / noise
        if case.prior is not None:
            own["spde"] |= {"tau": own["spde"].get("tau", 1.0) / std}
            if row.spde == "given":
                settings["prior"] = case.prior(std)
                own.pop("spde")
    task = xatmo.FourDVarNet(**settings, error=False, network_settings=own)
    watched = None if case.validation is None else case.part(case.validation)
    if watched is not None and watched.sizes["time"] < settings["time_window"]:
        watched = None
    patch = options.patch_size
    if row.spde == "given" and case.prior is not None:  # coefficients of one place
        patch = {"lat": case.fields.sizes["lat"], "lon": case.fields.sizes["lon"]}  # type: ignore[assignment]
    task.fit(
        case.part(case.train), obs="obs", target="truth", **case.roles(), validation=watched, patch_size=patch,
        batch_size=options.batch_size or _BATCH, max_steps=options.max_steps, max_time=options.max_time,
        seed=options.seed, accelerator=options.accelerator, precision=options.precision, progress=options.progress,
        run_dir=place / "run", resume=not options.overwrite,
    )  # fmt: skip
    task.save(place / "model")
    return task


def _scored(case: Case, mapped: xr.DataArray) -> dict[str, float]:
    """Score a map, its days labelled as the truth's."""
    target = case.target
    labels = pd.DatetimeIndex(mapped["time"].values)
    if (pd.DatetimeIndex(target["time"].values) == pd.DatetimeIndex(target["time"].values).floor("D")).all():
        labels = labels.floor("D")
    mapped = mapped.assign_coords(time=labels)
    mapped.attrs.pop("units", None)
    target = target.copy()
    target.attrs.pop("units", None)
    truth = select(target, case.area, case.period, what="the truth")
    made = altimetry.on_truth(mapped, truth).compute()
    blocks, _ = metrics.automatic_blocks(made)
    table = altimetry.leaderboard({"map": mapped}, target, area=case.area, period=case.period, bootstrap=blocks)
    size = metrics.verify(made, truth, metrics=["rmse"], weights=None, bootstrap=blocks)
    found = {str(n): float(x) for n, x in table.iloc[0].to_dict().items()}
    return found | {str(n): float(x) for n, x in size.items()}


# ---------------------------------------------------------------------- the table
def _table(case: Case, found: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    rows = {str(row["title"]): {k: v for k, v in row.items() if k != "title"} | {"published": False} for row in found}
    others = {f"{name} (published)": s for name, s in PUBLISHED[case.name].items()} | dict(case.published)
    rows |= {name: dict(zip(_SCORES, scores, strict=False)) | {"published": True} for name, scores in others.items()}
    columns = ["name", *_SCORES, *_BOUNDS, "steps", "train_seconds", "map_seconds", "parameters", "keeps_background"]
    table = pd.DataFrame.from_dict(rows, orient="index").reindex(columns=[*columns, "published"])
    table.index.name = "method"
    return table


def form(table: pd.DataFrame, case: Case) -> pd.DataFrame:
    """Lay a table out for readers, as text: scores in the challenges' form, and what they cost."""
    notes = {_bare(str(t)): "published" if row["published"] else _cost(row) for t, row in table.iterrows()}
    text = altimetry.challenge_table(table.rename(index=_bare), challenge="osse2020a", notes=notes)
    text.insert(5, "RMSE", [f"{x:.4f}" if pd.notna(x) else "-" for x in table["rmse"]])
    for at, (score, digits) in enumerate(zip(_SCORES, (2, 2, 2, 2, 4), strict=True), start=1):
        ends = [table[f"{score}_{end}"] for end in ("lower", "upper")]
        text.isetitem(at, [t + _interval(a, b, digits) for t, a, b in zip(text.iloc[:, at], *ends, strict=True)])
    if case.name != "gp":
        return text
    return text.rename(columns=lambda c: c.replace("degree", "cells").replace("days", "steps"))


def _interval(lower: float, upper: float, digits: int) -> str:
    return "" if pd.isna(lower) or pd.isna(upper) else f" ({lower:.{digits}f} to {upper:.{digits}f})"


def _bare(title: str) -> str:
    return title.removesuffix(" (published)")


def _true(flag: Any) -> bool:
    """Whether a flag of a table, which rows may lack, is set."""
    return bool(pd.notna(flag) and flag)


def _cost(row: Any) -> str:
    if pd.isna(row["steps"]):
        return f"{row['map_seconds']:.0f} s"
    told = f"{int(row['steps'])} steps, {row['train_seconds']:.0f} s"
    return f"{told}; no better than its background, which it gives" if _true(row.get("keeps_background")) else told


def _write(table: pd.DataFrame, case: Case, folder: Path) -> None:
    table.to_csv(folder / "table.csv")
    told = remarks(case)
    text = altimetry.markdown(form(table, case))
    (folder / "table.md").write_text(f"{text}\n\n" + "".join(f"- {t}\n" for t in told), encoding="utf-8")


def remarks(case: Case) -> list[str]:
    """Say what the numbers of a case mean, for readers of its table."""
    first, last = (str(t)[:10] for t in case.part(case.train)["time"].values[[0, -1]])  # those that there are
    intervals = metrics.automatic_blocks(case.target.sel(time=slice(*case.period)))[1]
    out = [f"scored: {case.period[0]} to {case.period[1]}; trained: {first} to {last}", f"mu, sigma, RMSE: {intervals}"]
    if not intervals.startswith("no "):
        out.append("wavelength and period: 90 % intervals from resamples of five bands of latitude")
    if case.name == "gp":
        out.append(
            "in the mean, no method that sees the test steps alone can have a smaller RMSE than SPDE-OI of all of "
            "them, and none that sees five steps around than SPDE-OI of 5"
        )
    if case.generated:
        out.append("the data are generated: published rows are of other data, and do not compare with them")
    return out


def _how(about: Mapping[str, Any]) -> str:
    trained = f"; trained {about['steps']} steps in {about['train_seconds']:.0f} s" if "steps" in about else ""
    trained += ", no better than its background, which it gives" if about.get("keeps_background") else ""
    return f"{trained}; mapped in {about['map_seconds']:.0f} s"


def _only(roles: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {k: v for k, v in roles.items() if k in names}
