"""``xatmo apply`` of a network that maps observations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from xatmo.cli import files, mapping
from xatmo.errors import OptionError


@dataclass(frozen=True)
class Wanted:
    """The words of the command.

    Attributes
    ----------
    input, output : Path
    obs, mask, domain, background, lag : str or None
        Names of variables, of ``obs`` several joined by commas.
    period : str or None
        ``FIRST,LAST``.
    uncertainty : bool
    members : int or None
    seed : int
    batch_size : int or None
    device : str
    overwrite : bool
    """

    input: Path
    output: Path
    obs: str | None = None
    mask: str | None = None
    domain: str | None = None
    background: str | None = None
    lag: str | None = None
    period: str | None = None
    uncertainty: bool = False
    members: int | None = None
    seed: int = 0
    batch_size: int | None = None
    device: str = "auto"
    overwrite: bool = False


def maps(model: Any) -> bool:
    """Whether a saved task maps observations, or refines fields."""
    return model.config.get("observed") is not None


def refuse(options: Mapping[str, Any]) -> None:
    """Refuse what goes with a network that maps observations only.

    Raises
    ------
    OptionError
        If one of these options is given.

    Examples
    --------
    >>> refuse({"obs": None})
    """
    for name, value in options.items():
        if value is not None:
            message = f"--{name} goes with a FourDVarNet, and this model is none; leave it out"
            raise OptionError(message)


def interpolate(model: Any, wanted: Wanted, *, note: Callable[[str], Any]) -> None:
    """Map the observations of a file, or of a challenge's folder, and write the maps.

    Raises
    ------
    FileNotFoundError, FileExistsError
        If something is not there, or is and may not be replaced.
    XatmoError
        If the fields do not fit the network.
    """
    trained = [str(c.name) for c in model.inputs[: len(model.config["observed"])]]
    obs = mapping.names(wanted.obs) or trained
    roles = {k: getattr(wanted, k) for k in ("mask", "domain", "background", "lag")}
    ds = mapping.open_input(wanted.input, [*obs, *[name for name in roles.values() if name is not None]])
    # What the training took from a variable of these names serves here, too.
    roles = {k: v or (k if k in ("domain", "lag") and k in ds.variables else None) for k, v in roles.items()}
    ds = mapping.within(ds, wanted.period)
    note(f"mapping {', '.join(obs)} of {wanted.input}" + "".join(f", {k} {v}" for k, v in roles.items() if v))
    result = files.in_pieces(ds).atmo.fourdvar_interp(
        obs if len(obs) > 1 else obs[0], model=model, uncertainty=wanted.uncertainty, members=wanted.members,
        seed=wanted.seed, batch_size=wanted.batch_size, device=wanted.device, **roles,
    )  # fmt: skip
    asked = {k: v for k, v in asdict(wanted).items() if k not in ("input", "output", "overwrite", "device")}
    key = {"model": model.fingerprint, "input": files.identity(wanted.input), **asked, **roles}
    files.write(_named(result), wanted.output, key=key, overwrite=wanted.overwrite, note=note)


def _named(result: xr.Dataset) -> xr.Dataset:
    """Give the fields alone: the input's other coordinates were for the network."""
    keep = {d for da in result.data_vars.values() for d in da.dims}
    return result.drop_vars([c for c in result.coords if not set(result[c].dims) <= keep])
