"""Static fields of a mapping that is trained: kept by the model, read where it is used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import xatmo
from tests.support.sea import QUICK, SMALL, sea
from xatmo.errors import DimensionError, UnitsError, VariableError
from xatmo.tasks import FourDVarNet


def shelf() -> xr.Dataset:
    """A sea whose depth falls to the east."""
    ds = sea()
    return ds.assign(depth=(0 * ds.lat + 1000 * (ds.lon + 61)).assign_attrs(units="m"))


@pytest.fixture(scope="module")
def fitted() -> FourDVarNet:
    task = FourDVarNet(time_window=3, background="zero", error=False, network_settings=SMALL, learning_rate=1e-2)
    ds = shelf()
    task.fit(ds, obs="seen", target="ssh", static="depth", validation=ds.isel(time=slice(0, 4)), max_steps=6, **QUICK)
    return task


def test_the_model_keeps_static_fields(fitted: FourDVarNet, tmp_path: Path) -> None:
    ds = shelf()
    given = ds.atmo.fourdvar_interp("seen", model=fitted, device="cpu").seen
    bare = ds.drop_vars("depth").isel(lat=slice(None, None, -1))
    np.testing.assert_array_equal(bare.atmo.fourdvar_interp("seen", model=fitted).seen[:, ::-1], given)
    fitted.save(tmp_path / "model")
    loaded = xatmo.load(tmp_path / "model")
    np.testing.assert_array_equal(bare.atmo.fourdvar_interp("seen", model=loaded).seen[:, ::-1], given)
    part = bare.isel(lon=slice(2, 18))  # of the same grid
    assert part.atmo.fourdvar_interp("seen", model=loaded).seen.notnull().all()


def test_static_fields_count_and_those_given_go_first(fitted: FourDVarNet) -> None:
    ds = shelf()
    own = ds.atmo.fourdvar_interp("seen", model=fitted, device="cpu").seen
    other = ds.assign(depth=(5000 - ds.depth).assign_attrs(units="m"))
    assert abs(other.atmo.fourdvar_interp("seen", model=fitted).seen - own).max() > 1e-5
    in_km = ds.assign(depth=(ds.depth / 1000).assign_attrs(units="km"))
    np.testing.assert_allclose(in_km.atmo.fourdvar_interp("seen", model=fitted).seen, own, atol=1e-5)
    with pytest.raises(UnitsError, match="depth"):
        ds.assign(depth=ds.depth.assign_attrs(units="K")).atmo.fourdvar_interp("seen", model=fitted)


def test_other_places_need_their_own(fitted: FourDVarNet) -> None:
    elsewhere = shelf().drop_vars("depth")
    elsewhere = elsewhere.assign_coords(lon=(elsewhere.lon + 30).assign_attrs(elsewhere.lon.attrs))
    with pytest.raises(VariableError, match="static fields"):
        elsewhere.atmo.fourdvar_interp("seen", model=fitted)


def test_refused() -> None:
    ds = shelf()
    task = FourDVarNet(time_window=3, background="zero", network_settings=SMALL)
    with pytest.raises(DimensionError, match="pass it as predictors="):
        task.fit(ds, obs="seen", target="ssh", static="ssh", max_steps=1, **QUICK)
    with pytest.raises(VariableError, match="has no name"):
        task.fit(ds, obs="seen", target="ssh", static=ds.depth.rename(None), max_steps=1, **QUICK)
