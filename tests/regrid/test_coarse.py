"""Coarsening: which cells belong together, what is kept, and the way back to the fine grid."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from xatmo import Grid
from xatmo.errors import ChunkError, GridError, OptionError
from xatmo.regrid import coarsen, coarsening, fine_grid

DIMS = ("latitude", "longitude")
BOX = Grid.from_latlon(60 - 0.25 * np.arange(41), -20 + 0.5 * np.arange(50))
FINE = {
    "poles": Grid.regular(73, 144),
    "no poles": Grid.regular(72, 144, poles=False),
    "gaussian": Grid.gaussian(48),
    "odd gaussian": Grid.gaussian(45),
    "missing poles": Grid.from_latlon(88 - 4 * np.arange(45), 4 * np.arange(90)),
    "box": BOX,
    "northern half": Grid.from_latlon(90 - 2.5 * np.arange(37), 2.5 * np.arange(144)),
}


def field(grid: Grid, dtype: str = "float32") -> xr.DataArray:
    values = np.random.default_rng(0).standard_normal((2, *grid.shape)) + 280
    coords = {"time": [0, 1], **grid.coords()}
    return xr.DataArray(values.astype(dtype), coords=coords, dims=("time", *DIMS), name="t", attrs={"units": "K"})


@pytest.mark.parametrize("factor", range(2, 11))
@pytest.mark.parametrize("name", FINE)
def test_every_factor_keeps_the_integral(name: str, factor: int) -> None:
    fine = FINE[name]
    found = coarsening(fine, factor)
    assert found.areas.sum() == pytest.approx(fine.areas.sum(), rel=1e-12)
    da = field(fine, "float64")
    out = coarsen(da, factor)
    assert out.shape[1:] == found.coarse.shape
    before = (da.values[0] * fine.areas).sum()
    assert (out.values[0] * found.areas).sum() == pytest.approx(before, rel=1e-13)
    single = coarsen(da.astype("float32"), factor)
    assert single.dtype == np.float32
    assert (single.values[0].astype(float) * found.areas).sum() == pytest.approx(before, rel=1e-7)
    whole_blocks = fine.nlat % factor == 0 or found.row_offset != 0
    if whole_blocks and fine.nlon % factor == 0:
        # What anyone sees in the coarse coordinates are the cells that the means were taken over.
        np.testing.assert_allclose(Grid.of(out).areas, found.areas, rtol=2e-9 if name != "gaussian" else 1e-8)
    assert fine_grid(out) == fine
    assert fine.nlat <= found.coarse.nlat * factor + (found.row_offset != 0) < fine.nlat + factor


@pytest.mark.parametrize("name", ["no poles", "box", "gaussian"])
def test_blocks_are_the_area_weighted_means_of_their_cells(name: str) -> None:
    fine, factor = FINE[name], 4
    da = field(fine, "float64")
    out = coarsen(da, factor)
    for i, j in ((0, 0), (3, 5), (out.shape[1] - 1, out.shape[2] - 1)):
        block = np.s_[factor * i : factor * (i + 1), factor * j : factor * (j + 1)]
        expected = np.average(da.values[0][block], weights=fine.areas[block])
        assert out.values[0, i, j] == pytest.approx(expected, rel=1e-13)
        assert fine.latitude[block[0]].min() <= out.latitude[i] <= fine.latitude[block[0]].max()
        assert float(out.longitude[j]) == pytest.approx(fine.longitude[block[1]].mean())


def test_era5_by_four() -> None:
    fine = Grid.regular(721, 1440)
    found = coarsening(fine, 4)
    assert found.coarse.shape == (180, 360)
    assert found.coarse.kind == "regular"
    assert not found.coarse.poles
    assert (found.row_offset, found.column_offset) == (-0.5, 0.0)
    da = field(fine)
    out = coarsen(da, 4)
    mean = [(d.values[0].astype(float) * g.areas).sum() / g.areas.sum() for d, g in ((da, fine), (out, Grid.of(out)))]
    assert mean[1] == pytest.approx(mean[0], rel=1e-7)
    assert fine_grid(out) == fine


@pytest.mark.parametrize("name", FINE)
def test_offsets_say_where_the_fine_nodes_lie(name: str) -> None:
    fine = FINE[name]
    for factor in (2, 3, 4):
        found = coarsening(fine, factor)
        height = -np.diff(found.coarse.latitude[:2])[0] / factor
        first = found.coarse.latitude[0] + height * (factor - 1) / 2
        # Northward distance of fine row 0 in sub-cells is minus the southward offset.
        off = (fine.latitude[0] - first) / height
        assert off == pytest.approx(-found.row_offset, abs=0.15 if "gaussian" in name else 1e-9)
        width = np.diff(found.coarse.longitude[:2])[0] / factor
        start = found.coarse.longitude[0] - width * (factor - 1) / 2
        assert (fine.longitude[0] - start) / width == pytest.approx(found.column_offset, abs=1e-9)


@pytest.mark.parametrize("method", ["mean", "bilinear"])
@pytest.mark.parametrize("name", ["poles", "gaussian", "box"])
def test_row_direction_order_and_cyclic_column(name: str, method: str) -> None:
    fine = FINE[name]
    da = field(fine, "float64")
    expected = coarsen(da, 3, method=method)
    up = coarsen(da.isel(latitude=slice(None, None, -1)), 3, method=method)
    np.testing.assert_array_equal(up.latitude, expected.latitude[::-1])
    np.testing.assert_allclose(up[:, ::-1].values, expected.values, rtol=1e-13)
    found = fine_grid(up)
    assert found is not None
    np.testing.assert_array_equal(found.latitude, fine.latitude[::-1])
    assert found.kind == fine.kind
    turned = coarsen(da.transpose("longitude", "latitude", "time"), 3, method=method)
    assert turned.dims == ("longitude", "latitude", "time")
    np.testing.assert_allclose(turned.transpose(*da.dims).values, expected.values, rtol=1e-13)
    if fine.periodic:
        longer = xr.concat([da, da[..., :1].assign_coords(longitude=[fine.longitude[0] + 360])], "longitude")
        longer["longitude"].attrs = da["longitude"].attrs
        np.testing.assert_allclose(coarsen(longer, 3, method=method).values, expected.values, rtol=1e-13)


def test_west_and_east_hemispheres_in_either_order() -> None:
    da = field(FINE["poles"], "float64")
    west = da.assign_coords(longitude=(da.longitude + 180) % 360 - 180).sortby("longitude")
    west["longitude"].attrs = da["longitude"].attrs
    out, expected = coarsen(west, 4), coarsen(da, 4)
    np.testing.assert_allclose(out.roll(longitude=18).values, expected.values, rtol=1e-13)
    found = fine_grid(out)
    assert found is not None
    np.testing.assert_allclose(found.longitude, west.longitude)


def test_slices_keep_their_fine_rows_and_columns() -> None:
    fine = FINE["poles"]
    coarse = coarsen(field(fine), 4)
    cases = (
        (slice(2, 5), slice(0, 6), slice(8, 20), np.arange(24)),
        (slice(15, 18), slice(30, 36), slice(60, 73), np.arange(120, 144)),
        (slice(0, 2), slice(5, 7), slice(0, 8), np.arange(20, 28)),
    )
    for rows, columns, fine_rows, fine_columns in cases:
        found = fine_grid(coarse.isel(latitude=rows, longitude=columns))
        assert found is not None
        np.testing.assert_array_equal(found.latitude, fine.latitude[fine_rows])
        np.testing.assert_allclose(found.longitude, fine.longitude[fine_columns])
        up = fine_grid(coarse.isel(latitude=rows, longitude=columns).isel(latitude=slice(None, None, -1)))
        assert up is not None
        np.testing.assert_array_equal(up.latitude, fine.latitude[fine_rows][::-1])


def test_a_slice_across_the_seam() -> None:
    fine = FINE["poles"]
    coarse = coarsen(field(fine), 4)
    atlantic = coarse.roll(longitude=3, roll_coords=True).isel(longitude=slice(0, 6))
    atlantic = atlantic.assign_coords(
        longitude=((atlantic.longitude + 180) % 360 - 180).assign_attrs(coarse.longitude.attrs)
    )
    found = fine_grid(atlantic)
    assert found is not None
    np.testing.assert_allclose(found.longitude, np.arange(-12, 12) * 2.5)


def test_partial_last_cells_come_back() -> None:
    coarse = coarsen(field(BOX), 4)  # 41 x 50 points: the last row has 1, the last column 2
    assert coarse.shape[1:] == (11, 13)
    assert fine_grid(coarse) == BOX
    found = fine_grid(coarse.isel(latitude=slice(8, 11), longitude=slice(10, 13)))
    assert found is not None
    assert found.shape == (9, 10)


def test_no_fine_grid_where_points_were_replaced_or_skipped() -> None:
    coarse = coarsen(field(FINE["poles"]), 4)
    assert fine_grid(field(FINE["poles"])) is None
    assert fine_grid(coarse.isel(latitude=slice(0, 8, 2))) is None
    assert fine_grid(coarse.isel(longitude=[0, 2, 3])) is None
    moved = coarse.assign_coords(latitude=(coarse.latitude * 0.9).assign_attrs(coarse.latitude.attrs))
    assert fine_grid(moved) is None
    one_row = fine_grid(coarse.isel(latitude=slice(3, 4)))
    assert one_row is not None
    assert one_row.nlat == 4


@pytest.mark.parametrize("name", ["poles", "gaussian", "box"])
@pytest.mark.parametrize("store", ["netcdf", "zarr"])
def test_the_fine_grid_survives_files(name: str, store: str, tmp_path: Path) -> None:
    fine = FINE[name]
    if name == "box":  # coordinates as files have them
        fine = Grid.from_latlon(np.float32(60 - 0.1 * np.arange(41)), np.float32(-20 + 0.1 * np.arange(50)))
    ds = coarsen(field(fine).to_dataset(), 3)
    if store == "netcdf":
        ds.to_netcdf(tmp_path / "c.nc")
        back = xr.open_dataset(tmp_path / "c.nc")
    else:
        ds.to_zarr(tmp_path / "c.zarr", consolidated=False)
        back = xr.open_zarr(tmp_path / "c.zarr", consolidated=False)
    with back:
        assert fine_grid(back) == fine
        sliced = fine_grid(back.isel(latitude=slice(1, 4)))
        assert sliced is not None
        assert sliced.nlat == 9


def test_attribute_stays_short_for_long_irregular_axes() -> None:
    lon = np.cumsum(np.full(4000, 0.08) + np.random.default_rng(0).uniform(0, 0.005, 4000)).astype(np.float32)
    fine = Grid.from_latlon(np.float32([0.1, 0.2, 0.4, 0.8]), lon)
    da = xr.DataArray(np.zeros(fine.shape), coords=fine.coords(), dims=DIMS)
    out = coarsen(da, 2)
    assert len(out.longitude.attrs["fine_grid"]) < 60_000
    assert fine_grid(out) == fine


def test_coarsening_twice_remembers_the_last_fine_grid() -> None:
    once = coarsen(field(FINE["poles"]), 2)
    twice = coarsen(once, 3)
    assert fine_grid(twice) == Grid.of(once)


def test_missing_values() -> None:
    da = field(FINE["no poles"], "float64") * 0 + 1
    da[0, :2, :4] = np.nan
    da[0, 4:8, 4:7] = np.nan
    out = coarsen(da, 4)
    gone = np.argwhere(np.isnan(out.values))
    # The polar half of a polar cell is less than half of its area.
    np.testing.assert_array_equal(gone, [[0, 1, 1]])
    np.testing.assert_array_equal(out.values[~np.isnan(out.values)], 1)
    assert int(np.isnan(da.atmo.coarsen(4, min_valid=0)).sum()) == 0
    assert int(np.isnan(coarsen(da, 4, min_valid=1)).sum()) == 2


def test_lazy_and_labelled(no_compute: Callable[[], AbstractContextManager[None]]) -> None:
    ds = xr.Dataset({"t": field(FINE["poles"]), "n": ("time", [1, 2])}, attrs={"title": "x", "history": "made"})
    with no_compute():
        out = coarsen(ds.chunk(time=1), 4)
    assert out["t"].chunks == ((1, 1), (18,), (36,))
    assert out["t"].attrs == {"units": "K", "cell_methods": "area: mean"}
    assert out.attrs["history"].splitlines()[0] == "made"
    assert out.attrs["history"].endswith("coarsen(factor=4, method='mean', min_valid=0.5)")
    assert list(out.data_vars) == ["t", "n"]
    np.testing.assert_array_equal(out["t"].values, coarsen(ds, 4)["t"].values)
    assert fine_grid(out) == FINE["poles"]
    assert "fine_grid" not in ds.latitude.attrs


def test_bilinear_samples_at_the_coarse_points() -> None:
    fine = FINE["poles"]
    lat = np.radians(fine.latitude)[:, None] + 0 * fine.longitude
    da = xr.DataArray(lat, coords=fine.coords(), dims=DIMS)
    out = coarsen(da, 4, method="bilinear")
    np.testing.assert_allclose(
        out.values, np.radians(out.latitude.values)[:, None] + 0 * out.longitude.values, atol=1e-12
    )
    assert out.attrs["history"].count("xatmo") == 1
    assert fine_grid(out) == fine


@pytest.mark.parametrize("name", ["poles", "gaussian"])
def test_spectral_is_exact_for_what_the_coarse_grid_resolves(name: str) -> None:
    fine = FINE[name]

    def harmonic(grid: Grid) -> np.ndarray:
        lat, lon = np.radians(grid.latitude)[:, None], np.radians(grid.longitude)
        return np.asarray(np.sin(lat) + np.cos(lat) ** 3 * np.cos(3 * lon))

    da = xr.DataArray(harmonic(fine), coords=fine.coords(), dims=DIMS, name="t")
    out = coarsen(da.to_dataset(), 4, method="spectral")
    np.testing.assert_allclose(out["t"].transpose(*DIMS).values, harmonic(Grid.of(out)), atol=1e-10)
    assert fine_grid(out) == fine
    assert out.attrs["history"].count("xatmo") == 1


REAL = (
    ("era5_windgust_0p25deg_global_2011-08-01.nc", (180, 360)),
    ("eraint_uvz_monthly_jan_jul_0p75deg.nc", (60, 120)),
    ("echam5_tsurf_6hourly_F48_2001-01-01_07.nc", (24, 48)),
    ("ersstv5_sst_monthly_2deg_2010_2018.nc", (23, 45)),
    ("gfs_uv10_1deg_6hourly_2016-11-20_22.nc", (45, 90)),
    ("duacs_blacksea_0p125deg_2016-07-07.nc", (14, 30)),
)


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::xarray.SerializationWarning"
)
@pytest.mark.parametrize(("name", "shape"), REAL)
def test_real_grids_come_back(name: str, shape: tuple[int, int], shared_data: Callable[[str], Path]) -> None:
    from xatmo import cf

    with xr.open_dataset(shared_data(name)) as ds:
        axes = cf.horizontal(ds)
        da = next(v for v in ds.data_vars.values() if set(axes.dims) <= set(v.dims) and v.dtype.kind == "f")
        da = da.isel({d: 0 for d in da.dims if d not in axes.dims}).load()
    out = coarsen(da, 4)
    assert out.shape == shape
    fine, found = Grid.of(da), fine_grid(out)
    assert found is not None
    np.testing.assert_array_equal(found.latitude, fine.latitude)
    np.testing.assert_allclose(found.longitude, fine.longitude, rtol=0, atol=1e-9)
    if not da.isnull().any():
        bare = da.values[:, : fine.nlon].astype(float)
        cells = coarsening(fine, 4).areas
        values = out.values if fine.north_to_south else out.values[::-1]
        assert (values * cells).sum() == pytest.approx((bare * fine.areas).sum(), rel=1e-7)


# ---------------------------------------------------------------------- errors
@pytest.mark.parametrize("factor", [0, 1, -2, 1.5, "four", None])
def test_wrong_factor(factor: object) -> None:
    for call in (lambda: coarsen(field(BOX), factor), lambda: coarsening(BOX, factor)):  # type: ignore[arg-type]
        with pytest.raises(OptionError, match=f"factor {factor!r} came; wanted a whole number of at least 2"):
            call()


def test_factor_too_large() -> None:
    with pytest.raises(OptionError, match="factor 41 came for a grid of 41 x 50 points; wanted at least 2 coarse rows"):
        coarsen(field(BOX), 41)


def test_unknown_method() -> None:
    with pytest.raises(OptionError, match="method 'max' came; wanted one of 'mean', 'spectral', 'bilinear'"):
        coarsen(field(BOX), 2, method="max")


def test_spectral_needs_the_globe() -> None:
    with pytest.raises(GridError, match=r"coarsen\(method='spectral'\) needs a global grid; this one is regional"):
        coarsen(field(BOX), 2, method="spectral")


def test_rows_split_within_cells() -> None:
    wanted = r"unless every chunk ends where a coarse cell ends, needs .* whole, but 'latitude' in 5 chunks came; call"
    with pytest.raises(ChunkError, match=wanted):
        coarsen(field(BOX).chunk(latitude=10), 4)
    with pytest.raises(ChunkError, match="coarsen needs|regrid.* needs"):
        coarsen(field(BOX).chunk(latitude=8), 4, method="bilinear")
    with pytest.raises(ChunkError, match="of a grid with rows on the poles, where cells share rows, needs"):
        coarsen(field(FINE["poles"]).chunk(latitude=8), 4)


@pytest.mark.parametrize("name", ["no poles", "gaussian", "box"])
@pytest.mark.parametrize("up", [False, True])
def test_chunks_that_end_with_cells(
    name: str, up: bool, no_compute: Callable[[], AbstractContextManager[None]]
) -> None:
    da = field(FINE[name]).transpose("longitude", "time", "latitude")
    da[3:9, 0, 5:7] = np.nan
    chunks = {"latitude": (16, 8, da.sizes["latitude"] - 24), "longitude": 12, "time": 1}
    if up:
        da = da.isel(latitude=slice(None, None, -1))
        chunks["latitude"] = chunks["latitude"][::-1]  # type: ignore[index]
    with no_compute():
        out = coarsen(da.chunk(chunks), 4)
    assert len(out.chunksizes["latitude"]) == 3
    expected = coarsen(da, 4)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out.values, expected.values, rtol=1e-6)
    xr.testing.assert_identical(
        out.drop_vars("time").coords.to_dataset(), expected.drop_vars("time").coords.to_dataset()
    )
    assert out.attrs == expected.attrs
    assert fine_grid(out) == Grid.of(da)


@pytest.mark.parametrize("text", ["not json", "{}", "[1]"])
def test_spoiled_attribute(text: str) -> None:
    coarse = coarsen(field(BOX), 2)
    coarse.latitude.attrs["fine_grid"] = text
    with pytest.raises(GridError, match="'fine_grid' of latitude or longitude cannot be read"):
        fine_grid(coarse)
