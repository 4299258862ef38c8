from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from xatmo import Grid
from xatmo.constants import EARTH_RADIUS, EARTH_ROTATION
from xatmo.datasets import Damping, Forcing, barotropic
from xatmo.datasets._vorticity import VorticityEquation
from xatmo.errors import MissingValueError, OptionError
from xatmo.spectral import _kernels


def free(truncation: int, step: float, **settings) -> VorticityEquation:
    return VorticityEquation(truncation, step, forcing=None, damping=None, **settings)


def wave(equation: VorticityEquation, degree: int, order: int, spin: float, size: complex) -> np.ndarray:
    """Solid-body rotation (spin in s-1) and one wave: an exact solution (Rossby and Haurwitz)."""
    state = np.zeros((equation.truncation + 1,) * 2, dtype=complex, order="F")
    state[1, 0] = 2 * spin / np.sqrt(3)
    state[degree, order] = size
    return state


def test_rossby_haurwitz_wave_moves_at_its_speed():
    equation = free(42, 1800.0)
    spin, degree, order, size = 4e-6, 5, 4, 2e-5 + 1e-5j
    state, _ = equation.run(wave(equation, degree, order, spin, size), 480, None, None)
    expected = wave(equation, degree, order, spin, size)
    rate = order * (spin - 2 * (EARTH_ROTATION + spin) / (degree * (degree + 1)))
    expected[degree, order] *= np.exp(-1j * rate * 480 * 1800)
    np.testing.assert_allclose(state, expected, atol=1e-8 * abs(size))


def test_rossby_haurwitz_wave_from_labelled_fields():
    equation = free(21, 3600.0)
    state = wave(equation, 4, 3, 5e-6, 1e-5)
    grid = Grid.regular(49, 96)
    start = xr.DataArray(_kernels.synthesis(state, grid), grid.coords(), ("latitude", "longitude"), name="vo",
                         attrs={"units": "s-1"})  # fmt: skip
    ds = barotropic(21, days=5, spin_up=0, forcing=None, damping=None, initial=start, grid=grid, dtype="float64",
                    output_every="1D", time_step="1h")  # fmt: skip
    np.testing.assert_allclose(ds["vo"][0], start, atol=1e-17)
    state[4, 3] *= np.exp(-3j * (5e-6 - (EARTH_ROTATION + 5e-6) / 10) * 4 * 86400)
    np.testing.assert_allclose(ds["vo"][4], _kernels.synthesis(state, grid), atol=2e-11)
    up = start.isel(latitude=slice(None, None, -1)).assign_coords(longitude=(start.longitude + 180) % 360 - 180)
    other = barotropic(21, days=1, spin_up=0, forcing=None, damping=None, initial=up.sortby("longitude"), grid=grid,
                       dtype="float64")  # fmt: skip
    np.testing.assert_allclose(other["vo"][0], start, atol=1e-16)


def test_energy_and_enstrophy_are_conserved_without_forcing_and_damping():
    equation = free(42, 900.0)
    state = equation.start(np.random.default_rng(0), 15.0)
    before = equation.energy_spectrum(state).sum(), equation.enstrophy(state)
    assert before[0] == pytest.approx(0.5 * 15**2, rel=0.3)
    end, _ = equation.run(state, 480, None, None)
    assert equation.energy_spectrum(end).sum() == pytest.approx(before[0], rel=1e-5)
    assert equation.enstrophy(end) == pytest.approx(before[1], rel=3e-4)
    # and the rest is the scheme's: it falls with the fifth power of the step
    half = free(42, 450.0)
    finer, _ = half.run(state, 960, None, None)
    drift = [abs(equation.enstrophy(x) - before[1]) for x in (end, finer)]
    assert drift[1] < drift[0] / 8


def test_energy_and_enstrophy_tendencies_vanish():
    equation = free(31, 900.0)
    state = equation.start(np.random.default_rng(1), 20.0)
    tendency = equation.tendency(state)
    twice = np.where(np.arange(32) > 0, 2.0, 1.0)
    enstrophy = np.sum(twice * (state.conj() * tendency).real)
    energy = np.sum(twice * (state.conj() * tendency).real / equation.scale**2)
    size = np.sum(twice * abs(state * tendency))
    assert abs(enstrophy) < 1e-13 * size
    assert abs(energy) < 1e-13 * np.sum(twice * abs(state * tendency) / equation.scale**2)


def test_damping_takes_single_waves_at_its_rate():
    equation = VorticityEquation(21, 3600.0, None, Damping(3, 86400.0, 7200.0, 4), rotation=0.0)
    for degree, rate in ((2, 1 / 86400), (21, 1 / 7200), (10, (110 / 462) ** 4 / 7200)):
        state = wave(equation, degree, 2, 0.0, 1e-12)
        end, _ = equation.run(state, 24, None, None)
        assert abs(end[degree, 2]) == pytest.approx(1e-12 * np.exp(-86400 * rate), rel=1e-3)


@pytest.mark.parametrize("memory", [0.0, 21600.0])
def test_forcing_brings_in_energy_at_its_rate(memory):
    # On an empty sphere, over a time short against advection, energy grows at the given rate.
    equation = VorticityEquation(21, 3600.0, Forcing((8, 14), 1e-6, memory), None)
    energies = []
    for seed in range(20):
        state, _ = equation.run(np.zeros((22, 22), complex), 96, np.random.default_rng(seed), None)
        energies.append(equation.energy_spectrum(state)[8:15].sum())
    lost = memory / (96 * 3600)  # what has not been turned into motion yet
    assert np.mean(energies) == pytest.approx(1e-6 * 96 * 3600 * (1 - lost), rel=0.1)


def test_the_same_noise_for_every_truncation():
    coarse, fine = (VorticityEquation(t, 3600.0) for t in (21, 42))
    draws = [e.noise(np.random.default_rng(0), (8, 14)) for e in (coarse, fine)]
    np.testing.assert_array_equal(draws[1][:22, :22], draws[0])


def test_labels_and_kinematics():
    ds = barotropic(31, days=1, spin_up=3, variables=("vorticity", "u", "v", "streamfunction"), dtype="float64")
    assert list(ds) == ["vo", "u", "v", "psi"]
    assert dict(ds.sizes) == {"time": 8, "latitude": 48, "longitude": 96}
    assert Grid.of(ds).kind == "gaussian"
    assert ds["vo"].attrs["standard_name"] == "atmosphere_relative_vorticity"
    assert [ds[n].attrs["units"] for n in ds] == ["s-1", "m s-1", "m s-1", "m2 s-1"]
    assert ds.attrs["history"].startswith("xatmo")
    grid = Grid.of(ds)
    rotational, divergent = _kernels.analysis_vector(ds["u"].values, ds["v"].values, grid, 31)
    scale = _kernels.derivative_factor(31, EARTH_RADIUS)[:, None]
    vorticity = _kernels.analysis(ds["vo"].values, grid, 31)
    np.testing.assert_allclose(rotational * scale, vorticity, atol=1e-17)
    np.testing.assert_allclose(divergent, 0, atol=1e-12)
    psi = _kernels.analysis(ds["psi"].values, grid, 31)
    np.testing.assert_allclose(-psi * scale**2, vorticity, atol=1e-15)


def test_output_on_any_grid_is_the_same_flow():
    settings = {"days": 0.25, "spin_up": 1, "dtype": "float64"}
    own = barotropic(21, **settings)
    box = Grid.from_latlon(np.linspace(30, 60, 7), np.linspace(-20, 20, 9))
    there = barotropic(21, grid=box, **settings)
    state = _kernels.analysis(own["vo"].values, Grid.of(own), 21)
    np.testing.assert_allclose(there["vo"], _kernels.synthesis(state, box), atol=1e-16)
    assert there["u"].dtype == np.float64


def test_seeds():
    first, same, other = (barotropic(21, days=0.5, spin_up=1, seed=s)["vo"] for s in (0, 0, 1))
    xr.testing.assert_identical(first, same)
    assert first.dtype == np.float32
    assert abs(xr.corr(first, other)) < 0.3


def test_weather_is_realistic_at_t42():
    ds = barotropic(42, days=10, spin_up=20, output_every="12h")
    speed = np.sqrt((ds["u"] ** 2 + ds["v"] ** 2).weighted(np.cos(np.radians(ds["latitude"]))).mean())
    assert 10 < float(speed) < 30
    assert 30 < float(abs(ds["u"]).max()) < 100
    day = xr.corr(ds["vo"].shift(time=2), ds["vo"], dim=["latitude", "longitude"]).isel(time=slice(2, None)).mean()
    assert 0.3 < float(day) < 0.9


@pytest.mark.slow
def test_kinetic_energy_falls_with_a_slope_near_minus_four_at_t85():
    equation = VorticityEquation(85, 2160.0)
    generator = np.random.default_rng(0)
    state, stirring = equation.run(equation.start(generator, 15.0), 40 * 40, generator, None)
    spectra = []
    for _ in range(30):
        state, stirring = equation.run(state, 20, generator, stirring)
        spectra.append(equation.energy_spectrum(state))
    degree = np.arange(86)
    energy = np.mean(spectra, axis=0)
    for first, last in ((14, 51), (17, 68)):
        band = slice(first, last + 1)
        slope = np.polyfit(np.log(degree[band]), np.log(energy[band]), 1)[0]
        assert -4.5 < slope < -2.8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"variables": ("w",)}, r"variables=\['w'\]; wanted some of"),
        ({"variables": ()}, "wanted some of"),
        ({"truncation": 3}, "truncation=3; wanted a whole number"),
        ({"days": 0}, "wanted positive times"),
        ({"time_step": "50min"}, "does not divide output_every"),
        ({"forcing": Forcing((8, 40))}, "wanted two degrees from 1 to the truncation, 21"),
        ({"forcing": Forcing(rate=10.0), "time_step": "3h", "days": 20}, "give a shorter one, or weaker forcing"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_clear_errors(settings, message):
    with pytest.raises(OptionError, match=message):
        barotropic(**{"truncation": 21, "days": 1, "spin_up": 0} | settings)


def test_initial_field_is_checked():
    grid = Grid.regular(33, 64)
    field = xr.DataArray(np.zeros((2, *grid.shape)), grid.coords(), ("time", "latitude", "longitude"))
    with pytest.raises(OptionError, match="Select one time"):
        barotropic(21, days=1, spin_up=0, initial=field)
    with pytest.raises(MissingValueError, match="barotropic met 1 missing"):
        barotropic(21, days=1, spin_up=0, initial=field[0].where(field.latitude < 89.9).fillna(0).where(
            (field.latitude != 0) | (field.longitude != 0)))  # fmt: skip
