"""The engine registry, and the calls that the xESMF engine makes (on a stand-in where ESMF is not installed)."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from xatmo import Grid
from xatmo.optional import available
from xatmo.regrid import ENGINES, regrid
from xatmo.regrid._kernels import thread_count
from xatmo.regrid.weights import weights_between

SOURCE, TARGET = Grid.regular(19, 36), Grid.regular(12, 24, poles=False)


def field() -> xr.DataArray:
    values = np.random.default_rng(0).standard_normal((2, *SOURCE.shape)).astype(np.float32)
    coords = {"time": [0, 1], **SOURCE.coords()}
    return xr.DataArray(values, coords=coords, dims=("time", "latitude", "longitude"), name="t", attrs={"units": "K"})


class StandIn:
    """A Regridder with xESMF's signature: weights of the built-in engine, applied as xESMF does."""

    calls: list[dict[str, Any]]

    def __init__(self, ds_in: xr.Dataset, ds_out: xr.Dataset, method: str, **options: Any) -> None:
        assert set(options) == {"periodic", "unmapped_to_nan"}
        self.calls.append({"method": method, **options, "bounds": "lat_b" in ds_in and "lon_b" in ds_out})
        source, target = (Grid.from_latlon(ds["lat"].values, ds["lon"].values) for ds in (ds_in, ds_out))
        self.target, self.method = ds_out, method
        self.weights = weights_between(source, target, "nearest" if method == "nearest_s2d" else method)

    def __call__(self, da: xr.DataArray, *, keep_attrs: bool, **options: Any) -> xr.DataArray:
        self.calls[-1].update(options)
        assert da.dims[-2:] == ("lat", "lon")
        lat, lon = (w.matrix.toarray() for w in (self.weights.lat, self.weights.lon))
        out = xr.apply_ufunc(
            lambda x: lat @ x @ lon.T, da, input_core_dims=[["lat", "lon"]], output_core_dims=[["lat", "lon"]],
            exclude_dims={"lat", "lon"}, dask="parallelized", output_dtypes=[np.float64], keep_attrs=keep_attrs,
            dask_gufunc_kwargs={"output_sizes": {d: self.target.sizes[d] for d in ("lat", "lon")}},
        )  # fmt: skip
        return out.assign_coords(lat=self.target["lat"], lon=self.target["lon"]).assign_attrs(regrid_method=self.method)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    StandIn.calls = []
    monkeypatch.setitem(sys.modules, "xesmf", SimpleNamespace(Regridder=StandIn))
    return StandIn.calls


@pytest.mark.parametrize("method", ["conservative", "bilinear", "nearest"])
@pytest.mark.parametrize("lazy", [False, True])
def test_xesmf_gets_edges_and_gives_our_labels(stand_in: list[dict[str, Any]], method: str, lazy: bool) -> None:
    da = field().transpose("longitude", "time", "latitude")
    if lazy:
        da = da.chunk(time=1)
    out = regrid(da, TARGET, method=method, engine="xesmf", min_valid=0.25)  # type: ignore[arg-type]
    expected = regrid(da, TARGET, method=method)  # type: ignore[arg-type]
    assert out.dims == da.dims
    assert out.dtype == np.float32
    assert set(out.coords) == {"time", "latitude", "longitude"}
    assert (out.chunks is not None) == lazy
    assert "engine='xesmf'" in out.attrs["history"]
    assert out.attrs["units"] == "K"
    np.testing.assert_allclose(out.values, expected.values, atol=1e-5)
    conserving = method == "conservative"
    call = stand_in[0]
    assert call["method"] == ("nearest_s2d" if method == "nearest" else method)
    assert call["bounds"] == conserving
    assert call["periodic"] != conserving
    assert call.get("na_thres") == (0.75 if conserving else None)


@pytest.mark.skipif(not available("xesmf"), reason="xesmf (ESMF) is not installed")
@pytest.mark.parametrize("method", ["conservative", "bilinear", "nearest"])
def test_xesmf_agrees_with_the_built_in_engine(method: str) -> None:
    da = field()
    theirs = regrid(da, TARGET, method=method, engine="xesmf")  # type: ignore[arg-type]
    ours = regrid(da, TARGET, method=method)  # type: ignore[arg-type]
    assert theirs.dtype == np.float32
    inner = slice(1, -1) if method == "bilinear" else slice(None)  # ESMF takes pole means
    assert np.median(np.abs(theirs - ours).values[:, inner]) < 1e-3


def test_registry_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(ENGINES) == {"builtin", "xesmf"}
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert thread_count() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "not a number")
    assert thread_count() >= 1
    monkeypatch.setitem(ENGINES, "mine", lambda da, job: ENGINES["builtin"](da, job) * 2)
    np.testing.assert_allclose(
        regrid(field(), TARGET, method="bilinear", engine="mine"), 2 * regrid(field(), TARGET, method="bilinear")
    )
