"""The five commands from end to end on a tree of GRIB files, each killed at some moments and run again.

Every command is a process of its own, forked from one that has the packages loaded: the moments then fall into the work
rather than into the imports.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
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
        "climatology": ["month", "hour"],
        "output": "prepared",
    },
    "train": {
        "data": {"target": "2t"},
        "task": {"architecture": "convlstm", "n_context": 6, "n_future": 6, "network_settings": {"channels": 4}},
        "training": {"max_steps": 25, "batch_size": 4, "accelerator": "cpu"},
        "output": "runs/a/model",
    },
    "postprocess": {
        "every": 6,
        "baselines": ["persistence", "climatology"],
        "bootstrap": {"block": 4, "n": 20},
        "figures": False,
    },
}
STEPS = (
    ("extract", "experiment.yaml"),
    ("preprocess", "experiment.yaml"),
    ("train", "VideoForecaster", "experiment.yaml"),
    ("postprocess", "experiment.yaml"),
    ("compare", "runs/a", "--html", "report.html", "--tables", "tables", "--no-figures"),
)
# One line of JSON in, [folder, file for what is printed, words, seconds until a signal, signal]: a process is forked,
# and when it has ended its status comes out. Who forked it sends the signal, so that its number is still its own.
SERVER = """
import json, os, signal, sys, time
import cfgrib, torch, lightning, scores, zarr, netCDF4
import xatmo.report, xatmo.train.fit, xatmo.tasks.forecast, xatmo.workflow, xatmo.cli.comparing, xatmo.cli.experiments
from xatmo.cli import main
print("ready", flush=True)
for line in sys.stdin:
    folder, printed, words, seconds, how = json.loads(line)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(folder)
        out = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        main(words)
    until = time.monotonic() + seconds if seconds is not None else None
    ended, status = os.waitpid(child, 0 if until is None else os.WNOHANG)
    while not ended and time.monotonic() < until:
        time.sleep(0.01)
        ended, status = os.waitpid(child, os.WNOHANG)
    if not ended:
        os.kill(child, how)
        ended, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


class Commands:
    """Runs commands as processes of their own, to their end or until a signal."""

    def __init__(self) -> None:
        self.server = subprocess.Popen(
            [sys.executable, "-c", SERVER], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        assert self.line() == "ready"

    def line(self) -> str:
        assert self.server.stdout is not None
        return self.server.stdout.readline().strip()

    def run(self, folder: Path, *words: str, stop: tuple[float, int] | None = None) -> tuple[int, str, float]:
        """Status, what was printed, seconds; ``stop``: a signal after some seconds."""
        printed = folder / "printed.txt"
        assert self.server.stdin is not None
        begun = time.monotonic()
        self.server.stdin.write(json.dumps([str(folder), str(printed), words, *(stop or (None, 0))]) + "\n")
        self.server.stdin.flush()
        status = int(self.line())
        return status, printed.read_text(), time.monotonic() - begun

    def close(self) -> None:
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.close()
        self.server.wait(60)
        self.server.stdout.close()


@pytest.fixture(scope="module")
def commands() -> Iterator[Commands]:
    pytest.importorskip("eccodes")
    made = Commands()
    yield made
    made.close()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, commands: Commands) -> Path:
    """Holds a tree of GRIB files, and in ``whole`` the results of the five commands without interruption."""
    folder = tmp_path_factory.mktemp("experiment")
    weather = xatmo.datasets.diurnal_temperature("2019-01-25", 12, nlat=12, nlon=16, spacing=0.6)
    xatmo.datasets.write_ambs_tree(weather, folder / "archive")
    whole, took = begin(folder, "whole"), {}
    for words in STEPS:
        status, out, took[words[0]] = commands.run(whole, *words)
        assert status == 0, out
    (folder / "took.json").write_text(json.dumps(took))
    return folder


def begin(archive: Path, name: str) -> Path:
    folder = archive / name
    folder.mkdir()
    (folder / "archive").symlink_to(archive / "archive")
    (folder / "experiment.yaml").write_text(yaml.safe_dump(EXPERIMENT))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=lambda s: s.name)
def test_killed_steps_go_on_to_the_same_results(archive: Path, commands: Commands, how: signal.Signals) -> None:
    whole, killed = archive / "whole", begin(archive, f"killed_{how.name}")
    took = json.loads((archive / "took.json").read_text())
    rng = random.Random(int(how))
    stopped = set()
    for words in STEPS:
        for share in (rng.uniform(0.1, 0.4), rng.uniform(0.4, 0.8)):
            status, out, _ = commands.run(killed, *words, stop=(took[words[0]] * share, how))
            if status == 0:
                continue
            assert status in (130, -how), out
            stopped.add(words[0])
            if status == 130:  # otherwise it came when all was done and the process was ending
                # Event loops of libraries may complain afterwards of what they had begun to read.
                said, _, after = out.partition("xatmo: interrupted; the same command continues where it stopped\n")
                assert after or out.endswith("where it stopped\n"), out
                assert "Traceback" not in said, out
        if words[0] != "compare" or not (killed / "report.html").exists():
            status, out, _ = commands.run(killed, *words)
            assert status == 0, out
    assert len(stopped) >= 3, stopped
    same_results(whole, killed)
    for folder in (killed, killed / "data", killed / "runs/a"):
        assert [p.name for p in folder.iterdir() if p.name.startswith(".")] == []


def same_results(whole: Path, killed: Path) -> None:
    (store,) = (whole / "data").glob("*.zarr")
    baselines = [f"runs/a/baselines/{name}.zarr" for name in ("persistence", "climatology")]
    for name in (f"data/{store.name}", "runs/a/forecasts.zarr", *baselines):
        first, second = (xr.open_zarr(folder / name).load() for folder in (whole, killed))
        xr.testing.assert_equal(first, second)
    for name in ("prepared/statistics.nc", "prepared/climatology.nc", "runs/a/scores.nc"):
        xr.testing.assert_equal(xr.load_dataset(whole / name), xr.load_dataset(killed / name))
    for name in ("prepared/splits.csv", "runs/a/scores.json", "tables/scores.csv", "tables/scores_by_lead.csv"):
        assert (whole / name).read_text() == (killed / name).read_text(), name
    one, two = (xatmo.load(folder / "runs/a/model").model for folder in (whole, killed))
    assert one.fingerprint == two.fingerprint
    assert (killed / "report.html").stat().st_size > 10_000
