"""The command line of networks that map observations: configuration, training, maps; and the benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml

import xatmo
from xatmo import benchmarks
from xatmo.benchmarks import cases, rows
from xatmo.cli import configuration, main
from xatmo.datasets import challenge_fields, write_challenge
from xatmo.datasets.challenge_files import FILES
from xatmo.errors import CatalogError, ConfigError, OptionError
from xatmo.tasks.fourdvar import Background

Run = Callable[..., tuple[int, str, str]]
SMALL: dict[str, Any] = {
    "background": "linear", "time_window": 3, "n_steps": 1, "error": False,
    "network_settings": {"prior_channels": 2, "solver_channels": 2, "n_levels": 1, "padding": "zeros"},
}  # fmt: skip
FIT = {"max_steps": 2, "batch_size": 2, "progress": False}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command; give exit status, standard output, standard error."""
    monkeypatch.setenv("COLUMNS", "160")

    def command(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    return command


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_challenge(tmp_path_factory.mktemp("twin"), step=1.0, days=13)


def config(path: Path, **sections: Any) -> Path:
    path.write_text(yaml.safe_dump({"task": SMALL, "training": FIT, **sections}), encoding="utf-8")
    return path


# ---------------------------------------------------------------------- configurations
def test_the_template_names_every_setting(run: Run) -> None:
    status, out, _ = run("config", "fourdvarnet")
    assert status == 0
    content = yaml.safe_load(out)
    assert list(content["data"])[:4] == ["challenge", "data", "scenario", "input"]
    for role in ("obs", "mask", "target", "predictors", "domain", "background", "lag", "validation"):
        assert role in content["data"]
        assert role not in content["training"]
    assert {"prior", "solver", "n_steps", "redraw"} <= set(content["task"])
    assert {"max_steps", "patch_size", "initial"} <= set(content["training"])
    assert "# Configuration of a training of FourDVarNet" in out


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "data.input has to be given, or data.challenge and data.data"),
        ({"input": "a.nc"}, "data.obs has to be given, or data.challenge and data.data"),
        ({"challenge": "ose2021a", "data": "x"}, "data.challenge is 'ose2021a'; wanted osse2020a"),
        ({"challenge": "osse2020a"}, "data.challenge wants data.data, the folder of its files"),
        ({"challenge": "osse2020a", "data": "x", "input": "a.nc"}, "and no data.input"),
        ({"input": "a.nc", "obs": "o", "data": "x"}, "data.data goes with data.challenge, which is not given"),
        ({"input": "a.nc", "obs": "o", "observations": "o"}, "has 'observations', which it does not know"),
    ],
)
def test_data_that_say_too_little(tmp_path: Path, data: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configuration.read("FOURDVARNET", config(tmp_path / "c.yaml", data=data))


# ---------------------------------------------------------------------- training and maps
def test_a_challenge_trains_and_is_mapped(run: Run, twin: Path, tmp_path: Path) -> None:
    days = {"select": {"time": ["2012-10-01", "2012-10-09"]}, "validation": {"time": ["2012-10-10", "2012-10-13"]}}
    data = {"challenge": "osse2020a", "data": str(twin), "predictors": "sst", **days}
    file = config(tmp_path / "c.yaml", data=data, output=str(tmp_path / "m"))
    status, out, err = run("train", "fourdvarnet", file)
    assert (status, err) == (0, "")
    assert f"training FourDVarNet on osse2020a in {twin}" in out
    assert "step 2" in out
    model = xatmo.load(tmp_path / "m").model
    assert [c.name for c in model.inputs[:2]] == ["obs", "obs_mask"]
    assert "sst" in [c.name for c in model.inputs]

    words = ("apply", tmp_path / "m", twin, tmp_path / "maps.zarr", "--period", "2012-10-03,2012-10-12")
    status, out, err = run(*words)
    assert (status, err) == (0, "")
    assert f"mapping obs of {twin}, domain domain, lag lag" in out
    maps = xr.open_zarr(tmp_path / "maps.zarr")["obs"].load()
    fields = challenge_fields(twin).sel(time=slice("2012-10-03", "2012-10-12"))
    expected = fields.load().atmo.fourdvar_interp("obs", model=model, domain="domain", lag="lag")["obs"]
    np.testing.assert_allclose(maps, expected, atol=1e-5)
    assert maps.dims == ("time", "lat", "lon")
    status, out, _ = run(*words[:3], tmp_path / "maps.nc", "--variable", "obs", "--device", "cpu")
    assert status == 0
    assert xr.open_dataset(tmp_path / "maps.nc").sizes["time"] == 13

    nothing = fields.assign(obs=fields["obs"].where(False))
    nothing.to_netcdf(tmp_path / "nothing.nc")
    status, out, _ = run("apply", tmp_path / "m", tmp_path / "nothing.nc", tmp_path / "none.nc")
    assert (status, "nothing was observed" in " ".join(out.split())) == (0, True)

    scored = run("evaluate", tmp_path / "maps.nc", "--challenge", "osse2020a", "--reference", twin, "--period",
                 "2012-10-02,2012-10-12", "--label-days")  # fmt: skip
    assert scored[0] == 0
    for more, message in (
        (("--obs", "ssx"), "no variable 'ssx' in "),
        (("--period", "2012"), "--period 2012; wanted two days"),
        (("--period", "2020-01-01,2020-02-01"), "the input goes from 2012-10-01"),
    ):
        status, _, err = run("apply", tmp_path / "m", twin, tmp_path / "x.nc", *more)
        assert (status, message in err) == (1, True), err


def test_own_files_train(run: Run, twin: Path, tmp_path: Path) -> None:
    """Names in one file, a field of another, and a track of a third; without a truth."""
    tracks = xr.open_dataset(twin / "dc_obs" / "2020a_SSH_mapping_NATL60_jason1.nc")[["ssh_obs"]]
    tracks.rename(ssh_obs="jason").to_netcdf(tmp_path / "jason.nc")
    data: dict[str, Any] = {
        "input": str(twin / FILES["nadir_swot"]), "obs": ["ssh_obs", {"file": str(tmp_path / "jason.nc")}],
        "predictors": {"file": str(twin / FILES["sst"]), "variable": "sst"}, "domain": "mask",
        "validation": {"time": ["2012-10-10", "2012-10-13"]},
    }  # fmt: skip
    status, _, err = run("train", "FourDVarNet", config(tmp_path / "c.yaml", data=data, output=str(tmp_path / "m")))
    assert (status, err) == (0, "")
    model = xatmo.load(tmp_path / "m").model
    assert [c.name for c in model.inputs[:2]] == ["ssh_obs", "jason"]
    for change, message in (
        ({"obs": "nothing"}, "data.obs names 'nothing'; the input has "),
        ({"obs": {"file": str(tmp_path / "jason.nc"), "variable": "x"}}, "name one of them: variable: NAME"),
        ({"obs": {"variable": "x"}}, "wanted a name, or {file: FILE, variable: NAME}"),
        ({"validation": "a.nc"}, "data.validation is 'a.nc'; wanted a mapping"),
        ({"predictors": {"file": str(tmp_path / "other.nc")}}, "does not lie on the input's grid and times"),
    ):
        xr.open_dataset(twin / FILES["sst"])[["sst"]].isel(lat=slice(3)).to_netcdf(tmp_path / "other.nc")
        file = config(tmp_path / "bad.yaml", data={**data, **change}, output=str(tmp_path / "n"))
        status, _, err = run("train", "fourdvarnet", file)
        assert (status, message in err) == (1, True), err


def test_the_truth_of_a_challenge_is_not_shown_to_what_learns_without(twin: Path) -> None:
    from xatmo.cli import mapping

    data = {"challenge": "osse2020a", "data": str(twin), "select": {"time": ["2012-10-01", "2012-10-05"]}}
    given = {o: mapping.training_data(data, configuration._open, configuration._select, objective=o)[1]
             for o in (None, "held_back")}  # fmt: skip
    assert given[None]["target"] == "ssh"
    assert "target" not in given["held_back"]
    assert {"obs", "domain", "lag"} <= set(given["held_back"])


def test_options_of_mapping_want_a_network_that_maps() -> None:
    from xatmo.cli import applying

    with pytest.raises(OptionError, match="--obs goes with a FourDVarNet, and this model is none; leave it out"):
        applying.refuse({"mask": None, "obs": "ssh"}, "FourDVarNet")


# ---------------------------------------------------------------------- benchmarks
def test_benchmark_gp_by_command(run: Run, tmp_path: Path) -> None:
    words = ("benchmark", "GP", "-o", tmp_path, "--quick", "--max-steps", 1, "--size", 16, "--steps", 60,
             "--rows", "linear,spde_oi,spde_oi_all,bilinear", "--batch-size", 2)  # fmt: skip
    status, out, err = run(*words)
    assert status == 0, err
    for text in ("[4/4] 4DVarNet, bilinear prior", "smaller RMSE than SPDE-OI of all of them", "wrote "):
        assert text in out
    table = pd.read_csv(tmp_path / "table.csv", index_col="method")
    assert table.loc["SPDE-OI (published)", ["mu", "sigma", "lambda_x", "lambda_t"]].tolist() == [
        0.31,
        0.04,
        26.61,
        17.21,
    ]
    own = table[~table["published"]]
    assert list(own["name"]) == ["linear", "spde_oi", "spde_oi_all", "bilinear"]
    assert own["rmse"].idxmin() == "SPDE-OI, exact, all steps"
    assert own.loc["4DVarNet, bilinear prior", "steps"] == 1
    assert (tmp_path / "table.md").read_text().count("|\n") == 2 + len(table)
    # The score of the exact analysis, from the maps that were written, by hand.
    case = benchmarks.gp_case(tmp_path, size=16, n_time=60)
    made = xr.open_dataset(tmp_path / "rows" / "spde_oi" / "map.nc")["analysis"]
    truth = case.target.values
    mu = 1 - np.sqrt(((made.values - truth) ** 2).mean()) / np.sqrt((truth**2).mean())
    assert own.loc["SPDE-OI, exact, 5 steps", "mu"] == pytest.approx(mu, abs=1e-6)
    for score in ("mu", "rmse"):
        assert (own[f"{score}_lower"] < own[score]).all()
        assert (own[score] < own[f"{score}_upper"]).all()
    assert "mu, sigma, RMSE: 90 % intervals from 1000 resamples" in out
    assert "wavelength and period: 90 % intervals from resamples of five bands of latitude" in out
    assert own[["lambda_x_lower", "lambda_t_upper", "sigma_lower"]].notna().all(axis=None)
    assert xatmo.load(tmp_path / "rows" / "bilinear" / "model").is_fitted

    status, out, _ = run(*words)  # what is finished is read back
    assert status == 0
    assert out.count("read back from") == 4
    status, _, err = run(*words[:-1], 3)
    assert status == 1
    assert "was made with other batch_size; take another --output, or --overwrite" in err


def test_benchmark_osse_by_command(run: Run, twin: Path, tmp_path: Path) -> None:
    words = ("benchmark", "osse", "-o", tmp_path, "--data", twin, "--quick", "--max-steps", 1, "--rows",
             "linear,oi_file,oi_channel_one_scale", "--patch-size", 12, "--batch-size", 2)  # fmt: skip
    status, _, err = run(*words)
    assert status == 1
    assert "have days from 2012-10-01 to 2012-10-13; wanted 2013-02-24 to 2013-09-30 to train" in err
    status, out, err = run(*words, "--train", "2012-10-01,2012-10-08", "--test", "2012-10-07,2012-10-13")
    assert status == 0, err
    assert "the data are generated: published rows are of other data" in out
    table = pd.read_csv(tmp_path / "table.csv", index_col="method")
    assert table.loc["DUACS OI (published)", "lambda_t"] == 11.29
    assert "4DVarNet v2022 (swot + 4 nadirs, published)" in table.index
    # Mean of the days that the file's analysis has, against daily means of the reference, both by hand.
    fields = challenge_fields(twin).sel(time=slice("2012-10-07", "2012-10-13"), lat=slice(33, 43), lon=slice(-65, -55))
    error = float(((fields["oi"] - fields["ssh"]) ** 2).mean() ** 0.5)
    assert table.loc["OI of the files", "rmse"] == pytest.approx(error, rel=1e-4)
    assert run(*words[:-6], "--train", "2012-10-01")[2].count("--train 2012-10-01; wanted two days") == 1


def test_rows_of_both_tables_are_all_there() -> None:
    osse = {row.name: row for row in rows.OSSE}
    assert osse["anomaly_two_scales"].settings == {"state": "anomaly", "prior": "genn"}
    assert {osse[n].settings["prior"] for n in ("oi_channel_one_scale", "oi_channel_two_scales")} == {
        "bilinear",
        "genn",
    }
    assert osse["classic_lstm"].settings["solver"] == "convlstm"
    assert (osse["spde_given"].spde, osse["spde_estimated"].spde) == ("given", "estimated")
    for row in (*rows.OSSE, *rows.GP):
        if row.kind == "network":
            xatmo.FourDVarNet(**row.settings)  # every name is known
    with pytest.raises(OptionError, match="no row 'magic'; wanted some of linear, "):
        rows.chosen(rows.GP, ["linear", "magic"])
    with pytest.raises(OptionError, match="no row; wanted some of"):
        rows.chosen(rows.GP, [])


def test_words_of_benchmarks(run: Run, tmp_path: Path) -> None:
    assert "no table 'gq'; wanted osse or gp" in run("benchmark", "gq")[2]
    status, out, _ = run("benchmark", "osse", "--rows", "list")
    assert status == 0
    assert "spde_estimated" in out
    with pytest.raises(OptionError, match="size=4, n_time=50; wanted 8 to 170 cells, and 40 steps or more"):
        benchmarks.gp_case(tmp_path, size=4, n_time=50)
    (tmp_path / "dc_ref").mkdir()
    with pytest.raises(CatalogError, match=f"has no {FILES['ssh']}; wanted it from"):
        benchmarks.osse_case(tmp_path)


def test_a_twin_appears_when_it_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is interrupted does not stand there as the challenge's files."""
    whole = xatmo.datasets.write_challenge
    where = tmp_path / "twin"

    def broken(path: Path, **settings: Any) -> Path:
        (path / "dc_ref").mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(xatmo.datasets, "write_challenge", broken)
    with pytest.raises(KeyboardInterrupt):
        benchmarks.osse_case(where, days=3, step=1.0)
    assert not where.exists()
    monkeypatch.setattr(xatmo.datasets, "write_challenge", whole)
    days = ("2012-10-01", "2012-10-03")
    said: list[str] = []
    case = benchmarks.osse_case(where, days=3, step=1.0, train=days, test=days, note=said.append)
    assert said == [f"writing a generated twin of the challenge to {where}: 3 days at 1 degrees, some minutes"]
    assert case.generated
    assert case.has("file")
    assert not case.has("exact")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["twin"]


def test_the_equation_has_the_scales_that_were_estimated() -> None:
    """A field of known Matern scales: kappa and gamma give its correlation back, tau its variance 1."""
    sea = xatmo.datasets.sea_level(days=20, step=0.5, std=0.3)["ssh"]
    sea = sea.rename(latitude="lat", longitude="lon")
    seen = sea.where(np.random.default_rng(0).random(sea.shape) < 0.03).to_dataset(name="obs")
    found = cases._equation(seen)
    scales = Background.fit("oi", seen, "obs", n_windows=cases._WINDOWS, oi={"drift": None}).scales
    length = np.sqrt(found["gamma"]) / found["kappa"]  # of the Matern covariance, in cells
    from scipy.special import k1

    cells = scales.length_scale / (np.radians(0.5) * xatmo.constants.EARTH_RADIUS)
    distance = cells / length
    assert distance * k1(distance) == pytest.approx(np.exp(-1), rel=1e-3)
    variance = found["tau"] ** 2 / (8 * np.pi * found["gamma"] * found["kappa"] ** 2)
    assert 1 <= variance < 1.3  # of the continuous equation; implicit steps have less
