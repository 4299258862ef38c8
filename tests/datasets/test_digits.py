"""Moving digits: exact motion, reproducible sequences, disjoint splits, and the errors of the simplest forecasts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from xatmo.datasets import moving_digits, open_moving_mnist
from xatmo.datasets.digits import _draw_batch, _images, _interpolation, _reflect
from xatmo.errors import DimensionError, OptionError


def test_layout() -> None:
    frames = moving_digits(5, n_frames=6, size=32)
    assert frames.dims == ("sequence", "time", "y", "x")
    assert frames.dtype == np.float32
    assert float(frames.min()) == 0
    assert 0.8 < float(frames.max()) <= 1
    assert np.all(np.diff(frames.time) == np.timedelta64(1, "s"))
    assert "moving_digits(n=5" in frames.attrs["history"]


def test_sequence_depends_on_seed_split_and_number_only() -> None:
    all_of_them = moving_digits(70, n_frames=3, size=32, seed=4)
    xr.testing.assert_equal(moving_digits(2, n_frames=3, size=32, seed=4, first=66), all_of_them[66:68])
    for other in ({"seed": 5}, {"seed": 4, "split": "test"}):
        changed = moving_digits(70, n_frames=3, size=32, **other)
        assert not np.any(np.all(changed.values == all_of_them.values, axis=(1, 2, 3)))


def test_lazily_the_same(no_compute) -> None:
    with no_compute():
        lazy = moving_digits(7, n_frames=3, size=32, first=2, chunks=3)
    assert lazy.chunksizes["sequence"] == (3, 3, 1)
    xr.testing.assert_equal(lazy.compute(), moving_digits(7, n_frames=3, size=32, first=2))


def test_splits_share_no_digit() -> None:
    train, test = _images("train"), _images("test")
    assert len(train) + len(test) == 1797
    same = (train[:, None] == test[None]).all((-1, -2))
    assert not same.any()


def centre(frames: xr.DataArray) -> np.ndarray:
    """Centre of brightness (time, 2) of the first sequence."""
    one = frames[0].astype(float)
    total = one.sum(["y", "x"])
    return np.stack([(one * one[d]).sum(["y", "x"]) / total for d in ("y", "x")], -1)


def test_motion_is_straight_and_not_rounded_to_pixels() -> None:
    """Away from the walls the centre of brightness moves by the same fraction of a pixel in each frame."""
    frames = moving_digits(1, n_frames=40, size=64, n_digits=1, speed=0.37, digit_size=24, seed=3)
    moves = np.diff(centre(frames), axis=0)
    np.testing.assert_allclose(np.hypot(*moves.T), 0.37, rtol=0.02)
    np.testing.assert_allclose(moves, np.broadcast_to(moves.mean(0), moves.shape), atol=0.01)


def test_bounce() -> None:
    """Walls are mirrors, and no brightness leaves the frame through them, however fast the digit."""
    np.testing.assert_allclose(_reflect(np.array([1.0, 9.5, 10.5, 19.0, 21.0, -0.5]), 10.0), [1, 9.5, 9.5, 1, 1, 0.5])
    many = moving_digits(20, n_frames=10, size=32, n_digits=1, speed=11.3)
    np.testing.assert_allclose(many.sum(["y", "x"]).std("time") / many.sum(["y", "x"]).mean("time"), 0, atol=0.03)


def test_interpolation_keeps_constants_and_lines() -> None:
    """The filter of Mitchell and Netravali sums to 1, and blurs evenly, so a line stays a line."""
    weight = _interpolation(np.array(3.3), 40, 24.0).astype(float)
    inside = slice(9, 22)  # two pixels of the digit away from its edges
    np.testing.assert_allclose(weight.sum(-1)[inside], 1, rtol=1e-6)
    at = ((np.arange(40) + 0.5 - 3.3) / 3 - 0.5)[inside]
    np.testing.assert_allclose((weight @ np.arange(8.0))[inside], at, rtol=1e-5)


def test_overlap() -> None:
    settings = {"n_frames": 5, "size": 32, "seed": 2, "split": "train", "digit_size": 24.0, "speed": 2.0}
    both = {o: _draw_batch(range(6), n_digits=2, overlap=o, **settings) for o in ("maximum", "add")}
    assert np.all(both["add"] >= both["maximum"] - 1e-6)
    assert both["add"].sum() > 1.05 * both["maximum"].sum()
    assert both["add"].max() <= 1


@pytest.mark.parametrize(("n_digits", "mean", "last"), [(1, 37.2, 62.8), (2, 53.7, 90.7)])
def test_errors_of_simple_forecasts(n_digits: int, mean: float, last: float) -> None:
    """As hard as the set that published small trainings were measured on, in squared error summed over a frame."""
    frames = moving_digits(400, size=32, n_digits=n_digits).values
    future = frames[:, 10:]
    constant = ((future - frames.mean((0, 1))) ** 2).sum((2, 3)).mean()
    persisted = ((future - frames[:, 9:10]) ** 2).sum((2, 3)).mean()
    assert constant == pytest.approx(mean, rel=0.04)
    assert persisted == pytest.approx(last, rel=0.04)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n": 0}, "n=0 came; wanted 1 or more"),
        ({"n_frames": 0}, "n_frames=0 came"),
        ({"size": 7}, "size=7 came; wanted 8 or more"),
        ({"n_digits": 0}, "n_digits=0 came"),
        ({"first": -1}, "first=-1 came; wanted 0 or more"),
        ({"chunks": 0}, "chunks=0 came"),
        ({"split": "validation"}, "split 'validation' came; wanted 'train' or 'test'"),
        ({"overlap": "or"}, "overlap 'or' came; wanted 'maximum' or 'add'"),
        ({"digit_size": 64}, "digit_size 64 came; wanted at least 2 pixels and less than the frame of 64"),
        ({"speed": -1.0}, "speed -1 came"),
    ],
)
def test_settings_out_of_range(settings: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        moving_digits(**{"n": 2, **settings})


# ---------------------------------------------------------------------- Moving MNIST
def test_moving_mnist(tmp_path: Path, no_compute) -> None:
    stored = np.random.default_rng(0).integers(0, 256, (20, 7, 64, 64), dtype=np.uint8)
    np.save(tmp_path / "mnist_test_seq.npy", stored)
    with no_compute():
        frames = open_moving_mnist(tmp_path / "mnist_test_seq.npy", chunks=3)
    assert frames.dims == moving_digits(1).dims
    assert frames.chunksizes["sequence"] == (3, 3, 1)
    assert frames.dtype == np.float32
    np.testing.assert_array_equal(frames[4, 11], stored[11, 4].astype(np.float32) / np.float32(255))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((10, 20, 64, 64), np.uint8), r"shape \(10, 20, 64, 64\); wanted \(20, sequences, 64, 64\)"),
        (np.zeros((20, 5, 64, 32), np.uint8), "frames first"),
        (np.zeros((20, 64, 64), np.uint8), "frames first"),
        (np.zeros((20, 2, 64, 64), np.float32), "holds float32; wanted uint8"),
    ],
)
def test_moving_mnist_of_another_shape(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DimensionError, match=message):
        open_moving_mnist(tmp_path / "a.npy")


def test_moving_mnist_that_is_no_array(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_text("digits")
    np.savez(tmp_path / "b.npz", a=np.zeros(2))
    with pytest.raises(OptionError, match="cannot be read as a .npy file"):
        open_moving_mnist(tmp_path / "a.npy")
    with pytest.raises(OptionError, match="cannot be read as a .npy file"):
        open_moving_mnist(tmp_path / "nothing.npy")
    with pytest.raises(OptionError, match="an archive of several arrays"):
        open_moving_mnist(tmp_path / "b.npz")
    with pytest.raises(OptionError, match="chunks=0 came"):
        open_moving_mnist(tmp_path / "a.npy", chunks=0)
