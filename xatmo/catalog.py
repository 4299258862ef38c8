"""Open entries of a data catalog lazily, with their parameters checked.

A catalog is a YAML file in the form that Intake reads (``sources`` with ``driver``, ``parameters`` and ``args``). The
parameters are resolved and checked here, because an Intake source opened with a parameter that it does not know, or
with a value that is not allowed, silently gives the default data. The data are opened by the entry's Intake driver.

Six catalogs come with xatmo: ``"era5"`` (ARCO-ERA5, WeatherBench 2, NCAR's copy, files of the Climate Data Store),
``"seas5"`` (seasonal forecasts), ``"natl60"`` (NATL60, eNATL60, sea-level challenges), ``"llc4320"``, ``"glorys"`` and
``"duacs"``.
"""

from __future__ import annotations

import netrc
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import xarray as xr
import yaml

from xatmo import cf, optional
from xatmo.errors import CatalogError

_FILESYSTEMS: Final = {"gs": "gcsfs", "gcs": "gcsfs", "s3": "s3fs"}  # protocol -> package of the extra "cloud"
_ACCESS: Final = ("anonymous", "requester pays", "account")
_AS_STORED: Final = "as stored"


@dataclass(frozen=True)
class Parameter:
    """One parameter of a catalog entry.

    Attributes
    ----------
    name, description : str
    type : {"str", "int", "float", "bool"}
    default : optional
        Value when none is given; None where the parameter has to be given.
    allowed : tuple
        The possible values; empty where any is possible.
    minimum, maximum : optional
        Bounds, inclusive.
    """

    name: str
    description: str = ""
    type: str = "str"
    default: Any = None
    allowed: tuple[Any, ...] = ()
    minimum: Any = None
    maximum: Any = None

    @property
    def possible(self) -> str:
        """The values that are possible, in words."""
        if self.allowed:
            return "one of " + ", ".join(map(repr, self.allowed))
        bounds = [f"at least {self.minimum!r}"] * (self.minimum is not None)
        bounds += [f"at most {self.maximum!r}"] * (self.maximum is not None)
        return f"{self.type} {' and '.join(bounds)}".rstrip()

    def check(self, value: Any, *, entry: str) -> Any:
        """Give ``value`` as this parameter's type.

        Raises
        ------
        CatalogError
            If it is of another type, not among the possible values, or outside the bounds.
        """
        try:
            typed = _as_type(value, self.type)
        except (TypeError, ValueError):
            typed = None
        outside = typed is None or (self.allowed and typed not in self.allowed)
        outside = outside or (self.minimum is not None and typed < self.minimum)
        if outside or (self.maximum is not None and typed > self.maximum):
            message = f"entry {entry!r}: {self.name}={value!r} came; wanted {self.possible}"
            raise CatalogError(message)
        return typed


@dataclass(frozen=True)
class Source:
    """Where the data of an entry lie, once its parameters are known: nothing has been opened yet."""

    driver: str
    url: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    valid_time: Mapping[str, str] = field(default_factory=dict)


class Catalog:
    """Entries of a YAML catalog; made by `open_catalog`.

    Parameters
    ----------
    path : path
        YAML file.

    Raises
    ------
    CatalogError
        If the file cannot be read as a catalog.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            content = yaml.safe_load(self.path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            message = f"the catalog {self.path} cannot be read: {' '.join(str(error).split())}"
            raise CatalogError(message) from error
        sources = content.get("sources") if isinstance(content, dict) else None
        if not isinstance(sources, dict) or not sources:
            message = f"the catalog {self.path} has no 'sources'; wanted a YAML mapping with one entry or more under it"
            raise CatalogError(message)
        self.description: str = str((content.get("metadata") or {}).get("description", ""))
        self._sources: dict[str, dict[str, Any]] = {str(k): v or {} for k, v in sources.items()}
        for name, source in self._sources.items():
            if not isinstance(source, dict) or "driver" not in source or "urlpath" not in (source.get("args") or {}):
                message = f"entry {name!r} of {self.path} lacks 'driver' or 'args: urlpath'"
                raise CatalogError(message)

    @property
    def names(self) -> list[str]:
        """Names of the entries."""
        return list(self._sources)

    def __repr__(self) -> str:
        return f"<Catalog {self.path.stem}: {', '.join(self.names)}>"

    def describe(self, entry: str) -> dict[str, Any]:
        """Tell what an entry holds: description, driver, address, access, licence, size, chunks and parameters.

        Raises
        ------
        CatalogError
            If there is no such entry.

        Examples
        --------
        >>> about = open_catalog("era5").describe("weatherbench2")
        >>> about["access"], list(about["parameters"])
        ('anonymous', ['resolution'])
        """
        source = self._entry(entry)
        metadata = dict(source.get("metadata") or {})
        return {
            "name": entry,
            "description": " ".join(str(source.get("description", "")).split()),
            "driver": source["driver"],
            "url": source["args"]["urlpath"],
            "access": self._access(entry),
            "licence": metadata.get("licence", "not stated"),
            "size": metadata.get("size", "not stated"),
            "chunks": metadata.get("chunks", "not stated"),
            "documentation": metadata.get("documentation"),
            "parameters": self._parameters(entry),
        }

    def resolve(self, entry: str, **parameters: Any) -> Source:
        """Work out where an entry's data lie, without opening anything.

        Parameters
        ----------
        entry : str
            Among `names`.
        **parameters
            Among ``describe(entry)["parameters"]``.

        Raises
        ------
        CatalogError
            If the entry or a parameter is unknown, a value is not possible, or one that is needed is missing.

        Examples
        --------
        >>> open_catalog("natl60").resolve("enatl60", region=2, season="aso").url
        's3://Pangeo/pangeo-forge/swot_adac/eNATL60/Region02/surface_hourly/aso.zarr'
        """
        known = self._parameters(entry)
        unknown = [name for name in parameters if name not in known]
        if unknown:
            message = f"entry {entry!r} has no parameter {unknown[0]!r}; it has {sorted(known) or 'none'}"
            raise CatalogError(message)
        values = {}
        for name, parameter in known.items():
            value = parameters.get(name, parameter.default)
            if value is None:
                because = {"requester pays": ": reading it is billed to the reader's cloud project (requester pays)"}
                message = (
                    f"entry {entry!r} needs {name}=, {parameter.description}{because.get(self._access(entry), '')}; "
                    f"call open({entry!r}, {name}=...)"
                )
                raise CatalogError(message)
            values[name] = parameter.check(value, entry=entry)
        source = self._entry(entry)
        values["CATALOG_DIR"] = str(self.path.resolve().parent)
        arguments = _render(source["args"], values, entry)
        valid_time = _render((source.get("metadata") or {}).get("valid_time") or {}, values, entry)
        return Source(str(source["driver"]), str(arguments.pop("urlpath")), arguments, valid_time)

    def open(
        self,
        entry: str,
        *,
        chunks: int | Mapping[Any, Any] | Literal["as stored"] | None = _AS_STORED,
        **parameters: Any,
    ) -> xr.Dataset:
        """Open an entry lazily: metadata and coordinates are read, fields are not.

        Parameters
        ----------
        entry : str
            Among `names`.
        chunks : int, mapping or None, optional
            Dask chunks, as for `xarray.open_dataset`; the entry's own advice unless given. None is lazy without Dask:
            for stores with very many chunks, of which a selection is made first.
        **parameters
            Among ``describe(entry)["parameters"]``.

        Returns
        -------
        Dataset

        Raises
        ------
        CatalogError
            If the entry or a parameter is unknown, a value is not possible, an account or a paying project is
            needed and not there (before anything is tried), or the data cannot be opened.
        MissingDependencyError
            If the data lie in a cloud whose package is not installed.

        Examples
        --------
        >>> era5 = open_catalog("era5")
        >>> era5.open("weatherbench2", resolution="64x31")
        Traceback (most recent call last):
            ...
        xatmo.errors.CatalogError: entry 'weatherbench2': resolution='64x31' came; wanted one of '1440x721', ...
        """
        source = self.resolve(entry, **parameters)
        self._require_account(entry)
        package = _FILESYSTEMS.get(source.url.partition("://")[0])
        if source.driver == "netcdf" and source.url.startswith("https://"):  # read by ranges of bytes
            package = "aiohttp"
        if package:
            optional.require(package, extra="cloud", why=f"entry {entry!r} at {source.url}")
        arguments = dict(source.arguments)
        if chunks != _AS_STORED:
            arguments["chunks"] = chunks
        ds = _open(entry, source, arguments)
        if source.valid_time:
            ds = _within_valid_time(ds, source.valid_time, entry)
        call = cf.describe_call("open_catalog", name=self.path.stem, entry=entry, **parameters)
        return cf.add_history(ds, call)

    # ------------------------------------------------------------------ what an entry says
    def _entry(self, name: str) -> dict[str, Any]:
        if name not in self._sources:
            message = f"no entry {name!r} in the catalog {self.path.stem!r}; it has {self.names}"
            raise CatalogError(message)
        return self._sources[name]

    def _access(self, entry: str) -> str:
        access = str((self._entry(entry).get("metadata") or {}).get("access", "anonymous"))
        if access not in _ACCESS:
            message = f"entry {entry!r} of {self.path} has access {access!r}; wanted one of {', '.join(_ACCESS)}"
            raise CatalogError(message)
        return access

    def _parameters(self, entry: str) -> dict[str, Parameter]:
        known = {}
        for name, spec in (self._entry(entry).get("parameters") or {}).items():
            kind = str(spec.get("type", "str"))
            if kind not in ("str", "int", "float", "bool"):
                message = f"entry {entry!r}: parameter {name!r} has type {kind!r}; wanted str, int, float or bool"
                raise CatalogError(message)
            known[str(name)] = Parameter(
                name=str(name),
                description=" ".join(str(spec.get("description", "")).split()),
                type=kind,
                default=spec.get("default"),
                allowed=tuple(spec.get("allowed") or ()),
                minimum=spec.get("min"),
                maximum=spec.get("max"),
            )
        return known

    def _require_account(self, entry: str) -> None:
        """Raise unless credentials for the entry's server are where netCDF and requests look for them."""
        if self._access(entry) != "account":
            return
        account = (self._entry(entry).get("metadata") or {}).get("account") or {}
        host = str(account.get("host", "the server"))
        where = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
        try:
            known = host in netrc.netrc(where).hosts
        except (OSError, netrc.NetrcParseError):
            known = False
        if not known:
            message = (
                f"entry {entry!r} needs an account at {host}, and {where} has none: register at "
                f"{account.get('register', host)}, then add the line 'machine {host} login NAME password WORD' to it"
            )
            raise CatalogError(message)


def open_catalog(name_or_path: str | Path) -> Catalog:
    """Open a catalog: one that comes with xatmo, by name, or a YAML file.

    Parameters
    ----------
    name_or_path : str or path
        Such as ``"era5"``, see `shipped_catalogs`; or the path of a catalog.

    Returns
    -------
    Catalog
        With ``.names``, ``.describe(entry)`` and ``.open(entry, **parameters)``.

    Raises
    ------
    CatalogError
        If there is no such catalog, or it cannot be read.

    Examples
    --------
    >>> open_catalog("natl60").names
    ['challenge_2020a_reference', ..., 'enatl60_ssh', 'enatl60_daily']
    """
    shipped = shipped_catalogs()
    if str(name_or_path) in shipped:
        return Catalog(shipped[str(name_or_path)])
    path = Path(name_or_path).expanduser()
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return Catalog(path)
    message = f"no catalog {str(name_or_path)!r}; wanted {', '.join(sorted(shipped))} or the path of a .yaml file"
    raise CatalogError(message)


def shipped_catalogs() -> dict[str, Path]:
    """Catalogs that come with xatmo, by name.

    They lie inside the package when it is installed from a wheel, and beside it in a clone.

    Examples
    --------
    >>> sorted(shipped_catalogs())
    ['duacs', 'era5', 'glorys', 'llc4320', 'natl60', 'seas5']
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "catalogs", package.parent / "catalogs"):
        if (folder / "era5.yaml").is_file():
            return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    message = f"the catalogs that come with xatmo are missing beside {package}; install xatmo again"
    raise CatalogError(message)


# ---------------------------------------------------------------------- opening
def _open(entry: str, source: Source, arguments: dict[str, Any]) -> xr.Dataset:
    import intake.source

    driver = intake.source.get_plugin_class(source.driver)
    if driver is None:
        message = f"entry {entry!r} has driver {source.driver!r}, which Intake does not know; install its plugin"
        raise CatalogError(message)
    if not any(c in source.url for c in "*?["):  # one file: nothing to combine, and no reader takes the word
        arguments = {k: v for k, v in arguments.items() if k not in ("combine", "concat_dim")}
    try:
        ds = driver(source.url, **arguments).to_dask()
    except Exception as error:  # drivers and file systems raise every kind there is
        reason = " ".join(str(error).split()) or type(error).__name__
        message = f"entry {entry!r} cannot be opened at {source.url} ({type(error).__name__}: {reason})"
        raise CatalogError(message) from error
    if not isinstance(ds, xr.Dataset):
        message = f"entry {entry!r}: driver {source.driver!r} gave {type(ds).__name__}; wanted an xarray Dataset"
        raise CatalogError(message)
    return ds


def _within_valid_time(ds: xr.Dataset, names: Mapping[str, str], entry: str) -> xr.Dataset:
    """Drop the times that the store reserves and that hold no data yet, by the attributes that bound those that do."""
    missing = [name for name in names.values() if name not in ds.attrs]
    if missing:
        message = f"entry {entry!r}: the store has no attribute {missing[0]!r}, which says which times hold data"
        raise CatalogError(message)
    time = cf.time(ds)
    if time not in ds.indexes:  # where the dimension is named by the analysis time, the valid time lies beside it
        time = ds[time].dims[0]
    start, stop = (np.datetime64(str(ds.attrs[names[bound]])) for bound in ("start", "stop"))
    if np.datetime_data(stop.dtype)[0] == "D":  # a date means all of that day
        stop = stop + np.timedelta64(1, "D") - np.timedelta64(1, "s")
    return ds.sel({time: slice(start, stop)})


def _render(template: Any, values: Mapping[str, Any], entry: str) -> Any:
    """Fill the ``{{ ... }}`` in every string of a nested structure."""
    if isinstance(template, dict):
        return {key: _render(item, values, entry) for key, item in template.items()}
    if isinstance(template, list):
        return [_render(item, values, entry) for item in template]
    if not isinstance(template, str) or "{{" not in template:
        return template
    import jinja2
    from jinja2.sandbox import SandboxedEnvironment

    try:  # sandboxed: a catalog is data, wherever it comes from
        return SandboxedEnvironment(undefined=jinja2.StrictUndefined).from_string(template).render(values)
    except (jinja2.TemplateError, KeyError) as error:
        message = f"entry {entry!r}: {template!r} cannot be filled in: {error}"
        raise CatalogError(message) from error


def _as_type(value: Any, kind: str) -> Any:
    """Convert without loss, or raise TypeError or ValueError; text from a command line is read as the type."""
    if kind == "bool":
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if isinstance(value, bool | np.bool_):
            return bool(value)
        raise TypeError
    if isinstance(value, bool | np.bool_):
        raise TypeError
    if kind == "str":
        if not isinstance(value, str | os.PathLike):
            raise TypeError
        return os.fspath(value)
    number = {"int": int, "float": float}[kind](value)
    if not isinstance(value, str) and number != value:
        raise ValueError
    return number
