"""The sea-level mapping challenges' files: their names, where one gets them, the days they split, how to open them.

The same names hold for the real files and for the twin of `xatmo.datasets.write_challenge`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xatmo import cf
from xatmo.errors import CatalogError, OptionError

FILES = {
    "ssh": "NATL60-CJM165_NATL_ssh_y2013.1y.nc",
    "sst": "NATL60-CJM165_NATL_sst_y2013.1y.nc",
    "nadir_swot": "dataset_nadir_0d_swot.nc",
    "oi": "ssh_NATL60_swot_4nadir.nc",
}
"""The four files of the North Atlantic data set: truth, sea surface temperature, observations and their analysis."""

READY = "natl20.nc"
"""One file with the truth, ``ssh``, and what nadir altimeters see of it, ``nadir_obs``."""

OBSERVATIONS = {
    "topex-poseidon_interleaved": "jason-interleaved",
    "jason1": "jason",
    "envisat": "envisat",
    "geosat2": "gfo",
    "nadir_swot": "swot",
    "karin_swot": "swot",
}
"""The 2020a challenge's names of its observing missions, and the orbits that stand for them."""

REFERENCE = "NATL60-CJM165_GULFSTREAM_y{0:%Y}m{0:%m}d{0:%d}.1h_SSH.nc"
SEEN = "2020a_SSH_mapping_NATL60_{}.nc"
TRACK = "dt_*_c2_phy_l3_*.nc"
"""Names of one day of the truth and of one mission (2020a), and of the altimeter that is kept out (2021a)."""

SPLITS = {
    "train": ("2013-02-24", "2013-09-30"),
    "validation": ("2012-12-15", "2013-02-24"),
    "test": ("2012-10-01", "2012-12-20"),
}
"""First and last day on which networks are trained, watched and tested."""

SCENARIOS = {"nadirs": 0, "swot": 1, "both": None}
"""Observing systems, and the ``flag`` of their observations in `FILES`."""

_SERVER = "https://ige-meom-opendap.univ-grenoble-alpes.fr/thredds/fileServer/meomopendap/extract/MEOM"
_STORE = "https://s3.eu-central-1.wasabisys.com"
_OSSE = f"{_SERVER}/OCEAN_DATA_CHALLENGES/2020a_SSH_mapping_NATL60"
SOURCES = {
    "reference": f"{_OSSE}/dc_ref.tar.gz (11 GB, to unpack)",
    "observations": f"{_OSSE}/dc_obs.tar.gz (285 MB, to unpack)",
    "ssh": f"{_STORE}/melody/NATL/ref/{FILES['ssh']}",
    "sst": f"{_STORE}/melody/NATL/ref/{FILES['sst']}",
    "maps": f"{_STORE}/melody/NATL/data/{FILES['nadir_swot']}",
    "oi": f"{_STORE}/melody/NATL/oi/{FILES['oi']}",
    "ready": f"{_STORE}/sla-data-registry/6d/206c6be2dfe0edf1a53c29029ed239, saved as {READY}",
    "track": "https://tds.aviso.altimetry.fr/thredds/dodsC/2021a-SSH-mapping-OSE-along-track-data "
    "(doi 10.24400/527896/a01-2021.005; an AVISO account)",
}
"""Where each of them is documented to be."""


def open_challenge(path: str | Path, *, needed: Iterable[str] = ()) -> dict[str, xr.Dataset]:
    """Open the challenges' files, the real ones or a twin, lazily.

    Parameters
    ----------
    path : path
        Folder that holds ``dc_ref`` and ``dc_obs``, or some of the four `FILES`, or ``natl20.nc``, or all of these.
    needed : sequence of str
        Names of the result that have to be there.

    Returns
    -------
    dict of Dataset
        What is there, under ``"reference"`` (the truth of all days), the names in `OBSERVATIONS` and those in `FILES`;
        ``"nadir_swot"`` of `FILES` is called ``"maps"``, and ``natl20.nc`` ``"ready"``.

    Raises
    ------
    CatalogError
        If there is none of the files, or not one that is needed: says where one gets it.

    Examples
    --------
    >>> open_challenge(".", needed=["oi"])
    Traceback (most recent call last):
    xatmo.errors.CatalogError: . has no ssh_NATL60_swot_4nadir.nc; wanted it from ...
    """
    folder = Path(path)
    wanted = list(needed)
    for name in wanted:
        if not _there(folder, name):
            raise CatalogError(_missing(folder, name))
    found: dict[str, xr.Dataset] = {}
    if days := _days(folder):
        found["reference"] = _together(list(days.values()))
    for name in OBSERVATIONS:
        if (file := folder / "dc_obs" / SEEN.format(name)).exists():
            found[name] = xr.open_dataset(file, chunks={})
    for name, title in {**FILES, "ready": READY}.items():
        if (folder / title).exists():
            found["maps" if name == "nadir_swot" else name] = xr.open_dataset(folder / title, chunks={})
    if not found:
        message = (
            f"{folder} holds none of the challenge's files; wanted dc_ref, dc_obs or {', '.join(FILES.values())}. "
            f"Get them from {SOURCES['reference']}, or write a twin with datasets.write_challenge(path)"
        )
        raise CatalogError(message)
    return found


def open_reference(
    path: str | Path, challenge: str = "osse2020a", *, period: tuple[Any, Any] | None = None, wide: bool = False
) -> xr.DataArray | xr.Dataset:
    """Open what a challenge scores maps against, lazily.

    Parameters
    ----------
    path : path
        Folder: of OSSE 2020a the one that holds ``dc_ref``, or ``dc_ref`` itself, or that of the four `FILES`; of OSE
        2021a the one that holds the track of CryoSat-2, perhaps in ``dc_obs``. Or a file.
    challenge : {"osse2020a", "ose2021a"}
    period : (first, last), optional
        Days: of ``dc_ref`` only their files are opened, and all have to be there.
    wide : bool
        Whether the truth of the whole North Atlantic is wanted, which the four `FILES` have.

    Returns
    -------
    DataArray (time, latitude, longitude) or Dataset (time)
        The truth; or the track with ``sla_unfiltered``, ``mdt`` and ``lwe``.

    Raises
    ------
    CatalogError
        If a file or a day is missing: says which, and where one gets it.
    OptionError
        If the challenge is unknown.
    FileNotFoundError
        If there is nothing at the path.

    Examples
    --------
    >>> import tempfile
    >>> from xatmo.datasets import write_challenge
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     truth = open_reference(write_challenge(folder, step=1.0, days=3), period=("2012-10-02", "2012-10-03"))
    ...     truth.name, dict(truth.sizes)
    ('sossheig', {'time': 8, 'lat': 11, 'lon': 11})
    """
    if challenge not in ("osse2020a", "ose2021a"):
        message = f"challenge={challenge!r}; wanted 'osse2020a' or 'ose2021a'"
        raise OptionError(message)
    where = Path(path)
    if not where.exists():
        raise FileNotFoundError(2, "no such file or folder", str(where))
    if challenge == "ose2021a":
        return _track(where)
    if where.is_file():
        return _truth(xr.open_dataset(where, chunks={}), where)
    days = _days(where)
    if days and not wide:
        files = list(days.values()) if period is None else _those_of(where, days, period)
        return _truth(_together(files), where)
    for title in (FILES["ssh"], READY):
        if (where / title).exists():
            return _truth(xr.open_dataset(where / title, chunks={}), where / title)
    raise CatalogError(_missing(where, "ssh" if wide else "reference"))


def challenge_fields(path: str | Path, *, scenario: str = "both") -> xr.Dataset:
    """Put what a mapping method reads and learns from into one Dataset, lazily.

    Parameters
    ----------
    path : path
        Folder with the four `FILES` (temperature and analysis may be missing), or with ``natl20.nc``, or that file.
    scenario : {"both", "nadirs", "swot"}
        Which altimeters observe.

    Returns
    -------
    Dataset (time, lat, lon)
        ``ssh``, the truth; ``obs``, NaN where nothing is observed; where the files have them ``domain`` (1 ocean, 0
        land), ``lag`` (true time minus that of the map), ``noise_std``, ``sst``; and ``oi``, the analysis of all
        altimeters, unless some are left out.

    Raises
    ------
    CatalogError
        If a file is missing, or they share no day or place.
    OptionError
        If the scenario is unknown, or the file cannot tell it.

    Examples
    --------
    >>> import tempfile
    >>> from xatmo.datasets import write_challenge
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fields = challenge_fields(write_challenge(folder, step=1.0, days=3), scenario="nadirs")
    ...     sorted(fields.data_vars)
    ['domain', 'lag', 'noise_std', 'obs', 'ssh', 'sst']
    """
    if scenario not in SCENARIOS:
        message = f"scenario={scenario!r}; wanted one of {list(SCENARIOS)}"
        raise OptionError(message)
    where = Path(path)
    if where.is_file() or ((where / READY).exists() and not (where / FILES["nadir_swot"]).exists()):
        return _ready(where if where.is_file() else where / READY, scenario)
    found = open_challenge(where, needed=("ssh", "maps"))
    maps = found["maps"]
    flag = SCENARIOS[scenario]
    if flag is not None and "flag" not in maps:
        message = f"{where / FILES['nadir_swot']} has no 'flag'; wanted it for scenario={scenario!r}: take 'both'"
        raise OptionError(message)
    obs = maps["ssh_obs"] if flag is None else maps["ssh_obs"].where(maps["flag"] == flag)
    fields = {"ssh": found["ssh"]["ssh"], "obs": obs.assign_attrs(maps["ssh_obs"].attrs)}
    fields |= {n: maps[k] for n, k in (("domain", "mask"), ("lag", "lag"), ("noise_std", "noise_std")) if k in maps}
    if "sst" in found:
        fields["sst"] = found["sst"]["sst"]
    if "oi" in found and flag is None:  # it has seen all altimeters
        fields["oi"] = found["oi"]["ssh_mod"]
    out = _aligned(fields, where)
    return out.assign_attrs(source="generated") if is_generated(found["ssh"]) else out


def is_generated(obj: xr.DataArray | xr.Dataset) -> bool:
    """Whether a field of a challenge's files is of a twin, whose scores nobody published."""
    return obj.attrs.get("source") == "generated"


# ---------------------------------------------------------------------- parts
def _days(folder: Path) -> dict[pd.Timestamp, Path]:
    """Daily files of the truth below a folder, or in it, by day."""
    inside = folder / "dc_ref" if (folder / "dc_ref").is_dir() else folder
    found = {}
    for file in sorted(inside.glob("NATL60-CJM165_GULFSTREAM_y*.1h_SSH.nc")):
        if match := re.search(r"_y(\d{4})m(\d{2})d(\d{2})\.", file.name):
            found[pd.Timestamp("-".join(match.groups()))] = file
    return found


def _those_of(folder: Path, days: Mapping[pd.Timestamp, Path], period: tuple[Any, Any]) -> list[Path]:
    first, last = (pd.Timestamp(x).normalize() for x in period)
    wanted = pd.date_range(first, last)
    missing = [day for day in wanted if day not in days]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        message = (
            f"{folder} has no {REFERENCE.format(missing[0])}{more} of the {len(wanted)} days from {first:%Y-%m-%d} "
            f"to {last:%Y-%m-%d}; wanted all of them: {SOURCES['reference']}"
        )
        raise CatalogError(message)
    return [days[day] for day in wanted]


def _together(files: list[Path]) -> xr.Dataset:
    return xr.open_mfdataset(files, combine="by_coords", data_vars="all", chunks={}, combine_attrs="drop_conflicts")


def _there(folder: Path, name: str) -> bool:
    if name == "reference":
        return bool(_days(folder))
    if name in OBSERVATIONS:
        return (folder / "dc_obs" / SEEN.format(name)).exists()
    return (folder / (READY if name == "ready" else FILES["nadir_swot" if name == "maps" else name])).exists()


def _missing(folder: Path, name: str) -> str:
    titles = {"reference": "dc_ref/" + REFERENCE.format(pd.Timestamp("2012-10-22")), "maps": FILES["nadir_swot"],
              "ready": READY, "track": TRACK, **{n: f"dc_obs/{SEEN.format(n)}" for n in OBSERVATIONS}}  # fmt: skip
    where = SOURCES["observations" if name in OBSERVATIONS else name]
    twin = "" if name in ("track", "ready") else ", or a twin from datasets.write_challenge(path)"
    return f"{folder} has no {titles.get(name) or FILES[name]}; wanted it from {where}{twin}"


def _truth(ds: xr.Dataset, where: Path) -> xr.DataArray:
    axes, time = cf.horizontal(ds), cf.time(ds)
    names = [n for n in cf.variables_with(ds, axes.dims, what=str(where), kinds="f") if time in ds[n].dims]
    name = next((n for n in ("sossheig", "ssh", *names) if n in names), None)
    if name is None:
        message = f"{where} has variables {sorted(map(str, ds.data_vars))}; wanted sea surface height, as 'ssh'"
        raise CatalogError(message)
    out = ds[name]
    return out.assign_attrs(source=ds.attrs["source"]) if "source" in ds.attrs else out


def _track(where: Path) -> xr.Dataset:
    files = [where] if where.is_file() else sorted([*where.glob(TRACK), *where.glob(f"dc_obs/{TRACK}")])
    if not files:
        raise CatalogError(_missing(where, "track"))
    ds = xr.open_dataset(files[0]).load()
    # Some versions have the places as variables; in the others they are coordinates already.
    return ds.set_coords([n for n in ("time", "latitude", "longitude", "lat", "lon") if n in ds.data_vars])


def _ready(file: Path, scenario: str) -> xr.Dataset:
    if not file.exists():
        raise FileNotFoundError(2, "no such file or folder", str(file))
    ds = xr.open_dataset(file, chunks={})
    if not {"ssh", "nadir_obs"} <= set(ds.data_vars) or scenario == "swot":
        message = (
            f"{file} has variables {sorted(map(str, ds.data_vars))}; wanted 'ssh' and 'nadir_obs', which tell of "
            f"nadir altimeters, and not scenario={scenario!r}"
        )
        raise OptionError(message)
    return ds[["ssh", "nadir_obs"]].rename(nadir_obs="obs")


def _aligned(fields: Mapping[str, xr.DataArray], where: Path) -> xr.Dataset:
    """Bring files that may differ in days, area and rounding onto the truth's points and days."""
    plain = {name: _plain(field) for name, field in fields.items()}
    days = {n: pd.DatetimeIndex(f["time"].values).floor("D") for n, f in plain.items() if "time" in f.dims}
    shared = days["ssh"]
    for each in days.values():
        shared = shared.intersection(each)
    if shared.empty:
        message = f"the files in {where} share no day; wanted the same days in all of them"
        raise CatalogError(message)
    plain |= {n: plain[n].isel(time=np.flatnonzero(each.isin(shared))) for n, each in days.items()}
    truth = plain["ssh"]
    out: dict[str, xr.DataArray] = {}
    for name, field in plain.items():
        at: dict[str, Any] = {}
        for axis in ("lat", "lon"):
            near = field.get_index(axis).get_indexer(truth.get_index(axis), method="nearest", tolerance=1e-3)
            if (near < 0).any():
                lacking = float(truth[axis][int(np.argmax(near < 0))])
                message = f"{name!r} in {where} lacks {axis}={lacking:g} of the truth; wanted one grid in all files"
                raise CatalogError(message)
            at[axis] = near
        same = {n: truth[n] for n in ("lat", "lon", "time") if n in field.dims}
        out[name] = field.isel(at).assign_coords(same)
    return xr.Dataset(out)


def _plain(field: xr.DataArray) -> xr.DataArray:
    """Rename axes to time, lat, lon; drop other coordinates."""
    axes = cf.horizontal(field)
    names = {axes.lat: "lat", axes.lon: "lon"}
    times = [n for n in field.coords if field[n].dtype.kind == "M" and n in field.dims]
    if times:
        names[times[0]] = "time"
    out = field.rename({old: new for old, new in names.items() if old != new})
    return out.drop_vars([c for c in out.coords if c not in ("time", "lat", "lon")])
