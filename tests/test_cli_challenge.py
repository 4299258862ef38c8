"""``xatmo evaluate --challenge``: on a generated twin, against scores worked out by hand; and what it refuses."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xatmo
from xatmo.cli import main
from xatmo.datasets import challenge_fields, open_challenge, open_reference, write_challenge
from xatmo.datasets.challenge_files import FILES
from xatmo.errors import CatalogError, CoordinateError, OptionError
from xatmo.metrics import altimetry

Run = Callable[..., tuple[int, str, str]]
PERIOD = "2012-10-02,2012-10-12"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command; give exit status, standard output, standard error."""
    monkeypatch.setenv("COLUMNS", "140")

    def command(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    return command


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_challenge(tmp_path_factory.mktemp("twin"), step=0.5, days=13)


@pytest.fixture(scope="module")
def maps(twin: Path) -> Path:
    """Write maps: an analysis labelled at noon, and half the truth labelled at midnight."""
    found = open_challenge(twin)
    found["oi"]["ssh_mod"].rename("ssh").to_netcdf(twin / "oi.nc")
    half = 0.5 * found["ssh"]["ssh"].assign_attrs(units="m")
    half = half.assign_attrs(units="m").assign_coords(time=half["time"] - np.timedelta64(12, "h"))
    half.to_dataset(name="gssh").to_netcdf(twin / "half.nc")
    return twin


def rows(out: str) -> dict[str, list[str]]:
    """Cells of the table of scores by the first."""
    out = out.partition("by regime")[0]
    lines = [re.split(r"\s{2,}", line.strip()) for line in out.splitlines() if line.startswith("  ") and line.strip()]
    return {cells[0]: cells[1:] for cells in lines}


# ---------------------------------------------------------------------- scores
def test_scores_are_those_of_the_definition(run: Run, maps: Path) -> None:
    """mu and sigma by hand from the files' numbers: half of the truth, labelled as the challenge labels its means."""
    status, out, err = run(
        "evaluate", maps / "half.nc", f"analysis={maps / 'oi.nc'}", "--challenge", "OSSE2020a", "--reference", maps,
        "--period", PERIOD, "-o", maps / "t.csv", "-o", maps / "t.md", "--overwrite",
    )  # fmt: skip
    assert (status, err) == (0, "")
    table = pd.read_csv(maps / "t.csv", index_col="name")
    assert list(table.index) == ["half", "analysis"]  # nothing published beside other days
    assert table["published"].sum() == 0
    hourly = xr.open_mfdataset(sorted((maps / "dc_ref").glob("*.nc")))["sossheig"].load()
    truth = np.stack([hourly.sel(time=f"{day:%Y-%m-%d}").values.mean(0) for day in pd.date_range(*PERIOD.split(","))])
    days = np.sqrt(((truth - 0.5 * truth) ** 2).mean((1, 2))) / np.sqrt((truth**2).mean((1, 2)))
    assert table.loc["half", "mu"] == pytest.approx(0.5, abs=1e-5)
    assert table.loc["half", "sigma"] == pytest.approx((1 - days).std(), abs=1e-5)
    # The other is labelled at noon, and so interpolated by half a day: what is said.
    assert "analysis is labelled 12:00 and the challenge's means of days 00:00" in out
    ssh = xr.open_dataset(maps / "oi.nc")["ssh"].sel(lat=slice(33, 43), lon=slice(-65, -55)).values.astype(float)
    between = 0.5 * (ssh[0:11] + ssh[1:12])
    mu = 1 - np.sqrt(((between - truth) ** 2).mean()) / np.sqrt((truth**2).mean())
    assert table.loc["analysis", "mu"] == pytest.approx(mu, abs=1e-5)
    assert rows(out)["analysis"][0] == f"{mu:.2f}"
    assert (
        (maps / "t.md").read_text().startswith("| Method   | µ(RMSE) | σ(RMSE) | λx (degree) | λt (days) | Notes |\n")
    )


def test_days_are_labelled_as_the_challenge_does(run: Run, maps: Path) -> None:
    status, out, _ = run(
        "evaluate", maps / "oi.nc", "--challenge", "osse2020a", "--reference", maps, "--period", PERIOD,
        "--label-days", "-o", maps / "product.nc", "--overwrite",
    )  # fmt: skip
    assert status == 0
    assert "is labelled" not in out
    with xr.open_dataset(maps / "product.nc") as product, xr.open_dataset(maps / "oi.nc") as analysis:
        assert product["gssh"].attrs["units"] == "m"
        assert product["time"].values[0] == np.datetime64("2012-10-02")
        inner = analysis["ssh"].sel(lat=slice(33, 43), lon=slice(-65, -55)).values[1:12]
        np.testing.assert_allclose(product["gssh"].values, inner, atol=1e-6)


def test_regimes_and_score_maps(run: Run, maps: Path) -> None:
    status, out, _ = run(
        "evaluate", maps / "half.nc", "--challenge", "osse2020a", "--reference", maps, "--period", PERIOD,
        "--by-regime", "--score-maps", maps / "score.nc", "--overwrite",
    )  # fmt: skip
    assert status == 0
    regimes = [line for line in out.splitlines() if "offshore" in line]
    assert len(regimes) == 2
    assert all("0.5" in line for line in regimes)
    with xr.open_dataset(maps / "score.nc") as found:
        np.testing.assert_allclose(found["score"].sel(name="half"), 0.5, atol=1e-4)


def test_published_rows_stand_below(run: Run, tmp_path: Path) -> None:
    """On the challenge's days and box; of the altimeters asked for."""
    days = pd.date_range("2012-10-22", "2012-12-02")
    lat, lon = np.arange(33.0, 43.1, 2), np.arange(-65.0, -54.9, 2)
    coords = {"time": days, "lat": lat, "lon": lon}
    values = np.random.default_rng(0).normal(size=(42, lat.size, lon.size))
    for day, field in zip(days, values, strict=True):
        one = xr.Dataset({"sossheig": (("time", "lat", "lon"), field[None], {"units": "m"})}, {**coords, "time": [day]})
        one.to_netcdf(tmp_path / f"NATL60-CJM165_GULFSTREAM_y{day:%Y}m{day:%m}d{day:%d}.1h_SSH.nc")
    xr.Dataset({"gssh": (("time", "lat", "lon"), 0.9 * values)}, coords).to_netcdf(tmp_path / "mine.nc")
    status, out, _ = run(
        "evaluate", tmp_path / "mine.nc", "--challenge", "osse2020a", "--reference", tmp_path, "--scenario", "nadirs"
    )
    assert status == 0
    assert "mine has no units: taken as m" in out
    found = rows(out)
    assert found["mine"][0] == "0.90"
    assert found["4DVarNet v2022 4 nadirs"] == ["0.94", "0.01", "0.83", "8.03", "published"]
    assert "DUACS swot + 4 nadirs" not in found
    assert "published rows compare with maps of the same observations only" in out
    (tmp_path / "NATL60-CJM165_GULFSTREAM_y2012m11d03.1h_SSH.nc").unlink()
    status, _, err = run("evaluate", tmp_path / "mine.nc", "--challenge", "osse2020a", "--reference", tmp_path)
    assert status == 1
    assert "has no NATL60-CJM165_GULFSTREAM_y2012m11d03.1h_SSH.nc of the 42 days" in err
    assert "dc_ref.tar.gz" in err


def test_a_track_that_was_kept_out(run: Run, tmp_path: Path) -> None:
    sea = xatmo.datasets.sea_level(latitude=(32, 44), longitude=(294, 306), days=20, start="2017-01-01", step=0.5)
    sea = sea["ssh"]
    points = xatmo.datasets.nadir_tracks("saral", start="2017-01-01", days=19, region=sea)
    seen = xatmo.datasets.observe(sea, points)
    track = xr.Dataset({"sla_unfiltered": seen - 0.25, "mdt": 0.25 + 0 * seen, "lwe": 0 * seen})
    track["sla_unfiltered"].attrs["units"] = "m"
    (tmp_path / "dc_obs").mkdir()
    kept = track.reset_coords(["latitude", "longitude"])[["sla_unfiltered", "mdt", "lwe", "latitude", "longitude"]]
    kept.drop_vars([c for c in kept.coords if c != "time"]).to_netcdf(
        tmp_path / "dc_obs" / "dt_gulfstream_c2_phy_l3_20161201-20180131_285-315_23-53.nc"
    )
    (0.8 * sea).assign_attrs(units="m").to_netcdf(tmp_path / "map.nc")
    words = ("evaluate", tmp_path / "map.nc", "--challenge", "ose2021a", "--reference", tmp_path)
    status, out, err = run(*words, "--period", "2017-01-02,2017-01-18", "--by-regime")
    assert (status, err) == (0, "")
    assert rows(out)["map"][:2] == ["0.80", "0.00"]
    assert "λx (km)" in out
    assert "λt" not in out
    status, _, err = run(*words)
    assert status == 1
    assert "goes from 2017-01-01 to 2017-01-20; wanted 2017-01-01 to 2017-12-31" in err


# ---------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--challenge", "osse2020a"], "--challenge wants --reference FOLDER"),
        (["--challenge", "osse", "--reference", "."], "no challenge 'osse'; wanted ose2021a or osse2020a"),
        (["--challenge", "osse2020a", "--reference", ".", "--area", "gulf"], "no area 'gulf'; wanted gulf_stream, "),
        (["--challenge", "osse2020a", "--reference", ".", "--scenario", "all"], "no scenario 'all'; wanted nadirs"),
        (["--challenge", "osse2020a", "--reference", ".", "--period", "2012"], "--period 2012; wanted two days"),
        (["--challenge", "osse2020a", "--reference", ".", "-o", "t.txt"], "cannot tell what to write to t.txt"),
        (["--challenge", "ose2021a", "--reference", ".", "--score-maps", "s.nc"], "wants a gridded truth"),
        (["--area", "osmosis"], "--area goes with --challenge osse2020a or ose2021a, which is missing"),
        ([], "1 files came; wanted PREDICTION and TARGET"),
        (["more.nc", "-o", "a.csv", "-o", "b.csv"], "2 outputs came; wanted"),
        (["more.nc", "--challenge", "osse2020a", "--reference", ".", "-o", "p.nc"], "but 2 maps came; give one"),
    ],
)
def test_words_that_do_not_fit(run: Run, words: list[str], message: str) -> None:
    status, _, err = run("evaluate", "map.nc", *words)
    assert status == 1
    assert message in err
    assert err.count("\n") == 1


def test_what_exists_is_not_replaced(run: Run, maps: Path) -> None:
    (maps / "there.csv").write_text("")
    words = ("evaluate", maps / "oi.nc", "--challenge", "osse2020a", "--reference", maps, "-o", maps / "there.csv")
    assert "there.csv exists; pass --overwrite to replace it" in run(*words)[2]


def test_maps_have_to_cover_area_and_days(run: Run, maps: Path) -> None:
    with xr.open_dataset(maps / "half.nc") as ds:
        ds.isel(lon=slice(0, 12)).to_netcdf(maps / "west.nc")
        ds.isel(lat=slice(6, None)).to_netcdf(maps / "north.nc")
    words = ("--challenge", "osse2020a", "--reference", maps, "--period", PERIOD)
    west, north = run("evaluate", maps / "west.nc", *words)[2], run("evaluate", maps / "north.nc", *words)[2]
    assert "has longitudes -66 to -60.5; wanted -65 to -55, the edges of area='gulf_stream'" in west
    assert "has latitudes 35 to 44; wanted 33 to 43, the edges of area='gulf_stream'" in north
    late = run("evaluate", maps / "half.nc", *words[:-1], "2012-10-02,2012-10-30")[2]
    assert "has no NATL60-CJM165_GULFSTREAM_y2012m10d14.1h_SSH.nc and 16 more of the 29 days" in late
    wide = run("evaluate", maps / "half.nc", *words, "--area", "osmosis")[2]
    assert "the reference in " in wide
    assert "has latitudes 32 to 44; wanted 45 to 55, the edges of area='osmosis'" in wide
    with pytest.raises(CoordinateError, match="goes from 2012-10-01 to 2012-10-13; wanted 2012-10-22 to 2012-12-02"):
        altimetry.covers(xr.open_dataset(maps / "half.nc")["gssh"], None, "osse2020a", what="the map")


# ---------------------------------------------------------------------- files
@pytest.mark.parametrize(
    ("name", "title", "address"),
    [
        ("reference", "dc_ref/NATL60-CJM165_GULFSTREAM_y2012m10d22.1h_SSH.nc", "dc_ref.tar.gz"),
        ("karin_swot", "dc_obs/2020a_SSH_mapping_NATL60_karin_swot.nc", "dc_obs.tar.gz"),
        ("ssh", FILES["ssh"], "https://s3.eu-central-1.wasabisys.com/melody/NATL/ref/"),
        ("maps", FILES["nadir_swot"], "https://s3.eu-central-1.wasabisys.com/melody/NATL/data/"),
        ("oi", FILES["oi"], "https://s3.eu-central-1.wasabisys.com/melody/NATL/oi/"),
        ("ready", "natl20.nc", "https://s3.eu-central-1.wasabisys.com/sla-data-registry/6d/"),
    ],
)
def test_a_missing_file_is_named_with_its_address(tmp_path: Path, name: str, title: str, address: str) -> None:
    with pytest.raises(CatalogError, match=re.escape(f"has no {title}; wanted it from ")) as raised:
        open_challenge(tmp_path, needed=[name])
    assert address in str(raised.value)


def test_fields_of_the_four_files(twin: Path) -> None:
    both, nadirs, swot = (challenge_fields(twin, scenario=s) for s in ("both", "nadirs", "swot"))
    seen = {n: np.isfinite(ds["obs"].values) for n, ds in {"both": both, "nadirs": nadirs, "swot": swot}.items()}
    assert (seen["both"] == (seen["nadirs"] | seen["swot"])).all()
    assert not (seen["nadirs"] & seen["swot"]).any()
    assert "oi" in both
    assert "oi" not in nadirs  # it has seen what the scenario leaves out
    assert both["obs"].chunks is not None
    xr.testing.assert_allclose(both["ssh"].load(), xr.open_dataset(twin / FILES["ssh"])["ssh"])


def test_files_that_differ(twin: Path, tmp_path: Path) -> None:
    """Other labels of days and rounded coordinates are the same places and days; another grid is none."""
    truth, maps = (xr.open_dataset(twin / FILES[n]) for n in ("ssh", "nadir_swot"))
    truth.to_netcdf(tmp_path / FILES["ssh"])
    shifted = maps.assign_coords(time=maps["time"] - np.timedelta64(12, "h"), lon=maps["lon"] + 1e-5)
    shifted.isel(time=slice(2, None)).to_netcdf(tmp_path / FILES["nadir_swot"])
    fields = challenge_fields(tmp_path)
    assert fields.sizes["time"] == truth.sizes["time"] - 2
    np.testing.assert_array_equal(fields["time"], truth["time"][2:])
    np.testing.assert_array_equal(fields["obs"], maps["ssh_obs"][2:])
    (tmp_path / FILES["nadir_swot"]).unlink()
    maps.isel(lat=slice(0, 9)).to_netcdf(tmp_path / FILES["nadir_swot"])
    with pytest.raises(CatalogError, match="'obs' in .* lacks lat=36.5 of the truth; wanted one grid in all files"):
        challenge_fields(tmp_path)
    (tmp_path / FILES["nadir_swot"]).unlink()
    maps.assign_coords(time=maps["time"] + np.timedelta64(100, "D")).to_netcdf(tmp_path / FILES["nadir_swot"])
    with pytest.raises(CatalogError, match="share no day"):
        challenge_fields(tmp_path)
    (tmp_path / FILES["nadir_swot"]).unlink()
    maps.drop_vars("flag").to_netcdf(tmp_path / FILES["nadir_swot"])
    with pytest.raises(OptionError, match="has no 'flag'; wanted it for scenario='swot': take 'both'"):
        challenge_fields(tmp_path, scenario="swot")


def test_the_ready_made_file(twin: Path, tmp_path: Path) -> None:
    truth, maps = (xr.open_dataset(twin / FILES[n]) for n in ("ssh", "nadir_swot"))
    ready = truth.assign(nadir_obs=maps["ssh_obs"].where(maps["flag"] == 0))
    ready.to_netcdf(tmp_path / "natl20.nc")
    for where in (tmp_path, tmp_path / "natl20.nc"):
        fields = challenge_fields(where, scenario="nadirs")
        np.testing.assert_array_equal(fields["obs"], ready["nadir_obs"])
    assert open_reference(tmp_path).name == "ssh"
    assert open_reference(tmp_path / "natl20.nc").name == "ssh"
    assert set(open_challenge(tmp_path)) == {"ready"}
    assert "nadir_obs" in xatmo.open_catalog("natl60").open("fourdvarnet_ready", path=str(tmp_path))
    with pytest.raises(OptionError, match="which tell of nadir altimeters, and not scenario='swot'"):
        challenge_fields(tmp_path, scenario="swot")


def test_references_that_are_none(twin: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="challenge='2023a'; wanted 'osse2020a' or 'ose2021a'"):
        open_reference(twin, "2023a")
    with pytest.raises(OptionError, match="scenario='all'; wanted one of"):
        challenge_fields(twin, scenario="all")
    for where in (tmp_path / "nothing", tmp_path / "nothing.nc"):
        with pytest.raises(FileNotFoundError):
            open_reference(where)
    with pytest.raises(CatalogError, match=r"has no dt_\*_c2_phy_l3_\*.nc"):
        open_reference(tmp_path, "ose2021a")
    xr.open_dataset(twin / FILES["ssh"])[["ssh"]].rename(ssh="a").assign(b=lambda d: d.a).to_netcdf(tmp_path / "two.nc")
    assert open_reference(tmp_path / "two.nc").name == "a"
    still = xr.open_dataset(twin / FILES["ssh"])
    still.assign(n=still["ssh"][0].drop_vars("time")).drop_vars("ssh").to_netcdf(tmp_path / "none.nc")
    with pytest.raises(CatalogError, match="has variables .*; wanted sea surface height, as 'ssh'"):
        open_reference(tmp_path / "none.nc")


# ---------------------------------------------------------------------- forms
def test_tables_in_the_challenges_form() -> None:
    form = altimetry.challenge_table(altimetry.published("ose2021a"), challenge="ose2021a")
    assert list(form.columns) == ["Method", "µ(RMSE)", "σ(RMSE)", "λx (km)", "Notes"]
    assert form.iloc[0].tolist() == ["baseline OI", "0.85", "0.09", "140", "published"]
    mine = pd.DataFrame({"mu": [0.5], "sigma": [np.nan], "lambda_x": [1.239], "lambda_t": [np.inf]}, ["a | b"])
    text = altimetry.markdown(altimetry.challenge_table(mine, challenge="osse2020a", notes={"a | b": "mine"}))
    assert text.splitlines()[2] == r"| a \| b |    0.50 |       - |        1.24 |       inf | mine  |"
    assert all(len(line) == len(text.splitlines()[0]) for line in text.splitlines())
