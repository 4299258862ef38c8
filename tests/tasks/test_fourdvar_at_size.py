"""FourDVarNet on a cluster, on two processes, and on records that do not fit: slow."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from tests.support.sea import QUICK, SMALL, sea
from xatmo.tasks import FourDVarNet

pytestmark = pytest.mark.slow


def task(**settings: Any) -> FourDVarNet:
    return FourDVarNet(**{"time_window": 3, "background": "zero", "network_settings": SMALL, **settings})


def test_a_cluster_gives_the_same(cluster: Any, tmp_path: Path) -> None:
    """Lazy data, training and maps on two worker processes, from a Zarr store to another."""
    ds = sea(n_time=12, rows=24, columns=30)
    ds.chunk(time=4, lat=12, lon=15).to_zarr(tmp_path / "in.zarr", consolidated=False)
    lazy = xr.open_zarr(tmp_path / "in.zarr", consolidated=False)
    settings: dict[str, Any] = {"background": "oi", "oi": {"length_scale": 6e4, "time_scale": "4D", "noise_std": 0.05,
                                "signal_std": 1.0, "drift": (0.0, 0.0)}}  # fmt: skip
    options: dict[str, Any] = {"obs": "seen", "target": "ssh", "max_steps": 3, **QUICK}
    made = task(**settings).fit(lazy, **options)
    whole = task(**settings).fit(ds, **options)
    # The order of windows follows the chunks; statistics and backgrounds do not.
    for name in ("seen", "ssh"):
        np.testing.assert_allclose(*(float(t.model.normalizer.scaling(name)[1]) for t in (made, whole)), rtol=1e-6)
    out = lazy.atmo.fourdvar_interp("seen", model=made, uncertainty=True, device="cpu")
    assert out.seen.chunks is not None
    out.to_zarr(tmp_path / "out.zarr", consolidated=False)
    written = xr.open_zarr(tmp_path / "out.zarr", consolidated=False).load()
    here = ds.atmo.fourdvar_interp("seen", model=made, uncertainty=True, device="cpu")
    np.testing.assert_allclose(written.seen, here.seen, atol=1e-6)
    np.testing.assert_allclose(written.seen_error, here.seen_error, atol=1e-6)


def test_two_processes_train_one_network(tmp_path: Path) -> None:
    """The mean gradient of two ranks, with windows that they share out: the run ends, and goes on."""
    ds = sea(n_time=12)
    options: dict[str, Any] = {"obs": "seen", "target": "ssh", "run_dir": tmp_path / "run", "devices": 2, **QUICK}
    made = task(background="linear", error=False).fit(ds, max_steps=4, **options)
    assert made.model.config["training"]["devices"] == 2
    assert np.isfinite(made.history["loss"]).all()
    again = task(background="linear", error=False).fit(ds, max_steps=4, **options)  # finished: only read
    assert again.model.fingerprint == made.model.fingerprint


def test_a_long_record_is_trained_on_in_bounded_memory(tmp_path: Path) -> None:
    """Four times the record takes no four times the memory: windows are read where they lie."""
    peaks = []
    for n in (120, 480):
        ds = sea(n_time=n, rows=96, columns=96, part=0.02)
        ds.chunk(time=12, lat=48, lon=48).to_zarr(tmp_path / f"{n}.zarr", consolidated=False)
        lazy = xr.open_zarr(tmp_path / f"{n}.zarr", consolidated=False)
        del ds
        tracemalloc.start()
        task(redraw=0.0).fit(lazy, obs="seen", target="ssh", max_steps=3, memory=4 << 20, **QUICK)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
