"""Variational mapping that is learned: the task, its training, and its use on labelled observations."""

from __future__ import annotations

from xatmo.tasks.fourdvar._background import Background
from xatmo.tasks.fourdvar._interpolate import interpolate
from xatmo.tasks.fourdvar.fourdvarnet import FourDVarNet

__all__ = ["Background", "FourDVarNet", "interpolate"]
