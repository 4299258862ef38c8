"""The Gaussian-process data challenge: an anisotropic diffusion, its observations, and their best interpolation."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xatmo.assimilation import AdvectionDiffusion, anisotropic
from xatmo.assimilation.advection.simulation import simulate
from xatmo.assimilation.advection.sparse_analysis import Method, SparsePosterior
from xatmo.errors import OptionError, VariableError
from xatmo.typing import Floats

_SETTINGS = ("kappa", "alpha", "noise_variance")
_TENSOR = ("H11", "H12", "H22")
_BAND = 3  # cells: half-width across which a track of the mask sees


def spde_gp(
    n_time: int = 200,
    shape: tuple[int, int] = (100, 100),
    *,
    kappa: float = 1 / 3,
    gamma: float = 1.0,
    beta: float = 25.0,
    wavelength: float | None = None,
    tau: float = 1.0,
    noise_variance: float = 1e-3,
    coverage: float = 0.06,
    mask_speed: float = 7.0,
    seed: int = 0,
) -> xr.Dataset:
    """Make the Gaussian-process twin: truth of known law, and what moving masks show of it.

    The truth obeys ``dx/dt + (kappa^2 - div(H grad))^2 x = tau w`` (alpha 4) on a plane, ``dx = dy = dt = 1``, with
    closed edges and a stationary start. ``H = gamma I + beta v v^T``: v is the gradient, rotated by 90 degrees, of
    ``sin(2 pi x / L) sin(2 pi y / L)``, of length 1 where it is longest. Masks are bands that move: half of them
    lean to the right and half to the left, like ascending and descending tracks of a satellite. They are our own: those
    of the published challenge are not at hand.

    Parameters
    ----------
    n_time : int
    shape : (row, column)
    kappa, gamma, beta, tau : float
        In units of cells and steps.
    wavelength : float, optional
        L in cells; by default the larger side.
    noise_variance : float
        Of the observations.
    coverage : float
        Part of the cells that are observed, about: at most 0.5.
    mask_speed : float
        Cells that the bands move from one time to the next.
    seed : int

    Returns
    -------
    Dataset (time, y, x)
        ``truth``, ``obs`` (NaN where not observed), ``mask``; ``H11``, ``H12``, ``H22`` (y, x); settings in attrs.

    Raises
    ------
    OptionError
        If a setting is out of range.

    Examples
    --------
    >>> twin = spde_gp(6, (12, 14))
    >>> dict(twin.sizes)
    {'time': 6, 'y': 12, 'x': 14}
    >>> bool((twin.obs.notnull() == twin.mask).all())
    True
    """
    if n_time < 1 or min(shape) < 2 or not 0 < coverage <= 0.5 or not noise_variance > 0:
        message = (
            f"n_time={n_time!r}, shape={shape!r}, coverage={coverage!r}, noise_variance={noise_variance!r} came; "
            "wanted at least 1 time, 2 x 2 cells, a part of at most 0.5, and a positive variance"
        )
        raise OptionError(message)
    length = float(max(shape)) if wavelength is None else wavelength
    if not (np.isfinite(length) and length > 0):
        message = f"wavelength={wavelength!r} came; wanted a positive number of cells"
        raise OptionError(message)
    y, x = (np.arange(n, dtype=np.float64) for n in shape)
    phase_y, phase_x = 2 * np.pi * y[:, None] / length, 2 * np.pi * x / length
    east, north = -np.sin(phase_x) * np.cos(phase_y), np.cos(phase_x) * np.sin(phase_y)
    tensor = anisotropic(gamma, beta, east, north)
    prior = AdvectionDiffusion.on_plane(
        (n_time, *shape), (1.0, 1.0, 1.0), kappa=kappa, diffusion=tensor, tau=tau, alpha=4
    )
    rng = np.random.default_rng(seed)
    truth = simulate(prior, rng)[0]
    mask = _masks(n_time, shape, coverage, mask_speed)
    obs = np.where(mask, truth + np.sqrt(noise_variance) * rng.standard_normal(truth.shape), np.nan)
    dims = ("time", "y", "x")
    out = xr.Dataset(
        {
            "truth": (dims, truth, {"long_name": "field", "units": "1"}),
            "obs": (dims, obs, {"long_name": "observed field", "units": "1"}),
            "mask": (dims, mask, {"long_name": "whether observed"}),
        },
        {"time": np.arange(n_time, dtype=np.float64), "y": y, "x": x},
        {
            "title": "Gaussian-process twin", "kappa": kappa, "alpha": 4, "gamma": gamma, "beta": beta,
            "wavelength": length, "noise_variance": noise_variance, "seed": seed,
        },
    )  # fmt: skip
    for name, values in zip(_TENSOR, tensor, strict=True):
        out[name] = (("y", "x"), values, {"long_name": f"diffusion tensor, {name}", "units": "1"})
    out["tau"] = ((), float(tau), {"long_name": "strength of the noise that drives the field", "units": "1"})
    return out


def gp_prior(ds: xr.Dataset, n_time: int | None = None) -> AdvectionDiffusion:
    """Make the prior that a Gaussian-process twin was drawn from.

    Parameters
    ----------
    ds : Dataset
        Of `spde_gp`, or a part of its times.
    n_time : int, optional
        Times of the prior; by default those of the Dataset.

    Raises
    ------
    VariableError
        If the tensor, tau or a setting is missing.
    """
    missing = [k for k in (*_TENSOR, "tau") if k not in ds] + [k for k in _SETTINGS if k not in ds.attrs]
    if missing:
        message = f"a Dataset without {', '.join(missing)} came; wanted one that datasets.spde_gp made"
        raise VariableError(message)
    h11, h12, h22 = (ds[k].transpose("y", "x").values for k in _TENSOR)
    shape = (ds.sizes["time"] if n_time is None else n_time, ds.sizes["y"], ds.sizes["x"])
    return AdvectionDiffusion.on_plane(
        shape, (1.0, 1.0, 1.0), kappa=ds.attrs["kappa"], diffusion=(h11, h12, h22), tau=float(ds["tau"]),
        alpha=int(ds.attrs["alpha"]),
    )  # fmt: skip


def spde_oi(ds: xr.Dataset, *, window: int = 5, uncertainty: bool = False, method: Method = "direct") -> xr.Dataset:
    """Interpolate the observations of a twin with the law that it was drawn from: no method has a smaller error.

    In windows of times centred on each time; at both ends the window is shifted.

    The data challenge published, for its own truth and masks, mu 0.31, sigma 0.04, lambda_x 26.61, lambda_t 17.21 for
    this interpolation with a window of 5. Its files are not at hand and masks here are our own: with 36 times of
    `spde_gp` of 100 x 100, seed 0, of which 5.9 percent are observed, the same scores are 0.35, 0.04, 15.2 and 16.3
    (cells and steps). They compare in kind, not in their digits.

    Parameters
    ----------
    ds : Dataset
        Of `spde_gp`, or a part of its times.
    window : int
        Times that each analysis uses: odd.
    uncertainty : bool
        Whether to give the exact standard deviation too, for about as much work once more.
    method : {"direct", "cg"}
        Exact factor, of which the part that is the prior's is sorted once for all windows: about 4 seconds a window of
        5 x 100 x 100. Or conjugate gradients: the same analysis to ten digits, slower, with little memory.

    Returns
    -------
    Dataset (time, y, x)
        ``analysis``, and ``analysis_error``.

    Raises
    ------
    OptionError
        If the window is even, not positive, or longer than the Dataset.
    VariableError
        If the Dataset is not of `spde_gp`.

    Examples
    --------
    >>> twin = spde_gp(6, (12, 14))
    >>> analysis = spde_oi(twin, window=3).analysis
    >>> bool(((analysis - twin.truth) ** 2).mean() < (twin.truth**2).mean())
    True
    """
    times = ds.sizes.get("time", 0)
    if window < 1 or window % 2 == 0 or window > times:
        message = f"window={window!r} for {times} times came; wanted an odd number, at most as many as there are"
        raise OptionError(message)
    prior = gp_prior(ds, window)
    obs = ds["obs"].transpose("time", "y", "x").values
    noise = ds.attrs["noise_variance"]
    mean, std = np.empty(obs.shape), np.empty(obs.shape if uncertainty else (0, 0, 0))
    start_of = np.clip(np.arange(times) - window // 2, 0, times - window)
    for start in np.unique(start_of):  # the windows at the ends serve several times
        inside = slice(int(start), int(start) + window)
        values, seen = obs[inside], np.isfinite(obs[inside])
        posterior = SparsePosterior.of(prior, seen, noise_variance=noise, method=method)
        analysis = posterior.mean(values[seen])
        spread = np.sqrt(posterior.variance()) if uncertainty else None
        for t in np.flatnonzero(start_of == start):
            mean[t] = analysis[t - start]
            if spread is not None:
                std[t] = spread[t - start]
    out = xr.Dataset(coords=ds["obs"].coords, attrs={"title": "analysis with the law of the twin", "window": window})
    dims, units = ("time", "y", "x"), ds["obs"].attrs.get("units", "1")
    out["analysis"] = (dims, mean, {"long_name": "analysis", "units": units})
    if uncertainty:
        out["analysis_error"] = (dims, std, {"long_name": "standard deviation of the analysis", "units": units})
    return out


def _masks(n_time: int, shape: tuple[int, int], coverage: float, speed: float) -> Floats:
    """Bands (time, row, column) that lean to the right and to the left and move."""
    row, column = np.arange(shape[0])[:, None], np.arange(shape[1])
    width = min(_BAND, max(shape) / 4)
    apart = 2 * width / coverage  # half of the coverage for each direction, as long as they seldom cross
    seen = np.zeros((n_time, *shape), dtype=bool)
    for t in range(n_time):
        for sign, offset in ((1, 0.0), (-1, apart / 2)):
            place = (column + sign * row / 2 + sign * speed * t + offset) % apart
            seen[t] |= place < width
    return seen
