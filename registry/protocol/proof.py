"""A proof that stands by itself (C2SP tlog-proof): a leaf's index and path, and the checkpoint they lead to.

Nothing in it is verified by reading it; `extra` is never authenticated by the format itself.
"""

import re
from dataclasses import dataclass

from registry.errors import Malformed
from registry.protocol.encoding import decode_base64, encode_base64
from registry.protocol.merkle import HASH_BYTES, MAX_SIZE

HEADER = "c2sp.org/tlog-proof@v1"
MAX_PROOF_BYTES = 200_000
MAX_PATH = 63

_INDEX = re.compile(r"index (?P<index>0|[1-9][0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class LogProof:
    """`path` proves leaf `index` in the tree of `checkpoint` (a signed note's bytes, as they came)."""

    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None


def encode_proof(proof: LogProof) -> bytes:
    """The file ending .tlog-proof."""
    lines = [HEADER]
    if proof.extra is not None:
        lines.append(f"extra {encode_base64(proof.extra)}")
    lines.append(f"index {proof.index}")
    lines += [encode_base64(one) for one in proof.path]
    return "".join(f"{line}\n" for line in lines).encode() + b"\n" + proof.checkpoint


def decode_proof(content: bytes) -> LogProof:
    """The proof, nothing of it verified. Raises Malformed."""
    if len(content) > MAX_PROOF_BYTES:
        raise Malformed(f"a log proof has at most {MAX_PROOF_BYTES} bytes")
    head, gap, checkpoint = content.partition(b"\n\n")
    if not gap or not head.isascii():
        raise Malformed("a log proof has an empty line before its checkpoint")
    lines = head.decode("ascii").split("\n")
    if lines.pop(0) != HEADER:
        raise Malformed(f"a log proof begins with {HEADER}")
    extra = None
    if lines and lines[0].startswith("extra "):
        extra = _bytes(lines.pop(0).removeprefix("extra "))
    match = _INDEX.fullmatch(lines.pop(0)) if lines else None
    if match is None or int(match["index"]) > MAX_SIZE:
        raise Malformed("a log proof names its leaf in a line 'index N'")
    path = tuple(map(_bytes, lines))
    if len(path) > MAX_PATH or any(len(one) != HASH_BYTES for one in path):
        raise Malformed(f"the path of a log proof has at most {MAX_PATH} hashes of {HASH_BYTES} bytes")
    return LogProof(int(match["index"]), path, checkpoint, extra)


def _bytes(text: str) -> bytes:
    content = decode_base64(text)
    if encode_base64(content) != text:
        raise Malformed("base64 in a log proof is standard and padded")
    return content
