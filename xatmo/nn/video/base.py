"""What a forecast is made from, and what an architecture has to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import nn

from xatmo.nn.video.references import chosen_origin

if TYPE_CHECKING:
    from xatmo.nn.video.config import VideoConfig


class VideoInput(NamedTuple):
    """What a forecast is made from, in normalized units, without missing values.

    Attributes
    ----------
    frames : Tensor (batch, n_state, n_context, lat, lon)
        The past, the frame of the initial time last. The variables to forecast are the first of the state.
    cycle : Tensor (batch, n_state, n_context + n_future, lat, lon), optional
        What is usual at the hour (and month) of each frame, past and future: a climatology, not data of the future.
    known : Tensor (batch, n_known, n_context + n_future, lat, lon), optional
        What is known beforehand at each frame, such as the hour of the day.
    static : Tensor (batch, n_static, lat, lon), optional
        What does not change, such as orography.
    latent : Tensor (batch, n_latent), optional
        Standard normal numbers of each forecast, that a stochastic architecture takes instead of drawing them from
        torch's default generator.
    noise : Tensor (batch, n_noise, lat, lon), optional
        The same by place.
    """

    frames: torch.Tensor
    cycle: torch.Tensor | None = None
    known: torch.Tensor | None = None
    static: torch.Tensor | None = None
    latent: torch.Tensor | None = None
    noise: torch.Tensor | None = None


class Architecture(nn.Module):
    """Base of the networks inside `xatmo.nn.video.VideoNetwork`: one small file each.

    A subclass takes ``(config, **settings)``, and gives the future state as departures from the cycle.

    Attributes
    ----------
    halo : int or None
        Cells from which an output is reached, where it is known; None: from everywhere.
    stochastic : bool
        Whether it draws from torch's default generator where ``mean`` is False.
    n_latent, n_noise : int
        Numbers for each forecast, and fields by place, that it takes in `VideoInput` instead of drawing them itself;
        what is drawn for a whole forecast is then the same in all windows of a large field.
    origin : str
        What the past is shown relative to: see `xatmo.nn.video.references.origin`.
    read_cycle : bool
        Whether it is shown the cycle.
    whole_state : bool
        Whether it gives all variables of the state, since it reads what it gave; False: those to forecast alone.
    any_length : bool
        Whether it continues a record by as many frames as the reference has; False: by ``config.n_future``.
    """

    halo: int | None = None
    stochastic: bool = False
    n_latent: int = 0
    n_noise: int = 0
    whole_state: ClassVar[bool] = False
    any_length: ClassVar[bool] = False

    def __init__(self, config: VideoConfig) -> None:
        super().__init__()
        self.config = config
        self.origin, self.read_cycle = "none", True

    def be_shown(self, origin: str, *, read_cycle: bool) -> None:
        """Choose what of the past and of the cycle `xatmo.nn.video.VideoNetwork` shows.

        Raises
        ------
        OptionError
            If the origin is unknown.
        """
        self.origin, self.read_cycle = chosen_origin(origin, self.config.baseline), read_cycle

    def latent_size(self, n_future: int) -> int:
        """Give the numbers that a forecast of so many frames takes in one go."""
        return self.n_latent

    def forward(
        self,
        x: VideoInput,
        reference: torch.Tensor,
        *,
        truth: torch.Tensor | None = None,
        truth_probability: float = 0.0,
        mean: bool = False,
    ) -> torch.Tensor:
        """Continue a record.

        Parameters
        ----------
        x : VideoInput
            ``frames`` are departures from the cycle already.
        reference : Tensor (batch, n_state, n_future, lat, lon)
            The simple forecast to correct, as departures from the cycle; zeros where there is none. Its length says
            how many frames are wanted.
        truth : Tensor (batch, n_state, n_future, lat, lon), optional
            In training: the future, as departures from the cycle.
        truth_probability : float
            In training: how probably a recurrent network reads the truth rather than what it gave (scheduled sampling).
        mean : bool
            Give one answer without drawing.

        Returns
        -------
        Tensor (batch, n_out or n_state, n_future, lat, lon)
        """
        raise NotImplementedError
