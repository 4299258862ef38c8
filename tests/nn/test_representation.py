"""Representation networks: shapes, sizes, start, layers; the loss that their features define; their objective."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from xatmo.errors import CheckpointError, ConfigError, DimensionError, MissingValueError, OptionError
from xatmo.nn import losses
from xatmo.nn.representation import (
    ContentLoss,
    Conversion,
    Encoder,
    PairClassifier,
    RepresentationConfig,
    build,
    least_squares_scale,
)
from xatmo.nn.representation.layers import BatchNorm, MaxPool, SameConv2d
from xatmo.nn.representation.windows import differences, encode, encoder_of, map_shape
from xatmo.train import OptimizerSettings, TrainSettings, fit
from xatmo.train.representation import LabelSmoothing, Representation, snapshot


def small(n_inputs: int = 1, n_classes: int = 4, patch: tuple[int, int] = (16, 16), **options: Any) -> PairClassifier:
    torch.manual_seed(0)
    return PairClassifier(RepresentationConfig(n_inputs, n_classes, patch, **options))


# ---------------------------------------------------------------------- layers
@pytest.mark.parametrize(
    ("n", "kernel", "stride"), [(8, 8, 2), (9, 8, 2), (160, 8, 2), (10, 3, 2), (11, 3, 2), (7, 1, 2)]
)
def test_convolutions_keep_the_cells_that_a_stride_leaves(n: int, kernel: int, stride: int) -> None:
    out = SameConv2d(1, 1, kernel, stride=stride)(torch.zeros(1, 1, n, n + 1))
    assert out.shape == (1, 1, -(-n // stride), -(-(n + 1) // stride))


def test_odd_padding_goes_to_the_end() -> None:
    """A 3 x 3 kernel of stride 2 on an even row looks at cells 0-2, 2-4 ...: nothing is put before the first."""
    conv = SameConv2d(1, 1, 3, stride=2)
    nn.init.zeros_(conv.weight)
    conv.weight.data[0, 0, 0, 0] = 1.0
    x = torch.arange(16.0).view(1, 1, 4, 4)
    torch.testing.assert_close(conv(x), x[..., ::2, ::2])
    torch.testing.assert_close(MaxPool()(x).flatten(), torch.tensor([10.0, 11, 14, 15]))


def test_kernels_start_with_the_variance_of_he() -> None:
    weight = SameConv2d(64, 256, 3).weight
    assert float(weight.detach().std()) == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.01)
    assert float(weight.detach().abs().max()) < 2.0001 * (2 / (64 * 9)) ** 0.5 / 0.8796


def test_running_statistics_settle_and_then_forget_slowly() -> None:
    norm = BatchNorm(1, momentum=0.01)
    for k in range(100):
        norm(torch.full((4, 1, 2, 2), float(k)) + torch.randn(4, 1, 2, 2))
    assert 85 < float(norm.running_mean) < 95  # the last tenth, not 1 - 0.99 ** 100 of it all
    again = BatchNorm(1, momentum=0.01)
    again(torch.zeros(2, 1, 1, 1))
    again.load_state_dict(norm.state_dict())
    for one in (norm, again):
        one(torch.full((4, 1, 2, 2), 7.0))
    torch.testing.assert_close(norm.running_mean, again.running_mean)  # also after a checkpoint
    before = norm.running_mean.clone()
    norm.eval()(torch.zeros(2, 1, 1, 1))
    torch.testing.assert_close(norm.running_mean, before)


# ---------------------------------------------------------------------- networks
def test_the_published_network() -> None:
    """Numbers worked out by hand from the published description: 2.75 M with the 6304 running statistics."""
    net = small(2, 23, (160, 160), head="stacked")
    trained = sum(p.numel() for p in net.parameters())
    statistics = sum(b.numel() for n, b in net.named_buffers() if n.endswith(("mean", "var")))
    assert (trained, statistics) == (2_741_296, 6_304)
    assert net.encoder.stride == 32
    assert net.head.scores.linear.in_features == 1152
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(m.eps, m.momentum) for m in norms} == {(1.001e-5, 0.01)}


@pytest.mark.parametrize("encoder", ["small", "tiny", "resnet18", "resnet50"])
@pytest.mark.parametrize("patch", [(32, 32), (33, 47)])
def test_any_patch_and_channels(encoder: str, patch: tuple[int, int]) -> None:
    net = small(3, 8, patch, encoder=encoder).eval()
    pair = torch.randn(2, 2, 3, *patch)
    assert net(pair).shape == (2, 8)
    cells = [-(-n // net.encoder.stride) for n in patch]
    assert net.encoder(pair[:, 0]).shape == (2, net.encoder.n_features, *cells)


def test_numbers_of_the_usual_residual_networks() -> None:
    """Stages of the networks of He et al.: 11.17 M and 23.45 M weights without their stem."""
    for encoder, wanted in (("resnet18", 11_167_000), ("resnet50", 23_500_000)):
        stages = small(encoder=encoder).encoder.stages
        assert sum(p.numel() for p in stages.parameters()) == pytest.approx(wanted, rel=0.01)


@pytest.mark.parametrize(
    ("size", "stem", "stride"), [(160, "pooled", 32), (96, "strided", 16), (32, "plain", 8), (16, "plain", 8)]
)
def test_the_stem_leaves_cells(size: int, stem: str, stride: int) -> None:
    config = RepresentationConfig(1, 4, (size, 2 * size))
    assert config.resolved_stem == stem
    assert Encoder(config).stride == stride


def test_layers_by_name() -> None:
    encoder = small(1, 4, (32, 32)).encoder.eval()
    x = torch.randn(2, 1, 32, 32)
    assert encoder.layers[:3] == ("stem", "stage1.0", "stage1.1")
    assert [layer for layer in encoder.layers if "." not in layer] == ["stem", "stage1", "stage2", "stage3", "stage4"]
    torch.testing.assert_close(encoder.features(x, "stage4"), encoder(x))
    shapes = [tuple(encoder.features(x, f"stage{k}").shape[1:]) for k in (1, 2, 3, 4)]
    assert shapes == [(16, 32, 32), (32, 16, 16), (64, 8, 8), (128, 4, 4)]
    torch.testing.assert_close(encoder.stages[3](encoder.features(x, "stage3")), encoder(x))
    with pytest.raises(OptionError, match="layer='stage5' is not in this encoder; wanted one of"):
        encoder.features(x, "stage5")


def test_order_counts_and_both_patches_share_the_encoder() -> None:
    for head in ("stacked", "differences", "pyramid"):
        net = small(head=head).eval()
        pair = torch.randn(3, 2, 1, 16, 16)
        first, second = net.encoder.maps(pair[:, 0]), net.encoder.maps(pair[:, 1])
        torch.testing.assert_close(first[-1], net.encoder(pair[:, 0]))
        torch.testing.assert_close(net(pair), net.head(first, second), rtol=1e-4, atol=1e-4)
        assert not torch.allclose(net(pair), net(pair.flip(1)))


def test_what_each_head_compares() -> None:
    """Differences: twice the inputs of stacked maps. Pyramid: the maps of every stage reach the scores."""
    widths = {head: small(head=head).head for head in ("stacked", "differences")}
    inputs = {head: next(made.convolutions.parameters()).shape[1] for head, made in widths.items()}
    assert inputs == {"stacked": 256, "differences": 512}
    net = small(head="pyramid", head_channels=8).eval()
    maps = [m.detach().requires_grad_() for m in net.encoder.maps(torch.randn(1, 1, 16, 16))]
    others = net.encoder.maps(torch.randn(1, 1, 16, 16))
    net.head(maps, others).sum().backward()
    assert all(float(m.grad.abs().sum()) > 0 for m in maps)  # type: ignore[union-attr]


def test_other_sizes_than_the_training_patch() -> None:
    assert small().eval()(torch.randn(1, 2, 1, 40, 24)).shape == (1, 4)


def test_saved_settings() -> None:
    config = RepresentationConfig(2, 8, (32, 48), encoder="resnet18", dropout=0.1)
    assert RepresentationConfig.from_dict(config.to_dict()) == config
    assert isinstance(build(config.to_dict()), PairClassifier)
    with pytest.raises(ConfigError, match=r"settings \['width'\], which this version does not know"):
        build({**config.to_dict(), "width": 3})
    with pytest.raises(ConfigError, match="settings are incomplete"):
        build({"kind": "representation"})


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"encoder": "vgg"}, "encoder='vgg' is not available; possible are"),
        ({"stem": "big"}, "stem='big' is not available"),
        ({"head": "both"}, "head='both' is not available; possible are"),
        ({"n_classes": 1}, "n_classes=1; wanted a whole number of at least 2"),
        ({"patch": (4, 32)}, r"patch_size=\(4, 32\); wanted rows and columns, at least 8"),
        ({"dropout": 1.0}, "dropout=1.0; wanted a number from 0 to below 1"),
    ],
)
def test_settings_that_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        small(**options)


def test_tensors_that_are_refused() -> None:
    with pytest.raises(DimensionError, match=r"wanted \(batch, 2 times, 1, lat, lon\)"):
        small()(torch.zeros(1, 1, 16, 16))
    with pytest.raises(DimensionError, match=r"wanted \(batch, 1 channels, lat, lon\)"):
        small().encoder(torch.zeros(1, 2, 16, 16))


# ---------------------------------------------------------------------- content loss
def test_content_loss_is_the_scaled_difference_of_features() -> None:
    encoder = small(2).encoder
    loss = ContentLoss(encoder, "stage2", 3.0)
    p, t = torch.randn(2, 2, 16, 16, requires_grad=True), torch.randn(2, 2, 16, 16)
    wanted = 3 * (encoder.features(p, "stage2") - encoder.features(t, "stage2")).square().mean()
    torch.testing.assert_close(loss(p, t), wanted)
    loss(p, t).backward()
    assert p.grad is not None
    assert float(p.grad.abs().sum()) > 0
    assert all(q.grad is None and not q.requires_grad for q in encoder.parameters())


def test_the_encoder_of_a_loss_stays_frozen() -> None:
    encoder = small().encoder
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    loss = ContentLoss(encoder).train()
    loss(torch.randn(2, 1, 16, 16), torch.randn(2, 1, 16, 16))
    assert not encoder.training
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())


def test_time_joins_the_batch() -> None:
    loss = ContentLoss(small().encoder)
    p, t = torch.randn(2, 1, 3, 16, 16), torch.randn(2, 1, 3, 16, 16)
    flat = [a.transpose(1, 2).flatten(0, 1) for a in (p, t)]
    torch.testing.assert_close(loss(p, t), loss(*flat))


def test_conversion_between_normalizations() -> None:
    """From one network's log-normalized Celsius to another's standardised kelvin, and channels by place."""
    from xatmo.normalize import forward

    physical = np.random.default_rng(0).normal(10, 8, (2, 1, 5, 5))
    theirs = torch.from_numpy(forward(physical, 9.0, 7.0, 0.1, 0.2))
    both = torch.cat([torch.zeros_like(theirs), theirs], dim=1)
    convert = Conversion((1,), ((9.0, 7.0, 0.1, 0.2),), ((280.0, 5.0),), ((1.0, 273.15),))
    np.testing.assert_allclose(convert(both).numpy(), (physical + 273.15 - 280) / 5, atol=1e-10)
    logged = Conversion((0,), ((280.0, 5.0),), ((9.0, 7.0, 0.1, 0.2),), ((1.0, -273.15),))
    standard = torch.from_numpy((physical + 273.15 - 280) / 5)
    np.testing.assert_allclose(logged(standard).numpy(), theirs.numpy(), atol=1e-10)
    assert Conversion((1,))(both).equal(theirs)


def test_what_a_content_loss_refuses() -> None:
    encoder = small().encoder
    with pytest.raises(OptionError, match="scale=0.0; wanted a positive number"):
        ContentLoss(encoder, scale=0.0)
    with pytest.raises(OptionError, match="layer='last' is not in this encoder"):
        ContentLoss(encoder, "last")
    loss, x = ContentLoss(encoder), torch.zeros(1, 1, 16, 16)
    with pytest.raises(MissingValueError, match="features need whole patches"):
        loss(x, x + float("nan"))
    weight = torch.linspace(1, 2, 16).view(1, 1, 16, 1)
    with pytest.raises(OptionError, match="cells have different weights; features have none"):
        loss(x, x, weight)
    assert float(loss(x, x, torch.full((1, 1, 16, 16), 0.5))) == 0
    with pytest.raises(DimensionError, match="fields are"):
        loss(x[0], x[0])


def test_least_squares_scale() -> None:
    content, wanted = [5.0, 1.0, 2.0, 4.0], [0.0, 0.0, 3.0, 5.0]
    scale = least_squares_scale(content, wanted)
    assert scale == pytest.approx((2 * 3 + 4 * 5) / (4 + 16))
    nearby = [
        sum((s * c - m) ** 2 for c, m in zip(content[2:], wanted[2:], strict=True)) for s in (scale, scale + 0.01)
    ]
    assert nearby[0] < nearby[1]
    assert least_squares_scale([1.0, 1.0, float("nan"), 2.0], [0.0, 0.0, 1.0, 4.0]) == 2.0
    with pytest.raises(OptionError, match="features do not differ"):
        least_squares_scale([0.0, 0.0], [1.0, 1.0])


def test_learned_losses_by_name() -> None:
    mix = losses.build("mae + 0.5 atmodist:models/a@stage3")
    assert mix.unbound == ("atmodist:models/a@stage3",)
    x, y = torch.randn(2, 1, 16, 16), torch.randn(2, 1, 16, 16)
    with pytest.raises(ConfigError, match="'atmodist:models/a@stage3' has not been loaded"):
        mix(x, y)
    asked: list[str] = []
    content = ContentLoss(small().encoder, "stage3")
    mix.bind(lambda name: (asked.append(name), content)[1])
    assert (asked, mix.unbound) == (["models/a@stage3"], ())
    torch.testing.assert_close(mix(x, y), losses.mae(x, y) + 0.5 * content(x, y))
    assert losses.build(mix) is mix
    with pytest.raises(OptionError, match="and 'atmodist:PATH' of a saved AtmoDist model"):
        losses.build("atmodist:")


# ---------------------------------------------------------------------- windows
def test_windows_in_batches_are_those_one_by_one() -> None:
    net = small(2).eval()
    x = np.random.default_rng(0).standard_normal((70, 2, 16, 16)).astype("f4")
    out = encode(net, x, "stage2")
    assert out.shape == (70, *map_shape(net, "stage2", (16, 16)))
    np.testing.assert_allclose(out[69:], encode(net, x[69:], "stage2"), atol=1e-4)
    with pytest.raises(OptionError, match="Identity has no encoder with named layers"):
        encoder_of(nn.Identity())


def test_differences_of_pairs() -> None:
    net = small().eval()
    pair = torch.randn(3, 2, 1, 16, 16)
    found = differences(net, pair, pair, None)
    a, b = pair[:, 0], pair[:, 1]
    np.testing.assert_allclose(found["l1"], (a - b).abs().mean((1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(found["l2"], (a - b).square().mean((1, 2, 3)), rtol=1e-5)
    extent = (pair.amax((1, 2, 3, 4)) - pair.amin((1, 2, 3, 4))).numpy()
    np.testing.assert_allclose(found["psnr"], 50 - 10 * np.log10(extent**2 / found["l2"]), rtol=1e-5)
    same = differences(net, pair[:, :1].expand(-1, 2, -1, -1, -1), pair[:, :1].expand(-1, 2, -1, -1, -1), None)
    np.testing.assert_allclose([same[n] for n in ("content", "l1", "l2", "ssim")], 0, atol=1e-6)


def test_structural_similarity_against_scikit_image() -> None:
    skimage = pytest.importorskip("skimage.metrics")
    pair = torch.randn(1, 2, 1, 20, 20).cumsum(-1)
    found = differences(small().eval(), pair, pair, None)["ssim"][0]
    a, b = pair[0, :, 0].double().numpy()
    extent = max(a.max(), b.max()) - min(a.min(), b.min())
    _, full = skimage.structural_similarity(a, b, data_range=extent, full=True, use_sample_covariance=False)
    assert found == pytest.approx((1 - full[3:-3, 3:-3].mean()) / 2, abs=1e-6)


# ---------------------------------------------------------------------- objective
class Pairs:
    """Pairs whose second patch is the first plus the lag: easy to tell."""

    def __init__(self, n: int = 4, batch: int = 8, n_classes: int = 4) -> None:
        self.n, self.batch, self.n_classes = n, batch, n_classes

    def n_batches(self, world_size: int = 1) -> int:
        return self.n

    def batches(self, epoch: int, *, start: int = 0, rank: int = 0, world_size: int = 1) -> Any:
        for k in range(start, self.n):
            draw = torch.Generator().manual_seed(100 * epoch + k)
            label = torch.randint(self.n_classes, (self.batch,), generator=draw)
            first = torch.randn(self.batch, 1, 1, 16, 16, generator=draw)
            yield torch.cat([first, first + label.view(-1, 1, 1, 1, 1)], dim=1), label


class Toy(nn.Module):
    """Scores from the mean difference."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Linear(1, 4)

    def forward(self, pair: torch.Tensor) -> torch.Tensor:
        return self.scores((pair[:, 1] - pair[:, 0]).mean((1, 2, 3))[:, None])


def run(objective: Representation, steps: int, **options: Any) -> Any:
    settings = TrainSettings(steps, accelerator="cpu", precision="32-true", **options.pop("settings", {}))
    return fit(objective, Pairs(), settings, progress=False, **options)


def test_it_learns_and_tells_how_well() -> None:
    torch.manual_seed(0)
    net = Toy()
    result = run(Representation(net, optimizer=OptimizerSettings("adam", 0.3, schedule="constant")), 100)
    assert {"top1", "top3"} <= set(result.history[0])
    assert result.history[-1]["top1"] > 0.8
    assert result.history[-1]["loss"] < result.history[0]["loss"]


def test_smoothed_labels() -> None:
    labels = LabelSmoothing(0.1, 1.0)(torch.tensor([0, 3]), 4)
    torch.testing.assert_close(labels.sum(1), torch.ones(2))
    torch.testing.assert_close(labels[0], labels[1].flip(0))
    assert (labels[0].diff() < 0).all()
    objective = Representation(Toy())
    scores, label = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0])
    torch.testing.assert_close(objective._loss(scores, label), nn.functional.cross_entropy(scores, label))
    smooth = Representation(Toy(), labels=LabelSmoothing(0.2))
    wanted = nn.functional.cross_entropy(scores, label, label_smoothing=0.2)
    torch.testing.assert_close(smooth._loss(scores, label), wanted)


def test_weight_decay_is_for_kernels() -> None:
    groups = Representation(small()).configure_optimizers().param_groups
    assert all(p.ndim > 1 for p in groups[0]["params"])
    assert (groups[0]["weight_decay"], groups[1]["weight_decay"]) == (0.01, 0.0)
    assert all(p.ndim == 1 for p in groups[1]["params"])


def test_clipping_by_variable() -> None:
    """One large gradient leaves the others alone."""
    objective = Representation(nn.Linear(2, 2), clip="variable")
    weight, bias = objective.network.parameters()
    weight.grad, bias.grad = torch.full((2, 2), 100.0), torch.tensor([0.3, 0.4])
    optimizer = torch.optim.SGD([{"params": [weight]}, {"params": [bias]}], lr=1.0)
    objective.configure_gradient_clipping(optimizer, 5.0)
    assert float(weight.grad.norm()) == pytest.approx(5.0)
    torch.testing.assert_close(bias.grad, torch.tensor([0.3, 0.4]))


def test_warm_start_has_its_own_course() -> None:
    objective = Representation(Toy(), warmup_steps=6)
    assert [objective.phase(s, 20) for s in (0, 5, 6)] == [(0, 0, 6), (0, 0, 6), (1, 6, 20)]
    assert objective.phase(2, 4) == (0, 0, 4)
    assert Representation(Toy()).phase(3, 9) == (0, 0, 9)


def test_weights_of_every_epoch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Toy()
    options: dict[str, Any] = {"snapshots": tmp_path / "epochs", "steps_per_epoch": 4, "warmup_steps": 2}
    run(Representation(net, **options, keep=2), 15, run_dir=tmp_path / "run")
    assert sorted(p.name for p in (tmp_path / "epochs").iterdir()) == [f"epoch-000{k}.safetensors" for k in (1, 2, 3)]
    second = {k: v.clone() for k, v in net.state_dict().items()}
    other = Toy()
    run(Representation(other, **options, keep=3), 15, run_dir=tmp_path / "run")  # finished: only read
    assert not torch.equal(other.scores.weight, second["scores.weight"])
    run(Representation(other, **options, keep=2), 15, run_dir=tmp_path / "run")
    assert torch.equal(other.scores.weight, second["scores.weight"])
    snapshot(tmp_path / "epochs", 2).write_bytes(b"short")
    with pytest.raises(CheckpointError, match="the weights of epoch 2 in .* cannot be read"):
        run(Representation(other, **options, keep=2), 15, run_dir=tmp_path / "run")


def test_an_epoch_that_will_not_come(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="keep=5, but the run has 3 whole epochs"):
        run(Representation(Toy(), snapshots=tmp_path, steps_per_epoch=4, keep=5), 15)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"clip": "none"}, "clip='none'; possible are"),
        ({"keep": "first"}, "keep='first'; wanted a whole number"),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        Representation(Toy(), **options)


def test_smoothing_that_is_refused() -> None:
    with pytest.raises(OptionError, match="label_smoothing=1.0; wanted a number from 0 to below 1"):
        LabelSmoothing(1.0)
    with pytest.raises(OptionError, match="label_spread=-1"):
        LabelSmoothing(spread=-1)
