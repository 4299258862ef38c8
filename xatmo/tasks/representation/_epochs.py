"""Weights that a run kept after every epoch: which there are, and models made of them."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from xatmo.errors import CheckpointError, OptionError

if TYPE_CHECKING:
    from xatmo.model import Model

FOLDER = "epochs"


def kept(run_dir: str | Path | None) -> dict[int, Path]:
    """Give the files of weights in a run's directory, by epoch.

    Raises
    ------
    OptionError
        If there are none.
    """
    folder = None if run_dir is None else Path(run_dir) / FOLDER
    found = sorted(folder.glob("epoch-*.safetensors")) if folder is not None and folder.is_dir() else []
    if not found:
        where = "the task does not know its run_dir" if folder is None else f"nothing is in {str(folder)!r}"
        message = f"no weights by epoch: {where}. Train with fit(..., run_dir=..., save_epochs=True), or give run_dir="
        raise OptionError(message)
    return {int(path.stem.rsplit("-", 1)[1]): path for path in found}


def choose(files: dict[int, Path], epoch: int) -> Path:
    """Give the file of an epoch.

    Raises
    ------
    OptionError
        If that epoch was not kept.
    """
    if isinstance(epoch, bool) or epoch not in files:
        message = f"epoch={epoch!r} was not kept; there are {sorted(files)}"
        raise OptionError(message)
    return files[epoch]


def model_of(model: Model, path: Path, epoch: int) -> Model:
    """Make a model with the weights of an epoch; the one that came stays as it is.

    The scales of content losses belong to the weights, so that the new model has none.

    Raises
    ------
    CheckpointError
        If the weights cannot be read, or belong to another network.
    """
    import safetensors.torch

    network = copy.deepcopy(model.network)
    try:
        network.load_state_dict(safetensors.torch.load_file(path))
    except Exception as error:  # a missing file, a header cut short, another network: many types
        text = " ".join(str(error).split())[:150]
        message = f"the weights of epoch {epoch} in {str(path)!r} cannot be used ({text}); give this model's run_dir"
        raise CheckpointError(message) from error
    config = copy.deepcopy(model.config)
    config["content_scale"], config["scores"] = {}, {}
    config.setdefault("training", {})["keep"] = epoch
    return replace(model, network=network.eval(), config=config)
