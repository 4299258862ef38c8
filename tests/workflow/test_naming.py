"""Names of runs: written, read, and made from data."""

from __future__ import annotations

import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xatmo
from xatmo.errors import CoordinateError, OptionError
from xatmo.workflow import Period, RunName, periods_of

LETTERS = "abcdefghijklmnopqrstuvwxyzT0123456789"
words = st.lists(st.text(LETTERS, min_size=1, max_size=4), min_size=1, max_size=3).map("_".join)


@st.composite
def periods(draw: st.DrawFn) -> Period:
    years = sorted(draw(st.tuples(st.integers(0, 9999), st.integers(0, 9999))))
    months = sorted(draw(st.tuples(st.integers(1, 12), st.integers(1, 12))))
    return Period(*years, *months)


@given(
    st.lists(periods(), min_size=1, max_size=3),
    st.integers(1, 1440),
    st.integers(1, 721),
    st.integers(-9000, 9000),
    st.integers(-18000, 17999),
    st.lists(words, min_size=1, max_size=3),
)
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read(
    spans: list[Period], nx: int, ny: int, south: int, west: int, names: list[str]
) -> None:
    name = RunName(tuple(spans), nx, ny, south / 100, west / 100, tuple(names))
    assert RunName.parse(str(name)) == name
    assert str(RunName.parse(str(name))) == str(name)


@pytest.mark.parametrize("west", [179.996, 179.999, 180.0, -180.001, 540.0, 359.999])
def test_the_date_line_is_written_in_one_way(west: float) -> None:
    name = RunName((Period(2019, 2019, 7, 8),), 10, 5, -5.25, west, ("2t",))
    assert RunName.parse(str(name)) == name
    assert "180.00W" in str(name) or "00.00E" in str(name)


def test_the_convention_word_for_word() -> None:
    name = RunName((Period(2005, 2008, 2, 5), Period(2015, 2015, 3, 6)), 92, 56, 38.4, 0.0, ("2t", "tcc", "t850"))
    assert str(name) == "Y2005to2008M02to05_Y2015M03to06-92_56-38.40N00.00E-2t_tcc_t850"
    west = RunName.parse("Y2019M07-8_10-05.25S123.50W-2m__temperature_tcc")
    assert (west.latitude, west.longitude, west.variables) == (-5.25, -123.5, ("2m_temperature", "tcc"))
    assert RunName((Period(2019, 2019),), 2, 2, 0, 350, ("t",)).longitude == -10


@pytest.mark.parametrize("text", ["", "Y19M01-2_2-00.00N00.00E-t", "Y2019M01-2x2-00.00N00.00E-t", "Y2019M01_M02-2_2-x"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="is no name of a run; wanted one formed as"):
        RunName.parse(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"periods": ()}, "wanted one or more of each"),
        ({"nx": 0}, "wanted one or more of each"),
        ({"latitude": 91.0}, "wanted a southwest corner between -90 and 90"),
        ({"variables": ("a__b",)}, "cannot be part of a run's name"),
        ({"variables": ("_a",)}, "cannot be part of a run's name"),
    ],
)
def test_what_cannot_be_named_is_refused(change: dict[str, object], message: str) -> None:
    given = {"periods": (Period(2019, 2019),), "nx": 2, "ny": 2, "latitude": 0.0, "longitude": 0.0, "variables": ("t",)}
    with pytest.raises(OptionError, match=message):
        RunName(**{**given, **change})  # type: ignore[arg-type]


def test_periods_are_in_order() -> None:
    with pytest.raises(OptionError, match="a winter is two periods"):
        Period(2008, 2008, 12, 2)


@given(st.sets(st.tuples(st.integers(2000, 2006), st.integers(1, 12)), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_periods_cover_the_months_and_no_others(months: set[tuple[int, int]]) -> None:
    found = periods_of(months)
    covered = [pair for period in found for pair in period.months]
    assert len(covered) == len(set(covered))
    assert set(covered) == months


def test_data_are_named_after_what_they_hold() -> None:
    time = xr.date_range("2005-02-01", "2005-05-31", freq="D").append(xr.date_range("2006-02-01", "2006-05-31"))
    grid = {"latitude": [50.0, 40.0], "longitude": [350.0, 0.0, 10.0]}
    ds = xr.Dataset({"2t": ("time", range(240)), "z": ("latitude", [0, 1])}, {"time": time, **grid})
    assert str(RunName.of(ds)) == "Y2005to2006M02to05-3_2-40.00N10.00W-2t"
    assert RunName.of(ds, variables=["z"]).variables == ("z",)
    globe = xr.Dataset({"t": ("time", range(240))}, {"time": time, **xatmo.Grid.regular(5, 8).coords()})
    assert RunName.of(globe).longitude == 0.0
    with pytest.raises(CoordinateError, match="no times came"):
        RunName.of(ds.isel(time=slice(0)))
