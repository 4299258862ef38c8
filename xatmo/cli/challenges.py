"""``xatmo evaluate --challenge``: maps scored as a data challenge does, beside what others reached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xatmo import cf
from xatmo.cli import files, tables
from xatmo.cli.comparing import named_runs
from xatmo.datasets.challenge_files import is_generated, open_reference
from xatmo.errors import OptionError
from xatmo.metrics import altimetry
from xatmo.metrics.altimetry.areas import days_of, select
from xatmo.metrics.altimetry.gridded import only_field

Note = Callable[[str], None]

SYSTEMS = {"nadirs": ("1 nadir", "4 nadirs"), "swot": ("swot",), "both": ("swot + 4 nadirs",)}
"""Published observing systems of each scenario."""

_NAMES = {"osse2020a": ("gssh", "ssh", "sossheig"), "ose2021a": ("ssh", "gssh")}
_DAY = np.timedelta64(1, "D")


@dataclass(frozen=True)
class Wanted:
    """The words of the command.

    Attributes
    ----------
    maps : tuple of str
        Paths, perhaps with ``NAME=`` before them.
    challenge : str
    reference : Path or None
        Folder of the challenge's files.
    areas : tuple of str
        The challenge's box unless given.
    scenario, period, variable : str or None
        Published rows; ``FIRST,LAST`` day; name in the files of maps.
    published, by_regime, label_days : bool
    score_maps : Path or None
    output : tuple of Path
        ``.csv``, ``.md`` or ``.nc``.
    overwrite : bool
    """

    maps: tuple[str, ...]
    challenge: str
    reference: Path | None
    areas: tuple[str, ...] = ()
    scenario: str | None = None
    period: str | None = None
    variable: str | None = None
    published: bool = True
    by_regime: bool = False
    label_days: bool = False
    score_maps: Path | None = None
    output: tuple[Path, ...] = ()
    overwrite: bool = False


def evaluate(wanted: Wanted, *, note: Note) -> list[Path]:
    """Score, print the tables, and write what was asked for.

    Raises
    ------
    OptionError
        If a word has no usable value, or does not go with the others.
    FileNotFoundError, FileExistsError
        If something is not there, or is and may not be replaced.
    XatmoError
        If files are missing, maps do not cover area and period, or do not fit otherwise.
    """
    areas, period = _checked(wanted)
    named = named_runs(wanted.maps)
    first, last = days_of(period)
    ends = str(first)[:10], str(last)[:10]
    rows: list[pd.DataFrame] = []
    drawn: dict[str, xr.Dataset] = {}
    chosen: dict[str, xr.DataArray] = {}
    for area in areas:
        target = _target(wanted, area, ends)
        chosen = {name: _map(path, name, wanted, note) for name, path in named.items()}
        for name, field in chosen.items():
            altimetry.covers(field, area, period, what=f"{name} ({named[name]})")
            _say_labels(name, field, target, note)
        own = area == "gulf_stream" and wanted.period is None
        others = _published(wanted) if own else None
        note(f"scoring {len(chosen)} map{'s' * (len(chosen) > 1)} in {area}, {ends[0]} to {ends[1]}")
        with files.watch_tasks("scoring"):
            table = altimetry.leaderboard(chosen, target, area=area, period=period, challenge=wanted.challenge)
        tables.challenge(table, others, title=f"{wanted.challenge}, {area}, {ends[0]} to {ends[1]}")
        _explain(table, target, others, note)
        rows.append(_flat(table, others, area))
        if wanted.by_regime:
            tables.regimes(_regimes(chosen, target, area, period))
        if wanted.score_maps is not None:
            drawn |= _score_maps(chosen, target, area, period, many=len(areas) > 1)
    written = [_write(path, wanted, rows, chosen, areas, period) for path in wanted.output]
    if wanted.score_maps is not None:
        files.write_scores(_together(drawn), wanted.score_maps, overwrite=wanted.overwrite)
        written.append(wanted.score_maps)
    return written


# ---------------------------------------------------------------------- words
def _checked(wanted: Wanted) -> tuple[tuple[str, ...], Any]:
    """See that the words make sense before anything is read; give areas and period."""
    if wanted.challenge not in altimetry.PERIODS:
        message = f"no challenge {wanted.challenge!r}; wanted {' or '.join(sorted(altimetry.PERIODS))}"
        raise OptionError(message)
    if wanted.reference is None:
        message = "--challenge wants --reference FOLDER, the folder of the challenge's files (dc_ref, or the track)"
        raise OptionError(message)
    if wanted.scenario is not None and wanted.scenario not in SYSTEMS:
        message = f"no scenario {wanted.scenario!r}; wanted {', '.join(SYSTEMS)}"
        raise OptionError(message)
    for area in wanted.areas:
        if area not in altimetry.AREAS:
            message = f"no area {area!r}; wanted {', '.join(altimetry.AREAS)}"
            raise OptionError(message)
    if wanted.challenge == "ose2021a" and wanted.score_maps is not None:
        message = "--score-maps wants a gridded truth; the challenge ose2021a has a track"
        raise OptionError(message)
    for path in (*wanted.output, *([] if wanted.score_maps is None else [wanted.score_maps])):
        if path.suffix not in (".csv", ".md", ".nc") or (path is wanted.score_maps and path.suffix != ".nc"):
            message = f"cannot tell what to write to {path}; wanted .csv or .md (the table) or .nc (maps)"
            raise OptionError(message)
        if path.suffix == ".nc" and path is not wanted.score_maps and len(wanted.maps) > 1:
            message = (
                f"{path} would hold one map as the challenge's product, but {len(wanted.maps)} maps came; give one"
            )
            raise OptionError(message)
        if path.exists() and not wanted.overwrite:
            message = f"{path} exists; pass --overwrite to replace it"
            raise FileExistsError(message)
    if wanted.period is None:
        return wanted.areas or ("gulf_stream",), wanted.challenge
    days = [word.strip() for word in wanted.period.split(",")]
    if len(days) != 2:
        message = f"--period {wanted.period}; wanted two days, as 2012-10-22,2012-12-02"
        raise OptionError(message)
    return wanted.areas or ("gulf_stream",), (days[0], days[1])


# ---------------------------------------------------------------------- fields
def _target(wanted: Wanted, area: str, ends: tuple[str, str]) -> Any:
    """Open the truth of an area, or the track."""
    where = wanted.reference
    if where is None:  # refused before
        raise OptionError
    target = open_reference(where, wanted.challenge, period=ends, wide=area != "gulf_stream")
    if wanted.challenge == "osse2020a":
        altimetry.covers(only_field(target, what="the reference"), area, ends, what=f"the reference in {where}")
        if wanted.label_days:
            target = _by_day(only_field(target, what="the reference"))
    return target


def _map(path: Path, name: str, wanted: Wanted, note: Note) -> xr.DataArray:
    ds = files.open_fields(path)
    variable = wanted.variable
    if variable is None and len(ds.data_vars) > 1:
        variable = next((n for n in _NAMES[wanted.challenge] if n in ds.data_vars), None)
    field = only_field(files.one_variable(ds, variable, path), what=f"{name} ({path})")
    if "units" not in field.attrs:
        note(f"{name} has no units: taken as m")
        field = field.assign_attrs(units="m")
    return _by_day(field) if wanted.label_days else field


def _by_day(field: xr.DataArray) -> xr.DataArray:
    """Label means of days at 00:00, where there is one a day."""
    name = cf.time(field)
    values = field[name].values
    if values.size > 1 and np.median(np.diff(values)) < _DAY:
        return field
    return field.assign_coords({name: pd.DatetimeIndex(values).floor("D")})


def _say_labels(name: str, field: xr.DataArray, target: Any, note: Note) -> None:
    """Say where a map is interpolated in time although each of its days is one of the truth's."""
    if len(target.dims) == 1:
        return
    values, truth = (x[cf.time(x)].values for x in (field, target))
    daily = truth.size > 1 and np.median(np.diff(truth)) >= _DAY
    label = truth[0] - truth[0].astype("datetime64[D]") if daily else np.timedelta64(0)
    hour = values[0] - values[0].astype("datetime64[D]")
    if values.size > 1 and np.median(np.diff(values)) == _DAY and hour != label:
        ours, theirs = (f"{int(x / np.timedelta64(1, 'h')):02d}:00" for x in (hour, label))
        note(
            f"{name} is labelled {ours} and the challenge's means of days {theirs}: it is interpolated in time. "
            "If it is made of means of days, pass --label-days"
        )


# ---------------------------------------------------------------------- tables
def _published(wanted: Wanted) -> pd.DataFrame | None:
    if not wanted.published:
        return None
    if wanted.scenario is None or wanted.challenge == "ose2021a":
        return altimetry.published(wanted.challenge)
    return pd.concat([altimetry.published(wanted.challenge, system) for system in SYSTEMS[wanted.scenario]])


def _explain(table: pd.DataFrame, target: Any, others: pd.DataFrame | None, note: Note) -> None:
    if others is not None and is_generated(target):
        note(
            "the reference is a generated twin: published rows are of the real sea, and do not compare with its scores"
        )
    elif others is not None:
        note("published rows compare with maps of the same observations only")
    if len(target.dims) > 1 and table["lambda_x"].isna().any():
        note("no scales: land lies in every row of this area, so that none has a spectrum")


def _flat(table: pd.DataFrame, others: pd.DataFrame | None, area: str) -> pd.DataFrame:
    """Give numbers as they are, with the area and whether they are published."""
    parts = [table.assign(area=area, published=False)]
    if others is not None:
        parts.append(others.assign(area=area, published=True))
    return pd.concat(parts)


def _regimes(chosen: dict[str, xr.DataArray], target: Any, area: str, period: Any) -> pd.DataFrame:
    """Scores of every map by regime; of tracks, by the regimes of the map's own variability."""
    found = {}
    for name, field in chosen.items():
        if len(target.dims) == 1:
            pair = altimetry.along_track(field, target, area=area, period=period).compute()
            flags = altimetry.regimes(select(field, area, period, what=name))
            scores = altimetry.track_by_regime(pair, flags)
        else:
            truth = _daily(select(target, area, period, what="the reference"))
            scores = altimetry.by_regime(altimetry.on_truth(field, truth).compute(), truth, weights=None)
        found[name] = scores.to_dataframe()
    return pd.concat(found, names=["name"])


def _daily(truth: xr.DataArray) -> xr.DataArray:
    return altimetry.daily_means(truth).compute()


def _score_maps(
    chosen: dict[str, xr.DataArray], target: xr.DataArray, area: str, period: Any, *, many: bool
) -> dict[str, xr.Dataset]:
    truth = _daily(select(target, area, period, what="the reference"))
    return {f"{area}: {n}" if many else n: altimetry.score_map(field, truth).compute() for n, field in chosen.items()}


def _together(drawn: dict[str, xr.Dataset]) -> xr.Dataset:
    names = xr.DataArray(list(drawn), dims="name", name="name")
    return xr.concat(list(drawn.values()), names, join="outer", combine_attrs="drop_conflicts")


def _write(
    path: Path,
    wanted: Wanted,
    rows: list[pd.DataFrame],
    chosen: dict[str, xr.DataArray],
    areas: tuple[str, ...],
    period: Any,
) -> Path:
    if path.suffix == ".csv":
        pd.concat(rows).rename_axis("name").to_csv(path)
    elif path.suffix == ".md":
        blocks = []
        for area, part in zip(areas, rows, strict=True):
            text = altimetry.markdown(altimetry.challenge_table(part, challenge=wanted.challenge))
            blocks.append(f"### {area}\n\n{text}\n" if len(areas) > 1 else f"{text}\n")
        path.write_text("\n".join(blocks), encoding="utf-8")
    else:
        ((name, field),) = chosen.items()
        altimetry.write_product(field, path, challenge=wanted.challenge, area=areas[0], period=period, method=name)
    return path
