"""Two processes that train together are cut off by signals to one of them, or to the one that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from xatmo.train import history

SCRIPT = """
import os
import signal
import sys
from pathlib import Path

import torch

from tests.tasks.test_forecast_resumed import fit
from xatmo.errors import XatmoError
from xatmo.train import Forecast

torch.set_num_threads(1)
folder, at, rank, number, whom = Path(sys.argv[1]), *map(int, sys.argv[2:5]), sys.argv[5]
usual = Forecast.training_step


def step(self, batch, batch_idx):
    (folder / f"process{self.global_rank}").write_text(str(os.getpid()))
    if self.global_step == at and self.global_rank == rank:
        os.kill({"one": os.getpid(), "parent": os.getppid(), "group": 0}[whom], number)
    return usual(self, batch, batch_idx)


Forecast.training_step = step  # in each process, which reads this file

if __name__ == "__main__":
    try:
        fit("convlstm", steps=24, devices=2, run_dir=folder / "run")
    except XatmoError as error:
        sys.exit(f"Error: {error}")
"""


def train(folder: Path, at: int = -1, rank: int = 0, number: int = 0, whom: str = "one") -> tuple[int, str]:
    """Train with two processes; give the status and what was said, once all of them have ended."""
    script = folder / "script.py"
    script.write_text(SCRIPT)
    words = [sys.executable, str(script), str(folder), *map(str, (at, rank, number)), whom]
    path = os.pathsep.join([os.getcwd(), *sys.path])
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
    ) as started:  # fmt: skip
        try:
            said, _ = started.communicate(timeout=240)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            raise
    for file in folder.glob("process?"):
        require_ended(int(file.read_text()))
    return started.returncode, said


def require_ended(pid: int) -> None:
    """Fail if a process still runs after some seconds."""
    until = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists() and "(Z)" not in (status := Path(f"/proc/{pid}/stat").read_text()):
        assert time.monotonic() < until, f"process {pid} still runs: {status}"
        time.sleep(0.1)


MOMENTS = (  # step, process, signal, whom it is sent to, how the run ends, steps that are saved then
    (3, 0, signal.SIGTERM, "one", 143, (4,)),
    (6, 1, signal.SIGINT, "one", 130, (7,)),
    (9, 0, signal.SIGINT, "group", 130, (10, 11)),  # Ctrl-C on a terminal
    (12, 1, signal.SIGTERM, "parent", 143, (13, 14)),
    (15, 0, signal.SIGKILL, "one", 1, (13, 14)),
    (16, 1, signal.SIGKILL, "one", 1, (13, 14)),
    (17, 0, signal.SIGKILL, "parent", -signal.SIGKILL, (18, 19, 20)),
)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_signals_to_processes(tmp_path: Path) -> None:
    saved = 0
    for at, rank, number, whom, status, left in MOMENTS:
        ended, said = train(tmp_path, at, rank, number, whom)
        # Python itself ends after KeyboardInterrupt by a signal to itself.
        assert ended in ((130, -signal.SIGINT) if number == signal.SIGINT else (status,)), said
        if status == 1:
            assert said.strip().splitlines()[-1] == (
                "Error: one of the 2 processes of the training was ended by SIGKILL (as the system does where memory "
                f"runs out); with a run_dir, the same call goes on from step {saved}"
            ), said
        assert "Traceback" not in said or number == signal.SIGINT, said
        saved = torch.load(tmp_path / "run" / "last.ckpt")["global_step"]
        assert saved in left, said
    (tmp_path / "whole").mkdir()
    for folder in (tmp_path, tmp_path / "whole"):
        status, said = train(folder)
        assert status == 0, said
    runs = [folder / "run" for folder in (tmp_path, tmp_path / "whole")]
    for name in ("last.ckpt", "best.ckpt"):
        one, other = (torch.load(run / name) for run in runs)
        assert one["global_step"] == other["global_step"]
        assert all(torch.equal(value, other["state_dict"][key]) for key, value in one["state_dict"].items())
    # Rows of one step are one: a file that is gone on with has them merged.
    first, second = (pd.DataFrame(history.read(run / "history.csv")).drop(columns="seconds") for run in runs)
    pd.testing.assert_frame_equal(first, second, check_exact=True)
