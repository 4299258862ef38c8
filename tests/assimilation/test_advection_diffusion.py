"""Stencils and precision of the advection-diffusion prior: symmetry, order of accuracy, closed forms, determinants."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from xatmo.assimilation import SPDE, AdvectionDiffusion, anisotropic, stationary_std
from xatmo.assimilation.advection._coefficients import require_dense, stationary_covariance
from xatmo.assimilation.advection._factors import factor_of_one
from xatmo.assimilation.covariance.matern import matern
from xatmo.assimilation.stencils import apply_stencil, diffusion_pairs, stencil
from xatmo.errors import CoordinateError, MissingValueError, OptionError


def fields(shape, seed=0):
    """Rough coefficients that vary in space and time: kappa, tensor, velocity, tau."""
    rng = np.random.default_rng(seed)
    east, north = rng.standard_normal((2, *shape))
    tensor = anisotropic(0.5 + rng.random(shape), 2.0, east, north)
    velocity = 0.1 * rng.standard_normal((2, *shape))
    return 0.5 + rng.random(shape), tensor, (velocity[0], velocity[1]), 0.5 + rng.random(shape)


def varying(shape=(3, 5, 6), **options):
    kappa, tensor, velocity, tau = fields(shape)
    options.setdefault("velocity", velocity)
    return AdvectionDiffusion.on_plane(shape, (0.5, 1.0, 1.2), kappa=kappa, diffusion=tensor, tau=tau, **options)


def coast():
    wet = np.ones((5, 6), dtype=bool)
    wet[1:3, 2:4] = wet[4, 0] = False
    return wet


SPHERE = {"kappa": 1.0, "diffusion": (1e10, 3e9, 2e10), "velocity": (2e4, -1e4)}
PRIORS = {
    "constant": lambda: AdvectionDiffusion.on_plane((3, 5, 6), (1.0, 1.0, 1.0), kappa=0.5, diffusion=(2.0, 0.5, 1.0)),
    "varying": varying,
    "outside": lambda: varying(transport="outside"),
    "centred": lambda: varying(scheme="centred", transport="outside"),
    "coast": lambda: varying(domain=coast()),
    "periodic": lambda: varying(periodic=(True, True)),
    "symmetric start": lambda: varying(initial="symmetric"),
    "spin-up": lambda: varying(initial="symmetric", spin_up=2),
    "alpha": lambda: varying(alpha=6, velocity=None),
    "one time": lambda: varying((1, 5, 6)),
    "sphere": lambda: AdvectionDiffusion.on_sphere(np.linspace(30, 34, 5), 1.0, 6, 3, 1.0, **SPHERE),
    "globe": lambda: AdvectionDiffusion.on_sphere(
        np.linspace(-80, 80, 5), 45.0, 8, 2, 1.0, kappa=1.0, diffusion=(1e13, 0, 1e13), periodic=True
    ),
}


@pytest.fixture(params=PRIORS, name="prior")
def _prior(request):
    return PRIORS[request.param]()


def test_precision_is_symmetric_positive_definite(prior):
    dense = prior.precision().toarray()
    assert np.array_equal(dense, dense.T)
    assert np.linalg.eigvalsh(dense)[0] > 0


def test_log_determinant_and_variance_equal_the_dense_ones(prior):
    dense = prior.precision().toarray()
    assert np.isclose(prior.log_determinant(), np.linalg.slogdet(dense)[1], rtol=1e-9)
    expected = np.diag(np.linalg.inv(dense)).reshape(prior.steps, *prior.cells.shape)[prior.spin_up :]
    np.testing.assert_allclose(prior.variance(), expected, rtol=1e-7)


def test_diffusion_is_symmetric_conserves_and_does_not_create_energy(prior):
    k2 = prior.kappa[0].ravel() ** 2
    area = prior.cells.area.ravel()
    stiffness = area[:, None] * (prior.operator(0, moving=False).toarray() - np.diag(k2))
    size = np.abs(stiffness).max()
    np.testing.assert_allclose(stiffness, stiffness.T, atol=1e-12 * size)
    assert np.abs(stiffness.sum(0)).max() < 1e-12 * size
    assert np.linalg.eigvalsh(stiffness)[0] > -1e-12 * size


def test_advection_keeps_constants_and_centred_it_keeps_energy():
    east = np.cos(np.arange(8) * 2 * np.pi / 8)[:, None] * np.ones((8, 8))  # free of divergence
    for scheme in ("centred", "upwind"):
        prior = AdvectionDiffusion.on_plane(
            (1, 8, 8), (1.0, 1.0, 1.0), kappa=1.0, velocity=(east, 0.3), periodic=(True, True), scheme=scheme
        )
        moves = (prior.operator() - prior.operator(moving=False)).toarray()
        assert np.abs(moves.sum(1)).max() < 1e-14
        assert np.abs(moves.sum(0)).max() < 1e-14
        symmetric = np.linalg.eigvalsh((moves + moves.T) / 2)
        assert abs(symmetric[0]) < 1e-14
        assert (symmetric[-1] < 1e-14) == (scheme == "centred")


# ---------------------------------------------------------------------- order of accuracy
def manufactured(n, scheme="centred", *, closed=False):
    """Largest and mean error of A x for smooth variable coefficients on the unit square."""
    at = (np.arange(n) + 0.5) / n
    y, x = at[:, None] + 0 * at, at + 0 * at[:, None]
    import sympy as sp

    s, t = sp.symbols("x y")
    w = sp.pi if closed else 2 * sp.pi
    f = sp.cos(w * s) * sp.cos(w * t) if closed else sp.sin(w * s + 0.3) * sp.cos(w * t)
    bump = sp.sin(sp.pi * s) * sp.sin(sp.pi * t) if closed else 1  # H12 vanishes on closed edges: no flux
    h = (2 + sp.cos(w * s), sp.Rational(1, 2) * bump * sp.cos(w * t), sp.Rational(3, 2) + sp.sin(2 * sp.pi * t) / 2)
    m = (bump * (1 + sp.sin(2 * sp.pi * t) / 2), bump * sp.cos(2 * sp.pi * s))
    fx, fy = sp.diff(f, s), sp.diff(f, t)
    exact = 4 * f + m[0] * fx + m[1] * fy
    exact -= sp.diff(h[0] * fx + h[1] * fy, s) + sp.diff(h[1] * fx + h[2] * fy, t)
    values = [np.broadcast_to(sp.lambdify((s, t), e)(x, y), x.shape) for e in (f, exact, *h, *m)]
    prior = AdvectionDiffusion.on_plane(
        (1, n, n), (1.0, 1 / n, 1 / n), kappa=2.0, diffusion=values[2:5], velocity=values[5:], scheme=scheme,
        periodic=(not closed, not closed),
    )  # fmt: skip
    return np.abs(apply_stencil(prior.stencil(), values[0]) - values[1]), prior.operator(), values


def test_operator_is_of_second_order_with_cross_terms():
    coarse, fine = (manufactured(n)[0].max() for n in (16, 32))
    assert 3.6 < coarse / fine < 4.4


def test_upwind_advection_is_of_first_order():
    coarse, fine = (manufactured(n, "upwind")[0].max() for n in (32, 64))
    assert 1.7 < coarse / fine < 2.9


def test_solutions_are_of_second_order_at_closed_edges():
    def error(n):
        _, matrix, values = manufactured(n, closed=True)
        return np.abs(np.linalg.solve(matrix.toarray(), values[1].ravel()) - values[0].ravel()).max()

    assert 3.3 < error(10) / error(20) < 4.7


def test_stencil_as_array_equals_the_matrix_and_tensors_give_the_same():
    torch = pytest.importorskip("torch")
    prior = varying(domain=coast())
    x = np.random.default_rng(1).standard_normal(prior.cells.shape)
    expected = (prior.operator() @ x.ravel()).reshape(x.shape)
    np.testing.assert_allclose(apply_stencil(prior.stencil(), x), expected, rtol=1e-12, atol=1e-12)
    cells = SimpleNamespace(**{k: torch.tensor(v) for k, v in vars(prior.cells).items()})
    kappa = torch.tensor(prior.kappa[0], requires_grad=True)
    tensor, velocity = (tuple(torch.tensor(f[0]) for f in g) for g in (prior.diffusion, prior.velocity))
    weights = stencil(kappa, tensor, velocity, cells, xp=torch)
    np.testing.assert_allclose(weights.detach().numpy(), prior.stencil(), rtol=1e-12, atol=1e-14)
    apply_stencil(weights, torch.tensor(x), xp=torch).sum().backward()
    np.testing.assert_allclose(kappa.grad.numpy(), 2 * prior.kappa[0] * x)


def test_constant_tensor_gives_the_textbook_weights():
    one = np.ones((4, 4))
    east, north, ne, nw = diffusion_pairs(3 * one, one, 2 * one, one[:, :1], one[:, :1], one, one)
    for found, expected in ((east, -3), (north, -2), (ne, -0.5), (nw, 0.5)):
        assert np.allclose(found, expected)


def test_land_exchanges_nothing():
    wet = coast()
    operator = varying(domain=wet).operator().toarray()
    dry = ~wet.ravel()
    assert not operator[np.ix_(dry, ~dry)].any()
    assert not operator[np.ix_(~dry, dry)].any()


# ---------------------------------------------------------------------- closed forms
def test_stationary_field_is_matern_with_the_stated_variance():
    def error(kappa, n):
        prior = AdvectionDiffusion.on_plane(
            (1, n, n), (1e-3, 1.0, 1.0), kappa=kappa, diffusion=(1.5, 0.0, 1.5), tau=0.7, periodic=(True, True)
        )
        unit = np.zeros(n * n)
        unit[n * n // 2 + n // 2] = 1
        covariance = prior.first_factor.solve(unit).reshape(n, n)[n // 2, n // 2 :]
        variance = stationary_std(kappa, 0.7, (1.5, 0, 1.5)).item() ** 2
        distance = kappa / np.sqrt(1.5) * np.arange(n // 4)
        return np.abs(covariance[: n // 4] / variance - matern(distance, 1.0))

    coarse, fine = error(0.4, 48), error(0.3, 64)  # as many length scales across
    assert fine.max() < 0.035
    assert fine[6:].max() < 1e-3
    assert fine.max() < 0.7 * coarse.max()  # second order, (3/4)^2, times a logarithm


def test_equals_the_uniform_prior_where_nothing_varies():
    other = SPDE.on_sphere(
        np.linspace(43, 34, 5), 0.5, 9, 3, 1.0, length_scale=1e5, time_scale=4.0, padding=(0, 3)
    )  # fmt: skip
    h = other.kappa**-2
    mine = AdvectionDiffusion.on_sphere(
        np.linspace(43, 34, 5), 0.5, other.n_column, 3, 1.0, kappa=1.0, diffusion=(h, 0, h)
    )
    theirs = other.operator().toarray().reshape(5, 12, 5, 12)[:, 4:8]
    found = mine.operator().toarray().reshape(5, 12, 5, 12)[:, 4:8]
    np.testing.assert_allclose(found, theirs, rtol=1e-10, atol=1e-12)


def test_latitude_order_does_not_matter():
    latitude, kappa = np.linspace(30, 34, 5), 1 + np.arange(30.0).reshape(5, 6) / 30
    settings = SPHERE | {"kappa": kappa, "domain": coast()}
    up = AdvectionDiffusion.on_sphere(latitude, 1.0, 6, 2, 1.0, **settings)
    turned = SPHERE | {"kappa": kappa[::-1], "domain": coast()[::-1]}
    down = AdvectionDiffusion.on_sphere(latitude[::-1], 1.0, 6, 2, 1.0, **turned)
    expected = up.operator().toarray().reshape(5, 6, 5, 6)
    found = down.operator().toarray().reshape(5, 6, 5, 6)[::-1, :, ::-1]
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


def test_start_is_stationary_also_when_it_moves():
    kappa, tensor, velocity, tau = (
        f[0] if isinstance(f, np.ndarray) else tuple(g[0] for g in f) for f in fields((1, 5, 6))
    )
    prior = AdvectionDiffusion.on_plane(
        (4, 5, 6), (1.0, 1.0, 1.0), kappa=kappa, diffusion=tensor, velocity=velocity, tau=tau
    )
    variance = prior.variance()
    np.testing.assert_allclose(variance[1:], np.broadcast_to(variance[0], (3, 5, 6)), rtol=1e-9)
    m, p = prior.step_matrix().toarray(), prior.first_covariance
    np.testing.assert_allclose(m @ p @ m.T, p + np.diag(prior.noise_variance()), atol=1e-10)
    spun = AdvectionDiffusion.on_plane(
        (1, 5, 6), (1.0, 1.0, 1.0), kappa=kappa, diffusion=tensor, velocity=velocity, tau=tau, initial="symmetric",
        spin_up=30,
    )  # fmt: skip
    np.testing.assert_allclose(spun.variance()[0], variance[0], rtol=1e-6)


def test_part_of_the_times():
    prior = varying((5, 5, 6))
    part = prior.with_times(2, 4)
    assert part.shape == (2, 5, 6)
    assert np.array_equal(part.step_matrix(1).toarray(), prior.step_matrix(3).toarray())
    with pytest.raises(OptionError, match="times 2 to 9 came"):
        prior.with_times(2, 9)


# ---------------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"alpha": 3}, OptionError, "alpha=3 came"),
        ({"scheme": "best"}, OptionError, "scheme='best' came"),
        ({"transport": "up"}, OptionError, "transport='up' came"),
        ({"initial": "none"}, OptionError, "initial='none' came"),
        ({"spin_up": -1}, OptionError, "spin_up=-1"),
        ({"kappa": 0.0}, OptionError, "kappa down to 0.0"),
        ({"kappa": np.nan}, MissingValueError, "kappa came with NaN"),
        ({"kappa": np.ones((4, 6))}, OptionError, r"kappa of shape \(4, 6\)"),
        ({"diffusion": (1.0, 1.0)}, OptionError, "2 components of diffusion"),
        ({"diffusion": (1.0, 2.0, 1.0)}, OptionError, "wanted positive definite"),
        ({"domain": np.ones((2, 2))}, OptionError, r"domain of shape \(2, 2\)"),
        ({"shape": (3, 0, 6)}, OptionError, "0 x 6 cells"),
    ],
)
def test_wrong_settings_are_told(options, error, says):
    settings = {"kappa": 1.0} | options
    shape = settings.pop("shape", (3, 5, 6))
    with pytest.raises(error, match=says):
        AdvectionDiffusion.on_plane(shape, (1.0, 1.0, 1.0), **settings)


def test_wrong_spheres_are_told():
    with pytest.raises(CoordinateError, match="latitude with 3 rows"):
        AdvectionDiffusion.on_sphere([1.0, 3.0, 2.0], 1.0, 6, 2, 1.0, **SPHERE)
    with pytest.raises(CoordinateError, match="goes around the globe"):
        AdvectionDiffusion.on_sphere([1.0, 2.0], 1.0, 6, 2, 1.0, periodic=True, **SPHERE)


def test_what_grows_has_no_stationary_field():
    prior = AdvectionDiffusion.on_plane(
        (2, 8, 8), (0.1, 1.0, 1.0), kappa=0.05, diffusion=(0.01, 0, 0.01), velocity=(0.5, 0.0), scheme="centred",
        periodic=(True, True),
    )  # fmt: skip
    with pytest.raises(OptionError, match="amplify some waves"):
        stationary_covariance(prior.step_matrix(), prior.noise_variance())


def test_dense_matrices_that_are_too_large_and_indefinite_ones_are_refused():
    with pytest.raises(OptionError, match="6000 cells came"):
        require_dense(6000)
    import scipy.sparse as sp

    for matrix in ([[1.0, 2.0], [2.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]]):
        with pytest.raises(OptionError, match="not positive definite"):
            factor_of_one(sp.csc_array(matrix), (1, 2), 1, (False, False))
