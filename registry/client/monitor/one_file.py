"""What can be proven about one export file, in sentences: by whom it was signed, logged, cosigned, and when.

The phone's checks, and the batch's own leaf beside the index. Reads only what it needs: never the whole log,
unless the batch's leaf is that old. What cannot be proven is said as plainly as what can.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO

from registry.client.failures import Unlogged
from registry.client.monitor.batches import LoggedBatch, may_have_expired, read_manifest
from registry.client.monitor.faults import Fault, FaultKind, NotThere, fault_of
from registry.client.monitor.manifests import check_counts, check_manifest, file_fault, manifest_fault
from registry.client.monitor.moments import utc
from registry.client.monitor.search import FoundBatch, find_batch
from registry.client.monitor.shard import Read, must_read
from registry.client.monitor.view import with_policy
from registry.client.monitor.visit import Demands
from registry.client.proof import IndexProof, ProofLimits, check_witnesses, open_index_proof
from registry.client.remembered import LogHead
from registry.client.trust import open_signed_trust
from registry.client.verify import MAX_COMPACT_KEYS, Span, check_index, spans_of, trusted_keys, verify_file
from registry.errors import Distrusted, Malformed
from registry.protocol.certificate import load_public_key
from registry.protocol.checkpoint import cosignatures, open_checkpoint
from registry.protocol.compact_file import MAGIC, read_compact
from registry.protocol.export_file import open_zip, read_announced_rows, verify_signatures
from registry.protocol.export_signatures import TrustedKeys
from registry.protocol.index import (
    COMPACT,
    EXPOSURES,
    GAEN_ZIP,
    LOG_CHECKPOINT_PATH,
    TRUST_NOTE_PATH,
    TRUST_PATH,
    Index,
    IndexDay,
    IndexFile,
    IndexWindow,
    decode_index,
    index_digest_path,
    index_proof_path,
)
from registry.protocol.leaves import WithdrawLeaf
from registry.protocol.manifest import Manifest
from registry.protocol.note import decode_vkey
from registry.protocol.trust import TrustMaterial
from registry.protocol.trust_note import fingerprint, same_fingerprint

NOT_PROVEN = (
    "Not proven by any log: that the keys are of people who were confirmed positive, and that no key was "
    "held back before it came to a batch. Receipts (`registry audit reconcile`) and the phones themselves "
    "can tell."
)


MOST_ZIPS = 600
"""Of one window: each ends a second after the one before."""


@dataclass
class Proven:
    """What was established about a file: sentences, what could not be, and faults."""

    sentences: list[str] = field(default_factory=list)
    unproven: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    is_complete: bool = True
    """False if nothing says that the log is about this very file."""


@dataclass(frozen=True, slots=True)
class _Stated:
    """What the file says of itself, signed by a trusted key. `numbers` are a compact file's windows."""

    region: str
    start: int
    end: int
    form: str
    numbers: tuple[int, int] | None = None

    @property
    def is_of_several(self) -> bool:
        """Whether it says to hold several windows' keys, as days' files do."""
        return self.numbers is not None and self.numbers[0] != self.numbers[1]


@dataclass(frozen=True, slots=True)
class _ProvenIndex:
    """The index, and the tree whose last leaf commits to it."""

    index: Index
    head: LogHead


def prove_file(
    content: bytes, read: Read, demands: Demands, now: float, *, proof_content: bytes | None = None
) -> Proven:
    """Everything that holds of the file `content`, a zip or compact, by the public files that `read` gives.

    `proof_content` is a proof that somebody kept, in place of the one that is served. Raises FetchFailed.
    """
    proven = Proven()
    try:
        trust = _trust(proven, read, demands, now)
        export = _stated(content, _export_keys(trust))
    except (Malformed, Distrusted) as error:
        proven.faults.append(fault_of(error, "the file or the trust material", missing=FaultKind.TRUST))
        return proven
    listing = _index(proven, read, trust, export, now, proof_content)
    listed = _listed(listing, content)
    is_of_day = isinstance(listed[0], IndexDay) if listed else export.is_of_several
    found = None
    if not is_of_day:
        said = len(proven.sentences)
        found = _leaf(proven, read, trust, export, listing)
        # A zip does not number its windows: that it is of a day shows beside the leaf of the day's first one.
        if listed is None and found is not None and export.end > found.leaf.window_end + MOST_ZIPS:
            is_of_day, found = True, None
            del proven.sentences[said:]
    manifest = _manifest(proven, read, found, listing, trust, now)
    if is_of_day:
        _tell_of_day(proven, is_listed=listed is not None)
    if listed is None and manifest is None:
        proven.is_complete = False
        _check_other_files(proven, listing, export, is_of_day=is_of_day)
    _file(proven, content, export, trust, listed, manifest, found, now)
    proven.unproven.append(NOT_PROVEN)
    return proven


def _stated(content: bytes, trusted: TrustedKeys) -> _Stated:
    # What nobody signed whom the trust material names is not even parsed.
    if content.startswith(MAGIC):
        header = read_compact(BytesIO(content), trusted, max_keys=MAX_COMPACT_KEYS).header
        numbers = header.sequence, header.last_sequence
        return _Stated(header.region, header.start_timestamp, header.end_timestamp, COMPACT, numbers)
    export_bin, signatures = open_zip(content)
    verify_signatures(export_bin, signatures, trusted)
    export = read_announced_rows(export_bin, len(signatures))
    return _Stated(export.region, export.start_timestamp, export.end_timestamp, GAEN_ZIP)


def _trust(proven: Proven, read: Read, demands: Demands, now: float) -> TrustMaterial:
    signed = open_signed_trust(must_read(read, TRUST_PATH), must_read(read, TRUST_NOTE_PATH))
    shown = fingerprint(signed.trust.trust_vkey)
    sentence = (
        f"Trust material number {signed.note.sequence} of {signed.note.origin}, signed by its root key on "
        f"{utc(signed.note.issued_at)}, names the keys. The root's fingerprint is {shown}"
    )
    if demands.fingerprint is None:
        proven.sentences.append(f"{sentence}.")
        proven.unproven.append(
            "That this root is the registry's: compare its fingerprint by another channel, or give it with "
            "--fingerprint."
        )
    elif same_fingerprint(shown, demands.fingerprint):
        proven.sentences.append(f"{sentence}, as you were told.")
    else:
        what = f"the root key's fingerprint is {shown}, not {demands.fingerprint}"
        proven.faults.append(Fault(FaultKind.SIGNATURE, TRUST_PATH, what))
    if signed.note.expires_at <= now:
        what = f"expired at {utc(signed.note.expires_at)}"
        proven.faults.append(Fault(FaultKind.TRUST, TRUST_NOTE_PATH, what))
    return with_policy(signed.trust, demands.policy) if demands.policy is not None else signed.trust


def _export_keys(trust: TrustMaterial) -> TrustedKeys:
    """All of them, whenever they sign: whether this one signed in its time is seen with the window."""
    return {
        (key.key_id, key.key_version): load_public_key(key.public_key_pem)
        for key in trust.export_signing_keys
    }


# ---------------------------------------------------------------- the index


def _index(
    proven: Proven,
    read: Read,
    trust: TrustMaterial,
    export: _Stated,
    now: float,
    proof_content: bytes | None,
) -> _ProvenIndex | None:
    where = index_proof_path(export.region)
    try:
        content = proof_content if proof_content is not None else must_read(read, where)
        proof = open_index_proof(content, trust, region=export.region, now=now)
        path = index_digest_path(export.region, proof.index_sha256)
        bytes_of_index = must_read(read, path)
        if sha256(bytes_of_index).hexdigest() != proof.index_sha256:
            raise Unlogged(f"{path} is not the index that the proof covers")
        index = decode_index(bytes_of_index)
        check_index(index, region=export.region, previous=None, now=now)
    except (Malformed, Distrusted) as error:
        proven.faults.append(fault_of(error, where, missing=FaultKind.UNLOGGED))
        return None
    head = proof.head
    proven.sentences.append(
        f"The index of {index.region} at window {index.sequence}, issued {utc(index.issued_at)}, is what "
        f"leaf {head.size - 1} of {head.origin} commits to, the last of its {head.size} leaves, by an "
        "inclusion proof."
    )
    _witnesses(proven, proof, trust, now)
    return _ProvenIndex(index, head)


def _witnesses(proven: Proven, proof: IndexProof, trust: TrustMaterial, now: float) -> None:
    note, checkpoint = open_checkpoint(proof.head.checkpoint, map(decode_vkey, trust.log_vkeys))
    policy = trust.policy()
    times = {one.key: one.time for one in cosignatures(note, checkpoint, [w.key for w in policy.witnesses])}
    said = [
        f"{witness.name} ({witness.key.name}) at {utc(times[witness.key])}"
        for witness in policy.witnesses
        if witness.key in times
    ]
    if not proof.asks_witnesses:
        proven.unproven.append(
            "That everybody is shown the same: the policy asks for no witness. Compare with another vantage "
            "point (`registry audit compare`)."
        )
        return
    try:
        late = check_witnesses(proof, ProofLimits.of(trust), now=now)
    except Distrusted as error:
        proven.faults.append(fault_of(error, LOG_CHECKPOINT_PATH))
        return
    newest = proof.head.cosigned_at or 0
    proven.sentences.append(
        f"Cosigned by {', '.join(said)}: a quorum had seen no larger tree by {utc(newest)}, "
        f"{max(0, int(now - newest))} seconds before the moment of this check."
        + (f" {late}." if late else "")
    )


def _check_other_files(
    proven: Proven, listing: _ProvenIndex | None, export: _Stated, *, is_of_day: bool
) -> None:
    """A file that names a window of which the index lists other files: whoever signed it did not log it."""
    spans: Sequence[Span] = ()
    if listing is not None:
        spans = listing.index.days if is_of_day else listing.index.windows
    if any(span.files and span.start == export.start for span in spans):
        where = f"{export.region}, window from {utc(export.start)}"
        what = "the newest index lists other files of this window, and not this one"
        advice = "Keep the file: the signing key may be in other hands."
        proven.faults.append(Fault(FaultKind.UNLOGGED, where, what, advice))


def _listed(listing: _ProvenIndex | None, content: bytes) -> tuple[Span, IndexFile] | None:
    digest = sha256(content).hexdigest()
    spans = spans_of(listing.index) if listing is not None else ()
    return next(((span, file) for span in spans for file in span.files if file.sha256 == digest), None)


def _tell_of_day(proven: Proven, *, is_listed: bool) -> None:
    if is_listed:
        proven.sentences.append(
            "It is the file of a day. No manifest names it, the index does; `registry audit follow` holds it "
            "against the files of its windows."
        )
    else:
        proven.unproven.append(
            "That it was ever offered: it says to be the file of a day, the newest index lists no such file, "
            "and no leaf is about a day. The files of its windows can be proven."
        )


# ---------------------------------------------------------------- the batch's leaf


def _leaf(
    proven: Proven, read: Read, trust: TrustMaterial, export: _Stated, listing: _ProvenIndex | None
) -> FoundBatch | None:
    head = listing.head if listing is not None else None
    try:
        found = find_batch(read, trust, export.region, export.start, proven=head)
    except (NotThere, Malformed, Distrusted) as error:
        proven.faults.append(fault_of(error, LOG_CHECKPOINT_PATH))
        return None
    where = f"{export.region}, window from {utc(export.start)}"
    if found is None:
        what = "no batch leaf is about this file's region and window"
        advice = "Keep the file: whoever signed it did not log it."
        proven.faults.append(Fault(FaultKind.UNLOGGED, where, what, advice))
        return None
    proven.sentences.append(
        f"Leaf {found.entry.number} of {found.checkpoint.origin} is batch {found.leaf.sequence} of "
        f"{found.leaf.region}, {utc(found.leaf.window_start)} to {utc(found.leaf.window_end)}, by an "
        f"inclusion proof of {len(found.path)} hashes."
    )
    if not found.in_proven_tree and listing is not None:
        proven.unproven.append(
            "That others see this leaf too: it is newer than the tree that the index's proof is about, and "
            "only the log's own key vouches for it. Check again when there is a newer proof."
        )
        proven.is_complete = False
    if found.withdrawn_by is not None and isinstance(found.withdrawn_by.leaf, WithdrawLeaf):
        proven.sentences.append(
            f"Leaf {found.withdrawn_by.number} withdrew that batch; the reason given is "
            f"{found.withdrawn_by.leaf.reason!r}. Phones must not use the file any more."
        )
    return found


# ---------------------------------------------------------------- manifest and file


def _manifest(
    proven: Proven,
    read: Read,
    found: FoundBatch | None,
    listing: _ProvenIndex | None,
    trust: TrustMaterial,
    now: float,
) -> Manifest | None:
    if found is None:
        return None
    batch = LoggedBatch(found.entry, found.leaf, "live", (), None, found.withdrawn_by)
    try:
        manifest = read_manifest(read, batch)
    except (Malformed, Distrusted) as error:
        proven.faults.append(manifest_fault(read, batch, error))
        return None
    if manifest is None:
        proven.unproven.append(
            "That the leaf is about this very file: the batch's manifest is not served any more. Keep the "
            "evidence bundle of a time when it was (`registry audit export`)."
        )
        issued_at = listing.index.issued_at if listing is not None else now
        if found.withdrawn_by is None and not may_have_expired(found.leaf, trust, issued_at):
            what = "is not there, though the batch has not expired and was not withdrawn"
            proven.faults.append(Fault(FaultKind.MANIFEST, batch.manifest_path, what))
        return None
    proven.faults += check_manifest(manifest, batch)
    return manifest


def _file(
    proven: Proven,
    content: bytes,
    export: _Stated,
    trust: TrustMaterial,
    listed: tuple[Span, IndexFile] | None,
    manifest: Manifest | None,
    found: FoundBatch | None,
    now: float,
) -> None:
    digest = sha256(content).hexdigest()
    stated = [file for file in manifest.files if file.sha256 == digest] if manifest is not None else []
    if listed is not None:
        window, file = listed
    else:
        name = stated[0].path if stated else "the file"
        file = IndexFile(name, digest, len(content), export.form)
        end = found.leaf.window_end if found is not None else export.end
        sequence = found.leaf.sequence if found is not None else 0
        numbers = (sequence, sequence) if found is not None or not export.numbers else export.numbers
        window = IndexWindow(*numbers, export.start, end, (file,))
    where = f"{EXPOSURES}/{file.path}"
    try:
        trusted = trusted_keys(trust, window, now=now)
        verified = verify_file(content, file, window, region=export.region, trusted=trusted, now=now)
    except (Malformed, Distrusted) as error:
        proven.faults.append(file_fault(error, where))
        return
    signers = ", ".join(f"{info.key_id} {info.key_version}" for info in verified.signed_by)
    proven.sentences.insert(
        1,
        f"The file holds {verified.key_count} keys and {verified.revised_key_count} revised ones of "
        f"{export.region}, {utc(window.start)} to {utc(window.end)}, none of them valid within two "
        f"hours of that; its signature by {signers} is what phones check, and it holds.",
    )
    if manifest is not None and not stated:
        what = "is signed by a trusted key, and the manifest that the log commits to names other files"
        advice = "Keep the file: the signing key may be in other hands."
        proven.faults.append(Fault(FaultKind.UNLOGGED, where, what, advice))
    elif stated and found is not None:
        proven.faults += check_counts(verified, file, manifest)
        proven.sentences.append(
            f"The manifest that leaf {found.entry.number} commits to names this file by its SHA-256 {digest}."
        )
    if listed is not None:
        proven.sentences.append("The newest index lists this very file: phones are told to read it.")
    elif found is not None and found.withdrawn_by is None:
        why = ": it has expired, or was not in force yet" if stated else ""
        proven.sentences.append(f"The newest index does not list it{why}.")
