"""Drawings of maps made of tracks: panels, error bars, resolved scales, tables, animations with points."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.axes import Axes

import xatmo
from xatmo import plot
from xatmo.errors import DimensionError, OptionError, VariableError
from xatmo.metrics import altimetry


@pytest.fixture(scope="module")
def sea() -> xr.DataArray:
    return xatmo.datasets.sea_level(days=20, step=0.5)["ssh"]


@pytest.fixture(scope="module")
def along(sea: xr.DataArray) -> xr.DataArray:
    paths = xatmo.datasets.nadir_tracks(["jason", "saral"], start="2012-10-01", days=19, region=sea)
    made: xr.DataArray = xatmo.datasets.observe(sea, paths, noise_std=0.02)
    return made


def drawn(ax: Axes) -> None:
    ax.figure.canvas.draw()  # warnings are errors


def values(ax: Axes, which: int = 0) -> np.ndarray:
    return np.asarray(ax.collections[which].get_array())


def with_bars(sea: xr.DataArray, factor: float = 1.0) -> xr.Dataset:
    random = np.random.default_rng(0)
    bar = 0.05 + 0.1 * random.random(sea.shape)
    return xr.Dataset({"ssh": sea + bar * random.normal(size=sea.shape), "ssh_error": factor * bar + 0 * sea})


# ---------------------------------------------------------------------- panels
def test_panels_of_several_analyses_share_ranges_by_kind(sea: xr.DataArray, along: xr.DataArray) -> None:
    day, truth = {"time": 7}, sea.isel(time=7)
    made = {"OI": 0.5 * truth, "4DVarNet": truth + 0.1}
    axes = plot.interpolation(along, made, {"OI": abs(truth)}, truth, difference=True, title="sea")
    drawn(axes[0])
    near = abs(along["time"] - sea["time"][7]) <= np.timedelta64(12, "h")
    titles = [ax.get_title() for ax in axes]
    assert titles == [
        f"observations ({int(near.sum())})", "OI", "4DVarNet", "error of OI", "truth", "OI - truth", "4DVarNet - truth"
    ]  # fmt: skip
    limits = [ax.collections[0].get_clim() for ax in axes]
    assert limits[0] == limits[1] == limits[2] == limits[4]
    assert limits[5] == limits[6]
    assert limits[5][0] == -limits[5][1]
    np.testing.assert_allclose(values(axes[6]), 0.1, atol=1e-6)
    bars = [ax.get_ylabel() for ax in axes[0].figure.axes[7:]]
    assert "standard deviation (m)" in bars
    assert bars[-1] == "difference (m)"
    shown = np.sort(values(axes[0]))
    np.testing.assert_allclose(shown, np.sort(along.values[near.values]))
    assert len(values(plot.interpolation(along, sea.isel(day), within="4D")[0])) > len(shown)


def test_differences_are_of_the_same_points(sea: xr.DataArray, along: xr.DataArray) -> None:
    truth = sea.isel(time=3)
    turned = truth.isel(latitude=slice(None, None, -1)).assign_coords(longitude=truth.longitude % 360)
    axes = plot.interpolation(along, truth + 1, truth=turned, difference=True)
    np.testing.assert_allclose(values(axes[3]), 1, atol=1e-6)
    with pytest.raises(DimensionError, match=r"has \(20, 20\) points, the truth \(10, 10\)"):
        plot.interpolation(along, truth, truth=truth[::2, ::2], difference=True)
    with pytest.raises(OptionError, match="wanted an analysis, and a truth to take differences from"):
        plot.interpolation(along, truth, difference=True)
    with pytest.raises(OptionError, match="within='long'; wanted a positive time"):
        plot.interpolation(along, truth, within="long")


def test_tracks_over_their_map(sea: xr.DataArray, along: xr.DataArray) -> None:
    day = sea.isel(time=7)
    ax = plot.tracks(along, day, within="36h")
    drawn(ax)
    count = int((abs(along["time"] - day["time"]) <= np.timedelta64(36, "h")).sum())
    assert ax.get_title() == f"sea surface height\n2012-10-08\n{count:,} observations"
    assert ax.collections[0].get_clim() == ax.collections[1].get_clim()
    assert ax.get_xlim() == (-65, -55)
    alone = plot.tracks(along)
    drawn(alone)
    assert len(values(alone)) == along.size
    west, east = alone.get_xlim()
    assert west < float(along.longitude.min()) < float(along.longitude.max()) < east
    assert along.atmo.plot.tracks(colour="black").get_xlim() == (west, east)


def test_missions_have_a_colour_each(along: xr.DataArray) -> None:
    ax = plot.tracks(along, colour="mission")
    drawn(ax)
    assert [len(c.get_offsets()) for c in ax.collections] == [int((along.mission == k).sum()) for k in (0, 1)]
    with pytest.raises(VariableError, match="wanted a CF flag 'mission' along it"):
        plot.tracks(along.drop_vars("mission"), colour="mission")
    with pytest.raises(OptionError, match="wanted 'value', 'mission' or 'black'"):
        plot.tracks(along, colour="red")


def test_a_track_without_places_is_refused(sea: xr.DataArray, along: xr.DataArray) -> None:
    with pytest.raises(ValueError, match="latitude"):
        plot.tracks(along.drop_vars(["latitude", "longitude"]))


# ---------------------------------------------------------------------- error bars
def test_section_has_bands_of_one_and_two_error_bars(sea: xr.DataArray) -> None:
    made = with_bars(sea)
    where = {"latitude": 38.25, "time": "2012-10-05"}
    cut, truth = (x.sel(where) for x in (made, sea))
    ax = plot.section(cut, truth, truth.where(truth > 0))
    drawn(ax)
    assert ax.get_title() in ("38.25°N, 2012-10-05", "2012-10-05, 38.25°N")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("longitude", "sea surface height (m)")
    top = ax.collections[0].get_datalim(ax.transData).y1
    assert top == pytest.approx(float((cut.ssh + 2 * cut.ssh_error).max()))
    legend = [t.get_text() for t in ax.get_legend().get_texts()]
    assert legend == ["two error bars", "one error bar", "analysis", "truth", "observations"]
    assert "°W" in ax.get_xticklabels()[1].get_text()
    both = plot.section({"a": cut, "b": cut}, truth)
    assert len(both.collections) == 2
    drawn(made.isel(latitude=0, longitude=0).atmo.plot.section(truth=sea.isel(latitude=0, longitude=0)))


def test_section_along_a_track_is_in_kilometres(sea: xr.DataArray, along: xr.DataArray) -> None:
    points = xatmo.datasets.nadir_tracks("jason", start="2012-10-05", days=4, region=sea)
    one = points.isel(time=points.pass_number.values == points.pass_number.values[0])
    line = xatmo.datasets.observe(with_bars(sea), one)
    ax = plot.section(line, xatmo.datasets.observe(sea, one))
    drawn(ax)
    assert ax.get_xlabel() == "distance along the track (km)"
    steps = np.diff(ax.lines[0].get_xdata())
    assert np.all((steps > 5) & (steps < 7))  # one second of Jason
    with pytest.raises(DimensionError, match="wanted 'time', as the analysis has"):
        plot.section(line, sea.isel(time=0, latitude=0))


def test_section_says_what_it_wants(sea: xr.DataArray) -> None:
    made = with_bars(sea)
    with pytest.raises(DimensionError, match="wanted one. Choose, for instance"):
        plot.section(made.isel(time=0))
    with pytest.raises(VariableError, match="wanted a field NAME with NAME_error"):
        plot.section(made.isel(time=0, latitude=0), variable="sst")
    with pytest.raises(OptionError, match="section got nothing to draw"):
        plot.section({})


def test_calibration_draws_densities_and_errors_by_length(sea: xr.DataArray) -> None:
    found = {n: xatmo.metrics.error_calibration(with_bars(sea, f), sea) for n, f in (("right", 1.0), ("short", 0.5))}
    axes = plot.calibration(found, title="bars")
    drawn(axes[0])
    legend = [t.get_text() for t in axes[0].get_legend().get_texts()]
    assert legend[0] == "Gaussian"
    assert legend[1].startswith("right, rms ")
    x, y = axes[1].lines[1].get_data()
    np.testing.assert_allclose(np.asarray(y) / np.asarray(x), 2, rtol=0.15)
    assert axes[1].get_ylabel() == "root mean square error (m)"
    drawn(plot.calibration(found["right"])[1])
    with pytest.raises(VariableError, match=r"no \['density'\]"):
        plot.calibration(found["right"].drop_vars("density"))
    with pytest.raises(DimensionError, match=r"scores over \('time',\)"):
        plot.calibration(xatmo.metrics.error_calibration(with_bars(sea), sea, dim=["latitude", "longitude"]))
    with pytest.raises(OptionError, match="calibration got nothing to draw"):
        plot.calibration({})


# ---------------------------------------------------------------------- resolved scales
def test_psd_score_marks_what_is_resolved(sea: xr.DataArray) -> None:
    smooth = sea.rolling(longitude=5, time=3, center=True, min_periods=1).mean()
    scores = {n: altimetry.psd_score(m, sea) for n, m in (("smooth", smooth), ("half", 0.5 * sea), ("none", 0 * sea))}
    axes = plot.psd_score(scores, title="scores")
    drawn(axes[0])
    scales = altimetry.resolved_scales(scores["smooth"])
    at = [line.get_xdata()[0] for line in axes[0].lines[-2:]], [line.get_ydata()[0] for line in axes[0].lines[-2:]]
    assert at[0][0] == pytest.approx(float(scales["lambda_x"]))
    assert at[1][1] == pytest.approx(float(scales["lambda_t"]))
    assert f"{float(scales['lambda_x']):.2f} degree" in axes[0].texts[0].get_text()
    assert "none" in axes[2].texts[0].get_text()
    assert axes[0].get_xlim()[0] > axes[0].get_xlim()[1]  # long waves at the left
    assert axes[0].get_ylabel() == "period (day)"
    drawn(plot.psd_score(scores["smooth"], paths="all", max_wavelength=5, max_period=10)[0])
    with pytest.raises(OptionError, match="psd_score got nothing to draw"):
        plot.psd_score({})


def test_track_score_marks_the_crossing() -> None:
    wavenumber = np.linspace(0.001, 0.05, 50)
    score = 1 - wavenumber / 0.02  # one half at 100 km
    spectra = xr.Dataset(
        {"psd_ref": ("wavenumber", wavenumber**-2), "psd_map": ("wavenumber", 0.5 * wavenumber**-2),
         "psd_error": ("wavenumber", (1 - score) * wavenumber**-2), "score": ("wavenumber", score)},
        {"wavenumber": wavenumber, "wavelength": ("wavenumber", 1 / wavenumber)},
    )  # fmt: skip
    axes = plot.track_score({"OI": spectra, "nothing": spectra.assign(score=0 * spectra["score"])})
    drawn(axes[0])
    assert [t.get_text() for t in axes[1].get_legend().get_texts()] == ["OI, 100 km", "nothing, none resolved"]
    assert axes[1].lines[1].get_xdata()[0] == pytest.approx(100, rel=1e-2)
    assert axes[0].lines[0].get_color() == "#000000"
    with pytest.raises(VariableError, match=r"no \['score'\]"):
        plot.track_score(spectra.drop_vars("score"))
    with pytest.raises(OptionError, match="track_score got nothing to draw"):
        plot.track_score({})


def test_score_maps_share_a_range(sea: xr.DataArray) -> None:
    maps = {n: altimetry.score_map(f * sea, sea) for n, f in (("OI", 0.5), ("better", 0.8))}
    axes = plot.score_map(maps, robust=False)
    drawn(axes[0])
    assert axes[0].collections[0].get_clim() == axes[1].collections[0].get_clim()
    assert axes[0].collections[0].get_clim()[0] == 0
    assert axes[0].figure.get_suptitle() == "root mean square error over time"
    with pytest.raises(VariableError, match="no 'mae' among"):
        plot.score_map(maps, "mae")
    with pytest.raises(OptionError, match="score_map got nothing to draw"):
        plot.score_map({})


def test_leaderboard_has_the_best_in_bold(sea: xr.DataArray) -> None:
    table = altimetry.leaderboard({"flat": 0.9 * sea}, sea, published="4 nadirs")
    axes = plot.leaderboard(table)
    drawn(axes[0])
    assert [t.get_text() for t in axes[0].get_yticklabels()] == list(table.index)
    bold = [t.get_text() for t in axes[0].texts if t.get_fontweight() == "bold"]
    assert bold == [f"{table['mu'].max():.3f}"]
    colours = [bar.get_facecolor() for bar in axes[0].patches]
    assert colours[0] != colours[1] == colours[2]
    assert axes[2].get_title() == "$\\lambda_x$ (degree)"
    assert len(plot.leaderboard(altimetry.published("ose2021a"))) == 3  # no lambda_t along tracks
    with pytest.raises(OptionError, match="the table has no row"):
        plot.leaderboard(table.iloc[:0])
    with pytest.raises(VariableError, match="wanted numbers in some of"):
        plot.leaderboard(pd.DataFrame({"a": [1.0]}))


# ---------------------------------------------------------------------- animation
def test_animation_shows_the_observations_of_each_frame(sea: xr.DataArray, along: xr.DataArray) -> None:
    error = (abs(sea) + 1).rename("ssh_error")
    moving = plot.animation({"truth": sea, "observations": along, "OI": 0.5 * sea, "error": error}, own=["error"])
    assert len(moving) == sea.sizes["time"]
    for index in (4, 5):
        axes = moving.frame(index).axes
        drawn(axes[0])
        near = abs(along["time"] - sea["time"][index]) <= np.timedelta64(12, "h")
        np.testing.assert_allclose(np.sort(values(axes[1])), np.sort(along.values[near.values]))
        assert len(axes[1].collections[0].get_offsets()) == int(near.sum())
    limits = [ax.collections[0].get_clim() for ax in axes[:4]]
    assert limits[0] == limits[1] == limits[2]
    assert limits[3][0] == 0
    with pytest.raises(OptionError, match="own='error' came; wanted a sequence"):
        plot.animation({"truth": sea, "error": error}, own="error")
    with pytest.raises(OptionError, match="reference='' is none of the fields"):
        plot.animation({"observations": along})


# ---------------------------------------------------------------------- calibration, the numbers
def test_calibration_of_right_and_wrong_bars(sea: xr.DataArray) -> None:
    right, short = (xatmo.metrics.error_calibration(with_bars(sea, f), sea, weights=None) for f in (1.0, 0.5))
    n = sea.size
    assert float(right["rms"]) == pytest.approx(1, abs=4 / np.sqrt(2 * n))
    assert float(short["rms"]) == pytest.approx(2 * float(right["rms"]))
    assert float(right["within_one"]) == pytest.approx(0.683, abs=0.02)
    assert float(right["within_two"]) == pytest.approx(0.954, abs=0.01)
    assert float(right["density"].sum() * 0.25) == pytest.approx(1, abs=1e-3)
    assert float(right["weight"].sum()) == pytest.approx(1)
    np.testing.assert_allclose(right["error"] / right["spread"], 1, atol=0.12)
    assert right["spread"].attrs["units"] == "m"


def test_calibration_is_lazy_and_the_same_for_any_chunks(sea: xr.DataArray, no_compute: Any) -> None:
    made = with_bars(sea)
    whole = xatmo.metrics.error_calibration(made, sea)
    with no_compute():
        lazy = xatmo.metrics.error_calibration(made.chunk(time=3, latitude=7), sea.chunk(time=5))
    xr.testing.assert_allclose(lazy.compute(), whole)
    centimetres = made.assign({n: (100 * v).assign_attrs(units="cm") for n, v in made.items()})
    made["ssh_error"].attrs.pop("units", None)
    xr.testing.assert_allclose(xatmo.metrics.error_calibration(made, sea), whole)
    xr.testing.assert_allclose(xatmo.metrics.error_calibration(centimetres, sea), whole)


def test_calibration_says_what_it_wants(sea: xr.DataArray) -> None:
    with pytest.raises(VariableError, match="wanted a field NAME with NAME_error"):
        xatmo.metrics.error_calibration(sea.to_dataset(), sea)
    with pytest.raises(VariableError, match="of which 'sst' was asked for"):
        xatmo.metrics.error_calibration(with_bars(sea), sea, variable="sst")
    with pytest.raises(OptionError, match="bins=0; wanted a whole number"):
        xatmo.metrics.error_calibration(with_bars(sea), sea, bins=0)


def test_labels_of_colour_bars_break_where_panels_are_low() -> None:
    name = "absolute dynamic topography of the whole Mediterranean"
    ds = xatmo.datasets.sea_level(days=1, step=1.0, latitude=(34, 38), longitude=(0, 16))
    flat = ds["ssh"].isel(time=0).assign_attrs(long_name=name, units="m")
    figure, axes = plt.subplots(3, 2, figsize=(8, 6), layout="constrained")
    xatmo.plot.map(flat, ax=axes[1, 0])
    (label,) = {ax.get_ylabel() for ax in figure.axes if "topography" in ax.get_ylabel()}
    assert "\n" in label
    assert label.replace("\n", " ") == f"{name} (m)"
    plt.close(figure)
