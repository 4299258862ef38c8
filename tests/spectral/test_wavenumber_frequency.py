"""Wavenumber-frequency power: signs, sums, symmetry, segments, boxes, background, dispersion, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cftime
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xatmo
from xatmo.constants import EARTH_RADIUS, EARTH_ROTATION, GRAVITY
from xatmo.errors import ChunkError, CoordinateError, DimensionError, GridError, MissingValueError, OptionError
from xatmo.spectral import equatorial_wave, wavenumber_frequency, wk_background
from xatmo.spectral._space_time import SpaceTime, segment_starts, smooth121, taper_window

DAY = 86400.0


def times(count: int, step: str = "1D") -> pd.DatetimeIndex:
    return pd.date_range("2001-01-01", periods=count, freq=step)


def field(
    values: Any, grid: xatmo.Grid | None = None, step: str = "1D", dims: tuple[str, ...] = ("time", "lat", "lon")
) -> xr.DataArray:
    grid = xatmo.Grid.regular(19, 36) if grid is None else grid
    coords = {"time": times(values.shape[0], step), **grid.coords(lat="lat", lon="lon")}
    return xr.DataArray(values, coords, dims, name="olr", attrs={"units": "W m-2", "long_name": "outgoing radiation"})


def noise(count: int = 40, grid: xatmo.Grid | None = None, seed: int = 0, step: str = "1D") -> xr.DataArray:
    grid = xatmo.Grid.regular(19, 36) if grid is None else grid
    return field(np.random.default_rng(seed).normal(size=(count, *grid.shape)), grid, step)


def wave(k: float, frequency: float, count: int = 40, grid: xatmo.Grid | None = None, step: float = 1.0) -> Any:
    """cos(k lon - 2 pi frequency t), (time, lat, lon); eastward for k > 0."""
    grid = xatmo.Grid.regular(19, 36) if grid is None else grid
    t = np.arange(count) * step
    phase = k * np.radians(grid.longitude) - 2 * np.pi * frequency * t[:, None, None]
    return np.broadcast_to(np.cos(phase), (count, *grid.shape)).copy()


def peak(power: xr.DataArray) -> tuple[float, float]:
    """Wavenumber and frequency of the largest power."""
    at = power.stack(z=power.dims).idxmax("z").item()
    named = dict(zip(power.dims, at, strict=True))
    return named["zonal_wavenumber"], named["frequency"]


# ---------------------------------------------------------------------- waves
@pytest.mark.parametrize(("k", "frequency"), [(3, 0.2), (-3, 0.2), (-5, 0.075), (0, 0.25), (17, 0.4), (-17, 0.475)])
def test_a_travelling_wave_lands_in_its_bin_with_its_mean_square(k: int, frequency: float) -> None:
    power = wavenumber_frequency(field(3 * wave(k, frequency)), taper=0, detrend=None).isel(lat=5)
    assert power.sel(zonal_wavenumber=k).sel(frequency=frequency, method="nearest").item() == pytest.approx(4.5)
    assert power.sum().item() == pytest.approx(4.5)
    assert peak(power) == (k, pytest.approx(frequency))


def test_a_standing_wave_travels_both_ways() -> None:
    power = wavenumber_frequency(field(wave(4, 0.1) + wave(-4, 0.1)), taper=0).isel(lat=0)
    east, west = (power.sel(zonal_wavenumber=k).sel(frequency=0.1, method="nearest").item() for k in (4, -4))
    assert east == pytest.approx(west, rel=1e-6)
    assert east == pytest.approx(0.5, rel=0.02)


def test_a_resting_wave_has_frequency_zero_and_no_direction() -> None:
    power = wavenumber_frequency(field(wave(4, 0.0)), taper=0, detrend=None).isel(lat=0)
    still = power.sel(frequency=0, zonal_wavenumber=[-4, 4])
    np.testing.assert_allclose(still, 0.25)
    assert power.sum().item() == pytest.approx(0.5)


@pytest.mark.parametrize("count", [40, 41])
@pytest.mark.parametrize("columns", [36, 35])
def test_power_agrees_with_the_sum_written_out(count: int, columns: int) -> None:
    grid = xatmo.Grid.regular(19, columns)
    da = noise(count, grid).isel(lat=[4])
    power = wavenumber_frequency(da.isel(lat=0, drop=True), taper=0, detrend=None)
    f = da.values[:, 0]
    t, lon = np.arange(count), np.radians(grid.longitude)
    for k, j in [(0, 0), (3, 7), (-3, 7), (-11, 1), (columns // 2 - 1, count // 2)]:
        along = np.exp(-1j * k * lon)
        amplitude = np.exp(2j * np.pi * j * t / count) @ f @ along / (count * columns)
        twice = 1 if j == 0 or 2 * j == count else 2
        assert power.sel(zonal_wavenumber=k).isel(frequency=j).item() == pytest.approx(twice * abs(amplitude) ** 2)


def reference(f: Any, length: int, starts: list[int], taper: float) -> Any:
    """Power (frequency, k = -K..K) with complex transforms over both axes, bin by bin."""
    from scipy.signal import detrend

    nlon = f.shape[1]
    top = nlon // 2
    out = np.zeros((length // 2 + 1, 2 * top + 1))
    w = np.ones(length)
    m = taper * length / 2
    for i in range(length):
        edge = min(i, length - 1 - i) + 0.5
        if edge < m:
            w[i] = 0.5 * (1 - np.cos(np.pi * edge / m))
    for s in starts:
        both = np.fft.fft2(detrend(f[s : s + length], axis=0) * w[:, None]) / (length * nlon * np.sqrt(np.mean(w**2)))
        for i in range(length):
            for j in range(nlon):
                nu = i if i <= length // 2 else i - length
                k = j if j <= nlon // 2 else j - nlon
                # exp(i (k x + nu t)): eastward where k and nu differ in sign
                if nu > 0 or 2 * i == length:
                    k, nu = -k, -nu
                p = abs(both[i, j]) ** 2
                if 2 * j == nlon:
                    out[abs(nu), [0, -1]] += p / 2
                else:
                    out[abs(nu), k + top] += p
    return out / len(starts)


@pytest.mark.parametrize("columns", [36, 35])
def test_segments_agree_with_another_way_to_do_it(columns: int) -> None:
    da = noise(50, xatmo.Grid.regular(19, columns)).cumsum("time")
    power = wavenumber_frequency(da, window=20, overlap=12, taper=0.3)
    wanted = reference(da.values[:, 7], 20, [0, 8, 16, 24, 30], 0.3)
    np.testing.assert_allclose(power.isel(lat=7), wanted, rtol=1e-9, atol=1e-12)
    assert power.attrs["segments"] == 5


# ---------------------------------------------------------------------- sums
@pytest.mark.parametrize("count", [40, 41])
@pytest.mark.parametrize("columns", [36, 35])
def test_power_sums_to_the_mean_square(count: int, columns: int) -> None:
    da = noise(count, xatmo.Grid.regular(19, columns)) + 5
    whole = wavenumber_frequency(da, taper=0, detrend=None).sum(("frequency", "zonal_wavenumber"))
    np.testing.assert_allclose(whole, (da**2).mean(("time", "lon")))
    moving = wavenumber_frequency(da, taper=0, detrend="mean").sum(("frequency", "zonal_wavenumber"))
    np.testing.assert_allclose(moving, da.var("time").mean("lon"))


def test_tapered_power_sums_to_the_weighted_mean_square() -> None:
    da = noise(40)
    squares = taper_window(40, 0.4) ** 2
    anomaly = da - da.mean("time")
    wanted = (anomaly**2 * xr.DataArray(squares, dims="time")).sum("time").mean("lon") / squares.sum()
    got = wavenumber_frequency(da, taper=0.4, detrend="mean").sum(("frequency", "zonal_wavenumber"))
    np.testing.assert_allclose(got, wanted)


def test_trends_and_the_year_are_removed() -> None:
    steps = np.arange(3 * 365)
    year = np.cos(2 * np.pi * steps / 365.2425) + np.sin(4 * np.pi * steps / 365.2425)
    smooth = (0.01 * steps + 5 * year)[:, None, None] * np.ones((1, 19, 36))
    da = field(smooth)
    assert float(wavenumber_frequency(da, annual_cycle=2).sum("frequency").max()) < 1e-20
    assert float(wavenumber_frequency(da).sum("frequency").max()) > 1
    # What is no harmonic of the year stays.
    kept = wavenumber_frequency(da + wave(3, 0.2, len(steps)), annual_cycle=2, taper=0)
    assert kept.isel(lat=3).sum().item() == pytest.approx(0.5, rel=1e-3)


def test_a_band_is_averaged_by_area() -> None:
    da = noise(30)
    kept = wavenumber_frequency(da)
    band = wavenumber_frequency(da, latitudes=(-40, 20))
    rows = kept.sel(lat=slice(20, -40))
    area = xr.DataArray(xatmo.Grid.of(da).areas.sum(axis=1), {"lat": da.lat}, dims="lat").sel(lat=slice(20, -40))
    xr.testing.assert_allclose(band, rows.weighted(area).mean("lat"))
    assert band.dims == ("frequency", "zonal_wavenumber")
    xr.testing.assert_equal(band, wavenumber_frequency(da, latitudes=(20, -40)))


# ---------------------------------------------------------------------- symmetry
@pytest.mark.parametrize(
    "grid", [xatmo.Grid.regular(19, 36), xatmo.Grid.gaussian(16), xatmo.Grid.regular(18, 36, poles=False)]
)
def test_symmetric_and_antisymmetric_power_add_up(grid: xatmo.Grid) -> None:
    da = noise(30, grid)
    both = wavenumber_frequency(da, symmetry="both", latitudes=(-30, 30))
    xr.testing.assert_allclose(both.sum("symmetry"), wavenumber_frequency(da, latitudes=(-30, 30)))
    for name in ("symmetric", "antisymmetric"):
        alone = wavenumber_frequency(da, symmetry=name, latitudes=(-30, 30))
        xr.testing.assert_allclose(alone, both.sel(symmetry=name, drop=True))
    mirrored = da.assign_coords(lat=-da.lat).sortby("lat", ascending=False)
    even = wavenumber_frequency(da + mirrored.values, symmetry="both")
    assert float(even.sel(symmetry="antisymmetric").max()) < 1e-25
    odd = wavenumber_frequency(da - mirrored.values, symmetry="both")
    assert float(odd.sel(symmetry="symmetric").max()) < 1e-25


def test_the_default_band_is_15_degrees_either_side() -> None:
    da = noise(30)
    xr.testing.assert_equal(
        wavenumber_frequency(da, symmetry="both").drop_attrs(),
        wavenumber_frequency(da, symmetry="both", latitudes=(-15, 15)).drop_attrs(),
    )


def test_rows_rounded_in_the_file_still_mirror_each_other() -> None:
    da = noise(30, xatmo.Grid.gaussian(32))
    rounded = da.assign_coords(lat=(da.lat.astype("float32") + 1e-3).round(3))
    got, exact = (wavenumber_frequency(x, symmetry="both") for x in (rounded, da))
    xr.testing.assert_allclose(got, exact, rtol=1e-3)


def kelvin(depth: float, k: int, grid: xatmo.Grid, count: int, step: float) -> Any:
    """The geopotential of a Kelvin wave on the equatorial beta plane."""
    speed = np.sqrt(GRAVITY * depth)
    y = EARTH_RADIUS * np.radians(grid.latitude)
    across = np.exp(-2 * EARTH_ROTATION / EARTH_RADIUS * y**2 / (2 * speed))
    t = np.arange(count) * step * DAY
    return across[:, None] * np.cos(k * (np.radians(grid.longitude) - speed / EARTH_RADIUS * t[:, None, None]))


@pytest.mark.parametrize("k", [2, 5, 9])
def test_a_kelvin_wave_lies_on_its_curve(k: int) -> None:
    grid = xatmo.Grid.regular(61, 120)
    da = field(kelvin(25, k, grid, 400, 0.5), grid, "12h")
    power = wavenumber_frequency(da, symmetry="both", window="96D", overlap="65D")
    east, at = peak(power.sel(symmetry="symmetric"))
    assert east == k
    assert at == pytest.approx(equatorial_wave("kelvin", k, 25).item(), abs=0.5 / 96)
    assert float(power.sel(symmetry="antisymmetric").max()) < 1e-20


def test_a_rossby_wave_lies_in_the_west() -> None:
    """Barotropic Rossby-Haurwitz wave: its streamfunction travels west at 2 omega / (n (n + 1)) radians a second."""
    grid = xatmo.Grid.gaussian(32)
    n, m = 5, 4
    turning = 2 * EARTH_ROTATION / (n * (n + 1))
    t = np.arange(120) * DAY / 4
    mu = np.sin(np.radians(grid.latitude))
    across = mu * (1 - mu**2) ** (m / 2)  # P(5, 4)
    values = across[:, None] * np.cos(m * (np.radians(grid.longitude) + turning * t[:, None, None]))
    power = wavenumber_frequency(field(values, grid, "6h"), symmetry="both")
    k, at = peak(power.sel(symmetry="antisymmetric"))
    assert k == -m
    assert at == pytest.approx(m * turning * DAY / (2 * np.pi), abs=0.5 / 30)
    assert float(power.sel(symmetry="symmetric").max()) < 1e-20


# ---------------------------------------------------------------------- boxes and rows
def box(count: int = 40, nlat: int = 7, nlon: int = 48) -> tuple[xr.DataArray, xatmo.Grid]:
    grid = xatmo.Grid.from_latlon(30 + np.arange(nlat) * 0.5, -60 + np.arange(nlon) * 0.5)
    return noise(count, grid), grid


def test_a_box_has_wavenumbers_in_cycles_per_metre() -> None:
    da, grid = box()
    metres = EARTH_RADIUS * np.radians(grid.longitude + 60) * np.cos(np.radians(31.5))
    length = 48 * (metres[1] - metres[0])
    moving = np.cos(2 * np.pi * (6 * metres / length + 0.2 * np.arange(40)[:, None, None]))  # westward
    power = wavenumber_frequency(da.copy(data=np.broadcast_to(moving, da.shape)), latitudes=(30, 33))
    assert power.wavenumber.attrs["units"] == "m-1"
    assert power.wavenumber.attrs["mean_latitude"] == pytest.approx(31.5)
    at = power.stack(z=power.dims).idxmax("z").item()
    assert at == (pytest.approx(0.2), pytest.approx(-6 / length))
    assert power.wavelength.sel(wavenumber=at[1]).item() == pytest.approx(length / 6)
    assert power.sum().item() == pytest.approx(0.5, rel=0.02)


def test_power_of_a_box_sums_to_the_weighted_mean_square() -> None:
    da, _ = box()
    squares = np.outer(taper_window(40, 0.1), taper_window(48, 1.0)) ** 2
    anomaly = (da - da.mean("time")).values
    wanted = (anomaly**2 * squares[:, None, :]).sum(axis=(0, 2)) / squares.sum()
    got = wavenumber_frequency(da, detrend="mean").sum(("frequency", "wavenumber"))
    np.testing.assert_allclose(got, wanted)


def test_a_row_by_itself_and_one_with_a_latitude() -> None:
    da, _ = box()
    one = da.isel(lat=2)
    xr.testing.assert_allclose(
        wavenumber_frequency(one).drop_vars(("lat", "wavenumber", "wavelength")),
        wavenumber_frequency(da).isel(lat=2).drop_vars(("lat", "wavenumber", "wavelength")),
    )
    with pytest.raises(CoordinateError, match="needs to know its latitude; there is none"):
        wavenumber_frequency(one.drop_vars("lat"))
    around = noise(20).mean("lat")
    assert wavenumber_frequency(around).dims == ("frequency", "zonal_wavenumber")


# ---------------------------------------------------------------------- invariance, laziness, labels
def test_order_range_direction_and_repeated_column_change_nothing() -> None:
    da = noise(30)
    wanted = wavenumber_frequency(da, symmetry="both").drop_attrs()
    turned = da.isel(lon=[*range(9, 36), *range(9)]).assign_coords(lon=((da.lon.values + 90 + 180) % 360) - 180)
    turned = turned.sortby("lon")
    closed = da.isel(lon=[*range(36), 0]).assign_coords(lon=np.arange(37) * 10.0)
    for other in (da.isel(lat=slice(None, None, -1)), turned, closed, da.transpose("lon", "time", "lat")):
        xr.testing.assert_allclose(wavenumber_frequency(other, symmetry="both").drop_attrs(), wanted, rtol=1e-10)


def test_lazy_and_any_chunks_along_latitude(no_compute: Callable[..., Any]) -> None:
    ds = xr.Dataset({"olr": noise(30).astype("float32"), "pr": noise(30, seed=1).expand_dims(member=3), "mask": 1})
    wanted = wavenumber_frequency(ds, symmetry="both", window=16)
    for chunks in ({"lat": 4, "member": 1}, {"lat": 7}, {"lat": -1}):
        with no_compute():
            lazy = wavenumber_frequency(ds.chunk(chunks), symmetry="both", window=16)
            back = wk_background(lazy["olr"])
        assert lazy.chunks
        assert lazy["olr"].dtype == np.float32
        xr.testing.assert_allclose(lazy.compute(), wanted, rtol=1e-5)
        xr.testing.assert_allclose(back.compute(), wk_background(wanted["olr"]), rtol=1e-5)
    assert wanted["pr"].dims == ("member", "symmetry", "frequency", "zonal_wavenumber")
    assert wanted["mask"].item() == 1


def test_names_units_and_history() -> None:
    power = noise(30).atmo.wavenumber_frequency(latitudes=(-20, 20), window="16D", overlap="8D")
    assert power.name == "olr"
    assert power.attrs["units"] == "W2 m-4"
    assert power.attrs["long_name"] == "wavenumber-frequency power of outgoing radiation"
    assert "window='16D', overlap='8D'" in power.attrs["history"]
    assert power.frequency.attrs["units"] == "d-1"
    assert power.period.values[:3].tolist() == [np.inf, 16.0, 8.0]
    assert power.zonal_wavenumber.values.tolist() == list(range(-18, 19))
    assert power.zonal_wavenumber.attrs["units"] == "1"


@pytest.mark.parametrize("kind", ["cftime", "hours since", "timedelta", "day"])
def test_times_of_every_kind(kind: str) -> None:
    da = noise(24, step="6h")
    wanted = wavenumber_frequency(da)
    made: Any = {
        "cftime": [cftime.DatetimeNoLeap(2001, 1, 1 + i // 4, 6 * (i % 4)) for i in range(24)],
        "hours since": ("time", np.arange(24) * 6, {"units": "hours since 2001-01-01"}),
        "timedelta": np.arange(24) * np.timedelta64(6, "h"),
        "day": ("time", np.arange(24) / 4, {"units": "day"}),
    }[kind]
    other = da.assign_coords(time=made)
    other.time.attrs["standard_name"] = "time"
    xr.testing.assert_allclose(wavenumber_frequency(other), wanted)


def test_a_window_as_a_length_or_a_number() -> None:
    da = noise(30, step="6h")
    for window in ("3D", np.timedelta64(72, "h"), pd.Timedelta(days=3)):
        xr.testing.assert_allclose(wavenumber_frequency(da, window=window), wavenumber_frequency(da, window=12))


# ---------------------------------------------------------------------- background
def test_the_background_of_a_flat_spectrum_is_flat() -> None:
    power = wavenumber_frequency(noise(60), symmetry="both") * 0 + 2
    found = wk_background(power)
    np.testing.assert_allclose(found.background, 2)
    np.testing.assert_allclose(found.ratio, 1)
    assert found.frequency.values[0] > 0
    assert found.ratio.attrs["units"] == "1"
    assert found.background.dims == ("frequency", "zonal_wavenumber")


def test_the_background_is_the_mean_smoothed_again_and_again() -> None:
    power = wavenumber_frequency(noise(60), symmetry="both").isel(frequency=slice(1, None))
    found = wk_background(power)
    mean = power.mean("symmetry").values
    freq = power.frequency.values
    rows = []
    for f, row in zip(freq, mean, strict=True):
        for _ in range(10 if f < 0.1 else 20 if f < 0.2 else 30 if f < 0.3 else 40):
            row = np.convolve(np.pad(row, 1, "edge"), [0.25, 0.5, 0.25], "valid")
        rows.append(row)
    wanted = np.array(rows)
    for _ in range(10):
        wanted = np.apply_along_axis(lambda x: np.convolve(np.pad(x, 1, "edge"), [0.25, 0.5, 0.25], "valid"), 0, wanted)
    np.testing.assert_allclose(found.background, wanted)
    xr.testing.assert_allclose(found.ratio, found.power / found.background)
    few = wk_background(power, frequency_passes=0, wavenumber_passes=0)
    np.testing.assert_allclose(few.background, mean)


def test_smoothing_keeps_the_sum() -> None:
    x = np.random.default_rng(0).random((5, 9))
    np.testing.assert_allclose(smooth121(x, 0, 13).sum(0), x.sum(0))
    np.testing.assert_allclose(smooth121(x, 1, 13).sum(1), x.sum(1))


def test_a_wave_stands_out_of_the_background() -> None:
    grid = xatmo.Grid.regular(61, 72)
    rng = np.random.default_rng(0)
    da = field(rng.normal(size=(400, *grid.shape)) + kelvin(25, 4, grid, 400, 0.5), grid, "12h")
    found = wk_background(wavenumber_frequency(da, symmetry="both", window="50D"))
    k, at = peak(found.ratio.sel(symmetry="symmetric"))
    assert k == 4
    assert at == pytest.approx(equatorial_wave("kelvin", 4, 25).item(), abs=1 / 50)
    assert 0.5 < float(found.ratio.sel(symmetry="antisymmetric").max()) < 3
    assert float(found.ratio.median()) == pytest.approx(1, abs=0.1)


# ---------------------------------------------------------------------- dispersion
@pytest.mark.parametrize("depth", [12.0, 25.0, 50.0, 1e4])
def test_frequencies_solve_the_dispersion_relation(depth: float) -> None:
    s = np.arange(-40.0, 41.0)
    k, c, beta = s / EARTH_RADIUS, np.sqrt(GRAVITY * depth), 2 * EARTH_ROTATION / EARTH_RADIUS
    for wave_name, n in (("rossby", 1), ("rossby", 2), ("inertia_gravity", 1), ("inertia_gravity", 2)):
        sigma = equatorial_wave(wave_name, s, depth, n=n) * 2 * np.pi / DAY
        some = np.isfinite(sigma)
        assert some.sum() == (40 if wave_name == "rossby" else 81)
        left = (sigma / c) ** 2 - k**2 - beta * k / sigma
        np.testing.assert_allclose(left[some], (2 * n + 1) * beta / c, rtol=1e-7)
        assert (sigma[some] > 0).all()
    sigma = equatorial_wave("mixed", s, depth) * 2 * np.pi / DAY
    np.testing.assert_allclose(sigma / c - k, beta / sigma, rtol=1e-9)
    sigma = equatorial_wave("kelvin", s, depth) * 2 * np.pi / DAY
    np.testing.assert_allclose(sigma[40:], c * k[40:])
    assert np.isnan(sigma[:40]).all()
    assert (equatorial_wave("rossby", -5.0, depth) < equatorial_wave("inertia_gravity", -5.0, depth)).all()


# ---------------------------------------------------------------------- refused
def test_what_is_wrong_is_said() -> None:
    da = noise(30)
    cases: list[tuple[type[Exception], str, Callable[[], Any]]] = [
        (OptionError, "symmetry='even' came", lambda: wavenumber_frequency(da, symmetry="even")),
        (OptionError, "window='x' came; wanted a length", lambda: wavenumber_frequency(da, window="x")),
        (OptionError, "window=2.5 came; wanted a length", lambda: wavenumber_frequency(da, window=2.5)),
        (OptionError, "is 10.5 steps of 1 days", lambda: wavenumber_frequency(da, window="252h")),
        (OptionError, "window='96D' came, 96 times; wanted from 4 to the 30", lambda: da.atmo.wavenumber_frequency(
            window="96D")),
        (OptionError, "overlap=3 came without window", lambda: wavenumber_frequency(da, overlap=3)),
        (OptionError, "overlap=8 came, 8 times", lambda: wavenumber_frequency(da, window=8, overlap=8)),
        (OptionError, "taper=1.5 came", lambda: wavenumber_frequency(da, taper=1.5)),
        (OptionError, "detrend='cubic' came", lambda: wavenumber_frequency(da, detrend="cubic")),
        (OptionError, "annual_cycle=3 came for 30 days", lambda: wavenumber_frequency(da, annual_cycle=3)),
        (OptionError, r"latitudes=5 came; wanted \(south, north\)", lambda: wavenumber_frequency(da, latitudes=5)),  # type: ignore[arg-type]
        (OptionError, r"latitudes=\(1, 2\) holds no row", lambda: wavenumber_frequency(da, latitudes=(1, 2))),
        (GridError, "rows that mirror each other about the equator; those between -10 and 20 run from -10 to 20",
         lambda: wavenumber_frequency(da, symmetry="both", latitudes=(-10, 20))),
        (DimensionError, "got no latitude dimension",
         lambda: wavenumber_frequency(da.mean("lat"), latitudes=(-10, 10))),
        (DimensionError, "wk_background got a DataArray with dimensions", lambda: wk_background(da)),
        (OptionError, "-1 passes of smoothing came", lambda: wk_background(
            wavenumber_frequency(da), frequency_passes=-1)),
        (OptionError, "wave='tidal' came", lambda: equatorial_wave("tidal", 1, 25)),
        (OptionError, "depth=0 came", lambda: equatorial_wave("kelvin", 1, 0)),
        (OptionError, "wave='kelvin', n=2 came", lambda: equatorial_wave("kelvin", 1, 25, n=2)),
        (OptionError, "n=0.5 came", lambda: equatorial_wave("rossby", 1, 25, n=0.5)),  # type: ignore[arg-type]
    ]  # fmt: skip
    for error, text, call in cases:
        with pytest.raises(error, match=text):
            call()


def test_series_that_cannot_be_used() -> None:
    da = noise(30)
    with pytest.raises(CoordinateError, match=r"equal steps of time; they are 1 days, but 2 from 2001-01-05"):
        wavenumber_frequency(da.isel(time=[*range(5), *range(6, 30)]))
    with pytest.raises(CoordinateError, match="needs a series; 'time' has 1 time"):
        wavenumber_frequency(da.isel(time=slice(0, 1)))
    plain = da.assign_coords(time=("time", np.arange(30), {"standard_name": "time"}))
    with pytest.raises(CoordinateError, match="without units of time"):
        wavenumber_frequency(plain)
    with pytest.raises(DimensionError, match="needs real fields"):
        wavenumber_frequency(da * 1j)
    uneven = da.isel(lon=slice(0, 20)).assign_coords(lon=np.arange(20.0) ** 2 / 8)
    with pytest.raises(GridError, match="needs equal steps of longitude"):
        wavenumber_frequency(uneven)
    with pytest.raises(CoordinateError, match="no latitude coordinate"):
        wavenumber_frequency(da.drop_vars(("lat", "lon")))
    mixed = xr.Dataset({"a": da, "b": da.isel(lat=0, drop=True)})
    with pytest.raises(DimensionError, match="variable 'b' has no 'lat' to average over"):
        wavenumber_frequency(mixed, latitudes=(-10, 10))


def test_split_chunks_and_missing_values() -> None:
    da = noise(30)
    with pytest.raises(ChunkError, match=r"call .chunk\(\{'time': -1\}\) first"):
        wavenumber_frequency(da.chunk(time=10))
    with pytest.raises(ChunkError, match="'zonal_wavenumber' in 2 chunks came"):
        wk_background(wavenumber_frequency(da).chunk(zonal_wavenumber=20))
    lazy = wavenumber_frequency(da.where(da < 2).chunk(), symmetry="both")
    with pytest.raises(MissingValueError, match="wavenumber_frequency met .* of variable 'olr'"):
        lazy.compute()


def test_rings_are_refused() -> None:
    rings = pytest.importorskip("xatmo.rings")
    if not hasattr(xatmo.Grid, "healpix"):
        pytest.skip("no ring grids here")
    grid = xatmo.Grid.healpix(4)
    assert isinstance(grid, rings.RingGrid)
    da = xr.DataArray(
        np.zeros((8, grid.npoints)),
        {
            "time": times(8),
            "latitude": ("cell", grid.point_latitude, {"standard_name": "latitude", "units": "degrees_north"}),
            "longitude": ("cell", grid.point_longitude, {"standard_name": "longitude", "units": "degrees_east"}),
        },
        dims=("time", "cell"),
    )
    with pytest.raises(GridError):
        wavenumber_frequency(da)


def test_results_can_be_saved(tmp_path: Any) -> None:
    """Labels of symmetry are strings that Zarr and netCDF have a type for: no warning, and they come back."""
    power = wavenumber_frequency(noise(30), symmetry="both")
    power.to_dataset().to_zarr(tmp_path / "power.zarr", consolidated=False)
    wk_background(power).to_netcdf(tmp_path / "wk.nc")
    with xr.open_dataset(tmp_path / "wk.nc") as back:
        np.testing.assert_allclose(back["power"].sel(symmetry="symmetric"), power.sel(symmetry="symmetric")[1:])
    with xr.open_zarr(tmp_path / "power.zarr", consolidated=False) as back:
        assert back["symmetry"].values.tolist() == ["symmetric", "antisymmetric"]


def test_coefficients_are_named_as_such() -> None:
    with pytest.raises(GridError, match="these are spherical-harmonic coefficients"):
        wavenumber_frequency(noise(8).atmo.to_spectral())


# ---------------------------------------------------------------------- pieces, real data
def test_windows_and_segments() -> None:
    assert (taper_window(11, 0.3) > 0).all()
    np.testing.assert_allclose(taper_window(10, 1.0), np.sin(np.pi * (np.arange(10) + 0.5) / 10) ** 2)
    assert segment_starts(96, 96, 48) == (0,)
    assert segment_starts(100, 96, 65) == (0, 4)
    rule = SpaceTime(8, 4, 0.25, (0,), 0.0, None, 0, True)
    np.testing.assert_allclose(rule.frequency, [0, 1, 2])
    assert rule.number.tolist() == [-4, -3, -2, -1, 0, 1, 2, 3, 4]


def test_the_daily_cycle_of_surface_temperature_travels_west_with_the_sun(shared_data: Callable[[str], Any]) -> None:
    with xr.open_dataset(shared_data("echam5_tsurf_6hourly_F48_2001-01-01_07.nc")) as ds:
        power = wavenumber_frequency(ds["tC"], latitudes=(-60, 60), detrend="mean", taper=0)
        daily = power.sel(frequency=1, method="nearest")
        assert daily.idxmax("zonal_wavenumber").item() == -1
        total = power.sum().item()
        area = np.cos(np.radians(ds.lat.sel(lat=slice(60, -60))))
        wanted = ds["tC"].sel(lat=slice(60, -60)).var("time").mean("lon").weighted(area).mean().item()
    assert total == pytest.approx(wanted, rel=1e-3)
