"""Random fields against the covariances that they are drawn from, and as functions of place, time, seed and member."""

from __future__ import annotations

import numpy as np
import pytest

from xatmo.assimilation.covariance.frame import Frame
from xatmo.assimilation.covariance.functions import Gaussian, Matern
from xatmo.assimilation.dense import _kernels
from xatmo.assimilation.draws.features import Features, white_noise

DAY = 86400.0
COVARIANCES = [
    Gaussian(3e5, 5 * DAY, 2.0), Matern(3e5, 5 * DAY, 2.0), Matern(3e5, 5 * DAY, 2.0, nu=2.5),
    Matern(3e5, 5 * DAY, 2.0, nu=0.5),
]  # fmt: skip
FRAMES = [Frame("sphere", (0.0, 0.0)), Frame("sphere", (40.0, 10.0), (0.3, -0.2), (0.2, 0.1))]


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("covariance", COVARIANCES, ids=["gaussian", "matern1", "matern2.5", "matern0.5"])
def test_the_mean_product_is_the_covariance(covariance, frame):
    rng = np.random.default_rng(0)
    lat, lon, time = rng.uniform(35, 45, 25), rng.uniform(5, 15, 25), rng.uniform(0, 10 * DAY, 25)
    n = 1200
    draws = np.array([Features.draw(covariance, frame, member=k, n_features=50).at(time, lat, lon) for k in range(n)])
    at = frame.place(lat, lon, time)
    exact = covariance(_kernels.distances(at, at), time[:, None] - time)
    sampling = np.sqrt((4.0**2 + exact**2) / n)
    apart = (draws.T @ draws / n - exact) / sampling
    assert np.abs(apart).max() < 4.5
    assert np.sqrt(np.mean(apart**2)) < 1.3
    assert np.abs(draws.mean(axis=0)).max() < 4.5 * 2 / np.sqrt(n)


def test_a_distance_of_the_sphere_goes_around_the_date_line_and_over_the_pole():
    covariance, n = Gaussian(5e5, DAY, 1.0), 1500
    lat, lon, zero = np.array([10.0, 10.0, 88.0, 88.0]), np.array([179.0, -179.0, 0.0, 180.0]), np.zeros(4)
    draws = np.array(
        [Features.draw(covariance, FRAMES[0], member=k, n_features=50).at(zero, lat, lon) for k in range(n)]
    )
    at = _kernels.points(lat, lon, "sphere")
    np.testing.assert_allclose(draws.T @ draws / n, covariance.space(_kernels.distances(at, at)), atol=0.12)


def test_grids_and_points_agree_wherever_they_begin():
    draw = Features.draw(COVARIANCES[1], FRAMES[1], seed=3, member=2, n_features=200)
    time, lat, lon = 7e8 + DAY * np.arange(4), 35 + 0.5 * np.arange(9), 5 + 0.5 * np.arange(11)
    whole = draw(time, lat, lon)
    assert whole.shape == (4, 9, 11)
    np.testing.assert_allclose(draw(time[1:3], lat[4:], lon[:5] - 360), whole[1:3, 4:, :5], atol=1e-4)
    mesh = [a.ravel() for a in np.meshgrid(time, lat, lon, indexing="ij")]
    np.testing.assert_allclose(draw.at(*mesh).reshape(whole.shape), whole, atol=1e-4)


def test_each_seed_member_and_sample_is_another_field():
    place = np.zeros(30), np.linspace(0, 60, 30), np.zeros(30)
    keys = [(0, 0, ()), (1, 0, ()), (0, 1, ()), (0, 0, (1,)), (0, 0, (0, 1))]
    made = [Features.draw(COVARIANCES[0], FRAMES[0], seed=s, member=m, sample=k).at(*place) for s, m, k in keys]
    for i, one in enumerate(made):
        for other in made[:i]:
            assert np.abs(one - other).max() > 0.1
    again = Features.draw(COVARIANCES[0], FRAMES[0], seed=1, member=0).at(*place)
    np.testing.assert_array_equal(again, made[1])


def test_noise_is_white_and_its_own_at_every_place():
    time, lat, lon = DAY * np.arange(20)[:, None, None], 0.25 * np.arange(40)[:, None], 0.25 * np.arange(50)
    one = white_noise(time, lat, lon)
    assert one.shape == (20, 40, 50)
    assert abs(one.mean()) < 4 / np.sqrt(one.size)
    assert abs(one.var() - 1) < 4 * np.sqrt(2 / one.size)
    assert abs(np.mean(one**4) - 3) < 0.2
    for axis in range(3):
        a, b = np.take(one, range(1, one.shape[axis]), axis), np.take(one, range(one.shape[axis] - 1), axis)
        assert abs(np.mean(a * b)) < 4 / np.sqrt(a.size)
    for other in ({"seed": 1}, {"member": 1}, {"sample": (1,)}):
        assert abs(np.mean(one * white_noise(time, lat, lon, **other))) < 4 / np.sqrt(one.size)
    np.testing.assert_array_equal(white_noise(time[3], lat, lon + 360), one[3])
