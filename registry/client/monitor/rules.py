"""Whether what a registry shows now follows the rules. Pure: everything was read before.

`check_view` is for pages and tools alike. What has to be fetched for it (manifests, files, tiles, witnesses'
own addresses), and what only somebody with a memory can see, are `contents`, `rebuild`, `witnesses` and
`memory`.
"""

from hashlib import sha256

from registry.client.monitor.batches import LoggedBatch
from registry.client.monitor.faults import Fault, FaultKind, fault_of
from registry.client.monitor.health import limits
from registry.client.monitor.leaf_rules import check_leaves, leaf_name
from registry.client.monitor.view import LogView
from registry.client.sightings import CLOCK_TOLERANCE_SECONDS
from registry.client.verify import check_index
from registry.errors import BadSignature, Distrusted, Malformed
from registry.protocol.committed import export_key_digest, export_key_name, note_key_digest
from registry.protocol.index import LOG_CHECKPOINT_PATH, TRUST_NOTE_PATH, TRUST_PATH, Index, index_path
from registry.protocol.leaves import IndexLeaf, KeyLeaf, PolicyLeaf, regions_root
from registry.protocol.note import decode_vkey
from registry.protocol.trust import decode_trust, shard_year
from registry.protocol.trust_note import trust_digest

AT_WORK = "Read again in a minute: a publisher may be at work."


def check_view(view: LogView, now: float) -> list[Fault]:
    """Every breach that the log, the indexes and the trust material show by themselves at `now`.

    Of a source that a publisher is writing to at this moment, read it again before believing a fault.
    """
    return [
        *view.shard_faults,
        *view.faults,
        *check_leaves(view.shards, now=now),
        *check_log_signatures(view),
        *check_freshness(view, now),
        *check_trust(view, now),
        *check_keys(view),
        *check_indexes(view, now),
    ]


def check_log_signatures(view: LogView) -> list[Fault]:
    """Each shard's checkpoint bears the signature of every key that the trust material names for it."""
    faults = []
    keys = [decode_vkey(vkey) for vkey in view.trust.log_vkeys]
    for shard in view.shards:
        missing = [
            key
            for key in keys
            if key.name == shard.checkpoint.origin
            and not any(line.is_by(key) for line in shard.note.signatures)
        ]
        faults += [
            Fault(
                FaultKind.SIGNATURE,
                f"log/{shard.year}/checkpoint",
                f"is not signed by {key.name}'s key of type {key.kind}, which signs everything in this shard",
            )
            for key in missing
        ]
    return faults


def check_freshness(view: LogView, now: float) -> list[Fault]:
    """The quorum has cosigned the newest checkpoint, not too long ago and not in the future."""
    try:
        health = view.health(now)
    except BadSignature as error:
        return [Fault(FaultKind.SIGNATURE, LOG_CHECKPOINT_PATH, str(error))]
    faults = [
        Fault(
            FaultKind.TIMES,
            LOG_CHECKPOINT_PATH,
            f"witness {state.witness.name} cosigned at {state.cosigned_at}, which lies in the future",
            "Check this machine's clock, then the witness's.",
        )
        for state in health.witnesses
        if state.cosigned_at is not None and state.cosigned_at > now + CLOCK_TOLERANCE_SECONDS
    ]
    if not health.quorum_met:
        signed = sum(state.cosigned_at is not None for state in health.witnesses if state.counts)
        faults.append(
            Fault(
                FaultKind.QUORUM,
                LOG_CHECKPOINT_PATH,
                f"{signed} of {sum(state.counts for state in health.witnesses)} witnesses that count have "
                f"cosigned, which is no quorum ({view.policy.quorum})",
                "Compare this checkpoint with another vantage point before relying on it.",
            )
        )
    elif health.freshness == "stale" and health.cosignature_age is not None:
        faults.append(
            Fault(
                FaultKind.FROZEN,
                LOG_CHECKPOINT_PATH,
                f"a quorum last cosigned at {health.cosigned_at}, "
                f"longer ago than the {limits(view.trust)[1]} seconds that phones accept",
                "Somebody may be holding newer checkpoints back: read from another vantage point.",
            )
        )
    return faults


# ------------------------------------------------------------ trust material


def check_trust(view: LogView, now: float) -> list[Fault]:
    """The trust note is about the material beside it, has not expired, and its leaf is in the log."""
    note = view.note
    if note is None:
        return []  # why it could not be read stands among the view's own faults
    faults = []
    if note.digest != trust_digest(view.trust_content) or note.sequence != view.trust.sequence:
        faults.append(
            Fault(FaultKind.TRUST, TRUST_NOTE_PATH, "is about other material than the file beside it")
        )
    if note.expires_at <= now:
        faults.append(
            Fault(
                FaultKind.TRUST,
                TRUST_NOTE_PATH,
                f"expired at {note.expires_at}",
                "The operator must sign it anew; until then nothing says that this is still the newest.",
            )
        )
    if note.issued_at > now + CLOCK_TOLERANCE_SECONDS:
        faults.append(Fault(FaultKind.TIMES, TRUST_NOTE_PATH, "was issued in the future"))
    logged = [entry.leaf for entry in view.policies if isinstance(entry.leaf, PolicyLeaf)]
    if not any((leaf.sequence, leaf.digest) == (note.sequence, note.digest) for leaf in logged):
        faults.append(
            Fault(
                FaultKind.UNLOGGED,
                TRUST_PATH,
                f"number {note.sequence} (digest {note.digest.hex()}) is signed, but no leaf commits to it",
                "Keep file and note: the root key signed something that it did not show to everybody.",
                (view.note_content,) if view.note_content else (),
            )
        )
    elif logged[-1].sequence > note.sequence:
        faults.append(
            Fault(
                FaultKind.ROLLED_BACK,
                TRUST_PATH,
                f"is number {note.sequence}, and number {logged[-1].sequence} is in the log",
            )
        )
    return faults


def check_keys(view: LogView) -> list[Fault]:
    """Every key that the trust material names was added by a leaf, so that none is shown to some alone, and
    none of them was retired since. Keys of past years' shards are: they verify what is old, and sign no more.
    """
    stated = decode_trust(view.trust_content)
    keys = {
        ("export", export_key_name(key.key_id, key.key_version), export_key_digest(key.public_key_pem))
        for key in stated.export_signing_keys
    }
    note_keys = [decode_vkey(vkey) for vkey in stated.log_vkeys]
    keys |= {("log", key.name, note_key_digest(key)) for key in note_keys}
    root = decode_vkey(stated.trust_vkey)
    keys.add(("trust", root.name, note_key_digest(root)))
    newest = {
        (leaf.purpose, leaf.name, leaf.digest): (entry, leaf)
        for entry in view.key_changes
        if isinstance(leaf := entry.leaf, KeyLeaf)
    }
    faults = []
    for key in sorted(keys):
        purpose, name, _ = key
        if key not in newest:
            what = f"names the {purpose} key {name}, which no leaf that can be read added"
            advice = "Ask the operator where this key comes from."
            faults.append(Fault(FaultKind.UNLOGGED, TRUST_PATH, what, advice))
            continue
        entry, leaf = newest[key]
        if leaf.action == "retired" and not (purpose == "log" and _is_past(view, name)):
            what = f"names the {purpose} key {name}, which {leaf_name(entry)} retired"
            advice = f"Nothing that it signs now is to be believed. {AT_WORK}"
            faults.append(Fault(FaultKind.TRUST, TRUST_PATH, what, advice))
    return faults


def _is_past(view: LogView, origin: str) -> bool:
    """Whether this is the shard of a year that is over."""
    try:
        return shard_year(view.trust.log_origin, origin) < view.current.year
    except Malformed:
        return False


# ------------------------------------------------------------ indexes


def check_indexes(view: LogView, now: float) -> list[Fault]:
    """The indexes are those that the newest index leaf commits to, are in force, and fit the batch leaves."""
    faults = _check_commitment(view)
    for region, index in view.indexes.items():
        try:
            # What phones ask of an index that is the first they see.
            check_index(index, region=region, previous=None, now=now)
        except Distrusted as error:
            faults.append(fault_of(error, index_path(region)))
        faults += _check_windows(index, view.batches.get(region, ()))
    return faults


def _check_commitment(view: LogView) -> list[Fault]:
    leaves = [entry for entry in view.index_entries if entry.year == view.current.year]
    if not leaves:
        return []  # a shard that has just been opened; the leaf rules say so if it is anything else
    digests = {region: sha256(content).digest() for region, content in view.index_contents.items()}
    roots = [(entry.number, leaf) for entry in leaves if isinstance(leaf := entry.leaf, IndexLeaf)]
    number, newest = roots[-1]
    root = regions_root(digests)
    if root == newest.root:
        return []
    where = f"log/{view.current.year} leaf {number}"
    if newest.regions != len(digests):
        what = f"commits to {newest.regions} indexes, and {len(digests)} are there"
        return [Fault(FaultKind.INDEX, where, what)]
    earlier = [at for at, leaf in roots if leaf.root == root]
    if earlier:
        what = f"the indexes are those of leaf {earlier[-1]}: newer ones are in the log and are not shown"
        return [Fault(FaultKind.ROLLED_BACK, where, what, AT_WORK)]
    what = "no index leaf commits to the indexes as they are served"
    return [Fault(FaultKind.UNLOGGED, where, what, "Keep the index files: what they list was not logged.")]


def _check_windows(index: Index, batches: tuple[LoggedBatch, ...]) -> list[Fault]:
    where = index_path(index.region)
    leaves = {batch.leaf.sequence: batch for batch in batches}
    newest = max(leaves, default=0)
    faults = []
    if index.sequence > newest:
        what = f"lists windows up to {index.sequence}, and the log has only {newest}"
        faults.append(Fault(FaultKind.UNLOGGED, where, what))
    elif index.sequence < newest:
        what = f"ends with window {index.sequence}, and the log has {newest}"
        faults.append(Fault(FaultKind.INDEX, where, what, AT_WORK))
    for window in index.windows:
        first, last = leaves.get(window.sequence), leaves.get(window.last_sequence)
        if (first and first.leaf.window_start != window.start) or (
            last and last.leaf.window_end != window.end
        ):
            what = f"gives window {window.sequence} other times than its leaf"
            faults.append(Fault(FaultKind.INDEX, where, what))
        if first and first.withdrawn_by and window.files:
            what = f"lists files of batch {window.sequence}, which was withdrawn"
            faults.append(Fault(FaultKind.INDEX, where, what))
    return faults
