"""Scores along tracks, the table of maps and the products, against NumPy, SciPy and closed forms written here."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.interpolate
import scipy.signal
import xarray as xr

import xatmo
from xatmo.errors import (
    CoordinateError,
    DimensionError,
    MissingValueError,
    OptionError,
    UnitsError,
    VariableError,
)
from xatmo.metrics import altimetry
from xatmo.metrics.altimetry import _kernels

BOX = {"latitude": (33.0, 43.0), "longitude": (295.0, 305.0)}


def surface(lat, lon):
    return 0.6 + 0.3 * np.sin(1.3 * lat) * np.cos(0.4 * lon)


def passes(n: int = 28, points: int = 220, seed: int = 0) -> xr.Dataset:
    """A track of pieces of 1400 km with an hour between them, across the challenges' box and beyond its border."""
    time, lat, lon = [], [], []
    for k in range(n):
        count = points - 40 * (k % 3)
        start = np.datetime64("2017-01-02", "ns") + k * np.timedelta64(7 * 3600, "s")
        time.append(start + (np.arange(count) * 0.9434e9).astype("timedelta64[ns]"))
        lat.append(np.linspace(32.6, 43.2, count))
        lon.append(295.1 + (k % 7) * 1.3 + np.linspace(0, 1.0, count))
    lat, lon = np.concatenate(lat), np.concatenate(lon)
    generator = np.random.default_rng(seed)
    sla = surface(lat, lon) - 0.3 + 0.05 * generator.normal(size=lat.size)
    units = {"units": "m"}
    return xr.Dataset(
        {
            "sla_unfiltered": ("time", sla, units),
            "mdt": ("time", np.full(lat.size, 0.32), units),
            "lwe": ("time", 0.02 * np.ones_like(lat), units),
        },
        {
            "time": np.concatenate(time),
            "latitude": ("time", lat, {"standard_name": "latitude"}),
            "longitude": ("time", lon, {"standard_name": "longitude"}),
        },
    )


def daily_map(days: int = 14, seed: int = 1, west: float = 294.0) -> xr.DataArray:
    lat, lon = np.arange(32.0, 44.1, 0.5), np.arange(west, west + 12.1, 0.5)
    values = surface(lat[:, None], lon % 360) + 0.02 * np.random.default_rng(seed).normal(
        size=(days, lat.size, lon.size)
    )
    time = np.datetime64("2017-01-01", "ns") + np.arange(days) * np.timedelta64(1, "D")
    return xr.DataArray(values, {"time": time, "lat": lat, "lon": lon}, ("time", "lat", "lon"), "ssh", {"units": "m"})


@pytest.fixture(scope="module")
def pair() -> xr.Dataset:
    return altimetry.along_track(daily_map(), passes(), area="gulf_stream")


# ---------------------------------------------------------------------- the challenge, in NumPy and SciPy
def plain_pair(mapped: xr.DataArray, track: xr.Dataset) -> tuple[np.ndarray, ...]:
    seen = (track.sla_unfiltered + track.mdt - track.lwe).values
    lat, lon = track.latitude.values, track.longitude.values
    keep = (lat >= 33.25) & (lat <= 42.75) & (lon >= 295.25) & (lon <= 304.75)
    day = (track.time.values - mapped.time.values[0]) / np.timedelta64(1, "D")
    axes = ((mapped.time.values - mapped.time.values[0]) / np.timedelta64(1, "D"), mapped.lat.values, mapped.lon.values)
    made = scipy.interpolate.RegularGridInterpolator(axes, mapped.values)(np.stack([day, lat, lon], -1)[keep])
    return track.time.values[keep], seen[keep], made


def plain_segments(time: np.ndarray, npt: int) -> list[int]:
    last = np.where(np.diff(time) > np.timedelta64(4, "s"))[0]
    lengths = np.insert(np.diff(last), [0], last[0])
    out: list[int] = []
    for k in np.where(lengths >= npt)[0]:
        begin = last[k - 1] if k else 0
        out += list(range(begin, last[k] - npt, int(npt * 0.25)))
    return out


def plain_scores(time, seen, made):
    score = []
    for _, at in pd.Series(np.arange(time.size)).groupby(pd.DatetimeIndex(time).floor("D")):
        if at.size >= 10:
            score.append(1 - np.sqrt(np.mean((made - seen)[at] ** 2)) / np.sqrt(np.mean(seen[at] ** 2)))
    dx = 0.9434 * 6.77
    npt = int(1000 / dx)
    starts = plain_segments(time, npt)
    error, power = (
        scipy.signal.welch(
            np.concatenate([x[s : s + npt] for s in starts]), fs=1 / dx, nperseg=npt, noverlap=0, scaling="density"
        )
        for x in (made - seen, seen)
    )
    ratio = 1 - error[1][1:] / power[1][1:]
    wave = float(scipy.interpolate.interp1d(ratio, 1 / power[0][1:])(0.5))
    return np.mean(score), np.std(score), wave, power, error, len(starts)


def test_scores_equal_plain_numpy_and_scipy(pair):
    time, seen, made = plain_pair(daily_map(), passes())
    np.testing.assert_array_equal(pair.time.values, time)
    np.testing.assert_allclose(pair.ssh, seen, rtol=1e-12)
    np.testing.assert_allclose(pair.ssh_map, made, rtol=1e-10)
    mu, sigma, wave, power, error, count = plain_scores(time, seen, made)
    scores = altimetry.track_scores(pair)
    assert (scores["mu"].item(), scores["sigma"].item()) == pytest.approx((mu, sigma), rel=1e-12)
    spectra = altimetry.track_psd(pair)
    assert spectra.attrs["segments"] == count > 10
    np.testing.assert_allclose(spectra["wavenumber"], power[0][1:], rtol=1e-12)
    np.testing.assert_allclose(spectra["psd_ref"], power[1][1:], rtol=1e-8)
    np.testing.assert_allclose(spectra["psd_error"], error[1][1:], rtol=1e-8)
    assert altimetry.resolved_wavelength(spectra).item() == pytest.approx(wave, rel=1e-9)
    table = altimetry.leaderboard({"noise": daily_map()}, passes(), area="gulf_stream", challenge="ose2021a")
    np.testing.assert_allclose(table.loc["noise"].to_numpy(float), [mu, sigma, wave, np.nan], rtol=1e-9)
    rounded = altimetry.leaderboard({"noise": daily_map()}, passes(), area="gulf_stream", rounded=True)
    assert rounded.loc["noise", "lambda_x"] == int(wave)
    assert rounded.loc["noise", "mu"] == round(mu, 2)


def test_published_cutting_and_whole_pieces(pair):
    whole = altimetry.track_psd(pair, cutting="whole")
    assert whole.attrs["segments"] > altimetry.track_psd(pair).attrs["segments"]
    time = pair.time.values
    for start in _kernels.segments(time, 156, np.timedelta64(4, "s"), 39, whole=True):
        assert (np.diff(time[start : start + 156]) < np.timedelta64(4, "s")).all()
    # The published cutting begins pieces on the other side of the gap.
    first = _kernels.segments(time, 156, np.timedelta64(4, "s"), 39, whole=False)
    assert any((np.diff(time[s : s + 2]) > np.timedelta64(4, "s")).any() for s in first)


@pytest.mark.parametrize("a", [0.6, 1.0, 1.5])
def test_a_multiple_of_the_track(pair, a):
    made = pair.assign(ssh_map=a * pair.ssh)
    scores = altimetry.track_scores(made)
    assert scores["mu"].item() == pytest.approx(1 - abs(1 - a), abs=1e-12)
    assert scores["sigma"].item() == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(altimetry.track_psd(made)["score"], 1 - (1 - a) ** 2, atol=1e-12)


@pytest.mark.parametrize("edge", [100.0, 250.0])
def test_error_in_short_waves_gives_their_edge(edge):
    generator = np.random.default_rng(3)
    dx, size, pieces = altimetry.tracks.SPACING, 624, 40
    sea = generator.normal(size=(pieces, size))
    waves = np.fft.rfft(sea)
    waves[:, np.fft.rfftfreq(size, dx) > 1 / edge] = 0
    step = (np.arange(size) * 0.9434e9).astype("timedelta64[ns]")
    time = np.datetime64("2017-01-01", "ns") + np.arange(pieces)[:, None] * np.timedelta64(1, "D") + step
    coords = {"time": time.ravel()}
    made = xr.Dataset({"ssh": ("time", sea.ravel()), "ssh_map": ("time", np.fft.irfft(waves, size).ravel())}, coords)
    spectra = altimetry.track_psd(made, cutting="whole")
    # Two neighbouring wavenumbers of a segment: the window cannot tell more.
    width = edge**2 / 1000
    for rule in ("challenge", "first"):
        assert altimetry.resolved_wavelength(spectra, rule=rule).item() == pytest.approx(edge, abs=1.5 * width)


def test_rules_of_the_crossing():
    score = xr.DataArray(
        [0.9, 0.4, 0.7, 0.1], dims="wavenumber", coords={"wavelength": ("wavenumber", [900.0, 400.0, 200.0, 100.0])}
    )
    assert altimetry.resolved_wavelength(score, rule="first").item() == pytest.approx(500.0)
    # Sorted by score, 0.5 lies between 0.4 (400 km) and 0.7 (200 km).
    assert altimetry.resolved_wavelength(score).item() == pytest.approx(400 - 200 / 3)
    assert altimetry.resolved_wavelength(score + 1).item() == 100.0
    assert altimetry.resolved_wavelength(score - 1).item() == np.inf
    assert altimetry.resolved_wavelength(score.where(score < 0.8, 0.0), rule="first").item() == np.inf


def test_days_with_few_points_do_not_count(pair):
    days = pair.time.values.astype("datetime64[D]")
    few = np.flatnonzero(days == days[0])[:9]
    rest = np.flatnonzero(days != days[0])
    scores = altimetry.track_scores(pair.isel(time=np.r_[few, rest]))
    assert np.isnan(scores["score"].values[0])
    assert scores["count"].values[0] == 9
    assert scores["mu"].item() == pytest.approx(altimetry.track_scores(pair.isel(time=rest))["mu"].item(), rel=1e-12)


def test_any_order_range_and_chunks_of_the_map(pair, no_compute):
    plain = daily_map()
    west = plain.assign_coords(lon=plain.lon - 360).isel(lat=slice(None, None, -1)).transpose("lon", "time", "lat")
    with no_compute():
        found = altimetry.along_track(west.chunk(lon=5, time=4), passes(), area=BOX)
    assert found["ssh_map"].chunks is not None
    np.testing.assert_allclose(found.ssh_map, pair.ssh_map, rtol=1e-10)
    shuffled = passes().isel(time=np.random.default_rng(0).permutation(passes().sizes["time"]))
    np.testing.assert_allclose(altimetry.along_track(plain, shuffled, area=BOX).ssh_map, pair.ssh_map, rtol=1e-10)


def test_border_period_and_gaps():
    plain = daily_map()
    wide = altimetry.along_track(plain, passes(), area=BOX, border=0.0)
    some = altimetry.along_track(plain, passes(), area=BOX, period=("2017-01-03", "2017-01-04"))
    assert wide.sizes["time"] > 1.03 * altimetry.along_track(plain, passes(), area=BOX).sizes["time"]
    assert wide.latitude.min() < 33.1
    assert set(some.time.values.astype("datetime64[D]").astype(str)) == {"2017-01-03", "2017-01-04"}
    holes = altimetry.along_track(plain.where(plain.lon < 299), passes(), area=BOX)
    assert holes["ssh_map"].isnull().any()
    assert np.isfinite(altimetry.track_scores(holes)["mu"])


def test_a_whole_year_of_real_orbits_recovers_a_perfect_map():
    sea = xatmo.datasets.sea_level(days=12, start="2017-01-01")["ssh"]
    tracks = xatmo.datasets.nadir_tracks("saral", start="2017-01-01", days=11, region=sea)
    table = altimetry.leaderboard({"the sea": sea}, xatmo.datasets.observe(sea, tracks), spacing=20.0)
    assert table.loc["the sea", "mu"] == pytest.approx(1, abs=1e-6)


def test_bounds_of_mu(pair):
    scores = altimetry.track_scores(pair, bootstrap={"block": 2, "n": 300, "seed": 4, "student": False})
    days = scores["score"].dropna("time").values
    drawn = np.random.default_rng(4).integers(days.size // 2, size=(300, days.size // 2))
    # The last block takes the remainder.
    block = np.minimum(np.arange(days.size) // 2, days.size // 2 - 1)
    means = [np.concatenate([days[block == k] for k in row]).mean() for row in drawn]
    bounds = [scores["mu_lower"].item(), scores["mu_upper"].item()]
    np.testing.assert_allclose(bounds, np.quantile(means, [0.05, 0.95]), rtol=1e-12)
    with pytest.raises(OptionError, match="wanted at least 2"):
        altimetry.track_scores(pair, bootstrap=9999)


def test_regimes_along_a_track(pair):
    lat, lon = np.arange(33.0, 43.1, 0.5), np.arange(-65.0, -54.9, 0.5)
    flags = np.where(lon < -60.2, 0, 1) + 0 * lat.astype(int)[:, None]
    flags[lat > 41.2] = -1
    attrs = {"flag_values": [0, 1, 2], "flag_meanings": "west east nowhere"}
    regime = xr.DataArray(flags, {"lat": lat, "lon": lon}, ("lat", "lon"), attrs=attrs)
    row = np.rint((pair.latitude.values - 33) * 2).astype(int)
    column = np.rint((pair.longitude.values - 295) * 2).astype(int)
    here = flags[row, column]
    made = pair.assign(ssh_map=pair.ssh * np.choose(here + 1, [0.0, 0.9, 0.5]))
    scores = altimetry.track_by_regime(made, regime)
    np.testing.assert_allclose(scores["mu"], [0.9, 0.5, np.nan], atol=1e-12)
    assert scores["points"].values.tolist() == [(here == 0).sum(), (here == 1).sum(), 0]
    with pytest.raises(OptionError, match="flag_values and flag_meanings"):
        altimetry.track_by_regime(made, regime.drop_attrs())
    with pytest.raises(VariableError, match="from along_track"):
        altimetry.track_by_regime(made[["ssh"]], regime)


@pytest.mark.parametrize("period", [
    ("2017-01-03", "2017-01-04"),
    slice(np.datetime64("2017-01-03"), np.datetime64("2017-01-04T23:59:59")),
    (pd.Timestamp("2017-01-03"), "2017-01-04"),
])  # fmt: skip
def test_ways_to_say_a_period(period):
    some = altimetry.along_track(daily_map(), passes(), area=BOX, period=period)
    assert set(some.time.values.astype("datetime64[D]").astype(str)) == {"2017-01-03", "2017-01-04"}
    open_ended = altimetry.along_track(daily_map(), passes(), area=BOX, period=(None, "2017-01-04"))
    assert open_ended.sizes["time"] > some.sizes["time"]


# ---------------------------------------------------------------------- table
def test_table(pair):
    truth = xatmo.datasets.sea_level(days=45, start="2012-10-20", step=0.25)["ssh"]
    maps = {"a": (0.9 * truth).assign_attrs(units="m"), "b": truth.to_dataset()}
    table = altimetry.leaderboard(maps, truth, area="gulf_stream", period="osse2020a", published=True)
    assert list(table.columns) == ["mu", "sigma", "lambda_x", "lambda_t"]
    assert table.index.name == "name"
    assert list(table.index[:2]) == ["a", "b"]
    assert table.attrs["lambda_x units"] == "degree"
    others = altimetry.published()
    pd.testing.assert_frame_equal(table.iloc[2:], others, check_names=False, check_flags=False)
    assert others.loc["4DVarNet v2022 (swot + 4 nadirs, published)"].tolist() == [0.96, 0.01, 0.62, 4.35]
    assert altimetry.published("ose2021a").loc["4DVarQG (all but CryoSat-2, published)", "lambda_x"] == 106
    assert table.loc["a", "mu"] == pytest.approx(0.9, abs=1e-6)
    box = {"latitude": (35, 40), "longitude": (-64, -56)}
    small = altimetry.leaderboard({"a": maps["a"]}, truth, area=box, period=("2012-10-25", "2012-11-24"))
    assert list(small.index) == ["a"]


def test_hourly_truths_are_averaged_by_day():
    hourly = xatmo.datasets.sea_level(days=12, output_every="6h", step=0.5, memory="10D")["ssh"].astype(float)
    daily = hourly.coarsen(time=4).mean(keep_attrs=True)
    daily = daily.assign_coords(time=hourly.time.values[::4])
    table = altimetry.leaderboard({"means": daily}, hourly)
    assert table.loc["means", "mu"] == pytest.approx(1, abs=1e-9)
    assert altimetry.mu_sigma(hourly, daily)["mu"].item() < 0.999


# ---------------------------------------------------------------------- products
@pytest.mark.parametrize(("challenge", "name", "west"), [("osse2020a", "gssh", -65.0), ("ose2021a", "ssh", 295.0)])
def test_products(tmp_path, challenge, name, west):
    plain = daily_map()
    upside = plain.isel(lat=slice(None, None, -1)).transpose("lon", ...).chunk(time=3)
    file = altimetry.write_product(
        (upside * 100).assign_attrs(units="cm"), tmp_path / "map.nc", challenge=challenge, area="gulf_stream",
        period=("2017-01-02", "2017-01-05"), method="mine",
    )  # fmt: skip
    with xr.open_dataset(file) as ds:
        assert list(ds.data_vars) == [name]
        assert ds[name].dims == ("time", "lat", "lon")
        assert (float(ds.lon[0]), float(ds.lat[0]), ds.sizes["time"]) == (west, 33.0, 4)
        assert ds[name].attrs["units"] == "m"
        assert "mine" in ds.attrs["title"]
        inner = plain.sel(lat=slice(33, 43), lon=slice(295, 305), time=slice("2017-01-02", "2017-01-05"))
        np.testing.assert_allclose(ds[name], inner, rtol=1e-6)
        if challenge == "ose2021a":  # what is written can be scored
            assert np.isfinite(altimetry.leaderboard({"m": ds}, passes(), area=BOX).loc["m", "mu"])


# ---------------------------------------------------------------------- errors
def test_wrong_input_says_so(pair):
    plain, track = daily_map(), passes()
    truth = xatmo.datasets.sea_level(days=10, step=0.5)["ssh"]
    short = pair.isel(time=slice(0, 100))
    cases = [
        (VariableError, "pass track", lambda: altimetry.along_track(plain, track[["mdt", "lwe"]])),
        (DimensionError, "wanted one, with time", lambda: altimetry.along_track(plain, plain)),
        (CoordinateError, "wanted 'latitude' along it", lambda: altimetry.along_track(
            plain, track.mdt.drop_vars("latitude"))),
        (CoordinateError, "none of the", lambda: altimetry.along_track(plain, track, area="osmosis")),
        (CoordinateError, "the track's times are int64", lambda: altimetry.along_track(
            plain, track.mdt.assign_coords(time=("time", np.arange(track.sizes["time"]), {"axis": "T"})))),
        (UnitsError, "has none", lambda: altimetry.along_track(plain.drop_attrs(), track)),
        (VariableError, "from along_track", lambda: altimetry.track_scores(track)),
        (MissingValueError, "no point of the track", lambda: altimetry.track_scores(pair.where(pair.ssh > 1e9))),
        (MissingValueError, "no day has 9999 points", lambda: altimetry.track_scores(pair, least=9999)),
        (OptionError, "cutting='some'", lambda: altimetry.track_psd(pair, cutting="some")),
        (OptionError, "8 points or more", lambda: altimetry.track_psd(pair, spacing=500.0)),
        (MissingValueError, "no piece of the track", lambda: altimetry.track_psd(short)),
        (OptionError, "rule='last'", lambda: altimetry.resolved_wavelength(pair.ssh, rule="last")),
        (DimensionError, "the score of track_psd", lambda: altimetry.resolved_wavelength(pair.ssh)),
        (MissingValueError, "NaN at every wavelength", lambda: altimetry.resolved_wavelength(
            xr.DataArray([np.nan], dims="k", coords={"wavelength": ("k", [1.0])}))),
        (OptionError, "got 0 maps", lambda: altimetry.leaderboard({}, truth)),
        (OptionError, "a DataArray; wanted", lambda: altimetry.leaderboard(truth, truth)),
        (OptionError, "challenge='2023a'", lambda: altimetry.leaderboard({"a": truth}, truth, challenge="2023a")),
        (DimensionError, "wants a track", lambda: altimetry.leaderboard({"a": truth}, truth, challenge="ose2021a")),
        (OptionError, "as published ones are", lambda: altimetry.leaderboard(
            {"DUACS (4 nadirs, published)": truth}, truth, published=True)),
        (OptionError, "observations='5 nadirs'", lambda: altimetry.published("osse2020a", "5 nadirs")),
        (OptionError, "area='pacific'", lambda: altimetry.leaderboard({"a": truth}, truth, area="pacific")),
        (OptionError, "south below north", lambda: altimetry.leaderboard(
            {"a": truth}, truth, area={"latitude": (43, 33), "longitude": (0, 1)})),
        (OptionError, "period='2020'", lambda: altimetry.leaderboard({"a": truth}, truth, period="2020")),
        (CoordinateError, "has nothing in area", lambda: altimetry.leaderboard({"a": truth}, truth, area="osmosis")),
        (UnitsError, "wanted a length", lambda: altimetry.as_product(truth.drop_attrs())),
        (CoordinateError, "wanted one map a day", lambda: altimetry.as_product(truth[::2])),
    ]  # fmt: skip
    for kind, match, call in cases:
        with pytest.raises(kind, match=match):
            call()
