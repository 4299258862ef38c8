"""A Regridder: the answers of `regrid`, any order of points, files, pickling, laziness, missing values, masks."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr

import xatmo
from xatmo import Grid
from xatmo.errors import CheckpointError, ChunkError, CoordinateError, DimensionError, OptionError
from xatmo.regrid import Mesh, Regridder, SparseWeights, regrid, weights_between
from xatmo.regrid._geometry import unrotated

FINE, COARSE = Grid.regular(37, 72), Grid.regular(12, 24, poles=False)
POLE = {"grid_north_pole_latitude": 39.25, "grid_north_pole_longitude": -162.0}


def field(grid: Grid = FINE, dtype: Any = np.float32, times: int = 3) -> xr.DataArray:
    values = np.random.default_rng(0).standard_normal((times, *grid.shape)).astype(dtype)
    coords = {"time": np.arange(times), **grid.coords()}
    return xr.DataArray(values, coords=coords, dims=("time", "latitude", "longitude"), name="t", attrs={"units": "K"})


def curved(times: int = 3, dtype: Any = np.float32) -> xr.DataArray:
    lat, lon = unrotated(np.linspace(-20, 20, 31), np.linspace(-30, 30, 41), POLE)
    values = np.random.default_rng(1).standard_normal((times, *lat.shape)).astype(dtype)
    coords = {
        "time": np.arange(times),
        "lat": (("y", "x"), lat, {"units": "degrees_north"}),
        "lon": (("y", "x"), lon, {"units": "degrees_east"}),
    }
    return xr.DataArray(values, coords=coords, dims=("time", "y", "x"), name="t", attrs={"units": "K"})


# ---------------------------------------------------------------------- the answers of regrid
@pytest.mark.parametrize(
    "method", ["conservative", "conservative2", "bilinear", "bicubic", "nearest", "most_common", "max"]
)
def test_as_regrid(method: str) -> None:
    da = field()
    regridder = Regridder(da, COARSE, method=method)
    expected = regrid(da, COARSE, method=method)  # type: ignore[arg-type]
    xr.testing.assert_identical(regridder(da), expected)
    xr.testing.assert_identical(da.atmo.regridder(COARSE, method=method)(da), expected)
    xr.testing.assert_identical(da.atmo.regrid(regridder), expected)
    both = regridder(xr.Dataset({"a": da, "b": da.isel(time=0) * 2, "c": ("time", [1.0, 2, 3])}))
    assert set(both) == {"a", "b", "c"}
    np.testing.assert_allclose(both["b"], 2 * both["a"][0], rtol=1e-6)


def test_separable_and_sparse_agree() -> None:
    da = field(dtype=np.float64)
    for method in ("conservative", "bilinear", "bicubic", "nearest"):
        regridder = Regridder(FINE, COARSE, method=method)
        sparse = regridder.as_sparse()
        assert isinstance(sparse, SparseWeights)
        np.testing.assert_allclose(sparse.apply(da.values), regridder(da), atol=1e-12)
    with pytest.raises(OptionError, match="method 'max' is no fixed matrix"):
        Regridder(FINE, COARSE, method="max").as_sparse()


@pytest.mark.parametrize("method", ["conservative", "bilinear", "nearest"])
@pytest.mark.parametrize("sparse", [False, True])
def test_any_order_of_points(tmp_path: Path, method: str, sparse: bool) -> None:
    da = field()
    regridder = Regridder(da, COARSE, method=method)
    if sparse:
        regridder.to_esmf(tmp_path / "w.nc")
        regridder = Regridder.from_file(tmp_path / "w.nc", da)
    expected = regridder(da)
    flipped = da.isel(latitude=slice(None, None, -1))
    np.testing.assert_array_equal(regridder(flipped), expected)
    west = da.assign_coords(longitude=(da.longitude + 180) % 360 - 180).sortby("longitude")
    assert float(west.longitude[0]) == -180
    np.testing.assert_array_equal(regridder(west), expected)
    cyclic = xr.concat([da, da.isel(longitude=[0]).assign_coords(longitude=[360.0])], "longitude")
    np.testing.assert_array_equal(regridder(cyclic), expected)
    turned = da.transpose("longitude", "time", "latitude")
    out = regridder(turned)
    assert out.dims == ("longitude", "time", "latitude")
    np.testing.assert_array_equal(out.transpose(*expected.dims), expected)
    with pytest.raises(CoordinateError, match=r"the object lies on <Grid regular 12 x 24.*the Regridder is for <Grid"):
        regridder(field(COARSE))
    with pytest.raises(CoordinateError, match="the object lies on"):
        regridder(da.assign_coords(longitude=da.longitude + 2.5))


def test_target_object_gives_names_coordinates_and_cyclic_column() -> None:
    lon = np.arange(0, 361, 15.0)
    there = xr.Dataset(
        coords={
            "nav_lat": ("j", np.linspace(-80, 80, 9), {"units": "degrees_north"}),
            "nav_lon": ("i", lon, {"units": "degrees_east"}),
        }
    )
    out = Regridder(FINE, there, method="bilinear")(field())
    assert out.dims == ("time", "j", "i")
    np.testing.assert_array_equal(out["nav_lon"], lon)
    np.testing.assert_array_equal(out[..., 0], out[..., -1])
    xr.testing.assert_identical(out, regrid(field(), there, method="bilinear"))


def test_cell_bounds_count_and_are_kept(tmp_path: Path) -> None:
    """Cells of unequal width, told by bounds of the target."""
    there = xr.Dataset(
        {"lat_b": (("lat", "n"), [[-90.0, 30.0], [30.0, 90.0]])},
        coords={
            "lat": ("lat", [-20.0, 50.0], {"units": "degrees_north", "bounds": "lat_b"}),
            "lon": ("lon", np.arange(0, 360, 90.0), {"units": "degrees_east"}),
        },
    )
    da = field(dtype=np.float64)
    regridder = Regridder(da, there)
    expected = regrid(da, there, method="conservative")
    xr.testing.assert_identical(regridder(da), expected)
    regridder.save(tmp_path / "r.nc")
    xr.testing.assert_identical(Regridder.load(tmp_path / "r.nc")(da), expected)


# ---------------------------------------------------------------------- mathematics through the sparse matrix
def test_conservation_constants_and_range() -> None:
    sparse = SparseWeights.of(weights_between(FINE, COARSE, "conservative"))
    da = field(dtype=np.float64)
    out = sparse.apply(da.values)
    areas = FINE.areas, COARSE.areas
    np.testing.assert_allclose((out * areas[1]).sum((-1, -2)), (da.values * areas[0]).sum((-1, -2)), rtol=1e-9)
    np.testing.assert_allclose(sparse.apply(np.full(FINE.shape, 3.0)), 3.0, rtol=4e-16)
    assert out.max() <= da.values.max()
    assert out.min() >= da.values.min()
    ordered = sparse.apply(np.sort(da.values, axis=0))
    assert (np.diff(ordered, axis=0) >= 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("skipna", [True, False])
@pytest.mark.parametrize("min_valid", [0.0, 0.5, 1.0])
def test_missing_values_as_in_the_separable_engine(dtype: Any, skipna: bool, min_valid: float) -> None:
    da = field(dtype=dtype)
    da = da.where(np.random.default_rng(3).random(da.shape) > 0.3)
    da[2] = da[2].where(da.latitude > 0)
    options: dict[str, Any] = {"min_valid": min_valid, "skipna": skipna}
    for method in ("conservative", "bilinear"):
        expected = Regridder(FINE, COARSE, method=method, **options)(da)
        sparse = SparseWeights.of(weights_between(FINE, COARSE, method)).signed()
        out = sparse.apply(da.values, **options)
        assert out.dtype == dtype
        np.testing.assert_array_equal(np.isnan(out), np.isnan(expected))
        np.testing.assert_allclose(out, expected, atol=2e-6 if dtype == np.float32 else 1e-12)


def test_infinity_stays_where_it_is() -> None:
    da = field(dtype=np.float64)
    da[0, 10, 10] = np.inf
    out = SparseWeights.of(weights_between(FINE, COARSE, "bilinear")).apply(da.values)
    assert np.isinf(out[0]).sum() <= 4
    assert np.isfinite(out[1:]).all()


def test_types() -> None:
    mesh = curved()
    regridder = Regridder(mesh, Grid.regular(19, 36), method="nearest")
    assert regridder(mesh).dtype == np.float32
    assert regridder(mesh.astype(np.int16)).dtype == np.float64  # some points are outside
    whole = Regridder(Mesh(*np.meshgrid(FINE.latitude, FINE.longitude, indexing="ij")), COARSE, method="nearest")
    assert whole.sparse is not None
    assert whole.sparse.regrid(field().astype(np.int16), ("latitude", "longitude"), ("a", "b")).dtype == np.int16
    both = mesh + 1j * mesh
    out = regridder(both)
    assert out.dtype == np.complex64
    np.testing.assert_array_equal(out.imag, regridder(mesh))


def test_threads_do_not_matter() -> None:
    sparse = SparseWeights.of(weights_between(FINE, COARSE, "conservative"))
    values = field(times=40).values
    np.testing.assert_array_equal(sparse.apply(values, threads=3), sparse.apply(values))


# ---------------------------------------------------------------------- masks
@pytest.mark.parametrize("method", ["conservative", "bilinear", "nearest"])
def test_masks_of_a_sparse_matrix_are_missing_values(method: str) -> None:
    da = field(dtype=np.float64)
    keep, wanted = (
        np.random.default_rng(4).random(FINE.shape) > 0.2,
        np.random.default_rng(5).random(COARSE.shape) > 0.2,
    )
    sparse = SparseWeights.of(weights_between(FINE, COARSE, method))
    expected = np.where(wanted, sparse.apply(np.where(keep, da.values, np.nan)), np.nan)
    np.testing.assert_allclose(sparse.masked(keep, wanted).apply(da.values), expected, atol=1e-12)
    regridder = Regridder(FINE, COARSE, method=method, mask=keep, target_mask=wanted)
    np.testing.assert_allclose(regridder(da), expected, atol=1e-12)


def test_masks_by_name_and_order() -> None:
    da = curved(dtype=np.float64)
    keep = xr.DataArray(np.random.default_rng(4).random(da.shape[1:]) > 0.2, coords={n: da[n] for n in ("lat", "lon")},
                        dims=("y", "x"))  # fmt: skip
    target = Grid.regular(37, 72)
    expected = Regridder(da, target, method="bilinear")(da.where(keep))
    for mask in (
        keep,
        keep.values,
        keep.isel(y=slice(None, None, -1)),
        keep.T,
        keep.astype(float),
        keep.drop_vars(["lat", "lon"]),
    ):
        out = Regridder(da, target, method="bilinear", mask=mask)(da)
        np.testing.assert_allclose(out, expected, atol=1e-12)
    ds = xr.Dataset({"t": da, "sea": keep.astype(np.int8)})
    np.testing.assert_allclose(ds.atmo.regrid(target, method="bilinear", mask="sea")["t"], expected, atol=1e-12)
    with pytest.raises(DimensionError, match=r"mask has shape \(3, 3\); wanted \(31, 41\)"):
        Regridder(da, target, method="bilinear", mask=np.ones((3, 3)))
    with pytest.raises(DimensionError, match=r"mask the fields: ds.where\(mask\)"):
        Regridder(da, target, method="bilinear", mask=da > 0)


# ---------------------------------------------------------------------- files
def regridders() -> dict[str, Callable[[], Regridder]]:
    keep = np.random.default_rng(4).random(FINE.shape) > 0.2
    mesh = curved()
    return {
        "separable": lambda: Regridder(field(), COARSE, method="bilinear"),
        "masked": lambda: Regridder(field(), COARSE, mask=keep, min_valid=0.2),
        "curved": lambda: Regridder(mesh, Grid.regular(19, 36), method="bilinear"),
        "to curved": lambda: Regridder(FINE, mesh, method="bicubic"),
        "to rings": lambda: Regridder(FINE, Grid.healpix(4), method="nearest"),
        "from rings": lambda: Regridder(Grid.healpix(8, nest=True), COARSE, method="bilinear"),
    }


@pytest.mark.parametrize("name", list(regridders()))
def test_saved_and_pickled_exactly(tmp_path: Path, name: str) -> None:
    regridder = regridders()[name]()
    regridder.save(tmp_path / "folder" / "r.nc")
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["r.nc"]
    rings = Grid.healpix(8, nest=True)
    da = {"curved": curved, "from rings": lambda: _on_rings(rings)}.get(name, field)()
    expected = regridder(da)
    for again in (Regridder.load(tmp_path / "folder" / "r.nc"), pickle.loads(pickle.dumps(regridder))):
        xr.testing.assert_identical(again(da), expected)
        assert repr(again) == repr(regridder)


def _on_rings(grid: Any) -> xr.DataArray:
    return xr.DataArray(np.sin(np.radians(grid.point_latitude)), coords=grid.coords(), dims="cell", name="t")


def test_files_that_are_no_regridders(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no regridder at"):
        Regridder.load(tmp_path / "r.nc")
    regridder = Regridder(FINE, COARSE, method="bilinear")
    regridder.save(tmp_path / "r.nc")
    whole = (tmp_path / "r.nc").read_bytes()
    for size in (600, len(whole) // 2, len(whole) - 1):
        (tmp_path / "r.nc").write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match="it may be truncated"):
            Regridder.load(tmp_path / "r.nc")
    regridder.to_esmf(tmp_path / "w.nc")
    with pytest.raises(CheckpointError, match=r"For weight files of other programs use Regridder.from_file"):
        Regridder.load(tmp_path / "w.nc")
    xr.Dataset(attrs={"xatmo_regridder": 99}).to_netcdf(tmp_path / "new.nc")
    with pytest.raises(CheckpointError, match=r"newer xatmo \(format 99\)"):
        Regridder.load(tmp_path / "new.nc")
    xr.Dataset(attrs={"xatmo_regridder": 1, "state": "{}"}).to_netcdf(tmp_path / "half.nc")
    with pytest.raises(CheckpointError, match="is an incomplete Regridder"):
        Regridder.load(tmp_path / "half.nc")


@pytest.mark.parametrize("layout", ["esmf", "scrip"])
def test_from_file_rebuilds_coordinates_and_takes_other_orders(tmp_path: Path, layout: Any) -> None:
    mesh = curved(dtype=np.float64)
    target = Grid.regular(19, 36)
    made = Regridder(mesh, target, method="bilinear")
    made.to_esmf(tmp_path / "w.nc", layout=layout)
    expected = made(mesh)
    read = Regridder.from_file(tmp_path / "w.nc")
    out = read(mesh)
    assert out.dims == ("time", "latitude", "longitude")
    np.testing.assert_allclose(out, expected, atol=1e-12)
    np.testing.assert_allclose(out.latitude, target.latitude, atol=1e-9)
    upside = target.coords()["latitude"][::-1]
    there = xr.Dataset(
        coords={
            "lat": ("lat", upside.values, upside.attrs),
            "lon": ("lon", target.longitude, {"units": "degrees_east"}),
        }
    )
    turned = Regridder.from_file(tmp_path / "w.nc", target=there)(mesh)
    assert turned.dims == ("time", "lat", "lon")
    np.testing.assert_allclose(turned[:, ::-1].values, expected.values, atol=1e-12)
    flipped = mesh.isel(y=slice(None, None, -1))
    np.testing.assert_allclose(Regridder.from_file(tmp_path / "w.nc", source=flipped)(flipped), expected, atol=1e-12)
    with pytest.raises(CoordinateError, match="source of this weight file"):
        Regridder.from_file(tmp_path / "w.nc", source=mesh.assign_coords(lon=mesh.lon + 1))
    given = Regridder(mesh, there, weights=tmp_path / "w.nc")
    np.testing.assert_allclose(given(mesh), turned, atol=1e-12)


def test_from_a_file_without_coordinates(tmp_path: Path) -> None:
    made = Regridder(FINE, COARSE, method="bilinear")
    made.to_esmf(tmp_path / "w.nc")
    with xr.open_dataset(tmp_path / "w.nc") as ds:
        bare = ds.drop_vars([n for n in ds.variables if str(n)[:2] in ("yc", "xc")]).load()
    regridder = Regridder.from_file(bare)
    assert repr(regridder).startswith("<Regridder bilinear, 37 x 72 points -> 12 x 24 points, ")
    out = regridder(field())
    assert out.dims == ("time", "y", "x")
    np.testing.assert_allclose(out, made(field()), atol=1e-6)
    np.testing.assert_allclose(regridder(field().drop_vars(["latitude", "longitude"])), out)
    with pytest.raises(DimensionError, match="nothing here has 37 x 72 points"):
        regridder(field(COARSE))


# ---------------------------------------------------------------------- laziness
@pytest.mark.parametrize("make", [field, curved])
def test_lazy(make: Any, no_compute: Callable[[], AbstractContextManager[None]]) -> None:
    da = make(times=6)
    eager = Regridder(da, COARSE, method="bilinear")(da)
    for chunks in ({"time": 1}, {"time": 4}, {"time": -1}):
        lazy = da.chunk(chunks)
        lazy = lazy.assign_coords({n: da[n] for n in ("lat", "lon") if n in da.coords})  # coordinates are computed
        with no_compute():
            regridder = Regridder(lazy, COARSE, method="bilinear")
            out = regridder(lazy)
        assert out.chunks is not None
        assert out.dtype == eager.dtype
        assert out.chunks[0] == lazy.chunks[0]
        np.testing.assert_array_equal(out.compute(), eager)
    split = da.chunk({da.dims[-1]: 20})
    with pytest.raises(ChunkError, match="whole, but"):
        regridder(split)


def test_weights_are_one_key_of_the_graph() -> None:
    da = curved(times=12).chunk(time=1)
    regridder = Regridder(da, FINE, method="bilinear")
    (optimized,) = dask.optimize(regridder(da).variable._data)
    sizes = {str(k): len(pickle.dumps(v)) for k, v in dict(optimized.__dask_graph__()).items()}
    field_size = curved(times=1).nbytes
    assert regridder.sparse is not None
    assert regridder.sparse.nbytes > 3 * field_size
    heavy = [k for k, size in sizes.items() if size > regridder.sparse.nbytes]
    assert len(heavy) == 1
    assert "weights-" in heavy[0]
    assert max(size for k, size in sizes.items() if k not in heavy) < 2 * field_size


def test_on_a_cluster(cluster: Any) -> None:
    da = curved(times=8)
    expected = Regridder(da, COARSE, method="bilinear")(da)
    lazy = da.chunk(time=1)
    regridder = Regridder(lazy, COARSE, method="bilinear")
    np.testing.assert_array_equal(regridder(lazy).compute(), expected)
    again = cluster.submit(lambda r, x: r(x).values, regridder, da).result()
    np.testing.assert_array_equal(again, expected)


# ---------------------------------------------------------------------- labels, errors
def test_labels() -> None:
    da = curved()
    out = Regridder(da, COARSE, method="bilinear")(da.expand_dims(level=[1, 2]).transpose("y", "level", "x", "time"))
    assert out.dims == ("latitude", "level", "longitude", "time")
    assert out.name == "t"
    assert out.attrs["units"] == "K"
    assert f"xatmo {xatmo.__version__}: regrid(target=<Grid regular 12 x 24" in out.attrs["history"]
    rings = Regridder(FINE, Grid.healpix(4), method="bilinear")(field().transpose("latitude", "time", "longitude"))
    assert rings.dims == ("cell", "time")


def test_vectors_turn_over_the_pole() -> None:
    """An eastward wind of wave number 1 is smooth across the pole only with its sign turned there."""
    grid = Grid.regular(18, 36, poles=False)
    lat, lon = np.meshgrid(grid.latitude, np.radians(grid.longitude), indexing="ij")
    u = xr.DataArray(np.sin(lon) + 0 * lat, coords=grid.coords(), dims=("latitude", "longitude"), name="u",
                     attrs={"standard_name": "eastward_wind"})  # fmt: skip
    pole = Mesh(np.array([89.9, 89.9, 89.9]), np.array([90.0, 210.0, 330.0]))
    expected = np.sin(np.radians(pole.longitude))
    np.testing.assert_allclose(Regridder(u, pole, method="bilinear")(u), expected, atol=1e-6)
    u.attrs = {}
    assert np.abs(Regridder(u, pole, method="bilinear")(u.rename("x")) - expected).max() > 0.5


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Regridder(FINE, COARSE, method="spectral"), OptionError, "it has no weights: use ds.atmo.regrid"),
        (lambda: Regridder(FINE, COARSE, method="magic"), OptionError, "method 'magic' came"),
        (lambda: Regridder(FINE, COARSE, engine="other"), OptionError, "a Regridder has 'builtin'"),
        (lambda: Regridder(FINE, COARSE, extrap_method="x"), OptionError, "only engine='xesmf' takes further options"),
        (lambda: Regridder(FINE, COARSE, min_valid=2), OptionError, "between 0 and 1"),
        (lambda: Regridder(FINE, COARSE, limiter=True), OptionError, "only 'conservative2' has slopes"),
        (lambda: Regridder(FINE, COARSE)(np.zeros(FINE.shape)), OptionError, "a ndarray came; a Regridder takes"),  # type: ignore[type-var]
        (lambda: Regridder(curved(), curved().rename(y="time", time="t"), method="nearest")(curved()), DimensionError,
         "the target calls a horizontal dimension 'time'"),
        (lambda: SparseWeights.of(weights_between(FINE, COARSE, "nearest")).regrid(
            field(COARSE), ("latitude", "longitude"), ("y", "x")), DimensionError, "these weights are for"),
        (lambda: SparseWeights.of(weights_between(FINE, COARSE, "nearest")).regrid(
            field().chunk(latitude=10), ("latitude", "longitude"), ("y", "x")), ChunkError, "the weights need"),
        (lambda: SparseWeights(Regridder(FINE, COARSE, method="nearest").as_sparse().matrix, (3,), (4,), "nearest"),
         DimensionError, "the shapes"),
        (lambda: Regridder(FINE, COARSE, weights=_of_other_grids()), DimensionError, "source grid of 1 points"),
        (lambda: Regridder(FINE, COARSE, min_valid="half"), OptionError, "min_valid='half' came"),  # type: ignore[arg-type]
        (lambda: regrid(field().values, COARSE), OptionError, "a ndarray came; regrid takes"),  # type: ignore[type-var]
    ],
)  # fmt: skip
def test_errors(make: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()


def _of_other_grids() -> xr.Dataset:
    one = ("n_s", [1])
    return xr.Dataset({"row": one, "col": one, "S": ("n_s", [1.0]), "mask_a": ("n_a", [1]), "mask_b": ("n_b", [1])})


def test_cyclic_target_is_saved(tmp_path: Path) -> None:
    lon = np.arange(0, 361, 15.0)
    there = xr.Dataset(
        coords={
            "lat": ("lat", np.linspace(-80, 80, 9), {"units": "degrees_north"}),
            "lon": ("lon", lon, {"units": "degrees_east"}),
        }
    )
    regridder = Regridder(FINE, there, method="bilinear")
    regridder.save(tmp_path / "r.nc")
    xr.testing.assert_identical(Regridder.load(tmp_path / "r.nc")(field()), regridder(field()))
    # From a curved source, too.
    mesh = curved()
    out = Regridder(mesh, there, method="nearest", max_distance=2e6)(mesh)
    np.testing.assert_array_equal(out["lon"], lon)
    np.testing.assert_array_equal(out[..., 0], out[..., -1])


def test_options_beside_a_regridder_are_refused() -> None:
    regridder = Regridder(FINE, COARSE, method="bilinear")
    with pytest.raises(OptionError, match="method came beside <Regridder bilinear"):
        regrid(field(), regridder, method="nearest")
    with pytest.raises(OptionError, match="engine and mask came beside"):
        field().atmo.regrid(regridder, engine="builtin", mask=np.ones(FINE.shape))
    with pytest.raises(OptionError, match="min_valid and skipna and limiter came beside"):
        regrid(field(), regridder, min_valid=1.0, skipna=False, limiter=True)
    regrid(field(), regridder, method="bilinear", min_valid=regridder.min_valid)  # the same


@pytest.mark.parametrize("kind", ["curvilinear", "rings", "cyclic"])
def test_masks_by_time_between_points(kind: str) -> None:
    if kind == "curvilinear":
        da, target = curved(), Grid.from_latlon(np.linspace(20, 50, 11), np.linspace(0, 30, 11))
    elif kind == "rings":
        da, target = regrid(field(), Grid.healpix(4), method="nearest"), COARSE
    else:
        last = field().isel(longitude=[0]).assign_coords(longitude=[360.0])
        da, target = xr.concat([field(), last], "longitude"), Grid.healpix(4)
    mask = xr.DataArray(np.random.default_rng(3).random(da.shape) > 0.2, dims=da.dims, coords=da.coords)
    if kind == "cyclic":
        mask[..., -1] = mask[..., 0]
    expected = regrid(da.where(mask), target, method="bilinear")
    assert 0.2 < float(expected.isnull().mean()) < 1
    for given in (mask, mask.transpose(), mask.isel({mask.dims[1]: slice(None, None, -1)} if kind != "rings" else {})):
        np.testing.assert_array_equal(regrid(da, target, method="bilinear", mask=given), expected)


def test_masks_are_never_taken_by_position_where_they_have_coordinates() -> None:
    mask = xr.DataArray(np.ones(FINE.shape, bool), coords=FINE.coords(), dims=("latitude", "longitude"))
    with pytest.raises(CoordinateError, match="longitude"):
        Regridder(FINE, COARSE, mask=mask.isel(longitude=slice(None, None, -1)))
    rlat, rlon = np.linspace(-20, 20, 31), np.linspace(-30, 30, 41)
    names = {"rlat": ("rlat", rlat, {"standard_name": "grid_latitude"}),
             "rlon": ("rlon", rlon, {"standard_name": "grid_longitude"})}  # fmt: skip
    ds = xr.Dataset({"t": (("rlat", "rlon"), np.ones((31, 41)), {"grid_mapping": "pole"})}, coords=names)
    ds["pole"] = ((), 0, {"grid_mapping_name": "rotated_latitude_longitude", **POLE})
    there = xr.DataArray(np.ones((31, 41)), coords=names, dims=("rlat", "rlon"))
    assert Regridder(ds, COARSE, method="nearest", mask=there).mask is not None
    with pytest.raises(CoordinateError, match="mask has other values of 'rlat' than the grid"):
        Regridder(ds, COARSE, method="nearest", mask=there.isel(rlat=slice(None, None, -1)))
