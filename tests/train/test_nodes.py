"""Nodes of a SLURM job."""

from __future__ import annotations

import pytest

from xatmo.errors import OptionError
from xatmo.train.fit import nodes_of


def test_nodes_are_those_of_the_job_step(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NNODES", "NTASKS", "PROCID"):
        monkeypatch.delenv(f"SLURM_{name}", raising=False)
    assert nodes_of(8) == 1
    monkeypatch.setenv("SLURM_NNODES", "2")
    monkeypatch.setenv("SLURM_NTASKS", "8")
    assert nodes_of(8) == 1  # in a shell of the job, outside a step
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert nodes_of(8) == 2
    assert nodes_of(4) == 1  # processes of one's own
    assert nodes_of(1) == 1
    monkeypatch.setenv("SLURM_NNODES", "3")
    with pytest.raises(OptionError, match="devices=8 on 3 nodes of a SLURM job; wanted the same number"):
        nodes_of(8)
