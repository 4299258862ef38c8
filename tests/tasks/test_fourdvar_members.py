"""Members of a trained mapping: truths of the background's covariance, observed and mapped in the same way."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from tests.support.sea import sea
from xatmo import cf
from xatmo._channels import Channel
from xatmo.errors import OptionError
from xatmo.tasks.fourdvar._background import Background
from xatmo.tasks.fourdvar._data import Fields, gather
from xatmo.tasks.fourdvar._members import members, truths_of
from xatmo.tasks.fourdvar._packing import Channels

NOISE = 0.2
BACKGROUND = Background("oi", {
    "covariance": "matern", "metric": "sphere", "length_scale": 8e4, "time_scale": 4 * 86400.0, "noise_std": NOISE,
    "signal_std": 1.1, "drift": [-0.05, 0.02], "mean": 0.5,
})  # fmt: skip
CHANNELS = Channels((Channel("ssh"),), (Channel("ssh"),), (), (0,))


def fields(seed=0):
    rng = np.random.default_rng(seed)
    coords = {
        "time": np.datetime64("2013-01-01", "ns") + np.arange(4) * np.timedelta64(1, "D"),
        "lat": ("lat", 36 + 0.25 * np.arange(8), {"units": "degrees_north"}),
        "lon": ("lon", 10 + 0.25 * np.arange(9), {"units": "degrees_east"}),
    }
    values = np.where(rng.random((4, 8, 9)) < 0.15, rng.standard_normal((4, 8, 9)), np.nan)
    obs = xr.DataArray(values, coords, ("time", "lat", "lon"), name="ssh")
    return Fields((obs,), (), (), (), None, None, obs, cf.horizontal(obs), "time")


def mapping(given):
    return {"ssh": BACKGROUND.make(given.obs[0].to_dataset(name="ssh"), "ssh")["ssh"]}


def test_members_of_a_mapping_that_is_optimal_have_the_posterior_error():
    given = fields()
    made = BACKGROUND.make(given.obs[0].to_dataset(name="ssh"), "ssh", uncertainty=True)
    drawn = members(mapping, {"ssh": made["ssh"]}, given, CHANNELS, [BACKGROUND], number=50)["ssh"]
    assert drawn.dims == ("member", "time", "lat", "lon")
    ratio = np.sqrt(((drawn - made["ssh"]) ** 2).mean("member")) / made["ssh_error"]
    sampling = 1 / np.sqrt(100)
    assert abs(float(ratio.mean()) - 1) < 0.6 * sampling
    assert float(np.abs(ratio - 1).max()) < 5 * sampling
    fewer = members(mapping, {"ssh": made["ssh"]}, given, CHANNELS, [BACKGROUND], number=2)["ssh"]
    np.testing.assert_array_equal(fewer, drawn[:2])


def test_a_mapping_that_does_nothing_has_the_spread_of_the_signal():
    given = fields()
    lazy = SimpleNamespace(ssh=xr.full_like(given.obs[0], 0.5))
    drawn = members(lambda other: {"ssh": lazy.ssh}, {"ssh": lazy.ssh}, given, CHANNELS, [BACKGROUND], number=60)["ssh"]
    assert float(np.sqrt(((drawn - 0.5) ** 2).mean())) == pytest.approx(1.1, rel=0.15)


def test_without_a_covariance_there_are_none():
    given, analysis = fields(), {"ssh": fields().obs[0]}
    for background, kind in ((None, "none that observations tell"), (Background("linear"), "'linear'")):
        with pytest.raises(OptionError, match=f"members= of 'ssh', whose background is {kind}"):
            members(mapping, analysis, given, CHANNELS, [background], number=1)
    with pytest.raises(OptionError, match="members=0 came; wanted a whole number of at least 1"):
        members(mapping, analysis, given, CHANNELS, [BACKGROUND], number=0)


@pytest.mark.parametrize(
    "settings", [{"metric": "degrees", "length_scale": 1.0}, {"drift": [0.1, 0.05]}, {"shape": [-0.4, 0.2]}]
)
def test_truths_do_not_depend_on_the_range_of_longitudes(settings):
    covariance = {"covariance": "gaussian", "metric": "sphere", "length_scale": 1e5, "time_scale": 86400.0,
                  "noise_std": 0.1, "signal_std": 1.0, **settings}  # fmt: skip
    ds = sea(n_time=3)
    ds = ds.assign_coords(lon=ds.lon + 238)  # across 180 degrees
    around = ds.assign_coords(lon=(ds.lon + 180) % 360 - 180)
    one, other = (
        truths_of(Background("oi", covariance), gather(d, "seen", what="test"), 0, "ssh").field(d.ssh, seed=0, member=0)
        for d in (ds, around)
    )
    np.testing.assert_allclose(one.values, other.values, atol=1e-5)
    steps = abs(other.diff("lon")).mean(("time", "lat"))  # no seam where the numbers jump
    assert float(steps.isel(lon=int(np.argmin(around.lon.values)) - 1)) < 2 * float(steps.mean())
