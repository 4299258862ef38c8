"""Latent variables of forecasts: what the future holds that the past does not tell."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch

from xatmo.nn.video.base import Architecture, VideoInput

LOG_VARIANCE = 10.0
"""Bound of log variances, so that no exponential runs away."""


class Gaussian(NamedTuple):
    """Independent normal distributions.

    Attributes
    ----------
    mean, log_variance : Tensor (batch, ...)
    """

    mean: torch.Tensor
    log_variance: torch.Tensor

    @classmethod
    def of(cls, parameters: torch.Tensor, dim: int = -1) -> Gaussian:
        """Take means and log variances, one after another along ``dim``, from what a layer gave; in float32."""
        mean, log_variance = parameters.float().chunk(2, dim=dim)
        return cls(mean, log_variance.clamp(-LOG_VARIANCE, LOG_VARIANCE))

    def at(self, noise: torch.Tensor) -> torch.Tensor:
        r"""Give :math:`\mu + \sigma \epsilon`: a draw, through which gradients pass (Kingma and Welling 2014).

        Examples
        --------
        >>> Gaussian(torch.ones(2), torch.zeros(2)).at(torch.tensor([0.0, 2.0])).tolist()
        [1.0, 3.0]
        """
        return self.mean + (self.log_variance / 2).exp() * noise


def kl_divergence(posterior: Gaussian, prior: Gaussian | None = None) -> torch.Tensor:
    r"""Kullback-Leibler divergence of each variable, in nats.

    .. math::
        KL = \frac{1}{2} \left[ \ln \frac{\sigma_p^2}{\sigma_q^2} - 1
             + \frac{\sigma_q^2 + (\mu_q - \mu_p)^2}{\sigma_p^2} \right]

    Parameters
    ----------
    posterior : Gaussian
        :math:`q`.
    prior : Gaussian, optional
        :math:`p`; None: mean 0 and variance 1.

    Returns
    -------
    Tensor
        With the shape of the means, never negative.

    Examples
    --------
    >>> kl_divergence(Gaussian(torch.ones(1), torch.zeros(1))).item()
    0.5
    """
    mean, log_variance = posterior
    other = torch.zeros_like(log_variance) if prior is None else prior.log_variance
    distance = mean if prior is None else mean - prior.mean
    return (other - log_variance - 1 + (log_variance - other).exp() + distance.square() * (-other).exp()) / 2


class Branches(NamedTuple):
    """What an architecture with latent variables gives in training.

    Attributes
    ----------
    posterior : Tensor (batch, n, n_frames, lat, lon)
        The last ``n_frames`` frames of the record, made with latent variables that saw the future.
    prior : Tensor (n_prior, batch, n, n_frames, lat, lon)
        The same frames, made as often as was asked with latent variables drawn without it.
    kl : Tensor (batch, n_draws, n_latent)
        Divergence of each variable of each draw from its prior, in nats.
    mean : Tensor (batch, n, n_future, lat, lon), optional
        The forecast without draws, of an architecture that has one beside its draws.
    """

    posterior: torch.Tensor
    prior: torch.Tensor
    kl: torch.Tensor
    mean: torch.Tensor | None = None


class LatentArchitecture(Architecture):
    """Base of architectures with latent variables.

    Attributes
    ----------
    has_mean : bool
        Whether `branches` gives a forecast without draws, too.
    """

    stochastic = True
    has_mean: ClassVar[bool] = False

    def branches(
        self,
        x: VideoInput,
        reference: torch.Tensor,
        truth: torch.Tensor,
        *,
        truth_probability: float = 0.0,
        n_prior: int = 1,
    ) -> Branches:
        """Forecast with the same weights with latent variables that saw the future, and without.

        Parameters
        ----------
        x, reference, truth, truth_probability
            As in `Architecture.forward`.
        n_prior : int
            Forecasts without; 0: none.

        Returns
        -------
        Branches
            As departures from the cycle.
        """
        raise NotImplementedError
