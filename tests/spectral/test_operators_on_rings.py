"""Operators, filters and points on HEALPix, reduced and Driscoll-Healy grids, and from packed coefficients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from xatmo import Grid
from xatmo.spectral import _kernels

GRIDS = {
    "healpix": Grid.healpix(8),
    "reduced": Grid.reduced_gaussian("O16"),
    "driscoll_healy": Grid.driscoll_healy(24),
}
METHODS: dict[str, Callable[[xr.Dataset], xr.Dataset]] = {
    "helmholtz": lambda ds: ds.atmo.helmholtz(),
    "absolute_vorticity": lambda ds: ds.atmo.absolute_vorticity().to_dataset(),
    "vorticity_divergence": lambda ds: ds.atmo.vorticity_divergence(),
    "advection": lambda ds: ds.atmo.advection("t").to_dataset(),
    "gradient": lambda ds: ds.atmo.gradient(),
    "laplacian": lambda ds: ds.atmo.laplacian(),
    "inverse_laplacian": lambda ds: ds.atmo.inverse_laplacian(),
    "filter": lambda ds: ds.atmo.filter("gaussian", length=8e5),
    "truncate": lambda ds: ds.atmo.truncate(5),
}


def band_limited(grid: Grid, make: Any) -> xr.Dataset:
    """The same flow on any grid, degrees up to 8."""
    coords = grid.coords()
    dims = tuple(dict.fromkeys(d for c in coords.values() for d in c.dims))
    u, v = _kernels.synthesis_vector(make(8, 2, seed=1, wind=True), make(8, 2, seed=2, wind=True), grid)
    fields = {"t": _kernels.synthesis(make(8, 2), grid), "u": u, "v": v}
    return xr.Dataset({n: (("time", *dims), x) for n, x in fields.items()}, coords)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", GRIDS)
def test_same_as_on_a_regular_grid(
    kind: str, method: str, random_coefficients: Any, engine: Any, no_compute: Any
) -> None:
    """Results on the ring grid are those of the regular grid, evaluated at its points."""
    ds, regular = (band_limited(g, random_coefficients) for g in (GRIDS[kind], Grid.regular(25, 48)))
    dims = ds["t"].dims
    with no_compute():
        out = METHODS[method](ds.chunk(time=1).transpose(*dims[1:], "time"))
    place = ds.coords.to_dataset()
    expected = METHODS[method](regular).atmo.to_points(place, engine=engine)
    if method == "absolute_vorticity":
        assert out["absolute_vorticity"].chunksizes["time"] == (1, 1)
    for name in expected.data_vars:
        assert out[name].dims == (*dims[1:], "time")
        scale = float(abs(expected[name]).max())
        got = out[name].transpose(*expected[name].dims)
        np.testing.assert_allclose(got, expected[name], atol=1e-10 * scale, err_msg=str(name))


def test_points_and_gradients_from_rings(random_coefficients: Any, engine: Any) -> None:
    ds, regular = (band_limited(g, random_coefficients) for g in (GRIDS["healpix"], Grid.regular(25, 48)))
    lat, lon = np.array([90.0, 3.0, -60.0]), np.array([5.0, -7.0, 300.0])
    out, expected = (x.atmo.to_points(lat=lat, lon=lon, engine=engine) for x in (ds, regular))
    for name in ds.data_vars:
        np.testing.assert_allclose(out[name], expected[name], atol=1e-10)
    slopes = regular["t"].atmo.to_spectral().atmo.gradient(grid=GRIDS["healpix"], engine=engine)
    assert slopes["dt_dx"].dims == ds["t"].dims
    np.testing.assert_allclose(slopes["dt_dx"], ds["t"].atmo.gradient()["dt_dx"], atol=1e-16)


def test_divergent_winds_alone(grid: Grid, engine: Any, random_coefficients: Any) -> None:
    part = random_coefficients(grid.lmax, 2, wind=True)
    nothing = np.zeros_like(part)
    east, north = _kernels.synthesis_divergent(part, grid, engine)
    for got, expected in (
        ((east, north), _kernels.synthesis_vector(nothing, part, grid, engine)),
        ((-north, east), _kernels.synthesis_vector(part, nothing, grid, engine)),
    ):
        np.testing.assert_allclose(got, expected, atol=1e-11)
    assert not np.any(_kernels.synthesis_divergent(part[..., :1, :1], grid, engine))


def test_packed_coefficients(random_coefficients: Any, no_compute: Any) -> None:
    """What GRIB readers give can be used as it stands."""
    from xatmo.spectral import layouts

    x = random_coefficients(20, 2)
    attrs = {"GRIB_gridType": "sh", "units": "K", "long_name": "temperature"}
    packed = xr.DataArray(layouts.to_ecmwf(x), dims=("time", "values"), name="t", attrs=attrs).chunk(time=1)
    plain = xr.DataArray(x, dims=("time", "degree", "order"), name="t", attrs={"units": "K"})
    with no_compute():
        results = {
            "laplacian": packed.atmo.laplacian(),
            "inverse_laplacian": packed.to_dataset().atmo.inverse_laplacian()["t"],
            "filter": packed.atmo.filter("lanczos"),
            "truncate": packed.atmo.truncate(12),
            "to_points": packed.atmo.to_points(lat=[1.0, 2], lon=[3.0, 4]),
            "gradient": packed.atmo.gradient(grid=Grid.gaussian(22))["dt_dx"],
        }
    options: dict[str, dict[str, Any]] = {
        "filter": {"kind": "lanczos"},
        "truncate": {"lmax": 12},
        "to_points": {"lat": [1.0, 2], "lon": [3.0, 4]},
        "gradient": {"grid": Grid.gaussian(22)},
    }
    for name, out in results.items():
        expected = getattr(plain.atmo, name)(**options.get(name, {}))
        expected = expected["dt_dx"] if isinstance(expected, xr.Dataset) else expected
        np.testing.assert_allclose(out, expected, atol=1e-11 * float(abs(expected).max()))


def test_slope_of_a_real_pressure_surface(shared_data: Callable[[str], Path]) -> None:
    """Geostrophic wind from the T63 heights of a spectral GRIB message: westerlies in mid-latitudes."""
    pytest.importorskip("cfgrib")
    path = shared_data("ecmwf_z500_spectral_T63_2017-10-18.grib")
    ds = xr.open_dataset(path, engine="cfgrib", backend_kwargs={"indexpath": ""})
    slopes = ds.atmo.gradient(grid=Grid.regular(61, 120))
    assert slopes["dz_dy"].attrs["units"] == "m s-2"
    for lat in (45, -45):
        coriolis = 2 * 7.292e-5 * np.sin(np.radians(lat))
        zonal = -slopes["dz_dy"].sel(latitude=lat).mean("longitude") / coriolis
        assert 3 < float(zonal) < 30
    track = ds.atmo.to_points(lat=[50.0, 51.0], lon=[0.0, 1.0])
    assert bool((track["z"] > 5e4).all())
