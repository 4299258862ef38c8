"""Tasks: a network, its training and its use on labelled data, behind one shape (`Task`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from xatmo.tasks.base import Task, as_model
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


def __getattr__(name: str) -> object:
    if name == "Model":  # needs torch, so only when asked for
        from xatmo.model import Model

        return Model
    message = f"module 'xatmo.tasks' has no attribute {name!r}"
    raise AttributeError(message)
