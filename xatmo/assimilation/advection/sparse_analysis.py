"""Gaussian analysis with a sparse precision: exact mean, exact variance, posterior members.

With the precision Q of the prior, observations ``y = H x + e`` and the precision R^-1 of their errors, the posterior
has precision ``Q + H^T R^-1 H`` and mean ``(Q + H^T R^-1 H)^-1 H^T R^-1 y``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from xatmo.assimilation.advection._dual import conjugate
from xatmo.assimilation.advection._factors import ExactFactor, factorise
from xatmo.assimilation.advection.prior import AdvectionDiffusion
from xatmo.assimilation.advection.simulation import simulate
from xatmo.errors import MissingValueError, OptionError

Array = NDArray[np.float64]
Method: TypeAlias = Literal["direct", "cg"]


@dataclass(frozen=True, eq=False)
class SparsePosterior:
    """Posterior of an advection-diffusion prior.

    Make one with `SparsePosterior.of`.

    Attributes
    ----------
    prior : AdvectionDiffusion
    observe : sparse array (observation, node)
        H on the nodes of the precision, those of a spin-up (zero) included.
    noise_variance : array (observation,)
        Diagonal of R.
    method : {"direct", "cg"}
        Exact Cholesky factor of the posterior precision by dense blocks (see
        `xatmo.assimilation.advection._dissection`); or conjugate gradients in the space of the observations, where the
        prior's covariance is applied by one sweep of implicit steps backward and one forward: little memory, for grids
        whose factor takes too much.
    tolerance : float
        Of conjugate gradients: relative norm of the preconditioned residual.
    inverse_factor : sparse array (observation, observation), optional
        F with F^T F close to the inverse of the observations' covariance, to precondition with; their noise unless
        given.

    Examples
    --------
    >>> prior = AdvectionDiffusion.on_plane((3, 6, 8), (1.0, 1.0, 1.0), kappa=0.5, velocity=(0.1, 0.0))
    >>> seen = np.zeros(prior.shape, dtype=bool)
    >>> seen[:, 2, ::3] = True
    >>> posterior = SparsePosterior.of(prior, seen, noise_variance=0.01)
    >>> posterior.mean(np.ones(seen.sum())).shape
    (3, 6, 8)
    >>> bool((posterior.variance() < prior.variance()).all())
    True
    """

    prior: AdvectionDiffusion
    observe: Any
    noise_variance: Array
    method: Method = "direct"
    tolerance: float = 1e-11
    inverse_factor: Any = None

    @classmethod
    def of(
        cls, prior: AdvectionDiffusion, where: Any, *, noise_variance: Any, method: Method = "direct"
    ) -> SparsePosterior:
        """Make the posterior of observations at nodes, or of linear combinations of them.

        Parameters
        ----------
        prior : AdvectionDiffusion
        where : array (n_time, row, column) of bool, or sparse array (observation, n_time * row * column)
            Observed nodes, in C order; or H.
        noise_variance : float or array (observation,)
        method : {"direct", "cg"}

        Raises
        ------
        OptionError
            If shapes do not fit, ``method`` is unknown, or a variance is not positive.
        """
        import scipy.sparse as sp

        if method not in ("direct", "cg"):
            message = f"method={method!r} came; wanted 'direct' or 'cg'"
            raise OptionError(message)
        size = int(np.prod(prior.shape))
        if sp.issparse(where):
            operator = sp.csr_array(where)
        else:
            seen = np.asarray(where)
            if seen.dtype != bool or seen.shape != prior.shape:
                message = f"observations as {seen.dtype} {seen.shape} came; wanted a mask (bool) of shape {prior.shape}"
                raise OptionError(message)
            nodes = np.flatnonzero(seen)
            operator = sp.csr_array((np.ones(nodes.size), (np.arange(nodes.size), nodes)), shape=(nodes.size, size))
        if operator.shape[1] != size:
            message = (
                f"an observation operator of {operator.shape[1]} columns came; wanted one for each of {size} nodes"
            )
            raise OptionError(message)
        try:
            variance = np.broadcast_to(np.asarray(noise_variance, dtype=np.float64), operator.shape[:1])
        except ValueError:
            message = f"variances of shape {np.shape(noise_variance)} came; wanted a number or {operator.shape[:1]}"
            raise OptionError(message) from None
        if not ((variance > 0) & np.isfinite(variance)).all():
            message = "variances of the noise came that are not positive; wanted positive numbers"
            raise OptionError(message)
        before = sp.csr_array((operator.shape[0], prior.spin_up * prior.n_cell))
        return cls(prior, sp.hstack([before, operator], format="csr"), variance, method)

    # ------------------------------------------------------------------ matrices
    @cached_property
    def information(self) -> Any:
        """Sparse ``H^T R^-1 H``."""
        import scipy.sparse as sp

        return (self.observe.T @ sp.diags_array(1 / self.noise_variance) @ self.observe).tocsc()

    def precision(self) -> Any:
        """Sparse posterior precision ``Q + H^T R^-1 H``."""
        return (self.prior.precision() + self.information).tocsc()

    @cached_property
    def factor(self) -> ExactFactor:
        """Cholesky factor of the posterior precision."""
        return factorise(self.prior, self.information)

    def _values(self, values: Any) -> Array:
        y = np.asarray(values, dtype=np.float64)
        if y.shape != self.noise_variance.shape:
            message = f"values of shape {y.shape} came; wanted {self.noise_variance.shape}, one for each observation"
            raise OptionError(message)
        if not np.isfinite(y).all():
            message = "values came with NaN or infinity; wanted finite ones: leave out of the mask what is not observed"
            raise MissingValueError(message)
        return y

    def _cut(self, full: Array) -> Array:
        return full.reshape(self.prior.steps, *self.prior.cells.shape)[self.prior.spin_up :]

    # ------------------------------------------------------------------ mean
    def mean(self, values: Any) -> Array:
        """Posterior mean (n_time, row, column).

        Parameters
        ----------
        values : array (observation,)
            Anomalies from the mean of the prior, in the order of the rows of H: ``field[mask]``.

        Raises
        ------
        OptionError, MissingValueError
            If the shape differs, or a value is not finite.
        """
        return self._cut(self.mean_all(values))

    def mean_all(self, values: Any) -> Array:
        """Posterior mean on all nodes of the precision, flat."""
        return np.asarray(self._solved(self._values(values)[:, None])[:, 0])

    def means(self, values: Array) -> Array:
        """Posterior means (case, n_time, row, column) of several sets of values (case, observation)."""
        return np.stack([self._cut(f) for f in self._solved(values.T).T])

    def _solved(self, values: Array) -> Array:
        """Posterior means (node, case) of values (observation, case)."""
        import scipy.sparse as sp

        if self.method == "direct":
            return self.factor.solve(self.observe.T @ (values / self.noise_variance[:, None]))

        def multiply(weights: Array) -> Array:
            field = prior_covariance(self.prior, self.observe.T @ weights)
            return np.asarray(self.observe @ field + self.noise_variance[:, None] * weights)

        near = sp.diags_array(self.noise_variance**-0.5) if self.inverse_factor is None else self.inverse_factor
        weights = conjugate(multiply, values, near, self.tolerance)
        return prior_covariance(self.prior, self.observe.T @ weights)

    # ------------------------------------------------------------------ uncertainty
    def variance(self) -> Array:
        """Exact posterior variance (n_time, row, column): the diagonal of the inverse, from the factor's dense blocks.

        No sampling error; about as much work as the factor once more.

        Raises
        ------
        OptionError
            If the factor would be too large; take the spread of `members` with ``method="cg"`` then.
        """
        return self._cut(self.factor.inverse_diagonal())

    def members(self, values: Any, rng: np.random.Generator | int | None = None, *, members: int = 1) -> Array:
        """Draw from the posterior by conditional simulation: ``x_s + mean(y - (H x_s + e_s))``.

        ``x_s`` comes from the prior by stepping, ``e_s`` from the noise. Standard deviations of ``members`` draws have
        a relative sampling error of about ``1 / sqrt(2 (members - 1))``.

        Parameters
        ----------
        values : array (observation,)
        rng : numpy.random.Generator or seed
        members : int

        Returns
        -------
        array (members, n_time, row, column)
        """
        y = self._values(values)
        rng = np.random.default_rng(rng)
        drawn = simulate(self.prior, rng, members=members)
        operator = self.observe[:, self.prior.spin_up * self.prior.n_cell :]
        noise = np.sqrt(self.noise_variance) * rng.standard_normal((members, y.size))
        return drawn + self.means(y - noise - (operator @ drawn.reshape(members, -1).T).T)


def prior_covariance(prior: AdvectionDiffusion, vector: Array) -> Array:
    """``Q^-1`` times a vector: with U x = (x_0, M x_1 - x_0, ...), ``Q = U^T diag(P0^-1, S) U``.

    Parameters
    ----------
    prior : AdvectionDiffusion
    vector : array (node,) or (node, columns)
    """
    steps = prior.step_factors
    v = np.array(vector, dtype=np.float64).reshape(prior.steps, prior.n_cell, *np.shape(vector)[1:])
    columns = (slice(None),) + (None,) * (v.ndim - 2)
    for k in range(prior.steps - 1, 0, -1):
        v[k] = steps[k - 1].solve(v[k], trans="T")
        v[k - 1] += v[k]
    v[0] = prior.first_factor.solve(v[0])
    for k in range(1, prior.steps):
        v[k] = steps[k - 1].solve(prior.noise_of(k)[columns] * v[k] + v[k - 1])
    return v.reshape(np.shape(vector))
