"""Tiles of one axis: every window is found, every cell is where it belongs, weights add up to one."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from xatmo import _tiles
from xatmo.patches import plan, window


@st.composite
def axes(draw: st.DrawFn) -> _tiles.Axis:
    cells = draw(st.integers(2, 40))
    factor = draw(st.integers(1, 3))
    periodic = draw(st.booleans())
    points = cells * factor + (0 if periodic else draw(st.integers(1 - factor, factor)))
    padded = _tiles.padded_cells(cells, points, factor, periodic=periodic)
    patch = draw(st.integers(2, padded))
    overlap = draw(st.integers(0, patch // 2))
    laid = plan({"x": padded}, {"x": patch}, overlap={"x": overlap}, periodic=["x"] if periodic else [])
    return _tiles.Axis(
        cells, points, factor, laid.starts["x"], patch, window(patch * factor, "hann", overlap * factor), periodic,
        flipped=not periodic and draw(st.booleans()), shift=draw(st.integers(0, cells - 1)) if periodic else 0,
    )  # fmt: skip


def assemble(axis: _tiles.Axis, low: int, high: int, chunks: list[int]) -> np.ndarray:
    """Nearest-neighbour refinement of the file's cell numbers, by way of tiles."""
    tile = axis.tile(low, high)
    file = np.split(np.arange(axis.cells, dtype=float), np.cumsum(chunks)[:-1])
    region = np.full(tile.region.size + tile.pad, np.nan)
    for chunk, cut, place in tile.sources(chunks):
        region[place] = file[chunk][cut][:: -1 if axis.flipped else 1]
    _tiles.repeat_edge(region, 0, tile.pad)
    out = np.zeros(high - low)
    for w in tile.windows:
        patch = np.full(axis.patch, np.nan)
        for to, at in tile.inputs(int(w)):
            patch[to] = region[at]
        fine = np.repeat(patch, axis.factor) * axis.window_weights(int(w))
        for at, to in tile.outputs(int(w)):
            out[to] += fine[at]
    return out[tile.to_file]


@settings(max_examples=150, deadline=None)
@given(axes(), st.data())
def test_tiles_put_every_cell_where_it_belongs(axis: _tiles.Axis, data: st.DataObject) -> None:
    low = data.draw(st.integers(0, axis.points - 1))
    high = data.draw(st.integers(low + 1, axis.points))
    cuts = sorted(data.draw(st.sets(st.integers(1, axis.cells - 1), max_size=4)))
    chunks = np.diff([0, *cuts, axis.cells]).tolist()
    at = np.arange(axis.points)
    if axis.flipped:  # cells pair with points from the north
        wanted = axis.cells - 1 - np.minimum((axis.points - 1 - at) // axis.factor, axis.cells - 1)
    else:
        wanted = np.minimum(at // axis.factor, axis.cells - 1)
    np.testing.assert_allclose(assemble(axis, low, high, chunks), wanted[low:high], atol=1e-9)


def test_weights_of_all_windows_add_up_to_one_on_a_ring_shorter_than_two_windows() -> None:
    axis = _tiles.Axis(10, 10, 1, np.array([0, 5]), 10, window(10, "hann", 5), periodic=True)
    total = np.zeros(10)
    for k in range(2):
        np.add.at(total, (axis.starts[k] + np.arange(10)) % 10, axis.window_weights(k))
    np.testing.assert_allclose(total, 1)


def test_split_joins_short_chunks_and_keeps_long_ones() -> None:
    axis = _tiles.Axis(96, 96, 1, np.arange(0, 96, 4), 4, np.ones(4))
    assert _tiles.split([0, 8, 16, 24, 32, 64, 96], axis, most=1000) == [0, 32, 64, 96]
    assert _tiles.split([0, 8, 16, 24, 32, 64, 96], axis, most=16) == [0, 16, 32, 64, 96]
    assert _tiles.split([0, 96], axis, most=1) == [0, 96]
