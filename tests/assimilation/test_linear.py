"""Linear interpolation: what it reproduces exactly, what lies outside, conventions of coordinates, laziness, errors."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from xatmo.assimilation import linear_interp
from xatmo.assimilation.linear import interpolate
from xatmo.errors import MissingValueError, OptionError, VariableError

_spec = importlib.util.spec_from_file_location("assimilation_fields", Path(__file__).with_name("strategies.py"))
fields = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fields)
observed, sparse = fields.observed, fields.sparse

DAY = 86400.0


def test_what_is_linear_comes_back_inside_of_the_observations():
    ds = sparse((6, 12, 14), fraction=0.12)
    slope = 2.0 * ds["lat"] - 0.5 * ds["lon"] + 0.3 * xr.DataArray(np.arange(6.0), dims="time")
    slope = slope.transpose("time", "lat", "lon")
    corners = xr.zeros_like(ds["ssh"], dtype=bool)
    corners[::5, ::11, ::13] = True  # so that nothing is outside
    out = linear_interp(ds.assign(ssh=slope.where(ds["ssh"].notnull() | corners)), "ssh")["ssh"]
    np.testing.assert_allclose(out, slope, atol=2e-3)  # nodes are moved by less than a thousandth of a step


def test_observations_are_kept_and_the_nearest_counts_outside():
    values = np.full((1, 5, 5), np.nan)
    values[0, 2, 1], values[0, 2, 2], values[0, 3, 1] = 1.0, 2.0, 5.0
    out = linear_interp(observed(values, lat=np.arange(-2.0, 3), lon=np.arange(5.0)), "ssh")["ssh"].values[0]
    np.testing.assert_allclose(out[[2, 2, 3], [1, 2, 1]], [1, 2, 5], atol=1e-2)
    assert out[0, 0] == 1.0
    assert out[2, 4] == 2.0
    assert out[4, 0] == 5.0


def test_time_counts_in_units_of_the_time_scale():
    values = np.full((3, 1, 1), np.nan).repeat(3, axis=2).repeat(3, axis=1)
    values[0, 1, 1], values[2, 1, 1], values[1, 1, 2] = 0.0, 2.0, 10.0
    ds = observed(values, lat=[-1.0, 0, 1], lon=[0.0, 1, 2])
    near = {span: float(linear_interp(ds, "ssh", time_scale=span)["ssh"][1, 1, 0]) for span in ("10D", "6h")}
    assert near["10D"] in (0.0, 2.0)  # a day is near: the same place a day off
    assert near["6h"] == 10.0  # a day is four degrees: two degrees off on the same day
    with pytest.raises(OptionError, match="time_scale=3 came; wanted a positive time span"):
        linear_interp(ds, "ssh", time_scale=3)


def test_degrees_of_longitude_are_shorter_away_from_the_equator():
    values = np.full((1, 3, 5), np.nan)
    values[0, 1, 4], values[0, 0, 2] = 1.0, 2.0
    for south, nearest in ((-1.0, 2.0), (69.0, 1.0)):  # 1 degree of latitude, or 2 of longitude
        ds = observed(values, lat=south + np.arange(3.0), lon=np.arange(5.0))
        assert float(linear_interp(ds, "ssh")["ssh"][0, 1, 2]) == nearest


def test_a_global_row_goes_around():
    lon = np.arange(0, 360, 10.0)
    wave = np.cos(np.radians(lon))
    values = np.full((1, 5, 36), np.nan)
    values[0, ::2, ::4] = wave[::4]
    ds = observed(values, lat=np.arange(-20.0, 21, 10), lon=lon)
    out = linear_interp(ds, "ssh")["ssh"]
    assert float(np.abs(out - wave).max()) < 0.08  # of chords of 40 degrees; 0.06 by hand
    moved = ds.roll(lon=7, roll_coords=True)
    moved = moved.assign_coords(lon=(moved["lon"] + 180) % 360 - 180)
    other = linear_interp(moved, "ssh")["ssh"]
    np.testing.assert_allclose(other.roll(lon=-7), out, atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 6, 7), (5, 1, 1)])
def test_windows_without_one_of_the_dimensions(shape):
    values = np.full(shape, np.nan)
    values.reshape(-1)[[0, -1]] = 0.0, 4.0
    nodes = DAY * np.arange(shape[0]), 0.5 * np.arange(shape[1]), 0.5 * np.arange(shape[2])
    made = interpolate(values, np.isfinite(values), nodes)
    assert made.reshape(-1)[0] == 0.0
    assert made.reshape(-1)[-1] == 4.0
    assert np.isfinite(made).all()
    if shape[0] == 5:
        np.testing.assert_allclose(made.ravel(), [0, 1, 2, 3, 4])
    assert (interpolate(values, np.zeros(shape, bool), nodes) == 0).all()


def test_lazy_with_samples_mask_and_domain(no_compute):
    one, two = sparse((3, 6, 7), fraction=0.3), sparse((3, 6, 7), fraction=0.3, seed=1)
    ds = xr.concat([one, two], "run")
    ds["use"] = ds["ssh"].notnull() & (ds["lon"] < 296)
    ds["sea"] = (ds["lat"] > 33.3).astype("int8").broadcast_like(one["ssh"].isel(time=0))
    eager = linear_interp(ds, "ssh", "use", domain="sea")
    with no_compute():
        lazy = linear_interp(ds.chunk(run=1), "ssh", "use", domain="sea")
    assert lazy["ssh"].chunks is not None
    xr.testing.assert_allclose(lazy.compute(), eager)
    assert eager["ssh"].isel(lat=0).isnull().all()
    assert eager["ssh"].isel(lat=slice(2, None)).notnull().all()
    assert eager["ssh"].attrs["units"] == "m"
    assert "linear_interp(" in eager.attrs["history"]
    alone = linear_interp(two.assign(use=ds["use"][1], sea=ds["sea"]), "ssh", "use", domain="sea")
    np.testing.assert_array_equal(eager["ssh"][1], alone["ssh"])


def test_what_cannot_be_interpolated_is_refused():
    ds = sparse()
    with pytest.raises(MissingValueError, match="no observations at all"):
        linear_interp(ds.where(False), "ssh")
    with pytest.raises(VariableError, match="no variable 'sst'"):
        linear_interp(ds, "sst")
