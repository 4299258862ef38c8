"""What every metric promises: lazy, the same for any chunks and order of points, labelled."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import xarray as xr
from metric_fields import ensemble, moved, pair

from xatmo import metrics

HORIZONTAL = ["latitude", "longitude"]
PLAIN = {
    "nrmse": metrics.nrmse,
    "normalized_bias": metrics.normalized_bias,
    "spearman": metrics.spearman,
    "spearman_map": partial(metrics.spearman, dim="time"),
    "ms_ssim": partial(metrics.ms_ssim, data_range=4.0),
    "power_ratio": metrics.power_ratio,
    "normalized_spectral_error": metrics.normalized_spectral_error,
    "log_spectral_distance": metrics.log_spectral_distance,
    "semivariogram_ratio": partial(metrics.semivariogram_ratio, distances=[3e6, 9e6], n_pairs=500),
    "wasserstein": metrics.wasserstein,
    "wasserstein_pooled": partial(metrics.wasserstein, dim=None),
    "wasserstein_unpaired": partial(metrics.wasserstein, paired=False),
    "moments": metrics.moments,
    "moments_pooled": partial(metrics.moments, dim=None),
    "temporal_error": partial(metrics.temporal_error, window="3D"),
    "high_pass_exceedance": partial(metrics.high_pass_exceedance, lmin=3, thresholds=[0.2, 1.0]),
    "gradient_ratio": metrics.gradient_ratio,
    "fss": partial(metrics.fss, threshold=[0.2, 1.0], window=[3, 5]),
    "csi_map": partial(metrics.csi, threshold=0.1, dim="time"),
    "conditional_quantiles": partial(metrics.conditional_quantiles, bins=[-1.0, 0.0, 1.0]),
    "conditional_counts": partial(metrics.conditional_quantiles, bins=4, method="histogram"),
    "diurnal_error": partial(metrics.diurnal_error, harmonic=False),
}
MEMBERS = {
    "crps": metrics.crps,
    "crps_map": partial(metrics.crps, dim="time", estimator="ensemble"),
    "energy_score": metrics.energy_score,
    "brier_score": partial(metrics.brier_score, threshold=[0.0, 0.5]),
    "spread_skill": metrics.spread_skill,
    "spread_skill_binned": partial(metrics.spread_skill, bins=[0.5, 1.0, 1.5]),
    "rank_histogram": metrics.rank_histogram,
    "rank_map": partial(metrics.rank_histogram, dim="time"),
    "reliability": partial(metrics.reliability, threshold=0.3),
}
ALL = {**PLAIN, **MEMBERS}
# Latitude and longitude whole.
WHOLE = ("ms_ssim", "power", "spectral", "semivariogram", "temporal", "high_pass", "gradient", "fss")


def fields(name: str, **options) -> tuple[xr.DataArray, xr.DataArray]:
    options = {"nlat": 24, "nlon": 24, "n": 3} if name == "ms_ssim" else {"n": 6} | options
    return ensemble(**options) if name in MEMBERS else pair(**options)


def as_dataset(found):
    return found if isinstance(found, xr.Dataset) else found.to_dataset(name="score")


@pytest.mark.parametrize("name", ALL)
def test_lazy_and_the_same_for_any_chunks(name, no_compute):
    p, t = fields(name)
    whole = as_dataset(ALL[name](p, t))
    cut = {"time": 2} if any(w in name for w in WHOLE) else {"time": 2, "latitude": 7, "longitude": 10}
    members = {"member": 2} if name in MEMBERS else {}
    with no_compute():
        lazy = as_dataset(ALL[name](p.chunk(cut | members), t.chunk(cut)))
        mixed = as_dataset(ALL[name](p, t.chunk(cut)))
    assert all(v.chunks is not None or n in ("left", "right") for n, v in lazy.items())
    for found in (lazy.compute(), mixed.compute()):
        xr.testing.assert_allclose(found, whole, rtol=1e-9, atol=1e-12)
        assert {n: v.attrs for n, v in found.items()} == {n: v.attrs for n, v in whole.items()}


@pytest.mark.parametrize("name", ALL)
def test_row_order_longitude_range_and_cyclic_column_do_not_matter(name):
    p, t = fields(name)
    first = as_dataset(ALL[name](p, t))
    second = as_dataset(ALL[name](moved(p), moved(t)))
    mixed = as_dataset(ALL[name](p, moved(t)))
    xr.testing.assert_allclose(mixed, first, rtol=1e-9, atol=1e-12)
    for key, value in first.items():
        there = second[key]
        if "longitude" in there.dims:
            assert there.sizes["longitude"] == t.sizes["longitude"] + 1
            np.testing.assert_array_equal(there.isel(longitude=0), there.isel(longitude=-1))
            there = there.isel(longitude=slice(0, -1))
            there = there.assign_coords(longitude=there.longitude % 360).sortby("longitude")
        if "latitude" in there.dims:
            there = there.sortby("latitude", ascending=False)
        np.testing.assert_allclose(there.transpose(*value.dims), value, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ALL)
def test_labels_units_and_types(name):
    p, t = fields(name)
    found = as_dataset(ALL[name](p, t))
    for key, value in found.items():
        assert value.attrs["long_name"], key
        assert value.attrs["units"], key
    assert "metrics." in (found.attrs.get("history") or found["score"].attrs["history"])
    both = xr.Dataset({"t": p, "q": p}), xr.Dataset({"t": t, "q": t})
    many = ALL[name](*both)
    expected = [f"{v}_{n}" for v in "tq" for n in found] if "score" not in found else ["t", "q"]
    assert list(many) == expected
    single = as_dataset(ALL[name](p.astype("float32"), t.astype("float32")))
    if "score" in found:
        assert single["score"].dtype == np.float32
    xr.testing.assert_allclose(single.astype("float64"), found, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("name", [n for n in ALL if "_" not in n or n in metrics.METRICS])
def test_units_are_converted_and_targets_in_other_units_refused(name):
    p, t = fields(name)
    if name in ("brier_score", "high_pass_exceedance", "reliability"):
        return
    found = as_dataset(ALL[name](p, t))
    celsius = (p - 273.15).assign_attrs(units="degC", long_name="temperature")
    converted = as_dataset(ALL[name](celsius, t))
    xr.testing.assert_allclose(converted, found, rtol=1e-6, atol=1e-8)
    with pytest.raises(ValueError, match="units"):
        ALL[name](p.assign_attrs(units="m"), t)
