"""Transforms on rings of different sizes, and on rows with one pole: exactness, labels, laziness, real fields."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import xarray as xr

from xatmo import Grid, spectral
from xatmo.errors import DimensionError, MissingValueError, OptionError
from xatmo.rings import RingGrid
from xatmo.spectral import _kernels, _one_pole, _rings

from .conftest import ENGINES

O16 = Grid.reduced_gaussian("O16")
MIXED = np.random.default_rng(0).permutation(O16.npoints)
RINGS: dict[str, RingGrid] = {
    "healpix 1": Grid.healpix(1),
    "healpix 5": Grid.healpix(5),
    "healpix 8, nested": Grid.healpix(8, nest=True),
    "octahedral": O16,
    "octahedral, south to north": RingGrid.from_points(O16.point_latitude[::-1], O16.point_longitude[::-1]),
    "octahedral, any order": RingGrid.from_points(O16.point_latitude[MIXED], O16.point_longitude[MIXED]),
    "turned": RingGrid.from_points(O16.point_latitude, O16.point_longitude + 3),
    "few points": Grid.reduced_gaussian([5, 9, 12, 14, 14, 12, 9, 5]),
}
DOWN = Grid.driscoll_healy(18)
ONE_POLE = {
    "driscoll-healy": DOWN,
    "odd": Grid.driscoll_healy(17),
    "south to north": Grid.from_latlon(DOWN.latitude[::-1], DOWN.longitude),
    "north missing": Grid.from_latlon(-DOWN.latitude[::-1], DOWN.longitude - 175),
    "north missing, south to north": Grid.from_latlon(-DOWN.latitude, DOWN.longitude),
    "few columns": Grid.driscoll_healy(18, 20),
}
ALL: dict[str, Grid] = {**RINGS, **ONE_POLE}


@pytest.fixture(params=list(ALL))
def grid(request: pytest.FixtureRequest) -> Grid:
    return ALL[request.param]


def points(grid: Grid) -> tuple[Any, Any]:
    """Latitude and longitude of every point in radians, in the shape of the grid."""
    if isinstance(grid, RingGrid):
        return np.radians(grid.point_latitude), np.radians(grid.point_longitude)
    lat, lon = np.meshgrid(grid.latitude, grid.longitude, indexing="ij")
    return np.radians(lat), np.radians(lon)


def labelled(grid: Grid, values: Any, **attrs: str) -> xr.DataArray:
    coords = grid.coords()
    dims = ("time", *dict.fromkeys(d for c in coords.values() for d in c.dims))
    attrs = {"units": "K", "long_name": "something", **attrs}
    return xr.DataArray(values, coords, dims, name="t", attrs=attrs)


class TestKernels:
    def test_band_limited_field_comes_back(self, grid: Grid, engine: Any, random_coefficients: Any) -> None:
        exact = random_coefficients(grid.lmax, 2)
        field = _kernels.synthesis(exact, grid, engine)
        assert field.shape == (2, *grid.shape)
        np.testing.assert_allclose(_kernels.analysis(field, grid, None, engine), exact, atol=1e-11)
        np.testing.assert_allclose(_kernels.field_power(field, grid, None, engine), _kernels.power(exact), rtol=1e-10)

    def test_band_limited_wind_comes_back(self, grid: Grid, engine: Any, random_coefficients: Any) -> None:
        pair = [random_coefficients(grid.lmax, 2, seed=s, wind=True) for s in (1, 2)]
        u, v = _kernels.synthesis_vector(*pair, grid, engine)
        found = _kernels.analysis_vector(u, v, grid, None, engine)
        for exact, ours in zip(pair, found, strict=True):
            np.testing.assert_allclose(ours, exact, atol=1e-11)
        for exact, ours in zip(pair, _kernels.wind_power(u, v, grid, None, engine), strict=True):
            np.testing.assert_allclose(ours, _kernels.power(exact), rtol=1e-10, atol=1e-20)

    def test_float32(self, grid: Grid, engine: Any, random_coefficients: Any) -> None:
        exact = random_coefficients(grid.lmax, dtype=np.complex64)
        field = _kernels.synthesis(exact, grid, engine)
        found = _kernels.analysis(field, grid, None, engine)
        assert field.dtype == np.float32
        assert found.dtype == np.complex64
        np.testing.assert_allclose(found, exact, atol=2e-5)

    def test_closed_form(self, grid: Grid, engine: Any) -> None:
        """P(2, 1) exp(i lon) and P(2, 2) exp(2 i lon), without the phase of Condon and Shortley."""
        lat, lon = points(grid)
        coefficients = np.zeros((3, 3), complex)
        coefficients[2, 1:] = 1 + 2j, 3 - 1j
        p21, p22 = np.sqrt(15 / 2) * np.sin(lat) * np.cos(lat), np.sqrt(15 / 8) * np.cos(lat) ** 2
        waves = (1 + 2j) * p21 * np.exp(1j * lon) + (3 - 1j) * p22 * np.exp(2j * lon)
        np.testing.assert_allclose(_kernels.synthesis(coefficients, grid, engine), 2 * waves.real, atol=1e-12)

    def test_solid_body_rotation(self, grid: Grid, engine: Any) -> None:
        """Around an axis in the equator, so that the wind blows over the poles."""
        lat, lon = points(grid)
        u, v = -np.sin(lat) * np.cos(lon), np.sin(lon)
        rotational, divergent = _kernels.analysis_vector(u, v, grid, 2, engine)
        vorticity = rotational * _kernels.derivative_factor(2, 1.0)[:, None]
        expected = np.zeros((3, 3), complex)
        expected[1, 1] = 1 / np.sqrt(3 / 2)  # 2 cos(lat) cos(lon)
        np.testing.assert_allclose(vorticity, expected, atol=1e-12)
        np.testing.assert_allclose(divergent, 0, atol=1e-12)

    def test_orders_beyond_a_ring_alias_as_in_the_sum(self, grid: Grid, engine: Any, random_coefficients: Any) -> None:
        exact = random_coefficients(2 * grid.lmax + 3)
        field = _kernels.synthesis(exact, grid, engine)
        lat, lon = (np.degrees(x) for x in points(grid))
        for k in (0, field.size // 3, field.size - 2):
            where = np.unravel_index(k, field.shape)
            # Latitudes in files are rounded; a box of 2 x 2 points is not.
            box = Grid.from_latlon([lat[where], lat[where] / 2 + 1], [lon[where], lon[where] + 1])
            np.testing.assert_allclose(field[where], _kernels.synthesis(exact, box, "ducc0")[0, 0], atol=1e-9)

    def test_coefficients_do_not_depend_on_how_many_are_asked_for(self, grid: Grid, engine: Any) -> None:
        field = np.random.default_rng(3).standard_normal(grid.shape)
        whole = _kernels.analysis(field, grid, None, engine)
        low = _kernels.analysis(field, grid, grid.lmax // 2, engine)
        np.testing.assert_allclose(low, whole[: grid.lmax // 2 + 1, : grid.lmax // 2 + 1], atol=1e-12)

    def test_nothing_to_do(self, grid: Grid, engine: Any) -> None:
        assert _kernels.analysis(np.empty((0, *grid.shape)), grid, 2, engine).shape == (0, 3, 3)
        assert _kernels.synthesis(np.empty((0, 3, 3), complex), grid, engine).shape == (0, *grid.shape)

    def test_constants(self, grid: Grid, engine: Any) -> None:
        zero = np.zeros(grid.shape)
        np.testing.assert_array_equal(_kernels.analysis(zero, grid, None, engine), 0)
        np.testing.assert_allclose(_kernels.analysis(zero + 5, grid, 0, engine), [[5]], rtol=1e-13)
        u, v = _kernels.synthesis_vector(np.ones((1, 1)), np.ones((1, 1)), grid, engine)
        assert not u.any()
        assert not v.any()

    def test_wrong_shape(self, grid: Grid) -> None:
        with pytest.raises(DimensionError, match=r"a field of shape \(3, 7\) came; wanted \(\.\.\., "):
            _kernels.analysis(np.zeros((3, 7)), grid)


@pytest.mark.parametrize("name", list(RINGS))
def test_fit_is_the_least_squares_solution(name: str, engine: Any, random_coefficients: Any) -> None:
    """Whatever the field, what is left over has no part that degrees up to lmax could explain."""
    grid = RINGS[name]
    field = np.random.default_rng(3).standard_normal(grid.shape)
    left = field - _kernels.synthesis(_kernels.analysis(field, grid, None, engine), grid, engine)
    other = _kernels.synthesis(random_coefficients(grid.lmax), grid, engine)
    order = slice(None) if grid.ring_order is None else grid.ring_order
    weights = np.repeat(grid.weights / grid.ring_sizes, grid.ring_sizes)
    assert abs((weights * left[order] * other[order]).sum()) < 1e-10 * np.sqrt((weights * other[order] ** 2).sum())


@pytest.mark.parametrize("name", list(RINGS))
def test_fourier_sums_on_rings_are_adjoint(name: str) -> None:
    grid = RINGS[name]
    rng = np.random.default_rng(1)
    waves = rng.standard_normal((grid.nlat, 30)) + 1j * rng.standard_normal((grid.nlat, 30))
    values = rng.standard_normal(grid.npoints)
    there = (_rings.ring_values(waves, grid) * values).sum()
    back = _rings.ring_waves(values, grid, 29).conj() * grid.ring_sizes[:, None] * waves
    back[:, 1:] *= 2
    np.testing.assert_allclose(there, back.real.sum(), rtol=1e-12)


@pytest.mark.parametrize("grid", [Grid.healpix(64), Grid.reduced_gaussian("O64"), Grid.driscoll_healy(180)])
def test_larger_grids(grid: Grid, random_coefficients: Any) -> None:
    exact = random_coefficients(grid.lmax)
    found = _kernels.analysis(_kernels.synthesis(exact, grid), grid)
    assert np.abs(found - exact).max() / np.abs(exact).max() < 1e-11


def test_missing_row_follows_from_the_others(random_coefficients: Any) -> None:
    for name, grid in ONE_POLE.items():
        whole = _one_pole.completed(grid)
        lmax = min(grid.nlat - 1, (grid.nlon - 1) // 2)
        scalar = _kernels.synthesis(random_coefficients(lmax), whole)
        pair = _kernels.synthesis_vector(*(random_coefficients(lmax, seed=s, wind=True) for s in (1, 2)), whole)
        for field, wave in ((scalar, 0), (pair[0], 1), (pair[1], 1)):
            given = _one_pole.cut(field, grid)
            assert given.shape == grid.shape, name
            np.testing.assert_allclose(_one_pole.complete(given, grid, wave), field, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("n", [16, 90])
def test_driscoll_healy_of_pyshtools(n: int, engine: Any, random_coefficients: Any) -> None:
    from pyshtools.expand import MakeGridDH, SHExpandDH

    lmax = n // 2 - 1
    grid = Grid.driscoll_healy(n)
    exact = random_coefficients(lmax)
    real = np.zeros((2, lmax + 1, lmax + 1))
    real[0], real[1] = np.sqrt(2) * exact.real, -np.sqrt(2) * exact.imag
    real[0, :, 0] /= np.sqrt(2)
    theirs = MakeGridDH(real, sampling=2, norm=1, csphase=1)
    np.testing.assert_allclose(_kernels.synthesis(exact, grid, engine), theirs, atol=1e-11)
    back = SHExpandDH(theirs, sampling=2, norm=1, csphase=1)
    ours = _kernels.analysis(theirs, grid, lmax, engine)
    np.testing.assert_allclose(np.sqrt(2) * ours.real[:, 1:], back[0][:, 1:], atol=1e-11)
    np.testing.assert_allclose(-np.sqrt(2) * ours.imag[:, 1:], back[1][:, 1:], atol=1e-11)
    np.testing.assert_allclose(ours.real[:, 0], back[0][:, 0], atol=1e-11)


@pytest.mark.skipif(find_spec("healpy") is None, reason="healpy is not installed")
def test_healpix_of_healpy(random_coefficients: Any) -> None:
    import healpy

    grid = Grid.healpix(16)
    exact = random_coefficients(32)
    m, n = np.triu_indices(33)  # order by order, as healpy has them
    theirs = healpy.alm2map(((-1.0) ** m * np.sqrt(4 * np.pi) * exact[n, m]), 16, lmax=32)
    np.testing.assert_allclose(_kernels.synthesis(exact, grid), theirs, atol=1e-11)


# ---------------------------------------------------------------------- labelled
class TestLabelled:
    @pytest.fixture
    def da(self, grid: Grid, random_coefficients: Any) -> xr.DataArray:
        return labelled(grid, _kernels.synthesis(random_coefficients(grid.lmax, 2), grid))

    @pytest.fixture
    def ds(self, grid: Grid, random_coefficients: Any) -> xr.Dataset:
        pair = [random_coefficients(grid.lmax, 2, seed=s, wind=True) for s in (1, 2)]
        u, v = _kernels.synthesis_vector(*pair, grid)
        names = {"u": (u, "eastward_wind"), "v": (v, "northward_wind")}
        return xr.Dataset(
            {n: labelled(grid, x, units="m s-1", standard_name=s).rename(n) for n, (x, s) in names.items()}
        )

    def test_to_spectral_and_back(self, da: xr.DataArray, grid: Grid) -> None:
        coefficients = da.atmo.to_spectral()
        assert coefficients.dims == ("time", "degree", "order")
        assert coefficients.attrs["lmax"] == grid.lmax
        assert "latitude" not in coefficients.coords
        for target in (grid, da):
            back = coefficients.atmo.to_grid(target)
            assert back.dims == da.dims
            assert back.atmo.grid == grid
            assert back.latitude.attrs["standard_name"] == "latitude"
            assert back.attrs["units"] == "K"
            np.testing.assert_allclose(back, da, atol=1e-10)

    def test_truncate_everything_and_nothing(self, da: xr.DataArray, grid: Grid) -> None:
        out = da.atmo.truncate(grid.lmax)
        xr.testing.assert_allclose(out, da, atol=1e-10)
        assert out.dims == da.dims
        assert set(out.coords) == set(da.coords)
        mean = da.atmo.truncate(0)
        np.testing.assert_allclose(mean.std(mean.dims[1:]), 0, atol=1e-12)

    def test_regrid_to_and_from_rows_and_columns(self, da: xr.DataArray, grid: Grid) -> None:
        plain = Grid.gaussian(40)
        there = spectral.regrid(da, plain)
        assert there.dims == ("time", "latitude", "longitude")
        assert there.atmo.grid == plain
        back = spectral.regrid(there, grid)
        assert back.atmo.grid == grid
        assert back.dims == da.dims
        np.testing.assert_allclose(back, da, atol=1e-10)

    def test_regrid_from_rings_to_rings(self, da: xr.DataArray, grid: Grid) -> None:
        there = spectral.regrid(da.isel(time=0), Grid.healpix(16))
        assert there.shape == (3072,)
        np.testing.assert_allclose(spectral.regrid(there, da), da.isel(time=0), atol=1e-10)

    def test_dimensions_before_and_after(self, da: xr.DataArray, grid: Grid) -> None:
        turned = da.expand_dims(level=2, axis=3 - len(grid.shape)).transpose(..., "time")
        assert spectral.regrid(turned, Grid.gaussian(24)).dims[-1] == "time"
        assert turned.atmo.truncate(2).dims == turned.dims
        coefficients = turned.atmo.to_spectral()
        assert set(coefficients.dims) == {"level", "degree", "order", "time"}
        assert coefficients.transpose("level", "degree", "order", "time").atmo.to_grid(da).dims[0] == "level"

    def test_vorticity_and_back(self, ds: xr.Dataset, grid: Grid) -> None:
        out = ds.atmo.vorticity_divergence()
        assert out.vo.dims == ds.u.dims
        assert out.vo.attrs["units"] == "s-1"
        wind = out.atmo.wind()
        for name in ("u", "v"):
            np.testing.assert_allclose(wind[name], ds[name], atol=1e-9)

    def test_wind_from_coefficients(self, ds: xr.Dataset, grid: Grid) -> None:
        coefficients = ds.atmo.vorticity_divergence().atmo.to_spectral()
        np.testing.assert_allclose(coefficients.atmo.wind(grid=ds).u, ds.u, atol=1e-9)

    def test_winds_are_vectors(self, ds: xr.Dataset, grid: Grid) -> None:
        xr.testing.assert_allclose(ds.atmo.truncate(grid.lmax), ds, atol=1e-9)
        there = spectral.regrid(ds, Grid.gaussian(40))
        back = spectral.regrid(there, ds)
        for name in ("u", "v"):
            np.testing.assert_allclose(back[name], ds[name], atol=1e-9)

    def test_energy_spectrum(self, da: xr.DataArray, ds: xr.Dataset) -> None:
        plain = spectral.regrid(da, Grid.gaussian(48))
        expected = (plain**2).weighted(xr.DataArray(Grid.gaussian(48).weights, dims="latitude")).mean(plain.dims[1:])
        np.testing.assert_allclose(da.atmo.energy_spectrum().sum("degree"), expected, rtol=1e-10)
        energy = ds.atmo.energy_spectrum()
        assert set(energy) == {"energy", "rotational", "divergent"}
        np.testing.assert_allclose(energy.energy, energy.rotational + energy.divergent, rtol=1e-12)

    def test_lazy(self, da: xr.DataArray, ds: xr.Dataset, no_compute: Callable[[], Any]) -> None:
        whole = da.chunk(time=1)
        with no_compute():
            lazy = [
                whole.atmo.to_spectral(),
                whole.atmo.to_spectral().atmo.to_grid(da),
                whole.atmo.truncate(2),
                spectral.regrid(whole, Grid.gaussian(8)),
                whole.atmo.energy_spectrum(),
                ds.chunk(time=1).atmo.vorticity_divergence().vo,
            ]
        for result in lazy:
            assert result.chunks is not None
            assert result.chunksizes["time"] == (1, 1)
        xr.testing.assert_allclose(lazy[1].compute(), da, atol=1e-10)
        xr.testing.assert_allclose(lazy[2].compute(), da.atmo.truncate(2), rtol=1e-13)

    def test_float32_stays(self, da: xr.DataArray) -> None:
        single = da.astype("f4")
        assert single.atmo.to_spectral().dtype == np.complex64
        assert single.atmo.truncate(2).dtype == np.float32

    def test_missing_values(self, da: xr.DataArray) -> None:
        da[0, 0] = np.nan
        with pytest.raises(MissingValueError, match="to_spectral met [0-9]+ missing"):
            da.atmo.to_spectral()

    def test_degree_that_the_grid_does_not_resolve(self, da: xr.DataArray, grid: Grid) -> None:
        with pytest.raises(OptionError, match=f"resolves degrees up to {grid.lmax} exactly"):
            da.atmo.to_spectral(lmax=grid.lmax + 1)


def test_names_of_dimensions() -> None:
    grid = Grid.gaussian(12)
    da = xr.DataArray(np.ones(grid.shape), grid.coords(lat="lat", lon="lon"), ("lat", "lon"))
    out = spectral.regrid(da, Grid.healpix(4))
    assert out.dims == ("cell",)
    assert set(out.coords) == {"lat", "lon"}
    assert out.lat.dims == ("cell",)
    assert spectral.regrid(da, O16).dims == ("values",)
    assert spectral.regrid(out, O16).dims == ("cell",)  # the name that the points had
    assert spectral.regrid(out, grid).dims == ("lat", "lon")
    assert da.atmo.to_spectral().atmo.to_grid(Grid.healpix(16)).dims == ("cell",)


def test_plain_target_object_in_nested_order() -> None:
    nested, ring = (Grid.healpix(8, nest=nest) for nest in (True, False))
    lat = xr.DataArray(np.sin(np.radians(ring.point_latitude)), ring.coords(), "cell")
    out = lat.atmo.to_spectral().atmo.to_grid(xr.Dataset(coords=nested.coords(dim="pixel")))
    np.testing.assert_allclose(out, np.sin(np.radians(out.latitude)), atol=1e-12)
    assert out.dims == ("pixel",)


# ---------------------------------------------------------------------- real fields
def _grib(path: Any) -> xr.Dataset:
    pytest.importorskip("cfgrib")
    return xr.open_dataset(path, engine="cfgrib", backend_kwargs={"indexpath": ""})


def test_reduced_and_full_grid_of_one_wind(shared_data: Callable[[str], Any]) -> None:
    reduced = _grib(shared_data("ecmwf_u10_reduced_gaussian_N48_2017-10-18.grib")).u10
    full = _grib(shared_data("ecmwf_u10_regular_gaussian_F48_2017-10-18.grib")).u10
    ours, theirs = (x.atmo.truncate(63).astype("f8") for x in (spectral.regrid(reduced, full), full))
    assert ours.dims == ("latitude", "longitude")
    belt = np.abs(full.latitude) < 29  # where the reduced grid has all points
    same = np.corrcoef(ours[belt].values.ravel(), theirs[belt].values.ravel())[0, 1]
    assert same > 0.9995
    weights = xr.DataArray(full.atmo.grid.weights, dims="latitude")
    left = ((ours - theirs) ** 2).weighted(weights).mean()
    assert float(left) < 0.01 * float((theirs**2).weighted(weights).mean())


def test_temperature_on_the_octahedral_grid(shared_data: Callable[[str], Any]) -> None:
    da = _grib(shared_data("ecmwf_t2m_reduced_gaussian_N160_2018-11-18.grib")).t2m
    out = spectral.regrid(da, Grid.regular(181, 360))
    assert 220 < float(out.min()) < float(out.max()) < 320
    assert float(da.atmo.to_spectral(lmax=0)[0, 0].real) == pytest.approx(
        np.average(da, weights=da.atmo.grid.areas), 1e-5
    )
    assert float(np.sqrt(((da.atmo.truncate(229) - da) ** 2).mean())) < 1  # K, of 15
    assert "GRIB_gridType" not in out.attrs


def test_forecast_wind_without_its_south_pole(shared_data: Callable[[str], Any]) -> None:
    with xr.open_dataset(shared_data("gfs_uv10_1deg_6hourly_2016-11-20_22.nc")) as ds:
        first = ds.isel(time=[0]).load()
    assert first.atmo.grid.lmax == 179
    filled = first.atmo.fill_poles().atmo.energy_spectrum(lmax=120).energy
    np.testing.assert_allclose(first.atmo.energy_spectrum(lmax=120).energy, filled, rtol=2e-2, atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", [(0, 0), (7, 0), (40, 39), (40, 40)])
@pytest.mark.parametrize(
    "target",
    [
        Grid.regular(37, 72),
        Grid.gaussian(16),
        Grid.driscoll_healy(17),
        Grid.healpix(4),
        Grid.regular(4, 8, poles=False),
        Grid.from_latlon([89.0, 88.0], [0.0, 1.0]),
    ],
    ids=str,
)
def test_coefficients_that_are_not_finite(
    target: Grid, where: tuple[int, int], bad: float, engine: Any, random_coefficients: Any
) -> None:
    values = random_coefficients(40)
    values[where] = bad
    da = xr.DataArray(values, dims=("degree", "order"))
    with pytest.raises(MissingValueError, match="to_grid met 1 missing or infinite values"):
        da.atmo.to_grid(target, engine=engine)


@pytest.mark.parametrize(
    "grid",
    [
        Grid.regular(721, 1440),
        pytest.param(Grid.gaussian(1280), marks=pytest.mark.slow),
        pytest.param(Grid.driscoll_healy(1280), marks=pytest.mark.slow),
        pytest.param(Grid.reduced_gaussian("O320"), marks=pytest.mark.slow),
        pytest.param(Grid.healpix(256), marks=pytest.mark.slow),
    ],
    ids=str,
)
@pytest.mark.parametrize(("dtype", "bound"), [(np.complex128, 1e-11), (np.complex64, 2e-6)])
def test_round_trip_at_full_size(grid: Grid, dtype: Any, bound: float, random_coefficients: Any) -> None:
    exact = random_coefficients(grid.lmax, dtype=dtype)
    found = _kernels.analysis(_kernels.synthesis(exact, grid), grid)
    assert found.dtype == dtype
    assert np.abs(found - exact).max() <= bound * np.abs(exact).max()
