"""Files of experiments: what is read, what is taken from the step before, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from xatmo import workflow
from xatmo.cli import configuration, experiments, main
from xatmo.errors import ConfigError, OptionError

WHOLE: dict[str, Any] = {
    "extract": {"input": "archive.nc", "output": "data/a.zarr"},
    "preprocess": {"splits": {"train": {"years": 2001}, "test": {"years": 2002}}, "output": "prepared"},
    "train": {"task": {"architecture": "diurnal"}, "output": "runs/a/model"},
    "postprocess": {"every": 6, "bootstrap": None},
}


def written(folder: Path, content: Any) -> Path:
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_steps_follow_each_other(tmp_path: Path) -> None:
    path = written(tmp_path, WHOLE)
    assert experiments.read("extract", path) == WHOLE["extract"]
    assert experiments.read("preprocess", path)["input"] == "data/a.zarr"
    assert experiments.read("postprocess", path) == {
        "every": 6, "bootstrap": None, "model": "runs/a/model", "data": "prepared", "output": "runs/a",
    }  # fmt: skip
    training = configuration.read("VideoForecaster", path)
    assert training.data["input"] == "prepared"
    assert training.output == Path("runs/a/model")
    alone = written(tmp_path, {"input": "b.nc", "output": "b.zarr", "years": 2001})
    assert experiments.read("extract", alone)["years"] == 2001


@pytest.mark.parametrize(
    ("step", "content", "message"),
    [
        ("extract", {"preprocess": {}}, "has no section 'extract'; it has preprocess"),
        ("extract", {"extract": 3}, "extract is int; wanted a mapping"),
        ("extract", {"extract": {"input": "a.nc", "outptu": 1}}, "has 'outptu', .* did you mean 'output'?"),
        ("extract", {"extract": {"input": "a.nc"}}, "extract.output has to be given"),
        ("preprocess", {"preprocess": {"output": "p", "splits": {}}}, "preprocess.input has to be given"),
        ("postprocess", {**WHOLE, "train": {"output": "models/a"}}, "postprocess.output has to be given"),
        ("extract", [1], "holds list; wanted a mapping as `xatmo config extract` prints it"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, step: str, content: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        experiments.read(step, written(tmp_path, content))


def test_what_is_given_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "twice.yaml"
    file.write_text("extract:\n  input: a.nc\n  output: a.zarr\n  input: b.nc\n")
    with pytest.raises(ConfigError, match=r"twice.yaml is not YAML: 'input' is given twice in .* line 2"):
        experiments.read("extract", file)


def test_training_needs_its_section(tmp_path: Path) -> None:
    without = {k: v for k, v in WHOLE.items() if k != "train"}
    with pytest.raises(ConfigError, match="has no section 'train'; wanted a mapping with data, task"):
        configuration.read("VideoForecaster", written(tmp_path, without))
    with pytest.raises(ConfigError, match="which it does not know; did you mean 'train'"):
        configuration.read("VideoForecaster", written(tmp_path, {**WHOLE, "trian": {}}))


@pytest.mark.parametrize("step", sorted(experiments.STEPS))
def test_templates_can_be_read_back(tmp_path: Path, step: str) -> None:
    text = experiments.template(step)
    content = yaml.safe_load(text)[step]
    assert set(content) == set(experiments._settings(step))
    assert "inspect" not in text
    for line in text.splitlines():
        assert len(line) <= 120
    with pytest.raises(OptionError, match="no step 'fly'"):
        experiments.template("fly")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"select": {"time": "2001"}}, "data.select goes with fields in files"),
        ({"static": 3}, "data.static is 3; wanted names of variables"),
        ({"validation": "later.nc"}, "data.validation is 'later.nc'; .* wanted true or false"),
    ],
)
def test_prepared_data_take_no_files(tmp_path: Path, data: dict[str, Any], message: str) -> None:
    (tmp_path / "prepared").mkdir()
    (tmp_path / "prepared" / "preprocess.json").write_text(json.dumps({"step": "preprocess"}))
    content = {**WHOLE["train"], "data": {"input": str(tmp_path / "prepared"), **data}}
    wanted = configuration.read("VideoForecaster", written(tmp_path, content))
    with pytest.raises(ConfigError, match=message):
        configuration.train(wanted)


def test_an_error_of_a_step_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, {**WHOLE, "extract": {"input": str(tmp_path / "no*.nc"), "output": "a.zarr"}})
    with pytest.raises(SystemExit) as stopped:
        main(["extract", str(path)])
    assert stopped.value.code == 1
    assert capsys.readouterr().err == f"xatmo: no such file or folder: {tmp_path / 'no*.nc'}\n"
    assert workflow.truth_of(tmp_path) is None
