from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from xatmo import Grid
from xatmo.constants import EARTH_RADIUS, EARTH_ROTATION, GRAVITY
from xatmo.datasets import Damping, Forcing, LayerDamping, Relaxation, shallow_water
from xatmo.datasets._shallow_water import DIVERGENT, HEIGHT, ROTATIONAL, ShallowWaterEquations, _exponentials
from xatmo.errors import CoordinateError, MissingValueError, OptionError, VariableError
from xatmo.spectral import _kernels

DAY = 86400.0
FREE = {"forcing": None, "heating": None, "relaxation": None, "damping": None, "spin_up": 0}


def free(truncation: int, step: float, depth: float = 5000 * GRAVITY, **settings) -> ShallowWaterEquations:
    return ShallowWaterEquations(truncation, step, depth, **settings)


def mesh(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    return np.radians(grid.latitude)[:, None], np.radians(grid.longitude)[None, :]


def fields(grid: Grid, **values: np.ndarray) -> xr.Dataset:
    units = {"u": "m s-1", "v": "m s-1", "z": "m2 s-2"}
    names = {"u": "eastward_wind", "v": "northward_wind", "z": "geopotential"}
    dims = ("latitude", "longitude")
    data = {
        n: (dims, np.broadcast_to(a, grid.shape), {"units": units[n], "standard_name": names[n]})
        for n, a in values.items()
    }
    return xr.Dataset(data, grid.coords())


def solid_body(grid: Grid, speed: float = 38.61, depth: float = 2.94e4) -> xr.Dataset:
    """Williamson's second test: steady zonal flow, with the height that balances it."""
    lat, lon = mesh(grid)
    z = depth - (EARTH_RADIUS * EARTH_ROTATION * speed + speed**2 / 2) * np.sin(lat) ** 2
    return fields(grid, u=speed * np.cos(lat) + 0 * lon, v=0 * lat * lon, z=z + 0 * lon)


def rossby_haurwitz(grid: Grid) -> xr.Dataset:
    """Williamson's sixth test: wave number 4, with the geopotential of the paper's equations 146 to 149."""
    lat, lon = mesh(grid)
    a, spin, k, r, omega = EARTH_RADIUS, 7.848e-6, 7.848e-6, 4, EARTH_ROTATION
    c, s = np.cos(lat), np.sin(lat)
    u = a * spin * c + a * k * c ** (r - 1) * (r * s**2 - c**2) * np.cos(r * lon)
    v = -a * k * r * c ** (r - 1) * s * np.sin(r * lon)
    first = spin / 2 * (2 * omega + spin) * c**2
    first = first + k**2 / 4 * c ** (2 * r) * ((r + 1) * c**2 + (2 * r**2 - r - 2) - 2 * r**2 / np.maximum(c**2, 1e-30))
    second = 2 * (omega + spin) * k / ((r + 1) * (r + 2)) * c**r * ((r**2 + 2 * r + 2) - (r + 1) ** 2 * c**2)
    third = k**2 / 4 * c ** (2 * r) * ((r + 1) * c**2 - (r + 2))
    z = GRAVITY * 8000 + a**2 * (first + second * np.cos(r * lon) + third * np.cos(2 * r * lon))
    return fields(grid, u=u, v=v, z=z)


# ---------------------------------------------------------------------- the scheme
def test_exponentials_are_the_series():
    matrix = np.array([[-0.3, 0.8, 0.0], [-0.8, -0.1, 0.2], [0.0, 0.0, -0.5]])
    for scale in (1e-9, 1.0, 3.0):
        found = _exponentials(scale * matrix[None], 3)
        term, sums = np.eye(3), [np.zeros((3, 3)) for _ in range(4)]
        powers = [term]
        for _ in range(60):
            powers.append(powers[-1] @ (scale * matrix))
        factorial = np.concatenate([[1.0], np.cumprod(np.arange(1.0, 70))])
        for k in range(4):
            sums[k] = sum(powers[j] / factorial[j + k] for j in range(60))
            np.testing.assert_allclose(found[k][0], sums[k], rtol=1e-12, atol=1e-15)


def test_gravity_waves_go_at_their_speed_whatever_the_step():
    # Small waves on a sphere that does not turn: height as cos(w t), divergence as sin(w t), w = c sqrt(n (n + 1)) / a.
    equations = free(21, 7200.0, rotation=0.0)
    degree, order, size = 13, 5, 1e-9
    state = equations.zeros()
    state[HEIGHT, degree, order] = size
    steps = 25
    end, _ = equations.run(state, steps, None)
    angle = equations.wave_speed * np.sqrt(degree * (degree + 1)) / EARTH_RADIUS * steps * 7200.0
    assert angle > 2 * np.pi * 5
    assert end[HEIGHT, degree, order] == pytest.approx(size * np.cos(angle), abs=1e-9 * size)
    assert end[DIVERGENT, degree, order] == pytest.approx(size * np.sin(angle), abs=1e-9 * size)
    others = abs(end).sum() - abs(end[HEIGHT, degree, order]) - abs(end[DIVERGENT, degree, order])
    assert others < 1e-8 * size


def test_inertia_gravity_waves_on_the_turning_sphere_follow_the_linear_operator():
    # Linear waves with rotation mix degrees; the tendency's own Jacobian, put into an exponential, tells the answer.
    equations = free(5, 1800.0)
    shape = equations.zeros().shape

    def pack(state):
        return np.concatenate([state[:, :, 0].real.ravel(), state[:, :, 1:].real.ravel(), state[:, :, 1:].imag.ravel()])

    def unpack(vector):
        state, n, m = equations.zeros(), shape[1], shape[2]
        state[:, :, 0] = vector[: 3 * n].reshape(3, n)
        rest = vector[3 * n :].reshape(2, 3, n, m - 1)
        state[:, :, 1:] = rest[0] + 1j * rest[1]
        return state

    def rate(vector):
        state = unpack(vector)
        linear = np.einsum("nij,jnm->inm", equations.linear, state)
        return pack(linear + equations.tendency(state))

    mask = pack(np.broadcast_to(np.tril(np.ones((6, 6))) * (1 + 1j), shape) * (np.arange(6)[:, None] > 0)) != 0
    size = 1e-6
    jacobian = np.stack([rate(size * row) / size for row in np.diag(mask.astype(float))], axis=1)
    start = size * np.random.default_rng(0).normal(size=mask.size) * mask
    from scipy.linalg import expm

    end, _ = equations.run(unpack(start), 48, None)
    np.testing.assert_allclose(pack(end), expm(DAY * jacobian) @ start, atol=1e-3 * size)
    fine, _ = free(5, 900.0).run(unpack(start), 96, None)
    error = [abs(pack(x) - expm(DAY * jacobian) @ start).max() for x in (end, fine)]
    assert error[1] < error[0] / 8  # fourth order, with the waves' factor


def test_steady_zonal_flow_stays():
    grid = Grid.gaussian(64)
    start = solid_body(grid)
    ds = shallow_water(42, days=6, output_every="1D", initial=start, grid=grid, dtype="float64", **FREE)
    for name in ("u", "z"):
        np.testing.assert_allclose(
            ds[name], np.broadcast_to(start[name], ds[name].shape), rtol=0, atol=1e-8 * abs(start[name]).max()
        )
    assert float(abs(ds["v"]).max()) < 1e-8
    balanced = shallow_water(
        42, days=1, initial=start[["u", "v"]], depth=2.94e4 / GRAVITY, dtype="float64", grid=grid, **FREE
    )
    np.testing.assert_allclose(balanced["z"][0] - balanced["z"][0].mean(), start["z"] - start["z"].mean(), atol=1e-6)


def test_rossby_haurwitz_wave_conserves_what_it_should():
    grid = Grid.gaussian(64)
    start = rossby_haurwitz(grid)
    ds = shallow_water(
        42, days=5, output_every="1D", initial=start, dtype="float64", variables=("z", "vo", "u", "v", "h"), **FREE
    )
    own = Grid.of(ds)

    def mean(field):
        return (field.mean("longitude") * xr.DataArray(own.weights, dims="latitude")).sum("latitude")

    mass, kinetic = mean(ds["h"]), 0.5 * (ds["u"] ** 2 + ds["v"] ** 2)
    np.testing.assert_allclose(mass / mass[0], 1, atol=1e-14)
    energy = mean(ds["h"] * kinetic + 0.5 * GRAVITY * ds["h"] ** 2)
    np.testing.assert_allclose(energy / energy[0], 1, atol=1e-5)
    f = 2 * EARTH_ROTATION * np.sin(np.radians(ds["latitude"]))
    enstrophy = mean(0.5 * (ds["vo"] + f) ** 2 / ds["h"])
    np.testing.assert_allclose(enstrophy / enstrophy[0], 1, atol=3e-4)
    # The wave keeps its four-fold shape and drifts eastward, some 10 degrees a day (without divergence 12.2).
    wave = np.fft.rfft(ds["z"].sel(latitude=40, method="nearest").values, axis=1)
    phase = np.unwrap(np.angle(wave[:, 4]))
    assert 8 < -np.degrees((phase[-1] - phase[0]) / 4) / 4 < 12.3
    assert abs(np.delete(wave[-1], np.arange(0, wave.shape[1], 4))).max() < 1e-6 * abs(wave[-1, 4])


def test_flow_over_a_mountain_conserves_energy_and_mass():
    # Williamson's fifth test.
    grid = Grid.gaussian(96)
    lat, lon = mesh(grid)
    away = np.sqrt(np.minimum((np.pi / 9) ** 2, (lon - 1.5 * np.pi) ** 2 + (lat - np.pi / 6) ** 2))
    hill = xr.DataArray(2000 * (1 - away / (np.pi / 9)), grid.coords(), ("latitude", "longitude"), attrs={"units": "m"})
    start = solid_body(grid, 20.0, 5960 * GRAVITY)
    equations = free(31, 1800.0, 1.0)
    ds = shallow_water(31, days=4, output_every="1D", initial=start, orography=hill, dtype="float64",
                       variables=("z", "h", "u", "v", "d"), **FREE)  # fmt: skip
    w = xr.DataArray(equations.grid.weights, dims="latitude") / ds.sizes["longitude"]
    ground = ds["z"] - GRAVITY * ds["h"]
    np.testing.assert_allclose(ground, np.broadcast_to(ground[0], ground.shape), atol=1e-6)
    assert 1500 < float(ground.max()) / GRAVITY < 2100
    mass = (ds["h"] * w).sum(("latitude", "longitude"))
    np.testing.assert_allclose(mass / mass[0], 1, atol=1e-14)
    energy = ds["h"] * (0.5 * (ds["u"] ** 2 + ds["v"] ** 2) + 0.5 * GRAVITY * ds["h"] + ground)
    energy = (energy * w).sum(("latitude", "longitude"))
    np.testing.assert_allclose(energy / energy[0], 1, atol=1e-6)
    assert float(abs(ds["d"][-1]).max()) > 1e-6
    # A mountain in a fluid at rest is felt by nobody.
    rest = fields(grid, u=0 * lat * lon, v=0 * lat * lon, z=50000 + 0 * lat * lon)
    still = shallow_water(31, days=1, initial=rest, orography=hill, dtype="float64", **FREE)
    assert float(abs(still["u"]).max()) < 1e-9


def test_energy_and_potential_enstrophy_are_conserved_in_free_weather():
    drift = []
    for step in (3600.0, 1800.0):
        equations = free(31, step)
        state = equations.start(np.random.default_rng(0), 15.0)
        before = equations.energy(state), equations.potential_enstrophy(state)
        end, _ = equations.run(state, round(2 * DAY / step), None)
        drift.append(abs(equations.energy(end) / before[0] - 1))
        assert equations.potential_enstrophy(end) == pytest.approx(before[1], rel=1e-3)
        assert end[HEIGHT, 0, 0] == state[HEIGHT, 0, 0] == 0
    assert max(drift) < 1e-6


# ---------------------------------------------------------------------- forcing and damping
def test_damping_takes_single_waves_at_its_rate():
    damping = LayerDamping(3, DAY, 7200.0, 4, divergence_time=43200.0)
    equations = free(21, 3600.0, damping=damping, rotation=0.0)
    for degree, rate in ((2, 1 / DAY), (21, 1 / 7200), (10, (110 / 462) ** 4 / 7200)):
        state = equations.zeros()
        state[ROTATIONAL, degree, 2] = 1e-9
        end, _ = equations.run(state, 24, None)
        assert abs(end[ROTATIONAL, degree, 2]) == pytest.approx(1e-9 * np.exp(-DAY * rate), rel=1e-6)
    # Wind decays and height does not, so the wave's energy falls at the mean of both rates.
    state = equations.zeros()
    state[HEIGHT, 10, 2] = 1e-9
    end, _ = equations.run(state, 24, None)
    size = np.hypot(abs(end[HEIGHT, 10, 2]), abs(end[DIVERGENT, 10, 2]))
    assert size == pytest.approx(1e-9 * np.exp(-DAY * ((110 / 462) ** 4 / 7200 + 0.5 / 43200)), rel=0.05)
    plain = free(21, 3600.0, damping=Damping(), rotation=0.0)
    assert plain.linear[15, DIVERGENT, DIVERGENT] == plain.linear[15, HEIGHT, HEIGHT]


def test_relaxation_draws_the_depth_to_the_jets():
    equations = free(15, 7200.0, relaxation=Relaxation(20.0, 2 * DAY), damping=LayerDamping(0, DAY, 7200.0, 4))
    state, _ = equations.run(equations.zeros(), 12 * 30, None)
    jets = equations.jets(20.0)
    np.testing.assert_allclose(state[HEIGHT, 2, 0], jets[HEIGHT, 2, 0], rtol=0.15)
    assert state[HEIGHT, 0, 0] == 0
    # The jets themselves are at rest with it.
    after, _ = free(15, 3600.0, relaxation=Relaxation(20.0, 2 * DAY)).run(jets, 24, None)
    np.testing.assert_allclose(after[:, 1:], jets[:, 1:], atol=1e-9)


@pytest.mark.parametrize("memory", [0.0, 10800.0])
def test_forcing_brings_in_energy_at_its_rate(memory):
    equations = free(15, 1800.0, forcing=Forcing((8, 14), 1e-6, memory), rotation=0.0)
    energies = []
    for seed in range(8):
        state, _ = equations.run(equations.zeros(), 96, np.random.default_rng(seed))
        energies.append(0.5 * _kernels.power(state[ROTATIONAL]).sum())
    lost = memory / (96 * 1800)
    assert np.mean(energies) == pytest.approx(1e-6 * 96 * 1800 * (1 - lost), rel=0.2)


@pytest.mark.parametrize("memory", [0.0, 10800.0])
def test_heating_brings_in_energy_at_its_rate(memory):
    # Memory, longer than the waves' periods, is held against them.
    equations = free(15, 1800.0, heating=Forcing((6, 14), 1e-6, memory), rotation=0.0)
    energies = []
    for seed in range(4):
        state, _ = equations.run(equations.zeros(), 240, np.random.default_rng(seed))
        energies.append(0.5 * (_kernels.power(state[DIVERGENT]) + _kernels.power(state[HEIGHT])).sum())
        assert state[HEIGHT, 0, 0] == 0
    assert np.mean(energies) == pytest.approx(1e-6 * 240 * 1800, rel=0.25)


def test_a_held_pattern_gives_the_same_waves_for_every_step():
    # Kicks once a step would ring the waves whose period is the step.
    divergences = []
    for step in (3600.0, 900.0):
        equations = free(42, step, heating=Forcing((8, 42), 1e-6, 43200.0), damping=LayerDamping())
        state, _ = equations.run(equations.zeros(), round(2 * DAY / step), np.random.default_rng(0))
        divergences.append(np.sqrt(_kernels.power(state[DIVERGENT])[8:].sum()))
    assert divergences[0] == pytest.approx(divergences[1], rel=0.25)


# ---------------------------------------------------------------------- the labelled run
def test_labels_and_kinematics():
    names = ("vorticity", "divergence", "u", "v", "geopotential", "depth", "psi", "velocity_potential")
    ds = shallow_water(31, days=1, spin_up=3, variables=names, dtype="float64")
    assert list(ds) == ["vo", "d", "u", "v", "z", "h", "psi", "chi"]
    assert dict(ds.sizes) == {"time": 8, "latitude": 48, "longitude": 96}
    grid = Grid.of(ds)
    assert grid.kind == "gaussian"
    assert [ds[n].attrs["units"] for n in ("vo", "d", "u", "z", "h", "chi")] == [
        "s-1",
        "s-1",
        "m s-1",
        "m2 s-2",
        "m",
        "m2 s-1",
    ]
    assert ds.attrs["history"].startswith("xatmo")
    assert ds.attrs["mean_depth"] == "5000 m"
    rotational, divergent = _kernels.analysis_vector(ds["u"].values, ds["v"].values, grid, 31)
    scale = _kernels.derivative_factor(31, EARTH_RADIUS)[:, None]
    for name, wind, potential in (("vo", rotational, "psi"), ("d", divergent, "chi")):
        np.testing.assert_allclose(wind * scale, _kernels.analysis(ds[name].values, grid, 31), atol=1e-16)
        from_potential = -_kernels.analysis(ds[potential].values, grid, 31) * scale**2
        np.testing.assert_allclose(from_potential, wind * scale, atol=1e-15)
    np.testing.assert_allclose(ds["z"], GRAVITY * ds["h"], rtol=1e-12)
    assert float(ds["d"].std()) > 1e-7


def test_output_on_any_grid_is_the_same_flow():
    settings = {"days": 0.25, "spin_up": 1, "dtype": "float64"}
    own = shallow_water(21, **settings)
    box = Grid.from_latlon(np.linspace(30, 60, 7), np.linspace(-20, 20, 9))
    there = shallow_water(21, grid=box, **settings)
    for name in ("d", "z"):
        state = _kernels.analysis(own[name].values, Grid.of(own), 21)
        np.testing.assert_allclose(there[name], _kernels.synthesis(state, box), rtol=1e-10, atol=1e-16)


def test_initial_fields_of_another_orientation_give_the_same_run():
    grid = Grid.regular(65, 128)
    start = rossby_haurwitz(grid)
    turned = start.isel(latitude=slice(None, None, -1)).assign_coords(longitude=(start["longitude"] + 180) % 360 - 180)
    turned = turned.sortby("longitude")
    runs = [shallow_water(21, days=0.25, initial=s, dtype="float64", **FREE) for s in (start, turned)]
    np.testing.assert_allclose(runs[0]["z"], runs[1]["z"], rtol=1e-12)
    continued = shallow_water(21, days=0.125, initial=runs[0].isel(time=1), dtype="float64", **FREE)
    np.testing.assert_allclose(continued["u"][0], runs[0]["u"][1], atol=1e-9)


def test_seeds():
    first, same, other = (shallow_water(21, days=0.5, spin_up=1, seed=s)["d"] for s in (0, 0, 1))
    xr.testing.assert_identical(first, same)
    assert first.dtype == np.float32
    assert abs(xr.corr(first, other)) < 0.3


def test_weather_is_realistic_at_t31():
    ds = shallow_water(31, days=8, spin_up=15, output_every="6h")
    weights = np.cos(np.radians(ds["latitude"]))
    rms = {n: float(np.sqrt((ds[n] ** 2).weighted(weights).mean())) for n in ("vo", "d", "u")}
    assert 1e-5 < rms["vo"] < 6e-5
    assert 0.05 < rms["d"] / rms["vo"] < 0.5
    assert 10 < rms["u"] < 30
    d = (ds["d"] - ds["d"].mean("time")).values
    assert float((d[1:] * d[:-1]).mean() / (d * d).mean()) > 0.3  # six hours later
    power = np.cumsum(ds["d"].atmo.energy_spectrum().mean("time").values)
    assert np.searchsorted(power, power[-1] / 2) < 24
    jets = ds["u"].mean(("time", "longitude"))
    assert float(jets.sel(latitude=slice(60, 20)).max()) > 10
    assert float(jets.sel(latitude=slice(-20, -60)).max()) > 10
    mean = (ds["z"].astype("float64").mean("longitude") * Grid.of(ds).weights[:, None].T).sum("latitude")
    np.testing.assert_allclose(mean, 5000 * GRAVITY, rtol=1e-6)  # float32 output


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"variables": ("w",)}, r"variables=\['w'\]; wanted some of"),
        ({"variables": ()}, "wanted some of"),
        ({"truncation": 3}, "truncation=3; wanted a whole number"),
        ({"days": 0}, "wanted positive times"),
        ({"time_step": "50min"}, "does not divide output_every"),
        ({"depth": -1.0}, "depth=-1.0; wanted a positive mean depth"),
        ({"forcing": Forcing((25, 40))}, r"forcing.degrees=\(25, 40\); wanted two degrees from 1"),
        ({"heating": Forcing((14, 8))}, r"heating.degrees=\(14, 8\); wanted two degrees"),
        ({"heating": Forcing(rate=1.0), "days": 20}, "give a shorter one, or weaker forcing|the layer ran dry"),
        ({"relaxation": Relaxation(200.0)}, "the layer ran dry: a depth of -.* times the mean came"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_clear_errors(settings, message):
    with pytest.raises(OptionError, match=message):
        shallow_water(**{"truncation": 21, "days": 1, "spin_up": 0} | settings)


def test_unstable_runs_say_so():
    start = solid_body(Grid.gaussian(32), 300.0, 5e5)
    start["v"] = start["v"] + 50 * np.cos(3 * np.radians(start["longitude"])) * np.cos(np.radians(start["latitude"]))
    with np.errstate(all="ignore"), pytest.raises(OptionError, match="became unstable with time_step 86400 s"):
        shallow_water(21, days=40, output_every="1D", time_step="1D", initial=start, **FREE)


def test_initial_fields_are_checked():
    grid = Grid.regular(33, 64)
    start = solid_body(grid)
    run = {"truncation": 21, "days": 0.25} | FREE
    with pytest.raises(OptionError, match="initial is a DataArray; wanted a Dataset"):
        shallow_water(initial=start["u"], **run)
    with pytest.raises(VariableError, match="no wind pair"):
        shallow_water(initial=start[["z"]], **run)
    with pytest.raises(OptionError, match=r"Select one time: .isel\(time=0\)"):
        shallow_water(initial=start.expand_dims(time=2), **run)
    with pytest.raises(OptionError, match="depth=100.0 came beside an initial geopotential"):
        shallow_water(initial=start, depth=100.0, **run)
    with pytest.raises(OptionError, match="leaves a mean depth of -.* m; wanted a positive one"):
        shallow_water(initial=start.assign(z=(start["z"] - 1e5).assign_attrs(start["z"].attrs)), **run)
    with pytest.raises(MissingValueError, match="shallow_water met 1 missing"):
        shallow_water(initial=start.where((start["latitude"] != 0) | (start["longitude"] != 0)), **run)
    other = start["v"].rename(latitude="lat2", longitude="lon2")
    with pytest.raises(CoordinateError, match="wanted one grid"):
        shallow_water(initial=start[["u"]].assign(v=other.isel(lat2=slice(None, None, -1))), **run)
