"""The engine registry, and the calls that the xESMF engine makes (on a stand-in where ESMF is not installed)."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cf_xarray  # noqa: F401
import numpy as np
import pytest
import xarray as xr
from scipy import sparse as sp

from xatmo import Grid
from xatmo.errors import GridError, OptionError
from xatmo.optional import available
from xatmo.regrid import ENGINES, Mesh, Regridder, SparseWeights, engines, regrid
from xatmo.regrid._kernels import thread_count
from xatmo.regrid.weights import weights_between

SOURCE, TARGET = Grid.regular(19, 36), Grid.regular(12, 24, poles=False)


def field() -> xr.DataArray:
    values = np.random.default_rng(0).standard_normal((2, *SOURCE.shape)).astype(np.float32)
    coords = {"time": [0, 1], **SOURCE.coords()}
    return xr.DataArray(values, coords=coords, dims=("time", "latitude", "longitude"), name="t", attrs={"units": "K"})


class Coo:
    """What xESMF's weights are made of: ``sparse.COO`` with ``coords`` and ``data``."""

    def __init__(self, matrix: Any) -> None:
        coo = sp.coo_array(matrix)
        self.coords, self.data = np.stack([coo.row, coo.col]), coo.data


class StandIn:
    """``xesmf.Regridder`` as of version 0.9.2: its signature, and weights as ESMF defines them."""

    calls: list[dict[str, Any]]

    def __init__(
        self,
        ds_in: xr.Dataset,
        ds_out: xr.Dataset,
        method: str,
        locstream_in: bool = False,
        locstream_out: bool = False,
        periodic: bool = False,
        parallel: bool = False,
        **kwargs: Any,
    ) -> None:
        assert set(kwargs) <= BASE_OPTIONS
        for ds, bare in ((ds_in, locstream_in), (ds_out, locstream_out)):
            assert ds["lat"].attrs["units"] == "degrees_north"
            assert ds["lat"].dims == ds["lon"].dims or not bare
            assert ds.cf.coordinates["longitude"] == ["lon"]  # as parallel=True needs, whatever the edges are called
            assert np.isfinite(ds["lat"]).all()  # ESMF goes on for ever else
            assert ds["lat"].values.flags.c_contiguous  # it warns of others
            if method.startswith("conservative") and not bare:  # as backend.esmf_regrid_build insists
                cells = tuple(n + 1 for n in (*ds["lat"].shape, *ds["lon"].shape)[: 2 * ds["lat"].ndim])
                edges = (*ds["lat_b"].shape, *ds["lon_b"].shape)
                assert edges == (cells if ds["lat"].ndim == 1 else (cells[0], cells[1]) * 2)
        self.calls.append(
            {"method": method, "periodic": periodic, "parallel": parallel, "in": ds_in, "out": ds_out,
             "locstream": (locstream_in, locstream_out), **kwargs}
        )  # fmt: skip
        self.weights = SimpleNamespace(data=Coo(self._matrix(ds_in, ds_out, method)))

    def _matrix(self, ds_in: xr.Dataset, ds_out: xr.Dataset, method: str) -> Any:
        if ds_in["lat"].ndim == 2 or ds_in["lat"].dims == ds_in["lon"].dims:
            return sp.eye_array(ds_out["lat"].size, ds_in["lat"].size)
        source, target = (Grid.from_latlon(ds["lat"].values, ds["lon"].values) for ds in (ds_in, ds_out))
        ours = {"nearest_s2d": "nearest", "patch": "bicubic"}.get(method, method)
        weights = SparseWeights.of(weights_between(source, target, ours)).signed()
        matrix = weights.matrix
        if method == "conservative":  # DSTAREA: rows sum to the covered part
            matrix = sp.diags_array(weights.coverage) @ matrix
        return matrix


# Of BaseRegridder.__init__ in xESMF 0.9.2, and of Regridder.
BASE_OPTIONS = {
    "filename", "reuse_weights", "extrap_method", "extrap_dist_exponent", "extrap_num_src_pnts", "weights",
    "ignore_degenerate", "input_dims", "output_dims", "unmapped_to_nan", "post_mask_source",
}  # fmt: skip


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    StandIn.calls = []
    monkeypatch.setitem(sys.modules, "xesmf", SimpleNamespace(Regridder=StandIn))
    engines._kept_xesmf_weights.cache_clear()
    yield StandIn.calls
    engines._kept_xesmf_weights.cache_clear()


def test_stand_in_has_the_signature_of_xesmf() -> None:
    """Read from its source, since importing it needs ESMF."""
    spec = importlib.util.find_spec("xesmf")
    if spec is None or spec.origin is None:
        pytest.skip("xesmf is not here")
    tree = ast.parse((Path(spec.origin).parent / "frontend.py").read_text())
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}

    def arguments(name: str) -> list[str]:
        (init,) = (f for f in classes[name].body if isinstance(f, ast.FunctionDef) and f.name == "__init__")
        return [a.arg for a in init.args.args]

    assert arguments("Regridder") == list(inspect.signature(StandIn.__init__).parameters)[:-1]
    assert set(arguments("BaseRegridder")) - {"self", "grid_in", "grid_out", "method", "parallel"} == BASE_OPTIONS
    assert set(engines._XESMF_OPTIONS) <= BASE_OPTIONS | {"parallel"}
    backend = (Path(spec.origin).parent / "backend.py").read_text()
    for method in set(engines._XESMF_METHODS.values()):
        assert f"'{method}': ESMF.RegridMethod" in backend


@pytest.mark.parametrize("method", ["conservative", "bilinear", "nearest"])
@pytest.mark.parametrize("lazy", [False, True])
def test_xesmf_gets_edges_and_gives_our_labels(stand_in: list[dict[str, Any]], method: str, lazy: bool) -> None:
    da = field().transpose("longitude", "time", "latitude")
    if lazy:
        da = da.chunk(time=1)
    out = regrid(da, TARGET, method=method, engine="xesmf", min_valid=0.25)  # type: ignore[arg-type]
    expected = regrid(da, TARGET, method=method)  # type: ignore[arg-type]
    assert out.dims == da.dims
    assert out.dtype == np.float32
    assert set(out.coords) == {"time", "latitude", "longitude"}
    assert (out.chunks is not None) == lazy
    assert "engine='xesmf'" in out.attrs["history"]
    assert out.attrs["units"] == "K"
    np.testing.assert_allclose(out.values, expected.values, atol=1e-5)
    conserving = method == "conservative"
    (call,) = stand_in
    assert call["method"] == ("nearest_s2d" if method == "nearest" else method)
    assert ("lat_b" in call["in"] and "lon_b" in call["out"]) == conserving
    assert call["periodic"] != conserving
    assert call["unmapped_to_nan"] is False
    regrid(da * 2, TARGET, method=method, engine="xesmf")  # type: ignore[arg-type]
    assert len(stand_in) == 1  # weights are kept


def test_missing_values_of_xesmf_weights_are_ours(stand_in: list[dict[str, Any]]) -> None:
    region = Grid.from_latlon(np.arange(20.0, 70, 10), np.arange(0.0, 120, 10))
    da = field().interp(latitude=region.latitude, longitude=region.longitude)
    da = da.where(np.random.default_rng(1).random(da.shape) > 0.3)
    for min_valid in (0.0, 0.5, 1.0):
        theirs = regrid(da, TARGET, method="conservative", engine="xesmf", min_valid=min_valid)
        ours = regrid(da, TARGET, method="conservative", min_valid=min_valid)
        np.testing.assert_allclose(theirs, ours, atol=1e-5)


def test_regridder_by_xesmf(stand_in: list[dict[str, Any]], tmp_path: Path) -> None:
    da = field()
    mask = np.ones(SOURCE.shape, dtype=bool)
    mask[3] = False
    options: dict[str, Any] = {"extrap_method": "inverse_dist", "extrap_num_src_pnts": 4, "ignore_degenerate": True}
    regridder = Regridder(SOURCE, TARGET, method="bilinear", engine="xesmf", mask=mask, parallel=True, **options)
    (call,) = stand_in
    assert {k: call[k] for k in options} == options
    assert call["parallel"] is True
    np.testing.assert_array_equal(call["in"]["mask"], mask)
    assert call["in"]["mask"].dims == ("lat", "lon")
    assert len(call["out"]["mask"].chunksizes["lat"]) == 4
    assert repr(regridder).startswith("<Regridder bilinear by xesmf, <Grid regular 19 x 36")
    out = regridder(da)
    regridder.save(tmp_path / "r.nc")
    xr.testing.assert_identical(Regridder.load(tmp_path / "r.nc")(da), out)
    assert len(stand_in) == 1
    patch = Regridder(SOURCE, TARGET, method="patch", engine="xesmf")
    assert patch(da).shape == (2, *TARGET.shape)
    same = Regridder(SOURCE, TARGET, method="conservative_normed", engine="xesmf")
    assert same.method == "conservative"


def test_curvilinear_grids_have_corners_and_points_none(stand_in: list[dict[str, Any]]) -> None:
    mesh = Mesh(*np.meshgrid(SOURCE.latitude, SOURCE.longitude, indexing="ij"))
    Regridder(mesh, mesh, method="conservative", engine="xesmf")
    assert stand_in[-1]["in"]["lat_b"].shape == (20, 37)
    assert stand_in[-1]["periodic"] is False
    assert stand_in[-1]["locstream"] == (False, False)
    Regridder(mesh, mesh, method="bilinear", engine="xesmf")
    assert stand_in[-1]["periodic"] is True
    points = Grid.healpix(4)
    Regridder(points, points, method="nearest_d2s", engine="xesmf")
    assert stand_in[-1]["locstream"] == (True, True)
    assert stand_in[-1]["in"]["lat"].dims == ("locations",)
    with pytest.raises(GridError, match="between points without cells ESMF has 'nearest_s2d', 'nearest_d2s'"):
        Regridder(points, TARGET, method="bilinear", engine="xesmf")
    with pytest.raises(OptionError, match=r"\['colour'\] came for engine 'xesmf'"):
        Regridder(SOURCE, TARGET, engine="xesmf", colour="red")
    with pytest.raises(OptionError, match="engine 'xesmf' has no method 'bicubic'"):
        Regridder(SOURCE, TARGET, method="bicubic", engine="xesmf")


def bounded() -> xr.Dataset:
    """Cells that are not split midway between their points."""
    edges = np.r_[90, np.linspace(85, -85, 18) + 2, -90.0]
    ds = field().to_dataset()
    ds["lat_bnds"] = (("latitude", "nv"), np.stack([edges[:-1], edges[1:]], 1))
    ds["latitude"].attrs["bounds"] = "lat_bnds"
    return ds


def test_cells_in_the_file_are_those_of_esmf(stand_in: list[dict[str, Any]]) -> None:
    ds = bounded()
    edges = np.r_[ds["lat_bnds"][:, 0], -90.0]
    Regridder(ds, TARGET, method="conservative", engine="xesmf")
    np.testing.assert_allclose(stand_in[-1]["in"]["lat_b"], edges)
    regrid(ds, TARGET, method="conservative", engine="xesmf")
    np.testing.assert_allclose(stand_in[-1]["in"]["lat_b"], edges)
    regrid(field(), ds, method="conservative", engine="xesmf")
    np.testing.assert_allclose(stand_in[-1]["out"]["lat_b"], edges)
    assert len(stand_in) == 3
    regrid(ds.isel(time=0), TARGET, method="conservative", engine="xesmf")
    assert len(stand_in) == 3


def test_masks_of_lists_are_left_out_before(stand_in: list[dict[str, Any]]) -> None:
    points = Grid.healpix(4)
    kept = np.random.default_rng(0).random(points.npoints) > 0.4
    regridder = Regridder(points, points, method="nearest", engine="xesmf", mask=kept, target_mask=~kept, parallel=True)
    call = stand_in[-1]
    assert call["in"]["lat"].size == kept.sum()
    assert call["out"]["lat"].size == (~kept).sum()
    assert call["parallel"] is False  # xESMF 0.9.2 shares out rows and columns only
    rows, columns = regridder.as_sparse().matrix.nonzero()
    assert columns.size > 20
    assert kept[columns].all()
    assert not kept[rows].any()
    lat, lon = np.array(points.point_latitude), np.array(points.point_longitude)
    lat[5] = np.nan
    holes = Regridder(Mesh(lat, lon), TARGET, method="nearest", engine="xesmf").as_sparse()
    assert holes.n_source == points.npoints
    assert 5 not in holes.matrix.indices


def test_what_esmf_refuses_is_one_error(stand_in: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    lat, lon = np.meshgrid(SOURCE.latitude, SOURCE.longitude, indexing="ij")
    mesh = Mesh(np.where(lat > 85, np.nan, lat), lon)
    with pytest.raises(GridError, match="have no coordinates, which ESMF wants"):
        Regridder(mesh, TARGET, method="bilinear", engine="xesmf")
    with pytest.raises(OptionError, match="extrap_method='creep' came .* wanted one of None, 'inverse_dist'"):
        Regridder(SOURCE, TARGET, method="bilinear", engine="xesmf", extrap_method="creep")
    with pytest.raises(OptionError, match="max_distance=1000.0 came for weights that xESMF or a file gives"):
        Regridder(SOURCE, TARGET, method="nearest", engine="xesmf", max_distance=1e3)
    with pytest.raises(OptionError, match="limiter=True came with method 'bilinear'"):
        Regridder(SOURCE, TARGET, method="bilinear", engine="xesmf", limiter=True)

    def fail(*args: Any, **kwargs: Any) -> None:
        message = "ESMC_FieldRegridStore failed with rc = 506"
        raise ValueError(message)

    monkeypatch.setattr(sys.modules["xesmf"], "Regridder", fail)
    with pytest.raises(GridError, match="could not make weights of method 'bilinear'.*rc = 506.*ignore_degenerate"):
        Regridder(SOURCE, TARGET, method="bilinear", engine="xesmf")


def test_masked_targets_lose_the_nan_that_xesmf_gives_them() -> None:
    coo = SimpleNamespace(coords=np.array([[0, 1, 1], [0, 1, 2]]), data=np.array([np.nan, 0.5, 0.25]))
    grids = SimpleNamespace(shape=(1, 3)), SimpleNamespace(shape=(1, 2))
    weights = engines._from_coo(coo, *grids, "conservative")
    np.testing.assert_allclose(weights.matrix.toarray(), [[0, 0, 0], [0, 2 / 3, 1 / 3]])
    np.testing.assert_allclose(weights.coverage, [0, 0.75])


def _has_esmf() -> bool:
    if not available("xesmf"):
        return False
    return available("esmpy") or available("ESMF")


@pytest.mark.skipif(not _has_esmf(), reason="xesmf and ESMF are not installed")
@pytest.mark.parametrize("method", ["conservative", "bilinear", "nearest"])
def test_esmf_agrees_with_the_built_in_engine(method: str) -> None:
    da = field().astype(np.float64)
    theirs = regrid(da, TARGET, method=method, engine="xesmf")  # type: ignore[arg-type]
    ours = regrid(da, TARGET, method=method)  # type: ignore[arg-type]
    gap = np.abs(theirs - ours).values
    if method == "conservative":  # cells of both have edges along great circles in ESMF, along parallels here
        smooth = np.cos(np.radians(da.latitude)) * np.cos(np.radians(da.longitude)) + 0 * da
        both = (regrid(smooth, TARGET, method="conservative", engine=e) for e in ("xesmf", None))
        first, second = both
        assert np.abs(first - second).max() < 1e-2
        constant = regrid(da * 0 + 3, TARGET, method="conservative", engine="xesmf")
        np.testing.assert_allclose(constant, 3, rtol=1e-5)
        sums = [(f * g.areas).sum(("latitude", "longitude")) for f, g in ((smooth, SOURCE), (first, TARGET))]
        np.testing.assert_allclose(sums[0], sums[1], atol=1e-2 * SOURCE.areas.sum())
    elif method == "bilinear":  # ESMF maps lines of constant longitude and latitude in space, and takes means at poles
        assert np.median(gap[:, 1:-1]) < 1e-3
    else:
        assert np.median(gap) < 1e-5


@pytest.mark.skipif(not _has_esmf(), reason="xesmf and ESMF are not installed")
def test_esmf_conserves_on_a_curvilinear_grid() -> None:
    lat, lon = np.meshgrid(np.linspace(-30, 30, 31), np.linspace(0, 60, 31), indexing="ij")
    mesh = Mesh(lat + 3 * np.sin(np.radians(3 * lon)), lon + 3 * np.sin(np.radians(3 * lat)))
    regridder = Regridder(mesh, Grid.regular(91, 180), engine="xesmf", min_valid=0)
    weights = regridder.as_sparse()
    np.testing.assert_allclose(weights.apply(np.ones(mesh.shape), min_valid=1).ravel()[weights.coverage == 1], 1)
    area = (weights.coverage * Grid.regular(91, 180).areas.ravel()).sum()
    assert abs(area / (np.radians(62) * 2 * np.sin(np.radians(31)) * 6371229.0**2) - 1) < 0.05


def test_registry_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(ENGINES) == {"builtin", "xesmf"}
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert thread_count() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "not a number")
    assert thread_count() >= 1
    monkeypatch.setitem(ENGINES, "mine", lambda da, job: ENGINES["builtin"](da, job) * 2)
    np.testing.assert_allclose(
        regrid(field(), TARGET, method="bilinear", engine="mine"), 2 * regrid(field(), TARGET, method="bilinear")
    )
