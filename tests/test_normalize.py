from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from xatmo import Normalizer
from xatmo.errors import (
    CheckpointError,
    ChunkError,
    CoordinateError,
    DimensionError,
    MissingValueError,
    OptionError,
    UnitsError,
    VariableError,
)
from xatmo.normalize import LOG_AMPLITUDE, backward, forward

METHODS = ("standard", "minmax", "robust", "log1p")
CHUNKS = ({"time": 1}, {"time": 7, "lat": 5}, {"time": -1, "lat": 1, "lon": 3}, {})


def dataset(dtype: str = "float32") -> xr.Dataset:
    random = np.random.default_rng(0)
    dims = ("time", "level", "lat", "lon")
    t = 250 + 30 * random.standard_normal((20, 3, 9, 16)) + np.array([0, 20, 40])[:, None, None]
    q = np.exp(random.standard_normal((20, 9, 16))) * 1e-3
    return xr.Dataset(
        {
            "t": (
                dims,
                t.astype(dtype),
                {"units": "K", "standard_name": "air_temperature", "long_name": "temperature"},
            ),
            "q": (("time", "lat", "lon"), q.astype(dtype), {"units": "kg kg-1"}),
        },
        coords={"level": [200, 500, 850], "time": np.arange(20)},
        attrs={"title": "x"},
    )


def expected(method: str, x: np.ndarray) -> tuple[float, ...]:
    x = x.astype(np.float64)[np.isfinite(x)]
    if method == "minmax":
        return x.min(), x.max()
    if method == "robust":
        low, middle, high = np.quantile(x, [0.25, 0.5, 0.75])
        return middle, high - low
    if method == "standard":
        return x.mean(), x.std()
    z = (x - x.mean()) / x.std()
    w = np.sign(z) * np.log1p(LOG_AMPLITUDE * np.abs(z))
    return x.mean(), x.std(), w.mean(), w.std()


def close(normalizer: Normalizer, name: str, wanted: tuple[float, ...]) -> None:
    found = [float(a) for a in normalizer.statistics(name).values()]
    spread = wanted[1]
    atol = 2e-6 * spread if normalizer.method == "robust" else 1e-9 * spread
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=atol)


# ---------------------------------------------------------------------- statistics
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("chunks", CHUNKS, ids=str)
def test_statistics_are_those_of_numpy_for_any_chunks(method: str, chunks: dict[str, int]) -> None:
    ds = dataset()
    ds["t"][3, 1, 2:5] = np.nan
    normalizer = Normalizer.fit(ds.chunk(chunks) if chunks else ds, method=method)  # type: ignore[arg-type]
    assert normalizer.names == ("t", "q")
    for name in ("t", "q"):
        close(normalizer, name, expected(method, ds[name].values))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("lazy", [False, True])
def test_statistics_by_level(method: str, lazy: bool) -> None:
    ds = dataset()
    ds["t"][3, 1, 2:5] = np.nan
    source = ds.chunk(time=6, level=2) if lazy else ds
    normalizer = Normalizer.fit(source, method=method, dim=("time", "lat", "lon"))  # type: ignore[arg-type]
    for k in range(3):
        one = Normalizer(normalizer.method, normalizer.state.isel(level=k, drop=True))
        close(one, "t", expected(method, ds["t"].values[:, k]))
    close(normalizer, "q", expected(method, ds["q"].values))
    np.testing.assert_array_equal(normalizer.statistics("t")[next(iter(normalizer.statistics("t")))].level, ds.level)
    out = normalizer.normalize(source)
    assert out["t"].dims == ds["t"].dims
    back = normalizer.denormalize(out)
    np.testing.assert_allclose(back["t"].values, ds["t"].values, rtol=3e-6)


@settings(max_examples=60, deadline=None)
@given(
    x=arrays.arrays(
        np.float64, st.integers(1, 60), elements=st.one_of(st.floats(-1e6, 1e6, width=32), st.sampled_from([0.0, 1.0]))
    ),
    chunk=st.integers(1, 20), offset=st.sampled_from([0.0, 1e5, -1e8]),
)  # fmt: skip
def test_merging_is_exact_to_rounding(x: np.ndarray, chunk: int, offset: float) -> None:
    x = x + offset
    field = xr.DataArray(da.from_array(x, chunks=chunk), dims="x", name="f")
    with dask.config.set(scheduler="synchronous"):
        found = Normalizer.fit(field).statistics("f")
        extremes = Normalizer.fit(field, method="minmax").statistics("f")
        robust = Normalizer.fit(field, method="robust").statistics("f")
    size = np.abs(x).max()
    np.testing.assert_allclose(found["mean"], x.mean(), rtol=1e-14, atol=1e-15 * size)
    np.testing.assert_allclose(found["std"], x.std(), rtol=1e-9, atol=1e-12 * size)
    assert extremes["minimum"] == x.min()
    assert extremes["maximum"] == x.max()
    low, middle, high = np.quantile(x, [0.25, 0.5, 0.75])
    tolerance = 1e-6 * (high - low) + 1e-14 * size
    np.testing.assert_allclose(robust["median"], middle, atol=tolerance, rtol=0)
    np.testing.assert_allclose(robust["iqr"], high - low, atol=2 * tolerance, rtol=0)


def test_large_means_lose_nothing() -> None:
    x = (1e7 + np.random.default_rng(1).standard_normal(300_000)).astype(np.float64)
    found = Normalizer.fit(xr.DataArray(da.from_array(x, chunks=999), dims="x", name="f")).statistics("f")
    assert float(found["std"]) == pytest.approx(x.std(), rel=1e-10)


def test_large_blocks_are_reduced_in_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    from xatmo.normalize import _statistics

    ds = dataset()
    whole = Normalizer.fit(ds, dim=("time", "lat", "lon"))
    monkeypatch.setattr(_statistics, "_SLAB", 100)
    slabs = Normalizer.fit(ds, dim=("time", "lat", "lon"))
    for name, statistic in (("t", "mean"), ("t", "std"), ("q", "mean")):
        np.testing.assert_allclose(slabs.statistics(name)[statistic], whole.statistics(name)[statistic], rtol=1e-13)
    assert Normalizer.fit(ds, method="robust") == Normalizer.fit(ds.chunk(time=3), method="robust")


def test_robust_withstands_outliers_and_ties() -> None:
    random = np.random.default_rng(2)
    x = random.standard_normal(20_001)
    x[:10] = 1e20
    found = Normalizer.fit(xr.DataArray(x, dims="x", name="f"), method="robust").statistics("f")
    low, middle, high = np.quantile(x, [0.25, 0.5, 0.75])
    assert float(found["median"]) == pytest.approx(middle, abs=2e-6 * (high - low))
    assert float(found["iqr"]) == pytest.approx(high - low, rel=4e-6)
    mask = Normalizer.fit(xr.DataArray((random.random(1000) < 0.3) * 7.1, dims="x", name="f"), method="robust")
    assert [float(a) for a in mask.statistics("f").values()] == [0.0, 7.1]
    rain = np.where(random.random(1000) < 0.6, 0, random.exponential(size=1000))
    found = Normalizer.fit(xr.DataArray(rain, dims="x", name="f"), method="robust").statistics("f")
    assert float(found["median"]) == pytest.approx(0, abs=1e-6)
    assert float(found["iqr"]) == pytest.approx(np.quantile(rain, 0.75) - 0, rel=1e-5)


def test_robust_for_many_places_needs_whole_series() -> None:
    random = np.random.default_rng(3)
    field = xr.DataArray(random.standard_normal((40, 20, 20)), dims=("time", "lat", "lon"), name="f")
    for source in (field, field.chunk(lat=5)):
        found = Normalizer.fit(source, method="robust", dim="time").statistics("f")
        np.testing.assert_allclose(found["median"], np.median(field, axis=0))
    with pytest.raises(
        ChunkError, match=r"for more than 256 places need 'time' whole; call .chunk\(\{'time': -1\}\) first"
    ):
        Normalizer.fit(field.chunk(time=10), method="robust", dim="time")


def test_fit_reads_the_data_once() -> None:
    reads: list[int] = []

    def block(x: np.ndarray) -> np.ndarray:
        reads.append(x.size)
        return x

    x = da.from_array(dataset()["t"].values, chunks=(5, 3, 9, 16)).map_blocks(
        block, dtype="float32", meta=np.empty(0, "f4")
    )
    field = xr.DataArray(x, dims=("time", "level", "lat", "lon"), name="t")
    Normalizer.fit(field)
    assert len(reads) == 4
    Normalizer.fit(field.assign_coords(level=[1, 2, 3]), dim=("time", "lat", "lon"), method="minmax")
    assert len(reads) == 8


@pytest.mark.usefixtures("cluster")
def test_two_processes_give_the_same_numbers() -> None:
    ds = dataset()
    for method in METHODS:
        there = Normalizer.fit(ds.chunk(time=3), method=method)  # type: ignore[arg-type]
        here = Normalizer.fit(ds, method=method)  # type: ignore[arg-type]
        np.testing.assert_allclose(
            there.normalize(ds.chunk(time=4))["t"].values, here.normalize(ds)["t"].values, atol=1e-5
        )


# ---------------------------------------------------------------------- there and back
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_inverse_to_rounding(method: str, dtype: str) -> None:
    ds = dataset(dtype)
    before = ds.copy(deep=True)
    normalizer = Normalizer.fit(ds, method=method)  # type: ignore[arg-type]
    out = normalizer.normalize(ds)
    assert {v.dtype for v in out.data_vars.values()} == {np.dtype(dtype)}
    back = normalizer.denormalize(out)
    for name in ("t", "q"):
        assert back[name].dtype == dtype
        assert back[name].attrs == ds[name].attrs
        scale = float(ds[name].std() + np.abs(ds[name]).max())
        np.testing.assert_allclose(back[name], ds[name], atol=4 * np.finfo(dtype).eps * scale, rtol=0)
    xr.testing.assert_identical(ds, before)
    assert out.attrs["title"] == "x"
    assert f"normalize(method={method!r})" in out.attrs["history"]
    assert f"denormalize(method={method!r})" in back.attrs["history"]


@pytest.mark.parametrize("method", METHODS)
def test_normalized_values(method: str) -> None:
    ds = dataset("float64")
    out = Normalizer.fit(ds, method=method).normalize(ds)["q"]  # type: ignore[arg-type]
    if method == "minmax":
        assert (float(out.min()), float(out.max())) == (0, 1)
    elif method == "robust":
        low, middle, high = np.quantile(out, [0.25, 0.5, 0.75])
        assert (middle, high - low) == (pytest.approx(0, abs=1e-5), pytest.approx(1, rel=1e-5))
    else:
        assert (float(out.mean()), float(out.std())) == (pytest.approx(0, abs=1e-12), pytest.approx(1))


def test_log1p_by_its_three_steps() -> None:
    x = np.random.default_rng(4).standard_cauchy(1000)
    normalizer = Normalizer.fit(xr.DataArray(x, dims="x", name="f"), method="log1p")
    z = (x - x.mean()) / x.std()
    w = np.sign(z) * np.log1p(0.2 * np.abs(z))
    wanted = (w - w.mean()) / w.std()
    np.testing.assert_allclose(normalizer.normalize(xr.DataArray(x, dims="x", name="f")), wanted, atol=1e-12)


def test_large_offset_keeps_float32_exact() -> None:
    # Geopotential: the centre is large beside the spread, and not a float32 number.
    center, x = 543210.987654, (543210 + np.linspace(-50, 50, 1001)).astype(np.float32)
    normalizer = Normalizer.from_statistics(mean={"z": center}, std={"z": 20.0})
    out = normalizer.normalize(xr.DataArray(x, dims="x", name="z"))
    np.testing.assert_allclose(out, (x.astype(float) - center) / 20, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_lazy(method: str, no_compute: Callable[[], AbstractContextManager[None]]) -> None:
    ds = dataset()
    normalizer = Normalizer.fit(ds, method=method)  # type: ignore[arg-type]
    with no_compute():
        out = normalizer.normalize(ds.chunk(time=3, lat=4))
        back = normalizer.denormalize(out)
    assert out["t"].chunks == back["t"].chunks == ds.chunk(time=3, lat=4)["t"].chunks
    assert out["t"].dtype == np.float32
    np.testing.assert_array_equal(out["t"].values, normalizer.normalize(ds)["t"].values)


def test_missing_values_stay_missing() -> None:
    ds = dataset()
    ds["q"][0, 0, 0] = np.nan
    out = Normalizer.fit(ds).normalize(ds)
    np.testing.assert_array_equal(np.isnan(out["q"]), np.isnan(ds["q"]))


def test_constant_variable() -> None:
    field = xr.DataArray(np.full(5, 3.0), dims="x", name="f")
    for method in METHODS:
        normalizer = Normalizer.fit(field, method=method)  # type: ignore[arg-type]
        out = normalizer.normalize(field)
        np.testing.assert_allclose(out, 0, atol=1e-12)
        np.testing.assert_allclose(normalizer.denormalize(out), 3)


def test_other_dimension_orders_and_integers() -> None:
    ds = dataset()
    normalizer = Normalizer.fit(ds, dim=["time", "lat", "lon"])
    turned = normalizer.normalize(ds.transpose("lon", "level", "time", "lat"))
    assert turned["t"].dims == ("lon", "level", "time", "lat")
    np.testing.assert_array_equal(turned["t"].transpose(*ds["t"].dims), normalizer.normalize(ds)["t"])
    fewer = normalizer.normalize(ds.isel(level=[2, 0]))
    np.testing.assert_array_equal(fewer["t"], normalizer.normalize(ds)["t"].isel(level=[2, 0]))
    whole = xr.DataArray(np.arange(10), dims="x", name="n")
    out = Normalizer.fit(whole).normalize(whole)
    assert out.dtype == np.float64
    assert float(out.std()) == pytest.approx(1)
    assert Normalizer.fit(whole).normalize(whole.astype("float16")).dtype == np.float32
    assert Normalizer.fit(whole).normalize(whole.astype(">f4")).dtype == np.dtype("float32")


def test_masks_times_and_bounds_are_left_alone() -> None:
    ds = dataset().assign(mask=("x", [True, False]), when=("x", np.array([0, 1], "M8[ns]")))
    ds["time_bnds"] = (("time", "nv"), np.zeros((20, 2)))
    ds["time"].attrs["bounds"] = "time_bnds"
    normalizer = Normalizer.fit(ds)
    assert normalizer.names == ("t", "q")
    out = normalizer.normalize(ds)
    xr.testing.assert_identical(out["mask"], ds["mask"])
    xr.testing.assert_identical(out["time_bnds"], ds["time_bnds"])


# ---------------------------------------------------------------------- units and names
def test_units_are_converted_and_restored() -> None:
    ds = dataset("float64")[["t"]]
    normalizer = Normalizer.fit(ds)
    celsius = (ds - 273.15).assign(t=(ds["t"] - 273.15).assign_attrs({**ds["t"].attrs, "units": "degC"}))
    out = normalizer.normalize(celsius)
    np.testing.assert_allclose(out["t"], normalizer.normalize(ds)["t"], atol=1e-12)
    assert out["t"].attrs["units"] == "1"
    assert out["t"].attrs["physical_units"] == "degC"
    assert "standard_name" not in out["t"].attrs
    assert out["t"].attrs["long_name"] == "temperature"
    back = normalizer.denormalize(out)
    assert back["t"].attrs == celsius["t"].attrs
    np.testing.assert_allclose(back["t"], celsius["t"], atol=1e-10)


def test_network_output_without_attributes_gets_the_normalizers_units() -> None:
    normalizer = Normalizer.from_statistics(mean={"t": 280.0}, std={"t": 10.0}, units={"t": "K"})
    out = normalizer.denormalize(xr.Dataset({"t": ("x", np.float32([0.0, 1.0]))}))
    np.testing.assert_array_equal(out["t"], np.float32([280, 290]))
    assert out["t"].attrs == {"units": "K"}


def test_arrays_match_by_name_or_alone() -> None:
    ds = dataset()
    both = Normalizer.fit(ds)
    xr.testing.assert_equal(both.normalize(ds["q"]), both.normalize(ds)["q"])
    alone = Normalizer.fit(ds["q"].rename(None))
    assert alone.names == ("field",)
    out = alone.normalize(ds["q"])
    assert out.name == "q"
    np.testing.assert_allclose(out, both.normalize(ds["q"]))


def test_accessor(tmp_path: Path) -> None:
    ds = dataset()
    normalizer = ds.atmo.fit_normalizer(method="robust", dim=("time", "lat", "lon"))
    normalizer.save(tmp_path / "n.nc")
    xr.testing.assert_identical(ds.atmo.normalize(normalizer), ds.atmo.normalize(str(tmp_path / "n.nc")))
    back = ds.atmo.normalize(normalizer).atmo.denormalize(tmp_path / "n.nc")
    np.testing.assert_allclose(back["t"], ds["t"], rtol=1e-6)


def test_plain_arrays_for_networks() -> None:
    ds = dataset("float64")
    for method in METHODS:
        normalizer = Normalizer.fit(ds, method=method)  # type: ignore[arg-type]
        numbers = normalizer.arrays(["q", "t"])
        assert len(numbers) == (4 if method == "log1p" else 2)
        assert all(type(a) is np.ndarray and a.shape == (2,) for a in numbers)
        x = ds["q"].values
        out = forward(x, *(a[0] for a in numbers))
        np.testing.assert_array_equal(out, normalizer.normalize(ds)["q"])
        np.testing.assert_array_equal(normalizer.normalize_array("q", x), out)
        np.testing.assert_allclose(normalizer.denormalize_array("q", out), x, rtol=1e-9, atol=1e-15)
        np.testing.assert_allclose(backward(out, *(a[0] for a in numbers)), x, rtol=1e-9, atol=1e-15)
    levels = Normalizer.fit(ds[["t"]].assign(u=ds["t"] * 2), dim=("time", "lat", "lon"))
    assert levels.arrays()[0].shape == (2, 3)
    with pytest.raises(DimensionError, match="the statistics of 't' are by level, which plain arrays do not"):
        levels.normalize_array("t", np.zeros(3))


def test_select_keeps_the_order_asked_for() -> None:
    normalizer = Normalizer.fit(dataset())
    assert normalizer.select(["q"]).names == ("q",)
    assert normalizer.select(["q", "t"]).names == ("q", "t")
    assert normalizer.units == {"t": "K", "q": "kg kg-1"}


# ---------------------------------------------------------------------- given statistics
def test_given_statistics_in_any_form() -> None:
    mean = xr.Dataset({"t": ("level", [1.0, 2.0], {"units": "K"})}, coords={"level": [500, 850]})
    std = {"t": xr.DataArray([3.0, 4.0], dims="level", coords={"level": [500, 850]})}
    normalizer = Normalizer.from_statistics(mean=mean, std=std)
    assert normalizer.units == {"t": "K"}
    field = xr.DataArray(
        [[2.0], [1.0]], dims=("level", "x"), coords={"level": [850, 500]}, name="t", attrs={"units": "K"}
    )
    np.testing.assert_array_equal(normalizer.normalize(field), [[0], [0]])
    one = Normalizer.from_statistics(median=xr.DataArray(5.0, name="w"), iqr=xr.DataArray(2.0, name="w"), units="m s-1")
    assert repr(one) == "<Normalizer robust: w (m s-1) median 5 iqr 2>"
    assert Normalizer.from_statistics(mean=1.0, std=2.0, name="z").names == ("z",)
    fitted = Normalizer.fit(dataset(), method="log1p")
    given = {s: {n: fitted.statistics(n)[s] for n in fitted.names} for s in ("mean", "std", "log_mean", "log_std")}
    assert Normalizer.from_statistics(**given) == fitted  # type: ignore[arg-type]
    many = Normalizer.from_statistics(mean=dict.fromkeys("abcdef", 0.0), std=dict.fromkeys("abcdef", 1.0))
    assert repr(many).endswith("and 2 more>")


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"mean": 1.0}, OptionError, r"statistics mean came; wanted those of one method: mean and std \(standard\)"),
        ({}, OptionError, "statistics none came"),
        ({"mean": {"a": 1}, "std": {"b": 1}}, VariableError, r"mean is for \['a'\], but std for \['b'\]"),
        (
            {"mean": {"a": 1}, "std": {"a": -1}},
            OptionError,
            r"std of 'a' is -1.0; wanted finite numbers, and no negative",
        ),
        ({"mean": {"a": np.nan}, "std": {"a": 1}}, OptionError, "mean of 'a' is nan; wanted finite numbers"),
        ({"minimum": 2, "maximum": 1}, OptionError, "maximum of 'field' is below its minimum"),
        (
            {"mean": 1, "std": 1, "units": {"x": "K"}},
            VariableError,
            r"units came for 'x'; the statistics are for \['field'\]",
        ),
    ],
)
def test_given_statistics_that_cannot_be(given: dict[str, object], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Normalizer.from_statistics(**given)  # type: ignore[arg-type]


# ---------------------------------------------------------------------- files
@pytest.mark.parametrize("method", METHODS)
def test_save_and_load(method: str, tmp_path: Path) -> None:
    normalizer = Normalizer.fit(dataset(), method=method, dim=("time", "lat", "lon"))  # type: ignore[arg-type]
    path = tmp_path / "new folder" / "normalizer.nc"
    normalizer.save(path)
    normalizer.save(path)
    assert os.listdir(path.parent) == ["normalizer.nc"]
    back = Normalizer.load(path)
    assert back == normalizer
    assert back.names == normalizer.names
    assert back.units == normalizer.units
    assert Normalizer.of(str(path)) == Normalizer.of(path) == normalizer
    assert Normalizer.of(normalizer) is normalizer
    assert Normalizer.from_dataset(normalizer.to_dataset()) == normalizer
    assert pickle.loads(pickle.dumps(normalizer)) == normalizer
    assert normalizer != Normalizer.fit(dataset() * 2, method=method)  # type: ignore[arg-type]
    assert normalizer != "something else"
    with pytest.raises(TypeError):
        hash(normalizer)


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "n.nc"
    Normalizer.fit(dataset()).save(path)
    before = path.read_bytes()

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(xr.Dataset, "to_netcdf", fail)
    with pytest.raises(OSError, match="disk full"):
        Normalizer.fit(dataset() * 2).save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["n.nc"]


def test_files_that_are_no_normalizers(tmp_path: Path) -> None:
    path = tmp_path / "n.nc"
    with pytest.raises(CheckpointError, match=r"there is no normalizer at .*n.nc'; fit one and save it"):
        Normalizer.load(path)
    Normalizer.fit(dataset()).save(path)
    whole = path.read_bytes()
    for bad in (whole[: len(whole) // 2], whole[:50], b"garbage" * 99, b""):
        path.write_bytes(bad)
        with pytest.raises(CheckpointError, match=r"n.nc' cannot be read .*may be truncated") as caught:
            Normalizer.load(path)
        assert "\n" not in str(caught.value)
    dataset().to_netcdf(tmp_path / "other.nc")
    with pytest.raises(CheckpointError, match=r"other.nc' is not a saved normalizer"):
        Normalizer.load(tmp_path / "other.nc")
    state = Normalizer.fit(dataset()).to_dataset()
    with pytest.raises(CheckpointError, match="this Dataset is an incomplete normalizer: method 'standard'"):
        Normalizer.from_dataset(state.drop_vars("t_std"))
    with pytest.raises(CheckpointError, match=r"written by a newer xatmo \(format 9\)"):
        Normalizer.from_dataset(state.assign_attrs(xatmo_normalizer=9))


# ---------------------------------------------------------------------- errors
def test_fit_errors() -> None:
    ds = dataset()
    with pytest.raises(
        OptionError, match="method 'zscore' came; wanted one of 'standard', 'minmax', 'robust', 'log1p'"
    ):
        Normalizer.fit(ds, method="zscore")  # type: ignore[arg-type]
    with pytest.raises(
        DimensionError, match=r"no dimension 'day' to reduce; the data have \('time', 'level', 'lat', 'lon'\)"
    ):
        Normalizer.fit(ds, dim=("day",))
    with pytest.raises(VariableError, match="no numeric variable to normalize among"):
        Normalizer.fit(xr.Dataset({"m": ("x", [True])}))
    for bad in (ds.where(ds < 0), ds.where(ds < 0).chunk(time=4)):
        with pytest.raises(MissingValueError, match="variable 't' holds only missing values; wanted some numbers"):
            Normalizer.fit(bad)
    partly = ds["t"].where(ds.level != 500)
    with pytest.raises(MissingValueError, match="holds only missing values in 1 of 3 places along"):
        Normalizer.fit(partly, dim=("time", "lat", "lon"))
    ds["q"][1, 2, 3] = np.inf
    with pytest.raises(MissingValueError, match="variable 'q' holds infinite values; wanted numbers or NaN"):
        Normalizer.fit(ds)


def test_use_errors() -> None:
    ds = dataset()
    normalizer = Normalizer.fit(ds)
    with pytest.raises(VariableError, match=r"has no variable 'w'; it has 't', 'q'. Select what it knows"):
        normalizer.normalize(ds.rename(t="w"))
    for call in (
        lambda: normalizer.normalize(ds["t"].rename("w")),
        lambda: normalizer.statistics("w"),
        lambda: normalizer.arrays(["w"]),
        lambda: normalizer.select(["w"]),
    ):
        with pytest.raises(VariableError, match="this normalizer has no variable 'w'; it has 't', 'q'"):
            call()
    with pytest.raises(UnitsError, match="'m' came, 'K' wanted: they measure different things"):
        normalizer.normalize(ds["t"].assign_attrs(units="m"))
    with pytest.raises(UnitsError, match="variable 't' has no units; wanted 'K'"):
        normalizer.normalize(ds["t"].drop_attrs())
    with pytest.raises(UnitsError, match="variable 't' is normalized already"):
        normalizer.normalize(normalizer.normalize(ds))
    with pytest.raises(UnitsError, match="variable 't' has units 'K'; wanted a normalized field"):
        normalizer.denormalize(ds)
    with pytest.raises(OptionError, match="a int came; wanted a Normalizer or the path of a saved one"):
        Normalizer.of(3)
    by_level = Normalizer.fit(ds, dim=("time", "lat", "lon"))
    with pytest.raises(CoordinateError, match="the statistics of 't' have no 'level' 1000; fit them on all of 'level'"):
        by_level.normalize(ds.assign_coords(level=[200, 500, 1000]))
    with pytest.raises(DimensionError, match="the statistics of 't' are by 'level', which the field"):
        by_level.normalize(ds.isel(level=0))
    with pytest.raises(DimensionError, match="have 3 points along 'level', the field 2; wanted the same"):
        by_level.normalize(ds.drop_vars("level").isel(level=[0, 1]))
    with pytest.raises(DimensionError, match=r"the statistics of \['t', 'q'\] have different dimensions"):
        by_level.arrays()
