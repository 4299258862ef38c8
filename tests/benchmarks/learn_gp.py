"""What variational networks learn of the Gaussian-process twin, whose best interpolation is known exactly.

Windows of five times centred on the time that is scored, as the exact analysis uses them; networks train on other
draws of the same law. Errors are those of the middle time, beside the exact one on the same windows. Times are those of
processors::

    OMP_NUM_THREADS=1 python tests/benchmarks/learn_gp.py                         # analysis, by the rows of `METHODS`
    OMP_NUM_THREADS=1 python tests/benchmarks/learn_gp.py --part pattern           # its tensor, estimated
    OMP_NUM_THREADS=1 python tests/benchmarks/learn_gp.py --part drawn             # another tensor in each window
    OMP_NUM_THREADS=1 python tests/benchmarks/learn_gp.py --steps 5 --windows 3    # it runs
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import xarray as xr

from xatmo.assimilation import AdvectionDiffusion, anisotropic, simulate
from xatmo.datasets import gp
from xatmo.nn.assimilation import FourDVarConfig, FourDVarNetwork
from xatmo.nn.assimilation.priors import SPDEPrior
from xatmo.nn.assimilation.priors.spde import of_diffusion
from xatmo.train import Batch, FourDVar, FourDVarLoss, OptimizerSettings, TrainSettings, fit

WINDOW = 5
METHODS: dict[str, dict[str, Any]] = {
    "anomaly, bilinear prior": {"prior": "bilinear", "prior_channels": 24, "solver_channels": 48, "n_steps": 3},
    "classic prior, ConvLSTM": {
        "prior": "bilinear", "solver": "convlstm", "prior_channels": 24, "solver_channels": 40, "n_steps": 5,
    },
    "SPDE prior given": {"prior": "spde", "solver_channels": 32, "n_steps": 5},
    "SPDE prior given, conjugate gradients": {"prior": "spde", "solver": "gradient", "n_steps": 16},
}  # fmt: skip


class Windows:
    """Batches of windows of twins, observed where the twin is observed at another time; and all of their windows.

    Parameters
    ----------
    twins : sequence of Dataset
        Of `xatmo.datasets.gp.spde_gp`.
    scale : float
        By which fields are divided.
    batch : int
    seed : int
    """

    def __init__(self, twins: list[xr.Dataset], scale: float, batch: int = 8, seed: int = 0) -> None:
        self.truth = [ds["truth"].values.astype(np.float32) / scale for ds in twins]
        self.mask = twins[0]["mask"].values
        self.noise = float(np.sqrt(twins[0].attrs["noise_variance"])) / scale
        tensor = of_diffusion(*(torch.from_numpy(twins[0][h].values).float() for h in ("H11", "H12", "H22")))
        self.tensor = torch.stack([tensor["gamma"].log(), tensor["plus"], tensor["cross"]])
        self.batch, self.seed = batch, seed

    def n_batches(self, world_size: int = 1) -> int:
        return 100 // world_size

    def batches(self, epoch: int, *, start: int = 0, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
        for k in range(start, self.n_batches(world_size)):
            random = np.random.default_rng([self.seed, epoch, k, rank])
            fields, masks = [], []
            for _ in range(self.batch):
                truth = self.truth[random.integers(len(self.truth))]
                first, where = (random.integers(len(of) - WINDOW + 1) for of in (truth, self.mask))
                fields.append(truth[first : first + WINDOW])
                masks.append(self.mask[where : where + WINDOW])
            target = torch.from_numpy(np.stack(fields)[:, None])
            noisy = target + self.noise * torch.from_numpy(random.standard_normal(target.shape, dtype=np.float32))
            yield Batch(self.packed(noisy, torch.from_numpy(np.stack(masks)[:, None])), target)

    def packed(self, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Give inputs with background 0 and the tensor of the place beside the observations."""
        extra = self.tensor[None, :, None].expand(len(values), -1, WINDOW, -1, -1)
        parts = [torch.where(mask, values, 0), mask.float(), torch.zeros_like(values), torch.ones_like(values), extra]
        return torch.cat(parts, dim=1)


def rmse(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.mean((a - b) ** 2)))


def network(settings: dict[str, Any], twin: xr.Dataset, scale: float) -> FourDVarNetwork:
    """Make a network; an equation that is given is that of the twin, in units of ``scale``."""
    torch.manual_seed(0)
    config = FourDVarConfig(time_window=WINDOW, n_extra=3, **settings)
    prior = None
    if config.prior == "spde":
        # Of the cost whose minimum is the best analysis.
        config = replace(config, observation_weight=scale**2 / twin.attrs["noise_variance"])
        h = of_diffusion(*(torch.from_numpy(twin[n].values).float()[None, None, None] for n in ("H11", "H12", "H22")))
        tau = float(twin["tau"]) / scale
        prior = SPDEPrior(slice(0, 1), {"kappa": twin.attrs["kappa"], "tau": tau}, given=h)
    return FourDVarNetwork(config, prior=prior)


def analysis(arguments: argparse.Namespace) -> None:
    """Train and score every method."""
    shape = (arguments.cells, arguments.cells)
    test = gp.spde_gp(arguments.windows + WINDOW - 1, shape, seed=1000)
    start = time.process_time()
    exact = gp.spde_oi(test, window=WINDOW)["analysis"].values
    half = WINDOW // 2
    inside = slice(half, len(exact) - half)
    truth = test["truth"].values[inside]
    best = rmse(exact[inside], truth)
    found = {"rmse": best, "rms of the truth": rmse(truth, 0 * truth), "windows": len(truth)}
    print(json.dumps({"SPDE-OI exact": {**found, "core-seconds": round(time.process_time() - start, 1)}}), flush=True)
    twins = [gp.spde_gp(150, shape, seed=s) for s in range(40)]
    scale = float(np.sqrt(np.mean([np.square(t["truth"].values).mean() for t in twins])))
    source = Windows(twins, scale, arguments.batch)
    given = source.packed(*_inputs(test, scale))
    for name in arguments.methods or METHODS:
        net = network(METHODS[name], test, scale)
        objective = FourDVar(
            net, FourDVarLoss(earlier=0.5), time_weight="triangular",
            optimizer=OptimizerSettings(learning_rate=arguments.learning_rate),
        )  # fmt: skip
        start = time.process_time()
        settings = TrainSettings(arguments.steps, accelerator="cpu", max_time=arguments.max_time)
        result = fit(objective, source, settings, progress=False)
        train = time.process_time() - start
        with torch.inference_mode():
            made = torch.cat([net(x) for x in torch.split(given, 8)])[:, 0, half].numpy() * scale
        error = rmse(made, truth)
        print(
            json.dumps(
                {name: {"rmse": error, "over exact": error / best, "steps": result.steps,
                        "core-seconds": round(train, 1)}}
            ),
            flush=True,
        )  # fmt: skip


def _inputs(ds: xr.Dataset, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Every window of a twin: values and mask ``(window, 1, time, lat, lon)``."""
    obs = torch.from_numpy(ds["obs"].values.astype(np.float32)) / scale
    stack = torch.stack([obs[k : k + WINDOW] for k in range(len(obs) - WINDOW + 1)])[:, None]
    return torch.nan_to_num(stack), stack.isfinite()


# ---------------------------------------------------------------------- the tensor
class Varying:
    """Fields whose tensor differs from sample to sample: nothing but the observations tells it.

    Parameters
    ----------
    n, cells : int
        Samples, and cells of each side.
    seed : int
    coverage : float
        Part that is observed: bands that move, at a time of their course that is drawn anew.
    scale : float
        By which fields are divided.
    """

    def __init__(self, n: int, cells: int, seed: int, *, coverage: float = 0.2, batch: int = 8, scale: float = 0.3):
        random = np.random.default_rng(seed)
        self.batch, self.seed, self.scale, self.noise = batch, seed, scale, np.sqrt(1e-3) / scale
        fields, tensors = [], []
        for _ in range(n):
            tensor = drawn_tensor(random, cells)
            prior = AdvectionDiffusion.on_plane(
                (WINDOW, cells, cells), (1.0, 1.0, 1.0), kappa=1 / 3, diffusion=tensor, tau=1.0
            )
            fields.append(simulate(prior, random)[0] / scale)
            tensors.append(np.stack(tensor))
        self.fields = torch.from_numpy(np.stack(fields)[:, None].astype(np.float32))
        self.tensors = torch.from_numpy(np.stack(tensors).astype(np.float32))
        self.mask = torch.from_numpy(gp.spde_gp(80, (cells, cells), coverage=coverage)["mask"].values)

    def n_batches(self, world_size: int = 1) -> int:
        return len(self.fields) // self.batch // world_size

    def batches(self, epoch: int, *, start: int = 0, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.fields))
        for k in range(start, self.n_batches(world_size)):
            place = (k * world_size + rank) * self.batch
            which = torch.from_numpy(order[place : place + self.batch])
            yield Batch(self.inputs(which, np.random.default_rng([self.seed, epoch, k, rank])), self.fields[which])

    def inputs(self, which: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
        target = self.fields[which]
        first = random.integers(len(self.mask) - WINDOW + 1, size=len(which))
        mask = torch.stack([self.mask[k : k + WINDOW] for k in first])[:, None]
        noisy = target + self.noise * torch.from_numpy(random.standard_normal(target.shape, dtype=np.float32))
        parts = [torch.where(mask, noisy, 0), mask.float(), torch.zeros_like(target), torch.ones_like(target)]
        return torch.cat(parts, dim=1)


def drawn_tensor(random: np.random.Generator, cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As of the twin, with size, strength, wavelength, place and direction of its pattern drawn."""
    turn, wave = random.uniform(0, np.pi), random.uniform(0.75, 1.75) * cells
    y, x = np.mgrid[:cells, :cells] + random.uniform(0, wave, (2, 1, 1))
    a = 2 * np.pi / wave * (np.cos(turn) * x + np.sin(turn) * y)
    b = 2 * np.pi / wave * (np.cos(turn) * y - np.sin(turn) * x)
    along, across = np.cos(a) * np.sin(b), np.sin(a) * np.cos(b)
    d_x, d_y = np.cos(turn) * along - np.sin(turn) * across, np.sin(turn) * along + np.cos(turn) * across
    return anisotropic(np.exp(0.3 * random.standard_normal()), random.uniform(5, 25), -d_y, d_x)


def diffusion_scores(found: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
    """Errors of tensors ``(n, 3, lat, lon)``: relative ones of H and of log H, by Frobenius' norm over all cells.

    log H is that in which size, length and direction count alike; of a tensor that is a factor off everywhere the
    first error is that of the largest tensors.
    """

    def logs(h: torch.Tensor) -> torch.Tensor:
        parts = of_diffusion(h[:, 0], h[:, 1], h[:, 2])
        return torch.stack([parts["gamma"].log(), parts["plus"], parts["cross"]], dim=1)

    twice = torch.tensor([1.0, 2.0, 1.0])[:, None, None]  # the off-diagonal counts twice
    error = ((found - truth).square() * twice).sum().sqrt() / (truth.square() * twice).sum().sqrt()
    difference, spread = logs(found) - logs(truth), logs(truth) - logs(truth).mean((0, 2, 3), keepdim=True)
    return {
        "H": float(error), "log H": float((difference.square().sum() / spread.square().sum()).sqrt()),
        "direction and length": float((difference[:, 1:].square().sum() / spread[:, 1:].square().sum()).sqrt()),
    }  # fmt: skip


def likeliest_constant(fields: torch.Tensor, settings: dict[str, Any]) -> torch.Tensor:
    """Give the tensors ``(n, 3, 1, 1)``, the same in all cells, under which each true field is likeliest."""
    prior = SPDEPrior(slice(0, 1), settings, estimated=True)
    offsets = torch.zeros(len(fields), 3, 1, 1, 1, requires_grad=True)
    optimizer = torch.optim.Adam([offsets], lr=0.1)
    for _ in range(60):
        state = torch.cat([fields, offsets.expand(-1, -1, *fields.shape[2:])], dim=1)
        loss = prior.likelihood(fields, state).sum() / fields[0].numel()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    state = torch.cat([fields, offsets.detach().expand(-1, -1, *fields.shape[2:])], dim=1)
    return torch.stack(prior.coefficients(state).diffusion, dim=1)[:, :, 0, 0]


class Pattern(Windows):
    """Windows of the twin, with waves of the coordinates instead of its tensor: the same in all of them."""

    N_WAVES = 4

    def __init__(self, twins: list[xr.Dataset], scale: float, batch: int = 8, seed: int = 0) -> None:
        super().__init__(twins, scale, batch, seed)
        rows, columns = self.tensor.shape[-2:]
        k = torch.arange(1, self.N_WAVES + 1)[:, None]
        y, x = (torch.cos(torch.pi * k * (torch.arange(n) + 0.5) / n) for n in (rows, columns))
        self.tensor = torch.cat([y[:, :, None].expand(-1, -1, columns), x[:, None].expand(-1, rows, -1)])


def diffusion(arguments: argparse.Namespace) -> None:
    """Learn to estimate the tensor from what is observed of the field, and compare with constants."""
    cells, drawn = arguments.cells, arguments.part == "drawn"
    start = time.process_time()
    train: Varying | Pattern
    if drawn:
        train, test = Varying(arguments.samples, cells, 0, batch=arguments.batch), Varying(arguments.windows, cells, 1)
        scale, fields, tensors, n_extra = train.scale, test.fields, test.tensors, 0
        given = test.inputs(torch.arange(len(fields)), np.random.default_rng(5))
        known = train.tensors
    else:
        scale, n_extra = 0.3, 2 * Pattern.N_WAVES
        train = Pattern([gp.spde_gp(150, (cells, cells), seed=s) for s in range(40)], scale, arguments.batch)
        twin = gp.spde_gp(arguments.windows + WINDOW - 1, (cells, cells), seed=1000)
        given = train.packed(*_inputs(twin, scale))
        truth = torch.from_numpy(twin["truth"].values.astype(np.float32)) / scale
        fields = torch.stack([truth[k : k + WINDOW] for k in range(arguments.windows)])[:, None]
        known = torch.stack([torch.from_numpy(twin[n].values).float() for n in ("H11", "H12", "H22")])[None]
        tensors = known.expand(len(fields), -1, -1, -1)
    print(json.dumps({"simulation, core-seconds": round(time.process_time() - start, 1)}), flush=True)
    # What constants are compared with is known of the training fields.
    gamma = float(of_diffusion(*known.unbind(1))["gamma"].log().mean().exp())
    equation = {"kappa": 1 / 3, "tau": 1 / scale, "estimate": ["gamma", "plus", "cross"], "steady": True,
                "gamma": gamma}  # fmt: skip
    arithmetic = known.mean((0, 2, 3))[None, :, None, None].expand_as(tensors)
    middle = torch.zeros_like(tensors)
    middle[:, 0] = middle[:, 2] = gamma
    print(json.dumps({"mean of H": diffusion_scores(arithmetic, tensors)}), flush=True)
    print(json.dumps({"mean of log H": diffusion_scores(middle, tensors)}), flush=True)
    constant = likeliest_constant(fields, {**equation, "parameter_weight": 0.0}).expand_as(tensors)
    print(json.dumps({"likeliest constant, from the true field": diffusion_scores(constant, tensors)}), flush=True)
    torch.manual_seed(0)
    config = FourDVarConfig(
        time_window=WINDOW, prior="spde_estimated", spde={**equation, "parameter_weight": 0.0}, solver_channels=24,
        n_steps=3, n_extra=n_extra, observation_weight=1 / train.noise**2,
    )  # fmt: skip
    net = FourDVarNetwork(config)
    objective = FourDVar(
        net, FourDVarLoss(earlier=0.5, likelihood=arguments.likelihood), augmentation="none",
        optimizer=OptimizerSettings(learning_rate=arguments.learning_rate),
    )  # fmt: skip
    start = time.process_time()
    result = fit(
        objective, train, TrainSettings(arguments.steps, accelerator="cpu", max_time=arguments.max_time), progress=False
    )
    train_seconds = time.process_time() - start
    tensors_found, analyses = [], []
    for part in torch.split(given, 8):
        asked = net.unpack(part)
        with torch.no_grad():
            solution = net.solve(asked.obs, asked.background, asked.domain, asked.extra)
            found = net.prior.coefficients(solution.state).diffusion  # type: ignore[operator]
        tensors_found.append(torch.stack(found, dim=1)[:, :, 0, 0])
        analyses.append(solution.analysis)
    made = torch.cat(tensors_found)
    error = rmse(torch.cat(analyses).numpy(), fields.numpy()) / rmse(fields.numpy(), 0 * fields.numpy())
    scores = {**diffusion_scores(made, tensors), "rmse of the field over its rms": error}
    print(json.dumps({"SPDE prior estimated": scores, "steps": result.steps, "core-seconds": round(train_seconds, 1)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("analysis", "pattern", "drawn"), default="analysis")
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS))
    parser.add_argument("--cells", type=int, default=48, help="of each side")
    parser.add_argument("--windows", type=int, default=30)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--samples", type=int, default=600, help="fields to learn the tensor from")
    parser.add_argument("--likelihood", type=float, default=1.0, help="weight of the likelihood in the loss")
    parser.add_argument("--max-time")
    arguments = parser.parse_args()
    (analysis if arguments.part == "analysis" else diffusion)(arguments)


if __name__ == "__main__":
    main()
