"""Receipts: what binds an upload to the official's attestation, the person's agreement and the certificate.

Phone and registry make the same bytes, each by itself, from what both hold once keys are uploaded. The
registry publishes nothing of a receipt but its commitment, among decoys, as leaves of a Merkle tree whose
root stands in the batch's manifest. A receipt must never name a person, an official or a key: it holds a
salted commitment, hashes and a MAC.
"""

import hashlib
import heapq
import hmac
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from registry.errors import Malformed
from registry.protocol.certificate import VerificationCertificate
from registry.protocol.encoding import (
    JsonObject,
    decode_base64,
    decode_json_object,
    encode_base64,
    encode_json,
)
from registry.protocol.merkle import leaf_hash, tree_root

HASH_BYTES = 32
LEAVES_GRAIN = 16
"""A batch's tree has a multiple of so many leaves: how many uploads there were is known to no finer grain."""

_VERSION = 1
_RECEIPT_LABEL = b"positive-key-registry receipt v1"
_ATTESTATION_LABEL = b"positive-key-registry attestation v1\n"
_DECOY_LABEL = b"positive-key-registry decoy receipt v1\n"
_HASHES = ("attestation", "certificate", "consent_hash", "ekeyhmac", "salt")
_OPTIONAL = frozenset({"attestation", "consent_hash", "consent_version"})


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a receipt says; hashes are 32 bytes each. None is what phone or authority did not give."""

    certificate: bytes
    """SHA-256 of the verification certificate as it was sent (the compact JWT, ASCII)."""
    ekeyhmac: bytes
    """The HMAC of the keys, under a secret that only the phone keeps: no key can be found by it."""
    salt: bytes
    """`receipt_salt` of that secret."""
    attestation: bytes | None = None
    """`attestation_commitment`, opened by the issuing half alone."""
    consent_hash: bytes | None = None
    """SHA-256 of the consent record and its salt, which only the phone keeps."""
    consent_version: str | None = None


def receipt_of(token: str, certificate: VerificationCertificate, hmac_key: bytes) -> Receipt:
    """The receipt of an upload with this certificate, `token` as it was sent, under the phone's `hmac_key`.

    Raises Malformed if the certificate's `tekmac` is not base64.
    """
    return Receipt(
        certificate=hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest(),
        ekeyhmac=decode_base64(certificate.tekmac),
        salt=receipt_salt(hmac_key),
        attestation=certificate.attestation,
        consent_hash=certificate.consent_hash,
        consent_version=certificate.consent_version,
    )


def receipt_salt(hmac_key: bytes) -> bytes:
    """32 bytes that both ends derive from the upload's `hmacKey`, so that no answer need carry them."""
    return hmac.digest(hmac_key, _RECEIPT_LABEL, "sha256")


def encode_receipt(receipt: Receipt) -> bytes:
    """Canonical JSON; what is None is left out. The commitment is over these very bytes."""
    members: dict[str, object] = {"v": _VERSION}
    for name in _HASHES:
        value: bytes | None = getattr(receipt, name)
        if value is not None:
            members[name] = encode_base64(value)
    if receipt.consent_version is not None:
        members["consent_version"] = receipt.consent_version
    return encode_json(members)


def decode_receipt(content: bytes) -> Receipt:
    """What `encode_receipt` wrote. Raises Malformed for anything else, another spelling of it included."""
    members = decode_json_object(content, "receipt")
    members.integer("v", least=_VERSION, most=_VERSION)
    version = members.text("consent_version") if "consent_version" in members else None
    receipt = Receipt(
        consent_version=version,
        **{name: _hash(members, name) for name in _HASHES if name not in _OPTIONAL or name in members},
    )
    if encode_receipt(receipt) != content:
        raise Malformed("receipt: not in its one spelling (canonical JSON, no other members)")
    return receipt


def commitment(content: bytes) -> bytes:
    """SHA-256 of an encoded receipt, 32 bytes: all of it that is ever published."""
    return hashlib.sha256(content).digest()


def attestation_commitment(salt: bytes, attestation: Mapping[str, object]) -> bytes:
    """SHA-256 over label, `salt` (32 random bytes of this attestation's own) and the canonical JSON of it.

    Whoever lacks the salt learns nothing, whoever has it can show that this was stated and nothing else.
    Raises Malformed for a salt of another length.
    """
    _check_length(salt, "the salt of an attestation")
    return hashlib.sha256(_ATTESTATION_LABEL + salt + encode_json(attestation)).digest()


def padded_count(users: int) -> int:
    """How many leaves the tree of a batch of so many users has: the next multiple of 16, and never 0."""
    return max(1, -(-users // LEAVES_GRAIN)) * LEAVES_GRAIN


def decoy_commitment(seed: bytes, number: int) -> bytes:
    """Commitment of the decoy `number` (from 0): random to whoever has not the batch's seed of 32 bytes.

    Raises Malformed for a seed of another length.
    """
    _check_length(seed, "the seed of a batch")
    return hashlib.sha256(_DECOY_LABEL + seed + number.to_bytes(4, "big")).digest()


def receipt_leaves(
    real_commitments: Iterable[bytes], count: int, seed: bytes, *, decoy_users: int = 0
) -> Iterator[bytes]:
    """The leaves of a batch's tree: its receipts' commitments and decoys up to `padded_count`, ascending.

    The commitments are `count`, and ascend. They are asked for one by one, never held: only the decoys are.
    `decoy_users` count as uploads do: the tree tells no more than how many users the batch has in all.
    Raises Malformed, when it comes to it, for a commitment that is not 32 bytes, stands there twice or out of
    its order, and for another number of them; and as `decoy_commitment`.
    """
    decoys = padded_count(count + decoy_users) - count
    drawn = sorted(decoy_commitment(seed, number) for number in range(decoys))
    before, found = b"", 0
    for leaf in heapq.merge(real_commitments, drawn):
        _check_length(leaf, "a receipt's commitment")
        if leaf <= before:
            raise Malformed("a receipt's commitment stands among the leaves twice, or out of its order")
        yield leaf
        before, found = leaf, found + 1
    if found != count + decoys:
        raise Malformed(f"{found - decoys} receipts' commitments, where {count} were to come")


def all_receipt_leaves(
    real_commitments: Collection[bytes], seed: bytes, *, decoy_users: int = 0
) -> tuple[bytes, ...]:
    """`receipt_leaves` of commitments in any order, as a whole."""
    count = len(real_commitments)
    return tuple(receipt_leaves(sorted(real_commitments), count, seed, decoy_users=decoy_users))


def receipts_root(leaves: Sequence[bytes]) -> bytes:
    """Root of the tree whose leaf data are these commitments, in this order (RFC 6962 §2.1)."""
    return tree_root([leaf_hash(leaf) for leaf in leaves])


def _hash(members: JsonObject, name: str) -> bytes:
    content = decode_base64(members.text(name))
    _check_length(content, f"receipt: '{name}'")
    return content


def _check_length(content: bytes, what: str) -> None:
    if len(content) != HASH_BYTES:
        raise Malformed(f"{what} must be {HASH_BYTES} bytes")
