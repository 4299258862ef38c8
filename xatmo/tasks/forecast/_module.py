"""A module of the caller's as the network of a forecaster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xatmo.errors import OptionError
from xatmo.tasks._own_module import shape_of_answer

if TYPE_CHECKING:
    import torch

    from xatmo.nn.video import VideoConfig


def require_fitting(module: torch.nn.Module, config: VideoConfig, cells: tuple[int, int]) -> None:
    """Raise unless the module gives a future of the right shape.

    Raises
    ------
    OptionError
    """
    if not any(p.requires_grad for p in module.parameters()):
        message = (
            f"{type(module).__name__} has no weights to train; wanted a module with parameters that require gradients. "
            "Forecasts by a rule are VideoForecaster('persistence'), 'yesterday', 'diurnal' and 'climatology'"
        )
        raise OptionError(message)
    given = (1, config.n_state, config.n_context, *cells)
    wanted = (1, config.n_out, config.n_future, *cells)
    came = shape_of_answer(module, given, "the past (batch, n_state, n_context, lat, lon)")
    if came != wanted:
        message = (
            f"the module turned {given} into {came}; wanted {wanted}: (batch, n_out, n_future, lat, lon) of the "
            f"{config.n_out} variables to forecast"
        )
        raise OptionError(message)
    if config.n_known or config.n_static:
        message = (
            f"{config.n_known} covariates and {config.n_static} static fields came with a module of your own, which is "
            "given the past of the state alone; leave them out"
        )
        raise OptionError(message)
