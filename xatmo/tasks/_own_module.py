"""What a module of the caller's makes of zeros."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xatmo.errors import OptionError

if TYPE_CHECKING:
    import torch


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
