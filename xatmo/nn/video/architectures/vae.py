"""A conditional variational autoencoder that forecasts: a core of least error, and departures from it to draw."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from xatmo.errors import DimensionError, OptionError
from xatmo.nn.blocks import ChannelLayerNorm
from xatmo.nn.video.base import VideoInput
from xatmo.nn.video.conditions import conditions, n_conditions
from xatmo.nn.video.config import VideoConfig
from xatmo.nn.video.latent import Branches, Gaussian, LatentArchitecture, kl_divergence

_PERSISTENT = ("persistence", "diurnal")  # baselines that are the last frame, which is read anyway


class _Block(nn.Module):
    """``x + conv(act(conv(norm(x))))``; starts as the identity."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        last = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(last.weight)
        self.layers = nn.Sequential(
            ChannelLayerNorm(channels), nn.Conv2d(channels, channels, 3, padding=1), nn.GELU(),
            nn.Dropout2d(dropout), last,
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = x + self.layers(x)
        return out


class _Pyramid(nn.Module):
    """Maps at full resolution and at halves of it, each from the one before."""

    def __init__(self, n_in: int, widths: Sequence[int], n_blocks: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Conv2d(n_in, widths[0], 3, padding=1)
        self.steps = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in itertools.pairwise(widths))
        self.blocks = nn.ModuleList(nn.Sequential(*(_Block(w, dropout) for _ in range(n_blocks))) for w in widths)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Finest first."""
        out = [self.blocks[0](self.first(x))]
        for step, block in zip(self.steps, self.blocks[1:], strict=True):
            out.append(block(step(out[-1])))
        return out


class _Core(nn.Module):
    """Back to full resolution with what the pyramid found on each level: features of the forecast of least error."""

    def __init__(self, widths: Sequence[int], n_blocks: int, dropout: float) -> None:
        super().__init__()
        self.joins = nn.ModuleList(
            nn.Conv2d(a + b, b, 3, padding=1) for a, b in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(*(_Block(w, dropout) for _ in range(n_blocks))) for w in widths[-2::-1]
        )

        # What gates are made of must not grow with the depth: they multiply one another.
        self.norms = nn.ModuleList(ChannelLayerNorm(w) for w in widths)

    def forward(self, levels: list[torch.Tensor]) -> list[torch.Tensor]:
        """Finest first, as they come; normalized."""
        out = [levels[-1]]
        for join, block, level in zip(self.joins, self.blocks, levels[-2::-1], strict=True):
            finer = functional.interpolate(out[0], scale_factor=2, mode="bilinear")
            out.insert(0, block(join(torch.cat([finer, level], dim=1))))
        return [norm(level) for norm, level in zip(self.norms, out, strict=True)]


class _Departures(nn.Module):
    r"""Departures from the core, linear in the latent variables: convolutions without bias, times gates by the core.

    On each level :math:`u \leftarrow g(\phi)\, (W * u)`. Since nothing else touches :math:`u`, draws of mean zero give
    departures of mean zero, with an amplitude and patterns that depend on the past through the features :math:`\phi`.
    """

    def __init__(self, n_latent: int, widths: Sequence[int], n_out: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(n_latent, widths[-1], 1, bias=False)
        self.steps = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.gates = nn.ModuleList(nn.Conv2d(w, w, 1) for w in widths[::-1])
        for gate in self.gates:
            assert isinstance(gate, nn.Conv2d)
            assert gate.bias is not None
            nn.init.ones_(gate.bias)
        self.last = nn.Conv2d(widths[0], n_out, 3, padding=1, bias=False)

    def forward(self, latent: torch.Tensor, features: list[torch.Tensor]) -> torch.Tensor:
        """``(batch, n_latent, rows, columns)`` of the coarsest level, or one cell -> ``(batch, n_out, lat, lon)``."""
        u = self.first(latent) * self.gates[0](features[-1])
        for step, gate, level in zip(self.steps, self.gates[1:], features[-2::-1], strict=True):
            u = step(functional.interpolate(u, scale_factor=2, mode="bilinear")) * gate(level)
        out: torch.Tensor = self.last(u)
        return out


class VAE(LatentArchitecture):
    r"""A conditional variational autoencoder of all leads at once, for fields of any size.

    .. math::
        y = r + c(x) + L(x)\, z, \qquad z \sim N(0, 1), \qquad q(z | x, y) = N(\mu, \sigma^2)

    The past :math:`x` gives a correction :math:`c` of the simple forecast :math:`r`, and a linear map :math:`L` from
    latent variables to departures. In training these variables are drawn from the posterior, which sees what the core
    leaves (Kingma and Welling 2014, arXiv:1312.6114; Sohn et al. 2015, *Conditional generative models*). The mean over
    draws is the core. What is read beside the past: see `xatmo.nn.video.conditions`.

    Parameters
    ----------
    config : VideoConfig
    widths : sequence of int
        Channels at full resolution and at each half of it.
    n_blocks : int
        Residual blocks on each level.
    n_latent : int
        Latent variables of each cell of the coarsest level, or of each forecast.
    latent : {"map", "vector"}
        Latent variables by place, or one set for the whole field.
    dropout : float
        Of whole maps, in training.
    origin : {"none", "map", "cell"}
        What the past is shown relative to, where the reference goes on: `xatmo.nn.video.references.origin`.
    read_cycle : bool
        Whether the cycle is an input too.

    Raises
    ------
    OptionError
        If a setting has no usable value.
    """

    has_mean = True

    def __init__(
        self,
        config: VideoConfig,
        *,
        widths: Sequence[int] = (32, 48, 64),
        n_blocks: int = 2,
        n_latent: int = 8,
        latent: str = "map",
        dropout: float = 0.0,
        origin: str = "none",
        read_cycle: bool = True,
    ) -> None:
        super().__init__(config)
        self.be_shown(origin, read_cycle=read_cycle)
        if latent not in ("map", "vector"):
            message = f"latent={latent!r}; wanted one of ['map', 'vector']"
            raise OptionError(message)
        widths = tuple(widths)
        if len(widths) < 2:
            message = f"widths={widths}; wanted those of two levels at least"
            raise OptionError(message)
        self.kind, self.n_variables = latent, n_latent
        self.n_latent, self.n_noise = (n_latent, 0) if latent == "vector" else (0, n_latent)
        self.shape = (config.n_out, config.n_future)
        both, n_out = config.n_context + config.n_future, config.n_out * config.n_future
        n_moving, n_fixed = n_conditions(config, cycle=read_cycle)
        n_in = config.n_state * config.n_context + n_moving * both + n_fixed
        n_in += 0 if config.baseline in _PERSISTENT else config.n_state * config.n_future
        self.past = _Pyramid(n_in, widths, n_blocks, dropout)
        self.core = _Core(widths, n_blocks, dropout)
        self.core_last = nn.Conv2d(widths[0], n_out, 3, padding=1)
        nn.init.zeros_(self.core_last.weight)
        self.future = _Pyramid(n_out, widths, 1, 0.0)
        self.posterior = nn.Sequential(
            nn.Conv2d(2 * widths[-1], widths[-1], 3, padding=1), nn.GELU(), nn.Conv2d(widths[-1], 2 * n_latent, 1)
        )
        self.departures = _Departures(n_latent, widths, n_out)
        self.multiple = 2 ** (len(widths) - 1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    # ------------------------------------------------------------------ what is asked
    def forward(
        self,
        x: VideoInput,
        reference: torch.Tensor,
        *,
        truth: torch.Tensor | None = None,
        truth_probability: float = 0.0,
        mean: bool = False,
    ) -> torch.Tensor:
        """Continue a record: see `Architecture.forward`. ``mean``: the core, which is the mean over draws."""
        features = self._features(x, reference)
        made = self.core_last(features[0]).float()
        if not mean:
            made = made + self.departures(self._drawn(x, features[-1]), features)
        return self._leads(made, reference)

    def branches(
        self,
        x: VideoInput,
        reference: torch.Tensor,
        truth: torch.Tensor,
        *,
        truth_probability: float = 0.0,
        n_prior: int = 1,
    ) -> Branches:
        """Forecast with latent variables of the posterior and, on the same features, with those of the prior."""
        features = self._features(x, reference)
        core = self.core_last(features[0]).float()
        n_out = self.config.n_out
        left = (truth - reference)[:, :n_out].flatten(1, 2)
        left = functional.pad(left, self._beyond(left), mode="replicate") - core.detach()
        # The posterior makes up for any core: its loss says nothing about it, nor about its features.
        apart = [level.detach() for level in features]
        found = self.posterior(torch.cat([self.future(left)[-1], apart[-1]], dim=1))
        if self.kind == "vector":
            found = found.mean((-2, -1), keepdim=True)
        posterior = Gaussian.of(found, dim=1)
        seen = core.detach() + self.departures(posterior.at(torch.randn_like(posterior.mean)), apart)
        blind = [core + self.departures(self._drawn(x, features[-1]), features) for _ in range(n_prior)]
        made = [self._leads(one, reference) for one in (seen, core, *blind)]
        kl = kl_divergence(posterior).flatten(2).transpose(1, 2)
        prior = torch.stack(made[2:]) if blind else seen.new_zeros(0, *made[0].shape)
        return Branches(made[0], prior, kl, made[1])

    # ------------------------------------------------------------------ its parts
    def _features(self, x: VideoInput, reference: torch.Tensor) -> list[torch.Tensor]:
        last = x.frames[:, :, -1:]
        seen = [x.frames[:, :, :-1] - last, last]
        if self.config.baseline not in _PERSISTENT:
            seen += [reference - last]
        moving, fixed = conditions(x, self.config.n_context + self.config.n_future)
        joined = torch.cat([*(part.flatten(1, 2) for part in (*seen, moving)), fixed], dim=1)
        return list(self.core(self.past(functional.pad(joined, self._beyond(joined), mode="replicate"))))

    def _beyond(self, x: torch.Tensor) -> tuple[int, int, int, int]:
        rows, columns = (-n % self.multiple for n in x.shape[-2:])
        return (0, columns, 0, rows)

    def _drawn(self, x: VideoInput, coarse: torch.Tensor) -> torch.Tensor:
        """Give standard normal numbers: those that came, or from torch's default generator."""
        batch, device = len(x.frames), x.frames.device
        if self.kind == "vector":
            if x.latent is None:
                return torch.randn(batch, self.n_variables, 1, 1, device=device)
            if x.latent.shape[1] != self.n_variables:
                message = f"{x.latent.shape[1]} latent numbers came; wanted {self.n_variables}"
                raise DimensionError(message)
            return x.latent[..., None, None]
        if x.noise is None:
            return torch.randn(batch, self.n_variables, *coarse.shape[-2:], device=device)
        return block_sums(x.noise, self.multiple)

    def _leads(self, made: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        cut = made[..., : reference.shape[-2], : reference.shape[-1]]
        return torch.unflatten(cut, 1, self.shape) + reference[:, : self.config.n_out]


def block_sums(noise: torch.Tensor, size: int) -> torch.Tensor:
    """Bring standard normal numbers to a coarser grid, where they are standard normal again, and independent.

    Sums over blocks of cells, divided by the root of the number of cells that each has.

    Parameters
    ----------
    noise : Tensor (batch, n, lat, lon)
    size : int
        Cells of a block along each axis; the last ones may have fewer.

    Examples
    --------
    >>> block_sums(torch.ones(1, 1, 3, 4), 2)[0, 0].tolist()
    [[2.0, 2.0], [1.4142135381698608, 1.4142135381698608]]
    """
    rows, columns = (-n % size for n in noise.shape[-2:])
    padded = functional.pad(noise, (0, columns, 0, rows))
    there = functional.pad(torch.ones_like(noise[:1, :1]), (0, columns, 0, rows))
    return functional.avg_pool2d(padded, size) * size**2 / (functional.avg_pool2d(there, size) * size**2).sqrt()
