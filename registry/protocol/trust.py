"""The trust material: which public keys sign export files, for which regions, under which policy.

Public, the same for everyone, read by every phone before it believes a file. It holds public halves only.
That it came from the right place is not in it: the note beside it says so (`protocol/trust_note.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from registry.errors import Malformed
from registry.protocol.encoding import JsonObject, decode_json_object, encode_json
from registry.protocol.jwt import load_public_key
from registry.protocol.note import KeyKind, decode_vkey
from registry.protocol.regions import check_region
from registry.protocol.witness_policy import WitnessPolicy, decode_policy

Profile = Literal["demo", "production"]

COSIGNATURE_WARN_SECONDS = 21_600
COSIGNATURE_FAIL_SECONDS = 172_800
PROOF_GRACE_SECONDS = 172_800
"""What holds if `publication` does not say `cosignature_warn_seconds`, `cosignature_fail_seconds` or
`proof_grace_seconds`: how old the newest cosignature of a quorum may be before phones warn, and before they
fail; and for how long after its last full proof a phone goes on without one.
"""


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
    `retention_days`, the three of this module and whatever else a later release states, all whole numbers.
    `trust_vkey` is the root key that signs the note beside the material, `log_vkeys` the keys of the log's
    shards (each named `<log_origin>/<year>`), `witness_policy` the text of a tlog-policy; `sequence` counts
    the materials that the registry ever issued, from 1 on.
    """

    profile: Profile
    regions: tuple[str, ...]
    export_signing_keys: tuple[TrustedKey, ...]
    publication: Mapping[str, int]
    trust_vkey: str
    log_origin: str
    log_vkeys: tuple[str, ...]
    witness_policy: str
    sequence: int
    issued_at: int
    decoy_population: Mapping[str, Any] | None = None
    """Whom decoy users are drawn from (`registry.protocol.population`); None if none are drawn."""

    def policy(self) -> WitnessPolicy:
        """The witness policy, read."""
        return decode_policy(self.witness_policy.encode())


def trust_key_name(log_origin: str) -> str:
    """The name of the root key of the registry whose log is `log_origin`."""
    return f"{log_origin}/trust"


def shard_origin(log_origin: str, year: int) -> str:
    """The origin, and the name of the keys, of the log's shard of a UTC year."""
    return f"{log_origin}/{year:04d}"


def shard_year(log_origin: str, origin: str) -> int:
    """The year of the shard that is called `origin`. Raises Malformed if it is none of this log's."""
    year = origin.removeprefix(f"{log_origin}/")
    if len(year) != 4 or not (year.isascii() and year.isdecimal()) or origin != f"{log_origin}/{year}":
        raise Malformed(f"{origin[:80]!r} is not a year's shard of the log {log_origin[:80]}")
    return int(year)


def encode_trust(trust: TrustMaterial) -> bytes:
    """Canonical JSON under the names that README and phones use; `public_key` holds the PEM."""
    decoys = {} if trust.decoy_population is None else {"decoy_population": dict(trust.decoy_population)}
    return encode_json(
        {
            **decoys,
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
            "trust_vkey": trust.trust_vkey,
            "log_origin": trust.log_origin,
            "log_vkeys": list(trust.log_vkeys),
            "witness_policy": trust.witness_policy,
            "sequence": trust.sequence,
            "issued_at": trust.issued_at,
        }
    )


def decode_trust(content: bytes) -> TrustMaterial:
    """The trust material; unknown members are passed over. Raises Malformed.

    1. Every export key is readable and on P-256, ends after it begins, has its (id, version) to itself.
    2. The root key is an Ed25519 key that is called `<log_origin>/trust`.
    3. The log's keys, at least one of them Ed25519, are called `<log_origin>/<year>`, none named twice.
    4. The witness policy can be read, and is about no other log.

    Whether demo material is acceptable is the caller's to decide.
    """
    document = decode_json_object(content, "trust material")
    trust = TrustMaterial(
        profile=_read_profile(document),
        regions=document.texts("regions"),
        export_signing_keys=tuple(_read_key(key) for key in document.children("export_signing_keys")),
        publication=document.integers("publication"),
        trust_vkey=document.text("trust_vkey"),
        log_origin=document.text("log_origin"),
        log_vkeys=document.texts("log_vkeys"),
        witness_policy=document.text("witness_policy"),
        sequence=document.integer("sequence", least=1),
        issued_at=document.integer("issued_at"),
        decoy_population=(
            document.child("decoy_population").as_dict() if "decoy_population" in document else None
        ),
    )
    for region in trust.regions:
        check_region(region)
    names = [(key.key_id, key.key_version) for key in trust.export_signing_keys]
    if len(set(names)) != len(names):  # 1
        raise Malformed("trust material: two keys share an id and a version")
    _check_note_keys(trust)
    return trust


def _check_note_keys(trust: TrustMaterial) -> None:
    root = decode_vkey(trust.trust_vkey)
    if root.kind != KeyKind.ED25519 or root.name != trust_key_name(trust.log_origin):  # 2
        raise Malformed("trust material: 'trust_vkey' is not the Ed25519 key <log_origin>/trust")
    keys = [decode_vkey(vkey) for vkey in trust.log_vkeys]
    for key in keys:  # 3
        shard_year(trust.log_origin, key.name)
        if key.kind not in (KeyKind.ED25519, KeyKind.ML_DSA_44):
            raise Malformed(f"trust material: a key of type {key.kind} does not sign a log")
    if len(set(keys)) != len(keys) or KeyKind.ED25519 not in [key.kind for key in keys]:
        raise Malformed("trust material: 'log_vkeys' names a key twice, or no Ed25519 key")
    for log in trust.policy().logs:  # 4
        shard_year(trust.log_origin, log.key.name)


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
