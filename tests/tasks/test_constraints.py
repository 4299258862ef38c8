"""What a network refines has, after blending, the means of its input: every network, constraint, grid and chunking."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import xatmo
from xatmo import regrid
from xatmo.errors import OptionError
from xatmo.grids import Grid
from xatmo.model import Channel, Model
from xatmo.nn.diffusion import DiffusionConfig, ResidualDiffusion
from xatmo.nn.superres import SuperResolution, SuperResolutionConfig
from xatmo.nn.superres.constraints import KINDS, Constrained
from xatmo.nn.superres.srgan import SRGAN, SRGANConfig
from xatmo.normalize import Normalizer
from xatmo.tasks.superres._constraint import wrap

NoCompute = Callable[[], AbstractContextManager[None]]


def ours(**settings: Any) -> SuperResolution:
    return SuperResolution(SuperResolutionConfig(**{"factor": 4, "channels": 4, "n_blocks": 1, **settings}))


NETWORKS: dict[str, Callable[..., torch.nn.Module]] = {
    "plain": lambda **k: ours(backbone="plain", **k),
    "residual": lambda **k: ours(**k),
    "dense": lambda **k: ours(backbone="dense", upsampling="deconvolution", **k),
    "convnext": lambda **k: ours(backbone="convnext", upsampling="resize", **k),
    "unet": lambda **k: ours(backbone="unet", upsampling="interpolation", n_blocks=2, **k),
    "time window": lambda **k: ours(time_window=2, **k),
    "dl4ds": lambda **k: SuperResolution(SuperResolutionConfig.dl4ds(4, channels=4, n_blocks=1)),
    "noise": lambda **k: ours(n_noise=1, **k),
    "Monte Carlo dropout": lambda **k: ours(dropout=0.2, mc_dropout=True, **k),
    "srgan": lambda **k: SRGAN(SRGANConfig((2, 2), channels=4, n_blocks=1)),
    "diffusion": lambda **k: ResidualDiffusion(
        DiffusionConfig(
            SuperResolutionConfig(4, channels=4, n_blocks=1, **k), channels=4, n_blocks=0, n_coarse_blocks=0, n_steps=2
        )
    ),
}


def humidity(grid: Grid, times: int = 2) -> xr.DataArray:
    values = np.random.default_rng(0).gamma(2.0, 2.0, size=(times, *grid.shape)).astype(np.float32)
    return xr.DataArray(
        values, {"time": np.arange(times), **grid.coords()}, ("time", "latitude", "longitude"), "q", {"units": "g kg-1"}
    )


def made(name: str, kind: str | None, *, row_offset: float = 0.0, normalization: str = "standard") -> Model:
    """An untrained network that says wild things, in normalized units, tied to its input."""
    torch.manual_seed(0)
    net = NETWORKS[name](**({"row_offset": row_offset} if row_offset else {})).eval()
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.1)
    fitted = Normalizer.fit(humidity(Grid.regular(12, 24)), method=normalization)
    channels = (Channel("q", "g kg-1"),)
    net, config = wrap(
        net, net.config.to_dict(), kind, channels, channels, fitted, fitted, factor=4, row_offset=row_offset
    )
    patch = {"lat": 8, "lon": 8} | ({"time": 2} if name == "time window" else {})
    return Model(
        net, {"network": config, **({} if kind is None else {"constraint": kind})}, channels, channels, fitted, fitted,
        None, 4, patch,
    )  # fmt: skip


def off(fine: xr.DataArray, coarse: xr.DataArray) -> float:
    """Largest error of the means, as a part of the range."""
    back = regrid.coarsen(fine, 4)
    return float(abs(back - coarse).max() / (coarse.max() - coarse.min()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_under_every_constraint(name: str, kind: str) -> None:
    coarse = regrid.coarsen(humidity(Grid.regular(49, 96)), 4)
    model = made(name, kind, row_offset=-0.5)
    small = {"patch_size": {"lat": 8, "lon": 8}, "overlap": {"lat": 2, "lon": 2}}
    fine = coarse.atmo.superresolve(model, **small)
    assert fine.shape == (2, 49, 96)
    assert off(fine, coarse) < 1e-5
    if kind != "additive":
        assert float(fine.min()) >= 0
    if model.network.stochastic:
        drawn = coarse.isel(time=[0]).atmo.superresolve(model, members=2, **small)
        assert float(drawn.std("member").max()) > 0
        for m in range(2):
            assert off(drawn.isel(member=m), coarse.isel(time=[0])) < 1e-5
    # The layer has left little to do, but at the poles, where the rows of a cell differ most in area.
    free = Model(**{**vars(model), "config": {"network": model.config["network"]}})
    before = coarse.atmo.superresolve(free, **small) if not model.network.stochastic else fine
    middle = {"latitude": slice(13, -13)}
    assert float(abs(before - fine).isel(middle).mean()) < 0.05 * float(fine.isel(middle).std())


GRIDS = {
    "no poles": Grid.regular(48, 96, poles=False),
    "181 x 360": Grid.regular(181, 360),
    "region, partial last blocks": Grid.from_latlon(np.linspace(50, 20, 31), np.linspace(300, 342, 43)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", GRIDS)
def test_every_grid_order_and_chunking(which: str, kind: str, no_compute: NoCompute) -> None:
    coarse = regrid.coarsen(humidity(GRIDS[which]), 4)
    model = made("residual", kind, normalization="log1p")
    fine = coarse.atmo.superresolve(model)
    assert off(fine, coarse) < 1e-5
    np.testing.assert_allclose(fine.atmo.grid.latitude, GRIDS[which].latitude, rtol=1e-6)
    with no_compute():
        lazy = coarse.chunk(time=1, latitude=5, longitude=7).atmo.superresolve(model)
    assert off(lazy.compute(), coarse) < 1e-5
    np.testing.assert_allclose(lazy.values, fine.values, rtol=1e-4, atol=1e-4)
    flipped = coarse.isel(latitude=slice(None, None, -1)).atmo.superresolve(model)
    np.testing.assert_allclose(flipped.values[:, ::-1], fine.values, rtol=1e-4, atol=1e-4)
    if which != "region, partial last blocks":
        closed = xr.concat([coarse, coarse.isel(longitude=[0]).assign_coords(longitude=coarse.longitude[[0]] + 360)],
                           "longitude")  # fmt: skip
        around = closed.chunk(latitude=10).atmo.superresolve(model).compute()
        np.testing.assert_array_equal(around[..., -1], around[..., 0])
        np.testing.assert_allclose(around.values[..., :-1], fine.values, rtol=1e-4, atol=1e-4)


def test_names_units_and_gaps() -> None:
    coarse = regrid.coarsen(humidity(GRIDS["no poles"]), 4)
    model = made("residual", "multiplicative")
    ds = xr.Dataset({"shum": (coarse / 1000).assign_attrs(units="kg kg-1", standard_name="specific_humidity")})
    channels = (Channel("q", "g kg-1", {"standard_name": "specific_humidity"}),)
    ds["shum"][0, 3, 5] = np.nan
    named = Model(**{**vars(model), "inputs": channels, "outputs": channels})
    fine = ds.atmo.superresolve(named, nan="mask")
    assert fine["shum"].attrs["units"] == "g kg-1"
    assert fine["shum"].isnull().sum() == 16
    back = regrid.coarsen(fine["shum"], 4)
    np.testing.assert_allclose(back.values[1], coarse.values[1], rtol=1e-5)
    assert "constraint='multiplicative'" in fine.attrs["history"]
    assert "constraint" not in coarse.atmo.superresolve(made("residual", None)).attrs["history"]


@pytest.mark.parametrize(
    ("kind", "settings"),
    [("additive", {}), ("multiplicative", {"normalization": "log1p"}), ("softmax", {"time_window": 2})],
)
def test_a_trained_task(kind: str, settings: dict[str, Any], tmp_path: Any) -> None:
    fine = humidity(Grid.regular(37, 72), times=4)
    fine = fine.assign_coords(time=np.arange("2001-01-01", "2001-01-05", dtype="M8[D]"))
    task = xatmo.SuperResolver(factor=4, channels=4, n_blocks=1, constraint=kind, **settings)
    task.fit(fine, max_steps=2, patch_size=8, batch_size=2, accelerator="cpu", progress=False)
    assert isinstance(task.model.network, Constrained)
    task.save(tmp_path / "model")
    coarse = fine.atmo.coarsen(4)
    made = coarse.atmo.superresolve(tmp_path / "model")
    assert off(made, coarse) < 1e-5
    np.testing.assert_array_equal(made.values, coarse.atmo.superresolve(task).values)
    again = xatmo.load(tmp_path / "model")
    assert again.config["constraint"] == kind


def test_a_module_of_the_callers() -> None:
    coarse = regrid.coarsen(humidity(GRIDS["no poles"]), 4)
    module = torch.nn.Upsample(scale_factor=4, mode="bilinear")
    for kind in (None, *KINDS):
        task = xatmo.SuperResolver.from_module(module, factor=4, inputs=["q"], constraint=kind)
        assert (off(coarse.atmo.superresolve(task), coarse) < 1e-5) == (kind is not None)


def test_constraints_come_and_go_between_trainings(tmp_path: Any) -> None:
    fine = humidity(Grid.regular(36, 72, poles=False))
    options: dict[str, Any] = {
        "max_steps": 1, "patch_size": 8, "batch_size": 2, "accelerator": "cpu", "progress": False
    }  # fmt: skip
    free = xatmo.SuperResolver(factor=4, channels=4, n_blocks=1).fit(fine, **options)
    tied = xatmo.SuperResolver(factor=4, channels=4, n_blocks=1, constraint="additive")
    tied.fit(fine, initial=free, **options)
    again = xatmo.SuperResolver(factor=4, channels=4, n_blocks=1).fit(fine, initial=tied, **options)
    assert [type(t.model.network).__name__ for t in (tied, again)] == ["Constrained", "SuperResolution"]
    with pytest.raises(OptionError, match=r"the outputs \['rr'\] have none among the inputs \['q'\]; leave"):
        tied.fit(regrid.coarsen(fine, 4), target=fine.rename("rr"), **options)
