"""Networks of a super-resolution: described by the settings of the task, built, started from others, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from xatmo.errors import OptionError

if TYPE_CHECKING:
    import torch

    from xatmo.model import Channel, Model
    from xatmo.nn.diffusion import DiffusionConfig
    from xatmo.nn.superres import SuperResolutionConfig
    from xatmo.nn.superres.srgan import SRGANConfig

    Description: TypeAlias = SuperResolutionConfig | SRGANConfig | DiffusionConfig

_SHARED = (
    "backbone", "upsampling", "channels", "n_blocks", "baseline", "norm", "activation", "output_activation", "dropout",
    "dropout_kind", "mc_dropout", "separable", "attention", "localised", "compat", "time_window",
)  # fmt: skip


# ---------------------------------------------------------------------- descriptions
def describe(
    config: Mapping[str, Any],
    n_inputs: int,
    baseline: tuple[int, ...],
    *,
    n_static: int = 0,
    shape: tuple[int, int] | None = None,
    row_offset: float = 0.0,
    column_offset: float = 0.0,
) -> Description:
    """Describe the network that settings of the task ask for.

    Parameters
    ----------
    config : mapping
        Settings of the task, resolved.
    n_inputs : int
    baseline : tuple of int
        For each output the input channel of the same variable, or -1.
    n_static : int
        Static fields on the fine grid.
    shape : (int, int), optional
        Of the fine grid, for a localised network.
    row_offset, column_offset : float
        See `xatmo.nn.superres.Interpolation`.

    Raises
    ------
    OptionError
        If such a network cannot be built.
    """
    if config["backbone"] == "srgan":
        return _srgan(config, n_inputs, len(baseline), n_static)
    from xatmo.nn.superres import SuperResolutionConfig

    found = SuperResolutionConfig(
        config["factor"], n_inputs=n_inputs, n_outputs=len(baseline), n_static=n_static, n_noise=config["noise"],
        baseline_channels=baseline, shape=shape if config["localised"] else None, row_offset=row_offset,
        column_offset=column_offset, **{name: config[name] for name in _SHARED}, **(config["network_settings"] or {}),
    )  # fmt: skip
    if not config["diffusion"]:
        return found
    from xatmo.nn.diffusion import DiffusionConfig

    known, given = DiffusionConfig.settings(), config["diffusion_settings"] or {}
    return DiffusionConfig(found, **{name: value for name, value in given.items() if name in known})


def _srgan(config: Mapping[str, Any], n_inputs: int, n_outputs: int, n_static: int) -> SRGANConfig:
    from xatmo.nn.superres.srgan import SRGANConfig
    from xatmo.nn.superres.upsampling.stages import prime_stages

    own = dict(config["network_settings"] or {})
    variant, factors = own.pop("variant", "atmodist"), own.pop("factors", None)
    if variant not in ("atmodist", "phire"):
        message = f"network_settings has variant={variant!r}; possible are {['atmodist', 'phire']}"
        raise OptionError(message)
    if not (factors is None or (isinstance(factors, list | tuple) and factors)):
        message = f"network_settings has factors={factors!r}; wanted one for each stage, such as [2, 5]"
        raise OptionError(message)
    make = SRGANConfig.phire if variant == "phire" else SRGANConfig.atmodist
    found = make(
        prime_stages(config["factor"]) if factors is None else tuple(factors), n_inputs=n_inputs, n_outputs=n_outputs,
        n_static=n_static, n_noise=config["noise"], channels=config["channels"], n_blocks=config["n_blocks"],
        activation=config["activation"], **own,
    )  # fmt: skip
    if found.factor != config["factor"]:
        message = (
            f"network_settings has factors={factors!r}, which multiply to {found.factor}; wanted {config['factor']}, "
            "the factor of the task"
        )
        raise OptionError(message)
    return found


def describe_discriminator(config: Mapping[str, Any], n_inputs: int, n_outputs: int, *, n_static: int = 0) -> Any:
    """Describe the discriminator that settings of the task ask for, and that fits the generator.

    Raises
    ------
    OptionError
        If its kind, or a setting, is unknown.
    """
    from dataclasses import fields

    from xatmo.nn.superres.discriminators import DISCRIMINATORS

    own = dict(config["discriminator"])
    kind = own.pop("kind", "conditional")
    if kind not in DISCRIMINATORS:
        message = f"discriminator={kind!r} is not available; possible are {sorted(DISCRIMINATORS)}"
        raise OptionError(message)
    described = DISCRIMINATORS[kind][0]
    known = {f.name for f in fields(described)}
    fitting: dict[str, Any] = {
        "factor": config["factor"], "n_inputs": n_inputs, "n_outputs": n_outputs, "n_static": n_static,
        "time_window": config["time_window"], "meet": "fine" if config["upsampling"] == "interpolation" else "coarse",
    }  # fmt: skip
    if unknown := sorted(set(own) - known | set(own) & set(fitting) - {"meet"}):
        possible = sorted(known - set(fitting) | known & {"meet"})
        message = f"discriminator has {unknown}; settings of the kind {kind!r} are {possible}"
        raise OptionError(message)
    fitting = {name: value for name, value in fitting.items() if name in known}
    return described(**fitting | {k: tuple(v) if isinstance(v, list) else v for k, v in own.items()})


# ---------------------------------------------------------------------- building
def build(described: Description) -> torch.nn.Module:
    """Build the network of a description."""
    kind = described.to_dict()["kind"]
    if kind == "srgan":
        from xatmo.nn.superres.srgan import build as build_srgan

        return build_srgan(described.to_dict())
    if kind == "diffusion":
        from xatmo.nn.diffusion import build as build_diffusion

        return build_diffusion(described.to_dict())
    from xatmo.nn.superres import build as build_network

    return build_network(described.to_dict())


def build_discriminator(described: Any) -> torch.nn.Module:
    """Build the discriminator of a description."""
    from xatmo.nn.superres.discriminators import build as build_one

    return build_one(described.to_dict())


def require_same_channels(initial: Model, inputs: Sequence[Channel], outputs: Sequence[Channel]) -> None:
    """Raise unless a fitted model reads and writes the variables, in order and units, that are trained on."""
    for what, theirs, ours in (("reads", initial.inputs, inputs), ("writes", initial.outputs, outputs)):
        have, want = ([(c.name, c.units) for c in channels] for channels in (theirs, ours))
        if have != want:
            message = f"initial {what} {have}; the data here have {want}. Wanted the same names and units in this order"
            raise OptionError(message)


def require_fitting(
    module: torch.nn.Module,
    inputs: Sequence[str],
    outputs: Sequence[str],
    size: Sequence[int],
    factor: int,
    *,
    n_static: int = 0,
) -> None:
    """Raise unless a module of the caller's makes fine patches of coarse ones, by one look at zeros.

    Parameters
    ----------
    module : torch.nn.Module
    inputs, outputs : sequence of str
        Channels.
    size : sequence of int
        Of a coarse patch: ``(time,) lat, lon``.
    factor : int
    n_static : int
        Static fields that it is given.

    Raises
    ------
    OptionError
        If it cannot read them, or gives something else.
    """
    import torch

    tensors = [*module.parameters(), *module.buffers()]
    device = tensors[0].device if tensors else "cpu"
    zeros = [torch.zeros(1, len(inputs), *size, device=device)]
    fine = (*size[:-2], size[-2] * factor, size[-1] * factor)
    if n_static:
        zeros.append(torch.zeros(1, n_static, *fine[-2:], device=device))
    training = module.training
    cells = " x ".join(map(str, size))
    try:
        with torch.no_grad():
            shape = tuple(module.eval()(*zeros).shape)
    except Exception as error:  # a caller's module may raise anything
        first = (str(error).splitlines() or [type(error).__name__])[0][:200]
        message = f"the module cannot read {len(inputs)} channels {list(inputs)} on {cells} cells: {first}"
        raise OptionError(message) from error
    finally:
        module.train(training)
    wanted = (1, len(outputs), *fine)
    if shape != wanted:
        came = tuple(zeros[0].shape)
        message = f"the module turned {came} into {shape}; wanted {wanted} for {list(outputs)} and factor {factor}"
        raise OptionError(message)


def identity(network: torch.nn.Module) -> str:
    """Say in words what a network is, for the comparison of runs."""
    return f"{type(network).__name__} with {sum(p.numel() for p in network.parameters())} parameters"
