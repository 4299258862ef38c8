"""Coarse fields of another product on the blocks of a fine grid: exact where they are there, means or lines else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

from xatmo import regrid
from xatmo.errors import ChunkError, CoordinateError, OptionError
from xatmo.grids import Grid
from xatmo.regrid import fine_grid, onto_blocks


def field(lat: Any, lon: Any, *, dtype: str = "f4") -> xr.DataArray:
    """A smooth function of the place that a line between neighbours follows closely."""
    lat, lon = np.asarray(lat, float), np.asarray(lon, float)
    values = np.sin(np.radians(lat))[:, None] + np.cos(np.radians(lon)) * np.cos(np.radians(lat))[:, None] ** 2
    coords = {"lat": ("lat", lat, {"units": "degrees_north"}), "lon": ("lon", lon, {"units": "degrees_east"})}
    return xr.DataArray(values.astype(dtype), coords, ("lat", "lon"), "t", {"units": "K"})


HALF = np.arange(0.5, 360)
ERA5 = Grid.regular(721, 1440)


def test_points_of_the_blocks_are_selected_bit_for_bit() -> None:
    fine = Grid.regular(36, 72, poles=False)
    f = xr.DataArray(np.random.default_rng(0).random((36, 72), "f4"), fine.coords(), ("latitude", "longitude"))
    coarse = f.atmo.coarsen(4)
    found = onto_blocks(coarse, fine, 4)
    np.testing.assert_array_equal(found.values, coarse.values)
    assert fine_grid(found) == fine
    part = f.isel(latitude=slice(8, 24), longitude=slice(4, 36))
    np.testing.assert_array_equal(onto_blocks(coarse, part, 4).values, coarse.values[2:6, 1:9])


def test_half_degrees_go_to_the_blocks_of_a_quarter_degree() -> None:
    """Rows of C3S's grid are those of the blocks, columns an eighth of a degree off."""
    f = field(np.arange(89.5, -90, -1), HALF)
    found = onto_blocks(f, ERA5, 4)
    assert fine_grid(found) == ERA5
    np.testing.assert_allclose(found, field(found.lat.values, found.lon.values), atol=1e-4)
    assert "method='bilinear'" in found.attrs["history"]


def test_any_layout_gives_the_same(no_compute: Callable[..., Any]) -> None:
    fine = field(np.arange(60, 40, -0.5), np.arange(-10, 10, 0.5))
    f = field(np.arange(88, -90, -2.0), np.arange(1, 360, 2.0))
    wanted = onto_blocks(f, fine, 4)
    west = f.assign_coords(lon=(("lon",), (f.lon.values + 180) % 360 - 180, f.lon.attrs)).sortby("lon")
    cyclic = xr.concat([f, f.isel(lon=[0]).assign_coords(lon=[361.0])], "lon")
    cyclic["lon"].attrs = f["lon"].attrs
    for other in (west, cyclic):
        np.testing.assert_allclose(onto_blocks(other, fine, 4), wanted, atol=1e-6)
    upward = onto_blocks(f.isel(lat=slice(None, None, -1)), fine, 4)
    assert upward.lat.values[0] < upward.lat.values[-1]
    np.testing.assert_allclose(upward.isel(lat=slice(None, None, -1)), wanted, atol=1e-6)
    with no_compute():
        lazy = onto_blocks(f.expand_dims(time=3).chunk(time=1), fine, 4)
    assert lazy.chunksizes["time"] == (1, 1, 1)
    np.testing.assert_allclose(lazy.isel(time=1), wanted, atol=1e-6)
    ds = onto_blocks(f.to_dataset().assign(n=3), fine, 4)
    assert int(ds["n"]) == 3
    np.testing.assert_array_equal(ds["t"], wanted)


def test_much_finer_fields_become_means() -> None:
    fine = field(np.arange(59.75, 40, -0.5), np.arange(0.25, 20, 0.5))
    quarter = field(np.arange(64.875, 35, -0.25), np.arange(-4.875, 25, 0.25), dtype="f8")
    found = onto_blocks(quarter, fine, 4)
    assert "method='conservative'" in found.attrs["history"]
    # On these edges blocks are whole cells of the input: the means of both products are the same.
    inside = quarter.sel(lat=slice(60, 40), lon=slice(0, 20))
    np.testing.assert_allclose(found, inside.atmo.coarsen(8), atol=1e-12)


def test_regions_go_on_half_a_cell_beyond_their_points() -> None:
    fine = field(np.arange(60, 40, -0.25), np.arange(0, 20, 0.25))  # blocks are centred on 59.625, 0.375
    f = field(np.arange(59.5, 40, -1), np.arange(0.5, 20))
    found = onto_blocks(f.chunk(), fine, 4)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[0, 1:-1], f[0].interp(lon=found.lon[1:-1]), atol=1e-3)
    np.testing.assert_allclose(found, field(found.lat.values, found.lon.values), atol=5e-3)
    for lost in (f.isel(lat=slice(1, None)), f.isel(lon=slice(None, -1))):
        with pytest.raises(CoordinateError, match="fields cover latitude .* Select the same area, or a larger one"):
            onto_blocks(lost, fine, 4)


def test_options_are_checked() -> None:
    f = field(np.arange(89.5, -90, -1), HALF)
    with pytest.raises(OptionError, match="method 'spectral' came; wanted one of 'auto', 'conservative'"):
        onto_blocks(f, ERA5, 4, method="spectral")
    with pytest.raises(ChunkError, match="whole"):
        onto_blocks(f.chunk(lat=20), ERA5, 4)
    assert regrid.onto_blocks is onto_blocks
