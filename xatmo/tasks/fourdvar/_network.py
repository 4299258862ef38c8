"""The network of a learned variational mapping: ours, ours with parts of the caller's, or the caller's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xatmo.errors import OptionError
from xatmo.tasks._own_module import shape_of_answer

if TYPE_CHECKING:
    import torch

    from xatmo.model import Model

PARTS = ("prior", "operator", "solver")


def make(
    described: Any,
    parts: Mapping[str, torch.nn.Module],
    module: torch.nn.Module | None,
    size: Sequence[int],
    n_inputs: int,
    n_outputs: int,
) -> tuple[torch.nn.Module, torch.nn.Module, dict[str, Any]]:
    """Give the network, what the objective trains, and the configuration from which the network is made again.

    Parameters
    ----------
    described : FourDVarConfig
    parts : mapping
        Modules of the caller's, under ``"prior"``, ``"operator"``, ``"solver"``.
    module : torch.nn.Module, optional
        Of the caller's, for the whole.
    size : sequence of int
        Frames, rows and columns of a window.
    n_inputs, n_outputs : int

    Raises
    ------
    OptionError
        If a module of the caller's does not fit.
    """
    from xatmo.nn.assimilation import FourDVarNetwork
    from xatmo.nn.assimilation.foreign import ForeignNetwork

    if module is not None:
        given = (1, n_inputs, *size)
        shape = shape_of_answer(module, given, "windows (batch, channel, time, lat, lon)")
        wanted = (1, n_outputs, *size)
        if shape != wanted:
            message = f"the module turned {given} into {shape}; wanted {wanted}"
            raise OptionError(message)
        if not any(p.requires_grad for p in module.parameters()):
            message = f"the module {type(module).__name__} has no weights to train; wanted some that require a gradient"
            raise OptionError(message)
        return module, ForeignNetwork(module, described), {"kind": "module"}
    network = FourDVarNetwork(described, **parts)  # type: ignore[arg-type]
    own = {"own_parts": sorted(parts)} if parts else {}
    return network, network, {**described.to_dict(), **own}


def answering(model: Model, *, told: bool = False) -> torch.nn.Module:
    """Give the network of a model as `xatmo.inference.predict` asks it: with an answer everywhere.

    ``told``: with the standard errors behind the analyses.
    """
    from xatmo.nn.assimilation.foreign import Answering

    return Answering(model.network, len(model.config["observed"]), len(model.outputs), told=told)
