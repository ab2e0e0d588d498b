"""Two vantage points held against each other: do both show one and the same growing log?

A vantage point is a registry's address, an archived folder, a witness's monitoring address, or a file with a
checkpoint or a proof that a phone kept. Only checkpoints that the log itself signed count as evidence.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from registry.client.monitor.faults import Fault, FaultKind, NotThere, WrongTree, fault_of
from registry.client.monitor.shard import Read, must_read, tile_nodes
from registry.client.monitor.source import open_source
from registry.client.monitor.visit import Demands
from registry.client.monitor.witnesses import MAX_CHECKPOINT_BYTES, monitoring_url
from registry.client.transport import Transport, unexpected
from registry.client.trust import SignedTrust, is_by_root_of, open_signed_trust
from registry.errors import Distrusted, FetchFailed, Malformed
from registry.protocol.checkpoint import Checkpoint, decode_checkpoint, open_checkpoint
from registry.protocol.index import (
    LOG_CHECKPOINT_PATH,
    TRUST_NOTE_PATH,
    TRUST_PATH,
    shard_checkpoint_path,
)
from registry.protocol.intervals import Clock
from registry.protocol.merkle import check_consistency, consistency_path, root_at
from registry.protocol.note import VerifierKey, decode_note, decode_vkey
from registry.protocol.proof import HEADER, decode_proof
from registry.protocol.trust import shard_year
from registry.protocol.trust_note import same_fingerprint

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


@dataclass
class LogKeys:
    """Whose signatures count, and what is wrong with the trust material at the two points."""

    keys: list[VerifierKey] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def log_keys_of(one: Vantage, other: Vantage, demands: Demands) -> LogKeys:
    """The log keys that both sides' roots vouch for, or the auditor's own policy.

    A side counts if its root signed its trust material and is the one whose fingerprint was given, or one
    that signed the other in. Without a fingerprint two strange roots can both be anybody's: then only keys
    that both name count, so that nobody can blame a registry with a copy that he signed himself. Raises
    FetchFailed.
    """
    found = LogKeys()
    sides = [(vantage, _signed_trust(vantage, found.faults)) for vantage in (one, other)]
    shown = [(vantage, trust) for vantage, trust in sides if trust is not None]
    counted = _of_the_pinned_root(shown, demands, found.faults)
    named = [[decode_vkey(vkey) for vkey in trust.trust.log_vkeys] for trust in counted]
    if len(counted) == 2 and not _are_of_one_registry(*counted):
        prints = " and ".join(trust.fingerprint for trust in counted)
        what = f"name two trust roots, {prints}: only what both name is believed of either"
        advice = "One of them is not the registry's: give its fingerprint with --fingerprint."
        where = f"{one.name} and {other.name}"
        found.faults.append(Fault(FaultKind.SIGNATURE, where, what, advice))
        found.keys = [key for key in named[0] if key in named[1]]
    else:
        found.keys = list(dict.fromkeys(key for keys in named for key in keys))
    if demands.policy is not None:
        own = [log.key for log in demands.policy.logs]
        names = {key.name for key in own}
        found.keys = [*(key for key in found.keys if key.name not in names), *own]
    return found


def _signed_trust(vantage: Vantage, faults: list[Fault]) -> SignedTrust | None:
    """The trust material at this point, if it has any and its own root signed it."""
    if vantage.read is None:
        return None
    try:
        content = vantage.read(TRUST_PATH)
        if content is None:
            return None
        return open_signed_trust(content, must_read(vantage.read, TRUST_NOTE_PATH))
    except (Malformed, Distrusted) as error:
        faults.append(fault_of(error, f"{vantage.name}: {TRUST_PATH}", missing=FaultKind.TRUST))
        return None


def _of_the_pinned_root(
    shown: Sequence[tuple[Vantage, SignedTrust]], demands: Demands, faults: list[Fault]
) -> list[SignedTrust]:
    """Those whose root is the one that the auditor was told of, and those that it is linked to by a note."""
    if demands.fingerprint is None:
        return [trust for _, trust in shown]
    pinned = [trust for _, trust in shown if same_fingerprint(trust.fingerprint, demands.fingerprint)]
    counted = []
    for vantage, trust in shown:
        if any(_are_of_one_registry(trust, right) for right in pinned):
            counted.append(trust)
            continue
        what = f"the root key's fingerprint is {trust.fingerprint}, not {demands.fingerprint}"
        advice = "Its log keys are not counted: somebody else may stand in the registry's place there."
        faults.append(Fault(FaultKind.SIGNATURE, f"{vantage.name}: {TRUST_PATH}", what, advice))
    return counted


def _are_of_one_registry(one: SignedTrust, other: SignedTrust) -> bool:
    """Whether both have one root, or one's root signed the other in."""
    try:
        return is_by_root_of(one, other) or is_by_root_of(other, one)
    except Distrusted:
        return False


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
    signers: list[set[VerifierKey]] = []
    for vantage, content in (one, other):
        try:
            note, checkpoint = open_checkpoint(content, keys)
        except (Malformed, Distrusted) as error:
            found.faults.append(fault_of(error, vantage.name))
            continue
        opened.append((vantage, content, checkpoint))
        signers.append({key for key in keys if any(line.is_by(key) for line in note.signatures)})
    if len(opened) < 2:
        return
    small, large = sorted(opened, key=lambda item: item[2].size)
    old, new = small[2], large[2]
    names = f"{small[0].name} and {large[0].name}"
    # A log's key speaks only for the origin that is its name; a witness's in the policy is none of `keys`.
    both = sorted(key.vkey for key in set.intersection(*signers) if key.name == old.origin)
    if not both:
        what = f"show {old.origin} signed by two different keys: one proves nothing of the other"
        found.faults.append(Fault(FaultKind.SIGNATURE, names, what))
        return
    found.compared += 1
    pair = _Pair(names, old, new, (small[1], large[1]), both[0])
    if old.size == new.size:
        if old.root != new.root:
            what = f"show two roots of {old.origin} at size {old.size}: {old.root.hex()} and {new.root.hex()}"
            found.faults.append(Fault(FaultKind.SPLIT_VIEW, names, what, pair.advice, pair.notes))
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
    _check_growth(found, large[0].read, pair)


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two checkpoints of one log, the smaller first, and a key that signed both."""

    names: str
    old: Checkpoint
    new: Checkpoint
    notes: tuple[bytes, bytes]
    vkey: str

    @property
    def advice(self) -> str:
        return f"Publish both notes: the log's own key signed both, {self.vkey}, and anybody can verify that."


def _check_growth(found: Comparison, read: Read, pair: _Pair) -> None:
    old, new, names = pair.old, pair.new, pair.names
    try:
        year = shard_year(new.origin.rpartition("/")[0], new.origin)
        node = tile_nodes(read, year, new.size)
        if root_at(new.size, node) != new.root:
            raise WrongTree(f"the tiles of {new.origin} do not hash to the root at size {new.size}")
        old_root = root_at(old.size, node)
        if old_root != old.root:
            what = f"show {new.origin} at sizes {old.size} and {new.size}, and one does not contain the other"
            found.faults.append(Fault(FaultKind.INCONSISTENT, names, what, pair.advice, pair.notes))
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
