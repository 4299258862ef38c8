"""What a super-resolution minimises: the objective of `xatmo.train` that the settings of the task ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from xatmo.nn.losses import Mix
    from xatmo.train import Adversarial, Objective, OptimizerSettings


def optimizers(config: Mapping[str, Any], devices: int) -> tuple[OptimizerSettings, ...]:
    """Give the settings of the optimizers: one, or a pair where there are two networks or phases.

    Raises
    ------
    OptionError
        If one cannot be used.
    """
    from xatmo.train import OptimizerSettings

    common: dict[str, Any] = {
        "optimizer": config["optimizer"], "weight_decay": config["weight_decay"], "schedule": config["schedule"],
        **(config["optimizer_settings"] or {}),
    }  # fmt: skip
    times = devices if config["scale_learning_rate"] else 1
    rates = config["learning_rate"]
    if config["adversarial"] or config["diffusion"]:
        rates = list(rates) if isinstance(rates, list | tuple) else [rates, rates]
        return OptimizerSettings.pair(learning_rate=[_times(rate, times) for rate in rates], **common)
    return (OptimizerSettings(learning_rate=_times(rates, times), **common),)


def _times(rate: Any, times: int) -> Any:
    return rate if times == 1 else float(rate) * times


def pretrain_steps(config: Mapping[str, Any], max_steps: int) -> int:
    """Count the steps of the first phase; a part of the steps leaves one for the second.

    Examples
    --------
    >>> pretrain_steps({"pretrain": 0.25}, 200), pretrain_steps({"pretrain": 30}, 200), pretrain_steps({}, 200)
    (50, 30, 0)
    >>> pretrain_steps({"pretrain": 0.9}, 2)
    1
    """
    wanted = config.get("pretrain") or 0
    return min(round(wanted * max_steps), max_steps - 1) if isinstance(wanted, float) else int(wanted)


def make(
    config: Mapping[str, Any],
    network: torch.nn.Module,
    loss: Mix,
    *,
    discriminator: torch.nn.Module | None = None,
    max_steps: int,
    devices: int = 1,
    augmentation: Any = "none",
    seed: int = 0,
) -> Objective:
    """Make the objective.

    Parameters
    ----------
    config : mapping
        Settings of the task, resolved.
    network : torch.nn.Module
    loss : Mix
        Of normalized outputs; the content loss of adversarial training.
    discriminator : torch.nn.Module, optional
        For adversarial training.
    max_steps, devices : int
    augmentation : str
    seed : int

    Raises
    ------
    OptionError
        If a setting cannot be used.
    """
    from xatmo.train import Supervised

    common: dict[str, Any] = {"augmentation": augmentation, "seed": seed}
    first = pretrain_steps(config, max_steps)
    if discriminator is not None:
        return adversarial(config, network, discriminator, loss, pretrain_steps=first, devices=devices, **common)
    pair = optimizers(config, devices)
    if config["diffusion"]:
        return diffusion(config, network, loss, optimizer=pair, pretrain_steps=first, **common)
    return Supervised(network, loss, optimizer=pair[0], **common)


def adversarial(
    config: Mapping[str, Any],
    network: torch.nn.Module,
    discriminator: torch.nn.Module,
    loss: Mix,
    *,
    pretrain_steps: int,
    devices: int = 1,
    **common: Any,
) -> Adversarial:
    """Make the objective of a generator and a discriminator."""
    from xatmo.train import Adversarial

    first, second = optimizers(config, devices)
    return Adversarial(
        network, discriminator, loss, adversarial_weight=config["adversarial_weight"], criterion=config["criterion"],
        optimizer=(first, second), pretrain_steps=pretrain_steps,
        gate=tuple(config["gate"]) if config["gate"] else None, penalty=config["penalty"],
        average=config["average"] or None, keep=config["keep"], **common,
    )  # fmt: skip


def diffusion(config: Mapping[str, Any], network: Any, loss: Mix, **settings: Any) -> Objective:
    """Make the objective of a mean network and a diffusion model of what it leaves."""
    from xatmo.nn.diffusion import DiffusionConfig
    from xatmo.train.diffusion import Diffusion

    given = config["diffusion_settings"] or {}
    own = {name: value for name, value in given.items() if name not in DiffusionConfig.settings()}
    return Diffusion(network, loss, average=config["average"] or None, **settings, **own)
