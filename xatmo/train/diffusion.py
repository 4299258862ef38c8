"""Training of residual diffusion: a mean network first, then a denoiser of what the mean leaves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar, Literal

import torch

from xatmo.nn import losses
from xatmo.nn.diffusion import ResidualDiffusion
from xatmo.nn.diffusion.network import as_maps
from xatmo.nn.diffusion.precondition import precondition
from xatmo.train._phases import Phased
from xatmo.train.augment import Augmentation, augment
from xatmo.train.batches import AnyBatch, Batch
from xatmo.train.objectives import broadcastable, complete, predict
from xatmo.train.settings import OptimizerSettings, real, signed

LEVELS = 8
"""Levels of noise at which the denoiser is validated: the middles of as many equal parts of the distribution."""

_SETTLED = 20


class Diffusion(Phased):
    r"""A mean network, then a denoiser of what it leaves.

    First the mean learns from a content loss. Then, with the mean frozen, the denoiser minimises

    .. math::
        L = E\, \frac{1 + \sigma^2}{\sigma^2} \left| D(r + \sigma n, \sigma) - r \right|^2, \quad
        r = \frac{y - m(x)}{\sigma_{data}}, \quad \ln \sigma \sim N(P_{mean}, P_{std}^2)

    The first ``pretrain_steps`` train the mean; :math:`\sigma_{data}`, by channel, is the running root mean square of
    what it leaves in the last of them. Cells without target do not count.

    Parameters
    ----------
    network : ResidualDiffusion
    loss : str or mapping
        Of the mean; see `xatmo.nn.losses.build`. Squared error makes it a mean.
    optimizer : OptimizerSettings or pair of them
        Of mean network and denoiser.
    pretrain_steps : int
        Of ``max_steps``: those of the mean. 0: it is trained already. Each phase has its own course of the learning
        rate.
    noise_mean, noise_std : float
        :math:`P_{mean}, P_{std}`. The levels of a batch are spread evenly over the distribution.
    spectral_weight : float
        Of a second loss of the denoiser, `xatmo.nn.spectral_losses.power` between denoised and true patches, where a
        sample counts by :math:`1 / (1 + \sigma^2)`: a denoised field of high noise is rightly smooth. It needs patches
        without missing cells.
    average : float, optional
        Decay of the running mean of the denoiser's weights; validation and what the run leaves use it. None: the
        weights themselves.
    keep : {"last", "best"}
        Which weights the run leaves, where it is validated. ``"best"``: those of the lowest ``validation_loss`` in the
        denoiser's phase, where ``patience`` counts, too.
    validation_loss : str or mapping, optional
        Of the mean's phase; default ``loss``. That of the denoiser's phase is its loss at `LEVELS` levels of noise.
    augmentation : {"none", "mirror", "symmetries"}
    seed : int

    Raises
    ------
    OptionError
        If an option has no usable value.

    Notes
    -----
    Mardani et al. 2023, arXiv:2309.15214; Karras et al. 2022, arXiv:2206.00364. In units of the residual's standard
    deviation their :math:`P_{mean}` of -1.2, for data of standard deviation 0.5, is -0.5.

    A mean that has learned its training data by heart leaves less there than elsewhere, and members spread too little:
    hold data out for validation, and look at `xatmo.metrics.spread_skill`.
    """

    second_phase: ClassVar[str] = "the denoiser"
    without_second_phase: ClassVar[str] = "For the mean alone train without diffusion"
    network: ResidualDiffusion
    settled: torch.Tensor

    def __init__(
        self,
        network: ResidualDiffusion,
        loss: str | Mapping[str, float] | losses.Mix = "mse",
        *,
        optimizer: OptimizerSettings | tuple[OptimizerSettings, OptimizerSettings] | None = None,
        pretrain_steps: int = 0,
        noise_mean: float = -0.5,
        noise_std: float = 1.2,
        spectral_weight: float = 0.0,
        average: float | None = 0.999,
        keep: Literal["last", "best"] = "last",
        validation_loss: str | Mapping[str, float] | losses.Mix | None = None,
        augmentation: Augmentation = "none",
        seed: int = 0,
    ) -> None:
        super().__init__(
            network, OptimizerSettings() if optimizer is None else optimizer,
            trained=(network.mean_network, network.unet), averaged=network.unet, pretrain_steps=pretrain_steps,
            average=average, keep=keep, roles=("mean network", "denoiser"),
        )  # fmt: skip
        self.loss = losses.build(loss)
        self.validation_loss = self.loss if validation_loss is None else losses.build(validation_loss)
        self.noise_mean = signed("noise_mean", noise_mean)
        self.noise_std = real("noise_std", noise_std, positive=True)
        self.spectral_weight = real("spectral_weight", spectral_weight)
        self.augmentation, self.seed = augmentation, seed
        self.register_buffer("settled", torch.zeros((), dtype=torch.int64))

    # ------------------------------------------------------------------ what the trainer asks
    @property
    def loss_names(self) -> tuple[str, ...]:
        """Columns of the history; each phase leaves those of the other one empty."""
        mixed = tuple(self.loss.parts) if len(self.loss.parts) > 1 else ()
        return ("mean", *mixed, "denoising", *("spectral",) * (self.spectral_weight > 0), "denoiser_learning_rate")

    def identity(self) -> dict[str, Any]:
        """Give the settings that a resumed run has to share."""
        mean, denoiser = (asdict(settings) for settings in self.all_optimizer_settings)
        return {
            **super().identity(), "mean": mean, "denoiser": denoiser, "content": self.loss.parts,
            "validation_loss": self.validation_loss.parts, "noise_mean": self.noise_mean, "noise_std": self.noise_std,
            "spectral_weight": self.spectral_weight, "diffusion": self.network.config.to_dict(),
        }  # fmt: skip

    # ------------------------------------------------------------------ one step
    def training_step(self, batch: AnyBatch, batch_idx: int) -> dict[str, torch.Tensor]:
        """Update the network of the phase with one batch, and give all losses."""
        step = self.global_step
        batch = augment(Batch.of(batch), self.augmentation, (self.seed, step, self.global_rank))
        out = dict.fromkeys(self.loss_names, torch.full((), math.nan, device=self.device))
        rate = self.trainer.optimizers[1].param_groups[0]["lr"]
        self.stepping = True
        if step < self.pretrain_steps:
            out |= self._train_mean(batch)
        else:
            out["denoiser_learning_rate"] = torch.full((), float(rate), device=self.device)
            out |= self._train_denoiser(batch)
            self.update_average(step - self.pretrain_steps)
        self.stepping = False
        return out

    def validation_step(self, batch: AnyBatch, batch_idx: int) -> torch.Tensor:
        """Loss of the phase of the last step, of one batch: the mean's, or the denoiser's at given levels of noise."""
        batch = Batch.of(batch)
        if self.global_step - 1 < self.pretrain_steps:
            value: torch.Tensor = self.validation_loss(
                predict(self.network.mean, batch), batch.target, broadcastable(batch)
            )
            return value
        mean = predict(self.network.mean, batch)
        first, n = batch_idx * len(as_maps(mean)), len(as_maps(mean))
        parts = (torch.arange(first, first + n, device=mean.device) % LEVELS + 0.5) / LEVELS
        total, _ = self._denoising(batch, mean, self._levels(parts), self.judged)
        return total

    # ------------------------------------------------------------------ its parts
    def _train_mean(self, batch: Batch) -> dict[str, torch.Tensor]:
        mean = predict(self.network.mean, batch)
        values = self.loss.values(mean, batch.target, broadcastable(batch))
        total = self.loss.total(values)
        self._measure(batch.target, mean.detach())
        self.descend(0, total, counted=True)
        parts = {name: value.detach() for name, value in values.items()} if len(values) > 1 else {}
        return {"loss": total.detach(), "mean": total.detach(), **parts}

    def _train_denoiser(self, batch: Batch) -> dict[str, torch.Tensor]:
        self.network.mean_network.eval()
        with torch.no_grad():
            mean = predict(self.network.mean, batch)
            if int(self.settled) < _SETTLED:
                self._measure(batch.target, mean)
        n = len(as_maps(mean))
        # One level from each of n equal parts of the distribution, in random order: less noise in the loss.
        parts = (torch.randperm(n, device=mean.device) + torch.rand(n, device=mean.device)) / n
        total, out = self._denoising(batch, mean, self._levels(parts), self.network.unet)
        self.descend(1, total, counted=True)
        return {"loss": total.detach(), **out}

    def _levels(self, parts: torch.Tensor) -> torch.Tensor:
        """Levels of noise below which a part of the distribution lies."""
        return torch.exp(self.noise_mean + self.noise_std * torch.special.ndtri(parts.clamp(1e-5, 1 - 1e-5)))

    def _denoising(
        self, batch: Batch, mean: torch.Tensor, sigma: torch.Tensor, unet: torch.nn.Module
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Give the denoiser's loss, and its parts."""
        inputs, static = complete(batch)
        condition = self.network.condition(inputs, mean, static)
        residual = self.network.residual(batch.target, mean)
        clean = torch.nan_to_num(residual, nan=0.0)
        noisy = clean + sigma[:, None, None, None] * torch.randn_like(clean)
        denoised = self.network.denoise(noisy, sigma, condition, unet)
        root = precondition(sigma).weight.sqrt()[:, None, None, None]
        error = losses.mse(root * denoised, root * residual, _weight_of_maps(batch))
        out = {"denoising": error.detach()}
        if self.spectral_weight > 0:
            share = precondition(sigma).skip[:, None, None, None]
            made = as_maps(mean) + denoised * self.network.sigma_data[:, None, None]
            distance = share.mean() * losses.LOSSES["spectral_power"](made, as_maps(batch.target), share)
            out["spectral"] = distance.detach()
            error = error + self.spectral_weight * distance
        return error, out

    @torch.no_grad()
    def _measure(self, target: torch.Tensor, mean: torch.Tensor) -> None:
        """Take up what the mean leaves of this batch: the mean over the first 50 batches, then over the last 50 or so.

        All ranks have the same.
        """
        residual = as_maps(target.float() - mean.float())
        there = residual.isfinite()
        squares = torch.where(there, residual, 0.0).square().sum((0, 2, 3))
        both = torch.stack([squares, there.sum((0, 2, 3)).to(squares.dtype)])
        squares, count = self.trainer.strategy.reduce(both, reduce_op="sum")
        now = squares / count.clamp_min(1)
        known, n = self.network.sigma_data.square(), int(self.settled)
        whole = torch.lerp(known, now, max(1 / (n + 1), 0.02))
        self.network.sigma_data.copy_(torch.where(count > 0, whole, known).sqrt().clamp_min(1e-6))
        self.settled.add_(1)


def _weight_of_maps(batch: Batch) -> torch.Tensor | None:
    """Give the weight of each map of a batch; of size 1 along axes where it is the same."""
    weight = broadcastable(batch)
    if weight is None or batch.target.ndim == 4:
        return weight
    return as_maps(weight.expand(batch.target.shape[0], -1, batch.target.shape[2], -1, -1))
