"""Which registry this phone believes: trust material is fetched once, pinned, and replaced only with care.

Beside it lies a note by the registry's root key. The first one rests on the root's fingerprint, which a
person compares, and on the address, which must be HTTPS unless it is this very machine or a demonstration.
Every later one must be by the root that was pinned, and must not go back.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from registry.client.failures import TrustExpired, TrustRefused
from registry.client.sightings import CLOCK_TOLERANCE_SECONDS
from registry.client.transport import Transport, unexpected
from registry.errors import UntrustedKey
from registry.protocol.index import TRUST_NOTE_PATH, TRUST_PATH
from registry.protocol.note import decode_note, decode_vkey
from registry.protocol.trust import TrustedKey, TrustMaterial, decode_trust
from registry.protocol.trust_note import (
    MAX_TRUST_NOTE_BYTES,
    TrustNote,
    fingerprint,
    open_trust_note,
    same_fingerprint,
    trust_digest,
)

MAX_TRUST_BYTES = 256 * 1024
NOTE_GRACE_SECONDS = 7 * 86_400
"""For so long after its end a note is still taken, with a warning: root keys lie where people must go."""

Confirm = Callable[[str], bool | None]
"""Shown a fingerprint, says whether the person found it to be the registry's; None if nobody can be asked."""

_THIS_MACHINE = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class KeyChange:
    """Export signing keys that came and went, each as `id-version`, when trust material was replaced."""

    added: tuple[str, ...]
    removed: tuple[str, ...]


def check_address(url: str) -> str:
    """The address without a slash at its end. Raises `TrustRefused` unless it is plain http(s)."""
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise TrustRefused(f"{url!r} is not an address: {error}") from error
    if not is_address:
        raise TrustRefused(f"{url!r} is not an address like https://keys.example.org")
    if parts.query or parts.fragment or parts.username or parts.password:
        raise TrustRefused("the address must have no user, query or fragment: it is the same for every phone")
    return url.rstrip("/")


@dataclass(frozen=True, slots=True)
class SignedTrust:
    """Trust material and the note on it, as they came and as they read. Made by `open_signed_trust`."""

    content: bytes
    trust: TrustMaterial
    note_content: bytes
    note: TrustNote

    @property
    def fingerprint(self) -> str:
        """Of the root key, for people to compare."""
        return fingerprint(self.trust.trust_vkey)


def open_signed_trust(content: bytes, note_content: bytes) -> SignedTrust:
    """The material, once the note is about exactly it and signed by the root key that it names.

    Whether that root is the right one is not known from this. Raises `Malformed`, `UntrustedKey`,
    `BadSignature`, or `TrustRefused` for a note about something else.
    """
    trust = decode_trust(content)
    note = open_trust_note(note_content, decode_vkey(trust.trust_vkey))
    if (note.digest, note.sequence) != (trust_digest(content), trust.sequence):
        raise TrustRefused("the note beside the registry's trust material is about another one")
    return SignedTrust(content, trust, note_content, note)


def fetch_signed_trust(
    transport: Transport, base_url: str, *, now: float, pinned: SignedTrust | None = None
) -> SignedTrust:
    """Trust material and note as they stand at the registry; the material only if it is not the `pinned` one.

    Raises `FetchFailed`, or what `open_signed_trust` raises.
    """

    def fetch() -> SignedTrust:
        note_content = _get(transport, base_url, TRUST_NOTE_PATH, MAX_TRUST_NOTE_BYTES, now)
        if pinned is not None and f"digest {pinned.note.digest.hex()}\n" in decode_note(note_content).text:
            return open_signed_trust(pinned.content, note_content)
        content = _get(transport, base_url, TRUST_PATH, MAX_TRUST_BYTES, now)
        return open_signed_trust(content, note_content)

    try:
        return fetch()
    except TrustRefused:
        # The registry may have replaced both between the two requests.
        return fetch()


def _get(transport: Transport, base_url: str, path: str, most: int, now: float) -> bytes:
    answer = transport.get(f"{base_url}/{path}", {}, most)
    if answer.status != 200:
        raise unexpected(answer, "the registry's trust material", now)
    return answer.body


def check_in_time(note: TrustNote, *, now: float) -> TrustExpired | None:
    """What to warn of, if the note's end has passed. Raises `TrustExpired` a week later."""
    if now < note.expires_at:
        return None
    end = datetime.fromtimestamp(note.expires_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    expired = TrustExpired(
        f"the registry's word on its keys ended at {end} and no newer one is offered: "
        "somebody may be holding it back"
    )
    if now >= note.expires_at + NOTE_GRACE_SECONDS:
        raise expired
    return expired


def nobody(shown: str) -> None:
    """The `Confirm` of surroundings in which nobody can be asked."""


def compare_fingerprint(offered: SignedTrust, *, given: str | None, is_first: bool, confirm: Confirm) -> bool:
    """Whether somebody compared the root key's fingerprint: with what was `given`, or when shown it.

    Raises `TrustRefused` if it is another one, if the person says no, and if nobody compared it though this
    registry is for real people or the phone had pinned another root before (`is_first` is False).
    """
    shown = offered.fingerprint
    if given is not None:
        if not same_fingerprint(shown, given):
            raise TrustRefused(
                f"the registry at this address has the fingerprint {shown}, not the one that was given: "
                "either that was mistyped, or somebody else answers in the registry's place"
            )
        return True
    answer = confirm(shown)
    if answer is False:
        raise TrustRefused("the fingerprint was not found to be the registry's: nothing was pinned")
    if answer is None and (not is_first or offered.trust.profile != "demo"):
        raise TrustRefused(
            f"nobody has compared the registry's fingerprint, {shown}, with the one of the health "
            "authority: ask for that one, and give it with --fingerprint"
        )
    return bool(answer)


def is_of_the_future(note: TrustNote, *, now: float) -> bool:
    """Whether the registry's clock or this phone's is wrong, or was when the note was made."""
    return note.issued_at > now + CLOCK_TOLERANCE_SECONDS


def check_first_trust(
    trust: TrustMaterial, *, addresses: Iterable[str], region: str, demonstration: bool, staged: bool
) -> None:
    """Raises `TrustRefused` unless a phone may pin this and talk to these `addresses`.

    `demonstration` says that the person asked for a registry that is not for real people, `staged` that past
    keys are to be made up, which is for demonstrations only.
    """
    if trust.profile == "demo" and not demonstration:
        raise TrustRefused(
            "this registry is a demonstration, not for real people: its keys and warnings mean nothing. "
            "If that is what you want, ask for it with --demo"
        )
    if trust.profile != "demo" and (demonstration or staged):
        raise TrustRefused("this registry is for real people: leave out --demo and --staged")
    if trust.profile != "demo" and not all(map(_is_secure, addresses)):
        raise TrustRefused("a registry for real people must be reached by https")
    _check_usable(trust, region)


def check_next_trust(pinned: SignedTrust, offered: SignedTrust, *, region: str) -> KeyChange:
    """What changes if `offered` replaces `pinned`. Raises `TrustRefused` or `BadSignature` if it must not.

    1. It is of the same registry: profile and log stay, and the region is there.
    2. The pinned root signed its note; if the root changes, both did (`open_signed_trust` saw to the other).
    3. It does not go back; what has the same number is the same, and the next one names the pinned one.
    """
    if offered.trust.profile != pinned.trust.profile:  # 1
        raise TrustRefused(f"the registry turned from {pinned.trust.profile} to {offered.trust.profile}")
    check_same_log(pinned.trust, offered.trust)
    _check_usable(offered.trust, region)
    if not is_by_root_of(pinned, offered):  # 2
        raise TrustRefused(
            "the registry's trust material is not signed by the root key that this phone has pinned. Only if "
            f"the health authority tells you that its fingerprint is now {offered.fingerprint}, run `init` "
            "again with --fingerprint"
        )
    _check_order(pinned.note, offered.note)  # 3
    return key_change(pinned.trust, offered.trust)


def is_by_root_of(pinned: SignedTrust, offered: SignedTrust) -> bool:
    """Whether the pinned root signed the offered note, perhaps beside a new root. Raises `BadSignature`."""
    try:
        open_trust_note(offered.note_content, decode_vkey(pinned.trust.trust_vkey))
    except UntrustedKey:
        return False
    return True


def check_same_log(pinned: TrustMaterial, offered: TrustMaterial) -> None:
    """Raises `TrustRefused` if the registry is another one than this phone's."""
    if offered.log_origin != pinned.log_origin:
        raise TrustRefused(
            f"the registry's log is {offered.log_origin}, this phone's was {pinned.log_origin}: "
            "use another --store for another registry, also for one that was set up anew"
        )


def _check_order(pinned: TrustNote, offered: TrustNote) -> None:
    # Of one number the note may be any: it says the same, and an older one only ends sooner.
    if offered.sequence < pinned.sequence:
        raise TrustRefused("the registry shows trust material older than the pinned one")
    if offered.sequence == pinned.sequence and offered.digest != pinned.digest:
        raise TrustRefused(f"the registry signed two different trust materials as number {pinned.sequence}")
    if offered.sequence == pinned.sequence + 1 and offered.previous != pinned.digest:
        raise TrustRefused(
            f"trust material {offered.sequence} does not follow number {pinned.sequence} as pinned here"
        )


def key_change(pinned: TrustMaterial, fetched: TrustMaterial) -> KeyChange:
    """The keys that differ, by id, version and public key."""
    before = {_identity(key) for key in pinned.export_signing_keys}
    after = {_identity(key) for key in fetched.export_signing_keys}
    return KeyChange(added=_names(after - before), removed=_names(before - after))


def _check_usable(trust: TrustMaterial, region: str) -> None:
    if region not in trust.regions:
        raise TrustRefused(
            f"the registry has no region {region}; it has {', '.join(trust.regions) or 'none'}"
        )
    if not trust.export_signing_keys:
        raise TrustRefused("the registry names no export signing key")


def _is_secure(address: str) -> bool:
    parts = urlsplit(address)
    return parts.scheme == "https" or parts.hostname in _THIS_MACHINE


def _identity(key: TrustedKey) -> tuple[str, str, str]:
    return key.key_id, key.key_version, key.public_key_pem


def _names(identities: set[tuple[str, str, str]]) -> tuple[str, ...]:
    return tuple(sorted(f"{key_id}-{version}" for key_id, version, _ in identities))
