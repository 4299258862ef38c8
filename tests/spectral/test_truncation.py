from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

from xatmo import Grid
from xatmo.errors import ChunkError, GridError, MissingValueError, OptionError
from xatmo.spectral import taper_weights
from xatmo.spectral._vectors import wind_pairs

Fields = Callable[..., xr.DataArray]
POLES = Grid.regular(19, 36)


def test_degrees_above_are_gone_and_those_below_stay(grid: Grid, engine: Any, field: Fields) -> None:
    da = field(grid)
    lmax = grid.lmax // 2
    out = da.atmo.truncate(lmax, engine=engine)
    before, after = da.atmo.to_spectral(), out.atmo.to_spectral()
    np.testing.assert_allclose(after[:, : lmax + 1], before[:, : lmax + 1], atol=1e-13)
    assert float(abs(after[:, lmax + 1 :]).max()) < 1e-13
    assert out.dims == da.dims
    assert {k: v for k, v in out.attrs.items() if k != "history"} == da.attrs
    xr.testing.assert_identical(out.latitude, da.latitude)


def test_truncating_at_lmax_changes_nothing(grid: Grid, engine: Any, field: Fields) -> None:
    da = field(grid)
    np.testing.assert_allclose(da.atmo.truncate(grid.lmax, engine=engine), da, atol=1e-11)


@pytest.mark.parametrize("taper", ["exponential", "lanczos"])
def test_taper(taper: str, field: Fields) -> None:
    da = field(POLES)
    before = da.atmo.to_spectral(lmax=10)
    after = da.atmo.truncate(10, taper=taper).atmo.to_spectral(lmax=10)
    np.testing.assert_allclose(after, before * taper_weights(10, taper)[:, None], atol=1e-13)


def test_taper_weights() -> None:
    for taper in ("exponential", "lanczos"):
        weights = taper_weights(63, taper)
        assert weights[0] == 1
        assert (np.diff(weights) < 0).all()
        assert weights[-1] > 0
        assert taper_weights(0, taper).tolist() == [1]
    assert taper_weights(63, "exponential")[-1] == pytest.approx(0.1)
    assert (taper_weights(5, None) == 1).all()


def test_winds_are_truncated_as_vectors(wind: Any, engine: Any) -> None:
    """Truncating the wind is truncating its vorticity and divergence."""
    ds = wind(POLES)
    expected = ds.atmo.vorticity_divergence(engine=engine).atmo.truncate(8, engine=engine)
    out = ds.atmo.truncate(8, engine=engine)
    got = out.atmo.vorticity_divergence(engine=engine)
    for name in ("vo", "d"):
        scale = float(abs(expected[name]).max())
        np.testing.assert_allclose(got[name], expected[name], atol=1e-12 * scale)
    alone = ds["ua"].atmo.truncate(8)
    assert float(abs(alone - out["ua"]).max()) > 1e-3
    assert out["ua"].attrs["units"] == "m s-1"


def test_all_wind_pairs_are_found() -> None:
    dims = ("time", "latitude", "longitude")
    low = ("latitude", "longitude")
    names = {"u": dims, "v": dims, "u10": low, "v10": low, "t": dims, "uo": dims, "index": ("time",)}
    ds = xr.Dataset({n: (d, np.zeros([2] * len(d))) for n, d in names.items()})
    assert sorted(wind_pairs(ds, low)) == [("u", "v"), ("u10", "v10")]  # type: ignore[type-var]


def test_other_vectors_are_found_by_their_long_names(wind: Any, field: Fields) -> None:
    """What comes out of one method goes through the next as the vector it is."""
    stress = {"t_x": "Eastward turbulent stress", "t_y": "northward turbulent stress", "alone": "eastward shear"}
    dims = ("latitude", "longitude")
    ds = xr.Dataset({n: (dims, np.zeros((2, 2)), {"long_name": title}) for n, title in stress.items()})
    assert wind_pairs(ds, dims) == [("t_x", "t_y")]
    assert wind_pairs(ds.assign(t_y=ds["t_y"].expand_dims(time=2)), dims) == []
    parts = wind(POLES).atmo.helmholtz()
    low, expected = parts.atmo.truncate(5), wind(POLES).atmo.truncate(5).atmo.helmholtz()
    for name in parts.data_vars:
        np.testing.assert_allclose(low[name], expected[name], atol=1e-11 * float(abs(parts[name]).max()))
    slopes = field(POLES).atmo.gradient()
    np.testing.assert_allclose(
        slopes.atmo.truncate(5)["dt_dx"], field(POLES).atmo.truncate(5).atmo.gradient()["dt_dx"], atol=1e-16
    )


def test_coefficients_lose_their_high_degrees(field: Fields, no_compute: Any) -> None:
    da = field(POLES)
    coefficients = da.atmo.to_spectral()
    with no_compute():
        low = coefficients.chunk(time=1).atmo.truncate(7)
        tapered = coefficients.chunk(time=1).to_dataset().atmo.truncate(7, taper="lanczos")
    assert dict(low.sizes) == {"time": 3, "degree": 8, "order": 8}
    assert low.attrs["lmax"] == 7
    np.testing.assert_allclose(low, coefficients[:, :8, :8])
    np.testing.assert_allclose(low.atmo.to_grid(da), da.atmo.truncate(7), atol=1e-12)
    np.testing.assert_allclose(tapered["t"], low * taper_weights(7, "lanczos")[:, None])
    assert tapered.attrs["history"].endswith("truncate(lmax=7, taper='lanczos')")
    assert coefficients.attrs["lmax"] == 17


def test_dataset_with_winds_scalars_and_others(wind: Any, field: Fields) -> None:
    ds = wind(POLES).assign(t=field(POLES), index=("time", [1, 2, 3]))
    out = ds.atmo.truncate(5)
    assert list(out.data_vars) == list(ds.data_vars)
    np.testing.assert_allclose(out["t"], field(POLES).atmo.truncate(5), atol=1e-12)
    xr.testing.assert_identical(out["index"], ds["index"])


def test_repeated_column_order_and_coordinates_come_back(wind: Any, field: Fields) -> None:
    ds = wind(POLES).assign(t=field(POLES))
    lon = np.append(ds.longitude, 360.0)
    area = (("latitude", "longitude"), np.ones((19, 37)))
    closed = ds.isel(longitude=[*range(36), 0]).assign_coords(longitude=lon, area=area)
    turned = closed.transpose("longitude", "latitude", "time")
    out = turned.atmo.truncate(5)
    expected = ds.atmo.truncate(5)
    for name in ("ua", "va", "t"):
        assert out[name].dims == ("longitude", "latitude", "time")
        np.testing.assert_allclose(out[name][:-1].transpose(*ds[name].dims), expected[name], atol=1e-12)
        np.testing.assert_array_equal(out[name][0], out[name][-1])
    np.testing.assert_array_equal(out.longitude, lon)
    assert "area" in out.coords


def test_lazy(wind: Any, field: Fields, no_compute: Any) -> None:
    ds = wind(POLES, dtype="f4").assign(t=field(POLES, dtype="f4"))
    with no_compute():
        out = ds.chunk(time=1).atmo.truncate(5, taper="exponential")
    expected = ds.atmo.truncate(5, taper="exponential")
    for name in ds.data_vars:
        assert out[name].chunksizes["time"] == (1, 1, 1)
        assert out[name].dtype == np.float32
        np.testing.assert_allclose(out[name], expected[name], atol=1e-5)


def test_encoding(field: Fields) -> None:
    da = field(POLES)
    da.encoding = {"scale_factor": 0.1, "dtype": "int16", "zlib": True}
    assert da.atmo.truncate(5).encoding == {"zlib": True}


class TestErrors:
    def test_coefficients(self, field: Fields) -> None:
        coefficients = field(POLES).atmo.to_spectral()
        with pytest.raises(OptionError, match="lmax=18 came, but these coefficients end at degree 17"):
            coefficients.atmo.truncate(18)
        with pytest.raises(OptionError, match="csphase=-1; wanted complex ones with norm=.4pi. and csphase=1"):
            coefficients.assign_attrs(csphase=-1).atmo.truncate(5)

    def test_taper(self, field: Fields) -> None:
        with pytest.raises(OptionError, match=r"taper='gauss' came; wanted one of \('exponential', 'lanczos'\)"):
            field(POLES).atmo.truncate(5, taper="gauss")

    def test_lmax(self, field: Fields) -> None:
        with pytest.raises(OptionError, match="lmax=18 came"):
            field(POLES).atmo.truncate(18)
        with pytest.raises(OptionError, match="lmax=None came; wanted an integer"):
            field(POLES).atmo.truncate(None)

    def test_regional(self, field: Fields) -> None:
        with pytest.raises(GridError, match="truncate needs a global grid"):
            field(POLES)[:, 3:9].atmo.truncate(3)

    def test_chunks(self, field: Fields, wind: Any) -> None:
        with pytest.raises(ChunkError, match="truncate needs"):
            field(POLES).chunk(latitude=5).atmo.truncate(3)
        with pytest.raises(ChunkError, match="truncate needs"):
            wind(POLES).chunk(latitude=5).atmo.truncate(3)

    def test_missing_values(self, field: Fields, wind: Any) -> None:
        da = field(POLES)
        da[0, 0, 0] = np.nan
        with pytest.raises(MissingValueError, match="truncate met 1 missing"):
            da.atmo.truncate(5)
        ds = wind(POLES)
        ds["va"][0, 0, 0] = np.nan
        with pytest.raises(MissingValueError, match=r"truncate met 1 missing .* \('ua', 'va'\)"):
            ds.atmo.truncate(5)
