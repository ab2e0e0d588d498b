"""How many uploads a second the registry takes over HTTP, every one of them on the disk when it is answered.

PostgreSQL waits for the disk at each commit; pgbench inserts the bare rows on the same server, by turns.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
from sqlalchemy import URL, MetaData, make_url

from tests.bench.measure import Measurement, Pair, Target
from tests.bench.traffic import Issuer, send_all
from tests.postgres import PostgresServer, client_program
from tests.running import Running

SECONDS = 4
"""About as long a run of either side takes."""
WARM_UP = 200
CONNECTIONS = 8
HELD_CONNECTIONS = 96
"""Held answers keep a thread each; two processes of 64 threads serve so many with some to spare."""

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
        yield running, collecting


@contextmanager
def _uploads(connections: int, hold_milliseconds: int) -> Iterator[Pair]:
    with _registry(hold_milliseconds) as (running, collecting), TemporaryDirectory() as folder:
        script = Path(folder) / "bare.sql"
        script.write_text(BARE_TRANSACTION)
        before = _stored(collecting)  # decoys' keys of the first window
        issuer = Issuer(running)
        found = send_all(running.port, issuer.requests(WARM_UP), connections)
        a_run = max(2 * connections, int(found * SECONDS))
        sent = WARM_UP

        def ours() -> float:
            nonlocal sent
            requests = issuer.requests(a_run)
            sent += a_run
            return send_all(running.port, requests, connections)

        yield Pair(ours, lambda: _pgbench(script, collecting, connections))
        _check_all_stored(collecting, before + 14 * sent)


def _check_all_stored(url: str, keys: int) -> None:
    """An upload that stores nothing would be fast. (pgbench's rows lie on no shelf.)"""
    stored = _stored(url)
    if stored != keys:
        raise RuntimeError(f"{stored} keys were stored of {keys} that were acknowledged")


def _stored(url: str) -> int:
    with psycopg.connect(libpq(url)) as connection:
        shelved = "SELECT count(*) FROM diagnosis_key WHERE shelf_id IS NOT NULL"
        (stored,) = connection.execute(shelved).fetchone() or (0,)
        return int(stored)


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


def _against(connections: int) -> str:
    return (
        f"pgbench committing the bare 14 rows on the same PostgreSQL, fsync on, {connections} clients. Ours: "
    )


MEASUREMENTS = (
    Measurement(
        name="uploads_per_second_http_postgresql",
        unit="uploads/s",
        against=_against(CONNECTIONS) + "14 keys, verified, stored, answered; the answer's hold off",
        target=Target(0.25),
        prepare=lambda: _uploads(CONNECTIONS, 0),
    ),
    Measurement(
        name="uploads_per_second_http_postgresql_held",
        unit="uploads/s",
        against=_against(HELD_CONNECTIONS) + "the same, each answer held for 300 ms",
        target=Target(0.25),
        prepare=lambda: _uploads(HELD_CONNECTIONS, 300),
        full=True,
    ),
)
