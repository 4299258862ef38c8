"""Archives and models of a small experiment."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from experiment import archive, extract, prepare, simple_model


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, ds = tmp_path_factory.mktemp("archive"), archive()
    for month in (1, 2):
        ds.sel(time=ds.time.dt.month == month).to_netcdf(folder / f"a_2001{month:02d}.nc")
    return folder


@pytest.fixture
def files(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path, dirs_exist_ok=True))


@pytest.fixture(scope="module")
def trained(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(shutil.copytree(written, tmp_path_factory.mktemp("trained"), dirs_exist_ok=True))
    extract(folder)
    prepare(folder)
    simple_model(folder)
    return folder


@pytest.fixture
def modelled(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path, dirs_exist_ok=True))
