"""Extract, preprocess, train: what they leave, what they refuse, and that interruptions change nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from experiment import (
    N_DAYS,
    SPLITS,
    TEST,
    archive,
    assert_same_bytes,
    extract,
    forecaster,
    interrupted_after,
    prepare,
)

import xatmo
from xatmo import workflow
from xatmo.errors import CheckpointError, ConfigError, CoordinateError, OptionError, VariableError, XatmoError
from xatmo.workflow import preparation, records


# ---------------------------------------------------------------------- extract
def test_extraction_takes_what_is_asked_for_and_nothing_else(files: Path) -> None:
    lines: list[str] = []
    made = extract(files, months=1, hours=[0, 12], note=lines.append)
    found, ds = xr.open_zarr(made.path), archive()
    wanted = ds.isel(longitude=slice(1, 9)).sel(time=(ds.time.dt.month == 1) & ds.time.dt.hour.isin([0, 12]))
    assert set(found) == {"2t", "tcc", "lsm"}
    np.testing.assert_array_equal(found["2t"], wanted["2t"])
    np.testing.assert_array_equal(found.lsm, wanted.lsm)
    np.testing.assert_array_equal(found.longitude, np.arange(-9.0, -1))
    assert found["2t"].attrs["units"] == "K"
    assert "extract" in found.attrs["history"]
    record = json.loads((files / "data.json").read_text())
    assert record["settings"]["hours"] == [0, 12]
    assert {"xatmo", "xarray", "python"} <= set(record["versions"])
    assert record["output"]["fingerprint"] == records.fingerprint(found)
    assert record["began"] <= record["finished"]
    assert not lines
    assert not (files / ".data.json.begun").exists()


def test_missing_hours_are_told_and_not_filled(files: Path) -> None:
    archive().isel(time=slice(0, 124)).drop_isel(time=[3, 4, 50]).to_netcdf(files / "a_200101.nc")
    lines: list[str] = []
    made = extract(files, note=lines.append)
    assert made.missing == [["2001-01-01T18:00", "2001-01-02T00:00"], ["2001-01-13T12:00", "2001-01-13T12:00"]]
    assert "missing in the archive, and left out: 2001-01-01T18:00 to 2001-01-02T00:00" in lines[0]
    assert json.loads((files / "data.json").read_text())["missing"] == made.missing
    assert xr.open_zarr(made.path).sizes["time"] == 4 * N_DAYS - 3


def test_frames_of_grib_are_labelled_by_their_valid_time(files: Path) -> None:
    ds = archive().isel(time=slice(0, 8))[["2t"]]
    analysis = ds.time - np.timedelta64(3, "h")
    made = ds.rename(time="valid_time").swap_dims(valid_time="time").assign_coords(time=("time", analysis.values))
    made.time.attrs["standard_name"] = "forecast_reference_time"
    made.valid_time.attrs["standard_name"] = "time"
    made.to_netcdf(files / "steps.nc")
    found = xr.open_zarr(workflow.extract(files / "steps.nc", files / "steps.zarr", progress=False).path)
    np.testing.assert_array_equal(found.time, ds.time)
    assert "valid_time" not in found.coords
    np.testing.assert_array_equal(found["2t"], ds["2t"])


def test_only_the_name_is_filled_in(files: Path) -> None:
    with pytest.raises(OptionError, match=r"/\{nme\}.zarr has \{nme\}; the only part that is filled in is \{name\}$"):
        extract(files, "{nme}.zarr")
    assert not list(files.glob("*.zarr"))


def test_an_interrupted_extraction_goes_on(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = extract(files, "whole.zarr").path
    with monkeypatch.context() as patch:
        interrupted_after(patch, xatmo._journal.Journal, "add", 1, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            extract(files)
        assert not (files / "data.zarr").exists()
    with pytest.raises(ConfigError, match="was begun with other settings: months was None and is \\[1\\]"):
        extract(files, months=[1])
    written: list[Any] = []
    real = xr.Dataset.to_zarr
    monkeypatch.setattr(xr.Dataset, "to_zarr", lambda self, *a, **k: written.append(k) or real(self, *a, **k))
    lines: list[str] = []
    again = extract(files, note=lines.append)
    assert again.continued
    assert "1 of 2 regions are there" in lines[0]
    assert len([k for k in written if k.get("region")]) == 1
    assert_same_bytes(whole, again.path)
    assert extract(files).already


def test_a_store_that_lost_only_its_record_gets_it(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        interrupted_after(patch, records.Record, "finish", 0, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            extract(files)
    assert (files / "data.zarr").exists()
    stamp = max(p.stat().st_mtime_ns for p in (files / "data.zarr").rglob("*"))
    assert not (files / "data.json").exists()
    extract(files)
    assert (files / "data.json").exists()
    assert max(p.stat().st_mtime_ns for p in (files / "data.zarr").rglob("*")) == stamp


def test_other_settings_are_refused_and_a_failed_replacement_leaves_the_old(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract(files)
    before = (files / "data.json").read_text()
    with pytest.raises(ConfigError, match="was made with other settings: hours was None and is \\[0\\]; .*--overwrite"):
        extract(files, hours=[0], years=2001)
    with monkeypatch.context() as patch:
        interrupted_after(patch, xatmo._journal.Journal, "add", 0, OSError)
        with pytest.raises(OSError, match="^$"):
            extract(files, hours=[0], overwrite=True)
    assert (files / "data.json").read_text() == before
    assert xr.open_zarr(files / "data.zarr").sizes["time"] == 4 * N_DAYS
    extract(files, hours=[0], overwrite=True)
    assert xr.open_zarr(files / "data.zarr").sizes["time"] == N_DAYS
    (files / "data.json").unlink()
    with pytest.raises(ConfigError, match="without a record of what made it"):
        extract(files)


def test_names_of_runs_on_request(files: Path) -> None:
    made = extract(files, "{name}.zarr")
    assert made.path.name == "Y2001M01to02-8_8-50.00N09.00W-2t_tcc.zarr"
    settings = {"region": {"sw_corner": [50, -9], "nx": 8, "ny": 8}, "variables": ["2t", "tcc", "lsm"]}
    assert workflow.find_extracted(files / "{name}.zarr", settings) == made.path
    with pytest.raises(ConfigError, match="0 stores there were extracted with these settings"):
        workflow.find_extracted(files / "{name}.zarr", {**settings, "years": 2001})


def test_what_cannot_be_extracted_is_refused(files: Path) -> None:
    for more, error, message in (
        ({"years": 1999}, CoordinateError, "no time of the input is in years 1999"),
        ({"variables": ["q"]}, VariableError, "variable 'q' is not in the input"),
        ({"name": "data.nc"}, OptionError, "wanted a name that ends in .zarr"),
    ):
        with pytest.raises(error, match=message):
            extract(files, **more)
    with pytest.raises(FileNotFoundError):
        workflow.extract(files / "b_*.nc", files / "data.zarr")
    with pytest.raises(OptionError, match="input is an empty list"):
        workflow.extract([], files / "data.zarr")
    with pytest.raises(OptionError, match="a mapping with 'catalog' and 'entry'"):
        workflow.extract({"catalog": "era5"}, files / "data.zarr")
    archive().isel(time=[0, 1, 0, 1]).to_netcdf(files / "twice.nc")
    with pytest.raises(CoordinateError, match="time 2001-01-01 00:00:00 comes twice"):
        workflow.extract(files / "twice.nc", files / "data.zarr")


def test_static_fields_from_elsewhere(files: Path) -> None:
    ds = archive()
    ds[["lsm"]].isel(latitude=slice(None, None, -1)).assign_coords(longitude=ds.longitude - 360).to_netcdf(
        files / "land.nc"
    )
    made = extract(files, variables=["2t"], static=files / "land.nc")
    np.testing.assert_array_equal(xr.open_zarr(made.path).lsm, ds.lsm.isel(longitude=slice(1, 9)))
    ds[["lsm"]].isel(latitude=slice(0, 5)).to_netcdf(files / "part.nc")
    with pytest.raises(CoordinateError):
        extract(files, "other.zarr", variables=["2t"], static=files / "part.nc")


# ---------------------------------------------------------------------- preprocess
def test_preprocessing_learns_from_training_alone(files: Path) -> None:
    extract(files)
    made = prepare(files, gap=4, climatology=["month", "hour"])
    prepared = workflow.open_prepared(made.path)
    train, test = prepared.part("train"), prepared.part("test")
    assert train.time.values[-1] == np.datetime64("2001-02-13T18")  # a day of four frames less
    assert test.sizes["time"] == 14 * 4
    assert float(prepared.normalizer.statistics("2t")["mean"]) == pytest.approx(float(train["2t"].mean()), rel=1e-6)
    usual = xatmo.metrics.climatology(train[["2t", "tcc"]], by=["month", "hour"]).compute()
    assert prepared.climatology is not None
    xr.testing.assert_allclose(prepared.climatology.drop_attrs(), usual.drop_attrs(), rtol=1e-6)
    assert list(made.splits["windows"]) == [train.sizes["time"] - 7, test.sizes["time"] - 7]
    # Whatever happens after the training period changes nothing that is learned.
    other = archive()
    late = other.time >= np.datetime64(TEST[0])
    other["2t"] = other["2t"] + (100 * late).astype("f4")
    other["2t"].attrs["units"] = "K"
    for month in (1, 2):
        other.sel(time=other.time.dt.month == month).to_netcdf(files / f"a_2001{month:02d}.nc")
    extract(files, overwrite=True)
    with pytest.raises(CheckpointError, match="has changed since .* was made from it"):
        workflow.open_prepared(made.path)
    again = workflow.open_prepared(prepare(files, "again", gap=4, climatology=["month", "hour"]).path)
    xr.testing.assert_identical(again.normalizer.state, prepared.normalizer.state)
    assert again.climatology is not None
    xr.testing.assert_equal(again.climatology, prepared.climatology)


def test_an_interrupted_preprocessing_goes_on(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extract(files)
    with monkeypatch.context() as patch:
        interrupted_after(patch, preparation, "_write_climatology", 1, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            prepare(files, climatology=["month", "hour"])
    assert not (files / "prepared").exists()
    with pytest.raises(ConfigError, match="was begun with other settings: gap was 0 and is 2"):
        prepare(files, climatology=["month", "hour"], gap=2)
    lines: list[str] = []
    count = interrupted_after(monkeypatch, preparation, "_write_climatology", 9, KeyboardInterrupt)
    made = prepare(files, climatology=["month", "hour"], note=lines.append)
    assert count == [1]  # February alone
    assert lines == [f"continuing {files / 'prepared'}"]
    whole = prepare(files, "whole", climatology=["month", "hour"])
    assert sorted(p.name for p in made.path.iterdir()) == sorted(p.name for p in whole.path.iterdir())
    for name in ("statistics.nc", "climatology.nc"):
        xr.testing.assert_identical(xr.load_dataset(made.path / name), xr.load_dataset(whole.path / name))
    assert prepare(files, climatology=["month", "hour"]).already
    with pytest.raises(ConfigError, match="made with other settings: climatology was \\['month', 'hour'\\]"):
        prepare(files)
    assert prepare(files, overwrite=True).splits.equals(made.splits)


def test_prepared_data_may_move_together(files: Path, tmp_path: Path) -> None:
    inside = files / "here"
    inside.mkdir()
    for name in ("a_200101.nc", "a_200102.nc"):
        os.rename(files / name, inside / name)
    extract(inside)
    prepare(inside)
    os.rename(inside, tmp_path / "there")
    assert workflow.open_prepared(tmp_path / "there" / "prepared").part("test").sizes["time"] == 56


def test_what_cannot_be_prepared_is_refused(files: Path) -> None:
    extract(files)
    with pytest.raises(OptionError, match="n_context=0 came"):
        prepare(files, n_context=0)
    with pytest.raises(CheckpointError, match="is no prepared experiment"):
        workflow.open_prepared(files)
    with pytest.raises(OptionError, match="part 'dev' came"):
        workflow.open_prepared(prepare(files).path).part("dev")
    archive().isel(time=[3, 1]).to_netcdf(files / "back.nc")
    other = {
        "splits": {"train": {"dates": ["2001-01-01", "2001-02-14"]}, "test": {"dates": ["2001-02-14", "2001-02-15"]}}
    }
    for more, message in (
        (other, "train and test share 4 times"),
        ({"gap": "long"}, "gap='long' came"),
        ({"climatology": ["week"]}, "week"),
    ):
        with pytest.raises((ConfigError, OptionError), match=message):
            prepare(files, "mended", **more)
    prepare(files, "mended")  # what was refused has begun nothing
    with pytest.raises(ConfigError, match="has 2 times; wanted two or more that increase"):
        workflow.preprocess(files / "back.nc", files / "p", splits=SPLITS)
    archive()[["lsm"]].to_netcdf(files / "land.nc")
    with pytest.raises(ConfigError, match="wanted fields along time, with dates"):
        workflow.preprocess(files / "land.nc", files / "p", splits=SPLITS)
    (files / "prepared" / "preprocess.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        prepare(files)


# ---------------------------------------------------------------------- train
def fit(files: Path, name: str = "run", steps: int = 6, **more: Any) -> Any:
    return workflow.train(
        forecaster(), files / "prepared", files / name / "model", variables=["2t"], max_steps=steps, batch_size=4,
        accelerator="cpu", progress=False, **more,
    )  # fmt: skip


@pytest.mark.slow
def test_an_interrupted_training_goes_on(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xatmo.train import video

    extract(files)
    prepare(files)
    whole = fit(files, "whole")
    real, count = video.Forecast.training_step, [0]

    def interrupting(self: Any, *args: Any) -> Any:
        count[0] += 1
        if count[0] == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(video.Forecast, "training_step", interrupting)
        with pytest.raises(KeyboardInterrupt):
            fit(files)
    assert not (files / "run" / "model").exists()
    assert 0 < count[0] < 6
    again = fit(files)
    assert again.model.fingerprint == whole.model.fingerprint
    record = json.loads((files / "run" / "model.train.json").read_text())
    assert record["model"] == again.model.fingerprint
    assert record["settings"]["task"] == "VideoForecaster"
    lines: list[str] = []
    shutil.rmtree(files / "run" / "model.run")  # checkpoints are no longer needed
    assert fit(files, note=lines.append).model.fingerprint == whole.model.fingerprint
    assert "is there, trained with the same settings" in lines[0]
    with pytest.raises(ConfigError, match="training.max_steps was 6 and is 7"):
        fit(files, steps=7)
    assert fit(files, steps=7, overwrite=True).history.step.max() == 7


def test_what_cannot_be_trained_is_refused(files: Path) -> None:
    extract(files)
    prepare(files)
    with pytest.raises(ConfigError, match="n_context=9 came, and .* was prepared for 4"):
        workflow.train(forecaster(n_context=9), files / "prepared", files / "model")
    with pytest.raises(VariableError, match="variable 'q' is not in"):
        workflow.train(forecaster(), files / "prepared", files / "model", variables=["q"])
    with pytest.raises(XatmoError, match="rain"):
        workflow.train(forecaster(architecture="diurnal"), files / "prepared", files / "model", target=["rain"])
    workflow.train(forecaster(architecture="diurnal"), files / "prepared", files / "model", target=["2t"])
