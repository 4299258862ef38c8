"""Members of a learned mapping by conditional simulation, from the covariance of its background."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from xatmo.assimilation.covariance.frame import Frame
from xatmo.assimilation.draws.members import Truths, check_number, joined
from xatmo.errors import OptionError
from xatmo.grids import unwrap_longitude

if TYPE_CHECKING:
    from xatmo.tasks.fourdvar._background import Background
    from xatmo.tasks.fourdvar._data import Fields
    from xatmo.tasks.fourdvar._packing import Channels

Mapped = Mapping[str, xr.DataArray]


def members(
    mapping: Callable[[Fields], Mapped],
    analysis: Mapped,
    fields: Fields,
    channels: Channels,
    backgrounds: Sequence[Background | None],
    *,
    number: int,
    seed: int = 0,
    noise_std: Sequence[float] | None = None,
) -> dict[str, xr.DataArray]:
    """Draw members around an analysis: see `xatmo.assimilation.draws.members`.

    Parameters
    ----------
    mapping : callable
        Gives the analyses of fields with other observations, by output, with all that depends on them (backgrounds)
        made anew.
    analysis : mapping
        Those of the true observations.
    fields : Fields
    channels : Channels
    backgrounds : sequence of Background or None
        Of each output; their covariance is what truths are drawn from. Outputs are drawn independently.
    number, seed : int
    noise_std : sequence of float, optional
        Of each sensor, in the units of its output; that of the background unless given.

    Returns
    -------
    dict of DataArray
        By output, with a first dimension ``member``.

    Raises
    ------
    OptionError
        If an output's background has no covariance, or the number is none.
    """
    check_number(number, fields.dims, seed)
    truths = [truths_of(b, fields, k, c.name) for k, (b, c) in enumerate(
        zip(backgrounds or (None,) * len(channels.outputs), channels.outputs, strict=True))]  # fmt: skip
    noises = [float(backgrounds[k].settings["noise_std"]) for k in channels.observed]  # type: ignore[union-attr]
    noises = noises if noise_std is None else list(noise_std)
    made: dict[str, list[xr.DataArray]] = {c.name: [] for c in channels.outputs}
    for member in range(number):
        seen = [
            truths[k].observed(
                _whole(field, fields), noise_std=noise, lag=fields.lag, sensor=i, seed=seed, member=member
            )
            for i, (field, noise, k) in enumerate(zip(fields.obs, noises, channels.observed, strict=True))
        ]
        mapped = mapping(replace(fields, obs=tuple(seen)))
        for truth, channel in zip(truths, channels.outputs, strict=True):
            field = analysis[channel.name]
            drawn = truth.field(_whole(field, fields), seed=seed, member=member)
            made[channel.name].append(field + (drawn - mapped[channel.name]))
    return {name: joined(parts, analysis[name]) for name, parts in made.items()}


def truths_of(background: Background | None, fields: Fields, number: int, name: str) -> Truths:
    """Give what truths of an output are drawn from.

    Raises
    ------
    OptionError
        If the background has no covariance.
    """
    if background is None or background.kind != "oi":
        kind = "none that observations tell" if background is None else repr(background.kind)
        message = (
            f"members= of {name!r}, whose background is {kind}: there is no covariance to draw from; wanted a task "
            "trained with background='oi'"
        )
        raise OptionError(message)
    setting = background.setting
    lat, lon = (np.asarray(fields.template[n].values, np.float64) for n in (fields.axes.lat, fields.axes.lon))
    middle = tuple(float(np.min(a) + np.max(a)) / 2 for a in (lat, unwrap_longitude(lon)))
    # Without drift and stretching axes do not matter, and the same place has the same truth in any region. A plane of
    # degrees is cut opposite its centre: not within the region.
    moving = setting.drift != (0.0, 0.0) or setting.shape != (0.0, 0.0)
    still = (0.0, 180.0 * round(middle[1] / 180) if setting.metric == "degrees" else 0.0)
    frame = Frame(setting.metric, (middle[0], middle[1]) if moving else still, setting.shape, setting.drift)
    return Truths(setting.covariance, frame, float(background.settings.get("mean", 0.0)), number=number)


def _whole(field: xr.DataArray, fields: Fields) -> xr.DataArray:
    """Give a field its coordinates."""
    known = {n: c for n, c in fields.template.coords.items() if set(c.dims) <= set(field.dims)}
    return field.assign_coords(known)
