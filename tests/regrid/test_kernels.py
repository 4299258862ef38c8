"""Blocks of weights: few where steps are in a whole ratio, and always the same product."""

from __future__ import annotations

import numpy as np
import pytest

from xatmo import Grid
from xatmo.regrid import weights_between
from xatmo.regrid._kernels import Product


@pytest.mark.parametrize("method", ["conservative", "bilinear", "bicubic"])
@pytest.mark.parametrize(
    "target",
    [
        Grid.regular(46, 90),  # every fourth point: blocks go on by equal steps
        Grid.gaussian(20),
        Grid.from_latlon(np.linspace(-87, 87, 30), np.arange(-180.0, 180, 7.5)),
        Grid.regular(361, 720),
        Grid.from_latlon(np.linspace(50, 30, 21), np.linspace(-10, 30, 41)),
    ],
    ids=["quarter", "gaussian", "turned", "finer", "box"],
)
def test_blocks_give_the_product_of_the_whole_matrices(method: str, target: Grid) -> None:
    rng = np.random.default_rng(5)
    weights = weights_between(Grid.regular(181, 360), target, method)
    lat, lon = weights.lat.matrix, weights.lon.matrix
    fields = rng.standard_normal((3, 181, 360))
    out = np.full((3, *target.shape), np.nan)
    Product(lat, lon, np.dtype(np.float64))(fields, out)
    np.testing.assert_allclose(out, lat.toarray() @ fields @ lon.toarray().T, atol=1e-13)


def test_a_whole_ratio_of_steps_needs_few_calls() -> None:
    weights = weights_between(Grid.regular(721, 1440), Grid.regular(181, 360), "conservative")
    product = Product(weights.lat.matrix, weights.lon.matrix, np.dtype(np.float32))
    assert len(product._lat) + len(product._lon) <= 8
