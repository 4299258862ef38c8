"""Exact factors by fronts and by blocks, against dense matrices."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from xatmo.assimilation import AdvectionDiffusion, SparsePosterior
from xatmo.assimilation.advection import _factors
from xatmo.assimilation.advection._blocks import BlockFactor
from xatmo.assimilation.advection._dissection import FrontFactor, cholesky, dissect
from xatmo.assimilation.advection._factors import factor_of_grid, factorise
from xatmo.assimilation.advection.sparse_analysis import prior_covariance
from xatmo.errors import OptionError

EDGES = [(False, False), (False, True), (True, False), (True, True)]


def prior_on(shape, periodic=(False, False), **options):
    rng = np.random.default_rng(1)
    velocity = rng.normal(0, 0.3, (2, shape[0], *shape[1:]))
    return AdvectionDiffusion.on_plane(
        shape, (1.0, 1.0, 1.0), kappa=0.6, diffusion=(2.0, 0.5, 1.0), velocity=velocity, transport="outside",
        initial="symmetric", periodic=periodic, **options,
    )  # fmt: skip


@pytest.mark.parametrize("periodic", EDGES)
@pytest.mark.parametrize("shape", [(2, 16, 23), (3, 13, 9), (1, 12, 12)])
def test_fronts_equal_the_dense_solution(shape, periodic):
    prior = prior_on(shape, periodic)
    dense = prior.precision().toarray()
    inverse = np.linalg.inv(dense)
    factor = factor_of_grid(prior)
    right = np.random.default_rng(0).standard_normal((len(dense), 3))
    np.testing.assert_allclose(factor.solve(right), inverse @ right, rtol=0, atol=1e-8 * np.abs(inverse).max())
    assert np.array_equal(factor.solve(right[:, 0]).shape, right[:, 0].shape)
    assert np.isclose(factor.log_determinant(), np.linalg.slogdet(dense)[1], rtol=1e-12)
    np.testing.assert_allclose(factor.inverse_diagonal(), np.diag(inverse), rtol=1e-8)
    root = factor.sample(np.eye(len(dense)))
    np.testing.assert_allclose(root @ root.T, inverse, rtol=0, atol=1e-8 * np.abs(inverse).max())


def test_boxes_are_cut_and_every_node_is_eliminated_once():
    plan = dissect((2, 40, 50), 2, (False, True))
    assert len(plan.fronts) > 60
    assert sorted(plan.order.tolist()) == list(range(4000))
    assert all((np.diff(f.border) > 0).all() and (f.border >= f.stop).all() for f in plan.fronts)
    assert plan.fronts[-1].border.size == 0
    assert plan.work < 0.01 * 4000**3 / 6
    assert plan.entries < 0.1 * 4000**2


def test_blocks_equal_fronts():
    prior = prior_on((6, 11, 12))
    fronts, blocks = factor_of_grid(prior), BlockFactor(*prior.blocks())
    right = np.random.default_rng(0).standard_normal((6 * 132, 2))
    np.testing.assert_allclose(blocks.solve(right), fronts.solve(right), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(blocks.solve(right[:, 0]), blocks.solve(right)[:, 0], atol=1e-12)
    np.testing.assert_allclose(blocks.inverse_diagonal(), fronts.inverse_diagonal(), rtol=1e-9)
    assert np.isclose(blocks.log_determinant(), fronts.log_determinant(), rtol=1e-12)
    assert np.allclose(prior.variance().ravel(), fronts.inverse_diagonal(), rtol=1e-9)
    np.testing.assert_allclose(prior_covariance(prior, right), fronts.solve(right), atol=1e-9)
    np.testing.assert_allclose(prior_covariance(prior, right[:, 0]), fronts.solve(right)[:, 0], atol=1e-9)


def test_the_cheaper_order_that_fits_is_taken(monkeypatch):
    assert isinstance(factorise(prior_on((2, 40, 40))), FrontFactor)
    small = prior_on((30, 9, 9))
    assert isinstance(factorise(small), BlockFactor)
    seen = np.zeros(small.shape, dtype=bool)
    seen[::3, 2, 3:5] = True
    across = sp.csr_array(np.ones((1, 2)) @ np.eye(seen.size)[np.flatnonzero(seen)[[0, -1]]])  # joins two times
    assert isinstance(SparsePosterior.of(small, across, noise_variance=1.0).factor, FrontFactor)
    monkeypatch.setattr(_factors, "MOST_BYTES", 8.0 * 30 * 81**2)
    assert isinstance(factorise(small), BlockFactor)
    monkeypatch.setattr(_factors, "MOST_BYTES", 1e3)
    with pytest.raises(OptionError, match=r"30 times of 81 cells came, whose exact factor takes 0.0 GB"):
        factorise(small)
    with pytest.raises(OptionError, match="take a shorter window"):
        factor_of_grid(small)


def test_large_dense_blocks_and_what_is_not_a_precision():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((700, 700))
    dense = np.asfortranarray(a @ a.T + np.eye(700))
    np.testing.assert_allclose(np.tril(cholesky(dense.copy(order="F"))), np.linalg.cholesky(dense), atol=1e-9)
    with pytest.raises(OptionError, match="not positive definite"):
        BlockFactor([sp.csc_array([[-1.0]])], [])
    plan = dissect((1, 1, 30), 1, (False, False))
    far = sp.csc_array(np.eye(30) + 0.1 * (np.eye(30, k=20) + np.eye(30, k=-20)))
    with pytest.raises(OptionError, match="an entry beyond a reach of 1 cells"):
        plan.scatter(far)
