"""The recommended solver: a U-Net at half resolution that sees the problem, not its gradient alone."""

from __future__ import annotations

import torch
from torch import nn

from xatmo.nn.assimilation.priors.base import enlarged
from xatmo.nn.assimilation.solvers.base import Memory, Moment, Solver, StepSizes
from xatmo.nn.blocks import start_at_zero
from xatmo.nn.superres.backbones.unet import UNetBackbone


class UNetSolver(Solver):
    r"""A recurrent U-Net reads gradient, innovation, mask, state, other fields, and what it remembers.

    .. math::
        x \leftarrow x - a_k\, g + U\, W * h_k, \qquad h_k = (1 - z_k)\, h_{k-1} + z_k \tanh c_k,

    where the gate :math:`z_k` and :math:`c_k` come from a U-Net on cells twice as wide, and :math:`U` interpolates
    back. The gradient brings what is finer. It starts as plain steps along the gradient.

    Parameters
    ----------
    channels : int
        Of state times frames.
    n_given : int
        Other channels that it reads: innovations, masks, domain, other fields with their masks.
    width : int
    n_levels : int
        Times that the U-Net halves its grid, which is half that of the state.
    n_steps : int
    step_size : float
    learn : bool
    """

    def __init__(
        self, channels: int, n_given: int, width: int, n_levels: int, n_steps: int, step_size: float, *,
        learn: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.width = width
        # Each 2 x 2 block of cells is read as it is: single cells on a track keep their place.
        self.read = nn.Conv2d(2 * channels + n_given, width, 2, stride=2)
        self.body = UNetBackbone(2 * width, width, n_levels)
        self.renew = nn.Conv2d(width, 2 * width, 1)
        self.write = nn.Conv2d(width, channels, 1)
        start_at_zero(self.write)
        self.sizes = StepSizes(n_steps, step_size, learn=learn)
        self.halo, self.scale = 2 * (self.body.halo + 1) + 1, 2 ** (n_levels + 1)

    def forward(self, moment: Moment, memory: Memory) -> tuple[torch.Tensor, Memory]:
        """Give the change; the memory is the hidden state ``(batch, width, lat / 2, lon / 2)``."""
        problem, x = moment.problem, moment.x
        flat = x.flatten(1, 2)
        parts = [moment.gradient / moment.scale, x, problem.innovation(x), problem.obs.mask.to(x.dtype)]
        given = [p.flatten(1, 2) for p in parts]
        given.append(_domain(problem.domain, flat))
        if problem.extra is not None and problem.extra_mask is not None:
            given += [problem.extra.flatten(1, 2), problem.extra_mask.flatten(1, 2).to(x.dtype)]
        whole = torch.cat(given, dim=1)
        rows, columns = flat.shape[-2:]
        whole = nn.functional.pad(whole, (0, columns % 2, 0, rows % 2))
        seen = self.read(whole.contiguous(memory_format=torch.channels_last))
        (hidden,) = memory or (torch.zeros_like(seen),)
        gate, new = self.renew(self.body(torch.cat([seen, hidden], dim=1))).chunk(2, dim=1)
        hidden = hidden + torch.sigmoid(gate) * (torch.tanh(new) - hidden)
        learned = torch.unflatten(enlarged(self.write(hidden), 2, flat), 1, x.shape[1:3])
        return learned - self.sizes(moment.step) * moment.gradient, (hidden,)

    @staticmethod
    def n_given(n_observations: int, n_extra: int, frames: int) -> int:
        """Channels that are read beside state and gradient."""
        return 2 * (n_observations + n_extra) * frames + 1


def _domain(domain: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
    """Give the domain as one channel, 1 where there is water."""
    if domain is None:
        return torch.ones_like(like[:, :1])
    return domain[:, 0].to(like.dtype).expand(len(like), -1, -1, -1)
