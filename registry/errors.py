"""Every error that the registry raises on purpose, in one tree. Imports nothing of ours.

Three branches matter to a reader: `Refusal` (the caller asked for something that is not to be had, and a
face turns it into a 4xx with the field's error code), `Malformed` and `Distrusted` (bytes that are not
what they claim to be, whoever sent them), and `Unavailable` (our own fault or our surroundings': 5xx, and
nothing about it leaves the process). Anything outside this tree is a bug and becomes a bare 500.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Generic, TypeVar

Outcome = TypeVar("Outcome")


class RegistryError(Exception):
    """Root of everything raised on purpose."""


class RefusalCode(StrEnum):
    """The field's error codes, spelled as apps written for existing servers read them.

    Sources: the verification server's and the key server's HTTP contracts. Which HTTP status each leaves
    with is decided at the face (`faces/device`), nowhere else.
    """

    UNPARSABLE_REQUEST = "unparsable_request"
    CODE_INVALID = "code_invalid"
    CODE_EXPIRED = "code_expired"
    CODE_NOT_FOUND = "code_not_found"
    CODE_USER_UNAUTHORIZED = "code_user_unauthorized"
    UNSUPPORTED_TEST_TYPE = "unsupported_test_type"
    INVALID_TEST_TYPE = "invalid_test_type"
    MISSING_DATE = "missing_date"
    INVALID_DATE = "invalid_date"
    UUID_ALREADY_EXISTS = "uuid_already_exists"
    QUOTA_EXCEEDED = "quota_exceeded"
    TOKEN_INVALID = "token_invalid"  # noqa: S105  # the field's word, not a secret
    TOKEN_EXPIRED = "token_expired"  # noqa: S105  # the field's word, not a secret
    HMAC_INVALID = "hmac_invalid"
    MAINTENANCE_MODE = "maintenance_mode"
    PHONE_NUMBER_INVALID = "phone_number_invalid"
    MISSING_PHONE = "missing_phone"
    MISSING_NONCE = "missing_nonce"
    SMS_FAILURE = "sms_failure"
    SMS_QUEUE_FULL = "sms_queue_full"
    BAD_REQUEST = "bad_request"
    UNKNOWN_HEALTH_AUTHORITY_ID = "unknown_health_authority_id"
    HEALTH_AUTHORITY_MISSING_REGION_CONFIG = "health_authority_missing_region_config"
    CERTIFICATE_INVALID = "health_authority_verification_certificate_invalid"
    MISSING_REVISION_TOKEN = "missing_revision_token"  # noqa: S105  # the field's word, not a secret
    INVALID_REVISION_TOKEN = "invalid_revision_token"  # noqa: S105  # the field's word, not a secret
    KEY_ALREADY_REVISED = "key_already_revised"
    INVALID_REPORT_TYPE_TRANSITION = "invalid_report_type_transition"
    PARTIAL_FAILURE = "partial_failure"
    INTERNAL_ERROR = "internal_error"


class Refusal(RegistryError):
    """The caller's request cannot be granted; nothing was stored.

    `code` is what a program reads, the message is English for the person who debugs it and says what to
    do next. The message never repeats a secret.
    """

    def __init__(self, code: RefusalCode, message: str, *, retry_at: int | None = None) -> None:
        """`retry_at`: from when on the same request may be granted, in unix seconds, where that is known."""
        super().__init__(message)
        self.code = code
        self.retry_at = retry_at


class Malformed(RegistryError):
    """Bytes that do not follow their format: a file, a note, a token, a field."""


class Distrusted(RegistryError):
    """Well-formed bytes that do not prove what they claim."""


class BadSignature(Distrusted):
    """A signature by a key that we know does not verify."""


class UntrustedKey(Distrusted):
    """Nothing here is signed by a key that we trust. Refreshing the trust material may mend it."""


class WrongProof(Distrusted):
    """A Merkle proof that does not prove what it is for."""


class CertificateInvalid(Distrusted):
    """A verification certificate or token that fails a check; the message says which."""


class CertificateExpired(CertificateInvalid):
    """The signature holds, but its time has passed."""


class Unavailable(RegistryError):
    """Something that we need is missing or failing. The operator must act; the caller may try again."""


class NoLiveSigner(Unavailable):
    """No export signing key is live now, so nothing may be published."""


class LeaseLost(Unavailable):
    """Another process has taken over this work. Whatever was not committed is left to it."""


class StorageConflict(Unavailable):
    """Other bytes already lie under a name that is written once. Never overwritten, always reported."""


class StorageUnavailable(Unavailable):
    """The store of the public files does not answer, or refuses us. Running again mends what was begun."""


class LogSetBack(Unavailable):
    """The database is behind what its own log has published, as after an older backup was restored.

    Nothing is signed in such a run. What is missing has been brought back from our own tiles if the message
    says so; then the next run goes on.
    """


class LogForked(Unavailable):
    """What we hold and what was published cannot be one log. Nothing is signed until somebody has looked."""


class PublishingFailed(Unavailable, Generic[Outcome]):
    """The public files of some regions could not be brought up to date; what could be done was done.

    `reasons` are by region. One that we raised is in its own words, any other is named by its class alone,
    for its text could quote a row. `outcome` is what the run returns when nothing fails.
    """

    def __init__(self, failures: Mapping[str, Exception], outcome: Outcome) -> None:
        self.reasons = {
            region: str(failure) if isinstance(failure, RegistryError) else type(failure).__qualname__
            for region, failure in failures.items()
        }
        super().__init__("; ".join(f"{region}: {reason}" for region, reason in self.reasons.items()))
        self.outcome = outcome


class ConfigurationError(RegistryError):
    """The settings, a key folder or the database do not fit together. Raised before anything is served."""


class NothingToWithdraw(RegistryError):
    """The batch that an operator named is not there to be withdrawn."""


class NothingToRecall(RegistryError):
    """There is no such statement, or its recall is under way already."""


class NotToBeDecided(RegistryError):
    """A recall that is decided already, that is not there, or that this official may not decide."""


class OfficialsRule(StrEnum):
    """What an act upon officials can run against."""

    UNKNOWN = "unknown"
    """There is no such person in the authority."""
    NOT_PERMITTED = "not_permitted"
    """Who acts may look after officials no longer."""
    BEYOND_OWN = "beyond_own"
    """It would give a permission that who acts does not hold."""
    ONESELF = "oneself"
    """Nobody removes themselves."""
    LAST = "last"
    """Nobody would be left who may look after officials."""
    KNOWN_ALREADY = "known_already"
    """This very invitation was made before."""


class OfficialsRefused(RegistryError):
    """Something that may not be done to an official, or not by this one; nothing was stored."""

    def __init__(self, rule: OfficialsRule) -> None:
        super().__init__(rule.value)
        self.rule = rule


class ProofRefused(RegistryError):
    """What came does not prove who sits at the browser; the message says which check it failed, for tests."""


class LastPasskey(RegistryError):
    """Without this passkey its owner could not come in again."""


class NoSuchApiKey(RegistryError):
    """The authority has no such API key, or several that are meant."""


class KeysRefused(RegistryError):
    """A set of an authority's public keys that must not replace the one that is here; nothing was changed."""


class FetchFailed(RegistryError):
    """The client could not get an answer: network, time-out or a status that is not ours to mend."""
