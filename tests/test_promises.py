"""What every call promises of attributes, encoding and the variables of a Dataset, method by method."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import xatmo
from xatmo import Grid

GRID = Grid.regular(19, 36)
ON_DATASETS: dict[str, Callable[[xr.Dataset], xr.Dataset]] = {
    "to_spectral": lambda ds: ds.atmo.to_spectral(lmax=5),
    "to_grid": lambda ds: ds.atmo.to_spectral(lmax=5).drop_attrs(deep=False).atmo.to_grid(Grid.gaussian(8)),
    "truncate": lambda ds: ds.atmo.truncate(5),
    "energy_spectrum": lambda ds: ds.atmo.energy_spectrum(),
    "kinetic energy": lambda ds: _wind(ds).atmo.energy_spectrum(),
    "vorticity_divergence": lambda ds: _wind(ds).atmo.vorticity_divergence(),
    "helmholtz": lambda ds: _wind(ds).atmo.helmholtz(),
    "gradient": lambda ds: ds.atmo.gradient(),
    "laplacian": lambda ds: ds.atmo.laplacian(),
    "inverse_laplacian": lambda ds: ds.atmo.inverse_laplacian(),
    "filter": lambda ds: ds.atmo.filter(lmax=5),
    "to_points": lambda ds: ds.atmo.to_points(lat=[1.0, 2.0], lon=[3.0, 4.0]),
    "spectral": lambda ds: ds.atmo.regrid(Grid.gaussian(8)),
    "bilinear": lambda ds: ds.atmo.regrid(Grid.gaussian(8), method="bilinear"),
    "mean": lambda ds: ds.atmo.coarsen(3),
    "coarsen spectral": lambda ds: ds.atmo.coarsen(3, method="spectral"),
    "constrain": lambda ds: ds.atmo.constrain(ds.atmo.coarsen(3), kind="additive"),
    "normalize": lambda ds: ds.atmo.normalize(ds.atmo.fit_normalizer()),
}


def _wind(ds: xr.Dataset) -> xr.Dataset:
    out = xr.Dataset({"u": ds["t"].copy(), "v": ds["t"].copy()})
    for name, word in (("u", "eastward"), ("v", "northward")):
        out[name].attrs |= {"units": "m s-1", "standard_name": f"{word}_wind"}
    return out


@pytest.fixture
def field() -> xr.DataArray:
    values = np.random.default_rng(0).standard_normal((2, *GRID.shape))
    attrs = {"units": "K", "standard_name": "air_temperature", "valid_range": [-5, 5], "actual_range": [-4.0, 4.0]}
    da = xr.DataArray(values, GRID.coords(), ("time", "latitude", "longitude"), name="t", attrs=attrs)
    of_grib = {"GRIB_Nx": 36, "GRIB_gridType": "regular_ll", "GRIB_iDirectionIncrementInDegrees": 10.0}
    return da.assign_attrs(cell_measures="area: cell_area", GRIB_units="K", **of_grib)


@pytest.mark.parametrize("name", ON_DATASETS)
def test_one_line_of_history_on_the_dataset(name: str, field: xr.DataArray) -> None:
    out = ON_DATASETS[name](field.to_dataset())
    assert out.attrs["history"].count("xatmo") == 1
    assert all("history" not in v.attrs for v in out.data_vars.values())


@pytest.mark.parametrize("name", ON_DATASETS)
def test_ranges_of_the_values_go_when_values_change(name: str, field: xr.DataArray) -> None:
    before = dict(field.attrs)
    out = ON_DATASETS[name](field.to_dataset())
    for variable in out.data_vars.values():
        assert not {"valid_range", "actual_range"} & set(variable.attrs)
    assert field.attrs == before


@pytest.mark.parametrize("name", [n for n in ON_DATASETS if n not in ("truncate", "filter", "constrain", "normalize")])
def test_what_says_where_the_field_lay_goes_with_the_grid(name: str, field: xr.DataArray) -> None:
    field.encoding = {"coordinates": "latitude longitude height", "chunksizes": (1, 19, 36), "zlib": True}
    out = ON_DATASETS[name](field.to_dataset())
    for variable in out.data_vars.values():
        assert not [k for k in variable.attrs if k == "cell_measures" or (k.startswith("GRIB_") and k != "GRIB_units")]
        assert not {"coordinates", "chunksizes"} & set(variable.encoding)


def test_ranges_come_back_with_the_physical_field(field: xr.DataArray) -> None:
    normalizer = field.atmo.fit_normalizer()
    normalized = field.atmo.normalize(normalizer)
    assert normalized.attrs["physical_valid_range"] == [-5, 5]
    assert "GRIB_units" not in normalized.attrs
    back = normalized.atmo.denormalize(normalizer)
    assert {k: v for k, v in back.attrs.items() if k != "history"} == field.attrs


def _described(field: xr.DataArray) -> xr.Dataset:
    mapping = xr.Variable((), np.int32(1), {"grid_mapping_name": "latitude_longitude"})
    edges = np.stack([GRID.latitude_bounds[:-1], GRID.latitude_bounds[1:]], axis=1)
    ds = field.to_dataset().assign(crs=mapping, edges=(("latitude", "side"), edges), place="here")
    ds["latitude"].attrs["bounds"] = "edges"
    return ds


def test_variables_that_describe_others_are_no_fields(field: xr.DataArray) -> None:
    ds = _described(field)
    out = ds.atmo.normalize(ds.atmo.fit_normalizer())
    assert out["crs"].identical(ds["crs"])
    assert out["edges"].identical(ds["edges"])
    cut = ds.atmo.patches({"lat": 8, "lon": 12})
    assert set(cut.plan.sizes) == {"time", "latitude", "longitude"}
    whole = cut.stitch(list(cut))
    assert list(whole.data_vars) == list(ds.data_vars)
    xr.testing.assert_allclose(whole, ds)
    assert list(ds.atmo.verify(ds, metrics=["rmse", "bias"])) == ["rmse", "bias"]


def test_statistics_by_level_take_labels_rounded_to_float32(field: xr.DataArray) -> None:
    field = field.assign_coords(latitude=field["latitude"] / 1.1)
    normalizer = field.atmo.fit_normalizer(dim=["time", "longitude"])
    rounded = field.assign_coords(latitude=field["latitude"].astype("float32")).isel(latitude=slice(None, None, -1))
    out = rounded.atmo.normalize(normalizer).isel(latitude=slice(None, None, -1))
    np.testing.assert_array_equal(out.values, field.atmo.normalize(normalizer).values)
    with pytest.raises(xatmo.errors.CoordinateError, match="have no 'latitude' 82.8"):
        field.assign_coords(latitude=field["latitude"] + 1).atmo.normalize(normalizer)


def test_things_that_are_no_mappings_or_fields(field: xr.DataArray) -> None:
    with pytest.raises(xatmo.errors.OptionError, match="patch size 8 came; wanted points by dimension"):
        field.atmo.patches(8)
    with pytest.raises(xatmo.errors.OptionError, match="bootstrap=3; wanted {'dim': NAME}"):
        field.atmo.verify(field, metrics="rmse", bootstrap=3)
    with pytest.raises(xatmo.errors.OptionError, match="verify got a str as target"):
        field.atmo.verify("truth.nc", metrics="rmse")


def test_grids_of_other_things() -> None:
    for call in (lambda: Grid.regular(10.5, 20), lambda: Grid.regular("a", 20), lambda: Grid.gaussian(16.0)):
        with pytest.raises(xatmo.errors.OptionError, match="points came; wanted whole numbers"):
            call()
    with pytest.raises(xatmo.errors.OptionError, match="a int came as grid; wanted a Grid"):
        Grid.of(3)


def test_one_point_is_no_axis(field: xr.DataArray) -> None:
    with pytest.raises(xatmo.errors.CoordinateError, match=r"latitude 'latitude' is a single value \(90.0\); wanted"):
        field.isel(latitude=0).atmo.truncate(3)


@pytest.mark.parametrize("name", ["optimal_interp", "fourdvar_interp"])
def test_no_times_at_all(name: str, field: xr.DataArray) -> None:
    ds = field.assign_coords(time=np.array(["2020-01-01", "2020-01-02"], "M8[ns]")).to_dataset()
    with pytest.raises(xatmo.errors.CoordinateError, match="time 'time' has no points"):
        getattr(ds.isel(time=slice(0, 0)).atmo, name)("t")


def test_analysis_has_no_range_of_the_observations(field: xr.DataArray) -> None:
    box = field.isel(latitude=slice(3, 9), longitude=slice(0, 6), time=0)
    scales = {"length_scale": 1e6, "noise_std": 0.1, "signal_std": 1.0}
    out = box.to_dataset().atmo.optimal_interp("t", **scales)["t"]
    assert "actual_range" not in out.attrs
    assert out.attrs["units"] == "K"


@pytest.mark.parametrize("name", ["truncate", "regrid"])
def test_wind_components_in_two_units_are_one_vector(name: str, field: xr.DataArray) -> None:
    ds = _wind(field.to_dataset())
    ds["v"].values[:] = np.random.default_rng(1).standard_normal(ds["v"].shape)
    mixed = ds.assign(v=(ds["v"] * 3.6).assign_attrs(ds["v"].attrs, units="km h-1"))
    mixed["v"].encoding = {"zlib": True}
    call = (lambda x: x.atmo.truncate(5)) if name == "truncate" else (lambda x: x.atmo.regrid(Grid.gaussian(8)))
    one, other = call(ds), call(mixed)
    np.testing.assert_allclose(other["u"], one["u"], atol=1e-12)
    np.testing.assert_allclose(other["v"] / 3.6, one["v"], atol=1e-12)
    assert other["v"].attrs["units"] == "km h-1"
    assert other["v"].encoding["zlib"]


def test_wind_components_of_two_shapes(field: xr.DataArray) -> None:
    ds = _wind(field.to_dataset())
    with pytest.raises(xatmo.errors.DimensionError, match="wanted the same dimensions"):
        ds.assign(v=ds["v"].isel(time=0)).atmo.vorticity_divergence()


@pytest.mark.parametrize("name", ["to_spectral", "truncate", "energy_spectrum", "spectral"])
def test_single_precision_of_either_byte_order(name: str, field: xr.DataArray) -> None:
    call = ON_DATASETS[name]
    native = field.astype("f4").to_dataset()
    expected, out = call(native)["t"], call(native.astype(">f4"))["t"]
    assert out.dtype == expected.dtype
    np.testing.assert_array_equal(out, expected)
    if name == "to_spectral":
        lazy = out.astype(">c8").chunk(time=1).atmo.to_grid(GRID)
        assert lazy.dtype == lazy.compute().dtype == np.float32
        np.testing.assert_array_equal(lazy, expected.atmo.to_grid(GRID))


def test_coordinates_in_radians_are_refused(field: xr.DataArray) -> None:
    attrs = {"units": "radians", "standard_name": "latitude"}
    turned = field.assign_coords(latitude=("latitude", np.radians(GRID.latitude), attrs))
    with pytest.raises(xatmo.errors.CoordinateError, match="'latitude' is in radians; wanted degrees"):
        turned.atmo.truncate(3)


def test_finer_patches_stay_on_the_sphere(field: xr.DataArray) -> None:
    cut = field.atmo.patches({"lat": 8, "lon": 12})
    fine = cut.stitch([np.repeat(np.repeat(p.values, 2, 1), 2, 2) for p in cut])
    np.testing.assert_allclose(fine["latitude"][[0, 1, 2, -1]], [88.75, 86.25, 82.5, -88.75])
    assert fine.atmo.grid.is_global


def _observed() -> xr.Dataset:
    rng = np.random.default_rng(0)
    coords = {"time": np.arange(3).astype("M8[D]").astype("M8[ns]"), "lat": 30.0 + np.arange(6), "lon": np.arange(7.0)}
    da = xr.DataArray(rng.standard_normal((3, 6, 7)), coords, ("time", "lat", "lon"), name="ssh")
    return da.where(rng.random(da.shape) < 0.3).to_dataset()


@pytest.mark.parametrize("name", ["optimal_interp", "fourdvar_interp"])
def test_degrees_where_metres_are_wanted(name: str) -> None:
    scales = {"time_scale": "7D", "noise_std": 0.1, "signal_std": 1.0}
    with pytest.raises(
        xatmo.errors.OptionError, match=r"length_scale=1.0 came, in metres, for rows 1.112e\+05 m apart"
    ):
        getattr(_observed().atmo, name)("ssh", length_scale=1.0, **scales)


def test_metres_where_degrees_are_wanted() -> None:
    scales = {"time_scale": "7D", "noise_std": 0.1, "signal_std": 1.0}
    with pytest.raises(xatmo.errors.OptionError, match="length_scale=100000.0 came with metric='degrees'"):
        _observed().atmo.optimal_interp("ssh", length_scale=1e5, metric="degrees", **scales)


def test_covariance_beside_a_preset() -> None:
    ds = _observed()
    scales = {"length_scale": 1.0, "time_scale": "7D", "noise_std": 0.05, "signal_std": 1.0, "metric": "degrees"}
    window = {"time": "28D"}
    expected = ds.atmo.optimal_interp(
        "ssh", covariance="matern", background=ds["ssh"].fillna(0) * 0, window=window, **scales
    )
    out = ds.atmo.optimal_interp("ssh", preset="osse2020a", covariance="matern")
    np.testing.assert_allclose(out["ssh"], expected["ssh"], atol=1e-12)


@pytest.mark.parametrize("name", [*ON_DATASETS, "stitch", "verify", "optimal_interp"])
def test_coordinates_in_other_chunks(name: str, field: xr.DataArray) -> None:
    """As in Zarr stores, whose two-dimensional coordinates have chunks of their own."""
    calls = {
        **ON_DATASETS,
        "stitch": lambda ds: (lambda p: p.stitch(list(p)))(ds.atmo.patches({"lat": 8, "lon": 12})),
        "verify": lambda ds: ds.atmo.verify(ds, metrics=["rmse", "ssim"]),
        "optimal_interp": lambda ds: ds[["t"]].atmo.optimal_interp(
            "t", length_scale=1e6, noise_std=0.5, signal_std=1.0, window={"lat": 40, "lon": 40}
        ),
    }
    if name == "optimal_interp":
        field = field.isel(time=[0], latitude=slice(0, 8), longitude=slice(0, 9)).squeeze("time", drop=True)
    area = xr.DataArray(np.ones(field.shape[-2:]), dims=("latitude", "longitude"))
    ds = field.to_dataset().assign_coords(cell_area=area)
    lazy = (
        field.chunk({"latitude": -1}).to_dataset().assign_coords(cell_area=area.chunk({"latitude": 5, "longitude": 7}))
    )
    xr.testing.assert_allclose(calls[name](lazy).compute(), calls[name](ds))


def test_predictions_and_files_of_variables_in_other_chunks(tmp_path: Path, field: xr.DataArray) -> None:
    import torch

    from xatmo.cli import files

    ds = field.to_dataset().assign(rain=field * 2)
    lazy = ds.assign(t=ds["t"].chunk(time=1), rain=ds["rain"].chunk(latitude=5))
    out = lazy.atmo.apply(torch.nn.Identity(), patch_size={"lat": 8, "lon": 12})
    xr.testing.assert_allclose(out.compute(), ds.atmo.apply(torch.nn.Identity(), patch_size={"lat": 8, "lon": 12}))
    assert files.in_pieces(lazy)["t"].chunks == ((1, 1), (19,), (36,))


@pytest.mark.parametrize("stored", ["float32", "int16"])
def test_fill_values_of_floats_stay_and_packing_goes(stored: str, tmp_path: Path, field: xr.DataArray) -> None:
    field.encoding = {"dtype": np.dtype(stored), "_FillValue": -999, "zlib": True, "complevel": 2}
    if stored == "int16":
        field.encoding |= {"scale_factor": 0.001, "add_offset": 1.0}
    gaps = field.copy(data=np.where(field > -2, field, np.nan))
    gaps.encoding = field.encoding
    for out in (field.atmo.truncate(5), gaps.atmo.coarsen(3, min_valid=1)):
        assert out.encoding["zlib"]
        assert not {"scale_factor", "add_offset", "dtype"} & set(out.encoding)
        assert out.encoding.get("_FillValue") == (-999 if stored == "float32" else None)
        out.to_netcdf(tmp_path / "out.nc", engine="netcdf4")
        with xr.open_dataarray(tmp_path / "out.nc", engine="netcdf4") as back:
            xr.testing.assert_equal(back, out)
    assert "_FillValue" not in field.atmo.to_spectral().encoding
