"""Wavenumber-frequency diagrams and semivariograms: axes, curves, colours, labels, and what is refused."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.axes import Axes

import xatmo
from xatmo import plot
from xatmo.errors import DimensionError, OptionError, VariableError
from xatmo.spectral import equatorial_wave, semivariogram, wavenumber_frequency, wk_background


def series(lead: dict[str, int] | None = None, *, box: bool = False) -> xr.DataArray:
    if box:
        grid = xatmo.Grid.from_latlon(np.arange(30, 35.1, 1), np.arange(-60, -30, 1.0))
    else:
        grid = xatmo.Grid.regular(19, 36)
    lead = lead or {}
    values = np.random.default_rng(0).normal(size=(*lead.values(), 60, *grid.shape))
    coords = {"time": pd.date_range("2001", periods=60, freq="12h"), **grid.coords()}
    attrs = {"units": "W m-2", "long_name": "outgoing radiation"}
    return xr.DataArray(values, coords, (*lead, "time", "latitude", "longitude"), name="olr", attrs=attrs)


def drawn(ax: Axes) -> None:
    ax.figure.canvas.draw()  # warnings are errors


def texts(ax: Axes) -> set[str]:
    return {t.get_text() for t in ax.texts}


# ---------------------------------------------------------------------- waves
def test_two_panels_with_the_waves_of_each_symmetry() -> None:
    found = wk_background(wavenumber_frequency(series(), symmetry="both"))
    axes: Any = plot.wavenumber_frequency(found)
    drawn(axes[0])
    assert [ax.get_title() for ax in axes] == ["symmetric", "antisymmetric"]
    assert {"Kelvin", "ER", "WIG n=1", "12 m", "25 m", "50 m", "3 d", "6 d"} <= texts(axes[0])
    assert {"MRG", "EIG n=0", "WIG n=2"} <= texts(axes[1])
    assert not {"Kelvin", "ER"} & texts(axes[1])
    figure = axes[0].figure
    assert figure.get_suptitle() == "power of outgoing radiation over its background"
    assert figure.axes[-1].get_ylabel() == "power / background"
    assert axes[0].get_ylabel() == "frequency (cycles per day)"
    assert axes[0].get_xlabel().startswith("zonal wavenumber")
    assert "eastward" in axes[0].get_xlabel()
    assert axes[0].get_xlim() == (-15, 15)
    assert axes[0].get_ylim()[1] == pytest.approx(0.8)


def test_curves_are_those_of_the_theory() -> None:
    power = wavenumber_frequency(series(), symmetry="symmetric").assign_coords(symmetry="symmetric")
    ax: Any = plot.wavenumber_frequency(power, depths=(25,))
    lines = [line for line in ax.lines if len(line.get_xdata()) == 601]
    assert len(lines) == 3  # Kelvin, Rossby, inertia-gravity
    x, y = lines[0].get_data()
    np.testing.assert_allclose(y, equatorial_wave("kelvin", x, 25))


def test_power_has_a_logarithmic_scale_and_units() -> None:
    ax: Any = plot.wavenumber_frequency(wavenumber_frequency(series({"member": 2}), latitudes=(-20, 20)))
    drawn(ax)
    assert ax.get_title() == "wavenumber-frequency power of outgoing radiation"
    assert ax.figure.axes[-1].get_ylabel() == "power (W² m⁻⁴)"
    assert ax.get_ylim()[1] == 1.0
    assert "Kelvin" not in texts(ax)
    mesh = ax.collections[0]
    assert mesh.norm.vmin > 0
    one: Any = plot.wavenumber_frequency(wavenumber_frequency(series(), symmetry="both").isel(symmetry=1))
    assert one.get_title() == "wavenumber-frequency power of outgoing radiation\nantisymmetric"
    assert "MRG" in texts(one)


def test_limits_colours_and_a_given_ax() -> None:
    _, ax = plt.subplots()
    power = wavenumber_frequency(series(), latitudes=(-20, 20))
    same = plot.wavenumber_frequency(
        power, ax, max_wavenumber=6, max_frequency=0.5, vmin=1e-3, vmax=1e-1, cmap="magma", title="mine", depths=(30,)
    )
    assert same is ax
    drawn(ax)
    assert ax.get_xlim() == (-6, 6)
    assert ax.get_ylim()[1] == 0.5
    assert ax.get_title() == "mine"
    assert ax.collections[0].get_cmap().name == "magma"
    assert ax.collections[0].norm.vmin == pytest.approx(1e-3)


def test_a_box_is_drawn_in_cycles_per_km() -> None:
    ax: Any = series(box=True).atmo.wavenumber_frequency(latitudes=(30, 35)).atmo.plot.wavenumber_frequency()
    drawn(ax)
    assert "cycles per km" in ax.get_xlabel()
    assert 1e-4 < ax.get_xlim()[1] < 1e-2


def test_a_flat_spectrum_can_be_drawn() -> None:
    power = wavenumber_frequency(series(), symmetry="both")
    for flat in (power * 0 + 1, power * 0):
        axes: Any = plot.wavenumber_frequency(flat)
        drawn(axes[0])
        norm = axes[0].collections[0].norm
        assert 0 < norm.vmin < norm.vmax < np.inf
    ratio: Any = plot.wavenumber_frequency(wk_background(power * 0 + 1), vmin=0.99, vmax=1.01)
    drawn(ratio[0])
    assert (ratio[0].collections[0].norm.vmin, ratio[0].collections[0].norm.vmax) == (0.99, 1.01)


def test_the_accessor_draws_what_a_dataset_holds() -> None:
    found = wk_background(wavenumber_frequency(series(), symmetry="both"))
    ax: Any = found.atmo.plot.wavenumber_frequency(show="background")
    assert ax.figure.axes[-1].get_ylabel() == "power (W² m⁻⁴)"
    axes: Any = found.atmo.plot.wavenumber_frequency("power", depths=())
    assert "Kelvin" not in texts(axes[0])


def test_what_is_no_diagram_is_refused() -> None:
    power = wavenumber_frequency(series(), symmetry="both")
    with pytest.raises(DimensionError, match="wanted 'frequency' and one of"):
        plot.wavenumber_frequency(series())
    with pytest.raises(OptionError, match="one ax came for 2 panels"):
        plot.wavenumber_frequency(power, plt.subplots()[1])
    with pytest.raises(OptionError, match="show='phase' came for a Dataset of"):
        plot.wavenumber_frequency(wk_background(power), show="phase")
    with pytest.raises(OptionError, match="show='ratio' came with a DataArray 'olr'"):
        plot.wavenumber_frequency(power, show="ratio")
    with pytest.raises(VariableError, match="variable 'x' came"):
        wk_background(power).atmo.plot.wavenumber_frequency("x")


# ---------------------------------------------------------------------- semivariograms
def test_lines_bands_units_and_kilometres() -> None:
    da = series().isel(time=slice(0, 2))
    ax = plot.semivariogram({"truth": semivariogram(da), "made": da * 0.5}, slopes=(2 / 3,))
    drawn(ax)
    assert ax.get_xscale() == ax.get_yscale() == "log"
    assert ax.get_xlabel() == "distance (km)"
    assert ax.get_ylabel() == "semivariogram (W² m⁻⁴)"
    assert len(ax.collections) == 2  # bands
    assert {t.get_text() for t in ax.get_legend().get_texts()} == {"truth", "made"}
    x = ax.lines[0].get_xdata()
    assert 500 < x[0] < 2500
    assert x[-1] > 15_000
    np.testing.assert_allclose(ax.lines[0].get_ydata(), 4 * ax.lines[1].get_ydata(), rtol=1e-6)
    assert "$d^{2/3}$" in texts(ax)


def test_variables_of_a_dataset_and_a_linear_axis() -> None:
    da = series().isel(time=0)
    ds = xr.Dataset({"a": da, "b": da + da})
    ax = semivariogram(ds).atmo.plot.semivariogram(yscale="linear", errors=False, title="both")
    drawn(ax)
    assert ax.get_yscale() == "linear"
    assert ax.get_title() == "both"
    assert [line.get_label() for line in ax.lines] == ["a", "b"]
    assert not ax.collections
    one = ds.atmo.plot.semivariogram("a", label="this", slopes=(2.0, 0.77))
    drawn(one)
    assert one.lines[0].get_label() == "this"
    assert one.get_title() == "outgoing radiation"


def test_what_has_no_semivariogram_is_refused() -> None:
    da = series().isel(time=0)
    with pytest.raises(OptionError, match="yscale='cubic' came"):
        plot.semivariogram(da, yscale="cubic")
    with pytest.raises(OptionError, match="semivariogram got nothing"):
        plot.semivariogram({})
    with pytest.raises(OptionError, match=r"semivariogram got lines in \['K2', 'W2 m-4'\]"):
        plot.semivariogram({"a": da, "b": da.assign_attrs(units="K")})
    with pytest.raises(DimensionError, match="has a dimension 'distance'; this has"):
        plot.semivariogram(da * 1j)
