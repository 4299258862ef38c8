"""Convolutions that keep ``ceil(n / stride)`` cells of ``n``, and residual blocks made of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.functional import pad, relu

# Variance of a standard normal cut off at two standard deviations, as a standard deviation.
_TRUNCATED = 0.87962566103423978


class SameConv2d(nn.Conv2d):
    """A convolution with as much zero padding as gives ``ceil(n / stride)`` cells; odd padding goes to the end.

    Parameters
    ----------
    n_inputs, n_outputs, kernel, stride : int
    bias : bool

    Notes
    -----
    Kernels start as He et al. (2015, arXiv:1502.01852) draw them, from a normal distribution with variance 2 / fan-in
    that is cut off at two standard deviations.

    Examples
    --------
    >>> SameConv2d(1, 1, 3, stride=2)(torch.zeros(1, 1, 5, 8)).shape
    torch.Size([1, 1, 3, 4])
    """

    def __init__(self, n_inputs: int, n_outputs: int, kernel: int, *, stride: int = 1, bias: bool = False) -> None:
        super().__init__(n_inputs, n_outputs, kernel, stride=stride, bias=bias)
        he_normal_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """``(batch, n_inputs, lat, lon) -> (batch, n_outputs, ceil(lat / stride), ceil(lon / stride))``."""
        kernel, stride = int(self.kernel_size[0]), int(self.stride[0])
        before, after = zip(*(_padding(n, kernel, stride) for n in input.shape[-2:]), strict=True)
        if before == after:  # the convolution pads by itself, without a copy
            out: torch.Tensor = nn.functional.conv2d(input, self.weight, self.bias, self.stride, before)
            return out
        return super().forward(pad(input, (before[1], after[1], before[0], after[0])))


def _padding(n: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((-(-n // stride) - 1) * stride + kernel - n, 0)
    return total // 2, total - total // 2


def he_normal_(weight: torch.Tensor) -> None:
    """Draw weights ``(out, in, ...)`` in place, with variance 2 / fan-in."""
    fan_in = weight[0].numel()
    std = (2.0 / fan_in) ** 0.5 / _TRUNCATED
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


class MaxPool(nn.Module):
    """Maximum over 3 x 3 cells at every second one, of maps that are not negative (so that zeros may pad them)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, channel, lat, lon) -> (batch, channel, ceil(lat / 2), ceil(lon / 2))``."""
        (top, bottom), (left, right) = (_padding(n, 3, 2) for n in x.shape[-2:])
        out: torch.Tensor = nn.functional.max_pool2d(pad(x, (left, right, top, bottom)), 3, stride=2)
        return out


class BatchNorm(nn.BatchNorm2d):
    r"""Batch normalization whose running statistics follow a network that has just begun to learn.

    After :math:`n` batches a new one counts by :math:`\max(m, 10 / (n + 9))` with momentum :math:`m`: the first sets
    the statistics, and up to 1000 batches (for :math:`m` = 0.01) they are those of about the last tenth. With 0.01 from
    the start, a hundred batches later they would still be those of the untrained network.

    Examples
    --------
    >>> norm = BatchNorm(1, momentum=0.01)
    >>> _ = norm(torch.tensor([4.0, 6.0]).view(2, 1, 1, 1))
    >>> norm.running_mean
    tensor([5.])
    """

    _seen: int | None = None  # batches; num_batches_tracked, which a GPU would have to be asked for each time

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """``(batch, channel, lat, lon)`` in and out."""
        if not self.training:
            return super().forward(input)
        if self._seen is None:
            self._seen = 0 if self.num_batches_tracked is None else int(self.num_batches_tracked)
        self._seen += 1
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        part = max(self.momentum or 0.0, 10 / (self._seen + 9))
        out: torch.Tensor = nn.functional.batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, True, part, self.eps
        )
        return out

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._seen = None
        super()._load_from_state_dict(*args, **kwargs)


class Norms:
    """Makes batch normalizations of one kind."""

    def __init__(self, *, eps: float, momentum: float) -> None:
        self.eps, self.momentum = eps, momentum

    def __call__(self, channels: int) -> BatchNorm:
        """Batch normalization of so many channels."""
        return BatchNorm(channels, eps=self.eps, momentum=self.momentum)


class BasicBlock(nn.Module):
    """``relu(shortcut(x) + norm(conv(relu(norm(conv(x))))))`` with 3 x 3 convolutions.

    The shortcut is the identity, or a strided 1 x 1 convolution where the shape changes. He et al. 2016,
    arXiv:1512.03385.

    Parameters
    ----------
    n_inputs, n_outputs, stride : int
    norms : Norms
    """

    expansion = 1

    def __init__(self, n_inputs: int, n_outputs: int, stride: int, norms: Norms) -> None:
        super().__init__()
        self.conv1 = SameConv2d(n_inputs, n_outputs, 3, stride=stride)
        self.norm1 = norms(n_outputs)
        self.conv2 = SameConv2d(n_outputs, n_outputs, 3)
        self.norm2 = norms(n_outputs)
        self.shortcut = _shortcut(n_inputs, n_outputs, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, n_inputs, lat, lon) -> (batch, n_outputs, ceil(lat / stride), ceil(lon / stride))``."""
        y = relu(self.norm1(self.conv1(x)))
        out: torch.Tensor = relu(self.shortcut(x) + self.norm2(self.conv2(y)))
        return out


class Bottleneck(nn.Module):
    """A residual block of 1 x 1, 3 x 3 and 1 x 1 convolutions, four times as wide outside as inside.

    Parameters
    ----------
    n_inputs, width, stride : int
        It gives ``4 * width`` channels.
    norms : Norms
    """

    expansion = 4

    def __init__(self, n_inputs: int, width: int, stride: int, norms: Norms) -> None:
        super().__init__()
        n_outputs = width * self.expansion
        self.conv1, self.norm1 = SameConv2d(n_inputs, width, 1), norms(width)
        self.conv2, self.norm2 = SameConv2d(width, width, 3, stride=stride), norms(width)
        self.conv3, self.norm3 = SameConv2d(width, n_outputs, 1), norms(n_outputs)
        self.shortcut = _shortcut(n_inputs, n_outputs, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, n_inputs, lat, lon) -> (batch, 4 * width, ceil(lat / stride), ceil(lon / stride))``."""
        y = relu(self.norm1(self.conv1(x)))
        y = relu(self.norm2(self.conv2(y)))
        out: torch.Tensor = relu(self.shortcut(x) + self.norm3(self.conv3(y)))
        return out


def _shortcut(n_inputs: int, n_outputs: int, stride: int) -> nn.Module:
    same = n_inputs == n_outputs and stride == 1
    return nn.Identity() if same else SameConv2d(n_inputs, n_outputs, 1, stride=stride)
