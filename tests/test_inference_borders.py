"""Tiles of a network that tells its halo: the same numbers as in one piece, up to the borders of the field."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

import xatmo
from xatmo.errors import MissingValueError, OptionError
from xatmo.inference import apply, superresolve
from xatmo.model import Channel, Model
from xatmo.nn.superres import SuperResolution, SuperResolutionConfig

HALO = 6


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    network = SuperResolution(SuperResolutionConfig(factor=2, channels=4, n_blocks=1, row_offset=-0.5))
    with torch.no_grad():
        for weights in network.parameters():
            weights.normal_(std=0.3)
    assert network.halo == HALO
    channels = (Channel("t", "K"),)
    return Model(network, {"task": "SuperResolver"}, channels, channels, factor=2, patch_size={"lat": 12, "lon": 12})


def coarse(nlat: int = 81, nlon: int = 96) -> xr.DataArray:
    """Coarsened rows with poles: one more row of output than the input's cells have."""
    grid = xatmo.Grid.regular(nlat, nlon)
    values = np.random.default_rng(1).standard_normal(grid.shape).astype("float32")
    return xr.DataArray(values, grid.coords(), ("latitude", "longitude"), "t", {"units": "K"}).atmo.coarsen(2)


@pytest.mark.parametrize("patch", [13, 14, 17, 20, 33])
def test_windows_of_any_size_agree_up_to_the_borders(model: Model, patch: int) -> None:
    field = coarse()
    whole = apply(field, model, patch_size={"lat": 999, "lon": 999}, overlap={"lat": 2 * HALO, "lon": 2 * HALO})
    sizes, overlap = {"lat": patch, "lon": patch}, {"lat": 2 * HALO, "lon": 2 * HALO}
    tiled = apply(field, model, patch_size=sizes, overlap=overlap)
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


@pytest.mark.parametrize(
    "box", [{}, {"latitude": slice(3, 30)}, {"latitude": slice(20, 40), "longitude": slice(5, 41)}]
)
def test_apply_and_superresolve_agree_by_default(model: Model, box: dict[str, slice]) -> None:
    field = coarse().isel(box)
    np.testing.assert_allclose(apply(field, model), superresolve(field, model), atol=1e-5)


def test_a_part_differs_from_the_whole_within_the_halo_of_the_cut_only(model: Model) -> None:
    field = coarse()
    whole, part = superresolve(field, model), superresolve(field.isel(latitude=slice(8, 32)), model)
    apart = abs(part.values - whole.values[16:64]).max(axis=1)
    assert apart[2 * HALO : -2 * HALO].max() < 1e-5
    assert apart[0] > 1e-3


def test_a_small_globe_has_no_seam(model: Model) -> None:
    field = coarse(33, 32)  # 16 columns, while two halos are 12
    turned = field.roll(longitude=5, roll_coords=False)
    np.testing.assert_allclose(
        superresolve(turned, model), superresolve(field, model).roll(longitude=10, roll_coords=False), atol=1e-5
    )


def test_keywords_of_the_engine_reach_it_from_the_accessor(model: Model) -> None:
    field = coarse()
    holed = field.where(field.latitude < 80)
    for call in (holed.atmo.apply, holed.atmo.superresolve):
        with pytest.raises(MissingValueError, match="nan='mask'"):
            call(model)
        assert call(model, nan="mask").isnull().any()
        lazy = call(model, nan="mask", output_chunks={"latitude": 20})
        assert lazy.chunksizes["latitude"][0] == 20
    small = {"lat": 12, "lon": 12}
    assert field.atmo.superresolve(model, patch_size=small).attrs["history"].count("patch_size={'lat': 12") == 1


@pytest.mark.parametrize("what", ["patch_size", "overlap"])
def test_sizes_are_mappings(model: Model, what: str) -> None:
    with pytest.raises(OptionError, match=f"{what}=8 came; wanted cells by dimension"):
        apply(coarse(), model, **{what: 8})  # type: ignore[arg-type]
