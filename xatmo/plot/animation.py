"""Fields in motion: panels side by side, drawn one frame at a time, saved as GIF or MP4."""

from __future__ import annotations

import base64
import io
import os
import tempfile
import uuid
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from xatmo import cf
from xatmo.errors import CoordinateError, DimensionError, MissingDependencyError, OptionError
from xatmo.grids import Grid
from xatmo.plot import _fields, _leads, _planes, _points, maps, style
from xatmo.typing import XarrayObject

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

    from xatmo.typing import Floats

_SAMPLED = 24  # frames that decide the colour range
_SAMPLE = 40_000  # values of each of them
_TRUTHS = ("truth", "target", "reference")


def animation(
    fields: Mapping[str, xr.DataArray] | XarrayObject,
    *,
    dim: Hashable | None = None,
    reference: str | None = None,
    own: Sequence[str] = (),
    within: Any = None,
    latitude: tuple[float, float] | None = None,
    longitude: tuple[float, float] | None = None,
    columns: int | None = None,
    cmap: Any = None,
    vmin: float | None = None,
    vmax: float | None = None,
    robust: bool = True,
    title: str | None = None,
    coastlines: bool = True,
    dpi: float = 100,
) -> Animation:
    """Animate fields side by side along a dimension, such as truth, observations and maps of the sea in time.

    Parameters
    ----------
    fields : mapping, Dataset or DataArray
        Title of each panel to its field, lazy or not, in the same units; grids may differ. A Dataset gives its
        variables. Fields without ``dim`` stand still. Those that have it are matched by their labels: the frames are
        the labels that all of them have. Observations along a track, with time, latitude and longitude, are drawn as
        points, those of each frame. Forecasts from one start (`init_time`) move along their leads, or at one lead along
        their starts; fields along time beside them are shown at their valid times, and the title tells lead, valid time
        and start.
    dim : str, optional
        The dimension to animate: unless given, the lead of forecasts, and otherwise time.
    reference : str, optional
        The panel whose values decide the colour range of all. By default the one called truth, target or reference, or
        else the first. The range is found from at most 24 frames of it, which are computed here.
    own : sequence of str
        Panels with a colour range of their own, such as error bars; from zero on where nothing is below.
    within : timedelta or str, optional
        How far in time observations along a track may be from a frame; half a step unless given.
    latitude, longitude : (float, float), optional
        Region in degrees: south and north; west and east, across the date line or 0 degrees as well.
    columns, cmap, vmin, vmax, robust, coastlines
        As in `maps`.
    title : str, optional
        Above all panels, before the label of the frame. By default the name of the reference.
    dpi : float
        Dots per inch of the frames.

    Returns
    -------
    Animation
        Nothing is drawn until it is asked for a frame, saved or shown. Only one frame is in memory at a time.

    Raises
    ------
    OptionError
        If there are no fields, ``reference`` or ``own`` is none of them, or ``within`` is no positive time.
    DimensionError
        If no field has ``dim``, or one has a further dimension.
    CoordinateError
        If the fields have no label in common, the region holds no point, or a field along time beside a forecast lacks
        a valid time.

    Examples
    --------
    >>> import xatmo
    >>> grid = xatmo.Grid.regular(9, 16)
    >>> coords = {"time": np.datetime64("2020-01-01", "ns") + np.arange(3), **grid.coords()}
    >>> da = xr.DataArray(np.zeros((3, *grid.shape)), coords, dims=("time", "latitude", "longitude"), name="t2m")
    >>> moving = animation({"truth": da, "still": da.isel(time=0)}, latitude=(0, 60), longitude=(-90, 90))
    >>> len(moving), [ax.get_title() for ax in moving.frame(1).axes[:2]]
    (3, ['truth', 'still'])
    >>> moving.close()
    """
    given = _panels(fields)
    dim = _leads.dimension(given) if dim is None else dim
    scattered = {n: da for n, da in given.items() if _points.is_track(da)}
    given |= _leads.laid({n: da for n, da in given.items() if n not in scattered}, dim)
    panels = {n: da for n, da in given.items() if n not in scattered}
    names = list(panels)
    if reference is None:
        reference = next((n for n in names if n.lower() in _TRUTHS), names[0] if names else "")
    if reference not in panels:
        message = f"reference={reference!r} is none of the fields; wanted one of {names}"
        raise OptionError(message)
    if isinstance(own, str) or not set(own) <= set(panels):
        message = f"own={own!r} came; wanted a sequence of some of {names}"
        raise OptionError(message)
    moving = {n: da for n, da in panels.items() if dim in da.dims}
    if not moving:
        message = (
            f"no field has the dimension {dim!r}; they have {sorted({str(d) for f in panels.values() for d in f.dims})}"
        )
        raise DimensionError(message)
    for name, da in panels.items():
        more = [d for d in da.dims if d not in (dim, *cf.across(da)) and da.sizes[d] > 1]
        if more:
            message = (
                f"animation, panel {name!r}, has a dimension {more[0]!r} of {da.sizes[more[0]]} points beside {dim!r}; "
                f"choose, for instance da.isel({more[0]}=0)"
            )
            raise DimensionError(message)
    if scattered:  # observations have latitude and longitude: the fields beside them need both
        cf.horizontal(panels[reference], rings=True)
    labels = _common(moving, dim)
    chosen = {
        n: _region(da.sel({dim: labels}) if n in moving and labels is not None else da, latitude, longitude)
        for n, da in panels.items()
    }
    shared = _scale(chosen[reference], dim, cmap=cmap, vmin=vmin, vmax=vmax, robust=robust)
    scales = {n: _own_scale(chosen[n], dim, robust) if n in own else shared for n in chosen}
    count = (
        moving[reference if reference in moving else next(iter(moving))].sizes[dim] if labels is None else len(labels)
    )
    text = style.name_of(panels[reference]) if title is None else title
    half = _points.half_width(
        within, np.asarray(labels) if getattr(labels, "dtype", np.dtype("i")).kind == "M" else None
    )
    return Animation(
        {n: chosen.get(n, da) for n, da in given.items()}, dim, count, {n: scales.get(n, shared) for n in given},
        points={n: (_points.points_of(da, f"animation, panel {n!r}"), half) for n, da in scattered.items()},
        reference=reference, columns=columns or min(3, len(given)), title=text, region=(longitude, latitude),
        coastlines=coastlines, dpi=dpi,
    )  # fmt: skip


class Animation:
    """Frames of fields side by side; made by `animation`.

    Shows itself in a notebook. ``len`` is the number of frames.
    """

    def __init__(
        self,
        fields: Mapping[str, xr.DataArray],
        dim: Hashable,
        count: int,
        scales: Mapping[str, Mapping[str, Any]],
        *,
        points: Mapping[str, tuple[_points.Points, Any]],
        reference: str,
        columns: int,
        title: str,
        region: tuple[tuple[float, float] | None, tuple[float, float] | None],
        coastlines: bool,
        dpi: float,
    ) -> None:
        self._fields, self._dim, self._count = dict(fields), dim, count
        self._scales, self._points = {n: dict(s) for n, s in scales.items()}, dict(points)
        self._reference, self._columns, self._title = reference, columns, title
        self._region, self._coastlines, self._dpi = region, coastlines, dpi
        self._figure: Figure | None = None
        self._meshes: dict[str, Any] = {}
        self._heading: Any = None

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"<Animation of {', '.join(self._fields)}: {self._count} frames along {self._dim!r}>"

    def frame(self, index: int) -> Figure:
        """Draw one frame; the figure is the same for all of them.

        Parameters
        ----------
        index : int
            Negative ones count from the end.

        Raises
        ------
        OptionError
            If there is no such frame.
        """
        if not -self._count <= index < self._count:
            message = f"frame {index} came; there are {self._count}"
            raise OptionError(message)
        index %= self._count
        if self._figure is None:
            self._begin(index)
        for name, mesh in self._meshes.items():
            if name in self._points:
                self._move(name, mesh, index)
            elif self._dim in self._fields[name].dims:
                plane = self._plane(name, index)
                mesh.set_array(np.ma.masked_invalid(plane.values[:, : mesh.get_array().shape[1]]))
        label = self._label(index)
        self._heading.set_text(f"{self._title}\n{label}" if self._title else label)
        assert self._figure is not None
        return self._figure

    def save(
        self,
        path: str | Path,
        *,
        fps: float = 8,
        overwrite: bool = True,
        progress: Callable[[int, int], None] | None = None,
    ) -> Path:
        """Write all frames to a file.

        Parameters
        ----------
        path : str or Path
            ``.gif``, or ``.mp4`` where the program ffmpeg is installed.
        fps : float
            Frames per second.
        overwrite : bool
            Whether to replace what is there.
        progress : callable, optional
            Called after each frame with its number and how many there are.

        Returns
        -------
        Path
            The file, which appears when it is complete.

        Raises
        ------
        OptionError
            If the name ends otherwise, or ``fps`` is not positive.
        MissingDependencyError
            If ``.mp4`` is wanted and ffmpeg is not there.
        FileExistsError
            If something is there and may not be replaced.
        """
        path = Path(path)
        writers = {".gif": self._write_gif, ".mp4": self._write_mp4}
        if path.suffix.lower() not in writers or not fps > 0:
            message = f"path={str(path)!r}, fps={fps!r}; wanted a name that ends in .gif or .mp4, and a positive number"
            raise OptionError(message)
        if path.suffix.lower() == ".mp4" and not _has_ffmpeg():
            message = (
                f"writing {path.name} needs the program ffmpeg, which is not on the path; install it with the system's "
                "packages (apt install ffmpeg, conda install ffmpeg), or write a .gif"
            )
            raise MissingDependencyError(message)
        if path.exists() and not overwrite:
            message = f"{path} exists; pass overwrite=True to replace it"
            raise FileExistsError(message)
        handle, place = tempfile.mkstemp(
            suffix=path.suffix.lower(), prefix=f".{path.stem}-", dir=path.absolute().parent
        )
        os.close(handle)
        try:
            writers[path.suffix.lower()](place, fps, progress or _silent)
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(place, 0o666 & ~mask)
            os.replace(place, path)
        finally:
            Path(place).unlink(missing_ok=True)
        return path

    def to_html(self, *, fps: float = 8, every: int = 1) -> str:
        """Give HTML with all frames inside, a button and a slider, for a notebook or a page.

        Parameters
        ----------
        fps : float
            Frames per second.
        every : int
            Take every so many frames: all of them are in the page, as PNG.
        """
        which = range(0, self._count, max(1, int(every)))
        frames = [base64.b64encode(self._png(i)).decode() for i in which]
        source = ",".join(f'"{frame}"' for frame in frames)
        labels = ", ".join(self._fields)
        return _PLAYER.substitute(
            id=f"a{uuid.uuid4().hex[:8]}", frames=source, first=frames[0], last=len(frames) - 1,
            delay=round(1000 / fps), alt=f"Animation of {labels}",
        )  # fmt: skip

    def _repr_html_(self) -> str:
        return self.to_html(every=max(1, -(-self._count // 60)))

    def close(self) -> None:
        """Forget the figure; a later frame makes a new one."""
        if self._figure is not None:
            plt.close(self._figure)
        self._figure, self._meshes = None, {}

    # ------------------------------------------------------------------ its parts
    def _plane(self, name: str, index: int) -> xr.DataArray:
        da = self._fields[name]
        one = da.isel({self._dim: index}) if self._dim in da.dims else da
        return _fields.plane(one, f"animation, panel {name!r}", anywhere=True)

    def _move(self, name: str, drawn: Any, index: int) -> None:
        """Show the observations of one frame."""
        points, half = self._points[name]
        some = points.near(self._time(index), half)
        grid = Grid.of(self._plane(self._reference, index))
        drawn.set_offsets(np.column_stack([_fields.near(some.longitude, grid), some.latitude]))
        drawn.set_array(some.value)

    def _time(self, index: int) -> Any:
        """Time of a frame, or None."""
        da = next(f for n, f in self._fields.items() if n not in self._points and self._dim in f.dims)
        return da[self._dim].values[index] if self._dim in da.coords and da[self._dim].dtype.kind == "M" else None

    def _begin(self, index: int) -> None:
        planes = {name: self._plane(name, index) for name in self._fields if name not in self._points}
        first = planes[self._reference]
        axes = _fields.panels(first, len(self._fields), self._columns)
        alike = []
        for ax, name in zip(axes, self._fields, strict=True):
            scale = self._scales[name]
            if name in self._points:
                self._meshes[name] = self._begin_points(ax, name, first)
            else:
                self._meshes[name] = _fields.draw(ax, planes[name], scale, coastlines=self._coastlines)
            ax.set_title(name, fontsize=style.TITLE)
            if scale is self._scales[self._reference] or scale == self._scales[self._reference]:
                alike.append(ax)
            else:
                _fields.colorbar(self._meshes[name], [ax], scale, planes[name])
        _same_limits(list(axes), *self._region)
        _planes.label_outer(axes)
        # Beside panels with bars of their own, a bar for each is easier to read than one far away.
        for part in [alike] if len(alike) == len(axes) else [[ax] for ax in alike]:
            _fields.colorbar(self._meshes[self._reference], part, self._scales[self._reference], first)
        self._figure = axes[0].figure
        width, height = self._figure.get_size_inches()
        self._figure.set_size_inches(width, height + 0.55)  # room for two lines above
        self._figure.set_dpi(self._dpi)
        self._heading = self._figure.suptitle(f"{self._title}\n " if self._title else " ", fontsize=style.TITLE + 1)

    def _begin_points(self, ax: Any, name: str, first: xr.DataArray) -> Any:
        """Draw an empty frame with the observations of all times: each frame chooses its own."""
        grid = Grid.of(first)
        _fields.frame(ax, grid)
        ax.set_facecolor(style.MISSING)
        if self._coastlines:
            _fields.coasts(ax)
        points, half = self._points[name]
        some = max((points.near(self._time(i), half).value.size for i in range(self._count)), default=1)
        return _points.scatter(ax, points, grid, self._scales[name], s=_points.size_of(some))

    def _label(self, index: int) -> str:
        moving = [da for n, da in self._fields.items() if n not in self._points]
        if ahead := next(filter(None, (_leads.title(da, self._dim, index) for da in moving)), None):
            return ahead
        for da in (self._fields[self._reference], *moving):
            if self._dim in da.dims:
                if self._dim in da.coords:
                    return maps.label(self._dim, da[self._dim][index])
                break
        return f"{self._dim} {index}"

    def _image(self, index: int) -> Image:
        from PIL import Image as images

        canvas: Any = self.frame(index).canvas
        canvas.draw()
        return images.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())

    def _png(self, index: int) -> bytes:
        kept = io.BytesIO()
        self._image(index).quantize(128).save(kept, "PNG", optimize=True)
        return kept.getvalue()

    def _each(self, progress: Callable[[int, int], None]) -> Iterator[Image]:
        for i in range(self._count):
            yield self._image(i)
            progress(i + 1, self._count)

    def _write_gif(self, place: str, fps: float, progress: Callable[[int, int], None]) -> None:
        """Frame after frame, which Pillow's own writer would collect before it writes."""
        from PIL import GifImagePlugin as gif
        from PIL import Image as images

        with open(place, "wb") as file:
            for i, image in enumerate(self._each(progress)):
                coloured = image.quantize(256, dither=images.Dither.NONE)
                if i == 0:
                    header, _ = gif.getheader(coloured, info={"loop": 0})
                    file.writelines(header)
                options = {"duration": round(1000 / fps), "include_color_table": True}
                file.writelines(gif.getdata(coloured, (0, 0), **options))
            file.write(b";")

    def _write_mp4(self, place: str, fps: float, progress: Callable[[int, int], None]) -> None:
        from matplotlib.animation import FFMpegWriter

        rate: Any = fps  # ffmpeg takes fractions
        writer = FFMpegWriter(fps=rate, codec="h264", extra_args=["-pix_fmt", "yuv420p"])
        with writer.saving(self.frame(0), place, self._dpi):
            for i in range(self._count):
                self.frame(i)
                writer.grab_frame()
                progress(i + 1, self._count)


# ---------------------------------------------------------------------- pieces
def _silent(done: int, count: int) -> None:
    """Say nothing."""


def _has_ffmpeg() -> bool:
    from matplotlib.animation import FFMpegWriter

    return bool(FFMpegWriter.isAvailable())


def _panels(fields: Mapping[str, xr.DataArray] | XarrayObject) -> dict[str, xr.DataArray]:
    if isinstance(fields, xr.DataArray):
        return {style.name_of(fields) or "field": fields}
    if isinstance(fields, xr.Dataset):
        names = cf.variables_with(fields, cf.across(fields), what="animation")
        return {str(n): fields[n] for n in names}
    if not fields:
        message = "animation got no fields; wanted a mapping such as {'truth': da, 'coarse': other}"
        raise OptionError(message)
    return {str(n): da for n, da in fields.items()}


def _common(moving: Mapping[str, xr.DataArray], dim: Hashable) -> Any:
    """Labels that all have, in the order of the first; None where there are no labels and the sizes agree."""
    indexes: list[Any] = [da.indexes.get(dim) for da in moving.values()]
    if any(index is None for index in indexes):
        sizes = {da.sizes[dim] for da in moving.values()}
        if len(sizes) > 1:
            message = f"{dim!r} has no labels in some fields and {sorted(sizes)} points; wanted labels, or one size"
            raise CoordinateError(message)
        return None
    labels = indexes[0]
    for index in indexes[1:]:
        labels = labels[labels.isin(index)]
    if not len(labels):
        told = "; ".join(f"{n}: {da[dim].values[0]} to {da[dim].values[-1]}" for n, da in moving.items())
        message = f"the fields have no label of {dim!r} in common ({told}); wanted some"
        raise CoordinateError(message)
    return labels


def _region(
    da: xr.DataArray, latitude: tuple[float, float] | None, longitude: tuple[float, float] | None
) -> xr.DataArray:
    """Rows and columns inside a box; columns from west to east, wherever the file begins."""
    if latitude is None and longitude is None:
        return da
    axes = cf.horizontal(da, rings=True)
    if axes.rings:
        message = "a region needs rows and columns; regrid points on rings first: da.atmo.regrid(Grid.regular(...))"
        raise DimensionError(message)
    where: dict[Hashable, Any] = {}
    if latitude is not None:
        values = np.asarray(da[axes.lat].values, dtype=float)
        half = _half_step(values)  # cells that reach into the region
        where[axes.lat_dim] = np.flatnonzero((values > min(latitude) - half) & (values < max(latitude) + half))
    if longitude is not None and longitude[1] - longitude[0] < 360:
        values = np.asarray(da[axes.lon].values, dtype=float)
        half = _half_step(values)
        start, width = longitude[0] - half, (longitude[1] - longitude[0]) % 360 + 2 * half
        east = np.round((values - start) % 360, 9)
        _, first = np.unique(east, return_index=True)  # from west to east, a repeated column once
        where[axes.lon_dim] = np.array([i for i in first if 0 < east[i] < width], dtype=int)
    empty = [d for d, index in where.items() if not len(index)]
    if empty:
        message = (
            f"the region latitude={latitude}, longitude={longitude} holds no point of {empty[0]!r}; "
            "wanted degrees: (south, north) and (west, east)"
        )
        raise CoordinateError(message)
    cut = da.isel(where)
    if axes.lon_dim in where and longitude is not None:
        lon = da[axes.lon]
        moved: Floats = start + np.round((cut[axes.lon].values - start) % 360, 9)
        cut = cut.assign_coords({axes.lon: (lon.dims, moved, lon.attrs)})
    return cut


def _half_step(values: Floats) -> float:
    return float(np.median(np.abs(np.diff(values)))) / 2 if values.size > 1 else 0.0


def _same_limits(axes: list[Any], longitude: tuple[float, float] | None, latitude: tuple[float, float] | None) -> None:
    """Show the same region in all panels: cells of coarse grids reach further."""
    first = axes[0]
    for ax in axes:
        if longitude is not None and longitude[1] - longitude[0] < 360:
            ax.set_xlim(longitude[0], longitude[0] + (longitude[1] - longitude[0]) % 360)
        if latitude is not None:
            ax.set_ylim(min(latitude), max(latitude))
        if longitude is not None or latitude is not None:
            ax.set_aspect(first.get_aspect())


def _own_scale(da: xr.DataArray, dim: Hashable, robust: bool) -> dict[str, Any]:
    """Colours of a panel beside the others: of a standard deviation from zero on."""
    scale = _scale(da, dim, cmap=None, vmin=None, vmax=None, robust=robust)
    if scale["vmin"] < 0:
        return scale
    return _scale(da, dim, cmap="magma", vmin=0.0, vmax=None, robust=robust) | {"extend": "max"}


def _scale(da: xr.DataArray, dim: Hashable, **options: Any) -> dict[str, Any]:
    """Colour range of a field, from some values of some of its frames, computed one after the other."""
    frames = np.unique(np.linspace(0, da.sizes[dim] - 1, _SAMPLED).round().astype(int)) if dim in da.dims else [0]
    parts = []
    for i in frames:
        values = np.asarray((da.isel({dim: int(i)}) if dim in da.dims else da).values, dtype=float).ravel()
        values = values[np.isfinite(values)]
        step = max(1, values.size // _SAMPLE)
        parts.append(np.concatenate([values[::step], values.min(initial=np.inf, keepdims=True),
                                     values.max(initial=-np.inf, keepdims=True)]))  # fmt: skip
    sample = xr.DataArray(np.concatenate(parts), dims="sample", name=da.name, attrs=da.attrs)
    # Other fields, and frames that were not looked at, may go beyond.
    scale = style.colour_range([sample], **options)
    return scale | {"extend": "max" if scale["cmap"] is style.RAIN else "both"}  # there is no rain below zero


_PLAYER = Template("""<div id="$id" style="max-width:100%">
<img alt="$alt" style="max-width:100%;display:block;background:#fff" src="data:image/png;base64,$first">
<div style="display:flex;gap:.6em;align-items:center;max-width:60em">
<button type="button" aria-label="play or pause">&#9654;</button>
<input type="range" min="0" max="$last" value="0" style="flex:1" aria-label="frame"></div>
<script>(function(){
const box=document.getElementById("$id"),frames=[$frames],img=box.querySelector("img"),
button=box.querySelector("button"),slider=box.querySelector("input");let timer=null;
function show(i){slider.value=i;img.src="data:image/png;base64,"+frames[i];}
function next(){show((Number(slider.value)+1)%frames.length);}
slider.addEventListener("input",()=>show(Number(slider.value)));
button.addEventListener("click",()=>{if(timer){clearInterval(timer);timer=null;button.innerHTML="&#9654;";}
else{timer=setInterval(next,$delay);button.innerHTML="&#10074;&#10074;";}});
})();</script></div>""")
