"""Exact analysis of a season of altimeter tracks with error bars, against dense optimal interpolation day by day."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import xarray as xr
from timing import Row

from xatmo.assimilation import SPDE, advected_interp, fourdvar_interp

DAY = 86400.0
LENGTH, TIME, NOISE = 1.0, 7.0, 0.05  # degrees, days, and a signal of unit variance: the challenge's baseline


def season(n_days: int, passes_per_day: float = 5.6, seed: int = 0) -> xr.Dataset:
    """A twin on 10 x 10 degrees at 0.2 degree, seen along slanted lines as by four nadir altimeters."""
    rng = np.random.default_rng(seed)
    lat, lon = 33.1 + 0.2 * np.arange(50), 295.1 + 0.2 * np.arange(50)
    length = np.radians(LENGTH) * 6371229.0
    prior = SPDE.on_sphere(lat, 0.2, 50, n_days, DAY, length_scale=length, time_scale=TIME * DAY)
    truth = prior.sample(rng)
    seen = np.zeros(truth.shape, dtype=bool)
    row = np.arange(50)
    for day in range(n_days):
        for _ in range(rng.poisson(passes_per_day)):
            slope = rng.choice([-1, 1]) * rng.uniform(0.35, 0.5)
            column = np.round(rng.uniform(-25, 75) + slope * row).astype(int)
            inside = (column >= 0) & (column < 50)
            seen[day, row[inside], column[inside]] = True
    noisy = truth + NOISE * rng.standard_normal(truth.shape)
    dates = np.datetime64("2012-10-01", "ns") + np.arange(n_days) * np.timedelta64(1, "D")
    coords = {"time": dates, "lat": lat, "lon": lon}
    dims = ("time", "lat", "lon")
    return xr.Dataset({"ssh": (dims, np.where(seen, noisy, np.nan)), "truth": (dims, truth)}, coords=coords)


def dense_day(ds: xr.Dataset, day: int) -> tuple[np.ndarray, np.ndarray]:
    """One day of the challenge's baseline: Gaussian covariance, two time scales, dense inverse, error variance."""
    t, i, j = np.nonzero(np.isfinite(ds["ssh"].values))
    near = np.abs(t - day) <= 2 * TIME
    t, lat, lon = t[near], ds["lat"].values[i[near]], ds["lon"].values[j[near]]
    y = ds["ssh"].values[np.isfinite(ds["ssh"].values)][near]
    rows, columns = (a.ravel() for a in np.meshgrid(ds["lat"], ds["lon"], indexing="ij"))

    def covariance(a: tuple[np.ndarray, ...], b: tuple[np.ndarray, ...]) -> np.ndarray:
        scales = (TIME, LENGTH, LENGTH)
        return np.exp(-sum(((p[:, None] - q) / s) ** 2 for p, q, s in zip(a, b, scales, strict=True)))

    obs = t.astype(float), lat, lon
    grid = np.full(rows.size, float(day)), rows, columns
    to_grid = covariance(grid, obs)
    gain = to_grid @ np.linalg.inv(covariance(obs, obs) + NOISE**2 * np.eye(t.size))
    return gain @ y, np.sqrt(np.maximum(1 - np.einsum("ij,ij->i", gain, to_grid), 0))


def ours(ds: xr.Dataset) -> xr.Dataset:
    length = np.radians(LENGTH) * 6371229.0
    return fourdvar_interp(
        ds, "ssh", length_scale=length, time_scale=np.timedelta64(int(TIME), "D"), noise_std=NOISE, signal_std=1.0,
        uncertainty=True,
    )  # fmt: skip


def carried(ds: xr.Dataset, *, uncertainty: bool) -> xr.Dataset:
    """The same scales along a flow that varies from node to node; error bars from 64 draws."""
    ds["u"] = 0.1 * np.sin(np.radians(36 * ds["lat"])) + 0 * ds["lon"]
    ds["v"] = 0.1 * np.cos(np.radians(36 * ds["lon"])) + 0 * ds["lat"]
    return advected_interp(
        ds, "ssh", flow=("u", "v"), length_scale=float(np.radians(LENGTH) * 6371229.0),
        time_scale=np.timedelta64(int(TIME), "D"), noise_std=NOISE, signal_std=1.0, uncertainty=uncertainty,
        method="cg",
    )  # fmt: skip


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def rows(quick: bool = False) -> list[Row]:
    """Rows with and without a flow. The dense method is timed on some days and multiplied by their number.

    A short run leaves out error bars along a flow.
    """
    n_days, sampled = (30, 2) if quick else (90, 6)
    ds = season(n_days)
    days = np.linspace(14, n_days - 15, sampled).astype(int)
    taken = [seconds(lambda: ours(ds)) for _ in range(1 if quick else 2)]
    peer = [seconds(lambda day=day: dense_day(ds, day)) for day in days]
    taken.append(seconds(lambda: ours(ds)))
    size = f"{n_days} x 50 x 50, {int(np.isfinite(ds['ssh']).sum())} observations"
    dense = statistics.median(peer) * n_days
    out = [
        Row(
            f"exact SPDE analysis with error bars, {size}",
            statistics.median(taken),
            dense,
            "dense OI per day",
            "s",
            "<= 0.05",
        )
    ]
    along = seconds(lambda: carried(ds, uncertainty=False))
    out.append(Row(f"SPDE analysis along a flow, {size}", along, dense, "dense OI per day", "s", "<= 0.05"))
    if not quick:
        along = seconds(lambda: carried(ds, uncertainty=True))
        out.append(Row(f"the same with error bars from 64 draws, {size}", along, dense, "dense OI per day", "s"))
    return out


if __name__ == "__main__":
    import sys

    for row in rows(quick="--quick" in sys.argv):
        print(
            f"{row.work}: {row.ours:.2f} {row.unit}; {row.peer_name} {row.peer:.1f} {row.unit}; ratio {row.ratio:.4f}"
        )
