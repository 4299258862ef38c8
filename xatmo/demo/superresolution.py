"""From a fine field to a network that makes fine fields from coarse ones, and how well it does."""

from __future__ import annotations

import math
from collections.abc import Hashable
from pathlib import Path

import xarray as xr

import xatmo
from xatmo import cf, datasets
from xatmo.demo import figures
from xatmo.demo.outcome import Outcome, Step
from xatmo.demo.settings import Settings
from xatmo.errors import DimensionError, MissingValueError

METRICS = ["rmse", "mae", "ssim"]


def run(settings: Settings, own: xr.DataArray | None, folder: Path, step: Step) -> Outcome:
    """Regrid, coarsen, train, super-resolve, score and plot."""
    fine = _generated(settings, step) if own is None else _prepared(own, settings.factor, step)
    train, context, kept, where = _split(fine, settings)
    test = context.isel(kept)
    with step(f"training a super-resolution network on {' x '.join(f'{n} {d}' for d, n in train.sizes.items())}"):
        task = xatmo.SuperResolver(settings.factor, channels=settings.channels, n_blocks=settings.n_blocks)
        task.fit(
            train, patch_size=settings.patch, max_steps=settings.max_steps, max_time=settings.max_time, batch_size=16
        )
        task.save(folder / "model")
        task.history.to_csv(folder / "training.csv", index=False)
    with step(f"super-resolving {where}, spectra and scores"):
        coarse = context.atmo.coarsen(settings.factor)
        made = {
            "coarse (nearest)": coarse.atmo.regrid(context, method="nearest"),
            "bicubic": coarse.atmo.regrid(context, method="bicubic"),
            "super-resolved": coarse.atmo.superresolve(task),
        }
        made = {name: da.isel(kept).compute() for name, da in made.items()}
        scores = {name: _scores(da, test) for name, da in made.items()}
        lmax = settings.truncation if own is None else None  # above it the truth holds nothing
        spectra = {name: _mean_spectrum(da, lmax) for name, da in {"truth": test, **made}.items()}
    title = f"{fine.attrs.get('long_name', fine.name)}, {settings.factor} times finer,\n{where}"
    files = {"model": folder / "model", "training": folder / "training.csv"}
    with step("drawing"):
        last = {name: _last(da) for name, da in {"truth": test, **made}.items()}
        files["maps"] = figures.maps(last, folder / "superresolution_maps.png", title=title)
        marks = {name: row["effective resolution (km)"] * 1e3 for name, row in scores.items()}
        files["spectra"] = figures.spectra(spectra, marks, folder / "superresolution_spectra.png", title=title)
    return Outcome(title, scores, files)


# ---------------------------------------------------------------------- fields
def _generated(settings: Settings, step: Step) -> xr.DataArray:
    with step(f"generating {settings.days:g} days of barotropic flow at T{settings.truncation}"):
        flow = datasets.barotropic(
            settings.truncation, days=settings.days, spin_up=settings.spin_up, output_every="12h", variables=["vo"]
        )
    target = xatmo.Grid.regular(settings.nlat, 2 * settings.nlat, poles=False)
    with step(f"regridding from {flow.atmo.grid.kind} to {target.kind} {target.nlat} x {target.nlon}, on the sphere"):
        found: xr.DataArray = flow["vo"].atmo.regrid(target)
    return found


def _prepared(own: xr.DataArray, factor: int, step: Step) -> xr.DataArray:
    """Load an own field; on a globe, regrid it to rows and columns that the factor divides."""
    extra = [d for d in own.dims if d not in (*cf.horizontal(own).dims, *_time_dims(own))]
    if extra:
        own = own.isel({d: 0 for d in extra}, drop=True)
    own = own.load()
    missing = int(own.isnull().sum())
    if missing:
        message = (
            f"the field has {missing} missing values; the demonstration needs a field without any. Fill them, or "
            "choose another variable"
        )
        raise MissingValueError(message)
    grid = own.atmo.grid
    if not grid.is_global:
        return own
    nlat = factor * math.ceil(grid.nlat / factor) if grid.nlat % factor != 1 else grid.nlat - 1
    target = xatmo.Grid.regular(nlat, factor * round(grid.nlon / factor), poles=False)
    with step(f"regridding from {grid.kind} {grid.nlat} x {grid.nlon} to {target.nlat} x {target.nlon}, on the sphere"):
        found: xr.DataArray = own.atmo.regrid(target)
    return found


def _time_dims(da: xr.DataArray) -> list[str]:
    return [str(d) for d in da.dims if d == "time" or da[d].dtype.kind == "M"]


def _split(fine: xr.DataArray, settings: Settings) -> tuple[xr.DataArray, xr.DataArray, dict[Hashable, slice], str]:
    """Hold out the last fifth of the time after a gap, or the last quarter of the columns where there are few times.

    Returns what to train on, what to make coarse and fine again, the part of that on which to score, and where that is.
    Fields on a box are scored one coarse cell away from its edges, where nothing can be interpolated.
    """
    factor, (lat, lon) = settings.factor, cf.horizontal(fine).dims
    fine = fine.isel({d: slice(0, fine.sizes[d] - fine.sizes[d] % factor) for d in (lat, lon)})
    edge = 0 if fine.atmo.grid.is_global else factor
    inner: dict[Hashable, slice] = {d: slice(edge, fine.sizes[d] - edge) for d in (lat, lon)}
    times = _time_dims(fine)
    if times and fine.sizes[times[0]] >= 10:
        n = fine.sizes[times[0]]
        first = n - max(n // 5, 1)
        train = fine.isel({times[0]: slice(0, first - max(n // 20, 1))})
        return train, fine.isel({times[0]: slice(first, None)}), inner, "on times not trained on"
    rows, columns = fine.sizes[lat], fine.sizes[lon]
    held_out = factor * (columns // (4 * factor))
    if min(held_out, rows) < 8 * factor:
        message = (
            f"the field has {rows} x {columns} points and fewer than 10 times; wanted at least {8 * factor} rows and "
            f"{32 * factor} columns, to train on three quarters and score the last"
        )
        raise DimensionError(message)
    kept = inner | {lon: slice(columns - held_out, columns - edge)}
    west, east = fine[lon].values[kept[lon]][[0, -1]]
    train = fine.isel({lon: slice(0, columns - held_out)})
    return train, fine, kept, f"between {west:g} and {east:g} E, not trained on"


# ---------------------------------------------------------------------- scores
def _scores(prediction: xr.DataArray, target: xr.DataArray) -> dict[str, float]:
    scores = prediction.atmo.verify(target, metrics=[*METRICS, "effective_resolution"])
    found = {name: float(scores[name]) for name in METRICS}
    return {**found, "effective resolution (km)": float(scores["effective_resolution"]) / 1e3}


def _mean_spectrum(da: xr.DataArray, lmax: int | None) -> xr.DataArray:
    spectrum = da.atmo.energy_spectrum(lmax=lmax)
    found: xr.DataArray = spectrum.mean(
        [d for d in spectrum.dims if d not in ("degree", "wavenumber")], keep_attrs=True
    )
    return found


def _last(da: xr.DataArray) -> xr.DataArray:
    return da.isel(dict.fromkeys(_time_dims(da), -1))
