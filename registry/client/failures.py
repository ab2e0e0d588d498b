"""Every error that the phone's side raises on purpose, beside those of `registry.errors`.

Three branches tell a caller what to do: `FetchFailed` (try again later; `retry_at` says when, if the
registry said so), `Distrusted` and `Malformed` (do not use what came; trying again may or may not help),
and `UploadRefused` (the person must act: the code says how). Nothing here carries a secret or a key.
"""

from collections.abc import Sequence

from registry.errors import Distrusted, FetchFailed, Malformed, RegistryError


class NoAnswer(FetchFailed):
    """No HTTP answer arrived: no network, a time-out, a broken connection. The registry may have acted."""


class UnexpectedStatus(FetchFailed):
    """An HTTP answer that is not the one asked for.

    `status` is the HTTP status; `retry_at` (unix seconds, or None) is when the registry asks to be tried
    again.
    """

    def __init__(self, message: str, *, status: int, retry_at: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_at = retry_at


class Throttled(UnexpectedStatus):
    """The registry asked for a pause (429, 503 or any answer with a Retry-After) that is not over."""


class TooLarge(Malformed):
    """More bytes than were announced or than anything honest needs; reading stopped there."""


class HashMismatch(Distrusted):
    """A file is not the one that the index announces: its size or SHA-256 differs."""


class RolledBack(Distrusted):
    """The registry shows something older than before: a smaller log, an earlier year, an older cosignature,
    or an index whose sequence, end or issue time went back.
    """


class SplitView(Distrusted):
    """The log has another root at a size that this phone has seen: not everybody is shown the same."""


class Frozen(Distrusted):
    """The newest quorum of cosignatures is too old: somebody may be holding newer checkpoints back."""


class QuorumMissing(Distrusted):
    """The log signed, but not enough of its witnesses did."""


class Unlogged(Distrusted):
    """The proof does not cover what it is for: the index that is offered is not in the log as its newest."""


class UnloggedFile(Distrusted):
    """A file that a trusted key signed, but that the log's index does not name: the key may be stolen."""


class SequenceGap(Distrusted):
    """Windows, or a stretch of time, are missing that this phone should have been able to read."""


class Rewritten(Distrusted):
    """A window that this phone has already read now lists other files."""


class Outdated(Distrusted):
    """The index has passed its expiry, or claims to come from the future: somebody may be holding it back."""


class WrongFile(Distrusted):
    """A signed file stands where another belongs: its region or window is not the one announced."""


class TooEarly(Distrusted):
    """A signed file holds a key that could still be replayed: its end was less than two hours ago."""


class TrustRefused(Distrusted):
    """The registry's trust material is not one that this phone may accept; nothing was changed."""


class TrustExpired(Distrusted):
    """The note on the trust material has passed its expiry, and no newer one is offered."""


class UploadRefused(RegistryError):
    """The registry refused a step of an upload, with the contract's error code.

    `code` is the field's word (`code_invalid`, `token_expired`, ...; `unauthorized` for a refused API key),
    `status` the HTTP status. `final` says that this upload cannot succeed any more and has been dropped.
    """

    def __init__(self, code: str, message: str, *, status: int, final: bool) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.final = final


class UploadUnderWay(RegistryError):
    """An upload with another code is not finished: finish it first, or abandon it."""


class NothingToUpload(RegistryError):
    """There is no upload to go on with, or this phone cannot upload: the message says what is missing."""


class Mistyped(RegistryError):
    """A verification code whose check character does not fit; nothing was sent."""


class NoKeyForThatTime(RegistryError):
    """This phone has no key for the time asked for, so it broadcast nothing then."""


class NotSetUp(RegistryError):
    """The store is not that of a phone that has been set up, or not one that this version can read."""


class BadSightings(Malformed):
    """Some sightings cannot be read; none was stored. `faults` holds (line number, reason)."""

    def __init__(self, faults: Sequence[tuple[int, str]]) -> None:
        super().__init__("; ".join(f"line {line}: {reason}" for line, reason in faults))
        self.faults = tuple(faults)
