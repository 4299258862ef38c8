"""
A distance that knows the weather's clock
=========================================

AtmoDist learns to tell how many steps of time lie between two patches of a field. The features that it needs for this
measure how different two states are: by how they evolve, not cell by cell. Here on a generated flow, for seconds only.
"""

# %%
# A flow, and a part of it held out
# ---------------------------------
# Barotropic flow at T42 every six hours. The last days are for scores, after a gap.
import xatmo

flow = xatmo.datasets.barotropic(42, days=24, spin_up=12, output_every="6h", variables=["vo"])
past, future = flow.isel(time=slice(0, 64)), flow.isel(time=slice(72, None))

# %%
# Learn to tell lags of 6 to 24 hours
# -----------------------------------
# Pairs of patches of 16 x 16 cells, at the same place and at two times, are drawn anew all the time. Sixty steps are
# far too few to be good: minutes are what it takes (see the page on performance).
task = xatmo.AtmoDist(4, encoder="tiny", head_channels=32)
task.fit(past, patch_size=16, lag_step="6h", max_steps=60, batch_size=32, accelerator="cpu", progress=False)
scores = task.evaluate(future, n_patches=16)
chance = task.evaluate(future, n_patches=16, control=True)  # against shuffled lags
print(f"right: {float(scores.top1):.2f}, mean error {float(scores.mae):.2f} steps; by chance {float(chance.top1):.2f}")

# %%
# How often each lag is taken for which, normalized by the true one:
xatmo.plot.confusion(scores)

# %%
# How distances grow with lag
# ---------------------------
# The learned distance, brought to the size of the mean squared difference by least squares over the upper half of the
# lags, beside distances of the fields themselves.
xatmo.plot.distance_by_lag(task.metric_by_lag(future, n_pairs=500))

# %%
# Features and distance of labelled fields
# ----------------------------------------
# Windows of the training's size lie side by side over the globe; the result is labelled by their centres.
first, later = future.isel(time=0, drop=True), future.isel(time=3, drop=True)
first.atmo.embed(task)

# %%
first.atmo.distance(later, task)
