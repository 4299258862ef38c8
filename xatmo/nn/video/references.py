"""Simple forecasts, as departures from the cycle: what a network corrects."""

from __future__ import annotations

import torch

from xatmo.errors import OptionError


def reference(kind: str, anomalies: torch.Tensor, n_future: int, steps_per_day: int = 24) -> torch.Tensor:
    r"""Continue departures :math:`a` from the cycle by a rule.

    ``"persistence"`` (without a cycle) and ``"diurnal"`` (with the mean day): :math:`a_{t_0}` stays.
    ``"yesterday"``: the same hour of the last day that was seen. ``"climatology"`` and ``"none"``: 0.

    Parameters
    ----------
    kind : str
        Among `xatmo.nn.video.config.BASELINES`.
    anomalies : Tensor (batch, n_state, n_context, lat, lon)
    n_future, steps_per_day : int

    Returns
    -------
    Tensor (batch, n_state, n_future, lat, lon)

    Examples
    --------
    >>> past = torch.arange(4.0).reshape(1, 1, 4, 1, 1)
    >>> reference("persistence", past, 3).flatten().tolist(), reference("yesterday", past, 5, 4).flatten().tolist()
    ([3.0, 3.0, 3.0], [0.0, 1.0, 2.0, 3.0, 0.0])
    """
    shape = (*anomalies.shape[:2], n_future, *anomalies.shape[3:])
    if kind in ("persistence", "diurnal"):
        return anomalies[:, :, -1:].expand(shape)
    if kind == "yesterday":
        day = anomalies[:, :, -steps_per_day:]
        return day[:, :, [k % steps_per_day for k in range(n_future)]]
    return anomalies.new_zeros(shape)


GOES_ON = ("persistence", "diurnal", "yesterday")
"""References that go on from what was seen: all of the past warmer by one kelvin makes them warmer by one kelvin."""


ORIGINS = ("map", "cell", "none")
"""What a network may be shown the past relative to, where the reference goes on: see `origin`."""


def origin(frames: torch.Tensor, kind: str) -> torch.Tensor:
    """Give what the past is shown relative to, which a short record says little about.

    A network that is shown departures from it, and corrects a reference that goes on, forecasts all of a spell warmer
    by one kelvin where it was warmer by one kelvin. Otherwise it learns from days to return to the mean of those days.

    Parameters
    ----------
    frames : Tensor (batch, n_state, n_context, lat, lon)
    kind : str
        ``"map"``: the mean of the last frame over the map. ``"cell"``: the last frame itself, so that only changes are
        seen. ``"none"``: 0.

    Returns
    -------
    Tensor (batch, n_state, 1, lat or 1, lon or 1)

    Examples
    --------
    >>> past = torch.arange(4.0).reshape(1, 1, 2, 1, 2)
    >>> origin(past, "map").item(), origin(past, "cell").flatten().tolist()
    (2.5, [2.0, 3.0])
    """
    last = frames[:, :, -1:]
    if kind == "cell":
        return last
    mean = last.mean((3, 4), keepdim=True)
    return mean if kind == "map" else torch.zeros_like(mean)


def chosen_origin(kind: str, baseline: str) -> str:
    """Check a setting; references that do not go on have no origin.

    Raises
    ------
    OptionError
        If it is unknown.
    """
    if kind not in ORIGINS:
        message = f"origin={kind!r}; wanted one of {list(ORIGINS)}"
        raise OptionError(message)
    return kind if baseline in GOES_ON else "none"
