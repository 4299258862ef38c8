from __future__ import annotations

from functools import partial

import numpy as np
import pyshtools
import pytest
import xarray as xr
from metric_fields import box, pair

import xatmo
from xatmo import Grid, metrics
from xatmo.errors import DimensionError, OptionError, VariableError


def test_power_ratio_agrees_with_pyshtools():
    p, t = pair(n=3, nlat=24 + 1, nlon=48)
    found = metrics.power_ratio(p, t)
    assert found.dims == ("degree",)
    np.testing.assert_array_equal(found.degree, np.arange(found.size))
    assert found.attrs["units"] == "1"
    smooth = [x.atmo.truncate(8) for x in (p, t)]  # which both analyses recover exactly
    # pyshtools' grid has neither the southern pole nor a repeated column.
    each = [[pyshtools.SHGrid.from_array(x[:-1]).expand().spectrum() for x in field.values] for field in smooth]
    powers = [np.mean(x, axis=0)[:9] for x in each]
    np.testing.assert_allclose(metrics.power_ratio(*smooth)[:9], powers[0] / powers[1], rtol=1e-8)


def test_spectra_are_averaged_before_the_ratio():
    p, t = pair(n=3)
    by_time = metrics.power_ratio(p, t, dim=["latitude", "longitude"])
    assert by_time.dims == ("time", "degree")
    powers = [x.atmo.energy_spectrum() for x in (p, t)]
    np.testing.assert_allclose(by_time, powers[0] / powers[1], rtol=1e-9)
    whole = powers[0].mean("time") / powers[1].mean("time")
    np.testing.assert_allclose(metrics.power_ratio(p, t), whole, rtol=1e-9)


def wind(seed: int, n: int = 2) -> xr.Dataset:
    grid = Grid.gaussian(16)
    rng = np.random.default_rng(seed)
    noise = xr.DataArray(
        rng.normal(size=(n, *grid.shape)), {**grid.coords(), "time": np.arange(n)}, ("time", "latitude", "longitude")
    )
    ds = xr.Dataset(
        {"vo": noise.atmo.filter(lmin=1, lmax=14), "d": 0.5 * noise.roll(longitude=3).atmo.filter(lmin=1, lmax=14)}
    )
    return ds.map(lambda x: x.assign_attrs(units="s-1"))


def test_winds_are_compared_as_vectors():
    vo_d = wind(0), wind(1)
    uv = [ds.atmo.wind() for ds in vo_d]
    expected = [x.atmo.energy_spectrum()["energy"].mean("time") for x in uv]
    ratio = (expected[0] / expected[1]).isel(degree=slice(1, 15))
    from_wind = metrics.power_ratio(*uv)
    assert list(from_wind) == ["kinetic_energy"]
    np.testing.assert_allclose(from_wind["kinetic_energy"].isel(degree=slice(1, 15)), ratio, rtol=1e-8)
    from_vorticity = metrics.power_ratio(*vo_d)["kinetic_energy"]
    np.testing.assert_allclose(from_vorticity.isel(degree=slice(1, 15)), ratio, rtol=1e-8)
    assert np.isnan(from_vorticity[0])
    named = [x.rename(u="a", v="b").drop_attrs(deep=True).assign_coords(x.coords) for x in uv]
    again = metrics.power_ratio(*named, u="a", v="b")["kinetic_energy"]
    np.testing.assert_allclose(again.isel(degree=slice(1, 15)), ratio, rtol=1e-8)
    more = [x.assign(t=x["u"].assign_attrs(units="K", standard_name="air_temperature")) for x in uv]
    assert list(metrics.power_ratio(*more)) == ["t", "kinetic_energy"]


def test_boxes_are_compared_by_wavenumber():
    t = box()
    p = (0.5 * t).assign_attrs(t.attrs)
    found = metrics.power_ratio(p, t)
    assert found.dims == ("wavenumber",)
    np.testing.assert_allclose(found[1:], 0.25, rtol=1e-9)
    assert metrics.log_spectral_distance(p, t).item() == pytest.approx(20 * np.log10(2), rel=1e-9)
    with pytest.raises(OptionError, match="lmin=3 came for a box"):
        metrics.log_spectral_distance(p, t, lmin=3)


def test_error_of_independent_noise_has_twice_the_power():
    grid = Grid.gaussian(24)
    rng = np.random.default_rng(0)
    p, t = (
        xr.DataArray(rng.normal(size=(30, *grid.shape)), grid.coords(), ("time", "latitude", "longitude")) for _ in "ab"
    )
    found = metrics.normalized_spectral_error(p, t).isel(degree=slice(5, None))
    np.testing.assert_allclose(found, 2, atol=0.3)
    np.testing.assert_allclose(metrics.normalized_spectral_error(0 * p, t), 1, rtol=1e-9)
    assert abs(metrics.normalized_spectral_error(t, t)).max() == 0


def test_log_spectral_distance_counts_degrees_alike():
    p, t = pair(n=2)
    ratio = metrics.power_ratio(p, t)
    expected = np.sqrt(((10 * np.log10(ratio[1:])) ** 2).mean())
    assert metrics.log_spectral_distance(p, t).item() == pytest.approx(expected.item(), rel=1e-10)
    high = np.sqrt(((10 * np.log10(ratio[7:])) ** 2).mean())
    assert metrics.log_spectral_distance(p, t, lmin=7).item() == pytest.approx(high.item(), rel=1e-10)
    none = t.atmo.truncate(5)
    coarse = none.atmo.to_spectral().atmo.to_grid(Grid.regular(13, 24)) * 0
    assert metrics.log_spectral_distance(coarse.assign_attrs(t.attrs), t).item() == np.inf
    with pytest.raises(OptionError, match="lmin=99 leaves no degree"):
        metrics.log_spectral_distance(p, t, lmin=99)


def test_semivariogram_of_both_from_the_same_pairs():
    p, t = pair(n=2)
    distances = [2e6, 5e6, 1e7]
    found = metrics.semivariogram_ratio(p, t, distances=distances, n_pairs=3000, seed=3)
    both = [x.atmo.semivariogram(distances=distances, n_pairs=3000, seed=3).mean("time") for x in (p, t)]
    np.testing.assert_allclose(found, both[0] / both[1], rtol=1e-10)
    assert found.distance.attrs["units"] == "m"
    gap = metrics.semivariogram_ratio(p, t.where(t < 1.5), distances=distances, n_pairs=3000)
    same = metrics.semivariogram_ratio(p.where(t < 1.5), t.where(t < 1.5), distances=distances, n_pairs=3000)
    xr.testing.assert_allclose(gap, same)


def test_refusals():
    p, t = pair(n=2)
    with pytest.raises(DimensionError, match="power_ratio averages over latitude and longitude"):
        metrics.power_ratio(p, t, dim="time")
    with pytest.raises(DimensionError, match="semivariogram_ratio pairs points along"):
        metrics.semivariogram_ratio(p, t, dim="time")
    with pytest.raises(OptionError, match="power_ratio: kind='zonal'"):
        metrics.power_ratio(p, t, kind="zonal")
    with pytest.raises(VariableError, match="no variable 'v' in this Dataset"):
        metrics.power_ratio(xr.Dataset({"u": t, "v": t}), xr.Dataset({"u": t}), u="u", v="v")
    with pytest.raises(OptionError, match="verify takes variables one by one"):
        metrics.verify(p, t, metrics=partial(metrics.power_ratio, u="u", v="v"))
    with pytest.raises(OptionError, match="came without two Datasets"):
        metrics.power_ratio(p, t, u="u", v="v")


def test_bounds_by_bootstrap():
    p, t = pair(n=12)
    found = metrics.verify(p, t, metrics=["log_spectral_distance", "power_ratio"], bootstrap={"dim": "time", "n": 40})
    assert found["log_spectral_distance_lower"] <= found["log_spectral_distance_upper"]
    assert (found["power_ratio_lower"] <= found["power_ratio_upper"]).all()
    assert xatmo.metrics.METRICS["power_ratio"].units == "1"


def test_coherence_by_verify():
    p, t = pair(n=8, nlat=25, nlon=48)
    score = partial(metrics.effective_resolution, criterion="coherence")
    found = metrics.verify(p, t, metrics=score)["effective_resolution"]
    assert found.item() == metrics.effective_resolution(p, t, criterion="coherence").item()
