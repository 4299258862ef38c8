"""The folder in which a result grows out of sight: what it is made from, which parts are in place, and its last step.

Beside a result ``name`` lies, until it is complete, the folder ``.name.partial`` with the result so far and
``journal.jsonl``: a first line that says what is being made, then one line for each finished part. A line is written
after its data are in place, so that a process may be killed at any moment: what the journal names is there, the rest is
made again. The finished result takes its name by one renaming, and what stood there before is removed after that.

What is begun anew has a folder ``store-...`` of its own, which the first line names: what workers of a cluster still
write after a computation has failed lands in a folder that nobody asks for.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from xatmo.errors import ConfigError

try:
    import fcntl
except ImportError:  # not on Windows, where two writers are the user's own affair
    fcntl = None  # type: ignore[assignment]


_STORE: Final = "store"  # under which the first line names the folder


class Journal:
    """Parts of one result that are in place.

    Parameters
    ----------
    path : path
        Where the finished result is to stand.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path.with_name(f".{path.name}.partial")
        self.store = self.folder / "store"  # of what was begun before each beginning had its own
        self.done: set[str] = set()
        self._file = self.folder / "journal.jsonl"
        self._replaced = self.folder / "replaced"

    # ------------------------------------------------------------------ what is there
    def header(self) -> dict[str, Any] | None:
        """Read what was begun here, and which parts are done; None if nothing was."""
        try:
            content = self._file.read_bytes()
        except FileNotFoundError:
            return None
        whole = content.rfind(b"\n") + 1
        if whole < len(content):  # the last line of a process that was killed while it wrote
            os.truncate(self._file, whole)
        entries = [json.loads(line) for line in content[:whole].splitlines()]
        if not entries:
            return None
        self.done = {part for entry in entries[1:] for part in entry["done"]}
        header: dict[str, Any] = entries[0]
        self.store = self.folder / header.pop(_STORE, "store")
        return header

    def begin(self, header: dict[str, Any]) -> None:
        """Say what is being made; its empty store has to be there already."""
        part = self._file.with_suffix(".part")
        part.write_text(json.dumps({**header, _STORE: self.store.name}) + "\n", encoding="utf-8")
        os.replace(part, self._file)
        self.done = set()

    def add(self, parts: Sequence[str]) -> None:
        """Note that the data of some parts are in place."""
        with open(self._file, "ab") as file:
            file.write(json.dumps({"done": list(parts)}).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.done |= set(parts)

    # ------------------------------------------------------------------ first and last step
    def clear(self) -> None:
        """Remove what was begun, and name the store of what begins now."""
        if self._replaced.exists() and not self.path.exists():  # killed between the two renamings of `finish`
            os.rename(self._replaced, self.path)
        self._file.unlink(missing_ok=True)  # without its journal, a store is nothing
        for store in (*self.folder.glob("store"), *self.folder.glob("store-*")):
            _remove(store)
        self.store = self.folder / f"store-{secrets.token_hex(4)}"

    def finish(self) -> None:
        """Give the store its name; what had that name before is removed after that."""
        if self.path.exists():
            _remove(self._replaced)
            os.rename(self.path, self._replaced)
        os.rename(self.store, self.path)
        self.tidy()

    @property
    def only_to_be_tidied(self) -> bool:
        """Whether the result stands complete, and a process was killed while it removed its traces."""
        return self.path.exists() and not self.store.exists() and self._file.exists()

    def tidy(self) -> None:
        """Remove the traces."""
        _remove(self._replaced)
        self._file.unlink(missing_ok=True)
        _remove(self.folder)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from writing the same result.

        Raises
        ------
        ConfigError
            If one does.
        """
        self.folder.mkdir(exist_ok=True)
        handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT)
        try:
            if fcntl is not None:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    message = f"another process is writing {self.path}; wait for it, or end it first"
                    raise ConfigError(message) from error
                except OSError:  # a file system that knows no locks
                    pass
            yield
        finally:
            os.close(handle)


def _remove(path: Path) -> None:
    """Remove a file or a folder.

    Of a folder something may stay into which a computation that failed is still writing: it goes with what is removed
    the next time.
    """
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return
    try:
        shutil.rmtree(path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            raise
