"""Members of networks that draw numbers for a whole field: the same in all of its windows."""

from __future__ import annotations

import dask.array as dsa
import numpy as np
import pytest
import torch
import xarray as xr
from scipy import stats
from torch import nn

import xatmo
from xatmo import inference
from xatmo.model import Channel, Model


class Shift(nn.Module):
    """Adds to a field what the first of its latent numbers says; with noise by place where it is asked for."""

    stochastic, halo = True, 0

    def __init__(self, n_latent: int = 2, n_noise: int = 0) -> None:
        super().__init__()
        self.n_latent, self.n_noise = n_latent, n_noise

    def forward(
        self, x: torch.Tensor, *, latent: torch.Tensor | None = None, noise: torch.Tensor | None = None
    ) -> torch.Tensor:
        assert (latent is not None) == (self.n_latent > 0)
        assert (noise is not None) == (self.n_noise > 0)
        for drawn in (latent, noise):
            if drawn is not None:
                x = x + (drawn[:, :1, None, None] if drawn.ndim == 2 else drawn[:, :1])
        return x

    def mean(self, x: torch.Tensor) -> torch.Tensor:
        return x


def model(**kwargs: int) -> Model:
    channels = (Channel("t", "K"),)
    return Model(Shift(**kwargs), {"task": "own"}, channels, channels, patch_size={"lat": 8, "lon": 8})


def zeros(times: int = 3) -> xr.DataArray:
    grid = xatmo.Grid.regular(24, 36, poles=False)
    time = np.datetime64("2020-01-01", "ns") + np.arange(times) * np.timedelta64(6, "h")
    shape = (times, *grid.shape)
    return xr.DataArray(
        np.zeros(shape, "float32"), {"time": time, **grid.coords()}, ("time", "latitude", "longitude"), "t",
        {"units": "K"},
    )  # fmt: skip


def test_all_windows_of_a_field_share_what_is_drawn_for_it() -> None:
    made, da = model(), zeros()
    out = inference.apply(da, made, members=3, patch_size={"lat": 7, "lon": 10}, overlap={"lat": 2, "lon": 3})
    flat = out.values.reshape(3, 3, -1)
    np.testing.assert_allclose(flat, np.broadcast_to(flat[..., :1], flat.shape), atol=1e-6)
    first = flat[..., 0]
    assert len(np.unique(first.round(5))) == 9  # each member and each time has its own
    np.testing.assert_allclose(
        inference.apply(da, made, members=3, seed=0).values.reshape(3, 3, -1)[..., 0], first, rtol=1e-5
    )
    assert not np.allclose(
        inference.apply(da, made, members=3, seed=1).values.reshape(3, 3, -1)[..., 0], first, rtol=1e-5
    )
    np.testing.assert_array_equal(inference.apply(da, made).values, 0)


@pytest.mark.parametrize("kwargs", [{}, {"n_latent": 1, "n_noise": 1}])
def test_members_do_not_depend_on_chunks_or_on_what_else_is_asked(kwargs: dict[str, int]) -> None:
    made, da = model(**kwargs), zeros()
    whole = inference.apply(da, made, members=2)
    lazy = inference.apply(da.chunk(time=1, latitude=11, longitude=13), made, members=2)
    assert isinstance(lazy.data, dsa.Array)
    np.testing.assert_allclose(lazy.values, whole.values, atol=1e-6)
    more = inference.apply(da.isel(time=[1]), made, members=4)
    np.testing.assert_allclose(more.isel(member=slice(2)).values, whole.isel(time=[1]).values, atol=1e-6)


def test_what_is_drawn_is_standard_normal() -> None:
    out = inference.apply(zeros(400).isel(latitude=slice(2), longitude=slice(2)), model(), members=5)
    drawn = out.values[:, :, 0, 0].ravel()
    assert stats.kstest(drawn, "norm").pvalue > 0.01
    assert abs(np.corrcoef(out.values[:2, :, 0, 0])[0, 1]) < 0.15
