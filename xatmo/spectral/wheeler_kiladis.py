"""The smooth background of a wavenumber-frequency spectrum, after Wheeler and Kiladis."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo.errors import DimensionError, OptionError
from xatmo.spectral import _fields, _kernels
from xatmo.spectral._space_time import smooth121
from xatmo.spectral.wavenumber_frequency import FREQUENCY, SYMMETRY, WAVENUMBER, ZONAL
from xatmo.typing import Floats

_PASSES = ((0.1, 10), (0.2, 20), (0.3, 30), (np.inf, 40))


def wk_background(
    power: xr.DataArray,
    *,
    frequency_passes: int = 10,
    wavenumber_passes: int | Sequence[tuple[float, int]] = _PASSES,
) -> xr.Dataset:
    """Estimate the smooth background of a wavenumber-frequency spectrum, and divide by it.

    After Wheeler and Kiladis [1]_: the mean of the symmetric and the antisymmetric power is smoothed with weights 1/4,
    1/2, 1/4 many times, along frequency and along wavenumber. What stands well above it, with ratios of about 1.2 and
    more, depending on the number of independent segments, is taken for waves. Frequency 0, which detrending has
    emptied, is left out.

    Parameters
    ----------
    power : DataArray
        From `wavenumber_frequency`, of ``symmetry="both"`` for the background of [1]_; of other spectra the power
        itself is smoothed. Frequency and wavenumber whole.
    frequency_passes : int
        How many times it is smoothed along frequency.
    wavenumber_passes : int or sequence of (float, int)
        How many times along wavenumber; pairs give the number below each frequency in cycles per day. By default 10
        below 0.1, 20 below 0.2, 30 below 0.3, and 40 above.

    Returns
    -------
    Dataset
        ``power`` (as given), ``background`` (without ``symmetry``) and ``ratio`` (dimensionless).

    Raises
    ------
    DimensionError
        If ``power`` is no wavenumber-frequency spectrum.
    OptionError
        If passes are no whole numbers from 0 up.
    ChunkError
        If frequency or wavenumber is split into chunks.

    References
    ----------
    .. [1] M. Wheeler and G. N. Kiladis, 1999: Convectively coupled equatorial waves: analysis of clouds and
       temperature in the wavenumber-frequency domain. J. Atmos. Sci. 56, 374-399.

    Examples
    --------
    >>> flat = xr.DataArray(np.ones((5, 9)), {"frequency": np.arange(5) / 10}, ("frequency", "zonal_wavenumber"))
    >>> wk_background(flat).ratio.max().item()
    1.0
    """
    other: Any = power
    dims = tuple(getattr(other, "dims", ()))
    wave = next((d for d in (ZONAL, WAVENUMBER) if d in dims), None)
    if not isinstance(other, xr.DataArray) or wave is None or FREQUENCY not in dims:
        message = (
            f"wk_background got a {type(other).__name__} with dimensions {dims}; wanted what "
            "wavenumber_frequency(symmetry='both') gives for one variable"
        )
        raise DimensionError(message)
    passes = [(np.inf, wavenumber_passes)] if isinstance(wavenumber_passes, int) else list(wavenumber_passes)
    for count in (frequency_passes, *(p for _, p in passes)):
        if not isinstance(count, int) or count < 0:
            message = f"{count!r} passes of smoothing came; wanted a whole number from 0 up"
            raise OptionError(message)
    kept = power.isel({FREQUENCY: power[FREQUENCY].values > 0})
    edges = np.array([edge for edge, _ in passes])
    band = np.minimum(np.searchsorted(edges, kept[FREQUENCY].values, side="right"), len(passes) - 1)
    block = partial(_smooth, along_frequency=frequency_passes, along_wave=tuple(passes[i][1] for i in band))
    mean = kept.mean(SYMMETRY) if SYMMETRY in dims else kept
    core = (FREQUENCY, wave)
    sizes: dict[Hashable, int] = {d: mean.sizes[d] for d in core}
    types = [_fields.float_type(mean)]
    (smooth,) = _fields.apply(block, [mean], core, outputs=[sizes], dtypes=types, what="wk_background")
    smooth = smooth.transpose(*mean.dims).assign_coords({n: c for n, c in kept.coords.items() if n != SYMMETRY})
    attrs = {k: v for k, v in power.attrs.items() if k != "history"}
    units = {"units": attrs["units"]} if "units" in attrs else {}
    parts = {
        "power": kept.assign_attrs(attrs),
        "background": smooth.assign_attrs(long_name="smooth background of the power", **units),
        "ratio": (kept / smooth).assign_attrs(long_name="power over its background", units="1"),
    }
    parts["power"].attrs.pop("history", None)
    before = {"history": power.attrs["history"]} if "history" in power.attrs else {}
    call = cf.describe_call("wk_background", frequency_passes=frequency_passes, wavenumber_passes=wavenumber_passes)
    return cf.add_history(xr.Dataset(parts, attrs=before), call)


def _smooth(power: Any, *, along_frequency: int, along_wave: tuple[int, ...]) -> Floats:
    power = _kernels.as_float(power)
    out = power.astype(np.float64)
    for count in set(along_wave):
        rows = np.asarray(along_wave) == count
        out[..., rows, :] = smooth121(out[..., rows, :], -1, count)
    return np.asarray(smooth121(out, -2, along_frequency).astype(power.dtype))
