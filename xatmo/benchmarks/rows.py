"""What stands in the tables: methods as data, no calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from xatmo.errors import OptionError


@dataclass(frozen=True)
class Row:
    """One method.

    Attributes
    ----------
    name : str
        For files and options.
    title : str
        For the table.
    kind : {"linear", "oi", "file", "exact", "network"}
        Linear interpolation; optimal interpolation with the keywords ``settings``; an analysis that came with the data;
        the analysis with the law of the case, where it has one, in
        windows of ``window`` steps; or a `xatmo.FourDVarNet` with these settings.
    settings : mapping
    spde : {"", "given", "estimated"}
        Whether the network has the equation of the case as its prior: with coefficients known beforehand, or as a first
        guess of those that it estimates in the state.
    """

    name: str
    title: str
    kind: Literal["linear", "oi", "file", "exact", "network"]
    settings: Mapping[str, Any] = field(default_factory=dict)
    spde: Literal["", "given", "estimated"] = ""


# A first guess with kinks is so unlikely to an equation of the fourth order that a few steps make it worse.
_GIVEN = Row(
    "spde_given", "4DVarNet, SPDE prior, given", "network",
    {"prior": "spde", "solver": "gradient", "n_steps": 16, "background": "zero"}, "given",
)  # fmt: skip
_ESTIMATED = Row(
    "spde_estimated", "4DVarNet, SPDE prior, estimated", "network",
    {"prior": "spde_estimated", "n_steps": 5, "background": "zero", "network_settings": {"solver_channels": 32}},
    "estimated",
)  # fmt: skip
_LINEAR = Row("linear", "linear interpolation", "linear")
_MATERN = Row("oi_matern", "OI, Matern, maximum likelihood", "oi", {"covariance": "matern", "drift": "estimate"})

OSSE: tuple[Row, ...] = (
    _LINEAR,
    Row("oi_file", "OI of the files", "file"),
    Row("oi_osse2020a", "OI, baseline of the challenge", "oi", {"preset": "osse2020a"}),
    _MATERN,
    Row("anomaly_two_scales", "4DVarNet, anomaly, two scales", "network", {"state": "anomaly", "prior": "genn"}),
    Row(
        "oi_channel_one_scale", "4DVarNet, OI channel, one scale", "network",
        {"state": "augmented", "prior": "bilinear"},
    ),
    Row(
        "oi_channel_two_scales", "4DVarNet, OI channel, two scales", "network",
        {"state": "augmented", "prior": "genn"},
    ),
    Row(
        "classic_lstm", "4DVarNet, classic prior, LSTM", "network",
        {"state": "raw", "prior": "bilinear", "solver": "convlstm", "n_steps": 10},
    ),
    _GIVEN,
    _ESTIMATED,
)  # fmt: skip
"""Methods of the table for sea level: baselines, then networks from the same background."""

GP: tuple[Row, ...] = (
    _LINEAR,
    _MATERN,
    Row("spde_oi", "SPDE-OI, exact, 5 steps", "exact", {"window": 5}),
    Row("spde_oi_all", "SPDE-OI, exact, all steps", "exact", {"window": None}),
    Row("bilinear", "4DVarNet, bilinear prior", "network", {"prior": "bilinear"}),
    Row(
        "classic_lstm", "4DVarNet, classic prior, LSTM", "network",
        {"prior": "bilinear", "solver": "convlstm", "n_steps": 10},
    ),
    _GIVEN,
    _ESTIMATED,
)  # fmt: skip
"""Methods of the table for the Gaussian process."""

PUBLISHED: dict[str, dict[str, tuple[float, float, float, float]]] = {
    "osse": {"DUACS OI": (0.91, 0.02, 1.43, 11.29)},
    "gp": {"SPDE-OI": (0.31, 0.04, 26.61, 17.21)},
}
"""Case to method to (mu, sigma, lambda_x, lambda_t), as published with these tables."""

QUICK: dict[str, Any] = {
    "time_window": 5, "n_steps": 2, "background": "linear",
    "network_settings": {"prior_channels": 4, "solver_channels": 4, "n_levels": 1, "padding": "zeros"},
}  # fmt: skip
"""Settings of networks so small that they show that everything runs, and nothing else."""


class Named(Protocol):
    """A row of any table."""

    @property
    def name(self) -> str:
        """For files and options."""


R = TypeVar("R", bound=Named)


def chosen(table: Iterable[R], names: Iterable[str] | None) -> tuple[R, ...]:
    """Give the rows of these names, in the order of the table.

    Raises
    ------
    OptionError
        If a name is unknown, or there is none.

    Examples
    --------
    >>> [row.name for row in chosen(GP, ["spde_oi", "linear"])]
    ['linear', 'spde_oi']
    """
    rows = tuple(table)
    if names is None:
        return rows
    wanted = list(names)
    known = [row.name for row in rows]
    if not wanted or (unknown := [n for n in wanted if n not in known]):
        came = f"no row {unknown[0]!r}" if wanted else "no row"
        message = f"{came}; wanted some of {', '.join(known)}"
        raise OptionError(message)
    return tuple(row for row in rows if row.name in wanted)
