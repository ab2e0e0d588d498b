"""Checkpoints: a log's origin, size and root in a signed note, and what witnesses add to it.

C2SP tlog-checkpoint and tlog-cosignature. The log signs with Ed25519 (0x01) over the text and with ML-DSA-44
(0x06) as a cosigner of itself; witnesses cosign with 0x04 or 0x06, with the time at which this was the
largest tree that they had seen.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from registry.errors import BadSignature, Malformed, UntrustedKey
from registry.protocol.encoding import decode_base64, encode_base64
from registry.protocol.merkle import EMPTY_ROOT, HASH_BYTES, MAX_SIZE
from registry.protocol.note import (
    KeyKind,
    Note,
    NoteSignature,
    NoteSigner,
    VerifierKey,
    decode_note,
    sign_text,
    verifier_key,
    verify_raw,
)

MAX_TIME = 2**63 - 1
_TIME_BYTES = 8
# No more digits than a size can have: int() itself raises ValueError at several thousand.
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
# An origin is the name of the log's key too (signed-note, "Key names"): white space and plus end a name.
_ORIGIN = re.compile(r"[^\s+\x00-\x1f\x7f]+")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head: `origin` names the log, `size` leaves hash to `root` (32 bytes)."""

    origin: str
    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Cosignature:
    """That `key`'s holder had seen no larger consistent tree at `time` (unix seconds)."""

    key: VerifierKey
    time: int


def encode_checkpoint(checkpoint: Checkpoint) -> str:
    """The note's text: three lines, no extension lines. Raises Malformed for what could not be read back."""
    text = f"{checkpoint.origin}\n{checkpoint.size}\n{encode_base64(checkpoint.root)}\n"
    if decode_checkpoint(text) != checkpoint:
        raise Malformed("a checkpoint's origin is one name")
    return text


def decode_checkpoint(text: str) -> Checkpoint:
    """The checkpoint in a note's text. Extension lines are passed over if not empty. Raises Malformed."""
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
        raise Malformed("a checkpoint has an origin, a size and a root, a line each")
    origin, size, root = lines[:3]
    if not _ORIGIN.fullmatch(origin):
        raise Malformed("a checkpoint's origin has no white space and no plus")
    if not _SIZE.fullmatch(size) or int(size) > MAX_SIZE:
        raise Malformed("a checkpoint's size is a decimal number without leading zeros")
    content = decode_base64(root)
    if len(content) != HASH_BYTES or encode_base64(content) != root:
        raise Malformed(f"a checkpoint's root is {HASH_BYTES} bytes in base64")
    if size == "0" and content != EMPTY_ROOT:
        raise Malformed("a checkpoint of no leaves has the root of the empty tree")
    return Checkpoint(origin, int(size), content)


def sign_checkpoint(checkpoint: Checkpoint, signers: Sequence[NoteSigner], *, now: float) -> Note:
    """The checkpoint signed by the log itself: 0x01 keys over the text, 0x06 keys with the time `now`."""
    note = Note(encode_checkpoint(checkpoint), ())
    lines = [
        sign_text(note.text, signer) if signer.kind == KeyKind.ED25519 else cosign(note, signer, now=now)
        for signer in signers
    ]
    return Note(note.text, tuple(lines))


def cosign(note: Note, signer: NoteSigner, *, now: float) -> NoteSignature:
    """A cosignature (0x04 or 0x06) of the checkpoint in `note` at `now`. Verifies nothing: ask first."""
    key = verifier_key(signer)
    time = int(now)
    message = _cosigned_message(key, note.text, decode_checkpoint(note.text), time)
    return NoteSignature(key.name, key.key_id, time.to_bytes(_TIME_BYTES, "big") + signer.sign(message))


def open_checkpoint(content: bytes, log_keys: Iterable[VerifierKey]) -> tuple[Note, Checkpoint]:
    """The note and checkpoint in `content`, signed by at least one of the log's keys.

    A log's key speaks only for the origin that is its name. Raises Malformed; UntrustedKey if none of the
    keys signed; BadSignature if a line of one of them does not verify.
    """
    note = decode_note(content)
    checkpoint = decode_checkpoint(note.text)
    keys = [key for key in log_keys if key.name == checkpoint.origin]
    if not _times_of(note, checkpoint, keys):
        raise UntrustedKey(f"the checkpoint of {checkpoint.origin} is not signed by a log key that is known")
    return note, checkpoint


def cosignatures(
    note: Note, checkpoint: Checkpoint, witness_keys: Iterable[VerifierKey]
) -> list[Cosignature]:
    """The cosignatures of these keys, the newest of each. Raises BadSignature if one does not verify."""
    return _times_of(note, checkpoint, witness_keys)


def _times_of(note: Note, checkpoint: Checkpoint, keys: Iterable[VerifierKey]) -> list[Cosignature]:
    found = []
    for key in dict.fromkeys(keys):
        times = [
            _verify_line(line, key, note.text, checkpoint) for line in note.signatures if line.is_by(key)
        ]
        if times:
            found.append(Cosignature(key, max(times)))
    return found


def _verify_line(line: NoteSignature, key: VerifierKey, text: str, checkpoint: Checkpoint) -> int:
    """The line's time; 0 for a plain signature, which has none."""
    if key.kind == KeyKind.ED25519:
        verify_raw(key, line.signature, text.encode())
        return 0
    time = int.from_bytes(line.signature[:_TIME_BYTES], "big")
    if len(line.signature) <= _TIME_BYTES or time > MAX_TIME:
        raise BadSignature(f"the cosignature of {key.name} has no time that could be")
    verify_raw(key, line.signature[_TIME_BYTES:], _cosigned_message(key, text, checkpoint, time))
    return time


def _cosigned_message(key: VerifierKey, text: str, checkpoint: Checkpoint, time: int) -> bytes:
    """What is signed, by the key's type (tlog-cosignature, both "signed message" sections)."""
    if key.kind == KeyKind.COSIGNATURE_V1:
        return f"cosignature/v1\ntime {time}\n{text}".encode()
    if key.kind == KeyKind.ML_DSA_44:
        return b"".join(
            (
                b"subtree/v1\n\x00",
                _short(key.name),
                time.to_bytes(8, "big"),
                _short(checkpoint.origin),
                (0).to_bytes(8, "big"),
                checkpoint.size.to_bytes(8, "big"),
                checkpoint.root,
            )
        )
    raise Malformed(f"a key of type {key.kind} cannot cosign")


def _short(text: str) -> bytes:
    content = text.encode()
    if not 1 <= len(content) <= 255:
        raise Malformed("a name in a cosigned message has 1 to 255 bytes")
    return bytes([len(content)]) + content
