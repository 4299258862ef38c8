"""For tests and for the examples of docstrings alike."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Fixtures draw the same random numbers whichever tests ran before in this process."""
    begin_to_draw()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call() -> None:
    """So does the test, whichever of its fixtures were there already."""
    begin_to_draw()


def begin_to_draw() -> None:
    """Put the generators that all share where a new process has that of PyTorch."""
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(67280421310721)


@pytest.fixture(autouse=True)
def figures_are_closed() -> Iterator[None]:
    """Close what was drawn: matplotlib warns of more than twenty open figures, however the tests are shared out."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
