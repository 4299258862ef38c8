"""What takes part in a comparison: predictions, saved models applied to coarse fields, and folders of trainings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import xarray as xr

from xatmo.errors import OptionError, XatmoError
from xatmo.typing import XarrayObject

if TYPE_CHECKING:
    from xatmo.model import Model

_NO_FIELDS = ("AtmoDist", "Inpainter")  # tasks that make features
CONFIG, RUN, HISTORY = "config.json", "run.json", "history.csv"
FORECASTS, MODEL = "forecasts.zarr", "model"
_NO_SETTINGS = ("step", "began", "finished")  # in the record of a run, and never the same in two


@dataclass(frozen=True)
class Run:
    """One row of a comparison.

    Attributes
    ----------
    name : str
    prediction : Dataset or None
        Lazy where it can be; None where only the training is known.
    history : DataFrame or None
        Losses by step.
    settings : dict
        Names to values, without nesting.
    about : str
        What it is, in one line.
    """

    name: str
    prediction: xr.Dataset | None = None
    history: pd.DataFrame | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    about: str = ""


def resolve(
    name: str,
    given: Any,
    *,
    coarse: XarrayObject | None,
    training: Any = None,
    variable: str | None = None,
    members: int | None = None,
    device: str = "auto",
    batch_size: int | None = None,
) -> Run:
    """Make a run of a prediction, a fitted task, or a path.

    Parameters
    ----------
    name : str
    given : Dataset, DataArray, Task, Model, str or Path
    coarse : Dataset or DataArray, optional
        What models are applied to.
    training : task, path, DataFrame or mapping, optional
        Where history and settings come from, if ``given`` does not have them.
    variable : str, optional
        Name of a prediction that is a DataArray: the target's.
    members, device, batch_size
        Of the models.

    Raises
    ------
    XatmoError
        Of the kind that came up, with the run's name before it.
    """
    try:
        run = _resolve(name, given, coarse, variable, members, device, batch_size)
        if training is not None:
            more = _training(name, training)
            settings = {**run.settings, **more.settings}
            run = Run(name, run.prediction, run.history if more.history is None else more.history, settings, run.about)
    except XatmoError as error:
        raise named(error, name) from error
    return run


def _resolve(
    name: str, given: Any, coarse: Any, variable: str | None, members: int | None, device: str, batch_size: int | None
) -> Run:
    if isinstance(given, xr.Dataset | xr.DataArray):
        return Run(name, dataset(given, variable), about="prediction")
    if isinstance(given, str | Path):
        path = Path(given)
        if (path / FORECASTS).exists():
            return _with_forecasts(name, path)
        if not (path / CONFIG).is_file():
            if (path / RUN).is_file() or (path / HISTORY).is_file():
                return _folder(name, path)
            from xatmo.cli.files import JOINED, open_fields

            return Run(name, open_fields(path, joined=JOINED), about=f"prediction, {path}")
    from xatmo.tasks import as_model

    model = as_model(given)
    made = None
    if coarse is not None and model.config.get("task") not in _NO_FIELDS:
        more = {"members": members} if getattr(model.network, "stochastic", False) else {}
        apply = coarse.atmo.superresolve if model.factor > 1 else coarse.atmo.apply
        made = dataset(apply(model, device=device, batch_size=batch_size, **more), variable)
    where = f", {given}" if isinstance(given, str | Path) else ""
    count = sum(p.numel() for p in model.network.parameters())
    about = f"{model.config.get('task', 'model')}{where}, {count:,} parameters, fingerprint {model.fingerprint}"
    history = pd.DataFrame(model.history) if model.history else None
    return Run(name, made, history, _settings_of(model, count), about)


def dataset(obj: XarrayObject, variable: str | None) -> xr.Dataset:
    """Make a Dataset; a DataArray gets the name of the variable that it is compared with."""
    if isinstance(obj, xr.Dataset):
        return obj
    return obj.to_dataset(name=variable or obj.name or "field")


def _training(name: str, given: Any) -> Run:
    if isinstance(given, pd.DataFrame):
        return Run(name, history=given)
    if isinstance(given, Mapping):
        return Run(name, settings=flat(given))
    if isinstance(given, str | Path) and not (Path(given) / CONFIG).is_file():
        return _folder(name, Path(given))
    return _resolve(name, given, None, None, None, "cpu", None)


def _folder(name: str, path: Path) -> Run:
    """Give the training in a folder that ``run_dir=`` left, of whichever objective."""
    if not path.is_dir():
        message = f"no training at {path}; wanted a saved model, or a folder that run_dir= left"
        raise OptionError(message)
    history = None
    if (path / HISTORY).is_file():
        try:
            rows = pd.read_csv(path / HISTORY)
        except pd.errors.EmptyDataError:  # begun, and not yet at its first step
            rows = pd.DataFrame()
        history = rows.groupby("step", as_index=False).last() if "step" in rows else rows
    settings = flat(_record(path / RUN)) if (path / RUN).is_file() else {}
    return Run(name, None, history, settings, f"training, {path}")


def _record(path: Path) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        message = f"{path} is no whole JSON ({error}); wanted the record of a run"
        raise OptionError(message) from error
    return told


def _with_forecasts(name: str, path: Path) -> Run:
    """Give the folder of a run of the workflow: forecasts, settings, and the history of its model if it is there."""
    from xatmo.cli.files import JOINED, open_fields

    told = _record(path / RUN) if (path / RUN).is_file() else {}
    # Under a name of their own: the model and the run may both have a seed, say, or a version.
    settings = flat({"run": {k: v for k, v in told.items() if k not in _NO_SETTINGS}})
    trained = Run(name)
    if (path / MODEL / CONFIG).is_file():
        trained = _resolve(name, path / MODEL, None, None, None, "cpu", None)
    elif (path / MODEL / HISTORY).is_file():
        trained = _folder(name, path / MODEL)
    elif (path / HISTORY).is_file():
        trained = replace(_folder(name, path), settings={})  # those of the run itself
    about = f"run, {path}" + (f"; {trained.about}" if trained.about else "")
    return Run(
        name, open_fields(path / FORECASTS, joined=JOINED), trained.history, {**settings, **trained.settings}, about
    )


def _settings_of(model: Model, count: int) -> dict[str, Any]:
    parts = {k: v for k, v in model.config.items() if k not in ("task", "normalized")}
    names = {"inputs": model.inputs, "outputs": model.outputs}
    listed = {k: ", ".join(c.name for c in v) for k, v in names.items() if v}
    return flat({"task": model.config.get("task"), **listed, "factor": model.factor, "parameters": count, **parts})


def flat(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Take nesting out of settings: ``training.steps``. A name that has a dot itself is quoted.

    Examples
    --------
    >>> flat({"factor": 4, "training": {"steps": 10, "loss": {"mae": 1.0}}})
    {'factor': 4, 'training.steps': 10, 'training.loss.mae': 1.0}
    >>> flat({"a.b": 1, "a": {"b": 2}})
    {"'a.b'": 1, 'a.b': 2}
    """
    out: dict[str, Any] = {}
    for key, value in settings.items():
        name = before + (repr(str(key)) if "." in str(key) else str(key))
        if isinstance(value, Mapping) and value:
            out |= flat(value, f"{name}.")
        else:
            out[name] = value
    return out


def differing(runs: list[Run]) -> dict[str, list[Any]]:
    """Find settings that are not the same in all runs that have some, by name, in the order of ``runs``."""
    known = [run.settings for run in runs if run.settings]
    names = dict.fromkeys(n for settings in known for n in settings)
    return {
        n: [run.settings.get(n) for run in runs if run.settings]
        for n in names
        if len({json.dumps(s.get(n), sort_keys=True, default=str) for s in known}) > 1
    }


def named(error: XatmoError, name: str) -> XatmoError:
    """Make the same error with the run's name before its text."""
    text = error.args[0] if error.args else error
    return type(error)(f"run {name!r}: {text}")
