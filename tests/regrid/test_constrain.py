"""Hard constraints on labelled fields: exact means on every kind of grid, signs, gaps, chunks, labels."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xatmo  # noqa: F401  (registers .atmo)
from xatmo import regrid
from xatmo.errors import CoordinateError, DimensionError, GridError, OptionError, UnitsError, VariableError
from xatmo.grids import Grid
from xatmo.regrid import _shares
from xatmo.regrid.constrain import KINDS, _cells, constrain

NoCompute = Callable[[], AbstractContextManager[None]]

GRIDS = {
    "no poles": (Grid.regular(72, 144, poles=False), 4),
    "poles by 2": (Grid.regular(37, 72), 2),
    "poles by 4": (Grid.regular(181, 360), 4),
    "poles, rows left over": (Grid.regular(37, 72), 5),
    "region, partial last blocks": (Grid.from_latlon(np.linspace(50, 20, 31), np.linspace(300, 342, 43)), 4),
    "Gaussian": (Grid.gaussian(32), 3),
    "one pole": (Grid.driscoll_healy(36), 4),
}


def rain(grid: Grid, seed: int = 0, times: int = 2, name: str = "tp") -> xr.DataArray:
    values = np.random.default_rng(seed).gamma(0.4, size=(times, *grid.shape)).astype(np.float32)
    values[values < 0.05] = 0
    return xr.DataArray(
        values, {"time": np.arange(times), **grid.coords()}, ("time", "latitude", "longitude"), name, {"units": "mm"}
    )


def pair(which: str, **more: Any) -> tuple[xr.DataArray, xr.DataArray, int]:
    """A fine field, coarse ones of another field, and the factor."""
    grid, factor = GRIDS[which]
    return rain(grid, **more), regrid.coarsen(rain(grid, seed=1, **more), factor), factor


def off(made: xr.DataArray, coarse: xr.DataArray, factor: int) -> float:
    """Largest error of the means, as a part of the range."""
    back = regrid.coarsen(made, factor)
    return float(abs(back - coarse.sel(latitude=back.latitude)).max() / (coarse.max() - coarse.min()))


# ---------------------------------------------------------------------- the numbers
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", GRIDS)
def test_coarsening_gives_the_coarse_field(which: str, kind: str) -> None:
    fine, coarse, factor = pair(which)
    fine = fine.isel(latitude=slice(None, None, -1)) if which == "poles by 2" else fine
    made = constrain(fine, coarse, kind=kind)
    assert off(made, coarse, factor) < 1e-6
    assert made.dtype == np.float32
    if kind != "additive":
        assert float(made.min()) >= 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_area_mean_is_kept(kind: str) -> None:
    grid, factor = GRIDS["poles by 4"]
    fine, coarse, _ = pair("poles by 4")
    areas = regrid.coarsening(grid, factor).areas
    wanted = (coarse.values * areas).sum(axis=(1, 2)) / areas.sum()
    made = constrain(fine, coarse, kind=kind).values
    np.testing.assert_allclose((made * grid.areas).sum(axis=(1, 2)) / grid.areas.sum(), wanted, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_closed_forms_where_no_row_is_shared(kind: str) -> None:
    fine, coarse, factor = pair("no poles")
    y = fine.values.astype(np.float64)
    x = np.repeat(np.repeat(coarse.values.astype(np.float64), factor, 1), factor, 2)

    def mean(field: np.ndarray) -> np.ndarray:
        weight = GRIDS["no poles"][0].areas
        blocks = (weight * field).reshape(2, 18, 4, 36, 4).sum(axis=(2, 4))
        blocks = blocks / weight.reshape(18, 4, 36, 4).sum(axis=(1, 3))
        return np.repeat(np.repeat(blocks, factor, 1), factor, 2)

    wanted = {
        "additive": lambda: y + (x - mean(y)),
        "multiplicative": lambda: y * x / mean(y),
        "softmax": lambda: np.exp(y / x) * x / mean(np.exp(y / x)),
    }[kind]()
    np.testing.assert_allclose(constrain(fine, coarse, kind=kind).values, wanted, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("factor", [2, 3, 4, 6])
def test_the_additive_correction_is_a_right_inverse_near_the_smallest(factor: int) -> None:
    found = regrid.coarsening(Grid.regular(37, 72), factor)
    cells = _cells(found, True)
    lack = np.random.default_rng(0).normal(size=cells.shape)
    correction = _shares.constrain(np.zeros(found.fine.shape), lack, cells, "additive")
    weights = found.weights()
    lat = weights.lat.matrix.toarray()
    np.testing.assert_allclose(lat @ correction @ weights.lon.matrix.toarray().T, lack, atol=1e-12)
    flat = _shares.constrain(np.zeros(found.fine.shape), np.ones(cells.shape), cells, "additive")
    np.testing.assert_allclose(flat, 1, atol=1e-12)
    # The smallest in the area-weighted norm is D^-1 A^T (A D^-1 A^T)^-1.
    spread = lat.T / found.fine.weights[:, None]
    least = np.repeat(spread @ np.linalg.solve(lat @ spread, lack), factor, axis=1)
    norms = [float((found.fine.areas * f**2).sum()) for f in (correction, least)]
    assert norms[1] <= norms[0] * (1 + 1e-9) < 1.03 * norms[1]


def test_rows_between_two_cells_lie_between_them() -> None:
    grid = Grid.regular(37, 72)
    coarse = regrid.coarsen(rain(grid), 4)
    step = coarse.copy(data=np.broadcast_to(np.arange(1.0, 10)[:, None], coarse.shape).copy())
    for kind in KINDS:
        made = constrain(rain(grid).copy(data=np.ones((2, *grid.shape))), step, kind=kind).values
        assert (np.diff(made[0], axis=0) > -1e-12).all()
        assert (np.diff(made[0], axis=1) == 0).all()


def test_a_value_depends_on_its_own_and_the_neighbouring_cells_only() -> None:
    fine, coarse, factor = pair("poles by 4")
    for kind in KINDS:
        other = coarse.copy(deep=True)
        other[:, 20, 30] += 1.0
        changed = (constrain(fine, other, kind=kind) != constrain(fine, coarse, kind=kind)).any("time").values
        rows, columns = np.nonzero(changed)
        assert 19 * factor <= rows.min(), kind
        assert rows.max() <= 22 * factor, kind
        assert set(columns // factor) == {30}


@pytest.mark.parametrize("kind", ["multiplicative", "softmax"])
@pytest.mark.parametrize("which", ["no poles", "poles by 2"])
def test_any_unit_gives_the_same(which: str, kind: str) -> None:
    fine, coarse, _ = pair(which)
    fine, coarse = fine.astype(np.float64), coarse.astype(np.float64)
    for scale in (1e-9, 1e9):
        small = constrain(fine * scale, coarse * scale, kind=kind) / scale
        np.testing.assert_allclose(small.values, constrain(fine, coarse, kind=kind).values, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", ["no poles", "poles by 2"])
def test_a_field_that_fits_changes_little(which: str, kind: str) -> None:
    grid, factor = GRIDS[which]
    fine = (280 + 0.1 * (rain(grid) - 1)).astype(np.float64)
    made = constrain(fine, regrid.coarsen(fine, factor), kind=kind)
    # e^(y / x) is its own first order: what is left is the square of the variation, here 1e-3.
    assert float(abs(made - fine).max()) < (1e-3 if kind == "softmax" else 1e-9)


@pytest.mark.parametrize("which", ["no poles", "poles by 2"])
def test_signs_and_nothing_to_scale(which: str) -> None:
    fine, coarse, factor = pair(which)
    coarse = coarse.copy(data=coarse.values.astype(np.float64))
    coarse[:, 3, 4], coarse[:, 5:7, 8], coarse[:, 10:13, 6] = 0.0, -2.0, 3.0
    fine[:, 9 * factor : 14 * factor, 6 * factor : 7 * factor] = 0.0
    fine[:, 4 * factor : 5 * factor, :factor] = -1.0
    for kind in ("multiplicative", "softmax"):
        made = constrain(fine, coarse, kind=kind)
        assert off(made, coarse, factor) < 1e-6
        inside = made.values[:, 3 * factor + 1 : 4 * factor, 4 * factor : 5 * factor]
        assert (inside == 0).all()
        assert (made.values[:, 5 * factor + 1 : 7 * factor, 8 * factor : 9 * factor] <= 0).all()
        # Without a pattern, a cell and its neighbours of the same value are flat.
        np.testing.assert_allclose(
            made.values[:, 11 * factor : 12 * factor + 1, 6 * factor : 7 * factor], 3.0, rtol=1e-6
        )
        positive = np.repeat(np.repeat(coarse.values[:, 14:17] >= 0, factor, 1), factor, 2)
        assert (made.values[:, 14 * factor : 17 * factor, : positive.shape[2]][positive] >= 0).all()


def test_softmax_stands_wild_numbers() -> None:
    for which in ("no poles", "poles by 2"):
        fine, coarse, factor = pair(which)
        fine, coarse = fine.astype(np.float64), coarse.astype(np.float64)
        rng = np.random.default_rng(3)
        fine = fine.copy(data=rng.normal(size=fine.shape) * 10.0 ** rng.uniform(-30, 30, size=fine.shape))
        coarse = coarse.copy(data=10.0 ** rng.uniform(-300, 3, size=coarse.shape))
        with np.errstate(all="raise", under="ignore"):
            made = constrain(fine, coarse, kind="softmax")
        assert off(made, coarse, factor) < 1e-12
        assert float(made.min()) >= 0


# ---------------------------------------------------------------------- missing values
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", ["no poles", "poles by 2", "region, partial last blocks"])
def test_missing_values_stay_and_count_in_no_mean(which: str, kind: str) -> None:
    fine, coarse, factor = pair(which)
    land = np.random.default_rng(5).random(fine.shape[1:]) < 0.3
    land[:factor, : 2 * factor] = True
    fine = fine.where(~xr.DataArray(land, dims=("latitude", "longitude")))
    coarse[:, 2, 3] = np.nan
    made = constrain(fine, coarse, kind=kind)
    assert (made.isnull() == fine.isnull()).all()
    back, wanted = regrid.coarsen(made, factor, min_valid=0.6).values, coarse.values
    both = np.isfinite(back) & np.isfinite(wanted)
    assert both.mean() > 0.5
    np.testing.assert_allclose(back[both], wanted[both], rtol=1e-5, atol=1e-6)
    free = (slice(None), slice(2 * factor + 1, 3 * factor), slice(3 * factor, 4 * factor))
    np.testing.assert_array_equal(made.values[free], fine.values[free])


# ---------------------------------------------------------------------- chunks and order
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", ["poles by 2", "region, partial last blocks"])
def test_any_chunking_gives_the_same(which: str, kind: str, no_compute: NoCompute) -> None:
    fine, coarse, factor = pair(which)
    wanted = constrain(fine, coarse, kind=kind)
    for chunks in ({"time": 1}, {"latitude": 4 * factor, "longitude": 6 * factor}, {"latitude": 13, "longitude": 31}):
        for given in (coarse, coarse.chunk(time=1, latitude=4)):
            with no_compute():
                lazy = constrain(fine.chunk(chunks), given, kind=kind)
            assert lazy.chunks == fine.chunk(chunks).chunks
            xr.testing.assert_allclose(lazy.compute(), wanted, rtol=1e-6)
    with no_compute():
        lazy = constrain(fine, coarse.chunk(), kind=kind)
    assert lazy.chunks is not None
    xr.testing.assert_allclose(lazy.compute(), wanted, rtol=1e-6)


def test_orders_and_origins_do_not_matter() -> None:
    fine, coarse, _ = pair("poles by 4")
    for kind in KINDS:
        wanted = constrain(fine, coarse, kind=kind)
        for rolled in (180, 181):  # cells whole, and cut at the end of the file
            west = fine.roll(longitude=rolled, roll_coords=True)
            west = west.assign_coords(longitude=(west.longitude + 180) % 360 - 180).transpose("longitude", ...)
            for given in (west, west.chunk(longitude=50)):
                made = constrain(given.isel(latitude=slice(None, None, -1)), coarse, kind=kind)
                assert made.dims == west.dims
                back = made.assign_coords(longitude=made.longitude % 360).sortby("longitude").transpose(*fine.dims)
                np.testing.assert_allclose(back.values[:, ::-1], wanted.values, rtol=1e-6, atol=1e-9)
        closed = xr.concat([fine, fine.isel(longitude=[0]).assign_coords(longitude=[360.0])], "longitude")
        for given in (closed, closed.chunk(longitude=(180, 181))):
            made = constrain(given, coarse, kind=kind)
            assert made.chunks == given.chunks
            np.testing.assert_array_equal(made.values[..., -1], made.values[..., 0])
            np.testing.assert_allclose(made.values[..., :-1], wanted.values, rtol=1e-6)
        other = coarse.isel(latitude=slice(None, None, -1)).roll(longitude=30, roll_coords=True)
        xr.testing.assert_allclose(constrain(fine, other, kind=kind), wanted)


def test_a_part_of_the_grid_takes_its_cells_of_the_whole() -> None:
    fine, coarse, _ = pair("no poles")
    part = {"latitude": slice(8, 40), "longitude": slice(100, 132)}
    for kind in KINDS:
        made = constrain(fine.isel(part), coarse, kind=kind, factor=4)
        xr.testing.assert_allclose(made, constrain(fine, coarse, kind=kind).isel(part))


# ---------------------------------------------------------------------- labels
def test_members_share_a_coarse_field_and_times_are_matched() -> None:
    fine, coarse, factor = pair("poles by 2", times=3)
    members = xr.concat([fine, 2 * fine], "member").chunk(member=1, time=2)
    made = constrain(members, coarse.isel(time=[2, 0, 1]), kind="multiplicative")
    assert made.dims == members.dims
    for m in range(2):
        assert off(made.isel(member=m), coarse, factor) < 1e-6
    some = constrain(fine.isel(time=[1]), coarse, kind="additive")
    assert off(some, coarse.isel(time=[1]), factor) < 1e-6
    steady = constrain(fine, coarse.isel(time=0, drop=True), kind="additive")
    assert off(steady, coarse.isel(time=[0] * 3).assign_coords(time=fine.time), factor) < 1e-6


def test_a_dataset_keeps_what_is_not_tied() -> None:
    fine, coarse, factor = pair("poles by 2")
    fine.attrs |= {"long_name": "rain", "valid_max": 3.0}
    ds = xr.Dataset({"tp": fine, "z": fine + 1, "n": ("time", [1, 2])}, attrs={"title": "run"})
    metres = (coarse / 1000).assign_attrs(units="m")
    made = ds.atmo.constrain(metres.to_dataset(name="tp"), kind="multiplicative")
    assert off(made["tp"], coarse, factor) < 1e-6
    xr.testing.assert_identical(made["z"], ds["z"])
    xr.testing.assert_identical(made["n"], ds["n"])
    assert made["tp"].attrs == {"units": "mm", "long_name": "rain"}
    assert made.attrs["title"] == "run"
    assert "constrain(kind='multiplicative', factor=2)" in made.attrs["history"]
    xr.testing.assert_allclose(made["tp"], fine.atmo.constrain(metres.rename("rr"), kind="multiplicative"))
    whole = fine.copy(data=(100 * fine.values).astype(np.int16))
    assert constrain(whole, coarse, kind="additive").dtype == np.float64


# ---------------------------------------------------------------------- refused
def test_refused() -> None:
    fine, coarse, _ = pair("poles by 2")

    def refused(error: type[Exception], match: str, *given: Any, **options: Any) -> None:
        with pytest.raises(error, match=match):
            constrain(*given, **{"kind": "additive", **options})

    refused(OptionError, r"kind='sum' came; wanted one of 'additive'", fine, coarse, kind="sum")
    refused(OptionError, "coarse is ndarray; wanted a Dataset", fine, coarse.values)
    refused(OptionError, "factor 1 came", fine, coarse, factor=1)
    refused(VariableError, r"fine has \['tp'\], coarse \['q'\]: no variable", fine, coarse.to_dataset(name="q"))
    refused(GridError, r"are not those of 4 x 4 cells", fine, coarse, factor=4)
    refused(GridError, r"are not those of 2 x 2 cells", fine.isel(longitude=slice(1, 70)), coarse)
    refused(GridError, "are not those of", fine, coarse.isel(longitude=slice(0, 20)))
    row = coarse.isel(latitude=[3])
    row = row.assign_coords(latitude=("latitude", row.latitude.values, {"units": "degrees_north"}))
    refused(GridError, r"\(1 x 36, .*\) are not those of 2 x 2 cells", fine, row)
    refused(DimensionError, "'level', which the fine field", fine, coarse.expand_dims(level=[1, 2]))
    refused(CoordinateError, "has no 'time' 1; wanted all", fine, coarse.isel(time=[0]))
    bare = coarse.drop_vars("time")
    refused(DimensionError, "'time' has 1 entries in coarse, 2 in fine", fine, bare.isel(time=[0]))
    refused(UnitsError, "measure different things", fine, coarse.assign_attrs(units="K"))
