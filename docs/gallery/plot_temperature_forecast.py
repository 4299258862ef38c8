"""
A 12-hour temperature forecast, honestly scored
===============================================

From twelve hours of 2 m temperature to the next twelve: two networks, beside forecasts that anybody can make, lead by
lead, with intervals and tests; where and when they are wrong; and what members know of that.
"""

# %%
# Weather with a daily cycle
# --------------------------
# Ten weeks of a generated summer at 0.6 degree: land and sea, mountains, clouds, fronts that pass. The land
# warms by ten kelvin and more from dawn to afternoon, so that the last frame is a poor forecast, and the mean day a
# good one.
import matplotlib.pyplot as plt
import pandas as pd

import xatmo
from xatmo import metrics

weather = xatmo.datasets.diurnal_temperature("2019-05-23", 70, nlat=28, nlon=46, spacing=0.6).load()
t2m = weather["t2m"]
day = t2m.sel(time="2019-07-24")
xatmo.plot.maps({f"{hour:02d} UTC": day[hour] for hour in (0, 6, 12, 18)}, columns=2, title="24 July")

# %%
# Training ends on 7 July. Three later days decide which weights are kept, of those after each pass over the training
# and at the end; eighteen are scored. A day and more lies between, since weather is alike from one day to the next.
train, validation, test = (
    weather[["t2m"]].sel(time=slice(*part))
    for part in (("2019-05-23", "2019-07-07"), ("2019-07-09", "2019-07-11"), ("2019-07-14", "2019-07-31"))
)

# %%
# Anybody's forecasts, and two networks
# -------------------------------------
# Four forecasts need no network. Diurnal persistence takes the mean day of the training, and the last departure from
# it. The networks correct this one: untrained they are the same, and all they learn is what it gets wrong.
tasks = {}
for kind, n_context in {"persistence": 12, "yesterday": 24, "climatology": 12, "diurnal": 12}.items():
    tasks[kind] = xatmo.VideoForecaster(kind, n_context, n_future=12).fit(train)

common = {"batch_size": 8, "accelerator": "cpu", "progress": False}
surface = weather[["lsm", "z"]]
tasks["SimVP"] = xatmo.VideoForecaster("simvp", 12, 12).fit(train, validation=validation, max_steps=90, **common)
tasks["ConvLSTM"] = xatmo.VideoForecaster("convlstm", 12, 12, network_settings={"factor": 4, "size": 3}).fit(
    train, validation=validation, static=surface, max_steps=60, **common
)
xatmo.plot.learning_curve({name: tasks[name].history for name in ("SimVP", "ConvLSTM")})

# %%
# Lead by lead
# ------------
# A forecast every third hour, the same starts for all. A truth along time is laid at the valid times. Bands are
# intervals of 90 % from resampled days: starts of the same day meet the same weather, and count as one.
test_t2m = test["t2m"]
starts = test.time.values[23:-12:3]
runs = {name: test_t2m.atmo.forecast(task, init_time=starts) for name, task in tasks.items()}
over = ["init_time", "latitude", "longitude"]
blocks = {"dim": "init_time", "block": "1D", "n": 300}
scores = {
    name: metrics.verify(run, test_t2m, metrics=["rmse", "bias"], dim=over, bootstrap=blocks)
    for name, run in runs.items()
}
xatmo.plot.score_by_lead(scores)

# %%
# The last frame is the worst forecast once the land warms or cools; that of the day before does not depend on the lead.
# Diurnal persistence is the one to beat. The mean of month and hour comes from seven days of July, and has their bias.
#
# Is the difference more than luck? Bands overlap, but all forecasts met the same weather. A paired test resamples the
# same days for both, and asks of the difference.
against = metrics.compare_models(
    {name: runs[name] for name in ("SimVP", "ConvLSTM", "diurnal")},
    test_t2m,
    metric="rmse",
    dim=over,
    reference="diurnal",
    bootstrap=blocks,
)
table = against[["difference", "difference_lower", "difference_upper", "p_adjusted"]].isel(lead_time=[0, 5, 11])
table = table.assign_coords(lead_time=[1, 6, 12]).to_dataframe().swaplevel().sort_index()
print(table.to_string(float_format="{:.2g}".format))

# %%
# How many pieces of weather that rests on is an attribute of the bounds.
print(against["difference_lower"].attrs["blocks"], "blocks of a day")

# %%
# The best, the middle and the worst
# ----------------------------------
# Means hide cases. Of all starts those with the smallest, the median and the largest error of SimVP at 12 hours:
last = runs["SimVP"].isel(lead_time=-1)
by_start = metrics.rmse(last, test_t2m, dim=["latitude", "longitude"])
order = by_start.argsort().values
shown, groups = {}, {}
for word, k in (("best", order[0]), ("median", order[len(order) // 2]), ("worst", order[-1])):
    made = last.isel(init_time=k)
    truth = test_t2m.sel(time=made["valid_time"].values)
    title = f"truth, {pd.Timestamp(made['valid_time'].values):%d %B, %H UTC}"
    error = (made - truth).assign_attrs(units="K", long_name="SimVP minus truth")
    shown |= {title: truth, f"SimVP, 12 hours before: the {word}": made.assign_attrs(t2m.attrs)}
    shown[f"error, RMSE {float(by_start[k]):.2f} K"] = error
    groups[f"error, RMSE {float(by_start[k]):.2f} K"] = "errors"
xatmo.plot.maps(shown, columns=3, groups=groups)

# %%
# What came, given what was forecast
# ----------------------------------
# Of all cells and times with the same forecast: what came? On the dashed line the median is right, and the distance of
# the outer lines is what one has to expect. Beneath each panel is how often that was forecast.
joint = metrics.conditional_quantiles(runs["SimVP"], test_t2m, bin_width=1.5, dim=over)
xatmo.plot.conditional_quantiles(joint, leads=[0, 5, 11])

# %%
# The mean day
# ------------
# Mean over all land cells by the hour that the forecast is valid at, all leads together. The last frame is late by six
# hours and a half, the mean of the leads, and too flat; it goes in steps since there is a start every third hour.
land = weather["lsm"] > 0.5
days = {
    name: metrics.diurnal_error(runs[name].where(land), test_t2m.where(land))
    for name in ("persistence", "diurnal", "SimVP", "ConvLSTM")
}
xatmo.plot.diurnal_cycle(days)

# %%
# Members
# -------
# A variational network draws what the past does not tell. Its loss is a score of its members, the CRPS, which for a
# single forecast is the absolute error. Sixty steps are few: members spread less than their mean errs, most so at the
# last leads.
vae = xatmo.VideoForecaster(
    "vae", 12, 12, network_settings={"widths": [16, 32, 48]}, objective_settings={"members": 100.0}
).fit(train, max_steps=60, **common)
few = starts[::4]
members = test_t2m.atmo.forecast(vae, init_time=few, members=8)
crps = metrics.verify(members, test_t2m, metrics=["crps"], dim=over)
mae = {
    name: metrics.verify(runs[name].sel(init_time=few), test_t2m, metrics=["mae"], dim=over).rename(mae="crps")
    for name in ("diurnal", "SimVP")
}
xatmo.plot.score_by_lead({"8 members of the VAE": crps} | {f"{n}, absolute error": ds for n, ds in mae.items()})

# %%
figure, axes = plt.subplots(1, 2, figsize=(9.6, 4), layout="constrained")
xatmo.plot.spread_skill({"VAE": metrics.spread_skill(members, test_t2m, dim=over)}, axes[0])
place = {"latitude": 44.4, "longitude": 24.0}
one = members.isel(init_time=5).sel(place, method="nearest")
xatmo.plot.members(one, test_t2m.sel(place, method="nearest"), axes[1])

# %%
# In motion
# ---------
# The worst case again, hour by hour.
case = {"init_time": int(order[-1])}
moving = xatmo.plot.animation(
    {"truth": test_t2m} | {name: runs[name].isel(case) for name in ("SimVP", "diurnal")}, dpi=60
)
plt.close("all")
moving
