"""What a variational network learns of sea level seen along tracks, in three minutes on two cores.

A twin is drawn: several Gaussian random fields that drift and are renewed, seen along slanted lines. The network is
trained on windows of it by `xatmo.FourDVarNet.fit` and scored on others, beside linear interpolation and optimal
interpolations whose scales are those of maximum likelihood from the tracks alone. The last row is what no linear
estimate can be better than: optimal interpolation that knows the covariance. Times are those of processors and count
all that a method needs, drawing its fields included::

    OMP_NUM_THREADS=1 python tests/benchmarks/learn_sea_level.py
    OMP_NUM_THREADS=1 python tests/benchmarks/learn_sea_level.py --windows 12 --tests 4 --steps 4  # it runs
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import fft
from scipy.linalg import cho_factor, cho_solve

import xatmo
from xatmo.tasks.fourdvar._background import Background

Array = NDArray[Any]
Draw = Callable[[np.random.Generator], tuple[Array, Array]]

FRAMES, CELLS, STEP = 15, 64, 0.1
"""Days of a window, cells each way, degrees from one to the next."""
BIG = 192
"""Cells of the periodic field that windows are cut from."""
COMPONENTS = ((12.0, 0.8, -0.7), (7.0, 0.5, -1.1), (4.0, 0.25, 0.6))
"""Length in cells, standard deviation, eastward drift in cells a day."""
MERIDIONAL = 0.25
"""Standard deviation of the northward drift, drawn for each component and window, in cells a day."""
RENEWAL = 20.0
NOISE = 0.02
BORDER = 5
"""Cells at the edges that are not scored."""
SETTINGS: dict[str, Any] = {"error": False, "redraw": 0.3, "network_settings": {"step_size": 0.02}}
"""Of the network: it begins close to its background, which is hard to better."""
WANTED = {"over linear": 0.85, "over Matern": 0.97, "part of the gap": 0.3, "core-seconds": 360.0}


# ---------------------------------------------------------------------- the twin
class Twin:
    """Components with a power spectrum that is flat, then falls with the fourth power of the wavenumber."""

    def __init__(self) -> None:
        self.north = np.fft.fftfreq(BIG)[:, None]
        self.east = np.fft.rfftfreq(BIG)[None]
        waves = np.hypot(self.north, self.east)
        self.amplitudes = [1 / (1 + (2 * np.pi * length * waves) ** 2) for length, _, _ in COMPONENTS]
        for amplitude in self.amplitudes:
            amplitude[0, 0] = 0
        self.memory = np.exp(-1 / RENEWAL)

    def fields(self, random: np.random.Generator) -> Array:
        """Draw one window of truth."""
        spectrum = np.zeros((FRAMES, BIG, BIG // 2 + 1), complex)
        for (_, std, drift), amplitude in zip(COMPONENTS, self.amplitudes, strict=True):
            moved = np.exp(-2j * np.pi * (self.east * drift + self.north * random.normal(0, MERIDIONAL)))
            noise = fft.rfft2(random.standard_normal((FRAMES, BIG, BIG), dtype=np.float32)) * amplitude
            unit = std / np.sqrt(_variance(amplitude))
            now = noise[0]
            spectrum[0] += unit * now
            for frame in range(1, FRAMES):
                now = self.memory * moved * now + np.sqrt(1 - self.memory**2) * noise[frame]
                spectrum[frame] += unit * now
        south, west = random.integers(0, BIG - CELLS, 2)
        made = fft.irfft2(spectrum, s=(BIG, BIG))
        return made[:, south : south + CELLS, west : west + CELLS].astype(np.float32)

    def __call__(self, random: np.random.Generator) -> tuple[Array, Array]:
        """Draw one window: what is observed, NaN elsewhere, and the truth."""
        truth = self.fields(random)
        noise = NOISE * random.standard_normal(truth.shape, dtype=np.float32)
        return np.where(tracks(random), truth + noise, np.nan).astype(np.float32), truth

    def covariance(self) -> Array:
        """Give the covariance at lags of -14 to 14 days and at all differences of cells, which wrap around.

        The mean over the northward drifts, which no window tells beforehand.
        """
        lags = np.arange(1 - FRAMES, FRAMES)
        out = np.zeros((lags.size, BIG, BIG))
        for (_, std, drift), amplitude in zip(COMPONENTS, self.amplitudes, strict=True):
            for k, lag in enumerate(lags):
                moved = np.exp(-2j * np.pi * self.east * drift * lag)
                spread = np.exp(-((2 * np.pi * self.north * MERIDIONAL * lag) ** 2) / 2)
                one = fft.irfft2(amplitude**2 * moved * spread, s=(BIG, BIG)) / _variance(amplitude)
                out[k] += std**2 * self.memory ** abs(lag) * one
        return out


def _variance(amplitude: Array) -> float:
    """Variance of what white noise becomes."""
    both = 2 * (amplitude**2).sum() - (amplitude[:, 0] ** 2).sum() - (amplitude[:, -1] ** 2).sum()
    return float(both / BIG**2)


def tracks(random: np.random.Generator, a_day: int = 2) -> NDArray[np.bool_]:
    """Draw lines that lean to either side, of one cell in each row."""
    seen = np.zeros((FRAMES, CELLS, CELLS), bool)
    row = np.arange(CELLS)
    for frame in range(FRAMES):
        for _ in range(a_day):
            lean = random.choice([-1, 1]) * random.uniform(0.35, 0.5)
            column = np.rint(random.uniform(-0.5 * CELLS, 1.5 * CELLS) + lean * row).astype(int)
            there = (column >= 0) & (column < CELLS)
            seen[frame, row[there], column[there]] = True
    return seen


def recipe_of(path: Path) -> Draw:
    """Take ``sample`` of another file instead of the twin."""
    spec = importlib.util.spec_from_file_location("recipe", path)
    if spec is None or spec.loader is None:
        message = f"{path} is no Python file"
        raise SystemExit(message)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.sample  # type: ignore[no-any-return]


def windows(draw: Draw, number: int, seed: int) -> xr.Dataset:
    """Draw windows as samples that have nothing to do with each other."""
    random = np.random.default_rng(seed)
    drawn = [draw(random) for _ in range(number)]
    degrees = STEP * (np.arange(CELLS) - (CELLS - 1) / 2)
    coords = {
        "time": np.datetime64("2000-01-01", "ns") + np.arange(FRAMES) * np.timedelta64(1, "D"),
        "lat": ("lat", degrees[::-1], {"units": "degrees_north"}),
        "lon": ("lon", degrees + 180, {"units": "degrees_east"}),
    }
    dims = ("window", "time", "lat", "lon")
    return xr.Dataset(
        # Rows run from south to north in the recipe.
        {
            "track": (dims, np.stack([seen for seen, _ in drawn])[:, :, ::-1]),
            "ssh": (dims, np.stack([truth for _, truth in drawn])[:, :, ::-1]),
        },
        coords,
    )


# ---------------------------------------------------------------------- what it is compared with
def by_table(covariance: Array, seen: Array) -> Array:
    """Optimal interpolation of one window (time, row, column) with a covariance of `Twin.covariance`.

    Rows are counted from the south.
    """
    t, y, x = np.nonzero(np.isfinite(seen))
    n = covariance.shape[1]
    lag = FRAMES - 1 + t[:, None] - t
    matrix = covariance[lag, (y[:, None] - y) % n, (x[:, None] - x) % n]
    matrix[np.arange(t.size), np.arange(t.size)] += NOISE**2
    weights = cho_solve(cho_factor(matrix, overwrite_a=True), seen[t, y, x].astype(float))
    placed = np.zeros((FRAMES, n, n))
    placed[t, y, x] = weights
    there, spectra = fft.rfft2(placed), fft.rfft2(covariance)
    frames = np.arange(FRAMES)
    made = [(spectra[FRAMES - 1 + frame - frames] * there).sum(0) for frame in frames]
    return np.asarray(fft.irfft2(np.stack(made), s=(n, n))[:, :CELLS, :CELLS])


def oi(train: xr.Dataset, test: xr.Dataset, covariance: str, drift: str | None) -> tuple[Array, dict[str, Any]]:
    """Optimal interpolation with scales of maximum likelihood from tracks of the training windows."""
    made = Background.fit("oi", train, "track", oi={"covariance": covariance, "drift": drift})
    return _by_window(made, test), made.settings


def _by_window(background: Background, test: xr.Dataset) -> Array:
    seconds = (test.time.values - test.time.values[0]) / np.timedelta64(1, "s")
    made = [background.of_window(w, None, test.lat.values, test.lon.values, seconds) for w in test.track.values]
    return np.stack(made)


def squares(made: Array, test: xr.Dataset) -> Array:
    """Mean squared error of each window, of the middle day and of the whole: (window, 2)."""
    inner = slice(BORDER, -BORDER)
    error = np.square(np.asarray(made, float) - test.ssh.values)[..., inner, inner]
    return np.stack([error[:, FRAMES // 2].mean((1, 2)), error.mean((1, 2, 3))], axis=1)


def interval(one: Array, other: Array, draws: int = 2000) -> list[str]:
    """Ratio of errors with the middle 90 percent of what other draws of the windows would give."""
    picked = np.random.default_rng(0).integers(len(one), size=(draws, len(one)))
    ratios = np.sqrt(one[picked].mean(1) / other[picked].mean(1))
    low, high = np.quantile(ratios, [0.05, 0.95], axis=0)
    middle = np.sqrt(one.mean(0) / other.mean(0))
    return [f"{m:.3f} ({a:.3f} to {b:.3f})" for m, a, b in zip(middle, low, high, strict=True)]


def table(rows: Iterable[tuple[str, Array, float | None]]) -> str:
    """Lines of errors and times."""
    lines = [f"{'':34s} {'middle day':>10s} {'window':>8s} {'core-seconds':>13s}"]
    for name, square, seconds in rows:
        day, whole = np.sqrt(square.mean(0))
        lines.append(f"{name:34s} {day:10.4f} {whole:8.4f} {'' if seconds is None else f'{seconds:13.1f}':>13s}")
    return "\n".join(lines)


# ---------------------------------------------------------------------- the run
def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starter-recipe", type=Path, help="file whose sample() draws a window instead of the twin")
    parser.add_argument("--windows", type=int, default=300, help="that are trained on")
    parser.add_argument("--tests", type=int, default=60, help="windows that are scored")
    parser.add_argument("--steps", type=int, default=950)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--settings", type=json.loads, default={}, help="more settings of FourDVarNet, as JSON")
    parser.add_argument("--baselines", action=argparse.BooleanOptionalAction, default=True, help="those that are slow")
    parser.add_argument("--save", type=Path, help="folder for the trained model")
    chosen = parser.parse_args()
    draw: Draw = Twin() if chosen.starter_recipe is None else recipe_of(chosen.starter_recipe)
    test = windows(draw, chosen.tests, 1_000_000 + chosen.seed)
    start = time.process_time()
    train = windows(draw, chosen.windows, chosen.seed)
    drawing = time.process_time() - start
    found: dict[str, Array] = {"zero": squares(np.zeros(test.ssh.shape), test)}
    rows: list[tuple[str, Array, float | None]] = [("zero", found["zero"], None)]

    def add(name: str, made: Array, seconds: float | None) -> None:
        found[name] = squares(made, test)
        rows.append((name, found[name], seconds))

    if chosen.baselines:
        start = time.process_time()
        made = _by_window(Background("linear"), test)
        add("linear", made, time.process_time() - start)
        for covariance, drift in (("gaussian", None), ("matern", None), ("matern", "estimate")):
            start = time.process_time()
            made, settings = oi(train, test, covariance, drift)
            name = f"OI, {covariance.capitalize()}{'' if drift is None else ', drift'}"
            add(name, made, time.process_time() - start)
            print(json.dumps({name: settings}), flush=True)
        known = Twin().covariance()
        made = np.stack([by_table(known, w[:, ::-1])[:, ::-1] for w in test.track.values])
        add("OI that knows the covariance", made, None)
        print(table(rows), flush=True)
    start = time.process_time()
    task = xatmo.FourDVarNet(**SETTINGS | chosen.settings)
    task.fit(
        train, obs="track", target="ssh", batch_size=chosen.batch_size, max_steps=chosen.steps, accelerator="cpu",
        seed=chosen.seed, progress=False,
    )  # fmt: skip
    training = time.process_time() - start
    start = time.process_time()
    made = test.atmo.fourdvar_interp("track", model=task)["track"].transpose(*test.ssh.dims).values
    use = time.process_time() - start
    if chosen.save is not None:
        task.save(chosen.save)
    add("FourDVarNet", made, drawing + training)
    print(table(rows))
    print(f"core-seconds: {drawing:.0f} drawing, {training:.0f} training, {use / chosen.tests:.2f} a window in use")
    for name in found:
        if name not in ("zero", "FourDVarNet"):
            print(f"over {name:30s}", *interval(found["FourDVarNet"], found[name]))
    if chosen.baselines:
        usual, best, ours = (np.sqrt(found[n].mean(0)) for n in ("OI, Matern", "OI that knows the covariance",
                                                                   "FourDVarNet"))  # fmt: skip
        print("part of the gap that is closed", np.round((usual - ours) / (usual - best), 3))
    print(json.dumps({"wanted": WANTED}))


if __name__ == "__main__":
    main()
