"""Configurations of training runs: YAML with every setting of a task, made from its signature and docstrings."""

from __future__ import annotations

import difflib
import inspect
import pydoc
import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr
import yaml

import xatmo
from xatmo.catalog import open_catalog
from xatmo.cli import files, forecasting, mapping
from xatmo.errors import ConfigError, OptionError, VariableError
from xatmo.workflow import is_prepared

# Keywords of `fit` that take fields: in a configuration they are files, under `data`.
_FIELDS: Final = ("validation", "target", "predictors", "static")
_DATA: Final = {
    "input": "netCDF, Zarr or GRIB file; what xatmo preprocess wrote; or a catalog entry: {catalog: era5, entry: "
    "weatherbench2, resolution: 64x32}",
    "variables": "names of the variables to train on; null takes every field on the horizontal grid",
    "select": "part of the input to train on, by coordinate: {time: ['2001', '2009'], level: 500}",
    "validation": "what to watch during the training: a selection of the input as above, a file, a catalog entry, or "
    "with a target the pair [coarse, fine] of files",
    "target": "fine fields that go with the input, a file or catalog entry; null: the input is fine, and is coarsened",
    "predictors": "further coarse fields that the network reads, as a file or catalog entry",
    "static": "fine fields without time that the network reads, as a file or catalog entry",
}
_STEPS: Final = ("extract", "preprocess", "train", "postprocess")


class _Loader(yaml.SafeLoader):
    """YAML 1.2's numbers: 1e-3 is one, the time 00:05:00 is none; dates stay text, as xarray selects by them.

    A name that is given twice in a mapping, of which the last would hold, is refused.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Make a mapping."""
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for place, name in enumerate(names):
            if name in names[:place] and name != "<<":
                message = f"{name!r} is given twice"
                raise yaml.constructor.ConstructorError(None, None, message, node.start_mark)
        made: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return made


_TAG: Final = "tag:yaml.org,2002:"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in known if tag not in (f"{_TAG}int", f"{_TAG}float", f"{_TAG}timestamp")]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(f"{_TAG}int", re.compile(r"[-+]?\d+$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    f"{_TAG}float",
    re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?$|[-+]?\.inf$|\.nan$", re.IGNORECASE),
    list("-+.0123456789"),
)


@dataclass(frozen=True)
class Training:
    """A configuration that has been read and checked.

    Attributes
    ----------
    task_name : str
        Name of the task's class.
    settings, fit : mapping
        Keywords of the class and of its ``fit``.
    data : mapping
        Under the keys of the ``data`` section.
    output : path
        Folder in which the trained task is saved.
    """

    task_name: str
    settings: Mapping[str, Any]
    fit: Mapping[str, Any]
    data: Mapping[str, Any]
    output: Path

    @property
    def input(self) -> str:
        """The input, in words."""
        return mapping.described(self.data)


def tasks() -> dict[str, Any]:
    """Give the tasks that can be trained, by name.

    Examples
    --------
    >>> "SuperResolver" in tasks()
    True
    """
    from xatmo.tasks import Task

    found = {name: getattr(xatmo, name) for name in xatmo.__all__}
    return {name: obj for name, obj in found.items() if inspect.isclass(obj) and issubclass(obj, Task)}


def template(task: str) -> str:
    """Write the YAML for a task: every setting, its default, and what it means.

    Raises
    ------
    OptionError
        If there is no such task.

    Examples
    --------
    >>> print(template("superresolver"))
    # Configuration of a training of SuperResolver...
    """
    name, cls = _find(task)
    fit = _settings(cls.fit)
    lines = [
        f"# Configuration of a training of {name}, with every default. Run it:",
        f"#   xatmo train {name} THIS_FILE",
        "# Lines may be left out; their defaults then hold. Those that say so have to be given.",
        "",
        "data:",
    ]
    maps = _maps(fit)
    words = {**_DATA, **(forecasting.ROLES if forecasting.forecasts(_settings(cls)) else {})}
    for key in _data_keys(fit):
        about = mapping.DATA[key] if maps else words[key]
        if not maps and key in ("target", "predictors", "static") and _takes_names(cls):
            about = fit[key][1]
        lines += entry(key, "both" if key == "scenario" else None, about, required=key == "input" and not maps)
    lines += ["", f"task:  # settings of {name}"]
    for key, (default, about) in _settings(cls).items():
        lines += entry(key, default, about, required=default is inspect.Parameter.empty)
    lines += ["", "training:"]
    for key, (default, about) in fit.items():
        if key not in _data_keys(fit):
            lines += entry(key, default, about, required=default is inspect.Parameter.empty)
    lines += ["", "# Folder in which the trained task is saved.", f"output: models/{name.lower()}", ""]
    return "\n".join(lines)


def read(task: str, path: Path) -> Training:
    """Read a configuration and check every name in it.

    Raises
    ------
    OptionError
        If there is no such task.
    ConfigError
        If the file is no YAML mapping, has unknown names, or lacks what has to be given.
    """
    name, cls = _find(task)
    whole = load(path, f"xatmo config {name}")
    content = _of_training(whole, path)
    fit, settings = _settings(cls.fit), _settings(cls)
    check_names(content, ("data", "task", "training", "output"), str(path))
    sections: dict[str, dict[str, Any]] = {}
    fields = _data_keys(fit)
    known = {"data": fields, "task": list(settings), "training": [k for k in fit if k not in fields]}
    for section, names in known.items():
        given = content.get(section)
        if given is not None and not isinstance(given, dict):
            message = f"{path}: {section} is {type(given).__name__}; wanted a mapping"
            raise ConfigError(message)
        sections[section] = given or {}
        check_names(sections[section], names, f"{path}: {section}")
    if _maps(fit):
        mapping.check(sections["data"], str(path))
    needed = [] if _maps(fit) else [("data", "input")]
    needed += [("task", k) for k, (v, _) in settings.items() if v is inspect.Parameter.empty]
    for section, key in needed:
        if sections[section].get(key) is None:
            message = f"{path}: {section}.{key} has to be given"
            raise ConfigError(message)
    output = Path(str(content.get("output") or f"models/{name.lower()}"))
    return Training(name, sections["task"], sections["training"], sections["data"], output)


def load(path: Path, printed_by: str) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises
    ------
    ConfigError
        If it does not.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        message = f"{path} is not YAML: {' '.join(str(error).split())}"
        raise ConfigError(message) from error
    if not isinstance(content, dict):
        message = f"{path} holds {type(content).__name__}; wanted a mapping as `{printed_by}` prints it"
        raise ConfigError(message)
    return content


def _of_training(whole: dict[str, Any], path: Path) -> dict[str, Any]:
    """Take the section of the training out of a file that holds a whole experiment."""
    if not set(whole) & set(_STEPS):
        return whole
    check_names(whole, list(_STEPS), str(path))
    content = whole.get("train")
    if not isinstance(content, dict):
        came = "no section 'train'" if content is None else f"train: {type(content).__name__}"
        message = f"{path} has {came}; wanted a mapping with data, task, training and output under train"
        raise ConfigError(message)
    prepared = (whole.get("preprocess") or {}).get("output")
    data = content.get("data") or {}
    if isinstance(data, dict) and data.get("input") is None and prepared is not None:
        content = {**content, "data": {**data, "input": prepared}}
    return content


def train(wanted: Training, *, overwrite: bool = False, note: Callable[[str], Any] | None = None) -> Any:
    """Open the data, make the task and fit it; an interrupted run in the same ``run_dir`` is continued."""
    _, cls = _find(wanted.task_name)
    task = cls(**wanted.settings)
    fit = dict(wanted.fit)
    if fit.get("run_dir") is None:
        fit["run_dir"] = str(wanted.output.with_name(wanted.output.name + ".run"))
    if _maps(_settings(cls.fit)):
        chosen, given = mapping.training_data(wanted.data, _open, _select, objective=task.config.get("objective"))
        return task.fit(chosen, **given, **fit)
    data = dict(wanted.data)
    if is_prepared(data["input"]):
        return _train_prepared(task, wanted, fit, overwrite=overwrite, note=note)
    whole = _open(data.pop("input"), "data.input")
    names = data.pop("variables", None)
    fields = _take(whole, names)
    chosen = _select(fields, data.pop("select", None), "data.select")
    given = {}
    for key, value in data.items():
        if value is None:
            continue
        what = f"data.{key}"
        if key in forecasting.ROLES and _are_names(value, whole, cls):
            given[key] = forecasting.given(key, value, whole)
        elif isinstance(value, dict) and "catalog" not in value:
            given[key] = _select(fields, value, what)
        elif isinstance(value, list):
            given[key] = tuple(_take(_open(where, what), names) for where in value)
        else:
            given[key] = _open(value, what)
            if key in ("validation", "target"):
                given[key] = _take(given[key], names)
    return task.fit(chosen, **given, **fit)


def _train_prepared(
    task: Any, wanted: Training, fit: dict[str, Any], *, overwrite: bool, note: Callable[[str], Any] | None
) -> Any:
    """Train on the parts that ``xatmo preprocess`` made."""
    from xatmo import workflow

    data = {k: v for k, v in wanted.data.items() if v is not None}
    path = data.pop("input")
    for key in [k for k in data if k not in ("variables", "static", "validation", "target")]:
        message = f"data.{key} goes with fields in files; {path} is prepared, with parts and variables of its own"
        raise ConfigError(message)
    for key in ("variables", "static", "target"):
        if isinstance(data.get(key), str):
            data[key] = [data[key]]
        if key in data and not isinstance(data[key], list):
            message = f"data.{key} is {data[key]!r}; wanted names of variables of {path}"
            raise ConfigError(message)
    if not isinstance(data.get("validation", True), bool):
        message = f"data.validation is {data['validation']!r}; {path} has parts of its own: wanted true or false"
        raise ConfigError(message)
    return workflow.train(task, path, wanted.output, overwrite=overwrite, note=note, **data, **fit)


# ---------------------------------------------------------------------- data
def _open(where: Any, what: str) -> xr.Dataset:
    if isinstance(where, dict):
        parameters = dict(where)
        try:
            name, entry = parameters.pop("catalog"), parameters.pop("entry")
        except KeyError as error:
            message = f"{what} is {where}; wanted a file, or a mapping with 'catalog' and 'entry'"
            raise ConfigError(message) from error
        return open_catalog(name).open(entry, **parameters)
    return files.open_fields(Path(str(where)))


def _are_names(value: Any, ds: xr.Dataset, task: Any) -> bool:
    """Tell names of variables of the input, where the task takes them, from files."""
    words = [value] if isinstance(value, str) else value
    return _takes_names(task) and isinstance(words, list) and all(word in ds.data_vars for word in words)


def _takes_names(task: Any) -> bool:
    """Whether targets, predictors and static fields may be named, as variables of the input."""
    target = inspect.signature(task.fit).parameters.get("target")
    return bool(target is not None and str(target.annotation) == "Names")


def _take(ds: xr.Dataset, names: Any) -> xr.Dataset:
    if names is None:
        return ds
    wanted = [names] if isinstance(names, str) else list(names)
    missing = [name for name in wanted if name not in ds.data_vars]
    if missing:
        message = f"data.variables names {missing[0]!r}; the input has {sorted(map(str, ds.data_vars))}"
        raise VariableError(message)
    return ds[wanted]


def _select(ds: xr.Dataset, selection: Any, what: str) -> xr.Dataset:
    if selection is None:
        return ds
    if not isinstance(selection, dict):
        message = f"{what} is {selection!r}; wanted a mapping from a dimension to a value or [first, last]"
        raise ConfigError(message)
    for dim, value in selection.items():
        whole = ds
        pair = isinstance(value, list) and len(value) == 2
        try:
            found = ds.sel({dim: slice(*value) if pair else value})
            if pair and found.sizes.get(dim, 1) == 0:  # from north to south, or the other way round
                found = ds.sel({dim: slice(*reversed(value))})
        except (KeyError, ValueError, TypeError) as error:
            message = f"{what}: {dim}={value!r} cannot be selected from dimensions {dict(ds.sizes)}"
            raise ConfigError(message) from error
        ds = found
        if ds.sizes.get(dim, 1) == 0:
            ends = " to ".join(_shown(whole[dim].values[end]) for end in (0, -1)) if whole.sizes[dim] else "nothing"
            message = f"{what}: nothing lies between {value[0]!r} and {value[1]!r} along {dim}, which has {ends}"
            raise ConfigError(message)
    return ds


def _shown(value: Any) -> str:
    """Write a coordinate in a message; times to the day."""
    return str(value)[:10] if np.issubdtype(np.asarray(value).dtype, np.datetime64) else str(value)


# ---------------------------------------------------------------------- signatures and docstrings
def _find(task: str) -> tuple[str, Any]:
    found = tasks()
    for name, cls in found.items():
        if name.lower() == task.lower():
            return name, cls
    message = f"no task {task!r}; there is {', '.join(found)}"
    raise OptionError(message)


def _settings(call: Any) -> dict[str, tuple[Any, str]]:
    """Keywords of a class or function that YAML can hold, with default and meaning."""
    about = parameters_section(inspect.getdoc(call) or "")
    found = {}
    for parameter in inspect.signature(call).parameters.values():
        positional_data = not inspect.isclass(call) and parameter.kind is not inspect.Parameter.KEYWORD_ONLY
        if parameter.name == "self" or positional_data or parameter.kind is inspect.Parameter.VAR_KEYWORD:
            continue
        text = about.get(parameter.name, "")
        found[parameter.name] = (parameter.default, _looked_up(text, parameter.name))
    return found


def _looked_up(about: str, name: str) -> str:
    """Follow "See PLACE." to what PLACE says of the same name: who reads YAML has no documentation at hand."""
    place = re.fullmatch(r"See (?:xatmo\.)?([\w.]+)\.", about)
    called = pydoc.locate(f"xatmo.{place[1]}") if place else None
    return parameters_section(inspect.getdoc(called) or "").get(name, about) if called is not None else about


def parameters_section(doc: str) -> dict[str, str]:
    """Meanings by name from the Parameters section of a NumPy docstring.

    Examples
    --------
    >>> parameters_section('''Do it.
    ...
    ... Parameters
    ... ----------
    ... a, b : int
    ...     Two numbers,
    ...     both whole.
    ... ''')
    {'a': 'Two numbers, both whole.', 'b': 'Two numbers, both whole.'}
    """
    match = re.search(r"^(?:Parameters|Attributes)\n-+\n(.*?)(?=^\w[^\n]*\n-{3,}|\Z)", doc, flags=re.M | re.S)
    found: dict[str, str] = {}
    for block in re.split(r"\n(?=\S)", match[1]) if match else []:
        head, _, body = block.partition("\n")
        names, _, kind = head.partition(" : ")
        text = re.sub(r":math:`\\?([^`]*)`", r"\1", " ".join(body.split())).replace("``", "").replace("`", "")
        choices = kind if kind.startswith("{") else ""
        for name in names.split(","):
            found[name.strip().lstrip("*")] = f"{text} {choices}".strip()
    return found


def _maps(fit: Mapping[str, Any]) -> bool:
    """Whether a task maps observations."""
    return "obs" in fit


def _data_keys(fit: Mapping[str, Any]) -> list[str]:
    if _maps(fit):
        return [key for key in mapping.DATA if key in fit or key not in (*mapping.ROLES, *_FIELDS)]
    return ["input", "variables", "select", *[key for key in _FIELDS if key in fit]]


def entry(key: str, default: Any, about: str, *, required: bool) -> list[str]:
    """Give the lines of one setting: what it means, and its default."""
    text = f"{about} HAS TO BE GIVEN." if required else about
    lines = [f"  # {line}" for line in textwrap.wrap(text, 110)]
    value = None if required else _plain(default)
    shown = yaml.safe_dump({key: value}, default_flow_style=False, sort_keys=False, width=1000).strip()
    return [*lines, *[f"  {line}" for line in shown.splitlines()]]


def _plain(value: Any) -> Any:
    """Turn a default into what YAML can hold."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def check_names(given: Mapping[str, Any], known: tuple[str, ...] | list[str], where: str) -> None:
    """Refuse names that are not known.

    Raises
    ------
    ConfigError
        If there is one; it proposes the nearest.
    """
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; it knows {', '.join(known)}"
            message = f"{where} has {name!r}, which it does not know{hint}"
            raise ConfigError(message)
