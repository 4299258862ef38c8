r"""Preconditioning: a denoiser from a network that sees and gives numbers of the order of 1 at any level of noise.

With data of standard deviation 1 (residuals are divided by theirs) and noise of standard deviation :math:`\sigma`,

.. math::
    D(y, \sigma) = c_{skip}\, y + c_{out}\, F(c_{in}\, y, c_{noise}), \quad
    c_{skip} = \frac{1}{1 + \sigma^2}, \quad c_{out} = \frac{\sigma}{\sqrt{1 + \sigma^2}}, \quad
    c_{in} = \frac{1}{\sqrt{1 + \sigma^2}}, \quad c_{noise} = \tfrac14 \ln \sigma

(Karras et al. 2022, arXiv:2206.00364, Table 1). The input of :math:`F` has variance 1 and so has its target
:math:`(r - c_{skip}\, y) / c_{out}`. As :math:`\sigma \to 0` the denoiser leaves its input alone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch


class Preconditioning(NamedTuple):
    r"""Coefficients for levels of noise, of their shape.

    Attributes
    ----------
    skip, out, into, noise : Tensor
        :math:`c_{skip}, c_{out}, c_{in}, c_{noise}`.
    weight : Tensor
        :math:`1 / c_{out}^2 = (1 + \sigma^2) / \sigma^2`: of the squared error of the denoiser, so that every level
        counts alike at the start.
    """

    skip: torch.Tensor
    out: torch.Tensor
    into: torch.Tensor
    noise: torch.Tensor
    weight: torch.Tensor


def precondition(sigma: torch.Tensor) -> Preconditioning:
    """Give the coefficients for levels of noise, in standard deviations of the data.

    Examples
    --------
    >>> c = precondition(torch.tensor(1.0))
    >>> c.skip, c.out, c.into, c.noise, c.weight
    (tensor(0.50), tensor(0.707), tensor(0.707), tensor(0.), tensor(2.))
    """
    square = sigma.square()
    whole = 1 + square
    return Preconditioning(1 / whole, sigma / whole.sqrt(), whole.rsqrt(), sigma.log() / 4, whole / square)
