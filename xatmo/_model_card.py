"""The README.md of a saved model: what it is, what it was trained on, how to use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def card(state: Mapping[str, Any], *, name: str, n_parameters: int, embeds: bool = False) -> str:
    """Write the model card as Markdown.

    Parameters
    ----------
    state : mapping
        What ``config.json`` of the model holds.
    name : str
        Of its directory.
    n_parameters : int
        Of its network.
    embeds : bool
        Whether the network has an encoder, whose features serve where it writes no fields.
    """
    config, factor = state["config"], state["factor"]
    task = config.get("task", "model")
    kinds = {config.get("network", {}).get("kind", "module"), config.get("network", {}).get("architecture")}
    needs = ", module=network" if "module" in kinds else ""
    use = "fine = ds.atmo.superresolve(model)" if factor > 1 else "fine = ds.atmo.apply(model)"
    if "video" in kinds:
        use = "forecasts = ds.atmo.forecast(model)"
    if embeds and not state["outputs"]:
        use = "features = ds.atmo.embed(model)\ndifference = ds.atmo.distance(other, model)"
    parts = [
        f"# {name}",
        f"{task} of xatmo, fingerprint `{state['fingerprint']}`, {n_parameters:,} parameters.",
        f"```python\nimport xatmo\n\nmodel = xatmo.load({name!r}{needs})\n{use}\n```",
        "## Variables\n\n"
        + _channels("Reads", state["inputs"])
        + "\n"
        + (_channels("Reads, on the fine grid", state["fine"]) + "\n" if state.get("fine") else "")
        + _channels("Writes", state["outputs"]),
        f"## Grid\n\nFactor {factor}. {_grid(state['grid'])}"
        + (f" Trained on patches of {_sizes(state['patch_size'])} coarse cells." if state["patch_size"] else ""),
    ]
    for title in ("network", "training", "scores"):
        if config.get(title):
            parts.append(f"## {title.capitalize()}\n\n" + _table(config[title]))
    return "\n\n".join(parts) + "\n"


def _channels(verb: str, channels: Sequence[Mapping[str, Any]]) -> str:
    lines = [f"| {verb} | units | description |", "|---|---|---|"]
    for c in channels:
        lines.append(f"| `{c['name']}` | {c['units'] or '(none)'} | {c['attrs'].get('long_name', '')} |")
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
