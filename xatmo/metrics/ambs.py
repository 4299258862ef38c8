"""Scores of video forecasts as the benchmark AMBS defines them, with its peculiarities, to compare with its papers."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xatmo import _valid_times, cf
from xatmo._labels import require_whole
from xatmo.climatology import GROUPS, climatology_at
from xatmo.errors import DimensionError, OptionError, UnitsError
from xatmo.metrics._pairs import Dims, axes_of, fields, match, only
from xatmo.metrics._resampled import not_averaged
from xatmo.metrics.blocks import automatic_blocks, words
from xatmo.metrics.forecasts import at_valid_times
from xatmo.metrics.pointwise import acc, mse, psnr
from xatmo.metrics.resampling import Bootstrap, block_bootstrap, number_of_blocks
from xatmo.metrics.structural import ssim
from xatmo.typing import Floats, XarrayObject
from xatmo.units import convert

SCORES = ("mse", "psnr", "ssim", "acc", "texture")
_BEST = {"mse": 0.0}
_DAY = np.timedelta64(1, "D")


def ambs(
    forecast: XarrayObject,
    truth: XarrayObject,
    climatology: XarrayObject | None = None,
    *,
    reference: XarrayObject | str | None = None,
) -> xr.Dataset:
    r"""Scores of each forecast and lead as the AMBS benchmark defines them, for comparison with its published numbers.

    They are not those that xatmo would choose. All are unweighted means over the domain, of fields in kelvin:

    - ``mse``: mean of (p - t)^2, in K2.
    - ``psnr``: 20 log10(1 / sqrt(mse)), with a peak of 1 K whatever the field's range: it tells no more than ``mse``.
    - ``ssim``: uniform windows of 7 x 7 and an assumed range of 2 K, the default of the scikit-image of its time.
    - ``acc``: uncentred, with the climatology of month and hour of ``init + j`` for the forecast of ``init + j + 1``:
      one lead step too early.
    - ``texture``: the mean length of the gradient of the forecast over that of the truth, from central differences of
      degrees over :math:`\cos\varphi \, \Delta\lambda` and :math:`\Delta\varphi`: the spacing comes in twice, which
      cancels only where latitude and longitude have the same one.

    Right ones are `mse`, `psnr` and `ssim` with a stated range, `acc` and `gradient_ratio`.

    Parameters
    ----------
    forecast : Dataset or DataArray
        Along ``init_time``, ``lead_time``, latitude and longitude, without members.
    truth : Dataset or DataArray
        Along time, or on the forecast's labels.
    climatology : Dataset or DataArray, optional
        By month and hour; without one there is no ``acc``.
    reference : Dataset, DataArray or "yesterday", optional
        Another forecast, for skill scores: (S - S_ref) / (S_best - S_ref) of means over all starts, where S_best is 0
        for ``mse`` and 1 for the others, ``psnr`` included. ``"yesterday"`` is what AMBS calls persistence: the truth
        of 24 hours before.

    Returns
    -------
    Dataset
        ``mse``, ``psnr``, ``ssim``, ``acc``, ``texture`` by start and lead and, with a reference, ``mse_skill`` and so
        on by lead. With ``VARIABLE_`` before each name where several variables are scored. Lazy where the input is.

    Raises
    ------
    DimensionError
        If there are no starts and leads, or no images.
    ChunkError
        If latitude or longitude is split into chunks.
    OptionError
        If the reference is unknown.
    CoordinateError, UnitsError, VariableError
        As in `rmse`, and where the truth or the climatology lacks a time.

    References
    ----------
    .. [1] B. Gong et al., 2022: Temperature forecasting by deep learning methods. Geosci. Model Dev. 15, 8931-8956.

    Examples
    --------
    >>> hours = np.datetime64("2020-01-01", "ns") + np.arange(6) * np.timedelta64(1, "h")
    >>> axes = {"lat": ("lat", np.arange(40.0, 48.0), {"units": "degrees_north"}),
    ...         "lon": ("lon", np.arange(8.0), {"units": "degrees_east"})}
    >>> t = xr.DataArray(280 + np.random.default_rng(0).normal(size=(6, 8, 8)), {"time": hours, **axes},
    ...                  ["time", "lat", "lon"], attrs={"units": "K"})
    >>> lead = np.array([1, 2], "m8[h]").astype("m8[ns]")
    >>> p = at_valid_times(t, xr.Dataset(coords={"init_time": hours[:3], "lead_time": lead})) + 2
    >>> found = ambs(p.assign_attrs(t.attrs), t)
    >>> found["mse"].mean().item(), found["psnr"].mean().item(), found["texture"].mean().item()
    (4.0, -6.0206, 1.0)
    """
    pairs = list(fields(forecast, truth, what="ambs"))
    out: dict[Hashable, xr.DataArray] = {}
    for name, first, second in pairs:
        base = None if climatology is None else only(climatology, second.name, what="ambs", of="climatology")
        ours = _scores(first, second, base)
        if reference is not None:
            other = _reference(reference, first, second)
            ours |= _skills(ours, _scores(other, second, base))
        for key, score in ours.items():
            label = key if len(pairs) == 1 else f"{name}_{key}"
            out[label] = score.rename(label)
    shown = None if reference is None else reference if isinstance(reference, str) else "given"
    return cf.add_history(xr.Dataset(out), cf.describe_call("metrics.ambs", reference=shown))


def verify_as(
    compat: str,
    prediction: XarrayObject,
    target: XarrayObject,
    chosen: Sequence[Any],
    dim: Dims,
    climatology: XarrayObject | None,
    bootstrap: Mapping[str, Any] | str | None,
) -> xr.Dataset:
    """Give scores by the definitions of another package, averaged over ``dim``, with bounds from resampling them.

    Raises
    ------
    OptionError
        If the package or a score is unknown, or the bootstrap cannot be done.
    """
    if compat != "ambs":
        message = f"compat={compat!r}; wanted 'ambs' or None"
        raise OptionError(message)
    names = ["texture" if n == "gradient_ratio" else n for n in chosen]
    if not set(names) <= set(SCORES):
        message = f"compat='ambs' with metrics={list(chosen)!r}; wanted some of {SCORES}"
        raise OptionError(message)
    if "acc" in names and climatology is None:
        message = "acc compares with a climatology; pass climatology=, as metrics.climatology gives it"
        raise OptionError(message)
    found = ambs(prediction, target, climatology)
    kept = [n for n in found.data_vars if any(str(n) == s or str(n).endswith(f"_{s}") for s in names)]
    over = [] if dim is None else [dim] if isinstance(dim, str) or not isinstance(dim, Sequence) else list(dim)
    some = [d for d in found.dims if d in over] if dim is not None else list(found.dims)
    made = found[kept].mean(some, keep_attrs=True)
    if bootstrap is None:
        return made
    first = found[kept[0]]
    settings, why = automatic_blocks(first, dim=tuple(some)) if bootstrap == "auto" else (dict(bootstrap), "")  # type: ignore[arg-type]
    if settings is None:
        return made.assign_attrs(intervals=why)
    resampling = Bootstrap.of(settings)
    if resampling.dim not in some:
        raise not_averaged(resampling.dim, tuple(some))
    rest = [d for d in some if d != resampling.dim]
    for name in kept:  # AMBS averages scores, not what they are made of
        drawn = block_bootstrap(found[name].mean(rest, keep_attrs=True), **settings)
        made = made.assign({f"{name}_{end}": drawn[end] for end in ("lower", "upper")})
    blocks = number_of_blocks(resampling, first.sizes[resampling.dim], first.indexes.get(resampling.dim))
    return made.assign_attrs(intervals=words(resampling, blocks))


# ---------------------------------------------------------------------- pieces
def _scores(forecast: xr.DataArray, truth: xr.DataArray, climatology: xr.DataArray | None) -> dict[str, xr.DataArray]:
    valid = _valid_times.find(forecast)
    axes = axes_of(forecast)
    if valid.start is None or valid.lead is None or valid.times.ndim != 2 or axes is None:
        message = (
            f"ambs: the forecast has dimensions {forecast.dims}; wanted init_time, lead_time and latitude, longitude"
        )
        raise DimensionError(message)
    forecast, truth = (_in_kelvin(x) for x in (forecast, truth))
    settings: dict[str, Any] = {"dim": list(axes.dims), "weights": None}
    out = {
        "mse": mse(forecast, truth, **settings),
        "psnr": psnr(forecast, truth, data_range=1.0, **settings),
        "ssim": ssim(forecast, truth, data_range=2.0, window=7, **settings),
    }
    if climatology is not None:
        base = _in_kelvin(climatology)
        if any(g in base.dims for g in GROUPS):
            lead = forecast[valid.lead]
            ahead = lead - lead.min()
            times = (forecast[valid.start] + ahead.drop_vars(list(ahead.coords))).transpose(*valid.times.dims)
            base = climatology_at(
                base, xr.DataArray(times.values, dims=times.dims), chunks=_chunks(forecast, times.dims)
            )
        out["acc"] = acc(forecast, truth, climatology=base, **settings)
    ours, theirs, _ = match(forecast, truth, what="ambs")
    texture = _roughness(ours, ours, axes) / _roughness(theirs, ours, axes)
    attrs = {"units": "1", "long_name": "ratio of gradients, forecast to truth"}
    out["texture"] = texture.transpose(*out["mse"].dims).assign_attrs(attrs)
    notes = {
        "mse": "unweighted", "psnr": "peak of 1 K", "ssim": "range of 2 K, windows of 7 x 7",
        "acc": "climatology one lead step early", "texture": "spacing taken twice",
    }  # fmt: skip
    for name, score in out.items():
        score.attrs = {k: v for k, v in score.attrs.items() if k != "history"} | {"definition": f"AMBS: {notes[name]}"}
    return out


def _chunks(field: xr.DataArray, dims: tuple[Hashable, ...]) -> dict[Hashable, Any] | None:
    sizes = {d: c for d, c in field.variable.chunksizes.items() if d in dims}
    return sizes or None


def _in_kelvin(field: xr.DataArray) -> xr.DataArray:
    """Convert temperatures; leave other quantities as they are."""
    try:
        return convert(field, "K") if field.attrs.get("units") is not None else field
    except UnitsError:
        return field


def _roughness(field: xr.DataArray, like: xr.DataArray, axes: cf.Horizontal) -> xr.DataArray:
    """Mean length of the gradient, up to a factor that is the same for all fields of a grid."""
    require_whole(field, axes.dims, what="ambs")
    latitude, longitude = (np.asarray(like[n].values, dtype=np.float64) for n in (axes.lat, axes.lon))
    found: xr.DataArray = xr.apply_ufunc(
        partial(_mean_gradient, latitude=latitude, longitude=longitude),
        field,
        input_core_dims=[list(axes.dims)],
        dask="parallelized",
        output_dtypes=[np.float64],
    )
    return found


def _mean_gradient(field: Any, *, latitude: Floats, longitude: Floats) -> Floats:
    field = np.asarray(field, dtype=np.float64)
    east = (
        np.gradient(field, longitude, axis=-1) / (np.cos(np.radians(latitude)) * (longitude[1] - longitude[0]))[:, None]
    )
    north = np.gradient(field, latitude, axis=-2) / (latitude[1] - latitude[0])
    return np.asarray(np.sqrt(east**2 + north**2).mean((-2, -1)))


def _reference(given: XarrayObject | str, forecast: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    if isinstance(given, xr.DataArray | xr.Dataset):
        return only(given, forecast.name, what="ambs", of="reference")
    if given != "yesterday":
        message = f"reference={given!r}; wanted 'yesterday' or another forecast"
        raise OptionError(message)
    valid = _valid_times.find(forecast)
    earlier = forecast.assign_coords(valid_time=valid.times - _DAY)
    laid = at_valid_times(truth, earlier)
    return laid.assign_coords(valid_time=valid.times)


def _skills(ours: Mapping[str, xr.DataArray], theirs: Mapping[str, xr.DataArray]) -> dict[str, xr.DataArray]:
    out = {}
    for name, score in ours.items():
        start = score.dims[0]
        mean, other = score.mean([start]), theirs[name].mean([start])
        room = _BEST.get(name, 1.0) - other
        attrs = {
            "units": "1",
            "long_name": f"skill score of the {name}",
            "definition": "AMBS: of means over all starts",
        }
        out[f"{name}_skill"] = ((mean - other) / room.where(room != 0)).assign_attrs(attrs)
    return out
