"""Part of certifying: what a phone says about the person's agreement, checked before a certificate says it.

The record itself stays on the phone: here come its salted hash and the name of the text that was shown. Must
never take anything that could hold words of or about a person.
"""

from dataclasses import dataclass

from registry.errors import Malformed, Refusal, RefusalCode
from registry.protocol.certificate import CONSENT_VERSION
from registry.protocol.encoding import decode_base64

_HASH_BYTES = 32


@dataclass(frozen=True, slots=True)
class ConsentEvidence:
    """What the phone says about its consent record, as it was sent; each is empty if it says nothing."""

    hash_text: str = ""
    """Base64 of the SHA-256 of record and salt, which stay on the phone."""
    version: str = ""
    """Which text the person was shown."""


NO_CONSENT = ConsentEvidence()
"""Of apps that know of no receipts."""


def read_consent(consent: ConsentEvidence) -> tuple[bytes | None, str | None]:
    """Hash and version, each None if the phone says nothing. Refuses with `unparsable_request`.

    Not `token_invalid` or `hmac_invalid`: an app gives its token up for those.
    """
    if consent.version and not CONSENT_VERSION.fullmatch(consent.version):
        raise Refusal(
            RefusalCode.UNPARSABLE_REQUEST,
            "'consentVersion' may have 1 to 32 letters, digits and . _ : + - and nothing else",
        )
    if not consent.hash_text:
        return None, consent.version or None
    refusal = Refusal(RefusalCode.UNPARSABLE_REQUEST, f"'consentHash' must be {_HASH_BYTES} bytes in base64")
    try:
        consent_hash = decode_base64(consent.hash_text)
    except Malformed as error:
        raise refusal from error
    if len(consent_hash) != _HASH_BYTES:
        raise refusal
    return consent_hash, consent.version or None
