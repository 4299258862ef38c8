"""Tiled inference through Dask against a bare torch loop over the same windows."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import nn

from xatmo import inference
from xatmo.grids import Grid
from xatmo.model import Channel, Model
from xatmo.nn.superres import SuperResolution, SuperResolutionConfig
from xatmo.nn.tiled import CPU_BATCH_POINTS

sys.path.insert(0, str(Path(__file__).parent))

import timing
from timing import Row, in_turn

PATCH, OVERLAP = 128, 16


def _network() -> nn.Module:
    """Three layers of 16 channels, as in the study of torch inside Dask that set the bounds."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 1, 3, padding=1),
    ).eval()  # fmt: skip


def _field(times: int, nlat: int, nlon: int, *, whole: bool) -> xr.DataArray:
    grid = Grid.regular(nlat, nlon, poles=False) if whole else Grid.from_latlon(
        np.arange(nlat) * 0.1 - 20, np.arange(nlon) * 0.1
    )  # fmt: skip
    values = np.random.default_rng(0).normal(size=(times, nlat, nlon)).astype(np.float32)
    dims = ("time", "latitude", "longitude")
    return xr.DataArray(values, {"time": np.arange(times), **grid.coords()}, dims, "t", {"units": "1"})


def _model(patch: int) -> Model:
    channel = (Channel("t", "1"),)
    return Model(_network(), {}, channel, channel, patch_size={"lat": patch, "lon": patch})


def _bare(model: Model, da: xr.DataArray, patch: int, stride: int, batch: int) -> Callable[[], object]:
    """Only the network: the windows that tiled inference evaluates, cut and stacked, without labels or blending."""
    nlat, nlon = da.shape[1:]
    rows = [*range(0, nlat - patch, stride), nlat - patch] if nlat > patch else [0]
    columns = list(range(0, nlon, stride)) if nlon > patch else [0]
    wrapped = np.concatenate([da.values, da.values[..., :patch]], axis=-1) if nlon > patch else da.values
    windows = [(t, i, j) for t in range(da.shape[0]) for i in rows for j in columns]

    def run() -> int:
        with torch.inference_mode():
            for k in range(0, len(windows), batch):
                cut = [wrapped[t, i : i + patch, j : j + patch] for t, i, j in windows[k : k + batch]]
                model.network(torch.from_numpy(np.stack(cut)[:, None]))
        return len(windows)

    return run


def rows(quick: bool = False) -> list[Row]:
    """Threaded, with whole windows and with overlapping ones; and on two processes."""
    repeats = 2 if quick else 5
    found = []
    # One window per field: what labels, graph and scheduler cost.
    da, model = _field(4 if quick else 8, 512, 512, whole=False), _model(512)
    lazy = inference.predict(da.chunk(time=1), model)
    ours, peer = in_turn(lazy.compute, _bare(model, da, 512, 512, 1), repeats=repeats)
    name = "tiled inference, {} x 512 x 512, one window each, threaded"
    found.append(Row(name.format(len(da)), ours * 1e3, peer * 1e3, "bare torch loop", wanted="<= 1.1"))
    # Overlapping windows on a globe.
    globe, model = _field(2 if quick else 4, 360, 720, whole=True), _model(PATCH)  # as many for each thread
    lazy = inference.predict(globe.chunk(time=1), model, overlap={"lat": OVERLAP, "lon": OVERLAP})
    batch = max(1, CPU_BATCH_POINTS // PATCH**2)
    bare = _bare(model, globe, PATCH, PATCH - OVERLAP, batch)
    ours, peer = in_turn(lazy.compute, bare, repeats=repeats)
    windows = math.ceil(720 / (PATCH - OVERLAP)) * math.ceil((360 - OVERLAP) / (PATCH - OVERLAP)) * len(globe)
    name = f"tiled inference, {len(globe)} x 360 x 720, {windows} windows of {PATCH} sharing {OVERLAP}, threaded"
    found.append(Row(name, ours * 1e3, peer * 1e3, "bare torch loop", wanted="<= 1.1"))
    found += [_members(repeats, quick=quick), _time_windows(repeats, quick=quick)]
    found.append(_distributed(model, repeats, quick=quick))
    return found


def _refining(**settings: int) -> Model:
    torch.manual_seed(0)
    config = SuperResolutionConfig(2, channels=32, n_blocks=2, **settings)
    patch = {"lat": 48, "lon": 48}
    if "time_window" in settings:
        patch["time"] = settings["time_window"]
    channel = (Channel("t", "1"),)
    network = SuperResolution(config).eval()
    return Model(network, {"network": config.to_dict()}, channel, channel, factor=2, patch_size=patch)


def _shares(model: Model) -> dict[str, dict[str, int]]:
    both = 2 * model.halo
    return {"patch_size": {"lat": 48, "lon": 48}, "overlap": {"lat": both, "lon": both}}


def _members(repeats: int, *, quick: bool) -> Row:
    """Noise that is a function of place, in batches, against noise drawn window by window."""
    members, da, model = 4, _field(1 if quick else 2, 90, 180, whole=True), _refining(n_noise=1)
    lazy = inference.predict(da.chunk(time=1), model, members=members, **_shares(model))
    n, batch = _windows(model, da) * len(da) * members, max(1, CPU_BATCH_POINTS // 96**2)

    def loop() -> None:
        with torch.inference_mode():
            for k in range(0, n, batch):
                here = min(batch, n - k)
                model.network(torch.zeros(here, 1, 48, 48), noise=torch.randn(here, 1, 96, 96))

    ours, peer = in_turn(lazy.compute, loop, repeats=repeats)
    name = f"{members} members of {len(da)} x 90 x 180 refined by 2, {n} windows, threaded"
    return Row(name, ours * 1e3, peer * 1e3, "bare torch loop", wanted="<= 1.25")


def _time_windows(repeats: int, *, quick: bool) -> Row:
    """Every frame with its whole past, against a bare loop over as many windows."""
    da, model = _field(6 if quick else 9, 60, 120, whole=True), _refining(time_window=3)
    hours = np.datetime64("2000-01-01", "ns") + np.arange(len(da)) * np.timedelta64(1, "h")
    lazy = inference.predict(da.assign_coords(time=hours).chunk(time=3), model, **_shares(model))
    n = _windows(model, da) * (len(da) - 2)

    def loop() -> None:
        with torch.inference_mode():
            for _ in range(n):
                model.network(torch.zeros(1, 1, 3, 48, 48))

    ours, peer = in_turn(lazy.compute, loop, repeats=repeats)
    name = f"time windows of 3, {len(da)} x 60 x 120 refined by 2, {n} windows, threaded"
    return Row(name, ours * 1e3, peer * 1e3, "bare torch loop", wanted="<= 1.25")


def _windows(model: Model, da: xr.DataArray) -> int:
    rows, columns = da.shape[1:]
    stride = 48 - 2 * model.halo
    return (1 + math.ceil((rows - 48) / stride)) * math.ceil(columns / stride)


def _distributed(model: Model, repeats: int, *, quick: bool) -> Row:
    """Both run on the same two processes: ours through the graph, the bare loop as two plain functions."""
    import dask.array
    from distributed import Client, LocalCluster

    times = 4 if quick else 12
    values = dask.array.random.default_rng(0).standard_normal((times, 360, 720), chunks=(1, 360, 720), dtype=np.float32)
    da = _field(1, 360, 720, whole=True).isel(time=[0] * times).copy(data=values)
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        ) as cluster,
        Client(cluster) as client,
    ):
        lazy = inference.predict(da, model, overlap={"lat": OVERLAP, "lon": OVERLAP})
        reduced = lazy.mean(("latitude", "longitude")).data  # fields stay where they were made
        loop = _by_hand(model.network)

        def loops() -> None:
            workers = client.scheduler_info()["workers"]
            client.gather([client.submit(loop, times // 2, workers=[w], pure=False) for w in workers])

        with timing.reading("wall"):  # the work is in other processes
            ours, peer = in_turn(reduced.compute, loops, repeats=repeats)
    name = f"tiled inference, {times} x 360 x 720, windows of {PATCH} sharing {OVERLAP}, two processes"
    return Row(name, ours * 1e3, peer * 1e3, "bare torch loop in the same processes", wanted="<= 1.25")


def _by_hand(network: nn.Module) -> Callable[[int], float]:
    """What a worker would do by hand: make the same input, run the same windows, keep a mean."""
    patch, stride, batch = PATCH, PATCH - OVERLAP, max(1, CPU_BATCH_POINTS // PATCH**2)
    places = [(i, j) for i in [*range(0, 360 - patch, stride), 360 - patch] for j in range(0, 720, stride)]

    def loop(times: int) -> float:  # nested, so that it travels to the worker by value
        total = 0.0
        with torch.inference_mode():
            for t in range(times):
                x = np.random.default_rng(t).standard_normal((360, 720), dtype=np.float32)
                x = np.concatenate([x, x[:, :patch]], axis=1)
                for k in range(0, len(places), batch):
                    cut = np.stack([x[i : i + patch, j : j + patch] for i, j in places[k : k + batch]])
                    total += float(network(torch.from_numpy(cut[:, None])).mean())
        return total

    return loop


if __name__ == "__main__":
    for row in rows(quick="--quick" in sys.argv):
        print(
            f"{row.work}: {row.ours:.0f} {row.unit}, {row.peer_name} {row.peer:.0f}, "
            f"ratio {row.ratio:.3f} ({row.wanted})"
        )
