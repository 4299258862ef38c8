"""Second-order conservative weights: each source cell holds a slope along both axes instead of one number.

Within source cell ``(k, l)`` the field is taken to be

``f[k, l] + sx (lon - lon[l]) + sy (mu - mu[k]) + sxy (lon - lon[l]) (mu - mu[k])``,   ``mu = sin(latitude)``,

about the cell's centre of area, with the slopes ``sx``, ``sy`` from centred differences of neighbouring cells
(one-sided at an edge of the grid and at the poles) and ``sxy`` that of one difference of the other. Its mean over the
cell is ``f[k, l]`` whatever the slopes are, so target values that are means of it conserve the integral as those of
first order do (Jones 1999, doi:10.1175/1520-0493(1999)127<2204:FASOCR>2.0.CO;2, gives the general method, with
gradients by distance). Everything is a product of the axes: the weights are

``(A + A1 D) f (B + B1 E)^T``,

``A``, ``B`` those of first order, ``A1``, ``B1`` the mean distance of each overlap from the centre of its source cell,
and ``D``, ``E`` the differences. Fields of the form ``(a + b mu) (c + d lon)`` are exact.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from xatmo.regrid.separable import AxisWeights, Edges, Overlaps, Weights, clean, overlaps, turns
from xatmo.typing import Floats

# A piece whose middle is so near that of its source cell, in cells, is the cell.
_CENTRED = 1e-9


@dataclass(frozen=True, eq=False)
class Slopes:
    """What one axis needs for slopes.

    Attributes
    ----------
    first : sparse array (n_target, n_source)
        First-order weights.
    moment : sparse array (n_target, n_source)
        Weights times the distance of each overlap's middle from that of its source cell.
    difference : sparse array (n_source, n_source)
        From values to slopes.
    extent : array (n_source,)
        Of the source cells.
    """

    first: sparse.csr_array
    moment: sparse.csr_array
    difference: sparse.csr_array
    extent: Floats

    @cached_property
    def used(self) -> sparse.csr_array:
        """Matrix of ones, where `difference` or the diagonal is not zero: the cells that have to be valid."""
        return sparse.csr_array(((abs(self.difference) + sparse.eye_array(self.extent.size)) > 0).astype(np.float64))


@dataclass(frozen=True, eq=False)
class SecondOrder(Weights):
    """Separable weights of second order, with their factors.

    Attributes
    ----------
    slopes : (Slopes, Slopes)
        Of latitude (in sin(latitude)) and longitude (in degrees).
    limiter : bool
        Whether slopes are limited.
    """

    slopes: tuple[Slopes, Slopes] = ()  # type: ignore[assignment]
    limiter: bool = False

    @cached_property
    def fingerprint(self) -> str:
        """Hash of every number in here."""
        plain = Weights(self.method, self.lat, self.lon).fingerprint
        return hashlib.sha256(f"{plain} limiter={self.limiter}".encode()).hexdigest()


def second_order(source: Edges, target: Edges, *, periodic: bool, limiter: bool = False) -> SecondOrder:
    """Second-order conservative weights between cells given by their edges.

    Parameters
    ----------
    source, target : Edges
    periodic : bool
        Whether the source's columns go around, so that the first and the last are neighbours.
    limiter : bool
        Scale the slopes of each cell so that nothing in it leaves the range of its valid neighbours (Barth and
        Jespersen 1989, doi:10.2514/6.1989-366): then no target value leaves the range of the source. Still conserves,
        but is of first order at extremes, and depends on the field, so it is slower.

    Examples
    --------
    >>> from xatmo import Grid
    >>> source, target = Grid.regular(10, 20, poles=False), Grid.regular(30, 60, poles=False)
    >>> weights = second_order(Edges.of(source), Edges.of(target), periodic=True)
    >>> field = np.sin(np.radians(source.latitude_bounds))
    >>> cell_means = (field[1:] + field[:-1]) / 2  # of sin(latitude), which is linear in mu
    >>> fine = np.sin(np.radians(target.latitude_bounds))
    >>> bool(np.allclose(weights.lat.matrix @ cell_means, (fine[1:] + fine[:-1]) / 2))
    True
    """
    mu = [np.sin(np.radians(edges.latitude)) for edges in (source, target)]
    lat = overlaps(mu[0], mu[1])
    lon = overlaps(source.longitude, target.longitude, turns(source.longitude, target.longitude))
    slopes = (_slopes(lat, mu[0], around=None), _slopes(lon, source.longitude, around=360.0 if periodic else None))
    linear = [
        AxisWeights(clean(axis.first + axis.moment @ axis.difference), shared.weights.coverage)
        for axis, shared in zip(slopes, (lat, lon), strict=True)
    ]
    return SecondOrder("conservative2", linear[0], linear[1], slopes=slopes, limiter=limiter)


def _slopes(shared: Overlaps, edges: Floats, *, around: float | None) -> Slopes:
    extent = np.diff(edges)
    centre = (edges[:-1] + edges[1:]) / 2
    offset = np.where(np.abs(shared.offset) > _CENTRED * np.abs(extent[shared.source]), shared.offset, 0)
    covered = np.where(shared.covered > 0, shared.covered, 1)[shared.target]
    moment = clean(shared.matrix(shared.length * offset / covered))
    return Slopes(shared.weights.matrix, moment, _differences(centre, around), np.abs(extent))


def _differences(centre: Floats, around: float | None) -> sparse.csr_array:
    """Centred differences; one-sided at the ends of an axis that does not go around."""
    n = centre.size
    index = np.arange(n)
    before, after = index - 1, index + 1
    if around is None:
        before, after = np.maximum(before, 0), np.minimum(after, n - 1)
    place = centre[before % n] - (before < 0) * (around or 0), centre[after % n] + (after >= n) * (around or 0)
    step = place[1] - place[0]
    values = np.concatenate([-1 / step, 1 / step])
    columns = np.concatenate([before % n, after % n])
    return sparse.csr_array((values, (np.concatenate([index, index]), columns)), shape=(n, n))
