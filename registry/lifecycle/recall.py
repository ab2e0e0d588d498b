"""Step 7 of a key's life, if it comes to that: an upload is taken back, whatever was said of it before.

A key that has not left the house never will; one that has goes out again as REVOKED, in all regions that it
went out in. Two ways lead here: handles that two officials had opened, and the revision token that the
person's own phone holds. Nothing follows a recall, and to recall twice changes nothing. Must never keep a
handle, nor who recalled what.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, LargeBinary, Select, Text, bindparam, func, select, update
from sqlalchemy.orm import Session

from registry.errors import Refusal, RefusalCode
from registry.lifecycle.inserts import insert_into, table_of
from registry.lifecycle.revise import RevisionTokenReading
from registry.lifecycle.shelves import (
    NOW,
    add_revision,
    forget_uploads,
    open_shelves,
    shelves_that_left,
)
from registry.models import DiagnosisKey, KeyRevision, RecalledUpload, Shelf
from registry.models.diagnosis_key import is_of_key
from registry.protocol.intervals import INTERVALS_PER_DAY, ceil_to_hour, interval_at
from registry.protocol.keys import ReportType
from registry.protocol.recall import MOST_TAGS, recall_tags, recalled_mark
from registry.protocol.revision_token import RevisionKeyRing

HANDLES_AT_ONCE = 4096
"""So many uploads in one transaction: about 60,000 keys. Each needs one look through all keys."""

_MARK_INTERVALS = 2 * INTERVALS_PER_DAY
"""A certificate with the handle is given out again for a day, and lives for minutes."""


@dataclass(frozen=True, slots=True)
class _Stored:
    """A stored key of upload number `upload`, its row locked."""

    key_data: bytes
    end_interval_number: int
    shelf_id: int | None
    report_type: int
    onset: int | None
    upload: int


@dataclass(slots=True)
class _Change:
    """What a recall does to the rows, gathered before anything is written."""

    in_place: list[_Stored] = field(default_factory=list)
    emptied: Counter[int] = field(default_factory=Counter)
    """How many uploads have no key left on a shelf that has not left."""
    rewritten: list[tuple[bytes, int]] = field(default_factory=list)
    """(key, shelf) of revisions that have not left."""
    new: dict[int, list[_Stored]] = field(default_factory=lambda: defaultdict(list))
    """Keys that left and were never revoked, by the shelf that they left on."""


def recall_uploads(session: Session, handles: Collection[bytes], now: float) -> int:
    """Take back what came, or is still to come, with these handles (16 bytes each); how many keys changed.

    In the caller's transaction, in which there should be nothing else, and for `HANDLES_AT_ONCE` handles at
    most. An upload that is under way and has not committed is not seen: call it once more, a moment later.
    """
    if len(handles) > HANDLES_AT_ONCE:
        raise ValueError(f"recall {HANDLES_AT_ONCE} uploads at once, not more")
    if not handles:
        return 0
    _mark(session, handles, now)
    owner = {tag: number for number, handle in enumerate(handles) for tag in recall_tags(handle, MOST_TAGS)}
    return _recall(session, _has_tag(session, owner), lambda row: owner[row.recall_tag])


def recall_own_keys(session: Session, token: str, ring: RevisionKeyRing) -> int:
    """Take back every stored key that the phone's revision token names; how many changed.

    Counts as one upload. Refuses with `missing_revision_token` and `invalid_revision_token`.
    """
    reading = RevisionTokenReading.of(token, ring)
    if reading.fault is not None:
        raise reading.fault
    named = {(key.key_data, key.rolling_start_interval_number, key.rolling_period) for key in reading.keys}
    # A token that we sealed names what was stored; should a start or period differ, it is another's key.
    stored = session.execute(
        select(
            DiagnosisKey.key_data, DiagnosisKey.rolling_start_interval_number, DiagnosisKey.rolling_period
        ).where(DiagnosisKey.key_data.in_([key.key_data for key in reading.keys]))
    )
    own = [row.key_data for row in stored if tuple(row) in named]
    return _recall(session, DiagnosisKey.key_data.in_(own), lambda _row: 0)


def check_not_recalled(session: Session, handle: bytes | None, now: float) -> None:
    """Refuses, as a certificate that is void, what comes with a handle that was recalled before it came."""
    asked = {"mark": recalled_mark(handle or b""), "present": interval_at(now)}
    if handle is not None and session.scalar(_MARKED, asked) is not None:
        raise Refusal(
            RefusalCode.CERTIFICATE_INVALID,
            "what the certificate stands on was recalled: ask whoever gave you the code",
        )


# Made once: every upload asks.
_MARKED = select(RecalledUpload.mark).where(
    RecalledUpload.mark == bindparam("mark"), RecalledUpload.expires_at_interval > bindparam("present")
)


def _mark(session: Session, handles: Collection[bytes], now: float) -> None:
    expires = ceil_to_hour(interval_at(now) + _MARK_INTERVALS)
    rows = [{"mark": mark, "expires_at_interval": expires} for mark in sorted(map(recalled_mark, handles))]
    session.execute(insert_into(session, RecalledUpload).on_conflict_do_nothing(), rows)


def _has_tag(session: Session, tags: Collection[bytes]) -> ColumnElement[bool]:
    """That a key's tag is one of many. One parameter for all of them, and one look through the table."""
    if session.get_bind().dialect.name == "postgresql":
        given = select(func.unnest(bindparam("tags", list(tags), ARRAY(LargeBinary))))
        return DiagnosisKey.recall_tag.in_(given)
    spelled = json.dumps([tag.hex().upper() for tag in tags])
    each = func.json_each(bindparam("tags", spelled, Text)).table_valued("value")
    return func.hex(DiagnosisKey.recall_tag).in_(select(each.c.value))


def _recall(session: Session, which: ColumnElement[bool], upload_of: Callable[[Any], int]) -> int:
    """Revoke the keys for which `which` holds; `upload_of` tells to which upload a row of theirs belongs."""
    # 1. Every lock on a key, in one order; on shelves only then. Uploads do it alike: none waits in a circle.
    keys = [
        _Stored(
            *(row.key_data, row.end_interval_number, row.shelf_id, row.report_type, row.onset),
            upload_of(row),
        )
        for row in session.execute(_locked_keys(which))
    ]
    revisions: dict[bytes, list[Any]] = defaultdict(list)
    for row in session.execute(
        select(
            KeyRevision.key_data,
            KeyRevision.shelf_id,
            KeyRevision.report_type,
            KeyRevision.days_since_onset_of_symptoms.label("onset"),
        )
        .join(DiagnosisKey, is_of_key())
        .where(which)
    ):
        revisions[row.key_data].append(row)
    # 2. What has left, and what cannot any more until the caller's commit.
    shelf_ids = {key.shelf_id for key in keys if key.shelf_id is not None}
    shelf_ids |= {row.shelf_id for rows in revisions.values() for row in rows}
    left = shelves_that_left(session, sorted(shelf_ids))
    # 3. What is to be done, and doing it.
    change = _change(keys, revisions, left)
    _write_in_place(session, change)
    _write_revisions(session, change, revisions)
    return len(change.in_place) + len(change.rewritten) + sum(map(len, change.new.values()))


def _locked_keys(
    which: ColumnElement[bool],
) -> Select[bytes, int, int | None, int, int | None, bytes]:
    return (
        select(
            DiagnosisKey.key_data,
            DiagnosisKey.end_interval_number,
            DiagnosisKey.shelf_id,
            DiagnosisKey.report_type,
            DiagnosisKey.days_since_onset_of_symptoms.label("onset"),
            DiagnosisKey.recall_tag,
        )
        .where(which)
        .order_by(DiagnosisKey.key_data)
        .with_for_update()
    )


def _change(keys: Sequence[_Stored], revisions: dict[bytes, list[Any]], left: Collection[int]) -> _Change:
    change = _Change()
    emptied: set[tuple[int, int]] = set()
    for key in keys:
        if key.shelf_id is None or key.shelf_id not in left:
            if key.report_type != ReportType.REVOKED:
                change.in_place.append(key)
            if key.shelf_id is not None:
                emptied.add((key.shelf_id, key.upload))
            continue
        earlier = revisions.get(key.key_data, [])
        if any(row.report_type == ReportType.REVOKED for row in earlier):
            continue
        pending = next((row for row in earlier if row.shelf_id not in left), None)
        if pending is not None:
            # It is counted on that shelf already, as this person's.
            change.rewritten.append((key.key_data, pending.shelf_id))
        else:
            change.new[key.shelf_id].append(key)
    change.emptied.update(shelf_id for shelf_id, _upload in emptied)
    return change


def _write_in_place(session: Session, change: _Change) -> None:
    keys, revised = table_of(DiagnosisKey), table_of(KeyRevision)
    if change.in_place:
        session.execute(
            update(keys)
            # With the end, so that PostgreSQL looks in one day alone.
            .where(keys.c.key_data == bindparam("key"), keys.c.end_interval_number == bindparam("end"))
            # They have not gone out, so there is nothing to take back, and they never will.
            .values(report_type=int(ReportType.REVOKED), revised_before_release=True, shelf_id=None),
            [{"key": key.key_data, "end": key.end_interval_number} for key in change.in_place],
        )
    if change.rewritten:
        session.execute(
            update(revised)
            .where(revised.c.key_data == bindparam("key"), revised.c.shelf_id == bindparam("shelf"))
            .values(report_type=int(ReportType.REVOKED)),
            [{"key": key_data, "shelf": shelf_id} for key_data, shelf_id in change.rewritten],
        )
    for shelf_id, uploads in sorted(change.emptied.items()):
        # Or the floor would count people whose keys no longer go out.
        forget_uploads(session, shelf_id, uploads)


def _write_revisions(session: Session, change: _Change, revisions: dict[bytes, list[Any]]) -> None:
    sets = session.execute(select(Shelf.id, Shelf.region_set).where(Shelf.id.in_(sorted(change.new))))
    by_set: dict[str, list[_Stored]] = defaultdict(list)
    for row in sets:
        by_set[row.region_set] += change.new[row.id]
    counted: Counter[int] = Counter()
    for region_set, keys in sorted(by_set.items()):
        shelf_id = open_shelves(session, region_set, [NOW], is_revision=True)[NOW]
        session.execute(
            insert_into(session, KeyRevision),
            [
                {
                    "key_data": key.key_data,
                    "shelf_id": shelf_id,
                    "end_interval_number": key.end_interval_number,
                    "report_type": int(ReportType.REVOKED),
                    # The day that was said last: a recall says nothing new of it.
                    "days_since_onset_of_symptoms": next(
                        (row.onset for row in revisions.get(key.key_data, [])), key.onset
                    ),
                }
                for key in keys
            ],
        )
        counted[shelf_id] = len({key.upload for key in keys})
    # Last of all: whoever counts on the same shelf waits here for our commit, holding nothing that we want.
    for shelf_id, uploads in sorted(counted.items()):
        add_revision(session, shelf_id, uploads)
