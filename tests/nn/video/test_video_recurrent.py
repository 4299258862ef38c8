"""Recurrent forecasts: the roll-out, AMBS's network, sizes, scheduled sampling, members."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from xatmo.errors import DimensionError, OptionError
from xatmo.nn.blocks import ConvLSTM, StridedLayer
from xatmo.nn.video import VideoConfig, VideoInput, VideoNetwork

WHOLE: dict[str, Any] = {
    "n_out": 1, "n_state": 2, "n_context": 4, "n_future": 3, "n_known": 2, "n_static": 1, "cycle": True,
    "baseline": "diurnal",
}  # fmt: skip
KINDS = [
    ("convlstm", {}), ("convlstm", {"n_layers": 2, "size": 3}), ("convlstm", {"factor": 4}), ("convlstm", {"wrap": 2}),
    ("stacked_convlstm", {}), ("stacked_convlstm", {"n_levels": 2, "forecaster": True, "n_layers": 3}),
    ("stacked_convlstm", {"n_levels": 0, "norm": None, "wrap": 3}),
]  # fmt: skip


def network(architecture: str, settings: dict[str, Any], *, whole: bool = True, awake: bool = True) -> VideoNetwork:
    """Make a small one; ``awake``: as if it had learned something."""
    torch.manual_seed(0)
    config = {"n_context": 4, "n_future": 3} if not whole else WHOLE
    made = VideoNetwork(VideoConfig(architecture, settings={"channels": 4, **settings}, **config))
    if awake:
        with torch.no_grad():
            for p in made.parameters():
                p.add_(0.1 * torch.randn_like(p))
    return made


def given(lat: int = 7, lon: int = 9, *, batch: int = 2, n_future: int = 3) -> VideoInput:
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(batch, *shape, lat, lon, generator=generator)

    return VideoInput(draw(2, 4), draw(2, 4 + n_future), draw(2, 4 + n_future), draw(1))


@pytest.mark.parametrize(("architecture", "settings"), KINDS)
def test_any_size_and_every_weight_learns(architecture: str, settings: dict[str, Any]) -> None:
    net = network(architecture, settings)
    for lat, lon in ((7, 9), (8, 12), (5, 6)):
        assert net.state(given(lat, lon)).shape == (2, 2, 3, lat, lon)
    net.state(given()).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in net.parameters())


@pytest.mark.parametrize(("architecture", "settings"), KINDS)
def test_untrained_it_is_the_simple_forecast(architecture: str, settings: dict[str, Any]) -> None:
    net, x = network(architecture, settings, awake=False), given()
    simple = VideoNetwork(VideoConfig("diurnal", **{k: v for k, v in WHOLE.items() if k != "baseline"}))
    torch.testing.assert_close(net(x), simple(x))


@pytest.mark.parametrize(("architecture", "settings"), KINDS)
def test_it_goes_on_as_long_as_one_likes(architecture: str, settings: dict[str, Any]) -> None:
    net, x = network(architecture, settings), given(n_future=8)
    # The shape of the cycle is taken from all frames that are given, so the same are given twice.
    long, short = net(x, n_future=8), net(x, n_future=2)
    assert long.shape[2] == 8
    torch.testing.assert_close(long[:, :, :2], short)


def test_a_shift_of_the_past_shifts_the_forecast() -> None:
    for architecture, settings in KINDS:
        net, x = network(architecture, settings).double().eval(), given()
        x = VideoInput(*(None if part is None else part.double() for part in x))
        shift = torch.tensor([3.0, -2.0], dtype=torch.float64).reshape(1, 2, 1, 1, 1)
        torch.testing.assert_close(net.state(x._replace(frames=x.frames + shift)), net.state(x) + shift)


def test_it_is_a_plain_loop() -> None:
    net = network("convlstm", {"n_layers": 2}, whole=False)
    x = torch.randn(2, 1, 4, 6, 7)
    inner = net.inner
    assert inner is not None
    cells = [c for c in inner.cells if isinstance(c, ConvLSTM)]
    state = [(torch.zeros(2, 4, 6, 7), torch.zeros(2, 4, 6, 7)) for _ in cells]
    frame, out = x[:, :, 0], []
    for t in range(6):
        y = x[:, :, t] if t < 4 else frame
        for n, cell in enumerate(cells):
            weight = torch.cat([cell.input.weight, cell.state.weight], 1)
            gates = functional.conv2d(torch.cat([y, state[n][0]], 1), weight, cell.input.bias, padding=2)
            i, f, o, g = gates.split(4, dim=1)
            c = f.sigmoid() * state[n][1] + i.sigmoid() * g.tanh()
            y = o.sigmoid() * c.tanh()
            state[n] = (y, c)
        frame = functional.conv2d(y, inner.head.weight, inner.head.bias)
        out.append(frame)
    torch.testing.assert_close(net(VideoInput(x)), torch.stack(out[3:], 2))


def test_ambs_counts_and_bounds() -> None:
    config = VideoConfig("convlstm", n_out=1, n_state=3, settings={"compat": "ambs"})
    net = VideoNetwork(config)
    assert sum(p.numel() for p in net.parameters()) == 429_251
    cell = ConvLSTM(1, 4, 3, squashed=True)
    with torch.no_grad():
        for p in cell.parameters():
            p.mul_(50.0)
        first = cell.step(50 * torch.randn(1, 1, 8, 8))
        second = cell.step(50 * torch.randn(1, 1, 8, 8), first)
        made = net(VideoInput(torch.rand(1, 3, 12, 6, 6)))
    low, one = torch.sigmoid(torch.tensor([0.0, 1.0])).tolist()
    # Gates are closed to between sigmoid(0) and sigmoid(1), and what enters is never negative.
    assert float(first.cell.min()) >= 0
    assert float(first.cell.max()) <= one * float(torch.tanh(torch.tensor(1.0))) + 1e-6
    assert float((first.hidden / torch.tanh(first.cell)).nan_to_num(nan=low).min()) >= low - 1e-6
    # Of the memory between sigmoid(1) and sigmoid(2) is kept.
    assert bool((second.cell >= one * first.cell - 1e-6).all())
    assert made.shape == (1, 1, 12, 6, 6)
    assert float(made.min()) > 0
    assert float(made.max()) < 1


def test_nothing_of_the_future_is_read() -> None:
    for architecture, settings in KINDS:
        net, x = network(architecture, settings).eval(), given()
        truth = torch.randn(2, 2, 3, 7, 9)
        torch.testing.assert_close(net.state(x, truth=truth), net.state(x), atol=0, rtol=0)
        # With the truth as a crutch, a frame still knows nothing of itself and of those after it.
        other = truth.clone()
        other[:, :, 1:] += 1
        a, b = (net.state(x, truth=t, truth_probability=1.0) for t in (truth, other))
        torch.testing.assert_close(a[:, :, :2], b[:, :, :2], atol=0, rtol=0)
        assert not torch.equal(a[:, :, 2], b[:, :, 2])


def test_scheduled_sampling_is_drawn_by_sample() -> None:
    net, x = network("convlstm", {}), given(batch=200, lat=3, lon=3)
    truth = torch.randn(200, 2, 3, 3, 3)
    with torch.no_grad():
        own, forced, mixed = (net.state(x, truth=truth, truth_probability=p)[:, :, 1] for p in (0.0, 1.0, 0.3))
    from_truth = (mixed - forced).abs().amax((1, 2, 3)) < 1e-6
    from_own = (mixed - own).abs().amax((1, 2, 3)) < 1e-6
    assert bool((from_truth ^ from_own).all())
    assert 0.2 < float(from_truth.float().mean()) < 0.4


def test_halo_is_exact_and_a_coarser_one_tells_none() -> None:
    net = network("convlstm", {"size": 3, "n_layers": 2}, whole=False)
    halo = net.halo
    assert halo == 1 * (3 + 2 * 3)
    x = torch.zeros(1, 1, 4, 1, 2 * halo + 5, requires_grad=True)
    net.double()(VideoInput(x.double()))[0, 0, -1, 0, halo + 2].backward()
    assert x.grad is not None
    reached = x.grad.abs().sum((0, 1, 2, 3)).nonzero().flatten()
    assert reached.min() == 2
    assert reached.max() == 2 * halo + 2
    assert network("convlstm", {"factor": 2}).halo is None
    assert network("stacked_convlstm", {}).halo is None


def test_wrap_lets_both_ends_of_a_row_see_each_other() -> None:
    x = VideoInput(torch.zeros(1, 1, 4, 4, 48))
    moved = x._replace(frames=x.frames.index_fill(4, torch.tensor([47]), 1.0))
    for wrap, sees in ((0, False), (4, True)):
        net = network("stacked_convlstm", {"wrap": wrap, "n_layers": 1, "size": 3}, whole=False)
        assert (float((net(moved) - net(x))[..., :2].detach().abs().max()) > 0) == sees


def test_more_columns_than_there_are_cannot_be_laid_around() -> None:
    net = network("stacked_convlstm", {"wrap": 10})
    with pytest.raises(DimensionError, match="wrap=10 and 9 columns; wanted at least as many columns"):
        net(given())


@pytest.mark.parametrize("settings", [{"n_levels": 1}, {"n_levels": 2, "size": 3}, {"n_levels": 3, "n_layers": 3}])
def test_without_norm_what_was_read_reaches_the_last_layer(settings: dict[str, Any]) -> None:
    """Its features depend on the past about as strongly as on anything: after ten layers nothing was left of it."""
    torch.manual_seed(0)
    settings = {"norm": None, "origin": "cell", **settings}
    net = VideoNetwork(VideoConfig("stacked_convlstm", n_context=6, baseline="persistence", settings=settings))
    past = functional.avg_pool2d(torch.randn(6, 6, 40, 40), 9, stride=1).cumsum(1)  # smooth fields that go on changing
    past = past / (past - past[:, -1:]).std()
    seen: list[torch.Tensor] = []
    net.inner.head.register_forward_hook(lambda module, given, made: seen.append(given[0].detach()))
    net(VideoInput(past[:, None]))
    differences = (seen[0] - seen[0].mean(0)).square().mean().sqrt()
    assert 0.1 < float(differences) < 1
    assert 0.02 < float(seen[-1].square().mean().sqrt()) < 1  # and in the last frame


@pytest.mark.parametrize("architecture", ["convlstm", "stacked_convlstm", "vae"])
def test_weights_lie_channels_last_also_after_they_were_loaded(architecture: str) -> None:
    config = VideoConfig(architecture, n_context=2, n_future=1)
    weights = {
        n: p.detach().clone(memory_format=torch.contiguous_format) for n, p in VideoNetwork(config).named_parameters()
    }
    again = VideoNetwork(config)
    again.load_state_dict(weights)
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in again.parameters() if p.ndim == 4)


def test_members_come_from_dropout() -> None:
    net, x = network("convlstm", {"dropout": 0.5, "mc_dropout": True}).eval(), given()
    assert net.stochastic
    assert not network("convlstm", {"dropout": 0.5}).stochastic
    assert not torch.equal(net(x), net(x))
    torch.testing.assert_close(net.mean(x), net.mean(x), atol=0, rtol=0)


@pytest.mark.parametrize(
    ("settings", "config", "message"),
    [
        ({"channels": 0}, {}, "channels=0; wanted a whole number of at least 1"),
        ({"size": 4}, {}, "size=4; wanted an odd number"),
        ({"compat": "dl4ds"}, {}, "compat='dl4ds'; wanted None or 'ambs'"),
        ({"compat": "ambs"}, {"baseline": "persistence"}, "wanted baseline 'none' and the state alone"),
        ({"width": 3}, {}, "do not fit it"),
    ],
)
def test_refused(settings: dict[str, Any], config: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        VideoNetwork(VideoConfig("convlstm", settings=settings, **config))


def test_a_stride_that_is_none() -> None:
    with pytest.raises(OptionError, match="stride=3; wanted 1, 2 to halve maps, or -2"):
        StridedLayer(1, 1, 3)
