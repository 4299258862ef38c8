"""All combinations of DL4DS, at the level of the task: each is trained, applied, saved and loaded, on a rectangle."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from whole_way import JUDGE, TINY, whole_way

from xatmo.tasks import SuperResolver

TRAINED = (False, True)  # adversarially
WINDOWS = (None, 2)
BACKBONES = ("plain", "residual", "dense")
UPSAMPLINGS = ("interpolation", "subpixel", "resize", "deconvolution")
FACTORS = (2, 3, 4, 5, 8)
STATIC = (False, True)
COMBINATIONS = tuple(itertools.product(TRAINED, WINDOWS, BACKBONES, UPSAMPLINGS))


def combined(adversarial: bool, window: int | None, backbone: str, upsampling: str, factor: int) -> SuperResolver:
    settings: dict[str, Any] = {"adversarial": True, "discriminator": JUDGE} if adversarial else {}
    return SuperResolver(
        factor, backbone=backbone, upsampling=upsampling, time_window=window, **TINY, **settings
    )  # fmt: skip


def chosen(i: int) -> tuple[int, bool]:
    """Factor and static fields of combination number ``i``."""
    return FACTORS[i % 5], i // 5 % 2 == 1


def test_every_choice_meets_every_factor_with_and_without_static_fields() -> None:
    rows = [(*combination, *chosen(i)) for i, combination in enumerate(COMBINATIONS)]
    assert len(rows) == 48
    for axis, values in enumerate((TRAINED, WINDOWS, BACKBONES, UPSAMPLINGS)):
        assert {(row[axis], row[4]) for row in rows} == set(itertools.product(values, FACTORS))
        assert {(row[axis], row[5]) for row in rows} == set(itertools.product(values, STATIC))
    assert {row[4:] for row in rows} == set(itertools.product(FACTORS, STATIC))


@pytest.mark.parametrize("i", range(48), ids=lambda i: "-".join(map(str, (*COMBINATIONS[i], *chosen(i)))))
def test_all_48(i: int, tmp_path: Path) -> None:
    factor, static = chosen(i)
    whole_way(combined(*COMBINATIONS[i], factor), factor, tmp_path, static=static)


@pytest.mark.slow
@pytest.mark.parametrize("static", STATIC)
@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("combination", COMBINATIONS, ids=lambda c: "-".join(map(str, c)))
def test_all_48_at_every_factor(combination: Any, factor: int, static: bool, tmp_path: Path) -> None:
    whole_way(combined(*combination, factor), factor, tmp_path, static=static)
