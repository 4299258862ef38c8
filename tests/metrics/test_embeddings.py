from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import xarray as xr

from xatmo import metrics
from xatmo.errors import ChunkError, DimensionError, MissingValueError, OptionError


def clouds(n: int = 60, m: int = 60, d: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(d, d))
    return rng.normal(size=(n, d)) @ mix, rng.normal(size=(m, d)) @ mix.T + 0.5


def labelled(x: np.ndarray) -> xr.DataArray:
    return xr.DataArray(x.reshape(3, 4, -1, x.shape[-1]), dims=("time", "latitude", "longitude", "feature"))


def by_roots(x: np.ndarray, y: np.ndarray) -> float:
    a, b = np.cov(x.T), np.cov(y.T)
    root = np.real(scipy.linalg.sqrtm(a @ b))
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b - 2 * root))


def test_frechet_agrees_with_matrix_roots_for_any_chunks(no_compute):
    x, y = clouds(m=96)
    expected = by_roots(x, y)
    assert metrics.frechet_distance(x, y).item() == pytest.approx(expected, rel=1e-9)
    a, b = labelled(x), labelled(y)
    assert metrics.frechet_distance(a, b).item() == pytest.approx(expected, rel=1e-9)
    for chunks in ({"time": 1}, {"time": 2, "longitude": 3, "latitude": 1}):
        with no_compute():
            lazy = metrics.frechet_distance(a.chunk(chunks), b.chunk(chunks))
            mixed = metrics.frechet_distance(a, b.chunk(chunks))
        assert lazy.chunks is not None
        assert lazy.compute().item() == pytest.approx(expected, rel=1e-9)
        assert mixed.compute().item() == pytest.approx(expected, rel=1e-9)


def test_frechet_of_known_gaussians():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200_000, 2)), rng.normal(size=(200_000, 2)) * [1.0, 3.0] + [2.0, 0.0]
    assert metrics.frechet_distance(x, y).item() == pytest.approx(2**2 + (3 - 1) ** 2, rel=0.02)


def test_frechet_of_fewer_vectors_than_features():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(10, 50))
    assert metrics.frechet_distance(x, x).item() == pytest.approx(0, abs=1e-9)
    assert metrics.frechet_distance(x, x + 1).item() == pytest.approx(50, rel=1e-9)
    # Along one direction only: the closed form in one dimension.
    axis = rng.normal(size=50)
    axis /= np.linalg.norm(axis)
    a, b = rng.normal(size=20), 3 + 2 * rng.normal(size=20)
    expected = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    found = metrics.frechet_distance(a[:, None] * axis, b[:, None] * axis)
    assert found.item() == pytest.approx(expected, rel=1e-9)
    # A turn of all vectors changes nothing.
    turn = np.linalg.qr(rng.normal(size=(50, 50)))[0]
    y = rng.normal(size=(12, 50))
    assert metrics.frechet_distance(x @ turn, y @ turn).item() == pytest.approx(
        metrics.frechet_distance(x, y).item(), rel=1e-9
    )


@pytest.mark.parametrize("m", [12, 9])
def test_earth_movers_distance_agrees_with_scipy(m, no_compute):
    x, y = clouds(12, m)
    expected = scipy.stats.wasserstein_distance_nd(x, y)
    assert metrics.earth_movers_distance(x, y).item() == pytest.approx(expected, rel=1e-7)
    with no_compute():
        lazy = metrics.earth_movers_distance(labelled(x).chunk(time=1), y)
    assert lazy.compute().item() == pytest.approx(expected, rel=1e-7)


def test_other_distances_between_vectors():
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    x, y = clouds(15, 15)
    for metric in ("cosine", "cityblock"):
        cost = cdist(x, y, metric)
        expected = cost[linear_sum_assignment(cost)].mean()
        assert metrics.earth_movers_distance(x, y, metric=metric).item() == pytest.approx(expected)


def test_sliced_distance():
    x, _ = clouds(200, 200, d=3)
    shift = np.array([3.0, 0.0, 4.0])
    found = metrics.earth_movers_distance(x, x + shift, n_projections=2000)
    # The mean of |cos| over directions in three dimensions is a half.
    assert found.item() == pytest.approx(2.5, rel=0.05)
    again = metrics.earth_movers_distance(x, x + shift, n_projections=2000, seed=1)
    assert again.item() != found.item()
    more = metrics.earth_movers_distance(x, np.concatenate([x, x]) + shift, n_projections=50)
    assert more.item() == pytest.approx(metrics.earth_movers_distance(x, x + shift, n_projections=50).item())


def test_rv_coefficient():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=40), rng.normal(size=40)
    found = metrics.rv_coefficient(a[:, None], b[:, None])
    assert found.item() == pytest.approx(np.corrcoef(a, b)[0, 1] ** 2)
    x = rng.normal(size=(40, 5))
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    assert metrics.rv_coefficient(x, 3 * x @ turn + 7).item() == pytest.approx(1)
    y = rng.normal(size=(40, 3))
    both = np.cov(np.concatenate([x, y], axis=1).T)
    xx, yy, xy = both[:5, :5], both[5:, 5:], both[:5, 5:]
    expected = np.trace(xy @ xy.T) / np.sqrt(np.trace(xx @ xx) * np.trace(yy @ yy))
    assert metrics.rv_coefficient(x, y).item() == pytest.approx(expected)
    wide = rng.normal(size=(8, 30)), rng.normal(size=(8, 20))
    plain = [np.cov(w.T) for w in wide]
    cross = (wide[0] - wide[0].mean(0)).T @ (wide[1] - wide[1].mean(0)) / 7
    expected = (cross**2).sum() / np.sqrt((plain[0] ** 2).sum() * (plain[1] ** 2).sum())
    assert metrics.rv_coefficient(*wide).item() == pytest.approx(expected)
    assert np.isnan(metrics.rv_coefficient(np.ones((4, 2)), x[:4]))


def test_random_projections_keep_distances_and_pca_finds_the_axes(no_compute):
    rng = np.random.default_rng(0)
    x = labelled(rng.normal(size=(60, 8)) * np.arange(1, 9))
    flat = metrics.project(x, 8, seed=3)
    np.testing.assert_allclose((flat**2).sum("feature"), (x**2).sum("feature"), rtol=1e-10)
    assert metrics.project(x, 3).dims == x.dims
    first = metrics.project(x, 2, method="pca")
    values = x.values.reshape(-1, 8)
    centred = values - values.mean(0)
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(first.values.reshape(-1, 2)), np.abs(centred @ axes[:2].T), rtol=1e-8, atol=1e-9)
    with no_compute():
        lazy = metrics.project(x.chunk(time=1), 2, method="pca")
        other = metrics.project(x + 1, 2, method="pca", reference=x.chunk(time=1))
    np.testing.assert_allclose(lazy, first, rtol=1e-8, atol=1e-9)
    signs = np.sign(axes[np.arange(2), np.abs(axes[:2]).argmax(1)])
    np.testing.assert_allclose(other - first, np.broadcast_to(axes[:2].sum(1) * signs, first.shape), rtol=1e-8)
    assert singular[0] >= singular[1]


def test_patches_are_vectors():
    rng = np.random.default_rng(0)
    patches = rng.normal(size=(30, 2, 3))
    whole = metrics.frechet_distance(patches, patches + 1)
    assert whole.item() == pytest.approx(6)
    assert metrics.frechet_distance(patches.reshape(30, 6), patches.reshape(30, 6) + 1).item() == pytest.approx(6)


def test_refusals():
    x, y = clouds()
    with pytest.raises(DimensionError, match=r"an array of shape \(60,\) came; wanted \(n, \.\.\.\)"):
        metrics.frechet_distance(x[:, 0], y)
    with pytest.raises(DimensionError, match="no dimension 'feature' among"):
        metrics.frechet_distance(labelled(x).rename(feature="f"), y)
    with pytest.raises(DimensionError, match="vectors of 4 and of 3 features came"):
        metrics.frechet_distance(x, y[:, :3])
    with pytest.raises(DimensionError, match="1 vectors came; wanted 2 or more"):
        metrics.frechet_distance(x[:1], y)
    with pytest.raises(ChunkError, match="frechet_distance needs 'feature' whole"):
        metrics.frechet_distance(labelled(x).chunk(feature=2), y)
    gap = x.copy()
    gap[0, 0] = np.nan
    with pytest.raises(MissingValueError, match="frechet_distance met 1 missing"):
        metrics.frechet_distance(gap, y)
    with pytest.raises(OptionError, match="metric='manhattan'; wanted 'euclidean'"):
        metrics.earth_movers_distance(x, y, metric="manhattan")
    with pytest.raises(OptionError, match="n_projections=0; wanted a whole number"):
        metrics.earth_movers_distance(x, y, n_projections=0)
    with pytest.raises(OptionError, match="metric='cosine' came with n_projections"):
        metrics.earth_movers_distance(x, y, n_projections=5, metric="cosine")
    many = np.zeros((3000, 1))
    with pytest.raises(OptionError, match="3000 and 3000 vectors are too many for the exact distance"):
        metrics.earth_movers_distance(many, many)
    with pytest.raises(DimensionError, match="60 and 59 samples came"):
        metrics.rv_coefficient(x, y[:59])
    with pytest.raises(OptionError, match="n=5; wanted a whole number from 1 to the number of features, 4"):
        metrics.project(x, 5)
    with pytest.raises(OptionError, match="method='tsne'; wanted 'random' or 'pca'"):
        metrics.project(x, 2, method="tsne")


def test_units_of_distances():
    x, y = (labelled(c).assign_attrs(units="K") for c in clouds())
    assert metrics.frechet_distance(x, y).attrs["units"] == "K2"
    assert metrics.earth_movers_distance(x, y).attrs["units"] == "K"
    assert metrics.earth_movers_distance(x, y, metric="cosine").attrs["units"] == "1"
    assert metrics.rv_coefficient(x, y).attrs["units"] == "1"


@pytest.mark.slow
def test_features_of_a_trained_encoder(tmp_path, no_compute):
    import xatmo

    flow = xatmo.datasets.barotropic(15, days=3, spin_up=2, output_every="6h", variables=["vo"])
    fine = flow["vo"].atmo.regrid(xatmo.Grid.regular(48, 96, poles=False))
    task = xatmo.AtmoDist(2, encoder="tiny")
    task.fit(fine, patch_size=32, max_steps=2, batch_size=4, run_dir=tmp_path / "run", progress=False)
    features = fine.atmo.embed(task)
    assert metrics.frechet_distance(features, features).item() == pytest.approx(0, abs=1e-6)
    with no_compute():
        lazy = metrics.frechet_distance(fine.chunk(time=2).atmo.embed(task), (0.5 * fine).atmo.embed(task))
    assert lazy.compute().item() > 0
    assert metrics.project(features, 3, method="pca").sizes["feature"] == 3
