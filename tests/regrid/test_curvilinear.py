"""Weights from and to points: closed forms, poles, folds, rotated grids, rings, lists of points, and real files."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xatmo  # noqa: F401
from xatmo import Grid
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import CoordinateError, GridError, OptionError
from xatmo.regrid import Mesh, Regridder, SparseWeights, mesh_weights, regrid, weights_between
from xatmo.regrid._geometry import site_of, unrotated

POLE = {"grid_north_pole_latitude": 39.25, "grid_north_pole_longitude": -162.0, "north_pole_grid_longitude": 0.0}


def smooth(lat: Any, lon: Any) -> Any:
    """Polynomial of degree 2 in the coordinates of space, so that it has no kink at a pole."""
    phi, lam = np.radians(lat), np.radians(lon)
    x, y, z = np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)
    return x + 0.5 * y * z + z - 0.3 * x * y


def linear(lat: Any, lon: Any) -> Any:
    phi, lam = np.radians(lat), np.radians(lon)
    return np.cos(phi) * np.cos(lam) + 2 * np.sin(phi)


def as_mesh(grid: Grid, **options: Any) -> Mesh:
    return Mesh(*np.meshgrid(grid.latitude, grid.longitude, indexing="ij"), **options)


def on(grid: Grid) -> Any:
    return smooth(*np.meshgrid(grid.latitude, grid.longitude, indexing="ij"))


def rotated(n: int = 41, m: int = 61) -> xr.Dataset:
    rlat, rlon = np.linspace(-20, 20, n), np.linspace(-30, 30, m)
    lat, lon = unrotated(rlat, rlon, POLE)
    coords = {
        "rlat": ("rlat", rlat, {"standard_name": "grid_latitude", "units": "degrees"}),
        "rlon": ("rlon", rlon, {"standard_name": "grid_longitude", "units": "degrees"}),
        "lat": (("rlat", "rlon"), lat, {"standard_name": "latitude", "units": "degrees_north"}),
        "lon": (("rlat", "rlon"), lon, {"standard_name": "longitude", "units": "degrees_east"}),
        "time": [0, 1, 2],
    }
    pole = xr.DataArray(0, attrs={"grid_mapping_name": "rotated_latitude_longitude", **POLE})
    values = smooth(lat, lon)[None] + np.array([0, 1, 2.0])[:, None, None]
    attrs = {"units": "K", "grid_mapping": "pole", "long_name": "temperature"}
    return xr.Dataset({"t": (("time", "rlat", "rlon"), values, attrs), "pole": pole}, coords=coords)


# ---------------------------------------------------------------------- meshes that are products of two axes
@pytest.mark.parametrize("poles", [True, False])
def test_mesh_of_a_plain_grid_interpolates_everywhere(poles: bool) -> None:
    source, target = Grid.regular(45, 90, poles=poles), Grid.regular(37, 70)
    weights = mesh_weights(as_mesh(source), target, "bilinear")
    np.testing.assert_allclose(weights.matrix.sum(axis=1), 1, atol=1e-14)
    assert weights.matrix.data.min() > 0
    error = np.abs(weights.apply(on(source)) - on(target))
    assert error.max() < 2.5e-3  # h^2 / 8 times the second derivative, with h of four degrees
    plain = SparseWeights.of(weights_between(source, target, "bilinear")).apply(on(source))
    assert np.abs(weights.apply(on(source)) - plain).max() < 1.5e-3


def test_second_order_convergence() -> None:
    target = Grid.gaussian(32)
    errors = []
    for n in (23, 45, 89):
        source = Grid.regular(n, 2 * n - 2)
        weights = mesh_weights(as_mesh(source), target, "bilinear")
        errors.append(np.abs(weights.apply(on(source)) - on(target)).max())
    assert errors[0] / errors[1] > 3.4
    assert errors[1] / errors[2] > 3.4


def test_nearest_of_a_mesh_is_nearest_on_the_sphere() -> None:
    rng = np.random.default_rng(0)
    source, target = (
        as_mesh(Grid.regular(20, 40, poles=False)),
        Mesh(rng.uniform(-89, 89, 500), rng.uniform(0, 360, 500)),
    )
    weights = mesh_weights(source, target, "nearest")
    closest = np.argmin(np.linalg.norm(target.xyz[:, None] - source.xyz, axis=-1), axis=1)
    served = np.diff(weights.matrix.indptr) > 0
    np.testing.assert_array_equal(weights.matrix.indices, closest[served])
    # Caps of the outermost half rows belong to no cell of a mesh without poles, except near a point.
    assert served[np.abs(target.latitude) < 85].all()
    far = mesh_weights(source, target, "nearest", max_distance=EARTH_RADIUS * np.pi)
    np.testing.assert_array_equal(far.matrix.indices, closest)
    near = mesh_weights(source, target, "nearest", max_distance=200e3)
    angle = 2 * np.arcsin(np.linalg.norm(target.xyz - source.xyz[closest], axis=-1) / 2)
    np.testing.assert_array_equal(np.diff(near.matrix.indptr) > 0, angle * EARTH_RADIUS <= 200e3)


def test_points_on_nodes_take_their_values_alone() -> None:
    source = as_mesh(Grid.regular(19, 36))
    weights = mesh_weights(source, Grid.regular(10, 18), "bilinear")
    inner = np.diff(weights.matrix.indptr).reshape(10, 18)[1:-1]
    assert (inner == 1).all()
    rounded = Mesh(source.latitude.astype(np.float32), source.longitude.astype(np.float32))
    assert (
        np.diff(mesh_weights(rounded, Grid.regular(10, 18), "bilinear").matrix.indptr).reshape(10, 18)[1:-1] == 1
    ).all()


def test_periodic_flag_and_detection() -> None:
    whole, half = (
        as_mesh(Grid.regular(19, 36)),
        as_mesh(Grid.from_latlon(np.arange(-40, 41, 10.0), np.arange(0, 180, 10.0))),
    )
    assert whole.wraps
    assert not half.wraps
    between = Mesh(np.array([5.0, 5.0, 5.0]), np.array([355.0, 10.0, 200.0]))
    assert np.diff(mesh_weights(whole, between, "bilinear").matrix.indptr).all()
    cut = mesh_weights(as_mesh(Grid.regular(19, 36), periodic=False), between, "bilinear")
    np.testing.assert_array_equal(np.diff(cut.matrix.indptr) > 0, [False, True, True])


def test_tripolar_fold_leaves_no_hole() -> None:
    """A cap whose rows are folded along a line between two poles on land, as ocean models have it."""
    nx, ny = 72, 14
    # Coordinates around an axis that lies on the equator: the last row runs along a meridian and back.
    i = (np.arange(nx) + 0.5) * 360 / nx
    j = np.linspace(40, 88.5, ny)
    lat, lon = np.meshgrid(j, i, indexing="ij")
    # Squeeze the circles onto ellipses that close on a segment at the last row.
    r = np.radians(90 - lat)
    x, y = r * np.cos(np.radians(lon)), r * np.sin(np.radians(lon))
    y *= ((90 - lat) / 50) ** 0.0
    flat = np.linspace(1, 0.06, ny)[:, None]
    x, y = x + 0.4 * (1 - flat) * np.cos(np.radians(lon)), y * flat
    radius, angle = np.hypot(x, y), np.degrees(np.arctan2(y, x))
    mesh = Mesh(90 - np.degrees(radius), angle)
    fold = mesh._fold(
        np.arange(nx * ny).reshape(ny, nx)[-1][[*range(nx), 0]], np.arange(nx * ny).reshape(ny, nx)[-2][[*range(nx), 0]]
    )
    assert fold is not None
    rng = np.random.default_rng(1)
    inside = Mesh(90 - rng.uniform(0, 20, 800), rng.uniform(0, 360, 800))
    weights = mesh_weights(mesh, inside, "bilinear")
    assert (np.diff(weights.matrix.indptr) > 0).all()
    error = np.abs(weights.apply(linear(mesh.latitude, mesh.longitude)) - linear(inside.latitude, inside.longitude))
    assert error.max() < 5e-3


def test_missing_coordinates_are_holes() -> None:
    mesh = as_mesh(Grid.regular(19, 36))
    lat = mesh.latitude.copy()
    lat[9, 10] = np.nan
    holed = Mesh(lat, mesh.longitude)
    target = Mesh(np.array([2.0, 45.0, 1.0]), np.array([101.0, 101.0, 200.0]))
    weights = mesh_weights(holed, target, "bilinear")
    np.testing.assert_array_equal(np.diff(weights.matrix.indptr) > 0, [False, True, True])
    assert mesh_weights(holed, target, "nearest").matrix.nnz == 2  # half a diagonal is 7 degrees
    with pytest.raises(GridError, match="some points of this curvilinear grid have no coordinates"):
        holed.corner_coordinates()


# ---------------------------------------------------------------------- rotated pole
@pytest.mark.parametrize("method", ["bilinear", "nearest"])
def test_whole_rows_without_coordinates(method: Any) -> None:
    """Models drop the rows of a tile that has no sea."""
    lat, lon = np.meshgrid(np.linspace(-20, 20, 21), np.linspace(0, 40, 21), indexing="ij")
    lat[:3] = np.nan
    box = Grid.from_latlon(np.linspace(-5, 15, 9), np.linspace(5, 35, 9))
    weights = mesh_weights(Mesh(lat, lon), box, method)
    expected = linear(*np.meshgrid(box.latitude, box.longitude, indexing="ij"))
    assert np.abs(weights.apply(linear(lat, lon)) - expected).max() < (1e-3 if method == "bilinear" else 0.1)
    with pytest.raises(CoordinateError, match="2 of 9 points have finite coordinates; wanted at least 3"):
        Mesh(np.where(np.arange(9) < 2, 5.0, np.nan).reshape(3, 3), np.zeros((3, 3)))


def test_chunked_coordinates_are_read_without_computing_fields(
    no_compute: Callable[[], AbstractContextManager[None]],
) -> None:
    da = rotated()["t"]
    lazy = da.chunk({d: -1 for d in da.dims})
    assert lazy["lat"].chunks is not None
    target = Grid.from_latlon(np.linspace(20, 50, 11), np.linspace(0, 30, 11))
    with no_compute():
        out = regrid(lazy, target, method="bilinear")
    np.testing.assert_array_equal(out, regrid(da, target, method="bilinear"))


def test_unrotated_axes() -> None:
    lat, lon = unrotated(np.array([90.0, 0.0, -90.0]), np.array([0.0]), POLE)
    np.testing.assert_allclose(lat.ravel(), [39.25, 50.75, -39.25])
    np.testing.assert_allclose(lon.ravel(), [-162, 18, 18])
    same = {"grid_north_pole_latitude": 90.0, "grid_north_pole_longitude": 180.0, "north_pole_grid_longitude": 0.0}
    lat, lon = unrotated(np.array([-10.0, 30]), np.array([20.0, -40]), same)
    np.testing.assert_allclose(lat[:, 0], [-10, 30])
    np.testing.assert_allclose(lon[0], [20, -40])
    # Distances stay: the angle between two points is that between their rotated images.
    here = Mesh(*unrotated(np.array([0.0, 10, 20]), np.array([-5.0, 0, 7]), POLE)).xyz
    there = Mesh(*np.meshgrid([0.0, 10, 20], [-5.0, 0, 7], indexing="ij")).xyz
    np.testing.assert_allclose(here @ here.T, there @ there.T, atol=1e-14)


@pytest.mark.parametrize("method", ["bilinear", "nearest"])
def test_rotated_dataset_to_a_regular_grid(method: str) -> None:
    ds = rotated()
    target = Grid.regular(181, 360)
    out = ds.atmo.regrid(target, method=method)
    assert out["t"].dims == ("time", "latitude", "longitude")
    assert set(out.coords) == {"time", "latitude", "longitude"}
    assert "pole" not in out
    assert "grid_mapping" not in out["t"].attrs
    assert out["t"].attrs["units"] == "K"
    assert "regrid(" in out.attrs["history"]
    there = np.isfinite(out["t"].values[0])
    # 40 x 60 degrees of the rotated sphere, in cells of one degree.
    area = target.areas / EARTH_RADIUS**2
    sides = (40, 60) if method == "bilinear" else (41, 61)
    wanted = np.radians(sides[1]) * 2 * np.sin(np.radians(sides[0] / 2))
    assert abs(area[there].sum() / wanted - 1) < 0.02
    error = np.abs(out["t"].values[0] - on(target))[there]
    assert error.max() < (2e-4 if method == "bilinear" else 2e-2)
    np.testing.assert_allclose(out["t"].values[2][there], out["t"].values[0][there] + 2)


def test_rotated_axes_without_two_dimensional_coordinates() -> None:
    ds = rotated()
    bare = ds.drop_vars(["lat", "lon"])
    target = Grid.regular(91, 180)
    xr.testing.assert_allclose(
        bare.atmo.regrid(target, method="bilinear")["t"], ds.atmo.regrid(target, method="bilinear")["t"]
    )
    with pytest.raises(GridError, match="rotated-pole grid"):
        regrid(bare.drop_vars("pole"), target, method="bilinear")


def test_rotated_grid_as_target_keeps_its_coordinates() -> None:
    fine = Grid.regular(181, 360)
    da = xr.DataArray(on(fine), coords=fine.coords(), dims=("latitude", "longitude"), name="t")
    ds = rotated()
    for method in ("bilinear", "bicubic", "nearest"):
        out = regrid(da, ds, method=method)  # type: ignore[arg-type]
        assert out.dims == ("rlat", "rlon")
        assert {"lat", "lon", "rlat", "rlon", "pole"} <= set(out.coords)
        assert out.attrs["grid_mapping"] == "pole"
        error = np.abs(out.values - ds["t"].values[0]).max()
        assert error < {"bilinear": 2e-4, "bicubic": 3e-6, "nearest": 2e-2}[method]


def test_there_and_back() -> None:
    ds = rotated()[["t", "pole"]]
    out = ds.atmo.regrid(Grid.regular(361, 720), method="bilinear").atmo.regrid(ds, method="bilinear")
    inner = (slice(None), slice(3, -3), slice(3, -3))
    assert np.abs(out["t"].values - ds["t"].values)[inner].max() < 3e-4


# ---------------------------------------------------------------------- from a product of two axes to points
@pytest.mark.parametrize("method", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_points_of_a_product_get_what_the_product_gets(method: str, sign: float) -> None:
    source, target = Grid.regular(24, 50, poles=False), Grid.regular(37, 70)
    rng = np.random.default_rng(0)
    field = rng.standard_normal((2, *source.shape))
    points = mesh_weights(source, as_mesh(target), method)
    product = SparseWeights.of(weights_between(source, target, method))
    np.testing.assert_allclose(points.apply(field, sign=sign), product.apply(field, sign=sign), atol=1e-13)


def test_regional_source_leaves_points_outside_missing() -> None:
    source = Grid.from_latlon(np.arange(40, 61, 1.0), np.arange(-10, 21, 1.0))
    points = Mesh(np.array([50.5, 30.0, 60.4]), np.array([355.0, 5.0, 5.0]))
    field = np.ones(source.shape)
    np.testing.assert_array_equal(np.isnan(mesh_weights(source, points, "bilinear").apply(field)), [False, True, True])
    np.testing.assert_array_equal(np.isnan(mesh_weights(source, points, "nearest").apply(field)), [False, True, False])


# ---------------------------------------------------------------------- rings and lists
@pytest.mark.parametrize("grid", [Grid.healpix(16), Grid.healpix(16, nest=True), Grid.reduced_gaussian("O32")])
def test_rings_as_sources_and_targets(grid: Any) -> None:
    target = Grid.regular(37, 72)
    values = smooth(grid.point_latitude, grid.point_longitude)
    weights = mesh_weights(grid, target, "bilinear")
    np.testing.assert_allclose(weights.matrix.sum(axis=1), 1, atol=1e-14)
    assert np.abs(weights.apply(values) - on(target)).max() < 1.2e-2  # rings of 4 points at the poles
    nearest = mesh_weights(grid, target, "nearest")
    assert nearest.matrix.nnz == target.nlat * target.nlon
    back = mesh_weights(Grid.regular(91, 180), grid, "bilinear").apply(on(Grid.regular(91, 180)))
    assert np.abs(back - values).max() < 1e-3
    here = mesh_weights(grid, grid, "bilinear")
    np.testing.assert_array_equal(here.matrix.toarray() == 1, np.eye(grid.npoints, dtype=bool))
    with pytest.raises(GridError, match="method 'conservative' came for"):
        mesh_weights(grid, target, "conservative")


def test_rings_through_the_accessor() -> None:
    grid = Grid.healpix(8)
    da = xr.DataArray(smooth(grid.point_latitude, grid.point_longitude), coords=grid.coords(), dims="cell", name="t")
    out = da.atmo.regrid(Grid.regular(19, 36), method="bilinear")
    assert out.dims == ("latitude", "longitude")
    again = out.atmo.regrid(grid, method="nearest")
    assert again.dims == ("cell",)
    assert again.sizes["cell"] == grid.npoints
    # Nested order of the same points: the same answer.
    nested = Grid.healpix(8, nest=True)
    order = xr.DataArray(
        smooth(nested.point_latitude, nested.point_longitude), coords=nested.coords(), dims="cell", name="t"
    )
    regridder = Regridder(da, Grid.regular(19, 36), method="bilinear")
    np.testing.assert_allclose(regridder(order), out, atol=1e-15)


def test_list_of_points_has_triangles() -> None:
    rng = np.random.default_rng(2)
    z = rng.uniform(-1, 1, 4000)
    mesh = Mesh(np.degrees(np.arcsin(z)), rng.uniform(0, 360, 4000))
    target = Grid.regular(37, 72)
    weights = mesh_weights(mesh, target, "bilinear")
    np.testing.assert_allclose(weights.matrix.sum(axis=1), 1, atol=1e-13)
    assert weights.matrix.data.min() > -1e-12
    assert np.diff(weights.matrix.indptr).max() <= 3
    error = np.abs(weights.apply(smooth(mesh.latitude, mesh.longitude)) - on(target))
    assert error.max() < 0.02
    region = Mesh(rng.uniform(40, 60, 500), rng.uniform(0, 30, 500))
    there = mesh_weights(region, target, "bilinear").apply(np.ones(500))
    lat, lon = np.meshgrid(target.latitude, target.longitude, indexing="ij")
    assert np.isnan(there[(lat < 35) | (lat > 65)]).all()
    np.testing.assert_allclose(there[(lat > 44) & (lat < 56) & (lon > 4) & (lon < 26)], 1, rtol=1e-14)
    with pytest.raises(GridError, match="span no triangles"):
        mesh_weights(Mesh(np.zeros(3), np.zeros(3)), target, "bilinear")


# ---------------------------------------------------------------------- orders, errors
def test_transposed_and_flipped_meshes_are_the_same_points() -> None:
    ds = rotated()
    regridder = Regridder(ds, Grid.regular(91, 180), method="bilinear")
    expected = regridder(ds)["t"]
    flipped = ds.isel(rlat=slice(None, None, -1), rlon=slice(None, None, -1))
    np.testing.assert_array_equal(regridder(flipped)["t"], expected)
    turned = ds.transpose("rlon", "time", "rlat")
    np.testing.assert_array_equal(regridder(turned)["t"].transpose(*expected.dims), expected)
    moved = ds.assign_coords(lon=ds["lon"] + 1.0)
    with pytest.raises(CoordinateError, match="the object lies on <Mesh curvilinear 41 x 61"):
        regridder(moved)


def test_cf_bounds_are_the_corners() -> None:
    grid = Grid.regular(10, 18, poles=False)
    lat, lon = np.meshgrid(grid.latitude, grid.longitude, indexing="ij")
    half = 9.0, 10.0
    signs = [(-1, -1), (-1, 1), (1, 1), (1, -1)]
    bounds = [np.stack([c + s[k] * half[k] for s in signs], axis=-1) for k, c in enumerate((lat, lon))]
    ds = xr.Dataset(
        {"blat": (("y", "x", "n"), bounds[0]), "blon": (("y", "x", "n"), bounds[1])},
        coords={
            "lat": (("y", "x"), lat, {"units": "degrees_north", "bounds": "blat"}),
            "lon": (("y", "x"), lon, {"units": "degrees_east", "bounds": "blon"}),
        },
    )
    mesh = site_of(ds).grid
    corner_lat, corner_lon = mesh.corner_coordinates()
    assert corner_lat.shape == (11, 19)
    assert sorted(set(np.round(np.abs(corner_lat[:, 0]), 6))) == sorted(set(np.abs(np.arange(-90, 91, 18.0))))
    made_lat, made_lon = Mesh(lat, lon).corner_coordinates()
    inner = slice(2, -2)
    np.testing.assert_allclose(made_lat[inner], -np.sort(-corner_lat, axis=0)[inner], atol=0.5)  # great circles
    assert made_lon.shape == corner_lon.shape
    with pytest.raises(GridError, match="cells of unstructured points have no corners"):
        Mesh(np.zeros(4), np.arange(4.0)).corner_coordinates()


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Mesh(np.zeros((3, 3)), np.zeros((3, 4))), CoordinateError, "wanted the same one or two dimensions"),
        (lambda: Mesh(np.full(4, 91.0), np.zeros(4)), CoordinateError, "wanted degrees between -90 and 90"),
        (lambda: mesh_weights(as_mesh(Grid.regular(9, 16)), Grid.regular(9, 16), "bicubic"), GridError, "wanted 'bil"),
        (lambda: mesh_weights(as_mesh(Grid.regular(9, 16)), Grid.regular(9, 16), "max"), GridError, "a weight file of"),
        (
            lambda: mesh_weights(as_mesh(Grid.regular(9, 16)), Grid.regular(9, 16), "bilinear", max_distance=1.0),
            OptionError,
            "only method 'nearest' takes it",
        ),
        (
            lambda: mesh_weights(as_mesh(Grid.regular(9, 16)), Grid.regular(9, 16), "nearest", max_distance=0.0),
            OptionError,
            "wanted metres, more than 0",
        ),
        (lambda: regrid(rotated(), Grid.regular(9, 16), method="conservative"), GridError, "engine='xesmf', or"),
        (lambda: site_of("here"), OptionError, "a str came as grid"),
    ],
)  # fmt: skip
def test_errors(make: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()


def test_representation() -> None:
    assert repr(as_mesh(Grid.regular(9, 16))) == "<Mesh curvilinear 9 x 16, lat -90 to 90, lon 0 to 337.5>"
    assert repr(Mesh(np.arange(3.0), np.arange(3.0))) == "<Mesh points 3, lat 0 to 2, lon 0 to 2>"


# ---------------------------------------------------------------------- real files
def test_real_rotated_file(shared_data: Callable[[str], Path]) -> None:
    with xr.open_dataset(shared_data("cordex_orography_rotated_pole_0p22deg_africa.nc")) as opened:
        ds = opened.load()
    out = regrid(ds, Grid.regular(361, 720), method="bilinear")["orog"]
    # This grid's pole is the Earth's, so its axes are true latitude and longitude.
    plain = (
        ds["orog"]
        .rename(rlat="latitude", rlon="longitude")
        .assign_coords(
            latitude=("latitude", ds["rlat"].values, {"units": "degrees_north"}),
            longitude=("longitude", ds["rlon"].values, {"units": "degrees_east"}),
        )
    )
    expected = regrid(plain, Grid.regular(361, 720), method="bilinear")
    both = np.isfinite(out.values) & np.isfinite(expected.values)
    assert both.sum() > 0.99 * np.isfinite(expected.values).sum()
    assert np.abs(out.values - expected.values)[both].max() < 12  # of 3900 m: great circles against parallels
    assert abs(float(out.mean()) - float(ds["orog"].weighted(np.cos(np.radians(ds["rlat"]))).mean())) < 60
    assert out.attrs["standard_name"] == "surface_altitude"
