"""From hybrid levels to pressures: closed forms, SciPy's interpolation, orders, laziness, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from model_levels import LEVELS, columns
from scipy.interpolate import interp1d

import xatmo
from xatmo.constants import DRY_AIR_CONSTANT, GRAVITY, LAPSE_RATE
from xatmo.errors import ChunkError, CoordinateError, DimensionError, OptionError, UnitsError, VariableError
from xatmo.vertical import HybridLevels, hybrid_dimension, to_pressure
from xatmo.vertical._kernels import first_needed


@pytest.fixture(scope="module")
def air() -> xr.Dataset:
    return columns()


def wanted(air: xr.Dataset, pressure: float) -> xr.DataArray:
    return air.t_surface + air.slope * np.log(pressure / 1000)


def flat(air: xr.Dataset) -> xr.DataArray:
    return air.sp > 9e4


# ---------------------------------------------------------------------- levels
def test_levels_of_era5() -> None:
    levels = HybridLevels.of("L137")
    assert levels.n_levels == 137
    half = levels.half_a + levels.half_b * 101325
    assert (np.diff(half) > 0).all()
    assert half[-1] == 101325
    # Pressures of ECMWF's table, hPa over 1013.25 hPa.
    full = levels.pressure(101325.0, [1, 50, 60, 96, 114, 137]) / 100
    np.testing.assert_allclose(full, [0.01, 56.2566, 98.4164, 507.5021, 849.7668, 1012.0494], rtol=2e-4)
    assert levels.half_b[55] > 0
    assert levels.half_b[54] == 0
    assert levels.half_a[136] == levels.half_a[0] == 0


def test_coefficients_in_all_forms() -> None:
    pair = (LEVELS.half_a, LEVELS.half_b)
    for given in (LEVELS, pair, np.concatenate(pair), list(np.concatenate(pair))):
        again = HybridLevels.of(given)
        np.testing.assert_array_equal(again.pressure([9e4, 1e5]), LEVELS.pressure([9e4, 1e5]))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("L60", "levels 'L60' came; known by name is 'L137'"),
        (3, "coefficients came that are neither a pair"),
        ([0.0, 1.0, 2.0], "coefficients came that are neither a pair"),
        (([0.0, 1.0], [0.0, 1.0]), "wanted two of one length, 3 or more"),
        (([0.0, 1.0, 2.0], [0.0, 1.0]), r"shapes \(3,\) and \(2,\) came"),
        ((LEVELS.half_a[::-1], LEVELS.half_b[::-1]), "do not grow downward"),
        ((LEVELS.half_a / 1e5, LEVELS.half_b), r"parts of a reference pressure; wanted Pa.*P0"),
        (xr.Dataset({"a": ("half", LEVELS.half_a), "b": ("half", LEVELS.half_b)}), "neither a pair"),
    ],
)
def test_no_coefficients(given, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        HybridLevels.of(given)


# ---------------------------------------------------------------------- closed forms
def test_linear_in_the_logarithm_is_exact(air: xr.Dataset) -> None:
    found = to_pressure(air[["t", "sp"]], [300, 500, 700], coefficients=LEVELS)
    assert found.t.dims == ("time", "pressure_level", "latitude", "longitude")
    for pressure in (300, 500, 700):
        here = found.t.sel(pressure_level=pressure)
        assert float(abs(here - wanted(air, pressure)).max()) < 1e-10
    xr.testing.assert_identical(found.sp, air.sp)


def test_linear_in_pressure(air: xr.Dataset) -> None:
    pressure = xr.DataArray(LEVELS.pressure(air.sp.values), dims=(*air.sp.dims, "hybrid"))
    q = air.t.copy(data=(1e-3 + 2e-8 * pressure).transpose(*air.t.dims)).rename("q")
    q.attrs = {"units": "kg kg-1"}
    found = to_pressure(q, 612.3, surface_pressure=air.sp, coefficients=LEVELS, method="linear")
    assert "pressure_level" not in found.dims
    np.testing.assert_allclose(found, 1e-3 + 2e-8 * 61230, rtol=1e-12)


def test_isothermal_stays_isothermal_but_below(air: xr.Dataset) -> None:
    same = air[["t", "sp"]].assign(t=xr.full_like(air.t, 273.0))
    found = to_pressure(same, [200, 740], coefficients=LEVELS).t
    np.testing.assert_array_equal(found.sel(pressure_level=200), 273.0)
    assert float(found.sel(pressure_level=740).where(flat(air)).min()) == 273.0


def test_standard_atmosphere_goes_on_below_the_ground(air: xr.Dataset) -> None:
    """Hydrostatic balance with 6.5 K per kilometre: temperature is a power of pressure, under mountains too."""
    exponent = LAPSE_RATE * DRY_AIR_CONSTANT / GRAVITY
    pressure = LEVELS.pressure(air.sp.transpose("time", "latitude", "longitude").values)
    t = xr.DataArray(288.15 * (pressure / 101325) ** exponent, dims=("time", "latitude", "longitude", "hybrid"))
    ds = air[["sp"]].assign(t=t.assign_attrs(air.t.attrs))
    found = to_pressure(ds, [850, 1040], coefficients=LEVELS).t
    exact = 288.15 * (found.pressure_level * 100 / 101325) ** exponent
    high = ~flat(air)
    below = found.where((found.pressure_level > 1000) | high)
    assert float(abs(below - exact).max()) < 1e-9  # extrapolated, exactly
    assert 0 < float(abs(found - exact).max()) < 0.2  # a few thick levels, between which it is no straight line
    # The usual form over ground below 2000 m: the temperature of the ground from the lowest level, then a cubic.
    lowest, p_lowest = t.isel(hybrid=-1, time=0, latitude=0, longitude=0), pressure[0, 0, 0, -1]
    ground = lowest * (1 + exponent * (75000 / p_lowest - 1))
    y = exponent * np.log(85000 / 75000)
    usual = ground * (1 + y + y**2 / 2 + y**3 / 6)
    assert abs(float(below.sel(pressure_level=850).isel(time=0, latitude=0, longitude=0) - usual)) < 1e-2


def test_below_the_ground_as_asked(air: xr.Dataset) -> None:
    ds = air[["t", "sp"]].assign(q=air.t.assign_attrs(standard_name="specific_humidity", units="kg kg-1") * 1.0)
    ds.q.attrs = {"standard_name": "specific_humidity", "units": "kg kg-1"}
    lowest = ds.t.isel(hybrid=-1, drop=True)
    high = ~flat(air)
    usual = to_pressure(ds, 850.0, coefficients=LEVELS)
    assert float((usual.t - lowest).where(high).min()) > 1
    np.testing.assert_array_equal(usual.q.where(high), lowest.where(high))
    nearest = to_pressure(ds, 850.0, coefficients=LEVELS, below="nearest")
    np.testing.assert_array_equal(nearest.t.where(high), lowest.where(high))
    masked = to_pressure(ds, 850.0, coefficients=LEVELS, below="nan")
    np.testing.assert_array_equal(masked.t.isnull(), high)
    for found in (usual, nearest, masked):
        assert float(abs(found.t - wanted(air, 850)).where(~high).max()) < 1e-10


def test_as_scipy_interpolates(air: xr.Dataset) -> None:
    rng = np.random.default_rng(0)
    u = air.t.copy(data=rng.normal(size=air.t.shape)).rename("u").assign_attrs(units="m s-1", standard_name="x_wind")
    levels = [123.4, 250, 480, 690, 730.5]
    found = to_pressure(u, levels, surface_pressure=air.sp, coefficients=LEVELS)
    columns = u.transpose(..., "hybrid").values.reshape(-1, LEVELS.n_levels)
    pressures = LEVELS.pressure(air.sp.values.reshape(-1))
    theirs = [
        interp1d(np.log(p), c, fill_value=(np.nan, c[-1]), bounds_error=False)(np.log(100 * np.array(levels)))
        for p, c in zip(pressures, columns, strict=True)
    ]
    np.testing.assert_allclose(found.transpose(..., "pressure_level").values.reshape(-1, 5), theirs, atol=1e-12)


def test_below_the_ground_in_degrees_celsius(air: xr.Dataset) -> None:
    """The same temperature in another unit goes on in the same way: the power law holds in kelvin."""
    levels = [300, 850, 1040]
    kelvin = to_pressure(air[["t", "sp"]], levels, coefficients=LEVELS).t
    ds = air[["t", "sp"]].assign(t=(air.t - 273.15).assign_attrs(air.t.attrs | {"units": "degC"}))
    for obj in (ds, ds.chunk(time=1)):
        found = to_pressure(obj, levels, coefficients=LEVELS).t
        assert found.attrs["units"] == "degC"
        np.testing.assert_allclose(found + 273.15, kelvin, rtol=1e-12)
    bare = ds.assign(t=ds.t.drop_attrs())
    with pytest.raises(UnitsError, match="variable 't' has no units; wanted 'K'"):
        to_pressure(bare, 850, coefficients=LEVELS)
    assert bool(to_pressure(bare, 300, coefficients=LEVELS, below="nearest").t.notnull().all())


# ---------------------------------------------------------------------- order, subsets, missing values
def test_any_order_of_levels_and_dimensions(air: xr.Dataset) -> None:
    ds = air[["t", "sp"]]
    found = to_pressure(ds, [850, 400], coefficients=LEVELS)
    upward = to_pressure(ds.isel(hybrid=slice(None, None, -1)), [850, 400], coefficients=LEVELS)
    xr.testing.assert_identical(found.t, upward.t)
    mixed = to_pressure(ds.isel(hybrid=[4, 0, 8, 2, 1, 3, 7, 6, 5]), [400, 850], coefficients=LEVELS)
    xr.testing.assert_equal(found.t, mixed.t.sel(pressure_level=[850, 400]))
    turned = to_pressure(ds.transpose("longitude", "hybrid", "time", "latitude"), [850, 400], coefficients=LEVELS)
    assert turned.t.dims == ("longitude", "pressure_level", "time", "latitude")
    xr.testing.assert_equal(found.t, turned.t.transpose(*found.t.dims))
    plain = to_pressure(ds.drop_vars("hybrid"), [850, 400], coefficients=LEVELS)
    xr.testing.assert_equal(found.t, plain.t)


def test_levels_around_the_pressure_suffice(air: xr.Dataset) -> None:
    ds = air[["t", "sp"]].where(flat(air))  # 850 hPa lies between levels 6 and 8 of low ground
    found = to_pressure(ds.sel(hybrid=[6, 7, 8]), 850, coefficients=LEVELS)
    xr.testing.assert_identical(found.t, to_pressure(ds, 850, coefficients=LEVELS).t)
    assert bool((found.t.isnull() == ~flat(air)).all())  # no surface pressure, no answer


def test_levels_that_do_not_suffice(air: xr.Dataset) -> None:
    few = air[["t", "sp"]].sel(hybrid=[3, 4, 5])
    with pytest.raises(CoordinateError, match=r"'t': 850 hPa lies outside the levels in 144 of 144 columns, where"):
        to_pressure(few, 850, coefficients=LEVELS)
    assert bool(to_pressure(few, 850, coefficients=LEVELS, outside="nan").t.isnull().all())
    with pytest.raises(CoordinateError, match=r"5 hPa lies outside the levels in 144 of 144 columns"):
        to_pressure(air[["t", "sp"]], 5, coefficients=LEVELS)
    lazy = to_pressure(few.chunk(time=1), 850, coefficients=LEVELS)
    with pytest.raises(CoordinateError, match="open more levels, or outside='nan'"):
        lazy.compute()


def test_missing_values_stay_where_they_are(air: xr.Dataset) -> None:
    ds = air[["t", "sp"]].where(air.hybrid > 2)  # stratosphere missing
    ds["sp"] = air.sp
    full = to_pressure(air[["t", "sp"]], [600, 50], coefficients=LEVELS).t
    found = to_pressure(ds, [600, 50], coefficients=LEVELS).t
    xr.testing.assert_identical(found.sel(pressure_level=600), full.sel(pressure_level=600))
    assert bool(found.sel(pressure_level=50).isnull().all())


def test_at_a_level_itself_its_neighbours_do_not_count(air: xr.Dataset) -> None:
    ds = air[["t", "sp"]].assign(sp=xr.full_like(air.sp, 1e5))
    pressure = LEVELS.pressure(1e5)
    for level in (1, 5, 9):
        alone = ds.assign(t=ds.t.where(ds.hybrid == level))
        found = to_pressure(alone, pressure[level - 1] / 100, coefficients=LEVELS).t
        np.testing.assert_allclose(found, ds.t.sel(hybrid=level), rtol=1e-6)
    lowest = to_pressure(ds, pressure[-1] / 100, coefficients=LEVELS, below="nan").t
    np.testing.assert_allclose(lowest, ds.t.sel(hybrid=9), rtol=1e-6)


# ---------------------------------------------------------------------- lazy, labels
def test_lazy_is_eager(air: xr.Dataset, no_compute) -> None:
    ds = air[["t", "sp"]].astype(np.float32)
    eager = to_pressure(ds, [850, 500], coefficients=LEVELS)
    assert eager.t.dtype == np.float32
    for chunks in ({"time": 1}, {"latitude": 4, "longitude": 3}, {"time": 2, "longitude": 5}):
        lazy = ds.chunk(chunks)
        lazy["sp"] = ds.sp.chunk(latitude=2)  # in chunks of its own
        with no_compute():
            found = to_pressure(lazy, [850, 500], coefficients=LEVELS)
        assert found.t.chunks is not None
        xr.testing.assert_identical(found.t.compute(), eager.t)


def test_levels_in_chunks(air: xr.Dataset) -> None:
    with pytest.raises(ChunkError, match=r"to_pressure needs 'hybrid' whole.*call .chunk\(\{'hybrid': -1\}\) first"):
        to_pressure(air[["t", "sp"]].chunk(hybrid=3), 850, coefficients=LEVELS)


def test_labels(air: xr.Dataset) -> None:
    t = air.t.assign_attrs(GRIB_typeOfLevel="hybrid", GRIB_pv=np.concatenate([LEVELS.half_a, LEVELS.half_b]))
    t.encoding = {"chunksizes": (1, 9, 6, 8), "_FillValue": -9.0}
    found = t.atmo.to_pressure([850.0, 500.0], surface_pressure=air.sp)
    assert found.name == "t"
    assert found.attrs | {"history": ""} == {**air.t.attrs, "history": ""}
    assert found.attrs["history"].endswith("to_pressure(levels=[850.0, 500.0], method='log', below='extrapolate')")
    assert found.encoding == {"_FillValue": -9.0}
    level = found.pressure_level
    assert level.values.tolist() == [850, 500]
    assert level.attrs == {"standard_name": "air_pressure", "units": "hPa", "positive": "down", "axis": "Z"}
    assert t.attrs["GRIB_typeOfLevel"] == "hybrid"
    single = air[["t", "sp"]].atmo.to_pressure(850, coefficients=LEVELS)
    assert float(single.t.pressure_level) == 850
    assert set(single.coords) == {"time", "latitude", "longitude", "pressure_level"}


def test_surface_pressure_in_all_forms(air: xr.Dataset) -> None:
    exact = to_pressure(air[["t", "sp"]], 700, coefficients=LEVELS).t
    log = np.log(air.sp).rename("lnsp").assign_attrs(units="1")
    in_hpa = (air.sp / 100).assign_attrs(units="hPa")
    on_level_1 = log.expand_dims(hybrid=[1.0])
    forms = [
        to_pressure(air.t, 700, surface_pressure=air.sp, coefficients=LEVELS),
        to_pressure(air.t, 700, surface_pressure=in_hpa, coefficients=LEVELS),
        to_pressure(air.t, 700, surface_pressure=on_level_1, coefficients=LEVELS),
        to_pressure(air[["t"]].assign(lnsp=log), 700, coefficients=LEVELS).t,
        to_pressure(air[["t"]].assign(lnsp=on_level_1.reindex(hybrid=air.hybrid)), 700, coefficients=LEVELS).t,
        to_pressure(air[["t", "sp"]].rename(sp="p0"), 700, surface_pressure="p0", coefficients=LEVELS).t,
    ]
    for found in forms:
        np.testing.assert_allclose(found, exact, rtol=1e-12)


def test_coefficients_in_a_dataset(air: xr.Dataset) -> None:
    half = air[["t", "sp"]].assign(hyai=("half", LEVELS.half_a, {"units": "Pa"}), hybi=("half", LEVELS.half_b))
    found = to_pressure(half.rename(hybrid="lev"), 700)
    xr.testing.assert_equal(found.t, to_pressure(air[["t", "sp"]], 700, coefficients=LEVELS).t)


def test_coefficients_as_cesm_has_them(air: xr.Dataset) -> None:
    parts = {"hyai": ("ilev", LEVELS.half_a / 1e5), "hybi": ("ilev", LEVELS.half_b), "P0": ((), 1e5, {"units": "Pa"})}
    found = to_pressure(air[["t", "sp"]].assign(parts), 700)
    np.testing.assert_allclose(found.t, to_pressure(air[["t", "sp"]], 700, coefficients=LEVELS).t, rtol=1e-12)
    with pytest.raises(UnitsError, match="'hyai' has no units"):
        to_pressure(air[["t", "sp"]].assign(parts).drop_vars("P0"), 700)


def test_a_surface_pressure_of_another_time(air: xr.Dataset) -> None:
    t, sp = air.t.isel(time=0), air.sp.isel(time=1)
    with pytest.raises(CoordinateError, match=r"surface pressure is of time 2020-.*'t' of 2020-.*drop_vars\('time'\)"):
        to_pressure(t, 700, surface_pressure=sp, coefficients=LEVELS)
    with pytest.raises(CoordinateError, match=r"surface pressure is of time .*, 't' of 2020-\S+ to 2020-"):
        to_pressure(air.t, 700, surface_pressure=sp, coefficients=LEVELS)
    meant = to_pressure(t, 700, surface_pressure=sp.drop_vars("time"), coefficients=LEVELS)
    exact = to_pressure(t, 700, surface_pressure=sp.assign_coords(time=t.time), coefficients=LEVELS)
    np.testing.assert_array_equal(meant, exact)


def test_a_logarithm_that_was_left_behind(air: xr.Dataset) -> None:
    """GRIB has it on level 1, which a selection of the lower levels leaves out."""
    log = np.log(air.sp).rename("lnsp").drop_attrs().expand_dims(hybrid=[1.0]).reindex(hybrid=air.hybrid)
    lower = air[["t"]].assign(lnsp=log).sel(hybrid=slice(3, 9))
    with pytest.raises(CoordinateError, match="'lnsp' lies on level 1, and level 3 is the highest here"):
        to_pressure(lower, 700, coefficients=LEVELS)


def test_a_surface_pressure_in_other_units_than_it_says(air: xr.Dataset) -> None:
    for factor, shown in ((1e-2, "1[0-9.]+"), (1e2, r"1[0-9.]+e\+07")):
        wrong = air[["t"]].assign(sp=(air.sp * factor).assign_attrs(units="Pa"))
        with pytest.raises(UnitsError, match=f"the surface pressure reaches {shown} Pa; wanted"):
            to_pressure(wrong, 700, coefficients=LEVELS)


def test_a_store_of_model_levels_as_arco_has_it() -> None:
    """Some of the 137 levels by number, without coefficients; surface pressure of another store."""
    known = HybridLevels.of("L137")
    numbers = np.arange(98.0, 138)
    surface = xr.DataArray(
        np.linspace(9.2e4, 1.03e5, 6).reshape(1, 2, 3), dims=("time", "latitude", "longitude"), name="surface_pressure",
        coords={"time": pd.DatetimeIndex(["2020-01-01"]), "latitude": [50.25, 50.0], "longitude": [0.0, 0.25, 0.5]},
        attrs={"units": "Pa"},
    )  # fmt: skip
    pressure = np.moveaxis(known.pressure(surface.values, numbers), -1, 1)
    t = (("time", "hybrid", "latitude", "longitude"), (250 + 60 * np.log(pressure / 5e4)).astype(np.float32))
    ds = xr.Dataset({"temperature": (*t, {"units": "K"})}, {**surface.coords, "hybrid": numbers}).chunk(time=1)
    found = ds.atmo.to_pressure([850, 700], surface_pressure=surface, coefficients="L137").temperature
    for level in (850, 700):
        np.testing.assert_allclose(found.sel(pressure_level=level), 250 + 60 * np.log(level / 500), rtol=2e-7)
    with pytest.raises(VariableError, match="no coefficients of 'hybrid' came.*'L137' for ERA5"):
        ds.atmo.to_pressure(850, surface_pressure=surface)


def test_a_grib_file(tmp_path: Path) -> None:
    """As cfgrib opens what MARS gives: pv as an attribute, surface pressure beside."""
    pytest.importorskip("cfgrib")
    air = columns()
    xatmo.datasets.write_ambs_tree(air[["t", "sp"]], tmp_path, bits=24, coefficients=LEVELS)
    kwargs = {"engine": "cfgrib", "backend_kwargs": {"read_keys": ["pv"], "indexpath": ""}}
    t = xr.open_dataset(tmp_path / "2020/02/2020022822_ml.grb", **kwargs).t
    sp = xr.open_dataset(tmp_path / "2020/02/2020022822_sf.grb", engine="cfgrib", backend_kwargs={"indexpath": ""}).sp
    assert t.sizes["hybrid"] == 9
    found = t.atmo.to_pressure(700, surface_pressure=sp)
    np.testing.assert_allclose(found, wanted(air, 700).isel(time=0), atol=2e-4)


# ---------------------------------------------------------------------- refused
@pytest.mark.parametrize(
    ("change", "settings", "kind", "message"),
    [
        (lambda ds: ds, {"method": "cubic"}, OptionError, "method='cubic', below='extrapolate' came"),
        (lambda ds: ds, {"below": "ground"}, OptionError, "below='ground' came"),
        (lambda ds: ds, {"outside": "skip"}, OptionError, "outside='skip'; wanted 'raise' or 'nan'"),
        (lambda ds: ds, {"levels": [850, -1]}, OptionError, "wanted pressures in hPa, above 0"),
        (lambda ds: ds, {"levels": []}, OptionError, "wanted pressures in hPa, above 0"),
        (lambda ds: ds, {"levels": "surface"}, OptionError, "levels='surface' came; wanted pressures in hPa"),
        (lambda ds: ds, {"levels": [85000]}, OptionError, r"levels=\[85000\] came; wanted pressures in hPa, .*1200"),
        (lambda ds: ds, {"surface_pressure": columns().sp.values}, OptionError, "came as ndarray; wanted a DataArray"),
        (lambda ds: ds.assign_coords(hybrid=[*"abcdefghi"]), {}, CoordinateError, "'hybrid' has labels of type <U1"),
        (lambda ds: ds, {"dim": "lev"}, DimensionError, "dim='lev': dimensions are"),
        (lambda ds: ds.isel(hybrid=[0]), {}, DimensionError, "'hybrid' has 1 level; wanted two or more"),
        (lambda ds: ds.isel(hybrid=0), {}, DimensionError, "wanted one of hybrid levels, known by its standard_name"),
        (lambda ds: ds.isel(hybrid=[0, 0]), {}, CoordinateError, "'hybrid' holds a level twice"),
        (lambda ds: ds.assign_coords(hybrid=ds.hybrid + 1), {}, CoordinateError, "levels 2 to 10 came; wanted whole"),
        (lambda ds: ds.isel(hybrid=[0, 1]).drop_vars("hybrid"), {}, CoordinateError, "'hybrid' has no coordinate, and"),
        (lambda ds: ds.drop_vars("sp"), {}, VariableError, r"no surface pressure among \['t'\]; wanted sp or lnsp"),
        (lambda ds: ds, {"surface_pressure": "ps"}, VariableError, "surface_pressure='ps' among"),
        (lambda ds: ds.assign(sp=ds.sp.assign_attrs(units="m")), {}, UnitsError, "measure different things"),
        (lambda ds: ds.assign(sp=ds.sp.expand_dims(number=2)), {}, DimensionError, "has 'number', which 't' has not"),
        (
            lambda ds: ds[["t"]],
            {"surface_pressure": columns().sp.isel(latitude=slice(None, None, -1))},
            CoordinateError,
            "surface pressure and 't' differ in 'latitude'; wanted the same columns",
        ),
        (
            lambda ds: ds[["t"]].drop_vars("latitude"),
            {"surface_pressure": columns().sp.isel(latitude=slice(1, None))},
            CoordinateError,
            "surface pressure has 5 of 'latitude'; wanted 6",
        ),
        (lambda ds: ds.rename(t="z"), {}, OptionError, "below='extrapolate' for 'z', a height"),
    ],
)
def test_refused(air: xr.Dataset, change, settings, kind, message: str) -> None:
    ds = air[["t", "sp"]]
    if "z" in message:
        ds["t"] = ds.t.drop_attrs().assign_attrs(units="m2 s-2")  # the fixture keeps its own
    given = {"levels": 850, "coefficients": LEVELS, **settings}
    with pytest.raises(kind, match=message):
        to_pressure(change(ds), **given)


# ---------------------------------------------------------------------- what a Dataset tells
def test_coefficients_of_the_levels_themselves() -> None:
    """As CMIP has them: ap and b, or a and p0, named by formula_terms; lev are no numbers."""
    air = columns()
    a, b = LEVELS.full()
    terms = {"standard_name": "atmosphere_hybrid_sigma_pressure_coordinate", "formula_terms": "ap: ap b: b ps: ground"}
    lev = ("lev", a / 1e5 + b, terms)
    cmip = air[["t", "sp"]].drop_vars("hybrid").rename(hybrid="lev", sp="ground").assign_coords(lev=lev)
    cmip = cmip.assign(ap=("lev", a, {"units": "Pa"}), b=("lev", b), sp=air.sp.copy(data=np.full(air.sp.shape, 5e4)))
    exact = to_pressure(air[["t", "sp"]], [850, 500], coefficients=LEVELS).t
    found = to_pressure(cmip, [850, 500])
    np.testing.assert_array_equal(found.t, exact)
    assert "ap" not in found
    assert "sp" in found
    # From the ground upward, and with the reference pressure apart.
    cmip["lev"].attrs["formula_terms"] = "a: parts b: b p0: p0 ps: ground"
    apart = cmip.drop_vars("ap").assign(parts=("lev", a / 1e5, {"units": "1"}), p0=((), 1000.0, {"units": "hPa"}))
    turned = to_pressure(apart.isel(lev=slice(None, None, -1)), [850, 500])
    np.testing.assert_allclose(turned.t, exact, rtol=1e-12)
    # Without the lowest levels nothing is known of the ground.
    with pytest.raises(CoordinateError, match="850 hPa lies outside the levels"):
        to_pressure(cmip.isel(lev=slice(0, 6)).drop_vars("parts", errors="ignore"), 850)
    missing = apart.assign(b=apart.b.where(apart.b > 0.1))
    with pytest.raises(CoordinateError, match="'parts' and 'b' of 'lev' hold missing values"):
        to_pressure(missing, 850)
    with pytest.raises(CoordinateError, match="'lev' holds a level twice"):
        to_pressure(apart.isel(lev=[0, 1, 1, 5]), 850)


def test_which_dimension_the_levels_are() -> None:
    values = ("level", [0.0, 0.0])
    numbers = ("level", [1, 2], {"long_name": "model_level_number"})
    assert hybrid_dimension(xr.Dataset({"t": values})) is None
    assert hybrid_dimension(xr.Dataset({"t": values}, {"level": ("level", [500, 850], {"units": "hPa"})})) is None
    assert hybrid_dimension(xr.Dataset({"t": values}, {"level": numbers})) == "level"
    assert hybrid_dimension(xr.Dataset({"t": (*values, {"GRIB_typeOfLevel": "hybrid"})}).t) == "level"
    with pytest.raises(DimensionError, match="'hybrid', 'model_level' are hybrid levels; wanted one: say dim="):
        hybrid_dimension(xr.Dataset({"t": (("hybrid", "model_level"), [[0.0]])}))


@pytest.mark.parametrize("target", [10, 300, 850, 1050])
def test_levels_that_cannot_count_are_not_read(target: float) -> None:
    """Levels above those that can lie around a pressure may hold anything."""
    air = columns()
    exact = to_pressure(air[["t", "sp"]], target, coefficients=LEVELS, outside="nan").t
    first = first_needed(*LEVELS.full(), 100 * target)
    broken = air[["t", "sp"]].assign(t=air.t.where(air.hybrid > first))
    xr.testing.assert_equal(to_pressure(broken, target, coefficients=LEVELS, outside="nan").t, exact)
    assert (first > 0) is (target > 100)
