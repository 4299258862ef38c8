"""Power by zonal wavenumber and frequency, with the curves of equatorial waves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.colors import BoundaryNorm, LinearSegmentedColormap, LogNorm
from matplotlib.ticker import MaxNLocator

from xatmo.errors import DimensionError, OptionError
from xatmo.plot import style
from xatmo.spectral import equatorial_wave
from xatmo.typing import XarrayObject

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from xatmo.typing import Floats

WAVENUMBERS = ("zonal_wavenumber", "wavenumber")
_PERIODS = (3.0, 6.0, 30.0)
# Wave, its mode, and its names with the place along the axis where they are written.
_SYMMETRIC: tuple[tuple[str, int | None, tuple[tuple[float, str], ...]], ...] = (
    ("kelvin", None, ((0.3, "Kelvin"),)), ("rossby", 1, ((-0.45, "ER"),)),
    ("inertia_gravity", 1, ((-0.75, "WIG n=1"), (0.6, "EIG n=1"))),
)  # fmt: skip
_ANTISYMMETRIC: tuple[tuple[str, int | None, tuple[tuple[float, str], ...]], ...] = (
    ("mixed", None, ((-0.45, "MRG"), (0.22, "EIG n=0"))),
    ("inertia_gravity", 2, ((-0.75, "WIG n=2"), (0.6, "EIG n=2"))),
)
_PAPER = {"boxstyle": "round,pad=0.12", "fc": "white", "ec": "none", "alpha": 0.8}
_RATIOS = (0.5, 0.7, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0)


def wavenumber_frequency(
    obj: XarrayObject,
    ax: Axes | None = None,
    *,
    show: str | None = None,
    depths: Sequence[float] | None = None,
    max_wavenumber: float | None = None,
    max_frequency: float | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: Any = None,
    title: str | None = None,
) -> Axes | np.ndarray[Any, Any]:
    """Draw power, or its ratio to the background, by zonal wavenumber and frequency.

    Parameters
    ----------
    obj : Dataset or DataArray
        What `xatmo.spectral.wavenumber_frequency` gave for one variable, or `xatmo.spectral.wk_background`. Other
        dimensions than wavenumber, frequency and ``symmetry`` are averaged over; ``symmetry`` makes two panels.
    ax : Axes, optional
        Where to draw one panel; a new figure unless given.
    show : str, optional
        Variable of a Dataset: ``"power"``, ``"background"`` or ``"ratio"``, the default where there is one. Power is
        drawn on a logarithmic scale.
    depths : sequence of float, optional
        Equivalent depths in metres for which the free equatorial waves are drawn: Kelvin, equatorial Rossby (ER) and
        inertia-gravity (IG n=1) for symmetric spectra, mixed Rossby-gravity (MRG) and inertia-gravity (IG n=2) for
        antisymmetric ones. 12, 25 and 50 m with ``symmetry``, none otherwise; ``()`` draws none.
    max_wavenumber : float, optional
        Ends of the axis, in its units (cycles per km in a box); by default 15, and half of what there is in a box.
    max_frequency : float, optional
        Cycles per day; 0.8 by default with ``symmetry``, otherwise the highest.
    vmin, vmax : float, optional
        Range of colours. What is beyond takes the last colour.
    cmap : str or Colormap, optional
    title : str, optional
        By default the long name; of the figure, if there are two panels.

    Returns
    -------
    matplotlib Axes, or an array of two

    Raises
    ------
    DimensionError
        If ``obj`` is no spectrum by wavenumber and frequency.
    OptionError
        If ``show`` names no variable, or one ``ax`` is given for two panels.

    Examples
    --------
    >>> k, f = np.arange(-10, 11), np.arange(9) / 16
    >>> power = xr.DataArray(np.exp(-(f[:, None] ** 2) - (k / 5) ** 2), {"frequency": f, "zonal_wavenumber": k},
    ...                      ("frequency", "zonal_wavenumber"), attrs={"units": "K2"})
    >>> wavenumber_frequency(power).get_ylabel()
    'frequency (cycles per day)'
    """
    da = _choose(obj, show)
    wave = next(d for d in WAVENUMBERS if d in da.dims)
    others = [d for d in da.dims if d not in (wave, "frequency", "symmetry")]
    da = da.mean(others, keep_attrs=True) if others else da
    # Detrending leaves next to nothing at frequency 0.
    da = da.isel(frequency=da["frequency"].values > 0)
    names = [str(s) for s in np.atleast_1d(da["symmetry"].values)] if "symmetry" in da.coords else [""]
    panels = [da.isel(symmetry=i) for i in range(len(names))] if "symmetry" in da.dims else [da]
    if ax is not None and len(panels) > 1:
        message = f"one ax came for {len(panels)} panels; draw one: power.sel(symmetry='symmetric')"
        raise OptionError(message)
    known = names != [""]
    view = _View(
        wave,
        _ends(da, wave, max_wavenumber),
        min(float(da["frequency"].max()), (0.8 if known else np.inf) if max_frequency is None else max_frequency),
        tuple(((12.0, 25.0, 50.0) if known and wave == WAVENUMBERS[0] else ()) if depths is None else depths),
    )
    shown = [view.cut(p) for p in panels]
    scale = _scale(shown, ratio=da.name == "ratio", vmin=vmin, vmax=vmax, cmap=cmap)
    if ax is None:
        _, axes = plt.subplots(
            1, len(panels), figsize=(6.2 if len(panels) == 1 else 11, 5.0), layout="constrained", sharey=True,
            squeeze=False,
        )  # fmt: skip
        made = axes.ravel()
    else:
        made = np.array([ax])
    for i, (at, name, panel) in enumerate(zip(made, names, shown, strict=True)):
        mesh = view.draw(at, panel, scale, name, first=i == 0)
        at.set_title(name, fontsize=style.TITLE)
    _bar(made, mesh, da, scale)
    text = str(da.attrs.get("long_name", "")) if title is None else title
    if len(made) > 1:
        made[0].figure.suptitle(text, fontsize=style.TITLE + 1)
        return cast("np.ndarray[Any, Any]", made)
    made[0].set_title(f"{text}\n{names[0]}" if known and title is None else text, fontsize=style.TITLE)
    return cast("Axes", made[0])


# ---------------------------------------------------------------------- pieces
def _choose(obj: XarrayObject, show: str | None) -> xr.DataArray:
    if isinstance(obj, xr.Dataset):
        names = [str(n) for n in obj.data_vars]
        name = show or ("ratio" if "ratio" in names else names[0] if len(names) == 1 else "")
        if name not in names:
            message = f"show={show!r} came for a Dataset of {names}; wanted one of them"
            raise OptionError(message)
        da = obj[name]
        if name == "ratio" and "long_name" in obj["power"].attrs:
            what = str(obj["power"].attrs["long_name"]).removeprefix("wavenumber-frequency ")
            da = da.assign_attrs(long_name=f"{what} over its background")
    else:
        da = obj
        if show not in (None, da.name):
            message = f"show={show!r} came with a DataArray {da.name!r}; wanted a Dataset that holds it"
            raise OptionError(message)
    if "frequency" not in da.dims or not set(WAVENUMBERS) & set(da.dims):
        message = (
            f"dimensions {tuple(da.dims)} came; wanted 'frequency' and one of {WAVENUMBERS}: what "
            "wavenumber_frequency gives"
        )
        raise DimensionError(message)
    return da


def _ends(da: xr.DataArray, wave: str, limit: float | None) -> float:
    scale = 1e3 if wave == "wavenumber" else 1.0
    most = float(np.abs(da[wave]).max()) * scale
    if limit is None:
        return min(most, 15.0) if wave == WAVENUMBERS[0] else most / 2
    return min(most, limit)


class _View:
    """Axes, ticks, curves and labels of a panel."""

    def __init__(self, wave: str, limit: float, top: float, depths: Sequence[float]) -> None:
        self.wave, self.limit, self.top, self.depths = wave, limit, top, depths

    def numbers(self, da: xr.DataArray) -> Floats:
        return np.asarray(da[self.wave].values, dtype=float) * (1e3 if self.wave == "wavenumber" else 1.0)

    def cut(self, panel: xr.DataArray) -> xr.DataArray:
        """Only what is seen, and one bin more, so that contours reach the frame."""
        number, frequency = self.numbers(panel), np.asarray(panel["frequency"].values)
        step = np.diff(number).mean() if number.size > 1 else 1.0
        rise = np.diff(frequency).mean() if frequency.size > 1 else 1.0
        inside = panel.isel({self.wave: np.abs(number) < self.limit + 1.01 * step})
        return inside.isel(frequency=frequency < self.top + 1.01 * rise).transpose("frequency", self.wave)

    def draw(self, ax: Axes, panel: xr.DataArray, scale: dict[str, Any], name: str, *, first: bool) -> Any:
        number, frequency = self.numbers(panel), np.asarray(panel["frequency"].values)
        values = np.clip(np.asarray(panel.values, dtype=float), scale["levels"][0], scale["levels"][-1])
        mesh = ax.contourf(
            number, frequency, values, levels=scale["levels"], cmap=scale["cmap"], norm=scale["norm"], zorder=0
        )
        ax.set_xlim(-self.limit, self.limit)
        ax.set_ylim(float(frequency.min()), self.top)
        ax.axvline(0, color="0.2", lw=0.8, ls=(0, (4, 3)))
        self._periods(ax)
        for depth in self.depths:
            self._curves(ax, depth, name)
        unit = " (cycles per km)" if self.wave == "wavenumber" else ""
        ax.xaxis.set_major_locator(MaxNLocator(5 if unit else 7))
        ax.set_xlabel(f"zonal wavenumber{unit}\nwestward   ←   →   eastward", fontsize=style.LABEL)
        if first:
            ax.set_ylabel("frequency (cycles per day)", fontsize=style.LABEL)
        ax.tick_params(labelsize=style.TICK)
        return mesh

    def _periods(self, ax: Axes) -> None:
        low = ax.get_ylim()[0]
        for days in _PERIODS:
            if low < 1 / days < self.top:
                ax.axhline(1 / days, color="0.2", lw=0.7, ls=(0, (2, 2)))
                ax.annotate(
                    f"{days:g} d", (1, 1 / days), xycoords=("axes fraction", "data"), xytext=(-3, 2),
                    textcoords="offset points", ha="right", va="bottom", fontsize=style.TICK - 1, bbox=_PAPER, zorder=3,
                )  # fmt: skip

    def _curves(self, ax: Axes, depth: float, name: str) -> None:
        fine = np.linspace(-self.limit, self.limit, 601)
        low = ax.get_ylim()[0]
        drawn = {"symmetric": _SYMMETRIC, "antisymmetric": _ANTISYMMETRIC}.get(name, _SYMMETRIC + _ANTISYMMETRIC)
        for wave, n, labels in drawn:
            line = equatorial_wave(wave, fine, depth, n=n)
            seen = np.isfinite(line) & (line > low) & (line < self.top)
            if not seen.any():
                continue
            ax.plot(fine, line, color="black", lw=1.0, zorder=2)
            if wave in ("kelvin", "mixed"):  # one family tells the depths of all
                self._write(ax, fine, line, seen, (0.72 if wave == "kelvin" else 0.6), f"{depth:g} m", style.TICK - 2)
            if depth == sorted(self.depths)[len(self.depths) // 2]:
                for side, text in labels:
                    self._write(ax, fine, line, seen, side, text, style.TICK)

    def _write(self, ax: Axes, fine: Floats, line: Floats, seen: Any, side: float, text: str, size: float) -> None:
        """Write on a curve at a part of the axis, or as near to it as the curve is well inside the panel."""
        low = ax.get_ylim()[0]
        inside = seen & (line < 0.96 * self.top) & (line > low + 0.04 * (self.top - low))
        inside &= np.abs(fine) < 0.93 * self.limit
        if inside.any():
            at = int(np.argmin(np.where(inside, np.abs(fine - side * self.limit), np.inf)))
            ax.annotate(text, (fine[at], line[at]), ha="center", va="center", fontsize=size, zorder=3, bbox=_PAPER)


def _scale(
    panels: Sequence[xr.DataArray], *, ratio: bool, vmin: float | None, vmax: float | None, cmap: Any
) -> dict[str, Any]:
    """Levels, colours and norm; the same for all panels."""
    values = np.concatenate([np.asarray(p.values, dtype=float).ravel() for p in panels])
    values = values[np.isfinite(values) & (values > 0)]
    if not values.size:
        values = np.array([1.0])
    if ratio:
        low = 0.7 if vmin is None else vmin
        high = max(2.0, float(np.percentile(values, 99.8))) if vmax is None else vmax
        levels = np.array([x for x in _RATIOS if low - 1e-9 <= x <= high * 1.001])
        if levels.size < 3:
            levels = np.geomspace(low, high, 9)
        return {"levels": levels, "cmap": cmap or _warm(levels), "norm": BoundaryNorm(levels, 256), "log": False}
    high = float(values.max()) if vmax is None else vmax
    low = max(float(values.min()), high * 1e-6) if vmin is None else vmin
    if not high > low * 1.01:
        low, high = high / 10, high * 1.1
    levels = np.geomspace(low, high, 25)
    return {"levels": levels, "cmap": cmap or style.SEQUENTIAL, "norm": LogNorm(low, high), "log": True}


def _warm(levels: Floats) -> Any:
    """Greys below 1, where nothing stands out, and growing colours above."""
    middle = float(np.searchsorted(levels, 1.0)) / max(levels.size - 1, 1)
    middle = float(np.clip(middle, 0.02, 0.98))
    stops = [
        (0.0, "#c9ced6"), (middle * 0.999, "#f4f5f7"), (middle, "#fdf3d8"), (middle + (1 - middle) * 0.35, "#f4b860"),
        (middle + (1 - middle) * 0.7, "#d1495b"), (1.0, "#5b1647"),
    ]  # fmt: skip
    return LinearSegmentedColormap.from_list("xatmo_ratio", stops)


def _bar(axes: np.ndarray[Any, Any], mesh: Any, da: xr.DataArray, scale: dict[str, Any]) -> None:
    bar = axes[0].figure.colorbar(mesh, ax=list(axes), shrink=0.92, aspect=30, pad=0.02)
    if scale["log"]:
        low, high = np.log10(scale["levels"][[0, -1]])
        powers = np.arange(np.ceil(low - 1e-9), np.floor(high + 1e-9) + 1)
        if powers.size >= 2:
            bar.set_ticks(10.0**powers, labels=[f"$10^{{{int(p)}}}$" for p in powers])
            bar.ax.minorticks_off()
        text = "power"
    else:
        bar.set_ticks(scale["levels"], labels=[f"{x:g}" for x in scale["levels"]])
        text = "power / background"
    bar.set_label(style.with_units(text, da.attrs.get("units")), fontsize=style.LABEL)
    bar.ax.tick_params(labelsize=style.TICK)
