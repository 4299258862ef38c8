"""Observation operators: what a state misses of the observations, as residuals that a cost sums."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from xatmo.errors import DimensionError
from xatmo.nn.assimilation.observations import Observations

Residuals = dict[str, torch.Tensor]
"""Name of a term to ``(batch, channel, time, lat, lon)``, 0 where nothing is observed."""

NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))


class ObservationOperator(nn.Module):
    """What all operators have: the misfit to the observed variables, on their mask.

    Parameters
    ----------
    observed : sequence of int
        For each observed variable the field that it measures.
    calibrated : sequence of int
        Observed variables to whose field an error is added, in the order of the errors.

    Attributes
    ----------
    terms : dict of str to int
        Names of the residuals, and how many channels each has. The first is ``"value"``, with a channel for each
        observed variable.
    halo : int
        Cells around that a residual sees.

    Examples
    --------
    >>> obs = Observations.of(torch.tensor([2.0, float("nan")]).reshape(1, 1, 1, 1, 2))
    >>> ObservationOperator([0])(torch.ones(1, 1, 1, 1, 2), obs)["value"].flatten().tolist()
    [-1.0, 0.0]
    """

    halo = 0

    def __init__(self, observed: Sequence[int], calibrated: Sequence[int] = ()) -> None:
        super().__init__()
        self.observed, self.calibrated = tuple(observed), tuple(calibrated)
        self.terms = {"value": len(self.observed)}

    def forward(
        self,
        fields: torch.Tensor,
        obs: Observations,
        errors: torch.Tensor | None = None,
        extra: torch.Tensor | None = None,
        extra_mask: torch.Tensor | None = None,
    ) -> Residuals:
        """Give model minus observation.

        Parameters
        ----------
        fields : Tensor (batch, n_outputs, time, lat, lon)
        obs : Observations
        errors : Tensor (batch, n_calibrated, time, lat, lon), optional
        extra, extra_mask : Tensor (batch, n_extra, time, lat, lon), optional
            Other fields, 0 where the mask is False.
        """
        return {"value": self.misfit(self.equivalent(fields, errors), obs)}

    def equivalent(self, fields: torch.Tensor, errors: torch.Tensor | None = None) -> torch.Tensor:
        """Give the fields as they would be observed everywhere ``(batch, n_observations, time, lat, lon)``."""
        measured = fields[:, list(self.observed)]
        if not self.calibrated or errors is None:
            return measured
        parts = list(torch.split(measured, 1, dim=1))
        for place, variable in enumerate(self.calibrated):
            parts[variable] = parts[variable] + errors[:, place : place + 1]
        return torch.cat(parts, dim=1)

    @staticmethod
    def misfit(equivalent: torch.Tensor, obs: Observations) -> torch.Tensor:
        """Give equivalent minus observation, 0 where nothing is observed."""
        if equivalent.shape != obs.values.shape:
            message = (
                f"the operator gives {tuple(equivalent.shape)}, the observations have {tuple(obs.values.shape)}; "
                "wanted the same shape. Let the operator give one field for each observed variable"
            )
            raise DimensionError(message)
        return torch.where(obs.mask, equivalent - obs.values, torch.zeros_like(equivalent))


class AlongTrackGradient(ObservationOperator):
    """Values, and differences between neighbouring cells that are both observed.

    Neighbours are those beside, below and on both diagonals, so that tracks of any slope have differences along them.
    Errors that neighbours share, such as of orbits, do not count in these.

    Examples
    --------
    >>> obs = Observations.of(torch.tensor([2.0, 5.0, float("nan")]).reshape(1, 1, 1, 1, 3))
    >>> found = AlongTrackGradient([0])(torch.zeros(1, 1, 1, 1, 3), obs)
    >>> found["value"].flatten().tolist(), found["difference"][:, 0].flatten().tolist()
    ([-2.0, -5.0, 0.0], [-3.0, 0.0, 0.0])
    """

    halo = 1

    def __init__(self, observed: Sequence[int], calibrated: Sequence[int] = ()) -> None:
        super().__init__(observed, calibrated)
        self.terms = {**self.terms, "difference": len(NEIGHBOURS) * len(self.observed)}

    def forward(
        self,
        fields: torch.Tensor,
        obs: Observations,
        errors: torch.Tensor | None = None,
        extra: torch.Tensor | None = None,
        extra_mask: torch.Tensor | None = None,
    ) -> Residuals:
        """As of `ObservationOperator`; channels of the differences are directions of each observed variable."""
        value = self.misfit(self.equivalent(fields, errors), obs)
        parts = [differences(value, obs.mask, step) for step in NEIGHBOURS]
        return {"value": value, "difference": torch.stack(parts, dim=2).flatten(1, 2)}


def differences(x: torch.Tensor, mask: torch.Tensor, step: tuple[int, int]) -> torch.Tensor:
    """Give neighbour minus cell where the mask has both, and 0 elsewhere; like ``x``."""
    ahead, both = moved(x, step), mask & moved(mask, step)
    return torch.where(both, ahead - x, torch.zeros_like(x))


def moved(x: torch.Tensor, step: tuple[int, int]) -> torch.Tensor:
    """Give the neighbour ``step`` rows and columns on; 0 beyond the edge."""
    down, right = step
    padded = nn.functional.pad(x, (max(-right, 0), max(right, 0), 0, down))
    return padded[..., down : down + x.shape[-2], right + max(-right, 0) : right + max(-right, 0) + x.shape[-1]]


class MultiSensor(ObservationOperator):
    r"""Values, and features in which state and other fields agree, where these are there.

    .. math::
        r = \sigma(c * m)\, (a * x - b * (m\, z)), \qquad m \text{ the mask of } z,

    with learned 3 x 3 convolutions :math:`a, b, c` over all frames together, without bias in the first two.

    Parameters
    ----------
    observed, calibrated : sequence of int
    frames, n_outputs, n_extra, channels : int

    Examples
    --------
    >>> operator = MultiSensor([0], frames=2, n_outputs=1, n_extra=1, channels=3)
    >>> x, none = torch.randn(1, 1, 2, 5, 5), torch.zeros(1, 1, 2, 5, 5)
    >>> found = operator(x, Observations.of(none), extra=none, extra_mask=none.bool())
    >>> found["feature"].shape, bool((found["feature"] == 0).all())
    (torch.Size([1, 3, 1, 5, 5]), True)
    """

    halo = 1

    def __init__(
        self, observed: Sequence[int], calibrated: Sequence[int] = (), *, frames: int, n_outputs: int, n_extra: int,
        channels: int = 5,
    ) -> None:  # fmt: skip
        super().__init__(observed, calibrated)
        self.terms = {**self.terms, "feature": channels}
        self.of_state = nn.Conv2d(n_outputs * frames, channels, 3, padding=1, bias=False)
        self.of_extra = nn.Conv2d(n_extra * frames, channels, 3, padding=1, bias=False)
        self.gate = nn.Conv2d(n_extra * frames, channels, 3, padding=1)

    def forward(
        self,
        fields: torch.Tensor,
        obs: Observations,
        errors: torch.Tensor | None = None,
        extra: torch.Tensor | None = None,
        extra_mask: torch.Tensor | None = None,
    ) -> Residuals:
        """As of `ObservationOperator`."""
        found = super().forward(fields, obs, errors)
        if extra is None or extra_mask is None:
            message = "no other fields came; wanted extra, which operator='multi_sensor' compares with the state"
            raise DimensionError(message)
        mask = extra_mask.flatten(1, 2).to(fields.dtype)
        features = self.of_state(fields.flatten(1, 2)) - self.of_extra(extra.flatten(1, 2) * mask)
        # Where no frame has anything there is nothing to agree with.
        there = nn.functional.max_pool2d(mask.amax(1, keepdim=True), 3, 1, 1)
        return {**found, "feature": (torch.sigmoid(self.gate(mask)) * features * there).unsqueeze(2)}


class ModuleOperator(ObservationOperator):
    """Any differentiable module from the fields to what is observed.

    Parameters
    ----------
    module : torch.nn.Module
        ``(batch, n_outputs, time, lat, lon)`` to ``(batch, n_observations, time, lat, lon)``.
    n_observations : int
    halo : int
        Cells around that it sees.

    Examples
    --------
    >>> obs = Observations.of(torch.full((1, 2, 1, 4, 4), 1.0))
    >>> ModuleOperator(nn.Conv3d(1, 2, 1), 2)(torch.zeros(1, 1, 1, 4, 4), obs)["value"].shape
    torch.Size([1, 2, 1, 4, 4])
    """

    def __init__(self, module: nn.Module, n_observations: int, *, halo: int = 0) -> None:
        super().__init__(range(n_observations))
        self.module, self.halo = module, halo

    def equivalent(self, fields: torch.Tensor, errors: torch.Tensor | None = None) -> torch.Tensor:
        """Give what the module makes of the fields."""
        out: torch.Tensor = self.module(fields)
        return out
