"""Tie a network's outputs to its inputs, in physical units, with what a task knows about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xatmo import units
from xatmo.errors import OptionError
from xatmo.tasks.superres import _vectors

if TYPE_CHECKING:
    import torch

    from xatmo.model import Channel
    from xatmo.normalize import Normalizer


def wrap(
    network: torch.nn.Module,
    config: Mapping[str, Any],
    kind: str | None,
    inputs: Sequence[Channel],
    outputs: Sequence[Channel],
    input_normalizer: Normalizer | None,
    output_normalizer: Normalizer | None,
    *,
    factor: int,
    row_offset: float = 0.0,
) -> tuple[torch.nn.Module, dict[str, Any]]:
    """Give the constrained network, and its configuration with ``constraint``, from which `Model.load` makes it again.

    Parameters
    ----------
    network : torch.nn.Module
    config : mapping
        ``config["network"]`` of a model.
    kind : {"additive", "multiplicative", "softmax", None}
        None: both come back as they are.
    inputs, outputs : sequence of Channel
        Each output is tied to the input of its name; outputs without one are free.
    input_normalizer, output_normalizer : Normalizer or None
        None: the network works in physical units.
    factor : int
    row_offset : float
        That of the coarsening, see `xatmo.regrid.coarsening`.

    Raises
    ------
    OptionError
        If no output is an input, or the kind is for quantities that are never negative and an output is a component of
        a vector.
    """
    if kind is None:
        return network, dict(config)
    from xatmo.nn.superres.constraints import Constrained, common_channels, scaled_numbers

    channels = common_channels([c.name for c in inputs], [c.name for c in outputs])
    numbers_in = _numbers(input_normalizer, inputs)
    numbers_out = _numbers(output_normalizer, outputs)
    for output, source in zip(outputs, channels, strict=True):
        if source < 0:
            continue
        here, there = inputs[source].units, output.units
        if here is not None and there is not None and here != there:
            numbers_in[source] = scaled_numbers(numbers_in[source], *units.conversion(here, there))
        if kind != "additive" and _vectors.is_component(output.name, output.attrs):
            told = output.attrs.get("standard_name", output.attrs.get("long_name"))
            message = (
                f"constraint={kind!r} is for quantities that are never negative, and {output.name!r}"
                f"{'' if told is None else f' ({told})'} is a component of a vector; take 'additive'"
            )
            raise OptionError(message)
    made = Constrained(
        network, kind, channels=channels, inputs=numbers_in, outputs=numbers_out, factor=factor, row_offset=row_offset
    )
    return made, {**config, "constraint": made.settings()}


def _numbers(normalizer: Normalizer | None, channels: Sequence[Channel]) -> list[tuple[float, ...]]:
    if normalizer is None:
        return [(0.0, 1.0)] * len(channels)
    return [_plain(normalizer, channel.name) for channel in channels]


def _plain(normalizer: Normalizer, name: str) -> tuple[float, ...]:
    numbers = normalizer.scaling(name)
    if any(a.ndim for a in numbers):
        message = (
            f"the statistics of {name!r} are by {', '.join(map(str, numbers[0].dims))}; a constraint needs one number "
            "each: fit the normalizer over all dimensions"
        )
        raise OptionError(message)
    return tuple(float(a) for a in numbers)
