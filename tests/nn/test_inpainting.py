"""A network that fills a hole: what it sees, what it gives back, what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from xatmo.errors import ConfigError, DimensionError, OptionError
from xatmo.nn.representation import Inpainting, InpaintingConfig, build_inpainting


def made(patch: tuple[int, int] = (32, 40), hole: tuple[int, int] = (8, 10), **options: Any) -> Inpainting:
    torch.manual_seed(0)
    return Inpainting(InpaintingConfig(2, patch, hole, encoder="tiny", **options)).eval()


def test_the_hole_is_in_the_middle_and_what_is_in_it_does_not_count() -> None:
    net = made()
    torch.nn.init.normal_(net.last.weight)
    x = torch.randn(3, 2, 32, 40)
    other = x.clone()
    other[..., 12:20, 15:25] = 1e3
    filled = net(x)
    torch.testing.assert_close(net(other)[..., 12:20, 15:25], filled[..., 12:20, 15:25])
    changed = filled != x
    assert changed[..., 12:20, 15:25].all()
    assert int(changed.sum()) == 3 * 2 * 8 * 10


@pytest.mark.parametrize("stage", [1, 2, 3, 4])
@pytest.mark.parametrize("patch", [(32, 32), (33, 47), (96, 64)])
def test_any_patch_and_stage(patch: tuple[int, int], stage: int) -> None:
    net = made(patch, (9, 9), stage=stage)
    assert net(torch.randn(1, 2, *patch)).shape == (1, 2, *patch)
    assert net.encoder.layers[-1] == f"stage{stage}"
    features = net.encoder(torch.randn(1, 2, *patch))
    assert features.shape[1] == net.encoder.n_features
    assert features.shape[-1] == -(-patch[1] // net.encoder.stride)


def test_it_begins_with_the_mean_and_every_weight_is_trained() -> None:
    net = made().train()
    x = torch.randn(4, 2, 32, 40)
    assert float(net(x).detach()[..., 12:20, 15:25].abs().max()) == 0
    torch.nn.init.normal_(net.last.weight)
    net(x).square().mean().backward()
    assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in net.parameters())


def test_saved_settings() -> None:
    config = InpaintingConfig(2, (32, 40), (8, 10), encoder="tiny", stage=2)
    assert InpaintingConfig.from_dict(config.to_dict()) == config
    assert isinstance(build_inpainting(config.to_dict()), Inpainting)
    with pytest.raises(ConfigError, match=r"settings \['width'\], which this version does not know"):
        build_inpainting({**config.to_dict(), "width": 3})
    with pytest.raises(ConfigError, match="settings are incomplete"):
        build_inpainting({"kind": "inpainting"})


def test_what_is_refused() -> None:
    with pytest.raises(OptionError, match="stage=5; wanted 1 to 4"):
        made(stage=5)
    with pytest.raises(OptionError, match=r"hole=\(31, 4\); wanted rows and columns"):
        made(hole=(31, 4))
    with pytest.raises(DimensionError, match=r"the network got \(1, 2, 16, 16\); wanted \(batch, 2, 32, 40\)"):
        made()(torch.zeros(1, 2, 16, 16))
