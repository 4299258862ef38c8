"""The mathematics of the transforms, on both engines and every kind of grid."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from xatmo import Grid
from xatmo.errors import DimensionError, GridError, MissingDependencyError, OptionError
from xatmo.spectral import _kernels

# P(n, m) as functions of mu = sin(lat) and c = cos(lat), half the integral of the square being 1, without the
# Condon-Shortley phase; from the table of Legendre functions, times sqrt((2 n + 1) (n - m)! / (n + m)!).
CLOSED_FORMS: dict[tuple[int, int], Callable[[Any, Any], Any]] = {
    (0, 0): lambda mu, c: np.ones_like(mu),
    (1, 0): lambda mu, c: np.sqrt(3) * mu,
    (1, 1): lambda mu, c: np.sqrt(3 / 2) * c,
    (2, 0): lambda mu, c: np.sqrt(5) * (3 * mu**2 - 1) / 2,
    (2, 1): lambda mu, c: np.sqrt(5 / 6) * 3 * mu * c,
    (2, 2): lambda mu, c: np.sqrt(5 / 24) * 3 * c**2,
    (3, 0): lambda mu, c: np.sqrt(7) * (5 * mu**3 - 3 * mu) / 2,
    (3, 1): lambda mu, c: np.sqrt(7 / 12) * 1.5 * (5 * mu**2 - 1) * c,
    (3, 2): lambda mu, c: np.sqrt(7 / 120) * 15 * mu * c**2,
    (3, 3): lambda mu, c: np.sqrt(7 / 720) * 15 * c**3,
    (4, 0): lambda mu, c: np.sqrt(9) * (35 * mu**4 - 30 * mu**2 + 3) / 8,
    (4, 1): lambda mu, c: np.sqrt(9 / 20) * 2.5 * (7 * mu**3 - 3 * mu) * c,
    (4, 2): lambda mu, c: np.sqrt(9 / 360) * 7.5 * (7 * mu**2 - 1) * c**2,
    (4, 3): lambda mu, c: np.sqrt(9 / 5040) * 105 * mu * c**3,
    (4, 4): lambda mu, c: np.sqrt(9 / 40320) * 105 * c**4,
}


def mesh(grid: Grid) -> tuple[Any, Any]:
    lat = np.pi / 2 - np.asarray(grid.colatitude)
    return lat[:, None] + 0 * grid.longitude, np.radians(grid.longitude) + 0 * lat[:, None]


@pytest.mark.parametrize(("n", "m"), CLOSED_FORMS)
def test_closed_forms(grid: Grid, engine: Any, n: int, m: int) -> None:
    lat, lon = mesh(grid)
    phase = 0.7
    legendre = CLOSED_FORMS[n, m](np.sin(lat), np.cos(lat))
    wave = np.cos(m * lon + phase) * (2 if m else 1 / np.cos(phase))
    expected = np.zeros((grid.lmax + 1, grid.lmax + 1), complex)
    expected[n, m] = np.exp(1j * phase) if m else 1
    np.testing.assert_allclose(_kernels.analysis(legendre * wave, grid, engine=engine), expected, atol=3e-14)
    np.testing.assert_allclose(_kernels.synthesis(expected, grid, engine), legendre * wave, atol=3e-13)


def test_harmonics_are_orthonormal(engine: Any) -> None:
    grid = Grid.gaussian(12)
    size = 8
    basis = np.zeros((size * size, size, size), complex)
    for k in range(size * size):
        n, m = divmod(k, size)
        if m <= n:
            basis[k, n, m] = 1 if m == 0 else 0.5 + 0.5j  # unit mean square
    fields = _kernels.synthesis(basis, grid, engine).reshape(size * size, -1)
    area = np.repeat(grid.weights / grid.nlon, grid.nlon)
    product = (fields * area) @ fields.T
    kept = np.array([k % size <= k // size for k in range(size * size)])
    np.testing.assert_allclose(product, np.diag(kept.astype(float)), atol=1e-13)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("lmax", [None, 5, 0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.complex128, 1e-13), (np.complex64, 2e-6)])
def test_round_trip(
    grid: Grid, engine: Any, lmax: int | None, dtype: Any, tolerance: float, order: Any, random_coefficients: Any
) -> None:
    lmax = grid.lmax if lmax is None else min(lmax, grid.lmax)
    coefficients = np.asarray(random_coefficients(lmax, 2, dtype=dtype), order=order)
    field = _kernels.synthesis(coefficients, grid, engine)
    again = _kernels.analysis(field, grid, lmax, engine)
    assert field.shape == (2, *grid.shape)
    assert field.dtype == coefficients.real.dtype
    assert again.dtype == dtype
    assert np.abs(again - coefficients).max() < tolerance
    assert not np.triu(again, 1).any()
    assert not again[..., 0].imag.any()


@pytest.mark.parametrize("lmax", [None, 5, 0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.complex128, 1e-13), (np.complex64, 2e-6)])
def test_vector_round_trip(
    grid: Grid, engine: Any, lmax: int | None, dtype: Any, tolerance: float, random_coefficients: Any
) -> None:
    lmax = grid.lmax if lmax is None else min(lmax, grid.lmax)
    parts = [random_coefficients(lmax, 2, seed=s, dtype=dtype, wind=True) for s in (1, 2)]
    u, v = _kernels.synthesis_vector(*parts, grid, engine)
    assert u.shape == v.shape == (2, *grid.shape)
    assert u.dtype == v.dtype == parts[0].real.dtype
    for again, part in zip(_kernels.analysis_vector(u, v, grid, lmax, engine), parts, strict=True):
        assert again.dtype == dtype
        assert np.abs(again - part).max() < tolerance
        assert not again[..., 0].imag.any()


@pytest.mark.skipif(find_spec("ducc0") is None, reason="ducc0 is not installed")
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.complex128, 1e-12), (np.complex64, 1e-6)])
def test_engines_agree(grid: Grid, dtype: Any, tolerance: float, random_coefficients: Any) -> None:
    lmax = grid.lmax
    first, second = (random_coefficients(lmax, 2, seed=s, dtype=dtype, wind=True) for s in (1, 2))
    rng = np.random.default_rng(3)
    fields = [rng.standard_normal(grid.shape).astype(first.real.dtype) for _ in range(2)]

    def results(engine: Any) -> list[Any]:
        return [
            _kernels.synthesis(first, grid, engine),
            *_kernels.synthesis_vector(first, second, grid, engine),
            _kernels.analysis(fields[0], grid, lmax, engine),
            *_kernels.analysis_vector(*fields, grid, lmax, engine),
        ]

    for a, b in zip(results("ducc0"), results("torch"), strict=True):
        assert np.sqrt(np.mean(np.abs(a - b) ** 2) / np.mean(np.abs(a) ** 2)) < tolerance


def test_coefficients_do_not_depend_on_how_many_are_asked_for(grid: Grid, engine: Any) -> None:
    """White noise, far from band-limited, included."""
    fields = np.random.default_rng(0).standard_normal((2, *grid.shape))
    whole = [_kernels.analysis(fields[0], grid, engine=engine), *_kernels.analysis_vector(*fields, grid, engine=engine)]
    for lmax in (0, 1, grid.lmax // 2):
        some = [
            _kernels.analysis(fields[0], grid, lmax, engine),
            *_kernels.analysis_vector(*fields, grid, lmax, engine),
        ]
        for a, b in zip(some, whole, strict=True):
            np.testing.assert_allclose(a, b[: lmax + 1, : lmax + 1], atol=1e-14)


@pytest.mark.skipif(find_spec("ducc0") is None, reason="ducc0 is not installed")
def test_engines_agree_at_high_degree(random_coefficients: Any) -> None:
    """T399 on a pole grid, twice what plain weights allow; first Legendre values there underflow."""
    grid = Grid.regular(401, 804)
    coefficients = random_coefficients(399)
    fields = [_kernels.synthesis(coefficients, grid, engine) for engine in _kernels.ENGINES]
    assert np.sqrt(np.mean((fields[0] - fields[1]) ** 2)) < 1e-12 * fields[0].std()
    for engine in _kernels.ENGINES:
        assert np.abs(_kernels.analysis(fields[0], grid, engine=engine) - coefficients).max() < 1e-11


def test_any_nodes(engine: Any, random_coefficients: Any) -> None:
    """Synthesis is the harmonic sum wherever the nodes lie: on a box, and on columns too few for the degree."""
    grid = Grid.regular(19, 36)
    coefficients, other = (random_coefficients(17, 2, seed=s, wind=True) for s in (1, 2))
    field = _kernels.synthesis(coefficients, grid, engine)
    u, v = _kernels.synthesis_vector(coefficients, other, grid, engine)
    boxes = {
        "box": (slice(3, 9), slice(5, 17)),
        "south to north": (slice(9, 3, -1), slice(5, 17)),
        "every 4th column": (slice(None), slice(None, None, 4)),
        "every 9th column": (slice(None), slice(None, None, 9)),
    }
    for rows, columns in boxes.values():
        small = Grid.from_latlon(grid.latitude[rows], grid.longitude[columns])
        expected = field[..., rows, columns]
        np.testing.assert_allclose(_kernels.synthesis(coefficients, small, engine), expected, atol=1e-11)
        got = _kernels.synthesis_vector(coefficients, other, small, engine)
        np.testing.assert_allclose(got, (u[..., rows, columns], v[..., rows, columns]), atol=1e-11)


def test_parseval(grid: Grid, engine: Any, random_coefficients: Any) -> None:
    """Power sums to the area mean of the square, for fields whose square the quadrature still integrates."""
    half = grid.lmax // 2
    area = grid.weights[:, None] / grid.nlon
    coefficients = random_coefficients(half)
    field = _kernels.synthesis(coefficients, grid, engine)
    power = _kernels.power(_kernels.analysis(field, grid, engine=engine))
    assert power.sum() == pytest.approx((field**2 * area).sum(), rel=1e-12)
    np.testing.assert_allclose(power[: half + 1], _kernels.power(coefficients), rtol=1e-11, atol=1e-12)
    parts = [random_coefficients(half, seed=s, wind=True) for s in (1, 2)]
    u, v = _kernels.synthesis_vector(*parts, grid, engine)
    total = sum(_kernels.power(p).sum() for p in _kernels.analysis_vector(u, v, grid, engine=engine))
    assert total == pytest.approx(((u**2 + v**2) * area).sum(), rel=1e-12)


def test_vorticity_of_solid_body_rotation(grid: Grid, engine: Any) -> None:
    """A planet's own rotation has the vorticity 2 Omega sin(lat), positive in the north."""
    lat, _ = mesh(grid)
    rotational, divergent = _kernels.analysis_vector(np.cos(lat), 0 * lat, grid, engine=engine)
    factor = _kernels.derivative_factor(grid.lmax, radius=1.0)[:, None]
    np.testing.assert_allclose(_kernels.synthesis(rotational * factor, grid, engine), 2 * np.sin(lat), atol=1e-12)
    assert np.abs(divergent).max() < 1e-14


def test_divergence_of_a_gradient(grid: Grid, engine: Any) -> None:
    """The gradient of sin(lat) is (0, cos(lat)); its divergence is the Laplacian, -2 sin(lat)."""
    lat, _ = mesh(grid)
    rotational, divergent = _kernels.analysis_vector(0 * lat, np.cos(lat), grid, engine=engine)
    factor = _kernels.derivative_factor(grid.lmax, radius=1.0)[:, None]
    np.testing.assert_allclose(_kernels.synthesis(divergent * factor, grid, engine), -2 * np.sin(lat), atol=1e-12)
    assert np.abs(rotational).max() < 1e-14


def test_derivatives_of_a_wave(engine: Any) -> None:
    """The wind of psi = cos(lat)^3 sin(lat) cos(3 lon) and of chi alike, by differentiation."""
    grid = Grid.gaussian(16)
    lat, lon = mesh(grid)
    c, s = np.cos(lat), np.sin(lat)
    d_lat = (c**4 - 3 * c**2 * s**2) * np.cos(3 * lon)
    d_lon = -3 * c**2 * s * np.sin(3 * lon)  # divided by cos(lat)
    laplacian = -20 * c**3 * s * np.cos(3 * lon)
    factor = _kernels.derivative_factor(grid.lmax, radius=1.0)[:, None]
    for u, v, part in ((-d_lat, d_lon, 0), (d_lon, d_lat, 1)):
        parts = _kernels.analysis_vector(u, v, grid, engine=engine)
        np.testing.assert_allclose(_kernels.synthesis(parts[part] * factor, grid, engine), laplacian, atol=1e-11)
        assert np.abs(parts[1 - part]).max() < 1e-14


@pytest.mark.parametrize(("given", "complex_type"), [("i4", "c16"), ("f2", "c8"), ("f4", "c8"), ("f8", "c16")])
def test_dtypes(engine: Any, given: str, complex_type: str) -> None:
    grid = Grid.gaussian(8)
    out = _kernels.analysis(np.ones(grid.shape, given), grid, engine=engine)
    assert out.dtype == complex_type
    assert out[0, 0] == pytest.approx(1, abs=1e-6)
    real = _kernels.synthesis(np.ones((3, 3), given), grid, engine)
    assert real.dtype == out.real.dtype


def test_vector_components_of_different_dtype_meet(engine: Any) -> None:
    grid = Grid.gaussian(8)
    rotational, _ = _kernels.analysis_vector(np.ones(grid.shape, "f4"), np.ones((2, *grid.shape)), grid, engine=engine)
    assert rotational.shape == (2, 8, 8)
    assert rotational.dtype == np.complex128
    u, _ = _kernels.synthesis_vector(rotational[0].astype("c8"), rotational, grid, engine)
    assert u.shape == (2, *grid.shape)


def test_read_only_and_strided_input(engine: Any) -> None:
    grid = Grid.gaussian(8)
    field = np.random.default_rng(0).standard_normal((*grid.shape[::-1], 2))
    expected = _kernels.analysis(np.ascontiguousarray(field.T), grid, engine=engine)
    field.flags.writeable = False
    np.testing.assert_allclose(_kernels.analysis(field.T, grid, engine=engine), expected, atol=1e-15)
    expected.flags.writeable = False
    np.testing.assert_allclose(_kernels.synthesis(expected, grid, engine).shape, (2, *grid.shape))


def test_parts_of_different_memory_order(engine: Any, random_coefficients: Any) -> None:
    first, second = (random_coefficients(6, seed=s, wind=True) for s in (1, 2))
    grid = Grid.gaussian(8)
    expected = _kernels.synthesis_vector(first, second, grid, engine)
    for pair in ((np.asfortranarray(first), second), (first, np.asfortranarray(second))):
        np.testing.assert_allclose(_kernels.synthesis_vector(*pair, grid, engine), expected, atol=1e-13)


def test_no_fields_at_all(engine: Any) -> None:
    grid = Grid.gaussian(8)
    assert _kernels.synthesis(np.empty((0, 4, 4), complex), grid, engine).shape == (0, 8, 16)
    assert _kernels.analysis(np.empty((0, 8, 16)), grid, 3, engine).shape == (0, 4, 4)
    assert _kernels.power(np.empty((0, 4, 4), complex)).shape == (0, 4)


def test_power_of_single_precision_is_summed_in_double() -> None:
    coefficients = np.tril(np.ones((600, 600), np.complex64))
    assert _kernels.power(coefficients).dtype == np.float32
    np.testing.assert_array_equal(_kernels.power(coefficients), 1 + 2 * np.arange(600, dtype=np.float32))


class TestErrors:
    def test_lmax_above_what_the_grid_resolves(self) -> None:
        with pytest.raises(OptionError, match=r"lmax=18 came, but <Grid regular 19 x 36.*up to 17 exactly"):
            _kernels.resolve_lmax(Grid.regular(19, 36), 18)

    @pytest.mark.parametrize("lmax", [-1, 2.5, "63"])
    def test_lmax_no_degree(self, lmax: Any) -> None:
        with pytest.raises(OptionError, match="wanted an integer from 0 up"):
            _kernels.resolve_lmax(Grid.regular(19, 36), lmax)

    def test_numpy_integers_are_degrees(self) -> None:
        assert _kernels.resolve_lmax(Grid.regular(19, 36), np.int32(5)) == 5  # type: ignore[arg-type]

    def test_regional(self) -> None:
        box = Grid.from_latlon(np.arange(10.0), np.arange(20.0))
        with pytest.raises(GridError, match="needs a global grid; this one is regional"):
            _kernels.analysis(np.zeros(box.shape), box)

    def test_shape(self) -> None:
        grid = Grid.gaussian(8)
        with pytest.raises(DimensionError, match=r"shape \(16, 8\) came; wanted \(..., 8, 16\)"):
            _kernels.analysis(np.zeros((16, 8)), grid)
        with pytest.raises(DimensionError, match=r"shape \(3, 4\) came; wanted \(..., lmax \+ 1, lmax \+ 1\)"):
            _kernels.synthesis(np.zeros((3, 4)), grid)

    def test_engine(self) -> None:
        with pytest.raises(OptionError, match="engine='fftw' came; wanted one of"):
            _kernels.choose_engine("fftw")

    def test_engine_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "ducc0", None)
        with pytest.raises(MissingDependencyError, match=r"engine='ducc0' needs the package 'ducc0'.*xatmo\[fast\]"):
            _kernels.choose_engine("ducc0")

    def test_torch_where_ducc0_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("xatmo.optional.available", lambda module: False)
        assert _kernels.choose_engine(None) == "torch"

    def test_errors_pickle(self) -> None:
        error = OptionError("lmax=18 came")
        assert str(pickle.loads(pickle.dumps(error))) == str(error)
