"""Hybrid levels of a model: pressures that follow the ground below, and are constant above."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from xatmo.errors import CoordinateError, OptionError
from xatmo.typing import Floats


@dataclass(frozen=True, eq=False)
class HybridLevels:
    r"""Coefficients of the half levels, the borders of layers, from the top of the atmosphere down to the ground.

    .. math::
        p_{k+1/2} = a_{k+1/2} + b_{k+1/2}\, p_s, \qquad p_k = \tfrac12 (p_{k-1/2} + p_{k+1/2})

    with the surface pressure :math:`p_s`; level 1 is the highest (Simmons and Burridge 1981,
    doi:10.1175/1520-0493(1981)109<0758:AEAAMC>2.0.CO;2).

    Parameters
    ----------
    half_a, half_b : array (n_levels + 1,)
        In Pa, and 1.

    Raises
    ------
    OptionError
        If they are not of one length, or pressures do not grow downward.

    Examples
    --------
    >>> era5 = HybridLevels.of("L137")
    >>> era5.n_levels, (era5.pressure(101325.0)[[0, 95, 136]] / 100).round(2)
    (137, array([1.0000e-02, 5.0750e+02, 1.0120e+03]))
    """

    half_a: Floats
    half_b: Floats

    def __post_init__(self) -> None:
        """Refuse what makes no levels."""
        a, b = (np.asarray(v, np.float64) for v in (self.half_a, self.half_b))
        if a.ndim != 1 or a.shape != b.shape or a.size < 3:
            message = f"coefficients of shapes {a.shape} and {b.shape} came; wanted two of one length, 3 or more"
            raise OptionError(message)
        pressure = a + b * 1e5
        if not (np.diff(pressure) > 0).all():
            ends = f"{pressure[0] / 100:g} to {pressure[-1] / 100:g} hPa"
            message = (
                f"pressures of half levels, {ends} over ground at 1000 hPa, do not grow downward; wanted a in Pa and b "
                "from the top of the atmosphere to the ground"
            )
            raise OptionError(message)
        if 0 < a.max() <= 1:
            message = (
                f"a up to {a.max():g} came, parts of a reference pressure; wanted Pa: multiply by that, P0 in CESM's "
                "files"
            )
            raise OptionError(message)
        object.__setattr__(self, "half_a", a)
        object.__setattr__(self, "half_b", b)

    @classmethod
    def of(cls, given: Any) -> HybridLevels:
        """Read coefficients: a name, a pair, or ``pv`` of GRIB, in which all b follow all a.

        Raises
        ------
        OptionError
            If there is no such name, or these are no coefficients.

        Examples
        --------
        >>> HybridLevels.of(([0.0, 5000.0, 0.0], [0.0, 0.5, 1.0])).pressure(1e5)
        array([27500., 77500.])
        """
        if isinstance(given, cls):
            return given
        if isinstance(given, str):
            if given != "L137":
                message = f"levels {given!r} came; known by name is 'L137' (ERA5), or give coefficients (a, b)"
                raise OptionError(message)
            return _era5()
        if isinstance(given, Iterable):
            parts: list[Floats] = []
            with suppress(TypeError, ValueError):  # where these are no numbers
                parts = [np.asarray(p, np.float64) for p in given]
            if len(parts) == 2:
                return cls(*parts)
            if len(parts) % 2 == 0 and parts:
                return cls(*np.split(np.array(parts), 2))
        message = "coefficients came that are neither a pair (a, b), pv of GRIB, nor a name such as 'L137'; wanted one"
        raise OptionError(message)

    @property
    def n_levels(self) -> int:
        """How many levels there are."""
        return self.half_a.size - 1

    def full(self, numbers: Any = None) -> tuple[Floats, Floats]:
        """Coefficients of levels themselves, ``p = a + b * surface_pressure``, all or those of some numbers.

        Raises
        ------
        CoordinateError
            If there are no levels of these numbers.
        """
        a, b = (0.5 * (h[:-1] + h[1:]) for h in (self.half_a, self.half_b))
        if numbers is None:
            return a, b
        asked = np.atleast_1d(np.asarray(numbers, np.float64))
        if (asked != np.round(asked)).any() or asked.min() < 1 or asked.max() > self.n_levels:
            message = (
                f"levels {asked.min():g} to {asked.max():g} came; wanted whole numbers from 1, the highest, to "
                f"{self.n_levels}, as the coefficients have it"
            )
            raise CoordinateError(message)
        index = asked.astype(int) - 1
        return a[index], b[index]

    def pressure(self, surface_pressure: Any, numbers: Any = None) -> Floats:
        """Pressures of levels in Pa, ``(..., level)``, over a surface pressure in Pa."""
        a, b = self.full(numbers)
        found: Floats = a + b * np.asarray(surface_pressure, np.float64)[..., None]
        return found


@lru_cache(maxsize=1)
def _era5() -> HybridLevels:
    above = np.zeros(len(_A) - len(_B))  # the highest half levels are pressures
    return HybridLevels(np.array(_A), np.concatenate([above, _B]))


# Of ECMWF's 137 levels (ERA5, and its forecasts since 2013), as "L137 model level definitions" has them.
_A = (
    0.0, 2.000365, 3.102241, 4.666084, 6.827977, 9.746966, 13.605424, 18.608931, 24.985718, 32.98571, 42.879242,
    54.955463, 69.520576, 86.895882, 107.415741, 131.425507, 159.279404, 191.338562, 227.968948, 269.539581,
    316.420746, 368.982361, 427.592499, 492.616028, 564.413452, 643.339905, 729.744141, 823.967834, 926.34491,
    1037.201172, 1156.853638, 1285.610352, 1423.770142, 1571.622925, 1729.448975, 1897.519287, 2076.095947,
    2265.431641, 2465.770508, 2677.348145, 2900.391357, 3135.119385, 3381.743652, 3640.468262, 3911.490479,
    4194.930664, 4490.817383, 4799.149414, 5119.89502, 5452.990723, 5798.344727, 6156.074219, 6526.946777, 6911.870605,
    7311.869141, 7727.412109, 8159.354004, 8608.525391, 9076.400391, 9562.682617, 10065.978516, 10584.631836,
    11116.662109, 11660.067383, 12211.547852, 12766.873047, 13324.668945, 13881.331055, 14432.139648, 14975.615234,
    15508.256836, 16026.115234, 16527.322266, 17008.789062, 17467.613281, 17901.621094, 18308.433594, 18685.71875,
    19031.289062, 19343.511719, 19620.042969, 19859.390625, 20059.931641, 20219.664062, 20337.863281, 20412.308594,
    20442.078125, 20425.71875, 20361.816406, 20249.511719, 20087.085938, 19874.025391, 19608.572266, 19290.226562,
    18917.460938, 18489.707031, 18006.925781, 17471.839844, 16888.6875, 16262.046875, 15596.695312, 14898.453125,
    14173.324219, 13427.769531, 12668.257812, 11901.339844, 11133.304688, 10370.175781, 9617.515625, 8880.453125,
    8163.375, 7470.34375, 6804.421875, 6168.53125, 5564.382812, 4993.796875, 4457.375, 3955.960938, 3489.234375,
    3057.265625, 2659.140625, 2294.242188, 1961.5, 1659.476562, 1387.546875, 1143.25, 926.507812, 734.992188, 568.0625,
    424.414062, 302.476562, 202.484375, 122.101562, 62.78125, 22.835938, 3.757813, 0.0, 0.0,
)  # fmt: skip
_B = (
    0.000007, 0.000024, 0.000059, 0.000112, 0.000199, 0.00034, 0.000562, 0.00089, 0.001353, 0.001992, 0.002857,
    0.003971, 0.005378, 0.007133, 0.009261, 0.011806, 0.014816, 0.018318, 0.022355, 0.026964, 0.032176, 0.038026,
    0.044548, 0.051773, 0.059728, 0.068448, 0.077958, 0.088286, 0.099462, 0.111505, 0.124448, 0.138313, 0.153125,
    0.16891, 0.185689, 0.203491, 0.222333, 0.242244, 0.263242, 0.285354, 0.308598, 0.332939, 0.358254, 0.384363,
    0.411125, 0.438391, 0.466003, 0.4938, 0.521619, 0.549301, 0.576692, 0.603648, 0.630036, 0.655736, 0.680643,
    0.704669, 0.727739, 0.749797, 0.770798, 0.790717, 0.809536, 0.827256, 0.843881, 0.859432, 0.873929, 0.887408,
    0.8999, 0.911448, 0.922096, 0.931881, 0.94086, 0.949064, 0.95655, 0.963352, 0.969513, 0.975078, 0.980072, 0.984542,
    0.9885, 0.991984, 0.995003, 0.99763, 1.0,
)  # fmt: skip
