"""Drawings of fields without latitude and longitude, and the colours of rain."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import QuadMesh

import xatmo
from xatmo import cf, plot
from xatmo.errors import CoordinateError, DimensionError, GridError
from xatmo.plot import style


def image(*leading: int, rows: int = 4, columns: int = 6) -> xr.DataArray:
    dims = (*("time", "member")[: len(leading)], "y", "x")
    shape = (*leading, rows, columns)
    return xr.DataArray(np.arange(np.prod(shape), dtype=float).reshape(shape), dims=dims, name="brightness")


# ---------------------------------------------------------------------- which dimensions
def test_rows_and_columns_are_the_last_two_that_are_no_time_and_no_member() -> None:
    assert cf.rows_and_columns(image(2, 3)) == ("y", "x")
    assert cf.rows_and_columns(image(2, 3).transpose("y", "x", "member", "time")) == ("y", "x")
    dated = image(2).rename(time="scan").assign_coords(scan=np.array(["2020", "2021"], "M8[ns]"))
    assert cf.rows_and_columns(dated.transpose("y", "x", "scan")) == ("y", "x")
    assert cf.rows_and_columns(image(2).transpose("y", "x", "time").rename(time="case"), apart=["case"]) == ("y", "x")
    assert cf.rows_and_columns(image(2).isel(x=0)) is None
    assert cf.rows_and_columns(image(rows=1)) is None


def test_degrees_along_one_dimension_and_other_expansions_are_no_plane() -> None:
    section = image().rename(x="lon").assign_coords(lon=np.arange(6.0))
    with pytest.raises(CoordinateError, match="no latitude coordinate found"):
        plot.map(section)
    with pytest.raises(GridError, match="spherical-harmonic coefficients"):
        plot.map(image().rename(y="degree", x="order"))
    with pytest.raises(CoordinateError, match="HEALPix cells on 'cell'"):
        plot.map(image(rows=2, columns=48).rename(x="cell"))
    with pytest.raises(CoordinateError, match="no latitude coordinate found"):
        cf.across(xr.Dataset({"a": image(), "b": image().rename(y="row")}))


def test_places_of_a_projection_do_not_hinder_its_plane() -> None:
    da = image().assign_coords(lat=(("y", "x"), np.ones((4, 6))), lon=(("y", "x"), np.ones((4, 6))))
    assert cf.across(da) == ("y", "x")


# ---------------------------------------------------------------------- how they are drawn
def test_the_first_row_of_an_image_is_on_top() -> None:
    ax = plot.map(image())
    assert (ax.get_xlim(), ax.get_ylim(), ax.get_aspect()) == ((-0.5, 5.5), (3.5, -0.5), 1.0)
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("x (cells)", "y (cells)", "brightness")
    np.testing.assert_array_equal(ax.collections[0].get_array(), image().values)
    assert len(ax.collections) == 1  # no coasts
    digits = xatmo.datasets.moving_digits(1, n_frames=2, size=16, seed=0).isel(sequence=0, time=0)
    ax = plot.map(digits)
    assert (ax.get_ylim(), ax.get_ylabel()) == ((15.5, -0.5), "row, from the top")


@pytest.mark.parametrize("down", [False, True])
def test_coordinates_decide_which_way_y_goes(down: bool) -> None:
    y = np.arange(4)[:: -1 if down else 1] * 5000.0
    axes = {"y": ("y", y, {"units": "m"}), "x": ("x", np.arange(6) * 5000.0, {"units": "m"})}
    ax = plot.map(image().assign_coords(axes))
    assert (ax.get_xlim(), ax.get_ylim(), ax.get_aspect()) == ((-2.5, 27.5), (-2.5, 17.5), 1.0)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x (km)", "y (km)")
    edges = ax.collections[0].get_coordinates()
    assert edges[0, 0].tolist() == [-2.5, 17.5 if down else -2.5]


def test_units_short_ways_and_sides_that_cannot_be_compared() -> None:
    axes = {"y": ("y", np.arange(4) * 100.0, {"units": "hPa", "long_name": "pressure"}),
            "x": ("x", np.arange(6) * 500.0, {"units": "metre"})}  # fmt: skip
    ax = plot.map(image().assign_coords(axes))
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_aspect()) == ("x (metre)", "pressure (hPa)", 5.0)
    short = {n: (n, np.arange(k) * 500.0, {"units": "m"}) for n, k in (("y", 4), ("x", 6))}
    assert plot.map(image().assign_coords(short)).get_xlabel() == "x (m)"
    unordered = image().assign_coords(y=[0, 2, 1, 3], x=list("abcdef"))
    assert plot.map(unordered).get_ylabel() == "y (cells)"


def test_panels_have_labels_at_the_left_and_below() -> None:
    da = image(4).assign_coords(crs=((), 0, {"grid_mapping_name": "stereographic"}))
    axes = da.atmo.plot.maps("time", columns=2)
    assert [bool(ax.get_ylabel()) for ax in axes] == [True, False, True, False]
    assert [bool(ax.get_xlabel()) for ax in axes] == [False, False, True, True]
    assert plot.map(da.isel(time=0)).get_title() == "brightness"
    assert len(xr.Dataset({"a": image(), "b": image() + 1}).atmo.plot.maps()) == 2
    with pytest.raises(DimensionError, match=r"draws the plane \('y', 'x'\); there are also {'time': 4}"):
        plot.map(da)


def test_a_forecast_of_images_beside_its_truth() -> None:
    frames = image(8)
    ahead = frames.isel(time=slice(4, 8)).rename(time="lead_time").assign_coords(lead_time=np.arange(1, 5))
    moving = plot.animation({"truth": ahead, "forecast": ahead + 1}, dim="lead_time")
    figure = moving.frame(2)
    np.testing.assert_array_equal(figure.axes[0].collections[0].get_array(), frames.isel(time=6))
    assert figure.axes[0].get_ylim() == (3.5, -0.5)
    moving.close()
    few = plot.members(image(1, 3).isel(time=0), n=2)
    assert [ax.get_title() for ax in few] == ["mean of the members", "member 0", "member 1", "spread of the members"]


def test_observations_with_degrees_are_not_laid_on_a_plane() -> None:
    axes = {"latitude": ("obs", [1.0, 2.0]), "longitude": ("obs", [1.0, 2.0])}
    track = xr.DataArray([1.0, 2.0], axes, ["obs"], attrs={"units": "m"})
    with pytest.raises(CoordinateError, match="no latitude coordinate found"):
        plot.animation({"truth": image(2), "track": track})
    with pytest.raises(CoordinateError, match="no latitude coordinate found"):
        plot.tracks(track, image())


# ---------------------------------------------------------------------- rain
def test_rain_is_white_at_zero_and_darker_with_the_rate() -> None:
    rain = xatmo.datasets.rain_fields(2, (24, 24)).isel(time=1)

    def drawn(da: xr.DataArray, **attrs: str) -> QuadMesh:
        mesh = plot.map(da.assign_attrs(rain.attrs | attrs)).collections[0]
        assert isinstance(mesh, QuadMesh)
        return mesh

    mesh = drawn(rain + 0.5)
    assert (mesh.cmap.name, mesh.norm.vmin) == ("rain", 0.0)
    assert mesh.cmap(0.0) == (1.0, 1.0, 1.0, 1.0)
    assert drawn(rain * 0).norm.vmin == 0.0
    shades = np.array([np.dot(style.RAIN(v)[:3], [0.2126, 0.7152, 0.0722]) for v in np.linspace(0, 1, 64)])
    assert (np.diff(shades) < 0).all()
    assert drawn(rain - 1, long_name="difference of rain rate").cmap.name == style.DIVERGING
    assert drawn(rain > 1, long_name="probability of rainfall", units="1").cmap.name == style.SEQUENTIAL
    moving = plot.animation(xatmo.datasets.rain_fields(2, (24, 24)))
    assert moving.frame(0).axes[1].get_ylim()[0] == 0.0
    moving.close()
