"""
What a loss asks for
====================

The same small network, trained for the same number of steps on the same flow, with five losses. What is not in the
coarse field can only be guessed: an absolute error is lowest for a smooth guess, other losses want something that looks
like the flow. None is best in every score.
"""

# %%
# A flow with power at the smallest scales
# ----------------------------------------
# Barotropic flow at T85 on rows of 1.875 degrees: its waves go on to nearly the shortest that the grid can hold. Means
# over blocks of 4 x 4 cells keep those longer than about 1700 km; the rest has to be made.
import tempfile

import matplotlib.pyplot as plt
import pandas as pd

import xatmo

flow = xatmo.datasets.barotropic(85, days=12, spin_up=8, output_every="6h", variables=["vo"])
fine = flow["vo"].atmo.regrid(xatmo.Grid.regular(96, 192, poles=False))
past, future = fine.isel(time=slice(0, 36)), fine.isel(time=slice(40, None))
coarse = future.atmo.coarsen(4)

# %%
# A learned distance
# ------------------
# AtmoDist learns to tell lags of 6 to 24 hours. The layer before the last is used as a loss; `metric_by_lag` finds the
# factor that makes its distance as large as a mean squared error.
judge = xatmo.AtmoDist(4, encoder="tiny", head_channels=32)
judge.fit(past, patch_size=32, batch_size=12, lag_step="6h", max_steps=80, accelerator="cpu", progress=False)
judge.metric_by_lag(past, layer="stage3", n_pairs=300)
path = tempfile.mkdtemp()
judge.save(path)

# %%
# The same network with five losses
# ---------------------------------
# A loss is a text, ``"mae + 0.05 spectral_power"``, or a mapping. Factors were chosen so that each term changes the
# result: beside an absolute error of about 0.4 (standard deviations), the distance of log spectra is about 0.5 to 1 and
# the learned one about 0.2. In the last case a discriminator takes the place of such terms after a third of the steps.
learned = f"atmodist:{path}@stage3"
discriminator = {"kind": "conditional", "channels": 12, "n_blocks": 1}
gan = {"adversarial": True, "discriminator": discriminator, "adversarial_weight": 0.1, "pretrain": 0.3}
settings = {
    "mae": {"loss": "mae"},
    "+ spectrum": {"loss": {"mae": 1, "spectral_power": 0.05}},
    "+ learned": {"loss": {"mae": 0.1, learned: 1}},
    "+ both": {"loss": {"mae": 0.2, "spectral_power": 0.04, learned: 1}},
    "+ discriminator": {"loss": "mae", **gan, "learning_rate": (2e-3, 1e-3)},
}
made = {"bicubic": coarse.atmo.regrid(future, method="bicubic")}
for name, chosen in settings.items():
    task = xatmo.SuperResolver(4, channels=16, n_blocks=2, **{"learning_rate": 2e-3, **chosen})
    task.fit(past, patch_size=8, batch_size=8, max_steps=150, accelerator="cpu", progress=False)
    made[name] = coarse.atmo.superresolve(task).compute()

# %%
# Scores
# ------
# On days that no network has seen. The first three scores and the learned distance (in the last layer, which was no
# loss, of the same encoder) compare field with field; the others only ask whether fields look alike: the distance of
# spectra in decibels, the power at the smallest scales, below 670 km, the distance of distributions of values (W1) and
# the Frechet distance of mean features of windows. Other days of the flow itself tell what chance would give: nothing
# is right, and all looks as it should.


def features(field):
    """Mean features of windows that overlap by half."""
    each = field.atmo.embed(judge, overlap={"lat": 16, "lon": 16})
    return each.groupby("channel").mean().rename(channel="feature")


def scores(field):
    whole = field.atmo.verify(future, metrics=["rmse", "ssim", "effective_resolution"])
    ratio = ratios[name] = xatmo.metrics.power_ratio(field, future, lmax=85)
    return {
        "RMSE (1e-5 s-1)": 1e5 * whole.rmse,
        "SSIM": whole.ssim,
        "effective resolution (km)": whole.effective_resolution / 1e3,
        "learned distance": field.atmo.distance(future, judge).mean(),
        "spectra (dB)": xatmo.metrics.log_spectral_distance(field, future, lmax=85),
        "power below 670 km": ratio.sel(degree=slice(60, 85)).mean(),
        "W1 (1e-6 s-1)": 1e6 * xatmo.metrics.wasserstein(field, future, dim=None),
        "Frechet distance": xatmo.metrics.frechet_distance(features(field), known),
    }


known, ratios, table = features(future), {}, {}
other_days = past.isel(time=slice(20, 20 + future.sizes["time"])).assign_coords(time=future["time"])
for name, field in {**made, "other days": other_days}.items():
    table[name] = {score: float(value) for score, value in scores(field).items()}
table = pd.DataFrame(table).T
print(table.round(3).to_string())

# %%
# What each costs and gains
# -------------------------
# - The absolute error alone has the lowest error and the highest similarity, and some 4 % of the power below 670 km:
#   what it cannot know, it leaves out.
# - With the spectral term that is about 25 %, and spectra are some 4 dB nearer, for an error larger by a tenth. It
#   asks for power, not for places: SSIM falls, and effective resolution, which only counts waves that are right, gets
#   coarser.
# - The learned term is a squared difference too, of features, and adds little power. Its fields are the nearest to
#   the truth in the last layer (of the same encoder, which is no independent judge), and their values are distributed
#   more like those of the truth, for 2 or 3 % of error. Each step takes about three times as long.
# - Together they give most of the power of the one, with values and features closer to those of the flow.
# - The discriminator gives the most power and the nearest spectrum, for the largest error, and takes some three times
#   as long, too. After so few steps what it adds is speckled.
#
# Seconds of training on nine days of flow: numbers change from seed to seed, W1 and the Frechet distance most of all.
# Both are of few days, and smaller for made fields because these are of the same days as the truth.

# %%
# Power over that of the truth
# ----------------------------
# Between the dashed lines, power is right within a factor of 1.5. The peak at degree 48 is four cells long: the imprint
# of the coarse cells, on which a spectral loss of boxes, averaged over directions, hardly has a hold.
xatmo.plot.power_ratio({name: ratios[name].sel(degree=slice(2, None)) for name in made})

# %%
# Maps
# ----
# A part of the last field. Where made fields have broad bands, the truth has filaments: no loss brings back what the
# coarse field does not tell.
region = {"latitude": slice(70, 15), "longitude": slice(200, 300)}
shown = {"truth": future, **made}
xatmo.plot.maps({name: da.isel(time=-1).sel(region) for name, da in shown.items()}, columns=4, robust=True)

# %%
# How far off, in hours of the flow
# ---------------------------------
# The learned distance between two states of the flow grows with the time between them: a scale for that of made fields
# from the truth.
by_lag = judge.metric_by_lag(future, n_pairs=500)
figure, ax = plt.subplots(figsize=(6.4, 3.0), layout="constrained")
table.loc[list(made), "learned distance"][::-1].plot.barh(ax=ax, color="0.6")
for lag in by_lag["lag"].values[:2]:
    apart = float(by_lag["scaled_content"].sel(lag=lag))
    ax.axvline(apart, color="k", ls=":")
    ax.annotate(f" {6 * lag} h apart", (apart, 1.0), xycoords=("data", "axes fraction"), va="bottom", ha="center")
ax.set_xlabel("learned distance from the truth")
