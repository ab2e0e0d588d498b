"""A receipt that a phone kept, looked for among those that the registry published.

Whoever shows it proves that an upload with this very agreement, certificate and set of keys went out in a
batch that is in the log. It names nobody, and nothing of it is sent anywhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from registry.client.monitor.batches import LoggedBatch, read_manifest
from registry.client.monitor.faults import Fault, fault_of
from registry.client.monitor.manifests import check_manifest, manifest_fault
from registry.client.monitor.moments import utc
from registry.client.monitor.shard import Read
from registry.client.monitor.view import LogView
from registry.client.receipts import consent_hash
from registry.errors import Distrusted, Malformed
from registry.protocol.encoding import JsonObject, decode_base64, decode_json_object
from registry.protocol.manifest import Manifest
from registry.protocol.merkle import check_inclusion, inclusion_path, leaf_hash, tree_root
from registry.protocol.receipt import Receipt, commitment, decode_receipt


@dataclass(frozen=True, slots=True)
class KeptReceipt:
    """A receipt as a phone printed it. `record` is the consent record in plain text, if it was shown."""

    commitment: bytes
    receipt: Receipt
    record: str | None


@dataclass
class ReceiptSearch:
    """What came of the search: sentences, whether it was found, faults met on the way."""

    sentences: list[str] = field(default_factory=list)
    found: bool = False
    faults: list[Fault] = field(default_factory=list)


def read_kept_receipts(content: bytes) -> list[KeptReceipt]:
    """The receipts in what `registry phone receipt` printed, or one of them alone. Raises Malformed.

    Each must hash to its own commitment, and its consent record to the hash in the receipt.
    """
    document = decode_json_object(content, "receipts")
    return [_read(one) for one in (document.children("receipts") if "receipts" in document else [document])]


def _read(document: JsonObject) -> KeptReceipt:
    content = document.text("content").encode()
    receipt = decode_receipt(content)
    stated = decode_base64(document.text("commitment"))
    if commitment(content) != stated:
        raise Malformed("the receipt does not hash to the commitment beside it")
    record: str | None = None
    if "consent" in document:
        consent = document.child("consent")
        record = consent.text("record")
        if consent_hash(decode_base64(consent.text("salt")), record.encode()) != receipt.consent_hash:
            raise Malformed("the record of the agreement does not hash to what the receipt says")
    return KeptReceipt(stated, receipt, record)


def search_receipt(read: Read, view: LogView, kept: KeptReceipt) -> ReceiptSearch:
    """Look through the manifests that are served, newest first. Raises FetchFailed."""
    search = ReceiptSearch()
    for batch in _newest_first(view):
        try:
            manifest = read_manifest(read, batch)
        except (Malformed, Distrusted) as error:
            search.faults.append(manifest_fault(read, batch, error))
            continue
        if manifest is None or kept.commitment not in manifest.receipts:
            continue
        search.faults += check_manifest(manifest, batch)
        try:
            search.sentences.append(_sentence(manifest, batch, kept))
        except (Malformed, Distrusted) as error:
            search.faults.append(fault_of(error, batch.manifest_path))
            return search
        search.found = True
        return search
    search.sentences.append(
        "No manifest that is served now holds this receipt. Either its window has not ended, or its files "
        "have been retired since, or the upload was left out: ask the registry if less than three weeks have "
        "passed."
    )
    return search


def _newest_first(view: LogView) -> Iterator[LoggedBatch]:
    every = [batch for batches in view.batches.values() for batch in batches]
    yield from sorted(every, key=lambda batch: (batch.entry.year, batch.entry.number), reverse=True)


def _sentence(manifest: Manifest, batch: LoggedBatch, kept: KeptReceipt) -> str:
    hashes = [leaf_hash(one) for one in manifest.receipts]

    def node(level: int, index: int) -> bytes:
        return tree_root(hashes[index << level : (index + 1) << level])

    place = manifest.receipts.index(kept.commitment)
    path = inclusion_path(place, len(hashes), node)
    check_inclusion(index=place, size=len(hashes), leaf=hashes[place], path=path, root=manifest.receipts_root)
    leaf = batch.leaf
    return (
        f"The receipt is one of {len(hashes)} commitments (decoys among them) in batch {leaf.sequence} of "
        f"{leaf.region}, {utc(leaf.window_start)} to {utc(leaf.window_end)}, whose manifest leaf "
        f"{batch.entry.number} of the log's year {batch.entry.year} commits to: the keys that it is for were "
        "taken in with this certificate and this agreement."
    )
