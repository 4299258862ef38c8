"""Training of variational networks against a discriminator that tells their analyses from complete fields."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from torch import nn

from xatmo.errors import OptionError
from xatmo.nn.assimilation import FourDVarNetwork
from xatmo.nn.superres.discriminators import SRGANDiscriminator, SRGANDiscriminatorConfig
from xatmo.train._criteria import CRITERIA
from xatmo.train._phases import Phased
from xatmo.train.adversarial import comparable, frozen
from xatmo.train.augment import augment
from xatmo.train.batches import AnyBatch, Batch
from xatmo.train.fourdvar import FourDVar, FourDVarLoss
from xatmo.train.settings import OptimizerSettings, real


class AdversarialFourDVar(Phased):
    r"""The loss of `FourDVar` and, after a first phase, that of deceiving a discriminator of the frames.

    .. math::
        L = L_{FourDVar} + \lambda\, g(D(y), D(x)), \qquad L_D = d(D(y), D(x))

    Squared errors favour analyses that are smoother than any field; the second term asks for likely ones. Each step is
    one update of the discriminator, then one of the network. Land and missing targets are 0 in both fields.

    Parameters
    ----------
    network : FourDVarNetwork
    loss : FourDVarLoss or mapping, optional
    adversarial : float
        :math:`\lambda`.
    discriminator : torch.nn.Module, optional
        Called with fields ``(batch, n_outputs, time, lat, lon)``, gives logits ``(batch, 1)``. Default:
        `small_discriminator`.
    criterion : {"hinge", "cross_entropy", "relativistic"}
        :math:`d` and :math:`g`: see `xatmo.train.Adversarial`.
    optimizer : OptimizerSettings or pair of them, optional
        Of network and discriminator. Default: that of `FourDVar` and Adam at 2e-4.
    pretrain_steps : int
        Of ``max_steps``, without discriminator.
    average : float, optional
        Decay of the running mean of the network's weights in the second phase.
    keep : {"last", "best"}
        See `xatmo.train.Adversarial`.
    **options
        Others of `FourDVar`, whose mode is ``"supervised"``.

    Raises
    ------
    OptionError
        If an option has no usable value.
    """

    second_phase: ClassVar[str] = "adversarial training"
    without_second_phase: ClassVar[str] = "For the other terms alone train without a discriminator"

    def __init__(
        self,
        network: FourDVarNetwork,
        loss: FourDVarLoss | Mapping[str, float] | None = None,
        *,
        adversarial: float = 1e-3,
        discriminator: nn.Module | None = None,
        criterion: str = "hinge",
        optimizer: OptimizerSettings | Sequence[OptimizerSettings] | None = None,
        pretrain_steps: int = 0,
        average: float | None = None,
        keep: Literal["last", "best"] = "last",
        **options: Any,
    ) -> None:
        if options.get("mode", "supervised") != "supervised":
            message = f"mode={options['mode']!r} with adversarial={adversarial!r}; wanted 'supervised': real fields"
            raise OptionError(message)
        if criterion not in CRITERIA:
            message = f"criterion={criterion!r}; possible are {sorted(CRITERIA)}"
            raise OptionError(message)
        judge = small_discriminator(network.config.n_outputs) if discriminator is None else discriminator
        if optimizer is None:
            optimizer = (OptimizerSettings(), OptimizerSettings("adam", 2e-4, schedule="constant"))
        super().__init__(
            network, optimizer, trained=(network, judge), averaged=network, pretrain_steps=pretrain_steps,
            average=average, keep=keep, roles=("network", "discriminator"),
        )  # fmt: skip
        self.discriminator = judge
        self.adversarial, self.criterion = real("adversarial", adversarial, positive=True), criterion
        # In a tuple: its network is registered already.
        self._content = (FourDVar(network, loss, optimizer=self.all_optimizer_settings[0], **options),)

    @property
    def content(self) -> FourDVar:
        """The objective without the discriminator."""
        return self._content[0]

    # ------------------------------------------------------------------ what the trainer asks
    @property
    def loss_names(self) -> tuple[str, ...]:
        """Columns of the history; those of the discriminator are empty before the second phase."""
        return ("content", *self.content.loss_names, "adversarial", "discriminator", "discriminator_accuracy")

    def identity(self) -> dict[str, Any]:
        """Give the settings that a resumed run has to share."""
        both = [asdict(settings) for settings in self.all_optimizer_settings]
        own = {"adversarial": self.adversarial, "criterion": self.criterion, "optimizers": both}
        return {**self.content.identity(), **super().identity(), **own}

    def training_step(self, batch: AnyBatch, batch_idx: int) -> dict[str, torch.Tensor]:
        """Update discriminator and network with one batch, and give all losses."""
        step, key = self.global_step, (self.content.seed, self.global_step, self.global_rank)
        drawn = augment(Batch.of(batch), self.content.augmentation, key)
        out = dict.fromkeys(self.loss_names, torch.full((), math.nan, device=self.device))
        self.stepping = True
        total, parts, solution = self.content.solved(drawn, np.random.default_rng([*key, 1]), training=True)
        out |= {"content": total.detach(), **{n: parts[n].detach() for n in self.content.loss_names}}
        if step < self.pretrain_steps:
            self.descend(0, total, counted=True)
        else:
            domain = cast(FourDVarNetwork, self.network).unpack(drawn.input).domain
            target = torch.where(domain, drawn.target.float(), torch.nan)
            out |= self._update(total, *comparable(target, solution.iterates[-1]))
            total = total + self.adversarial * out["adversarial"]
            self.update_average(step - self.pretrain_steps)
        self.stepping = False
        return {**out, "loss": total.detach()}

    def validation_step(self, batch: AnyBatch, batch_idx: int) -> torch.Tensor:
        """Loss of `FourDVar` of the last iterate, of the running mean of the weights where there is one."""
        content, network = self.content, self.content.network
        content.network = cast(FourDVarNetwork, self.judged)
        try:
            return content.validation_step(batch, batch_idx)
        finally:
            content.network = network

    def _update(self, content: torch.Tensor, truth: torch.Tensor, made: torch.Tensor) -> dict[str, torch.Tensor]:
        """Update the discriminator, then the network."""
        criterion = CRITERIA[self.criterion]
        real_logits, made_logits = self.discriminator(torch.cat([truth, made.detach()])).float().chunk(2)
        loss = criterion.discriminator(real_logits, made_logits)
        right = ((real_logits > 0).float().mean() + (made_logits <= 0).float().mean()) / 2
        self.descend(1, loss, counted=False)
        with frozen(self.discriminator):
            real_logits, made_logits = self.discriminator(torch.cat([truth, made])).float().chunk(2)
            deceit = criterion.generator(real_logits, made_logits)
            self.descend(0, content + self.adversarial * deceit, counted=True)
        return {"adversarial": deceit.detach(), "discriminator": loss.detach(), "discriminator_accuracy": right}


def small_discriminator(n_outputs: int) -> SRGANDiscriminator:
    """Make one of four convolutions with spectral norm that halve the grid twice, for patches of any size."""
    return SRGANDiscriminator(
        SRGANDiscriminatorConfig(n_outputs, widths=(16, 32, 32, 64), strides=(1, 2, 1, 2), dense=64, spectral_norm=True)
    )
