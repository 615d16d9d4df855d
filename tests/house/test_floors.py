"""The house's floors: imports only go down, and rooms stay small."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src"

# Which packages each package may import (beside itself).
MAY_IMPORT = {
    "core": set(),
    "stats": set(),
    "embedded": set(),
    "journal": set(),
    "audit": {"core", "journal"},
    "dialects": {"core"},
    "policy": {"core", "stats"},
    "settings": {"core"},
    "changes": {"core"},
    "exchange": {"core", "dialects", "policy", "settings"},
    "envoyapi": set(),
    "extproc": {"core", "dialects", "policy", "settings", "exchange", "envoyapi"},
    "xds": {"core", "dialects", "policy", "settings", "exchange", "envoyapi"},
    "metrics": set(),
    "records": {"core", "dialects", "policy", "envoyapi", "journal", "metrics"},
    "budgets": {"core", "policy", "metrics"},
    "prices": {"core"},
    "simulation": {"core", "dialects", "policy", "exchange", "stats"},
    "ledger": {"core", "policy", "records", "simulation", "embedded", "journal"},
    "trials": {"core", "dialects", "policy", "settings", "stats", "budgets", "evals"},
    "traffic": {"core", "dialects", "policy", "embedded"},
    "secrets": {"core", "policy"},
    "revisions": {"core", "budgets", "dialects", "settings", "prices", "secrets"},
    "telemetry": {"core", "dialects", "journal", "traffic"},
    "console": {
        "core",
        "dialects",
        "policy",
        "settings",
        "changes",
        "ledger",
        "revisions",
        "journal",
        "stats",
        "evals",
    },
    "simulator": set(),
    "drill": {"core", "dialects", "policy", "settings"},
    "evals": {"core", "stats", "dialects", "policy", "settings", "drill"},
    "cli": {
        "audit",
        "stats",
        "evals",
        "journal",
        "changes",
        "revisions",
        "console",
        "core",
        "dialects",
        "policy",
        "settings",
        "exchange",
        "envoyapi",
        "extproc",
        "xds",
        "records",
        "budgets",
        "prices",
        "ledger",
        "trials",
        "traffic",
        "secrets",
        "telemetry",
        "metrics",
        "simulation",
        "simulator",
        "drill",
    },
}
# What the pure floors may use beside the standard library.
PURE = {
    "core": set(),
    "stats": {"numpy"},
    "dialects": {"msgspec"},
    "policy": {"msgspec"},
    "changes": set(),
    "settings": {"pydantic", "pydantic_core", "yaml", "msgspec"},
    "exchange": {"msgspec"},
    "simulation": {"msgspec"},
}
# The rest of `drill` is pure too: what is drilled, what is promised, and what is made of it.
SHELLS_OF_DRILL = {"load.py", "rehearsal.py", "run.py", "soak.py"}
# Of `evals`: calls, the disk, and a user's own code.
SHELLS_OF_EVALS = {"client.py", "folder.py", "kept.py", "runner.py", "turns.py", "custom.py"}
# Of `telemetry`: the way to a collector, and what follows the journal.
SHELLS_OF_TELEMETRY = {"delivery.py", "follow.py", "follow_content.py", "lines.py", "sending.py"}
# Modules of the standard library that are I/O, clocks or chance.
IMPURE = {
    "asyncio",
    "datetime",
    "http",
    "logging",
    "os",
    "random",
    "socket",
    "subprocess",
    "threading",
    "time",
}
# The door of settings reads files; nothing else on the pure floors does.
DOORS = {"settings/files.py", "settings/builtin.py", "settings/providers.py", "settings/reference.py"}


def modules() -> list[Path]:
    return sorted(path for path in SRC.rglob("*.py") if path.parent != SRC)


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """(absolute module name, line) of every import in a file."""
    parts = path.relative_to(SRC).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or "", node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = ("modelbroker", *parts)[: len(parts) + 1 - node.level]
            if node.module:
                yield ".".join([*base, node.module]), node.lineno
            else:
                yield from ((".".join([*base, alias.name]), node.lineno) for alias in node.names)


def test_every_package_has_a_floor() -> None:
    packages = {path.name for path in SRC.iterdir() if (path / "__init__.py").exists()}
    assert packages == set(MAY_IMPORT)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SRC)))
def test_imports_go_down(path: Path) -> None:
    package = path.relative_to(SRC).parts[0]
    for name, line in imports(path):
        if name.split(".")[0] == "modelbroker" and len(name.split(".")) > 1:
            other = name.split(".")[1]
            allowed = other == package or other in MAY_IMPORT[package] or other == "__version__"
            assert allowed, f"{path.name}:{line}: {package} must not import {other}"


@pytest.mark.parametrize("package", sorted(PURE))
def test_the_core_is_pure(package: str) -> None:
    import sys

    for path in sorted((SRC / package).rglob("*.py")):
        for name, line in imports(path):
            top = name.split(".")[0]
            where = f"{path.relative_to(SRC)}:{line}: {name}"
            if top in sys.stdlib_module_names:
                assert top not in IMPURE or str(path.relative_to(SRC)) in DOORS, where
            elif top != "modelbroker":
                assert top in PURE[package], where


def test_a_drills_judgement_is_pure() -> None:
    for path in sorted((SRC / "drill").glob("*.py")):
        if path.name not in SHELLS_OF_DRILL:
            used = {name.split(".")[0] for name, _ in imports(path)}
            assert not used & IMPURE, path.name


def test_what_an_evaluation_makes_of_calls_is_pure() -> None:
    for path in sorted((SRC / "evals").glob("*.py")):
        if path.name not in SHELLS_OF_EVALS:
            used = {name.split(".")[0] for name, _ in imports(path)}
            assert not used & IMPURE, path.name


def test_what_a_collector_is_told_is_pure() -> None:
    for path in sorted((SRC / "telemetry").glob("*.py")):
        if path.name not in SHELLS_OF_TELEMETRY:
            used = {name.split(".")[0] for name, _ in imports(path)}
            assert not used & IMPURE, path.name


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SRC)))
def test_rooms_stay_small(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 500, f"{path.name} has outgrown 500 lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= 70, f"{path.name}:{node.lineno} {node.name}: {lines} lines"
