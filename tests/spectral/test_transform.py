"""Labelled transforms: labels, laziness, invariance, errors."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xatmo  # noqa: F401  (registers .atmo)
from xatmo import Grid, spectral
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import (
    ChunkError,
    CoordinateError,
    DimensionError,
    GridError,
    MissingValueError,
    OptionError,
)
from xatmo.spectral import _fields, transform

Fields = Callable[..., xr.DataArray]
POLES = Grid.regular(19, 36)


def cyclic(da: Any) -> Any:
    lon = np.append(da.longitude, da.longitude[0] + 360)
    return da.isel(longitude=[*range(da.sizes["longitude"]), 0]).assign_coords(longitude=lon)


class TestLabels:
    def test_coefficients(self, field: Fields) -> None:
        da = field(POLES)
        da.encoding = {"dtype": "int16", "scale_factor": 0.1, "chunksizes": (1, 19, 36), "zlib": True}
        out = da.atmo.to_spectral(lmax=10)
        assert out.dims == ("time", "degree", "order")
        assert out.name == "t"
        np.testing.assert_array_equal(out.degree, np.arange(11))
        np.testing.assert_array_equal(out.order, np.arange(11))
        n = np.arange(1, 11)
        np.testing.assert_allclose(out.wavelength[1:], 2 * np.pi * EARTH_RADIUS / np.sqrt(n * (n + 1)))
        assert np.isinf(out.wavelength[0])
        assert out.wavelength.attrs["units"] == "m"
        wanted = {"units": "K", "standard_name": "air_temperature", "norm": "4pi", "csphase": 1, "lmax": 10}
        assert wanted.items() <= out.attrs.items()
        assert out.attrs["history"].startswith("xatmo ")
        assert "to_spectral(lmax=10)" in out.attrs["history"]
        assert out.encoding == {"zlib": True}
        assert "history" not in da.attrs

    def test_round_trip(self, grid: Grid, engine: Any, field: Fields) -> None:
        da = field(grid)
        out = da.atmo.to_spectral(engine=engine).atmo.to_grid(da, engine=engine)
        xr.testing.assert_allclose(out, da, rtol=0, atol=1e-11)
        assert out.dims == da.dims
        lost = {"norm", "csphase", "lmax", "truncation"}
        assert not lost & set(out.attrs)
        assert out.attrs["units"] == "K"
        assert out.attrs["history"].count("\n") == 1
        xr.testing.assert_identical(out.latitude, da.latitude)

    def test_default_lmax_is_what_the_grid_resolves(self, grid: Grid, field: Fields) -> None:
        assert field(grid).atmo.to_spectral().sizes["degree"] == grid.lmax + 1

    @pytest.mark.parametrize(("dtype", "spectral_type"), [("f4", "c8"), ("f8", "c16"), ("i4", "c16"), ("f2", "c8")])
    @pytest.mark.parametrize("lazy", [False, True])
    def test_dtypes(self, field: Fields, dtype: str, spectral_type: str, lazy: bool) -> None:
        da = (10 * field(POLES)).astype(dtype)
        if lazy:
            da = da.chunk(time=1)
        out = da.atmo.to_spectral()
        again = out.atmo.to_grid(POLES)
        assert out.dtype == spectral_type
        assert again.dtype == ("f4" if spectral_type == "c8" else "f8")
        assert out.compute().dtype == out.dtype
        assert again.compute().dtype == again.dtype

    def test_dimension_order_is_restored(self, field: Fields) -> None:
        da = field(POLES).transpose("longitude", "time", "latitude")
        out = da.atmo.to_spectral()
        assert out.dims == ("time", "degree", "order")
        turned = out.transpose("order", "time", "degree").atmo.to_grid(POLES)
        assert turned.dims == ("longitude", "time", "latitude")
        np.testing.assert_allclose(turned, da, atol=1e-11)
        assert da.atmo.regrid(POLES).dims == da.dims

    def test_dataset(self, field: Fields) -> None:
        ds = xr.Dataset({"t": field(POLES), "index": ("time", [1, 2, 3])}, attrs={"title": "x"})
        out = ds.atmo.to_spectral()
        assert set(out.data_vars) == {"t", "index"}
        assert out.attrs["title"] == "x"
        xr.testing.assert_equal(out["t"], ds["t"].atmo.to_spectral())
        again = out.atmo.to_grid(POLES)
        np.testing.assert_allclose(again["t"], ds["t"], atol=1e-11)
        assert set(again.data_vars) == {"t", "index"}

    def test_other_coordinates_stay(self, field: Fields) -> None:
        da = field(POLES).assign_coords(time=[10, 20, 30], level=850.0, run=("time", list("abc")))
        for out in (da.atmo.to_spectral(), da.atmo.to_spectral().atmo.to_grid(POLES), da.atmo.regrid(POLES)):
            assert {"time", "level", "run"} <= set(out.coords)

    def test_any_coordinate_names(self, field: Fields) -> None:
        da = field(POLES).rename(latitude="nav_lat", longitude="nav_lon").swap_dims(nav_lat="y", nav_lon="x")
        out = da.atmo.to_spectral()
        np.testing.assert_allclose(out, field(POLES).atmo.to_spectral())
        moved = da.atmo.regrid(Grid.gaussian(10))
        assert moved.dims == ("time", "y", "x")
        assert {"nav_lat", "nav_lon"} <= set(moved.coords)
        assert out.atmo.to_grid(da).dims == da.dims


class TestInvariance:
    def test_origin_direction_and_repeated_column(self, field: Fields, engine: Any) -> None:
        da = field(POLES)
        expected = da.atmo.to_spectral(engine=engine)
        western = da.assign_coords(longitude=(da.longitude + 180) % 360 - 180).sortby("longitude")
        variants = {
            "west": western,
            "rolled": da.roll(longitude=7, roll_coords=True),
            "upward": da[:, ::-1],
            "cyclic": cyclic(da),
            "all": cyclic(western[:, ::-1]),
        }
        for name, variant in variants.items():
            out = variant.atmo.to_spectral(engine=engine)
            np.testing.assert_allclose(out, expected, atol=1e-14, err_msg=name)
            again = expected.atmo.to_grid(variant, engine=engine)
            assert again.shape == variant.shape
            np.testing.assert_allclose(again, variant, atol=1e-11, err_msg=name)
            np.testing.assert_array_equal(again.longitude, variant.longitude)

    def test_target_with_a_repeated_column_in_dask(self, field: Fields, no_compute: Any) -> None:
        da = cyclic(field(POLES)).chunk(time=1)
        with no_compute():
            out = da.atmo.regrid(da)
        assert out.sizes == da.sizes
        np.testing.assert_allclose(out, da, atol=1e-11)


class TestRegrid:
    @pytest.mark.parametrize(
        "target", [Grid.gaussian(24), Grid.regular(37, 72), Grid.regular(90, 180, poles=False)], ids=str
    )
    def test_exact_for_what_both_resolve(self, target: Grid, engine: Any, field: Fields) -> None:
        da = field(POLES)
        out = da.atmo.regrid(target, engine=engine)
        np.testing.assert_allclose(out, field(target, lmax=POLES.lmax), atol=1e-11)
        np.testing.assert_allclose(out.atmo.regrid(da, engine=engine), da, atol=1e-11)
        assert "regrid(target=<Grid" in out.attrs["history"]
        assert out.attrs["units"] == "K"

    def test_nothing_aliases_on_a_coarser_grid(self, field: Fields) -> None:
        coarse = Grid.gaussian(8)
        out = field(POLES).atmo.regrid(coarse)
        expected = field(POLES).atmo.to_spectral(lmax=coarse.lmax).atmo.to_grid(coarse)
        np.testing.assert_allclose(out, expected, atol=1e-12)

    def test_onto_a_box(self, field: Fields, engine: Any) -> None:
        da = field(POLES)
        box = da.sel(latitude=slice(60, 20), longitude=slice(100, 200))
        np.testing.assert_allclose(da.atmo.regrid(box, engine=engine), box, atol=1e-11)

    def test_lmax(self, field: Fields) -> None:
        out = field(POLES).atmo.regrid(POLES, lmax=5)
        np.testing.assert_allclose(out, field(POLES).atmo.truncate(5), atol=1e-12)
        with pytest.raises(OptionError, match="lmax=18 came"):
            field(POLES).atmo.regrid(POLES, lmax=18)

    def test_winds_are_vectors(self, wind: Any, engine: Any) -> None:
        """As scalars, components that do not vanish at the poles would not survive."""
        ds = wind(POLES)
        target = Grid.gaussian(24)
        out = ds.atmo.regrid(target, engine=engine)
        expected = wind(target, lmax=POLES.lmax)
        for name in ("ua", "va"):
            np.testing.assert_allclose(out[name], expected[name], atol=1e-11)
            assert out[name].attrs["standard_name"] == ds[name].attrs["standard_name"]
        assert float(abs(ds[["ua"]].atmo.regrid(target)["ua"] - expected["ua"]).max()) > 1e-3

    def test_target_that_is_no_grid(self, field: Fields) -> None:
        with pytest.raises(OptionError, match="a tuple came as target grid"):
            field(POLES).atmo.regrid((19, 36))


class TestDask:
    def test_nothing_is_computed(self, field: Fields, no_compute: Any) -> None:
        da = field(POLES).chunk(time=1)
        with no_compute():
            coefficients = da.atmo.to_spectral()
            again = coefficients.atmo.to_grid(POLES)
            moved = da.atmo.regrid(Grid.gaussian(12))
        for lazy in (coefficients, again, moved):
            assert lazy.chunks is not None
            assert lazy.chunksizes["time"] == (1, 1, 1)
        np.testing.assert_allclose(again, da, atol=1e-11)

    @pytest.mark.parametrize("chunks", [1, 2, -1, "auto"])
    def test_same_numbers_for_any_chunks(self, field: Fields, chunks: Any) -> None:
        da = field(POLES)
        np.testing.assert_allclose(da.chunk(time=chunks).atmo.to_spectral(), da.atmo.to_spectral(), atol=1e-14)

    def test_numpy_stays_numpy(self, field: Fields) -> None:
        assert isinstance(field(POLES).atmo.to_spectral().data, np.ndarray)

    @pytest.mark.parametrize("dim", ["latitude", "longitude"])
    def test_split_core_dimension(self, field: Fields, dim: str) -> None:
        da = field(POLES).chunk({dim: 10})
        with pytest.raises(ChunkError, match=rf"call .chunk\({{'{dim}': -1}}\) first"):
            da.atmo.to_spectral()
        with pytest.raises(ChunkError, match="spectral regrid needs"):
            da.atmo.regrid(POLES)
        with pytest.raises(ChunkError, match="to_grid needs 'degree' and 'order' whole"):
            field(POLES).atmo.to_spectral().chunk(degree=5).atmo.to_grid(POLES)

    def test_blocks_pickle(self, field: Fields) -> None:
        block = partial(transform._to_spectral, grid=POLES, lmax=5, engine="torch", name="t")
        values = field(POLES).values
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(block))(values), block(values))

    def test_graph_grows_with_chunks_only(self, field: Fields) -> None:
        da = field(POLES).chunk(time=1)
        tasks = len(dict(da.atmo.regrid(POLES).__dask_graph__())) - len(dict(da.__dask_graph__()))
        assert tasks <= 4 * 3


class TestErrors:
    def test_regional(self, field: Fields) -> None:
        with pytest.raises(GridError, match="to_spectral needs a global grid"):
            field(POLES).isel(latitude=slice(3, 9)).atmo.to_spectral()

    def test_lmax(self, field: Fields) -> None:
        with pytest.raises(OptionError, match="lmax=100 came"):
            field(POLES).atmo.to_spectral(lmax=100)

    def test_engine(self, field: Fields) -> None:
        with pytest.raises(OptionError, match="engine='fft' came"):
            field(POLES).atmo.to_spectral(engine="fft")

    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_missing_values(self, field: Fields, lazy: bool, bad: float) -> None:
        da = field(POLES)
        da[1, 4, 5] = bad
        da = da.chunk(time=1) if lazy else da
        for method in (lambda x: x.atmo.to_spectral(), lambda x: x.atmo.regrid(POLES)):
            with pytest.raises(MissingValueError, match="1 missing or infinite values of variable 't'"):
                method(da).compute()

    def test_missing_coefficients(self, field: Fields) -> None:
        coefficients = field(POLES).atmo.to_spectral()
        coefficients[0, 0, 0] = np.nan
        with pytest.raises(MissingValueError, match="to_grid met 1 missing"):
            coefficients.atmo.to_grid(POLES)
        with pytest.raises(MissingValueError, match="to_grid met 1 missing"):
            coefficients.copy(data=np.ascontiguousarray(coefficients)).atmo.to_grid(POLES)

    def test_complex_fields(self, field: Fields) -> None:
        with pytest.raises(DimensionError, match=r"needs real fields; variable 't' is complex128"):
            (field(POLES) * 1j).rename("t").atmo.to_spectral()

    def test_no_coefficients(self, field: Fields) -> None:
        with pytest.raises(
            DimensionError, match=r"to_grid needs coefficients, .* came. Fields go .* by .atmo.regrid\(grid\)"
        ):
            field(POLES).atmo.to_grid(POLES)

    def test_degrees_with_gaps(self, field: Fields) -> None:
        with pytest.raises(CoordinateError, match="degree of 't' has gaps or starts later"):
            field(POLES).atmo.to_spectral().isel(degree=slice(1, None)).atmo.to_grid(POLES)

    def test_other_convention(self, field: Fields) -> None:
        coefficients = field(POLES).atmo.to_spectral().assign_attrs(norm="ortho")
        with pytest.raises(OptionError, match="norm='ortho'; wanted complex ones with norm='4pi'"):
            coefficients.atmo.to_grid(POLES)


def test_fewer_degrees_or_orders(field: Fields) -> None:
    """Degrees cut by hand are a truncation; orders cut, a zonal one."""
    da = field(POLES)
    coefficients = da.atmo.to_spectral()
    low = coefficients.isel(degree=slice(6)).atmo.to_grid(POLES)
    np.testing.assert_allclose(low, da.atmo.truncate(5), atol=1e-12)
    mean = coefficients.isel(order=slice(1)).atmo.to_grid(POLES)
    np.testing.assert_allclose(mean.isel(longitude=0), da.mean("longitude"), atol=1e-12)


def test_coefficients_without_coordinates() -> None:
    coefficients = xr.DataArray(np.ones((1, 1), "c8"), dims=("degree", "order"))
    assert float(spectral.to_grid(coefficients, POLES).mean()) == 1


def test_grids_are_worked_out_once(field: Fields) -> None:
    first, second = (_fields.Source.of(field(POLES)) for _ in range(2))
    assert first.grid is second.grid


@pytest.mark.usefixtures("cluster")
def test_same_numbers_from_two_worker_processes(field: Fields) -> None:
    da = field(POLES)
    da[2, 3, 4] = np.nan
    lazy = da.chunk(time=1)
    out = lazy[:2].atmo.regrid(Grid.gaussian(12)).compute()
    with pytest.raises(MissingValueError, match="1 missing or infinite values"):
        lazy.atmo.to_spectral().compute()
    np.testing.assert_allclose(out, da[:2].atmo.regrid(Grid.gaussian(12)), atol=1e-12)


def test_results_do_not_share_their_coordinates(field: Fields) -> None:
    """Coordinates are made once and given many times; changing them on one result must not reach the next."""

    def results() -> list[xr.DataArray]:
        coefficients = field(POLES).atmo.to_spectral()
        return [coefficients, coefficients.atmo.to_grid(POLES), field(POLES).atmo.energy_spectrum()]

    expected = [{n: dict(c.attrs) for n, c in da.coords.items()} for da in results()]
    for da in results():
        for name in list(da.coords):
            da.coords[name].attrs["spoiled"] = True
            da[name].attrs.clear()
            if name == "wavelength":
                da[name].values[:] = 0
    for da, attrs in zip(results(), expected, strict=True):
        assert {n: dict(c.attrs) for n, c in da.coords.items()} == attrs
        if "wavelength" in da.coords:
            assert float(da["wavelength"][1]) > 1e7
    made_once = _fields.degree_coords(5)
    assert not np.shares_memory(_fields.own(made_once)["wavelength"].values, made_once["wavelength"].values)


@pytest.mark.parametrize("engine", ["ducc0", "torch"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("grid", [Grid.regular(19, 36), Grid.regular(18, 36, poles=False), Grid.gaussian(12)], ids=repr)
def test_one_bad_value_is_met_in_any_row(grid: Grid, bad: float, engine: Any) -> None:
    for row in range(grid.nlat):
        values = np.ones((2, *grid.shape), np.float32)
        values[1, row, 5] = bad
        da = xr.DataArray(values, grid.coords(), ("time", "latitude", "longitude"), name="t")
        for lmax in (0, None):
            with pytest.raises(MissingValueError, match="to_spectral met 1 missing"):
                spectral.to_spectral(da, lmax=lmax, engine=engine)
