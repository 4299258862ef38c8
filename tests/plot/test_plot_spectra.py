"""Drawings of spectra, coherence and fluxes: axes, units, what is averaged, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm

from xatmo import Grid, datasets, plot
from xatmo.constants import EARTH_RADIUS
from xatmo.errors import DimensionError, OptionError, VariableError
from xatmo.spectral import fit_slope
from xatmo.spectral._fields import degree_coords


def drawn(ax: Axes) -> None:
    ax.figure.canvas.draw()  # warnings are errors


def labels(axis: Axes) -> list[str]:
    axis.figure.canvas.draw()
    return [t.get_text() for t in axis.get_xticklabels() if t.get_text()]


def by_degree(slope: float = -3.0, lmax: int = 120) -> xr.DataArray:
    n = np.arange(lmax + 1.0)
    with np.errstate(divide="ignore"):
        power = np.where(n > 0, n**slope, 5.0)
    return xr.DataArray(power, degree_coords(lmax), "degree", name="energy", attrs={"units": "m2 s-2"})


def noise(*, regional: bool = False, seed: int = 0) -> xr.Dataset:
    box = np.arange(30, 42, 0.25), np.arange(300, 320, 0.25)
    grid = Grid.from_latlon(*box) if regional else Grid.regular(37, 72)
    rng = np.random.default_rng(seed)
    names = {"u": "eastward_wind", "v": "northward_wind"}
    dims = ("time", "latitude", "longitude")
    return xr.Dataset(
        {
            n: (dims, rng.normal(size=(3, *grid.shape)), {"standard_name": s, "units": "m s-1"})
            for n, s in names.items()
        },
        grid.coords(),
    )


class TestSpectra:
    def test_numbers_on_both_axes_are_plain(self) -> None:
        ax = plot.spectrum(by_degree())
        assert labels(ax)[:4] == ["1", "2", "5", "10"]
        assert "10,000" in labels(ax.child_axes[0])
        box = noise(regional=True).atmo.plot.spectrum()
        assert "0.01" in labels(box)
        assert "100" in labels(box.child_axes[0])

    def test_reference_slopes_stay_inside_and_apart_and_are_named(self) -> None:
        ax = plot.spectra({"a": by_degree(-1.9), "b": by_degree(-2.2)}, slopes=(-3, -5 / 3, -11 / 3, -2.34))
        drawn(ax)
        assert {t.get_text() for t in ax.texts} == {"$n^{-3}$", "$n^{-5/3}$", "$n^{-11/3}$", "$n^{-2.34}$"}
        bottom, top = ax.get_ylim()
        dashed = [line for line in ax.lines if line.get_color() == "0.45"]
        assert all(bottom < y < top for line in dashed for y in line.get_ydata())
        ends = sorted(t.xy[1] for t in ax.texts)
        assert (np.diff(np.log(ends)) >= 0.054 * np.log(top / bottom)).all()
        for line in dashed:  # above what is drawn
            x, y = line.get_data()
            assert (y > x**-1.9).all()

    def test_the_total_is_seen_beside_its_parts(self) -> None:
        ds = noise().atmo.energy_spectrum()
        ax = plot.spectrum(ds)
        colours = [line.get_color() for line in ax.lines]
        assert len(set(colours)) == 3
        assert ax.lines[0].get_linewidth() > ax.lines[1].get_linewidth()

    @pytest.mark.parametrize("name", ["", "energy"])
    def test_fits_are_drawn_over_their_range(self, name: str) -> None:
        s = by_degree(-2.5)
        obj = s.to_dataset() if name else s
        ax = plot.spectrum(obj, fit=fit_slope(obj, degrees=(10, 60)))
        drawn(ax)
        line = next(line for line in ax.lines if str(line.get_label()).startswith("fit"))
        assert line.get_label() == "fit, slope −2.50 ± 0.00"
        x, y = line.get_data()
        np.testing.assert_allclose([x[0], x[-1]], [10, 60])
        np.testing.assert_allclose(y, x**-2.5)

    def test_fits_by_wavenumber_are_in_cycles_per_km(self) -> None:
        k = np.arange(1.0, 40) * 1e-6
        s = xr.DataArray(k**-2, {"wavenumber": ("wavenumber", k)}, dims="wavenumber")
        ax = plot.spectrum(s, fit=fit_slope(s, wavenumbers=(5e-6, 3e-5)), slopes=(-2,))
        x, y = next(line for line in ax.lines if str(line.get_label()).startswith("fit")).get_data()
        np.testing.assert_allclose([x[0], x[-1]], [5e-3, 3e-2])
        np.testing.assert_allclose(y, (x * 1e-3) ** -2)
        assert [t.get_text() for t in ax.texts] == ["$k^{-2}$"]

    def test_fits_that_are_none(self) -> None:
        with pytest.raises(OptionError, match="a fit has a slope and an amplitude"):
            plot.spectrum(by_degree(), fit=xr.Dataset({"a": 1.0}))
        s = xr.concat([by_degree(), by_degree(-2)], "time")
        with pytest.raises(OptionError, match=r"the fit has dimensions \{'time': 2\}; one line shows one slope"):
            plot.spectrum(s, fit=fit_slope(s))

    def test_coefficients_are_drawn_as_their_spectrum(self) -> None:
        da = noise()["u"]
        ax = da.atmo.to_spectral().atmo.plot.spectrum()
        np.testing.assert_allclose(ax.lines[0].get_ydata(), da.atmo.plot.spectrum().lines[0].get_ydata())

    def test_wind_names_survive_a_label(self) -> None:
        ax = plot.spectrum(noise().atmo.energy_spectrum(), label="ERA5")
        assert [line.get_label() for line in ax.lines] == ["ERA5, energy", "ERA5, rotational", "ERA5, divergent"]


def test_spectrum_draws_what_the_other_methods_gave() -> None:
    first, second = noise(), noise(seed=1)
    ax = first["u"].atmo.cross_spectrum(second["u"]).atmo.plot.spectrum()
    drawn(ax)
    assert [line.get_label() for line in ax.lines] == ["cross", "power", "power_other"]
    assert first.atmo.spectral_flux().atmo.plot.spectrum().get_ylabel().startswith("flux of kinetic energy")


class TestZonal:
    def test_latitudes_make_a_picture(self) -> None:
        s = noise()["u"].atmo.energy_spectrum(kind="zonal")
        ax = s.atmo.plot.spectrum(title="u")
        drawn(ax)
        mesh = next(c for c in ax.collections if isinstance(c, QuadMesh))
        assert isinstance(mesh.norm, LogNorm)
        assert mesh.get_array().shape == (37, 36)
        np.testing.assert_allclose(mesh.get_array()[0], s.mean("time")[-1, 1:])  # south is below
        assert ax.get_xscale() == "log"
        assert ax.get_ylim() == (-90, 90)
        assert {t.get_text() for t in ax.get_yticklabels()} >= {"30°S", "0°", "60°N"}
        assert ax.figure.axes[1].get_ylabel() == "power (m² s⁻²)"
        assert {t.get_text() for t in ax.texts} == {"10,000 km", "3,000 km"}
        curve = ax.lines[0].get_data()
        equator = np.argmax(curve[0])
        assert 2 * np.pi * EARTH_RADIUS / 1e3 / curve[0][equator] == pytest.approx(10000)

    def test_a_band_in_other_order_and_of_a_dataset(self) -> None:
        s = noise().atmo.energy_spectrum(kind="zonal").isel(latitude=slice(6, 31))
        first = plot.spectrum(s)
        second = plot.spectrum(s.isel(latitude=slice(None, None, -1)).transpose())
        drawn(first)
        meshes = [next(c for c in ax.collections if isinstance(c, QuadMesh)) for ax in (first, second)]
        np.testing.assert_array_equal(meshes[0].get_array(), meshes[1].get_array())
        assert first.get_ylim() == (-62.5, 62.5)
        both = xr.Dataset({"a": s["energy"], "b": s["energy"]})
        with pytest.raises(OptionError, match=r"one zonal spectrum by latitude makes one picture; \['a', 'b'\] came"):
            plot.spectrum(both)

    def test_labels_stay_inside_a_band_away_from_the_equator(self) -> None:
        s = noise()["u"].atmo.energy_spectrum(kind="zonal").isel(latitude=slice(30, 36))
        ax = plot.spectrum(s)
        drawn(ax)
        low, high = ax.get_ylim()
        assert all(low < t.xy[1] < high for t in ax.texts)
        assert "70°S" in {t.get_text() for t in ax.get_yticklabels()}

    def test_one_latitude_has_wavelengths(self) -> None:
        s = noise()["u"].atmo.energy_spectrum(kind="zonal").isel(time=0)
        at = s.sel(latitude=60)
        ax = plot.spectrum(at)
        drawn(ax)
        forward, back = ax.child_axes[0]._functions
        assert forward(4) == pytest.approx(np.pi * EARTH_RADIUS / 4e3)  # half the equator
        assert back(forward(4)) == pytest.approx(4)
        two = plot.spectra({"a": at, "b": s.sel(latitude=0)})
        assert not two.child_axes

    def test_means_over_latitude_are_weighted(self) -> None:
        s = noise()["u"].atmo.energy_spectrum(kind="zonal")
        ax = plot.spectra({"a": s})
        weights = np.cos(np.radians(s["latitude"]))
        expected = s.weighted(weights).mean(("time", "latitude"))
        np.testing.assert_allclose(ax.lines[0].get_ydata(), expected[1:])


class TestCoherence:
    def test_wind(self) -> None:
        ax = noise().atmo.plot.coherence(noise(seed=1), title="two")
        drawn(ax)
        assert [line.get_label() for line in ax.lines[:3]] == ["total", "rotational", "divergent"]
        assert ax.get_ylim() == (0, 1.03)
        assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")
        assert ax.get_xlabel() == "spherical harmonic degree"
        assert ax.child_axes[0].get_xlabel() == "wavelength (km)"
        assert [line.get_ydata()[0] for line in ax.lines if line.get_linestyle() == "--"][-1] == 0.5

    def test_averages_come_before_the_ratio(self) -> None:
        first, second = noise(), noise(seed=1)
        every = first["u"].atmo.cross_spectrum(second["u"])
        line = plot.coherence(every, threshold=None).lines[0]
        expected = first["u"].atmo.cross_spectrum(second["u"], dim="time")["coherence"]
        np.testing.assert_allclose(line.get_ydata(), expected[1:])

    def test_boxes_and_correlation(self) -> None:
        first, second = noise(regional=True)["u"], noise(regional=True, seed=1)["u"]
        cross = first.atmo.cross_spectrum(second, dim="time")
        ax = plot.coherence(cross, effective_resolution=1e5)
        drawn(ax)
        whole = cross.wavenumber <= cross.wavenumber.attrs["whole_rings_to"]
        cross = cross.isel(wavenumber=whole.values)
        np.testing.assert_allclose(ax.lines[0].get_ydata(), cross["coherence"][1:])
        assert ax.get_xlabel() == "wavenumber (cycles per km)"
        assert "100 km" in {t.get_text() for t in ax.texts}
        signed = plot.coherence(cross, quantity="correlation")
        np.testing.assert_allclose(signed.lines[0].get_ydata(), cross["correlation"][1:])
        assert signed.get_ylim()[0] == -1.03
        assert signed.get_ylabel() == "correlation"

    def test_several(self) -> None:
        first, second = noise()["u"], noise(seed=1)["u"]
        many = {"itself": first.atmo.cross_spectrum(first), "other": first.atmo.cross_spectrum(second)}
        ax = plot.coherence(many)
        drawn(ax)
        assert [line.get_label() for line in ax.lines[:2]] == ["itself", "other"]

    def test_errors(self) -> None:
        cross = noise().atmo.cross_spectrum(noise(seed=1))
        with pytest.raises(OptionError, match="quantity='phase' came; wanted one of"):
            plot.coherence(cross, quantity="phase")
        with pytest.raises(OptionError, match="coherence got no cross-spectrum"):
            plot.coherence(noise())
        with pytest.raises(OptionError, match="coherence: a DataArray came; wanted a Dataset, or another field"):
            noise()["u"].atmo.plot.coherence()
        box = noise(regional=True).atmo.cross_spectrum(noise(regional=True))
        with pytest.raises(OptionError, match=r"curves by \['degree', 'wavenumber'\] came"):
            plot.coherence({"a": cross, "b": box})
        with pytest.raises(DimensionError, match="coherence wants a dimension among"):
            plot.coherence(xr.Dataset({n: ("x", np.ones(3)) for n in ("cross", "power", "power_other")}))


class TestFlux:
    def test_flux_is_linear_in_readable_units(self) -> None:
        ds = datasets.barotropic(21, days=2, spin_up=2, output_every="12h")
        out = ds.atmo.spectral_flux(lmax=21)
        ax = plot.flux(out, title="barotropic")
        drawn(ax)
        assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")
        label = ax.get_ylabel()
        assert label.startswith("flux of kinetic energy (10⁻")
        assert label.endswith(" m² s⁻³)")
        y = ax.lines[0].get_ydata()
        assert 1 <= np.abs(y).max() < 1000
        np.testing.assert_allclose(y / np.abs(y).max(), _shape(out["energy_flux"]), rtol=1e-5)
        assert any(np.all(np.asarray(line.get_ydata()) == 0) for line in ax.lines[1:])
        direct = ds.atmo.plot.flux(quantity="enstrophy", transfer=True)
        assert direct.get_ylabel().startswith("transfer of enstrophy (10⁻")
        drawn(plot.flux({"run": out, "half": out * 0.5}))

    def test_a_flux_of_nothing(self) -> None:
        ds = xr.Dataset({"energy_flux": ("degree", np.zeros(9))}, degree_coords(8))
        ax = plot.flux(ds)
        drawn(ax)
        assert ax.get_ylabel() == "flux of kinetic energy"

    def test_errors(self) -> None:
        with pytest.raises(OptionError, match="quantity='heat' came; wanted one of"):
            plot.flux(noise(), quantity="heat")
        with pytest.raises(OptionError, match="flux got nothing to draw"):
            plot.flux({})
        with pytest.raises(VariableError, match="no wind pair"):
            plot.flux(noise()[["u"]])
        with pytest.raises(OptionError, match="flux: a DataArray came; wanted a Dataset"):
            noise()["u"].atmo.plot.flux()


def _shape(da: xr.DataArray) -> np.ndarray:
    line = da.mean("time").values[1:]
    return line / np.abs(line).max()


def test_rings_that_are_not_whole_are_not_drawn_nor_fitted() -> None:
    axes = {n: (n, 1e3 * np.arange(32), {"units": "m"}) for n in ("y", "x")}
    da = xr.DataArray(np.random.default_rng(0).normal(size=(32, 32)), axes, ("y", "x"))
    found = da.atmo.energy_spectrum()
    assert found.wavenumber.attrs["whole_rings_to"] == pytest.approx(0.5e-3)
    assert found.wavenumber[-1] > 0.7e-3
    for ax in (da.atmo.plot.spectrum(), da.atmo.plot.coherence(da)):
        assert ax.lines[0].get_xdata().max() == pytest.approx(0.5)
    fit = fit_slope(found)
    assert fit.high == pytest.approx(0.5e-3)
    assert 0.6 < fit.slope < 1.4  # white noise fills rings as they grow
    assert fit_slope(found, wavenumbers=(1e-4, 1)).high > 0.7e-3
