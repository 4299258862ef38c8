"""What every task offers: fit, model, history, save."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from xatmo.errors import ConfigError, NotFittedError

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from xatmo.model import Model
    from xatmo.typing import XarrayObject


class Task(ABC):
    """A configuration, and once it is fitted a `Model`.

    A subclass holds no numerics: it brings data, network, objective and trainer together.
    """

    name: ClassVar[str]

    def __init__(self) -> None:
        self._model: Model | None = None
        self._module: torch.nn.Module | None = None  # of the caller's

    # ------------------------------------------------------------------ to be written by subclasses
    @property
    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Settings with which the task was made."""

    @abstractmethod
    def fit(self, train: Any, **kwargs: Any) -> Self:
        """Train on labelled data."""

    @classmethod
    @abstractmethod
    def from_module(cls, module: torch.nn.Module, **kwargs: Any) -> Self:
        """Make the task around a network of the caller's."""

    # ------------------------------------------------------------------ shared
    @classmethod
    def of_model(cls, model: Model) -> Self:
        """Make the fitted task that belongs to a model.

        Raises
        ------
        ConfigError
            If its settings are not those of this task.
        """
        try:
            task = cls(**model.config["settings"])
        except (KeyError, TypeError) as error:
            message = f"this model has settings that {cls.name} does not know ({error})"
            raise ConfigError(message) from error
        task._model = model
        if model.config["network"].get("kind") == "module":
            task._module = model.network
        return task

    @property
    def is_fitted(self) -> bool:
        """Whether there is a model."""
        return self._model is not None

    @property
    def model(self) -> Model:
        """The trained network with its channels, normalizer and grid.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        """
        if self._model is None:
            message = f"this {self.name} is not fitted; call .fit(train) first, or load one with xatmo.load(path)"
            raise NotFittedError(message)
        return self._model

    @property
    def history(self) -> pd.DataFrame:
        """How training went: ``step``, ``epoch``, ``loss``, ``validation_loss``, ``learning_rate``, ``seconds``.

        A loss of several parts has a column for each, without its factor in the sum.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        """
        import pandas as pd

        columns = ["step", "epoch", "loss", "validation_loss", "learning_rate", "seconds"]
        rows = self.model.history
        return pd.DataFrame(rows, columns=list(dict.fromkeys([*columns, *(rows[0] if rows else ())])))

    def save(self, path: str | Path) -> None:
        """Write a directory: ``config.json``, ``model.safetensors``, ``normalizer.nc``, ``README.md``.

        It appears whole or not at all; a model that was saved there before stays until then.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        CheckpointError
            If ``path`` exists and is not a saved model.
        """
        self.model.save(path)

    def with_static(self, fine: XarrayObject) -> Self:
        """Give this task with static fields of another region or grid, such as orography, in place of its own.

        See `xatmo.model.Model.with_static` for what ``fine`` has to hold, and what is raised.
        """
        return type(self).of_model(self.model.with_static(fine))

    def __repr__(self) -> str:
        settings = ", ".join(f"{k}={v!r}" for k, v in self.config.items())
        state = f"fitted, {self._model.fingerprint}" if self._model is not None else "not fitted"
        return f"<{self.name} {settings} ({state})>"


def as_model(model: Task | Model | torch.nn.Module | str | Path | object) -> Model:
    """Resolve what callers may pass as a model: a task, a path to a saved one, a `Model`, or a bare network.

    See `xatmo.model.Model.of` for what comes back, and what is raised.
    """
    from xatmo.model import Model

    return Model.of(model)
