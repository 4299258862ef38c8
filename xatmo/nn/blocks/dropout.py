"""Dropout of several kinds, each while training only or always.

Dropout that stays on in evaluation makes a network stochastic: its draws are samples of an approximate posterior
(Gal and Ghahramani 2016, *Dropout as a Bayesian approximation*, arXiv:1506.02142).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from xatmo.errors import OptionError
from xatmo.nn.blocks import draws

_state = threading.local()  # threads share a network, and one may draw while another wants the answer without draws


@contextmanager
def without_dropout() -> Iterator[None]:
    """Let every dropout pass everything, in this thread: what a network answers when nothing is drawn.

    Examples
    --------
    >>> with without_dropout():
    ...     VanillaDropout(0.5, mc=True)(torch.ones(3)).tolist()
    [1.0, 1.0, 1.0]
    """
    before = getattr(_state, "off", False)
    _state.off = True
    try:
        yield
    finally:
        _state.off = before


class Dropout(nn.Module):
    r"""Multiply by random factors :math:`m` with :math:`E[m] = 1`; the base of the kinds.

    Parameters
    ----------
    rate : float
        Share that is dropped, at least 0 and below 1.
    mc : bool
        Whether factors are drawn in evaluation too (Monte Carlo dropout).
    """

    def __init__(self, rate: float, *, mc: bool = False) -> None:
        super().__init__()
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1:
            message = f"dropout={rate!r}; wanted a number of at least 0 and below 1"
            raise OptionError(message)
        self.rate, self.mc = float(rate), mc

    @property
    def stochastic(self) -> bool:
        """Whether evaluation draws random numbers."""
        return self.mc and self.rate > 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any shape ``(batch, channels, ...)`` -> the same shape."""
        drawn = self.rate > 0 and (self.training or self.mc) and not getattr(_state, "off", False)
        return self.drop(x) if drawn else x

    def drop(self, x: torch.Tensor) -> torch.Tensor:
        """Draw the factors and multiply."""
        raise NotImplementedError

    def _keep(self, x: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        kept = draws.uniform(x, shape) >= self.rate
        return x * kept.to(x.dtype).div_(1 - self.rate)

    def extra_repr(self) -> str:
        """Rate and mode."""
        return f"{self.rate}, mc={self.mc}"


class VanillaDropout(Dropout):
    """Each value is zero with probability ``rate``, else divided by ``1 - rate``.

    Examples
    --------
    >>> x = torch.ones(1, 2, 2, 2)
    >>> bool((VanillaDropout(0.5).eval()(x) == x).all()), VanillaDropout(0.5, mc=True).eval()(x).unique().max().item()
    (True, 2.0)
    """

    def drop(self, x: torch.Tensor) -> torch.Tensor:
        """Draw the factors and multiply."""
        if draws.is_placed():
            return self._keep(x, tuple(x.shape))
        dropped: torch.Tensor = nn.functional.dropout(x, self.rate, training=True)
        return dropped


class SpatialDropout(Dropout):
    """Each feature map is zero as a whole with probability ``rate`` (Tompson et al. 2015, arXiv:1411.4280).

    Neighbouring cells are alike, so dropping single ones takes little away; a whole map takes all.

    Examples
    --------
    >>> y = SpatialDropout(0.5)(torch.ones(1, 64, 3, 3))
    >>> bool((y == y[..., :1, :1]).all())
    True
    """

    def drop(self, x: torch.Tensor) -> torch.Tensor:
        """Draw the factors and multiply."""
        return self._keep(x, (*x.shape[:2], *(1,) * (x.ndim - 2)))


class GaussianDropout(Dropout):
    r"""Each value is multiplied by :math:`1 + \sqrt{p/(1-p)}\,\epsilon`, with the variance of `VanillaDropout`.

    Srivastava et al. 2014, section 10.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> y = GaussianDropout(0.2)(torch.ones(1, 10, 100, 100))
    >>> round(y.mean().item(), 2), round(y.var().item(), 2)
    (1.0, 0.25)
    """

    def drop(self, x: torch.Tensor) -> torch.Tensor:
        """Draw the factors and multiply."""
        width: float = (self.rate / (1 - self.rate)) ** 0.5
        return x * (1 + width * draws.normal(x))


class DropPath(Dropout):
    """The whole sample is zero with probability ``rate``: for the branch of a residual block.

    Huang et al. 2016, *Deep networks with stochastic depth*, arXiv:1603.09382.

    Examples
    --------
    >>> y = DropPath(0.5)(torch.ones(8, 2, 3, 3))
    >>> bool((y == y[:, :1, :1, :1]).all())
    True
    """

    def drop(self, x: torch.Tensor) -> torch.Tensor:
        """Draw the factors and multiply."""
        return self._keep(x, (x.shape[0], *(1,) * (x.ndim - 1)))


DROPOUTS: dict[str, type[Dropout]] = {
    "gaussian": GaussianDropout,
    "spatial": SpatialDropout,
    "vanilla": VanillaDropout,
}


def make_dropout(kind: str, rate: float, *, mc: bool = False) -> nn.Module:
    """Make a dropout; rate 0 makes none.

    Raises
    ------
    OptionError
        If the kind is unknown or the rate is not one.

    Examples
    --------
    >>> make_dropout("spatial", 0.1, mc=True), make_dropout("vanilla", 0.0)
    (SpatialDropout(0.1, mc=True), Identity())
    """
    if kind not in DROPOUTS:
        message = f"dropout_kind={kind!r} is not available; possible are {sorted(DROPOUTS)}"
        raise OptionError(message)
    made = DROPOUTS[kind](rate, mc=mc)
    return made if rate > 0 else nn.Identity()


def is_stochastic(network: nn.Module) -> bool:
    """Whether a network draws random numbers in evaluation.

    Examples
    --------
    >>> is_stochastic(nn.Sequential(VanillaDropout(0.1))), is_stochastic(nn.Sequential(VanillaDropout(0.1, mc=True)))
    (False, True)
    """
    return any(isinstance(m, Dropout) and m.stochastic for m in network.modules())
