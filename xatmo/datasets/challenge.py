"""A generated twin of the sea-level mapping challenges' files: the same names, layout, places and days.

What is in the files is `sea_level`, seen along the missions' real orbits with made errors; no byte of the simulations.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xatmo.datasets.challenge_files import FILES, OBSERVATIONS, REFERENCE, SEEN
from xatmo.datasets.observing import observe
from xatmo.datasets.ocean import sea_level
from xatmo.datasets.swot import SWOT_NOISE, Noise, swot_swath
from xatmo.datasets.tracks import nadir_tracks
from xatmo.errors import OptionError
from xatmo.grids import Grid

_START = "2012-10-01"
_WIDE = (32.0, 44.0), (-66.0, -54.0)
_BOX = {"latitude": (33.0, 43.0), "longitude": (-65.0, -55.0)}
_WINDOW_DAYS, _MOST_IN_WINDOW = 28, 1000
_NADIR = Noise(nadir=0.03, correlated=0.01)


def write_challenge(
    path: str | Path, *, small: bool = True, step: float | None = None, days: int | None = None, seed: int = 0
) -> Path:
    """Write a generated twin of the 2020a mapping challenge and of the data set that 4DVarNet was trained on.

    Files below ``path``:

    - ``dc_ref/NATL60-CJM165_GULFSTREAM_yYYYYmMMdDD.1h_SSH.nc``: the truth, a file a day, ``sossheig`` (time, lat, lon)
      on 33 to 43 N, 65 to 55 W;
    - ``dc_obs/2020a_SSH_mapping_NATL60_MISSION.nc`` for each of `OBSERVATIONS`: ``ssh_model`` and ``ssh_obs`` along
      ``time`` with ``lat``, ``lon`` (and ``x_ac``, distance across the track, for ``karin_swot``);
    - the four `FILES` on 32 to 44 N, 66 to 54 W, a map a day: ``ssh``; ``sst``; ``ssh_obs``, ``ssh_mod``, ``mask``,
      ``lag``, ``flag`` of all missions together; and ``ssh_mod``, their optimal interpolation with the challenge's
      baseline parameters.

    Parameters
    ----------
    path : path
        Folder; made where it does not exist. Files of these names are written over.
    small : bool
        0.5 degree, six-hourly, 63 days from 2012-10-01, which takes seconds; or 1/20 degree, three-hourly, a year
        (some GB of memory and the better part of an hour). The challenge's truth has 1/60 degree and every hour.
    step : float, optional
        Spacing in degrees, instead.
    days : int, optional
        Length, instead.
    seed : int
        Of sea and noise.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    OptionError
        If the spacing does not divide a degree, or there is no day.

    Examples
    --------
    >>> import tempfile
    >>> from xatmo.datasets import open_challenge
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     twin = open_challenge(write_challenge(folder, step=1.0, days=3))
    ...     sorted(twin)[:4], dict(twin["ssh"].sizes)
    (['envisat', 'geosat2', 'jason1', 'karin_swot'], {'time': 3, 'lat': 13, 'lon': 13})
    """
    step = (0.5 if small else 0.05) if step is None else step
    days = (63 if small else 365) if days is None else days
    if not step > 0 or abs(1 / step - round(1 / step)) > 1e-9 or not days >= 1:
        message = f"step={step!r}, days={days!r} came; wanted a spacing that divides one degree, and one day or more"
        raise OptionError(message)
    folder = Path(path)
    for part in ("dc_ref", "dc_obs"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    truth = _truth(step, days, 6 if small else 3, seed)
    inner = truth.sel(latitude=slice(33 - 1e-6, 43 + 1e-6), longitude=slice(-65 - 1e-6, -55 + 1e-6))
    for day, one in _named(inner.to_dataset(name="sossheig")).assign_attrs(source="generated").groupby("time.date"):
        one.to_netcdf(folder / "dc_ref" / REFERENCE.format(pd.Timestamp(day)))
    for number, name in enumerate(OBSERVATIONS):
        _seen(inner, name, days, seed + number).to_netcdf(folder / "dc_obs" / SEEN.format(name))

    daily = truth.resample(time="1D").mean(keep_attrs=True)
    daily["time"] = daily["time"] + np.timedelta64(12, "h")
    maps = _all_missions(truth, daily, days, seed)
    made: dict[str, Callable[[], xr.Dataset]] = {
        "ssh": lambda: daily.to_dataset(name="ssh"),
        "sst": lambda: _temperature(daily, seed).to_dataset(name="sst"),
        "nadir_swot": lambda: maps,
        "oi": lambda: _baseline(maps),
    }
    for name, make in made.items():
        _named(make()).assign_attrs(source="generated").to_netcdf(folder / FILES[name])
    return folder


def _truth(step: float, days: int, hours: int, seed: int) -> xr.DataArray:
    (south, north), (west, east) = _WIDE
    count = round((north - south) / step) + 1
    grid = Grid.from_latlon(np.linspace(south, north, count), np.linspace(west, east, count))
    # Half a step before the first full hour's middle is within the first day: the tracks of all days lie inside.
    sea = sea_level(
        grid=grid, start=_START, days=days + hours / 24, output_every=f"{hours}h", std=0.3, seed=seed
    )["ssh"]  # fmt: skip
    return sea.isel(time=slice(0, days * 24 // hours))


def _named(ds: xr.Dataset) -> xr.Dataset:
    """Give dimensions and coordinates the names of the files."""
    return ds.rename({n: s for n, s in (("latitude", "lat"), ("longitude", "lon")) if n in ds.variables})


def _points(name: str, days: int) -> xr.Dataset:
    span: dict[str, Any] = {"start": _START, "days": float(days), "region": _BOX}
    if name == "karin_swot":
        return swot_swath(OBSERVATIONS[name], **span, nadir=False)
    return nadir_tracks(OBSERVATIONS[name], **span)


def _seen(truth: xr.DataArray, name: str, days: int, seed: int) -> xr.Dataset:
    """Sample the truth for one mission, without and with errors."""
    points = _points(name, days)
    model = observe(truth, points)
    obs = observe(truth, points, SWOT_NOISE if name.endswith("swot") else _NADIR, seed=seed)
    ds = xr.Dataset({"ssh_model": model, "ssh_obs": obs})
    if name == "karin_swot":
        ds = ds.rename(across="x_ac")
    kept = ["time", "latitude", "longitude", "cycle", "pass_number", *(["x_ac"] if name == "karin_swot" else [])]
    ds = ds.drop_vars([c for c in ds.coords if c not in kept])
    return _named(ds).assign_attrs(title=f"twin of {name}", source="generated")


def _all_missions(truth: xr.DataArray, daily: xr.DataArray, days: int, seed: int) -> xr.Dataset:
    """Map what all missions see together."""
    nadirs = [m for n, m in OBSERVATIONS.items() if n != "karin_swot" and n != "nadir_swot"]
    (south, north), (west, east) = _WIDE
    span: dict[str, Any] = {
        "start": _START, "days": float(days), "region": {"latitude": (south, north), "longitude": (west, east)},
    }  # fmt: skip
    below = nadir_tracks(nadirs, **span)
    wide = swot_swath("swot", **span)
    wide = wide.assign_coords(mission=wide["mission"] + len(nadirs))
    zero = xr.zeros_like(below["latitude"], dtype=np.int8).variable
    below = below.assign_coords(flag=zero, across=zero.astype(np.float64)).reset_index("time")
    below = below.rename_dims(time="point") if "time" in below.dims else below
    both = xr.concat([below, wide], "point", coords="different", compat="equals", join="override")
    both["mission"].attrs = {"long_name": "mission"}
    return observe(truth, both, SWOT_NOISE, seed=seed, layout="challenge", like=daily)  # type: ignore[no-any-return]


def _temperature(ssh: xr.DataArray, seed: int) -> xr.DataArray:
    """Temperatures that follow sea level, colder to the north, with a part of their own."""
    own = sea_level(
        grid=ssh.to_dataset(name="ssh"), start=_START, days=ssh.sizes["time"], std=0.8, length_scale=600e3,
        seed=seed + 1000,
    )["ssh"].values  # fmt: skip
    values = 22 + 6 * ssh - 0.6 * (ssh["latitude"] - 38) + own
    attrs = {"standard_name": "sea_surface_temperature", "long_name": "sea surface temperature", "units": "degC"}
    return values.transpose(*ssh.dims).astype(ssh.dtype).assign_attrs(attrs)


def _baseline(maps: xr.Dataset) -> xr.Dataset:
    """Interpolate the maps with the challenge's baseline parameters, thinned as the baseline thins its tracks."""
    from xatmo.assimilation import optimal_interp

    obs = maps["ssh_obs"]
    found = np.isfinite(obs.values)
    in_window = found.sum() * min(_WINDOW_DAYS / obs.sizes["time"], 1)
    every = int(np.ceil(in_window / _MOST_IN_WINDOW)) or 1
    kept = np.zeros(found.shape, dtype=bool)
    kept.flat[np.flatnonzero(found)[::every]] = True
    seen = obs.where(xr.DataArray(kept, dims=obs.dims))
    out = optimal_interp(seen.to_dataset(name="ssh_mod"), "ssh_mod", preset="osse2020a")
    return out.assign_attrs(source="generated")
