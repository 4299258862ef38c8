"""SuperResolver beyond its defaults: other networks, adversarial and diffusion training, members, starts, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from whole_way import JUDGE, QUICK, TINY, regional, whole_way

import xatmo
from xatmo.errors import DimensionError, OptionError
from xatmo.nn.superres.srgan import SRGAN
from xatmo.tasks import SuperResolver, Task
from xatmo.train import Adversarial

SRGAN_JUDGE: dict[str, Any] = {"kind": "srgan", "widths": [2, 2], "strides": [2, 2], "dense": 2}
KINDS: list[dict[str, Any]] = [
    {"backbone": "convnext", "upsampling": "resize", "norm": "layer", "separable": True},
    {"backbone": "unet", "upsampling": "interpolation", "norm": "batch", "attention": True},
    {"backbone": "srgan", "network_settings": {"variant": "phire"}, "time_window": 2},
    {"backbone": "srgan", "adversarial": True, "discriminator": SRGAN_JUDGE, "static": True},
    {"localised": True, "output_activation": "tanh", "static": True},
    {"compat": "dl4ds", "backbone": "dense", "adversarial": True, "discriminator": {**JUDGE, "compat": "dl4ds"}},
    {"compat": "dl4ds", "time_window": 2, "upsampling": "deconvolution", "static": True},
    {"dropout": 0.2, "dropout_kind": "gaussian", "mc_dropout": True, "activation": "elu", "baseline": None},
    {"adversarial": True, "noise": 2, "time_window": 2, "discriminator": JUDGE, "covariates": ["hour", "latitude"]},
    {"loss": "0.5 ms_dssim + mae", "time_window": 2, "constraint": "additive"},
    {"network_settings": {"fine_channels": 2}, "dropout": 0.1, "dropout_kind": "spatial"},
]  # fmt: skip


def weights(task: Task) -> dict[str, torch.Tensor]:
    return task.model.network.state_dict()


def same(a: Task, b: Task) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a).values(), weights(b).values(), strict=True))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, next(iter(kind.items())))))
def test_other_kinds_go_the_whole_way(kind: dict[str, Any], tmp_path: Path) -> None:
    settings = dict(kind)
    static = settings.pop("static", False)
    fit = {"patch_size": None} if settings.get("localised") else {}
    task = whole_way(SuperResolver(2, **TINY, **settings), 2, tmp_path, static=static, **fit)
    for name, value in settings.items():
        assert task.config[name] == value
    fine, _ = regional(2)
    if task.model.network.stochastic:
        coarse = fine.atmo.coarsen(2)
        drawn = coarse.atmo.superresolve(task, members=2)
        assert drawn.sizes["member"] == 2
        xr.testing.assert_equal(drawn, coarse.atmo.superresolve(task, members=2))
        assert float(abs(drawn.diff("member")).max()) > 0


def test_defaults_follow_what_the_network_is_named_after() -> None:
    def config(**settings: Any) -> dict[str, Any]:
        return SuperResolver(4, **settings).config

    ours = config()
    assert (ours["channels"], ours["n_blocks"], ours["baseline"], ours["activation"]) == (48, 4, "bicubic", "gelu")
    assert (ours["optimizer"], ours["learning_rate"], ours["schedule"]) == ("adamw", 1e-3, "one-cycle")
    theirs = config(compat="dl4ds", channels=32)
    assert (theirs["channels"], theirs["n_blocks"], theirs["baseline"], theirs["activation"]) == (32, 6, None, "relu")
    assert theirs["optimizer_settings"] == {"drops": [100000.0], "drop_factor": 0.1}
    assert config(compat="dl4ds", time_window=3)["n_blocks"] == 4
    assert config(compat="dl4ds", time_window=3, upsampling="interpolation")["n_blocks"] == 6
    gan = config(backbone="srgan", adversarial=True)
    assert (gan["channels"], gan["n_blocks"], gan["gate"], gan["learning_rate"]) == (64, 16, [0.46, 0.6], [1e-4, 1e-4])
    assert gan["discriminator"] == {"kind": "srgan"}
    assert config(backbone="srgan", network_settings={"variant": "phire"})["activation"] == "relu"
    assert config(adversarial=True, gate=(0.1, 0.2), pretrain=30)["pretrain"] == 30
    assert config(backbone="srgan", adversarial=True, gate=False)["gate"] is False
    assert config(adversarial=True, optimizer_settings={"warmup": 0.2})["optimizer_settings"] == {
        "betas": [0.5, 0.99], "warmup": 0.2,
    }  # fmt: skip
    assert config(diffusion=True)["loss"] == "mse"
    assert config(learning_rate=2e-4, adversarial=True)["learning_rate"] == [2e-4, 2e-4]
    for settings in (gan, theirs, config(diffusion=True), config(adversarial=True, learning_rate=(1e-3, 1e-4))):
        assert SuperResolver(**settings).config == settings


def test_factors_of_an_srgan(tmp_path: Path) -> None:
    assert SuperResolver(6, backbone="srgan").config["network_settings"] is None
    task = SuperResolver(6, backbone="srgan", **TINY).fit(regional(6)[0], **QUICK)
    assert isinstance(task.model.network, SRGAN)
    assert task.model.network.config.factors == (2, 3)
    with pytest.raises(OptionError, match=r"factors=\[2, 5\], which multiply to 10; wanted 4"):
        SuperResolver(4, backbone="srgan", network_settings={"factors": (2, 5)})
    with pytest.raises(OptionError, match=r"variant='edsr'; possible are \['atmodist', 'phire'\]"):
        SuperResolver(4, backbone="srgan", network_settings={"variant": "edsr"})


# ---------------------------------------------------------------------- adversarial training
GAN: dict[str, Any] = {**TINY, "adversarial": True, "discriminator": JUDGE}


def test_the_history_of_adversarial_training() -> None:
    fine, _ = regional(2)
    task = SuperResolver(2, **GAN, gate=(0.3, 0.4), criterion="hinge").fit(
        fine, **{**QUICK, "max_steps": 4}, validation=fine
    )
    history = task.history.set_index("step")
    names = ("content", "adversarial", "discriminator", "discriminator_accuracy", "gradient_penalty", "true_positive",
             "extra_generator", "discriminator_learning_rate")  # fmt: skip
    assert set(names) <= set(history)
    assert history["adversarial"].isna().tolist() == [True, True, False, False]
    assert history["content"].notna().all()
    assert task.model.config["training"]["pretrain_steps"] == 2
    assert task.model.config["scores"]["validation_loss"] > 0
    assert "gate=[0.3, 0.4]" in repr(task)


@pytest.mark.parametrize("at", [1, 3])
def test_adversarial_training_goes_on_from_either_phase(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fine, _ = regional(2)
    fit, step = {**QUICK, "max_steps": 4}, Adversarial.training_step
    whole = SuperResolver(2, **GAN, noise=1).fit(fine, **fit)

    def interrupted(self: Adversarial, batch: Any, batch_idx: int) -> Any:
        if self.global_step == at:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Adversarial, "training_step", interrupted)
    task = SuperResolver(2, **GAN, noise=1)
    with pytest.raises(KeyboardInterrupt):
        task.fit(fine, **fit, run_dir=tmp_path)
    monkeypatch.undo()
    assert same(task.fit(fine, **fit, run_dir=tmp_path), whole)
    assert task.history["step"].tolist() == [1, 2, 3, 4]


def test_a_generator_starts_from_a_fitted_one(tmp_path: Path) -> None:
    fine, _ = regional(2)
    first = SuperResolver(2, **TINY, loss="mse").fit(fine, **QUICK)
    first.save(tmp_path / "first")
    more = fine.isel(time=[0, 1])
    second = SuperResolver(2, **GAN, pretrain=0, learning_rate=(1e-9, 1e-3), average=0)
    second.fit(more, **QUICK, initial=tmp_path / "first")
    for x, y in zip(weights(first).values(), weights(second).values(), strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=1e-7)
    assert second.model.normalizer.scaling("t2m") == first.model.normalizer.scaling("t2m")  # type: ignore[union-attr]
    assert second.model.config["training"]["initial"] == first.model.fingerprint
    drawn = SuperResolver(2, **TINY, diffusion=True, pretrain=0, diffusion_settings={"channels": 2, "n_steps": 2})
    drawn.fit(fine, **QUICK, initial=first)
    for name, x in drawn.model.network.mean_network.state_dict().items():  # type: ignore[operator, union-attr]
        assert torch.equal(x, weights(first)[name])
    with pytest.raises(
        OptionError, match=r"do not fit: \d+ of \d+ differ, the first .* Give the task the network sett"
    ):
        SuperResolver(2, channels=4, n_blocks=1).fit(fine, **QUICK, initial=first)
    with pytest.raises(OptionError, match=r"initial reads \[\('t2m', 'K'\)\]; the data here have \[\('u', 'K'\)\]"):
        SuperResolver(2, **TINY).fit(fine.rename("u"), **QUICK, initial=first)
    bare = SuperResolver.from_module(first.model.network, factor=2, inputs=[first.model.inputs[0]])
    with pytest.raises(OptionError, match="initial has no normalizer"):
        SuperResolver(2, **TINY).fit(fine, **QUICK, initial=bare)


@pytest.mark.slow
def test_adversarial_training_brings_back_the_smallest_resolved_scales() -> None:
    """With what is chosen where nothing is said, beside the same generator trained on squared errors."""
    from xatmo.datasets import barotropic

    flow = barotropic(42, days=20, output_every="12h", spin_up=10, seed=1, variables=("vo",))["vo"]
    train, test = (flow.isel(latitude=slice(8, 56), time=times) for times in (slice(0, 30), slice(33, None)))
    coarse = test.atmo.coarsen(4)  # 32 cells around the globe

    def power(field: xr.DataArray) -> float:
        rows = field.transpose("time", "latitude", "longitude").values
        return float((abs(np.fft.rfft(rows, axis=-1)[..., 11:16]) ** 2).mean())

    fit = {"patch_size": 8, "batch_size": 4, "max_steps": 200, "precision": "32-true"}
    ratios, errors = [], []
    for adversarial in (False, True):
        task = SuperResolver(4, channels=16, n_blocks=1, loss="mse", adversarial=adversarial)
        made = coarse.atmo.superresolve(task.fit(train, **{**QUICK, **fit}))
        ratios.append(power(made) / power(test))
        errors.append(float(np.sqrt(((made - test) ** 2).mean())))
    print(f"power over truth {ratios}, error {errors}")
    assert ratios[0] < 0.85
    assert 1 / 1.2 < ratios[1] < 1.2
    assert errors[0] < errors[1] < 1.2 * errors[0]


class Generator(torch.nn.Module):
    """A module of a caller's, that takes static fields."""

    def __init__(self, n_in: int = 2, n_static: int = 1) -> None:
        super().__init__()
        self.n_static = n_static
        self.mix = torch.nn.Conv3d(n_in + n_static, 1, 3, padding=1)

    def forward(self, x: torch.Tensor, static: torch.Tensor | None = None) -> torch.Tensor:
        fine = torch.nn.functional.interpolate(x, scale_factor=(1, 2, 2))
        if static is not None:
            fine = torch.cat([fine, static.unsqueeze(2).expand(-1, -1, x.shape[2], -1, -1)], dim=1)
        made: torch.Tensor = self.mix(fine)
        return made


def test_a_module_of_ones_own_trains_adversarially_on_time_windows(tmp_path: Path) -> None:
    fine, land = regional(2)
    task = SuperResolver.from_module(Generator(), factor=2, adversarial=True, time_window=2, discriminator=JUDGE)
    task.fit(fine, static=land, **QUICK)
    assert task.history["adversarial"].notna().any()
    task.save(tmp_path / "m")
    coarse = fine.atmo.coarsen(2)
    again = xatmo.load(tmp_path / "m", module=Generator())
    xr.testing.assert_identical(coarse.atmo.superresolve(again), coarse.atmo.superresolve(task))
    with pytest.raises(OptionError, match=r"the module takes 2 static fields, and 1 came on the fine grid; pass them"):
        SuperResolver.from_module(Generator(2, 2), factor=2, time_window=2).fit(fine, static=land, **QUICK)
    with pytest.raises(OptionError, match=r"cannot read 1 channels \['t2m'\] on 3 x 4 cells"):
        SuperResolver.from_module(Generator(1, 0), factor=2).fit(fine, **QUICK)


# ---------------------------------------------------------------------- members and constraints
def test_diffusion_gives_members(tmp_path: Path) -> None:
    settings = {"channels": 2, "n_coarse_blocks": 0, "n_steps": 2, "noise_std": 1.0}
    task = whole_way(SuperResolver(2, **TINY, diffusion=True, diffusion_settings=settings), 2, tmp_path)
    coarse = regional(2)[0].atmo.coarsen(2)
    drawn = coarse.atmo.superresolve(task, members=2)
    assert float(drawn.std("member").mean()) > 0
    assert task.config["average"] == 0.999
    with pytest.raises(OptionError, match="colour"):
        SuperResolver(2, diffusion=True, diffusion_settings={"colour": 3})


@pytest.mark.parametrize("kind", ["additive", "multiplicative", "softmax"])
def test_constrained_fields_have_the_means_of_the_input(kind: str, tmp_path: Path) -> None:
    task = whole_way(SuperResolver(3, **GAN, constraint=kind, noise=1), 3, tmp_path)
    coarse = regional(3)[0].atmo.coarsen(3)
    for made in (coarse.atmo.superresolve(task), coarse.atmo.superresolve(task, members=2)):
        assert float(abs(made.atmo.coarsen(3) - coarse).max()) < 1e-5 * float(coarse.max() - coarse.min())
    assert task.fit(regional(3)[0], **QUICK).is_fitted


# ---------------------------------------------------------------------- data
def test_every_frame_of_a_window_is_used(tmp_path: Path) -> None:
    fine, _ = regional(2, n_time=5)
    gap = fine.isel(time=[0, 1, 3, 4])
    task = SuperResolver(2, **TINY, time_window=2).fit(gap, **QUICK)
    assert task.model.patch_size == {"time": 2, "lat": 3, "lon": 4}
    assert fine.atmo.coarsen(2).atmo.superresolve(task).sizes == fine.sizes
    with pytest.raises(OptionError, match=r"time_window=3 came; the longest stretch of regular steps has 2 frames"):
        SuperResolver(2, **TINY, time_window=3).fit(gap, **QUICK)
    with pytest.raises(DimensionError, match="a time window needs fields along time"):
        SuperResolver(2, **TINY, time_window=2).fit(fine.isel(time=0, drop=True), **QUICK)


def test_covariates_are_made_again_where_the_model_is_used() -> None:
    fine, _ = regional(2)
    task = SuperResolver(2, **TINY, covariates="hour").fit(fine, **QUICK)
    assert [c.name for c in task.model.inputs] == ["t2m", "hour_sin", "hour_cos"]
    assert task.model.config["covariates"] == ["hour"]
    coarse = fine.atmo.coarsen(2)
    out = coarse.atmo.superresolve(task)
    later = coarse.assign_coords(time=coarse["time"] + np.timedelta64(3, "h")).atmo.superresolve(task)
    assert float(abs(out.values - later.values).max()) > 0


@pytest.mark.parametrize(("schedule", "more"), [("step", {"drops": [2]}), ("plateau", {"plateau_patience": 1})])
def test_schedules(schedule: str, more: dict[str, Any]) -> None:
    settings = {"optimizer_settings": {**more, "drop_factor": 0.5}, "learning_rate": 0.01, "optimizer": "sgd"}
    task = SuperResolver(2, **TINY, schedule=schedule, **settings).fit(regional(2)[0], **{**QUICK, "max_steps": 4})
    if schedule == "step":
        assert task.history["learning_rate"].tolist() == [0.01, 0.01, 0.005, 0.005]
    with pytest.raises(OptionError, match=r"optimizer_settings has \['colour'\]; possible are"):
        SuperResolver(2, optimizer_settings={"colour": 1})


def test_a_learned_loss_on_time_windows_is_that_of_their_frames(tmp_path: Path) -> None:
    from xatmo.tasks import AtmoDist
    from xatmo.tasks.superres import _content

    fine, _ = regional(2, n_time=8)
    fit: dict[str, Any] = {"max_steps": 1, "patch_size": 8, "accelerator": "cpu", "progress": False}
    AtmoDist(2, encoder="tiny", head_channels=4).fit(fine, **fit).save(tmp_path / "ad")
    loss = f"mae + 0.5 atmodist:{tmp_path / 'ad'}"
    size = {"lat": 4, "lon": 4}
    task = SuperResolver(2, **TINY, loss=loss, time_window=2).fit(fine, **{**QUICK, "patch_size": size})
    (learned,) = (name for name in task.history if name.startswith("atmodist"))
    np.testing.assert_allclose(task.history["loss"], task.history["mae"] + 0.5 * task.history[learned], rtol=1e-4)
    content = _content.bind(loss, task.model.outputs, task.model.normalizer)
    windows = torch.randn(2, 2, 1, 3, 8, 8)
    frames = windows.transpose(2, 3).flatten(1, 2)
    torch.testing.assert_close(content(windows[0], windows[1], None), content(frames[0], frames[1], None))


def test_the_command_line_trains_adversarially(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from xatmo.cli import main

    regional(2)[0].to_netcdf(tmp_path / "fine.nc")
    (tmp_path / "run.yaml").write_text(
        f"data: {{input: {tmp_path / 'fine.nc'}}}\n"
        "task: {factor: 2, channels: 2, n_blocks: 1, adversarial: true, learning_rate: [1e-3, 1e-4], pretrain: 1,\n"
        "       discriminator: {kind: conditional, channels: 2, n_blocks: 1}, time_window: 2, noise: 1}\n"
        "training: {max_steps: 2, patch_size: {lat: 3, lon: 4}, accelerator: cpu, batch_size: 1, progress: false}\n"
        f"output: {tmp_path / 'made'}\n"
    )
    for _ in range(2):  # the second time it finds a finished run
        with pytest.raises(SystemExit) as stopped:
            main(["train", "SuperResolver", str(tmp_path / "run.yaml")])
        assert not stopped.value.code, capsys.readouterr().err
    task = xatmo.load(tmp_path / "made")
    assert task.config["learning_rate"] == [1e-3, 1e-4]
    assert task.history["adversarial"].isna().tolist() == [True, False]


# ---------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"adversarial": True, "diffusion": True}, "adversarial=True and diffusion=True came; wanted one of them"),
        ({"adversarial": 1}, r"adversarial=1 is not available; possible are \[False, True\]"),
        ({"gate": (0.1, 0.2)}, r"gate=\[0.1, 0.2\] is read by adversarial training only; pass adversarial=True, too"),
        ({"average": 0.9}, "average=0.9 needs adversarial=True or diffusion=True, which have a second phase"),
        ({"diffusion_settings": {}}, "came without diffusion=True; pass both"),
        ({"adversarial": True, "pretrain": 1.0}, "pretrain=1.0; wanted a part of the steps, 0 to below 1, or a whole"),
        ({"adversarial": True, "gate": (0.6, 0.1)}, r"gate=\(0.6, 0.1\); wanted two losses in rising order"),
        (
            {"adversarial": True, "gate": True},
            r"gate=True; wanted two losses in rising order, such as \(0.46, 0.6\), or",
        ),
        ({"adversarial": True, "criterion": "chess"}, "criterion='chess'; possible are"),
        ({"adversarial": True, "discriminator": "patch"}, r"discriminator='patch' is not available; possible are \['c"),
        (
            {"adversarial": True, "discriminator": {"kind": "srgan", "factor": 2}},
            r"discriminator has \['factor'\]; sett",
        ),
        ({"learning_rate": (1e-3, 1e-4)}, "wanted one number: a pair is for two phases or networks"),
        ({"backbone": "srgan", "upsampling": "resize"}, "upsampling='resize' with backbone='srgan', which has none"),
        ({"backbone": "srgan", "diffusion": True}, "diffusion=True with backbone='srgan'"),
        ({"network_settings": {"variant": "phire"}}, r"network_settings has \['variant'\]; possible are \['fine_chann"),
        ({"network_settings": "phire"}, "network_settings='phire'; wanted a mapping"),
        ({"covariates": ["moon"]}, "covariate 'moon' came; wanted some of"),
        ({"noise": -1}, "noise=-1; wanted a whole number of at least 0"),
        ({"backbone": "convnext", "time_window": 2}, "backbone='convnext' sees one frame, and time_window is 2"),
        ({"backbone": "unet"}, "pass upsampling='interpolation'"),
        ({"compat": "keras"}, r"compat='keras' is not available; possible are \[None, 'dl4ds'\]"),
    ],
)
def test_what_does_not_go_together_is_said_at_once(change: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        SuperResolver(2, **change)


def test_localised_networks_are_trained_on_the_whole_grid() -> None:
    fine, _ = regional(2)
    with pytest.raises(OptionError, match="with localised=True, which has weights for every cell of the whole grid"):
        SuperResolver(2, **TINY, localised=True).fit(fine, **QUICK)
    with pytest.raises(OptionError, match="augmentation='mirror' with localised=True, whose weights belong to places"):
        SuperResolver(2, **TINY, localised=True, augmentation="mirror").fit(fine, **{**QUICK, "patch_size": None})
