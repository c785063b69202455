"""The house of src/vicisync: imports go one way, and the world is touched only in the files named after it."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"

MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).replace(".__init__", ""): path
    for path in sorted((SOURCE / "vicisync").rglob("*.py"))
}

OWNERS = {
    "click": {"vicisync.commands.cli", "vicisync.commands.sending"},
    "pymysql": {"vicisync.vicidial.call_log", "vicisync.vicidial.errors"},
    "requests": {"vicisync.did_optimizer.session", "vicisync.sync.monitoring"},
    "urllib3": {"vicisync.did_optimizer.session"},
}
"""Who may import what is not Python's own."""

# The README names them; so a module that is said to be pure is held to it.
PURE = [
    f"vicisync.{name}"
    for row in re.findall(r"^\| (.*) \| decisions about data, pure \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    for name in re.findall(r"`([\w/]+)\.py`", row.replace("/", "."))
]

HARMLESS = {
    "__future__", "collections", "collections.abc", "dataclasses", "enum", "functools", "http.HTTPStatus", "ipaddress",
    "itertools", "json", "math", "re", "shlex", "time", "typing", "urllib.parse",
    "vicisync.settings.settings.Settings",  # a frozen value; what reads the files for it stays outside
}  # fmt: skip
"""What a pure module may import beside other pure ones."""

WORLDLY = {"open", "print", "input", "time.time", "time.monotonic", "time.sleep", "time.perf_counter"}
"""What it may not call for all that."""


def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def imported(module: str) -> Iterator[tuple[str, str]]:
    """Return each import, those inside functions too: the module, and with the name where one is taken from it."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{module} line {node.lineno}: name the module that is imported from"
            assert not node.level, f"{module} line {node.lineno}: name the module in full"
            yield from ((node.module, f"{node.module}.{alias.name}") for alias in node.names)


def ours(module: str) -> set[str]:
    """The modules of vicisync that one imports."""
    found = {name if name in MODULES else whole for whole, name in imported(module)}
    return {name for name in found if name in MODULES and name != module}


def test_no_import_leads_back_to_where_it_came_from() -> None:
    assert len(MODULES) == len(list(TopologicalSorter({module: ours(module) for module in MODULES}).static_order()))


@pytest.mark.parametrize("library", OWNERS)
def test_each_library_has_one_owner(library: str) -> None:
    users = {module for module in MODULES for whole, _ in imported(module) if whole.partition(".")[0] == library}
    assert OWNERS[library] >= users


@pytest.mark.skipif(sys.version_info < (3, 10), reason="this Python does not know what is its own")
def test_nothing_else_is_imported_than_the_owned_libraries_and_python_s_own() -> None:
    known = {*sys.stdlib_module_names, *OWNERS, "vicisync"}
    assert [] == [
        (module, whole) for module in MODULES for whole, _ in imported(module) if whole.partition(".")[0] not in known
    ]


def test_the_readme_names_pure_modules_and_they_exist() -> None:
    assert len(PURE) >= 6
    assert set(PURE) <= set(MODULES)


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_imports_nothing_that_touches_the_world(module: str) -> None:
    allowed = HARMLESS | set(PURE)
    assert [] == [name for whole, name in imported(module) if whole not in allowed and name not in allowed]


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_reads_no_clock_and_no_file(module: str) -> None:
    assert [] == [call for call in calls(module) if call in WORLDLY]


def test_what_python_3_9_has_no_mended_versions_of_is_not_used() -> None:
    """click.edit, a CA bundle within a zip file, brotli, drain_conn, redirects: all that has advisories open there."""
    used = {name.rpartition(".")[2] for module in MODULES for name in calls(module)}
    assert set() == used & {"edit", "extract_zipped_paths", "drain_conn"}
    source = MODULES["vicisync.did_optimizer.session"].read_text()
    assert re.findall(r'"Accept-Encoding": "(.*)"', source) == ["gzip, deflate"]
    assert re.findall(r"\bredirect=(\w+)", source) == ["False"]


def test_only_the_command_line_exits() -> None:
    exits = {"exit", "quit", "sys.exit", "os._exit", "SystemExit"}
    assert {"vicisync.commands.cli"} == {module for module in MODULES if exits & set(calls(module))}


def calls(module: str) -> list[str]:
    """The functions that are called, as they are written there."""
    return [ast.unparse(node.func) for node in ast.walk(tree(module)) if isinstance(node, ast.Call)]


def test_what_contributing_names_exists() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= targets
    paths = re.findall(r"`((?:src|tests|release|rehearsal)/[\w./*-]*)`", text)
    assert [] == [path for path in paths if not list(ROOT.glob(path.rstrip("/")))]
    (chosen,) = re.findall(r"pytest -k '(\w+)'", text)
    assert any(chosen in path.read_text() for path in (ROOT / "tests").glob("test_*.py") if path != Path(__file__))
