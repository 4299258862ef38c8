"""The training stream: every window once, the right numbers, the same order again, in bounded memory, any store."""

from __future__ import annotations

import gc
import itertools
import pickle
import threading
import warnings
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from distributed import Client
from hypothesis import given, settings
from hypothesis import strategies as st
from windows import SIZES, counting, cut, firsts

import xatmo
from xatmo.data import SampleStream
from xatmo.errors import OptionError
from xatmo.patches import _sources, plan
from xatmo.patches._schedule import Layout, Schedule, batch_sizes, share
from xatmo.patches._zarr import LocalZarr

NoCompute = Callable[[], AbstractContextManager[None]]


def stored(da: xr.DataArray, tmp_path: Path, how: str) -> xr.DataArray:
    """The same field out of a store."""
    path = tmp_path / "store"
    chunks = tuple(min(c, n) for c, n in zip((5, 8, 10), da.shape, strict=True))
    if how == "memory":
        return da
    if how == "dask":
        return da.chunk(dict(zip(da.dims, (5, 7, 36), strict=True)))
    if how == "dask computed":
        return da.chunk(dict(zip(da.dims, (5, 7, 36), strict=True))) * 1
    if how.startswith("netcdf"):
        encoding = {"chunksizes": chunks} if how == "netcdf chunked" else {}
        da.to_netcdf(path, engine="netcdf4", encoding={"x": encoding})
        return xr.open_dataset(path, engine="netcdf4").x
    encoding = {"chunks": chunks}
    form = 2 if "2" in how else 3
    if how == "zarr packed":
        encoding.update(dtype="int32", scale_factor=1.0, add_offset=0.0, _FillValue=-1)
    if how == "zarr sharded":
        encoding["shards"] = (10, 16, 20)
    da.to_dataset().to_zarr(path, encoding={"x": encoding}, zarr_format=form, consolidated=False)
    return xr.open_zarr(path, chunks={} if "dask" in how else None, consolidated=False).x


STORES = (
    "memory", "dask", "dask computed", "netcdf", "netcdf chunked", "zarr", "zarr 2", "zarr dask", "zarr 2 dask",
    "zarr packed", "zarr sharded",
)  # fmt: skip


# ---------------------------------------------------------------------- the right numbers
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("how", STORES)
def test_windows_equal_plain_slices_from_any_store(how: str, shuffle: bool, tmp_path: Path) -> None:
    da = counting()
    field = stored(da, tmp_path, how)
    p = plan(SIZES, {"time": 3, "lat": 7, "lon": 16}, overlap={"time": 1, "lon": 4}, periodic=["lon"])
    stream = SampleStream(field, p, batch_size=7, shuffle=shuffle, memory=20_000, threads=3)
    batches = list(stream)
    assert [len(b) for b in batches] == [7] * (len(p) // 7) + [len(p) % 7][: len(p) % 7]
    assert all(b.dtype == torch.float32 and b.is_contiguous() for b in batches)
    got = {float(w[0, 0, 0, 0]): w[0].numpy() for b in batches for w in b}
    wanted = {float(w[0, 0, 0]): w for w in (cut(da.values, p, i) for i in range(len(p)))}
    assert got.keys() == wanted.keys()
    for key, window in wanted.items():
        np.testing.assert_array_equal(got[key], window)
    if not shuffle:
        assert list(got) == list(wanted)


@pytest.mark.parametrize("how", ["zarr", "zarr 2", "zarr dask", "zarr 2 dask"])
def test_zarr_is_decoded_directly_also_after_slicing(how: str, tmp_path: Path) -> None:
    field = stored(counting(), tmp_path, how)
    source = _sources.Source(field)
    assert source.direct
    assert isinstance(source._array, LocalZarr)
    assert source.edges == ((0, 5, 10, 12), (0, 8, 16, 20), (0, 10, 20, 30, 36))
    part = _sources.Source(field.isel(time=slice(2, None), lon=slice(5, 25)))
    if "dask" not in how:
        assert isinstance(part._array, LocalZarr)
        assert part.edges == ((0, 3, 8, 10), (0, 8, 16, 20), (0, 5, 15, 20))
    if not part.direct:
        return
    for slices in ((slice(0, 3), slice(0, 8), slice(0, 5)), (slice(1, 10), slice(3, 20), slice(2, 20))):
        np.testing.assert_array_equal(part.read(slices), counting()[2:, :, 5:25][slices])


@pytest.mark.parametrize("codec", ["none", "zstd", "blosc", "gzip", "big", "transposed", "float64", "int16"])
@pytest.mark.parametrize("form", [2, 3])
def test_every_encoding_gives_the_same_numbers(codec: str, form: int, tmp_path: Path) -> None:
    values = np.arange(10 * 12, dtype={"float64": "f8", "int16": "i2", "big": ">f4"}.get(codec, "f4")).reshape(10, 12)
    extra: dict[str, Any] = {"none": {"compressors": None}, "zstd": {}, "big": {}, "float64": {}, "int16": {}}.get(
        codec, {}
    )
    if codec == "blosc":
        extra = {"compressors": zarr.codecs.BloscCodec() if form == 3 else __import__("numcodecs").Blosc()}
    if codec == "gzip":
        extra = {"compressors": zarr.codecs.GzipCodec() if form == 3 else __import__("numcodecs").GZip()}
    if codec == "transposed":
        extra = {"order": "F"} if form == 2 else {"filters": [zarr.codecs.TransposeCodec(order=(1, 0))]}
    store = zarr.create_array(
        tmp_path / "a", name="x", shape=(10, 12), chunks=(4, 5), dtype=values.dtype, zarr_format=form, fill_value=0,
        **({} if form == 2 else {"dimension_names": ("a", "b")}), **extra,
    )  # fmt: skip
    store[:8] = values[:8]  # the last row of chunks is never written
    if form == 2:
        store.attrs["_ARRAY_DIMENSIONS"] = ["a", "b"]
    field = xr.open_zarr(tmp_path / "a", chunks=None, consolidated=False, mask_and_scale=False).x
    wanted = np.where(np.arange(10)[:, None] < 8, values, 0)
    source = _sources.Source(field)
    assert source.edges == ((0, 4, 8, 10), (0, 5, 10, 12))
    assert isinstance(source._array, LocalZarr) or codec in ("transposed", "big")
    for box in ((slice(0, 4), slice(5, 10)), (slice(8, 10), slice(10, 12)), (slice(1, 9), slice(3, 12))):
        got = source.read(box)
        assert got.dtype == np.float32
        assert got.dtype.isnative
        np.testing.assert_array_equal(got, wanted[box])


def test_a_dask_array_that_does_more_than_read_goes_through_dask(tmp_path: Path) -> None:
    field = stored(counting(), tmp_path, "zarr dask")
    assert _sources.Source(field).direct
    assert not _sources.Source(field + 1).direct
    assert not _sources.Source(field.isel(time=slice(1, 7))).direct
    assert not _sources.Source(counting().chunk(time=2)).direct


@pytest.mark.parametrize("how", ["memory", "zarr", "zarr dask", "dask computed"])
def test_streams_pickle(how: str, tmp_path: Path) -> None:
    p = plan(SIZES, {"time": 3, "lat": 10, "lon": 18})
    stream = SampleStream(stored(counting(), tmp_path, how), p)
    wanted = firsts(stream)
    again = pickle.loads(pickle.dumps(stream))
    again.set_epoch(0)
    assert firsts(again) == wanted


def test_levels_in_a_store_become_channels(tmp_path: Path) -> None:
    da = counting().expand_dims(level=4, axis=1).copy() * xr.DataArray(np.arange(1.0, 5.0), dims="level")
    da = da.astype("float32").rename("x")
    da.to_dataset().to_zarr(tmp_path / "s", encoding={"x": {"chunks": (5, 2, 8, 36)}}, consolidated=False)
    p = plan(SIZES, {"time": 3, "lat": 10, "lon": 18})
    for chunks in (None, {}):
        stream = SampleStream(xr.open_zarr(tmp_path / "s", chunks=chunks, consolidated=False).x, p, shuffle=False)
        assert torch.equal(torch.cat(list(stream)), torch.cat(list(SampleStream(da, p, shuffle=False))))


def test_large_graphs_are_left_to_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    p = plan(SIZES, {"time": 3, "lat": 10, "lon": 18})
    field = counting().expand_dims(level=2, axis=1).copy().chunk(time=5, lat=7, level=1)
    wanted = torch.cat(list(SampleStream(field, p)))
    monkeypatch.setattr("xatmo.patches._dask._LARGEST_GRAPH", 1)
    assert torch.equal(torch.cat(list(SampleStream(field, p))), wanted)


@pytest.fixture
def read_alone(tmp_path: Path) -> tuple[SampleStream, torch.Tensor]:
    """A stream, and what it delivers as long as there is no cluster."""
    field = stored(counting(), tmp_path, "zarr dask") + 1
    stream = SampleStream(field, plan(SIZES, {"time": 3, "lat": 10, "lon": 18}), batch_size=5, shuffle=False)
    return stream, torch.cat(list(stream))


def test_a_distributed_client_changes_nothing(read_alone: tuple[SampleStream, torch.Tensor], cluster: Client) -> None:
    stream, wanted = read_alone
    assert torch.equal(torch.cat(list(stream)), wanted)


def test_building_computes_nothing(tmp_path: Path, no_compute: NoCompute) -> None:
    field = stored(counting(), tmp_path, "dask computed")
    with no_compute():
        stream = SampleStream(field, plan(SIZES, {"time": 1, "lat": 10, "lon": 18}))
        assert len(stream) == -(-12 * 2 * 2 // 16)


# ---------------------------------------------------------------------- several fields
def test_channels_levels_statics_and_times_in_one_tensor() -> None:
    a, static = counting(), counting()[0].rename("height")
    levels = xr.concat([a, 2 * a], dim="level").rename("u").transpose("time", "lat", "level", "lon")
    p = plan(SIZES, {"time": 2, "lat": 10, "lon": 12})
    stream = SampleStream([a, levels, static], p, batch_size=4, shuffle=False)
    assert stream.channels == {"": ("x", "u_0", "u_1", "height")}
    whole = torch.cat(list(stream)).numpy()
    assert whole.shape == (len(p), 4, 2, 10, 12)
    np.testing.assert_array_equal(whole[:, 1], whole[:, 0])
    np.testing.assert_array_equal(whole[:, 2], 2 * whole[:, 0])
    np.testing.assert_array_equal(whole[:, 3, 0], whole[:, 3, 1])
    np.testing.assert_array_equal(whole[:, 3, 0], [cut(a.values, p, i)[0] % 720 for i in range(len(p))])
    ds = xr.Dataset({"x": a, "label": ("time", ["a"] * 12), "height": static, "one": 1.0})
    assert SampleStream(ds, p).channels == {"": ("x", "height")}


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("how", ["memory", "zarr"])
def test_fine_windows_lie_under_coarse_ones(how: str, extra: int, tmp_path: Path) -> None:
    coarse, fine = counting(), counting(lat=60 + extra, lon=108)
    fine_field = stored(fine, tmp_path, how)
    static = fine[0].rename("height")
    p = plan(SIZES, {"time": 1, "lat": 8, "lon": 16}, overlap={"lat": 2, "lon": 4}, periodic=["lon"])
    stream = SampleStream(
        {"inputs": coarse, "targets": fine_field, "static": static}, p, factor={"targets": 3, "static": 3},
        batch_size=6, squeeze=["time"], memory=30_000,
    )  # fmt: skip
    seen = 0
    for batch in stream:
        assert batch.keys() == {"inputs", "targets", "static"}
        assert batch["inputs"].shape[1:] == (1, 8, 16)
        assert batch["targets"].shape[1:] == batch["static"].shape[1:] == (1, 24, 48)
        for x, y, h in zip(batch["inputs"], batch["targets"], batch["static"], strict=True):
            t, i, j = (int(k) for k in np.unravel_index(int(x[0, 0, 0]), coarse.shape))
            rows, columns = np.arange(3 * i, 3 * i + 24), np.arange(3 * j, 3 * j + 48) % 108
            np.testing.assert_array_equal(y[0], fine.values[t][np.ix_(rows, columns)])
            np.testing.assert_array_equal(h[0], fine.values[0][np.ix_(rows, columns)])
            seen += 1
    assert seen == len(p)


def test_normalization_by_numbers_objects_and_functions() -> None:
    da = xr.Dataset({"a": counting(), "b": 2 * counting()})
    p = plan(SIZES, {"time": 1, "lat": 10, "lon": 18})
    raw = torch.cat(list(SampleStream(da, p, shuffle=False)))

    class Normalizer:
        def normalize_array(self, name: str, block: Any) -> Any:
            return (block - {"a": 1.0, "b": 2.0}[name]) / 10

    wanted = (raw - torch.tensor([1.0, 2.0]).reshape(1, 2, 1, 1, 1)) / 10
    for one in ({"a": (1.0, 10.0), "b": (2.0, 10.0)}, Normalizer(), Normalizer().normalize_array):
        torch.testing.assert_close(torch.cat(list(SampleStream(da, p, shuffle=False, normalizer=one))), wanted)
    grouped = SampleStream({"x": da.a, "y": da.b}, p, shuffle=False, normalizer={"x": Normalizer()})
    for batch, raw_batch in zip(grouped, SampleStream({"x": da.a, "y": da.b}, p, shuffle=False), strict=True):
        torch.testing.assert_close(batch["x"], (raw_batch["x"] - 1) / 10)
        torch.testing.assert_close(batch["y"], raw_batch["y"])
    with pytest.raises(OptionError, match="the normalizer has no 'b'; it has"):
        list(SampleStream(da, p, normalizer={"a": (0.0, 1.0)}))


def test_another_products_axes_are_matched_by_role() -> None:
    grid = xatmo.Grid.regular(20, 36, poles=False)
    a = xr.DataArray(np.zeros((20, 36)), dims=("lat", "lon"), coords=grid.coords(lat="lat", lon="lon"), name="a")
    b = xr.DataArray(np.ones((20, 36)), dims=("latitude", "longitude"), coords=grid.coords(), name="b")
    stream = SampleStream([a, b], plan(a.sizes, {"lat": 10, "lon": 18}))
    assert next(iter(stream)).shape == (4, 2, 10, 18)


# ---------------------------------------------------------------------- order
@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 20), st.integers(1, 36), st.data())
def test_every_window_comes_exactly_once_on_exactly_one_rank(t: int, y: int, x: int, data: st.DataObject) -> None:
    overlap = {"lat": data.draw(st.integers(0, y - 1)) // 2, "lon": data.draw(st.integers(0, x - 1)) // 2}
    p = plan(
        SIZES, {"time": t, "lat": y, "lon": x}, overlap=overlap, periodic=["lon"] if data.draw(st.booleans()) else []
    )
    if len(p) > 4000:
        return
    world, batch_size = data.draw(st.integers(1, min(4, len(p)))), data.draw(st.integers(1, 40))
    field = counting().chunk(time=5, lat=7, lon=10)
    layouts = [Layout(_sources.Source(field), p, {})]
    schedule = Schedule(
        p, layouts, shuffle=data.draw(st.booleans()), seed=3, pool_bytes=data.draw(st.integers(1, 60_000))
    )
    seen = []
    for rank in range(world):
        mine = [pool.windows for pool in schedule.pools(1, rank, world)]
        sizes = batch_sizes(len(p), rank, world, batch_size, drop_last=False)
        assert sum(map(len, mine)) == sizes.sum() == np.diff(share(len(p), rank, world))[0]
        assert len(sizes) == len(batch_sizes(len(p), 0, world, batch_size, drop_last=False))
        assert sizes.max() <= batch_size
        seen += mine
        for pool in schedule.pools(1, rank, world):
            for start in pool.starts.tolist():
                pieces = [layouts[0].axes[a].pieces(s) for a, s in enumerate(start)]  # type: ignore[union-attr]
                assert {(0, tuple(q[0] for q in one)) for one in itertools.product(*pieces)} <= pool.keys
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.arange(len(p)))


def test_epochs_differ_and_repeat() -> None:
    p = plan(SIZES, {"time": 1, "lat": 10, "lon": 12})
    field = counting().chunk(time=4)
    one, two = SampleStream(field, p, seed=1), SampleStream(field, p, seed=1)
    first, second = firsts(one), firsts(one)
    assert sorted(first) == sorted(second) == sorted(firsts(SampleStream(field, p, seed=2, shuffle=False)))
    assert first != second != sorted(first)
    assert firsts(two) == first
    assert firsts(SampleStream(field, p, seed=2)) != first
    two.set_epoch(1)
    assert firsts(two) == second
    assert two.epoch == 1
    assert firsts(SampleStream(field, p, seed=1, threads=1, prefetch=5)) == first


def test_shuffling_mixes_chunks_within_a_batch() -> None:
    p = plan({"time": 64, "lat": 20, "lon": 36}, {"time": 1, "lat": 10, "lon": 12})
    stream = SampleStream(counting(time=64).chunk(time=1), p, batch_size=16, memory=2 * 16 * 720 * 4)
    times = [len({int(w.reshape(-1)[0]) // 720 for w in batch}) for batch in stream]
    assert np.mean(times) > 8


@pytest.mark.parametrize("memory", [2_000, 1 << 30])
@pytest.mark.parametrize("done", [0, 1, 5, 11])
def test_a_resumed_epoch_goes_on(done: int, memory: int) -> None:
    p = plan(SIZES, {"time": 1, "lat": 10, "lon": 12}, overlap={"lon": 2})

    def make() -> SampleStream:
        return SampleStream(counting().chunk(time=2, lat=7), p, batch_size=8, memory=memory, random_offsets=True)

    whole, again = make(), make()
    list(whole), list(again)
    every = list(whole)
    assert len(every) == len(whole) == 12
    batches = iter(again)
    before = [next(batches) for _ in range(done)]
    state = again.state_dict()
    assert state == {"epoch": 1, "batch": done}
    resumed = make()
    resumed.load_state_dict(state)
    after = list(resumed)
    assert len(after) == 12 - done
    torch.testing.assert_close(torch.cat([*before, *after]), torch.cat(every))
    torch.testing.assert_close(torch.cat(list(resumed)), torch.cat(list(whole)))


def test_a_finished_epoch_resumes_with_the_next_one() -> None:
    p = plan(SIZES, {"time": 1, "lat": 10, "lon": 12})
    stream = SampleStream(counting(), p)
    assert stream.state_dict() == {"epoch": 0, "batch": 0}
    batches = iter(stream)
    for _ in range(len(stream)):
        next(batches)
    assert stream.state_dict() == {"epoch": 1, "batch": 0}


def test_lightning_resumes_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning")
    p = plan(SIZES, {"time": 1, "lat": 10, "lon": 12})

    class Recorder(lightning.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.seen = torch.nn.Parameter(torch.zeros(1)), []

        def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
            self.seen.append(firsts([batch]))
            return self.weight.sum()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    def train(resume: Path | None) -> list[Any]:
        module = Recorder()
        every = lightning.pytorch.callbacks.ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=13)
        trainer = lightning.Trainer(
            max_epochs=3, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
            default_root_dir=tmp_path, callbacks=[every] if resume is None else [], enable_checkpointing=resume is None,
        )  # fmt: skip
        trainer.fit(module, SampleStream(counting().chunk(time=2), p, batch_size=8), ckpt_path=resume)
        return module.seen

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = train(None)
        saved = next(iter(tmp_path.glob("*.ckpt")))
        done = int(saved.stem.split("=")[1])
        assert len(whole) == 27
        assert train(saved) == whole[done:]


def test_a_left_iterator_stops_its_threads() -> None:
    p = plan(SIZES, {"time": 1, "lat": 10, "lon": 12})
    stream = SampleStream(counting().chunk(time=1), p, batch_size=1, memory=2000)
    before = set(threading.enumerate())
    batches = iter(stream)
    next(batches)
    started = {t for t in threading.enumerate() if t.name.startswith("xatmo")} - before
    assert started
    del batches
    gc.collect()
    for thread in started:
        thread.join(60)
    assert not [t for t in started if t.is_alive()]


def test_drop_last_and_ranks_keep_step() -> None:
    p = plan({"time": 11}, {"time": 1})
    field = xr.DataArray(np.arange(11.0), dims="time")
    sizes = [[len(b) for b in SampleStream(field, p, batch_size=3, rank=r, world_size=3)] for r in range(3)]
    assert [sum(s) for s in sizes] == [3, 4, 4]
    assert {len(s) for s in sizes} == {2}
    dropped = [SampleStream(field, p, batch_size=3, rank=r, world_size=3, drop_last=True) for r in range(3)]
    assert [[len(b) for b in s] for s in dropped] == [[3]] * 3
    everything = sorted(v for r in range(3) for v in firsts(SampleStream(field, p, rank=r, world_size=3)))
    assert everything == list(range(11))


def test_workers_of_a_data_loader_share_the_windows() -> None:
    p = plan(SIZES, {"time": 1, "lat": 10, "lon": 12})
    stream = SampleStream(counting(), p, batch_size=9)
    alone = torch.utils.data.DataLoader(stream, batch_size=None)
    assert len(alone) == 8
    assert sorted(firsts(alone)) == sorted(firsts(SampleStream(counting(), p, shuffle=False)))


def test_random_offsets_move_windows_within_the_field() -> None:
    p = plan(SIZES, {"time": 1, "lat": 6, "lon": 10}, periodic=["lon"])
    for field in (counting(), counting().chunk(time=3, lat=6, lon=8)):
        stream = SampleStream(field, p, random_offsets=True, memory=3000)
        first, second = (np.concatenate([b.numpy() for b in stream])[:, 0, 0] for _ in range(2))
        assert len(first) == len(second) == len(p)
        for windows in (first, second):
            at = windows[:, 0, 0].astype(int)
            rows, columns = at % 720 // 36, at % 36
            assert rows.max() <= 14
            assert len(set(columns)) > 20  # not only at the plan's four columns
            for w, a, i, j in zip(windows, at, rows, columns, strict=True):
                wanted = counting().values[a // 720][np.ix_(np.arange(i, i + 6), np.arange(j, j + 10) % 36)]
                np.testing.assert_array_equal(w, wanted)
        assert not np.array_equal(first, second)


# ---------------------------------------------------------------------- memory
@pytest.mark.parametrize("overlap", [0, 6])
def test_decoded_chunks_alive_stay_within_the_memory(overlap: int, monkeypatch: pytest.MonkeyPatch) -> None:
    da = counting(time=96)
    field = da.chunk(time=4, lat=10, lon=12)
    chunk = 4 * 10 * 12 * 4
    alive, most, reads = 0, 0, 0
    lock = threading.RLock()  # a block may go while this thread has it
    original = _sources.Source.read

    def watched(self: _sources.Source, box: Any, buffers: Any) -> Any:
        nonlocal alive, most, reads
        block = original(self, box, buffers).copy()
        with lock:
            alive, reads = alive + 1, reads + 1
            most = max(most, alive)

        def gone() -> None:
            nonlocal alive
            with lock:
                alive -= 1

        weakref.finalize(block, gone)
        return block

    monkeypatch.setattr(_sources.Source, "read", watched)
    p = plan(da.sizes, {"time": 1, "lat": 10, "lon": 12}, overlap={"lat": overlap, "lon": overlap}, periodic=["lon"])
    memory = 48 * chunk
    stream = SampleStream(field, p, batch_size=4, memory=memory)
    for batch in stream:
        del batch
    assert most * chunk <= memory
    assert most >= 24
    n_chunks = 24 * 2 * 3
    assert n_chunks <= reads <= 1.2 * n_chunks  # and hardly any chunk is read twice, also where windows straddle
    gc.collect()
    assert alive == 0


def test_small_data_are_read_once_for_all_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0
    original = _sources.Source.read

    def counted(self: _sources.Source, box: Any, buffers: Any) -> Any:
        nonlocal reads
        reads += 1
        return original(self, box, buffers)

    monkeypatch.setattr(_sources.Source, "read", counted)
    stream = SampleStream(counting().chunk(time=1), plan(SIZES, {"time": 1, "lat": 10, "lon": 12}))
    for _ in range(3):
        list(stream)
    assert reads == 12


def test_batches_are_not_overwritten_while_someone_holds_them() -> None:
    p = plan(SIZES, {"time": 1, "lat": 10, "lon": 12})
    stream = SampleStream(counting(), p, batch_size=2, shuffle=False)
    views = [batch[0, 0, 0, 0] for batch in stream]
    assert [float(v[0]) for v in views] == firsts(stream)[::2]
    pointers = []
    for batch in stream:
        pointers.append(batch.data_ptr())
        del batch
    assert len(set(pointers)) < len(pointers)
