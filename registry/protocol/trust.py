"""The trust material: which public keys sign export files, for which regions, under which policy.

Public, the same for everyone, read by every phone before it believes a file. It holds public halves only;
that it came from the right place is for whoever fetched it to know.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from registry.errors import Malformed
from registry.protocol.encoding import JsonObject, decode_json_object, encode_json
from registry.protocol.jwt import load_public_key
from registry.protocol.regions import check_region

Profile = Literal["demo", "production"]


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """One export signing key's public half, PEM on P-256. Signs in [not_before, not_after), unix seconds."""

    key_id: str
    key_version: str
    public_key_pem: str
    not_before: int
    not_after: int


@dataclass(frozen=True, slots=True)
class TrustMaterial:
    """What a phone must know of a registry. `demo` material is not for real people; phones refuse it.

    `publication` is the policy by its names: `window_seconds`, `floor`, `embargo_seconds`,
    `retention_days` and whatever else a later release states, all whole numbers.
    """

    profile: Profile
    regions: tuple[str, ...]
    export_signing_keys: tuple[TrustedKey, ...]
    publication: Mapping[str, int]
    log_vkeys: tuple[str, ...] = ()
    witness_policy: str = "none"
    issued_at: int = 0


def encode_trust(trust: TrustMaterial) -> bytes:
    """Canonical JSON under the names that README and phones use; `public_key` holds the PEM."""
    return encode_json(
        {
            "profile": trust.profile,
            "regions": list(trust.regions),
            "export_signing_keys": [
                {
                    "key_id": key.key_id,
                    "key_version": key.key_version,
                    "public_key": key.public_key_pem,
                    "not_before": key.not_before,
                    "not_after": key.not_after,
                }
                for key in trust.export_signing_keys
            ],
            "publication": dict(trust.publication),
            "log_vkeys": list(trust.log_vkeys),
            "witness_policy": trust.witness_policy,
            "issued_at": trust.issued_at,
        }
    )


def decode_trust(content: bytes) -> TrustMaterial:
    """The trust material; unknown members are passed over. Raises Malformed.

    Every key must be readable and on P-256, end after it begins, and have its (id, version) to itself.
    Whether demo material is acceptable is the caller's to decide.
    """
    document = decode_json_object(content, "trust material")
    trust = TrustMaterial(
        profile=_read_profile(document),
        regions=document.texts("regions"),
        export_signing_keys=tuple(_read_key(key) for key in document.children("export_signing_keys")),
        publication=document.integers("publication"),
        log_vkeys=document.texts("log_vkeys"),
        witness_policy=document.text("witness_policy"),
        issued_at=document.integer("issued_at"),
    )
    for region in trust.regions:
        check_region(region)
    names = [(key.key_id, key.key_version) for key in trust.export_signing_keys]
    if len(set(names)) != len(names):
        raise Malformed("trust material: two keys share an id and a version")
    return trust


def _read_profile(document: JsonObject) -> Profile:
    profile = document.text("profile")
    if profile == "demo":
        return "demo"
    if profile == "production":
        return "production"
    raise Malformed("trust material: 'profile' is neither demo nor production")


def _read_key(document: JsonObject) -> TrustedKey:
    key = TrustedKey(
        key_id=document.text("key_id"),
        key_version=document.text("key_version"),
        public_key_pem=document.text("public_key"),
        not_before=document.integer("not_before"),
        not_after=document.integer("not_after"),
    )
    load_public_key(key.public_key_pem)
    if key.not_after <= key.not_before:
        raise Malformed(f"trust material: key {key.key_id} {key.key_version} ends before it begins")
    return key
