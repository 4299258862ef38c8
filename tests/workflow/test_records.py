"""Data and files are known again by what they hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr

from xatmo.workflow import records


def archive() -> xr.Dataset:
    """Fields of two variables, and land."""
    rng = np.random.default_rng(0)
    time = xr.date_range("2001-01-01", periods=40, freq="6h")
    dims = ("time", "latitude", "longitude")
    coords = {"time": time, "latitude": 57.0 - np.arange(8), "longitude": np.arange(350.0, 360.0)}
    fields = {
        name: (dims, rng.random((40, 8, 10)).astype("f4"), {"units": units})
        for name, units in (("2t", "K"), ("tcc", "1"))
    }
    return xr.Dataset({**fields, "lsm": (dims[1:], (np.arange(80).reshape(8, 10) % 2).astype("f4"))}, coords)


def test_data_are_known_again_by_what_they_hold(tmp_path: Path) -> None:
    ds = archive()
    told = records.fingerprint(ds)
    ds.chunk(time=7).to_zarr(tmp_path / "a.zarr", consolidated=False)
    assert records.fingerprint(xr.open_zarr(tmp_path / "a.zarr", consolidated=False)) == told
    changes: list[Callable[[xr.Dataset], xr.Dataset]] = [
        lambda d: d.isel(time=slice(1, None)),
        lambda d: d.assign_coords(latitude=d.latitude + 1),
        lambda d: d.assign({"2t": d["2t"].assign_attrs(units="degC")}),
        lambda d: d.assign(tcc=d.tcc + 1),
        lambda d: d.drop_vars("lsm"),
    ]
    assert len({told, *(records.fingerprint(change(ds)) for change in changes)}) == 1 + len(changes)


def test_files_are_known_again_by_both_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.grb"
    path.write_bytes(b"x" * 200_000)
    told = records.files_fingerprint([path])
    path.write_bytes(b"x" * 199_999 + b"y")
    assert records.files_fingerprint([path]) != told
    path.write_bytes(b"x" * 200_000)
    assert records.files_fingerprint([path]) == told
