"""Points on rings as plain arrays: which ring each lies on, named sizes of rings, and HEALPix's nested order."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xatmo import optional
from xatmo.errors import CoordinateError, GridError, OptionError
from xatmo.typing import Floats

Indices = NDArray[np.int64]

# Coordinates in files are rounded to float32 or to GRIB's 0.001 degree; rings of one field are much farther apart.
ROUNDING_DEGREES = 2e-3
_ROUNDING_STEPS = 0.04


# ---------------------------------------------------------------------- recognising rings
def checked_points(latitude: Any, longitude: Any) -> tuple[Floats, Floats]:
    lat, lon = (np.asarray(x, dtype=np.float64) for x in (latitude, longitude))
    if lat.ndim != 1 or lat.shape != lon.shape:
        message = f"latitude {lat.shape} and longitude {lon.shape} of points came; wanted one dimension, of one length"
        raise CoordinateError(message)
    bad = int(lat.size - np.count_nonzero(np.isfinite(lat) & np.isfinite(lon)))
    if bad:
        message = f"{bad} of {lat.size} points have no finite latitude and longitude; wanted numbers only"
        raise CoordinateError(message)
    if lat.size == 0 or np.max(np.abs(lat)) > 90 + ROUNDING_DEGREES:
        came = f"from {lat.min():g} to {lat.max():g}" if lat.size else "over no points"
        message = f"latitude runs {came}; wanted degrees between -90 and 90"
        raise CoordinateError(message)
    return np.clip(lat, -90, 90), lon


def unstructured(why: str) -> GridError:
    message = (
        f"this is an unstructured grid: {why}. Wanted all points of rings of equally spaced "
        "ones (reduced Gaussian, HEALPix), or a grid that is the product of latitudes and longitudes. At single points "
        "fields are evaluated by .atmo.to_points(points)"
    )
    return GridError(message)


def sorted_into_rings(lat: Floats, lon: Floats, tolerance: float) -> tuple[Indices, Indices]:
    """Give the ring of each point in ring order, and the permutation that brings the points into it."""
    south = np.diff(lat)
    if (south <= tolerance).all() and ((south < -tolerance) | (np.diff(lon) > 0)).all():  # as files have them
        return np.concatenate([[0], np.cumsum(south < -tolerance)]).astype(np.int64), np.arange(lat.size)
    down = np.argsort(-lat, kind="stable")
    ring = np.concatenate([[0], np.cumsum(np.diff(lat[down]) < -tolerance)]).astype(np.int64)
    return ring, down[np.lexsort((lon[down], ring))]


def ring_starts(lon: Floats, ring: Indices, sizes: Indices, rows: Floats, tolerance: float) -> Floats:
    """First longitude of each ring, after a look at whether the points of every ring are equally spaced."""
    step = 360 / sizes
    first = np.cumsum(sizes) - sizes
    shifted = lon - step[ring] * (np.arange(lon.size) - first[ring])
    starts = np.bincount(ring, shifted) / sizes
    off = np.abs(shifted - starts[ring])
    allowed = np.maximum(np.minimum(ROUNDING_DEGREES, _ROUNDING_STEPS * step), 1e-5)
    if (off > allowed[ring]).any():
        worst = int(ring[np.argmax(off - allowed[ring])])
        why = f"the {sizes[worst]} points at latitude {rows[worst]:g} are not equally spaced"
        raise unstructured(why)
    for exact in (np.zeros(sizes.size), step / 2):
        starts = np.where(np.abs(starts - exact) < np.maximum(tolerance, 1e-9), exact, starts)
    return np.asarray(starts)


# ---------------------------------------------------------------------- named grids
def named_sizes(name: str) -> Indices:
    found = re.fullmatch(r"([ON])(\d+)", name.strip(), flags=re.IGNORECASE)
    number = int(found[2]) if found else 0
    if found is None or number < 2:
        message = f"reduced Gaussian grid {name!r} came; wanted 'O' or 'N' and a number, such as 'O640' or 'N160'"
        raise OptionError(message)
    if found[1].upper() == "O":
        half = 20 + 4 * np.arange(number)
        return np.concatenate([half, half[::-1]])
    eccodes = optional.require("eccodes", extra="grib", why=f"the reduced Gaussian grid {name!r}")
    for sample in (f"reduced_gg_pl_{number}_grib2", f"reduced_gg_pl_{number}_grib1"):
        try:
            handle = eccodes.codes_new_from_samples(sample, eccodes.CODES_PRODUCT_GRIB)
        except eccodes.CodesInternalError:
            continue
        try:
            return np.asarray(eccodes.codes_get_array(handle, "pl"), dtype=np.int64)
        finally:
            eccodes.codes_release(handle)
    message = (
        f"reduced Gaussian grid {name!r} came, which is not among the samples of this ecCodes; wanted one that ECMWF "
        "has used (N32, N48, N80, N128, N160, N200, N256, N320, N400, N512, N640, ...), or the ring sizes themselves"
    )
    raise OptionError(message)


def nested_to_ring(nside: int) -> Indices:
    """Index in ring order of every cell in the nested order, ``(12 * nside**2,)``."""
    per_face = nside * nside
    cell = np.arange(12 * per_face, dtype=np.int64)
    face, inside = cell // per_face, cell % per_face
    x, y = np.zeros_like(inside), np.zeros_like(inside)
    for bit in range(nside.bit_length() - 1):  # the bits of x and y alternate
        x |= ((inside >> (2 * bit)) & 1) << bit
        y |= ((inside >> (2 * bit + 1)) & 1) << bit
    # Lowest corner of the 12 base cells: ring in units of nside, and longitude in units of pi / 4.
    row = np.array([2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4])[face]
    column = np.array([1, 3, 5, 7, 0, 2, 4, 6, 1, 3, 5, 7])[face]
    ring = row * nside - x - y - 1  # from 1 at the north pole
    polar = np.minimum(np.minimum(ring, 4 * nside - ring), nside)
    shift = np.where((ring < nside) | (ring > 3 * nside), 0, (ring - nside) & 1)
    along = (column * polar + x - y + 1 + shift) // 2 - 1
    along = np.where(along < 0, along + 4 * polar, along)
    along = np.where(along >= 4 * polar, along - 4 * polar, along)
    sizes = 4 * np.minimum(np.minimum(np.arange(1, 4 * nside), 4 * nside - np.arange(1, 4 * nside)), nside)
    return np.asarray((np.cumsum(sizes) - sizes)[ring - 1] + along)
