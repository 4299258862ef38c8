"""Fine static fields at inference: cut for each window of any file, stored with the model, replaced elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import xatmo
from xatmo import inference, regrid
from xatmo.errors import DimensionError, GridError, MissingValueError, OptionError, UnitsError, VariableError
from xatmo.model import Channel, Model
from xatmo.nn.superres import SuperResolution, SuperResolutionConfig
from xatmo.normalize import Normalizer

NoCompute = Callable[[], AbstractContextManager[None]]


class Adds(nn.Module):
    """Repeats cells and adds the static fields: what each point was given can be read off."""

    def __init__(self, factor: int, n_static: int = 1) -> None:
        super().__init__()
        self.factor, self.halo, self.n_static = factor, 1, n_static

    def forward(self, x: torch.Tensor, static: torch.Tensor) -> torch.Tensor:
        fine = x.repeat_interleave(self.factor, -2).repeat_interleave(self.factor, -1)
        return fine + static.sum(1, keepdim=True)


def fields(nlat: int, nlon: int, *, poles: bool = False) -> xr.Dataset:
    """One field in time, and a static one in which every point is another number."""
    grid = xatmo.Grid.regular(nlat, nlon, poles=poles)
    values = np.random.default_rng(2).standard_normal((2, *grid.shape), dtype=np.float32)
    z = np.arange(nlat * nlon, dtype=np.float32).reshape(grid.shape)
    dims = ("time", "latitude", "longitude")
    return xr.Dataset(
        {"t": (dims, values, {"units": "K"}), "z": (dims[1:], z, {"units": "m"})},
        {"time": np.arange(2), **grid.coords()},
    )


def model(ds: xr.Dataset, factor: int, **more: Any) -> Model:
    found = regrid.coarsening(xatmo.Grid.of(ds), factor)
    channels = (Channel("t", "K"),)
    given = {
        "inputs": channels, "outputs": channels,
        "patch_size": {"lat": 6, "lon": 6}, "factor": factor, "fine": (Channel("z", "m"),), "fine_static": ds[["z"]],
        "grid": {"coarse": found.coarse.to_dict(), "fine": found.fine.to_dict()},
    }  # fmt: skip
    return Model(Adds(factor), {}, **{**given, **more})


@pytest.mark.parametrize(("shape", "poles"), [((24, 48), False), ((25, 48), True), ((26, 40), False)])
def test_each_point_gets_its_own_value(shape: tuple[int, int], poles: bool, no_compute: NoCompute) -> None:
    ds = fields(*shape, poles=poles)
    made, coarse = model(ds, 4), regrid.coarsen(ds.t, 4)
    without = inference.superresolve(coarse, model(ds, 4, fine_static=0 * ds[["z"]]))
    out = inference.superresolve(coarse, made)
    np.testing.assert_allclose((out - without).isel(time=0), ds.z, atol=1e-2)
    for variant in (
        coarse.isel(latitude=slice(None, None, -1)),
        coarse.roll(longitude=3, roll_coords=True),
        coarse.assign_coords(longitude=(coarse.longitude + 180) % 360 - 180).sortby("longitude"),
        coarse.chunk(time=1, latitude=2, longitude=5),
        coarse.isel(latitude=slice(1, 4), longitude=slice(2, 9)),
        coarse.transpose("longitude", "time", "latitude"),
    ):
        with no_compute():
            fine = inference.superresolve(variant, made)
        expected = out.assign_coords(longitude=out.longitude % 360)
        fine = fine.assign_coords(longitude=fine.longitude % 360).transpose(*out.dims)
        matched = expected.sel(latitude=fine.latitude, longitude=fine.longitude, method="nearest")
        np.testing.assert_allclose(fine.values, matched.values, atol=1e-2)


def test_a_repeated_column_of_the_data_is_closed_again() -> None:
    ds = fields(24, 48)
    coarse = regrid.coarsen(ds.t, 4)
    closed = coarse.isel(longitude=[*range(12), 0]).assign_coords(
        longitude=np.append(coarse.longitude, coarse.longitude[0] + 360)
    )
    out, wanted = (inference.superresolve(d, model(ds, 4)) for d in (closed, coarse))
    np.testing.assert_allclose(out[..., :-1], wanted, atol=1e-3)
    np.testing.assert_allclose(out[..., -1], wanted[..., 0], atol=1e-3)


def test_they_are_normalized_and_stored_and_part_of_the_fingerprint(tmp_path: Path) -> None:
    ds = fields(24, 48)
    normalizer = Normalizer.from_statistics(mean={"t": 0.0, "z": 100.0}, std={"t": 1.0, "z": 50.0})
    made = model(ds, 4, normalizer=normalizer, output_normalizer=normalizer)
    coarse = regrid.coarsen(ds.t, 4)
    out = inference.superresolve(coarse, made)
    base = inference.superresolve(coarse, model(ds, 4, fine_static=0 * ds[["z"]]))
    np.testing.assert_allclose((out - base)[0], (ds.z - 100) / 50, atol=1e-3)
    made.config = {"network": {"kind": "module"}}
    made.save(tmp_path / "m")
    assert (tmp_path / "m" / "fine_static.nc").exists()
    assert "| Reads, on the fine grid | units | description |" in (tmp_path / "m" / "README.md").read_text()
    again = Model.load(tmp_path / "m", module=Adds(4))
    assert (again.fine, again.fingerprint) == (made.fine, made.fingerprint)
    xr.testing.assert_equal(again.fine_static, made.fine_static)
    np.testing.assert_array_equal(inference.superresolve(coarse, again), out)
    assert replace(made, fine_static=2 * ds[["z"]]).fingerprint != made.fingerprint
    assert replace(made, fine=(Channel("z", "km"),)).fingerprint != made.fingerprint


def test_networks_of_ours_take_them_in_windows_as_in_one_piece() -> None:
    ds = fields(48, 96)
    torch.manual_seed(0)
    for settings in ({}, {"time_window": 2}, {"upsampling": "interpolation"}):
        config = SuperResolutionConfig(2, channels=4, n_blocks=1, n_static=1, **settings)
        network = SuperResolution(config).eval()
        for weights in network.parameters():
            nn.init.normal_(weights, std=0.2)
        patch = {"lat": 6, "lon": 6, **({"time": 2} if "time_window" in settings else {})}
        scaled = ds.assign(z=(ds.z / 5000).assign_attrs(units="m"))
        made = model(scaled, 2, fine_static=scaled[["z"]], patch_size=patch)
        made = replace(made, network=network, config={"network": config.to_dict()})
        coarse = regrid.coarsen(scaled.t, 2)
        both = {"lat": 2 * made.halo, "lon": 2 * made.halo}
        whole = inference.predict(coarse, made, patch_size={"lat": 99, "lon": 99}, overlap=both)
        small = inference.predict(coarse, made)
        np.testing.assert_allclose(small, whole, atol=2e-5 * float(abs(whole).max()))
        other = inference.predict(coarse, made.with_static(scaled[["z"]] * 0 + 1))
        assert float(abs(other - whole).max()) > 1e-2


def test_other_places_need_other_fields() -> None:
    world = fields(48, 96)
    part = world.isel(latitude=slice(8, 32), longitude=slice(4, 44))
    made = model(part, 4)
    coarse = regrid.coarsen(world.t, 4)
    with pytest.raises(
        VariableError,
        match=r"fine static fields \['z'\].* latitude -28.125 to 58.125 .*the output is on 48 x 96 points.*with_static",
    ):
        inference.superresolve(coarse, made)
    everywhere = made.with_static(world)
    assert made.fine_static is not None
    assert made.fine_static.sizes["latitude"] == 24  # the model itself stays
    out = inference.superresolve(coarse, everywhere)
    np.testing.assert_allclose(
        (out - inference.superresolve(coarse, everywhere.with_static(0 * world)))[0], world.z, atol=1e-2
    )
    assert everywhere.fingerprint != made.fingerprint
    flipped = made.with_static(world.z[::-1].rename(None).assign_attrs(units="m"))
    xr.testing.assert_allclose(flipped.fine_static["z"], everywhere.fine_static["z"])
    kilometres = made.with_static((world.z / 1000).assign_attrs(units="km"))
    np.testing.assert_allclose(kilometres.fine_static["z"], world.z, rtol=1e-6)
    assert kilometres.fine_static["z"].attrs == {"units": "m"}
    with pytest.raises(VariableError, match="and the model has none; put them in place"):
        inference.superresolve(coarse, replace(made, fine_static=None))


def test_with_static_makes_the_coarse_channels_too() -> None:
    world = fields(48, 96)
    part = world.isel(latitude=slice(8, 32), longitude=slice(4, 44))
    inputs = (Channel("t", "K"), Channel("z", "m"))
    both = model(part, 4, inputs=inputs, static=regrid.coarsen(part[["z"]], 4)).with_static(world)
    xr.testing.assert_allclose(both.static["z"].drop_attrs(), regrid.coarsen(world.z, 4).drop_attrs())
    assert both.complete(regrid.coarsen(world[["t"]], 4))["z"].shape == (12, 24)
    only_coarse = model(part, 4, inputs=inputs, static=regrid.coarsen(part[["z"]], 4), fine=(), fine_static=None)
    for given in (world, regrid.coarsen(world[["z"]], 4)):
        xr.testing.assert_allclose(
            only_coarse.with_static(given).static["z"].drop_attrs(), both.static["z"].drop_attrs()
        )


def test_with_static_refuses_what_cannot_serve() -> None:
    ds = fields(24, 48)
    made = model(ds, 4)
    with pytest.raises(OptionError, match="this model reads no static fields"):
        model(ds, 4, fine=(), fine_static=None).with_static(ds)
    with pytest.raises(OptionError, match="with_static got str; wanted a Dataset or DataArray on the fine grid"):
        made.with_static("orography.nc")  # type: ignore[arg-type]
    with pytest.raises(VariableError, match=r"with_static needs the variables \['z'\]"):
        made.with_static(ds[["t"]])
    with pytest.raises(UnitsError, match="variable 'z' cannot serve the channel 'z'"):
        made.with_static(ds[["z"]].assign(z=ds.z.assign_attrs(units="K")))
    with pytest.raises(DimensionError, match=r"static field 'z' has dimensions \('time'"):
        made.with_static(ds[["z"]].expand_dims(time=2))
    with pytest.raises(GridError, match=r"latitude step of 30 degrees; wanted the 7.5 degrees of the fine grid"):
        made.with_static(regrid.coarsen(ds[["z"]], 4))
    with pytest.raises(MissingValueError, match="static field 'z' holds 1 missing or infinite values"):
        made.with_static(ds[["z"]].where(ds.z > 0))


def test_a_fitted_task_takes_its_fields_along_and_those_of_other_places(tmp_path: Path) -> None:
    """Time windows, covariates and static fields together: trained on a box, used on the globe."""
    rng = np.random.default_rng(0)
    grid = xatmo.Grid.regular(48, 96, poles=False)
    time = np.datetime64("2020-01-01", "ns") + np.arange(3) * np.timedelta64(6, "h")
    coords = {"time": time, **grid.coords()}
    dims = ("time", "latitude", "longitude")
    t = xr.DataArray(rng.standard_normal((3, 48, 96), dtype="float32"), coords, dims, "t", {"units": "K"})
    z = xr.DataArray(rng.standard_normal((48, 96), dtype="float32"), grid.coords(), dims[1:], "z", {"units": "m"})
    box = {"latitude": slice(4, 44), "longitude": slice(8, 72)}
    task = xatmo.SuperResolver(factor=2, channels=4, n_blocks=1, time_window=2, covariates=["hour", "latitude"])
    task.fit(
        t.isel(box), static=z.isel(box), max_steps=2, batch_size=2, patch_size=6, accelerator="cpu", progress=False
    )
    task.save(tmp_path / "m")
    again = xatmo.load(tmp_path / "m")
    assert [c.name for c in again.model.fine] == ["z"]
    coarse = t.atmo.coarsen(2)
    part = coarse.isel(latitude=slice(2, 22), longitude=slice(4, 36))
    fine = part.atmo.superresolve(tmp_path / "m")
    assert fine.sizes == {"time": 3, "latitude": 40, "longitude": 64}
    np.testing.assert_allclose(part.chunk(time=1).atmo.superresolve(again), fine, atol=1e-5)
    with pytest.raises(VariableError, match="with_static"):
        coarse.atmo.superresolve(again)
    globe = coarse.atmo.superresolve(again.with_static(z))
    assert globe.sizes == t.sizes
    edge = 2 * again.model.halo
    inner = {"latitude": slice(edge, 40 - edge), "longitude": slice(edge, 64 - edge)}
    assert fine.isel(inner).size > 100
    np.testing.assert_allclose(globe.isel(box).isel(inner), fine.isel(inner), atol=1e-4)
