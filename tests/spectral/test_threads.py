from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from xatmo.errors import OptionError
from xatmo.spectral import _threads, set_threads


@pytest.fixture(autouse=True)
def reset(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("XATMO_THREADS", raising=False)
    monkeypatch.setattr(_threads, "_cores", lambda: 8)
    yield
    set_threads(None)


def test_one_transform_takes_all_cores_and_several_share_them() -> None:
    with _threads.share() as first:
        assert first == 8
        with _threads.share() as second:
            assert second == 4
    with _threads.share() as again:
        assert again == 8


def test_never_less_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_threads, "_cores", lambda: 1)
    with _threads.share(), _threads.share() as second:
        assert second == 1


def test_chosen_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XATMO_THREADS", "3")
    with _threads.share() as threads:
        assert threads == 3
    set_threads(5)
    with _threads.share() as threads:
        assert threads == 5


@pytest.mark.parametrize("number", [0, -2])
def test_no_threads(number: int) -> None:
    with pytest.raises(OptionError, match=f"number={number} threads came; wanted 1 or more"):
        set_threads(number)


@pytest.mark.parametrize("value", ["many", "0", "-1"])
def test_environment_that_says_nothing(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("XATMO_THREADS", value)
    with pytest.raises(OptionError, match=f"XATMO_THREADS='{value}' came; wanted a whole number"), _threads.share():
        pass


def test_freed_after_an_error() -> None:
    with pytest.raises(RuntimeError, match="x"), _threads.share():
        raise RuntimeError("x")
    with _threads.share() as threads:
        assert threads == 8


def test_worker_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()

    class Module:
        @staticmethod
        def get_worker() -> Any:
            return type("Worker", (), {"state": type("State", (), {"nthreads": 1})()})()

    monkeypatch.setitem(__import__("sys").modules, "distributed.worker", Module)
    assert _threads._cores() == 1
    Module.get_worker = staticmethod(lambda: (_ for _ in ()).throw(ValueError("no worker")))  # type: ignore[method-assign]
    assert _threads._cores() >= 1


def test_transforms_in_many_threads_at_once() -> None:
    from xatmo import Grid
    from xatmo.spectral import _kernels

    grid = Grid.gaussian(24)
    fields = np.random.default_rng(0).standard_normal((8, *grid.shape))
    expected = _kernels.analysis(fields, grid)
    results: dict[tuple[int, str], Any] = {}

    def work(k: int) -> None:
        for engine in ("torch", None):
            results[k, str(engine)] = _kernels.analysis(fields[k], grid, engine=engine)  # type: ignore[arg-type]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for (k, _), result in results.items():
        np.testing.assert_allclose(result, expected[k], atol=1e-13)
