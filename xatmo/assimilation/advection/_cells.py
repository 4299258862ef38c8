"""Rows of cells with their sizes and open faces, on a plane or on the sphere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xatmo.errors import CoordinateError, OptionError

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Cells:
    """Sizes of cells; those of a row are equal.

    Attributes
    ----------
    width, height : array (row, 1)
        Mean width of the cells of a row, and their height, in metres.
    face_width, gap : array (row, 1)
        Width of the face to the next row, and the distance to its centres; of the last row, to the first.
    open_east, open_north : array (row, column)
        1 where the face to the east (north) of a cell is open, else 0.
    """

    width: Array
    height: Array
    face_width: Array
    gap: Array
    open_east: Array
    open_north: Array

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.open_east.shape[0], self.open_east.shape[1]

    @property
    def periodic(self) -> tuple[bool, bool]:
        """Whether rows, and columns, go around."""
        return bool(self.open_north[-1].any()), bool(self.open_east[:, -1].any())

    @property
    def area(self) -> Array:
        """Areas (row, column)."""
        return np.broadcast_to(self.width * self.height, self.shape)

    @classmethod
    def on_plane(
        cls, n_row: int, n_column: int, dy: float, dx: float, *, domain: ArrayLike | None, periodic: tuple[bool, bool]
    ) -> Cells:
        """Equal cells."""
        if min(n_row, n_column) < 1 or not (np.isfinite([dx, dy]).all() and min(dx, dy) > 0):
            message = f"{n_row} x {n_column} cells of {dy!r} x {dx!r} came; wanted at least one, of positive size"
            raise OptionError(message)
        one = np.ones((n_row, 1))
        east, north = _open((n_row, n_column), domain, periodic)
        return cls(dx * one, dy * one, dx * one, dy * one, east, north)

    @classmethod
    def on_sphere(
        cls, latitude: Array, step: float, n_column: int, radius: float, domain: ArrayLike | None, *, periodic: bool
    ) -> tuple[Cells, bool]:
        """Cells between meridians and parallels halfway between rows; and whether the rows go south."""
        rising = np.diff(latitude)
        if latitude.size < 2 or not ((rising > 0).all() or (rising < 0).all()):
            message = f"latitude with {latitude.size} rows came; wanted at least 2, increasing or decreasing throughout"
            raise CoordinateError(message)
        if np.abs(latitude).max() > 90 or not step > 0 or (periodic and not np.isclose(step * n_column, 360)):
            message = (
                f"latitude to {float(np.abs(latitude).max())!r} degrees and {n_column} columns of {step!r} came; "
                "wanted at most 90, and a positive step that goes around the globe where it is periodic"
            )
            raise CoordinateError(message)
        middle = (latitude[1:] + latitude[:-1]) / 2
        ends = latitude[0] - rising[0] / 2, latitude[-1] + rising[-1] / 2
        edges = np.radians(np.clip(np.concatenate([[ends[0]], middle, [ends[1]]]), -90, 90))
        height = np.abs(np.diff(edges)) * radius
        area = np.radians(step) * radius**2 * np.abs(np.diff(np.sin(edges)))
        face = np.radians(step) * radius * np.cos(np.radians(middle))
        gap = np.radians(np.abs(rising)) * radius
        east, north = _open((latitude.size, n_column), domain, (False, periodic))
        last = np.ones(1)  # the closed face beyond the last row: any width, any distance
        sizes = (area / height, height, np.concatenate([face, last]), np.concatenate([gap, last]))
        width, tall, across, apart = (s[:, None] for s in sizes)
        return cls(width, tall, across, apart, east, north), bool(rising[0] < 0)


def _open(shape: tuple[int, int], domain: Any, periodic: tuple[bool, bool]) -> tuple[Array, Array]:
    wet = np.ones(shape) if domain is None else np.asarray(domain, dtype=bool).astype(np.float64)
    if wet.shape != shape:
        message = f"a domain of shape {wet.shape} came; wanted {shape}, as the cells"
        raise OptionError(message)
    east, north = wet * np.roll(wet, -1, 1), wet * np.roll(wet, -1, 0)
    if not periodic[1]:
        east[:, -1] = 0
    if not periodic[0]:
        north[-1] = 0
    return east, north
