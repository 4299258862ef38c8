"""Patches: where they lie (`plan`), how they blend (`window`), and the way back (`stitch`)."""

from xatmo.patches.labelled import Patches, patches
from xatmo.patches.plan import Plan, plan
from xatmo.patches.stitch import blending_weights, stitch
from xatmo.patches.window import window

__all__ = ["Patches", "Plan", "blending_weights", "patches", "plan", "stitch", "window"]
