"""Values at points are the harmonic sum there, for fields, winds and coefficients, with labels that fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from xatmo import Grid, datasets
from xatmo.errors import ChunkError, CoordinateError, DimensionError, GridError, MissingValueError, OptionError
from xatmo.spectral import _kernels, _scattered

Fields = Callable[..., xr.DataArray]
POLES = Grid.regular(19, 36)


def track(n: int = 50, dim: str = "sample") -> xr.Dataset:
    """Positions all over the sphere, poles and the date line among them."""
    rng = np.random.default_rng(3)
    lat, lon = np.degrees(np.arcsin(rng.uniform(-1, 1, n))), rng.uniform(-180, 540, n)
    lat[:3], lon[:3] = [90, -90, 0], [17, 0, 180]
    time = np.datetime64("2020-01-01", "ns") + np.arange(n) * np.timedelta64(1, "s")
    return xr.Dataset(
        coords={
            "latitude": (dim, lat, {"standard_name": "latitude", "units": "degrees_north"}),
            "longitude": (dim, lon, {"standard_name": "longitude", "units": "degrees_east"}),
            "time_of_sample": (dim, time),
        }
    )


def nodes(grid: Grid) -> xr.Dataset:
    lat, lon = np.meshgrid(90 - np.degrees(grid.colatitude), grid.longitude, indexing="ij")
    return xr.Dataset(coords={"lat": (("row", "column"), lat), "lon": (("row", "column"), lon)})


# ---------------------------------------------------------------------- values
def test_nodes_of_the_grid_give_the_field(grid: Grid, engine: Any, field: Fields) -> None:
    da = field(grid)
    out = da.atmo.to_points(nodes(grid), engine=engine)
    assert out.dims == ("time", "row", "column")
    np.testing.assert_allclose(out, da, atol=1e-10)


def test_nodes_of_the_grid_give_the_wind(grid: Grid, engine: Any, wind: Any) -> None:
    """Also on the poles, where east is that of the meridian of each longitude."""
    ds = wind(grid)
    out = ds.atmo.to_points(nodes(grid), engine=engine)
    for name in ("ua", "va"):
        np.testing.assert_allclose(out[name], ds[name], atol=1e-10)


def test_closed_forms(engine: Any) -> None:
    lat, lon = np.radians(POLES.latitude)[:, None], np.radians(POLES.longitude)
    values = {
        "q": np.cos(lat) ** 2 * np.cos(2 * lon + 0.3) + np.sin(lat),
        # Rotation about the z axis, (-y, x, 0), and about the x axis, (0, -z, y).
        "u": np.cos(lat) - np.cos(lon) * np.sin(lat),
        "v": np.sin(lon) + 0 * lat,
    }
    ds = xr.Dataset({name: (("latitude", "longitude"), x) for name, x in values.items()}, POLES.coords())
    place = track()
    out = ds.atmo.to_points(place, engine=engine)
    lat, lon = np.radians(place["latitude"]), np.radians(place["longitude"])
    np.testing.assert_allclose(out["q"], np.cos(lat) ** 2 * np.cos(2 * lon + 0.3) + np.sin(lat), atol=1e-11)
    np.testing.assert_allclose(out["u"], np.cos(lat) - np.cos(lon) * np.sin(lat), atol=1e-11)
    np.testing.assert_allclose(out["v"], np.sin(lon), atol=1e-11)


def test_both_engines_and_coefficients_agree(field: Fields) -> None:
    da = field(POLES)
    place = track()
    ducc = da.atmo.to_points(place)
    np.testing.assert_allclose(da.atmo.to_points(place, engine="torch"), ducc, atol=1e-11)
    out = da.atmo.to_spectral().atmo.to_points(place)
    np.testing.assert_allclose(out, ducc, atol=1e-11)
    assert out.dims == ducc.dims == ("time", "sample")
    assert out.attrs.keys() == ducc.attrs.keys()
    low = da.atmo.truncate(5)
    for obj in (da, da.atmo.to_spectral(), da.atmo.to_spectral().isel(order=slice(6)).to_dataset()["t"]):
        np.testing.assert_allclose(obj.atmo.to_points(place, lmax=5), low.atmo.to_points(place), atol=1e-11)


def test_high_degrees(engine: Any, random_coefficients: Any) -> None:
    """The sums themselves, by Legendre functions at the points."""
    from xatmo.nn.sphere import SphericalHarmonics

    torch = pytest.importorskip("torch")
    lmax, place = 200, track(40)
    x = random_coefficients(lmax) / np.arange(1, lmax + 2)[:, None]
    lat, lon = place["latitude"].values, place["longitude"].values
    rows = SphericalHarmonics(
        np.radians(90 - np.sort(lat)[::-1]), np.radians(np.arange(4.0)), lmax, dtype=torch.float64
    )
    every = rows.legendre_synthesis(torch.from_numpy(x)).numpy()[:, np.argsort(np.argsort(-lat))]
    twice = np.where(np.arange(lmax + 1) == 0, 1, 2)[:, None]
    expected = (twice * every * np.exp(1j * np.outer(np.arange(lmax + 1), np.radians(lon)))).real.sum(axis=0)
    got = _scattered.synthesis(x, lat, lon, engine)
    np.testing.assert_allclose(got, expected, atol=1e-11 * abs(expected).max())


def test_pyshtools_agrees(engine: Any, random_coefficients: Any) -> None:
    pyshtools = pytest.importorskip("pyshtools")
    from xatmo.spectral import layouts

    x, place = random_coefficients(40), track()
    theirs = pyshtools.SHCoeffs.from_array(layouts.to_pyshtools(x), normalization="4pi", csphase=1)
    expected = theirs.expand(lat=place["latitude"].values, lon=place["longitude"].values)
    da = xr.DataArray(x, dims=("degree", "order"))
    np.testing.assert_allclose(da.atmo.to_points(place, engine=engine), expected, atol=1e-10)


@pytest.mark.parametrize("name", ["ua", "va"])
def test_one_component_alone_is_a_scalar(wind: Any, name: str) -> None:
    ds = wind(POLES)
    place = track()
    assert float(abs(ds[name].atmo.to_points(place) - ds.atmo.to_points(place)[name]).max()) > 1e-3


# ---------------------------------------------------------------------- labels
def test_labels(wind: Any, field: Fields) -> None:
    t = field(POLES).assign_attrs(grid_mapping="crs", valid_range=[0, 1], GRIB_Nx=36)
    t.encoding = {"chunksizes": (1, 19, 36), "zlib": True}
    ds = wind(POLES).assign(t=t, index=("time", [1, 2, 3])).assign_attrs(title="x").assign_coords(time=[5, 6, 7])
    place = track()
    out = ds.atmo.to_points(place)
    assert list(out.data_vars) == list(ds.data_vars)
    assert out["t"].attrs == {"units": "K", "standard_name": "air_temperature"}
    assert out["t"].encoding == {"zlib": True}
    assert out["ua"].attrs == ds["ua"].attrs
    for name in ("latitude", "longitude", "time_of_sample"):
        xr.testing.assert_identical(out[name].reset_coords(drop=True), place[name].reset_coords(drop=True))
    np.testing.assert_array_equal(out["time"], [5, 6, 7])
    xr.testing.assert_identical(out["index"].reset_coords(drop=True), ds["index"].reset_coords(drop=True))
    assert out.attrs["title"] == "x"
    assert out.attrs["history"].endswith("to_points(points='(sample: 50)')")
    alone = t.rename(None).atmo.to_points(place)
    assert alone.name is None
    assert "to_points" in alone.attrs["history"]


def test_positions_as_arrays(field: Fields) -> None:
    da = field(POLES).isel(time=0)
    out = da.atmo.to_points(lat=[10.0, 20.0], lon=[30, 40])
    assert out.dims == ("point",)
    assert out["latitude"].attrs["units"] == "degrees_north"
    one = da.atmo.to_points(lat=10.0, lon=30)
    assert one.dims == ()
    np.testing.assert_allclose(one, out[0], atol=1e-12)
    assert float(one["longitude"]) == 30
    lat = xr.DataArray([10.0, 20.0], dims="station", name="y")
    lon = xr.DataArray([30.0, 40.0, 50.0], dims="other")
    both = da.atmo.to_points(lat=lat, lon=lon)
    assert both.dims == ("station", "other")
    assert set(both.coords) == {"y", "longitude"}
    np.testing.assert_allclose([both[0, 0], both[1, 1]], out, atol=1e-12)


def test_positions_that_are_variables_or_named(field: Fields) -> None:
    da = field(POLES).isel(time=0)
    place = track()
    expected = da.atmo.to_points(place)
    variables = place.reset_coords(["latitude", "longitude"]).rename(latitude="lat", longitude="lon")
    np.testing.assert_allclose(da.atmo.to_points(variables), expected, atol=1e-11)
    bare = variables.drop_attrs(deep=True)
    np.testing.assert_allclose(da.atmo.to_points(bare), expected, atol=1e-11)
    several = place.assign_coords(lat_20=place["latitude"] / 2, lon_20=place["longitude"])
    got = da.atmo.to_points(several, lat="latitude", lon="longitude")
    np.testing.assert_allclose(got, expected, atol=1e-11)
    moved = da.atmo.to_points(several, lat="lat_20", lon="lon_20")
    assert float(abs(moved - expected).max()) > 1e-3
    of_array = place["time_of_sample"].reset_coords(drop=False)
    np.testing.assert_allclose(da.atmo.to_points(of_array), expected, atol=1e-11)


def test_a_gridded_object_gives_all_nodes(field: Fields) -> None:
    da = field(POLES)
    coarse = Grid.regular(7, 12, poles=False)
    expected = da.atmo.to_spectral().atmo.to_grid(coarse)
    out = da.atmo.to_points(expected)
    assert out.dims == ("time", "latitude", "longitude")
    np.testing.assert_allclose(out, expected, atol=1e-11)


def test_shared_dimension_is_matched(field: Fields, engine: Any) -> None:
    """Drifters with a position at every time of the fields."""
    da = field(POLES).assign_coords(time=[1, 2, 3]).expand_dims(level=[10, 20]) * xr.DataArray([1, 2], dims="level")
    lat = xr.DataArray([[0.0, 10], [20, 30], [-90, 50]], dims=("time", "drifter"), coords={"time": [1, 2, 3]})
    lon = xr.DataArray([[0.0, 70], [200, -30], [5, 50]], dims=("time", "drifter"))
    out = da.atmo.to_points(lat=lat.rename("lat"), lon=lon.rename("lon"), engine=engine)
    assert out.dims == ("level", "time", "drifter")
    for i in range(3):
        some = da.isel(time=i).atmo.to_points(lat=lat[i].values, lon=lon[i].values)
        np.testing.assert_allclose(out.isel(time=i), some, atol=1e-11)
    np.testing.assert_array_equal(out["time"], [1, 2, 3])
    without = da.atmo.to_points(lat=lat.drop_vars("time").rename("lat"), lon=lon.rename("lon"), engine=engine)
    xr.testing.assert_allclose(without, out, atol=1e-11)


def test_another_time_is_refused(field: Fields) -> None:
    da = field(POLES).assign_coords(time=[1, 2, 3])
    other = track(3, "time").assign_coords(time=[4, 5, 6])
    with pytest.raises(CoordinateError, match="share the dimension 'time', but not its 3 values"):
        da.atmo.to_points(other)
    with pytest.raises(CoordinateError, match=r"\.rename\(time='point'\)"):
        da.atmo.to_points(track(7, "time"))
    out = da.atmo.to_points(other.rename(time="sample"))
    assert out.dims == ("time", "sample")
    one = da.isel(time=0).atmo.to_points(other)
    assert one.dims == ("time",)
    np.testing.assert_array_equal(one["time"], [4, 5, 6])


def test_unknown_positions_give_nan_there_only(field: Fields, engine: Any, wind: Any) -> None:
    place = track()
    gone = place.copy(deep=True)
    gone["latitude"][5], gone["longitude"][7] = np.nan, np.nan
    ds = wind(POLES).assign(t=field(POLES))
    out, expected = (ds.atmo.to_points(p, engine=engine) for p in (gone, place))
    for name in ds.data_vars:
        assert np.isnan(out[name][:, [5, 7]]).all()
        rest = np.setdiff1d(np.arange(50), [5, 7])
        np.testing.assert_allclose(out[name][:, rest], expected[name][:, rest], atol=1e-11)
    none = ds.atmo.to_points(place.isel(sample=slice(0)), engine=engine)
    assert none["t"].shape == (3, 0)
    assert none["ua"].shape == (3, 0)


# ---------------------------------------------------------------------- promises
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_lazy(wind: Any, field: Fields, no_compute: Any, dtype: str, engine: Any) -> None:
    ds = wind(POLES, dtype=dtype).assign(t=field(POLES, dtype=dtype))
    place = track()
    expected = ds.atmo.to_points(place, engine=engine)
    double = ds.astype("f8").atmo.to_points(place)
    chunked = place.chunk(sample=20)
    with no_compute():
        results = [
            ds.chunk(time=1).atmo.to_points(place, engine=engine),
            ds.chunk(time=2).atmo.to_points(chunked, engine=engine),
            ds.atmo.to_points(chunked, engine=engine),
            ds[["t"]].chunk(time=1).atmo.to_spectral().atmo.to_points(chunked, engine=engine),
        ]
    assert results[0]["t"].chunksizes == {"time": (1, 1, 1), "sample": (50,)}
    assert results[1]["ua"].chunksizes == {"time": (2, 1), "sample": (20, 20, 10)}
    assert results[2]["va"].chunksizes["sample"] == (20, 20, 10)
    tolerance = 2e-4 if dtype == "f4" else 1e-10
    for out in results:
        for name in out.data_vars:
            assert out[name].dtype == np.dtype(dtype)
            computed = out[name].compute()
            assert computed.dtype == expected[name].dtype == np.dtype(dtype)
            np.testing.assert_allclose(computed, expected[name], atol=tolerance)
            np.testing.assert_allclose(computed, double[name], atol=tolerance)


def test_another_way_of_writing_the_field(wind: Any, field: Fields) -> None:
    ds = wind(POLES).assign(t=field(POLES))
    place = track()
    expected = ds.atmo.to_points(place)
    closed = ds.isel(longitude=[*range(36), 0]).assign_coords(longitude=np.append(ds.longitude, 360.0))
    turned = closed.isel(latitude=slice(None, None, -1)).transpose("longitude", "latitude", "time")
    out = turned.atmo.to_points(place)
    for name in ds.data_vars:
        assert out[name].dims == ("time", "sample")
        np.testing.assert_allclose(out[name], expected[name], atol=1e-11)


# ---------------------------------------------------------------------- tracks
def test_altimeter_tracks(field: Fields, no_compute: Any) -> None:
    da = field(POLES).isel(time=0)
    tracks = datasets.nadir_tracks("jason", start="2020-01-01", days=0.2, sampling="10s")
    with no_compute():
        out = da.chunk().atmo.to_points(tracks.chunk(time=400))
    assert out.dims == ("time",)
    assert set(tracks.coords) <= set(out.coords)
    some = out.isel(time=[0, 700, -1]).compute()
    place = zip(some["latitude"].values, some["longitude"].values, strict=True)
    single = [float(da.atmo.to_points(lat=lat, lon=lon)) for lat, lon in place]
    np.testing.assert_allclose(some, single, atol=1e-10)
    by_hand = da.interp(latitude=out.latitude, longitude=out.longitude)
    assert float(np.corrcoef(out, by_hand.fillna(out))[0, 1]) > 0.9


def test_a_real_orbit(shared_data: Callable[[str], Path], field: Fields) -> None:
    with xr.open_dataset(shared_data("swot_science_orbit_ephemeris_21day.nc"), decode_times=False) as ephemeris:
        orbit = ephemeris.isel(t=slice(0, 3000)).load()
    lat = np.radians(POLES.coords()["latitude"])
    field_of_z = (0 * field(POLES).isel(time=0, drop=True) + np.sin(lat)).astype("f4")
    out = field_of_z.atmo.to_points(orbit)
    assert out.dims == ("t",)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, np.sin(np.radians(orbit["lat"])), atol=5e-6)


def test_a_real_pass_with_several_positions(shared_data: Callable[[str], Path], field: Fields) -> None:
    with xr.open_dataset(shared_data("sentinel3b_sral_l2_1hz_pass_2025-11-09.nc")) as opened:
        one = opened[["surf_type_01"]].load()
    out = field(POLES).atmo.to_points(one, lat="lat_01", lon="lon_01")
    assert out.dims == ("time", "time_01")
    assert {"lat_01", "lon_01", "time_01"} <= set(out.coords)
    assert bool(np.isfinite(out).all())


# ---------------------------------------------------------------------- errors
class TestErrors:
    def test_points(self, field: Fields) -> None:
        da = field(POLES)
        with pytest.raises(OptionError, match="to_points came without points"):
            da.atmo.to_points(lat=[1.0])
        with pytest.raises(OptionError, match="a list came as points"):
            da.atmo.to_points([1, 2])
        with pytest.raises(CoordinateError, match="latitude of the points: none among"):
            da.atmo.to_points(xr.Dataset(coords={"x": [1, 2]}))
        several = track().assign_coords(other=("sample", np.zeros(50), {"units": "degrees_north"}))
        with pytest.raises(CoordinateError, match=r"latitude of the points: several \(latitude, other\).* as lat="):
            da.atmo.to_points(several)
        with pytest.raises(CoordinateError, match="no variable 'y' among the points"):
            da.atmo.to_points(track(), lat="y")
        with pytest.raises(DimensionError, match=r"latitudes of shape \(2, 2\)"):
            da.atmo.to_points(lat=np.zeros((2, 2)), lon=[1.0, 2.0])
        with pytest.raises(DimensionError, match="longitudes of shape .* wanted numbers"):
            da.atmo.to_points(lat=[1.0], lon=["east"])
        with pytest.raises(CoordinateError, match="2 latitudes and 3 longitudes came on 'point'; wanted one of each"):
            da.atmo.to_points(lat=[1.0, 2.0], lon=[1.0, 2.0, 3.0])
        with pytest.raises(CoordinateError, match="'lat' is in radians; wanted degrees"):
            da.atmo.to_points(lat=xr.DataArray([0.1], name="lat", attrs={"units": "radians"}), lon=[1.0])

    @pytest.mark.parametrize("lazy", [False, True])
    def test_latitude_out_of_range(self, lazy: bool, field: Fields) -> None:
        place = track()
        place["latitude"][4] = 91
        with pytest.raises(CoordinateError, match="a point at latitude 91 came"):
            field(POLES).atmo.to_points(place.chunk() if lazy else place).compute()

    def test_degree_and_engine(self, field: Fields) -> None:
        with pytest.raises(OptionError, match="lmax=18 came"):
            field(POLES).atmo.to_points(track(), lmax=18)
        with pytest.raises(OptionError, match="engine='fft' came"):
            field(POLES).atmo.to_points(track(), engine="fft")

    def test_regional_chunked_complex(self, field: Fields) -> None:
        da = field(POLES)
        with pytest.raises(GridError, match="to_points needs a global grid"):
            da[:, 3:9].atmo.to_points(track())
        with pytest.raises(ChunkError, match="to_points needs"):
            da.chunk(latitude=5).atmo.to_points(track())
        with pytest.raises(ChunkError, match="to_points needs 'degree' and 'order' whole"):
            da.atmo.to_spectral().chunk(degree=5).atmo.to_points(track())
        with pytest.raises(DimensionError, match="to_points needs real fields"):
            (da + 1j).atmo.to_points(track())
        with pytest.raises(OptionError, match="csphase=-1; wanted complex ones with norm=.4pi. and csphase=1"):
            da.atmo.to_spectral().assign_attrs(csphase=-1).atmo.to_points(track())

    @pytest.mark.parametrize("lazy", [False, True])
    def test_missing_values(self, lazy: bool, wind: Any, field: Fields) -> None:
        ds = wind(POLES)
        ds["va"][0, 3, 3] = np.nan
        da = field(POLES)
        coefficients = da.atmo.to_spectral()
        da[0, 3, 3] = np.nan
        coefficients[0, 3, 3] = np.nan
        for obj, match in ((ds, r"\('ua', 'va'\)"), (da, "'t'"), (coefficients, "'t'")):
            with pytest.raises(MissingValueError, match=f"to_points met 1 missing .* {match}"):
                (obj.chunk(time=1) if lazy else obj).atmo.to_points(track()).compute()


def test_kernel_shapes(random_coefficients: Any, engine: Any) -> None:
    x = random_coefficients(5, 2, 1)
    lat = np.linspace(-80, 80, 4)
    out = _scattered.synthesis(x, lat, 0.0, engine)
    assert out.shape == (2, 4)
    expected = _kernels.synthesis(x[:, 0], Grid.from_latlon(lat, [0.0, 1.0]), engine)[..., 0]
    np.testing.assert_allclose(out, expected, atol=1e-11)
    own = _scattered.synthesis(x[:, 0], lat[:2], np.zeros(2), engine)
    np.testing.assert_allclose(own, np.diagonal(expected[:, :2]), atol=1e-11)
    constant = _scattered.synthesis_vector(np.ones((1, 1)), np.ones((1, 1)), lat, lat, engine)
    assert [c.tolist() for c in constant] == [[0.0] * 4] * 2
