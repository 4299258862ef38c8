from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from metric_fields import box, globe, pair

from xatmo import metrics
from xatmo.errors import DimensionError, MissingValueError, OptionError
from xatmo.metrics.exceedance import high_pass


def test_counts_of_the_filtered_difference():
    p, t = pair(n=8)
    found = metrics.high_pass_exceedance(p, t, lmin=4, thresholds=[0.1, 0.3])
    rough = np.abs((p - t).atmo.filter(lmin=4))
    for level in (0.1, 0.3):
        np.testing.assert_array_equal(found["count"].sel(threshold=level), (rough > level).sum("time"))
    np.testing.assert_allclose(found["frequency"], found["count"] / 8)
    np.testing.assert_allclose(found["rms"], np.sqrt((rough**2).mean("time")), rtol=1e-10)
    assert found["threshold"].attrs["units"] == found["rms"].attrs["units"] == "K"


def test_large_scales_do_not_count():
    t = globe(n=3)
    p = (t + globe(5, n=3).atmo.truncate(3)).assign_attrs(t.attrs)
    assert metrics.high_pass_exceedance(p, t, lmin=4, thresholds=1e-6)["count"].sum() == 0
    assert metrics.high_pass_exceedance(p, t, lmin=1, thresholds=1e-6)["count"].sum() > 0


def test_wavelength_and_degree_name_the_same_cutoff():
    p, t = pair(n=3)
    wavelength = 2 * np.pi * 6371229 / np.sqrt(4 * 5)
    first = metrics.high_pass_exceedance(p, t, lmin=4, thresholds=0.2)
    xr.testing.assert_allclose(metrics.high_pass_exceedance(p, t, max_wavelength=wavelength, thresholds=0.2), first)


def test_boxes_lose_their_long_cosines():
    t = box()
    y, x = (np.arange(n) + 0.5 for n in (16, 20))
    long = np.cos(np.pi * y / 16)[:, None] * np.ones(20)  # half a wave
    short = np.cos(np.pi * 12 * y / 16)[:, None] * np.cos(np.pi * 15 * x / 20)
    both = t.copy(data=np.broadcast_to(5 + long + short, t.shape))
    cut = 3e5
    np.testing.assert_allclose(high_pass(both, max_wavelength=cut), np.broadcast_to(short, t.shape), atol=1e-12)
    rest = high_pass(t, max_wavelength=cut)
    np.testing.assert_allclose(high_pass(rest, max_wavelength=cut), rest, atol=1e-12)  # a projection
    flipped = t.isel(lat=slice(None, None, -1))
    np.testing.assert_allclose(high_pass(flipped, max_wavelength=cut).isel(lat=slice(None, None, -1)), rest, atol=1e-12)
    degree = high_pass(t, lmin=int(2 * np.pi * 6371229 / cut))
    assert np.abs(degree - rest).max() < 0.5


def test_a_box_across_greenwich_in_order_of_longitude():
    t = box()
    t = t.assign_coords(lon=np.arange(20) * 0.5 - 5)
    cut = t.assign_coords(lon=t.lon % 360).sortby("lon")
    cut.lon.attrs = {"units": "degrees_east"}
    expected = high_pass(t.assign_coords(lon=t.lon.assign_attrs(units="degrees_east")), max_wavelength=3e5)
    found = high_pass(cut, max_wavelength=3e5)
    np.testing.assert_allclose(found, expected.assign_coords(lon=expected.lon % 360).sortby("lon"), atol=1e-12)


def test_refusals():
    p, t = pair(n=2)
    with pytest.raises(OptionError, match="lmin=None and max_wavelength=None came; wanted one of the two"):
        metrics.high_pass_exceedance(p, t, thresholds=1)
    with pytest.raises(OptionError, match="lmin=3 and max_wavelength=1000"):
        metrics.high_pass_exceedance(p, t, thresholds=1, lmin=3, max_wavelength=1e3)
    with pytest.raises(OptionError, match="thresholds=-1; wanted numbers from 0 up"):
        metrics.high_pass_exceedance(p, t, thresholds=-1, lmin=3)
    with pytest.raises(OptionError, match="none; wanted lmin <= lmax"):
        metrics.high_pass_exceedance(p, t, thresholds=1, lmin=400)
    gap = t.copy()
    gap[0, 3, 3] = np.nan
    with pytest.raises(MissingValueError, match="met 1 missing"):
        metrics.high_pass_exceedance(p, gap, thresholds=1, lmin=3)
    b = box()
    with pytest.raises(OptionError, match="the box resolves no wave as short"):
        high_pass(b, max_wavelength=1e3)
    with pytest.raises(OptionError, match="max_wavelength=-1; wanted metres above 0"):
        high_pass(b, max_wavelength=-1)
    with pytest.raises(OptionError, match="lmin=0; wanted a degree from 1 up"):
        high_pass(b, lmin=0)
    with pytest.raises(MissingValueError, match="met 128 missing"):
        high_pass(b.where(b.lon > b.lon[1]), max_wavelength=3e5).compute()
    with pytest.raises(DimensionError, match="dim has 'level'"):
        metrics.high_pass_exceedance(p, t, thresholds=1, lmin=3, dim="level")
