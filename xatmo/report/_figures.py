"""Figures of a report, as PNG inside the page."""

from __future__ import annotations

import base64
import functools
import io
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xatmo import metrics
from xatmo.errors import XatmoError
from xatmo.report._measures import Measured
from xatmo.report._runs import Run

_DPI = 110
_LEGEND = 36  # letters of a name in a line
_SMALL_LOSS = "The losses are those that each run was trained with: compare runs by them only where these are the same."


@dataclass(frozen=True)
class Figure:
    """A picture with its title and what a reader has to know.

    Attributes
    ----------
    title, caption : str
    png : str
        Base64.
    """

    title: str
    caption: str
    png: str


def encoded(axes: Any) -> str:
    """PNG of a figure, in base64; the figure is closed."""
    import matplotlib.pyplot as plt

    ax = axes.ravel()[0] if isinstance(axes, np.ndarray) else axes
    _legible(ax.figure)
    kept = io.BytesIO()
    ax.figure.savefig(kept, format="png", dpi=_DPI, bbox_inches="tight", facecolor="white")
    plt.close(ax.figure)
    return base64.b64encode(kept.getvalue()).decode()


def _legible(figure: Any) -> None:
    """Show names that have dollar signs and are no formulas as they are, and break those that run over others."""
    from matplotlib.mathtext import MathTextParser
    from matplotlib.text import Text

    parser = MathTextParser("path")
    for text in figure.findobj(Text):
        if "$" in text.get_text():
            try:
                parser.parse(text.get_text())
            except ValueError:
                text.set_parse_math(False)
    for ax in figure.axes:
        points = 72 * figure.get_figwidth() * ax.get_position().width
        _broken(ax.title, max(20, int(points / (0.55 * ax.title.get_fontsize()))))
    for legend in [*figure.legends, *(ax.get_legend() for ax in figure.axes if ax.get_legend() is not None)]:
        for text in legend.get_texts():
            _broken(text, _LEGEND)


def _broken(text: Any, width: int) -> None:
    lines = text.get_text().split("\n")
    if max(map(len, lines)) > width and not text.get_text().startswith("$"):
        text.set_text(
            "\n".join(part for line in lines for part in textwrap.wrap(line, width, break_on_hyphens=False) or [""])
        )


class Album:
    """Figures one after the other; what cannot be drawn is told in ``notes``."""

    def __init__(self) -> None:
        self.figures: list[Figure] = []
        self.notes: list[str] = []

    def add(self, title: str, caption: str, draw: Callable[[], Any]) -> None:
        """Draw one."""
        import matplotlib.pyplot as plt

        before = set(plt.get_fignums())
        try:
            self.figures.append(Figure(title, caption, encoded(draw())))
        except XatmoError as error:
            self.notes.append(f"{title}: {error.args[0] if error.args else error}")
            for number in set(plt.get_fignums()) - before:
                plt.close(number)


def of_variable(measured: Mapping[str, Measured], truth: Measured, coarse: xr.DataArray | None, when: str) -> Album:
    """All figures of one variable."""
    from xatmo import plot

    album = Album()
    runs = {n: m.parts for n, m in measured.items()}
    first = truth.parts.get("map")
    if first is not None:
        panels = {"truth": first, **({} if coarse is None else {"coarse": coarse})}
        panels |= {n: p["map"] for n, p in runs.items() if "map" in p}
        album.add("Maps", when, lambda: plot.maps(panels, robust=True))
        misses = {n: _minus(p["map"], first) for n, p in runs.items() if "map" in p}
        if misses:
            album.add(
                "Differences", f"{when}. Run minus truth.".removeprefix(". "), lambda: plot.maps(misses, robust=True)
            )
    lines = {"truth": truth.parts, **runs}
    spectra = {n: p["spectrum"] for n, p in lines.items() if "spectrum" in p}
    if spectra:
        marks = _marks(measured)
        text = "Mean over all times." + " Dotted: effective resolution." * bool(marks)
        album.add("Spectra", text, lambda: plot.spectra(spectra, effective_resolution=marks))
    if "truth" in spectra and len(spectra) > 1:
        base = spectra["truth"]
        ratios = {n: _over(s, base) for n, s in spectra.items() if n != "truth"}
        text = "Power over that of the truth. Shaded: within a factor of 1.5."
        album.add("Power ratio", text, lambda: plot.power_ratio(ratios))
    moments = {n: p["moments"] for n, p in runs.items() if "moments" in p}
    for order, title in (("mean", "Mean in time"), ("std", "Standard deviation in time")):
        if moments:
            album.add(title, "Difference: run minus truth.", functools.partial(plot.moments, moments, orders=[order]))
    errors = {n: p["temporal"] for n, p in runs.items() if "temporal" in p}
    if errors:
        text = "Pale: at each time; bold: running mean. Total variation below 0: too smooth."
        album.add("Error in time", text, lambda: plot.temporal_error(errors))
    kinds: tuple[tuple[str, str, Callable[..., Any], str], ...] = (
        ("ranks", "Ranks of the truth among the members", plot.rank_histogram, "Even ranks are reliable."),
        ("spread", "Spread and error", plot.spread_skill, "Spread of the members beside the error of their mean."),
    )
    for key, title, draw, text in kinds:
        found = {n: p[key] for n, p in runs.items() if key in p}
        if found:
            album.add(title, text, functools.partial(draw, found))
    _places(album, {n: p["places"] for n, p in lines.items() if "places" in p})
    return album


def _places(album: Album, places: Mapping[str, xr.DataArray]) -> None:
    from xatmo import plot

    if "truth" not in places or len(places) < 2:
        return
    truth = places["truth"]
    others = {n: da for n, da in places.items() if n != "truth"}
    text = "Boxes: quartiles and median; whiskers from the 9th to the 91st percentile."
    album.add("Values at places", text, lambda: plot.cities(places))
    album.add("Distributions at places", "Grey: histogram of the truth.", lambda: plot.cities(places, kind="density"))
    album.add("Places", "", lambda: plot.cities(truth, kind="map", title=""))
    text = "At how many places the Wasserstein distance to the truth is smaller or larger by more than 10 %."
    if len(others) > 1:
        album.add("Better or worse at places", text, lambda: plot.city_table(metrics.city_table(others, truth)))


def of_training(runs: list[Run]) -> Album:
    """Learning curves: of all runs together, and of each with the parts of its loss."""
    from xatmo import plot

    album = Album()
    histories = {run.name: run.history for run in runs if run.history is not None and len(run.history)}
    if len(histories) > 1:
        album.add("Learning curves", _SMALL_LOSS, lambda: plot.learning_curve(histories))
    for name, history in histories.items():
        album.add(f"Losses of {name}", "", functools.partial(plot.learning_curve, history))
    return album


# ---------------------------------------------------------------------- pieces
def _minus(field: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    """Difference on the labels of the truth, in whichever order rows and columns came."""
    from xatmo.metrics import bias

    return bias(field, truth, dim=()).assign_attrs(long_name="difference", units=truth.attrs.get("units", ""))


def _over(spectrum: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio: xr.DataArray = spectrum / truth.where(truth > 1e-12 * float(truth.max()))
    dim = next(d for d in ("degree", "wavenumber") if d in ratio.dims)
    return ratio.assign_coords({dim: truth[dim]}).assign_attrs(units="1")


def _marks(measured: Mapping[str, Measured]) -> dict[str, float]:
    name = "effective_resolution"
    return {n: float(m.scores[name]) for n, m in measured.items() if name in m.scores and m.scores[name].ndim == 0}
