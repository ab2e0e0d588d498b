"""How long it takes to forget a day of keys in PostgreSQL, beside how long it took to store them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from registry.models import make_days, transaction
from registry.models.key_day import day_of
from tests.bench.measure import Measurement, Pair, Target
from tests.bench.publishing import staged
from tests.publishing import AUTHORITY, NOON, Publishing

KEYS = 1_000_000
MIDNIGHT = NOON - NOON % 144 - 22 * 144
"""Three weeks ago and more on the tests' clock: the day that it ends is to be forgotten."""

# On the server, so that nothing counts but the storing. One key in fifty was cut short before midnight.
STORE = """
INSERT INTO diagnosis_key (key_data, rolling_start_interval_number, rolling_period, end_interval_number,
    transmission_risk_level, report_type, days_since_onset_of_symptoms, health_authority_id, traveler,
    revised_before_release, recall_tag)
SELECT uuid_send(gen_random_uuid()), %(midnight)s - 144, period, %(midnight)s - 144 + period, 1, 1, 0,
    %(authority)s, false, false, uuid_send(gen_random_uuid())
FROM (SELECT CASE WHEN number %% 50 = 0 THEN 1 + number %% 143 ELSE 144 END AS period
    FROM generate_series(1, %(keys)s) AS number) AS periods
"""


@contextmanager
def _speed() -> Iterator[Pair]:
    with staged() as (stage, url, _folder):

        def store() -> float:
            return _store(stage, url)

        def ours() -> float:
            began = time.perf_counter()
            outcome = stage.retire()
            spent = time.perf_counter() - began
            if outcome.keys != KEYS:
                raise RuntimeError(f"{outcome.keys} of {KEYS} keys were retired")
            return spent

        store()
        yield Pair(ours, store)


def _store(stage: Publishing, url: str) -> float:
    """Seconds until a day's keys were stored and committed. They are settled afterwards, as time does it."""
    with transaction(stage.new_session()) as session:
        make_days(session, [day_of(MIDNIGHT)])
    with psycopg.connect(url, autocommit=True) as connection:
        began = time.perf_counter()
        connection.execute(STORE, {"midnight": MIDNIGHT, "authority": AUTHORITY.id, "keys": KEYS})
        spent = time.perf_counter() - began
        connection.execute("VACUUM ANALYZE diagnosis_key")
    return spent


MEASUREMENTS = (
    Measurement(
        name="retire_day_of_1m_keys_postgresql",
        unit="s",
        against=(
            f"one INSERT of these {KEYS:,} keys, made up by the server itself, with its commit, fsync on. "
            "Ours: a whole run of retirement that counts and forgets them"
        ),
        target=Target(0.05, at_most=True),
        prepare=_speed,
        full=True,
    ),
)
