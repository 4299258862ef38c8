"""Settings of a super-resolution: defaults that depend on each other, and one check of all before data are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xatmo.errors import OptionError

NETWORK: tuple[str, ...] = (
    "backbone", "upsampling", "channels", "n_blocks", "baseline", "norm", "activation", "output_activation", "dropout",
    "dropout_kind", "mc_dropout", "separable", "attention", "localised", "noise", "compat", "network_settings",
)  # fmt: skip
"""Settings that describe a network of ours, and mean nothing for a module of the caller's."""

ADVERSARIAL: tuple[str, ...] = ("discriminator", "adversarial_weight", "criterion", "gate", "penalty", "keep")
"""Settings that only adversarial training reads."""

DIFFUSION: tuple[str, ...] = ("noise_mean", "noise_std", "spectral_weight", "keep", "validation_loss")
"""Names that ``diffusion_settings`` may hold beside those of `xatmo.nn.diffusion.DiffusionConfig`."""

OPTIMIZER: tuple[str, ...] = (
    "betas", "momentum", "warmup", "drops", "drop_factor", "plateau_patience", "plateau_delta", "lowest_rate",
)  # fmt: skip
"""Names that ``optimizer_settings`` may hold."""

_WEIGHT_DECAY = 0.01  # where nothing is said
_FALLING = ("schedule", ("step", "plateau"))
_READERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "betas": ("optimizer", ("adam", "adamw")), "momentum": ("optimizer", ("sgd",)),
    "warmup": ("schedule", ("one-cycle",)), "drops": ("schedule", ("step",)), "drop_factor": _FALLING,
    "lowest_rate": _FALLING, "plateau_patience": ("schedule", ("plateau",)),
    "plateau_delta": ("schedule", ("plateau",)),
}  # fmt: skip

_SRGAN_ONLY = ("variant", "factors", "kernel", "padding")


def resolve(given: Mapping[str, Any]) -> dict[str, Any]:
    """Put defaults in place of what was left open, as plain values that JSON can hold, and check everything.

    Raises
    ------
    OptionError
        If a value, or a combination, is not available.
    """
    from xatmo.train import whole

    config = {name: _plain(value) for name, value in given.items()}
    config["factor"] = whole("factor", config["factor"], 2)
    for name, least in (("channels", 1), ("n_blocks", 0), ("time_window", 2)):
        if config[name] is not None:
            config[name] = whole(name, config[name], least)
    config["noise"] = whole("noise", config["noise"], 0)
    _check_choices(config)
    _check_phases(config)
    defaults = _network_defaults(config) | _training_defaults(config)
    defaults["loss"] = "mse" if config["diffusion"] else "mae"
    given_settings, usual = config["optimizer_settings"], defaults.pop("optimizer_settings", None)
    for name, value in defaults.items():
        if config[name] == "auto" if name == "baseline" else config[name] is None:
            config[name] = value
    _check_read(config, given_settings)
    if usual := {name: value for name, value in (usual or {}).items() if _is_read(name, config)}:
        config["optimizer_settings"] = usual | (given_settings or {})
    config["covariates"] = _covariates(config["covariates"])
    _check_where_it_is_used(config)
    return config


# ---------------------------------------------------------------------- defaults
def _network_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """Width, depth and the like: those of what the network is named after."""
    if config["backbone"] == "srgan":
        variant = (config["network_settings"] or {}).get("variant", "atmodist")
        activation = "relu" if variant == "phire" else "leaky_relu"
        return {"channels": 64, "n_blocks": 16, "baseline": None, "activation": activation}
    if config["compat"] == "dl4ds":
        recurrent = config["time_window"] is not None and config["upsampling"] != "interpolation"
        return {"channels": 8, "n_blocks": 4 if recurrent else 6, "baseline": None, "activation": "relu"}
    return {"channels": 48, "n_blocks": 4, "baseline": "bicubic", "activation": "gelu"}


def _training_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    published = config["compat"] == "dl4ds" or config["backbone"] == "srgan"
    if not config["adversarial"]:
        optimizer = {"optimizer": "adamw", "learning_rate": 1e-3, "schedule": "one-cycle"}
        if config["diffusion"]:
            return {**optimizer, "pretrain": 0.5, "average": 0.999}
        if config["compat"] == "dl4ds":
            # After a hundred thousand steps a tenth of the rate.
            own = {"optimizer": "adam", "schedule": "step"}
            steps = {"drops": [100000.0], "drop_factor": 0.1}
            return {**optimizer, **own, "optimizer_settings": steps}
        return optimizer
    found: dict[str, Any] = {
        "optimizer": "adam", "learning_rate": [1e-3, 1e-3], "schedule": "one-cycle", "pretrain": 0.5,
        "optimizer_settings": {"betas": [0.5, 0.99]}, "adversarial_weight": 0.03, "criterion": "relativistic",
        "penalty": 0.1, "average": 0.99, "keep": "last", "gate": False,
        "discriminator": {"kind": "conditional", "channels": 32, "n_blocks": 2, "dropout": 0.0},
    }  # fmt: skip
    if published:
        found |= {"schedule": "constant", "criterion": "cross_entropy", "penalty": 0.0, "average": 0}
    if config["compat"] == "dl4ds":
        found |= {
            "adversarial_weight": 0.01,
            "learning_rate": [2e-4, 2e-4],
            "pretrain": 0,
            "optimizer_settings": {"betas": [0.5, 0.999]},
        }
        found["discriminator"] = {"kind": "conditional", "channels": 32, "n_blocks": 4, "compat": "dl4ds"}
    elif config["backbone"] == "srgan":
        found |= {"learning_rate": [1e-4, 1e-4], "pretrain": 0.25, "optimizer_settings": {"betas": [0.9, 0.999]}}
        found |= {"adversarial_weight": 1e-3, "gate": [0.46, 0.6], "discriminator": {"kind": "srgan"}}
    return found


# ---------------------------------------------------------------------- checks
def _check_choices(config: dict[str, Any]) -> None:
    flags = ("adversarial", "diffusion", "localised", "mc_dropout", "separable", "attention", "scale_learning_rate")
    known: dict[str, Sequence[Any]] = {
        **dict.fromkeys(flags, (False, True)),
        "backbone": ("convnext", "dense", "plain", "residual", "srgan", "unet"),
        "constraint": (None, "additive", "multiplicative", "softmax"), "loss_weights": (None, "area"),
        "normalization": ("standard", "minmax", "robust", "log1p"),
        "augmentation": ("auto", "none", "mirror", "symmetries"), "compat": (None, "dl4ds"),
    }  # fmt: skip
    for name, possible in known.items():
        value = config[name]
        if not any(value is p or (isinstance(value, str) and value == p) for p in possible):
            message = f"{name}={value!r} is not available; possible are {list(possible)}"
            raise OptionError(message)
    for name in ("network_settings", "diffusion_settings", "optimizer_settings"):
        if config[name] is not None and not isinstance(config[name], dict):
            message = f"{name}={config[name]!r}; wanted a mapping from setting to value"
            raise OptionError(message)
    if isinstance(config["discriminator"], str):
        config["discriminator"] = {"kind": config["discriminator"]}
    if not isinstance(config["discriminator"], dict | None):
        message = (
            f"discriminator={config['discriminator']!r}; wanted a kind, such as 'conditional', or a mapping with "
            "'kind' and settings"
        )
        raise OptionError(message)
    if config["mc_dropout"] and config["dropout"] == 0:
        message = "mc_dropout=True with dropout=0.0, which draws nothing; wanted a rate, such as dropout=0.1"
        raise OptionError(message)
    _check_names("optimizer_settings", config["optimizer_settings"], OPTIMIZER)
    if config["diffusion_settings"] is not None:
        from xatmo.nn.diffusion import DiffusionConfig

        _check_names("diffusion_settings", config["diffusion_settings"], (*DiffusionConfig.settings(), *DIFFUSION))
    srgan = config["backbone"] == "srgan"
    _check_names("network_settings", config["network_settings"], _SRGAN_ONLY if srgan else ("fine_channels",))
    if srgan:
        _check_srgan(config)


def _check_names(what: str, given: Mapping[str, Any] | None, known: Iterable[str]) -> None:
    if unknown := sorted(set(given or ()) - set(known)):
        message = f"{what} has {unknown}; possible are {sorted(known)}"
        raise OptionError(message)


def _is_read(name: str, config: Mapping[str, Any]) -> bool:
    """Tell whether the optimizer or the schedule, or one of two, minds this setting."""
    who, values = _READERS[name]
    chosen = config[who] if isinstance(config[who], list) else [config[who]]
    return any(value in values for value in chosen)


def _check_read(config: Mapping[str, Any], given: Mapping[str, Any] | None) -> None:
    """Refuse settings of the optimizer that nothing would read."""
    for name in given or ():
        if not _is_read(name, config):
            who, values = _READERS[name]
            message = (
                f"optimizer_settings has {name!r}, which {who}={config[who]!r} does not read; it goes with {who} "
                f"{' or '.join(map(repr, values))}"
            )
            raise OptionError(message)
    if config["optimizer"] == "adam" and config["weight_decay"] not in (0, _WEIGHT_DECAY):
        message = f"weight_decay={config['weight_decay']!r}, which optimizer='adam' does not read; take 'adamw'"
        raise OptionError(message)


def _check_srgan(config: Mapping[str, Any]) -> None:
    """Refuse what an SRGAN generator has no place for."""
    absent: dict[str, tuple[Any, ...]] = {
        "upsampling": ("subpixel",), "baseline": ("auto", None), "norm": (None,), "output_activation": (None,),
        "dropout": (0, 0.0), "mc_dropout": (False,), "separable": (False,), "attention": (False,),
        "localised": (False,), "compat": (None,), "diffusion": (False,),
    }  # fmt: skip
    for name, only in absent.items():
        if config[name] not in only:
            message = f"{name}={config[name]!r} with backbone='srgan', which has none; wanted {name}={only[0]!r}"
            raise OptionError(message)


def _check_phases(config: dict[str, Any]) -> None:
    if config["adversarial"] and config["diffusion"]:
        message = "adversarial=True and diffusion=True came; wanted one of them"
        raise OptionError(message)
    two = config["adversarial"] or config["diffusion"]
    if not config["adversarial"]:
        for name in ADVERSARIAL:
            if config[name] is not None:
                message = f"{name}={config[name]!r} is read by adversarial training only; pass adversarial=True, too"
                raise OptionError(message)
    if not config["diffusion"] and config["diffusion_settings"] is not None:
        message = f"diffusion_settings={config['diffusion_settings']!r} came without diffusion=True; pass both"
        raise OptionError(message)
    for name in ("pretrain", "average"):
        if not two and config[name] is not None:
            message = f"{name}={config[name]!r} needs adversarial=True or diffusion=True, which have a second phase"
            raise OptionError(message)
    gate = config["gate"]
    if not (gate is None or gate is False or isinstance(gate, list)):
        message = f"gate={gate!r}; wanted two losses in rising order, such as (0.46, 0.6), or False"
        raise OptionError(message)
    config["pretrain"] = _pretrain(config["pretrain"])
    if not two and isinstance(config["learning_rate"], list):
        message = f"learning_rate={config['learning_rate']!r}; wanted one number: a pair is for two phases or networks"
        raise OptionError(message)


def _pretrain(value: Any) -> int | float | None:
    """Give a part of the steps, or a number of steps."""
    if value is None or (isinstance(value, float) and 0 < value < 1):
        return value
    if (isinstance(value, int) and not isinstance(value, bool) and value >= 0) or (value == 0 and value is not False):
        return int(value)
    message = f"pretrain={value!r}; wanted a part of the steps, 0 to below 1, or a whole number of steps"
    raise OptionError(message)


def _covariates(names: Any) -> list[str]:
    if names is None or (isinstance(names, list | str) and not names):
        return []
    from xatmo.covariates import check_names

    return list(check_names(names))


def _check_where_it_is_used(config: dict[str, Any]) -> None:
    """Let those who use a setting check it, and take their plain numbers."""
    from torch import nn

    from xatmo.nn import losses
    from xatmo.tasks.superres import _objectives, _superres_networks

    mix = losses.build(config["loss"])
    if isinstance(config["loss"], dict):
        config["loss"] = mix.parts
    _superres_networks.describe(config, 1, (0,), shape=(config["factor"], config["factor"]))
    if config["adversarial"]:
        _superres_networks.describe_discriminator(config, 1, 1)
        probe = _objectives.adversarial(config, nn.Identity(), nn.Identity(), mix, pretrain_steps=0)
        config["penalty"], config["adversarial_weight"] = probe.penalty, probe.adversarial_weight
    settings = _objectives.optimizers(config, 1)
    rates = [s.learning_rate for s in settings]
    config["weight_decay"] = settings[0].weight_decay if not isinstance(config["weight_decay"], list) else [
        s.weight_decay for s in settings
    ]  # fmt: skip
    config["learning_rate"] = rates if config["adversarial"] or isinstance(config["learning_rate"], list) else rates[0]


def _plain(value: Any) -> Any:
    """As JSON would give it back: lists for tuples, Python's numbers for NumPy's."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if type(value).__module__ == "numpy" and hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return value.item()
    return value
