"""Objectives: what one optimiser step minimises, as Lightning modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import nn

from xatmo.nn import losses
from xatmo.train.augment import Augmentation, augment
from xatmo.train.batches import AnyBatch, Batch
from xatmo.train.settings import OptimizerSettings, TrainSettings


class Objective(LightningModule):
    """What `xatmo.train.fit` asks of everything that it trains.

    A subclass gives ``training_step``, a dict of ``"loss"`` and of a number for each of ``loss_names``, and
    ``validation_step``, one number. It may count more than one optimizer and more than one phase.

    Parameters
    ----------
    network : torch.nn.Module
        What is trained, in place.
    optimizers : OptimizerSettings
        One for each optimizer, in the order of ``configure_optimizers``.

    Attributes
    ----------
    keeps_best : bool
        Whether the weights of the lowest validation loss are kept, and training stops after ``patience`` validations
        without improvement. False: the last weights are.
    stepping : bool
        Whether weights are being changed now: then they belong to no step, and no checkpoint is written.
    progress : float
        Part of the run that is over, of its steps or of its time, whichever is more; set before each step.
    """

    def __init__(self, network: nn.Module, *optimizers: OptimizerSettings) -> None:
        super().__init__()
        self.network = network
        self.all_optimizer_settings: tuple[OptimizerSettings, ...] = optimizers
        self.keeps_best = True
        self.stepping = False
        self.progress = 0.0

    @property
    def optimizer_settings(self) -> OptimizerSettings:
        """Of the network's optimizer."""
        return self.all_optimizer_settings[0]

    @optimizer_settings.setter
    def optimizer_settings(self, settings: OptimizerSettings) -> None:
        self.all_optimizer_settings = (settings, *self.all_optimizer_settings[1:])

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Names of the losses beside their sum, for the history."""
        return ()

    def key(self, batch_idx: int) -> tuple[int, ...]:
        """Give what random draws of a batch belong to: seed, step, rank, and its place in a step of several batches."""
        place = batch_idx % self.trainer.accumulate_grad_batches
        return (int(getattr(self, "seed", 0)), self.global_step, self.global_rank, *([place] if place else []))

    def identity(self) -> dict[str, Any]:
        """Give the settings that a resumed run has to share, for JSON."""
        return asdict(self.optimizer_settings)

    def prepare(self, settings: TrainSettings) -> None:
        """Look at the settings of the run, before it starts."""

    def phase(self, step: int, max_steps: int) -> tuple[int, int, int]:
        """Give the phase to which a step belongs: its number, first step and end.

        Each phase has its own course of the learning rate, and its own best validation loss.
        """
        return 0, 0, max_steps

    def end_phase(self, step: int) -> None:
        """Begin the next phase, if there is one, with this step: the time of the one before is spent."""

    def finish(self) -> None:
        """Put the weights that the run leaves into ``network``, after the last step."""


class Supervised(Objective):
    """A network learns targets from inputs.

    Missing inputs become 0, the mean in normalized units; missing targets do not count.

    Parameters
    ----------
    network : torch.nn.Module
        Called ``network(input)``, or ``network(input, static)`` where batches have static fields; see
        `xatmo.train.Batch` for their shapes.
    loss : str or mapping
        See `xatmo.nn.losses.build`.
    optimizer : OptimizerSettings
    augmentation : {"none", "mirror", "symmetries"}
        See `xatmo.train.augment`.
    seed : int
        Of the augmentation, together with the step.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: str | Mapping[str, float] | losses.Mix = "mae",
        *,
        optimizer: OptimizerSettings | None = None,
        augmentation: Augmentation = "none",
        seed: int = 0,
    ) -> None:
        super().__init__(network, OptimizerSettings() if optimizer is None else optimizer)
        self.loss = losses.build(loss)
        self.augmentation, self.seed = augmentation, seed

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Give the optimizer; the learning rate is set before each step by the trainer's schedule."""
        return self.optimizer_settings.make([p for p in self.network.parameters() if p.requires_grad])

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Names of the losses, where there are several."""
        return tuple(self.loss.parts) if len(self.loss.parts) > 1 else ()

    def training_step(self, batch: AnyBatch, batch_idx: int) -> dict[str, torch.Tensor]:
        """Loss of one batch, and its parts where there are several."""
        values = self._losses(augment(Batch.of(batch), self.augmentation, self.key(batch_idx)))
        return {"loss": self.loss.total(values), **{n: values[n].detach() for n in self.loss_names}}

    def validation_step(self, batch: AnyBatch, batch_idx: int) -> torch.Tensor:
        """Loss of one batch, without augmentation."""
        return self.loss.total(self._losses(Batch.of(batch)))

    def _losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        return self.loss.values(predict(self.network, batch), batch.target, broadcastable(batch))


def complete(batch: Batch) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Give inputs and static fields of a batch with 0 where they are missing."""
    static = None if batch.static is None else torch.nan_to_num(batch.static, nan=0.0)
    return torch.nan_to_num(batch.input, nan=0.0), static


def predict(network: Callable[..., Any], batch: Batch) -> torch.Tensor:
    """Call a network with the parts of a batch that it takes; missing inputs are 0."""
    inputs, static = complete(batch)
    out: torch.Tensor = network(inputs) if static is None else network(inputs, static)
    return out


def broadcastable(batch: Batch) -> torch.Tensor | None:
    """Give the weight with an axis of time where only the target has one.

    Examples
    --------
    >>> window, area = torch.zeros(2, 1, 4, 6, 6), torch.ones(2, 1, 6, 6)
    >>> broadcastable(Batch(window, window, area)).shape
    torch.Size([2, 1, 1, 6, 6])
    """
    if batch.weight is not None and batch.weight.ndim == batch.target.ndim - 1:
        return batch.weight.unsqueeze(2)
    return batch.weight
