"""Drawings of what a representation network knows of lags."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xatmo
from xatmo import plot
from xatmo.errors import DimensionError, OptionError, VariableError

N = 4


def lags(**values: object) -> xr.Dataset:
    lag = np.arange(1, N + 1)
    coords = {"lag": lag, "lag_time": ("lag", pd.to_timedelta(3 * lag, unit="h").values), "predicted_lag": lag}
    return xr.Dataset(values, coords)


def test_confusion_is_normalised_by_truth() -> None:
    counts = np.array([[8, 2, 0, 0], [1, 3, 0, 0], [0, 0, 5, 5], [0, 0, 0, 0]])
    scores = lags(confusion=(("predicted_lag", "lag"), counts.T))
    ax = scores.atmo.plot.confusion(title="control")
    ax.figure.canvas.draw()
    shown = ax.images[0].get_array()
    np.testing.assert_allclose(shown[:3].sum(axis=1), 1)
    assert shown[0].tolist() == [0.8, 0.2, 0, 0]
    assert shown.mask[3].all()  # a lag of which there was no pair
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted lag (h)", "true lag (h)")
    assert [t.get_text() for t in ax.get_yticklabels()] == ["3", "6", "9", "12"]
    many = xr.DataArray(np.eye(31), dims=("lag", "predicted_lag"))
    assert len(plot.confusion(many).texts) == 0
    with pytest.raises(VariableError, match="wanted a variable 'confusion'"):
        plot.confusion(xr.Dataset())
    with pytest.raises(DimensionError, match="wanted 'lag' and 'predicted_lag'"):
        plot.confusion(many.rename(lag="x"))


def test_accuracy_by_lag_marks_chance() -> None:
    scores = lags(top1_by_lag=("lag", [0.9, 0.8, 0.7, 0.6]), top3_by_lag=("lag", [1.0, 1, 1, 0.9]))
    ax = plot.accuracy_by_lag({"small": scores, "large": scores})
    ax.figure.canvas.draw()
    labels = [line.get_label() for line in ax.lines]
    assert labels[0] == "small, likeliest lag is right"
    assert labels[-1] == "chance, 1/4"
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [3, 6, 9, 12])
    assert scores.atmo.plot.accuracy_by_lag(metrics=["top1"]).lines[-1].get_ydata()[0] == 0.25
    mae = lags(mae_by_lag=("lag", [0.0, 1, 2, 3]))
    assert plot.accuracy_by_lag(mae, metrics=["mae"]).get_ylabel() == "score"
    with pytest.raises(OptionError, match="accuracy_by_lag got nothing to draw"):
        plot.accuracy_by_lag({})


def test_accuracy_maps_share_the_range_of_shares() -> None:
    grid = xatmo.Grid.regular(6, 12, poles=False)
    values = np.random.default_rng(0).random((3, *grid.shape))
    names = ("accuracy", "near", "entropy")
    ds = xr.Dataset({n: (("latitude", "longitude"), v) for n, v in zip(names, values, strict=True)}, grid.coords())
    axes = ds.assign_coords(lag=4).atmo.plot.accuracy_map()
    axes[0].figure.canvas.draw()
    assert [a.get_title() for a in axes] == ["right", "at most one step wrong", "entropy (nats)"]
    limits = [a.collections[0].get_clim() for a in axes]
    assert limits[0] == limits[1] != limits[2]
    assert axes[0].figure.get_suptitle() == "pairs at a lag of 4 steps"


def test_learned_distance_stands_beside_the_squared_difference() -> None:
    ds = lags(
        l2=("lag", [0.5, 0.8, 0.9, 0.9]), l2_std=("lag", [0.1] * N), content=("lag", [1.0, 2, 3, 4]),
        content_std=("lag", [0.4] * N), scaled_content=("lag", [0.2, 0.4, 0.6, 0.8]), l1=("lag", [1.0, 2, 3, 3]),
    )  # fmt: skip
    ax = ds.assign_attrs(scale=0.2).atmo.plot.distance_by_lag(others=["l1"])
    ax.figure.canvas.draw()
    truth, learned, other = ax.lines
    np.testing.assert_allclose(truth.get_ydata(), ds.l2)
    np.testing.assert_allclose(learned.get_ydata(), ds.scaled_content)
    assert other.get_ydata()[-1] == pytest.approx(0.9)
    band = ax.collections[1].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx(0.8 + 0.2 * 0.4)
    with pytest.raises(VariableError, match="wanted a variable 'l2'"):
        plot.distance_by_lag(lags())
    with pytest.raises(OptionError, match="distance_by_lag got nothing to draw"):
        plot.distance_by_lag({})


def test_embeddings_are_drawn_on_their_principal_components() -> None:
    along = np.linspace(-3, 3, 20)
    values = along[:, None] * np.array([3.0, 4, 0]) + np.arange(3)
    values[4, 0] = np.nan
    da = xr.DataArray(values, {"time": np.arange(20)}, dims=("time", "feature"), name="features")
    ax = da.atmo.plot.embedding(colour=da.time)
    ax.figure.canvas.draw()
    points = ax.collections[0].get_offsets()
    assert len(points) == 19
    spread = np.delete(along, 4)
    np.testing.assert_allclose(np.abs(points[:, 0]), 5 * np.abs(spread - spread.mean()), atol=1e-9)
    assert ax.get_xlabel() == "first component (100% of the variance)"
    plot.embedding(da.fillna(0))
    with pytest.raises(DimensionError, match="wanted 'channel' with two features at least"):
        plot.embedding(da, dim="channel")
