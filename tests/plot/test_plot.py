"""Drawings: labels, scales, units, ranges, and what is refused."""

from __future__ import annotations

import subprocess
import sys
import types
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

import xatmo
from xatmo import plot
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import DimensionError, OptionError, VariableError
from xatmo.plot import style


def field(name: str = "t", *, regional: bool = False, **attrs: str) -> xr.DataArray:
    if regional:
        lat, lon = np.arange(33.25, 43, 0.5), np.arange(-70.75, -50, 0.5)
        grid = xatmo.Grid.from_latlon(lat, lon)
    else:
        grid = xatmo.Grid.regular(37, 72)
    values = np.random.default_rng(0).normal(size=grid.shape)
    return xr.DataArray(values, grid.coords(), dims=("latitude", "longitude"), name=name, attrs=attrs)


def drawn(ax: Axes) -> None:
    ax.figure.canvas.draw()  # warnings are errors


# ---------------------------------------------------------------------- maps
def test_map_has_units_on_the_colour_bar_a_title_and_true_edges() -> None:
    da = field(long_name="2 metre temperature", units="K").expand_dims(time=[np.datetime64("2020-01-02T06")])
    ax = plot.map(da)
    drawn(ax)
    assert ax.get_title() == "2 metre temperature\n2020-01-02 06:00"
    bar = ax.figure.axes[1]
    assert bar.get_ylabel() == "2 metre temperature (K)"
    assert ax.get_xlim() == (-2.5, 357.5)
    assert ax.get_ylim() == (-90, 90)
    assert {t.get_text() for t in ax.get_yticklabels()} >= {"60°N", "0°", "30°S"}


@pytest.mark.parametrize(
    "grid", [xatmo.Grid.healpix(4), xatmo.Grid.healpix(4, nest=True), xatmo.Grid.reduced_gaussian("O8")]
)
def test_points_on_rings_fill_the_places_that_they_are_nearest_to(grid: Any) -> None:
    numbers = xr.DataArray(np.arange(float(grid.npoints)), grid.coords(), dims=grid.dim, name="t", attrs={"units": "K"})
    numbers[3] = np.nan
    ax = plot.map(numbers)
    drawn(ax)
    shown = ax.collections[0].get_array()
    assert ax.get_ylim() == (-90, 90)
    rows = np.floor((90 - grid.point_latitude) / 180 * shown.shape[0]).astype(int)
    columns = np.floor(grid.point_longitude / 360 * shown.shape[1]).astype(int)
    np.testing.assert_array_equal(np.ma.filled(shown[rows, columns], np.nan), numbers)
    assert np.unique(shown.compressed()).size == grid.npoints - 1
    assert plot.map(numbers.expand_dims(time=[0]).chunk()).get_title() == "t\ntime 0"
    assert len(xr.Dataset({"t": numbers, "s": 2 * numbers}).atmo.plot.maps()) == 2


def test_signed_quantities_get_a_diverging_map_around_zero_and_others_do_not() -> None:
    mesh = plot.map(field(standard_name="atmosphere_relative_vorticity", units="s-1")).collections[0]
    assert mesh.get_cmap().name == style.DIVERGING
    low, high = mesh.get_clim()
    assert low == -high
    assert plot.map(field(units="degC")).collections[0].get_cmap().name == style.SEQUENTIAL


def test_map_accepts_any_order_and_a_repeated_column() -> None:
    da = field()
    turned = da.isel(longitude=[*range(72), 0]).assign_coords(longitude=np.arange(73) * 5.0).transpose()
    first, second = (plot.map(d).collections[0].get_array() for d in (da, turned))
    np.testing.assert_array_equal(first, second)


def test_missing_cells_are_left_out_and_a_constant_field_can_be_drawn() -> None:
    da = field(regional=True)
    ax = plot.map((da * 0 + 3).where(da > 0))
    drawn(ax)
    assert ax.collections[0].get_array().mask.sum() == int((da <= 0).sum())
    drawn(plot.map(da.where(False)))


def test_robust_range_says_that_values_go_beyond_it() -> None:
    da = field()
    da[0, 0] = 1e6
    ax = plot.map(da, robust=True)
    assert ax.collections[0].get_clim()[1] < 10
    assert style.colour_range([da], cmap=None, vmin=None, vmax=None, robust=True)["extend"] == "both"


def test_maps_share_one_colour_range_over_different_grids() -> None:
    fine = field(units="m")
    coarse = fine.coarsen(latitude=4, longitude=4, boundary="trim").mean()
    axes = plot.maps({"fine": fine, "coarse": coarse}, title="both")
    drawn(axes[0])
    assert [ax.get_title() for ax in axes] == ["fine", "coarse"]
    limits = {ax.collections[0].get_clim() for ax in axes}
    assert limits == {(float(fine.min()), float(fine.max()))}
    assert axes[0].figure.axes[-1].get_ylabel() == "t (m)"


def test_maps_in_different_units_have_their_own_ranges() -> None:
    ds = xr.Dataset({"z": field() + 5e4, "u": field(units="m s-1"), "v": field(units="m s**-1") * 2})
    ds["z"].attrs, ds["v"].attrs = {"units": "m2 s-2", "long_name": "geopotential"}, {"units": "m s**-1"}
    axes = ds.atmo.plot.maps()
    drawn(axes[0])
    limits = [ax.collections[0].get_clim() for ax in axes]
    assert limits[0][0] > 4e4
    assert limits[1] == limits[2]
    assert [ax.get_ylabel() for ax in axes[0].figure.axes[3:]] == ["geopotential (m² s⁻²)", "u (m s⁻¹)", "v (m s⁻¹)"]


def test_scores_along_time_have_few_dates_and_room_above() -> None:
    time = np.datetime64("2005-04-01") + np.arange(61)
    score = xr.Dataset({"rmse": ("time", np.full(61, 0.01), {"units": "m"})}, {"time": time})
    ax = plot.scores(score)[0]
    drawn(ax)
    assert len([t for t in ax.get_xticklabels() if t.get_text()]) <= 6
    assert ax.get_ylim()[0] == 0
    assert ax.get_ylim()[1] > 0.0105


def test_coasts_are_drawn_when_there_are_some(monkeypatch: pytest.MonkeyPatch) -> None:
    line = types.SimpleNamespace(coords=[(10.0, 0.0), (20.0, 10.0)])
    feature = types.ModuleType("cartopy.feature")
    feature.NaturalEarthFeature = lambda *a: types.SimpleNamespace(geometries=lambda: [line])  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cartopy.feature", feature)
    monkeypatch.setattr(sys.modules["xatmo.plot._fields"], "available", lambda module: True)
    ax = plot.map(field())
    assert any(isinstance(c, LineCollection) and len(c.get_segments()) == 3 for c in ax.collections)
    assert ax.get_xlim() == (-2.5, 357.5)
    assert not any(isinstance(c, LineCollection) for c in plot.map(field(), coastlines=False).collections)
    feature.NaturalEarthFeature = lambda *a: 1 / 0  # type: ignore[attr-defined]
    drawn(plot.map(field()))


def test_map_asks_to_choose() -> None:
    with pytest.raises(DimensionError, match=r"there are also \{'time': 3\}. Choose, for instance da.isel\(time=0\)"):
        plot.map(field().expand_dims(time=3))
    with pytest.raises(OptionError, match="maps got no fields"):
        plot.maps({})


# ---------------------------------------------------------------------- interpolation
def test_interpolation_draws_four_panels_that_share_a_range() -> None:
    truth = field("ssh", regional=True, units="m", long_name="sea surface height")
    obs = truth.where(np.random.default_rng(1).random(truth.shape) < 0.1)
    axes = plot.interpolation(obs, truth + 0.1, abs(truth), truth, title="twin")
    drawn(axes[0])
    count = int(obs.notnull().sum())
    titles = [f"observations ({count})", "analysis", "error of the analysis", "truth"]
    assert [ax.get_title() for ax in axes] == titles
    limits = [ax.collections[0].get_clim() for ax in axes]
    assert limits[0] == limits[1] == limits[3]
    assert limits[2][0] == 0
    assert len(axes[0].collections[0].get_offsets()) == count
    labels = [ax.get_ylabel() for ax in axes[0].figure.axes[4:]]
    assert "standard deviation (m)" in labels


def test_interpolation_takes_a_track_and_two_panels() -> None:
    analysis = field("ssh", regional=True)
    track = xr.DataArray(
        np.zeros(5), {"lat": ("n", np.linspace(34, 40, 5)), "lon": ("n", np.linspace(290, 305, 5))}, dims="n"
    )
    axes = plot.interpolation(track, analysis)
    drawn(axes[0])
    assert len(axes) == 2
    assert axes[0].collections[0].get_offsets()[:, 0].max() == pytest.approx(
        -55
    )  # 305 degrees east, in the map's range


# ---------------------------------------------------------------------- spectra
def by_degree(slope: float = -3.0, **attrs: str) -> xr.DataArray:
    n = np.arange(64.0)
    with np.errstate(divide="ignore"):
        power = np.where(n > 0, n**slope, 5.0)
    return xr.DataArray(power, {"degree": n}, dims="degree", attrs={"units": "m2 s-2", **attrs})


def test_spectra_are_log_log_with_wavelengths_on_top() -> None:
    ax = plot.spectra({"truth": by_degree(), "other": by_degree(-4)}, slopes=(-3, -5 / 3))
    drawn(ax)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert ax.get_xlabel() == "spherical harmonic degree"
    assert ax.get_ylabel() == "power (m² s⁻²)"
    truth = next(line for line in ax.lines if line.get_label() == "truth")
    assert truth.get_xdata()[0] == 1
    assert truth.get_color() == style.TRUTH
    top = ax.child_axes[0]
    assert top.get_xlabel() == "wavelength (km)"
    to_km, back = top._functions
    n = np.array([1.0, 10.0, 63.0])
    np.testing.assert_allclose(to_km(n), 2 * np.pi * EARTH_RADIUS / 1e3 / np.sqrt(n * (n + 1)))
    np.testing.assert_allclose(back(to_km(n)), n)
    assert {t.get_text() for t in ax.texts} == {"$n^{-3}$", "$n^{-5/3}$"}


def test_reference_slopes_have_their_slope() -> None:
    ax = plot.spectrum(by_degree(), slopes=(-3,))
    dashed = next(line for line in ax.lines if line.get_color() == "0.45")
    x, y = dashed.get_data()
    np.testing.assert_allclose(np.diff(np.log(y)) / np.diff(np.log(x)), -3)


def test_effective_resolution_is_marked_where_it_is() -> None:
    ax = plot.spectra({"a": by_degree(), "b": by_degree(-4)}, effective_resolution={"a": 2e6, "b": np.inf})
    drawn(ax)
    marks = [line for line in ax.lines if line.get_linestyle() == ":" and len(line.get_xdata())]
    n = marks[0].get_xdata()[0]
    assert len(marks) == 1
    assert 2 * np.pi * EARTH_RADIUS / np.sqrt(n * (n + 1)) == pytest.approx(2e6)
    assert "2,000 km" in {t.get_text() for t in ax.texts}
    drawn(plot.spectrum(by_degree(), effective_resolution=1e6))


def test_wavenumbers_are_shown_per_km_and_other_dimensions_averaged() -> None:
    k = np.arange(1, 9) * 1e-6
    da = xr.DataArray(np.ones((2, 8)) * [[1.0], [3.0]], {"wavenumber": k}, dims=("time", "wavenumber"))
    ax = plot.spectra({"x": da})
    drawn(ax)
    np.testing.assert_allclose(ax.lines[0].get_xdata(), k * 1e3)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), 2)
    assert ax.get_xlabel() == "wavenumber (cycles per km)"
    zonal = plot.spectrum(da.rename(wavenumber="zonal_wavenumber"))
    drawn(zonal)
    assert not zonal.child_axes


def test_a_wind_shows_its_parts_and_a_field_its_power() -> None:
    wind = xr.Dataset({n: by_degree() for n in ("energy", "rotational", "divergent")})
    ax = plot.spectrum(wind)
    assert [line.get_label() for line in ax.lines] == ["energy", "rotational", "divergent"]
    assert ax.get_ylabel() == "kinetic energy (m² s⁻²)"
    assert [line.get_label() for line in plot.spectra({"w": wind}).lines] == ["w"]
    shown = plot.spectrum(field(units="K"))
    assert shown.get_xlabel() == "spherical harmonic degree"
    assert "K²" in shown.get_ylabel()


def test_spectra_refuse_what_does_not_belong_together() -> None:
    with pytest.raises(OptionError, match="spectra got nothing to draw"):
        plot.spectra({})
    with pytest.raises(OptionError, match=r"spectra by \['degree', 'wavenumber'\] came; one plot shows one"):
        plot.spectra({"a": by_degree(), "b": by_degree().rename(degree="wavenumber")})


# ---------------------------------------------------------------------- curves
def test_learning_curve_shows_losses_by_step() -> None:
    history = pd.DataFrame({"step": [1, 2, 3, 4], "epoch": [0, 0, 1, 1], "loss": [1.0, 0.5, 0.4, 0.3]})
    history["val_loss"] = [np.nan, 0.7, np.nan, 0.5]
    ax = plot.learning_curve(history, title="run")
    drawn(ax)
    assert ax.get_xlabel() == "optimiser step"
    assert ax.get_yscale() == "log"
    np.testing.assert_array_equal(ax.lines[1].get_xdata(), [2, 4])
    assert plot.learning_curve(history.assign(loss=-history.loss)).get_yscale() == "linear"
    with pytest.raises(OptionError, match=r"no losses, only \['step'\]; fit the task first"):
        plot.learning_curve(history[["step"]])


def test_scores_become_bars_with_bounds_or_lines() -> None:
    ds = xr.Dataset({
        "rmse": ((), 0.5, {"units": "m s-1"}), "rmse_lower": ((), 0.4), "rmse_upper": ((), 0.6),
        "effective_resolution": ((), 2e5, {"units": "m"}),
    })  # fmt: skip
    axes = plot.scores({"a": ds, "b": ds * 2}, title="compared")
    drawn(axes[0])
    assert [ax.get_xlabel() for ax in axes] == ["RMSE (m s⁻¹)", "effective resolution (km)"]
    assert [p.get_width() for p in axes[1].patches] == [200, 400]
    assert axes[0].get_ylim() == (1.5, -0.5)
    steps = {"lead_time": pd.timedelta_range("6h", periods=3, freq="6h")}
    line = xr.Dataset({"rmse": ("lead_time", [1.0, 2, 3]), "rmse_lower": ("lead_time", [0.5, 1, 2])}, steps)
    (ax,) = plot.scores(line.assign(rmse_upper=line.rmse + 1))
    drawn(ax)
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [6, 12, 18])
    assert ax.get_xlabel() == "lead time (h)"
    few, many = (plot.scores({name: line for name in names})[0] for names in ("abc", "abcd"))
    assert few.get_legend() is not None
    assert many.get_legend() is None  # it would lie on the lines
    (beside,) = many.figure.legends
    assert [text.get_text() for text in beside.get_texts()] == ["a", "b", "c", "d"]
    with pytest.raises(OptionError, match="scores got nothing to draw"):
        plot.scores(xr.Dataset())
    with pytest.raises(OptionError, match="score 'rmse' has dimensions"):
        plot.scores(line.expand_dims(level=2))


# ---------------------------------------------------------------------- accessor
def test_accessor_draws_what_an_object_allows() -> None:
    ds = xr.Dataset({"a": field("a"), "b": field("b")})
    assert isinstance(ds.atmo.plot.map("a"), Axes)
    assert isinstance(ds[["a"]].atmo.plot.map(), Axes)
    assert len(ds.atmo.plot.maps()) == 2
    assert len(ds.atmo.plot.interpolation("a", "b", error="b")) == 3
    stacked = ds.a.expand_dims(level=[500, 850])
    assert [ax.get_title() for ax in stacked.atmo.plot.maps("level")] == ["level 500", "level 850"]
    assert isinstance(ds.a.atmo.plot.spectrum(), Axes)
    assert len(xr.Dataset({"rmse": 1.0}).atmo.plot.scores()) == 1
    with pytest.raises(VariableError, match=r"variable None came; choose one of \['a', 'b'\]"):
        ds.atmo.plot.map()
    with pytest.raises(VariableError, match="this DataArray is 'a', not 'c'"):
        ds.a.atmo.plot.map("c")
    with pytest.raises(OptionError, match=r"maps\(along='time'\) came; wanted a dimension"):
        stacked.atmo.plot.maps("time")


def test_importing_xatmo_does_not_load_matplotlib() -> None:
    code = "import sys, xatmo; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
