"""Labelled interpolation along a flow: against dense solutions, calibration, coasts, windows, parameters."""

from __future__ import annotations

import pickle
from dataclasses import replace

import dask
import numpy as np
import pytest
import xarray as xr

from xatmo.assimilation import advected_interp, fourdvar_interp, simulate
from xatmo.assimilation.advection._advected import AdvectedProblem, Settings
from xatmo.assimilation.advection._padded import Layout
from xatmo.assimilation.covariance.likelihood import Scales
from xatmo.assimilation.labels.observations import Nodes
from xatmo.errors import DimensionError, MissingValueError, OptionError, UnitsError, VariableError

DAY = 86400.0
SCALES = {"length_scale": 60e3, "time_scale": "5D", "noise_std": 0.1, "signal_std": 0.5}


def dataset(shape=(4, 6, 8), seed=0, part=0.2):
    rng = np.random.default_rng(seed)
    coords = {
        "time": np.datetime64("2013-01-01", "ns") + np.arange(shape[0]) * np.timedelta64(1, "D"),
        "lat": 35 + 0.25 * np.arange(shape[1]), "lon": -60 + 0.25 * np.arange(shape[2]),
    }  # fmt: skip
    dims = ("time", "lat", "lon")
    values = np.where(rng.random(shape) < part, rng.standard_normal(shape), np.nan)
    ds = xr.Dataset({"ssh": (dims, values, {"units": "m", "long_name": "sea level"})}, coords=coords)
    ds["u"] = (dims, rng.normal(0.1, 0.1, shape), {"units": "m s-1"})
    ds["v"] = (dims, rng.normal(0, 0.1, shape), {"units": "m s-1"})
    ds["noise"] = (dims, rng.uniform(0.05, 0.3, shape), {"units": "m"})
    ds["water"] = (("lat", "lon"), np.arange(shape[2]) + 0 * np.arange(shape[1])[:, None] != 3)
    return ds


def zero(ds):
    return xr.zeros_like(ds.u).drop_attrs()


def problem(ds, **options):
    time = (ds.time.values - ds.time.values[0]) / np.timedelta64(1, "s")
    nodes = Nodes(time, ds.lat.values, ds.lon.values, False, True)
    scales = Scales(60e3, 5 * DAY, 0.1, 0.5, (0.0, 0.0), (0.0, 0.0))
    place = np.rint(time / DAY).astype(int)
    return AdvectedProblem(
        nodes, scales, True, False, settings=Settings(**options), step=DAY, place=place, longitude_step=0.25
    )


@pytest.mark.parametrize("options", [{}, {"substeps": 2, "stretch": 2.0}, {"padding": 0.0, "scheme": "upwind"}])
def test_equals_the_dense_posterior(options):
    ds = dataset()
    water = np.broadcast_to(ds.water.values, ds.ssh.shape)
    found = advected_interp(
        ds, "ssh", flow=("u", "v"), domain="water", noise_std="noise", uncertainty=True,
        **{k: v for k, v in SCALES.items() if k != "noise_std"}, **options,
    )  # fmt: skip
    p = problem(ds, **options)
    layout, prior = p.prior(p.scales, (ds.u.values, ds.v.values), ds.water.values)
    seen = np.isfinite(ds.ssh.values) & water
    nodes = layout.nodes(np.nonzero(seen))
    c = np.linalg.inv(prior.precision().toarray())
    gain = c[:, nodes] @ np.linalg.inv(c[np.ix_(nodes, nodes)] + np.diag(ds.noise.values[seen] ** 2))
    y = ds.ssh.values[seen]
    mean = layout.inner((gain @ (y - y.mean())).reshape(prior.shape)) + y.mean()
    std = layout.inner(np.sqrt(np.diag(c - gain @ c[nodes])).reshape(prior.shape))
    np.testing.assert_allclose(found.ssh.values[water], mean[water], atol=1e-7)
    np.testing.assert_allclose(found.ssh_error.values[water], std[water], rtol=1e-7)
    assert np.isnan(found.ssh.values[~water]).all()
    assert found.ssh_error.attrs["units"] == "m"
    assert "exact for the prior" in found.ssh_error.attrs["comment"]
    assert found.ssh.attrs["ancillary_variables"] == "ssh_error"
    assert "advected_interp" in found.attrs["history"]


def test_variance_without_observations_near_is_the_one_asked_for():
    ds = dataset((6, 14, 14))
    ds["ssh"] = ds.ssh.where((ds.lat < 35.1) & (ds.lon < -59.9) & (ds.time == ds.time[0]))
    far = advected_interp(ds, "ssh", flow=(0.1, 0.05), background=zero(ds), uncertainty=True, **SCALES).ssh_error[
        3:, 5:, 5:
    ]
    assert abs(far / 0.5 - 1).max() < 0.05


def test_variance_is_the_one_asked_for_beside_coasts_and_closed_edges():
    ds = dataset((5, 10, 12))
    water = np.ones((10, 12), dtype=bool)
    water[:6, 5:7] = False
    for padding, bound in ((1.5, 0.08), (0.0, 0.16)):
        layout, prior = problem(ds, padding=padding).prior(problem(ds).scales, None, water)
        std = layout.inner(np.sqrt(prior.variance()))[:, water] / 0.5
        np.testing.assert_allclose(std[0], 1, rtol=1e-9)
        assert np.abs(std - 1).max() < bound
        plain = layout.inner(np.sqrt(replace(prior, tau=np.full_like(prior.tau, prior.tau.max())).variance()))[:, water]
        assert plain.max() / plain.min() > 1.3


def test_a_wall_of_land_hides_what_is_behind():
    ds = dataset((3, 8, 9))
    ds["ssh"] = ds.ssh.where(False)
    ds["ssh"][1, 4, 2] = 1.0
    ds["wall"] = (("lat", "lon"), np.ones((8, 9), bool))
    ds["wall"][:, 4] = False
    free = advected_interp(ds, "ssh", background=zero(ds), padding=0.0, **SCALES)
    held = advected_interp(ds, "ssh", background=zero(ds), padding=0.0, domain="wall", **SCALES)
    assert abs(held.ssh[:, :, 5:]).max() < 1e-9 < 1e-3 < abs(free.ssh[:, :, 5:]).max()


def test_flow_carries_the_observation_and_orientation_does_not_matter():
    ds = dataset((4, 10, 10))
    ds["ssh"] = ds.ssh.where(False)
    ds["ssh"][0, 4, 2] = 1.0
    options = (
        {"background": zero(ds), "substeps": 5, "padding": 0.8} | SCALES | {"length_scale": 80e3, "time_scale": "30D"}
    )
    moved = advected_interp(ds, "ssh", flow=(0.2, 0.1), **options).ssh
    centre = [float((moved[3].clip(0) ** 4 * x).sum() / (moved[3].clip(0) ** 4).sum()) for x in (ds.lon, ds.lat)]
    metres = 3 * DAY / np.radians(6371229.0)
    assert abs(centre[0] - (-59.5 + 0.2 * metres / np.cos(np.radians(36.1)))) < 0.12
    assert abs(centre[1] - (36.0 + 0.1 * metres)) < 0.12
    turned = ds.isel(lat=slice(None, None, -1)).transpose("lon", "time", "lat")
    options["background"] = zero(turned)
    other = advected_interp(turned, "ssh", flow=(0.2, 0.1), **options).ssh
    assert other.dims == ("lon", "time", "lat")
    np.testing.assert_allclose(other.transpose(*moved.dims).sortby("lat"), moved, atol=1e-9)
    ds["slow"], ds["north"] = ds.u * 0 + 20.0, ds.u * 0 + 0.1
    ds["slow"].attrs["units"], options["background"] = "cm s-1", zero(ds)
    np.testing.assert_allclose(advected_interp(ds, "ssh", flow=("slow", "north"), **options).ssh, moved, atol=1e-9)


def test_windows_agree_with_the_whole_and_share_the_prior():
    ds = dataset((16, 6, 6), part=0.2)
    p = problem(ds)
    p = replace(p, scales=replace(p.scales, time_scale=DAY))
    layout, prior = p.prior(p.scales, None, None)
    ds["ssh"] = (ds.ssh.dims, np.where(ds.ssh.notnull(), layout.inner(simulate(prior, 0)[0]), np.nan))
    options = SCALES | {"time_scale": "1D", "uncertainty": True, "background": zero(ds)}
    whole = advected_interp(ds, "ssh", flow=(0.02, 0.0), **options)
    cut = advected_interp(ds, "ssh", flow=(0.02, 0.0), window="3D", **options)
    assert 0 < abs(whole.ssh - cut.ssh).max() < 0.02
    assert float((whole.ssh - cut.ssh).std()) < 0.005 * 0.5
    assert abs(whole.ssh_error - cut.ssh_error).max() < 2e-3
    layout = Layout.around(ds.lat.values, 0.25, 6, np.arange(16), DAY, padding=0.0, periodic=False)
    windows = layout.windows(3 * DAY, 2 * DAY)
    assert [k.start for _, k in windows] == [0, 3, 6, 9, 12, 15]
    assert {u.stop - u.start for u, _ in windows} == {7}
    assert all(u.start <= k.start and k.stop <= u.stop for u, k in windows)


def test_members_have_the_posterior_spread_and_are_lazy():
    ds = dataset((3, 5, 6))
    options = SCALES | {"flow": (0.1, 0.0), "members": 400, "uncertainty": True}
    found = advected_interp(ds, "ssh", **options)
    mean = advected_interp(ds, "ssh", flow=(0.1, 0.0), **SCALES).ssh
    assert found.ssh.dims == ("member", "time", "lat", "lon")
    assert found.ssh_error.dims == ("time", "lat", "lon")
    assert abs(found.ssh.var("member") / found.ssh_error**2 - 1).max() < 5 * np.sqrt(2 / 400)
    assert (abs(found.ssh.mean("member") - mean) / found.ssh_error).max() < 5 / 20
    few = advected_interp(ds, "ssh", **options | {"members": 3})
    again = advected_interp(ds, "ssh", **options | {"members": 3, "window": "1D"})
    assert not np.array_equal(few.ssh[0], few.ssh[1])
    assert again.sizes == few.sizes

    def refuse(*args, **kwargs):
        message = "computed while the graph was built"
        raise AssertionError(message)

    with dask.config.set(scheduler=refuse):
        lazy = advected_interp(ds.chunk(), "ssh", **options | {"members": 3})
    np.testing.assert_allclose(lazy.compute().ssh, few.ssh, atol=1e-12)
    assert pickle.loads(pickle.dumps(problem(ds)))._found == {}


def test_errors_are_calibrated_on_simulated_truth():
    ds = dataset((3, 7, 7), part=0.3)
    flow = ds.u.mean("time").values, ds.v.mean("time").values
    p = problem(ds)
    layout, prior = p.prior(p.scales, tuple(np.broadcast_to(f, ds.ssh.shape) for f in flow), None)
    truths = layout_inner(layout, simulate(prior, 0, members=40))
    seen = np.isfinite(ds.ssh.values)
    noise = 0.1 * np.random.default_rng(1).standard_normal(truths.shape)
    many = ds.drop_vars("ssh").assign(ssh=(("case", "time", "lat", "lon"), np.where(seen, truths + noise, np.nan)))
    found = advected_interp(
        many, "ssh", flow=(ds.u.mean("time"), ds.v.mean("time")), background=zero(ds), uncertainty=True, **SCALES
    )
    square = (((found.ssh - truths) / found.ssh_error) ** 2).mean(("time", "lat", "lon"))
    assert abs(float(square.mean()) - 1) < 4 * float(square.std()) / np.sqrt(40)
    assert float(square.std()) / np.sqrt(40) < 0.05


def layout_inner(layout, fields):
    return np.stack([layout.inner(f) for f in fields])


def test_scales_and_drift_are_found_by_likelihood():
    ds = dataset((16, 10, 10), part=0.3)
    p = problem(ds, substeps=4)
    p = replace(p, scales=replace(p.scales, drift=(0.1, -0.05)))
    layout, prior = p.prior(p.scales, None, None)
    truth = layout.inner(simulate(prior, 3)[0])
    seen = np.isfinite(ds.ssh.values)
    noise = 0.05 * np.random.default_rng(1).standard_normal(truth.shape)
    ds["ssh"] = (ds.ssh.dims, np.where(seen, truth + noise, np.nan))
    unknown = replace(p, scales=Scales(None, None, None, None, (0.0, 0.0), None))
    scales = unknown.fitted(np.nonzero(seen), ds.ssh.values[seen], None)
    assert np.hypot(scales.drift[0] - 0.1, scales.drift[1] + 0.05) < 0.04
    assert abs(np.log(scales.length_scale / 60e3)) < 0.3
    assert abs(np.log(scales.time_scale / (5 * DAY))) < 0.5
    known = SCALES | {"noise_std": 0.05, "background": zero(ds)}
    found = advected_interp(ds, "ssh", flow="estimate", **known)
    told = advected_interp(ds, "ssh", flow=(0.1, -0.05), **known)
    error, best = (float(np.sqrt(((f.ssh - truth) ** 2).mean())) for f in (found, told))
    assert error < 1.05 * best


def test_scales_are_found_with_a_known_flow():
    ds = dataset((6, 8, 8), part=0.5)
    index = np.nonzero(ds.ssh.notnull().values)
    p = replace(problem(ds), scales=Scales(60e3, 5 * DAY, 0.1, None, (0.0, 0.0), (0.0, 0.0)))
    drift = replace(p.scales, drift=(0.1, 0.0))
    field = tuple(np.full(ds.ssh.shape, x) for x in drift.drift)
    seen = ds.ssh.values[index]
    found = p.fitted(index, seen, field)
    assert found.drift == (0.0, 0.0)
    assert np.isclose(found.signal_std, replace(p, scales=drift).fitted(index, seen, None).signal_std)
    assert not np.isclose(found.signal_std, p.fitted(index, seen, None).signal_std, rtol=1e-6)


def test_conjugate_gradients_give_the_same_and_sampled_errors():
    ds = dataset((3, 6, 6))
    exact = advected_interp(ds, "ssh", uncertainty=True, **SCALES)
    found = advected_interp(ds, "ssh", uncertainty=True, method="cg", **SCALES)
    np.testing.assert_allclose(found.ssh, exact.ssh, atol=1e-6)
    assert abs(found.ssh_error**2 / exact.ssh_error**2 - 1).max() < 5 * np.sqrt(2 / 64)
    assert "from 64 draws" in found.ssh_error.attrs["comment"]


def test_variational_interpolation_offers_this_prior():
    ds = dataset((2, 4, 5))
    found = fourdvar_interp(ds, "ssh", prior="advection_diffusion", prior_settings={"flow": ("u", "v")}, **SCALES)
    np.testing.assert_array_equal(found.ssh, advected_interp(ds, "ssh", flow=("u", "v"), **SCALES).ssh)
    with pytest.raises(OptionError, match="without tiles or members, which alone has prior_settings"):
        fourdvar_interp(ds, "ssh", prior="advection_diffusion", tiles={"lat": 3}, **SCALES)
    with pytest.raises(OptionError, match="which alone has prior_settings"):
        fourdvar_interp(ds, "ssh", prior_settings={"flow": "estimate"}, **SCALES)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"stretch": 0.5}, OptionError, "stretch=0.5"),
        ({"padding": -1.0}, OptionError, "padding=-1.0"),
        ({"members": 1.5}, OptionError, "members=1.5"),
        ({"members": 0}, OptionError, "members=0"),
        ({"flow": (0.1, "v")}, OptionError, "two numbers, or two names"),
        ({"flow": "fast"}, OptionError, "drift='fast'"),
        ({"flow": ("u", "w")}, VariableError, "no variable 'w' for north="),
        ({"flow": ("u", "ssh")}, UnitsError, "flow to the north, 'ssh': units .m. came, .m s-1. wanted"),
        ({"flow": ("u", xr.DataArray([1.0]))}, DimensionError, "north has dimensions"),
        ({"alpha": 3}, OptionError, "alpha=3"),
        ({"scheme": "best"}, OptionError, "scheme='best'"),
        ({"method": "best"}, OptionError, "method='best'"),
        ({"noise_std": xr.zeros_like(dataset().u)}, MissingValueError, "noise_std is not positive"),
        ({"window": 3}, OptionError, "window=3"),
    ],
)
def test_wrong_options_are_told(options, error, says):
    with pytest.raises(error, match=says):
        advected_interp(dataset(), "ssh", **SCALES | options)
