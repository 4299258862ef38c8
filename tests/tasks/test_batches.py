"""Batches hold windows that belong together: coarse, fine, static and weight of the same place and times."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from pair_fields import fields, statics

from xatmo.errors import OptionError
from xatmo.normalize import Normalizer
from xatmo.tasks.pairs import _pairs
from xatmo.tasks.pairs._batches import PairBatches
from xatmo.train.batches import Batch

SIZE = {"latitude": 3, "longitude": 4}


def batches(pairs: _pairs.Pairs, **settings: Any) -> PairBatches:
    inputs, outputs = Normalizer.fit(pairs.coarse), Normalizer.fit(pairs.fine)
    return PairBatches(pairs, SIZE, inputs, outputs, **{"batch_size": 4, "seed": 0, **settings})


def numbered(n_time: int = 6) -> xr.Dataset:
    """A field that tells its time and place, and a static one that tells its place."""
    ds = fields(n_time)
    place = np.arange(ds.sizes["latitude"] * ds.sizes["longitude"]).reshape(ds.sizes["latitude"], -1)
    values = place + 1000.0 * np.arange(n_time)[:, None, None]
    return ds.assign(t2m=ds["t2m"].copy(data=values.astype("f4")))


class Plain:
    """Stands for a normalizer that changes nothing."""

    def __init__(self, names: list[str]) -> None:
        self.names = names

    def scaling(self, name: str) -> tuple[float, float]:
        return 0.0, 1.0


def plain(pairs: _pairs.Pairs, **settings: Any) -> PairBatches:
    names = Plain([str(n) for n in pairs.coarse.data_vars])
    return PairBatches(pairs, SIZE, names, names, **{"batch_size": 4, "seed": 0, **settings})  # type: ignore[arg-type]


def test_static_fields_are_cut_where_the_target_is() -> None:
    ds = numbered()
    place = ds["t2m"].isel(time=0, drop=True).rename("place")
    source = plain(_pairs.make(ds, 2, static=place), static=True, area=True)
    for epoch in range(2):
        for batch in source.batches(epoch):
            assert isinstance(batch, Batch)
            assert batch.static is not None
            assert batch.weight is not None
            assert batch.static.shape == (len(batch.input), 1, 6, 8) == batch.weight.shape
            torch.testing.assert_close(batch.target % 1000, batch.static, rtol=0, atol=1e-3)


def test_static_fields_have_the_statistics_of_their_coarse_channel() -> None:
    ds = fields()
    pairs = _pairs.make(ds, 2, static=statics(ds))
    source = batches(pairs, static=True, training=False)
    center, scale = (float(a) for a in source.inputs.scaling("z"))
    first = next(iter(source.batches(0)))
    assert isinstance(first, Batch)
    assert first.static is not None
    assert first.static.shape[1] == 2
    torch.testing.assert_close(
        first.static[0, 0], torch.tensor((statics(ds)["z"].values[:6, :8] - center) / scale), rtol=0, atol=1e-5
    )
    assert source.describe()["fine_static"] == ["z", "lsm"]
    assert len(next(iter(batches(pairs).batches(0)))) == 2  # only where they are asked for


def test_static_fields_without_a_value_stand_at_their_mean() -> None:
    ds = fields()
    static = statics(ds)[["z"]].where(statics(ds)["z"] > 0.2)
    pairs = _pairs.make(ds, 2, static=static)
    for batch in batches(pairs, static=True, valid=0.1).batches(0):
        assert isinstance(batch, Batch)
        assert batch.static is not None
        assert batch.static.isfinite().all()


@pytest.mark.parametrize("training", [True, False])
def test_windows_over_time_hold_frames_in_a_row(training: bool) -> None:
    ds = numbered(11).isel(time=[0, 1, 2, 3, 4, 6, 7, 8, 10])
    pairs = _pairs.make(ds, 2, static=ds["t2m"].isel(time=0, drop=True).rename("place"))
    source = plain(pairs, static=True, area=True, time_window=3, training=training)
    assert source.describe()["stretches_of_time"] == 3
    assert source.describe()["frames_left_out"] == 1
    seen = set()
    for batch in source.batches(1):
        assert isinstance(batch, Batch)
        n = len(batch.input)
        assert batch.input.shape == (n, 2, 3, 3, 4)
        assert batch.target.shape == (n, 1, 3, 6, 8)
        assert batch.static is not None
        assert batch.weight is not None
        assert batch.static.shape == (n, 1, 6, 8) == batch.weight.shape
        frames = (batch.target[:, 0, :, 0, 0] // 1000).numpy().astype(int)
        assert (np.diff(frames, axis=1) == 1).all()
        seen |= set(frames.ravel().tolist())
        # The coarse frames are the means of the fine ones of the same times.
        torch.testing.assert_close((batch.input[:, 0] // 1000).amax(dim=(2, 3)).int().numpy(), frames.astype("i4"))
    assert seen == {0, 1, 2, 3, 4, 6, 7, 8}


def test_a_window_over_time_may_be_named_in_the_patch() -> None:
    pairs = _pairs.make(fields(8), 2)
    one = batches(pairs, time_window=3)
    two = PairBatches(pairs, {**SIZE, "time": 3}, one.inputs, one.outputs, batch_size=4, seed=0)
    for a, b in zip(one.batches(0), two.batches(0), strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert one.describe()["time_step"] == (pairs.coarse.time[1] - pairs.coarse.time[0]) / np.timedelta64(1, "s")
    with pytest.raises(OptionError, match=r"time_window=9 came; the longest stretch of regular steps has 8 frames"):
        batches(pairs, time_window=9)


def test_windows_over_time_do_not_depend_on_chunks_and_resume() -> None:
    ds = fields(9)
    one = batches(_pairs.make(ds, 2), time_window=4)
    other = pickle.loads(pickle.dumps(one))
    whole = list(one.batches(2))
    for a, b in zip(whole[2:], other.batches(2, start=2), strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    lazy = batches(_pairs.make(ds.chunk(time=2), 2), time_window=4, training=False)
    eager = batches(_pairs.make(ds, 2), time_window=4, training=False)
    for a, b in zip(eager.batches(0), lazy.batches(0), strict=True):
        for x, y in zip(a, b, strict=True):
            torch.testing.assert_close(x, y, rtol=0, atol=1e-5)


def test_fixed_windows_are_the_whole_grid() -> None:
    pairs = _pairs.make(fields(), 2)
    source = batches(pairs, fixed=True)
    assert len(source.plan) == 6
    for coarse, fine, *_ in source.batches(0):
        assert coarse.shape[2:] == (6, 8)
        assert fine.shape[2:] == (12, 16)
    assert source.describe()["fixed"] is True
