from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xatmo import Grid
from xatmo.errors import DimensionError, OptionError
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


# ---------------------------------------------------------------------- norms
NORMS = [(norm, phase) for norm in layouts.NORMS for phase in (1, -1)]


@pytest.mark.parametrize(("norm", "csphase"), NORMS)
def test_norms_are_those_of_pyshtools(norm: str, csphase: int, random_coefficients: Any) -> None:
    pyshtools = pytest.importorskip("pyshtools")
    coefficients = random_coefficients(12)
    ours = layouts.to_pyshtools(coefficients, norm=norm, csphase=csphase)
    theirs = pyshtools.SHCoeffs.from_array(layouts.to_pyshtools(coefficients), normalization="4pi", csphase=1)
    np.testing.assert_allclose(ours, theirs.to_array(normalization=norm, csphase=csphase), rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(layouts.from_pyshtools(ours, norm=norm, csphase=csphase), coefficients, rtol=1e-12)
    # the same field, evaluated by pyshtools from coefficients in that norm
    again = pyshtools.SHCoeffs.from_array(ours, normalization=norm, csphase=csphase)
    lat, lon = np.array([10.0, -35.0]), np.array([20.0, 300.0])
    np.testing.assert_allclose(again.expand(lat=lat, lon=lon), theirs.expand(lat=lat, lon=lon), rtol=1e-10)


@pytest.mark.parametrize(("norm", "csphase"), NORMS)
def test_complex_norms(norm: str, csphase: int, random_coefficients: Any) -> None:
    pyshtools = pytest.importorskip("pyshtools")
    coefficients = random_coefficients(9)
    other = layouts.to_norm(coefficients, norm=norm, csphase=csphase)
    np.testing.assert_allclose(layouts.from_norm(other, norm=norm, csphase=csphase), coefficients, rtol=1e-12)
    real = pyshtools.SHCoeffs.from_array(layouts.to_pyshtools(coefficients), normalization="4pi", csphase=1)
    theirs = real.convert(kind="complex", normalization=norm, csphase=csphase).to_array()[0]  # orders m >= 0
    np.testing.assert_allclose(np.tril(other), theirs, rtol=1e-11, atol=1e-14)
    assert layouts.to_norm(coefficients.astype(np.complex64), norm=norm).dtype == np.complex64


def test_healpy_sums(random_coefficients: Any) -> None:
    """healpy's a(l, m): orthonormal harmonics with Condon-Shortley phase, here summed by scipy."""
    special = pytest.importorskip("scipy.special")
    coefficients, (colatitude, longitude) = random_coefficients(4), (0.7, 1.9)
    alm = iter(layouts.to_triangular(coefficients))
    total = 0.0
    for order in range(5):
        for degree in range(order, 5):
            harmonic = special.sph_harm_y(degree, order, colatitude, longitude)
            total += (1 if order == 0 else 2) * (next(alm) * harmonic).real
    grid = Grid.from_latlon([90 - np.degrees(colatitude), 0.0], np.degrees(longitude) + np.arange(3))
    np.testing.assert_allclose(_kernels.synthesis(coefficients, grid, "torch")[0, 0], total, rtol=1e-12)


def test_cut_while_unpacking(random_coefficients: Any) -> None:
    coefficients = random_coefficients(9, 2)
    np.testing.assert_array_equal(layouts.from_ecmwf(layouts.to_ecmwf(coefficients), lmax=5), coefficients[:, :6, :6])


def test_a_table_in_any_order(random_coefficients: Any) -> None:
    coefficients = random_coefficients(6)
    real = layouts.to_pyshtools(coefficients, norm="schmidt")
    rows = [(n, m, real[0, n, m], real[1, n, m], 0.1) for n in range(7) for m in range(n + 1)]
    np.testing.assert_allclose(layouts.from_table(rows[::-1], norm="schmidt"), coefficients, rtol=1e-12)


def test_earth_shape(shared_data: Any) -> None:
    """SHTOOLS' text file of the Earth's relief: 4-pi harmonics with sine terms, metres."""
    table = np.loadtxt(shared_data("srtmp300_earth_shape_spherical_harmonics.txt"), usecols=range(4))
    coefficients = layouts.from_table(table)
    assert coefficients.shape == (301, 301)
    assert np.sum(_kernels.power(coefficients)[:1]) == pytest.approx(table[0, 2] ** 2)
    np.testing.assert_allclose(np.sum(_kernels.power(coefficients)), np.sum(table[:, 2:4] ** 2), rtol=1e-12)
    relief = coefficients.copy()
    relief[0, 0] = 0
    field = _kernels.synthesis(relief, Grid.regular(91, 180))
    tibet, trench = field[28, 44], field[39, 71]  # 34 N 88 E, 12 N 142 E
    assert tibet > 5000 > 0 > trench
    assert np.unravel_index(np.argmax(field[:60]), (60, 180))[1] in range(36, 54)  # the highest land is in Asia


def test_unknown_norms() -> None:
    one = np.zeros((2, 2))
    with pytest.raises(OptionError, match=r"norm='8pi' came; wanted one of \('4pi', 'ortho', 'schmidt', 'unnorm'\)"):
        layouts.to_norm(one, norm="8pi")
    with pytest.raises(OptionError, match=r"csphase=0 came; wanted 1 .* or -1"):
        layouts.from_norm(one, csphase=0)
    with pytest.raises(OptionError, match="norm='unnorm' came with lmax=86; wanted lmax <= 85"):
        layouts.to_pyshtools(np.zeros((87, 87)), norm="unnorm")


def test_bad_tables() -> None:
    with pytest.raises(DimensionError, match=r"a table of shape \(1, 3\) came; wanted columns degree, order, cosine"):
        layouts.from_table([[0, 0, 1.0]])
    with pytest.raises(OptionError, match=r"row 1 is .*; wanted whole numbers 0 <= order <= degree"):
        layouts.from_table([[0, 0, 1.0, 0], [1, 2, 1.0, 0]])
