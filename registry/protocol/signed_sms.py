"""A signed SMS, by which a phone can tell that it comes from its health authority.

ECDSA on P-256 over the SHA-256 of purpose, number (E.164), day (UTC) and text with the line that begins the
signature, joined by dots; after that line follow month and day, the key's id and the signature (DER) in
base64 without padding, joined by colons. As existing phones check it.
"""

from base64 import b64encode
from datetime import UTC, datetime
from enum import StrEnum

from registry.protocol.certificate import CertificateSigner

SIGNATURE_LINE = " \nAuthentication:"


class SmsPurpose(StrEnum):
    """What the SMS is for."""

    ISSUED = "EN Report"
    """A code that a health authority issued."""
    SELF_REPORT = "User Report"


def sign_sms(text: str, signer: CertificateSigner, *, purpose: SmsPurpose, e164: str, now: float) -> str:
    """`text` with its signature; `e164` is the number that it goes to."""
    day = datetime.fromtimestamp(now, UTC)
    signed = f"{purpose.value}.{e164}.{day:%Y-%m-%d}.{text}{SIGNATURE_LINE}"
    signature = b64encode(signer.sign(signed.encode())).decode("ascii").rstrip("=")
    return f"{text}{SIGNATURE_LINE}{day:%m%d}:{signer.key_id}:{signature}"
