"""Labelled patches: cut with coordinates, stitched with the original's, the same windows wherever a file starts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xatmo
from xatmo.errors import DimensionError, GridError, OptionError
from xatmo.patches import patches

NoCompute = Callable[[], AbstractContextManager[None]]


def globe(nlat: int = 19, nlon: int = 36, times: int = 3, dtype: str = "float32") -> xr.DataArray:
    coords = xatmo.Grid.regular(nlat, nlon).coords(lat="lat", lon="lon")
    values = np.random.default_rng(0).normal(size=(times, nlat, nlon)).astype(dtype)
    time = np.datetime64("2020-01-01", "ns") + np.arange(times) * np.timedelta64(6, "h")
    return xr.DataArray(
        values, dims=("time", "lat", "lon"), coords={"time": time, **coords}, name="t2m", attrs={"units": "K"}
    )


def without_history(obj: xr.DataArray) -> xr.DataArray:
    out = obj.copy()
    out.attrs.pop("history")
    return out


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 19),
    st.integers(1, 36),
    st.data(),
    st.sampled_from(["hann", "triangular", "uniform"]),
)
def test_cutting_and_stitching_is_the_identity(t: int, y: int, x: int, data: st.DataObject, kind: str) -> None:
    da = globe()
    overlap = {"lat": data.draw(st.integers(min(0, y - 1), y - 1)) // 2, "lon": data.draw(st.integers(0, x - 1)) // 2}
    cut = patches(da, {"time": t, "lat": max(y, 4), "lon": max(x, 6)}, overlap=overlap)
    back = cut.stitch([patch.values for patch in cut], window=kind)
    np.testing.assert_allclose(back, da, rtol=2e-6, atol=1e-6)
    assert back.dtype == da.dtype
    xr.testing.assert_identical(without_history(back).copy(data=da.values), da)
    assert back.attrs["history"] == f"xatmo {xatmo.__version__}: stitch(window='{kind}')"


def test_the_accessor_gives_the_same() -> None:
    da = globe()
    assert da.atmo.patches({"lat": 8, "lon": 8}).plan == patches(da, {"lat": 8, "lon": 8}).plan


def test_patches_carry_their_coordinates_and_wrap_with_growing_longitudes() -> None:
    da = globe()
    cut = patches(da, {"time": 1, "lat": 8, "lon": 16})
    assert cut.plan.shape == (3, 3, 3)
    last = cut[-1]
    assert dict(last.sizes) == {"time": 1, "lat": 8, "lon": 16}
    np.testing.assert_allclose(last.lon, np.arange(320, 480, 10))
    np.testing.assert_allclose(last.lat, np.arange(-20, -91, -10))
    assert last.time.values[0] == da.time.values[2]
    np.testing.assert_array_equal(last[0, :, 4:], da[2, 11:, :12])
    np.testing.assert_array_equal(last[0, :, :4], da[2, 11:, 32:])
    assert last.attrs == da.attrs
    assert sum(1 for _ in cut) == len(cut) == 27
    with pytest.raises(IndexError, match="window 27 asked of a plan of 27"):
        cut[27]
    xr.testing.assert_identical(cut[-27], cut[0])


def variant(da: xr.DataArray, how: str) -> xr.DataArray:
    if how == "south to north":
        return da.isel(lat=slice(None, None, -1))
    if how == "-180..180":
        rolled = da.roll(lon=18, roll_coords=True)
        return rolled.assign_coords(lon=rolled.lon.copy(data=(rolled.lon.values + 180) % 360 - 180))
    if how == "cyclic":
        return xr.concat([da, da.isel(lon=[0]).assign_coords(lon=[360.0])], dim="lon")
    if how == "transposed":
        return da.transpose("lon", "time", "lat")
    return da.rename(lat="y", lon="x", time="t")


@pytest.mark.parametrize("how", ["south to north", "-180..180", "cyclic", "transposed", "renamed"])
def test_windows_lie_on_the_same_places_wherever_the_file_starts(how: str) -> None:
    da = globe()
    other = variant(da, how)
    size = {"time": 1, "lat": 8, "lon": 16}
    first, second = patches(da, size, overlap={"lon": 4}), patches(other, size, overlap={"lon": 4})
    assert len(first) == len(second)

    def places(cut: Any) -> set[tuple[float, ...]]:
        found = set()
        for patch in cut:
            time, lat, lon = (
                patch[d]
                for d in (("t", "y", "x") if how == "renamed" and "x" in patch.dims else ("time", "lat", "lon"))
            )
            found.add(
                (float(time.astype("int64")[0]), float(lat.max()), float(lat.min()), float(lon[0]) % 360, lon.size)
            )
        return found

    assert places(first) == places(second)
    back = second.stitch([patch.values for patch in second])
    assert back.dims == other.dims
    xr.testing.assert_identical(without_history(back).copy(data=other.values), other)
    np.testing.assert_allclose(back, other, rtol=1e-5, atol=1e-6)


def test_a_dataset_comes_back_with_everything_in_it() -> None:
    da = globe()
    ds = xr.Dataset(
        {
            "t": da,
            "height": da[0].drop_vars("time").assign_attrs(units="m"),
            "label": ("time", ["a", "b", "c"]),
            "n": 3,
        },
        attrs={"title": "test"},
    )
    cut = patches(ds, {"time": 2, "lat": 8, "lon": 16}, overlap={"time": 1, "lat": 2, "lon": 2})
    assert isinstance(cut[0], xr.Dataset)
    assert set(cut[0]) == {"t", "height", "label", "n"}
    back = cut.stitch(list(cut))
    assert list(back) == list(ds)
    assert back.height.dims == ("lat", "lon")
    assert back.attrs["title"] == "test"
    xr.testing.assert_allclose(back.drop_attrs(), ds.drop_attrs(), rtol=1e-5, atol=1e-6)
    plain = cut.stitch(np.stack([np.stack([p.t.values, np.broadcast_to(p.height.values, p.t.shape)]) for p in cut]))
    xr.testing.assert_identical(plain.drop_attrs(), back.drop_attrs())


def test_finer_patches_give_a_finer_field_on_divided_cells() -> None:
    da = globe(18, 36)
    da = da.assign_coords(lat=da.lat.copy(data=90 - (np.arange(18) + 0.5) * 10))
    cut = patches(da, {"time": 1, "lat": 6, "lon": 16}, overlap={"lat": 2, "lon": 2})
    fine = cut.stitch([np.repeat(np.repeat(p.values, 2, axis=1), 2, axis=2) for p in cut])
    assert dict(fine.sizes) == {"time": 3, "lat": 36, "lon": 72}
    np.testing.assert_allclose(fine[:, ::2, 1::2], da, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(fine.lat, 90 - (np.arange(36) + 0.5) * 5)
    np.testing.assert_allclose(fine.lon[:3], [-2.5, 2.5, 7.5])
    assert fine.lat.attrs == da.lat.attrs
    np.testing.assert_array_equal(fine.time, da.time)
    doubled = cut.stitch([np.repeat(p.values, 2, axis=0) for p in cut])
    assert doubled.sizes["time"] == 6
    assert doubled.time.values[0] == da.time.values[0] - np.timedelta64(90, "m")


def test_a_finer_cyclic_field_stays_cyclic() -> None:
    da = variant(globe(18, 36), "cyclic")
    cut = patches(da, {"time": 1, "lat": 6, "lon": 18})
    fine = cut.stitch([np.repeat(p.values, 2, axis=2) for p in cut])
    assert fine.sizes["lon"] == 73
    assert float(fine.lon[-1] - fine.lon[0]) == 360
    np.testing.assert_array_equal(fine[..., 0], fine[..., -1])


def test_encoding_loses_what_is_no_longer_true() -> None:
    da = globe()
    da.encoding = {"scale_factor": 0.1, "chunks": (1, 19, 36), "compressors": "x"}
    cut = patches(da, {"lat": 8, "lon": 16})
    assert cut.stitch([p.values for p in cut]).encoding == {"chunks": (1, 19, 36), "compressors": "x"}


@pytest.mark.parametrize("chunks", [{"time": 1}, {"lat": 5, "lon": 7}, {"time": 2, "lon": 36}])
def test_dask_in_dask_out_and_nothing_is_computed(chunks: dict[str, int], no_compute: NoCompute) -> None:
    da = globe()
    lazy = da.chunk(chunks)
    with no_compute():
        cut = patches(lazy, {"time": 2, "lat": 8, "lon": 16}, overlap={"lon": 4})
        windows = [cut[i] for i in range(len(cut))]
        assert all(w.chunks for w in windows)
        back = cut.stitch(dask.array.stack([w.data for w in windows]))
        assert back.chunks
        cut.loader()
    assert back.dtype == np.float32
    np.testing.assert_allclose(back.compute(), da, rtol=1e-5, atol=1e-6)
    for a, b in zip(windows, patches(da, {"time": 2, "lat": 8, "lon": 16}, overlap={"lon": 4}), strict=True):
        xr.testing.assert_identical(a.compute(), b)


@pytest.mark.parametrize("order", [("time", "lat", "lon"), ("lon", "lat", "time")])
def test_lazy_stitching_equals_eager(order: tuple[str, ...]) -> None:
    da = globe().transpose(*order)
    da[1, 2, 2] = np.nan
    ds = xr.Dataset({"a": da, "b": 2 * da})
    cut = patches(ds, {"time": 2, "lat": 8, "lon": 16}, overlap={"lon": 8, "time": 1, "lat": 3})
    arrays = np.stack([np.stack([p.a.values, p.b.values]) for p in cut])
    fine = arrays.repeat(2, axis=3)
    for given_ in (arrays, fine):
        eager = cut.stitch(given_)
        lazy = cut.stitch(dask.array.from_array(given_, chunks=(5, 1, -1, -1, -1)))
        assert lazy.a.chunks
        xr.testing.assert_allclose(lazy.compute(), eager, rtol=1e-6)
    with pytest.raises(DimensionError, match="5 patches came; the plan has"):
        cut.stitch(dask.array.from_array(arrays[:5]))


def test_regional_fields_and_fields_without_axes_do_not_wrap() -> None:
    box = globe().isel(lon=slice(0, 20))
    assert patches(box, {"lon": 8}).plan.periodic == frozenset()
    plain = xr.DataArray(np.zeros((6, 7)), dims=("a", "b"))
    assert patches(plain, {"a": 2}).plan.shape == (3, 1)
    assert patches(plain, {"b": 2}, periodic=["b"]).plan.starts["b"].tolist() == [0, 2, 4, 6]
    assert patches(globe(), {"lon": 16}, periodic=[]).plan.periodic == frozenset()


def test_validity_by_window() -> None:
    da = globe()
    da[:, :, :18] = np.nan
    cut = patches(da, {"time": 1, "lat": 10, "lon": 12})
    wanted = [float(np.isfinite(p).mean()) for p in cut]
    np.testing.assert_allclose(cut.valid_fraction(), wanted)
    np.testing.assert_allclose(
        patches(da.chunk(time=2, lon=7), {"time": 1, "lat": 10, "lon": 12}).valid_fraction(), wanted
    )
    land = da[0].notnull()
    np.testing.assert_allclose(cut.valid_fraction(land), wanted)
    closed = variant(da, "cyclic")
    again = patches(closed, {"time": 1, "lat": 10, "lon": 12})
    np.testing.assert_allclose(again.valid_fraction(closed[0].notnull()), wanted)
    loader = cut.loader(valid=0.5)
    assert loader.n_samples == sum(w >= 0.5 for w in wanted)
    assert cut.loader(valid=cut.valid_fraction() == 1).n_samples == sum(w == 1 for w in wanted)
    with pytest.raises(DimensionError, match="the mask has"):
        cut.valid_fraction(land.isel(lat=slice(3)))


def test_xbatchers_windows_are_among_ours() -> None:
    pytest.importorskip("xbatcher")
    for how in ("as it is", "south to north", "-180..180", "cyclic"):
        da = globe() if how == "as it is" else variant(globe(), how)
        size, overlap = {"time": 1, "lat": 8, "lon": 16}, {"lat": 2, "lon": 4}
        cut = patches(da, size, overlap=overlap)
        ours = {(p.time.values[0], float(p.lat.max()), float(p.lat.min()), float(p.lon[0]) % 360) for p in cut}
        theirs = [
            (b.time.values[0], float(b.lat.max()), float(b.lat.min()), float(b.lon[0]) % 360)
            for b in cut.xbatcher(preload_batch=False)
        ]
        assert theirs
        assert set(theirs) < ours


def test_real_file_is_read_lazily_and_comes_back(shared_data: Callable[[str], Path]) -> None:
    with xr.open_dataset(shared_data("era5_windgust_0p25deg_global_2011-08-01.nc"), engine="netcdf4") as ds:
        name = next(iter(ds.data_vars))
        cut = patches(ds[name], {"lat": 256, "lon": 256}, overlap={"lat": 32, "lon": 32})
        assert cut.plan.periodic
        back = cut.stitch(p.values for p in cut)
        np.testing.assert_allclose(back, ds[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "kwargs", "error", "match"),
    [
        ({"lat": 20}, {}, DimensionError, "a patch of 20 points does not fit into dimension 'lat' of 19"),
        ({"depth": 2}, {}, DimensionError, "patch size names 'depth', which is neither a dimension of .* nor a role"),
        ({"lat": 8}, {"overlap": {"lat": 8}}, OptionError, "overlap 8 came for 'lat'"),
        ({"lat": 8}, {"overlap": {"lat": -1}}, OptionError, "overlap -1 came for 'lat'"),
        ({"lat": 8}, {"overlap": {"z": 1}}, DimensionError, "overlap names 'z'"),
        ({"lat": 8}, {"periodic": ["z"]}, DimensionError, "periodic names 'z'"),
    ],
)
def test_errors(size: Any, kwargs: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        patches(globe(), size, **kwargs)


def test_more_errors() -> None:
    with pytest.raises(GridError, match="'lon' cannot be periodic: longitude runs from 0 to 190"):
        patches(globe().isel(lon=slice(0, 20)), {"lon": 8}, periodic=["lon"])
    with pytest.raises(OptionError, match="names dimension 'y' twice"):
        patches(globe().rename(lat="y"), {"lat": 8, "y": 8})
    with pytest.raises(DimensionError, match="no numeric variable with dimensions"):
        patches(xr.Dataset({"a": 1}), {"x": 2})
    cut = patches(globe(), {"lat": 8})
    with pytest.raises(DimensionError, match=r"patches of shape \(8,\) came; wanted \(3, 8, 36\)"):
        cut.stitch(np.zeros((3, 8)))
    with pytest.raises(DimensionError, match=r"patches of shape \(\) came"):
        cut.stitch([])
    with pytest.raises(DimensionError, match=r"patches of shape \(3, 9, 36\) came"):
        cut.stitch(np.zeros((3, 3, 9, 36)))
