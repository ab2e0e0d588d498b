"""Which registry this phone believes: trust material is fetched once, pinned, and replaced only with care.

The first fetch rests on the address alone, so it must be HTTPS unless it is this very machine or a
demonstration. A later one must have a pinned key in common with what it replaces.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from registry.client.failures import TrustRefused
from registry.client.transport import Transport, unexpected
from registry.protocol.index import TRUST_PATH
from registry.protocol.trust import TrustedKey, TrustMaterial, decode_trust

MAX_TRUST_BYTES = 256 * 1024
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


def fetch_trust(transport: Transport, base_url: str, *, now: float) -> tuple[bytes, TrustMaterial]:
    """The trust material as it stands at the registry, believed by nobody yet.

    Raises `FetchFailed` or `Malformed`.
    """
    answer = transport.get(f"{base_url}/{TRUST_PATH}", {}, MAX_TRUST_BYTES)
    if answer.status != 200:
        raise unexpected(answer, "the registry's trust material", now)
    return answer.body, decode_trust(answer.body)


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


def check_next_trust(pinned: TrustMaterial, fetched: TrustMaterial, *, region: str) -> KeyChange:
    """What changes if `fetched` replaces `pinned`. Raises `TrustRefused` if it must not."""
    if fetched.profile != pinned.profile:
        raise TrustRefused(f"the registry turned from {pinned.profile} to {fetched.profile}")
    if fetched.issued_at < pinned.issued_at:
        raise TrustRefused("the registry shows trust material older than the pinned one")
    _check_usable(fetched, region)
    common = {_identity(key) for key in pinned.export_signing_keys} & {
        _identity(key) for key in fetched.export_signing_keys
    }
    if not common:
        raise TrustRefused(
            "none of the pinned keys is left: either this phone was off for very long, or somebody else "
            "answers in the registry's place. Only if you are sure of the address, run `init` with it again"
        )
    return key_change(pinned, fetched)


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
