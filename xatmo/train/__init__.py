"""Training: objectives, which say what a step minimises, and one entry, `fit`, that runs any of them.

Everything here sees batches of tensors; where they come from is the caller's concern (`Batches`).
"""

from __future__ import annotations

from xatmo.train.adversarial import GATE, Adversarial
from xatmo.train.adversarial_fourdvar import AdversarialFourDVar
from xatmo.train.batches import Batch, Batches
from xatmo.train.diffusion import Diffusion
from xatmo.train.fit import FitResult, fit
from xatmo.train.fourdvar import FourDVar, FourDVarLoss
from xatmo.train.fourdvar_background import beside_background
from xatmo.train.objectives import Objective, Supervised
from xatmo.train.settings import OptimizerSettings, TrainSettings, whole
from xatmo.train.video import Forecast, VideoBatch
from xatmo.train.video_adversarial import AdversarialForecast
from xatmo.train.video_latent import LatentForecast

__all__ = [
    "GATE",
    "Adversarial",
    "AdversarialForecast",
    "AdversarialFourDVar",
    "Batch",
    "Batches",
    "Diffusion",
    "FitResult",
    "Forecast",
    "FourDVar",
    "FourDVarLoss",
    "LatentForecast",
    "Objective",
    "OptimizerSettings",
    "Supervised",
    "TrainSettings",
    "VideoBatch",
    "beside_background",
    "fit",
    "whole",
]
