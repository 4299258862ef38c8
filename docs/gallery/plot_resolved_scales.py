"""
Which scales do we resolve?
===========================

A map of sea level has points every quarter of a degree, and says something about far fewer scales. Two data challenges
made numbers of that: the shortest wavelength and the shortest period of which half of the power is right, against a
simulated truth, and the same along the track of an altimeter that was kept out.
"""

# %%
# A sea, its observations, and three maps
# ---------------------------------------
# Six weeks on the challenges' box, seen by three altimeters. The maps are linear interpolation, variational
# interpolation with a sparse prior, and the truth itself, smoothed: a map that knew the large scales and nothing
# else. A fourth altimeter, SARAL, is kept out.
import xatmo
from xatmo.metrics import altimetry

truth = xatmo.datasets.sea_level(days=43, start="2012-10-22", step=0.25)["ssh"]
period = {"start": "2012-10-22", "days": 42, "region": truth}
tracks = xatmo.datasets.nadir_tracks(["jason", "sentinel-3a", "sentinel-3b"], **period)
seen = xatmo.datasets.grid_tracks(xatmo.datasets.observe(truth, tracks, noise_std=0.02), truth)
scales = {"length_scale": 150e3, "time_scale": "12D", "noise_std": 0.03, "signal_std": 0.3}
var = seen.atmo.fourdvar_interp("ssh", **scales)["ssh"]
linear = xatmo.assimilation.linear_interp(seen, "ssh")["ssh"]
smooth = truth.rolling(longitude=5, latitude=5, time=3, center=True, min_periods=1).mean().assign_attrs(truth.attrs)
maps = {"linear": linear, "variational": var, "smoothed truth": smooth}

# %%
# Wavelengths and periods
# -----------------------
# The score is 1 where a wave is right and 0 where the map has nothing, or as much of something else. The thick line is
# the contour at one half; dashed lines are its shortest wavelength and its shortest period. These are two minima, and
# no wave need have both: of the shortest period only the longest waves are right, of the shortest wavelength only slow
# ones.
scores = {name: altimetry.psd_score(made, truth) for name, made in maps.items()}
xatmo.plot.psd_score(scores)

# %%
# The challenges' score holds what travels west alone. Waves that travel east have their own:
eastward = {name: altimetry.psd_score(made, truth, direction="eastward") for name, made in maps.items()}
xatmo.plot.psd_score(eastward)

# %%
# Where
# -----
# Errors of the map that was made of observations are those of their gaps.
xatmo.plot.score_map({name: altimetry.score_map(made, truth) for name, made in maps.items()})

# %%
# Along a track that was kept out
# -------------------------------
# The truth is not known at sea. An altimeter that the maps have not seen tells the same along its track: power of what
# it sees, of the map and of the difference, and the wavelength at which the score falls to one half. Where the
# difference has as much power as the sea, the map has nothing to say; at the shortest waves all is noise of the
# instrument. Segments are 500 km here, because the box is small, and 1000 km in the challenge, which moreover reads
# the wavelength from the sorted score (``rule="challenge"``): where the score goes up and down the two differ.
kept_out = xatmo.datasets.observe(truth, xatmo.datasets.nadir_tracks("saral", **period), noise_std=0.02, seed=1)
pairs = {name: altimetry.along_track(made, kept_out) for name, made in maps.items()}
spectra = {name: altimetry.track_psd(pair, spacing=6.7, length=500) for name, pair in pairs.items()}
xatmo.plot.track_score(spectra, rule="first")

# %%
# A table
# -------
# The scores of the challenge OSSE 2020a beside those that others published. **They do not compare with these**: theirs
# are of another sea, NATL60, seen by four altimeters. The published rows stand here to show the form, and what sizes
# such numbers have.
table = altimetry.leaderboard(maps, truth, published="4 nadirs")
print(table.round(2))
xatmo.plot.leaderboard(table)

# %%
# How sure is the first column? Its bounds, from blocks of seven days drawn again and again:
for name, made in maps.items():
    found = altimetry.mu_sigma(made, truth, weights=None, bootstrap=7)
    low, high = float(found["mu_lower"]), float(found["mu_upper"])
    print(f"{name}: mu {float(found['mu']):.3f}, between {low:.3f} and {high:.3f}")
