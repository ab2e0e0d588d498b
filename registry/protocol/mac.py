"""The HMAC by which a verification certificate names exactly these keys (`ekeyhmac`, `tekmac`).

The text that is MAC'd is part of the wire format of existing apps: `key.start.period.risk` a key, sorted
by the key's base64 text as sent, joined by commas (exposure-notifications-server, "HMAC calculation").
The secret never leaves the phone before the upload; nothing here may log it.
"""

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MacSegment:
    """One key as the upload spells it. `key_text` is the base64 exactly as sent, never re-encoded."""

    key_text: str
    rolling_start_interval_number: int
    rolling_period: int
    transmission_risk: int


def upload_mac(secret: bytes, segments: Iterable[MacSegment], *, with_risk: bool = True) -> bytes:
    """32 bytes, HMAC-SHA256. Without `with_risk` the three-part form `key.start.period`.

    Works on a copy: the caller's order is the order of its error messages.
    """
    parts = []
    for segment in sorted(segments, key=lambda segment: segment.key_text):
        part = f"{segment.key_text}.{segment.rolling_start_interval_number}.{segment.rolling_period}"
        parts.append(f"{part}.{segment.transmission_risk}" if with_risk else part)
    # JSON can carry half a surrogate pair in a key's text: that must end as a mismatch, not as a crash.
    return hmac.digest(secret, ",".join(parts).encode("utf-8", "surrogatepass"), "sha256")


def mac_matches(secret: bytes, segments: Sequence[MacSegment], expected: bytes) -> bool:
    """Whether `expected` is the MAC of these keys, compared in constant time.

    The three-part form counts only if every risk is 0, as in existing servers: otherwise a certificate
    would not bind the risks that were sent.
    """
    if hmac.compare_digest(upload_mac(secret, segments), expected):
        return True
    if any(segment.transmission_risk for segment in segments):
        return False
    return hmac.compare_digest(upload_mac(secret, segments, with_risk=False), expected)
