"""Training of forecasts: from the past of a state to its future, with the truth as a crutch that is taken away."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from xatmo.errors import OptionError
from xatmo.nn import losses
from xatmo.nn.ensemble_losses import ENSEMBLE_LOSSES
from xatmo.nn.video import VideoInput, VideoNetwork
from xatmo.train.augment import Augmentation, augment
from xatmo.train.objectives import Objective
from xatmo.train.settings import OptimizerSettings, real, whole


class VideoBatch(NamedTuple):
    """Samples of one step, in normalized units.

    Attributes
    ----------
    frames : Tensor (batch, n_state, n_context + n_future, lat, lon)
        Truth of past and future; NaN where it is missing.
    cycle : Tensor (batch, n_state, n_context + n_future, lat, lon), optional
    known : Tensor (batch, n_known, n_context + n_future, lat, lon), optional
    static : Tensor (batch, n_static, lat, lon), optional
        See `xatmo.nn.video.VideoInput`.
    weight : Tensor, optional
        Positive, broadcastable to ``(batch, n_state, n_future, lat, lon)``; an area, for instance.
    """

    frames: torch.Tensor
    cycle: torch.Tensor | None = None
    known: torch.Tensor | None = None
    static: torch.Tensor | None = None
    weight: torch.Tensor | None = None

    @classmethod
    def of(cls, parts: Any) -> VideoBatch:
        """Name the parts of what a source gave: a tuple in this order, short or with None, or a mapping.

        Examples
        --------
        >>> VideoBatch.of({"frames": torch.zeros(1, 1, 3, 2, 2)}).static is None
        True
        """
        if isinstance(parts, cls):
            return parts
        return cls(**parts) if isinstance(parts, Mapping) else cls(*parts)

    def input(self, n_context: int) -> VideoInput:
        """Give what a network may read; missing values are what is usual, or else 0, the mean."""
        parts = (None if part is None else torch.nan_to_num(part, nan=0.0) for part in self[1:4])
        return VideoInput(self.complete()[:, :, :n_context], *parts)

    def complete(self) -> torch.Tensor:
        """Give the frames with what is usual, or else 0, where they are missing."""
        usual = self.frames.new_zeros(()) if self.cycle is None else torch.nan_to_num(self.cycle, nan=0.0)
        return torch.where(self.frames.isfinite(), self.frames, usual)


def truth_probability(sampling: Mapping[str, float] | None, step: int) -> float:
    r"""Give the probability that a recurrent network reads the truth of the future at a step of training.

    Parameters
    ----------
    sampling : mapping, optional
        ``{"k": k}``: inverse sigmoid :math:`k / (k + e^{s / k})` at step s, and 0 once it is below 0.001, as in SAVP
        (Lee et al. 2018, arXiv:1804.01523; there k = 900). ``{"first": p, "steps": n}``: from p (1 where it is not
        given) to 0 on a line over n steps. None: 0.
    step : int

    Examples
    --------
    >>> [round(truth_probability({"k": 900}, step), 3) for step in (0, 6122, 20000)]
    [0.999, 0.5, 0.0]
    >>> [truth_probability({"steps": 100}, step) for step in (0, 50, 200)]
    [1.0, 0.5, 0.0]
    """
    if sampling is None:
        return 0.0
    if "k" in sampling:
        k = sampling["k"]
        # Far on, the exponential overflows, and nothing is left.
        chance = k / (k + math.exp(step / k)) if step / k < 700 else 0.0
        return chance if chance >= 0.001 else 0.0
    return sampling.get("first", 1.0) * max(0.0, 1 - step / sampling["steps"])


class Forecast(Objective):
    """A forecasting network learns the future from the past.

    Parameters
    ----------
    network : VideoNetwork
    loss : str or mapping
        See `xatmo.nn.losses.build`; of the variables to forecast. ``"crps"`` and ``"energy_score"`` (see
        `xatmo.nn.ensemble_losses`) are scores of ``n_draws`` members of a network that draws, with dropout for
        instance.
    n_draws : int
        Forecasts of each sample for a score of members; at least 2.
    optimizer : OptimizerSettings, optional
    auxiliary : float
        What each further variable of the state counts, of networks that give a whole state; 0: nothing.
    channel_weights : sequence of float, optional
        What each variable counts, instead of 1 for those to forecast and ``auxiliary`` for the others.
    lead_weights : sequence of float, optional
        What each lead counts; default: all the same.
    scheduled_sampling : mapping, optional
        See `truth_probability`. None: recurrent networks read what they gave, as they will have to.
    augmentation : {"none", "mirror", "symmetries"}
        See `xatmo.train.augment`. Components of vectors are not turned with the fields.
    scale : (float, float), optional
        All departures of a sample from the cycle (from the mean, where there is none), of the past and of the future,
        are multiplied by one random factor between these two, drawn evenly in its logarithm.
    seed : int
        Of augmentation and scale, together with step and rank.

    Raises
    ------
    OptionError
        If an option has no usable value.
    """

    network: VideoNetwork

    def __init__(
        self,
        network: VideoNetwork,
        loss: str | Mapping[str, float] | losses.Mix = "mse",
        *,
        optimizer: OptimizerSettings | None = None,
        auxiliary: float = 0.0,
        channel_weights: Sequence[float] | None = None,
        lead_weights: Sequence[float] | None = None,
        scheduled_sampling: Mapping[str, float] | None = None,
        augmentation: Augmentation = "none",
        scale: tuple[float, float] | None = None,
        n_draws: int = 2,
        seed: int = 0,
    ) -> None:
        super().__init__(network, OptimizerSettings() if optimizer is None else optimizer)
        self.ensemble = loss if isinstance(loss, str) and loss in ENSEMBLE_LOSSES else None
        self.loss = losses.build("mae" if self.ensemble else loss)
        self.n_draws = whole("n_draws", n_draws, 2)
        if self.ensemble and not network.stochastic:
            message = (
                f"loss={loss!r} is a score of members, and {network.config.architecture!r} draws nothing with these "
                "settings; wanted 'vae', 'savp', or dropout with mc_dropout=True"
            )
            raise OptionError(message)
        config = network.config
        others = [real("auxiliary", auxiliary)] * (config.n_state - config.n_out)
        self.channel_weights = _weights("channel_weights", channel_weights, [1.0] * config.n_out + others, config.n_out)
        self.lead_weights = _weights("lead_weights", lead_weights, [1.0] * config.n_future, config.n_future)
        self.scheduled_sampling = check_sampling(scheduled_sampling)
        self.scale = check_scale(scale)
        self.augmentation, self.seed = augmentation, seed

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Give the optimizer; the learning rate is set before each step by the trainer's schedule."""
        return self.optimizer_settings.make([p for p in self.network.parameters() if p.requires_grad])

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Names of the losses, where there are several."""
        return tuple(self.loss.parts) if len(self.loss.parts) > 1 else ()

    def identity(self) -> dict[str, Any]:
        """Give the settings that a resumed run has to share."""
        own = {n: getattr(self, n) for n in ("channel_weights", "lead_weights", "scheduled_sampling", "scale")}
        own |= {"ensemble": self.ensemble, "n_draws": self.n_draws} if self.ensemble else {}
        return {**super().identity(), **own, "video": self.network.config.to_dict()}

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, torch.Tensor]:
        """Loss of one batch, and its parts where there are several."""
        key = self.key(batch_idx)
        drawn = augment(VideoBatch.of(batch), self.augmentation, key)
        drawn = scaled(drawn, self.scale, np.random.default_rng([*key, 1]))
        chance = truth_probability(self.scheduled_sampling, self.global_step)
        values = self._losses(drawn, chance, training=True)
        return {"loss": self.loss.total(values), **{n: values[n].detach() for n in self.loss_names}}

    def validation_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """Loss of the variables to forecast in one batch, as a forecast without draws would have it."""
        return self.loss.total(self._losses(VideoBatch.of(batch), 0.0, training=False))

    def _losses(self, batch: VideoBatch, chance: float, *, training: bool) -> dict[str, torch.Tensor]:
        config = self.network.config
        truth = batch.frames[:, :, config.n_context :]
        x, n_future = batch.input(config.n_context), truth.shape[2]
        ahead = batch.complete()[:, :, config.n_context :] if training and chance > 0 else None
        draws = [
            self.network.state(
                x, n_future=n_future, truth=ahead, truth_probability=chance, mean=not training and not self.ensemble
            )
            for _ in range(self.n_draws if self.ensemble else 1)
        ]
        made = draws[0]
        counted, weight = self.counted(batch, made.shape[1] if training else config.n_out, n_future)
        if self.ensemble:
            score = ENSEMBLE_LOSSES[self.ensemble]
            return {"mae": score(torch.stack(draws)[:, :, counted], truth[:, counted], weight)}
        return self.loss.values(made[:, counted], truth[:, counted], weight)

    def counted(self, batch: VideoBatch, n_given: int, n_future: int) -> tuple[list[int], torch.Tensor]:
        """Give the variables that count among the first ``n_given``, and the weight of their leads and cells."""
        counted = [k for k, weight in enumerate(self.channel_weights[:n_given]) if weight > 0]
        weight = torch.ones(1, 1, 1, 1, 1, device=batch.frames.device)
        if len({self.channel_weights[k] for k in counted}) > 1:
            weight = weight * weight.new_tensor([self.channel_weights[k] for k in counted]).reshape(1, -1, 1, 1, 1)
        if len(set(self.lead_weights)) > 1:
            weight = weight * weight.new_tensor(self.lead_weights[:n_future]).reshape(1, 1, -1, 1, 1)
        if batch.weight is not None:
            weight = weight * (batch.weight[:, counted] if batch.weight.shape[1] > 1 else batch.weight)
        return counted, weight


def scaled(batch: VideoBatch, scale: tuple[float, float] | None, random: np.random.Generator) -> VideoBatch:
    """Multiply the departures of each sample from the cycle by a random factor.

    Examples
    --------
    >>> batch = VideoBatch(torch.full((1, 1, 1, 1, 1), 3.0), torch.ones(1, 1, 1, 1, 1))
    >>> scaled(batch, (2.0, 2.0), np.random.default_rng(0)).frames.item()
    5.0
    """
    if scale is None:
        return batch
    factor = np.exp(random.uniform(math.log(scale[0]), math.log(scale[1]), size=(len(batch.frames), 1, 1, 1, 1)))
    by = torch.as_tensor(factor, dtype=batch.frames.dtype, device=batch.frames.device)
    if batch.cycle is None:
        return batch._replace(frames=batch.frames * by)
    return batch._replace(frames=batch.cycle + by * (batch.frames - batch.cycle))


def check_scale(scale: object) -> tuple[float, float] | None:
    """Give the bounds of `scaled` as Python's numbers.

    Raises
    ------
    OptionError
        If they are not two positive numbers in order.
    """
    if scale is None:
        return None
    if isinstance(scale, Sequence) and len(scale) == 2:
        low, high = (real("scale", value, positive=True) for value in scale)
        if low <= high:
            return low, high
    message = f"scale={scale!r}; wanted two positive numbers, the lower first, such as (0.6, 1.6), or None"
    raise OptionError(message)


def check_sampling(sampling: Mapping[str, float] | None) -> dict[str, float] | None:
    """Give the settings of `truth_probability` as Python's numbers.

    Raises
    ------
    OptionError
        If they are not ``k``, or ``steps`` and ``first``.
    """
    if sampling is None:
        return None
    if isinstance(sampling, Mapping) and set(sampling) in ({"k"}, {"steps"}, {"first", "steps"}):
        found = {n: real(f"scheduled_sampling[{n!r}]", v, positive=n != "first") for n, v in sampling.items()}
        if found.get("first", 1.0) <= 1:
            return found
    message = (
        f"scheduled_sampling={sampling!r}; wanted {{'k': 900}}, {{'first': 1, 'steps': 1000}} with a first probability "
        "of at most 1, or None"
    )
    raise OptionError(message)


def _weights(name: str, given: Sequence[float] | None, usual: list[float], counts: int) -> list[float]:
    """Give weights as Python's numbers; one of the first ``counts`` has to count."""
    if given is None:
        return usual
    found = [real(name, value) for value in given]
    if len(found) != len(usual) or not any(found[:counts]):
        among = "" if counts == len(usual) else f" of the first {counts}"
        message = f"{name}={given!r}; wanted {len(usual)} numbers, one{among} above 0"
        raise OptionError(message)
    return found
