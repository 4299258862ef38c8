"""Networks of the caller's: whether they are such, what belongs to them, what they make of zeros."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from xatmo.errors import OptionError

if TYPE_CHECKING:
    import torch


def require_module(module: object) -> None:
    """Refuse what is no network.

    Raises
    ------
    OptionError
    """
    import torch

    if not isinstance(module, torch.nn.Module):
        message = f"module is {type(module).__name__}; wanted a torch.nn.Module"
        raise OptionError(message)


def refuse_of_network(settings: Iterable[str], ours: Iterable[str]) -> None:
    """Refuse settings that describe a network of ours, beside one of the caller's.

    Raises
    ------
    OptionError
        If ``settings`` has one that is among ``ours``.
    """
    if foreign := sorted(set(settings) & set(ours)):
        message = f"{foreign} describe a network of ours; with a module of your own leave them out"
        raise OptionError(message)


def shape_of_answer(module: torch.nn.Module, given: tuple[int, ...], what: str) -> tuple[int, ...]:
    """Give the shape of what it returns for zeros of the shape ``given``; its mode stays.

    Raises
    ------
    OptionError
        If it cannot read them.
    """
    import torch

    tensors = [*module.parameters(), *module.buffers()]
    zeros = torch.zeros(given, device=tensors[0].device if tensors else "cpu")
    training = module.training
    try:
        with torch.no_grad():
            return tuple(module.eval()(zeros).shape)
    except Exception as error:  # a caller's module may raise anything
        first = (str(error).splitlines() or [type(error).__name__])[0][:200]
        message = f"the module cannot read {what} {given}: {first}"
        raise OptionError(message) from error
    finally:
        module.train(training)
