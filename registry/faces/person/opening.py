"""What an app said when it opened the page of reports, carried in the page's form and nowhere else.

Signed with a key that is derived from the lookup key, so that nobody can report in the name of another app's
authority, or with an opening of long ago. It holds nothing that its own phone may not read.
"""

import hmac
from dataclasses import dataclass, field

from registry.errors import Malformed
from registry.lifecycle.self_report import NONCE_BYTES
from registry.protocol.encoding import decode_base64url, encode_base64url

OPEN_SECONDS = 1800
"""How long a page may be open before it is sent, counted anew whenever the form is shown."""

_LABEL = b"exposure-registry/report-page"
_TIME_BYTES, _HASH_BYTES = 8, 32
_SIZE = _TIME_BYTES + _HASH_BYTES + NONCE_BYTES


@dataclass(frozen=True, slots=True)
class Opening:
    """The hash of the app's API key, and the bytes that its phone made."""

    api_key_hash: bytes = field(repr=False)
    nonce: bytes = field(repr=False)


def sign_opening(opening: Opening, lookup_key: bytes, now: float) -> str:
    """The value of the form's hidden field, good for `OPEN_SECONDS`.

    In base64url: end (8 bytes, unix seconds), key hash (32), nonce (256) and HMAC-SHA256 of these (32).
    """
    end = int(now + OPEN_SECONDS).to_bytes(_TIME_BYTES, "big")
    content = end + opening.api_key_hash + opening.nonce
    return encode_base64url(content + _mac(content, lookup_key))


def read_opening(text: str, lookup_key: bytes, now: float) -> Opening | None:
    """The opening, if this registry signed it and it has not ended."""
    try:
        signed = decode_base64url(text)
    except Malformed:
        return None
    content, mac = signed[:_SIZE], signed[_SIZE:]
    if not hmac.compare_digest(mac, _mac(content, lookup_key)):
        return None
    if int.from_bytes(content[:_TIME_BYTES], "big") <= now:
        return None
    return Opening(content[_TIME_BYTES : _TIME_BYTES + _HASH_BYTES], content[_TIME_BYTES + _HASH_BYTES :])


def _mac(content: bytes, lookup_key: bytes) -> bytes:
    return hmac.digest(hmac.digest(lookup_key, _LABEL, "sha256"), content, "sha256")
