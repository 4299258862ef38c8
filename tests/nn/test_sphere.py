"""The torch transforms by themselves: derivatives, tables, precision, errors."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from xatmo.errors import DimensionError, OptionError
from xatmo.nn import _legendre
from xatmo.nn.sphere import SphericalHarmonics


def transforms() -> dict[str, SphericalHarmonics]:
    kwargs: Any = {"dtype": torch.float64}
    lat = np.radians(np.linspace(10, 180, 18))
    return {
        "gaussian": SphericalHarmonics.gaussian(6, 12, 5, **kwargs),
        "poles": SphericalHarmonics.regular(7, 12, 5, **kwargs),
        "poles, even": SphericalHarmonics.regular(8, 14, 6, **kwargs),
        "no poles": SphericalHarmonics.regular(6, 12, 5, poles=False, **kwargs),
        "not symmetric": SphericalHarmonics(
            lat, 0.3 + 2 * np.pi * np.arange(12) / 12, 4, weights=np.full(18, 1 / 18), **kwargs
        ),
        "south to north": SphericalHarmonics(np.linspace(math.pi, 0, 7), 2 * np.pi * np.arange(12) / 12, 5, **kwargs),
    }


TRANSFORMS = transforms()


@pytest.fixture(params=list(TRANSFORMS))
def transform(request: pytest.FixtureRequest) -> SphericalHarmonics:
    return TRANSFORMS[request.param]


def random_coefficients(lmax: int, *lead: int, wind: bool = False) -> torch.Tensor:
    generator = torch.Generator().manual_seed(lmax)
    out = torch.randn(*lead, lmax + 1, lmax + 1, dtype=torch.complex128, generator=generator).tril()
    out[..., 0] = out[..., 0].real.to(out.dtype)
    if wind:
        out[..., 0, :] = 0
    return out


def exact(transform: SphericalHarmonics) -> bool:
    return transform is not TRANSFORMS["not symmetric"]  # whose equal weights integrate nothing exactly


def test_round_trip(transform: SphericalHarmonics) -> None:
    coefficients = random_coefficients(transform.lmax, 2, 3)
    field = transform.synthesis(coefficients)
    assert field.shape == (2, 3, transform.nlat, transform.nlon)
    if exact(transform):
        torch.testing.assert_close(transform.analysis(field), coefficients, atol=1e-13, rtol=0)


def test_vector_round_trip(transform: SphericalHarmonics) -> None:
    parts = [
        random_coefficients(transform.lmax, 2, wind=True),
        random_coefficients(transform.lmax, 2, wind=True).conj(),
    ]
    u, v = transform.synthesis_vector(*parts)
    if exact(transform):
        for again, part in zip(transform.analysis_vector(u, v), parts, strict=True):
            torch.testing.assert_close(again, part, atol=1e-13, rtol=0)


def test_gradients(transform: SphericalHarmonics) -> None:
    field = torch.randn(2, transform.nlat, transform.nlon, dtype=torch.float64, requires_grad=True)
    other = torch.randn(2, transform.nlat, transform.nlon, dtype=torch.float64, requires_grad=True)
    coefficients = random_coefficients(transform.lmax, 2).requires_grad_()
    second = random_coefficients(transform.lmax, 2).requires_grad_()
    options: Any = {"atol": 1e-7, "fast_mode": True}
    assert torch.autograd.gradcheck(transform.analysis, (field,), **options)
    assert torch.autograd.gradcheck(transform.synthesis, (coefficients,), **options)
    assert torch.autograd.gradcheck(transform.analysis_vector, (field, other), **options)
    assert torch.autograd.gradcheck(transform.synthesis_vector, (coefficients, second), **options)
    assert torch.autograd.gradgradcheck(transform.analysis, (field,), **options)
    assert torch.autograd.gradgradcheck(transform.synthesis, (coefficients,), **options)


def test_same_numbers_with_and_without_gradient(transform: SphericalHarmonics) -> None:
    field = torch.randn(transform.nlat, transform.nlon, dtype=torch.float64)
    tracked = transform.analysis(field.clone().requires_grad_())
    torch.testing.assert_close(tracked.detach(), transform.analysis(field), atol=1e-15, rtol=0)


def test_gradient_of_the_mean_square_is_the_field() -> None:
    """By Parseval, half the power's gradient with respect to the field is the field times the area of its cell."""
    transform = SphericalHarmonics.gaussian(8, 16, 7, dtype=torch.float64)
    field = transform.synthesis(random_coefficients(7)).requires_grad_()
    coefficients = transform.analysis(field)
    count = torch.full((8,), 2.0, dtype=torch.float64)
    count[0] = 1
    (coefficients.abs() ** 2 * count).sum().backward()  # type: ignore[no-untyped-call]
    weights = torch.tensor(_legendre_weights(8)) / 16
    assert field.grad is not None
    torch.testing.assert_close(field.grad / 2, field.detach() * weights[:, None], atol=1e-14, rtol=0)


def _legendre_weights(n: int) -> Any:
    from xatmo._quadrature import gauss_legendre

    return gauss_legendre(n)[1].copy()


def test_legendre_functions_are_orthonormal_at_degree_1279() -> None:
    """Orders whose first values lie far below the smallest float64 included."""
    from xatmo._quadrature import gauss_legendre

    colatitude, weights = gauss_legendre(1280)
    half = slice(0, 640)
    cosine, sine = np.cos(colatitude[half]), np.sin(colatitude[half])
    mantissa, exponent = _legendre.sectoral(sine, 1279)
    assert exponent.min() < -1100
    for order in (0, 1, 640, 1100, 1279):
        m = np.array([[order]])
        rows = slice(order, order + 1)
        tables = _legendre._block(cosine, m, 1279, mantissa[rows], exponent[rows])
        for table in tables:
            values = table[0]
            assert np.isfinite(values).all()
            np.testing.assert_allclose(2 * (values * weights[half]) @ values.T, np.eye(len(values)), atol=2e-12)


def test_tables_of_the_quarter_degree_grid_fit() -> None:
    """719 degrees on 721 rows take less than 0.4 GB in float32, counted without making them."""
    rows, lmax, width = 361, 719, 16
    numbers = 0
    for parity in (0, 1):
        for first in range(parity, lmax + 1, 2 * width):
            orders = len(range(first, min(first + 2 * width, lmax + 1), 2))
            numbers += orders * rows * (lmax - first + 1)
    assert 4 * numbers < 0.4e9


def test_single_precision_and_casting() -> None:
    double = SphericalHarmonics.regular(37, 72, 35, dtype=torch.float64)
    single = SphericalHarmonics.regular(37, 72, 35)
    coefficients = random_coefficients(35)
    field = single.synthesis(coefficients)
    assert field.dtype == torch.float32
    scale = field.std().item()
    torch.testing.assert_close(field.double(), double.synthesis(coefficients), atol=3e-6 * scale, rtol=0)
    assert single.analysis(field.double()).dtype == torch.complex64


def test_autocast_does_not_touch_the_transform() -> None:
    transform = SphericalHarmonics.gaussian(8, 16, 7)
    field = torch.randn(8, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = transform.analysis(field)
    torch.testing.assert_close(out, transform.analysis(field), atol=0, rtol=0)


def test_no_state_and_movable() -> None:
    transform = SphericalHarmonics.gaussian(8, 16, 7)
    assert not transform.state_dict()
    assert transform.to("cpu").table_bytes > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_same_numbers_on_the_gpu() -> None:
    transform = SphericalHarmonics.regular(73, 144, 71, dtype=torch.float64)
    coefficients = random_coefficients(71, 2)
    here = transform.synthesis(coefficients)
    there = transform.cuda()
    torch.testing.assert_close(there.synthesis(coefficients.cuda()).cpu(), here, atol=1e-11, rtol=0)
    torch.testing.assert_close(there.analysis(here.cuda()).cpu(), coefficients, atol=1e-11, rtol=0)


def test_neither_xarray_nor_dask() -> None:
    code = "import sys, xatmo.nn._legendre as a; sys.exit(0)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    for module in ("sphere", "_legendre"):
        source = __import__("importlib").import_module(f"xatmo.nn.{module}").__file__
        text = Path(source).read_text()
        assert "import xarray" not in text
        assert "dask" not in text


class TestErrors:
    def test_dtype(self) -> None:
        with pytest.raises(OptionError, match=r"dtype=torch.float16 came; wanted torch.float32 or torch.float64"):
            SphericalHarmonics.gaussian(8, 16, 7, dtype=torch.float16)

    def test_lmax(self) -> None:
        with pytest.raises(OptionError, match="lmax=-1 came; wanted 0 or more"):
            SphericalHarmonics.gaussian(8, 16, -1)

    def test_axes(self) -> None:
        with pytest.raises(DimensionError, match="wanted one dimension each"):
            SphericalHarmonics(np.zeros((2, 2)), np.zeros(4), 1)

    def test_weights(self) -> None:
        with pytest.raises(DimensionError, match=r"weights of shape \(3,\) came; wanted one for each of the 4 rows"):
            SphericalHarmonics(np.linspace(0, 3, 4), np.zeros(4), 1, weights=np.ones(3))

    def test_field_shape(self) -> None:
        with pytest.raises(DimensionError, match=r"\(8, 15\) came; wanted \(..., 8, 16\)"):
            SphericalHarmonics.gaussian(8, 16, 7).analysis(torch.zeros(8, 15))

    def test_coefficient_shape(self) -> None:
        with pytest.raises(DimensionError, match=r"\(7, 8\) came; wanted \(..., 8, 8\)"):
            SphericalHarmonics.gaussian(8, 16, 7).synthesis(torch.zeros(7, 8))

    def test_components_differ(self) -> None:
        transform = SphericalHarmonics.gaussian(8, 16, 7)
        with pytest.raises(DimensionError, match="wanted the same"):
            transform.analysis_vector(torch.zeros(8, 16), torch.zeros(1, 8, 16))
        with pytest.raises(DimensionError, match="wanted the same shape"):
            transform.synthesis_vector(torch.zeros(8, 8), torch.zeros(1, 8, 8))

    @pytest.mark.parametrize(("colatitude", "nlon"), [(np.linspace(0.3, 2.9, 9), 16), (np.linspace(0, math.pi, 9), 14)])
    def test_synthesis_only(self, colatitude: Any, nlon: int) -> None:
        transform = SphericalHarmonics(colatitude, 2 * np.pi * np.arange(nlon) / nlon, 7)
        assert transform.synthesis(torch.zeros(8, 8)).shape == (9, nlon)
        with pytest.raises(OptionError, match="allows synthesis only at lmax=7"):
            transform.analysis(torch.zeros(9, nlon))


def test_first_use_without_gradients_does_not_spoil_training() -> None:
    transform = SphericalHarmonics.gaussian(8, 16, lmax=7, dtype=torch.float64)
    u = torch.randn(8, 16, dtype=torch.float64)
    with torch.inference_mode():
        expected = transform.analysis_vector(u, u)[0]
    u.requires_grad_(True)
    got = transform.analysis_vector(u, u)[0]
    got.abs().square().sum().backward()
    assert torch.allclose(got.detach(), expected)
    assert u.grad is not None


class TestRowsAndPoints:
    def test_rows_alone_are_the_transform_without_its_waves(self, transform: SphericalHarmonics) -> None:
        coefficients = random_coefficients(transform.lmax, 2)
        waves = transform.legendre_synthesis(coefficients)
        assert waves.shape == (2, transform.lmax + 1, transform.nlat)
        field = transform.synthesis(coefficients)
        expected = torch.fft.rfft(field, norm="forward")[..., : transform.lmax + 1]
        if transform.phase is not None:
            expected = expected * transform.phase.conj()
        torch.testing.assert_close(waves, expected.mT, atol=1e-13, rtol=0)
        rows = SphericalHarmonics(transform.colatitude, None, transform.lmax, dtype=torch.float64)
        torch.testing.assert_close(rows.legendre_synthesis(coefficients), waves, atol=1e-13, rtol=0)
        torch.testing.assert_close(transform.legendre_analysis(waves), transform.analysis(field), atol=1e-13, rtol=0)

    def test_the_unweighted_sum_is_the_adjoint(self, transform: SphericalHarmonics) -> None:
        x = random_coefficients(transform.lmax, 2)
        y = torch.randn(2, transform.lmax + 1, transform.nlat, dtype=torch.complex128)
        left = torch.vdot(transform.legendre_synthesis(x).flatten(), y.flatten())
        right = torch.vdot(x.flatten(), transform.legendre_analysis(y, weighted=False).flatten())
        torch.testing.assert_close(left, right, atol=1e-12, rtol=0)

    def test_points_on_the_grid_are_the_grid(self, transform: SphericalHarmonics) -> None:
        coefficients = random_coefficients(transform.lmax, 2, wind=True)
        other = random_coefficients(transform.lmax, 2, wind=True).conj()
        turn = 0.0 if transform.phase is None else torch.angle(transform.phase[1]).item()
        longitude = turn + 2 * math.pi * torch.arange(transform.nlon, dtype=torch.float64) / transform.nlon
        theta, phi = torch.meshgrid(transform.colatitude, longitude, indexing="ij")
        place: Any = theta.flatten(), phi.flatten()
        for block in (None, 7):
            got = transform.at_points(coefficients, *place, block=block)
            torch.testing.assert_close(got, transform.synthesis(coefficients).flatten(1), atol=1e-12, rtol=0)
            winds = transform.at_points_vector(coefficients, other, *place, block=block)
            for one, expected in zip(winds, transform.synthesis_vector(coefficients, other), strict=True):
                torch.testing.assert_close(one, expected.flatten(1), atol=1e-12, rtol=0)

    def test_points_are_differentiable(self) -> None:
        transform = TRANSFORMS["gaussian"]
        coefficients = random_coefficients(5, 2).requires_grad_()
        theta = torch.tensor([0.3, 1.2, 2.9], dtype=torch.float64, requires_grad=True)
        phi = torch.tensor([0.0, 4.0, 9.0], dtype=torch.float64, requires_grad=True)
        for block in (None, 2):

            def at(x: Any, t: Any, p: Any, block: int | None = block) -> Any:
                return transform.at_points(x, t, p, block=block)

            def wind(x: Any, t: Any, p: Any, block: int | None = block) -> Any:
                return transform.at_points_vector(x, x, t, p, block=block)

            assert torch.autograd.gradcheck(at, (coefficients, theta, phi))
            assert torch.autograd.gradcheck(wind, (coefficients, theta, phi))
        assert torch.autograd.gradgradcheck(lambda x, t: transform.at_points(x, t, phi.detach()), (coefficients, theta))

    def test_no_points(self) -> None:
        out = TRANSFORMS["poles"].at_points(random_coefficients(5, 3), torch.zeros(0), torch.zeros(0))
        assert out.shape == (3, 0)

    def test_single_precision_at_a_high_degree(self) -> None:
        generator = torch.Generator().manual_seed(0)
        coefficients = random_coefficients(200)
        theta = torch.rand(50, dtype=torch.float64, generator=generator) * math.pi
        phi = torch.rand(50, dtype=torch.float64, generator=generator) * 2 * math.pi
        double = SphericalHarmonics.regular(202, 404, 200, dtype=torch.float64).at_points(coefficients, theta, phi)
        single = SphericalHarmonics.regular(202, 404, 200).at_points(coefficients, theta, phi)
        torch.testing.assert_close(single.double(), double, atol=3e-6 * double.std().item(), rtol=0)

    def test_refusals(self) -> None:
        transform, x = TRANSFORMS["poles"], random_coefficients(5)
        with pytest.raises(DimensionError, match=r"wanted one of each for every point, \(npoints,\) both"):
            transform.at_points(x, torch.zeros(3), torch.zeros(2))
        with pytest.raises(OptionError, match="block=0 came; wanted the number of points at a time"):
            transform.at_points(x, torch.zeros(3), torch.zeros(3), block=0)
        with pytest.raises(DimensionError, match=r"waves of shape \(3, 7\) came; wanted \(..., 6, 7\)"):
            transform.legendre_analysis(torch.zeros(3, 7))
        rows = SphericalHarmonics(np.linspace(0.3, 2.9, 9), None, 5)
        with pytest.raises(OptionError, match="these rows have no quadrature weights"):
            rows.legendre_analysis(torch.zeros(6, 9))
        with pytest.raises(OptionError, match=r"no columns \(longitude=None\); use legendre_synthesis"):
            rows.synthesis(torch.zeros(6, 6))
