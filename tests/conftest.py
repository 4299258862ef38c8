"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import dask
import matplotlib
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

matplotlib.use("Agg")

if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    # Two processes that compile for different types at once would each give the first file of code to its own.
    os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(__file__).parent / "__pycache__" / f"numba-{worker}"))

# The same examples in each run, however slow the machine is; --hypothesis-profile=default draws new ones.
hypothesis_settings.register_profile(
    "same", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("same")

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture
def shared_data() -> Callable[[str], Path]:
    """Path of a real file that lies beside the checkout on some machines; the test skips itself where it does not."""

    def locate(name: str) -> Path:
        path = SHARED / name
        if not path.exists():
            pytest.skip(f"{name} is not here")
        return path

    return locate


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where several processes share the tests out, one of them runs all that need the cluster (--dist loadgroup)."""
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            if "cluster" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.xdist_group("cluster"))


@pytest.fixture(scope="session")
def _two_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a cluster of two processes of one thread each, started once for all tests of this run."""
    from distributed import LocalCluster

    # Neither a busy processor nor a busy disk is an error of the tests.
    patient = dict.fromkeys(("distributed.comm.timeouts.connect", "distributed.comm.timeouts.tcp"), "300s")
    with dask.config.set(patient), warnings.catch_warnings(action="ignore", category=UserWarning):
        started = LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0",
            local_directory=str(tmp_path_factory.mktemp("cluster")),
        )  # fmt: skip
    with started as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def cluster(_two_processes: str) -> Iterator[Any]:
    """A client of two worker processes: whatever the test computes is computed there."""
    from distributed import Client

    with Client(_two_processes) as client:
        yield client


@pytest.fixture
def no_compute() -> Callable[[], AbstractContextManager[None]]:
    """A context in which any Dask computation fails the test: building a graph must compute nothing."""

    def refuse(dsk: Any, keys: Any, **kwargs: Any) -> None:
        pytest.fail("a Dask graph was computed while it was being built")

    @contextmanager
    def context() -> Iterator[None]:
        with dask.config.set(scheduler=refuse):
            yield

    return context
