"""The rooms and who may call whom, from the import graph; what `import xatmo` costs; what is public."""

from __future__ import annotations

import ast
import graphlib
import importlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import xatmo

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "xatmo"
HEAVY = ("torch", "xesmf", "pyshtools", "intake", "matplotlib", "dask.array")

TORCH_ROOMS = ("nn", "train")  # tensors only
PLAIN = ("errors", "constants", "optional", "_quadrature", "_tiles")  # what every room may use, besides _kernels
BRIDGES = ("data", "model", "inference")  # tensors and labels
XARRAY_ROOMS = (
    "cf", "grids", "units", "typing", "_labels", "spectral", "regrid", "normalize", "patches", "metrics",
    "assimilation", "datasets", "catalog", "streaming", "_regions", "_store", "_journal",
    "climatology", "vertical",
)  # fmt: skip
OUTER_ROOMS = ("cli", "report", "plot", "demo", "benchmarks", "workflow")  # they see what users see


@dataclass(frozen=True)
class Import:
    """One imported module, and whether it happens when the importing module is loaded."""

    importer: str  # dotted, without the leading "xatmo."
    module: str
    at_load: bool
    line: int

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.module}"


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def room(module: str) -> str:
    return module.split(".")[0]


@cache
def modules() -> frozenset[str]:
    return frozenset(name_of(path) for path in PACKAGE.rglob("*.py"))


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def statements(tree: ast.AST, at_load: bool = True) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Every import with whether it runs at load; those for type checkers only are left out."""
    for node in ast.iter_child_nodes(tree):
        if is_for_types(node):
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, at_load
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from statements(node, at_load and not inside)


@cache
def imports(*, for_types: bool = False) -> tuple[Import, ...]:
    """What is imported when the program runs; with ``for_types`` what only type checkers import."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        importer, tree = name_of(path), ast.parse(path.read_text(encoding="utf-8"))
        parts = [node for node in ast.walk(tree) if is_for_types(node)] if for_types else [tree]
        for node, at_load in (statement for part in parts for statement in statements(part)):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                assert node.level == 0, f"{importer}:{node.lineno}: relative import"
                base = node.module or ""
                names = [base]
                for alias in node.names:  # `from xatmo import cf` imports the module xatmo.cf
                    inner = f"{base}.{alias.name}".removeprefix("xatmo.")
                    if base.startswith("xatmo") and inner in modules():
                        names = [n for n in names if n != base] + [f"xatmo.{inner}"]
            found += [Import(importer, name, at_load, node.lineno) for name in names]
    return tuple(found)


def top(module: str) -> str:
    return module.split(".")[0]


def own(module: str) -> str | None:
    """Name inside xatmo, or None for what comes from outside."""
    return module.removeprefix("xatmo.") if module.startswith("xatmo.") else None


def offenders(condition) -> list[str]:
    return [str(i) for i in imports() if condition(i)]


# ---------------------------------------------------------------------- rules
def test_only_init_imports_the_accessor() -> None:
    assert offenders(lambda i: own(i.module) == "accessor" and i.importer != "__init__") == []


def test_torch_rooms_see_no_labels() -> None:
    assert offenders(lambda i: room(i.importer) in TORCH_ROOMS and top(i.module) in ("xarray", "dask")) == []


def test_torch_rooms_use_only_plain_helpers() -> None:
    def allowed(module: str) -> bool:
        return room(module) in (*TORCH_ROOMS, *PLAIN) or module.endswith("._kernels")

    wrong = offenders(lambda i: room(i.importer) in TORCH_ROOMS and bool(own(i.module)) and not allowed(own(i.module)))
    assert wrong == []
    assert offenders(lambda i: room(i.importer) == "nn" and room(own(i.module) or "") == "train") == []


def test_the_kernels_that_torch_rooms_use_are_plain() -> None:
    used = {own(i.module) for i in imports() if room(i.importer) in TORCH_ROOMS and i.module.endswith("._kernels")}
    used |= set(PLAIN)
    assert offenders(lambda i: i.importer in used and top(i.module) in ("xarray", "dask", "torch")) == []


def test_xarray_rooms_never_import_torch() -> None:
    def engine(i: Import) -> bool:  # loaded when it is chosen
        return i.importer == "spectral._torch" and not i.at_load

    wrong = offenders(
        lambda i: room(i.importer) in XARRAY_ROOMS and top(i.module) in ("torch", "lightning") and not engine(i)
    )
    assert wrong == []
    assert offenders(lambda i: own(i.module) == "spectral._torch" and i.at_load) == []


def test_xarray_rooms_load_no_room_with_torch() -> None:
    heavy = (*TORCH_ROOMS, *BRIDGES, "tasks")
    assert (
        offenders(lambda i: i.at_load and room(i.importer) in XARRAY_ROOMS and room(own(i.module) or "") in heavy) == []
    )
    lazily = offenders(
        lambda i: (
            room(i.importer) in XARRAY_ROOMS
            and room(own(i.module) or "") in TORCH_ROOMS
            and not (room(i.importer) == "spectral" and own(i.module) == "nn.sphere")
        )
    )
    assert lazily == []


def test_only_the_bridges_import_both() -> None:
    torch = {i.importer for i in imports() if top(i.module) == "torch" and (i.at_load or room(i.importer) != "tasks")}
    labels = {i.importer for i in imports() if top(i.module) == "xarray"}
    assert {room(name) for name in torch & labels} <= set(BRIDGES)


def test_tasks_compose() -> None:
    """Numerics, loops and tilings stay in their rooms: a task may ask whether something is a network, no more."""
    assert offenders(lambda i: room(i.importer) == "tasks" and top(i.module) in ("lightning", "dask")) == []
    assert offenders(lambda i: room(i.importer) == "tasks" and top(i.module) == "torch" and i.at_load) == []


def test_one_trainer() -> None:
    assert offenders(lambda i: top(i.module) == "lightning" and room(i.importer) != "train") == []
    made = [p.name for p in PACKAGE.rglob("*.py") if re.search(r"\bTrainer\(", p.read_text(encoding="utf-8"))]
    assert len(made) <= 1, made


def test_outer_rooms_use_public_names() -> None:
    def private(module: str) -> bool:
        return any(part.startswith("_") and part != "__init__" for part in module.split("."))

    wrong = offenders(
        lambda i: (
            room(i.importer) in OUTER_ROOMS
            and private(own(i.module) or "")
            and room(own(i.module) or "") != room(i.importer)
        )
    )
    assert wrong == []
    assert (
        offenders(
            lambda i: (
                room(own(i.module) or "") in ("cli", "report", "demo", "benchmarks", "workflow")
                and room(i.importer) not in (*OUTER_ROOMS, "__main__")
            )
        )
        == []
    )


def test_imports_run_in_one_direction() -> None:
    """No circles between files, imports inside of functions and for type checkers included."""
    known: dict[str, set[str]] = {name: set() for name in modules()}
    for one in (*imports(), *imports(for_types=True)):
        module = own(one.module)
        if one.importer in known and module in known:
            known[one.importer].add(module)
    assert len(list(graphlib.TopologicalSorter(known).static_order())) == len(known)


def test_files_hold_one_idea() -> None:
    files = [*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py"), *(ROOT / "docs").rglob("*.py")]
    long = {str(p.relative_to(ROOT)): n for p in files if (n := len(p.read_text(encoding="utf-8").splitlines())) > 600}
    assert long == {}


def test_every_extra_that_is_named_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("require"):
                for keyword in node.keywords:
                    if keyword.arg == "extra" and isinstance(keyword.value, ast.Constant):
                        assert keyword.value.value in project["optional-dependencies"], f"{path.name}:{node.lineno}"


# ---------------------------------------------------------------------- import
def in_fresh_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout


def test_import_loads_nothing_heavy() -> None:
    code = "import sys, json, xatmo; print(json.dumps(list(sys.modules)))"
    loaded = set(json.loads(in_fresh_python(code)))
    assert sorted(loaded & set(HEAVY)) == []
    assert sorted(name for name in loaded if name.startswith("xatmo.")) == [
        "xatmo._axes", "xatmo._quadrature", "xatmo._ring_points", "xatmo.accessor", "xatmo.constants", "xatmo.errors",
        "xatmo.grids", "xatmo.optional", "xatmo.rings", "xatmo.typing",
    ]  # fmt: skip


def test_import_is_quick() -> None:
    """At most 0.3 s of a core over `import xarray`; the best of three, as other work on the machine only adds."""
    code = "import xarray, time; t = time.process_time(); import xatmo; print(time.process_time() - t)"
    assert min(float(in_fresh_python(code)) for _ in range(3)) < 0.3


# ---------------------------------------------------------------------- public names
@pytest.mark.parametrize("name", xatmo.__all__)
def test_public_names_resolve(name: str) -> None:
    found = getattr(xatmo, name)
    assert name in dir(xatmo)
    assert name == "__version__" or (found.__doc__ or "").strip()


def test_unknown_names_say_so() -> None:
    with pytest.raises(AttributeError, match="module 'xatmo' has no attribute 'grid'"):
        _ = xatmo.grid


def accessor_docs() -> Iterator[object]:
    for cls in ast.parse((PACKAGE / "accessor.py").read_text()).body:
        for node in cls.body if isinstance(cls, ast.ClassDef) else ():
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                yield pytest.param(ast.get_docstring(node) or "", id=node.name)


@pytest.mark.parametrize("doc", list(accessor_docs()))
def test_every_method_points_at_its_function(doc: str) -> None:
    """The docstring names the function that does the work; it exists and is documented."""
    (path,) = re.findall(r"`xatmo\.([\w.]+)`", doc)
    first, *rest = path.split(".")
    found = getattr(xatmo, first, None) or importlib.import_module(f"xatmo.{first}")
    for part in rest:
        found = getattr(found, part)
    assert (found.__doc__ or "").strip(), path


def test_methods_have_no_branches() -> None:
    """A method with an `if` belongs in its room."""
    tree = ast.parse((PACKAGE / "accessor.py").read_text())
    kinds = (ast.If, ast.For, ast.While, ast.Try)
    found = [
        f"{node.name}:{inner.lineno}"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        for inner in ast.walk(node)
        if isinstance(inner, kinds)
    ]
    assert found == []
