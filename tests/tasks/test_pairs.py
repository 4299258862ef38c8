"""Pairs of fields that belong together: static fields on the fine grid, covariates, windows over time."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from pair_fields import fields, statics

from xatmo.errors import CoordinateError, DimensionError, OptionError, VariableError
from xatmo.tasks.pairs import _pairs, _windows


# ---------------------------------------------------------------------- static fields
def test_static_fields_are_kept_on_both_grids() -> None:
    ds = fields()
    static = statics(ds)
    pairs = _pairs.make(ds, 2, static=static)
    assert pairs.fine_static is not None
    assert list(pairs.fine_static.data_vars) == ["z", "lsm"]
    xr.testing.assert_equal(pairs.fine_static["z"].drop_vars(["latitude", "longitude"]), static["z"].drop_vars(
        ["latitude", "longitude"]))  # fmt: skip
    assert pairs.fine_static["z"].attrs["units"] == "m"
    np.testing.assert_allclose(pairs.coarse["z"], static.atmo.coarsen(2)["z"], rtol=1e-6)
    assert _pairs.make(ds, 2).fine_static is None
    assert _pairs.make(ds, 2, static=static.atmo.coarsen(2)).fine_static is None


def test_static_fields_of_another_layout_are_the_same() -> None:
    """Rows from the south, columns from -180, a larger area, a cyclic column."""
    ds = fields()
    static = statics(ds)
    wanted = _pairs.make(ds, 2, static=static).fine_static
    turned = static.assign_coords(longitude=(static.longitude + 180) % 360 - 180).sortby("longitude")
    upward = turned.isel(latitude=slice(None, None, -1))
    cyclic = xr.concat([static, static.isel(longitude=[0]).assign_coords(longitude=[360.0])], "longitude")
    for other in (upward, cyclic, static.chunk(latitude=4)):
        found = _pairs.make(ds, 2, static=other).fine_static
        assert found is not None
        xr.testing.assert_equal(found, wanted)
    part = ds.isel(latitude=slice(2, 10), longitude=slice(4, 12))
    found = _pairs.make(part, 2, static=static).fine_static
    assert found is not None
    np.testing.assert_array_equal(found["z"], static["z"][2:10, 4:12])


def test_static_fields_that_lie_elsewhere_are_refused() -> None:
    ds = fields()
    with pytest.raises(CoordinateError, match="do not cover the (fine )?points of train"):
        _pairs.make(ds, 2, static=statics(ds).isel(latitude=slice(2, None)))


# ---------------------------------------------------------------------- covariates
def test_covariates_come_before_static_fields() -> None:
    ds = fields()
    pairs = _pairs.make(ds, 2, static=statics(ds), covariates=["day_of_year", "latitude"])
    assert list(pairs.coarse.data_vars) == [
        "t2m", "day_of_year_sin", "day_of_year_cos", "latitude_sin", "latitude_cos", "z", "lsm",
    ]  # fmt: skip
    with pytest.raises(VariableError, match=r"variables \['latitude_sin'\] come twice, as fields and as covariates"):
        _pairs.make(ds.rename(t2m="latitude_sin"), 2, covariates=["latitude"])
    with pytest.raises(OptionError, match="covariate 'tide' came"):
        _pairs.make(ds, 2, covariates=["tide"])


# ---------------------------------------------------------------------- stretches of time
def test_stretches_of_time() -> None:
    days = np.datetime64("2001-01-01", "ns") + np.arange(20) * np.timedelta64(1, "D")
    assert _windows.runs(days) == ((0, 20),)
    assert _windows.runs(np.delete(days, [5, 11, 12])) == ((0, 5), (5, 10), (10, 17))
    months = xr.date_range("2001-01-01", periods=14, freq="MS").values
    assert _windows.runs(months) == ((0, 14),)
    for calendar in ("noleap", "360_day"):
        times = xr.date_range("2000-02-25", periods=9, calendar=calendar, use_cftime=True).values
        assert _windows.runs(times) == ((0, 9),)
        assert _windows.runs(np.delete(times, 4)) == ((0, 4), (4, 8))
    assert _windows.runs(days[:1]) == ((0, 1),)
    assert _windows.runs(days[:3], breaks=[1, 2]) == ((0, 1), (1, 2), (2, 3))


def test_every_frame_of_a_stretch_is_in_a_window_and_none_spans_a_gap() -> None:
    rng = np.random.default_rng(0)
    days = np.datetime64("2001-01-01", "ns") + np.arange(60) * np.timedelta64(1, "D")
    for length in (2, 3, 5):
        times = np.delete(days, rng.choice(np.arange(1, 59), 6, replace=False))
        found = _windows.runs(times)
        for stride in (1, length):
            first = _windows.starts(found, length, stride)
            seen = {int(f) + k for f in first for k in range(length)}
            long_enough = {i for a, b in found if b - a >= length for i in range(a, b)}
            assert seen == long_enough
            assert _windows.lost(found, length) == times.size - len(long_enough)
            for f in first:
                assert (np.diff(times[f : f + length]) == np.timedelta64(1, "D")).all()


def test_times_that_are_no_series_are_refused() -> None:
    days = np.datetime64("2001-01-01", "ns") + np.arange(6) * np.timedelta64(1, "D")
    with pytest.raises(CoordinateError, match="time does not increase: 2001-01-02.* is followed by 2001-01-01"):
        _windows.runs(days[[1, 0, 2, 3, 4, 5]])
    with pytest.raises(CoordinateError, match="time does not increase"):
        _windows.runs(days[[0, 1, 1, 2, 3, 4]])
    odd = np.sort(np.append(days, days[2] + np.timedelta64(6, "h")))
    with pytest.raises(CoordinateError, match="times are irregular: 2001-01-03T00.* and the usual step is 1 day;"):
        _windows.runs(odd)
    with pytest.raises(OptionError, match=r"time_window=9 came; the longest stretch of regular steps has 6 frames"):
        _windows.starts(((0, 6),), 9, 1)


def test_fields_without_time_have_no_windows_over_time() -> None:
    pairs = _pairs.make(fields().isel(time=0, drop=True), 2)
    with pytest.raises(DimensionError, match="a time window needs fields along time; train has dimensions"):
        _ = pairs.time_dim
