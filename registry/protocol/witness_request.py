"""What a log sends to a witness and gets back (C2SP tlog-witness, `add-checkpoint`), as bytes.

Both ends read and write it here: our client, which may talk to any witness, and our own witness, which any
log may talk to. Nothing is verified here.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from registry.errors import Malformed
from registry.protocol.encoding import decode_base64, encode_base64
from registry.protocol.merkle import HASH_BYTES, MAX_SIZE

MAX_PROOF_LINES = 63
MAX_SENT_BYTES = 16 * 1024
"""Deployed witnesses read no more. A log's own signatures and the longest proof stay far below."""
MAX_READ_BYTES = 64 * 1024
"""What our own witness reads: some logs send the cosignatures of others along."""
SIZE_TYPE = "text/x.tlog.size"
"""Content type of a 409 that names the size to begin from."""

_OLD = re.compile(r"old (?P<size>0|[1-9][0-9]{0,18})")
_SIZE = re.compile(rb"(?P<size>0|[1-9][0-9]{0,18})\n?")


@dataclass(frozen=True, slots=True)
class WitnessRequest:
    """A checkpoint (a whole signed note), and the proof that it goes on from the tree of `old_size`."""

    old_size: int
    path: tuple[bytes, ...]
    note: bytes


def encode_request(old_size: int, path: Sequence[bytes], note: bytes) -> bytes:
    """The body of `add-checkpoint`. Raises Malformed for a proof or a body that no witness would read."""
    if len(path) > MAX_PROOF_LINES:
        raise Malformed(f"a witness reads at most {MAX_PROOF_LINES} hashes of a proof, not {len(path)}")
    lines = [f"old {old_size}", *map(encode_base64, path), ""]
    body = "".join(f"{line}\n" for line in lines).encode() + note
    if len(body) > MAX_SENT_BYTES:
        raise Malformed(f"a request of {len(body)} bytes is more than witnesses read ({MAX_SENT_BYTES})")
    return body


def decode_request(body: bytes) -> WitnessRequest:
    """The request in a body. Raises Malformed. The note in it is handed on unread."""
    if len(body) > MAX_READ_BYTES:
        raise Malformed(f"a request has at most {MAX_READ_BYTES} bytes")
    head, gap, note = body.partition(b"\n\n")
    if not gap:
        raise Malformed("the request has no empty line before its checkpoint")
    try:
        first, *hashes = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise Malformed("the lines before the checkpoint are not ASCII") from error
    old = _OLD.fullmatch(first)
    if old is None or int(old["size"]) > MAX_SIZE:
        raise Malformed("the first line must be: old, a space, a size without leading zeros")
    if len(hashes) > MAX_PROOF_LINES:
        raise Malformed(f"a consistency proof has at most {MAX_PROOF_LINES} lines")
    return WitnessRequest(int(old["size"]), tuple(map(_read_hash, hashes)), note)


def encode_size(size: int) -> bytes:
    """The body of a 409: the size that the witness holds."""
    return f"{size}\n".encode()


def decode_size(body: bytes) -> int:
    """The size in the body of a 409, its newline there or not. Raises Malformed."""
    match = _SIZE.fullmatch(body)
    if match is None or int(match["size"]) > MAX_SIZE:
        raise Malformed("the body is not a tree size")
    return int(match["size"])


def origin_hash(origin: str) -> str:
    """SHA-256 of the origin in hexadecimal, by which a witness serves what it last cosigned."""
    return sha256(origin.encode()).hexdigest()


def _read_hash(line: str) -> bytes:
    content = decode_base64(line)
    if len(content) != HASH_BYTES or encode_base64(content) != line:
        raise Malformed(f"a line of the consistency proof is not {HASH_BYTES} bytes in base64")
    return content
