"""Settings of a learned variational mapping: one check of all of them before data are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from xatmo.errors import OptionError

NETWORK: tuple[str, ...] = ("prior", "solver", "n_steps", "state", "operator", "error", "network_settings")
"""Settings that describe a network of ours, and mean nothing for a module of the caller's."""

OBJECTIVES = (None, "supervised", "held_back", "variational")
BACKGROUNDS = ("oi", "linear", "zero")
OPTIMIZER: tuple[str, ...] = (
    "betas", "momentum", "warmup", "drops", "drop_factor", "plateau_patience", "plateau_delta", "lowest_rate",
)  # fmt: skip

FIRST_STEP = 0.02
"""Along the gradient of a prior that has learned nothing: a longer one leads away from a good background."""

# What data decide, or a keyword of the task.
_DECIDED = ("n_observations", "n_extra", "time_window", "prior", "solver", "n_steps", "state", "operator", "error",
            "keeps_background")  # fmt: skip


def resolve(given: Mapping[str, Any]) -> dict[str, Any]:
    """Give plain values that JSON can hold, and check everything.

    Raises
    ------
    OptionError
        If a value, or a combination, is not available.
    """
    from xatmo.train import whole
    from xatmo.train.settings import real

    config = {name: plain(value) for name, value in given.items()}
    config["time_window"] = whole("time_window", config["time_window"], 1)
    if config["objective"] not in OBJECTIVES:
        message = f"objective={config['objective']!r} is not available; possible are {list(OBJECTIVES)}"
        raise OptionError(message)
    if not isinstance(config["background"], str):
        message = f"background={config['background']!r}; wanted 'oi', 'linear', 'zero' or the name of a variable"
        raise OptionError(message)
    for name in ("error", "scale_learning_rate"):
        if not isinstance(config[name], bool):
            message = f"{name}={config[name]!r}; wanted True or False"
            raise OptionError(message)
    for name in ("network_settings", "oi", "optimizer_settings", "loss"):
        if config[name] is not None and not isinstance(config[name], dict):
            message = f"{name}={config[name]!r}; wanted a mapping from setting to value"
            raise OptionError(message)
    if config["oi"] and config["background"] == "oi":
        from xatmo.tasks.fourdvar._background import check

        check(config["oi"])
    for name in ("redraw", "held_back"):
        config[name] = real(name, config[name])
        if config[name] > 1:
            message = f"{name}={config[name]!r}; wanted a part, from 0 to 1"
            raise OptionError(message)
    if config["noise_std"] is not None:
        config["noise_std"] = real("noise_std", config["noise_std"])
    _check_names("optimizer_settings", config["optimizer_settings"], OPTIMIZER)
    network(config, n_observations=1, n_extra=1)
    rate = optimizer(config, 1)
    config["learning_rate"], config["weight_decay"] = rate.learning_rate, rate.weight_decay
    probe(config)
    return config


def network(config: Mapping[str, Any], *, n_observations: int, n_extra: int, n_outputs: int = 0) -> Any:
    """Describe the network that the settings ask for; as many outputs as they say without ``n_outputs``.

    Raises
    ------
    OptionError
        If a setting is unknown, or cannot be used.
    """
    from xatmo.nn.assimilation import FourDVarConfig

    own = dict(config["network_settings"] or {})
    known = {f.name for f in fields(FourDVarConfig)}
    if unknown := sorted(set(own) - (known - set(_DECIDED))):
        message = f"network_settings has {unknown}; possible are {sorted(known - set(_DECIDED))}"
        raise OptionError(message)
    own = {k: tuple(v) if isinstance(v, list) else v for k, v in own.items()}
    told = max((o for o in own.get("observed") or () if isinstance(o, int)), default=0) + 1
    outputs = int(own.pop("n_outputs", n_outputs or told))
    if n_outputs and outputs != n_outputs:
        message = f"network_settings has n_outputs={outputs} with {n_outputs} targets; leave it out"
        raise OptionError(message)
    if config["objective"] == "variational":
        own.setdefault("learn_weights", False)
    elif config["solver"] == "unet" and not config["prior"].startswith("spde"):
        own.setdefault("step_size", FIRST_STEP)
    # The observed variables may be more than in a first look without data.
    n_observations = max(n_observations, len(own.get("observed") or ()), 1 + max(own.get("calibrated", ()), default=0))
    if "error" in known:
        own["error"] = config["error"] and config["objective"] in (None, "supervised")
    return FourDVarConfig(
        time_window=config["time_window"], n_outputs=outputs, n_observations=n_observations, n_extra=n_extra,
        prior=config["prior"], solver=config["solver"], n_steps=config["n_steps"], state=config["state"],
        operator=config["operator"], **own,
    )  # fmt: skip


def optimizer(config: Mapping[str, Any], devices: int) -> Any:
    """Give the settings of the optimizer."""
    from xatmo.train import OptimizerSettings

    rate = config["learning_rate"]
    if config["scale_learning_rate"] and devices > 1:
        rate = float(rate) * devices
    return OptimizerSettings(
        optimizer=config["optimizer"], learning_rate=rate, weight_decay=config["weight_decay"],
        schedule=config["schedule"], **(config["optimizer_settings"] or {}),
    )  # fmt: skip


def objective(config: Mapping[str, Any], made: Any, *, mode: Any, devices: int = 1, seed: int = 0) -> Any:
    """Make the objective that trains a network."""
    from xatmo.train import FourDVar

    return FourDVar(
        made, config["loss"], mode=mode, optimizer=optimizer(config, devices), held_back=config["held_back"],
        time_weight=config["time_weight"], border=config["border"], augmentation=config["augmentation"], seed=seed,
    )  # fmt: skip


def probe(config: Mapping[str, Any]) -> None:
    """Let the objective look at its settings, with a network of the least size."""
    from xatmo.nn.assimilation import FourDVarConfig, FourDVarNetwork
    from xatmo.train.augment import augment

    mode = config["objective"] or "supervised"
    least = FourDVarConfig(
        time_window=1, prior_channels=1, solver_channels=1, n_levels=1, learn_weights=mode != "variational"
    )
    objective(config, FourDVarNetwork(least), mode=mode)
    if config["augmentation"] not in ("none", "mirror", "symmetries"):
        message = f"augmentation={config['augmentation']!r}; possible are ['none', 'mirror', 'symmetries']"
        raise OptionError(message)
    augment((), config["augmentation"], (0,))


def _check_names(what: str, given: Mapping[str, Any] | None, known: tuple[str, ...]) -> None:
    if unknown := sorted(set(given or ()) - set(known)):
        message = f"{what} has {unknown}; possible are {sorted(known)}"
        raise OptionError(message)


def plain(value: Any) -> Any:
    """As JSON would give it back: lists for tuples, Python's numbers for NumPy's."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if type(value).__module__ == "numpy" and hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return str(value) if type(value).__name__ == "timedelta64" else value.item()
    return value
