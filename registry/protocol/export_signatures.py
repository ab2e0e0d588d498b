"""Who signed a file of keys, and whether a key that we trust did: `export.sig` and the check of all formats.

Encodes, decodes and verifies. It never signs, and never decides who is trusted.
Source: "Exposure Key File Format and Verification" and what existing key servers write.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from google.protobuf.message import DecodeError

from registry.errors import BadSignature, Malformed, UntrustedKey
from registry.protocol import export_file_pb2 as pb

ECDSA_WITH_SHA256 = "1.2.840.10045.4.3.2"

MAX_SIGNATURES_BYTES = 64 * 1024
"""Of `export.sig`: hundreds of signers."""

TrustedKeys = Mapping[tuple[str, str], EllipticCurvePublicKey]
"""By (key id, key version)."""

Signatures = Sequence[tuple["SignatureInfo", bytes]]


@dataclass(frozen=True, slots=True)
class SignatureInfo:
    """Which key made a signature, by which algorithm: an object identifier, ours ECDSA with SHA-256."""

    key_id: str
    key_version: str
    algorithm: str = ECDSA_WITH_SHA256


def info_message(info: SignatureInfo) -> pb.SignatureInfo:
    """As export.bin and export.sig both write it."""
    return pb.SignatureInfo(
        verification_key_version=info.key_version or None,
        verification_key_id=info.key_id or None,
        signature_algorithm=info.algorithm,
    )


def read_info(message: pb.SignatureInfo) -> SignatureInfo:
    """Raises Malformed for a text that is not UTF-8."""
    return SignatureInfo(
        utf8_text(message.verification_key_id),
        utf8_text(message.verification_key_version),
        utf8_text(message.signature_algorithm),
    )


def utf8_text(value: str | bytes) -> str:
    """protobuf's compiled readers hand over a proto2 string as bytes where it is not UTF-8."""
    if isinstance(value, bytes):
        raise Malformed("a text in the file is not UTF-8")
    return value


def encode_signatures(signatures: Sequence[tuple[SignatureInfo, bytes]]) -> bytes:
    """The bytes of `export.sig`: one TEKSignature a signer, each over all of `export.bin`, DER."""
    return pb.TEKSignatureList(
        signatures=[
            pb.TEKSignature(signature_info=info_message(info), batch_num=1, batch_size=1, signature=signature)
            for info, signature in signatures
        ]
    ).SerializeToString(deterministic=True)


def decode_signatures(export_sig: bytes) -> list[tuple[SignatureInfo, bytes]]:
    """The signatures of `export.sig`, unverified, in the file's order. Raises Malformed."""
    if len(export_sig) > MAX_SIGNATURES_BYTES:
        raise Malformed(f"export.sig has more than {MAX_SIGNATURES_BYTES} bytes")
    message = pb.TEKSignatureList()
    try:
        message.ParseFromString(export_sig)
        return [(read_info(entry.signature_info), entry.signature) for entry in message.signatures]
    except DecodeError as error:
        raise Malformed("export.sig is not a TEKSignatureList") from error


def verify_signatures(
    export_bin: bytes,
    signatures: Iterable[tuple[SignatureInfo, bytes]],
    trusted: Mapping[tuple[str, str], EllipticCurvePublicKey],
) -> None:
    """Returns only if a trusted key signed these bytes and no trusted key's signature is wrong.

    `trusted` is by (key id, key version). Signatures by other keys are passed over, as phones do.
    Raises BadSignature, or UntrustedKey if nothing here is by a trusted key.
    """
    verified = 0
    for info, signature in signatures:
        public_key = trusted.get((info.key_id, info.key_version))
        if public_key is None:
            continue
        if info.algorithm != ECDSA_WITH_SHA256:
            raise BadSignature(f"key {info.key_id} {info.key_version} signs with ECDSA and SHA-256 only")
        try:
            public_key.verify(signature, export_bin, ECDSA(SHA256()))
        except InvalidSignature as error:
            raise BadSignature(
                f"the signature of key {info.key_id} {info.key_version} does not verify"
            ) from error
        verified += 1
    if verified == 0:
        raise UntrustedKey("no signature is by a trusted key: fetch the trust material again")
