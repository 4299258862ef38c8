"""Forecasts: training steps, and ``.forecast`` over Dask, each against a bare torch loop over the same windows."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

import xatmo
from xatmo.nn.tiled import CPU_FRAME_POINTS
from xatmo.nn.video import PackedVideo, VideoConfig, VideoInput, VideoNetwork

sys.path.insert(0, str(Path(__file__).parent))

import timing
from timing import Row, in_turn

SHAPE = (56, 92)
HOURS = 12
ARCHITECTURES: dict[str, dict[str, Any]] = {"simvp": {}, "convlstm": {"factor": 4, "size": 3}}


def _weather(hours: int) -> xr.Dataset:
    return xatmo.datasets.diurnal_temperature(periods=hours, nlat=SHAPE[0], nlon=SHAPE[1])[["t2m"]].load()


def _network(architecture: str) -> VideoNetwork:
    torch.manual_seed(0)
    config = VideoConfig(
        architecture, n_context=HOURS, n_future=HOURS, cycle=True, baseline="diurnal",
        settings=ARCHITECTURES[architecture],
    )  # fmt: skip
    return VideoNetwork(config)


def _training(architecture: str, ds: xr.Dataset, steps: int, batch: int) -> Row:
    """One fit after another that is longer by so many steps; a loop of these steps on numbers that are there."""
    few = 4
    task = xatmo.VideoForecaster(architecture, HOURS, HOURS, network_settings=ARCHITECTURES[architecture])

    def fit(n: int) -> float:
        began = timing.clock()
        task.fit(ds, max_steps=n, batch_size=batch, accelerator="cpu", precision="32-true", progress=False)
        return timing.clock() - began

    network = _network(architecture).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, fused=True)
    frames = torch.randn(batch, 1, 2 * HOURS, *SHAPE)
    cycle = torch.randn_like(frames)

    def loop(n: int) -> float:
        began = timing.clock()
        for _ in range(n):
            optimizer.zero_grad(set_to_none=True)
            made = network(VideoInput(frames[:, :, :HOURS], cycle))
            loss = (made - frames[:, :, HOURS:]).square().mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
        return timing.clock() - began

    fit(2), loop(2)
    ours, peer = [], []
    for _ in range(3):
        ours.append((fit(few + steps) - fit(few)) / steps)
        peer.append(loop(steps) / steps)
    name = f"training step of {architecture}, {batch} x ({HOURS} -> {HOURS}) x {SHAPE[0]} x {SHAPE[1]}"
    return Row(name, 1e3 * float(np.median(ours)), 1e3 * float(np.median(peer)), "bare torch loop", wanted="<= 1.15")


def _forecasting(architecture: str, ds: xr.Dataset, repeats: int) -> Row:
    task = xatmo.VideoForecaster(architecture, HOURS, HOURS, network_settings=ARCHITECTURES[architecture])
    task.fit(ds, max_steps=1, batch_size=2, accelerator="cpu", progress=False)
    lazy = ds.chunk(time=24).atmo.forecast(task, device="cpu")
    ours, peer = in_turn(lazy.compute, _bare(task.model.network, ds), repeats=repeats)
    name = f"forecast by {architecture}, {lazy.sizes['init_time']} x ({HOURS} -> {HOURS}) x {SHAPE[0]} x {SHAPE[1]}"
    return Row(f"{name}, threaded", ours * 1e3, peer * 1e3, "bare torch loop", wanted="<= 1.1")


def _bare(network: Any, ds: xr.Dataset) -> Callable[[], object]:
    """Cut windows and stack them with a cycle of as many frames, and nothing else: no labels, no units, no cycle."""
    assert isinstance(network, PackedVideo)
    values = ds["t2m"].values
    starts = range(len(values) - HOURS + 1)
    cycle = np.zeros((2 * HOURS, *SHAPE), np.float32)
    size = max(1, CPU_FRAME_POINTS // (SHAPE[0] * SHAPE[1]))

    def run() -> None:
        with torch.inference_mode():
            for k in range(0, len(starts), size):
                cut = [np.concatenate([values[i : i + HOURS], cycle]) for i in starts[k : k + size]]
                network(torch.from_numpy(np.stack(cut)))

    return run


def _distributed(ds: xr.Dataset, repeats: int) -> Row:
    """Both run on the same two processes: ours through the graph, the bare loop as two plain functions."""
    from distributed import Client, LocalCluster

    task = xatmo.VideoForecaster("simvp", HOURS, HOURS)
    task.fit(ds, max_steps=1, batch_size=2, accelerator="cpu", progress=False)
    values, shape, batch = ds["t2m"].values, SHAPE, max(1, CPU_FRAME_POINTS // (SHAPE[0] * SHAPE[1]))
    inits = np.array_split(np.arange(len(values) - HOURS + 1), 2)

    def loop(given: tuple[Any, Any], starts: list[int]) -> float:  # nested, so that it travels by value
        network, frames = given
        torch.set_num_threads(1)
        total, cycle = 0.0, np.zeros((24, *shape), np.float32)
        with torch.inference_mode():
            for k in range(0, len(starts), batch):
                cut = [np.concatenate([frames[i : i + 12], cycle]) for i in starts[k : k + batch]]
                total += float(network(torch.from_numpy(np.stack(cut))).mean())
        return total

    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        ) as cluster,
        Client(cluster) as client,
    ):
        lazy = ds.chunk(time=HOURS).atmo.forecast(task, device="cpu")
        reduced = lazy["t2m"].mean(("lead_time", "latitude", "longitude")).data  # fields stay where they were made
        workers = list(client.scheduler_info()["workers"])
        given = [client.scatter((task.model.network, values), workers=[w]) for w in workers]

        def loops() -> None:
            parts = zip(given, inits, workers, strict=True)
            client.gather([client.submit(loop, g, s.tolist(), workers=[w], pure=False) for g, s, w in parts])

        with timing.reading("wall"):  # the work is in other processes
            ours, peer = in_turn(reduced.compute, loops, repeats=repeats)
    name = f"forecast by simvp, {lazy.sizes['init_time']} x ({HOURS} -> {HOURS}) x {SHAPE[0]} x {SHAPE[1]}"
    return Row(
        f"{name}, two processes, seconds of the clock",
        ours * 1e3,
        peer * 1e3,
        "bare torch loop in the same processes",
        wanted="<= 1.25",
    )


def rows(quick: bool = False) -> list[Row]:
    """Training first, then forecasts from every hour of ten days."""
    ds = _weather(96 if quick else 240)
    found = [_training(name, ds, 2 if quick else 10, 2 if quick else 8) for name in ARCHITECTURES]
    found += [_forecasting(name, ds, 1 if quick else 5) for name in ARCHITECTURES]
    return [*found, _distributed(ds.isel(time=slice(0, 120)), 1 if quick else 3)]


if __name__ == "__main__":
    for row in rows(quick="--quick" in sys.argv):
        print(f"{row.work}: {row.ours:.1f} {row.unit}, {row.peer_name} {row.peer:.1f}, ratio {row.ratio:.3f}")
