"""Learned distances as losses: find the saved model, its channels among the outputs, and the way between units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xatmo import units
from xatmo.errors import OptionError, UnitsError, VariableError

if TYPE_CHECKING:
    from xatmo.model import Channel, Model
    from xatmo.nn.losses import Mix
    from xatmo.normalize import Normalizer


def bind(loss: str | Mapping[str, float], outputs: Sequence[Channel], normalizer: Normalizer | None) -> Mix:
    """Make a loss of the normalized outputs of a network, with the learned parts that its name asks for.

    Parameters
    ----------
    loss : str or mapping
        See `xatmo.nn.losses.build`.
    outputs : sequence of Channel
        What the network writes.
    normalizer : Normalizer or None
        Of the outputs. None: they are in physical units.

    Raises
    ------
    CheckpointError
        If a model cannot be loaded.
    OptionError
        If it is no AtmoDist, or has no scale for the layer.
    VariableError, UnitsError
        If it reads what the network does not write.
    """
    from xatmo.nn import losses

    return losses.build(loss).bind(lambda name: content_loss(name, outputs, normalizer))


def content_loss(name: str, outputs: Sequence[Channel], normalizer: Normalizer | None) -> Any:
    """Make the loss of a saved model: ``PATH``, or ``PATH@LAYER``."""
    from xatmo.model import Model
    from xatmo.nn.representation import ContentLoss
    from xatmo.nn.representation.windows import encoder_of

    path, layer = (name, None) if Path(name).exists() or "@" not in name else name.rsplit("@", 1)
    model = Model.load(path)
    encoder = encoder_of(model.network)
    layer = encoder.require(layer)
    scales = model.config.get("content_scale", {})
    if layer not in scales:
        message = (
            f"the model in {path!r} has no scale for the layer {layer!r}, only for {sorted(scales)}; find it with "
            "task.metric_by_lag(ds, layer=...) and save the task again"
        )
        raise OptionError(message)
    return ContentLoss(encoder, layer, float(scales[layer]), conversion(model, outputs, normalizer, path))


def conversion(model: Model, outputs: Sequence[Channel], normalizer: Normalizer | None, what: str) -> Any:
    """Give the way from a network's normalized outputs to the encoder's normalized inputs."""
    from xatmo.nn.representation import Conversion

    names = [c.name for c in outputs]
    if lacking := [c.name for c in model.inputs if c.name not in names]:
        message = f"the model in {what!r} reads {lacking}, which the network does not write; it writes {names}"
        raise VariableError(message)
    chosen = tuple(names.index(c.name) for c in model.inputs)
    between = []
    for channel, k in zip(model.inputs, chosen, strict=True):
        have, want = outputs[k].units, channel.units
        if want is not None and have is None:
            message = f"the model in {what!r} reads {channel.name!r} in {want!r}; the network's has no units. Set them"
            raise UnitsError(message)
        try:
            between.append((1.0, 0.0) if want is None or have is None else units.conversion(have, want))
        except UnitsError as error:
            message = f"the model in {what!r} reads {channel.name!r} in other units: {error}"
            raise UnitsError(message) from error
    undo, redo = (
        tuple(_numbers(of, n) for n in wanted)
        for of, wanted in ((normalizer, [names[k] for k in chosen]), (model.normalizer, [c.name for c in model.inputs]))
    )
    return Conversion(chosen, undo, redo, tuple((float(a), float(b)) for a, b in between))


def _numbers(normalizer: Normalizer | None, name: str) -> tuple[float, ...]:
    if normalizer is None:
        return (0.0, 1.0)
    return tuple(float(a) for a in normalizer.scaling(name))
