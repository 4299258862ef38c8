"""Stores that are begun, and begun anew: each in a folder of its own, in which nothing of another one appears."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import xarray as xr

from tests.test_streaming import BY, begun, counted, fields, lazily
from xatmo import _journal, streaming


def test_what_failed_may_still_be_writing_when_it_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "o.zarr"
    broken, _ = counted(fields(), fail_at=45)
    with pytest.raises(RuntimeError, match="power cut"):
        streaming.write_zarr(broken, path, by=BY, key={})
    first = begun(path)
    late = first / "u" / "c.late"
    rmtree, tried = _journal.shutil.rmtree, []

    def filled(folder: Any) -> None:
        """A chunk comes while a folder is being emptied."""
        tried.append(folder)
        rmtree(folder)
        if folder == first:
            late.parent.mkdir(parents=True)
            late.write_bytes(b"of another computation")
            raise OSError(errno.ENOTEMPTY, "Directory not empty")

    monkeypatch.setattr(_journal.shutil, "rmtree", filled)
    streaming.write_zarr(lazily(fields()), path, by=BY, resume=False, key={})
    assert tried[0] == first
    xr.testing.assert_equal(xr.open_zarr(path).u.compute(), fields().u)
    assert not list(path.rglob("c.late"))
    assert not (tmp_path / ".o.zarr.partial").exists()


def test_chunks_that_come_after_the_end_are_nothing(tmp_path: Path) -> None:
    path = tmp_path / "o.zarr"
    streaming.write_zarr(lazily(fields()), path, by=BY, key={})
    late = tmp_path / ".o.zarr.partial" / "store-0123" / "u" / "c.late"
    late.parent.mkdir(parents=True)
    late.write_bytes(b"of another computation")
    with pytest.raises(FileExistsError, match="pass overwrite=True"):
        streaming.write_zarr(lazily(fields(1)), path, by=BY, key={})
    late.parent.mkdir(parents=True)
    streaming.write_zarr(lazily(fields(1)), path, by=BY, key={}, overwrite=True)
    xr.testing.assert_equal(xr.open_zarr(path).u.compute(), fields(1).u)
    assert not (tmp_path / ".o.zarr.partial").exists()


def test_a_folder_that_cannot_be_removed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "o.zarr"
    broken, _ = counted(fields(), fail_at=45)
    with pytest.raises(RuntimeError, match="power cut"):
        streaming.write_zarr(broken, path, by=BY, key={})

    def refused(folder: Any) -> None:
        raise PermissionError(errno.EACCES, "not yours", str(folder))

    monkeypatch.setattr(_journal.shutil, "rmtree", refused)
    with pytest.raises(PermissionError, match="not yours"):
        streaming.write_zarr(lazily(fields()), path, by=BY, resume=False, key={})


def test_a_store_that_was_begun_under_one_name_for_all_goes_on(tmp_path: Path) -> None:
    """As stores were begun before each had a folder of its own."""
    path = tmp_path / "o.zarr"
    broken, _ = counted(fields(), fail_at=45)
    with pytest.raises(RuntimeError, match="power cut"):
        streaming.write_zarr(broken, path, by=BY, key={})
    journal = tmp_path / ".o.zarr.partial" / "journal.jsonl"
    first, *others = journal.read_text().splitlines()
    header = json.loads(first)
    assert header.pop("store") == begun(path).name
    os.rename(begun(path), journal.with_name("store"))
    journal.write_text("\n".join([json.dumps(header), *others, ""]))
    whole, made = counted(fields())
    streaming.write_zarr(whole, path, by=BY, key={})
    xr.testing.assert_equal(xr.open_zarr(path).u.compute(), fields().u)
    assert 0 < len(made) < 100 < whole.u.data.npartitions
    assert 0 not in made


def slow(block: np.ndarray, folder: str, value: float, block_info: Any = None) -> np.ndarray:
    """One chunk takes longer than the other, which fails."""
    if block_info[0]["chunk-location"][0] == 0:
        Path(folder, "begun").touch()
        while value and not Path(folder, "go").exists():
            time.sleep(0.02)
    elif value:
        while not Path(folder, "begun").exists():
            time.sleep(0.02)
        raise RuntimeError("power cut")
    return block + np.float32(value)


def test_a_worker_of_a_cluster_writes_on_when_the_store_is_begun_anew(tmp_path: Path, cluster: Any) -> None:
    """Of the failed computation one chunk comes after the new store is complete but has no name yet."""
    path = tmp_path / "o.zarr"
    data = dask.array.zeros((2, 3), chunks=(1, 3), dtype="f4")

    def written(value: float, **options: Any) -> None:
        made = data.map_blocks(slow, str(tmp_path), value, dtype="f4")
        ds = xr.Dataset({"t": (("time", "x"), made)})
        streaming.write_zarr(ds, path, by={"time": -1}, key={}, **options)

    with pytest.raises(RuntimeError, match="power cut"):
        written(7.0)
    first = begun(path)
    finish = _journal.Journal.finish

    def late(journal: Any) -> None:
        (tmp_path / "go").touch()
        until = time.monotonic() + 60
        while not list(first.rglob("c/0/0")) and time.monotonic() < until:
            time.sleep(0.02)
        assert list(first.rglob("c/0/0"))  # the late chunk is there
        finish(journal)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_journal.Journal, "finish", late)
        written(0.0, resume=False, scheduler="threads")  # the one worker is busy
    np.testing.assert_array_equal(xr.open_zarr(path).t, 0.0)
