"""Borders of windows, 0 degrees and the ends of time windows cannot be told from their surroundings."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from seams import seam_score
from torch import nn

import xatmo
from xatmo import inference
from xatmo.errors import GridError
from xatmo.model import Channel, Model
from xatmo.nn.diffusion import DiffusionConfig, ResidualDiffusion
from xatmo.nn.superres import SuperResolution, SuperResolutionConfig
from xatmo.nn.superres.srgan import SRGAN, SRGANConfig

LIMIT = 4.0
"""Standard errors. Of a hundred scores without a seam, one in 160 runs goes beyond."""
FACTOR = 2


def field(
    nlat: int, nlon: int, times: int = 2, *, west: float = 0.0, step: float = 1.0, seed: int = 0, slow: float = 8.0
) -> xr.DataArray:
    """Homogeneous smooth noise on a globe (where ``nlon * step`` is 360) or on a box."""
    rng = np.random.default_rng(seed)
    white = rng.standard_normal((times, nlat, nlon))
    frames, rows, columns = np.meshgrid(*(np.fft.fftfreq(n) for n in (times, nlat, nlon)), indexing="ij")
    smooth = np.fft.ifftn(np.fft.fftn(white) * np.exp(-60 * (rows**2 + columns**2) - slow * frames**2)).real
    coords = {
        "time": np.datetime64("2020-01-01", "ns") + np.arange(times) * np.timedelta64(1, "D"),
        "latitude": ("latitude", (np.arange(nlat)[::-1] - (nlat - 1) / 2) * step, {"units": "degrees_north"}),
        "longitude": ("longitude", west + np.arange(nlon) * step, {"units": "degrees_east"}),
    }
    values = (smooth / smooth.std()).astype("float32")
    return xr.DataArray(values, coords, ("time", "latitude", "longitude"), "t", {"units": "K"})


def make(srgan: bool = False, diffusion: bool = False, **settings: Any) -> nn.Module:
    """An untrained network of averages: smooth answers, far from zero, so that borders of windows would show."""
    torch.manual_seed(zlib.crc32(repr(sorted(settings.items())).encode()))
    settings = {"channels": 6, "n_blocks": 1, **settings}
    network: nn.Module
    if diffusion:
        mean = SuperResolutionConfig(FACTOR, **settings)
        network = ResidualDiffusion(DiffusionConfig(mean, channels=4, n_coarse_blocks=1, n_steps=4))
    elif srgan:
        network = SRGAN(SRGANConfig((FACTOR,), **settings))
    else:
        network = SuperResolution(SuperResolutionConfig(FACTOR, **settings))
    for name, weights in network.named_parameters():
        if weights.ndim > 1:
            nn.init.normal_(weights, 1.0 / weights[0].numel(), 0.2 / weights[0].numel())
        elif "bias" in name:
            nn.init.normal_(weights, 0.3, 0.1)
    return network.eval()


def model(network: Any) -> Model:
    channels, patch = (Channel("t", "K"),), {"lat": 16, "lon": 16}
    frames = getattr(network.config, "time_window", None)
    if frames:
        patch["time"] = frames
    return Model(
        network, {"network": network.config.to_dict()}, channels, channels, factor=network.factor, patch_size=patch
    )


def borders(made: Model, da: xr.DataArray, dim: str, **options: Any) -> set[int]:
    """Fine points before which a window begins, ends, or begins or ends to count, in the file's order."""
    job = job_of(made, da, **options)
    axis = {"latitude": job.axes[-2], "longitude": job.axes[-1], "time": job.axes[0]}[dim]
    if axis.causal:
        return {int(axis.starts[k] + axis.first_own(k)) for k in range(1, axis.starts.size)}
    low, high = axis.starts * axis.factor, (axis.starts + axis.patch) * axis.factor
    found = {int(b) for at in (low, low + axis.margin, high - axis.margin, high) for b in at}
    if axis.periodic:
        return {(b + axis.shift * axis.factor) % axis.points for b in found}
    return {b for b in found if 4 < b < axis.points - 4}


def job_of(made: Model, da: xr.DataArray, **options: Any) -> Any:
    """What `predict` hands to the network's side."""
    out = inference.predict(da.chunk(time=1), made, **options)
    graph = dict(out.__dask_graph__())
    (task,) = [v for k, v in graph.items() if isinstance(k, str) and k.endswith("-job")]
    return task.args[0]


def scores(made: Model, da: xr.DataArray, **options: Any) -> dict[str, float]:
    """Scores of rows and columns, of 0 degrees alone, and of time where there are windows along it."""
    out = inference.predict(da, made, **options)
    around = bool(xatmo.Grid.of(da).periodic)
    plan = {k: v for k, v in options.items() if k in ("patch_size", "overlap")}
    found = {}
    for dim in ("latitude", "longitude"):
        at = borders(made, da, dim, **plan)
        if at:
            found[dim] = seam_score(
                out.values, out.dims.index(dim), at, step=made.factor, around=around and dim == "longitude"
            )
    if around:
        zero = int(np.argmin(np.abs((out.longitude.values + 180) % 360 - 180))) // made.factor * made.factor
        found["zero"] = seam_score(out.values, out.dims.index("longitude"), [zero], step=made.factor, around=True)
    if "time" in made.patch_size:  # by default every frame ends a window of its own: then any will do
        at = borders(made, da, "time", **plan)
        every = len(at) >= da.sizes["time"] - made.patch_size["time"]
        found["time"] = seam_score(out.values, out.dims.index("time"), set(sorted(at)[::3]) if every else at)
    return found


NETWORKS: dict[str, dict[str, Any]] = {
    "default": {},
    "plain, resize": {"backbone": "plain", "upsampling": "resize"},
    "dense, deconvolution": {"backbone": "dense", "upsampling": "deconvolution"},
    "convnext": {"backbone": "convnext"},
    "unet": {"backbone": "unet", "upsampling": "interpolation", "n_blocks": 2, "channels": 4},
    "attention": {"attention": True, "baseline": None},
    "srgan": {"srgan": True},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_borders_of_windows_and_zero_degrees_do_not_show(name: str) -> None:
    made = model(make(**NETWORKS[name]))
    globe = field(80, 180, step=2.0, west=-90.0)
    found = scores(made, globe)
    assert {"latitude", "longitude", "zero"} <= set(found)
    assert all(abs(z) < LIMIT for z in found.values()), found


@pytest.mark.parametrize("settings", [{"n_noise": 1}, {"dropout": 0.3, "mc_dropout": True}, {"diffusion": True}])
def test_members_have_no_seams(settings: dict[str, Any]) -> None:
    made = model(make(**settings))
    found = scores(made, field(48, 120, 1, step=3.0), members=3)
    assert all(abs(z) < LIMIT for z in found.values()), found


@pytest.mark.parametrize("settings", [{}, {"n_noise": 1, "backbone": "dense"}])
def test_time_windows_have_no_seams(settings: dict[str, Any]) -> None:
    made = model(make(time_window=3, channels=4, **settings))
    found = scores(made, field(40, 90, 24, step=4.0, slow=200))
    assert {"latitude", "longitude", "zero", "time"} <= set(found)
    assert all(abs(z) < LIMIT for z in found.values()), found


def test_the_score_sees_the_seams_that_there_would_be() -> None:
    """Controls: windows that share nothing, an unknown halo, time windows side by side, draws of each window's own."""
    network = make()
    blind = model(network)
    network.halo = 0  # type: ignore[assignment]
    globe = field(80, 180, step=2.0)
    none = {"lat": 0, "lon": 0}
    found = scores(blind, globe, patch_size={"lat": 16, "lon": 18}, overlap=none)
    assert min(found["latitude"], found["longitude"]) > 2 * LIMIT
    timed = model(make(time_window=3, channels=4))
    assert scores(timed, field(24, 60, 30, step=6.0, slow=200), overlap={"time": 0})["time"] > LIMIT


# ---------------------------------------------------------------------- windows that begin where they may
@pytest.mark.parametrize("cells", [41, 48, 54, 63])
def test_networks_that_pool_get_windows_that_begin_alike(cells: int) -> None:
    made = model(make(backbone="unet", upsampling="interpolation", n_blocks=2, channels=4))
    assert made.alignment == 2
    box = field(cells, 50, 1).isel(time=slice(0, 1))
    whole = inference.predict(box, made, patch_size={"lat": 99, "lon": 99})
    both = {"lat": 2 * made.halo, "lon": 2 * made.halo}
    small = {"lat": 2 * made.halo + 3, "lon": 2 * made.halo + 4}
    np.testing.assert_allclose(inference.predict(box, made, patch_size=small, overlap=both), whole, atol=1e-4)


def test_attention_over_whole_windows_is_blended() -> None:
    network = make(attention=True, compat="dl4ds", baseline=None, backbone="residual", n_blocks=1)
    made = model(network)
    assert not made.local
    found = scores(made, field(80, 180, step=2.0))
    assert all(z < LIMIT for z in found.values()), found
    one = inference.predict(field(24, 40, 1), made, patch_size={"lat": 24, "lon": 40})
    with torch.no_grad():
        np.testing.assert_allclose(one[0], network(torch.from_numpy(field(24, 40, 1).values)[:, None])[0, 0], atol=1e-5)


def test_a_localised_network_serves_its_own_grid_only() -> None:
    network = make(localised=True, shape=(24, 40))
    with torch.no_grad():
        for name, weights in network.named_parameters():
            if "local.weight" in name:
                weights.copy_(torch.randn(weights.shape))
    globe = field(12, 20, 1, step=18.0, west=-90.0)
    globe = globe.assign_coords(latitude=np.linspace(82.5, -82.5, 12))
    with torch.no_grad():
        expected = network(torch.from_numpy(globe.values)[:, None])[:, 0].numpy()
    made = replace(model(network), grid={"coarse": xatmo.Grid.of(globe).to_dict()})
    np.testing.assert_allclose(inference.superresolve(globe, made), expected, atol=1e-5)
    turned = globe.assign_coords(longitude=globe.longitude % 360).sortby("longitude")[:, ::-1].chunk(latitude=5)
    back = inference.superresolve(turned, made)[:, ::-1]
    np.testing.assert_allclose(np.roll(back, 10, axis=-1), expected, atol=1e-5)
    with pytest.raises(GridError, match="the output has 20 x 40 points; the network is localised, with weights for"):
        inference.superresolve(globe[:, :10], made)


# ---------------------------------------------------------------------- from a region to the globe
def test_a_network_trained_on_a_region_serves_other_sizes_and_the_globe() -> None:
    fine = field(40, 60, 4, west=20.0)
    task = xatmo.SuperResolver(factor=2, channels=8, n_blocks=1)
    task.fit(fine, max_steps=12, batch_size=8, patch_size=10, accelerator="cpu", progress=False)
    globe = field(90, 180, 1, step=2.0, seed=3)
    found = scores(task.model, globe)
    assert all(abs(z) < LIMIT for z in found.values()), found
    assert globe.atmo.superresolve(task).shape == (1, 180, 360)
    box = field(33, 47, 1, step=2.0, west=10.0)
    assert box.atmo.superresolve(task).shape == (1, 66, 94)
