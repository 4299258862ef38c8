"""Results say which scales they were made with, where these were estimated."""

from __future__ import annotations

import re

import numpy as np
import pytest
import xarray as xr

from tests.support.sea import sea
from xatmo.assimilation import advected_interp, estimate_scales, fourdvar_interp, optimal_interp


@pytest.mark.parametrize("interp", [optimal_interp, fourdvar_interp, advected_interp])
def test_estimated_scales_are_told(interp) -> None:
    ds = sea(6, 12, 14, part=0.2)
    out = interp(ds, "seen", noise_std=0.1)["seen"]
    told = out.attrs["estimated_scales"]
    assert "noise_std 0.1 m" in told
    length, time, signal = (
        float(re.search(f"{name} ([0-9.e+-]+) {unit}", told).group(1))
        for name, unit in (("length_scale", "km"), ("time_scale", "days"), ("signal_std", "m"))
    )
    again = interp(
        ds, "seen", noise_std=0.1, length_scale=1e3 * length, time_scale=np.timedelta64(round(86400 * time), "s"),
        signal_std=signal,
    )["seen"]  # fmt: skip
    assert "estimated_scales" not in again.attrs
    np.testing.assert_allclose(again, out, atol=0.02)
    if interp is optimal_interp:
        found = estimate_scales(ds, "seen", noise_std=0.1)
        assert length == pytest.approx(found.length_scale / 1e3, rel=1e-3)


def test_of_several_slabs_their_number_is_told() -> None:
    ds = sea(6, 12, 14, part=0.2)
    two = xr.concat([ds.seen, 2 * ds.seen], "member").rename("seen").to_dataset()
    assert "each of 2 slabs" in optimal_interp(two, "seen", noise_std=0.1).seen.attrs["estimated_scales"]
    lazy = optimal_interp(ds.chunk(), "seen", noise_std=0.1).seen
    assert "estimated_scales" not in lazy.attrs
