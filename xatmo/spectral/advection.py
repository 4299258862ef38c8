"""What the wind does to a field that it carries."""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from typing import Any

import xarray as xr

from xatmo import cf
from xatmo._labels import require_finite
from xatmo.errors import VariableError
from xatmo.grids import Grid
from xatmo.spectral import _fields, _kernels, _results
from xatmo.spectral._fields import Source
from xatmo.spectral._results import Label, by_degree, scaled, unit_scale
from xatmo.spectral._vectors import components
from xatmo.typing import Floats, SpectralEngine
from xatmo.units import times


def _tendency(
    field: Any,
    u: Any,
    v: Any,
    *,
    grid: Grid,
    lmax: int,
    cut_wind: bool,
    radius: float,
    scale: tuple[float, float],
    engine: Any,
    names: tuple[Any, Any],
) -> Floats:
    field, pair = _kernels.as_float(field), (scaled(u, scale[0]), scaled(v, scale[1]))
    for block, name in zip((field, *pair), (names[0], names[1], names[1]), strict=True):
        require_finite(block, what="advection", name=name)
    coefficients = _kernels.analysis(field, grid, lmax, engine)
    divergent = by_degree(-_kernels.derivative_factor(lmax, radius), coefficients)
    slopes = _kernels.synthesis_divergent(divergent, grid, engine)
    if cut_wind:
        parts = _kernels.analysis_vector(*pair, grid, lmax, engine)
        pair = _kernels.synthesis_vector(*parts, grid, engine)
    return -(pair[0] * slopes[0] + pair[1] * slopes[1])


def advection(
    ds: xr.Dataset,
    variable: Hashable,
    *,
    u: Hashable | None = None,
    v: Hashable | None = None,
    lmax: int | None = None,
    radius: float | None = None,
    engine: SpectralEngine | None = None,
) -> xr.DataArray:
    """Compute the tendency of a scalar by horizontal advection, ``-(u dq/dx + v dq/dy)``.

    The gradient is exact for every degree that the grid resolves (see `gradient`); the product is formed at the points
    of the grid and holds up to twice as many degrees, which are not removed: `truncate` does that.

    Parameters
    ----------
    ds : Dataset
        With the scalar and the wind on one global grid, latitude and longitude whole. Other dimensions are matched by
        name: a field without levels is carried by the wind of each level.
    variable : str
        Name of the scalar q. Components of the wind are no scalars: advect their vorticity.
    u, v : str, optional
        Names of eastward and northward wind, where CF attributes and usual names do not tell.
    lmax : int, optional
        Highest degree of q and of the wind, which is cut as a vector. By default the wind is taken as it is.
    radius : float, optional
        Of the sphere in metres; 6371229 by default.
    engine : {"ducc0", "torch"}, optional
        ducc0 where it is installed.

    Returns
    -------
    DataArray
        ``{variable}_advection`` in the units of q per second (without ``units`` where q has none). Winds in other units
        are converted; those without are taken to be in m s-1.

    Raises
    ------
    VariableError
        If there is no such variable, or no wind pair.
    DimensionError, UnitsError, GridError, OptionError, ChunkError, MissingValueError
        As in `helmholtz`.

    Examples
    --------
    A westerly of 10 m s-1 at the equator carries a wave of wavenumber 1:

    >>> import numpy as np
    >>> from xatmo.constants import EARTH_RADIUS
    >>> grid = Grid.regular(19, 36)
    >>> lat, lon = (np.radians(c) for c in grid.coords().values())
    >>> q = np.cos(lat) * np.sin(lon)
    >>> ds = xr.Dataset({"q": q, "u": 10 * np.cos(lat) + 0 * lon, "v": 0 * q}, grid.coords())
    >>> out = advection(ds, "q")
    >>> bool(abs(out + 10 / EARTH_RADIUS * np.cos(lat) * np.cos(lon)).max() < 1e-15)
    True
    """
    if variable not in ds.data_vars:
        message = f"no variable {variable!r} in this Dataset; it has {sorted(map(str, ds.data_vars))}"
        raise VariableError(message)
    source = Source.of(ds)
    field, pair = ds[variable], components(ds, u, v, source.axes.dims)
    cf.variables_with(field.to_dataset(name=variable), source.axes.dims, what="advection")
    top = _kernels.resolve_lmax(source.grid, lmax, what="advection")
    block = partial(
        _tendency,
        grid=source.grid,
        lmax=top,
        cut_wind=lmax is not None,
        radius=_results.check_radius(radius),
        scale=(unit_scale(pair[0], "m s-1"), unit_scale(pair[1], "m s-1")),
        engine=_kernels.choose_engine(engine),
        names=(variable, (pair[0].name, pair[1].name)),
    )
    arrays = [_fields.bare(x, source, what="advection") for x in (field, *pair)]
    (out,) = _fields.apply(
        block,
        arrays,
        source.axes.dims,
        outputs=[_results.grid_sizes(source)],
        dtypes=[_fields.float_type(*arrays)],
        what="advection",
    )
    units = field.attrs.get("units")
    per_second = None if units is None else times(str(units), "s-1")
    label = Label(f"{variable}_advection", f"tendency of {_results.title(field)} by horizontal advection", per_second)
    like = field if set(field.dims) >= set(pair[0].dims) else pair[0]
    done = _results.on_grid(out, label, like, source)
    call = cf.describe_call("advection", variable=variable, u=u, v=v, lmax=lmax, radius=radius, engine=engine)
    return cf.add_history(_results.with_history_of(done, ds), call)
