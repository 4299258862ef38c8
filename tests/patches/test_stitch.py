"""Patches cut from a field give it back, under any window."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xatmo.errors import DimensionError, OptionError
from xatmo.patches import Plan, blending_weights, plan, stitch, window

KINDS = ("hann", "triangular", "uniform", "boxcar")


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    sizes, patch, overlap = {}, {}, {}
    for d in "abc"[: draw(st.integers(1, 3))]:
        sizes[d] = draw(st.integers(1, 12))
        patch[d] = draw(st.integers(1, sizes[d]))
        overlap[d] = draw(st.integers(0, patch[d] - 1))
    periodic = [d for d in sizes if draw(st.booleans())]
    return plan(
        sizes, patch, overlap=overlap, periodic=periodic, origin={d: draw(st.integers(0, 20)) for d in periodic}
    )


def cut(field: np.ndarray[Any, Any], p: Plan, factor: int = 1) -> list[np.ndarray[Any, Any]]:
    out = []
    for start in p.starts_array():
        index = [
            np.arange(s * factor, (s + p.patch_size[d]) * factor) % (p.sizes[d] * factor)
            for s, d in zip(start, p.sizes, strict=True)
        ]
        out.append(field[(..., *np.ix_(*index))])
    return out


@settings(max_examples=150, deadline=None)
@given(plans(), st.sampled_from(KINDS), st.sampled_from([np.float32, np.float64, np.complex64]), st.integers(1, 3))
def test_patches_stitch_back_to_the_field(p: Plan, kind: str, dtype: Any, factor: int) -> None:
    field = np.random.default_rng(0).normal(size=(2, *(n * factor for n in p.sizes.values()))).astype(dtype)
    out = stitch(cut(field, p, factor), p, window=kind, factor=dict.fromkeys(p.sizes, factor))
    assert out.dtype == dtype
    np.testing.assert_allclose(out, field, rtol=1e-5 if dtype != np.float64 else 1e-13, atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(plans(), st.sampled_from(KINDS), st.integers(1, 3))
def test_weights_are_positive_and_sum_to_one(p: Plan, kind: str, factor: int) -> None:
    for d, w in blending_weights(p, kind, factor).items():
        n = p.sizes[d] * factor
        points = (p.starts[d][:, None] * factor + np.arange(w.shape[1])) % n
        assert w.min() > 0
        np.testing.assert_allclose(np.bincount(points.ravel(), w.ravel(), minlength=n), 1, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_windows_are_positive_symmetric_and_add_up_over_their_overlap(kind: str) -> None:
    for n, overlap in [(1, None), (7, None), (8, 3), (8, 4), (9, 0)]:
        w = window(n, kind, overlap)
        assert w.min() > 0
        np.testing.assert_allclose(w, w[::-1], rtol=1e-12)
        if overlap and kind in ("hann", "triangular"):
            np.testing.assert_allclose(w[:overlap] + w[-overlap:], 1, rtol=1e-12)
    two = window((4, 6), kind, (1, 2))
    np.testing.assert_allclose(two, np.outer(window(4, kind, 1), window(6, kind, 2)))


def test_a_plan_without_overlap_gives_the_field_back_bit_for_bit() -> None:
    p = plan({"y": 6, "x": 8}, {"y": 3, "x": 4})
    field = np.random.default_rng(0).normal(size=(6, 8)).astype("float32")
    np.testing.assert_array_equal(stitch(np.stack(cut(field, p)), p), field)


def test_one_number_as_factor_enlarges_what_came_enlarged() -> None:
    p = plan({"time": 4, "x": 6}, {"time": 2, "x": 4}, overlap={"x": 2})
    field = np.random.default_rng(0).normal(size=(4, 18))
    patches = [field[t : t + 2, 3 * x : 3 * (x + 4)] for t, x in p.starts_array()]
    np.testing.assert_allclose(stitch(patches, p, factor=3), field, rtol=1e-12)
    np.testing.assert_allclose(stitch(patches, p, factor={"x": 3}), field, rtol=1e-12)


def test_hann_blends_smoothly_and_uniform_takes_means() -> None:
    p = plan({"x": 12}, {"x": 8}, overlap={"x": 4})
    patches = [np.zeros(8), np.ones(8)]
    np.testing.assert_allclose(stitch(patches, p, window="uniform"), [0] * 4 + [0.5] * 4 + [1] * 4)
    blended = stitch(patches, p)
    assert (np.diff(blended) >= 0).all()
    assert blended[4] < 0.1
    assert blended[7] > 0.9


def test_nan_stays_where_it_is() -> None:
    p = plan({"x": 12}, {"x": 8}, overlap={"x": 4})
    field = np.arange(12.0)
    field[5] = np.nan
    np.testing.assert_allclose(stitch(cut(field, p), p), field)


def test_integers_halves_and_tensors() -> None:
    torch = pytest.importorskip("torch")
    p = plan({"x": 6}, {"x": 4}, overlap={"x": 2})
    assert stitch([np.arange(4), np.arange(2, 6)], p).dtype == np.float64
    assert stitch(np.ones((2, 4), dtype="float16"), p).dtype == np.float32
    tensors = [torch.ones(4, requires_grad=True), torch.ones(4, dtype=torch.bfloat16)]
    np.testing.assert_allclose(stitch(tensors, p), 1)
    np.testing.assert_allclose(stitch(iter(tensors), p), 1)


@pytest.mark.parametrize(
    ("arrays", "kwargs", "error", "match"),
    [
        (np.ones((1, 4)), {}, DimensionError, "1 patches came; the plan has 2 windows"),
        (iter([np.ones(4)]), {}, DimensionError, "1 patches came; the plan has 2 windows"),
        (iter([np.ones(4)] * 3), {}, DimensionError, "more than 2 patches came; the plan has 2 windows"),
        (np.ones((2, 5)), {}, DimensionError, r"patches of shape \(5,\) came; wanted \(..., 4\)"),
        (np.ones((2, 5)), {"factor": 2}, DimensionError, r"patches of shape \(5,\) came; wanted \(..., 8\)"),
        ([np.ones(4), np.ones(5)], {}, DimensionError, r"patch 1 has shape \(5,\), the first one \(4,\)"),
        (np.ones((2, 4)), {"window": "round"}, OptionError, "window 'round' came; wanted 'hann'"),
        (np.ones((2, 4)), {"factor": 0}, OptionError, "factor 0 came"),
        (np.ones((2, 4)), {"factor": {"y": 2}}, DimensionError, "factor names dimension 'y'"),
    ],
)
def test_errors(arrays: Any, kwargs: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        stitch(arrays, plan({"x": 6}, {"x": 4}, overlap={"x": 2}), **kwargs)


def test_a_window_cannot_rise_over_more_than_its_points() -> None:
    with pytest.raises(OptionError, match="a window of 4 points cannot rise over 5"):
        window(4, overlap=5)
