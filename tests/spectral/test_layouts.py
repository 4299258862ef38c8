from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xatmo import Grid
from xatmo.errors import DimensionError
from xatmo.spectral import _kernels, layouts

PAIRS = {
    "pyshtools": (layouts.to_pyshtools, layouts.from_pyshtools),
    "triangular": (layouts.to_triangular, layouts.from_triangular),
    "ecmwf": (layouts.to_ecmwf, layouts.from_ecmwf),
}


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize("pair", PAIRS.values(), ids=list(PAIRS))
def test_there_and_back(pair: Any, dtype: Any, random_coefficients: Any) -> None:
    to, back = pair
    coefficients = random_coefficients(7, 2, 3, dtype=dtype)
    again = back(to(coefficients))
    assert again.dtype == dtype
    np.testing.assert_allclose(again, coefficients, rtol=2e-7)


@pytest.mark.parametrize("pair", PAIRS.values(), ids=list(PAIRS))
def test_entries_above_the_diagonal_are_dropped(pair: Any, random_coefficients: Any) -> None:
    coefficients = random_coefficients(4)
    full = coefficients + np.triu(np.ones_like(coefficients), 1)
    np.testing.assert_array_equal(pair[0](full), pair[0](coefficients))


def test_pyshtools(random_coefficients: Any) -> None:
    pyshtools = pytest.importorskip("pyshtools")
    coefficients = random_coefficients(9)
    grid = Grid.from_latlon(90 - 180 / 22 * np.arange(22), 360 / 44 * np.arange(44))
    other = pyshtools.SHCoeffs.from_array(layouts.to_pyshtools(coefficients), normalization="4pi", csphase=1)
    lat, lon = np.meshgrid(grid.latitude, grid.longitude, indexing="ij")
    np.testing.assert_allclose(other.expand(lat=lat, lon=lon), _kernels.synthesis(coefficients, grid), atol=1e-11)
    np.testing.assert_allclose(other.spectrum(), _kernels.power(coefficients), rtol=1e-12)
    sampled = pyshtools.SHGrid.from_array(np.ascontiguousarray(_kernels.synthesis(coefficients, grid)))
    back = layouts.from_pyshtools(sampled.expand(normalization="4pi", csphase=1).to_array())
    np.testing.assert_allclose(back[:10, :10], coefficients, atol=1e-12)


def test_ducc0(random_coefficients: Any) -> None:
    ducc0 = pytest.importorskip("ducc0")
    coefficients = random_coefficients(9)
    grid = Grid.gaussian(10)
    alm = layouts.to_triangular(coefficients)[None]
    field = ducc0.sht.synthesis_2d(alm=alm, spin=0, lmax=9, geometry="GL", ntheta=10, nphi=20)[0]
    np.testing.assert_allclose(field, _kernels.synthesis(coefficients, grid, "torch"), atol=1e-11)


def test_order_of_the_triangle() -> None:
    coefficients = np.array([[1, 0, 0], [2, 4, 0], [3, 5, 6]], complex)
    np.testing.assert_array_equal(layouts.to_ecmwf(coefficients)[::2], [1, 2, 3, 4, 5, 6])
    signs = layouts.to_triangular(coefficients) / np.sqrt(4 * np.pi)
    np.testing.assert_allclose(signs, [1, 2, 3, -4, -5, 6])


@pytest.mark.parametrize("function", [layouts.to_pyshtools, layouts.to_triangular, layouts.to_ecmwf])
def test_not_square(function: Any) -> None:
    with pytest.raises(DimensionError, match=r"shape \(3, 4\) came; wanted \(..., lmax \+ 1, lmax \+ 1\)"):
        function(np.zeros((3, 4)))


def test_wrong_sizes() -> None:
    with pytest.raises(DimensionError, match=r"shape \(3, 4, 4\) came; wanted \(..., 2, lmax \+ 1, lmax \+ 1\)"):
        layouts.from_pyshtools(np.zeros((3, 4, 4)))
    with pytest.raises(DimensionError, match="5 coefficients came"):
        layouts.from_triangular(np.zeros(5))
    with pytest.raises(DimensionError, match="0 coefficients came"):
        layouts.from_ecmwf(np.zeros(5))
