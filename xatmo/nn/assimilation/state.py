"""What the state holds, and how the analysis is read from it."""

from __future__ import annotations

import torch


class StateLayout:
    r"""Channels of the state, by kind.

    ``"raw"``
        :math:`x`, the fields themselves, beginning at the background.
    ``"anomaly"``
        :math:`(b, a)`: a copy of the background that may move, and an anomaly that is observed as :math:`y - b`.
        The analysis is their sum.
    ``"augmented"``
        :math:`(b, a_o, a)`: the anomaly that is observed, and one that is free and tied to it by the prior alone, so
        that noise of the observations need not enter. The analysis is :math:`b + a`.

    Channels for the calibration of observations, and for coefficients of the prior, come last.

    Parameters
    ----------
    kind : {"raw", "anomaly", "augmented"}
    n_outputs : int
    n_errors : int
        Channels for errors of observations.
    n_coefficients : int
        Channels for what the prior estimates of itself; 0 at first.

    Attributes
    ----------
    channels : int
        Of the whole state.

    Notes
    -----
    Beauchamp et al. 2023, GMD 16, 2119 (anomaly and augmented states).

    Examples
    --------
    >>> layout, b = StateLayout("anomaly", 1, 0), torch.ones(1, 1, 2, 3, 3)
    >>> x = layout.begin(b)
    >>> x.shape, bool((layout.analysis(x) == b).all())
    (torch.Size([1, 2, 2, 3, 3]), True)
    """

    def __init__(self, kind: str, n_outputs: int, n_errors: int, n_coefficients: int = 0) -> None:
        self.groups = {"raw": 1, "anomaly": 2, "augmented": 3}[kind]
        self.n_outputs, self.n_errors = n_outputs, n_errors
        self.n_coefficients = n_coefficients
        self.channels = self.groups * n_outputs + n_errors + n_coefficients

    @property
    def fields(self) -> slice:
        """Channels of the fields, or of their anomaly."""
        return slice((self.groups - 1) * self.n_outputs, self.groups * self.n_outputs)

    def begin(self, background: torch.Tensor) -> torch.Tensor:
        """Give the state before the first step ``(batch, channels, time, lat, lon)``."""
        rest = self.channels - self.n_outputs
        return torch.cat([background, *[torch.zeros_like(background[:, :1])] * rest], dim=1)

    def of(self, fields: torch.Tensor, background: torch.Tensor) -> torch.Tensor:
        """Give the state whose analysis these fields are."""
        if self.groups == 1:
            return self.begin(fields)
        rest = [torch.zeros_like(background[:, :1])] * (self.n_errors + self.n_coefficients)
        return torch.cat([background, *[fields - background] * (self.groups - 1), *rest], dim=1)

    def analysis(self, x: torch.Tensor) -> torch.Tensor:
        """Read the analysis ``(batch, n_outputs, time, lat, lon)``."""
        return x[:, self.fields] if self.groups == 1 else x[:, : self.n_outputs] + x[:, self.fields]

    def observed(self, x: torch.Tensor, background: torch.Tensor) -> torch.Tensor:
        """Read the fields that observations measure."""
        n = self.n_outputs
        return x[:, :n] if self.groups == 1 else background + x[:, n : 2 * n]

    def errors(self, x: torch.Tensor) -> torch.Tensor:
        """Read the errors of observations ``(batch, n_errors, time, lat, lon)``."""
        first = self.groups * self.n_outputs
        return x[:, first : first + self.n_errors]

    def coefficients(self, x: torch.Tensor) -> torch.Tensor:
        """Read what the prior estimates of itself ``(batch, n_coefficients, time, lat, lon)``."""
        return x[:, self.channels - self.n_coefficients :]

    def moved_background(self, x: torch.Tensor) -> torch.Tensor | None:
        """Read the copy of the background; None where the state has none."""
        return None if self.groups == 1 else x[:, : self.n_outputs]
