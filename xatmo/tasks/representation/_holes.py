"""Patches with a hole in their middle, for training and for scores."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xatmo.errors import OptionError
from xatmo.patches.lagged import Pairing
from xatmo.tasks._own_module import shape_of_answer
from xatmo.tasks.representation._lagged import LaggedBatches, LaggedFields

if TYPE_CHECKING:
    import torch

    from xatmo.model import Model

Array = NDArray[Any]

FILLERS = ("network", "smooth", "mean")


def places(data: LaggedFields, patch: tuple[int, int], latitudes: tuple[float, float]) -> Pairing:
    """Say where patches may lie, at every time: pairs at lag 0."""
    return data.pairing(patch, 0, 1, latitudes)


class HoledBatches(LaggedBatches):
    """Patches without and with what is in their middle: what `xatmo.train.Batches` asks for.

    Parameters
    ----------
    hole : (slice, slice)
        Rows and columns.

    Others are those of `LaggedBatches`.
    """

    def __init__(self, *args: Any, hole: tuple[slice, slice], **options: Any) -> None:
        super().__init__(*args, **options)
        self.hole = hole

    def tensors(self, windows: Array, pairs: Array) -> tuple[torch.Tensor, torch.Tensor]:
        """``(around, patch)``, each ``(batch, channel, lat, lon)``, normalized; 0 in the hole of the first."""
        import torch

        patch = torch.from_numpy(self.normalized(np.ascontiguousarray(windows[:, 0])))
        around = patch.clone()
        around[..., self.hole[0], self.hole[1]] = 0
        return around, patch

    def describe(self) -> dict[str, Any]:
        """Say what identifies the data of a run."""
        rows, columns = self.hole
        return {**super().describe(), "hole": [rows.start, rows.stop, columns.start, columns.stop]}


@cache
def _laplace(rows: int, columns: int) -> Array:
    """Give the cells of a hole from the ring around it, ``(rows * columns, ring)``, by Laplace's equation."""
    height, width = rows + 2, columns + 2
    inner = np.zeros((height, width), bool)
    inner[1:-1, 1:-1] = True
    number = np.arange(height * width).reshape(height, width)
    matrix = np.zeros((rows * columns, height * width))
    for k, (r, c) in enumerate(np.argwhere(inner)):
        matrix[k, number[r, c]] = 4
        matrix[k, [number[r - 1, c], number[r + 1, c], number[r, c - 1], number[r, c + 1]]] = -1
    return np.asarray(np.linalg.solve(matrix[:, inner.ravel()], -matrix[:, ~inner.ravel()]))


def smooth(fields: Array, hole: tuple[slice, slice]) -> Array:
    """Fill a hole by the solution of Laplace's equation between the cells around it.

    Parameters
    ----------
    fields : array (..., lat, lon)
        What is in the hole does not count.
    hole : (slice, slice)
        Not at an edge.

    Returns
    -------
    array (..., rows of the hole, columns of the hole)

    Examples
    --------
    >>> plane = np.add.outer(np.arange(6.0), 2 * np.arange(7.0))
    >>> cut = slice(2, 4), slice(1, 5)
    >>> np.allclose(smooth(plane, cut), plane[cut])
    True
    """
    rows, columns = hole
    shape = rows.stop - rows.start, columns.stop - columns.start
    around = fields[..., rows.start - 1 : rows.stop + 1, columns.start - 1 : columns.stop + 1]
    ring = np.ones(around.shape[-2:], bool)
    ring[1:-1, 1:-1] = False
    found = around[..., ring] @ _laplace(*shape).T
    return np.asarray(found.reshape(*fields.shape[:-2], *shape))


def filled(model: Model, source: HoledBatches, device: str) -> Iterator[tuple[Array, list[Array]]]:
    """Give, batch by batch, what is in the hole, and what each of `FILLERS` puts there, in physical units."""
    import torch

    from xatmo.nn.tiled import resolve_device
    from xatmo.normalize import backward

    if model.normalizer is None:  # pragma: no cover  (every fit makes one)
        return
    numbers = [[float(a) for a in model.normalizer.scaling(c.name)] for c in model.inputs]

    def physical(x: Array) -> Array:
        each = [backward(x[:, k].astype(np.float64), *of) for k, of in enumerate(numbers)]
        return np.stack(each, axis=1)

    network, place = model.network, resolve_device(device)
    before = next((p.device for p in network.parameters()), torch.device("cpu"))
    network.to(place).eval()
    rows, columns = source.hole
    try:
        for around, patch in source.batches(0):
            with torch.inference_mode():
                made = network(around.to(place)).float().cpu().numpy()[..., rows, columns]
            truth = physical(patch.numpy())
            inside = truth[..., rows, columns]
            yield inside, [physical(made), smooth(truth, source.hole), physical(np.zeros_like(made))]
    finally:
        network.to(before)


def require_fitting(module: torch.nn.Module, n_inputs: int, patch: tuple[int, int]) -> None:
    """Look at what a module of the caller's makes of zeros.

    Raises
    ------
    OptionError
        If it does not give a patch back.
    """
    given = (1, n_inputs, *patch)
    shape = shape_of_answer(module, given, "patches")
    if shape != given:
        message = f"the module turned {given} into {shape}; wanted the same shape"
        raise OptionError(message)
