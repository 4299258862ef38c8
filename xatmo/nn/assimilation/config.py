"""The one description of a variational network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any, ClassVar, Literal, Self

from xatmo.errors import OptionError
from xatmo.nn.settings import from_json, whole

PRIOR_NAMES = ("bilinear", "genn", "unet", "multi", "fixed_point", "spde", "spde_estimated")
SOLVER_NAMES = ("unet", "convlstm", "cnn", "gradient", "fixed_point")
OPERATOR_NAMES = ("identity", "gradient", "multi_sensor")
STATE_NAMES = ("raw", "anomaly", "augmented")
NORM_NAMES = ("l2", "huber")
PADDINGS = ("reflect", "zeros")


@dataclass(frozen=True)
class FourDVarConfig:
    """What makes a network: state, observation operator, prior, solver.

    The defaults are those recommended: few steps of a U-Net at half resolution, from a good background (optimal
    interpolation with a Matern covariance, say), trained on all iterates.

    Attributes
    ----------
    time_window : int
        Frames of a window.
    n_outputs, n_observations, n_extra : int
        Variables of the analysis; observed variables; other fields that help (sea surface temperature).
    observed : tuple of int, optional
        For each observed variable the output that it measures; by default one after another, beginning again where
        outputs are fewer: two sensors of one variable.
    calibrated : tuple of int
        Observed variables with an additive error that is correlated in space, as of a swath. Each has a channel of the
        state, which is estimated and then dropped.
    state : {"raw", "anomaly", "augmented"}
        What is solved for: see `xatmo.nn.assimilation.state.StateLayout`.
    operator : {"identity", "gradient", "multi_sensor"}
        See `xatmo.nn.assimilation.operators`.
    operator_channels : int
        Features in which state and other fields are compared by ``"multi_sensor"``.
    prior : {"bilinear", "genn", "unet", "multi", "fixed_point", "spde", "spde_estimated"}
        See `xatmo.nn.assimilation.priors`.
    prior_channels : int
        Its width.
    prior_scale : int
        Cells over which ``"bilinear"`` averages first, and the coarse branch of ``"genn"``.
    n_priors : int
        Of ``"multi"``.
    prior_iterations : int
        Of ``"fixed_point"``.
    spde : dict
        Settings of `xatmo.nn.assimilation.priors.SPDEPrior`.
    estimator : {"head", "solver"}, optional
        What finds the coefficients of ``"spde_estimated"``: a head that reads the local structure of the analysis
        (`xatmo.nn.assimilation.estimator.CoefficientHead`), or the solver, as other channels of the state. None:
        ``"head"`` of the solvers that learn.
    solver : {"unet", "convlstm", "cnn", "gradient", "fixed_point"}
        See `xatmo.nn.assimilation.solvers`.
    solver_channels : int
        Its width.
    n_levels : int
        Times that the U-Net of ``"unet"`` halves its grid, which is half that of the state.
    n_steps, n_cascades : int
        Steps, and how often they are repeated, with the memory of the solver kept.
    truncated : int, optional
        Only so many of the last steps of a cascade are differentiated in training; the others need no memory. None:
        all.
    step_size : float, optional
        First guess of the step along the gradient. Of ``"gradient"`` it has to be below 2 divided by the largest
        eigenvalue of the cost's Hessian. None: 0.1, with ``gradient_scale="prior"`` 1, the whole of the best change.
    gradient_scale : {"sample", "none", "prior"}, optional
        What solvers read: the gradient of the sums as it is, or for the learned ones divided by its size in the first
        step; both are free of the size of a patch and of the number of observations. ``"prior"``, with an equation:
        instead of the gradient, what brings the cost down the most along the gradient, spread by the equation's
        covariance, and the last change (`xatmo.nn.assimilation.descent`), for which sums over the whole patch are
        taken; with ``"gradient"`` these are conjugate gradients. None: ``"prior"`` with an equation; otherwise
        ``"none"`` of ``"unet"``, whose answer then depends on what is near and nothing else, ``"sample"`` of the
        others.
    observation_weight, prior_weight : float
        Of the two sums of squares, in normalized units.
    learn_weights : bool
        Whether the weights and step sizes are learned.
    norm : {"l2", "huber"}
        Of the observations.
    resize_factor : int
        The problem is solved on cells so many times as wide; what it adds to the background is interpolated back.
    dropout : float
        Of the gradient that ``"convlstm"`` and ``"cnn"`` read, in training.
    padding : {"reflect", "zeros"}
        Beyond the edges of a patch.
    error : bool
        Whether to give the standard error of every output too: see `xatmo.nn.assimilation.error.ErrorHead`.
    keeps_background : bool
        Whether the analysis is the background itself, without a step: of a network whose training led to nothing
        better.

    Raises
    ------
    OptionError
        If a value cannot be used.

    Examples
    --------
    >>> config = FourDVarConfig(time_window=5, n_observations=2)
    >>> config.observed, config.gradient_scale, FourDVarConfig.from_dict(config.to_dict()) == config
    ((0, 0), 'none', True)
    """

    time_window: int = 15
    n_outputs: int = 1
    n_observations: int = 1
    n_extra: int = 0
    observed: tuple[int, ...] | None = None
    calibrated: tuple[int, ...] = ()
    state: Literal["raw", "anomaly", "augmented"] = "raw"
    operator: str = "identity"
    operator_channels: int = 5
    prior: str = "bilinear"
    prior_channels: int = 32
    prior_scale: int | None = None
    n_priors: int = 2
    prior_iterations: int = 2
    spde: Mapping[str, Any] | None = None
    estimator: str | None = None
    solver: str = "unet"
    solver_channels: int = 48
    n_levels: int = 2
    n_steps: int = 2
    n_cascades: int = 1
    truncated: int | None = None
    step_size: float | None = None
    gradient_scale: str | None = None
    observation_weight: float = 1.0
    prior_weight: float = 1.0
    learn_weights: bool = True
    norm: str = "l2"
    resize_factor: int = 1
    dropout: float = 0.0
    padding: str = "reflect"
    error: bool = False
    keeps_background: bool = False

    kind: ClassVar[str] = "fourdvar"

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        for name, known in (
            ("state", STATE_NAMES), ("operator", OPERATOR_NAMES), ("prior", PRIOR_NAMES), ("solver", SOLVER_NAMES),
            ("norm", NORM_NAMES), ("padding", PADDINGS), ("gradient_scale", (None, "sample", "none", "prior")),
            ("estimator", (None, "head", "solver")),
        ):  # fmt: skip
            if getattr(self, name) not in known:
                message = f"{name}={getattr(self, name)!r} is not available; possible are {list(known)}"
                raise OptionError(message)
        for name in ("n_extra", *_WHOLE):
            object.__setattr__(self, name, whole(name, getattr(self, name), 0 if name == "n_extra" else 1))
        for name in ("truncated", "prior_scale"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, whole(name, getattr(self, name)))
        equation = self.prior.startswith("spde")
        if self.estimator is None:
            object.__setattr__(self, "estimator", "solver" if self.solver == "gradient" else "head")
        if self.gradient_scale is None:
            own = "none" if self.solver == "unet" else "sample"
            object.__setattr__(self, "gradient_scale", "prior" if equation else own)
        if self.step_size is None:
            object.__setattr__(self, "step_size", 1.0 if self.gradient_scale == "prior" else 0.1)
        for name in ("step_size", "observation_weight", "prior_weight"):
            _number(name, getattr(self, name), positive=True)
        _number("dropout", self.dropout, positive=False)
        if self.dropout >= 1:
            message = f"dropout={self.dropout!r}; wanted a number from 0 to below 1"
            raise OptionError(message)
        for name in ("error", "keeps_background"):
            given: object = getattr(self, name)
            if not isinstance(given, bool):
                message = f"{name}={given!r}; wanted True or False"
                raise OptionError(message)
        self._check_channels()
        if self.prior_scale is None:
            object.__setattr__(self, "prior_scale", 4 if self.prior == "genn" else 2)
        object.__setattr__(self, "spde", dict(self.spde or {}))
        if self.operator == "multi_sensor" and not self.n_extra:
            message = "operator='multi_sensor' with n_extra=0; wanted other fields to compare with. Set n_extra"
            raise OptionError(message)
        if self.solver == "fixed_point" and self.prior.startswith("spde"):
            message = f"solver='fixed_point' with prior={self.prior!r}; wanted a prior that maps a state to a state"
            raise OptionError(message)
        if self.prior.startswith("spde") and (self.state == "augmented" or self.calibrated):
            message = (
                f"prior={self.prior!r} with state={self.state!r}, calibrated={self.calibrated!r}; wanted a state "
                "'raw' or 'anomaly' and nothing calibrated: the equation says nothing of other channels"
            )
            raise OptionError(message)

    def _check_channels(self) -> None:
        """See that what is observed and calibrated exists."""
        observed = self.observed
        if observed is None:
            observed = tuple(i % self.n_outputs for i in range(self.n_observations))
        observed = tuple(observed)
        object.__setattr__(self, "observed", observed)
        if len(observed) != self.n_observations or any(not 0 <= i < self.n_outputs for i in observed):
            message = (
                f"observed={observed!r}; wanted one of the {self.n_outputs} outputs for each of the "
                f"{self.n_observations} observed variables"
            )
            raise OptionError(message)
        calibrated = tuple(self.calibrated)
        object.__setattr__(self, "calibrated", calibrated)
        if len(set(calibrated)) != len(calibrated) or any(not 0 <= i < self.n_observations for i in calibrated):
            message = f"calibrated={calibrated!r}; wanted numbers of observed variables below {self.n_observations}"
            raise OptionError(message)

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> Self:
        """Read what `to_dict` gave, as JSON returns it.

        Raises
        ------
        ConfigError
            If a setting is unknown to this version.
        """
        return cls(**from_json(cls, config, "a variational network", ("observed", "calibrated")))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with the kind that says who builds it."""
        told = asdict(self)
        if not self.keeps_background:  # as networks were described that knew nothing of it
            del told["keeps_background"]
        return {"kind": self.kind, **told}

    @property
    def n_inputs(self) -> int:
        """Channels of the packed input: see `xatmo.nn.assimilation.FourDVarNetwork.pack`."""
        return 2 * self.n_observations + self.n_outputs + 1 + self.n_extra


_WHOLE = (
    "time_window", "n_outputs", "n_observations", "operator_channels", "prior_channels", "n_priors", "prior_iterations",
    "solver_channels", "n_levels", "n_steps", "n_cascades", "resize_factor",
)  # fmt: skip


def _number(name: str, value: object, *, positive: bool) -> None:
    bad = isinstance(value, bool) or not isinstance(value, Real)
    if bad or not (float(value) > 0 if positive else float(value) >= 0) or not float(value) < math.inf:  # type: ignore[arg-type]
        message = f"{name}={value!r}; wanted a {'positive' if positive else 'non-negative'} number"
        raise OptionError(message)
