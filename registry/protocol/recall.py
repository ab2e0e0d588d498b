"""How an upload can be found again to be recalled, by two officials and nobody else.

A certificate carries a random handle. The issuing half keeps it sealed; the collecting half keeps none of
it, but with each key a tag that only the handle leads to. Without the handle tags are random numbers, and no
two keys of an upload can be told to be its.
"""

import hmac
import secrets

HANDLE_BYTES = 16
TAG_BYTES = 16
MOST_TAGS = 64
"""More keys than an upload may have: whoever holds a handle looks for so many tags."""

_LABEL = b"positive-key-registry recall tag v1\n"


def recall_tags(handle: bytes | None, count: int) -> list[bytes]:
    """The tags of an upload's first `count` keys; random ones if it has no handle, so that all look alike."""
    if handle is None:
        return [secrets.token_bytes(TAG_BYTES) for _ in range(count)]
    return [
        hmac.digest(handle, _LABEL + number.to_bytes(4), "sha256")[:TAG_BYTES] for number in range(count)
    ]
