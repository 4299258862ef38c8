"""SuperResolver: fine fields from coarse ones, learned."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from xatmo.errors import OptionError
from xatmo.tasks._own_module import refuse_of_network, require_module
from xatmo.tasks._run import RunOptions
from xatmo.tasks.base import Task, as_model
from xatmo.tasks.superres import _superres_fit, _superres_settings
from xatmo.typing import XarrayObject

if TYPE_CHECKING:
    import torch

    from xatmo.model import Channel, Model
    from xatmo.normalize import Normalizer


class SuperResolver(Task):
    """Learn to refine coarse fields by a whole factor.

    The network corrects an interpolated field: a backbone works on the coarse grid, and one upsampling brings its
    result to the fine grid (`xatmo.nn.superres`). It is fully convolutional: any number of variables, any size, any
    rectangle. What is None below is chosen: see Notes.

    Parameters
    ----------
    factor : int
        Fine cells per coarse cell, along latitude and along longitude; at least 2.
    backbone : {"residual", "plain", "dense", "convnext", "unet", "srgan"}
        What works on the coarse grid. ``"unet"`` works on the fine one, with ``upsampling="interpolation"``;
        ``"srgan"`` is the generator of PhIRE and AtmoDist (`xatmo.nn.superres.srgan`).
    upsampling : {"subpixel", "resize", "deconvolution", "interpolation"}
        What leads to the fine grid; with ``"interpolation"`` the inputs are interpolated first, and the backbone works
        on the fine grid.
    adversarial : bool
        Whether a second network, the discriminator, judges the first: see `xatmo.train.Adversarial`.
    diffusion : bool
        Whether a diffusion model draws what the network, which then is the mean, leaves: see `xatmo.nn.diffusion`.
    time_window : int, optional
        Number of time steps that the network sees at once, at least 2, for ``"plain"``, ``"residual"``, ``"dense"``
        (recurrent ones then) and ``"srgan"``. Every step is answered from those before it in the window.
    loss : str or mapping, optional
        ``"mae"``, ``"mse"``, ``"gradient"``, ``"dssim"``, ``"ms_dssim"``, ``"spectral_power"``,
        ``"spectral_coherence"``, ``"spectral_weighted"``, ``"spectral_adjusted"``; several joined with ``+``, with
        factors (``"0.8 dssim + 0.2 mae"``), or a mapping from these to weights. ``"atmodist:PATH"`` is the distance in
        the features of a saved `AtmoDist`, of its last layer unless another is named (``"atmodist:PATH@stage3"``).
        Spectral and learned losses need patches without missing cells: see `xatmo.nn.spectral_losses`.
    loss_weights : {None, "area"}
        How cells count in the loss: all alike, or by their area on the sphere, as in scores.
    constraint : {None, "additive", "multiplicative", "softmax"}
        What ties the area-weighted mean over a coarse cell to the input, in physical units, always: by a shift, by a
        factor (for what is not negative), or by shares. None: nothing.
    channels, n_blocks : int, optional
        Width and depth of the backbone; None: 48 and 4, or those of the network that is named.
    baseline : {"auto", "bicubic", "bilinear", None}
        The interpolation that the network corrects; None: it makes the field itself.
    norm : {None, "batch", "layer"}
        Normalization of feature maps.
    activation : str, optional
        Between layers: a key of `xatmo.nn.blocks.ACTIVATIONS`, such as ``"relu"``, ``"gelu"``, ``"leaky_relu"``; None:
        ``"gelu"``, or that of the network that is named.
    output_activation : str, optional
        Of the outputs, in normalized units.
    dropout : float
        Rate of dropout in training.
    dropout_kind : {"vanilla", "gaussian", "spatial"}
        What is dropped: values, multiplied values, or whole feature maps.
    mc_dropout : bool
        Whether dropout goes on in use: then ``members=`` draws from the network, and without it dropout is off.
    separable : bool
        Whether convolutions between feature maps are depthwise-separable.
    attention : bool
        Whether blocks weight their channels by what is around.
    localised : bool
        Whether every fine cell has weights of its own: for one grid, trained on it as a whole.
    noise : int
        Fields of noise that the network reads beside its inputs, for members of adversarial training: ``members=``.
    compat : {None, "dl4ds"}
        Build networks with the layers, sizes and training of DL4DS where its numbers have to be reproduced.
    network_settings : mapping, optional
        ``fine_channels`` of our networks. Of ``"srgan"``: ``variant`` ("atmodist" or "phire"), ``factors`` (one for
        each stage, such as [2, 5]; the prime factors), ``kernel``, ``padding``.
    covariates : sequence of str, optional
        What follows from time and place, read as further channels: ``"day_of_year"``, ``"season"``, ``"hour"``,
        ``"latitude"`` ...: see `xatmo.covariates.add_covariates`.
    discriminator : str or mapping, optional
        ``"conditional"``, which sees the coarse field too, or ``"srgan"``; or a mapping with ``kind`` and settings of
        `xatmo.nn.superres.discriminators`: ``{"kind": "conditional", "channels": 16, "spectral_norm": True}``.
    pretrain : float or int, optional
        What comes before the adversarial (or diffusion) phase, with the loss alone: below 1 a part of the steps,
        otherwise a number of them. With ``max_time`` it has the same part of that, if it is over first.
    adversarial_weight : float, optional
        Of the adversarial loss, beside the other.
    criterion : {None, "cross_entropy", "hinge", "relativistic"}
        What generator and discriminator play for.
    gate : (float, float) or False, optional
        With a discriminator's loss below the first number the generator has one update more, above the second the
        discriminator: `xatmo.train.GATE`. False: no such updates.
    penalty : float, optional
        Of the discriminator's gradient at real fields.
    average : float, optional
        Decay of the running mean of the weights in the second phase, such as 0.999; it is what is kept. 0: no mean.
    keep : {None, "last", "best"}
        Which weights of adversarial training to keep, where there is validation.
    diffusion_settings : mapping, optional
        Of `xatmo.nn.diffusion.DiffusionConfig` and `xatmo.train.diffusion.Diffusion`.
    normalization : {"standard", "minmax", "robust", "log1p"}
        See `xatmo.Normalizer.fit`.
    augmentation : {"auto", "none", "mirror", "symmetries"}
        Symmetries drawn at random while training: east-west mirror, or all flips and transposes of a patch. They fit
        scalars. ``"auto"``: ``"symmetries"``; ``"mirror"`` on grids with rows on the poles, where blocks of rows are
        not the same from either side; ``"none"`` where a variable is a component of a vector, or a vorticity.
    optimizer : {None, "adamw", "adam", "sgd"}
        What updates the weights.
    learning_rate : float or (float, float), optional
        Highest learning rate; where there are two networks or phases, of both, or of each.
    weight_decay : float
        Of ``adamw`` and ``sgd``.
    schedule : {None, "one-cycle", "cosine", "constant", "step", "plateau"}
        Course of the learning rate, in each phase.
    optimizer_settings : mapping, optional
        ``betas``, ``momentum``, ``warmup``, ``drops``, ``drop_factor``, ``plateau_patience``, ``plateau_delta``,
        ``lowest_rate``: see `xatmo.train.OptimizerSettings`.
    scale_learning_rate : bool
        Whether to multiply the learning rate by the number of devices.

    Notes
    -----
    What is chosen where nothing is said:

    ======================  ==================  ==============================  =========================
    setting                 otherwise           ``backbone="srgan"``            ``compat="dl4ds"``
    ======================  ==================  ==============================  =========================
    ``channels``            48                  64                              8
    ``n_blocks``            4                   16                              6; recurrent 4
    ``baseline``            "bicubic"           None                            None
    ``activation``          "gelu"              "leaky_relu"; "phire" "relu"    "relu"
    ``loss``                "mae"               "mae"                           "mae"
    ``optimizer``           "adamw"             "adamw"                         "adam"
    ``learning_rate``       1e-3                1e-3                            1e-3
    ``schedule``            "one-cycle"         "one-cycle"                     "step", at 1e5 steps to 1e-4
    ======================  ==================  ==============================  =========================

    with ``diffusion=True`` the loss is "mse", ``pretrain`` 0.5 and ``average`` 0.999; and with ``adversarial=True``,
    Adam in all three:

    ======================  ==================  ==============================  =========================
    ``learning_rate``       1e-3, both          1e-4, both                      2e-4, both
    ``schedule``            "one-cycle"         "constant"                      "constant"
    ``betas``               (0.5, 0.99)         (0.9, 0.999)                    (0.5, 0.999)
    ``pretrain``            0.5                 0.25                            0
    ``adversarial_weight``  0.03                0.001                           0.01
    ``criterion``           "relativistic"      "cross_entropy"                 "cross_entropy"
    ``gate``                False               (0.46, 0.6)                     False
    ``penalty``             0.1                 0                               0
    ``average``             0.99                0                               0
    ``discriminator``       conditional, small  srgan                           conditional, with its sigmoid
    ======================  ==================  ==============================  =========================

    Raises
    ------
    OptionError
        If a keyword has a value that is not available, or two do not go together; the message says what does.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xatmo
    >>> grid = xatmo.Grid.regular(36, 72, poles=False)
    >>> rng = np.random.default_rng(0)
    >>> fine = xr.DataArray(rng.standard_normal((2, 36, 72), dtype="float32"), name="t2m", attrs={"units": "K"},
    ...                     dims=("time", "latitude", "longitude"), coords=grid.coords())
    >>> task = SuperResolver(factor=2, channels=8, n_blocks=1)
    >>> task = task.fit(fine, max_steps=2, patch_size=8, accelerator="cpu", progress=False)
    >>> task.history["step"].tolist()
    [1, 2]
    >>> task.model.inputs[0].name, task.model.factor
    ('t2m', 2)
    """

    name: ClassVar[str] = "SuperResolver"

    def __init__(
        self,
        factor: int,
        *,
        backbone: str = "residual",
        upsampling: str = "subpixel",
        adversarial: bool = False,
        diffusion: bool = False,
        time_window: int | None = None,
        loss: str | Mapping[str, float] | None = None,
        loss_weights: str | None = None,
        constraint: str | None = None,
        channels: int | None = None,
        n_blocks: int | None = None,
        baseline: str | None = "auto",
        norm: str | None = None,
        activation: str | None = None,
        output_activation: str | None = None,
        dropout: float = 0.0,
        dropout_kind: str = "vanilla",
        mc_dropout: bool = False,
        separable: bool = False,
        attention: bool = False,
        localised: bool = False,
        noise: int = 0,
        compat: str | None = None,
        network_settings: Mapping[str, Any] | None = None,
        covariates: str | Sequence[str] | None = None,
        discriminator: str | Mapping[str, Any] | None = None,
        pretrain: float | None = None,
        adversarial_weight: float | None = None,
        criterion: str | None = None,
        gate: Sequence[float] | bool | None = None,
        penalty: float | None = None,
        average: float | None = None,
        keep: str | None = None,
        diffusion_settings: Mapping[str, Any] | None = None,
        normalization: str = "standard",
        augmentation: str = "auto",
        optimizer: str | None = None,
        learning_rate: float | Sequence[float] | None = None,
        weight_decay: float = 0.01,
        schedule: str | None = None,
        optimizer_settings: Mapping[str, Any] | None = None,
        scale_learning_rate: bool = False,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        super().__init__()
        self._config: dict[str, Any] = _superres_settings.resolve(given)

    @property
    def config(self) -> dict[str, Any]:
        """Settings with which the task was made."""
        return copy.deepcopy(self._config)

    def __repr__(self) -> str:
        shown = dict.fromkeys(("factor", "backbone", "upsampling"), None)
        shown |= {k: v for k, v in self._config.items() if k in shown or v not in (None, False, 0, [])}
        if self._module is not None:
            shown = {"module": type(self._module).__name__} | {
                k: v for k, v in shown.items() if k not in _superres_settings.NETWORK
            }
        settings = ", ".join(f"{k}={v if k == 'module' else repr(v)}" for k, v in shown.items())
        state = "not fitted" if self._model is None else f"fitted, {self._model.fingerprint}"
        return f"<{self.name} {settings} ({state})>"

    @property
    def factor(self) -> int:
        """Fine cells per coarse cell."""
        return int(self._config["factor"])

    # ------------------------------------------------------------------ other ways to make one
    @classmethod
    def from_module(  # type: ignore[override]
        cls,
        module: torch.nn.Module,
        *,
        factor: int,
        inputs: Sequence[str | Channel] | None = None,
        outputs: Sequence[str | Channel] | None = None,
        normalizer: Normalizer | None = None,
        patch_size: int | Mapping[str, int] | None = None,
        **settings: Any,
    ) -> Self:
        """Make the task around a network of the caller's: labels, tiling, training and saving are the same.

        Parameters
        ----------
        module : torch.nn.Module
            ``(batch, channel_in, lat, lon) -> (batch, channel_out, lat * factor, lon * factor)``, rows north to south;
            with ``time_window`` an axis of time stands before that of latitude. ``fit`` trains it, with the number of
            channels that the data have. One with an attribute ``n_static`` is called with that many static fields
            ``(batch, n_static, lat * factor, lon * factor)``, too.
        factor : int
        inputs, outputs : sequence of str or Channel, optional
            Names of the variables, if the module is trained already and shall be used as it is. ``outputs`` are the
            inputs unless given.
        normalizer : Normalizer, optional
            Of a trained module. None: it takes physical units.
        patch_size : int or mapping, optional
            Coarse cells of a patch, for a trained module.
        **settings
            Those of `SuperResolver` that concern training: ``loss``, ``adversarial``, ``time_window``, ``optimizer``,
            ``learning_rate`` ...

        Examples
        --------
        >>> import torch
        >>> net = torch.nn.Upsample(scale_factor=2)
        >>> SuperResolver.from_module(net, factor=2, inputs=["t2m"]).model.outputs[0].name
        't2m'
        """
        from xatmo.model import Channel, Model

        require_module(module)
        if settings.get("diffusion"):
            message = "diffusion=True draws around a network of ours; a module of your own trains without it"
            raise OptionError(message)
        refuse_of_network(settings, set(_superres_settings.NETWORK))
        task = cls(factor, **settings)
        task._module = module
        if inputs is not None:
            ins, outs = (
                tuple(Channel(c) if isinstance(c, str) else c for c in ([names] if isinstance(names, str) else names))
                for names in (inputs, inputs if outputs is None else outputs)
            )
            if patch_size is None or isinstance(patch_size, Mapping):
                size = dict(patch_size or {})
            else:
                size = dict.fromkeys(("lat", "lon"), patch_size)
            config = {"task": cls.name, "settings": task.config, "network": {"kind": "module"},
                      "normalized": normalizer is not None}  # fmt: skip
            if task.config["constraint"]:
                config["constraint"] = task.config["constraint"]
            task._model = Model(
                module,
                config,
                ins,
                outs,
                normalizer,
                normalizer,
                None,
                factor,
                {str(k): int(v) for k, v in size.items()},
            )
        return task

    @classmethod
    def of_model(cls, model: Model) -> Self:
        """Make the fitted task that belongs to a model."""
        task = super().of_model(model)
        if task._module is not None:
            from xatmo.nn.superres.constraints import unconstrained

            task._module = unconstrained(model.network)
        return task

    # ------------------------------------------------------------------ training
    def fit(  # type: ignore[override]
        self,
        train: XarrayObject,
        *,
        validation: XarrayObject | tuple[XarrayObject, XarrayObject] | None = None,
        target: XarrayObject | None = None,
        predictors: XarrayObject | None = None,
        static: XarrayObject | None = None,
        patch_size: int | Mapping[str, int] | None = None,
        batch_size: int = 16,
        epochs: int = 40,
        max_steps: int | None = None,
        max_time: str | None = None,
        patience: int | None = 10,
        valid: float | None = None,
        accumulate: int = 1,
        accelerator: str = "auto",
        devices: int = 1,
        precision: str | None = None,
        seed: int = 0,
        initial: Task | Model | str | Path | None = None,
        run_dir: str | Path | None = None,
        resume: bool = True,
        progress: bool = True,
    ) -> Self:
        """Train. This reads the data and computes: statistics first, then the coarse fields, then batch after batch.

        Parameters
        ----------
        train : Dataset or DataArray
            Fine fields; the coarse ones are made from them by `xatmo.regrid.coarsen`. With ``target``: the coarse
            fields. May be lazy, with latitude and longitude in one chunk; coarse fields up to 1 GiB are kept in memory.
            Patches are drawn chunk by chunk, so the chunks take part in deciding their order.
        validation : Dataset or DataArray, or a pair of them, optional
            Like ``train``; with ``target`` the pair (coarse, fine). The weights with the lowest validation loss are
            kept. Without it nothing is held out, and the last weights are kept.
        target : Dataset or DataArray, optional
            Fine fields that belong to ``train``, in steps ``factor`` times as fine. Coarse fields of another product go
            onto its blocks (`xatmo.regrid.onto_blocks`: do so before the model is used, too); times meet by date in any
            calendar, forecasts by valid time, each member with the same target; what has no partner is logged.
        predictors : Dataset or DataArray, optional
            More variables for the network to read, on the coarse or the fine grid (then coarsened), for the points and
            times of ``train`` (and of ``validation``).
        static : Dataset or DataArray, optional
            The same without time: orography, land-sea mask. They are saved with the model. On the fine grid they are
            given to the network as they are, too.
        patch_size : int or mapping, optional
            Training patch in coarse cells: a number, or ``{"lat": 24, "lon": 32}``. Default 24, or what there is; all
            there is for a localised network.
        batch_size : int
            Patches per step and device.
        epochs : int
            Times that the data are seen, as patches that overlap by half.
        max_steps : int, optional
            Optimiser steps; wins over ``epochs``.
        max_time : str, optional
            Budget, ``"HH:MM:SS"``. Training ends with it, the learning rate too; two phases share it as they share the
            steps.
        patience : int, optional
            Validations without improvement after which training stops; None never stops early.
        valid : float, optional
            Least fraction of numbers in a patch. Missing inputs then stand at their mean, missing targets do not count.
            None: a missing value is an error.
        accumulate : int
            Batches whose gradients are averaged for one optimiser step: a batch so many times as large, in the memory
            of one. Not of adversarial and diffusion models, whose networks are trained in turn.
        accelerator : {"auto", "cpu", "gpu", "cuda", "mps"}
            Where to train.
        devices : int
            Number of devices; more than one trains in as many processes, which a script has to start under
            ``if __name__ == "__main__":``.
        precision : {None, "32-true", "bf16-mixed", "16-mixed"}
            None: bfloat16 where the device is made for it, else float32.
        seed : int
            Decides weights at the start, order and augmentation.
        initial : SuperResolver, Model, str or Path, optional
            A fitted task, or the path of a saved one, whose weights the network starts with and whose normalizers it
            keeps: for instance one trained on the loss alone, before adversarial training. Variables, units and
            settings of the network have to be the same.
        run_dir : str or Path, optional
            Where checkpoints and history go, so that an interrupted run can go on.
        resume : bool
            Go on with the run in ``run_dir``. False: start anew.
        progress : bool
            Show a progress bar.

        Returns
        -------
        SuperResolver
            This one, fitted.

        Raises
        ------
        GridError, CoordinateError, DimensionError, VariableError
            If the data do not fit together.
        MissingValueError
            If a value is missing and ``valid`` is None.
        OptionError
            If a keyword has an impossible value.
        ConfigError
            If ``run_dir`` holds a run with other settings.
        """
        data = _superres_fit.Data(train, validation, target, predictors, static)
        options = RunOptions.among(locals())
        start = None if initial is None else as_model(initial)
        self._model = _superres_fit.train(self.name, self.config, self._module, start, data, options)
        return self
