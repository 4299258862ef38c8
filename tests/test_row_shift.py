"""Fields moved along the meridian by a part of a cell."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from xatmo._row_shift import move_rows


def _field(n: int) -> xr.Dataset:
    x = np.arange(n, dtype="float64")
    values = np.stack([np.sin(0.3 * x + k) for k in range(3)], axis=1)
    return xr.Dataset({"a": (("lat", "lon"), values, {"units": "K"}), "scalar": 1.0}, {"lat": x})


@pytest.mark.parametrize("by", [-0.25, -0.125, 0.0, 0.125])
def test_smooth_waves_move(by: float) -> None:
    ds = _field(40)
    out = move_rows(ds, "lat", by)
    x = np.arange(40) + by
    truth = np.stack([np.sin(0.3 * x + k) for k in range(3)], axis=1)
    assert abs(out["a"].values - truth)[2:-2].max() < 3e-3
    assert out["a"].attrs == {"units": "K"}
    assert out["scalar"] == 1
    assert out["lat"].equals(ds["lat"])
    if by == 0:
        np.testing.assert_array_equal(out["a"], ds["a"])


def test_parabolas_move_exactly() -> None:
    x = np.arange(12.0)
    out = move_rows(xr.Dataset({"a": ("lat", x**2)}), "lat", 0.125)["a"].values
    np.testing.assert_allclose(out[2:-2], ((x + 0.125) ** 2)[2:-2], atol=1e-12)


def test_chunks_change_nothing(no_compute) -> None:
    ds = _field(23)
    with no_compute():
        lazy = move_rows(ds.chunk(lat=(7, 1, 15), lon=2), "lat", -0.125)
    assert lazy["a"].chunks is not None
    xr.testing.assert_allclose(lazy.compute(), move_rows(ds, "lat", -0.125), rtol=0, atol=1e-15)


def test_missing_values_do_not_spread() -> None:
    ds = _field(12)
    ds["a"][5, 1] = np.nan
    out = move_rows(ds, "lat", 0.125)["a"]
    assert int(out.isnull().sum()) == 1
    assert bool(out[5, 1].isnull())
    np.testing.assert_array_equal(out[4, 1], ds["a"][4, 1])


def test_types_are_kept() -> None:
    assert move_rows(_field(8).astype("float32"), "lat", 0.125)["a"].dtype == np.float32
    assert move_rows(_field(8).chunk(lat=3).astype("float32"), "lat", 0.125)["a"].compute().dtype == np.float32
