"""Gridded scores of sea level, against a NumPy implementation written here and against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.interpolate
import scipy.signal
import xarray as xr
from contourpy import contour_generator

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

NT, NY, NX = 40, 12, 48


def sea(values: np.ndarray, start: str = "2012-10-22", west: float = -65.0, step: float = 0.25) -> xr.DataArray:
    nt, ny, nx = values.shape
    coords = {
        "time": np.datetime64(start, "ns") + np.arange(nt) * np.timedelta64(1, "D"),
        "lat": ("lat", 33 + step * np.arange(ny), {"standard_name": "latitude", "units": "degrees_north"}),
        "lon": ("lon", west + step * np.arange(nx), {"standard_name": "longitude", "units": "degrees_east"}),
    }
    return xr.DataArray(values, coords, ("time", "lat", "lon"), "ssh", {"units": "m"})


def noise(seed: int, mean: float = 0.0) -> np.ndarray:
    return mean + np.random.default_rng(seed).normal(size=(NT, NY, NX))


@pytest.fixture(scope="module")
def truth() -> xr.DataArray:
    return sea(noise(0, mean=0.5))


@pytest.fixture(scope="module")
def smooth_pair() -> tuple[xr.DataArray, xr.DataArray]:
    """A sea and a map that lacks its small scales."""
    full = xatmo.datasets.sea_level(days=42, step=0.25, start="2012-10-22", seed=3)["ssh"].astype(np.float64)
    blurred = full.rolling(longitude=7, time=3, center=True, min_periods=1).mean()
    return blurred.assign_attrs(full.attrs), full


# ---------------------------------------------------------------------- the challenge, in plain NumPy
def plain_size(s: np.ndarray, r: np.ndarray) -> tuple[float, float]:
    mu = 1 - np.sqrt(np.mean((s - r) ** 2)) / np.sqrt(np.mean(r**2))
    daily = 1 - np.sqrt(np.mean((s - r) ** 2, (1, 2))) / np.sqrt(np.mean(r**2, (1, 2)))
    return float(mu), float(daily.std())


def plain_power(x: np.ndarray) -> np.ndarray:
    window = np.outer(scipy.signal.get_window("hann", x.shape[0]), scipy.signal.get_window("hann", x.shape[2]))
    out = []
    for row in range(x.shape[1]):
        plane = x[:, row] - x[:, row].mean()
        out.append(np.abs(np.fft.fft2(plane * window)) ** 2)
    return np.mean(out, 0)


def plain_scales(s: np.ndarray, r: np.ndarray, dt: float, dx: float) -> tuple[np.ndarray, float, float]:
    frequency, wavenumber = np.fft.fftfreq(r.shape[0], dt), np.fft.fftfreq(r.shape[2], dx)
    keep = np.ix_(frequency > 0, wavenumber > 0)
    score = 1 - plain_power(s - r)[keep] / plain_power(r)[keep]
    generator = contour_generator(1 / wavenumber[wavenumber > 0], 1 / frequency[frequency > 0], score, name="mpl2014")
    x, y = generator.lines(0.5)[0][0].T
    return score, float(x.min()), float(y.min())


def test_scores_equal_plain_numpy(smooth_pair):
    made, truth = smooth_pair
    s, r = made.values, truth.values
    size = altimetry.mu_sigma(made, truth, weights=None)
    assert (size["mu"].item(), size["sigma"].item()) == pytest.approx(plain_size(s, r), rel=1e-12)
    score, lambda_x, lambda_t = plain_scales(s, r, 1.0, 0.25)
    found = altimetry.psd_score(made, truth)
    np.testing.assert_allclose(found.values, score, rtol=1e-9, atol=1e-9)
    scales = altimetry.resolved_scales(found)
    assert scales["lambda_x"].item() == pytest.approx(lambda_x, rel=1e-9)
    assert scales["lambda_t"].item() == pytest.approx(lambda_t, rel=1e-9)
    table = altimetry.leaderboard({"blurred": made}, truth, period="osse2020a")
    mu, sigma = plain_size(s, r)
    np.testing.assert_allclose(table.loc["blurred"].to_numpy(float), [mu, sigma, lambda_x, lambda_t], rtol=1e-9)


@pytest.mark.parametrize("weights", [None, "area"])
@pytest.mark.parametrize("a", [0.7, 1.0, 1.4, -0.5])
def test_a_multiple_of_the_truth(truth, a, weights):
    scores = altimetry.mu_sigma((a * truth).assign_attrs(truth.attrs), truth, weights=weights)
    assert scores["mu"].item() == pytest.approx(1 - abs(1 - a), abs=1e-12)
    assert scores["sigma"].item() == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(altimetry.daily_scores(a * truth, truth), 1 - abs(1 - a), atol=1e-12)
    maps = altimetry.score_map(a * truth, truth)
    np.testing.assert_allclose(maps["score"], 1 - abs(1 - a), atol=1e-12)
    np.testing.assert_allclose(maps["explained_variance"], 1 - (1 - a) ** 2, atol=1e-12)
    np.testing.assert_allclose(altimetry.psd_score(a * truth, truth), 1 - (1 - a) ** 2, atol=1e-12)


def test_mu_is_one_ratio_and_no_mean_of_days(truth):
    growing = truth * xr.DataArray(np.linspace(0.1, 2, NT), dims="time")
    made = growing.where(truth.time > truth.time[NT // 2], 0.0)
    mu = altimetry.mu_sigma(made, growing)["mu"].item()
    assert abs(mu - altimetry.daily_scores(made, growing).mean().item()) > 0.05


def test_the_mean_of_the_truth_counts(truth):
    high = truth + 10
    error = xr.zeros_like(truth) + 1.0
    expected = 1 - 1 / np.sqrt((high.values**2).mean())
    assert altimetry.mu_sigma(high + error, high, weights=None)["mu"].item() == pytest.approx(expected, rel=1e-12)


def test_area_weights(truth):
    made = truth + np.cos(np.arange(NY))[:, None]
    area = np.broadcast_to(xatmo.Grid.of(truth).areas, truth.shape)
    expected = 1 - np.sqrt(np.sum(area * (made - truth) ** 2) / np.sum(area * truth**2))
    assert altimetry.mu_sigma(made, truth)["mu"].item() == pytest.approx(float(expected), rel=1e-10)


# ---------------------------------------------------------------------- spectra
def test_error_in_short_waves_gives_their_edge():
    """Errors at all wavenumbers beyond an edge, and everywhere right below it."""
    generator = np.random.default_rng(1)
    n, dx, nt = 200, 0.05, 60
    x = noise(2)[:1, :1, :1] * 0 + generator.normal(size=(nt, 6, n))
    waves = np.fft.rfft(x, axis=2)
    edge = 1.0  # degree
    waves[..., np.fft.rfftfreq(n, dx) < 1 / edge] = 0
    truth = sea(x, step=dx)
    made = truth - np.fft.irfft(waves, n, axis=2)
    scales = altimetry.resolved_scales(altimetry.psd_score(made, truth), paths="longest")
    step = edge**2 / (n * dx)  # between neighbouring wavelengths
    assert scales["lambda_x"].item() == pytest.approx(edge, abs=1.5 * step)


def wave(direction: float, cycles: int = 6, turns: int = 5) -> np.ndarray:
    t, x = np.arange(NT)[:, None, None] / NT, np.arange(NX) / NX
    # West is where x falls while t grows: the signs of wavenumber and frequency agree.
    return np.cos(2 * np.pi * (cycles * x + direction * turns * t)) + np.zeros((NT, NY, NX))


@pytest.mark.parametrize("flip", [False, True])
def test_only_westward_errors_count(flip):
    background = noise(4)
    for error, loses in ((wave(+1), "westward"), (wave(-1), "eastward")):
        truth, made = sea(background), sea(background + 5 * error)
        if flip:
            made, truth = made.isel(lat=slice(None, None, -1)), truth.isel(lat=slice(None, None, -1))
        worst = {
            d: altimetry.psd_score(made, truth, direction=d).min().item() for d in ("westward", "eastward", "both")
        }
        assert worst[loses] < -10
        assert worst["both"] < 0
        other = {"westward": "eastward", "eastward": "westward"}[loses]
        assert worst[other] > 0.99
    table = altimetry.leaderboard({"eastward error": sea(background + 5 * wave(-1))}, sea(background))
    # A score blind to half of the waves: all wavelengths "resolved" down to the shortest.
    assert table["lambda_x"].item() == pytest.approx(0.5 * NX / ((NX - 1) // 2) * 0.5, rel=1e-6)


def test_spectra_integrate_to_the_windowed_mean_square(truth):
    whole = _kernels.plane_power(truth.values.transpose(1, 0, 2), (1.0, 0.25))
    window = _kernels.hann(NT)[:, None] * _kernels.hann(NX)
    rows = truth.values.transpose(1, 0, 2)
    rows = rows - rows.mean((1, 2), keepdims=True)
    mean_square = ((rows * window) ** 2).sum((1, 2)) / (window**2).sum()
    np.testing.assert_allclose(whole.sum((1, 2)) / (NT * 1.0 * NX * 0.25), mean_square, rtol=1e-12)


def test_several_contours():
    axis = xr.Dataset(coords={"wavelength": ("freq_lon", 8.0 / np.arange(1, 9)),
                              "period": ("freq_time", 80.0 / np.arange(1, 9))})  # fmt: skip
    plane = np.zeros((8, 8))
    plane[1, 1] = plane[5, 6] = 1.0
    score = xr.DataArray(plane, axis.coords, ("freq_time", "freq_lon"))
    pieces = altimetry.contours(score)
    assert len(pieces) == 2
    minima = [p.sel(axis="wavelength").min().item() for p in pieces]
    by = {how: altimetry.resolved_scales(score, paths=how) for how in ("first", "all", "longest")}
    assert by["first"]["n_paths"].item() == 2
    assert by["first"]["lambda_x"].item() == minima[0]
    assert by["all"]["lambda_x"].item() == min(minima)
    assert altimetry.resolved_scales(score - 5)["lambda_x"].item() == np.inf
    assert altimetry.resolved_scales(score + 5)["lambda_t"].item() == 10.0
    # The two minima need not belong to one wave.
    assert by["all"]["lambda_t"].item() == min(p.sel(axis="period").min().item() for p in pieces)


def test_metres_and_isotropic_say_that_they_do_not_compare(smooth_pair):
    made, truth = smooth_pair
    degrees, metres = (altimetry.psd_score(made, truth, distance=d) for d in ("degrees", "metres"))
    np.testing.assert_allclose(degrees, metres)
    factor = np.radians(xatmo.constants.EARTH_RADIUS) * np.cos(np.radians(38))
    np.testing.assert_allclose(metres["wavelength"], degrees["wavelength"] * factor, rtol=1e-3)
    assert "comment" not in degrees.attrs
    assert "not comparable" in metres.attrs["comment"]
    scale = altimetry.isotropic_scale(made, truth)
    assert "not comparable" in scale.attrs["comment"]
    assert 2e4 < scale.item() < 1e6


# ---------------------------------------------------------------------- interpolation
def test_trilinear_onto_the_truth_is_exact_for_trilinear_fields():
    def field(t, y, x):
        return 1 + 2 * t + 3 * y - x + 0.5 * t * y * x

    coarse = sea(np.zeros((5, 6, 7)), west=295.0, step=2.0)
    fine = sea(np.zeros((9, 11, 13)), west=-64.5, step=0.7)
    fine = fine.assign_coords(time=fine.time.values[0] + np.arange(9) * np.timedelta64(11, "h"))

    def filled(da):
        days = (da.time - coarse.time[0]) / np.timedelta64(1, "D")
        return field(days, da.lat - 33, da.lon % 360 - 295).transpose(*da.dims).assign_attrs(units="m")

    expected = filled(fine)
    for made in (filled(coarse), filled(coarse).isel(lat=slice(None, None, -1)), filled(coarse).transpose("lon", ...)):
        found = altimetry.on_truth(made, fine)
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        assert found.dims == fine.dims


def test_columns_across_the_border_of_the_range_and_around_the_globe():
    x = np.arange(0.5, 360, 3)
    globe = xr.DataArray(np.cos(np.radians(x)) + np.zeros((2, 3, x.size)), {"time": sea(np.zeros((2, 1, 3))).time,
                         "lat": [32.0, 36.0, 40.0], "lon": x}, ("time", "lat", "lon"))  # fmt: skip
    truth = xr.DataArray(np.zeros((2, 1, 3)), {"time": globe.time, "lat": [35.0], "lon": [-1.0, 0.0, 1.0]}, globe.dims)
    found = altimetry.on_truth(globe, truth, fill=False).values[0, 0]
    np.testing.assert_allclose(
        found, np.interp([359, 360, 361], [*x, 360.5, 363.5], np.cos(np.radians([*x, 360.5, 363.5])))
    )
    piece = globe.isel(lon=[118, 119, 0, 1])  # 354.5, 357.5, 0.5, 3.5
    np.testing.assert_allclose(altimetry.on_truth(piece, truth, fill=False).values[0, 0], found)


def relaxed(values: np.ndarray) -> np.ndarray:
    """Gauss-Seidel, with the inner neighbour beyond each edge."""
    out, gaps = np.nan_to_num(values), np.isnan(values)
    ny, nx = values.shape
    for _ in range(4000):
        for i, j in zip(*np.nonzero(gaps), strict=True):
            up, down = (i - 1 if i else 1), (i + 1 if i < ny - 1 else ny - 2)
            left, right = (j - 1 if j else 1), (j + 1 if j < nx - 1 else nx - 2)
            out[i, j] = (out[up, j] + out[down, j] + out[i, left] + out[i, right]) / 4
    return out


def test_filling_is_the_limit_of_gauss_seidel():
    values = np.random.default_rng(5).normal(size=(5, 6))
    values[1:3, 2:5] = np.nan
    values[4, 4:] = np.nan
    values[0, 0] = np.nan
    found = _kernels.fill_slice(values[None], np.isnan(values))[0]
    np.testing.assert_allclose(found, relaxed(values), atol=1e-10)


def test_gaps_of_the_map_are_filled_and_those_of_the_truth_left_out(truth):
    land = np.zeros((NY, NX), bool)
    land[:3, :5] = True
    holes = truth.where(~land)
    made = holes.where(holes.lon > -64.5)
    assert altimetry.on_truth(made, holes).notnull().all()
    assert altimetry.on_truth(made, holes, fill=False).isnull().any()
    scores = altimetry.mu_sigma(0.5 * holes, holes, weights=None)
    assert scores["mu"].item() == pytest.approx(0.5, abs=1e-12)
    score = altimetry.psd_score(0.5 * holes, holes)
    np.testing.assert_allclose(score, altimetry.psd_score(0.5 * holes[:, 3:], holes[:, 3:]), atol=1e-12)
    assert altimetry.score_map(made, holes)["rmse"].isnull().values[land].all()


# ---------------------------------------------------------------------- laziness, bootstrap, regimes
def test_lazy_and_the_same_for_any_chunks(truth, no_compute):
    made = (truth + 0.3 * noise(6)).assign_attrs(truth.attrs)
    expected = altimetry.mu_sigma(made, truth, bootstrap=5), altimetry.psd_score(made, truth)
    for chunks in ({"time": 7, "lat": 5, "lon": 9}, {"time": -1, "lat": 4, "lon": -1}):
        with no_compute():
            lazy = made.chunk(chunks), truth.chunk(chunks)
            found = altimetry.mu_sigma(*lazy, bootstrap=5), altimetry.psd_score(*lazy)
            maps, daily = altimetry.score_map(*lazy), altimetry.daily_scores(*lazy)
        for one, other in zip(found, expected, strict=True):
            xr.testing.assert_allclose(one.compute(), other)
        assert maps["rmse"].chunks is not None
        xr.testing.assert_allclose(daily.compute(), altimetry.daily_scores(made, truth))


def test_bounds_of_mu(truth):
    made = truth + np.linspace(0.1, 1, NT)[:, None, None] * noise(7)
    settings = {"block": 4, "n": 400, "level": 0.8, "seed": 1, "student": False}
    scores = altimetry.mu_sigma(made, truth, bootstrap=settings)
    assert scores["mu_lower"] < scores["mu"] < scores["mu_upper"]
    wider = altimetry.mu_sigma(made, truth, bootstrap={"block": 4, "n": 400, "level": 0.98, "seed": 1})
    assert wider["mu_lower"] < scores["mu_lower"]
    # The same draws, one after the other.
    drawn = np.random.default_rng(1).integers(NT // 4, size=(400, NT // 4))
    area = xatmo.Grid.of(truth).areas
    e, r = (np.sum(area * x.values**2, (1, 2)).reshape(-1, 4).sum(1) for x in (made - truth, truth))
    mus = 1 - np.sqrt(e[drawn].sum(1) / r[drawn].sum(1))
    np.testing.assert_allclose([scores["mu_lower"], scores["mu_upper"]], np.quantile(mus, [0.1, 0.9]), rtol=1e-9)
    with pytest.raises(OptionError, match="wanted at least 2"):
        altimetry.mu_sigma(made, truth, bootstrap=NT)


def test_regimes():
    values = noise(8) * np.where(np.arange(NX) < 30, 0.3, 0.05)
    values[:, :, :4] = np.nan
    truth = sea(values)
    found = altimetry.regimes(truth, coast=150e3, variance=0.02)
    lon, land = truth.lon.values, truth.lon.values[3]
    metres = np.radians((lon - land) * np.cos(np.radians(33))) * xatmo.constants.EARTH_RADIUS
    row = np.where(metres <= 0, -1, np.where(metres < 150e3, 0, np.where(np.arange(NX) < 30, 1, 2)))
    np.testing.assert_array_equal(found.values[0], row)
    factor = xr.DataArray(np.array([0.9, 0.7, 0.4, 0.0])[found.values], found.coords, found.dims)
    scores = altimetry.by_regime(truth * factor, truth, found)
    np.testing.assert_allclose(scores["mu"], [0.9, 0.7, 0.4], atol=1e-12)
    np.testing.assert_allclose(scores["sigma"], 0, atol=1e-12)
    assert scores["points"].values.tolist() == [(found == k).sum().item() for k in range(3)]
    assert scores["regime"].values.tolist() == ["coastal", "offshore_high_variability", "offshore_low_variability"]
    own = found.copy(data=(np.arange(NX) % 2 + 0 * found.values)).assign_attrs(flag_values=[0, 1], flag_meanings="a b")
    assert altimetry.by_regime(0.5 * truth, truth, own).sizes["regime"] == 2
    mask = xr.DataArray(np.arange(NX) < 4, dims="lon").expand_dims(lat=truth.lat).assign_coords(lon=truth.lon)
    xr.testing.assert_equal(altimetry.regimes(truth, land=mask, coast=150e3), found)


def test_real_maps_with_land(shared_data):
    with xr.open_dataset(shared_data("duacs_adt_med_daily_0p125deg_2005-04_05.nc")) as ds:
        truth = ds["adt"].load()
    coarse = truth.coarsen(latitude=4, longitude=4).mean()
    made = altimetry.on_truth(coarse, truth)
    assert made.notnull().all()
    wet = truth.notnull().values
    s, r = made.values[wet], truth.values[wet]
    mu = 1 - np.sqrt(np.mean((s - r) ** 2) / np.mean(r**2))
    assert altimetry.mu_sigma(coarse, truth, weights=None)["mu"].item() == pytest.approx(float(mu), rel=1e-9)
    box = {"latitude": (33, 34.5), "longitude": (18, 28)}  # no land in most rows
    row = altimetry.leaderboard({"coarse": coarse}, truth, area=box).loc["coarse"]
    assert 0.8 < row["mu"] < 0.95
    # Cells of half a degree cannot show waves of less than two.
    assert 1.0 <= row["lambda_x"] < 2
    with pytest.raises(MissingValueError, match="choose an area where a row is free of land"):
        altimetry.resolved_scales(altimetry.psd_score(coarse, truth))
    everywhere = altimetry.leaderboard({"coarse": coarse}, truth).loc["coarse"]  # as the North Atlantic
    assert everywhere["mu"] == pytest.approx(float(mu), rel=1e-9)
    assert everywhere[["lambda_x", "lambda_t"]].isna().all()


# ---------------------------------------------------------------------- errors
def test_wrong_input_says_so(truth):
    two = xr.Dataset({"a": truth, "b": truth})
    nameless = {"match": "wanted one: pass ds"}
    cases = [
        (VariableError, nameless, lambda: altimetry.mu_sigma(two, truth)),
        (DimensionError, {"match": "the map has dimensions"},
         lambda: altimetry.mu_sigma(truth.expand_dims(m=2), truth)),
        (CoordinateError, {"match": "spans the truth's times"}, lambda: altimetry.mu_sigma(truth[:5], truth)),
        (UnitsError, {"match": "lacks|has none|convert"}, lambda: altimetry.mu_sigma(truth.drop_attrs(), truth)),
        (CoordinateError, {"match": "go back"}, lambda: altimetry.mu_sigma(truth[::-1], truth)),
        (CoordinateError, {"match": "wanted datetime64"},
         lambda: altimetry.mu_sigma(truth.assign_coords(time=("time", np.arange(NT), {"axis": "T"})), truth)),
        (MissingValueError, {"match": "a day without any value"},
         lambda: altimetry.mu_sigma(truth.where(truth.time != truth.time[3]), truth)),
        (OptionError, {"match": "direction='north'"}, lambda: altimetry.psd_score(truth, truth, direction="north")),
        (CoordinateError, {"match": "at even steps"}, lambda: altimetry.psd_score(truth, truth[[0, 1, 3, 9]])),
        (DimensionError, {"match": "wanted one from psd_score"}, lambda: altimetry.contours(truth)),
        (OptionError, {"match": "paths='last'"}, lambda: altimetry.resolved_scales(truth, paths="last")),
        (MissingValueError, {"match": "NaN everywhere"},
         lambda: altimetry.resolved_scales(altimetry.psd_score(truth, 0 * truth))),
        (DimensionError, {"match": "2 of each at least"},
         lambda: altimetry.resolved_scales(altimetry.psd_score(truth[:4], truth[:4]))),
        (OptionError, {"match": "coast=-1"}, lambda: altimetry.regimes(truth, coast=-1)),
        (OptionError, {"match": "land has"}, lambda: altimetry.regimes(truth, land=truth[0, :3] > 0)),
        (OptionError, {"match": "flag_values and flag_meanings"},
         lambda: altimetry.by_regime(truth, truth, truth[0].drop_attrs())),
        (OptionError, {"match": "wanted the truth's"},
         lambda: altimetry.by_regime(truth, truth, altimetry.regimes(truth)[:2])),
        (MissingValueError, {"match": "no point belongs"},
         lambda: altimetry.by_regime(truth, truth, altimetry.regimes(truth) * 0 - 1)),
    ]  # fmt: skip
    for kind, how, call in cases:
        with xr.set_options(keep_attrs=True), pytest.raises(kind, **how):
            call()
