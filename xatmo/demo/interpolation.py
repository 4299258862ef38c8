"""From altimeter tracks to maps with error bars, and how far they are from the truth."""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from xatmo import datasets
from xatmo.demo import figures
from xatmo.demo.outcome import Outcome, Step
from xatmo.demo.settings import Settings

MISSIONS = ("jason", "saral", "sentinel-3a")
NOISE = 0.02  # m
# What a climatology of such a sea would tell. Left out, they are estimated by maximum likelihood, which takes longer.
SCALES = {"length_scale": 100e3, "time_scale": "10D", "signal_std": 0.3, "noise_std": NOISE}


def run(settings: Settings, folder: Path, step: Step) -> Outcome:
    """Draw a sea, observe it along real orbits, interpolate, score and plot."""
    with step(f"generating {settings.sea_days} days of sea level, observed by {', '.join(MISSIONS)}"):
        truth = datasets.sea_level(days=settings.sea_days, step=settings.sea_step)["ssh"]
        tracks = datasets.nadir_tracks(MISSIONS, start=truth["time"].values[0], days=settings.sea_days, region=truth)
        along = datasets.observe(truth, tracks, noise_std=NOISE)
        seen = datasets.grid_tracks(along, truth)[["ssh"]]
    count = int(seen["ssh"].count())
    made = {}
    with step(f"optimal interpolation of {count} observations"):
        made["optimal interpolation (Gaussian)"] = seen.atmo.optimal_interp("ssh", **SCALES, uncertainty=True).compute()
    with step(f"variational interpolation of {count} observations"):
        made["variational (SPDE)"] = seen.atmo.fourdvar_interp("ssh", **SCALES, uncertainty=True).compute()
    scores = {"mean of the observations": _scores(xr.full_like(truth, float(seen["ssh"].mean())), truth, None)}
    scores |= {name: _scores(ds["ssh"], truth, ds["ssh_error"]) for name, ds in made.items()}
    share = 100 * count / truth.size
    title = f"sea surface height, {share:.1f} % of the cells observed"
    with step("drawing"):
        middle = {"time": settings.sea_days // 2}
        best = made["variational (SPDE)"].isel(middle)
        path = figures.interpolation(
            seen["ssh"].isel(middle), best["ssh"], best["ssh_error"], truth.isel(middle),
            folder / "interpolation.png", title=f"{title}: day {middle['time']}",
        )  # fmt: skip
    return Outcome(title, scores, {"interpolation": path})


def _scores(prediction: xr.DataArray, truth: xr.DataArray, error: xr.DataArray | None) -> dict[str, float]:
    found = prediction.atmo.verify(truth, metrics=["rmse", "correlation"])
    scores = {"RMSE (m)": float(found["rmse"]), "correlation": float(found["correlation"])}
    if error is None:
        return {**scores, "mean error bar (m)": float("nan"), "truth within 2 error bars (%)": float("nan")}
    within = abs(prediction - truth) <= 2 * error
    return {
        **scores,
        "mean error bar (m)": float((error**2).mean() ** 0.5),
        "truth within 2 error bars (%)": 100 * float(within.mean()),
    }
