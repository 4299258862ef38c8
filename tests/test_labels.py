from __future__ import annotations

import pickle

import numpy as np
import pytest
import xarray as xr

from xatmo import Grid, _labels, cf, errors
from xatmo.errors import ChunkError, DimensionError, MissingValueError


@pytest.fixture
def da() -> xr.DataArray:
    grid = Grid.regular(5, 8)
    values = np.random.default_rng(0).standard_normal((2, 8, 5))
    return xr.DataArray(values, coords=grid.coords(lat="lat", lon="lon"), dims=("time", "lon", "lat"), name="f")


class TestMapFields:
    def test_dataset_keeps_what_lacks_the_dimensions(self, da: xr.DataArray) -> None:
        ds = xr.Dataset({"f": da, "scalar": 3.0}, attrs={"title": "t"})
        out = _labels.map_fields(ds, lambda x: x * 2, dims=("lat", "lon"), what="double")
        xr.testing.assert_equal(out["f"], da * 2)
        assert out["scalar"] == 3.0
        assert out.attrs == ds.attrs

    def test_a_changed_grid_leaves_no_old_axis_behind(self, da: xr.DataArray) -> None:
        ds = xr.Dataset({"f": da, "by_lat": da.mean(("time", "lon")), "other": ("time", [1, 2])})
        out = _labels.map_fields(ds, lambda x: x.isel(lat=slice(2)), dims=("lat", "lon"), what="cut")
        assert set(out.data_vars) == {"f", "other"}
        assert out.sizes["lat"] == 2

    def test_name_of_a_field_is_kept(self, da: xr.DataArray) -> None:
        assert _labels.map_fields(da, lambda x: x + 1, dims=("lat",), what="add").name == "f"

    def test_nothing_qualifies(self, da: xr.DataArray) -> None:
        with pytest.raises(DimensionError, match="cut needs a numeric variable"):
            _labels.map_fields(da, lambda x: x, dims=("nowhere",), what="cut")


def test_split_dimension_is_refused_with_the_call_that_mends_it(da: xr.DataArray) -> None:
    with pytest.raises(ChunkError, match=r"'lat' in 2 chunks came; call .chunk\(\{'lat': -1\}\) first"):
        _labels.require_whole(da.chunk(lat=3), ("lat", "lon"), what="to_spectral")
    _labels.require_whole(da.chunk(time=1), ("lat", "lon"), what="to_spectral")


@pytest.mark.parametrize("chunked", [False, True])
def test_cyclic_column_goes_and_comes_back(da: xr.DataArray, chunked: bool) -> None:
    doubled = da.isel(lon=[*range(8), 0]).assign_coords(lon=np.arange(9) * 45.0)
    if chunked:
        doubled = doubled.chunk(time=1)
    axes = cf.horizontal(doubled)
    seen: list[int] = []

    def function(x: xr.DataArray) -> xr.DataArray:
        seen.append(x.sizes["lon"])
        return (x * 2).transpose("lat", "lon", "time")

    out = _labels.on_same_grid(doubled, function, axes)
    assert seen == [8]
    assert out.dims == doubled.dims
    xr.testing.assert_allclose(out, doubled * 2)
    if chunked:
        assert len(out.chunksizes["lon"]) == 1


def test_missing_values_are_counted() -> None:
    block = np.ones((3, 4), "f4")
    _labels.require_finite(block, what="to_spectral")
    _labels.require_finite(np.full((2, 2), 3e38, "f4"), what="to_spectral")  # the sum overflows, the values do not
    block[1, 2] = np.nan
    with pytest.raises(MissingValueError, match=r"to_spectral met 1 missing or infinite values of variable 'f'"):
        _labels.require_finite(block, what="to_spectral", name="f")


def test_encoding_drops_what_became_false(da: xr.DataArray) -> None:
    da.encoding = {"scale_factor": 0.1, "zlib": True, "chunksizes": (1, 8, 5)}
    assert _labels.changed_values(da + 1, da).encoding == {"zlib": True, "chunksizes": (1, 8, 5)}
    assert _labels.changed_values(da + 1, da, reshaped=True).encoding == {"zlib": True}


@pytest.mark.parametrize("name", [n for n in dir(errors) if n.endswith("Error")])
def test_errors_pickle_and_print_their_message(name: str) -> None:
    cls = getattr(errors, name)
    again = pickle.loads(pickle.dumps(cls("what came, what was wanted")))
    assert type(again) is cls
    assert str(again) == "what came, what was wanted"
    assert issubclass(cls, errors.XatmoError)
