"""Every degree is multiplied by exactly the weight that is stated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

from xatmo import Grid
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import ChunkError, DimensionError, GridError, MissingValueError, OptionError
from xatmo.spectral import _kernels, degree_weights, filter_scales

Fields = Callable[..., xr.DataArray]
POLES = Grid.regular(19, 36)
CASES: dict[str, tuple[dict[str, Any], Callable[[Any], Any]]] = {
    "low-pass": ({"lmax": 7}, lambda n: 1.0 * (n <= 7)),
    "high-pass": ({"lmin": 4}, lambda n: 1.0 * (n >= 4)),
    "band-pass": ({"lmin": 4, "lmax": 7}, lambda n: 1.0 * ((n >= 4) & (n <= 7))),
    "one degree": ({"lmin": 5, "lmax": 5}, lambda n: 1.0 * (n == 5)),
    "exponential": (
        {"kind": "exponential", "lmax": 9},
        lambda n: (n <= 9) * np.exp(-np.log(10) * (n * (n + 1) / 90) ** 2),
    ),
    "exponential of order 8 to a hundredth": (
        {"kind": "exponential", "order": 8, "damping": 0.01},
        lambda n: 0.01 ** ((n * (n + 1) / (17 * 18)) ** 4),
    ),
    "gaussian": (
        {"kind": "gaussian", "length": 1e6},
        lambda n: np.exp(-n * (n + 1) * (1e6 / EARTH_RADIUS) ** 2 / 2),
    ),
    "gaussian without its mean": (
        {"kind": "gaussian", "length": 0.1, "radius": 1.0, "lmin": 1, "lmax": 12},
        lambda n: ((n > 0) & (n <= 12)) * np.exp(-n * (n + 1) * 0.005),
    ),
    "lanczos": (
        {"kind": "lanczos", "lmax": 9},
        lambda n: (n <= 9) * np.where(n == 0, 1, np.sin(np.pi * n / 10) / np.where(n == 0, 1, np.pi * n / 10)),
    ),
    "wavelengths": (
        {"min_wavelength": 4e6, "max_wavelength": 10e6},
        lambda n: (
            1.0 * ((n * (n + 1) >= (2 * np.pi * 0.6371229) ** 2) & (n * (n + 1) <= (2 * np.pi * 1.59280725) ** 2))
        ),
    ),
    "wavelengths on a small sphere": (
        {"min_wavelength": 1.0, "radius": 1.0},
        lambda n: 1.0 * (n * (n + 1) <= (2 * np.pi) ** 2),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_amplitudes(case: str, engine: Any, field: Fields) -> None:
    options, weight = CASES[case]
    da = field(POLES)
    before = da.atmo.to_spectral()
    expected = before * weight(before["degree"])
    after = da.atmo.filter(**options, engine=engine)
    np.testing.assert_allclose(after.atmo.to_spectral(), expected, atol=1e-13)
    assert after.dims == da.dims
    assert {k: v for k, v in after.attrs.items() if k != "history"} == da.attrs
    assert "filter(" in after.attrs["history"]
    direct = before.atmo.filter(**options)
    np.testing.assert_allclose(direct, expected, atol=1e-15)
    assert direct.dims == before.dims
    assert direct.attrs["norm"] == "4pi"


@pytest.mark.parametrize("case", CASES)
def test_winds_are_filtered_as_vectors(case: str, wind: Any, engine: Any) -> None:
    options, weight = CASES[case]
    ds = wind(POLES)
    out = ds.atmo.filter(**options, engine=engine)
    parts = _kernels.analysis_vector(ds["ua"].values, ds["va"].values, POLES)
    after = _kernels.analysis_vector(out["ua"].values, out["va"].values, POLES)
    degree = np.arange(POLES.lmax + 1)
    for x, y in zip(parts, after, strict=True):
        np.testing.assert_allclose(y, x * np.broadcast_to(weight(degree), degree.shape)[:, None], atol=1e-12)
    alone = ds["ua"].atmo.filter(**options)
    assert float(abs(alone - out["ua"]).max()) > 1e-6


def test_every_grid(grid: Grid, engine: Any, field: Fields) -> None:
    da = field(grid)
    out = filter_scales(da, "gaussian", length=2e6, engine=engine)
    before, after = da.atmo.to_spectral(), out.atmo.to_spectral()
    weights = degree_weights("gaussian", grid.lmax, length=2e6)
    np.testing.assert_allclose(after, before * weights[:, None], atol=1e-12)


def test_bands_sum_to_the_field(field: Fields) -> None:
    da = field(POLES)
    total = da.atmo.filter(lmax=4) + da.atmo.filter(lmin=5, lmax=11) + da.atmo.filter(lmin=12)
    np.testing.assert_allclose(total, da, atol=1e-12)
    edge = 2 * np.pi * EARTH_RADIUS / np.sqrt(5 * 6)
    np.testing.assert_allclose(da.atmo.filter(min_wavelength=edge), da.atmo.filter(lmax=5), atol=1e-12)
    np.testing.assert_allclose(da.atmo.filter(max_wavelength=edge), da.atmo.filter(lmin=5), atol=1e-12)


def test_the_kernel_of_the_gaussian_has_the_length_for_its_standard_deviation() -> None:
    """The answer to a point is exp(-distance^2 / (2 length^2)), near enough on a sphere much larger than the length."""
    length, lmax = 600e3, 200
    degree = np.arange(lmax + 1)
    distance = np.linspace(0, 1800e3, 7)
    legendre = np.polynomial.legendre.legvander(np.cos(distance / EARTH_RADIUS), lmax)
    kernel = legendre @ ((2 * degree + 1) * degree_weights("gaussian", lmax, length=length))
    np.testing.assert_allclose(kernel / kernel[0], np.exp(-((distance / length) ** 2) / 2), atol=3e-3)


def test_the_exponential_filter_is_diffusion() -> None:
    """Two passes are one with the square of the damping; order 2 is the Gaussian."""
    once, twice = (degree_weights("exponential", 40, damping=d) for d in (0.3, 0.09))
    np.testing.assert_allclose(once**2, twice, rtol=1e-13)
    length = EARTH_RADIUS * np.sqrt(2 * np.log(10) / (40 * 41))
    np.testing.assert_allclose(
        degree_weights("exponential", 40, order=2), degree_weights("gaussian", 40, length=length), rtol=1e-12
    )


def test_truncation_shares_the_weights(field: Fields, wind: Any) -> None:
    da = field(POLES)
    for taper in ("exponential", "lanczos"):
        np.testing.assert_array_equal(da.atmo.truncate(9, taper=taper), da.atmo.filter(taper, lmax=9))
    np.testing.assert_array_equal(da.atmo.truncate(9), da.atmo.filter(lmax=9))


def test_dataset_encoding_and_the_rest(wind: Any, field: Fields) -> None:
    t = field(POLES).assign_attrs(valid_range=[0, 1])
    t.encoding = {"scale_factor": 0.1, "dtype": "int16", "zlib": True}
    ds = wind(POLES).assign(t=t, index=("time", [1, 2, 3])).assign_attrs(title="x")
    out = ds.atmo.filter("gaussian", length=1e6)
    assert list(out.data_vars) == list(ds.data_vars)
    xr.testing.assert_identical(out["index"], ds["index"])
    assert out["t"].encoding == {"zlib": True}
    assert "valid_range" not in out["t"].attrs
    assert out.attrs["title"] == "x"
    assert out.attrs["history"].endswith("filter(kind='gaussian', length=1000000.0)")
    integers = ds[["t"]].astype("i4").atmo.filter(lmax=3)
    assert integers["t"].dtype == np.float64


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_lazy(wind: Any, field: Fields, no_compute: Any, dtype: str) -> None:
    ds = wind(POLES, dtype=dtype).assign(t=field(POLES, dtype=dtype))
    with no_compute():
        lazy = ds.chunk(time=1)
        out = lazy.atmo.filter("lanczos", lmax=9)
        coefficients = lazy[["t"]].atmo.to_spectral().atmo.filter("lanczos", lmax=9)
    expected = ds.atmo.filter("lanczos", lmax=9)
    for name in ds.data_vars:
        assert out[name].chunksizes["time"] == (1, 1, 1)
        assert out[name].dtype == expected[name].dtype == np.dtype(dtype)
        np.testing.assert_array_equal(out[name], expected[name])
    assert coefficients["t"].dtype == (np.complex64 if dtype == "f4" else np.complex128)
    back = coefficients.atmo.to_grid(POLES)
    np.testing.assert_allclose(back["t"], expected["t"], atol=1e-4 if dtype == "f4" else 1e-12)


def test_weights_are_kept_and_read_only() -> None:
    weights = degree_weights("lanczos", 8)
    assert weights is degree_weights("lanczos", 8)
    assert not weights.flags.writeable


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "match"),
        [
            ({}, "filter came without bounds"),
            ({"kind": "box", "lmax": 3}, r"kind='box' came; wanted one of \('sharp'"),
            ({"kind": "gaussian"}, "came without length="),
            ({"lmax": 3, "length": 1e6}, "length=1000000.0 came with kind='sharp'; it belongs to kind='gaussian'"),
            ({"kind": "lanczos", "order": 4}, "order=4 came with kind='lanczos'; it belongs to kind='exponential'"),
            ({"kind": "exponential", "damping": 1.0}, "damping=1.0 came; wanted a number between 0 and 1"),
            ({"kind": "exponential", "order": -2}, "order=-2 came; wanted a number, more than 0"),
            ({"kind": "exponential", "order": "high"}, "order='high' came; wanted a number, more than 0"),
            ({"kind": "gaussian", "length": "500 km"}, "length='500 km' came; wanted metres, more than 0"),
            ({"min_wavelength": "1e6"}, "min_wavelength='1e6' came; wanted metres, more than 0"),
            ({"kind": "gaussian", "length": np.nan}, "length=nan came"),
            ({"lmax": 3, "min_wavelength": 1e6}, "lmax=3 and min_wavelength=1000000.0 came; they bound the same end"),
            ({"lmin": 3, "max_wavelength": 1e6}, "lmin=3 and max_wavelength=1000000.0 came; they bound the same end"),
            ({"min_wavelength": 0.0}, "min_wavelength=0.0 came; wanted metres"),
            ({"lmin": 5, "lmax": 4}, "degrees 5 to 4 are to be kept, of 0 to 17: none"),
            ({"lmin": 18}, "degrees 18 to 17 are to be kept"),
            ({"max_wavelength": 1e3}, "are to be kept, of 0 to 17: none"),
            ({"lmin": 1.5}, "lmin=1.5 came; wanted an integer"),
            ({"lmax": -1}, "lmax=-1 came; wanted an integer"),
            ({"lmax": 18}, "lmax=18 came, but"),
            ({"lmax": 3, "radius": -1}, "radius=-1 came; wanted metres"),
        ],
    )
    def test_options(self, options: dict[str, Any], match: str, field: Fields) -> None:
        with pytest.raises(OptionError, match=match):
            field(POLES).atmo.filter(**options)

    def test_regional_chunked_complex(self, field: Fields) -> None:
        da = field(POLES)
        with pytest.raises(GridError, match="filter needs a global grid"):
            da[:, 3:9].atmo.filter(lmax=3)
        with pytest.raises(ChunkError, match="filter needs"):
            da.chunk(latitude=5).atmo.filter(lmax=3)
        with pytest.raises(DimensionError, match="filter needs real fields"):
            (da + 1j).atmo.filter(lmax=3)

    @pytest.mark.parametrize("lazy", [False, True])
    def test_missing_values(self, lazy: bool, field: Fields) -> None:
        da = field(POLES)
        da[0, 3, 3] = np.nan
        da = da.chunk(time=1) if lazy else da
        with pytest.raises(MissingValueError, match="filter met 1 missing .* 't'"):
            da.atmo.filter(lmax=3).compute()
