"""Discriminators of clips and of single frames: convolutions with spectral norm, for any grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from xatmo.nn.superres.discriminators.layers import Dense, SpectralNorm

_LEAST = 16  # cells along an axis that are left with one or more by the strides


class _Convolution(nn.Module):
    """A convolution in one, two or three dimensions, with `SpectralNorm`."""

    def __init__(self, n_in: int, n_out: int, size: int, stride: Sequence[int]) -> None:
        super().__init__()
        self.stride, self.n_axes = tuple(stride), len(stride)
        self.weight = nn.Parameter(torch.empty(n_out, n_in, *[size] * self.n_axes))
        self.bias = nn.Parameter(torch.zeros(n_out))
        nn.init.kaiming_normal_(self.weight, a=0.1)
        self.norm = SpectralNorm(self.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        convolve = functional.conv3d if self.n_axes == 3 else functional.conv2d
        out: torch.Tensor = convolve(x, self.norm(self.weight), self.bias, stride=self.stride, padding=1)
        return out


class VideoDiscriminator(nn.Module):
    """Tells clips of real frames from clips that were made.

    Convolutions 3 x 3 x 3, and 4 x 4 x 4 that halve the grid (the last of them time as well), all with spectral norm
    (Miyato et al. 2018, arXiv:1802.05957) and leaky activations, as in Lee et al. 2018 (arXiv:1804.01523); then the
    mean over what is left, so that clips and fields may have any size, and a dense layer.

    Parameters
    ----------
    n_in : int
        Channels of a frame.
    channels : int
        Width of the first layer; the others have up to eight times as many.
    images : bool
        For single frames: the same in two dimensions.

    Examples
    --------
    >>> network = VideoDiscriminator(1, 4)
    >>> logits, features = network(torch.zeros(2, 1, 10, 20, 30))
    >>> logits.shape, len(features)
    (torch.Size([2, 1]), 7)
    """

    def __init__(self, n_in: int, channels: int = 32, *, images: bool = False) -> None:
        super().__init__()
        c, self.images = channels, images
        layers, width = [], n_in
        for n_out, size, times, cells in (
            (c, 3, 1, 1), (2 * c, 4, 1, 2), (2 * c, 3, 1, 1), (4 * c, 4, 1, 2), (4 * c, 3, 1, 1), (8 * c, 4, 2, 2),
            (8 * c, 3, 1, 1),
        ):  # fmt: skip
            stride = (cells, cells) if images else (times, cells, cells)
            layers.append(_Convolution(width, n_out, size, stride))
            width = n_out
        self.layers = nn.ModuleList(layers)
        self.dense = Dense(width, 1, spectral=True)

    def forward(self, clips: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Judge clips.

        Parameters
        ----------
        clips : Tensor (batch, n_in, time, lat, lon), or (batch, n_in, lat, lon) for single frames

        Returns
        -------
        Tensor (batch, 1)
            Near 1 for real ones, near 0 for made ones.
        list of Tensor
            What each layer saw.
        """
        lacking = [max(0, _LEAST - n) for n in clips.shape[-2:]]
        if not self.images:
            # Each 4 x 4 x 4 layer with padding 1 takes a frame; at the last one two have to be left.
            time = (0, max(0, 4 - clips.shape[2]))
            clips = functional.pad(clips, (0, lacking[1], 0, lacking[0], *time), mode="replicate")
        elif any(lacking):
            clips = functional.pad(clips, (0, lacking[1], 0, lacking[0]), mode="replicate")
        seen = []
        for layer in self.layers:
            clips = functional.leaky_relu(layer(clips), 0.1)
            seen.append(clips)
        logits: torch.Tensor = self.dense(clips.flatten(2).mean(dim=2))
        return logits.float(), seen


def feature_distance(real: Sequence[torch.Tensor], made: Sequence[torch.Tensor]) -> torch.Tensor:
    r"""Cosine distance of features, :math:`1 - \cos(f, g)` along channels, mean over cells, sum over layers.

    Parameters
    ----------
    real, made : sequence of Tensor (batch, channel, ...)

    Examples
    --------
    >>> f = torch.randn(2, 3, 4, 5)
    >>> round(feature_distance([f], [2 * f]).item(), 5), round(feature_distance([f, f], [-f, f]).item(), 5)
    (0.0, 2.0)
    """
    terms = [
        1 - functional.cosine_similarity(a.detach().float(), b.float(), dim=1).mean()
        for a, b in zip(real, made, strict=True)
    ]
    return torch.stack(terms).sum()
