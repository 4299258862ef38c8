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
