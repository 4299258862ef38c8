"""Read what callers of the interpolations say: scales, windows, velocities, errors of tracks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo.assimilation.covariance.frame import Pair, lengths_of, shape_of
from xatmo.assimilation.covariance.likelihood import Scales
from xatmo.assimilation.covariance.noise import TrackError
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import OptionError

if TYPE_CHECKING:
    from xatmo.assimilation.labels.observations import Gathered

Array = NDArray[np.float64]

DAY = 86400.0


def in_words(record: Sequence[Scales], units: Any, metric: str = "sphere") -> str:
    """Say which scales were estimated; of several slabs, how many there were.

    Examples
    --------
    >>> in_words([Scales(8.53e4, 6.1 * DAY, 0.021, 0.3)], "m")
    'length_scale 85.3 km, time_scale 6.1 days, noise_std 0.021 m, signal_std 0.3 m'
    >>> in_words([Scales(2.0, DAY, 0.1, 1.0, drift=(1e-6, 0.0))], None, "degrees")
    'length_scale 2 degrees, time_scale 1 days, noise_std 0.1, signal_std 1, drift 0.0864, 0 degrees a day'
    """
    if len({repr(s) for s in record}) != 1:
        return f"of each of {len(record)} slabs" if record else ""
    s = record[0]
    planar = metric == "degrees"
    unit = f" {units}" if units else ""
    long, short, angle = lengths_of(cast(float, s.length_scale), s.shape or (0.0, 0.0))
    scale, of_length = (1.0, "degrees") if planar else (1e-3, "km")
    lengths = f"{scale * long:.4g}" if long == short else f"{scale * long:.4g} and {scale * short:.4g}"
    told = [f"length_scale {lengths} {of_length}" + ("" if long == short else f", the first at {angle:.3g} degrees")]
    told += [f"time_scale {cast(float, s.time_scale) / DAY:.4g} days"]
    told += [f"{name} {getattr(s, name):.3g}{unit}" for name in ("noise_std", "signal_std")]
    if s.drift and any(s.drift):
        rate, of_drift = (DAY, "degrees a day") if planar else (1.0, "m s-1")
        told.append(f"drift {rate * s.drift[0]:.3g}, {rate * s.drift[1]:.3g} {of_drift}")
    return ", ".join(told)


def record_of(got: Gathered) -> list[Scales] | None:
    """Give a list for the scales that will be estimated; nothing of what is lazy, which is estimated later."""
    return [] if got.field.chunks is None and (got.mask is None or got.mask.chunks is None) else None


def positive(name: str, value: float | None) -> float | None:
    """Check a scale.

    Raises
    ------
    OptionError
        If it is not a positive, finite number.
    """
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not (np.isfinite(number) and number > 0):
        message = f"{name}={value!r} came; wanted a positive number"
        raise OptionError(message)
    return number


def require_reach(length_scale: float | None, latitude: Array, *, metric: str) -> None:
    """Refuse a length scale that is surely in the other unit: metres for degrees, or degrees for metres.

    Raises
    ------
    OptionError
        If it is less than a hundredth of the distance between rows, or more than once around the Earth.
    """
    if length_scale is None:
        return
    step = float(np.abs(np.diff(latitude)).mean())
    if metric == "degrees":
        if length_scale > 360:
            message = f"length_scale={length_scale!r} came with metric='degrees'; wanted degrees, or metric='sphere'"
            raise OptionError(message)
        return
    apart = float(np.radians(step)) * EARTH_RADIUS
    if length_scale < 0.01 * apart:
        message = (
            f"length_scale={length_scale!r} came, in metres, for rows {apart:.4g} m apart, so that no node would see "
            "another; wanted metres, or degrees with optimal_interp(metric='degrees')"
        )
        raise OptionError(message)


def duration(name: str, value: Any) -> float | None:
    """Read a time span as seconds.

    Examples
    --------
    >>> duration("time_scale", "7D"), duration("time_scale", np.timedelta64(36, "h"))
    (604800.0, 129600.0)

    Raises
    ------
    OptionError
        If it is no positive time span.
    """
    import pandas as pd

    if value is None:
        return None
    span: Any = None
    if isinstance(value, np.timedelta64) or not isinstance(value, int | float | np.number):
        try:
            span = pd.Timedelta(value)
        except (ValueError, TypeError):
            span = None
    if span is None or not span > pd.Timedelta(0):
        message = f"{name}={value!r} came; wanted a positive time span such as '7D' or np.timedelta64(7, 'D')"
        raise OptionError(message)
    return float(span / pd.Timedelta(seconds=1))


def scales_of(length: Any, time: Any, noise: Any, signal: Any) -> Scales:
    """Read the four scales; None stays None."""
    return Scales(
        positive("length_scale", length),
        duration("time_scale", time),
        positive("noise_std", noise),
        positive("signal_std", signal),
    )


def window_of(window: Mapping[str, Any] | None) -> dict[str, float]:
    """Read the widths of local windows: seconds and degrees."""
    widths: dict[str, float] = {}
    for key, value in (window or {}).items():
        if key not in ("time", "lat", "lon"):
            message = f"window has the key {key!r}; wanted 'time' (a time span), 'lat' and 'lon' (degrees)"
            raise OptionError(message)
        name = f"window[{key!r}]"
        read = duration(name, value) if key == "time" else positive(name, value)
        widths[key] = cast(float, read)
    return widths


def lengths(length_scale: Any, angle: Any) -> tuple[float | None, Pair | None]:
    """Read one length or two, and the angle of the first: the geometric mean, and the shape of the `Frame`.

    Raises
    ------
    OptionError
        If a length is not positive, there are not one or two, or the angle is no number.
    """
    if isinstance(angle, str) and angle == "estimate":
        if isinstance(length_scale, tuple | list):
            message = f"length_scale={length_scale!r} came with angle='estimate'; wanted their geometric mean, or None"
            raise OptionError(message)
        return positive("length_scale", length_scale), None
    if not isinstance(length_scale, tuple | list):
        return positive("length_scale", length_scale), (0.0, 0.0)
    try:
        turned = float(angle)
    except (TypeError, ValueError):
        turned = float("nan")
    if len(length_scale) != 2 or not np.isfinite(turned):
        message = (
            f"length_scale={length_scale!r}, angle={angle!r} came; wanted one length or two, and the angle of the "
            "first from east in degrees, or 'estimate'"
        )
        raise OptionError(message)
    one, other = (cast(float, positive("length_scale", x)) for x in length_scale)
    return float(np.sqrt(one * other)), shape_of((one, other), turned)


def velocity(drift: Any, metric: str) -> Pair | None:
    """Read a drift in m s-1, or in degrees a day; in units of the metric per second. None where it is to be estimated.

    Raises
    ------
    OptionError
        If it is not a pair of numbers, or ``"estimate"``.
    """
    if drift is None:
        return 0.0, 0.0
    if isinstance(drift, str) and drift == "estimate":
        return None
    try:
        east, north = (float(x) for x in drift)
    except (TypeError, ValueError):
        east = north = float("nan")
    if not np.isfinite([east, north]).all():
        message = f"drift={drift!r} came; wanted (eastward, northward) in m s-1 (degrees a day on a plane of degrees), "
        raise OptionError(message + "or 'estimate'")
    unit = DAY if metric == "degrees" else 1.0
    return east / unit, north / unit


def track_error_of(given: Any, passes: Any) -> TrackError | None:
    """Read (std, memory) of the errors along a track.

    Raises
    ------
    OptionError
        If it is not a positive number and a time span, or observations are not told to belong to passes.
    """
    if given is None:
        return None
    if not isinstance(given, tuple | list) or len(given) != 2 or passes is None:
        message = (
            f"track_error={given!r}, passes={'given' if passes is not None else None}; wanted a standard deviation and "
            "a time span, such as (0.02, '60s'), and passes=, the number of the pass of every observation"
        )
        raise OptionError(message)
    endless = isinstance(given[1], float) and np.isinf(given[1])
    memory = np.inf if endless else cast(float, duration("track_error", given[1]))
    return TrackError(cast(float, positive("track_error", given[0])), memory)


def name_of(given: Any) -> Any:
    """Give what stands for an input in the history of the file."""
    return given.name if isinstance(given, xr.DataArray) else given
