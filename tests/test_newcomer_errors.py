"""What a newcomer gets wrong in the README's examples: each gives one clear line that says what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import xatmo
from xatmo import Grid, errors


@pytest.fixture
def ds() -> xr.Dataset:
    grid = Grid.regular(36, 72, poles=False)
    values = np.random.default_rng(0).standard_normal((2, 36, 72)).astype("f4")
    attrs = {"units": "m s-1", "long_name": "wind gust"}
    return xr.Dataset({"gust": (("time", "latitude", "longitude"), values, attrs)}, coords=grid.coords())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    grid = Grid.regular(36, 72, poles=False)
    values = np.random.default_rng(0).standard_normal((2, 36, 72)).astype("f4")
    fine = xr.Dataset({"gust": (("time", "latitude", "longitude"), values, {"units": "m s-1"})}, coords=grid.coords())
    task = xatmo.SuperResolver(factor=2, channels=4, n_blocks=1)
    task.fit(fine, patch_size={"lat": 9, "lon": 9}, batch_size=2, max_steps=1, progress=False, accelerator="cpu")
    path = tmp_path_factory.mktemp("models") / "gust"
    task.save(path)
    return path


def one_line(error: BaseException) -> str:
    text = str(error)
    assert text
    assert "\n" not in text
    return text


def raises(kind: type[errors.XatmoError], call: Callable[[], object], *words: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    text = one_line(caught.value)
    for word in words:
        assert word in text, text


def test_missing_coordinate(ds: xr.Dataset) -> None:
    raises(
        errors.CoordinateError, lambda: ds.drop_vars("latitude").atmo.grid, "no latitude coordinate", "standard_name"
    )


def test_regional_data_to_a_spherical_method(ds: xr.Dataset) -> None:
    box = ds.sel(latitude=slice(60, 30), longitude=slice(0, 40))
    raises(errors.GridError, box.atmo.to_spectral, "regional", "isotropic")
    raises(errors.GridError, lambda: box.atmo.truncate(5), "regional")
    raises(errors.GridError, lambda: box.atmo.regrid(Grid.gaussian(16)), "regional", "conservative")


def test_chunked_latitude(ds: xr.Dataset) -> None:
    raises(
        errors.ChunkError, ds.chunk(latitude=9).atmo.to_spectral, "'latitude' in 4 chunks", ".chunk({'latitude': -1})"
    )


@pytest.mark.parametrize("lazy", [False, True])
def test_nan_in_a_global_transform(ds: xr.Dataset, lazy: bool) -> None:
    ds["gust"][0, 3, 4] = np.nan
    given = ds.chunk(time=1) if lazy else ds
    raises(errors.MissingValueError, lambda: given.atmo.to_spectral().compute(), "1 missing or infinite", "fillna")


def test_wrong_variable_for_the_model(ds: xr.Dataset, trained: Path) -> None:
    other = ds.rename(gust="t2m").atmo.coarsen(2)
    raises(errors.VariableError, lambda: other.atmo.superresolve(trained), "'gust'", "t2m")


def test_wrong_units_for_the_model(ds: xr.Dataset, trained: Path) -> None:
    ds["gust"].attrs["units"] = "K"
    raises(errors.UnitsError, lambda: ds.atmo.coarsen(2).atmo.superresolve(trained), "'K'", "'m s-1'")


def test_other_units_of_the_same_quantity_are_converted(ds: xr.Dataset, trained: Path) -> None:
    coarse = ds.atmo.coarsen(2)
    knots = coarse * np.float32(3.6)
    knots["gust"].attrs = {"units": "km h-1"}
    xr.testing.assert_allclose(
        knots.atmo.superresolve(trained)["gust"], coarse.atmo.superresolve(trained)["gust"], rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("factor", [0, 1, 1.5, -2, "four"])
def test_wrong_factor(ds: xr.Dataset, factor: object) -> None:
    raises(errors.OptionError, lambda: xatmo.SuperResolver(factor=factor), "factor", repr(factor))  # type: ignore[arg-type]
    raises(errors.OptionError, lambda: ds.atmo.coarsen(factor), "factor", repr(factor))  # type: ignore[arg-type]


def test_factor_that_is_not_the_models(ds: xr.Dataset, trained: Path) -> None:
    raises(errors.XatmoError, lambda: ds.atmo.coarsen(3).atmo.superresolve(trained), "15 degrees", "10")


def test_unfitted_model(ds: xr.Dataset) -> None:
    task = xatmo.SuperResolver(factor=2)
    raises(errors.NotFittedError, lambda: ds.atmo.coarsen(2).atmo.superresolve(task), "fit")
    raises(errors.NotFittedError, lambda: task.save("nowhere"), "fit")


def test_missing_model_directory(ds: xr.Dataset, tmp_path: Path) -> None:
    raises(errors.CheckpointError, lambda: xatmo.load(tmp_path / "none"), "none")
    raises(errors.CheckpointError, lambda: ds.atmo.superresolve(tmp_path / "none"), "none")


@pytest.mark.parametrize("part", ["config.json", "model.safetensors", "normalizer.nc"])
@pytest.mark.parametrize("how", ["missing", "truncated", "garbage"])
def test_damaged_model_directory(trained: Path, tmp_path: Path, part: str, how: str) -> None:
    import shutil

    path = tmp_path / "model"
    shutil.copytree(trained, path)
    file = path / part
    if how == "missing":
        file.unlink()
    elif how == "truncated":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    else:
        file.write_bytes(b"\x00garbage" * 50)
    raises(errors.CheckpointError, lambda: xatmo.load(path), part)


def test_another_programs_directory(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    raises(errors.CheckpointError, lambda: xatmo.load(tmp_path))


def test_missing_extra(monkeypatch: pytest.MonkeyPatch, ds: xr.Dataset) -> None:
    import importlib

    from xatmo import optional

    real = importlib.import_module

    def refuse(name: str, *args: str) -> object:
        if name.split(".")[0] == "xesmf":
            message = f"No module named {name!r}"
            raise ImportError(message)
        return real(name, *args)

    monkeypatch.setattr(optional.importlib, "import_module", refuse)
    raises(
        errors.MissingDependencyError,
        lambda: ds.atmo.regrid(Grid.regular(19, 36), method="conservative", engine="xesmf"),
        "xesmf",
        "conda install",
    )


def test_unknown_method_metric_and_catalog(ds: xr.Dataset) -> None:
    raises(errors.OptionError, lambda: ds.atmo.regrid(Grid.gaussian(8), method="magic"), "magic", "bilinear")  # type: ignore[arg-type]
    raises(errors.OptionError, lambda: ds.atmo.verify(ds, metrics="nothing"), "nothing", "rmse")
    raises(errors.CatalogError, lambda: xatmo.open_catalog("era6"), "era6", "era5")
