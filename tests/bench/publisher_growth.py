"""That a publisher neither takes more memory for a larger batch nor more time for each of its keys.

Memory is the most that a process of `registry publish` ever held, as the system says once it has ended.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import MetaData

from registry.protocol.index import decode_index, index_path
from tests.bench.durable import durable_server, libpq
from tests.bench.measure import Measurement, Pair, Target
from tests.bench.publishing import (
    KEYS_OF_AN_UPLOAD,
    NEWEST_START,
    POLICY,
    check_published,
    insert_left_by_uploads,
    make_their_days,
    replaced_rows,
    staged,
)
from tests.publishing import HOUR, REGION
from tests.running import Running

ROOT = Path(__file__).parents[2]

SMALL, MILLION, LARGE = 100_000, 1_000_000, 5_000_000
MEGABYTE = 1_000_000
MOST_MEMORY = 400

FILL = """
INSERT INTO diagnosis_key (key_data, rolling_start_interval_number, rolling_period, end_interval_number,
    transmission_risk_level, report_type, days_since_onset_of_symptoms, health_authority_id, traveler,
    revised_before_release, recall_tag, shelf_id)
SELECT uuid_send(gen_random_uuid()), {newest} - 144 * day, 144, {newest} - 144 * day + 144,
    (ARRAY[1, 1, 3, 4, 6, 7, 8, 8, 6, 4, 1])[1 + (day + upload) % 11], 1, 4 - day + upload % 7,
    (SELECT id FROM health_authority LIMIT 1), false, false, uuid_send(gen_random_uuid()), {shelf_id}
FROM (
    SELECT n % {of_upload} AS day, n / {of_upload} AS upload FROM generate_series(0, {count} - 1) AS n
) AS keys
"""
"""Made-up uploads: what is said of keys varies as it does, and no two keys are the same."""


def _fill(url: str, count: int, *, newest_start: int) -> None:
    """So many keys and what their uploads left, pending, in place of those that were there."""
    with replaced_rows(url) as (cursor, shelf_id):
        text = FILL.format(newest=newest_start, of_upload=KEYS_OF_AN_UPLOAD, count=count, shelf_id=shelf_id)
        cursor.execute(text.encode())
        insert_left_by_uploads(cursor, shelf_id, count)


# ---------------------------------------------------------------- memory


class _Registry:
    """A registry that is not running, whose publisher may be run."""

    def __init__(self, running: Running, url: str) -> None:
        self._running = running
        self._url = url

    def peak_of_publishing(self, count: int) -> float:
        """The most memory of a publisher with so many keys to publish, in MB."""
        # Of the day before yesterday: all embargoes are over, whatever time of the day it is.
        _fill(self._url, count, newest_start=(int(time.time()) // 86_400 - 2) * 144)
        before = self._listed_bytes()
        peak = self._peak("publish")
        if self._listed_bytes() - before < 2 * 14 * count:
            raise RuntimeError("the publisher has not published all that was there")
        return peak

    def peak_of_starting(self) -> float:
        """The most memory of a publisher that finds nothing to do, in MB."""
        return self._peak("publish")

    def _peak(self, *arguments: str) -> float:
        command = [sys.executable, "-m", "tests.bench.peak", sys.executable, "-m", "registry.cli", *arguments]
        with self._running.log_path.open("ab") as log:
            found = subprocess.run(
                command,
                cwd=ROOT,
                env=self._running.environment,
                stdout=subprocess.PIPE,
                stderr=log,
                check=False,
            )
        if found.returncode:
            raise RuntimeError(self._running.log_path.read_text()[-2000:])
        return int(found.stdout) / MEGABYTE

    def _listed_bytes(self) -> int:
        index = decode_index((self._running.folder / "public" / index_path(REGION)).read_bytes())
        return sum(file.size for window in index.windows for file in window.files)


@contextmanager
def _registry() -> Iterator[_Registry]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="registry-bench-")))
        server = stack.enter_context(durable_server())
        empty = server.template(MetaData(), "empty")
        issuing, collecting = (stack.enter_context(server.fresh(empty)) for _ in range(2))
        running = Running(
            folder / "var",
            REGISTRY_ISSUING_DATABASE_URL=issuing,
            REGISTRY_COLLECTING_DATABASE_URL=collecting,
            REGISTRY_WINDOW_SECONDS="1",
        )
        running.start()
        running.stop()
        yield _Registry(running, libpq(collecting))


@contextmanager
def _memory_at_a_million() -> Iterator[Pair]:
    with _registry() as registry:
        yield Pair(partial(registry.peak_of_publishing, MILLION), registry.peak_of_starting)


@contextmanager
def _memory_at_five_million() -> Iterator[Pair]:
    # A registry each: what a batch leaves behind is not to be counted for the other.
    with _registry() as large, _registry() as small:
        yield Pair(partial(large.peak_of_publishing, LARGE), partial(small.peak_of_publishing, MILLION))


# ---------------------------------------------------------------- time


@contextmanager
def _time_of(count: int) -> Iterator[Pair]:
    with staged() as (stage, url, _):
        make_their_days(stage)

        def microseconds_a_key(number: int) -> float:
            _fill(url, number, newest_start=NEWEST_START)
            stage.clock.advance(HOUR)
            began = time.perf_counter()
            outcome = stage.publish(policy=POLICY)
            spent = time.perf_counter() - began
            check_published(outcome, number)
            return 1e6 * spent / number

        yield Pair(partial(microseconds_a_key, count), partial(microseconds_a_key, SMALL))


def _growth_row(name: str, count: int, runs: int) -> Measurement:
    return Measurement(
        name=name,
        unit="µs/key",
        against=(
            f"the same with {SMALL:,} keys. Ours: a publish of {count:,} keys from PostgreSQL, with their "
            "uploads' receipts and decoy users"
        ),
        target=Target(1.2, at_most=True, tolerance=0),
        prepare=partial(_time_of, count),
        runs=runs,
        full=True,
    )


MEASUREMENTS = (
    Measurement(
        name="publisher_peak_memory_1m_keys",
        unit="MB",
        against=(
            f"the same process with nothing to publish. Ours: `registry publish` of {MILLION:,} keys and "
            f"their receipts from PostgreSQL. The target is {MOST_MEMORY} MB"
        ),
        target=Target(MOST_MEMORY, at_most=True, absolute=True, tolerance=0),
        prepare=_memory_at_a_million,
        runs=1,
        full=True,
    ),
    Measurement(
        name="publisher_peak_memory_5m_keys",
        unit="MB",
        against=f"the same with {MILLION:,} keys. Ours: {LARGE:,} keys and their receipts",
        target=Target(1.15, at_most=True, tolerance=0),
        prepare=_memory_at_five_million,
        runs=1,
        full=True,
    ),
    _growth_row("publish_time_per_key_1m", MILLION, 3),
    _growth_row("publish_time_per_key_5m", LARGE, 2),
)
