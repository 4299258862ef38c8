"""``ds.atmo`` and ``da.atmo``: the table of contents. Each method imports its room and returns one call.

The same functions are public in their rooms, where the docstrings give equations and sources.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias

import xarray as xr

from xatmo.grids import Grid
from xatmo.typing import (
    CrossKind,
    FluxWind,
    NormalizeMethod,
    RegridMethod,
    SpectralEngine,
    SpectrumKind,
    T,
    XarrayObject,
)

if TYPE_CHECKING:
    import numpy as np
    import torch

    from xatmo.metrics.regions import Regions
    from xatmo.normalize import Normalizer
    from xatmo.patches import Patches
    from xatmo.plot import PlotAccessor
    from xatmo.regrid import Mesh, Regridder
    from xatmo.tasks import Task

    ModelLike: TypeAlias = Task | torch.nn.Module | str | Path
    Observed: TypeAlias = Hashable | xr.DataArray | Sequence[Hashable | xr.DataArray]


class _Accessor(Generic[T]):
    """What Datasets and DataArrays share; fields come back as the type they came in."""

    def __init__(self, obj: T) -> None:
        self._obj: T = obj

    # ------------------------------------------------------------------ grid
    @property
    def grid(self) -> Grid:
        """Horizontal grid, found by CF metadata. See `xatmo.Grid.of`."""
        return Grid.of(self._obj)

    # ------------------------------------------------------------------ spherical harmonics
    def to_spectral(self, *, lmax: int | None = None, engine: SpectralEngine | None = None) -> T:
        """Spherical-harmonic coefficients on ``degree``, ``order``. See `xatmo.spectral.to_spectral`."""
        from xatmo import spectral

        return spectral.to_spectral(self._obj, lmax=lmax, engine=engine)

    def to_grid(self, grid: Grid | XarrayObject, *, engine: SpectralEngine | None = None) -> T:
        """Fields on ``grid`` from coefficients. See `xatmo.spectral.to_grid`."""
        from xatmo import spectral

        return spectral.to_grid(self._obj, grid, engine=engine)

    def truncate(self, lmax: int, *, taper: str | None = None, engine: SpectralEngine | None = None) -> T:
        """Fields without the degrees above ``lmax``, on the same grid. See `xatmo.spectral.truncate`."""
        from xatmo import spectral

        return spectral.truncate(self._obj, lmax, taper=taper, engine=engine)

    def filter(
        self,
        kind: str = "sharp",
        *,
        lmin: int | None = None,
        lmax: int | None = None,
        min_wavelength: float | None = None,
        max_wavelength: float | None = None,
        length: float | None = None,
        order: float | None = None,
        damping: float | None = None,
        radius: float | None = None,
        engine: SpectralEngine | None = None,
    ) -> T:
        """Fields with some scales damped or removed, on the same grid. See `xatmo.spectral.filter_scales`."""
        from xatmo import spectral

        return spectral.filter_scales(
            self._obj, kind, lmin=lmin, lmax=lmax, min_wavelength=min_wavelength, max_wavelength=max_wavelength,
            length=length, order=order, damping=damping, radius=radius, engine=engine,
        )  # fmt: skip

    def gradient(
        self,
        *,
        grid: Grid | XarrayObject | None = None,
        lmax: int | None = None,
        radius: float | None = None,
        engine: SpectralEngine | None = None,
    ) -> xr.Dataset:
        """Eastward and northward derivative of scalar fields. See `xatmo.spectral.gradient`."""
        from xatmo import spectral

        return spectral.gradient(self._obj, grid=grid, lmax=lmax, radius=radius, engine=engine)

    def laplacian(
        self, *, lmax: int | None = None, radius: float | None = None, engine: SpectralEngine | None = None
    ) -> T:
        """Horizontal Laplacian of scalar fields. See `xatmo.spectral.laplacian`."""
        from xatmo import spectral

        return spectral.laplacian(self._obj, lmax=lmax, radius=radius, engine=engine)

    def inverse_laplacian(
        self, *, lmax: int | None = None, radius: float | None = None, engine: SpectralEngine | None = None
    ) -> T:
        """Fields whose Laplacian is given, with zero mean. See `xatmo.spectral.inverse_laplacian`."""
        from xatmo import spectral

        return spectral.inverse_laplacian(self._obj, lmax=lmax, radius=radius, engine=engine)

    def to_points(
        self,
        points: XarrayObject | None = None,
        *,
        lat: Any = None,
        lon: Any = None,
        lmax: int | None = None,
        engine: SpectralEngine | None = None,
    ) -> T:
        """Harmonic sums at any points, such as a satellite's track. See `xatmo.spectral.to_points`."""
        from xatmo import spectral

        return spectral.to_points(self._obj, points, lat=lat, lon=lon, lmax=lmax, engine=engine)

    def fill_poles(self) -> T:
        """Fields with the missing rows on the poles added. See `xatmo.spectral.fill_poles`."""
        from xatmo import spectral

        return spectral.fill_poles(self._obj)

    # ------------------------------------------------------------------ spectra
    def energy_spectrum(
        self,
        *,
        kind: SpectrumKind = "auto",
        u: Hashable | None = None,
        v: Hashable | None = None,
        lmax: int | None = None,
        by_latitude: bool = True,
        engine: SpectralEngine | None = None,
    ) -> T:
        """Power or kinetic energy by degree or wavenumber. See `xatmo.spectral.energy_spectrum`."""
        from xatmo import spectral

        return spectral.energy_spectrum(
            self._obj, kind=kind, u=u, v=v, lmax=lmax, by_latitude=by_latitude, engine=engine
        )

    def cross_spectrum(
        self,
        other: XarrayObject,
        *,
        kind: CrossKind = "auto",
        u: Hashable | None = None,
        v: Hashable | None = None,
        lmax: int | None = None,
        dim: Hashable | Sequence[Hashable] | None = None,
        engine: SpectralEngine | None = None,
    ) -> xr.Dataset:
        """Cross-spectrum and coherence with ``other``, by scale. See `xatmo.spectral.cross_spectrum`."""
        from xatmo import spectral

        return spectral.cross_spectrum(self._obj, other, kind=kind, u=u, v=v, lmax=lmax, dim=dim, engine=engine)

    def wavenumber_frequency(
        self,
        *,
        symmetry: str | None = None,
        latitudes: tuple[float, float] | None = None,
        window: Any = None,
        overlap: Any = None,
        taper: float = 0.1,
        detrend: str | None = "linear",
        annual_cycle: int = 0,
    ) -> T:
        """Power by zonal wavenumber and frequency, also Wheeler-Kiladis. See `xatmo.spectral.wavenumber_frequency`."""
        from xatmo import spectral

        return spectral.wavenumber_frequency(
            self._obj, symmetry=symmetry, latitudes=latitudes, window=window, overlap=overlap, taper=taper,
            detrend=detrend, annual_cycle=annual_cycle,
        )  # fmt: skip

    def semivariogram(self, *, distances: Any = None, n_pairs: int = 200_000, seed: int = 0) -> T:
        """Half the mean squared difference by great-circle distance. See `xatmo.spectral.semivariogram`."""
        from xatmo import spectral

        return spectral.semivariogram(self._obj, distances=distances, n_pairs=n_pairs, seed=seed)

    # ------------------------------------------------------------------ regridding
    def regrid(
        self,
        target: Grid | Mesh | Regridder | XarrayObject,
        *,
        method: RegridMethod = "spectral",
        lmax: int | None = None,
        engine: str | None = None,
        min_valid: float = 0.5,
        skipna: bool = True,
        mask: Any = None,
        target_mask: Any = None,
        limiter: bool = False,
    ) -> T:
        """Fields on another grid. See `xatmo.regrid.regrid`."""
        from xatmo import regrid

        return regrid.regrid(
            self._obj, target, method=method, lmax=lmax, engine=engine, min_valid=min_valid, skipna=skipna, mask=mask,
            target_mask=target_mask, limiter=limiter,
        )  # fmt: skip

    def regridder(
        self, target: Grid | Mesh | XarrayObject, *, method: RegridMethod = "conservative", **options: Any
    ) -> Regridder:
        """Weights from this object's grid to another, to keep and to apply often. See `xatmo.regrid.Regridder`."""
        from xatmo import regrid

        return regrid.Regridder(self._obj, target, method=method, **options)

    def coarsen(self, factor: int, *, method: str = "mean", min_valid: float = 0.5) -> T:
        """Coarse fields, ``factor`` times fewer rows and columns, area-weighted. See `xatmo.regrid.coarsen`."""
        from xatmo import regrid

        return regrid.coarsen(self._obj, factor, method=method, min_valid=min_valid)

    def constrain(self, coarse: XarrayObject, *, kind: str, factor: int | None = None) -> T:
        """Change fine fields so that their coarse means are given ones. See `xatmo.regrid.constrain`."""
        from xatmo import regrid

        return regrid.constrain(self._obj, coarse, kind=kind, factor=factor)

    def to_pressure(
        self,
        levels: float | Sequence[float],
        *,
        surface_pressure: Hashable | xr.DataArray | None = None,
        coefficients: Any = None,
        dim: Hashable | None = None,
        method: Literal["log", "linear"] = "log",
        below: Literal["extrapolate", "nearest", "nan"] = "extrapolate",
        outside: Literal["raise", "nan"] = "raise",
    ) -> T:
        """Fields at pressures from a model's hybrid levels. See `xatmo.vertical.to_pressure`."""
        from xatmo import vertical

        return vertical.to_pressure(
            self._obj, levels, surface_pressure=surface_pressure, coefficients=coefficients, dim=dim, method=method,
            below=below, outside=outside,
        )  # fmt: skip

    # ------------------------------------------------------------------ normalization
    def fit_normalizer(
        self, *, method: NormalizeMethod = "standard", dim: Hashable | Sequence[Hashable] | None = None
    ) -> Normalizer:
        """Compute statistics in one pass over the data. See `xatmo.Normalizer.fit`."""
        from xatmo.normalize import Normalizer

        return Normalizer.fit(self._obj, method=method, dim=dim)

    def normalize(self, normalizer: Normalizer | str | Path) -> T:
        """Dimensionless fields. See `xatmo.Normalizer.normalize`."""
        from xatmo.normalize import Normalizer

        return Normalizer.of(normalizer).normalize(self._obj)

    def denormalize(self, normalizer: Normalizer | str | Path) -> T:
        """Physical fields: the inverse of `normalize`. See `xatmo.Normalizer.denormalize`."""
        from xatmo.normalize import Normalizer

        return Normalizer.of(normalizer).denormalize(self._obj)

    # ------------------------------------------------------------------ patches and models
    def patches(
        self,
        size: Mapping[Hashable, int],
        *,
        overlap: Mapping[Hashable, int] | None = None,
        periodic: Sequence[Hashable] | None = None,
    ) -> Patches[T]:
        """Windows that cover every point. See `xatmo.patches.patches`."""
        from xatmo import patches

        return patches.patches(self._obj, size, overlap=overlap, periodic=periodic)

    def apply(
        self,
        model: ModelLike,
        *,
        patch_size: Mapping[Hashable, int] | None = None,
        overlap: Mapping[Hashable, int] | None = None,
        window: str = "hann",
        batch_size: int | None = None,
        device: str = "auto",
        members: int | None = None,
        seed: int = 0,
        nan: str = "raise",
        output_chunks: Mapping[Hashable, int | tuple[int, ...]] | None = None,
    ) -> T:
        """Any saved task or network over data of any size. See `xatmo.inference.apply`."""
        from xatmo import inference

        return inference.apply(
            self._obj, model, patch_size=patch_size, overlap=overlap, window=window, batch_size=batch_size,
            device=device, members=members, seed=seed, nan=nan, output_chunks=output_chunks,
        )  # fmt: skip

    def superresolve(
        self,
        model: ModelLike,
        *,
        overlap: Mapping[Hashable, int] | None = None,
        window: str = "hann",
        batch_size: int | None = None,
        device: str = "auto",
        members: int | None = None,
        seed: int = 0,
        patch_size: Mapping[Hashable, int] | None = None,
        nan: str = "raise",
        output_chunks: Mapping[Hashable, int | tuple[int, ...]] | None = None,
    ) -> T:
        """Fine fields from coarse ones, with their coordinates. See `xatmo.inference.superresolve`."""
        from xatmo import inference

        return inference.superresolve(
            self._obj, model, overlap=overlap, window=window, batch_size=batch_size, device=device, members=members,
            seed=seed, patch_size=patch_size, nan=nan, output_chunks=output_chunks,
        )  # fmt: skip

    # ------------------------------------------------------------------ scores and plots
    def forecast(
        self,
        model: ModelLike,
        *,
        init_time: Any = None,
        members: int | None = None,
        n_future: int | None = None,
        seed: int = 0,
        patch_size: Mapping[Hashable, int] | None = None,
        overlap: Mapping[Hashable, int] | None = None,
        window: str = "hann",
        batch_size: int | None = None,
        device: str = "auto",
        nan: str = "raise",
        output_chunks: Mapping[Hashable, int] | None = None,
    ) -> T:
        """Forecasts from every initial time, or from those given. See `xatmo.tasks.forecast.forecast`."""
        from xatmo.tasks.forecast import forecast

        return forecast(
            self._obj, model, init_time=init_time, members=members, n_future=n_future, seed=seed,
            patch_size=patch_size, overlap=overlap, window=window, batch_size=batch_size, device=device, nan=nan,
            output_chunks=output_chunks,
        )  # fmt: skip

    def embed(
        self,
        model: ModelLike,
        *,
        layer: str | None = None,
        overlap: Mapping[Hashable, int] | None = None,
        device: str = "auto",
    ) -> xr.DataArray:
        """Learned features of every window. See `xatmo.embedding.embed`."""
        from xatmo import embedding

        return embedding.embed(self._obj, model, layer=layer, overlap=overlap, device=device)

    def distance(
        self,
        other: XarrayObject,
        model: ModelLike,
        *,
        layer: str | None = None,
        overlap: Mapping[Hashable, int] | None = None,
        device: str = "auto",
    ) -> xr.DataArray:
        """How different two states are, in learned features. See `xatmo.embedding.distance`."""
        from xatmo import embedding

        return embedding.distance(self._obj, other, model, layer=layer, overlap=overlap, device=device)

    def verify(
        self,
        target: XarrayObject,
        *,
        metrics: str | Sequence[str],
        dim: Hashable | Sequence[Hashable] | None = None,
        climatology: XarrayObject | None = None,
        bootstrap: Mapping[str, Any] | Literal["auto"] | None = None,
        weights: Literal["area"] | xr.DataArray | None = "area",
        regions: Regions | None = None,
        compat: Literal["ambs"] | None = None,
    ) -> xr.Dataset:
        """Scores of this prediction against ``target``. See `xatmo.metrics.verify`."""
        from xatmo import metrics as room

        return room.verify(
            self._obj, target, metrics=metrics, dim=dim, climatology=climatology, bootstrap=bootstrap, weights=weights,
            regions=regions, compat=compat,
        )  # fmt: skip

    @property
    def plot(self) -> PlotAccessor:
        """Maps, spectra and comparisons as matplotlib Axes. See `xatmo.plot`."""
        from xatmo.plot import PlotAccessor

        return PlotAccessor(self._obj)


@xr.register_dataarray_accessor("atmo")  # type: ignore[no-untyped-call]
class DataArrayAtmo(_Accessor[xr.DataArray]):
    """``da.atmo``: the methods that one field allows."""


@xr.register_dataset_accessor("atmo")  # type: ignore[no-untyped-call]
class DatasetAtmo(_Accessor[xr.Dataset]):
    """``ds.atmo``: the methods of one field for every variable, and those that need several."""

    def vorticity_divergence(
        self,
        *,
        u: Hashable | None = None,
        v: Hashable | None = None,
        lmax: int | None = None,
        radius: float | None = None,
        engine: SpectralEngine | None = None,
    ) -> xr.Dataset:
        """Relative vorticity ``vo`` and divergence ``d`` in s-1. See `xatmo.spectral.vorticity_divergence`."""
        from xatmo import spectral

        return spectral.vorticity_divergence(self._obj, u=u, v=v, lmax=lmax, radius=radius, engine=engine)

    def wind(
        self,
        *,
        vorticity: Hashable | None = None,
        divergence: Hashable | None = None,
        grid: Grid | XarrayObject | None = None,
        radius: float | None = None,
        engine: SpectralEngine | None = None,
    ) -> xr.Dataset:
        """Wind ``u``, ``v`` in m s-1 from vorticity and divergence. See `xatmo.spectral.wind`."""
        from xatmo import spectral

        return spectral.wind(
            self._obj, vorticity=vorticity, divergence=divergence, grid=grid, radius=radius, engine=engine
        )

    def helmholtz(
        self,
        *,
        u: Hashable | None = None,
        v: Hashable | None = None,
        lmax: int | None = None,
        radius: float | None = None,
        engine: SpectralEngine | None = None,
    ) -> xr.Dataset:
        """Stream function, velocity potential, and the two parts of the wind. See `xatmo.spectral.helmholtz`."""
        from xatmo import spectral

        return spectral.helmholtz(self._obj, u=u, v=v, lmax=lmax, radius=radius, engine=engine)

    def absolute_vorticity(
        self,
        *,
        u: Hashable | None = None,
        v: Hashable | None = None,
        lmax: int | None = None,
        radius: float | None = None,
        omega: float | None = None,
        engine: SpectralEngine | None = None,
    ) -> xr.DataArray:
        """Relative vorticity plus the Coriolis parameter, s-1. See `xatmo.spectral.absolute_vorticity`."""
        from xatmo import spectral

        return spectral.absolute_vorticity(self._obj, u=u, v=v, lmax=lmax, radius=radius, omega=omega, engine=engine)

    def advection(
        self,
        variable: Hashable,
        *,
        u: Hashable | None = None,
        v: Hashable | None = None,
        lmax: int | None = None,
        radius: float | None = None,
        engine: SpectralEngine | None = None,
    ) -> xr.DataArray:
        """Tendency ``-(u dq/dx + v dq/dy)`` of a variable by the wind. See `xatmo.spectral.advection`."""
        from xatmo import spectral

        return spectral.advection(self._obj, variable, u=u, v=v, lmax=lmax, radius=radius, engine=engine)

    def spectral_flux(
        self,
        *,
        u: Hashable | None = None,
        v: Hashable | None = None,
        wind: FluxWind = "rotational",
        lmax: int | None = None,
        radius: float | None = None,
        engine: SpectralEngine | None = None,
    ) -> xr.Dataset:
        """Flux of kinetic energy and enstrophy through each degree. See `xatmo.spectral.spectral_flux`."""
        from xatmo import spectral

        return spectral.spectral_flux(self._obj, u=u, v=v, wind=wind, lmax=lmax, radius=radius, engine=engine)

    def optimal_interp(
        self,
        obs: Hashable | xr.DataArray,
        mask: Hashable | xr.DataArray | None = None,
        *,
        length_scale: float | tuple[float, float] | None = None,
        time_scale: np.timedelta64 | str | None = None,
        noise_std: float | Hashable | xr.DataArray | None = None,
        signal_std: float | None = None,
        preset: str | None = None,
        covariance: str = "gaussian",
        metric: str = "sphere",
        angle: float | str = 0.0,
        drift: tuple[float, float] | str | None = None,
        lag: Hashable | xr.DataArray | None = None,
        track_error: tuple[float, str | np.timedelta64 | float] | None = None,
        passes: Hashable | xr.DataArray | None = None,
        window: Mapping[str, Any] | None = None,
        background: Hashable | xr.DataArray | None = None,
        domain: Hashable | xr.DataArray | None = None,
        uncertainty: bool = False,
        tiles: Mapping[str, int] | str | None = None,
        members: int | None = None,
        seed: int = 0,
    ) -> xr.Dataset:
        """Optimal interpolation of sparse observations. See `xatmo.assimilation.optimal_interp`."""
        from xatmo import assimilation

        return assimilation.optimal_interp(
            self._obj, obs, mask, length_scale=length_scale, time_scale=time_scale, noise_std=noise_std,
            signal_std=signal_std, preset=preset, covariance=covariance, metric=metric, angle=angle, drift=drift,
            lag=lag, track_error=track_error, passes=passes, window=window, background=background, domain=domain,
            uncertainty=uncertainty, tiles=tiles, members=members, seed=seed,
        )  # fmt: skip

    def fourdvar_interp(
        self,
        obs: Observed,
        mask: Observed | None = None,
        *,
        model: ModelLike | None = None,
        background: Observed | None = None,
        prior: str | None = None,
        length_scale: float | None = None,
        time_scale: np.timedelta64 | str | None = None,
        noise_std: float | None = None,
        signal_std: float | None = None,
        predictors: Observed | xr.Dataset | None = None,
        domain: Hashable | xr.DataArray | None = None,
        lag: Hashable | xr.DataArray | None = None,
        uncertainty: bool = False,
        members: int | None = None,
        seed: int = 0,
        tiles: Mapping[str, int] | str | None = None,
        patch_size: Mapping[Hashable, int] | None = None,
        overlap: Mapping[Hashable, int] | None = None,
        window: str = "hann",
        batch_size: int | None = None,
        device: str = "auto",
    ) -> xr.Dataset:
        """Variational interpolation of sparse observations. See `xatmo.assimilation.fourdvar_interp`.

        With ``model``, a trained ``FourDVarNet``, it is that of the network: ``interpolate`` among the tasks.
        """
        from xatmo.tasks.fourdvar import _calls

        return _calls.fourdvar_interp(
            self._obj, obs, mask, model=model, background=background, prior=prior, length_scale=length_scale,
            time_scale=time_scale, noise_std=noise_std, signal_std=signal_std, predictors=predictors, domain=domain,
            lag=lag, uncertainty=uncertainty, members=members, seed=seed, tiles=tiles, patch_size=patch_size,
            overlap=overlap, window=window, batch_size=batch_size, device=device,
        )  # fmt: skip
