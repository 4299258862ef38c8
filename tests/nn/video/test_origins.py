"""What the past is shown relative to, and whether the cycle is read."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from xatmo.errors import OptionError
from xatmo.nn.video import VideoConfig, VideoInput, VideoNetwork

SETTINGS: dict[str, dict[str, Any]] = {
    "simvp": {"channels": 4, "hidden": 8, "n_blocks": 1}, "convlstm": {"channels": 4, "size": 3},
    "stacked_convlstm": {"channels": 4, "size": 3, "n_layers": 1}, "vae": {"widths": (4, 8), "n_blocks": 1},
    "savp": {"channels": 4, "posterior_widths": (4, 8), "change": True},
}  # fmt: skip


def made(architecture: str, **settings: Any) -> VideoNetwork:
    """A network with weights that are no longer those of the reference."""
    config = VideoConfig(
        architecture, n_context=3, n_future=2, cycle=True, baseline="diurnal",
        settings={**SETTINGS[architecture], **settings},
    )  # fmt: skip
    torch.manual_seed(0)
    network = VideoNetwork(config).eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return network


@pytest.mark.parametrize("architecture", SETTINGS)
def test_what_a_network_does_not_see_does_not_change_its_correction(architecture: str) -> None:
    """A pattern under all of the past goes through a network of changes, one of the map's mean through both."""
    x = VideoInput(torch.randn(1, 1, 3, 6, 8), cycle=torch.randn(1, 1, 5, 6, 8))
    for origin, through, altered in (
        ("cell", torch.randn(1, 1, 1, 6, 8), None), ("map", torch.tensor(3.0), torch.randn(1, 1, 1, 6, 8)),
        ("none", torch.tensor(0.0), torch.tensor(3.0)),
    ):  # fmt: skip
        network = made(architecture, origin=origin)
        before = network.mean(x)
        torch.testing.assert_close(network.mean(x._replace(frames=x.frames + through)), before + through)
        if altered is not None:
            other = network.mean(x._replace(frames=x.frames + altered)) - before - altered
            assert float(other.detach().abs().max()) > 1e-3


@pytest.mark.parametrize("architecture", SETTINGS)
def test_a_cycle_that_is_not_read_is_taken_off_and_added_again(architecture: str) -> None:
    """The correction depends on departures alone."""
    frames, cycle = torch.randn(1, 1, 3, 6, 8), torch.randn(1, 1, 5, 6, 8)
    for read, same in ((False, True), (True, False)):
        network = made(architecture, read_cycle=read)
        x = VideoInput(frames, cycle=torch.zeros_like(cycle))
        plain = network.mean(x)
        moved = network.mean(VideoInput(frames + cycle[:, :, :3], cycle=cycle)) - cycle[:, :, 3:]
        assert bool(torch.allclose(moved, plain, atol=1e-5)) == same


def test_an_unknown_origin_is_refused() -> None:
    """And a reference that does not go on has none."""
    with pytest.raises(OptionError, match="origin='here'; wanted one of"):
        made("simvp", origin="here")
    network = VideoNetwork(VideoConfig("simvp", n_context=3, n_future=2, settings={"origin": "cell"}))
    assert network.inner is not None
    assert network.inner.origin == "none"
