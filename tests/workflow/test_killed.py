"""The five commands from end to end on a tree of GRIB files, each killed at some moment and run again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import xarray as xr
import yaml

import xatmo

EXPERIMENT = {
    "extract": {
        "input": "archive",
        "region": {"sw_corner": [39.0, 0.6], "nx": 12, "ny": 10},
        "variables": ["2t", "t@850"],
        "output": "data/{name}.zarr",
    },
    "preprocess": {
        "splits": {"train": {"dates": ["2019-01-25", "2019-02-01"]}, "test": {"dates": ["2019-02-02", "2019-02-05"]}},
        "n_context": 6,
        "n_future": 6,
        "climatology": ["hour"],
        "output": "prepared",
    },
    "train": {
        "data": {"target": "2t"},
        "task": {"n_context": 6, "n_future": 6, "network_settings": {"channels": 4}},
        "training": {"max_steps": 40, "batch_size": 4, "accelerator": "cpu"},
        "output": "runs/a/model",
    },
    "postprocess": {"every": 3, "baselines": ["persistence"], "bootstrap": {"block": 6, "n": 50}, "figures": False},
}
STEPS = (
    ("extract", "experiment.yaml"),
    ("preprocess", "experiment.yaml"),
    ("train", "VideoForecaster", "experiment.yaml"),
    ("postprocess", "experiment.yaml"),
    ("compare", "runs/a", "--html", "report.html"),
)


def command(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", "from xatmo.cli import main; main()", *words], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def finished(process: subprocess.Popen[str]) -> str:
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    return out


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experiment")
    weather = xatmo.datasets.diurnal_temperature("2019-01-25", 12, nlat=12, nlon=16, spacing=0.6)
    xatmo.datasets.write_ambs_tree(weather, folder / "archive")
    return folder


def begin(archive: Path, name: str) -> Path:
    folder = archive / name
    folder.mkdir()
    (folder / "archive").symlink_to(archive / "archive")
    (folder / "experiment.yaml").write_text(yaml.safe_dump(EXPERIMENT))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=lambda s: s.name)
def test_killed_steps_go_on_to_the_same_results(archive: Path, how: signal.Signals) -> None:
    pytest.importorskip("eccodes")
    whole, killed = begin(archive, f"whole_{how.name}"), begin(archive, f"killed_{how.name}")
    rng = random.Random(int(how))
    stopped = 0
    for words in STEPS:
        begun = time.monotonic()
        finished(command(whole, *words))
        took = time.monotonic() - begun
        for _ in range(2):
            process = command(killed, *words)
            try:
                process.wait(timeout=took * rng.uniform(0.3, 0.95))
            except subprocess.TimeoutExpired:
                process.send_signal(how)
                stopped += 1
            out, _ = process.communicate(timeout=300)
            if process.returncode == 0 or process.returncode in (130, -how):
                continue
            assert process.returncode == 1, out
            assert "exists" in out, out  # the page that was complete
        if words[0] != "compare" or not (killed / "report.html").exists():
            finished(command(killed, *words))
    assert stopped >= 3
    (store,) = (whole / "data").glob("*.zarr")
    for name in (f"data/{store.name}", "runs/a/forecasts.zarr", "runs/a/baselines/persistence.zarr"):
        first, second = (xr.open_zarr(folder / name).load() for folder in (whole, killed))
        xr.testing.assert_equal(first, second)
    for name in ("prepared/statistics.nc", "prepared/climatology.nc", "runs/a/scores.nc"):
        xr.testing.assert_equal(xr.load_dataset(whole / name), xr.load_dataset(killed / name))
    one, two = (xatmo.load(folder / "runs/a/model").model.fingerprint for folder in (whole, killed))
    assert one == two
    assert (killed / "report.html").stat().st_size > 10_000
    for folder in (killed, killed / "data", killed / "runs/a"):
        assert [p.name for p in folder.iterdir() if p.name.startswith(".")] == []
