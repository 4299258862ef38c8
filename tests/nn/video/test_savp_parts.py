"""Parts of the recurrent generator: transforms, normalized memory, divergences, discriminators."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from xatmo.errors import DimensionError, OptionError
from xatmo.nn.video.architectures.savp import transforms
from xatmo.nn.video.architectures.savp.encoders import PairEncoder
from xatmo.nn.video.architectures.savp.generator import Generator
from xatmo.nn.video.architectures.savp.layers import InstanceNorm, Modulated, NormedConvLSTM
from xatmo.nn.video.discriminators import VideoDiscriminator, feature_distance
from xatmo.nn.video.latent import LOG_VARIANCE, Gaussian, kl_divergence


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


# ---------------------------------------------------------------------- transforms
def test_kernels_are_positive_and_sum_to_one() -> None:
    kernels = transforms.normalized(3 * torch.randn(2, 4, 25), 5, 2)
    assert bool((kernels > 0).all())
    torch.testing.assert_close(kernels.sum(2), torch.ones(2, 4))
    plain = transforms.normalized(torch.zeros(1, 25), 5, 1)
    assert plain[0, 12] == pytest.approx(1)


def test_the_identity_kernel_and_no_displacement_reproduce_the_field() -> None:
    image = torch.randn(2, 3, 7, 9)
    plain = transforms.normalized(torch.zeros(2, 4, 25), 5, 2).reshape(2, 4, 5, 5)
    torch.testing.assert_close(transforms.convolved(image, plain), image[:, None].expand(-1, 4, -1, -1, -1))
    own = transforms.normalized(torch.zeros(2, 4, 25, 7, 9), 5, 2)
    torch.testing.assert_close(transforms.gathered(image, own), image[:, None].expand(-1, 4, -1, -1, -1))
    assert torch.equal(transforms.warped(image, torch.zeros(2, 1, 2, 7, 9))[:, 0], image)


def test_kernels_for_all_cells_are_a_correlation_with_mirrored_edges() -> None:
    image, kernels = torch.randn(2, 3, 6, 8), torch.rand(2, 4, 5, 5)
    found = transforms.convolved(image, kernels)
    for b, k, c in np.ndindex(2, 4, 3):
        wanted = ndimage.correlate(image[b, c].numpy(), kernels[b, k].numpy(), mode="reflect")  # SciPy's name of it
        np.testing.assert_allclose(found[b, k, c].numpy(), wanted, rtol=1e-5, atol=1e-5)
    everywhere = kernels.flatten(2)[..., None, None].expand(-1, -1, -1, 6, 8)
    torch.testing.assert_close(transforms.gathered(image, everywhere), found)


def test_kernels_keep_the_mass_of_what_lies_in_the_interior() -> None:
    blob = torch.zeros(1, 1, 11, 12)
    blob[..., 4:7, 5:8] = torch.rand(3, 3)
    kernels = transforms.normalized(torch.randn(1, 4, 25), 5, 2).reshape(1, 4, 5, 5)
    moved = transforms.convolved(blob, kernels)
    torch.testing.assert_close(moved.sum((-2, -1)), blob.sum().expand(1, 4, 1))
    # A kernel that is its own mirror image keeps it up to the edges.
    even = kernels + kernels.flip(-1)
    even = (even + even.flip(-2)) / 4
    field = torch.rand(1, 1, 6, 7)
    torch.testing.assert_close(transforms.convolved(field, even).sum((-2, -1)), field.sum().expand(1, 4, 1))


def test_displacements_are_bilinear_interpolation() -> None:
    image, flow = torch.randn(1, 2, 6, 8), 3 * torch.randn(1, 3, 2, 6, 8)
    found = transforms.warped(image, flow)
    rows, columns = np.mgrid[:6, :8]
    for k, c in np.ndindex(3, 2):
        at = [rows + flow[0, k, 0].numpy(), columns + flow[0, k, 1].numpy()]
        wanted = ndimage.map_coordinates(image[0, c].numpy(), at, order=1, mode="nearest")
        np.testing.assert_allclose(found[0, k, c].numpy(), wanted, rtol=1e-4, atol=1e-5)
    east = torch.zeros(1, 1, 2, 6, 8)
    east[:, :, 1] = -1  # from one cell to the west
    assert torch.equal(transforms.warped(image, east)[0, 0, :, :, 1:], image[0, :, :, :-1])


def test_displacements_have_a_gradient() -> None:
    ramp = torch.arange(8.0).expand(1, 1, 6, 8)
    flow = torch.full((1, 1, 2, 6, 8), 0.25, requires_grad=True)
    transforms.warped(ramp, flow)[..., 1:-1, 1:-1].sum().backward()
    assert flow.grad is not None
    assert torch.equal(flow.grad[0, 0, 1, 1:-1, 1:-1], torch.ones(4, 6))
    assert torch.equal(flow.grad[0, 0, 0], torch.zeros(6, 8))


def test_dense_kernels_belong_to_a_grid() -> None:
    layer = transforms.make("cdna", 64, 32, 4, 5, deep_grid=(23, 14))
    assert sum(p.numel() for p in layer.parameters()) == 23 * 14 * 64 * 100 + 100
    with pytest.raises(DimensionError, match=r"\(4, 4\) cells came to kernels made for \(23, 14\)"):
        layer(torch.zeros(1, 1, 16, 16), torch.zeros(1, 64, 4, 4), torch.zeros(1, 32, 16, 16))
    with pytest.raises(OptionError, match="kernel_size=4; wanted an odd"):
        transforms.make("dna", 4, 4, 4, 4)
    with pytest.raises(OptionError, match=r"transform='warp'; wanted one of \['cdna', 'dna', 'flow'\]"):
        transforms.make("warp", 4, 4, 4, 5)


# ---------------------------------------------------------------------- layers
def test_instance_normalization() -> None:
    x = torch.randn(2, 3, 5, 6)
    torch.testing.assert_close(InstanceNorm(3)(x), nn.InstanceNorm2d(3, eps=1e-6)(x))


def test_latent_variables_reach_through_the_normalization() -> None:
    layer, x = Modulated(3, 2), torch.randn(2, 3, 9, 10)
    torch.testing.assert_close(layer(x, torch.zeros(2, 2)), layer.norm(x))
    latent = torch.randn(2, 2)
    made, (scale, shift) = layer(x, latent), (latent @ layer.latent.weight.T).split(3, dim=1)
    torch.testing.assert_close(
        made, layer.norm(x) * (1 + scale)[..., None, None] + shift[..., None, None], rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(made.mean((-2, -1)), shift, rtol=1e-4, atol=1e-5)  # no constant that is taken off again
    assert float(shift.detach().abs().max()) > 0.01


@pytest.mark.parametrize(("norm", "least", "most"), [(None, 0.7, 1.3), ("instance", 0.0, 0.05)])
def test_how_strong_maps_are_reaches_the_posterior(norm: str | None, least: float, most: float) -> None:
    encoder = PairEncoder(2, 4, (16, 16, 16), norm)
    encoder.start()
    pairs = 10 * torch.randn(64, 2, 32, 32)
    weak, strong = encoder(pairs).mean, encoder(2 * pairs).mean
    assert least <= float(((strong - weak).norm() / weak.norm()).detach()) <= most


def test_the_memory_keeps_what_came_before() -> None:
    cell = NormedConvLSTM(4, 2)
    first, second, z = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8), torch.zeros(1, 2)
    _, state = cell(first, z, None)
    alone, _ = cell(second, z, None)
    after, _ = cell(second, z, state)
    assert not torch.allclose(alone, after)
    assert float(after.detach().abs().max()) <= 1


def test_gates_are_normalized_one_by_one() -> None:
    torch.manual_seed(0)
    cell = NormedConvLSTM(2, 3)
    nn.init.normal_(cell.norm.norm.norm.weight)
    nn.init.normal_(cell.norm.norm.norm.bias)
    x, z = torch.randn(3, 2, 6, 7), torch.randn(3, 3)
    state = torch.randn(3, 2, 6, 7), torch.randn(3, 2, 6, 7)
    weight, bias = (p[:, None, None] for p in (cell.norm.norm.norm.weight, cell.norm.norm.norm.bias))
    scale, shift = (part[..., None, None] for part in cell.norm.latent(z).chunk(2, dim=1))
    plain = nn.functional.instance_norm(cell.gates(torch.cat([x, state[0]], dim=1)), eps=1e-6)
    i, g, f, o = ((plain * weight + bias) * (1 + scale) + shift).chunk(4, dim=1)
    inner = cell.cell_norm(state[1] * torch.sigmoid(f + 1) + torch.sigmoid(i) * torch.tanh(g))
    made, _ = cell(x, z, state)
    torch.testing.assert_close(made, torch.tanh(inner) * torch.sigmoid(o), rtol=1e-4, atol=1e-5)


def test_memory_is_the_same_where_no_frame_is_wanted() -> None:
    network = Generator(1, 0, 2, encoder=((4, True), (4, True)), decoder=((4, True), (4, False)), reference=False)
    frame, z = torch.randn(2, 1, 16, 16), torch.randn(2, 2)
    made, with_frame = network(frame, frame, [], frame, z)
    nothing, without = network(frame, frame, [], frame, z, compose=False)
    assert made is not None
    assert nothing is None
    assert len(without.levels) == len(with_frame.levels) == 4
    for a, b in zip(without.levels, with_frame.levels, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            torch.testing.assert_close(a, b)


# ---------------------------------------------------------------------- distributions
def test_divergence_is_that_of_normal_distributions() -> None:
    q, p = (Gaussian(torch.randn(4, 3), torch.randn(4, 3)) for _ in range(2))
    theirs = [torch.distributions.Normal(g.mean, (g.log_variance / 2).exp()) for g in (q, p)]
    torch.testing.assert_close(kl_divergence(q, p), torch.distributions.kl_divergence(*theirs))
    standard = torch.distributions.Normal(torch.zeros(4, 3), torch.ones(4, 3))
    torch.testing.assert_close(kl_divergence(q), torch.distributions.kl_divergence(theirs[0], standard))
    assert torch.equal(kl_divergence(q, q), torch.zeros(4, 3))


def test_log_variances_are_bounded() -> None:
    found = Gaussian.of(torch.tensor([[1.0, 1e6], [1.0, -1e6]]))
    assert found.log_variance.flatten().tolist() == [LOG_VARIANCE, -LOG_VARIANCE]


@pytest.mark.slow
# ---------------------------------------------------------------------- discriminators
@pytest.mark.parametrize("images", [False, True])
def test_weights_of_discriminators_have_spectral_norm_one(images: bool) -> None:
    judge = VideoDiscriminator(2, 4, images=images)
    clips = torch.randn(3, 2, 13, 17) if images else torch.randn(3, 2, 5, 13, 17)
    with torch.no_grad():
        for _ in range(200):  # one step of the iteration each
            judge(clips)
    judge.eval()
    for layer in [*judge.layers, judge.dense]:
        largest = torch.linalg.matrix_norm(layer.norm(layer.weight).detach().flatten(1), 2)
        assert float(largest) == pytest.approx(1, abs=0.03)
    assert float(torch.linalg.matrix_norm(judge.layers[3].weight.detach().flatten(1), 2)) > 1.1  # as it is without


@pytest.mark.parametrize("size", [(10, 33, 49), (1, 5, 6), (3, 16, 16), (12, 92, 56)])
def test_discriminators_take_clips_of_any_size(size: tuple[int, int, int]) -> None:
    logits, seen = VideoDiscriminator(1, 2)(torch.randn(2, 1, *size))
    assert logits.shape == (2, 1)
    assert all(part.isfinite().all() for part in seen)


def test_distance_of_features() -> None:
    a, b = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    wanted = 1 - ((a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))).mean()
    assert float(feature_distance([a], [b])) == pytest.approx(float(wanted), rel=1e-5)
