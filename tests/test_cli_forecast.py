"""The command line with forecasts: a configuration trains, and what is saved goes on from every time of a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xatmo
from xatmo.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def go(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return go


@pytest.fixture
def record(tmp_path: Path) -> xr.Dataset:
    random = np.random.default_rng(0)
    dims = ("time", "latitude", "longitude")
    ds = xr.Dataset(
        {"t2m": (dims, 280 + random.random((80, 5, 6), "f4"), {"units": "K"}),
         "u": (dims, random.random((80, 5, 6), "f4"), {"units": "m s-1"}),
         "z": (dims[1:], random.random((5, 6)), {"units": "m"})},
        {"time": np.datetime64("2019-03-01", "ns") + np.arange(80) * np.timedelta64(1, "h"),
         "latitude": 50 - np.arange(5.0), "longitude": np.arange(6.0)},
    )  # fmt: skip
    ds.to_netcdf(tmp_path / "record.nc")
    return ds


CONFIG = """
data:
  input: {folder}/record.nc
  variables: [t2m, u]
  select: {{time: ["2019-03-01", "2019-03-03"]}}
  validation: {{time: ["2019-03-04", "2019-03-04"]}}
  target: t2m
  static: z
task:
  architecture: convlstm
  n_context: 3
  n_future: 2
  network_settings: {{channels: 4}}
training: {{max_steps: 2, batch_size: 4, accelerator: cpu, progress: false}}
output: {folder}/model
"""


def test_a_configuration_trains_a_forecaster_and_apply_uses_it(run: Run, record: xr.Dataset, tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text(CONFIG.format(folder=tmp_path))
    status, out, err = run("train", "VideoForecaster", tmp_path / "train.yaml")
    assert status == 0, err
    task = xatmo.load(tmp_path / "model")
    assert task.config["n_future"] == 2
    assert [c.name for c in task.model.inputs] == ["t2m", "u", "z"]
    assert task.model.config["training"]["period"].endswith("72 times")
    words = ["apply", tmp_path / "model", tmp_path / "record.nc", tmp_path / "made.zarr"]
    status, out, err = run(*words, "--init-time", "2019-03-02,")
    assert status == 0, err
    assert "56 initial times, 2 leads of t2m" in out
    made = xr.open_zarr(tmp_path / "made.zarr", consolidated=False, decode_timedelta=True)
    xr.testing.assert_allclose(made.compute(), record.atmo.forecast(task, init_time=slice("2019-03-02", None)))
    assert made.lead_time.dtype == "m8[ns]"
    assert run(*words)[0] == 1  # it is there


def test_simple_forecasts_need_no_training(run: Run, record: xr.Dataset, tmp_path: Path) -> None:
    text = f"data: {{input: {tmp_path}/record.nc, variables: t2m}}\ntask: {{architecture: diurnal, n_context: 1}}\n"
    (tmp_path / "train.yaml").write_text(text + f"output: {tmp_path}/diurnal\n")
    status, out, err = run("train", "VideoForecaster", tmp_path / "train.yaml")
    assert status == 0, err
    assert "last step" not in out
    words = ["apply", tmp_path / "diurnal", tmp_path / "record.nc", tmp_path / "made.nc", "--init-time", "2019-03-02"]
    status, out, err = run(*words, "--n-future", 5)
    assert status == 0, err
    made = xr.open_dataset(tmp_path / "made.nc", decode_timedelta=True)
    assert dict(made.sizes) == {"init_time": 24, "lead_time": 5, "latitude": 5, "longitude": 6}


def test_an_interrupted_forecast_goes_on(
    run: Run, record: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xatmo.cli import applying
    from xatmo.nn.tiled import TileJob

    task = xatmo.VideoForecaster("persistence", 2, 3).fit(record[["t2m"]])
    task.save(tmp_path / "model")
    monkeypatch.setattr(applying, "_REGION_BYTES", 4 * 30 * 3 * 10 * 4)
    calls: list[Any] = []
    once = TileJob.run

    def counted(self: TileJob, *parts: Any) -> Any:
        calls.append(parts)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return once(self, *parts)

    monkeypatch.setattr(TileJob, "run", counted)
    words = ["apply", tmp_path / "model", tmp_path / "record.nc", tmp_path / "made.zarr"]
    assert run(*words)[0] == 130
    first = len(calls)
    status, _, err = run(*words)
    made = len(calls) - first
    assert status == 0, err
    whole = xr.open_zarr(tmp_path / "made.zarr", consolidated=False, decode_timedelta=True)
    xr.testing.assert_allclose(whole.compute(), record[["t2m"]].atmo.forecast(task))
    assert whole.t2m.chunks is not None
    regions = len(whole.t2m.chunks[0])
    assert regions >= 4
    assert made < regions  # what was there was not made again


def test_names_that_are_not_there(run: Run, record: xr.Dataset, tmp_path: Path) -> None:
    text = CONFIG.format(folder=tmp_path).replace("target: t2m", "target: tp")
    (tmp_path / "train.yaml").write_text(text)
    status, _, err = run("train", "VideoForecaster", tmp_path / "train.yaml")
    assert status == 1
    assert "no such file or folder: tp" in err


def test_options_of_other_tasks_are_refused(run: Run, record: xr.Dataset, tmp_path: Path) -> None:
    xatmo.VideoForecaster("persistence", 2, 3).fit(record[["t2m"]]).save(tmp_path / "model")
    words = ["apply", tmp_path / "model", tmp_path / "record.nc", tmp_path / "made.nc"]
    status, _, err = run(*words, "--obs", "t2m")
    assert status == 1
    assert "--obs goes with a FourDVarNet" in err


def test_static_fields_from_a_file(run: Run, record: xr.Dataset, tmp_path: Path) -> None:
    record[["z"]].to_netcdf(tmp_path / "z.nc")
    text = CONFIG.format(folder=tmp_path).replace("static: z", f"static: {tmp_path}/z.nc")
    (tmp_path / "train.yaml").write_text(text)
    assert run("train", "VideoForecaster", tmp_path / "train.yaml")[0] == 0
    assert [c.name for c in xatmo.load(tmp_path / "model").model.inputs] == ["t2m", "u", "z"]


def test_the_template_speaks_of_forecasts(run: Run) -> None:
    status, out, _ = run("config", "VideoForecaster")
    assert status == 0
    assert "Variables to forecast." in out
    assert "coarsened" not in out
