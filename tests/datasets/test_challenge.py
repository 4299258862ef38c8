from __future__ import annotations

import numpy as np
import pytest

import xatmo
from xatmo.datasets import open_challenge, write_challenge
from xatmo.datasets.challenge import FILES, OBSERVATIONS
from xatmo.errors import CatalogError, OptionError


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    return write_challenge(tmp_path_factory.mktemp("twin"), step=0.5, days=6)


def test_names_places_and_days(twin):
    files = sorted(p.name for p in (twin / "dc_ref").iterdir())
    assert files[0] == "NATL60-CJM165_GULFSTREAM_y2012m10d01.1h_SSH.nc"
    assert len(files) == 6
    found = open_challenge(twin)
    assert set(found) == {"reference", *OBSERVATIONS, "ssh", "sst", "maps", "oi"}
    reference = found["reference"]["sossheig"]
    assert (float(reference.lat.min()), float(reference.lat.max())) == (33, 43)
    assert (float(reference.lon.min()), float(reference.lon.max())) == (-65, -55)
    assert reference.chunks is not None
    assert reference.sizes["time"] == 24
    for name in FILES:
        ds = found["maps" if name == "nadir_swot" else name]
        assert dict(ds.sizes) == {"time": 6, "lat": 25, "lon": 25}
    assert {"ssh_obs", "ssh_mod", "mask", "lag", "flag"} <= set(found["maps"].data_vars)


def test_all_files_tell_of_one_sea(twin):
    found = open_challenge(twin)
    daily = found["reference"]["sossheig"].resample(time="1D").mean().values
    inner = found["ssh"]["ssh"].sel(lat=slice(33, 43), lon=slice(-65, -55)).values
    np.testing.assert_allclose(daily, inner, atol=1e-5)
    jason = found["jason1"]
    assert float((jason["ssh_obs"] - jason["ssh_model"]).std()) == pytest.approx(0.032, rel=0.25)
    assert "x_ac" in found["karin_swot"].coords
    maps = found["maps"].load()
    seen = np.isfinite(maps["ssh_obs"].values)
    assert set(np.unique(maps["flag"].values[seen])) == {0, 1}
    analysis, truth = found["oi"]["ssh_mod"].values, found["ssh"]["ssh"].values
    assert np.sqrt(np.mean((analysis - truth) ** 2)) < 0.8 * truth.std()


def test_the_catalog_opens_what_was_written(twin):
    catalog = xatmo.open_catalog("natl60")
    assert catalog.open("challenge_2020a_reference", path=str(twin))["sossheig"].sizes["time"] == 24
    assert "ssh_obs" in catalog.open("challenge_2020a_observations", path=str(twin), mission="karin_swot")
    for entry, name in {"ssh": "ssh", "sst": "sst", "observations": "ssh_obs", "analysis": "ssh_mod"}.items():
        assert name in catalog.open(f"fourdvarnet_{entry}", path=str(twin))


def test_clear_errors(tmp_path):
    with pytest.raises(CatalogError, match="holds none of the challenge's files; wanted dc_ref, dc_obs or"):
        open_challenge(tmp_path)
    with pytest.raises(OptionError, match="wanted a spacing that divides one degree"):
        write_challenge(tmp_path, step=0.3)
    with pytest.raises(OptionError, match="one day or more"):
        write_challenge(tmp_path, days=0)
