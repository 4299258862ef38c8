"""What inference refuses, and how a bare module is described."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import xatmo  # noqa: F401  (registers .atmo)
from xatmo import inference
from xatmo.errors import CoordinateError, DimensionError, OptionError, UnitsError, VariableError
from xatmo.grids import Grid
from xatmo.model import Channel, Model


class Conv(nn.Module):
    """Any convolution that keeps or refines the size."""

    def __init__(self, inputs: int = 1, outputs: int = 1, factor: int = 1) -> None:
        super().__init__()
        self.factor = factor
        self.conv = nn.Conv2d(inputs, outputs * factor**2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.pixel_shuffle(self.conv(x), self.factor)


def field(name: str = "t") -> xr.DataArray:
    grid = Grid.regular(24, 48, poles=False)
    values = np.random.default_rng(0).normal(size=(3, *grid.shape)).astype(np.float32)
    coords = {"time": np.arange(3), **grid.coords()}
    return xr.DataArray(values, coords, ("time", "latitude", "longitude"), name, {"units": "K"})


def model(network: nn.Module, names: tuple[str, ...] = ("t",), outputs: tuple[str, ...] = ("t",), **more: Any) -> Model:
    more = {"patch_size": {"lat": 12, "lon": 12}, **more}
    return Model(network, {}, tuple(Channel(n, "K") for n in names), tuple(Channel(n, "K") for n in outputs), **more)


def test_bare_modules_are_described_by_what_they_do() -> None:
    ds = xr.Dataset({"a": field(name="a"), "b": field(name="b"), "c": 1.0})
    out = ds.atmo.apply(Conv(2, 1))
    assert set(out) == {"output", "c"}
    assert set(ds.atmo.apply(Conv(2, 3))) == {"output_0", "output_1", "output_2", "c"}
    assert out.output.attrs == {}
    assert ds.a.atmo.superresolve(Conv(factor=2)).name == "a"
    with pytest.raises(OptionError, match=r"the module cannot read 2 channels \['a', 'b'\] on 24 x 32 cells"):
        ds.atmo.apply(Conv(3))
    with pytest.raises(OptionError, match=r"the module turned \(1, 1, 24, 32\) into \(1, 1, 22, 30\)"):
        ds.a.atmo.apply(nn.Conv2d(1, 1, 3))


def test_wrong_options_and_data_are_refused() -> None:
    da, made = field(), model(Conv())
    with pytest.raises(OptionError, match="nan='skip' came; wanted 'raise', 'mask' or 'keep'"):
        inference.predict(da, made, nan="skip")
    with pytest.raises(OptionError, match="device='abacus' came"):
        inference.predict(da, made, device="abacus")
    with pytest.raises(OptionError, match="batch_size=0 came"):
        inference.predict(da, made, batch_size=0)
    with pytest.raises(OptionError, match="window 'gauss' came"):
        inference.predict(da, made, window="gauss")
    with pytest.raises(OptionError, match="overlap 12 came"):
        inference.predict(da, made, overlap={"lat": 12})
    with pytest.raises(DimensionError, match="patch_size names 'depth'; the model works along"):
        inference.predict(da, made, patch_size={"depth": 3})
    with pytest.raises(DimensionError, match="output_chunks names 'depth'"):
        inference.predict(da, made, output_chunks={"depth": 3})
    with pytest.raises(OptionError, match="output_chunks=.* came for 'time' of 3 points"):
        inference.predict(da, made, output_chunks={"time": (2, 2)})
    with pytest.raises(
        VariableError, match=r"needs the variables \['t'\]; 't' is missing. There are: 'x' \(no standard_name\)"
    ):
        inference.predict(da.rename("x"), made)
    with pytest.raises(UnitsError, match="variable 't' has no units; the network was trained in 'K'"):
        inference.predict(da.drop_attrs(), made)
    with pytest.raises(UnitsError, match="variable 't' cannot serve the channel 't'"):
        inference.predict(da.assign_attrs(units="m"), made)
    with pytest.raises(DimensionError, match="the model needs real numbers on"):
        inference.predict(
            xr.Dataset({"t": da, "u": da.isel(latitude=0, drop=True)}), model(Conv(2, 1), ("t", "u"), ("t",))
        )
    with pytest.raises(OptionError, match=r"the model gives \['a', 'b'\]; pass a Dataset"):
        inference.predict(da, model(Conv(1, 2), outputs=("a", "b")))
    timed = model(Conv(2, 1), ("t", "u"), ("t",), patch_size={"time": 2, "lat": 8, "lon": 8})
    with pytest.raises(CoordinateError, match="time coordinate: none"):
        inference.predict(xr.Dataset({"t": da, "u": da}).isel(time=0, drop=True), timed)
    days = da.assign_coords(time=np.array(["2020-01-01", "2020-01-02", "2020-01-03"], "datetime64[ns]"))
    levels = days.isel(time=0, drop=True).expand_dims(level=[1, 2], run=[1])
    with pytest.raises(
        DimensionError, match=r"variable 't' has dimensions \('level', 'run', .*\); the model needs \('time'"
    ):
        inference.predict(xr.Dataset({"t": levels, "u": days}), timed)


def test_what_the_network_gives_is_checked() -> None:
    with pytest.raises(
        OptionError, match=r"the network gave \(\d+, 1, 10, 10\) for windows of \[12, 12\] cells; wanted"
    ):
        inference.predict(field(), model(nn.Conv2d(1, 1, 3)))


def test_models_that_give_no_fields_name_the_call_that_serves() -> None:
    made = model(Conv())
    made.config = {"task": "AtmoDist", "network": {"kind": "representation"}}
    for call in (field().atmo.apply, field().atmo.superresolve):
        with pytest.raises(
            OptionError, match=r"of the task AtmoDist, which gives features .* use .atmo.embed\(model\)"
        ):
            call(made)
