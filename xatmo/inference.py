"""A network over labelled data of any size: windows, halos and blending, lazily on Dask.

`predict` is the one engine. It finds channels and coordinates, lays the windows, and hands tiles of the output to
`xatmo.nn.tiled`, at once for NumPy, as one Dask task each otherwise.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
import xarray as xr

from xatmo import _channels, _graph, _labels, _placing, _refined, _tiles, _valid_times, cf
from xatmo._graph import Chunks, Layout, View
from xatmo._row_shift import move_rows
from xatmo.errors import DimensionError, OptionError
from xatmo.model import Channel, Fitted, Model
from xatmo.nn.positional import NOWHERE
from xatmo.nn.superres.constraints import Constrained, unconstrained
from xatmo.nn.tile_input import Input
from xatmo.nn.tiled import SharedNetwork, TileJob
from xatmo.regrid.constrain import constrain_field
from xatmo.typing import T

if TYPE_CHECKING:
    ModelLike: TypeAlias = Fitted | Model | torch.nn.Module | str | Path

WHOLE = 256
"""Cells of the largest window for a network without a training patch; smaller fields go through whole."""


# ---------------------------------------------------------------------- public
def apply(
    obj: T,
    model: ModelLike,
    *,
    patch_size: Mapping[Hashable, int] | None = None,
    overlap: Mapping[Hashable, int] | None = None,
    window: str = "hann",
    batch_size: int | None = None,
    device: str = "auto",
    members: int | None = None,
    seed: int = 0,
    nan: str = "raise",
    output_chunks: Chunks | None = None,
) -> T:
    """Any saved task or network over data of any size.

    ``model`` is a task, the path of a saved one, a `Model`, or any `torch.nn.Module`. A bare module takes the variables
    of ``obj`` as channels, in their order and units, and is not normalized. The other parameters, what is returned and
    what is raised: see `predict`.

    Examples
    --------
    >>> from xatmo.grids import Grid
    >>> grid = Grid.regular(19, 36)
    >>> t = xr.DataArray(np.ones(grid.shape, "float32"), grid.coords(), dims=("latitude", "longitude"), name="t")
    >>> smooth = torch.nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    >>> out = apply(t, smooth, patch_size={"lat": 16, "lon": 16}, overlap={"lat": 4, "lon": 4})
    >>> out.shape, float(out.min()), float(out.max())
    ((19, 36), 1.0, 1.0)
    """
    made = _resolve(obj, model)
    return predict(
        obj, made, patch_size=patch_size, overlap=overlap, window=window, batch_size=batch_size, device=device,
        members=members, seed=seed, nan=nan, output_chunks=output_chunks,
        call=_call("apply", made, patch_size=patch_size, overlap=overlap, window=window, members=members, seed=seed),
    )  # fmt: skip


def superresolve(
    obj: T,
    model: ModelLike,
    *,
    overlap: Mapping[Hashable, int] | None = None,
    window: str = "hann",
    batch_size: int | None = None,
    device: str = "auto",
    members: int | None = None,
    seed: int = 0,
    patch_size: Mapping[Hashable, int] | None = None,
    nan: str = "raise",
    output_chunks: Chunks | None = None,
) -> T:
    """Fine fields from coarse ones, with their coordinates.

    A field made by `xatmo.regrid.coarsen` returns to its original grid, exactly. Any other gets the centres of the
    ``factor`` by ``factor`` equal parts of its cells, in degrees, between the edges of `Grid.latitude_bounds`.

    ``model`` as in `apply`. The other parameters, what is returned and what is raised: see `predict`; but where
    ``patch_size`` is not given and the network tells its ``halo``, windows have at least 96 cells (and eight halos, up
    to 256), and overlap by two halos, so that their inner edges leave no trace.

    Raises
    ------
    OptionError
        If the model does not refine.
    GridError
        If ``obj`` was coarsened by another factor, or its steps differ from those that the model was trained on.

    Examples
    --------
    >>> from xatmo.grids import Grid
    >>> grid = Grid.regular(18, 36, poles=False)
    >>> t = xr.DataArray(np.ones(grid.shape, "float32"), grid.coords(), dims=("latitude", "longitude"), name="t")
    >>> fine = superresolve(t, torch.nn.Upsample(scale_factor=2, mode="bilinear"))
    >>> fine.shape, fine.latitude.values[:3], fine.longitude.values[:3]
    ((36, 72), array([87.5, 82.5, 77.5]), array([-2.5,  2.5,  7.5]))
    """
    made = _resolve(obj, model)
    _require_fields(made)
    if made.factor < 2:
        message = f"superresolve got a model with factor {made.factor}, which does not refine; use .atmo.apply(model)"
        raise OptionError(message)
    _refined.require_training_step(obj, made)
    call = _call(
        "superresolve", made, patch_size=patch_size, overlap=overlap, window=window, members=members, seed=seed
    )
    if patch_size is None and made.halo and made.local and made.patch_size:
        large = min(256, max(96, 8 * made.halo))
        patch_size = {d: p if d == "time" else max(p, large) for d, p in made.patch_size.items()}
        overlap = {
            **{d: 2 * made.halo for d in ("lat", "lon") if patch_size.get(d, 0) > 2 * made.halo},
            **_sizes("overlap", overlap),
        }
    return predict(
        obj, made, patch_size=patch_size, overlap=overlap, window=window, batch_size=batch_size, device=device,
        members=members, seed=seed, nan=nan, output_chunks=output_chunks, call=call,
    )  # fmt: skip


def predict(
    obj: T,
    model: Model,
    *,
    patch_size: Mapping[Hashable, int] | None = None,
    overlap: Mapping[Hashable, int] | None = None,
    window: str = "hann",
    batch_size: int | None = None,
    device: str = "auto",
    members: int | None = None,
    seed: int = 0,
    nan: str = "raise",
    output_chunks: Chunks | None = None,
    call: str | None = None,
    views: Mapping[Hashable, View] | None = None,
    along: tuple[Hashable, int] | None = None,
) -> T:
    r"""Send windows of a field through a network and blend what comes out: the one engine for all models.

    The output at a point :math:`x` is :math:`\sum_k w_k(x) f_k(x) / \sum_k w_k(x)` over the windows :math:`k` that hold
    it, where :math:`f_k` is what the network makes of window :math:`k`, and the weights :math:`w_k` fall towards the
    window's edges. Windows are laid once for the whole field, from north to south and eastward from 0 degrees (wrapping
    where the grid goes around), so the numbers depend neither on chunks nor on the order in which a file stores them.

    A network with a time window sees each frame with those before it: every frame of the record is the last one of a
    window, but for the first, and those after a gap of the times, which have as many before them as there are. A record
    shorter than the window goes through as it is. Fine static fields that a network takes are cut for each window: see
    `Model.with_static`.

    Parameters
    ----------
    obj : Dataset or DataArray
        Has every input of the model under its name or standard name, in units that convert, with latitude, longitude
        and any further dimensions.
    model : Model
    patch_size : mapping, optional
        Input cells of a window under ``"lat"``, ``"lon"``, ``"time"`` or the dimension names of ``obj``, at most the
        size of the dimension. Default: the training patch, with the network's halo around it where it tells one.
    overlap : mapping, optional
        Input cells that neighbours share: where not given, twice the network's halo beside windows of the default size,
        and at most a quarter of the patch beside others; half of it for a network with attention over its whole window.
        Along time a network that looks back gets all frames but one again, so that each is seen with its whole past: as
        many passes as the window has frames. ``overlap={"time": 2}`` is cheaper, and shows each frame with two before
        it at least.
    window : {"hann", "triangular", "uniform"}
        Blending weights. Outputs that stand within the network's halo of a window's edge count only where no window has
        a better view, as far as the overlap allows. With an overlap of two halos the result is that of one window over
        the whole field, to rounding.
    batch_size : int, optional
        Windows in one forward pass; by default what stays in the caches of a CPU or keeps a GPU busy.
    device : str
        ``"auto"`` (CUDA where the task runs, if it is there, else CPU) or a torch device.
    members : int, optional
        Draws from a stochastic network (noise that it reads, or dropout), along a new dimension ``member``. Noise is a
        function of seed, member, time and place, so that windows that overlap see the same, and so does a part of the
        record: members have no seams, and more of them leave the earlier as they were. A network that draws by itself
        is seeded by member, window and frame. None: the network's mean, or without one its first member.
    seed : int
        Of the draws; at least 0.
    nan : {"raise", "mask", "keep"}
        Missing input raises at compute; or it counts as the mean, and the output over it is missing too; or it reaches
        the network as NaN, for one that knows what to do with it.
    output_chunks : mapping, optional
        Dimension to chunk sizes of the output. Default: the chunks of the input, joined where windows would mostly be
        evaluated twice, split along time and level above 256 MiB. Where given, the output is lazy in any case.
    call : str, optional
        What to write to ``history`` instead of this call.
    views : mapping, optional
        Of inputs that stand for several frames of a longer array, which the network gets as so many channels.
    along : (hashable, int), optional
        A dimension of the output and its size: the network gives so many channels of each output, one after another.

    Returns
    -------
    Dataset or DataArray
        What the model gives, float32 (float64 from a network in double precision), in the dimension order of the
        input; what goes in and comes out again keeps the caller's name. A Dataset keeps its variables without latitude
        and longitude. Lazy where the input is, with one task per chunk of the output, which reads what lies under it
        and its halo.

    Raises
    ------
    VariableError, UnitsError
        If an input is missing, or its units do not fit.
    DimensionError
        If a variable lacks a dimension, or an option names an unknown one.
    OptionError
        If an option, or what the network gives, cannot be used.
    MissingValueError
        At compute, if the input or the network's output is not finite.
    """
    _check_options(model, nan=nan, device=device, members=members, batch_size=batch_size, seed=seed)
    call = call or _call(
        "predict", model, patch_size=patch_size, overlap=overlap, window=window, members=members, seed=seed
    )
    options = _Options(
        _sizes("patch_size", patch_size), _sizes("overlap", overlap), window, batch_size, device, members, seed, nan,
        views or {}, along,
    )  # fmt: skip
    if isinstance(obj, xr.DataArray):
        if len(model.outputs) != 1:
            message = (
                f"the model gives {[c.name for c in model.outputs]}; pass a Dataset, so that a Dataset can come back"
            )
            raise OptionError(message)
        as_dataset = obj.to_dataset(name=model.inputs[0].name if obj.name is None else obj.name)
        field = next(iter(_fields(as_dataset, model, options, output_chunks).values()))
        if obj.name is None and field.name == model.inputs[0].name:
            field = field.rename(None)
        return cf.add_history(_labels_history(field, obj), call)
    fields = _fields(obj, model, options, output_chunks)
    horizontal = set(cf.horizontal(obj).dims)
    kept = {n: v for n, v in obj.data_vars.items() if not horizontal & set(v.dims)}
    return cf.add_history(xr.Dataset({**kept, **fields}, attrs=obj.attrs), call)


# ---------------------------------------------------------------------- before anything runs
@dataclass(frozen=True)
class _Options:
    patch_size: dict[Hashable, int]
    overlap: dict[Hashable, int]
    window: str
    batch_size: int | None
    device: str
    members: int | None
    seed: int
    nan: str
    views: Mapping[Hashable, View]
    along: tuple[Hashable, int] | None


def _check_options(
    model: Model, *, nan: str, device: str, members: int | None, batch_size: int | None, seed: int
) -> None:
    _require_fields(model)
    message = None
    if nan not in ("raise", "mask", "keep"):
        message = f"nan={nan!r} came; wanted 'raise', 'mask' or 'keep'"
    elif batch_size is not None and not _is_count(batch_size):
        message = f"batch_size={batch_size!r} came; wanted a whole number of at least 1, or None"
    elif members is not None and not _is_count(members):
        message = f"members={members!r} came; wanted a whole number of at least 1, or None"
    elif isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        message = f"seed={seed!r} came; wanted a whole number of at least 0"
    elif members is not None and not getattr(model.network, "stochastic", False):
        message = (
            f"members={members} came, but {type(unconstrained(model.network)).__name__} gives one answer to one input; "
            "leave members out, or use a network that draws samples (and says so with stochastic = True)"
        )
    if message:
        raise OptionError(message)
    try:
        torch.device("cpu" if device == "auto" else device)
    except (RuntimeError, TypeError) as error:
        message = f"device={device!r} came; wanted 'auto', 'cpu', 'cuda', 'cuda:1' ..."
        raise OptionError(message) from error


def _require_fields(model: Model) -> None:
    if model.config.get("network", {}).get("kind") == "representation":
        message = (
            f"the model is of the task {model.config.get('task')}, which gives features of windows and no fields; use "
            ".atmo.embed(model) for features, .atmo.distance(other, model) for distances"
        )
        raise OptionError(message)
    if model.config.get("network", {}).get("kind") == "video":
        message = (
            f"the model is of the task {model.config.get('task')}, which continues a record in time; use "
            ".atmo.forecast(model)"
        )
        raise OptionError(message)


def _is_count(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= 1


def _sizes(what: str, given: object) -> dict[Hashable, int]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        message = f"{what}={given!r} came; wanted cells by dimension, for instance {what}={{'lat': 32, 'lon': 32}}"
        raise OptionError(message)
    return dict(given)


def _constraint(model: Model) -> str | None:
    """Tell what ties the means of the outputs to the inputs."""
    kind: str | None = model.config.get("constraint")
    # The network has taken the exponential already: what is left is to bring its means right.
    return "multiplicative" if kind == "softmax" and isinstance(model.network, Constrained) else kind


def _call(function: str, model: Model, **options: Any) -> str:
    task = model.config.get("task")
    name = task if isinstance(task, str) else type(model.network).__name__
    if not getattr(model.network, "stochastic", False):
        options.pop("seed", None)
    shown = {k: {str(d): n for d, n in v.items()} if isinstance(v, Mapping) else v for k, v in options.items()}
    constraint = model.config.get("constraint")
    return cf.describe_call(function, model=name, fingerprint=model.fingerprint, constraint=constraint, **shown)


def _labels_history(field: xr.DataArray, like: xr.DataArray) -> xr.DataArray:
    return field.assign_attrs(history=like.attrs["history"]) if "history" in like.attrs else field


def _resolve(obj: xr.Dataset | xr.DataArray, model: ModelLike) -> Model:
    if isinstance(model, Model):
        return model
    if isinstance(model, torch.nn.Module):
        return _described(obj, model)
    made = Model.of(model)
    return made if made.inputs else _described(obj, made.network)


def _described(obj: xr.Dataset | xr.DataArray, module: torch.nn.Module) -> Model:
    """Describe a module of the caller's by one look at what it makes of zeros."""
    axes = cf.horizontal(obj)
    if isinstance(obj, xr.DataArray):
        inputs: tuple[Channel, ...] = (Channel.of(obj),)
    else:
        inputs = tuple(Channel.of(obj[n]) for n in cf.variables_with(obj, axes.dims, what="apply"))
    rows, columns = (min(32, obj.sizes[d]) for d in axes.dims)
    tensors = [*module.parameters(), *module.buffers()]
    dtype = next((t.dtype for t in tensors if t.is_floating_point()), torch.float32)
    zeros = torch.zeros(1, len(inputs), rows, columns, dtype=dtype, device=tensors[0].device if tensors else "cpu")
    training = module.training
    try:
        with torch.inference_mode():
            shape = tuple(module.eval()(zeros).shape)
    except Exception as error:  # a caller's module may raise anything
        first = (str(error).splitlines() or [type(error).__name__])[0][:200]
        message = (
            f"the module cannot read {len(inputs)} channels {[c.name for c in inputs]} on {rows} x {columns} cells: "
            f"{first}. Select the variables that it reads, in its order: ds[[...]].atmo.apply(module)"
        )
        raise OptionError(message) from error
    finally:
        module.train(training)
    factor = int(getattr(module, "factor", 0) or (shape[-1] // columns if len(shape) == 4 else 1) or 1)
    if len(shape) != 4 or shape[2:] != (rows * factor, columns * factor):
        message = (
            f"the module turned {tuple(zeros.shape)} into {shape}; wanted (batch, channel, lat, lon) with as many "
            "cells, or a whole multiple of them along both"
        )
        raise OptionError(message)
    outputs = inputs
    if shape[1] != len(inputs):
        outputs = tuple(Channel("output" if shape[1] == 1 else f"output_{i}") for i in range(shape[1]))
    return Model(module, {"network": {"kind": "module"}}, inputs, outputs, factor=factor)


# ---------------------------------------------------------------------- labels around the job
def _fields(
    ds: xr.Dataset, model: Model, options: _Options, output_chunks: Chunks | None
) -> dict[Hashable, xr.DataArray]:
    """Give outputs by name. What lies before a gap of the times is not the past of what lies behind it."""
    found = _placing.stretches(model, ds)
    if len(found) < 2:
        return _of_stretch(ds, model, options, output_chunks)
    dim = _valid_times.frames(ds).dims[0]
    chunks = {d: n for d, n in (output_chunks or {}).items() if d != dim}
    given = None if output_chunks is None else chunks
    parts = [_of_stretch(ds.isel({dim: slice(*ends)}), model, options, given) for ends in found]
    fields = {
        n: xr.concat([part[n] for part in parts], dim, coords="minimal", compat="override", join="override")
        for n in parts[0]
    }
    if output_chunks is None or dim not in output_chunks:
        return fields
    return {n: field.chunk({dim: output_chunks[dim]}) for n, field in fields.items()}


def _of_stretch(
    ds: xr.Dataset, model: Model, options: _Options, output_chunks: Chunks | None
) -> dict[Hashable, xr.DataArray]:
    ds = model.complete(ds)
    sources = _channels.match(ds, model.inputs, what="the model")
    chosen = ds[list(dict.fromkeys(s.variable for s in sources))]
    axes = cf.horizontal(chosen)
    bare, cyclic = _labels.drop_cyclic(chosen, axes)
    layout = Layout.of(bare, axes, timed="time" in model.patch_size)
    refined = _refined.refine(bare, axes, model.factor, model.grid.get("row_offset"))
    if refined.move:
        bare = move_rows(bare, axes.lat_dim, refined.move)
    tensors = (t for t in model.network.parameters() if t.is_floating_point())
    double = next((t.dtype for t in tensors), torch.float32) == torch.float64
    if options.members is not None and _graph.MEMBER in layout.inner:
        message = (
            f"members={options.members} came, and the input has a dimension {_graph.MEMBER!r} already; rename that, "
            f"for instance .rename({_graph.MEMBER}='number'): each of its points then gets members of its own"
        )
        raise DimensionError(message)
    views = {s.variable: options.views.get(s.variable) for s in sources}
    inputs = tuple(
        Input(
            str(s.variable), tuple(layout.inner.index(d) for d in bare[s.variable].dims), s.scale, s.offset, scaling,
            *((view.frames, view.along(layout)) if (view := views[s.variable]) else ()),
        )
        for s, scaling in zip(
            sources, _channels.scalings(model.normalizer, model.inputs, bare, layout.extras), strict=True
        )
    )  # fmt: skip
    outputs = _channels.scalings(model.output_normalizer, model.outputs, bare, layout.extras)
    each = 1 if options.along is None else options.along[1]
    laid = _axes(bare, layout, refined, model, options)
    job = TileJob(
        SharedNetwork(model.network), laid, tuple(bare.sizes[d] for d in layout.extras), inputs,
        tuple(scaling for scaling in outputs for _ in range(each)),
        layout.order(options.members),
        "float64" if double else "float32", options.nan, options.device, options.batch_size, options.members,
        fine=_placing.fine_static(model, refined, laid),
        positions=_placing.positions(bare, layout, refined, laid)
        if getattr(model.network, "stochastic", False) else NOWHERE,
        seed=int(options.seed),
    )  # fmt: skip
    arrays = [bare[s.variable] for s in sources]
    if output_chunks is not None or any(a.chunks is not None for a in arrays):
        data = _graph.lazy(job, layout, arrays, output_chunks, cyclic=cyclic, views=options.views)
    else:
        data = _graph.at_once(job, layout, arrays, options.views)
    coords = refined.coords(xr.merge([bare.coords.to_dataset()]))
    # What came under a name of the caller's leaves under it.
    own = {c.name: s.variable for c, s in zip(model.inputs, sources, strict=True)}
    done: dict[Hashable, xr.DataArray] = {}
    for number, channel in enumerate(model.outputs):
        dims = layout.dims(options.members)
        values = data[number]
        if options.along is not None:
            dims, values = (options.along[0], *dims), data[number * each : (number + 1) * each]
        field = xr.DataArray(values, dims=dims, coords={n: c for n, c in coords.items() if set(c.dims) <= set(dims)})
        if options.members is not None:
            field = field.assign_coords(member=("member", np.arange(options.members), {"standard_name": "realization"}))
        if cyclic:
            field = refined.close(field, chosen)
        units = {} if channel.units is None else {"units": channel.units}
        field = field.assign_attrs({**channel.attrs, **units})
        name = own.get(channel.name, channel.name)
        kind = _constraint(model)
        if kind is not None and channel.name in own:
            field = constrain_field(field, chosen[name], kind=kind, factor=model.factor)
        done[name] = _labels.changed_values(
            field.rename(name), layout.template, reshaped=model.factor > 1 or bool(options.members)
        )
    return done


def _axes(
    ds: xr.Dataset, layout: Layout, refined: _refined.Refined, model: Model, options: _Options
) -> tuple[_tiles.Axis, ...]:
    """Lay the windows, in canonical order."""
    from xatmo.patches import plan

    if model.localised:
        _placing.require_own_grid(model, refined)
        refined = _placing.as_trained(model, ds, refined)
    patches = _by_axis("patch_size", options.patch_size, layout)
    overlaps = _by_axis("overlap", options.overlap, layout)
    _placing.require_frames(model, patches)
    shape = {"lat": (refined.latitude.size, model.factor), "lon": (refined.longitude.size, model.factor)}
    known = model.halo if model.local else 0  # where all of a window counts, none has a full view of the field
    sizes: dict[Hashable, int] = {}
    patch: dict[Hashable, int] = {}
    overlap: dict[Hashable, int] = {}
    for axis, dim in layout.core.items():
        cells = ds.sizes[dim]
        points, factor = shape.get(axis, (cells, 1))
        around = axis == "lon" and refined.periodic
        sizes[axis] = _tiles.padded_cells(cells, points, factor, periodic=around)
        halo = 0 if axis == "time" else known
        # The halo around a training patch: each of its points has a full view, so the windows leave no trace.
        trained = model.patch_size[axis] + 2 * halo if axis in model.patch_size else WHOLE
        wanted = sizes[axis] if model.localised and axis != "time" else patches.get(axis, trained)
        patch[axis] = min(wanted, sizes[axis])
        if axis == "time" and model.past is not None:
            shared = overlaps.get(axis, model.past)
            # Of a short record, and by default, at most what there is; what a caller has too much is refused by `plan`.
            fits = axis in overlaps and patch[axis] == wanted
            overlap[axis] = shared if fits else min(shared, patch[axis] - 1)
            continue
        usual = min(patch[axis] // 4, 2 * halo) if halo else patch[axis] // (4 if model.local else 2)
        if halo and axis not in patches and 2 * halo < patch[axis]:
            usual = 2 * halo
        overlap[axis] = overlaps.get(axis, usual)
        if patch[axis] < wanted:  # a window that covers all there is: neighbours matter only around the globe
            overlap[axis] = min(overlap[axis], patch[axis] * 3 // 4 if halo else patch[axis] // 2)
        if axis != "time" and model.localised:
            overlap[axis] = 0
        elif axis != "time":
            patch[axis], overlap[axis] = _aligned(
                patch[axis], overlap[axis], sizes[axis], model.alignment, periodic=around
            )
    laid = plan(sizes, patch, overlap=overlap, periodic=["lon"] if refined.periodic else [])
    axes = []
    for axis, dim in layout.core.items():
        points, factor = shape.get(axis, (ds.sizes[dim], 1))
        margin = _margin(overlap[axis], 0 if axis == "time" else known)
        causal = axis == "time" and model.past is not None
        weights = (
            np.ones(patch[axis]) if causal else _profile(options.window, patch[axis], overlap[axis], margin, factor)
        )
        axes.append(
            _tiles.Axis(
                ds.sizes[dim], points, factor, laid.starts[axis], patch[axis], weights,
                periodic=axis == "lon" and refined.periodic, flipped=axis == "lat" and refined.flipped,
                shift=refined.shift if axis == "lon" else 0, margin=margin * factor, causal=causal,
            )
        )  # fmt: skip
    return tuple(axes)


def _aligned(patch: int, overlap: int, cells: int, step: int, *, periodic: bool) -> tuple[int, int]:
    """Let windows begin a multiple of ``step`` apart, by longer windows that share a little more."""
    if step == 1 or overlap >= patch:  # which is refused later
        return patch, overlap
    if not periodic:
        patch += (cells - patch) % step
    stride = max(step, (patch - overlap) // step * step)
    return patch, patch - min(stride, patch)


def _by_axis(what: str, given: Mapping[Hashable, int], layout: Layout) -> dict[str, int]:
    names: dict[Hashable, str] = {**{d: a for a, d in layout.core.items()}, **{a: a for a in layout.core}}
    unknown = [d for d in given if d not in names]
    if unknown:
        message = f"{what} names {unknown[0]!r}; the model works along {tuple(layout.core)}, here {layout.core}"
        raise DimensionError(message)
    return {names[d]: n for d, n in given.items()}


def _margin(overlap: int, halo: int) -> int:
    """Cells at either end of a window whose outputs count only where no window has a better view."""
    # Without room for two whole halos, half of the overlap still blends.
    return halo if 2 * halo <= overlap else overlap // 4


def _profile(kind: str, patch: int, overlap: int, margin: int, factor: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Weigh a window's output along one axis: next to nothing in the margin, a taper over the rest of the overlap."""
    from xatmo.patches import window

    inner = window((patch - 2 * margin) * factor, kind, (overlap - 2 * margin) * factor)
    # Not zero: where windows leave a gap, someone has to answer.
    edge = np.full(margin * factor, 1e-12)
    return np.concatenate([edge, inner, edge])
