"""DL4DS's upsamplings, with a linear 1 x 1 layer taken into the last convolution where that saves work."""

from __future__ import annotations

import torch
from torch import nn

from xatmo.nn.superres.upsampling.stages import cells_across, prime_stages


def shuffle_blocks(x: torch.Tensor, factor: int) -> torch.Tensor:
    """Pixel shuffle whose channels come sub-cell by sub-cell: ``(batch, factor**2 * channels, lat, lon)`` to fine maps.

    Channels that stay together move as one piece of memory, which channels last makes several times faster than
    interleaving them.

    Examples
    --------
    >>> x = torch.arange(8.0).reshape(1, 8, 1, 1)
    >>> shuffle_blocks(x, 2)[0, :, 1, 0].tolist()  # the third sub-cell
    [4.0, 5.0]
    """
    batch, n, rows, columns = x.shape
    channels = n // factor**2
    last = x.permute(0, 2, 3, 1).reshape(batch, rows, columns, factor, factor, channels)
    fine = last.permute(0, 1, 3, 2, 4, 5).reshape(batch, rows * factor, columns * factor, channels)
    return fine.permute(0, 3, 1, 2)


class SubpixelStages(nn.Module):
    r"""Sub-pixel convolutions without activation; stages of the same factor share one kernel.

    Powers of two, and 10 and 20, are made of stages; every other factor is one. What follows is linear as well: a 1 x 1
    convolution. Convolving with :math:`W`, shuffling, and then multiplying channels by :math:`T` equals convolving with
    :math:`T W` (sub-cell by sub-cell) and shuffling, which takes a fraction of the multiplications.

    Parameters
    ----------
    channels : int
        Features in and out.
    factor : int
    """

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        stages = prime_stages(factor)
        self.stages = stages if set(stages) == {2} or factor in (10, 20) else (factor,)
        self.channels = channels
        self.kernels = nn.ModuleDict(
            {str(s): nn.Conv2d(channels, channels * s**2, 3, padding=1) for s in sorted(set(self.stages))}
        )

    def reach(self, fine: int) -> int:
        """Coarse cells at an edge that are needed for ``fine`` cells around each fine one."""
        for stage in reversed(self.stages):
            fine = 1 + cells_across(fine, stage)
        return fine

    def forward(
        self, x: torch.Tensor, then: torch.Tensor | None = None, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Upsample.

        Parameters
        ----------
        x : Tensor (batch, channels, lat, lon)
        then : Tensor (n_out, channels), optional
            Matrix by which the fine features are multiplied.
        bias : Tensor (n_out), optional
            What is added to the product.

        Returns
        -------
        Tensor (batch, n_out or channels, lat * factor, lon * factor)
        """
        for i, stage in enumerate(self.stages):
            last = i + 1 == len(self.stages)
            x = self._stage(x, stage, then if last else None, bias if last else None)
        return x

    def _stage(
        self, x: torch.Tensor, factor: int, then: torch.Tensor | None, added: torch.Tensor | None
    ) -> torch.Tensor:
        kernel = self.kernels[str(factor)]
        by_cell = (self.channels, factor**2)  # channel-major, as a pixel shuffle has it
        weight = torch.unflatten(kernel.get_parameter("weight"), 0, by_cell).transpose(0, 1)
        bias = torch.unflatten(kernel.get_parameter("bias"), 0, by_cell).T
        if then is not None:
            with torch.autocast(x.device.type, enabled=False):
                weight = torch.einsum("oc,sc...->so...", then, weight)
                bias = bias @ then.T
                bias = bias if added is None else bias + added
        weight = weight.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return shuffle_blocks(nn.functional.conv2d(x, weight, bias.flatten(), padding=1), factor)


class ResizedConvolution(nn.Module):
    """Bilinear resize, then a 3 x 3 convolution.

    Parameters
    ----------
    channels : int
        Features in and out.
    factor : int
    """

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.convolution = nn.Conv2d(channels, channels, 3, padding=1)

    def reach(self, fine: int) -> int:
        """Coarse cells at an edge that are needed for ``fine`` cells around each fine one."""
        return 1 + cells_across(fine + 1, self.factor)

    def forward(
        self, x: torch.Tensor, then: torch.Tensor | None = None, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Upsample; ``then`` and ``bias`` as in `SubpixelStages`."""
        x = nn.functional.interpolate(x, scale_factor=float(self.factor), mode="bilinear", align_corners=False)
        return _then(self.convolution(x), then, bias)


class WideDeconvolution(nn.Module):
    """Transposed convolutions of 9 x 9 without bias, one for each prime factor.

    Parameters
    ----------
    channels : int
        Features in and out.
    factor : int
    """

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        self.strides = prime_stages(factor) or (1,)
        stages = []
        for stride in self.strides:
            size = max(9, 2 * stride - 1)
            padding = (size - stride + 1) // 2
            stages.append(
                nn.ConvTranspose2d(
                    channels, channels, size, stride, padding, output_padding=stride - size + 2 * padding, bias=False
                )
            )
        self.stages = nn.Sequential(*stages)

    def reach(self, fine: int) -> int:
        """Coarse cells at an edge that are needed for ``fine`` cells around each fine one."""
        for stride in reversed(self.strides):
            fine = cells_across(max(9, 2 * stride - 1) // 2, stride) + cells_across(fine, stride)
        return fine

    def forward(
        self, x: torch.Tensor, then: torch.Tensor | None = None, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Upsample; ``then`` and ``bias`` as in `SubpixelStages`."""
        return _then(self.stages(x), then, bias)


def _then(x: torch.Tensor, matrix: torch.Tensor | None, bias: torch.Tensor | None) -> torch.Tensor:
    return x if matrix is None else nn.functional.conv2d(x, matrix[..., None, None], bias)
