"""Comparisons that give several fields each: pairs of variables in, one Dataset out."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xatmo import cf
from xatmo.metrics._aggregate import Weights, resolve_weights
from xatmo.metrics._metric import UnitsRule, labelled, long_name_of, score_units
from xatmo.metrics._pairs import Dims, axes_of, fields, match, reduced_dims
from xatmo.typing import XarrayObject


@dataclass(frozen=True)
class Compared:
    """A prediction and its target on the same labels and in the target's units, and how to label what comes of them.

    Attributes
    ----------
    prediction, target : DataArray
    like : DataArray
        The prediction as it came.
    cyclic : bool
        Whether a repeated column was dropped.
    what : str
        Name of the comparison, for messages.
    """

    prediction: xr.DataArray
    target: xr.DataArray
    like: xr.DataArray
    cyclic: bool
    what: str

    @property
    def dtype(self) -> np.dtype[Any]:
        """Floating type of results."""
        found = np.result_type(self.prediction.dtype, self.target.dtype)
        return found if found.kind == "f" else np.dtype(np.float64)

    @property
    def horizontal(self) -> cf.Horizontal | None:
        """Latitude and longitude axes, or None."""
        return axes_of(self.prediction)

    def dims(self, dim: Dims) -> tuple[Hashable, ...]:
        """Dimensions that are reduced."""
        return reduced_dims(self.prediction, self.target, dim, what=self.what)

    def weights(self, dims: tuple[Hashable, ...], weights: Weights) -> xr.DataArray:
        """Weights of the points, over some of the dimensions."""
        return resolve_weights(self.prediction, dims, weights, what=self.what)

    def label(
        self, out: xr.DataArray, long_name: str, units: UnitsRule = "same", *, dtype: Any = "field"
    ) -> xr.DataArray:
        """Label a result; ``units`` follow from those of the target."""
        return labelled(
            out,
            self.like,
            self.cyclic,
            long_name=long_name_of(long_name, self.like),
            units=score_units(self.target.attrs.get("units"), units),
            dtype=self.dtype if isinstance(dtype, str) else dtype,
        )


def compare(
    prediction: XarrayObject,
    target: XarrayObject,
    function: Callable[[Compared], Mapping[str, xr.DataArray]],
    *,
    what: str,
    call: str,
) -> xr.Dataset:
    """Apply ``function`` to every pair of variables.

    Results are named as ``function`` names them, with ``VARIABLE_`` before that where several variables are compared.
    """
    pairs = list(fields(prediction, target, what=what))
    found: dict[Hashable, xr.DataArray] = {}
    for name, first, second in pairs:
        ours, theirs, cyclic = match(first, second, what=what)
        for key, result in function(Compared(ours, theirs, first, cyclic, what)).items():
            label = key if len(pairs) == 1 else f"{name}_{key}"
            found[label] = result.rename(label)
    return cf.add_history(xr.Dataset(found), f"metrics.{call}")


def gathered(field: xr.DataArray, dims: Sequence[Hashable]) -> xr.DataArray:
    """Make one chunk along ``dims``; the others are cut so that blocks keep to Dask's ``array.chunk-size``.

    For statistics that need all values of a sample at once (quantiles, ranks, members of an ensemble).
    """
    if field.chunks is None:
        return field
    axes = {field.get_axis_num(d) for d in dims if d in field.dims}
    if all(len(field.chunks[k]) == 1 for k in axes):
        return field
    chunks = {k: -1 if k in axes else "auto" for k in range(field.ndim)}
    return field.copy(data=field.data.rechunk(chunks))
