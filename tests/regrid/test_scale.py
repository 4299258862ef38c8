"""Memory of regridding a store does not grow with its length."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "scaling_store.py"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no resource module")
def test_twice_the_length_takes_the_same_memory() -> None:
    spec = importlib.util.spec_from_file_location("scaling_store", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    rows = {(row["method"], row["hours"]): row for row in script.measure(48)}
    chunk = 4 * 721 * 1440 * 4 / 2**20  # MiB
    for method in script.METHODS:
        short, long = rows[method, 48], rows[method, 96]
        grown = 12 * chunk  # what 48 hours more take
        assert long["peak_mib"] - short["peak_mib"] < grown / 3
        assert long["peak_mib"] - long["before_mib"] < 300  # a few chunks for each thread
        assert long["tasks"] <= 2 * short["tasks"]
