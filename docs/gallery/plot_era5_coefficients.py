"""
From ERA5 spectral coefficients to a wind spectrum
==================================================

ERA5's model levels are archived as spherical-harmonic coefficients of vorticity and divergence. The ARCO-ERA5 stores in
the cloud keep them just so: the numbers of the GRIB messages, on one axis called ``values``. Here such a store is made
on disk, small and with generated weather, and opened as the real one would be. Wind, stream function and kinetic-energy
spectrum come straight from the coefficients: no regridding in between, no Metview.
"""

# %%
# A store as ARCO-ERA5 has it
# ---------------------------
# The weather is a barotropic flow at T63 in two westerly jets, a little rougher than it came, so that the kinetic
# energy of its rotational wind falls about as :math:`n^{-3}` as in the upper troposphere. Random divergence is added,
# whose energy is far weaker and falls as :math:`n^{-5/3}`. The real store holds 137 levels at T639, 410240 numbers a
# field; this one has two levels at T63, with the same names, dimensions, attributes and chunks (one time and one level
# each).
import tempfile

import numpy as np
import xarray as xr

import xatmo
from xatmo import spectral

LMAX, RADIUS = 63, 6371229.0


def store(path):
    flow = xatmo.datasets.barotropic(LMAX, days=1, spin_up=20, output_every="12h")
    jets = 32 * np.exp(-(((abs(flow.latitude) - 38) / 13) ** 2))
    level = xr.DataArray([1.0, 0.7], {"hybrid": [79.0, 96.0]}, dims="hybrid")
    vo = (flow.assign(u=flow.u + jets).atmo.vorticity_divergence()["vo"] * level).atmo.to_spectral(lmax=LMAX)
    vo = vo.transpose("time", "hybrid", "degree", "order")
    n = vo.degree.clip(1)
    vo = vo * (n.clip(8) / 8.0) ** 0.5

    rng = np.random.default_rng(0)
    noise = np.tril(rng.normal(size=vo.shape) + 1j * rng.normal(size=vo.shape))
    noise[..., 0].imag = 0  # fields are real
    energy = 0.1 * (n.clip(6) / 10.0) ** (-5 / 3) * (n.clip(max=6) / 6) ** 2
    d = vo.copy(data=noise) * np.sqrt(energy * n * (n + 1) / (2 * n + 1)) / RADIUS * (vo.degree > 0) * level

    packed = spectral.to_packed(xr.Dataset({"d": d, "vo": vo}).astype("complex64"))
    about = {"d": ("divergence_of_wind", "Divergence"), "vo": ("atmosphere_relative_vorticity", "Vorticity (relative)")}
    for name, (standard, long) in about.items():
        kept = {k: v for k, v in packed[name].attrs.items() if k.startswith("GRIB_")}
        packed[name].attrs = {**kept, "standard_name": standard, "long_name": long, "units": "s**-1"}
        packed[name].encoding["chunks"] = (1, 1, packed.sizes["values"])
    packed.drop_attrs(deep=False).to_zarr(path, zarr_format=2)


path = f"{tempfile.mkdtemp()}/model-level-wind.zarr-v2"
store(path)

# %%
# Open it
# -------
# One line, lazily, as for the real one.
era5 = xr.open_zarr(path)
era5

# %%
# Wind on a grid
# --------------
# Both components come from vorticity and divergence together, as vector harmonics, on any grid. Nothing is computed
# before the values are wanted.
wind = era5.atmo.wind(grid=xatmo.Grid.regular(181, 360))
wind

# %%
speed = np.hypot(wind["u"], wind["v"]).assign_attrs(long_name="wind speed", units="m s-1")
speed.isel(time=-1, hybrid=0).atmo.plot.map(cmap="viridis")

# %%
# The spectrum of kinetic energy
# ------------------------------
# Coefficients need no grid for that: the energy by degree :math:`n` is
# :math:`\tfrac{a^2}{2 n (n + 1)} \left(|\zeta_n|^2 + |\delta_n|^2\right)`, summed over orders, and splits into the
# rotational and the divergent part. It sums to the mean kinetic energy of the wind on the sphere.
spectrum = era5.atmo.energy_spectrum()
spectrum.isel(hybrid=0).atmo.plot.spectrum(slopes=(-3, -5 / 3), title="kinetic energy, level 79")

# %%
mean = (speed**2 / 2).weighted(np.cos(np.radians(speed.latitude))).mean(["latitude", "longitude"])
print("from the wind on the grid: ", mean.values.round(2).tolist())
print("from the coefficients:     ", spectrum["energy"].sum("degree").values.astype(float).round(2).tolist())

# %%
# How steep is it? A line through the logarithms, over a range of degrees:
for part, degrees in {"rotational": (12, 60), "divergent": (8, 60)}.items():
    slope = float(spectral.fit_slope(spectrum[part].mean(["time", "hybrid"]), degrees=degrees)["slope"])
    print(f"{part:>10}: n^{slope:.2f}")

# %%
# Stream function
# ---------------
# The inverse Laplacian of the vorticity is a division by :math:`-n (n + 1) / a^2` of each coefficient.
psi = era5["vo"].atmo.to_spectral().atmo.inverse_laplacian().atmo.to_grid(xatmo.Grid.regular(181, 360))
psi = (psi / 1e6).assign_attrs(long_name="streamfunction", units="1e6 m2 s-1")
psi.isel(time=-1, hybrid=0).atmo.plot.map()

# %%
# The same from the wind, with the velocity potential and both parts of the wind beside it:
parts = wind.isel(time=-1, hybrid=0).atmo.helmholtz(lmax=LMAX)
parts

# %%
# The real data
# -------------
# The catalog knows where they lie. Reading one level at one time takes 1.6 MB, twice:
#
# .. code-block:: python
#
#    era5 = xatmo.open_catalog("era5").open("arco_model_level_wind")
#    jet = era5[["vo", "d"]].sel(time="2023-02-10T12", hybrid=79)
#    jet.atmo.wind(grid=xatmo.Grid.gaussian(1280))           # at the full T639
#    jet.atmo.energy_spectrum().atmo.plot.spectrum(slopes=(-3, -5 / 3))
#
# For months of all levels choose chunks first, ``.chunk({"time": 24, "hybrid": 1})``, and write the result to Zarr.
