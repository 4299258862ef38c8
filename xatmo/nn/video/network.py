"""The frame around every architecture: departures from a cycle, and the simple forecast that is corrected."""

from __future__ import annotations

import torch
from torch import nn

from xatmo.errors import OptionError
from xatmo.nn.video.architectures import make
from xatmo.nn.video.base import Architecture, VideoInput
from xatmo.nn.video.config import BASELINES, VideoConfig
from xatmo.nn.video.latent import Branches, LatentArchitecture
from xatmo.nn.video.references import origin, reference


class VideoNetwork(nn.Module):
    """Continue a record of fields.

    The past is turned into departures from the cycle, where there is one; the architecture corrects a simple forecast
    of these; the cycle of the future is added. Without an architecture the simple forecast is the answer.

    Parameters
    ----------
    config : VideoConfig
    inner : Architecture, optional
        One of the caller's, instead of the one that ``config`` names.

    Examples
    --------
    >>> network = VideoNetwork(VideoConfig("persistence", n_context=3, n_future=2))
    >>> network(VideoInput(torch.arange(3.0).reshape(1, 1, 3, 1, 1))).flatten().tolist()
    [2.0, 2.0]
    """

    def __init__(self, config: VideoConfig, inner: Architecture | None = None) -> None:
        super().__init__()
        self.config = config
        simple = config.architecture in BASELINES
        self.baseline = config.architecture if simple else config.baseline
        self.inner: Architecture | None = None if simple else make(config) if inner is None else inner

    @property
    def halo(self) -> int | None:
        """Cells from which an output is reached; None: from everywhere."""
        return 0 if self.inner is None else self.inner.halo

    @property
    def stochastic(self) -> bool:
        """Whether the network draws."""
        return self.inner is not None and self.inner.stochastic

    @property
    def n_latent(self) -> int:
        """Standard normal numbers that each forecast takes."""
        return 0 if self.inner is None else self.inner.n_latent

    def latent_size(self, n_future: int) -> int:
        """Give the standard normal numbers that a forecast of so many frames takes in one go."""
        return 0 if self.inner is None else self.inner.latent_size(n_future)

    @property
    def n_noise(self) -> int:
        """Fields of standard normal numbers that each forecast takes."""
        return 0 if self.inner is None else self.inner.n_noise

    @property
    def whole_state(self) -> bool:
        """Whether all variables of the state come back in `state`."""
        return self.inner is None or self.inner.whole_state

    @property
    def any_length(self) -> bool:
        """Whether one call may give more than ``config.n_future`` frames."""
        return self.inner is None or self.inner.any_length

    def anomalies(self, x: VideoInput) -> VideoInput:
        """Give the past as departures from the cycle."""
        return x if x.cycle is None else x._replace(frames=x.frames - x.cycle[:, :, : x.frames.shape[2]])

    def shown(self, x: VideoInput) -> tuple[VideoInput, torch.Tensor | None]:
        """Give what the architecture sees, and what was taken off its frames beside the cycle."""
        centred, taken = self.anomalies(x), None
        if self.inner is not None and self.inner.origin != "none":
            taken = origin(centred.frames, self.inner.origin)
            centred = centred._replace(frames=centred.frames - taken)
        if self.inner is not None and not self.inner.read_cycle:
            centred = centred._replace(cycle=None)
        return centred, taken

    def reference(self, x: VideoInput, n_future: int) -> torch.Tensor:
        """Give the simple forecast of the departures in ``x``, as `anomalies` or `shown` gives them."""
        return reference(self.baseline, x.frames, n_future, self.config.steps_per_day)

    def state(
        self,
        x: VideoInput,
        *,
        n_future: int | None = None,
        truth: torch.Tensor | None = None,
        truth_probability: float = 0.0,
        mean: bool = False,
    ) -> torch.Tensor:
        """Give all that the architecture forecasts; ``truth`` is the future itself, in training.

        Returns
        -------
        Tensor (batch, n_out or n_state, n_future, lat, lon)
        """
        n_context, wanted = x.frames.shape[2], self.config.n_future if n_future is None else n_future
        centred, taken = self.shown(x)
        ahead = self.reference(centred, wanted)
        cycle = None if x.cycle is None else x.cycle[:, :, n_context : n_context + wanted]
        if self.inner is None:
            out = ahead
        else:
            for part in (cycle, taken):
                truth = truth if truth is None or part is None else truth - part
            out = self.inner(centred, ahead, truth=truth, truth_probability=truth_probability, mean=mean)
            out = out if taken is None else out + taken[:, : out.shape[1]]
        return out if cycle is None else out + cycle[:, : out.shape[1]]

    def require_latent(self) -> LatentArchitecture:
        """Give the architecture where it has latent variables.

        Raises
        ------
        OptionError
            If it has none.
        """
        if isinstance(self.inner, LatentArchitecture):
            return self.inner
        message = (
            f"architecture={self.config.architecture!r} has no latent variables to train; wanted one of "
            "['savp', 'vae'], or xatmo.train.video.Forecast"
        )
        raise OptionError(message)

    def branches(
        self,
        x: VideoInput,
        truth: torch.Tensor,
        *,
        truth_probability: float = 0.0,
        n_prior: int = 1,
    ) -> Branches:
        """Forecast with latent variables that saw the future, and without: for training.

        Parameters
        ----------
        x : VideoInput
        truth : Tensor (batch, n_state, n_future, lat, lon)
            The future itself.
        truth_probability : float
        n_prior : int
            Forecasts of the second kind; 0: none.

        Raises
        ------
        OptionError
            If the architecture has no latent variables.
        """
        inner = self.require_latent()
        n_future, (centred, taken) = truth.shape[2], self.shown(x)
        if x.cycle is not None:
            truth = truth - x.cycle[:, :, -n_future:]
        truth = truth if taken is None else truth - taken
        found = inner.branches(
            centred, self.reference(centred, n_future), truth, truth_probability=truth_probability, n_prior=n_prior
        )
        for part in (None if x.cycle is None else x.cycle[:, :, -found.posterior.shape[2] :], taken):
            if part is not None:
                added = part[:, : found.posterior.shape[1]]
                mean = None if found.mean is None else found.mean + added[:, :, -n_future:]
                found = found._replace(posterior=found.posterior + added, prior=found.prior + added, mean=mean)
        return found

    def forward(self, x: VideoInput, *, n_future: int | None = None, mean: bool = False) -> torch.Tensor:
        """Forecast: ``(batch, n_out, n_future, lat, lon)``."""
        return self.state(x, n_future=n_future, mean=mean)[:, : self.config.n_out]

    def mean(self, x: VideoInput, *, n_future: int | None = None) -> torch.Tensor:
        """Forecast without drawing."""
        return self.state(x, n_future=n_future, mean=True)[:, : self.config.n_out]
