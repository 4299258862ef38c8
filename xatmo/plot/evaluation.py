"""Predictions against the truth: maps of their moments and of large misses, and errors as they come and go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.ticker import MaxNLocator

from xatmo import cf
from xatmo.errors import CoordinateError, OptionError, VariableError
from xatmo.plot import maps, style

if TYPE_CHECKING:
    pass

_MOMENTS = {"mean": "mean", "std": "standard deviation", "skewness": "skewness", "kurtosis": "excess kurtosis"}
_RUNNING = "_running"
_QUANTITIES = {"mse": "mean square error", "total_variation_difference": "total variation,\nprediction - truth"}


def moments(
    moments: xr.Dataset | Mapping[str, xr.Dataset],
    *,
    orders: Sequence[str] = ("mean", "std"),
    robust: bool = True,
    title: str | None = None,
    coastlines: bool = True,
) -> np.ndarray[Any, Any]:
    """Draw maps of the moments of the truth and of predictions, and of their differences.

    Parameters
    ----------
    moments : Dataset or mapping
        What `xatmo.metrics.moments` gave along time: ``target_mean``, ``prediction_mean``, ``mean_difference``, the
        same with ``std`` and so on; or names of predictions to that.
    orders : sequence of str
        Which of ``mean``, ``std``, ``skewness``, ``kurtosis``: one row for each and each prediction.
    robust : bool
        As in `maps`.
    title : str, optional
        Of the figure.
    coastlines : bool
        As in `map`.

    Returns
    -------
    array of Axes
        Three columns: truth, prediction, difference. Truth and predictions share a range, differences of one order
        share one around zero.

    Raises
    ------
    OptionError
        If there is nothing to draw.
    VariableError
        If a moment is missing.
    """
    named = {"": moments} if isinstance(moments, xr.Dataset) else dict(moments)
    if not named or not orders:
        message = "moments got nothing to draw; wanted what metrics.moments gives, or names to that"
        raise OptionError(message)
    panels: dict[str, xr.DataArray] = {}
    groups: dict[str, str] = {}
    for order in orders:
        for name, ds in named.items():
            after = f" ({name})" if name else ""
            kind = _MOMENTS.get(order, order)
            texts = (f"truth, {kind}{after}", f"{name or 'prediction'}, {kind}", f"difference, {kind}{after}")
            variables = (f"target_{order}", f"prediction_{order}", f"{order}_difference")
            for text, variable in zip(texts, variables, strict=True):
                part = "difference" if variable.endswith("_difference") else "value"
                field = _variable(ds, variable)
                # A mean has the sign of its field, which the names tell; a standard deviation has none.
                signed = str(field.attrs.get("long_name", "")) if order == "mean" else ""
                panels[text] = field.assign_attrs(
                    long_name=part if part == "difference" else kind, standard_name=signed
                )
                groups[text] = f"{order} {part}"
    return maps.maps(panels, columns=3, groups=groups, robust=robust, title=title, coastlines=coastlines)


def exceedances(
    exceedances: xr.Dataset | Mapping[str, xr.Dataset],
    *,
    quantity: str = "frequency",
    title: str | None = None,
    coastlines: bool = True,
) -> np.ndarray[Any, Any]:
    """Draw maps of how often a prediction misses small scales by more than some amounts.

    Parameters
    ----------
    exceedances : Dataset or mapping
        What `xatmo.metrics.high_pass_exceedance` gave: ``frequency`` and ``count`` by ``threshold``, ``rms``; or names
        of predictions to that.
    quantity : {"frequency", "count", "rms"}
        Which of them.
    title : str, optional
        Of the figure.
    coastlines : bool
        As in `map`.

    Returns
    -------
    array of Axes
        One row for each prediction, one column for each threshold; panels of one threshold share a range.

    Raises
    ------
    OptionError
        If there is nothing to draw.
    VariableError
        If the quantity is missing.
    """
    named = {"": exceedances} if isinstance(exceedances, xr.Dataset) else dict(exceedances)
    if not named:
        message = "exceedances got nothing to draw; wanted what metrics.high_pass_exceedance gives, or names to that"
        raise OptionError(message)
    panels: dict[str, xr.DataArray] = {}
    groups: dict[str, str] = {}
    columns = 1
    for name, ds in named.items():
        field = _variable(ds, quantity)
        levels = field["threshold"].values if "threshold" in field.dims else [None]
        columns = len(levels)
        units = style.pretty_units(ds["rms"].attrs.get("units") if "rms" in ds else "")
        for i, level in enumerate(levels):
            part = field if level is None else field.isel(threshold=i, drop=True)
            above = (
                "root mean square error of small scales" if level is None else f"error above {level:g} {units}".strip()
            )
            text = f"{name}\n{above}" if name else above
            if quantity == "frequency":
                part = (100 * part).assign_attrs(units="%", long_name="share of the times")
            panels[text], groups[text] = part, above
    return maps.maps(panels, columns=columns, groups=groups, title=title, coastlines=coastlines)


def temporal_error(
    errors: xr.Dataset | Mapping[str, xr.Dataset],
    *,
    quantities: Sequence[str] = ("mse", "total_variation_difference"),
    distribution: bool = True,
    title: str | None = None,
) -> np.ndarray[Any, Any]:
    """Draw errors by time: pale as they are, bold as running means, and how often each value occurs.

    Parameters
    ----------
    errors : Dataset or mapping
        What `xatmo.metrics.temporal_error` gave: ``mse``, ``total_variation_difference``, and the same with
        ``_running``; or names of predictions to that.
    quantities : sequence of str
        Which of them, one row each.
    distribution : bool
        Whether to draw histograms beside the lines.
    title : str, optional
        Of the figure.

    Returns
    -------
    array of Axes
        One row for each quantity; a second column with the histograms.

    Raises
    ------
    OptionError
        If there is nothing to draw, or an error has a dimension beside time.
    VariableError
        If a quantity is missing.

    Examples
    --------
    >>> time = np.datetime64("2020-01-01", "ns") + np.arange(5) * np.timedelta64(1, "D")
    >>> errors = xr.Dataset({"mse": ("time", np.arange(5.0), {"units": "K2"})}, {"time": time})
    >>> temporal_error(errors, quantities=["mse"])[0, 0].get_ylabel()
    'mean square error (K²)'
    """
    named = {"": errors} if isinstance(errors, xr.Dataset) else dict(errors)
    if not named or not quantities:
        message = "temporal_error got nothing to draw; wanted what metrics.temporal_error gives, or names to that"
        raise OptionError(message)
    columns = 2 if distribution else 1
    figure, axes = plt.subplots(
        len(quantities), columns, figsize=(9.6 if distribution else 7.6, 2.6 * len(quantities) + 0.5), squeeze=False,
        layout="constrained", width_ratios=[3.2, 1][:columns], sharey="row",
    )  # fmt: skip
    colour = style.colours(list(named))
    for row, quantity in zip(axes, quantities, strict=True):
        ax = row[0]
        for name, ds in named.items():
            line, smooth = _variable(ds, quantity), ds.get(quantity + _RUNNING)
            time = _time(line)
            if line.ndim != 1:
                message = f"{quantity!r}{f' of {name!r}' if name else ''} has dimensions {line.dims}; wanted time alone"
                raise OptionError(message)
            x, paint = line[time].values, colour[name]
            if smooth is None:
                ax.plot(x, line.values, color=paint, lw=1.4, label=name or None)
            else:
                ax.plot(x, line.values, color=paint, lw=0.8, alpha=0.35)
                ax.plot(x, smooth.values, color=paint, lw=2.0, label=name or "running mean")
            if distribution:
                values = line.values[np.isfinite(line.values)]
                look: Any = {"orientation": "horizontal", "density": True, "histtype": "step", "lw": 1.4}
                row[1].hist(values, bins=20, color=paint, **look)
        if quantity.endswith("difference"):
            for each in row:
                each.axhline(0, color="0.3", lw=0.9)
        ax.set_ylabel(
            style.with_units(_QUANTITIES.get(quantity, quantity), line.attrs.get("units")), fontsize=style.LABEL
        )
        if x.dtype.kind == "M":
            style.dates(ax)
        for each in row:
            style.finish(each, None, legend=False)
        if distribution:
            row[1].set_xticks([])
    if distribution:
        axes[-1, 1].set_xlabel("how often", fontsize=style.LABEL)
    axes[-1, 0].set_xlabel("time", fontsize=style.LABEL)
    for ax in axes[:, 0]:
        ax.yaxis.set_major_locator(MaxNLocator(5))
    if axes[0, 0].get_legend_handles_labels()[1]:
        axes[0, 0].legend(fontsize=style.TICK, frameon=False, ncols=4, loc="lower right", bbox_to_anchor=(1.0, 1.0))
    if title is not None:
        figure.suptitle(title, fontsize=style.TITLE + 1)
    made: np.ndarray[Any, Any] = axes
    return made


# ---------------------------------------------------------------------- pieces
def _variable(ds: xr.Dataset, name: str) -> xr.DataArray:
    if name not in ds:
        message = f"no {name!r}; there are {sorted(map(str, ds.data_vars))}. Of several variables choose one first"
        raise VariableError(message)
    return ds[name]


def _time(line: xr.DataArray) -> str:
    try:
        return str(cf.time(line))
    except CoordinateError:
        return str(line.dims[0])
