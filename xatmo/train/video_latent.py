"""Training of forecasts with latent variables: what they tell of the future, and how little they may tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from xatmo.errors import OptionError
from xatmo.nn import losses
from xatmo.nn.ensemble_losses import crps
from xatmo.nn.video import VideoNetwork
from xatmo.nn.video.latent import Branches
from xatmo.train.augment import augment
from xatmo.train.settings import real, whole
from xatmo.train.video import Forecast, VideoBatch, scaled, truth_probability

_VALIDATION_DRAWS = 4


class Made(NamedTuple):
    """What a step made of a batch, and its losses.

    Attributes
    ----------
    total : Tensor
    parts : dict of str to Tensor
    branches : Branches
    truth : Tensor (batch, n_state, n_frames, lat, lon)
        The frames that the branches have.
    """

    total: torch.Tensor
    parts: dict[str, torch.Tensor]
    branches: Branches
    truth: torch.Tensor


class LatentForecast(Forecast):
    r"""A network with latent variables learns to forecast: a variational bound, a score of its members, or both.

    .. math::
        L = \lambda_r\, [\mathrm{loss}(y_q, y) + \mathrm{loss}(\bar y, y)] + \beta\, KL(q\,|\,p)
            + \lambda_s\, \mathrm{CRPS}(y_p^{1..n}, y)

    :math:`y_q` is made with latent variables that saw the future, drawn from the posterior q; its loss counts all
    frames that the architecture makes. :math:`\bar y` is the forecast without draws, where the architecture has one
    that the draws depart from. The :math:`y_p` are drawn from the prior p, as members of a forecast are; their
    CRPS, of future frames, is fair: see `xatmo.nn.ensemble_losses.crps`. The divergence is that of one draw, in nats:
    the sum over its variables, the mean over draws (steps, or places) and samples.

    Parameters
    ----------
    network : VideoNetwork
    loss : str or mapping
        Of :math:`y_q` and :math:`\bar y`; see `xatmo.nn.losses.build`.
    reconstruction : float
        :math:`\lambda_r`.
    kl : float
        :math:`\beta`.
    kl_anneal : (float, float), optional
        Parts of the run between which :math:`\beta` rises from 0 on a line. A schedule in steps that a run never
        reaches would train without it. None: it is there from the start.
    free_bits : float
        Nats of each variable, mean over samples and draws, that cost nothing.
    members : float
        :math:`\lambda_s`.
    n_draws : int
        n.
    **options
        Others of `xatmo.train.video.Forecast`.

    Raises
    ------
    OptionError
        If an option has no usable value, or the network has no latent variables.
    """

    def __init__(
        self,
        network: VideoNetwork,
        loss: str | Mapping[str, float] | losses.Mix = "mae",
        *,
        reconstruction: float = 100.0,
        kl: float = 0.01,
        kl_anneal: Sequence[float] | None = (1 / 6, 1 / 3),
        free_bits: float = 0.0,
        members: float = 0.0,
        n_draws: int = 2,
        **options: Any,
    ) -> None:
        super().__init__(network, loss, **options)
        network.require_latent()
        self.reconstruction, self.kl = real("reconstruction", reconstruction), real("kl", kl)
        self.free_bits, self.members = real("free_bits", free_bits), real("members", members)
        self.n_draws = whole("n_draws", n_draws, 2)
        bounds = None if kl_anneal is None else [real("kl_anneal", part) for part in kl_anneal]
        if bounds is not None and not (len(bounds) == 2 and bounds[0] <= bounds[1] <= 1):
            message = f"kl_anneal={kl_anneal!r}; wanted two parts of the run in order, such as (0.17, 0.33), or None"
            raise OptionError(message)
        self.kl_anneal = bounds

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Columns of the history."""
        mean = self.network.require_latent().has_mean
        return (
            "reconstruction", *super().loss_names, *["mean"] * mean, "kl", "kl_weight", *["crps"] * (self.members > 0)
        )  # fmt: skip

    def identity(self) -> dict[str, Any]:
        """Give the settings that a resumed run has to share."""
        names = ("reconstruction", "kl", "kl_anneal", "free_bits", "members", "n_draws")
        return {**super().identity(), **{n: getattr(self, n) for n in names}}

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, torch.Tensor]:
        """Loss of one batch, and its parts."""
        made = self.made(self.drawn(batch, self.key(batch_idx)), self.global_step, self.progress)
        return {"loss": made.total, **{n: made.parts[n].detach() for n in self.loss_names}}

    @torch.no_grad()
    def validation_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """CRPS of members where training has it, else the loss of the forecast without draws."""
        batch = VideoBatch.of(batch)
        if not self.members:
            return super().validation_step(batch, batch_idx)
        config = self.network.config
        truth = batch.frames[:, : config.n_out, config.n_context :]
        x, n_draws = batch.input(config.n_context), max(self.n_draws, _VALIDATION_DRAWS)
        draws = [self.network(x, n_future=truth.shape[2]) for _ in range(n_draws)]
        counted, weight = self.counted(batch, config.n_out, truth.shape[2])
        return crps(torch.stack(draws)[:, :, counted], truth[:, counted], weight)

    # ------------------------------------------------------------------ its parts
    def drawn(self, batch: Any, key: Sequence[int]) -> VideoBatch:
        """Turn and scale a batch at random."""
        turned = augment(VideoBatch.of(batch), self.augmentation, key)
        return scaled(turned, self.scale, np.random.default_rng([*key, 1]))

    def made(self, batch: VideoBatch, step: int, progress: float, *, n_prior: int = 0) -> Made:
        """Forecast in both ways, ``n_prior`` times at least without the future, and give all losses."""
        n_context = self.network.config.n_context
        whole_record = batch.complete()
        n_prior = max(n_prior, self.n_draws if self.members else 0)
        found = self.network.branches(
            batch.input(n_context), whole_record[:, :, n_context:], n_prior=n_prior,
            truth_probability=truth_probability(self.scheduled_sampling, step),
        )  # fmt: skip
        n_given, n_frames = found.posterior.shape[1:3]
        n_future = batch.frames.shape[2] - n_context
        truth = batch.frames[:, :, -n_frames:]
        counted, weight = self.counted(batch, n_given, n_future)
        past = weight.new_ones(*weight.shape[:2], n_frames - n_future, *weight.shape[3:])
        everywhere = weight.expand(-1, -1, n_future, -1, -1)
        values = self.loss.values(
            found.posterior[:, counted], truth[:, counted], torch.cat([past, everywhere], dim=2)
        )  # fmt: skip
        divergence = kl_per_draw(found.kl, self.free_bits)
        kl_weight = self.kl * annealed(self.kl_anneal, progress)
        content = self.loss.total(values)
        total = self.reconstruction * content + kl_weight * divergence
        parts = {**values, "reconstruction": content, "kl": divergence}
        parts["kl_weight"] = torch.full((), kl_weight, device=total.device)
        if found.mean is not None:
            parts["mean"] = self.loss(found.mean[:, counted], truth[:, counted, -n_future:], weight)
            total = total + self.reconstruction * parts["mean"]
        if self.members:
            draws = found.prior[: self.n_draws, :, :, -n_future:]
            parts["crps"] = crps(draws[:, :, counted], truth[:, counted, -n_future:], weight)
            total = total + self.members * parts["crps"]
        return Made(total, parts, found, whole_record[:, :n_given, -n_frames:])


def kl_per_draw(kl: torch.Tensor, free_bits: float = 0.0) -> torch.Tensor:
    """Sum the divergence over variables, and average it over draws and samples.

    Parameters
    ----------
    kl : Tensor (batch, n_draws, n_latent)
    free_bits : float
        Below which the mean of a variable counts so much, and has no gradient.

    Examples
    --------
    >>> kl_per_draw(torch.full((4, 3, 2), 0.5)).item(), kl_per_draw(torch.full((4, 3, 2), 0.1), 0.25).item()
    (1.0, 0.5)
    """
    return kl.mean(dim=(0, 1)).clamp_min(free_bits).sum()


def annealed(bounds: Sequence[float] | None, progress: float) -> float:
    """Rise from 0 to 1 between two parts of the run.

    Examples
    --------
    >>> [annealed((0.2, 0.6), p) for p in (0.0, 0.2, 0.4, 1.0)], annealed(None, 0.0)
    ([0.0, 0.0, 0.5, 1.0], 1.0)
    """
    if bounds is None:
        return 1.0
    low, high = bounds
    if progress >= high:
        return 1.0
    return round(max(0.0, (progress - low) / (high - low)), 12) if high > low else 0.0
