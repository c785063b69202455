"""The house of src/vicisync: its rooms, who may know whom, who touches the world, and how large it may grow."""

import ast
import re
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"

MODULES = {
    ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).replace(".__init__", ""): path
    for path in sorted((ROOT / "src" / "vicisync").rglob("*.py"))
}

# The rooms from the top down; each may import from those below it. The last is vicisync itself, which is its version.
WORLDS = {"did_optimizer", "vicidial", "state", "report"}  # none of them knows another; report has output.py, too
FLOORS = [{"__main__"}, {"commands"}, {"sync"}, WORLDS, {"settings"}, {"calls"}, {"errors"}, {""}]

OWNERS = {  # who may import what is not Python's own
    "click": r"vicisync\.commands(\..+)?",
    "pymysql": r"vicisync\.vicidial\..+",
    "requests": r"vicisync\.(did_optimizer\..+|sync\.monitoring)",
    "urllib3": r"vicisync\.(did_optimizer\..+|sync\.monitoring)",
}

# The modules whose functions take values and return values, and what they may import beside other such.
PURE = re.compile(r"vicisync\.(calls\..+|state\.checkpoint|state\.identity|did_optimizer\.answer)")
HARMLESS = {
    "__future__", "bisect.bisect_left", "calendar.timegm", "collections", "collections.abc", "contextlib.suppress",
    "dataclasses", "enum", "functools", "http.HTTPStatus", "ipaddress", "itertools", "json", "math",
    "operator.attrgetter", "re", "shlex", "time", "typing", "urllib.parse", "zlib",
    "vicisync.errors", "vicisync.settings.settings.Settings",  # values; what reads files for them stays outside
}  # fmt: skip

TESTED_ELSEWHERE = {  # modules without a test module at their own place, and why
    "vicisync": "is nothing but the version, which test_cli has printed",
    "vicisync.__main__": "test_cli starts it with python -m",
    "vicisync.commands.sending": "what run and retry-rejected have in common: test_cli and test_retry_rejected",
    "vicisync.commands.typed": "test_cli types all of it, mistakes included",
    "vicisync.commands.telling": "test_cli and test_unread: whatever a command says goes through it",
    "vicisync.did_optimizer.failure": "test_session has every failure that a session can meet",
    "vicisync.did_optimizer.attempt": "test_delivery has it at work, as nobody else uses it",
    "vicisync.vicidial.pages": "test_call_log reads all of its pages from real tables",
    "vicisync.state.records": "test_journal asks it what runs have written",
    "vicisync.sync.outlook": "test_explain has a call in every state",
    "vicisync.sync.reconciling": "test_reconcile has every standing of a call",
    "vicisync.settings.parsers": "test_settings has each setting's texts, good and bad",
}

TREES = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in MODULES.items()}
LINES = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in MODULES.items()}


def room(module: str) -> str:
    name = module.partition(".")[2].partition(".")[0]
    return "report" if name == "output" else name


FLOOR = {module: next(n for n, rooms in enumerate(FLOORS) if room(module) in rooms) for module in MODULES}
"""Where each module lies; one that lies in no room is an error here."""


def imported(module: str) -> Iterator[tuple[str, str]]:
    """Return each import, those inside functions too: the module, and with the name where one is taken from it."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            yield from ((alias.name, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{module} line {node.lineno}: name the module that is imported from"
            assert not node.level, f"{module} line {node.lineno}: name the module in full"
            yield from ((node.module, f"{node.module}.{alias.name}") for alias in node.names)


def ours(module: str) -> set[str]:
    """Return the modules of vicisync that one imports."""
    found = {name if name in MODULES else whole for whole, name in imported(module)}
    return {name for name in found if name in MODULES and name != module}


def calls(module: str) -> list[tuple[str, int]]:
    """Return the functions that are called, as they are written there, and with how many arguments."""
    nodes = ast.walk(TREES[module])
    return [(ast.unparse(node.func), len(node.args)) for node in nodes if isinstance(node, ast.Call)]


def test_imports_lead_down_or_stay_in_their_room() -> None:
    pairs = [(module, name) for module in MODULES for name in ours(module) if room(module) != room(name)]
    assert [] == [f"{module} imports {name}" for module, name in pairs if FLOOR[module] >= FLOOR[name]]


def test_no_import_leads_back_to_where_it_came_from() -> None:
    assert len(MODULES) == len(list(TopologicalSorter({module: ours(module) for module in MODULES}).static_order()))


def test_each_library_is_known_in_one_place() -> None:
    users = [(module, whole.partition(".")[0]) for module in MODULES for whole, _ in imported(module)]
    assert [] == [user for user in users if not re.fullmatch(OWNERS.get(user[1], ".*"), user[0])]


def test_nothing_else_is_imported_than_these_libraries_and_python_s_own() -> None:
    used = {whole.partition(".")[0] for module in MODULES for whole, _ in imported(module)}
    assert set() == used - {*sys.stdlib_module_names, *OWNERS, "vicisync"}


def test_only_the_command_line_exits() -> None:
    exits = {"exit", "quit", "sys.exit", "os._exit", "SystemExit"}
    assert {"vicisync.commands.cli"} == {module for module in MODULES if exits & {name for name, _ in calls(module)}}


@pytest.mark.parametrize("module", [module for module in MODULES if PURE.fullmatch(module)])
def test_a_pure_module_imports_nothing_of_the_world_and_reads_no_clock_and_no_file(module: str) -> None:
    harmless = {name for pair in imported(module) for name in pair if name in HARMLESS or PURE.fullmatch(name)}
    assert [] == [name for whole, name in imported(module) if not {whole, name} & harmless]
    found = calls(module)
    assert set() == {name for name, _ in found} & {"open", "print", "input", "time.sleep"}
    clock = [name for name, arguments in found if name.startswith("time.") and arguments < 1 + (name[5:] == "strftime")]
    assert [] == clock, "time.localtime(epoch) may be"


def test_a_function_has_50_lines_at_most_a_module_240_and_all_of_it_7700() -> None:
    assert 7700 >= sum(LINES.values())
    assert {} == {module: lines for module, lines in LINES.items() if lines > 240}
    nodes = [node for module in MODULES for node in ast.walk(TREES[module])]
    functions = [node for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    assert [] == [each.name for each in functions if (each.end_lineno or 0) - each.lineno >= 50]


def test_the_tests_lie_where_what_they_test_lies() -> None:
    """A package within a room may be tested as one: ``commands/check/`` by ``commands/test_check.py``."""
    homeless = set()
    for module in MODULES:
        *rooms, name = module.split(".")[1:] or ["vicisync"]
        own, of_package = [*rooms, f"test_{name}.py"], [*rooms[:-1], f"test_{''.join(rooms[-1:])}.py"]
        if LINES[module] and not any(TESTS.joinpath(*place).exists() for place in (own, of_package)):
            homeless.add(module)
    assert set(TESTED_ELSEWHERE) == homeless
    folders = {path.parent.name for path in TESTS.glob("*/__init__.py")}
    assert {"repository"} == folders - set().union(*FLOORS)


def test_what_contributing_names_exists_as_do_the_readme_s_targets() -> None:
    readme, text = ((ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md"))
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", f"{readme}\n{text}", re.MULTILINE)) <= targets
    paths = re.findall(r"`((?:src|tests|release|rehearsal)/[\w./*-]*)`", text)
    assert [] == [path for path in paths if not list(ROOT.glob(path.rstrip("/")))]
    (chosen,) = re.findall(r"pytest -k '(\w+)'", text)
    assert any(chosen in path.read_text() for path in TESTS.rglob("test_*.py") if path != Path(__file__))
