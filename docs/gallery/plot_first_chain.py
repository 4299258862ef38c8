"""
From a fine field to a learned one, and its spectrum
====================================================

A generated flow on the sphere is coarsened; a small network learns to make it fine again, on other days than those on
which it is judged. Everything happens on labelled arrays.
"""

# %%
# A flow to look at
# -----------------
# Twelve days of barotropic flow at T42, every twelve hours. It comes on a Gaussian grid; regridding to equal steps goes
# through spherical harmonics and is exact.
import xatmo

flow = xatmo.datasets.barotropic(42, days=12, spin_up=10, output_every="12h", variables=["vo"])
fine = flow["vo"].atmo.regrid(xatmo.Grid.regular(64, 128, poles=False))
fine.atmo.grid

# %%
# Coarse fields are area-weighted means over blocks of 4 x 4 cells.
past, future = fine.isel(time=slice(0, 18)), fine.isel(time=slice(20, None))
coarse = future.atmo.coarsen(4)

# %%
# Train for a few steps
# ---------------------
# Far too short to be good: it shows the calls. Statistics for the normalization, pairs of coarse and fine patches, and
# the network are made from the fields.
task = xatmo.SuperResolver(factor=4, channels=16, n_blocks=2)
task.fit(past, patch_size=16, max_steps=40, accelerator="cpu", progress=False)
task.history.tail(3)

# %%
# Apply and compare
# -----------------
made = coarse.atmo.superresolve(task)
bicubic = coarse.atmo.regrid(future, method="bicubic")
made.atmo.verify(future, metrics=["rmse", "ssim", "effective_resolution"])

# %%
# Maps of the last time, and spectra of all
# -----------------------------------------
last = {"truth": future, "bicubic": bicubic, "super-resolved": made}
xatmo.plot.maps({name: da.isel(time=-1) for name, da in last.items()}, robust=True)

# %%
xatmo.plot.spectra({name: da.atmo.energy_spectrum() for name, da in last.items()})
