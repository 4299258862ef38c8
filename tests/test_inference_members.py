"""Members: draws that follow from seed, member, time and place alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from scipy import stats
from torch import nn

import xatmo
from xatmo import _graph, inference
from xatmo.errors import DimensionError, OptionError
from xatmo.model import Channel, Model
from xatmo.nn import positional
from xatmo.nn.superres import SuperResolution, SuperResolutionConfig

NoCompute = Callable[[], AbstractContextManager[None]]


def field(nlat: int = 24, nlon: int = 36, times: int = 3) -> xr.DataArray:
    grid = xatmo.Grid.regular(nlat, nlon, poles=False)
    values = np.random.default_rng(1).standard_normal((times, *grid.shape), dtype=np.float32)
    time = np.datetime64("2020-01-01", "ns") + np.arange(times) * np.timedelta64(6, "h")
    return xr.DataArray(values, {"time": time, **grid.coords()}, ("time", "latitude", "longitude"), "t", {"units": "K"})


def model(**settings: Any) -> Model:
    torch.manual_seed(0)
    network = SuperResolution(SuperResolutionConfig(2, **{"channels": 4, "n_blocks": 1, **settings}))
    for weights in network.parameters():
        nn.init.normal_(weights, std=0.25)
    patch = {"lat": 8, "lon": 8}
    if "time_window" in settings:
        patch["time"] = settings["time_window"]
    channels = (Channel("t", "K"),)
    config = {"task": "SuperResolver", "network": network.config.to_dict()}
    return Model(network.eval(), config, channels, channels, factor=2, patch_size=patch)


def windows(made: Model, more: int = 4) -> dict[str, dict[str, int]]:
    """Small windows, each with a full view of its own."""
    both = 2 * made.halo
    return {"patch_size": {"lat": both + more, "lon": both + more + 1}, "overlap": {"lat": both, "lon": both}}


KINDS: dict[str, dict[str, Any]] = {
    "noise": {"n_noise": 1},
    "fine noise": {"n_noise": 2, "upsampling": "interpolation"},
    "noise and time": {"n_noise": 1, "time_window": 2},
    "dropout": {"dropout": 0.3, "mc_dropout": True},
    "spatial dropout and time": {"dropout": 0.3, "mc_dropout": True, "dropout_kind": "spatial", "time_window": 2},
    "gaussian dropout": {"dropout": 0.3, "mc_dropout": True, "dropout_kind": "gaussian"},
    "both": {"n_noise": 1, "dropout": 0.3, "mc_dropout": True},
}


@pytest.mark.parametrize("kind", KINDS)
def test_members_depend_on_seed_time_and_place_alone(kind: str, no_compute: NoCompute) -> None:
    made, da = model(**KINDS[kind]), field()
    small = windows(made)
    before = torch.get_rng_state()
    out = inference.superresolve(da, made, members=3, **small)
    assert torch.equal(before, torch.get_rng_state())
    assert out.dims == ("member", *da.dims)
    apart = float(out.std("member").mean())
    assert apart > 1e-3
    close = {"atol": 1e-4 * float(abs(out).max())}
    # More members, other chunks, other windows, other batches, another file: the same draws.
    np.testing.assert_allclose(inference.superresolve(da, made, members=2, **small), out[:2], **close)
    with no_compute():
        lazy = inference.superresolve(
            da.chunk(time=1, latitude=7), made, members=3, output_chunks={"member": 2}, **small
        )
    assert lazy.chunksizes["member"] == (2, 1)
    np.testing.assert_allclose(lazy, out, **close)
    np.testing.assert_allclose(inference.superresolve(da, made, members=3, **windows(made, 8)), out, **close)
    np.testing.assert_allclose(inference.superresolve(da, made, members=3, batch_size=1, **small), out, **close)
    turned = da.isel(latitude=slice(None, None, -1)).roll(longitude=7, roll_coords=True)
    back = inference.superresolve(turned, made, members=3, **small).roll(longitude=-14, roll_coords=True)
    np.testing.assert_allclose(back[:, :, ::-1], out, **close)
    other = inference.superresolve(da, made, members=3, seed=1, **small)
    assert float(abs(other - out).mean()) > 0.3 * apart


def test_noise_is_that_of_the_day_in_any_part_of_the_record() -> None:
    made, da = model(n_noise=1), field(times=4)
    whole = inference.superresolve(da, made, members=2)
    part = inference.superresolve(da.isel(time=[2, 3]), made, members=2)
    np.testing.assert_allclose(part, whole.isel(time=[2, 3]), atol=1e-5)
    # The same at the same place in a region: beyond the halo from its edges nothing changes.
    region = inference.superresolve(da.isel(longitude=slice(4, 34)), made, members=2)
    halo = 2 * made.halo
    np.testing.assert_allclose(region[..., halo:-halo], whole[..., 8 + halo : 68 - halo], atol=1e-5)
    # Without coordinates of time, frames are told by their numbers.
    bare = inference.superresolve(da.drop_vars("time"), made, members=1)
    assert float(abs(bare[0, 0] - bare[0, 1]).mean()) > 1e-3


def test_without_members_comes_the_mean_or_the_first_member() -> None:
    da = field()
    noisy, dropping = model(n_noise=1), model(dropout=0.4, mc_dropout=True)
    np.testing.assert_array_equal(
        inference.superresolve(da, noisy, seed=3), inference.superresolve(da, noisy, members=1, seed=3)[0]
    )
    plain = model()
    plain.network.load_state_dict(dropping.network.state_dict())
    np.testing.assert_array_equal(inference.superresolve(da, dropping), inference.superresolve(da, plain))
    assert "seed=3" in inference.superresolve(da, noisy, seed=3).history
    assert "seed" not in inference.superresolve(da, plain, seed=3).history
    for seed in (-1, 1.5, True):
        with pytest.raises(OptionError, match=rf"seed={seed!r} came; wanted a whole number of at least 0"):
            inference.superresolve(da, noisy, seed=seed)  # type: ignore[arg-type]


def test_monte_carlo_dropout_draws_as_in_training() -> None:
    """Over many members, mean and spread are those of torch's own draws."""
    made, da = model(dropout=0.5, mc_dropout=True, n_blocks=2), field(6, 8, 1)
    ours = inference.superresolve(da, made, members=400, patch_size={"lat": 6, "lon": 8}, overlap={"lat": 0, "lon": 0})
    x = torch.from_numpy(da.values[:, None])
    with torch.no_grad():
        theirs = made.network(x.expand(400, -1, -1, -1)).numpy()[:, 0]
    ours = ours.values[:, 0]
    error = np.sqrt(ours.var(0) / 400 + theirs.var(0) / 400)
    z = (ours.mean(0) - theirs.mean(0)) / error
    assert abs(z).mean() < 1.6  # points hang together, so few of them are independent
    assert abs(np.log(ours.std(0).mean() / theirs.std(0).mean())) < 0.05


def test_modules_that_draw_by_themselves_are_seeded() -> None:
    class Draws(nn.Module):
        stochastic = True

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.randn_like(x)

    channels = (Channel("t", "K"),)
    made, da = Model(Draws(), {}, channels, channels, patch_size={"lat": 8, "lon": 8}), field()
    out = inference.predict(da, made, members=3)
    np.testing.assert_array_equal(inference.predict(da, made), out[0])
    np.testing.assert_array_equal(inference.predict(da.chunk(time=2, longitude=9), made, members=3), out)
    assert not np.allclose(inference.predict(da, made, members=3, seed=5), out)


def test_members_are_split_where_they_would_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    made, da = model(n_noise=1), field(times=2)
    monkeypatch.setattr(_graph, "TILE_BYTES", 3 * 4 * 48 * 72)
    out = inference.superresolve(da.chunk(time=2), made, members=7)
    assert out.chunksizes["time"] == (1, 1)
    assert out.chunksizes["member"] == (3, 3, 1)
    np.testing.assert_allclose(out, inference.superresolve(da, made, members=7), atol=1e-5)
    with pytest.raises(DimensionError, match="output_chunks names 'member'; the output has"):
        inference.superresolve(da, model(), output_chunks={"member": 1})


# ---------------------------------------------------------------------- the numbers themselves
def test_noise_is_standard_normal_and_independent() -> None:
    rows, columns, frames = (positional.keys(np.arange(n), kind) for kind, n in enumerate((300, 400, 2)))
    out = np.empty((2, 2, 300, 400), np.float32)
    positional.normal(positional.sample_key(0, 0, np.uint64(5)), (frames, rows, columns), out)
    other = np.empty_like(out)
    positional.normal(positional.sample_key(0, 1, np.uint64(5)), (frames, rows, columns), other)
    x, n = out.astype(np.float64), out.size
    assert stats.kstest(x.ravel(), "norm").pvalue > 1e-3
    for product in (
        out[0] * out[1], out[:, 0] * out[:, 1], out[..., 1:] * out[..., :-1], out[..., 1:, :] * out[..., :-1, :],
        out * other, (out**2 - 1) * (other**2 - 1) / 2,
        # Keys of rows and columns are joined by exclusive or, of which four corners of a rectangle give nothing.
        out[..., 1:, 1:] * out[..., 1:, :-1] * out[..., :-1, 1:] * out[..., :-1, :-1],
    ):  # fmt: skip
        assert abs(float(product.mean(dtype=np.float64))) < 4 / np.sqrt(product.size)
    power = abs(np.fft.rfft2(x[0, 0])) ** 2 / x[0, 0].size
    assert abs(np.log(power[:, 1:60].mean() / power[:, 100:160].mean())) < 0.05
    assert abs(x.std() - 1) < 4 / np.sqrt(2 * n)


def test_two_processes_draw_the_same_members(cluster: Any) -> None:
    for settings in ({"n_noise": 1}, {"dropout": 0.3, "mc_dropout": True}):
        made, da = model(**settings), field()
        whole = inference.superresolve(da, made, members=2)
        lazy = inference.superresolve(da.chunk(time=1), made, members=2, output_chunks={"member": 1})
        np.testing.assert_allclose(lazy.compute(), whole, atol=1e-5)
