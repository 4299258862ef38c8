from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from xatmo import Grid, cf, units
from xatmo.errors import CoordinateError, DimensionError, UnitsError, VariableError

NORTH = {"units": "degrees_north"}
EAST = {"units": "degrees_east"}


def field(**names: str) -> xr.DataArray:
    lat, lon = names.get("lat", "lat"), names.get("lon", "lon")
    coords = {lat: (lat, [0.0, 1.0], NORTH), lon: (lon, [0.0, 1.0, 2.0], EAST)}
    return xr.DataArray(np.zeros((2, 3)), coords=coords, dims=(lat, lon), name="f")


class TestHorizontal:
    def test_any_name_with_cf_units(self) -> None:
        axes = cf.horizontal(field(lat="nav_y", lon="nav_x"))
        assert (axes.lat, axes.lon, axes.dims) == ("nav_y", "nav_x", ("nav_y", "nav_x"))

    def test_coordinates_that_are_not_dimension_coordinates(self) -> None:
        coords = {"lat": ("y", [0.0, 1.0], NORTH), "lon": ("x", [0.0, 1.0, 2.0], EAST)}
        axes = cf.horizontal(xr.DataArray(np.zeros((2, 3)), coords=coords, dims=("y", "x")))
        assert axes.dims == ("y", "x")

    def test_scalar_coordinates_do_not_count(self) -> None:
        da = field().assign_coords(station=xr.Variable((), 5.0, NORTH))
        assert cf.horizontal(da).lat == "lat"

    def test_two_grids_in_one_dataset_are_refused(self) -> None:
        ds = xr.merge([field().rename("a"), field(lat="lat2", lon="lon2").rename("b")])
        with pytest.raises(CoordinateError, match=r"several latitude coordinates found: \['lat', 'lat2'\]"):
            cf.horizontal(ds)
        assert cf.horizontal(ds["b"]).lat == "lat2"


class TestTime:
    def test_found_by_its_values(self) -> None:
        da = xr.DataArray([0.0, 1.0], coords={"t": np.array(["2001-01-01", "2001-01-02"], "M8[ns]")}, dims="t")
        assert cf.time(da) == "t"

    def test_missing(self) -> None:
        with pytest.raises(CoordinateError, match="time coordinate: none among"):
            cf.time(field())

    def test_a_single_time_is_no_axis(self) -> None:
        one = field().assign_coords(time=np.datetime64("2001-01-01", "ns"))
        with pytest.raises(CoordinateError, match=r"'time' is a single value; .* obj.expand_dims\('time'\)"):
            cf.time(one)
        assert cf.time(one.expand_dims("time")) == "time"

    def test_points_without_degrees_are_told_how_to_get_some(self) -> None:
        with pytest.raises(CoordinateError, match=r"obj.rename\(DIM='latitude'\).assign_coords\(latitude=...\)"):
            cf.horizontal(xr.DataArray(np.zeros((3, 4)), dims=("y", "x")))


class TestWindPair:
    def test_by_standard_name_before_variable_name(self) -> None:
        ds = xr.Dataset({"u": ("x", [0.0]), "v": ("x", [0.0])})
        ds["east"] = ("x", [0.0], {"standard_name": "eastward_wind"})
        ds["north"] = ("x", [0.0], {"standard_name": "northward_wind"})
        assert cf.wind_pair(ds) == ("east", "north")

    def test_ecmwf_vorticity_called_vo_is_no_current(self) -> None:
        ds = xr.Dataset({"uo": ("x", [0.0]), "vo": ("x", [0.0], {"standard_name": "atmosphere_relative_vorticity"})})
        assert cf.wind_pair(ds, required=False) is None

    def test_one_component_given(self) -> None:
        with pytest.raises(VariableError, match="give both components or neither"):
            cf.wind_pair(xr.Dataset(), u="a")

    def test_given_name_missing(self) -> None:
        with pytest.raises(VariableError, match=r"no variable 'b' in this Dataset; it has \['a'\]"):
            cf.wind_pair(xr.Dataset({"a": ("x", [0.0])}), u="a", v="b")

    def test_no_pair(self) -> None:
        with pytest.raises(VariableError, match=r"no wind pair among \['t2m'\]"):
            cf.wind_pair(xr.Dataset({"t2m": ("x", [0.0])}))


def test_no_variable_has_the_dimensions() -> None:
    with pytest.raises(DimensionError, match="to_spectral needs a numeric variable with dimensions"):
        cf.variables_with(xr.Dataset({"name": ("x", ["a"])}), ["x"], what="to_spectral")


def test_history_appends_and_never_mutates() -> None:
    before = field().assign_attrs(history="made")
    after = cf.add_history(before, cf.describe_call("truncate", lmax=3, taper=None))
    assert before.attrs["history"] == "made"
    assert after.attrs["history"].splitlines()[0] == "made"
    assert after.attrs["history"].endswith("truncate(lmax=3)")


class TestUnits:
    def test_lazy_and_float32(self, no_compute) -> None:
        da = xr.DataArray(np.float32([0, 10]), dims="x", attrs={"units": "degC", "long_name": "t"}).chunk(x=1)
        with no_compute():
            out = units.convert(da, "K")
        assert out.dtype == np.float32
        assert out.attrs == {"units": "K", "long_name": "t"}
        np.testing.assert_allclose(out, [273.15, 283.15])

    def test_another_spelling_changes_no_number(self) -> None:
        da = xr.DataArray([1.5], attrs={"units": "m/s"})
        assert units.convert(da, "m s-1").identical(da.assign_attrs(units="m s-1"))

    def test_no_units(self) -> None:
        with pytest.raises(UnitsError, match="variable None has no units; wanted 'K'"):
            units.convert(xr.DataArray([0.0]), "K")

    def test_another_quantity(self) -> None:
        with pytest.raises(UnitsError, match="'m' came, 's' wanted: they measure different things"):
            units.conversion("m", "s")

    def test_unreadable(self) -> None:
        with pytest.raises(UnitsError, match="units 'not a unit at all' cannot be read"):
            units.conversion("not a unit at all", "s")


@pytest.mark.parametrize(
    ("attrs", "call"),
    [
        ({}, r"healpix\(4\)"),
        ({"grid_name": "healpix", "level": 2, "indexing_scheme": "nested"}, r"healpix\(4, nest=True\)"),
        ({"grid_mapping_name": "healpix", "healpix_nside": 4, "healpix_order": "ring"}, r"healpix\(4\)"),
        ({"grid_mapping_name": "healpix", "healpix_nside": 4, "healpix_order": "nest"}, r"healpix\(4, nest=True\)"),
    ],
)
def test_healpix_cells_without_coordinates(attrs: dict[str, Any], call: str) -> None:
    dim = "x" if attrs else "cells"
    field = xr.DataArray(np.zeros(192), {"crs": ((), 0, attrs)}, dims=dim, name="t")
    message = rf"HEALPix cells on '{dim}'. .*: obj.assign_coords\(xatmo.Grid.{call}.coords\(dim='{dim}'\)\)"
    for obj in (field, field.to_dataset()):
        with pytest.raises(CoordinateError, match=message):
            _ = obj.atmo.grid
    nest = "nest=True" in call
    assert field.assign_coords(Grid.healpix(4, nest=nest).coords(dim=dim)).atmo.grid == Grid.healpix(4, nest=nest)


def test_one_component_twice() -> None:
    ds = xr.Dataset({"a": ("x", [0.0])})
    with pytest.raises(VariableError, match="u='a' and v='a' came, one variable twice"):
        cf.wind_pair(ds, u="a", v="a")


def test_a_history_that_tells_of_healpix_makes_no_cells() -> None:
    da = xr.DataArray(np.zeros(12), dims="time", attrs={"history": "regrid(target=<RingGrid healpix nside 8>)"})
    with pytest.raises(CoordinateError, match="no latitude coordinate found among"):
        _ = da.atmo.grid
