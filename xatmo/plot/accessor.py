"""``.atmo.plot``: the drawings that one object allows."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import xarray as xr

from xatmo import cf
from xatmo.errors import OptionError, VariableError
from xatmo.plot import analyses, curves, ensembles, error_bars, evaluation, exchange, lags, maps, ratios, spectra, waves
from xatmo.plot import places as drawn_places
from xatmo.plot.animation import Animation, animation
from xatmo.plot.semivariogram import semivariogram
from xatmo.typing import XarrayObject

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes


class PlotAccessor:
    """Drawings of a Dataset or DataArray; each returns matplotlib Axes.

    Parameters
    ----------
    obj : Dataset or DataArray
    """

    def __init__(self, obj: XarrayObject) -> None:
        self._obj = obj

    def map(
        self,
        variable: Hashable | None = None,
        *,
        ax: Axes | None = None,
        cmap: Any = None,
        vmin: float | None = None,
        vmax: float | None = None,
        robust: bool = False,
        colorbar: bool = True,
        title: str | None = None,
        coastlines: bool = True,
    ) -> Axes:
        """Draw one field; of a Dataset the ``variable``, if there are several. See `xatmo.plot.map`."""
        return maps.map(
            self._field(variable, "map"), ax, cmap=cmap, vmin=vmin, vmax=vmax, robust=robust, colorbar=colorbar,
            title=title, coastlines=coastlines,
        )  # fmt: skip

    def maps(
        self,
        along: Hashable | None = None,
        *,
        columns: int | None = None,
        cmap: Any = None,
        vmin: float | None = None,
        vmax: float | None = None,
        robust: bool = False,
        title: str | None = None,
        coastlines: bool = True,
    ) -> np.ndarray[Any, Any]:
        """Draw panels: the variables of a Dataset, or a DataArray ``along`` a dimension.

        See `xatmo.plot.maps`: the same units share a colour range. A dimension may have at most 16 points.
        """
        return maps.maps(
            self._panels(along), columns=columns, cmap=cmap, vmin=vmin, vmax=vmax, robust=robust, title=title,
            coastlines=coastlines,
        )  # fmt: skip

    def spectrum(
        self,
        variable: Hashable | None = None,
        *,
        ax: Axes | None = None,
        label: str | None = None,
        slopes: Sequence[float] = (),
        fit: xr.Dataset | None = None,
        effective_resolution: float | None = None,
        title: str | None = None,
    ) -> Axes:
        """Draw the spectrum of a field or wind, or a spectrum. See `xatmo.plot.spectrum`."""
        obj = self._obj if variable is None else self._field(variable, "spectrum")
        return spectra.spectrum(
            obj, ax, label=label, slopes=slopes, fit=fit, effective_resolution=effective_resolution, title=title
        )

    def coherence(
        self,
        other: XarrayObject | None = None,
        *,
        ax: Axes | None = None,
        quantity: str = "coherence",
        threshold: float | None = 0.5,
        effective_resolution: float | None = None,
        title: str | None = None,
    ) -> Axes:
        """Draw the coherence with ``other`` by scale, or that of a cross-spectrum. See `xatmo.plot.coherence`."""
        obj = self._cross(other)
        return exchange.coherence(
            obj, ax, quantity=quantity, threshold=threshold, effective_resolution=effective_resolution, title=title
        )

    def flux(
        self,
        *,
        ax: Axes | None = None,
        quantity: str = "energy",
        transfer: bool = False,
        title: str | None = None,
    ) -> Axes:
        """Draw the flux of energy or enstrophy of a wind, or fluxes, by degree. See `xatmo.plot.flux`."""
        return exchange.flux(self._dataset("flux"), ax, quantity=quantity, transfer=transfer, title=title)

    def wavenumber_frequency(
        self,
        variable: Hashable | None = None,
        *,
        ax: Axes | None = None,
        show: str | None = None,
        depths: Sequence[float] | None = None,
        max_wavenumber: float | None = None,
        max_frequency: float | None = None,
        vmin: float | None = None,
        vmax: float | None = None,
        cmap: Any = None,
        title: str | None = None,
    ) -> Axes | np.ndarray[Any, Any]:
        """Draw power by zonal wavenumber and frequency. See `xatmo.plot.wavenumber_frequency`."""
        obj = self._obj if variable is None else self._field(variable, "wavenumber_frequency")
        return waves.wavenumber_frequency(
            obj, ax, show=show, depths=depths, max_wavenumber=max_wavenumber, max_frequency=max_frequency, vmin=vmin,
            vmax=vmax, cmap=cmap, title=title,
        )  # fmt: skip

    def semivariogram(
        self,
        variable: Hashable | None = None,
        *,
        ax: Axes | None = None,
        label: str | None = None,
        slopes: Sequence[float] = (),
        yscale: str = "log",
        errors: bool = True,
        title: str | None = None,
    ) -> Axes:
        """Draw semivariograms, or those of fields. See `xatmo.plot.semivariogram`."""
        obj = self._obj if variable is None else self._field(variable, "semivariogram")
        return semivariogram(obj, ax, label=label, slopes=slopes, yscale=yscale, errors=errors, title=title)

    def interpolation(
        self,
        obs: Hashable,
        analysis: Hashable,
        *,
        error: Hashable | None = None,
        truth: Hashable | None = None,
        difference: bool = False,
        columns: int | None = None,
        cmap: Any = None,
        vmin: float | None = None,
        vmax: float | None = None,
        robust: bool = False,
        title: str | None = None,
        coastlines: bool = True,
    ) -> np.ndarray[Any, Any]:
        """Draw observations, analysis, error bars and truth, given by name. See `xatmo.plot.interpolation`."""
        given = [self._field(n, "interpolation") for n in (obs, analysis)]
        others = [None if n is None else self._field(n, "interpolation") for n in (error, truth)]
        return analyses.interpolation(
            *given, *others, difference=difference, columns=columns, cmap=cmap, vmin=vmin, vmax=vmax, robust=robust,
            title=title, coastlines=coastlines,
        )  # fmt: skip

    def tracks(
        self,
        variable: Hashable | None = None,
        *,
        ax: Axes | None = None,
        colour: str = "value",
        cmap: Any = None,
        vmin: float | None = None,
        vmax: float | None = None,
        robust: bool = False,
        title: str | None = None,
        coastlines: bool = True,
    ) -> Axes:
        """Draw the observations that this holds, where they were made. See `xatmo.plot.tracks`."""
        return analyses.tracks(
            self._field(variable, "tracks"), None, ax, colour=colour, cmap=cmap, vmin=vmin, vmax=vmax, robust=robust,
            title=title, coastlines=coastlines,
        )  # fmt: skip

    def section(
        self,
        variable: Hashable | None = None,
        *,
        truth: xr.DataArray | None = None,
        obs: xr.DataArray | None = None,
        ax: Axes | None = None,
        title: str | None = None,
    ) -> Axes:
        """Draw a field with its error bars along the one dimension left. See `xatmo.plot.section`."""
        return error_bars.section(self._dataset("section"), truth, obs, ax, variable=variable, title=title)

    def scores(self, *, columns: int | None = None, title: str | None = None) -> np.ndarray[Any, Any]:
        """Draw the scores that this Dataset holds. See `xatmo.plot.scores`."""
        obj = self._obj if isinstance(self._obj, xr.Dataset) else self._obj.to_dataset(name=self._obj.name or "score")
        return curves.scores(obj, columns=columns, title=title)

    def members(
        self,
        variable: Hashable | None = None,
        *,
        truth: xr.DataArray | None = None,
        ax: Axes | None = None,
        n: int = 3,
        title: str | None = None,
        coastlines: bool = True,
    ) -> Axes | np.ndarray[Any, Any]:
        """Draw members, as lines or maps. See `xatmo.plot.members`."""
        return ensembles.members(
            self._field(variable, "members"), truth, ax, n=n, title=title, coastlines=coastlines
        )  # fmt: skip

    def rank_histogram(self, *, ax: Axes | None = None, title: str | None = None) -> Axes:
        """Draw the ranks of the truth among members that this holds. See `xatmo.plot.rank_histogram`."""
        return ensembles.rank_histogram(self._obj, ax, title=title)

    def spread_skill(self, *, ax: Axes | None = None, title: str | None = None) -> Axes:
        """Draw the spread and the error that this Dataset holds. See `xatmo.plot.spread_skill`."""
        return ensembles.spread_skill(self._dataset("spread_skill"), ax, title=title)

    def power_ratio(self, *, ax: Axes | None = None, factor: float = 1.5, title: str | None = None) -> Axes:
        """Draw the ratios of power by scale that this holds. See `xatmo.plot.power_ratio`."""
        return ratios.power_ratio(self._obj, ax, factor=factor, title=title)

    def cities(
        self,
        variable: Hashable | None = None,
        *,
        ax: Axes | None = None,
        kind: str = "box",
        places: Sequence[Any] | None = None,
        columns: int | None = None,
        title: str | None = None,
    ) -> Axes | np.ndarray[Any, Any]:
        """Draw the values at places that this holds. See `xatmo.plot.cities`."""
        field = self._field(variable, "cities")
        return drawn_places.cities(field, ax, kind=kind, places=places, columns=columns, title=title)

    def moments(
        self,
        *,
        orders: Sequence[str] = ("mean", "std"),
        robust: bool = True,
        title: str | None = None,
        coastlines: bool = True,
    ) -> np.ndarray[Any, Any]:
        """Draw the moments that this Dataset holds. See `xatmo.plot.moments`."""
        ds = self._dataset("moments")
        return evaluation.moments(ds, orders=orders, robust=robust, title=title, coastlines=coastlines)

    def exceedances(
        self, *, quantity: str = "frequency", title: str | None = None, coastlines: bool = True
    ) -> np.ndarray[Any, Any]:
        """Draw how often small scales are missed. See `xatmo.plot.exceedances`."""
        ds = self._dataset("exceedances")
        return evaluation.exceedances(ds, quantity=quantity, title=title, coastlines=coastlines)

    def temporal_error(
        self,
        *,
        quantities: Sequence[str] = ("mse", "total_variation_difference"),
        distribution: bool = True,
        title: str | None = None,
    ) -> np.ndarray[Any, Any]:
        """Draw the errors by time that this Dataset holds. See `xatmo.plot.temporal_error`."""
        ds = self._dataset("temporal_error")
        return evaluation.temporal_error(ds, quantities=quantities, distribution=distribution, title=title)

    def confusion(self, *, ax: Axes | None = None, cmap: Any = None, title: str | None = None) -> Axes:
        """Draw which lag is told for each true lag. See `xatmo.plot.confusion`."""
        return lags.confusion(self._obj, ax, cmap=cmap, title=title)

    def accuracy_by_lag(
        self, *, ax: Axes | None = None, metrics: Sequence[str] = ("top1", "top3"), title: str | None = None
    ) -> Axes:
        """Draw how often the lag is told, lag by lag. See `xatmo.plot.accuracy_by_lag`."""
        return lags.accuracy_by_lag(self._dataset("accuracy_by_lag"), ax, metrics=metrics, title=title)

    def accuracy_map(
        self,
        *,
        variables: Sequence[str] = ("accuracy", "near", "entropy"),
        title: str | None = None,
        coastlines: bool = True,
    ) -> np.ndarray[Any, Any]:
        """Draw where the lag is told. See `xatmo.plot.accuracy_map`."""
        ds = self._dataset("accuracy_map")
        return lags.accuracy_map(ds, variables=variables, title=title, coastlines=coastlines)

    def distance_by_lag(
        self, *, ax: Axes | None = None, others: Sequence[str] = (), bands: bool = True, title: str | None = None
    ) -> Axes:
        """Draw the learned distance by lag. See `xatmo.plot.distance_by_lag`."""
        return lags.distance_by_lag(self._dataset("distance_by_lag"), ax, others=others, bands=bands, title=title)

    def embedding(
        self,
        variable: Hashable | None = None,
        *,
        ax: Axes | None = None,
        dim: str = "feature",
        colour: xr.DataArray | None = None,
        title: str | None = None,
    ) -> Axes:
        """Draw embeddings on their first two components. See `xatmo.plot.embedding`."""
        return lags.embedding(self._field(variable, "embedding"), ax, dim=dim, colour=colour, title=title)

    def animation(
        self,
        *,
        dim: Hashable | None = None,
        reference: str | None = None,
        own: Sequence[str] = (),
        latitude: tuple[float, float] | None = None,
        longitude: tuple[float, float] | None = None,
        columns: int | None = None,
        cmap: Any = None,
        vmin: float | None = None,
        vmax: float | None = None,
        robust: bool = True,
        title: str | None = None,
        coastlines: bool = True,
        dpi: float = 100,
    ) -> Animation:
        """Animate this field, or these fields side by side. See `xatmo.plot.animation`."""
        return animation(
            self._obj, dim=dim, reference=reference, own=own, latitude=latitude, longitude=longitude, columns=columns,
            cmap=cmap, vmin=vmin, vmax=vmax, robust=robust, title=title, coastlines=coastlines, dpi=dpi,
        )  # fmt: skip

    def _cross(self, other: XarrayObject | None) -> xr.Dataset:
        if other is None:
            return self._dataset("coherence")
        from xatmo import spectral

        return spectral.cross_spectrum(self._obj, other)

    def _dataset(self, what: str) -> xr.Dataset:
        if isinstance(self._obj, xr.Dataset):
            return self._obj
        message = f"{what}: a DataArray came; wanted a Dataset" + (", or another field" if what == "coherence" else "")
        raise OptionError(message)

    def _panels(self, along: Hashable | None) -> dict[str, xr.DataArray]:
        if isinstance(self._obj, xr.Dataset):
            names = cf.variables_with(self._obj, cf.across(self._obj), what="maps")
            return {str(n): self._obj[n] for n in names}
        n = self._obj.sizes.get(along, 0) if along is not None else 0
        if along is None or not 1 <= n <= 16:
            message = (
                f"maps(along={along!r}) came; wanted a dimension of at most 16 points among {dict(self._obj.sizes)}"
            )
            raise OptionError(message)
        parts = [self._obj.isel({along: i}) for i in range(n)]
        titles = [maps.label(along, p[along]) if along in p.coords else f"{along} {i}" for i, p in enumerate(parts)]
        return dict(zip(titles, parts, strict=True))

    def _field(self, variable: Hashable | None, what: str) -> xr.DataArray:
        if isinstance(self._obj, xr.DataArray):
            if variable not in (None, self._obj.name):
                message = f"{what}: this DataArray is {self._obj.name!r}, not {variable!r}"
                raise VariableError(message)
            return self._obj
        names: Sequence[Hashable] = list(self._obj.data_vars)
        if variable is None and len(names) == 1:
            return self._obj[names[0]]
        if variable not in names:
            message = f"{what}: variable {variable!r} came; choose one of {sorted(map(str, names))}"
            raise VariableError(message)
        return self._obj[variable]
