"""``xatmo extract``, ``preprocess``, ``postprocess``: their parts of a YAML file, which may hold a whole experiment."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import typer
import xarray as xr

from xatmo import workflow
from xatmo.cli import configuration, files, tables
from xatmo.errors import ConfigError, OptionError

STEPS: Final[dict[str, Callable[..., Any]]] = {
    "extract": workflow.extract,
    "preprocess": workflow.preprocess,
    "postprocess": workflow.postprocess,
}
_NOT_IN_YAML: Final = ("overwrite", "progress", "note")
# Where a step takes what is not given, in a file that holds the step before it.
_FROM: Final = {
    ("preprocess", "input"): "the output of extract",
    ("postprocess", "model"): "the output of train",
    ("postprocess", "data"): "the output of preprocess",
    ("postprocess", "output"): "the folder that the model is in",
}


def template(step: str) -> str:
    """Write the YAML for a step: every setting, its default, and what it means.

    Raises
    ------
    OptionError
        If there is no such step.

    Examples
    --------
    >>> print(template("extract").splitlines()[0])
    # Configuration of xatmo extract, with every default. Run it:
    """
    if step not in STEPS:
        message = f"no step {step!r}; there is {', '.join(STEPS)}"
        raise OptionError(message)
    lines = [
        f"# Configuration of xatmo {step}, with every default. Run it:",
        f"#   xatmo {step} THIS_FILE",
        "# Lines may be left out; their defaults then hold. Those that say so have to be given. One file may hold a",
        "# whole experiment: extract, preprocess, train (with data, task, training and output) and postprocess.",
        "",
        f"{step}:",
    ]
    about = configuration.parameters_section(inspect.getdoc(STEPS[step]) or "")
    for name, default in _settings(step).items():
        text = about.get(name, "")
        taken = _FROM.get((step, name))
        if taken is not None:
            text = f"{text} Not given: {taken}, in a file that holds both."
        required = default is inspect.Parameter.empty
        shown = None if required else default
        lines += configuration.entry(name, shown, text, required=required and taken is None)
    return "\n".join([*lines, ""])


def run(step: str, path: Path, *, overwrite: bool = False, note: Callable[[str], Any]) -> Path:
    """Do one step of an experiment.

    Raises
    ------
    ConfigError
        If the file is no YAML mapping, has unknown names, or lacks what has to be given.
    XatmoError
        As in the functions of `xatmo.workflow`.
    """
    settings = read(step, path)
    with files.watch_tasks(step):
        done = STEPS[step](**settings, overwrite=overwrite, note=note)
    return Path(done.path)


def read(step: str, path: Path) -> dict[str, Any]:
    """Read the settings of a step, and take what is not given from the steps before it.

    Raises
    ------
    ConfigError
        If the file is no YAML mapping, has unknown names, or lacks what has to be given.
    """
    content = configuration.load(path, f"xatmo config {step}")
    known = list(_settings(step))
    own = content.get(step)
    if step not in content and not set(content) & {*STEPS, "train"}:
        own = content  # a file for this step alone
    elif step not in content:
        message = f"{path} has no section {step!r}; it has {', '.join(map(str, content))}. See xatmo config {step}"
        raise ConfigError(message)
    if not isinstance(own, Mapping):
        message = f"{path}: {step} is {type(own).__name__}; wanted a mapping as `xatmo config {step}` prints it"
        raise ConfigError(message)
    configuration.check_names(own, known, f"{path}: {step}")
    given = {k: v for k, v in own.items() if v is not None or _settings(step)[k] is not inspect.Parameter.empty}
    for (where, name), _ in _FROM.items():
        if where == step and given.get(name) is None:
            taken = _taken(step, name, content, given)
            if taken is not None:
                given[name] = taken
    for name, default in _settings(step).items():
        if default is inspect.Parameter.empty and given.get(name) is None:
            message = f"{path}: {step}.{name} has to be given"
            raise ConfigError(message)
    return given


def _taken(step: str, name: str, content: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    if (step, name) == ("preprocess", "input"):
        return extracted(content)
    if (step, name) == ("postprocess", "data"):
        return (content.get("preprocess") or {}).get("output")
    if (step, name) == ("postprocess", "model"):
        return (content.get("train") or content).get("output")
    model = given.get("model")  # runs/convlstm/model -> runs/convlstm
    return None if model is None or Path(str(model)).name != "model" else str(Path(str(model)).parent)


def extracted(content: Mapping[str, Any]) -> str | None:
    """Where the store lies that the section ``extract`` of an experiment writes; None where there is no such section.

    Raises
    ------
    ConfigError
        If its name follows from the data, and there is none.
    """
    section = content.get("extract") or {}
    output = section.get("output")
    return None if output is None else str(workflow.find_extracted(output, section))


def show_splits(path: Path, note: Callable[[str], Any]) -> None:
    """Tell the parts of a prepared experiment, one in a line."""
    table = workflow.open_prepared(path).splits
    for name, rows in table.groupby("part", sort=False):
        first, last = rows["first"].min(), rows["last"].max()
        pieces = "one stretch" if len(rows) == 1 else f"{len(rows)} stretches"
        note(
            f"{name}: {first:%Y-%m-%dT%H} to {last:%Y-%m-%dT%H}, {rows['frames'].sum()} frames in {pieces}, "
            f"{rows['windows'].sum()} samples"
        )


def show_scores(path: Path) -> None:
    """Print the scores of a run over all lead times and by lead time, a row for each, a column for each forecast."""
    scores = xr.load_dataset(path / "scores.nc")
    for name in workflow.metrics_in(scores):
        unit = scores[name].attrs.get("units", "1")
        typer.echo(name + ("" if unit == "1" else f" in {unit}"))
        tables.forecasts(scores, name)
    if scores.attrs.get("intervals"):
        typer.echo(scores.attrs["intervals"])


def _settings(step: str) -> dict[str, Any]:
    found = inspect.signature(STEPS[step]).parameters
    return {name: parameter.default for name, parameter in found.items() if name not in _NOT_IN_YAML}
