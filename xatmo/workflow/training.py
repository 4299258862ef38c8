"""Training of a task on the training part of a prepared experiment, watched on the validation part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xatmo.errors import ConfigError, VariableError, XatmoError
from xatmo.workflow.preparation import Prepared, open_prepared
from xatmo.workflow.records import Record, read, remove

if TYPE_CHECKING:
    from xatmo.tasks import Task


def train(
    task: Task,
    data: str | Path | Prepared,
    output: str | Path,
    *,
    variables: Sequence[str] | None = None,
    static: Sequence[str] | None = None,
    validation: bool = True,
    run_dir: str | Path | None = None,
    overwrite: bool = False,
    note: Callable[[str], Any] | None = None,
    **fit: Any,
) -> Task:
    """Fit a task on the training part of prepared data, and save it with a record of what it was trained on.

    The same call continues an interrupted training, and only reads a finished one.

    Parameters
    ----------
    task : Task
        Not fitted, such as ``xatmo.VideoForecaster()``.
    data : path or Prepared
        What `xatmo.workflow.preprocess` wrote.
    output : path
        Folder in which the trained task is saved; ``OUTPUT.train.json`` beside it is the record.
    variables : sequence of str, optional
        Fields to train on; all that vary in time unless given.
    static : sequence of str, optional
        Fields without time that the network reads.
    validation : bool
        Whether to watch the validation part, where there is one.
    run_dir : path, optional
        For checkpoints; ``OUTPUT.run`` unless given.
    overwrite : bool
        Begin anew where a training of other settings is.
    note : callable, optional
        Takes one line of text.
    **fit
        Of the task's ``fit``: ``epochs``, ``batch_size``, ``target`` ...

    Returns
    -------
    Task
        Fitted.

    Raises
    ------
    ConfigError
        If the output was made or begun with other settings or data, or the task's frames are not those of the data.
    VariableError
        If a variable is not there.
    CheckpointError
        If ``data`` is no prepared experiment, or its data have changed.
    """
    prepared = data if isinstance(data, Prepared) else open_prepared(data)
    path = Path(output)
    _check_frames(task.config, prepared)
    varying = [str(n) for n, da in prepared.data.data_vars.items() if "time" in da.dims]
    names, fields = list(variables or varying), list(static or ())
    for name in [*names, *fields]:
        if name not in prepared.data.data_vars:
            message = f"variable {name!r} is not in {prepared.path}; it has {sorted(map(str, prepared.data.data_vars))}"
            raise VariableError(message)
    same = {k: v for k, v in fit.items() if k not in ("progress", "accelerator", "resume")}
    record = Record(
        "train",
        path.with_name(f"{path.name}.train.json"),
        settings={"task": type(task).__name__, **task.config, "variables": names, "static": fields,
                  "validation": validation, "training": same},
        input=_told(prepared),
    )  # fmt: skip
    folder = Path(run_dir) if run_dir is not None else path.with_name(f"{path.name}.run")
    if record.compare(output=path, overwrite=overwrite):
        if note is not None:
            note(f"{path} is there, trained with the same settings")
        from xatmo.model import Model

        return type(task).of_model(Model.load(path, module=task._module))  # also where its checkpoints are gone
    resume = bool(fit.pop("resume", True))
    if not record.continued:
        if overwrite:
            remove(folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        record.begin()
    given: dict[str, Any] = {"static": prepared.data[fields]} if fields else {}
    if validation and "validation" in prepared.names:
        given["validation"] = prepared.part("validation")[names]
    try:
        fitted = task.fit(prepared.part("train")[names], run_dir=str(folder), resume=resume, **given, **fit)
    except XatmoError:
        if not any(folder.rglob("*.ckpt")):  # refused before the first step: other settings may take its place
            record.forget()
            remove(folder)
        raise
    fitted.save(path)
    record.finish(model=fitted.model.fingerprint)
    return fitted


def _told(prepared: Prepared) -> dict[str, Any]:
    """Tell prepared data from others by what they hold and how they are divided."""
    record = read(prepared.path / "preprocess.json") or {}
    divided = {k: prepared.settings.get(k) for k in ("splits", "gap", "variables")}
    return {"fingerprint": record.get("input", {}).get("fingerprint"), **divided}


def _check_frames(config: Any, prepared: Prepared) -> None:
    """Refuse samples that are longer than those that the splits were made for."""
    for name in ("n_context", "n_future"):
        had, has = prepared.settings[name], config.get(name)
        if has is not None and int(has) > int(had):
            message = f"{name}={has} came, and {prepared.path} was prepared for {had}; prepare it with {name}: {has}"
            raise ConfigError(message)
