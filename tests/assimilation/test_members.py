"""Members by conditional simulation: calibrated for the analysis whose covariance they are drawn from."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from xatmo.assimilation import optimal_interp
from xatmo.assimilation.covariance.frame import Frame
from xatmo.assimilation.covariance.functions import Matern
from xatmo.assimilation.draws.members import Truths, conditional_members, spread
from xatmo.errors import OptionError

_spec = importlib.util.spec_from_file_location("assimilation_fields", Path(__file__).with_name("strategies.py"))
fields = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fields)

DAY = 86400.0
NOISE, MEAN = 0.3, 0.4
LIKE = fields.observed(np.zeros((4, 9, 10)))["ssh"]
MIDDLE = tuple(float(LIKE[d].min() + LIKE[d].max()) / 2 for d in ("lat", "lon"))
TRUTHS = Truths(Matern(6e4, 4 * DAY, 1.5), Frame("sphere", MIDDLE, drift=(-0.1, 0.05)), MEAN, n_features=200)
OPTIONS = {
    "length_scale": 6e4, "time_scale": "4D", "noise_std": NOISE, "signal_std": 1.5, "covariance": "matern",
    "drift": (-0.1, 0.05),
}  # fmt: skip
RNG = np.random.default_rng(3)
MASK = RNG.random(LIKE.shape) < 0.1
LAG = LIKE.copy(data=RNG.uniform(-12, 12, LIKE.shape)).assign_attrs(units="hours")


def mapping(obs, **options):
    field = obs[0].rename("ssh")
    return optimal_interp(
        field.to_dataset(), "ssh", background=xr.full_like(field, MEAN), lag=LAG, **OPTIONS, **options
    )


def observations(member=0, like=LIKE):
    return TRUTHS.observed(like.where(MASK), noise_std=NOISE, lag=LAG, seed=99, member=member)


def test_errors_of_simulated_truths_have_unit_variance():
    standard = []
    for k in range(25):
        out = mapping([observations(k)], uncertainty=True)
        standard.append(((TRUTHS.field(LIKE, seed=99, member=k) - out["ssh"]) / out["ssh_error"]).values)
    variances = np.array([np.mean(z**2) for z in standard])
    assert abs(variances.mean() - 1) < 4 * variances.std() / np.sqrt(variances.size)
    assert 0.85 < variances.mean() < 1.15


def test_the_spread_of_members_is_the_posterior_error():
    seen = observations()
    out = mapping([seen], uncertainty=True)
    n = 60
    members = conditional_members(
        lambda obs: mapping(obs)["ssh"], out["ssh"], [seen], TRUTHS, members=n, noise_std=NOISE, lag=LAG
    )
    assert members.dims == ("member", "time", "lat", "lon")
    assert members["member"].attrs["standard_name"] == "realization"
    assert members.attrs == out["ssh"].attrs
    error = spread(members, out["ssh"])
    ratio = (error / out["ssh_error"]).values
    sampling = 1 / np.sqrt(2 * n)
    assert abs(ratio.mean() - 1) < 0.5 * sampling
    assert 0.8 * sampling < ratio.std() < 1.25 * sampling
    assert np.abs(ratio - 1).max() < 5 * sampling
    assert error.name == "ssh_error"
    assert error.attrs["units"] == "m"
    assert error.attrs["comment"].endswith(f"its sampling error is {100 * sampling:.0f} percent")
    away = (members.mean("member") - out["ssh"]) / out["ssh_error"]
    assert float((away**2).mean()) < 2.0 / n  # members lie around the analysis


def test_more_members_leave_the_earlier_as_they_were():
    seen, analysis = observations(), mapping([observations()])["ssh"]
    options = {"noise_std": NOISE, "lag": LAG}
    one, three = (
        conditional_members(lambda obs: mapping(obs)["ssh"], analysis, [seen], TRUTHS, members=n, **options)
        for n in (1, 3)
    )
    xr.testing.assert_equal(three[:1], one)
    other = conditional_members(lambda obs: mapping(obs)["ssh"], analysis, [seen], TRUTHS, members=1, seed=5, **options)
    assert float(np.abs(other - one).max()) > 0.1


def test_truths_do_not_depend_on_chunks_and_samples_differ(no_compute):
    both = xr.concat([LIKE, LIKE], "run")
    whole = TRUTHS.field(both)
    with no_compute():
        lazy = TRUTHS.field(both.chunk(run=1, time=2, lat=5))
        seen = TRUTHS.observed(LIKE.where(MASK).chunk(time=2, lat=4), noise_std=NOISE, lag=LAG, seed=99)
    assert lazy.chunks is not None
    assert list(lazy.coords) == list(both.coords)
    np.testing.assert_allclose(lazy, whole, atol=1e-5)
    np.testing.assert_allclose(seen, observations(), atol=1e-9)
    assert float(np.abs(whole[0] - whole[1]).max()) > 0.5
    part = {"time": slice(1, 3), "lat": slice(2, 7)}
    np.testing.assert_allclose(TRUTHS.field(LIKE.isel(part)), TRUTHS.field(LIKE).isel(part), atol=1e-5)


def test_sensors_see_one_truth_with_their_own_noise():
    one, two = (TRUTHS.observed(LIKE, noise_std=1e-6, sensor=k) for k in range(2))
    np.testing.assert_allclose(one, two, atol=1e-4)
    np.testing.assert_allclose(one, TRUTHS.field(LIKE), atol=1e-4)
    one, two = (TRUTHS.observed(LIKE, noise_std=NOISE, sensor=k) - TRUTHS.field(LIKE) for k in range(2))
    assert abs(float(one.std()) / NOISE - 1) < 0.15
    assert abs(float((one * two).mean())) < 4 * NOISE**2 / np.sqrt(LIKE.size)


def test_numbers_that_cannot_be_used_are_refused():
    for members in (0, True, 2.5):
        with pytest.raises(OptionError, match=f"members={members!r} came; wanted a whole number of at least 1"):
            conditional_members(lambda obs: obs[0], LIKE, [LIKE], TRUTHS, members=members, noise_std=NOISE)
    with pytest.raises(OptionError, match="seed=-1 came; wanted a whole number of at least 0"):
        conditional_members(lambda obs: obs[0], LIKE, [LIKE], TRUTHS, members=1, noise_std=NOISE, seed=-1)
    named = LIKE.expand_dims(member=2)
    with pytest.raises(OptionError, match="wanted none called 'member': rename it"):
        conditional_members(lambda obs: obs[0], named, [named], TRUTHS, members=1, noise_std=NOISE)
    with pytest.raises(OptionError, match="2 noises came for 1 sensors; wanted one of each, or one for all"):
        conditional_members(lambda obs: obs[0], LIKE, [LIKE], TRUTHS, members=1, noise_std=[0.1, 0.2])
