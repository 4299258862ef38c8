"""AtmoDist: pairs drawn and streamed, trained, scored, saved; features and distance; what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import xatmo
from xatmo.errors import (
    ChunkError,
    ConfigError,
    CoordinateError,
    DimensionError,
    MissingValueError,
    NotFittedError,
    OptionError,
    UnitsError,
    VariableError,
)
from xatmo.normalize import Normalizer
from xatmo.patches.lagged import LaggedWindows, Pairing, sizes_of
from xatmo.tasks import AtmoDist
from xatmo.tasks.representation import _lag_scores, _lagged
from xatmo.tasks.representation._lagged import LaggedBatches
from xatmo.tasks.superres import _content

QUICK: dict[str, Any] = {"max_steps": 2, "patch_size": 8, "batch_size": 4, "accelerator": "cpu", "progress": False}
QUICK["precision"] = "32-true"


def waves(n_time: int = 24, *, nlat: int = 18, nlon: int = 36, seed: int = 0) -> xr.Dataset:
    """Two fields of waves that move east, three-hourly."""
    grid = xatmo.Grid.regular(nlat, nlon, poles=False)
    lat, lon = np.radians(grid.latitude)[:, None], np.radians(grid.longitude)
    rng = np.random.default_rng(seed)
    t = np.arange(n_time)[:, None, None]
    total = np.zeros((n_time, nlat, nlon))
    for k in range(1, 7):
        total += np.cos(k * (lon - 0.1 * t) + rng.uniform(0, 6) + lat * rng.integers(-3, 4)) / k
    times = np.datetime64("2020-01-01", "ns") + np.arange(n_time) * np.timedelta64(3, "h")
    dims = ("time", "latitude", "longitude")
    return xr.Dataset(
        {
            "vo": (dims, (1e-5 * total).astype("float32"), {"units": "s-1"}),
            "d": (dims, (2e-6 * total**3).astype("float32"), {"units": "s-1"}),
        },
        coords={**grid.coords(), "time": times},
    )


@pytest.fixture(scope="module")
def fitted() -> AtmoDist:
    return AtmoDist(3, encoder="tiny", head_channels=8).fit(waves(), **QUICK)


# ---------------------------------------------------------------------- pairs
SIZES = (30, 20, 26)
VALUES = np.random.default_rng(0).standard_normal(SIZES).astype("f4")


def pairing(**changes: Any) -> Pairing:
    settings: dict[str, Any] = {
        "sizes": SIZES, "patch": (6, 10), "max_lag": 4, "lag_step": 2, "anchors": np.arange(22), "rows": (2, 12),
        "periodic": True,
    }  # fmt: skip
    return Pairing(**{**settings, **changes})


def field() -> xr.DataArray:
    return xr.DataArray(VALUES, dims=("t", "y", "x"))


def stored(kind: str, tmp_path: Path) -> xr.DataArray:
    if kind == "numpy":
        return field()
    if kind == "dask":
        return field().chunk(t=7, y=9, x=11)
    if kind == "computed":
        return (field().chunk(t=7, y=9, x=11) * 2 / 2).transpose("x", "y", "t")
    chunks = {"v": {"chunks": (8, 7, 9)}}
    field().rename("v").to_dataset().to_zarr(tmp_path / "v.zarr", encoding=chunks, consolidated=False)
    opened = xr.open_zarr(tmp_path / "v.zarr", chunks={} if kind == "zarr" else None, consolidated=False)["v"]
    return opened if kind == "zarr" else opened.isel(y=slice(None, None, -1)).isel(y=slice(None, None, -1))


def drawn(windows: LaggedWindows, pairs: np.ndarray, world: int = 1, **options: Any) -> list[Any]:
    found = []
    for rank in range(world):
        sizes = sizes_of(len(pairs), 16, rank, world, drop_last=False)
        found += list(windows.batches(pairs, sizes, seed=(0, 1), rank=rank, world_size=world, **options))
    return found


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("memory", [1 << 28, 40_000, 2_000])
@pytest.mark.parametrize("kind", ["numpy", "dask", "computed", "zarr", "lazy"])
def test_every_pair_is_what_the_field_holds(kind: str, memory: int, periodic: bool, tmp_path: Path) -> None:
    """Whatever the store and the memory: each pair once over all ranks, and its numbers those of the array."""
    p = pairing(periodic=periodic)
    windows = LaggedWindows([stored(kind, tmp_path), field() * 3], ("t", "y", "x"), p, memory=memory)
    assert windows.resident == (kind == "numpy" or memory > 1 << 20)
    pairs = p.draw(np.random.default_rng(1), 5)
    seen = []
    for x, which in drawn(windows, pairs, world=2):
        seen.append(which)
        for one, (t, lag, row, column) in zip(x, which, strict=True):
            columns = (column + np.arange(10)) % SIZES[2]
            for k, time in enumerate((t, t + 2 * lag)):
                wanted = VALUES[time, row : row + 6][:, columns]
                np.testing.assert_array_equal(one[k, 0], wanted)
                np.testing.assert_array_equal(one[k, 1], wanted * 3)
    together = np.concatenate(seen)
    np.testing.assert_array_equal(*(a[np.lexsort(a.T)] for a in (together, pairs)))


def test_pairs_are_uniform() -> None:
    p = pairing()
    pairs = p.draw(np.random.default_rng(0), 2000)
    assert np.array_equal(np.bincount(pairs[:, 0]), np.full(22, 2000))
    for column, n in ((1, 4), (2, 10), (3, 26)):
        counts = np.unique(pairs[:, column], return_counts=True)[1]
        assert counts.size == n
        assert np.ptp(counts) / counts.mean() < 0.15


def test_memory_bounds_what_is_held() -> None:
    p = pairing(sizes=(200, 64, 128), patch=(8, 8), anchors=np.arange(192), rows=(0, 57))
    lazy = xr.DataArray(np.zeros((200, 64, 128), "f4"), dims=("t", "y", "x")).chunk(t=10, y=32, x=32)
    memory = 1 << 20
    windows = LaggedWindows([lazy], ("t", "y", "x"), p, memory=memory)
    assert not windows.resident
    pairs = p.draw(np.random.default_rng(0), 3)
    _, block = windows.order(pairs, (0,))
    for _, _, numbers in windows._pools(block):
        held = sum(4 * np.prod([b - a for a, b in windows._bounds(n)]) for n in numbers)
        assert held <= memory // 2


def test_a_pass_goes_on_where_it_was() -> None:
    p = pairing()
    windows = LaggedWindows([field().chunk(t=7)], ("t", "y", "x"), p, memory=20_000)
    pairs = p.draw(np.random.default_rng(1), 5)
    whole, part = drawn(windows, pairs), drawn(windows, pairs, start=3)
    for (x, a), (y, b) in zip(whole[3:], part, strict=True):
        np.testing.assert_array_equal(x, y)
        np.testing.assert_array_equal(a, b)


def batches(ds: xr.Dataset, n_patches: int = 2, **options: Any) -> LaggedBatches:
    data = _lagged.lagged_fields(ds, ["vo", "d"], [(1.0, 0.0)] * 2)
    pairs = data.pairing((8, 8), 3, 1, (-60, 60))
    settings = {"batch_size": 8, "seed": 3, **options}
    return LaggedBatches(data, pairs, ["vo", "d"], Normalizer.fit(ds), n_patches=n_patches, **settings)


def test_epochs_differ_and_repeat() -> None:
    source = batches(waves())
    first, again, other = (list(source.batches(e)) for e in (0, 0, 1))
    assert len(first) == source.n_batches() == 21 * 2 // 8
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0][0], other[0][0])
    resumed = list(source.batches(0, start=2))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first[2:], resumed, strict=True))


def test_chunks_and_directions_change_no_pair() -> None:
    ds = waves()
    for other in (ds.chunk(time=5), ds.isel(latitude=slice(None, None, -1)), ds.transpose("longitude", ...)):
        for (a, la), (b, lb) in zip(batches(ds).batches(0), batches(other).batches(0), strict=True):
            torch.testing.assert_close(a, b)
            assert torch.equal(la, lb)


def test_the_label_is_the_lag() -> None:
    """The waves move a tenth of a radian a step: the second patch is the first one, moved by the lag."""
    ds = waves()
    number = np.arange(24.0)[:, None, None] + np.zeros((24, 18, 36))
    counted = ds.assign(vo=(ds.vo.dims, number.astype("f4")), d=(ds.d.dims, number.astype("f4")))
    data = _lagged.lagged_fields(counted, ["vo"], [(1.0, 0.0)])
    plain = Normalizer.from_statistics(mean={"vo": 0.0}, std={"vo": 1.0})
    source = LaggedBatches(
        data, data.pairing((8, 8), 3, 2, (-60, 60)), ["vo"], plain, n_patches=3, batch_size=16, seed=0
    )  # fmt: skip
    for pair, label in source.batches(0):
        torch.testing.assert_close((pair[:, 1] - pair[:, 0])[:, 0, 0, 0], 2.0 * (label + 1))


def test_a_warm_start_sees_the_same_few_pairs() -> None:
    source = batches(waves(), warmup=(16, 3))
    assert (source.warmup_steps(), source.n_batches()) == (6, 5)
    steps = [b for epoch in range(3) for b in source.batches(epoch)]
    assert len(steps) == 15
    key = [sorted(x.sum((1, 2, 3, 4)).tolist()) for x, _ in steps]
    passes = [np.sort(key[k] + key[k + 1]) for k in (0, 2, 4)]
    np.testing.assert_allclose(passes[0], passes[1], rtol=1e-5)
    np.testing.assert_allclose(passes[0], passes[2], rtol=1e-5)
    later = list(batches(waves()).batches(0))  # then come the epochs, as without it
    assert all(torch.equal(a[0], b[0]) for a, b in zip(steps[6:11], later, strict=True))
    resumed = list(source.batches(1, start=3))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(steps[8:10], resumed, strict=True))


def test_times_with_a_gap() -> None:
    """No pair reaches across a gap: only lags over even steps count."""
    ds = waves(24).isel(time=[*range(10), *range(12, 24)])
    data = _lagged.lagged_fields(ds, ["vo"], [(1.0, 0.0)])
    found = data.pairing((8, 8), 3, 1, (-60, 60))
    assert found.anchors.tolist() == [*range(7), *range(10, 19)]
    with pytest.raises(DimensionError, match="no run of 13 times 3 hours apart, for a lag of 12 x 1, among 22"):
        data.pairing((8, 8), 12, 1, (-60, 60))


def test_the_band_is_that_of_the_centres() -> None:
    data = _lagged.lagged_fields(waves(), ["vo"], [(1.0, 0.0)])
    first, stop = data.pairing((6, 6), 2, 1, (-30, 30)).rows
    centers = [data.grid.latitude[r + 2 : r + 4].mean() for r in (first - 1, first, stop - 1, stop)]
    assert centers[0] > 30 >= centers[1] > centers[2] >= -30 > centers[3]
    with pytest.raises(DimensionError, match="no patch of 6 rows is centred between latitude 80 and 85"):
        data.pairing((6, 6), 2, 1, (80, 85))
    with pytest.raises(DimensionError, match="patches of 32 x 8 cells do not fit 18 x 36"):
        data.pairing((32, 8), 2, 1, (-60, 60))


def test_three_step_normalization() -> None:
    """(x - mean) / std, then sign log(1 + 0.2 |z|), then standardised again."""
    ds = waves()
    normalizer = Normalizer.fit(ds, method="log1p")
    z = (ds.vo - ds.vo.mean()) / ds.vo.std()
    w = np.sign(z) * np.log1p(0.2 * abs(z))
    wanted = (w - w.mean()) / w.std()
    np.testing.assert_allclose(normalizer.normalize(ds).vo, wanted, atol=2e-5)


# ---------------------------------------------------------------------- training
def test_fit_save_load(fitted: AtmoDist, tmp_path: Path) -> None:
    assert fitted.history["step"].tolist() == [1, 2]
    assert {"top1", "top3"} <= set(fitted.history)
    assert [c.name for c in fitted.model.inputs] == ["vo", "d"]
    fitted.save(tmp_path / "m")
    again = xatmo.load(tmp_path / "m")
    assert isinstance(again, AtmoDist)
    assert again.config == fitted.config
    assert again.model.fingerprint == fitted.model.fingerprint
    assert again.model.config["content_scale"] == fitted.model.config["content_scale"]
    xr.testing.assert_identical(again.evaluate(waves(), device="cpu"), fitted.evaluate(waves(), device="cpu"))
    assert "ds.atmo.embed(model)" in (tmp_path / "m" / "README.md").read_text()


def test_a_resumed_run_is_an_uninterrupted_one(tmp_path: Path) -> None:
    ds, task = waves(), {"encoder": "tiny", "head_channels": 8}
    options = {**QUICK, "max_steps": 6, "seed": 1, "validation": waves(seed=1), "keep": "last"}
    whole = AtmoDist(3, **task).fit(ds, **options)
    count = 0

    def stop(*args: Any) -> None:
        nonlocal count
        count += 1
        if count == 4:
            raise KeyboardInterrupt

    original = _lagged.LaggedBatches.tensors

    def tensors(self: LaggedBatches, windows: Any, pairs: Any) -> Any:
        stop()
        return original(self, windows, pairs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_lagged.LaggedBatches, "tensors", tensors)
        with pytest.raises(KeyboardInterrupt):
            AtmoDist(3, **task).fit(ds, **options, run_dir=tmp_path / "run")
    resumed = AtmoDist(3, **task).fit(ds, **options, run_dir=tmp_path / "run")
    for a, b in zip(*(t.model.network.state_dict().values() for t in (whole, resumed)), strict=True):
        torch.testing.assert_close(a, b)
    with pytest.raises(ConfigError, match="lag_step was 1 and is 2"):
        AtmoDist(3, **task).fit(ds, **options, run_dir=tmp_path / "run", lag_step="6h")


def test_an_epoch_may_be_chosen_afterwards(tmp_path: Path) -> None:
    options = {
        **QUICK,
        "max_steps": None,
        "epochs": 2,
        "n_patches": 1,
        "run_dir": tmp_path / "run",
        "save_epochs": True,
    }
    last = AtmoDist(3, encoder="tiny", head_channels=8).fit(waves(), **options)
    first = AtmoDist(3, encoder="tiny", head_channels=8).fit(waves(), **options, keep=1)
    assert first.model.config["training"]["steps"] == last.model.config["training"]["steps"]
    assert first.model.fingerprint != last.model.fingerprint
    assert (
        AtmoDist(3, encoder="tiny", head_channels=8).fit(waves(), **options, keep=2).model.fingerprint
        == last.model.fingerprint
    )


def test_lags_are_learned_and_shuffled_ones_are_not() -> None:
    """Fields that brighten with time show the lag plainly; what is learned holds at other times, and not by chance."""
    ds = waves(60)
    phase = (np.arange(60.0) % 20)[:, None, None]
    ds = ds.assign(vo=(ds.vo.dims, (phase + 0.1 * ds.d.values / 2e-6).astype("f4")))
    task = AtmoDist(3, encoder="tiny", head_channels=16, learning_rate=3e-3, normalization="standard")
    task.fit(
        ds.isel(time=slice(0, 40)), patch_size=8, variables=["vo"], lag_step=3, batch_size=16, max_steps=120,
        precision="32-true", accelerator="cpu", progress=False,
    )  # fmt: skip
    test = ds.isel(time=slice(40, 60))
    assert float(task.evaluate(test, device="cpu").top1) > 0.7
    assert abs(float(task.evaluate(test, control=True, device="cpu").top1) - 1 / 3) < 0.2


def test_a_module_of_the_callers(tmp_path: Path) -> None:
    class Toy(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scores = torch.nn.Linear(2, 3)

        def forward(self, pair: torch.Tensor) -> torch.Tensor:
            return self.scores((pair[:, 1] - pair[:, 0]).mean((2, 3)))

    task = AtmoDist.from_module(Toy(), max_lag=3, learning_rate=0.01).fit(waves(), **QUICK)
    assert task.evaluate(waves(), device="cpu").sizes["lag"] == 3
    task.save(tmp_path / "m")
    again = xatmo.load(tmp_path / "m", module=Toy())
    assert again.model.fingerprint == task.model.fingerprint
    with pytest.raises(OptionError, match="Toy has no encoder with named layers"):
        waves().atmo.embed(task)
    with pytest.raises(OptionError, match=r"the module turned \(1, 2, 2, 8, 8\) into \(1, 3\); wanted \(1, 5\)"):
        AtmoDist.from_module(Toy(), max_lag=5).fit(waves(), **QUICK)
    with pytest.raises(OptionError, match=r"the module cannot read pairs \(1, 2, 1, 8, 8\)"):
        AtmoDist.from_module(Toy(), max_lag=3).fit(waves(), variables=["vo"], **QUICK)
    with pytest.raises(OptionError, match="module is str; wanted"):
        AtmoDist.from_module("net", max_lag=3)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"\['encoder'\] describe a network of ours"):
        AtmoDist.from_module(Toy(), max_lag=3, encoder="small")


# ---------------------------------------------------------------------- scores
def test_scores_of_a_perfect_and_of_an_ignorant_network() -> None:
    label = np.repeat(np.arange(4), 25)
    best = _lag_scores.table(np.eye(4)[label], label, 3600.0)
    assert (float(best.top1), float(best.mae), float(best.cross_entropy)) == (1.0, 0.0, 0.0)
    np.testing.assert_array_equal(best.confusion, np.eye(4))
    assert best.lag_time.values[1] == np.timedelta64(2, "h")
    none = _lag_scores.table(np.full((100, 4), 0.25), label, 3600.0)
    assert (float(none.top1), float(none.cross_entropy)) == (0.0, pytest.approx(np.log(4)))
    rng = np.random.default_rng(0)
    chance = _lag_scores.table(rng.random((40_000, 4)), rng.integers(0, 4, 40_000), 1.0)
    assert float(chance.top1) == pytest.approx(0.25, abs=0.01)
    assert float(chance.top3) == pytest.approx(0.75, abs=0.01)
    assert float(chance.mae) == pytest.approx(1.25, abs=0.02)
    np.testing.assert_allclose(chance.confusion.sum("predicted_lag"), 1)


def test_tables_by_lag_add_up(fitted: AtmoDist) -> None:
    scores = fitted.evaluate(waves(), device="cpu", n_patches=4)
    for name in ("top1", "top3", "mae", "cross_entropy"):
        mean = (scores[f"{name}_by_lag"] * scores.n_pairs).sum() / scores.n_pairs.sum()
        assert float(mean) == pytest.approx(float(scores[name]), rel=1e-6)
    assert int(scores.n_pairs.sum()) == 21 * 4
    np.testing.assert_allclose(np.diag(scores.confusion), scores.top1_by_lag)


def test_scores_in_other_units_and_names(fitted: AtmoDist) -> None:
    ds = waves()
    other = ds.assign(vo=(ds.vo * 86400).assign_attrs(units="day-1")).isel(latitude=slice(None, None, -1))
    a, b = (fitted.evaluate(x, device="cpu") for x in (ds, other))
    np.testing.assert_allclose(a.cross_entropy, b.cross_entropy, rtol=1e-3)
    hourly = ds.interp(time=pd.date_range("2020-01-01", "2020-01-03", freq="1h")).astype("float32")
    for name in ds:
        hourly[name].attrs = ds[name].attrs
    assert fitted._source(hourly, "x", n_patches=1, latitudes=None, batch_size=1, seed=0).pairing.lag_step == 3


def test_map_of_the_scores(fitted: AtmoDist) -> None:
    out = fitted.accuracy_map(waves(), lag=2, stride=6, n_times=4, device="cpu")
    assert dict(out.sizes) == {"latitude": 2, "longitude": 6}
    assert (out.near >= out.accuracy).all()
    assert ((out.entropy >= 0) & (out.entropy <= np.log(3) + 1e-6)).all()
    np.testing.assert_allclose(out.longitude.diff("longitude"), 60)
    whole = fitted.accuracy_map(waves(), lag=2, stride=6, device="cpu")
    assert whole.attrs["n_times"] == 21
    with pytest.raises(OptionError, match="lag=4; wanted 1 to 3 steps"):
        fitted.accuracy_map(waves(), lag=4)


def test_metric_by_lag_and_its_scale(fitted: AtmoDist, tmp_path: Path) -> None:
    out = fitted.metric_by_lag(waves(), layer="stage2", n_pairs=300, device="cpu")
    assert (np.diff(out.l2) > 0).all()  # the waves move on
    half = out.isel(lag=slice(1, None))
    wanted = float((half.content * half.l2).sum() / (half.content**2).sum())
    assert out.attrs["scale"] == pytest.approx(wanted)
    assert fitted.model.config["content_scale"]["stage2"] == out.attrs["scale"]
    np.testing.assert_allclose(out.scaled_content, out.content * wanted)
    assert int(out.n_pairs.sum()) >= 300


# ---------------------------------------------------------------------- features and distance
def test_features_are_those_of_each_window(fitted: AtmoDist) -> None:
    ds = waves(2)
    out = ds.atmo.embed(fitted, layer="stage3", device="cpu")
    assert out.dims == ("time", "latitude", "longitude", "feature")
    normalized = fitted.model.normalizer.normalize(ds)[["vo", "d"]].to_dataarray().values
    window = torch.from_numpy(normalized[None, :, 1, :8, :8].astype("f4"))
    with torch.no_grad():
        wanted = fitted.model.network.encoder.features(window, "stage3")[0]
    np.testing.assert_allclose(out[1, 0, 0], wanted.flatten(), atol=1e-4)
    k = 7
    np.testing.assert_allclose(
        out[1, 0, 0, k], wanted[int(out.channel[k]), int(out.row[k]), int(out.column[k])], atol=1e-4
    )
    assert float(out.latitude[0]) == pytest.approx(float(ds.latitude[3:5].mean()))
    assert "embed(model='AtmoDist'" in out.attrs["history"]


def test_features_are_lazy(fitted: AtmoDist, no_compute: Callable[[], AbstractContextManager[None]]) -> None:
    ds = waves(6)
    with no_compute():
        out = ds.chunk(time=2).atmo.embed(fitted, device="cpu")
        far = ds.chunk(time=2).atmo.distance(ds.chunk(time=3), fitted, device="cpu")
    assert out.chunks is not None
    assert out.chunks[0] == (2, 2, 2)
    xr.testing.assert_allclose(out.compute(), ds.atmo.embed(fitted, device="cpu"), rtol=1e-4, atol=1e-4)
    assert float(abs(far).max()) == 0


def test_features_do_not_depend_on_the_layout(fitted: AtmoDist) -> None:
    ds = waves(2)
    wanted = ds.atmo.embed(fitted, device="cpu")
    rolled = ds.roll(longitude=7, roll_coords=True)
    turned = ds.isel(latitude=slice(None, None, -1))
    np.testing.assert_allclose(rolled.atmo.embed(fitted, device="cpu"), wanted, atol=1e-4)
    out = turned.atmo.embed(fitted, device="cpu")
    assert float(out.latitude[0]) < float(out.latitude[-1])
    np.testing.assert_allclose(out.isel(latitude=slice(None, None, -1)), wanted, atol=1e-4)


def test_distance(fitted: AtmoDist) -> None:
    ds = waves(4)
    a, b = ds.isel(time=0, drop=True), ds.isel(time=3, drop=True)
    out = a.atmo.distance(b, fitted, device="cpu")
    features = [x.atmo.embed(fitted, device="cpu") for x in (a, b)]
    scale = fitted.model.config["content_scale"]["stage4"]
    np.testing.assert_allclose(out, scale * ((features[0] - features[1]) ** 2).mean("feature"), rtol=1e-4)
    assert (out.attrs["scale"], out.name) == (scale, "distance")
    xr.testing.assert_allclose(b.atmo.distance(a, fitted, device="cpu"), out)
    against = ds.atmo.distance(a, fitted, device="cpu")
    assert against.dims == ("time", "latitude", "longitude")
    assert float(against[0].max()) == pytest.approx(0, abs=1e-9)
    overlapping = a.atmo.distance(b, fitted, overlap={"lat": 4, "lon": 4}, device="cpu")
    assert overlapping.sizes["longitude"] == 9


def test_what_features_refuse(fitted: AtmoDist) -> None:
    ds = waves(2)
    with pytest.raises(VariableError, match="'d' is missing"):
        ds[["vo"]].atmo.embed(fitted)
    with pytest.raises(OptionError, match="layer='x' is not in this encoder"):
        ds.atmo.embed(fitted, layer="x")
    with pytest.raises(OptionError, match="overlap={'x': 2}; wanted cells for 'lat' and 'lon'"):
        ds.atmo.embed(fitted, overlap={"x": 2})
    with pytest.raises(DimensionError, match="the field has 5 x 36 points, and the model was trained on windows of 8"):
        ds.isel(latitude=slice(0, 5)).atmo.embed(fitted)
    with pytest.raises(ChunkError, match="chunk"):
        ds.chunk(latitude=6).atmo.embed(fitted)
    with pytest.raises(MissingValueError, match="vo"):
        ds.where(ds.latitude < 80).atmo.embed(fitted, device="cpu")
    with pytest.raises(CoordinateError, match="same points: they differ along 'latitude'"):
        ds.atmo.distance(waves(2, nlat=20), fitted, device="cpu")
    with pytest.raises(CoordinateError, match="same coordinates"):
        ds.atmo.distance(ds.assign_coords(time=ds.time + np.timedelta64(1, "h")), fitted, device="cpu")
    with pytest.raises(OptionError, match="a bare network does not tell which variables it reads"):
        ds.atmo.embed(fitted.model.network)


# ---------------------------------------------------------------------- as a loss
@pytest.mark.parametrize(
    ("factor", "extra"),
    [(2, ""), pytest.param(3, " + 0.1 spectral_power", marks=pytest.mark.slow)],
)
def test_a_learned_loss_for_superresolution(fitted: AtmoDist, factor: int, extra: str, tmp_path: Path) -> None:
    """Two channels at once, and a third that the encoder does not read; beside other losses."""
    fitted.save(tmp_path / "ad")
    ds = waves(3)
    ds = ds.assign(z=(ds.vo * 3 + 1e-5).assign_attrs(units="m"))
    sr = xatmo.SuperResolver(
        factor=factor, channels=4, n_blocks=1, loss=f"mae + 0.5 atmodist:{tmp_path / 'ad'}@stage4{extra}"
    )
    sr.fit(ds, max_steps=2, patch_size=6, batch_size=2, accelerator="cpu", progress=False)
    assert np.isfinite(sr.history.loss).all()
    (name,) = (c for c in sr.history if c.startswith("atmodist"))
    rest = 0.1 * sr.history.spectral_power if extra else 0.0
    np.testing.assert_allclose(sr.history.loss, sr.history.mae + 0.5 * sr.history[name] + rest, rtol=1e-4)


def test_a_loss_matches_channels_by_name_and_unit(fitted: AtmoDist, tmp_path: Path) -> None:
    """The same physical fields give the same loss, however the network that made them is normalized."""
    from xatmo.model import Channel

    fitted.save(tmp_path / "ad")
    ds = waves(2)
    per_day = xr.Dataset({n: (ds[n] * 86400).assign_attrs(units="day-1") for n in ("d", "vo")})
    values = []
    for fields in (ds, per_day):
        for method in ("standard", "log1p"):
            normalizer = Normalizer.fit(fields, method=method)
            outputs = [Channel.of(fields[n]) for n in fields]
            loss = _content.content_loss(str(tmp_path / "ad"), outputs, normalizer)
            x = torch.from_numpy(normalizer.normalize(fields)[list(fields)].to_dataarray().values.swapaxes(0, 1))
            values.append(float(loss(x[:1].float(), x[1:].float())))
    np.testing.assert_allclose(values, values[0], rtol=2e-3)
    with pytest.raises(VariableError, match=r"reads \['d'\], which the network does not write"):
        _content.content_loss(str(tmp_path / "ad"), [Channel("vo", "s-1")], None)
    with pytest.raises(UnitsError, match="in other units"):
        _content.content_loss(str(tmp_path / "ad"), [Channel("vo", "K"), Channel("d", "s-1")], None)
    with pytest.raises(UnitsError, match="the network's has no units"):
        _content.content_loss(str(tmp_path / "ad"), [Channel("vo"), Channel("d", "s-1")], None)
    with pytest.raises(OptionError, match="has no scale for the layer 'stage1'"):
        _content.content_loss(f"{tmp_path / 'ad'}@stage1", [Channel("vo", "s-1"), Channel("d", "s-1")], None)


# ---------------------------------------------------------------------- what it refuses
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"encoder": "vgg"}, "encoder='vgg' is not available"),
        ({"normalization": "log"}, "normalization='log' is not available"),
        ({"clip": "value"}, "clip='value' is not available"),
        ({"optimizer": "lbfgs"}, "optimizer='lbfgs'; possible are"),
        ({"label_smoothing": 2}, "label_smoothing=2; wanted"),
        ({"max_lag": 1}, "max_lag=1; wanted a whole number of at least 2"),
    ],
)
def test_settings_that_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        AtmoDist(**{"max_lag": 3, **options})


def test_data_that_are_refused() -> None:
    ds, task = waves(), AtmoDist(3, encoder="tiny", head_channels=8)
    with pytest.raises(VariableError, match=r"variables \['u'\] are not there; the data have \['d', 'vo'\]"):
        task.fit(ds, variables=["u"], **QUICK)
    with pytest.raises(DimensionError, match="variable 'vo' has dimensions"):
        task.fit(ds.expand_dims(level=2), variables=["vo"], **QUICK)
    with pytest.raises(CoordinateError, match="'time' does not increase; wanted increasing times"):
        task.fit(ds.isel(time=slice(None, None, -1)), **QUICK)
    with pytest.raises(CoordinateError, match="'time' has one value"):
        task.fit(ds.isel(time=[0]), **QUICK)
    with pytest.raises(CoordinateError, match="wanted dates"):
        task.fit(ds.assign_coords(time=("time", np.arange(24.0), {"standard_name": "time"})), **QUICK)
    with pytest.raises(MissingValueError, match=r"missing or infinite values in \['vo', 'd'\]"):
        task.fit(ds.where(ds.longitude < 300), **QUICK)
    for step in ("5h", 0, True, "soon"):
        with pytest.raises(OptionError, match="and times are 3 hours apart; wanted .* such as .6h"):
            task.fit(ds, lag_step=step, **QUICK)
    with pytest.raises(OptionError, match=r"latitudes=\(50, 95\); wanted two degrees"):
        task.fit(ds, latitudes=(50, 95), **QUICK)
    with pytest.raises(OptionError, match="patch_size={'lat': 8}; wanted"):
        task.fit(ds, **{**QUICK, "patch_size": {"lat": 8}})
    with pytest.raises(NotFittedError, match="this AtmoDist is not fitted"):
        task.evaluate(ds)
    with pytest.raises(OptionError, match="1 pairs cannot be shared among 2 devices"):
        batches(ds.isel(time=slice(0, 4)), n_patches=1).n_batches(2)


def test_a_model_of_another_version(fitted: AtmoDist) -> None:
    from dataclasses import replace

    broken = replace(fitted.model, config={**fitted.model.config, "settings": {"lags": 3}})
    with pytest.raises(ConfigError, match="settings that AtmoDist does not know"):
        AtmoDist.of_model(broken)
