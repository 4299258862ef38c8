"""Block bootstrap: which points are drawn, and bounds of means. Blocks keep neighbours, of like errors, together.

Blocks are counted in points, or in time along a coordinate of dates. In time, a gap is a gap: the block that it lies in
holds fewer points, and initial times whose forecasts overlap stay together.
"""

from __future__ import annotations

import datetime
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from xatmo import cf
from xatmo.errors import DimensionError, OptionError
from xatmo.metrics._aggregate import in_one_chunk
from xatmo.typing import Floats

Ints = np.ndarray[Any, np.dtype[np.intp]]
Block = int | str | np.timedelta64 | pd.Timedelta
KINDS = ("separate", "moving", "circular")
# As AMBS, the video-prediction workflow of the GMD paper of 2022, resamples its scores of hourly initial times.
AMBS: Mapping[str, Any] = {"block": 168, "n": 1000, "seed": 42, "level": 0.9, "remainder": "drop", "least": 10,
                           "student": False}  # fmt: skip
FEW = 5
"""Blocks with fewer of which bounds are said to be rough."""
_ENOUGH = 200_000  # starts of moving blocks in time: beyond, they are spread evenly
_AT_ONCE = 2**19  # blocks that are drawn at a time, of all resamples together


@dataclass(frozen=True)
class Windows:
    """Blocks that can be drawn, as spans of the points in their order along the axis.

    Attributes
    ----------
    first, last : int array (candidate,)
        ``first`` belongs to the block, ``last`` no more; beyond the number of points they count from the beginning.
    order : int array (point,)
        Positions of the points in the order of the axis.
    drawn : int
        Blocks to a resample.
    """

    first: Ints
    last: Ints
    order: Ints
    drawn: int


@dataclass(frozen=True)
class Bootstrap:
    r"""How to resample: blocks of neighbours along one dimension, drawn with replacement.

    Attributes
    ----------
    dim : str
        Dimension that is averaged over, usually time or initial time.
    block : int, str or timedelta
        Length of a block: points, or a span of time (``"7D"``, ``"168h"``) along a coordinate of dates. It should be
        longer than errors remember; of forecasts that start often, at least as long as the longest lead time.
    n : int
        Resamples.
    seed : int
    level : float
        Probability between the bounds.
    kind : {"separate", "moving", "circular"}
        Blocks that follow one another without overlap [1]_; those that begin anywhere [2]_; or the same around the
        end, so that points near the ends are drawn as often as others [3]_.
    remainder : {"keep", "drop"}
        Whether, of separate blocks, the last one takes the points that make up no whole block.
    least : int
        Fewest whole blocks that have to fit.
    student : bool
        Whether bounds and p-values allow for there being few blocks, as Student's t does for means (see Notes).
    compat : "ambs" or None
        ``"ambs"``: blocks of 168 points, at least ten, the remainder left out, 1000 resamples, seed 42 of NumPy's older
        generator, 5 to 95 %, without Student's t, unless set otherwise.

    Notes
    -----
    Resamples of B blocks vary by (B - 1) / B of what they should, and their quantiles are those of a normal
    distribution where Student's t with B - 1 degrees of freedom holds [4]_. So distances from the median of the
    resamples are multiplied by

    .. math:: \sqrt{\frac{B}{B - 1}} \, \frac{t_{B - 1}((1 + level) / 2)}{z((1 + level) / 2)},

    1.65 for 4 blocks, 1.23 for 8, 1.03 for 52. P-values are those of the t distribution likewise. Of simulated errors
    (first order autoregression, correlation 0.8 from step to step, blocks of 24 steps) bounds of 90 % held the mean in
    87 % of the cases with 4 blocks and 88 % with 8, where plain quantiles did in 71 % and 81 %; with a correlation of
    0.95, for which such blocks are too short, in 74 % and 72 % (plain 54 % and 63 %). No correction makes up for blocks
    shorter than errors remember.

    References
    ----------
    .. [1] E. Carlstein, 1986: The use of subseries values for estimating the variance of a general statistic from a
       stationary sequence. Annals of Statistics 14, 1171-1179.
    .. [2] H. Künsch, 1989: The jackknife and the bootstrap for general stationary observations. Annals of Statistics
       17, 1217-1241.
    .. [3] D. Politis and J. Romano, 1992: A circular block-resampling procedure for stationary data. In: Exploring the
       limits of bootstrap, Wiley, 263-270.
    .. [4] T. Hesterberg, 2015: What teachers should know about the bootstrap. The American Statistician 69, 371-386.
    """

    dim: Hashable
    block: Block = 1
    n: int = 1000
    seed: int = 0
    level: float = 0.9
    kind: Literal["separate", "moving", "circular"] = "separate"
    remainder: Literal["keep", "drop"] = "keep"
    least: int = 2
    student: bool = True
    compat: Literal["ambs"] | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any] | Bootstrap) -> Bootstrap:
        """Read and check the ``bootstrap=`` keyword.

        Raises
        ------
        OptionError
            If a setting is unknown or has no usable value.
        """
        if isinstance(options, Bootstrap):
            return options
        known = tuple(cls.__dataclass_fields__)
        if not isinstance(options, Mapping) or "dim" not in options or not set(options) <= set(known):
            message = f"bootstrap={options!r}; wanted {{'dim': NAME}} and perhaps {known[1:]}"
            raise OptionError(message)
        compat = options.get("compat")
        if compat not in (None, "ambs"):
            message = f"bootstrap: compat={compat!r}; wanted 'ambs' or None"
            raise OptionError(message)
        made = cls(**({**AMBS, **options} if compat == "ambs" else options))
        if made.n < 2 or not 0 < made.level < 1 or made.least < 2:
            message = f"{made}; wanted n of at least 2, level between 0 and 1, least of at least 2"
            raise OptionError(message)
        if made.kind not in KINDS or made.remainder not in ("keep", "drop"):
            message = f"bootstrap: kind={made.kind!r}, remainder={made.remainder!r}; wanted {KINDS}, 'keep' or 'drop'"
            raise OptionError(message)
        _length(made.block)
        return made

    def windows(self, size: int, labels: pd.Index | None = None) -> Windows:
        """Blocks to draw from.

        Parameters
        ----------
        size : int
            Points along the dimension.
        labels : Index, optional
            Its coordinate, which blocks in time need.

        Raises
        ------
        OptionError
            If too few blocks fit, or blocks are in time and the labels are no dates.
        """
        length = _length(self.block)
        if isinstance(length, int):
            at, step, whole = np.arange(size, dtype=np.int64), 1, size
            span = length
            order = np.arange(size)
        else:
            times = dates_of(labels, self)
            order = np.argsort(times, kind="stable")
            at = times[order] - times[order[0]] if size else times
            steps = np.diff(at)
            steps = steps[steps > 0]
            # One step beyond the last date, so that ten weeks of hours are ten weeks.
            step, span = int(np.median(steps)) if steps.size else 1, int(length)
            whole = int(at[-1]) + step if size else 0
        blocks = whole // span
        if blocks < self.least:
            message = (
                f"bootstrap: {size} points of {self.dim!r} make {blocks} blocks of {self.block}; wanted at least "
                f"{self.least}. Give a smaller block"
            )
            raise OptionError(message)
        if self.kind == "separate":
            edges = span * np.arange(blocks + 1)
            if self.remainder == "keep":
                edges[-1] = max(whole, edges[-1])
            cuts = np.searchsorted(at, edges)
            first, last = cuts[:-1], cuts[1:]
            there = last > first
            first, last = first[there], last[there]
            if first.size < self.least:
                message = (
                    f"bootstrap: {size} points of {self.dim!r} lie in {first.size} blocks of {self.block}; wanted at "
                    f"least {self.least}. Give a smaller block"
                )
                raise OptionError(message)
            return Windows(first, last, order, int(first.size))
        end = whole if self.kind == "circular" else whole - span + 1
        starts = (
            np.arange(0, end, step) if end // step <= _ENOUGH else np.linspace(0, end - 1, _ENOUGH).astype(np.int64)
        )
        axis = np.concatenate([at, at + whole])
        first, last = np.searchsorted(axis, starts), np.searchsorted(axis, starts + span)
        first, last = first[last > first], last[last > first]  # blocks within a gap are none
        return Windows(first, last, order, max(self.least, round(size / float((last - first).mean()))))

    def draws(self, windows: Windows) -> Iterator[Ints]:
        """Which blocks resamples are made of, ``(resample, block)``, some resamples at a time.

        The numbers are those of one call for all of them: both generators go on where they stopped.
        """
        number = windows.first.size
        if self.compat == "ambs":  # the older generator is part of what is reproduced
            integers: Any = np.random.RandomState(self.seed).randint
        else:
            integers = np.random.default_rng(self.seed).integers
        # Separate blocks are counted, so that how many there are to draw from counts too.
        each = max(1, _AT_ONCE // max(1, windows.drawn, number if self.kind == "separate" else 1))
        for begin in range(0, self.n, each):
            yield np.asarray(integers(number, size=(min(each, self.n - begin), windows.drawn)), dtype=np.intp)

    def counts(self, size: int, labels: pd.Index | None = None) -> xr.DataArray:
        """How often each point is drawn, ``(resample, dim)``; 8 bytes for each of ``n`` times the points."""
        windows = self.windows(size, labels)
        out = np.empty((self.n, size))
        rest = out
        for drawn in self.draws(windows):
            rows = np.arange(len(drawn))[:, None]
            # Each block adds one from its first point to its last: the running sum of what begins less what ends.
            change = np.zeros((len(drawn), 2 * size + 1))
            np.add.at(change, (rows, windows.first[drawn]), 1)
            np.add.at(change, (rows, windows.last[drawn]), -1)
            of_point = np.cumsum(change, axis=1)[:, :-1]
            rest[: len(drawn), windows.order] = of_point[:, :size] + of_point[:, size:]
            rest = rest[len(drawn) :]
        return xr.DataArray(out, dims=("resample", self.dim))

    def add(self, part: xr.DataArray, labels: pd.Index | None = None) -> xr.DataArray:
        """Add up the points of each resample: the result has ``resample`` instead of ``dim``.

        Parameters
        ----------
        part : DataArray
            Sums by point of ``dim``; lazy ones stay so.
        labels : Index, optional
            As in `windows`.

        Notes
        -----
        In memory are some copies of ``part``, the result, and the draws of some resamples: how many points, blocks and
        resamples there are together does not matter.
        """
        windows = self.windows(part.sizes[self.dim], labels)
        kernel = _add_separate if self.kind == "separate" else _add_anywhere
        found: xr.DataArray = xr.apply_ufunc(
            partial(kernel, resampling=self, windows=windows), in_one_chunk(part, self.dim),
            input_core_dims=[[self.dim]], output_core_dims=[["resample"]], dask="parallelized",
            dask_gufunc_kwargs={"output_sizes": {"resample": self.n}}, output_dtypes=[np.float64],
        )  # fmt: skip
        return found

    def positions(self, size: int, labels: pd.Index | None = None) -> Iterator[Ints]:
        """Positions of the points of each resample, block after block as they are drawn."""
        windows = self.windows(size, labels)
        for some in self.draws(windows):
            for blocks in some:
                spans = [np.arange(windows.first[b], windows.last[b]) % size for b in blocks]
                yield windows.order[np.concatenate(spans)]

    def bounds(
        self, samples: xr.DataArray, blocks: int, *, within: tuple[float, float] = (-np.inf, np.inf)
    ) -> tuple[xr.DataArray, xr.DataArray]:
        """Quantiles of the resampled scores, wider for few blocks; NaN where one of the scores is.

        Parameters
        ----------
        samples : DataArray
            With the dimension ``resample``.
        blocks : int
            To a resample.
        within : pair of float
            Smallest and largest value that the score can have.
        """
        tail = (1 - self.level) / 2
        found = in_one_chunk(samples, "resample").quantile([tail, 0.5, 1 - tail], dim="resample", skipna=False)
        lower, middle, upper = (found.isel(quantile=side, drop=True) for side in (0, 1, 2))
        if self.student:
            wider = widening(blocks, self.level)
            # Scores that cannot exceed 1, or lie below 0, have no such bounds.
            lower, upper = (
                (middle + wider * (end - middle)).clip(*(x if np.isfinite(x) else None for x in within))
                for end in (lower, upper)
            )
        return lower, upper

    def stated(self, blocks: int) -> dict[str, Any]:
        """Give what bounds say of themselves, as attributes: few blocks among it.

        Examples
        --------
        >>> Bootstrap("time", "7D", n=200).stated(3)["comment"]
        'from 3 blocks: with fewer than 5, bounds are rough'
        """
        few = {"comment": f"from {blocks} blocks: with fewer than {FEW}, bounds are rough"} if blocks < FEW else {}
        return {"level": self.level, "blocks": blocks, "block": _written(self.block), "resamples": self.n, **few}

    def p_value(self, samples: xr.DataArray, difference: xr.DataArray, blocks: int) -> xr.DataArray:
        """Two-sided p-value of no difference: how often chance takes one as far from its mean as zero is.

        Parameters
        ----------
        samples : DataArray
            Resampled differences, along ``resample``.
        difference : DataArray
            Of all data.
        blocks : int
            To a resample.
        """
        drawn = in_one_chunk(samples, "resample")
        far = (abs(drawn - difference) >= abs(difference)).sum("resample")
        p: xr.DataArray = (1 + far) / (1 + drawn.sizes["resample"])
        if self.student:
            # Where no resample is as far, it is the spread that tells how far zero is.
            spread = drawn.std("resample")
            beyond = (abs(difference) / spread.where(spread > 0, np.finfo(float).tiny)).where(far == 0, 0.0)
            p = xr.apply_ufunc(
                partial(_as_student, blocks=blocks), p, beyond, dask="parallelized", output_dtypes=[np.float64]
            )
        return p.where(difference.notnull())


def block_bootstrap(values: xr.DataArray, **settings: Any) -> xr.Dataset:
    """Mean of scores that are there already, one for each time, with bounds from resampling blocks of times.

    Scores that `xatmo.metrics.verify` can resample itself should be left to it: it takes roots and ratios of resampled
    sums, where this averages scores, as AMBS does.

    Parameters
    ----------
    values : DataArray
        With the dimension to resample; missing values are left out.
    **settings
        ``dim`` and what else `xatmo.metrics.verify` takes as ``bootstrap``.

    Returns
    -------
    Dataset
        ``mean`` of all values, ``lower``, ``upper``, without the dimension; lazy where the input is.

    Raises
    ------
    OptionError
        If a setting has no usable value, or too few blocks fit.
    DimensionError
        If the dimension is not there.

    Examples
    --------
    >>> times = xr.date_range("2019-01-01", periods=24 * 70, freq="h", use_cftime=False)
    >>> mse = xr.DataArray(np.sin(np.arange(times.size)) ** 2, {"init_time": times}, "init_time")
    >>> found = block_bootstrap(mse, dim="init_time", compat="ambs")
    >>> [round(float(found[name]), 3) for name in ("lower", "mean", "upper")]
    [0.498, 0.5, 0.502]
    """
    resampling = Bootstrap.of(settings)
    along = resampling.dim
    if along not in values.dims:
        message = f"block_bootstrap: {along!r} is not in {values.dims}; wanted one of these as dim"
        raise DimensionError(message)
    labels = values.indexes.get(along)
    known = values.notnull()
    weight = resampling.add(known.astype(np.float64), labels)
    samples = resampling.add(values.fillna(0).astype(np.float64), labels) / weight.where(weight > 0)
    blocks = number_of_blocks(resampling, values.sizes[along], labels)
    told = resampling.stated(blocks)
    lower, upper = (b.assign_attrs(values.attrs).assign_attrs(told) for b in resampling.bounds(samples, blocks))
    best = values.mean([along], keep_attrs=True)
    out = xr.Dataset({"mean": best, "lower": lower, "upper": upper})
    return cf.add_history(out, cf.describe_call("metrics.block_bootstrap", **settings))


def number_of_blocks(resampling: Bootstrap, size: int, labels: pd.Index | None) -> int:
    """Blocks that a resample is made of: with fewer than ten, bounds are rough."""
    return resampling.windows(size, labels).drawn


def widening(blocks: int, level: float) -> float:
    """Factor by which bounds from resampling few blocks are too narrow; 1 where only one block is drawn.

    Examples
    --------
    >>> [round(widening(n, 0.9), 3) for n in (4, 8, 52)]
    [1.652, 1.231, 1.028]
    """
    from scipy.special import ndtri, stdtrit  # scipy.stats takes seconds to import

    if blocks < 2:
        return 1.0
    side = (1 + level) / 2
    return float(np.sqrt(blocks / (blocks - 1)) * stdtrit(blocks - 1, side) / ndtri(side))


# ---------------------------------------------------------------------- pieces
def _written(block: Block) -> str:
    length = _length(block)
    return str(block) if not isinstance(length, int) else f"{length} point{'s' * (length > 1)}"


def _as_student(p: Any, beyond: Any, *, blocks: int) -> Any:
    """Turn the p-value of a normal deviate into that of Student's t, of a spread from few blocks.

    Examples
    --------
    >>> [round(float(_as_student(0.01, beyond, blocks=5)), 5) for beyond in (0.0, 20.0)]
    [0.08258, 6e-05]
    """
    from scipy.special import ndtri, stdtr

    if blocks < 2:
        return p
    away = np.maximum(-ndtri(np.asarray(p) / 2), beyond)
    return np.minimum(2 * stdtr(blocks - 1, -away * np.sqrt((blocks - 1) / blocks)), 1.0)


def _add_separate(values: Any, *, resampling: Bootstrap, windows: Windows) -> Floats:
    """Sum points by block, and blocks as often as they are drawn; ``(..., point)`` to ``(..., resample)``."""
    cuts = np.append(windows.first, windows.last[-1])
    sums = np.add.reduceat(np.asarray(values, np.float64)[..., windows.order][..., : cuts[-1]], cuts[:-1], axis=-1)
    blocks = windows.first.size
    out = []
    for drawn in resampling.draws(windows):
        flat = drawn + blocks * np.arange(len(drawn))[:, None]
        often = np.bincount(flat.ravel(), minlength=len(drawn) * blocks).reshape(len(drawn), blocks)
        out.append(sums @ often.T.astype(np.float64))
    return np.concatenate(out, axis=-1)


def _add_anywhere(values: Any, *, resampling: Bootstrap, windows: Windows) -> Floats:
    """Sum points of blocks that overlap: of each, the running sum to its last point less that to its first.

    Means are taken off first, so that running sums stay small, and end at zero where an axis closes upon itself.
    """
    from scipy.sparse import csr_array

    size = windows.order.size
    rows = np.asarray(values, np.float64)[..., windows.order].reshape(-1, size)
    mean = rows.mean(axis=1)
    running = np.zeros((size + 1, len(rows)))
    np.cumsum((rows - mean[:, None]).T, axis=0, out=running[1:])
    begins, ends = windows.first % size, np.where(windows.last > size, windows.last - size, windows.last)
    lengths = windows.last - windows.first
    out = []
    for drawn in resampling.draws(windows):
        number, blocks = drawn.shape
        at = np.stack([ends[drawn], begins[drawn]], axis=-1)
        signs = np.tile([1.0, -1.0], number * blocks)
        chosen = csr_array((signs, at.ravel(), np.arange(0, at.size + 1, 2 * blocks)), shape=(number, size + 1))
        out.append((chosen @ running).T + mean[:, None] * lengths[drawn].sum(axis=1))
    return np.concatenate(out, axis=-1).reshape((*np.shape(values)[:-1], resampling.n))


def _length(block: Any) -> int | np.int64:
    """Length of a block: points as an int, or nanoseconds as np.int64."""
    # NumPy counts timedelta64 among its whole numbers.
    if isinstance(block, int | np.integer) and not isinstance(block, bool | np.timedelta64):
        if block >= 1:
            return int(block)
    elif isinstance(block, str | np.timedelta64 | datetime.timedelta):
        try:
            found = pd.Timedelta(block)
        except ValueError:
            found = pd.Timedelta(0)
        if found > pd.Timedelta(0):
            return np.int64(found.as_unit("ns").value)
    message = f"bootstrap: block={block!r}; wanted block of at least 1: a number of points, or a time such as '7D'"
    raise OptionError(message)


def dates_of(labels: pd.Index | None, resampling: Bootstrap) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Nanoseconds since the first label, of dates of any calendar or of spans of time."""
    if labels is not None and len(labels) and not labels.hasnans:
        if isinstance(labels, pd.DatetimeIndex | pd.TimedeltaIndex):
            return np.asarray(labels.as_unit("ns").asi8)
        if isinstance(labels, xr.CFTimeIndex):
            return np.asarray([pd.Timedelta(t - labels[0]).as_unit("ns").value for t in labels], dtype=np.int64)
    came = "has no coordinate" if labels is None else f"has labels of type {labels.dtype}"
    message = (
        f"bootstrap: block={resampling.block!r} is a span of time, but {resampling.dim!r} {came}; wanted dates along "
        "it, or a block in points"
    )
    raise OptionError(message)
