"""Two vantage points held against each other: do both show one and the same growing log?

A vantage point is a registry's address, an archived folder, a witness's monitoring address, or a file with a
checkpoint or a proof that a phone kept. Only checkpoints that the log itself signed count as evidence.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from registry.client.monitor.faults import Fault, FaultKind, NotThere, WrongTree, fault_of
from registry.client.monitor.shard import Read, must_read, tile_nodes
from registry.client.monitor.source import open_source
from registry.client.monitor.witnesses import MAX_CHECKPOINT_BYTES, monitoring_url
from registry.client.transport import Transport, unexpected
from registry.errors import Distrusted, FetchFailed, Malformed
from registry.protocol.checkpoint import Checkpoint, decode_checkpoint, open_checkpoint
from registry.protocol.index import LOG_CHECKPOINT_PATH, TRUST_PATH, shard_checkpoint_path
from registry.protocol.intervals import Clock
from registry.protocol.merkle import check_consistency, consistency_path, root_at
from registry.protocol.note import VerifierKey, decode_note, decode_vkey
from registry.protocol.proof import HEADER, decode_proof
from registry.protocol.trust import decode_trust, shard_year

MAX_YEARS = 50
"""How many shards are compared at the utmost."""


@dataclass
class Vantage:
    """One point of view. `read` gives its public files, if it has more than a checkpoint to show."""

    name: str
    read: Read | None = None
    single: bytes | None = None
    witness_prefix: str | None = None


@dataclass
class Comparison:
    """What was found: sentences of what holds, and faults; `compared` counts pairs of checkpoints."""

    compared: int = 0
    sentences: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def open_vantage(text: str, transport: Transport, clock: Clock) -> Vantage:
    """The vantage point that `text` names. Raises FetchFailed, or Malformed for a file that is neither."""
    path = Path(text)
    if "://" not in text and path.is_file():
        content = path.read_bytes()
        if content.startswith(HEADER.encode()):
            content = decode_proof(content).checkpoint
        return Vantage(text, single=content)
    if "://" in text and text.rstrip("/").endswith("/checkpoint"):
        content_at = _fetch(transport, text, clock)
        if content_at is None:
            raise FetchFailed(f"{text}: nothing is there")
        return Vantage(text, single=content_at)
    source = open_source(text, transport, clock=clock)
    if source.read(LOG_CHECKPOINT_PATH) is None and source.read(TRUST_PATH) is None and source.is_live:
        return Vantage(text, witness_prefix=text)
    return Vantage(text, read=source.read)


def _fetch(transport: Transport, url: str, clock: Clock) -> bytes | None:
    answer = transport.get(url, {}, MAX_CHECKPOINT_BYTES)
    if answer.status == 200:
        return answer.body
    if answer.status in (404, 410):
        return None
    raise unexpected(answer, url, clock())


def trusted_log_keys(*vantages: Vantage) -> list[VerifierKey]:
    """The log keys that the trust material at any of these points names. Raises what reading raises."""
    keys: list[VerifierKey] = []
    for vantage in vantages:
        content = vantage.read(TRUST_PATH) if vantage.read else None
        if content is not None:
            keys += [decode_vkey(vkey) for vkey in decode_trust(content).log_vkeys]
    return list(dict.fromkeys(keys))


def compare(
    one: Vantage, other: Vantage, keys: Iterable[VerifierKey], transport: Transport, clock: Clock
) -> Comparison:
    """Compare every pair of checkpoints of the same shard. Raises FetchFailed if there is none."""
    found = Comparison()
    keys = list(keys)
    first = _checkpoints(one, other, transport, clock)
    second = _checkpoints(other, one, transport, clock)
    for origin in sorted(first.keys() & second.keys()):
        _compare_notes(found, (one, first[origin]), (other, second[origin]), keys)
    if not found.compared and not found.faults:
        raise FetchFailed(
            f"{one.name} shows {_named(first)}, {other.name} shows {_named(second)}: nothing to compare"
        )
    return found


def _named(notes: dict[str, bytes]) -> str:
    return ", ".join(sorted(notes)) or "no checkpoint"


def _checkpoints(vantage: Vantage, other: Vantage, transport: Transport, clock: Clock) -> dict[str, bytes]:
    """By origin: the checkpoints to be seen at `vantage`. Verifies nothing."""
    if vantage.single is not None:
        return {_origin(vantage.single): vantage.single}
    if vantage.witness_prefix is not None:
        shown = {}
        for origin in _checkpoints(other, vantage, transport, clock) if other.witness_prefix is None else ():
            content = _fetch(transport, monitoring_url(vantage.witness_prefix, origin), clock)
            if content is not None:
                shown[origin] = content
        return shown
    return _of_registry(vantage.read) if vantage.read is not None else {}


def _of_registry(read: Read) -> dict[str, bytes]:
    content = must_read(read, LOG_CHECKPOINT_PATH)
    origin = _origin(content)
    found = {origin: content}
    log_origin, _, _ = origin.rpartition("/")
    try:
        year = shard_year(log_origin, origin)
    except Malformed:
        return found  # no log of ours; its one checkpoint can be compared all the same
    for earlier in range(year - 1, max(0, year - MAX_YEARS), -1):
        older = read(shard_checkpoint_path(earlier))
        if older is None:
            break
        found[_origin(older)] = older
    return found


def _origin(content: bytes) -> str:
    return decode_checkpoint(decode_note(content).text).origin


def _compare_notes(
    found: Comparison, one: tuple[Vantage, bytes], other: tuple[Vantage, bytes], keys: list[VerifierKey]
) -> None:
    opened: list[tuple[Vantage, bytes, Checkpoint]] = []
    for vantage, content in (one, other):
        try:
            opened.append((vantage, content, open_checkpoint(content, keys)[1]))
        except (Malformed, Distrusted) as error:
            found.faults.append(fault_of(error, vantage.name))
    if len(opened) < 2:
        return
    found.compared += 1
    small, large = sorted(opened, key=lambda item: item[2].size)
    evidence = (small[1], large[1])
    old, new = small[2], large[2]
    names = f"{small[0].name} and {large[0].name}"
    if old.size == new.size:
        if old.root != new.root:
            what = f"show two roots of {old.origin} at size {old.size}: {old.root.hex()} and {new.root.hex()}"
            advice = "Publish both notes: the log's own key signed both, and anybody can verify that."
            found.faults.append(Fault(FaultKind.SPLIT_VIEW, names, what, advice, evidence))
        else:
            found.sentences.append(f"{names} show the same {new.size} leaves of {new.origin}.")
        return
    if large[0].read is None or old.size == 0:
        if old.size:
            raise FetchFailed(
                f"{large[0].name} shows {new.size} leaves, {small[0].name} {old.size}: to tell whether one "
                "goes on from the other, compare with an address or folder that holds the larger log's tiles"
            )
        found.sentences.append(f"{small[0].name} shows an empty log, from which every log goes on.")
        return
    _check_growth(found, large[0].read, old, new, names, evidence)


def _check_growth(
    found: Comparison, read: Read, old: Checkpoint, new: Checkpoint, names: str, evidence: tuple[bytes, bytes]
) -> None:
    try:
        year = shard_year(new.origin.rpartition("/")[0], new.origin)
        node = tile_nodes(read, year, new.size)
        if root_at(new.size, node) != new.root:
            raise WrongTree(f"the tiles of {new.origin} do not hash to the root at size {new.size}")
        old_root = root_at(old.size, node)
        if old_root != old.root:
            what = f"show {new.origin} at sizes {old.size} and {new.size}, and one does not contain the other"
            advice = (
                "Publish both notes: the log's own key signed both, and no log grows from one to the other."
            )
            found.faults.append(Fault(FaultKind.INCONSISTENT, names, what, advice, evidence))
            return
        path = consistency_path(old.size, new.size, node)
        check_consistency(
            old_size=old.size, old_root=old.root, new_size=new.size, new_root=new.root, path=path
        )
    except (NotThere, Malformed, Distrusted) as error:
        found.faults.append(fault_of(error, names))
        return
    found.sentences.append(
        f"{names}: the {new.size} leaves of {new.origin} contain the {old.size} that the other shows, "
        f"by a consistency proof of {len(path)} hashes."
    )
