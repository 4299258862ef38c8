"""Fields at pressures from small GRIB files that hold levels of a model, one hour at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from xatmo.datasets._grib_fields import Inventory, Wanted, read
from xatmo.errors import VariableError
from xatmo.typing import Floats
from xatmo.vertical import HybridLevels
from xatmo.vertical._kernels import Rule, first_needed, interpolate
from xatmo.vertical.pressure import LAPSE_EXPONENT


@dataclass(frozen=True)
class Columns:
    """What is read of the files of an hour to have fields at pressures.

    Attributes
    ----------
    fields : tuple of Wanted
        With their pressures.
    numbers : mapping
        Levels that are read of each short name, from the top down.
    known : HybridLevels
    surface : Wanted
        Surface pressure, or its logarithm, ``lnsp@1``.
    """

    fields: tuple[Wanted, ...]
    numbers: Mapping[str, tuple[int, ...]]
    known: HybridLevels
    surface: Wanted

    @classmethod
    def of(cls, fields: list[Wanted], about: Inventory, surface: Wanted, path: Path) -> Columns:
        """Find out which levels are needed: those that can lie around the pressures, and all below.

        Raises
        ------
        VariableError
            If there are no coefficients, or too few levels.
        """
        if not about.pv:
            message = f"{path} has hybrid levels without coefficients (pv); wanted them, as MARS writes them"
            raise VariableError(message)
        known = HybridLevels.of(about.pv)
        numbers: dict[str, tuple[int, ...]] = {}
        for short in dict.fromkeys(w.short_name for w in fields):
            there = about.levels[short]
            if len(there) < 2:
                message = f"{path} has {short} on hybrid level {there[0]} alone; wanted two levels or more around"
                raise VariableError(message)
            target = min(100 * (w.level or 0) for w in fields if w.short_name == short)
            numbers[short] = there[first_needed(*known.full(there), target) :]
        return cls(tuple(fields), numbers, known, surface)

    def read(self, path: Path, surface_path: Path, time: Any, grid: str, rows: Any, columns: Any) -> Floats:
        """Fields of an hour, ``(field, row, column)``, float32.

        Raises
        ------
        CatalogError, VariableError, GridError
            As `xatmo.datasets._grib_fields.read`.
        CoordinateError
            If a pressure has no level on one side.
        """
        names = [(short, k) for short, numbers in self.numbers.items() for k in numbers]
        wanted = [Wanted(f"{short}@{k}", short) for short, k in names]
        within = surface_path == path
        found = read(path, [*wanted, self.surface] if within else wanted, time, grid, rows, columns)
        surface = found[-1] if within else read(surface_path, [self.surface], time, grid, rows, columns)[0]
        pressure = np.exp(surface.astype(np.float64)) if self.surface.short_name == "lnsp" else surface
        out = np.empty((len(self.fields), *pressure.shape), np.float32)
        for i, one in enumerate(self.fields):
            numbers = self.numbers[one.short_name]
            stack = found[[k for k, (short, _) in enumerate(names) if short == one.short_name]]
            a, b = self.known.full(numbers)
            rule = Rule(to_ground=numbers[-1] == self.known.n_levels)
            if one.short_name == "t":
                rule = replace(rule, exponent=LAPSE_EXPONENT)
            elif one.short_name in ("z", "gh"):  # no value of a level goes on below the ground
                rule = replace(rule, exponent=None)
            target = np.array([100.0 * (one.level or 0)])
            what = f"{path}: {one.name}"
            out[i] = interpolate(np.moveaxis(stack, 0, -1), pressure, a, b, target, rule, what)[..., 0]
        return out
