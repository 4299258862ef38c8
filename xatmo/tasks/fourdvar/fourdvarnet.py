"""FourDVarNet: maps of sparse observations by a variational network, from labelled data to labelled data."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from xatmo.errors import OptionError
from xatmo.tasks._own_module import refuse_of_network, require_module
from xatmo.tasks._run import RunOptions
from xatmo.tasks.base import Task, as_model
from xatmo.tasks.fourdvar import _fit, _settings
from xatmo.tasks.fourdvar._data import Given, Several
from xatmo.typing import XarrayObject

if TYPE_CHECKING:
    import torch

    from xatmo.model import Model


class FourDVarNet(Task):
    r"""Map sparse observations with a variational network that is trained.

    The network looks for the fields of a window of time that bring a cost down,

    .. math::
        J(x) = \tfrac12 \sum_{obs} w\, |H(x) - y|^2 + \tfrac12 \sum_{cells} v\, |x - \Phi(x)|^2,

    by a few steps of a solver that reads the gradient of the cost, beginning from a background; prior, solver and
    weights are learned (Fablet et al. 2021, JAMES 13, e2021MS002572; Beauchamp et al. 2023, GMD 16, 2119).

    Parameters
    ----------
    prior : {"bilinear", "genn", "unet", "multi", "fixed_point", "spde", "spde_estimated"} or torch.nn.Module
        The map :math:`\Phi`: see `xatmo.nn.assimilation.priors`. A module of the caller's maps
        ``(batch, channels, time, lat, lon)`` to the same shape.
    solver : {"unet", "convlstm", "cnn", "gradient", "fixed_point"} or Solver
        See `xatmo.nn.assimilation.solvers`.
    n_steps : int
        Steps of the solver.
    background : {"oi", "linear", "zero"} or str
        Where the solver begins: optimal interpolation, whose scales are estimated from the observations of the
        training, linear interpolation, or the mean of the training; or the name of a variable.
    time_window : int
        Frames of a window.
    state : {"raw", "anomaly", "augmented"}
        What is solved for: see `xatmo.nn.assimilation.state.StateLayout`.
    operator : {"identity", "gradient", "multi_sensor"} or torch.nn.Module
        From fields to what is observed: see `xatmo.nn.assimilation.operators`. ``"multi_sensor"`` compares the fields
        with predictors, too.
    loss : mapping, optional
        Weights of terms: see `xatmo.train.FourDVarLoss`.
    objective : {"supervised", "held_back", "variational"}, optional
        What is learned from: targets; tracks that are held back from the network; or the cost itself, with fixed
        weights. By default ``"supervised"`` with a target, ``"held_back"`` without.
    redraw : float
        Part of the samples of supervised training that is observed where another time of the record is, with values of
        its own target and noise, and a background made of them: many observations of few fields. Left out where the
        target is not complete or the background came as it is, which the model then notes.
    noise_std : float, optional
        Of these values, in the units of the target. By default the root mean square of observations less target.
    held_back : float
        Part of the tracks that ``"held_back"`` holds back.
    error : bool
        Whether the network also learns the standard error of what it gives, where it learns from targets.
    network_settings : mapping, optional
        The other fields of `xatmo.nn.assimilation.FourDVarConfig`: widths, weights, ``calibrated`` sensors ...
    oi : mapping, optional
        Keywords of `xatmo.assimilation.optimal_interp` for the background: those scales are not estimated.
    time_weight : {"flat", "triangular", "hann"}
        What frames count in the loss.
    border : int
        Cells at each edge of a patch that do not count.
    augmentation : {"none", "mirror", "symmetries"}
        Of the patches. Currents have a direction and the Earth turns, so that a mirror changes the dynamics.
    optimizer, learning_rate, weight_decay, schedule
        See `xatmo.train.OptimizerSettings`.
    optimizer_settings : mapping, optional
        Other fields of `xatmo.train.OptimizerSettings`.
    scale_learning_rate : bool
        Whether the learning rate is multiplied by the number of devices.

    Notes
    -----
    The defaults are those recommended:

    ===================  ===========================================================
    prior                "bilinear", 32 channels
    solver               "unet" at half resolution, 48 channels, 2 steps of 0.02
    background           "oi" with a Matern covariance, scales and drift estimated
    time window          15 frames
    loss                 squared error of all iterates
    observations         half of the samples redrawn
    optimizer            AdamW, 1e-3, one cycle
    ===================  ===========================================================

    Statistics are one pair of numbers, shared by observations, background and analysis, so that another unit or another
    zero of the data changes nothing but these. The network answers for grids of its own steps, of any size.

    Raises
    ------
    OptionError
        If a keyword has a value that is not available, or two do not go together.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xatmo
    >>> x, t = np.arange(24), np.arange(12)
    >>> waves = np.sin(0.4 * x - 0.2 * t[:, None])[:, None] * np.cos(0.3 * np.arange(20))[:, None]
    >>> ds = xr.Dataset({"ssh": (("time", "lat", "lon"), waves, {"units": "m"})}, coords={
    ...     "time": np.datetime64("2012-10-01", "ns") + t * np.timedelta64(1, "D"), "lat": 43 - 0.2 * np.arange(20),
    ...     "lon": -60 + 0.2 * x})
    >>> ds["seen"] = ds.ssh.where(np.random.default_rng(0).random(ds.ssh.shape) < 0.05)
    >>> ds.seen.attrs["units"] = "m"
    >>> small = {"prior_channels": 4, "solver_channels": 4}
    >>> task = FourDVarNet(time_window=5, background="zero", network_settings=small)
    >>> task = task.fit(ds, obs="seen", target="ssh", max_steps=2, accelerator="cpu", progress=False)
    >>> mapped = ds.atmo.fourdvar_interp("seen", model=task)
    >>> mapped.seen.dims, mapped.seen.attrs["units"], bool(mapped.seen.notnull().all())
    (('time', 'lat', 'lon'), 'm', True)
    """

    name: ClassVar[str] = "FourDVarNet"

    def __init__(
        self,
        prior: str | torch.nn.Module = "bilinear",
        *,
        solver: str | torch.nn.Module = "unet",
        n_steps: int = 2,
        background: str = "oi",
        time_window: int = 15,
        state: str = "raw",
        operator: str | torch.nn.Module = "identity",
        loss: Mapping[str, float] | None = None,
        objective: str | None = None,
        redraw: float = 0.5,
        noise_std: float | None = None,
        held_back: float = 0.3,
        error: bool = True,
        network_settings: Mapping[str, Any] | None = None,
        oi: Mapping[str, Any] | None = None,
        time_weight: str = "flat",
        border: int = 0,
        augmentation: str = "none",
        optimizer: str = "adamw",
        learning_rate: float = 1e-3,
        weight_decay: float = 0.01,
        schedule: str = "one-cycle",
        optimizer_settings: Mapping[str, Any] | None = None,
        scale_learning_rate: bool = False,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        super().__init__()
        self._parts: dict[str, torch.nn.Module] = {}
        for name, usual in _USUAL.items():
            if not isinstance(given[name], str):
                self._parts[name] = _module(name, given[name])
                given[name] = usual
        if "prior" in self._parts:
            given["network_settings"] = _for_equation(self._parts["prior"], network_settings)
        self._config: dict[str, Any] = _settings.resolve(given)

    @property
    def config(self) -> dict[str, Any]:
        """Settings with which the task was made."""
        return copy.deepcopy(self._config)

    def __repr__(self) -> str:
        shown: dict[str, Any] = {k: v for k, v in self._config.items() if v not in (None, False, 0, [])}
        shown |= {name: type(part).__name__ for name, part in self._parts.items()}
        if self._module is not None:
            shown = {"module": type(self._module).__name__} | {
                k: v for k, v in shown.items() if k not in _settings.NETWORK
            }
        bare = {"module", *self._parts}
        settings = ", ".join(f"{k}={v if k in bare else repr(v)}" for k, v in shown.items())
        state = "not fitted" if self._model is None else f"fitted, {self._model.fingerprint}"
        return f"<{self.name} {settings} ({state})>"

    # ------------------------------------------------------------------ other ways to make one
    @classmethod
    def from_module(cls, module: torch.nn.Module, **settings: Any) -> Self:
        """Make the task around a network of the caller's: labels, backgrounds, tiling, training, saving are the same.

        Parameters
        ----------
        module : torch.nn.Module
            ``(batch, n_inputs, time, lat, lon) -> (batch, n_outputs, time, lat, lon)``, rows north to south,
            normalized: observed values (0 where there are none), their masks, backgrounds, domain, predictors; without
            NaN.
        **settings
            Those of `FourDVarNet` that concern training and data: ``background``, ``time_window``, ``loss``,
            ``objective``, ``redraw``, ``learning_rate`` ... Of ``network_settings`` only ``n_outputs`` and ``observed``
            have a meaning.

        Raises
        ------
        OptionError
            If it is no module, or a setting describes a network of ours.
        """
        require_module(module)
        refuse_of_network(settings, (set(_settings.NETWORK) - {"network_settings"}))
        if settings.get("objective") == "variational":
            message = "objective='variational' with a module of your own, which has no cost; wanted another objective"
            raise OptionError(message)
        task = cls(**settings)
        task._module = module
        return task

    @classmethod
    def of_model(cls, model: Model) -> Self:
        """Make the fitted task that belongs to a model."""
        task = super().of_model(model)
        for name in model.config["network"].get("own_parts", ()):
            part = getattr(model.network, name)
            task._parts[name] = getattr(part, "module", part)
        return task

    # ------------------------------------------------------------------ training
    def fit(  # type: ignore[override]
        self,
        train: XarrayObject,
        *,
        obs: Several,
        mask: Several = None,
        target: Several = None,
        predictors: Several = None,
        static: Several = None,
        domain: Given | None = None,
        background: Several = None,
        lag: Given | None = None,
        validation: XarrayObject | None = None,
        patch_size: int | Mapping[str, int] | None = None,
        batch_size: int = 4,
        epochs: int = 40,
        max_steps: int | None = None,
        max_time: str | None = None,
        patience: int | None = 10,
        accumulate: int = 1,
        accelerator: str = "auto",
        devices: int = 1,
        precision: str | None = None,
        seed: int = 0,
        memory: int = 256 << 20,
        initial: Task | Model | str | Path | None = None,
        run_dir: str | Path | None = None,
        resume: bool = True,
        progress: bool = True,
    ) -> Self:
        """Train. This reads the data and computes: statistics and backgrounds first, then batch after batch.

        Parameters
        ----------
        train : Dataset or DataArray
            Where names are looked up. Any order of dimensions, rows and longitudes; may be lazy, in any chunks: windows
            are drawn chunk by chunk, and what is larger than 1 GiB stays lazy. Dimensions other than time, latitude and
            longitude are independent samples. Windows do not span gaps of the times.
        obs : name, DataArray, or several
            What was observed, NaN where nothing was; several are several sensors. Gridded; or along tracks, on one
            dimension with coordinates time, latitude and longitude, and then averaged over the cells and times of the
            grid of ``target`` or ``train``.
        mask : name, DataArray, or as many as there are sensors, optional
            False, zero or NaN where an observation is not to be used.
        target : name, DataArray, or several, optional
            What the analysis shall be: complete fields, or what other tracks measured; NaN does not count. Several are
            several outputs, which ``network_settings["observed"]`` ties to the sensors. None: learn from observations
            alone.
        predictors : names, DataArrays or a Dataset, optional
            Other fields that help, such as sea surface temperature, with gaps or without time as they come.
        static : names, DataArrays or a Dataset, optional
            Other fields of latitude and longitude alone, such as the depth of the sea. The model keeps them, so that
            they need not be given at use on the same grid or a part of it.
        domain : name or DataArray (lat, lon), optional
            Where there is water. By default everywhere, but for cells that a complete target never has.
        background : name, DataArray, or one for each output, optional
            In the place of the one that the task makes; at use it then has to be given, too.
        lag : name or DataArray, optional
            Offsets of the true times of observations from the labels, for the background.
        validation : Dataset, optional
            With the same names. The weights with the lowest validation loss are kept. Without it nothing is held out,
            and the last weights are kept.
        patch_size : int or mapping, optional
            Cells of a training window: a number, or ``{"lat": 64, "lon": 48}``. Default 64, or what there is.
        batch_size : int
            Windows per step and device.
        epochs : int
            Times that the data are seen, as windows that overlap.
        max_steps, max_time, patience, accumulate, accelerator, devices, precision, seed, run_dir, resume, progress
            See `SuperResolver.fit`.
        memory : int
            Bytes of the data that are held at a time; what fits into half of it is read once.
        initial : FourDVarNet, Model, str or Path, optional
            A fitted task, or the path of a saved one, whose weights the network starts with and whose statistics, and
            background, it keeps. Names, units and settings of the network have to be the same.

        Returns
        -------
        FourDVarNet
            This one, fitted.

        Raises
        ------
        VariableError, DimensionError, CoordinateError, GridError, UnitsError
            If the data do not fit together.
        OptionError
            If a keyword has an impossible value, or no window has observations.
        ConfigError
            If ``run_dir`` holds a run with other settings.
        """
        if background is None and self._config["background"] not in _settings.BACKGROUNDS:
            background = self._config["background"]
        data = _fit.Data(train, obs, mask, target, predictors, domain, background, lag, validation, static)
        options = RunOptions.among(locals())
        start = None if initial is None else as_model(initial)
        self._model = _fit.train(self.name, self.config, self._parts, self._module, start, data, options)
        return self


def _for_equation(prior: torch.nn.Module, settings: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Choose, for an equation of the caller's, the steps that one of ours has: others run away."""
    from xatmo.nn.assimilation.priors import SPDEPrior

    if not isinstance(prior, SPDEPrior):
        return settings
    return {"gradient_scale": "prior", "step_size": 1.0, **(settings or {})}


_USUAL = {"prior": "bilinear", "solver": "unet", "operator": "identity"}


def _module(name: str, given: object) -> torch.nn.Module:
    import torch

    if isinstance(given, torch.nn.Module):
        return given
    message = f"{name}={given!r}; wanted a name or a torch.nn.Module"
    raise OptionError(message)
