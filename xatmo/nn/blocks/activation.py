"""Activations by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from xatmo.errors import OptionError

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "linear": nn.Identity,
    "relu": nn.ReLU,
    "selu": nn.SELU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
}


def make_activation(name: str | None) -> nn.Module:
    """Make an activation; None is ``"linear"``.

    Raises
    ------
    OptionError
        If the name is unknown.

    Examples
    --------
    >>> import torch
    >>> make_activation("relu")(torch.tensor([-1.0, 2.0])).tolist(), make_activation(None)(3.0)
    ([0.0, 2.0], 3.0)
    """
    name = "linear" if name is None else name
    if name not in ACTIVATIONS:
        message = f"activation={name!r} is not available; possible are {sorted(ACTIVATIONS)}"
        raise OptionError(message)
    return ACTIVATIONS[name]()
