"""The catalog of seasonal forecasts opens files in the layouts of the Climate Data Store, and training takes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import xatmo
from xatmo import _valid_times
from xatmo.tasks.pairs import _pairs


@pytest.fixture(scope="module")
def made() -> xatmo.datasets.Seasonal:
    return xatmo.datasets.seasonal((2001, 2001), members=2, leads=3)


def write_grib(ds: xr.Dataset, path: Path, *, monthly: bool = False) -> None:
    """Write one message a field, as MARS delivers seasonal forecasts: GRIB 1, with ECMWF's local section."""
    eccodes = pytest.importorskip("eccodes")
    lat, lon = ds.latitude.values, ds.longitude.values
    grid = {
        "Ni": lon.size, "Nj": lat.size, "latitudeOfFirstGridPointInDegrees": lat[0],
        "latitudeOfLastGridPointInDegrees": lat[-1], "longitudeOfFirstGridPointInDegrees": lon[0],
        "longitudeOfLastGridPointInDegrees": lon[-1], "iDirectionIncrementInDegrees": 1.0,
        "jDirectionIncrementInDegrees": 1.0,
    }  # fmt: skip
    stacked = ds.t2m.transpose("forecast_reference_time", "forecast_period", "number", ...)
    with path.open("wb") as file:
        for i, start in enumerate(ds.forecast_reference_time.values):
            for j, lead in enumerate(ds.forecast_period.values):
                for number in range(ds.sizes["number"]):
                    message = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib1")
                    month = start.astype("M8[M]")
                    end = (month + j + 1).astype("M8[h]") - month.astype("M8[h]")
                    step = int(end / np.timedelta64(1, "h")) if monthly else int(lead / np.timedelta64(1, "h"))
                    local = {"localDefinitionNumber": 16 if monthly else 15, "marsClass": "c3",
                             "stream": "msmm" if monthly else "mmsf", "systemNumber": 51,
                             "methodNumber": 1}  # fmt: skip
                    if monthly:
                        local |= {"forecastMonth": j + 1, "verifyingMonth": int(str(month + j).replace("-", ""))}
                    keys = {
                        "setLocalDefinition": 1, **local, "perturbationNumber": number, **grid,
                        "dataDate": int(str(start)[:10].replace("-", "")), "dataTime": 0, "stepUnits": 1,
                        "P1": 0, "paramId": 167, "bitsPerValue": 24,
                    }  # fmt: skip
                    for key, value in keys.items():
                        eccodes.codes_set(message, key, value)
                    eccodes.codes_set(message, "stepUnits", "h")
                    eccodes.codes_set(message, "endStep", step)
                    eccodes.codes_set_values(message, stacked.values[i, j, number].astype(float).ravel())
                    eccodes.codes_write(message, file)
                    eccodes.codes_release(message)


def test_netcdf_files_of_several_starts(made: xatmo.datasets.Seasonal, tmp_path: Path, no_compute) -> None:
    for i in range(made.forecast.sizes["forecast_reference_time"]):
        made.forecast.isel(forecast_reference_time=[i]).to_netcdf(tmp_path / f"start_{i}.nc")
    with no_compute():
        ds = xatmo.open_catalog("seas5").open("single_levels", path=tmp_path)
    assert ds.t2m.chunksizes["number"] == (1, 1)
    assert "open_catalog(name='seas5', entry='single_levels'" in ds.attrs["history"]
    xr.testing.assert_equal(ds.t2m.load(), made.forecast.t2m)
    assert xatmo.open_catalog("seas5").open("single_levels", path=tmp_path, files="start_1.nc").sizes[
        "forecast_reference_time"] == 1  # fmt: skip
    with no_compute():
        pairs = _pairs.make(
            xatmo.open_catalog("seas5").open("single_levels", path=tmp_path), 4, target=made.reanalysis.chunk(time=2)
        )
    assert pairs.sizes == {"time": 6, "number": 2, "latitude": 12, "longitude": 16}


def test_grib_files_hold_the_same(made: xatmo.datasets.Seasonal, tmp_path: Path) -> None:
    pytest.importorskip("cfgrib")
    write_grib(made.forecast, tmp_path / "seas5.grib")
    ds = xatmo.open_catalog("seas5").open("single_levels_grib", path=tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == ["seas5.grib"]  # no index is left beside it
    want = made.forecast.t2m.rename(forecast_reference_time="time", forecast_period="step")
    np.testing.assert_allclose(ds.t2m.transpose(*want.dims).values, want.values, atol=1e-2)
    np.testing.assert_array_equal(
        _valid_times.find(ds).times.transpose("time", "step").values, made.forecast.valid_time.values
    )
    grib, netcdf = (_pairs.make(x, 4, target=made.reanalysis) for x in (ds[["t2m"]], made.forecast))
    np.testing.assert_allclose(
        grib.coarse.t2m.transpose(*netcdf.coarse.t2m.dims).values, netcdf.coarse.t2m.values, atol=1e-2
    )
    np.testing.assert_array_equal(grib.fine.t2m.values, netcdf.fine.t2m.values)


def test_monthly_means_count_months(made: xatmo.datasets.Seasonal, tmp_path: Path) -> None:
    pytest.importorskip("cfgrib")
    write_grib(made.forecast, tmp_path / "monthly.grib", monthly=True)
    ds = xatmo.open_catalog("seas5").open("monthly_single_levels", path=tmp_path)
    assert ds.sizes["forecastMonth"] == 3
    months = _valid_times.find(ds).times.dt.month
    np.testing.assert_array_equal(months.transpose("time", "forecastMonth"), [[1, 2, 3], [7, 8, 9]])
