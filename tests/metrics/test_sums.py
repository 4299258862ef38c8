"""Sums of many scores in one pass: the same scores, bounds and tests as score by score, lazily and for any chunks."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from xatmo import metrics
from xatmo.errors import CoordinateError, DimensionError, OptionError

SPACE = ["latitude", "longitude"]
BLOCKS = {"dim": "init_time", "block": "1D", "n": 30, "seed": 2}
SCORES: list[Any] = [
    "rmse", "mae", "bias", "correlation", "std_ratio", "skill", "acc", "gradient_ratio",
    partial(metrics.ssim, data_range=8.0, window=3), partial(metrics.csi, threshold=280.5),
]  # fmt: skip


def forecasts() -> tuple[dict[str, xr.DataArray], xr.DataArray, xr.DataArray]:
    """Two models with gaps, one of them in degC and upside down; the truth along time; its climatology."""
    rng = np.random.default_rng(0)
    time = pd.date_range("2019-06-01", periods=40, freq="6h")
    grid = {"latitude": np.linspace(60, 40, 5), "longitude": np.linspace(0, 15, 6)}
    truth = xr.DataArray(
        rng.normal(280, 2, (40, 5, 6)), {"time": time, **grid}, ["time", *SPACE], "t2m", {"units": "K"}
    )
    lead = pd.to_timedelta([6, 12], "h")
    axes = {"init_time": time[:30], "lead_time": lead}
    laid = metrics.at_valid_times(truth, xr.Dataset(coords=axes))
    models = {}
    for name, size in (("good", 1.0), ("poor", 2.0)):
        noisy = laid + size * rng.normal(size=laid.shape)
        models[name] = noisy.where(xr.DataArray(rng.random(laid.shape) > 0.1, dims=laid.dims)).assign_attrs(units="K")
    flipped = (models["poor"] - 273.15).isel(latitude=slice(None, None, -1)).transpose("longitude", ...)
    models["poor"] = flipped.assign_attrs(units="degC")
    return models, truth, metrics.climatology(truth, by="hour")


@pytest.mark.parametrize(("kept", "scores"), [(["lead_time"], SCORES), ([], ["rmse", "acc"])])
def test_scores_bounds_and_tests_are_those_of_compare_models(kept: list[str], scores: list[Any]) -> None:
    models, truth, base = forecasts()
    sums = metrics.score_sums(models, truth, metrics=scores, climatology=base)
    dim = [d for d in ("init_time", "lead_time", *SPACE) if d not in kept]
    for name, entry in sums.entries.items():
        found = sums.compare(name, dim=dim, bootstrap=BLOCKS)
        expected = metrics.compare_models(models, truth, metric=entry, dim=dim, climatology=base, bootstrap=BLOCKS)
        assert set(found) == set(expected), name
        for part in expected:
            np.testing.assert_allclose(
                found[part].transpose(*expected[part].dims),
                expected[part],
                rtol=1e-7,
                atol=1e-9,
                err_msg=f"{name} {part}",
            )
            assert found[part].attrs == expected[part].attrs, (name, part)


def test_lazy_one_task_a_chunk_and_the_same_for_any_chunks(no_compute: Any) -> None:
    models, truth, base = forecasts()
    some = ["rmse", "correlation", "acc", "gradient_ratio"]
    whole = metrics.score_sums(models, truth, metrics=some, climatology=base)
    pieces = {"good": models["good"].chunk(init_time=13, lead_time=1), "poor": models["poor"].chunk(latitude=2)}
    with no_compute():
        lazy = metrics.score_sums(pieces, truth.chunk(time=11), metrics=some, climatology=base)
        later = lazy.compare("rmse", dim=["init_time", *SPACE], bootstrap=BLOCKS)
    assert later["difference"].chunks is not None
    xr.testing.assert_allclose(lazy.values.compute(), whole.values, rtol=1e-10)
    done = lazy.compute().compare("correlation", dim=["lead_time", *SPACE])
    xr.testing.assert_allclose(done, whole.compare("correlation", dim=["lead_time", *SPACE]))
    assert done["score"].dims == ("model", "init_time")


def test_pieces_of_a_block_add_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    models, truth, base = forecasts()
    for size in (31, 200):  # less than two leads of one start; three starts
        some: dict[str, Any] = {"metrics": ["rmse", "acc"], "climatology": base}
        whole = metrics.score_sums(models, truth, **some).values
        monkeypatch.setattr("xatmo.metrics.sums._PIECE", size)
        xr.testing.assert_allclose(metrics.score_sums(models, truth, **some).values, whole)
        monkeypatch.undo()


def test_members_are_scored_by_their_mean_or_as_they_are() -> None:
    models, truth, _ = forecasts()
    noise = np.random.default_rng(1).normal(size=(3, *models["good"].shape))
    ensemble = xr.concat([models["good"] + x for x in noise], "member").assign_attrs(units="K")
    both = {"members": ensemble, "one": models["good"]}
    scores = ["rmse", partial(metrics.crps, estimator="ensemble"), "spread_skill"]
    sums = metrics.score_sums(both, truth, metrics=scores)
    dim = ["init_time", "lead_time", *SPACE]
    known = models["good"].notnull()
    found = {n: sums.compare(n, dim=dim)["score"] for n in ("rmse", "crps", "spread_skill")}
    mean = metrics.rmse(ensemble.mean("member", keep_attrs=True), truth, dim=dim)
    assert found["rmse"].sel(model="members").item() == pytest.approx(mean.item(), rel=1e-9)
    crps = metrics.crps(ensemble, truth, dim=dim, estimator="ensemble")
    assert found["crps"].sel(model="members").item() == pytest.approx(crps.item(), rel=1e-9)
    error = metrics.mae(models["good"].where(known), truth, dim=dim)
    assert found["crps"].sel(model="one").item() == pytest.approx(error.item(), rel=1e-9)
    assert found["spread_skill"]["model"].values.tolist() == ["members"]


def test_what_does_not_add_up_is_said() -> None:
    models, truth, _ = forecasts()
    for entry in ("wasserstein", "ssim", partial(metrics.csi, threshold=[1, 2]), abs):
        with pytest.raises(OptionError, match="wanted scores that are sums; see adds_up"):
            metrics.score_sums(models, truth, metrics=[entry])
    with pytest.raises(OptionError, match="acc compares with a climatology; pass climatology="):
        metrics.score_sums(models, truth, metrics=["acc"])
    sums = metrics.score_sums(models, truth, metrics=["rmse"])
    with pytest.raises(OptionError, match=r"score 'mae', reference None; wanted one of \['rmse'\]"):
        sums.compare("mae", dim=["init_time", *SPACE])
    with pytest.raises(OptionError, match="reference 'best'; wanted one of"):
        sums.compare("rmse", dim=["init_time", *SPACE], reference="best")
    with pytest.raises(DimensionError, match="lacks 'latitude', over which sums were taken; add it"):
        sums.compare("rmse", dim=["init_time", "longitude"])
    with pytest.raises(CoordinateError, match="points in the prediction"):
        metrics.score_sums({**models, "poor": models["poor"].isel(latitude=slice(1, None))}, truth, metrics=["rmse"])
