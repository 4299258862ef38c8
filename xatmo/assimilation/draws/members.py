"""Members of a posterior by conditional simulation: any mapping that reads observations becomes an ensemble.

A field s is drawn from the covariance, observed where and with the noise that the true one was, and mapped in the same
way. What the mapping misses of s, it may have missed of the truth:

    member = analysis + (s - mapping of the observations of s)

For optimal interpolation with the same covariance and noise the members are draws from the posterior. For another
mapping, the spread is the error that it would make if the truth were drawn from the covariance.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo import cf
from xatmo.assimilation.covariance.frame import Frame
from xatmo.assimilation.covariance.functions import Gaussian, Matern
from xatmo.assimilation.draws.features import N_FEATURES, Features, white_noise
from xatmo.assimilation.labels import observations
from xatmo.errors import OptionError

Array = NDArray[np.float64]
Mapping_ = Callable[[list[xr.DataArray]], xr.DataArray]


@dataclass(frozen=True)
class Truths:
    """What possible truths are drawn from.

    Attributes
    ----------
    covariance : Gaussian or Matern
    frame : Frame
        In which it takes distances.
    mean : float
    n_features : int
    number : int
        Tells truths of several variables apart.
    """

    covariance: Gaussian | Matern
    frame: Frame
    mean: float = 0.0
    n_features: int = N_FEATURES
    number: int = 0

    def field(self, like: xr.DataArray, *, seed: int = 0, member: int = 0) -> xr.DataArray:
        """Give one truth on the nodes of a field, lazily where that is lazy; other dimensions are other truths."""
        return _by_blocks(like, _Drawn(self, seed, member, _labels(like)), [])

    def observed(
        self,
        obs: xr.DataArray,
        *,
        noise_std: float,
        lag: xr.DataArray | None = None,
        sensor: int = 0,
        seed: int = 0,
        member: int = 0,
    ) -> xr.DataArray:
        """Observe the same truth where ``obs`` has numbers, at true times, with independent noise."""
        beside = [] if lag is None else [_fitted(observations.lag_seconds(lag), obs)]
        return _by_blocks(obs, _Observed(self, seed, member, _labels(obs), noise_std, sensor), beside)


def conditional_members(
    mapping: Mapping_,
    analysis: xr.DataArray,
    obs: Sequence[xr.DataArray],
    truths: Truths,
    *,
    members: int,
    noise_std: float | Sequence[float],
    lag: xr.DataArray | None = None,
    seed: int = 0,
) -> xr.DataArray:
    """Draw members around an analysis.

    Parameters
    ----------
    mapping : callable
        Gives the analysis of observations like ``obs``, as it was made of them.
    analysis : DataArray
    obs : sequence of DataArray
        One for each sensor, NaN where there is nothing.
    truths : Truths
    members : int
    noise_std : float or sequence of float
        Of the observations; one for all sensors, or one of each.
    lag : DataArray, optional
        True times of observations from their labels, see `xatmo.assimilation.optimal_interp`.
    seed : int
        The draws are functions of place, time, seed and number of the member: more members leave the others as they
        are.

    Returns
    -------
    DataArray
        With a first dimension ``member``; lazy where the mapping is.

    Raises
    ------
    OptionError
        If the number of members, or of noises, cannot be used.
    """
    check_number(members, analysis.dims, seed)
    noises = list(noise_std) if isinstance(noise_std, Sequence) else [noise_std] * len(obs)
    if len(noises) != len(obs):
        message = f"{len(noises)} noises came for {len(obs)} sensors; wanted one of each, or one for all"
        raise OptionError(message)
    made = []
    for member in range(int(members)):
        seen = [
            truths.observed(one, noise_std=noise, lag=lag, sensor=k, seed=seed, member=member)
            for k, (one, noise) in enumerate(zip(obs, noises, strict=True))
        ]
        truth = truths.field(analysis, seed=seed, member=member)
        made.append(analysis + (truth - mapping(seen)))
    return joined(made, analysis)


def check_number(members: object, dims: Sequence[Hashable] = (), seed: object = 0) -> None:
    """See that a number of members is one, a seed too, and that what they are drawn for has no ``member`` of its own.

    Raises
    ------
    OptionError
        If one is not, or it has.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        message = f"seed={seed!r} came; wanted a whole number of at least 0"
        raise OptionError(message)
    if "member" in dims:
        message = (
            f"members={members!r} of observations with dimensions {tuple(dims)}; wanted none called 'member': rename it"
        )
        raise OptionError(message)
    if isinstance(members, bool) or not isinstance(members, int | np.integer) or members < 1:
        message = f"members={members!r} came; wanted a whole number of at least 1, or None"
        raise OptionError(message)


def joined(members: Sequence[xr.DataArray], analysis: xr.DataArray) -> xr.DataArray:
    """Put members along a first dimension, with the name and attributes of the analysis."""
    out = xr.concat(members, "member", coords="minimal", compat="override", join="override")
    out = out.assign_coords(member=("member", np.arange(len(members)), {"standard_name": "realization"}))
    out.attrs = dict(analysis.attrs)
    return out.rename(analysis.name)


def spread(members: xr.DataArray, analysis: xr.DataArray) -> xr.DataArray:
    """Give the standard error that members tell: root mean square around the analysis, which is their true mean."""
    number = members.sizes["member"]
    out = cast(xr.DataArray, np.sqrt(((members - analysis) ** 2).mean("member"))).astype(analysis.dtype)
    about = analysis.attrs
    out.attrs = {
        "long_name": f"standard error of {about.get('long_name', analysis.name)}",
        "comment": f"spread of {number} members of conditional simulation; its sampling error is "
        f"{100 / np.sqrt(2 * number):.0f} percent",
    }
    if "units" in about:
        out.attrs["units"] = about["units"]
    if "standard_name" in about:
        out.attrs["standard_name"] = f"{about['standard_name']} standard_error"
    return out.rename(f"{analysis.name}_error")


# ---------------------------------------------------------------------- blocks
@dataclass(frozen=True)
class _Labels:
    """Names of what tells the places of a block."""

    time: Hashable | None
    lat: Hashable
    lon: Hashable
    core: tuple[Hashable, ...]
    extra: tuple[Hashable, ...]


def _labels(field: xr.DataArray) -> _Labels:
    axes = cf.horizontal(field)
    time = observations._time_name(field)
    core = (*(() if time is None else field[time].dims), *axes.dims)
    return _Labels(time, axes.lat, axes.lon, core, tuple(d for d in field.dims if d not in core))


@dataclass(frozen=True)
class _Drawn:
    """A truth on the nodes of one block; a class, so that it pickles to workers."""

    truths: Truths
    seed: int
    member: int
    labels: _Labels

    def __call__(self, block: xr.DataArray, *beside: xr.DataArray) -> xr.DataArray:
        names = self.labels
        ordered = block.transpose(*names.extra, *names.core)
        beside = tuple(b.transpose(*names.extra, *names.core) for b in beside)
        time = _seconds(block[names.time]) if names.time is not None else np.zeros(1)
        nodes = time, block[names.lat].values.astype(np.float64), block[names.lon].values.astype(np.float64)
        values = np.empty(ordered.shape, dtype=block.dtype if block.dtype.kind == "f" else np.float64)
        shape = tuple(a.size for a in nodes)
        for at in np.ndindex(*(ordered.sizes[d] for d in names.extra)):
            sample = tuple(int(block[f"_number_of_{d}"].values[i]) for d, i in zip(names.extra, at, strict=True))
            draw = Features.draw(
                self.truths.covariance, self.truths.frame, seed=self.seed, member=self.member,
                sample=(self.truths.number, *sample), n_features=self.truths.n_features,
            )  # fmt: skip
            given = ordered.values[at].reshape(shape)
            made = self.one(draw, sample, nodes, given, [b.values[at].reshape(shape) for b in beside])
            values[at] = made.reshape(values[at].shape)
        return ordered.copy(data=values).transpose(*block.dims)

    def one(
        self, draw: Features, sample: tuple[int, ...], nodes: tuple[Array, ...], given: Any, beside: list[Any]
    ) -> NDArray[Any]:
        """Give what is wanted of one sample ``(time, lat, lon)``."""
        return self.truths.mean + draw(nodes[0], nodes[1], nodes[2])


@dataclass(frozen=True)
class _Observed(_Drawn):
    """The same truth, observed."""

    noise_std: float
    sensor: int

    def one(
        self, draw: Features, sample: tuple[int, ...], nodes: tuple[Array, ...], given: Any, beside: list[Any]
    ) -> NDArray[Any]:
        """Observe where there are numbers."""
        index = np.nonzero(np.isfinite(given))
        time, lat, lon = (axis[i] for axis, i in zip(nodes, index, strict=True))
        true = time if not beside else time + np.nan_to_num(beside[0][index])
        out = np.full(given.shape, np.nan)
        noise = white_noise(time, lat, lon, seed=self.seed, member=self.member, sample=(self.sensor, *sample))
        out[index] = self.truths.mean + draw.at(true, lat, lon) + self.noise_std * noise
        return out


def _by_blocks(field: xr.DataArray, function: _Drawn, beside: list[xr.DataArray]) -> xr.DataArray:
    numbers: dict[str, Any] = {f"_number_of_{d}": (d, np.arange(field.sizes[d])) for d in function.labels.extra}
    numbered = field.assign_coords(numbers)
    if field.chunks is None:
        made = function(numbered, *beside)
    else:
        dtype = field.dtype if field.dtype.kind == "f" else np.dtype(np.float64)
        chunked = [b.chunk(dict(zip(field.dims, field.chunks, strict=True))) for b in beside]
        # The function among the arguments: by these alone xarray tells calls apart.
        made = xr.map_blocks(
            _called, numbered, args=chunked, kwargs={"function": function}, template=numbered.astype(dtype)
        )
    return made.drop_vars(list(numbers))


def _called(block: xr.DataArray, *beside: xr.DataArray, function: _Drawn) -> xr.DataArray:
    return function(block, *beside)


def _fitted(field: xr.DataArray, like: xr.DataArray) -> xr.DataArray:
    """Spread a field over the dimensions of another one."""
    return field.expand_dims({d: like.sizes[d] for d in like.dims if d not in field.dims}).transpose(*like.dims)


def _seconds(time: xr.DataArray) -> Array:
    """Seconds from a date that all records share."""
    values = np.atleast_1d(time.values)
    if values.dtype.kind == "M":
        return np.asarray((values - np.datetime64("2000-01-01")) / np.timedelta64(1, "s"), dtype=np.float64)
    first = type(values[0])(2000, 1, 1)  # cftime
    return np.array([(v - first).total_seconds() for v in values], dtype=np.float64)
