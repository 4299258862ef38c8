"""Spectral losses: what they see and what they leave free, derivatives, precision, refusals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from xatmo.errors import DimensionError, MissingValueError, OptionError
from xatmo.nn import losses
from xatmo.nn.spectral_losses import KINDS, BoxSpectralLoss, SphericalSpectralLoss
from xatmo.nn.sphere import SphericalHarmonics
from xatmo.spectral._planar import Box

SPHERE = SphericalHarmonics.gaussian(12, 24, 11, dtype=torch.float64)


def make(kind: str, where: str, **options: Any) -> Any:
    return SphericalSpectralLoss(SPHERE, kind, **options) if where == "sphere" else BoxSpectralLoss(kind, **options)


def field(*lead: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*lead, 12, 24, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("where", ["sphere", "box"])
@pytest.mark.parametrize("kind", KINDS)
class TestAll:
    def test_equal_fields_cost_nothing_and_pull_nowhere(self, kind: str, where: str) -> None:
        target = field(2, 3)
        prediction = target.clone().requires_grad_()
        loss = make(kind, where)(prediction, target)
        loss.backward()
        assert abs(loss.item()) < 1e-12
        assert prediction.grad is not None
        assert prediction.grad.abs().max() < 1e-12
        assert make(kind, where)(field(2, 3, seed=1), target) > 0.01

    def test_derivatives(self, kind: str, where: str) -> None:
        loss, target = make(kind, where), field(2)
        prediction = field(2, seed=1).requires_grad_()
        assert torch.autograd.gradcheck(lambda x: loss(x, target), (prediction,), fast_mode=True)
        assert torch.autograd.gradgradcheck(lambda x: loss(x, target), (prediction,), fast_mode=True)

    def test_leading_dimensions_are_averaged(self, kind: str, where: str) -> None:
        loss, p, t = make(kind, where), field(2, 3), field(2, 3, seed=1)
        each = torch.stack([loss(p[i, j], t[i, j]) for i in range(2) for j in range(3)])
        torch.testing.assert_close(loss(p, t), each.mean())
        torch.testing.assert_close(loss(p[:, :, None], t[:, :, None]), each.mean())

    def test_finite_for_fields_without_small_scales(self, kind: str, where: str) -> None:
        """Steep spectra, nothing at all, or large constants: float32 stays finite, value and gradient."""
        smooth = torch.linspace(0, 3, 24).cos().expand(2, 12, 24).float()
        for p, t in ((smooth, 1.1 * smooth), (torch.zeros(2, 12, 24), smooth), (smooth, torch.zeros(2, 12, 24))):
            for offset in (0.0, 1e4):
                prediction = (p + offset).requires_grad_()
                value = make(kind, where)(prediction, t + offset)
                value.backward()
                assert torch.isfinite(value)
                assert prediction.grad is not None
                assert torch.isfinite(prediction.grad).all()
        nothing = torch.zeros(2, 12, 24, requires_grad=True)
        make(kind, where)(nothing, torch.zeros(2, 12, 24)).backward()
        assert nothing.grad is not None
        assert torch.isfinite(nothing.grad).all()

    def test_half_precision_and_autocast(self, kind: str, where: str) -> None:
        loss = BoxSpectralLoss(kind)
        if where == "sphere":
            loss = SphericalSpectralLoss(SphericalHarmonics.gaussian(12, 24, 11), kind)  # type: ignore[assignment]
        p, t = field(2).bfloat16(), field(2, seed=1).bfloat16()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = loss(p, t)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, loss(p.float(), t.float()))

    def test_weights_are_those_of_whole_fields(self, kind: str, where: str) -> None:
        loss, p, t = make(kind, where), field(2), field(2, seed=1)
        weight = torch.ones(2, 12, 24)
        torch.testing.assert_close(loss(p, t, weight), loss(p, t))
        weight[0] = 3
        torch.testing.assert_close(loss(p, t, weight), 0.75 * loss(p[:1], t[:1]) + 0.25 * loss(p[1:], t[1:]))

    def test_refusals(self, kind: str, where: str) -> None:
        loss, p, t = make(kind, where), field(2), field(2, seed=1)
        with pytest.raises(DimensionError, match="wanted the same shape"):
            loss(p[:1], t)
        gaps = t.clone()
        gaps[0, 2, 3] = math.nan
        with pytest.raises(MissingValueError, match="1 of 576 target values are missing, and a spectral loss needs"):
            loss(p, gaps)
        with pytest.raises(MissingValueError, match=r"288 weights are zero.*use 'mae', 'mse' or 'gradient'"):
            loss(p, t, torch.tensor([0.0, 1.0])[:, None, None])


@pytest.mark.parametrize("where", ["sphere", "box"])
def test_the_power_term_leaves_phases_free(where: str) -> None:
    loss = make("power", where) if where == "sphere" else BoxSpectralLoss("power", periodic=True)
    target, shifted = field(2), torch.roll(field(2), 5, -1)  # another longitude: other phases, the same power
    assert loss(shifted, target) < 1e-15
    # Along a displacement, the gradient is zero even where the powers differ.
    prediction = (2 * field(2, seed=1)).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(prediction, target), prediction)
    waves = torch.fft.rfft(prediction.detach())
    number = torch.arange(waves.shape[-1])
    number[-1] = 0
    derivative = torch.fft.irfft(1j * number * waves, n=24)
    assert abs((gradient * derivative).sum()) < 1e-12
    assert gradient.abs().max() > 1e-4


@pytest.mark.parametrize("where", ["sphere", "box"])
def test_the_power_term_is_zero_only_for_equal_spectra(where: str) -> None:
    loss, target = make("power", where), field(1)
    scaled = 1.01 * target
    expected = 2 * (math.sqrt(1 + math.log(1.01**2) ** 2) - 1)
    torch.testing.assert_close(loss(scaled, target).item(), expected, rtol=1e-5, atol=0)
    large = loss(100 * target, target).item()  # nearly linear in the logarithm
    assert large == pytest.approx(2 * (math.sqrt(1 + math.log(1e4) ** 2) - 1), rel=0.01)


@pytest.mark.parametrize("where", ["sphere", "box"])
def test_coherence_leaves_amplitudes_free_and_sees_signs(where: str) -> None:
    loss, target = make("coherence", where), field(1)
    assert loss(5 * target, target).item() == pytest.approx(0, abs=1e-5)
    assert loss(-target, target).item() == pytest.approx(2)


def test_weighted_without_slope_is_the_squared_error_on_the_sphere() -> None:
    p, t = (SPHERE.synthesis(SPHERE.analysis(field(3, seed=s))) for s in (0, 1))
    areas = SPHERE._plan.weights
    assert areas is not None
    weights = torch.cat([areas[0], areas[0].flip(0)])[:, None] / 24
    expected = ((p - t).square() * weights).sum((-2, -1)).mean()
    torch.testing.assert_close(make("weighted", "sphere", slope=0)(p, t), expected)
    assert make("weighted", "sphere", slope=2)(p, t) != pytest.approx(expected.item())


def test_adjusted_is_the_squared_error_where_only_amplitude_is_wrong() -> None:
    t = SPHERE.synthesis(SPHERE.analysis(field(1)))
    squared = make("weighted", "sphere", slope=0)
    torch.testing.assert_close(make("adjusted", "sphere")(0.5 * t, t), squared(0.5 * t, t), rtol=1e-6, atol=0)


def test_smoothing_pays_for_the_squared_error_only() -> None:
    """Of predictions right in phase by a quarter, the squared error prefers the damped one; the adjusted does not."""
    generator = torch.Generator().manual_seed(3)
    t = torch.randn(64, 12, 12, dtype=torch.complex128, generator=generator).tril()
    other = torch.randn(64, 12, 12, dtype=torch.complex128, generator=generator).tril()
    t, p = SPHERE.synthesis(t), SPHERE.synthesis(0.25 * t + (1 - 0.25**2) ** 0.5 * other)
    squared, adjusted = make("weighted", "sphere", slope=0), make("adjusted", "sphere")
    assert squared(0.25 * p, t) < squared(p, t)
    assert adjusted(0.25 * p, t) > adjusted(p, t)


def test_rings_are_those_of_isotropic_spectra() -> None:
    x = field()
    box = Box(12, 24, 1.0, 1.0)
    loss = BoxSpectralLoss("power")
    from xatmo.nn.spectral_losses import _Rings

    waves = loss._waves(x)
    power = _Rings(12, 24, x.device, x.dtype).sums(waves, waves)
    np.testing.assert_allclose(power.numpy(), box.power(x.numpy())[1:], rtol=1e-12)


def test_options() -> None:
    with pytest.raises(OptionError, match="kind='phase' came; wanted one of"):
        BoxSpectralLoss("phase")
    with pytest.raises(OptionError, match="slope='steep' came; wanted a number"):
        BoxSpectralLoss("weighted", slope="steep")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="floor=0 came; wanted a fraction of the power"):
        BoxSpectralLoss("power", floor=0)
    with pytest.raises(OptionError, match="degrees 3 to 20 came; wanted some of 0 to 11"):
        SphericalSpectralLoss(SPHERE, lmin=3, lmax=20)
    with pytest.raises(DimensionError, match=r"boxes of \(3, 8\) cells came; wanted 4 or more each way"):
        BoxSpectralLoss()(torch.zeros(1, 3, 8), torch.zeros(1, 3, 8))
    inverse = make("weighted", "sphere", slope="inverse", lmin=1)
    assert inverse(field(1, seed=1), field(1)) > 0
    assert inverse(field(1), field(1)) == 0


def test_by_name_in_mixes() -> None:
    p, t = field(2, 1).float(), field(2, 1, seed=1).float()
    mixed = losses.build("mae + 0.1 spectral_power + 0.2 spectral_coherence")(p, t)
    parts = losses.mae(p, t) + 0.1 * BoxSpectralLoss("power")(p, t) + 0.2 * BoxSpectralLoss("coherence")(p, t)
    torch.testing.assert_close(mixed, parts)
    for kind in KINDS:
        torch.testing.assert_close(losses.LOSSES[f"spectral_{kind}"](p, t, None), BoxSpectralLoss(kind)(p, t))


def test_training_by_name() -> None:
    """A task takes the mix, records its parts, and refuses fields with gaps."""
    import xarray as xr

    import xatmo

    grid = xatmo.Grid.regular(24, 48, poles=False)
    values = np.random.default_rng(0).standard_normal((3, 24, 48)).astype("float32")
    dims = ("time", "latitude", "longitude")
    fine = xr.DataArray(values, name="t2m", attrs={"units": "K"}, dims=dims, coords=grid.coords())
    options: Any = {"max_steps": 2, "patch_size": 8, "accelerator": "cpu", "progress": False}
    task = xatmo.SuperResolver(2, channels=8, n_blocks=1, loss="mae + 0.5 spectral_adjusted").fit(fine, **options)
    assert np.isfinite(task.history["loss"]).all()
    assert {"mae", "spectral_adjusted"} <= set(task.history.columns)
    gaps = fine.where(fine.latitude < 60)
    with pytest.raises(MissingValueError, match="missing"):
        xatmo.SuperResolver(2, channels=8, n_blocks=1, loss="spectral_power").fit(gaps, **options)
