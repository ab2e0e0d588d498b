"""What must hold before anything that the registry sent is believed. Pure: returns, or raises and says why.

Of an index (its windows are without a gap already, `decode_index` sees to that):

 1. It is this phone's region's.
 2. It is no older than the one before: sequence, end and issue time never go back.
 3. It was not issued in the future and has not expired.
 4. It reaches back to the registry's first window, or over the whole time that matters to the card.
 5. Windows that were read before have their times still, and what it adds begins where those ended.
 6. It lists no new file in a window that was read before, and no other file under a known name.

Of a file:

 1. Size and SHA-256 are those of the index, also if a trusted key signed it.
 2. The zip holds exactly the two entries, unpacks to no more than is allowed, begins with the header.
 3. There is a signature for each one announced, at least one by a trusted key, and no trusted key's is wrong.
 4. Region and window are those under which the index lists it.
 5. Every key is one that phones can use, and there are not too many.
 6. Every key's validity ended at least two hours before the window did: phones witness the embargo.

Nothing of a file that fails is matched. The index itself carries no signature: that it is the registry's
newest, the same for everyone, is proven by the log (`registry.client.proof`).
"""

from collections.abc import Mapping
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

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
from registry.protocol.export_file import (
    ExportFile,
    check_export,
    open_zip,
    read_announced,
    verify_signatures,
)
from registry.protocol.index import GAEN_ZIP, Index, IndexFile, IndexWindow
from registry.protocol.intervals import EMBARGO_INTERVALS, interval_at
from registry.protocol.trust import TrustMaterial

MAX_FILE_BYTES = 32 * 2**20
MAX_KEYS = 1_000_000
"""Existing phones take about 750,000 keys a file."""

TrustedKeys = Mapping[tuple[str, str], EllipticCurvePublicKey]


def trusted_keys(trust: TrustMaterial, window: IndexWindow, *, now: float) -> TrustedKeys:
    """The pinned keys that may have signed a file of `window`, by (id, version).

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
    before = {file.path: file.sha256 for window in previous.windows for file in window.files}
    for window in index.windows:
        for file in window.files:
            known = before.get(file.path)
            if known is not None and known != file.sha256:
                raise Rewritten(f"{file.path} was changed after it was published")
            if known is None and window.sequence <= previous.sequence:
                raise Rewritten(f"{file.path} was added to a window that was complete")


def verify_file(
    content: bytes, file: IndexFile, window: IndexWindow, *, region: str, trusted: TrustedKeys, now: float
) -> ExportFile:
    """What the file says, once all of it holds.

    Raises `HashMismatch`, `UnloggedFile`, `WrongFile`, `TooEarly`, `Malformed`, `BadSignature` or
    `UntrustedKey`.
    """
    if file.format != GAEN_ZIP:
        raise Malformed(f"{file.path} is of the format {file.format[:40]}, which this phone cannot read")
    if len(content) != file.size or sha256(content).hexdigest() != file.sha256:  # 1
        if _is_signed(content, trusted):
            raise UnloggedFile(
                f"{file.path} is signed by a trusted key, but is not the file that the index names: it was "
                "altered on its way, or somebody else has the key"
            )
        raise HashMismatch(f"{file.path} is not the file that the index names")
    # The signature first: what nobody signed is not even parsed.
    export_bin, signatures = open_zip(content)  # 2
    verify_signatures(export_bin, signatures, trusted)  # 3
    export = read_announced(export_bin, len(signatures))  # 2, 3
    if export.region != region:  # 4
        raise WrongFile(f"{file.path} holds keys of {export.region}, not of {region}")
    # A window of several files counts them up in the end, for phones that tell files apart by it.
    latest = window.end + (len(window.files) if len(window.files) > 1 else 0)
    if export.start_timestamp != window.start or not window.end <= export.end_timestamp <= latest:
        raise WrongFile(f"{file.path} is a file of another window")
    if len(export.keys) + len(export.revised_keys) > MAX_KEYS:  # 5
        raise Malformed(f"{file.path} holds more than {MAX_KEYS} keys")
    check_export(export, now=now + CLOCK_TOLERANCE_SECONDS)
    latest_end = interval_at(window.end) - EMBARGO_INTERVALS
    if any(key.end_interval_number > latest_end for key in (*export.keys, *export.revised_keys)):  # 6
        raise TooEarly(f"{file.path} holds a key that was valid less than two hours before its window's end")
    return export


def _is_signed(content: bytes, trusted: TrustedKeys) -> bool:
    try:
        export_bin, signatures = open_zip(content)
        verify_signatures(export_bin, signatures, trusted)
    except (Malformed, Distrusted):
        return False
    return True
