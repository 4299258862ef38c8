"""Model: saved whole or not at all; every damaged directory gives one clear line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import xatmo
from xatmo.errors import CheckpointError, VariableError
from xatmo.model import Channel, Model
from xatmo.nn.superres import SuperResolution, SuperResolutionConfig
from xatmo.normalize import Normalizer


def make(seed: int = 0, **kwargs: Any) -> Model:
    torch.manual_seed(seed)
    config = SuperResolutionConfig(2, channels=4, n_blocks=1)
    network = SuperResolution(config)
    for p in network.parameters():
        torch.nn.init.normal_(p)
    channel = Channel("t2m", "K", {"long_name": "2 m temperature"})
    normalizer = Normalizer.from_statistics(mean={"t2m": 280.0}, std={"t2m": 10.0})
    full: dict[str, Any] = {"task": "SuperResolver", "network": config.to_dict(), "normalized": True}
    given = {"normalizer": normalizer, "output_normalizer": normalizer, "factor": 2, "patch_size": {"lat": 8, "lon": 8}}
    return Model(network.eval(), full, (channel,), (channel,), **{**given, **kwargs})


def test_round_trip(tmp_path: Path) -> None:
    model = make(history=[{"step": 1, "loss": 0.5}])
    model.save(tmp_path / "m")
    assert {"config.json", "model.safetensors", "normalizer.nc", "README.md"} <= {
        p.name for p in (tmp_path / "m").iterdir()
    }
    again = Model.load(tmp_path / "m")
    assert again.fingerprint == model.fingerprint
    assert (again.inputs, again.outputs, again.factor, again.patch_size) == (
        model.inputs, model.outputs, model.factor, model.patch_size,
    )  # fmt: skip
    assert again.normalizer is again.output_normalizer
    assert again.history == model.history
    assert again.halo == model.halo > 0
    x = torch.randn(1, 1, 5, 6)
    assert torch.equal(again.network(x), model.network(x))


def test_the_card_says_what_it_is(tmp_path: Path) -> None:
    model = make()
    model.save(tmp_path / "m")
    text = (tmp_path / "m" / "README.md").read_text()
    for part in (model.fingerprint, "t2m", "K", "2 m temperature", "Factor 2", "8 (lat) x 8 (lon)", "xatmo.load('m')"):
        assert part in text


def test_fingerprint_follows_weights_names_and_units() -> None:
    base = make().fingerprint
    assert base == make().fingerprint
    assert base != make(seed=1).fingerprint
    assert base != make(patch_size={"lat": 9, "lon": 8}).fingerprint
    other = make()
    other.inputs = (Channel("t2m", "degC"),)
    assert other.fingerprint != base
    warmer = Normalizer.from_statistics(mean={"t2m": 281.0}, std={"t2m": 10.0})
    assert make(normalizer=warmer, output_normalizer=warmer).fingerprint != base
    land = xr.Dataset({"land": (("lat", "lon"), np.eye(3, dtype="float32"))}, {"lat": [0, 1, 2], "lon": [0, 1, 2]})
    assert len({make(static=s).fingerprint for s in (None, land, 2 * land)}) == 3


def test_another_normalizer_in_its_directory_is_noticed(tmp_path: Path) -> None:
    make().save(tmp_path / "m")
    Normalizer.from_statistics(mean={"t2m": 281.0}, std={"t2m": 10.0}).save(tmp_path / "m" / "normalizer.nc")
    with pytest.raises(CheckpointError, match="was changed after it was saved"):
        Model.load(tmp_path / "m")


def test_a_failed_save_leaves_the_old_one_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = make()
    old.save(tmp_path / "m")

    def fail(self: Normalizer, path: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Normalizer, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        make(seed=1).save(tmp_path / "m")
    monkeypatch.undo()
    assert Model.load(tmp_path / "m").fingerprint == old.fingerprint
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    make(seed=1).save(tmp_path / "m")
    assert Model.load(tmp_path / "m").fingerprint == make(seed=1).fingerprint
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_a_failed_rename_puts_the_old_one_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    old = make()
    old.save(tmp_path / "m")
    true, calls = os.replace, list[Any]()

    def replace(a: Any, b: Any) -> None:
        calls.extend([b] * (Path(b) == tmp_path / "m"))
        if Path(b) == tmp_path / "m" and len(calls) == 1:
            raise OSError("no rename")
        true(a, b)

    monkeypatch.setattr("xatmo.model.os.replace", replace)
    with pytest.raises(OSError, match="no rename"):
        make(seed=1).save(tmp_path / "m")
    assert Model.load(tmp_path / "m").fingerprint == old.fingerprint


def test_what_is_not_a_model_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(CheckpointError, match="exists and is not a saved model"):
        make().save(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.tex").exists()


def test_missing_and_foreign_directories(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nothing is there"):
        Model.load(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="it is a file"):
        Model.load(tmp_path / "file")
    with pytest.raises(CheckpointError, match=r"not a saved model: it holds no config.json"):
        Model.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(CheckpointError, match="was not written by xatmo"):
        Model.load(tmp_path)


def change(path: Path, **values: Any) -> None:
    state = json.loads((path / "config.json").read_text())
    state.update(values)
    (path / "config.json").write_text(json.dumps({k: v for k, v in state.items() if v is not None}))


def test_damaged_directories(tmp_path: Path) -> None:
    def fresh(name: str) -> Path:
        make().save(tmp_path / name)
        return tmp_path / name

    def truncate(file: Path) -> None:
        data = file.read_bytes()
        file.write_bytes(data[: len(data) // 2])

    path = fresh("a")
    truncate(path / "config.json")
    with pytest.raises(CheckpointError, match=r"config.json' is truncated or not JSON"):
        Model.load(path)
    path = fresh("b")
    truncate(path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model.safetensors' cannot be read"):
        Model.load(path)
    path = fresh("c")
    truncate(path / "normalizer.nc")
    with pytest.raises(CheckpointError, match=r"normalizer.nc"):
        Model.load(path)
    path = fresh("d")
    (path / "normalizer.nc").unlink()
    with pytest.raises(CheckpointError, match=r"has no normalizer.nc"):
        Model.load(path)
    path = fresh("e")
    change(path, version=99)
    with pytest.raises(CheckpointError, match="saved by a newer xatmo"):
        Model.load(path)
    path = fresh("f")
    change(path, inputs=None)
    with pytest.raises(CheckpointError, match=r"is incomplete: it lacks \['inputs'\]"):
        Model.load(path)
    path = fresh("g")
    change(path, factor=3)
    with pytest.raises(CheckpointError, match="was changed after it was saved"):
        Model.load(path)


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    make().save(tmp_path / "m")
    state = json.loads((tmp_path / "m" / "config.json").read_text())
    state["config"]["network"]["channels"] = 8
    (tmp_path / "m" / "config.json").write_text(json.dumps(state))
    with pytest.raises(CheckpointError, match="do not fit the network"):
        Model.load(tmp_path / "m")


def test_a_module_of_ones_own_is_asked_for(tmp_path: Path) -> None:
    channel = Channel("t2m", "K")
    net = torch.nn.Conv2d(1, 1, 3)
    Model(net, {"task": "x", "network": {"kind": "module"}}, (channel,), (channel,)).save(tmp_path / "m")
    with pytest.raises(CheckpointError, match=r"pass the network: xatmo.load\(path, module=net\)"):
        Model.load(tmp_path / "m")
    other = torch.nn.Conv2d(1, 1, 3)
    assert torch.equal(Model.load(tmp_path / "m", module=other).network.weight, net.weight)
    with pytest.raises(CheckpointError, match="do not fit the network"):
        Model.load(tmp_path / "m", module=torch.nn.Conv2d(2, 1, 3))
    change(tmp_path / "m", config={"network": {"kind": "oracle"}})
    with pytest.raises(CheckpointError, match="unknown kind 'oracle'"):
        Model.load(tmp_path / "m")


# ---------------------------------------------------------------------- static fields
def static() -> xr.Dataset:
    grid = xatmo.Grid.regular(18, 36, poles=False)
    values = np.arange(18 * 36, dtype="float32").reshape(18, 36)
    return xr.Dataset({"z": (("latitude", "longitude"), values)}, coords=grid.coords())


def test_static_fields_are_put_beside_the_data(tmp_path: Path) -> None:
    model = make(static=static())
    model.inputs = (*model.inputs, Channel("z"))
    model.save(tmp_path / "m")
    model = Model.load(tmp_path / "m")
    part = static().isel(latitude=slice(3, 9), longitude=slice(4, 10)).rename(z="t2m")
    xr.testing.assert_equal(model.complete(part)["z"], part["t2m"].rename("z"))
    west = part.assign_coords(longitude=part.longitude - 360)
    np.testing.assert_array_equal(model.complete(west)["z"].values, part["t2m"].values)
    up = part.isel(latitude=slice(None, None, -1))
    np.testing.assert_array_equal(model.complete(up)["z"].values, part["t2m"].values[::-1])
    own = part.assign(z=part["t2m"] * 0)
    assert model.complete(own)["z"].sum() == 0
    off = part.assign_coords(latitude=part.latitude + 2)
    with pytest.raises(VariableError, match=r"static fields \['z'\].*Add these variables"):
        model.complete(off)
