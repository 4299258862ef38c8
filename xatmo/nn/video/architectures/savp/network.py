"""Roll-outs of the recurrent generator, with latent variables that saw the future and without."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from xatmo.errors import DimensionError, OptionError
from xatmo.nn.settings import whole
from xatmo.nn.video.architectures.savp.coarse import coarsened, refined
from xatmo.nn.video.architectures.savp.encoders import PairEncoder
from xatmo.nn.video.architectures.savp.generator import Generator, default_levels
from xatmo.nn.video.architectures.savp.layers import start
from xatmo.nn.video.base import VideoInput
from xatmo.nn.video.config import VideoConfig
from xatmo.nn.video.latent import Branches, Gaussian, LatentArchitecture, kl_divergence

SIZES: dict[str, dict[str, Any]] = {
    "published": {
        "channels": 32, "posterior_widths": (64, 128, 256), "context_frames": True, "change": False, "coarsen": 1,
    },
    "small": {"channels": 8, "posterior_widths": (16, 32, 64), "context_frames": False, "change": True, "coarsen": 2},
}  # fmt: skip
"""Settings by name: those of Lee et al. 2018, and some that learn in minutes on a few cores."""

_LEAST = 16  # cells along an axis that the pair encoder needs


class SAVP(LatentArchitecture):
    r"""Stochastic adversarial video prediction (Lee et al. 2018, arXiv:1804.01523), for fields of any size.

    A recurrent `Generator` makes each frame from the one before, from the truth up to the initial time and from what it
    gave afterwards. Latent variables :math:`z_t` say what happens between two frames. In training they are drawn from
    the posterior :math:`q(z_t | x_t, x_{t+1})`; in a forecast, from the prior where the next frame is not known. It
    sees what the cycle and known fields are at the frame to come, and static fields.

    Parameters
    ----------
    config : VideoConfig
    preset : {"published", "small"}
        See `SIZES`; what is given beside goes before.
    channels : int
        Width of the finest level.
    n_latent : int
        Latent variables of each step.
    transform : {"cdna", "dna", "flow"}
        See `xatmo.nn.video.architectures.savp.transforms`.
    n_transforms, kernel_size : int
    kernels : {"pooled", "dense"}
        Of ``"cdna"``: from means of the coarsest features, or, as published, from a dense layer of all of them, which
        fits fields of the size ``grid`` alone.
    grid : (int, int), optional
        Rows and columns of the fields: chooses the number of levels; without it there are two.
    encoder, decoder : sequence of (int, bool), optional
        Width of each level, and whether it has a memory, instead of those that ``channels`` and ``grid`` choose.
    posterior_widths : sequence of int
    posterior_norm : {"instance", None}
        Of the maps that posterior and learned prior read off frames. ``"instance"``, as published, hides how strong a
        change is: where that is what the future leaves open, the posterior has nothing to tell, and draws do not
        differ unless a score of members makes them. None shows it, and wants a weight of the divergence (``kl``) near
        1 beside a reconstruction of 100: draws of the prior have to be what those of the posterior were.
    scratch : {"linear", "sigmoid"}
        Sigmoid where the fields lie between 0 and 1.
    reference : bool
        Whether the simple forecast to correct is a candidate for each frame.
    prior : {"standard", "learned"}
        :math:`N(0, 1)`, or a normal distribution from the last frame and the first one.
    context_frames : bool
        Whether training makes the frames of the past, too.
    change : bool
        Whether the last frame with something added is a candidate for each frame.
    coarsen : int
        Cells along each axis whose means the generator works on. What is finer is that of the simple forecast, or
        nothing where there is none.
    origin : {"none", "map", "cell"}
        What the past is shown relative to, where the reference goes on: `xatmo.nn.video.references.origin`.
    read_cycle : bool
        Whether the cycle is an input too.

    Raises
    ------
    OptionError
        If a setting has no usable value.
    """

    whole_state = True
    any_length = True

    def __init__(
        self,
        config: VideoConfig,
        *,
        preset: str = "published",
        channels: int | None = None,
        n_latent: int = 8,
        transform: str = "cdna",
        n_transforms: int = 4,
        kernel_size: int = 5,
        kernels: str = "pooled",
        grid: Sequence[int] | None = None,
        encoder: Sequence[Sequence[int]] | None = None,
        decoder: Sequence[Sequence[int]] | None = None,
        posterior_widths: Sequence[int] | None = None,
        posterior_norm: str | None = "instance",
        scratch: str = "linear",
        reference: bool = True,
        prior: str = "standard",
        context_frames: bool | None = None,
        change: bool | None = None,
        coarsen: int | None = None,
        origin: str = "none",
        read_cycle: bool = True,
    ) -> None:
        super().__init__(config)
        self.be_shown(origin, read_cycle=read_cycle)
        if preset not in SIZES:
            message = f"preset={preset!r}; wanted one of {sorted(SIZES)}"
            raise OptionError(message)
        given = {
            "channels": channels, "posterior_widths": posterior_widths, "context_frames": context_frames,
            "change": change, "coarsen": coarsen,
        }  # fmt: skip
        chosen = SIZES[preset] | {name: value for name, value in given.items() if value is not None}
        if kernels not in ("pooled", "dense") or (kernels == "dense" and grid is None):
            message = f"kernels={kernels!r} with grid={grid}; wanted 'pooled', or 'dense' with grid=(rows, columns)"
            raise OptionError(message)
        if prior not in ("standard", "learned"):
            message = f"prior={prior!r}; wanted one of ['standard', 'learned']"
            raise OptionError(message)
        if posterior_norm not in ("instance", None):
            message = f"posterior_norm={posterior_norm!r}; wanted 'instance' or None"
            raise OptionError(message)
        self.coarsen = whole("coarsen", chosen["coarsen"], 1)
        if grid is not None:
            grid = tuple(-(-n // self.coarsen) for n in grid)
        usual = default_levels(whole("channels", chosen["channels"], 1), 32 if grid is None else min(grid))
        encoder, decoder = encoder or usual[0], decoder or usual[1]
        self.multiple: int = 2 ** len(encoder)
        n_beside = config.n_known + config.n_static + (config.n_state if config.cycle and read_cycle else 0)
        self.generator = Generator(
            config.n_state, n_beside, n_latent, encoder=encoder, decoder=decoder, transform=transform,
            n_transforms=n_transforms, kernel_size=kernel_size, scratch=scratch,
            reference=reference and config.baseline != "none", change=bool(chosen["change"]),
            grid=[self._cells(n) for n in grid] if grid is not None and kernels == "dense" else None,
        )  # fmt: skip
        widths = tuple(chosen["posterior_widths"])
        pairs = (2 * config.n_state, n_latent, widths, posterior_norm)
        self.posterior = PairEncoder(*pairs)
        self.prior = PairEncoder(*pairs) if prior == "learned" else None
        start(self)
        for part in (self.generator, self.posterior, self.prior):
            if part is not None:
                part.start()
        self.n_step_latent, self.context_frames = n_latent, bool(chosen["context_frames"])

    @property
    def n_latent(self) -> int:  # type: ignore[override]
        """Numbers that a forecast takes: those of all of its steps, one after another."""
        return self.latent_size(self.config.n_future)

    def latent_size(self, n_future: int) -> int:
        """Numbers that a forecast of so many frames takes."""
        return self.n_step_latent * (self.config.n_context + n_future - 1)

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
        """Continue a record: see `Architecture.forward`. ``mean``: with the means of the latent variables."""
        n_future, n_context = reference.shape[2], x.frames.shape[2]
        steps, fine = n_context + n_future - 1, reference
        noise = self._noise(x, steps, mean=mean)
        x, reference = self._coarse(x), coarsened(reference, self.coarsen)
        truth = None if truth is None else coarsened(truth, self.coarsen)
        frames = self._padded(x.frames)
        known = self._posterior(frames)
        latent = noise
        if known is not None:
            latent = torch.cat([known.at(noise[:, : n_context - 1]), noise[:, n_context - 1 :]], dim=1)
        future = None if truth is None else self._padded(truth)
        out, _ = self._roll(
            frames, self._padded(reference), self._beside(x, steps), latent, from_prior=None, truth=future,
            truth_probability=truth_probability, n_wanted=n_future,
        )  # fmt: skip
        return refined(out[..., : x.frames.shape[-2], : x.frames.shape[-1]], reference, fine, self.coarsen)

    def branches(
        self,
        x: VideoInput,
        reference: torch.Tensor,
        truth: torch.Tensor,
        *,
        truth_probability: float = 0.0,
        n_prior: int = 1,
    ) -> Branches:
        """Roll out with the latent variables of the posterior and, as one batch with it, with those of the prior."""
        batch, _, n_context = x.frames.shape[:3]
        steps = n_context + truth.shape[2] - 1
        n_wanted = steps if self.context_frames else truth.shape[2]
        # A frame of the past that is made goes on from the one before it.
        fine = torch.cat([x.frames[:, :, :-1], reference], dim=2)[:, :, -n_wanted:]
        x, reference, truth = self._coarse(x), coarsened(reference, self.coarsen), coarsened(truth, self.coarsen)
        frames, future = self._padded(x.frames), self._padded(truth)
        posterior = self._posterior(torch.cat([frames, future], dim=2))
        assert posterior is not None  # there are two frames at least
        times = 1 + n_prior
        noise = torch.randn(times * batch, steps, self.n_step_latent, device=frames.device)
        latent = posterior.at(noise[:batch])
        if n_prior:
            past = Gaussian(*(part[:, : n_context - 1].repeat(n_prior, 1, 1) for part in posterior))
            seen = past.at(noise[batch:, : n_context - 1])
            latent = torch.cat([latent, torch.cat([seen, noise[batch:, n_context - 1 :]], dim=1)])

        def twice(part: torch.Tensor) -> torch.Tensor:
            return torch.cat([part] * times)

        beside = [[twice(part) for part in step] for step in self._beside(x, steps)]
        out, priors = self._roll(
            twice(frames), twice(self._padded(reference)), beside, latent, from_prior=batch, truth=twice(future),
            truth_probability=truth_probability, n_wanted=n_wanted,
        )  # fmt: skip
        learned = Gaussian(*(part[:batch] for part in priors)) if priors is not None else None
        coarse = twice(coarsened(fine, self.coarsen))
        out = refined(out[..., : x.frames.shape[-2], : x.frames.shape[-1]], coarse, twice(fine), self.coarsen)
        return Branches(
            out[:batch], torch.unflatten(out[batch:], 0, (n_prior, batch)), kl_divergence(posterior, learned)
        )

    # ------------------------------------------------------------------ its parts
    def _roll(
        self,
        frames: torch.Tensor,
        reference: torch.Tensor,
        beside: list[list[torch.Tensor]],
        latent: torch.Tensor,
        *,
        from_prior: int | None,
        truth: torch.Tensor | None,
        truth_probability: float,
        n_wanted: int,
    ) -> tuple[torch.Tensor, Gaussian | None]:
        """Make frames, one after another.

        ``latent (batch, steps, n)`` are values where the posterior tells them, and standard normal numbers where they
        come from the prior: in steps into the future, for samples from number ``from_prior`` on; None: for all.
        """
        n_context, steps = frames.shape[2], latent.shape[1]
        first, made, memory, priors = frames[:, :, 0], [], None, []
        frame = first
        for t in range(steps):
            if t < n_context:
                frame = frames[:, :, t]
            elif truth is not None and truth_probability > 0:
                given = torch.rand(len(frame), 1, 1, 1, device=frame.device) < truth_probability
                frame = torch.where(given, truth[:, :, t - n_context], frame)
            z = latent[:, t]
            if self.prior is not None:
                prior = self.prior(torch.cat([frame, first], dim=1))
                priors.append(prior)
                if t >= n_context - 1:
                    drawn = torch.arange(len(z), device=z.device)[:, None] >= (from_prior or 0)
                    z = torch.where(drawn, prior.at(z), z)
            ahead = reference[:, :, t + 1 - n_context] if t + 1 >= n_context else frame
            out, memory = self.generator(
                frame, first, beside[t], ahead, z, memory, compose=t >= min(steps - n_wanted, n_context - 1)
            )
            if out is not None:
                frame = out
                made.append(out)
        learned = None
        if priors:
            learned = Gaussian(*(torch.stack(parts, dim=1) for parts in zip(*priors, strict=True)))
        return torch.stack(made[-n_wanted:], dim=2), learned

    def _posterior(self, frames: torch.Tensor) -> Gaussian | None:
        """Distributions of the latent variables between the frames ``(batch, n_state, n_frames, lat, lon)``."""
        if frames.shape[2] < 2:
            return None
        pairs = torch.cat([frames[:, :, :-1], frames[:, :, 1:]], dim=1).transpose(1, 2)
        found = self.posterior(pairs.flatten(0, 1))
        return Gaussian(*(torch.unflatten(part, 0, pairs.shape[:2]) for part in found))

    def _noise(self, x: VideoInput, steps: int, *, mean: bool) -> torch.Tensor:
        shape = (len(x.frames), steps, self.n_step_latent)
        if mean:
            return torch.zeros(shape, device=x.frames.device)
        if x.latent is None:
            return torch.randn(shape, device=x.frames.device)
        if x.latent.shape[1] < steps * self.n_step_latent:
            message = f"{x.latent.shape[1]} latent numbers came for {steps} steps; wanted {steps * self.n_step_latent}"
            raise DimensionError(message)
        return x.latent[:, : steps * self.n_step_latent].reshape(shape)

    def _beside(self, x: VideoInput, steps: int) -> list[list[torch.Tensor]]:
        """For each step what is known of the frame that it makes."""
        cycle, known, static = (None if part is None else self._padded(part) for part in (x.cycle, x.known, x.static))
        out = []
        for t in range(1, steps + 1):
            timed = [part[:, :, t] for part in (cycle, known) if part is not None]
            out.append([*timed, *([] if static is None else [static])])
        return out

    def _coarse(self, x: VideoInput) -> VideoInput:
        """Give means over the cells that the generator does not tell apart."""
        cycle, known, static = (None if p is None else coarsened(p, self.coarsen) for p in (x.cycle, x.known, x.static))
        return x._replace(frames=coarsened(x.frames, self.coarsen), cycle=cycle, known=known, static=static)

    def _cells(self, n: int) -> int:
        """Cells along an axis of which every level, and the pair encoder, has enough."""
        return max(-(-n // self.multiple) * self.multiple, 2 * self.multiple, _LEAST)

    def _padded(self, x: torch.Tensor) -> torch.Tensor:
        """Repeat the last rows and columns, so that every level has a whole number of cells."""
        rows, columns = (self._cells(n) - n for n in x.shape[-2:])
        if not rows and not columns:
            return x
        flat: torch.Tensor = functional.pad(x.flatten(0, -3)[None], (0, columns, 0, rows), mode="replicate")[0]
        return torch.unflatten(flat, 0, x.shape[:-2])
