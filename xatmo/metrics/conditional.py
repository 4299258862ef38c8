"""What came given what was forecast, and what was forecast given what came: quantiles in bins of one of the two."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo.errors import OptionError
from xatmo.metrics._aggregate import Weights, joined
from xatmo.metrics._compare import Compared, compare, gathered
from xatmo.metrics._pairs import Dims
from xatmo.typing import Floats, XarrayObject

By = Literal["forecast", "target"]
Method = Literal["exact", "histogram"]
_VALUES_PER_COUNT = 8


def conditional_quantiles(
    forecast: XarrayObject,
    target: XarrayObject,
    *,
    by: By = "forecast",
    bins: int | Sequence[float] = 20,
    bin_width: float | None = None,
    quantiles: Sequence[float] = (0.05, 0.5, 0.95),
    dim: Dims = None,
    weights: Weights = "area",
    method: Method = "exact",
    resolution: int = 1000,
    limits: tuple[float, float] | None = None,
) -> xr.Dataset:
    r"""Quantiles of the target given the forecast, or of the forecast given the target: the joint distribution, cut.

    .. math:: p(f, o) = p(o \mid f) \, p(f) = p(f \mid o) \, p(o)

    ``by="forecast"`` gives the calibration-refinement factorization [1]_: quantiles of what came in bins of what was
    forecast, and how often each was forecast. Of a calibrated forecast the median lies on the diagonal.
    ``by="target"`` gives the likelihood-base rate factorization: what was forecast in bins of what came, and how often
    that came. Of a forecast that tells cases apart, quantiles are near to each other and rise steeply.

    Parameters
    ----------
    forecast, target : Dataset or DataArray
        On the same labels, or a forecast and a truth along time. What is missing in one is left out of both.
    by : {"forecast", "target"}
        Whose bins.
    bins : int or sequence of float
        How many, of equal width from the smallest to the largest value; or rising edges in the units of the target. A
        value on an edge belongs to the bin above, one on the last edge to the last bin.
    bin_width : float, optional
        Width of bins instead, whose edges are multiples of it (1 K in AMBS's figures). The range of lazy fields is not
        known, so give edges there.
    quantiles : sequence of float
        Between 0 and 1.
    dim : str or sequence of str, optional
        Dimensions that make up a sample; all that the two share unless given. All but ``lead_time`` for a panel by
        lead.
    weights : "area", DataArray or None
        As in `rmse`. Quantiles of equally weighted values are interpolated linearly, those of others are values of the
        sample (the inverse of the weighted distribution).
    method : {"exact", "histogram"}
        Exact quantiles need all values of a sample at once: lazy fields are gathered along ``dim``, and have to fit
        into memory, one kept lead (or whatever) at a time. ``"histogram"`` counts into ``resolution`` fine bins
        from the smallest to the largest value, in one more pass but chunk by chunk: counts add up, so that the result
        is the same for any chunks, and quantiles are exact to one fine bin, 1/1000 of the range.
    resolution : int
        Fine bins of ``"histogram"``.
    limits : (float, float), optional
        Of ``"histogram"``, smallest and largest value of what the quantiles are of, in units of the target, where they
        are known. With edges for ``bins``, too, lazy fields are read once; without, they are held in memory, or read
        twice. What lies beyond counts into the first or the last fine bin.

    Returns
    -------
    Dataset
        ``quantiles`` (..., bin, quantile) in the units of the target, NaN in empty bins; the marginal distribution:
        ``frequency`` (..., bin), the weighted part of all, and ``count``; edges ``left``, ``right`` (bin).
        With ``VARIABLE_`` before each name where several variables are compared. Lazy where the input is.

    Raises
    ------
    OptionError
        If an option is not possible.
    CoordinateError, DimensionError, UnitsError, VariableError
        As in `rmse`.

    References
    ----------
    .. [1] A. Murphy, R. Winkler, 1987: A general framework for forecast verification. Mon. Wea. Rev. 115, 1330-1338.

    Examples
    --------
    >>> f = xr.DataArray([0.5, 0.5, 0.6, 1.5, 1.5], dims="x")
    >>> o = xr.DataArray([0.0, 1.0, 2.0, 4.0, 6.0], dims="x")
    >>> found = conditional_quantiles(f, o, bins=[0, 1, 2], quantiles=[0.5])
    >>> found["quantiles"].values.ravel(), found["frequency"].values
    (array([1., 5.]), array([0.6, 0.4]))
    """
    levels = np.atleast_1d(np.asarray(quantiles, dtype=np.float64))
    if levels.ndim != 1 or not levels.size or not ((levels >= 0) & (levels <= 1)).all():
        message = f"quantiles={quantiles!r}; wanted numbers from 0 to 1, such as (0.05, 0.5, 0.95)"
        raise OptionError(message)
    if by not in ("forecast", "target") or method not in ("exact", "histogram"):
        message = f"by={by!r}, method={method!r}; wanted by 'forecast' or 'target', 'exact' or 'histogram'"
        raise OptionError(message)
    if isinstance(resolution, bool) or not isinstance(resolution, int | np.integer) or resolution < 2:
        message = f"resolution={resolution!r}; wanted how many fine bins, from 2 up"
        raise OptionError(message)

    if limits is not None and (method != "histogram" or np.shape(limits) != (2,) or not limits[0] <= limits[1]):
        message = f"limits={limits!r}, method={method!r}; wanted two rising numbers, and method 'histogram'"
        raise OptionError(message)

    def one(pair: Compared) -> dict[str, xr.DataArray]:
        return _conditional(pair, by, bins, bin_width, levels, dim, weights, method, int(resolution), limits)

    call = cf.describe_call("conditional_quantiles", by=by, quantiles=levels.tolist(), dim=dim, method=method)
    found = compare(forecast, target, one, what="conditional_quantiles", call=call)
    kind = "calibration-refinement" if by == "forecast" else "likelihood-base rate"
    return found.assign_attrs(conditioned_on=by, factorization=kind)


def _conditional(
    pair: Compared, by: str, bins: Any, bin_width: float | None, levels: Floats, dim: Dims, weights: Weights,
    method: str, resolution: int, limits: tuple[float, float] | None,
) -> dict[str, xr.DataArray]:  # fmt: skip
    dims = [d for d in pair.dims(dim) if d in pair.prediction.dims and d in pair.target.dims]
    first, second = (pair.prediction, pair.target) if by == "forecast" else (pair.target, pair.prediction)
    edges = _edges(first, bins, bin_width)
    weight = pair.weights(tuple(dims), weights)
    missing = [d for d in weight.dims if d not in dims]
    if missing:
        message = f"conditional_quantiles: weights vary along {missing[0]!r}, which is not in dim={tuple(dims)}"
        raise OptionError(message)
    weight = weight.reset_coords(drop=True)
    if method == "exact":
        some = xr.DataArray(np.ones([first.sizes[d] for d in dims]), dims=dims)
        weight = weight.broadcast_like(some).transpose(*dims)
    number = edges.sizes["edge"] - 1
    ends = (second.min(), second.max()) if limits is None else tuple(xr.DataArray(float(x)) for x in limits)
    low, high = (_bare(x) for x in ends)
    given = [first, second, weight, edges, low, high]
    inner: list[list[Any]] = [list(dims), list(dims), list(dims), ["edge"], [], []]
    if method == "exact":
        given[:2] = [gathered(x, dims) for x in given[:2]]
        found: xr.DataArray = xr.apply_ufunc(
            partial(_exact, dims=len(dims), levels=tuple(levels)),
            *given,
            input_core_dims=inner,
            output_core_dims=[["bin", "_part"]],
            dask="parallelized",
            dask_gufunc_kwargs={"output_sizes": {"bin": number, "_part": levels.size + 2}},
            output_dtypes=[np.float64],
            join="override",
        )
    else:
        found = _by_histogram(given, dims, levels, number, resolution)
    return _labelled(pair, found, edges, levels, by)


def _labelled(pair: Compared, found: xr.DataArray, edges: xr.DataArray, levels: Floats, by: str) -> dict[str, Any]:
    other = "target" if by == "forecast" else "forecast"
    axis = xr.Variable("quantile", levels, {"long_name": "probability", "units": "1"})
    values = found.isel(_part=slice(0, levels.size)).rename(_part="quantile").assign_coords(quantile=axis)
    weight, count = found.isel(_part=-2), found.isel(_part=-1)
    out = {
        "quantiles": pair.label(values, f"quantiles of the {other}, given the {by},"),
        "frequency": pair.label(weight, f"frequency of the {by}", "1", dtype=np.float64),
        "count": pair.label(count, f"number of values of the {by}", "1", dtype=np.float64),
    }
    for name, part in (("left", slice(0, -1)), ("right", slice(1, None))):
        edge = edges.isel(edge=part).rename(edge="bin")
        out[name] = pair.label(edge, f"{name} edge of bins of the {by}", dtype=np.float64)
    return out


# ---------------------------------------------------------------------- bins
def _bare(field: xr.DataArray) -> xr.DataArray:
    return field.astype(np.float64).drop_vars(list(field.coords))


def _edges(field: xr.DataArray, bins: Any, width: float | None) -> xr.DataArray:
    """Edges of bins along ``edge``; lazy where they come from the range of a lazy field."""
    if width is not None:
        if isinstance(width, bool) or not isinstance(width, int | float | np.number) or not float(width) > 0:
            message = f"bin_width={width!r}; wanted a number above 0, in the units of the target"
            raise OptionError(message)
        if field.chunks is not None:
            message = (
                f"bin_width={width:g} needs the range of values, which lazy fields do not tell; give edges: bins=[...]"
            )
            raise OptionError(message)
        low, high = np.floor(float(field.min()) / width), np.floor(float(field.max()) / width) + 1
        return xr.DataArray(width * np.arange(low, high + 1), dims="edge")
    if np.ndim(bins) == 0:
        if isinstance(bins, bool) or not isinstance(bins, int | np.integer) or bins < 1:
            message = f"bins={bins!r}; wanted how many, from 1 up, or rising edges"
            raise OptionError(message)
        begin, end = _bare(field.min()), _bare(field.max())
        end = end.where(end > begin, begin + 1.0)
        part = xr.DataArray(np.arange(int(bins) + 1) / int(bins), dims="edge")
        # The last edge is the largest value itself, whatever the rounding.
        return (begin + (end - begin) * part).where(part < 1, end)
    edges = np.asarray(bins, dtype=np.float64)
    if edges.ndim != 1 or edges.size < 2 or not (np.diff(edges) > 0).all():
        message = f"bins={bins!r}; wanted how many, from 1 up, or rising edges"
        raise OptionError(message)
    return xr.DataArray(edges, dims="edge")


def _places(values: Floats, edges: Floats) -> Any:
    """Bin of each value; -1 for those outside."""
    place = np.searchsorted(edges, values, side="right") - 1
    place[values == edges[-1]] = edges.size - 2
    place[(values < edges[0]) | (values > edges[-1]) | np.isnan(values)] = -1
    return place


# ---------------------------------------------------------------------- numbers
def _exact(
    first: Any, second: Any, weight: Any, edges: Any, low: Any, high: Any, *, dims: int, levels: tuple[float, ...]
) -> Floats:
    """Quantiles of ``second`` in bins of ``first``, then the part of all weights and the number of values."""
    first, second = np.broadcast_arrays(first, second)
    kept = first.shape[: first.ndim - dims]
    one, two = (x.reshape(*kept, -1) for x in (first, second))
    by = np.asarray(weight, dtype=np.float64).ravel()
    equal = np.ptp(by) == 0
    edges = np.asarray(edges).reshape(-1)
    out: Floats = np.full((*kept, edges.size - 1, len(levels) + 2), np.nan)
    quantile: Any = np.quantile
    for index in np.ndindex(*kept):
        x, y = np.asarray(one[index], dtype=np.float64), np.asarray(two[index], dtype=np.float64)
        known = ~(np.isnan(x) | np.isnan(y)) & (by > 0)
        total = by[known].sum()
        place = np.where(known, _places(x, edges), -1)
        order = np.argsort(place, kind="stable")
        cuts = np.searchsorted(place[order], np.arange(edges.size))
        for k in range(edges.size - 1):
            here = order[cuts[k] : cuts[k + 1]]
            out[(*index, k, -2)] = by[here].sum() / total if total > 0 else np.nan
            out[(*index, k, -1)] = here.size
            if here.size:
                how: dict[str, Any] = {} if equal else {"weights": by[here], "method": "inverted_cdf"}
                out[(*index, k, slice(0, len(levels)))] = quantile(y[here], levels, **how)
    return out


def _counts(
    first: Any, second: Any, weight: Any, edges: Any, low: Any, high: Any, *, kept: int, spread: tuple[int, ...],
    number: int, resolution: int,
) -> Floats:  # fmt: skip
    """Add up weights by bin and fine bin and, last, numbers of values by bin; reduced axes keep length 1."""
    weight = np.asarray(weight)
    weight = np.expand_dims(weight, tuple(k for k in range(np.ndim(first)) if k not in spread))
    first, second, weight = np.broadcast_arrays(first, second, weight)
    shape = first.shape[:kept]
    edges, low, high = np.asarray(edges).reshape(-1), float(np.ravel(low)[0]), float(np.ravel(high)[0])
    out: Floats = np.zeros((*shape, number + 1, resolution + 1))
    for index in np.ndindex(*shape):
        x, y, w = (np.asarray(a[index], dtype=np.float64).ravel() for a in (first, second, weight))
        known = ~(np.isnan(x) | np.isnan(y)) & (w > 0)
        x, y, w = x[known], y[known], w[known]
        place = _places(x, edges)
        place[place < 0] = number  # outside all bins, but part of the whole
        fine = np.clip(((y - low) / ((high - low) or 1.0) * resolution).astype(np.int64), 0, resolution - 1)
        flat = place * (resolution + 1) + fine
        out[index] = np.bincount(flat, w, minlength=(number + 1) * (resolution + 1)).reshape(number + 1, -1)
        out[(*index, slice(None), -1)] = np.bincount(place, minlength=number + 1)
    return out.reshape(*shape, *[1] * (first.ndim - kept), number + 1, resolution + 1)


def _by_histogram(
    given: list[xr.DataArray], dims: list[Any], levels: Floats, number: int, resolution: int
) -> xr.DataArray:
    first, second, weight, edges, low, high = given
    kept = [d for d in dict.fromkeys((*first.dims, *second.dims)) if d not in dims]
    order = [*kept, *dims]
    one, two = (x.expand_dims([d for d in order if d not in x.dims]).transpose(*order) for x in (first, second))
    # Weights stay as small as they are: spread over all points they would be as large as the fields.
    by = weight.transpose(*[d for d in order if d in weight.dims])
    spread = tuple(order.index(d) for d in by.dims)
    kernel = partial(_counts, kept=len(kept), spread=spread, number=number, resolution=resolution)
    if one.chunks is not None and dims:  # a table of counts for each block should be small beside the block
        sizes = joined(one, dims[0], _VALUES_PER_COUNT * (number + 1) * (resolution + 1), kept)
        one, two = (x if x.chunks is None else x.chunk({dims[0]: sizes}) for x in (one, two))
    if one.chunks is None and two.chunks is None:
        arrays = [x.to_numpy() for x in (one, two, by, edges, low, high)]
        counts: Any = kernel(*arrays)
    else:
        import dask.array

        blockwise: Any = dask.array.blockwise
        from_array: Any = dask.array.from_array
        axes = tuple(range(len(order)))
        new = (100, 101)
        # Bounds and edges are one block each, which every block sees whole.
        edge = edges.data if edges.chunks is not None else from_array(edges.to_numpy())
        operands: list[Any] = []
        for part, at in ((one, axes), (two, axes), (by, spread)):
            operands += [part.data, at] if at else [float(part), None]
        for part, at in ((edge.rechunk(-1), (200,)), (low.data, ()), (high.data, ())):
            operands += [part, at] if at or hasattr(part, "dask") else [float(part), None]
        counts = blockwise(
            kernel, (*axes, *new), *operands, new_axes={100: number + 1, 101: resolution + 1},
            adjust_chunks={k: 1 for k in axes[len(kept):]}, dtype=np.float64, concatenate=True,
            meta=np.empty((0,) * (len(order) + 2)),
        )  # fmt: skip
    counts = counts.sum(axis=tuple(range(len(kept), len(order))))
    coords: dict[Any, Any] = {}
    for field in (first, second):
        coords |= {n: c for n, c in field.coords.items() if set(c.dims) <= set(kept) and n not in coords}
    table = xr.DataArray(counts, coords, (*kept, "_row", "_fine"))
    found: xr.DataArray = xr.apply_ufunc(
        partial(_from_counts, levels=tuple(levels)),
        table,
        low,
        high,
        input_core_dims=[["_row", "_fine"], [], []],
        output_core_dims=[["bin", "_part"]],
        dask="parallelized",
        dask_gufunc_kwargs={"output_sizes": {"bin": number, "_part": levels.size + 2}},
        output_dtypes=[np.float64],
        join="override",
    )
    return found


def _from_counts(table: Any, low: Any, high: Any, *, levels: tuple[float, ...]) -> Floats:
    """Quantiles by linear interpolation inside fine bins, the part of all weights and the number of values."""
    table = np.asarray(table)
    fine, count = table[..., :-1], table[..., :-1, -1]
    edges = float(np.ravel(low)[0]) + (float(np.ravel(high)[0]) - float(np.ravel(low)[0])) * np.linspace(
        0, 1, fine.shape[-1] + 1
    )
    total = fine.sum((-2, -1))
    inside = fine[..., :-1, :]
    out: Floats = np.full((*inside.shape[:-1], len(levels) + 2), np.nan)
    for index in np.ndindex(*inside.shape[:-1]):
        weights = inside[index]
        whole = weights.sum()
        if whole > 0:
            rising = np.concatenate([[0.0], np.cumsum(weights)]) / whole
            filled = np.flatnonzero(weights > 0)
            keep = np.unique(np.concatenate([filled, filled + 1]))
            out[(*index, slice(0, len(levels)))] = np.interp(levels, rising[keep], edges[keep])
    out[..., -2] = inside.sum(-1) / np.where(total > 0, total, np.nan)[..., None]
    out[..., -1] = count
    return out
