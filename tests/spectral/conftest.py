"""Grids of every kind and random band-limited coefficients."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import xarray as xr

from xatmo import Grid
from xatmo.spectral import _kernels

POLES = Grid.regular(19, 36)
GRIDS = {
    "poles": POLES,
    "poles, even": Grid.regular(20, 40),
    "no poles": Grid.regular(18, 36, poles=False),
    "no poles, odd": Grid.regular(19, 40, poles=False),
    "gaussian": Grid.gaussian(16),
    "gaussian, odd": Grid.gaussian(17, 40),
    "south to north": Grid.from_latlon(POLES.latitude[::-1], POLES.longitude),
    "gaussian, south to north": Grid.from_latlon(Grid.gaussian(16).latitude[::-1], Grid.gaussian(16).longitude),
    "-180 to 180": Grid.from_latlon(POLES.latitude, POLES.longitude - 180),
    "one pole missing": Grid.from_latlon(POLES.latitude[1:], POLES.longitude + 3),
    "one pole missing, south to north": Grid.from_latlon(POLES.latitude[:0:-1], POLES.longitude),
    "uneven rows": Grid.from_latlon(POLES.latitude * 0.98, POLES.longitude),
    "few columns": Grid.regular(19, 12),
}
ENGINES = [
    pytest.param("ducc0", marks=pytest.mark.skipif(find_spec("ducc0") is None, reason="ducc0 is not installed")),
    "torch",
]


@pytest.fixture(params=list(GRIDS))
def grid(request: pytest.FixtureRequest) -> Grid:
    return GRIDS[request.param]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def random_coefficients() -> Callable[..., Any]:
    """Make coefficients of a real field, (..., degree, order), the same for the same arguments."""

    def make(lmax: int, *lead: int, seed: int = 0, dtype: Any = np.complex128, wind: bool = False) -> Any:
        rng = np.random.default_rng((seed, lmax))
        shape = (*lead, lmax + 1, lmax + 1)
        out = np.tril(rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
        out[..., 0].imag = 0
        if wind:
            out[..., 0, :] = 0
        return out.astype(dtype)

    return make


@pytest.fixture
def field(random_coefficients: Callable[..., Any]) -> Callable[..., xr.DataArray]:
    """Make a band-limited labelled field, (time, latitude, longitude)."""

    def make(grid: Grid, *, lmax: int | None = None, dtype: Any = np.float64, seed: int = 0) -> xr.DataArray:
        values = _kernels.synthesis(random_coefficients(grid.lmax if lmax is None else lmax, 3, seed=seed), grid)
        attrs = {"units": "K", "standard_name": "air_temperature"}
        dims = ("time", "latitude", "longitude")
        return xr.DataArray(values.astype(dtype), grid.coords(), dims, name="t", attrs=attrs)

    return make


@pytest.fixture
def wind(random_coefficients: Callable[..., Any]) -> Callable[..., xr.Dataset]:
    """Make a band-limited wind, (time, latitude, longitude)."""

    def make(grid: Grid, *, lmax: int | None = None, dtype: Any = np.float64) -> xr.Dataset:
        top = grid.lmax if lmax is None else lmax
        parts = (random_coefficients(top, 3, seed=seed, wind=True) for seed in (1, 2))
        u, v = _kernels.synthesis_vector(*parts, grid)
        dims = ("time", "latitude", "longitude")
        names = {"ua": (u, "eastward_wind"), "va": (v, "northward_wind")}
        return xr.Dataset(
            {
                n: (dims, x.astype(dtype), {"standard_name": standard, "units": "m s-1"})
                for n, (x, standard) in names.items()
            },
            grid.coords(),
        )

    return make
