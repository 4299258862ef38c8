"""VideoForecaster: the future of a record of fields from its past, learned."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from xatmo.tasks._own_module import refuse_of_network, require_module
from xatmo.tasks._run import RunOptions
from xatmo.tasks.base import Task, as_model
from xatmo.tasks.forecast import _data, _fit, _settings
from xatmo.typing import XarrayObject

if TYPE_CHECKING:
    import torch

    from xatmo.model import Model
    from xatmo.tasks.forecast._data import Names


class VideoForecaster(Task):
    r"""Learn to continue a record of fields: ``n_context`` frames of the past, ``n_future`` frames of the future.

    A network corrects a simple forecast of the departures from what is usual at the hour,

    .. math::
        \hat x_{t_0 + k} = c_{t_0 + k} + r_k(a) + f_k(a, \ldots), \qquad a_t = x_t - c_t, \quad t \le t_0,

    where :math:`c` is the cycle, learned on the training times, :math:`r` the simple forecast (``baseline``) and
    :math:`f` the architecture. The simple forecasts stand by themselves, too, under their names.

    Parameters
    ----------
    architecture : str
        ``"simvp"``, ``"convlstm"``, ``"stacked_convlstm"``, ``"savp"``, ``"vae"``: see `xatmo.nn.video.architectures`;
        or a forecast without a network: ``"persistence"`` (the last frame), ``"yesterday"`` (the same hour of the last
        day; its context is a day at least), ``"diurnal"`` (the last departure from the mean day), ``"climatology"``
        (the mean of month and hour).
    n_context, n_future : int
        Frames of the past that are read, and of the future.
    baseline : {"auto", None, "persistence", "yesterday", "diurnal", "climatology"}
        The simple forecast that a network corrects. ``"auto"``: ``"diurnal"`` for dates with several frames a day and
        at least three days, otherwise ``"persistence"``, and None where times are no dates. ``"diurnal"`` and
        ``"climatology"`` keep a cycle of the region of the training, and serve there.
    covariates : sequence of str
        What is known beforehand of each frame, past and future: ``"hour"``, ``"day_of_year"``, ``"latitude"``,
        ``"cos_zenith"`` ...: see `xatmo.covariates.add_covariates`.
    loss : str or mapping, optional
        Of the variables to forecast: see `xatmo.nn.losses.build`. Of networks with dropout that goes on in forecasts
        (``mc_dropout``) ``"crps"``, a score of members, unless given.
    auxiliary : float
        What each further variable counts in the loss of networks that forecast the whole state.
    scheduled_sampling : mapping, optional
        How probably recurrent networks read the truth of the future while they train:
        ``{"k": 900}`` or ``{"first": 1.0, "steps": 1000}``, see `xatmo.train.video.truth_probability`. None: never.
    normalization : {"standard", "minmax", "robust", "log1p"}
        See `xatmo.Normalizer.fit`; from the training data alone.
    augmentation : {"none", "mirror", "symmetries"}
        Symmetries drawn at random in training. Components of vectors are not turned with the fields.
    scale : "auto", (float, float) or None
        All departures from the cycle in a sample are multiplied by one random factor between these: strong and weak
        weather from a short record. ``"auto"``: ``(0.6, 1.6)`` where there is a cycle, otherwise None.
    network_settings : mapping, optional
        Of the architecture: widths, depths, ``dropout`` ...
    objective_settings : mapping, optional
        Of the objective that trains it: see `xatmo.train.video.Forecast`; of ``"savp"`` and ``"vae"``
        `xatmo.train.video_latent.LatentForecast`, and with ``"adversarial": True``, the default of ``"savp"``,
        `xatmo.train.video_adversarial.AdversarialForecast`.
    optimizer, learning_rate, weight_decay, schedule
        See `xatmo.train.OptimizerSettings`.
    optimizer_settings : mapping, optional
        Other fields of `xatmo.train.OptimizerSettings`.
    scale_learning_rate : bool
        Whether the learning rate is multiplied by the number of devices.

    Notes
    -----
    What is chosen where nothing is said:

    ==================  ==============  ==============  ======================
    setting             otherwise       ``"vae"``       ``"savp"``
    ==================  ==============  ==============  ======================
    ``loss``            "mse"           "mae"           "mae"
    ``optimizer``       "adamw"         "adamw"         "adam", 0.5 and 0.999
    ``learning_rate``   2e-3            2e-3            2e-4
    ``schedule``        "one-cycle"     "one-cycle"     "linear"
    ``members``         -               100             100
    ==================  ==============  ==============  ======================

    ``members``, the weight of the CRPS of members, is one of ``objective_settings``; 0: the published losses.

    Raises
    ------
    OptionError
        If a keyword has a value that is not available, or two do not go together.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xatmo
    >>> time = np.datetime64("2019-03-01", "ns") + np.arange(96) * np.timedelta64(1, "h")
    >>> wave = 280 + 5 * np.sin(2 * np.pi * np.arange(96) / 24)[:, None, None] + np.random.default_rng(0).random((8, 8))
    >>> ds = xr.Dataset({"t2m": (("time", "lat", "lon"), wave.astype("float32"), {"units": "K"})}, coords={
    ...     "time": time, "lat": 54 - 0.25 * np.arange(8), "lon": 0.25 * np.arange(8)})
    >>> task = VideoForecaster("convlstm", n_context=3, n_future=4, network_settings={"channels": 4})
    >>> task = task.fit(ds, max_steps=2, batch_size=4, accelerator="cpu", progress=False)
    >>> out = ds.atmo.forecast(task, init_time="2019-03-03T06")
    >>> out.t2m.dims, out.t2m.attrs["units"], out.valid_time.values[0, -1]
    (('init_time', 'lead_time', 'lat', 'lon'), 'K', np.datetime64('2019-03-03T10:00:00.000000000'))
    """

    name: ClassVar[str] = "VideoForecaster"

    def __init__(
        self,
        architecture: str = "simvp",
        n_context: int = 12,
        n_future: int = 12,
        *,
        baseline: str | None = "auto",
        covariates: str | Sequence[str] = (),
        loss: str | Mapping[str, float] | None = None,
        auxiliary: float = 0.0,
        scheduled_sampling: Mapping[str, float] | None = None,
        normalization: str = "standard",
        augmentation: str = "none",
        scale: str | Sequence[float] | None = "auto",
        network_settings: Mapping[str, Any] | None = None,
        objective_settings: Mapping[str, Any] | None = None,
        optimizer: str | None = None,
        learning_rate: float | Sequence[float] | None = None,
        weight_decay: float = 0.01,
        schedule: str | None = None,
        optimizer_settings: Mapping[str, Any] | None = None,
        scale_learning_rate: bool = False,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        if isinstance(covariates, str):
            given["covariates"] = [covariates]
        super().__init__()
        self._config: dict[str, Any] = _settings.resolve(given)

    @property
    def config(self) -> dict[str, Any]:
        """Settings with which the task was made."""
        return copy.deepcopy(self._config)

    def __repr__(self) -> str:
        shown = {k: v for k, v in self._config.items() if v not in (None, False, 0, [])}
        if self._module is not None:
            shown = {"module": type(self._module).__name__} | {
                k: v for k, v in shown.items() if k not in _settings.NETWORK
            }
        settings = ", ".join(f"{k}={v if k == 'module' else repr(v)}" for k, v in shown.items())
        state = "not fitted" if self._model is None else f"fitted, {self._model.fingerprint}"
        return f"<{self.name} {settings} ({state})>"

    # ------------------------------------------------------------------ other ways to make one
    @classmethod
    def from_module(cls, module: torch.nn.Module, **settings: Any) -> Self:
        """Make the task around a network of the caller's: labels, cycle, training, forecasts and saving are the same.

        Parameters
        ----------
        module : torch.nn.Module
            ``(batch, n_state, n_context, lat, lon) -> (batch, n_out, n_future, lat, lon)``, rows north to south,
            normalized departures from the cycle, without NaN; what it gives corrects the baseline. One with
            ``stochastic = True`` draws from torch's generator for ``members=``, and has a method ``mean`` for the
            answer without. Cells from which an output is reached: ``halo``; without it, from everywhere.
        **settings
            Those of `VideoForecaster` that concern training and data: ``n_context``, ``n_future``, ``baseline``,
            ``loss``, ``learning_rate`` ...

        Raises
        ------
        OptionError
            If it is no module, or a setting describes a network of ours.
        """
        require_module(module)
        refuse_of_network(settings, set(_settings.NETWORK))
        task = cls(**settings)
        task._module = module
        return task

    @classmethod
    def of_model(cls, model: Model) -> Self:
        """Make the fitted task that belongs to a model."""
        task = super().of_model(model)
        if model.config["network"].get("architecture") == "module":
            network: Any = model.network
            task._module = network.network.inner.module
        return task

    # ------------------------------------------------------------------ training
    def fit(  # type: ignore[override]
        self,
        train: XarrayObject,
        *,
        validation: XarrayObject | None = None,
        target: Names = None,
        predictors: Names = None,
        static: Names = None,
        patch_size: int | Mapping[str, int] | None = None,
        batch_size: int = 16,
        epochs: int = 5,
        max_steps: int | None = None,
        max_time: str | None = None,
        patience: int | None = 10,
        accumulate: int = 1,
        valid: float | None = None,
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
        """Train. This reads the data and computes: statistics and cycle first, then batch after batch.

        Forecasts without a network learn their cycle alone.

        Parameters
        ----------
        train : Dataset or DataArray
            Fields over time at even steps, in any chunks, in any order of dimensions, rows and longitudes; may be lazy,
            and have gaps of time, which windows do not cross. Without latitude and longitude the last two dimensions
            without time are rows and columns. Other dimensions are independent samples.
        validation : Dataset or DataArray, optional
            With the same variables, of other times. The weights of the lowest validation loss are kept. Without it
            nothing is held out, and the last weights are kept.
        target : name, names, DataArray or Dataset, optional
            Variables to forecast. Default: ``predictors``, and without them every variable; of a DataArray with fields
            as ``predictors`` beside it, that array.
        predictors : name, names, DataArray or Dataset, optional
            Variables whose past is read, besides the targets. Default: every variable with time and both horizontal
            dimensions.
        static : name, names, DataArray or Dataset, optional
            Fields of place alone, such as orography and land mask. The model keeps them, so that they need not be given
            at use on the same grid or a part of it.
        patch_size : int or mapping, optional
            Cells of a training window: a number, or ``{"lat": 64, "lon": 48}``. Default 128, or what there is.
        batch_size : int
            Windows per step and device.
        epochs : int
            Times that the data are seen, as windows that begin at every frame.
        valid : float, optional
            Least part of a window's points that hold numbers, from 0 to 1; missing ones do not count in the loss.
            None: a missing value is an error.
        max_steps, max_time, patience, accumulate, accelerator, devices, precision, seed, run_dir, resume, progress
            See `SuperResolver.fit`.
        memory : int
            Bytes of the data that are held at a time; what fits into half of it is read once.
        initial : VideoForecaster, Model, str or Path, optional
            A fitted task, or the path of a saved one, whose weights the network starts with and whose statistics and
            cycle it keeps. Names, units and settings of the network have to be the same.

        Returns
        -------
        VideoForecaster
            This one, fitted.

        Raises
        ------
        VariableError, DimensionError, CoordinateError, GridError, UnitsError
            If the data do not fit together, or times are uneven.
        OptionError
            If a keyword has an impossible value, or no stretch of time is long enough.
        MissingValueError
            If values are missing and ``valid`` is not given.
        ConfigError
            If ``run_dir`` holds a run with other settings.
        """
        data = _data.Data(train, validation, target, predictors, static)
        options = RunOptions.among(locals())
        start = None if initial is None else as_model(initial)
        self._model = _fit.train(self.name, self.config, self._module, start, data, options)
        return self
