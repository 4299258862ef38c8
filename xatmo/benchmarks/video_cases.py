"""What the methods of a table of forecasts are trained and scored on: moving digits, and rain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xatmo import datasets
from xatmo.benchmarks.video_rows import PUBLISHED, VideoRow
from xatmo.errors import DimensionError, OptionError

IN_MEMORY = 512 << 20
"""Bytes of training sequences up to which they are drawn once; beyond, in every epoch anew."""

_CHUNK = 64
_SPLIT = 0.8  # of a record of rain, that trains
_DIGITS_PUBLISHED = 2
_SIZE_PUBLISHED = 64


@dataclass(frozen=True)
class VideoCase:
    """Records that train, records that are forecast, and how forecasts are scored.

    Attributes
    ----------
    name : {"moving-digits", "rain"}
    train, test : DataArray ([sequence], time, y, x)
    n_context, n_future : int
    settings : mapping
        Of every `xatmo.VideoForecaster`.
    floor, ceiling : float or None
        Between which the quantity lies.
    thresholds : tuple of float
        Of events, in the unit of the quantity.
    window : int
        Cells each way within which fractions of events are compared.
    area : (float, float, float, float) or None
        First and last y, first and last x of what is scored.
    starts_every : int
        Frames between initial times of one record.
    members : int
        Of forecasts that draw.
    generated : bool
    protocol : mapping
        Where the data are from, for `identity`.
    published : mapping
        Method to squared error and SSIM.
    """

    name: str
    train: xr.DataArray
    test: xr.DataArray
    n_context: int
    n_future: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    floor: float | None = None
    ceiling: float | None = None
    thresholds: tuple[float, ...] = ()
    window: int = 1
    area: tuple[float, float, float, float] | None = None
    starts_every: int = 1
    members: int = 8
    generated: bool = True
    protocol: Mapping[str, Any] = field(default_factory=dict)
    published: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Cells along the shorter side."""
        return min(self.test.sizes["y"], self.test.sizes["x"])

    @property
    def starts(self) -> Any:
        """Initial times of the forecasts that are scored: each has a whole context and a whole future."""
        times = self.test["time"].values
        return times[self.n_context - 1 : len(times) - self.n_future : self.starts_every]

    def has(self, row: VideoRow) -> bool:
        """Tell whether a method has a use here."""
        return row.least_size <= self.size

    def scored(self, fields: xr.DataArray) -> xr.DataArray:
        """Cut what is scored."""
        if self.area is None:
            return fields
        low_y, high_y, low_x, high_x = self.area
        y, x = fields["y"], fields["x"]
        return fields.isel(
            y=np.flatnonzero((y >= low_y) & (y <= high_y)), x=np.flatnonzero((x >= low_x) & (x <= high_x))
        )

    def identity(self) -> dict[str, Any]:
        """Give what numbers depend on."""
        return {
            "case": self.name, "n_context": self.n_context, "n_future": self.n_future, **self.protocol,
            "thresholds": list(self.thresholds), "window": self.window,
            "area": None if self.area is None else list(self.area), "members": self.members,
            "train": dict(self.train.sizes), "test": dict(self.test.sizes),
        }  # fmt: skip


def digits_case(
    data: str | Path | None = None,
    *,
    size: int | None = None,
    n_digits: int = 2,
    n_train: int = 6000,
    n_test: int = 500,
    n_context: int = 10,
    n_future: int = 10,
    seed: int = 0,
) -> VideoCase:
    """Give moving digits: networks learn from generated sequences, and forecast others of unseen digits.

    Parameters
    ----------
    data : path, optional
        ``mnist_test_seq.npy``, the test set of Moving MNIST, to be forecast instead of generated sequences; its digits
        are of another hand than those that are learned from. See `xatmo.datasets.open_moving_mnist`.
    size : int, optional
        Rows and columns; 32, and 64 with ``data``.
    n_digits : int
        In each sequence.
    n_train, n_test : int
        Sequences that are generated.
    n_context, n_future : int
        Frames.
    seed : int

    Raises
    ------
    OptionError
        If a size is out of range, or ``data`` has another.
    DimensionError
        If ``data`` has sequences of fewer frames.

    Examples
    --------
    >>> case = digits_case(n_digits=1, n_train=4, n_test=2)
    >>> dict(case.test.sizes), len(case.starts)
    ({'sequence': 2, 'time': 20, 'y': 32, 'x': 32}, 1)
    """
    size = size or (32 if data is None else _SIZE_PUBLISHED)
    if data is not None and (size, n_digits) != (_SIZE_PUBLISHED, _DIGITS_PUBLISHED):
        message = (
            f"size={size} and n_digits={n_digits} with {data}, which has {_DIGITS_PUBLISHED} digits on frames of "
            f"{_SIZE_PUBLISHED}; leave both out, or the file"
        )
        raise OptionError(message)
    made: dict[str, Any] = {
        "n_frames": n_context + n_future, "size": size, "n_digits": n_digits, "seed": seed,
    }  # fmt: skip
    lazily = 4 * n_train * made["n_frames"] * size**2 > IN_MEMORY
    train = datasets.moving_digits(n_train, split="train", chunks=_CHUNK if lazily else None, **made)
    if data is None:
        test = datasets.moving_digits(n_test, split="test", **made)
    else:
        test = datasets.open_moving_mnist(data)
        if test.sizes["time"] < n_context + n_future:
            message = (
                f"{data} has sequences of {test.sizes['time']} frames; n_context={n_context} and n_future={n_future} "
                "need more. Wanted fewer"
            )
            raise DimensionError(message)
        test = test.isel(time=slice(n_context + n_future))
    published = (n_context, n_future, n_digits, size) == (10, 10, _DIGITS_PUBLISHED, _SIZE_PUBLISHED)
    return VideoCase(
        "moving-digits", train, test, n_context, n_future, {"baseline": None}, 0.0, 1.0,
        generated=data is None, protocol={"seed": seed, "size": size, "n_digits": n_digits, "data": _text(data)},
        published=PUBLISHED if published else {},
    )  # fmt: skip


def rain_case(
    data: str | Path | Sequence[str | Path] | None = None,
    *,
    size: int | None = None,
    n_time: int = 720,
    n_context: int = 6,
    n_future: int = 6,
    thresholds: Iterable[float] = (1.0, 5.0, 10.0),
    window: int = 9,
    area: Sequence[float] | None = None,
    starts_every: int = 3,
    members: int = 8,
    seed: int = 0,
) -> VideoCase:
    """Give rain of a radar: networks learn from the first four fifths of a record, and forecast the rest.

    A gap as long as a context and a future lies between.

    Parameters
    ----------
    data : path or several, optional
        Files of a radar, see `xatmo.datasets.open_radar`; generated rain unless given.
    size : int, optional
        Generated: rows and columns, 2 km apart; 64.
    n_time : int
        Generated: fields, 10 minutes apart.
    n_context, n_future : int
        Frames.
    thresholds : sequence of float
        Events are rates at or above these, in mm h-1.
    window : int
        Cells each way of the windows whose fractions of events are compared.
    area : (float, float, float, float), optional
        First and last y, first and last x, in the coordinates of the fields, of what is scored.
    starts_every : int
        Frames between initial times.
    members : int
        Of forecasts that draw.
    seed : int

    Raises
    ------
    OptionError
        If the record is too short, there is no threshold, or the area is empty.

    Examples
    --------
    >>> case = rain_case(size=16, n_time=80)
    >>> case.train.sizes["time"], case.test.sizes["time"], len(case.starts)
    (52, 16, 2)
    """
    if data is None:
        side = size or 64
        rain = datasets.rain_fields(n_time, (side, side), spacing=2000.0, seed=seed)
    elif size is not None:
        message = f"size={size} with files, whose fields have their own; leave it out"
        raise OptionError(message)
    else:
        rain = datasets.open_radar(data)
    both, levels = n_context + n_future, tuple(float(t) for t in thresholds)
    first = round(_SPLIT * rain.sizes["time"])
    train, test = rain.isel(time=slice(first - both)), rain.isel(time=slice(first, None))
    if min(train.sizes["time"], test.sizes["time"]) < both or first <= both:
        message = (
            f"{rain.sizes['time']} fields of rain came, and a fifth of them is forecast; wanted {5 * both + 5} or more "
            f"for n_context={n_context} and n_future={n_future}"
        )
        raise OptionError(message)
    if not levels or starts_every < 1 or members < 2:
        message = f"thresholds={levels}, starts_every={starts_every}, members={members}; wanted one, 1 and 2 at least"
        raise OptionError(message)
    box = None if area is None else tuple(float(v) for v in area)
    if box is not None and len(box) != 4:
        message = f"area={area}; wanted first and last y, first and last x"
        raise OptionError(message)
    case = VideoCase(
        "rain", train, test, n_context, n_future, {"baseline": "persistence", "normalization": "log1p",
        "augmentation": "none"}, 0.0, None, levels, window, box,
        starts_every, members, data is None,
        {"seed": seed, "data": _text(data), "starts_every": starts_every, "spacing": 2000.0 if data is None else None},
    )  # fmt: skip
    cut = case.scored(test)
    if min(cut.sizes["y"], cut.sizes["x"]) < window:
        message = (
            f"area={area} leaves {cut.sizes['y']} x {cut.sizes['x']} cells, and window={window}; wanted y and x of the "
            "fields, and at least a window of them"
        )
        raise OptionError(message)
    return case


def _text(data: Any) -> Any:
    if data is None or isinstance(data, str | Path):
        return None if data is None else str(Path(data).resolve())
    return [str(Path(path).resolve()) for path in data]
