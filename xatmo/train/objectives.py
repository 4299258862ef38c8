"""Objectives: what one optimiser step minimises, as Lightning modules. A batch is a tuple of tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from lightning.pytorch import LightningModule
from torch import nn

from xatmo.nn import losses
from xatmo.train.augment import Augmentation, augment
from xatmo.train.batches import Batch
from xatmo.train.settings import OptimizerSettings


class Supervised(LightningModule):
    """A network learns targets from inputs.

    A batch is ``(input, target)`` or ``(input, target, weight)``: input ``(batch, channel, lat, lon)``; target and
    weight the same with their own channels and ``factor`` times the cells. Missing inputs become 0, the mean in
    normalized units; missing targets do not count.

    Parameters
    ----------
    network : torch.nn.Module
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
        loss: str | Mapping[str, float] = "mae",
        *,
        optimizer: OptimizerSettings | None = None,
        augmentation: Augmentation = "none",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = losses.build(loss)
        self.optimizer_settings = OptimizerSettings() if optimizer is None else optimizer
        self.augmentation, self.seed = augmentation, seed

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Give the optimizer; the learning rate is set before each step by the trainer's schedule."""
        return self.optimizer_settings.make([p for p in self.network.parameters() if p.requires_grad])

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Names of the losses, where there are several."""
        return tuple(self.loss.parts) if len(self.loss.parts) > 1 else ()

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, torch.Tensor]:
        """Loss of one batch, and its parts where there are several."""
        values = self._losses(augment(batch, self.augmentation, (self.seed, self.global_step, self.global_rank)))
        return {"loss": self.loss.total(values), **{n: values[n].detach() for n in self.loss_names}}

    def validation_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Loss of one batch, without augmentation."""
        return self.loss.total(self._losses(batch))

    def _losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        inputs, target = batch[:2]
        weight = batch[2] if len(batch) > 2 else None
        prediction = self.network(torch.nan_to_num(inputs, nan=0.0))
        return self.loss.values(prediction, target, weight)
