"""Generated rain has the statistics of a radar's, and readers give rates whatever the files hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from xatmo.datasets import open_radar, rain_fields
from xatmo.errors import CatalogError, CoordinateError, OptionError, UnitsError, VariableError


@pytest.fixture(scope="module")
def rain() -> xr.DataArray:
    return rain_fields(6, (128, 128), seed=1)


def logarithm(rain: np.ndarray) -> np.ndarray:
    return np.log10(np.maximum(rain, 0.1))


# ---------------------------------------------------------------------- generated
def test_layout_and_seed(rain: xr.DataArray) -> None:
    xr.testing.assert_identical(rain_fields(6, (128, 128), seed=1), rain)
    assert not np.array_equal(rain_fields(6, (128, 128), seed=2), rain)
    assert rain.dtype == np.float32
    assert rain.name == "rain_rate"
    assert not np.any((rain.values > 0) & (rain.values < 0.1))
    assert np.all(np.diff(rain.time) == np.timedelta64(10, "m"))
    assert float(rain.x[1]) == 1000


def test_wet_area() -> None:
    """The mean over many independent fields is the part asked for."""
    for wet in (0.1, 0.4):
        fields = [rain_fields(1, (64, 64), wet=wet, outer_scale=30e3, seed=s).values for s in range(40)]
        assert np.mean(np.array(fields) > 0) == pytest.approx(wet, rel=0.2)  # a little falls below 0.1 mm h-1


def test_motion_without_change_is_a_shift() -> None:
    """Five cells in three steps, with eternal memory: the same field, elsewhere."""
    rain = rain_fields(4, (48, 64), velocity=(5000 / 1800, -5000 / 1800), memory="100000D", seed=3).values
    np.testing.assert_allclose(rain[3, :-5, 5:], rain[0, 5:, :-5], rtol=1e-2, atol=0.11)  # 0.1 is seen or not


def test_correlation_falls_with_time(rain: xr.DataArray) -> None:
    """As in thunderstorms over Brisbane: 0.86, 0.71, 0.62 and 0.41 after 10, 20, 30 and 60 minutes."""
    fields = logarithm(np.concatenate([rain_fields(7, (128, 128), seed=s).values[None] for s in range(5)]))
    got = [np.corrcoef(fields[:, :-lag].ravel(), fields[:, lag:].ravel())[0, 1] for lag in (1, 2, 3, 6)]
    np.testing.assert_allclose(got, [0.86, 0.71, 0.62, 0.41], atol=0.1)
    assert np.all(np.diff(got) < 0)


def statistics(rain: np.ndarray) -> list[float]:
    """Wet part, median and 95th percentile of rates, slope of the spectrum of the logarithm below 25 km."""
    wet = rain[rain >= 0.1]
    n = rain.shape[-1]
    window = np.outer(np.hanning(n), np.hanning(n))
    fields = logarithm(rain)
    power = (np.abs(np.fft.fft2((fields - fields.mean((1, 2), keepdims=True)) * window)) ** 2).mean(0)
    k = np.fft.fftfreq(n) * n
    ring = np.round(np.hypot(k[:, None], k)).astype(int)
    mean = np.bincount(ring.ravel(), power.ravel()) / np.bincount(ring.ravel())
    of = np.arange(n // 25, n // 5)
    slope = np.polyfit(np.log(of), np.log(mean[of]), 1)[0]
    return [len(wet) / rain.size, float(np.median(wet)), float(np.quantile(wet, 0.95)), float(slope)]


def test_as_seen_by_a_radar(shared_data) -> None:
    real = open_radar(shared_data("bom_radar_rain_10min_brisbane_2020-10-31.nc"))
    real = real.coarsen(y=2, x=2).mean()[::3].fillna(0).values
    made = rain_fields(20, (256, 256), step="30min").values
    for ours, theirs, within in zip(statistics(made), statistics(real), (0.1, 2.0, 15.0, 0.5), strict=True):
        assert abs(ours - theirs) < within


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_time": 0}, "n_time=0 came; wanted 1 or more"),
        ({"shape": (0, 5)}, "rows=0 came"),
        ({"spacing": 0.0}, "spacing=0 came; wanted more than zero"),
        ({"memory": "0s"}, "memory=0 came"),
        ({"slope": -1.0}, "slope=-1 came"),
        ({"wet": 1.0}, "wet=1 came; wanted a part of the area"),
    ],
)
def test_settings_out_of_range(settings: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        rain_fields(**settings)


# ---------------------------------------------------------------------- netCDF
def test_real_radar(shared_data, no_compute) -> None:
    path = shared_data("bom_radar_rain_10min_brisbane_2020-10-31.nc")
    with no_compute():
        rain = open_radar(path)
    assert rain.shape == (60, 512, 512)
    assert rain.chunksizes["time"] == (30, 30)
    stored = xr.open_dataset(path).precipitation[7]
    np.testing.assert_allclose(rain[7], stored * 6, rtol=1e-6)  # amounts of ten minutes
    assert float(rain.x[0]) == -127750
    assert rain.attrs == {**rain.attrs, "units": "mm h-1", "standard_name": "rainfall_rate"}


@pytest.mark.parametrize(("units", "factor"), [("mm/h", 1.0), ("kg m-2 s-1", 3600.0), ("mm", 6.0), ("m", 6000.0)])
def test_units(rain: xr.DataArray, tmp_path: Path, units: str, factor: float) -> None:
    (rain / factor).assign_attrs(units=units).rename("r").to_netcdf(tmp_path / "r.nc")
    np.testing.assert_allclose(open_radar(tmp_path / "r.nc"), rain, rtol=1e-5)


def test_one_file_a_time(rain: xr.DataArray, tmp_path: Path) -> None:
    seen = rain[:3].where(rain.x > 3000)  # a blind sector
    paths = [tmp_path / f"{i}.nc" for i in range(3)]
    for i, path in enumerate(paths):
        (seen[i] / 4).assign_attrs(units="mm").to_netcdf(path)
    got = open_radar(paths, accumulation="15min", chunks=2)
    assert got.chunksizes["time"] == (2, 1)
    np.testing.assert_allclose(got, seen, rtol=1e-5)
    assert got.isnull().any()
    with pytest.raises(CoordinateError, match="amounts at 1 times .* give accumulation="):
        open_radar(paths[0])
    with pytest.raises(OptionError, match="accumulation='0s' came"):
        open_radar(paths[0], accumulation="0s")
    with pytest.raises(CoordinateError, match="not in order of time"):
        open_radar(paths[::-1])


def test_files_without_rain(rain: xr.DataArray, tmp_path: Path) -> None:
    path = tmp_path / "r.nc"

    def write(da: xr.DataArray | xr.Dataset) -> Path:
        path.unlink(missing_ok=True)
        da.to_netcdf(path)
        return path

    with pytest.raises(UnitsError, match="has units 'dBZ'; wanted one of mm h-1"):
        open_radar(write(rain.assign_attrs(units="dBZ")))
    with pytest.raises(UnitsError, match="'y' of .* has units 'degrees'"):
        open_radar(write(rain.assign_coords(y=rain.y.assign_attrs(units="degrees"))))
    bare = rain.drop_attrs()
    with pytest.raises(VariableError, match=r"has variables \['a', 'b'\]; wanted one of rain"):
        open_radar(write(xr.Dataset({"a": bare, "b": bare})))
    with pytest.raises(CoordinateError, match="wanted time, y, x"):
        open_radar(write(rain[0].drop_vars("time")))
    path.write_text("no rain")
    with pytest.raises(CatalogError, match="cannot be read"):
        open_radar(path)
    with pytest.raises(OptionError, match="no file at"):
        open_radar(tmp_path / "nothing.nc")
    with pytest.raises(OptionError, match="0 files and chunks=None came"):
        open_radar([])


# ---------------------------------------------------------------------- ODIM HDF5
def odim(path: Path, rate: np.ndarray, minute: int, quantity: str = "RATE") -> Path:
    """Write a composite: values in steps of 0.05, dry as 0, unseen as 65535."""
    h5py = pytest.importorskip("h5py")
    value = {"RATE": rate, "ACRR": rate / 6, "DBZH": 10 * np.log10(200 * np.maximum(rate, 1e-9) ** 1.6)}.get(
        quantity, rate
    )
    offset = -32.0 if quantity == "DBZH" else 0.0
    stored = np.where(rate > 0, np.round((value - offset) / 0.01), 0)
    with h5py.File(path, "w") as file:
        file.attrs["Conventions"] = np.bytes_("ODIM_H5/V2_3")
        file.create_group("what").attrs.update(
            {"object": np.bytes_("COMP"), "date": np.bytes_("20201031"), "time": np.bytes_(f"04{minute:02d}00")}
        )
        file.create_group("where").attrs.update({"xscale": 1000.0, "yscale": 500.0})
        what = file.create_group("dataset1/what").attrs
        what.update({"startdate": np.bytes_("20201031"), "starttime": np.bytes_("035000")})
        what.update({"enddate": np.bytes_("20201031"), "endtime": np.bytes_("040000")})
        file.create_group("dataset1/data1/what").attrs.update(
            {"quantity": np.bytes_(quantity), "gain": 0.01, "offset": offset, "undetect": 0.0, "nodata": 65535.0}
        )
        file["dataset1/data1/data"] = np.where(np.isnan(rate), 65535, stored).astype(np.uint16)
    return path


@pytest.mark.parametrize("quantity", ["RATE", "ACRR", "DBZH"])
def test_odim(rain: xr.DataArray, tmp_path: Path, no_compute, quantity: str) -> None:
    fields = rain.values[:2, :30, :40].copy()
    fields[:, :5] = np.nan
    paths = [odim(tmp_path / f"{i}.h5", fields[i], 10 * i, quantity) for i in range(2)]
    with no_compute():
        got = open_radar(paths)
    np.testing.assert_array_equal(got.time, pd.to_datetime(["2020-10-31T04:00", "2020-10-31T04:10"]))
    np.testing.assert_allclose(got, fields, rtol=0.01, atol=0.035)
    assert (float(got.y[0]), float(got.y[-1]), float(got.x[0])) == (14750, 250, 500)
    assert not np.any((got.values == 0) != (fields == 0))


def test_odim_that_cannot_be(rain: xr.DataArray, tmp_path: Path) -> None:
    field = rain.values[0, :30, :40]
    with pytest.raises(VariableError, match="holds 'VRAD'; wanted RATE, ACRR, DBZH or TH"):
        open_radar(odim(tmp_path / "v.h5", field, 0, "VRAD")).load()
    one, other = odim(tmp_path / "1.h5", field, 0), odim(tmp_path / "2.h5", field[:20], 10)
    with pytest.raises(CoordinateError, match="2.h5 lies on another grid"):
        open_radar([one, other])
    lazy = open_radar(one)
    one.write_bytes(one.read_bytes()[:300])
    with pytest.raises(CatalogError, match="1.h5 cannot be read"):
        lazy.load()
    import h5py

    with h5py.File(tmp_path / "polar.h5", "w") as file:
        file.attrs["Conventions"] = "ODIM_H5/V2_3"
    with pytest.raises(VariableError, match="ODIM HDF5 without a field on a plane"):
        open_radar(tmp_path / "polar.h5")
