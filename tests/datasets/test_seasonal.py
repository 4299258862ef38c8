"""The generated forecast and reanalysis: their layouts, and that members and truth are alike but for the drift."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from xatmo.datasets import seasonal
from xatmo.errors import OptionError


def test_layout_and_seed() -> None:
    one, again, other = (seasonal((2001, 2002), members=3, leads=4, seed=s) for s in (0, 0, 1))
    for a, b in zip(one, again, strict=True):
        xr.testing.assert_identical(a, b)
    assert not np.array_equal(one.forecast.t2m, other.forecast.t2m)
    assert one.forecast.t2m.dims == (
        "number", "forecast_reference_time", "forecast_period", "latitude", "longitude",
    )  # fmt: skip
    assert one.forecast.t2m.dtype == one.reanalysis.t2m.dtype == np.float32
    valid = one.forecast.forecast_reference_time + one.forecast.forecast_period
    np.testing.assert_array_equal(one.forecast.valid_time, valid)
    np.testing.assert_array_equal(np.unique(valid), one.reanalysis.time)
    assert (one.static.lsm.min() >= 0) & (one.static.lsm.max() <= 1)
    assert float(one.static.z.max()) > 1500


def test_members_are_spread_as_the_truth_departs_from_them() -> None:
    """Over the sea, where there are no mountains: drift as said, calibrated members, a correlation that decays."""
    made = seasonal((1990, 2019), months=(1, 7), members=8, leads=8)
    sea = {"latitude": slice(41.0, 39.0), "longitude": slice(6.0, 18.0)}
    forecast = made.forecast.t2m.sel(sea)
    truth = made.reanalysis.t2m.interp(latitude=forecast.latitude, longitude=forecast.longitude)
    truth = truth.sel(time=made.forecast.valid_time.drop_vars("valid_time"))
    place = ["forecast_reference_time", "latitude", "longitude"]
    drift = (forecast - truth).mean(["number", *place]).values
    np.testing.assert_allclose(drift, -2.0 * np.arange(1, 9) / 8, atol=0.5)
    error = forecast - truth - drift[:, None, None]
    spread = np.sqrt(forecast.var("number", ddof=1).mean(place) * 9 / 8)
    np.testing.assert_allclose(spread, np.sqrt((error.mean("number") ** 2).mean(place)), rtol=0.25)
    assert (np.diff(spread) > 0).all()


def test_nothing_asked_for() -> None:
    with pytest.raises(OptionError, match="no leads came"):
        seasonal(leads=0)
    with pytest.raises(OptionError, match="no starts came"):
        seasonal((2002, 2001))
