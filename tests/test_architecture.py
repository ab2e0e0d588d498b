"""Rules of the house that no single module can break for itself: import directions, types, style.

The directions stand in setup.cfg and are checked by import-linter, which follows chains of imports. The
one that matters most is that no chain leads from a face to the signing keys, so a test here builds such a
chain and expects the contract to see it.
"""

import ast
import configparser
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROGRAMS = Path(sys.executable).parent
GENERATED = {"export_file_pb2.py"}
MODULES = [path for path in sorted((ROOT / "registry").rglob("*.py")) if path.name not in GENERATED]
TEST_MODULES = sorted((ROOT / "tests").rglob("*.py"))

REFUSED_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "service", "base",
                 "handler", "handlers", "processor", "data", "info"}  # fmt: skip


def _relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _run(*command: str, folder: Path = ROOT) -> None:
    outcome = subprocess.run(
        [str(PROGRAMS / command[0]), *command[1:]], cwd=folder, capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 0, f"{outcome.stdout}\n{outcome.stderr}"


# ---------------------------------------------------------- import directions


def test_imports_follow_the_contracts() -> None:
    _run("lint-imports", "--config", "setup.cfg", "--no-cache")


FORBIDDEN_CHAINS = {
    "a face that signs": ("faces/hardening.py", "import registry.signing.file_key"),
    "a face that publishes": ("faces/public/__init__.py", "import registry.lifecycle.publish"),
    "a face that signs through a stage": ("lifecycle/authorize.py", "import registry.signing.file_key"),
    "a face that reads the settings": ("faces/problems.py", "import registry.config"),
    "a face that imports another": ("faces/portal/__init__.py", "import registry.faces.device"),
    "a stage that knows the web": ("lifecycle/collect.py", "import flask"),
    "a table that knows the web": ("models/bases.py", "import flask"),
    "a protocol with a database": ("protocol/keys.py", "import sqlalchemy"),
    "a phone that brings a server": ("client/__init__.py", "import flask"),
    "storage that knows the protocol": ("storage/local.py", "import registry.protocol.keys"),
    "a circle": ("errors.py", "import registry.protocol.keys"),
}


@pytest.mark.parametrize("story", FORBIDDEN_CHAINS)
def test_the_contracts_see_what_they_are_there_for(story: str, tmp_path: Path) -> None:
    path, line = FORBIDDEN_CHAINS[story]
    shutil.copytree(ROOT / "registry", tmp_path / "registry", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(ROOT / "setup.cfg", tmp_path / "setup.cfg")
    culprit = tmp_path / "registry" / path
    culprit.write_text(f"{culprit.read_text()}\n{line}\n")

    with pytest.raises(AssertionError, match="BROKEN"):
        _run("lint-imports", "--config", "setup.cfg", "--no-cache", folder=tmp_path)


def test_every_module_has_its_layer() -> None:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    layers = settings["importlinter:contract:layers"]["layers"].replace("|", "\n").split()

    def has_layer(path: Path) -> bool:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        return any(f"{name}.".startswith(f"{layer}.") for layer in layers)

    # The two packages that only hold others import nothing, so they need no layer.
    maps = {"registry/__init__.py", "registry/faces/__init__.py"}
    for package in maps:
        assert not list(_imports(_tree(ROOT / package)))
    assert [_relative(path) for path in MODULES if not has_layer(path) and _relative(path) not in maps] == []


# ------------------------------------------------------------ types and style


def test_types_hold() -> None:
    _run("mypy")


def test_ruff_finds_nothing() -> None:
    _run("ruff", "check", "registry", "tests")


def test_every_module_says_what_it_is() -> None:
    """A folder of tests may be a package by an empty file; anything else opens with its docstring."""
    written = [*MODULES, *(path for path in TEST_MODULES if path.read_text().strip())]
    assert [_relative(path) for path in written if not ast.get_docstring(_tree(path))] == []


def test_imports_stand_at_the_top() -> None:
    inside = [
        f"{_relative(path)}:{node.lineno}"
        for path in MODULES
        for function in ast.walk(_tree(path))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in _imports(function)
    ]
    assert inside == []


def test_names_of_modules_say_something() -> None:
    parts = {part for path in MODULES for part in path.relative_to(ROOT).with_suffix("").parts}
    assert parts & REFUSED_NAMES == set()


def test_only_the_edge_commits() -> None:
    """`transaction()` is the one commit; of the stages only publishing and retiring open it.

    An ordinary upload is one statement, which commits by itself.
    """
    commits_by_itself = ("registry/models/sessions.py", "registry/migrations/")
    opens_transactions = (*commits_by_itself, "registry/faces/", "registry/cli/", "registry/app.py",
                          "registry/publisher.py", "registry/lifecycle/publish",
                          "registry/lifecycle/retire", "registry/models/lease.py")  # fmt: skip
    for path in MODULES:
        called = set(_called(_tree(path)))
        name = _relative(path)
        assert "commit" not in called or name.startswith(commits_by_itself), f"{name} commits"
        single = ("registry/lifecycle/collect.py", "registry/lifecycle/authorities.py")
        assert "committing_each" not in called or name in single, f"{name} commits by statements"
        assert "transaction" not in called or name.startswith(opens_transactions), f"{name} opens one"


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def _imports(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom))


def _called(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node.func.attr
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id
