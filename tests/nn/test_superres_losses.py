"""Losses: values, missing targets, weights, mixes."""

from __future__ import annotations

import math

import pytest
import torch

from xatmo.errors import OptionError
from xatmo.nn import losses

POINTWISE = sorted(n for n in losses.LOSSES if not n.startswith("spectral"))


@pytest.mark.parametrize("name", POINTWISE)
def test_missing_targets_leave_value_and_gradient_finite(name: str) -> None:
    prediction = torch.randn(2, 1, 6, 6, requires_grad=True)
    target = torch.randn(2, 1, 6, 6)
    target[0, 0, 2, 3] = math.nan
    value = losses.LOSSES[name](prediction, target, None)
    value.backward()
    assert torch.isfinite(value)
    assert prediction.grad is not None
    assert torch.isfinite(prediction.grad).all()
    assert prediction.grad[0, 0, 2, 3] == 0


@pytest.mark.parametrize("name", POINTWISE)
def test_what_stands_at_missing_targets_does_not_count(name: str) -> None:
    prediction, target = torch.randn(1, 1, 5, 5), torch.randn(1, 1, 5, 5)
    target[..., 1, 1] = math.nan
    other = prediction.clone()
    other[..., 1, 1] = 1e6
    assert losses.LOSSES[name](prediction, target, None) == losses.LOSSES[name](other, target, None)


def test_weights_are_those_of_a_mean() -> None:
    prediction, target = torch.tensor([[1.0, 3.0]]), torch.zeros(1, 2)
    weight = torch.tensor([3.0, 1.0])
    assert losses.mae(prediction, target, weight).item() == pytest.approx(1.5)
    assert losses.mse(prediction, target, weight).item() == pytest.approx(3.0)


def test_nothing_but_missing_targets_gives_zero() -> None:
    target = torch.full((1, 1, 3, 3), math.nan)
    for name in POINTWISE:
        assert losses.LOSSES[name](torch.ones(1, 1, 3, 3), target, None) == 0


def test_mixes() -> None:
    prediction, target = torch.randn(1, 1, 4, 4), torch.randn(1, 1, 4, 4)
    mixed = losses.build({"mae": 1.0, "gradient": 0.5})(prediction, target)
    torch.testing.assert_close(mixed, losses.mae(prediction, target) + 0.5 * losses.gradient(prediction, target))
    torch.testing.assert_close(losses.build("mse")(prediction, target), losses.mse(prediction, target))
    for text in ("mae + 0.1 spectral_power", "mae+0.1*spectral_power", "mae + 1e-1 * spectral_power"):
        assert losses.build(text).parts == {"mae": 1.0, "spectral_power": 0.1}
    assert losses.build("mae + mae").parts == {"mae": 2.0}


@pytest.mark.parametrize(
    ("loss", "text"),
    [
        ("magic", r"loss 'magic' is not available; possible are \['dssim', 'gradient', 'mae', 'ms_dssim', "),
        ("mae + 1.2.3 mse", "loss 'mse' has weight nan; wanted a positive number"),
        ("mae 2", "loss 'mae 2' is not available"),
        ({}, "loss 'nothing'"),
        ({"mae": -1.0}, "loss 'mae' has weight -1.0; wanted a positive number"),
    ],
)
def test_refusals(loss: object, text: str) -> None:
    with pytest.raises(OptionError, match=text):
        losses.build(loss)  # type: ignore[arg-type]
