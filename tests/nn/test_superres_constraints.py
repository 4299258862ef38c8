"""Hard constraints as a layer: exact means, gradients, physical units, any network, saved and loaded."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from xatmo import regrid
from xatmo.errors import DimensionError, OptionError
from xatmo.grids import Grid
from xatmo.model import BUILDERS, Channel, Model
from xatmo.nn.diffusion import DiffusionConfig, ResidualDiffusion
from xatmo.nn.superres import SuperResolution, SuperResolutionConfig
from xatmo.nn.superres.constraints import KINDS, Constrained, common_channels, constrain_blocks, unconstrained
from xatmo.nn.superres.srgan import SRGAN, SRGANConfig
from xatmo.normalize import Normalizer, backward, forward
from xatmo.regrid import _shares
from xatmo.regrid.constrain import _cells


def means(fine: torch.Tensor, factor: int, *, shared: bool = False) -> torch.Tensor:
    """Over blocks; with shared rows half of the first and half of the next block's first, where there is one."""
    strips = fine.unflatten(-1, (-1, factor)).mean(dim=-1).unflatten(-2, (-1, factor))
    if not shared:
        return strips.mean(dim=-2)
    weight = torch.ones(factor, 1, dtype=fine.dtype)
    weight[0] = 0.5
    total, area = (strips * weight).sum(dim=-2), torch.full((strips.shape[-3], 1), factor - 0.5, dtype=fine.dtype)
    total[..., :-1, :] += strips[..., 1:, 0, :] / 2
    area[:-1] += 0.5
    return total / area


def fields(factor: int, seed: int = 0, *lead: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(*(lead or (2,)), 5, 6, generator=generator, dtype=torch.float64) * 3
    coarse[..., 1, 2] = 0
    fine = torch.randn(*(lead or (2,)), 5 * factor, 6 * factor, generator=generator, dtype=torch.float64) + 1
    fine[..., factor : 2 * factor, :factor] = -1  # nothing to scale
    return fine, coarse


# ---------------------------------------------------------------------- the arithmetic
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_means_are_exact_and_signs_kept(kind: str, factor: int, shared: bool) -> None:
    fine, coarse = fields(factor, 0, 2, 3)
    made = constrain_blocks(fine, coarse, kind, shared=shared)
    torch.testing.assert_close(means(made, factor, shared=shared), coarse, rtol=1e-12, atol=1e-12)
    if kind != "additive":
        assert float(made.min()) >= 0
        turned = constrain_blocks(-fine, -coarse, kind, shared=shared)
        torch.testing.assert_close(turned, -made)


@pytest.mark.parametrize("kind", KINDS)
def test_the_layer_is_the_labelled_function_where_cells_have_these_weights(kind: str) -> None:
    factor, grid = 4, Grid.regular(20, 24, poles=False)
    fine, coarse = fields(factor)
    rows = torch.from_numpy(grid.areas[:, 0].copy())
    made = constrain_blocks(fine, coarse, kind, rows=rows)
    exact = _shares.constrain(fine.numpy(), coarse.numpy(), _cells(regrid.coarsening(grid, factor), True), kind)
    np.testing.assert_allclose(made.numpy(), exact, rtol=1e-9, atol=1e-12)
    # Without weights of rows, the rest is small where the cosine changes little within a cell.
    near = constrain_blocks(fine, coarse, "additive") - constrain_blocks(fine, coarse, "additive", rows=rows)
    assert 0 < float(near[:, 8:12].abs().max()) < 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_shared_rows_far_from_the_poles_are_those_of_the_labelled_function(kind: str) -> None:
    factor, grid = 2, Grid.regular(721, 12)
    generator = np.random.default_rng(0)
    fine, coarse = generator.gamma(0.5, size=grid.shape), 0.5 + generator.gamma(0.5, size=(360, 6))
    exact = _shares.constrain(fine, coarse, _cells(regrid.coarsening(grid, factor), True), kind)
    made = constrain_blocks(torch.from_numpy(fine[:720]), torch.from_numpy(coarse), kind, shared=True).numpy()
    middle = slice(340, 380)
    np.testing.assert_allclose(made[middle], exact[middle], rtol=0.01, atol=0.01)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients(kind: str, shared: bool) -> None:
    fine, coarse = fields(2)
    fine = fine[:1, :6, :4].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda y: constrain_blocks(y, coarse[:1, :3, :2], kind, shared=shared), (fine,))


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_stay_finite(kind: str, shared: bool) -> None:
    for scale in (0.0, 1e-35, 1e-10, 1e3):
        fine = (torch.randn(1, 8, 8) * 30).requires_grad_()
        coarse = torch.rand(1, 2, 2) * scale
        made = constrain_blocks(fine, coarse, kind, shared=shared)
        made.square().sum().backward()
        assert torch.isfinite(made).all()
        assert fine.grad is not None
        assert torch.isfinite(fine.grad).all()


# ---------------------------------------------------------------------- units
@pytest.mark.parametrize("method", ["standard", "log1p"])
@pytest.mark.parametrize("kind", KINDS)
def test_means_hold_in_physical_units(kind: str, method: str) -> None:
    numbers: dict[str, tuple[float, ...]] = {"standard": (3.0, 2.0), "log1p": (0.5, 0.1, 0.7, 1.3)}
    inputs = [(9.0, 9.0), numbers[method]]
    outputs = [numbers[method], (1.0, 1.0), (4.0, 2.0)]
    net = Constrained(Shuffled(), kind, channels=[1, -1, 1], inputs=inputs, outputs=outputs)
    physical = np.random.default_rng(0).gamma(1.0, size=(2, 5, 6))
    x = torch.randn(2, 2, 5, 6)
    x[:, 1] = torch.from_numpy(forward(physical, *numbers[method]))
    made = net(x).detach().double().numpy()
    for c in (0, 2):
        back = means(torch.from_numpy(backward(made[:, c], *outputs[c])), 2).numpy()
        np.testing.assert_allclose(back, physical, rtol=2e-5, atol=1e-5)
        if kind != "additive":
            assert backward(made[:, c], *outputs[c]).min() > -1e-5
    np.testing.assert_array_equal(net(x)[:, 1].detach(), net.network(x)[:, 1].detach())


class Shuffled(nn.Module):
    """Two channels to three, twice as fine."""

    factor = 2

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(nn.Conv2d(2, 12, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.layers(x)
        return made


def test_the_logarithm_has_its_derivative_at_nothing() -> None:
    net = Constrained(
        nn.Identity(), "additive", inputs=[(0.0, 1.0, 0.0, 1.0)], outputs=[(0.0, 1.0, 0.0, 1.0)], factor=2
    )
    fine = torch.zeros(1, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    made = net.constrain(fine, torch.zeros(1, 1, 1, 1, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(made[0, 0, 0, 0], fine)
    torch.testing.assert_close(gradient[0, 0].flatten(), torch.tensor([0.75, -0.25, -0.25, -0.25]).double())


# ---------------------------------------------------------------------- networks
def ours(**settings: Any) -> SuperResolution:
    return SuperResolution(SuperResolutionConfig(2, **{"channels": 4, "n_blocks": 1, **settings}))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: ours(backbone="plain"),
    "residual": lambda: ours(n_static=1),
    "dense": lambda: ours(backbone="dense", upsampling="deconvolution"),
    "convnext": lambda: ours(backbone="convnext", upsampling="resize"),
    "unet": lambda: ours(backbone="unet", upsampling="interpolation", n_blocks=2),
    "time window": lambda: ours(time_window=3, n_static=1),
    "dl4ds": lambda: SuperResolution(SuperResolutionConfig.dl4ds(2, channels=4, n_blocks=1)),
    "noise": lambda: ours(n_noise=2),
    "Monte Carlo dropout": lambda: ours(dropout=0.2, mc_dropout=True),
    "srgan": lambda: SRGAN(SRGANConfig((2,), channels=4, n_blocks=1)),
    "diffusion": lambda: ResidualDiffusion(
        DiffusionConfig(
            SuperResolutionConfig(2, channels=4, n_blocks=1), channels=4, n_blocks=0, n_coarse_blocks=0, n_steps=2
        )
    ),
}


def awake(net: nn.Module) -> nn.Module:
    """Weights with which last layers say something."""
    torch.manual_seed(0)
    for p in net.parameters():
        nn.init.normal_(p, std=0.2)
    return net


def given(net: nn.Module) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(2)
    frames = (3,) if getattr(net.config, "time_window", None) else ()
    x = torch.rand(2, 1, *frames, 6, 8, generator=generator)
    return (x, torch.randn(1, 1, 12, 16, generator=generator)) if net.n_static else (x,)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_learns_under_every_constraint(name: str, kind: str) -> None:
    net = awake(NETWORKS[name]())
    tied = Constrained(net, kind)
    args = given(net)
    made = tied(*args)
    torch.testing.assert_close(means(made, 2), args[0], rtol=1e-4, atol=1e-5)
    if kind != "additive":
        assert float(made.detach().min()) >= 0
    if made.requires_grad:  # what a diffusion model draws is not differentiated
        made.square().sum().backward()
        sizes = [float(p.grad.abs().max()) for p in net.parameters() if p.grad is not None]
        assert max(sizes) > 0
        assert np.isfinite(sizes).all()
    for attribute in ("factor", "n_static", "n_noise", "stochastic", "config", "local"):
        assert hasattr(tied, attribute) == hasattr(net, attribute)
        assert getattr(tied, attribute, None) == getattr(net, attribute, None)
    assert tied.halo == net.halo
    assert hasattr(tied, "mean") == hasattr(net, "mean")
    if hasattr(tied, "mean"):
        torch.testing.assert_close(means(tied.mean(*args), 2), args[0], rtol=1e-4, atol=1e-5)
    assert unconstrained(tied) is net


def test_the_same_noise_gives_the_same_draw() -> None:
    tied = Constrained(awake(NETWORKS["diffusion"]()).eval(), "additive")
    (x,), noise = given(tied.network), torch.randn(2, 1, 12, 16)
    with torch.no_grad():
        torch.testing.assert_close(tied(x, noise=noise), tied(x, noise=noise))
        assert float((tied(x, noise=noise) - tied(x, noise=-noise)).abs().max()) > 1e-3


def test_half_precision_does_not_reach_the_means() -> None:
    tied = Constrained(awake(ours()), "additive")
    x = torch.rand(2, 1, 6, 8)
    with torch.autocast("cpu", torch.bfloat16):
        made = tied(x)
    assert made.dtype == torch.float32
    torch.testing.assert_close(means(made, 2), x, rtol=1e-5, atol=1e-6)


def test_rows_that_start_on_the_pole_and_their_weights() -> None:
    tied = Constrained(awake(ours(row_offset=-0.5)), "softmax", row_offset=-0.5)
    assert tied.halo == tied.network.halo + 2
    x = torch.rand(2, 1, 6, 8)
    torch.testing.assert_close(means(tied(x), 2, shared=True), x, rtol=1e-4, atol=1e-5)
    weights = torch.linspace(0.2, 1, 12).expand(2, 12)
    flat = Constrained(tied.network, "additive")(x, rows=weights)
    mean = (flat.unflatten(-1, (8, 2)).mean(-1) * weights[:, None, :, None]).unflatten(-2, (6, 2)).sum(-2)
    area = weights.unflatten(-1, (6, 2)).sum(-1)[:, None, :, None]
    torch.testing.assert_close(mean / area, x, rtol=1e-5, atol=1e-6)
    window = awake(NETWORKS["time window"]())
    args = given(window)
    assert Constrained(window, "additive")(*args, rows=weights).shape == (2, 1, 3, 12, 16)


# ---------------------------------------------------------------------- saved and loaded
@pytest.mark.parametrize("name", ["residual", "srgan", "diffusion"])
def test_saved_and_loaded(name: str, tmp_path: Any) -> None:
    net = awake(NETWORKS[name]()).eval()
    tied = Constrained(net, "softmax", inputs=[(3.0, 2.0)], outputs=[(3.0, 2.0)])
    described = {**net.config.to_dict(), "constraint": tied.settings()}
    assert BUILDERS[described["kind"]] is not None
    assert json.loads(json.dumps(described)) == described
    channels = (Channel("tp", "mm"),)
    Model(tied, {"network": described, "constraint": "softmax"}, channels, channels, factor=2).save(tmp_path / "m")
    back = Model.load(tmp_path / "m").network
    assert isinstance(back, Constrained)
    assert back.settings() == tied.settings()
    args = given(net)
    more = {"noise": torch.randn(2, 1, 12, 16)} if name == "diffusion" else {}
    with torch.no_grad():
        torch.testing.assert_close(back(*args, **more), tied(*args, **more))
    assert pickle.loads(pickle.dumps(tied)).kind == "softmax"


def test_a_module_of_the_callers_is_tied_again(tmp_path: Any) -> None:
    tied = Constrained(nn.Upsample(scale_factor=2), "additive", factor=2)
    config = {"network": {"kind": "module", "constraint": tied.settings()}}
    Model(tied, config, (Channel("t"),), (Channel("t"),), factor=2).save(tmp_path / "m")
    for module in (nn.Upsample(scale_factor=2), tied):
        assert isinstance(Model.load(tmp_path / "m", module=module).network, Constrained)


def test_a_task_ties_channels_of_one_name_in_their_units() -> None:
    from xatmo.tasks.superres._constraint import wrap

    inputs = (Channel("z"), Channel("t2m", "degC"))
    outputs = (Channel("t2m", "K"), Channel("u10", "m s-1", {"standard_name": "eastward_wind"}))
    statistics = Normalizer.from_statistics(mean={"z": 0.0, "t2m": 15.0}, std={"z": 1.0, "t2m": 10.0})
    fine = Normalizer.from_statistics(mean={"t2m": 288.15, "u10": 0.0}, std={"t2m": 5.0, "u10": 1.0})
    net, config = wrap(
        Shuffled(), {"kind": "module"}, "additive", inputs, outputs, statistics, fine, factor=2, row_offset=-0.5
    )
    assert isinstance(net, Constrained)
    assert net.channels == (1, -1)
    assert config["constraint"]["inputs"] == [[0.0, 1.0], [288.15, 10.0]]
    assert config["constraint"]["row_offset"] == -0.5
    same, config = wrap(net, {"kind": "module"}, None, inputs, outputs, None, None, factor=2)
    assert same is net
    assert config == {"kind": "module"}
    wind = (outputs[1],)
    with pytest.raises(OptionError, match="'u10' \\(eastward_wind\\) is a component of a vector; take 'additive'"):
        wrap(Shuffled(), {}, "softmax", wind, wind, None, None, factor=2)
    import xarray as xr

    levels = xr.DataArray([1.0, 2.0], dims="level", name="q")
    by_level = Normalizer.from_statistics(mean={"q": levels}, std={"q": levels})
    with pytest.raises(OptionError, match="statistics of 'q' are by level; a constraint needs one number"):
        wrap(Shuffled(), {}, "softmax", (Channel("q"),), (Channel("q"),), by_level, by_level, factor=2)


# ---------------------------------------------------------------------- refused
def test_refused() -> None:
    net = nn.Upsample(scale_factor=2)
    for match, kind, options in [
        ("constraint='sum'; possible are \\['additive'", "sum", {"factor": 2}),
        ("row_offset=0.25; wanted 0, or -0.5", "additive", {"factor": 2, "row_offset": 0.25}),
        ("factor=None; a constraint needs at least 2", "additive", {}),
        ("channels=\\[-1\\]; wanted an input", "additive", {"factor": 2, "channels": [-1]}),
        ("inputs=\\[\\(0.0,\\)\\]; wanted for each of 1", "additive", {"factor": 2, "inputs": [(0.0,)]}),
        ("outputs=\\[\\]; wanted for each of 1", "additive", {"factor": 2, "outputs": []}),
    ]:
        with pytest.raises(OptionError, match=match):
            Constrained(net, kind, **options)  # type: ignore[arg-type]
    with pytest.raises(DimensionError, match="made \\(1, 1, 4, 6\\) of \\(1, 1, 2, 3\\); wanted \\(1, 1, 6, 9\\)"):
        Constrained(net, "additive", factor=3)(torch.zeros(1, 1, 2, 3))
    with pytest.raises(OptionError, match="the outputs \\['b'\\] have none among the inputs \\['a'\\]"):
        common_channels(["a"], ["b"])
    with pytest.raises(AttributeError, match="nothing_there"):
        _ = Constrained(net, "additive", factor=2).nothing_there
