"""One call for two ways of variational interpolation: with a prior that is written down, or with a trained network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

from xatmo.errors import OptionError

# What each of the two does not read, with the value that says nothing.
_ANALYTIC: dict[str, Any] = {
    "prior": None, "length_scale": None, "time_scale": None, "noise_std": None, "signal_std": None, "tiles": None
}  # fmt: skip
_TRAINED: dict[str, Any] = {
    "predictors": None, "lag": None, "overlap": None, "patch_size": None,
    "window": "hann", "batch_size": None, "device": "auto",
}  # fmt: skip


def fourdvar_interp(ds: xr.Dataset, obs: Any, mask: Any, *, model: Any, **options: Any) -> xr.Dataset:
    """Interpolate with ``model``, or without one by `xatmo.assimilation.fourdvar_interp`.

    Raises
    ------
    OptionError
        If an option belongs to the other of the two.
    """
    other = _TRAINED if model is None else _ANALYTIC
    given = [n for n, usual in other.items() if n in options and not _same(options[n], usual)]
    if given:
        shown = ", ".join(f"{n}={options[n]!r}"[:60] for n in given)
        message = (
            f"{shown} came without model=; wanted a trained network with it"
            if model is None
            else f"{shown} came with model=, which has its own prior and background; leave it out, or leave out model="
        )
        raise OptionError(message)
    own = {n: v for n, v in options.items() if n not in other}
    if model is None:
        from xatmo import assimilation

        own = {n: v for n, v in own.items() if n not in ("prior", "tiles") or v is not None}
        return assimilation.fourdvar_interp(ds, obs, mask, **own)
    from xatmo.tasks.fourdvar._interpolate import interpolate

    return interpolate(ds, obs, mask, model=model, **own)


def _same(value: Any, usual: Any) -> bool:
    if isinstance(usual, str | int) and not isinstance(value, Mapping):
        return bool(isinstance(value, type(usual)) and value == usual)
    return value is usual
