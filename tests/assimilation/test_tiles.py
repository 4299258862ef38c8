"""Analyses in overlapping tiles: partition of unity, the whole analysis, chunks, order, the globe, land."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from xatmo.assimilation import SPDE, fourdvar_interp, optimal_interp
from xatmo.assimilation.dense._optimal import CovarianceProblem
from xatmo.assimilation.labels.observations import Nodes
from xatmo.assimilation.spde._variational import VariationalProblem
from xatmo.assimilation.tiling._tiling import Cuts, Reach, Tiling
from xatmo.errors import ChunkError, MissingValueError, OptionError

DEGREE = np.radians(1) * 6371229.0
SCALES = {"length_scale": DEGREE, "time_scale": "3D", "noise_std": 0.2, "signal_std": 1.0}
TILES = {"time": 8, "lat": 14, "lon": 14}
BOTH = pytest.mark.parametrize("interp", [optimal_interp, fourdvar_interp], ids=["oi", "spde"])


def season(n_time: int = 16, n: int = 24, step: float = 0.4, fraction: float = 0.06, **axes) -> xr.Dataset:
    rng = np.random.default_rng(0)
    lat = axes.get("lat", 30 + step * np.arange(n))
    lon = axes.get("lon", 300 + step * np.arange(n))
    prior = SPDE.on_sphere(
        lat, lon[1] - lon[0], lon.size, n_time, 86400.0, length_scale=DEGREE, time_scale=3 * 86400.0,
        periodic=bool(lon.size * (lon[1] - lon[0]) > 359),
    )  # fmt: skip
    truth = prior.sample(rng)
    seen = np.where(rng.random(truth.shape) < fraction, truth + 0.2 * rng.standard_normal(truth.shape), np.nan)
    dates = np.datetime64("2013-01-01", "ns") + np.arange(n_time) * np.timedelta64(1, "D")
    dims = ("time", "lat", "lon")
    return xr.Dataset({"ssh": (dims, seen), "truth": (dims, truth)}, {"time": dates, "lat": lat, "lon": lon})


def rms(da: xr.DataArray) -> float:
    return float(np.sqrt((da**2).mean()))


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize(("points", "size", "overlap"), [(50, 12, 4), (31, 10, 0), (9, 20, 3), (20, 19, 5), (7, 2, 1)])
def test_weights_add_up_to_one(points, size, overlap, periodic):
    cuts = Cuts.of(points, size, overlap, periodic=periodic)
    total = np.zeros(points)
    for k in range(cuts.count):
        assert (cuts.weights(k) > 0).all()
        np.add.at(total, cuts.index(k), cuts.weights(k))
    np.testing.assert_allclose(total, 1, rtol=1e-14)
    if not periodic:
        assert cuts.starts[-1] + cuts.size == points


@BOTH
def test_tiles_are_nearly_the_whole_analysis(interp):
    ds = season()
    whole = interp(ds, "ssh", **SCALES, uncertainty=True)
    tiled = interp(ds, "ssh", **SCALES, uncertainty=True, tiles=TILES)
    difference = tiled - whole
    # Far below what is not known: the error is 0.5 to 1.
    assert rms(difference["ssh"]) < 0.02
    assert float(abs(difference["ssh"]).max()) < 0.15
    assert 0 < rms(difference["ssh_error"]) < 0.005
    assert abs(rms(tiled["ssh"] - ds["truth"]) - rms(whole["ssh"] - ds["truth"])) < 2e-3
    if interp is fourdvar_interp:  # whose covariance is that of the truth
        assert 0.8 < float((((tiled["ssh"] - ds["truth"]) / tiled["ssh_error"]) ** 2).mean()) < 1.2
    assert "tiles={'time': 8" in tiled.attrs["history"]


def test_a_tile_as_large_as_the_grid_is_the_whole_analysis():
    ds = season(8, 12)
    for interp in (optimal_interp, fourdvar_interp):
        whole = interp(ds, "ssh", **SCALES, uncertainty=True)
        tiled = interp(ds, "ssh", **SCALES, uncertainty=True, tiles={})
        xr.testing.assert_allclose(tiled, whole, rtol=1e-10)


@BOTH
def test_a_constant_background_stays(interp):
    ds = season(fraction=0.02)
    constant = xr.full_like(ds["ssh"], 3.5)
    same = ds["ssh"].where(ds["ssh"].isnull(), 3.5).to_dataset()
    out = interp(same, "ssh", **SCALES, background=constant, tiles=TILES)
    np.testing.assert_allclose(out["ssh"], 3.5, rtol=1e-12)
    np.testing.assert_allclose(interp(same, "ssh", **SCALES, tiles=TILES)["ssh"], 3.5, rtol=1e-12)


@BOTH
@pytest.mark.parametrize("chunks", [{"time": 5, "lat": 7, "lon": 9}, {"time": -1, "lat": -1, "lon": -1}])
def test_chunks_do_not_matter(interp, chunks):
    ds = season()
    ds["sea"] = (ds["lat"] + 0 * ds["lon"]) < 37
    ds["guess"] = 0.1 * ds["truth"]
    given = {"domain": "sea", "background": "guess", "uncertainty": True, "tiles": TILES}
    expected = interp(ds, "ssh", **SCALES, **given)
    lazy = interp(ds.chunk(chunks), "ssh", **SCALES, **given)
    assert lazy["ssh"].chunks[:2] == ds["ssh"].chunk(chunks).chunks[:2]  # which a Zarr store takes
    assert lazy["ssh"].dims == ds["ssh"].dims
    xr.testing.assert_allclose(lazy.compute(scheduler="synchronous"), expected, rtol=1e-12, atol=1e-12)


def test_lazy_members_and_one_time():
    ds = season(4, 16)
    two = xr.concat([ds["ssh"], 2 * ds["ssh"]], "member").rename("ssh").to_dataset()
    expected = [optimal_interp(two.isel(member=m), "ssh", **SCALES, tiles=TILES)["ssh"] for m in range(2)]
    lazy = optimal_interp(two.chunk(member=1, time=3, lat=5), "ssh", **SCALES, tiles=TILES)
    xr.testing.assert_allclose(lazy["ssh"].compute(scheduler="synchronous"), xr.concat(expected, "member"))
    one = season(1, 24, fraction=0.3).isel(time=0, drop=True)
    once = optimal_interp(one, "ssh", **SCALES, tiles={"lat": 10, "lon": 10})
    assert once["ssh"].dims == ("lat", "lon")
    later = optimal_interp(one.chunk(lat=7), "ssh", **SCALES, tiles={"lat": 10, "lon": 10})
    xr.testing.assert_allclose(later.compute(scheduler="synchronous"), once)


def test_only_chunks_in_reach_are_read():
    ds = season(40, 16)
    read = []

    def block(values, block_info=None):
        read.append(block_info[0]["chunk-location"][0])
        return values

    lazy = ds["ssh"].chunk(time=4).to_dataset()
    lazy["ssh"] = lazy["ssh"].copy(data=lazy["ssh"].data.map_blocks(block, dtype=float, meta=np.empty((0, 0, 0))))
    guess = xr.zeros_like(ds["ssh"])
    out = optimal_interp(lazy, "ssh", **SCALES, background=guess, tiles={"time": 8})
    assert not read
    out["ssh"].isel(time=slice(0, 2)).compute(scheduler="synchronous")
    assert max(read) < 6  # of 10: the tiles of 8 days under the first chunk, and two time scales of 3 days beyond
    assert 0 in read


@BOTH
def test_order_and_place_of_the_axes_do_not_matter(interp):
    ds = season()
    expected = interp(ds, "ssh", **SCALES, tiles=TILES, uncertainty=True)
    turned = ds.isel(lat=slice(None, None, -1), time=slice(None, None, -1)).assign_coords(lon=ds["lon"] - 360)
    turned = turned.transpose("lon", "time", "lat")
    out = interp(turned, "ssh", **SCALES, tiles=TILES, uncertainty=True)
    assert out["ssh"].dims == ("lon", "time", "lat")
    back = out.assign_coords(lon=ds["lon"]).sortby(["time", "lat"]).transpose(*ds["ssh"].dims)
    xr.testing.assert_allclose(back, expected, atol=1e-8)


@BOTH
def test_the_globe_is_closed(interp):
    ds = season(3, lat=np.linspace(-87, 87, 30), lon=6.0 * np.arange(60), fraction=0.3)
    scales = SCALES | {"length_scale": 9 * DEGREE}
    whole = interp(ds, "ssh", **scales)["ssh"]
    tiles = {"lat": 14, "lon": 20}
    tiled = interp(ds, "ssh", **scales, tiles=tiles)["ssh"]
    assert rms(tiled - whole) < 0.03
    rolled = ds.roll(lon=23, roll_coords=True)
    rolled = rolled.assign_coords(lon=(rolled["lon"] + 180) % 360 - 180)
    other = interp(rolled.sortby("lon"), "ssh", **scales, tiles=tiles)["ssh"]
    np.testing.assert_allclose(other.assign_coords(lon=other["lon"] % 360).sortby("lon"), tiled, atol=1e-8)
    cyclic = ds.pad(lon=(0, 1), mode="wrap").assign_coords(lon=6.0 * np.arange(61))
    closed = interp(cyclic, "ssh", **scales, tiles=tiles)["ssh"]
    np.testing.assert_allclose(closed.isel(lon=-1), closed.isel(lon=0))
    np.testing.assert_allclose(closed.isel(lon=slice(0, -1)), tiled, atol=1e-8)


def test_tiles_are_as_wide_over_the_ground_everywhere():
    nodes = Nodes(np.arange(30) * 86400.0, np.linspace(-89.5, 89.5, 180), np.arange(360.0), True, True)
    scales = 7 * 86400.0, 3 * DEGREE
    tiling = Tiling.of(nodes, "auto", Reach(2 * scales[0], 2 * scales[1], "sphere"), scales, (2.0, 3.0))
    widths = []
    for j, cuts in enumerate(tiling.columns):
        lat = nodes.latitude[tiling.bands.index(j)]
        widths.append(cuts.size * np.cos(np.radians(lat.mean())))
        assert np.abs(lat).max() < 88 or cuts.count <= 4
    np.testing.assert_allclose(widths, 9, atol=0.6)
    first, last = tiling.near((0, 1, 170, 178, 0, 20))[2:]
    assert last - first == 360  # over the pole


def test_land_and_emptiness():
    ds = season(6, 24, fraction=0.2)
    sea = (ds["lat"] + 0 * ds["lon"]) < 33
    far = ds["ssh"].where((ds["lon"] < 302) & sea)
    out = optimal_interp(
        far.to_dataset(), "ssh", **SCALES, domain=sea, background=0 * ds["truth"] + 1, uncertainty=True,
        tiles={"lat": 8, "lon": 8},
    )  # fmt: skip
    assert bool(out["ssh"].where(~sea).isnull().all())
    assert bool(out["ssh"].where(sea).notnull().sum() == 6 * sea.sum())
    empty = out.where(sea).sel(lon=slice(308, None), lat=slice(None, 32.9))
    np.testing.assert_allclose(empty["ssh"], 1)
    np.testing.assert_allclose(empty["ssh_error"], 1)


def test_tiles_without_water_cost_nothing(monkeypatch):
    ds = season(4, 24)
    solved = []
    call = CovarianceProblem.__call__

    def counted(self, *args, **about):
        solved.append(self.nodes.latitude[self.wanted[1]].max())
        return call(self, *args, **about)

    monkeypatch.setattr(CovarianceProblem, "__call__", counted)
    sea = (ds["lat"] + 0 * ds["lon"]) < 33
    optimal_interp(ds, "ssh", **SCALES, domain=sea, tiles={"lat": 8, "lon": 8})
    assert solved
    assert max(solved) < 36.5


def test_gaps_in_time():
    ds = season(30, 14).isel(time=[0, 1, 2, 3, 4, 5, 18, 19, 20, 21, 27, 28, 29])
    for interp in (optimal_interp, fourdvar_interp):
        whole = interp(ds, "ssh", **SCALES)["ssh"]
        tiled = interp(ds, "ssh", **SCALES, tiles={"time": 6})["ssh"]
        assert rms(tiled - whole) < 0.03


def test_many_observations_are_divided(monkeypatch):
    ds = season(6, 24, fraction=0.3)
    whole = optimal_interp(ds, "ssh", **SCALES, uncertainty=True)
    sizes = []
    call = CovarianceProblem.__call__

    def counted(self, values, observed, *args, **about):
        sizes.append(observed.sum())
        return call(self, values, observed, *args, **about)

    monkeypatch.setattr(CovarianceProblem, "__call__", counted)
    monkeypatch.setattr(CovarianceProblem, "most", 600)
    tiled = optimal_interp(ds, "ssh", **SCALES, uncertainty=True, tiles={})
    assert len(sizes) > 1
    assert max(sizes) <= 600
    assert rms(tiled["ssh"] - whole["ssh"]) < 0.02
    assert rms(tiled["ssh_error"] - whole["ssh_error"]) < 0.01


def test_too_many_observations_are_tiled_by_themselves(monkeypatch):
    ds = season(8, 20)
    expected = optimal_interp(ds, "ssh", **SCALES, tiles="auto")
    monkeypatch.setattr(CovarianceProblem, "too_large", lambda self, each: each.sum() > 100)
    out = optimal_interp(ds, "ssh", **SCALES)
    xr.testing.assert_allclose(out, expected)
    assert "tiles='auto'" in out.attrs["history"]
    lazy = optimal_interp(ds.chunk(), "ssh", **SCALES)
    xr.testing.assert_allclose(lazy.compute(scheduler="synchronous"), expected)
    monkeypatch.setattr(VariationalProblem, "too_large", lambda self, each: True)
    assert "tiles='auto'" in fourdvar_interp(ds, "ssh", **SCALES).attrs["history"]


def test_scales_are_estimated_once_from_all():
    ds = season(16, 24, fraction=0.1)
    tiled = optimal_interp(ds, "ssh", covariance="matern", tiles=TILES)
    whole = optimal_interp(ds, "ssh", covariance="matern")
    assert rms((tiled - whole)["ssh"]) < 0.05
    with pytest.raises(OptionError, match="length_scale, time_scale, noise_std, signal_std missing for tiles of lazy"):
        optimal_interp(ds.chunk(time=4), "ssh", tiles=TILES)


def test_what_cannot_be():
    ds = season(4, 12)
    for tiles in ("all", {"time": 1}, {"day": 4}, {"lat": 2.5}, 8):
        with pytest.raises(OptionError, match="wanted 'auto', or numbers of nodes, at least 2"):
            optimal_interp(ds, "ssh", **SCALES, tiles=tiles)
    with pytest.raises(ChunkError, match="'time' in 2 chunks"):
        optimal_interp(ds.chunk(time=2), "ssh", **SCALES)
    nothing = ds.where(False)
    with pytest.raises(MissingValueError, match="no observations at all"):
        optimal_interp(nothing, "ssh", **SCALES, tiles=TILES)
    with pytest.raises(MissingValueError, match="no observations at all"):
        optimal_interp(nothing.chunk(time=2), "ssh", **SCALES, tiles=TILES).compute(scheduler="synchronous")


@BOTH
def test_members_are_draws_from_the_posterior(interp):
    ds = season(4, 7, step=0.5, fraction=0.15)
    found = interp(ds, "ssh", **SCALES, uncertainty=True)
    drawn = interp(ds, "ssh", **SCALES, members=60, uncertainty=True)
    assert drawn["ssh"].dims == ("member", "time", "lat", "lon")
    xr.testing.assert_allclose(drawn["ssh_error"], found["ssh_error"])
    off = drawn["ssh"] - found["ssh"]
    # The spread at one node is known to 9 percent; four times that at most, and less on average.
    assert abs(float((off.mean("member") / found["ssh_error"]).mean())) < 0.1
    ratio = np.sqrt((off**2).mean("member")) / found["ssh_error"]
    assert abs(float(ratio.mean()) - 1) < 0.06
    assert float(abs(ratio - 1).max()) < 0.4


@BOTH
def test_members_in_tiles_and_on_dask(interp):
    ds = season(5, 12, step=0.5, fraction=0.15)
    tiles = {"time": 4, "lat": 8}
    whole = interp(ds, "ssh", **SCALES, members=2)
    tiled = interp(ds, "ssh", **SCALES, members=3, tiles=tiles)
    assert rms(tiled["ssh"].isel(member=[0, 1]) - whole["ssh"]) < 0.05
    lazy = interp(ds.chunk(time=2), "ssh", **SCALES, members=3, tiles=tiles)
    assert lazy["ssh"].chunks is not None
    xr.testing.assert_allclose(lazy["ssh"].compute(scheduler="synchronous"), tiled["ssh"], atol=1e-4)


def test_members_that_cannot_be_drawn():
    ds = season(4, 12)
    with pytest.raises(OptionError, match="wanted a whole number of at least 1"):
        optimal_interp(ds, "ssh", **SCALES, members=0)
    with pytest.raises(OptionError, match="members=2 came without time_scale; wanted all scales"):
        optimal_interp(ds, "ssh", **{k: v for k, v in SCALES.items() if k != "time_scale"}, members=2)
    noise = {"noise_std": xr.full_like(ds["ssh"], 0.2)}
    with pytest.raises(OptionError, match="members=2 came with errors by observation"):
        optimal_interp(ds, "ssh", **SCALES | noise, members=2)
