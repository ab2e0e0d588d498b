"""Part of collecting: a key that is already here comes again with another report type.

A key is revised once at most, only along the permitted transitions, and only by whoever holds the revision
token that names it. What has not left the house is changed in place, and a key that proves negative before
its release never leaves; what has left goes out again as a revised key.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.errors import Distrusted, Malformed, Refusal, RefusalCode
from registry.lifecycle.shelves import NOW, add_revision, open_shelves, shelves_that_left
from registry.models import DiagnosisKey, KeyRevision, Shelf
from registry.protocol.encoding import decode_base64
from registry.protocol.keys import ReportType, TemporaryExposureKey
from registry.protocol.revision_token import (
    RevisableKey,
    RevisionKeyRing,
    decode_revision_token,
    encode_revision_token,
)

_FROM_PROVISIONAL = frozenset({ReportType.CONFIRMED_TEST, ReportType.REVOKED})
TRANSITIONS: dict[int, frozenset[ReportType]] = {
    ReportType.UNKNOWN: _FROM_PROVISIONAL,
    ReportType.CONFIRMED_CLINICAL_DIAGNOSIS: _FROM_PROVISIONAL,
    ReportType.SELF_REPORT: _FROM_PROVISIONAL | {ReportType.CONFIRMED_CLINICAL_DIAGNOSIS},
}
"""From which report type to which a key may be revised (exposure-notifications-server)."""


@dataclass(frozen=True, slots=True)
class RevisionTokenReading:
    """What a phone's revision token turned out to be. A bad one matters only if it is needed."""

    keys: tuple[RevisableKey, ...]
    fault: Refusal | None

    @classmethod
    def of(cls, token: str, ring: RevisionKeyRing) -> Self:
        """Read a token; one that is not even base64 counts as none."""
        try:
            present = len(decode_base64(token)) > 0
        except Malformed:
            present = False
        if not present:
            missing = "keys of this upload are here already: send the 'revisionToken' of the last answer"
            return cls((), Refusal(RefusalCode.MISSING_REVISION_TOKEN, missing))
        try:
            return cls(decode_revision_token(token, ring), None)
        except (Malformed, Distrusted) as error:
            return cls((), Refusal(RefusalCode.INVALID_REVISION_TOKEN, str(error)))


def next_revision_token(
    reading: RevisionTokenReading,
    written: Iterable[TemporaryExposureKey],
    ring: RevisionKeyRing,
    *,
    oldest_end: int,
) -> str:
    """The phone's next token: the last one's keys that ended at `oldest_end` or later, and these."""
    kept = [
        key for key in reading.keys if key.rolling_start_interval_number + key.rolling_period >= oldest_end
    ]
    return encode_revision_token([*kept, *map(_revisable, written)], ring)


def revise_stored_keys(
    session: Session, keys: Sequence[TemporaryExposureKey], reading: RevisionTokenReading
) -> None:
    """Revise those of `keys` that are stored; unknown ones are left alone. All in the caller's transaction.

    Refuses, for the upload as a whole, with `missing_revision_token`, `invalid_revision_token` (unreadable,
    or it does not name the key with this start and period), `key_already_revised` and
    `invalid_report_type_transition`. A key that has the report type already is no fault.
    """
    if not keys:
        return
    stored = _locked_keys(session, [key.key_data for key in keys])
    if not stored:
        return
    if reading.fault is not None:
        raise reading.fault
    known = [(stored[key.key_data], key) for key in keys if key.key_data in stored]
    named = set(reading.keys)
    for row, key in known:
        as_stored = RevisableKey(row.key_data, row.rolling_start_interval_number, row.rolling_period)
        if as_stored not in named or _revisable(key) != as_stored:
            raise Refusal(
                RefusalCode.INVALID_REVISION_TOKEN,
                "the revision token does not name every stored key of this upload with its start and period",
            )
    changed = [(row, key) for row, key in known if _changes(session, row, key.report_type)]
    revise_rows(session, changed)


def revise_rows(session: Session, changed: Sequence[tuple[DiagnosisKey, TemporaryExposureKey]]) -> None:
    """Give each locked row the key's report type and onset: in place while its shelf has not left, else as a
    revision that goes out where the key went out. All are one person's.
    """
    left = shelves_that_left(session, {row.shelf_id for row, _key in changed if row.shelf_id is not None})
    published: dict[int, list[tuple[DiagnosisKey, TemporaryExposureKey]]] = defaultdict(list)
    for row, key in changed:
        if row.shelf_id is not None and row.shelf_id in left:
            published[row.shelf_id].append((row, key))
        else:
            _revise_in_place(row, key)
    region_sets = {
        row.id: row.region_set for row in session.scalars(select(Shelf).where(Shelf.id.in_(published)))
    }
    by_set: dict[str, list[tuple[DiagnosisKey, TemporaryExposureKey]]] = defaultdict(list)
    for shelf_id, revisions in published.items():
        by_set[region_sets[shelf_id]] += revisions
    for region_set, revisions in sorted(by_set.items()):
        shelf_id = open_shelves(session, region_set, [NOW], is_revision=True)[NOW]
        add_revision(session, shelf_id)
        session.add_all(
            KeyRevision(
                key_data=row.key_data,
                shelf_id=shelf_id,
                end_interval_number=row.end_interval_number,
                report_type=int(key.report_type),
                days_since_onset_of_symptoms=key.days_since_onset_of_symptoms,
            )
            for row, key in revisions
        )


def _revise_in_place(row: DiagnosisKey, key: TemporaryExposureKey) -> None:
    row.revised_before_release = True
    row.report_type = int(key.report_type)
    row.days_since_onset_of_symptoms = key.days_since_onset_of_symptoms
    if key.report_type == ReportType.REVOKED:
        # It has not gone out, so there is nothing to take back, and it never will.
        row.shelf_id = None


def _locked_keys(session: Session, key_data: Sequence[bytes]) -> dict[bytes, DiagnosisKey]:
    rows = session.scalars(
        select(DiagnosisKey)
        .where(DiagnosisKey.key_data.in_(key_data))
        .order_by(DiagnosisKey.key_data)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return {row.key_data: row for row in rows}


def _changes(session: Session, row: DiagnosisKey, report_type: ReportType) -> bool:
    """Whether the key would get another report type than it has. Refuses what is not permitted."""
    revised = session.scalars(
        select(KeyRevision.report_type).where(KeyRevision.key_data == row.key_data)
    ).all()
    # A recall may follow a revision, and nothing follows a recall.
    current = min(revised, key=lambda kind: kind != ReportType.REVOKED, default=row.report_type)
    if report_type == current:
        return False
    if row.revised_before_release or revised:
        raise Refusal(RefusalCode.KEY_ALREADY_REVISED, "a key of this upload has been revised before")
    if report_type not in TRANSITIONS.get(row.report_type, frozenset()):
        raise Refusal(
            RefusalCode.INVALID_REPORT_TYPE_TRANSITION,
            f"a key cannot go from {ReportType(row.report_type).name} to {report_type.name}",
        )
    return True


def _revisable(key: TemporaryExposureKey) -> RevisableKey:
    return RevisableKey(key.key_data, key.rolling_start_interval_number, key.rolling_period)
