"""
Mapping sea level from tracks
=============================

Altimeters see the sea along thin lines. What lies between them is filled by linear interpolation, by optimal
interpolation, by a variational method with a sparse prior, and by a 4DVarNet that has learned from a simulation; each
but the first with error bars, which are then put to the test.
"""

# %%
# A sea, and three altimeters over it
# -----------------------------------
# Three weeks of a generated sea with eddies and filaments. Jason, SARAL and Sentinel-3A fly on their real orbits, and
# measure with an error of 2 cm once a second.
import matplotlib.pyplot as plt
import pandas as pd
import xarray as xr

import xatmo

box = {"latitude": (34, 42), "longitude": (-64, -56)}
start = "2012-10-22"
tracks = xatmo.datasets.nadir_tracks(["jason", "saral", "sentinel-3a"], start=start, days=21, region=box)


def sea_and_observations(seed, days):
    sea = xatmo.datasets.sea_level(**box, step=0.25, start=start, days=days, seed=seed)
    along = xatmo.datasets.observe(sea["ssh"], tracks, noise_std=0.02, seed=seed)
    return sea["ssh"], along


truth, along = sea_and_observations(seed=0, days=21)
xatmo.plot.tracks(along, colour="mission", title="three weeks of tracks")

# %%
# Observations of a day go to the nearest cells; nearly all cells stay empty.
seen = xatmo.datasets.grid_tracks(along, truth)
part = float(seen["ssh"].notnull().mean())
print(f"{100 * part:.1f} % of the cells and days are observed")
middle = {"time": 10}
xatmo.plot.tracks(along, truth.isel(middle), colour="black", within="36h")

# %%
# Without training
# ----------------
# The baseline of the mapping challenges has one covariance for all seas: Gaussian, 1 degree, 7 days. A Matern
# covariance is rougher, and its lengths, times, drift and variance are those of maximum likelihood for these
# observations. Their noise is told: 2 cm of the instrument, and what a mean over a cell may differ from it. The
# variational method minimises a cost with the precision of a stochastic partial differential equation, here with
# given scales.
noise = {"noise_std": 0.03}
made = {
    "linear": xatmo.assimilation.linear_interp(seen, "ssh"),
    "challenge's OI": seen.atmo.optimal_interp("ssh", preset="osse2020a"),
    "Matern OI": seen.atmo.optimal_interp("ssh", covariance="matern", drift="estimate", **noise, uncertainty=True),
    "variational": seen.atmo.fourdvar_interp(
        "ssh", length_scale=100e3, time_scale="10D", signal_std=0.3, **noise, uncertainty=True
    ),
}

# %%
# A network that has seen other seas
# ----------------------------------
# Sixteen fortnights of seas with other seeds, under the same altimeters, stand for a simulation. The network starts
# from an optimal interpolation whose scales it estimates from the observations, and takes three steps of a learned
# solver. A small one, trained for sixty steps: a matter of seconds, in which it mostly learns how large its errors
# are.


def fortnight(seed):
    sea, points = sea_and_observations(seed, days=15)
    return xatmo.datasets.grid_tracks(points, sea)[["ssh"]].assign(truth=sea)


simulation = xr.concat([fortnight(seed) for seed in range(1, 17)], dim="sample")
task = xatmo.FourDVarNet(
    n_steps=3, oi=noise, noise_std=0.02, learning_rate=2e-3,
    network_settings={"prior_channels": 16, "solver_channels": 24},
)  # fmt: skip
task.fit(
    simulation, obs="ssh", target="truth", patch_size=32, batch_size=2, max_steps=60, accelerator="cpu", progress=False
)
made["4DVarNet"] = seen.atmo.fourdvar_interp("ssh", model=task, uncertainty=True)
xatmo.plot.learning_curve(task.history)

# %%
# Beside the truth
# ----------------
# Root mean square errors over the three weeks, the whole box and its edges included. The covariance that is made for
# this sea beats the one for all seas by a quarter, and linear interpolation by a fifth. The network starts from such a
# covariance, estimated from its training, and after so few steps is about as good, not better.
scores = {name: one["ssh"].atmo.verify(truth, metrics=["rmse", "correlation"]) for name, one in made.items()}
xatmo.plot.scores(scores)

# %%
day = {name: one["ssh"].isel(middle) for name, one in made.items() if name in ("linear", "Matern OI", "4DVarNet")}
xatmo.plot.interpolation(along, day, truth=truth.isel(middle), difference=True, columns=4)

# %%
# Error bars
# ----------
# Along a parallel: bands of one and two standard deviations of the variational method. They are narrow where a track
# crossed a few days before or after, and wide between.
row = {"latitude": 36.1, "time": truth["time"].values[10]}
xatmo.plot.section(
    made["variational"].sel(row, method="nearest"),
    truth.sel(row, method="nearest"),
    seen["ssh"].sel(row, method="nearest"),
)

# %%
# Are they as long as the errors? Errors divided by their bars should be spread as a Gaussian of variance 1, and cells
# with long bars should have large errors. The bars of the Matern covariance are short by a quarter, but longest where
# errors are largest. The network has learned from errors how large they are on the whole, and after so few steps no
# more: where its bars are long, errors are no larger than elsewhere.
bars = ("Matern OI", "variational", "4DVarNet")
calibration = {name: xatmo.metrics.error_calibration(made[name], truth) for name in bars}
xatmo.plot.calibration(calibration)
told = ["rms", "within_one", "within_two"]
print(pd.DataFrame({n: {k: float(c[k]) for k in told} for n, c in calibration.items()}).T.round(2))

# %%
# Possible seas
# -------------
# An analysis is smoother than the sea. Members are not: each is a sea that agrees with the observations.
members = seen.atmo.fourdvar_interp("ssh", model=task, members=2)["ssh"].isel(middle)
shown = {"truth": truth.isel(middle), "analysis": made["4DVarNet"]["ssh"].isel(middle)}
xatmo.plot.maps(shown | {f"member {k}": members.isel(member=k) for k in (0, 1)}, columns=4)

# %%
# In motion
# ---------
fields = {"truth": truth.isel(time=slice(6, 14)), "observations": along}
fields |= {name: made[name]["ssh"] for name in ("linear", "Matern OI", "4DVarNet")}
fields["error bar of 4DVarNet"] = made["4DVarNet"]["ssh_error"]
moving = xatmo.plot.animation(fields, own=["error bar of 4DVarNet"], columns=3, within="36h", dpi=60)
plt.close("all")
moving
