"""Splits of time into training, validation and test: disjoint, with windows that never leave their part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
import xarray as xr

from xatmo.errors import ConfigError, CoordinateError, OptionError
from xatmo.workflow.selection import is_in, numbers

PARTS: Final = ("train", "validation", "test")
_SELECTORS: Final = ("years", "months", "dates")
_GAP: Final = 1.5  # a step this many times the usual one ends a stretch


@dataclass(frozen=True)
class Splits:
    """Which frames belong to which part, and how many windows each stretch of time holds.

    Attributes
    ----------
    parts : dict
        Name (``"train"``, ``"validation"``, ``"test"``) to the positions of its frames, increasing.
    times : array (time,)
    n_window : int
        Frames that one sample covers, context and future.
    """

    parts: dict[str, Any]
    times: Any
    n_window: int

    @classmethod
    def make(cls, times: xr.DataArray, wanted: Mapping[str, Any], *, n_window: int, gap: int | str = 0) -> Splits:
        """Divide times into parts.

        Parameters
        ----------
        times : DataArray (time,)
            Increasing.
        wanted : mapping
            ``{"train": {"years": "2008to2017"}, "validation": {"years": 2018}, "test": {"years": 2019}}``; a part is
            given by ``years``, ``months`` and ``dates``, of which those that are given hold together. Validation may be
            left out. Or ``{"rotation": 2}`` for cross-validation: see `rotation`.
        n_window : int
            Frames of one sample, context and future. No sample leaves its part, nor spans a gap of time.
        gap : int or str
            Frames, or a span of time such as ``"2D"``, to leave out of training next to the other parts, and of
            validation next to the test: samples on both sides of a border are alike. 0: none.

        Raises
        ------
        OptionError
            If a part is unknown, or its times are not understood.
        ConfigError
            If two parts share times, or a part is too short for one sample.

        Examples
        --------
        >>> times = xr.DataArray(pd.date_range("2001-01-01", "2002-12-31"), dims="time", name="time")
        >>> splits = Splits.make(times, {"train": {"years": 2001}, "test": {"years": 2002}}, n_window=24, gap=3)
        >>> splits.table()[["part", "frames", "windows"]]
            part  frames  windows
        0  train     362      339
        1   test     365      342
        """
        values = times.values
        given: Any = wanted  # a file may hold anything
        if not isinstance(given, Mapping):
            message = f"splits: {given!r} came; wanted a mapping with train and test, perhaps validation, or rotation"
            raise OptionError(message)
        if "rotation" in wanted:
            wanted = rotation(sorted(set(times.dt.year.values.tolist())), **dict(wanted))
        unknown = [name for name in wanted if name not in PARTS]
        missing = [name for name in ("train", "test") if name not in wanted]
        if unknown or missing:
            came = f"part {unknown[0]!r}" if unknown else f"parts {', '.join(map(str, wanted)) or 'none'}"
            message = f"splits: {came} came; wanted train and test, perhaps validation, or rotation"
            raise OptionError(message)
        places = {name: np.flatnonzero(_chosen(times, name, wanted[name])) for name in PARTS if name in wanted}
        _refuse_overlap(places, values)
        places = _with_gaps(places, values, gap)
        splits = cls(places, values, n_window)
        for name in places:
            if not splits.windows(name):
                message = (
                    f"splits: {name} has {places[name].size} frames and no stretch of {n_window} frames at regular "
                    "steps, which one sample needs; give it more time, or make n_context and n_future smaller"
                )
                raise ConfigError(message)
        return splits

    def stretches(self, name: str) -> list[tuple[int, int]]:
        """First position and end of each stretch of a part at regular steps."""
        places = self.parts[name]
        if not places.size:
            return []
        apart = np.diff(self.times[places]) > _GAP * _usual(self.times)
        breaks = np.flatnonzero((np.diff(places) != 1) | apart) + 1
        return [(int(run[0]), int(run[-1]) + 1) for run in np.split(places, breaks)]

    def windows(self, name: str) -> int:
        """Count the samples of a part: every start whose frames are all in one of its stretches."""
        return sum(max(0, end - first - self.n_window + 1) for first, end in self.stretches(name))

    def table(self) -> pd.DataFrame:
        """List the stretches: ``part``, ``first``, ``last``, ``frames``, ``windows``."""
        rows = [
            {"part": name, "first": self.times[first], "last": self.times[end - 1], "frames": end - first,
             "windows": max(0, end - first - self.n_window + 1)}
            for name in self.parts
            for first, end in self.stretches(name)
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=["part", "first", "last", "frames", "windows"])


def rotation(
    years: Sequence[int], *, rotation: int, validation: int = 1, test: int = 1, **more: Any
) -> dict[str, dict[str, Any]]:
    """Years of one rotation of a cross-validation: training on all but those that validate and test.

    The first rotation tests on the last years and validates on those before; each further one goes as many years back,
    so that no year validates or tests twice.

    Parameters
    ----------
    years : sequence of int
    rotation : int
        From 1.
    validation, test : int
        Numbers of years.

    Returns
    -------
    dict
        As `Splits.make` takes it.

    Raises
    ------
    OptionError
        If there are not so many rotations.

    Examples
    --------
    >>> rotation(range(2007, 2020), rotation=2)["test"], rotation(range(2007, 2020), rotation=2)["validation"]
    ({'years': [2017]}, {'years': [2016]})
    """
    ordered = sorted(years)
    held = validation + test
    possible = (len(ordered) - 1) // held if validation >= 0 and test >= 1 else 0
    if more or not 1 <= rotation <= possible:
        came = f"{next(iter(more))!r}" if more else f"rotation {rotation} of {len(ordered)} years"
        message = (
            f"splits: {came} came; wanted rotation from 1 to {possible}, with the numbers of years validation "
            f"({validation}) and test ({test})"
        )
        raise OptionError(message)
    end = len(ordered) - (rotation - 1) * held
    tested, validated = ordered[end - test : end], ordered[end - held : end - test]
    rest = [year for year in ordered if year not in (*tested, *validated)]
    found = {"train": rest, "validation": validated, "test": tested}
    return {name: {"years": [int(y) for y in chosen]} for name, chosen in found.items() if chosen}


def _chosen(times: xr.DataArray, name: str, wanted: Any) -> Any:
    if not isinstance(wanted, Mapping) or not wanted or not set(wanted) <= set(_SELECTORS):
        message = f"splits: {name} is {wanted!r}; wanted a mapping with some of {', '.join(_SELECTORS)}"
        raise OptionError(message)
    for key in ("years", "months"):
        numbers(wanted.get(key), f"splits: {name}.{key}")
    return is_in(times, **wanted)


def _refuse_overlap(places: Mapping[str, Any], times: Any) -> None:
    names = list(places)
    for k, first in enumerate(names):
        for second in names[k + 1 :]:
            shared = np.intersect1d(places[first], places[second])
            if shared.size:
                message = (
                    f"splits: {first} and {second} share {shared.size} times, the first of them "
                    f"{str(times[shared[0]])[:16]}; wanted parts that share none"
                )
                raise ConfigError(message)


def _with_gaps(places: Mapping[str, Any], times: Any, gap: int | str) -> dict[str, Any]:
    """Leave frames out where parts meet: of training first, of the test never."""
    span = _span(gap, times)
    zero = np.timedelta64(0, "ns")
    kept = dict(places)
    if times.dtype.kind != "M" or span <= zero:
        return kept
    for name, others in (("validation", ("test",)), ("train", ("validation", "test"))):
        if name not in kept:
            continue
        near = np.zeros(kept[name].size, dtype=bool)
        own = times[kept[name]]
        for other in others:
            theirs = times[places[other]] if other in places else own[:0]
            if theirs.size:
                at = np.searchsorted(theirs, own)
                before, after = theirs[np.maximum(at - 1, 0)], theirs[np.minimum(at, theirs.size - 1)]
                near |= (np.abs(own - before) <= span) | (np.abs(own - after) <= span)
        kept[name] = kept[name][~near]
    return kept


def _span(gap: int | str, times: Any) -> Any:
    if isinstance(gap, int) and not isinstance(gap, bool) and gap >= 0:
        return gap * _usual(times) if gap else np.timedelta64(0, "ns")
    try:
        span = pd.Timedelta(gap) if isinstance(gap, str) else None
    except ValueError:
        span = None
    if span is None or span < pd.Timedelta(0):
        message = f"gap={gap!r} came; wanted a number of frames, or a span of time as '2D'"
        raise OptionError(message)
    return span.to_timedelta64()


def _usual(times: Any) -> Any:
    if times.size < 2:
        message = f"{times.size} times came; wanted two or more, at regular steps"
        raise CoordinateError(message)
    return np.sort(np.diff(times))[(times.size - 2) // 2]
