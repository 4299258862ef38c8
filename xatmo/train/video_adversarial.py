"""Training of forecasts with latent variables against discriminators of clips."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from torch import nn

from xatmo.nn import losses
from xatmo.nn.video import VideoNetwork
from xatmo.nn.video.discriminators import VideoDiscriminator, feature_distance
from xatmo.train._phases import Phased
from xatmo.train.adversarial import frozen
from xatmo.train.settings import OptimizerSettings, real, whole
from xatmo.train.video_latent import LatentForecast, Made

ADAM = OptimizerSettings("adam", 2e-4, betas=(0.5, 0.999), schedule="linear", drops=(0.3, 1.0))
"""Of network and discriminators, as in Lee et al. 2018 but for the fall of the rate, which follows the run."""


class AdversarialForecast(Phased):
    r"""The losses of `LatentForecast` and those of deceiving discriminators of clips.

    .. math::
        L &= L_{latent} + \lambda \sum_{b = q, p} (D_b(y_b) - 1)^2
             + \lambda_f \sum_l [1 - \cos(D_{q,l}(y), D_{q,l}(y_q))] \\
        L_D &= \sum_b (D_b(y) - 1)^2 + D_b(y_b)^2

    One discriminator sees clips made with latent variables of the posterior q, another those of the prior p; clips of a
    real record, of the same frames, are compared with each (Lee et al. 2018, arXiv:1804.01523). Each step is one update
    of the discriminators, then one of the network against the updated ones.

    Parameters
    ----------
    network : VideoNetwork
        With latent variables.
    loss : str or mapping
        See `LatentForecast`.
    gan : float
        :math:`\lambda`, of each discriminator.
    features : float
        :math:`\lambda_f`, of features of the posterior's discriminator.
    images : bool
        Whether single frames, one of each sample at random, have two discriminators as well.
    clip : int
        Frames of a clip, which begins at random; at most all that are made.
    channels : int
        Width of the discriminators' first layer.
    optimizer : OptimizerSettings or pair of them, optional
        Of network and discriminators. Default: `ADAM` for both.
    pretrain_steps : int
        Of ``max_steps``, without discriminators.
    average : float, optional
        Decay of the running mean of the network's weights in the second phase.
    keep : {"last", "best"}
        See `xatmo.train.Adversarial`.
    **options
        Others of `LatentForecast` and `xatmo.train.video.Forecast`.

    Raises
    ------
    OptionError
        If an option has no usable value.
    """

    second_phase: ClassVar[str] = "adversarial training"
    without_second_phase: ClassVar[str] = "For the other terms alone train without discriminators"

    def __init__(
        self,
        network: VideoNetwork,
        loss: str | Mapping[str, float] | losses.Mix = "mae",
        *,
        gan: float = 0.1,
        features: float = 10.0,
        images: bool = False,
        clip: int = 10,
        channels: int = 32,
        optimizer: OptimizerSettings | tuple[OptimizerSettings, OptimizerSettings] | None = None,
        pretrain_steps: int = 0,
        average: float | None = None,
        keep: Literal["last", "best"] = "last",
        **options: Any,
    ) -> None:
        network.require_latent()
        n_in = network.config.n_state if network.whole_state else network.config.n_out
        judges = nn.ModuleDict({
            f"{branch}_{kind}": VideoDiscriminator(n_in, whole("channels", channels), images=kind == "image")
            for kind in ("video", *["image"] * images)
            for branch in ("posterior", "prior")
        })  # fmt: skip
        super().__init__(
            network, ADAM if optimizer is None else optimizer, trained=(network, judges), averaged=network,
            pretrain_steps=pretrain_steps, average=average, keep=keep, roles=("network", "discriminators"),
        )  # fmt: skip
        self.judges = judges
        self.gan, self.features = real("gan", gan, positive=True), real("features", features)
        self.clip, self.images = whole("clip", clip), images
        # In a tuple: its network is registered already.
        self._content = (LatentForecast(network, loss, optimizer=self.all_optimizer_settings[0], **options),)

    @property
    def content(self) -> LatentForecast:
        """The objective without discriminators."""
        return self._content[0]

    # ------------------------------------------------------------------ what the trainer asks
    @property
    def loss_names(self) -> tuple[str, ...]:
        """Columns of the history; those of the discriminators are empty before the second phase."""
        return (
            "content", *self.content.loss_names, "deceit_posterior", "deceit_prior", "feature_distance",
            "discriminator", "discriminator_accuracy",
        )  # fmt: skip

    def identity(self) -> dict[str, Any]:
        """Give the settings that a resumed run has to share."""
        both = [asdict(settings) for settings in self.all_optimizer_settings]
        own = {n: getattr(self, n) for n in ("gan", "features", "clip", "images")}
        return {**self.content.identity(), **super().identity(), **own, "optimizers": both}

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, torch.Tensor]:
        """Update discriminators and network with one batch, and give all losses."""
        step, key = self.global_step, (self.content.seed, self.global_step, self.global_rank)
        out = dict.fromkeys(self.loss_names, torch.full((), math.nan, device=self.device))
        adversarial = step >= self.pretrain_steps
        self.stepping = True
        drawn = self.content.drawn(batch, key)
        made = self.content.made(drawn, step, self.progress, n_prior=int(adversarial))
        out |= {"content": made.total.detach(), **{n: made.parts[n].detach() for n in self.content.loss_names}}
        if adversarial:
            clips = self._clips(made, np.random.default_rng([*key, 2]))
            out |= self._update_judges(clips)
            total, parts = self._deceive(clips)
            total = made.total + total
            out |= parts
        else:
            total = made.total
        with frozen(self.judges):
            self.descend(0, total, counted=True)
        if adversarial:
            self.update_average(step - self.pretrain_steps)
        self.stepping = False
        return {**out, "loss": total.detach()}

    def validation_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """As of `LatentForecast`, with the running mean of the weights where there is one."""
        content, network = self.content, self.content.network
        content.network = cast(VideoNetwork, self.judged)
        try:
            return content.validation_step(batch, batch_idx)
        finally:
            content.network = network

    # ------------------------------------------------------------------ its parts
    def _clips(self, made: Made, random: np.random.Generator) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Give the real and the made clip for each discriminator."""
        n_frames = made.truth.shape[2]
        length = min(self.clip, n_frames)
        first = int(random.integers(n_frames - length + 1))
        at = torch.as_tensor(random.integers(n_frames, size=len(made.truth)), device=made.truth.device)
        out = {}
        for name in self.judges:
            branch, kind = name.split("_")
            frames = made.branches.posterior if branch == "posterior" else made.branches.prior[0]
            if kind == "video":
                out[name] = (made.truth[:, :, first : first + length], frames[:, :, first : first + length])
            else:
                samples = torch.arange(len(at), device=at.device)
                out[name] = (made.truth[samples, :, at], frames[samples, :, at])
        return out

    def _update_judges(self, clips: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> dict[str, torch.Tensor]:
        terms, right = [], []
        for name, judge in self.judges.items():
            truth, made = clips[name]
            real_logits, made_logits = judge(torch.cat([truth.to(made.dtype), made.detach()]))[0].chunk(2)
            terms.append((real_logits - 1).square().mean() + made_logits.square().mean())
            right.append(((real_logits > 0.5).float().mean() + (made_logits <= 0.5).float().mean()) / 2)
        loss = torch.stack(terms).sum()
        self.descend(1, loss, counted=False)
        return {"discriminator": loss.detach(), "discriminator_accuracy": torch.stack(right).mean()}

    def _deceive(
        self, clips: Mapping[str, tuple[torch.Tensor, torch.Tensor]]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Losses of the network before the updated discriminators, and each of them without its factor."""
        parts: dict[str, list[torch.Tensor]] = {"deceit_posterior": [], "deceit_prior": [], "feature_distance": []}
        with frozen(self.judges):
            for name, judge in self.judges.items():
                truth, made = clips[name]
                logits, seen = judge(made)
                parts["deceit_" + name.split("_")[0]].append((logits - 1).square().mean())
                if self.features and name.startswith("posterior"):
                    with torch.no_grad():
                        _, wanted = judge(truth.to(made.dtype))
                    parts["feature_distance"].append(feature_distance(wanted, seen))
        sums = {n: torch.stack(v).sum() if v else logits.new_zeros(()) for n, v in parts.items()}
        total = self.gan * (sums["deceit_posterior"] + sums["deceit_prior"]) + self.features * sums["feature_distance"]
        return total, {n: v.detach() for n, v in sums.items()}
