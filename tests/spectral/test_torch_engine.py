"""The torch engine behind the arrays: its memory."""

from __future__ import annotations

import numpy as np
import pytest

from xatmo import Grid
from xatmo.spectral import _torch


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_torch, "_kept", type(_torch._kept)())


def test_tables_are_made_once_for_equal_grids() -> None:
    first = _torch.transform(Grid.gaussian(8), 7, "float64")
    assert _torch.transform(Grid.gaussian(8), 7, "float64") is first
    assert _torch.transform(Grid.gaussian(8), 6, "float64") is not first
    assert _torch.transform(Grid.gaussian(8), 7, "float32") is not first


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    one = _torch.transform(Grid.gaussian(8), 7, "float64")
    monkeypatch.setattr(_torch, "TABLE_MEMORY", int(2.5 * one.table_bytes))
    west = [Grid.from_latlon(Grid.gaussian(8).latitude, Grid.gaussian(8).longitude - k) for k in (1, 2)]
    second = _torch.transform(west[0], 7, "float64")
    assert _torch.transform(Grid.gaussian(8), 7, "float64") is one  # and so the most recently used
    third = _torch.transform(west[1], 7, "float64")
    kept = list(_torch._kept.values())
    assert one in kept
    assert third in kept
    assert second not in kept
    monkeypatch.setattr(_torch, "TABLE_MEMORY", 0)
    last = _torch.transform(west[0], 7, "float64")
    assert list(_torch._kept.values()) == [last]


def test_no_winds_at_all() -> None:
    grid = Grid.gaussian(8)
    rotational, divergent = _torch.analysis_vector(np.empty((0, 8, 16)), np.empty((0, 8, 16)), grid, 3)
    assert rotational.shape == divergent.shape == (0, 4, 4)
    u, v = _torch.synthesis_vector(rotational, divergent, grid)
    assert u.shape == v.shape == (0, 8, 16)


def test_the_gpu_benchmark_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU, with small sizes: its table, and the counts that its limits come from."""
    import importlib
    from pathlib import Path

    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    bench = importlib.import_module("bench_gpu")
    assert bench.main(["--device", "cpu", "--quick"]) == 0
    lines = capsys.readouterr().out.splitlines()
    table = [line for line in lines if line.startswith("| 37 x 72") or line.startswith("| 32 x 64")]
    assert len(table) >= 4
    assert {line.count("|") for line in [*table, *bench.HEADER.splitlines()]} == {9}
    transform = bench.SphericalHarmonics.gaussian(8, 16, 7)
    # 36 pairs (order, degree), 4 rows, twice; blocks hold some more.
    assert 4 * 2 * 36 * 4 <= bench.operations(transform) <= 3 * 4 * 2 * 36 * 4
    assert bench.traffic(transform, 2) < bench.traffic(transform, 1)
