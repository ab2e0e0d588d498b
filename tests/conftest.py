"""What every test may ask for: both databases in both kinds, a clock, programs of the system.

A test that asks for `issuing_url`, `collecting_url` or a session runs twice, on SQLite and on PostgreSQL.
The PostgreSQL half is never left out unseen: a full run in which it did not run as often as its SQLite
twin fails, and the summary says how often it did.
"""

import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import MetaData, create_engine
from sqlalchemy.orm import Session

from registry.models import CollectingBase, IssuingBase, open_database
from tests import system_tools
from tests.clock import FakeClock
from tests.postgres import PostgresServer
from tests.storage.seaweedfs import SeaweedServer, seaweed_server
from tests.world import World

# How long an example takes is the machine's affair: a busy one must not make a property false.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")

HALVES = {"issuing": IssuingBase.metadata, "collecting": CollectingBase.metadata}

SERVER = pytest.StashKey[PostgresServer]()
RAN = pytest.StashKey[Counter[tuple[str, bool]]]()
"""How many tests ran, by (backend, whether the same test exists on the other backend)."""


# ---------------------------------------------------------------- fixtures


@pytest.fixture
def clock() -> FakeClock:
    """Stands at 2026-06-15T12:00:00Z until the test moves it."""
    return FakeClock()


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> str:
    """The kind of database that this run of the test is on."""
    return str(request.param)


@pytest.fixture(scope="session")
def sqlite_templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A SQLite file of each half with all its tables, to be copied."""
    folder = tmp_path_factory.mktemp("sqlite-templates")
    for half, metadata in HALVES.items():
        engine = create_engine(f"sqlite:///{folder / half}")
        metadata.create_all(engine)
        engine.dispose()
    return {half: folder / half for half in HALVES}


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> PostgresServer:
    """The running server that all of this test run shares."""
    server = request.config.stash[SERVER]
    server.start()
    return server


@pytest.fixture(scope="session")
def seaweed() -> Iterator[SeaweedServer]:
    """An S3 server for this worker's tests. Each takes a prefix of its own."""
    with seaweed_server() as server:
        yield server


@pytest.fixture
def fresh_database(
    backend: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[[str], str]]:
    """Function from a half's name to the URL of a new database with its tables."""
    with ExitStack() as databases:

        def on_sqlite(half: str) -> str:
            path = tmp_path / f"{half}.sqlite3"
            shutil.copyfile(request.getfixturevalue("sqlite_templates")[half], path)
            return f"sqlite:///{path}"

        def on_postgresql(half: str) -> str:
            server: PostgresServer = request.getfixturevalue("postgres_server")
            return databases.enter_context(server.fresh(server.template(HALVES[half], half)))

        yield on_sqlite if backend == "sqlite" else on_postgresql


@pytest.fixture
def empty_database(
    backend: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[[str], str]]:
    """Function from a name to the URL of a new database without any table, for what migrates by itself."""
    with ExitStack() as databases:

        def on_sqlite(name: str) -> str:
            return f"sqlite:///{tmp_path / name}.sqlite3"

        def on_postgresql(name: str) -> str:
            server: PostgresServer = request.getfixturevalue("postgres_server")
            return databases.enter_context(server.fresh(server.template(MetaData(), "empty")))

        yield on_sqlite if backend == "sqlite" else on_postgresql


@pytest.fixture
def world(backend: str, request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[World]:
    """A whole registry in this process, at the time that `clock` tells."""
    with ExitStack() as databases:

        def url(half: str) -> str:
            if backend == "sqlite":
                return f"sqlite:///{tmp_path / half}.sqlite3"
            server: PostgresServer = request.getfixturevalue("postgres_server")
            return databases.enter_context(server.fresh(server.migrated(half)))

        yield World(tmp_path / "var", url("issuing"), url("collecting"), clock)


@pytest.fixture
def issuing_url(fresh_database: Callable[[str], str]) -> str:
    """URL of an empty issuing database: all tables, no rows."""
    return fresh_database("issuing")


@pytest.fixture
def collecting_url(fresh_database: Callable[[str], str]) -> str:
    """URL of an empty collecting database: all tables, no rows."""
    return fresh_database("collecting")


@pytest.fixture
def issuing_session(issuing_url: str) -> Iterator[Session]:
    """A session on `issuing_url`; the test commits with `transaction(session)`, as a face does."""
    yield from _session(issuing_url)


@pytest.fixture
def collecting_session(collecting_url: str) -> Iterator[Session]:
    """A session on `collecting_url`; the test commits with `transaction(session)`, as a face does."""
    yield from _session(collecting_url)


def _session(url: str) -> Iterator[Session]:
    engine = open_database(url)
    with Session(engine) as session:
        yield session
    engine.dispose()


@pytest.fixture
def system_tool() -> Callable[[str], str]:
    """Function from a tool's name (`tests/system_tools.py`) to its path. Without it: skip, or in CI fail."""

    def path_of(tool: str) -> str:
        path = system_tools.find(tool)
        if path is not None:
            return path
        message = f"{tool} is not installed: it {system_tools.PURPOSES[tool]}"
        if system_tools.required():
            pytest.fail(message)
        pytest.skip(message)

    return path_of


# ------------------------------------------- one server for all the workers


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "postgresql: needs a PostgreSQL server; set by the `backend` fixture")
    config.stash[RAN] = Counter()
    worker_input: dict[str, Any] | None = getattr(config, "workerinput", None)
    if worker_input is None:
        config.stash[SERVER] = PostgresServer.prepare()
    else:
        config.stash[SERVER] = PostgresServer(Path(worker_input["postgres_folder"]))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["postgres_folder"] = str(node.config.stash[SERVER].folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput") and SERVER in config.stash:
        config.stash[SERVER].stop()


# --------------------------------------- PostgreSQL is counted, never skipped


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Write down at each test which backend it is on, and whether it has a twin on the other."""
    backends_of: dict[str, set[str]] = defaultdict(set)
    for item in items:
        backends_of[_name_without_parameters(item)].add(_backend_of(item))
    for item in items:
        if _backend_of(item) == "postgresql":
            item.add_marker("postgresql")
        has_twin = {"sqlite", "postgresql"} <= backends_of[_name_without_parameters(item)]
        item.user_properties.append(("backend", (_backend_of(item), has_twin)))


def _name_without_parameters(item: pytest.Item) -> str:
    return item.nodeid.partition("[")[0]


def _backend_of(item: pytest.Item) -> str:
    if item.get_closest_marker("postgresql"):
        return "postgresql"
    call = getattr(item, "callspec", None)
    return str(call.params.get("backend", "none")) if call else "none"


@pytest.hookimpl(wrapper=True)
def pytest_report_teststatus(report: Any, config: pytest.Config) -> Iterator[None]:
    """Every result passes here on the process that prints, whichever worker it came from."""
    if getattr(report, "when", None) == "call" and report.outcome != "skipped":
        backend, has_twin = dict(report.user_properties)["backend"]
        config.stash[RAN][backend, has_twin] += 1
    return (yield)


def _is_full_run(config: pytest.Config) -> bool:
    option = config.option
    narrowed = option.keyword or option.markexpr or option.collectonly or getattr(option, "deselect", None)
    whole = {pytest.Config.ArgsSource.TESTPATHS, pytest.Config.ArgsSource.INVOCATION_DIR}
    return not narrowed and not getattr(option, "lf", False) and config.args_source in whole


def _postgresql_fault(config: pytest.Config) -> str | None:
    ran = config.stash[RAN]
    if not _is_full_run(config):
        return None
    if not ran["postgresql", True] + ran["postgresql", False]:
        return "no test ran on PostgreSQL"
    if ran["postgresql", True] < ran["sqlite", True]:
        return f"only {ran['postgresql', True]} of {ran['sqlite', True]} SQLite tests ran on PostgreSQL too"
    return None


def pytest_sessionfinish(session: pytest.Session) -> None:
    is_worker = hasattr(session.config, "workerinput")
    if not is_worker and session.exitstatus == pytest.ExitCode.OK and _postgresql_fault(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    ran = config.stash[RAN]
    terminalreporter.section("databases and system tools")
    for backend in ("postgresql", "sqlite"):
        terminalreporter.write_line(f"ran on {backend}: {ran[backend, True] + ran[backend, False]} tests")
    missing = system_tools.missing()
    terminalreporter.write_line(f"system tools missing: {', '.join(missing) or 'none'}")
    if fault := _postgresql_fault(config):
        terminalreporter.write_line(f"FAILED: {fault}", red=True)
