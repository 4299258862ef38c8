"""Adversarial training: a generator learns from a discriminator that learns to tell what it makes from real fields."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from numbers import Real
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from xatmo.errors import OptionError
from xatmo.nn import losses
from xatmo.train._criteria import CRITERIA
from xatmo.train._phases import Phased
from xatmo.train.augment import Augmentation, augment
from xatmo.train.batches import AnyBatch, Batch
from xatmo.train.objectives import broadcastable, predict
from xatmo.train.settings import OptimizerSettings, real

GATE = (0.46, 0.6)
"""Bounds of the discriminator's loss, with cross-entropy, that PhIRE and AtmoDist use."""

_COUNTS = ("true_positive", "false_negative", "true_negative", "false_positive")


class Adversarial(Phased):
    r"""A generator against a discriminator.

    .. math::
        L_G = \lambda_c\, \mathrm{content}(G(x), y) + \lambda_a\, g(D(y), D(G(x))), \qquad
        L_D = d(D(y), D(G(x))) + \frac{\gamma}{2} E\, |\nabla_y D(y)|^2

    A step is one batch and one update of the generator, after one of the discriminator. The first ``pretrain_steps``
    minimise the content loss alone. Cells without target are 0 in both fields that the discriminator sees.

    Parameters
    ----------
    network : torch.nn.Module
        The generator, as in `Supervised`.
    discriminator : torch.nn.Module
        ``discriminator(fine, coarse, static)`` -> logits ``(batch, 1)``; see `xatmo.nn.superres.discriminators`.
    loss : str or mapping
        The content loss; see `xatmo.nn.losses.build`.
    content_weight, adversarial_weight : float
        :math:`\lambda_c` and :math:`\lambda_a`: 1 and 0.001 in SRGAN, 100 and 1 in DL4DS.
    criterion : {"cross_entropy", "hinge", "relativistic"}
        :math:`d` and :math:`g`; cross-entropy is the binary one of the logits, its mean over real and made fields.
    optimizer : OptimizerSettings or pair of them
        Of generator and discriminator. Default: Adam at 1e-4, constant.
    pretrain_steps : int
        Of ``max_steps``. Each of the two phases has its own course of the learning rate.
    gate : (float, float), optional
        With a discriminator's loss below the first number the generator has one update more on this batch, above the
        second the discriminator; see `GATE`. These are not counted as steps.
    penalty : float
        :math:`\gamma`, of the gradient at real fields (Mescheder et al. 2018, *R1*, arXiv:1801.04406), summed over the
        cells of a field. It is computed in float32.
    average : float, optional
        Decay of the running mean of the generator's weights in the adversarial phase, for instance 0.999; validation
        and what the run leaves use it. None: the weights themselves.
    keep : {"last", "best"}
        Which weights the run leaves, where it is validated. ``"last"``: the content loss, lowest before the
        adversarial phase, says little about adversarial training, and does not stop it either. ``"best"``: those of the
        lowest ``validation_loss`` in the adversarial phase; ``patience`` counts in each phase.
    validation_loss : str or mapping, optional
        Default: ``loss``.
    augmentation : {"none", "mirror", "symmetries"}
    seed : int

    Raises
    ------
    OptionError
        If an option has no usable value.
    """

    second_phase: ClassVar[str] = "adversarial training"
    without_second_phase: ClassVar[str] = "For the content loss alone train without a discriminator"

    def __init__(
        self,
        network: nn.Module,
        discriminator: nn.Module,
        loss: str | Mapping[str, float] | losses.Mix = "mae",
        *,
        content_weight: float = 1.0,
        adversarial_weight: float = 1e-3,
        criterion: str = "cross_entropy",
        optimizer: OptimizerSettings | tuple[OptimizerSettings, OptimizerSettings] | None = None,
        pretrain_steps: int = 0,
        gate: tuple[float, float] | None = None,
        penalty: float = 0.0,
        average: float | None = None,
        keep: Literal["last", "best"] = "last",
        validation_loss: str | Mapping[str, float] | losses.Mix | None = None,
        augmentation: Augmentation = "none",
        seed: int = 0,
    ) -> None:
        if optimizer is None:
            optimizer = OptimizerSettings("adam", 1e-4, schedule="constant")
        super().__init__(
            network, optimizer, trained=(network, discriminator), averaged=network, pretrain_steps=pretrain_steps,
            average=average, keep=keep, roles=("generator", "discriminator"),
        )  # fmt: skip
        self.discriminator = discriminator
        self.loss = losses.build(loss)
        self.validation_loss = self.loss if validation_loss is None else losses.build(validation_loss)
        self.content_weight = real("content_weight", content_weight)
        self.adversarial_weight = real("adversarial_weight", adversarial_weight, positive=True)
        self.penalty = real("penalty", penalty)
        if criterion not in CRITERIA:
            message = f"criterion={criterion!r}; possible are {sorted(CRITERIA)}"
            raise OptionError(message)
        bounds: tuple[Any, ...] = () if gate is None else tuple(gate)
        numbers = len(bounds) == 2 and all(isinstance(b, Real) for b in bounds)
        if gate is not None and not (numbers and 0 <= bounds[0] <= bounds[1] < math.inf):
            message = f"gate={gate!r}; wanted two losses in rising order, such as {GATE}"
            raise OptionError(message)
        self.criterion, self.gate = criterion, gate
        self.augmentation, self.seed = augmentation, seed

    # ------------------------------------------------------------------ what the trainer asks
    @property
    def loss_names(self) -> tuple[str, ...]:
        """Columns of the history; those of the discriminator are empty before the adversarial phase."""
        mixed = tuple(self.loss.parts) if len(self.loss.parts) > 1 else ()
        names = ("content", *mixed, "adversarial", "discriminator", "discriminator_accuracy", *_COUNTS)
        names += ("gradient_penalty",) * (self.penalty > 0)
        names += ("extra_generator", "extra_discriminator") * (self.gate is not None)
        return (*names, "discriminator_learning_rate")

    def identity(self) -> dict[str, Any]:
        """Give the settings that a resumed run has to share."""
        generator, discriminator = (asdict(settings) for settings in self.all_optimizer_settings)
        return {
            **super().identity(), "generator_optimizer": generator, "discriminator_optimizer": discriminator,
            "content_weight": self.content_weight, "adversarial_weight": self.adversarial_weight,
            "criterion": self.criterion, "content": self.loss.parts, "gate": self.gate, "penalty": self.penalty,
            "validation_loss": self.validation_loss.parts,
        }  # fmt: skip

    # ------------------------------------------------------------------ one step
    def training_step(self, batch: AnyBatch, batch_idx: int) -> dict[str, torch.Tensor]:
        """Update both networks with one batch, and give all losses."""
        step = self.global_step
        batch = augment(Batch.of(batch), self.augmentation, (self.seed, step, self.global_rank))
        none = torch.full((), math.nan, device=self.device)
        out = dict.fromkeys(self.loss_names, none)
        rate = self.trainer.optimizers[1].param_groups[0]["lr"]
        self.stepping = True
        if step < self.pretrain_steps:
            out |= self._update_generator(batch, predict(self.network, batch), adversarial=False)
        else:
            out["discriminator_learning_rate"] = torch.full((), float(rate), device=self.device)
            prediction = predict(self.network, batch)
            out |= self._update_discriminator(batch, prediction.detach())
            out |= self._update_generator(batch, prediction)
            if self.gate is not None:
                out |= self._update_again(batch, out["discriminator"])
            self.update_average(step - self.pretrain_steps)
        self.stepping = False
        return out

    def validation_step(self, batch: AnyBatch, batch_idx: int) -> torch.Tensor:
        """Content loss, or the validation loss that was asked for, of one batch."""
        batch = Batch.of(batch)
        value: torch.Tensor = self.validation_loss(predict(self.judged, batch), batch.target, broadcastable(batch))
        return value

    # ------------------------------------------------------------------ its parts
    def _update_generator(
        self, batch: Batch, prediction: torch.Tensor, *, adversarial: bool = True, counted: bool = True
    ) -> dict[str, torch.Tensor]:
        values = self.loss.values(prediction, batch.target, broadcastable(batch))
        content = self.loss.total(values)
        total, out = self.content_weight * content, {"content": content.detach()}
        if len(values) > 1:
            out |= {name: value.detach() for name, value in values.items()}
        with frozen(self.discriminator):
            if adversarial:
                criterion = CRITERIA[self.criterion]
                truth, made = comparable(batch.target, prediction)
                logits = self._judge(torch.cat([truth, made]) if criterion.needs_real else made, batch)
                parts = logits.chunk(2) if criterion.needs_real else (logits, logits)
                deceit = criterion.generator(*parts)
                total = total + self.adversarial_weight * deceit
                out["adversarial"] = deceit.detach()
            self.descend(0, total, counted=counted)
        return {**out, "loss": total.detach()}

    def _update_discriminator(self, batch: Batch, prediction: torch.Tensor) -> dict[str, torch.Tensor]:
        truth, made = comparable(batch.target, prediction)
        real_logits, made_logits = self._judge(torch.cat([truth, made]), batch).chunk(2)
        loss = CRITERIA[self.criterion].discriminator(real_logits, made_logits)
        out = {"discriminator": loss.detach(), **_scores(real_logits.detach(), made_logits.detach())}
        if self.penalty > 0:
            size = self._gradient_at(truth, batch)
            out["gradient_penalty"] = size.detach()
            loss = loss + self.penalty / 2 * size
        self.descend(1, loss, counted=False)
        return out

    def _update_again(self, batch: Batch, loss: torch.Tensor) -> dict[str, torch.Tensor]:
        low, high = self.gate or GATE
        value = float(self.trainer.strategy.reduce(loss.clone(), reduce_op="mean"))  # all ranks decide alike
        if value < low:
            self._update_generator(batch, predict(self.network, batch), counted=False)
        elif value > high:
            with torch.no_grad():
                made = predict(self.network, batch)
            self._update_discriminator(batch, made)
        flags = {"extra_generator": value < low, "extra_discriminator": value > high}
        return {name: torch.full((), float(flag), device=self.device) for name, flag in flags.items()}

    def _judge(self, fine: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Logits in float32; ``fine`` may hold real and made fields, one after another."""
        times = len(fine) // len(batch.input)
        coarse = torch.nan_to_num(batch.input, nan=0.0)
        static = None if batch.static is None else torch.nan_to_num(batch.static, nan=0.0)
        if times > 1:
            coarse = torch.cat([coarse] * times)
            static = None if static is None else torch.cat([static] * times)
        logits: torch.Tensor = self.discriminator(fine, coarse, static)
        return logits.float()

    def _gradient_at(self, truth: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Mean over fields of the squared length of the logit's gradient."""
        with torch.autocast(truth.device.type, enabled=False):
            truth = truth.detach().float().requires_grad_(True)
            (slope,) = torch.autograd.grad(self._judge(truth, batch).sum(), truth, create_graph=True)
            return slope.square().flatten(1).sum(dim=1).mean()


def comparable(target: torch.Tensor, prediction: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both fields, 0 where the target is missing."""
    there = target.isfinite()
    zero = torch.zeros((), dtype=prediction.dtype, device=prediction.device)
    return torch.where(there, target.to(prediction.dtype), zero), torch.where(there, prediction, zero)


def _scores(real_logits: torch.Tensor, made_logits: torch.Tensor) -> dict[str, torch.Tensor]:
    """Shares of the real fields and of the made ones that are judged rightly and wrongly; positive is real."""
    hit, fooled = (real_logits > 0).float().mean(), (made_logits > 0).float().mean()
    counts = (hit, 1 - hit, 1 - fooled, fooled)
    return {"discriminator_accuracy": (hit + 1 - fooled) / 2, **dict(zip(_COUNTS, counts, strict=True))}


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Let gradients pass through a network, but not to its weights."""
    moving = [p for p in network.parameters() if p.requires_grad]
    for parameter in moving:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in moving:
            parameter.requires_grad_(True)
