"""Learning to tell how far two patches lie apart in time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.nn.functional import log_softmax

from xatmo.errors import CheckpointError, OptionError
from xatmo.train.history import completes_step
from xatmo.train.objectives import Objective
from xatmo.train.settings import OptimizerSettings, TrainSettings, real, whole

CLIPS = ("global", "variable")


@dataclass(frozen=True)
class LabelSmoothing:
    r"""Which distribution over lags the network shall give for a pair at lag ``l``.

    :math:`q_k = (1 - \epsilon)\,g_k + \epsilon / K` with :math:`g_k \propto \exp(-(k - l)^2 / 2 s^2)`.

    Attributes
    ----------
    uniform : float
        :math:`\epsilon`, 0 to below 1.
    spread : float
        :math:`s` in lags: neighbouring lags are half right. 0: the lag alone is.

    Examples
    --------
    >>> LabelSmoothing(0.2)(torch.tensor([1]), 4)
    tensor([[0.0500, 0.8500, 0.0500, 0.0500]])
    >>> LabelSmoothing(spread=1.0)(torch.tensor([0]), 3)
    tensor([[0.5741, 0.3482, 0.0777]])
    """

    uniform: float = 0.0
    spread: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be used."""
        object.__setattr__(self, "spread", real("label_spread", self.spread))
        if isinstance(self.uniform, bool) or not 0 <= self.uniform < 1:
            message = f"label_smoothing={self.uniform!r}; wanted a number from 0 to below 1"
            raise OptionError(message)

    def __call__(self, labels: torch.Tensor, n_classes: int) -> torch.Tensor:
        """Labels ``(batch,) -> (batch, n_classes)``, each row summing to 1."""
        classes = torch.arange(n_classes, device=labels.device)
        apart = (classes - labels[:, None]).float()
        near = (apart == 0).float() if self.spread == 0 else torch.softmax(-(apart**2) / (2 * self.spread**2), dim=1)
        return (1 - self.uniform) * near + self.uniform / n_classes


class Representation(Objective):
    """A network names the lag of pairs of patches: cross-entropy.

    Batches are ``(pair, label)``: ``(batch, 2, channel, lat, lon)``, normalized, and ``(batch,)`` whole numbers, 0 for
    one step of lag.

    Parameters
    ----------
    network : torch.nn.Module
        Called ``network(pair) -> (batch, n_classes)``.
    optimizer : OptimizerSettings
        Its ``weight_decay`` acts on kernels, not on biases and normalizations.
    labels : LabelSmoothing
    clip : {"global", "variable"}
        Whether the gradient as a whole is cut to `TrainSettings.gradient_clip`, or that of each variable for itself.
    warmup_steps : int
        Steps of a first phase, with its own course of the learning rate.
    snapshots : Path, optional
        Folder that gets the weights after every epoch, ``epoch-0001.safetensors`` ...
    steps_per_epoch : int
        After the first phase.
    keep : {"best", "last"} or int
        Weights that the run leaves: those of the lowest validation loss, where there is a validation set; the last; or
        those after this epoch, counted from 1, which needs ``snapshots``.

    Raises
    ------
    OptionError
        If a setting cannot be used.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        optimizer: OptimizerSettings | None = None,
        labels: LabelSmoothing | None = None,
        clip: str = "global",
        warmup_steps: int = 0,
        snapshots: Path | None = None,
        steps_per_epoch: int = 0,
        keep: str | int = "best",
    ) -> None:
        super().__init__(network, OptimizerSettings() if optimizer is None else optimizer)
        if clip not in CLIPS:
            message = f"clip={clip!r}; possible are {list(CLIPS)}"
            raise OptionError(message)
        if keep not in ("best", "last"):
            keep = whole("keep", keep)
        self.labels = LabelSmoothing() if labels is None else labels
        self.clip, self.warmup_steps, self.keep = clip, whole("warmup_steps", warmup_steps, 0), keep
        self.snapshots, self.steps_per_epoch = snapshots, steps_per_epoch
        self.keeps_best = keep != "last"

    # ------------------------------------------------------------------ what the trainer asks
    @property
    def loss_names(self) -> tuple[str, ...]:
        """Accuracies, beside the loss."""
        return ("top1", "top3")

    def identity(self) -> dict[str, Any]:
        """Give the settings that a resumed run has to share, for JSON."""
        return {
            **super().identity(), "label_smoothing": self.labels.uniform, "label_spread": self.labels.spread,
            "clip": self.clip, "warmup_steps": self.warmup_steps, "keeps_best": self.keeps_best,
        }  # fmt: skip

    def prepare(self, settings: TrainSettings) -> None:
        """Look whether the epoch that is to be kept will be reached.

        Raises
        ------
        OptionError
            If it will not.
        """
        if isinstance(self.keep, int):
            n = (settings.max_steps - self.warmup_steps) // max(self.steps_per_epoch, 1)
            if self.snapshots is None or self.keep > n:
                message = f"keep={self.keep!r}, but the run has {max(n, 0)} whole epochs; wanted one of them"
                raise OptionError(message)

    def phase(self, step: int, max_steps: int) -> tuple[int, int, int]:
        """Give number, first step and end of the phase: the warm start on a few pairs, then all."""
        if step < self.warmup_steps:
            return 0, 0, min(self.warmup_steps, max_steps)
        return (1 if self.warmup_steps else 0), self.warmup_steps, max_steps

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Give the optimizer; weight decay is for kernels."""
        trained = [p for p in self.network.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [{"params": [p for p in trained if p.ndim > 1]}]
        if vectors := [p for p in trained if p.ndim <= 1]:
            groups.append({"params": vectors, "weight_decay": 0.0})
        return self.optimizer_settings.make(cast("list[nn.Parameter]", groups))

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Cut the gradient, as a whole or variable by variable."""
        if self.clip == "global" or not gradient_clip_val:
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        for group in optimizer.param_groups:
            clip_each(group["params"], gradient_clip_val)

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, torch.Tensor]:
        """Loss of one batch, and how often the lag is right, or among the three likeliest."""
        pair, label = batch
        scores = self.network(pair).float()
        found = ranks(scores.detach(), label)
        return {
            "loss": self._loss(scores, label),
            "top1": (found < 1).float().mean(), "top3": (found < 3).float().mean(),
        }  # fmt: skip

    def validation_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """Cross-entropy of one batch."""
        pair, label = batch
        return self._loss(self.network(pair).float(), label)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Write the weights after each epoch."""
        after = self.global_step - self.warmup_steps
        if not completes_step(self.trainer, batch_idx):
            return
        if self.snapshots is None or self.global_rank or after <= 0 or after % self.steps_per_epoch:
            return
        import safetensors.torch

        self.snapshots.mkdir(parents=True, exist_ok=True)
        path = snapshot(self.snapshots, after // self.steps_per_epoch)
        weights = {k: v.detach().cpu().contiguous().clone() for k, v in self.network.state_dict().items()}
        part = path.with_suffix(".part")
        safetensors.torch.save_file(weights, part)
        part.replace(path)

    def finish(self) -> None:
        """Take the weights of the epoch that is to be kept.

        Raises
        ------
        CheckpointError
            If they cannot be read.
        """
        if not isinstance(self.keep, int) or self.snapshots is None:
            return
        import safetensors.torch

        path = snapshot(self.snapshots, self.keep)
        try:
            weights = safetensors.torch.load_file(path)
        except Exception as error:  # a missing file, a header cut short: many types
            message = f"the weights of epoch {self.keep} in {str(path)!r} cannot be read ({str(error)[:150]}); "
            message += "train anew with resume=False, or keep another epoch"
            raise CheckpointError(message) from error
        self.network.load_state_dict(weights)

    def _loss(self, scores: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        wanted = self.labels(label, scores.shape[1])
        return -(wanted * log_softmax(scores, dim=1)).sum(dim=1).mean()


def snapshot(folder: Path, epoch: int) -> Path:
    """Where the weights after an epoch lie."""
    return folder / f"epoch-{epoch:04d}.safetensors"


def ranks(scores: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """How many classes have a higher score than the right one, ``(batch,)``.

    A class that has the same score counts by half: a network that knows nothing is right by chance, not always.

    Examples
    --------
    >>> ranks(torch.tensor([[0.1, 0.9, 0.3], [0.1, 0.9, 0.3]]), torch.tensor([1, 2]))
    tensor([0., 1.])
    """
    right = scores.gather(1, label[:, None])
    return (scores > right).sum(dim=1) + ((scores == right).sum(dim=1) - 1) / 2


def clip_each(parameters: Any, largest: float) -> None:
    """Scale the gradient of every variable whose norm is above ``largest`` down to it.

    Examples
    --------
    >>> p, q = torch.zeros(2, requires_grad=True), torch.zeros(1, requires_grad=True)
    >>> p.grad, q.grad = torch.tensor([30.0, 40.0]), torch.tensor([0.5])
    >>> clip_each([p, q], 5.0)
    >>> p.grad, q.grad
    (tensor([3., 4.]), tensor([0.5000]))
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return
    norms = torch._foreach_norm(gradients)
    factors = [torch.clamp(largest / n.clamp_min(torch.finfo(n.dtype).tiny), max=1.0) for n in norms]
    torch._foreach_mul_(gradients, factors)
