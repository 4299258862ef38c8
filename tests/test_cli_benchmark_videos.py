"""The tables of forecasts by command: moving digits, and rain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

import xatmo
from xatmo import benchmarks
from xatmo.benchmarks import video_scores
from xatmo.cli import main
from xatmo.datasets import moving_digits, rain_fields
from xatmo.errors import ConfigError, DimensionError, OptionError

Run = Callable[..., tuple[int, str, str]]


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


def test_moving_digits_by_command(run: Run, tmp_path: Path) -> None:
    words = ("benchmark", "moving-digits", "-o", tmp_path, "--quick", "--max-steps", 1, "--digits", 1, "--sequences", 8,
             "--unseen", 20, "--context", 3, "--future", 2, "--batch-size", 2,
             "--rows", "mean,last,simvp,simvp_published")  # fmt: skip
    status, out, err = run(*words)
    assert status == 0, err
    for text in ("left out: SimVP, published size", "[3/3] SimVP", "20 of unseen digits", "wrote "):
        assert text in out
    table = pd.read_csv(tmp_path / "table.csv", index_col="method")
    assert list(table["name"]) == ["mean", "last", "simvp"]
    assert table.loc["SimVP", "steps"] == 1
    assert (tmp_path / "table.md").read_text().count("|\n") == 2 + len(table)

    # By hand, from frames.
    train, test = (
        moving_digits(n, n_frames=5, size=32, n_digits=1, split=split).values.astype(float)
        for n, split in ((8, "train"), (20, "test"))
    )
    wanted, mean = test[:, 3:], train.mean((0, 1))
    assert table.loc["constant mean frame", "mse"] == pytest.approx(((wanted - mean) ** 2).sum((2, 3)).mean(), rel=1e-5)
    last = test[:, [2]]
    spread = ((wanted - last) ** 2).sum((2, 3)).mean(1).std(ddof=1) / 20**0.5  # of the mean of twenty sequences
    low, high = (table.loc["last frame", f"mse_{end}"] for end in ("lower", "upper"))
    assert low < table.loc["last frame", "mse"] < high
    assert high - low == pytest.approx(2 * 1.73 * spread, rel=0.2)  # Student's t with 19 degrees of freedom
    assert table[["ssim_lower", "psnr_upper", "crps_lower"]].notna().all(axis=None)
    assert "90 % intervals from 1000 resamples of 20 sequences" in out
    assert table.loc["last frame", "mae"] == pytest.approx(np.abs(wanted - last).sum((2, 3)).mean(), rel=1e-5)
    assert table.loc["last frame", "crps"] == table.loc["last frame", "mae"]
    assert table.loc["last frame", "psnr"] == pytest.approx(-10 * np.log10(((wanted - last) ** 2).mean()), rel=1e-5)
    same = [structural_similarity(wanted[i, k], last[i, 0], data_range=1.0) for i in range(20) for k in range(2)]
    assert table.loc["last frame", "ssim"] == pytest.approx(np.mean(same), abs=1e-5)
    by_lead = xr.open_dataset(tmp_path / "rows" / "last" / "scores.nc")
    assert by_lead.mse_by_lead.values == pytest.approx(((wanted - last) ** 2).sum((2, 3)).mean(0), rel=1e-5)
    kept = xr.open_dataset(tmp_path / "rows" / "simvp" / "forecasts.nc")
    assert kept.truth.transpose("sequence", ..., "y", "x").values.squeeze() == pytest.approx(wanted[:8])
    task = xatmo.load(tmp_path / "rows" / "simvp" / "model")
    assert task.config["n_context"] == 3

    status, out, _ = run(*words)  # what is finished is read back
    assert status == 0
    assert out.count("read back from") == 3
    status, _, err = run(*words, "--seed", 1)
    assert status != 0
    assert "made with other seed" in err


def test_rain_by_command(run: Run, tmp_path: Path) -> None:
    rain = rain_fields(90, (20, 24), spacing=4000.0, wet=0.5, seed=3)
    rain.to_netcdf(tmp_path / "radar.nc")
    words = ("benchmark", "rain", "-o", tmp_path / "out", "--data", tmp_path / "radar.nc", "--quick", "--max-steps", 1,
             "--context", 2, "--future", 3, "--thresholds", "0.5,2", "--rows", "mean,last,blurred,savp,vae",
             "--area", "8000,60000,0,92000")  # fmt: skip
    status, out, err = run(*words)
    assert status == 0, err
    assert "y 8000 to 60000" in out
    table = pd.read_csv(tmp_path / "out" / "table.csv", index_col="method")
    assert table.loc["VAE", "crps"] < table.loc["VAE", "mae"]  # its members say more than the forecast alone
    kept = xr.open_dataset(tmp_path / "out" / "rows" / "savp" / "forecasts.nc")
    assert kept.sizes["member"] == 8
    assert bool((kept.members.std("member") > 0).any())
    xr.testing.assert_allclose(kept.forecast, kept.members.mean("member"), atol=1e-5)

    test = rain.values[72:].astype(float)
    starts = np.arange(1, 15, 3)
    made = test[starts][:, None, 2:16]
    truth = np.stack([test[s + 1 : s + 4] for s in starts])[:, :, 2:16]
    assert table.loc["last frame", "mse"] == pytest.approx(((made - truth) ** 2).mean(), rel=1e-5)
    hit = ((made >= 2) & (truth >= 2)).sum((0, 2, 3))
    either = ((made >= 2) | (truth >= 2)).sum((0, 2, 3))
    assert table.loc["last frame", "csi_2"] == pytest.approx((hit / either).mean(), rel=1e-6)
    assert table.loc["last frame, blurred", "mse"] < table.loc["last frame", "mse"]
    assert 0 < table.loc["last frame", "fss_0.5"] < 1


def test_rain_from_a_folder_with_gaps(tmp_path: Path) -> None:
    rain = rain_fields(66, (16, 16), spacing=4000.0, wet=0.5)
    rain = rain.where((rain.y > 0) | (rain.x > 0))
    folder = tmp_path / "radar"
    folder.mkdir()
    rain[:33].to_netcdf(folder / "a.nc")
    rain[33:].to_netcdf(folder / "b.nc")
    options = benchmarks.Options(max_steps=1, quick=True, progress=False)
    table, case = benchmarks.rain(
        tmp_path / "out", sorted(folder.glob("*")), rows=["last", "simvp"], n_context=2, n_future=2, options=options,
        note=lambda _: None,
    )  # fmt: skip
    assert bool(case.train.isnull().any())
    assert np.isfinite(table[["mse", "crps"]].astype(float).values).all()


def test_published_rows_belong_to_the_published_protocol(tmp_path: Path) -> None:
    frames = (255 * moving_digits(2, size=64, split="test").values).astype(np.uint8).transpose(1, 0, 2, 3)
    np.save(tmp_path / "mnist_test_seq.npy", frames)
    table, case = benchmarks.moving_digits(
        tmp_path / "out", tmp_path / "mnist_test_seq.npy", rows=["last"], n_train=2, note=lambda _: None
    )
    assert case.published
    assert table.loc["SimVP gSTA, 2000 epochs (published)", ["mse", "ssim"]].tolist() == [15.05, 0.968]
    wanted, last = frames[10:] / 255, frames[9] / 255
    assert table.loc["last frame", "mse"] == pytest.approx(((wanted - last) ** 2).sum((2, 3)).mean(), rel=1e-4)
    assert any("those of the file are of MNIST" in text for text in benchmarks.video_remarks(case))
    assert not benchmarks.digits_case(n_digits=1, n_train=1, n_test=1).published


def test_blur_is_that_of_the_training() -> None:
    case = benchmarks.rain_case(size=24, n_time=120, n_context=2, n_future=2)
    noise = np.random.default_rng(0).random(case.train.shape, dtype=np.float32)
    last = case.test.isel(time=[3]).rename(time="init_time").expand_dims(lead_time=2, axis=1)
    for train, wanted in ((noise, (20.0, 20.0)), (np.ones_like(noise) * noise[:1], (0.0, 0.0))):
        there = replace(case, train=case.train.copy(data=train))
        made = video_scores.blurred(there, last).transpose("init_time", "lead_time", "y", "x").values[0]
        for field, width in zip(made, wanted, strict=True):
            by_hand = gaussian_filter(case.test.values[3], width, mode="nearest") if width else case.test.values[3]
            assert field == pytest.approx(by_hand, abs=1e-5)


@pytest.mark.parametrize("row", [r for r in (*benchmarks.DIGITS, *benchmarks.RAIN) if r.kind == "network"])
def test_networks_of_the_tables_can_be_made(row: benchmarks.VideoRow) -> None:
    settings = {"n_context": 4, "n_future": 4, **row.settings}
    if row.least_size:  # of 50 million weights
        settings["network_settings"] = {**settings["network_settings"], "hidden": 8, "channels": 4}
    assert xatmo.VideoForecaster(**settings).config["architecture"] == row.settings["architecture"]
    assert row.members == (row.settings["architecture"] in ("savp", "vae"))


def test_lazy_digits_beyond_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xatmo.benchmarks.video_cases.IN_MEMORY", 1000)
    case = benchmarks.digits_case(n_train=65, n_test=1)
    assert case.train.chunks is not None
    assert case.test.chunks is None


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: benchmarks.digits_case("x.npy", size=32), OptionError, "leave both out, or the file"),
        (lambda: benchmarks.rain_case(n_time=30), OptionError, "wanted 65 or more"),
        (lambda: benchmarks.rain_case(n_time=80, size=16, thresholds=()), OptionError, "wanted one, 1 and 2 at least"),
        (lambda: benchmarks.rain_case(n_time=80, size=16, area=(0, 1)), OptionError, "first and last y"),
        (lambda: benchmarks.rain_case(n_time=80, size=16, area=(0, 1, 0, 1)), OptionError, "leaves 1 x 1 cells"),
        (lambda: benchmarks.rain_case("radar.nc", size=16), OptionError, "have their own; leave it out"),
    ],
)
def test_refused(call: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as raised:
        call()
    assert "\n" not in str(raised.value)


def test_short_file_and_other_options_are_refused(run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((20, 1, 64, 64), np.uint8))
    with pytest.raises(DimensionError, match="need more"):
        benchmarks.digits_case(tmp_path / "a.npy", n_future=11)
    case = benchmarks.digits_case(n_digits=1, n_train=2, n_test=1)
    options = benchmarks.Options(progress=False)
    mean = [row for row in benchmarks.DIGITS if row.name == "mean"]
    benchmarks.run_videos(case, mean, tmp_path, options, note=lambda _: None)
    with pytest.raises(ConfigError, match="other max_steps"):
        benchmarks.run_videos(case, mean, tmp_path, benchmarks.Options(max_steps=3), note=lambda _: None)
    status, _, err = run("benchmark", "rain", "-o", tmp_path, "--thresholds", "wet")
    assert status != 0
    assert "wanted numbers joined by commas" in err
    status, out, _ = run("benchmark", "rain", "--rows", "list")
    assert status == 0
    assert "blurred" in out
