"""From a code to the SMS that carries it: text, signature where the authority signs, and whoever sends it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from registry.delivery.phone_number import PhoneNumber, read_phone_number
from registry.delivery.sms import Sms, SmsDesk
from registry.errors import Unavailable
from registry.protocol.certificate import CertificateSigner
from registry.protocol.signed_sms import SmsPurpose, sign_sms
from registry.protocol.sms_text import SmsValues, fill, values_of


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be sent to whom, once there is a code. Prints without the number."""

    to: PhoneNumber
    template: str
    purpose: SmsPurpose
    signer: CertificateSigner | None = field(repr=False)


@dataclass(frozen=True)
class SmsMaker:
    """All that a face needs to send codes by SMS. `desk` is None where no gateway is set up."""

    desk: SmsDesk | None
    signers: Mapping[str, CertificateSigner] = field(repr=False)
    """By authority; an SMS is signed where the authority asks for it."""
    region: str
    """ISO 3166, of numbers without a calling code; and [region] of texts."""
    address: str
    """Under which links to phones lie."""
    only_shows: bool = False
    """Whether nothing is sent, as in a demonstration, and pages show the text instead."""

    def read_number(self, text: str) -> PhoneNumber:
        """The number that was typed. Refuses with `phone_number_invalid`."""
        return read_phone_number(text, self.region)

    def message(
        self, to: PhoneNumber, template: str, *, authority_id: str, signed: bool, purpose: SmsPurpose
    ) -> Message:
        """What is to be sent once there is a code.

        Raises Unavailable if the authority signs and there is no key: unsigned nothing goes out in its name.
        """
        signer = self.signers.get(authority_id) if signed else None
        if signed and signer is None:
            raise Unavailable("no SMS signing key for the authority")
        return Message(to, template, purpose, signer)

    def values(self, code: str, link_code: str, expires_at: int, now: float) -> SmsValues:
        """What is put into a text for this code, which is good until `expires_at` (unix seconds)."""
        return values_of(
            region=self.region,
            address=self.address,
            code=code,
            link_code=link_code,
            expires_at=expires_at,
            now=now,
        )

    def sms(self, message: Message, values: SmsValues, now: float) -> Sms:
        """The SMS with these values, signed if need be."""
        text = fill(message.template, values)
        if message.signer is not None:
            text = sign_sms(text, message.signer, purpose=message.purpose, e164=message.to.e164, now=now)
        return Sms(message.to, text)
