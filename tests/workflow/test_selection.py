"""Regions, variables with levels, times; splits of time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from xatmo.errors import ConfigError, CoordinateError, OptionError, VariableError
from xatmo.workflow import Splits
from xatmo.workflow.selection import is_in, missing_times, numbers, take_region, take_variables
from xatmo.workflow.splits import rotation


def globe(first: float, *, south_first: bool) -> xr.Dataset:
    """A field that tells its own place: 1000 x latitude + longitude from 0."""
    latitude, longitude = np.arange(90, -91, -10.0), first + np.arange(0, 360, 10.0)
    values = 1000 * latitude[:, None] + longitude % 360
    coords = {
        "latitude": ("latitude", latitude, {"units": "degrees_north"}),
        "longitude": ("longitude", longitude, {"units": "degrees_east"}),
    }
    ds = xr.Dataset({"t": (("latitude", "longitude"), values)}, coords)
    return ds.isel(latitude=slice(None, None, -1)) if south_first else ds


@pytest.mark.parametrize("first", [0.0, -180.0])
@pytest.mark.parametrize("south_first", [True, False])
@pytest.mark.parametrize(
    "region",
    [
        {"latitude": [30, 50], "longitude": [-10, 20]},
        {"latitude": [50, 30], "longitude": [350, 380]},
        {"sw_corner": [30, -10], "nx": 4, "ny": 3},
        {"sw_corner": [30.001, 350], "nx": 4, "ny": 3},
    ],
)
def test_regions_are_the_same_in_every_convention(first: float, south_first: bool, region: dict[str, Any]) -> None:
    found = take_region(globe(first, south_first=south_first), region)
    west = 350.0 if 350 in (region.get("longitude") or region["sw_corner"]) else -10.0
    np.testing.assert_allclose(found.longitude, west + np.arange(0, 40, 10))
    np.testing.assert_allclose(sorted(found.latitude), [30, 40, 50])
    assert (found.latitude[0] < found.latitude[1]) == south_first
    np.testing.assert_allclose(found.t, 1000 * found.latitude + found.longitude % 360)


def test_a_whole_circle_and_coordinates_in_float32() -> None:
    ds = globe(0.0, south_first=False)
    assert take_region(ds, {"latitude": [-90, 90], "longitude": [0, 360]}).sizes == ds.sizes
    fine = xr.Dataset(
        coords={
            "latitude": ("latitude", (38.4 + 0.3 * np.arange(56)).astype("f4"), {"units": "degrees_north"}),
            "longitude": ("longitude", (0.3 * np.arange(92)).astype("f4"), {"units": "degrees_east"}),
        }
    )
    assert dict(take_region(fine, {"latitude": [38.4, 54.9], "longitude": [0.0, 27.3]}).sizes) == {
        "latitude": 56, "longitude": 92,
    }  # fmt: skip
    part = take_region(fine, {"sw_corner": [39.6, 1.8], "nx": 80, "ny": 48})
    assert dict(part.sizes) == {"latitude": 48, "longitude": 80}
    assert float(part.longitude[0]) == pytest.approx(1.8, abs=1e-5)


@pytest.mark.parametrize(
    ("region", "error", "message"),
    [
        ([1, 2, 3, 4], OptionError, "region \\[1, 2, 3, 4\\] came; wanted latitude and longitude"),
        ({"sw_corner": [10, 0], "nx": "many", "ny": 2}, OptionError, "region: nx is 'many'; wanted a number of points"),
        ({"box": 1}, OptionError, "wanted latitude and longitude, two numbers each, or sw_corner"),
        ({"latitude": [1], "longitude": [0, 1]}, OptionError, "latitude is \\[1\\]; wanted two numbers"),
        ({"latitude": [1, np.inf], "longitude": [0, 1]}, OptionError, "wanted two finite numbers"),
        ({"latitude": [31, 32], "longitude": [0, 10]}, CoordinateError, "nothing lies in"),
        ({"sw_corner": [30, 0], "nx": 99, "ny": 2}, CoordinateError, "nx=99 came; from the corner on, there are 36"),
        ({"sw_corner": [80, 0], "nx": 1, "ny": 3}, CoordinateError, "ny=3 came"),
    ],
)
def test_impossible_regions_are_refused(region: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        take_region(globe(0.0, south_first=False), region)


def test_a_corner_outside_is_refused() -> None:
    part = globe(0.0, south_first=False).sel(latitude=slice(60, 30))
    with pytest.raises(CoordinateError, match="no grid point lies within half a step of south end 10"):
        take_region(part, {"sw_corner": [10, 0], "nx": 2, "ny": 2})


def test_variables_with_levels() -> None:
    level = xr.DataArray([50000.0, 85000.0], dims="plev", attrs={"units": "Pa", "positive": "down"})
    ds = xr.Dataset({"t": (("time", "plev"), [[250.0, 280.0]]), "t2m": ("time", [290.0])}, {"plev": level})
    found = take_variables(ds, ["2t", "t@850"])
    assert list(found) == ["2t", "t850"]
    assert found.t850.item() == 280.0
    assert take_variables(ds, {"warm": "t2m"}).warm.item() == 290.0
    assert take_variables(found, ["t@850"]).t850.item() == 280.0
    assert take_variables(ds, None) is ds
    for wanted, error, message in (
        ("q", VariableError, "variable 'q' is not in the input; it has \\['t', 't2m'\\]"),
        ("t", CoordinateError, "has 2 levels, 500, 850; name one, as t@500"),
        ("t@300", CoordinateError, "there is no level 300; there are 500, 850"),
        ("t@low", OptionError, "wanted a number after the @"),
        ("t2m@850", CoordinateError, "'t2m' has no levels"),
    ):
        with pytest.raises(error, match=message):
            take_variables(ds, [wanted])
    for wrong in (3, [3], {"t": 3}):
        with pytest.raises(OptionError, match="variables: .*3.* came; wanted names, as"):
            take_variables(ds, wrong)  # type: ignore[arg-type]


def hours(first: str, last: str) -> xr.DataArray:
    return xr.DataArray(pd.date_range(first, last, freq="h"), dims="time", name="time")


def test_numbers_and_times() -> None:
    assert numbers("2008-2010", "years") == [2008, 2009, 2010]
    for wrong in ("2010to2008", "soon", True, 1.5):
        with pytest.raises(OptionError, match=f"years: {wrong!r} came; wanted a number"):
            numbers(wrong, "years")  # type: ignore[arg-type]
    times = hours("2007-12-31", "2008-02-01")
    chosen = times.values[is_in(times, years=2008, months=1, hours=[0, 12])]
    assert chosen.size == 62
    assert chosen[0] == np.datetime64("2008-01-01")
    both = is_in(times, dates=[["2007-12-31", "2007-12-31"], ["2008-01-31T22", "2008-02-01"]])
    assert both.sum() == 24 + 2 + 1
    with pytest.raises(OptionError, match="wanted \\[first, last\\], or a list of such pairs"):
        is_in(times, dates=["2008-01-01", "2008-01-02", "2008-01-03"])
    with pytest.raises(OptionError, match="wanted dates as 2008-03-31"):
        is_in(times, dates=["yesterday", "today"])


def test_missing_times_are_those_that_were_asked_for() -> None:
    step = np.timedelta64(1, "h")
    there = hours("2008-01-01", "2008-12-31T23").drop_isel(time=[5, 6, 4000])
    lost = missing_times(there, step, years=2008)
    assert list(lost) == [pd.Timestamp("2008-01-01T05"), pd.Timestamp("2008-01-01T06"), pd.Timestamp("2008-06-15T16")]
    first_half = there.isel(time=slice(0, 3990))
    assert len(missing_times(first_half, step, years=2008)) == 8784 - 3990
    assert len(missing_times(first_half, step)) == 2  # what was asked for ends where the data end
    noon = there.isel(time=np.flatnonzero(is_in(there, hours=12)))
    assert not len(missing_times(noon, step, years=2008, hours=12))


# ---------------------------------------------------------------------- splits
YEARS = {"train": {"years": "2001to2002"}, "validation": {"years": 2003}, "test": {"years": 2004}}


def days(first: str = "2001-01-01", last: str = "2004-12-31") -> xr.DataArray:
    return xr.DataArray(pd.date_range(first, last), dims="time", name="time")


@pytest.mark.parametrize("gap", [0, 1, 30, "10D"])
def test_no_window_reaches_into_another_part(gap: int | str) -> None:
    times = days()
    wanted = {"train": {"months": "1to8"}, "validation": {"months": "9to10"}, "test": {"months": "11to12"}}
    splits = Splits.make(times, wanted, n_window=24, gap=gap)
    owner = np.full(times.size, "", dtype="U10")
    for name, at in splits.parts.items():
        assert (owner[at] == "").all()
        owner[at] = name
    frames = {"10D": 10}.get(gap, gap)  # type: ignore[call-overload]
    for name in splits.parts:
        windows = [
            range(a, a + 24) for first, end in splits.stretches(name) for a in range(first, end - 24 + 1)
        ]  # fmt: skip
        assert len(windows) == splits.windows(name) > 0
        assert all((owner[list(w)] == name).all() for w in windows)
        if name == "train" and frames:  # at least the gap lies between a window of training and what is held out
            held = np.flatnonzero((owner == "test") | (owner == "validation"))
            apart = min(np.abs(held - a).min() for w in windows for a in (w[0], w[-1]))
            assert apart > frames
    assert int((owner == "test").sum()) == 4 * 61  # the test is never shortened


def test_windows_cross_months_and_never_gaps() -> None:
    times = days().drop_isel(time=[100])
    splits = Splits.make(times, YEARS, n_window=24)
    assert splits.windows("train") == (100 - 23) + (730 - 101 - 23)
    assert list(splits.table()["part"]) == ["train", "train", "validation", "test"]


def test_rotations_test_every_year_once() -> None:
    found = [rotation(range(2007, 2020), rotation=k) for k in range(1, 7)]
    held = [year for split in found for part in ("validation", "test") for year in split[part]["years"]]
    assert sorted(held) == list(range(2008, 2020))
    for split in found:
        assert sorted(y for part in split.values() for y in part["years"]) == list(range(2007, 2020))
    splits = Splits.make(days(), {"rotation": 1, "validation": 0}, n_window=24)
    assert list(splits.parts) == ["train", "test"]
    with pytest.raises(OptionError, match="rotation 7 of 13 years came; wanted rotation from 1 to 6"):
        rotation(range(2007, 2020), rotation=7)
    with pytest.raises(OptionError, match="'folds' came"):
        rotation(range(2007, 2020), rotation=1, folds=3)


@pytest.mark.parametrize(
    ("wanted", "error", "message"),
    [
        ({**YEARS, "test": {"years": [2002, 2004]}}, ConfigError, "train and test share 365 times, the first of them"),
        ({**YEARS, "holdout": {"years": 2004}}, OptionError, "part 'holdout' came"),
        ({"train": {"years": 2001}}, OptionError, "wanted train and test"),
        ({**YEARS, "test": {"year": 2004}}, OptionError, "wanted a mapping with some of years, months, dates"),
        ({**YEARS, "test": {"dates": ["2004-01-01", "2004-01-20"]}}, ConfigError, "test has 20 frames and no stretch"),
    ],
)
def test_impossible_splits_are_refused(wanted: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Splits.make(days(), wanted, n_window=24)


@pytest.mark.parametrize("gap", [-1, True, "soon", 1.5])
def test_impossible_gaps_are_refused(gap: Any) -> None:
    with pytest.raises(OptionError, match="wanted a number of frames, or a span of time as '2D'"):
        Splits.make(days(), YEARS, n_window=24, gap=gap)


def test_a_single_time_cannot_be_split() -> None:
    with pytest.raises(CoordinateError, match="1 times came; wanted two or more"):
        Splits.make(days("2001-01-01", "2001-01-01"), YEARS, n_window=1, gap=1)


def test_levels_of_a_model_are_no_pressures() -> None:
    ds = xr.Dataset({"t": ("hybrid", [280.0, 281.0])}, {"hybrid": [100, 101]})
    assert take_variables(ds, ["t@ml101"]).tml101.item() == 281.0
    assert take_variables(ds.sel(hybrid=101), ["t@ml101"]).tml101.item() == 281.0
    with pytest.raises(
        CoordinateError, match=r"'t' lies on levels of the model, 'hybrid'; wanted the number of one, as"
    ):
        take_variables(ds.sel(hybrid=101), ["t@101"])
    at = xr.Dataset({"t": ("level", [250.0, 280.0])}, {"level": ("level", [500, 850], {"units": "hPa"})})
    assert take_variables(at, ["t@850hPa"]).t850.item() == 280.0
    with pytest.raises(CoordinateError, match="'t@ml5' came, but 't' lies on pressures, 'level'; wanted t@850"):
        take_variables(at, ["t@ml5"])


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"dates": "2019-01"}, r"dates: '2019-01' came; wanted .first, last., or a list of such pairs"),
        ({"dates": 2019}, r"dates: 2019 came; wanted .first, last."),
        ({"dates": []}, r"dates: \[\] came; wanted"),
        ({"dates": ["2019-01-05", "2019-01-02"]}, "came, of which the last is before the first"),
        ({"hours": [0, 24]}, r"hours: \[0, 24\] came; wanted numbers from 0 to 23"),
        ({"months": "0to3"}, "months: '0to3' came; wanted numbers from 1 to 12"),
    ],
)
def test_times_that_cannot_be(chosen: dict[str, Any], message: str) -> None:
    times = xr.DataArray(pd.date_range("2019-01-01", periods=9), dims="time", name="time")
    with pytest.raises(OptionError, match=message):
        is_in(times, **chosen)


def test_dates_that_are_not_there_are_none() -> None:
    times = xr.DataArray(pd.date_range("2019-01-01", periods=9), dims="time", name="time")
    assert not is_in(times, dates=["2020-01", "2020-02"]).any()
    assert is_in(times, dates=["2018", "2019-01-02"]).sum() == 2


def test_splits_are_a_mapping() -> None:
    with pytest.raises(OptionError, match="splits: '2019' came; wanted a mapping with train and test"):
        Splits.make(days("2001-01-01", "2001-01-09"), "2019", n_window=1)
