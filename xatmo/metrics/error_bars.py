"""Whether error bars of an analysis are as long as its errors."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from functools import partial
from itertools import pairwise

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo.errors import OptionError, VariableError
from xatmo.metrics._aggregate import Weights, add_up, resolve_weights
from xatmo.metrics._pairs import Dims, match, reduced_dims
from xatmo.metrics.altimetry.gridded import only_field
from xatmo.typing import Floats, XarrayObject

ENDING = "_error"
"""What the name of an error bar has beyond that of its field."""

_EDGES = np.arange(-5.0, 5.01, 0.25)


def field_with_error(made: xr.Dataset, variable: Hashable | None = None) -> tuple[xr.DataArray, xr.DataArray]:
    """Give a field and its standard deviation, NAME and NAME ``_error``.

    Raises
    ------
    VariableError
        If there is no such pair, or it is not clear which is meant.

    Examples
    --------
    >>> both = field_with_error(xr.Dataset({"ssh": 0.5, "ssh_error": 0.1, "count": 3}))
    >>> [da.name for da in both]
    ['ssh', 'ssh_error']
    """
    names = [n for n in made.data_vars if f"{n}{ENDING}" in made] if variable is None else [variable]
    if len(names) != 1 or any(n not in made for n in (names[0], f"{names[0]}{ENDING}")):
        asked = "" if variable is None else f" of which {variable!r} was asked for"
        message = (
            f"the Dataset has {sorted(map(str, made.data_vars))}{asked}; wanted a field NAME with NAME{ENDING}, as "
            "uncertainty=True gives it. Name one with variable="
        )
        raise VariableError(message)
    return made[names[0]], made[f"{names[0]}{ENDING}"]


def error_calibration(
    made: xr.Dataset,
    target: XarrayObject,
    *,
    variable: Hashable | None = None,
    dim: Dims = None,
    bins: int = 8,
    weights: Weights = "area",
) -> xr.Dataset:
    r"""Errors of an analysis in units of its error bars, and their size by that of the bars.

    .. math:: z = (x - y) / \sigma

    has mean 0 and mean square 1 where the standard deviation :math:`\sigma` is right; above 1 the analysis is surer
    than it should be. Where errors are Gaussian, 68.3 % of the points lie within one error bar and 95.4 % within two.
    Observed points, with short bars, count as all others do.

    Parameters
    ----------
    made : Dataset
        The analysis NAME and its standard deviation NAME ``_error``, on the same labels.
    target : Dataset or DataArray
        The truth.
    variable : str, optional
        NAME, if there are several.
    dim : str or sequence of str, optional
        Dimensions to average over; all unless given.
    bins : int
        Of equal width, from the shortest error bar to the longest.
    weights : "area", DataArray or None
        As in `rmse`.

    Returns
    -------
    Dataset
        ``mean`` and ``rms`` of z; ``within_one``, ``within_two``: part of the points; ``density`` (z): of standardised
        errors, per unit, in cells from -5 to 5; by ``bin``: ``spread``, the root mean square of the error bars,
        ``error``, that of the errors, and ``weight``, the part of the points. Lazy where the input is.

    Raises
    ------
    VariableError
        If the Dataset has no field with an error bar, or several.
    OptionError
        If ``bins`` is no positive whole number.
    CoordinateError, DimensionError, UnitsError
        As in `rmse`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = xr.DataArray(rng.normal(size=4000), dims="time", name="ssh")
    >>> made = xr.Dataset({"ssh": truth + 0.2 * rng.normal(size=4000), "ssh_error": 0 * truth + 0.1})
    >>> found = error_calibration(made, truth)
    >>> round(found["rms"].item(), 1), round(found["within_two"].item(), 2)  # bars half as long as they should be
    (2.0, 0.69)
    """
    if not isinstance(bins, int) or isinstance(bins, bool) or bins < 1:
        message = f"error_calibration: bins={bins!r}; wanted a whole number of at least 1"
        raise OptionError(message)
    field, bar = field_with_error(made, variable)
    what = "error_calibration"
    truth = target if isinstance(target, xr.DataArray) else target.get(field.name, None)
    truth = only_field(target, what="the target") if truth is None else truth
    if "units" not in bar.attrs and "units" in field.attrs:
        bar = bar.assign_attrs(units=field.attrs["units"])
    zero = xr.zeros_like(bar)
    analysis, known, _ = match(field, truth, what=what)
    # A length and not a place: of units that begin elsewhere (degrees Celsius) only the step matters.
    sigma = match(bar, truth, what=what)[0] - match(zero, truth, what=what)[0]
    dims = reduced_dims(analysis, known, dim, what=what)
    by = resolve_weights(analysis, dims, weights, what=what)
    sigma = sigma.where(sigma > 0)
    low, high = sigma.min(), sigma.max()
    place = (sigma - low) / (high - low).where(high > low, 1.0)

    names = ["mean", "square", "one", "two", *(f"z{k}" for k in range(_EDGES.size - 1))]
    names += [f"{kind}{k}" for kind in ("spread", "error", "weight") for k in range(bins)]
    sums = add_up([analysis, sigma, known, place], names, partial(_statistics, bins=bins), dims, by)
    means = sums.means()

    def gathered(kind: str, number: int, axis: str) -> xr.DataArray:
        return xr.concat([means[f"{kind}{k}"] for k in range(number)], dim=axis)

    part = gathered("weight", bins, "bin")
    size = {kind: (gathered(kind, bins, "bin") / part.where(part > 0)) ** 0.5 for kind in ("spread", "error")}
    width = float(_EDGES[1] - _EDGES[0])
    z = ("z", (_EDGES[1:] + _EDGES[:-1]) / 2, {"long_name": "error / error bar", "units": "1"})
    units = {"units": truth.attrs["units"]} if "units" in truth.attrs else {}
    one = {"units": "1"}
    out = xr.Dataset(
        {
            "mean": means["mean"].assign_attrs(long_name="mean of errors / error bars", **one),
            "rms": (means["square"] ** 0.5).assign_attrs(long_name="root mean square of errors / error bars", **one),
            "within_one": means["one"].assign_attrs(long_name="part of the points within one error bar", **one),
            "within_two": means["two"].assign_attrs(long_name="part of the points within two error bars", **one),
            "density": (gathered("z", _EDGES.size - 1, "z") / width)
            .assign_coords(z=z)
            .assign_attrs(long_name="density of errors / error bars", **one),
            "spread": size["spread"].assign_attrs(long_name="error bar, root mean square", **units),
            "error": size["error"].assign_attrs(long_name="root mean square error", **units),
            "weight": part.assign_attrs(long_name="part of the points", **one),
        }
    )
    return cf.add_history(out, f"metrics.{cf.describe_call(what, variable=variable, dim=dim, bins=bins)}")


def _statistics(analysis: Floats, sigma: Floats, truth: Floats, place: Floats, *, bins: int) -> Iterator[Floats]:
    """Give the terms of all means, one after the other, so that few are in memory at once."""
    error = analysis - truth
    z = error / sigma
    yield z
    yield z**2
    yield (np.abs(z) < 1).astype(np.float64)
    yield (np.abs(z) < 2).astype(np.float64)
    for low, high in pairwise(_EDGES):
        yield ((z >= low) & (z < high)).astype(np.float64)
    which = np.minimum(np.floor(place * bins), bins - 1)
    for value in (sigma**2, error**2, np.ones_like(error)):
        for k in range(bins):
            yield np.where(which == k, value, 0.0)
