"""Part of collecting: the one statement by which PostgreSQL takes an ordinary upload, and makes it durable.

Ordinary is an upload none of whose keys is known, that did not come before, whose shelves are open, and that
nothing was recalled or changed of. The statement sees to all of that by itself, in one snapshot; if anything
is otherwise, it stores nothing and says no more than that. It must never store a part.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from registry.lifecycle.authorities import STANDING
from registry.lifecycle.shelves import new_mark, release_of
from registry.models.shelf import region_set_of
from registry.protocol.keys import TemporaryExposureKey

# The claim comes before the keys, and keys in one order: uploads wait for each other, never in a circle.
# Known keys are looked for one by one, so that the plan is by their index however small the table; and once
# more by `known_diagnosis_keys`, whose locks let nobody else bring one of them for another day meanwhile.
# (The driver keeps what it made of a statement only if that has fewer than 4,096 characters.)
STORE_UPLOAD = f"""\
WITH shelves AS MATERIALIZED (
    SELECT id, releasable_at FROM shelf
    WHERE is_open AND region_set = %(region_set)s AND releasable_at = ANY (%(releases)s::integer[])
        AND NOT is_revision
    ORDER BY id FOR KEY SHARE
), claimed AS (
    INSERT INTO collected_answer (lookup_id, sealed, expires_at_interval)
    SELECT %(name)s::bytea, %(sealed)s::bytea, %(expires)s::integer
    WHERE {STANDING} = %(standing)s
        AND (SELECT count(*) FROM shelves) = cardinality(%(releases)s::integer[])
        AND NOT EXISTS (SELECT FROM recalled_upload
            WHERE mark = %(recalled_mark)s::bytea AND expires_at_interval > %(present)s::integer)
        AND NOT EXISTS (SELECT FROM unnest(%(key_data)s::bytea[]) AS brought (key_data)
            WHERE (SELECT true FROM diagnosis_key AS known
                WHERE known.key_data = brought.key_data LIMIT 1))
    ON CONFLICT DO NOTHING
    RETURNING lookup_id
), known AS MATERIALIZED (
    SELECT known_diagnosis_keys(%(key_data)s::bytea[]) FROM claimed
), stored AS (
    INSERT INTO diagnosis_key (key_data, rolling_start_interval_number, rolling_period,
        end_interval_number, transmission_risk_level, report_type, days_since_onset_of_symptoms,
        health_authority_id, traveler, revised_before_release, recall_tag, shelf_id)
    SELECT brought.key_data, start, period, start + period, risk, report_type, onset,
        %(registered_id)s, %(traveler)s::boolean, false, tag, shelves.id
    FROM claimed, unnest(%(key_data)s::bytea[], %(starts)s::integer[], %(periods)s::integer[],
            %(risks)s::integer[], %(report_types)s::integer[], %(onsets)s::integer[],
            %(tags)s::bytea[], %(releases_of_keys)s::integer[])
        AS brought (key_data, start, period, risk, report_type, onset, tag, releasable_at)
        JOIN shelves USING (releasable_at)
    WHERE NOT EXISTS (SELECT FROM known)
    ORDER BY brought.key_data
    ON CONFLICT DO NOTHING
    RETURNING key_data
), receipts AS (
    INSERT INTO receipt (commitment, region, content, shelf_id)
    SELECT %(commitment)s::bytea, %(region)s, %(receipt)s::bytea,
        (SELECT id FROM shelves ORDER BY releasable_at LIMIT 1)
    FROM claimed
    ON CONFLICT DO NOTHING
), marks AS (
    INSERT INTO shelf_upload (shelf_id, mark, health_authority_id, onset_days, oldest_days)
    SELECT shelves.id, mark, %(registered_id)s, onset, oldest
    FROM claimed, unnest(%(releases)s::integer[], %(marks)s::bytea[], %(onset_of_marks)s::integer[],
            %(oldest_of_marks)s::integer[]) AS marked (releasable_at, mark, onset, oldest)
        JOIN shelves USING (releasable_at)
)
SELECT CASE
    WHEN NOT EXISTS (SELECT FROM claimed) THEN false
    WHEN (SELECT count(*) FROM stored) = cardinality(%(key_data)s::bytea[]) THEN true
    -- No boolean: the error undoes the whole statement, where another upload brings a key at this moment.
    ELSE ('keys that are new: ' || (SELECT count(*) FROM stored))::boolean
END
"""  # noqa: S608  # the part that is put in is a constant


@dataclass(frozen=True, slots=True)
class OrdinaryUpload:
    """What the statement is told, besides the keys. All of it is stored, or nothing."""

    standing: str
    """The words that the checks were made by (`Standing.text`)."""
    registered_id: str
    traveler: bool
    regions: Sequence[str]
    """The feeds that the keys go out in; one at least."""
    name: bytes
    sealed: bytes
    expires: int
    """The answer, for the day in which it may be asked for again (`registry.lifecycle.replay`)."""
    onset_days: int | None
    oldest_days: int
    """For the day's figures (`ShelfUpload`)."""
    recalled_mark: bytes
    commitment: bytes
    receipt: bytes


def store_at_once(
    connection: Connection,
    upload: OrdinaryUpload,
    authority_id: str,
    keys: Sequence[tuple[TemporaryExposureKey, bytes]],
    present: int,
) -> bool:
    """Store the upload of `keys` (each with its recall tag) if it is ordinary; whether it was.

    `connection` commits by itself (`committing_each`): what is stored is durable when this returns. Raises
    DBAPIError, and has stored nothing, if a key comes with another upload at this very moment.
    """
    releases = [release_of(key, present) for key, _tag in keys]
    shelves = sorted(set(releases))
    told = {
        "authority_id": authority_id,
        "lower_id": authority_id.lower(),
        "standing": upload.standing,
        "registered_id": upload.registered_id,
        "traveler": upload.traveler,
        "region_set": region_set_of(upload.regions),
        "region": upload.regions[0],
        "name": upload.name,
        "sealed": upload.sealed,
        "expires": upload.expires,
        "recalled_mark": upload.recalled_mark,
        "present": present,
        "commitment": upload.commitment,
        "receipt": upload.receipt,
        "releases": _numbers(shelves),
        "marks": _bytes(new_mark() for _ in shelves),
        # On the shelf that leaves first, and on no other, so that the upload counts once.
        "onset_of_marks": _numbers([upload.onset_days, *[None] * (len(shelves) - 1)]),
        "oldest_of_marks": _numbers([upload.oldest_days, *[None] * (len(shelves) - 1)]),
        "key_data": _bytes(key.key_data for key, _tag in keys),
        "starts": _numbers(key.rolling_start_interval_number for key, _tag in keys),
        "periods": _numbers(key.rolling_period for key, _tag in keys),
        "risks": _numbers(key.transmission_risk_level for key, _tag in keys),
        "report_types": _numbers(key.report_type for key, _tag in keys),
        "onsets": _numbers(key.days_since_onset_of_symptoms for key, _tag in keys),
        "tags": _bytes(tag for _key, tag in keys),
        "releases_of_keys": _numbers(releases),
    }
    return bool(connection.exec_driver_sql(STORE_UPLOAD, told).scalar_one())


def _numbers(values: Iterable[int | None]) -> str:
    """An array as PostgreSQL reads it: the driver's own way takes longer than the statement's other work."""
    return "{" + ",".join("NULL" if value is None else str(int(value)) for value in values) + "}"


def _bytes(values: Iterable[bytes]) -> str:
    return "{" + ",".join(f'"\\\\x{value.hex()}"' for value in values) + "}"
