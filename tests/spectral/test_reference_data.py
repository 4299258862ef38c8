"""Real fields, and numbers worked out by other software."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xatmo  # noqa: F401  (registers .atmo)

Shared = Callable[[str], Path]


@pytest.fixture
def reference(shared_data: Shared) -> Iterator[xr.Dataset]:
    with xr.open_dataset(shared_data("windspharm_reference_regular_2p5deg.nc"), decode_times=False) as ds:
        yield ds.astype("f8").load()


def relative(ours: Any, theirs: Any) -> float:
    return float(np.sqrt(((ours - theirs) ** 2).mean() / (theirs**2).mean()))


def test_vorticity_and_divergence_of_spherepack(reference: xr.Dataset, engine: Any) -> None:
    out = reference.atmo.vorticity_divergence(engine=engine)
    assert relative(out["vo"], reference["vrt"]) < 1e-4
    assert relative(out["d"], reference["div"]) < 1e-4


def test_truncation_of_spherepack(reference: xr.Dataset, engine: Any) -> None:
    """The file's truncated vorticity holds the degrees up to 21."""
    assert relative(reference["vrt"].atmo.truncate(21, engine=engine), reference["vrt_trunc"]) < 1e-5


def test_rotational_and_divergent_winds_of_spherepack(reference: xr.Dataset, engine: Any) -> None:
    between = reference.atmo.vorticity_divergence(engine=engine)
    rotational, divergent = (between[[name]].atmo.wind(engine=engine) for name in ("vo", "d"))
    for ours, theirs in ((rotational, ("upsi", "vpsi")), (divergent, ("uchi", "vchi"))):
        assert relative(ours["u"], reference[theirs[0]]) < 1e-4
        assert relative(ours["v"], reference[theirs[1]]) < 1e-4


HELMHOLTZ = {
    "psi": "psi", "chi": "chi", "u_rotational": "upsi", "v_rotational": "vpsi", "u_divergent": "uchi",
    "v_divergent": "vchi",
}  # fmt: skip


def test_helmholtz_of_spherepack(reference: xr.Dataset, engine: Any) -> None:
    """Spherepack's radius is 6371.2 km; its fields are in single precision."""
    out = reference[["uwnd", "vwnd"]].atmo.helmholtz(radius=6.3712e6, engine=engine)
    for ours, theirs in HELMHOLTZ.items():
        assert relative(out[ours], reference[theirs]) < 1e-5, ours
    single = reference[["uwnd", "vwnd"]].astype("f4").atmo.helmholtz(engine=engine)
    for ours, theirs in HELMHOLTZ.items():
        assert single[ours].dtype == np.float32
        assert relative(single[ours], reference[theirs]) < 1e-4, ours


def test_gradient_of_spherepack(reference: xr.Dataset, engine: Any) -> None:
    out = reference["chi"].atmo.gradient(engine=engine)
    assert relative(out["dchi_dx"], reference["chigradu"]) < 1e-5
    assert relative(out["dchi_dy"], reference["chigradv"]) < 1e-5


def test_laplacians_of_spherepack(reference: xr.Dataset, engine: Any) -> None:
    """Streamfunction and vorticity, velocity potential and divergence: Laplacian and its inverse, to lmax as theirs."""
    for potential, of in (("psi", "vrt"), ("chi", "div")):
        assert relative(reference[potential].atmo.laplacian(engine=engine), reference[of]) < 1e-4
        assert relative(reference[of].atmo.inverse_laplacian(engine=engine), reference[potential]) < 1e-4


def test_absolute_vorticity_of_the_reference(reference: xr.Dataset, engine: Any) -> None:
    coriolis = 2 * 7.2921159e-5 * np.sin(np.radians(reference["lat"]))
    out = reference.atmo.absolute_vorticity(engine=engine)
    assert relative(out, reference["vrt"] + coriolis) < 1e-4


def test_filters_of_the_reference(reference: xr.Dataset, engine: Any) -> None:
    cut = 2 * np.pi * 6371229 / np.sqrt(21.5 * 22.5)
    low = reference["vrt"].atmo.filter(min_wavelength=cut, engine=engine)
    assert relative(low, reference["vrt_trunc"]) < 1e-5
    spectral = reference["vrt"].atmo.to_spectral(engine=engine).atmo.filter(lmax=21).atmo.to_grid(reference["vrt"])
    assert relative(spectral, reference["vrt_trunc"]) < 1e-5


def test_era_interim_is_smooth_at_the_poles(shared_data: Shared, engine: Any) -> None:
    """Nothing of what is computed from the wind stands out on the polar rows, and the parts sum to the wind."""
    with xr.open_dataset(shared_data("eraint_uvz_monthly_jan_jul_0p75deg.nc"), mask_and_scale=False) as opened:
        ds = opened.load().isel(month=0, level=1)
    ds = ds.map(lambda x: (x * x.attrs.get("scale_factor", 1.0) + x.attrs.get("add_offset", 0.0)).assign_attrs(x.attrs))
    parts = ds.atmo.helmholtz(lmax=106, engine=engine)
    low = ds.atmo.truncate(106, engine=engine)
    for name in "uv":
        total = parts[f"{name}_rotational"] + parts[f"{name}_divergent"]
        np.testing.assert_allclose(total, low[name], atol=1e-9)
        assert relative(total, ds[name]) < 0.05
    scalars = parts[["psi", "chi"]].assign(vorticity=ds.atmo.absolute_vorticity(lmax=106, engine=engine))
    for name, scalar in scalars.data_vars.items():
        polar = scalar.isel(latitude=[0, -1])
        scale = float(scalar.std())
        assert float(polar.std("longitude").max()) < 1e-9 * scale, name
        steps = abs(scalar.diff("latitude")).max("longitude")
        assert float(steps.isel(latitude=[0, -1]).max()) <= float(steps.max()), name
    # The Aleutian low and the jets: psi falls northward in the mid-latitudes of both hemispheres.
    zonal = parts["psi"].mean("longitude")
    assert float(zonal.sel(latitude=60)) < float(zonal.sel(latitude=30))
    assert float(zonal.sel(latitude=-60)) > float(zonal.sel(latitude=-30))


def test_energy_of_era_interim(shared_data: Shared, engine: Any) -> None:
    with xr.open_dataset(shared_data("eraint_uvz_monthly_jan_jul_0p75deg.nc"), mask_and_scale=False) as opened:
        ds = opened.load()
    ds = ds.map(lambda x: x * x.attrs.get("scale_factor", 1.0) + x.attrs.get("add_offset", 0.0))
    spectrum = ds.atmo.energy_spectrum(engine=engine)
    weights = xr.DataArray(ds.atmo.grid.weights, dims="latitude")
    mean = (((ds["u"] ** 2 + ds["v"] ** 2) / 2) * weights).sum("latitude").mean("longitude")
    np.testing.assert_allclose(spectrum["energy"].sum("degree"), mean, rtol=1e-5)
    assert (spectrum["rotational"].sum("degree") > 10 * spectrum["divergent"].sum("degree")).all()


def test_relief_of_the_earth_in_another_convention(shared_data: Shared, engine: Any) -> None:
    from xatmo import Grid
    from xatmo.spectral import _kernels, layouts

    table = np.loadtxt(shared_data("srtmp300_earth_shape_spherical_harmonics.txt"))
    degree, order = table[:, 0].astype(int), table[:, 1].astype(int)
    lmax = 90
    kept = degree <= lmax
    real = np.zeros((2, lmax + 1, lmax + 1))
    real[0, degree[kept], order[kept]], real[1, degree[kept], order[kept]] = table[kept, 2], table[kept, 3]
    grid = Grid.regular(181, 360)
    field = _kernels.synthesis(layouts.from_pyshtools(real), grid, engine)
    assert float(grid.weights @ field.mean(axis=1)) == pytest.approx(real[0, 0, 0], rel=1e-10)
    assert field[62, 87] > 3000  # Tibet
    assert field[79, 142] < -3000  # off the Marianas
