"""What a network is told beside the past of the state: of each frame, and of each place."""

from __future__ import annotations

import torch

from xatmo.nn.video.base import VideoInput
from xatmo.nn.video.config import VideoConfig


def n_conditions(config: VideoConfig, *, cycle: bool = True) -> tuple[int, int]:
    """Channels of what `conditions` gives: with time, and without; without the cycle where it is not read.

    Examples
    --------
    >>> n_conditions(VideoConfig("diurnal", n_state=2, n_known=1, cycle=True))
    (3, 2)
    """
    n_cycle = config.n_state if config.cycle and cycle else 0
    return config.n_known + n_cycle, config.n_static + n_cycle


def conditions(x: VideoInput, n_frames: int, n_trained: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Give the fields that are known beforehand, and those without time.

    Of the cycle, departures from its mean over the frames tell the time of day at each place; their standard deviation
    tells land from sea, without naming the place.

    Parameters
    ----------
    x : VideoInput
    n_frames : int
        Of past and future together.
    n_trained : int, optional
        The same in training, where it is less: mean and standard deviation are those of so many frames, so that a
        longer forecast begins as a shorter one.

    Returns
    -------
    moving : Tensor (batch, n_moving, n_frames, lat, lon)
    fixed : Tensor (batch, n_fixed, lat, lon)

    Examples
    --------
    >>> x = VideoInput(torch.zeros(1, 1, 1, 4, 4), cycle=torch.randn(1, 1, 3, 4, 4), static=torch.zeros(1, 1, 4, 4))
    >>> [part.shape[1] for part in conditions(x, 3)]
    [1, 2]
    """
    batch, _, _, lat, lon = x.frames.shape
    moving = [] if x.known is None else [x.known[:, :, :n_frames]]
    fixed = [] if x.static is None else [x.static]
    if x.cycle is not None:
        course = x.cycle - x.cycle[:, :, :n_trained].mean(2, keepdim=True)
        moving.append(course[:, :, :n_frames])
        fixed.append(course[:, :, :n_trained].square().mean(2).sqrt())
    return (
        torch.cat(moving, 1) if moving else x.frames.new_zeros(batch, 0, n_frames, lat, lon),
        torch.cat(fixed, 1) if fixed else x.frames.new_zeros(batch, 0, lat, lon),
    )
