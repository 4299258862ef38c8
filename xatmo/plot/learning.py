"""Losses while training: of one run with its parts and phases, or of several runs side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch

from xatmo.errors import OptionError
from xatmo.plot import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_COUNTERS = ("step", "epoch", "time", "seconds", "lr")
# What a history holds beside losses: rates, shares of right judgements, numbers of extra steps.
_NO_LOSS = ("learning_rate", "true_", "false_", "extra_", "accuracy", "top1", "top3")
_PHASES = {
    "adversarial": ("adversarial", "discriminator"), "diffusion": ("denoising", "diffusion", "residual", "noise"),
}  # fmt: skip
_SHADE = "0.93"


def learning_curve(
    history: pd.DataFrame | Mapping[str, pd.DataFrame],
    ax: Axes | None = None,
    *,
    losses: Sequence[str] | None = None,
    title: str | None = None,
) -> Axes:
    """Draw the losses of one training run, or of several, against optimiser steps.

    Parameters
    ----------
    history : DataFrame or mapping
        A task's ``history``: ``step``, ``epoch`` and a column for each loss; rows may leave some of them empty. Or
        names of runs to histories: each has its colour, and of each the loss and the validation loss are drawn.
        Training losses are lines, those whose name holds ``val`` lines with dots; a ring marks the lowest of these.
        Where only the later part of a run has an adversarial or a diffusion loss, that phase is shaded; among several
        runs a dotted line in the run's colour marks its beginning.
    ax : Axes, optional
        Where to draw; a new figure unless given.
    losses : sequence of str, optional
        Columns to draw. By default, of one run all losses, which include the parts of a sum; learning rates and the
        discriminator's shares are left out.
    title : str, optional

    Returns
    -------
    matplotlib Axes
        With a logarithmic axis if all losses are positive.

    Raises
    ------
    OptionError
        If there is no column with a loss, or one of ``losses`` is in no history.

    Examples
    --------
    >>> import pandas as pd
    >>> history = pd.DataFrame({"step": [1, 2], "epoch": [0, 0], "loss": [1.0, 0.5]})
    >>> ax = learning_curve(history)
    >>> ax.get_xlabel(), ax.get_yscale()
    ('optimiser step', 'log')
    >>> [t.get_text() for t in learning_curve({"one": history, "other": history}).get_legend().get_texts()]
    ['one', 'other']
    """
    several = isinstance(history, Mapping)
    runs: dict[str, Any] = dict(history) if isinstance(history, Mapping) else {"": history}
    columns = {name: _losses(run, losses, brief=several) for name, run in runs.items()}
    if not any(columns.values()):
        have = list(dict.fromkeys(str(c) for run in runs.values() for c in run.columns))
        wanted = "" if losses is None else f", wanted {list(losses)}"
        message = f"this history has no losses, only {have}{wanted}; fit the task first"
        raise OptionError(message)
    if ax is None:
        _, ax = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    by = (
        "step"
        if all("step" in r for r in runs.values())
        else "epoch"
        if all("epoch" in r for r in runs.values())
        else ""
    )
    lines = list(dict.fromkeys(c for found in columns.values() for c in found))
    colour = style.colours(list(runs)) if several else style.colours(lines)
    dashes = {c: ("-", (0, (5, 2)), ":", (0, (4, 1, 1, 1)))[min(i // 6, 3)] for i, c in enumerate(lines)}
    smallest, best, phases = np.inf, False, []
    for name, run in runs.items():
        x = (run[by] if by else run.index.to_series()).to_numpy(dtype=float)
        for column in columns[name]:
            y = run[column].to_numpy(dtype=float)
            seen = np.isfinite(y)
            validated = "val" in column
            smallest = min(smallest, float(y[seen].min()))
            paint = colour[name if several else column]
            kind: dict[str, Any] = {"marker": "o", "ms": 3.5} if validated or seen.sum() == 1 else {}
            kind["ls"] = (0, (4, 2)) if several and validated else "-" if several else dashes[column]
            thin = several or column == "loss" or validated
            label = (name if column == columns[name][0] else None) if several else column.replace("_", " ")
            ax.plot(x[seen], y[seen], color=paint, lw=1.6 if thin else 1.1, label=label, **kind)
            if validated and seen.sum() > 1:
                at = int(np.nanargmin(y))
                ax.plot(x[at], y[at], "o", color=paint, ms=9, mfc="none", mec=paint, mew=1.4, zorder=5)
                best = True
        phases += [(name, kind_, *span) for kind_, span in _phases(run, x).items()]
    handles, labels = ax.get_legend_handles_labels()
    for name, kind_, begin, end in phases:
        if several:
            ax.axvline(begin, color=colour[name], lw=1.1, ls=":")
        else:
            ax.axvspan(begin, end, color=_SHADE, lw=0, zorder=0)
            handles, labels = [*handles, Patch(fc=_SHADE, ec="0.6", lw=0.7)], [*labels, f"{kind_} phase"]
    if smallest > 0:
        ax.set_yscale("log")
    ax.set_xlabel({"step": "optimiser step", "epoch": "epoch"}.get(by, "row"), fontsize=style.LABEL)
    ax.set_ylabel("loss (normalized units)", fontsize=style.LABEL)
    ax.tick_params(labelsize=style.TICK, which="both")
    ax.grid(True, color="0.88", lw=0.7)
    ax.set_axisbelow(True)
    ax.legend(handles, labels, fontsize=style.TICK, frameon=False, ncols=2 if len(labels) > 6 else 1)
    if several and best:
        ax.annotate("solid: training; dots: validation, lowest ringed", (0.01, 0.015), xycoords="axes fraction",
                    fontsize=style.TICK - 1, color="0.35")  # fmt: skip
    if title is not None:
        ax.set_title(title, fontsize=style.TITLE)
    return ax


def _losses(history: pd.DataFrame, wanted: Sequence[str] | None, *, brief: bool) -> list[str]:
    """Columns to draw, those that hold a number somewhere."""
    numeric = [str(c) for c in history.columns if history[c].dtype.kind in "fiu" and history[c].notna().any()]
    if wanted is not None:
        return [c for c in wanted if c in numeric]
    found = [c for c in numeric if c not in _COUNTERS and not any(part in c for part in _NO_LOSS)]
    if brief:
        short = [c for c in found if c == "loss" or "val" in c]
        return short or found[:1]
    return found


def _phases(history: pd.DataFrame, x: np.ndarray[Any, Any]) -> dict[str, tuple[float, float]]:
    """Spans of the later phases of a run: where a loss of theirs is there, and was not from the beginning."""
    found = {}
    for phase, names in _PHASES.items():
        for name in names:
            if name in history and history[name].notna().any():
                seen = history[name].notna().to_numpy()
                first = int(seen.argmax())
                if first > 0:
                    found[phase] = (float(x[first - 1]), float(x[seen].max()))
                break
    return found
