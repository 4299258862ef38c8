"""Forecasts: the future of a record of fields from its past."""

from __future__ import annotations

from xatmo.tasks.forecast._forecast import forecast

__all__ = ["forecast"]
