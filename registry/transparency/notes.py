"""The log's public pointers: the checkpoint with all signatures, and the shorter one for phones' proofs."""

from registry.models import LogShard
from registry.protocol.checkpoint import decode_checkpoint
from registry.protocol.index import LOG_CHECKPOINT_PATH, shard_checkpoint_path
from registry.protocol.merkle import inclusion_path
from registry.protocol.note import KeyKind, Note, decode_note, encode_note, verifier_key
from registry.storage import Storage
from registry.transparency.layout import stored_nodes
from registry.transparency.run import LogRun
from registry.transparency.witnessing import Witnessed

_SHORT_KINDS = (KeyKind.ED25519, KeyKind.COSIGNATURE_V1)


def full_checkpoint(shard: LogShard, witnessed: Witnessed) -> bytes:
    """The signed checkpoint with every newest cosignature."""
    note = decode_note(shard.checkpoint)
    return encode_note(Note(note.text, (*note.signatures, *witnessed.lines)))


def short_checkpoint(run: LogRun, shard: LogShard, witnessed: Witnessed) -> bytes:
    """The same without ML-DSA lines, each of which is larger than all the rest of a phone's proof."""
    note = decode_note(shard.checkpoint)
    keys = [verifier_key(signer) for signer in run.log.signers(shard.year)]
    keys += [witness.key for witness in run.log.policy.witnesses]
    short = [key for key in keys if key.kind in _SHORT_KINDS]
    lines = [line for line in (*note.signatures, *witnessed.lines) if any(line.is_by(key) for key in short)]
    return encode_note(Note(note.text, tuple(lines)))


def write_checkpoint(run: LogRun, shard: LogShard, witnessed: Witnessed) -> None:
    """Replace the shard's checkpoint, and the current one unless the shard is closed. In a fenced block.

    A crash between the two leaves the year's checkpoint ahead of log/checkpoint; both are true.
    """
    content = full_checkpoint(shard, witnessed)
    write_changed(run.storage, shard_checkpoint_path(shard.year), content)
    if not shard.is_closed:
        # Of a closed shard the last leaf is no index: phones stay at the one before until the next shard.
        write_changed(run.storage, LOG_CHECKPOINT_PATH, content)


def path_to_last_leaf(run: LogRun, shard: LogShard) -> tuple[bytes, ...]:
    """The inclusion path of the shard's last signed leaf."""
    nodes = stored_nodes(run.storage, shard.year, shard.size)
    return tuple(inclusion_path(shard.size - 1, shard.size, nodes))


def write_changed(storage: Storage, path: str, content: bytes) -> None:
    """Replace what lies under `path` unless it is the same already."""
    if storage.read(path) != content:
        storage.replace(path, content)


def checkpoint_size(content: bytes) -> int:
    """The size that a checkpoint states, nothing verified. Raises Malformed."""
    return decode_checkpoint(decode_note(content).text).size
