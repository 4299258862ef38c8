"""SimVP: sizes, the published count, the gated attention, what it reads, and a pattern that moves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from xatmo.errors import DimensionError, OptionError
from xatmo.nn.blocks import GatedAttention, GatedBlock
from xatmo.nn.video import VideoConfig, VideoInput, VideoNetwork

WHOLE: dict[str, Any] = {
    "n_out": 1, "n_state": 2, "n_context": 4, "n_future": 3, "n_known": 2, "n_static": 1, "cycle": True,
    "baseline": "diurnal",
}  # fmt: skip
KINDS: list[dict[str, Any]] = [
    {}, {"joint": False}, {"n_levels": 0}, {"n_levels": 2, "norm": "batch"}, {"joint": False, "n_levels": 2, "wrap": 4},
    {"norm": None, "dropout": 0.1, "drop_path": 0.2},
]  # fmt: skip


def network(settings: dict[str, Any], *, awake: bool = True, **config: Any) -> VideoNetwork:
    torch.manual_seed(0)
    small = {"channels": 4, "hidden": 8, "n_blocks": 2, **settings}
    made = VideoNetwork(VideoConfig("simvp", settings=small, **(config or WHOLE)))
    if awake:
        with torch.no_grad():
            for p in made.parameters():
                p.add_(0.1 * torch.randn_like(p))
    return made


def given(lat: int = 7, lon: int = 9, batch: int = 2) -> VideoInput:
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(batch, *shape, lat, lon, generator=generator)

    return VideoInput(draw(2, 4), draw(2, 7), draw(2, 7), draw(1))


@pytest.mark.parametrize("settings", KINDS)
def test_any_size_and_every_weight_learns(settings: dict[str, Any]) -> None:
    net = network(settings)
    for lat, lon in ((7, 9), (8, 12), (5, 6)):
        assert net(given(lat, lon)).shape == (2, 1, 3, lat, lon)
    net(given(9, 10, batch=4)).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in net.parameters())
    silent = [n for n, p in net.named_parameters() if p.grad is not None and not float(p.grad.abs().sum())]
    assert not silent


@pytest.mark.parametrize("settings", KINDS)
def test_untrained_it_is_the_simple_forecast(settings: dict[str, Any]) -> None:
    simple = VideoNetwork(VideoConfig("diurnal", **{k: v for k, v in WHOLE.items() if k != "baseline"}))
    torch.testing.assert_close(network(settings, awake=False)(given()), simple(given()))


def test_a_shift_of_the_past_shifts_the_forecast() -> None:
    for settings in KINDS:
        net, x = network(settings).double().eval(), given()
        x = VideoInput(*(None if part is None else part.double() for part in x))
        shift = torch.tensor([3.0, -2.0], dtype=torch.float64).reshape(1, 2, 1, 1, 1)
        torch.testing.assert_close(net.state(x._replace(frames=x.frames + shift)), net.state(x) + shift[:, :1])


def test_published_count() -> None:
    settings = {"preset": "moving-mnist"}
    net = VideoNetwork(VideoConfig("simvp", n_context=10, n_future=10, settings=settings))
    assert round(sum(p.numel() for p in net.parameters()) / 1e6, 1) == 46.8


def test_all_that_is_known_counts_and_frames_are_in_their_places() -> None:
    for joint in (True, False):
        net, x = network({"joint": joint}).eval(), given()
        y = net(x)
        for name in ("frames", "cycle", "known", "static"):
            part = getattr(x, name)
            for k in range(part.shape[2]) if part.ndim == 5 else (None,):
                other = part.clone()
                (other if k is None else other[:, :, k]).add_(torch.randn(7, 9))
                assert not torch.equal(net(x._replace(**{name: other})), y), (name, k)


def test_gated_attention_is_its_equation() -> None:
    torch.manual_seed(0)
    block = GatedAttention(3, torch.nn.GELU()).double()
    x = torch.randn(1, 3, 30, 31, dtype=torch.float64)
    a = functional.gelu(
        torch.einsum("oc,bchw->bohw", block.first.weight[..., 0, 0], x) + block.first.bias[:, None, None]
    )
    for layer, reach, spread in ((block.near, 2, 1), (block.far, 3, 3)):
        padded = functional.pad(a, [reach * spread] * 4)
        a = sum(
            layer.weight[:, 0, i, j][:, None, None] * padded[..., i * spread :, j * spread :][..., :30, :31]
            for i in range(2 * reach + 1)
            for j in range(2 * reach + 1)
        ) + layer.bias[:, None, None]  # fmt: skip
    f, g = (torch.einsum("oc,bchw->bohw", block.split.weight[..., 0, 0], a) + block.split.bias[:, None, None]).chunk(
        2, 1
    )
    y = torch.einsum("oc,bchw->bohw", block.last.weight[..., 0, 0], f * g.sigmoid()) + block.last.bias[:, None, None]
    torch.testing.assert_close(block(x), x + y)


def test_block_reaches_its_halo() -> None:
    block = GatedBlock(2, 2, expansion=2)
    x = torch.randn(1, 2, 41, 41, requires_grad=True)
    block(x)[0, 0, 20, 20].backward()
    assert x.grad is not None
    rows = x.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    assert (int(rows.min()), int(rows.max())) == (20 - block.halo, 20 + block.halo)


def test_a_pattern_that_moves_is_learned() -> None:
    """A wave that travels to the right, of any phase: persistence is wrong, and a few steps are enough."""
    torch.manual_seed(0)
    settings = {"channels": 8, "hidden": 16, "n_blocks": 1}
    net = VideoNetwork(VideoConfig("simvp", n_context=3, n_future=2, baseline="persistence", settings=settings))
    t, x = torch.arange(5.0)[:, None, None], torch.arange(16.0)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(40):
        phase = 6.28 * torch.rand(8, 1, 1, 1, 1)
        frames = torch.sin(2 * torch.pi * (x - 2 * t) / 16 + phase).expand(8, 1, 5, 8, 16)
        made = net(VideoInput(frames[:, :, :3]))
        loss = (made - frames[:, :, 3:]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    simple = (frames[:, :, 2:3] - frames[:, :, 3:]).square().mean()
    assert float(loss.detach()) < 0.05 * float(simple)


def test_lengths_that_do_not_fit() -> None:
    net, x = network({}), given()
    assert net(x, n_future=2).shape[2] == 2
    with pytest.raises(DimensionError, match="3 frames of context and 3 of the future; this network was made for 4"):
        net(x._replace(frames=x.frames[:, :, :3]), n_future=3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "large"}, "preset='large'; wanted one of"),
        ({"hidden": 1.5}, "hidden=1.5; wanted a whole number of at least 1"),
        ({"drop_path": 1.0}, "dropout=1.0; wanted a number of at least 0 and below 1"),
    ],
)
def test_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        network(settings)


@pytest.mark.parametrize("joint", [True, False])
def test_members_differ_by_a_good_part_of_what_is_corrected(joint: bool) -> None:
    """Whole maps of features fall out before the last layers; what falls out inside the translator hardly shows."""
    net = network({"joint": joint, "dropout": 0.3, "mc_dropout": True, "norm": None, "channels": 32}).eval()
    quiet = network({"joint": joint, "norm": None, "channels": 32}).eval()
    with torch.no_grad():
        torch.nn.init.normal_(net.inner.head.weight, std=0.1)  # as a network that has learned something
        net.load_state_dict(net.state_dict())
        quiet.load_state_dict(net.state_dict())
        x = given(12, 14)
        members = torch.stack([net(x) for _ in range(24)])
        one = net.mean(x)
        torch.testing.assert_close(one, quiet(x))
        simple = VideoNetwork(VideoConfig("diurnal", **{k: v for k, v in WHOLE.items() if k != "baseline"}))(x)
        spread, size = members.std(0).square().mean().sqrt(), (one - simple).square().mean().sqrt()
        assert 0.1 < float(spread / size) < 2
        again = [m.square().mean().sqrt() for m in (members.mean(0) - one, members.std(0) / 24**0.5)]
        assert float(again[0] / size) < 0.5  # on average they are the single answer, about
        net.inner.dropout.rate = 0.0
        inside = torch.stack([net(x) for _ in range(8)]).std(0).square().mean().sqrt()
        assert float(inside) < float(spread) / 2


def test_maps_fall_out_for_all_leads_together() -> None:
    net = network({"joint": False, "dropout": 0.5, "mc_dropout": True}).eval()
    maps = torch.ones(2 * 3, 4, 5, 6)
    dropped = net.inner._dropped(maps).unflatten(0, (2, 3))
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert bool((dropped == dropped[:, :1, :, :1, :1]).all())
    many = torch.stack([net.inner._dropped(maps)[::3, :, 0, 0] for _ in range(200)])
    assert abs(float(many.mean()) - 1) < 0.1
    assert not torch.equal(many[:, 0], many[:, 1])  # samples of their own
