"""Labels of analyses: names, attributes and units of what was observed, and its order of dimensions."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import xarray as xr

from xatmo import _labels, units
from xatmo._channels import Channel
from xatmo.assimilation.labels.tracks import is_track
from xatmo.tasks.fourdvar._data import Fields
from xatmo.tasks.fourdvar._solve import Found

MEMBER = "member"


@dataclass(frozen=True)
class Like:
    """What an analysis is to look like.

    Attributes
    ----------
    fields : Fields
    observed : DataArray, optional
        What observed the output, on the grid; None where nothing did.
    original : DataArray
        The first observations as they came.
    """

    fields: Fields
    observed: xr.DataArray | None
    original: xr.DataArray


def labelled(found: Found, channel: Channel, like: Like, *, single: bool) -> dict[Hashable, xr.DataArray]:
    """Give the analysis of an output, and its standard error where there is one, by name.

    Parameters
    ----------
    found : Found
    channel : Channel
        The output.
    like : Like
    single : bool
        Whether there is no other output: it then has the name of what was observed.
    """
    attrs: dict[str, Any] = dict(channel.attrs)
    if channel.units is not None:
        attrs["units"] = channel.units
    name: Hashable = channel.name
    scale, offset = 1.0, 0.0
    if like.observed is not None:
        attrs = _labels.true_attrs(like.observed)
        if "units" in attrs and channel.units is not None:
            scale, offset = units.conversion(channel.units, str(attrs["units"]))
        name = like.observed.name if single else name
    made = {name: _laid(_scaled(found.analysis[channel.name], scale, offset), like)}
    if channel.name in found.error:
        error = _laid(_scaled(found.error[channel.name], scale, 0.0), like)
        error.attrs = {"long_name": f"standard error of {attrs.get('long_name', name)}", "comment": found.comment}
        if "units" in attrs:
            error.attrs["units"] = attrs["units"]
        if "standard_name" in attrs:
            error.attrs["standard_name"] = f"{attrs['standard_name']} standard_error"
        attrs["ancillary_variables"] = f"{name}_error"
        made[f"{name}_error"] = error
    made[name].attrs = attrs
    return {n: field.rename(n) for n, field in made.items()}


def _scaled(field: xr.DataArray, scale: float, offset: float) -> xr.DataArray:
    return field if (scale, offset) == (1.0, 0.0) else (field * scale + offset).astype(field.dtype)


def _laid(field: xr.DataArray, like: Like) -> xr.DataArray:
    """Restore the order of dimensions, a repeated cyclic column, and encoding."""
    template, axes = like.fields.template, like.fields.axes
    if not is_track(like.original):
        template = like.original
        cyclic = template.sizes.get(axes.lon_dim) == field.sizes[axes.lon_dim] + 1
        if like.fields.cyclic and cyclic:
            field = _labels.restore_cyclic(field, template, axes)
    field = _labels.restore_order(field, template)
    if MEMBER in field.dims and MEMBER not in template.dims:
        field = field.transpose(MEMBER, ...)
    return _labels.changed_values(field, template)
