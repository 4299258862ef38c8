"""Tasks: a network, its training and its use on labelled data, behind one shape (`Task`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from xatmo.tasks.base import Task
from xatmo.tasks.forecast.forecaster import VideoForecaster
from xatmo.tasks.fourdvar.fourdvarnet import FourDVarNet
from xatmo.tasks.representation.atmodist import AtmoDist
from xatmo.tasks.representation.inpainter import Inpainter
from xatmo.tasks.superres.superresolver import SuperResolver

if TYPE_CHECKING:
    import torch

    from xatmo.model import Model

__all__ = [
    "AtmoDist",
    "FourDVarNet",
    "Inpainter",
    "Model",
    "SuperResolver",
    "Task",
    "VideoForecaster",
    "as_model",
    "load",
]

_TASKS: dict[str, type[Task]] = {
    "AtmoDist": AtmoDist, "FourDVarNet": FourDVarNet, "Inpainter": Inpainter, "SuperResolver": SuperResolver,
    "VideoForecaster": VideoForecaster,
}  # fmt: skip


def load(path: str | Path, *, module: torch.nn.Module | None = None) -> Task:
    """Load any saved task.

    Parameters
    ----------
    path : str or Path
        The directory that ``task.save(path)`` wrote.
    module : torch.nn.Module, optional
        The network, for a task that was made by ``from_module``.

    Returns
    -------
    Task
        Of the class that was saved.

    Raises
    ------
    CheckpointError
        If the directory is missing, truncated or foreign, or needs ``module``.
    """
    from xatmo.errors import CheckpointError
    from xatmo.model import Model

    model = Model.load(path, module=module)
    name = str(model.config.get("task"))
    if name not in _TASKS:
        message = f"{str(path)!r} holds a task {name!r}; this version knows {sorted(_TASKS)}"
        raise CheckpointError(message)
    return _TASKS[name].of_model(model)


def as_model(model: Task | Model | torch.nn.Module | str | Path | object) -> Model:
    """Resolve what callers may pass as a model: a task, a path to a saved one, a `Model`, or a bare network.

    A bare network comes back without channels and without a normalizer.

    Raises
    ------
    NotFittedError
        If a task was not fitted.
    CheckpointError
        If a path cannot be loaded.
    OptionError
        If it is none of these.
    """
    import torch

    from xatmo.errors import OptionError
    from xatmo.model import Model

    if isinstance(model, Task):
        return model.model
    if isinstance(model, Model):
        return model
    if isinstance(model, str | Path):
        return Model.load(model)
    if isinstance(model, torch.nn.Module):
        return Model(model, {"task": type(model).__name__, "network": {"kind": "module"}}, (), ())
    message = f"model is {type(model).__name__}; wanted a fitted task, the path of a saved one, or a torch.nn.Module"
    raise OptionError(message)


def __getattr__(name: str) -> object:
    if name == "Model":  # needs torch, so only when asked for
        from xatmo.model import Model

        return Model
    message = f"module 'xatmo.tasks' has no attribute {name!r}"
    raise AttributeError(message)
