"""The whole network: the mean of the fine fields that are possible, and draws around it."""

from __future__ import annotations

import torch
from torch import nn

from xatmo.nn.diffusion.config import DiffusionConfig
from xatmo.nn.diffusion.precondition import precondition
from xatmo.nn.diffusion.sampler import SAMPLERS, noise_levels
from xatmo.nn.diffusion.unet import DenoiserUNet
from xatmo.nn.superres.interpolation import Interpolation
from xatmo.nn.superres.network import SuperResolution
from xatmo.nn.superres.noise import noise_like


class ResidualDiffusion(nn.Module):
    r"""``mean(x, static) + sigma_data * residual``, with a residual drawn by a diffusion model.

    The residual is target minus mean, in its standard deviations ``sigma_data``, by channel. A `DenoiserUNet`,
    preconditioned as in `xatmo.nn.diffusion.precondition`, reads the noisy residual, the mean, the interpolated inputs
    and the static fields; a sampler (`xatmo.nn.diffusion.sampler`) makes a residual from noise.

    Parameters
    ----------
    config : DiffusionConfig

    Attributes
    ----------
    factor : int
    halo : int
        Coarse cells at an edge that a member needs for a full view: those of the mean network or of one evaluation of
        the denoiser, whichever are more. What reaches farther, from evaluation to evaluation, is small; see Notes.
    local : bool
        Whether nothing in the mean network sees a whole window.
    stochastic : bool
        True.
    n_noise : int
        Channels of noise, as many as outputs.
    n_static : int
        Static fields that it takes.
    mean_network : SuperResolution
    unet : DenoiserUNet
    sigma_data : Tensor (n_outputs,)
        A buffer, set in training.

    Notes
    -----
    Mardani et al. 2023, *CorrDiff*, arXiv:2309.15214; Karras et al. 2022, *EDM*, arXiv:2206.00364.

    The same noise gives the same member, and noise that is a function of place gives windows that agree: there is
    nothing in the network that sees a whole window, and its levels are tied to the coarse cells. Each evaluation could
    carry what is beyond a window's edge ``unet.halo`` cells farther in. In a network trained on wind gusts, of halo 12,
    members inside of windows with a margin of 6, 8, 10 and 12 cells differed from those of a large field by at most
    8e-3, 5e-4, 5e-5 and 2e-6 of the members' spread.

    Every frame of a time window is drawn by itself, around the mean network's answer to the window; frames have a
    memory of each other as far as the mean and the noise that is given have one.

    Examples
    --------
    >>> from xatmo.nn.superres import SuperResolutionConfig
    >>> net = ResidualDiffusion(DiffusionConfig(SuperResolutionConfig(2, channels=8, n_blocks=1), channels=8))
    >>> x, noise = torch.randn(1, 1, 5, 7), torch.randn(1, 1, 10, 14)
    >>> with torch.inference_mode():
    ...     made = net(x, noise=noise)
    >>> made.shape, bool(torch.equal(made, net(x, noise=noise))), net.mean(x).shape
    (torch.Size([1, 1, 10, 14]), True, torch.Size([1, 1, 10, 14]))
    """

    stochastic = True
    sigma_data: torch.Tensor

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        mean = config.mean
        self.config, self.factor, self.n_static = config, config.factor, mean.n_static
        self.n_noise = mean.n_outputs
        self.mean_network = SuperResolution(mean)
        self.interpolation = Interpolation(
            mean.factor, mean.baseline or "bilinear", row_offset=mean.row_offset, column_offset=mean.column_offset
        )
        self.unet = DenoiserUNet(
            2 * mean.n_outputs + mean.n_inputs + mean.n_static, mean.n_outputs, mean.factor,
            channels=config.channels, n_blocks=config.n_blocks, n_coarse_blocks=config.n_coarse_blocks,
        )  # fmt: skip
        self.register_buffer("sigma_data", torch.ones(mean.n_outputs))
        self.halo = max(self.unet.halo, self.mean_network.halo, self.interpolation.halo)
        self.local = self.mean_network.local
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(
        self, x: torch.Tensor, static: torch.Tensor | None = None, noise: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Draw one member for each sample.

        Parameters
        ----------
        x : Tensor (batch, n_inputs, [time,] lat, lon)
        static : Tensor (batch, n_static, lat * factor, lon * factor), optional
            Where the network takes static fields. A batch of 1 serves every sample.
        noise : Tensor (batch, n_noise, [time,] lat * factor, lon * factor), optional
            Standard normal. None: drawn from torch's default generator.

        Returns
        -------
        Tensor (batch, n_outputs, [time,] lat * factor, lon * factor)
            In float32.

        Raises
        ------
        DimensionError
            If tensors of another kind come than the configuration says.
        """
        mean = self.mean(x, static)
        noise = noise_like(x, self.n_noise, self.factor, noise)
        given = self.condition(x, mean, static)
        config = self.config
        levels = noise_levels(config.n_steps, config.sigma_min, config.sigma_max, config.rho)

        def denoise(y: torch.Tensor, sigma: float) -> torch.Tensor:
            return self.denoise(y, torch.full((len(y),), sigma, device=y.device), given)

        residual = SAMPLERS[config.sampler](denoise, as_maps(noise.float()), levels)
        return mean + _as_windows(residual * self._spread, mean)

    def mean(self, x: torch.Tensor, static: torch.Tensor | None = None) -> torch.Tensor:
        """Give the mean network's answer, in float32: what is best without members.

        A mean network of single frames answers each frame of a time window.
        """
        if x.ndim == 5 and self.config.mean.time_window is None:
            frames = x.shape[2]
            if static is not None and len(static) > 1:
                static = static.repeat_interleave(frames, dim=0)
            made: torch.Tensor = self.mean_network(as_maps(x), static)
            return torch.unflatten(made, 0, (-1, frames)).transpose(1, 2)
        out: torch.Tensor = self.mean_network(x, static)
        return out

    # ------------------------------------------------------------------ for training and sampling
    def condition(self, x: torch.Tensor, mean: torch.Tensor, static: torch.Tensor | None = None) -> torch.Tensor:
        """Join what the denoiser reads beside the noisy residual.

        Parameters
        ----------
        x, static : Tensor
            As in `forward`.
        mean : Tensor
            What `mean` gives for them.

        Returns
        -------
        Tensor (batch * time, n_outputs + n_inputs + n_static, lat * factor, lon * factor)
        """
        parts = [as_maps(mean), self.interpolation(as_maps(x))]
        if static is not None:
            times = len(parts[0]) // (x.shape[0] if len(static) > 1 else 1)
            parts.append(static.float().repeat_interleave(times, dim=0))
        return torch.cat(parts, dim=1)

    def denoise(
        self, noisy: torch.Tensor, sigma: torch.Tensor, condition: torch.Tensor, unet: nn.Module | None = None
    ) -> torch.Tensor:
        r"""Give the mean of the residuals that are possible.

        Parameters
        ----------
        noisy : Tensor (batch, n_outputs, lat * factor, lon * factor)
            Residual, in standard deviations, plus noise of level ``sigma``.
        sigma : Tensor (batch,)
        condition : Tensor (batch, channel, lat * factor, lon * factor)
            See `condition`.
        unet : torch.nn.Module, optional
            Another denoiser, such as one with averaged weights.

        Returns
        -------
        Tensor
            Like ``noisy``: :math:`c_{skip}\, y + c_{out} F`, summed in float32 under autocast too.
        """
        c = precondition(sigma.float())
        skip, out, into = (part[:, None, None, None] for part in (c.skip, c.out, c.into))
        given = torch.cat([into * noisy, condition], dim=1).contiguous(memory_format=torch.channels_last)
        made: torch.Tensor = (self.unet if unet is None else unet)(given, c.noise)
        with torch.autocast(noisy.device.type, enabled=False):
            return skip * noisy + out * made.float()

    def residual(self, target: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
        """Give ``(target - mean) / sigma_data`` as maps ``(batch * time, n_outputs, ...)``; NaN where target is."""
        return (as_maps(target.float()) - as_maps(mean)) / self._spread

    @property
    def _spread(self) -> torch.Tensor:
        return self.sigma_data[:, None, None]


def as_maps(x: torch.Tensor) -> torch.Tensor:
    """``(batch, channel, [time,] lat, lon)`` -> ``(batch * time, channel, lat, lon)``.

    Examples
    --------
    >>> as_maps(torch.zeros(2, 1, 3, 4, 5)).shape
    torch.Size([6, 1, 4, 5])
    """
    return x.transpose(1, 2).flatten(0, 1) if x.ndim == 5 else x


def _as_windows(maps: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return torch.unflatten(maps, 0, (-1, like.shape[2])).transpose(1, 2) if like.ndim == 5 else maps
