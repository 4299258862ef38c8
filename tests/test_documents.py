"""The code blocks of the README and the guides run word for word, one after the other, in an empty directory."""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs" / "guide").glob("*.md"))]
# What installs, what has its own tests, and what reaches out.
LEFT_OUT = ("pip install", "xatmo demo", "# needs the internet")


def blocks(document: Path) -> list[tuple[str, str, int]]:
    """Language, code and first line of every block."""
    text = document.read_text(encoding="utf-8")
    found = re.finditer(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [(m[1], m[2], text[: m.start(2)].count("\n")) for m in found if not any(s in m[2] for s in LEFT_OUT)]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_code_is_code(document: Path) -> None:
    for language, code, line in blocks(document):
        assert language in ("python", "bash")
        if language == "python":
            compile("\n" * line + code, document, "exec")


@pytest.mark.slow
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_code_runs_word_for_word(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    names: dict[str, Any] = {"__name__": "__main__"}
    for language, code, line in blocks(document):
        if language == "python":
            exec(compile("\n" * line + code, document, "exec"), names)
        else:
            done = subprocess.run(
                ["bash", "-e", "-c", code],
                env={**os.environ, "PATH": path},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{document.name}, line {line}: {done.stdout}{done.stderr}"
