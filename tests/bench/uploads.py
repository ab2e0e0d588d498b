"""How many uploads a second the registry takes over HTTP, every one of them on the disk when it is answered.

PostgreSQL waits for the disk at each commit. By turns on the same server: pgbench, inserting the bare rows or
running the very statement of an upload, or a bare WSGI handler (`bare_uploads`).
"""

import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import psycopg
from psycopg import sql
from sqlalchemy import URL, MetaData, make_url

from registry.cli.run import web_command
from registry.config import read_settings
from registry.lifecycle.authorities import STANDING
from registry.lifecycle.upload_statement import STORE_UPLOAD
from registry.protocol.intervals import interval_at
from tests.bench.measure import Measurement, Pair, Target
from tests.bench.traffic import Issuer, send_all
from tests.postgres import PostgresServer, client_program
from tests.running import Running, free_port

ROOT = Path(__file__).parents[2]

SECONDS = 4
"""About as long a run of either side takes."""
WARM_UP = 200
CONNECTIONS = 8
HELD_CONNECTIONS = 400
"""Each can have three or four answers a second, which are held: enough for more than the machine can do."""

BARE_TRANSACTION = """\
BEGIN;
INSERT INTO diagnosis_key (key_data, rolling_start_interval_number, rolling_period, end_interval_number,
    transmission_risk_level, report_type, days_since_onset_of_symptoms, health_authority_id, traveler,
    revised_before_release, recall_tag)
SELECT uuid_send(gen_random_uuid()), midnight - 144 * day, 144, midnight + 144 - 144 * day, 1, 1, day - 7,
    (SELECT id FROM health_authority LIMIT 1), false, false, uuid_send(gen_random_uuid())
FROM generate_series(0, 13) AS day,
    (SELECT 144 * (extract(epoch FROM now())::int / 86400) AS midnight) AS today;
COMMIT;
"""
"""14 rows as an upload stores them, in their days' tables and indexes: nothing read, checked or sealed."""

NEW_KEYS = """\
WITH fresh AS MATERIALIZED (
    SELECT array_agg(uuid_send(gen_random_uuid())) AS key_data,
        array_agg(uuid_send(gen_random_uuid())) AS tags,
        uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) AS name,
        uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) AS commitment
    FROM generate_series(1, 14)
), """


@contextmanager
def durable_server() -> Iterator[PostgresServer]:
    """A PostgreSQL that waits for the disk at each commit. Raises RuntimeError if the given one does not."""
    server = PostgresServer.prepare(durable=True)
    try:
        server.start()
        with psycopg.connect(libpq(server.administration_url)) as connection:
            for setting in ("fsync", "synchronous_commit"):
                (value,) = connection.execute(f"SHOW {setting}").fetchone() or ("",)
                if value != "on":
                    raise RuntimeError(f"PostgreSQL runs with {setting} = {value}: nothing would be durable")
        yield server
    finally:
        server.stop()


def libpq(url: str | URL) -> str:
    """The address of a database as PostgreSQL's own programs take it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


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
    with _script(BARE_TRANSACTION) as script:
        yield lambda _made: _pgbench(script, url, connections)


@contextmanager
def _same_statement(_running: Running, url: str, connections: int) -> Iterator[Callable[[Made], float]]:
    with _script(_statement_as_sent(url)) as script:
        yield lambda _made: _pgbench(script, url, connections)


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


@contextmanager
def _script(text: str) -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        script = Path(folder) / "limit.sql"
        script.write_text(text)
        yield script


def _statement_as_sent(url: str) -> str:
    """`STORE_UPLOAD` with 14 new keys each time, made by PostgreSQL itself, and all else as in an upload."""
    with psycopg.connect(libpq(url)) as connection:
        asked = {"authority_id": _one(connection, "SELECT id FROM health_authority")}
        asked["lower_id"] = asked["authority_id"].lower()
        present = interval_at(time.time())
        constants: dict[str, object] = {
            **asked,
            "standing": _one(connection, "SELECT " + STANDING, asked),
            "registered_id": asked["authority_id"],
            "traveler": True,
            "region_set": _one(
                connection, "SELECT region_set FROM shelf WHERE is_open AND releasable_at = 0"
            ),
            "region": _one(connection, "SELECT region FROM receipt LIMIT 1"),
            "sealed": bytes(_one(connection, "SELECT length(sealed) FROM collected_answer LIMIT 1")),
            "expires": present + 150,
            "recalled_mark": bytes(32),
            "present": present,
            "receipt": bytes(_one(connection, "SELECT length(content) FROM receipt LIMIT 1")),
            "releases": [0],
            "releases_of_keys": [0] * 14,
            "starts": [present // 144 * 144 - 144 * day for day in range(2, 16)],
            "periods": [144] * 14,
            "risks": [1] * 14,
            "report_types": [1] * 14,
            "onsets": list(range(14)),
        }
        spelled: dict[str, object] = {name: _literal(value) for name, value in constants.items()}
    made = ("key_data", "tags", "name", "commitment")
    spelled |= {name: f"(SELECT {name} FROM fresh)" for name in made}  # noqa: S608  # of the names above
    spelled["marks"] = "(SELECT tags[1:1] FROM fresh)"
    return NEW_KEYS + STORE_UPLOAD.removeprefix("WITH") % spelled + ";\n"


def _one(connection: psycopg.Connection[Any], query: str, asked: Mapping[str, object] | None = None) -> Any:
    (value,) = connection.execute(query.encode(), asked).fetchone() or (None,)
    return value


def _literal(value: object) -> str:
    """As it may stand in a script: pgbench takes a colon before a letter for one of its own variables."""
    if isinstance(value, str):
        return f"convert_from('\\x{value.encode().hex()}', 'UTF8')"
    return sql.Literal(value).as_string()


def _pgbench(script: Path, url: str, connections: int) -> float:
    """Transactions a second of `script`."""
    command = [
        *(str(client_program("pgbench")), "--no-vacuum", "--protocol=prepared", f"--file={script}"),
        *(f"--client={connections}", "--jobs=2", f"--time={SECONDS}"),
    ]
    # By the environment and not in the command line, where everyone on the machine could read a password.
    environment = os.environ | _address(make_url(url))
    said = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    rate = re.search(r"^tps = ([0-9.]+)", said, re.MULTILINE)
    if rate is None:
        raise RuntimeError(f"pgbench gave no rate: {said}")
    return float(rate.group(1))


def _address(url: URL) -> dict[str, str]:
    """The environment that tells PostgreSQL's programs which database is meant, and as whom."""
    known = {
        "PGHOST": url.host or url.query.get("host"),
        "PGPORT": url.port and str(url.port),
        "PGUSER": url.username,
        "PGPASSWORD": url.password,
        "PGDATABASE": url.database,
    }
    return {name: str(value) for name, value in known.items() if value}


def _against(limit: str, connections: int) -> str:
    return f"{limit} on the same PostgreSQL, fsync on, {connections} clients. Ours: "


MEASUREMENTS = (
    Measurement(
        name="uploads_per_second_http_postgresql",
        unit="uploads/s",
        against=_against("pgbench committing the bare 14 rows", CONNECTIONS)
        + "14 keys, verified, stored, answered; the answer's hold off",
        target=Target(0.25),
        prepare=lambda: _uploads(CONNECTIONS, 0, _bare_rows),
    ),
    Measurement(
        name="uploads_per_second_http_postgresql_held",
        unit="uploads/s",
        against=_against("pgbench running the one statement that an upload runs", HELD_CONNECTIONS)
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
            HELD_CONNECTIONS,
        )
        + "the face, each answer held for 300 ms",
        target=Target(0.7),
        prepare=lambda: _uploads(HELD_CONNECTIONS, 300, _bare_handler),
        full=True,
    ),
)
