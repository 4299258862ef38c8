"""What stands in the tables of forecasts: methods as data, no calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class VideoRow:
    """One method.

    Attributes
    ----------
    name : str
        For files and options.
    title : str
        For the table.
    kind : {"mean", "persistence", "blurred", "network"}
        The mean of all frames of the training; the last frame; the last frame under the Gaussian filter, of a width for
        each lead, that has the least squared error in the training; or a `xatmo.VideoForecaster` with these settings.
    settings : mapping
    max_steps : int
        Of the optimiser, where neither steps nor time are asked for.
    batch_size : int
    members : bool
        Whether it draws.
    averaged : bool
        Whether its single forecast is the mean of its members, which is not what it gives without draws.
    least_size : int
        Cells each way below which the network has no use.
    """

    name: str
    title: str
    kind: Literal["mean", "persistence", "blurred", "network"]
    settings: Mapping[str, Any] = field(default_factory=dict)
    max_steps: int = 2000
    batch_size: int = 16
    members: bool = False
    averaged: bool = False
    least_size: int = 0


_MEAN = VideoRow("mean", "constant mean frame", "mean")
_LAST = VideoRow("last", "last frame", "persistence")
_SAVP_START = {"pretrain": 0.85, "gan": 0.05, "features": 1.0, "channels": 8, "average": 0.98}
"""SAVP learns to forecast first, and to look real in what is left, in which discriminators must not drown the rest."""
_SAVP_SMALL = {"preset": "small", "channels": 16}

DIGITS: tuple[VideoRow, ...] = (
    _MEAN,
    _LAST,
    VideoRow(
        "convlstm", "ConvLSTM", "network",
        {
            "architecture": "convlstm", "baseline": "persistence", "scheduled_sampling": {"steps": 150},
            "network_settings": {"factor": 4, "size": 3, "channels": 64},
        }, 1000, 8,
    ),
    VideoRow(
        "stacked_convlstm", "stacked ConvLSTM", "network",
        {
            "architecture": "stacked_convlstm", "baseline": "persistence", "scheduled_sampling": {"steps": 150},
            "network_settings": {"n_levels": 2, "size": 3, "channels": 64, "width": 16},
        }, 600, 8,
    ),
    VideoRow(
        "simvp", "SimVP", "network",
        {"architecture": "simvp", "network_settings": {"n_levels": 2, "hidden": 128}}, 2200, 8,
    ),
    VideoRow(
        "simvp_published", "SimVP, published size", "network",
        {"architecture": "simvp", "learning_rate": 1e-3, "network_settings": {"preset": "moving-mnist"}},
        least_size=64,
    ),
    VideoRow(
        "savp", "SAVP, mean of members", "network",
        {
            "architecture": "savp", "loss": "mse", "learning_rate": 2e-3, "scheduled_sampling": {"steps": 200},
            "objective_settings": {**_SAVP_START, "members": 0.0, "kl": 1.0, "kl_anneal": None},
            "network_settings": {**_SAVP_SMALL, "transform": "dna", "n_transforms": 2},
        }, 500, 8, members=True, averaged=True,
    ),
    VideoRow(
        "vae", "VAE", "network", {"architecture": "vae", "loss": "mse", "objective_settings": {"members": 0.0}}, 800, 8,
        members=True,
    ),
)  # fmt: skip
"""Methods of the table for moving digits."""

RAIN: tuple[VideoRow, ...] = (
    _MEAN,
    _LAST,
    VideoRow("blurred", "last frame, blurred", "blurred"),
    VideoRow(
        "convlstm", "ConvLSTM", "network",
        {"architecture": "convlstm", "network_settings": {"factor": 4, "size": 3, "channels": 64}}, 400, 8,
    ),
    VideoRow(
        "stacked_convlstm", "stacked ConvLSTM", "network",
        {
            "architecture": "stacked_convlstm",
            "network_settings": {"n_levels": 2, "size": 3, "channels": 64, "width": 32, "n_layers": 1, "norm": None},
        }, 120, 8,
    ),
    VideoRow(
        "simvp", "SimVP", "network",
        {
            "architecture": "simvp", "baseline": None,
            "network_settings": {"n_levels": 2, "hidden": 128, "channels": 64, "norm": None},
        }, 200, 8,
    ),
    VideoRow(
        "savp", "SAVP, mean of members", "network",
        {
            "architecture": "savp", "baseline": None, "learning_rate": 1e-3, "network_settings": _SAVP_SMALL,
            "objective_settings": {**_SAVP_START, "members": 100.0, "n_draws": 2},
        }, 200, 4, members=True, averaged=True,
    ),
    VideoRow("vae", "VAE", "network", {"architecture": "vae", "loss": "crps"}, 400, 8, members=True),
)  # fmt: skip
"""Methods of the table for rain."""

PUBLISHED: dict[str, tuple[float, float]] = {
    "ConvLSTM-S, 200 epochs": (29.80, 0.929),
    "ConvLSTM-S, 2000 epochs": (22.41, 0.948),
    "PredRNN, 200 epochs": (23.97, 0.946),
    "PredRNN++, 200 epochs": (22.06, 0.951),
    "SimVP IncepU, 200 epochs": (32.15, 0.927),
    "SimVP gSTA, 200 epochs": (26.69, 0.940),
    "SimVP gSTA, 2000 epochs": (15.05, 0.968),
    "TAU, 200 epochs": (24.60, 0.945),
}
"""Method to squared error and SSIM on Moving MNIST, two digits, 64 x 64, 10 frames from 10: OpenSTL, March 2024."""

SMALLEST: dict[str, dict[str, Any]] = {
    "convlstm": {"channels": 4, "size": 3, "factor": 4},
    "stacked_convlstm": {"channels": 4, "size": 3, "n_levels": 2, "n_layers": 1},
    "simvp": {"channels": 4, "hidden": 8, "n_levels": 2, "n_blocks": 2},
    "savp": {"channels": 4, "posterior_widths": (4, 4, 8), "n_latent": 2},
    "vae": {"widths": (4, 6), "n_latent": 2},
}
"""Settings by architecture of networks so small that they show that everything runs, and nothing else."""
