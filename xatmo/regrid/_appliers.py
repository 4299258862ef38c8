"""Which applier serves which weights: products alone, or slopes where fields have gaps or are limited."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from xatmo.regrid import _compiled
from xatmo.regrid._kernels import Applier, prepared
from xatmo.regrid.second_order import SecondOrder
from xatmo.regrid.separable import Weights

Array = NDArray[Any]


def applier(weights: Weights, dtype: Any, min_valid: float = 0.5, sign: float = 1.0, skipna: bool = True) -> Applier:
    """Get the `Applier` of these weights; each process prepares it once, however many chunks come."""
    kind = SecondOrderApplier if weights.method == "conservative2" else Applier
    return prepared(kind, weights, dtype, min_valid, sign, skipna)


class SecondOrderApplier(Applier):
    """Apply second-order weights: one product where nothing is missing, explicit slopes elsewhere.

    A slope whose neighbours are not all valid is zero, so that the valid part is conserved.
    """

    weights: SecondOrder
    _gaps_in_one_pass = False

    @cached_property
    def _stencils(self) -> _compiled.Stencils | None:
        if self.weights.limiter:
            return None  # no fixed weights
        return _compiled.stencils(self.weights.lat.matrix, self.weights.lon.matrix, self.dtype)

    def _part(self, fields: Array, out: Array, middle: Array) -> None:
        if not self.weights.limiter:
            super()._part(fields, out, middle)
            return
        self._with_gaps(fields, out)
        if self._outside is not None:
            out[:, self._outside] = np.nan

    def _with_gaps(self, fields: Array, out: Array) -> None:
        for field, result in zip(fields, out, strict=True):
            if self.weights.limiter or not np.isfinite(field.sum()):
                result[:] = self._explicit(field)

    def _explicit(self, field: Array) -> Array:
        lat, lon = self.weights.slopes
        missing = np.isnan(field)
        finite = np.isfinite(field)
        gaps = not finite.all()
        value = np.where(finite, field, 0).astype(np.float64)
        sy, sx = lat.difference @ value, _along(value, lon.difference)
        sxy = lat.difference @ sx
        if gaps:
            holes = (~finite).astype(np.float64)
            down, across = lat.used @ holes > 0, _along(holes, lon.used) > 0
            both = lat.used @ across.astype(np.float64) > 0
            sy[down], sx[across], sxy[both] = 0, 0, 0
        if self.weights.limiter:
            for slope, limited in zip((sy, sx, sxy), self._limited(value, finite, sy, sx, sxy), strict=True):
                slope[:] = limited
        if gaps:
            value = np.where(missing, 0, field).astype(np.float64)  # infinities as they came
        total = lat.first @ (_along(value, lon.first) + _along(sx, lon.moment))
        total += lat.moment @ (_along(sy, lon.first) + _along(sxy, lon.moment))
        if missing.any():
            valid = lat.first @ _along((~missing).astype(np.float64), lon.first)
            if self.skipna:
                np.divide(total, valid, out=total, where=(valid < 1 - 1e-14) & (valid > 0))
                total[valid * self.weights.coverage < self._least] = np.nan
            else:
                total[lat.first @ _along(missing.astype(np.float64), lon.first) > 0] = np.nan
        return np.asarray(total)

    def _limited(self, value: Array, finite: Array, sy: Array, sx: Array, sxy: Array) -> tuple[Array, Array, Array]:
        """Scale the slopes of each cell by one number, so that its corners stay within its neighbours' range."""
        lat, lon = self.weights.slopes
        around = bool(lon.difference[0, lon.extent.size - 1])
        low = _neighbours(np.where(finite, value, np.inf), np.minimum, around=around)
        high = _neighbours(np.where(finite, value, -np.inf), np.maximum, around=around)
        height, width = lat.extent[:, None] / 2, lon.extent / 2
        most = np.abs(sy) * height + np.abs(sx) * width + np.abs(sxy) * height * width
        room = np.where(finite, np.minimum(high - value, value - low), 0)
        scale = np.minimum(1, np.divide(room, most, out=np.ones_like(most), where=most > 0))
        return sy * scale, sx * scale, sxy * scale


def _along(field: Array, matrix: sparse.csr_array) -> Array:
    """Apply a matrix along the columns of a field."""
    return np.asarray((matrix @ field.T).T)


def _neighbours(field: Array, choose: Any, *, around: bool) -> Array:
    """Smallest or largest value among a cell and its eight neighbours."""
    wide = np.pad(field, ((1, 1), (0, 0)), mode="edge")
    rows = choose(choose(wide[:-2], wide[1:-1]), wide[2:])
    wide = np.pad(rows, ((0, 0), (1, 1)), mode="wrap" if around else "edge")
    return np.asarray(choose(choose(wide[:, :-2], wide[:, 1:-1]), wide[:, 2:]))
