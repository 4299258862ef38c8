"""Data of tasks that map observations: files of one's own, or a data challenge's; to train on, and to map."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import xarray as xr

from xatmo import datasets
from xatmo.cli import files
from xatmo.datasets.challenge_files import FILES, READY, SPLITS
from xatmo.errors import ConfigError, CoordinateError, OptionError, VariableError

ROLES: Final = ("obs", "mask", "target", "predictors", "static", "domain", "background", "lag")
"""Keywords of ``fit`` that say which variable is what."""

DATA: Final = {
    "challenge": "osse2020a takes fields, names, grid and days from the challenge's files in the folder data; all "
    "below may then be left out, or changed",
    "data": "folder with the four files of the North Atlantic data set, or with natl20.nc; or a generated twin of "
    "them, from xatmo.datasets.write_challenge",
    "scenario": "altimeters of the challenge that observe: both, nadirs, swot",
    "input": "netCDF, Zarr or GRIB file with what is observed and what is known; or a catalog entry: {catalog: natl60, "
    "entry: fourdvarnet_ready, path: FOLDER}",
    "select": "part of the input to train on, by coordinate: {time: ['2013-02-24', '2013-09-30']}",
    "validation": "part of the input to watch during the training, by coordinate; null: none",
    "obs": "variable of what was observed, NaN where nothing was; a list of several sensors; or of another file: "
    "{file: FILE, variable: NAME}, which may be along a track",
    "mask": "variable that is 0 or NaN where observations are not to be used",
    "target": "variable of the truth, or of one that maps shall look like; null: the observations alone train",
    "predictors": "variable that helps, as sea surface temperature; or a list of them",
    "static": "variable without time that the model keeps, as the depth of the sea; or a list of them",
    "domain": "variable that is 1 on water and 0 on land",
    "background": "variable that is the first guess, in the place of task.background",
    "lag": "variable: true time of an observation minus that of its map",
}
"""Keys of the ``data`` section, with their meaning."""

_CHALLENGE_ROLES: Final = {"obs": "obs", "target": "ssh", "domain": "domain", "lag": "lag"}


def check(data: Mapping[str, Any], where: str) -> None:
    """See that the section says where the fields are, and what was observed.

    Raises
    ------
    ConfigError
        If it does not.

    Examples
    --------
    >>> check({"challenge": "osse2020a", "data": "twin"}, "c.yaml")
    """
    challenge = data.get("challenge")
    if challenge is not None:
        if str(challenge).lower() != "osse2020a":
            message = (
                f"{where}: data.challenge is {challenge!r}; wanted osse2020a, the one that has fields to learn from"
            )
            raise ConfigError(message)
        if data.get("input") is not None or data.get("data") is None:
            message = f"{where}: data.challenge wants data.data, the folder of its files, and no data.input"
            raise ConfigError(message)
        return
    for key in ("input", "obs"):
        if data.get(key) is None:
            message = f"{where}: data.{key} has to be given, or data.challenge and data.data"
            raise ConfigError(message)
    for key in ("data", "scenario"):
        if data.get(key) not in (None, "both"):
            message = f"{where}: data.{key} goes with data.challenge, which is not given"
            raise ConfigError(message)


def described(data: Mapping[str, Any]) -> str:
    """Say where the fields come from.

    Examples
    --------
    >>> described({"challenge": "osse2020a", "data": "twin"})
    'osse2020a in twin'
    """
    return f"{data['challenge']} in {data['data']}" if data.get("challenge") is not None else str(data["input"])


def training_data(
    data: Mapping[str, Any],
    opened: Callable[[Any, str], xr.Dataset],
    select: Callable[..., xr.Dataset],
    *,
    objective: str | None = None,
) -> tuple[xr.Dataset, dict[str, Any]]:
    """Give the fields to train on, and the keywords of ``fit`` that go with them.

    Parameters
    ----------
    data : mapping
        The section, checked.
    opened, select : callable
        See `xatmo.cli.configuration`.
    objective : str, optional
        Of the task: one that learns from observations alone is not given the challenge's truth.

    Raises
    ------
    ConfigError
        If a key has no usable value, or nothing lies in a selection.
    VariableError
        If a variable is missing.
    CoordinateError
        If another file does not lie on the input's grid.
    """
    section = {key: value for key, value in data.items() if value is not None}
    if "challenge" in section:
        ds = datasets.challenge_fields(Path(str(section["data"])), scenario=str(section.get("scenario", "both")))
        usual: dict[str, Any] = {role: name for role, name in _CHALLENGE_ROLES.items() if name in ds}
        if objective in ("held_back", "variational"):
            usual.pop("target")
        usual |= {"select": {"time": list(SPLITS["train"])}, "validation": _within(ds, SPLITS["validation"])}
        section = {**usual, **section}
    else:
        ds = opened(section["input"], "data.input")
    given: dict[str, Any] = {}
    for role in ROLES:
        if role in section:
            ds, given[role] = _named(ds, section[role], f"data.{role}")
    if section.get("validation") is not None:
        if not isinstance(section["validation"], dict):
            message = (
                f"data.validation is {section['validation']!r}; wanted a mapping from a coordinate to [first, last]"
            )
            raise ConfigError(message)
        given["validation"] = select(ds, section["validation"], "data.validation")
    return select(ds, section.get("select"), "data.select"), given


def open_input(path: Path, variables: list[str] | None) -> xr.Dataset:
    """Open what is to be mapped: a file or store, or the folder of a challenge.

    Raises
    ------
    FileNotFoundError
        If nothing is at the path.
    VariableError
        If it lacks a variable that is named.
    """
    is_challenge = path.is_dir() and any((path / name).exists() for name in (FILES["nadir_swot"], READY))
    ds = datasets.challenge_fields(path) if is_challenge else files.open_fields(path)
    for name in variables or ():
        if name not in ds.variables:
            message = f"no variable {name!r} in {path}; it has {sorted(map(str, ds.data_vars))}"
            raise VariableError(message)
    return ds


def names(text: str | None) -> list[str] | None:
    """Part names joined by commas.

    Examples
    --------
    >>> names("ssh, sst"), names(None)
    (['ssh', 'sst'], None)
    """
    return None if text is None else [word.strip() for word in text.split(",") if word.strip()]


def within(ds: xr.Dataset, period: str | None) -> xr.Dataset:
    """Take the days ``FIRST,LAST``.

    Raises
    ------
    OptionError
        If the text is no pair of days.
    CoordinateError
        If there is nothing.
    """
    if period is None:
        return ds
    days = names(period) or []
    try:
        first, last = days
        chosen = ds.sel(time=slice(first, last))
    except (ValueError, KeyError) as error:
        message = f"--period {period}; wanted two days of the input's time, as 2012-10-01,2012-12-20"
        raise OptionError(message) from error
    if not chosen.sizes["time"]:
        message = f"--period {period}: the input goes from {ds['time'].values[0]} to {ds['time'].values[-1]}"
        raise CoordinateError(message)
    return chosen


# ---------------------------------------------------------------------- parts
def _within(ds: xr.Dataset, days: tuple[str, str]) -> dict[str, list[str]] | None:
    """Select these days; nothing where the files have none of them."""
    return {"time": list(days)} if ds.sel(time=slice(*days)).sizes["time"] else None


def _named(ds: xr.Dataset, given: Any, what: str) -> tuple[xr.Dataset, Any]:
    """Check names; bring a variable of another file into the Dataset."""
    if isinstance(given, list):
        found = []
        for each in given:
            ds, name = _named(ds, each, what)
            found.append(name)
        return ds, found
    if isinstance(given, dict):
        if set(given) - {"file", "variable"} or "file" not in given:
            message = f"{what} is {given}; wanted a name, or {{file: FILE, variable: NAME}}"
            raise ConfigError(message)
        return _from_file(ds, Path(str(given["file"])), given.get("variable"), what)
    if str(given) not in ds.variables:
        message = f"{what} names {str(given)!r}; the input has {sorted(map(str, ds.data_vars))}"
        raise VariableError(message)
    return ds, str(given)


def _from_file(ds: xr.Dataset, path: Path, variable: str | None, what: str) -> tuple[xr.Dataset, str]:
    other = files.open_fields(path)
    if variable is None and len(other.data_vars) == 1:
        variable = str(next(iter(other.data_vars)))
    if variable is None or variable not in other.data_vars:
        message = f"{what}: {path} has {sorted(map(str, other.data_vars))}; name one of them: variable: NAME"
        raise VariableError(message)
    field = other[variable]
    name = variable if variable not in ds.variables else f"{variable}_of_{path.stem}"
    if field.ndim == 1 and ds.sizes.get(str(field.dims[0])) != field.size:
        field = datasets.grid_tracks(field.load(), ds)[variable]
    try:
        aligned, _ = xr.align(field, ds, join="exact")
    except ValueError as error:
        message = f"{what}: {path} does not lie on the input's grid and times; regrid it, or write one file"
        raise CoordinateError(message) from error
    return ds.assign({name: aligned}), name
