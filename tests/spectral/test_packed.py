"""Coefficients on GRIB's ``values`` axis: from cfgrib, from ARCO-ERA5's layout, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from xatmo import Grid, spectral
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import ChunkError, DimensionError, GridError, OptionError
from xatmo.spectral import _kernels, layouts, packed

LEVELS = [70.0, 100.0]


def grib_attrs(name: str, standard_name: str, units: str, lmax: int) -> dict[str, Any]:
    """What cfgrib, and after it ARCO-ERA5, writes beside a spectral variable."""
    size = (lmax + 1) * (lmax + 2)
    return {
        "GRIB_J": lmax, "GRIB_K": lmax, "GRIB_M": lmax, "GRIB_NV": 276, "GRIB_cfName": standard_name,
        "GRIB_cfVarName": name, "GRIB_dataType": "an", "GRIB_gridType": "sh", "GRIB_numberOfPoints": size,
        "GRIB_gridDefinitionDescription": "Spherical harmonic coefficients", "GRIB_shortName": name,
        "GRIB_typeOfLevel": "hybrid", "GRIB_units": units, "long_name": name, "standard_name": standard_name,
        "units": units,
    }  # fmt: skip


def arco(values: dict[str, np.ndarray], lmax: int) -> xr.Dataset:
    """A Dataset with the dimensions, coordinates and attributes of ``co/model-level-wind``."""
    standard = {"vo": ("atmosphere_relative_vorticity", "s**-1"), "d": ("divergence_of_wind", "s**-1"),
                "t": ("air_temperature", "K"), "w": ("lagrangian_tendency_of_air_pressure", "Pa s**-1")}  # fmt: skip
    count = next(iter(values.values())).shape[0]
    times = pd.date_range("1979-01-01", periods=count, freq="h").as_unit("ns")
    return xr.Dataset(
        {n: (("time", "hybrid", "values"), x, grib_attrs(n, *standard[n], lmax)) for n, x in values.items()},
        {
            "time": ("time", times, {"standard_name": "forecast_reference_time"}),
            "valid_time": ("time", times, {"standard_name": "time", "long_name": "time"}),
            "step": ((), np.timedelta64(0, "ns"), {"standard_name": "forecast_period"}),
            "hybrid": (
                "hybrid",
                LEVELS,
                {"standard_name": "atmosphere_hybrid_sigma_pressure_coordinate", "units": "1"},
            ),
        },
        {"Conventions": "CF-1.7", "GRIB_centre": "ecmf", "history": "GRIB to CDM+CF via cfgrib"},
    )


@pytest.fixture
def small(random_coefficients: Any) -> xr.Dataset:
    """Vorticity, divergence and temperature, T10, on ``values``."""
    made = [random_coefficients(10, 3, 2, seed=s, dtype=np.complex64, wind=s < 2) for s in range(3)]
    return arco({n: layouts.to_ecmwf(x) for n, x in zip(("vo", "d", "t"), made, strict=True)}, 10)


# ---------------------------------------------------------------------- labels
def test_labels_and_laziness(small: xr.Dataset, no_compute: Any) -> None:
    with no_compute():
        out = packed.unpacked(small.chunk(time=1, hybrid=1))
    assert out.t.chunks == ((1, 1, 1), (1, 1), (11,), (11,))
    assert out.t.dims == ("time", "hybrid", "degree", "order")
    assert out.t.dtype == np.complex64
    assert out.attrs == small.attrs
    assert set(small.coords) < set(out.coords)
    attrs = out.t.attrs
    assert (attrs["norm"], attrs["csphase"], attrs["lmax"], attrs["truncation"]) == ("4pi", 1, 10, "triangular")
    assert (attrs["units"], attrs["GRIB_shortName"], attrs["GRIB_typeOfLevel"]) == ("K", "t", "hybrid")
    false = {"GRIB_gridType", "GRIB_J", "GRIB_K", "GRIB_M", "GRIB_numberOfPoints", "GRIB_gridDefinitionDescription"}
    assert not false & set(attrs)
    assert out.wavelength.attrs["units"] == "m"
    eager = packed.unpacked(small)
    assert isinstance(eager.t.data, np.ndarray)
    xr.testing.assert_identical(eager, out.compute())
    again = spectral.to_packed(out)
    xr.testing.assert_equal(again, small)
    assert again.t.dtype == np.float32
    assert false <= set(again.t.attrs)
    assert {k: again.t.attrs[k] for k in small.t.attrs} == small.t.attrs


def test_untouched(small: xr.Dataset) -> None:
    coefficients = packed.unpacked(small)
    bare = small.t.drop_attrs()
    places = bare.assign_coords(latitude=("values", np.zeros(bare.sizes["values"])))
    for obj in (
        coefficients,
        coefficients.t,
        bare.isel(values=slice(7)),
        places,
        xr.Dataset({"a": ("v", np.zeros(6))}),
    ):
        assert packed.unpacked(obj) is obj
    reduced = small.t.assign_attrs(GRIB_gridType="reduced_gg")
    assert packed.unpacked(reduced) is reduced
    assert not packed.is_packed(small.t.isel(values=0))
    assert packed.is_packed(small)


def test_other_names_and_orders_of_dimensions(small: xr.Dataset) -> None:
    want = packed.unpacked(small.t)
    renamed = small.t.rename(values="number_of_values")
    xr.testing.assert_identical(packed.unpacked(renamed), want)
    first = packed.unpacked(small.t.transpose("values", "time", "hybrid"))
    assert first.dims == ("degree", "order", "time", "hybrid")
    xr.testing.assert_identical(first.transpose(*want.dims), want)
    bare = small.t.drop_attrs().assign_attrs(gridType="sh")
    xr.testing.assert_equal(packed.unpacked(bare), want)
    ecmwf = small.t.drop_attrs().assign_attrs({f"GRIB_pentagonalResolutionParameter{k}": 10 for k in "JKM"})
    xr.testing.assert_equal(packed.unpacked(ecmwf), want)
    assert packed.unpacked(small.t.astype(np.float64)).dtype == np.complex128


def test_a_store_without_attributes(small: xr.Dataset) -> None:
    """Computations drop attributes; no field on a grid has a bare axis of (T + 1) (T + 2) numbers."""
    bare = small.drop_attrs()
    grid = Grid.gaussian(12)
    xr.testing.assert_allclose(bare.atmo.to_grid(grid).t, small.atmo.to_grid(grid).t)
    xr.testing.assert_allclose(bare.t.atmo.to_spectral(lmax=4), small.t.atmo.to_spectral(lmax=4))
    both = bare.atmo.wind(grid=grid)
    xr.testing.assert_allclose(both.u, small.atmo.wind(grid=grid).u)
    assert "grid=<Grid gaussian 12 x 24" in both.attrs["history"]
    with pytest.raises(GridError, match="spherical-harmonic coefficients, on GRIB's 'values' axis"):
        _ = bare.atmo.grid
    with pytest.raises(GridError, match="on one 'values' axis, .* no latitude on it"):
        _ = bare.isel(values=slice(7)).atmo.grid


def test_variables_without_attributes_beside_others(small: xr.Dataset) -> None:
    ds = small.assign(square=(small.t * 2).drop_attrs(), flag=("time", [1, 2, 3]))
    out = packed.unpacked(ds)
    np.testing.assert_array_equal(out.square, 2 * out.t)
    assert out.flag.dims == ("time",)


def test_to_spectral_unpacks_and_cuts(small: xr.Dataset, no_compute: Any) -> None:
    with no_compute():
        out = small.chunk(time=1).atmo.to_spectral(lmax=4)
    want = packed.unpacked(small).isel(degree=slice(5), order=slice(5))
    xr.testing.assert_equal(out.compute(), want)
    assert out.t.attrs["lmax"] == 4
    assert out.attrs["history"].endswith("to_spectral(lmax=4)")
    again = packed.unpacked(small).atmo.to_spectral(lmax=4)
    xr.testing.assert_identical(again.t, out.t.compute())
    xr.testing.assert_equal(small.t.atmo.to_spectral(), packed.unpacked(small.t))
    for obj in (small, packed.unpacked(small)):
        with pytest.raises(OptionError, match="lmax=11 came, but the coefficients end at degree 10; wanted lmax <= 10"):
            obj.atmo.to_spectral(lmax=11)


def test_refusals(small: xr.Dataset) -> None:
    rhomboidal = small.t.assign_attrs(GRIB_K=20)
    with pytest.raises(GridError, match=r"truncation that is not triangular \(J=10, K=20, M=10\); wanted J = K = M"):
        rhomboidal.atmo.to_grid(Grid.gaussian(12))
    with pytest.raises(
        DimensionError, match=r"has 100 numbers on 'values', but its attributes say T10; wanted all 132"
    ):
        small.isel(values=slice(100)).atmo.to_grid(Grid.gaussian(12))
    with pytest.raises(DimensionError, match="65 coefficients came"):
        packed.unpacked(small.t[..., :130].drop_attrs().assign_attrs(gridType="sh"))
    with pytest.raises(ChunkError, match=r"needs 'values' whole, but 'values' in 2 chunks came"):
        small.chunk(values=66).atmo.to_grid(Grid.gaussian(12))


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.atmo.grid,
        lambda x: x.atmo.regrid(Grid.regular(7, 12), method="conservative"),
        lambda x: x.atmo.regrid(Grid.regular(7, 12), method="bilinear"),
        lambda x: x.atmo.coarsen(2),
        lambda x: x.atmo.wavenumber_frequency(),
    ],
)
@pytest.mark.parametrize("kind", ["values", "degree"])
def test_methods_for_grids_say_what_to_do(call: Any, kind: str, small: xr.Dataset) -> None:
    obj = small if kind == "values" else packed.unpacked(small)
    with pytest.raises(GridError, match=rf"spherical-harmonic coefficients, on .*{kind}.*; call .atmo.to_grid\(grid\)"):
        call(obj)


# ---------------------------------------------------------------------- what follows
def test_fields_and_winds(small: xr.Dataset, engine: Any) -> None:
    grid = Grid.gaussian(12)
    coefficients = packed.unpacked(small)
    field = small.t.atmo.to_grid(grid, engine=engine)
    want = _kernels.synthesis(coefficients.t.values, grid, engine)
    np.testing.assert_array_equal(field.values, want)
    assert field.attrs["units"] == "K"
    assert "GRIB_J" not in field.attrs
    assert field.dims == ("time", "hybrid", "latitude", "longitude")
    wind = small.atmo.wind(grid=grid, engine=engine)
    xr.testing.assert_equal(wind, coefficients.atmo.wind(grid=grid, engine=engine))
    back = wind.atmo.vorticity_divergence(engine=engine)
    for name in ("vo", "d"):
        direct = small[name].atmo.to_grid(grid, engine=engine)
        np.testing.assert_allclose(back[name].values, direct.values, atol=2e-5 * float(abs(direct).max()))


def test_solid_body_rotation() -> None:
    """Vorticity 2 (10 / a) sin(lat) packed as ARCO packs it is a wind of 10 cos(lat) m s-1."""
    coefficients = np.zeros((1, 2, 6, 6), np.complex64)
    coefficients[..., 1, 0] = 2 * 10 / EARTH_RADIUS / np.sqrt(3)
    values = layouts.to_ecmwf(coefficients)
    ds = arco({"vo": values, "d": 0 * values}, 5)
    wind = ds.atmo.wind(grid=Grid.regular(19, 36))
    np.testing.assert_allclose(wind.u[0, 0, :, 0], 10 * np.cos(np.radians(wind.latitude)), atol=2e-6)
    np.testing.assert_allclose(wind.v, 0, atol=1e-6)
    energy = ds.atmo.energy_spectrum()
    np.testing.assert_allclose(energy.energy.sum("degree"), 100 / 3, rtol=1e-6)  # mean of (10 cos(lat))**2 / 2


def test_spectra_without_synthesis(small: xr.Dataset, no_compute: Any) -> None:
    with no_compute():
        spectra = small.chunk(time=1).atmo.energy_spectrum()
    grid = Grid.gaussian(12)
    through_winds = small.atmo.wind(grid=grid).atmo.energy_spectrum(lmax=10)
    for name in ("energy", "rotational", "divergent"):
        assert spectra[name].dims == ("time", "hybrid", "degree")
        np.testing.assert_allclose(spectra[name].values, through_winds[name].values, rtol=1e-4, atol=1e-4)
    power = small.t.atmo.energy_spectrum()
    np.testing.assert_allclose(power, small.t.atmo.to_grid(grid).atmo.energy_spectrum(lmax=10), rtol=1e-4)


# ---------------------------------------------------------------------- a store as ARCO-ERA5's
def test_a_store_in_the_layout_of_arco(tmp_path: Path, random_coefficients: Any, no_compute: Any) -> None:
    """T639: 410240 float32 numbers on ``values``, a chunk for each time and level."""
    amplitude = 1e-5 / (1 + np.arange(640.0))[:, None]
    vo, d = (random_coefficients(639, seed=s, wind=True) * amplitude for s in range(2))
    steady = {
        n: np.broadcast_to(layouts.to_ecmwf(x.astype(np.complex64)), (2, 2, 410240)) for n, x in (("vo", vo), ("d", d))
    }
    ds = arco(steady, 639)
    ds["vo"] = ds.vo * xr.DataArray(np.array([1.0, 3.0], np.float32), dims="time")
    ds.vo.attrs, path = arco(steady, 639).vo.attrs, tmp_path / "model-level-wind.zarr"
    encoding = {n: {"chunks": (1, 1, 410240)} for n in ds.data_vars}
    ds.to_zarr(path, zarr_format=2, consolidated=True, encoding=encoding)
    for chunks in ({}, None):
        stored = xr.open_zarr(path, chunks=chunks)
        assert stored.vo.encoding["chunks"] == (1, 1, 410240)
        assert dict(stored.sizes) == {"time": 2, "hybrid": 2, "values": 410240}
        if chunks is None:
            stored = stored.isel(time=[1], hybrid=[0])
        grid = Grid.regular(61, 120)
        with no_compute():
            lazy = stored.chunk(time=1).atmo.to_grid(grid), stored.chunk(time=1).atmo.wind(grid=grid)
        field, wind = (x.isel(time=-1, hybrid=0).compute() for x in lazy)
        assert field.vo.dtype == np.float32
        scale = 3 * vo
        np.testing.assert_allclose(field.vo, _kernels.synthesis(scale, grid), atol=2e-6 * float(abs(field.vo).max()))
        factor = _kernels.derivative_factor(639, EARTH_RADIUS)[:, None]
        factor[0] = np.inf
        u, v = _kernels.synthesis_vector(scale / factor, d / factor, grid)
        np.testing.assert_allclose(wind.u, u, atol=2e-6 * float(np.abs(u).max()))
        np.testing.assert_allclose(wind.v, v, atol=2e-6 * float(np.abs(u).max()))
        assert float(wind.hybrid) == 70.0
    ducc0 = pytest.importorskip("ducc0")
    order, degree = np.triu_indices(640)  # m-major
    alm = scale[degree, order] * np.where(order % 2, -1, 1) * np.sqrt(4 * np.pi)
    direct = ducc0.sht.synthesis_2d(alm=alm[None], spin=0, lmax=639, geometry="CC", ntheta=61, nphi=120)[0]
    np.testing.assert_allclose(field.vo, direct, atol=2e-6 * float(np.abs(direct).max()))


# ---------------------------------------------------------------------- GRIB
def open_grib(path: Path) -> xr.Dataset:
    pytest.importorskip("cfgrib")
    return xr.open_dataset(path, engine="cfgrib", backend_kwargs={"indexpath": ""}, chunks={})


def test_geopotential_of_ecmwf(shared_data: Any) -> None:
    ds = open_grib(shared_data("ecmwf_z500_spectral_T63_2017-10-18.grib"))
    grid = Grid.gaussian(96)
    field = ds.atmo.to_grid(grid).z
    assert 4.61e4 <= float(field.min()) <= 4.62e4
    assert 5.86e4 <= float(field.max()) <= 5.87e4
    assert float(field.mean()) == pytest.approx(5.427e4, rel=1e-3)  # of the grid's points, however large their areas
    area_mean = float((field.mean("longitude") * grid.weights[:, None].ravel()).sum())
    assert area_mean == pytest.approx(float(ds.z[0]), rel=1e-6)
    assert field.attrs["units"] == "m**2 s**-2"
    assert ds.atmo.to_spectral().z.shape == (64, 64)
    with pytest.raises(GridError, match="spherical-harmonic coefficients, on GRIB's 'values' axis"):
        _ = ds.atmo.grid


def test_the_sample_that_comes_with_eccodes(tmp_path: Path) -> None:
    """A real temperature field, T63, with a mean of 288.23 K."""
    eccodes = pytest.importorskip("eccodes")
    handle = eccodes.codes_grib_new_from_samples("sh_pl_grib2")
    with open(tmp_path / "t.grib2", "wb") as file:
        eccodes.codes_write(handle, file)
    eccodes.codes_release(handle)
    ds = open_grib(tmp_path / "t.grib2")
    coefficients = ds.atmo.to_spectral()
    assert complex(coefficients.t[0, 0]) == pytest.approx(288.23, abs=5e-3)
    field = ds.atmo.to_grid(Grid.regular(37, 72)).t
    assert 190 < float(field.min()) < float(field.max()) < 330
    xr.testing.assert_equal(spectral.to_packed(coefficients).t.compute(), ds.t.compute())
