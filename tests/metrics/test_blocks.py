from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from xatmo import metrics
from xatmo.errors import OptionError


def series(n: int, freq: str, lead_hours: int = 0) -> xr.DataArray:
    times = pd.date_range("2001-01-01", periods=n, freq=freq)
    rng = np.random.default_rng(0)
    if not lead_hours:
        return xr.DataArray(rng.normal(size=n), {"time": times}, ["time"])
    leads = pd.to_timedelta(np.arange(1, lead_hours + 1), "h")
    axes = {"init_time": times, "lead_time": leads}
    return xr.DataArray(rng.normal(size=(n, lead_hours)), axes, list(axes))


@pytest.mark.parametrize(
    ("field", "block", "drawn"),
    [
        (series(24 * 56, "h"), "7D", 8),
        (series(24 * 55, "h"), "1D", 55),
        (series(48, "h"), "1D", 2),
        (series(47, "h"), None, "47 points of time make fewer than two blocks of 1D"),
        (series(24 * 56, "h", 12), "7D", 8),
        (series(200, "6h", 24 * 4), "4D", 12),  # no shorter than the longest lead, in whole days
        (series(12 * 40, "MS"), "365D", 40),
        (series(24, "MS"), 1, 24),
        (xr.DataArray(np.zeros(40), dims="time"), 4, 10),
        (xr.DataArray(np.zeros(5), dims="time"), None, "5 points of time are too few"),
        (xr.DataArray(np.zeros(40), dims="x"), None, "there is no dimension of times to draw from"),
    ],
)
def test_weeks_or_days_or_none(field: xr.DataArray, block: object, drawn: object) -> None:
    found, words = metrics.automatic_blocks(field, n=50)
    if found is None:
        assert (block, words) == (None, f"no intervals: {drawn}")
        return
    assert found == {"dim": field.dims[0], "block": block, "n": 50}
    assert f"from 50 resamples of {drawn} blocks of {block}" in words


def test_near_times_stay_together_where_most_are_far_apart() -> None:
    """Three starts of one day every other month are one event, whatever the usual distance."""
    days = pd.date_range("2001-01-01", periods=12, freq="60D")
    times = days.append([days[:2] + pd.Timedelta(h, "h") for h in (6, 12)]).sort_values()
    field = xr.DataArray(np.zeros(times.size), {"init_time": times}, ["init_time"])
    _, words = metrics.automatic_blocks(field)
    assert "from 1000 resamples of 12 blocks of 60D of init_time" in words


def test_what_is_kept_is_not_drawn_from() -> None:
    words = "no intervals: init_time is kept, and nothing else is there to draw from"
    assert metrics.automatic_blocks(series(99, "6h", 3), dim=["lead_time"]) == (None, words)
    assert metrics.automatic_blocks(series(99, "6h", 3), dim="init_time")[0] is not None
    with pytest.raises(OptionError, match="wanted .*level"):
        metrics.automatic_blocks(series(99, "6h"), level=2.0)


def test_scores_choose_blocks_and_say_so() -> None:
    truth = series(24 * 60, "h").assign_attrs(units="K")
    forecast = (truth + series(24 * 60, "h").values[::-1]).assign_attrs(truth.attrs)
    found = metrics.verify(forecast, truth, metrics=["rmse", "bias"], bootstrap="auto")
    same = metrics.verify(forecast, truth, metrics=["rmse", "bias"], bootstrap={"dim": "time", "block": "7D"})
    xr.testing.assert_equal(found, same)
    words = "90 % intervals from 1000 resamples of 8 blocks of 7D of time"
    assert found.attrs["intervals"] == same.attrs["intervals"] == words
    stated = {"units": "K", "level": 0.9, "blocks": 8, "block": "7D", "resamples": 1000}
    assert stated.items() <= found.rmse_lower.attrs.items()
    assert "comment" not in found.rmse_lower.attrs
    kept = metrics.verify(forecast, truth, metrics="rmse", dim=[], bootstrap="auto")
    assert list(kept) == ["rmse"]
    assert "time is kept" in kept.attrs["intervals"]
    assert "intervals" not in metrics.verify(forecast, truth, metrics="rmse").attrs
    usual = truth.mean("time").expand_dims(x=3).assign_attrs(units="K")
    alone = metrics.verify(forecast.expand_dims(x=3), usual, metrics="rmse", dim="x", bootstrap="auto")
    assert list(alone) == ["rmse"]
    with pytest.raises(OptionError, match="bootstrap='weeks'; wanted 'auto', None, or a mapping"):
        metrics.verify(forecast, truth, metrics="rmse", bootstrap="weeks")


def test_few_blocks_warn() -> None:
    truth = series(24 * 4, "h")
    scores = metrics.verify(truth + 1, truth, metrics="mae", bootstrap="auto")
    assert scores.attrs["intervals"].endswith("of 4 blocks of 1D of time; with fewer than 5 blocks they are rough")
    assert scores.mae_upper.attrs["comment"] == "from 4 blocks: with fewer than 5, bounds are rough"
    means = metrics.block_bootstrap(truth, dim="time", block="1D")
    assert means.upper.attrs["comment"] == scores.mae_upper.attrs["comment"]
    paired = metrics.compare_models({"a": truth + 1, "b": truth}, truth, bootstrap={"dim": "time", "block": "1D"})
    assert paired.difference_lower.attrs["comment"] == scores.mae_upper.attrs["comment"]


def test_scores_that_are_no_sums_are_resampled_less_often() -> None:
    truth = series(24 * 10, "h")
    scores = metrics.verify(truth + 1, truth, metrics=["wasserstein", "mae"], bootstrap="auto")
    assert scores.wasserstein_lower.attrs["resamples"] == 100
    assert scores.mae_lower.attrs["resamples"] == 1000
    assert scores.attrs["intervals"].count(" resamples of 10 blocks of 1D of time") == 2
