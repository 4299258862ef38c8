"""Whether a variational network is better than the background that it starts from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch

from xatmo.train.batches import Batch, Batches, n_samples
from xatmo.train.fourdvar import FourDVar


def beside_background(
    objective: FourDVar, validation: Batches, *, device: torch.device | str = "cpu"
) -> tuple[float, float]:
    """Give the validation loss of a network, and that of its background.

    Both are of the analysis alone, what is learned of its standard error left out, each batch weighted by its samples.

    Parameters
    ----------
    objective : FourDVar
        With the network as it is; left on the CPU.
    validation : Batches
    device : torch.device or str
        Where the network is called.
    """
    training = objective.training
    objective.eval().to(device)
    totals, number = np.zeros(2), 0
    with torch.inference_mode():
        for place, given in enumerate(validation.batches(0)):
            own = Batch.of(given)
            batch = Batch(*(cast(Any, None if t is None else t.to(device)) for t in own))
            found = []
            for keeps in (False, True):
                with _keeping(objective, keeps=keeps):
                    random = np.random.default_rng([objective.seed, place, 2])
                    total, parts = objective.losses(batch, random, training=False)
                found.append(float(total) - objective.terms.error * float(parts.get("error", 0.0)))
            totals += n_samples(given) * np.array(found)
            number += n_samples(given)
    objective.train(training).to("cpu")
    network, background = totals / max(number, 1)
    return float(network), float(background)


@contextmanager
def _keeping(objective: FourDVar, *, keeps: bool) -> Iterator[None]:
    network = objective.network
    before = network.config
    network.config = replace(before, keeps_background=keeps)
    try:
        yield
    finally:
        network.config = before
