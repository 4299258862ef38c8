"""Masks of source and target, missing values, coverage, and cells whose edges a file gives."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from xatmo import Grid
from xatmo.errors import CoordinateError, DimensionError, OptionError, VariableError
from xatmo.regrid import coverage, regrid
from xatmo.regrid.weights import METHODS

SOURCE, TARGET = Grid.regular(37, 72), Grid.regular(18, 36, poles=False)


def field(dtype: str = "float64") -> xr.DataArray:
    rng = np.random.default_rng(8)
    values = rng.standard_normal((2, *SOURCE.shape)) + 3
    coords = {"time": [0, 1], **SOURCE.coords()}
    return xr.DataArray(values.astype(dtype), coords=coords, dims=("time", "latitude", "longitude"), name="t")


def sea() -> xr.DataArray:
    """Some land, over the date line and the south pole too."""
    valid = np.ones(SOURCE.shape, bool)
    valid[:12, 20:40] = valid[25:, 60:] = valid[25:, :5] = valid[-4:] = False
    return xr.DataArray(valid, coords=SOURCE.coords(), dims=("latitude", "longitude"), name="sea")


def integral(da: xr.DataArray, grid: Grid, part: xr.DataArray | float = 1.0) -> np.ndarray:
    values = (da.astype(float).fillna(0) * part).transpose("time", "latitude", "longitude").values
    return np.asarray((values * grid.areas).sum(axis=(1, 2)))


@pytest.mark.parametrize("method", METHODS)
def test_masked_points_are_missing(method: str) -> None:
    da, mask = field(), sea()
    expected = regrid(da.where(mask), TARGET, method=method)  # type: ignore[arg-type]
    ways = {
        "array": mask,
        "numbers": mask.astype(float).where(mask),
        "numpy": mask.values,
        "upside down": mask.isel(latitude=slice(None, None, -1)),
        "rolled": mask.assign_coords(longitude=(mask.longitude + 180) % 360 - 180).sortby("longitude"),
        "turned": mask.transpose(),
        "other names": mask.rename(latitude="y", longitude="x"),
        "by time": mask.expand_dims(time=[0, 1]),
        "bare": mask.drop_vars(["latitude", "longitude"]),
        "lazy": mask.chunk(latitude=-1),
    }
    for way, given_ in ways.items():
        out = regrid(da, TARGET, method=method, mask=given_)  # type: ignore[arg-type]
        np.testing.assert_array_equal(out.values, expected.values, err_msg=way)
        assert out.dims == da.dims
    ds = xr.Dataset({"t": da, "sea": mask.astype(float)})
    named = regrid(ds, TARGET, method=method, mask="sea")  # type: ignore[arg-type]
    np.testing.assert_array_equal(named["t"].values, expected.values)
    assert named["sea"].notnull().all()
    assert "mask='sea'" in named.attrs["history"]


def test_a_mask_with_the_name_of_the_field_masks_it() -> None:
    da = field()
    da[:, 5:9] = np.nan
    mask = da.notnull() & (da.latitude < 70)
    out = regrid(da, TARGET, method="conservative", mask=mask)
    assert out.sel(latitude=slice(90, 75)).isnull().all()


def test_masks_by_time_and_cyclic_columns() -> None:
    da = field()
    mask = xr.concat([sea(), ~sea()], "time").assign_coords(time=[0, 1])
    out = regrid(da, TARGET, method="conservative", mask=mask)
    for t in (0, 1):
        alone = regrid(da[t], TARGET, method="conservative", mask=mask[t])
        np.testing.assert_array_equal(out[t].values, alone.values)
    whole = xr.concat([da, da[..., :1].assign_coords(longitude=[360.0])], "longitude")
    for given_ in (sea(), sea().values, np.concatenate([sea().values, sea().values[:, :1]], axis=1)):
        again = regrid(whole, TARGET, method="conservative", mask=given_)
        np.testing.assert_allclose(again.values, regrid(da, TARGET, method="conservative", mask=sea()).values)


def test_lazy_masks(no_compute: Callable[[], AbstractContextManager[None]]) -> None:
    da = field("float32")
    with no_compute():
        out = regrid(da.chunk(time=1), TARGET, method="conservative", mask=sea().chunk(), target_mask=np.eye(18, 36))
        part = coverage(da.chunk(time=1), TARGET, mask=sea().chunk())
    assert out.chunks is not None
    assert part.chunks is not None
    assert out.dtype == part.dtype == np.float32
    np.testing.assert_array_equal(
        out.values, regrid(da, TARGET, method="conservative", mask=sea(), target_mask=np.eye(18, 36)).values
    )


@pytest.mark.parametrize("method", METHODS)
def test_target_mask(method: str) -> None:
    rng = np.random.default_rng(8)
    wanted = xr.DataArray(rng.random(TARGET.shape) < 0.5, coords=TARGET.coords(), dims=("latitude", "longitude"))
    da = field("float32")
    complete = regrid(da, TARGET, method=method)  # type: ignore[arg-type]
    for given_ in (wanted, wanted.values, wanted[::-1], wanted.transpose()):
        out = regrid(da, TARGET, method=method, target_mask=given_)  # type: ignore[arg-type]
        assert out.dtype == np.float32
        np.testing.assert_array_equal(out.values, complete.where(wanted).values)
    there = wanted.to_dataset(name="ocean")
    np.testing.assert_array_equal(
        regrid(da, there, method=method, target_mask="ocean").values,  # type: ignore[arg-type]
        complete.where(wanted).values,
    )
    whole = regrid(da.astype(int), TARGET, method=method, target_mask=wanted)  # type: ignore[arg-type]
    assert whole.dtype == np.float64


def test_skipna_false() -> None:
    da = field().where(sea())
    loose = regrid(da, TARGET, method="conservative", min_valid=0)
    strict = regrid(da, TARGET, method="conservative", min_valid=0, skipna=False)
    part = coverage(da, TARGET)
    np.testing.assert_array_equal(strict.isnull(), part < 1 - 1e-9)
    np.testing.assert_array_equal(strict.values[strict.notnull()], loose.values[strict.notnull().values])
    assert "skipna=False" in strict.attrs["history"]
    for method in ("bilinear", "bicubic", "nearest"):
        a, b = (regrid(da, TARGET, method=method, skipna=s) for s in (True, False))  # type: ignore[arg-type]
        np.testing.assert_array_equal(a, b)


def test_constants_stay_constant_next_to_gaps() -> None:
    for dtype, tolerance in (("float64", 1e-14), ("float32", 5e-7)):
        da = (field(dtype) * 0 + 273.15).astype(dtype)
        for method in METHODS:
            out = regrid(da, TARGET, method=method, mask=sea(), min_valid=0)  # type: ignore[arg-type]
            there = out.values[out.notnull()]
            assert there.size
            np.testing.assert_allclose(there, np.array(273.15, dtype), rtol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-7)])
@pytest.mark.parametrize("method", ["conservative", "conservative2"])
def test_the_integral_over_the_valid_part_is_kept(method: str, dtype: str, tolerance: float) -> None:
    da = field(dtype).where(sea())
    for target in (TARGET, Grid.gaussian(24), Grid.regular(73, 144)):
        out = regrid(da, target, method=method, min_valid=0)  # type: ignore[arg-type]
        part = coverage(field(), target, mask=sea())
        np.testing.assert_allclose(integral(out, target, part), integral(da, SOURCE), rtol=tolerance)


def test_coverage() -> None:
    box = Grid.from_latlon(np.arange(50.0, 39, -1), np.arange(0.0, 11))
    part = coverage(box, TARGET)
    assert part.name == "coverage"
    assert part.attrs["units"] == "1"
    assert (part.values * TARGET.areas).sum() == pytest.approx(box.areas.sum(), rel=1e-12)
    da = xr.DataArray(np.ones(box.shape), coords=box.coords(), dims=("latitude", "longitude"), name="t")
    np.testing.assert_array_equal(coverage(da, TARGET), part)
    da[2:5, 3] = np.nan
    ds = xr.Dataset({"t": da, "n": ((), 1)}, attrs={"title": "x"})
    less = coverage(ds, TARGET)
    assert less.attrs["title"] == "x"
    valid = da.notnull()
    assert (less["t"].values * TARGET.areas).sum() == pytest.approx((valid.values * box.areas).sum(), rel=1e-12)
    np.testing.assert_allclose(coverage(da.fillna(0), TARGET, mask=valid), less["t"], atol=1e-15)
    lon = np.append(TARGET.longitude, 360)
    cyclic = xr.Dataset(coords={"latitude": TARGET.coords()["latitude"], "longitude": ("longitude", lon)})
    assert coverage(SOURCE, cyclic).shape == (18, 37)
    assert (coverage(SOURCE, cyclic) == 1).all()
    assert "coverage(target=<Grid" in coverage(SOURCE, TARGET).attrs["history"]
    whole = xr.concat([field(), field()[..., :1].assign_coords(longitude=[360.0])], "longitude")
    assert (coverage(whole, TARGET, mask=sea()) <= 1).all()


@settings(max_examples=25, deadline=None)
@given(
    north=st.floats(20, 85), south=st.floats(-85, 10), west=st.floats(-300, 300), width=st.floats(20, 350),
    n=st.integers(3, 25), m=st.integers(3, 25), rows=st.integers(3, 20), columns=st.integers(4, 24),
    up=st.booleans(), gaps=st.floats(0, 0.6), seed=st.integers(0, 99),
)  # fmt: skip
def test_regional_sources_with_gaps(
    north: float, south: float, west: float, width: float, n: int, m: int, rows: int, columns: int, up: bool,
    gaps: float, seed: int,
) -> None:  # fmt: skip
    random = np.random.default_rng(seed)
    lat = np.linspace(south, north, n)[:: 1 if up else -1]
    source = Grid.from_latlon(lat, west + np.sort(random.random(m)) * width / 2 + np.linspace(0, width / 2, m))
    target = Grid.regular(rows, columns, poles=bool(seed % 2))
    values = random.standard_normal(source.shape)
    values[random.random(source.shape) < gaps] = np.nan
    da = xr.DataArray(values[None], coords=source.coords(), dims=("time", "latitude", "longitude"))
    if source.longitude_bounds[-1] - source.longitude_bounds[0] > 360:
        return
    out = regrid(da, target, method="conservative", min_valid=0)
    part = coverage(da, target).where(out.notnull(), 0)
    scale = 1e14
    np.testing.assert_allclose(integral(out, target, part) / scale, integral(da, source) / scale, atol=2e-4)
    if np.isfinite(values).any():
        for method in ("conservative", "bilinear", "nearest"):
            kept = regrid(da, target, method=method, min_valid=0).values  # type: ignore[arg-type]
            assert np.nanmin(kept, initial=np.inf) >= np.nanmin(values) - 1e-12
            assert np.nanmax(kept, initial=-np.inf) <= np.nanmax(values) + 1e-12


# ---------------------------------------------------------------------- CF bounds
def with_bounds(lat_edges: np.ndarray, lon_edges: np.ndarray, **names: str) -> xr.Dataset:
    rng = np.random.default_rng(8)
    lat, lon = lat_edges[:-1] + 0.3 * np.diff(lat_edges), lon_edges[:-1] + 0.6 * np.diff(lon_edges)
    pairs = [np.stack([e[:-1], e[1:]], 1) for e in (lat_edges, lon_edges)]
    return xr.Dataset(
        {
            "t": (("lat", "lon"), rng.standard_normal((lat.size, lon.size))),
            "lat_bnds": (("lat", "bnds"), pairs[0]),
            "lon_bnds": (("lon", "bnds"), pairs[1]),
        },
        coords={
            "lat": ("lat", lat, {"units": "degrees_north", "bounds": "lat_bnds"}),
            "lon": ("lon", lon, {"units": "degrees_east", "bounds": "lon_bnds"}),
        },
    )


def areas(ds: xr.Dataset) -> np.ndarray:
    height = np.abs(np.diff(np.sin(np.radians(ds.lat_bnds.values)), axis=1))
    return np.asarray(height * np.abs(np.diff(ds.lon_bnds.values, axis=1)).T)


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("method", ["conservative", "conservative2"])
def test_bounds_in_the_file_are_the_cells(method: str, down: bool) -> None:
    ds = with_bounds(np.array([10.0, 12, 17, 20, 30]), np.array([0.0, 4, 5, 11, 12, 20]))
    if down:
        ds = ds.isel(lat=slice(None, None, -1))
    there = with_bounds(np.array([10.0, 14, 30]), np.array([0.0, 9, 16, 20])).drop_vars("t")
    out = regrid(ds, there, method=method)["t"]  # type: ignore[arg-type]
    assert (out.values * areas(there)).sum() == pytest.approx((ds.t.values * areas(ds)).sum(), rel=1e-12)
    midway = regrid(ds["t"], there.drop_vars(["lat_bnds", "lon_bnds"]), method=method)  # type: ignore[arg-type]
    assert np.abs(midway - out).max() > 1e-2
    as_coords = regrid(ds.set_coords(["lat_bnds", "lon_bnds"]), there, method=method)["t"]  # type: ignore[arg-type]
    np.testing.assert_array_equal(as_coords, out)
    if method == "conservative":
        assert (coverage(ds, there)["t"] == 1).all()


def test_bounds_that_do_not_fit_are_ignored() -> None:
    ds = with_bounds(np.array([10.0, 12, 17, 20, 30]), np.array([0.0, 4, 5, 11, 12, 20]))
    expected = regrid(ds.drop_vars(["lat_bnds", "lon_bnds"]), TARGET, method="conservative", min_valid=0)["t"]
    for broken in (
        ds.assign(lat_bnds=ds.lat_bnds + 7, lon_bnds=ds.lon_bnds * np.nan),
        ds.assign(lat_bnds=ds.lat_bnds * 0, lon_bnds=("lon", np.zeros(5))),
        ds.assign(lat_bnds=(("lat", "three"), np.zeros((4, 3))), lon_bnds=ds.lon_bnds[:, ::-1] * [1.0, -1]),
        ds.assign(lat_bnds=ds.lat_bnds + np.array([0.0, 0.5]), lon_bnds=ds.lon_bnds[:, 0]),
    ):
        np.testing.assert_array_equal(regrid(broken, TARGET, method="conservative", min_valid=0)["t"], expected)


def test_bounds_around_the_globe_in_another_range_of_longitude() -> None:
    rng = np.random.default_rng(8)
    lat, lon = np.linspace(-90, 90, 10), np.linspace(0, 360, 13)
    pairs = np.stack([lon[:-1], lon[1:]], 1)
    ds = xr.Dataset(
        {"t": (("lat", "lon"), rng.standard_normal((9, 12))), "b": (("lon", "two"), (pairs + 180) % 360 - 180)},
        coords={
            "lat": ("lat", (lat[1:] + lat[:-1]) / 2, {"units": "degrees_north"}),
            "lon": ("lon", lon[:-1] + 10, {"units": "degrees_east", "bounds": "b"}),
        },
    )
    there = xr.Dataset(coords={"lat": ds.lat, "lon": ("lon", lon[:-1] + 15, {"units": "degrees_east"})})
    out = regrid(ds, there, method="conservative")["t"]
    np.testing.assert_allclose(out.values, ds.t.values, atol=1e-12)  # cells at 0 to 30, whose points lie at 10


def test_real_masks(shared_data: Callable[[str], Path]) -> None:
    with xr.open_dataset(shared_data("duacs_adt_ugos_vgos_global_0p25deg_2019-02-23.nc")) as ds:
        adt = next(v for n, v in ds.data_vars.items() if n == "adt").squeeze(drop=True).load()
    target = Grid.regular(181, 360)
    out, part = regrid(adt, target, method="conservative", min_valid=0), coverage(adt, target)
    before = (adt.astype(float).fillna(0).values * Grid.of(adt).areas).sum()
    assert (out.astype(float).fillna(0).values * part.values * target.areas).sum() == pytest.approx(before, rel=1e-6)
    with xr.open_dataset(shared_data("ersstv5_sst_monthly_2deg_2010_2018.nc")) as ds:
        sst = ds["sst"].isel(time=slice(0, 3)).load()
    with xr.open_dataset(shared_data("wfdei_land_sea_mask_0p5deg.nc")) as ds:
        land = regrid(ds["lsm"].load(), Grid.of(sst), method="most_common", min_valid=0)
    both = regrid(sst.fillna(0), target, method="bilinear", mask=land.isnull() | (land == 0))
    assert 0.2 < float(both.isnull().mean()) < 0.6


# ---------------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"mask": "nothing"}, VariableError, "mask='nothing' came, which is none of the variables"),
        ({"mask": 3}, OptionError, "mask is a int; wanted a DataArray, an array, or the name of a variable"),
        ({"mask": np.ones(3)}, DimensionError, r"mask has shape \(3,\); wanted \(37, 72\)"),
        ({"mask": np.ones((3, 4))}, DimensionError, "mask has 3 x 4 points, the fields 37 x 72; wanted the same"),
        ({"mask": xr.DataArray(np.ones(3), dims="x")}, DimensionError, r"mask has dimensions \('x',\); wanted"),
        ({"mask": sea()[:, ::2]}, CoordinateError, "mask lies on <Grid regular 37 x 36.*wanted the same points"),
        ({"mask": sea().expand_dims(depth=2)}, DimensionError, r"mask has dimension 'depth', which variable 't'"),
        (
            {"mask": sea().expand_dims(time=[0, 5])},
            CoordinateError,
            "mask has other values of 'time' than variable 't'",
        ),
        ({"mask": sea().expand_dims(time=3)}, DimensionError, "mask has 3 values of 'time', variable 't' 2"),
        ({"target_mask": "nothing"}, VariableError, "target_mask='nothing' came"),
        ({"target_mask": sea()}, CoordinateError, "target_mask lies on <Grid regular 37 x 72"),
        ({"mask": sea(), "method": "spectral"}, OptionError, "a mask came with method 'spectral', which needs every"),
    ],
)
def test_impossible_masks(options: dict[str, object], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        regrid(field(), TARGET, **{"method": "conservative", **options})  # type: ignore[arg-type]
