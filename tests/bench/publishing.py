"""How long it takes from uploads in PostgreSQL to sealed, signed, stored and indexed files."""

import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
from psycopg import Cursor

from registry.lifecycle.publish import PublicationPolicy, PublishOutcome
from registry.models import CollectingBase, make_days, open_database, transaction
from registry.models.key_day import day_of
from registry.protocol.keys import TemporaryExposureKey
from registry.protocol.population import PopulationModel
from registry.storage.local import LocalStorage
from tests.bench.durable import durable_server, libpq
from tests.bench.measure import Measurement, Pair, Target
from tests.bench.population import keys_of_patients
from tests.clock import FakeClock
from tests.publishing import AUTHORITY, HOUR, NOON, REGION, Publishing

KEYS = 1_000_000
NEWEST_START = NOON - NOON % 144 - 144
"""Yesterday's midnight on the tests' clock: every key has ended, and its embargo with it."""


KEYS_OF_AN_UPLOAD = 14

FLOOR = 10
POPULATION = PopulationModel()
POLICY = PublicationPolicy(window_seconds=HOUR, floor=FLOOR, population=POPULATION)
"""As in production, but that every window is a slot."""
MOST_DECOY_KEYS = 2 * (FLOOR + max(POPULATION.extra_users.weights)) * max(POPULATION.daily_keys.weights)
"""In one batch: its own decoy users', and of the batch before those that waited for their embargo's end."""

LEFT_BY_UPLOADS = """
INSERT INTO shelf_upload (shelf_id, mark)
SELECT {shelf_id}, uuid_send(gen_random_uuid()) FROM generate_series(1, {uploads});
INSERT INTO receipt (commitment, region, shelf_id, content)
SELECT sha256(uuid_send(gen_random_uuid())), '{region}', {shelf_id}, decode(repeat('00', 300), 'hex')
FROM generate_series(1, {uploads});
"""
"""What uploads leave beside their keys: a mark each, and a receipt about as long as real ones."""


@contextmanager
def staged() -> Iterator[tuple[Publishing, str, Path]]:
    """A publisher on a durable PostgreSQL and a local disk, the database's URL and a folder to write to."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="registry-bench-")))
        server = stack.enter_context(durable_server())
        url = stack.enter_context(server.fresh(server.template(CollectingBase.metadata, "collecting")))
        engine = open_database(url)
        stack.callback(engine.dispose)
        yield Publishing(engine, LocalStorage(folder / "public"), FakeClock()), libpq(url), folder


def make_their_days(stage: Publishing) -> None:
    """Let there be tables for a fortnight of keys up to `NEWEST_START`."""
    with transaction(stage.new_session()) as session:
        make_days(session, {day_of(NEWEST_START - 144 * age + 1) for age in range(-1, 15)})


@contextmanager
def _speed() -> Iterator[Pair]:
    with staged() as (stage, url, folder):
        seeds = count(1)

        make_their_days(stage)

        def ours() -> float:
            _replace_rows(url, keys_of_patients(KEYS, seed=next(seeds), newest_start=NEWEST_START))
            stage.clock.advance(HOUR)
            began = time.perf_counter()
            outcome = stage.publish(policy=POLICY)
            spent = time.perf_counter() - began
            check_published(outcome, KEYS)
            return KEYS / spent

        yield Pair(ours, partial(_copy_and_deflate, url, folder / "rows"))


def check_published(outcome: PublishOutcome, uploaded: int) -> None:
    """Raise RuntimeError unless all keys that were uploaded went out, and some decoy users' with them."""
    more = sum(batch.key_count for batch in outcome.batches) - uploaded
    if not 0 <= more <= MOST_DECOY_KEYS:
        raise RuntimeError(f"{uploaded + more} keys were published where {uploaded} were uploaded")


def _copy_and_deflate(url: str, path: Path) -> float:
    """Keys a second of COPY to a file, and deflate of its bytes."""
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        began = time.perf_counter()
        with (
            path.open("wb") as file,
            cursor.copy("COPY (SELECT * FROM diagnosis_key) TO STDOUT (FORMAT binary)") as rows,
        ):
            for part in rows:
                file.write(part)
        zlib.compress(path.read_bytes(), 6)
        return KEYS / (time.perf_counter() - began)


def _replace_rows(url: str, keys: Sequence[TemporaryExposureKey]) -> None:
    """These keys and what their uploads left, pending, in place of those that were published before."""
    with replaced_rows(url) as (cursor, shelf_id):
        _copy(
            cursor,
            "diagnosis_key (key_data, rolling_start_interval_number, rolling_period, end_interval_number,"
            " transmission_risk_level, report_type, days_since_onset_of_symptoms, health_authority_id,"
            " traveler, revised_before_release, recall_tag, shelf_id)",
            keys,
            lambda key: (
                *(key.key_data, key.rolling_start_interval_number, key.rolling_period),
                *(key.end_interval_number, key.transmission_risk_level, int(key.report_type)),
                *(key.days_since_onset_of_symptoms, AUTHORITY.id, False, False, key.key_data, shelf_id),
            ),
        )
        insert_left_by_uploads(cursor, shelf_id, len(keys))


@contextmanager
def replaced_rows(url: str) -> Iterator[tuple[Cursor[tuple[object, ...]], int]]:
    """All rows of keys gone, a cursor and the shelf for new ones; committed and settled at the end."""
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("TRUNCATE diagnosis_key, key_revision, receipt, shelf_upload")
        cursor.execute(
            "INSERT INTO shelf (region_set, releasable_at, is_revision, is_open, revisions)"
            " VALUES (%s, 0, false, true, 0) ON CONFLICT DO NOTHING",
            (REGION,),
        )
        cursor.execute(
            "SELECT id FROM shelf"
            " WHERE is_open AND releasable_at = 0 AND NOT is_revision AND region_set = %s",
            (REGION,),
        )
        (shelf_id,) = cursor.fetchone() or (0,)
        yield cursor, int(str(shelf_id))
        connection.commit()
        connection.autocommit = True
        cursor.execute("VACUUM ANALYZE diagnosis_key, receipt, shelf_upload")


def insert_left_by_uploads(cursor: Cursor[tuple[object, ...]], shelf_id: int, keys: int) -> None:
    """Marks and receipts of as many uploads as bring so many keys."""
    cursor.execute(
        LEFT_BY_UPLOADS.format(shelf_id=shelf_id, region=REGION, uploads=keys // KEYS_OF_AN_UPLOAD).encode()
    )


def _copy(
    cursor: Cursor[tuple[object, ...]],
    table: str,
    keys: Sequence[TemporaryExposureKey],
    row_of: Callable[[TemporaryExposureKey], tuple[object, ...]],
) -> None:
    with cursor.copy(f"COPY {table} FROM STDIN") as rows:
        for key in keys:
            rows.write_row(row_of(key))


MEASUREMENTS = (
    Measurement(
        name="publish_keys_per_second_postgresql",
        unit="keys/s",
        against=(
            f"COPY of the same {KEYS:,} keys' rows to a file and zlib level 6 on its bytes. Ours: seal them, "
            "with their uploads' receipts and decoy users, encode in both formats, check, sign, store, index"
        ),
        target=Target(1 / 6),
        prepare=_speed,
        full=True,
    ),
)
