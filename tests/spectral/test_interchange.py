"""Labelled coefficients to other software and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from xatmo import Grid, spectral
from xatmo.errors import DimensionError, OptionError
from xatmo.spectral import layouts


@pytest.fixture
def coefficients(random_coefficients: Any) -> Any:
    def make(dtype: Any = np.complex128, lmax: int = 7) -> xr.Dataset:
        values = random_coefficients(lmax, 3, dtype=dtype)
        attrs = {"units": "K", "norm": "4pi", "csphase": 1, "lmax": lmax, "truncation": "triangular"}
        ds = xr.Dataset({"t": (("time", "degree", "order"), values, attrs)}, {"time": [0, 1, 2]})
        return ds.assign(other=("time", np.zeros(3)))

    return make


KINDS = [("pyshtools", "ortho", -1), ("pyshtools", "4pi", 1), ("triangular", "4pi", 1), ("ecmwf", "4pi", 1),
         ("complex", "schmidt", -1)]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize(("layout", "norm", "csphase"), KINDS)
def test_lazily_there_and_back(
    layout: str, norm: str, csphase: int, dtype: Any, coefficients: Any, no_compute: Any
) -> None:
    ds = coefficients(dtype)
    with no_compute():
        out = spectral.to_layout(ds.chunk(time=1), layout, norm=norm, csphase=csphase)
        back = spectral.from_layout(out, layout, norm=norm, csphase=csphase)
    assert out.t.chunks is not None
    assert out.t.dtype == (np.finfo(dtype).dtype if layout in ("pyshtools", "ecmwf") else dtype)
    xr.testing.assert_equal(out.other, ds.other)
    assert back.t.attrs == ds.t.attrs
    assert back.t.dims == ds.t.dims
    assert back.t.dtype == dtype
    np.testing.assert_allclose(back.t.values, ds.t.values, rtol=3e-7)
    assert "wavelength" in back.coords
    eager = spectral.to_layout(ds.t, layout, norm=norm, csphase=csphase)
    assert isinstance(eager.data, np.ndarray)
    xr.testing.assert_equal(eager, out.t.compute())


def test_attributes_state_the_convention(coefficients: Any) -> None:
    out = spectral.to_layout(coefficients().t, "pyshtools", norm="schmidt", csphase=-1)
    assert (out.attrs["norm"], out.attrs["csphase"], out.attrs["layout"]) == ("schmidt", -1, "pyshtools")
    assert out.attrs["history"].endswith("to_layout(layout='pyshtools', norm='schmidt', csphase=-1)")
    other = spectral.to_layout(coefficients().t, "complex", norm="ortho")
    with pytest.raises(OptionError, match=r"norm='ortho'; wanted complex ones with norm='4pi'"):
        spectral.to_grid(other, spectral_grid())


def spectral_grid() -> Any:
    from xatmo import Grid

    return Grid.gaussian(8)


def test_pyshtools_objects(coefficients: Any) -> None:
    pyshtools = pytest.importorskip("pyshtools")
    da = coefficients().t.isel(time=1)
    clm = spectral.to_pyshtools(da, norm="ortho", csphase=-1)
    assert isinstance(clm, pyshtools.SHCoeffs)
    assert (clm.normalization, clm.csphase, clm.name, clm.units) == ("ortho", -1, "t", "K")
    np.testing.assert_allclose(clm.spectrum(convention="power"), spectral.energy_spectrum(da).values, rtol=1e-12)
    back = spectral.from_pyshtools(clm)
    assert (back.name, back.attrs["units"], back.attrs["norm"], back.attrs["lmax"]) == ("t", "K", "4pi", 7)
    np.testing.assert_allclose(back.values, da.values, rtol=1e-12)
    as_complex = spectral.from_pyshtools(clm.convert(kind="complex"))
    np.testing.assert_allclose(as_complex.values, da.values, rtol=1e-12)
    array = spectral.from_pyshtools(clm.to_array(), norm="ortho", csphase=-1)
    np.testing.assert_allclose(array.values, da.values, rtol=1e-12)


def test_packed_coefficients_go_straight_on(coefficients: Any) -> None:
    ds = coefficients()
    stored = spectral.to_packed(ds)
    xr.testing.assert_allclose(
        spectral.to_layout(stored, "triangular").t, spectral.to_layout(ds, "triangular").t, rtol=1e-15
    )


def test_refusals(coefficients: Any) -> None:
    da = coefficients().t
    with pytest.raises(OptionError, match=r"layout='shtns' came; wanted one of \('pyshtools', 'triangular', 'ecmwf'"):
        spectral.to_layout(da, "shtns")
    with pytest.raises(OptionError, match="came with layout='triangular', which has its own; leave them out"):
        spectral.from_layout(da, "triangular", norm="ortho")
    with pytest.raises(OptionError, match="norm='8pi' came"):
        spectral.to_layout(da, "complex", norm="8pi")
    with pytest.raises(DimensionError, match=r"\('coefficient',\)"):
        spectral.from_layout(da, "triangular")
    pytest.importorskip("pyshtools")
    with pytest.raises(DimensionError, match=r"\('time',\) beside degree and order came; wanted one field"):
        spectral.to_pyshtools(da)
    clm = spectral.to_pyshtools(da[0])
    with pytest.raises(OptionError, match=r"norm='ortho', csphase=None came, but the coefficients have \('4pi', 1\)"):
        spectral.from_pyshtools(clm, norm="ortho")
    with pytest.raises(DimensionError, match=r"shape \(3, 2, 8, 8\) came; wanted \(2, lmax \+ 1, lmax \+ 1\): one"):
        spectral.from_pyshtools(layouts.to_pyshtools(da.values))


@pytest.mark.filterwarnings("ignore:The return type of:FutureWarning")  # pyshtools reading its own file
def test_coefficients_in_other_layouts_are_no_coefficients_here(tmp_path: Any) -> None:
    ours = xr.DataArray(np.tril(np.ones((4, 4), complex)), dims=("degree", "order"), name="t")
    real = spectral.to_layout(ours, "pyshtools")
    for da in (real, real.drop_attrs()):
        with pytest.raises(OptionError, match=r"layout='pyshtools'; wanted complex .*from_layout\(obj, 'pyshtools'"):
            da.atmo.to_grid(Grid.gaussian(8))
    other = spectral.to_layout(ours, "complex", norm="ortho", csphase=-1)
    with pytest.raises(OptionError, match=r"norm='ortho', csphase=-1; wanted .*from_layout\(obj, 'complex'"):
        other.atmo.truncate(2)
    with pytest.raises(DimensionError, match=r"to_grid needs coefficients, .*'coefficient'.* by xatmo.spectral.from_l"):
        spectral.to_layout(ours, "triangular").atmo.to_grid(Grid.gaussian(8))
    pyshtools = pytest.importorskip("pyshtools")
    path = str(tmp_path / "coefficients.nc")
    spectral.to_pyshtools(ours).to_netcdf(path)
    with xr.open_dataset(path) as ds, pytest.raises(OptionError, match="as pyshtools writes them to netCDF"):
        ds.atmo.to_grid(Grid.gaussian(8))
    again = spectral.from_pyshtools(pyshtools.SHCoeffs.from_netcdf(path))
    np.testing.assert_allclose(again, ours, atol=1e-15)
