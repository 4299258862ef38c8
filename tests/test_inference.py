"""Tiled inference: equal to the untiled network where it can be, independent of chunks and order, lazy, labelled."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import dask
import dask.array
import numpy as np
import pytest
import torch
import xarray as xr
from distributed import Client
from torch import nn

import xatmo  # noqa: F401  (registers .atmo)
from xatmo import inference, regrid
from xatmo.errors import (
    CoordinateError,
    DimensionError,
    GridError,
    MissingValueError,
    OptionError,
    VariableError,
)
from xatmo.grids import Grid
from xatmo.model import Channel, Model
from xatmo.nn import tiled
from xatmo.normalize import Normalizer

NoCompute = Callable[[], AbstractContextManager[None]]


class Conv(nn.Module):
    """A fixed linear map with a known reach; zero padding, as patch networks have."""

    def __init__(
        self, inputs: int = 1, outputs: int = 1, reach: int = 2, factor: int = 1, *, tell: bool = True
    ) -> None:
        super().__init__()
        self.halo, self.factor = (reach if tell else 0), factor
        generator = torch.Generator().manual_seed(3)
        self.conv = nn.Conv2d(inputs, outputs * factor**2, 2 * reach + 1, padding=reach)
        with torch.no_grad():
            for parameter in self.conv.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / 5)
        self.conv.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.pixel_shuffle(self.conv(x), self.factor)


def field(nlat: int = 24, nlon: int = 48, name: str = "t", times: int = 3, *, poles: bool = False) -> xr.DataArray:
    grid = Grid.regular(nlat, nlon, poles=poles)
    values = np.random.default_rng(sum(map(ord, name))).normal(size=(times, *grid.shape)).astype(np.float32)
    return xr.DataArray(
        values, {"time": np.arange(times), **grid.coords()}, ("time", "latitude", "longitude"), name, {"units": "K"}
    )


def model(
    network: nn.Module, names: tuple[str, ...] = ("t",), outputs: tuple[str, ...] | None = None, **more: Any
) -> Model:
    more = {"patch_size": {"lat": 12, "lon": 12}, "factor": getattr(network, "factor", 1), **more}
    wanted = names if outputs is None else outputs
    return Model(network, {}, tuple(Channel(n, "K") for n in names), tuple(Channel(n, "K") for n in wanted), **more)


def periodic(network: Conv, values: np.ndarray) -> np.ndarray:
    """The network on the whole globe at once: columns wrap, zeros lie beyond the poles."""
    reach = network.conv.padding[0]
    x = torch.from_numpy(values)[:, None]
    wide = nn.functional.pad(x, (reach, reach, 0, 0), mode="circular")
    f = network.factor
    return network(wide)[:, 0, :, reach * f : -reach * f].numpy()


def same(a: xr.DataArray, b: xr.DataArray) -> None:
    np.testing.assert_allclose(a.transpose(*b.dims).values, b.values, rtol=1e-5, atol=2e-6)


# ---------------------------------------------------------------------- the numbers
@pytest.mark.parametrize("window", ["hann", "triangular", "uniform"])
def test_identity_comes_back_under_any_window(window: str) -> None:
    da = field()
    out = da.atmo.apply(nn.Identity(), patch_size={"lat": 10, "lon": 14}, overlap={"lat": 3, "lon": 5}, window=window)
    xr.testing.assert_allclose(out, da)
    assert out.dtype == np.float32


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_tiles_equal_the_whole_globe_when_the_overlap_holds_the_halo(factor: int) -> None:
    network, da = Conv(factor=factor), field()
    out = inference.predict(da, model(network), overlap={"lat": 4, "lon": 4})
    np.testing.assert_allclose(out.values, periodic(network, da.values), rtol=1e-5, atol=1e-5)


def test_without_a_known_halo_only_window_edges_differ() -> None:
    network, da = Conv(tell=False), field()
    out = inference.predict(da, model(network), overlap={"lat": 6, "lon": 6}).values
    whole = periodic(network, da.values)
    assert 0 < np.abs(out - whole).max() < 1
    assert np.quantile(np.abs(out - whole), 0.2) < 1e-6


@pytest.mark.parametrize(
    "chunks", [{"time": 1}, {"latitude": 7, "longitude": 11}, {"time": 2, "latitude": 5}, {"longitude": (1, 40, 7)}]
)
@pytest.mark.parametrize("factor", [1, 2])
def test_any_chunking_gives_the_same_numbers(chunks: dict[str, Any], factor: int, no_compute: NoCompute) -> None:
    da, made = field(), model(Conv(factor=factor, tell=False))
    whole = inference.predict(da, made)
    assert isinstance(whole.data, np.ndarray)
    with no_compute():
        lazy = inference.predict(da.chunk(chunks), made)
        small = inference.predict(da.chunk(chunks), made, output_chunks={"latitude": 10, "longitude": 9})
    assert lazy.chunks is not None
    assert small.chunksizes["longitude"][0] == 9
    np.testing.assert_array_equal(lazy.values, whole.values)
    np.testing.assert_array_equal(small.values, whole.values)
    xr.testing.assert_identical(lazy.compute(), whole)


@pytest.mark.parametrize("factor", [1, 2])
def test_where_the_file_starts_and_runs_does_not_matter(factor: int) -> None:
    da, made = field(), model(Conv(factor=factor, tell=False))
    reference = inference.predict(da, made)
    turned = (
        da.assign_coords(longitude=(da.longitude + 180) % 360 - 180)
        .sortby("longitude")
        .isel(latitude=slice(None, None, -1))
    )
    for variant in (turned, turned.chunk(latitude=5, longitude=13), da.roll(longitude=5, roll_coords=True)):
        out = inference.predict(variant.transpose("longitude", "time", "latitude"), made)
        assert out.dims == ("longitude", "time", "latitude")
        back = out.assign_coords(longitude=out.longitude % 360).sortby("longitude").sortby("latitude", ascending=False)
        expected = reference.assign_coords(longitude=reference.longitude % 360).sortby("longitude")
        np.testing.assert_array_equal(back.transpose(*expected.dims).values, expected.values)
        np.testing.assert_allclose(back.longitude, expected.longitude)


def test_the_seam_at_zero_degrees_is_like_any_other_place() -> None:
    network, da = Conv(), field()
    moved = da.copy(data=np.roll(da.values, 17, axis=-1))
    first, second = (inference.predict(d, model(network), overlap={"lat": 4, "lon": 4}).values for d in (da, moved))
    np.testing.assert_allclose(np.roll(first, 17, axis=-1), second, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("factor", [1, 2])
def test_a_repeated_column_is_dropped_and_restored(factor: int) -> None:
    da, made = field(), model(Conv(factor=factor))
    closed = da.isel(longitude=[*range(48), 0]).assign_coords(longitude=np.arange(49) * 7.5)
    for variant in (closed, closed.chunk(longitude=20)):
        out = inference.predict(variant, made)
        assert out.sizes["longitude"] == 48 * factor + 1
        np.testing.assert_array_equal(out[..., :-1], inference.predict(da, made))
        np.testing.assert_array_equal(out[..., -1], out[..., 0])
        assert float(out.longitude[-1] - out.longitude[0]) == 360
    out = inference.predict(closed, made, output_chunks={"longitude": 10})
    assert set(out.chunksizes["longitude"][:-1]) == {10}


def test_small_fields_go_through_whole_and_wrap() -> None:
    network, da = Conv(), field(8, 10)
    out = inference.predict(da, model(network, patch_size={"lat": 64, "lon": 64}), overlap={"lat": 8, "lon": 8})
    np.testing.assert_allclose(out.values, periodic(network, da.values), rtol=1e-5, atol=1e-5)


def test_a_regional_box_neither_wraps_nor_pads() -> None:
    network, da = Conv(), field().isel(latitude=slice(4, 18), longitude=slice(5, 30))
    out = inference.predict(da, model(network), overlap={"lat": 4, "lon": 4})
    np.testing.assert_allclose(out.values, network(torch.from_numpy(da.values)[:, None])[:, 0].numpy(), atol=1e-5)


def test_batches_do_not_matter_and_neither_does_double_precision_input() -> None:
    da, made = field(), model(Conv())
    reference = inference.predict(da, made)
    same(inference.predict(da, made, batch_size=1), reference)
    same(inference.predict(da, made, batch_size=7), reference)
    out = inference.predict(da.astype(np.float64), made)
    assert out.dtype == np.float32
    same(out, reference)
    double = inference.predict(da.astype(np.float64), model(Conv().double()))
    assert double.dtype == np.float64
    same(double, reference)


def test_windows_in_time_and_dimensions_anywhere() -> None:
    class Mean(nn.Module):
        """Mean over three time steps at each cell."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            kernel = torch.tensor([1.0, 1, 1]).reshape(1, 1, 3, 1, 1) / 3
            return nn.functional.conv3d(nn.functional.pad(x, (0, 0, 0, 0, 1, 1), mode="replicate"), kernel)

    da = field(times=9).assign_coords(time=np.datetime64("2020-01-01", "ns") + np.arange(9) * np.timedelta64(1, "D"))
    da = (
        xr.concat([da, 2 * da], "level")
        .assign_coords(level=[500, 850])
        .transpose("latitude", "level", "time", "longitude")
    )
    made = model(Mean(), patch_size={"time": 5, "lat": 12, "lon": 12})
    whole = inference.predict(da, made, patch_size={"time": 9})
    same(whole.isel(time=slice(1, -1)), da.rolling(time=3, center=True).mean().isel(time=slice(1, -1)))
    same(whole.isel(time=0), (2 * da.isel(time=0) + da.isel(time=1)) / 3)
    out = inference.predict(da, made, overlap={"time": 4, "lat": 2, "lon": 2})
    assert out.dims == da.dims
    for chunks in ({"time": 2, "level": 1}, {"time": 4, "latitude": 7}):
        np.testing.assert_array_equal(
            inference.predict(da.chunk(chunks), made, overlap={"time": 4, "lat": 2, "lon": 2}), out
        )


# ---------------------------------------------------------------------- super-resolution
@pytest.mark.parametrize("shape", [(24, 48), (25, 48), (23, 47), (26, 48)])
def test_a_coarsened_field_returns_to_its_grid(shape: tuple[int, int]) -> None:
    fine = field(*shape, poles=shape[0] % 2 == 1)
    coarse = regrid.coarsen(fine, 4)
    made = model(nn.Upsample(scale_factor=4), factor=4)
    for variant in (coarse, coarse.chunk(latitude=2, longitude=5)):
        out = inference.superresolve(variant, made)
        assert out.shape == fine.shape
        np.testing.assert_array_equal(out.latitude, fine.latitude)
        np.testing.assert_array_equal(out.longitude, fine.longitude)
        for i in range(coarse.sizes["latitude"]):  # coarse cell i stands over fine rows 4 i to 4 i + 3
            np.testing.assert_allclose(out[:, 4 * i, ::4], coarse[:, i], rtol=1e-6)
        if out.sizes["latitude"] > 4 * coarse.sizes["latitude"]:
            np.testing.assert_allclose(out[:, -1, ::4], coarse[:, -1], rtol=1e-6)
    flipped = inference.superresolve(regrid.coarsen(fine[:, ::-1], 4), made)
    np.testing.assert_array_equal(flipped.latitude, fine.latitude[::-1])
    same(flipped[:, ::-1], inference.superresolve(coarse, made))


def test_a_slice_of_a_coarsened_field_returns_to_its_part_of_the_grid() -> None:
    fine = field(48, 96)
    part = regrid.coarsen(fine, 4).isel(latitude=slice(2, 8), longitude=slice(3, 20))
    out = inference.superresolve(part, model(nn.Upsample(scale_factor=4), factor=4))
    np.testing.assert_array_equal(out.latitude, fine.latitude[8:32])
    np.testing.assert_array_equal(out.longitude, fine.longitude[12:80])


def test_other_fields_get_the_centres_of_equal_parts() -> None:
    made = model(nn.Upsample(scale_factor=2), factor=2)
    out = inference.superresolve(field(18, 36), made)
    np.testing.assert_allclose(out.latitude, Grid.regular(36, 72, poles=False).latitude)
    np.testing.assert_allclose(out.longitude, np.arange(72) * 5 - 2.5)
    assert out.latitude.attrs["standard_name"] == "latitude"
    poles = inference.superresolve(field(19, 36, poles=True), made)
    np.testing.assert_allclose(poles.latitude[:4], [88.75, 86.25, 82.5, 77.5], atol=2.6)
    assert float(abs(poles.latitude).max()) < 90


def test_windows_of_super_resolution_leave_no_seam_when_the_halo_is_known() -> None:
    network, da = Conv(factor=2), field(60, 120, times=1)
    out = inference.superresolve(da, model(network))
    np.testing.assert_allclose(out.values, periodic(network, da.values), rtol=1e-5, atol=1e-5)


def test_super_resolution_refuses_wrong_factors_and_grids() -> None:
    coarse = regrid.coarsen(field(48, 96), 2)
    with pytest.raises(
        GridError, match="was coarsened from 48, but the model refines by 4; coarsen by 4, or use a model for factor 2"
    ):
        inference.superresolve(coarse, model(nn.Upsample(scale_factor=4), factor=4))
    with pytest.raises(OptionError, match="a model with factor 1, which does not refine; use .atmo.apply"):
        inference.superresolve(coarse, model(nn.Identity()))
    trained = model(nn.Upsample(scale_factor=4), factor=4, grid={"coarse": Grid.regular(12, 24, poles=False).to_dict()})
    with pytest.raises(
        GridError, match="latitude step of this field is 3.75 degrees; the model was trained on 15 and refines by 4"
    ):
        inference.superresolve(field(48, 96), trained)
    wide = field(12, 96)
    with pytest.raises(GridError, match="longitude step"):
        inference.superresolve(wide, trained)


# ---------------------------------------------------------------------- labels
def test_channels_are_matched_by_name_and_units_converted() -> None:
    ds = xr.Dataset({"b": field(name="b"), "a": field(name="a"), "orography": field(name="orography").isel(time=0)})
    ds = ds.assign(a=(ds.a - 273.15).assign_attrs(units="degC", long_name="A"), scalar=3.0)
    network = Conv(3, 2)
    made = model(network, ("a", "orography", "b"), ("p", "q"))
    out = inference.predict(ds, made)
    kelvin = ds.assign(a=field(name="a"))
    np.testing.assert_allclose(out["p"], inference.predict(kelvin, made)["p"], atol=1e-4)
    stacked = torch.from_numpy(
        np.stack([np.broadcast_to(kelvin[n], ds.a.shape) for n in ("a", "orography", "b")], 1).copy()
    )
    wide = nn.functional.pad(stacked, (2, 2, 0, 0), mode="circular")
    exact = inference.predict(kelvin, made, overlap={"lat": 4, "lon": 4})
    np.testing.assert_allclose(exact["q"], network(wide)[:, 1, :, 2:-2].numpy(), atol=2e-5)
    assert set(out) == {"p", "q", "scalar"}
    assert out["p"].attrs == {"units": "K"}
    lazy = inference.predict(ds.chunk({"time": 1}), made)
    np.testing.assert_allclose(lazy["q"], out["q"], atol=1e-6)


def test_a_channel_is_found_by_its_standard_name() -> None:
    da = field(name="x").assign_attrs(standard_name="air_temperature")
    made = Model(
        nn.Identity(), {}, *[(Channel("t2m", "K", {"standard_name": "air_temperature"}),)] * 2, patch_size={"lat": 8}
    )
    assert inference.predict(da, made).name == "x"
    assert list(inference.predict(da.to_dataset(), made)) == ["x"]
    assert da.rename(None).atmo.apply(nn.Identity()).name is None
    other = da.rename("t2m").assign_attrs(standard_name="sea_surface_temperature")
    with pytest.raises(
        VariableError, match=r"needs the variables \['t2m'\]; 't2m' \(standard_name 'air_temperature'\) is missing"
    ):
        inference.predict(other, made)
    with pytest.raises(VariableError, match=r"several have this standard_name: \['x', 'y'\]"):
        inference.predict(xr.Dataset({"x": da, "y": da}), made)


def test_statistics_are_applied_inside_and_undone(tmp_path: Any) -> None:
    da = (field() * 5 + 280).assign_attrs(units="K")
    for method in ("standard", "minmax", "log1p"):
        normalizer = Normalizer.fit(da.to_dataset(), method=method)  # type: ignore[arg-type]
        made = model(nn.Identity(), normalizer=normalizer, output_normalizer=normalizer)
        same(inference.predict(da, made), da)
        only = inference.predict(da, model(nn.Identity(), normalizer=normalizer))
        same(only, normalizer.normalize(da))


def test_statistics_by_level_follow_the_levels() -> None:
    levels = xr.DataArray([500, 850, 1000], dims="level")
    da = (field() * 2 + 100 * levels).assign_coords(level=levels).assign_attrs(units="K").rename("t")
    normalizer = Normalizer.fit(da.to_dataset(), dim=["time", "latitude", "longitude"])
    made = model(nn.Identity(), normalizer=normalizer)
    part = da.isel(level=[2, 0])
    for variant in (part, part.chunk(level=1, time=2)):
        same(inference.predict(variant, made), normalizer.normalize(part))
    with pytest.raises(CoordinateError, match="the statistics of 't' have no 'level' 400"):
        inference.predict(part.assign_coords(level=[400, 500]), made)
    by_row = Normalizer.fit(da.to_dataset(), dim=["time", "level", "longitude"])
    with pytest.raises(DimensionError, match="the statistics of 't' are by 'latitude'"):
        inference.predict(da, model(nn.Identity(), normalizer=by_row))


def test_attributes_history_and_encoding() -> None:
    da = field().assign_attrs(history="before", cell_methods="time: mean")
    da.encoding = {"scale_factor": 0.1, "zlib": True, "chunksizes": (1, 24, 48)}
    network = Conv(factor=2)
    made = model(network, ("t",), factor=2)
    made.outputs = (Channel("t", "K", {"long_name": "fine temperature"}),)
    made.config = {"task": "SuperResolver"}
    out = da.to_dataset().assign_attrs(title="x").atmo.superresolve(made, overlap={"lat": 4, "lon": 4})
    assert out.attrs["title"] == "x"
    assert out.t.attrs == {"long_name": "fine temperature", "units": "K"}
    assert (
        f"superresolve(model='SuperResolver', fingerprint='{made.fingerprint}', overlap={{'lat': 4, 'lon': 4}}"
        in out.history
    )
    assert out.t.encoding == {"zlib": True}
    single = da.atmo.superresolve(made)
    assert single.attrs["history"].startswith("before\nxatmo ")
    assert da.attrs["history"] == "before"


def test_other_coordinates_follow() -> None:
    da = field().assign_coords(run=7, month=("time", [1, 2, 3]), area=(("latitude", "longitude"), np.ones((24, 48))))
    assert set(inference.predict(da, model(Conv())).coords) == set(da.coords)
    fine = inference.predict(da, model(Conv(factor=2)))
    assert set(fine.coords) == set(da.coords) - {"area"}


def test_static_fields_that_the_model_keeps_are_added() -> None:
    da = field()
    static = (field(name="z").isel(time=0, drop=True)).to_dataset()
    network = Conv(2)
    made = model(network, ("t", "z"), ("t",), static=static)
    out = inference.predict(da, made)
    same(out, inference.predict(xr.Dataset({"t": da, "z": static.z}), made)["t"])
    turned = da.roll(longitude=9, roll_coords=True).chunk(time=1)
    same(inference.predict(turned, made).sortby("longitude"), out)


# ---------------------------------------------------------------------- laziness and size
def test_tasks_grow_with_chunks_not_with_patches(no_compute: NoCompute) -> None:
    def tasks(times: int, patch: int) -> int:
        values = dask.array.zeros((times, 180, 360), chunks=(1, 180, 360), dtype=np.float32)
        da = xr.DataArray(
            values,
            {**Grid.regular(180, 360, poles=False).coords()},
            ("time", "latitude", "longitude"),
            "t",
            {"units": "K"},
        )
        out = inference.predict(da, model(nn.Identity(), patch_size={"lat": patch, "lon": patch}))
        assert out.chunksizes["time"] == (1,) * times
        return len(out.__dask_graph__()) - len(da.__dask_graph__())

    with no_compute():
        assert tasks(20, 90) == tasks(20, 12)
        assert tasks(20, 12) <= 2 * 20 + 1
        assert tasks(40, 12) <= 2 * 40 + 1


def test_a_tile_reads_only_the_chunks_under_it_and_its_halo() -> None:
    read: list[Any] = []

    def block(block_id: tuple[int, ...]) -> np.ndarray:
        read.append(block_id)
        return np.zeros((60, 60), np.float32)

    values = dask.array.map_blocks(
        block, chunks=((60,) * 3, (60,) * 6), dtype=np.float32, meta=np.zeros((0, 0), np.float32)
    )
    da = xr.DataArray(
        values, Grid.regular(180, 360, poles=False).coords(), ("latitude", "longitude"), "t", {"units": "K"}
    )
    out = inference.predict(
        da, model(nn.Identity(), patch_size={"lat": 20, "lon": 20}), output_chunks={"latitude": 60, "longitude": 60}
    )
    out[:30, :30].compute(scheduler="sync")
    assert set(read) == {(0, 0), (0, 1), (1, 0), (1, 1), (0, 5), (1, 5)}


def test_small_chunks_are_joined_and_large_ones_split_along_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from xatmo import _graph

    values = dask.array.zeros((8, 192, 384), chunks=(8, 8, 8), dtype=np.float32)
    da = xr.DataArray(
        values, {**Grid.regular(192, 384, poles=False).coords()}, ("time", "latitude", "longitude"), "t", {"units": "K"}
    )
    out = inference.predict(da, model(nn.Identity(), patch_size={"lat": 16, "lon": 16}))
    assert out.chunksizes["latitude"] == (96, 96)
    assert out.chunksizes["longitude"] == (96, 96, 96, 96)
    monkeypatch.setattr(_graph, "TILE_BYTES", 4 * 2 * 192 * 384)
    whole = inference.predict(da.chunk(latitude=-1, longitude=-1), model(nn.Identity()))
    assert whole.chunksizes["time"] == (2, 2, 2, 2)


def test_training_on_does_not_change_a_graph_that_was_built() -> None:
    network, da = Conv(), field()
    made = model(network)
    before = inference.predict(da, made)
    lazy = inference.predict(da.chunk(time=1), made)
    with torch.no_grad():
        network.conv.weight += 1
    np.testing.assert_array_equal(lazy, before)
    assert not np.allclose(inference.predict(da, made), before)
    assert inference.predict(da.chunk(time=1), made).data.name != lazy.data.name


def test_the_callers_network_keeps_its_mode_and_its_gradients() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop, self.scale = nn.Dropout(0.5), nn.Parameter(torch.ones(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.drop(x) * self.scale

    network, da = Noisy(), field()
    xr.testing.assert_allclose(da.atmo.apply(network), da)
    assert network.training
    assert network.scale.requires_grad


def test_the_network_unpacks_once_per_process() -> None:
    network = Conv(reach=1)
    shared = tiled.SharedNetwork(network)
    sent = pickle.dumps(shared)
    tiled._ready.clear()
    tiled.materialised.clear()
    first, second = pickle.loads(sent), pickle.loads(sent)
    assert first.on("cpu") is second.on("cpu")
    assert tiled.materialised == {shared.key: 1}
    x = torch.ones(1, 1, 5, 5)
    assert torch.equal(first.on("cpu")(x), network(x))
    assert not first.on("cpu").training
    assert tiled.SharedNetwork(nn.Identity()).key != tiled.SharedNetwork(nn.Tanh()).key  # neither has weights
    for i in range(2 * tiled.KEPT_NETWORKS):
        tiled.SharedNetwork(nn.Dropout(i / 10))
    assert len(tiled._ready) == tiled.KEPT_NETWORKS


def test_two_processes_give_the_numbers_of_numpy_and_get_the_weights_once(cluster: Client) -> None:
    def unpacked() -> dict[str, int]:
        from xatmo.nn import tiled

        return dict(tiled.materialised)

    da, made = field(24, 48, times=12), model(Conv(factor=2, tell=False))
    whole = inference.predict(da, made)
    before = cluster.run(unpacked)  # other tests may have sent theirs
    lazy = inference.predict(da.chunk(time=1, latitude=8), made, output_chunks={"latitude": 16}).compute()
    after = cluster.run(unpacked)
    with pytest.raises(MissingValueError, match="variable 't' holds 1 missing"):
        inference.predict(da.where(da != da[0, 0, 0]).chunk(time=1), made).compute()
    np.testing.assert_allclose(lazy.values, whole.values, rtol=1e-5, atol=1e-6)
    assert [sum(after[w].values()) - sum(before[w].values()) for w in after] == [1, 1]


# ---------------------------------------------------------------------- missing values
def test_missing_input_raises_at_compute(no_compute: NoCompute) -> None:
    da = field()
    da[1, 3, 4] = np.nan
    made = model(Conv())
    with pytest.raises(MissingValueError, match="variable 't' holds 1 missing or infinite values in a block of"):
        inference.predict(da, made)
    with no_compute():
        lazy = inference.predict(da.chunk(time=1), made)
    with pytest.raises(MissingValueError, match="pass nan='mask'"):
        lazy.compute()
    lazy.isel(time=0).compute()


@pytest.mark.parametrize("factor", [1, 2])
def test_missing_input_is_masked_in_the_output_on_request(factor: int) -> None:
    da = (field() + 280).assign_attrs(units="K")
    normalizer = Normalizer.fit(da.to_dataset())
    gap = (da.latitude > 20) & (da.latitude < 50) & (da.longitude > 340)
    holed = da.where(~gap)
    made = model(Conv(factor=factor), normalizer=normalizer, output_normalizer=normalizer)
    out = inference.predict(holed, made, nan="mask")
    expected = np.kron(np.broadcast_to(gap, da.shape[1:]), np.ones((factor, factor)))
    np.testing.assert_array_equal(np.isnan(out[0]), expected > 0)
    filled = inference.predict(da.where(~gap, float(da.mean())), made)
    same(out.fillna(0), filled.where(out.notnull(), 0))
    turned = holed.roll(longitude=7, roll_coords=True)[:, ::-1].chunk(latitude=9)
    lazy = inference.predict(turned, made, nan="mask").assign_coords(latitude=lambda d: d.latitude)
    assert int(lazy.isnull().sum()) == int(out.isnull().sum())


def test_a_network_that_overflows_is_told() -> None:
    class Overflow(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x / 0

    with pytest.raises(MissingValueError, match="the network gave .* values that are not finite"):
        inference.predict(field(), model(Overflow()))


# ---------------------------------------------------------------------- members
class Draws(nn.Module):
    stochastic = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.randn_like(x)


def test_members_are_draws_that_do_not_depend_on_chunks() -> None:
    da, made = field(), model(Draws())
    state = torch.get_rng_state()
    out = inference.predict(da, made, members=2)
    assert torch.equal(state, torch.get_rng_state())
    assert out.dims == ("member", *da.dims)
    assert out.member.attrs["standard_name"] == "realization"
    assert float(abs(out[0] - out[1]).mean()) > 0.5
    np.testing.assert_array_equal(inference.predict(da.chunk(time=1, latitude=9), made, members=2), out)
    with pytest.raises(OptionError, match="members=3 came, but Conv gives one answer to one input"):
        inference.predict(da, model(Conv()), members=3)
    for count in (0, 2.5, True):
        with pytest.raises(OptionError, match=f"members={count} came; wanted a whole number of at least 1"):
            inference.predict(da, made, members=count)  # type: ignore[arg-type]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_same_numbers() -> None:
    da, made = field(), model(Conv(factor=2))
    on_cpu, on_gpu = (inference.predict(da.chunk(time=1), made, device=d).compute() for d in ("cpu", "auto"))
    np.testing.assert_allclose(on_gpu, on_cpu, atol=5e-3)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_an_absent_gpu_is_told_at_compute() -> None:
    lazy = inference.predict(field().chunk(time=1), model(Conv()), device="cuda")
    with pytest.raises(OptionError, match="device='cuda' came, but this worker has no CUDA device"):
        lazy.compute()
