"""How many uploads a second the registry takes over HTTP, every one of them on the disk when it is answered.

PostgreSQL waits for the disk at each commit. By turns on the same server: pgbench, inserting the bare rows or
running the very statement of an upload, or a bare WSGI handler (`bare_uploads`).
"""

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import psycopg
from sqlalchemy import MetaData

from registry.cli.run import web_command
from registry.config import read_settings
from registry.faces import database as faces
from tests.bench.durable import durable_server, libpq
from tests.bench.measure import Measurement, Pair, Target
from tests.bench.pgbench import BARE_TRANSACTION, pgbench, script, statement_as_sent
from tests.bench.traffic import Issuer, send_all
from tests.running import Running, free_port

ROOT = Path(__file__).parents[2]

SECONDS = 4
"""About as long a run of either side takes."""
WARM_UP = 200
CONNECTIONS = 8
WEB_PROCESSES = 2
DATABASE_CONNECTIONS = WEB_PROCESSES * faces.CONNECTIONS
HELD_CONNECTIONS = 400
"""Each can have three or four answers a second, which are held: enough for more than the machine can do."""


@contextmanager
def _registry(hold_milliseconds: int) -> Iterator[tuple[Running, str]]:
    """A registry on a durable PostgreSQL, and the URL of the half that takes uploads."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="registry-bench-")))
        server = stack.enter_context(durable_server())
        empty = server.template(MetaData(), "empty")
        issuing, collecting = (stack.enter_context(server.fresh(empty)) for _ in range(2))
        running = Running(
            folder / "var",
            REGISTRY_ISSUING_DATABASE_URL=issuing,
            REGISTRY_COLLECTING_DATABASE_URL=collecting,
            REGISTRY_WEB_PROCESSES=str(WEB_PROCESSES),
            REGISTRY_ANSWER_HOLD_MILLISECONDS=str(hold_milliseconds),
            # No window ends while uploads are measured, so that nothing else is.
            REGISTRY_WINDOW_SECONDS="86400",
        )
        stack.callback(running.stop)
        running.start()
        # Its decoys are stored, and the shelves of that window closed, before anything is measured.
        running.wait_until(lambda: "published XA window 1 " in running.log_path.read_text())
        yield running, collecting


Made = Callable[[], list[bytes]]
"""Makes the uploads of one run."""
Limit = Callable[[Running, str, int], AbstractContextManager[Callable[[Made], float]]]
"""(registry, URL of its collecting half, connections) → one run's figure, in uploads a second."""


@contextmanager
def _uploads(connections: int, hold_milliseconds: int, limit: Limit) -> Iterator[Pair]:
    with ExitStack() as stack:
        running, collecting = stack.enter_context(_registry(hold_milliseconds))
        before = _stored(collecting)  # decoys' keys of the first window
        issuer = Issuer(running)
        found = send_all(running.port, issuer.requests(WARM_UP), connections)
        a_run = max(2 * connections, int(found * SECONDS))
        at_limit = stack.enter_context(limit(running, collecting, connections))
        made = WARM_UP

        def fresh() -> list[bytes]:
            nonlocal made
            made += a_run
            return issuer.requests(a_run)

        yield Pair(lambda: send_all(running.port, fresh(), connections), lambda: at_limit(fresh))
        _check_all_stored(collecting, before + 14 * made)


def _check_all_stored(url: str, keys: int) -> None:
    """An upload that stores nothing would be fast. (pgbench's rows lie on no shelf, or are a traveller's.)"""
    stored = _stored(url)
    if stored != keys:
        raise RuntimeError(f"{stored} keys were stored of {keys} that were acknowledged")


def _stored(url: str) -> int:
    with psycopg.connect(libpq(url)) as connection:
        shelved = "SELECT count(*) FROM diagnosis_key WHERE shelf_id IS NOT NULL AND NOT traveler"
        (stored,) = connection.execute(shelved).fetchone() or (0,)
        return int(stored)


@contextmanager
def _bare_rows(_running: Running, url: str, connections: int) -> Iterator[Callable[[Made], float]]:
    with script(BARE_TRANSACTION) as path:
        yield lambda _made: pgbench(path, url, connections, SECONDS)


@contextmanager
def _same_statement(_running: Running, url: str, connections: int) -> Iterator[Callable[[Made], float]]:
    """By as many clients as there are phones, and as many as the registry has connections: the faster.

    Hundreds of sessions at once choke PostgreSQL, which the registry does not do to it.
    """
    with script(statement_as_sent(url)) as path:
        yield lambda _made: max(
            pgbench(path, url, clients, SECONDS) for clients in (connections, DATABASE_CONNECTIONS)
        )


@contextmanager
def _bare_handler(running: Running, _url: str, connections: int) -> Iterator[Callable[[Made], float]]:
    """The registry's own web server, with another application in it."""
    port = free_port()
    environment = {**running.environment, "REGISTRY_PORT": str(port)}
    with patch.dict(os.environ, environment, clear=True):
        command = web_command(read_settings())
    served = command.index("registry.app:embedded()")
    command[served] = "tests.bench.bare_uploads:application()"
    server = subprocess.Popen(command, env=environment, cwd=ROOT)
    try:
        running.wait_until(lambda: _is_open(port))
        yield lambda made: send_all(port, made(), connections)
    finally:
        server.terminate()
        server.wait()


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _against(limit: str, clients: str) -> str:
    return f"{limit} on the same PostgreSQL, fsync on, {clients}. Ours: "


MEASUREMENTS = (
    Measurement(
        name="uploads_per_second_http_postgresql",
        unit="uploads/s",
        against=_against("pgbench committing the bare 14 rows", f"{CONNECTIONS} clients")
        + "14 keys, verified, stored, answered; the answer's hold off",
        target=Target(0.25),
        prepare=lambda: _uploads(CONNECTIONS, 0, _bare_rows),
    ),
    Measurement(
        name="uploads_per_second_http_postgresql_held",
        unit="uploads/s",
        against=_against(
            "pgbench running the one statement that an upload runs",
            f"{HELD_CONNECTIONS} clients as over HTTP or {DATABASE_CONNECTIONS} as the registry has database "
            "connections, whichever was faster",
        )
        + "14 keys, verified, stored, answered, each answer held for 300 ms",
        target=Target(0.25),
        prepare=lambda: _uploads(HELD_CONNECTIONS, 300, _same_statement),
        full=True,
    ),
    Measurement(
        name="uploads_per_second_http_postgresql_held_wsgi",
        unit="uploads/s",
        against=_against(
            "a bare WSGI handler (no Flask, no schema; the same web server and workers, checks, statement, "
            "length of answer and hold)",
            f"{HELD_CONNECTIONS} clients",
        )
        + "the face, each answer held for 300 ms",
        target=Target(0.7),
        prepare=lambda: _uploads(HELD_CONNECTIONS, 300, _bare_handler),
        full=True,
    ),
)
