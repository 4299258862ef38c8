"""Two phases of training, one after another, and the running mean of what the second one trains."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar

import torch
from torch import nn

from xatmo.errors import OptionError
from xatmo.train.objectives import Objective
from xatmo.train.settings import OptimizerSettings, TrainSettings, whole


class Phased(Objective):
    """An objective of two networks with an optimizer each, that trains one alone for its first steps.

    Updates are made by hand. Lightning counts the steps of all optimizers of a manual optimisation; here one update of
    each batch goes through its counter, so that ``max_steps``, schedule, history, checkpoints and resuming count
    batches.

    Parameters
    ----------
    network : torch.nn.Module
        What is trained, in place, as a whole.
    optimizers : OptimizerSettings or pair of them
        Of `trained`; one serves both.
    trained : pair of torch.nn.Module
        What each optimizer updates.
    averaged : torch.nn.Module
        The network whose weights are averaged in the second phase.
    pretrain_steps : int
        Of ``max_steps``: those of the first phase, which has the same part of ``max_time``. What is used up first ends
        it.
    average : float, optional
        Decay of the running mean of the weights; None: no mean.
    keep : {"last", "best"}
    roles : pair of str
        What the two optimizers are for, in messages.

    Raises
    ------
    OptionError
        If an option has no usable value.
    """

    second_phase: ClassVar[str] = "the second phase"
    without_second_phase: ClassVar[str] = ""

    def __init__(
        self,
        network: nn.Module,
        optimizers: OptimizerSettings | Sequence[OptimizerSettings],
        *,
        trained: tuple[nn.Module, nn.Module],
        averaged: nn.Module,
        pretrain_steps: int,
        average: float | None,
        keep: str,
        roles: tuple[str, str],
    ) -> None:
        pair = (optimizers, optimizers) if isinstance(optimizers, OptimizerSettings) else tuple(optimizers)
        super().__init__(network, *pair)
        self.automatic_optimization = False
        if len(pair) != 2:
            message = f"{len(pair)} optimizers came; wanted a pair, for {roles[0]}, {roles[1]}"
            raise OptionError(message)
        if keep not in ("best", "last"):
            message = f"keep={keep!r}; possible are {['best', 'last']}"
            raise OptionError(message)
        decay: object = average
        if decay is not None and not (isinstance(decay, Real) and 0 < float(decay) < 1):
            message = f"average={average!r}; wanted a decay above 0 and below 1, such as 0.999, or None"
            raise OptionError(message)
        self.pretrain_steps = whole("pretrain_steps", pretrain_steps, 0)
        self.keeps_best, self.decay, self.gradient_clip = keep == "best", average, 0.0
        self._trained, self._source = trained, (averaged,)  # tuples: registered under one name only
        self.average = None if average is None else copy.deepcopy(averaged).requires_grad_(False)
        self.averaged: torch.Tensor
        self.register_buffer("averaged", torch.zeros((), dtype=torch.int64))

    # ------------------------------------------------------------------ what the trainer asks
    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Give both optimizers; learning rates are set before each step by the trainer's schedule."""
        return [
            settings.make([p for p in network.parameters() if p.requires_grad])
            for settings, network in zip(self.all_optimizer_settings, self._trained, strict=True)
        ]

    def identity(self) -> dict[str, Any]:
        """Give the settings that a resumed run has to share."""
        keep = "best" if self.keeps_best else "last"
        return {"pretrain_steps": self.pretrain_steps, "average": self.decay, "keep": keep}

    def prepare(self, settings: TrainSettings) -> None:
        """Clip gradients here, which Lightning leaves to manual optimisation.

        Raises
        ------
        OptionError
            If no step is left for the second phase, or gradients of several batches are to be accumulated.
        """
        if settings.accumulate != 1:
            message = (
                f"accumulate={settings.accumulate} with two networks that are trained in turn, each with every batch; "
                "wanted 1. Take a larger batch_size, or train on more devices"
            )
            raise OptionError(message)
        self.gradient_clip = settings.gradient_clip
        if self.pretrain_steps >= settings.max_steps:
            message = (
                f"pretrain_steps={self.pretrain_steps} of max_steps={settings.max_steps}; wanted some left for "
                f"{self.second_phase}. {self.without_second_phase}"
            )
            raise OptionError(message)

    def phase(self, step: int, max_steps: int) -> tuple[int, int, int]:
        """Phase 0 is that of ``pretrain_steps``, phase 1 the rest."""
        if step < self.pretrain_steps:
            return 0, 0, self.pretrain_steps
        return 1, self.pretrain_steps, max_steps

    def end_phase(self, step: int) -> None:
        """Make do with fewer steps of the first phase."""
        self.pretrain_steps = min(self.pretrain_steps, step)

    def finish(self) -> None:
        """Leave the running mean of the weights, where there is one."""
        if self.average is not None and int(self.averaged) > 0:
            self._source[0].load_state_dict(self.average.state_dict())

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip the gradient of the network whose turn it is."""
        if self.gradient_clip > 0:
            nn.utils.clip_grad_norm_(
                [p for group in optimizer.param_groups for p in group["params"]], self.gradient_clip
            )

    # ------------------------------------------------------------------ for a step
    @property
    def judged(self) -> nn.Module:
        """The network that is averaged, with the mean of its weights where there is one by now."""
        averaged = self.average is not None and int(self.averaged) > 0
        return self.average if self.average is not None and averaged else self._source[0]

    def descend(self, which: int, loss: torch.Tensor, *, counted: bool) -> None:
        """One update of one network. Only a counted one moves Lightning's counter of steps."""
        optimizer: Any = self.optimizers()[which]  # type: ignore[index]
        optimizer.zero_grad()
        self.manual_backward(loss)
        if counted:
            optimizer.step()
        else:
            self.trainer.strategy.optimizer_step(optimizer.optimizer, closure=_nothing)
        optimizer.zero_grad()

    @torch.no_grad()
    def update_average(self, n: int) -> None:
        """Take up the weights after step ``n`` of the phase: the first as they are; early ones are soon forgotten."""
        if self.average is None or self.decay is None:
            return
        decay = min(self.decay, (1 + n) / (10 + n)) if n else 0.0
        self.averaged.fill_(n + 1)
        now = self._source[0].state_dict()
        for name, mean in self.average.state_dict().items():
            if mean.is_floating_point():
                mean.lerp_(now[name].to(mean.dtype), 1 - decay)
            else:
                mean.copy_(now[name])


def _nothing() -> None:
    """Do nothing: gradients are there already."""
