"""Rows of a refined field lie where the network makes them, whatever rows a field was coarsened from."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import xarray as xr
from whole_way import QUICK, TINY

import xatmo
from xatmo.errors import GridError
from xatmo.model import Channel, Model
from xatmo.nn.superres import SuperResolution, SuperResolutionConfig
from xatmo.nn.superres.constraints import Constrained
from xatmo.tasks import SuperResolver

BLOCKS, POLES = xatmo.Grid.regular(36, 72, poles=False), xatmo.Grid.regular(37, 72)


def slope(grid: xatmo.Grid) -> xr.DataArray:
    """Latitude as a field: bilinear interpolation reproduces it where its points are right."""
    values = np.broadcast_to(grid.latitude[:, None], grid.shape).astype("f4")
    return xr.DataArray(values, grid.coords(), ("latitude", "longitude"), "t", {"units": "degrees"})


def interpolation(row_offset: float, **config: Any) -> Model:
    """Model that has learned nothing yet, of a grid whose rows lie in blocks or start on the pole."""
    network: Any = SuperResolution(
        SuperResolutionConfig(4, channels=2, n_blocks=1, baseline="bilinear", row_offset=row_offset)
    )
    if config:
        network = Constrained(network, config["constraint"], row_offset=row_offset)
    t = (Channel("t", "degrees"),)
    described = {"network": {"kind": "module"}, **config}
    return Model(network.eval(), described, t, t, factor=4, grid={"row_offset": row_offset})


def coarse_field(grid: xatmo.Grid, kind: str) -> xr.DataArray:
    coarse = slope(grid).atmo.coarsen(4, method="bilinear")
    if kind == "part":
        return coarse.isel(latitude=slice(1, 8))
    if kind == "from the south":
        return coarse.isel(latitude=slice(None, None, -1))
    if kind == "from elsewhere":
        bare = xatmo.Grid.regular(9, 18, poles=False)
        return xr.DataArray(coarse.values, bare.coords(), coarse.dims, "t", {"units": "degrees"})
    return coarse


@pytest.mark.parametrize("kind", ["whole", "part", "from the south", "from elsewhere"])
@pytest.mark.parametrize("grid", [BLOCKS, POLES], ids=["blocks", "poles"])
@pytest.mark.parametrize("row_offset", [0.0, -0.5])
def test_rows_lie_where_the_network_makes_them(grid: xatmo.Grid, kind: str, row_offset: float) -> None:
    coarse = coarse_field(grid, kind)
    out = coarse.atmo.superresolve(interpolation(row_offset))
    np.testing.assert_allclose((out - out["latitude"]).isel(latitude=slice(12, -12)), 0, atol=1e-3)
    if kind == "whole":
        np.testing.assert_allclose(out["latitude"], grid.latitude)
    elif kind == "from elsewhere":
        assert out.sizes["latitude"] == 4 * coarse.sizes["latitude"] + (row_offset != 0)


def test_fields_return_to_their_rows_lazily(no_compute: Callable[[], AbstractContextManager[None]]) -> None:
    model = interpolation(0.0)
    coarse = slope(POLES).expand_dims(time=3).atmo.coarsen(4)
    whole = coarse.atmo.superresolve(model)
    with no_compute():
        lazy = coarse.chunk(time=1, latitude=4).atmo.superresolve(model)
    np.testing.assert_allclose(lazy.compute(), whole, atol=1e-5)
    np.testing.assert_array_equal(whole["latitude"], POLES.latitude)


@pytest.mark.parametrize("row_offset", [0.0, -0.5])
def test_constrained_means_on_rows_of_either_kind(row_offset: float) -> None:
    for grid in (BLOCKS, POLES):
        coarse = slope(grid).atmo.coarsen(4)
        out = coarse.atmo.superresolve(interpolation(row_offset, constraint="additive"))
        np.testing.assert_allclose(out.atmo.coarsen(4), coarse, atol=1e-4)


def test_localised_networks_have_whole_cells() -> None:
    grid = xatmo.Grid.regular(9, 12)
    fine = slope(grid).expand_dims(time=2)
    settings = {**QUICK, "patch_size": None}
    with pytest.raises(
        GridError, match=r"localised=True on 9 x 12 fine points, .* 8 x 12 whole; .*latitude=slice\(8\)"
    ):
        SuperResolver(2, localised=True, **TINY).fit(fine, **settings)
    cut = fine.isel(latitude=slice(8))
    task = SuperResolver(2, localised=True, **TINY).fit(cut, **settings)
    assert cut.atmo.coarsen(2).atmo.superresolve(task).sizes == cut.sizes
