"""Time windows at inference: every frame of any record, seen with its whole past, for any chunks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import dask.array
import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import xatmo
from xatmo import _graph, _tiles, inference
from xatmo.errors import CoordinateError, OptionError
from xatmo.model import Channel, Model
from xatmo.nn.superres import SuperResolution, SuperResolutionConfig
from xatmo.nn.superres.srgan import SRGAN, SRGANConfig

NoCompute = Callable[[], AbstractContextManager[None]]
T = 3


class Past(nn.Module):
    """Sum over a frame and all before it in the window: what each frame saw can be read off."""

    past = T - 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.ndim == 5
        return x.cumsum(2)


def ramp(times: int = 9, nlat: int = 12, nlon: int = 24) -> xr.DataArray:
    """Frame ``k`` holds ``2**k``, so that a sum tells its terms."""
    grid = xatmo.Grid.regular(nlat, nlon, poles=False)
    values = np.broadcast_to(2.0 ** np.arange(times)[:, None, None], (times, *grid.shape)).astype("float32")
    time = np.datetime64("2020-01-01", "ns") + np.arange(times) * np.timedelta64(1, "D")
    return xr.DataArray(values, {"time": time, **grid.coords()}, ("time", "latitude", "longitude"), "t", {"units": "K"})


def model(module: nn.Module, factor: int = 1, frames: int = T, **config: Any) -> Model:
    channels = (Channel("t", "K"),)
    return Model(module, config, channels, channels, factor=factor, patch_size={"time": frames, "lat": 6, "lon": 6})


def seen(out: xr.DataArray) -> list[set[int]]:
    """Frames that each frame of the output is a sum of."""
    sums = out.isel(latitude=0, longitude=0).values.round().astype(int).tolist()
    return [{k for k in range(20) if s >> k & 1} for s in sums]


def test_every_frame_is_seen_with_its_whole_past() -> None:
    out = inference.predict(ramp(9), model(Past()))
    assert seen(out) == [{k for k in (t - 2, t - 1, t) if k >= 0} for t in range(9)]
    part = inference.predict(ramp(9).isel(time=slice(4, None)), model(Past()))
    np.testing.assert_array_equal(part[2:], out[6:])  # where a record starts does not matter


@pytest.mark.parametrize("chunks", [None, {"time": 4}])
def test_what_lies_before_a_gap_is_no_past(chunks: dict[str, int] | None, no_compute: NoCompute) -> None:
    """Frames 3 and 6 are missing: each stretch is answered as a record of its own."""
    da = ramp(9).isel(time=[0, 1, 2, 4, 5, 7, 8])
    with no_compute():
        out = inference.predict(da if chunks is None else da.chunk(chunks), model(Past()))
    assert seen(out) == [{0}, {0, 1}, {0, 1, 2}, {4}, {4, 5}, {7}, {7, 8}]
    assert out.time.equals(da.time)
    assert out.dims == da.dims
    assert out.attrs["units"] == "K"
    assert out.attrs["history"].count("predict") == 1
    lazy = inference.predict(da.chunk(time=3), model(Past()), output_chunks={"time": (3, 4)})
    assert lazy.chunksizes["time"] == (3, 4)
    np.testing.assert_array_equal(lazy, out)


def test_frames_have_to_be_as_far_apart_as_in_the_training() -> None:
    made = model(Past(), training={"time_step": 86400.0})
    assert seen(inference.predict(ramp(3), made)) == [{0}, {0, 1}, {0, 1, 2}]
    inference.predict(ramp(9).isel(time=[0]), made)  # one frame has no step
    with pytest.raises(CoordinateError, match="are 2 days apart, and 1 day in the training of the"):
        inference.predict(ramp(9).isel(time=slice(None, None, 2)), made)
    with pytest.raises(CoordinateError, match="time does not increase"):
        inference.predict(ramp(9)[::-1], made)
    numbers = ramp(9).assign_coords(time=("time", np.arange(9) * 2, {"standard_name": "time"}))  # which tell no steps
    assert seen(inference.predict(numbers, made)) == seen(inference.predict(ramp(9), made))


@pytest.mark.parametrize("shared", [0, 1, 2])
def test_fewer_frames_in_common_are_cheaper_and_show_at_least_these(shared: int) -> None:
    for times in range(1, 12):
        out = inference.predict(ramp(times), model(Past()), overlap={"time": shared})
        for t, frames in enumerate(seen(out)):
            assert {k for k in range(t - shared, t + 1) if k >= 0} <= frames <= {t - 2, t - 1, t}


@pytest.mark.parametrize("times", [1, 2, 3, 4])
def test_records_of_any_length_are_answered(times: int, no_compute: NoCompute) -> None:
    out = inference.predict(ramp(times), model(Past()))
    assert seen(out) == [{k for k in (t - 2, t - 1, t) if k >= 0} for t in range(times)]
    with no_compute():
        lazy = inference.predict(ramp(times).chunk(time=1), model(Past()))
    np.testing.assert_array_equal(lazy, out)


@pytest.mark.parametrize("settings", [{}, {"backbone": "dense", "upsampling": "interpolation"}, {"compat": "dl4ds"}])
@pytest.mark.parametrize("chunks", [{"time": 1}, {"time": 4, "latitude": 5}, {"time": (1, 5, 1), "longitude": 7}])
def test_any_chunks_give_the_same_numbers(settings: dict[str, Any], chunks: Any, no_compute: NoCompute) -> None:
    torch.manual_seed(0)
    config = SuperResolutionConfig(2, channels=4, n_blocks=1, time_window=T, **settings)
    network = SuperResolution(config).eval()
    made = model(network, 2, network=config.to_dict())
    assert made.past == T - 1
    da = ramp(7).copy(data=np.random.default_rng(0).standard_normal((7, 12, 24), dtype="float32"))
    whole = inference.superresolve(da, made)
    with no_compute():
        lazy = inference.superresolve(da.chunk(chunks), made)
    np.testing.assert_allclose(lazy, whole, atol=1e-6)  # batches of another size round differently
    assert whole.dtype == np.float32
    level = xr.concat([da, 2 * da], "level").transpose("latitude", "time", "level", "longitude")
    both = inference.superresolve(level.chunk(time=2, level=1), made)
    assert both.dims == level.dims
    np.testing.assert_allclose(both.isel(level=0).transpose(*da.dims), whole, atol=2e-5)


def test_a_tile_reads_its_frames_and_those_before() -> None:
    read: list[int] = []

    def block(block_id: tuple[int, ...]) -> np.ndarray:
        read.append(block_id[0])
        return np.zeros((1, 12, 24), np.float32)

    values = dask.array.map_blocks(
        block, chunks=((1,) * 9, (12,), (24,)), dtype=np.float32, meta=np.zeros((0, 0, 0), np.float32)
    )
    out = inference.predict(ramp(9).copy(data=values), model(Past()))
    assert out.chunksizes["time"] == (1,) * 9
    out.isel(time=6).compute(scheduler="sync")
    assert sorted(read) == [4, 5, 6]


def test_long_chunks_are_split_along_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_graph, "TILE_BYTES", 4 * 4 * 12 * 24)
    out = inference.predict(ramp(9).chunk(time=-1), model(Past()))
    assert out.chunksizes["time"] == (3, 3, 3)
    assert seen(out)[8] == {6, 7, 8}


def test_srgan_makes_each_frame_by_itself_and_once() -> None:
    torch.manual_seed(0)
    config = SRGANConfig((2,), channels=4, n_blocks=1)
    network = SRGAN(config).eval()
    made = model(network, 2, network=config.to_dict())
    assert made.past == 0
    da = ramp(7).copy(data=np.random.default_rng(0).standard_normal((7, 12, 24), dtype="float32"))
    single = model(network, 2, network=config.to_dict())
    single.patch_size = {"lat": 6, "lon": 6}
    np.testing.assert_allclose(inference.superresolve(da, made), inference.superresolve(da, single), atol=1e-5)


def test_longer_windows_than_the_network_sees_are_refused() -> None:
    with pytest.raises(
        OptionError, match=r"patch_size=\{'time': 5\} came; the network was made for a time window of 3"
    ):
        inference.predict(ramp(), model(Past()), patch_size={"time": 5})


def test_each_frame_belongs_to_one_window() -> None:
    for n, patch, stride in [(9, 3, 1), (10, 4, 2), (11, 4, 3), (4, 4, 1), (13, 5, 5)]:
        starts = np.unique(np.append(np.arange(0, n - patch + 1, stride), n - patch))
        axis = _tiles.Axis(n, n, 1, starts, patch, np.ones(patch), causal=True)
        np.testing.assert_array_equal(axis.total, 1)
        for low in range(n):
            for high in range(low + 1, n + 1):
                tile, found = axis.tile(low, high), np.full(high - low, -1)
                for w in tile.windows.tolist():
                    for at, to in tile.outputs(w):
                        assert (found[to] == -1).all()
                        found[to] = np.arange(patch)[at]
                        assert (axis.window_weights(w)[at] == 1).all()
                    assert tile.outputs(w)  # none is evaluated for nothing
                first = [starts[(starts <= t) & (t < starts + patch)][0] for t in range(low, high)]
                np.testing.assert_array_equal(found, np.arange(low, high) - first)
