"""What is observed: values where a mask says so, on the cells of the state."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from xatmo.errors import DimensionError


@dataclass(frozen=True)
class Observations:
    """Observed values and where they are.

    Attributes
    ----------
    values : Tensor (batch, n_observations, time, lat, lon)
        0 where ``mask`` is False.
    mask : Tensor (batch, n_observations, time, lat, lon)
        Bool.

    Raises
    ------
    DimensionError
        If they are not two tensors of one shape with five axes.

    Examples
    --------
    >>> nan = float("nan")
    >>> obs = Observations.of(torch.tensor([1.0, nan, 3.0]).reshape(1, 1, 1, 1, 3))
    >>> obs.values.flatten().tolist(), obs.mask.flatten().tolist(), obs.count.tolist()
    ([1.0, 0.0, 3.0], [True, False, True], [2])
    """

    values: torch.Tensor
    mask: torch.Tensor

    def __post_init__(self) -> None:
        """Refuse other shapes."""
        if self.values.shape != self.mask.shape or self.values.ndim != 5:
            message = (
                f"observations have shape {tuple(self.values.shape)}, their mask {tuple(self.mask.shape)}; wanted one "
                "shape (batch, variable, time, lat, lon). Give both on the cells of the state"
            )
            raise DimensionError(message)

    @classmethod
    def of(cls, values: torch.Tensor, mask: torch.Tensor | None = None) -> Observations:
        """Take values that are observed where they are finite and, if given, the mask says so."""
        there = values.isfinite() if mask is None else values.isfinite() & (mask > 0.5)
        return cls(torch.where(there, values, torch.zeros_like(values)), there)

    @property
    def count(self) -> torch.Tensor:
        """Observations of each sample, ``(batch,)``."""
        return self.mask.flatten(1).sum(1)

    def within(self, domain: torch.Tensor | None) -> Observations:
        """Leave out what lies outside of a domain ``(batch, 1, 1, lat, lon)``."""
        if domain is None:
            return self
        mask = self.mask & domain
        return Observations(torch.where(mask, self.values, torch.zeros_like(self.values)), mask)

    def only(self, keep: torch.Tensor) -> Observations:
        """Keep those that a bool tensor of the mask's shape keeps."""
        mask = self.mask & keep
        return Observations(torch.where(mask, self.values, torch.zeros_like(self.values)), mask)

    def coarsened(self, factor: int) -> Observations:
        """Give the mean of the observations in each block of ``factor`` by ``factor`` cells, where there is one.

        Examples
        --------
        >>> nan = float("nan")
        >>> obs = Observations.of(torch.tensor([[1.0, nan, nan, nan], [3.0, nan, nan, nan]]).reshape(1, 1, 1, 2, 4))
        >>> obs.coarsened(2).values.flatten().tolist(), obs.coarsened(2).mask.flatten().tolist()
        ([2.0, 0.0], [True, False])
        """
        if factor == 1:
            return self
        number = pooled(self.mask.to(self.values.dtype), factor)
        total = pooled(self.values, factor)
        mask = number > 0
        return Observations(torch.where(mask, total / number.clamp_min(1e-12), torch.zeros_like(total)), mask)


def pooled(x: torch.Tensor, factor: int) -> torch.Tensor:
    """Mean of blocks of cells ``(batch, channel, time, lat, lon)``; at the end of an axis, of what is left of a block.

    Examples
    --------
    >>> pooled(torch.arange(6.0).reshape(1, 1, 1, 2, 3), 2).flatten().tolist()
    [2.0, 3.5]
    """
    if factor == 1:
        return x
    flat = nn.functional.avg_pool2d(x.flatten(1, 2), factor, ceil_mode=True, count_include_pad=False)
    return torch.unflatten(flat, 1, x.shape[1:3])


def pooled_where(x: torch.Tensor, there: torch.Tensor, factor: int) -> torch.Tensor:
    """Mean over those cells of each block that a bool tensor names; 0 where there are none.

    Examples
    --------
    >>> x, there = torch.tensor([[1.0, 9.0]]).reshape(1, 1, 1, 1, 2), torch.tensor([[True, False]])
    >>> pooled_where(x, there.reshape(1, 1, 1, 1, 2), 2).item()
    1.0
    """
    if factor == 1:
        return torch.where(there, x, torch.zeros_like(x))
    share = pooled(there.to(x.dtype).expand(-1, 1, 1, -1, -1), factor)
    total = pooled(torch.where(there, x, torch.zeros_like(x)), factor)
    return torch.where(share > 0, total / share.clamp_min(1e-12), torch.zeros_like(total))
