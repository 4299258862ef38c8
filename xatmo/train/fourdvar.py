"""Training of variational networks: from complete fields, from observations alone, or from tracks that are withheld."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
import torch
from scipy import ndimage

from xatmo.errors import OptionError
from xatmo.nn.assimilation import FourDVarNetwork, Given, Observations, Solution
from xatmo.nn.assimilation.error import gaussian_error
from xatmo.nn.assimilation.observations import pooled
from xatmo.nn.assimilation.operators import NEIGHBOURS, differences, moved
from xatmo.train.augment import Augmentation, augment
from xatmo.train.batches import AnyBatch, Batch
from xatmo.train.objectives import Objective, broadcastable
from xatmo.train.settings import OptimizerSettings, real

Mode = Literal["supervised", "variational", "held_back"]
MODES: tuple[Mode, ...] = ("supervised", "variational", "held_back")
TIME_WEIGHTS = ("flat", "triangular", "hann")


@dataclass(frozen=True)
class FourDVarLoss:
    """Weights of the terms of a loss; a term of weight 0 is not computed.

    Attributes
    ----------
    value : float
        Squared error.
    gradient : float
        Squared error of the differences between neighbouring cells, along tracks too: see `neighbour_error`.
    prior : float
        The prior's squared residual of the analysis and, where the target is complete, of the target.
    coarse : float
        Squared error of means over ``coarse_factor`` by ``coarse_factor`` cells.
    coarse_factor : int
    variational : float
        The variational cost itself, per observation and per cell: of mode ``"variational"``.
    likelihood : float
        Minus the logarithm of the density of the target, per cell, with the coefficients that ``"spde_estimated"``
        finds: of complete targets.
    error : float
        Negative log-likelihood of the standard errors, of a network that gives them. Nothing else learns from it; it is
        small, so that it does not count where gradients are clipped.
    earlier : float
        What the error of an iterate counts in proportion to that of the next one, from 0, the last one alone, to 1.

    Raises
    ------
    OptionError
        If a weight is negative, or all of the terms are 0.

    Examples
    --------
    >>> FourDVarLoss(gradient=20.0).names
    ('value', 'gradient')
    """

    value: float = 1.0
    gradient: float = 0.0
    prior: float = 0.0
    coarse: float = 0.0
    coarse_factor: int = 8
    variational: float = 0.0
    likelihood: float = 0.0
    error: float = 0.01
    earlier: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be used."""
        for name in (f.name for f in fields(self) if f.name != "coarse_factor"):
            object.__setattr__(self, name, real(name, getattr(self, name)))
        if self.earlier > 1:
            message = f"earlier={self.earlier!r}; wanted a number from 0 to 1"
            raise OptionError(message)
        factor: object = self.coarse_factor
        if not isinstance(factor, int) or isinstance(factor, bool) or factor < 2:
            message = f"coarse_factor={factor!r}; wanted a whole number of at least 2"
            raise OptionError(message)
        if not self.names:
            message = "all terms of the loss have weight 0; wanted one that counts. Set value, gradient, or another"
            raise OptionError(message)

    @property
    def names(self) -> tuple[str, ...]:
        """Terms that count."""
        known = ("value", "gradient", "prior", "coarse", "variational", "likelihood")
        return tuple(n for n in known if getattr(self, n) > 0)


class FourDVar(Objective):
    r"""A variational network learns from what a mode says.

    ``"supervised"``
        Targets are complete fields, or what other tracks measured; NaN does not count.
    ``"variational"``
        No targets: the cost itself is minimised, per observation and cell. Its weights then have to be fixed,
        ``learn_weights=False``, or they fall to zero.
    ``"held_back"``
        No targets: some tracks are held back, and the analysis of the others is to meet them.

    Parameters
    ----------
    network : FourDVarNetwork
    loss : FourDVarLoss, optional
        By default squared error of all iterates; of ``"variational"`` the cost.
    mode : {"supervised", "variational", "held_back"}
    optimizer : OptimizerSettings, optional
    held_back : float
        Part of the tracks.
    permute : float
        Part of the batches in which samples are observed where another sample is, with values of their own target: many
        observations of few fields. Of ``"supervised"`` with complete targets.
    noise_std : float
        Of these values, in normalized units.
    rebuild : callable, optional
        From permuted `Observations` and domain to the background of them. Without it the background is 0, for one
        that was made of the old observations tells what they were.
    time_weight : {"flat", "triangular", "hann"}
        What frames count: all the same, or less towards the ends of the window.
    border : int
        Cells at each edge of a patch that do not count, where less is known.
    augmentation : {"none", "mirror", "symmetries"}
    seed : int

    Raises
    ------
    OptionError
        If an option has no usable value.

    Notes
    -----
    Batches have packed inputs (`xatmo.nn.assimilation.FourDVarNetwork.pack`). Without targets, the target of a
    batch is not
    looked at. In ``"held_back"`` tracks are the connected cells of a frame, of one observed variable, so that
    neighbours are held back together; where tracks cross they count as one.
    """

    network: FourDVarNetwork

    def __init__(
        self,
        network: FourDVarNetwork,
        loss: FourDVarLoss | Mapping[str, float] | None = None,
        *,
        mode: Mode = "supervised",
        optimizer: OptimizerSettings | None = None,
        held_back: float = 0.3,
        permute: float = 0.0,
        noise_std: float = 0.0,
        rebuild: Callable[[Observations, torch.Tensor], torch.Tensor] | None = None,
        time_weight: str = "flat",
        border: int = 0,
        augmentation: Augmentation = "none",
        seed: int = 0,
    ) -> None:
        super().__init__(network, OptimizerSettings() if optimizer is None else optimizer)
        for name, value, known in (("mode", mode, MODES), ("time_weight", time_weight, TIME_WEIGHTS)):
            if value not in known:
                message = f"{name}={value!r} is not available; possible are {list(known)}"
                raise OptionError(message)
        self.mode = mode
        self.terms = _terms(loss, mode)
        if mode == "variational" and network.config.learn_weights:
            message = (
                "mode='variational' with learn_weights=True; wanted fixed weights of the cost, which otherwise fall to "
                "zero. Build the network with learn_weights=False"
            )
            raise OptionError(message)
        if self.terms.likelihood:
            _require_density(network, mode)
        self.held_back = _share("held_back", held_back)
        self.permute = _share("permute", permute)
        if self.permute and mode != "supervised":
            message = f"permute={permute!r} with mode={mode!r}; wanted targets. Set mode='supervised' or permute=0"
            raise OptionError(message)
        self.noise_std = real("noise_std", noise_std)
        self.rebuild, self.time_weight = rebuild, time_weight
        given: object = border
        if not isinstance(given, int) or isinstance(given, bool) or given < 0:
            message = f"border={border!r}; wanted a whole number of at least 0"
            raise OptionError(message)
        self.border, self.augmentation, self.seed = border, augmentation, seed

    # ------------------------------------------------------------------ what the trainer asks
    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Give the optimizer; the learning rate is set before each step by the trainer's schedule."""
        return self.optimizer_settings.make([p for p in self.network.parameters() if p.requires_grad])

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Terms that count, where there are several."""
        names = (*self.terms.names, *(["error"] if self.tells_error else []))
        return names if len(names) > 1 else ()

    @property
    def tells_error(self) -> bool:
        """Whether standard errors are learned."""
        return getattr(self.network, "error", None) is not None and self.terms.error > 0 and self.mode != "variational"

    def identity(self) -> dict[str, Any]:
        """Give the settings that a resumed run has to share."""
        own = {n: getattr(self, n) for n in ("mode", "held_back", "permute", "noise_std", "time_weight", "border")}
        return {**super().identity(), **own, "loss": asdict(self.terms), "fourdvar": self.network.config.to_dict()}

    def training_step(self, batch: AnyBatch, batch_idx: int) -> dict[str, torch.Tensor]:
        """Loss of one batch, and its terms where there are several."""
        key = self.key(batch_idx)
        drawn = augment(Batch.of(batch), self.augmentation, key)
        total, parts = self.losses(drawn, np.random.default_rng([*key, 1]), training=True)
        return {"loss": total, **{name: parts[name].detach() for name in self.loss_names}}

    def validation_step(self, batch: AnyBatch, batch_idx: int) -> torch.Tensor:
        """Loss of the last iterate of one batch, without augmentation; the same tracks are held back each time."""
        total, _ = self.losses(Batch.of(batch), np.random.default_rng([self.seed, batch_idx, 2]), training=False)
        return total

    # ------------------------------------------------------------------ its parts
    def losses(
        self, batch: Batch, random: np.random.Generator, *, training: bool
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Give the loss of a batch, and its terms.

        Parameters
        ----------
        batch : Batch
        random : numpy.random.Generator
            Draws permutations and tracks that are held back.
        training : bool
            Whether all iterates count and masks are permuted.
        """
        return self.solved(batch, random, training=training)[:2]

    def solved(
        self, batch: Batch, random: np.random.Generator, *, training: bool
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor], Solution]:
        """Give what `losses` gives, and the solution that it is of."""
        given, target = self.network.unpack(batch.input), batch.target.float()
        observed = self.network.config.observed or ()
        if self.mode == "held_back":
            kept = torch.from_numpy(tracks_kept(given.obs.mask.cpu().numpy(), self.held_back, random))
            kept = kept.to(given.obs.mask.device)
            held = given.obs.only(~kept)
            target = torch.where(held.mask, held.values, torch.nan)
            given = Given(given.obs.only(kept), given.background, given.domain, given.extra)
        elif self.mode == "supervised" and training and random.random() < self.permute:
            given = self._permuted(given, target, observed, random)
        solution = self.network.solve(given.obs, given.background, given.domain, given.extra)
        iterates = solution.iterates if training else solution.iterates[-1:]
        iterates = tuple(x for x in iterates if x.requires_grad) or solution.iterates[-1:] if training else iterates
        if self.mode == "held_back":
            iterates = tuple(x[:, list(observed)] for x in iterates)
        target = torch.where(given.domain, target, target.new_full((), torch.nan))
        weight = self._weight(batch, target)
        parts: dict[str, torch.Tensor] = {}
        for name in self.terms.names:
            if name == "prior":
                parts[name] = self._prior(solution, target, given)
            elif name == "variational":
                parts[name] = solution.problem.mean_cost(solution.state)
            elif name == "likelihood":
                parts[name] = self._likelihood(solution, target, given)
            else:
                shares = [self.terms.earlier ** (len(iterates) - 1 - k) for k in range(len(iterates))]
                made = [s * self._error(name, x, target, weight) for s, x in zip(shares, iterates, strict=True) if s]
                parts[name] = torch.stack(made).sum() / sum(shares)
        if self.tells_error and solution.log_std is not None:
            channels = list(observed) if self.mode == "held_back" else slice(None)
            missed = iterates[-1].detach() - target
            parts["error"] = gaussian_error(solution.log_std[:, channels], missed, weight)
        total = torch.stack([getattr(self.terms, name) * value for name, value in parts.items()]).sum()
        return total, parts, solution

    def _error(self, name: str, made: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        if name == "gradient":
            return neighbour_error(made, target, weight)
        if name == "coarse":
            return coarse_error(made, target, weight, self.terms.coarse_factor)
        return value_error(made, target, weight)

    def _prior(self, solution: Solution, target: torch.Tensor, given: Given) -> torch.Tensor:
        """Give the mean square of the prior's residuals of the analysis, and of the target where it is complete."""
        problem, network = solution.problem, self.network
        cells = problem.numbers.prior.sum()
        total: torch.Tensor = problem.prior(solution.state, problem.domain).square().sum() / cells
        missing = (~target.isfinite() & given.domain).any()
        if self.mode == "supervised" and network.config.resize_factor == 1 and not bool(missing):
            state = network.layout.of(torch.nan_to_num(target, nan=0.0), problem.background)
            total = total + problem.prior(problem.inside(state), problem.domain).square().sum() / cells
        return total

    def _likelihood(self, solution: Solution, target: torch.Tensor, given: Given) -> torch.Tensor:
        """Give minus the logarithm of the density of the targets that are complete, per cell."""
        problem, layout = solution.problem, self.network.layout
        whole = (target.isfinite() | ~given.domain).flatten(1).all(1)
        state = layout.of(torch.nan_to_num(target, nan=0.0), problem.background)
        found = self.network.prior.likelihood(state[:, layout.fields], solution.state, problem.domain)  # type: ignore[operator]
        each = torch.where(whole, found / problem.numbers.prior, torch.zeros_like(found))
        return each.sum() / whole.sum().clamp_min(1)

    def _permuted(
        self, given: Given, target: torch.Tensor, observed: tuple[int, ...], random: np.random.Generator
    ) -> Given:
        """Observe each target where another sample is observed."""
        order = torch.from_numpy(random.permutation(len(target))).to(target.device)
        mask = given.obs.mask[order]
        values = target[:, list(observed)]
        noise = torch.from_numpy(random.standard_normal(values.shape, dtype=np.float32)).to(target.device)
        obs = Observations.of(values + self.noise_std * noise, mask)
        background = torch.zeros_like(given.background)
        if self.rebuild is not None:
            background = self.rebuild(obs, given.domain)
        return Given(obs, background, given.domain, given.extra)

    def _weight(self, batch: Batch, target: torch.Tensor) -> torch.Tensor:
        weight = patch_weight(target, self.time_weight, self.border)
        own = None if self.mode == "held_back" else broadcastable(batch)
        return weight if own is None else weight * own


# ---------------------------------------------------------------------- errors
def value_error(made: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Weighted mean of squared errors where the target is.

    Examples
    --------
    >>> target = torch.tensor([1.0, float("nan")]).reshape(1, 1, 1, 1, 2)
    >>> value_error(torch.full_like(target, 3.0), target, torch.ones(1, 1, 1, 1, 1)).item()
    4.0
    """
    there = target.isfinite()
    error = torch.where(there, made.float() - torch.nan_to_num(target, nan=0.0), 0.0)
    return _mean(error.square(), there * weight)


def neighbour_error(made: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Mean of squared errors of differences to four neighbours, where the target has both.

    Neighbours on the diagonals, whose distance is larger, count half, so that a complete field has no direction that
    counts more, and tracks of any slope have differences along them.

    Examples
    --------
    >>> ramp = torch.arange(4.0).expand(1, 1, 1, 4, 4)
    >>> one = torch.ones(1, 1, 1, 1, 1)
    >>> neighbour_error(ramp + 5, ramp, one).item(), neighbour_error(2 * ramp, ramp, one).item() > 0
    (0.0, True)
    """
    there = target.isfinite()
    error = torch.where(there, made.float() - torch.nan_to_num(target, nan=0.0), 0.0)
    weight = (there * weight).expand_as(error)
    total, norm = error.new_zeros(()), error.new_zeros(())
    for step in NEIGHBOURS:
        share = 1 / (step[0] ** 2 + step[1] ** 2)
        # Weight of a pair is that of its first cell, where both are there.
        pair = _both(there, step) * weight
        total = total + share * (differences(error, there, step).square() * pair).sum()
        norm = norm + share * pair.sum()
    return total / norm.clamp_min(torch.finfo(norm.dtype).tiny)


def coarse_error(made: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, factor: int) -> torch.Tensor:
    """Weighted mean of squared errors of means over blocks, each over the cells where the target is.

    Examples
    --------
    >>> checks = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).reshape(1, 1, 1, 2, 2)
    >>> coarse_error(checks, torch.zeros_like(checks), torch.ones(1, 1, 1, 1, 1), 2).item()
    0.0
    """
    there = target.isfinite()
    error = torch.where(there, made.float() - torch.nan_to_num(target, nan=0.0), 0.0)
    weight = (there * weight).expand_as(error).to(error.dtype)
    amount = pooled(weight, factor)
    mean = pooled(error * weight, factor) / amount.clamp_min(torch.finfo(amount.dtype).tiny)
    return _mean(mean.square(), amount)


def patch_weight(like: torch.Tensor, time: str = "flat", border: int = 0) -> torch.Tensor:
    """Weight of frames and cells of a patch ``(1, 1, time, lat, lon)``.

    Parameters
    ----------
    like : Tensor (batch, channel, time, lat, lon)
    time : {"flat", "triangular", "hann"}
        ``"triangular"``: :math:`1 - |2 t - (n - 1)| / n`; ``"hann"``: its sine squared, never 0.
    border : int
        Cells at each edge of weight 0.

    Raises
    ------
    OptionError
        If the border leaves no cell.

    Examples
    --------
    >>> w = patch_weight(torch.zeros(1, 1, 3, 4, 4), "triangular", 1)
    >>> [round(v, 2) for v in w[0, 0, :, 1, 1].tolist()], w[0, 0, 1].sum().item()
    ([0.33, 1.0, 0.33], 4.0)
    """
    frames, rows, columns = like.shape[2:]
    if 2 * border >= min(rows, columns):
        message = f"border={border} of patches of {rows} by {columns} cells; wanted less than half of a patch"
        raise OptionError(message)
    t = torch.arange(frames, device=like.device, dtype=torch.float32)
    along = torch.ones(frames, device=like.device)
    if time == "triangular":
        along = 1 - (2 * t - (frames - 1)).abs() / frames
    elif time == "hann":
        along = torch.sin(torch.pi * (t + 1) / (frames + 1)).square()
    inside = torch.zeros(rows, columns, device=like.device)
    inside[border : rows - border, border : columns - border] = 1
    return (along[:, None, None] * inside)[None, None]


def tracks_kept(mask: np.ndarray, part: float, random: np.random.Generator) -> np.ndarray:
    """Draw which tracks are kept; bool, of the mask's shape, True where nothing is observed.

    Parameters
    ----------
    mask : ndarray (batch, variable, time, lat, lon)
        Bool.
    part : float
        Of the tracks that is held back, at least one in each sample that has two.
    random : numpy.random.Generator

    Examples
    --------
    >>> mask = np.zeros((1, 1, 2, 4, 4), bool)
    >>> mask[0, 0, 0, :, 0] = mask[0, 0, 1, :, 3] = True
    >>> kept = tracks_kept(mask, 0.01, np.random.default_rng(0))
    >>> int((mask & ~kept).sum())
    4
    """
    kept = np.ones(mask.shape, bool)
    near = np.zeros((3, 3, 3, 3))
    near[1, 1] = 1  # neighbours, diagonals included, of one frame and variable
    for one, of in zip(mask, kept, strict=True):
        labels, n = ndimage.label(one, near)
        held = random.random(n) < part
        if n > 1 and not held.any():
            held[random.integers(n)] = True
        if n > 1 and held.all():
            held[random.integers(n)] = False
        of[...] = ~np.concatenate([[False], held])[labels]
    return kept


def _both(there: torch.Tensor, step: tuple[int, int]) -> torch.Tensor:
    """Whether a cell and its neighbour are both there."""
    return there & moved(there, step)


def _mean(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    weight = weight.expand_as(values)
    return (values * weight).sum() / weight.sum().clamp_min(torch.finfo(values.dtype).tiny)


def _terms(loss: FourDVarLoss | Mapping[str, float] | None, mode: str) -> FourDVarLoss:
    if loss is None:
        return FourDVarLoss(value=0.0, variational=1.0) if mode == "variational" else FourDVarLoss()
    if not isinstance(loss, FourDVarLoss):
        known = {f.name for f in fields(FourDVarLoss)}
        if unknown := sorted(set(loss) - known):
            message = f"unknown terms {unknown} of the loss; known are {sorted(known)}"
            raise OptionError(message)
        loss = FourDVarLoss(**loss)  # type: ignore[arg-type]
    if mode == "variational" and loss.names != ("variational",):
        message = (
            f"mode='variational' with the terms {list(loss.names)}; wanted 'variational' alone: there is no target"
        )
        raise OptionError(message)
    if mode != "variational" and "variational" in loss.names:
        message = f"the term 'variational' with mode={mode!r}; wanted mode='variational'"
        raise OptionError(message)
    return loss


def _require_density(network: FourDVarNetwork, mode: str) -> None:
    """See that there is a density whose coefficients can be learned."""
    config = network.config
    if mode != "supervised" or config.prior != "spde_estimated" or config.resize_factor > 1:
        message = (
            f"the term 'likelihood' with mode={mode!r}, prior={config.prior!r}, resize_factor={config.resize_factor}; "
            "wanted 'supervised', 'spde_estimated' and 1"
        )
        raise OptionError(message)


def _share(name: str, value: float) -> float:
    value = real(name, value)
    if value > 1:
        message = f"{name}={value!r}; wanted a part, from 0 to 1"
        raise OptionError(message)
    return value
