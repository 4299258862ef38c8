"""The torch transforms by themselves: derivatives, tables, precision, errors."""

from __future__ import annotations

import copy
import math
import pickle
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
from xatmo.nn.sphere_modules import Analysis, ScaleDegrees, Synthesis, VectorAnalysis, VectorSynthesis


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


class TestAsModules:
    def test_nothing_is_saved_or_broadcast(self) -> None:
        transform = SphericalHarmonics.gaussian(8, 16, 7)
        assert not transform.state_dict()
        assert not list(transform.buffers())
        assert not list(transform.parameters())

    def test_double_computes_the_tables_anew(self) -> None:
        transform = torch.nn.Sequential(SphericalHarmonics.regular(19, 36, 17)).double()[0]
        assert isinstance(transform, SphericalHarmonics)
        expected = SphericalHarmonics.regular(19, 36, 17, dtype=torch.float64)
        x = random_coefficients(17)
        torch.testing.assert_close(transform.synthesis(x), expected.synthesis(x), atol=0, rtol=0)
        torch.testing.assert_close(transform.analysis(transform.synthesis(x)), x, atol=1e-13, rtol=0)
        single = transform.float()
        assert single.synthesis(x).dtype == torch.float32
        assert single.colatitude.dtype == torch.float32

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision_keeps_the_tables(self, dtype: torch.dtype) -> None:
        transform = SphericalHarmonics(np.linspace(0, math.pi, 9), 0.1 + 2 * np.pi * np.arange(16) / 16, 7).to(dtype)
        field = torch.randn(3, 9, 16).to(dtype)
        coefficients = transform.analysis(field)
        assert coefficients.dtype == torch.complex64
        assert transform.synthesis(coefficients).dtype == torch.float32
        torch.testing.assert_close(coefficients, transform.analysis(field.float()), atol=0, rtol=0)
        field.requires_grad_()
        transform.analysis(field).abs().square().sum().backward()  # type: ignore[no-untyped-call]
        assert field.grad is not None
        assert field.grad.dtype == dtype

    def test_phase_survives_conversions(self) -> None:
        """A complex tensor must not lose its imaginary part when the module becomes float64."""
        transform = TRANSFORMS["not symmetric"]
        again = copy.deepcopy(transform).float().double()
        x = random_coefficients(4)
        torch.testing.assert_close(again.synthesis(x), transform.synthesis(x), atol=0, rtol=0)
        assert transform.dtype == torch.float64

    def test_copies(self, transform: SphericalHarmonics, tmp_path: Path) -> None:
        x = random_coefficients(transform.lmax)
        torch.save(transform, tmp_path / "transform.pt")
        for other in (
            copy.deepcopy(transform),
            pickle.loads(pickle.dumps(transform)),
            torch.load(tmp_path / "transform.pt", weights_only=False),
        ):
            torch.testing.assert_close(other.synthesis(x), transform.synthesis(x), atol=0, rtol=0)

    @pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # the compiler looks at it
    @pytest.mark.parametrize("backend", ["eager", "aot_eager"])
    def test_compiled(self, backend: str) -> None:
        transform = SphericalHarmonics.gaussian(8, 16, 7)
        network = torch.nn.Sequential(Analysis(transform), ScaleDegrees(3, 7), Synthesis(transform))
        field = torch.randn(2, 3, 8, 16)
        compiled = torch.compile(network, backend=backend)
        torch.testing.assert_close(compiled(field), network(field))
        compiled(field).square().sum().backward()
        assert network[1].factors.grad is not None

    def test_distributed(self) -> None:
        import torch.distributed as dist

        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        try:
            transform = SphericalHarmonics.gaussian(8, 16, 7)
            network = torch.nn.Sequential(Analysis(transform), ScaleDegrees(3, 7), Synthesis(transform))
            parallel = torch.nn.parallel.DistributedDataParallel(network)
            field = torch.randn(2, 3, 8, 16)
            parallel(field).square().sum().backward()
            assert torch.equal(parallel(field), network(field))
        finally:
            dist.destroy_process_group()

    def test_vectors(self, transform: SphericalHarmonics) -> None:
        coefficients = torch.stack([random_coefficients(transform.lmax, 2, wind=True)] * 2, 1)
        wind = VectorSynthesis(transform)(coefficients)
        assert wind.shape == (2, 2, transform.nlat, transform.nlon)
        if exact(transform):
            torch.testing.assert_close(VectorAnalysis(transform)(wind), coefficients, atol=1e-13, rtol=0)
        with pytest.raises(DimensionError, match=r"shape \(3, 4\) came; wanted \(..., 2, a, b\)"):
            VectorAnalysis(transform)(torch.zeros(3, 4))

    @pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # torch.func's own
    def test_transforms_of_functions(self) -> None:
        """Forward-mode derivatives and vmap."""
        transform = TRANSFORMS["poles"]
        field, other = torch.randn(2, 3, 7, 12, dtype=torch.float64)
        value, tangent = torch.func.jvp(transform.analysis, (field,), (other,))
        torch.testing.assert_close(value, transform.analysis(field))
        torch.testing.assert_close(tangent, transform.analysis(other))
        torch.testing.assert_close(torch.func.vmap(transform.analysis)(field), transform.analysis(field))

        def power(f: torch.Tensor) -> torch.Tensor:
            return transform.analysis(f).abs().square().sum()

        gradient = torch.func.grad(power)
        torch.testing.assert_close(torch.func.vmap(gradient)(field)[1], gradient(field[1]))


def test_second_derivatives_of_vectors(transform: SphericalHarmonics) -> None:
    field = torch.randn(transform.nlat, transform.nlon, dtype=torch.float64, requires_grad=True)
    coefficients = random_coefficients(transform.lmax).requires_grad_()
    options: Any = {"atol": 1e-7, "fast_mode": True}
    assert torch.autograd.gradgradcheck(lambda u: transform.analysis_vector(u, 2 * u), (field,), **options)
    assert torch.autograd.gradgradcheck(lambda x: transform.synthesis_vector(x, 2 * x), (coefficients,), **options)


def test_adjoints(transform: SphericalHarmonics) -> None:
    """The derivative of a linear map is its adjoint: real inner products agree."""
    shape = transform.nlat, transform.nlon
    field = torch.randn(3, *shape, dtype=torch.float64, requires_grad=True)
    x = random_coefficients(transform.lmax, 3).requires_grad_()
    (back,) = torch.autograd.grad(transform.analysis(field), field, x.detach())
    forward = (transform.analysis(field.detach()).conj() * x.detach()).real.sum()
    torch.testing.assert_close((back * field.detach()).sum(), forward, atol=1e-12, rtol=0)
    (back,) = torch.autograd.grad(transform.synthesis(x), x, field.detach())
    forward = (transform.synthesis(x.detach()) * field.detach()).sum()
    torch.testing.assert_close((back.conj() * x.detach()).real.sum(), forward, atol=1e-12, rtol=0)


def test_unequal_weights_of_symmetric_rows_count() -> None:
    """Rows that mirror each other with weights that do not cannot be folded."""
    weights = np.array([0.1, 0.2, 0.3, 0.25, 0.15])
    rows = np.linspace(0.3, math.pi - 0.3, 5)
    transform = SphericalHarmonics(rows, np.arange(8) * math.pi / 4, 2, weights=weights, dtype=torch.float64)
    field = torch.randn(5, 8, dtype=torch.float64)
    mean = (field.mean(-1) * torch.tensor(weights)).sum()
    torch.testing.assert_close(transform.analysis(field)[0, 0].real, mean)


@pytest.mark.parametrize("batch", [1, 2, 5, 9, 20])
def test_every_way_of_multiplying_gives_the_same(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Narrow and wide products, many and few rows at a time."""
    from xatmo.nn import _products

    transform = SphericalHarmonics.regular(37, 74, 35, dtype=torch.float64)
    x = random_coefficients(35, batch)
    field = transform.synthesis(x)
    torch.testing.assert_close(transform.analysis(field), x, atol=1e-12, rtol=0)
    monkeypatch.setattr(_products, "_CACHE", 1)
    torch.testing.assert_close(transform.synthesis(x), field, atol=1e-12, rtol=0)
    torch.testing.assert_close(transform.analysis(field), x, atol=1e-12, rtol=0)
    one = torch.stack([transform.synthesis(y) for y in x])
    torch.testing.assert_close(one, field, atol=1e-12, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-11), (torch.float32, 2e-6)])
@pytest.mark.parametrize(("nlat", "memory"), [(721, 0.4e9), (1280, 2.2e9)])
def test_exact_at_full_size(nlat: int, memory: float, dtype: torch.dtype, bound: float) -> None:
    """T719 on 721 x 1440 with poles, T1279 on 1280 x 2560 Gaussian: round trip and size of the tables."""
    if nlat == 721:
        transform = SphericalHarmonics.regular(721, 1440, 719, dtype=dtype)
    else:
        transform = SphericalHarmonics.gaussian(1280, 2560, 1279, dtype=dtype)
    x = random_coefficients(transform.lmax).to(torch.complex64 if dtype == torch.float32 else torch.complex128)
    error = (transform.analysis(transform.synthesis(x)) - x).abs().square().mean().sqrt()
    assert error < bound * x.abs().square().mean().sqrt()
    if dtype == torch.float32:
        assert transform.table_bytes <= memory
