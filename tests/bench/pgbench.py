"""pgbench, PostgreSQL's own load, as the limit of uploads: what it is given to run, and how fast it was."""

import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import URL, make_url

from registry.lifecycle.authorities import STANDING
from registry.lifecycle.upload_statement import STORE_UPLOAD
from registry.protocol.intervals import interval_at
from tests.bench.durable import libpq
from tests.postgres import client_program

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
def script(text: str) -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "limit.sql"
        path.write_text(text)
        yield path


def statement_as_sent(url: str) -> str:
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


def pgbench(script: Path, url: str, connections: int, seconds: int) -> float:
    """Transactions a second of `script`, over so many connections at once."""
    command = [
        *(str(client_program("pgbench")), "--no-vacuum", "--protocol=prepared", f"--file={script}"),
        *(f"--client={connections}", "--jobs=2", f"--time={seconds}"),
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
