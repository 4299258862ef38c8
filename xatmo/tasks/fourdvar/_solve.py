"""Analyses of a whole record by a trained network: backgrounds, windows in time, members and standard errors."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xatmo._channels import Channel
from xatmo.errors import MissingValueError, OptionError
from xatmo.tasks.fourdvar._data import Fields
from xatmo.tasks.fourdvar._packing import Channels, packed

if TYPE_CHECKING:
    from xatmo.model import Model
    from xatmo.tasks.fourdvar._background import Background

MEMBERS = 32
"""Members whose spread is the standard error of a network that does not tell it."""


@dataclass(frozen=True)
class Found:
    """What a record gives, by output and in its units; dimensions are those of `Fields.dims`.

    Attributes
    ----------
    analysis : dict
        With a first dimension ``member`` where members were asked for.
    error : dict
        Standard errors; empty unless asked for.
    comment : str
        Where they come from.
    """

    analysis: dict[str, xr.DataArray]
    error: dict[str, xr.DataArray]
    comment: str = ""


@dataclass(frozen=True)
class Solver:
    """A model over records.

    Attributes
    ----------
    model : Model
    channels : Channels
    options : mapping
        ``patch_size``, ``overlap``, ``window``, ``batch_size``, ``device`` of `xatmo.inference.predict`.
    """

    model: Model
    channels: Channels
    options: Mapping[str, Any]

    def found(self, fields: Fields, *, uncertainty: bool, members: int | None, seed: int) -> Found:
        """Give analyses or members, and standard errors.

        Raises
        ------
        OptionError
            If members are wanted and the background has no covariance to draw from.
        """
        told = uncertainty and bool(getattr(self.model.network, "error", None))
        analysis, error = self._solved(fields, self.backgrounds(fields), told=told)
        comment = "what the network learned from the errors that it made in training" if told else ""
        if members is None and (told or not uncertainty):
            return Found(analysis, error, comment)
        from xatmo.assimilation.draws.members import spread
        from xatmo.tasks.fourdvar._members import members as drawn

        guesses = () if fields.background else self.guesses
        number = MEMBERS if members is None else members
        made = drawn(
            lambda other: self._solved(other, self.backgrounds(other), told=False)[0], analysis, fields, self.channels,
            guesses, number=number, seed=seed,
        )  # fmt: skip
        if uncertainty and not told:
            error = {n: spread(made[n], analysis[n]) for n in made}
            comment = str(next(iter(error.values())).attrs["comment"])
        return Found(analysis if members is None else made, error, comment)

    # ------------------------------------------------------------------ backgrounds
    @property
    def guesses(self) -> tuple[Background | None, ...]:
        """How backgrounds are made from observations, by output, as in training."""
        kept = self.model.config.get("background", {}).get("of_outputs") or ()
        if not kept:
            return ()
        from xatmo.tasks.fourdvar._background import Background

        return tuple(None if b is None else Background(b["kind"], b["settings"]) for b in kept)

    def backgrounds(self, fields: Fields) -> dict[str, xr.DataArray]:
        """Take the backgrounds that came, or make them as in training.

        Raises
        ------
        OptionError
            If the training had those of the caller, and none came.
        """
        channels, normalizer = self.channels, self.model.normalizer
        if fields.background:
            return {c.name: f for c, f in zip(channels.outputs, fields.background, strict=True)}
        guesses, kind = self.guesses, self.model.config.get("background", {}).get("kind", "zero")
        if not guesses and kind != "zero":
            message = (
                f"the network was trained with the background {kind!r} of the caller's; pass background= of the same "
                "kind"
            )
            raise OptionError(message)
        means = {c.name: 0.0 if normalizer is None else float(normalizer.scaling(c.name)[0]) for c in channels.outputs}
        from xatmo.tasks.fourdvar._fit import backgrounds

        return backgrounds(guesses or (None,) * len(channels.outputs), channels, fields, means)

    # ------------------------------------------------------------------ windows
    def _solved(
        self, fields: Fields, backgrounds: Mapping[str, xr.DataArray], *, told: bool
    ) -> tuple[dict[str, xr.DataArray], dict[str, xr.DataArray]]:
        """Give the analyses, and the standard errors that the network tells; NaN outside of the domain."""
        from xatmo import inference

        asked, frames, time = self._asked(told), self.model.patch_size.get("time", 1), fields.time_dim
        overlap = _by_dimension("overlap", self.options["overlap"])
        if not {"time", time} & set(overlap):
            overlap["time"] = frames // 2
        patch = {"time": frames, **_without_time(self.options["patch_size"], fields)}
        rest = {k: self.options[k] for k in ("window", "batch_size", "device")}
        water = _water(fields, backgrounds)
        if fields.background and water is not None:
            backgrounds = {n: f.where(water) for n, f in backgrounds.items()}
        whole = packed(fields, self.channels, backgrounds)
        parts = []
        for run in fields.runs:
            part, before = _filled_up(whole.isel({time: slice(*run)}), fields, frames)
            made = inference.predict(part, asked, patch_size=patch, overlap=overlap, nan="keep", **rest)
            parts.append(made.isel({time: slice(before, before + run[1] - run[0])}))
        out = {}
        for channel in asked.outputs:
            pieces = [p[channel.name] for p in parts]
            field = pieces[0]
            if len(pieces) > 1:
                field = xr.concat(pieces, time, coords="minimal", compat="override", join="override")
            field = field.transpose(*fields.dims)
            bare = field if water is None else field.where(xr.DataArray(water.variable)).astype(field.dtype)
            known = {n: c for n, c in fields.template.coords.items() if set(c.dims) <= set(bare.dims)}
            out[channel.name] = bare.drop_vars(list(bare.coords)).assign_coords(known)
        names = [c.name for c in self.model.outputs]
        return {n: out[n] for n in names}, {n: out[_error(n)] for n in names if told}

    def _asked(self, told: bool) -> Model:
        """Give the model as `xatmo.inference.predict` is to ask it."""
        from xatmo.normalize import Normalizer
        from xatmo.tasks.fourdvar._network import answering

        model = self.model
        asked = replace(model, network=answering(model, told=told))
        if not told:
            return asked
        errors = tuple(Channel(_error(c.name), c.units) for c in model.outputs)
        normalizer = model.output_normalizer
        if normalizer is not None:
            mean: dict[Hashable, float] = {_error(c.name): 0.0 for c in model.outputs}
            std: dict[Hashable, float] = {_error(c.name): 1.0 for c in model.outputs}
            for channel in model.outputs:
                center, scale = normalizer.scaling(channel.name)
                mean[channel.name], std[channel.name] = float(center), float(scale)
                std[_error(channel.name)] = float(scale)
            normalizer = Normalizer.from_statistics(mean=mean, std=std)
        return replace(asked, outputs=(*model.outputs, *errors), output_normalizer=normalizer)


def _error(name: str) -> str:
    return f"{name}_error"


def _water(fields: Fields, backgrounds: Mapping[str, xr.DataArray]) -> xr.DataArray | None:
    """Where there is water: in the domain, and where the backgrounds that came are, which has to be the same always."""
    water = fields.domain
    for field in backgrounds.values() if fields.background else ():
        there: Any = np.isfinite(field)
        if fields.time_dim in there.dims:
            ever = there.any([fields.time_dim])
            ever = ever if fields.domain is None else ever & fields.domain
            there = xr.apply_ufunc(
                _steady, there.all([fields.time_dim]), ever, kwargs={"name": field.name}, dask="parallelized",
                output_dtypes=[bool],
            )  # fmt: skip
        water = there if water is None else water & there
    return water


def _steady(always: Any, ever: Any, *, name: Hashable) -> Any:
    """Give where a background always is.

    Raises
    ------
    MissingValueError
        If it is missing at some times where it is there at others.
    """
    if (away := int((ever & ~always).sum())) > 0:
        message = (
            f"the background {name!r} is missing or infinite at some times at {away} of the {int(ever.sum())} places "
            "where it is there at others; fill it, or leave those places out with domain="
        )
        raise MissingValueError(message)
    return always


# ---------------------------------------------------------------------- windows in time
def _filled_up(part: xr.Dataset, fields: Fields, frames: int) -> tuple[xr.Dataset, int]:
    """Add frames without observations around a stretch that is shorter than a window; tell how many before it."""
    dim = fields.time_dim
    lacking = frames - part.sizes[dim]
    if lacking <= 0:
        return part, 0
    before = lacking // 2
    n = part.sizes[dim]
    at = np.clip(np.arange(frames) - before, 0, n - 1)
    there = xr.DataArray((np.arange(frames) >= before) & (np.arange(frames) < before + n), dims=(dim,))
    longer = part.drop_vars([c for c in part.coords if dim in part[c].dims]).isel({dim: at})
    made = {}
    for name, field in longer.data_vars.items():
        seen = dim in field.dims and str(name).endswith("_mask")
        made[name] = field.where(there, 0) if seen else field
        made[name].attrs = field.attrs
    times = np.datetime64("2000-01-01", "ns") + np.arange(frames) * np.timedelta64(1, "D")
    return longer.assign(made).assign_coords({dim: (dim, times, {"standard_name": "time"})}), before


def _without_time(given: Mapping[Hashable, int] | None, fields: Fields) -> dict[Hashable, int]:
    found = _by_dimension("patch_size", given)
    for key in ("time", fields.time_dim):
        if key in found:
            message = (
                f"patch_size={given!r} came; the network was made for its own number of frames: wanted 'lat' and 'lon'"
            )
            raise OptionError(message)
    return found


def _by_dimension(name: str, given: Any) -> dict[Hashable, int]:
    if given is None or isinstance(given, Mapping):
        return dict(given or {})
    message = f"{name}={given!r} came; wanted points by dimension, such as {{'lat': 64, 'lon': 64}}"
    raise OptionError(message)
