"""Forecasts with latent variables: shapes, draws, what may be seen, and where posterior and prior meet."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from xatmo.errors import DimensionError, OptionError
from xatmo.nn.video import PackedVideo, VideoConfig, VideoInput, VideoNetwork, pack
from xatmo.nn.video.architectures.savp import generator
from xatmo.nn.video.longer import LongerVideo

SMALL: dict[str, dict[str, Any]] = {
    "savp": {"channels": 4, "posterior_widths": [4, 4, 8], "n_latent": 3},
    "vae": {"widths": [6, 8, 8], "n_blocks": 1, "n_latent": 3},
}
BOTH = pytest.mark.parametrize("name", ["savp", "vae"])


def network(name: str, *, full: bool = False, n_future: int = 3, **settings: Any) -> VideoNetwork:
    torch.manual_seed(0)
    beside: dict[str, Any] = {"n_known": 1, "n_static": 1, "cycle": True, "baseline": "diurnal"} if full else {}
    config = VideoConfig(
        name, n_state=2, n_context=3, n_future=n_future, settings={**SMALL[name], **settings},
        **({"baseline": "persistence"} | beside),
    )  # fmt: skip
    made = VideoNetwork(config)
    with torch.no_grad():  # cores start at the baseline; here they should tell something
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return made


def given(rows: int = 13, columns: int = 17, *, batch: int = 2, full: bool = False, n_future: int = 3) -> VideoInput:
    generator = torch.Generator().manual_seed(1)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(batch, *shape, rows, columns, generator=generator)

    beside = (randn(2, 3 + n_future), randn(1, 3 + n_future), randn(1)) if full else ()
    return VideoInput(randn(2, 3), *beside)


# ---------------------------------------------------------------------- shapes
@BOTH
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("size", [(13, 17), (8, 9), (33, 20)])
def test_fields_of_any_size(name: str, full: bool, size: tuple[int, int]) -> None:
    made, x = network(name, full=full), given(*size, full=full)
    truth = torch.randn(2, 2, 3, *size)
    assert made(x).shape == made.mean(x).shape == (2, 1, 3, *size)
    found = made.branches(x, truth, n_prior=2)
    n, frames = (2, 5) if name == "savp" else (1, 3)
    assert found.posterior.shape == (2, n, frames, *size)
    assert found.prior.shape == (2, 2, n, frames, *size)
    assert found.kl.shape[0] == 2
    assert found.kl.shape[2] == 3
    assert bool((found.kl >= 0).all())


@pytest.mark.parametrize(
    "settings",
    [
        {"transform": "dna"}, {"transform": "flow"}, {"prior": "learned"}, {"kernels": "dense", "grid": [13, 17]},
        {"scratch": "sigmoid"}, {"reference": False}, {"context_frames": False},
        {"encoder": [[4, 1]], "decoder": [[4, 0]]}, {"grid": [64, 64]}, {"change": True}, {"coarsen": 3},
        {"kernels": "dense", "grid": [13, 17], "coarsen": 2}, {"preset": "small"},
    ],
)  # fmt: skip
def test_options_of_the_generator_train(settings: dict[str, Any]) -> None:
    made = network("savp", full=True, **settings)
    x = given(full=True)
    found = made.branches(x, torch.randn(2, 2, 3, 13, 17))
    assert found.posterior.shape[2] == (3 if settings in ({"context_frames": False}, {"preset": "small"}) else 5)
    (found.posterior.square().mean() + found.prior.square().mean() + found.kl.mean()).backward()
    without = [n for n, p in made.named_parameters() if p.grad is None or not bool(p.grad.isfinite().all())]
    assert without == []
    assert made(x).shape == (2, 1, 3, 13, 17)


def test_levels_follow_the_grid() -> None:
    for smallest, n in ((16, 2), (32, 2), (63, 2), (64, 3), (128, 4), (256, 5)):
        encoder, decoder = generator.default_levels(32, smallest)
        assert len(encoder) == len(decoder) == n
    assert generator.default_levels(32, 64) == (
        ((32, True), (64, True), (128, True)), ((64, True), (32, True), (32, False))
    )  # fmt: skip
    published = VideoNetwork(VideoConfig("savp", settings={"kernels": "dense", "grid": [92, 56]})).inner
    assert published is not None
    assert sum(p.numel() for p in published.generator.transform.parameters()) == 2_060_900


def test_candidates_are_weighed_by_masks_that_sum_to_one() -> None:
    """Where all candidates are one constant field, so is the next frame."""
    torch.manual_seed(0)
    step = generator.Generator(1, 0, 2, encoder=[[4, 1]], decoder=[[4, 0]])
    with torch.no_grad():
        for parameter in step.scratch.parameters():
            parameter.zero_()
        step.scratch[-1].bias.fill_(2.5)
    same = torch.full((1, 1, 8, 8), 2.5)
    out, _ = step(same, same, [], same, torch.randn(1, 2))
    torch.testing.assert_close(out, same)


def test_a_change_warms_where_moved_frames_cannot() -> None:
    torch.manual_seed(0)
    step = generator.Generator(1, 0, 2, encoder=[[4, 1]], decoder=[[4, 0]], change=True)
    assert step.change is not None
    with torch.no_grad():
        for parameter in step.change.parameters():
            parameter.zero_()
        step.change.last.bias.fill_(0.5)
        step.masks.weight.zero_()
        step.masks.bias.copy_(torch.tensor([50.0 * (name == "changed") for name in step.names]))
    frame = torch.randn(1, 1, 8, 8)
    out, _ = step(frame, frame, [], frame, torch.randn(1, 2))
    torch.testing.assert_close(out, frame + 0.5)


def test_a_coarse_generator_leaves_the_detail_to_the_simple_forecast() -> None:
    """Its correction has one value in blocks of cells at most; an untrained one keeps means and detail of the last."""
    coarse, x = network("savp", coarsen=2), given(14, 18)
    detail = torch.randn(2, 2, 1, 14, 18)
    detail = (
        detail - functional.avg_pool2d(detail[:, :, 0], 2).repeat_interleave(2, 2).repeat_interleave(2, 3)[:, :, None]
    )
    assert coarse.inner is not None
    with torch.no_grad():
        zeros = torch.zeros(2, 2, 3, 14, 18)
        numbers = torch.randn(2, coarse.inner.n_latent)
        one = coarse.inner(x._replace(latent=numbers), zeros)
        other = coarse.inner(x._replace(latent=numbers), zeros + detail)
        torch.testing.assert_close(other - one, detail.expand(-1, -1, 3, -1, -1), rtol=1e-4, atol=1e-5)
        truth = torch.randn(2, 2, 3, 14, 18)
        torch.manual_seed(0)
        plain = coarse.inner.branches(x, zeros, truth)
        torch.manual_seed(0)
        found = coarse.inner.branches(x, zeros + detail, truth)
    added = (found.prior[0] - plain.prior[0])[:, :, -3:]
    torch.testing.assert_close(added, detail.expand(-1, -1, 3, -1, -1), rtol=1e-4, atol=1e-5)


def test_the_published_shape_is_the_default() -> None:
    default, small = (VideoNetwork(VideoConfig("savp", settings=s)).inner for s in ({}, {"preset": "small"}))
    assert default is not None
    assert small is not None
    assert default.coarsen == 1
    assert default.generator.change is None
    assert default.generator.down[0].norm.norm.norm.num_channels == 32
    assert default.context_frames
    assert sum(p.numel() for p in small.parameters()) < 0.1 * sum(p.numel() for p in default.parameters())
    given = VideoNetwork(VideoConfig("savp", settings={"preset": "small", "coarsen": 1, "context_frames": True})).inner
    assert given is not None
    assert (given.coarsen, given.context_frames) == (1, True)


# ---------------------------------------------------------------------- draws
@BOTH
def test_members_differ_and_the_answer_without_draws_does_not(name: str) -> None:
    made, x = network(name).eval(), given()
    assert made.stochastic
    with torch.no_grad():
        torch.manual_seed(1)
        first, second = made(x), made(x)
        torch.manual_seed(1)
        again = made(x)
        means = made.mean(x), made.mean(x)
    assert torch.equal(first, again)
    assert float((first - second).abs().max()) > 1e-4
    assert torch.equal(*means)


@pytest.mark.parametrize(("name", "settings"), [("savp", {}), ("vae", {}), ("vae", {"latent": "vector"})])
def test_given_numbers_replace_the_draws(name: str, settings: dict[str, Any]) -> None:
    made = PackedVideo(network(name, **settings)).eval()
    x = pack(given())
    assert (made.n_latent > 0) != (made.n_noise > 0)
    drawn = [
        {"latent": torch.randn(2, made.n_latent)} if made.n_latent else {"noise": torch.randn(2, made.n_noise, 13, 17)}
        for _ in range(2)
    ]
    with torch.no_grad():
        assert torch.equal(made(x, **drawn[0]), made(x, **drawn[0]))
        assert float((made(x, **drawn[0]) - made(x, **drawn[1])).abs().max()) > 1e-4
        nothing = {k: torch.zeros_like(v) for k, v in drawn[0].items()}
        if name == "vae":
            torch.testing.assert_close(made(x, **nothing), made.mean(x))


@pytest.mark.parametrize("latent", ["map", "vector"])
def test_departures_are_linear_in_the_latent_variables(latent: str) -> None:
    made, x = network("vae", latent=latent).eval(), given()
    draws = [x._replace(latent=torch.randn(2, 3), noise=torch.randn(2, 3, 13, 17)) for _ in range(2)]
    both = x._replace(latent=2 * draws[0].latent - draws[1].latent, noise=2 * draws[0].noise - draws[1].noise)
    with torch.no_grad():
        core = made.mean(x)
        wanted = core + 2 * (made(draws[0]) - core) - (made(draws[1]) - core)
        torch.testing.assert_close(made(both), wanted, rtol=1e-4, atol=1e-5)


def test_noise_of_blocks_is_standard_normal() -> None:
    from xatmo.nn.video.architectures.vae import block_sums

    torch.manual_seed(0)
    coarse = block_sums(torch.randn(4000, 1, 5, 7), 4)
    assert coarse.shape[-2:] == (2, 2)
    torch.testing.assert_close(coarse.var(0), torch.ones(1, 2, 2), rtol=0.1, atol=0)
    flat = coarse.flatten(1).T
    torch.testing.assert_close(torch.corrcoef(flat), torch.eye(4), rtol=0, atol=0.06)


def test_longer_forecasts_take_more_numbers_and_begin_as_the_shorter_do() -> None:
    made, x = network("savp").eval(), given(n_future=3)
    longer = LongerVideo(made, 6).eval()
    assert (made.n_latent, longer.n_latent) == (3 * 5, 3 * 8)
    latent = torch.randn(2, longer.n_latent)
    with torch.no_grad():
        short = PackedVideo(made)(pack(x), latent=latent[:, : made.n_latent]).unflatten(1, (1, 3))
        long = longer(pack(x), latent=latent).unflatten(1, (1, 6))
    torch.testing.assert_close(long[:, :, :3], short)


def test_too_few_numbers_are_refused() -> None:
    with pytest.raises(DimensionError, match="4 latent numbers came for 5 steps; wanted 15"):
        network("savp")(given()._replace(latent=torch.zeros(2, 4)))
    with pytest.raises(DimensionError, match="4 latent numbers came; wanted 3"):
        network("vae", latent="vector")(given()._replace(latent=torch.zeros(2, 4)))


# ---------------------------------------------------------------------- two branches
@BOTH
@pytest.mark.parametrize("prior", ["standard", "learned"])
def test_the_prior_branch_does_not_see_the_future(name: str, prior: str) -> None:
    made, x = network(name, **({"prior": prior} if name == "savp" else {})), given()
    found = []
    for seed in (2, 3):
        truth = torch.randn(2, 2, 3, 13, 17, generator=torch.Generator().manual_seed(seed))
        torch.manual_seed(0)
        with torch.no_grad():
            found.append(made.branches(x, truth))
    assert torch.equal(found[0].prior, found[1].prior)
    assert not torch.allclose(found[0].posterior[:, :, -1], found[1].posterior[:, :, -1])


def test_both_branches_have_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """A posterior that is the prior, and no noise: the two roll-outs are one, and the divergence is zero."""
    made, x = network("savp"), given()
    inner = made.inner
    with torch.no_grad():
        inner.posterior.dense.weight.zero_()
        inner.posterior.dense.bias.zero_()
    monkeypatch.setattr(torch, "randn", torch.zeros)
    found = made.branches(x, torch.ones(2, 2, 3, 13, 17), n_prior=2)
    assert torch.equal(found.kl, torch.zeros_like(found.kl))
    for one in found.prior:
        torch.testing.assert_close(one, found.posterior)
    torch.testing.assert_close(made.mean(x), found.posterior[:, :1, -3:])


def test_scheduled_sampling_reads_the_truth() -> None:
    made, x = network("savp"), given()
    truth = torch.randn(2, 2, 3, 13, 17)
    other = truth.clone()
    other[:, :, 0] += 1
    with torch.no_grad():
        never = [made.state(x, truth=t, truth_probability=0.0, mean=True) for t in (truth, other)]
        always = [made.state(x, truth=t, truth_probability=1.0, mean=True) for t in (truth, other)]
    assert torch.equal(*never)
    assert torch.equal(always[0][:, :, 0], always[1][:, :, 0])
    assert not torch.allclose(always[0][:, :, 1], always[1][:, :, 1])


def test_a_forecast_begins_near_persistence() -> None:
    for name in ("savp", "vae"):
        torch.manual_seed(0)
        made = VideoNetwork(VideoConfig(name, n_context=3, n_future=3, settings=SMALL[name], baseline="persistence"))
        smooth = torch.nn.functional.avg_pool2d(torch.randn(4, 3, 16, 20), 5, 1, 2)[:, None]
        with torch.no_grad():
            made.eval()
            error = made.mean(VideoInput(smooth)) - smooth[:, :, -1:]
        assert float(error.square().mean()) < 0.3 * float(smooth.square().mean()), name


# ---------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("name", "settings", "text"),
    [
        ("savp", {"kernels": "dense"}, r"kernels='dense' with grid=None; wanted 'pooled', or 'dense' with grid="),
        ("savp", {"prior": "uniform"}, "prior='uniform'; wanted one of"),
        ("savp", {"scratch": "tanh"}, "scratch='tanh'; wanted one of"),
        ("savp", {"posterior_norm": "layer"}, "posterior_norm='layer'; wanted 'instance' or None"),
        ("savp", {"encoder": [[4, 1]], "decoder": [[4, 1], [4, 0]]}, "encoder of 1 levels and a decoder of 2"),
        ("savp", {"preset": "large"}, r"preset='large'; wanted one of \['published', 'small'\]"),
        ("savp", {"coarsen": 0}, "coarsen=0; wanted a whole number of at least 1"),
        ("savp", {"width": 4}, "do not fit it"),
        ("vae", {"latent": "step"}, r"latent='step'; wanted one of \['map', 'vector'\]"),
        ("vae", {"widths": [8]}, r"widths=\(8,\); wanted those of two levels"),
    ],
)  # fmt: skip
def test_settings_are_refused(name: str, settings: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        network(name, **settings)


def test_networks_without_latent_variables_have_no_branches() -> None:
    made = VideoNetwork(VideoConfig("persistence", n_context=3, n_future=3))
    with pytest.raises(OptionError, match="'persistence' has no latent variables to train"):
        made.branches(VideoInput(torch.zeros(1, 1, 3, 4, 4)), torch.zeros(1, 1, 3, 4, 4))
