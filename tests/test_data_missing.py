"""What the training stream does with missing values, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from windows import SIZES, counting, cut, firsts

import xatmo
from xatmo.data import SampleStream
from xatmo.errors import CoordinateError, DimensionError, MissingValueError, OptionError
from xatmo.patches import _sources, patches, plan


# ---------------------------------------------------------------------- missing values
def with_gaps() -> xr.DataArray:
    da = counting()
    da[:, :, :9] = np.nan
    return da


def test_missing_values_raise_unless_something_is_said_about_them() -> None:
    p = plan(SIZES, {"time": 1, "lat": 10, "lon": 12})
    with pytest.raises(MissingValueError, match=r"a batch has \d+ missing or infinite values in 'x'; pass valid=0.5"):
        list(SampleStream(with_gaps(), p))
    filled = torch.cat(list(SampleStream(with_gaps(), p, fill=-1.0)))
    assert filled.isfinite().all()
    for batch, mask in SampleStream(with_gaps(), p, mask=True):
        assert mask.dtype == torch.bool
        assert mask.shape == batch.shape
        assert torch.equal(mask, batch.isfinite())
    grouped = next(iter(SampleStream({"a": with_gaps(), "b": counting()}, p, mask=True, fill=0.0)))
    assert grouped.keys() == {"a", "a_mask", "b", "b_mask"}
    assert grouped["b_mask"].all()
    assert (grouped["a"][~grouped["a_mask"]] == 0).all()


def test_fill_comes_after_normalization_and_large_numbers_are_no_gaps() -> None:
    p = plan(SIZES, {"time": 1, "lat": 10, "lon": 12})
    (batch, mask), *_ = SampleStream(with_gaps(), p, mask=True, fill=0.0, normalizer={"x": (5.0, 2.0)})
    assert (batch[~mask] == 0).all()
    large = xr.full_like(counting(), 3e38)
    assert torch.isfinite(next(iter(SampleStream(large, p)))).all()


@pytest.mark.parametrize("chunks", [None, {"time": 5, "lat": 7, "lon": 10}])
def test_only_valid_windows_are_drawn(chunks: dict[str, int] | None) -> None:
    da = with_gaps() if chunks is None else with_gaps().chunk(chunks)
    p = plan(SIZES, {"time": 2, "lat": 10, "lon": 12}, overlap={"lon": 4}, periodic=["lon"])
    fraction = np.array([np.isfinite(cut(with_gaps().values, p, i)).mean() for i in range(len(p))])
    stream = SampleStream(da, p, valid=1.0)
    np.testing.assert_allclose(stream.valid_fraction, fraction)
    for chosen, given_ in [
        (fraction == 1, 1.0),
        (fraction >= 0.3, 0.3),
        (fraction < 0.9, fraction < 0.9),
        (fraction < 0.9, lambda f: f < 0.9),
    ]:
        stream = SampleStream(da, p, valid=given_, fill=-1.0, batch_size=5)
        assert stream.n_samples == chosen.sum()
        assert sum(map(len, stream)) == chosen.sum()
        got = sorted(w.numpy().tobytes() for b in stream for w in b)
        wanted = [np.nan_to_num(cut(with_gaps().values, p, int(i)), nan=-1.0) for i in np.flatnonzero(chosen)]
        assert got == sorted(w.tobytes() for w in wanted)
    assert torch.cat(list(SampleStream(da, p, valid=1.0))).isfinite().all()
    with pytest.raises(MissingValueError, match="none of .* windows is valid"):
        len(SampleStream(xr.full_like(da, np.nan), p, valid=0.5))


# ---------------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({"batch_size": 0}, OptionError, "batch_size=0 came; wanted a whole number of at least 1"),
        ({"threads": 0}, OptionError, "threads=0 came"),
        ({"seed": -1}, OptionError, "seed=-1 came"),
        ({"factor": 0}, OptionError, "factor=0 came"),
        ({"squeeze": ["lat"]}, DimensionError, "cannot squeeze 'lat': windows have 10 points"),
        ({"squeeze": ["level"]}, DimensionError, "cannot squeeze 'level': windows have no such dimension"),
        ({"valid": np.ones(3, dtype=bool)}, OptionError, r"valid has shape \(3,\); wanted one value for each of 72"),
        ({"valid": 2}, OptionError, "valid=2 came; wanted the least part of a window's points that hold numbers"),
        ({"rank": 2, "world_size": 2}, OptionError, "rank 2 of 2 came"),
    ],
)  # fmt: skip
def test_options(kwargs: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        SampleStream(counting(), plan(SIZES, {"time": 1, "lat": 10, "lon": 12}), **kwargs)


def test_fields_that_do_not_fit() -> None:
    p = plan(SIZES, {"time": 1, "lat": 10, "lon": 12}, periodic=["lon"])
    with pytest.raises(DimensionError, match="field 'x' has 21 points along 'lat'; the plan wants 20"):
        SampleStream(counting(lat=21), p)
    with pytest.raises(DimensionError, match="field 'x' has 39 points along 'lat'; the plan wants 2 x 20"):
        SampleStream(counting(lat=39, lon=72), p, factor=2)
    with pytest.raises(DimensionError, match="field 'x' has 73 points along 'lon'; the plan wants 2 x 36"):
        SampleStream(counting(lat=40, lon=73), p, factor=2)
    with pytest.raises(DimensionError, match=r"field 'x' has dimensions \('a',\); wanted some of the plan's"):
        SampleStream(xr.DataArray(np.zeros(3), dims="a", name="x"), p)
    with pytest.raises(DimensionError, match="differ along 'lat'.*make them groups of their own"):
        SampleStream([counting(), counting(lat=40, lon=72)], p, factor=2)
    with pytest.raises(OptionError, match=r"fields of type \['int'\] came; wanted DataArrays"):
        SampleStream([3], p)  # type: ignore[list-item]
    with pytest.raises(OptionError, match="1 windows cannot be shared among 2 ranks"):
        len(SampleStream(counting(), plan(SIZES, {}), rank=0, world_size=2))


def test_fields_on_other_points_are_refused() -> None:
    p = plan(SIZES, {"time": 1, "lat": 10, "lon": 12}, periodic=["lon"])
    grid, fine = xatmo.Grid.regular(20, 36, poles=False), xatmo.Grid.regular(40, 72, poles=False)
    a = counting().assign_coords(grid.coords(lat="lat", lon="lon"))
    b = counting(lat=40, lon=72).assign_coords(fine.coords(lat="lat", lon="lon"))
    both = SampleStream({"a": a, "b": b}, p, factor={"b": 2})
    assert len(both) > 0
    for other in (b.isel(lat=slice(None, None, -1)), b.assign_coords(lon=b.lon + 60)):
        with pytest.raises(CoordinateError, match="do not lie on the same points along"):
            SampleStream({"a": a, "b": other}, p, factor={"b": 2})
    when = a.assign_coords(time=np.datetime64("2020-01-01") + np.arange(12))
    with pytest.raises(CoordinateError, match="do not lie on the same points along 'time'"):
        SampleStream([when, when.assign_coords(time=when.time + np.timedelta64(1, "D"))], p)


def test_what_goes_wrong_while_reading_comes_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: _sources.Source, box: Any, buffers: Any) -> Any:
        raise OSError("disk on fire")

    monkeypatch.setattr(_sources.Source, "read", broken)
    with pytest.raises(OSError, match="disk on fire"):
        list(SampleStream(counting().chunk(time=1), plan(SIZES, {"time": 1})))


def test_patches_loader_is_the_stream() -> None:
    cut_ = patches(counting(), {"time": 1, "lat": 10, "lon": 12})
    loader = cut_.loader(batch_size=5, seed=4, num_workers=2, drop_last=True)
    assert len(loader) == 72 // 5
    assert loader.threads == 2
    assert sorted(firsts(loader))[0] >= 0
