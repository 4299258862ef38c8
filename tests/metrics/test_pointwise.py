from __future__ import annotations

import dask.array as dka
import numpy as np
import pytest
import xarray as xr

from xatmo import Grid, metrics
from xatmo.errors import CoordinateError, DimensionError, OptionError, UnitsError, VariableError

SCORES = ["mse", "rmse", "mae", "bias", "correlation", "std_ratio", "skill", "psnr"]


def field(seed: int, *, gaps: float = 0.0, dtype: str = "float64") -> xr.DataArray:
    rng = np.random.default_rng(seed)
    grid = Grid.regular(19, 36)
    values = (280 + 10 * rng.normal(size=(8, 19, 36))).astype(dtype)
    values[rng.random(values.shape) < gaps] = np.nan
    time = np.datetime64("2020-01-01", "ns") + np.arange(8) * np.timedelta64(6, "h")
    coords = {"time": time, **grid.coords()}
    attrs = {"units": "K", "long_name": "temperature"}
    return xr.DataArray(values, coords, ("time", "latitude", "longitude"), name="t", attrs=attrs)


@pytest.fixture
def pair() -> tuple[xr.DataArray, xr.DataArray]:
    target = field(0, gaps=0.1)
    prediction = (0.8 * target + 0.3 * field(1, gaps=0.05) - 20).assign_attrs(target.attrs).rename("t")
    return prediction, target


def by_hand(p: np.ndarray, t: np.ndarray, w: np.ndarray) -> dict[str, float]:
    known = np.isfinite(p) & np.isfinite(t)
    span = np.nanmax(np.where(known, t, np.nan)) - np.nanmin(np.where(known, t, np.nan))
    p, t, w = p[known], t[known], w[known] / w[known].sum()
    e, mp, mt = p - t, (w * p).sum(), (w * t).sum()
    sp, st = np.sqrt((w * (p - mp) ** 2).sum()), np.sqrt((w * (t - mt) ** 2).sum())
    mse = (w * e**2).sum()
    return {
        "mse": mse, "rmse": np.sqrt(mse), "mae": (w * abs(e)).sum(), "bias": (w * e).sum(),
        "correlation": (w * (p - mp) * (t - mt)).sum() / sp / st, "std_ratio": sp / st,
        "skill": 1 - mse / st**2, "psnr": 20 * np.log10(span) - 10 * np.log10(mse),
    }  # fmt: skip


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("weights", ["area", None, "given"])
def test_equals_plain_numpy(pair, name, weights):
    p, t = pair
    areas = np.broadcast_to(Grid.of(t).areas, t.shape)
    own = xr.DataArray(np.random.default_rng(3).random((8, 36)), dims=("time", "longitude"))
    by = {"area": areas, None: np.ones(t.shape), "given": np.broadcast_to(own.values[:, None], t.shape)}[weights]
    score = getattr(metrics, name)(p, t, weights=own if weights == "given" else weights)
    assert score.item() == pytest.approx(by_hand(p.values, t.values, by)[name], rel=1e-9)
    assert score.dims == ()
    assert score.name == "t"


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("dim", ["time", ("latitude", "longitude"), "longitude", ["time", "latitude"]])
def test_any_subset_of_dimensions(pair, name, dim):
    p, t = pair
    score = getattr(metrics, name)(p, t, dim=dim)
    kept = [d for d in t.dims if d not in ([dim] if isinstance(dim, str) else dim)]
    assert score.dims == tuple(kept)
    areas = xr.DataArray(np.broadcast_to(Grid.of(t).areas, t.shape), t.coords, t.dims)
    at = {d: 3 for d in kept}
    expected = by_hand(p.isel(at).values, t.isel(at).values, areas.isel(at).values)[name]
    assert score.isel(at).item() == pytest.approx(expected, rel=1e-9)
    xr.testing.assert_identical(score[kept[0]], t[kept[0]].reset_coords(drop=True))


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("chunks", [{"time": 1}, {"time": 5, "latitude": 10}, {"latitude": 10, "longitude": 20}])
@pytest.mark.parametrize("dim", [None, "time", ("latitude", "longitude")])
def test_lazy_and_the_same_for_any_chunks(pair, name, chunks, dim, no_compute):
    p, t = pair
    whole = getattr(metrics, name)(p, t, dim=dim)
    with no_compute():
        lazy = getattr(metrics, name)(p.chunk(chunks), t.chunk(chunks), dim=dim)
        mixed = getattr(metrics, name)(p, t.chunk(chunks), dim=dim)
    assert lazy.chunks is not None
    for score in (lazy, mixed):
        xr.testing.assert_allclose(score, whole, rtol=1e-10)
    assert lazy.attrs == whole.attrs


@pytest.mark.parametrize("name", SCORES)
def test_row_order_longitude_range_and_cyclic_column_do_not_matter(pair, name):
    p, t = pair
    expected = getattr(metrics, name)(p, t).item()
    up = t.isel(latitude=slice(None, None, -1))
    west = t.assign_coords(longitude=(t.longitude + 180) % 360 - 180).sortby("longitude")
    cyclic = xr.concat([t, t.isel(longitude=[0]).assign_coords(longitude=[360.0])], "longitude", join="outer")
    rounded = t.assign_coords(longitude=t.longitude.astype("float32") + np.float32(1e-4))
    renamed = t.rename(latitude="lat", longitude="lon").transpose("lon", "time", "lat")
    for other in (up, west, cyclic, rounded, renamed):
        score = getattr(metrics, name)(p, other.assign_attrs(t.attrs))
        assert score.item() == pytest.approx(expected, rel=1e-10)
        assert getattr(metrics, name)(other.assign_attrs(t.attrs), p).item() == pytest.approx(
            getattr(metrics, name)(t, p).item(), rel=1e-6 if other is rounded else 1e-10
        )


def test_maps_keep_a_cyclic_column(pair):
    p, t = pair
    first = p.isel(longitude=[0]).assign_coords(longitude=[360.0])
    cyclic = xr.concat([p, first], "longitude", join="outer").assign_attrs(p.attrs)
    score = metrics.rmse(cyclic, t, dim="time")
    assert score.sizes["longitude"] == 37
    np.testing.assert_array_equal(score.isel(longitude=0), score.isel(longitude=-1))


def test_units_are_converted_or_refused(pair):
    p, t = pair
    celsius = (p - 273.15).assign_attrs(units="degC")
    assert metrics.rmse(celsius, t).item() == pytest.approx(metrics.rmse(p, t).item())
    assert metrics.rmse(t, celsius).attrs["units"] == "K"
    assert metrics.mse(p, t).attrs["units"] == "K2"
    assert metrics.correlation(p, t).attrs["units"] == "1"
    assert metrics.psnr(p, t).attrs["units"] == "dB"
    assert metrics.bias(p, t).attrs["long_name"] == "mean error of temperature"
    with pytest.raises(UnitsError, match="measure different things"):
        metrics.rmse(p.assign_attrs(units="m"), t)
    with pytest.raises(UnitsError, match="has none; wanted both or neither"):
        metrics.rmse(p.drop_attrs(), t)
    bare = metrics.rmse(p.drop_attrs(), t.drop_attrs())
    assert "units" not in bare.attrs


def test_dtype_and_history(pair):
    p, t = pair
    score = metrics.rmse(p.astype("float32"), t.astype("float32"))
    assert score.dtype == np.float32
    assert metrics.rmse(p.astype("float32"), t).dtype == np.float64
    assert metrics.mae((p.fillna(0)).astype("int32"), t).dtype == np.float64
    assert score.attrs["history"].endswith("metrics.rmse(weights='area')")
    assert p.attrs == t.attrs  # inputs stay as they came
    assert "history" not in p.attrs


def test_float32_of_large_mean_keeps_its_correlation():
    rng = np.random.default_rng(0)
    anomaly = rng.normal(size=(200, 200))
    t = xr.DataArray((5e4 + 100 * anomaly).astype("float32"), dims=("y", "x"))
    p = xr.DataArray((5e4 + 100 * rng.normal(size=(200, 200))).astype("float32"), dims=("y", "x"))
    expected = np.corrcoef(p.values.astype(float).ravel(), t.values.astype(float).ravel())[0, 1]
    assert metrics.correlation(p.astype(float), t.astype(float)).item() == pytest.approx(expected, abs=1e-10)


def test_undefined_scores_are_nan():
    t = xr.DataArray([[1.0, 2.0], [np.nan, np.nan]], dims=("y", "x"))
    assert np.isnan(metrics.rmse(t, t, dim="x").values).tolist() == [False, True]
    flat = xr.full_like(t, 280.1)
    assert np.isnan(metrics.correlation(flat, t).item())
    assert np.isnan(metrics.skill(t, flat).item())
    assert metrics.psnr(t, t).item() == np.inf
    assert np.isnan(metrics.psnr(flat, flat).item())
    assert np.isnan(metrics.psnr(t, xr.full_like(t, np.nan)).item())
    assert metrics.std_ratio(flat, t).item() == pytest.approx(0, abs=1e-5)


def test_zero_and_nan_weights_leave_points_out(pair):
    p, t = pair
    north = xr.where(t.latitude > 0, 1.0, np.nan)
    expected = metrics.rmse(p.sel(latitude=slice(90, 1)), t.sel(latitude=slice(90, 1)), weights=None)
    assert metrics.rmse(p, t, weights=north).item() == pytest.approx(expected.item())
    flipped = north.isel(latitude=slice(None, None, -1))
    assert metrics.rmse(p, t, weights=flipped).item() == pytest.approx(expected.item())


def test_rows_without_longitude_and_single_rows_are_weighted_by_latitude():
    latitude = xr.DataArray([60.0, 0.0, -60.0], dims="lat", attrs={"units": "degrees_north"})
    p = xr.DataArray([2.0, 0.0, 0.0], {"lat": latitude}, "lat")
    heights = -np.diff(np.sin(np.radians([90, 30, -30, -90]))) / 2
    assert metrics.mse(p, 0 * p).item() == pytest.approx(4 * heights[0])
    row = xr.DataArray(np.ones((1, 4)), {"lat": [60.0], "lon": [0.0, 1, 2, 3]}, ("lat", "lon"))
    assert metrics.mse(row, 0 * row).item() == 1


def test_points_along_a_track_count_alike():
    track = xr.DataArray([0.0, 2.0], {"lat": ("time", [0.0, 89.0]), "lon": ("time", [0.0, 1.0])}, "time")
    assert metrics.mse(track, 0 * track).item() == 2


def test_other_dimensions_stay(pair):
    p, t = pair
    members = xr.concat([p, p + 1], "member").assign_attrs(t.attrs)
    score = metrics.bias(members, t)
    assert score.dims == ("member",)
    assert float(score[1] - score[0]) == pytest.approx(1)
    assert metrics.bias(members, t, dim=["member", "time"]).dims == ("latitude", "longitude")
    everything = [*t.dims, "member"]
    assert metrics.psnr(members, t, dim=everything).dims == ()
    by_hand = metrics.mse(members, t, dim=everything).item()
    assert by_hand == pytest.approx((metrics.mse(p, t).item() + metrics.mse(members[1], t).item()) / 2)


def test_labels_of_other_kinds_match(pair):
    cftime = pytest.importorskip("cftime")
    p, t = pair
    expected = metrics.rmse(p, t).item()
    seconds = t.assign_coords(time=t["time"].values.astype("datetime64[s]"))
    assert metrics.rmse(p, seconds).item() == pytest.approx(expected)
    shuffled = t.isel(time=[3, 1, 0, 2, 7, 6, 5, 4])
    assert metrics.rmse(p, shuffled).item() == pytest.approx(expected)
    days = [cftime.Datetime360Day(2000, 2, 23 + k) for k in range(8)]
    first, second = p.assign_coords(time=days), shuffled.assign_coords(time=[days[k] for k in (3, 1, 0, 2, 7, 6, 5, 4)])
    assert metrics.rmse(first, second).item() == pytest.approx(expected)
    with pytest.raises(CoordinateError, match="labels of 'time'"):
        metrics.rmse(first, second.assign_coords(time=[days[0]] * 8))
    bare = [x.drop_vars("time") for x in (p, t)]
    assert metrics.rmse(*bare).item() == pytest.approx(expected)
    assert metrics.rmse(p, bare[1]).item() == pytest.approx(expected)
    spelled = t.assign_attrs(units="kelvin")
    assert metrics.rmse(p, spelled).item() == pytest.approx(expected)


def test_datasets_pair_by_name(pair):
    p, t = pair
    first, second = xr.Dataset({"t": p, "q": p * 2, "extra": p}), xr.Dataset({"q": t, "t": t})
    score = metrics.rmse(first, second)
    assert list(score) == ["t", "q"]
    assert score["t"].item() == metrics.rmse(p, t).item()
    assert metrics.rmse(first, t)["t"].item() == score["t"].item()
    assert metrics.rmse(p, second).item() == score["t"].item()
    with pytest.raises(VariableError, match="pairs variables by name"):
        metrics.rmse(first.rename(t="a", q="b"), second)
    with pytest.raises(VariableError, match="pick the variable"):
        metrics.rmse(p.rename("z"), second)


def test_acc_and_skill_against_a_climatology():
    t, p = field(0), field(1)
    base = xr.DataArray(280 + np.arange(12.0), {"month": np.arange(1, 13)}, "month", attrs={"units": "K"})
    base = base.broadcast_like(t.isel(time=0, drop=True)).assign_attrs(units="K").rename("t")
    w = np.broadcast_to(Grid.of(t).areas, t.shape)
    a, b = p.values - 280, t.values - 280  # January
    expected = (w * a * b).sum() / np.sqrt((w * a * a).sum() * (w * b * b).sum())
    assert metrics.acc(p, t, climatology=base).item() == pytest.approx(expected)
    expected = 1 - (w * (a - b) ** 2).sum() / (w * b * b).sum()
    assert metrics.skill(p, t, climatology=base).item() == pytest.approx(expected)
    celsius = (base - 273.15).assign_attrs(units="degC").to_dataset()
    assert metrics.skill(p, t, climatology=celsius).item() == pytest.approx(expected)
    with pytest.raises(CoordinateError, match="has no month"):
        metrics.acc(p, t, climatology=base.isel(month=slice(1, None)))


def test_lazy_climatology(no_compute):
    t, p = field(0), field(1)
    base = xr.DataArray(280 + np.arange(12.0), {"month": np.arange(1, 13)}, "month", attrs={"units": "K"})
    base = base.broadcast_like(t.isel(time=0, drop=True)).assign_attrs(units="K")
    with no_compute():
        lazy = metrics.acc(p.chunk(time=2), t.chunk(time=3), climatology=base.chunk(month=1), dim="time")
    xr.testing.assert_allclose(lazy, metrics.acc(p, t, climatology=base, dim="time"))


def test_clear_errors(pair):
    p, t = pair
    with pytest.raises(CoordinateError, match="7 points in the prediction .* wanted the same labels"):
        metrics.rmse(p.isel(time=slice(7)), t)
    shifted = p.assign_coords(time=p.time + np.timedelta64(6, "h"))
    with pytest.raises(CoordinateError, match=r"1 of 8 labels of 'time' .* join='inner'"):
        metrics.rmse(shifted, t)
    moved = p.assign_coords(longitude=p.longitude + 1)
    with pytest.raises(CoordinateError, match="36 of 36 labels of 'longitude'"):
        metrics.rmse(moved, t)
    with pytest.raises(DimensionError, match="dim has 'level', but the fields have"):
        metrics.rmse(p, t, dim="level")
    with pytest.raises(DimensionError, match="wanted some in common"):
        metrics.rmse(xr.DataArray([1.0], dims="a"), xr.DataArray([1.0], dims="b"))
    with pytest.raises(OptionError, match="weights='cosine'; wanted 'area', None or a DataArray"):
        metrics.rmse(p, t, weights="cosine")
    with pytest.raises(OptionError, match="weights go down to -1"):
        metrics.rmse(p, t, weights=xr.DataArray(-np.ones(8), dims="time"))
    with pytest.raises(OptionError, match="weights have dimension 'level'"):
        metrics.rmse(p, t, weights=xr.DataArray(np.ones(8), dims="level"))
    with pytest.raises(OptionError, match="data_range='peak'"):
        metrics.psnr(p, t, data_range="peak")
    with pytest.raises(OptionError, match="above 0"):
        metrics.psnr(p, t, data_range=0)
    with pytest.raises(CoordinateError, match="area weights need latitude and longitude coordinates"):
        metrics.rmse(p.drop_vars(["latitude", "longitude"]), t.drop_vars(["latitude", "longitude"]))
    with pytest.raises(OptionError, match="pass climatology="):
        metrics.verify(p, t, metrics="acc")


def test_what_is_wrong_with_a_climatology_is_said_of_it(pair):
    p, t = pair
    usual = metrics.climatology(t)
    with pytest.raises(
        CoordinateError, match=r"acc: 19 of 19 labels of 'latitude' in the climatology .* in the target"
    ):
        metrics.acc(p, t, climatology=usual.assign_coords(latitude=usual.latitude + 0.5))
    with pytest.raises(CoordinateError, match=r"'latitude' has 18 points in the climatology.* and 19 in the target"):
        metrics.acc(p, t, climatology=usual.isel(latitude=slice(1, None)))
    with pytest.raises(UnitsError, match=r"'t' has units 'K', the climatology has none; .* of the climatology$"):
        metrics.acc(p, t, climatology=usual.drop_attrs())
    with pytest.raises(CoordinateError, match=r"skill_score: .* in the reference .* in the target"):
        metrics.skill_score(p, t, reference=p.assign_coords(latitude=p.latitude + 0.5))


def test_agrees_with_the_scores_package(pair):
    continuous = pytest.importorskip("scores.continuous")
    p, t = pair
    areas = xr.DataArray(Grid.of(t).areas, {d: t[d] for d in t.dims[1:]}, t.dims[1:])
    ours = metrics.rmse(p, t, dim=("latitude", "longitude"))
    theirs = continuous.rmse(p, t, preserve_dims=["time"], weights=areas)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_memory_stays_with_the_chunks(no_compute):
    big = xr.DataArray(dka.zeros((10_000, 721, 1440), chunks=(24, 721, 1440)), Grid.regular(721, 1440).coords(),
                       ("time", "latitude", "longitude"))  # fmt: skip
    with no_compute():
        score = metrics.rmse(big, big + 1)
    assert score.chunks is not None


def test_the_climatology_as_a_forecast_has_no_correlation_of_rounding():
    time = np.datetime64("2020-01-01", "ns") + np.arange(96) * np.timedelta64(1, "h")
    rng = np.random.default_rng(0)
    t = xr.DataArray(280 + rng.normal(size=(96, 50)), {"time": time}, ["time", "x"])
    clim = metrics.climatology(t.isel(time=slice(48)), by="hour")
    usual = metrics.climatology_at(clim, t.time)
    for dtype in (np.float64, np.float32):  # off by rounding: to single precision, 1e-5 K
        for centred, off in ((False, 0.0), (True, 0.0), (True, 3.0)):
            p = (usual + off).astype(dtype)
            assert np.isnan(metrics.acc(p, t, climatology=clim, centred=centred)), (dtype, centred, off)
    small = (usual + 1e-3 * (t - usual)).astype(np.float32)  # 1e-3 K are anomalies, whatever the level
    assert float(metrics.acc(small, t, climatology=clim)) == pytest.approx(1.0, abs=1e-3)
