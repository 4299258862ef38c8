"""Settings of a forecaster: one check of all of them before data are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xatmo.errors import OptionError
from xatmo.tasks.fourdvar._settings import plain

NETWORK: tuple[str, ...] = ("architecture", "network_settings")
"""Settings that describe a network of ours, and mean nothing for a module of the caller's."""

SIMPLE = ("persistence", "yesterday", "diurnal", "climatology")
"""Forecasts without a network."""

BASELINES = ("auto", None, "none", *SIMPLE)
LATENT = {"savp": True, "vae": False}
"""Architectures with latent variables, and whether discriminators train them where nothing else is said."""

USUAL: dict[bool, dict[str, Any]] = {
    False: {"optimizer": "adamw", "learning_rate": 2e-3, "schedule": "one-cycle"},
    True: {"optimizer": "adam", "learning_rate": 2e-4, "schedule": "linear"},
}
"""What is chosen where nothing is said: without discriminators, and with."""

MEMBERS = 100.0
"""Weight of the CRPS of members, where nothing is said: that of the reconstruction."""

SCALE = (0.6, 1.6)
"""Of departures from a cycle, with ``scale="auto"``."""

NORMALIZATION = ("standard", "minmax", "robust", "log1p")
OPTIMIZER: tuple[str, ...] = (
    "betas", "momentum", "warmup", "drops", "drop_factor", "plateau_patience", "plateau_delta", "lowest_rate",
)  # fmt: skip

# Fewer days tell little of the mean day.
_DAYS = 3


def resolve(given: Mapping[str, Any]) -> dict[str, Any]:
    """Give plain values that JSON can hold, and check everything.

    Raises
    ------
    OptionError
        If a value, or a combination, is not available.
    """
    from xatmo.covariates import check_names
    from xatmo.nn.video.architectures import ARCHITECTURES
    from xatmo.train import whole
    from xatmo.train.settings import real

    config = {name: plain(value) for name, value in given.items()}
    known = [*sorted(ARCHITECTURES), *SIMPLE]
    if config["architecture"] not in known:
        message = f"architecture={config['architecture']!r}; wanted one of {known}"
        raise OptionError(message)
    for name in ("n_context", "n_future"):
        config[name] = whole(name, config[name])
    if config["baseline"] not in BASELINES:
        message = f"baseline={config['baseline']!r}; wanted 'auto', None, or one of {list(SIMPLE)}"
        raise OptionError(message)
    config["covariates"] = list(check_names(config["covariates"] or ()))
    for name in ("network_settings", "objective_settings", "optimizer_settings"):
        if config[name] is not None and not isinstance(config[name], dict):
            message = f"{name}={config[name]!r}; wanted a mapping from setting to value"
            raise OptionError(message)
    if config["normalization"] not in NORMALIZATION:
        message = f"normalization={config['normalization']!r}; wanted one of {list(NORMALIZATION)}"
        raise OptionError(message)
    if config["augmentation"] not in ("none", "mirror", "symmetries"):
        message = f"augmentation={config['augmentation']!r}; wanted one of ['none', 'mirror', 'symmetries']"
        raise OptionError(message)
    if not isinstance(config["scale_learning_rate"], bool):
        message = f"scale_learning_rate={config['scale_learning_rate']!r}; wanted True or False"
        raise OptionError(message)
    config["auxiliary"] = real("auxiliary", config["auxiliary"])
    if isinstance(config["scale"], str) and config["scale"] != "auto":
        message = f"scale={config['scale']!r}; wanted 'auto', two positive numbers, or None"
        raise OptionError(message)
    if unknown := sorted(set(config["optimizer_settings"] or ()) - set(OPTIMIZER)):
        message = f"optimizer_settings has {unknown}; possible are {sorted(OPTIMIZER)}"
        raise OptionError(message)
    if config["architecture"] not in SIMPLE:
        _probe(config)
    elif config["network_settings"]:
        message = (
            f"network_settings={config['network_settings']!r} with architecture={config['architecture']!r}, which has "
            "none; leave it out"
        )
        raise OptionError(message)
    return config


def _probe(config: Mapping[str, Any]) -> None:
    """Let network and objective look at their settings, before there are data."""
    import torch

    from xatmo.nn.video import VideoConfig, VideoNetwork

    described = VideoConfig(
        config["architecture"], n_context=config["n_context"], n_future=config["n_future"],
        settings=config["network_settings"] or {},
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        objective(config, VideoNetwork(described), max_steps=2)


def latent(config: Mapping[str, Any]) -> bool:
    """Tell whether the network has latent variables to train."""
    return config["architecture"] in LATENT


def loss(config: Mapping[str, Any]) -> Any:
    """Give the loss that was asked for, or the usual one.

    A squared error would teach dropout that is to make members to spread as little as it can.
    """
    if config["loss"] is not None:
        return config["loss"]
    if latent(config):
        return "mae"
    settings = config["network_settings"] or {}
    return "crps" if settings.get("mc_dropout") and settings.get("dropout") else "mse"


def objective(
    config: Mapping[str, Any], network: Any, *, max_steps: int, cycle: bool = False, devices: int = 1, seed: int = 0
) -> Any:
    """Make the objective that trains a network.

    Parameters
    ----------
    config : mapping
    network : VideoNetwork
    max_steps : int
        Of the run.
    cycle : bool
        Whether there is a cycle, from which departures are scaled.
    devices, seed : int

    Raises
    ------
    OptionError
        If a setting is unknown, or cannot be used.
    """
    from xatmo.train import Forecast

    own = dict(config["objective_settings"] or {})
    chosen, adversarial = _objective_class(config, own)
    if adversarial and "pretrain" in own:
        own["pretrain_steps"] = _pretrain_steps(own.pop("pretrain"), max_steps)
    if chosen is not Forecast:
        own.setdefault("members", MEMBERS)
    scale = (SCALE if cycle else None) if config["scale"] == "auto" else config["scale"]
    common = {
        "optimizer": _optimizer(config, devices, adversarial=adversarial), "auxiliary": config["auxiliary"],
        "scheduled_sampling": config["scheduled_sampling"], "augmentation": config["augmentation"],
        "scale": scale, "seed": seed,
    }  # fmt: skip
    try:
        return chosen(network, loss(config), **{**common, **own})
    except TypeError as error:
        message = f"objective_settings={own!r} do not fit {chosen.__name__}: {error}"
        raise OptionError(message) from error


def _objective_class(config: Mapping[str, Any], own: dict[str, Any]) -> tuple[Any, bool]:
    """Choose the objective, and take what chooses it out of its settings; tell whether it has discriminators."""
    from xatmo.nn.ensemble_losses import ENSEMBLE_LOSSES
    from xatmo.train import AdversarialForecast, Forecast, LatentForecast

    scored = isinstance(config["loss"], str) and config["loss"] in ENSEMBLE_LOSSES
    if not latent(config) or scored:  # a score of members alone asks for no posterior
        return Forecast, False
    adversarial = bool(own.pop("adversarial", LATENT[config["architecture"]]))
    return (AdversarialForecast, True) if adversarial else (LatentForecast, False)


def _pretrain_steps(part: Any, max_steps: int) -> int:
    """Count the steps without discriminators: below 1 a part of the run."""
    from xatmo.train.settings import real

    number = real("objective_settings['pretrain']", part)
    return round(number * max_steps) if number < 1 else int(number)


def _optimizer(config: Mapping[str, Any], devices: int, *, adversarial: bool) -> Any:
    from xatmo.train import OptimizerSettings

    usual = USUAL[adversarial]
    given = {n: usual[n] if config[n] is None else config[n] for n in usual}
    others = dict(config["optimizer_settings"] or {})
    if adversarial:  # as Lee et al. 2018 trained, but for the fall of the rate, which follows the run
        others = {"betas": (0.5, 0.999), **({"drops": (0.3, 1.0)} if given["schedule"] == "linear" else {}), **others}
    rate, factor = given["learning_rate"], devices if config["scale_learning_rate"] else 1
    paired = isinstance(rate, list | tuple)
    if paired and not adversarial:
        message = f"learning_rate={rate!r}; wanted one number: discriminators alone have a second one"
        raise OptionError(message)
    if factor > 1:
        given["learning_rate"] = [r * factor for r in rate] if paired else rate * factor
    made = {"weight_decay": config["weight_decay"], **given, **others}
    return OptimizerSettings.pair(**made) if paired else OptimizerSettings(**made)


def baseline(config: Mapping[str, Any], step: float | None, n_times: int, *, dated: bool) -> str:
    """Choose the simple forecast: what was asked for, or by the record.

    Parameters
    ----------
    config : mapping
    step : float, optional
        Seconds between frames.
    n_times : int
    dated : bool
        Whether times are dates.

    Raises
    ------
    OptionError
        If the record has no hours to learn from.
    """
    simple = config["architecture"] in SIMPLE
    asked = config["architecture"] if simple else config["baseline"]
    if asked in (None, "none"):
        return "none"
    if asked == "auto":
        if not dated:
            return "none"
        days = n_times * step / 86400 if step else 0.0
        return "diurnal" if step and step < 86400 and divides_day(step) and days >= _DAYS else "persistence"
    if asked in ("diurnal", "climatology", "yesterday") and not dated:
        message = f"{asked!r} needs dates, and the times of the record are numbers; wanted 'persistence' or None"
        raise OptionError(message)
    if asked in ("diurnal", "yesterday") and not (step and step <= 86400 and divides_day(step)):
        told = "unknown" if step is None else f"{step:g} s"
        message = (
            f"{asked!r} needs frames that come back at the same hours of each day, and their step is {told}; wanted a "
            "part of a day, or another of 'persistence' and 'climatology'"
        )
        raise OptionError(message)
    return str(asked)


def divides_day(step: float) -> bool:
    """Tell whether a day is a whole number of steps.

    Examples
    --------
    >>> divides_day(3600.0), divides_day(5 * 3600.0)
    (True, False)
    """
    return abs(86400 / step - round(86400 / step)) < 1e-6
