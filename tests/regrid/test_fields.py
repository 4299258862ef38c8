"""Labels, laziness and errors of regrid."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import pytest
import xarray as xr

from xatmo import Grid
from xatmo.errors import ChunkError, CoordinateError, DimensionError, MissingDependencyError, OptionError
from xatmo.optional import available
from xatmo.regrid import regrid

METHODS = ("conservative", "bilinear", "bicubic", "nearest")
SOURCE, TARGET = Grid.regular(37, 72), Grid.regular(18, 36, poles=False)


def smooth(grid: Grid) -> np.ndarray:
    lat, lon = np.radians(grid.latitude)[:, None], np.radians(grid.longitude)
    return np.asarray(np.sin(lat) ** 2 + np.cos(lat) * np.cos(lon - 0.3) + 0.2 * np.cos(lat) ** 2 * np.sin(2 * lon))


def field(dtype: str = "float32") -> xr.DataArray:
    values = smooth(SOURCE) * np.array([1.0, -2.0])[:, None, None]
    attrs = {"units": "K", "standard_name": "air_temperature", "cell_measures": "area: areacella"}
    coords = {"time": [0, 1], **SOURCE.coords()}
    da = xr.DataArray(
        values.astype(dtype), coords=coords, dims=("time", "latitude", "longitude"), attrs=attrs, name="t"
    )
    da.encoding = {"scale_factor": 0.1, "dtype": "int16", "chunksizes": (1, 37, 72), "zlib": True}
    return da


@pytest.mark.parametrize("method", METHODS)
def test_result_has_the_targets_coordinates_and_true_attributes(method: str) -> None:
    da = field()
    before = da.copy(deep=True)
    out = regrid(da, TARGET, method=method)
    assert out.dims == da.dims
    assert out.dtype == np.float32
    assert out.name == "t"
    np.testing.assert_array_equal(out.latitude, TARGET.latitude)
    np.testing.assert_array_equal(out.longitude, TARGET.longitude)
    assert out.latitude.attrs["standard_name"] == "latitude"
    assert out.attrs["units"] == "K"
    assert "cell_measures" not in out.attrs
    assert out.attrs.get("cell_methods") == ("area: mean" if method == "conservative" else None)
    assert "regrid(target=<Grid regular 18 x 36" in out.attrs["history"]
    assert f"method={method!r}" in out.attrs["history"]
    assert out.encoding == {"zlib": True}
    xr.testing.assert_identical(da, before)
    assert da.encoding == before.encoding


@pytest.mark.parametrize("method", METHODS)
def test_target_object_gives_names_and_values(method: str) -> None:
    target = xr.Dataset(
        coords={
            "nav_lat": ("y", np.float32([-60, 0, 50]), {"units": "degrees_north", "bounds": "lat_bnds"}),
            "nav_lon": ("x", np.float32([-90, 0, 90, 180]), {"units": "degrees_east"}),
        }
    )
    out = regrid(field(), target, method=method)
    assert out.dims == ("time", "y", "x")
    assert set(out.coords) == {"time", "nav_lat", "nav_lon"}
    assert out.nav_lat.dtype == np.float32
    assert out.nav_lat.attrs == {"units": "degrees_north"}
    same = regrid(field(), Grid.of(target), method=method)
    np.testing.assert_array_equal(out.values, same.values)


@pytest.mark.parametrize("method", METHODS)
def test_target_with_a_cyclic_column_gets_it_filled(method: str) -> None:
    lon = np.append(TARGET.longitude, 360.0)
    target = xr.Dataset(coords={"latitude": TARGET.coords()["latitude"], "longitude": ("longitude", lon)})
    for da in (field(), field().chunk(time=1)):
        out = regrid(da, target, method=method)
        assert out.sizes["longitude"] == 37
        np.testing.assert_array_equal(out.longitude, lon)
        np.testing.assert_array_equal(out[..., -1], out[..., 0])
        np.testing.assert_array_equal(out[..., :-1].values, regrid(field(), TARGET, method=method).values)


WAYS: dict[str, Callable[[xr.DataArray], xr.DataArray]] = {
    "south to north": lambda da: da.isel(latitude=slice(None, None, -1)),
    "-180 to 180": lambda da: da.assign_coords(longitude=(da.longitude + 180) % 360 - 180).sortby("longitude"),
    "jump inside": lambda da: da.assign_coords(longitude=(da.longitude + 180) % 360 - 180),
    "cyclic column": lambda da: xr.concat([da, da[..., :1].assign_coords(longitude=[360.0])], "longitude"),
    "longitude first": lambda da: da.transpose("longitude", "time", "latitude"),
    "horizontal first": lambda da: da.transpose("latitude", "longitude", "time"),
    "other names": lambda da: da.rename(latitude="y", longitude="x"),
    "dask": lambda da: da.chunk(time=1),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", METHODS)
def test_same_field_same_numbers(method: str, way: str) -> None:
    da = field("float64")
    changed = WAYS[way](da)
    if "y" in changed.dims:
        changed.y.attrs["units"], changed.x.attrs["units"] = "degrees_north", "degrees_east"
    elif "units" not in changed.longitude.attrs:
        changed.longitude.attrs["units"] = "degrees_east"
    out = regrid(changed, TARGET, method=method)
    assert out.dims == changed.dims
    if "y" in out.dims:
        out = out.rename(y="latitude", x="longitude")
    expected = regrid(da, TARGET, method=method)
    np.testing.assert_allclose(out.transpose(*expected.dims).values, expected.values, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_lazy(method: str, no_compute: Callable[[], AbstractContextManager[None]]) -> None:
    ds = xr.Dataset({"t": field(), "u": field() * 2, "n": ("time", [1, 2])}, attrs={"title": "x"})
    with no_compute():
        out = regrid(ds.chunk(time=1), TARGET, method=method)
    assert out["t"].chunks == ((1, 1), (18,), (36,))
    assert out["t"].dtype == np.float32
    assert out.attrs["title"] == "x"
    assert list(out.data_vars) == ["t", "u", "n"]
    np.testing.assert_array_equal(out["u"].values, regrid(ds, TARGET, method=method)["u"].values)


def test_bilinear_and_nearest_against_xarray() -> None:
    da = field("float64")
    inside = Grid.from_latlon(np.linspace(83, -77, 23), np.linspace(3, 350, 41))  # between nodes, away from the seam
    where = {"latitude": inside.latitude, "longitude": inside.longitude}
    np.testing.assert_allclose(regrid(da, inside, method="bilinear").values, da.interp(where).values, atol=1e-12)
    np.testing.assert_array_equal(regrid(da, inside, method="nearest").values, da.sel(where, method="nearest").values)


def test_one_thread_off_the_main_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from xatmo.regrid import _kernels

    seen: list[int] = []
    call = _kernels.Applier.__call__

    def spy(self: _kernels.Applier, block: np.ndarray, *, threads: int = 1) -> np.ndarray:
        seen.append(threads)
        return call(self, block, threads=threads)

    monkeypatch.setattr(_kernels.Applier, "__call__", spy)
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    with ThreadPoolExecutor(1) as pool:
        pool.submit(regrid, field(), TARGET, method="bilinear").result()
        pool.submit(regrid, field(), TARGET, method="bilinear", threads=3).result()
    regrid(field(), TARGET, method="bilinear")
    regrid(field().chunk(time=1), TARGET, method="bilinear", threads=3).compute()
    assert seen == [1, 3, _kernels.thread_count(), 1, 1]


def test_gaps_in_one_time_leave_the_others_alone_to_the_bit() -> None:
    from xatmo.regrid import coarsen

    da = field()
    expected = coarsen(da, 4)[1], regrid(da, TARGET, method="conservative")[1]
    da[0, 10:14, 20:26] = np.nan
    np.testing.assert_array_equal(coarsen(da, 4)[1], expected[0])
    np.testing.assert_array_equal(regrid(da, TARGET, method="conservative")[1], expected[1])


@pytest.mark.usefixtures("cluster")
def test_two_processes_give_the_same_numbers() -> None:
    from xatmo.regrid import coarsen

    da = field()
    da[0, 10:14, 20:26] = np.nan
    for method in METHODS:
        out = regrid(da.chunk(time=1), TARGET, method=method)
        np.testing.assert_array_equal(out.values, regrid(da, TARGET, method=method).values)
    np.testing.assert_array_equal(coarsen(da.chunk(time=1), 4).values, coarsen(da, 4).values)


def test_variables_without_the_grid_pass_and_bounds_go() -> None:
    ds = xr.Dataset({"t": field(), "n": ("time", [1, 2]), "lat_bnds": (("latitude", "nv"), np.zeros((37, 2)))})
    out = regrid(ds, TARGET, method="conservative")
    assert list(out.data_vars) == ["t", "n"]


@pytest.mark.parametrize("method", METHODS)
def test_types(method: str) -> None:
    da = field("float64") * 100
    whole = regrid(da.astype("int32"), TARGET, method=method)
    assert whole.dtype == (np.int32 if method == "nearest" else np.float64)
    assert regrid(da.astype("float16"), TARGET, method=method).dtype == (
        np.float16 if method == "nearest" else np.float32
    )
    complex_ = regrid(da.astype("complex64") * (1 + 2j), TARGET, method=method)
    assert complex_.dtype == np.complex64
    np.testing.assert_allclose(complex_.real, regrid(da, TARGET, method=method), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(complex_.imag, 2 * complex_.real, rtol=1e-4, atol=1e-3)
    outside = Grid.from_latlon([80.0, 40, 10], [0.0, 20, 40])
    box = da.astype("int32").sel(latitude=slice(60, 0), longitude=slice(0, 60))
    gone = regrid(box, outside, method=method)
    assert gone.dtype == np.float64
    assert np.isnan(gone[:, 0]).all()
    assert np.isfinite(gone[:, 1:]).all()


@pytest.mark.parametrize("method", METHODS)
def test_missing_values(method: str) -> None:
    da = field()
    complete = regrid(da, TARGET, method=method)
    da[0, 10:14, 20:26] = np.nan
    out = regrid(da, TARGET, method=method)
    gone = np.isnan(out.values)
    assert 0 < gone[0].sum() < 40
    assert not gone[1].any()
    if method != "conservative":
        np.testing.assert_allclose(out.values[~gone], complete.values[~gone], atol=1e-6)
    lazy = regrid(da.chunk(time=1), TARGET, method=method)
    np.testing.assert_array_equal(lazy.values, out.values)


def test_min_valid() -> None:
    da = field("float64") * 0 + 1
    da[:, :, :36] = np.nan
    count = [int(np.isnan(regrid(da, TARGET, method="conservative", min_valid=v)).sum()) for v in (0, 0.5, 1)]
    assert count[0] < count[1] < count[2]
    out = regrid(da, TARGET, method="conservative", min_valid=0)
    np.testing.assert_allclose(out.values[np.isfinite(out.values)], 1)


def test_winds_cross_the_pole_with_the_other_sign() -> None:
    source = Grid.regular(90, 180, poles=False)
    v = np.broadcast_to(-np.cos(np.radians(source.longitude)), source.shape)
    u = np.broadcast_to(np.sin(np.radians(source.longitude)), source.shape)
    dims = ("latitude", "longitude")
    ds = xr.Dataset({"u": (dims, u), "v": (dims, v)}, coords=source.coords())
    out = regrid(ds, Grid.regular(91, 180), method="bilinear")
    np.testing.assert_allclose(out["v"][0], v[0], atol=1e-12)
    np.testing.assert_allclose(out["u"][0], u[0], atol=1e-12)
    named = ds["v"].assign_attrs(standard_name="northward_wind")
    np.testing.assert_allclose(regrid(named, Grid.regular(91, 180), method="bicubic")[0], v[0], atol=1e-12)
    np.testing.assert_allclose(regrid(ds["v"], Grid.regular(91, 180), method="bilinear")[0], 0, atol=1e-12)


def test_real_field_keeps_its_mean(shared_data: Callable[[str], object]) -> None:
    with xr.open_dataset(shared_data("era5_windgust_0p25deg_global_2011-08-01.nc")) as ds:  # type: ignore[arg-type]
        name = next(n for n, v in ds.data_vars.items() if v.ndim >= 2)
        da = ds[name].squeeze(drop=True).load()
    source, target = Grid.of(da), Grid.regular(181, 360)
    out = regrid(da, target, method="conservative")
    means = [(np.float64(a) * g.areas).sum() / g.areas.sum() for a, g in ((da.values, source), (out.values, target))]
    assert means[1] == pytest.approx(means[0], rel=1e-7)


def test_real_field_with_land(shared_data: Callable[[str], object]) -> None:
    with xr.open_dataset(shared_data("ersstv5_sst_monthly_2deg_2010_2018.nc")) as ds:  # type: ignore[arg-type]
        da = ds["sst"].isel(time=slice(0, 2)).load()
    out = regrid(da, Grid.regular(46, 72), method="conservative")
    gone = np.isnan(out.values)
    assert 0.2 < gone.mean() < 0.5
    assert np.nanmin(out) >= np.nanmin(da) - 1e-4
    assert np.nanmax(out) <= np.nanmax(da) + 1e-4


# ---------------------------------------------------------------------- errors
def test_split_latitude() -> None:
    with pytest.raises(ChunkError, match=r"'latitude' in 4 chunks came; call .chunk\(\{'latitude': -1\}\) first"):
        regrid(field().chunk(latitude=10), TARGET, method="bilinear")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"method": "magic"}, r"method 'magic' came; wanted one of 'spectral', 'conservative', 'conservative2'"),
        ({"method": "bilinear", "lmax": 10}, r"lmax=10 came with method 'bilinear'"),
        ({"method": "conservative", "min_valid": 2}, r"min_valid=2 came; wanted a part of a cell's area"),
        ({"method": "nearest", "threads": 0}, r"threads=0 came; wanted at least 1"),
        ({"method": "nearest", "engine": "cdo"}, r"engine 'cdo' came; method 'nearest' has 'builtin', 'xesmf'"),
        ({"method": "bicubic", "engine": "xesmf"}, r"engine 'xesmf' has no method 'bicubic'"),
    ],
)
def test_impossible_options(options: dict[str, object], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        regrid(field(), TARGET, **options)  # type: ignore[arg-type]


def test_target_of_another_kind() -> None:
    with pytest.raises(OptionError, match="target is a tuple; wanted a Grid, or a Dataset or DataArray"):
        regrid(field(), (181, 360), method="bilinear")  # type: ignore[arg-type]
    with pytest.raises(CoordinateError, match="no latitude coordinate found"):
        regrid(field(), xr.Dataset(), method="bilinear")


def test_target_names_that_are_taken() -> None:
    target = xr.Dataset(coords={"time": ("time", [0.0, 1, 2], {"units": "degrees_north"}), "x": ("x", [0.0, 1, 2])})
    target["x"].attrs["units"] = "degrees_east"
    with pytest.raises(DimensionError, match="calls a horizontal dimension 'time', which is another dimension"):
        regrid(field(), target, method="bilinear")


def test_nothing_to_regrid() -> None:
    with pytest.raises(DimensionError, match="regrid"):
        regrid(xr.Dataset({"n": ("time", [1])}, coords=SOURCE.coords()), TARGET, method="nearest")


@pytest.mark.skipif(available("xesmf"), reason="xesmf is here")
def test_missing_xesmf() -> None:
    with pytest.raises(
        MissingDependencyError, match=r"regrid\(engine='xesmf'\) needs the package 'xesmf'.*conda install"
    ):
        regrid(field(), TARGET, method="conservative", engine="xesmf")
