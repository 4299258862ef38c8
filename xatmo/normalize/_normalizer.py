"""Normalizer: dimensionless fields and back, by variable name and with units."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo import _labels, cf, units
from xatmo.errors import DimensionError, OptionError, UnitsError, VariableError
from xatmo.normalize import _fields, _files, _statistics
from xatmo.normalize._fields import Given
from xatmo.normalize._scaling import backward, forward
from xatmo.typing import NormalizeMethod, T, XarrayObject

STATISTICS: dict[str, tuple[str, ...]] = {
    "standard": ("mean", "std"),
    "minmax": ("minimum", "maximum"),
    "robust": ("median", "iqr"),
    "log1p": ("mean", "std", "log_mean", "log_std"),
}
"""What each method keeps of a variable."""

_QUARTILES = (0.25, 0.5, 0.75)
# Attributes that are true of the physical field alone, and the names that keep them for it.
_PHYSICAL = {name: f"physical_{name}" for name in ("units", "standard_name", "GRIB_units", *cf.RANGES)}


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value)


class Normalizer:
    """Statistics of named variables, and the scaling that they define.

    Make one with `Normalizer.fit`, `Normalizer.from_statistics`, `Normalizer.load` or `Normalizer.from_dataset`.

    ==========  ====================================================================================================
    method      normalized value
    ==========  ====================================================================================================
    standard    ``(x - mean) / std``, with the population's standard deviation
    minmax      ``(x - minimum) / (maximum - minimum)``, between 0 and 1 on the data it was fitted to
    robust      ``(x - median) / iqr``, with the interquartile range
    log1p       ``z = (x - mean) / std``; ``w = sign(z) log1p(0.2 abs(z))``; ``(w - log_mean) / log_std``
    ==========  ====================================================================================================

    A variable without spread is divided by 1.

    Attributes
    ----------
    method : {"standard", "minmax", "robust", "log1p"}
    state : Dataset
        The statistics in float64, ``NAME_STATISTIC`` each, with ``units``.

    Examples
    --------
    >>> ds = xr.Dataset({"t": ("x", np.float32([270, 280, 290]), {"units": "K"})})
    >>> normalizer = Normalizer.fit(ds)
    >>> normalizer
    <Normalizer standard: t (K) mean 280 std 8.165>
    >>> normalizer.normalize(ds)["t"].values
    array([-1.2247449,  0.       ,  1.2247449], dtype=float32)
    """

    def __init__(self, method: NormalizeMethod, state: xr.Dataset) -> None:
        self.method: NormalizeMethod = method
        self.state = state
        kept: dict[str, dict[str, xr.DataArray]] = {}
        for variable in state.data_vars.values():
            kept.setdefault(variable.attrs["variable"], {})[variable.attrs["statistic"]] = variable
        self._kept = kept

    # ------------------------------------------------------------------ constructors
    @classmethod
    def fit(
        cls,
        obj: XarrayObject,
        *,
        method: NormalizeMethod = "standard",
        dim: Hashable | Sequence[Hashable] | None = None,
    ) -> Normalizer:
        """Compute statistics. This computes lazy data, in the memory of a few chunks per worker.

        Parameters
        ----------
        obj : Dataset or DataArray
            Numeric variables are fitted; booleans, times and bounds are left alone.
        method : {"standard", "minmax", "robust", "log1p"}
            ``"standard"`` and ``"minmax"`` read the data once; ``"log1p"`` twice; ``"robust"`` about three times, with
            quartiles within 1e-6 interquartile ranges.
        dim : str or sequence of str, optional
            Dimensions to reduce. All unless given: then each variable has one set of numbers. ``("time", "latitude",
            "longitude")`` keeps one set for every level.

        Returns
        -------
        Normalizer

        Raises
        ------
        MissingValueError
            If a variable has nothing but NaN, or an infinity. (NaN are left out.)
        DimensionError
            If no variable has one of the dimensions.
        VariableError
            If there is no numeric variable.
        OptionError
            If the method is unknown.

        Notes
        -----
        Count, mean and sum of squares of each chunk are merged pairwise in float64, so the result does not depend on
        the chunks beyond rounding.
        """
        if method not in STATISTICS:
            message = f"method {method!r} came; wanted one of {', '.join(map(repr, STATISTICS))}"
            raise OptionError(message)
        fields = _fields.numeric(obj)
        plan = {name: (field, _fields.dims(field, dim)) for name, field in fields.items()}
        _fields.check_dims(obj, dim)
        moments = _statistics.field_moments(plan)
        found: dict[Hashable, dict[str, xr.DataArray]] = {}
        if method == "robust":
            quartiles = _statistics.field_quantiles(plan, moments, _QUARTILES)
        if method == "log1p":
            logged = {}
            for name, (field, dims) in plan.items():
                scale = _fields.spread(_statistics.part(moments[name], "std"))
                logged[name] = (_statistics.log_field(field, _statistics.part(moments[name], "mean"), scale), dims)
            second = _statistics.field_moments(logged)
        for name, of in moments.items():
            if method == "minmax":
                found[name] = {"minimum": _statistics.part(of, "low"), "maximum": _statistics.part(of, "high")}
            elif method == "robust":
                low, middle, high = quartiles[name]
                found[name] = {"median": of.copy(data=np.asarray(middle)), "iqr": of.copy(data=np.asarray(high - low))}
            else:
                found[name] = {s: _statistics.part(of, s) for s in ("mean", "std")}
            if method == "log1p":
                found[name] |= {f"log_{s}": _statistics.part(second[name], s) for s in ("mean", "std")}
        return cls(method, _fields.state(found, {n: _fields.units_of(f) for n, f in fields.items()}))

    @classmethod
    def from_statistics(
        cls,
        *,
        mean: Given | None = None,
        std: Given | None = None,
        minimum: Given | None = None,
        maximum: Given | None = None,
        median: Given | None = None,
        iqr: Given | None = None,
        log_mean: Given | None = None,
        log_std: Given | None = None,
        units: Mapping[Hashable, str] | str | None = None,
        name: str = "field",
    ) -> Normalizer:
        """Make a normalizer from statistics that are known.

        Parameters
        ----------
        mean, std, minimum, maximum, median, iqr, log_mean, log_std : mapping, Dataset, DataArray or number
            The statistics of one method, each for the same variables: ``{"t2m": 287.0, "u10": 0.1}``, or a Dataset with
            these variables. A value may be a DataArray along dimensions such as level. A plain number or a DataArray
            without a name is the statistic of one variable called ``name``.
        units : mapping or str, optional
            Physical units by variable. Read from the ``units`` of Datasets and DataArrays where not given.
        name : str
            Name of the variable where the statistics have none.

        Raises
        ------
        OptionError
            If the statistics are not those of one method, or a spread is negative or not finite.
        VariableError
            If two statistics are not for the same variables.

        Examples
        --------
        >>> Normalizer.from_statistics(mean={"t": 280.0}, std={"t": 10.0}, units={"t": "K"})
        <Normalizer standard: t (K) mean 280 std 10>
        >>> Normalizer.from_statistics(minimum=0, maximum=50, units="mm")
        <Normalizer minmax: field (mm) minimum 0 maximum 50>
        """
        given: dict[str, Given | None] = {
            "mean": mean, "std": std, "minimum": minimum, "maximum": maximum, "median": median, "iqr": iqr,
            "log_mean": log_mean, "log_std": log_std,
        }  # fmt: skip
        came = {k: v for k, v in given.items() if v is not None}
        methods = [m for m, wanted in STATISTICS.items() if set(wanted) == set(came)]
        if not methods:
            shown = "; ".join(f"{' and '.join(s)} ({m})" for m, s in STATISTICS.items())
            message = f"statistics {', '.join(came) or 'none'} came; wanted those of one method: {shown}"
            raise OptionError(message)
        tables = {statistic: _fields.table(values, name) for statistic, values in came.items()}
        names = list(next(iter(tables.values())))
        for statistic, table in tables.items():
            if set(table) != set(names):
                message = (
                    f"{next(iter(tables))} is for {names}, but {statistic} for {list(table)}; wanted the same variables"
                )
                raise VariableError(message)
        found = {n: {s: table[n] for s, table in tables.items()} for n in names}
        for n, of in found.items():
            _fields.check_given(n, of)
        by_name = dict.fromkeys(names, units) if isinstance(units, str) or units is None else dict(units)
        unknown = [n for n in by_name if n not in found]
        if unknown:
            message = f"units came for {unknown[0]!r}; the statistics are for {names}"
            raise VariableError(message)
        known = {n: by_name.get(n) or next((a.attrs["units"] for a in of.values() if "units" in a.attrs), None)
                 for n, of in found.items()}  # fmt: skip
        return cls(cast(NormalizeMethod, methods[0]), _fields.state(found, known))

    @classmethod
    def of(cls, normalizer: Normalizer | str | Path | Any) -> Normalizer:
        """Give a normalizer back, or load it from its path.

        Raises
        ------
        OptionError
            If it is neither.
        """
        if isinstance(normalizer, Normalizer):
            return normalizer
        if isinstance(normalizer, (str, Path)):
            return cls.load(normalizer)
        message = f"a {type(normalizer).__name__} came; wanted a Normalizer or the path of a saved one"
        raise OptionError(message)

    # ------------------------------------------------------------------ what it knows
    @property
    def names(self) -> tuple[str, ...]:
        """Names of the variables."""
        return tuple(self._kept)

    @property
    def units(self) -> dict[str, str | None]:
        """Physical units by variable; None where unknown."""
        return {name: next(iter(of.values())).attrs.get("units") for name, of in self._kept.items()}

    def statistics(self, name: str) -> dict[str, xr.DataArray]:
        """Statistics of one variable by name (``"mean"``, ``"std"`` ...), in its physical units.

        Raises
        ------
        VariableError
            If it has no such variable.
        """
        return dict(self._kept[self._known(name)])

    def scaling(self, name: str) -> tuple[xr.DataArray, ...]:
        """Numbers for `xatmo.normalize.forward` and `backward`: centre, scale, and for log1p those of the logarithm."""
        of = self._kept[self._known(name)]
        if self.method == "minmax":
            return of["minimum"], _fields.spread(of["maximum"] - of["minimum"])
        center, scale, *logs = (of[s] for s in STATISTICS[self.method])
        return center, _fields.spread(scale), *((logs[0], _fields.spread(logs[1])) if logs else ())

    def arrays(self, names: Sequence[str] | None = None) -> tuple[NDArray[np.float64], ...]:
        """Give the numbers of `scaling` for several variables as plain arrays, without labels.

        Parameters
        ----------
        names : sequence of str, optional
            Variables, in the order wanted; all unless given.

        Returns
        -------
        center, scale : array (len(names), ...)
            For ``"log1p"`` also ``log_center, log_scale``. Statistics that keep dimensions keep them as further axes.

        Raises
        ------
        VariableError
            If a name is unknown.
        DimensionError
            If the statistics of the variables have different shapes.

        Examples
        --------
        >>> Normalizer.from_statistics(mean={"t": 280, "q": 0.01}, std={"t": 10, "q": 0.004}).arrays(["q", "t"])
        (array([1.0e-02, 2.8e+02]), array([4.e-03, 1.e+01]))
        """
        chosen = list(self.names if names is None else names)
        numbers = [self.scaling(name) for name in chosen]
        shapes = {tuple(of[0].sizes.items()) for of in numbers}
        if len(shapes) > 1:
            message = f"the statistics of {chosen} have different dimensions: {sorted(shapes)}; ask for them one by one"
            raise DimensionError(message)
        return tuple(np.stack([a.values.astype(np.float64) for a in part]) for part in zip(*numbers, strict=True))

    def select(self, names: Sequence[str]) -> Normalizer:
        """Keep some variables only, in the order given."""
        wanted = [self._known(name) for name in names]
        variables = {str(a.name): a for name in wanted for a in self._kept[name].values()}
        return Normalizer(self.method, xr.Dataset(variables, attrs=self.state.attrs))

    def _known(self, name: Hashable) -> str:
        if name in self._kept:
            return str(name)
        message = f"this normalizer has no variable {name!r}; it has {', '.join(map(repr, self.names))}"
        raise VariableError(message)

    # ------------------------------------------------------------------ use
    def normalize(self, obj: T) -> T:
        """Dimensionless fields.

        Parameters
        ----------
        obj : Dataset or DataArray
            Variables are matched by name, and converted to the units of the statistics. A DataArray may have any name
            if the normalizer has one variable only. NaN stay NaN.

        Returns
        -------
        Dataset or DataArray
            With ``units`` 1; the physical ones are kept as ``physical_units``. float32 stays float32, integers become
            float64.

        Raises
        ------
        VariableError
            If a numeric variable is unknown.
        UnitsError
            If units are missing, cannot be converted, or the field has been normalized already.
        CoordinateError, DimensionError
            If statistics by level, say, do not have all the levels of the field.
        """
        return self._map(obj, self._normalized, "normalize")

    def denormalize(self, obj: T) -> T:
        """Physical fields: the inverse of `normalize`, to rounding.

        Parameters
        ----------
        obj : Dataset or DataArray
            Normalized variables, matched by name.

        Returns
        -------
        Dataset or DataArray
            In the units that `normalize` found, otherwise in those of the statistics.

        Raises
        ------
        VariableError
            If a numeric variable is unknown.
        UnitsError
            If a field has units, so that it cannot be a normalized one.
        CoordinateError, DimensionError
            As in `normalize`.
        """
        return self._map(obj, self._physical, "denormalize")

    def normalize_array(self, name: str, block: NDArray[Any]) -> NDArray[Any]:
        """Normalize plain numbers of one variable, in the units of the statistics; float32 stays float32.

        Raises
        ------
        VariableError
            If the variable is unknown.
        DimensionError
            If its statistics are by level, say, and plain numbers have no levels.
        """
        return np.asarray(forward(np.asarray(block), *self._plain(name)))

    def denormalize_array(self, name: str, block: NDArray[Any]) -> NDArray[Any]:
        """Undo `normalize_array`.

        Raises
        ------
        VariableError, DimensionError
            As there.
        """
        return np.asarray(backward(np.asarray(block), *self._plain(name)))

    def _plain(self, name: str) -> list[float]:
        numbers = self.scaling(name)
        if any(a.ndim for a in numbers):
            message = (
                f"the statistics of {name!r} are by {', '.join(map(str, numbers[0].dims))}, which plain arrays do not "
                "have; fit them with dim=None, or select one level"
            )
            raise DimensionError(message)
        return [float(a) for a in numbers]

    def _map(self, obj: T, function: Callable[[xr.DataArray, str], xr.DataArray], what: str) -> T:
        fields = _fields.numeric(obj)
        if isinstance(obj, xr.DataArray):
            name = self.names[0] if len(self.names) == 1 else self._known(obj.name)
            out: T = function(obj, name)
        else:
            unknown = [n for n in fields if n not in self._kept]
            if unknown:
                message = (
                    f"this normalizer has no variable {unknown[0]!r}; it has {', '.join(map(repr, self.names))}. "
                    "Select what it knows, or fit it on this Dataset"
                )
                raise VariableError(message)
            out = obj.assign({n: function(field, self._known(n)) for n, field in fields.items()})
        return cf.add_history(out, cf.describe_call(what, method=self.method))

    def _normalized(self, da: xr.DataArray, name: str) -> xr.DataArray:
        if _PHYSICAL["units"] in da.attrs:
            message = (
                f"variable {da.name!r} is normalized already (it has {_PHYSICAL['units']!r}); denormalize it first"
            )
            raise UnitsError(message)
        wanted = self.units[name]
        bare = da if wanted is None else units.convert(_fields.floating(da), wanted)
        out = self._apply(forward, bare, name)
        attrs: dict[str, Any] = {k: v for k, v in da.attrs.items() if k not in _PHYSICAL}
        attrs |= {new: da.attrs[old] for old, new in _PHYSICAL.items() if old in da.attrs}
        attrs.setdefault(_PHYSICAL["units"], wanted or "")
        out.attrs = {**attrs, "units": "1"}
        return _labels.changed_values(out, da)

    def _physical(self, da: xr.DataArray, name: str) -> xr.DataArray:
        have = str(da.attrs.get("units", "1"))
        if have not in ("1", ""):
            message = (
                f"variable {da.name!r} has units {have!r}; wanted a normalized field, without units. "
                "It may be physical already"
            )
            raise UnitsError(message)
        out = self._apply(backward, da, name)
        attrs = {k: v for k, v in da.attrs.items() if k not in ("units", *_PHYSICAL.values())}
        attrs |= {old: da.attrs[new] for old, new in _PHYSICAL.items() if not _empty(da.attrs.get(new))}
        out.attrs = attrs
        wanted, before = self.units[name], attrs.get("units")
        if wanted is not None:
            out.attrs["units"] = wanted
            if before is not None and before != wanted:
                out = units.convert(out, before)
        return _labels.changed_values(out, da)

    def _apply(self, function: Callable[..., Any], da: xr.DataArray, name: str) -> xr.DataArray:
        field = _fields.floating(da)
        numbers = [_fields.matched(a, field, name) for a in self.scaling(name)]
        out: xr.DataArray = xr.apply_ufunc(
            function, field, *numbers, dask="parallelized", output_dtypes=[field.dtype], join="override"
        )
        return out.transpose(*da.dims).rename(da.name)

    # ------------------------------------------------------------------ in and out
    def to_dataset(self) -> xr.Dataset:
        """Describe everything in a Dataset, from which `from_dataset` makes the same normalizer."""
        return _files.described(self.method, self.state)

    @classmethod
    def from_dataset(cls, ds: xr.Dataset) -> Normalizer:
        """Make the normalizer that `to_dataset` described.

        Raises
        ------
        CheckpointError
            If the Dataset is something else.
        """
        method, state = _files.understood(ds, STATISTICS, "this Dataset")
        return cls(cast(NormalizeMethod, method), state)

    def save(self, path: str | Path) -> None:
        """Write a netCDF file. It appears under its name only when complete."""
        _files.write(self.to_dataset(), Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Normalizer:
        """Read what `save` wrote.

        Raises
        ------
        CheckpointError
            If the file is missing, truncated, or something else.
        """
        method, state = _files.understood(_files.read(Path(path)), STATISTICS, repr(str(path)))
        return cls(cast(NormalizeMethod, method), state)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Normalizer):
            return NotImplemented
        return self.method == other.method and self.units == other.units and self.state.equals(other.state)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = []
        for name, of in self._kept.items():
            numbers = [f"{s} {a.item():.4g}" if a.ndim == 0 else f"{s} by {', '.join(map(str, a.dims))}"
                       for s, a in of.items()]  # fmt: skip
            known = self.units[name]
            shown.append(f"{name}{'' if known is None else f' ({known})'} {' '.join(numbers)}")
        rest = f", and {len(shown) - 4} more" if len(shown) > 4 else ""
        return f"<Normalizer {self.method}: {', '.join(shown[:4])}{rest}>"
