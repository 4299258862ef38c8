"""Records as they come: coordinates and dimensions of other origin, stored chunks, missing times and places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import xatmo
from tests.tasks.test_forecast import QUICK, network, weather
from xatmo.errors import CoordinateError, DimensionError, MissingValueError, OptionError


@pytest.fixture(scope="module")
def ds() -> xr.Dataset:
    return weather(48)


@pytest.fixture(scope="module")
def last(ds: xr.Dataset) -> xatmo.VideoForecaster:
    return xatmo.VideoForecaster("persistence", 2, 3).fit(ds)


def doubled(ds: xr.Dataset, dim: str) -> xr.Dataset:
    both = xr.concat([ds[["t2m", "u"]], 2 * ds[["t2m", "u"]]], dim)
    return both.map(lambda v: v.assign_attrs(ds[v.name].attrs))


# ---------------------------------------------------------------------- names that forecasts have themselves
@pytest.mark.parametrize("chunks", [None, {"time": 7, "member": 1}])
def test_members_of_the_record_are_samples(ds: xr.Dataset, last: xatmo.VideoForecaster, chunks: Any) -> None:
    both = doubled(ds, "member")
    out = (both if chunks is None else both.chunk(chunks)).atmo.forecast(last).t2m
    assert out.dims == ("init_time", "lead_time", "member", "latitude", "longitude")
    np.testing.assert_array_equal(out.isel(member=1, lead_time=2), 2 * ds.t2m[1:])


def test_dimensions_of_the_forecast_are_refused(ds: xr.Dataset, last: xatmo.VideoForecaster) -> None:
    for dim in ("init_time", "lead_time"):
        with pytest.raises(DimensionError, match=rf"has a dimension '{dim}'.*\.rename\({dim}='sample'\)"):
            doubled(ds, dim).atmo.forecast(last)


def test_a_forecast_is_a_record_too(ds: xr.Dataset, last: xatmo.VideoForecaster) -> None:
    first = ds.atmo.forecast(last).isel(lead_time=0).swap_dims(init_time="valid_time")  # with two scalars
    out = first.assign_coords(init_time=first.init_time.values[0]).atmo.forecast(last)
    assert out.t2m.dims[:2] == ("init_time", "lead_time")
    np.testing.assert_array_equal(out.init_time, first.valid_time[1:])


def test_a_variable_without_levels_beside_one_with_them(ds: xr.Dataset) -> None:
    both = doubled(ds, "level").assign_coords(level=[500, 850])
    mixed = both[["t2m"]].assign(u=ds.u)
    task = xatmo.VideoForecaster("persistence", 1, 2).fit(mixed)
    for record in (mixed, mixed.chunk(time=7, level=1)):
        out = record.atmo.forecast(task)
        assert out.u.dims == out.t2m.dims == ("init_time", "lead_time", "level", "latitude", "longitude")
        np.testing.assert_array_equal(out.u.isel(level=1, lead_time=1), ds.u)


# ---------------------------------------------------------------------- files
def test_stored_chunks_of_a_record_are_not_those_of_its_forecast(
    ds: xr.Dataset, last: xatmo.VideoForecaster, tmp_path: Path
) -> None:
    stored = {"dtype": "int16", "scale_factor": 0.1, "_FillValue": -999, "chunksizes": (1, 6, 8), "zlib": True}
    ds.to_netcdf(tmp_path / "record.nc", encoding={"t2m": stored})
    record = xr.open_dataset(tmp_path / "record.nc", chunks={"time": 12})
    out = record.atmo.forecast(last)
    assert out.t2m.encoding["zlib"]
    out.to_netcdf(tmp_path / "made.nc")
    made = xr.open_dataset(tmp_path / "made.nc", decode_timedelta=True)
    np.testing.assert_array_equal(made.t2m, out.t2m)
    assert made.t2m.encoding["chunksizes"] != (1, 6, 8)


# ---------------------------------------------------------------------- times
def test_missing_times(ds: xr.Dataset, last: xatmo.VideoForecaster) -> None:
    times = ds.time.values.copy()
    times[5] = np.datetime64("NaT")
    lacking = ds.assign_coords(time=times)
    with pytest.raises(CoordinateError, match=r"the record: 1 of 48 times on 'time' are missing.*notnull"):
        lacking.atmo.forecast(last)
    with pytest.raises(CoordinateError, match="train: 1 of 48 times"):
        last.fit(lacking)


@pytest.mark.parametrize("asked", [object(), {"time": 3}, b"noon", np.datetime64("NaT"), True])
def test_what_is_no_time(ds: xr.Dataset, last: xatmo.VideoForecaster, asked: Any) -> None:
    with pytest.raises(CoordinateError, match="not in the record. Possible are 47 of 48 times"):
        ds.atmo.forecast(last, init_time=asked)


def test_a_simple_forecast_asks_for_no_more_of_the_cycle_than_is_wanted(ds: xr.Dataset) -> None:
    winter = ds.sel(time=slice(None, "2019-02-28"))
    task = xatmo.VideoForecaster("climatology", 2, 30).fit(winter)
    out = winter.atmo.forecast(task, init_time="2019-02-28T20", n_future=3).t2m
    assert out.valid_time.values[0, -1] == np.datetime64("2019-02-28T23")
    with pytest.raises(CoordinateError, match="month 3"):
        winter.atmo.forecast(task, init_time="2019-02-28T20", n_future=4)


# ---------------------------------------------------------------------- places without values
def test_points_that_had_no_value_in_training(ds: xr.Dataset) -> None:
    land = ds[["t2m"]].where(ds.latitude < 55.9)
    task = xatmo.VideoForecaster("diurnal", 2, 3).fit(land)
    with pytest.raises(MissingValueError, match=r"8 of 48 points had no value of 't2m' in training.*nan='mask'"):
        ds.atmo.forecast(task)  # the record is whole
    out = ds.atmo.forecast(task, nan="mask").t2m
    assert (out.isnull().all(["init_time", "lead_time", "longitude"]).values == [True] + [False] * 5).all()
    assert ds.isel(latitude=slice(1, None)).atmo.forecast(task).t2m.notnull().all()


def test_static_fields_with_missing_values_count_as_in_training(ds: xr.Dataset) -> None:
    sea = ds.copy(deep=True)
    sea.z.values[0, :2] = np.nan
    task = network().fit(sea, target="t2m", static="z", valid=0.5, **QUICK)
    out = sea.atmo.forecast(task).t2m
    assert out.notnull().all()
    mean = sea.fillna({"z": float(sea.z.mean())})
    mean.z.attrs = ds.z.attrs
    filled = xatmo.tasks.Model(**{**vars(task.model), "static": mean[["z"]].astype("f4")})
    np.testing.assert_allclose(mean.atmo.forecast(filled).t2m, out, rtol=1e-6)


# ---------------------------------------------------------------------- options
def test_a_field_with_others_beside_it_is_the_one_to_forecast(ds: xr.Dataset) -> None:
    task = xatmo.VideoForecaster("persistence", 2, 3).fit(ds.t2m, predictors=ds.u)
    assert [c.name for c in task.model.inputs] == ["t2m", "u"]
    assert list(ds.atmo.forecast(task)) == ["t2m"]


def test_options_that_cannot_be_used(ds: xr.Dataset, last: xatmo.VideoForecaster) -> None:
    with pytest.raises(OptionError, match="output_chunks=3 came; wanted sizes by dimension"):
        ds.atmo.forecast(last, output_chunks=3)  # type: ignore[call-arg]
    with pytest.raises(OptionError, match="output_chunks=0 came for 'init_time'"):
        ds.atmo.forecast(last, output_chunks={"init_time": 0})
    with pytest.raises(OptionError, match="valid='half' came"):
        network().fit(ds, valid="half", **QUICK)
    with pytest.raises(OptionError, match="AvgPool3d has no weights to train"):
        xatmo.VideoForecaster.from_module(torch.nn.AvgPool3d((2, 1, 1)), n_context=4, n_future=3).fit(ds, **QUICK)
