"""The same field, written another way, gives the same numbers: every method, every way."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

from xatmo import Grid
from xatmo.errors import MissingValueError
from xatmo.regrid import coverage

COARSE = Grid.regular(18, 36, poles=False)


def smooth_field() -> xr.Dataset:
    """Two fields and a wind on a 5-degree grid with poles; band-limited, so that spectral methods are exact."""
    grid = Grid.regular(37, 72)
    lat, lon = np.radians(grid.latitude)[:, None], np.radians(grid.longitude)
    t = 280 + 20 * np.sin(lat) ** 2 + 5 * np.cos(lat) ** 3 * np.cos(3 * lon + 0.3)
    u = 10 * np.cos(lat) + 3 * np.cos(lat) * np.sin(lat) * np.sin(lon)
    v = 3 * np.cos(lat) * np.cos(lon + 0.1) * np.cos(lat)
    dims = ("latitude", "longitude")
    names = {"t": ("air_temperature", "K"), "u": ("eastward_wind", "m s-1"), "v": ("northward_wind", "m s-1")}
    fields = {
        name: (dims, values, {"standard_name": names[name][0], "units": names[name][1]})
        for name, values in {"t": t + 0 * lon, "u": u, "v": v}.items()
    }
    ds = xr.Dataset(fields, coords=grid.coords())
    time = np.array(["2020-01-01", "2020-01-02"], "M8[ns]")
    return ds.expand_dims(time=time).copy(deep=True)


def cyclic(ds: xr.Dataset) -> xr.Dataset:
    n = ds.sizes["longitude"]
    lon = np.concatenate([ds.longitude, [ds.longitude[0].item() + 360]])
    out = ds.isel(longitude=[*range(n), 0])
    return out.assign_coords(longitude=("longitude", lon, ds.longitude.attrs))


def western(ds: xr.Dataset) -> xr.Dataset:
    lon = (ds.longitude + 180) % 360 - 180
    return ds.assign_coords(longitude=lon.assign_attrs(ds.longitude.attrs)).sortby("longitude")


WAYS: dict[str, Callable[[xr.Dataset], xr.Dataset]] = {
    "south to north": lambda ds: ds.isel(latitude=slice(None, None, -1)),
    "-180 to 180": western,
    "repeated cyclic column": cyclic,
    "longitude first": lambda ds: ds.transpose("longitude", "time", "latitude"),
    "other names": lambda ds: ds.rename(latitude="y", longitude="x"),
    "dask": lambda ds: ds.chunk(time=1),
    "everything": lambda ds: cyclic(western(ds.isel(latitude=slice(None, None, -1)))).transpose().chunk(time=1),
}

METHODS: dict[str, Callable[[xr.Dataset], xr.Dataset]] = {
    "round trip": lambda ds: ds[["t"]].atmo.to_spectral(lmax=12).atmo.to_grid(COARSE),
    "truncate": lambda ds: ds.atmo.truncate(5),
    "regrid spectral": lambda ds: ds.atmo.regrid(COARSE),
    "regrid conservative": lambda ds: ds[["t"]].atmo.regrid(COARSE, method="conservative"),
    "regrid conservative2": lambda ds: ds[["t"]].atmo.regrid(COARSE, method="conservative2"),
    "regrid conservative2, limited": lambda ds: ds[["t"]].atmo.regrid(COARSE, method="conservative2", limiter=True),
    "regrid most_common": lambda ds: ds[["t"]].round(-1).atmo.regrid(COARSE, method="most_common"),
    "regrid min": lambda ds: ds[["t"]].atmo.regrid(COARSE, method="min"),
    "regrid max": lambda ds: ds[["t"]].atmo.regrid(COARSE, method="max"),
    "regrid with a mask": lambda ds: ds.assign(m=ds["t"] > 275).atmo.regrid(
        COARSE, method="conservative", mask="m", target_mask=np.tri(18, 36, 20)
    )[["t"]],
    "regrid without what is incomplete": lambda ds: ds[["t"]].atmo.regrid(COARSE, method="conservative", skipna=False),
    "coverage": lambda ds: coverage(ds[["t"]].where(ds["t"] > 275), COARSE),
    "regrid bilinear": lambda ds: ds[["t"]].atmo.regrid(COARSE, method="bilinear"),
    "regrid bicubic": lambda ds: ds[["t"]].atmo.regrid(COARSE, method="bicubic"),
    "regrid nearest": lambda ds: ds[["t"]].atmo.regrid(COARSE, method="nearest"),
    "coarsen": lambda ds: ds[["t"]].atmo.coarsen(4),
    "constrain": lambda ds: ds[["t"]].atmo.constrain(1.1 * smooth_field()["t"].atmo.coarsen(6), kind="multiplicative"),
    "vorticity, divergence": lambda ds: ds.atmo.vorticity_divergence(),
    "wind again": lambda ds: ds.atmo.vorticity_divergence().atmo.wind(),
    "helmholtz": lambda ds: ds.atmo.helmholtz(),
    "absolute vorticity": lambda ds: ds.atmo.absolute_vorticity().to_dataset(),
    "advection": lambda ds: ds.atmo.advection("t").to_dataset(),
    "gradient": lambda ds: ds.atmo.gradient(),
    "laplacian": lambda ds: ds.atmo.laplacian(),
    "inverse laplacian": lambda ds: ds.atmo.inverse_laplacian(),
    "filter": lambda ds: ds.atmo.filter("gaussian", length=1e6),
    "band-pass": lambda ds: ds.atmo.filter(lmin=2, min_wavelength=1e7),
    "points": lambda ds: ds.atmo.to_points(lat=[-90.0, 12.3, 45.0], lon=[10.0, 359.9, -170.0]),
    "kinetic energy": lambda ds: ds.atmo.energy_spectrum(),
    "power": lambda ds: ds[["t"]].atmo.energy_spectrum(),
    "zonal spectrum": lambda ds: ds[["t"]].atmo.energy_spectrum(kind="zonal"),
    "zonal spectrum of the globe": lambda ds: ds.atmo.energy_spectrum(kind="zonal", by_latitude=False),
    "cross-spectrum": lambda ds: ds[["t"]].atmo.cross_spectrum(smooth_field()[["t"]] ** 2, lmax=3)[["t_cross"]],
    "cross-spectrum of winds": lambda ds: ds.atmo.cross_spectrum(ds)[["cross", "divergent_power"]],
    "spectral flux": lambda ds: ds.atmo.spectral_flux(lmax=8, wind="full"),
    "scores": lambda ds: ds.atmo.verify(ds.map(lambda x: 1.01 * x + 0.5, keep_attrs=True), metrics=["rmse", "bias"]),
}


def canonical(ds: xr.Dataset) -> xr.Dataset:
    """North to south, 0 to 360, no repeated column, one order of dimensions."""
    ds = ds.compute().rename({old: new for old, new in {"y": "latitude", "x": "longitude"}.items() if old in ds.dims})
    if "longitude" in ds.dims:
        lon = (ds.longitude.values + 1e-9) % 360
        ds = ds.assign_coords(longitude=lon)
        ds = ds.isel(longitude=np.unique(np.round(lon, 6), return_index=True)[1])
    if "latitude" in ds.dims:
        ds = ds.sortby("latitude", ascending=False)
    return ds.transpose(*sorted(map(str, ds.dims)))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", METHODS)
def test_same_field_same_numbers(method: str, way: str) -> None:
    ds = smooth_field()
    expected = canonical(METHODS[method](ds))
    got = canonical(METHODS[method](WAYS[way](ds)))
    assert set(got.data_vars) == set(expected.data_vars)
    for name in expected.data_vars:
        scale = float(np.abs(expected[name]).max())
        np.testing.assert_allclose(
            got[name].values, expected[name].values, rtol=1e-10, atol=1e-11 * scale, err_msg=name
        )
    for dim in ("latitude", "longitude"):
        if dim in expected.dims:
            np.testing.assert_allclose(got[dim].values, expected[dim].values, atol=1e-6)


GLOBAL_METHODS = (
    "round trip", "truncate", "regrid spectral", "vorticity, divergence", "kinetic energy", "power",
    "zonal spectrum", "zonal spectrum of the globe", "cross-spectrum", "cross-spectrum of winds", "spectral flux",
    "wind again", "helmholtz", "absolute vorticity", "advection", "gradient", "laplacian", "inverse laplacian",
    "filter", "band-pass", "points",
)  # fmt: skip


def with_a_hole() -> xr.Dataset:
    ds = smooth_field()
    for name in ("t", "u"):
        ds[name][0, 10, 20] = np.nan
    return ds


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("method", GLOBAL_METHODS)
def test_global_methods_refuse_a_missing_cell(method: str, lazy: bool) -> None:
    ds = with_a_hole().chunk(time=1) if lazy else with_a_hole()
    with pytest.raises(MissingValueError, match="1 missing or infinite values"):
        METHODS[method](ds).compute()


@pytest.mark.parametrize("method", [m for m in METHODS if m not in (*GLOBAL_METHODS, "scores", "regrid with a mask")])
def test_local_methods_keep_a_hole_local(method: str) -> None:
    out = METHODS[method](with_a_hole())["t"]
    assert int(out.isel(time=0).isnull().sum()) <= 16
    assert int(out.isel(time=1).isnull().sum()) == 0
