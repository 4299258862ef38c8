"""Animations: frames, ranges, regions, files, and that only one frame is computed at a time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path

import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.animation import FFMpegWriter
from PIL import Image

import xatmo
from xatmo import plot
from xatmo.errors import CoordinateError, DimensionError, MissingDependencyError, OptionError


def field(nlat: int = 8, times: int = 4, first: int = 0) -> xr.DataArray:
    grid = xatmo.Grid.regular(nlat, 2 * nlat, poles=False)
    coords = {"time": pd.date_range("2001-01-01", periods=times + first)[first:], **grid.coords()}
    values = np.random.default_rng(nlat).normal(size=(times, *grid.shape)) + np.arange(times)[:, None, None]
    return xr.DataArray(values, coords, ("time", "latitude", "longitude"), "t2m", {"units": "K"})


def shown(moving: plot.Animation, frame: int, panel: int) -> np.ndarray:
    return np.asarray(moving.frame(frame).axes[panel].collections[0].get_array())


def test_frames_show_the_fields_at_their_labels() -> None:
    truth, coarse = field(), field(4, times=5, first=1)
    moving = plot.animation({"coarse": coarse, "truth": truth, "still": truth[0].drop_vars("time")}, title="made")
    assert len(moving) == 3  # the times that both have
    assert repr(moving) == "<Animation of coarse, truth, still: 3 frames along 'time'>"
    for index in (0, 2, 1, -1):
        np.testing.assert_array_equal(shown(moving, index, 1), truth[1:][index])
        np.testing.assert_array_equal(shown(moving, index, 0), coarse[:3][index])
        np.testing.assert_array_equal(shown(moving, index, 2), truth[0])
    assert moving.frame(-1).get_suptitle() == "made\n2001-01-04"
    assert moving.frame(0) is moving.frame(1)
    with pytest.raises(OptionError, match="frame 3 came; there are 3"):
        moving.frame(3)


def test_the_truth_decides_the_range() -> None:
    truth = field()
    wild = (100 * truth).assign_attrs(truth.attrs)
    moving = plot.animation({"wild": wild, "truth": truth}, robust=False)
    limits = {ax.collections[0].get_clim() for ax in moving.frame(0).axes[:2]}
    assert limits == {(float(truth.min()), float(truth.max()))}
    other = plot.animation({"wild": wild, "truth": truth}, reference="wild", vmin=0)
    low, high = other.frame(0).axes[0].collections[0].get_clim()
    assert (low, high > 50) == (0, True)


@pytest.mark.parametrize("turned", [False, True])
def test_regions_cross_the_date_line_and_zero(turned: bool) -> None:
    da = field(18)
    if turned:
        da = (
            da.assign_coords(longitude=(da.longitude + 180) % 360 - 180)
            .sortby("longitude")
            .isel(latitude=slice(None, None, -1))
        )
    for west, east in ((-20, 20), (170, 200)):
        moving = plot.animation(da, latitude=(0, 40), longitude=(west, east))
        ax = moving.frame(0).axes[0]
        assert ax.get_xlim() == (west, east)
        assert ax.get_ylim() == (0, 40)
        mesh = ax.collections[0]
        edges = mesh.get_coordinates()
        assert edges[..., 0].min() <= west <= east <= edges[..., 0].max()
        middle = (edges[:-1, :-1] + edges[1:, 1:]) / 2
        for x, y, value in zip(middle[..., 0].ravel(), middle[..., 1].ravel(), mesh.get_array().ravel(), strict=True):
            at = (da.longitude.values - x + 180) % 360 - 180
            expected = da[0].sel(latitude=y, method="nearest").isel(longitude=int(np.abs(at).argmin()))
            assert value == float(expected)


def test_only_the_frame_that_is_drawn_is_computed(no_compute: Callable[[], AbstractContextManager[None]]) -> None:
    seen: list[int] = []

    def block(values: np.ndarray, block_info: dict) -> np.ndarray:
        seen.append(block_info[0]["array-location"][0][0])
        return values

    truth = field()
    data = dask.array.from_array(truth.values, chunks=(1, -1, -1)).map_blocks(
        block, dtype=float, meta=np.empty((0, 0, 0))
    )
    with no_compute():
        moving = plot.animation({"made": truth.copy(data=data), "truth": truth}, dim="time")
    assert seen == []
    moving.frame(2)
    assert set(seen) == {2}


def test_gif_has_all_frames_and_appears_whole(tmp_path: Path) -> None:
    moving = plot.animation({"truth": field()}, dpi=40)
    told: list[tuple[int, int]] = []
    path = moving.save(tmp_path / "a.gif", fps=5, progress=lambda *now: told.append(now))
    with Image.open(path) as image:
        assert image.n_frames == 4
        assert image.info["duration"] == 200
        assert image.info["loop"] == 0
        frames = []
        for i in range(4):
            image.seek(i)
            frames.append(np.asarray(image.convert("RGB"), dtype=int))
    assert all(np.abs(a - b).max() > 50 for a, b in pairwise(frames))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [p.name for p in tmp_path.iterdir()] == ["a.gif"]
    with pytest.raises(FileExistsError, match="a.gif exists; pass overwrite=True"):
        moving.save(path, overwrite=False)

    def broken(*_: int) -> None:
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        moving.save(tmp_path / "b.gif", progress=broken)
    assert [p.name for p in tmp_path.iterdir()] == ["a.gif"]


@pytest.mark.skipif(not FFMpegWriter.isAvailable(), reason="the program ffmpeg is not here")
def test_mp4(tmp_path: Path) -> None:
    path = plot.animation({"truth": field()}, dpi=40).save(tmp_path / "a.mp4")
    assert path.read_bytes()[4:8] == b"ftyp"


def test_mp4_without_ffmpeg_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FFMpegWriter, "isAvailable", lambda: False)
    with pytest.raises(MissingDependencyError, match="needs the program ffmpeg.*or write a .gif"):
        field().atmo.plot.animation().save(tmp_path / "a.mp4")
    with pytest.raises(OptionError, match="wanted a name that ends in .gif or .mp4"):
        field().atmo.plot.animation().save(tmp_path / "a.avi")


def test_html_holds_every_frame() -> None:
    moving = plot.animation({"truth": field()}, dpi=30)
    page = moving.to_html(every=2)
    assert page.count("iVBORw0KGgo") == 3  # two frames, and the first to begin with
    assert "http" not in page
    assert moving._repr_html_().count("iVBORw0KGgo") == 5
    moving.close()
    assert moving.frame(1) is not None


def test_what_does_not_move_or_belong_together_is_refused() -> None:
    da = field()
    with pytest.raises(OptionError, match="animation got no fields"):
        plot.animation({})
    with pytest.raises(OptionError, match=r"reference='x' is none of the fields; wanted one of \['a'\]"):
        plot.animation({"a": da}, reference="x")
    with pytest.raises(DimensionError, match="no field has the dimension 'level'"):
        plot.animation({"a": da}, dim="level")
    with pytest.raises(DimensionError, match=r"has a dimension 'level' of 2 points beside 'time'"):
        plot.animation({"a": da.expand_dims(level=2)})
    with pytest.raises(CoordinateError, match="no label of 'time' in common"):
        plot.animation({"a": da, "b": da.assign_coords(time=da.time + np.timedelta64(99, "D"))})
    with pytest.raises(CoordinateError, match="wanted labels, or one size"):
        plot.animation({"a": da.drop_vars("time"), "b": da[1:].drop_vars("time")})
    with pytest.raises(CoordinateError, match="holds no point of 'latitude'"):
        plot.animation(da, latitude=(91, 99))
    rings = xatmo.Grid.healpix(2)
    on_rings = xr.DataArray(np.zeros((2, rings.npoints)), rings.coords(), ("time", rings.dim))
    with pytest.raises(DimensionError, match="a region needs rows and columns"):
        plot.animation({"a": on_rings}, latitude=(0, 10))
    assert len(xr.Dataset({"a": da, "b": da}).drop_vars("time").atmo.plot.animation()) == 4


def forecasts(truth: xr.DataArray) -> xr.DataArray:
    """Starts 0 and 1 of ``truth``, leads of one and two steps; values are ten times the start plus the lead."""
    lead = np.array([1, 2], "m8[D]").astype("m8[ns]")
    axes = {"init_time": truth.time.values[:2], "lead_time": lead, **{n: truth[n] for n in ("latitude", "longitude")}}
    values = 10.0 * np.arange(2)[:, None] + np.arange(1, 3)
    values = np.broadcast_to(values[..., None, None], (2, 2, *truth.shape[1:])).copy()
    return xr.DataArray(values, axes, ("init_time", "lead_time", "latitude", "longitude"), "t2m", {"units": "K"})


def test_a_forecast_moves_along_its_leads_beside_the_truth_at_its_valid_times() -> None:
    truth = field()
    made = forecasts(truth)
    moving = plot.animation({"truth": truth, "forecast": made.isel(init_time=1)})
    assert len(moving) == 2
    np.testing.assert_array_equal(shown(moving, 1, 0), truth[3])
    np.testing.assert_array_equal(shown(moving, 1, 1), 12.0)
    assert moving.frame(1).get_suptitle() == "t2m\nlead time 48 h: 2001-01-04 00:00, from 2001-01-02 00:00"
    along = plot.animation({"truth": truth, "forecast": made.isel(lead_time=0)})
    np.testing.assert_array_equal(shown(along, 1, 0), truth[2])
    np.testing.assert_array_equal(shown(along, 1, 1), 11.0)
    assert along.frame(0).get_suptitle().endswith("lead time 24 h: 2001-01-02 00:00, from 2001-01-01 00:00")


def test_several_starts_and_truths_that_end_before_are_refused() -> None:
    truth = field()
    with pytest.raises(DimensionError, match=r"'init_time' of 2 points came.*forecast\.isel\(init_time=0\)"):
        plot.animation({"truth": truth, "forecast": forecasts(truth)})
    with pytest.raises(CoordinateError, match="no field at 1 of 2 valid times"):
        plot.animation({"truth": truth[:3], "forecast": forecasts(truth).isel(init_time=1)})


def test_members_of_a_forecast_beside_a_truth_along_time() -> None:
    truth = field()[:, 0, 0]
    made = forecasts(field()).isel(init_time=1, latitude=0, longitude=0)
    ax = plot.members(xr.concat([made, made + 1], "member"), truth)
    line = next(one for one in ax.lines if one.get_label() == "truth")
    np.testing.assert_array_equal(line.get_xydata(), np.column_stack([[24.0, 48.0], truth[2:4]]))
    assert ax.get_xlabel() == "lead time (h)"


def test_a_field_minus_another_has_colours_around_zero() -> None:
    da = field()[0].rename("made").assign_attrs(long_name="network minus truth")
    mesh = plot.map(abs(da).assign_attrs(da.attrs)).collections[0]
    assert mesh.get_clim()[0] == -mesh.get_clim()[1]
    assert mesh.get_cmap().name == "RdBu_r"
