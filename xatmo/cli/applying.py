"""``xatmo apply`` of networks that map observations, and of those that forecast."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from xatmo.cli import files, mapping
from xatmo.errors import OptionError

_REGION_BYTES = 64e6


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


def forecasts(model: Any) -> bool:
    """Whether a saved task continues records."""
    kind: Any = model.config.get("network", {}).get("kind")
    return bool(kind == "video")


def forecast(
    model: Any, wanted: Wanted, *, init_time: str | None, n_future: int | None, variable: str | None, nan: str,
    note: Callable[[str], Any],
) -> None:  # fmt: skip
    """Continue the record of a file from each initial time, and write the forecasts.

    Parameters
    ----------
    model : Model
    wanted : Wanted
    init_time : str, optional
        ``FIRST,LAST``, either of which may be left out; or one time.
    n_future : int, optional
    variable : str, optional
        The one to forecast, under whatever name.
    nan : str
    note : callable

    Raises
    ------
    FileNotFoundError, FileExistsError
        If something is not there, or is and may not be replaced.
    XatmoError
        If the fields do not fit the forecaster.
    """
    ds = files.open_fields(wanted.input)
    first = [c.name for c in model.inputs]
    if variable is not None:
        field = files.one_variable(ds, variable, wanted.input)
        ds = field.to_dataset(name=first[0] if len(first) == 1 else variable)
    made = ds.atmo.forecast(
        model, init_time=_times(init_time), members=wanted.members, n_future=n_future, seed=wanted.seed,
        batch_size=wanted.batch_size, device=wanted.device, nan=nan, output_chunks=_together(ds, model, wanted.members),
    )  # fmt: skip
    key = {
        "model": model.fingerprint, "input": files.identity(wanted.input), "init_time": init_time,
        "n_future": n_future, "variable": variable, "members": wanted.members, "seed": wanted.seed, "nan": nan,
    }  # fmt: skip
    note(f"{made.sizes['init_time']} initial times, {made.sizes['lead_time']} leads of {', '.join(map(str, made))}")
    files.write(made, wanted.output, key=key, overwrite=wanted.overwrite, note=note)


def _times(words: str | None) -> Any:
    """Read ``FIRST,LAST``, or one time.

    Examples
    --------
    >>> _times("2019-03-01,2019-03-05"), _times("2019-03-01,"), _times("2019-03-01T12"), _times(None)
    (slice('2019-03-01', '2019-03-05', None), slice('2019-03-01', None, None), '2019-03-01T12', None)
    """
    if words is None or "," not in words:
        return words
    first, last = words.split(",", 1)
    return slice(first.strip() or None, last.strip() or None)


def _together(ds: xr.Dataset, model: Any, members: int | None) -> dict[Any, int]:
    """Count the initial times of a region: what is read for one, and what is written, stays small."""
    cells = max((v.size for v in ds.data_vars.values()), default=1) // max(ds.sizes.values(), default=1)
    config = model.config["network"]
    frames = config["n_context"] + config["n_future"]
    channels = max(2 * config["n_state"] * frames, config["n_out"] * config["n_future"] * (members or 1))
    return {"init_time": max(1, int(_REGION_BYTES // (4 * max(1, cells) * channels)))}


def refuse(options: Mapping[str, Any], task: str) -> None:
    """Refuse what goes with one task only.

    Raises
    ------
    OptionError
        If one of these options is given.

    Examples
    --------
    >>> refuse({"obs": None}, "FourDVarNet")
    """
    for name, value in options.items():
        if value is not None:
            message = f"--{name} goes with a {task}, and this model is none; leave it out"
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
    pieces = files.in_pieces(ds)
    if not any(bool(pieces[name].notnull().any()) for name in obs):
        note("nothing was observed: all values are missing, and the map is the background; check --obs and --period")
    result = pieces.atmo.fourdvar_interp(
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
