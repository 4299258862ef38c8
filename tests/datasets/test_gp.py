"""The Gaussian-process twin and the interpolation that knows its law."""

from __future__ import annotations

import numpy as np
import pytest

from xatmo.datasets.gp import gp_prior, spde_gp, spde_oi
from xatmo.errors import OptionError, VariableError


@pytest.fixture(name="twin", scope="module")
def _twin():
    return spde_gp(7, (14, 16), coverage=0.2)


def test_layout_and_law(twin):
    assert twin.truth.dims == twin.obs.dims == twin.mask.dims == ("time", "y", "x")
    assert twin.mask.dtype == bool
    assert np.array_equal(twin.obs.notnull(), twin.mask)
    error = (twin.obs - twin.truth).values[twin.mask.values]
    assert abs(error.std() / np.sqrt(1e-3) - 1) < 0.2
    determinant = twin.H11 * twin.H22 - twin.H12**2
    assert float(determinant.min()) >= 1 - 1e-9
    assert float((twin.H11 + twin.H22).max()) <= 27 + 1e-9
    assert np.array_equal(spde_gp(7, (14, 16), coverage=0.2).obs, twin.obs, equal_nan=True)
    assert not np.array_equal(spde_gp(7, (14, 16), coverage=0.2, seed=1).truth, twin.truth)


def test_masks_move_and_cover_about_what_is_asked():
    twin = spde_gp(20, (40, 50), coverage=0.1, tau=2.0)
    by_time = twin.mask.mean(("y", "x"))
    assert 0.07 < float(twin.mask.mean()) < 0.12
    assert float(by_time.min()) > 0
    assert not np.array_equal(twin.mask[0], twin.mask[1])
    assert float(twin.mask.any("time").mean()) > 0.8


def test_truth_has_the_stated_variance():
    prior = gp_prior(spde_gp(2, (8, 9)))
    n = 60
    truths = np.stack([spde_gp(2, (8, 9), seed=s).truth.values for s in range(n)])
    c = np.linalg.inv(prior.precision().toarray())
    sampling = np.sqrt(2 * (c**2).sum() / n) / len(c)  # of the mean square of fields with covariance c
    assert abs((truths**2).mean() - prior.variance().mean()) < 3 * sampling


@pytest.mark.parametrize("method", ["cg", "direct"])
def test_interpolation_equals_the_dense_one_and_is_calibrated(twin, method):
    found = spde_oi(twin, window=5, uncertainty=True, method=method)
    prior = gp_prior(twin, 5)
    c = np.linalg.inv(prior.precision().toarray())
    obs = twin.obs.values[1:6]
    seen = np.isfinite(obs)
    i = np.flatnonzero(seen)
    gain = c[:, i] @ np.linalg.inv(c[np.ix_(i, i)] + 1e-3 * np.eye(i.size))
    mean = (gain @ obs[seen]).reshape(obs.shape)
    std = np.sqrt(np.diag(c - gain @ c[i])).reshape(obs.shape)
    np.testing.assert_allclose(found.analysis[3], mean[2], atol=1e-8)
    np.testing.assert_allclose(found.analysis_error[3], std[2], rtol=1e-6)
    standard = (found.analysis - twin.truth) / found.analysis_error
    assert 0.8 < float((standard**2).mean()) < 1.25
    assert found.attrs["window"] == 5


def test_wrong_settings_are_told(twin):
    with pytest.raises(OptionError, match="n_time=0"):
        spde_gp(0)
    with pytest.raises(OptionError, match="coverage=0.9"):
        spde_gp(3, (5, 5), coverage=0.9)
    with pytest.raises(OptionError, match="wavelength=-1"):
        spde_gp(3, (5, 5), wavelength=-1.0)
    for window in (0, 4, 9):
        with pytest.raises(OptionError, match=f"window={window} for 7 times"):
            spde_oi(twin, window=window)
    with pytest.raises(VariableError, match="without H11, H12"):
        spde_oi(twin.drop_vars(["H11", "H12"]))
