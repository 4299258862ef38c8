"""Skill scores, texture, centred anomaly correlation and regions, against plain formulas."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import xarray as xr
from forecast_fields import forecast_of, loop, record
from metric_fields import box, globe, moved, pair

from xatmo import Grid, metrics
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import ChunkError, CoordinateError, DimensionError, OptionError

HORIZONTAL = ["latitude", "longitude"]
SPACE = ["init_time", "lat", "lon"]


# ---------------------------------------------------------------------- skill scores
@pytest.mark.parametrize("name", ["mse", "rmse", "mae", "correlation", "ssim", "gradient_ratio"])
def test_skill_score_is_that_of_the_two_scores(name):
    p, t = pair(n=4)
    reference = (0.3 * t + globe(33, n=4)).assign_attrs(t.attrs).rename("t")
    fixed = partial(metrics.ssim, data_range=4.0) if name == "ssim" else name
    plain = partial(getattr(metrics, name), dim=HORIZONTAL, **({"data_range": 4.0} if name == "ssim" else {}))
    best = 0.0 if name in ("mse", "rmse", "mae") else 1.0
    ours, theirs = plain(p, t), plain(reference, t)
    found = metrics.skill_score(p, t, reference=reference, metric=fixed, dim=HORIZONTAL)
    np.testing.assert_allclose(found, (ours - theirs) / (best - theirs), rtol=1e-9)
    shuffled = metrics.skill_score(p, t, reference=moved(reference), metric=fixed, dim=HORIZONTAL)
    np.testing.assert_allclose(shuffled, found, rtol=1e-9)


def test_both_forecasts_are_scored_on_the_same_points():
    p, t = pair(n=3)
    reference = globe(5, n=3).where(t > -0.5)
    found = metrics.skill_score(p, t, reference=reference, metric="rmse")
    known = t > -0.5
    expected = 1 - metrics.rmse(p.where(known), t) / metrics.rmse(reference, t)
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)


def test_references_of_forecasts(no_compute):
    truth = record()
    forecast = forecast_of(truth)
    laid = loop(truth, forecast)
    clim = metrics.climatology(truth, by="hour")
    usual = metrics.climatology_at(clim, forecast)
    last = xr.zeros_like(forecast) + truth.sel(time=forecast.init_time).drop_vars("time").values[:, None]
    for reference, field in ((clim, usual), (last.assign_attrs(truth.attrs), last), (truth + 0.5, laid + 0.5)):
        reference = reference.assign_attrs(truth.attrs)
        expected = 1 - metrics.mse(forecast, laid, dim=SPACE) / metrics.mse(
            field.assign_attrs(units="K"), laid, dim=SPACE
        )
        found = metrics.skill_score(forecast, truth, reference=reference, dim=SPACE)
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    score = partial(metrics.skill_score, reference=clim, metric="rmse")
    options = {"dim": "init_time", "n": 30, "block": 4}
    with no_compute():
        lazy = metrics.verify(
            forecast.chunk(init_time=5), truth.chunk(time=9), metrics=score, dim=SPACE, bootstrap=options
        )
    whole = metrics.verify(forecast, truth, metrics=score, dim=SPACE, bootstrap=options)
    xr.testing.assert_allclose(lazy.compute(), whole, rtol=1e-9)
    np.testing.assert_allclose(whole["skill_score"], metrics.skill_score(
        forecast, truth, reference=clim, metric="rmse", dim=SPACE), rtol=1e-9)  # fmt: skip
    assert (whole["skill_score_lower"] < whole["skill_score_upper"]).all()


def test_skill_scores_of_acc_and_of_own_best():
    truth = record()
    forecast, other = forecast_of(truth), forecast_of(truth, seed=7)
    clim = metrics.climatology(truth, by="hour")
    found = metrics.skill_score(forecast, truth, reference=other, metric="acc", climatology=clim, dim=SPACE)
    ours, theirs = (metrics.acc(x, truth, climatology=clim, dim=SPACE) for x in (forecast, other))
    np.testing.assert_allclose(found, (ours - theirs) / (1 - theirs), rtol=1e-9)
    peak = partial(metrics.psnr, data_range=1.0)
    found = metrics.skill_score(forecast, truth, reference=other, metric=peak, best=1.0)
    ours, theirs = (peak(x, truth) for x in (forecast, other))
    assert found.item() == pytest.approx(((ours - theirs) / (1 - theirs)).item())
    assert np.isnan(metrics.skill_score(forecast, truth, reference=truth).item())


def test_skill_score_errors():
    p, t = pair(n=2)
    with pytest.raises(OptionError, match="what is the score of a perfect prediction. Give best="):
        metrics.skill_score(p, t, reference=p, metric="psnr")
    with pytest.raises(OptionError, match="wanted a score that is a mean over parts"):
        metrics.skill_score(p, t, reference=p, metric="wasserstein")
    with pytest.raises(OptionError, match="reference is a float; wanted a Dataset or DataArray"):
        metrics.skill_score(p, t, reference=3.0)
    with pytest.raises(OptionError, match=r"skill_score\(metric="):
        metrics.skill_score(p, t, reference=p, metric=lambda a, b, dim: abs(a - b).max(dim))


# ---------------------------------------------------------------------- texture
def test_gradients_of_known_fields():
    grid = Grid.regular(91, 180)
    lat, lon = np.radians(grid.latitude)[:, None], np.radians(grid.longitude)
    fields = [np.cos(lat) * np.cos(lon), np.sin(lat) + 0 * lon]  # one field, turned
    p, t = (xr.DataArray(x, grid.coords(), ("latitude", "longitude"), attrs={"units": "K"}) for x in fields)
    for differences in ("neighbours", "central"):
        assert metrics.gradient_ratio(3 * p, t, differences=differences).item() == pytest.approx(3, rel=3e-3)
    ratio = metrics.total_variation(p) / metrics.total_variation(t)
    assert metrics.gradient_ratio(p, t).item() == pytest.approx(ratio.item(), rel=1e-12)
    same = metrics.gradient_ratio(moved(p.expand_dims("time")), moved(t.expand_dims("time")))
    assert same.item() == pytest.approx(ratio.item(), rel=1e-9)


def test_texture_of_a_box_is_a_loop():
    t = box()
    p = (0.5 * t + 0.1 * box(3)).assign_attrs(t.attrs)
    lat, lon = (np.radians(t[n].values) for n in ("lat", "lon"))
    areas = Grid.of(t).areas

    def length(x):
        north = np.gradient(x, EARTH_RADIUS * lat, axis=0)
        east = np.gradient(x, EARTH_RADIUS * lon, axis=1) / np.cos(lat)[:, None]
        return (areas * np.sqrt(north**2 + east**2)).sum()

    expected = [length(a) / length(b) for a, b in zip(p.values, t.values, strict=True)]
    found = metrics.gradient_ratio(p, t, differences="central", dim=["lat", "lon"])
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_texture_lazy_gaps_and_errors(no_compute):
    p, t = pair(n=4)
    with no_compute():
        lazy = metrics.gradient_ratio(p.chunk(time=1), t.chunk(time=3))
    assert float(lazy) == pytest.approx(metrics.gradient_ratio(p, t).item(), rel=1e-12)
    assert np.isfinite(metrics.gradient_ratio(p.where(p < 2), t).item())
    flat = metrics.gradient_ratio(p, xr.zeros_like(t).assign_attrs(t.attrs))
    assert np.isnan(flat.item())
    with pytest.raises(OptionError, match="spacing='km'"):
        metrics.gradient_ratio(p, t, spacing="km")
    with pytest.raises(OptionError, match="differences='second'"):
        metrics.gradient_ratio(p, t, differences="second")
    with pytest.raises(DimensionError, match="needs images"):
        metrics.gradient_ratio(p.isel(latitude=0, drop=True), t.isel(latitude=0, drop=True))
    with pytest.raises(ChunkError, match="whole"):
        metrics.gradient_ratio(p.chunk(latitude=3), t)
    small = [x.drop_vars(HORIZONTAL).isel(latitude=[0]) for x in (p, t)]
    with pytest.raises(DimensionError, match="needs 2 rows and 2 columns"):
        metrics.gradient_ratio(*small, image_dims=("latitude", "longitude"), weights=None)


# ---------------------------------------------------------------------- anomaly correlation
def test_centred_acc_is_the_correlation_of_anomalies():
    p, t = pair()
    clim = globe(77).mean("time").assign_attrs(t.attrs)
    weights = np.broadcast_to(Grid.of(t).areas, t.shape[1:])
    found = metrics.acc(p + 2, t, climatology=clim, centred=True, dim=HORIZONTAL)
    for k in range(3):
        a, b = ((x - clim).values[k].ravel() for x in (p + 2, t))
        c = np.cov(np.stack([a, b]), aweights=weights.ravel())
        assert found[k].item() == pytest.approx(c[0, 1] / np.sqrt(c[0, 0] * c[1, 1]), rel=1e-10)
    by_verify = metrics.verify(p, t, metrics=partial(metrics.acc, centred=True), climatology=clim, dim=HORIZONTAL)
    np.testing.assert_allclose(by_verify["acc"], metrics.acc(p, t, climatology=clim, centred=True, dim=HORIZONTAL))
    assert (abs(metrics.acc(p + 2, t, climatology=clim, dim=HORIZONTAL) - found) > 1e-3).all()


# ---------------------------------------------------------------------- regions
def test_boxes_masks_and_maps_of_regions(no_compute):
    p, t = pair(n=5)
    names = ["rmse", "bias", "ssim", "correlation"]
    west = {"latitude": (20, 70), "longitude": (-40, 50)}
    mask = (t.latitude > 19) & (t.latitude < 71) & ((t.longitude <= 50) | (t.longitude >= 320))
    south = (t.latitude < 0) & (t.longitude >= 0)
    found = metrics.verify(p, t, metrics=names, regions={"west": west, "same": mask, "south": south}, dim=HORIZONTAL)
    assert found.region.values.tolist() == ["west", "same", "south"]
    np.testing.assert_array_equal(found.sel(region="west")["rmse"], found.sel(region="same")["rmse"])
    areas = xr.DataArray(Grid.of(t).areas, dims=("latitude", "longitude"))
    expected = (((p - t) ** 2).where(mask).weighted(areas).mean(HORIZONTAL)) ** 0.5
    np.testing.assert_allclose(found["rmse"].sel(region="west"), expected, rtol=1e-12)
    cut = (p.where(mask), t)
    np.testing.assert_allclose(found["correlation"].sel(region="west"), metrics.correlation(*cut, dim=HORIZONTAL))
    inside = metrics.ssim(p, t, dim=["time"])
    assert found["ssim"].sel(region="south").shape == (5,)
    assert np.isfinite(inside.where(south)).any()
    flags = xr.where(south, 2, 1).where(t.latitude < 60).assign_attrs(flag_values=[1, 2], flag_meanings="sea land")
    zones = metrics.verify(p.assign_coords(zone=flags), t, metrics="rmse", regions="zone")
    assert zones.region.values.tolist() == ["sea", "land"]
    assert zones["rmse"].sel(region="land").item() == pytest.approx(metrics.rmse(p.where(south), t).item())
    with no_compute():
        lazy = metrics.verify(
            p.chunk(time=2), t.chunk(time=2), metrics="rmse", regions={"west": west},
            bootstrap={"dim": "time", "n": 10},
        )  # fmt: skip
    assert float(lazy["rmse"][0]) == pytest.approx(metrics.rmse(p.where(mask), t).item())
    around = metrics.verify(moved(p), t, metrics="rmse", regions={"west": west}, dim=HORIZONTAL)
    np.testing.assert_allclose(around["rmse"][0], expected, rtol=1e-10)


def test_region_errors():
    p, t = pair(n=2)
    with pytest.raises(OptionError, match="region 'sea' holds no point"):
        metrics.verify(p, t, metrics="rmse", regions={"sea": {"latitude": (1, 2)}})
    with pytest.raises(OptionError, match="region 'sea' is 3; wanted a mask"):
        metrics.verify(p, t, metrics="rmse", regions={"sea": 3})
    with pytest.raises(OptionError, match="wanted two bounds"):
        metrics.verify(p, t, metrics="rmse", regions={"sea": {"latitude": (1, 2, 3)}})
    with pytest.raises(CoordinateError, match="no coordinate 'height'"):
        metrics.verify(p, t, metrics="rmse", regions={"sea": {"height": (1, 2)}})
    with pytest.raises(CoordinateError, match="regions='zone': no such coordinate"):
        metrics.verify(p, t, metrics="rmse", regions="zone")
    with pytest.raises(OptionError, match="wanted names to boxes or masks"):
        metrics.verify(p, t, metrics="rmse", regions={})
    with pytest.raises(DimensionError, match="wanted a mask on their points"):
        metrics.verify(p, t, metrics="rmse", regions={"sea": xr.DataArray([True], dims="other")})
    with pytest.raises(OptionError, match="lazy, and their labels unknown"):
        metrics.verify(p, t, metrics="rmse", regions=t.isel(time=0, drop=True).chunk())
    with pytest.raises(OptionError, match="regions need fields"):
        metrics.verify(
            p.to_dataset().drop_vars("t"), t.to_dataset(), metrics="rmse", regions={"a": {"latitude": (0, 9)}}
        )


def test_regions_through_the_accessor():
    p, t = pair(n=2)
    box = {"north": {"latitude": (0, 90)}}
    found = p.atmo.verify(t, metrics=["rmse"], regions=box, weights=None)
    xr.testing.assert_equal(found["rmse"], metrics.verify(p, t, metrics=["rmse"], regions=box, weights=None)["rmse"])
