"""Windows cover every point, whatever the sizes; they wrap only where they may."""

from __future__ import annotations

import time
from collections.abc import Hashable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xatmo.errors import DimensionError, OptionError
from xatmo.patches import Plan, plan


@st.composite
def plans(draw: st.DrawFn, max_size: int = 24, max_dims: int = 3) -> Plan:
    sizes: dict[Hashable, int] = {}
    patch: dict[Hashable, int] = {}
    overlap: dict[Hashable, int] = {}
    for d in "abc"[: draw(st.integers(1, max_dims))]:
        sizes[d] = draw(st.integers(1, max_size))
        patch[d] = draw(st.integers(1, sizes[d]))
        overlap[d] = draw(st.integers(0, patch[d] - 1))
    periodic = [d for d in sizes if draw(st.booleans())]
    origin = {d: draw(st.integers(0, sizes[d] - 1)) for d in periodic}
    backward = [d for d in sizes if draw(st.booleans())]
    return plan(sizes, patch, overlap=overlap, periodic=periodic, origin=origin, backward=backward)


@settings(max_examples=200, deadline=None)
@given(plans())
def test_every_point_is_covered_and_windows_stay_inside(p: Plan) -> None:
    for d, n in p.sizes.items():
        first = p.starts[d]
        points = first[:, None] + np.arange(p.patch_size[d])
        assert first.min() >= 0
        assert first.max() < n
        if d not in p.periodic:
            assert points.max() < n
        assert set((points % n).ravel()) == set(range(n))


@settings(max_examples=200, deadline=None)
@given(plans(max_dims=1))
def test_neighbours_share_at_least_the_overlap(p: Plan) -> None:
    (d,) = p.sizes
    n, length, shared = p.sizes[d], p.patch_size[d], p.overlap[d]
    ordered = np.sort(p.starts[d])
    gaps = np.diff(ordered)
    if d in p.periodic:
        gaps = np.diff(np.append(ordered, ordered[0] + n))
        if length == n and shared == 0:
            return
    assert (gaps <= length - shared).all()


@settings(max_examples=200, deadline=None)
@given(plans(max_dims=1), st.integers(-30, 30), st.integers(-3, 30))
def test_windows_covering_equals_looking_at_every_point(p: Plan, start: int, length: int) -> None:
    (d,) = p.sizes
    n = p.sizes[d]
    wanted = set(range(start, start + length))
    if d in p.periodic:
        wanted = {i % n for i in wanted}
    found = [k for k, s in enumerate(p.starts[d]) if wanted & {int(i) % n for i in range(s, s + p.patch_size[d])}]
    assert p.windows_covering(d, start, start + length).tolist() == found


@given(plans())
def test_numbering_is_the_same_in_every_view(p: Plan) -> None:
    every = p.starts_array()
    assert every.shape == (len(p), len(p.sizes))
    np.testing.assert_array_equal(every, p.starts_of(np.arange(len(p))))
    for i in {0, len(p) // 2, len(p) - 1}:
        assert list(p.start(i).values()) == every[i].tolist()
        assert p.start(i - len(p)) == p.start(i)
        assert [int(p.starts[d][k]) for d, k in zip(p.sizes, p.index(i), strict=True)] == every[i].tolist()
    assert [tuple(s.values()) for s in p] == [tuple(s) for s in every.tolist()]


def test_last_window_shifts_inward_and_wraps_on_a_circle() -> None:
    line = plan({"x": 10}, {"x": 4})
    assert line.starts["x"].tolist() == [0, 4, 6]
    circle = plan({"x": 10}, {"x": 4}, periodic=["x"])
    assert circle.starts["x"].tolist() == [0, 4, 8]
    assert circle.along("x").tolist() == [[0, 4], [4, 8], [8, 12]]
    np.testing.assert_array_equal(circle.indexers(2)["x"], [8, 9, 0, 1])
    assert circle.indexers(1)["x"] == slice(4, 8)
    assert plan({"x": 10}, {"x": 10}, periodic=["x"]).starts["x"].tolist() == [0]
    assert plan({"x": 10}, {"x": 10}, overlap={"x": 4}, periodic=["x"]).starts["x"].tolist() == [0, 6]


def test_origin_and_backward_lay_the_same_windows_on_shifted_and_mirrored_data() -> None:
    field = np.arange(10)
    p = plan({"x": 10}, {"x": 4}, periodic=["x"])
    shifted = plan({"x": 10}, {"x": 4}, periodic=["x"], origin={"x": 3})
    rolled = np.roll(field, 3)
    for i in range(len(p)):
        np.testing.assert_array_equal(field[p.indexers(i)["x"]], rolled[shifted.indexers(i)["x"]])
    p, mirrored = plan({"x": 10}, {"x": 4}), plan({"x": 10}, {"x": 4}, backward=["x"])
    for i in range(len(p)):
        np.testing.assert_array_equal(field[p.indexers(i)["x"]], field[::-1][mirrored.indexers(i)["x"]][::-1])


def test_plans_compare_and_print() -> None:
    a, b = (plan({"x": 10, "y": 3}, {"x": size}) for size in (4, 5))
    assert a == plan({"x": 10, "y": 3}, {"x": 4})
    assert a != b
    assert a != 3
    assert hash(a) == hash(plan({"x": 10, "y": 3}, {"x": 4}))
    assert repr(a) == "<Plan 3 windows (x: 3 x 4 of 10, y: 1 x 3 of 3)>"
    assert a.dims == ("x", "y")
    with pytest.raises(ValueError, match="read-only"):
        a.starts["x"][0] = 1


def test_two_million_windows_in_a_tenth_of_a_second() -> None:
    def once() -> float:
        start = time.process_time()
        p = plan({"time": 8760, "lat": 721, "lon": 1440}, {"time": 1, "lat": 64, "lon": 96}, periodic=["lon"])
        assert len(p) == 8760 * 12 * 15
        p.starts_array()
        return time.process_time() - start

    assert min(once() for _ in range(5)) < 0.3  # a tenth on an idle machine; shared ones are slower


@pytest.mark.parametrize(
    ("sizes", "patch", "kwargs", "error", "match"),
    [
        ({"x": 4}, {"x": 5}, {}, DimensionError, "a patch of 5 points does not fit into dimension 'x' of 4"),
        ({"x": 4}, {"y": 2}, {}, DimensionError, r"patch size names dimension 'y', which is not among \('x',\)"),
        ({"x": 4}, {"x": 2}, {"overlap": {"y": 1}}, DimensionError, "overlap names dimension 'y'"),
        ({"x": 4}, {"x": 2}, {"periodic": ["y"]}, DimensionError, "periodic names dimension 'y'"),
        ({"x": 4}, {"x": 0}, {}, OptionError, "patch size 0 came for 'x'; wanted 1 to 4"),
        ({"x": 4}, {"x": 2.5}, {}, OptionError, "patch size 2.5 came for 'x'; wanted a whole number"),
        ({"x": 4}, {"x": "wide"}, {}, OptionError, "patch size 'wide' came for 'x'"),
        ({"x": 4}, {"x": 2}, {"overlap": {"x": -1}}, OptionError, "overlap -1 came for 'x' with patches of 2"),
        ({"x": 4}, {"x": 2}, {"overlap": {"x": 2}}, OptionError, "overlap 2 came for 'x'.*wanted 0 to 1"),
        ({"x": 0}, {}, {}, DimensionError, "dimension 'x' has no points"),
    ],
)  # fmt: skip
def test_errors(sizes: Any, patch: Any, kwargs: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        plan(sizes, patch, **kwargs)


def test_asking_for_what_is_not_there() -> None:
    p = plan({"x": 4}, {"x": 2})
    with pytest.raises(DimensionError, match="the plan has no dimension 'y'"):
        p.along("y")
    with pytest.raises(DimensionError, match="the plan has no dimension 'y'"):
        p.windows_covering("y", 0, 1)
    with pytest.raises(IndexError, match="window 2 asked of a plan of 2 windows"):
        p.index(2)
