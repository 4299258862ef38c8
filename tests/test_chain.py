"""The whole chain, on NumPy, on Dask, and on a cluster of two processes: one answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from distributed import Client

import xatmo
from xatmo import Grid


def nature(n_time: int = 6) -> xr.Dataset:
    """Random fields with a k^-3 like spectrum on a Gaussian grid, in kelvin."""
    grid = Grid.gaussian(32)
    rng = np.random.default_rng(3)
    degree = np.arange(32)
    shape = (n_time, 32, 32)
    coef = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    coef *= np.tril(np.ones((32, 32))) * ((1.0 + degree) ** -2)[:, None]
    coef[..., 0] = coef[..., 0].real
    attrs = {"units": "K", "standard_name": "air_temperature", "long_name": "temperature"}
    spectral = xr.DataArray(
        coef, dims=("time", "degree", "order"), coords={"degree": degree, "order": degree}, name="t", attrs=attrs
    )
    da = (250 + 10 * spectral.atmo.to_grid(grid)).astype("float32").assign_attrs(attrs)
    time = np.datetime64("2020-01-01", "ns") + np.arange(n_time) * np.timedelta64(6, "h")
    return da.assign_coords(time=time).to_dataset(name="t")


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    fine = nature().atmo.regrid(Grid.regular(36, 72, poles=False))
    task = xatmo.SuperResolver(factor=2, channels=8, n_blocks=1)
    task.fit(fine, patch_size={"lat": 9, "lon": 12}, batch_size=4, max_steps=6, progress=False, accelerator="cpu")
    path = tmp_path_factory.mktemp("model") / "sr"
    task.save(path)
    return path


def chain(ds: xr.Dataset, model: Path) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset]:
    fine = ds.atmo.regrid(Grid.regular(36, 72, poles=False))
    coarse = fine.atmo.coarsen(2)
    superresolved = coarse.atmo.superresolve(model)
    spectrum = superresolved.atmo.energy_spectrum()
    scores = superresolved.atmo.verify(fine, metrics=["rmse", "bias", "correlation"])
    return superresolved, spectrum, scores


def assert_same(got: tuple[xr.Dataset, ...], expected: tuple[xr.Dataset, ...]) -> None:
    for a, b in zip(got, expected, strict=True):
        xr.testing.assert_allclose(a.compute(), b.compute(), rtol=2e-5, atol=1e-5)


def test_dask_gives_the_numbers_of_numpy_and_computes_nothing_early(model_path: Path, no_compute) -> None:
    ds = nature()
    expected = chain(ds, model_path)
    with no_compute():
        lazy = chain(ds.chunk(time=2), model_path)
    assert all(v.chunks is not None for part in lazy for v in part.data_vars.values())
    assert_same(lazy, expected)


def test_attributes_say_what_the_numbers_are(model_path: Path) -> None:
    superresolved, spectrum, _ = chain(nature(), model_path)
    assert superresolved["t"].attrs["units"] == "K"
    assert superresolved.atmo.grid.shape == (36, 72)
    assert spectrum["t"].attrs["units"] in ("K2", "K^2", "K**2")
    assert spectrum["wavelength"].attrs["units"] == "m"
    assert superresolved["t"].dtype == np.float32
    assert "superresolve" in str(superresolved.attrs.get("history", "")) + str(superresolved["t"].attrs.get("history"))


def test_cluster_of_two_processes_gives_the_numbers_of_numpy(model_path: Path, cluster: Client) -> None:
    ds = nature()
    assert_same(chain(ds.chunk(time=2), model_path), chain(ds, model_path))
    assert len(cluster.scheduler_info()["workers"]) == 2
