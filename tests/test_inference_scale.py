"""Stores longer than memory: the peak of one process does not grow with the length of the record."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parent / "benchmarks"


@pytest.fixture
def scaling() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scaling_superres", BENCHMARKS / "scaling_superres.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="reads the peak of memory in kilobytes, as Linux gives"
)
def test_memory_does_not_grow_with_the_record(scaling: ModuleType, tmp_path: Path) -> None:
    """Twice the hours through Zarr, windows, network and Zarr again: the same peak."""
    short, long = (scaling.measure(hours, str(tmp_path), channels=0, threads=4) for hours in (144, 288))
    assert long["output_gb"] > 1.1
    assert long["peak_gb"] < 1.5
    assert long["peak_gb"] < short["peak_gb"] + 0.15


@pytest.mark.slow
@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="reads the peak of memory in kilobytes, as Linux gives"
)
@pytest.mark.parametrize("options", [{"members": 8}, {"time_window": 2}])
def test_members_and_time_windows_stay_small(scaling: ModuleType, tmp_path: Path, options: dict[str, int]) -> None:
    took = scaling.measure(6, str(tmp_path), channels=1, threads=2, **options)
    assert took["peak_gb"] < 1.5
