"""Patches of a Dataset or DataArray: cut with their coordinates, and stitched back with the original's."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xatmo import _labels, cf
from xatmo.errors import CoordinateError, DimensionError, GridError, OptionError, XatmoError
from xatmo.grids import Grid, repeats_first_column, unwrap_longitude
from xatmo.patches._schedule import Layout
from xatmo.patches._sources import Source
from xatmo.patches._stitch_lazily import stitch_lazily
from xatmo.patches.plan import Plan, plan
from xatmo.patches.stitch import stitch
from xatmo.patches.validity import count_windows
from xatmo.typing import T

if TYPE_CHECKING:
    from xatmo.data import SampleStream

Array = NDArray[Any]


def patches(
    obj: T,
    size: Mapping[Hashable, int],
    *,
    overlap: Mapping[Hashable, int] | None = None,
    periodic: Sequence[Hashable] | None = None,
) -> Patches[T]:
    """Cut an object into windows that cover every point.

    Parameters
    ----------
    obj : Dataset or DataArray
        NumPy, Dask, or a lazily opened file. Nothing is read here.
    size : mapping
        Points of a patch by dimension, or by role: ``"time"``, ``"lat"``, ``"lon"`` (found by CF metadata). Dimensions
        that are not named stay whole.
    overlap : mapping, optional
        Points that neighbours share, with the same keys; 0 where not named.
    periodic : sequence, optional
        Dimensions on which windows wrap around. Default: longitude, where it goes once around the Earth.

    Returns
    -------
    Patches
        Windows of a global field start from the column at 0 degrees east (or the first one east of it) and from the
        northernmost row, wherever the file starts. A repeated cyclic column is left out, and restored by `stitch`.

    Raises
    ------
    DimensionError
        If a dimension is unknown, or smaller than its patch.
    OptionError
        If a size or an overlap is not a usable number.
    GridError
        If a longitude that does not go around the Earth is said to be periodic.

    Examples
    --------
    >>> da = Grid.regular(19, 36).coords()
    >>> field = xr.DataArray(np.ones((19, 36)), coords=da, dims=("latitude", "longitude"))
    >>> cut = patches(field, {"lat": 8, "lon": 16}, overlap={"lat": 2, "lon": 4})
    >>> cut
    <Patches of DataArray: 9 windows (latitude: 3 x 8 of 19, longitude: 3 x 16 of 36 around)>
    >>> cut[2].longitude.values[[0, -1]]
    array([240., 390.])
    >>> bool(np.allclose(cut.stitch([p.values for p in cut]), field))
    True
    """
    return Patches(obj, size, overlap=overlap, periodic=periodic)


class Patches(Generic[T]):
    """Windows of an object. Made by `patches` or ``obj.atmo.patches``.

    Attributes
    ----------
    plan : Plan
        Where the windows lie, in points of the object without a repeated cyclic column.

    Examples
    --------
    >>> da = xr.DataArray(np.arange(10), dims="x", coords={"x": np.arange(10) * 0.5})
    >>> cut = patches(da, {"x": 4})
    >>> len(cut), cut[-1].x.values
    (3, array([3. , 3.5, 4. , 4.5]))
    """

    def __init__(
        self,
        obj: T,
        size: Mapping[Hashable, int],
        *,
        overlap: Mapping[Hashable, int] | None = None,
        periodic: Sequence[Hashable] | None = None,
    ) -> None:
        self._original: T = obj
        self._axes: cf.Horizontal | None = _horizontal(obj)
        bare = obj
        self._cyclic = False
        if self._axes is not None and obj[self._axes.lon].ndim == 1 and obj.sizes[self._axes.lon_dim] > 2:
            bare, self._cyclic = _drop_cyclic(obj, self._axes)
        self._obj: T = bare
        sizes = _sizes(bare)
        named = _by_dimension(bare, size, "patch size", sizes)
        shared = _by_dimension(bare, overlap or {}, "overlap", sizes)
        around = self._around(periodic, sizes)
        origin, backward = self._canonical(around)
        self.plan: Plan = plan(sizes, named, overlap=shared, periodic=around, origin=origin, backward=backward)

    def _around(self, periodic: Sequence[Hashable] | None, sizes: Mapping[Hashable, int]) -> list[Hashable]:
        lon = None if self._axes is None else self._axes.lon_dim
        goes_around = self._axes is not None and _goes_around(self._obj, self._axes)
        if periodic is None:
            return [lon] if lon is not None and goes_around else []
        found = list(_by_dimension(self._obj, dict.fromkeys(periodic, 1), "periodic", sizes))
        if self._axes is not None and lon in found and not goes_around:
            values = self._obj[self._axes.lon].values
            message = (
                f"{lon!r} cannot be periodic: longitude runs from {values[0]:g} to {values[-1]:g}, which is not once "
                "around the Earth; leave periodic= out"
            )
            raise GridError(message)
        return found

    def _canonical(self, around: Collection[Hashable]) -> tuple[dict[Hashable, int], list[Hashable]]:
        """Find where the windows of a field on the sphere begin: 0 degrees east, and north."""
        if self._axes is None:
            return {}, []
        origin = {}
        if self._axes.lon_dim in around:
            east = np.asarray(self._obj[self._axes.lon].values, dtype=float) % 360
            east[east > 360 - 1e-6 * 360] = 0  # what rounding put just west of Greenwich
            origin[self._axes.lon_dim] = int(np.argmin(east))
        lat = self._obj[self._axes.lat].values
        return origin, [self._axes.lat_dim] if lat[0] < lat[-1] else []

    # ------------------------------------------------------------------ the windows
    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, i: int) -> T:
        """Window ``i`` with its coordinates; lazy where the object is. Across the seam, longitudes go on increasing."""
        return self._unwrapped(self._obj.isel(self.plan.indexers(int(i))))

    def _unwrapped(self, patch: T) -> T:
        if self._axes is None:
            return patch
        lon = patch[self._axes.lon]
        if lon.size < 2 or not (np.diff(lon.values) < 0).any():
            return patch
        return patch.assign_coords({self._axes.lon: lon.copy(data=unwrap_longitude(lon.values).astype(lon.dtype))})

    def __iter__(self) -> Iterator[T]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"<Patches of {type(self._obj).__name__}: {repr(self.plan)[6:]}"

    # ------------------------------------------------------------------ validity
    def valid_fraction(self, mask: xr.DataArray | None = None) -> NDArray[np.float64]:
        """Tell which part of every window holds data. Reads the data (or the mask) once, chunk by chunk.

        Parameters
        ----------
        mask : DataArray of bool, optional
            True where there are data, on some of the object's dimensions. Default: where numbers are finite; of a
            Dataset, the least over its variables.

        Returns
        -------
        array (windows,)
            From 0 to 1. ``loader(valid=patches.valid_fraction(mask) > 0.5)`` draws the windows that are half valid.
        """
        fields = _fields(self._obj) if mask is None else [self._matching(mask)]
        test: Callable[[Array], Array] = np.isfinite if mask is None else (lambda block: block != 0)
        found = np.ones(self.plan.shape)
        for da in fields:
            layout = Layout(Source(da), self.plan, {}).in_pieces()
            found = np.minimum(found, count_windows(layout, self.plan, test=test))
        return found.ravel()

    def _matching(self, mask: xr.DataArray) -> xr.DataArray:
        if self._axes is not None and self._cyclic and self._axes.lon_dim in mask.dims:
            mask = mask.isel({self._axes.lon_dim: slice(0, self.plan.sizes[self._axes.lon_dim])})
        wrong = [d for d in mask.dims if mask.sizes[d] != self.plan.sizes.get(d)]
        if wrong:
            message = f"the mask has {dict(mask.sizes)}; wanted dimensions of {self.plan.sizes}"
            raise DimensionError(message)
        return mask

    # ------------------------------------------------------------------ to a network and back
    def loader(
        self,
        *,
        batch_size: int = 16,
        shuffle: bool = True,
        seed: int = 0,
        num_workers: int | None = None,
        valid: float | Array | None = None,
        drop_last: bool = False,
        mask: bool = False,
        fill: float | None = None,
        memory: int = 256 << 20,
    ) -> SampleStream:
        """Batches of tensors for training, shuffled and read ahead.

        Parameters
        ----------
        batch_size, shuffle, seed, drop_last
            As of torch's DataLoader; every iteration shuffles anew.
        num_workers : int, optional
            Threads that decode chunks.
        valid : float or array of bool (windows,), optional
            Least fraction of numbers in a window that is drawn, or the windows themselves.
        mask, fill, memory
            See `xatmo.data.SampleStream`.

        Returns
        -------
        SampleStream
            Iterates float32 tensors ``(batch, channel, *patch)``, the variables of a Dataset being the channels.

        Examples
        --------
        >>> da = xr.DataArray(np.ones((4, 8, 8)), dims=("time", "y", "x"))
        >>> next(iter(patches(da, {"time": 1, "y": 4, "x": 4}).loader(batch_size=8))).shape
        torch.Size([8, 1, 1, 4, 4])
        """
        from xatmo.data import SampleStream

        return SampleStream(
            _fields(self._obj), self.plan, batch_size=batch_size, shuffle=shuffle, seed=seed, threads=num_workers,
            valid=valid, drop_last=drop_last, mask=mask, fill=fill, memory=memory,
        )  # fmt: skip

    def stitch(self, arrays: Any, window: str = "hann") -> T:
        """Blend patches into an object like the original.

        Parameters
        ----------
        arrays : array (windows, [channels,] *patch), iterable of patches, or Dask array
            Plain arrays, tensors or labelled patches, in the plan's order. Channels are the variables of a Dataset. If
            patches come finer by a whole factor along a dimension, so does the result, its coordinates dividing the
            cells evenly. From a Dask array comes a lazy result.
        window : {"hann", "triangular", "uniform"}
            How patches are weighted where they overlap.

        Returns
        -------
        Dataset or DataArray
            With the original's names, coordinates, attributes and order of dimensions; a repeated cyclic column is
            restored. Patches of the original give it back to rounding.

        Raises
        ------
        DimensionError
            If patches do not fit the plan.
        OptionError
            If the window is unknown.
        """
        fields = _fields(self._obj)
        shape, patches_ = _shape_of(arrays, fields)
        channels = isinstance(self._obj, xr.Dataset)
        core = shape[1:] if channels else shape
        if len(core) != len(self.plan.sizes) or (channels and shape[0] != len(fields)):
            wanted = ", ".join(map(str, ((len(fields),) if channels else ()) + self.plan.patch_shape))
            message = f"patches of shape {shape} came; wanted ({wanted}), or finer by whole factors"
            raise DimensionError(message)
        factor = {d: max(n // p, 1) for n, (d, p) in zip(core, self.plan.patch_size.items(), strict=True)}
        lazy = type(arrays).__module__.startswith("dask.")
        data = (
            stitch_lazily(arrays, self.plan, window, factor)
            if lazy
            else stitch(patches_, self.plan, window=window, factor=factor)
        )
        history = cf.describe_call("stitch", window=window)
        coords = self._coords(factor)
        done = []
        for k, da in enumerate(fields):
            values = data[k] if channels else data
            dims = tuple(self.plan.sizes)
            if set(da.dims) != set(dims):  # variables that lack a dimension were repeated along it
                values = values[tuple(slice(None) if d in da.dims else 0 for d in dims)]
                dims = tuple(d for d in dims if d in da.dims)
            new = xr.DataArray(values, dims=dims, name=da.name, attrs=da.attrs)
            new = new.assign_coords({n: c for n, c in coords.items() if set(c.dims) <= set(dims)}).transpose(*da.dims)
            done.append(_labels.changed_values(new, da, reshaped=any(f > 1 for f in factor.values())))
        if isinstance(self._obj, xr.Dataset):
            kept = {n: v for n, v in self._original.data_vars.items() if n not in {da.name for da in done}}
            if any(f > 1 for f in factor.values()):
                changed = {d for d, f in factor.items() if f > 1}
                kept = {n: v for n, v in kept.items() if not changed & set(v.dims)}
            out = xr.Dataset({da.name: da for da in done}, attrs=self._original.attrs)
            out = self._whole(out).assign(kept)
            names = [n for n in self._original.data_vars if n in out.data_vars]
            return cast(T, cf.add_history(out[names], history))
        return cast(T, cf.add_history(self._whole(done[0]), history))

    def _coords(self, factor: Mapping[Hashable, int]) -> dict[Hashable, xr.DataArray]:
        found = {}
        for name, c in self._obj.coords.items():
            fine = {d: factor[d] for d in c.dims if factor.get(d, 1) > 1}
            if not fine:
                found[name] = c
            elif c.ndim == 1 and c.dtype.kind in "fiuM" and c.size > 1:
                found[name] = _divided(c, fine[c.dims[0]], self._axes)
        return found

    def _whole(self, out: Any) -> Any:
        """Repeat the first column at the end if the original did."""
        axes = self._axes
        if not self._cyclic or axes is None or axes.lon_dim not in out.dims:
            return out
        name: Hashable = axes.lon
        d: Hashable = axes.lon_dim
        closed = out.isel({d: [*range(out.sizes[d]), 0]})
        if out.sizes[d] == self.plan.sizes[d]:
            return closed.assign_coords({name: self._original[name]})
        values = closed[name].values.copy()
        values[-1] = values[0] + 360
        return closed.assign_coords({name: closed[name].copy(data=values)})

    # ------------------------------------------------------------------ beside other tools
    def xbatcher(self, **options: Any) -> Any:
        """Make an xbatcher ``BatchGenerator`` with the same patches and overlaps, for code that wants its batches.

        Its windows are a subset of the plan's: it has no last windows shifted inward, and none that wrap. Where the
        field does not start at 0 degrees east and in the north, it is put into that order first, lazily.

        Parameters
        ----------
        **options
            Further arguments of ``xbatcher.BatchGenerator``.
        """
        import xbatcher

        ordered = self._obj
        for d, first in self.plan.starts.items():
            n = self.plan.sizes[d]
            if d in self.plan.periodic and first[0]:
                ordered = ordered.isel({d: (np.arange(n) + int(first[0])) % n})
            elif d not in self.plan.periodic and first[0] > first[-1]:
                ordered = ordered.isel({d: slice(None, None, -1)})
        cut = {d: p for d, p in self.plan.patch_size.items() if p != self.plan.sizes[d] or self.plan.overlap[d]}
        cut = cut or dict(self.plan.patch_size)
        shared = {d: self.plan.overlap[d] for d in cut if self.plan.overlap[d]}
        return xbatcher.BatchGenerator(ordered, input_dims=cut, input_overlap=shared, **options)


# ---------------------------------------------------------------------- helpers
def _horizontal(obj: xr.Dataset | xr.DataArray) -> cf.Horizontal | None:
    """Horizontal axes, or None for data that have none."""
    try:
        axes = cf.horizontal(obj)
    except XatmoError:
        return None
    try:
        unwrap_longitude(obj[axes.lon].values)
    except CoordinateError:
        return None
    return axes


def _drop_cyclic(obj: T, axes: cf.Horizontal) -> tuple[T, bool]:
    if repeats_first_column(unwrap_longitude(obj[axes.lon].values)):
        return obj.isel({axes.lon_dim: slice(0, -1)}), True
    return obj, False


def _goes_around(obj: xr.Dataset | xr.DataArray, axes: cf.Horizontal) -> bool:
    if obj.sizes[axes.lon_dim] < 4 or obj.sizes[axes.lat_dim] < 2:
        return False
    return Grid.of(obj).periodic


def _fields(obj: xr.Dataset | xr.DataArray) -> list[xr.DataArray]:
    if isinstance(obj, xr.DataArray):
        return [obj]
    others = cf.auxiliary(obj)
    return [da for n, da in obj.data_vars.items() if da.dtype.kind in "fiub" and da.ndim and n not in others]


def _sizes(obj: xr.Dataset | xr.DataArray) -> dict[Hashable, int]:
    """Sizes of the dimensions that fields have, in the order in which they come."""
    fields = _fields(obj)
    if not fields:
        message = f"no numeric variable with dimensions among {sorted(map(str, obj.variables))}"
        raise DimensionError(message)
    longest = max(fields, key=lambda da: da.ndim)
    sizes = dict(longest.sizes)
    for da in fields:
        sizes.update({d: n for d, n in da.sizes.items() if d not in sizes})
    return sizes


def _by_dimension(
    obj: xr.Dataset | xr.DataArray, named: Mapping[Hashable, int], what: str, sizes: Mapping[Hashable, int]
) -> dict[Hashable, int]:
    """Turn roles into dimensions.

    Raises
    ------
    DimensionError
        If a key is neither.
    OptionError
        If a dimension is named twice, or there are no names.
    """
    given: Any = named
    if not isinstance(given, Mapping):
        message = f"{what} {named!r} came; wanted points by dimension, for instance {{'lat': 64, 'lon': 64}}"
        raise OptionError(message)
    found: dict[Hashable, int] = {}
    for key, number in named.items():
        d = key if key in sizes else _role(obj, key)
        if d is None or d not in sizes:
            message = f"{what} names {key!r}, which is neither a dimension of {tuple(sizes)} nor a role found in them"
            raise DimensionError(message)
        if d in found:
            message = f"{what} names dimension {d!r} twice: {list(named)}"
            raise OptionError(message)
        found[d] = number
    return found


def _role(obj: xr.Dataset | xr.DataArray, role: Hashable) -> Hashable | None:
    try:
        if role == "time":
            return obj[cf.time(obj)].dims[0]
        axes = cf.horizontal(obj)
    except XatmoError:
        return None
    return {"lat": axes.lat_dim, "lon": axes.lon_dim}.get(str(role))


def _shape_of(arrays: Any, fields: list[xr.DataArray]) -> tuple[tuple[int, ...], Any]:
    """Shape of one patch, and the patches as plain arrays (labelled ones are laid in the fields' order)."""
    if hasattr(arrays, "shape"):
        return tuple(arrays.shape[1:]), arrays
    items = iter(arrays)
    try:
        first = _plain(next(items), fields)
    except StopIteration:
        return (), []

    def every() -> Iterator[Any]:
        yield first
        for item in items:
            yield _plain(item, fields)

    return tuple(first.shape), every()


def _plain(patch: Any, fields: list[xr.DataArray]) -> Any:
    if isinstance(patch, xr.Dataset):
        order = tuple(_sizes(patch))
        whole = [patch[da.name].broadcast_like(patch[[da.name for da in fields]].to_array()[0]) for da in fields]
        return np.stack([one.transpose(*order).values for one in whole])
    if isinstance(patch, xr.DataArray):
        return patch.transpose(*fields[0].dims).values
    return patch


def _divided(c: xr.DataArray, factor: int, axes: cf.Horizontal | None) -> xr.DataArray:
    """Coordinates of ``factor`` equal parts of every cell, whose edges lie midway between points, or at the poles."""
    time = c.dtype.kind == "M"
    values = c.values.astype("int64") if time else c.values.astype(float)
    if axes is not None and c.name == axes.lon:
        values = unwrap_longitude(values)
    values = values.astype(float)
    edges = np.concatenate(
        [[1.5 * values[0] - 0.5 * values[1]], (values[:-1] + values[1:]) / 2, [1.5 * values[-1] - 0.5 * values[-2]]]
    )
    if axes is not None and c.name == axes.lat:
        edges = np.clip(edges, -90, 90)
    part = (np.arange(factor) + 0.5) / factor
    fine = (edges[:-1, None] + np.diff(edges)[:, None] * part).ravel()
    if time:
        return xr.DataArray(fine.round().astype("int64").view(c.dtype), dims=c.dims, name=c.name, attrs=c.attrs)
    return xr.DataArray(fine.astype(c.dtype if c.dtype.kind == "f" else float), dims=c.dims, name=c.name, attrs=c.attrs)
