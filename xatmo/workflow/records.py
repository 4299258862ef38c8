"""What was done, written beside what came of it; and the refusal to mix results of different settings."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr

from xatmo.errors import CheckpointError, ConfigError

_PACKAGES: Final = ("xarray", "dask", "zarr", "numpy", "torch", "lightning", "eccodes", "scores")
_SAMPLED_FRAMES: Final = 8
_SAMPLED_FILES: Final = 100
_END_BYTES: Final = 65536


# ---------------------------------------------------------------------- what was used
def versions() -> dict[str, str]:
    """Versions of Python, xatmo and the packages that results may depend on.

    Examples
    --------
    >>> "xatmo" in versions()
    True
    """
    from xatmo import __version__

    found = {"python": platform.python_version(), "xatmo": __version__}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_revision() -> str | None:
    """Revision of the clone that xatmo runs from, with ``+changes`` if files differ from it; None outside a clone."""
    folder = Path(__file__).resolve().parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", Path(__file__).name) is None:  # installed below somebody else's clone
        return None
    revision = git("rev-parse", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no")
    return None if revision is None else revision + ("+changes" if changed else "")


def now() -> str:
    """Time in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def fingerprint(ds: xr.Dataset) -> str:
    """Tell data from others by their coordinates, types, units, and the values of a few times.

    It is the same wherever the data lie, however they are chunked, and costs the reading of some fields.

    Parameters
    ----------
    ds : Dataset

    Returns
    -------
    str
        16 hexadecimal digits.

    Examples
    --------
    >>> ds = xr.Dataset({"t": ("time", np.arange(5.0))})
    >>> fingerprint(ds) == fingerprint(ds.chunk(time=2)), fingerprint(ds) == fingerprint(ds + 1)
    (True, False)
    """
    told = hashlib.sha256()
    for name in sorted(map(str, ds.variables)):
        variable = ds[name].variable
        kind = variable.dtype.kind if variable.dtype.kind in "mM" else str(variable.dtype)  # times in whichever unit
        told.update(repr((name, variable.dims, variable.shape, kind, str(variable.attrs.get("units")))).encode())
        if name in ds.coords:
            told.update(_content(variable.values))
    dims = [d for d in ds.dims if "time" in str(d)] or list(ds.dims)[:1]
    chosen = {d: np.unique(np.linspace(0, ds.sizes[d] - 1, _SAMPLED_FRAMES).astype(int)) for d in dims if ds.sizes[d]}
    sample = ds.isel(chosen).compute()
    for name in sorted(map(str, ds.data_vars)):
        told.update(_content(sample[name].values))
    return told.hexdigest()[:16]


def files_fingerprint(paths: list[Path]) -> str:
    """Tell files from others by names and sizes, and by both ends of the contents of some of them.

    Examples
    --------
    >>> files_fingerprint([])
    'e3b0c44298fc1c14'
    """
    told = hashlib.sha256()
    ordered = sorted(paths)
    looked_into = set(np.linspace(0, len(ordered) - 1, min(_SAMPLED_FILES, len(ordered))).astype(int).tolist())
    for k, path in enumerate(ordered):
        size = path.stat().st_size
        told.update(f"{path.name} {size}".encode())
        if k in looked_into:
            with open(path, "rb") as file:
                told.update(file.read(_END_BYTES))
                file.seek(max(0, size - _END_BYTES))
                told.update(file.read(_END_BYTES))
    return told.hexdigest()[:16]


def _content(values: Any) -> bytes:
    array = np.ascontiguousarray(values)
    if array.dtype.kind in "mM":  # the same times in other units
        array = array.astype(f"{array.dtype.kind}8[ns]")
    return array.tobytes() if array.dtype.kind in "biufcmM" else repr(array.tolist()).encode()


# ---------------------------------------------------------------------- settings
def plain(value: Any) -> Any:
    """Turn settings into what JSON gives back as it was.

    Examples
    --------
    >>> plain({"years": range(2008, 2010), "output": Path("a")})
    {'years': [2008, 2009], 'output': 'a'}
    """
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, str | bool | int | float) or value is None:
        return value
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, list | tuple | range | set | frozenset | np.ndarray):
        return [plain(v) for v in (sorted(value) if isinstance(value, set | frozenset) else value)]
    return str(value)


def differences(before: Mapping[str, Any], now: Mapping[str, Any], under: str = "") -> list[str]:
    """Name the settings that are not the same, with both values.

    Examples
    --------
    >>> differences({"region": {"nx": 92}, "years": 2008}, {"region": {"nx": 80}, "years": 2008})
    ['region.nx was 92 and is 80']
    """
    found = []
    for key in sorted({*before, *now}):
        name, a, b = f"{under}{key}", before.get(key), now.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += differences(a, b, f"{name}.")
        elif a != b:
            found.append(f"{name} was {_short(a)} and is {_short(b)}")
    return found


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:76]} ..."


# ---------------------------------------------------------------------- the record
class Record:
    """The account of one step: a JSON file beside its output, first as begun, at the end as done.

    Parameters
    ----------
    step : str
        Such as ``"extract"``.
    path : path
        Of the JSON file.
    settings : mapping
        What the output depends on.
    input : mapping
        What tells the input from others.
    """

    def __init__(self, step: str, path: Path, *, settings: Mapping[str, Any], input: Mapping[str, Any]) -> None:
        self.step = step
        self.path = path
        self.settings: dict[str, Any] = plain(settings)
        self.input: dict[str, Any] = plain(input)
        self.began = now()
        self._begun = path.with_name(f".{path.name}.begun")

    @property
    def key(self) -> dict[str, Any]:
        """What has to be the same for a result to be continued or taken as done."""
        return {"settings": self.settings, "input": self.input}

    @property
    def digest(self) -> str:
        """The key in 16 hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.key, sort_keys=True).encode()).hexdigest()[:16]

    def compare(self, *, output: Path, overwrite: bool) -> bool:
        """Tell whether the output is done already with the same settings.

        Raises
        ------
        ConfigError
            If something done or begun with other settings is there and may not be replaced.
        """
        done, begun = read(self.path), read(self._begun)
        if output.exists() and done is not None and self._same(done):
            return True
        if overwrite:
            return False
        for other, word in ((done, "made"), (begun, "begun")):
            if other is not None and not self._same(other) and (output.exists() or word == "begun"):
                what = "; ".join(self.differences(other)) or "its record was written by another step"
                message = (
                    f"{output} was {word} with other settings: {what}. Choose another output, or pass --overwrite "
                    "(in Python overwrite=True) to replace it"
                )
                raise ConfigError(message)
        if output.exists() and done is None and begun is None:
            message = (
                f"{output} is there without a record of what made it; choose another output, or pass --overwrite "
                "(in Python overwrite=True) to replace it"
            )
            raise ConfigError(message)
        return False

    def begin(self) -> None:
        """Note that the step has begun; one that is continued keeps the time of its first beginning."""
        before = read(self._begun)
        if before is not None and self._same(before):
            self.began = str(before.get("began", self.began))
        self._write(self._begun, self._content())

    @property
    def continued(self) -> bool:
        """Whether the same step was begun before and did not end."""
        before = read(self._begun)
        return before is not None and self._same(before)

    def forget(self) -> None:
        """Take back that the step has begun: with these settings it cannot be done."""
        self._begun.unlink(missing_ok=True)

    def mark(self) -> None:
        """Note, in the folder in which a result is being made, what it is made from."""
        self._write(self.path, {"digest": self.digest, **self._content()})

    def finish(self, **about: Any) -> None:
        """Note that the step is done, and what came of it."""
        self._write(self.path, {**self._content(), "finished": now(), **plain(about)})
        self._begun.unlink(missing_ok=True)

    def _same(self, other: Mapping[str, Any]) -> bool:
        return other.get("step") == self.step and not self.differences(other)

    def differences(self, other: Mapping[str, Any]) -> list[str]:
        """Name what another record has otherwise."""
        had = {**other.get("settings", {}), "input": other.get("input", {})}
        return differences(had, {**self.settings, "input": self.input})

    def _content(self) -> dict[str, Any]:
        return {"step": self.step, "settings": self.settings, "input": self.input, "versions": versions(),
                "git_revision": git_revision(), "began": self.began}  # fmt: skip

    @staticmethod
    def _write(path: Path, content: Mapping[str, Any]) -> None:
        write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read(path: Path) -> dict[str, Any] | None:
    """Read a record; None where there is none.

    Raises
    ------
    CheckpointError
        If it is no JSON.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        message = f"the record {path} cannot be read ({error}); remove it, and what it stands beside, to begin anew"
        raise CheckpointError(message) from error
    return dict(found) if isinstance(found, dict) else {}


# ---------------------------------------------------------------------- whole or not at all
def write_text(path: Path, text: str) -> None:
    """Write a file that appears whole or not at all."""
    with appearing(path) as part:
        part.write_text(text, encoding="utf-8")


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Give a path to write to, which takes its name once all is written; what had the name before stays until then."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        replace(part, path)
    finally:
        remove(part)


def replace(new: Path, path: Path) -> None:
    """Give a file or a folder its name, in place of what has it."""
    if path.is_dir():
        old = path.with_name(f".{path.name}.{os.getpid()}.old")
        os.rename(path, old)
        os.rename(new, path)
        remove(old)
    else:
        os.replace(new, path)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
