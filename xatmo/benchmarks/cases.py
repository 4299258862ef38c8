"""What the methods of a table are trained and scored on: fields, days, truth."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xatmo import assimilation, datasets
from xatmo.constants import EARTH_RADIUS
from xatmo.datasets.challenge_files import FILES, READY, SPLITS, is_generated
from xatmo.errors import CatalogError, OptionError
from xatmo.metrics import altimetry
from xatmo.tasks.fourdvar import Background
from xatmo.typing import XarrayObject

Note = Callable[[str], Any]
Days = tuple[str, str]

TWIN_DAYS = 240
"""Length of a twin that is made on the spot: it reaches three months into the days of training."""

TWIN_STEP = 1 / 3
"""Its spacing in degrees: the coarsest on which all networks of the table fit."""

_BOX = {"lat": (32.0, 44.0), "lon": (-66.0, -54.0)}
# Of a Matern covariance of smoothness 1: where kappa times distance is this, the correlation is 1/e; and of the
# equation's in time: see `xatmo.assimilation.SPDE`.
_SPACE, _TIME = 1.658, 0.234
_WINDOWS = 8


@dataclass(frozen=True)
class Case:
    """Fields and days.

    Attributes
    ----------
    name : str
    fields : Dataset (time, lat, lon)
        ``obs``, ``truth``, and perhaps ``domain``, ``lag``, ``oi``.
    train, validation, test : (first, last)
        Days.
    target : DataArray
        What maps are scored against.
    area : str or None
    period : (first, last)
        Days that are scored.
    time_window : int
        Frames of the networks.
    spde : callable
        Gives settings of the equation whose coefficients are known beforehand, for a task's ``network_settings``.
    published : mapping
        Method to mu, sigma, lambda_x, lambda_t.
    prior : callable, optional
        Makes the prior with fields of coefficients, where these vary and are known.
    exact : callable, optional
        Gives the best analysis of the test days in windows of so many steps, of all unless given.
    generated : bool
    """

    name: str
    fields: xr.Dataset
    train: Days
    validation: Days | None
    test: Days
    target: xr.DataArray
    area: str | None
    period: Days
    time_window: int
    spde: Callable[[], dict[str, float]]
    published: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    prior: Callable[[float], Any] | None = None
    exact: Callable[[int | None], xr.DataArray] | None = None
    generated: bool = True

    def part(self, days: Days) -> xr.Dataset:
        """Give the fields of some days."""
        return self.fields.sel(time=slice(*days))

    def roles(self) -> dict[str, Any]:
        """Name the variables beside observations and truth, for the calls that take them."""
        return {n: n for n in ("domain", "lag") if n in self.fields}

    def has(self, kind: str) -> bool:
        """Whether a kind of row can be done."""
        return {"file": "oi" in self.fields, "exact": self.exact is not None}.get(kind, True)

    def identity(self) -> dict[str, Any]:
        """Tell this case from one with other fields or days."""
        seen = self.fields["obs"]
        digest = hashlib.sha256(np.ascontiguousarray(seen.isel(time=slice(0, 3)).values).tobytes()).hexdigest()[:12]
        days = {"train": self.train, "validation": self.validation, "test": self.test, "period": self.period}
        return {"case": self.name, "sizes": {str(d): n for d, n in seen.sizes.items()}, "observations": digest,
                "time_window": self.time_window, **{k: list(v) if v else None for k, v in days.items()}}  # fmt: skip


def osse_case(
    folder: str | Path,
    *,
    scenario: str = "both",
    train: Days | None = None,
    test: Days | None = None,
    seed: int = 0,
    days: int = TWIN_DAYS,
    step: float = TWIN_STEP,
    note: Note = print,
) -> Case:
    """Open the challenge OSSE 2020a in a folder; write a generated twin there first, where the folder has no such file.

    Parameters
    ----------
    folder : path
    scenario : {"both", "nadirs", "swot"}
        Which altimeters observe.
    train, test : (first, last), optional
        Days; by default the documented ones: 2013-02-24 to 2013-09-30 and 2012-10-01 to 2012-12-20.
    seed, days, step
        Of a twin that is written: see `xatmo.datasets.write_challenge`.
    note : callable
        Takes lines of text.

    Raises
    ------
    CatalogError
        If some of the files are there, and not those that are needed; or they have none of the days.
    OptionError
        If the scenario is unknown.
    """
    where = Path(folder)
    if not _has_files(where):
        note(f"writing a generated twin of the challenge to {where}: {days} days at {step:.2g} degrees, some minutes")
        _write_twin(where, step=step, days=days, seed=seed)
    fields = datasets.challenge_fields(where, scenario=scenario).rename(ssh="truth")
    fields = _boxed(fields[[n for n in ("truth", "obs", "domain", "lag", "oi") if n in fields]])
    trained, tested = train or SPLITS["train"], test or SPLITS["test"]
    for what, span in (("train", trained), ("test", tested)):
        if not fields.sel(time=slice(*span)).sizes["time"]:
            times = fields["time"].values[[0, -1]].astype("datetime64[D]")
            message = (
                f"the files in {where} have days from {times[0]} to {times[1]}; wanted {span[0]} to {span[1]} to "
                f"{what}. Say which days instead: {what}=(FIRST, LAST), on the command line --{what} FIRST,LAST"
            )
            raise CatalogError(message)
    watched = SPLITS["validation"] if train is None else None
    if watched is not None and not fields.sel(time=slice(*watched)).sizes["time"]:
        watched = None
    period = _scored(tested)
    try:
        target = datasets.open_reference(where, period=period)
    except CatalogError:  # the map files alone
        target = fields["truth"].sel(time=slice(*period))
    if isinstance(target, xr.Dataset) or target.ndim != 3:
        message = f"the truth in {where} is none over time, latitude and longitude"
        raise CatalogError(message)
    truth = altimetry.daily_means(target).compute()
    truth = _labelled(truth)
    loaded = fields.load()
    if "domain" in loaded:
        loaded["domain"] = loaded["domain"].fillna(0)
    return Case(
        "osse", loaded, trained, watched, tested, truth, "gulf_stream", period, 15,
        lambda: _equation(loaded.sel(time=slice(*trained))), generated=is_generated(loaded),
        published=_published_osse(scenario),
    )  # fmt: skip


def gp_case(folder: str | Path, *, size: int = 50, n_time: int = 300, seed: int = 0, note: Note = print) -> Case:
    """Open the Gaussian process in a folder, or draw it first: see `xatmo.datasets.spde_gp`.

    Columns and rows count as degrees, steps as days: lambda_x is then in cells, lambda_t in steps.

    Parameters
    ----------
    folder : path
    size : int
        Cells each way, at most 170.
    n_time : int
        Steps: the first 70 percent train, the last 20 percent test.
    seed : int
    note : callable
        Takes lines of text.

    Raises
    ------
    OptionError
        If there are too many cells, or too few steps.
    """
    if not 8 <= size <= 170 or n_time < 40:
        message = f"size={size}, n_time={n_time}; wanted 8 to 170 cells, and 40 steps or more"
        raise OptionError(message)
    file = Path(folder) / f"gp_{size}x{size}_{n_time}_seed{seed}.nc"
    if not file.exists():
        note(f"drawing a Gaussian process into {file}: {n_time} steps of {size} x {size} cells")
        file.parent.mkdir(parents=True, exist_ok=True)
        datasets.spde_gp(n_time, (size, size), seed=seed).to_netcdf(file)
    with xr.open_dataset(file) as ds:
        twin = ds.load()
    fields = _as_map(twin)
    days = fields["time"].dt.strftime("%Y-%m-%d").values.tolist()
    first_watched, first_tested = round(0.7 * n_time), round(0.8 * n_time)
    test = days[first_tested], days[-1]

    def exact(window: int | None) -> xr.DataArray:
        part = twin.isel(time=slice(first_tested, None))
        most = (part.sizes["time"] - 1) // 2 * 2 + 1  # windows are odd
        found = _as_map(datasets.spde_oi(part, window=min(window or most, most)))["analysis"]
        return found.assign_coords(time=fields["time"][first_tested:].values)

    def prior(std: float) -> Any:
        from xatmo.benchmarks.priors import varying

        # Rows of a network run from north to south.
        tensor = [twin[n].transpose("y", "x").values[::-1].copy() for n in ("H11", "H12", "H22")]
        return varying(twin.attrs["kappa"], float(twin["tau"]) / std, tensor)

    target = fields["truth"].sel(time=slice(*test))
    return Case(
        "gp", fields, (days[0], days[first_watched - 1]), (days[first_watched], days[first_tested - 1]), test, target,
        None, test, 5, lambda: {"kappa": float(twin.attrs["kappa"]), "dx": 1.0, "dy": -1.0}, prior=prior, exact=exact,
    )  # fmt: skip


# ---------------------------------------------------------------------- parts
def _has_files(where: Path) -> bool:
    known = [*FILES.values(), READY, "dc_ref", "dc_obs"]
    return where.is_file() or any((where / name).exists() for name in known)


def _write_twin(where: Path, **settings: Any) -> None:
    """Write a twin that appears when it is complete."""
    partial = where.with_name(f".{where.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    datasets.write_challenge(partial, **settings)
    where.mkdir(parents=True, exist_ok=True)
    for part in sorted(partial.iterdir(), key=lambda p: p.name in FILES.values()):
        part.rename(where / part.name)
    partial.rmdir()


def _boxed(fields: xr.Dataset) -> xr.Dataset:
    """Take the box on which networks are trained, out of the whole North Atlantic."""
    keep: dict[str, Any] = {}
    for axis, (low, high) in _BOX.items():
        values = fields[axis].values
        if axis == "lon":
            values = (values + 180) % 360 - 180
        keep[axis] = np.flatnonzero((values >= low - 1e-6) & (values <= high + 1e-6))
    return fields.isel(keep)


def _scored(test: Days) -> Days:
    """Give the challenge's days within those of the test; these, if they have none of the challenge's."""
    first, last = altimetry.PERIODS["osse2020a"]
    inside = max(first, test[0]), min(last, test[1])
    return inside if inside[0] < inside[1] else test


def _labelled(truth: XarrayObject) -> Any:
    return truth.assign_coords(time=pd.DatetimeIndex(truth["time"].values).floor("D"))


def _published_osse(scenario: str) -> dict[str, tuple[float, ...]]:
    system = {"both": "swot + 4 nadirs", "nadirs": "4 nadirs", "swot": "swot"}[scenario]
    table = altimetry.published("osse2020a", system)
    return {str(name): tuple(float(x) for x in row) for name, row in zip(table.index, table.values, strict=True)}


def _equation(fields: xr.Dataset) -> dict[str, float]:
    """Coefficients of the equation, in cells and days, from scales of maximum likelihood of the training days."""
    lag = "lag" if "lag" in fields else None
    scales = Background.fit("oi", fields, "obs", lag=lag, n_windows=_WINDOWS, oi={"drift": None}).scales
    row = np.radians(float(fields["lat"].mean()))
    north = EARTH_RADIUS * np.radians(float(np.abs(np.diff(fields["lat"].values)).mean()))
    east = EARTH_RADIUS * np.cos(row) * np.radians(float(np.abs(np.diff(fields["lon"].values)).mean()))
    length = float(scales.length_scale or north) / _SPACE / north  # cells northward
    memory = float(scales.time_scale or 86400.0) / 86400.0 / _TIME  # days
    # (kappa^2 - gamma lap)^2 forgets the largest scales at the rate 1 / memory.
    kappa, gamma = memory**-0.25, length**2 * memory**-0.5
    std = float(assimilation.stationary_std(kappa, 1.0, (gamma, 0.0, gamma), time_step=1.0))
    return {"kappa": kappa, "gamma": gamma, "tau": 1 / std, "dx": east / north, "dy": -1.0}


def _as_map(twin: xr.Dataset) -> xr.Dataset:
    """Give cells the names of degrees and steps those of days."""
    n_time, rows = twin.sizes["time"], twin.sizes["y"]
    out = twin.drop_vars([n for n in ("H11", "H12", "H22", "tau") if n in twin]).rename(y="lat", x="lon")
    times = np.datetime64("2000-01-01", "ns") + np.arange(n_time) * np.timedelta64(1, "D")
    return out.assign_coords(
        time=times,
        lat=("lat", np.arange(rows) - (rows - 1) / 2, {"units": "degrees_north", "standard_name": "latitude"}),
        lon=("lon", np.arange(twin.sizes["x"], dtype=float), {"units": "degrees_east", "standard_name": "longitude"}),
    )
