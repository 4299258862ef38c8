"""Scores of a network that tells lags: tables by lag, maps, and the distance that its features define."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from xatmo.errors import OptionError
from xatmo.patches.lagged import sizes_of
from xatmo.tasks.representation._lagged import ORDER, LaggedBatches

if TYPE_CHECKING:
    import torch

    from xatmo.model import Model

Array = NDArray[Any]

_CALIBRATION_PAIRS = 2048


def lag_coords(max_lag: int, seconds: float) -> dict[str, Any]:
    """Coordinates along ``lag``: steps, and their duration."""
    lag = np.arange(1, max_lag + 1)
    duration = pd.to_timedelta(lag * seconds, unit="s").values.astype("timedelta64[ns]")
    return {
        "lag": ("lag", lag, {"long_name": "lag in steps"}),
        "lag_time": ("lag", duration, {"long_name": "lag"}),
    }


def table(probability: Array, label: NDArray[np.int64], seconds: float) -> xr.Dataset:
    """Scores of predictions.

    Parameters
    ----------
    probability : array (pair, lag)
    label : array (pair,)
        0 for one step of lag.
    seconds : float
        Duration of a step.

    Examples
    --------
    >>> p = np.array([[0.8, 0.1, 0.06, 0.04], [0.3, 0.4, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]])
    >>> out = table(p, np.array([0, 0, 3]), 10800.0)
    >>> float(out.top1), float(out.top3), float(out.mae)
    (0.667, 1.0, 0.333)
    >>> out.top1_by_lag.values, out.confusion.values[0]
    (array([0.5, nan, nan, 1. ]), array([0.5, 0.5, 0. , 0. ]))
    """
    n_pairs, n_classes = probability.shape
    right = probability[np.arange(n_pairs), label][:, None]
    # A class that is as likely counts by half: whoever knows nothing is right by chance, not always.
    rank = (probability > right).sum(axis=1) + ((probability == right).sum(axis=1) - 1) / 2
    said = probability.argmax(axis=1)
    each = {
        "top1": (rank < 1).astype(float), "top3": (rank < 3).astype(float), "mae": np.abs(said - label).astype(float),
        "cross_entropy": -np.log(np.maximum(right[:, 0].astype(float), np.finfo(np.float32).tiny)),
    }  # fmt: skip
    count = np.bincount(label, minlength=n_classes)
    about = {
        "top1": "fraction of pairs whose lag is the likeliest", "top3": "fraction of pairs whose lag is among three",
        "mae": "mean absolute error of the likeliest lag", "cross_entropy": "mean cross-entropy",
    }  # fmt: skip
    found: dict[str, Any] = {}
    with np.errstate(invalid="ignore"):
        for name, values in each.items():
            attrs = {"long_name": about[name], "units": "1"} | ({"comment": "in steps of lag"} if name == "mae" else {})
            found[name] = ((), float(values.mean()), attrs)
            by_lag = np.bincount(label, values, minlength=n_classes) / count
            found[f"{name}_by_lag"] = ("lag", by_lag, attrs)
        joint = np.bincount(label * n_classes + said, minlength=n_classes**2).reshape(n_classes, n_classes)
        share = joint / count[:, None]
    found["confusion"] = (("lag", "predicted_lag"), share, {"long_name": "fraction of a lag's pairs", "units": "1"})
    found["n_pairs"] = ("lag", count, {"long_name": "number of pairs"})
    coords = {**lag_coords(n_classes, seconds), "predicted_lag": np.arange(1, n_classes + 1)}
    return xr.Dataset(found, coords)


def evaluate(model: Model, source: LaggedBatches, seconds: float, *, device: str) -> xr.Dataset:
    """Score a network on the pairs of one epoch."""
    from xatmo.nn.representation.windows import probabilities

    found = [(p, label.numpy()) for p, label in probabilities(model.network, source.batches(0), device=device)]
    probability, label = (np.concatenate(part) for part in zip(*found, strict=True))
    return table(probability, label, seconds)


def accuracy_map(
    model: Model, source: LaggedBatches, lag: int, stride: int, n_times: int | None, *, device: str
) -> xr.Dataset:
    """Score a network place by place at one lag."""
    from xatmo.nn.representation.windows import probabilities

    pairing, data = source.pairing, source.data
    anchors = pairing.anchors
    if n_times is not None and n_times < anchors.size:
        anchors = anchors[np.linspace(0, anchors.size - 1, n_times).round().astype(int)]
    rows = np.arange(pairing.rows[0], pairing.rows[1], stride)
    columns = np.arange(0, pairing.columns, stride)
    grid = np.meshgrid(anchors, [lag], rows, columns, indexing="ij")
    pairs = np.stack([a.ravel() for a in grid], axis=1).astype(np.int64)
    shape = (rows.size, columns.size)
    sums = {name: np.zeros(shape) for name in ("accuracy", "near", "entropy")}

    def batches() -> Iterator[tuple[torch.Tensor, Array]]:
        sizes = sizes_of(len(pairs), source.batch_size, 0, 1, drop_last=False)
        for windows, which in source.windows.batches(pairs, sizes, seed=(0, ORDER), shuffle=False):
            yield source.tensors(windows, which)[0], which

    for probability, which in probabilities(model.network, batches(), device=device):
        at = (which[:, 2] - pairing.rows[0]) // stride, which[:, 3] // stride
        away = np.abs(probability.argmax(axis=1) - (lag - 1))
        entropy = -(probability * np.log(np.maximum(probability, 1e-30))).sum(axis=1)
        for name, values in (("accuracy", away == 0), ("near", away <= 1), ("entropy", entropy)):
            np.add.at(sums[name], at, values.astype(float))
    height, width = pairing.patch
    lat, lon = data.grid.latitude, np.asarray(data.grid.longitude)
    step = float(np.mean(np.diff(lon)))
    centers = {
        "latitude": (lat[rows + (height - 1) // 2] + lat[rows + height // 2]) / 2,
        "longitude": lon[columns] + step * (width - 1) / 2,
    }
    about = {
        "accuracy": "fraction of pairs whose lag is the likeliest",
        "near": "fraction of pairs whose likeliest lag is at most one step wrong",
        "entropy": "mean entropy of the predicted lag in nats",
    }
    units = {"latitude": "degrees_north", "longitude": "degrees_east"}
    return xr.Dataset(
        {n: (("latitude", "longitude"), v / anchors.size, {"long_name": about[n], "units": "1"})
         for n, v in sums.items()},
        {d: (d, c, {"units": units[d], "standard_name": d}) for d, c in centers.items()},
        {"lag": lag, "n_times": int(anchors.size)},
    )  # fmt: skip


def metric_by_lag(
    model: Model, source: LaggedBatches, layer: str | None, seconds: float, n_pairs: int, *, device: str
) -> xr.Dataset:
    """Distance in features, and in fields, by lag."""
    import torch

    from xatmo.nn.representation.windows import differences
    from xatmo.nn.tiled import resolve_device

    network = model.network
    before = next(network.parameters()).device
    network.to(resolve_device(device)).eval()
    undo = _standardised(model)
    parts: list[dict[str, Array]] = []
    labels: list[Array] = []
    done, epoch = 0, 0
    try:
        while done < n_pairs:
            for pair, label in source.batches(epoch):
                fields = torch.from_numpy(undo(pair.numpy()))
                parts.append(differences(network, pair, fields, layer))
                labels.append(label.numpy())
                done += len(label)
                if done >= n_pairs:
                    break
            epoch += 1
    finally:
        network.to(before)
    every = np.concatenate(labels)
    n = model.config["settings"]["max_lag"]
    count = np.bincount(every, minlength=n)
    found: dict[str, Any] = {"n_pairs": ("lag", count)}
    about = {
        "content": "mean squared difference of features", "l1": "mean absolute difference of fields",
        "l2": "mean squared difference of fields", "psnr": "50 - peak signal-to-noise ratio (dB)",
        "ssim": "(1 - structural similarity) / 2",
    }  # fmt: skip
    with np.errstate(invalid="ignore", divide="ignore"):
        for name, text in about.items():
            values = np.concatenate([part[name] for part in parts])
            mean = np.bincount(every, values, minlength=n) / count
            square = np.bincount(every, (values - mean[every]) ** 2, minlength=n) / count
            found[name] = ("lag", mean, {"long_name": text, "units": "1"})
            found[f"{name}_std"] = ("lag", np.sqrt(square), {"long_name": f"standard deviation: {text}", "units": "1"})
    return xr.Dataset(found, lag_coords(n, seconds))


def scaled_metric(
    model: Model, source: LaggedBatches, layer: str | None, seconds: float, n_pairs: int, *, device: str
) -> xr.Dataset:
    """`metric_by_lag`, with the scale that brings features nearest to fields; the model keeps it."""
    from xatmo.nn.representation import least_squares_scale
    from xatmo.nn.representation.windows import encoder_of

    name = encoder_of(model.network).require(layer)
    out = metric_by_lag(model, source, name, seconds, n_pairs, device=device)
    scale = least_squares_scale(out["content"].values.tolist(), out["l2"].values.tolist())
    model.config.setdefault("content_scale", {})[name] = scale
    scaled = (out["content"] * scale).assign_attrs(long_name="scaled distance in features", units="1")
    return out.assign(scaled_content=scaled).assign_attrs(layer=name, scale=scale)


def calibrate(model: Model, source: LaggedBatches, seconds: float, accelerator: str) -> None:
    """Find the scale of the last layer, where the network has layers and their features differ."""
    if not hasattr(model.network, "encoder"):
        return
    quiet = source.plain()
    try:
        scaled_metric(model, quiet, None, seconds, min(_CALIBRATION_PAIRS, 4 * quiet.n_pairs),
                      device="cpu" if accelerator == "cpu" else "auto")  # fmt: skip
    except OptionError:
        return  # features that do not differ have no scale


def _standardised(model: Model) -> Any:
    """Make what turns normalized windows ``(..., channel, lat, lon)`` into standard deviations: without logarithm."""
    from xatmo.normalize import backward

    normalizer = model.normalizer
    if normalizer is None or normalizer.method != "log1p":
        return np.copy
    logs = [[float(a) for a in normalizer.scaling(c.name)[2:]] for c in model.inputs]

    def undo(windows: Array) -> Array:
        out = np.empty_like(windows)
        for k, of in enumerate(logs):
            out[..., k, :, :] = backward(windows[..., k, :, :], 0.0, 1.0, *of)
        return out

    return undo
