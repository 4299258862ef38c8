"""FourDVarNet: maps of sparse observations by a variational network, from labelled data to labelled data."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from xatmo.errors import OptionError
from xatmo.tasks.base import Task
from xatmo.tasks.fourdvar import _fit, _settings
from xatmo.tasks.fourdvar._data import Given, Several
from xatmo.typing import XarrayObject

if TYPE_CHECKING:
    import torch

    from xatmo.model import Model


class FourDVarNet(Task):
    """Map sparse observations with a variational network that is trained."""

    name: ClassVar[str] = "FourDVarNet"

    def __init__(
        self,
        prior: str | torch.nn.Module = "bilinear",
        *,
        solver: str | torch.nn.Module = "unet",
        n_steps: int = 4,
        background: str = "oi",
        time_window: int = 15,
        state: str = "raw",
        operator: str | torch.nn.Module = "identity",
        loss: Mapping[str, float] | None = None,
        objective: str | None = None,
        redraw: float = 0.5,
        noise_std: float | None = None,
        held_back: float = 0.3,
        error: bool = True,
        network_settings: Mapping[str, Any] | None = None,
        oi: Mapping[str, Any] | None = None,
        time_weight: str = "flat",
        border: int = 0,
        augmentation: str = "none",
        optimizer: str = "adamw",
        learning_rate: float = 1e-3,
        weight_decay: float = 0.01,
        schedule: str = "one-cycle",
        optimizer_settings: Mapping[str, Any] | None = None,
        scale_learning_rate: bool = False,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        super().__init__()
        self._parts: dict[str, torch.nn.Module] = {}
        for name, usual in _USUAL.items():
            if not isinstance(given[name], str):
                self._parts[name] = _module(name, given[name])
                given[name] = usual
        self._config: dict[str, Any] = _settings.resolve(given)

    @property
    def config(self) -> dict[str, Any]:
        """Settings with which the task was made."""
        return copy.deepcopy(self._config)

    def __repr__(self) -> str:
        shown: dict[str, Any] = {k: v for k, v in self._config.items() if v not in (None, False, 0, [])}
        shown |= {name: type(part).__name__ for name, part in self._parts.items()}
        if self._module is not None:
            shown = {"module": type(self._module).__name__} | {
                k: v for k, v in shown.items() if k not in _settings.NETWORK
            }
        bare = {"module", *self._parts}
        settings = ", ".join(f"{k}={v if k in bare else repr(v)}" for k, v in shown.items())
        state = "not fitted" if self._model is None else f"fitted, {self._model.fingerprint}"
        return f"<{self.name} {settings} ({state})>"

    # ------------------------------------------------------------------ other ways to make one
    @classmethod
    def from_module(cls, module: torch.nn.Module, **settings: Any) -> Self:
        """Make the task around a network of the caller's: labels, backgrounds, tiling, training, saving are the same.

        Parameters
        ----------
        module : torch.nn.Module
            ``(batch, n_inputs, time, lat, lon) -> (batch, n_outputs, time, lat, lon)``, rows north to south,
            normalized: observed values (0 where there are none), their masks, backgrounds, domain, predictors; without
            NaN.
        **settings
            Those of `FourDVarNet` that concern training and data: ``background``, ``time_window``, ``loss``,
            ``objective``, ``redraw``, ``learning_rate`` ... Of ``network_settings`` only ``n_outputs`` and ``observed``
            have a meaning.

        Raises
        ------
        OptionError
            If it is no module, or a setting describes a network of ours.
        """
        import torch

        given: object = module
        if not isinstance(given, torch.nn.Module):
            message = f"module is {type(module).__name__}; wanted a torch.nn.Module"
            raise OptionError(message)
        if foreign := sorted(set(settings) & (set(_settings.NETWORK) - {"network_settings"})):
            message = f"{foreign} describe a network of ours; with a module of your own leave them out"
            raise OptionError(message)
        if settings.get("objective") == "variational":
            message = "objective='variational' with a module of your own, which has no cost; wanted another objective"
            raise OptionError(message)
        task = cls(**settings)
        task._module = module
        return task

    @classmethod
    def of_model(cls, model: Model) -> Self:
        """Make the fitted task that belongs to a model."""
        task = super().of_model(model)
        for name in model.config["network"].get("own_parts", ()):
            task._parts[name] = getattr(model.network, name)
        return task

    # ------------------------------------------------------------------ training
    def fit(  # type: ignore[override]
        self,
        train: XarrayObject,
        *,
        obs: Several,
        mask: Several = None,
        target: Several = None,
        predictors: Several = None,
        domain: Given | None = None,
        background: Several = None,
        lag: Given | None = None,
        validation: XarrayObject | None = None,
        patch_size: int | Mapping[str, int] | None = None,
        batch_size: int = 4,
        epochs: int = 40,
        max_steps: int | None = None,
        max_time: str | None = None,
        patience: int | None = 10,
        accumulate: int = 1,
        accelerator: str = "auto",
        devices: int = 1,
        precision: str | None = None,
        seed: int = 0,
        initial: Task | Model | str | Path | None = None,
        run_dir: str | Path | None = None,
        resume: bool = True,
        progress: bool = True,
    ) -> Self:
        """Train. This reads the data and computes: statistics and backgrounds first, then batch after batch."""
        from xatmo.tasks import as_model

        if background is None and self._config["background"] not in _settings.BACKGROUNDS:
            background = self._config["background"]
        data = _fit.Data(train, obs, mask, target, predictors, domain, background, lag, validation)
        trainer = {
            "accelerator": accelerator, "precision": precision, "max_time": max_time, "patience": patience,
            "accumulate": accumulate,
        }  # fmt: skip
        options = _fit.Options(
            patch_size, batch_size, epochs, max_steps, devices, seed, trainer, run_dir, resume, progress
        )
        start = None if initial is None else as_model(initial)
        self._model = _fit.train(self.name, self.config, self._parts, self._module, start, data, options)
        return self


_USUAL = {"prior": "bilinear", "solver": "unet", "operator": "identity"}


def _module(name: str, given: object) -> torch.nn.Module:
    import torch

    if isinstance(given, torch.nn.Module):
        return given
    message = f"{name}={given!r}; wanted a name or a torch.nn.Module"
    raise OptionError(message)
