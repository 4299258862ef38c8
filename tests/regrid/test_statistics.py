"""Most common, smallest and largest value, against loops over cells."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from xatmo import Grid
from xatmo.errors import DimensionError, OptionError
from xatmo.regrid import regrid, statistics, weights_between
from xatmo.regrid.statistics import METHODS, Statistic, result_dtype


def pieces(source: Grid, target: Grid) -> dict[tuple[int, int], list[tuple[int, int, float]]]:
    """Overlaps of all cells: (source row, source column, part of the target cell), by target cell."""
    out = defaultdict(list)
    s_lat, t_lat = (np.sort(np.radians(g.latitude_bounds)) for g in (source, target))
    for i in range(target.nlat):
        for k in range(source.nlat):
            a, b = (i if not target.north_to_south else target.nlat - 1 - i), k
            b = b if not source.north_to_south else source.nlat - 1 - b
            low, high = max(t_lat[a], s_lat[b]), min(t_lat[a + 1], s_lat[b + 1])
            if high - low < 1e-3 * min(t_lat[a + 1] - t_lat[a], s_lat[b + 1] - s_lat[b]):
                continue
            height = (np.sin(high) - np.sin(low)) / (np.sin(t_lat[a + 1]) - np.sin(t_lat[a]))
            for j in range(target.nlon):
                for m in range(source.nlon):
                    for turn in range(-3, 4):
                        t, s = target.longitude_bounds[j : j + 2], source.longitude_bounds[m : m + 2] + 360 * turn
                        width = min(t[1], s[1]) - max(t[0], s[0])
                        if width > 1e-3 * min(t[1] - t[0], s[1] - s[0]):
                            out[i, j].append((k, m, height * width / (t[1] - t[0])))
    return out


def brute(field: np.ndarray, source: Grid, target: Grid, method: str, min_valid: float, skipna: bool) -> np.ndarray:
    out = np.full(target.shape, np.nan)
    for (i, j), cells in pieces(source, target).items():
        areas: dict[float, float] = defaultdict(float)
        for k, m, part in cells:
            areas[float(field[k, m])] += part
        lost = [v for v in areas if np.isnan(v)]
        for v in lost:
            del areas[v]
        if not areas or sum(areas.values()) < min_valid - 1e-6 or (lost and not skipna):
            continue
        if method == "most_common":
            best = max(areas.values())
            out[i, j] = min(v for v, area in areas.items() if area > best - 1e-6)
        else:
            out[i, j] = (min if method == "min" else max)(areas)
    return out


def labelled(values: np.ndarray, grid: Grid) -> xr.DataArray:
    dims = ("time", "latitude", "longitude")[3 - values.ndim :]
    return xr.DataArray(values, coords=grid.coords(), dims=dims, name="kind")


PAIRS = {
    "coarser": (Grid.regular(13, 24), Grid.regular(5, 8)),
    "finer": (Grid.regular(5, 8, poles=False), Grid.regular(9, 20)),
    "turned": (Grid.from_latlon(np.linspace(-80, 80, 9), -180 + 20 * np.arange(18)), Grid.regular(7, 10, poles=False)),
    "box": (
        Grid.from_latlon(np.linspace(50, 20, 11), np.linspace(0, 40, 14)),
        Grid.from_latlon([55, 45, 30], [-5, 10, 30]),
    ),
}


@pytest.mark.parametrize("skipna", [True, False])
@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("method", METHODS)
def test_against_loops_over_cells(method: str, pair: str, skipna: bool) -> None:
    rng = np.random.default_rng(3)
    source, target = PAIRS[pair]
    field = rng.integers(0, 4, source.shape).astype(np.float64)
    field[rng.random(source.shape) < 0.2] = np.nan
    for min_valid in (0.0, 0.5, 1.0):
        out = regrid(labelled(field, source), target, method=method, min_valid=min_valid, skipna=skipna)  # type: ignore[arg-type]
        np.testing.assert_array_equal(out.values, brute(field, source, target, method, min_valid, skipna))


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(3, 9), m=st.integers(4, 10), rows=st.integers(3, 9), columns=st.integers(4, 10),
    start=st.integers(-800, 800), seed=st.integers(0, 99), classes=st.integers(1, 6),
)  # fmt: skip
def test_random_globes(n: int, m: int, rows: int, columns: int, start: int, seed: int, classes: int) -> None:
    source = Grid.regular(n, m, poles=bool(seed % 2))
    target = Grid.from_latlon(
        Grid.regular(rows, 4).latitude[:: 1 - 2 * (seed % 3 > 0)], start / 4 + np.arange(columns) * 360 / columns
    )
    field = np.random.default_rng(seed).integers(0, classes, source.shape)
    for method in METHODS:
        out = regrid(labelled(field, source), target, method=method)  # type: ignore[arg-type]
        assert out.dtype == field.dtype
        np.testing.assert_array_equal(out.values, brute(field.astype(float), source, target, method, 0.5, True))


def test_many_classes_are_sorted_not_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    source, target = Grid.regular(37, 72), Grid.regular(9, 16)
    field = rng.integers(0, 5, source.shape)
    expected = regrid(labelled(field, source), target, method="most_common")
    monkeypatch.setattr(statistics, "_FEW_CLASSES", 0)
    for size in (2_000_000, 50):
        monkeypatch.setattr(statistics, "_PIECES", size)
        np.testing.assert_array_equal(regrid(labelled(field, source), target, method="most_common"), expected)
        gaps = np.where(field == 3, np.nan, field)
        sorted_ = regrid(labelled(gaps, source), target, method="most_common", min_valid=0)
        assert not (sorted_ == 3).any()


def test_equal_areas_give_the_smallest() -> None:
    source, target = Grid.from_latlon([0.5, 1.5], [0.5, 1.5]), Grid.from_latlon([0.5, 1.5], [1.0, 3.0])
    field = labelled(np.array([[7, 2], [2, 9]]), source)
    out = regrid(field.astype(float), target, method="most_common", min_valid=0)
    assert out.values[:, 0].tolist() == [2, 2]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["int8", "int32", "uint16", "bool", "float16", "float32", "M8[ns]"])
def test_types_stay(method: str, dtype: str) -> None:
    rng = np.random.default_rng(3)
    source, target = PAIRS["coarser"]
    field = labelled(rng.integers(0, 2, (2, *source.shape)).astype(dtype), source)
    out = regrid(field, target, method=method)  # type: ignore[arg-type]
    assert out.dtype == np.dtype(dtype)
    assert set(np.unique(out)) <= set(np.unique(field))
    assert (
        out.attrs["cell_methods"]
        == {"most_common": "area: mode", "min": "area: minimum", "max": "area: maximum"}[method]
    )
    box, outside = PAIRS["box"]
    gone = regrid(labelled(np.ones(box.shape).astype(dtype), box), outside, method=method)  # type: ignore[arg-type]
    assert gone.dtype == (np.float64 if np.dtype(dtype).kind in "iub" else np.dtype(dtype))
    assert gone.isnull().any()


def test_text() -> None:
    rng = np.random.default_rng(3)
    source, target = PAIRS["coarser"]
    names = np.array(["", "sea", "land", "ice"])
    codes = rng.integers(0, 4, source.shape)
    out = regrid(labelled(names[codes], source), target, method="most_common", min_valid=0)
    assert out.dtype == names.dtype
    order = np.argsort(names)  # text is ordered by the alphabet
    rank = np.where(codes == 0, np.nan, np.argsort(order)[codes])
    expected = regrid(labelled(rank, source), target, method="most_common", min_valid=0).values
    np.testing.assert_array_equal(
        out.values, np.where(np.isnan(expected), "", names[order][np.nan_to_num(expected).astype(int)])
    )
    masked = regrid(labelled(names[codes], source), target, method="most_common", mask=codes > 0, min_valid=0)
    np.testing.assert_array_equal(masked.values, out.values)
    assert masked.dtype == names.dtype
    with pytest.raises(OptionError, match="method 'max' came for a field of type complex128; wanted numbers"):
        regrid(labelled(codes + 1j, source), target, method="max")
    with pytest.raises(OptionError, match=r"type object; wanted numbers or text of fixed width: da.astype\(str\)"):
        result_dtype(np.dtype(object), weights_between(source, target, "most_common"), 0.5)
    with pytest.raises(DimensionError, match="needs a numeric variable with dimensions"):
        regrid(labelled(names[codes], source), target, method="max")


@pytest.mark.parametrize("method", METHODS)
def test_lazy(method: str, no_compute: Callable[[], AbstractContextManager[None]]) -> None:
    rng = np.random.default_rng(3)
    source, target = PAIRS["coarser"]
    field = labelled(rng.integers(0, 5, (3, *source.shape)), source).transpose("longitude", "time", "latitude")
    with no_compute():
        out = regrid(field.chunk(time=1), target, method=method)  # type: ignore[arg-type]
    assert out.dims == field.dims
    assert out.chunks is not None
    np.testing.assert_array_equal(out.values, regrid(field, target, method=method).values)  # type: ignore[arg-type]


def test_cells_that_touch_by_rounding_do_not_count() -> None:
    source = Grid.from_latlon(
        (np.arange(20) * 0.1 + 0.05).astype(np.float32), (np.arange(20) * 0.1 + 0.05).astype(np.float32)
    )
    target = Grid.from_latlon([0.5, 1.5], [0.5, 1.5])
    field = np.zeros(source.shape)
    field[10:] = 9
    out = regrid(labelled(field, source), target, method="max")
    assert out.values.tolist() == [[0, 0], [9, 9]]


def test_kernel_alone() -> None:
    source, target = PAIRS["coarser"]
    for method in METHODS:
        weights = weights_between(source, target, method)
        assert result_dtype(np.dtype("int8"), weights, 0.5) == np.int8
        kernel = Statistic(weights, np.dtype(float))
        assert np.isnan(kernel(np.full((2, 1, *source.shape), np.nan))).all()
        assert kernel(np.zeros((0, *source.shape))).shape == (0, *target.shape)


def test_basins_and_land(shared_data: Callable[[str], Path]) -> None:
    with xr.open_dataset(shared_data("woa_basin_mask_1deg.nc"), decode_times=False) as ds:
        basin = ds["basin"].isel(Z=0).load()
    target = Grid.from_latlon(Grid.regular(36, 72, poles=False).latitude, 2.5 + 5 * np.arange(72))
    out = regrid(basin, target, method="most_common")
    assert set(np.unique(out.values[np.isfinite(out.values)])) <= set(
        np.unique(basin.values[np.isfinite(basin.values)])
    )
    same = basin.values[::-1].reshape(36, 5, 72, 5)
    uniform = (same == same[:, :1, :, :1]).all(axis=(1, 3))
    np.testing.assert_array_equal(out.transpose("Y", "X").values[uniform], same[:, 0, :, 0][uniform])
    with xr.open_dataset(shared_data("wfdei_land_sea_mask_0p5deg.nc")) as ds:
        land = ds["lsm"].load()
    most = regrid(land, Grid.regular(91, 180), method="most_common")
    fraction = regrid(land, Grid.regular(91, 180), method="conservative")
    clear = np.abs(fraction - 0.5) > 1e-6
    np.testing.assert_array_equal((most == 1).values[clear], (fraction > 0.5).values[clear])
