"""Channels of a variational network: their names, units and statistics, and labelled fields put under them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xatmo import units
from xatmo._channels import Channel, match
from xatmo.errors import OptionError, UnitsError, VariableError
from xatmo.tasks.fourdvar._data import Fields, merged

if TYPE_CHECKING:
    from xatmo.normalize import Normalizer

DOMAIN = "domain"


@dataclass(frozen=True)
class Channels:
    """What a network reads and writes, in the order of a packed input.

    Attributes
    ----------
    obs : tuple of Channel
        In the units of the output that they observe.
    outputs : tuple of Channel
    predictors : tuple of Channel
    observed : tuple of int
        For each of ``obs`` its output.
    """

    obs: tuple[Channel, ...]
    outputs: tuple[Channel, ...]
    predictors: tuple[Channel, ...]
    observed: tuple[int, ...]

    @classmethod
    def of(cls, fields: Fields, observed: Sequence[int], n_outputs: int) -> Channels:
        """Name the channels of training data.

        Raises
        ------
        VariableError
            If two inputs would have one name.
        UnitsError
            If an output has units and what observes it has none, or others that cannot be converted.
        """
        described = [next((f for f, o in zip(fields.obs, observed, strict=True) if o == k), None)
                     for k in range(n_outputs)]  # fmt: skip
        given = fields.target or described
        if any(f is None for f in given):
            lacking = [k for k, f in enumerate(given) if f is None]
            message = f"nothing observes the outputs {lacking}, and there is no target for them; wanted one of both"
            raise OptionError(message)
        outputs = tuple(Channel.of(f) for f in given if f is not None)
        obs = tuple(replace(Channel.of(f), units=outputs[k].units) for f, k in zip(fields.obs, observed, strict=True))
        found = cls(obs, outputs, tuple(Channel.of(p) for p in fields.predictors), tuple(observed))
        names = [c.name for c in found.inputs]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            message = f"the inputs have the names {names}, some of them twice: {twice}. Rename those variables"
            raise VariableError(message)
        found.converted(fields)  # refused here rather than later
        return found

    @classmethod
    def of_model(cls, inputs: Sequence[Channel], outputs: Sequence[Channel], observed: Sequence[int]) -> Channels:
        """Find them among those of a model."""
        first = 2 * len(observed) + len(outputs) + 1
        return cls(tuple(inputs[: len(observed)]), tuple(outputs), tuple(inputs[first:]), tuple(observed))

    @property
    def inputs(self) -> tuple[Channel, ...]:
        """Channels of the packed input: observed values, masks, backgrounds, domain, other fields."""
        masks = (Channel(f"{c.name}_mask") for c in self.obs)
        backgrounds = (Channel(f"{c.name}_background", c.units) for c in self.outputs)
        return (*self.obs, *masks, *backgrounds, Channel(DOMAIN), *self.predictors)

    def converted(self, fields: Fields) -> Fields:
        """Give fields in the units of the channels.

        Raises
        ------
        UnitsError
            If a channel has units, and the field that serves it has none or others that cannot be converted.
        """
        obs = [_in_units(f, c) for f, c in zip(fields.obs, self.obs, strict=True)]
        target = [_in_units(f, c) for f, c in zip(fields.target, self.outputs, strict=bool(fields.target))]
        background = [_in_units(f, c) for f, c in zip(fields.background, self.outputs, strict=bool(fields.background))]
        return replace(fields, obs=tuple(obs), target=tuple(target), background=tuple(background))

    def chosen(self, fields: Fields, *, what: str) -> Fields:
        """Give fields with the predictors of the channels, in their order and units.

        Raises
        ------
        OptionError
            If there are more or fewer observed fields.
        VariableError, UnitsError
            If a predictor is missing, or its units do not fit.
        """
        for role, group, wanted in (("obs", fields.obs, self.obs), ("background", fields.background, self.outputs)):
            if len(group) != len(wanted) and (role == "obs" or group):
                message = (
                    f"{what}: {len(group)} fields came for {role}=, and the network was trained with "
                    f"{[c.name for c in wanted]}; wanted as many, in that order"
                )
                raise OptionError(message)
        offered = xr.Dataset({str(p.name): p.variable for p in fields.predictors})
        sources = match(offered, self.predictors, what=what)
        by_name = {str(p.name): p for p in fields.predictors}
        predictors = []
        for source, channel in zip(sources, self.predictors, strict=True):
            field = by_name[str(source.variable)]
            if (source.scale, source.offset) != (1.0, 0.0):
                field = field * source.scale + source.offset
            predictors.append(field.rename(channel.name))
        return self.converted(replace(fields, predictors=tuple(predictors)))

    def merged(self, fields: Fields) -> list[xr.DataArray | None]:
        """Mean of what the sensors of each output see; None for an output that nothing observes."""
        found: list[xr.DataArray | None] = []
        for k in range(len(self.outputs)):
            own = [f for f, o in zip(fields.obs, self.observed, strict=True) if o == k]
            found.append(merged(own) if own else None)
        return found


def _in_units(field: xr.DataArray, channel: Channel) -> xr.DataArray:
    if channel.units is None:
        return field
    if "units" not in field.attrs:
        message = (
            f"{field.name!r} has no units, and {channel.name!r} is in {channel.units!r}; set attrs['units'] of both, "
            "or of none"
        )
        raise UnitsError(message)
    return units.convert(field, channel.units)


def normalizer(fields: Fields, channels: Channels) -> Normalizer:
    """Fit standard statistics: one pair of numbers for an output and all that is in its units, own ones for predictors.

    Those of an output are the target's, within the domain; without a target those of what observes it. This reads the
    data.
    """
    from xatmo.normalize import Normalizer

    mean: dict[Hashable, float] = {}
    std: dict[Hashable, float] = {}
    seen = channels.merged(fields)
    for k, channel in enumerate(channels.outputs):
        field = fields.target[k] if fields.target else seen[k]
        assert_there = field if field is not None else fields.obs[0]
        mean[channel.name], std[channel.name] = _moments(assert_there.rename(channel.name), fields.domain)
    for channel, k in zip(channels.obs, channels.observed, strict=True):
        own = channels.outputs[k].name
        mean[channel.name], std[channel.name] = mean[own], std[own]
    for channel in channels.outputs:
        name = f"{channel.name}_background"
        mean[name], std[name] = mean[channel.name], std[channel.name]
    for name in (*(f"{c.name}_mask" for c in channels.obs), DOMAIN):
        mean[name], std[name] = 0.0, 1.0
    for channel, field in zip(channels.predictors, fields.predictors, strict=True):
        mean[channel.name], std[channel.name] = _moments(field.rename(channel.name), fields.domain)
    kept: dict[Hashable, str] = {c.name: c.units for c in (*channels.inputs, *channels.outputs) if c.units is not None}
    return Normalizer.from_statistics(mean=mean, std=std, units=kept)


def _moments(field: xr.DataArray, domain: xr.DataArray | None) -> tuple[float, float]:
    from xatmo.normalize import Normalizer

    made = Normalizer.fit(field if domain is None else field.where(domain))
    center, scale = made.scaling(str(field.name))
    return float(center), float(scale)


class Scaling:
    """A normalizer for blocks of numbers, by name."""

    def __init__(self, made: Normalizer) -> None:
        self._numbers = {n: tuple(float(a) for a in made.scaling(n)) for n in made.names}

    def normalize_array(self, name: object, block: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Normalize the block of one variable; float32 stays float32."""
        from xatmo.normalize import forward

        return np.asarray(forward(block, *self._numbers[str(name)]))

    def denormalize_array(self, name: object, block: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Give physical units."""
        from xatmo.normalize import backward

        return np.asarray(backward(block, *self._numbers[str(name)]))

    def mean(self, name: object) -> float:
        """Tell what is 0 in normalized units."""
        return self._numbers[str(name)][0]

    def std(self, name: object) -> float:
        """Tell what is 1 in normalized units, without the mean."""
        return self._numbers[str(name)][1]


def packed(fields: Fields, channels: Channels, backgrounds: Mapping[str, xr.DataArray]) -> xr.Dataset:
    """Put fields under the names of the channels, as a network wants them.

    Parameters
    ----------
    fields : Fields
    channels : Channels
    backgrounds : mapping
        By the name of the output, in its units.

    Returns
    -------
    Dataset
        Observed values, 0 where there are none; masks, backgrounds, domain and predictors, NaN where they are missing.
    """
    out: dict[str, xr.DataArray] = {}
    for field, channel in zip(fields.obs, channels.obs, strict=True):
        there = field.notnull()
        out[channel.name] = field.where(there, 0)
        out[f"{channel.name}_mask"] = there.astype(np.float32)
    for channel in channels.outputs:
        background = backgrounds[channel.name]
        out[f"{channel.name}_background"] = background
    water = fields.domain
    if water is None:
        axes = fields.axes
        shape = tuple(fields.template.sizes[d] for d in axes.dims)
        water = xr.DataArray(np.ones(shape, np.float32), dims=axes.dims)
    out[DOMAIN] = water.astype(np.float32)
    for field, channel in zip(fields.predictors, channels.predictors, strict=True):
        out[channel.name] = field
    coords = {n: c for n, c in fields.template.coords.items() if set(c.dims) <= set(fields.dims)}
    by_name = {c.name: c for c in channels.inputs}
    made = {}
    for name, field in out.items():
        attrs = dict(by_name[name].attrs)
        if by_name[name].units is not None:
            attrs["units"] = by_name[name].units
        made[name] = field.drop_vars(list(field.coords)).variable.copy(deep=False)
        made[name].attrs = attrs
    return xr.Dataset(made, coords)
