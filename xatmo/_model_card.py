"""The README.md of a saved model: what it is, what it was trained on, how to use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xatmo._channels import Channel
    from xatmo.model import Model


def card(model: Model, *, name: str) -> str:
    """Write the model card as Markdown."""
    config = model.config
    task = config.get("task", "model")
    kinds = {config.get("network", {}).get("kind", "module"), config.get("network", {}).get("architecture")}
    needs = ", module=network" if "module" in kinds else ""
    use = "fine = ds.atmo.superresolve(model)" if model.factor > 1 else "fine = ds.atmo.apply(model)"
    if "video" in kinds:
        use = "forecasts = ds.atmo.forecast(model)"
    if not model.outputs and hasattr(model.network, "encoder"):
        use = "features = ds.atmo.embed(model)\ndifference = ds.atmo.distance(other, model)"
    parts = [
        f"# {name}",
        f"{task} of xatmo, fingerprint `{model.fingerprint}`, "
        f"{sum(p.numel() for p in model.network.parameters()):,} parameters.",
        f"```python\nimport xatmo\n\nmodel = xatmo.load({name!r}{needs})\n{use}\n```",
        "## Variables\n\n"
        + _channels("Reads", model.inputs)
        + "\n"
        + (_channels("Reads, on the fine grid", model.fine) + "\n" if model.fine else "")
        + _channels("Writes", model.outputs),
        f"## Grid\n\nFactor {model.factor}. {_grid(model.grid)}"
        + (f" Trained on patches of {_sizes(model.patch_size)} coarse cells." if model.patch_size else ""),
    ]
    for title in ("network", "training", "scores"):
        if config.get(title):
            parts.append(f"## {title.capitalize()}\n\n" + _table(config[title]))
    return "\n\n".join(parts) + "\n"


def _channels(verb: str, channels: tuple[Channel, ...]) -> str:
    lines = [f"| {verb} | units | description |", "|---|---|---|"]
    for c in channels:
        lines.append(f"| `{c.name}` | {c.units or '(none)'} | {c.attrs.get('long_name', '')} |")
    return "\n".join(lines) + "\n"


def _grid(grid: dict[str, Any]) -> str:
    texts = []
    for which in ("coarse", "fine"):
        if which not in grid:
            continue
        lat, lon = (_axis(grid[which].get(axis)) for axis in ("latitude", "longitude"))
        texts.append(f"{which.capitalize()} training grid: {grid[which].get('kind')}, latitude {lat}, longitude {lon}.")
    return " ".join(texts)


def _axis(axis: Any) -> str:
    if isinstance(axis, dict):
        return f"{axis['n']} points"
    return f"{len(axis)} points from {axis[0]:g} to {axis[-1]:g}" if axis else "unknown"


def _sizes(sizes: dict[str, int]) -> str:
    return " x ".join(f"{size} ({dim})" for dim, size in sizes.items())


def _table(settings: dict[str, Any]) -> str:
    lines = ["| setting | value |", "|---|---|"]
    lines += [f"| {k} | {v:.6g} |" if isinstance(v, float) else f"| {k} | {v} |" for k, v in settings.items()]
    return "\n".join(lines)
