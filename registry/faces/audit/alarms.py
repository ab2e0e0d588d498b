"""What is wrong with the log as far as the public files tell, in words: for the overview and its feed.

The rules are the auditor's tool's own (`client.monitor.rules`); a page only adds what comes before a fault:
trust material that is about to expire. Nobody need believe an alarm, or that there is none: each names the
leaf and the checkpoint with which it can be found again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from flask_babel import gettext as _
from flask_babel import lazy_gettext as lazy

from registry.client.monitor.faults import Fault, FaultKind
from registry.client.monitor.health import limits
from registry.faces.audit.record import Record

DAY = 86_400
NOTE_WARNING_SECONDS = 7 * DAY
"""How long before its end the trust note's coming expiry is told."""

TITLES: Mapping[FaultKind, object] = {
    FaultKind.SPLIT_VIEW: lazy("Two histories of one log"),
    FaultKind.INCONSISTENT: lazy("History was rewritten"),
    FaultKind.ROLLED_BACK: lazy("Something older is shown again"),
    FaultKind.SIGNATURE: lazy("A signature does not hold, or its key is unknown"),
    FaultKind.DAMAGED_LOG: lazy("The log’s files are damaged"),
    FaultKind.MALFORMED: lazy("Bytes that do not follow their format"),
    FaultKind.UNLOGGED: lazy("Published, but not in the log"),
    FaultKind.TRUST: lazy("The trust material is not covered by its note"),
    FaultKind.GAP: lazy("A gap between batches"),
    FaultKind.INDEX_NOT_LAST: lazy("The checkpoint does not end with an index"),
    FaultKind.INDEX: lazy("The index does not list what it must"),
    FaultKind.FILE: lazy("A listed file is missing or different"),
    FaultKind.MANIFEST: lazy("A manifest is missing or does not fit"),
    FaultKind.RECEIPTS: lazy("Receipts do not lead to their root"),
    FaultKind.COUNTS: lazy("More was published than authorised"),
    FaultKind.QUORUM: lazy("The witnesses’ quorum is missing"),
    FaultKind.FROZEN: lazy("The newest cosignature or index is too old"),
    FaultKind.TIMES: lazy("Times that cannot be"),
    FaultKind.ACTIVITY: lazy("Officials’ acts are not anchored"),
    FaultKind.COUNTABLE: lazy("The people in a file can be counted"),
}


@dataclass(frozen=True, slots=True)
class Alarm:
    """One thing to look into. `since` is in unix seconds, as far as the log tells it.

    `alarm_id` is the same for the same alarm in every process and language. A warning is not yet a fault.
    """

    alarm_id: str
    title: str
    text: str
    since: int
    is_warning: bool = False


def alarms_of(record: Record, now: float) -> list[Alarm]:
    """Everything that is wrong at `now`, the gravest first, then what soon will be."""
    faults = sorted(record.faults(now), key=lambda fault: fault.kind.exit_code)
    return [*(_alarm(fault, record) for fault in faults), *_coming(record, now)]


def _alarm(fault: Fault, record: Record) -> Alarm:
    known = sha256("\n".join((fault.kind.word, fault.where)).encode()).hexdigest()[:16]
    advice = f". {fault.advice}" if fault.advice else ""
    return Alarm(
        alarm_id=f"{fault.kind.word}/{known}",
        title=str(TITLES[fault.kind]),
        text=f"{fault.where}: {fault.what}{advice}",
        since=_since(fault, record),
    )


def _since(fault: Fault, record: Record) -> int:
    """When it began, where the log tells; else when the newest index was issued, which shows it."""
    view = record.view
    if fault.kind is FaultKind.FROZEN and view.cosigned:
        return max(one.time for one in view.cosigned) + limits(view.trust)[0]
    if fault.kind is FaultKind.TRUST and view.note is not None:
        return view.note.issued_at
    return record.issued_at


def _coming(record: Record, now: float) -> list[Alarm]:
    note = record.view.note
    if note is None or not note.expires_at - NOTE_WARNING_SECONDS <= now < note.expires_at:
        return []
    return [
        Alarm(
            alarm_id=f"note-expires/{note.expires_at}",
            title=_("The trust note expires soon"),
            text=_("The note beside the trust material is good for less than seven more days."),
            since=note.expires_at - NOTE_WARNING_SECONDS,
            is_warning=True,
        )
    ]
