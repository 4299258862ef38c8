"""Nodes of a prior around those of data: beyond open borders, and steps between times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from xatmo.constants import EARTH_RADIUS

Array = NDArray[np.float64]
Ints = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the nodes of the data lie among those of a prior.

    Attributes
    ----------
    latitude : array (row,)
        Degrees, of the prior's rows.
    rows, columns : slice
        Of the data.
    n_column : int
    steps : array (time,) of int
        Step of every time of the data.
    step : float
        Seconds.
    """

    latitude: Array
    rows: slice
    columns: slice
    n_column: int
    steps: Ints
    step: float

    @classmethod
    def around(
        cls, latitude: Array, longitude_step: float, n_column: int, steps: Ints, step: float, *, padding: float,
        periodic: bool,
    ) -> Layout:  # fmt: skip
        """Add rows and columns over a distance in metres; not beyond the poles, nor more than once around.

        Examples
        --------
        >>> layout = Layout.around(np.array([10.0, 11.0]), 1.0, 3, np.arange(2), 1.0, padding=2e5, periodic=False)
        >>> layout.shape, layout.latitude.tolist(), layout.columns
        ((2, 6, 7), [8.0, 9.0, 10.0, 11.0, 12.0, 13.0], slice(2, 5, None))
        """
        degrees = np.degrees(padding / EARTH_RADIUS)
        ends = []
        for last, rise in ((latitude[0], latitude[0] - latitude[1]), (latitude[-1], latitude[-1] - latitude[-2])):
            beyond = last + rise * np.arange(1, int(np.ceil(degrees / abs(rise))) + 1)
            ends.append(beyond[np.abs(beyond) < 90 - abs(rise) / 4])
        rows = np.concatenate([ends[0][::-1], latitude, ends[1]])
        narrow = max(float(np.cos(np.radians(latitude)).min()), 0.05)
        wanted = 0 if periodic else int(np.ceil(degrees / narrow / longitude_step))
        wide = min(wanted, max(int(360 / longitude_step) - n_column, 0) // 2)
        return cls(
            rows, slice(ends[0].size, ends[0].size + latitude.size), slice(wide, wide + n_column),
            n_column + 2 * wide, steps, step,
        )  # fmt: skip

    @property
    def shape(self) -> tuple[int, int, int]:
        """Nodes of the prior."""
        return int(self.steps.max()) + 1, self.latitude.size, self.n_column

    def nodes(self, index: tuple[Ints, Ints, Ints]) -> Ints:
        """Flat indices among the nodes of the prior."""
        place = self.steps[index[0]], index[1] + self.rows.start, index[2] + self.columns.start
        return np.ravel_multi_index(place, self.shape)

    def inner(self, full: Array) -> Array:
        """Take the times and nodes of the data."""
        return full[self.steps][:, self.rows, self.columns]

    def widened(self, values: NDArray[Any]) -> NDArray[Any]:
        """Continue (time, row, column) or (row, column) to the padding, and to the steps from the nearest times."""
        if values.ndim == 3:
            apart = np.abs(np.arange(self.shape[0])[:, None] - self.steps)
            values = values[apart.argmin(axis=1)]
        parts = ((self.rows, self.shape[1]), (self.columns, self.shape[2]))
        sides = [(part.start, size - part.stop) for part, size in parts]
        return np.pad(values, [(0, 0)] * (values.ndim - 2) + sides, mode="edge")

    def windows(self, length: float | None, overlap: float) -> list[tuple[slice, slice]]:
        """Cut the steps into windows of ``length`` seconds: steps used, with ``overlap`` seconds around, and kept.

        Windows have as many steps wherever they can.
        """
        n = self.shape[0]
        kept = n if length is None else max(round(length / self.step), 1)
        around = int(np.ceil(overlap / self.step))
        used = kept + 2 * around
        if kept >= n or used >= n:
            return [(slice(0, n), slice(0, n))]
        out = []
        for start in range(0, n, kept):
            first = int(np.clip(start - around, 0, n - used))
            out.append((slice(first, first + used), slice(start, min(start + kept, n))))
        return cast("list[tuple[slice, slice]]", out)
