"""Low-pass filtering on the sphere: degrees above a limit removed, those below tapered if wanted."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo._labels import changed_values, on_same_grid, require_finite, true_attrs
from xatmo.errors import OptionError
from xatmo.grids import Grid
from xatmo.spectral import _fields, _kernels
from xatmo.spectral._fields import Source
from xatmo.spectral._vectors import map_with_winds
from xatmo.typing import Floats, SpectralEngine, T

TAPERS = ("exponential", "lanczos")


@lru_cache(maxsize=32)
def taper_weights(lmax: int, taper: str | None) -> Floats:
    """Weight of every degree from 0 to ``lmax``, ``(lmax + 1,)``.

    ``None``: 1. ``"exponential"``: ``exp(-ln(10) (n (n + 1) / (lmax (lmax + 1)))**2)``, the filter of Sardeshmukh and
    Hoskins [1]_: 1 at degree 0, 0.1 at ``lmax``, a fourth-order diffusion in between. ``"lanczos"``:
    ``sinc(n / (lmax + 1))``, the sigma factors that suppress Gibbs oscillations.

    Raises
    ------
    OptionError
        If the taper is unknown.

    References
    ----------
    .. [1] P. D. Sardeshmukh and B. J. Hoskins, 1984: Spatial smoothing on the sphere. Mon. Wea. Rev. 112, 2524-2529.

    Examples
    --------
    >>> taper_weights(2, "exponential")
    array([1. , 0.77426368, 0.1 ])
    """
    degree = np.arange(lmax + 1, dtype=np.float64)
    if taper is None:
        weights = np.ones(lmax + 1)
    elif taper == "exponential":
        weights = 10.0 ** -((degree * (degree + 1) / max(lmax * (lmax + 1), 1)) ** 2)
    elif taper == "lanczos":
        weights = np.sinc(degree / (lmax + 1))
    else:
        message = f"taper={taper!r} came; wanted one of {TAPERS}, or None for a sharp cut"
        raise OptionError(message)
    weights.flags.writeable = False
    return weights


def _weighted(coefficients: Any, taper: str | None) -> Any:
    if taper is None:
        return coefficients
    weights = taper_weights(coefficients.shape[-1] - 1, taper)
    return coefficients * weights[:, None].astype(coefficients.real.dtype)


def _truncate(field: Any, *, grid: Grid, lmax: int, taper: str | None, engine: Any, name: Any) -> Floats:
    field = _kernels.as_float(field)
    require_finite(field, what="truncate", name=name)
    return _kernels.synthesis(_weighted(_kernels.analysis(field, grid, lmax, engine), taper), grid, engine)


def _truncate_wind(
    u: Any, v: Any, *, grid: Grid, lmax: int, taper: str | None, engine: Any, name: Any
) -> tuple[Floats, Floats]:
    u, v = _kernels.as_float(u), _kernels.as_float(v)
    for component in (u, v):
        require_finite(component, what="truncate", name=name)
    rotational, divergent = _kernels.analysis_vector(u, v, grid, lmax, engine)
    return _kernels.synthesis_vector(_weighted(rotational, taper), _weighted(divergent, taper), grid, engine)


def truncate(obj: T, lmax: int, *, taper: str | None = None, engine: SpectralEngine | None = None) -> T:
    """Remove the degrees above ``lmax`` (triangular truncation), on the same grid.

    A CF wind pair in a Dataset is filtered as a vector: through its rotational and divergent parts, which is the same
    as truncating vorticity and divergence.

    Parameters
    ----------
    obj : Dataset or DataArray
        Fields on a global grid, latitude and longitude whole.
    lmax : int
        Highest degree kept: 63 for T63.
    taper : {"exponential", "lanczos"}, optional
        Weights that fall towards ``lmax``, so that sharp features do not ring; see `taper_weights`. By default all
        degrees kept have weight 1.
    engine : {"ducc0", "torch"}, optional
        ducc0 where it is installed.

    Returns
    -------
    Dataset or DataArray
        Like the input: dtype (integers become float64), dimension order, coordinates, attributes.

    Raises
    ------
    GridError, OptionError, ChunkError, MissingValueError
        As in `to_spectral`; `OptionError` also for an unknown taper.

    Examples
    --------
    >>> grid = Grid.gaussian(16)
    >>> field = xr.DataArray(np.ones(grid.shape), grid.coords(), ("latitude", "longitude"))
    >>> bool(abs(truncate(field, 5, taper="exponential") - field).max() < 1e-12)
    True
    """
    source = Source.of(obj)
    top = _kernels.resolve_lmax(source.grid, _kernels.check_degree(lmax), what="truncate")
    taper_weights(top, taper)
    chosen = _kernels.choose_engine(engine)
    call = cf.describe_call("truncate", lmax=top, taper=taper, engine=engine)
    options: dict[str, Any] = {"grid": source.grid, "lmax": top, "taper": taper, "engine": chosen}
    dims, output = source.axes.dims, dict(zip(source.axes.dims, source.grid.shape, strict=True))

    def finish(out: xr.DataArray, da: xr.DataArray) -> xr.DataArray:
        out = _fields.same_coords(out, da, source.axes)
        out.attrs = true_attrs(da)
        return out

    def scalar(da: xr.DataArray) -> xr.DataArray:
        _fields.require_real(da, what="truncate")
        block = partial(_truncate, name=da.name, **options)

        def on_columns(field: xr.DataArray) -> xr.DataArray:
            types = [_fields.float_type(field)]
            out = _fields.apply(block, [field], dims, outputs=[output], dtypes=types, what="truncate")[0]
            return finish(out, field)

        return changed_values(on_same_grid(da, on_columns, source.axes), da)

    def wind(u: xr.DataArray, v: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
        block = partial(_truncate_wind, name=(u.name, v.name), **options)
        pair = [_fields.bare(x, source, what="truncate") for x in (u, v)]
        types = [_fields.float_type(*pair)] * 2
        out = _fields.apply(block, pair, dims, outputs=[output] * 2, dtypes=types, what="truncate")
        first, second = (
            changed_values(on_same_grid(da, partial(finish, filtered), source.axes), da)
            for filtered, da in zip(out, (u, v), strict=True)
        )
        return first, second

    return cf.add_history(map_with_winds(obj, scalar, wind, dims=dims, what="truncate"), call)
