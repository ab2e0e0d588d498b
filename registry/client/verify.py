"""What must hold before anything that the registry sent is believed. Pure: returns, or raises and says why.

Of an index (its windows are without a gap already, `decode_index` sees to that):

 1. It is this phone's region's.
 2. It is no older than the one before: sequence, end and issue time never go back.
 3. It was not issued in the future and has not expired.
 4. It reaches back to the registry's first window, or over the whole time that matters to the card.
 5. Windows that were read before have their times still, and what it adds begins where those ended.
 6. It lists no new file in a window that was read before, no other file under a known name, and no other day
    in the place of one that was listed. A day may come late, and go.

Of a file, of a window or of a day, in either format:

 1. Size and SHA-256 are those of the index, also if a trusted key signed it.
 2. It is laid out as its format says, unpacks to no more than is allowed, begins with the header.
 3. There is a signature for each one announced, at least one by a trusted key, and no trusted key's is wrong.
 4. Region and window (of a compact file also the windows' numbers) are those under which the index lists it.
 5. Every key is one that phones can use, none stands twice, and there are not too many.
 6. Every key's validity ended at least two hours before the window, or the day, did: phones witness the
    embargo.

Nothing of a file that fails is matched. The index itself carries no signature: that it is the registry's
newest, the same for everyone, is proven by the log (`registry.client.proof`).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO

import numpy as np

from registry.client.failures import (
    HashMismatch,
    Outdated,
    Rewritten,
    RolledBack,
    SequenceGap,
    TooEarly,
    UnloggedFile,
    WrongFile,
)
from registry.client.risk import HORIZON_DAYS
from registry.client.sightings import CLOCK_TOLERANCE_SECONDS
from registry.errors import Distrusted, Malformed
from registry.protocol.certificate import load_public_key
from registry.protocol.compact_file import read_compact
from registry.protocol.export_file import check_export_rows, open_zip, read_announced_rows
from registry.protocol.export_signatures import SignatureInfo, TrustedKeys, verify_signatures
from registry.protocol.index import COMPACT, GAEN_ZIP, Index, IndexDay, IndexFile, IndexWindow
from registry.protocol.intervals import EMBARGO_INTERVALS, interval_at
from registry.protocol.key_rows import KeyRows, check_key_rows, newest_end, no_rows
from registry.protocol.keys import KeyTimes
from registry.protocol.trust import TrustMaterial

MAX_FILE_BYTES = 32 * 2**20
MAX_KEYS = 1_000_000
"""In a zip; existing phones take about 750,000 keys a file."""
MAX_COMPACT_KEYS = MAX_FILE_BYTES // 13
"""In a section: a key takes 13 bytes at least."""

Span = IndexWindow | IndexDay
"""What a file may be of."""


@dataclass(frozen=True, slots=True, eq=False)
class VerifiedFile:
    """What a file says, all of it checked.

    `keys` and `revised_keys` are those that were wanted, `key_count` and `revised_key_count` how many there
    are. `newest_end` is the end interval of the newest of them all, None if there is none.
    """

    region: str
    keys: KeyRows
    revised_keys: KeyRows
    key_count: int
    revised_key_count: int
    newest_end: int | None
    signed_by: tuple[SignatureInfo, ...]


def trusted_keys(trust: TrustMaterial, window: Span, *, now: float) -> TrustedKeys:
    """The pinned keys that may have signed a file of `window`, or day, by (id, version).

    A key signs only while it lives, and after the window's end: so one that ended before that, or that has
    not begun yet, cannot have signed it.
    """
    return {
        (key.key_id, key.key_version): load_public_key(key.public_key_pem)
        for key in trust.export_signing_keys
        if key.not_before <= now + CLOCK_TOLERANCE_SECONDS and window.end <= key.not_after
    }


def check_index(index: Index, *, region: str, previous: Index | None, now: float) -> None:
    """Raises `WrongFile`, `RolledBack`, `Outdated`, `SequenceGap` or `Rewritten`; see the list above.

    `previous` is the last index that passed, `now` unix seconds.
    """
    if index.region != region:  # 1
        raise WrongFile(f"the index is that of {index.region}, not of {region}")
    if previous is not None:  # 2
        _check_order(index, previous)
    if index.issued_at > now + CLOCK_TOLERANCE_SECONDS:  # 3
        raise Outdated("the index was issued in the future: check this phone's clock")
    if index.expires_at <= now:
        raise Outdated("the index has expired and no newer one is offered")
    _check_reach(index, now)  # 4
    if previous is not None:
        _check_continuity(index, previous)  # 5
        _check_past(index, previous)  # 6


def _check_order(index: Index, previous: Index) -> None:
    if index.sequence < previous.sequence:
        raise RolledBack(
            f"the index went back from window {previous.sequence} to {index.sequence}; "
            "a registry that was set up anew needs a new store"
        )
    if index.issued_at < previous.issued_at:
        raise RolledBack("the index was issued before the one that this phone has seen")
    if index.windows and previous.windows:
        end, before = index.windows[-1].end, previous.windows[-1].end
        if end < before or (index.sequence > previous.sequence and end == before):
            raise RolledBack(f"the index ends at {end}, the one before it ended at {before}")


def _check_reach(index: Index, now: float) -> None:
    # Whether a phone reads for the first time or was off for weeks: all that the card can show must be here.
    if not index.windows:
        if index.sequence > 0:
            raise SequenceGap(f"the index lists none of its {index.sequence} windows")
        return
    first = index.windows[0]
    if first.sequence > 1 and first.start > now - HORIZON_DAYS * 86400:
        raise SequenceGap(
            f"the windows before {first.sequence} are missing, and it began less than {HORIZON_DAYS} days ago"
        )


def _check_continuity(index: Index, previous: Index) -> None:
    if not previous.windows:
        return
    end = previous.windows[-1].end
    starts = {window.sequence: window.start for window in previous.windows} | {previous.sequence + 1: end}
    ends = {window.last_sequence: window.end for window in previous.windows}
    for window in index.windows:
        as_before = (
            window.start == starts.get(window.sequence, window.start)
            and window.end == ends.get(window.last_sequence, window.end)
            # A run without files that has grown hides where it was joined, but that lies inside.
            and (window.start < end < window.end or not _spans(window, previous.sequence))
        )
        if not as_before:
            raise SequenceGap(
                f"the times of window {window.sequence} do not fit those that this phone has seen: "
                f"window {previous.sequence} ended at {end}"
            )


def _spans(window: IndexWindow, sequence: int) -> bool:
    return window.sequence <= sequence < window.last_sequence


def _check_past(index: Index, previous: Index) -> None:
    before = {file.path: file.sha256 for span in spans_of(previous) for file in span.files}
    for span in spans_of(index):
        for file in span.files:
            if before.get(file.path, file.sha256) != file.sha256:
                raise Rewritten(f"{file.path} was changed after it was published")
    for window in index.windows:
        for file in window.files:
            if file.path not in before and window.sequence <= previous.sequence:
                raise Rewritten(f"{file.path} was added to a window that was complete")
    # A day is made after its windows, and goes when one of them does; what it once was it stays.
    days_before = {number: day for day in previous.days for number in (day.sequence, day.last_sequence)}
    for day in index.days:
        seen = [days_before.get(number, day) for number in (day.sequence, day.last_sequence)]
        if seen != [day, day]:
            raise Rewritten(f"the day of window {day.sequence} is another one than was listed before")


def spans_of(index: Index) -> Sequence[Span]:
    """All of which the index may list files."""
    return (*index.windows, *index.days)


# ---------------------------------------------------------------- files


def _everything(rows: KeyRows) -> KeyRows:
    return rows


def verify_file(
    content: bytes,
    file: IndexFile,
    span: Span,
    *,
    region: str,
    trusted: TrustedKeys,
    now: float,
    wanted: Callable[[KeyRows], KeyRows] = _everything,
) -> VerifiedFile:
    """What the file says, once all of it holds; of its keys those that `wanted` leaves of some thousands at a
    time, which bounds the memory that a compact file takes.

    Raises `HashMismatch`, `UnloggedFile`, `WrongFile`, `TooEarly`, `Malformed`, `BadSignature` or
    `UntrustedKey`.
    """
    if file.format not in (GAEN_ZIP, COMPACT):
        raise Malformed(f"{file.path} is of the format {file.format[:40]}, which this phone cannot read")
    if len(content) != file.size or sha256(content).hexdigest() != file.sha256:  # 1
        if _is_signed(content, file, trusted):
            raise UnloggedFile(
                f"{file.path} is signed by a trusted key, but is not the file that the index names: it was "
                "altered on its way, or somebody else has the key"
            )
        raise HashMismatch(f"{file.path} is not the file that the index names")
    opened = _open_zip if file.format == GAEN_ZIP else _open_compact
    (fresh, changed), signed_by = opened(content, file, span, region, trusted, now)  # 2 to 5
    keys, key_count, end = _taken(fresh, wanted)
    revised_keys, revised_key_count, revised_end = _taken(changed, wanted)
    ends = [one for one in (end, revised_end) if one is not None]
    if max(ends, default=0) > interval_at(span.end) - EMBARGO_INTERVALS:  # 6
        raise TooEarly(f"{file.path} holds a key that was valid less than two hours before its window's end")
    return VerifiedFile(
        region=region,
        keys=keys,
        revised_keys=revised_keys,
        key_count=key_count,
        revised_key_count=revised_key_count,
        newest_end=max(ends, default=None),
        signed_by=signed_by,
    )


def _taken(
    chunks: Iterable[KeyRows], wanted: Callable[[KeyRows], KeyRows]
) -> tuple[KeyRows, int, int | None]:
    """(the rows that are wanted, how many there are, where the newest ends), once all were looked at."""
    count, newest = 0, None
    kept = [no_rows()]
    for rows in chunks:
        count += len(rows)
        newest = max((end for end in (newest, newest_end(rows)) if end is not None), default=None)
        kept.append(wanted(rows))
    return np.concatenate(kept), count, newest


_Sections = tuple[Iterable[KeyRows], Iterable[KeyRows]]
"""Keys and revised keys, a part at a time; a part that breaks a rule raises when it is its turn."""


def _open_zip(
    content: bytes, file: IndexFile, span: Span, region: str, trusted: TrustedKeys, now: float
) -> tuple[_Sections, tuple[SignatureInfo, ...]]:
    # The signature first: what nobody signed is not even parsed.
    export_bin, signatures = open_zip(content)  # 2
    verify_signatures(export_bin, signatures, trusted)  # 3
    export = read_announced_rows(export_bin, len(signatures))  # 2, 3
    _check_region(export.region, region, file)  # 4
    # A window of several files counts them up in the end, for phones that tell files apart by it.
    parts = sum(one.format == GAEN_ZIP for one in span.files)
    latest = span.end + (parts if parts > 1 else 0)
    if export.start_timestamp != span.start or not span.end <= export.end_timestamp <= latest:
        raise WrongFile(f"{file.path} is a file of another window")
    if len(export.keys) + len(export.revised_keys) > MAX_KEYS:  # 5
        raise Malformed(f"{file.path} holds more than {MAX_KEYS} keys")
    check_export_rows(export, now=now + CLOCK_TOLERANCE_SECONDS)
    return ([export.keys], [export.revised_keys]), export.signature_infos


def _open_compact(
    content: bytes, file: IndexFile, span: Span, region: str, trusted: TrustedKeys, now: float
) -> tuple[_Sections, tuple[SignatureInfo, ...]]:
    compact = read_compact(BytesIO(content), trusted, max_keys=MAX_COMPACT_KEYS)  # 2, 3
    header = compact.header
    _check_region(header.region, region, file)  # 4
    stated = (header.start_timestamp, header.end_timestamp, header.sequence, header.last_sequence)
    if stated != (span.start, span.end, span.sequence, span.last_sequence):
        raise WrongFile(f"{file.path} is a file of another window")
    times = KeyTimes.of_window(span.end, now=now + CLOCK_TOLERANCE_SECONDS)

    def of_their_time(chunks: Iterable[KeyRows]) -> Iterable[KeyRows]:
        for rows in chunks:
            check_key_rows(rows, times)  # 5
            yield rows

    return (of_their_time(compact.keys()), of_their_time(compact.revised_keys())), compact.signed_by


def _check_region(found: str, region: str, file: IndexFile) -> None:
    if found != region:
        raise WrongFile(f"{file.path} holds keys of {found}, not of {region}")


def _is_signed(content: bytes, file: IndexFile, trusted: TrustedKeys) -> bool:
    try:
        if file.format == COMPACT:
            read_compact(BytesIO(content), trusted, max_keys=MAX_COMPACT_KEYS)
        else:
            export_bin, signatures = open_zip(content)
            verify_signatures(export_bin, signatures, trusted)
    except (Malformed, Distrusted):
        return False
    return True
